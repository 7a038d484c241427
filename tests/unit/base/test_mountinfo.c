/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of the kernel's mount table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "base/mountinfo.h"

static int parse(const char *text, struct mountinfo *m)
{
	char line[512];

	strcpy(line, text);
	return mountinfo_parse(line, m);
}

static void test_fuse_line(void **state UNUSED)
{
	struct mountinfo m;

	assert_int_equal(parse("40 28 0:52 / /mnt/a\\040b ro,nosuid shared:1 master:2 - fuse.vmofs "
			       "http://x/y ro,user_id=1000,group_id=1000\n",
			       &m),
			 0);
	assert_int_equal(m.major, 0);
	assert_int_equal(m.minor, 52);
	assert_int_equal(m.owner, 1000);
	assert_string_equal(m.mountpoint, "/mnt/a b");
	assert_string_equal(m.fstype, "fuse.vmofs");
}

static void test_no_optional_fields(void **state UNUSED)
{
	struct mountinfo m;

	assert_int_equal(parse("1 0 8:1 / / rw - ext4 /dev/sda1 rw", &m), 0);
	assert_int_equal(m.major, 8);
	assert_int_equal(m.owner, 0);
	assert_string_equal(m.mountpoint, "/");
}

static void test_malformed(void **state UNUSED)
{
	static const char *const bad[] = { "",
					   "1",
					   "1 0",
					   "1 0 x / / rw - ext4 a b",
					   "1 0 8:1 /",
					   "1 0 8:1 / / rw",
					   "1 0 8:1 / / rw -" };
	struct mountinfo m;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(parse(bad[i], &m), -EINVAL);
}

static void test_find(void **state UNUSED)
{
	struct mountinfo m;

	assert_int_equal(mountinfo_find("/proc/self", "proc", &m), 0);
	assert_string_equal(m.mountpoint, "/proc");
	assert_int_equal(mountinfo_find("/process", "proc", &m), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuse_line),
		cmocka_unit_test(test_no_optional_fields),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
