/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The namespace of a server's index pages. A directory is one GET of its page. One name is one HEAD of its URL
 * and not the page of its directory: that is cheaper, also works where the directory may not be listed, and
 * a directory shows itself by a redirect to the same path with a slash. What a page does not say exactly is
 * asked with a HEAD too. Queries end on the loops of the origin's asks.
 *
 * What is going to be changed needs exact versions, which pages do not tell: every size is left for a HEAD to say. One object
 * that is going to be changed is shown by itself, as a directory with nothing else in it.
 */
#include "http/index.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "http/http_change.h"
#include "http/http_head.h"
#include "http/index_page.h"
#include "http/index_text.h"

enum { BATCH = 128 };

/* The root's page, read by open(), answers the first query for it, when that comes soon. */
#define FIRST_NS (2 * NSEC_PER_SEC)

struct index_first {
	uint64_t at_ns;
	struct index_list list;
};

struct index {
	struct vmofs_source base; /* first */
	struct http_origin *origin;
	char *root;  /* ends with a slash, or is the URL of the only object */
	char *query; /* what every request carries behind its path, with the "?"; may be "" */
	char *shown; /* for people */
	char *only;  /* the one key that there is; NULL: all that the pages tell */
	bool writable;
	struct http_ways ways;
	_Atomic(struct index_first *) first;
	atomic_bool minutes; /* its pages have dates of whole minutes */
};

struct index_query {
	struct index *s;
	struct vmofs_query *q;
	struct index_page page; /* DIR */
	struct http_head head;  /* NAME, HEAD, the only one */
};

/* -- URLs ------------------------------------------------------------------------------------- */

bool index_is_tree(const char *source)
{
	struct url u;

	return url_parse(source, strlen(source), &u) == 0 &&
		(u.path.len == 0 || u.path.p[u.path.len - 1] == '/');
}

void index_place(struct vmofs_source *src, struct http_place *out)
{
	struct index *s = container_of(src, struct index, base);

	*out = (struct http_place){ s->origin, &s->ways, s->only };
}

static int url_of(const struct index *s, const char *key, size_t n, char out[URL_MAX])
{
	size_t root = strlen(s->root);
	size_t query = strlen(s->query);
	int r;

	if (root + query >= URL_MAX)
		return -ENAMETOOLONG;
	memcpy(out, s->root, root + 1);
	r = s->only ? 0 : index_encode_key(key, n, out + root, URL_MAX - root - query);
	if (r == 0)
		memcpy(out + strlen(out), s->query, query + 1);
	return r;
}

int index_url(struct vmofs_source *src, const char *key, char out[URL_MAX])
{
	return url_of(container_of(src, struct index, base), key, strlen(key), out);
}

/* -- answers ---------------------------------------------------------------------------------- */

static void query_end(struct index_query *iq, int code, unsigned requests,
		      const struct http_refusal *why, const char *msg)
{
	struct vmofs_query_result result = {
		.code = code == -ENOENT ? 0 : code,
		.requests = requests,
		.status = why ? why->status : 0,
		.msg = "",
		.req_id = why ? why->request_id : "",
	};
	struct vmofs_query *q = iq->q;

	if (result.code)
		result.msg = msg && *msg ? msg : why && *why->msg ? why->msg : strerror(-code);
	/* The message may be of the page: it goes after done(). */
	q->done(q, &result);
	index_page_release(&iq->page);
	free(iq);
}

/* The entries [from, from+n) of @list below @dir; false: no more are wanted, or there is no memory. */
static bool give_batch(const struct index *s, struct vmofs_query *q, const struct index_list *list,
		       size_t from, size_t n)
{
	struct vmofs_entry v[BATCH];
	size_t dir = strlen(q->key);
	size_t total = 0;
	size_t at = 0;
	cleanup(mem_freep) char *keys = NULL;

	for (size_t i = 0; i < n; i++)
		total += dir + index_list_get(list, from + i).len + 2;
	keys = malloc(total);
	if (!keys)
		return false;
	for (size_t i = 0; i < n; i++) {
		struct index_entry e = index_list_get(list, from + i);

		v[i] = (struct vmofs_entry){
			.type = e.dir ? VMOFS_ENTRY_PREFIX : VMOFS_ENTRY_FILE,
			.key = keys + at,
			.key_len = dir + e.len + e.dir,
			.size = s->writable ? VMOFS_SIZE_UNKNOWN : e.size,
			.mtime = e.mtime,
			.validator = "",
			.target = "",
		};
		memcpy(keys + at, q->key, dir);
		memcpy(keys + at + dir, e.name, e.len);
		memcpy(keys + at + dir + e.len, "/", 2);
		keys[at + v[i].key_len] = '\0';
		at += v[i].key_len + 1;
	}
	return q->entries(q, v, (unsigned)n);
}

static void give_list(const struct index *s, struct vmofs_query *q, const struct index_list *list)
{
	for (size_t i = 0; i < list->n; i += BATCH)
		if (!give_batch(s, q, list, i, MIN(list->n - i, (size_t)BATCH)))
			return;
}

static void dir_ended(struct index_page *p, int code, const struct http_refusal *why)
{
	struct index_query *iq = container_of(p, struct index_query, page);

	if (p->list.minutes)
		atomic_store(&iq->s->minutes, true);
	if (code == 0)
		give_list(iq->s, iq->q, &p->list);
	query_end(iq, code, p->requests, why, p->msg);
}

/* @minutes: the date as the directory's page would say it, or one file would seem to be two versions. */
static void give_file(struct vmofs_query *q, const char *key, const struct http_head *h,
		      bool minutes)
{
	struct vmofs_entry e = {
		.type = VMOFS_ENTRY_FILE,
		.key = key,
		.key_len = strlen(key),
		.size = h->size == HTTP_LENGTH_UNKNOWN ? VMOFS_SIZE_UNKNOWN : h->size,
		.validator = h->etag[0] ? h->etag : h->last_modified,
		.target = "",
	};
	int64_t seconds;

	if (http_parse_date(h->last_modified, strlen(h->last_modified), &seconds) == 0)
		e.mtime.tv_sec = (time_t)(minutes ? seconds - seconds % 60 : seconds);
	q->entries(q, &e, 1);
}

static void give_prefix(struct vmofs_query *q)
{
	size_t n = strlen(q->key);
	char key[VMOFS_KEY_MAX + 1];
	struct vmofs_entry e = {
		.type = VMOFS_ENTRY_PREFIX,
		.key = key,
		.key_len = n + 1,
		.size = VMOFS_SIZE_UNKNOWN,
		.validator = "",
		.target = "",
	};

	if (n >= VMOFS_KEY_MAX)
		return;
	memcpy(key, q->key, n);
	memcpy(key + n, "/", 2);
	q->entries(q, &e, 1);
}

static void head_ended(struct http_head *h, int code, const struct http_refusal *why)
{
	struct index_query *iq = container_of(h, struct index_query, head);

	if (code == 0 && !h->dir)
		give_file(iq->q, iq->s->only ? iq->s->only : iq->q->key, h,
			  iq->q->kind == VMOFS_QUERY_NAME && atomic_load(&iq->s->minutes));
	else if (code == 0 && !iq->s->only && iq->q->kind == VMOFS_QUERY_NAME)
		give_prefix(iq->q);
	query_end(iq, code, h->requests, why, NULL);
}

/* -- queries ---------------------------------------------------------------------------------- */

/* True: @q was answered from what open() has read. */
static bool answer_first(struct index *s, struct vmofs_query *q)
{
	struct index_first *first;
	struct vmofs_query_result result = { .msg = "", .req_id = "" };
	bool fresh;

	/* What is asked after a change must not be answered with what was before it. */
	if (q->kind != VMOFS_QUERY_DIR || q->key[0] || s->writable)
		return false;
	first = atomic_exchange(&s->first, NULL);
	if (!first)
		return false;
	fresh = loop_now_ns() - first->at_ns < FIRST_NS;
	if (fresh) {
		give_list(s, q, &first->list);
		q->done(q, &result);
	}
	index_list_release(&first->list);
	free(first);
	return fresh;
}

static void start_dir(struct index_query *iq)
{
	iq->page.origin = iq->s->origin;
	iq->page.deadline_ns = iq->q->deadline_ns;
	iq->page.ended = dir_ended;
	index_page_get(&iq->page);
}

static void start_head(struct index_query *iq, const char *url)
{
	int r;

	iq->head.origin = iq->s->origin;
	iq->head.cls = VMOFS_CLASS_DEMAND;
	iq->head.deadline_ns = iq->q->deadline_ns;
	iq->head.done = head_ended;
	r = http_head_start(&iq->head, url);
	if (r < 0)
		query_end(iq, r, 0, NULL, NULL);
}

/* Where there is one object only, it is all that a query can be about. */
static int url_of_query(const struct index *s, const struct vmofs_query *q, char out[URL_MAX])
{
	const char *key = q->key;

	if (s->only && q->kind == VMOFS_QUERY_DIR && !*key)
		key = s->only;
	else if (s->only && strcmp(key, s->only) != 0)
		return -ENOENT;
	return url_of(s, key, strlen(key), out);
}

static void index_query(struct vmofs_source *src, struct vmofs_query *q)
{
	struct index *s = container_of(src, struct index, base);
	struct vmofs_query_result result = { .msg = "", .req_id = "" };
	struct index_query *iq;
	int r;

	if (answer_first(s, q))
		return;
	iq = calloc(1, sizeof *iq);
	if (!iq) {
		result.code = -ENOMEM;
		result.msg = "no memory for a query";
		q->done(q, &result);
		return;
	}
	iq->s = s;
	iq->q = q;
	r = url_of_query(s, q, iq->page.url);
	if (r < 0)
		/* No server has answered for a name of that length, so there is none. */
		query_end(iq, r == -ENAMETOOLONG ? -ENOENT : r, 0, NULL, NULL);
	else if (q->kind == VMOFS_QUERY_DIR && !s->only)
		start_dir(iq);
	else if (q->kind == VMOFS_QUERY_FLAT)
		query_end(iq, -EOPNOTSUPP, 0, NULL, "index pages are listed one at a time");
	else
		start_head(iq, iq->page.url);
}

static int index_object(struct vmofs_source *src, const struct vmofs_entry *e,
			struct vmofs_provider **out, struct vmofs_object_info *info,
			struct vmofs_err *err)
{
	struct index *s = container_of(src, struct index, base);
	char url[URL_MAX];
	struct http_object_spec spec = { .url = url, .size = e->size };
	struct url u;
	int r = url_of(s, e->key, e->key_len, url);

	*info = (struct vmofs_object_info){ .size = e->size, .mtime = e->mtime };
	if (r == 0)
		r = url_parse(url, strlen(url), &u);
	if (r == 0)
		r = http_object_where(s->origin, &u, info);
	if (r < 0)
		return vmofs_err_set(err, r, "the URL of '%s' is too long", e->key);
	snprintf(info->validator, sizeof info->validator, "%s", e->validator);
	info->weak = e->size > 0 && e->validator[0] && e->validator[0] != '"';
	if (url_name(&u, info->name, sizeof info->name) < 0)
		memcpy(info->name, "object", sizeof "object");
	http_object_spec_validator(&spec, e->validator);
	return http_object_new(out, s->origin, &spec, err);
}

/* -- life ------------------------------------------------------------------------------------- */

static void index_free(struct vmofs_source *src)
{
	struct index *s = container_of(src, struct index, base);
	struct index_first *first = atomic_load(&s->first);

	if (first) {
		index_list_release(&first->list);
		free(first);
	}
	http_origin_put(s->origin);
	free(s->root);
	free(s->query);
	free(s->shown);
	free(s->only);
	free(s);
}

static void index_stats(struct vmofs_source *src, struct vmofs_provider_stats *out)
{
	http_origin_stats(container_of(src, struct index, base)->origin, out);
}

static void index_dump(struct vmofs_source *src, FILE *out, unsigned depth, unsigned max UNUSED)
{
	struct index *s = container_of(src, struct index, base);

	fprintf(out, "%*sindex pages of '%s'\n", (int)depth * 2, "", s->shown);
	http_origin_dump(s->origin, out, depth + 1);
}

static void index_stop(struct vmofs_source *src)
{
	http_origin_stop(container_of(src, struct index, base)->origin);
}

static int set_urls(struct index *s, const char *source, struct url *u, struct vmofs_err *err)
{
	char text[URL_MAX];
	size_t query;

	if (url_parse(source, strlen(source), u) < 0)
		return vmofs_err_set(err, -EINVAL, "the source is not a valid http URL");
	s->query = strndup(u->query.p ? u->query.p : "", u->query.len);
	s->shown = url_redact(u, text, sizeof text) == 0 ? strdup(text) : NULL;
	if (url_strip(u, text, sizeof text) < 0)
		return vmofs_err_set(err, -ENAMETOOLONG, "the source's URL is too long");
	query = strcspn(text, "?");
	s->root = strndup(text, query);
	if (!index_is_tree(source)) {
		if (url_name(u, text, sizeof text) < 0)
			return vmofs_err_set(err, -ENAMETOOLONG, "the source's URL is too long");
		s->only = strdup(text);
	}
	if (!s->query || !s->shown || !s->root || (!s->only && !index_is_tree(source)))
		return vmofs_err_set(err, -ENOMEM, "no memory for a source");
	return 0;
}

struct index_open {
	struct index_page page;
	int code;
	struct http_refusal why;
};

static void open_ended(struct index_page *p, int code, const struct http_refusal *why)
{
	struct index_open *o = container_of(p, struct index_open, page);

	o->code = code;
	o->why = *why;
}

static int open_failed(const struct index *s, const struct index_open *o, struct vmofs_err *err)
{
	if (o->code == -ENOENT)
		return vmofs_err_set(err, -ENOENT, "cannot list '%s': %s; is the path right?",
				     s->shown, o->why.msg);
	if (o->code == -EACCES)
		return vmofs_err_set(
			err, -EACCES,
			"cannot list '%s': %s; the server may want credentials "
			"('username', 'token-file'), or gives no index of this directory",
			s->shown, o->why.msg);
	return vmofs_err_set(err, o->code,
			     "cannot list '%s': %s (a URL without a slash at its end is one file; "
			     "list:FILE shows URLs that have no index)",
			     s->shown, o->page.msg[0] ? o->page.msg : o->why.msg);
}

/* The only object is there. */
static int check_only(struct index *s, struct vmofs_err *err)
{
	const struct vmofs_change_wait wait = { .deadline_ns = 0 };
	struct http_place p = { s->origin, &s->ways, s->only };
	struct http_seen seen;
	char url[URL_MAX];
	int r = url_of(s, s->only, strlen(s->only), url);

	if (r == 0)
		r = http_look(&p, url, &wait, &seen, err);
	else
		vmofs_err_set(err, r, "the source's URL is too long");
	if (r < 0)
		return r;
	if (seen.dir)
		return vmofs_err_set(
			err, -EISDIR,
			"'%s' is a directory; a URL with a slash at its end shows what "
			"is in it",
			s->shown);
	if (!seen.exists)
		return vmofs_err_set(err, -ENOENT,
				     "cannot open '%s': there is nothing; is the path right?",
				     s->shown);
	return 0;
}

/* Reads the root's page, and keeps it for the first query. */
static int check_root(struct index *s, struct vmofs_err *err)
{
	cleanup(mem_freep) struct index_open *o = calloc(1, sizeof *o);
	struct index_first *first = calloc(1, sizeof *first);
	int r;

	if (!o || !first) {
		free(first);
		return vmofs_err_set(err, -ENOMEM, "no memory for a source");
	}
	o->page.origin = s->origin;
	o->page.ended = open_ended;
	r = url_of(s, "", 0, o->page.url);
	if (r == 0) {
		index_page_get_wait(&o->page);
		r = o->code;
	}
	if (r == 0) {
		first->list = o->page.list;
		atomic_store(&s->minutes, first->list.minutes);
		o->page.list = (struct index_list){ 0 };
		first->at_ns = loop_now_ns();
		atomic_store(&s->first, first);
	} else {
		free(first);
		o->code = r;
		open_failed(s, o, err);
	}
	index_page_release(&o->page);
	return r;
}

static void fill_info(const struct index *s, struct vmofs_source_info *info)
{
	char path[URL_MAX];
	size_t n = strlen(s->root) - !s->only;
	struct url u;

	*info = (struct vmofs_source_info){
		.can = BIT(VMOFS_QUERY_DIR) | BIT(VMOFS_QUERY_NAME) | BIT(VMOFS_QUERY_HEAD),
		.fixed = s->only != NULL,
	};
	snprintf(info->url, sizeof info->url, "%s", s->shown);
	memcpy(path, s->root, n);
	path[n] = '\0';
	/* The last component without the slash; the host for a server's root. */
	if (url_parse(path, n, &u) < 0 || url_name(&u, info->name, sizeof info->name) < 0)
		memcpy(info->name, "index", sizeof "index");
}

static int index_open(struct vmofs_source **out, const char *source,
		      const struct vmofs_provider_env *env, struct vmofs_source_info *info,
		      struct vmofs_err *err)
{
	struct index *s = calloc(1, sizeof *s);
	struct http_origin_params params = { .env = env, .url = source };
	struct url u;
	int r;

	if (!s)
		return vmofs_err_set(err, -ENOMEM, "no memory for a source");
	s->base.ops = &index_source_ops;
	r = set_urls(s, source, &u, err);
	if (r == 0)
		r = http_origin_new(&s->origin, &params, err);
	if (r == 0)
		r = s->only ? check_only(s, err) : check_root(s, err);
	if (r < 0) {
		index_free(&s->base);
		return r;
	}
	s->writable = env->writable;
	fill_info(s, info);
	*out = &s->base;
	return 0;
}

const struct vmofs_source_ops index_source_ops = {
	.open = index_open,
	.query = index_query,
	.object = index_object,
	.change = &http_change_ops,
	.stats = index_stats,
	.dump = index_dump,
	.stop = index_stop,
	.free = index_free,
};
