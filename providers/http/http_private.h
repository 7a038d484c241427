/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the HTTP engine.
 *
 *   request (the core's) --> pieces --> fetch (one GET on one loop)
 *   ask (a listing, HEAD, ...) ----------> call (one on one loop)
 *
 * A request becomes one piece; a piece is split when a fetch takes only its front, and goes back
 * to the queue when its fetch fails. A fetch carries pieces of one class in order: adjacent
 * ones, and such with a small gap between them.
 *
 * A fetch that falls far behind gets a twin: a second fetch for its rest, on the same loop (http_watch.c). The pieces
 * are the first one's until it fails; whoever brings everything first makes the other unwanted.
 *
 * Long fetches share a number of slots that is found by trying (http_climb.c), so a waiter says whether it is for one.
 *
 * An origin has slots, as many as requests may be under way, and lists of those who wait for one:
 * objects with pieces, and asks. Each loop has a lane of it: the fetches and asks that it runs, touched
 * by its thread alone. An object has nothing on a loop but its fetches.
 *
 * h->lock guards an object's pieces and queues; it is taken in send, clear and swap. o->lock guards slots
 * and waiting lists and is taken within it. Nothing is called with them held but http_net_ready()
 * and loop_post().
 */
#ifndef PROVIDERS_HTTP_PRIVATE_H
#define PROVIDERS_HTTP_PRIVATE_H

#include <stdatomic.h>
#include <vmofs/provider.h>

#include "base/hist.h"
#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "base/worker.h"
#include "http/http_climb.h"
#include "http/http_hedge.h"
#include "http/http_origin.h"
#include "http/http_pace.h"
#include "net/http_client.h"
#include "net/http_probe.h"

#define HTTP_ERROR_BODY 16384 /* so much of a refusal is kept for who can read it */

#define HTTP_LONG  KIB(256) /* a request that has to do with rates and parts */
#define HTTP_RATES 8        /* of requests that have ended, for who is compared with them */

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
	bool renewed;       /* the location was looked up again for it after a refusal */
	bool signed_anew;   /* the same because there was nothing to send a request with */
	bool anew;          /* its last connection may be dead: the next one is new */
	bool outdated;      /* tried again because its endpoint had been replaced meanwhile */
	int last_code;      /* of the last failure, 0: none so far */
};

/* One GET with the pieces it serves. */
struct http_fetch {
	struct http_get get;
	struct vmofs_list link;      /* lock: h->lock; h->fetches */
	struct vmofs_list lane_link; /* loop thread; lane->active or lane->spares */
	struct http *h;              /* counted while under way */
	struct http_lane *lane;
	struct vmo *vmo;          /* counted */
	struct http_endpoint *ep; /* counted, until the start; NULL: it is still to be made */
	enum vmofs_request_class cls;
	unsigned epoch;           /* of h->ep when it was prepared */
	struct vmofs_list pieces; /* lock: h->lock */
	unsigned wanted;          /* lock: h->lock; pieces that have a request */
	atomic_bool cut;          /* nobody wants the rest */
	_Atomic uint64_t pos;     /* everything before it has been supplied */
	int supply_error;         /* loop thread */
	bool untrue;  /* loop thread; the object's digest says that something of it is wrong */
	bool alone;   /* loop thread; nothing else was under way at its start */
	bool is_long; /* loop thread; it counts among those whose number is tried out */
	bool flow;    /* loop thread; its answer is a long one that has begun */
	bool second;  /* loop thread; the hedge of its twin, without pieces */
	bool silent;  /* loop thread; its connection may be dead */
	/* Brings the same bytes; written on the loop thread with h->lock held. NULL: none does. */
	struct http_fetch *twin;
	unsigned n_seconds;      /* loop thread; second requests for it so far */
	uint64_t second_ns;      /* loop thread; when the last one was made */
	struct http_gauge gauge; /* loop thread */
	unsigned staged;         /* loop thread; bytes of an incomplete page */
	uint8_t stage[VMOFS_PAGE_SIZE];
};

/* What one loop has of an origin. */
struct http_lane {
	struct http_origin *o; /* borrowed; counted while cut_task is posted */
	struct http_client *client;
	struct loop *loop;
	struct loop_timer timer;  /* loop thread: retries, deadlines, stalls */
	struct vmofs_list active; /* loop thread; struct http_fetch */
	struct vmofs_list asks;   /* loop thread; struct http_ask */
	struct vmofs_list spares; /* loop thread; struct http_fetch */
	unsigned nspares;         /* loop thread */
	uint64_t watch_ns;        /* loop thread; when it is next looked for who falls behind */
	uint64_t rates
		[HTTP_RATES]; /* loop thread; of the long fetches that ended last, bytes per second */
	unsigned nrates;      /* loop thread; so many have been written */
	_Atomic uint64_t heard_ns; /* when a fetch that has ended well was last heard of */
	unsigned nactive;          /* lock: o->lock; slots */
	bool cut_posted;           /* lock: o->lock */
	struct loop_task cut_task; /* ends what is cut, or stopped */
	struct loop_task close_task;
};

enum http_counter {
	HTTP_COUNT_REQUESTS,
	HTTP_COUNT_RETRIES,
	HTTP_COUNT_FETCHED,
	HTTP_COUNT_DISCARDED,
	HTTP_COUNT_CONNECTIONS,
	HTTP_COUNT_REDIRECTS,
	HTTP_COUNT_ERRORS,
	HTTP_COUNT_INTEGRITY,
	HTTP_COUNT_HEDGES,
	HTTP_COUNT_HEDGES_WON,
	HTTP_COUNT_HEDGED,
	HTTP_NCOUNTERS
};

struct http_counters {
	_Atomic uint64_t v[HTTP_NCOUNTERS];
};

struct http_limits {
	uint64_t part_size;
	uint64_t connections;
	uint64_t timeout_ns;
	uint64_t whole_limit;
	uint64_t retry_base_ns;
	unsigned hedge_percent;
	enum http_probe_method probe;
};

struct http_origin {
	atomic_uint refs;
	/* fixed at creation */
	struct http_net *net;
	struct loop_pool *loops;
	struct worker *worker; /* the pool's */
	struct http_settings *settings;
	struct http_limits limits;
	char *url; /* without user information and query */
	unsigned nlanes;
	unsigned lane_limit;
	struct http_lane *lanes;
	atomic_uint lanes_open; /* while it is being closed */

	struct http_counters counters;
	struct hist latency;
	struct http_source source;
	atomic_uint nactive; /* slots taken; written with the lock held */
	atomic_uint parts; /* of which a transfer is to consist at a time; 0: none has been made */
	struct http_pace pace; /* lock: lock, but what it shows */

	struct mutex lock;
	/* lock: lock, all below */
	struct vmofs_list waiting[HTTP_NRANKS][2]; /* struct http_waiter; by its is_long */
	struct http_climb climb;
	unsigned nlong;            /* slots with long requests */
	struct vmofs_list delayed; /* struct http_ask */
	struct vmofs_list ended;   /* struct http_ask; done() is to be called */
	struct vmofs_list busy;    /* struct http with pieces */
	unsigned limit;            /* of slots; at most limits.connections */
	uint64_t hedged;           /* bytes of second requests; all of those under way */
	unsigned good;             /* answers since the limit was changed */
	uint64_t lowered_ns;       /* when the limit was halved */
	uint64_t pause_until_ns;
	uint64_t due_ns; /* no retry and no deadline is earlier; UINT64_MAX: there is none */
	uint64_t quiet_until_ns; /* no failure is logged before */
	bool stopped;            /* asks end */
	struct vmofs_failure last;
};

/* What went wrong with an object; most never need one. */
struct http_trouble {
	struct vmofs_failure recent; /* of a GET; it may yet be made good by a retry */
	struct vmofs_failure last;   /* of a request */
};

struct http {
	struct vmofs_provider base; /* first */
	atomic_uint refs;
	/* fixed at creation */
	struct http_origin *origin;               /* counted */
	const struct http_location_ops *location; /* may be NULL */
	void *arg;                                /* the location's; owned */
	uint64_t size;
	char *url; /* with what secrets its query has; in text */

	struct http_counters counters;
	struct worker_task renew_task;
	atomic_bool cancel;      /* a renewal under way is to end */
	struct mutex check_lock; /* around location->check() */

	struct mutex lock;
	/* lock: lock, all below */
	bool ranges;       /* false: the server gives the whole object only */
	bool ranges_known; /* else the first answers tell */
	bool renewing;
	bool closed;
	bool adopted;                 /* the validators are known */
	bool trusted;                 /* of target */
	unsigned epoch;               /* of ep */
	unsigned nactive;             /* fetches */
	char *target;                 /* owned; where redirects of url end, NULL: there are none */
	const char *etag;             /* in text or in learned */
	const char *last_modified;    /* the same */
	char *learned;                /* owned */
	struct http_endpoint *ep;     /* counted; NULL: to be made */
	uint64_t ep_until_ns;         /* 0: for ever */
	struct http_refusal *why;     /* owned; what a renewal is for */
	struct http_trouble *trouble; /* owned, may be NULL */
	struct vmofs_list
		incoming[VMOFS_NCLASSES];        /* struct vmofs_request, not yet cut to pieces */
	struct vmofs_list queue[VMOFS_NCLASSES]; /* struct http_piece */
	struct vmofs_list delayed;               /* struct http_piece */
	struct vmofs_list fetches;
	uint64_t next_due_ns; /* not yet told to the origin; UINT64_MAX: none */

	struct http_waiter waiter[VMOFS_NCLASSES]; /* hold a reference while they wait */
	struct vmofs_list busy;                    /* lock: origin->lock */
	char text[];                               /* url, etag, last_modified */
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
int http_options_read(const struct http_origin_params *p, const struct url *source,
		      struct http_settings **settings, struct http_limits *limits,
		      struct vmofs_err *err);

/* http_rules.c: what follows from an outcome */
enum http_action {
	HTTP_LATER, /* again, after a pause, until the deadline */
	HTTP_ONCE,  /* again at once, but only once */
	HTTP_RENEW, /* again after a renewal, once */
	HTTP_FAIL,
};
struct http_rule {
	enum http_action action;
	int code;     /* of a read in the end */
	int ask_code; /* of an ask */
};
const struct http_rule *http_rule_of(enum http_outcome o);
/* Exponential with jitter, or what the server asks for; a last try is left before the deadline. */
uint64_t http_retry_time(const struct http_limits *l, unsigned attempts, uint64_t deadline_ns,
			 uint64_t retry_after, uint64_t now_ns);
/* When what will not be tried again in time is tried once more. */
uint64_t http_last_try(uint64_t deadline_ns, uint64_t now_ns);
/* What is told to refused(), filled from @result. */
void http_refusal_init(struct http_refusal *why, const struct http_result *result);

/* http_slots.c */
bool http_any_waits_locked(const struct http_origin *o) REQUIRES(o->lock);
/* A slot of @lane and who uses it, or NULL. */
struct http_waiter *http_slot_take_locked(struct http_origin *o, struct http_lane *lane,
					  uint64_t now_ns) REQUIRES(o->lock);
/*
 * @w is put behind those that wait, unless it waits already. False then. @now_ns: its place. Somebody
 * has to call http_net_ready() on the source.
 */
bool http_wait_locked(struct http_origin *o, struct http_waiter *w, uint64_t now_ns)
	REQUIRES(o->lock);
/* What became of a request in a slot, which is free again. */
struct http_verdict {
	uint64_t start_ns; /* when it was sent */
	bool good;
	bool slow_down;
	bool is_long; /* http_long_begin() has been called for it */
	bool alone;   /* nothing else was under way when it was sent */
	bool flow;    /* http_flow_begin() has been called for it */
	uint64_t
		answer_ns; /* until its answer began, on a connection that was there; 0: not known */
	uint64_t retry_after; /* HTTP_LENGTH_UNKNOWN: not said, or not for all */
	uint64_t deadline_ns; /* of the request: its last try is not put off */
};
void http_slot_free(struct http_lane *lane, const struct http_verdict *v) EXCLUDES(lane->o->lock);
/* The slot has not been used. */
void http_slot_return(struct http_lane *lane) EXCLUDES(lane->o->lock);
/* Slots that a long request of @rank might have, the one that it has got included. */
unsigned http_parts_free(struct http_origin *o, enum http_rank rank) EXCLUDES(o->lock);
/* How long a part is worth a request. */
uint64_t http_part_size(const struct http_origin *o);
/* The request of a slot is a long one; its slot's end ends that too. */
void http_long_begin(struct http_origin *o) EXCLUDES(o->lock);
/* A slot of @lane for a second request of @bytes, which are charged; false: there is none, or no budget. */
bool http_hedge_slot(struct http_lane *lane, uint64_t bytes, uint64_t now_ns)
	EXCLUDES(lane->o->lock);
/* It has ended after @got of them. The slot is freed as any other. */
void http_hedge_ended(struct http_origin *o, uint64_t bytes, uint64_t got) EXCLUDES(o->lock);
/* The origin's pace as the rules want it. */
void http_hedge_pace(struct http_origin *o, struct http_hedge_others *out) EXCLUDES(o->lock);
/* What a probe has found of the origin's delay. */
void http_first_answer(struct http_origin *o, uint64_t ns) EXCLUDES(o->lock);
/* A long answer of a slot begins; its slot's end ends it. */
void http_flow_begin(struct http_origin *o) EXCLUDES(o->lock);

/* http_origin.c: lanes */
void http_due_locked(struct http_origin *o, uint64_t due_ns) REQUIRES(o->lock);
/* Something of the lane is to be cut. */
void http_lane_cut(struct http_lane *lane) EXCLUDES(lane->o->lock);
struct http_fetch *http_lane_fetch(struct http_lane *lane);
void http_lane_spare(struct http_lane *lane, struct http_fetch *f);
void http_count_origin(struct http_origin *o, enum http_counter what, uint64_t n);
/* The origin's last failure, for people; false: one of them has been logged a moment ago. */
bool http_note_failure(struct http_origin *o, const struct vmofs_failure *f) EXCLUDES(o->lock);
void http_stats_fill(const struct http_counters *c, struct vmofs_provider_stats *out);

/* http_ask.c */
void http_ask_finish(struct http_ask *a);
void http_ask_lane_stop(struct http_lane *lane);
/* Moves what is due to the waiting lists, and what is past its deadline or stopped to o->ended. */
void http_ask_sweep_locked(struct http_origin *o, uint64_t now_ns) REQUIRES(o->lock);

/* http_queue.c: pieces and queues */
void http_send(struct vmofs_provider *p, struct vmofs_request *req);
void http_clear(struct vmofs_provider *p, struct vmofs_request *req);
void http_swap(struct vmofs_provider *p, struct vmofs_request *old, struct vmofs_request *now);
void http_absorb_locked(struct http *h, uint64_t now_ns) REQUIRES(h->lock);
struct http_piece *http_take_locked(struct http *h, enum vmofs_request_class cls, uint64_t max)
	REQUIRES(h->lock);
/* What one GET has already, and what else it may take. */
struct http_join {
	uint64_t end;
	uint64_t room;   /* bytes, with gaps */
	uint64_t gap;    /* the longest that is read over */
	uint64_t wanted; /* bytes */
	uint64_t gaps;   /* bytes read over */
};
void http_join_add(struct http_join *j, const struct http_piece *p);
/* The next piece of @vmo for it, which is added. */
struct http_piece *http_take_next_locked(struct http *h, struct http_join *j, const struct vmo *vmo,
					 enum vmofs_request_class cls) REQUIRES(h->lock);
void http_piece_free_locked(struct http *h, struct http_piece *p) REQUIRES(h->lock);
void http_piece_requeue_locked(struct http *h, struct http_piece *p) REQUIRES(h->lock);
void http_piece_delay_locked(struct http *h, struct http_piece *p, uint64_t until_ns)
	REQUIRES(h->lock);
bool http_idle_locked(const struct http *h) REQUIRES(h->lock);
/* Makes the object wait for slots where it has something to start, and tells the origin its due time. */
void http_wake_locked(struct http *h) REQUIRES(h->lock);
/* The latter alone, for who runs on a lane that arms its timer afterwards. */
void http_tell_due_locked(struct http *h) REQUIRES(h->lock);
/* Moves what is due from delayed to the queues and takes out what is past its deadline. */
void http_sweep_locked(struct http *h, uint64_t now_ns, struct http_fails *fails) REQUIRES(h->lock);
void http_piece_due_locked(struct http *h, uint64_t due_ns) REQUIRES(h->lock);
/* Remembers to fail @p with @code and frees it. */
void http_piece_fail_locked(struct http *h, struct http_piece *p, int code,
			    struct http_fails *fails) REQUIRES(h->lock);
/* Answers what was remembered. */
void http_fail_all(struct http *h, struct http_fails *fails) EXCLUDES(h->lock);

/* http_fetch.c: running GETs */
void http_start(struct http_waiter *w, struct http_lane *lane);
/* It has a slot, and the object a reference for it. */
void http_fetch_start(struct http_fetch *f);
void http_fetch_done(struct http_fetch *f, const struct http_result *result);
/* @second becomes @f's twin, for what @f has not supplied yet. */
void http_fetch_second_locked(struct http *h, struct http_fetch *f, struct http_fetch *second,
			      uint64_t now_ns) REQUIRES(h->lock);

/* http_watch.c: cutting, stalls, hedges */
void http_fetch_unwanted_locked(struct http *h, struct http_fetch *f) REQUIRES(h->lock);
/* The object is closed: every fetch of it is to end. */
void http_fetch_cut_all(struct http *h) EXCLUDES(h->lock);
/* Ends the fetches of @lane that are cut, or silent for too long. */
void http_lane_end_cut(struct http_lane *lane);
void http_lane_end_stalled(struct http_lane *lane);
/* Sends second requests for those that fall behind; from time to time, however often it is called. */
void http_lane_watch(struct http_lane *lane, uint64_t now_ns);
/* The books of a fetch that has ended. */
void http_watch_ended(struct http_fetch *f, enum http_outcome outcome);
/* @f has ended; with @retry its twin takes over what it has not brought. */
void http_twin_part_locked(struct http *h, struct http_fetch *f, enum http_outcome outcome,
			   bool retry) REQUIRES(h->lock);

/* http_renew.c: looking the location up again */
void http_renew_locked(struct http *h, const struct http_refusal *why) REQUIRES(h->lock);
void http_renew_run(struct worker_task *t);

/* http_object.c */
struct http *http_object_alloc(struct http_origin *o, const struct http_object_spec *spec);
void http_secret_free(char *s); /* NULL is fine */
void http_free(struct vmofs_provider *p);
void http_get_ref(struct http *h);
void http_put(struct http *h);
void http_count(struct http *h, enum http_counter what, uint64_t n);
void http_pace(struct vmofs_provider *p, struct vmofs_pace *out);
int http_version(struct vmofs_provider *p, char *out, size_t cap);
/* The object's URL for people, into @buf. */
const char *http_shown(const struct http *h, char *buf, size_t cap);
/* Makes the endpoint that @f wants; 0, or -errno with @err. */
int http_endpoint_for(struct http_fetch *f, struct vmofs_err *err) EXCLUDES(f->h->lock);
/* The first good answer says which version this is. */
enum http_outcome http_adopt(struct http *h, const struct http_reply *r, char *msg, size_t cap)
	EXCLUDES(h->lock);
/* The record of failures, made when there is none; NULL without memory. */
struct http_trouble *http_trouble_locked(struct http *h) REQUIRES(h->lock);
extern const struct vmofs_provider_ops provider_http;

#endif
