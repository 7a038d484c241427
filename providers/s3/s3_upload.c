/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An object made of parts: some are uploaded, the others copied from the base by the server. Several of both kinds are
 * under way at the same time; contents are read by this thread, so that at most one read waits while others go up. Nothing is seen of it before the
 * completion, and what fails before that is aborted. A thread that may block.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/loop.h"
#include "base/macros.h"
#include "s3/s3_op.h"
#include "s3/s3_plan.h"
#include "s3/s3_record.h"

#define ABORT_WITHIN (10 * NSEC_PER_SEC)
#define NAP          (10 * NSEC_PER_MSEC)

/* What has become of one part of the plan. */
struct piece {
	struct s3_op *op; /* NULL: not under way */
	struct s3_piece got;
};

struct job {
	struct s3_upload *u;
	const struct s3_plan *plan;
	char id[S3_UPLOAD_ID];
	struct piece *v;
	unsigned
		next[2]; /* the first part that was not begun, of those uploaded and those copied */
	unsigned busy[2];
	unsigned left;
	bool prepared; /* the temps are there */
	bool astray;   /* parts were left under way: they may arrive after an abort, and stay */
	struct s3_body *list; /* of the completion */
};

/* -- the beginning and the end of an upload ---------------------------------------------------- */

void s3_op_source(struct s3_op *op, const char *from, const char *version_id, const char *etag)
{
	const struct s3_options *o = &op->s->o;
	char path[3 * VMOFS_KEY_MAX + 400];
	int n = snprintf(path, sizeof path, "/%s/", o->bucket);
	int k = sigv4_encode(from, strlen(from), 0, path + n, sizeof path - (size_t)n);

	if (k < 0) {
		op->lines.failed = true;
		return;
	}
	n += k;
	if (version_id[0] && strcmp(version_id, "null") != 0)
		snprintf(path + n, sizeof path - (size_t)n, "?versionId=%s", version_id);
	s3_op_header(op, "x-amz-copy-source", path);
	if (etag[0])
		s3_op_header(op, "x-amz-copy-source-if-match", etag);
	if (!o->sse_key)
		return;
	s3_op_header(op, "x-amz-copy-source-server-side-encryption-customer-algorithm", "AES256");
	s3_op_header(op, "x-amz-copy-source-server-side-encryption-customer-key", o->sse_key);
	s3_op_header(op, "x-amz-copy-source-server-side-encryption-customer-key-MD5", o->sse_md5);
}

void s3_op_directives(struct s3_op *op, bool tags)
{
	s3_op_header(op, "x-amz-metadata-directive", "REPLACE");
	if (tags)
		s3_op_header(op, "x-amz-tagging-directive", "REPLACE");
	/* One of the copy: moto gives it the base's, which may be of parts, without saying so; and has no CRC32C of its own. */
	if (!atomic_load(&op->s->no_checksums))
		s3_op_header(op, "x-amz-checksum-algorithm", "CRC32");
}

/* An upload that is being created. */
struct creation {
	struct s3 *s;
	struct s3_desk *desk;
	const char *key;
	const struct s3_props *props;
	const struct vmofs_change_wait *wait;
	char *id; /* S3_UPLOAD_ID */
	unsigned *requests;
};

static struct s3_op *create_make(const struct creation *c, bool checksums)
{
	struct s3_op *op = s3_op_new(c->s, c->desk, "POST", c->key);

	if (!op)
		return NULL;
	s3_op_query(op, "uploads", "");
	s3_op_props(op, c->props);
	if (checksums)
		s3_op_header(op, "x-amz-checksum-algorithm", "CRC32C");
	return op;
}

static int create_once(const struct creation *c, bool checksums, struct vmofs_err *err)
{
	struct s3_op *op = create_make(c, checksums);
	int r = op ? s3_op_run(op, c->wait, 0) : -ENOMEM;

	if (!op)
		return vmofs_err_set(err, r, "no memory for a request");
	*c->requests += s3_op_requests(op);
	if (r == 0 &&
	    s3_answer_field(op->text ? op->text : "", op->len, "UploadId", c->id, S3_UPLOAD_ID) <
		    0) {
		op->code = r = -EBADMSG;
		snprintf(op->msg, sizeof op->msg, "the server names no upload");
	}
	if (r == -EINTR)
		vmofs_err_set(err, r, "interrupted");
	else if (r < 0)
		s3_op_explain(op, "store", err);
	if (r < 0 && r != -EINTR && checksums && (op->status == 400 || op->status == 501))
		r = -EOPNOTSUPP;
	s3_op_put(op);
	return r;
}

/* With checksums, where the server takes them. */
int s3_upload_create(struct s3 *s, struct s3_desk *d, const char *key, const struct s3_props *props,
		     const struct vmofs_change_wait *wait, char id[S3_UPLOAD_ID],
		     unsigned *requests, struct vmofs_err *err)
{
	const struct creation c = { s, d, key, props, wait, id, requests };
	bool checksums = !atomic_load(&s->no_checksums);
	int r = create_once(&c, checksums, err);

	if (r == -EOPNOTSUPP && checksums) {
		*err = (struct vmofs_err){ 0 };
		r = create_once(&c, false, err);
		if (r == 0)
			atomic_store(&s->no_checksums, true);
	}
	if (r == 0)
		s3_record_add(s, key, id);
	return r;
}

/* Parts that were sent ahead are there already. */
static void job_adopt(struct job *j)
{
	struct s3_upload *u = j->u;

	snprintf(j->id, sizeof j->id, "%s", s3_ahead_id(u->ahead));
	j->astray = s3_ahead_is_astray(u->ahead);
	s3_ahead_count(u->ahead, &u->requests, &u->bytes_up);
	for (unsigned i = 0; i < j->plan->n; i++) {
		const struct s3_piece *p = s3_ahead_piece(u->ahead, u->store, i);

		if (!p)
			continue;
		j->v[i].got = *p;
		j->left--;
	}
}

static int job_create(struct job *j, struct vmofs_err *err)
{
	struct s3_upload *u = j->u;

	if (!u->ahead)
		return s3_upload_create(u->s, u->desk, u->key, u->props, u->wait, j->id,
					&u->requests, err);
	job_adopt(j);
	return 0;
}

/* Waited for, so that what has been begun is gone when the store has failed; but not for long. */
static void job_abort(struct job *j)
{
	if (j->id[0] && s3_upload_abort(j->u->s, j->u->key, j->id, NULL) == 0 && !j->astray)
		s3_record_del(j->u->s, j->id);
}

int s3_upload_abort(struct s3 *s, const char *full_key, const char *id, const atomic_bool *cancel)
{
	struct vmofs_change_wait w = { .deadline_ns = loop_now_ns() + ABORT_WITHIN,
				       .cancel = cancel };
	struct s3_desk *d = s3_desk_new();
	struct s3_op *op = d ? s3_op_new(s, d, "DELETE", full_key) : NULL;
	int r = -ENOMEM;

	if (op) {
		s3_op_query(op, "uploadId", id);
		r = s3_op_run(op, &w, 0);
	}
	s3_op_put(op);
	s3_desk_put(d);
	return r == -ENOENT ? 0 : r;
}

/* -- one part --------------------------------------------------------------------------------- */

struct s3_op *s3_part_op(struct s3 *s, struct s3_desk *d, const char *key, const char *id,
			 unsigned i)
{
	struct s3_op *op = s3_op_new(s, d, "PUT", key);
	char number[16];

	if (!op)
		return NULL;
	snprintf(number, sizeof number, "%u", i + 1);
	s3_op_query(op, "partNumber", number);
	s3_op_query(op, "uploadId", id);
	return op;
}

int s3_part_body(struct s3_op *op, struct s3_body *b)
{
	int r = s3_body_seal(op->s, b);

	if (r < 0)
		return r;
	if (!atomic_load(&op->s->no_checksums))
		s3_op_header(op, "x-amz-checksum-crc32c", b->crc32c);
	s3_op_body(op, b);
	return 0;
}

static struct s3_op *part_op(struct job *j, unsigned i)
{
	return s3_part_op(j->u->s, j->u->desk, j->u->key, j->id, i);
}

/* All of an object that was made a moment ago; the range says how long it has to be. */
static void copy_temp(struct s3_op *op, const struct s3_temp *t, uint64_t len)
{
	char range[64];

	snprintf(range, sizeof range, "bytes=0-%" PRIu64, len - 1);
	s3_op_source(op, t->key, t->version_id, t->is.validator);
	s3_op_header(op, "x-amz-copy-source-range", range);
}

static void copy_base(struct s3_op *op, const struct s3_upload *u, const struct s3_part *p)
{
	char range[64];

	snprintf(range, sizeof range, "bytes=%" PRIu64 "-%" PRIu64, p->off, p->off + p->len - 1);
	s3_op_source(op, u->from, u->base_version_id, u->base->validator);
	/* AWS takes no range of an object of 5 MiB. */
	if (p->len < u->base->size)
		s3_op_header(op, "x-amz-copy-source-range", range);
}

static int copy_begin(struct job *j, unsigned i)
{
	const struct s3_part *p = &j->plan->v[i];
	struct s3_op *op = part_op(j, i);

	if (!op)
		return -ENOMEM;
	if (p->from)
		copy_temp(op, &j->u->temps[p->from - 1], p->len);
	else
		copy_base(op, j->u, p);
	j->v[i].op = op;
	j->busy[true]++;
	s3_op_send(op, j->u->wait, p->len);
	return 0;
}

/* Memory was granted. */
static int put_begin(struct job *j, unsigned i)
{
	const struct s3_part *p = &j->plan->v[i];
	struct vmofs_store *st = j->u->store;
	struct s3_body *b = s3_body_new(p->len);
	struct s3_op *op = b ? part_op(j, i) : NULL;
	int r = op ? st->read(st, p->off, b->data, p->len) : -ENOMEM;

	if (r == 0)
		r = s3_part_body(op, b);
	s3_body_put(b);
	if (r != 0) {
		s3_op_put(op);
		st->give(st, p->len);
		return r;
	}
	j->v[i].op = op;
	j->busy[false]++;
	s3_op_send(op, j->u->wait, 0);
	return 0;
}

void s3_piece_take(struct s3_piece *p, const struct s3_op *op)
{
	const char *text = op->text ? op->text : "";

	if (op->head.etag[0])
		snprintf(p->etag, sizeof p->etag, "%.*s", (int)sizeof p->etag - 1, op->head.etag);
	else
		s3_answer_field(text, op->len, "ETag", p->etag, sizeof p->etag);
	if (op->checksum[0])
		memcpy(p->checksum, op->checksum, sizeof p->checksum);
	else
		s3_answer_field(text, op->len, "ChecksumCRC32C", p->checksum, sizeof p->checksum);
	p->done = true;
}

static void part_count(struct job *j, const struct s3_part *p, const struct s3_op *op)
{
	struct s3_upload *u = j->u;
	struct vmofs_store *st = u->store;

	u->requests += op->ask.http.requests;
	if (op->code != 0 || p->from) /* those bytes were counted when the joint was made */
		return;
	*(p->copy ? &u->bytes_copied : &u->bytes_up) += p->len;
	if (st && st->progress)
		st->progress(st, p->copy ? 0 : p->len, p->copy ? p->len : 0);
}

/* The base is not what it was, or is gone. */
static int part_explain(struct job *j, const struct s3_part *p, struct s3_op *op,
			struct vmofs_err *err)
{
	j->u->temp_failed |= p->from != 0;
	j->u->gone |= strcmp(op->error_code, "NoSuchUpload") == 0;
	if (p->copy && !p->from &&
	    (op->status == 412 ||
	     (op->status == 404 && strcmp(op->error_code, "NoSuchUpload") != 0)))
		return vmofs_err_set(err, -ESTALE,
				     "cannot store 's3://%s/%s': it has been changed by somebody "
				     "else",
				     j->u->s->o.bucket, j->u->key);
	/* That of a joint says nothing of the base. */
	if (op->code == -ENOENT || (op->code == -ESTALE && p->from))
		op->code = -EIO;
	return s3_op_explain(op, "store", err);
}

static int part_end(struct job *j, unsigned i, struct vmofs_err *err)
{
	const struct s3_part *p = &j->plan->v[i];
	struct s3_op *op = steal_ptr(&j->v[i].op);
	int r = op->code;

	j->busy[p->copy]--;
	part_count(j, p, op);
	if (r == 0) {
		s3_piece_take(&j->v[i].got, op);
		j->left--;
	} else {
		r = part_explain(j, p, op, err);
	}
	s3_op_put(op);
	if (!p->copy)
		j->u->store->give(j->u->store, p->len);
	return r;
}

/* -- all parts -------------------------------------------------------------------------------- */

/* The next part of this kind that was not begun; plan->n: none. */
static unsigned part_next(struct job *j, bool copy)
{
	unsigned i = j->next[copy];

	while (i < j->plan->n &&
	       (j->plan->v[i].copy != copy || (j->plan->v[i].from && !j->prepared) || j->v[i].op ||
		j->v[i].got.done))
		i++;
	return j->next[copy] = i;
}

static int begin_copies(struct job *j)
{
	int r = 0;

	while (r == 0 && j->busy[true] < j->u->s->o.upload_parallel &&
	       part_next(j, true) < j->plan->n)
		r = copy_begin(j, j->next[true]++);
	return r;
}

static int job_prepare(struct job *j, struct vmofs_err *err)
{
	int r = j->u->prepare ? begin_copies(j) : 0;

	if (r == 0 && j->u->prepare)
		r = j->u->prepare(j->u, err);
	else if (r < 0)
		vmofs_err_set(err, r, "no memory for a request");
	j->prepared = true;
	j->next[true] = 0;
	return r;
}

static int begin_put(struct job *j, bool *begun)
{
	struct vmofs_store *st = j->u->store;
	unsigned i = part_next(j, false);

	*begun = i < j->plan->n && j->busy[false] < j->u->s->o.upload_parallel &&
		st->take(st, j->plan->v[i].len);
	if (!*begun)
		return 0;
	j->next[false]++;
	return put_begin(j, i);
}

static int end_parts(struct job *j, struct vmofs_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < j->plan->n; i++)
		if (j->v[i].op && s3_op_finished(j->v[i].op)) {
			int e = part_end(j, i, err);

			r = r ? r : e;
		}
	return r;
}

static int begin_parts(struct job *j, bool *begun, struct vmofs_err *err)
{
	int r = begin_copies(j);

	*begun = false;
	if (r == 0)
		r = begin_put(j, begun);
	if (r != 0 && err->code == 0)
		vmofs_err_set(err, r, "cannot store 's3://%s/%s': its contents cannot be read",
			      j->u->s->o.bucket, j->u->key);
	return r;
}

/* Until something has ended; for a while, where memory is all that is missing. */
static int job_wait(struct job *j)
{
	const struct vmofs_change_wait *w = j->u->wait;
	struct timespec ts = { 0, (long)NAP };

	if (j->busy[false] + j->busy[true] > 0)
		return s3_desk_wait(j->u->desk, w);
	nanosleep(&ts, NULL);
	return (w->cancel && atomic_load(w->cancel)) || atomic_load(&j->u->s->stopping) ? -EINTR
											: 0;
}

static int job_parts(struct job *j, struct vmofs_err *err)
{
	bool begun = true;
	int r = 0;

	while (r == 0 && j->left > 0) {
		r = begin_parts(j, &begun, err);
		if (r == 0 && !begun)
			r = job_wait(j);
		if (r == -EINTR && err->code == 0)
			vmofs_err_set(err, r, "interrupted");
		if (r == 0)
			r = end_parts(j, err);
	}
	return r;
}

/* What is still under way: waited for, or left to end by itself where the thread was told to go. */
static void job_leave(struct job *j)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	while (j->busy[false] + j->busy[true] > 0 && s3_desk_wait(j->u->desk, j->u->wait) == 0)
		end_parts(j, &err);
	j->astray = j->busy[false] + j->busy[true] > 0;
	for (unsigned i = 0; i < j->plan->n; i++) {
		if (j->v[i].op && !j->plan->v[i].copy)
			j->u->store->give(j->u->store, j->plan->v[i].len);
		s3_op_put(j->v[i].op);
	}
	free(j->v);
	s3_body_put(j->list);
}

/* -- completion ------------------------------------------------------------------------------- */

static int job_list(struct job *j)
{
	size_t cap = 64 + (size_t)j->plan->n * 300, n = 0;
	struct s3_body *b = s3_body_new(cap);
	char *out = b ? (char *)b->data : NULL;

	if (!b)
		return -ENOMEM;
	j->list = b;
	n += (size_t)snprintf(out, cap, "<CompleteMultipartUpload>");
	for (unsigned i = 0; i < j->plan->n; i++) {
		const struct s3_piece *p = &j->v[i].got;
		const char *sum = p->checksum;

		n += (size_t)snprintf(
			out + n, cap - n,
			"<Part><PartNumber>%u</PartNumber><ETag>%s</ETag>%s%s%s</Part>", i + 1,
			p->etag, sum[0] ? "<ChecksumCRC32C>" : "", sum,
			sum[0] ? "</ChecksumCRC32C>" : "");
	}
	n += (size_t)snprintf(out + n, cap - n, "</CompleteMultipartUpload>");
	b->len = n;
	return s3_body_seal(j->u->s, b);
}

static struct s3_op *complete_make(struct s3_final *f)
{
	struct job *j = f->arg;
	struct s3_op *op = s3_op_new(f->s, f->desk, "POST", f->key);

	if (!op)
		return NULL;
	s3_op_query(op, "uploadId", j->id);
	s3_op_header(op, "Content-Type", "application/xml");
	s3_op_body(op, j->list);
	return op;
}

/* @unknown: a request under way may still complete it. */
static int job_complete(struct job *j, bool *unknown, struct vmofs_err *err)
{
	struct s3_upload *u = j->u;
	struct s3_final f = { .s = u->s,
			      .desk = u->desk,
			      .kind = S3_FINAL_COMPLETE,
			      .verb = "store",
			      .key = u->key,
			      .expect = u->expect,
			      .attempt = u->attempt,
			      .wait = u->wait,
			      .commit = u->commit,
			      .make = complete_make,
			      .work = u->size,
			      .arg = j };
	int r = job_list(j);

	if (r < 0)
		return vmofs_err_set(err, r, "no memory for a request");
	f.store = u->store;
	r = s3_final_run(&f, err);
	*unknown = f.unknown;
	u->gone = r == -ENOENT && !f.unknown;
	u->requests += f.requests;
	u->now = f.now;
	u->now.size = u->size;
	snprintf(u->version_id, sizeof u->version_id, "%s", f.version_id);
	return r;
}

/* What may still be completed is not aborted before somebody asks what became of the attempt: it stays in the record. */
int s3_upload_run(struct s3_upload *u, const struct s3_plan *plan, struct vmofs_err *err)
{
	struct job j = { .u = u, .plan = plan, .left = plan->n };
	bool unknown = false;
	int r = -ENOMEM;

	j.v = calloc(plan->n, sizeof *j.v);
	if (!j.v)
		return vmofs_err_set(err, r, "no memory for an upload");
	r = job_create(&j, err);
	if (r == 0)
		r = job_prepare(&j, err);
	if (r == 0)
		r = job_parts(&j, err);
	if (r == 0) {
		r = job_complete(&j, &unknown, err);
		u->refused = r == -EIO && !unknown;
	}
	job_leave(&j);
	u->unknown = unknown;
	if (r == 0)
		s3_record_del(u->s, j.id);
	else if (unknown)
		s3_record_doubt(u->s, u->attempt, u->key, j.id);
	else
		job_abort(&j);
	return r;
}
