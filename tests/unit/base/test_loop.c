/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event loops: order of a turn, tasks and wakes from other threads, timers, removal in the middle
 * of a batch, hooks, services, life before start and after stop. Synchronised by loop_call() only.
 */
#include "base/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/macros.h"

struct counter_task {
	struct loop_task task;
	struct loop *ran_on;
	atomic_uint runs;
};

static void count_run(struct loop_task *t, struct loop *l)
{
	struct counter_task *c = container_of(t, struct counter_task, task);

	assert_ptr_equal(l, loop_current());
	c->ran_on = l;
	atomic_fetch_add(&c->runs, 1);
}

static void nothing(void *arg UNUSED, struct loop *l UNUSED)
{
}

static struct loop_pool *new_pool(unsigned n)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct loop_pool *p = loop_pool_new(n, &err);

	assert_non_null(p);
	return p;
}

static struct loop_pool *start_pool(unsigned n)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct loop_pool *p = new_pool(n);

	assert_int_equal(loop_pool_start(p, &err), 0);
	return p;
}

static void test_post_from_outside(void **state UNUSED)
{
	struct loop_pool *p = start_pool(2);
	struct counter_task t[2] = { { .task.run = count_run }, { .task.run = count_run } };

	for (unsigned i = 0; i < 2; i++) {
		loop_post(loop_pool_nth(p, i), &t[i].task);
		loop_call(loop_pool_nth(p, i), nothing, NULL);
		assert_int_equal(t[i].runs, 1);
		assert_ptr_equal(t[i].ran_on, loop_pool_nth(p, i));
		assert_int_equal(loop_index(t[i].ran_on), i);
	}
	assert_null(loop_current());
	assert_int_equal(loop_pool_size(p), 2);
	loop_pool_free(p);
}

static void test_tasks_wait_for_start(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct loop_pool *p = new_pool(1);
	struct counter_task t = { .task.run = count_run };

	loop_post(loop_pool_nth(p, 0), &t.task);
	assert_int_equal(t.runs, 0);
	assert_int_equal(loop_pool_start(p, &err), 0);
	loop_call(loop_pool_nth(p, 0), nothing, NULL);
	assert_int_equal(t.runs, 1);
	loop_pool_free(p);
}

static void test_free_runs_what_never_started(void **state UNUSED)
{
	struct loop_pool *p = new_pool(1);
	struct counter_task t = { .task.run = count_run };

	loop_post(loop_pool_nth(p, 0), &t.task);
	loop_pool_free(p);
	assert_int_equal(t.runs, 1);
}

static void test_stop_runs_queued_and_later_tasks(void **state UNUSED)
{
	struct loop_pool *p = start_pool(1);
	struct counter_task t[100] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		t[i].task.run = count_run;
		loop_post(loop_pool_nth(p, 0), &t[i].task);
	}
	loop_pool_stop(p);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(t[i].runs, 1);
	loop_post(loop_pool_nth(p, 0), &t[0].task);
	assert_int_equal(t[0].runs, 2);
	assert_null(loop_current());
	loop_call(loop_pool_nth(p, 0), nothing, NULL);
	loop_pool_free(p);
}

struct chain {
	struct loop_task task;
	unsigned left;
	struct loop *l;
};

static void chain_run(struct loop_task *t, struct loop *l)
{
	struct chain *c = container_of(t, struct chain, task);

	if (--c->left > 0)
		loop_post(l, t);
}

static void test_own_posts_need_no_outside_wake(void **state UNUSED)
{
	struct loop_pool *p = start_pool(1);
	struct chain c = { .task.run = chain_run, .left = 1000 };

	loop_post(loop_pool_nth(p, 0), &c.task);
	loop_pool_stop(p);
	assert_int_equal(c.left, 0);
	loop_pool_free(p);
}

#define POSTS 2000

struct storm {
	struct loop *l;
	struct counter_task t[POSTS];
};

static void *storm_main(void *arg)
{
	struct storm *s = arg;

	for (unsigned i = 0; i < POSTS; i++) {
		s->t[i].task.run = count_run;
		loop_post(s->l, &s->t[i].task);
		loop_wake(s->l);
	}
	return NULL;
}

static void test_posts_from_many_threads(void **state UNUSED)
{
	static struct storm storms[4];
	struct loop_pool *p = start_pool(2);
	pthread_t threads[4];

	memset(storms, 0, sizeof storms);
	for (unsigned i = 0; i < 4; i++) {
		storms[i].l = loop_pool_nth(p, i % 2);
		assert_int_equal(pthread_create(&threads[i], NULL, storm_main, &storms[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	loop_call(loop_pool_nth(p, 0), nothing, NULL);
	loop_call(loop_pool_nth(p, 1), nothing, NULL);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < POSTS; k++)
			assert_int_equal(storms[i].t[k].runs, 1);
	loop_pool_free(p);
}

struct order_timer {
	struct loop_timer timer;
	unsigned id;
};

static struct {
	unsigned fired[8];
	unsigned n;
	struct order_timer t[4];
	struct loop *l;
	atomic_bool last;
} order;

static void order_fire(struct loop_timer *t, struct loop *l UNUSED)
{
	struct order_timer *o = container_of(t, struct order_timer, timer);

	assert_int_equal(t->due_ns, 0);
	order.fired[order.n++] = o->id;
	if (o->id == 2)
		atomic_store(&order.last, true);
}

static void order_arm(void *arg UNUSED, struct loop *l)
{
	uint64_t now = loop_now_ns();

	for (unsigned i = 0; i < 4; i++) {
		order.t[i].id = i;
		order.t[i].timer.fire = order_fire;
	}
	loop_timer_set(l, &order.t[2].timer, now + 3 * NSEC_PER_MSEC);
	loop_timer_set(l, &order.t[0].timer, now + 1 * NSEC_PER_MSEC);
	loop_timer_set(l, &order.t[3].timer, now + 1 * NSEC_PER_MSEC);
	loop_timer_set(l, &order.t[1].timer, now + NSEC_PER_SEC);
	loop_timer_set(l, &order.t[1].timer, now + 2 * NSEC_PER_MSEC);
	loop_timer_del(l, &order.t[3].timer);
	loop_timer_del(l, &order.t[3].timer);
}

static void test_timers_fire_in_order(void **state UNUSED)
{
	struct loop_pool *p = start_pool(1);

	order.n = 0;
	loop_call(loop_pool_nth(p, 0), order_arm, NULL);
	while (!atomic_load(&order.last))
		loop_call(loop_pool_nth(p, 0), nothing, NULL);
	loop_pool_free(p);
	assert_int_equal(order.n, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(order.fired[i], i);
}

/* Two descriptors are ready in one batch and each handler removes the other: one of them runs. */
struct pair_watch {
	struct loop_watch w;
	struct pair_watch *other;
	unsigned runs;
};

static void pair_ready(struct loop_watch *w, struct loop *l, uint32_t events UNUSED)
{
	struct pair_watch *me = container_of(w, struct pair_watch, w);

	me->runs++;
	loop_watch_del(l, &me->other->w);
	loop_watch_del(l, w);
}

static void pair_add(void *arg, struct loop *l)
{
	struct pair_watch *pw = arg;

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(loop_watch_add(l, &pw[i].w), 0);
}

static void test_removed_watch_stays_silent(void **state UNUSED)
{
	struct loop_pool *p = start_pool(1);
	struct pair_watch pw[2] = { 0 };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	for (unsigned i = 0; i < 2; i++) {
		pw[i].w = (struct loop_watch){ fds[i], EPOLLOUT, pair_ready };
		pw[i].other = &pw[1 - i];
	}
	loop_call(loop_pool_nth(p, 0), pair_add, pw);
	loop_call(loop_pool_nth(p, 0), nothing, NULL);
	loop_call(loop_pool_nth(p, 0), nothing, NULL);
	assert_int_equal(pw[0].runs + pw[1].runs, 1);
	loop_pool_free(p);
	close(fds[0]);
	close(fds[1]);
}

struct turn_hook {
	struct loop_hook hook;
	atomic_uint turns;
	unsigned more; /* turns it asks for itself */
	bool leave;    /* removes itself */
};

static void hook_turn(struct loop_hook *h, struct loop *l)
{
	struct turn_hook *t = container_of(h, struct turn_hook, hook);

	atomic_fetch_add(&t->turns, 1);
	if (t->leave) {
		loop_hook_del(l, h);
	} else if (t->more > 0) {
		t->more--;
		loop_wake(l);
	}
}

static void hooks_add(void *arg, struct loop *l)
{
	struct turn_hook *t = arg;

	for (unsigned i = 0; i < 3; i++)
		loop_hook_add(l, &t[i].hook);
}

static void test_hooks_run_each_turn(void **state UNUSED)
{
	struct loop_pool *p = start_pool(1);
	struct turn_hook t[3] = { 0 };

	for (unsigned i = 0; i < 3; i++)
		t[i].hook.turn = hook_turn;
	t[1].leave = true;
	t[2].more = 10;
	loop_call(loop_pool_nth(p, 0), hooks_add, t);
	while (atomic_load(&t[2].turns) < 11)
		loop_call(loop_pool_nth(p, 0), nothing, NULL);
	loop_pool_free(p);
	assert_int_equal(t[1].turns, 1);
	assert_int_equal(t[0].turns, t[2].turns);
}

static void pick_inside(void *arg, struct loop *l)
{
	assert_ptr_equal(loop_pool_pick(arg), l);
}

static void test_pick_prefers_the_current_loop(void **state UNUSED)
{
	struct loop_pool *p = start_pool(3);

	for (unsigned i = 0; i < 3; i++)
		loop_call(loop_pool_nth(p, i), pick_inside, p);
	assert_non_null(loop_pool_pick(p));
	assert_ptr_not_equal(loop_pool_idle(p, loop_pool_nth(p, 0)), loop_pool_nth(p, 0));
	loop_pool_free(p);
}

static unsigned made, freed;

static void *service_make(struct loop_pool *p UNUSED)
{
	made++;
	return &made;
}

static void service_free(void *it)
{
	assert_ptr_equal(it, &made);
	freed++;
}

static void test_service_is_made_once(void **state UNUSED)
{
	static const struct loop_service type = { service_make, service_free };
	struct loop_pool *p = new_pool(1);

	assert_ptr_equal(loop_pool_service(p, &type), &made);
	assert_ptr_equal(loop_pool_service(p, &type), &made);
	assert_int_equal(made, 1);
	assert_int_equal(freed, 0);
	loop_pool_free(p);
	assert_int_equal(freed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_post_from_outside),
		cmocka_unit_test(test_tasks_wait_for_start),
		cmocka_unit_test(test_free_runs_what_never_started),
		cmocka_unit_test(test_stop_runs_queued_and_later_tasks),
		cmocka_unit_test(test_own_posts_need_no_outside_wake),
		cmocka_unit_test(test_posts_from_many_threads),
		cmocka_unit_test(test_timers_fire_in_order),
		cmocka_unit_test(test_removed_watch_stays_silent),
		cmocka_unit_test(test_hooks_run_each_turn),
		cmocka_unit_test(test_pick_prefers_the_current_loop),
		cmocka_unit_test(test_service_is_made_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
