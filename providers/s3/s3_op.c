/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests for threads that wait. They go the way of all requests (slots, connections and retries of the origin, on the
 * loops); the thread sleeps at its desk until they are answered. What is waited for and what is answered
 * share an op by references, so that a thread that must go does not leave a loop with freed memory.
 */
#include "s3/s3_op.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/loop.h"
#include "base/macros.h"

#define LOOK_AROUND (100 * NSEC_PER_MSEC) /* for a cancellation */
/* Bytes a second that an upload may be as slow as: many share one line. One that stands still ends sooner. */
#define SLOW_UP   KIB(16)
#define SLOW_MAX  (3600 * NSEC_PER_SEC)
#define SLOW_COPY MIB(4) /* and a copy at the server */

struct s3_desk {
	struct mutex lock;
	struct cond answered;
	atomic_uint refs;
	unsigned news; /* lock: lock */
};

/* -- desks ------------------------------------------------------------------------------------ */

struct s3_desk *s3_desk_new(void)
{
	struct s3_desk *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	mutex_init(&d->lock, LOCK_RANK_SOURCE);
	cond_init(&d->answered);
	atomic_store(&d->refs, 1);
	return d;
}

void s3_desk_put(struct s3_desk *d)
{
	if (!d || atomic_fetch_sub(&d->refs, 1) > 1)
		return;
	cond_destroy(&d->answered);
	mutex_destroy(&d->lock);
	free(d);
}

static bool is_cancelled(const struct vmofs_change_wait *w)
{
	return w->cancel && atomic_load(w->cancel);
}

int s3_desk_wait(struct s3_desk *d, const struct vmofs_change_wait *w)
{
	mutex_lock(&d->lock);
	while (d->news == 0 && !is_cancelled(w))
		cond_wait_until(&d->answered, &d->lock, loop_now_ns() + LOOK_AROUND);
	d->news = 0;
	mutex_unlock(&d->lock);
	return is_cancelled(w) ? -EINTR : 0;
}

/* -- bodies ----------------------------------------------------------------------------------- */

struct s3_body *s3_body_new(size_t len)
{
	struct s3_body *b = malloc(sizeof *b + len);

	if (!b)
		return NULL;
	atomic_init(&b->refs, 1);
	b->among = NULL;
	b->len = len;
	return b;
}

struct s3_body *s3_body_get(struct s3_body *b)
{
	atomic_fetch_add(&b->refs, 1);
	return b;
}

void s3_body_put(struct s3_body *b)
{
	if (!b || atomic_fetch_sub(&b->refs, 1) > 1)
		return;
	if (b->among)
		atomic_fetch_sub(b->among, 1);
	free(b);
}

/* Over TLS nobody changes the bytes on their way; in the clear the signature covers them. */
int s3_body_seal(const struct s3 *s, struct s3_body *b)
{
	uint32_t crc = (uint32_t)digest_crc(DIGEST_CRC32C, 0, b->data, b->len);
	uint8_t big[4] = { (uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
			   (uint8_t)crc };
	uint8_t sum[SHA256_LEN];

	digest_base64(big, sizeof big, b->crc32c);
	if (s->o.tls) {
		memcpy(b->payload, SIGV4_UNSIGNED, sizeof SIGV4_UNSIGNED);
		return 0;
	}
	if (digest_sha256(b->data, b->len, sum) < 0)
		return -ENOMEM;
	digest_hex(sum, sizeof sum, b->payload);
	return 0;
}

/* -- ops -------------------------------------------------------------------------------------- */

static const struct s3_ask_ops op_ops;

struct s3_op *s3_op_new(struct s3 *s, struct s3_desk *d, const char *method, const char *full_key)
{
	struct s3_op *op = calloc(1, sizeof *op);

	if (!op)
		return NULL;
	atomic_init(&op->refs, 1);
	op->key = full_key ? strdup(full_key) : NULL;
	if (full_key && !op->key) {
		free(op);
		return NULL;
	}
	op->s = s3_get(s);
	op->desk = d;
	atomic_fetch_add(&d->refs, 1);
	op->ask.s = s;
	op->ask.ops = &op_ops;
	op->ask.request = (struct s3_request){ .method = method, .key = op->key };
	return op;
}

void s3_op_put(struct s3_op *op)
{
	if (!op || atomic_fetch_sub(&op->refs, 1) > 1)
		return;
	for (unsigned i = 0; i < S3_PAIRS; i++)
		free(op->values[i]);
	s3_props_clear(&op->lines);
	s3_props_clear(&op->props);
	s3_body_put(op->body);
	free(op->key);
	free(op->text);
	s3_desk_put(op->desk);
	s3_put(op->s);
	free(op);
}

void s3_op_query(struct s3_op *op, const char *name, const char *value)
{
	struct s3_request *r = &op->ask.request;

	op->values[r->nquery] = strdup(value);
	if (!op->values[r->nquery])
		op->lines.failed = true;
	r->query[r->nquery] = (struct sigv4_pair){ name, op->values[r->nquery] };
	r->nquery++;
}

void s3_op_header(struct s3_op *op, const char *name, const char *value)
{
	s3_props_add(&op->lines, name, value, strlen(value));
}

void s3_op_props(struct s3_op *op, const struct s3_props *p)
{
	for (size_t at = 0; at < p->len;) {
		const char *name = p->text + at, *value = name + strlen(name) + 1;

		s3_op_header(op, name, value);
		at = (size_t)(value - p->text) + strlen(value) + 1;
	}
	op->lines.failed |= p->failed;
}

void s3_op_body(struct s3_op *op, struct s3_body *b)
{
	op->body = s3_body_get(b);
	op->ask.request.body = b->data;
	op->ask.request.body_len = b->len;
	op->ask.request.payload = b->payload;
}

/* -- the answer ------------------------------------------------------------------------------- */

static void op_reset(struct s3_ask *a)
{
	struct s3_op *op = container_of(a, struct s3_op, ask);

	op->head = (struct s3_head){ .size = VMOFS_SIZE_UNKNOWN };
	s3_props_clear(&op->props);
	op->tags = false;
	op->checksum[0] = '\0';
	op->len = 0;
}

static void op_header(struct s3_ask *a, const char *name, const char *value, size_t n)
{
	struct s3_op *op = container_of(a, struct s3_op, ask);

	s3_head_header(&op->head, name, value, n);
	if (strcmp(name, "x-amz-tagging-count") == 0)
		op->tags = n > 0 && value[0] != '0';
	else if (strcmp(name, "x-amz-checksum-crc32c") == 0 && n < sizeof op->checksum)
		snprintf(op->checksum, sizeof op->checksum, "%.*s", (int)n, value);
	if (strcmp(a->request.method, "HEAD") == 0)
		s3_props_header(&op->props, name, value, n);
}

static int op_data(struct s3_ask *a, const void *buf, size_t n)
{
	struct s3_op *op = container_of(a, struct s3_op, ask);
	char *text = realloc(op->text, op->len + n + 1);

	if (!text)
		return -ENOMEM;
	op->text = text;
	memcpy(text + op->len, buf, n);
	op->len += n;
	text[op->len] = '\0';
	return 0;
}

static const struct {
	const char *code;
	int status; /* 0: by the code alone */
	int result;
} results[] = {
	{ "EntityTooLarge", 0, -EFBIG },
	{ "KeyTooLongError", 0, -ENAMETOOLONG },
	{ "QuotaExceeded", 0, -EDQUOT },
	{ "InsufficientStorage", 0, -ENOSPC },
	{ "XMinioStorageFull", 0, -ENOSPC },
	{ "NotImplemented", 0, -EOPNOTSUPP },
	{ "MethodNotAllowed", 0, -EOPNOTSUPP },
	{ "MetadataTooLarge", 0, -E2BIG },
	{ "RequestHeaderSectionTooLarge", 0, -E2BIG },
	{ "AccessControlListNotSupported", 0, -EACCES },
	{ "InvalidArgument", 0, -EINVAL },
	{ NULL, 501, -EOPNOTSUPP },
	{ NULL, 405, -EOPNOTSUPP },
	{ NULL, 507, -ENOSPC },
	{ NULL, 413, -EFBIG },
	{ NULL, 414, -ENAMETOOLONG },
	{ NULL, 431, -E2BIG },
};

static int result_of(const struct s3_op *op, int code)
{
	for (size_t i = 0; i < ARRAY_LEN(results); i++)
		if (results[i].code ? strcmp(op->error_code, results[i].code) == 0
				    : op->status == results[i].status)
			return results[i].result;
	return code;
}

static const struct {
	const char *code;
	int status;
} hidden[] = {
	{ "PreconditionFailed", 412 }, { "ConditionalRequestConflict", 409 },
	{ "OperationAborted", 409 },   { "NoSuchUpload", 404 },
	{ "NoSuchKey", 404 },          { "AccessDenied", 403 },
	{ "InvalidPart", 400 },        { "EntityTooSmall", 400 },
};

/* A copy or a completion is answered with 200 before it is known how it ends: the body tells. */
static void op_unhide(struct s3_op *op)
{
	char text[256];

	if (op->code < 0 || !s3_answer_is_error(op->text ? op->text : "", op->len))
		return;
	op->code = -EIO;
	op->status = 500;
	s3_answer_field(op->text, op->len, "Code", op->error_code, sizeof op->error_code);
	s3_answer_field(op->text, op->len, "Message", text, sizeof text);
	snprintf(op->msg, sizeof op->msg, "the server answered %s: %s", op->error_code, text);
	for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
		if (strcmp(hidden[i].code, op->error_code) == 0)
			op->status = hidden[i].status;
	if (op->status == 403)
		op->code = -EACCES;
}

static void op_done(struct s3_ask *a, int code, const struct http_refusal *why)
{
	struct s3_op *op = container_of(a, struct s3_op, ask);

	op->code = code;
	op->status = code < 0 ? why->status : 200;
	op->date = a->trouble.answer_date;
	memcpy(op->error_code, code < 0 ? a->trouble.code : "",
	       code < 0 ? sizeof op->error_code : 1);
	snprintf(op->msg, sizeof op->msg, "%s%s%s%s", code < 0 ? why->msg : "",
		 why->request_id[0] ? " (request id " : "", why->request_id,
		 why->request_id[0] ? ")" : "");
	op_unhide(op);
	op->code = result_of(op, op->code);
	mutex_lock(&op->desk->lock);
	op->finished = true;
	op->desk->news++;
	cond_signal(&op->desk->answered);
	mutex_unlock(&op->desk->lock);
	s3_op_put(op);
}

static const struct s3_ask_ops op_ops = {
	.reset = op_reset,
	.header = op_header,
	.data = op_data,
	.done = op_done,
};

/* -- sending ---------------------------------------------------------------------------------- */

static void op_lines(struct s3_op *op)
{
	struct s3_request *r = &op->ask.request;

	r->nheaders = 0;
	for (size_t at = 0; at < op->lines.len && r->nheaders < S3_LINES;) {
		const char *name = op->lines.text + at, *value = name + strlen(name) + 1;

		op->headers[r->nheaders++] = (struct sigv4_pair){ name, value };
		at = (size_t)(value - op->lines.text) + strlen(value) + 1;
	}
	r->headers = op->headers;
}

void s3_op_send(struct s3_op *op, const struct vmofs_change_wait *w, uint64_t work)
{
	uint64_t ns = http_origin_timeout_ns(op->s->origin);
	uint64_t slow = NSEC_PER_SEC * (op->body ? op->body->len / SLOW_UP : 0) +
		NSEC_PER_SEC * (work / SLOW_COPY);
	uint64_t deadline;

	op_lines(op);
	slow = MIN(slow, SLOW_MAX);
	deadline = loop_now_ns() + ns + slow;
	if (w->deadline_ns)
		deadline = MIN(deadline, w->deadline_ns);
	if (work > 0)
		op->ask.request.stall_ns = ns + slow;
	atomic_fetch_add(&op->refs, 1);
	if (op->lines.failed) {
		struct http_refusal why = {
			.msg = "the object has more metadata than can be kept"
		};

		op_done(&op->ask, -E2BIG, &why);
		return;
	}
	s3_ask_start(&op->ask, deadline, S3_OP_ANSWER);
}

bool s3_op_finished(struct s3_op *op)
{
	bool finished;

	mutex_lock(&op->desk->lock);
	finished = op->finished;
	mutex_unlock(&op->desk->lock);
	return finished;
}

int s3_op_run(struct s3_op *op, const struct vmofs_change_wait *w, uint64_t work)
{
	int r = 0;

	s3_op_send(op, w, work);
	while (!s3_op_finished(op) && r == 0)
		r = s3_desk_wait(op->desk, w);
	return s3_op_finished(op) ? op->code : r;
}

unsigned s3_op_requests(struct s3_op *op)
{
	if (!op)
		return 0;
	return s3_op_finished(op) ? op->ask.http.requests : 1;
}

int s3_op_explain(struct s3_op *op, const char *verb, struct vmofs_err *err)
{
	struct http_refusal why = { 0 };

	if (!s3_op_finished(op))
		return vmofs_err_set(err, -EINTR, "interrupted");
	why.status = op->status;
	snprintf(why.msg, sizeof why.msg, "%.500s", op->msg);
	s3_explain(op->s, verb, op->key ? op->key : "", op->code, &why, op->error_code, err->msg,
		   sizeof err->msg);
	return err->code = op->code;
}

/* -- HEAD ------------------------------------------------------------------------------------- */

int s3_look(struct s3 *s, struct s3_desk *d, const char *full_key,
	    const struct vmofs_change_wait *w, struct s3_op **out)
{
	int r;

	*out = s3_op_new(s, d, "HEAD", full_key);
	if (!*out)
		return -ENOMEM;
	r = s3_op_run(*out, w, 0);
	if (r != 0 || (*out)->head.size != VMOFS_SIZE_UNKNOWN)
		return r;
	(*out)->code = -EBADMSG;
	return -EBADMSG;
}

void s3_version_of(const struct s3_op *head, struct vmofs_version *out)
{
	struct vmofs_entry e = { .mtime = head->head.mtime };

	*out = (struct vmofs_version){ 0 };
	if (head->code < 0)
		return;
	s3_head_apply(&head->head, &e);
	out->exists = true;
	out->size = head->head.size;
	out->mtime = e.mtime;
	snprintf(out->validator, sizeof out->validator, "%s", head->head.etag);
}

bool s3_is_expected(const struct vmofs_version *expect, const struct s3_op *head)
{
	bool there = head && head->code == 0;

	if (!expect)
		return true;
	if (expect->exists != there)
		return false;
	return !there || !expect->validator[0] || strcmp(expect->validator, head->head.etag) == 0;
}
