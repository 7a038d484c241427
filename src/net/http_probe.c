/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe: GET of the first byte (or HEAD) at each hop of a chain of redirects. Every hop decides
 * anew whether it is told credentials: only the origin that the chain began at is, and it has to
 * be the same scheme, host and port. Blocking; one thread, no locks.
 */
#include "net/http_probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/loop.h"
#include "base/macros.h"
#include "net/net_private.h"

#define HOPS_MAX     10
#define PROBE_TIME_S 30L
#define BODY_MAX     KIB(64)

struct probe {
	struct http_settings *settings; /* borrowed */
	const atomic_bool *cancel;
	struct http_object *out;
	struct vmofs_err *err;
	struct url origin; /* views into the source's text */
	enum http_probe_method method;
	char shown[URL_MAX]; /* the hop's URL for messages */
	char location[URL_MAX];
	char *visited[HOPS_MAX + 1]; /* owned */
	unsigned hops;
	/* of one request */
	struct http_reply reply;
	uint64_t body;
	char curl_msg[CURL_ERROR_SIZE];
};

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct probe *pr = arg;

	http_reply_line(&pr->reply, p, size * n, time(NULL));
	return size * n;
}

/* The body is of no interest; a long one (a server without ranges) is cut. */
static size_t on_body(char *p UNUSED, size_t size, size_t n, void *arg)
{
	struct probe *pr = arg;

	pr->body += size * n;
	return pr->body <= BODY_MAX ? size * n : 0;
}

static int on_progress(void *arg, curl_off_t dt UNUSED, curl_off_t dn UNUSED, curl_off_t ut UNUSED,
		       curl_off_t un UNUSED)
{
	struct probe *pr = arg;

	return pr->cancel && atomic_load(pr->cancel);
}

static int configure(struct probe *pr, CURL *easy, struct http_endpoint *ep)
{
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, pr);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, pr);
	curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(easy, CURLOPT_XFERINFODATA, pr);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, pr->curl_msg);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT, PROBE_TIME_S);
	if (pr->method == HTTP_PROBE_HEAD)
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	else
		curl_easy_setopt(easy, CURLOPT_RANGE, "0-0");
	http_easy_configure(easy, pr->settings, pr->out->trusted);
	return http_easy_target(easy, ep);
}

static int fail(struct probe *pr, int code, const char *why)
{
	return vmofs_err_set(pr->err, code, "cannot open '%s': %s", pr->shown, why);
}

static int fail_status(struct probe *pr)
{
	static const int codes[HTTP_NOUTCOMES] = {
		[HTTP_OUTCOME_RETRY] = -EIO,         [HTTP_OUTCOME_DENIED] = -EACCES,
		[HTTP_OUTCOME_GONE] = -ENOENT,       [HTTP_OUTCOME_MOVED] = -EBADMSG,
		[HTTP_OUTCOME_REFUSED] = -EIO,       [HTTP_OUTCOME_CHANGED] = -EBADMSG,
		[HTTP_OUTCOME_INTEGRITY] = -EBADMSG,
	};
	char why[256];

	http_status_message(&pr->reply, why, sizeof why);
	return fail(pr, codes[http_status_outcome(pr->reply.status)], why);
}

static int fail_curl(struct probe *pr, CURLcode code)
{
	const char *why = pr->curl_msg[0] ? pr->curl_msg : curl_easy_strerror(code);

	if (code == CURLE_ABORTED_BY_CALLBACK)
		return fail(pr, -ECANCELED, "given up");
	return fail(pr, code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO, why);
}

/* One request to pr->out->url; 0 when there is a complete head. */
static int ask(struct probe *pr, CURLcode *code)
{
	struct http_endpoint *ep;
	CURL *easy;
	int r;

	ep = http_endpoint_new(pr->settings, pr->out->url, pr->out->trusted, NULL, pr->err);
	if (!ep)
		return pr->err->code;
	http_reply_reset(&pr->reply);
	pr->body = 0;
	pr->curl_msg[0] = '\0';
	easy = curl_easy_init();
	r = easy ? configure(pr, easy, ep) : -ENOMEM;
	if (r == 0) {
		*code = curl_easy_perform(easy);
		pr->out->requests++;
		pr->out->answer_ns = http_easy_answer_ns(easy);
		pr->out->status = pr->reply.status;
		memcpy(pr->out->request_id, pr->reply.request_id, sizeof pr->out->request_id);
		if (!pr->reply.complete)
			r = fail_curl(pr, *code);
	} else {
		fail(pr, r, "out of memory");
	}
	curl_easy_cleanup(easy);
	http_endpoint_put(ep);
	return r;
}

/* -- redirects -------------------------------------------------------------------------------- */

/* Makes @url the one to ask next. */
static int go_to(struct probe *pr, const char *url)
{
	struct url u;

	if (url_parse(url, strlen(url), &u) < 0 || url_redact(&u, pr->shown, sizeof pr->shown) < 0)
		return fail(pr, -EBADMSG, "a redirect to something that is no http URL");
	for (unsigned i = 0; i < pr->hops; i++)
		if (strcmp(pr->visited[i], url) == 0)
			return fail(pr, -ELOOP, "the redirects go round in a circle");
	if (pr->hops > HOPS_MAX)
		return fail(pr, -ELOOP, "more than 10 redirects");
	pr->visited[pr->hops] = strdup(url);
	if (!pr->visited[pr->hops])
		return fail(pr, -ENOMEM, "out of memory");
	pr->hops++;
	pr->out->trusted = url_same_origin(&u, &pr->origin);
	return url_strip(&u, pr->out->url, sizeof pr->out->url);
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static int follow(struct probe *pr)
{
	char next[URL_MAX];
	struct url base;

	if (!pr->location[0])
		return fail(pr, -EBADMSG, "a redirect without a Location");
	if (url_parse(pr->out->url, strlen(pr->out->url), &base) < 0 ||
	    url_resolve(&base, pr->location, strlen(pr->location), next, sizeof next) < 0)
		return fail(pr, -EBADMSG, "a redirect to something that is no http URL");
	pr->out->redirects++;
	return go_to(pr, next);
}

/* -- the answer ------------------------------------------------------------------------------- */

static int learn(struct probe *pr, uint64_t size, bool ranges)
{
	struct http_object *o = pr->out;

	if (pr->reply.encoding[0])
		return fail(pr, -EBADMSG,
			    "the server compresses it in spite of being asked not to");
	if (size == HTTP_LENGTH_UNKNOWN)
		return fail(pr, -EOPNOTSUPP, "the server does not tell its length");
	if (size > INT64_MAX)
		return fail(pr, -EBADMSG, "the server tells an impossible length");
	o->size = size;
	o->ranges = ranges;
	memcpy(o->etag, pr->reply.etag, sizeof o->etag);
	memcpy(o->last_modified, pr->reply.last_modified, sizeof o->last_modified);
	return 0;
}

static int learn_partial(struct probe *pr)
{
	const struct http_content_range *range = &pr->reply.range;

	if (!pr->reply.has_range || pr->reply.bad_range || range->unsatisfied ||
	    range->first != 0 || range->last != 0)
		return fail(pr, -EBADMSG, "the server gives another range than it was asked for");
	return learn(pr, range->total, true);
}

/* 416 to the first byte: the object is empty. */
static int learn_unsatisfied(struct probe *pr)
{
	const struct http_content_range *range = &pr->reply.range;

	if (pr->reply.has_range && !pr->reply.bad_range && range->unsatisfied && range->total != 0)
		return fail(pr, -EBADMSG, "the server refuses the first byte");
	return learn(pr, 0, true);
}

static bool head_instead(const struct probe *pr)
{
	return pr->method == HTTP_PROBE_GET &&
		(pr->reply.status == 400 || pr->reply.status == 405 || pr->reply.status == 501);
}

/* 1: ask again. */
static int judge(struct probe *pr)
{
	int r;

	switch (pr->reply.status) {
	case 200:
		/* HEAD tells nothing about ranges: believe in them, each answer is checked. */
		return learn(pr, pr->reply.length, pr->method == HTTP_PROBE_HEAD);
	case 206:
		return learn_partial(pr);
	case 416:
		return learn_unsatisfied(pr);
	default:
		break;
	}
	if (is_redirect(pr->reply.status)) {
		r = follow(pr);
		return r < 0 ? r : 1;
	}
	if (head_instead(pr)) {
		pr->method = HTTP_PROBE_HEAD;
		return 1;
	}
	return fail_status(pr);
}

/* -- retries ---------------------------------------------------------------------------------- */

static bool may_pass(const struct probe *pr, int r, CURLcode code)
{
	enum http_outcome o;

	if (r == -ECANCELED || r == -ENOMEM)
		return false;
	o = pr->reply.complete ? http_status_outcome(pr->reply.status) : http_curl_outcome(code);
	return o == HTTP_OUTCOME_RETRY;
}

static void pause_before(unsigned attempt)
{
	uint64_t ns = 100 * NSEC_PER_MSEC << MIN(attempt, 5u);
	struct timespec ts = { (time_t)(ns / NSEC_PER_SEC), (long)(ns % NSEC_PER_SEC) };

	nanosleep(&ts, NULL);
}

static int run(struct probe *pr, unsigned retries)
{
	unsigned attempt = 0;
	int r;

	do {
		CURLcode code = CURLE_OK;

		r = ask(pr, &code);
		if (r == 0)
			r = judge(pr);
		if (r < 0 && attempt < retries && may_pass(pr, r, code)) {
			pause_before(attempt++);
			r = 1;
		}
	} while (r > 0);
	return r;
}

int http_probe(struct http_settings *s, const char *url, enum http_probe_method method,
	       unsigned retries, const atomic_bool *cancel, struct http_object *out,
	       struct vmofs_err *err)
{
	struct probe *pr = calloc(1, sizeof *pr);
	int r;

	if (!pr)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate an HTTP probe");
	*out = (struct http_object){ 0 };
	pr->settings = s;
	pr->cancel = cancel;
	pr->out = out;
	pr->err = err;
	pr->method = method;
	pr->reply.location = pr->location;
	pr->reply.location_cap = sizeof pr->location;
	if (url_parse(url, strlen(url), &pr->origin) < 0)
		r = vmofs_err_set(err, -EINVAL, "the source is not a valid http URL");
	else
		r = go_to(pr, url);
	if (r == 0)
		r = run(pr, retries);
	for (unsigned i = 0; i < pr->hops; i++)
		free(pr->visited[i]);
	free(pr);
	return r;
}
