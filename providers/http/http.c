/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP provider: one object behind an http or https URL, read by range requests. Open, close,
 * counters and dump; the queue is in http_queue.c, the transfers in http_fetch.c. open() blocks on
 * the caller's thread, the rest never does.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "http/http_private.h"

#define OPEN_RETRIES 3

extern const struct vmofs_provider_ops provider_http;

/* -- life ------------------------------------------------------------------------------------- */

static void *lookup_make(struct loop_pool *p UNUSED)
{
	return worker_new("vmofs-lookup");
}

static void lookup_free(void *it)
{
	worker_free(it);
}

static const struct loop_service lookup_service = { lookup_make, lookup_free };

static void secret_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

static void http_destroy(struct http *h)
{
	http_endpoint_put(h->ep);
	http_settings_put(h->settings);
	secret_free(h->url);
	free(h->shown);
	free(h->lanes);
	mutex_destroy(&h->lock);
	free(h);
}

void http_get_ref(struct http *h)
{
	atomic_fetch_add(&h->refs, 1);
}

void http_put(struct http *h)
{
	if (atomic_fetch_sub(&h->refs, 1) == 1)
		http_destroy(h);
}

/* Each lane ends itself on its own loop; the last one frees. */
static void http_free(struct vmofs_provider *p)
{
	struct http *h = container_of(p, struct http, base);

	atomic_store(&h->cancel, true);
	mutex_lock(&h->lock);
	h->closed = true;
	mutex_unlock(&h->lock);
	http_net_forget(h->net, &h->source);
	for (unsigned i = 0; i < h->nlanes; i++) {
		http_get_ref(h);
		loop_post(h->lanes[i].loop, &h->lanes[i].close_task);
	}
	http_put(h);
}

static struct http *http_new(void)
{
	struct http *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->base.ops = &provider_http;
	h->refs = 1;
	h->next_due_ns = UINT64_MAX;
	h->refresh_task.run = http_refresh_run;
	mutex_init(&h->lock, LOCK_RANK_PROVIDER);
	http_source_init(&h->source, http_pump);
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++) {
		vmofs_list_init(&h->incoming[cls]);
		vmofs_list_init(&h->queue[cls]);
	}
	vmofs_list_init(&h->delayed);
	vmofs_list_init(&h->fetches);
	return h;
}

/* -- open ------------------------------------------------------------------------------------- */

static int set_urls(struct http *h, const char *source, struct url *u, struct vmofs_err *err)
{
	int r = url_parse(source, strlen(source), u);

	if (r < 0)
		return vmofs_err_set(err, r, "the source is not a valid http URL");
	h->url = calloc(1, URL_MAX);
	h->shown = calloc(1, URL_MAX);
	if (!h->url || !h->shown)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate an HTTP source");
	r = url_strip(u, h->url, URL_MAX);
	if (r == 0)
		r = url_redact(u, h->shown, URL_MAX);
	return r < 0 ? vmofs_err_set(err, r, "the source's URL is too long") : 0;
}

static int probe_object(struct http *h, struct vmofs_err *err)
{
	struct http_object *o = &h->object;
	int r = http_probe(h->settings, h->url, h->limits.probe, OPEN_RETRIES, NULL, o, err);

	atomic_store(&h->counters.requests, o->requests);
	atomic_store(&h->counters.redirects, o->redirects);
	if (r < 0)
		return r;
	if (!o->ranges && o->size > h->limits.whole_limit)
		return vmofs_err_set(
			err, -EOPNOTSUPP,
			"cannot open '%s': the server does not serve ranges, and %" PRIu64
			" bytes are more than 'whole-limit'",
			h->shown, o->size);
	return 0;
}

static int make_endpoint(struct http *h, struct vmofs_err *err)
{
	struct http_expect expect = {
		.size = h->object.size,
		.etag = h->object.etag,
		.last_modified = h->object.last_modified,
		.whole_limit = h->limits.whole_limit,
	};

	h->ep = http_endpoint_new(h->settings, h->object.url, h->object.trusted, &expect, err);
	explicit_bzero(h->object.url, sizeof h->object.url);
	return h->ep ? 0 : err->code;
}

static int make_lanes(struct http *h, struct loop_pool *loops, struct vmofs_err *err)
{
	unsigned n = loop_pool_size(loops);

	h->loops = loops;
	h->net = http_net_of(loops);
	h->worker = loop_pool_service(loops, &lookup_service);
	h->lanes = calloc(n, sizeof *h->lanes);
	if (!h->net || !h->worker || !h->lanes)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate HTTP clients");
	for (; h->nlanes < n; h->nlanes++)
		http_lane_init(&h->lanes[h->nlanes], h, loop_pool_nth(loops, h->nlanes));
	h->lane_limit = (unsigned)((h->limits.connections + n - 1) / n);
	return 0;
}

static void fill_info(const struct http *h, const struct url *source,
		      struct vmofs_object_info *info)
{
	const struct http_object *o = &h->object;
	const char *validator = o->etag[0] ? o->etag : o->last_modified;
	int64_t mtime = 0;

	*info = (struct vmofs_object_info){ .size = o->size };
	http_parse_date(o->last_modified, strlen(o->last_modified), &mtime);
	info->mtime.tv_sec = mtime;
	memcpy(info->url, h->shown, strlen(h->shown) + 1);
	memcpy(info->validator, validator, strlen(validator) + 1);
	info->weak = o->size > 0 && o->etag[0] != '"';
	if (url_name(source, info->name, sizeof info->name) < 0)
		memcpy(info->name, "object", sizeof "object");
}

static int http_open(struct vmofs_provider **out, const char *source,
		     const struct vmofs_provider_env *env, struct vmofs_object_info *info,
		     struct vmofs_err *err)
{
	struct http *h = http_new();
	struct url u;
	int r;

	if (!h)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate an HTTP source");
	r = set_urls(h, source, &u, err);
	if (r == 0)
		r = http_options_read(env->config, &u, &h->settings, &h->limits, err);
	if (r == 0)
		r = probe_object(h, err);
	if (r == 0)
		r = make_endpoint(h, err);
	if (r == 0)
		r = make_lanes(h, env->loops, err);
	if (r < 0) {
		http_destroy(h);
		return r;
	}
	fill_info(h, &u, info);
	*out = &h->base;
	return 0;
}

/* -- the rest --------------------------------------------------------------------------------- */

static void http_on_detach(struct vmofs_provider *p UNUSED)
{
	/* Every request has been cleared, so every fetch drains or is cut already. */
}

static void http_on_close(struct vmofs_provider *p UNUSED)
{
}

static void http_stats(struct vmofs_provider *p, struct vmofs_provider_stats *out)
{
	struct http *h = container_of(p, struct http, base);

	*out = (struct vmofs_provider_stats){
		.requests = atomic_load(&h->counters.requests),
		.retries = atomic_load(&h->counters.retries),
		.bytes_fetched = atomic_load(&h->counters.bytes_fetched),
		.bytes_discarded = atomic_load(&h->counters.bytes_discarded),
		.connections = atomic_load(&h->counters.connections),
		.redirects = atomic_load(&h->counters.redirects),
		.errors = atomic_load(&h->counters.errors),
		.integrity_errors = atomic_load(&h->counters.integrity_errors),
	};
	hist_copy(&h->latency, out->latency);
	mutex_lock(&h->lock);
	out->in_flight = h->nactive;
	out->last = h->last;
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
		loop_index(f->lane->loop), f->wanted, f->cut ? " cut" : "");
}

static void http_dump(struct vmofs_provider *p, FILE *out, unsigned depth, unsigned max_items)
{
	struct http *h = container_of(p, struct http, base);
	struct vmofs_list *pos;

	mutex_lock(&h->lock);
	fprintf(out, "%*shttp '%s' size %" PRIu64 "%s%s\n", (int)depth * 2, "", h->shown,
		h->object.size, h->object.ranges ? "" : " whole",
		h->refreshing ? " refreshing" : "");
	fprintf(out, "%*sdemand %u prefetch %u delayed %u active %u\n", (int)depth * 2 + 2, "",
		count(&h->queue[VMOFS_CLASS_DEMAND]) + count(&h->incoming[VMOFS_CLASS_DEMAND]),
		count(&h->queue[VMOFS_CLASS_PREFETCH]) + count(&h->incoming[VMOFS_CLASS_PREFETCH]),
		count(&h->delayed), h->nactive);
	if (h->recent.msg[0])
		fprintf(out, "%*slast trouble: %s (status %d)\n", (int)depth * 2 + 2, "",
			h->recent.msg, h->recent.status);
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
	.open = http_open,
	.send = http_send,
	.clear = http_clear,
	.swap = http_swap,
	.on_detach = http_on_detach,
	.on_close = http_on_close,
	.stats = http_stats,
	.dump = http_dump,
	.koid = http_koid,
	.free = http_free,
};
