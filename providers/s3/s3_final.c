/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one request of a change that makes it seen, and the promise that it replaces nothing but what was expected. A server that
 * looks at preconditions keeps that promise; many do not, or not for every request, and none says so. So what a server does
 * with each kind of precondition is found out while files are changed, without a request that could do harm: what is there is compared
 * (HEAD), then the request goes out with a precondition that is wrong. A server that looks answers 412 and gets the right one; a server
 * that does not has done what it would have done without any, right after the comparison, and so it is from then on: a comparison
 * right before each. AWS is known to look at those of PUT and of completions.
 *
 * A request that may have been acted upon is never simply sent again: HEAD tells by the attempt's number whether it was. A thread that may block.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "s3/s3_op.h"

#define TRIES_MAX 40
#define PAUSE     (100 * NSEC_PER_MSEC)
#define PAUSE_MAX (5 * NSEC_PER_SEC)
#define NOBODYS   "\"00000000000000000000000000000000\""

/* A precondition of the next try. */
struct condition {
	enum s3_feature feature; /* what the answer says something of */
	bool probe;              /* it does not hold: 412 is good news */
	bool bare;               /* a tag without its quotes */
	const char *name;        /* NULL: none */
	char value[280];
};

static enum s3_feature feature_of(enum s3_final_kind kind, bool match)
{
	static const enum s3_feature v[][2] = {
		[S3_FINAL_PUT] = { S3_PUT_NEW, S3_PUT_MATCH },
		[S3_FINAL_COMPLETE] = { S3_COMPLETE_NEW, S3_COMPLETE_MATCH },
		[S3_FINAL_COPY] = { S3_COPY_NEW, S3_COPY_MATCH },
		[S3_FINAL_DELETE] = { S3_DELETE_MATCH, S3_DELETE_MATCH },
	};

	return v[kind][match];
}

static enum s3_habit habit(const struct s3_final *f, enum s3_feature feature)
{
	return atomic_load(&f->s->habits[feature]);
}

static void learn(struct s3_final *f, enum s3_feature feature, enum s3_habit h)
{
	enum s3_habit was = atomic_exchange(&f->s->habits[feature], h);

	if (was == h || h != S3_IGNORES)
		return;
	if (!atomic_exchange(&f->s->warned, true))
		log_warn(
			"the server of 's3://%s' does not look at preconditions (found at: %s): versions are compared right before a change instead, "
			"which leaves a moment for other writers",
			f->s->o.bucket, f->verb);
}

static bool is_open(enum s3_habit h)
{
	return h == S3_UNKNOWN || h == S3_DOUBTED;
}

/* A false condition has been no hindrance. That of something that was there to be gone holds if somebody removed it. */
static void learn_ignored(struct s3_final *f, const struct condition *c)
{
	bool doubt = c->name[3] == 'N' && habit(f, c->feature) == S3_UNKNOWN;

	learn(f, c->feature, doubt ? S3_DOUBTED : S3_IGNORES);
}

/* -- conditions ------------------------------------------------------------------------------- */

static void condition_right(const struct s3_final *f, struct condition *c)
{
	const char *tag = f->expect->validator;
	size_t n = strlen(tag);

	if (!f->expect->exists) {
		c->name = "If-None-Match";
		snprintf(c->value, sizeof c->value, "*");
		return;
	}
	c->name = "If-Match";
	c->bare = atomic_load(&f->s->bare_tags);
	if (c->bare && n > 2 && tag[0] == '"')
		snprintf(c->value, sizeof c->value, "%.*s", (int)(n - 2), tag + 1);
	else
		snprintf(c->value, sizeof c->value, "%.*s", (int)sizeof c->value - 1, tag);
}

static void condition_wrong(const struct s3_final *f, struct condition *c)
{
	enum s3_feature none = feature_of(f->kind, false);

	c->probe = true;
	if (none != c->feature && is_open(habit(f, none))) {
		c->feature = none;
		c->name = "If-None-Match";
		snprintf(c->value, sizeof c->value, "*");
	} else {
		c->name = "If-Match";
		snprintf(c->value, sizeof c->value, NOBODYS);
	}
}

/* True: what is there has to be compared before. */
static bool condition_choose(const struct s3_final *f, struct condition *c)
{
	bool match = f->expect && f->expect->exists;
	enum s3_habit h;

	*c = (struct condition){ .feature = feature_of(f->kind, match) };
	if (!f->expect || (match && !f->expect->validator[0]))
		return f->expect != NULL;
	h = habit(f, c->feature);
	if (h == S3_LOOKS || (is_open(h) && !match && f->kind != S3_FINAL_DELETE))
		condition_right(f, c);
	else if (is_open(h))
		condition_wrong(f, c);
	return h != S3_LOOKS;
}

/* -- looking ---------------------------------------------------------------------------------- */

enum look { LOOK_EXPECTED, LOOK_OURS, LOOK_OTHER, LOOK_FAILED };

static bool is_ours(const struct s3_final *f, const struct s3_op *head)
{
	if (f->kind == S3_FINAL_DELETE)
		return head->code == -ENOENT;
	return head->code == 0 && f->attempt && strcmp(head->head.attempt, f->attempt) == 0;
}

static enum look look_judge(struct s3_final *f, int r, struct s3_op *head, bool sent,
			    struct vmofs_err *err)
{
	if (r < 0 && r != -ENOENT) {
		if (head)
			s3_op_explain(head, f->verb, err);
		err->code = r;
		return LOOK_FAILED;
	}
	if (sent && is_ours(f, head)) {
		s3_version_of(head, &f->now);
		snprintf(f->version_id, sizeof f->version_id, "%s", head->head.version_id);
		return LOOK_OURS;
	}
	if (s3_is_expected(f->expect, head))
		return LOOK_EXPECTED;
	log_debug("'%s' is '%s', and was to be '%s'", f->key, r == -ENOENT ? "" : head->head.etag,
		  f->expect->exists ? f->expect->validator : "");
	vmofs_err_set(err, r == -ENOENT && f->kind == S3_FINAL_DELETE ? -ENOENT : -ESTALE,
		      "cannot %s 's3://%s/%s': %s", f->verb, f->s->o.bucket, f->key,
		      r == -ENOENT                 ? "it is not there any more"
			      : !f->expect->exists ? "there is one already"
						   : "it has been changed by somebody else");
	return LOOK_OTHER;
}

/* @sent: a request of ours may have been acted upon. */
static enum look look(struct s3_final *f, bool sent, struct vmofs_err *err)
{
	struct s3_op *head = NULL;
	int r = s3_look(f->s, f->desk, f->key, f->wait, &head);
	enum look l = look_judge(f, r, head, sent, err);

	f->requests += s3_op_requests(head);
	s3_op_put(head);
	return l;
}

/* -- trying ----------------------------------------------------------------------------------- */

/* What comes after a try. */
enum next { NEXT_END, NEXT_AGAIN, NEXT_LATER };

struct course {
	struct condition c;
	bool sent;  /* a request may have been acted upon */
	bool bared; /* tags were tried without their quotes, or with them */
	bool plain; /* contents were tried without a checksum */
	bool mute;  /* an answer did not tell the new tag */
	unsigned tries;
	int code;
};

static void take_answer(struct s3_final *f, const struct s3_op *op)
{
	char tag[256];

	f->now = (struct vmofs_version){ .exists = f->kind != S3_FINAL_DELETE };
	f->now.mtime.tv_sec = op->date;
	snprintf(f->version_id, sizeof f->version_id, "%s", op->head.version_id);
	if (op->head.etag[0])
		snprintf(f->now.validator, sizeof f->now.validator, "%s", op->head.etag);
	else if (op->text && s3_answer_field(op->text, op->len, "ETag", tag, sizeof tag) == 0)
		snprintf(f->now.validator, sizeof f->now.validator, tag[0] == '"' ? "%s" : "\"%s\"",
			 tag);
}

static bool is_condition_refused(const struct s3_op *op)
{
	return op->status == 412 || (op->status == 404 && strcmp(op->error_code, "NoSuchKey") == 0);
}

/* A copy can be refused for its source's sake too, which says nothing of the condition. */
static bool is_source_there(struct s3_final *f, struct vmofs_err *err)
{
	struct s3_op *head = NULL;
	bool there = true;
	int r;

	if (!f->source)
		return true;
	r = s3_look(f->s, f->desk, f->source, f->wait, &head);
	f->requests += s3_op_requests(head);
	if (r == 0 || r == -ENOENT)
		there = s3_is_expected(f->source_is, head);
	if (!there || (r < 0 && r != -ENOENT))
		vmofs_err_set(err, r == -ENOENT || r == 0 ? -ESTALE : r,
			      "cannot %s 's3://%s/%s': it has been changed by somebody else",
			      f->verb, f->s->o.bucket, f->source);
	s3_op_put(head);
	return there && (r == 0 || r == -ENOENT);
}

/* It is still what was expected: the server means something else, or somebody was about to write. */
static enum next refused_though_right(struct s3_final *f, struct course *t, struct s3_op *op,
				      struct vmofs_err *err)
{
	if (op->status == 409)
		return NEXT_LATER;
	if (f->expect && f->expect->exists && t->c.name && op->status == 412) {
		bool again = !t->bared;

		/* Others may find out the same at this moment. */
		atomic_store(&f->s->bare_tags, !t->c.bare);
		t->bared = true;
		if (again)
			return NEXT_AGAIN;
	}
	t->code = op->status == 412 ? vmofs_err_set(err, t->sent ? -EIO : -ESTALE,
						    "cannot %s 's3://%s/%s': the server says that "
						    "it is another version",
						    f->verb, f->s->o.bucket, f->key)
				    : s3_op_explain(op, f->verb, err);
	return NEXT_END;
}

static enum next after_refusal(struct s3_final *f, struct course *t, struct s3_op *op,
			       struct vmofs_err *err)
{
	switch (look(f, true, err)) {
	case LOOK_OURS:
		t->code = 0;
		return NEXT_END;
	case LOOK_OTHER:
	case LOOK_FAILED:
		t->code = err->code;
		return NEXT_END;
	case LOOK_EXPECTED:
		break;
	}
	return refused_though_right(f, t, op, err);
}

static bool is_unknown(const struct s3_op *op)
{
	return op->code == -EIO || op->code == -ETIMEDOUT || op->code == -EBADMSG ||
		op->code == -ESHUTDOWN;
}

/* Not of these contents: of any. */
static bool is_checksum_refused(const struct s3_final *f, const struct s3_op *op)
{
	static const char *const codes[] = { "InvalidArgument", "InvalidRequest", "" };

	if (!f->checksums || op->status == 501)
		return f->checksums;
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (op->status == 400 && strcmp(op->error_code, codes[i]) == 0)
			return true;
	return false;
}

static enum next after_failure(struct s3_final *f, struct course *t, struct s3_op *op,
			       struct vmofs_err *err)
{
	if (is_condition_refused(op) && !is_source_there(f, err)) {
		t->code = err->code;
		return NEXT_END;
	}
	if (is_condition_refused(op) && t->c.probe) {
		learn(f, t->c.feature, S3_LOOKS);
		return NEXT_AGAIN;
	}
	if (is_checksum_refused(f, op)) {
		f->checksums = false;
		t->plain = true;
		return NEXT_AGAIN;
	}
	/* A header that it does not know. */
	if (t->c.name && (op->status == 501 || strcmp(op->error_code, "NotImplemented") == 0)) {
		learn(f, t->c.feature, S3_IGNORES);
		return NEXT_AGAIN;
	}
	if (is_condition_refused(op) || op->status == 409 || op->status == 404)
		return after_refusal(f, t, op, err);
	t->code = s3_op_explain(op, f->verb, err);
	if (!is_unknown(op) || (op->status >= 400 && op->status < 500))
		return NEXT_END;
	t->sent = true;
	return NEXT_LATER;
}

/* Without the tag it is not known what is there: it could be somebody else's already. */
static enum next after_success(struct s3_final *f, struct course *t, const struct s3_op *op)
{
	enum next next = t->mute ? NEXT_LATER : NEXT_AGAIN;

	if (t->c.probe)
		learn_ignored(f, &t->c);
	if (t->plain)
		atomic_store(&f->s->no_checksums, true);
	take_answer(f, op);
	t->code = 0;
	if (!f->attempt || f->kind == S3_FINAL_DELETE || f->now.validator[0])
		return NEXT_END;
	t->sent = t->mute = true;
	return next;
}

static enum next final_send(struct s3_final *f, struct course *t, struct vmofs_err *err)
{
	struct s3_op *op = f->make(f);
	enum next next = NEXT_END;
	int r;

	if (!op)
		return t->code = vmofs_err_set(err, -ENOMEM, "no memory for a request"), NEXT_END;
	if (t->c.name)
		s3_op_header(op, t->c.name, t->c.value);
	op->ask.request.once = true;
	r = s3_op_run(op, f->wait, f->work);
	if (r == -EINTR) {
		t->sent = true;
		t->code = vmofs_err_set(err, r, "interrupted");
	} else if (r == 0) {
		next = after_success(f, t, op);
	} else {
		next = after_failure(f, t, op, err);
	}
	f->requests += s3_op_requests(op);
	s3_op_put(op);
	return next;
}

/* One comparison, where it is needed, and one request. */
static enum next final_try(struct s3_final *f, struct course *t, struct vmofs_err *err)
{
	bool compare = condition_choose(f, &t->c);

	if (compare || t->sent) {
		switch (look(f, t->sent, err)) {
		case LOOK_OURS:
			t->code = 0;
			return NEXT_END;
		case LOOK_OTHER:
			t->code = err->code;
			return NEXT_END;
		case LOOK_FAILED:
			t->code = err->code;
			return t->sent && err->code != -EINTR ? NEXT_LATER : NEXT_END;
		case LOOK_EXPECTED:
			break;
		}
	}
	return final_send(f, t, err);
}

/* False: there is no time for another try. */
static bool pause_before(const struct s3_final *f, unsigned tries, uint64_t end_ns)
{
	uint64_t until = loop_now_ns() + MIN(PAUSE << MIN(tries, 6u), PAUSE_MAX);

	if (until >= end_ns)
		return false;
	while (loop_now_ns() < until) {
		struct timespec ts = { 0, (long)(20 * NSEC_PER_MSEC) };

		if ((f->wait->cancel && atomic_load(f->wait->cancel)) ||
		    atomic_load(&f->s->stopping))
			return false;
		nanosleep(&ts, NULL);
	}
	return true;
}

/* Where an earlier try may still arrive, that the last one was refused is not the end of it. */
static bool is_told(int code)
{
	return code == -ESTALE || code == -ETIMEDOUT || code == -EINTR || code == -ESHUTDOWN;
}

int s3_final_run(struct s3_final *f, struct vmofs_err *err)
{
	uint64_t end_ns = f->wait->deadline_ns
		? f->wait->deadline_ns
		: loop_now_ns() + http_origin_timeout_ns(f->s->origin);
	struct course t = { .code = 0 };
	enum next next = NEXT_AGAIN;
	int r = f->commit ? f->commit(f) : 0;

	if (r != 0)
		return vmofs_err_set(err, r, "cannot %s 's3://%s/%s': it was called off", f->verb,
				     f->s->o.bucket, f->key);
	while (next != NEXT_END && t.tries++ < TRIES_MAX) {
		next = final_try(f, &t, err);
		if (next == NEXT_LATER && !pause_before(f, t.tries, end_ns))
			break;
	}
	if (t.code == 0 && next != NEXT_END)
		t.code = vmofs_err_set(err, -EIO,
				       "cannot %s 's3://%s/%s': the server refuses again and again",
				       f->verb, f->s->o.bucket, f->key);
	if (t.sent && t.code < 0 && !is_told(t.code))
		t.code = err->code = -EIO;
	f->unknown = t.sent && t.code != -ESTALE;
	if (t.code == 0) /* what went wrong on the way does not count */
		*err = (struct vmofs_err){ 0 };
	return t.code;
}
