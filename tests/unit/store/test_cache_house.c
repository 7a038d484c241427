/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a cache whose disk hangs under the thread that keeps it in order. A gate in a system call holds that thread;
 * for the one that ends the cache all time to wait is over at once while the gate is shut.
 *
 * LINK: -Wl,--wrap=cond_wait_until
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "lib/cache_dir.h"
#include "store/cache_private.h"

static struct {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool shut;
	bool inside; /* the thread has come to the gate */
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

static _Thread_local bool time_is_over;

bool __real_cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns) REQUIRES(*m);
bool __wrap_cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns) REQUIRES(*m);

bool __wrap_cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns)
{
	return !time_is_over && __real_cond_wait_until(c, m, deadline_ns);
}

static int gated_fstatvfs(int fd, struct statvfs *st)
{
	pthread_mutex_lock(&gate.lock);
	gate.inside = true;
	pthread_cond_broadcast(&gate.cond);
	while (gate.shut)
		pthread_cond_wait(&gate.cond, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
	return cache_io_system.fstatvfs(fd, st);
}

static void gate_open(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.shut = false;
	pthread_cond_broadcast(&gate.cond);
	pthread_mutex_unlock(&gate.lock);
}

static void gate_wait_inside(void)
{
	pthread_mutex_lock(&gate.lock);
	while (!gate.inside)
		pthread_cond_wait(&gate.cond, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
}

static void test_the_end_waits_for_no_disk_that_hangs(void **state)
{
	struct cache_dir *d = *state;
	struct cache_io io = cache_io_system;
	const struct cache_params p = { .dir = d->path, .housekeeping = true, .io = &io };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct cache *c;

	io.fstatvfs = gated_fstatvfs;
	gate.shut = true;
	assert_int_equal(cache_open(&c, &p, &err), 0);
	cache_kick(c);
	gate_wait_inside();
	time_is_over = true;
	assert_int_equal(cache_free(c), -ETIMEDOUT);
	time_is_over = false;
	/* The disk comes back. */
	gate_open();
	assert_int_equal(cache_free(c), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_end_waits_for_no_disk_that_hangs,
						cache_dir_setup, cache_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
