/* SPDX-License-Identifier: Apache-2.0 */
/* The memory limit of control groups, from trees of files that look like the kernel's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cgroup.h"
#include "base/macros.h"

static char root[64];

/* Writes @text into the file at @path below the root. */
static void put(const char *path, const char *text)
{
	char cmd[512];
	char full[256];
	FILE *f;

	snprintf(full, sizeof full, "%s%s", root, path);
	snprintf(cmd, sizeof cmd, "mkdir -p \"$(dirname '%s')\"", full);
	assert_int_equal(system(cmd), 0);
	f = fopen(full, "w");
	assert_non_null(f);
	fprintf(f, "%s\n", text);
	fclose(f);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(root, sizeof root, "/tmp/vmofs-cgroup.XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof cmd, "rm -r '%s'", root);
	return system(cmd);
}

static void test_nothing(void **state)
{
	(void)state;
	assert_true(cgroup_memory_limit(root) == UINT64_MAX);
	put("/proc/self/cgroup", "no colons here");
	assert_true(cgroup_memory_limit(root) == UINT64_MAX);
}

static void test_v2_least_of_the_path(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "0::/a/b");
	put("/sys/fs/cgroup/a/b/memory.max", "max");
	assert_true(cgroup_memory_limit(root) == UINT64_MAX);
	put("/sys/fs/cgroup/a/memory.max", "1048576");
	assert_int_equal(cgroup_memory_limit(root), MIB(1));
	put("/sys/fs/cgroup/a/b/memory.max", "4096");
	assert_int_equal(cgroup_memory_limit(root), 4096);
}

static void test_v2_root_of_a_namespace(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "0::/");
	put("/sys/fs/cgroup/memory.max", "65536");
	assert_int_equal(cgroup_memory_limit(root), 65536);
}

static void test_v1(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "3:cpu,memory:/x\n0::/y");
	put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152");
	assert_int_equal(cgroup_memory_limit(root), MIB(2));
	put("/sys/fs/cgroup/unified/y/memory.max", "8192");
	assert_int_equal(cgroup_memory_limit(root), 8192);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_v2_least_of_the_path, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_v2_root_of_a_namespace, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_v1, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
