/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP provider: one object behind an http or https URL, opened by itself (an origin of its own, and a
 * probe that finds size, version and where redirects end), and what can be seen of any object of the
 * engine. open() blocks on the caller's thread, the rest never does. Life: http_object.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "http/http_private.h"
#include "http/index.h"
#include "http/index_text.h"

#define OPEN_RETRIES       3
#define OBJECT_CONNECTIONS 32

struct opening {
	const char *source; /* borrowed */
	struct url url;     /* views into it */
	char stripped[URL_MAX];
	char shown[URL_MAX];
	struct http_object found;
	struct http_origin *origin;
};

static int read_urls(struct opening *op, struct vmofs_err *err)
{
	int r = url_parse(op->source, strlen(op->source), &op->url);

	if (r < 0)
		return vmofs_err_set(err, r, "the source is not a valid http URL");
	r = url_strip(&op->url, op->stripped, sizeof op->stripped);
	if (r == 0)
		r = url_redact(&op->url, op->shown, sizeof op->shown);
	return r < 0 ? vmofs_err_set(err, r, "the source's URL is too long") : 0;
}

/* Its server has led to the same path with a slash: what is there is an index page, if anything. */
static bool is_directory(const struct opening *op)
{
	struct url end;

	return url_parse(op->found.url, strlen(op->found.url), &end) == 0 &&
		index_adds_slash(&op->url, &end);
}

static int probe_object(struct opening *op, struct vmofs_err *err)
{
	const struct http_limits *limits = &op->origin->limits;
	struct http_object *o = &op->found;
	int r = http_probe(op->origin->settings, op->stripped, limits->probe, OPEN_RETRIES, NULL, o,
			   err);

	if ((r == 0 || r == -EOPNOTSUPP) && is_directory(op))
		return vmofs_err_set(
			err, -EISDIR,
			"'%s' is a directory; a URL with a slash at its end shows what "
			"is in it",
			op->shown);
	if (r < 0)
		return r;
	if (!o->ranges && o->size > limits->whole_limit)
		return vmofs_err_set(
			err, -EOPNOTSUPP,
			"cannot open '%s': the server does not serve ranges, and %" PRIu64
			" bytes are more than 'whole-limit'",
			op->shown, o->size);
	return 0;
}

/* What the probe has found, as an object. */
static struct http *make_object(const struct opening *op)
{
	const struct http_object *o = &op->found;
	struct http_object_spec spec = {
		.url = op->stripped,
		.size = o->size,
		.etag = o->etag,
		.last_modified = o->last_modified,
	};
	struct http *h = http_object_alloc(op->origin, &spec);

	if (!h)
		return NULL;
	h->ranges = o->ranges;
	h->ranges_known = true;
	h->trusted = o->trusted;
	h->adopted = true;
	h->target = strdup(o->url);
	if (!h->target) {
		http_put(h);
		return NULL;
	}
	http_first_answer(op->origin, o->answer_ns);
	http_count(h, HTTP_COUNT_REQUESTS, o->requests);
	http_count(h, HTTP_COUNT_REDIRECTS, o->redirects);
	return h;
}

static int fill_info(const struct opening *op, struct vmofs_object_info *info,
		     struct vmofs_err *err)
{
	const struct http_object *o = &op->found;
	const char *validator = o->etag[0] ? o->etag : o->last_modified;
	int64_t mtime = 0;
	int r;

	*info = (struct vmofs_object_info){ .size = o->size };
	http_parse_date(o->last_modified, strlen(o->last_modified), &mtime);
	info->mtime.tv_sec = mtime;
	memcpy(info->validator, validator, strlen(validator) + 1);
	info->weak = o->size > 0 && o->etag[0] != '"';
	if (url_name(&op->url, info->name, sizeof info->name) < 0)
		memcpy(info->name, "object", sizeof "object");
	r = http_object_where(op->origin, &op->url, info);
	return r < 0 ? vmofs_err_set(err, r, "cannot tell what '%s' is", op->shown) : 0;
}

/* A token that is read, and is none, is better found now than by the first read. */
static int prove_endpoint(struct http *h, struct vmofs_err *err)
{
	struct http_fetch f = { .h = h };
	int r = http_endpoint_for(&f, err);

	http_endpoint_put(f.ep);
	return r;
}

static int open_object(struct opening *op, const struct vmofs_provider_env *env,
		       struct vmofs_provider **out, struct vmofs_err *err)
{
	struct http_origin_params params = {
		.env = env,
		.url = op->source,
		.connections = OBJECT_CONNECTIONS,
	};
	struct http *h;
	int r = read_urls(op, err);

	if (r == 0)
		r = http_origin_new(&op->origin, &params, err);
	if (r == 0)
		r = probe_object(op, err);
	if (r < 0)
		return r;
	h = make_object(op);
	if (!h)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate an HTTP source");
	r = prove_endpoint(h, err);
	if (r < 0)
		http_put(h);
	else
		*out = &h->base;
	return r;
}

static int http_open(struct vmofs_provider **out, const char *source,
		     const struct vmofs_provider_env *env, struct vmofs_object_info *info,
		     struct vmofs_err *err)
{
	struct opening *op = calloc(1, sizeof *op);
	int r;

	if (!op)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate an HTTP source");
	op->source = source;
	r = open_object(op, env, out, err);
	if (r == 0) {
		r = fill_info(op, info, err);
		if (r < 0)
			(*out)->ops->free(*out);
	}
	http_origin_put(op->origin);
	explicit_bzero(op, sizeof *op);
	free(op);
	return r;
}

/* -- looking ---------------------------------------------------------------------------------- */

static void http_on_detach(struct vmofs_provider *p UNUSED)
{
	/* Every request has been cleared, so every fetch drains or is cut already. */
}

static void http_on_close(struct vmofs_provider *p UNUSED)
{
}

/* Times are kept by the origin, for all its objects. */
static void http_stats(struct vmofs_provider *p, struct vmofs_provider_stats *out)
{
	struct http *h = container_of(p, struct http, base);

	*out = (struct vmofs_provider_stats){ 0 };
	http_stats_fill(&h->counters, out);
	hist_copy(&h->origin->latency, out->latency);
	mutex_lock(&h->lock);
	out->in_flight = h->nactive;
	if (h->trouble)
		out->last = h->trouble->last;
	mutex_unlock(&h->lock);
}

static unsigned count(const struct vmofs_list *list)
{
	const struct vmofs_list *pos;
	unsigned n = 0;

	for (pos = list->next; pos != list; pos = pos->next)
		n++;
	return n;
}

static void dump_fetch(const struct http_fetch *f, FILE *out, unsigned depth)
{
	fprintf(out, "%*sGET [0x%" PRIx64 ", 0x%" PRIx64 ") at 0x%" PRIx64 " loop %u wanted %u%s\n",
		(int)depth * 2, "", f->get.off, f->get.off + f->get.len, atomic_load(&f->pos),
		loop_index(f->lane->loop), f->wanted, atomic_load(&f->cut) ? " cut" : "");
}

static void http_dump(struct vmofs_provider *p, FILE *out, unsigned depth, unsigned max_items)
{
	struct http *h = container_of(p, struct http, base);
	struct vmofs_list *pos;
	char url[URL_MAX];

	http_origin_dump(h->origin, out, depth);
	mutex_lock(&h->lock);
	fprintf(out, "%*shttp '%s' size %" PRIu64 "%s%s%s\n", (int)depth * 2, "",
		http_shown(h, url, sizeof url), h->size, h->ranges ? "" : " whole",
		h->adopted ? "" : " version not known", h->renewing ? " renewing" : "");
	fprintf(out, "%*sdemand %u prefetch %u delayed %u active %u\n", (int)depth * 2 + 2, "",
		count(&h->queue[VMOFS_CLASS_DEMAND]) + count(&h->incoming[VMOFS_CLASS_DEMAND]),
		count(&h->queue[VMOFS_CLASS_PREFETCH]) + count(&h->incoming[VMOFS_CLASS_PREFETCH]),
		count(&h->delayed), h->nactive);
	if (h->trouble)
		fprintf(out, "%*slast trouble: %s (status %d)\n", (int)depth * 2 + 2, "",
			h->trouble->recent.msg, h->trouble->recent.status);
	vmofs_list_for_each(pos, &h->fetches) {
		if (max_items-- == 0)
			break;
		dump_fetch(vmofs_list_entry(pos, struct http_fetch, link), out, depth + 1);
	}
	mutex_unlock(&h->lock);
}

static uint64_t http_koid(struct vmofs_provider *p)
{
	return (uint64_t)(uintptr_t)p;
}

static const char *const http_schemes[] = { "http", "https", NULL };

const struct vmofs_provider_ops provider_http = {
	.name = "http",
	.schemes = http_schemes,
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.options = http_options,
	.tree = &index_source_ops,
	.is_tree = index_is_tree,
	.tree_of_one = true,
	.open = http_open,
	.send = http_send,
	.clear = http_clear,
	.swap = http_swap,
	.on_detach = http_on_detach,
	.on_close = http_on_close,
	.version = http_version,
	.pace = http_pace,
	.stats = http_stats,
	.dump = http_dump,
	.koid = http_koid,
	.free = http_free,
};
