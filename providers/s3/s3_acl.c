/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access control list of an object goes to its next version, which otherwise would have the bucket's default: it is read beside HEAD, and
 * given with the request that makes the version, so that there is no moment without it. Most buckets of AWS have lists switched off:
 * that is asked once. What cannot be read, or is refused, does not keep anybody from storing, but with acl=require. Threads that may block.
 */
#include "s3/s3_acl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "s3/s3_grants.h"

/* So often in a row, and never otherwise, and it is not asked any more. */
enum { REFUSALS_MAX = 3, TRIES = 3 };

/* -- asking ----------------------------------------------------------------------------------- */

static void send(struct s3_acl *a, const char *key, const char *what)
{
	a->op = s3_op_new(a->s, a->desk, "GET", key);
	if (!a->op)
		return;
	s3_op_query(a->op, what, "");
	a->op->ask.request.once = true;
	s3_op_send(a->op, a->wait, 0);
}

void s3_acl_ask(struct s3_acl *a, struct s3 *s, struct s3_desk *d, const char *full_key,
		const struct vmofs_change_wait *wait)
{
	enum s3_acls unknown = S3_ACLS_UNKNOWN;

	*a = (struct s3_acl){ .s = s, .desk = d, .key = full_key, .wait = wait };
	if (s->o.acl == S3_ACL_IGNORE)
		return;
	/* Who comes meanwhile asks for his object's. */
	if (atomic_compare_exchange_strong(&s->acls, &unknown, S3_ACLS_ON)) {
		a->first = true;
		send(a, NULL, "ownershipControls");
	} else if (unknown == S3_ACLS_ON) {
		send(a, full_key, "acl");
	} else {
		return;
	}
	a->asked = true;
}

/* 0: it has answered, one way or the other; -EINTR, -ENOMEM. */
static int answered(struct s3_acl *a)
{
	int r = a->op ? 0 : -ENOMEM;

	while (r == 0 && !s3_op_finished(a->op))
		r = s3_desk_wait(a->desk, a->wait);
	a->requests += r == 0 ? s3_op_requests(a->op) : 0;
	return r;
}

/* A gateway, or the connection: the next answer may be another one. None in time is not asked for again. */
static bool is_passing(const struct s3_op *op)
{
	return op->code == -EIO && (op->status == 0 || op->status >= 500);
}

/* Whoever changes something next asks whether the bucket has any. */
static void unknown_again(struct s3_acl *a)
{
	enum s3_acls on = S3_ACLS_ON;

	if (a->first)
		atomic_compare_exchange_strong(&a->s->acls, &on, S3_ACLS_UNKNOWN);
	a->first = false;
}

/* Lists are off. Servers that do not know the question answer anything. */
static bool is_off(const struct s3_op *op)
{
	char text[32];

	return op->code == 0 && op->text &&
		s3_answer_field(op->text, op->len, "ObjectOwnership", text, sizeof text) == 0 &&
		strcmp(text, "BucketOwnerEnforced") == 0;
}

/* -- what comes of it -------------------------------------------------------------------------- */

/* What of the list can be given; 0, or as s3_grants_parse(). */
static int add_grants(struct s3_acl *a, bool groups, struct s3_props *p)
{
	struct s3_grants *g = calloc(1, sizeof *g);
	int r = g ? s3_grants_parse(g, a->op->text ? a->op->text : "", a->op->len, groups)
		  : -ENOMEM;

	if (r == 0 && g->others) {
		a->given = true;
		a->groups = g->groups;
		for (unsigned i = 0; i < S3_RIGHTS; i++)
			if (g->line[i][0])
				s3_props_set(p, s3_grants_header(i), g->line[i]);
	}
	free(g);
	return r;
}

static void give_up(struct s3 *s, const char *why)
{
	if (atomic_exchange(&s->acls, S3_ACLS_OFF) == S3_ACLS_ON)
		log_info("access control lists of objects in '%s' are not kept: %s", s->o.bucket,
			 why);
}

/* Of one object that says little, of several it does. */
static int unreadable(struct s3_acl *a, const char *why, bool never, const char *verb,
		      struct vmofs_err *err)
{
	if (a->s->o.acl == S3_ACL_REQUIRE)
		return vmofs_err_set(
			err, -EACCES,
			"cannot %s 's3://%s/%s': its access control list, which acl=require wants kept, "
			"cannot be read: %s",
			verb, a->s->o.bucket, a->key, why);
	log_debug("the access control list of '%s' cannot be kept: %s", a->key, why);
	if (never ||
	    (!atomic_load(&a->s->acl_read) &&
	     atomic_fetch_add(&a->s->acl_refusals, 1) + 1 >= REFUSALS_MAX))
		give_up(a->s, why);
	return 0;
}

static int take_list(struct s3_acl *a, struct s3_props *p, const char *verb, struct vmofs_err *err)
{
	int r = add_grants(a, !atomic_load(&a->s->no_groups), p);

	if (r == -ENOMEM)
		return vmofs_err_set(err, r, "no memory for a list");
	if (r < 0)
		return unreadable(a, "the server's answer is not understood", false, verb, err);
	atomic_store(&a->s->acl_read, true);
	return 0;
}

static int take_answer(struct s3_acl *a, struct s3_props *p, const char *verb,
		       struct vmofs_err *err)
{
	const struct s3_op *op = a->op;

	if (op->code == 0)
		return take_list(a, p, verb, err);
	if (op->code == -EOPNOTSUPP || strcmp(op->error_code, "AccessControlListNotSupported") == 0)
		return unreadable(a, op->msg, true, verb, err);
	if (op->status >= 400 && op->status <= 500)
		return unreadable(a, op->msg, false, verb, err);
	return s3_op_explain(a->op, verb, err);
}

/* Of its own object; some servers fail for objects made in some ways, each time. */
static int ask_again(struct s3_acl *a)
{
	s3_op_put(a->op);
	send(a, a->key, "acl");
	return answered(a);
}

static int interrupted(struct s3_acl *a, int r, const char *verb, struct vmofs_err *err)
{
	unknown_again(a);
	return vmofs_err_set(err, r, "cannot %s 's3://%s/%s'", verb, a->s->o.bucket, a->key);
}

int s3_acl_take(struct s3_acl *a, struct s3_props *p, const char *verb, struct vmofs_err *err)
{
	int r = a->asked ? answered(a) : 0;

	if (!a->asked)
		return 0;
	if (r == 0 && a->first) {
		if (is_off(a->op)) {
			atomic_store(&a->s->acls, S3_ACLS_OFF);
			a->first = false;
			return 0;
		}
		/* 500 may be what it answers to all that it does not know. */
		if (is_passing(a->op) && a->op->status != 500)
			unknown_again(a);
		r = ask_again(a);
		a->first = a->first && r < 0;
	}
	for (unsigned i = 1; i < TRIES && r == 0 && is_passing(a->op); i++)
		r = ask_again(a);
	return r < 0 ? interrupted(a, r, verb, err) : take_answer(a, p, verb, err);
}

/* -- refused ---------------------------------------------------------------------------------- */

/* -EACCES: nobody may give them; else it is what is in this one: somebody who is not there any more, or too many for one request. */
bool s3_acl_refused(struct s3_acl *a, struct s3_props *p, int code)
{
	if (!a->given || (code != -EACCES && code != -EINVAL && code != -E2BIG) ||
	    a->s->o.acl == S3_ACL_REQUIRE)
		return false;
	for (unsigned i = 0; i < S3_RIGHTS; i++)
		s3_props_set(p, s3_grants_header(i), NULL);
	a->dropped = code;
	a->ungrouped = a->groups && code == -EACCES;
	a->given = a->groups = false;
	/* Others' may be given all the same; where there are none, or they cannot be, it goes without any. */
	if (a->ungrouped)
		(void)add_grants(a, false, p);
	return true;
}

/* Everybody's are refused where AWS blocks public access, whatever there may be else. */
void s3_acl_end(struct s3_acl *a, bool ok)
{
	if (a->dropped && ok) {
		log_warn("the access control list of 's3://%s/%s' is lost%s: the server refuses it",
			 a->s->o.bucket, a->key, a->given ? " in part" : "");
		if (a->ungrouped)
			atomic_store(&a->s->no_groups, true);
		else if (a->dropped == -EACCES)
			give_up(a->s, "the server refuses them");
	}
	/* It came to nothing before the answer was looked at. */
	unknown_again(a);
	s3_op_put(a->op);
	a->op = NULL;
}
