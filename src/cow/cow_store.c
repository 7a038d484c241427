/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents that are stored: what changed is written behind all else in the file of data and synced, and then one record makes it the
 * version that is there. Until then nothing of it can be seen, and after a crash it is as if it had never been. Blocks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "cow/cow_private.h"

#define CHUNK KIB(256)

struct storing {
	struct cow *c;
	struct vmofs_store *st;
	struct cow_known k;
	struct cow_base *base;         /* counted */
	struct vmofs_change_attr attr; /* xattrs: borrowed from k or st */
	bool over;
	struct cow_data *data; /* counted; NULL: nothing was written yet */
	bool made;             /* its name may not be on disk */
	int fd;
	uint8_t *buf;
	struct cow_extent *e;
	uint64_t n;
	uint64_t cap;
};

/* ---- what it is based on ---- */

static int begin_known(struct storing *s, struct vmofs_err *err)
{
	const struct cow_known *k = &s->k;

	s->over = k->over;
	if (k->kind == COW_GONE)
		return 0;
	if (k->kind != COW_FILE)
		return vmofs_err_set(err, -ESTALE, "'%s' is no file any more", s->st->key);
	s->attr = k->attr;
	s->base = k->map->base ? cow_base_get(k->map->base) : NULL;
	s->data = k->map->data;
	if (s->data)
		s->data = cow_data_get(s->c, s->data->id);
	return 0;
}

/* The origin's version, from now on below what is here. */
static int begin_over(struct storing *s, struct vmofs_err *err)
{
	struct vmofs_version v = s->st->base;
	int r = cow_pin_origin(s->c, s->st->key, &v, &s->attr, &s->st->wait, err);

	if (r < 0)
		return r;
	s->over = true;
	s->base = cow_base_new(s->c, s->st->key, &v);
	return s->base ? 0 : -ENOMEM;
}

static int begin(struct storing *s, struct vmofs_err *err)
{
	int r = 0;

	cow_look(s->c, s->st->key, &s->k);
	if (!cow_is_expected(&s->k, &s->st->base))
		return vmofs_err_set(err, -ESTALE, "'%s' has been changed meanwhile", s->st->key);
	if (s->k.known)
		r = begin_known(s, err);
	else if (s->st->base.exists)
		r = begin_over(s, err);
	if (!r)
		cow_add_attr(&s->attr, s->st->attr);
	return r;
}

/* ---- writing ---- */

static int add_extent(struct storing *s, const struct cow_extent *e)
{
	uint64_t cap = s->cap ? 2 * s->cap : 64;
	struct cow_extent *v;

	if (s->n && cow_extent_join(&s->e[s->n - 1], e))
		return 0;
	if (s->n == s->cap) {
		v = realloc(s->e, (size_t)cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		s->e = v;
		s->cap = cap;
	}
	s->e[s->n++] = *e;
	return 0;
}

static int open_data(struct storing *s)
{
	if (s->fd >= 0)
		return 0;
	if (!s->data) {
		s->data = cow_data_get(s->c, 0);
		s->made = true;
	}
	if (!s->data)
		return -ENOMEM;
	s->fd = cow_data_open(s->c, s->data, s->made);
	return MIN(s->fd, 0);
}

static bool is_zero(const uint8_t *p, uint64_t n)
{
	return !*p && !memcmp(p, p + 1, n - 1);
}

static int write_all(struct storing *s, uint64_t n, uint64_t at)
{
	for (uint64_t done = 0; done < n;) {
		struct iovec v = { s->buf + done, n - done };
		ssize_t r = s->c->io->pwritev(s->fd, &v, 1, (off_t)(at + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -EIO;
		done += (uint64_t)r;
	}
	return 0;
}

static int write_chunk(struct storing *s, uint64_t off, uint64_t n)
{
	struct cow_extent e = { off, n, COW_ZEROS };
	int r = s->st->read(s->st, off, s->buf, n);

	if (r < 0 || is_zero(s->buf, n))
		return r < 0 ? r : add_extent(s, &e);
	r = open_data(s);
	if (r < 0)
		return r;
	e.at = cow_data_take(s->c, s->data, n);
	r = add_extent(s, &e);
	if (!r)
		r = write_all(s, n, e.at);
	s->st->bytes_up += n;
	if (!r && s->st->progress)
		s->st->progress(s->st, n, 0);
	return r;
}

static int check_wait(const struct vmofs_change_wait *w)
{
	if (w->cancel && atomic_load(w->cancel))
		return -EINTR;
	return w->deadline_ns && loop_now_ns() > w->deadline_ns ? -ETIMEDOUT : 0;
}

static int write_changed(struct storing *s)
{
	int r = 0;

	for (unsigned i = 0; i < s->st->n_changed && !r; i++) {
		const struct vmofs_changed *c = &s->st->changed[i];

		for (uint64_t done = 0; done < c->len && !r; done += CHUNK) {
			r = check_wait(&s->st->wait);
			if (!r)
				r = write_chunk(s, c->off + done, MIN(c->len - done, CHUNK));
		}
	}
	return r;
}

static int sync_data(struct storing *s)
{
	if (s->fd < 0)
		return 0;
	if (s->c->io->fdatasync(s->fd) < 0)
		return -errno;
	return s->made && s->c->io->fsync(s->c->data_fd) < 0 ? -errno : 0;
}

/* What was written is of no use. */
static void undo(struct storing *s)
{
	for (uint64_t i = 0; s->fd >= 0 && !s->made && i < s->n; i++)
		if (s->e[i].at != COW_ZEROS)
			cow_data_give(s->c, s->data, s->e[i].at, s->e[i].len);
}

/* ---- the record ---- */

static int publish(struct storing *s)
{
	struct vmofs_store *st = s->st;
	const struct cow_map *old = s->k.known ? s->k.map : NULL;
	uint64_t kept = MIN(old ? old->kept : s->base ? s->base->version.size : 0, st->size);
	struct cow_rec r = {
		.kind = COW_FILE,
		.over = s->over,
		.attr = s->attr,
		.number = cow_new_number(s->c),
		.key = { st->key, (uint32_t)strlen(st->key) },
		.attempt = { st->attempt, (uint32_t)strlen(st->attempt) },
	};
	struct cow_entry *e;

	cow_rec_xattrs(&r, s->attr.xattrs);
	e = cow_entry_new(&r);
	if (!e)
		return -ENOMEM;
	e->map = cow_map_new(s->c, s->data, s->base, st->size, kept, old, s->e, s->n);
	if (!e->map) {
		cow_entry_free(e);
		return -ENOMEM;
	}
	cow_entry_version(e, &st->now);
	st->requests = 1;
	return cow_names_add(s->c, e, old, s->e, s->n);
}

static int run(struct storing *s, struct vmofs_err *err)
{
	int r = begin(s, err);
	bool sent = false;

	if (!r)
		r = write_changed(s);
	if (!r)
		r = sync_data(s);
	if (!r)
		r = s->st->commit(s->st);
	if (!r) {
		sent = true;
		r = publish(s);
	}
	if (r < 0 && !sent)
		undo(s);
	return r < 0 && !err->code ? vmofs_err_set(err, r, "cannot keep '%s' in '%s': %s",
						   s->st->key, s->c->dir, strerror(-r))
				   : r;
}

int cow_store(struct vmofs_source *src, struct vmofs_store *st, struct vmofs_err *err)
{
	struct storing s = { .c = cow_of(src), .st = st, .fd = -1, .buf = malloc(CHUNK) };
	/* The first that is asked for is always granted. */
	bool taken = s.buf && st->take(st, CHUNK);
	int r = s.buf ? run(&s, err) : -ENOMEM;

	if (taken)
		st->give(st, CHUNK);
	if (s.fd >= 0)
		s.c->io->close(s.fd);
	cow_known_release(&s.k);
	cow_base_put(s.base);
	cow_data_put(s.c, s.data);
	free(s.e);
	free(s.buf);
	return r;
}
