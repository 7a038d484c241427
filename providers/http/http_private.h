/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the HTTP provider.
 *
 *   request (the core's) --> pieces --> fetch (one GET on one loop)
 *
 * A request becomes one piece; a piece is split when a fetch takes only its front, and goes back
 * to the queue when its fetch fails. A fetch carries adjacent pieces of one class in order. Each loop
 * has a lane: the fetches it runs, touched by its thread alone.
 *
 * h->lock guards pieces, queues and the books; it is taken in send, clear and swap, and nothing is
 * called with it held but http_net_ready() and loop_post().
 */
#ifndef PROVIDERS_HTTP_PRIVATE_H
#define PROVIDERS_HTTP_PRIVATE_H

#include <stdatomic.h>
#include <vmofs/provider.h>

#include "base/hist.h"
#include "base/loop.h"
#include "base/sync.h"
#include "base/worker.h"
#include "net/http_client.h"
#include "net/http_probe.h"

struct http;
struct http_fetch;

/* A contiguous part of one request that waits, or is carried by one fetch. */
struct http_piece {
	struct vmofs_list link;       /* in a queue, in h->delayed, or in its fetch */
	struct http_piece *sibling;   /* the next piece of the same request */
	struct vmofs_request *req;    /* NULL: nobody wants it any more */
	struct http_fetch *fetch;     /* NULL: it waits */
	enum vmofs_request_class cls; /* the request's own may change under us until swap() */
	uint64_t off;
	uint64_t end;
	uint64_t deadline_ns;
	uint64_t not_before_ns; /* in h->delayed */
	unsigned attempts;
	unsigned integrity; /* answers that were not believed */
	unsigned refreshed; /* times the location was looked up again for it */
	int last_code;      /* of the last failure, 0: none so far */
};

/* One GET with the pieces it serves. */
struct http_fetch {
	struct http_get get;
	struct vmofs_list link;  /* lock: h->lock; h->fetches */
	struct vmofs_list spare; /* loop thread; lane->spares, or a list of starts */
	struct http *h;          /* borrowed */
	struct http_lane *lane;
	struct vmo *vmo;          /* counted */
	struct http_endpoint *ep; /* counted, from preparation to start */
	enum vmofs_request_class cls;
	unsigned epoch;           /* of h->ep when it was prepared */
	struct vmofs_list pieces; /* lock: h->lock */
	unsigned wanted;          /* lock: h->lock; pieces that have a request */
	bool cut;                 /* lock: h->lock; nobody wants the rest */
	_Atomic uint64_t pos;     /* everything before it has been supplied */
	int supply_error;         /* loop thread */
	unsigned staged;          /* loop thread; bytes of an incomplete page */
	uint8_t stage[VMOFS_PAGE_SIZE];
};

/* What one loop has of this object. */
struct http_lane {
	struct http *h; /* borrowed; counted while close_task is posted */
	struct http_client *client;
	struct loop *loop;
	struct loop_timer timer;  /* loop thread: retries, deadlines, stalls */
	struct vmofs_list spares; /* loop thread */
	unsigned nspares;
	unsigned nactive; /* lock: h->lock */
	bool cut_posted;  /* lock: h->lock */
	struct loop_task cut_task;
	struct loop_task close_task;
};

struct http_counters {
	_Atomic uint64_t requests;
	_Atomic uint64_t retries;
	_Atomic uint64_t bytes_fetched;
	_Atomic uint64_t bytes_discarded;
	_Atomic uint64_t connections;
	_Atomic uint64_t redirects;
	_Atomic uint64_t errors;
	_Atomic uint64_t integrity_errors;
};

struct http_limits {
	uint64_t part_size;
	uint64_t connections;
	uint64_t timeout_ns;
	uint64_t whole_limit;
	uint64_t retry_base_ns;
	enum http_probe_method probe;
};

struct http {
	struct vmofs_provider base; /* first */
	atomic_uint refs;
	/* fixed at open */
	struct http_net *net;
	struct loop_pool *loops;
	struct worker *worker; /* the pool's */
	struct http_settings *settings;
	struct http_limits limits;
	char *url;                 /* the source, with what secrets its query has */
	char *shown;               /* the same for people */
	struct http_object object; /* size, validator and ranges: of the version that is pinned */
	unsigned nlanes;
	unsigned lane_limit;
	struct http_lane *lanes;

	struct http_counters counters;
	struct hist latency;
	struct http_source source;
	struct worker_task refresh_task;
	atomic_bool cancel; /* a refresh under way is to end */

	struct mutex lock;
	/* lock: lock, all below */
	struct http_endpoint *ep;
	unsigned epoch; /* of ep */
	bool refreshing;
	bool closed;
	struct vmofs_list
		incoming[VMOFS_NCLASSES];        /* struct vmofs_request, not yet cut to pieces */
	struct vmofs_list queue[VMOFS_NCLASSES]; /* struct http_piece */
	struct vmofs_list delayed;               /* struct http_piece */
	struct vmofs_list fetches;
	unsigned nactive;
	uint64_t pause_until_ns;
	uint64_t next_due_ns; /* no retry and no deadline is earlier; UINT64_MAX: there is none */
	struct vmofs_failure recent; /* of a GET; it may yet be made good by a retry */
	struct vmofs_failure last;   /* of a request */
	uint64_t quiet_until_ns;     /* no failure is logged before */
};

/* A range to be failed once the lock is not held. */
struct http_fail {
	struct vmo *vmo; /* counted */
	uint64_t off;
	uint64_t len;
	int code;
};

#define HTTP_FAILS 16
struct http_fails {
	unsigned n;
	struct http_fail v[HTTP_FAILS];
};

/* http_options.c */
extern const struct vmofs_option http_options[];
int http_options_read(const struct vmofs_config *config, const struct url *source,
		      struct http_settings **settings, struct http_limits *limits,
		      struct vmofs_err *err);

/* http_queue.c: pieces and queues */
void http_send(struct vmofs_provider *p, struct vmofs_request *req);
void http_clear(struct vmofs_provider *p, struct vmofs_request *req);
void http_swap(struct vmofs_provider *p, struct vmofs_request *old, struct vmofs_request *now);
void http_absorb_locked(struct http *h, uint64_t now_ns) REQUIRES(h->lock);
struct http_piece *http_take_locked(struct http *h, enum vmofs_request_class cls, uint64_t max)
	REQUIRES(h->lock);
struct http_piece *http_take_next_locked(struct http *h, const struct http_piece *prev,
					 enum vmofs_request_class cls, uint64_t max)
	REQUIRES(h->lock);
void http_piece_free_locked(struct http *h, struct http_piece *p) REQUIRES(h->lock);
void http_piece_requeue_locked(struct http *h, struct http_piece *p) REQUIRES(h->lock);
void http_piece_delay_locked(struct http *h, struct http_piece *p, uint64_t until_ns)
	REQUIRES(h->lock);
bool http_idle_locked(const struct http *h) REQUIRES(h->lock);
/* Moves what is due from delayed to the queues and takes out what is past its deadline. */
void http_sweep_locked(struct http *h, uint64_t now_ns, struct http_fails *fails) REQUIRES(h->lock);
void http_due_locked(struct http *h, uint64_t due_ns) REQUIRES(h->lock);
/* Remembers to fail @p with @code and frees it. */
void http_piece_fail_locked(struct http *h, struct http_piece *p, int code,
			    struct http_fails *fails) REQUIRES(h->lock);
/* Answers what was remembered. */
void http_fail_all(struct http *h, struct http_fails *fails) EXCLUDES(h->lock);

/* http_fetch.c: running GETs */
void http_pump(struct http_source *s, struct http_client *c);
void http_fetch_unwanted_locked(struct http *h, struct http_fetch *f) REQUIRES(h->lock);
void http_lane_init(struct http_lane *lane, struct http *h, struct loop *l);

/* http_refresh.c: looking the location up again */
void http_refresh_locked(struct http *h) REQUIRES(h->lock);
void http_refresh_run(struct worker_task *t);

/* http.c */
void http_get_ref(struct http *h);
void http_put(struct http *h);

#endif
