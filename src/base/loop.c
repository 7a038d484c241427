/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event loops over epoll. A turn is: events, due timers, tasks, hooks. Tasks and wakes of other
 * threads come through a locked list and one eventfd, which is written only while the loop sleeps;
 * what a loop asks of itself costs no system call. It knows nothing of what it runs.
 *
 * Sleeping: the loop sets `asleep`, then looks at `pending`; a poster sets `pending`, then looks at
 * `asleep` (both sequentially consistent), so one of the two sees the other.
 */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/sync.h"

#define LOOP_BATCH    64
#define LOOP_SERVICES 8

enum pool_state { POOL_NEW, POOL_RUNNING, POOL_STOPPED };

struct loop {
	/* fixed at creation */
	struct loop_pool *pool; /* borrowed */
	unsigned index;
	int epfd;
	int evfd;

	/* loop thread only */
	pthread_t thread;
	bool started;
	bool again;               /* woken by itself while its hooks ran */
	struct vmofs_list local;  /* tasks of its own */
	struct vmofs_list timers; /* by due_ns, soonest first */
	struct vmofs_list hooks;
	struct vmofs_list *next_hook; /* the one that runs next while hooks run */
	struct epoll_event events[LOOP_BATCH];
	int nevents; /* of the batch in hand */
	int cursor;  /* the next one to look at */
	struct loop_watch wake_watch;

	struct mutex lock;
	struct vmofs_list remote; /* lock: lock; tasks of other threads */
	bool stopped;             /* lock: lock; nobody will look at remote any more */

	atomic_bool pending; /* remote tasks, a wake or a stop */
	atomic_bool asleep;
};

struct loop_pool {
	unsigned n;
	enum pool_state state; /* set-up and shut-down thread only */
	atomic_bool stop;
	atomic_uint last_slept;
	struct mutex lock;
	struct {
		const struct loop_service *type;
		void *it;
	} services[LOOP_SERVICES]; /* lock: lock */
	unsigned nservices;        /* lock: lock */
	struct loop loops[];
};

static _Thread_local struct loop *current;

uint64_t loop_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

struct loop *loop_current(void)
{
	return current;
}

unsigned loop_index(const struct loop *l)
{
	return l->index;
}

unsigned loop_pool_size(const struct loop_pool *p)
{
	return p->n;
}

struct loop *loop_pool_nth(struct loop_pool *p, unsigned i)
{
	assert(i < p->n);
	return &p->loops[i];
}

struct loop *loop_pool_pick(struct loop_pool *p)
{
	if (current && current->pool == p)
		return current;
	return &p->loops[atomic_load_explicit(&p->last_slept, memory_order_relaxed)];
}

struct loop *loop_pool_idle(struct loop_pool *p, const struct loop *but)
{
	for (unsigned i = 0; i < p->n; i++) {
		struct loop *l = &p->loops[i];

		if (l != but && atomic_load_explicit(&l->asleep, memory_order_relaxed))
			return l;
	}
	return NULL;
}

/* -- watches ---------------------------------------------------------------------------------- */

static int watch_ctl(struct loop *l, int op, struct loop_watch *w)
{
	struct epoll_event ev = { .events = w->events, .data.ptr = w };

	return epoll_ctl(l->epfd, op, w->fd, &ev) < 0 ? -errno : 0;
}

int loop_watch_add(struct loop *l, struct loop_watch *w)
{
	return watch_ctl(l, EPOLL_CTL_ADD, w);
}

int loop_watch_mod(struct loop *l, struct loop_watch *w, uint32_t events)
{
	w->events = events;
	return watch_ctl(l, EPOLL_CTL_MOD, w);
}

void loop_watch_del(struct loop *l, struct loop_watch *w)
{
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	for (int i = l->cursor; i < l->nevents; i++)
		if (l->events[i].data.ptr == w)
			l->events[i].data.ptr = NULL;
}

/* -- tasks and wakes -------------------------------------------------------------------------- */

static void notify(struct loop *l)
{
	uint64_t one = 1;

	atomic_store(&l->pending, true);
	if (!atomic_exchange(&l->asleep, false))
		return;
	while (write(l->evfd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

static void run_on_caller(struct loop *l, struct loop_task *t)
{
	struct loop *outer = current;

	current = l;
	t->run(t, l);
	current = outer;
}

void loop_post(struct loop *l, struct loop_task *t)
{
	bool stopped;

	if (current == l) {
		vmofs_list_add_tail(&l->local, &t->link);
		return;
	}
	mutex_lock(&l->lock);
	stopped = l->stopped;
	if (!stopped)
		vmofs_list_add_tail(&l->remote, &t->link);
	mutex_unlock(&l->lock);

	if (stopped)
		run_on_caller(l, t);
	else
		notify(l);
}

void loop_wake(struct loop *l)
{
	if (current == l)
		l->again = true;
	else
		notify(l);
}

static void take_remote(struct loop *l)
{
	mutex_lock(&l->lock);
	vmofs_list_splice_tail(&l->local, &l->remote);
	mutex_unlock(&l->lock);
}

/* Runs what is queued now; what these tasks post comes in the next turn. */
static void run_tasks(struct loop *l)
{
	struct vmofs_list batch;

	if (atomic_exchange(&l->pending, false))
		take_remote(l);
	vmofs_list_init(&batch);
	vmofs_list_splice_tail(&batch, &l->local);
	while (!vmofs_list_empty(&batch)) {
		struct loop_task *t = vmofs_list_first(&batch, struct loop_task, link);

		vmofs_list_del(&t->link);
		t->run(t, l);
	}
}

/* Everything that is left, where no thread of the loop runs. */
static void drain_tasks(struct loop *l)
{
	struct loop *outer = current;

	current = l;
	take_remote(l);
	while (!vmofs_list_empty(&l->local)) {
		run_tasks(l);
		take_remote(l);
	}
	current = outer;
}

/* -- timers ----------------------------------------------------------------------------------- */

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t due_ns)
{
	struct vmofs_list *pos;

	loop_timer_del(l, t);
	t->due_ns = due_ns ? due_ns : 1;
	for (pos = l->timers.prev; pos != &l->timers; pos = pos->prev)
		if (vmofs_list_entry(pos, struct loop_timer, link)->due_ns <= t->due_ns)
			break;
	vmofs_list_insert(pos, &t->link);
}

void loop_timer_del(struct loop *l UNUSED, struct loop_timer *t)
{
	if (!t->due_ns)
		return;
	t->due_ns = 0;
	vmofs_list_del(&t->link);
}

static void run_timers(struct loop *l)
{
	uint64_t now;

	if (vmofs_list_empty(&l->timers))
		return;
	now = loop_now_ns();
	while (!vmofs_list_empty(&l->timers)) {
		struct loop_timer *t = vmofs_list_first(&l->timers, struct loop_timer, link);

		if (t->due_ns > now)
			break;
		loop_timer_del(l, t);
		t->fire(t, l);
	}
}

/* -- hooks ------------------------------------------------------------------------------------ */

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
	vmofs_list_add_tail(&l->hooks, &h->link);
}

void loop_hook_del(struct loop *l, struct loop_hook *h)
{
	if (l->next_hook == &h->link)
		l->next_hook = h->link.next;
	vmofs_list_del(&h->link);
}

static void run_hooks(struct loop *l)
{
	struct vmofs_list *pos;

	l->again = false;
	for (pos = l->hooks.next; pos != &l->hooks; pos = l->next_hook) {
		struct loop_hook *h = vmofs_list_entry(pos, struct loop_hook, link);

		l->next_hook = pos->next;
		h->turn(h, l);
	}
	l->next_hook = NULL;
}

/* -- the turn --------------------------------------------------------------------------------- */

static void wake_ready(struct loop_watch *w, struct loop *l UNUSED, uint32_t events UNUSED)
{
	uint64_t n;

	while (read(w->fd, &n, sizeof n) < 0 && errno == EINTR)
		;
}

/* How long epoll may sleep; NULL: for ever. */
static const struct timespec *sleep_time(struct loop *l, struct timespec *ts)
{
	struct loop_timer *first = vmofs_list_first(&l->timers, struct loop_timer, link);
	uint64_t now, left;

	*ts = (struct timespec){ 0 };
	if (l->again || !vmofs_list_empty(&l->local) || atomic_load(&l->pending))
		return ts;
	if (!first)
		return NULL;
	now = loop_now_ns();
	left = first->due_ns > now ? first->due_ns - now : 0;
	ts->tv_sec = (time_t)(left / NSEC_PER_SEC);
	ts->tv_nsec = (long)(left % NSEC_PER_SEC);
	return ts;
}

static void wait_events(struct loop *l)
{
	const struct timespec *timeout;
	struct timespec ts;
	int n;

	atomic_store(&l->asleep, true);
	timeout = sleep_time(l, &ts);
	if (timeout && !timeout->tv_sec && !timeout->tv_nsec)
		atomic_store(&l->asleep, false);
	else
		atomic_store_explicit(&l->pool->last_slept, l->index, memory_order_relaxed);
	n = epoll_pwait2(l->epfd, l->events, LOOP_BATCH, timeout, NULL);
	atomic_store(&l->asleep, false);
	l->nevents = n < 0 ? 0 : n;
}

static void run_events(struct loop *l)
{
	for (l->cursor = 0; l->cursor < l->nevents;) {
		struct epoll_event *ev = &l->events[l->cursor++];
		struct loop_watch *w = ev->data.ptr;

		if (w)
			w->ready(w, l, ev->events);
	}
	l->nevents = 0;
}

static void *loop_main(void *arg)
{
	struct loop *l = arg;
	char name[16];

	current = l;
	snprintf(name, sizeof name, "vmofs-loop-%u", l->index);
	pthread_setname_np(pthread_self(), name);
	while (!atomic_load(&l->pool->stop)) {
		wait_events(l);
		run_events(l);
		run_timers(l);
		run_tasks(l);
		run_hooks(l);
	}
	current = NULL;
	return NULL;
}

/* -- calls ------------------------------------------------------------------------------------ */

struct loop_call_task {
	struct loop_task task;
	void (*run)(void *arg, struct loop *l);
	void *arg;
	struct mutex lock;
	struct cond done_cond;
	bool done; /* lock: lock */
};

static void call_run(struct loop_task *t, struct loop *l)
{
	struct loop_call_task *c = container_of(t, struct loop_call_task, task);

	c->run(c->arg, l);
	mutex_lock(&c->lock);
	c->done = true;
	cond_signal(&c->done_cond);
	mutex_unlock(&c->lock);
}

void loop_call(struct loop *l, void (*run)(void *arg, struct loop *l), void *arg)
{
	struct loop_call_task c = { .task.run = call_run, .run = run, .arg = arg };

	assert(!current);
	mutex_init(&c.lock, LOCK_RANK_LOOP);
	cond_init(&c.done_cond);
	if (l->pool->state == POOL_RUNNING) {
		loop_post(l, &c.task);
		mutex_lock(&c.lock);
		while (!c.done)
			cond_wait(&c.done_cond, &c.lock);
		mutex_unlock(&c.lock);
	} else {
		run_on_caller(l, &c.task);
	}
	cond_destroy(&c.done_cond);
	mutex_destroy(&c.lock);
}

/* -- the pool --------------------------------------------------------------------------------- */

static int loop_init(struct loop *l, struct loop_pool *p, unsigned index)
{
	l->pool = p;
	l->index = index;
	l->epfd = -1;
	l->evfd = -1;
	vmofs_list_init(&l->local);
	vmofs_list_init(&l->remote);
	vmofs_list_init(&l->timers);
	vmofs_list_init(&l->hooks);
	mutex_init(&l->lock, LOCK_RANK_LOOP);
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0)
		return -errno;
	l->evfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->evfd < 0)
		return -errno;
	l->wake_watch =
		(struct loop_watch){ .fd = l->evfd, .events = EPOLLIN, .ready = wake_ready };
	return loop_watch_add(l, &l->wake_watch);
}

static void loop_release(struct loop *l)
{
	if (!l->pool)
		return;
	fd_closep(&l->epfd);
	fd_closep(&l->evfd);
	mutex_destroy(&l->lock);
}

struct loop_pool *loop_pool_new(unsigned nthreads, struct vmofs_err *err)
{
	struct loop_pool *p = calloc(1, sizeof *p + nthreads * sizeof p->loops[0]);
	int r;

	assert(nthreads > 0);
	if (!p) {
		vmofs_err_set(err, -ENOMEM, "cannot allocate event loops");
		return NULL;
	}
	p->n = nthreads;
	mutex_init(&p->lock, LOCK_RANK_SERVICE);
	for (unsigned i = 0; i < nthreads; i++) {
		r = loop_init(&p->loops[i], p, i);
		if (r < 0) {
			vmofs_err_set(err, r, "cannot create event loop %u", i);
			loop_pool_free(p);
			return NULL;
		}
	}
	return p;
}

/* Signals are for the main thread: every one is blocked in the loops. */
int loop_pool_start(struct loop_pool *p, struct vmofs_err *err)
{
	sigset_t all, old;
	int r = 0;

	assert(p->state == POOL_NEW);
	p->state = POOL_RUNNING;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < p->n && r == 0; i++) {
		r = pthread_create(&p->loops[i].thread, NULL, loop_main, &p->loops[i]);
		p->loops[i].started = r == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0)
		return 0;
	loop_pool_stop(p);
	return vmofs_err_set(err, -r, "cannot start event loop threads");
}

static void loop_set_stopped(struct loop *l)
{
	mutex_lock(&l->lock);
	l->stopped = true;
	mutex_unlock(&l->lock);
}

void loop_pool_stop(struct loop_pool *p)
{
	if (p->state != POOL_RUNNING)
		return;
	assert(!current);
	atomic_store(&p->stop, true);
	for (unsigned i = 0; i < p->n; i++)
		notify(&p->loops[i]);
	for (unsigned i = 0; i < p->n; i++)
		if (p->loops[i].started)
			pthread_join(p->loops[i].thread, NULL);
	p->state = POOL_STOPPED;
	for (unsigned i = 0; i < p->n; i++) {
		loop_set_stopped(&p->loops[i]);
		drain_tasks(&p->loops[i]);
	}
}

void loop_pool_free(struct loop_pool *p)
{
	if (!p)
		return;
	loop_pool_stop(p);
	for (unsigned i = 0; i < p->n && p->loops[i].pool; i++)
		drain_tasks(&p->loops[i]);
	while (p->nservices > 0) {
		p->nservices--;
		p->services[p->nservices].type->free(p->services[p->nservices].it);
	}
	for (unsigned i = 0; i < p->n; i++)
		loop_release(&p->loops[i]);
	mutex_destroy(&p->lock);
	free(p);
}

static void *service_locked(struct loop_pool *p, const struct loop_service *s) REQUIRES(p->lock)
{
	void *it;

	for (unsigned i = 0; i < p->nservices; i++)
		if (p->services[i].type == s)
			return p->services[i].it;
	assert(p->nservices < LOOP_SERVICES);
	it = s->make(p);
	if (!it)
		return NULL;
	p->services[p->nservices].type = s;
	p->services[p->nservices].it = it;
	p->nservices++;
	return it;
}

void *loop_pool_service(struct loop_pool *p, const struct loop_service *s)
{
	void *it;

	mutex_lock(&p->lock);
	it = service_locked(p, s);
	mutex_unlock(&p->lock);
	return it;
}
