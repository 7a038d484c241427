/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The changes of names and attributes: remove, copy, directories, links, and whether an attempt has succeeded. A copy is made by the server
 * with all metadata and an attempt's number of its own, so that a lost answer can be made up for. A thread that may block.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "s3/s3_acl.h"
#include "s3/s3_op.h"
#include "s3/s3_plan.h"
#include "s3/s3_record.h"
#include "s3/s3_xattrs.h"

/* Something small that is done to one key. */
struct change {
	struct s3 *s;
	struct s3_desk *desk;
	char *key;  /* full */
	char *from; /* full; of a copy */
	const struct vmofs_change_wait *wait;
	char attempt[VMOFS_ATTEMPT_LEN + 1];
	struct s3_props props;
	struct s3_acl acl;
	struct s3_body *body;
	struct vmofs_version source; /* of a copy */
	char source_id[128];
	bool tags; /* and it has some */
};

static int change_begin(struct change *c, struct vmofs_source *source, const char *key,
			const struct vmofs_change_wait *wait, struct vmofs_err *err)
{
	*c = (struct change){ .s = container_of(source, struct s3, base), .wait = wait };
	c->desk = s3_desk_new();
	c->key = s3_full_key(c->s, key);
	vmofs_attempt_new(c->attempt);
	return c->desk && c->key ? 0 : vmofs_err_set(err, -ENOMEM, "no memory for a change");
}

static void change_end(struct change *c)
{
	s3_acl_end(&c->acl, false);
	s3_props_clear(&c->props);
	s3_body_put(c->body);
	s3_desk_put(c->desk);
	free(c->key);
	free(c->from);
}

static struct s3_final change_final(struct change *c, enum s3_final_kind kind, const char *verb,
				    const struct vmofs_version *expect,
				    struct s3_op *(*make)(struct s3_final *f))
{
	return (struct s3_final){ .s = c->s,
				  .desk = c->desk,
				  .kind = kind,
				  .verb = verb,
				  .key = c->key,
				  .expect = expect,
				  .attempt = c->attempt,
				  .wait = c->wait,
				  .make = make,
				  .arg = c };
}

/* HEAD that has to succeed. *out is to be put. */
static int change_look(struct change *c, const char *full_key, const char *verb, struct s3_op **out,
		       struct vmofs_err *err)
{
	int r = s3_look(c->s, c->desk, full_key, c->wait, out);

	if (r == -EINTR || !*out)
		return vmofs_err_set(err, r, "cannot %s 's3://%s/%s'", verb, c->s->o.bucket,
				     full_key);
	return r < 0 ? s3_op_explain(*out, verb, err) : 0;
}

/* -- attempts --------------------------------------------------------------------------------- */

static int attempted_look(struct change *c, const char *attempt, struct vmofs_version *now,
			  struct vmofs_err *err)
{
	struct s3_op *head = NULL;
	int r = change_look(c, c->key, "look up", &head, err);

	if (r == 0 || r == -ENOENT) {
		s3_version_of(head, now);
		r = r == 0 && strcmp(head->head.attempt, attempt) == 0;
		*err = (struct vmofs_err){ 0 };
	}
	s3_op_put(head);
	return r;
}

/* What was not completed until it was aborted never will be: then what is there is looked at again. */
static int attempted_settle(struct change *c, const char *attempt, struct vmofs_version *now,
			    struct vmofs_err *err)
{
	int r = attempted_look(c, attempt, now, err);
	int e = r < 0 ? 0 : s3_record_settle(c->s, attempt, r > 0, c->wait->cancel);

	if (e < 0)
		return vmofs_err_set(err, e, "cannot abort an upload to 's3://%s/%s'",
				     c->s->o.bucket, c->key);
	return e > 0 ? attempted_look(c, attempt, now, err) : r;
}

static int s3_attempted(struct vmofs_source *source, const char *key, const char *attempt,
			struct vmofs_version *now, const struct vmofs_change_wait *wait,
			struct vmofs_err *err)
{
	struct change c;
	int r = change_begin(&c, source, key, wait, err);

	if (r == 0)
		r = attempted_settle(&c, attempt, now, err);
	change_end(&c);
	return r;
}

/* -- remove ----------------------------------------------------------------------------------- */

static struct s3_op *delete_make(struct s3_final *f)
{
	return s3_op_new(f->s, f->desk, "DELETE", f->key);
}

static int s3_remove(struct vmofs_source *source, const char *key,
		     const struct vmofs_version *expect, const struct vmofs_change_wait *wait,
		     struct vmofs_err *err)
{
	struct change c;
	struct s3_final f;
	int r = change_begin(&c, source, key, wait, err);

	if (r == 0) {
		f = change_final(&c, S3_FINAL_DELETE, "remove", expect, delete_make);
		r = s3_final_run(&f, err);
	}
	change_end(&c);
	return r;
}

/* -- small objects ---------------------------------------------------------------------------- */

static struct s3_op *small_make(struct s3_final *f)
{
	struct change *c = f->arg;
	struct s3_op *op = s3_op_new(f->s, f->desk, "PUT", f->key);

	if (!op)
		return NULL;
	s3_op_props(op, &c->props);
	s3_op_body(op, c->body);
	return op;
}

/* A new object of @n bytes. */
static int small_put(struct change *c, const char *verb, const void *p, size_t n,
		     struct vmofs_version *now, struct vmofs_err *err)
{
	static const struct vmofs_version nothing = { .exists = false };
	struct s3_final f = change_final(c, S3_FINAL_PUT, verb, &nothing, small_make);
	int r = -ENOMEM;

	c->body = s3_body_new(n);
	if (c->body) {
		memcpy(c->body->data, p, n);
		r = s3_body_seal(c->s, c->body);
	}
	if (r < 0)
		return vmofs_err_set(err, r, "no memory for a request");
	s3_props_set(&c->props, "x-amz-meta-vmofs-attempt", c->attempt);
	r = s3_final_run(&f, err);
	if (r == 0 && now) {
		*now = f.now;
		now->size = n;
	}
	return r;
}

static int s3_make_dir(struct vmofs_source *source, const char *key,
		       const struct vmofs_change_attr *attr, const struct vmofs_change_wait *wait,
		       struct vmofs_err *err)
{
	struct change c;
	int r = change_begin(&c, source, key, wait, err);

	if (r == 0) {
		s3_props_set(&c.props, "content-type", "application/x-directory");
		s3_props_attr(&c.props, attr, S_IFDIR);
		r = small_put(&c, "make", "", 0, NULL, err);
	}
	change_end(&c);
	return r;
}

/* As s3fs has them: the mode says what it is, the contents are the target. */
static int s3_make_link(struct vmofs_source *source, const char *key, const char *target,
			const struct vmofs_change_attr *attr, struct vmofs_version *now,
			const struct vmofs_change_wait *wait, struct vmofs_err *err)
{
	struct vmofs_change_attr a = attr ? *attr : (struct vmofs_change_attr){ 0 };
	struct change c;
	int r = change_begin(&c, source, key, wait, err);

	if (!(a.has & VMOFS_HAS_MODE))
		a.mode = 0777;
	a.has |= VMOFS_HAS_MODE;
	if (r == 0) {
		s3_props_set(&c.props, "content-type", "application/octet-stream");
		s3_props_attr(&c.props, &a, S_IFLNK);
		r = small_put(&c, "make", target, strlen(target), now, err);
	}
	change_end(&c);
	return r;
}

/* -- copies ----------------------------------------------------------------------------------- */

static struct s3_op *copy_make(struct s3_final *f)
{
	struct change *c = f->arg;
	struct s3_op *op = s3_op_new(f->s, f->desk, "PUT", f->key);

	if (!op)
		return NULL;
	s3_op_source(op, c->from, c->source_id, c->source.validator);
	s3_op_directives(op, c->tags);
	s3_op_props(op, &c->props);
	return op;
}

/* HEAD of the source: its version, and all that goes along. */
static int copy_look(struct change *c, const struct vmofs_version *expect, const char *verb,
		     mode_t *type, struct vmofs_err *err)
{
	struct s3_op *head = NULL;
	struct vmofs_entry e = { 0 };
	int r;

	s3_acl_ask(&c->acl, c->s, c->desk, c->from, c->wait);
	r = change_look(c, c->from, verb, &head, err);
	if (r == 0 && !s3_is_expected(expect, head))
		r = vmofs_err_set(err, -ESTALE,
				  "cannot %s 's3://%s/%s': it has been changed by somebody else",
				  verb, c->s->o.bucket, c->from);
	if (r == 0) {
		s3_version_of(head, &c->source);
		snprintf(c->source_id, sizeof c->source_id, "%s", head->head.version_id);
		s3_head_apply(&head->head, &e);
		*type = (e.has & VMOFS_HAS_MODE) ? e.mode & S_IFMT : S_IFREG;
		c->props = head->props;
		head->props = (struct s3_props){ 0 };
		s3_props_set(&c->props, "x-amz-meta-vmofs-attempt", c->attempt);
		c->tags = head->tags;
		if (head->tags)
			r = s3_take_tags(c->s, c->desk, c->from, c->wait, &c->props, verb, err);
	}
	if (r == 0)
		r = s3_acl_take(&c->acl, &c->props, verb, err);
	s3_op_put(head);
	return r;
}

/* More than one request can copy. */
static int copy_parts(struct change *c, const struct vmofs_version *expect,
		      struct vmofs_version *now, struct vmofs_err *err)
{
	struct s3_upload u = { .s = c->s,
			       .desk = c->desk,
			       .key = c->key,
			       .from = c->from,
			       .base = &c->source,
			       .base_version_id = c->source_id,
			       .props = &c->props,
			       .expect = expect,
			       .attempt = c->attempt,
			       .wait = c->wait,
			       .size = c->source.size };
	struct s3_plan plan;
	int r = s3_plan_make(&plan, &s3_limits, c->source.size, c->source.size, NULL, 0);

	if (r == 0)
		r = s3_upload_run(&u, &plan, err);
	else
		vmofs_err_set(err, r, "cannot copy 's3://%s/%s'", c->s->o.bucket, c->from);
	s3_plan_clear(&plan);
	*now = u.now;
	return r;
}

static int copy_once(struct change *c, const char *verb, const struct vmofs_version *expect,
		     struct vmofs_version *now, struct vmofs_err *err)
{
	struct s3_final f = change_final(c, S3_FINAL_COPY, verb, expect, copy_make);
	int r;

	if (c->source.size > s3_limits.max)
		return copy_parts(c, expect, now, err);
	f.work = c->source.size;
	f.source = c->from;
	f.source_is = &c->source;
	r = s3_final_run(&f, err);
	if (r == 0) {
		*now = f.now;
		now->size = c->source.size;
	}
	return r;
}

static int copy_run(struct change *c, const char *verb, const struct vmofs_version *expect,
		    struct vmofs_version *now, struct vmofs_err *err)
{
	int r = copy_once(c, verb, expect, now, err);

	while (s3_acl_refused(&c->acl, &c->props, r)) {
		*err = (struct vmofs_err){ 0 };
		r = copy_once(c, verb, expect, now, err);
	}
	s3_acl_end(&c->acl, r == 0);
	return r;
}

static void copy_undo(struct change *c, const struct vmofs_version *now)
{
	struct vmofs_err ignored = VMOFS_ERR_INIT;
	struct s3_final undo = change_final(c, S3_FINAL_DELETE, "remove", now, delete_make);

	s3_final_run(&undo, &ignored);
}

/*
 * Many servers do not look at x-amz-copy-source-if-match. There, what was copied is the version that was meant if that is still
 * what the source has.
 */
static int copy_check_source(struct change *c, struct vmofs_err *err)
{
	struct s3_op *head = NULL;
	int r = change_look(c, c->from, "copy", &head, err);

	if (r == -ENOENT || (r == 0 && !s3_is_expected(&c->source, head)))
		r = vmofs_err_set(err, -ESTALE,
				  "cannot copy 's3://%s/%s': it was changed by somebody else",
				  c->s->o.bucket, c->from);
	s3_op_put(head);
	return r;
}

/* radosgw's posix backend makes an empty object of one that was made of parts and copied before, and says that all is well. */
static int copy_check_target(struct change *c, struct vmofs_err *err)
{
	struct s3_op *head = NULL;
	struct vmofs_version there;
	int r = change_look(c, c->key, "copy", &head, err);

	if (r == 0)
		s3_version_of(head, &there);
	if (r == 0 && there.size != c->source.size)
		r = vmofs_err_set(
			err, -EOPNOTSUPP,
			"cannot copy 's3://%s/%s': the server's copy has %llu of %llu bytes",
			c->s->o.bucket, c->from, (unsigned long long)there.size,
			(unsigned long long)c->source.size);
	s3_op_put(head);
	return r;
}

/* Of a server that is not known to look at everything. @made: nothing was there before. */
static int copy_check(struct change *c, bool made, const struct vmofs_version *now,
		      struct vmofs_err *err)
{
	int r;

	if (atomic_load(&c->s->habits[S3_SOURCE_MATCH]) == S3_LOOKS)
		return 0;
	r = copy_check_source(c, err);
	if (r == 0)
		r = copy_check_target(c, err);
	if (made && (r == -ESTALE || r == -EOPNOTSUPP))
		copy_undo(c, now);
	return r;
}

static int s3_copy(struct vmofs_source *source, const char *from,
		   const struct vmofs_version *expect, const char *to,
		   const struct vmofs_version *to_expect, struct vmofs_version *now,
		   const struct vmofs_change_wait *wait, struct vmofs_err *err)
{
	struct change c;
	mode_t type;
	int r = change_begin(&c, source, to, wait, err);

	c.from = s3_full_key(c.s, from);
	if (r == 0 && !c.from)
		r = vmofs_err_set(err, -ENOMEM, "no memory for a change");
	if (r == 0)
		r = copy_look(&c, expect, "copy", &type, err);
	if (r == 0)
		r = copy_run(&c, "copy", to_expect, now, err);
	if (r == 0)
		r = copy_check(&c, to_expect && !to_expect->exists, now, err);
	change_end(&c);
	return r;
}

static int s3_set_attr(struct vmofs_source *source, const char *key,
		       const struct vmofs_version *expect, const struct vmofs_change_attr *attr,
		       struct vmofs_version *now, const struct vmofs_change_wait *wait,
		       struct vmofs_err *err)
{
	struct change c;
	mode_t type;
	int r = change_begin(&c, source, key, wait, err);

	c.from = s3_full_key(c.s, key);
	if (r == 0 && !c.from)
		r = vmofs_err_set(err, -ENOMEM, "no memory for a change");
	if (r == 0)
		r = copy_look(&c, expect, "change", &type, err);
	if (r == 0) {
		size_t n = strlen(key);

		s3_props_attr(&c.props, attr, n > 0 && key[n - 1] == '/' ? S_IFDIR : type);
		r = copy_run(&c, "change", &c.source, now, err);
	}
	change_end(&c);
	return r;
}

/* -- extended attributes ---------------------------------------------------------------------- */

static int read_xattrs(struct change *c, const struct s3_op *head, struct vmofs_xattrs **out,
		       struct vmofs_err *err)
{
	const char *value = s3_props_get(&head->props, S3_XATTRS_HEADER);
	int r = 0;

	if (value)
		r = s3_xattrs_decode(value, strlen(value), out);
	else
		*out = vmofs_xattrs_get(&vmofs_xattrs_none);
	return r < 0 ? vmofs_err_set(err, r, "%s of 's3://%s/%s' is not what s3fs writes: %s",
				     S3_XATTRS_HEADER, c->s->o.bucket, c->key, strerror(-r))
		     : 0;
}

static int s3_get_xattrs(struct vmofs_source *source, const char *key, struct vmofs_xattrs **out,
			 const struct vmofs_change_wait *wait, struct vmofs_err *err)
{
	struct s3_op *head = NULL;
	struct change c;
	int r = change_begin(&c, source, key, wait, err);

	if (r == 0)
		r = change_look(&c, c.key, "look up", &head, err);
	if (r == 0)
		r = read_xattrs(&c, head, out, err);
	s3_op_put(head);
	change_end(&c);
	return r;
}

static int s3_can_xattrs(struct vmofs_source *source UNUSED, const struct vmofs_xattrs *x,
			 struct vmofs_err *err)
{
	char *text = s3_xattrs_encode(x);
	size_t n = text ? strlen(text) : 0;

	free(text);
	if (!n)
		return vmofs_err_set(err, -ENOMEM, "no memory for extended attributes");
	if (n > S3_XATTRS_MAX)
		return vmofs_err_set(
			err, -ENOSPC,
			"they take %zu bytes of metadata, and there is room for %u: S3 "
			"has 2 KiB for all metadata of an object",
			n, S3_XATTRS_MAX);
	return 0;
}

const struct vmofs_change_ops s3_change_ops = {
	.ahead = &s3_ahead_ops,
	.store = s3_store,
	.attempted = s3_attempted,
	.remove = s3_remove,
	.copy = s3_copy,
	.make_dir = s3_make_dir,
	.set_attr = s3_set_attr,
	.make_link = s3_make_link,
	.get_xattrs = s3_get_xattrs,
	.can_xattrs = s3_can_xattrs,
};
