/* SPDX-License-Identifier: Apache-2.0 */
/* The file provider: contents, sizes, changes, failures, and its place in the registry. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define PAGE VMOFS_PAGE_SIZE

static char dir[64];

static int make_dir(void **state UNUSED)
{
	snprintf(dir, sizeof dir, "%s", "/tmp/vmofs-test-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state UNUSED)
{
	return rmdir(dir);
}

static const char *make_file(uint64_t size)
{
	static char path[128];
	uint8_t *buf = malloc(size + 1);
	int fd;

	snprintf(path, sizeof path, "%s/file name", dir);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	httpd_fill(buf, 0, size, 0);
	assert_int_equal(write(fd, buf, size), size);
	close(fd);
	free(buf);
	return path;
}

static void test_contents(void **state UNUSED)
{
	static const uint64_t sizes[] = { 0, 1, 4096, 5000, 1 << 20, (3 << 20) + 17 };
	char source[256];

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		const char *path = make_file(sizes[i]);
		uint64_t pages = (sizes[i] + PAGE - 1) / PAGE;
		struct sink *s;

		snprintf(source, sizeof source, "%s%s", i & 1 ? "file://" : "", path);
		s = sink_must_open(source, NULL, 2);
		assert_int_equal(sink_info(s)->size, sizes[i]);
		assert_string_equal(sink_info(s)->name, "file name");
		assert_false(sink_info(s)->weak);
		assert_memory_equal(sink_info(s)->url, "file:///", 8);
		if (pages > 0)
			assert_int_equal(sink_read(s, 0, pages * PAGE), 0);
		assert_true(httpd_is(sink_bytes(s), 0, sizes[i], 0));
		assert_int_equal(sink_supplied(s), sizes[i]);
		sink_close(s);
		unlink(path);
	}
}

static void test_changed_file(void **state UNUSED)
{
	const char *path = make_file(10 * PAGE);
	struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct sink *s = sink_must_open(path, NULL, 1);
	struct vmofs_provider_stats stats;

	assert_int_equal(sink_read(s, 0, PAGE), 0);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	assert_int_equal(sink_read(s, PAGE, PAGE), -ESTALE);
	assert_int_equal(truncate(path, PAGE), 0);
	assert_int_equal(sink_read(s, 5 * PAGE, PAGE), -ESTALE);
	sink_stats(s, &stats);
	assert_int_equal(stats.errors, 2);
	assert_int_equal(stats.last.code, -ESTALE);
	assert_string_equal(stats.last.msg, "the file has changed");
	sink_close(s);
	unlink(path);
}

static void test_many_reads_and_cancels(void **state UNUSED)
{
	const char *path = make_file(2000 * PAGE);
	struct sink *s = sink_must_open(path, NULL, 2);
	struct sink_read *r[1000];

	for (unsigned i = 0; i < 1000; i++)
		r[i] = sink_send(s, i * 2 * PAGE, PAGE, i & 1, 0);
	for (unsigned i = 0; i < 1000; i += 3)
		sink_cancel(r[i]);
	for (unsigned i = 1; i < 1000; i += 6)
		sink_promote(r[i], 0);
	for (unsigned i = 0; i < 1000; i++) {
		int code = sink_wait(r[i]);

		assert_true(code == 0 || (code == -ECANCELED && i % 3 == 0));
	}
	sink_close(s);
	unlink(path);
}

static void test_core_without_room(void **state UNUSED)
{
	const char *path = make_file(10 * PAGE);
	struct sink *s = sink_must_open(path, NULL, 1);

	sink_refuse(s, 1, -ENOMEM);
	assert_int_equal(sink_read(s, 0, PAGE), -ENOBUFS);
	sink_close(s);
	unlink(path);
}

static void test_open_errors(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_null(sink_open("file:///nonexistent/x", NULL, 1, &err));
	assert_int_equal(err.code, -ENOENT);
	assert_null(sink_open("/tmp", NULL, 1, &err));
	assert_int_equal(err.code, -EINVAL);
}

static void test_registry(void **state UNUSED)
{
	assert_string_equal(vmofs_provider_find("/a/b:c")->name, "file");
	assert_string_equal(vmofs_provider_find("relative")->name, "file");
	assert_string_equal(vmofs_provider_find("file:///x")->name, "file");
	assert_string_equal(vmofs_provider_find("HTTPS://x/y")->name, "http");
	assert_string_equal(vmofs_provider_find("fault:drop:/x")->name, "fault");
	assert_null(vmofs_provider_find("gopher://x"));
	assert_null(vmofs_provider_find("httpx://x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_changed_file),
		cmocka_unit_test(test_many_reads_and_cancels),
		cmocka_unit_test(test_core_without_room),
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_registry),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
