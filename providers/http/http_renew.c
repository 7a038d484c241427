/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking the location up again: a redirect's target may be a signed URL that has expired, a token
 * may have been renewed, or the object's owner has new credentials. One renewal of an object at a time, on
 * the pool's worker thread, since it blocks; while it runs the object's queue stands still. Whether the
 * version is still ours is left to the checks of each answer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "http/http_private.h"

/* The refusal without its body; NULL without memory. */
static struct http_refusal *why_copy(const struct http_refusal *why)
{
	struct http_refusal *copy = malloc(sizeof *copy);

	if (!copy)
		return NULL;
	*copy = *why;
	copy->body = NULL;
	copy->len = 0;
	return copy;
}

void http_renew_locked(struct http *h, const struct http_refusal *why)
{
	if (h->renewing || h->closed)
		return;
	http_get_ref(h);
	h->renewing = true;
	free(h->why);
	h->why = why_copy(why);
	if (worker_post(h->origin->worker, &h->renew_task) == 0)
		return;
	h->renewing = false;
	h->epoch++;
	http_put(h); /* not the last reference: the caller works with h */
}

/* Follows the URL's redirects again; the new end takes the place of the old one. */
static int look_up(struct http *h, char **target, bool *trusted, struct vmofs_err *err)
{
	struct http_origin *o = h->origin;
	struct http_object *found = malloc(sizeof *found);
	int r;

	if (!found)
		return vmofs_err_set(err, -ENOMEM, "out of memory");
	r = http_probe(o->settings, h->url, o->limits.probe, 2, &h->cancel, found, err);
	http_count(h, HTTP_COUNT_REQUESTS, found->requests);
	http_count(h, HTTP_COUNT_REDIRECTS, found->redirects);
	if (r == 0) {
		*target = strdup(found->url);
		*trusted = found->trusted;
		if (!*target)
			r = vmofs_err_set(err, -ENOMEM, "out of memory");
	}
	explicit_bzero(found->url, sizeof found->url);
	free(found);
	return r;
}

static int ask_owner(struct http *h, const struct http_refusal *why, struct vmofs_err *err)
{
	static const struct http_refusal nothing = { .outcome = HTTP_OUTCOME_DENIED };

	return h->location->renew ? h->location->renew(h->arg, why ? why : &nothing, err) : 0;
}

/* Whatever came of it: those who wait may try again, and fail if nothing has changed. */
static void renewed(struct http *h, int r, char *target, bool trusted) EXCLUDES(h->lock)
{
	struct http_endpoint *old = NULL;
	char *old_target = NULL;

	mutex_lock(&h->lock);
	if (r == 0) {
		old = h->ep;
		h->ep = NULL;
	}
	if (target) {
		old_target = h->target;
		h->target = target;
		h->trusted = trusted;
	}
	h->epoch++;
	h->renewing = false;
	http_wake_locked(h);
	mutex_unlock(&h->lock);
	http_endpoint_put(old);
	http_secret_free(old_target);
}

void http_renew_run(struct worker_task *t)
{
	struct http *h = container_of(t, struct http, renew_task);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct http_refusal *why;
	char *target = NULL, url[URL_MAX];
	bool trusted = false;
	int r;

	mutex_lock(&h->lock);
	why = h->why;
	h->why = NULL;
	mutex_unlock(&h->lock);
	if (h->location && h->location->endpoint)
		r = ask_owner(h, why, &err);
	else
		r = look_up(h, &target, &trusted, &err);
	free(why);
	if (r < 0)
		log_warn("cannot look up '%s' again: %s", http_shown(h, url, sizeof url), err.msg);
	renewed(h, r, target, trusted);
	http_put(h);
}
