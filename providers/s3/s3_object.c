/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One object of a bucket, made from what a listing says of it. The HTTP provider does the reading; here is how its
 * requests are made: one signature for all ranges for some minutes, the version once it is known, and the
 * checksum of the whole object, compared before its last bytes are shown. Any thread; the lock is held for
 * the hashing of one piece at most.
 *
 * Objects of more than one GET: no answer to a range has the checksum, so HEAD is asked for it once
 * half has been read, or more than one GET brings. Until it answers, all kinds are computed.
 * Where they do not agree, everything that was supplied before is distrusted too; not where the object is closed before the HEAD answers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "s3/s3_private.h"
#include "s3/s3_sums.h"

#define SIGNED_FOR (300 * NSEC_PER_SEC)
#define KEYS_SPARE 60 /* seconds that keys must be good for */

struct s3_object {
	struct s3 *s; /* counted */
	atomic_uint refs;
	uint64_t size;

	struct mutex lock;
	/* lock: lock, all below */
	char *version;              /* NULL: not known */
	struct s3_trouble *trouble; /* NULL: never signed */
	struct s3_sums *sums;       /* NULL: nothing to compute, yet or any more */
	uint64_t read;              /* bytes that were new */
	bool version_used;          /* the last endpoint asked for it */
	bool mended;                /* another endpoint will do better */
	bool asked;                 /* HEAD, for the checksum; or an answer has told it */
	bool summed;                /* compared, or nothing to compare */
	bool spoiled;               /* the bytes were not those of the checksum */

	const char *etag; /* in text; fixed, as the key is */
	char text[];      /* the key with the source's prefix, then the tag */
};

static void object_free(struct s3_object *o)
{
	struct s3 *s = o->s;

	s3_sums_free(o->sums);
	free(o->version);
	free(o->trouble);
	mutex_destroy(&o->lock);
	free(o);
	s3_put(s);
}

static void object_put(struct s3_object *o)
{
	if (atomic_fetch_sub(&o->refs, 1) == 1)
		object_free(o);
}

static struct s3_object *object_new(struct s3 *s, const struct vmofs_entry *e)
{
	size_t prefix = strlen(s->o.prefix), tag = strlen(e->validator);
	struct s3_object *o = calloc(1, sizeof *o + prefix + e->key_len + tag + 2);

	if (!o)
		return NULL;
	o->s = s3_get(s);
	atomic_store(&o->refs, 1);
	o->size = e->size;
	mutex_init(&o->lock, LOCK_RANK_SOURCE);
	memcpy(o->text, s->o.prefix, prefix);
	memcpy(o->text + prefix, e->key, e->key_len);
	o->etag = o->text + prefix + e->key_len + 1;
	memcpy(o->text + prefix + e->key_len + 1, e->validator, tag);
	return o;
}

/* -- endpoints -------------------------------------------------------------------------------- */

static int note_signed(struct s3_object *o, const struct s3_signed *g, bool version)
{
	struct s3_trouble *t = calloc(1, sizeof *t);

	if (!t)
		return -ENOMEM;
	memcpy(t->used, g->used, sizeof t->used);
	memcpy(t->region, g->region, sizeof t->region);
	t->expires = g->expires;
	t->skew = g->skew;
	mutex_lock(&o->lock);
	if (o->trouble)
		t->mended = o->trouble->mended;
	free(o->trouble);
	o->trouble = t;
	o->version_used = version;
	mutex_unlock(&o->lock);
	return 0;
}

static uint64_t good_until(const struct s3 *s, const struct s3_signed *g)
{
	int64_t left = (int64_t)(g->expires - time(NULL)) - atomic_load(&s->skew) - KEYS_SPARE;
	uint64_t ns = SIGNED_FOR;

	if (!g->used[0])
		return 0;
	if (g->expires)
		ns = left <= 0 ? 0 : MIN(ns, (uint64_t)left * NSEC_PER_SEC);
	return loop_now_ns() + ns;
}

static char *copy_version(struct s3_object *o)
{
	char *v;

	mutex_lock(&o->lock);
	v = o->version ? strdup(o->version) : NULL;
	mutex_unlock(&o->lock);
	return v;
}

static void request_fill(const struct s3_object *o, const char *method, const char *version,
			 struct s3_request *r)
{
	*r = (struct s3_request){ .method = method, .key = o->text };
	if (version)
		r->query[r->nquery++] = (struct sigv4_pair){ "versionId", version };
}

static int object_endpoint(void *arg, const struct http_expect *expect, struct http_endpoint **out,
			   uint64_t *valid_until_ns, struct vmofs_err *err)
{
	struct s3_object *o = arg;
	cleanup(mem_freep) char *version = copy_version(o);
	cleanup(mem_freep) struct s3_signed *g = calloc(1, sizeof *g);
	struct http_expect mine = expect ? *expect : (struct http_expect){ 0 };
	struct s3_request r;
	int n;

	mine.stored_encoding = true; /* the server neither packs nor unpacks */
	if (!g)
		return vmofs_err_set(err, -ENOMEM, "no memory for a request");
	request_fill(o, "GET", version, &r);
	r.checksums = o->size <= o->s->o.part_size;
	n = s3_sign(o->s, &r, g, err);
	if (n == 0) {
		*valid_until_ns = good_until(o->s, g);
		*out = http_endpoint_new_lines(http_origin_settings(o->s->origin), g->url, g->lines,
					       g->nlines, expect ? &mine : NULL, err);
		n = *out ? note_signed(o, g, version) : err->code;
	}
	s3_signed_clear(g);
	return n;
}

/* -- refusals --------------------------------------------------------------------------------- */

static void copy_trouble(struct s3_object *o, struct s3_trouble *t)
{
	*t = (struct s3_trouble){ 0 };
	mutex_lock(&o->lock);
	if (o->trouble)
		*t = *o->trouble;
	mutex_unlock(&o->lock);
}

/* The object has been overwritten or deleted, and its old version is still there. */
static bool has_old_version_locked(struct s3_object *o, const struct http_refusal *why)
	REQUIRES(o->lock)
{
	return (why->status == 412 || why->status == 404) && o->version && !o->version_used;
}

static void object_refused(void *arg, struct http_refusal *why)
{
	struct s3_object *o = arg;
	struct s3_trouble t;
	unsigned was;

	copy_trouble(o, &t);
	was = t.mended;
	t.answer_date = why->date;
	s3_refused(o->s, &t, why);
	mutex_lock(&o->lock);
	if (o->trouble)
		*o->trouble = t;
	if (t.mended > was || has_old_version_locked(o, why)) {
		o->mended = true;
		why->outcome = HTTP_OUTCOME_DENIED; /* by this endpoint */
	}
	mutex_unlock(&o->lock);
}

static int object_renew(void *arg, const struct http_refusal *why UNUSED, struct vmofs_err *err)
{
	struct s3_object *o = arg;
	struct s3_trouble t;
	bool mended;

	copy_trouble(o, &t);
	mutex_lock(&o->lock);
	mended = o->mended;
	o->mended = false;
	if (o->trouble)
		o->trouble->expired = false;
	mutex_unlock(&o->lock);
	return mended ? 0 : s3_renew(o->s, &t, err);
}

/* -- checksums -------------------------------------------------------------------------------- */

static void sums_end_locked(struct s3_object *o) REQUIRES(o->lock)
{
	s3_sums_free(o->sums);
	o->sums = NULL;
	o->summed = true;
}

static void spoil_locked(struct s3_object *o) REQUIRES(o->lock)
{
	if (!o->spoiled)
		log_error("the bytes of 's3://%s/%s' are not those of the server's checksum: "
			  "reading it fails",
			  o->s->o.bucket, o->text);
	o->spoiled = true;
	sums_end_locked(o);
}

static void want_locked(struct s3_object *o, const struct s3_sum_wanted *w) REQUIRES(o->lock)
{
	if (o->summed)
		return;
	if (w->kind == S3_SUM_NONE) {
		sums_end_locked(o);
		return;
	}
	if (!o->sums)
		o->sums = s3_sums_new(o->size);
	if (!o->sums) {
		o->summed = true;
		return;
	}
	s3_sums_want(o->sums, w);
	if (s3_sums_verdict(o->sums) == -EBADMSG)
		spoil_locked(o);
	else if (s3_sums_over(o->sums))
		sums_end_locked(o);
}

struct sum_ask {
	struct s3_ask ask;
	struct s3_object *o; /* counted */
	struct vmo *vmo;     /* counted: whom the bytes went to */
	char *version;
	struct http_reply reply; /* the checksums of the head */
	struct s3_head head;
};

static void sum_header(struct s3_ask *a, const char *name, const char *value, size_t n)
{
	struct sum_ask *s = container_of(a, struct sum_ask, ask);

	s3_head_header(&s->head, name, value, n);
}

static void sum_done(struct s3_ask *a, int code, const struct http_refusal *why UNUSED)
{
	struct sum_ask *s = container_of(a, struct sum_ask, ask);
	struct s3_sum_wanted w = { .kind = S3_SUM_NONE };
	struct s3_object *o = s->o;
	bool spoiled;

	if (code == 0 && strcmp(s->head.etag, o->etag) == 0)
		s3_sum_parse(a->http.call.reply.checksums, o->etag, &w);
	mutex_lock(&o->lock);
	want_locked(o, &w);
	spoiled = o->spoiled;
	mutex_unlock(&o->lock);
	if (spoiled)
		vmofs_distrust(s->vmo);
	vmofs_vmo_put(s->vmo);
	free(s->version);
	free(s);
	object_put(o);
}

static const struct s3_ask_ops sum_ops = { .header = sum_header, .done = sum_done };

static void ask_for_sum(struct s3_object *o, struct vmo *vmo)
{
	struct sum_ask *s = calloc(1, sizeof *s);

	if (!s)
		return;
	atomic_fetch_add(&o->refs, 1);
	s->o = o;
	s->vmo = vmofs_vmo_get(vmo);
	s->version = copy_version(o);
	s->ask.s = o->s;
	s->ask.ops = &sum_ops;
	request_fill(o, "HEAD", s->version, &s->ask.request);
	s->ask.request.checksums = true;
	s3_ask_start(&s->ask, 0, KIB(64));
}

static int check_locked(struct s3_object *o, uint64_t off, const void *buf, uint64_t n)
	REQUIRES(o->lock)
{
	if (o->spoiled)
		return -EBADMSG;
	if (o->summed)
		return 0;
	if (!o->sums)
		o->sums = s3_sums_new(o->size);
	if (!o->sums) {
		o->summed = true;
		return 0;
	}
	if (s3_sums_add(o->sums, off, buf, n) == -EBADMSG) {
		spoil_locked(o);
		return -EBADMSG;
	}
	if (s3_sums_over(o->sums) && (s3_sums_verdict(o->sums) == 0 || !o->asked))
		sums_end_locked(o);
	return 0;
}

static int object_check(void *arg, struct vmo *vmo, uint64_t off, const void *buf, uint64_t n)
{
	struct s3_object *o = arg;
	bool ask;
	int r;

	mutex_lock(&o->lock);
	r = check_locked(o, off, buf, n);
	o->read += n;
	ask = o->sums && !o->asked && o->read > MIN(o->size / 2, o->s->o.part_size);
	o->asked = o->asked || ask;
	mutex_unlock(&o->lock);
	if (ask)
		ask_for_sum(o, vmo);
	return r;
}

static bool is_all(const struct s3_object *o, const struct http_reply *r)
{
	return r->status == 200 ||
		(r->has_range && r->range.first == 0 && r->range.last + 1 == o->size);
}

static void object_answered(void *arg, const struct http_reply *r)
{
	struct s3_object *o = arg;
	struct s3_sum_wanted w = { .kind = S3_SUM_NONE };
	bool whole;

	s3_learn_date(o->s, r->date);
	whole = o->size <= o->s->o.part_size && is_all(o, r);
	if (whole)
		s3_sum_parse(r->checksums, o->etag, &w);
	mutex_lock(&o->lock);
	if (!o->version && r->version_id[0] && strcmp(r->version_id, "null") != 0)
		o->version = strdup(r->version_id);
	if (whole && !o->asked)
		want_locked(o, &w);
	o->asked = o->asked || whole;
	mutex_unlock(&o->lock);
}

static void object_release(void *arg)
{
	object_put(arg);
}

static const struct http_location_ops object_ops = {
	.endpoint = object_endpoint,
	.renew = object_renew,
	.answered = object_answered,
	.refused = object_refused,
	.check = object_check,
	.free = object_release,
};

/* -- making one ------------------------------------------------------------------------------- */

/* Names of buckets are another world's at each endpoint, and in each partition of AWS. */
static int identify(struct s3 *s, struct vmofs_object_info *info)
{
	char text[sizeof info->url + S3_WHERE_MAX];
	int n = s3_where(s, text, S3_WHERE_MAX);

	n += snprintf(text + n, sizeof text - (size_t)n, " %s", info->url);
	info->has_identity = true;
	return digest_sha256(text, (size_t)n, info->identity);
}

static int fill_info(struct s3 *s, const struct vmofs_entry *e, struct vmofs_object_info *info)
{
	const char *slash = memrchr(e->key, '/', e->key_len);
	const char *name = slash && slash[1] ? slash + 1 : e->key;
	size_t n;

	*info = (struct vmofs_object_info){ .size = e->size, .mtime = e->mtime };
	snprintf(info->name, sizeof info->name, "%s",
		 name[0] && !strchr(name, '/') ? name : "object");
	n = (size_t)snprintf(info->url, sizeof info->url, "s3://%s/%s", s->o.bucket, s->o.prefix);
	n += (size_t)snprintf(info->url + n, sizeof info->url - n, "%s", e->key);
	snprintf(info->validator, sizeof info->validator, "%s", e->validator);
	info->weak = e->size > 0 && e->validator[0] != '"';
	return n < sizeof info->url ? identify(s, info) : -ENAMETOOLONG;
}

int s3_object(struct vmofs_source *source, const struct vmofs_entry *e, struct vmofs_provider **out,
	      struct vmofs_object_info *info, struct vmofs_err *err)
{
	struct s3 *s = container_of(source, struct s3, base);
	struct s3_object *o = object_new(s, e);
	char url[URL_MAX];
	struct http_object_spec spec = {
		.url = url,
		.size = e->size,
		.etag = e->validator,
		.last_modified = "",
		.location = &object_ops,
		.arg = o,
	};
	int r;

	if (!o)
		return vmofs_err_set(err, -ENOMEM, "no memory for an object");
	r = fill_info(s, e, info);
	if (r == 0)
		r = s3_url(s, o->text, url, sizeof url);
	if (r == -ENAMETOOLONG)
		vmofs_err_set(err, r, "the key '%s' is too long for a URL", o->text);
	else if (r < 0)
		vmofs_err_set(err, r, "no memory for an object");
	else
		r = http_object_new(out, s->origin, &spec, err);
	if (r < 0)
		object_put(o);
	return r;
}
