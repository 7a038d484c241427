/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP clients: one per event loop, each with its own connections, and what they do: ranged GETs.
 * A body byte reaches its owner only after the answer's head has been checked against what was
 * asked for. No retries here: the owner of a GET decides. Everything on the loop's thread unless
 * said otherwise.
 *
 * The states of a GET stand in http_client.c.
 */
#ifndef NET_HTTP_CLIENT_H
#define NET_HTTP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/list.h>

#include "base/loop.h"
#include "net/http_reply.h"
#include "net/http_settings.h"

struct http_net;    /* the clients of all loops of a pool */
struct http_client; /* one loop's */
struct http_easy;
struct http_get;

/* How a GET ended. */
struct http_result {
	enum http_outcome outcome;
	int status;           /* 0: no answer */
	bool whole;           /* the whole object came instead of the range */
	unsigned connections; /* opened for it */
	uint64_t retry_after; /* seconds; HTTP_LENGTH_UNKNOWN: not said */
	uint64_t elapsed_ns;
	uint64_t answer_ns;     /* from the request to its answer's first byte, 0: none came */
	int64_t date;           /* Date of the answer, 0: not said */
	const char *request_id; /* "" when there is none; valid in the call */
	const char *msg;        /* why it is not OK; valid in the call */
	const char *error; /* of an answer that was refused, where asked for; valid in the call */
	size_t error_len;
};

struct http_get_ops {
	/*
	 * The head of an answer that can be believed, before its bytes; may be NULL. Other than OK: it
	 * cannot, and @msg says why.
	 */
	enum http_outcome (*head)(struct http_get *g, const struct http_reply *r, char *msg,
				  size_t cap);
	/* The next @n bytes of the range. Other than 0: wants no more, the GET is cut. */
	int (*data)(struct http_get *g, const void *buf, uint64_t n);
	/* Once for each start, unless cancelled. @g may be started again in it. */
	void (*done)(struct http_get *g, const struct http_result *result);
};

/* One ranged GET, embedded in its owner. */
struct http_get {
	const struct http_get_ops *ops;
	uint64_t off;
	uint64_t len;      /* at least 1 */
	bool whole;        /* no Range is sent: off 0, len the object's size */
	bool fresh;        /* on a new connection */
	size_t keep_error; /* so much of the body of an answer other than 2xx is kept for done() */

	/* the client's */
	struct http_easy *easy; /* NULL: not under way */
	uint64_t got;           /* body bytes given to data() */
	uint64_t start_ns;
	uint64_t head_ns;   /* when an answer began, 0: none has */
	uint64_t active_ns; /* when anything was last heard of the server */
};

/* Any thread; NULL without memory. It lives as long as the pool. */
struct http_net *http_net_of(struct loop_pool *pool);
struct http_client *http_net_client(struct http_net *n, const struct loop *l);

/*
 * Somebody with GETs to start. http_net_ready() makes pump() run soon on some loop, by preference on
 * the caller's own; once for any number of calls before it runs. It never blocks, any thread.
 */
struct http_source {
	struct vmofs_list link;
	bool ready; /* lock: the net's */
	void (*pump)(struct http_source *s, struct http_client *c);
};
void http_source_init(struct http_source *s,
		      void (*pump)(struct http_source *s, struct http_client *c));
void http_net_ready(struct http_net *n, struct http_source *s);
/* The same, but for another loop than the caller's: an idle one, else the first to end its turn, the next one at the latest. */
void http_net_share(struct http_net *n, struct http_source *s, struct loop *but);
/* Takes it off the list; a pump() under way on another loop goes on. */
void http_net_forget(struct http_net *n, struct http_source *s);

struct loop *http_client_loop(struct http_client *c);
/* -ENOMEM: not started, done() will not be called. @ep is kept until the GET has ended. */
int http_client_start(struct http_client *c, struct http_get *g, struct http_endpoint *ep);
/* Ends a GET without done(); with HTTP/1.1 its connection is closed. Not from data(). */
void http_client_cancel(struct http_client *c, struct http_get *g);
/* The same, and its connection is used for nothing new: the server has gone silent. */
void http_client_abandon(struct http_client *c, struct http_get *g);
/* Frees idle handles of @s. */
void http_client_drop(struct http_client *c, struct http_settings *s);

#endif
