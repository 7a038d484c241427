/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Old news: answers of the source to questions that were asked before something was changed here. Changes
 * are counted; whoever asks keeps the count of that moment, and a path that was changed later is not for him to tell
 * of. Such paths are remembered only while somebody is asking who was earlier. Beside them the keys that are
 * removed here and still at the origin. Under the tree's lock, on any thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fs/names.h"
#include "fs/tree_private.h"

enum { RECENT_BUCKETS = 4096, RECENT_MAX = 65536 };

struct recent {
	struct vmofs_list link;
	struct recent *next; /* in its bucket */
	uint64_t seq;
	uint32_t bucket;
	uint32_t len;
	char path[];
};

struct away {
	struct vmofs_list link;
	size_t len;
	size_t cut; /* directories of the key with so many bytes, and longer ones, are removed too */
	bool below; /* and all keys that begin with it */
	char key[];
};

/* ---- who asks ---- */

void tree_ask(struct tree *t, struct tree_asked *a)
{
	a->seq = t->n_changes;
	vmofs_list_add_tail(&t->asked, &a->link);
}

static void recent_free(struct tree *t, struct recent *c) REQUIRES(t->lock)
{
	struct recent **at = &t->recent[c->bucket];

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	vmofs_list_del(&c->link);
	free(c);
	t->n_recent--;
}

/* Those that all who ask know of. */
static void drop_known(struct tree *t) REQUIRES(t->lock)
{
	const struct tree_asked *oldest = vmofs_list_first(&t->asked, struct tree_asked, link);
	struct recent *c;

	while ((c = vmofs_list_first(&t->recents, struct recent, link)))
		if (oldest && oldest->seq < c->seq)
			return;
		else
			recent_free(t, c);
}

void tree_answered(struct tree *t, struct tree_asked *a)
{
	vmofs_list_del(&a->link);
	drop_known(t);
}

/* ---- what has been changed ---- */

static uint32_t path_bucket(const char *path, size_t len)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)path[i]) * 0x100000001b3;
	return (uint32_t)((h ^ h >> 32) % RECENT_BUCKETS);
}

static struct recent *recent_find(struct tree *t, const char *path, size_t len) REQUIRES(t->lock)
{
	struct recent *c = t->recent ? t->recent[path_bucket(path, len)] : NULL;

	while (c && (c->len != len || memcmp(c->path, path, len)))
		c = c->next;
	return c;
}

/* Without memory for it nothing that has been asked counts. */
static struct recent *recent_new(struct tree *t, const char *path, size_t len) REQUIRES(t->lock)
{
	struct recent *c;

	if (!t->recent)
		t->recent = calloc(RECENT_BUCKETS, sizeof(struct recent *));
	c = t->recent && t->n_recent < RECENT_MAX ? malloc(sizeof *c + len) : NULL;
	if (!c) {
		t->all_old = t->n_changes;
		while ((c = vmofs_list_first(&t->recents, struct recent, link)))
			recent_free(t, c);
		return NULL;
	}
	*c = (struct recent){ .len = (uint32_t)len, .bucket = path_bucket(path, len) };
	memcpy(c->path, path, len);
	c->next = t->recent[c->bucket];
	t->recent[c->bucket] = c;
	t->n_recent++;
	return c;
}

void tree_changed_path(struct tree *t, const char *path, size_t len)
{
	struct recent *c;

	t->n_changes++;
	if (vmofs_list_empty(&t->asked))
		return;
	c = recent_find(t, path, len);
	if (c)
		vmofs_list_del(&c->link);
	else
		c = recent_new(t, path, len);
	if (!c)
		return;
	c->seq = t->n_changes;
	vmofs_list_add_tail(&t->recents, &c->link);
}

static int name_path(struct tree *t, const struct dir *d, const char *name, size_t len,
		     char path[VMOFS_KEY_MAX + NAME_LEN_MAX]) REQUIRES(t->lock)
{
	int base = tree_key(t, d->node, path);

	if (base >= 0)
		memcpy(path + base, name, len);
	return base < 0 ? base : base + (int)len;
}

void tree_changed(struct tree *t, const struct dir *d, const char *name, size_t len)
{
	char path[VMOFS_KEY_MAX + NAME_LEN_MAX];
	int n = name_path(t, d, name, len, path);

	if (n >= 0)
		tree_changed_path(t, path, (size_t)n);
}

bool tree_is_old(struct tree *t, const char *path, size_t len, uint64_t seq)
{
	const struct recent *c;

	if (seq >= t->n_changes)
		return false;
	if (seq < t->all_old)
		return true;
	c = recent_find(t, path, len);
	return c && seq < c->seq;
}

bool tree_name_is_old(struct tree *t, const struct dir *d, const char *name, size_t len,
		      uint64_t seq)
{
	char path[VMOFS_KEY_MAX + NAME_LEN_MAX];
	int n = seq < t->n_changes ? name_path(t, d, name, len, path) : -ENOENT;

	return n >= 0 && tree_is_old(t, path, (size_t)n, seq);
}

bool tree_key_is_old(struct tree *t, const char *key, size_t at, size_t end, uint64_t seq)
{
	if (t->p.object_metadata && name_is_rclone_link(key + at, end - at))
		end -= NAME_RCLONE_LEN;
	return tree_is_old(t, key, end, seq);
}

bool tree_is_at(struct tree *t, const struct dir *d, const char *key, size_t len)
{
	char now[VMOFS_KEY_MAX];
	int n = tree_key(t, d->node, now);

	return n >= 0 && (size_t)n == len && !memcmp(now, key, len);
}

/* ---- what is away ---- */

static struct away *away_find(struct tree *t, const char *key, size_t len) REQUIRES(t->lock)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &t->away) {
		struct away *a = vmofs_list_entry(pos, struct away, link);

		if (a->len == len && !memcmp(a->key, key, len))
			return a;
	}
	return NULL;
}

int tree_away(struct tree *t, const char *key, size_t len)
{
	struct away *a = away_find(t, key, len);

	if (a)
		return 0;
	a = malloc(sizeof *a + len);
	if (!a)
		return -ENOMEM;
	*a = (struct away){ .len = len, .cut = SIZE_MAX };
	memcpy(a->key, key, len);
	vmofs_list_add(&t->away, &a->link);
	return 0;
}

int tree_away_below(struct tree *t, const char *key, size_t len)
{
	int r = tree_away(t, key, len);

	if (!r)
		away_find(t, key, len)->below = true;
	return r;
}

bool tree_gone(struct tree *t, const char *key)
{
	struct away *a = away_find(t, key, strlen(key));

	if (!a)
		return false;
	vmofs_list_del(&a->link);
	free(a);
	return true;
}

void tree_away_dir(struct tree *t, const char *key, size_t len, bool removed)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &t->away) {
		struct away *a = vmofs_list_entry(pos, struct away, link);

		if (a->len <= len || memcmp(a->key, key, len))
			continue;
		if (removed)
			a->cut = MIN(a->cut, len);
		else if (a->cut <= len)
			a->cut = len + 1;
	}
}

static bool tells_away(const struct away *a, const struct vmofs_entry *e)
{
	if (a->below)
		return e->key_len >= a->len && !memcmp(a->key, e->key, a->len);
	if (e->key_len > a->len || memcmp(a->key, e->key, e->key_len))
		return false;
	return e->type == VMOFS_ENTRY_PREFIX ? e->key_len >= a->cut : e->key_len == a->len;
}

bool tree_is_away(struct tree *t, const struct vmofs_entry *e)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &t->away)
		if (tells_away(vmofs_list_entry(pos, struct away, link), e))
			return true;
	return false;
}

void tree_news_free(struct tree *t)
{
	while (!vmofs_list_empty(&t->away)) {
		struct away *a = vmofs_list_first(&t->away, struct away, link);

		vmofs_list_del(&a->link);
		free(a);
	}
	drop_known(t);
	free(t->recent);
	t->recent = NULL;
}
