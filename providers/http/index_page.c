/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetching an index page. The body is taken whole, within a limit, because names are decided upon only when the
 * end has come: half a page must not look like a smaller directory. On the loops of the origin's asks.
 */
#include "http/index_page.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "http/index_html.h"
#include "http/index_json.h"
#include "http/index_text.h"

#define BODY_MAX MIB(64)
#define BODY_MIN KIB(16)

enum { HOPS_MAX = 5 };

/* Servers that have both give the exact one. */
static const char *const accept_header[] = {
	"Accept: application/json, text/html;q=0.9, */*;q=0.1"
};

void index_page_release(struct index_page *p)
{
	free(p->body);
	free(p->location);
	p->body = p->location = NULL;
	index_list_release(&p->list);
}

/* -- the ask ---------------------------------------------------------------------------------- */

static int page_prepare(struct http_ask *a, struct vmofs_err *err UNUSED)
{
	struct index_page *p = container_of(a, struct index_page, ask);

	a->call.url = p->url;
	a->call.headers = accept_header;
	a->call.nheaders = ARRAY_LEN(accept_header);
	return 0;
}

static void page_reset(struct http_ask *a)
{
	struct index_page *p = container_of(a, struct index_page, ask);

	free(p->location);
	p->location = NULL;
	p->type[0] = '\0';
	p->len = 0;
}

static void page_header(struct http_ask *a, const char *name, const char *value, size_t n)
{
	struct index_page *p = container_of(a, struct index_page, ask);

	if (strcmp(name, "content-type") == 0) {
		n = MIN(n, sizeof p->type - 1);
		memcpy(p->type, value, n);
		p->type[n] = '\0';
		p->type[strcspn(p->type, "; \t")] = '\0';
	} else if (strcmp(name, "location") == 0) {
		free(p->location);
		p->location = strndup(value, n);
	}
}

static int page_data(struct http_ask *a, const void *buf, size_t n)
{
	struct index_page *p = container_of(a, struct index_page, ask);
	size_t cap = MAX(p->cap, (size_t)BODY_MIN);
	char *grown;

	while (cap - p->len < n)
		cap *= 2;
	if (cap > p->cap) {
		grown = realloc(p->body, cap);
		if (!grown)
			return -ENOMEM;
		p->body = grown;
		p->cap = cap;
	}
	memcpy(p->body + p->len, buf, n);
	p->len += n;
	return 0;
}

/* -- what came -------------------------------------------------------------------------------- */

static int not_an_index(struct index_page *p, const char *why)
{
	snprintf(p->msg, sizeof p->msg, "there is no index page that can be read: %s", why);
	return -EIO;
}

static int parse(struct index_page *p)
{
	bool json = strcasecmp(p->type, "application/json") == 0;
	struct url page;
	char why[256];

	if (p->ask.call.reply.encoding[0])
		return not_an_index(p, "the server has compressed it, which was not asked for");
	if (url_parse(p->url, strlen(p->url), &page) < 0)
		return -EINVAL;
	if (!json && strcasecmp(p->type, "text/html") != 0 &&
	    strcasecmp(p->type, "application/xhtml+xml") != 0) {
		snprintf(why, sizeof why, "its type is '%s', not text/html or application/json",
			 p->type);
		return not_an_index(p, why);
	}
	if (json && index_json_parse(&page, p->body, p->len, &p->list) < 0)
		return not_an_index(p, "its JSON is not a list of files");
	if (!json)
		index_html_parse(&page, p->body, p->len, &p->list);
	if (p->list.no_memory)
		return -ENOMEM;
	index_list_finish(&p->list);
	if (p->list.n == 0 && !p->list.is_index)
		return not_an_index(p, "it links nothing below itself");
	return 0;
}

/* A directory's page stays on its origin: what is elsewhere would be a tree of somebody else. */
static int follow(struct index_page *p)
{
	char next[URL_MAX];
	struct url from, to;

	if (!p->location || ++p->hops > HOPS_MAX ||
	    index_resolve(p->url, p->location, strlen(p->location), next, sizeof next) < 0 ||
	    url_parse(next, strlen(next), &to) < 0 || url_parse(p->url, strlen(p->url), &from) < 0)
		return not_an_index(p, "a redirect that cannot be followed");
	if (!url_same_origin(&from, &to)) {
		char shown[URL_MAX];

		if (url_redact(&to, shown, sizeof shown) < 0)
			shown[0] = '\0';
		snprintf(p->msg, sizeof p->msg,
			 "the server sends this directory's readers to another one; the source to "
			 "use may be '%.300s'",
			 shown);
		return -EIO;
	}
	memcpy(p->url, next, strlen(next) + 1);
	p->again = true;
	return 0;
}

static void page_ask(struct index_page *p);

static void page_done(struct http_ask *a, int code, const struct http_refusal *why)
{
	struct index_page *p = container_of(a, struct index_page, ask);

	p->requests += a->requests;
	if (code == 0)
		code = parse(p);
	else if (why->status >= 300 && why->status < 400)
		code = follow(p);
	if (p->again) {
		if (!p->blocking)
			page_ask(p);
		return;
	}
	free(p->body);
	p->body = NULL;
	p->cap = 0;
	p->ended(p, code, why);
}

static const struct http_ask_ops page_ops = {
	.prepare = page_prepare,
	.reset = page_reset,
	.header = page_header,
	.data = page_data,
	.done = page_done,
};

static void page_set(struct index_page *p)
{
	p->again = false;
	p->ask = (struct http_ask){
		.ops = &page_ops,
		.cls = VMOFS_CLASS_DEMAND,
		.deadline_ns = p->deadline_ns,
		.call = { .method = "GET", .max_body = BODY_MAX, .trusted = true },
	};
}

static void page_ask(struct index_page *p)
{
	page_set(p);
	http_origin_ask(p->origin, &p->ask);
}

void index_page_get(struct index_page *p)
{
	page_ask(p);
}

void index_page_get_wait(struct index_page *p)
{
	p->blocking = true;
	do {
		page_set(p);
		http_origin_ask_wait(p->origin, &p->ask, NULL);
	} while (p->again);
}
