/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads on demand: every call is made, as many at once as there may be threads, also by an alarm and at the end. The work
 * waits at a gate, so that nothing depends on how fast threads are.
 */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_call_is_made),
		cmocka_unit_test(test_as_many_at_once_as_may_be),
		cmocka_unit_test(test_an_alarm_is_a_call),
		cmocka_unit_test(test_the_end_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
