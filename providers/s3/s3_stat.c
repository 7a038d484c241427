/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries about one name. NAME is a listing of the keys that begin with it: the file and the prefix are
 * both in the first few, or the prefix is asked for alone. HEAD tells what the metadata of s3fs and rclone
 * says, and reads the target of a symbolic link. One request at a time; loop threads.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "s3/s3_private.h"

#define NAME_KEYS  "4" /* few keys stand between "x" and "x/" */
#define TARGET_MAX 4096

static void answer(struct s3 *s, struct vmofs_query *q, const char *verb, int code,
		   const struct http_refusal *why, const char *error_code, unsigned requests)
{
	char msg[1024] = "";
	struct vmofs_query_result result = { .code = code,
					     .requests = requests,
					     .status = why ? why->status : 0,
					     .msg = msg,
					     .req_id = why ? why->request_id : "" };
	char *key = s3_full_key(s, q->key);

	if (code < 0 && why)
		s3_explain(s, verb, key ? key : q->key, code, why, error_code, msg, sizeof msg);
	else if (code < 0)
		snprintf(msg, sizeof msg, "cannot %s '%s': %s", verb, q->key, strerror(-code));
	free(key);
	q->done(q, &result);
}

/* -- NAME ------------------------------------------------------------------------------------- */

struct name_query {
	struct s3_fetch fetch;
	struct s3 *s; /* counted */
	struct vmofs_query *q;
	bool alone; /* only the prefix is asked for */
	unsigned requests;
};

static void name_free(struct name_query *n)
{
	struct s3 *s = n->s;

	s3_fetch_clear(&n->fetch);
	free(n);
	s3_put(s);
}

static void name_end(struct name_query *n, int code, const struct http_refusal *why)
{
	answer(n->s, n->q, "look up", code, why, n->fetch.ask.trouble.code, n->requests);
	name_free(n);
}

/* Whether there can be no key "name/..." behind the page's last entry. */
static bool name_is_past(const struct s3_page *p, const char *prefix)
{
	size_t n = strlen(prefix);
	bool past = !p->truncated;

	for (unsigned i = 0; i < p->n; i++) {
		const char *key = s3_page_key(p, &p->v[i]);

		past = past || (strncmp(key, prefix, n) == 0 && (uint8_t)key[n] >= '/');
	}
	return past;
}

/* Gives the file and the prefix of the page; true: the prefix was there. */
static bool name_show(struct name_query *n, const char *full)
{
	const struct s3_page *p = &n->fetch.page;
	size_t len = strlen(full);
	struct vmofs_entry v[2];
	unsigned found = 0;
	bool dir = false;

	for (unsigned i = 0; i < p->n && found < 2; i++) {
		const struct s3_entry *e = &p->v[i];
		const char *key = s3_page_key(p, e);

		if (strncmp(key, full, len) != 0)
			continue;
		if (e->prefix ? strcmp(key + len, "/") != 0 : key[len] != '\0')
			continue;
		dir = dir || e->prefix;
		found += s3_entry_show(n->s, p, e, &v[found]);
	}
	if (found > 0)
		n->q->entries(n->q, v, found);
	return dir;
}

/* "name/" itself, a key or the beginning of one. */
static void name_show_prefix(struct name_query *n)
{
	struct vmofs_entry e = { .type = VMOFS_ENTRY_PREFIX, .validator = "", .target = "" };
	char *key = NULL;

	if (n->fetch.page.n == 0)
		return;
	e.key_len = (size_t)asprintf(&key, "%s/", n->q->key);
	if (!key)
		return;
	e.key = key;
	n->q->entries(n->q, &e, 1);
	free(key);
}

/* Between "name" and "name/" are more keys than a short page has. */
static int name_ask_prefix(struct name_query *n)
{
	char *prefix = NULL;

	if (asprintf(&prefix, "%s/", n->fetch.prefix) < 0)
		return -ENOMEM;
	free(n->fetch.prefix);
	free(n->fetch.token);
	n->fetch.prefix = prefix;
	n->fetch.token = NULL;
	n->alone = true;
	snprintf(n->fetch.max, sizeof n->fetch.max, "1");
	s3_fetch_start(&n->fetch, n->s, n->q->deadline_ns);
	return 0;
}

static void name_page(struct s3_fetch *f, int code, const struct http_refusal *why)
{
	struct name_query *n = container_of(f, struct name_query, fetch);
	bool past;

	n->requests += f->ask.http.requests;
	if (code < 0) {
		name_end(n, code, why);
		return;
	}
	if (n->alone) {
		name_show_prefix(n);
		name_end(n, 0, why);
		return;
	}
	past = name_is_past(&f->page, f->prefix);
	if (name_show(n, f->prefix) || past)
		name_end(n, 0, why);
	else if (name_ask_prefix(n) < 0)
		name_end(n, -ENOMEM, NULL);
}

void s3_name(struct s3 *s, struct vmofs_query *q)
{
	struct name_query *n = calloc(1, sizeof *n);

	if (!n) {
		answer(s, q, "look up", -ENOMEM, NULL, "", 0);
		return;
	}
	n->s = s3_get(s);
	n->q = q;
	n->fetch.done = name_page;
	n->fetch.prefix = s3_full_key(s, q->key);
	memcpy(n->fetch.max, NAME_KEYS, sizeof NAME_KEYS);
	if (n->fetch.prefix)
		s3_fetch_start(&n->fetch, s, q->deadline_ns);
	else
		name_end(n, -ENOMEM, NULL);
}

/* -- HEAD ------------------------------------------------------------------------------------- */

struct head_query {
	struct s3_ask ask;
	struct s3 *s; /* counted */
	struct vmofs_query *q;
	char *key; /* with the source's prefix */
	unsigned requests;
	struct s3_head head;
	struct vmofs_entry entry;
	char target[TARGET_MAX];
	size_t target_len;
};

static void head_end(struct head_query *h, int code, const struct http_refusal *why)
{
	struct s3 *s = h->s;

	answer(s, h->q, "look up", code, why, h->ask.trouble.code, h->requests);
	free(h->key);
	free(h);
	s3_put(s);
}

static void head_show(struct head_query *h)
{
	h->entry.target = h->target;
	h->q->entries(h->q, &h->entry, 1);
}

/* -- the target of a symbolic link is its body -- */

static void target_reset(struct s3_ask *a)
{
	struct head_query *h = container_of(a, struct head_query, ask);

	h->target_len = 0;
}

static int target_data(struct s3_ask *a, const void *buf, size_t n)
{
	struct head_query *h = container_of(a, struct head_query, ask);

	if (h->target_len + n >= sizeof h->target)
		return -ENAMETOOLONG;
	memcpy(h->target + h->target_len, buf, n);
	h->target_len += n;
	return 0;
}

static void target_done(struct s3_ask *a, int code, const struct http_refusal *why)
{
	struct head_query *h = container_of(a, struct head_query, ask);

	h->requests += a->http.requests;
	if (code == 0 && h->target_len > 0 && !memchr(h->target, 0, h->target_len)) {
		h->target[h->target_len] = '\0';
		h->entry.has |= VMOFS_HAS_TARGET;
	}
	if (code == 0)
		head_show(h);
	head_end(h, code == -ENOENT ? 0 : code, why);
}

static const struct s3_ask_ops target_ops = {
	.reset = target_reset,
	.data = target_data,
	.done = target_done,
};

/* -- the head itself -- */

static void head_reset(struct s3_ask *a)
{
	struct head_query *h = container_of(a, struct head_query, ask);

	h->head = (struct s3_head){ .size = VMOFS_SIZE_UNKNOWN };
}

static void head_header(struct s3_ask *a, const char *name, const char *value, size_t n)
{
	struct head_query *h = container_of(a, struct head_query, ask);

	s3_head_header(&h->head, name, value, n);
}

static void head_done(struct s3_ask *a, int code, const struct http_refusal *why)
{
	struct head_query *h = container_of(a, struct head_query, ask);
	struct vmofs_entry *e = &h->entry;

	h->requests += a->http.requests;
	if (code < 0) {
		head_end(h, code == -ENOENT ? 0 : code, why);
		return;
	}
	*e = (struct vmofs_entry){ .type = VMOFS_ENTRY_FILE,
				   .key = h->q->key,
				   .key_len = strlen(h->q->key),
				   .size = h->head.size,
				   .mtime = h->head.mtime,
				   .validator = h->head.etag };
	s3_head_apply(&h->head, e);
	if ((e->has & VMOFS_HAS_MODE) && S_ISLNK(e->mode) && e->size < TARGET_MAX) {
		a->ops = &target_ops;
		a->request.method = "GET";
		s3_ask_start(a, h->q->deadline_ns, TARGET_MAX);
		return;
	}
	head_show(h);
	head_end(h, 0, why);
}

static const struct s3_ask_ops head_ops = {
	.reset = head_reset,
	.header = head_header,
	.done = head_done,
};

void s3_head(struct s3 *s, struct vmofs_query *q)
{
	struct head_query *h = calloc(1, sizeof *h);

	if (!h) {
		answer(s, q, "look up", -ENOMEM, NULL, "", 0);
		return;
	}
	h->s = s3_get(s);
	h->q = q;
	h->key = s3_full_key(s, q->key);
	h->ask.s = s;
	h->ask.ops = &head_ops;
	h->ask.request = (struct s3_request){ .method = "HEAD", .key = h->key };
	if (h->key)
		s3_ask_start(&h->ask, q->deadline_ns, KIB(64));
	else
		head_end(h, -ENOMEM, NULL);
}
