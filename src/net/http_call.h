/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of any kind with an answer of bounded size: listings, metadata, tokens. On a loop it shares
 * the client's connections with the ranged GETs; http_call_wait() is for threads that may block. No
 * retries and no redirects here: the owner decides (providers/http/http_origin.h does both queueing
 * and retries for those that want it).
 */
#ifndef NET_HTTP_CALL_H
#define NET_HTTP_CALL_H

#include <stdatomic.h>
#include <vmofs/err.h>

#include "net/http_client.h"

struct http_call;

struct http_call_ops {
	/* A header of the answer, name in lower case; may be NULL. A new status line begins anew. */
	void (*header)(struct http_call *c, const char *name, const char *value, size_t n);
	/* The next bytes of the body, of whatever status. Other than 0: wants no more. */
	int (*data)(struct http_call *c, const void *buf, size_t n);
	/*
	 * Once for each start, unless cancelled; @c->reply is the answer's head. The outcome is OK
	 * for any 2xx with its whole body, else http_status_outcome() of the status; CUT when data()
	 * wanted no more. @c may be started again, or freed, in it.
	 */
	void (*done)(struct http_call *c, const struct http_result *result);
};

/* Embedded in its owner, who keeps what it points to until done(). */
struct http_call {
	const struct http_call_ops *ops;
	const char *method;         /* "GET", "HEAD", "PUT", "POST", "DELETE" */
	const char *url;            /* absolute */
	const char *const *headers; /* "Name: value" */
	unsigned nheaders;
	const void *body; /* NULL: none, or read() gives it */
	uint64_t body_len;
	/*
	 * The next bytes of the body that goes out, at most @n, in place of one in memory; only where http_call_wait() sends
	 * it, for it may block. NULL: `body`. -errno: the request ends with CUT, and what the server has of it is incomplete.
	 */
	int64_t (*read)(struct http_call *c, void *buf, size_t n);
	size_t max_body;         /* a longer answer is HTTP_OUTCOME_INTEGRITY */
	bool trusted;            /* the settings' credentials and headers go out too */
	uint64_t timeout_ns;     /* for all of it; 0: the stall timeout alone */
	uint64_t stall_ns;       /* longest silence, in both directions; 0: the settings' */
	struct http_reply reply; /* of the last answer */

	/* the client's */
	void *easy; /* NULL: not under way */
	struct loop_timer timer;
	uint64_t got;  /* body bytes given to data() */
	uint64_t sent; /* body bytes that have gone out */
	uint64_t start_ns;
	uint64_t active_ns;
};

/* Loop thread of @client. -ENOMEM, or a token that cannot be read: not started, no done(). */
int http_call_start(struct http_client *client, struct http_call *c, struct http_settings *s);
/* Ends it without done(). Loop thread; not from data() or header(). */
void http_call_cancel(struct http_client *client, struct http_call *c);

/*
 * Blocks, for set-up and worker threads: done() is called before it returns. -ECANCELED once @cancel
 * (may be NULL) is set, -ENOMEM; else 0, and what became of it was told to done().
 */
int http_call_wait(struct http_call *c, struct http_settings *s, const atomic_bool *cancel);

#endif
