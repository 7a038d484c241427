/* SPDX-License-Identifier: Apache-2.0 */
/* How an inode is open: one mode till its last release, and everything that was lent comes back, once. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/object.h"
#include "fs/passthrough.h"

enum { FD = 77, OBJECTS = 5, THREADS = 4, ROUNDS = 20000 };

/* A cache that lends every object, or none; and a kernel that counts what it has. */
static struct {
	_Atomic bool lends;
	_Atomic int refuses; /* the kernel's errno; 0: it takes */
	_Atomic int lent[OBJECTS];
	_Atomic int taken;
	_Atomic int numbers;
	_Atomic int n_lend;
	void (*_Atomic while_lending)(void);
} fake;

static struct passthrough pass;
static struct fs_object object[OBJECTS];

static int fake_lend(struct fs_object *o)
{
	void (*hook)(void) = atomic_exchange(&fake.while_lending, NULL);

	fake.n_lend++;
	if (hook)
		hook();
	if (!fake.lends)
		return -EAGAIN;
	fake.lent[o - object]++;
	return FD;
}

static void fake_unlend(struct fs_object *o)
{
	assert_true(fake.lent[o - object]-- > 0);
}

static int fake_take(void *arg, int fd)
{
	assert_ptr_equal(arg, &fake);
	assert_int_equal(fd, FD);
	if (fake.refuses)
		return -fake.refuses;
	fake.taken++;
	return ++fake.numbers;
}

static void fake_drop(void *arg, int backing)
{
	assert_ptr_equal(arg, &fake);
	assert_in_range(backing, 1, fake.numbers);
	assert_true(fake.taken-- > 0);
}

static const struct passthrough_ops fake_ops = {
	.lend = fake_lend,
	.unlend = fake_unlend,
	.take = fake_take,
	.drop = fake_drop,
};

static int n_lent(void)
{
	int n = 0;

	for (unsigned i = 0; i < OBJECTS; i++)
		n += fake.lent[i];
	return n;
}

static int set_up(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof fake);
	memset(object, 0, sizeof object);
	for (unsigned i = 0; i < OBJECTS; i++)
		object[i].ino = 10 - i;
	passthrough_init(&pass, &fake_ops, &fake);
	passthrough_enable(&pass);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	passthrough_release(&pass);
	return n_lent();
}

static int open_one(unsigned i)
{
	int backing = -1;

	assert_int_equal(passthrough_open(&pass, &object[i], &backing), 0);
	return backing;
}

static void close_one(unsigned i)
{
	passthrough_close(&pass, &object[i]);
}

static void test_all_opens_share_one_file(void **state)
{
	int backing;

	(void)state;
	fake.lends = true;
	backing = open_one(0);
	assert_true(backing > 0);
	assert_int_equal(open_one(0), backing);
	assert_int_not_equal(open_one(1), backing);
	assert_int_equal(n_lent(), 2);
	close_one(0);
	assert_int_equal(open_one(0), backing);
	close_one(0);
	close_one(0);
	assert_int_equal(fake.lent[0], 0);
	assert_int_equal(fake.taken, 1);
	close_one(1);
	assert_int_equal(fake.taken, 0);
	assert_int_equal(pass.n_opens, 4);
}

/* It becomes whole while it is open: those who have it cached keep it so, and so do all who come meanwhile. */
static void test_cached_till_the_last_release(void **state)
{
	(void)state;
	assert_int_equal(open_one(0), 0);
	fake.lends = true;
	assert_int_equal(open_one(0), 0);
	close_one(0);
	assert_int_equal(open_one(0), 0);
	close_one(0);
	close_one(0);
	assert_int_equal(fake.n_lend, 1);
	assert_true(open_one(0) > 0);
	close_one(0);
}

/* And the other way round: it is not whole any more, but what was lent still is. */
static void test_through_till_the_last_release(void **state)
{
	int backing;

	(void)state;
	fake.lends = true;
	backing = open_one(0);
	fake.lends = false;
	assert_int_equal(open_one(0), backing);
	close_one(0);
	close_one(0);
	assert_int_equal(open_one(0), 0);
	close_one(0);
}

static void test_a_kernel_that_refuses_is_asked_once(void **state)
{
	static const int codes[] = { EPERM, ENOTTY, ELOOP, EINVAL };

	(void)state;
	fake.lends = true;
	assert_true(open_one(0) > 0);
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		passthrough_enable(&pass);
		fake.refuses = codes[i];
		fake.n_lend = 0;
		assert_int_equal(open_one(1), 0);
		assert_int_equal(open_one(2), 0);
		assert_int_equal(fake.n_lend, 1);
		assert_int_equal(n_lent(), 1);
		close_one(1);
		close_one(2);
	}
	/* What is open so stays so. */
	assert_int_not_equal(open_one(0), 0);
	close_one(0);
	close_one(0);
	assert_int_equal(fake.taken, 0);
}

static void open_cached_meanwhile(void)
{
	fake.lends = false;
	assert_int_equal(open_one(0), 0);
	fake.lends = true;
}

static void open_through_meanwhile(void)
{
	assert_true(open_one(0) > 0);
}

/* Another thread opens the same inode while the first one is still getting its file. */
static void test_opens_that_cross(void **state)
{
	(void)state;
	fake.lends = true;
	fake.while_lending = open_cached_meanwhile;
	assert_int_equal(open_one(0), 0);
	assert_int_equal(fake.taken, 0);
	assert_int_equal(n_lent(), 0);
	close_one(0);
	close_one(0);

	fake.while_lending = open_through_meanwhile;
	assert_true(open_one(0) > 0);
	assert_int_equal(fake.taken, 1);
	assert_int_equal(n_lent(), 1);
	close_one(0);
	close_one(0);
	assert_int_equal(n_lent(), 0);
}

/* The kernel has gone before it could release: nothing stays lent. */
static void test_the_end_gives_back(void **state)
{
	(void)state;
	fake.lends = true;
	for (unsigned i = 0; i < OBJECTS; i++)
		assert_true(open_one(i) > 0);
	fake.lends = false;
	passthrough_release(&pass);
	assert_int_equal(n_lent(), 0);
	passthrough_init(&pass, &fake_ops, &fake);
}

static void test_not_enabled_does_nothing(void **state)
{
	(void)state;
	pass.able = false;
	fake.lends = true;
	assert_int_equal(open_one(0), 0);
	close_one(0);
	assert_int_equal(fake.n_lend, 0);
}

/* No two opens of an inode at one time have different modes. */
static _Atomic int mode_of[OBJECTS];

static void *open_and_close(void *arg)
{
	unsigned seed = *(unsigned *)arg;

	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned i = (seed + n * 7) % OBJECTS;
		int backing = 0;
		int other = 0;

		fake.lends = (n / 16) & 1;
		passthrough_open(&pass, &object[i], &backing);
		passthrough_open(&pass, &object[i], &other);
		atomic_fetch_add(&mode_of[i], backing != other);
		passthrough_close(&pass, &object[i]);
		passthrough_close(&pass, &object[i]);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t thread[THREADS];
	unsigned seed[THREADS];

	(void)state;
	memset(mode_of, 0, sizeof mode_of);
	for (unsigned i = 0; i < THREADS; i++) {
		seed[i] = i;
		assert_int_equal(pthread_create(&thread[i], NULL, open_and_close, &seed[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < OBJECTS; i++)
		assert_int_equal(mode_of[i], 0);
	assert_int_equal(n_lent(), 0);
	assert_int_equal(fake.taken, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_all_opens_share_one_file),
		T(test_cached_till_the_last_release),
		T(test_through_till_the_last_release),
		T(test_a_kernel_that_refuses_is_asked_once),
		T(test_opens_that_cross),
		T(test_the_end_gives_back),
		T(test_not_enabled_does_nothing),
		T(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
