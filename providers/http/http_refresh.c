/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking the location up again: a redirect's target may be a signed URL that has expired, and a token
 * may have been renewed. One lookup at a time, on the pool's worker thread, since it blocks; while
 * it runs the queue stands still. Whether the version is still ours is left to the checks of each answer.
 */
#include "base/log.h"
#include "base/macros.h"
#include "http/http_private.h"

void http_refresh_locked(struct http *h)
{
	if (h->refreshing || h->closed)
		return;
	http_get_ref(h);
	h->refreshing = true;
	if (worker_post(h->worker, &h->refresh_task) == 0)
		return;
	h->refreshing = false;
	h->epoch++;
	http_put(h); /* not the last reference: the caller works with h */
}

static struct http_endpoint *lookup(struct http *h)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct http_object *found = malloc(sizeof *found);
	struct http_endpoint *ep = NULL;
	int r = -1;

	if (found) {
		r = http_probe(h->settings, h->url, h->limits.probe, 2, &h->cancel, found, &err);
		atomic_fetch_add(&h->counters.requests, found->requests);
		atomic_fetch_add(&h->counters.redirects, found->redirects);
	}
	if (r == 0)
		ep = http_endpoint_new(h->settings, found->url, found->trusted,
				       http_endpoint_expect(h->ep), &err);
	if (!ep)
		log_warn("cannot look up '%s' again: %s", h->shown, err.msg);
	free(found);
	return ep;
}

void http_refresh_run(struct worker_task *t)
{
	struct http *h = container_of(t, struct http, refresh_task);
	struct http_endpoint *ep = lookup(h);
	struct http_endpoint *old = ep;

	mutex_lock(&h->lock);
	if (ep) {
		old = h->ep;
		h->ep = ep;
	}
	h->epoch++;
	h->refreshing = false;
	if (!h->closed)
		http_net_ready(h->net, &h->source);
	mutex_unlock(&h->lock);
	http_endpoint_put(old);
	http_put(h);
}
