/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of names: every record is appended and synced before it counts for who asked, and read again at the next start. Where a sync has
 * failed nobody knows what is on disk: then all of it is written anew, to another file, before anything else is said. The same is done
 * when most of it is of no use any more. Threads that sync at the same time share one sync.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/macros.h"
#include "cow/cow_private.h"

#define NAME "names"
#define NEW  "names.new"
/* It is written anew when it is so long, and as many times as long as it was then. */
#define COMPACT_MIN MIB(8)
enum { COMPACT_TIMES = 4, DELTA_MAX = 1 << 20 };

/* ---- reading ---- */

static struct cow_map *map_of_rec(struct cow *c, const struct cow_rec *r, const struct cow_map *old)
{
	struct cow_extent *e = calloc((size_t)r->n_extents + 1, sizeof *e);
	struct cow_data *d = r->data ? cow_data_get(c, r->data) : NULL;
	struct cow_base *b = NULL;
	struct cow_map *m = NULL;
	struct vmofs_version v = { true, r->origin_size, "", r->origin_mtime };
	char key[VMOFS_KEY_MAX] = "";

	for (uint64_t i = 0; e && i < r->n_extents; i++)
		e[i] = cow_extent_get(r, i);
	if (r->has_origin) {
		memcpy(key, r->origin_key.p, r->origin_key.len);
		memcpy(v.validator, r->origin_validator.p, r->origin_validator.len);
		/* Those that follow each other share what they have of the origin. */
		if (old && old->base && !strcmp(old->base->key, key) &&
		    !strcmp(old->base->version.validator, v.validator))
			b = cow_base_get(old->base);
		else
			b = cow_base_new(c, key, &v);
	}
	if (e && (d || !r->data) && (b || !r->has_origin))
		m = cow_map_new(c, d, b, r->size, r->kept, old, e, r->n_extents);
	cow_data_put(c, d);
	cow_base_put(b);
	free(e);
	return m;
}

static int replay(void *arg, const struct cow_rec *r) NO_TSA
{
	struct cow *c = arg;
	struct cow_entry *old = cow_find_locked(c, r->key.p, r->key.len);
	struct cow_map *map = old ? old->map : NULL;
	struct cow_entry *e = cow_entry_new(r);
	struct vmofs_list dead;

	vmofs_list_init(&dead);
	if (!e)
		return -ENOMEM;
	if (r->kind == COW_FILE) {
		if (r->delta && !map) {
			cow_entry_free(e);
			return -EBADMSG;
		}
		e->map = map_of_rec(c, r, r->delta ? map : NULL);
		if (!e->map) {
			cow_entry_free(e);
			return -ENOMEM;
		}
	}
	mutex_lock(&c->lock);
	cow_apply_locked(c, e, &dead);
	mutex_unlock(&c->lock);
	cow_put_dead(&dead);
	return 0;
}

static int read_all(struct cow *c, int fd, uint8_t **out, size_t *len)
{
	struct stat st;
	uint8_t *p;
	size_t got = 0;

	if (c->io->fstat(fd, &st) < 0)
		return -errno;
	p = malloc((size_t)st.st_size + 1);
	if (!p)
		return -ENOMEM;
	while (got < (size_t)st.st_size) {
		ssize_t r = c->io->pread(fd, p + got, (size_t)st.st_size - got, (off_t)got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0) {
			free(p);
			return -errno;
		}
		if (r == 0)
			break;
		got += (size_t)r;
	}
	*out = p;
	*len = got;
	return 0;
}

/* ---- writing ---- */

static int write_all(struct cow *c, int fd, const uint8_t *p, size_t n, uint64_t off)
{
	while (n) {
		struct iovec v = { (void *)(uintptr_t)p, n };
		ssize_t r = c->io->pwritev(fd, &v, 1, (off_t)off);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -EIO;
		p += r;
		n -= (size_t)r;
		off += (uint64_t)r;
	}
	return 0;
}

struct text {
	uint8_t *p;
	size_t len;
	size_t cap;
	struct cow_head h;
	int status;
};

/* One record more. */
static void add_rec(struct text *t, const struct cow_rec *r, const struct cow_extent *e, uint64_t n)
{
	size_t len = cow_rec_len(r, n);

	if (t->status || !len) {
		t->status = t->status ? t->status : -EFBIG;
		return;
	}
	if (t->cap - t->len < len) {
		size_t cap = MAX(2 * t->cap, t->len + len);
		uint8_t *p = realloc(t->p, cap);

		if (!p) {
			t->status = -ENOMEM;
			return;
		}
		t->p = p;
		t->cap = cap;
	}
	t->h.number++;
	cow_rec_encode(r, e, n, &t->h, t->len, t->p + t->len);
	t->len += len;
}

static void add_entry(struct text *t, const struct cow_entry *e)
{
	const struct cow_map *m = e->map;
	uint64_t done = m ? MIN(m->n, (uint64_t)DELTA_MAX) : 0;
	struct cow_rec r;

	cow_entry_rec(e, &r);
	add_rec(t, &r, m ? m->e : NULL, done);
	for (r.delta = true; m && done < m->n && !t->status;) {
		uint64_t n = MIN(m->n - done, (uint64_t)DELTA_MAX);

		add_rec(t, &r, m->e + done, n);
		done += n;
	}
}

static int new_salt(uint64_t *out)
{
	do
		if (getrandom(out, sizeof *out, 0) != (ssize_t)sizeof *out)
			return -EIO;
	while (!*out);
	return 0;
}

static int text_of_table(struct cow *c, struct text *t)
{
	t->cap = KIB(4);
	t->p = malloc(t->cap);
	if (!t->p)
		return -ENOMEM;
	t->status = new_salt(&t->h.salt);
	cow_header_encode(t->h.salt, t->p);
	t->len = COW_HEADER_LEN;
	mutex_lock(&c->lock);
	for (struct rb_node *n = rb_first(&c->entries); n && !t->status; n = rb_next(n))
		add_entry(t, container_of(n, struct cow_entry, node));
	mutex_unlock(&c->lock);
	return t->status;
}

static int write_new(struct cow *c, const struct text *t, int *fd)
{
	int r;

	*fd = c->io->openat(c->dir_fd, NEW, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (*fd < 0)
		return -errno;
	r = write_all(c, *fd, t->p, t->len, 0);
	if (!r && c->io->fdatasync(*fd) < 0)
		r = -errno;
	if (!r && c->io->renameat(c->dir_fd, NEW, NAME) < 0)
		r = -errno;
	/* From here on it may be the one that is found: without this sync nobody can tell. */
	if (!r && c->io->fsync(c->dir_fd) < 0)
		r = -errno;
	if (r < 0) {
		c->io->close(*fd);
		*fd = -1;
	}
	return r;
}

/* All that the table has, in a new file. */
static int compact_locked(struct cow *c) REQUIRES(c->names.lock)
{
	struct text t = { 0 };
	int fd = -1, r = text_of_table(c, &t);

	c->names.broken = true;
	if (!r)
		r = write_new(c, &t, &fd);
	if (!r) {
		if (c->names.fd >= 0)
			c->io->close(c->names.fd);
		c->names.fd = fd;
		c->names.salt = t.h.salt;
		c->names.number = t.h.number;
		c->names.end = c->names.durable = c->names.compacted = t.len;
		c->names.broken = false;
	}
	free(t.p);
	return r;
}

/* A descriptor is not exchanged while somebody syncs it. */
static int ready_locked(struct cow *c) REQUIRES(c->names.lock)
{
	uint64_t limit = MAX(COMPACT_MIN, COMPACT_TIMES * c->names.compacted);

	if (!c->names.broken && c->names.end < limit)
		return 0;
	while (c->names.syncing)
		cond_wait(&c->names.synced, &c->names.lock);
	return compact_locked(c);
}

static int sync_locked(struct cow *c, uint64_t end) REQUIRES(c->names.lock)
{
	uint64_t salt = c->names.salt;

	/* Another salt: all was written anew meanwhile. */
	while (!c->names.broken && salt == c->names.salt && c->names.durable < end) {
		uint64_t to = c->names.end;
		int r, fd = c->names.fd;

		if (c->names.syncing) {
			cond_wait(&c->names.synced, &c->names.lock);
			continue;
		}
		c->names.syncing = true;
		mutex_unlock(&c->names.lock);
		r = c->io->fdatasync(fd);
		mutex_lock(&c->names.lock);
		c->names.syncing = false;
		if (r < 0)
			c->names.broken = true;
		else
			c->names.durable = to;
		cond_broadcast(&c->names.synced);
	}
	return c->names.broken ? ready_locked(c) : 0;
}

static bool is_map_of(struct cow *c, const struct cow_entry *e, const struct cow_map *m)
{
	const struct cow_entry *old;
	bool same;

	mutex_lock(&c->lock);
	old = cow_find_locked(c, e->key, e->key_len);
	same = old && old->map == m;
	mutex_unlock(&c->lock);
	return same;
}

/* Written, and in the table. @e is taken. */
static int append_locked(struct cow *c, struct cow_entry *e, const struct cow_map *over,
			 const struct cow_extent *now, uint64_t n_now, struct vmofs_list *dead)
	REQUIRES(c->names.lock)
{
	struct text t = { .h = { c->names.salt, c->names.number, c->names.durable, 0 } };
	uint64_t end = c->names.end;
	struct cow_rec rec;
	size_t len;
	int r;

	cow_entry_rec(e, &rec);
	rec.delta = over && is_map_of(c, e, over);
	if (!rec.delta && e->map) {
		now = e->map->e;
		n_now = e->map->n;
	}
	len = cow_rec_len(&rec, n_now);
	t.p = len ? malloc(len) : NULL;
	if (!t.p)
		return len ? -ENOMEM : -EFBIG;
	t.h.number++;
	cow_rec_encode(&rec, now, n_now, &t.h, end, t.p);
	r = write_all(c, c->names.fd, t.p, len, end);
	free(t.p);
	if (r < 0) {
		/* All of it may be there. */
		c->names.broken = c->io->ftruncate(c->names.fd, (off_t)end) < 0;
		return r;
	}
	c->names.number = t.h.number;
	c->names.end = end + len;
	mutex_lock(&c->lock);
	cow_apply_locked(c, e, dead);
	mutex_unlock(&c->lock);
	return 0;
}

/* What may still be found after a crash keeps its contents, until the next start knows better. */
static void keep(struct cow *c, struct vmofs_list *entries)
{
	struct vmofs_list *pos;

	mutex_lock(&c->lock);
	vmofs_list_for_each(pos, entries) {
		const struct cow_map *m = vmofs_list_entry(pos, struct cow_entry, dead)->map;

		if (m && m->data)
			m->data->kept = true;
	}
	mutex_unlock(&c->lock);
	cow_put_dead(entries);
}

int cow_names_add(struct cow *c, struct cow_entry *e, const struct cow_map *over,
		  const struct cow_extent *now, uint64_t n_now)
{
	struct vmofs_list dead;
	int r;

	vmofs_list_init(&dead);
	mutex_lock(&c->names.lock);
	r = ready_locked(c);
	if (!r)
		r = append_locked(c, e, over, now, n_now, &dead);
	if (r < 0) {
		mutex_unlock(&c->names.lock);
		/* Nobody was told of it, but it may be on disk. */
		vmofs_list_add(&dead, &e->dead);
		keep(c, &dead);
		return r;
	}
	r = sync_locked(c, c->names.end);
	mutex_unlock(&c->names.lock);
	if (!r) {
		cow_put_dead(&dead);
		return 0;
	}
	keep(c, &dead);
	log_warn("cannot write to '%s': %s", c->dir, strerror(-r));
	return r;
}

int cow_names_settle(struct cow *c)
{
	int r;

	mutex_lock(&c->names.lock);
	r = c->names.broken ? ready_locked(c) : 0;
	mutex_unlock(&c->names.lock);
	return r;
}

/* ---- life ---- */

static int open_failed(const struct cow *c, const char *what, int r, struct vmofs_err *err)
{
	const char *why = strerror(-r);

	if (r == -EPROTO)
		why = "it was written by a newer version of vmofs";
	if (r == -EBADMSG)
		why = "it is damaged; a copy of the directory from before helps, or to remove it "
		      "with all that was changed";
	return vmofs_err_set(err, r, "cannot %s '%s/" NAME "': %s", what, c->dir, why);
}

static int read_old(struct cow *c, int fd)
{
	struct cow_head last = { 0 };
	uint8_t *p = NULL;
	size_t len = 0;
	uint64_t end = 0;
	int r = read_all(c, fd, &p, &len);

	if (!r)
		r = cow_walk(p, len, &last, &end, replay, c);
	free(p);
	if (r < 0)
		return r;
	mutex_lock(&c->names.lock);
	c->names.salt = last.salt;
	c->names.number = last.number;
	c->names.end = end;
	/* What is here may not be on disk yet. */
	c->names.durable = 0;
	c->names.compacted = end / COMPACT_TIMES;
	/* What stands behind the end could follow a record that is written over its beginning. */
	c->names.broken = len > end;
	mutex_unlock(&c->names.lock);
	return 0;
}

int cow_names_open(struct cow *c, struct vmofs_err *err)
{
	int r = 0, fd = c->io->openat(c->dir_fd, NAME, O_RDWR, 0600);

	if (fd < 0 && errno != ENOENT)
		return open_failed(c, "open", -errno, err);
	(void)c->io->unlinkat(c->dir_fd, NEW);
	if (fd >= 0)
		r = read_old(c, fd);
	if (r < 0) {
		c->io->close(fd);
		return open_failed(c, "read", r, err);
	}
	mutex_lock(&c->names.lock);
	c->names.fd = fd;
	r = fd < 0 ? compact_locked(c) : sync_locked(c, c->names.end);
	mutex_unlock(&c->names.lock);
	return r < 0 ? open_failed(c, "write", r, err) : 0;
}

void cow_names_close(struct cow *c) NO_TSA
{
	if (c->names.fd >= 0)
		c->io->close(c->names.fd);
	c->names.fd = -1;
}
