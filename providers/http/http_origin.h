/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other providers build on: an origin (one server as all objects on it share it: settings,
 * connections, back-off, counters), requests to it that queue and retry, and objects on it that are made
 * without asking it.
 *
 *   s3, list, index pages --> http_origin --> http_object (one per open object)
 *                                         +-> http_ask    (listings, HEAD)
 *
 * Concurrency. The origin has a limit of requests under way ("connections"), which a server that says
 * SlowDown (503, 429) halves and success restores one by one. Objects take from it demand first, then
 * asks, then prefetch, which leaves a quarter of the slots alone. A free slot goes to the one who
 * waited longest, where asks count as if they had come 50 ms later and prefetch 2 s: nobody starves.
 */
#ifndef PROVIDERS_HTTP_ORIGIN_H
#define PROVIDERS_HTTP_ORIGIN_H

#include <vmofs/provider.h>

#include "net/http_call.h"
#include "net/http_settings.h"
#include "net/url.h"

struct http_origin;
struct http_lane;

/* Who is served first. The lower ones are not left waiting for ever: time counts too. */
enum http_rank { HTTP_RANK_DEMAND, HTTP_RANK_ASK, HTTP_RANK_PREFETCH, HTTP_NRANKS };

/* The origin's own: what waits for a slot. */
struct http_waiter {
	struct vmofs_list link; /* empty: it does not wait */
	uint64_t since_ns;
	enum http_rank rank;
	bool is_long; /* what it waits for is a large part; changes while it does not wait */
	/* A slot of @lane is its: http_slot_free() or http_slot_return() follow. Loop thread. */
	void (*start)(struct http_waiter *w, struct http_lane *lane);
};

struct http_origin_params {
	const struct vmofs_provider_env
		*env;    /* the options of the HTTP provider are read from it */
	const char *url; /* whose scheme, host and port credentials are for */
	bool anonymous;  /* user, token, netrc of the options are not for it: its owner signs */
	unsigned connections; /* where the option is not set; 0: 64, good for many small objects */
	const char *cacert;   /* where the option of this name is not set; NULL: the system's */
};

int http_origin_new(struct http_origin **out, const struct http_origin_params *p,
		    struct vmofs_err *err);
struct http_origin *http_origin_get(struct http_origin *o);
void http_origin_put(struct http_origin *o);                       /* NULL is fine */
struct http_settings *http_origin_settings(struct http_origin *o); /* borrowed */
uint64_t http_origin_timeout_ns(const struct http_origin *o);
/* Adds what all objects (also those that are gone) and asks have counted. */
void http_origin_stats(struct http_origin *o, struct vmofs_provider_stats *out);
void http_origin_dump(struct http_origin *o, FILE *out, unsigned depth);

/* How an error answer is read by somebody who knows the server's way to put it. */
struct http_refusal {
	int status;
	const char *body; /* up to 16 KiB of it, not terminated */
	size_t len;
	enum http_outcome outcome; /* by the status; may be changed */
	bool slow_down;            /* 503 and 429: true; may be changed */
	char msg[512];             /* by the status; may be changed */
	char request_id[128];
	int64_t date; /* of the server's clock, seconds since 1970; 0: not said */
};

/* ---- one request ---- */

struct http_ask;

struct http_ask_ops {
	/*
	 * Before each try, on a loop or a worker: fills in @a->call's url, headers, body (signed anew).
	 * -EAGAIN: only renew() can; else -errno, and done() follows with it.
	 */
	int (*prepare)(struct http_ask *a, struct vmofs_err *err);
	/*
	 * On a worker, may block: after -EAGAIN and, once, after DENIED. Other than 0 ends the ask
	 * with that code. NULL: there is nothing to renew.
	 */
	int (*renew)(struct http_ask *a, const struct http_refusal *why, struct vmofs_err *err);
	/* A new answer begins: forget what the last try gave. */
	void (*reset)(struct http_ask *a);
	void (*header)(struct http_ask *a, const char *name, const char *value, size_t n);
	/* Of 2xx only. Other than 0: it is nonsense, tried once more, then -EBADMSG. */
	int (*data)(struct http_ask *a, const void *buf, size_t n);
	/* Whether a complete 2xx body makes sense; NULL: it does. Same meaning. */
	int (*finish)(struct http_ask *a);
	/*
	 * An answer other than 2xx; may be NULL. A refusal turned into RETRY that was none by its
	 * status is tried again at once the first time, and prepared anew.
	 */
	void (*refused)(struct http_ask *a, struct http_refusal *why);
	/*
	 * @code 0, -EACCES, -ENOENT (404, 410), -EIO, -ETIMEDOUT, -EBADMSG, -ESHUTDOWN, ...; @why is
	 * the last refusal (status 0: no answer), never NULL. On a loop; @a may be freed in it.
	 */
	void (*done)(struct http_ask *a, int code, const struct http_refusal *why);
};

struct http_ask {
	const struct http_ask_ops *ops;
	enum vmofs_request_class cls;
	uint64_t deadline_ns; /* 0: the origin's timeout from now */
	struct http_call
		call; /* method, max_body, stall_ns, trusted: the owner's at start; the rest by prepare() */
	/*
	 * It may change what is there: after a try that the server may have acted upon (no answer, 5xx other than
	 * 503) it is not sent again, and done() tells how that try ended.
	 */
	bool once;
	unsigned requests; /* sent so far */

	/* the origin's */
	struct http_origin *origin;
	struct http_waiter waiter;
	struct http_ask_state *state;
};

/* Any thread; never blocks; done() follows, on a loop, as long as the loops run. */
void http_origin_ask(struct http_origin *o, struct http_ask *a);
/* Asks under way end with -ESHUTDOWN soon, later ones too. Objects end when they are freed. */
void http_origin_stop(struct http_origin *o);
/*
 * The same request, but for a thread that may block (set-up): done() has been called when it
 * returns. Works before loops run and after a stop.
 */
void http_origin_ask_wait(struct http_origin *o, struct http_ask *a, const atomic_bool *cancel);

/* ---- objects ---- */

/* How requests for one object are made; @arg is the spec's. Every member may be NULL. */
struct http_location_ops {
	/*
	 * An endpoint that expects @expect, good until *valid_until_ns (0: for ever). Any thread,
	 * without blocking. -EAGAIN: only renew() can. NULL: the spec's URL, with the settings'
	 * credentials where the origin is the same, redirects found by a probe.
	 */
	int (*endpoint)(void *arg, const struct http_expect *expect, struct http_endpoint **out,
			uint64_t *valid_until_ns, struct vmofs_err *err);
	/* On a worker, may block: after -EAGAIN, DENIED, GONE, MOVED. */
	int (*renew)(void *arg, const struct http_refusal *why, struct vmofs_err *err);
	/* The head of each good answer, before its bytes (version id, checksums). Loop thread. */
	void (*answered)(void *arg, const struct http_reply *r);
	/*
	 * As of an ask; where it changes the outcome the endpoint is made anew. Not called for a
	 * refusal that comes after a renewal has replaced its endpoint: that is tried again, once.
	 */
	void (*refused)(void *arg, struct http_refusal *why);
	/*
	 * Whole-object digests: bytes at @off, which may come again, before they are supplied to @vmo, never two calls
	 * at once. Not 0: they are not, what waits for them fails with -EBADMSG, and @vmo is distrusted
	 * (vmofs_distrust()).
	 */
	int (*check)(void *arg, struct vmo *vmo, uint64_t off, const void *buf, uint64_t n);
	void (*free)(void *arg);
};

struct http_object_spec {
	const char *url; /* the object's; without secrets where `location` makes the endpoints */
	uint64_t size;
	const char *etag;          /* "" where not known: the first answer's is adopted, */
	const char *last_modified; /* and all that follow must have the same */
	const struct http_location_ops *location;
	void *arg; /* owned by the object from a success on */
};

/* Sets etag and last_modified from an entry's validator, which may be a date or "". Borrowed. */
void http_object_spec_validator(struct http_object_spec *spec, const char *validator);

/*
 * Sets url and identity of the object at @u. What requests of @o say of who asks is part of the identity where the server
 * is told. -ENAMETOOLONG; -ENOMEM, -EIO: no memory.
 */
int http_object_where(struct http_origin *o, const struct url *u, struct vmofs_object_info *info);

/*
 * Asks nobody, never blocks. The provider keeps a reference to @o. Its free() does not block either, on
 * whatever thread: transfers under way are cut by their loops, later.
 */
int http_object_new(struct vmofs_provider **out, struct http_origin *o,
		    const struct http_object_spec *spec, struct vmofs_err *err);

#endif
