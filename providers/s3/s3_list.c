/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listings: a directory, or everything below a prefix in order. A listing is a row of chains, each of which
 * walks a part of the keys page by page (a page's token names the next) from `start` (exclusive) to `end`
 * (inclusive). A long directory is cut into several chains at guessed names (s3_split.h), so that many
 * requests are under way at once. What a page shows beyond its chain's end belongs to the next
 * chain and is dropped; cuts have no slash, so that a common prefix is wholly on one side of each.
 *
 * The guesses cost requests at worst, never keys: that rests on order and start-after alone. Each page is checked for
 * both; where a server does not keep to them, the listing begins anew as one chain, and what has been handed
 * out is known by its hash.
 *
 * A chain's state:
 *
 *     IDLE <--> BUSY --> ENDED
 *
 *   from | to    | function       | when
 *   IDLE | BUSY  | list_plan      | there is room for another request
 *   BUSY | IDLE  | page_locked    | the page has been taken, more follows
 *   BUSY | ENDED | page_locked    | its end was reached, or it has been given up
 *   IDLE | ENDED | list_give_up   | nobody wants more, or the listing begins anew
 *
 * Pages arrive on any loop; they are queued under the lock and handed out by one thread at a time without it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "s3/s3_known.h"
#include "s3/s3_private.h"
#include "s3/s3_split.h"

#define CUTS_MAX  16
#define READY_MAX 8    /* pages that wait to be handed out while others are asked for */
#define HAND_OUT  128  /* entries of one call */
#define BARREN    1000 /* pages in a row that may bring nothing */
#define SPARE     16   /* names beyond an estimate */
#define FAR       (50 * NSEC_PER_MSEC) /* for a whole page */
#define FAR_PEEK  (15 * NSEC_PER_MSEC) /* for its beginning */

enum chain_state { CHAIN_IDLE, CHAIN_BUSY, CHAIN_ENDED, CHAIN_NSTATES };

struct chain {
	struct s3_fetch fetch;
	struct vmofs_list link;
	struct vmofs_list starting; /* while it is about to be started */
	struct listing *l;
	enum chain_state state;
	unsigned generation; /* of the listing, when it began */
	unsigned pages;
	unsigned found; /* on the last page */
	bool uncut;     /* no cut was found since the last page */
	/* Names relative to the listed key, owned. */
	char *start;
	char *first;
	char *last;
	char *end; /* NULL: none */
};

/* A page that waits to be handed out. */
struct batch {
	struct vmofs_list link;
	struct s3_page page;
};

struct listing {
	struct s3 *s;
	struct vmofs_query *q;
	char *prefix; /* with the source's */
	size_t prefix_len;

	struct mutex lock;
	/* lock: lock, all below */
	struct vmofs_list chains;
	struct vmofs_list ready;
	unsigned nready;
	unsigned busy;
	unsigned generation;
	unsigned pages;
	unsigned wasted; /* requests that brought nothing of their part */
	unsigned barren; /* pages in a row with nothing new on them */
	unsigned requests;
	unsigned page_max; /* largest page so far */
	uint64_t found;
	bool far;            /* the first page took long: connections shall be warm early */
	bool peeked;         /* cut before the first page was complete */
	uint64_t started_ns; /* when it was asked for */
	bool draining;
	bool enough; /* nobody wants more */
	bool serial;
	bool more;
	int code;
	int status;
	char msg[1024];
	char request_id[128];
	struct s3_known known;
	struct s3_split split;
};

/* -- chains ----------------------------------------------------------------------------------- */

static void chain_free(struct chain *c)
{
	if (!c)
		return;
	s3_fetch_clear(&c->fetch);
	free(c->start);
	free(c->first);
	free(c->last);
	free(c->end);
	free(c);
}

static void chain_set(struct chain *c, enum chain_state to)
{
	static const bool next[CHAIN_NSTATES][CHAIN_NSTATES] = {
		[CHAIN_IDLE] = { [CHAIN_BUSY] = true, [CHAIN_ENDED] = true },
		[CHAIN_BUSY] = { [CHAIN_IDLE] = true, [CHAIN_ENDED] = true },
	};

	if (!next[c->state][to])
		abort();
	c->state = to;
}

static void on_page(struct s3_fetch *f, int code, const struct http_refusal *why);

/* @end is taken. NULL: no memory. */
static struct chain *chain_new_locked(struct listing *l, const char *start, char *end)
	REQUIRES(l->lock)
{
	struct chain *c = calloc(1, sizeof *c);
	int n = 0;

	if (!c)
		return NULL;
	vmofs_list_init(&c->link);
	vmofs_list_init(&c->starting);
	c->l = l;
	c->generation = l->generation;
	c->fetch.flat = l->q->kind == VMOFS_QUERY_FLAT;
	c->fetch.done = on_page;
	c->fetch.prefix = strdup(l->prefix);
	c->start = strdup(start);
	c->first = strdup(start);
	c->last = strdup(start);
	if (start[0])
		n = asprintf(&c->fetch.after, "%s%s", l->prefix, start);
	if (!c->fetch.prefix || !c->start || !c->first || !c->last || n < 0) {
		if (n < 0)
			c->fetch.after = NULL;
		chain_free(c);
		return NULL;
	}
	c->end = end;
	vmofs_list_add_tail(&l->chains, &c->link);
	return c;
}

static void fail_locked(struct listing *l, int code, const char *msg) REQUIRES(l->lock)
{
	if (l->code < 0)
		return;
	l->code = code;
	snprintf(l->msg, sizeof l->msg, "cannot list 's3://%s/%s': %s", l->s->o.bucket, l->prefix,
		 msg);
}

static void chain_drop(struct chain *c)
{
	vmofs_list_del(&c->link);
	chain_free(c);
}

/* Chains that are not under way end; the others do when their page is there. */
static void list_give_up_locked(struct listing *l) REQUIRES(l->lock)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, &l->chains) {
		struct chain *c = vmofs_list_entry(pos, struct chain, link);

		if (c->state != CHAIN_IDLE)
			continue;
		chain_set(c, CHAIN_ENDED);
		chain_drop(c);
	}
}

/* -- a page ----------------------------------------------------------------------------------- */

/* What the order of a page says. */
struct verdict {
	const char *first; /* names, in the page's text; NULL: the page is empty */
	const char *last;
	const char *fault; /* NULL: none */
};

static bool is_below(const struct listing *l, const struct s3_page *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->v[i].key_len < l->prefix_len ||
		    memcmp(s3_page_key(p, &p->v[i]), l->prefix, l->prefix_len) != 0)
			return false;
	return true;
}

/* Keys ascend, common prefixes ascend, all of them come after what the chain has seen. */
static struct verdict judge_locked(struct listing *l, const struct chain *c) REQUIRES(l->lock)
{
	const struct s3_page *p = &c->fetch.page;
	const char *prev[2] = { c->last, c->last };
	struct verdict v = { 0 };

	for (unsigned i = 0; i < p->n; i++) {
		const struct s3_entry *e = &p->v[i];
		const char *name = s3_page_key(p, e) + l->prefix_len;

		if (strcmp(name, prev[e->prefix]) < 0)
			v.fault = "the keys are not in order";
		prev[e->prefix] = name;
		if (name[0] && (!v.first || strcmp(name, v.first) < 0))
			v.first = name;
		if (name[0] && (!v.last || strcmp(name, v.last) > 0))
			v.last = name;
	}
	return v;
}

static int replace(char **p, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*p);
	*p = copy;
	return 0;
}

/* Leaves of a page what is its chain's, and what has not been handed out before. */
static int keep_locked(struct listing *l, struct chain *c, struct s3_page *p) REQUIRES(l->lock)
{
	bool remember =
		l->q->kind == VMOFS_QUERY_DIR && (l->serial || p->truncated || l->pages > 0);
	const char *prev[2] = { c->last, c->last };
	unsigned n = 0;

	c->found = 0;
	for (unsigned i = 0; i < p->n; i++) {
		const struct s3_entry *e = &p->v[i];
		const char *name = s3_page_key(p, e) + l->prefix_len;
		uint64_t h;

		if ((c->end && strcmp(name, c->end) > 0) ||
		    (name[0] && strcmp(name, prev[e->prefix]) == 0))
			continue;
		prev[e->prefix] = name;
		c->found++;
		s3_split_learn(&l->split, name, e->key_len - l->prefix_len);
		if (remember || l->serial) {
			h = s3_known_hash(name, e->key_len - l->prefix_len);
			if (l->serial && s3_known_has(&l->known, h))
				continue;
			if (remember && s3_known_add(&l->known, h) < 0)
				return -ENOMEM;
		}
		p->v[n++] = *e;
	}
	p->n = n;
	return 0;
}

/* The page goes to those who wait; the chain's fetch is free again. */
static int queue_locked(struct listing *l, struct chain *c) REQUIRES(l->lock)
{
	const char *token = c->fetch.page.token;
	struct batch *b;

	l->barren = c->fetch.page.n > 0 ? 0 : l->barren + 1;
	if (token && (l->barren > BARREN || (c->fetch.token && strcmp(token, c->fetch.token) == 0)))
		return -ELOOP;
	b = calloc(1, sizeof *b);
	if (!b)
		return -ENOMEM;
	b->page = c->fetch.page;
	c->fetch.page = (struct s3_page){ 0 };
	free(c->fetch.token);
	c->fetch.token = b->page.token;
	b->page.token = NULL;
	l->found += b->page.n;
	l->nready++;
	vmofs_list_add_tail(&l->ready, &b->link);
	return 0;
}

/* One chain from the beginning, by tokens alone. */
static void begin_anew_locked(struct listing *l, const char *fault) REQUIRES(l->lock)
{
	if (!atomic_exchange(&l->s->serial, true))
		log_warn("'s3://%s/%s' is listed page by page only: %s", l->s->o.bucket, l->prefix,
			 fault);
	l->generation++;
	l->serial = true;
	list_give_up_locked(l);
	if (!chain_new_locked(l, "", NULL))
		fail_locked(l, -ENOMEM, "no memory");
}

static void fault_locked(struct listing *l, struct chain *c, const char *fault) REQUIRES(l->lock)
{
	chain_set(c, CHAIN_ENDED);
	if (l->q->kind == VMOFS_QUERY_FLAT)
		fail_locked(l, -EBADMSG, fault);
	else
		begin_anew_locked(l, fault);
}

/* What was under way when the listing began anew, or nobody wants. */
static bool is_stale_locked(const struct listing *l, const struct chain *c) REQUIRES(l->lock)
{
	return l->code < 0 || l->enough || c->generation != l->generation;
}

/* A listing without cuts may be out of order: each page has its token from the one before. */
static bool order_matters_locked(const struct listing *l) REQUIRES(l->lock)
{
	return l->q->kind == VMOFS_QUERY_FLAT || !l->serial;
}

static void page_locked(struct listing *l, struct chain *c) REQUIRES(l->lock)
{
	struct s3_page *p = &c->fetch.page;
	bool truncated = p->truncated, past;
	struct verdict v;
	int r;

	if (is_stale_locked(l, c)) {
		chain_set(c, CHAIN_ENDED);
		return;
	}
	if (!is_below(l, p)) {
		fail_locked(l, -EBADMSG, "the answer has keys with another prefix");
		chain_set(c, CHAIN_ENDED);
		return;
	}
	v = judge_locked(l, c);
	if (v.fault && order_matters_locked(l)) {
		fault_locked(l, c, v.fault);
		return;
	}
	l->page_max = MAX(l->page_max, p->n);
	past = c->end && v.last && strcmp(v.last, c->end) > 0;
	r = keep_locked(l, c, p);
	if (r == 0 && v.last)
		r = replace(&c->first, v.first) < 0 ? -ENOMEM : replace(&c->last, v.last);
	if (r == 0)
		r = queue_locked(l, c);
	if (r < 0)
		fail_locked(l, r == -ELOOP ? -EBADMSG : r,
			    r == -ELOOP ? "the pages go in a circle" : "no memory");
	if (l->pages == 0)
		l->far = l->peeked || loop_now_ns() - l->started_ns > FAR;
	l->pages++;
	c->pages++;
	c->uncut = false;
	if (c->pages == 1 && c->found == 0 && c->start[0])
		l->wasted++;
	chain_set(c, r < 0 || past || !truncated ? CHAIN_ENDED : CHAIN_IDLE);
}

/* -- planning --------------------------------------------------------------------------------- */

static struct s3_span chain_span(const struct chain *c)
{
	return (struct s3_span){ c->first, c->last, c->end, c->found, c->found };
}

static uint64_t chain_left_locked(struct listing *l, const struct chain *c) REQUIRES(l->lock)
{
	struct s3_span span = chain_span(c);

	if (c->state == CHAIN_ENDED || c->pages == 0 || c->uncut ||
	    c->generation != l->generation || !c->last[0])
		return 0;
	return s3_split_left(&l->split, &span);
}

/* The chain with most before it; NULL: none has enough to be worth a cut. */
static struct chain *longest_locked(struct listing *l, uint64_t *left) REQUIRES(l->lock)
{
	struct chain *best = NULL;
	struct vmofs_list *pos;

	*left = 2 * (uint64_t)l->page_max;
	vmofs_list_for_each(pos, &l->chains) {
		struct chain *c = vmofs_list_entry(pos, struct chain, link);
		uint64_t n = chain_left_locked(l, c);

		if (n > *left) {
			*left = n;
			best = c;
		}
	}
	return best;
}

/* Cuts @c, of which @span is known, into up to @n more chains; they are idle then. */
static void cut_locked(struct listing *l, struct chain *c, const struct s3_span *span, unsigned n)
	REQUIRES(l->lock)
{
	char cuts[CUTS_MAX][S3_SPLIT_NAME];
	struct chain *left = c;

	n = s3_split_cut(&l->split, span, MIN(n, CUTS_MAX), cuts);
	c->uncut = n == 0;
	for (unsigned i = 0; i < n; i++) {
		char *border = strdup(cuts[i]);
		struct chain *right = border ? chain_new_locked(l, cuts[i], left->end) : NULL;

		if (!right) {
			free(border);
			c->uncut = true;
			return;
		}
		left->end = border;
		left = right;
	}
}

/* Of the listing, the one that is coming in included. */
static unsigned pages_locked(const struct listing *l) REQUIRES(l->lock)
{
	return MAX(l->pages, (unsigned)l->peeked);
}

/* How many requests may be under way: more as the listing turns out to be long. */
static unsigned allowed_locked(const struct listing *l) REQUIRES(l->lock)
{
	unsigned pages = pages_locked(l);

	return MIN(l->s->o.parallel, pages ? 2 + (l->far ? 14 : 6) * pages : 1);
}

static bool may_cut_locked(const struct listing *l) REQUIRES(l->lock)
{
	return l->q->kind == VMOFS_QUERY_DIR && !l->serial && !atomic_load(&l->s->serial) &&
		l->pages > 0 && l->page_max > 1;
}

static bool may_peek_locked(const struct listing *l) REQUIRES(l->lock)
{
	return l->q->kind == VMOFS_QUERY_DIR && !l->serial && !atomic_load(&l->s->serial) &&
		loop_now_ns() - l->started_ns > FAR_PEEK;
}

/* How many guesses may go wrong: a dozen (two, where waiting is dear), and a fourth of what went right. */
static unsigned guesses_locked(const struct listing *l) REQUIRES(l->lock)
{
	unsigned some = l->far ? 12 : 6;
	unsigned pages = pages_locked(l);
	unsigned most = MIN(2 * some, some * pages) + (pages - MIN(pages, l->wasted)) / 4;

	return most > l->wasted ? most - l->wasted : 0;
}

/* The rest before a chain's end may be less than a page: the server need not bring more. */
static void set_max_locked(struct listing *l, struct chain *c) REQUIRES(l->lock)
{
	struct s3_span span = chain_span(c);
	uint64_t n = l->s->o.page;

	if (c->pages > 0 && c->end)
		n = MIN(n, s3_split_left(&l->split, &span) / 4 * 5 + SPARE);
	snprintf(c->fetch.max, sizeof c->fetch.max, "%" PRIu64, n);
}

static void start_idle_locked(struct listing *l, unsigned allowed, struct vmofs_list *starts)
	REQUIRES(l->lock)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &l->chains) {
		struct chain *c = vmofs_list_entry(pos, struct chain, link);

		if (c->state != CHAIN_IDLE || l->busy >= allowed)
			continue;
		set_max_locked(l, c);
		chain_set(c, CHAIN_BUSY);
		l->busy++;
		vmofs_list_add_tail(starts, &c->starting);
	}
}

static bool is_limit_locked(const struct listing *l) REQUIRES(l->lock)
{
	return l->q->limit > 0 && l->found >= l->q->limit;
}

/* Chains to start go to @starts; they are busy from now on. */
static void list_plan_locked(struct listing *l, struct vmofs_list *starts) REQUIRES(l->lock)
{
	unsigned allowed = allowed_locked(l);
	struct s3_span span;
	struct chain *c;
	uint64_t left;

	if (l->code < 0 || l->enough) {
		list_give_up_locked(l);
		return;
	}
	if (l->nready >= READY_MAX + allowed || is_limit_locked(l))
		return;
	start_idle_locked(l, allowed, starts);
	allowed = MIN(allowed, l->busy + guesses_locked(l));
	while (may_cut_locked(l) && l->busy < allowed && (c = longest_locked(l, &left))) {
		span = chain_span(c);
		cut_locked(l, c, &span,
			   (unsigned)MIN(allowed - l->busy,
					 MAX(left / (2 * (uint64_t)l->page_max), 1)));
		start_idle_locked(l, allowed, starts);
	}
}

/*
 * The first page of a directory far away is coming in, which takes several round trips on a cold
 * connection, and it is not the last one: the other connections need not wait for its end.
 */
static void peek_locked(struct listing *l, struct chain *c, struct vmofs_list *starts)
	REQUIRES(l->lock)
{
	const struct s3_page *p = &c->fetch.page;
	struct s3_span span = { .found = p->n, .near = l->s->o.page };

	for (unsigned i = 0; i < p->n; i++) {
		const char *name = s3_page_key(p, &p->v[i]);

		if (strchr(name, '%') || strncmp(name, l->prefix, l->prefix_len) != 0)
			return;
		name += l->prefix_len;
		s3_split_learn(&l->split, name, strlen(name));
		if (!span.first && name[0])
			span.first = name;
		span.last = name;
	}
	if (!span.first || strcmp(span.first, span.last) >= 0)
		return;
	l->peeked = true;
	l->far = true;
	l->page_max = l->s->o.page;
	cut_locked(l, c, &span, MIN(allowed_locked(l) - l->busy, guesses_locked(l)));
	start_idle_locked(l, allowed_locked(l), starts);
}

static void start_all(struct listing *l, struct vmofs_list *starts)
{
	struct chain *c;

	while ((c = vmofs_list_first(starts, struct chain, starting))) {
		vmofs_list_del(&c->starting);
		s3_fetch_start(&c->fetch, l->s, l->q->deadline_ns);
	}
}

/* -- handing out ------------------------------------------------------------------------------ */

/* False: no more is wanted. */
static bool hand_out(struct listing *l, const struct s3_page *p)
{
	struct vmofs_entry v[HAND_OUT];
	unsigned n = 0;

	for (unsigned i = 0; i < p->n; i++) {
		n += s3_entry_show(l->s, p, &p->v[i], &v[n]);
		if (n < HAND_OUT && i + 1 < p->n)
			continue;
		if (n > 0 && !l->q->entries(l->q, v, n))
			return false;
		n = 0;
	}
	return true;
}

static void list_free(struct listing *l)
{
	struct s3 *s = l->s;

	s3_known_clear(&l->known);
	free(l->prefix);
	mutex_destroy(&l->lock);
	free(l);
	s3_put(s);
}

static void list_finish(struct listing *l)
{
	struct vmofs_query_result result = {
		.code = l->code,
		.more = l->more,
		.requests = l->requests,
		.status = l->status,
		.msg = l->msg,
		.req_id = l->request_id,
	};
	struct vmofs_query *q = l->q;

	q->done(q, &result);
	list_free(l);
}

static bool is_over_locked(const struct listing *l) REQUIRES(l->lock)
{
	return l->busy == 0 && vmofs_list_empty(&l->chains) && vmofs_list_empty(&l->ready);
}

static void handed_out_locked(struct listing *l, struct batch *b, bool wanted) REQUIRES(l->lock)
{
	l->nready--;
	if (!wanted)
		l->enough = true;
	if (is_limit_locked(l) && vmofs_list_empty(&l->ready) && !l->enough) {
		l->enough = true;
		l->more = !vmofs_list_empty(&l->chains);
	}
	s3_page_clear(&b->page);
	free(b);
}

/*
 * Hands out what is ready, unless another thread does, and plans; ends the listing. It is entered with the
 * lock held, and leaves without it; @l may be gone then.
 */
static void list_turn(struct listing *l) RELEASE(l->lock)
{
	struct vmofs_list starts;
	struct batch *b;
	bool wanted, over;

	vmofs_list_init(&starts);
	list_plan_locked(l, &starts);
	if (l->draining) {
		mutex_unlock(&l->lock);
		start_all(l, &starts);
		return;
	}
	l->draining = true;
	for (;;) {
		b = vmofs_list_first(&l->ready, struct batch, link);
		if (b)
			vmofs_list_del(&b->link);
		wanted = !l->enough && l->code == 0;
		over = !b && is_over_locked(l);
		if (!b)
			l->draining = false;
		mutex_unlock(&l->lock);
		start_all(l, &starts);
		if (over)
			list_finish(l);
		if (!b)
			return;
		wanted = wanted && hand_out(l, &b->page);
		mutex_lock(&l->lock);
		handed_out_locked(l, b, wanted);
		list_plan_locked(l, &starts);
	}
}

static void on_peek(struct s3_fetch *f)
{
	struct chain *c = container_of(f, struct chain, fetch);
	struct listing *l = c->l;
	struct vmofs_list starts;

	vmofs_list_init(&starts);
	mutex_lock(&l->lock);
	if (l->pages == 0 && may_peek_locked(l) && !is_stale_locked(l, c))
		peek_locked(l, c, &starts);
	mutex_unlock(&l->lock);
	start_all(l, &starts);
}

static void failed_locked(struct listing *l, int code, const struct http_refusal *why,
			  const char *error_code) REQUIRES(l->lock)
{
	if (l->code < 0)
		return;
	l->code = code;
	l->status = why->status;
	snprintf(l->request_id, sizeof l->request_id, "%s", why->request_id);
	s3_explain(l->s, "list", l->prefix, code, why, error_code, l->msg, sizeof l->msg);
}

static void on_page(struct s3_fetch *f, int code, const struct http_refusal *why)
{
	struct chain *c = container_of(f, struct chain, fetch);
	struct listing *l = c->l;

	mutex_lock(&l->lock);
	l->busy--;
	l->requests += f->ask.http.requests;
	if (code < 0) {
		if (!is_stale_locked(l, c))
			failed_locked(l, code, why, f->ask.trouble.code);
		chain_set(c, CHAIN_ENDED);
	} else {
		page_locked(l, c);
	}
	if (c->state == CHAIN_ENDED)
		chain_drop(c);
	list_turn(l);
}

/* -- the beginning ---------------------------------------------------------------------------- */

static void refuse(struct vmofs_query *q, int code, const char *msg)
{
	struct vmofs_query_result result = { .code = code, .msg = msg, .req_id = "" };

	q->done(q, &result);
}

static struct listing *list_new(struct s3 *s, struct vmofs_query *q)
{
	struct listing *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	l->s = s3_get(s);
	l->q = q;
	mutex_init(&l->lock, LOCK_RANK_SOURCE);
	vmofs_list_init(&l->chains);
	vmofs_list_init(&l->ready);
	l->prefix = s3_full_key(s, q->key);
	l->prefix_len = l->prefix ? strlen(l->prefix) : 0;
	l->serial = atomic_load(&s->serial);
	l->started_ns = loop_now_ns();
	return l;
}

/* `after` of a flat query as a name below its key; "" where that is before the first one. */
static const char *start_of(const struct vmofs_query *q)
{
	size_t n = strlen(q->key);

	if (q->kind != VMOFS_QUERY_FLAT || !q->after)
		return "";
	return strncmp(q->after, q->key, n) == 0 ? q->after + n : "";
}

void s3_list(struct s3 *s, struct vmofs_query *q)
{
	struct listing *l = list_new(s, q);
	struct chain *c = NULL;

	if (!l) {
		refuse(q, -ENOMEM, "no memory for a listing");
		return;
	}
	mutex_lock(&l->lock);
	if (l->prefix)
		c = chain_new_locked(l, start_of(q), NULL);
	if (c)
		c->fetch.peek = on_peek;
	if (!c)
		fail_locked(l, -ENOMEM, "no memory");
	list_turn(l);
}
