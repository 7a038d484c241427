/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list provider: the lines of a local file as a namespace. Everything but the sizes that the file does not say
 * is answered from memory, in the asker's thread. The table of the lines is a version: immutable,
 * counted, replaced as a whole when the file has changed; one that has become bad is logged and the old
 * one stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <vmofs/source.h>

#include "base/config.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/sync.h"
#include "http/http_head.h"
#include "list/list_parse.h"

enum { BATCH = 128, READ_SIZE = 1 << 20 };

struct list_version {
	atomic_uint refs;
	struct list_table *table;     /* owned */
	struct http_origin **origins; /* as the table counts them; the source's */
};

/* A server that a version had; kept with its connections and counters while the source lives. */
struct list_origin {
	struct vmofs_list link;
	struct http_origin *origin;
	char url[];
};

struct list_source {
	struct vmofs_source base;      /* first */
	struct vmofs_provider_env env; /* what it points to is borrowed */
	char *path;
	char *name; /* of the file, for people */

	struct mutex lock;
	struct list_version *now;  /* lock: lock */
	struct vmofs_list origins; /* lock: lock; list_origin */
	struct stat st;            /* lock: lock; of what was read last, good or bad */
	bool reading;              /* lock: lock */
	bool stopped;              /* lock: lock */
};

struct list_query {
	struct http_head head;
	struct vmofs_query *q;
};

extern const struct vmofs_provider_ops provider_list;

/* -- versions --------------------------------------------------------------------------------- */

static void version_put(struct list_version *v)
{
	if (!v || atomic_fetch_sub(&v->refs, 1) > 1)
		return;
	list_table_free(v->table);
	free(v->origins);
	free(v);
}

static struct list_version *version_get(struct list_source *s) EXCLUDES(s->lock)
{
	struct list_version *v;

	mutex_lock(&s->lock);
	v = s->now;
	atomic_fetch_add(&v->refs, 1);
	mutex_unlock(&s->lock);
	return v;
}

static int read_lines(int fd, struct list_builder *b, struct vmofs_err *err)
{
	cleanup(mem_freep) char *buf = malloc(READ_SIZE);
	ssize_t n;
	int r = buf ? 0 : -ENOMEM;

	while (r == 0) {
		n = read(fd, buf, READ_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = -errno;
		if (n <= 0)
			break;
		r = list_builder_add(b, buf, (size_t)n, err);
		if (r < 0)
			return r;
	}
	return r < 0 ? vmofs_err_set(err, r, "%s", strerror(-r)) : 0;
}

static int read_table(struct list_source *s, struct list_table **out, struct stat *st,
		      struct vmofs_err *err)
{
	cleanup(fd_closep) int fd = open(s->path, O_RDONLY | O_CLOEXEC);
	struct list_builder *b;
	int r = fd < 0 || fstat(fd, st) < 0 ? -errno : 0;

	if (r == 0 && S_ISDIR(st->st_mode))
		r = -EISDIR;
	if (r < 0)
		return vmofs_err_set(err, r, "cannot read the list '%s': %s", s->path,
				     strerror(-r));
	b = list_builder_new(s->path);
	if (!b)
		return vmofs_err_set(err, -ENOMEM, "no memory for the list '%s'", s->path);
	r = read_lines(fd, b, err);
	if (r == 0)
		r = list_builder_end(b, out, err);
	list_builder_free(b);
	return r;
}

/*
 * Options that have a secret go to one server only; which one of several is meant, nobody could tell.
 */
static int check_secrets(const struct list_source *s, const struct list_table *t,
			 struct vmofs_err *err)
{
	static const char *const names[] = { "username", "user-file", "token-file", "header" };

	if (list_table_n_origins(t) < 2)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (config_is_set(s->env.config, names[i]))
			return vmofs_err_set(
				err, -EINVAL,
				"option '%s' is for one server, and the list '%s' has "
				"%u; write NAME:PASSWORD@ into its URLs or use 'netrc'",
				names[i], s->path, list_table_n_origins(t));
	return 0;
}

static struct http_origin *find_origin(struct list_source *s, const char *url) EXCLUDES(s->lock)
{
	struct http_origin *found = NULL;
	struct vmofs_list *pos;

	mutex_lock(&s->lock);
	vmofs_list_for_each(pos, &s->origins) {
		struct list_origin *o = vmofs_list_entry(pos, struct list_origin, link);

		if (strcmp(o->url, url) == 0) {
			found = o->origin;
			break;
		}
	}
	mutex_unlock(&s->lock);
	return found;
}

static int make_origin(struct list_source *s, const char *url, struct http_origin **out,
		       struct vmofs_err *err)
{
	struct http_origin_params params = { .env = &s->env, .url = url };
	struct list_origin *o;
	int r;

	*out = find_origin(s, url);
	if (*out)
		return 0;
	o = malloc(sizeof *o + strlen(url) + 1);
	if (!o)
		return vmofs_err_set(err, -ENOMEM, "no memory for a server of the list");
	r = http_origin_new(&o->origin, &params, err);
	if (r < 0) {
		free(o);
		return r;
	}
	memcpy(o->url, url, strlen(url) + 1);
	*out = o->origin;
	mutex_lock(&s->lock);
	vmofs_list_add_tail(&s->origins, &o->link);
	mutex_unlock(&s->lock);
	return 0;
}

static int version_new(struct list_source *s, struct list_version **out, struct stat *st,
		       struct vmofs_err *err)
{
	struct list_version *v = calloc(1, sizeof *v);
	unsigned n;
	int r;

	if (!v)
		return vmofs_err_set(err, -ENOMEM, "no memory for the list '%s'", s->path);
	v->refs = 1;
	r = read_table(s, &v->table, st, err);
	if (r == 0)
		r = check_secrets(s, v->table, err);
	n = r == 0 ? list_table_n_origins(v->table) : 0;
	v->origins = n ? calloc(n, sizeof(struct http_origin *)) : NULL;
	if (n && !v->origins)
		r = vmofs_err_set(err, -ENOMEM, "no memory for the list '%s'", s->path);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = make_origin(s, list_table_origin(v->table, i), &v->origins[i], err);
	if (r < 0)
		version_put(v);
	else
		*out = v;
	return r;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
		a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* True: the caller is the one who reads it again. */
static bool begin_reading(struct list_source *s) EXCLUDES(s->lock)
{
	struct stat st;
	bool mine;

	/* One that is being replaced may be missing for a moment. */
	if (stat(s->path, &st) < 0)
		return false;
	mutex_lock(&s->lock);
	mine = S_ISREG(s->st.st_mode) && !s->stopped && !s->reading && !same_file(&st, &s->st);
	s->reading |= mine;
	mutex_unlock(&s->lock);
	return mine;
}

static bool list_changed(struct vmofs_source *src)
{
	struct list_source *s = container_of(src, struct list_source, base);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct list_version *v = NULL;
	struct list_version *old = NULL;
	struct stat st = { 0 };

	if (!begin_reading(s))
		return false;
	if (version_new(s, &v, &st, &err) < 0)
		log_warn("%s; what the list said before still counts", err.msg);
	mutex_lock(&s->lock);
	s->reading = false;
	if (st.st_mode)
		s->st = st;
	if (v) {
		old = s->now;
		s->now = v;
	}
	mutex_unlock(&s->lock);
	version_put(old);
	return v != NULL;
}

/* -- answers from memory ---------------------------------------------------------------------- */

/* Entries that wait to be given away together; keys of prefixes are copies, as they have no zero of their own. */
struct batch {
	struct vmofs_query *q;
	unsigned n;
	uint64_t given;
	bool ended;
	struct vmofs_entry v[BATCH];
	char *copies[BATCH];
};

static void batch_flush(struct batch *b)
{
	if (b->n > 0 && !b->ended)
		b->ended = !b->q->entries(b->q, b->v, b->n);
	for (unsigned i = 0; i < b->n; i++) {
		free(b->copies[i]);
		b->copies[i] = NULL;
	}
	b->n = 0;
}

static struct vmofs_entry *batch_next(struct batch *b)
{
	if (b->n == BATCH)
		batch_flush(b);
	b->given++;
	b->v[b->n] = (struct vmofs_entry){ .validator = "", .target = "" };
	return &b->v[b->n++];
}

static void set_date(struct vmofs_entry *e)
{
	int64_t seconds;

	if (http_parse_date(e->validator, strlen(e->validator), &seconds) == 0)
		e->mtime.tv_sec = (time_t)seconds;
}

static void add_file(struct batch *b, const struct list_item *item)
{
	struct vmofs_entry *e = batch_next(b);

	e->type = VMOFS_ENTRY_FILE;
	e->key = item->key;
	e->key_len = strlen(item->key);
	e->size = item->size;
	e->validator = item->validator;
	set_date(e);
}

static void add_prefix(struct batch *b, const char *key, size_t n)
{
	char *copy = strndup(key, n);
	struct vmofs_entry *e;

	if (!copy) {
		b->ended = true;
		return;
	}
	e = batch_next(b);
	e->type = VMOFS_ENTRY_PREFIX;
	e->key = b->copies[b->n - 1] = copy;
	e->key_len = n;
	e->size = VMOFS_SIZE_UNKNOWN;
}

/* The first row behind all whose keys begin with @prefix. */
static size_t behind_prefix(const struct list_table *t, const char *prefix, size_t n)
{
	char *last = strndup(prefix, n);
	size_t i = list_table_n(t);

	/* It ends in "/", and what is next to that is "0". */
	if (last) {
		last[n - 1]++;
		i = list_table_find(t, last, n);
	}
	free(last);
	return i;
}

static void give_dir(struct batch *b, const struct list_table *t, const char *key)
{
	size_t n = strlen(key);
	size_t i = list_table_find(t, key, n);

	while (i < list_table_n(t) && !b->ended) {
		struct list_item item = list_table_get(t, i);
		const char *slash;

		if (strncmp(item.key, key, n) != 0)
			break;
		slash = strchr(item.key + n, '/');
		if (!slash) {
			add_file(b, &item);
			i++;
			continue;
		}
		add_prefix(b, item.key, (size_t)(slash - item.key) + 1);
		i = behind_prefix(t, item.key, (size_t)(slash - item.key) + 1);
	}
}

/* True: the limit has ended it. */
static bool give_flat(struct batch *b, const struct list_table *t, const struct vmofs_query *q)
{
	size_t n = strlen(q->key);
	const char *after = q->after ? q->after : "";
	size_t i = list_table_find(t, q->key, n);

	if (*after) {
		i = MAX(i, list_table_find(t, after, strlen(after)));
		if (i < list_table_n(t) && strcmp(list_table_get(t, i).key, after) == 0)
			i++;
	}
	for (; i < list_table_n(t) && !b->ended; i++) {
		struct list_item item = list_table_get(t, i);

		if (strncmp(item.key, q->key, n) != 0)
			break;
		if (q->limit && b->given == q->limit)
			return true;
		add_file(b, &item);
	}
	return false;
}

static bool find_key(const struct list_table *t, const char *key, size_t n, size_t *i)
{
	*i = list_table_find(t, key, n);
	if (*i == list_table_n(t))
		return false;
	return strncmp(list_table_get(t, *i).key, key, n) == 0 &&
		list_table_get(t, *i).key[n] == '\0';
}

static void give_name(struct batch *b, const struct list_table *t, const char *key)
{
	size_t n = strlen(key);
	char below[VMOFS_KEY_MAX + 1];
	struct list_item item;
	size_t i;

	if (find_key(t, key, n, &i)) {
		item = list_table_get(t, i);
		add_file(b, &item);
	}
	if (n >= VMOFS_KEY_MAX)
		return;
	memcpy(below, key, n);
	memcpy(below + n, "/", 2);
	i = list_table_find(t, below, n + 1);
	if (i < list_table_n(t) && strncmp(list_table_get(t, i).key, below, n + 1) == 0)
		add_prefix(b, below, n + 1);
}

static void end(struct vmofs_query *q, int code, const char *msg)
{
	struct vmofs_query_result result = { .code = code, .msg = msg, .req_id = "" };

	q->done(q, &result);
}

static void answer_from_memory(struct vmofs_query *q, const struct list_table *t)
{
	struct vmofs_query_result result = { .msg = "", .req_id = "" };
	struct batch *b = calloc(1, sizeof *b);

	if (!b) {
		end(q, -ENOMEM, "no memory for a query");
		return;
	}
	b->q = q;
	if (q->kind == VMOFS_QUERY_DIR)
		give_dir(b, t, q->key);
	else if (q->kind == VMOFS_QUERY_NAME)
		give_name(b, t, q->key);
	else
		result.more = give_flat(b, t, q);
	batch_flush(b);
	free(b);
	q->done(q, &result);
}

/* -- one file --------------------------------------------------------------------------------- */

static const char *path_of_url(const char *url)
{
	url += strlen("file:");
	return strncmp(url, "//", 2) == 0 ? url + 2 : url;
}

static void give_one(struct vmofs_query *q, const struct list_item *item)
{
	struct vmofs_entry e = {
		.type = VMOFS_ENTRY_FILE,
		.key = q->key,
		.key_len = strlen(q->key),
		.size = item->size,
		.validator = item->validator,
		.target = "",
	};

	set_date(&e);
	q->entries(q, &e, 1);
}

static void head_ended(struct http_head *h, int code, const struct http_refusal *why)
{
	struct list_query *lq = container_of(h, struct list_query, head);
	struct vmofs_query *q = lq->q;
	struct list_item item = {
		.size = h->size == HTTP_LENGTH_UNKNOWN ? VMOFS_SIZE_UNKNOWN : h->size,
		.validator = h->etag[0] ? h->etag : h->last_modified,
	};
	struct vmofs_query_result result = {
		.code = code == -ENOENT ? 0 : code,
		.requests = h->requests,
		.status = why->status,
		.msg = code < 0 ? why->msg : "",
		.req_id = why->request_id,
	};

	if (code == 0 && !h->dir)
		give_one(q, &item);
	q->done(q, &result);
	free(lq);
}

static void ask_url(struct vmofs_query *q, struct http_origin *o, const char *text)
{
	struct list_query *lq = calloc(1, sizeof *lq);
	char url[URL_MAX];
	struct url u;
	int r = lq ? url_parse(text, strlen(text), &u) : -ENOMEM;

	if (r == 0)
		r = url_strip(&u, url, sizeof url);
	if (r == 0) {
		lq->q = q;
		lq->head.origin = o;
		lq->head.deadline_ns = q->deadline_ns;
		lq->head.done = head_ended;
		r = http_head_start(&lq->head, url);
	}
	if (r < 0) {
		free(lq);
		end(q, r, strerror(-r));
	}
}

static void stat_file(struct vmofs_query *q, const struct list_item *item, const char *url)
{
	struct list_item found = *item;
	struct stat st;

	if (stat(path_of_url(url), &st) < 0) {
		end(q, errno == ENOENT ? 0 : -errno, strerror(errno));
		return;
	}
	found.size = (uint64_t)st.st_size;
	give_one(q, &found);
	end(q, 0, "");
}

static void answer_head(struct vmofs_query *q, const struct list_version *v)
{
	char url[URL_MAX];
	struct list_item item;
	size_t i;

	if (!find_key(v->table, q->key, strlen(q->key), &i)) {
		end(q, 0, "");
		return;
	}
	item = list_table_get(v->table, i);
	if (item.size != VMOFS_SIZE_UNKNOWN || list_table_url(v->table, i, url, sizeof url) < 0) {
		give_one(q, &item);
		end(q, 0, "");
	} else if (item.scheme == LIST_FILE) {
		stat_file(q, &item, url);
	} else {
		ask_url(q, v->origins[item.origin], url);
	}
}

static bool is_stopped(struct list_source *s) EXCLUDES(s->lock)
{
	bool stopped;

	mutex_lock(&s->lock);
	stopped = s->stopped;
	mutex_unlock(&s->lock);
	return stopped;
}

static void list_query(struct vmofs_source *src, struct vmofs_query *q)
{
	struct list_source *s = container_of(src, struct list_source, base);
	struct list_version *v;

	if (is_stopped(s)) {
		end(q, -ESHUTDOWN, "the mount ends");
		return;
	}
	v = version_get(s);
	if (q->kind == VMOFS_QUERY_HEAD)
		answer_head(q, v);
	else
		answer_from_memory(q, v->table);
	version_put(v);
}

/* -- objects ---------------------------------------------------------------------------------- */

static int http_object(struct list_version *v, const struct vmofs_entry *e,
		       const struct list_item *item, const char *text, struct vmofs_provider **out,
		       struct vmofs_object_info *info, struct vmofs_err *err)
{
	char url[URL_MAX];
	struct http_object_spec spec = { .url = url, .size = e->size };
	struct url u;

	if (url_parse(text, strlen(text), &u) < 0 || url_strip(&u, url, sizeof url) < 0 ||
	    http_object_where(v->origins[item->origin], &u, info) < 0)
		return vmofs_err_set(err, -EINVAL, "the URL of '%s' is too long", e->key);
	http_object_spec_validator(&spec, e->validator);
	return http_object_new(out, v->origins[item->origin], &spec, err);
}

/* A local file that is not as long as the list says is another version of it. */
static int file_object(struct list_source *s, const struct vmofs_entry *e, const char *url,
		       struct vmofs_provider **out, struct vmofs_object_info *info,
		       struct vmofs_err *err)
{
	const struct vmofs_provider_ops *file = vmofs_provider_find("file:///");
	int r = file ? file->open(out, url, &s->env, info, err)
		     : vmofs_err_set(err, -ENOTSUP, "'%s': no provider for files has been built in",
				     url);

	if (r < 0 || info->size == e->size)
		return r;
	(*out)->ops->free(*out);
	return vmofs_err_set(err, -ESTALE, "'%s' has another size than the list says", url);
}

static void name_object(const struct vmofs_entry *e, struct vmofs_object_info *info)
{
	const char *slash = strrchr(e->key, '/');

	snprintf(info->name, sizeof info->name, "%s", slash && slash[1] ? slash + 1 : e->key);
	info->size = e->size;
	info->mtime = e->mtime;
	snprintf(info->validator, sizeof info->validator, "%s", e->validator);
	info->weak = e->size > 0 && e->validator[0] && e->validator[0] != '"';
}

static int list_object(struct vmofs_source *src, const struct vmofs_entry *e,
		       struct vmofs_provider **out, struct vmofs_object_info *info,
		       struct vmofs_err *err)
{
	struct list_source *s = container_of(src, struct list_source, base);
	struct list_version *v = version_get(s);
	char url[URL_MAX];
	struct list_item item;
	size_t i;
	int r;

	*info = (struct vmofs_object_info){ 0 };
	if (!find_key(v->table, e->key, e->key_len, &i) ||
	    list_table_url(v->table, i, url, sizeof url) < 0) {
		r = vmofs_err_set(err, -ESTALE, "the list '%s' no longer has '%s'", s->path,
				  e->key);
	} else {
		item = list_table_get(v->table, i);
		r = item.scheme == LIST_FILE ? file_object(s, e, url, out, info, err)
					     : http_object(v, e, &item, url, out, info, err);
	}
	version_put(v);
	if (r == 0)
		name_object(e, info);
	return r;
}

/* -- life ------------------------------------------------------------------------------------- */

static void list_free(struct vmofs_source *src)
{
	struct list_source *s = container_of(src, struct list_source, base);
	struct vmofs_list *pos, *tmp;

	version_put(s->now);
	vmofs_list_for_each_safe(pos, tmp, &s->origins) {
		struct list_origin *o = vmofs_list_entry(pos, struct list_origin, link);

		http_origin_put(o->origin);
		explicit_bzero(o->url, strlen(o->url));
		free(o);
	}
	mutex_destroy(&s->lock);
	free(s->path);
	free(s->name);
	free(s);
}

/* The servers, with a reference each, so that they can be called without the lock; NULL at the end. */
static struct http_origin **all_origins(struct list_source *s) EXCLUDES(s->lock)
{
	struct http_origin **v;
	struct vmofs_list *pos;
	size_t n = 0;

	mutex_lock(&s->lock);
	vmofs_list_for_each(pos, &s->origins)
		n++;
	v = calloc(n + 1, sizeof(struct http_origin *));
	n = 0;
	vmofs_list_for_each(pos, &s->origins)
		if (v)
			v[n++] = http_origin_get(
				vmofs_list_entry(pos, struct list_origin, link)->origin);
	mutex_unlock(&s->lock);
	return v;
}

static void list_stats(struct vmofs_source *src, struct vmofs_provider_stats *out)
{
	struct http_origin **v = all_origins(container_of(src, struct list_source, base));

	for (size_t i = 0; v && v[i]; i++) {
		http_origin_stats(v[i], out);
		http_origin_put(v[i]);
	}
	free(v);
}

static void list_dump(struct vmofs_source *src, FILE *out, unsigned depth, unsigned max)
{
	struct list_source *s = container_of(src, struct list_source, base);
	struct http_origin **v = all_origins(s);
	struct list_version *now = version_get(s);

	fprintf(out, "%*slist '%s' lines %zu\n", (int)depth * 2, "", s->path,
		list_table_n(now->table));
	version_put(now);
	for (size_t i = 0; v && v[i]; i++) {
		if (i < max)
			http_origin_dump(v[i], out, depth + 1);
		http_origin_put(v[i]);
	}
	free(v);
}

static void list_stop(struct vmofs_source *src)
{
	struct list_source *s = container_of(src, struct list_source, base);
	struct http_origin **v;

	mutex_lock(&s->lock);
	s->stopped = true;
	mutex_unlock(&s->lock);
	v = all_origins(s);
	for (size_t i = 0; v && v[i]; i++) {
		http_origin_stop(v[i]);
		http_origin_put(v[i]);
	}
	free(v);
}

static bool list_is_tree(const char *source UNUSED)
{
	return true;
}

/* A daemon's working directory is not its starter's. */
static int set_path(struct list_source *s, const char *source, struct vmofs_err *err)
{
	const char *path = source + strlen("list:");
	const char *slash;

	if (strncmp(path, "//", 2) == 0)
		path += 2;
	if (!*path)
		return vmofs_err_set(err, -EINVAL,
				     "'%s' names no file; a list is given as list:FILE", source);
	s->path = realpath(path, NULL);
	/* What has no path, a pipe of the shell's, is read by the name it was given. */
	if (!s->path || access(s->path, F_OK) < 0) {
		free(s->path);
		s->path = strdup(path);
	}
	slash = strrchr(path, '/');
	s->name = strdup(slash && slash[1] ? slash + 1 : path);
	return s->path && s->name ? 0 : vmofs_err_set(err, -ENOMEM, "no memory for a source");
}

static void fill_info(const struct list_source *s, struct vmofs_source_info *info)
{
	*info = (struct vmofs_source_info){
		.can = BIT(VMOFS_NQUERIES) - 1,
		.complete = true,
		.changed = s->st.st_mtim,
	};
	snprintf(info->name, sizeof info->name, "%s", s->name);
	snprintf(info->url, sizeof info->url, "list:%s", s->path);
}

static int list_open(struct vmofs_source **out, const char *source,
		     const struct vmofs_provider_env *env, struct vmofs_source_info *info,
		     struct vmofs_err *err)
{
	struct list_source *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return vmofs_err_set(err, -ENOMEM, "no memory for a source");
	s->base.ops = provider_list.tree;
	s->env = *env;
	mutex_init(&s->lock, LOCK_RANK_SOURCE);
	vmofs_list_init(&s->origins);
	r = set_path(s, source, err);
	if (r == 0)
		r = version_new(s, &s->now, &s->st, err);
	if (r < 0) {
		list_free(&s->base);
		return r;
	}
	fill_info(s, info);
	*out = &s->base;
	return 0;
}

static const struct vmofs_source_ops list_source_ops = {
	.open = list_open,
	.query = list_query,
	.object = list_object,
	.changed = list_changed,
	.stats = list_stats,
	.dump = list_dump,
	.stop = list_stop,
	.free = list_free,
};

static const char *const list_schemes[] = { "list", NULL };

const struct vmofs_provider_ops provider_list = {
	.name = "list",
	.schemes = list_schemes,
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.tree = &list_source_ops,
	.is_tree = list_is_tree,
};
