/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One page of a listing: the request, the parser behind its answer, and how its keys look without the source's
 * prefix. Loop threads; the memory belongs to the asker.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "s3/s3_assemble.h"
#include "s3/s3_private.h"

#define PAGE_BODY_MAX MIB(32)
#define PEEK_KEYS     32 /* so many tell how keys look */

char *s3_full_key(const struct s3 *s, const char *key)
{
	char *out = NULL;

	return asprintf(&out, "%s%s", s->o.prefix, key) < 0 ? NULL : out;
}

bool s3_entry_show(const struct s3 *s, const struct s3_page *p, const struct s3_entry *e,
		   struct vmofs_entry *out)
{
	size_t cut = strlen(s->o.prefix);
	const char *key = s3_page_key(p, e);

	if (e->key_len <= cut || memcmp(key, s->o.prefix, cut) != 0 ||
	    (!e->prefix && s3_temp_is_key(key, e->key_len)))
		return false;
	*out = (struct vmofs_entry){
		.type = e->prefix ? VMOFS_ENTRY_PREFIX : VMOFS_ENTRY_FILE,
		.key = key + cut,
		.key_len = e->key_len - cut,
		.size = e->prefix ? 0 : e->size,
		.mtime = e->mtime,
		.validator = e->etag ? p->text + e->etag : "",
		.target = "",
	};
	return true;
}

/* -- the answer ------------------------------------------------------------------------------- */

static struct s3_fetch *fetch_of(struct s3_ask *a)
{
	return container_of(a, struct s3_fetch, ask);
}

static void fetch_reset(struct s3_ask *a)
{
	struct s3_fetch *f = fetch_of(a);

	s3_xml_free(f->xml);
	s3_page_clear(&f->page);
	f->xml = s3_xml_new(&f->page);
}

static int fetch_data(struct s3_ask *a, const void *buf, size_t n)
{
	struct s3_fetch *f = fetch_of(a);
	void (*peek)(struct s3_fetch * f) = f->peek;
	int r = f->xml ? s3_xml_add(f->xml, buf, n) : -ENOMEM;

	if (r == 0 && peek && f->page.truncated && f->page.n >= PEEK_KEYS) {
		f->peek = NULL;
		peek(f);
	}
	return r;
}

static int fetch_finish(struct s3_ask *a)
{
	struct s3_fetch *f = fetch_of(a);
	int r = f->xml ? s3_xml_end(f->xml) : -ENOMEM;

	s3_xml_free(f->xml);
	f->xml = NULL;
	return r;
}

static void fetch_done(struct s3_ask *a, int code, const struct http_refusal *why)
{
	struct s3_fetch *f = fetch_of(a);

	s3_xml_free(f->xml);
	f->xml = NULL;
	f->done(f, code, why);
}

static const struct s3_ask_ops fetch_ops = {
	.reset = fetch_reset,
	.data = fetch_data,
	.finish = fetch_finish,
	.done = fetch_done,
};

/* -- the request ------------------------------------------------------------------------------ */

static void add(struct s3_request *r, const char *name, const char *value)
{
	r->query[r->nquery++] = (struct sigv4_pair){ name, value };
}

static void fetch_fill(struct s3_fetch *f, struct s3 *s)
{
	struct s3_request *r = &f->ask.request;

	s3_page_clear(&f->page);
	f->ask.s = s;
	f->ask.ops = &fetch_ops;
	*r = (struct s3_request){ .method = "GET" };
	if (f->token)
		add(r, "continuation-token", f->token);
	if (!f->flat)
		add(r, "delimiter", "/");
	add(r, "encoding-type", "url");
	add(r, "list-type", "2");
	add(r, "max-keys", f->max);
	add(r, "prefix", f->prefix);
	if (f->after && !f->token)
		add(r, "start-after", f->after);
}

void s3_fetch_start(struct s3_fetch *f, struct s3 *s, uint64_t deadline_ns)
{
	fetch_fill(f, s);
	s3_ask_start(&f->ask, deadline_ns, PAGE_BODY_MAX);
}

void s3_fetch_wait(struct s3_fetch *f, struct s3 *s)
{
	fetch_fill(f, s);
	s3_ask_wait(&f->ask, PAGE_BODY_MAX);
}

void s3_fetch_clear(struct s3_fetch *f)
{
	s3_xml_free(f->xml);
	s3_page_clear(&f->page);
	free(f->prefix);
	free(f->after);
	free(f->token);
	f->xml = NULL;
	f->prefix = f->after = f->token = NULL;
}
