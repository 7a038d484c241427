/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions over HTTP to those who hand out access keys: small, answered into secret memory, asked again a
 * few times when nobody answers or the server says it cannot. Blocks; the thread that fetches.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "base/secret.h"
#include "net/http_call.h"
#include "net/http_header.h"
#include "s3/credentials_private.h"

enum { PAUSE_STEP_MS = 50 };

struct question {
	struct http_call call;
	char *body; /* secret memory */
	size_t len;
	int64_t date;
	bool again; /* it may be answered the next time */
	int status;
	char msg[256];
};

static void on_header(struct http_call *c, const char *name, const char *value, size_t n)
{
	struct question *q = container_of(c, struct question, call);

	if (!strcmp(name, "date") && http_parse_date(value, n, &q->date) < 0)
		q->date = 0;
}

static int on_data(struct http_call *c, const void *buf, size_t n)
{
	struct question *q = container_of(c, struct question, call);

	if (q->len + n > S3_ANSWER_MAX)
		return -1;
	memcpy(q->body + q->len, buf, n);
	q->len += n;
	return 0;
}

static void on_done(struct http_call *c, const struct http_result *result)
{
	struct question *q = container_of(c, struct question, call);

	q->status = result->status;
	q->again = result->outcome == HTTP_OUTCOME_RETRY || result->outcome == HTTP_OUTCOME_TIMEOUT;
	/* An answer cut short, or too long, is none. */
	if (result->outcome == HTTP_OUTCOME_INTEGRITY || result->outcome == HTTP_OUTCOME_CUT ||
	    result->outcome == HTTP_OUTCOME_TIMEOUT ||
	    (result->status / 100 == 2 && result->outcome != HTTP_OUTCOME_OK))
		q->status = 0;
	snprintf(q->msg, sizeof q->msg, "%s", result->msg ? result->msg : "no answer");
}

static const struct http_call_ops ops = { on_header, on_data, on_done };

static int ask_once(struct s3_fetch *f, const struct s3_ask *ask, struct question *q)
{
	q->call = (struct http_call){ .ops = &ops,
				      .method = ask->method,
				      .url = ask->url,
				      .headers = ask->headers,
				      .nheaders = ask->nheaders,
				      .body = ask->body,
				      .body_len = ask->body ? strlen(ask->body) : 0,
				      .max_body = S3_ANSWER_MAX,
				      .timeout_ns = ask->timeout_ns };
	q->len = 0;
	q->status = 0;
	q->date = 0;
	q->again = false;
	return http_call_wait(&q->call, ask->direct ? f->c->direct : f->c->settings, f->cancel);
}

/* -ECANCELED when nobody waits any more. */
static int pause_for(const struct s3_fetch *f, uint64_t ns)
{
	while (ns > 0 && !s3_fetch_cancelled(f)) {
		uint64_t step = MIN(ns, PAUSE_STEP_MS * NSEC_PER_MSEC);
		struct timespec ts = { 0, (long)step };

		nanosleep(&ts, NULL);
		ns -= step;
	}
	return s3_fetch_cancelled(f) ? -ECANCELED : 0;
}

static int ask_again_and_again(struct s3_fetch *f, const struct s3_ask *ask, struct question *q)
{
	uint64_t pause = f->c->retry_ns;
	int r = ask_once(f, ask, q);

	for (unsigned i = 1; i < ask->tries && r == 0 && q->again; i++, pause *= 2) {
		r = pause_for(f, pause);
		if (r == 0)
			r = ask_once(f, ask, q);
	}
	return r;
}

int s3_ask(struct s3_fetch *f, const struct s3_ask *ask, struct s3_answer *out)
{
	struct question q = { .body = secret_alloc(S3_ANSWER_MAX + 1) };
	int r = q.body ? ask_again_and_again(f, ask, &q) : -ENOMEM;

	memset(out, 0, sizeof *out);
	out->body = "";
	snprintf(out->msg, sizeof out->msg, "%s", q.msg);
	if (r == 0 && q.status == 0)
		r = -EIO;
	if (r == 0) {
		out->status = q.status;
		out->date = q.date;
		q.body[q.len] = '\0';
		out->body = s3_fetch_keep(f, secret_copy(q.body, q.len));
		out->len = q.len;
		if (!out->body) {
			out->body = "";
			r = -ENOMEM;
		}
	}
	secret_free(q.body);
	return r;
}
