/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of a copy-on-write child and its life: made, found, locked, read; stopped and let go. Set-up and end are of one thread,
 * the rest is for any.
 */
#include "cow/cow.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"
#include "cow/cow_private.h"
#include "store/dir_lock.h"

#define PLACE_HEX 16

struct cow *cow_of(struct vmofs_source *s)
{
	return container_of(s, struct cow, base);
}

/* ---- where it is ---- */

/* For people, and for the digest. NULL: no memory. */
static char *identity(const struct vmofs_source_info *info, const char *name)
{
	char *text;

	if (asprintf(&text, "%s%s%s%s%s\n", info->where, *info->where ? " " : "", info->url,
		     *name ? " as " : "", name) < 0)
		return NULL;
	return text;
}

int cow_place(const char *dir, const struct vmofs_source_info *info, const char *name, char *out,
	      size_t cap)
{
	cleanup(mem_freep) char *text = identity(info, name);
	uint8_t digest[SHA256_LEN];
	char hex[2 * SHA256_LEN + 1];
	int n;

	if (!text || digest_sha256(text, strlen(text), digest) < 0)
		return -ENOMEM;
	digest_hex(digest, sizeof digest, hex);
	n = snprintf(out, cap, "%s/%.*s", dir, PLACE_HEX, hex);
	return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

/* ---- opening it ---- */

static int dir_failed(const char *path, int code, struct vmofs_err *err)
{
	return vmofs_err_set(err, code,
			     "cannot use '%s' for what is changed: %s; give another directory as "
			     "cow-dir=DIR",
			     path, strerror(-code));
}

static int open_dir(struct cow *c, int at, const char *path)
{
	int fd = c->io->openat(at, path, O_RDONLY | O_DIRECTORY, 0);

	return fd < 0 ? -errno : fd;
}

/* Of a directory that was made: the one above it comes to know it for good. Where that may not be read it cannot be helped. */
static int sync_above(struct cow *c, const char *path)
{
	const char *slash = strrchr(path, '/');
	char above[PATH_MAX];
	int fd, r;

	snprintf(above, sizeof above, "%.*s", (int)MAX(slash - path, 1), path);
	fd = open_dir(c, AT_FDCWD, above);
	if (fd < 0)
		return fd == -EACCES ? 0 : fd;
	r = c->io->fsync(fd) < 0 ? -errno : 0;
	c->io->close(fd);
	return r;
}

static int make_one(struct cow *c, const char *path)
{
	if (c->io->mkdirat(AT_FDCWD, path, 0700) == 0)
		return sync_above(c, path);
	return errno == EEXIST ? 0 : -errno;
}

/* With all that is missing above it. */
static int make_dirs(struct cow *c, const char *dir)
{
	char path[PATH_MAX];
	int r, n = snprintf(path, sizeof path, "%s", dir);

	if (n >= (int)sizeof path)
		return -ENAMETOOLONG;
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		/* One that is not allowed may be there nevertheless. */
		(void)make_one(c, path);
		*p = '/';
	}
	r = make_one(c, path);
	/* Those that were there may have been made by somebody who could not sync. */
	if (!r)
		r = sync_above(c, path);
	return r ? r : sync_above(c, c->p.dir);
}

/* Who can write there can have anything shown in this user's name. */
static int check_owner(struct cow *c, struct vmofs_err *err)
{
	struct stat st;

	if (c->io->fstat(c->dir_fd, &st) < 0)
		return dir_failed(c->dir, -errno, err);
	if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022))
		return vmofs_err_set(err, -EACCES,
				     "others may write '%s' (owner %u, mode %o); it must be this "
				     "user's, mode 700",
				     c->dir, (unsigned)st.st_uid, (unsigned)st.st_mode & 07777);
	return 0;
}

static int lock_dir(struct cow *c, struct vmofs_err *err)
{
	int r = dir_lock(c->io, c->dir_fd, &c->lock_fd);

	if (r != -EAGAIN)
		return r < 0 ? dir_failed(c->dir, r, err) : 0;
	return vmofs_err_set(
		err, -EBUSY,
		"another mount keeps its changes of this source in '%s'; unmount that, "
		"or give this one its own directory as cow-dir=DIR",
		c->dir);
}

/* For people. */
static void write_source(struct cow *c, const struct vmofs_source_info *info)
{
	cleanup(mem_freep) char *text = identity(info, c->p.name);
	int fd = text ? c->io->openat(c->dir_fd, "source", O_WRONLY | O_CREAT, 0600) : -1;
	struct iovec v = { text, text ? strlen(text) : 0 };

	if (fd < 0)
		return;
	(void)c->io->pwritev(fd, &v, 1, 0);
	c->io->close(fd);
}

static int use_dir(struct cow *c, const struct vmofs_source_info *info, struct vmofs_err *err)
{
	char path[PATH_MAX];
	int r = cow_place(c->p.dir, info, c->p.name, path, sizeof path);

	if (!r)
		r = make_dirs(c, path);
	if (r < 0)
		return dir_failed(c->p.dir, r, err);
	c->dir = strdup(path);
	if (!c->dir)
		return -ENOMEM;
	c->dir_fd = open_dir(c, AT_FDCWD, path);
	if (c->dir_fd < 0)
		return dir_failed(path, c->dir_fd, err);
	r = check_owner(c, err);
	if (!r)
		r = lock_dir(c, err);
	if (r < 0)
		return r;
	write_source(c, info);
	if ((c->io->mkdirat(c->dir_fd, "data", 0700) < 0 && errno != EEXIST) ||
	    c->io->fsync(c->dir_fd) < 0)
		return dir_failed(path, -errno, err);
	c->data_fd = open_dir(c, c->dir_fd, "data");
	return c->data_fd < 0 ? dir_failed(path, c->data_fd, err) : 0;
}

static int read_dir(struct cow *c, struct vmofs_err *err)
{
	int r = cow_names_open(c, err);

	if (r < 0)
		return r;
	r = cow_data_tidy(c);
	return r < 0 ? vmofs_err_set(err, r,
				     "cannot read what was changed in '%s': %s; files are missing "
				     "there",
				     c->dir, strerror(-r))
		     : 0;
}

/* ---- the source ---- */

static bool cow_changed(struct vmofs_source *src)
{
	struct vmofs_source *low = cow_of(src)->lower;

	return low->ops->changed && low->ops->changed(low);
}

static void source_stats(struct vmofs_source *src, struct vmofs_provider_stats *out)
{
	struct cow *c = cow_of(src);

	c->lower->ops->stats(c->lower, out);
	if (c->single && c->single->provider)
		c->single->provider->ops->stats(c->single->provider, out);
}

void cow_stats(struct vmofs_source *src, struct cow_stats *out)
{
	struct cow *c = cow_of(src);

	*out = (struct cow_stats){ 0 };
	mutex_lock(&c->lock);
	out->records = c->n_entries;
	for (struct rb_node *n = rb_first(&c->entries); n; n = rb_next(n)) {
		const struct cow_map *m = container_of(n, struct cow_entry, node)->map;

		for (uint64_t i = 0; m && i < m->n; i++)
			out->data_bytes += m->e[i].at == COW_ZEROS ? 0 : m->e[i].len;
	}
	mutex_unlock(&c->lock);
}

static void cow_dump(struct vmofs_source *src, FILE *out, unsigned depth, unsigned max_items)
{
	struct cow *c = cow_of(src);
	struct cow_stats st;

	cow_stats(src, &st);
	fprintf(out, "%*scopy on write in '%s': %" PRIu64 " names, %" PRIu64 " bytes\n",
		(int)depth * 2, "", c->dir, st.records, st.data_bytes);
	c->lower->ops->dump(c->lower, out, depth + 1, max_items);
}

/* The first base that has not been seen, with a reference. */
static struct cow_base *base_after(struct cow *c, struct cow_base *b)
{
	struct vmofs_list *pos;

	mutex_lock(&c->lock);
	pos = b ? b->link.next : c->bases.next;
	for (b = NULL; !b && pos != &c->bases; pos = pos->next)
		b = cow_base_try_get(vmofs_list_entry(pos, struct cow_base, link));
	mutex_unlock(&c->lock);
	return b;
}

static void cow_stop(struct vmofs_source *src)
{
	struct cow *c = cow_of(src);
	struct cow_base *b = NULL, *next;

	mutex_lock(&c->lock);
	c->stopped = true;
	mutex_unlock(&c->lock);
	c->lower->ops->stop(c->lower);
	while ((next = base_after(c, b))) {
		cow_base_put(b);
		b = next;
		cow_base_stop(b);
	}
	cow_base_put(b);
}

static void free_table(struct cow *c)
{
	struct rb_node *n;

	while ((n = rb_first(&c->entries))) {
		struct cow_entry *e = container_of(n, struct cow_entry, node);

		rb_erase(&c->entries, n);
		cow_map_put(e->map);
		cow_entry_free(e);
	}
}

static void cow_free(struct vmofs_source *src)
{
	struct cow *c = cow_of(src);

	worker_free(c->worker);
	atomic_store(&c->closing, true);
	free_table(c);
	if (c->single)
		c->single->stays = false;
	cow_base_put(c->single);
	cow_names_close(c);
	if (c->data_fd >= 0)
		c->io->close(c->data_fd);
	if (c->lock_fd >= 0)
		c->io->close(c->lock_fd);
	if (c->dir_fd >= 0)
		c->io->close(c->dir_fd);
	if (c->lower)
		c->lower->ops->free(c->lower);
	cond_destroy(&c->names.synced);
	mutex_destroy(&c->names.lock);
	mutex_destroy(&c->lock);
	free(c->dir);
	free(c);
}

static const struct vmofs_source_ops cow_source_ops = {
	.query = cow_query,
	.object = cow_object,
	.changed = cow_changed,
	.change = &cow_change_ops,
	.stats = source_stats,
	.dump = cow_dump,
	.stop = cow_stop,
	.free = cow_free,
};

/* ---- making it ---- */

static void nothing(struct worker_task *t UNUSED)
{
}

static struct cow *cow_alloc(const struct cow_params *p)
{
	struct cow *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->base.ops = &cow_source_ops;
	c->p = *p;
	c->io = p->io ? p->io : &cache_io_system;
	c->dir_fd = c->data_fd = c->lock_fd = c->names.fd = -1;
	c->next_number = c->next_data = 1;
	mutex_init(&c->lock, LOCK_RANK_SOURCE);
	mutex_init(&c->names.lock, LOCK_RANK_COW_NAMES);
	cond_init(&c->names.synced);
	vmofs_list_init(&c->bases);
	vmofs_list_init(&c->dead);
	c->bury.run = cow_bury;
	c->start.run = nothing;
	return c;
}

/* It is not the origin any more that is changed: nobody may take its journal for the origin's. */
static void change_info(const struct cow *c, struct vmofs_source_info *info)
{
	snprintf(info->where, sizeof info->where, "cow:%s", c->dir);
	info->can &= ~BIT(VMOFS_QUERY_FLAT);
	info->complete = false;
	info->fixed = false;
}

static int start(struct cow *c, struct vmofs_source_info *info, struct vmofs_err *err)
{
	int r = use_dir(c, info, err);

	if (!r)
		r = read_dir(c, err);
	if (r < 0)
		return r;
	c->worker = worker_new("vmofs-cow");
	if (!c->worker || worker_post(c->worker, &c->start) < 0)
		return vmofs_err_set(err, -EAGAIN, "cannot start a thread");
	change_info(c, info);
	return 0;
}

int cow_new(struct vmofs_source **out, struct vmofs_source *lower, struct vmofs_source_info *info,
	    const struct cow_params *p, struct vmofs_err *err)
{
	struct cow *c = cow_alloc(p);
	int r = c ? start(c, info, err) : vmofs_err_set(err, -ENOMEM, "no memory for a source");

	if (r < 0) {
		if (c)
			cow_free(&c->base);
		return r;
	}
	c->lower = lower;
	*out = &c->base;
	return 0;
}

static int make_single(struct cow *c, struct vmofs_provider *provider,
		       const struct vmofs_object_info *object, struct vmofs_err *err)
{
	struct vmofs_version v = { .exists = true, .size = object->size, .mtime = object->mtime };

	snprintf(v.validator, sizeof v.validator, "%s", object->validator);
	c->lower = cow_single_new(object);
	c->single = c->lower ? cow_base_new(c, object->name, &v) : NULL;

	if (!c->single)
		return vmofs_err_set(err, -ENOMEM, "no memory for a source");
	c->single->provider = provider;
	c->single->info = malloc(sizeof *object);
	if (!c->single->info)
		return vmofs_err_set(err, -ENOMEM, "no memory for a source");
	*c->single->info = *object;
	c->single->stays = true;
	return 0;
}

void cow_single_info(const struct vmofs_object_info *object, struct vmofs_source_info *out)
{
	char hex[2 * VMOFS_IDENTITY_LEN + 1] = "";

	*out = (struct vmofs_source_info){
		.can = BIT(VMOFS_QUERY_DIR) | BIT(VMOFS_QUERY_NAME) | BIT(VMOFS_QUERY_HEAD),
	};
	if (object->has_identity)
		digest_hex(object->identity, sizeof object->identity, hex);
	snprintf(out->name, sizeof out->name, "%s", object->name);
	snprintf(out->url, sizeof out->url, "%s", object->url);
	snprintf(out->where, sizeof out->where, "%s", hex);
}

int cow_new_single(struct vmofs_source **out, struct vmofs_provider *provider,
		   const struct vmofs_object_info *object, struct vmofs_source_info *info,
		   const struct cow_params *p, struct vmofs_err *err)
{
	struct cow *c = cow_alloc(p);
	int r = c ? make_single(c, provider, object, err)
		  : vmofs_err_set(err, -ENOMEM, "no memory for a source");

	if (!r)
		r = start(c, info, err);
	if (r < 0) {
		if (c && c->single)
			c->single->provider = NULL;
		if (c)
			cow_free(&c->base);
		return r;
	}
	*out = &c->base;
	return 0;
}
