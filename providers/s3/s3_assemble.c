/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The joints of a store: temporary objects that the server puts together from the base and a small change, copied as parts of the upload that
 * counts, and removed after it. They are made while the server copies the rest of the base. Each stands in the record of uploads as long as it may be there, and has a name that nobody else
 * can have: 128 random bits, which it also keeps as its attempt. What goes wrong with them is no failure of the store: then it goes by
 * the usual plan. A thread that may block.
 */
#include "s3/s3_assemble.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "s3/s3_record.h"

#define TEMP_NAME     "vmofs-tmp-"
#define TEMP_NAME_LEN (sizeof TEMP_NAME - 1 + VMOFS_ATTEMPT_LEN)
#define REMOVE_WITHIN (10 * NSEC_PER_SEC)
/* Failures in a row, of which it is not known why, after which this is left alone; a refusal counts as all of them. */
#define TRIES 3

struct assembly {
	const struct s3_joints *j;
	struct s3_desk *desk;
	struct s3_temp v[S3_JOINTS_MAX];
	unsigned n;  /* those that are there */
	bool failed; /* another one could not be made */
};

/* -- names ------------------------------------------------------------------------------------ */

bool s3_temp_is_key(const char *key, size_t len)
{
	const char *name = key + len - MIN(len, TEMP_NAME_LEN);

	return len >= TEMP_NAME_LEN && (name == key || name[-1] == '/') &&
		memcmp(name, TEMP_NAME, sizeof TEMP_NAME - 1) == 0 &&
		strspn(name + sizeof TEMP_NAME - 1, "0123456789abcdef") >= VMOFS_ATTEMPT_LEN;
}

/* As it stands in the record. */
struct temp_id {
	char text[sizeof S3_TEMP_ID + VMOFS_ATTEMPT_LEN];
};

static struct temp_id temp_id(const struct s3_temp *t)
{
	struct temp_id id;

	snprintf(id.text, sizeof id.text, "%s%s", S3_TEMP_ID, t->attempt);
	return id;
}

static void temp_forget(struct s3 *s, struct s3_temp *t)
{
	s3_record_del(s, temp_id(t).text);
	free(t->key);
	*t = (struct s3_temp){ 0 };
}

/* -- removal ---------------------------------------------------------------------------------- */

/* Of exactly this version, so that nothing of it stays where the bucket keeps versions. NULL: no memory. */
static struct s3_op *remove_op(struct s3 *s, struct s3_desk *d, const char *key,
			       const char *version_id)
{
	struct s3_op *op = s3_op_new(s, d, "DELETE", key);

	if (op && version_id[0])
		s3_op_query(op, "versionId", version_id);
	return op;
}

static int remove_end(struct s3_op *op, int r)
{
	if (op && r == 0)
		r = op->code == -ENOENT ? 0 : op->code;
	s3_op_put(op);
	return r;
}

/* A record may be damaged, and a server may call its uploads what it likes. */
static bool is_temp_of(const char *full_key, const char *attempt)
{
	size_t len = strlen(full_key);

	return strlen(attempt) == VMOFS_ATTEMPT_LEN && s3_temp_is_key(full_key, len) &&
		strcmp(full_key + len - VMOFS_ATTEMPT_LEN, attempt) == 0;
}

int s3_temp_sweep(struct s3 *s, const char *full_key, const char *attempt,
		  const atomic_bool *cancel)
{
	struct vmofs_change_wait w = { .deadline_ns = loop_now_ns() + REMOVE_WITHIN,
				       .cancel = cancel };
	struct s3_desk *d;
	struct s3_op *head = NULL, *op = NULL;
	int r;

	if (!is_temp_of(full_key, attempt))
		return 0;
	d = s3_desk_new();
	r = d ? s3_look(s, d, full_key, &w, &head) : -ENOMEM;

	if (r == 0 && strcmp(head->head.attempt, attempt) == 0) {
		op = remove_op(s, d, full_key, head->head.version_id);
		r = op ? s3_op_run(op, &w, 0) : -ENOMEM;
		r = remove_end(op, r);
	}
	s3_op_put(head);
	s3_desk_put(d);
	return r == -ENOENT ? 0 : r;
}

/* More such tries may end better: it is not known why this one did not. */
static bool is_passing(int r)
{
	return r == -EIO || r == -ETIMEDOUT || r == -EBADMSG || r == -EINTR || r == -ENOMEM;
}

/* True: it was the last. */
static bool count_failure(struct s3 *s, int r)
{
	unsigned n = is_passing(r) ? 1 : TRIES, was = atomic_fetch_add(&s->unassembled, n);

	return was < TRIES && was + n >= TRIES;
}

/* It stays in the record, for the next process that uploads to this bucket. */
static void tell_left(struct s3 *s, const struct s3_temp *t, int r)
{
	if (r != -EINTR)
		log_warn(
			"cannot remove the temporary object 's3://%s/%s' (%s): the next mount will try",
			s->o.bucket, t->key, strerror(-r));
	count_failure(s, r);
}

/* All of them at the same time. False: there may be some left. */
static bool assembly_end(struct assembly *a, struct s3_upload *u)
{
	struct vmofs_change_wait w = { .deadline_ns = loop_now_ns() + REMOVE_WITHIN,
				       .cancel = &u->s->stopping };
	struct s3_op *ops[S3_JOINTS_MAX] = { 0 };
	bool all = true;

	for (unsigned i = 0; i < a->n; i++) {
		ops[i] = remove_op(u->s, a->desk, a->v[i].key, a->v[i].version_id);
		if (ops[i])
			s3_op_send(ops[i], &w, 0);
	}
	for (unsigned i = 0; i < a->n; i++) {
		int r = ops[i] ? 0 : -ENOMEM;

		while (r == 0 && !s3_op_finished(ops[i]))
			r = s3_desk_wait(a->desk, &w);
		u->requests += s3_op_requests(ops[i]);
		r = remove_end(ops[i], r);
		if (r == 0) {
			temp_forget(u->s, &a->v[i]);
			continue;
		}
		tell_left(u->s, &a->v[i], r);
		free(a->v[i].key);
		all = false;
	}
	s3_desk_put(a->desk);
	return all;
}

/* -- making ----------------------------------------------------------------------------------- */

static int temp_name(struct s3 *s, struct s3_temp *t)
{
	char name[TEMP_NAME_LEN + 1];

	*t = (struct s3_temp){ 0 };
	vmofs_attempt_new(t->attempt);
	snprintf(name, sizeof name, "%s%s", TEMP_NAME, t->attempt);
	t->key = s3_full_key(s, name);
	return t->key ? 0 : -ENOMEM;
}

/* Encrypted as the object is; it does not live for the time that cheaper classes of storage are paid for at least. */
static void temp_props(struct s3_props *out, const struct s3_props *p, const char *attempt)
{
	static const char sse[] = "x-amz-server-side-encryption";

	*out = (struct s3_props){ 0 };
	for (size_t at = 0; at < p->len;) {
		const char *name = p->text + at, *value = name + strlen(name) + 1;

		if (strncasecmp(name, sse, sizeof sse - 1) == 0)
			s3_props_add(out, name, value, strlen(value));
		at = (size_t)(value - p->text) + strlen(value) + 1;
	}
	s3_props_set(out, "x-amz-meta-vmofs-attempt", attempt);
}

/* Of one that may be there in spite of a failure: not in the record any more if it is known that it is not. */
static void temp_undo(struct s3_upload *u, struct s3_temp *t, bool unknown)
{
	const atomic_bool *stop = &u->s->stopping;
	int r = unknown ? s3_record_settle(u->s, t->attempt, false, stop) : 0;

	if (r >= 0 && unknown)
		r = s3_temp_sweep(u->s, t->key, t->attempt, stop);
	if (r >= 0) {
		temp_forget(u->s, t);
		return;
	}
	tell_left(u->s, t, r);
	free(t->key);
}

static int temp_upload(struct s3_upload *u, struct s3_desk *desk, const struct s3_joint *j,
		       struct s3_temp *t, bool *unknown, struct vmofs_err *err)
{
	struct s3_part parts[] = { { j->off, j->at - j->off, true, 0 },
				   { j->at, j->end - j->at, false, 0 } };
	const struct s3_plan plan = { .v = parts, .n = ARRAY_LEN(parts) };
	struct s3_props props;
	struct s3_upload own = { .s = u->s,
				 .desk = desk,
				 .key = t->key,
				 .from = u->from,
				 .base = u->base,
				 .base_version_id = u->base_version_id,
				 .props = &props,
				 .attempt = t->attempt,
				 .wait = u->wait,
				 .size = j->end - j->off,
				 .store = u->store };
	int r;

	temp_props(&props, u->props, t->attempt);
	r = s3_upload_run(&own, &plan, err);
	s3_props_clear(&props);
	u->requests += own.requests;
	u->bytes_up += own.bytes_up;
	u->bytes_copied += own.bytes_copied;
	*unknown = own.unknown;
	t->is = own.now;
	memcpy(t->version_id, own.version_id, sizeof t->version_id);
	return r;
}

static int temp_make(struct s3_upload *u, struct s3_desk *desk, const struct s3_joint *j,
		     struct s3_temp *t, struct vmofs_err *err)
{
	bool unknown = false;
	int r = temp_name(u->s, t);

	if (r < 0)
		return vmofs_err_set(err, r, "no memory for an upload");
	s3_record_add(u->s, t->key, temp_id(t).text);
	r = temp_upload(u, desk, j, t, &unknown, err);
	if (r != 0)
		temp_undo(u, t, unknown);
	return r;
}

static int assembly_make(struct s3_upload *u, struct vmofs_err *err)
{
	struct assembly *a = u->arg;
	int r = 0;

	for (unsigned i = 0; i < a->j->n && r == 0; i++) {
		r = temp_make(u, a->desk, &a->j->v[i], &a->v[i], err);
		a->n += r == 0;
	}
	a->failed = r != 0;
	return r;
}

/* -- a store ---------------------------------------------------------------------------------- */

static uint64_t task_lacks(void *arg, uint64_t off, uint64_t len)
{
	struct vmofs_store *st = arg;

	return st->lacks(st, off, len);
}

static int joints_choose(const struct s3_upload *u, const struct s3_plan *usual,
			 struct s3_plan *out, struct s3_joints *j)
{
	struct vmofs_store *st = u->store;
	struct s3_limits l = s3_limits;
	struct s3_joints_task t = { .l = &l,
				    .size = st->size,
				    .base_size = st->base.size,
				    .changed = st->changed,
				    .n_changed = st->n_changed,
				    .lacks = st->lacks ? task_lacks : NULL,
				    .arg = st };

	*out = (struct s3_plan){ 0 };
	j->n = 0;
	if (!u->s->o.assemble || atomic_load(&u->s->unassembled) >= TRIES || !st->base.exists ||
	    u->ahead)
		return 0;
	l.part = u->s->o.upload_part;
	return s3_joints_plan(out, j, &t, usual);
}

/* Not for a joint's sake: the usual way would fail too. */
static bool is_final(int r)
{
	return r == -ESTALE || r == -EINTR || r == -ENOMEM || r == -ECANCELED || r == -ESHUTDOWN;
}

static void tell_failed(struct s3 *s, int r, const struct vmofs_err *err)
{
	log_info("a small change is stored with the bytes around it: %s", err->msg);
	if (count_failure(s, r))
		log_warn(
			"small changes of 's3://%s' are stored with the bytes around them, 5 MiB at least: the server makes no "
			"temporary objects for them (%s)",
			s->o.bucket, err->msg);
}

/* @again: the usual plan can still do. */
static int assembled(struct s3_upload *u, const struct s3_plan *plan, const struct s3_joints *j,
		     bool *again, struct vmofs_err *err)
{
	struct assembly a = { .j = j, .desk = s3_desk_new() };
	int r;

	if (!a.desk)
		return vmofs_err_set(err, -ENOMEM, "no memory for an upload");
	u->prepare = assembly_make;
	u->arg = &a;
	u->temps = a.v;
	r = s3_upload_run(u, plan, err);
	u->prepare = NULL;
	u->temps = NULL;
	*again = r < 0 && !is_final(r) && (a.failed || u->temp_failed || u->refused);
	if (assembly_end(&a, u) && r == 0)
		atomic_store(&u->s->unassembled, 0);
	return r;
}

int s3_assemble_run(struct s3_upload *u, const struct s3_plan *usual, struct vmofs_err *err)
{
	struct s3_plan plan;
	struct s3_joints j;
	bool again = true;
	int r = joints_choose(u, usual, &plan, &j);

	if (r < 0)
		vmofs_err_set(err, r, "no memory for an upload");
	else if (j.n > 0)
		r = assembled(u, &plan, &j, &again, err);
	if (r < 0 && again && j.n > 0)
		tell_failed(u->s, r, err);
	if (again && (r == 0 || j.n > 0)) {
		*err = (struct vmofs_err)VMOFS_ERR_INIT;
		r = s3_upload_run(u, usual, err);
	}
	s3_plan_clear(&plan);
	return r;
}
