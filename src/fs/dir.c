/* SPDX-License-Identifier: Apache-2.0 */
/* Slots and their index: open addressing over slot numbers, so an entry costs 12 bytes beside its node. */
#include "fs/dir.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

enum { SLOTS_MIN = 4, INDEX_MIN = 8 };
#define INDEX_GONE UINT32_MAX

static const uint8_t dir_next[] = {
	[DIR_UNLISTED] = BIT(DIR_LISTING),
	[DIR_LISTING] = BIT(DIR_LISTED) | BIT(DIR_UNLISTED),
	[DIR_LISTED] = BIT(DIR_LISTING) | BIT(DIR_UNLISTED),
};
_Static_assert(ARRAY_LEN(dir_next) == DIR_NSTATES, "one row per state");

void dir_set_state(struct dir *d, enum dir_state to)
{
	assert(dir_next[d->state] & BIT(to));
	d->state = to;
}

struct dir *dir_new(struct node *n)
{
	struct dir *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	d->node = n;
	d->walk_slot = NODE_NO_SLOT;
	vmofs_list_init(&d->waits);
	vmofs_list_init(&d->queries);
	vmofs_list_init(&d->lru);
	return d;
}

void dir_free(struct dir *d)
{
	if (!d)
		return;
	vmofs_list_del(&d->lru);
	node_free(d->other);
	free(d->slots);
	free(d->index);
	free(d);
}

static uint32_t name_hash(const char *p, size_t len)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)p[i]) * 0x100000001b3;
	return (uint32_t)(h ^ h >> 32);
}

static bool is_called(const struct node *n, const char *name, size_t len)
{
	return n->name_len == len && !memcmp(node_name(n), name, len);
}

/* Where @name is in the index, or UINT32_MAX. */
static uint32_t index_find(const struct dir *d, const char *name, size_t len)
{
	uint32_t mask = d->index_cap - 1;

	if (!d->index_cap)
		return UINT32_MAX;
	for (uint32_t i = name_hash(name, len) & mask; d->index[i]; i = (i + 1) & mask)
		if (d->index[i] != INDEX_GONE && is_called(d->slots[d->index[i] - 1], name, len))
			return i;
	return UINT32_MAX;
}

struct node *dir_find(const struct dir *d, const char *name, size_t len)
{
	uint32_t i = index_find(d, name, len);

	return i == UINT32_MAX ? NULL : d->slots[d->index[i] - 1];
}

static void index_put(struct dir *d, const struct node *n)
{
	uint32_t mask = d->index_cap - 1;
	uint32_t i = name_hash(node_name(n), n->name_len) & mask;

	while (d->index[i])
		i = (i + 1) & mask;
	d->index[i] = n->slot + 1;
	d->index_used++;
}

static int index_resize(struct dir *d, uint32_t cap)
{
	uint32_t *index = calloc(cap, sizeof *index);

	if (!index)
		return -ENOMEM;
	free(d->index);
	d->index = index;
	d->index_cap = cap;
	d->index_used = 0;
	for (uint32_t i = 0; i < d->n_slots; i++)
		if (d->slots[i])
			index_put(d, d->slots[i]);
	return 0;
}

/* Room for one more, three quarters full at most. */
static int index_reserve(struct dir *d)
{
	uint32_t cap = INDEX_MIN;

	if (4 * (uint64_t)(d->index_used + 1) <= 3 * (uint64_t)d->index_cap)
		return 0;
	while (3 * (uint64_t)cap < 4 * (uint64_t)(d->n_live + 1))
		cap *= 2;
	return index_resize(d, cap);
}

static int slots_reserve(struct dir *d)
{
	uint32_t cap = MAX((uint32_t)SLOTS_MIN, d->cap_slots + d->cap_slots / 2 + 1);
	struct node **slots;

	if (d->n_slots < d->cap_slots)
		return 0;
	slots = realloc(d->slots, cap * sizeof *slots);
	if (!slots)
		return -ENOMEM;
	d->slots = slots;
	d->cap_slots = cap;
	return 0;
}

int dir_add(struct dir *d, struct node *n)
{
	if (slots_reserve(d) < 0 || index_reserve(d) < 0)
		return -ENOMEM;
	n->slot = d->n_slots;
	d->slots[d->n_slots++] = n;
	d->n_live++;
	index_put(d, n);
	return 0;
}

void dir_remove(struct dir *d, struct node *n)
{
	d->index[index_find(d, node_name(n), n->name_len)] = INDEX_GONE;
	d->slots[n->slot] = NULL;
	n->slot = NODE_NO_SLOT;
	d->n_live--;
}

void dir_replace(struct dir *d, struct node *old, struct node *now)
{
	now->slot = old->slot;
	d->slots[now->slot] = now;
	old->slot = NODE_NO_SLOT;
}

static void slots_shrink(struct dir *d)
{
	struct node **slots;

	if (!d->n_slots) {
		free(d->slots);
		d->slots = NULL;
		d->cap_slots = 0;
		return;
	}
	slots = realloc(d->slots, d->n_slots * sizeof *slots);
	if (slots) {
		d->slots = slots;
		d->cap_slots = d->n_slots;
	}
}

void dir_compact(struct dir *d)
{
	uint32_t n = 0;
	uint32_t cap = INDEX_MIN;

	for (uint32_t i = 0; i < d->n_slots; i++)
		if (d->slots[i]) {
			d->slots[n] = d->slots[i];
			d->slots[n]->slot = n;
			n++;
		}
	d->n_slots = n;
	slots_shrink(d);
	if (!n) {
		free(d->index);
		d->index = NULL;
		d->index_cap = 0;
		d->index_used = 0;
		return;
	}
	while (3 * (uint64_t)cap < 4 * (uint64_t)(n + 1))
		cap *= 2;
	if (cap <= d->index_cap && index_resize(d, cap) == 0)
		return;
	/* The old one is large enough, but its numbers are not right any more. */
	memset(d->index, 0, d->index_cap * sizeof *d->index);
	d->index_used = 0;
	for (uint32_t i = 0; i < n; i++)
		index_put(d, d->slots[i]);
}

uint64_t dir_bytes(const struct dir *d)
{
	return sizeof *d + d->cap_slots * sizeof *d->slots + d->index_cap * sizeof *d->index;
}
