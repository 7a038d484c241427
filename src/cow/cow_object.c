/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider of one version of a file that was changed here: what is in the directory is read by the worker of the source, the rest
 * is copied from the origin's version below (cow_base.c), whose reads nobody waits for in a thread.
 *
 * send, clear and swap come with the page source's lock held and touch the queue only. A read of the base that nobody wants any
 * more goes on, and what it brings is not taken.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "cow/cow_private.h"

#define CHUNK KIB(256)
/* One read of the base; its memory is needed twice meanwhile. */
#define BELOW_CHUNK MIB(1)

struct cow_object {
	struct vmofs_provider base; /* first */
	atomic_uint refs; /* the instance, the task while it is posted, and reads of the base */
	struct cow *c;
	struct cow_map *map; /* counted */
	struct worker_task task;
	_Atomic uint64_t requests, bytes, errors;

	struct mutex lock;
	struct vmofs_list queue[VMOFS_NCLASSES]; /* lock: lock */
	bool posted;                             /* lock: lock */
	struct vmofs_failure last;               /* lock: lock */
};

static struct cow_object *object_of(struct vmofs_provider *p)
{
	return container_of(p, struct cow_object, base);
}

static void object_put(struct cow_object *o)
{
	if (atomic_fetch_sub(&o->refs, 1) > 1)
		return;
	if (o->map->base)
		cow_base_unuse(o->map->base);
	cow_map_put_later(o->map);
	mutex_destroy(&o->lock);
	free(o);
}

static void fail(struct cow_object *o, struct vmo *vmo, uint64_t off, uint64_t end, int code,
		 const char *why)
{
	if (!vmofs_is_failure_code(code))
		code = code == -ENOMEM || code == -EAGAIN ? -ENOBUFS : -EIO;
	atomic_fetch_add(&o->errors, 1);
	mutex_lock(&o->lock);
	o->last = (struct vmofs_failure){ .code = code, .attempts = 1 };
	snprintf(o->last.msg, sizeof o->last.msg, "%s", why);
	clock_gettime(CLOCK_REALTIME, &o->last.when);
	mutex_unlock(&o->lock);
	vmofs_fail(vmo, off, end - off, code, VMOFS_TYPE_BIT(VMOFS_REQUEST_READ));
}

/* ---- from the directory ---- */

static int read_all(struct cow *c, int fd, uint8_t *buf, uint64_t n, uint64_t at)
{
	for (uint64_t got = 0; got < n;) {
		ssize_t r = c->io->pread(fd, buf + got, n - got, (off_t)(at + got));

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -EIO;
		got += (uint64_t)r;
	}
	return 0;
}

static int64_t supply_here(struct cow_object *o, struct vmo *vmo, uint64_t off, uint64_t end,
			   uint64_t at)
{
	uint8_t *buf = malloc(MIN(end - off, CHUNK));
	int fd = buf ? cow_data_open(o->c, o->map->data, false) : -ENOMEM;
	int64_t r = fd < 0 ? fd : 0;

	while (r >= 0 && off < end) {
		uint64_t n = MIN(end - off, CHUNK);

		r = read_all(o->c, fd, buf, n, at);
		if (!r)
			r = vmofs_supply(vmo, off, buf, n);
		atomic_fetch_add(&o->bytes, n);
		off += n;
		at += n;
	}
	if (fd >= 0)
		o->c->io->close(fd);
	free(buf);
	return r;
}

/* ---- from the origin ---- */

struct below {
	struct vmo_read read;
	struct cow_object *o; /* counted, as the next two */
	struct vmo *from;
	struct vmo *to;
	uint64_t off;
	uint64_t end;
};

static int64_t copy_below(struct below *b)
{
	uint64_t off = b->off;
	int64_t r = 0;

	for (unsigned i = 0; r >= 0 && i < b->read.n_iov; i++) {
		r = vmofs_supply(b->to, off, b->read.iov[i].iov_base, b->read.iov[i].iov_len);
		off += b->read.iov[i].iov_len;
	}
	return r < 0 || off >= b->end ? r : -EIO;
}

static void below_done(struct below *b, int status)
{
	int64_t r = status;

	if (!status) {
		r = copy_below(b);
		vmo_read_end(&b->read);
		/* It is where it is needed now, and may be on disk too. */
		(void)vmo_evict(b->from, b->off, b->end - b->off, true);
	}
	if (r == -ESTALE || r == -ENOENT)
		cow_base_tell(b->o->map->base, (int)r, "");
	if (r < 0 && r != -ESHUTDOWN)
		fail(b->o, b->to, b->off, b->end, (int)r,
		     r == -ESTALE ? "the origin has another version now"
				  : "the origin's version cannot be read");
	else if (r < 0)
		fail(b->o, b->to, b->off, b->end, (int)r, "the mount ends");
	vmo_put(b->from);
	vmofs_vmo_put(b->to);
	object_put(b->o);
	free(b);
}

static void below_read(struct vmo_read *r, int status)
{
	below_done(container_of(r, struct below, read), status);
}

static void start_below(struct cow_object *o, struct vmo *from, struct vmo *to, uint64_t off,
			uint64_t end, const struct vmofs_request *req)
{
	struct below *b = calloc(1, sizeof *b);
	int r;

	if (!b) {
		fail(o, to, off, end, -ENOMEM, "no memory for a read");
		return;
	}
	atomic_fetch_add(&o->refs, 1);
	*b = (struct below){
		.read = { .off = off,
			  .len = end - off,
			  .cls = req->cls,
			  .deadline_ns = req->deadline_ns,
			  .done = below_read },
		.o = o,
		.from = vmo_get(from),
		.to = vmofs_vmo_get(to),
		.off = off,
		.end = end,
	};
	r = vmo_read_start(from, &b->read);
	if (r != -EINPROGRESS)
		below_done(b, r);
}

static void ask_below(struct cow_object *o, struct vmo *to, uint64_t off, uint64_t end,
		      const struct vmofs_request *req)
{
	struct vmo *from;
	int r = cow_base_vmo(o->map->base, &from);

	if (r < 0) {
		fail(o, to, off, end, r, "the origin's version cannot be opened");
		return;
	}
	for (; off < end; off += MIN(end - off, BELOW_CHUNK))
		start_below(o, from, to, off, MIN(end, off + BELOW_CHUNK), req);
	vmo_put(from);
}

/* ---- requests ---- */

static void answer_piece(struct cow_object *o, const struct vmofs_request *req, uint64_t off,
			 uint64_t *end)
{
	uint64_t piece, at = 0;
	enum cow_where where = cow_map_find(o->map, off, &piece, &at);
	int64_t r = 0;

	*end = MIN(*end, piece);
	if (where == COW_BELOW)
		ask_below(o, req->vmo, off, *end, req);
	else if (where == COW_HERE)
		r = supply_here(o, req->vmo, off, *end, at);
	else
		r = vmofs_supply_zero(req->vmo, off, *end - off);
	if (r < 0)
		fail(o, req->vmo, off, *end, (int)r, "what is kept here cannot be read");
}

static void answer(struct cow_object *o, const struct vmofs_request *req)
{
	uint64_t all = MIN(req->off + req->len, o->map->size);
	uint64_t end;

	for (uint64_t off = req->off; off < all; off = end) {
		end = all;
		answer_piece(o, req, off, &end);
	}
}

/* The next request as a copy, demand first; false: none, and the task ends. */
static bool next(struct cow_object *o, struct vmofs_request *out) EXCLUDES(o->lock)
{
	struct vmofs_request *req = NULL;
	unsigned cls = 0;

	mutex_lock(&o->lock);
	while (cls < VMOFS_NCLASSES &&
	       !(req = vmofs_list_first(&o->queue[cls], struct vmofs_request, link)))
		cls++;
	if (req) {
		vmofs_list_del(&req->link); /* clear() may come at any time from here on */
		*out = (struct vmofs_request){ .cls = cls, .off = req->off, .len = req->len };
		out->deadline_ns = (uintptr_t)req->priv;
		out->vmo = vmofs_vmo_get(req->vmo);
	}
	o->posted = req != NULL;
	mutex_unlock(&o->lock);
	return req != NULL;
}

static void drain(struct worker_task *t)
{
	struct cow_object *o = container_of(t, struct cow_object, task);
	struct vmofs_request req;

	while (next(o, &req)) {
		atomic_fetch_add(&o->requests, 1);
		answer(o, &req);
		vmofs_vmo_put(req.vmo);
	}
	object_put(o);
}

/* ---- the core's calls ---- */

/* Its class is that of the queue, and its deadline is kept: they may change, which is told, but not under our lock. */
static void queue_locked(struct cow_object *o, struct vmofs_request *req) REQUIRES(o->lock)
{
	req->priv = (void *)(uintptr_t)req->deadline_ns;
	vmofs_list_add_tail(&o->queue[req->cls], &req->link);
}

static void object_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct cow_object *o = object_of(p);

	mutex_lock(&o->lock);
	queue_locked(o, req);
	if (!o->posted) {
		o->posted = true;
		atomic_fetch_add(&o->refs, 1);
		/* Its thread has been there since the beginning. */
		(void)worker_post(o->c->worker, &o->task);
	}
	mutex_unlock(&o->lock);
}

static void object_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct cow_object *o = object_of(p);

	mutex_lock(&o->lock);
	vmofs_list_del(&req->link);
	mutex_unlock(&o->lock);
}

static void object_swap(struct vmofs_provider *p, struct vmofs_request *old,
			struct vmofs_request *now)
{
	struct cow_object *o = object_of(p);

	mutex_lock(&o->lock);
	if (!vmofs_list_empty(&old->link)) {
		vmofs_list_del(&old->link);
		queue_locked(o, now);
	}
	mutex_unlock(&o->lock);
}

static void object_nothing(struct vmofs_provider *p UNUSED)
{
}

static void object_stats(struct vmofs_provider *p, struct vmofs_provider_stats *out)
{
	struct cow_object *o = object_of(p);

	*out = (struct vmofs_provider_stats){
		.requests = o->requests,
		.bytes_fetched = o->bytes,
		.errors = o->errors,
	};
	mutex_lock(&o->lock);
	out->in_flight = o->posted;
	out->last = o->last;
	mutex_unlock(&o->lock);
}

static void object_dump(struct vmofs_provider *p, FILE *out, unsigned depth, unsigned max_items)
{
	const struct cow_map *m = object_of(p)->map;

	fprintf(out,
		"%*scopy on write: size %" PRIu64 ", %" PRIu64 " of the origin's, %" PRIu64
		" extents here\n",
		(int)depth * 2, "", m->size, m->kept, m->n);
	for (uint64_t i = 0; i < m->n && i < max_items; i++)
		fprintf(out, "%*s%" PRIu64 "+%" PRIu64 "%s\n", (int)depth * 2 + 2, "", m->e[i].off,
			m->e[i].len, m->e[i].at == COW_ZEROS ? " zeros" : "");
}

static uint64_t object_koid(struct vmofs_provider *p)
{
	return (uint64_t)(uintptr_t)p;
}

static void object_free(struct vmofs_provider *p)
{
	object_put(object_of(p));
}

static const struct vmofs_provider_ops object_ops = {
	.name = "cow",
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.send = object_send,
	.clear = object_clear,
	.swap = object_swap,
	.on_detach = object_nothing,
	.on_close = object_nothing,
	.stats = object_stats,
	.dump = object_dump,
	.koid = object_koid,
	.free = object_free,
};

/* ---- opening ---- */

static void fill_info(const struct cow *c, const struct vmofs_entry *e, const struct cow_map *m,
		      struct vmofs_object_info *info)
{
	const char *slash = strrchr(e->key, '/');

	*info = (struct vmofs_object_info){ .size = m->size, .mtime = e->mtime, .local = true };
	snprintf(info->name, sizeof info->name, "%s", slash && slash[1] ? slash + 1 : e->key);
	snprintf(info->url, sizeof info->url, "cow:%s#%s", c->dir, e->key);
	snprintf(info->validator, sizeof info->validator, "%s", e->validator);
}

/* @map is taken. */
static int object_new(struct cow *c, struct cow_map *map, struct vmofs_provider **out)
{
	struct cow_object *o = calloc(1, sizeof *o);

	if (!o) {
		cow_map_put_later(map);
		return -ENOMEM;
	}
	o->base.ops = &object_ops;
	o->refs = 1;
	o->c = c;
	o->map = map;
	o->task.run = drain;
	mutex_init(&o->lock, LOCK_RANK_PROVIDER);
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++)
		vmofs_list_init(&o->queue[cls]);
	if (map->base)
		cow_base_use(map->base);
	*out = &o->base;
	return 0;
}

/* Of a key that nothing is known of: the origin's. What is empty may not be there yet. */
static int object_below(struct cow *c, const struct vmofs_entry *e, struct vmofs_provider **out,
			struct vmofs_object_info *info, struct vmofs_err *err)
{
	struct cow_base *b = e->size ? c->single : NULL;
	struct cow_map *map;

	if (e->size && !b)
		return c->lower->ops->object(c->lower, e, out, info, err);
	map = cow_map_new(c, NULL, b, e->size, e->size, NULL, NULL, 0);
	if (!map)
		return -ENOMEM;
	fill_info(c, e, map, info);
	return object_new(c, map, out);
}

int cow_object(struct vmofs_source *src, const struct vmofs_entry *e, struct vmofs_provider **out,
	       struct vmofs_object_info *info, struct vmofs_err *err)
{
	struct cow *c = cow_of(src);
	struct cow_map *map = NULL;
	struct cow_entry *entry;
	char validator[32];

	mutex_lock(&c->lock);
	entry = cow_find_locked(c, e->key, strlen(e->key));
	if (entry && entry->kind == COW_FILE) {
		cow_entry_validator(entry, validator);
		if (!e->validator[0] || !strcmp(e->validator, validator))
			map = cow_map_get_locked(entry->map);
	}
	mutex_unlock(&c->lock);
	if (!entry)
		return object_below(c, e, out, info, err);
	if (!map)
		return vmofs_err_set(err, -ESTALE, "'%s' has been changed here meanwhile", e->key);
	fill_info(c, e, map, info);
	return object_new(c, map, out);
}
