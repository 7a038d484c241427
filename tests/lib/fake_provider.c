/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scriptable provider: records, checks the contract, hands requests to the test. Its operations
 * run on the threads of the page source with the VMO's lock held and only move slots; answers run on
 * the thread of the test that gives them, or on the threads of fake_start() in fake_answers.c.
 *
 * A slot stands for one request from send() over its swaps to clear(). Slots and events live in
 * arrays that are allocated once, so nothing here fails when a test makes allocations fail.
 */
#include "lib/fake_provider.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "lib/fake_private.h"
#include "vm/vmo.h"

static const char *const type_names[] = {
	[VMOFS_REQUEST_READ] = "READ",
	[VMOFS_REQUEST_DIRTY] = "DIRTY",
	[VMOFS_REQUEST_WRITEBACK] = "WRITEBACK",
};
_Static_assert(ARRAY_LEN(type_names) == VMOFS_REQUEST_NTYPES, "one name per type");

static const char *const event_names[] = {
	[FAKE_SEND] = "send",     [FAKE_CLEAR] = "clear", [FAKE_SWAP] = "swap",
	[FAKE_DETACH] = "detach", [FAKE_CLOSE] = "close",
};
_Static_assert(ARRAY_LEN(event_names) == FAKE_NEVENTS, "one name per event");

/* ---- time and dying ---- */

static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static struct vmofs_list live = VMOFS_LIST_INIT(live);

uint64_t test_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t test_timeout_ns(void)
{
	const char *ms = getenv("VMOFS_TEST_TIMEOUT_MS");

	return (ms ? strtoull(ms, NULL, 10) : 30000) * NSEC_PER_MSEC;
}

void test_die(const char *fmt, ...)
{
	struct vmofs_list *pos;
	va_list ap;

	alarm(10); /* the dump may meet the lock that the failure is about */
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	pthread_mutex_lock(&live_lock);
	vmofs_list_for_each(pos, &live) {
		struct fake_provider *f = vmofs_list_entry(pos, struct fake_provider, live_link);

		fake_dump_self(f, stderr);
		if (f->vmo)
			vmo_dump(f->vmo, stderr, 20);
	}
	fflush(stderr);
	abort();
}

void test_wait_until(bool (*ready)(void *arg), void *arg, const char *what)
{
	uint64_t deadline = test_now_ns() + test_timeout_ns();
	struct timespec nap = { .tv_nsec = 50000 };

	while (!ready(arg)) {
		if (test_now_ns() > deadline)
			test_die("gave up waiting for %s", what);
		nanosleep(&nap, NULL);
	}
}

/* ---- slots ---- */

static struct fake_request slot_request(const struct fake_slot *s)
{
	return (struct fake_request){
		.type = s->type,
		.cls = s->req->cls,
		.page = s->off >> VMOFS_PAGE_SHIFT,
		.n = s->len >> VMOFS_PAGE_SHIFT,
		.deadline_ns = s->req->deadline_ns,
	};
}

static void slot_take(struct fake_slot *s, struct vmofs_request *req)
{
	s->req = req;
	s->type = req->type;
	s->off = req->off;
	s->len = req->len;
	req->priv = s;
}

static struct fake_slot *slot_of(struct fake_provider *f, struct vmofs_request *req)
{
	struct fake_slot *s = req->priv;

	if (s < f->slots || s >= f->slots + FAKE_N_SLOTS || s->req != req)
		test_die("a request that was not sent, or was cleared already");
	if (s->type != req->type || s->off != req->off || s->len != req->len)
		test_die("a request changed while it was owned");
	return s;
}

static void record_locked(struct fake_provider *f, enum fake_event_kind kind,
			  const struct fake_slot *s)
{
	struct fake_event *e = &f->events[f->n_events++ % FAKE_N_EVENTS];

	*e = (struct fake_event){ .kind = kind };
	if (s)
		e->req = slot_request(s);
	f->count[kind]++;
	cond_broadcast(&f->changed);
}

static void check_request(const struct vmofs_request *req)
{
	if ((unsigned)req->type >= VMOFS_REQUEST_NTYPES || (unsigned)req->cls >= VMOFS_NCLASSES)
		test_die("a request without type or class");
	if (!req->len || (req->off | req->len) & (VMOFS_PAGE_SIZE - 1))
		test_die("a request of [%#lx, +%#lx): not pages", req->off, req->len);
}

/* ---- operations ---- */

static struct fake_provider *fake_of(struct vmofs_provider *p)
{
	return container_of(p, struct fake_provider, base);
}

static void fake_op_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct fake_provider *f = fake_of(p);
	struct fake_slot *s;

	mutex_lock(&f->lock);
	check_request(req);
	if (f->count[FAKE_DETACH] || f->count[FAKE_CLOSE])
		test_die("send after on_detach or on_close");
	if (req->priv || !vmofs_list_empty(&req->link))
		test_die("send of a request whose provider members are in use");
	if (!(f->ops.supports & VMOFS_TYPE_BIT(req->type)))
		test_die("send of %s, which is not supported", type_names[req->type]);
	s = vmofs_list_first(&f->idle, struct fake_slot, link);
	if (!s)
		test_die("more than %d requests at once", FAKE_N_SLOTS);
	vmofs_list_del(&s->link);
	slot_take(s, req);
	s->seen = s->handled = false;
	vmofs_list_add_tail(&f->owned, &s->link);
	f->n_owned++;
	f->asked[req->type] += req->len >> VMOFS_PAGE_SHIFT;
	record_locked(f, FAKE_SEND, s);
	fake_rendezvous_locked(f, s);
	mutex_unlock(&f->lock);
}

static void fake_op_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct fake_provider *f = fake_of(p);
	struct fake_slot *s;

	mutex_lock(&f->lock);
	s = slot_of(f, req);
	if (f->count[FAKE_DETACH])
		test_die("clear after on_detach");
	record_locked(f, FAKE_CLEAR, s);
	req->priv = NULL;
	s->req = NULL;
	vmofs_list_del(&s->link);
	vmofs_list_add(&f->idle, &s->link);
	f->n_owned--;
	mutex_unlock(&f->lock);
}

static void fake_op_swap(struct vmofs_provider *p, struct vmofs_request *old,
			 struct vmofs_request *now)
{
	struct fake_provider *f = fake_of(p);
	struct fake_slot *s;

	mutex_lock(&f->lock);
	s = slot_of(f, old);
	check_request(now);
	if (f->count[FAKE_DETACH])
		test_die("swap after on_detach");
	if (now != old) {
		if (now->priv || !vmofs_list_empty(&now->link))
			test_die("swap with a request whose provider members are in use");
		if (now->type != s->type || now->off < s->off ||
		    now->off + now->len > s->off + s->len)
			test_die("swap with a request that reaches beyond the old one");
		old->priv = NULL;
		slot_take(s, now);
	} else if (s->type == VMOFS_REQUEST_WRITEBACK) {
		/* To be begun again. */
		s->seen = s->handled = false;
	}
	record_locked(f, FAKE_SWAP, s);
	mutex_unlock(&f->lock);
}

static void fake_op_on_detach(struct vmofs_provider *p)
{
	struct fake_provider *f = fake_of(p);

	mutex_lock(&f->lock);
	if (f->count[FAKE_DETACH] || f->count[FAKE_CLOSE])
		test_die("on_detach twice, or after on_close");
	if (f->n_owned)
		test_die("on_detach with %u requests not cleared", f->n_owned);
	record_locked(f, FAKE_DETACH, NULL);
	mutex_unlock(&f->lock);
}

static void fake_op_on_close(struct vmofs_provider *p)
{
	struct fake_provider *f = fake_of(p);

	mutex_lock(&f->lock);
	if (!f->count[FAKE_DETACH] || f->count[FAKE_CLOSE])
		test_die("on_close twice, or before on_detach");
	record_locked(f, FAKE_CLOSE, NULL);
	mutex_unlock(&f->lock);
}

static void fake_op_stats(struct vmofs_provider *p, struct vmofs_provider_stats *out)
{
	struct fake_provider *f = fake_of(p);

	mutex_lock(&f->lock);
	*out = (struct vmofs_provider_stats){ .requests = f->count[FAKE_SEND],
					      .in_flight = f->n_owned };
	mutex_unlock(&f->lock);
}

static void fake_op_dump(struct vmofs_provider *p, FILE *out, unsigned depth UNUSED,
			 unsigned max_items UNUSED)
{
	fprintf(out, "fake provider, key %#lx\n", fake_of(p)->key);
}

static uint64_t fake_op_koid(struct vmofs_provider *p)
{
	return fake_of(p)->key;
}

static void fake_op_free(struct vmofs_provider *p)
{
	fake_free(fake_of(p));
}

static const struct vmofs_provider_ops fake_ops = {
	.name = "fake",
	.send = fake_op_send,
	.clear = fake_op_clear,
	.swap = fake_op_swap,
	.on_detach = fake_op_on_detach,
	.on_close = fake_op_on_close,
	.stats = fake_op_stats,
	.dump = fake_op_dump,
	.koid = fake_op_koid,
	.free = fake_op_free,
};

/* ---- life ---- */

struct fake_provider *fake_new(unsigned supports, uint64_t key)
{
	struct fake_provider *f = calloc(1, sizeof *f);

	if (!f)
		test_die("no memory for a fake provider");
	f->ops = fake_ops;
	f->ops.supports = supports | VMOFS_TYPE_BIT(VMOFS_REQUEST_READ);
	f->base.ops = &f->ops;
	f->key = key;
	mutex_init(&f->lock, LOCK_RANK_PROVIDER);
	cond_init(&f->changed);
	vmofs_list_init(&f->owned);
	vmofs_list_init(&f->idle);
	f->slots = calloc(FAKE_N_SLOTS, sizeof *f->slots);
	f->events = calloc(FAKE_N_EVENTS, sizeof *f->events);
	if (!f->slots || !f->events)
		test_die("no memory for a fake provider");
	for (unsigned i = 0; i < FAKE_N_SLOTS; i++)
		vmofs_list_add_tail(&f->idle, &f->slots[i].link);
	pthread_mutex_lock(&live_lock);
	vmofs_list_add_tail(&live, &f->live_link);
	pthread_mutex_unlock(&live_lock);
	return f;
}

void fake_free(struct fake_provider *f)
{
	if (!f)
		return;
	fake_stop(f);
	if (f->n_owned)
		test_die("freed with %u requests owned", f->n_owned);
	if (f->n_events && (f->count[FAKE_DETACH] != 1 || f->count[FAKE_CLOSE] != 1))
		test_die("freed without on_detach and on_close");
	pthread_mutex_lock(&live_lock);
	vmofs_list_del(&f->live_link);
	pthread_mutex_unlock(&live_lock);
	cond_destroy(&f->changed);
	mutex_destroy(&f->lock);
	free(f->slots);
	free(f->events);
	free(f);
}

void fake_freep(struct fake_provider **f)
{
	fake_free(*f);
	*f = NULL;
}

struct vmofs_provider *fake_base(struct fake_provider *f)
{
	return &f->base;
}

void fake_attach(struct fake_provider *f, struct vmo *vmo)
{
	mutex_lock(&f->lock);
	f->vmo = vmo;
	mutex_unlock(&f->lock);
}

struct vmo *fake_named_vmo(struct fake_provider *f)
{
	struct fake_slot *s;
	struct vmo *vmo;

	mutex_lock(&f->lock);
	s = vmofs_list_first(&f->owned, struct fake_slot, link);
	vmo = s ? s->req->vmo : NULL;
	mutex_unlock(&f->lock);
	return vmo;
}

struct vmo *fake_vmo(struct fake_provider *f)
{
	struct vmo *vmo;

	mutex_lock(&f->lock);
	vmo = f->vmo;
	mutex_unlock(&f->lock);
	return vmo;
}

/* ---- what was asked ---- */

static struct fake_slot *find_unseen_locked(struct fake_provider *f,
					    const struct fake_request *want)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &f->owned) {
		struct fake_slot *s = vmofs_list_entry(pos, struct fake_slot, link);

		if (s->seen)
			continue;
		if (!want ||
		    (s->type == want->type && page_bytes(want->page) == s->off &&
		     page_bytes(want->n) == s->len))
			return s;
	}
	return NULL;
}

/* @want NULL: any. Returns it marked as seen, or NULL when the time is over. */
static struct fake_slot *wait_unseen_locked(struct fake_provider *f,
					    const struct fake_request *want, uint64_t deadline)
	REQUIRES(f->lock)
{
	struct fake_slot *s;

	while (!(s = find_unseen_locked(f, want))) {
		if (!cond_wait_until(&f->changed, &f->lock, deadline))
			return NULL;
	}
	s->seen = true;
	return s;
}

static struct fake_request wait_request(struct fake_provider *f, const struct fake_request *want)
{
	struct fake_request got = { 0 };
	struct fake_slot *s;

	mutex_lock(&f->lock);
	s = wait_unseen_locked(f, want, test_now_ns() + test_timeout_ns());
	if (s)
		got = slot_request(s);
	mutex_unlock(&f->lock);
	if (!s && want)
		test_die("no %s request for %lu page(s) at page %lu", type_names[want->type],
			 want->n, want->page);
	if (!s)
		test_die("no request at all");
	return got;
}

struct fake_request fake_wait(struct fake_provider *f, enum vmofs_request_type type, uint64_t page,
			      uint64_t n)
{
	return wait_request(f, &(struct fake_request){ .type = type, .page = page, .n = n });
}

void fake_wait_read(struct fake_provider *f, uint64_t page, uint64_t n)
{
	fake_wait(f, VMOFS_REQUEST_READ, page, n);
}

void fake_wait_dirty(struct fake_provider *f, uint64_t page, uint64_t n)
{
	fake_wait(f, VMOFS_REQUEST_DIRTY, page, n);
}

void fake_wait_writeback(struct fake_provider *f, uint64_t page, uint64_t n)
{
	fake_wait(f, VMOFS_REQUEST_WRITEBACK, page, n);
}

struct fake_request fake_next(struct fake_provider *f)
{
	return wait_request(f, NULL);
}

bool fake_try_next(struct fake_provider *f, struct fake_request *out)
{
	struct fake_slot *s;

	mutex_lock(&f->lock);
	s = find_unseen_locked(f, NULL);
	if (s) {
		s->seen = true;
		*out = slot_request(s);
	}
	mutex_unlock(&f->lock);
	return s != NULL;
}

void fake_expect_none(struct fake_provider *f)
{
	struct fake_request r = { 0 };

	if (fake_try_next(f, &r))
		test_die("unexpected %s request for %lu page(s) at page %lu", type_names[r.type],
			 r.n, r.page);
}

struct parked {
	struct fake_provider *f;
	unsigned n;
};

static bool n_are_parked(void *arg)
{
	struct parked *p = arg;
	struct page_source *s = vmo_page_source(fake_vmo(p->f));
	unsigned n = 0;

	for (enum vmofs_request_type t = 0; t < VMOFS_REQUEST_NTYPES; t++)
		n += page_source_n_waiters(s, t);
	return n == p->n;
}

void fake_wait_blocked(struct fake_provider *f, unsigned n)
{
	char what[64];

	snprintf(what, sizeof what, "%u parked waiters", n);
	test_wait_until(n_are_parked, &(struct parked){ .f = f, .n = n }, what);
}

void fake_wait_owned(struct fake_provider *f, unsigned n)
{
	uint64_t deadline = test_now_ns() + test_timeout_ns();
	bool in_time = true;

	mutex_lock(&f->lock);
	while (f->n_owned != n && in_time)
		in_time = cond_wait_until(&f->changed, &f->lock, deadline);
	mutex_unlock(&f->lock);
	if (!in_time)
		test_die("gave up waiting for %u owned requests", n);
}

unsigned fake_n_owned(struct fake_provider *f)
{
	unsigned n;

	mutex_lock(&f->lock);
	n = f->n_owned;
	mutex_unlock(&f->lock);
	return n;
}

unsigned fake_n_unseen(struct fake_provider *f)
{
	struct vmofs_list *pos;
	unsigned n = 0;

	mutex_lock(&f->lock);
	vmofs_list_for_each(pos, &f->owned)
		n += !vmofs_list_entry(pos, struct fake_slot, link)->seen;
	mutex_unlock(&f->lock);
	return n;
}

bool fake_owned(struct fake_provider *f, unsigned i, struct fake_request *out)
{
	struct vmofs_list *pos;
	bool found = false;

	mutex_lock(&f->lock);
	vmofs_list_for_each(pos, &f->owned) {
		if (i--)
			continue;
		*out = slot_request(vmofs_list_entry(pos, struct fake_slot, link));
		found = true;
		break;
	}
	mutex_unlock(&f->lock);
	return found;
}

bool fake_owns(struct fake_provider *f, enum vmofs_request_type type, uint64_t page, uint64_t n)
{
	struct vmofs_list *pos;
	bool found = false;

	mutex_lock(&f->lock);
	vmofs_list_for_each(pos, &f->owned) {
		struct fake_slot *s = vmofs_list_entry(pos, struct fake_slot, link);

		found |= s->type == type && s->off == page_bytes(page) && s->len == page_bytes(n);
	}
	mutex_unlock(&f->lock);
	return found;
}

bool fake_owned_are_disjoint(struct fake_provider *f)
{
	struct vmofs_list *i;
	struct vmofs_list *j;
	bool disjoint = true;

	mutex_lock(&f->lock);
	vmofs_list_for_each(i, &f->owned) {
		struct fake_slot *a = vmofs_list_entry(i, struct fake_slot, link);

		for (j = i->next; j != &f->owned; j = j->next) {
			struct fake_slot *b = vmofs_list_entry(j, struct fake_slot, link);

			if (a->type == b->type && a->off < b->off + b->len &&
			    b->off < a->off + a->len)
				disjoint = false;
		}
	}
	mutex_unlock(&f->lock);
	return disjoint;
}

uint64_t fake_count(struct fake_provider *f, enum fake_event_kind kind)
{
	uint64_t n;

	mutex_lock(&f->lock);
	n = f->count[kind];
	mutex_unlock(&f->lock);
	return n;
}

bool fake_event(struct fake_provider *f, uint64_t i, struct fake_event *out)
{
	bool kept;

	mutex_lock(&f->lock);
	kept = i < f->n_events && f->n_events - i <= FAKE_N_EVENTS;
	if (kept)
		*out = f->events[i % FAKE_N_EVENTS];
	mutex_unlock(&f->lock);
	return kept;
}

uint64_t fake_n_events(struct fake_provider *f)
{
	uint64_t n;

	mutex_lock(&f->lock);
	n = f->n_events;
	mutex_unlock(&f->lock);
	return n;
}

uint64_t fake_pages_asked(struct fake_provider *f, enum vmofs_request_type type)
{
	uint64_t n;

	mutex_lock(&f->lock);
	n = f->asked[type];
	mutex_unlock(&f->lock);
	return n;
}

/* Without the lock: who is about to abort may hold it. */
void fake_dump_self(struct fake_provider *f, FILE *out) NO_TSA
{
	uint64_t from = f->n_events > 40 ? f->n_events - 40 : 0;
	struct vmofs_list *pos;

	fprintf(out, "fake provider %#lx: %u owned, %lu calls\n", f->key, f->n_owned, f->n_events);
	for (uint64_t i = from; i < f->n_events; i++) {
		const struct fake_event *e = &f->events[i % FAKE_N_EVENTS];

		fprintf(out, "  %5lu %-6s %s (%lu,%lu)\n", i, event_names[e->kind],
			e->kind <= FAKE_SWAP ? type_names[e->req.type] : "", e->req.page, e->req.n);
	}
	vmofs_list_for_each(pos, &f->owned) {
		struct fake_slot *s = vmofs_list_entry(pos, struct fake_slot, link);

		fprintf(out, "  owned: %s (%lu,%lu) %s\n", type_names[s->type], s->off >> 12,
			s->len >> 12, s->seen ? "seen" : "unseen");
	}
}

void fake_dump(struct fake_provider *f, FILE *out)
{
	mutex_lock(&f->lock);
	fake_dump_self(f, out);
	mutex_unlock(&f->lock);
}
