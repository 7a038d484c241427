/* SPDX-License-Identifier: Apache-2.0 */
/* The fault provider over the file provider: each misfortune, by number and by chance. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define PAGE VMOFS_PAGE_SIZE

static char path[64];

static int make_file(void **state UNUSED)
{
	static uint8_t buf[256 * VMOFS_PAGE_SIZE];
	int fd;

	snprintf(path, sizeof path, "%s", "/tmp/vmofs-test-XXXXXX");
	fd = mkstemp(path);
	httpd_fill(buf, 0, sizeof buf, 0);
	if (fd < 0 || write(fd, buf, sizeof buf) != (ssize_t)sizeof buf)
		return -1;
	return close(fd);
}

static int remove_file(void **state UNUSED)
{
	return unlink(path);
}

static struct sink *open_with(const char *spec)
{
	char source[256];

	snprintf(source, sizeof source, "fault:%s:file://%s", spec, path);
	return sink_must_open(source, NULL, 2);
}

static void test_nothing(void **state UNUSED)
{
	struct sink *s = open_with("");

	assert_int_equal(sink_read(s, 0, 256 * PAGE), 0);
	assert_true(httpd_is(sink_bytes(s), 0, 256 * PAGE, 0));
	sink_close(s);
}

static void test_the_nth_fails(void **state UNUSED)
{
	struct sink *s = open_with("fail=ESTALE@3,fail=EIO@/4");
	static const int codes[] = { 0, 0, -ESTALE, -EIO, 0, 0, 0, -EIO, 0 };
	struct vmofs_provider_stats stats;

	for (uint64_t i = 0; i < ARRAY_LEN(codes); i++)
		assert_int_equal(sink_read(s, i * PAGE, PAGE), codes[i]);
	sink_stats(s, &stats);
	assert_int_equal(stats.errors, 3);
	sink_close(s);
}

static void test_delay(void **state UNUSED)
{
	struct sink *s = open_with("delay=50ms");
	uint64_t start = loop_now_ns();
	struct sink_read *r[10];

	for (uint64_t i = 0; i < 10; i++)
		r[i] = sink_send(s, i * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	sink_cancel(r[4]);
	sink_narrow(r[5], 5 * PAGE, PAGE);
	sink_promote(r[6], 0);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(sink_wait(r[i]), i == 4 ? -ECANCELED : 0);
	assert_true(loop_now_ns() - start >= 50 * NSEC_PER_MSEC);
	sink_close(s);
}

static void test_drop(void **state UNUSED)
{
	struct sink *s = open_with("drop@2");
	struct sink_read *lost;

	assert_int_equal(sink_read(s, 0, PAGE), 0);
	lost = sink_send(s, PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	assert_int_equal(sink_read(s, 2 * PAGE, PAGE), 0);
	assert_false(sink_done(lost));
	sink_cancel(lost);
	assert_int_equal(sink_wait(lost), -ECANCELED);
	sink_close(s);
}

static void test_close_with_something_dropped(void **state UNUSED)
{
	struct sink *s = open_with("drop");
	struct sink_read *r[3];

	for (uint64_t i = 0; i < 3; i++)
		r[i] = sink_send(s, i * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	for (uint64_t i = 0; i < 3; i++) {
		sink_cancel(r[i]);
		sink_wait(r[i]);
	}
	sink_close(s);
}

struct order {
	unsigned n;
	unsigned *next;
	unsigned *seen;
};

static void note(void *arg, int code)
{
	struct order *o = arg;

	assert_int_equal(code, 0);
	o->seen[(*o->next)++] = o->n;
}

static void test_reverse(void **state UNUSED)
{
	struct sink *s = open_with("reverse=4");
	unsigned next = 0, seen[4];
	struct order o[3];
	struct sink_read *first = sink_send(s, 0, PAGE, VMOFS_CLASS_DEMAND, 0);

	for (unsigned i = 0; i < 3; i++) {
		o[i] = (struct order){ i, &next, seen };
		sink_send_cb(s, (i + 1) * PAGE, PAGE, note, &o[i]);
	}
	assert_int_equal(sink_wait(first), 0); /* the last one that the file's thread answers */
	assert_int_equal(next, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(seen[i], 2 - i);
	sink_close(s);
}

static unsigned count_failures(const char *spec)
{
	struct sink *s = open_with(spec);
	unsigned failed = 0;

	for (uint64_t i = 0; i < 200; i++)
		failed += sink_read(s, i * PAGE, PAGE) == -EIO;
	sink_close(s);
	return failed;
}

static void test_chance_is_repeatable(void **state UNUSED)
{
	unsigned n = count_failures("fail=EIO@20%,seed=5");

	assert_in_range(n, 20, 60);
	assert_int_equal(count_failures("fail=EIO@20%,seed=5"), n);
	assert_int_equal(count_failures("fail=EIO@0%"), 0);
	assert_int_equal(count_failures("fail=EIO@100%"), 200);
}

static void test_bad_specs(void **state UNUSED)
{
	static const char *const bad[] = {
		"fault:fail=EWHAT:/x", "fault:fail:/x",    "fault:nonsense:/x",
		"fault:drop@0:/x",     "fault:drop@x:/x",  "fault:drop@101%:/x",
		"fault:reverse=0:/x",  "fault:drop",       "fault:drop@/0:/x",
		"fault:drop=1:/x",     "fault:delay=x:/x", "fault:drop:gopher://x",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct vmofs_err err = VMOFS_ERR_INIT;

		assert_null(sink_open(bad[i], NULL, 1, &err));
		assert_int_equal(err.code, -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_the_nth_fails),
		cmocka_unit_test(test_delay),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_close_with_something_dropped),
		cmocka_unit_test(test_reverse),
		cmocka_unit_test(test_chance_is_repeatable),
		cmocka_unit_test(test_bad_specs),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
