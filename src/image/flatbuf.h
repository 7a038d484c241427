/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading flatbuffers that come from outside: each offset is looked at before it is followed. Header only, any thread.
 *
 * A table begins with the signed distance back to its vtable: {u16 bytes of the vtable, u16 bytes of the table, u16 where
 * each field is in the table, 0: it is absent}. Strings, vectors and tables are where a u32 points to from its own place.
 */
#ifndef IMAGE_FLATBUF_H
#define IMAGE_FLATBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/little.h"

struct flatbuf {
	const uint8_t *p;
	size_t len;
	/* What may still be looked at: offsets may lead to one place again and again, and in loops. */
	uint64_t budget;
	bool bad; /* something led out of the buffer, or the budget is gone */
};

struct flatbuf_table {
	size_t at; /* 0: there is none */
	size_t len;
	size_t vtable;
	size_t vtable_len;
};

/* Bytes of a string, or elements of a vector. */
struct flatbuf_span {
	const uint8_t *p;
	size_t n;
};

static inline bool flatbuf_has(struct flatbuf *b, size_t at, size_t n)
{
	if (at > b->len || n > b->len - at || n > b->budget)
		b->bad = true;
	else
		b->budget -= n;
	return !b->bad;
}

static inline uint32_t flatbuf_u16(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8;
}

/* Where the u32 at @at points to; 0: nowhere. */
static inline size_t flatbuf_follow(struct flatbuf *b, size_t at)
{
	uint32_t off;

	if (!flatbuf_has(b, at, 4))
		return 0;
	off = get32(b->p + at);
	if (off == 0 || off > b->len - at) {
		b->bad = true;
		return 0;
	}
	return at + off;
}

/* The table at @at. */
static inline struct flatbuf_table flatbuf_table_at(struct flatbuf *b, size_t at)
{
	struct flatbuf_table t = { 0 };
	int64_t vtable;

	if (at == 0 || !flatbuf_has(b, at, 4))
		return t;
	vtable = (int64_t)at - (int32_t)get32(b->p + at);
	if (vtable < 0 || !flatbuf_has(b, (size_t)vtable, 4)) {
		b->bad = true;
		return t;
	}
	t.vtable = (size_t)vtable;
	t.vtable_len = flatbuf_u16(b->p + t.vtable);
	t.len = flatbuf_u16(b->p + t.vtable + 2);
	if (t.vtable_len < 4 || t.len < 4 || !flatbuf_has(b, t.vtable, t.vtable_len) ||
	    !flatbuf_has(b, at, t.len)) {
		b->bad = true;
		return (struct flatbuf_table){ 0 };
	}
	t.at = at;
	return t;
}

/* Where the field @id of @n bytes is; 0: it is absent. */
static inline size_t flatbuf_field(struct flatbuf *b, const struct flatbuf_table *t, unsigned id,
				   size_t n)
{
	size_t entry = 4 + 2 * (size_t)id;
	uint32_t off;

	if (!t->at || entry + 2 > t->vtable_len)
		return 0;
	off = flatbuf_u16(b->p + t->vtable + entry);
	if (off == 0)
		return 0;
	if (off < 4 || off > t->len || n > t->len - off) {
		b->bad = true;
		return 0;
	}
	return t->at + off;
}

static inline int64_t flatbuf_i64(struct flatbuf *b, const struct flatbuf_table *t, unsigned id)
{
	size_t at = flatbuf_field(b, t, id, 8);

	return at ? (int64_t)get64(b->p + at) : 0;
}

static inline uint32_t flatbuf_u32(struct flatbuf *b, const struct flatbuf_table *t, unsigned id)
{
	size_t at = flatbuf_field(b, t, id, 4);

	return at ? get32(b->p + at) : 0;
}

static inline uint8_t flatbuf_u8(struct flatbuf *b, const struct flatbuf_table *t, unsigned id,
				 uint8_t absent)
{
	size_t at = flatbuf_field(b, t, id, 1);

	return at ? b->p[at] : absent;
}

static inline struct flatbuf_table flatbuf_child(struct flatbuf *b, const struct flatbuf_table *t,
						 unsigned id)
{
	size_t at = flatbuf_field(b, t, id, 4);

	return flatbuf_table_at(b, at ? flatbuf_follow(b, at) : 0);
}

/* A vector of elements of @each bytes at @at. */
static inline struct flatbuf_span flatbuf_vector_at(struct flatbuf *b, size_t at, size_t each)
{
	struct flatbuf_span v = { 0 };

	if (at == 0 || !flatbuf_has(b, at, 4))
		return v;
	v.n = get32(b->p + at);
	v.p = b->p + at + 4;
	if (!flatbuf_has(b, at + 4, v.n * each))
		return (struct flatbuf_span){ 0 };
	return v;
}

static inline struct flatbuf_span flatbuf_vector(struct flatbuf *b, const struct flatbuf_table *t,
						 unsigned id, size_t each)
{
	size_t at = flatbuf_field(b, t, id, 4);

	return flatbuf_vector_at(b, at ? flatbuf_follow(b, at) : 0, each);
}

/* Without the zero that follows it. */
static inline struct flatbuf_span flatbuf_string(struct flatbuf *b, const struct flatbuf_table *t,
						 unsigned id)
{
	return flatbuf_vector(b, t, id, 1);
}

/* The i-th of a vector of tables. */
static inline struct flatbuf_table flatbuf_element(struct flatbuf *b, struct flatbuf_span v,
						   size_t i)
{
	return flatbuf_table_at(b, flatbuf_follow(b, (size_t)(v.p - b->p) + 4 * i));
}

static inline struct flatbuf_table flatbuf_root(struct flatbuf *b)
{
	return flatbuf_table_at(b, flatbuf_follow(b, 0));
}

#endif
