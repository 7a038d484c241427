/* SPDX-License-Identifier: Apache-2.0 */
/* Texts and sets of attributes that are kept once: bytes one after the other, and tables of where they begin. */
#include "image/layer_heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/macros.h"
#include "image/layer_format.h"

#define LAYER_TABLE_MIN 64u
#define LAYER_GROW_MIN  256u

int layer_grow(void *p, size_t *cap, size_t len, size_t need, size_t size)
{
	size_t want = *cap;
	void *more;

	if (need <= *cap - len)
		return 0;
	while (want - len < need)
		want = MAX(want + want / 2, LAYER_GROW_MIN);
	more = realloc(*(void **)p, want * size);
	if (!more)
		return -ENOMEM;
	*(void **)p = more;
	*cap = want;
	return 0;
}

/* -- hashing: SipHash with one round a word and three at the end ------------------------------- */

static inline uint64_t layer_rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void layer_sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = layer_rotate(v[1], 13) ^ v[0];
	v[0] = layer_rotate(v[0], 32);
	v[2] += v[3];
	v[3] = layer_rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = layer_rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = layer_rotate(v[1], 17) ^ v[2];
	v[2] = layer_rotate(v[2], 32);
}

static inline void layer_sip_word(uint64_t v[4], uint64_t w)
{
	v[3] ^= w;
	layer_sip_round(v);
	v[0] ^= w;
}

static uint32_t layer_hash(const struct layer_heap *h, const void *p, size_t len)
{
	uint64_t v[4] = { h->key[0] ^ UINT64_C(0x736f6d6570736575),
			  h->key[1] ^ UINT64_C(0x646f72616e646f6d),
			  h->key[0] ^ UINT64_C(0x6c7967656e657261),
			  h->key[1] ^ UINT64_C(0x7465646279746573) };
	const uint8_t *b = p;
	uint64_t w, last = (uint64_t)len << 56;

	for (; len >= 8; len -= 8, b += 8) {
		memcpy(&w, b, 8);
		layer_sip_word(v, w);
	}
	w = 0;
	memcpy(&w, b, len);
	layer_sip_word(v, w | last);
	v[2] ^= 0xff;
	for (unsigned i = 0; i < 3; i++)
		layer_sip_round(v);
	return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

/* -- tables ------------------------------------------------------------------------------------ */

static void layer_table_put(struct layer_table *t, uint32_t hash, uint32_t at)
{
	uint32_t i = hash & t->mask;

	while (t->slot[i].at)
		i = (i + 1) & t->mask;
	t->slot[i] = (struct layer_slot){ at + 1, hash };
	t->n++;
}

/* Room for one more. */
static int layer_table_grow(struct layer_table *t)
{
	struct layer_table more = { .mask = t->slot ? t->mask * 2 + 1 : LAYER_TABLE_MIN - 1 };

	if (t->slot && t->n < t->mask / 4 * 3)
		return 0;
	more.slot = calloc((size_t)more.mask + 1, sizeof *more.slot);
	if (!more.slot)
		return -ENOMEM;
	for (size_t i = 0; t->slot && i <= t->mask; i++)
		if (t->slot[i].at)
			layer_table_put(&more, t->slot[i].hash, t->slot[i].at - 1);
	free(t->slot);
	*t = more;
	return 0;
}

/*
 * These bytes are at @at, with a zero behind them. That is all that has to be so: a value with a zero inside may have been put there,
 * of which they are the beginning.
 */
static bool layer_text_is(const struct layer_heap *h, uint32_t at, const char *p, size_t len)
{
	return h->len - at > len && !h->p[at + len] && memcmp(h->p + at, p, len) == 0;
}

static bool layer_text_find(const struct layer_heap *h, uint32_t hash, const char *p, size_t len,
			    uint32_t *at)
{
	const struct layer_table *t = &h->texts;
	const struct layer_slot *s;

	if (!t->slot)
		return false;
	for (uint32_t i = hash; (s = &t->slot[i & t->mask])->at; i++) {
		if (s->hash == hash && layer_text_is(h, s->at - 1, p, len)) {
			*at = s->at - 1;
			return true;
		}
	}
	return false;
}

bool layer_heap_find(const struct layer_heap *h, const char *p, size_t len, uint32_t *at)
{
	return layer_text_find(h, layer_hash(h, p, len), p, len, at);
}

/* Whether @need more bytes are within the limit. */
static bool layer_heap_fits(const struct layer_heap *h, size_t need)
{
	return need <= h->limit - (h->len + h->sets_len);
}

int layer_heap_text(struct layer_heap *h, const char *p, size_t len, uint32_t *at)
{
	uint32_t hash = layer_hash(h, p, len);
	int r;

	if (layer_text_find(h, hash, p, len, at))
		return 0;
	if (!layer_heap_fits(h, len + 1))
		return -E2BIG;
	r = layer_table_grow(&h->texts);
	if (r == 0)
		r = layer_grow(&h->p, &h->cap, h->len, len + 1, 1);
	if (r < 0)
		return r;
	*at = (uint32_t)h->len;
	memcpy(h->p + h->len, p, len);
	h->p[h->len + len] = 0;
	h->len += len + 1;
	layer_table_put(&h->texts, hash, *at);
	return 0;
}

/* -- sets of attributes ------------------------------------------------------------------------ */

/* By name; of one name, in the order that they had. */
static int layer_xattr_cmp(const void *a, const void *b)
{
	const struct layer_xattr *x = *(const struct layer_xattr *const *)a;
	const struct layer_xattr *y = *(const struct layer_xattr *const *)b;
	int r = layer_name_cmp(x->name, x->name_len, y->name, y->name_len);

	return r ? r : (x > y) - (x < y);
}

static bool layer_xattr_ok(const struct layer_xattr *x)
{
	return x->name_len >= 1 && x->name_len <= LAYER_XATTR_NAME_MAX &&
		!memchr(x->name, 0, x->name_len) && x->len <= LAYER_XATTR_VALUE_MAX;
}

/* @order: sorted. @set: room for 1 + 4 * n numbers. */
static int layer_set_make(struct layer_heap *h, const struct layer_xattr *const *order, unsigned n,
			  uint32_t *set)
{
	uint64_t list = 0;

	set[0] = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct layer_xattr *x = order[i];
		uint32_t *a = set + 1 + 4 * (size_t)set[0];
		int r;

		if (!layer_xattr_ok(x))
			return -EBADMSG;
		if (i + 1 < n && x->name_len == order[i + 1]->name_len &&
		    memcmp(x->name, order[i + 1]->name, x->name_len) == 0)
			continue;
		list += x->name_len + 1;
		a[1] = 0;
		a[2] = (uint32_t)x->len;
		a[3] = (uint32_t)x->name_len;
		r = layer_heap_text(h, x->name, x->name_len, &a[0]);
		if (r == 0 && x->len)
			r = layer_heap_text(h, x->value, x->len, &a[1]);
		if (r < 0)
			return r;
		set[0]++;
	}
	return list <= LAYER_XATTR_LIST_MAX ? 0 : -EBADMSG;
}

/* Where the set is: there already, or put there. */
static int layer_set_put(struct layer_heap *h, const uint32_t *set, uint32_t *at)
{
	size_t len = 4 + 16 * (size_t)set[0];
	uint32_t hash = layer_hash(h, set, len);
	const struct layer_slot *s;
	int r = layer_table_grow(&h->set_table);

	if (r < 0)
		return r;
	for (uint32_t i = hash; (s = &h->set_table.slot[i & h->set_table.mask])->at; i++) {
		*at = s->at - 1;
		if (s->hash == hash && len <= h->sets_len - *at &&
		    memcmp(h->sets + *at, set, len) == 0)
			return 0;
	}
	if (!layer_heap_fits(h, len))
		return -E2BIG;
	r = layer_grow(&h->sets, &h->sets_cap, h->sets_len, len, 1);
	if (r < 0)
		return r;
	*at = (uint32_t)h->sets_len;
	memcpy(h->sets + h->sets_len, set, len);
	h->sets_len += len;
	layer_table_put(&h->set_table, hash, *at);
	return 0;
}

int layer_heap_xattrs(struct layer_heap *h, const struct layer_xattr *x, unsigned n, uint32_t *at)
{
	cleanup(mem_freep) const struct layer_xattr **order = NULL;
	cleanup(mem_freep) uint32_t *set = NULL;
	int r;

	/* Each has a name of a byte at least, and a zero. */
	if (n > LAYER_XATTR_LIST_MAX / 2)
		return -EBADMSG;
	order = malloc(n * sizeof *order);
	set = malloc((1 + 4 * (size_t)n) * sizeof *set);
	if (!order || !set)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		order[i] = &x[i];
	qsort(order, n, sizeof *order, layer_xattr_cmp);
	r = layer_set_make(h, order, n, set);
	return r < 0 ? r : layer_set_put(h, set, at);
}

/* ---------------------------------------------------------------------------------------------- */

int layer_heap_init(struct layer_heap *h, uint64_t limit)
{
	*h = (struct layer_heap){ .limit = MIN(limit, (uint64_t)UINT32_MAX - 1) };
	if (getrandom(h->key, sizeof h->key, 0) != (ssize_t)sizeof h->key)
		return -EIO;
	return 0;
}

void layer_heap_close(struct layer_heap *h)
{
	free(h->texts.slot);
	free(h->set_table.slot);
	h->texts = h->set_table = (struct layer_table){ 0 };
}

void layer_heap_release(struct layer_heap *h)
{
	layer_heap_close(h);
	free(h->p);
	free(h->sets);
	*h = (struct layer_heap){ 0 };
}
