/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions about names: what the origin tells goes through but for what was changed here, and that follows. Where the origin cannot
 * have anything to say it is not asked. Any thread; nothing blocks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cow/cow_private.h"

enum { BATCH = 64 };

/* One that the origin is asked. */
struct merging {
	struct vmofs_query low;
	struct vmofs_query *q;
	struct cow *c;
	bool ended; /* no more is wanted */
};

/* Ours, copied out of the table to be told without its lock. */
struct told {
	struct vmofs_entry *v;
	char **text;
	unsigned n;
	unsigned cap;
	bool failed;
};

/* ---- what is ours ---- */

static bool grow(struct told *t)
{
	unsigned cap = t->cap ? 2 * t->cap : BATCH;
	void *v, *text;

	if (t->n < t->cap)
		return true;
	v = realloc(t->v, cap * sizeof *t->v);
	if (v)
		t->v = v;
	text = v ? realloc(t->text, cap * sizeof *t->text) : NULL;
	if (!text)
		return false;
	t->text = text;
	t->cap = cap;
	return true;
}

/* @e with its own texts: key, validator, target, one after the other. */
static void add(struct told *t, const struct vmofs_entry *e)
{
	size_t key = e->key_len + 1, validator = strlen(e->validator) + 1;
	size_t target = strlen(e->target) + 1;
	char *text = grow(t) ? malloc(key + validator + target) : NULL;

	if (!text) {
		t->failed = true;
		return;
	}
	memcpy(text, e->key, key - 1);
	text[key - 1] = '\0';
	memcpy(text + key, e->validator, validator);
	memcpy(text + key + validator, e->target, target);
	t->v[t->n] = *e;
	t->v[t->n].key = text;
	t->v[t->n].validator = text + key;
	t->v[t->n].target = text + key + validator;
	t->text[t->n++] = text;
}

static void add_entry(struct told *t, const struct cow_entry *e)
{
	char validator[32];
	struct vmofs_entry v;

	if (cow_entry_tell(e, &v, validator))
		add(t, &v);
}

static void add_prefix(struct told *t, const char *key, size_t len)
{
	struct vmofs_entry e = {
		.type = VMOFS_ENTRY_PREFIX,
		.key = key,
		.key_len = len,
		.size = VMOFS_SIZE_UNKNOWN,
		.validator = "",
		.target = "",
	};

	add(t, &e);
}

/* The same, of which something may be said itself. */
static void add_dir_locked(struct told *t, struct cow *c, const char *key, size_t len)
	REQUIRES(c->lock)
{
	const struct cow_entry *e = cow_find_locked(c, key, len);
	char validator[32];
	struct vmofs_entry v;

	if (!e || e->kind != COW_DIR || !cow_entry_tell(e, &v, validator)) {
		add_prefix(t, key, len);
		return;
	}
	v.validator = "";
	v.size = VMOFS_SIZE_UNKNOWN;
	add(t, &v);
}

/* A directory that is there, even with nothing in it. */
static void add_marker(struct told *t, const struct cow_entry *e)
{
	char validator[32];
	struct vmofs_entry v;

	if (!cow_entry_tell(e, &v, validator))
		return;
	v.type = VMOFS_ENTRY_FILE;
	add(t, &v);
}

/* One past all keys that begin with @prefix, which ends in "/". */
static struct cow_entry *behind_locked(struct cow *c, const char *prefix, size_t len)
	REQUIRES(c->lock)
{
	char *last = strndup(prefix, len);
	struct cow_entry *e = NULL;

	if (last) {
		last[len - 1] = '0';
		e = cow_from_locked(c, last, len);
	}
	free(last);
	return e;
}

/* Whether there is anything of ours at or below the directory @key. */
static bool has_below_locked(struct cow *c, const char *key, size_t len) REQUIRES(c->lock)
{
	struct cow_entry *e = cow_from_locked(c, key, len);

	for (; e && e->key_len >= len && !memcmp(e->key, key, len); e = cow_next(e))
		if (e->kind != COW_GONE)
			return true;
	return false;
}

static void ours_in_dir_locked(struct cow *c, const char *dir, struct told *t) REQUIRES(c->lock)
{
	size_t len = strlen(dir);
	struct cow_entry *e = cow_from_locked(c, dir, len);

	while (e && e->key_len >= len && !memcmp(e->key, dir, len) && !t->failed) {
		const char *slash = strchr(e->key + len, '/');
		size_t part = slash ? (size_t)(slash - e->key) + 1 : 0;

		if (e->key_len == len) {
			add_marker(t, e);
		} else if (!slash) {
			add_entry(t, e);
		} else {
			if (has_below_locked(c, e->key, part))
				add_dir_locked(t, c, e->key, part);
			e = behind_locked(c, e->key, part);
			continue;
		}
		e = cow_next(e);
	}
}

static void ours_of_name_locked(struct cow *c, const char *key, bool prefix, struct told *t)
	REQUIRES(c->lock)
{
	size_t len = strlen(key);
	struct cow_entry *e = cow_find_locked(c, key, len);
	char dir[VMOFS_KEY_MAX + 1];

	if (e)
		add_entry(t, e);
	if (!prefix || len >= VMOFS_KEY_MAX)
		return;
	memcpy(dir, key, len);
	memcpy(dir + len, "/", 2);
	if (has_below_locked(c, dir, len + 1))
		add_dir_locked(t, c, dir, len + 1);
}

static void ours(struct cow *c, const struct vmofs_query *q, struct told *t)
{
	mutex_lock(&c->lock);
	if (q->kind == VMOFS_QUERY_DIR)
		ours_in_dir_locked(c, q->key, t);
	else
		ours_of_name_locked(c, q->key, q->kind == VMOFS_QUERY_NAME, t);
	mutex_unlock(&c->lock);
}

/* ---- ending ---- */

static void end(struct vmofs_query *q, const struct vmofs_query_result *low, const struct told *t)
{
	struct vmofs_query_result result = { .msg = "", .req_id = "" };

	if (low)
		result = *low;
	if (!result.code && t && t->failed) {
		result.code = -ENOMEM;
		result.msg = "no memory for a query";
	}
	q->done(q, &result);
}

static void tell_ours(struct cow *c, struct vmofs_query *q, const struct vmofs_query_result *low,
		      bool ended)
{
	struct told t = { 0 };

	if ((!low || !low->code) && !ended) {
		ours(c, q, &t);
		if (t.n && !t.failed)
			(void)q->entries(q, t.v, t.n);
	}
	for (unsigned i = 0; i < t.n; i++)
		free(t.text[i]);
	free(t.v);
	free(t.text);
	end(q, low, &t);
}

/* ---- what the origin tells ---- */

static bool passes_locked(struct cow *c, const struct vmofs_entry *e) REQUIRES(c->lock)
{
	if (cow_find_locked(c, e->key, e->key_len))
		return false;
	return e->type != VMOFS_ENTRY_PREFIX || !has_below_locked(c, e->key, e->key_len);
}

static bool low_entries(struct vmofs_query *low, const struct vmofs_entry *v, unsigned n)
{
	struct merging *m = container_of(low, struct merging, low);
	struct vmofs_entry out[BATCH];

	for (unsigned i = 0; i < n && !m->ended;) {
		unsigned k = 0;

		mutex_lock(&m->c->lock);
		for (; i < n && k < BATCH; i++)
			if (passes_locked(m->c, &v[i]))
				out[k++] = v[i];
		mutex_unlock(&m->c->lock);
		if (k)
			m->ended = !m->q->entries(m->q, out, k);
	}
	return !m->ended;
}

static void low_done(struct vmofs_query *low, const struct vmofs_query_result *result)
{
	struct merging *m = container_of(low, struct merging, low);

	tell_ours(m->c, m->q, result, m->ended);
	free(m);
}

/* Whether the origin's part of the answer cannot be seen anyway. */
static bool is_ours_alone_locked(struct cow *c, const struct vmofs_query *q) REQUIRES(c->lock)
{
	size_t len = strlen(q->key);
	struct cow_entry *e = len ? cow_find_locked(c, q->key, len) : NULL;

	if (len && cow_is_covered_locked(c, q->key))
		return true;
	if (q->kind == VMOFS_QUERY_DIR)
		return e && (e->kind == COW_DIR || e->kind == COW_GONE);
	if (e && (q->kind == VMOFS_QUERY_HEAD || e->kind != COW_GONE))
		return true;
	if (q->kind == VMOFS_QUERY_NAME && len < VMOFS_KEY_MAX) {
		char dir[VMOFS_KEY_MAX + 1];

		memcpy(dir, q->key, len);
		memcpy(dir + len, "/", 2);
		return has_below_locked(c, dir, len + 1);
	}
	return false;
}

void cow_query(struct vmofs_source *src, struct vmofs_query *q)
{
	struct cow *c = cow_of(src);
	struct vmofs_query_result down = { .code = -ESHUTDOWN,
					   .msg = "the mount ends",
					   .req_id = "" };
	struct merging *m;
	bool stopped, alone;

	mutex_lock(&c->lock);
	stopped = c->stopped;
	alone = is_ours_alone_locked(c, q);
	mutex_unlock(&c->lock);
	if (stopped || alone) {
		tell_ours(c, q, stopped ? &down : NULL, false);
		return;
	}
	m = calloc(1, sizeof *m);
	if (!m) {
		end(q, NULL, &(struct told){ .failed = true });
		return;
	}
	m->q = q;
	m->c = c;
	m->low.kind = q->kind;
	m->low.key = q->key;
	m->low.deadline_ns = q->deadline_ns;
	m->low.entries = low_entries;
	m->low.done = low_done;
	vmofs_list_init(&m->low.link);
	c->lower->ops->query(c->lower, &m->low);
}
