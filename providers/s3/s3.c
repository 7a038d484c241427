/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The S3 provider: a bucket, or what is below a prefix of it, as a source of keys; and one object by its key.
 * Open, close and counters; opening blocks on the caller's thread, the rest never does. A source lives until
 * its owner, its objects and its requests have let go of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "s3/s3_op.h"
#include "s3/s3_private.h"
#include "s3/s3_record.h"

extern const struct vmofs_provider_ops provider_s3;
enum { KEY_MAX = 1024 };

static const struct vmofs_source_ops s3_source_ops;

/* -- life ------------------------------------------------------------------------------------- */

/* Keys are fetched by programs, files and servers that may be slow: not by a loop. */
static void *keys_make(struct loop_pool *p UNUSED)
{
	return worker_new("vmofs-keys");
}

static void keys_free(void *it)
{
	worker_free(it);
}

static const struct loop_service keys_service = { keys_make, keys_free };

struct s3 *s3_get(struct s3 *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

static void s3_destroy(struct s3 *s)
{
	s3_record_free(atomic_load(&s->record));
	s3_chain_free(s->chain);
	http_origin_put(s->origin);
	s3_options_clear(&s->o);
	mutex_destroy(&s->lock);
	free(s);
}

void s3_put(struct s3 *s)
{
	if (atomic_fetch_sub(&s->refs, 1) == 1)
		s3_destroy(s);
}

/* AWS is known to look at these; of others it is found out. */
static void set_habits(struct s3 *s)
{
	static const enum s3_feature known[] = { S3_PUT_MATCH, S3_PUT_NEW, S3_COMPLETE_MATCH,
						 S3_COMPLETE_NEW, S3_SOURCE_MATCH };

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (!s->o.host[0] || strstr(s->o.host, ".amazonaws.com"))
			atomic_store(&s->habits[known[i]], S3_LOOKS);
}

/* The chain comes first: it knows the environment and the profile. */
static int s3_make(struct s3 *s, const char *source, const struct vmofs_provider_env *env,
		   struct vmofs_err *err)
{
	struct http_origin_params params = { .env = env, .anonymous = true };
	char url[sizeof s->o.host + sizeof s->o.base + 16];
	int r = s3_options_source(&s->o, source, err);

	if (r == 0)
		r = s3_chain_new(&s->chain, env->config, NULL, err);
	if (r == 0)
		r = s3_options_read(&s->o, env->config, s->chain, s->region, err);
	if (r < 0)
		return r;
	snprintf(url, sizeof url, "%s://%s%s/", s->o.tls ? "https" : "http",
		 s->o.host[0] ? s->o.host : "s3.amazonaws.com", s->o.base);
	set_habits(s);
	params.url = url;
	params.cacert = s3_chain_ca_bundle(s->chain);
	r = http_origin_new(&s->origin, &params, err);
	if (r < 0)
		return r;
	s3_chain_use(s->chain, http_origin_settings(s->origin));
	s->worker = loop_pool_service(env->loops, &keys_service);
	return s->worker ? 0 : vmofs_err_set(err, -ENOMEM, "no memory for a thread");
}

static int s3_new(struct s3 **out, const char *source, const struct vmofs_provider_env *env,
		  struct vmofs_err *err)
{
	struct s3 *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return vmofs_err_set(err, -ENOMEM, "no memory for a source");
	s->base.ops = &s3_source_ops;
	atomic_store(&s->refs, 1);
	mutex_init(&s->lock, LOCK_RANK_SOURCE);
	r = s3_make(s, source, env, err);
	if (r < 0) {
		s3_put(s);
		return r;
	}
	*out = s;
	return 0;
}

/* -- the namespace ---------------------------------------------------------------------------- */

struct probe {
	struct s3_fetch fetch;
	struct vmofs_err *err;
	int code;
};

static void probe_done(struct s3_fetch *f, int code, const struct http_refusal *why)
{
	struct probe *p = container_of(f, struct probe, fetch);
	const struct s3 *s = f->ask.s;

	p->code = code;
	if (code < 0) {
		s3_explain(s, "list", s->o.prefix, code, why, f->ask.trouble.code, p->err->msg,
			   sizeof p->err->msg);
		p->err->code = code;
	}
}

/* One small listing: the bucket is there and may be read, and its region and clock are known. */
static int probe(struct s3 *s, struct vmofs_err *err)
{
	struct probe *p = calloc(1, sizeof *p);
	int r = -ENOMEM;

	if (p) {
		p->err = err;
		p->code = -ECANCELED;
		p->fetch.done = probe_done;
		p->fetch.prefix = s3_full_key(s, "");
		snprintf(p->fetch.max, sizeof p->fetch.max, "1");
	}
	if (p && p->fetch.prefix) {
		s3_fetch_wait(&p->fetch, s);
		r = p->code;
	}
	if (p)
		s3_fetch_clear(&p->fetch);
	free(p);
	return r == -ENOMEM ? vmofs_err_set(err, r, "no memory for a request") : r;
}

static void fill_info(const struct s3 *s, struct vmofs_source_info *info)
{
	size_t n = strlen(s->o.prefix);
	const char *name = s->o.bucket;
	const char *slash;

	*info = (struct vmofs_source_info){ .page = s->o.page, .dirs = true };
	if (n > 1) {
		slash = memrchr(s->o.prefix, '/', n - 1);
		name = slash ? slash + 1 : s->o.prefix;
	}
	snprintf(info->name, sizeof info->name, "%.*s", (int)strcspn(name, "/"), name);
	if (!info->name[0])
		snprintf(info->name, sizeof info->name, "%s", s->o.bucket);
	snprintf(info->url, sizeof info->url, "s3://%s/%s", s->o.bucket, s->o.prefix);
	info->can = BIT(VMOFS_QUERY_DIR) | BIT(VMOFS_QUERY_FLAT) | BIT(VMOFS_QUERY_NAME) |
		BIT(VMOFS_QUERY_HEAD);
	info->key_max = s->o.prefix[0] ? KEY_MAX - MIN(strlen(s->o.prefix), KEY_MAX - 1u) : KEY_MAX;
}

static int s3_source_open(struct vmofs_source **out, const char *source,
			  const struct vmofs_provider_env *env, struct vmofs_source_info *info,
			  struct vmofs_err *err)
{
	struct s3 *s = NULL;
	size_t n;
	int r = s3_new(&s, source, env, err);

	if (r < 0)
		return r;
	n = strlen(s->o.prefix);
	if (n > 0 && s->o.prefix[n - 1] != '/')
		memcpy(s->o.prefix + n, "/", 2);
	r = probe(s, err);
	if (r < 0) {
		s3_put(s);
		return r;
	}
	fill_info(s, info);
	(void)s3_where(s, info->where, sizeof info->where);
	*out = &s->base;
	return 0;
}

static void s3_query(struct vmofs_source *source, struct vmofs_query *q)
{
	struct s3 *s = container_of(source, struct s3, base);

	switch (q->kind) {
	case VMOFS_QUERY_DIR:
	case VMOFS_QUERY_FLAT:
		s3_list(s, q);
		return;
	case VMOFS_QUERY_NAME:
		s3_name(s, q);
		return;
	case VMOFS_QUERY_HEAD:
	case VMOFS_NQUERIES:
		s3_head(s, q);
		return;
	}
}

static void s3_stats(struct vmofs_source *source, struct vmofs_provider_stats *out)
{
	struct s3 *s = container_of(source, struct s3, base);

	*out = (struct vmofs_provider_stats){ 0 };
	http_origin_stats(s->origin, out);
}

static void s3_dump(struct vmofs_source *source, FILE *out, unsigned depth,
		    unsigned max_items UNUSED)
{
	struct s3 *s = container_of(source, struct s3, base);
	char region[S3_REGION], keys[128];

	mutex_lock(&s->lock);
	memcpy(region, s->region, sizeof region);
	mutex_unlock(&s->lock);
	s3_chain_source_name(s->chain, keys, sizeof keys);
	fprintf(out, "%*ss3 's3://%s/%s' region %s keys of %s clock %+lld s%s\n", (int)depth * 2,
		"", s->o.bucket, s->o.prefix, region,
		s3_chain_anonymous(s->chain) ? "nobody" : keys, (long long)atomic_load(&s->skew),
		atomic_load(&s->serial) ? " serial" : "");
	http_origin_dump(s->origin, out, depth + 1);
}

static void s3_stop(struct vmofs_source *source)
{
	struct s3 *s = container_of(source, struct s3, base);

	atomic_store(&s->stopping, true);
	http_origin_stop(s->origin);
}

static void s3_free(struct vmofs_source *source)
{
	struct s3 *s = container_of(source, struct s3, base);

	atomic_store(&s->stopping, true);
	s3_put(s);
}

static const struct vmofs_source_ops s3_source_ops = {
	.open = s3_source_open,
	.query = s3_query,
	.object = s3_object,
	.change = &s3_change_ops,
	.stats = s3_stats,
	.dump = s3_dump,
	.stop = s3_stop,
	.free = s3_free,
};

/* -- one object ------------------------------------------------------------------------------- */

struct stat_ask {
	struct s3_ask ask;
	struct s3_head head;
	struct vmofs_err *err;
	int code;
};

static void stat_reset(struct s3_ask *a)
{
	struct stat_ask *t = container_of(a, struct stat_ask, ask);

	t->head = (struct s3_head){ .size = VMOFS_SIZE_UNKNOWN };
}

static void stat_header(struct s3_ask *a, const char *name, const char *value, size_t n)
{
	struct stat_ask *t = container_of(a, struct stat_ask, ask);

	s3_head_header(&t->head, name, value, n);
}

static void stat_done(struct s3_ask *a, int code, const struct http_refusal *why)
{
	struct stat_ask *t = container_of(a, struct stat_ask, ask);

	t->code = code;
	t->err->code = code;
	if (code < 0)
		s3_explain(a->s, "open", a->request.key, code, why, a->trouble.code, t->err->msg,
			   sizeof t->err->msg);
}

static const struct s3_ask_ops stat_ops = {
	.reset = stat_reset,
	.header = stat_header,
	.done = stat_done,
};

/* Size and version of the object; its key moves from the source's prefix to @key. */
static int stat_object(struct s3 *s, char *key, struct stat_ask *t, struct vmofs_err *err)
{
	t->err = err;
	t->code = -ECANCELED;
	t->ask.s = s;
	t->ask.ops = &stat_ops;
	t->ask.request = (struct s3_request){ .method = "HEAD", .key = key };
	s3_ask_wait(&t->ask, KIB(64));
	if (t->code == 0 && t->head.size == VMOFS_SIZE_UNKNOWN)
		return vmofs_err_set(err, -EBADMSG,
				     "cannot open 's3://%s/%s': the server does not tell its size",
				     s->o.bucket, key);
	return t->code;
}

static int open_object(struct s3 *s, struct stat_ask *t, struct vmofs_provider **out,
		       struct vmofs_object_info *info, struct vmofs_err *err)
{
	char key[VMOFS_KEY_MAX];
	struct vmofs_entry e = { .type = VMOFS_ENTRY_FILE, .key = key, .target = "" };
	int r;

	memcpy(key, s->o.prefix, sizeof s->o.prefix);
	s->o.prefix[0] = '\0';
	if (!key[0])
		return vmofs_err_set(err, -EISDIR, "'s3://%s' is a bucket, not an object",
				     s->o.bucket);
	r = stat_object(s, key, t, err);
	if (r < 0)
		return r;
	e.key_len = strlen(key);
	e.size = t->head.size;
	e.mtime = t->head.mtime;
	e.validator = t->head.etag;
	s3_head_apply(&t->head, &e);
	return s3_object(&s->base, &e, out, info, err);
}

static int s3_open(struct vmofs_provider **out, const char *source,
		   const struct vmofs_provider_env *env, struct vmofs_object_info *info,
		   struct vmofs_err *err)
{
	struct stat_ask *t = calloc(1, sizeof *t);
	struct s3 *s = NULL;
	int r = t ? s3_new(&s, source, env, err)
		  : vmofs_err_set(err, -ENOMEM, "no memory for an object");

	if (r == 0) {
		r = open_object(s, t, out, info, err);
		s3_put(s);
	}
	free(t);
	return r;
}

/* What a key stands for only the server knows: a mount shows the tree below it. */
static bool s3_is_tree(const char *source UNUSED)
{
	return true;
}

static const char *const s3_schemes[] = { "s3", NULL };

const struct vmofs_provider_ops provider_s3 = {
	.name = "s3",
	.schemes = s3_schemes,
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.options = s3_options,
	.tree = &s3_source_ops,
	.is_tree = s3_is_tree,
	.open = s3_open,
};
