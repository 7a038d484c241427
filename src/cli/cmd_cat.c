/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmofs cat: objects to standard output without a mount, through the same pages that a mount has: fetched ahead in
 * parallel, written from where they lie, dropped behind. Memory is bounded by the pool. The main thread writes,
 * the loops fetch.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include "base/macros.h"
#include "base/sync.h"
#include "cli/cmd.h"
#include "cli/remote.h"
#include "store/store.h"
#include "vm/vmo.h"

#define CHUNK      MIB(1)
#define MEMORY_MAX MIB(128) /* where nothing is said: more makes a stream no faster */

static const struct opt cat_opts[] = {
	{ 'o', "options", "OPT[,...]", "options of a mount, also as --NAME=VALUE" },
	{ 'c', "config", "FILE", "read FILE too, after those in /etc and the home directory" },
	{ 'p', "path", "PATH", "the file PATH below SOURCE, which is a tree" },
	{ 0 },
};

struct cat {
	struct remote remote;
	struct vm_pool *pool;
	struct vmofs_provider *provider;
	struct vmo *vmo;
	struct vmofs_object_info info;
	uint64_t ahead;
	uint64_t timeout_ns;
	uint64_t asked;   /* up to here it has been asked for */
	uint64_t dropped; /* up to here it is gone again */

	struct vmo_read read;
	struct mutex lock;
	struct cond cond;
	bool ended; /* lock: lock */
	int status; /* lock: lock */
};

/* ---- pages ---- */

static void read_done(struct vmo_read *read, int status)
{
	struct cat *c = container_of(read, struct cat, read);

	mutex_lock(&c->lock);
	c->ended = true;
	c->status = status;
	cond_signal(&c->cond);
	mutex_unlock(&c->lock);
}

/* Pins [off, off+len) and waits for what of it is still on its way. */
static int pin(struct cat *c, uint64_t off, uint64_t len)
{
	int r;

	c->ended = false;
	c->read = (struct vmo_read){
		.off = off,
		.len = len,
		.cls = VMOFS_CLASS_DEMAND,
		.deadline_ns = c->timeout_ns ? loop_now_ns() + c->timeout_ns : 0,
		.done = read_done,
	};
	r = vmo_read_start(c->vmo, &c->read);
	if (r != -EINPROGRESS)
		return r;
	mutex_lock(&c->lock);
	while (!c->ended)
		cond_wait(&c->cond, &c->lock);
	r = c->status;
	mutex_unlock(&c->lock);
	return r;
}

/* Keeps the window before the writer full, in steps of a quarter. */
static void fetch_ahead(struct cat *c, uint64_t off)
{
	uint64_t want = MIN(off + c->ahead, c->info.size);
	int64_t got;

	if (c->asked < off)
		c->asked = off;
	if (want < c->asked + c->ahead / 4 && want < c->info.size)
		return;
	if (want <= c->asked)
		return;
	got = vmo_prefetch(c->vmo, c->asked, want - c->asked, 0);
	if (got > 0)
		c->asked += (uint64_t)got & ~(VMOFS_PAGE_SIZE - 1);
}

/* Whole blocks of the store, which then takes them for what comes next. */
static void drop_behind(struct cat *c, uint64_t off)
{
	uint64_t end = off - off % STORE_BLOCK;

	if (end <= c->dropped)
		return;
	vmo_evict(c->vmo, c->dropped, end - c->dropped, true);
	c->dropped = end;
}

/* ---- writing ---- */

static int write_all(const struct iovec *iov, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const char *p = iov[i].iov_base;

		for (size_t left = iov[i].iov_len; left > 0;) {
			ssize_t w = write(STDOUT_FILENO, p, left);

			if (w < 0 && errno == EINTR)
				continue;
			if (w < 0)
				return -errno;
			p += w;
			left -= (size_t)w;
		}
	}
	return 0;
}

static int read_failed(struct cat *c, uint64_t off, int code, struct vmofs_err *err)
{
	cleanup(mem_freep) struct vmofs_provider_stats *st = calloc(1, sizeof *st);

	if (st)
		c->provider->ops->stats(c->provider, st);
	return vmofs_err_set(err, code, "cannot read '%s' at %llu: %s%s%s", c->info.url,
			     (unsigned long long)off, strerror(-code),
			     st && *st->last.msg ? ": " : "", st ? st->last.msg : "");
}

static int copy(struct cat *c, struct vmofs_err *err)
{
	for (uint64_t off = 0; off < c->info.size;) {
		int r;

		fetch_ahead(c, off);
		r = pin(c, off, CHUNK);
		if (r < 0)
			return read_failed(c, off, r, err);
		r = write_all(c->read.iov, c->read.n_iov);
		off += c->read.len;
		vmo_read_end(&c->read);
		drop_behind(c, off);
		if (r < 0)
			return vmofs_err_set(err, r, "cannot write: %s", strerror(-r));
	}
	return 0;
}

/* ---- set-up ---- */

static int make_pool(struct cat *c, struct vmofs_err *err)
{
	const struct vmofs_config *config = c->remote.config;
	uint64_t limit = MIN(vm_pool_default_limit(), (uint64_t)MEMORY_MAX);
	uint64_t ahead;

	if (config_is_set(config, "memory") && config_size(config, "memory", &limit, err) < 0)
		return err->code;
	if (config_size(config, "readahead-max", &ahead, err) < 0 ||
	    config_time(config, "timeout", &c->timeout_ns, err) < 0)
		return err->code;
	if (limit < VM_POOL_MIN)
		return vmofs_err_set(err, -EINVAL, "option 'memory': at least %lluM are needed",
				     (unsigned long long)(VM_POOL_MIN >> 20));
	c->ahead = MIN(ahead, limit / 2);
	return vm_pool_new(&c->pool, limit, err);
}

static void take_down(struct cat *c)
{
	if (c->vmo) {
		vmo_close(c->vmo);
		vmo_put(c->vmo);
	}
	if (c->provider)
		c->provider->ops->free(c->provider);
	remote_close(&c->remote);
	if (c->pool)
		vm_pool_free(c->pool);
	cond_destroy(&c->cond);
	mutex_destroy(&c->lock);
}

static int cat_one(struct cat *c, const struct args *a, const char *source, struct vmofs_err *err)
{
	int r;

	*c = (struct cat){ 0 };
	mutex_init(&c->lock, LOCK_RANK_LOG);
	cond_init(&c->cond);
	r = remote_open(&c->remote, REMOTE_OBJECT, a, source, args_get(a, "path"), err);
	if (r == 0)
		r = make_pool(c, err);
	if (r == 0)
		r = remote_object(&c->remote, &c->provider, &c->info, err);
	if (r == 0)
		r = vmo_new(&c->vmo, c->pool, c->provider, c->info.size, 0, err);
	if (r == 0)
		r = copy(c, err);
	take_down(c);
	return r;
}

/* As cat(1): one that fails does not keep the others from being read, unless nobody reads the output. */
static int cmd_cat_run(const struct args *a, struct vmofs_err *err)
{
	cleanup(mem_freep) struct cat *c = malloc(sizeof *c);
	int status = 0;

	if (!c)
		return vmofs_err_set(err, -ENOMEM, "no memory");
	for (unsigned i = 0; i < a->n_pos; i++) {
		int r = cat_one(c, a, a->pos[i], err);

		if (r == 0)
			continue;
		if (r == -EPIPE)
			return 1;
		fprintf(stderr, "vmofs: %s\n", err->msg);
		status = 1;
	}
	return status;
}

const struct cmd cmd_cat = {
	.name = "cat",
	.args = "SOURCE...",
	.help = "write objects to standard output, without a mount",
	.opts = cat_opts,
	.min_args = 1,
	.max_args = ARGS_MAX,
	.run = cmd_cat_run,
};
