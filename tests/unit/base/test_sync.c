/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks: the right order passes, each wrong one ends the process in builds with assertions (tried in
 * a child). Condition variables: hand-over between threads, and deadlines on the monotonic clock.
 */
#include "base/sync.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"

static struct mutex vmo, provider, budget, budget2;

static void init_all(void)
{
	mutex_init(&vmo, LOCK_RANK_VMO);
	mutex_init(&provider, LOCK_RANK_PROVIDER);
	mutex_init(&budget, LOCK_RANK_BUDGET);
	mutex_init(&budget2, LOCK_RANK_BUDGET);
}

static void right_order(void) NO_TSA
{
	mutex_lock(&vmo);
	mutex_lock(&provider);
	mutex_lock(&budget);
	/* Unlocking in any order is fine. */
	mutex_unlock(&provider);
	mutex_unlock(&vmo);
	mutex_unlock(&budget);
	mutex_lock(&vmo);
	mutex_unlock(&vmo);
	sync_assert_none_held();
}

static void inner_first(void) NO_TSA
{
	mutex_lock(&provider);
	mutex_lock(&vmo);
}

static void two_of_one_rank(void) NO_TSA
{
	mutex_lock(&budget);
	mutex_lock(&budget2);
}

static void order_after_unlock_of_the_outer(void) NO_TSA
{
	mutex_lock(&vmo);
	mutex_lock(&budget);
	mutex_unlock(&vmo);
	mutex_lock(&provider);
}

static void block_with_a_lock(void) NO_TSA
{
	mutex_lock(&vmo);
	sync_assert_none_held();
}

static void unlock_of_another(void) NO_TSA
{
	mutex_lock(&vmo);
	mutex_unlock(&budget);
}

/* Whether fn() ends its process by an assertion. */
static bool dies(void (*fn)(void))
{
	struct rlimit no_core = { 0 };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		dup2(null, STDERR_FILENO);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void ranks_in_order_pass(void **state UNUSED)
{
	assert_false(dies(right_order));
	right_order();
}

static void wrong_orders_die(void **state UNUSED)
{
	static void (*const wrong[])(void) = {
		inner_first,       two_of_one_rank,   order_after_unlock_of_the_outer,
		block_with_a_lock, unlock_of_another,
	};

	if (!VMOFS_LIB_ASSERTS)
		skip();
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++)
		assert_true(dies(wrong[i]));
}

/* Two threads hand a number back and forth: nothing is lost, nobody needs to sleep. */
enum { N_TURNS = 2000 };

struct ball {
	struct mutex lock;
	struct cond moved;
	unsigned turn; /* lock: lock */
};

static void play(struct ball *b, unsigned side)
{
	mutex_lock(&b->lock);
	while (b->turn < N_TURNS) {
		if (b->turn % 2 != side) {
			cond_wait(&b->moved, &b->lock);
			continue;
		}
		b->turn++;
		cond_signal(&b->moved);
	}
	cond_broadcast(&b->moved);
	mutex_unlock(&b->lock);
}

static void *play_odd(void *arg)
{
	play(arg, 1);
	return NULL;
}

static void cond_hands_over(void **state UNUSED)
{
	struct ball b = { .turn = 0 };
	pthread_t t;

	mutex_init(&b.lock, LOCK_RANK_VMO);
	cond_init(&b.moved);
	assert_int_equal(pthread_create(&t, NULL, play_odd, &b), 0);
	play(&b, 0);
	pthread_join(t, NULL);
	assert_int_equal(b.turn, N_TURNS);
	cond_destroy(&b.moved);
	mutex_destroy(&b.lock);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void deadlines_pass(void **state UNUSED)
{
	uint64_t deadline = now_ns() + 5 * NSEC_PER_MSEC;
	struct mutex m;
	struct cond c;

	mutex_init(&m, LOCK_RANK_VMO);
	cond_init(&c);
	mutex_lock(&m);
	assert_false(cond_wait_until(&c, &m, 1)); /* long ago */
	while (cond_wait_until(&c, &m, deadline))
		; /* woken without a signal */
	mutex_unlock(&m);
	assert_true(now_ns() >= deadline);
	cond_destroy(&c);
	mutex_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranks_in_order_pass),
		cmocka_unit_test(wrong_orders_die),
		cmocka_unit_test(cond_hands_over),
		cmocka_unit_test(deadlines_pass),
	};

	init_all();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
