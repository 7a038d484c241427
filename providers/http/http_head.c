/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HEAD by hops. Each answer is one of: the object; a redirect to the same path with a slash, which says
 * "directory"; a redirect elsewhere, which is followed; a HEAD that is refused or has no length, which becomes a
 * GET of one byte; a failure. On the loops of the origin's asks.
 */
#include "http/http_head.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "http/index_text.h"

enum { HOPS_MAX = 5, BODY_MAX = 65536 };

static const char *const range_header[] = { "Range: bytes=0-0" };

static void ask(struct http_head *h);

static int head_prepare(struct http_ask *a, struct vmofs_err *err UNUSED)
{
	struct http_head *h = container_of(a, struct http_head, ask);

	a->call.url = h->at;
	a->call.headers = h->by_get ? range_header : NULL;
	a->call.nheaders = h->by_get;
	return 0;
}

static void head_reset(struct http_ask *a)
{
	struct http_head *h = container_of(a, struct http_head, ask);

	free(h->location);
	h->location = NULL;
}

static void head_header(struct http_ask *a, const char *name, const char *value, size_t n)
{
	struct http_head *h = container_of(a, struct http_head, ask);

	if (strcmp(name, "location") != 0)
		return;
	free(h->location);
	h->location = strndup(value, n);
}

static int head_data(struct http_ask *a UNUSED, const void *buf UNUSED, size_t n UNUSED)
{
	return 0;
}

static void finish(struct http_head *h, int code, const struct http_refusal *why)
{
	free(h->location);
	h->location = NULL;
	h->done(h, code, why);
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* True: asked again, or it is a directory. */
static bool follow(struct http_head *h, const struct http_refusal *why)
{
	char next[URL_MAX];
	struct url from, to;

	if (!h->location ||
	    index_resolve(h->at, h->location, strlen(h->location), next, sizeof next) < 0 ||
	    url_parse(next, strlen(next), &to) < 0 ||
	    url_parse(h->first, strlen(h->first), &from) < 0)
		return false;
	if (index_adds_slash(&from, &to)) {
		h->dir = true;
		finish(h, 0, why);
		return true;
	}
	if (++h->hops > HOPS_MAX || (from.tls && !to.tls))
		return false;
	h->ask.call.trusted = url_same_origin(&from, &to);
	memcpy(h->at, next, strlen(next) + 1);
	ask(h);
	return true;
}

/* HEAD is not for every server, and some do not give a length with it. */
static bool wants_get(const struct http_head *h, int code, int status)
{
	if (h->by_get)
		return false;
	if (code == 0)
		return h->ask.call.reply.length == HTTP_LENGTH_UNKNOWN;
	return status == 405 || status == 501;
}

static void take_reply(struct http_head *h)
{
	const struct http_reply *r = &h->ask.call.reply;

	h->size = r->length;
	if (r->status == 206)
		h->size = r->has_range ? r->range.total : HTTP_LENGTH_UNKNOWN;
	if (r->encoding[0])
		h->size = HTTP_LENGTH_UNKNOWN;
	/* A weak one becomes strong when the file is a second old: as a version it would not hold. */
	if (r->etag[0] == '"')
		memcpy(h->etag, r->etag, sizeof h->etag);
	memcpy(h->last_modified, r->last_modified, sizeof h->last_modified);
}

static void head_done(struct http_ask *a, int code, const struct http_refusal *why)
{
	struct http_head *h = container_of(a, struct http_head, ask);
	int status = a->call.reply.status;

	h->requests += a->requests;
	if (code < 0 && is_redirect(why->status) && follow(h, why))
		return;
	if (wants_get(h, code, why->status)) {
		h->by_get = true;
		ask(h);
		return;
	}
	/* A server without ranges sends the whole object, which is cut; its head is good all the same. */
	if (h->by_get && code == -EBADMSG && status == 200)
		code = 0;
	/* An empty object has no first byte. */
	if (h->by_get && code < 0 && why->status == 416) {
		h->size = 0;
		code = 0;
	} else if (code == 0) {
		take_reply(h);
	}
	finish(h, code, why);
}

static const struct http_ask_ops head_ops = {
	.prepare = head_prepare,
	.reset = head_reset,
	.header = head_header,
	.data = head_data,
	.done = head_done,
};

/* The answer may come, and @h be gone, before this returns. */
static void ask(struct http_head *h)
{
	bool trusted = h->ask.call.trusted;

	h->ask = (struct http_ask){
		.ops = &head_ops,
		.cls = h->cls,
		.deadline_ns = h->deadline_ns,
		.call = { .method = h->by_get ? "GET" : "HEAD",
			  .max_body = BODY_MAX,
			  .trusted = trusted },
	};
	http_origin_ask(h->origin, &h->ask);
}

int http_head_start(struct http_head *h, const char *url)
{
	size_t n = strlen(url);
	struct url u;
	int r = url_parse(url, n, &u);

	if (r < 0)
		return r;
	h->dir = false;
	h->size = HTTP_LENGTH_UNKNOWN;
	h->etag[0] = h->last_modified[0] = '\0';
	h->requests = h->hops = 0;
	h->by_get = false;
	h->location = NULL;
	h->ask.call.trusted = true;
	memcpy(h->first, url, n + 1);
	memcpy(h->at, url, n + 1);
	ask(h);
	return 0;
}
