/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has a directory: nobody, a process that lives, one that has been killed and holds its lock for a while yet. That one
 * is a child that is killed (and not waited for), whose own child has the same open file and ends later.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "store/dir_lock.h"

static const struct cache_io *const io = &cache_io_system;
static char path[64];
static int dir = -1;

static int set_up(void **state UNUSED)
{
	snprintf(path, sizeof path, "/tmp/test_dir_lock.XXXXXX");
	if (!mkdtemp(path))
		return -1;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int tear_down(void **state UNUSED)
{
	int r = unlinkat(dir, "lock", 0);

	close(dir);
	return rmdir(path) < 0 ? -1 : r;
}

static void test_nobody(void **state UNUSED)
{
	int fd;

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(0, dir_lock(io, dir, &fd));
		close(fd);
	}
}

static void test_alive(void **state UNUSED)
{
	int fd, other;

	assert_int_equal(0, dir_lock(io, dir, &fd));
	assert_int_equal(-EAGAIN, dir_lock(io, dir, &other));
	assert_int_equal(-1, other);
	close(fd);
}

/* The child: takes the lock, and leaves it to a process that ends @ms after it has been told to. */
static _Noreturn void hold(int told, int ready, unsigned ms)
{
	int fd;
	char c;

	if (dir_lock(io, dir, &fd) < 0)
		_exit(1);
	if (fork() == 0) {
		close(ready);
		(void)!read(told, &c, 1);
		usleep(ms * 1000);
		_exit(0);
	}
	(void)!write(ready, "r", 1);
	pause();
	_exit(1);
}

struct holder {
	pid_t pid;
	int tell;
};

static struct holder holder_start(unsigned ms)
{
	int told[2], ready[2];
	struct holder h;
	char c;

	assert_int_equal(0, pipe2(told, O_CLOEXEC));
	assert_int_equal(0, pipe2(ready, O_CLOEXEC));
	h.pid = fork();
	assert_true(h.pid >= 0);
	if (h.pid == 0) {
		close(told[1]);
		hold(told[0], ready[1], ms);
	}
	close(ready[1]);
	assert_int_equal(1, read(ready[0], &c, 1));
	close(ready[0]);
	close(told[0]);
	h.tell = told[1];
	return h;
}

/* The lock comes free some time after the one who had it was killed: that time is waited for. */
static void test_killed(void **state UNUSED)
{
	struct holder h = holder_start(300);
	int fd;

	assert_int_equal(-EAGAIN, dir_lock(io, dir, &fd));
	assert_int_equal(0, kill(h.pid, SIGKILL));
	close(h.tell);
	assert_int_equal(0, dir_lock(io, dir, &fd));
	close(fd);
	assert_int_equal(h.pid, waitpid(h.pid, NULL, 0));
}

/* One that cannot be seen may live elsewhere. */
static void test_unseen(void **state UNUSED)
{
	struct holder h = holder_start(0);
	int fd;

	assert_int_equal(0, kill(h.pid, SIGKILL));
	assert_int_equal(h.pid, waitpid(h.pid, NULL, 0));
	assert_int_equal(-EAGAIN, dir_lock(io, dir, &fd));
	close(h.tell);
}

/* A number that another process has by now says nothing. */
static void test_another_process(void **state UNUSED)
{
	struct holder h = holder_start(0);
	char text[48] = { 0 };
	int fd = openat(dir, "lock", O_RDWR | O_CLOEXEC), other;

	assert_true(fd >= 0);
	assert_true(pread(fd, text, sizeof text, 0) > 0);
	assert_int_equal(h.pid, atoi(text));
	snprintf(text, sizeof text, "%-15d 1", (int)h.pid);
	assert_int_equal(sizeof text, pwrite(fd, text, sizeof text, 0));
	assert_int_equal(0, kill(h.pid, SIGKILL));
	assert_int_equal(-EAGAIN, dir_lock(io, dir, &other));
	close(h.tell);
	close(fd);
	assert_int_equal(h.pid, waitpid(h.pid, NULL, 0));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nobody, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_alive, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_killed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unseen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_process, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
