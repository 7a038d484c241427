/* SPDX-License-Identifier: Apache-2.0 */
/* Writes ztocs as SOCI does, but for the order of things in the buffer. For tests. */
#ifndef TESTS_ZTOC_WRITE_H
#define TESTS_ZTOC_WRITE_H

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/little.h"
#include "base/macros.h"

#define ZWINDOW     32768u
#define ZCHECKPOINT (17 + ZWINDOW)

struct zpax {
	const char *key;
	const char *value;
};

struct zfile {
	const char *name;
	const char *type;
	uint64_t off;
	uint64_t size;
	const char *target;
	uint64_t mode;
	uint32_t uid;
	uint32_t gid;
	const char *time;
	uint64_t major;
	uint64_t minor;
	struct zpax pax[4]; /* until one without a key */
};

struct zspec {
	const struct zfile *files;
	unsigned n_files;
	uint64_t packed_size;
	uint64_t raw_size;
	uint8_t algorithm; /* 0: absent, that is gzip */
	uint32_t max_span;
	const char *const *digests;
	unsigned n_digests;
	const uint8_t *checkpoints;
	size_t checkpoints_len;
};

struct zbuf {
	uint8_t *p;
	size_t n;
	size_t cap;
};

static inline size_t z_room(struct zbuf *b, size_t n)
{
	size_t at = (b->n + 7) / 8 * 8;

	if (at + n > b->cap) {
		b->cap = 2 * (at + n) + 4096;
		b->p = realloc(b->p, b->cap);
		assert(b->p);
	}
	memset(b->p + b->n, 0, at + n - b->n);
	b->n = at + n;
	return at;
}

/* A table of @n fields of eight bytes, all absent. */
static inline size_t z_table(struct zbuf *b, unsigned n)
{
	size_t vtable = z_room(b, 4 + 2 * n);
	size_t at = z_room(b, 8 + 8 * n);

	b->p[vtable] = (uint8_t)(4 + 2 * n);
	b->p[vtable + 2] = (uint8_t)(8 + 8 * n);
	put32(b->p + at, (uint32_t)(at - vtable));
	return at;
}

/* Where the field is, from now on present. */
static inline uint8_t *z_field(struct zbuf *b, size_t table, unsigned id)
{
	size_t vtable = table - get32(b->p + table);

	b->p[vtable + 4 + 2 * id] = (uint8_t)(8 + 8 * id);
	return b->p + table + 8 + 8 * (size_t)id;
}

static inline void z_number(struct zbuf *b, size_t table, unsigned id, uint64_t v)
{
	if (v)
		put64(z_field(b, table, id), v);
}

static inline void z_refer(struct zbuf *b, size_t table, unsigned id, size_t to)
{
	uint8_t *p = z_field(b, table, id);

	put32(p, (uint32_t)(to - (size_t)(p - b->p)));
}

/* A vector of @n elements, which @p holds or which are zeros. */
static inline size_t z_vector(struct zbuf *b, const void *p, size_t n, size_t each)
{
	size_t at = z_room(b, 4 + n * each + 1);

	put32(b->p + at, (uint32_t)n);
	if (p && n)
		memcpy(b->p + at + 4, p, n * each);
	return at;
}

static inline void z_string(struct zbuf *b, size_t table, unsigned id, const char *s)
{
	if (s)
		z_refer(b, table, id, z_vector(b, s, strlen(s), 1));
}

static inline void z_element(struct zbuf *b, size_t vector, size_t i, size_t to)
{
	size_t at = vector + 4 + 4 * i;

	put32(b->p + at, (uint32_t)(to - at));
}

static inline size_t z_file(struct zbuf *b, const struct zfile *f)
{
	size_t t = z_table(b, 14), v, n = 0;

	z_string(b, t, 0, f->name);
	z_string(b, t, 1, f->type);
	z_number(b, t, 2, f->off);
	z_number(b, t, 3, f->size);
	z_string(b, t, 4, f->target);
	z_number(b, t, 5, f->mode);
	z_number(b, t, 6, f->uid);
	z_number(b, t, 7, f->gid);
	z_string(b, t, 8, "user");
	z_string(b, t, 9, "group");
	z_string(b, t, 10, f->time);
	z_number(b, t, 11, f->major);
	z_number(b, t, 12, f->minor);
	while (n < ARRAY_LEN(f->pax) && f->pax[n].key)
		n++;
	if (!n)
		return t;
	v = z_vector(b, NULL, n, 4);
	z_refer(b, t, 13, v);
	for (size_t i = 0; i < n; i++) {
		size_t x = z_table(b, 2);

		z_string(b, x, 0, f->pax[i].key);
		z_string(b, x, 1, f->pax[i].value);
		z_element(b, v, i, x);
	}
	return t;
}

static inline size_t z_compression(struct zbuf *b, const struct zspec *s)
{
	size_t t = z_table(b, 4), v;

	z_number(b, t, 0, s->algorithm);
	z_number(b, t, 1, s->max_span);
	z_refer(b, t, 3, z_vector(b, s->checkpoints, s->checkpoints_len, 1));
	if (!s->n_digests)
		return t;
	v = z_vector(b, NULL, s->n_digests, 4);
	z_refer(b, t, 2, v);
	for (unsigned i = 0; i < s->n_digests; i++)
		z_element(b, v, i, z_vector(b, s->digests[i], strlen(s->digests[i]), 1));
	return t;
}

/* buf.p is freed by the caller. */
static inline struct zbuf ztoc_write(const struct zspec *s)
{
	struct zbuf b = { 0 };
	size_t head = z_room(&b, 8), root = z_table(&b, 6), toc, v;

	put32(b.p + head, (uint32_t)root);
	z_string(&b, root, 0, "0.9");
	z_string(&b, root, 1, "test");
	z_number(&b, root, 2, s->packed_size);
	z_number(&b, root, 3, s->raw_size);
	toc = z_table(&b, 1);
	z_refer(&b, root, 4, toc);
	v = z_vector(&b, NULL, s->n_files, 4);
	z_refer(&b, toc, 0, v);
	for (unsigned i = 0; i < s->n_files; i++)
		z_element(&b, v, i, z_file(&b, &s->files[i]));
	z_refer(&b, root, 5, z_compression(&b, s));
	return b;
}

#endif
