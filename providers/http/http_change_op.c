/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that change something, for threads that wait, and what is concluded from their answers. Retries of what may be
 * repeated are the ask's. Any thread that may block.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "http/http_change.h"
#include "http/index_text.h"

#define ANSWER_MAX KIB(64)

/* -- requests --------------------------------------------------------------------------------- */

static struct http_op *op_of(struct http_ask *a)
{
	return container_of(a, struct http_op, ask);
}

static int op_prepare(struct http_ask *a, struct vmofs_err *err UNUSED)
{
	struct http_op *op = op_of(a);

	a->call.url = op->url;
	a->call.headers = (const char *const *)op->lines;
	a->call.nheaders = op->nlines;
	return op->no_memory ? -ENOMEM : 0;
}

static void op_reset(struct http_ask *a)
{
	struct http_op *op = op_of(a);

	free(op->location);
	op->location = NULL;
	if (op->reset)
		op->reset(op);
}

static void op_header(struct http_ask *a, const char *name, const char *value, size_t n)
{
	struct http_op *op = op_of(a);

	if (strcmp(name, "location") != 0)
		return;
	free(op->location);
	op->location = strndup(value, n);
}

static int op_data(struct http_ask *a, const void *buf, size_t n)
{
	struct http_op *op = op_of(a);

	return op->data ? op->data(op, buf, n) : 0;
}

static void op_done(struct http_ask *a, int code, const struct http_refusal *why)
{
	struct http_op *op = op_of(a);

	op->code = code;
	op->status = code ? why->status : a->call.reply.status;
	snprintf(op->msg, sizeof op->msg, "%s", why->msg[0] ? why->msg : strerror(-code));
}

static const struct http_ask_ops op_ops = {
	.prepare = op_prepare,
	.reset = op_reset,
	.header = op_header,
	.data = op_data,
	.done = op_done,
};

struct http_op *http_op_new(const char *method)
{
	struct http_op *op = calloc(1, sizeof *op);

	if (!op)
		return NULL;
	op->ask = (struct http_ask){
		.ops = &op_ops,
		.cls = VMOFS_CLASS_DEMAND,
		.call = { .method = method, .max_body = ANSWER_MAX, .trusted = true },
	};
	return op;
}

void http_op_free(struct http_op *op)
{
	if (!op)
		return;
	for (unsigned i = 0; i < op->nlines; i++)
		free(op->lines[i]);
	free(op->location);
	free(op);
}

void http_op_line(struct http_op *op, const char *name, const char *value)
{
	char *line;

	if (op->nlines == HTTP_OP_LINES || asprintf(&line, "%s: %s", name, value) < 0)
		op->no_memory = true;
	else
		op->lines[op->nlines++] = line;
}

int http_op_run(struct http_op *op, struct http_origin *o, const struct vmofs_change_wait *w)
{
	op->ask.deadline_ns = w->deadline_ns;
	http_origin_ask_wait(o, &op->ask, w->cancel);
	if (op->code < 0 && w->cancel && atomic_load(w->cancel))
		return -EINTR;
	return op->code;
}

/* -- refusals --------------------------------------------------------------------------------- */

static const struct {
	int status;
	int code;
	const char *remedy;
} refusals[] = {
	{ 401, -EACCES, "it wants credentials: 'username' and 'password-file', or 'token-file'" },
	{ 403, -EACCES, "these credentials do not allow it" },
	{ 404, -ENOENT, NULL },
	{ 405, -EOPNOTSUPP,
	  "it does not take such changes (WebDAV, or PUT, has to be switched on there); mount without "
	  "rw to read" },
	{ 407, -EACCES, "the proxy wants credentials" },
	{ 409, -ENOENT, "the directory that it would be in is not there" },
	{ 410, -ENOENT, NULL },
	{ 411, -EOPNOTSUPP, NULL },
	{ 412, -ESTALE, "it has been changed by somebody else" },
	{ 413, -EFBIG, "it takes no body of that size (nginx: client_max_body_size)" },
	{ 414, -ENAMETOOLONG, NULL },
	{ 423, -EACCES, "somebody has locked it" },
	{ 501, -EOPNOTSUPP,
	  "it does not take such changes (WebDAV, or PUT, has to be switched on there); mount without "
	  "rw to read" },
	{ 507, -ENOSPC, NULL },
};

int http_refused_code(int status)
{
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
		if (refusals[i].status == status)
			return refusals[i].code;
	if (status >= 300 && status < 400)
		return -EOPNOTSUPP;
	return status >= 400 && status < 500 && status != 408 && status != 429 ? -EACCES : 0;
}

int http_explain(const char *verb, const char *url, int code, int status, const char *why,
		 struct vmofs_err *err)
{
	const char *remedy = NULL;
	char shown[URL_MAX];
	struct url u;

	if (url_parse(url, strlen(url), &u) < 0 || url_redact(&u, shown, sizeof shown) < 0)
		shown[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
		if (refusals[i].status == status)
			remedy = refusals[i].remedy;
	if (status >= 300 && status < 400)
		remedy = "it sends who changes it elsewhere; the URL it leads to may be mounted";
	return vmofs_err_set(err, code, "cannot %s '%.400s': %s%s%s", verb, shown, why,
			     remedy ? ": " : "", remedy ? remedy : "");
}

int http_check_key(const struct http_place *p, const char *key, struct vmofs_err *err)
{
	if (!p->only || strcmp(p->only, key) == 0)
		return 0;
	return vmofs_err_set(err, -EPERM, "cannot change '%s': only '%s' is mounted", key, p->only);
}

/* -- versions --------------------------------------------------------------------------------- */

static void take_reply(const struct http_reply *r, struct http_seen *out)
{
	*out = (struct http_seen){ .exists = true, .size = r->length };
	if (r->length == HTTP_LENGTH_UNKNOWN || r->encoding[0])
		out->size = VMOFS_SIZE_UNKNOWN;
	if (r->etag[0] == '"')
		memcpy(out->etag, r->etag, sizeof out->etag);
	memcpy(out->last_modified, r->last_modified, sizeof out->last_modified);
}

/* It leads to itself with a slash. */
static bool leads_to_dir(const struct http_op *op)
{
	struct url from, to;
	char next[URL_MAX];

	return op->location &&
		index_resolve(op->url, op->location, strlen(op->location), next, sizeof next) ==
		0 &&
		url_parse(next, strlen(next), &to) == 0 &&
		url_parse(op->url, strlen(op->url), &from) == 0 && index_adds_slash(&from, &to);
}

static int judge_look(struct http_op *op, int r, struct http_seen *out, struct vmofs_err *err)
{
	if (r == 0) {
		take_reply(&op->ask.call.reply, out);
		return 0;
	}
	if (r == -ENOENT)
		return 0;
	if (op->status >= 300 && op->status < 400 && leads_to_dir(op)) {
		*out = (struct http_seen){ true, true, VMOFS_SIZE_UNKNOWN, "", "" };
		return 0;
	}
	return http_explain("look up", op->url, r, op->status, op->msg, err);
}

/* HEAD; *@op is to be freed. */
static int look_op(const struct http_place *p, const char *url, const struct vmofs_change_wait *w,
		   struct http_op **op, struct http_seen *out, struct vmofs_err *err)
{
	*out = (struct http_seen){ .size = VMOFS_SIZE_UNKNOWN };
	*op = http_op_new("HEAD");
	if (!*op)
		return vmofs_err_set(err, -ENOMEM, "no memory for a request");
	memcpy((*op)->url, url, strlen(url) + 1);
	return judge_look(*op, http_op_run(*op, p->origin, w), out, err);
}

int http_look(const struct http_place *p, const char *url, const struct vmofs_change_wait *w,
	      struct http_seen *out, struct vmofs_err *err)
{
	struct http_op *op;
	int r = look_op(p, url, w, &op, out, err);

	http_op_free(op);
	return r;
}

bool http_is_expected(const struct vmofs_version *expect, const struct http_seen *seen)
{
	if (!expect)
		return true;
	if (!expect->exists || !seen->exists)
		return expect->exists == seen->exists;
	if (seen->dir)
		return false;
	if (seen->size != VMOFS_SIZE_UNKNOWN && seen->size != expect->size)
		return false;
	if (!expect->validator[0])
		return true;
	return strcmp(expect->validator,
		      expect->validator[0] == '"' ? seen->etag : seen->last_modified) == 0;
}

void http_version_of(const struct http_seen *seen, struct vmofs_version *out)
{
	int64_t seconds;

	*out = (struct vmofs_version){ .exists = seen->exists };
	if (!seen->exists)
		return;
	out->size = seen->size;
	snprintf(out->validator, sizeof out->validator, "%s",
		 seen->etag[0] ? seen->etag : seen->last_modified);
	if (http_parse_date(seen->last_modified, strlen(seen->last_modified), &seconds) == 0)
		out->mtime.tv_sec = (time_t)seconds;
}

/* What HEAD tells cannot be what was made before @date when it is younger. */
static bool is_younger(const struct http_seen *seen, int64_t date)
{
	int64_t seconds;

	return date && seen->last_modified[0] &&
		http_parse_date(seen->last_modified, strlen(seen->last_modified), &seconds) == 0 &&
		seconds > date;
}

int http_find_version(const struct http_place *p, const char *url, const struct http_reply *answer,
		      uint64_t size, const struct vmofs_change_wait *w, struct vmofs_version *now,
		      struct vmofs_err *err)
{
	struct http_seen seen;
	int r;

	take_reply(answer, &seen);
	if (seen.etag[0] && size != VMOFS_SIZE_UNKNOWN) {
		seen.size = size;
		http_version_of(&seen, now);
		return 0;
	}
	r = http_look(p, url, w, &seen, err);
	if (r < 0)
		return r;
	if (!seen.exists || seen.dir || is_younger(&seen, answer->date) ||
	    (seen.size != VMOFS_SIZE_UNKNOWN && size != VMOFS_SIZE_UNKNOWN && seen.size != size))
		return http_explain("keep", url, -ESTALE, 412,
				    "another version came right after it", err);
	if (seen.size == VMOFS_SIZE_UNKNOWN)
		seen.size = size;
	http_version_of(&seen, now);
	return 0;
}

/* -- conditions ------------------------------------------------------------------------------- */

const char *http_condition(const struct vmofs_version *expect, char *value)
{
	if (!expect || (expect->exists && !expect->validator[0]))
		return NULL;
	snprintf(value, sizeof expect->validator, "%s", expect->exists ? expect->validator : "*");
	if (!expect->exists)
		return "If-None-Match";
	return expect->validator[0] == '"' ? "If-Match" : "If-Unmodified-Since";
}

/* A date does not tell two versions of one second from each other, whoever looks. */
bool http_must_compare(const struct http_place *p, const struct vmofs_version *expect)
{
	if (!expect)
		return false;
	return atomic_load(&p->ways->conditions) != HTTP_WAYS_LOOKS ||
		(expect->exists && expect->validator[0] != '"');
}

void http_learn(const struct http_place *p, bool looks)
{
	int was =
		atomic_exchange(&p->ways->conditions, looks ? HTTP_WAYS_LOOKS : HTTP_WAYS_IGNORES);

	if (!looks && was != HTTP_WAYS_IGNORES)
		log_warn(
			"the server does not look at preconditions (If-Match) of changes: what is there is compared "
			"right before each; what another client stores in that moment is overwritten");
}
