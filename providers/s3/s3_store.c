/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storing an object: HEAD of the base, whose metadata the new version has too, then one PUT, or an upload in parts where that moves
 * fewer bytes or the object is too large for one request. A thread that may block.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/macros.h"
#include "s3/s3_acl.h"
#include "s3/s3_assemble.h"
#include "s3/s3_op.h"
#include "s3/s3_plan.h"

#define WORTH_PARTS MIB(5) /* fewer bytes than this are not worth more requests */
#define NAP         (10 * NSEC_PER_MSEC)

/* Tags have 128 and 256 characters, of four bytes; ten of them go into the 8 KiB of a request's head, or it is refused. */
enum { TAG_KEY = 513, TAG_VALUE = 1025, TAGS_MAX = 7168 };

struct storing {
	struct s3 *s;
	struct s3_desk *desk;
	struct vmofs_store *st;
	char *key;                 /* full */
	struct vmofs_version base; /* as it is there now */
	char version_id[128];
	bool tags; /* it has some */
	struct s3_props props;
	struct s3_acl acl;
	struct s3_plan plan;
	struct s3_body *body;
	struct s3_ahead *ahead; /* NULL: nothing was sent ahead */
};

static void storing_clear(struct storing *g)
{
	s3_props_clear(&g->props);
	s3_plan_clear(&g->plan);
	s3_body_put(g->body);
	s3_desk_put(g->desk);
	free(g->key);
}

/* -- the base --------------------------------------------------------------------------------- */

/* One more "key=value" of a query; false: there is no room for it, or it is none. */
static bool add_tag(char *all, size_t cap, size_t *len, const char *text, size_t n)
{
	char key[TAG_KEY], value[TAG_VALUE];
	int v = s3_answer_field(text, n, "Value", value, sizeof value), k;

	if (s3_answer_field(text, n, "Key", key, sizeof key) < 0 || v == -ENAMETOOLONG ||
	    *len + 2 >= cap)
		return false;
	if (*len > 0)
		all[(*len)++] = '&';
	k = sigv4_encode(key, strlen(key), 1, all + *len, cap - *len);
	if (k < 0 || *len + (size_t)k + 2 >= cap)
		return false;
	*len += (size_t)k;
	all[(*len)++] = '=';
	v = sigv4_encode(value, strlen(value), 1, all + *len, cap - *len);
	*len += v > 0 ? (size_t)v : 0;
	return v >= 0;
}

/* An element without contents (<Value/>) must not be taken from the next tag. */
static void set_tags(struct s3_props *p, const char *text)
{
	char all[TAGS_MAX];
	size_t len = 0;
	const char *end;

	while ((text = strstr(text, "<Tag>")) && (end = strstr(text, "</Tag>"))) {
		if (!add_tag(all, sizeof all, &len, text, (size_t)(end - text)))
			p->failed = true;
		text = end;
	}
	if (len > 0 && !p->failed)
		s3_props_add(p, "x-amz-tagging", all, len);
}

int s3_take_tags(struct s3 *s, struct s3_desk *d, const char *full_key,
		 const struct vmofs_change_wait *w, struct s3_props *p, const char *verb,
		 struct vmofs_err *err)
{
	struct s3_op *op = s3_op_new(s, d, "GET", full_key);
	int r = -ENOMEM;

	if (op) {
		s3_op_query(op, "tagging", "");
		r = s3_op_run(op, w, 0);
	}
	if (r == 0 && op->text)
		set_tags(p, op->text);
	if (r == -ENOMEM || r == -EINTR)
		vmofs_err_set(err, r, "cannot read the tags of 's3://%s/%s'", s->o.bucket,
			      full_key);
	else if (r < 0)
		s3_op_explain(op, verb, err);
	s3_op_put(op);
	return r;
}

static int changed_by_others(const struct storing *g, struct vmofs_err *err)
{
	return vmofs_err_set(err, -ESTALE,
			     "cannot store 's3://%s/%s': it has been changed by "
			     "somebody else",
			     g->s->o.bucket, g->key);
}

/* What there is to keep; that it is the base is compared on the way. */
static int take_base(struct storing *g, struct vmofs_err *err)
{
	struct vmofs_store *st = g->st;
	struct s3_op *head = NULL;
	int r;

	s3_acl_ask(&g->acl, g->s, g->desk, g->key, &st->wait);
	r = s3_look(g->s, g->desk, g->key, &st->wait, &head);
	st->requests += s3_op_requests(head);
	if (r == 0 && s3_is_expected(&st->base, head) && head->head.size == st->base.size) {
		s3_version_of(head, &g->base);
		snprintf(g->version_id, sizeof g->version_id, "%s", head->head.version_id);
		g->props = head->props;
		head->props = (struct s3_props){ 0 };
		g->tags = head->tags;
	} else if (r == 0 || r == -ENOENT) {
		log_debug("'%s' is '%s' of %llu bytes, and was to be '%s' of %llu", g->key,
			  r == 0 ? head->head.etag : "",
			  r == 0 ? (unsigned long long)head->head.size : 0, st->base.validator,
			  (unsigned long long)st->base.size);
		r = changed_by_others(g, err);
	} else if (r == -EINTR || !head) {
		vmofs_err_set(err, r, "cannot store 's3://%s/%s'", g->s->o.bucket, g->key);
	} else {
		s3_op_explain(head, "store", err);
	}
	s3_op_put(head);
	if (r == 0 && g->tags) {
		r = s3_take_tags(g->s, g->desk, g->key, &st->wait, &g->props, "store", err);
		st->requests++;
	}
	if (r == 0)
		r = s3_acl_take(&g->acl, &g->props, "store", err);
	st->requests += g->acl.requests;
	return r;
}

static int storing_begin(struct storing *g, struct vmofs_err *err)
{
	struct vmofs_store *st = g->st;
	int r = 0;

	g->desk = s3_desk_new();
	g->key = s3_full_key(g->s, st->key);
	if (!g->desk || !g->key)
		return vmofs_err_set(err, -ENOMEM, "no memory to store an object");
	if (st->base.exists)
		r = take_base(g, err);
	s3_props_attr(&g->props, st->attr, S_IFREG);
	s3_props_set(&g->props, "x-amz-meta-vmofs-attempt", st->attempt);
	return r;
}

/* -- one PUT ---------------------------------------------------------------------------------- */

static struct s3_op *put_make(struct s3_final *f)
{
	struct storing *g = f->arg;
	struct s3_op *op = s3_op_new(f->s, f->desk, "PUT", f->key);

	if (!op)
		return NULL;
	s3_op_props(op, &g->props);
	if (f->checksums)
		s3_op_header(op, "x-amz-checksum-crc32c", g->body->crc32c);
	s3_op_body(op, g->body);
	return op;
}

static int final_commit(struct s3_final *f)
{
	return f->store->commit ? f->store->commit(f->store) : 0;
}

/* By one request, with a body or as a copy. */
static int final_send(struct storing *g, enum s3_final_kind kind,
		      struct s3_op *(*make)(struct s3_final *f), uint64_t work,
		      struct vmofs_err *err)
{
	struct vmofs_store *st = g->st;
	struct s3_final f = { .s = g->s,
			      .desk = g->desk,
			      .kind = kind,
			      .verb = "store",
			      .key = g->key,
			      .expect = st->base.exists ? &g->base : &st->base,
			      .attempt = st->attempt,
			      .wait = &st->wait,
			      .commit = final_commit,
			      .source = work ? g->key : NULL,
			      .source_is = &g->base,
			      .make = make,
			      .work = work,
			      .checksums =
				      kind == S3_FINAL_PUT && !atomic_load(&g->s->no_checksums),
			      .store = st,
			      .arg = g };
	int r = s3_final_run(&f, err);

	st->requests += f.requests;
	st->now = f.now;
	if (r != 0)
		return r;
	*(work ? &st->bytes_copied : &st->bytes_up) += st->size;
	if (st->progress && st->size > 0)
		st->progress(st, work ? 0 : st->size, work);
	return 0;
}

/* Memory for all of it; nothing else of this store is on its way, so that it comes sooner or later. */
static int put_take(struct vmofs_store *st, const struct s3 *s)
{
	while (!st->take(st, st->size)) {
		struct timespec ts = { 0, (long)NAP };

		if ((st->wait.cancel && atomic_load(st->wait.cancel)) || atomic_load(&s->stopping))
			return -EINTR;
		nanosleep(&ts, NULL);
	}
	return 0;
}

static int put_store(struct storing *g, struct vmofs_err *err)
{
	struct vmofs_store *st = g->st;
	int r = st->size > 0 ? put_take(st, g->s) : 0;

	if (r < 0)
		return vmofs_err_set(err, r, "cannot store 's3://%s/%s'", g->s->o.bucket, g->key);
	g->body = s3_body_new(st->size);
	r = g->body ? 0 : -ENOMEM;
	if (r == 0 && st->size > 0)
		r = st->read(st, 0, g->body->data, st->size);
	if (r == 0)
		r = s3_body_seal(g->s, g->body);
	if (r == 0)
		r = final_send(g, S3_FINAL_PUT, put_make, 0, err);
	else
		vmofs_err_set(err, r, "cannot store 's3://%s/%s': its contents cannot be read",
			      g->s->o.bucket, g->key);
	if (st->size > 0)
		st->give(st, st->size);
	return r;
}

/* -- attributes alone ------------------------------------------------------------------------- */

static struct s3_op *same_make(struct s3_final *f)
{
	struct storing *g = f->arg;
	struct s3_op *op = s3_op_new(f->s, f->desk, "PUT", f->key);

	if (!op)
		return NULL;
	s3_op_source(op, g->key, g->version_id, g->base.validator);
	s3_op_directives(op, g->tags);
	s3_op_props(op, &g->props);
	return op;
}

/* The contents are the base's: the server copies them onto themselves. */
static int same_store(struct storing *g, struct vmofs_err *err)
{
	return final_send(g, S3_FINAL_COPY, same_make, g->st->size, err);
}

static bool is_same(const struct vmofs_store *st)
{
	return st->n_changed == 0 && st->base.exists && st->size == st->base.size && st->size > 0 &&
		st->size <= s3_limits.max;
}

/* -- parts ------------------------------------------------------------------------------------ */

/* Parts were sent ahead: the attempt is that of their upload. */
static void take_ahead(struct storing *g, struct s3_upload *u)
{
	struct vmofs_store *st = g->st;

	u->ahead = g->ahead;
	snprintf(st->attempt, sizeof st->attempt, "%s", s3_ahead_attempt(g->ahead));
	st->ahead_used = true;
}

/*
 * An upload that has waited for its store may have been aborted meanwhile, by the rules of the bucket or by somebody: all goes up
 * again, by another of the same attempt, which the store may have been told.
 */
static int ahead_is_gone(struct storing *g, struct s3_upload *u, struct vmofs_err *err)
{
	struct vmofs_store *st = g->st;

	*err = (struct vmofs_err)VMOFS_ERR_INIT;
	u->ahead = NULL;
	st->ahead_used = false;
	s3_props_set(&g->props, "x-amz-meta-vmofs-attempt", st->attempt);
	return s3_assemble_run(u, &g->plan, err);
}

static int parts_store(struct storing *g, struct vmofs_err *err)
{
	struct vmofs_store *st = g->st;
	struct s3_upload u = { .s = g->s,
			       .desk = g->desk,
			       .key = g->key,
			       .from = g->key,
			       .base = &g->base,
			       .base_version_id = g->version_id,
			       .props = &g->props,
			       .expect = st->base.exists ? &g->base : &st->base,
			       .attempt = st->attempt,
			       .wait = &st->wait,
			       .size = st->size,
			       .store = st,
			       .commit = final_commit };
	int r;

	if (g->ahead && s3_ahead_fits(g->ahead, st, g->key, &g->plan))
		take_ahead(g, &u);
	r = s3_assemble_run(&u, &g->plan, err);
	if (u.ahead)
		s3_ahead_free(steal_ptr(&g->ahead));
	if (u.ahead && u.gone && (r == -ENOENT || r == -EIO))
		r = ahead_is_gone(g, &u, err);
	st->requests += u.requests;
	st->bytes_up += u.bytes_up;
	st->bytes_copied += u.bytes_copied;
	st->now = u.now;
	return r;
}

/* One request is less trouble than several, where it does not move much more. */
static bool is_for_one(const struct s3 *s, const struct vmofs_store *st, const struct s3_plan *p)
{
	return st->size <= 2 * s->o.upload_part && st->size - p->uploaded < WORTH_PARTS;
}

static int storing_run(struct storing *g, struct vmofs_err *err)
{
	struct vmofs_store *st = g->st;
	struct s3_limits l = s3_limits;
	int r;

	if (st->size == 0)
		return put_store(g, err);
	if (is_same(st))
		return same_store(g, err);
	l.part = g->s->o.upload_part;
	r = s3_plan_make(&g->plan, &l, st->size, st->base.exists ? st->base.size : 0, st->changed,
			 st->n_changed);
	if (r < 0)
		return vmofs_err_set(err, r, "cannot store 's3://%s/%s': %s", g->s->o.bucket,
				     g->key,
				     r == -EFBIG ? "S3 has no objects as large as that (5 TiB)"
						 : "it cannot be cut into parts");
	return is_for_one(g->s, st, &g->plan) ? put_store(g, err) : parts_store(g, err);
}

/* Nothing has come of it. */
static int storing_again(struct storing *g, struct vmofs_err *err)
{
	*err = (struct vmofs_err){ 0 };
	s3_plan_clear(&g->plan);
	s3_body_put(g->body);
	g->body = NULL;
	return storing_run(g, err);
}

int s3_store(struct vmofs_source *source, struct vmofs_store *st, struct vmofs_err *err)
{
	struct storing g = { .s = container_of(source, struct s3, base),
			     .st = st,
			     .ahead = s3_ahead_of(st->ahead) };
	int r = storing_begin(&g, err);

	if (r == 0)
		r = storing_run(&g, err);
	while (s3_acl_refused(&g.acl, &g.props, r))
		r = storing_again(&g, err);
	s3_acl_end(&g.acl, r == 0);
	if (r == 0) {
		st->now.exists = true;
		st->now.size = st->size;
	}
	/* It could not be used. */
	s3_ahead_drop(g.ahead, NULL);
	storing_clear(&g);
	return r;
}
