/* SPDX-License-Identifier: Apache-2.0 */
/* Keys in a sorted array; what a query is told is computed when it is answered. */
#include "lib/fake_source.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

static struct fake_source *self(struct vmofs_source *s)
{
	return container_of(s, struct fake_source, base);
}

static int compare(const char *a, size_t na, const char *b, size_t nb)
{
	int r = memcmp(a, b, MIN(na, nb));

	return r ? r : (na > nb) - (na < nb);
}

/* The first key that is not before @key. */
static size_t find(const struct fake_source *s, const char *key, size_t len)
{
	size_t lo = 0, hi = s->n_keys;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (compare(s->keys[mid].key, s->keys[mid].len, key, len) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct fake_key *room_at(struct fake_source *s, size_t i)
{
	if (s->n_keys == s->cap_keys) {
		s->cap_keys = s->cap_keys ? 2 * s->cap_keys : 64;
		s->keys = realloc(s->keys, s->cap_keys * sizeof *s->keys);
		assert(s->keys);
	}
	memmove(&s->keys[i + 1], &s->keys[i], (s->n_keys - i) * sizeof *s->keys);
	s->n_keys++;
	return &s->keys[i];
}

static void set(struct fake_key *k, const char *key, size_t len, uint64_t size,
		const char *validator)
{
	*k = (struct fake_key){ .len = len, .size = size, .mtime = 1000000000 };
	k->key = malloc(len + 1);
	assert(k->key);
	memcpy(k->key, key, len);
	k->key[len] = '\0';
	strncpy(k->validator, validator, sizeof k->validator - 1);
}

struct fake_key *fake_source_put_bytes(struct fake_source *s, const char *key, size_t len,
				       uint64_t size, const char *validator)
{
	size_t i = find(s, key, len);

	if (i < s->n_keys && !compare(s->keys[i].key, s->keys[i].len, key, len))
		free(s->keys[i].key);
	else
		room_at(s, i);
	set(&s->keys[i], key, len, size, validator);
	return &s->keys[i];
}

struct fake_key *fake_source_put(struct fake_source *s, const char *key, uint64_t size,
				 const char *validator)
{
	return fake_source_put_bytes(s, key, strlen(key), size, validator);
}

void fake_source_append(struct fake_source *s, const char *key, uint64_t size)
{
	set(room_at(s, s->n_keys), key, strlen(key), size, "\"00112233445566778899aabbccddeeff\"");
}

void fake_source_remove(struct fake_source *s, const char *key)
{
	size_t i = find(s, key, strlen(key));

	assert(i < s->n_keys && !strcmp(s->keys[i].key, key));
	free(s->keys[i].key);
	s->n_keys--;
	memmove(&s->keys[i], &s->keys[i + 1], (s->n_keys - i) * sizeof *s->keys);
}

/* ---- answers ---- */

/* Entries on their way to a query, handed out in batches. */
struct teller {
	struct fake_source *s;
	struct vmofs_query *q;
	struct vmofs_entry v[1000];
	unsigned n;
	unsigned told;
	unsigned max;
	bool stopped;
};

static void flush(struct teller *t)
{
	if (t->n && !t->stopped)
		t->stopped = !t->q->entries(t->q, t->v, t->n);
	t->n = 0;
}

static bool tell(struct teller *t, const struct vmofs_entry *e)
{
	if (t->told == t->max || t->stopped)
		return false;
	t->v[t->n++] = *e;
	t->told++;
	if (t->n == MIN(t->s->batch, ARRAY_LEN(t->v)))
		flush(t);
	return true;
}

static struct vmofs_entry entry_of(const struct fake_source *s, const struct fake_key *k,
				   bool listing)
{
	return (struct vmofs_entry){
		.type = VMOFS_ENTRY_FILE,
		.key = k->key,
		.key_len = k->len,
		.size = listing && s->sizes_unknown ? VMOFS_SIZE_UNKNOWN : k->size,
		.mtime = { .tv_sec = k->mtime },
		.validator = listing && s->sizes_unknown ? "" : k->validator,
		.has = listing ? 0 : k->has,
		.mode = k->mode,
		.target = k->target ? k->target : "",
	};
}

static bool begins(const struct fake_key *k, const char *with)
{
	size_t n = strlen(with);

	return k->len >= n && !memcmp(k->key, with, n);
}

static void tell_dir(struct teller *t)
{
	struct fake_source *s = t->s;
	size_t base = strlen(t->q->key);
	char *prefix = NULL;
	size_t len = 0;

	for (size_t i = find(s, t->q->key, base); i < s->n_keys && begins(&s->keys[i], t->q->key);
	     i++) {
		const struct fake_key *k = &s->keys[i];
		const char *slash = memchr(k->key + base, '/', k->len - base);
		struct vmofs_entry e = entry_of(s, k, true);

		if (slash && len == (size_t)(slash + 1 - k->key) && !memcmp(prefix, k->key, len))
			continue;
		if (slash) {
			flush(t);
			free(prefix);
			len = (size_t)(slash + 1 - k->key);
			prefix = calloc(1, len + 1); /* there may be zeros in it */
			assert(prefix);
			memcpy(prefix, k->key, len);
			e = (struct vmofs_entry){ .type = VMOFS_ENTRY_PREFIX,
						  .key = prefix,
						  .key_len = len,
						  .validator = "",
						  .target = "" };
		}
		if (!tell(t, &e))
			break;
	}
	flush(t);
	free(prefix);
}

static bool tell_flat(struct teller *t)
{
	struct fake_source *s = t->s;
	const char *from = strcmp(t->q->after, t->q->key) > 0 ? t->q->after : t->q->key;
	size_t i = find(s, from, strlen(from));

	if (*t->q->after && i < s->n_keys && !strcmp(s->keys[i].key, t->q->after))
		i++;
	if (t->q->limit)
		t->max = (unsigned)MIN(t->max, t->q->limit);
	for (; i < s->n_keys && begins(&s->keys[i], t->q->key); i++) {
		struct vmofs_entry e = entry_of(s, &s->keys[i], true);
		struct vmofs_entry old = entry_of(s, &s->keys[i - MIN(i, 15)], true);

		if (s->disorder && i % 40 == 39 && begins(&s->keys[i - MIN(i, 15)], t->q->key))
			tell(t, &old);
		if (!tell(t, &e)) {
			flush(t);
			return !t->stopped;
		}
	}
	flush(t);
	return false;
}

static void tell_name(struct teller *t)
{
	struct fake_source *s = t->s;
	size_t len = strlen(t->q->key);
	char prefix[VMOFS_KEY_MAX + 1];
	size_t i = find(s, t->q->key, len);
	struct vmofs_entry e;

	if (i < s->n_keys && s->keys[i].len == len && begins(&s->keys[i], t->q->key)) {
		e = entry_of(s, &s->keys[i], true);
		tell(t, &e);
	}
	memcpy(prefix, t->q->key, len);
	strcpy(prefix + len, "/");
	i = find(s, prefix, len + 1);
	if (i < s->n_keys && begins(&s->keys[i], prefix)) {
		e = (struct vmofs_entry){ .type = VMOFS_ENTRY_PREFIX,
					  .key = prefix,
					  .key_len = len + 1,
					  .validator = "",
					  .target = "" };
		tell(t, &e);
	}
	flush(t);
}

static void tell_head(struct teller *t)
{
	struct fake_source *s = t->s;
	size_t i = find(s, t->q->key, strlen(t->q->key));
	struct vmofs_entry e;

	if (i < s->n_keys && !strcmp(s->keys[i].key, t->q->key)) {
		e = entry_of(s, &s->keys[i], false);
		tell(t, &e);
	}
	flush(t);
}

/* Whether there is more behind the limit. */
static bool tell_all(struct fake_source *s, struct vmofs_query *q, unsigned max)
{
	struct teller *t = calloc(1, sizeof *t);
	bool more = false;

	assert(t);
	t->s = s;
	t->q = q;
	t->max = max;
	if (q->kind == VMOFS_QUERY_DIR)
		tell_dir(t);
	else if (q->kind == VMOFS_QUERY_FLAT)
		more = tell_flat(t);
	else if (q->kind == VMOFS_QUERY_NAME)
		tell_name(t);
	else
		tell_head(t);
	s->pages += 1 + (s->info.page && t->told ? (t->told - 1) / s->info.page : 0);
	free(t);
	return more;
}

static void answer(struct fake_source *s, struct vmofs_query *q, int code)
{
	struct vmofs_query_result r = {
		.code = code, .requests = 1, .msg = code ? "told to fail" : "", .req_id = ""
	};

	if (!code)
		r.more = tell_all(s, q, UINT32_MAX);
	q->done(q, &r);
}

struct vmofs_query *fake_source_held(struct fake_source *s)
{
	return vmofs_list_first(&s->held, struct vmofs_query, link);
}

unsigned fake_source_n_held(struct fake_source *s)
{
	struct vmofs_list *pos;
	unsigned n = 0;

	vmofs_list_for_each(pos, &s->held)
		n++;
	return n;
}

void fake_source_answer(struct fake_source *s, int code)
{
	struct vmofs_query *q = fake_source_held(s);

	assert(q && "nothing is held");
	vmofs_list_del(&q->link);
	answer(s, q, code);
}

void fake_source_answer_some(struct fake_source *s, unsigned n)
{
	assert(fake_source_held(s));
	tell_all(s, fake_source_held(s), n);
}

/* ---- the source ---- */

static void fake_query(struct vmofs_source *src, struct vmofs_query *q)
{
	struct fake_source *s = self(src);

	s->asked[q->kind]++;
	if (s->hold)
		vmofs_list_add_tail(&s->held, &q->link);
	else
		answer(s, q, s->fail);
}

static bool fake_changed(struct vmofs_source *src)
{
	struct fake_source *s = self(src);
	bool r = s->has_changed;

	s->has_changed = false;
	return r;
}

static void fake_stop(struct vmofs_source *src)
{
	struct fake_source *s = self(src);

	s->hold = false;
	s->fail = -ESHUTDOWN;
	while (fake_source_held(s))
		fake_source_answer(s, -ESHUTDOWN);
}

static const struct vmofs_source_ops fake_ops = {
	.query = fake_query,
	.changed = fake_changed,
	.stop = fake_stop,
};

struct fake_source *fake_source_new(void)
{
	struct fake_source *s = calloc(1, sizeof *s);

	assert(s);
	s->base.ops = &fake_ops;
	s->info = (struct vmofs_source_info){ .name = "fake", .url = "fake:", .page = 1000 };
	s->info.can = BIT(VMOFS_QUERY_DIR) | BIT(VMOFS_QUERY_FLAT) | BIT(VMOFS_QUERY_NAME) |
		BIT(VMOFS_QUERY_HEAD);
	s->batch = 1000;
	vmofs_list_init(&s->held);
	return s;
}

void fake_source_free(struct fake_source *s)
{
	for (size_t i = 0; i < s->n_keys; i++)
		free(s->keys[i].key);
	free(s->keys);
	free(s);
}

unsigned fake_source_asked(const struct fake_source *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < VMOFS_NQUERIES; i++)
		n += s->asked[i];
	return n;
}
