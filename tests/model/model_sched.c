/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One baton for all threads. The main thread plays the test; a task thread runs only between
 * sched_start() or sched_resume() and its next wait.
 *
 * LINK: -Wl,--wrap=cond_wait,--wrap=cond_wait_until,--wrap=cond_signal,--wrap=cond_broadcast
 * LINK: -Wl,--wrap=clock_gettime
 */
#include "model/model_sched.h"

#include <assert.h>
#include <pthread.h>
#include <time.h>

#include "base/macros.h"
#include "base/sync.h"
#include "model/model.h"

struct task {
	pthread_t thread;
	pthread_cond_t turn;
	bool started;
	bool exiting;
	enum task_state state;
	void (*fn)(void *arg);
	void *arg;
	struct cond *on;   /* what it waits for while blocked */
	uint64_t deadline; /* of this wait, 0: none */
	uint64_t since;    /* order of blocking: a signal wakes the one that waits longest */
	bool timed_out;
};

static pthread_mutex_t baton = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t main_turn = PTHREAD_COND_INITIALIZER;
static struct task tasks[SCHED_TASKS];
static struct task *running; /* lock: baton; NULL: the main thread */
static _Thread_local struct task *self;
static uint64_t now_ns = NSEC_PER_SEC;
static uint64_t n_blocks;

void __wrap_cond_wait(struct cond *c, struct mutex *m);
bool __wrap_cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns);
void __wrap_cond_signal(struct cond *c);
void __wrap_cond_broadcast(struct cond *c);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __real_clock_gettime(clockid_t id, struct timespec *ts);

/* In a task: gives the baton back and waits for it. */
static void pass_to_main(void)
{
	pthread_mutex_lock(&baton);
	running = NULL;
	pthread_cond_signal(&main_turn);
	while (running != self)
		pthread_cond_wait(&self->turn, &baton);
	pthread_mutex_unlock(&baton);
}

static void *task_main(void *arg)
{
	self = arg;
	pthread_mutex_lock(&baton);
	while (running != self)
		pthread_cond_wait(&self->turn, &baton);
	pthread_mutex_unlock(&baton);
	while (!self->exiting) {
		self->fn(self->arg);
		self->state = TASK_DONE;
		pass_to_main();
	}
	pthread_mutex_lock(&baton);
	running = NULL;
	pthread_cond_signal(&main_turn);
	pthread_mutex_unlock(&baton);
	return NULL;
}

static void run(struct task *t)
{
	pthread_mutex_lock(&baton);
	running = t;
	pthread_cond_signal(&t->turn);
	while (running)
		pthread_cond_wait(&main_turn, &baton);
	pthread_mutex_unlock(&baton);
}

void sched_start(unsigned i, void (*fn)(void *arg), void *arg)
{
	struct task *t = &tasks[i];

	assert(t->state == TASK_IDLE);
	if (!t->started) {
		pthread_cond_init(&t->turn, NULL);
		pthread_create(&t->thread, NULL, task_main, t);
		t->started = true;
	}
	t->fn = fn;
	t->arg = arg;
	t->state = TASK_READY;
	run(t);
}

void sched_resume(unsigned i)
{
	assert(tasks[i].state == TASK_READY);
	run(&tasks[i]);
}

void sched_reap(unsigned i)
{
	assert(tasks[i].state == TASK_DONE);
	tasks[i].state = TASK_IDLE;
}

enum task_state sched_state(unsigned i)
{
	return tasks[i].state;
}

void sched_exit(void)
{
	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		struct task *t = &tasks[i];

		if (!t->started)
			continue;
		t->exiting = true;
		run(t);
		pthread_join(t->thread, NULL);
		pthread_cond_destroy(&t->turn);
		*t = (struct task){ 0 };
	}
}

uint64_t sched_now(void)
{
	return now_ns;
}

void sched_reset(void)
{
	now_ns = NSEC_PER_SEC;
	n_blocks = 0;
}

void sched_advance(uint64_t ns)
{
	now_ns += ns;
	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		struct task *t = &tasks[i];

		if (t->state != TASK_BLOCKED || !t->deadline || t->deadline > now_ns)
			continue;
		t->timed_out = true;
		t->state = TASK_READY;
	}
}

static bool block(struct cond *c, struct mutex *m, uint64_t deadline_ns) NO_TSA
{
	if (!self)
		model_fail("a call that must not block waits");
	self->on = c;
	self->deadline = deadline_ns;
	self->since = ++n_blocks;
	self->timed_out = deadline_ns && deadline_ns <= now_ns;
	self->state = self->timed_out ? TASK_READY : TASK_BLOCKED;
	mutex_unlock(m);
	pass_to_main();
	mutex_lock(m);
	self->on = NULL;
	return !self->timed_out;
}

void __wrap_cond_wait(struct cond *c, struct mutex *m)
{
	block(c, m, 0);
}

bool __wrap_cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns)
{
	return block(c, m, deadline_ns);
}

static struct task *longest_waiting(const struct cond *c)
{
	struct task *found = NULL;

	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		struct task *t = &tasks[i];

		if (t->state == TASK_BLOCKED && t->on == c && (!found || t->since < found->since))
			found = t;
	}
	return found;
}

void __wrap_cond_signal(struct cond *c)
{
	struct task *t = longest_waiting(c);

	if (t)
		t->state = TASK_READY;
}

void __wrap_cond_broadcast(struct cond *c)
{
	struct task *t;

	while ((t = longest_waiting(c)))
		t->state = TASK_READY;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	if (id != CLOCK_MONOTONIC)
		return __real_clock_gettime(id, ts);
	ts->tv_sec = (time_t)(now_ns / NSEC_PER_SEC);
	ts->tv_nsec = (long)(now_ns % NSEC_PER_SEC);
	return 0;
}
