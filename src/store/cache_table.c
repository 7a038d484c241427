/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entries of this process: found by name, counted, and the bound on how many have descriptors. It knows
 * nothing of what is in them. Any thread; the last user's close may write and block.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "store/cache_private.h"

/* -- names ------------------------------------------------------------------------------------ */

int cache_name_of(const struct cache_key *key, char name[CACHE_NAME_LEN + 1])
{
	struct sha256 *s = sha256_new();
	uint8_t sum[SHA256_LEN];
	char hex[2 * SHA256_LEN + 1], size[24];

	if (!s)
		return -ENOMEM;
	snprintf(size, sizeof size, "%" PRIu64, key->size);
	/* With the final zeros, so that no two keys are one text; no URL is empty. */
	if (key->identity) {
		sha256_add(s, "", 1);
		sha256_add(s, key->identity, CACHE_IDENTITY_LEN);
	} else {
		sha256_add(s, key->url, strlen(key->url) + 1);
	}
	sha256_add(s, key->validator, strlen(key->validator) + 1);
	sha256_add(s, size, strlen(size) + 1);
	sha256_end(s, sum);
	sha256_free(s);
	digest_hex(sum, sizeof sum, hex);
	snprintf(name, CACHE_NAME_LEN + 1, "%.2s/%s", hex, hex + 2);
	return 0;
}

void cache_path_of(const char *name, const char *ending, char path[CACHE_PATH_LEN])
{
	snprintf(path, CACHE_PATH_LEN, "%s%s", name, ending);
}

static struct cache_entry **bucket_of(struct cache *c, const char *name)
{
	char head[5] = { name[0], name[1], name[3], name[4], 0 };

	_Static_assert(CACHE_BUCKETS <= 65536, "four digits");
	return &c->bucket[strtoul(head, NULL, 16) % CACHE_BUCKETS];
}

static struct cache_entry *find_locked(struct cache *c, const char *name) REQUIRES(c->lock)
{
	struct cache_entry *e = *bucket_of(c, name);

	while (e && strcmp(e->name, name) != 0)
		e = e->next;
	return e;
}

bool cache_entry_known(struct cache *c, const char *name)
{
	bool known;

	mutex_lock(&c->lock);
	known = find_locked(c, name) != NULL;
	mutex_unlock(&c->lock);
	return known;
}

/* -- entries ---------------------------------------------------------------------------------- */

static void entry_free(struct cache_entry *e)
{
	free(e->url);
	free(e->validator);
	mutex_destroy(&e->io);
	mutex_destroy(&e->lock);
	free(e);
}

static bool is_fit(const struct cache_key *key)
{
	return key->size && key->size <= CACHE_SIZE_MAX && strlen(key->url) < CACHE_URL_MAX &&
		strlen(key->validator) < CACHE_VALIDATOR_MAX;
}

static struct cache_entry *entry_new(struct cache *c, const struct cache_key *key, const char *name)
{
	struct cache_entry *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	e->c = c;
	e->url = strdup(key->url);
	e->validator = strdup(key->validator);
	e->has_identity = key->identity;
	if (key->identity)
		memcpy(e->identity, key->identity, sizeof e->identity);
	strcpy(e->name, name);
	e->unfit = !is_fit(key);
	e->size = key->size;
	e->n_pages = cache_pages_of(key->size);
	e->n_segments = cache_segments_of(key->size);
	e->refs = 1;
	e->state = e->unfit ? ENTRY_OFF : ENTRY_SHUT;
	e->index_fd = e->data_fd = e->pin_fd = -1;
	vmofs_list_init(&e->lru);
	vmofs_list_init(&e->dirty);
	mutex_init(&e->io, LOCK_RANK_CACHE_IO);
	mutex_init(&e->lock, LOCK_RANK_CACHE_PAGE);
	if (!e->url || !e->validator) {
		entry_free(e);
		return NULL;
	}
	return e;
}

int cache_entry_get(struct cache *c, const struct cache_key *key, struct cache_entry **out)
{
	char name[CACHE_NAME_LEN + 1];
	struct cache_entry *made, *e;

	if (cache_name_of(key, name) < 0 || !(made = entry_new(c, key, name)))
		return -ENOMEM;
	mutex_lock(&c->lock);
	e = find_locked(c, name);
	if (e) {
		e->refs++;
	} else {
		struct cache_entry **bucket = bucket_of(c, name);

		e = made;
		made = NULL;
		e->next = *bucket;
		*bucket = e;
	}
	mutex_unlock(&c->lock);
	if (made)
		entry_free(made);
	*out = e;
	return 0;
}

int cache_entry_open(struct cache *c, const struct cache_key *key, struct cache_entry **out)
{
	int r = cache_entry_get(c, key, out);

	/* Whatever is wrong with its files, the entry is there and has nothing. */
	if (r == 0 && entry_enter(*out, ENTRY_LOOK) == 0)
		entry_leave(*out);
	return r;
}

static void unlink_locked(struct cache *c, struct cache_entry *e) REQUIRES(c->lock)
{
	struct cache_entry **p = bucket_of(c, e->name);

	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
}

/*
 * Gives up one reference, unless it is the last of an entry with open files: these are closed first, while
 * it can still be found, or whoever opens it meanwhile would meet our own lock.
 */
static bool put_locked(struct cache *c, struct cache_entry *e, struct cache_entry **gone)
	REQUIRES(c->lock)
{
	*gone = NULL;
	if (e->refs == 1) {
		if (!vmofs_list_empty(&e->lru))
			return false;
		unlink_locked(c, e);
		*gone = e;
	}
	e->refs--;
	return true;
}

void cache_entry_close(struct cache_entry *e)
{
	struct cache_entry *gone = NULL;
	bool put = false;

	if (!e)
		return;
	while (!put) {
		struct cache *c = e->c;

		mutex_lock(&c->lock);
		put = put_locked(c, e, &gone);
		mutex_unlock(&c->lock);
		if (!put)
			entry_shut(e);
	}
	if (gone)
		entry_free(gone);
}

/* -- descriptors ------------------------------------------------------------------------------ */

void cache_entry_opened(struct cache_entry *e)
{
	mutex_lock(&e->c->lock);
	vmofs_list_add_tail(&e->c->open, &e->lru);
	e->c->n_open++;
	mutex_unlock(&e->c->lock);
}

void cache_entry_shut(struct cache_entry *e)
{
	mutex_lock(&e->c->lock);
	vmofs_list_del(&e->lru);
	e->c->n_open--;
	mutex_unlock(&e->c->lock);
}

void cache_entry_used(struct cache_entry *e)
{
	mutex_lock(&e->c->lock);
	if (!vmofs_list_empty(&e->lru)) {
		vmofs_list_del(&e->lru);
		vmofs_list_add_tail(&e->c->open, &e->lru);
	}
	mutex_unlock(&e->c->lock);
}

static bool is_idle(struct cache_entry *e, uint64_t before_ms) EXCLUDES(e->lock)
{
	bool idle;

	mutex_lock(&e->lock);
	idle = !e->active && !e->pins && e->used_ms <= before_ms;
	mutex_unlock(&e->lock);
	return idle;
}

/* An idle entry that was last used before @before_ms, held; NULL: none. Goes to the end, so that it is met once. */
static struct cache_entry *idle_get(struct cache *c, uint64_t before_ms) EXCLUDES(c->lock)
{
	struct cache_entry *found = NULL;
	struct vmofs_list *pos, *tmp;
	unsigned looked = 0;

	mutex_lock(&c->lock);
	vmofs_list_for_each_safe(pos, tmp, &c->open) {
		struct cache_entry *e = vmofs_list_entry(pos, struct cache_entry, lru);

		if (looked++ == 64)
			break;
		vmofs_list_del(&e->lru);
		vmofs_list_add_tail(&c->open, &e->lru);
		if (is_idle(e, before_ms)) {
			e->refs++;
			found = e;
			break;
		}
	}
	mutex_unlock(&c->lock);
	return found;
}

static bool close_one(struct cache *c, uint64_t before_ms)
{
	struct cache_entry *e = idle_get(c, before_ms);

	if (!e)
		return false;
	entry_shut(e);
	cache_entry_close(e);
	return true;
}

void cache_close_idle(struct cache *c)
{
	uint64_t now = c->io->now_ms();
	unsigned n;

	if (now < CACHE_IDLE_MS)
		return;
	mutex_lock(&c->lock);
	n = c->n_open;
	mutex_unlock(&c->lock);
	while (n-- && close_one(c, now - CACHE_IDLE_MS))
		;
}

/* The first of those with descriptors, held; it goes to the end. */
static struct cache_entry *first_get(struct cache *c) EXCLUDES(c->lock)
{
	struct cache_entry *e;

	mutex_lock(&c->lock);
	e = vmofs_list_first(&c->open, struct cache_entry, lru);
	if (e) {
		vmofs_list_del(&e->lru);
		vmofs_list_add_tail(&c->open, &e->lru);
		e->refs++;
	}
	mutex_unlock(&c->lock);
	return e;
}

void cache_flush_open(struct cache *c)
{
	struct cache_entry *e;
	unsigned n;

	mutex_lock(&c->lock);
	n = c->n_open;
	mutex_unlock(&c->lock);
	while (n-- && (e = first_get(c))) {
		mutex_lock(&e->io);
		entry_flush_io(e);
		mutex_unlock(&e->io);
		cache_entry_close(e);
	}
}

void cache_make_room_to_open(struct cache *c)
{
	bool full;

	mutex_lock(&c->lock);
	full = c->n_open >= c->open_max;
	mutex_unlock(&c->lock);
	/* Where all are in use there are more; the bound is far below what the process may open. */
	if (full)
		close_one(c, UINT64_MAX);
}
