/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of data: extents are written at their end and never again, so a version that is on disk cannot change under who reads it.
 * Space that no map has any more is given back to the file system; where that cannot make holes it stays until the file goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cow/cow_private.h"

#define PAGE_MASK (VMOFS_PAGE_SIZE - 1)
/* What may be unused at a start without being looked for. */
#define SLACK MIB(1)

static struct cow_data *find_locked(struct cow *c, uint64_t id, struct rb_node **parent,
				    struct rb_node ***link) REQUIRES(c->lock)
{
	*link = &c->datas.root;
	*parent = NULL;
	while (**link) {
		struct cow_data *d = container_of(**link, struct cow_data, node);

		if (d->id == id)
			return d;
		*parent = **link;
		*link = &(**link)->child[id > d->id];
	}
	return NULL;
}

struct cow_data *cow_data_get(struct cow *c, uint64_t id)
{
	struct cow_data *fresh = calloc(1, sizeof *fresh);
	struct rb_node **link, *parent;
	struct cow_data *d;

	mutex_lock(&c->lock);
	d = find_locked(c, id ? id : c->next_data, &parent, &link);
	if (!d && fresh) {
		d = fresh;
		fresh = NULL;
		d->id = id ? id : c->next_data;
		vmofs_list_init(&d->maps);
		rb_insert(&c->datas, &d->node, parent, link);
		c->next_data = MAX(c->next_data, d->id + 1);
	}
	if (d)
		d->refs++;
	mutex_unlock(&c->lock);
	free(fresh);
	return d;
}

static void name_of(uint64_t id, char out[20])
{
	snprintf(out, 20, "%016" PRIx64, id);
}

int cow_data_open(struct cow *c, const struct cow_data *d, bool make)
{
	char name[20];
	int fd;

	name_of(d->id, name);
	fd = c->io->openat(c->data_fd, name, O_RDWR | (make ? O_CREAT : 0), 0600);
	return fd < 0 ? -errno : fd;
}

uint64_t cow_data_take(struct cow *c, struct cow_data *d, uint64_t len)
{
	uint64_t at;

	mutex_lock(&c->lock);
	at = d->end;
	d->end += (len + PAGE_MASK) & ~PAGE_MASK;
	mutex_unlock(&c->lock);
	return at;
}

static void unlink_data(struct cow *c, uint64_t id)
{
	char name[20];

	name_of(id, name);
	(void)c->io->unlinkat(c->data_fd, name);
}

void cow_data_put(struct cow *c, struct cow_data *d)
{
	bool last, stays;

	if (!d)
		return;
	mutex_lock(&c->lock);
	last = --d->refs == 0;
	stays = d->kept;
	if (last)
		rb_erase(&c->datas, &d->node);
	mutex_unlock(&c->lock);
	if (!last)
		return;
	if (!stays && !atomic_load(&c->closing))
		unlink_data(c, d->id);
	free(d);
}

/* ---- what is free ---- */

struct span {
	uint64_t at;
	uint64_t end;
};

static int by_place(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

/* What the maps of @d have, in order. NULL: no memory. */
static struct span *spans_locked(struct cow *c UNUSED, const struct cow_data *d, uint64_t *n)
	REQUIRES(c->lock)
{
	struct vmofs_list *pos;
	struct span *v;
	uint64_t cap = 1;

	vmofs_list_for_each(pos, (struct vmofs_list *)&d->maps)
		cap += vmofs_list_entry(pos, struct cow_map, link)->n;
	v = malloc((size_t)cap * sizeof *v);
	*n = 0;
	if (!v)
		return NULL;
	vmofs_list_for_each(pos, (struct vmofs_list *)&d->maps) {
		const struct cow_map *m = vmofs_list_entry(pos, struct cow_map, link);

		for (uint64_t i = 0; i < m->n; i++)
			if (m->e[i].at != COW_ZEROS)
				v[(*n)++] = (struct span){ m->e[i].at,
							   (m->e[i].at + m->e[i].len + PAGE_MASK) &
								   ~PAGE_MASK };
	}
	qsort(v, (size_t)*n, sizeof *v, by_place);
	return v;
}

static void punch(struct cow *c, int fd, uint64_t from, uint64_t to)
{
	if (from < to)
		(void)c->io->fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
				       (off_t)(to - from));
}

/* [from, to) but for what is in @v. */
static void punch_between(struct cow *c, int fd, const struct span *v, uint64_t n, uint64_t from,
			  uint64_t to)
{
	for (uint64_t i = 0; i < n && from < to; i++) {
		if (v[i].end <= from)
			continue;
		punch(c, fd, from, MIN(v[i].at, to));
		from = MAX(from, v[i].end);
	}
	punch(c, fd, from, to);
}

/* Those of @e that no map has. */
static void free_extents(struct cow *c, struct cow_data *d, const struct cow_extent *e, uint64_t n)
{
	uint64_t n_spans;
	struct span *v;
	int fd;

	mutex_lock(&c->lock);
	v = d->kept ? NULL : spans_locked(c, d, &n_spans);
	mutex_unlock(&c->lock);
	fd = v ? cow_data_open(c, d, false) : -1;
	for (uint64_t i = 0; fd >= 0 && i < n; i++)
		if (e[i].at != COW_ZEROS)
			punch_between(c, fd, v, n_spans, e[i].at,
				      (e[i].at + e[i].len + PAGE_MASK) & ~PAGE_MASK);
	if (fd >= 0)
		c->io->close(fd);
	free(v);
}

void cow_data_give(struct cow *c, struct cow_data *d, uint64_t at, uint64_t len)
{
	struct cow_extent e = { 0, len, at };

	free_extents(c, d, &e, 1);
}

/* ---- the end of maps ---- */

static bool is_shared(struct cow *c, const struct cow_data *d)
{
	bool shared;

	mutex_lock(&c->lock);
	shared = d->refs > 1;
	mutex_unlock(&c->lock);
	return shared;
}

static void map_free(struct cow_map *m)
{
	struct cow *c = m->c;

	/* Where it was the only one the file goes as a whole. */
	if (m->data && is_shared(c, m->data) && !atomic_load(&c->closing))
		free_extents(c, m->data, m->e, m->n);
	cow_data_put(c, m->data);
	cow_base_put(m->base);
	free(m);
}

/* True: it was the last reference. */
static bool map_unref(struct cow_map *m)
{
	bool last;

	mutex_lock(&m->c->lock);
	last = --m->refs == 0;
	if (last)
		vmofs_list_del(&m->link);
	mutex_unlock(&m->c->lock);
	return last;
}

void cow_map_put(struct cow_map *m)
{
	if (m && map_unref(m))
		map_free(m);
}

void cow_bury(struct worker_task *t)
{
	struct cow *c = container_of(t, struct cow, bury);
	struct cow_map *m;

	do {
		mutex_lock(&c->lock);
		m = vmofs_list_first(&c->dead, struct cow_map, dead);
		if (m)
			vmofs_list_del(&m->dead);
		else
			c->burying = false;
		mutex_unlock(&c->lock);
		if (m)
			map_free(m);
	} while (m);
}

void cow_map_put_later(struct cow_map *m)
{
	struct cow *c = m->c;
	bool post;

	if (!map_unref(m))
		return;
	mutex_lock(&c->lock);
	vmofs_list_add_tail(&c->dead, &m->dead);
	post = !c->burying;
	c->burying = true;
	mutex_unlock(&c->lock);
	if (post)
		(void)worker_post(c->worker, &c->bury);
}

/* ---- at a start ---- */

/* What lies behind the last extent was never told of. Holes where nothing is, if that is much. */
static int tidy_one(struct cow *c, struct cow_data *d)
{
	uint64_t n, live = 0;
	struct span *v;
	struct stat st;
	int fd, r = 0;

	mutex_lock(&c->lock);
	v = spans_locked(c, d, &n);
	mutex_unlock(&c->lock);
	if (!v)
		return -ENOMEM;
	d->end = 0;
	for (uint64_t i = 0; i < n; i++) {
		live += v[i].end - v[i].at;
		d->end = MAX(d->end, v[i].end);
	}
	fd = cow_data_open(c, d, false);
	if (fd < 0 || c->io->fstat(fd, &st) < 0)
		r = fd < 0 ? fd : -errno;
	if (!r && (uint64_t)st.st_size > d->end)
		(void)c->io->ftruncate(fd, (off_t)d->end);
	if (!r && (uint64_t)st.st_blocks * 512 > live + SLACK)
		punch_between(c, fd, v, n, 0, d->end);
	if (fd >= 0)
		c->io->close(fd);
	free(v);
	return r;
}

static bool name_parse(const char *name, uint64_t *id)
{
	char *end;

	*id = strtoull(name, &end, 16);
	return strlen(name) == 16 && !*end && *id;
}

static int tidy_name(void *arg, const char *name)
{
	struct cow *c = arg;
	struct rb_node **link, *parent;
	uint64_t id;
	bool known;

	if (!name_parse(name, &id))
		return 0;
	mutex_lock(&c->lock);
	known = find_locked(c, id, &parent, &link);
	c->next_data = MAX(c->next_data, id + 1);
	mutex_unlock(&c->lock);
	if (!known)
		unlink_data(c, id);
	return 0;
}

int cow_data_tidy(struct cow *c) NO_TSA
{
	int r = 0;

	for (struct rb_node *n = rb_first(&c->datas); n && !r; n = rb_next(n))
		r = tidy_one(c, container_of(n, struct cow_data, node));
	if (!r && c->io->list(c->data_fd, tidy_name, c) < 0)
		r = -errno;
	return r;
}
