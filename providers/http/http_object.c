/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One object of an origin: its life, the endpoint its requests go to, and the version that it is of. Made
 * without asking anybody: what is not known of the version is learned from the first good answer, and
 * until then there is one GET at a time. Any thread; nothing here blocks.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"
#include "http/http_private.h"

/* -- life ------------------------------------------------------------------------------------- */

void http_secret_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

static void object_destroy(struct http *h)
{
	if (h->location && h->location->free)
		h->location->free(h->arg);
	http_endpoint_put(h->ep);
	http_secret_free(h->target);
	free(h->learned);
	free(h->why);
	free(h->trouble);
	explicit_bzero(h->url, strlen(h->url));
	mutex_destroy(&h->lock);
	mutex_destroy(&h->check_lock);
	http_origin_put(h->origin);
	free(h);
}

void http_get_ref(struct http *h)
{
	atomic_fetch_add(&h->refs, 1);
}

void http_put(struct http *h)
{
	if (atomic_fetch_sub(&h->refs, 1) == 1)
		object_destroy(h);
}

/* Off every list of the origin; how many references they had. */
static unsigned leave_lists(struct http *h) EXCLUDES(h->origin->lock)
{
	struct http_origin *o = h->origin;
	unsigned n = 0;

	mutex_lock(&o->lock);
	vmofs_list_del(&h->busy);
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++) {
		n += !vmofs_list_empty(&h->waiter[cls].link);
		vmofs_list_del(&h->waiter[cls].link);
	}
	mutex_unlock(&o->lock);
	return n;
}

/* What is under way is cut by its loops, and the last of it frees. */
void http_free(struct vmofs_provider *p)
{
	struct http *h = container_of(p, struct http, base);
	unsigned refs;

	atomic_store(&h->cancel, true);
	mutex_lock(&h->lock);
	h->closed = true;
	mutex_unlock(&h->lock);
	refs = leave_lists(h);
	http_fetch_cut_all(h);
	while (refs-- > 0)
		http_put(h);
	http_put(h);
}

static char *copy_text(char **at, const char *text)
{
	char *to = *at;
	size_t n = strlen(text) + 1;

	memcpy(to, text, n);
	*at += n;
	return to;
}

static void init_lists(struct http *h)
{
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++) {
		vmofs_list_init(&h->incoming[cls]);
		vmofs_list_init(&h->queue[cls]);
		vmofs_list_init(&h->waiter[cls].link);
		h->waiter[cls].start = http_start;
	}
	h->waiter[VMOFS_CLASS_DEMAND].rank = HTTP_RANK_DEMAND;
	h->waiter[VMOFS_CLASS_PREFETCH].rank = HTTP_RANK_PREFETCH;
	vmofs_list_init(&h->delayed);
	vmofs_list_init(&h->fetches);
	vmofs_list_init(&h->busy);
	vmofs_list_init(&h->renew_task.link);
}

struct http *http_object_alloc(struct http_origin *o, const struct http_object_spec *spec)
{
	size_t n = strlen(spec->url) + strlen(spec->etag) + strlen(spec->last_modified) + 3;
	struct http *h = calloc(1, sizeof *h + n);
	char *at;

	if (!h)
		return NULL;
	at = h->text;
	h->base.ops = &provider_http;
	h->refs = 1;
	h->ranges = true;
	h->origin = http_origin_get(o);
	h->size = spec->size;
	h->url = copy_text(&at, spec->url);
	h->etag = copy_text(&at, spec->etag);
	h->last_modified = copy_text(&at, spec->last_modified);
	h->adopted = h->etag[0] || h->last_modified[0];
	h->next_due_ns = UINT64_MAX;
	h->renew_task.run = http_renew_run;
	mutex_init(&h->check_lock, LOCK_RANK_WRAPPER);
	mutex_init(&h->lock, LOCK_RANK_PROVIDER);
	init_lists(h);
	return h;
}

static bool same_origin(const char *a, const char *b)
{
	struct url ua, ub;

	return url_parse(a, strlen(a), &ua) == 0 && url_parse(b, strlen(b), &ub) == 0 &&
		url_same_origin(&ua, &ub);
}

void http_object_spec_validator(struct http_object_spec *spec, const char *validator)
{
	bool dated = validator[0] && validator[0] != '"' && strncmp(validator, "W/", 2) != 0;

	spec->etag = dated ? "" : validator;
	spec->last_modified = dated ? validator : "";
}

static bool is_origins(const struct http_origin *o, const struct url *u)
{
	struct url own;

	return url_parse(o->url, strlen(o->url), &own) == 0 && url_same_origin(&own, u);
}

/* With the final zero, after which nobody asks, or somebody. */
static int digest_where(char text[URL_MAX + SHA256_LEN], const uint8_t *asker,
			struct vmofs_object_info *info)
{
	size_t n = strlen(text) + 1;

	if (asker)
		memcpy(text + n, asker, SHA256_LEN);
	info->has_identity = true;
	return digest_sha256(text, asker ? n + SHA256_LEN : n, info->identity);
}

int http_object_where(struct http_origin *o, const struct url *u, struct vmofs_object_info *info)
{
	char text[URL_MAX + SHA256_LEN];
	uint8_t asker[SHA256_LEN];
	bool shown = false;
	int told = 0;
	int r = url_redact(u, info->url, sizeof info->url);

	if (r == 0)
		r = url_identity(u, text, URL_MAX, &shown);
	if (r == 0 && is_origins(o, u))
		told = http_settings_asker(o->settings, asker);
	if (r == 0)
		r = MIN(told, 0);
	if (r == 0 && (told || !shown))
		r = digest_where(text, told ? asker : NULL, info);
	explicit_bzero(text, sizeof text);
	return r;
}

int http_object_new(struct vmofs_provider **out, struct http_origin *o,
		    const struct http_object_spec *spec, struct vmofs_err *err)
{
	struct http *h;
	struct url u;

	if (url_parse(spec->url, strlen(spec->url), &u) < 0)
		return vmofs_err_set(err, -EINVAL, "an object's URL is not a valid http URL");
	h = http_object_alloc(o, spec);
	if (!h)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate an HTTP object");
	h->trusted = same_origin(spec->url, o->url);
	h->location = spec->location;
	h->arg = spec->arg;
	*out = &h->base;
	return 0;
}

/* -- the endpoint ----------------------------------------------------------------------------- */

static struct http_endpoint *make_own(struct http *h, const struct http_expect *expect,
				      struct vmofs_err *err) EXCLUDES(h->lock)
{
	cleanup(mem_freep) char *target = NULL;
	struct http_endpoint *ep;
	bool trusted;

	mutex_lock(&h->lock);
	trusted = h->trusted;
	target = h->target ? strdup(h->target) : NULL;
	mutex_unlock(&h->lock);
	ep = http_endpoint_new(h->origin->settings, target ? target : h->url, trusted, expect, err);
	if (target)
		explicit_bzero(target, strlen(target));
	return ep;
}

static int make_endpoint(struct http *h, struct http_endpoint **ep, uint64_t *until_ns,
			 struct vmofs_err *err) EXCLUDES(h->lock)
{
	/* Whether they are known is settled before there is a second GET. */
	struct http_expect expect = {
		.size = h->size,
		.etag = h->etag,
		.last_modified = h->last_modified,
		.whole_limit = h->origin->limits.whole_limit,
	};

	*until_ns = 0;
	if (h->location && h->location->endpoint)
		return h->location->endpoint(h->arg, &expect, ep, until_ns, err);
	*ep = make_own(h, &expect, err);
	return *ep ? 0 : err->code;
}

int http_endpoint_for(struct http_fetch *f, struct vmofs_err *err)
{
	struct http_endpoint *ep = NULL, *old = NULL;
	struct http *h = f->h;
	uint64_t until_ns;
	int r;

	if (f->ep)
		return 0;
	r = make_endpoint(h, &ep, &until_ns, err);
	if (r < 0)
		return r;
	f->ep = http_endpoint_get(ep);
	mutex_lock(&h->lock);
	if (f->epoch == h->epoch && !h->closed) {
		old = h->ep;
		h->ep = steal_ptr(&ep);
		h->ep_until_ns = until_ns;
	}
	mutex_unlock(&h->lock);
	http_endpoint_put(old);
	http_endpoint_put(ep);
	return 0;
}

/* -- the version ------------------------------------------------------------------------------ */

/* Whether the answer tells the size, and the one that was expected; another is told apart before. */
static enum http_outcome check_first(const struct http *h, const struct http_reply *r, char *msg,
				     size_t cap)
{
	uint64_t total = r->status == 206 ? r->range.total : r->length;

	if (total == h->size)
		return HTTP_OUTCOME_OK;
	if (total == HTTP_LENGTH_UNKNOWN) {
		snprintf(msg, cap, "the answer does not tell the object's size");
		return HTTP_OUTCOME_INTEGRITY;
	}
	snprintf(msg, cap, "the object has changed: %" PRIu64 " bytes, was %" PRIu64, total,
		 h->size);
	return HTTP_OUTCOME_CHANGED;
}

/* Requests that follow are made with it; @old is the endpoint without. */
static bool learn_locked(struct http *h, const struct http_reply *r, struct http_endpoint **old)
	REQUIRES(h->lock)
{
	size_t n = strlen(r->etag) + strlen(r->last_modified) + 2;
	char *at;

	h->learned = malloc(n);
	if (!h->learned)
		return false;
	at = h->learned;
	h->etag = copy_text(&at, r->etag);
	h->last_modified = copy_text(&at, r->last_modified);
	h->adopted = true;
	*old = h->ep;
	h->ep = NULL;
	return true;
}

enum http_outcome http_adopt(struct http *h, const struct http_reply *r, char *msg, size_t cap)
{
	struct http_endpoint *old = NULL;
	enum http_outcome o;
	bool learned;

	o = check_first(h, r, msg, cap);
	if (o != HTTP_OUTCOME_OK)
		return o;
	mutex_lock(&h->lock);
	learned = learn_locked(h, r, &old);
	if (learned)
		http_wake_locked(h);
	mutex_unlock(&h->lock);
	http_endpoint_put(old);
	if (learned)
		return HTTP_OUTCOME_OK;
	snprintf(msg, cap, "out of memory");
	return HTTP_OUTCOME_RETRY;
}

/* -- looking ---------------------------------------------------------------------------------- */

void http_count(struct http *h, enum http_counter what, uint64_t n)
{
	atomic_fetch_add_explicit(&h->counters.v[what], n, memory_order_relaxed);
	http_count_origin(h->origin, what, n);
}

void http_pace(struct vmofs_provider *p, struct vmofs_pace *out)
{
	const struct http *h = container_of(p, struct http, base);
	struct http_pace *pace = &h->origin->pace;

	out->delay_ns = atomic_load_explicit(&pace->delay_ns, memory_order_relaxed);
	out->bytes_per_sec = atomic_load_explicit(&pace->rate, memory_order_relaxed);
	out->part_bytes = http_part_size(h->origin);
}

int http_version(struct vmofs_provider *p, char *out, size_t cap)
{
	struct http *h = container_of(p, struct http, base);
	int r = -EAGAIN;

	mutex_lock(&h->lock);
	if (h->adopted)
		r = h->etag[0] == '"' && strlen(h->etag) < cap ? 0 : -ENODATA;
	if (r == 0)
		strcpy(out, h->etag);
	mutex_unlock(&h->lock);
	return r;
}

const char *http_shown(const struct http *h, char *buf, size_t cap)
{
	struct url u;

	if (url_parse(h->url, strlen(h->url), &u) < 0 || url_redact(&u, buf, cap) < 0)
		snprintf(buf, cap, "an object");
	return buf;
}

struct http_trouble *http_trouble_locked(struct http *h)
{
	if (!h->trouble)
		h->trouble = calloc(1, sizeof *h->trouble);
	return h->trouble;
}
