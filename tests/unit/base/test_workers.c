/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads on demand: every call is made, as many at once as there may be threads, also by an alarm and at the end. The work
 * waits at a gate, so that nothing depends on how fast threads are.
 */
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "base/workers.h"

struct place {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool shut;
	unsigned begun, ended; /* lock */
	unsigned at_once;      /* lock: now */
	unsigned most;         /* lock: at once */
	unsigned fresh;        /* lock: calls of threads that had nothing of their own yet */
};

static void place_work(void *arg, void **own)
{
	struct place *p = arg;

	pthread_mutex_lock(&p->lock);
	p->begun++;
	p->at_once++;
	p->most = MAX(p->most, p->at_once);
	p->fresh += !*own;
	pthread_cond_broadcast(&p->cond);
	while (p->shut)
		pthread_cond_wait(&p->cond, &p->lock);
	p->at_once--;
	p->ended++;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
	if (!*own)
		*own = malloc(1);
}

static struct workers *start(struct place *p, unsigned max)
{
	const struct workers_params wp = {
		.name = "test",
		.max = max,
		.work = place_work,
		.arg = p,
	};
	struct workers *w;

	*p = (struct place){ .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	assert_int_equal(workers_new(&w, &wp), 0);
	return w;
}

static void wait_for(struct place *p, const unsigned *what, unsigned n)
{
	pthread_mutex_lock(&p->lock);
	while (*what < n)
		pthread_cond_wait(&p->cond, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

static void set_shut(struct place *p, bool shut)
{
	pthread_mutex_lock(&p->lock);
	p->shut = shut;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

static void test_each_call_is_made(void **state UNUSED)
{
	struct place p;
	struct workers *w = start(&p, 3);

	for (unsigned i = 0; i < 1000; i++)
		workers_call(w);
	wait_for(&p, &p.ended, 1000);
	workers_free(w);
	assert_int_equal(p.ended, 1000);
	assert_in_range(p.most, 1, 3);
	assert_in_range(p.fresh, 1, 3);
}

/* Those that are busy do not keep others waiting, as long as there may be more threads. */
static void test_as_many_at_once_as_may_be(void **state UNUSED)
{
	struct place p;
	struct workers *w = start(&p, 4);

	set_shut(&p, true);
	for (unsigned i = 0; i < 10; i++)
		workers_call(w);
	wait_for(&p, &p.begun, 4);
	set_shut(&p, false);
	wait_for(&p, &p.ended, 10);
	assert_int_equal(p.most, 4);
	workers_free(w);
}

static void test_an_alarm_is_a_call(void **state UNUSED)
{
	struct place p;
	struct workers *w = start(&p, 2);
	uint64_t now = loop_now_ns();

	/* The earliest counts. */
	workers_call_at(w, now + 3600 * NSEC_PER_SEC);
	workers_call_at(w, now + NSEC_PER_MSEC);
	workers_call_at(w, now + 1800 * NSEC_PER_SEC);
	wait_for(&p, &p.ended, 1);
	assert_true(loop_now_ns() >= now + NSEC_PER_MSEC);
	workers_call_at(w, now);
	wait_for(&p, &p.ended, 2);
	workers_free(w);
	assert_int_equal(p.ended, 2);
}

/* What has been called for is done, an alarm that is not due is not. */
static void test_the_end_waits(void **state UNUSED)
{
	struct place p;
	struct workers *w = start(&p, 1);

	workers_call_at(w, UINT64_MAX - 1);
	for (unsigned i = 0; i < 50; i++)
		workers_call(w);
	workers_free(w);
	assert_int_equal(p.ended, 50);
	workers_free(NULL);
}

/* ---- calls during the end ---- */

/*
 * Of two threads one has a call made by its work after the other has ended, which only happens once the end has counted
 * both; what that begins is seen before either goes on.
 */
struct late {
	struct place p;
	struct workers *w;
	pthread_key_t key;
	unsigned n_calls;       /* p.lock */
	unsigned n_ended;       /* p.lock: threads on their way out */
	unsigned before, after; /* threads of the process */
	unsigned counted;       /* p.lock */
};

static unsigned n_threads(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void late_raise(struct late *l, unsigned *what)
{
	pthread_mutex_lock(&l->p.lock);
	(*what)++;
	pthread_cond_broadcast(&l->p.cond);
	pthread_mutex_unlock(&l->p.lock);
}

static void late_thread_ends(void *arg)
{
	struct late *l = arg;

	late_raise(l, &l->n_ended);
	wait_for(&l->p, &l->counted, 1);
}

static void late_work(void *arg, void **own UNUSED)
{
	struct late *l = arg;
	unsigned nth;

	pthread_mutex_lock(&l->p.lock);
	nth = l->n_calls++;
	pthread_cond_broadcast(&l->p.cond);
	pthread_mutex_unlock(&l->p.lock);
	if (nth == 0) {
		wait_for(&l->p, &l->n_ended, 1);
		l->before = n_threads();
		workers_call(l->w);
		l->after = n_threads();
		late_raise(l, &l->counted);
	} else if (nth == 1) {
		pthread_setspecific(l->key, l);
	}
}

static void test_no_thread_begins_once_they_end(void **state UNUSED)
{
	struct late l = { .p = { .lock = PTHREAD_MUTEX_INITIALIZER,
				 .cond = PTHREAD_COND_INITIALIZER } };
	const struct workers_params wp = { .name = "test", .max = 8, .work = late_work, .arg = &l };

	assert_int_equal(pthread_key_create(&l.key, late_thread_ends), 0);
	assert_int_equal(workers_new(&l.w, &wp), 0);
	workers_call(l.w);
	wait_for(&l.p, &l.n_calls, 1);
	workers_call(l.w);
	wait_for(&l.p, &l.n_calls, 2);
	workers_free(l.w);
	pthread_key_delete(l.key);
	/* One that never had anything to do may have ended in between. */
	assert_true(l.after <= l.before);
	/* What was called for so late is done all the same. */
	assert_int_equal(l.n_calls, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_call_is_made),
		cmocka_unit_test(test_as_many_at_once_as_may_be),
		cmocka_unit_test(test_an_alarm_is_a_call),
		cmocka_unit_test(test_the_end_waits),
		cmocka_unit_test(test_no_thread_begins_once_they_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
