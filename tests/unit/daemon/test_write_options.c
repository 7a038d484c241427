/* SPDX-License-Identifier: Apache-2.0 */
/* The options for writing: defaults, limits, what contradicts itself, and where the journal is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "daemon/options.h"
#include "daemon/write_options.h"

static struct vmofs_config *config_make(const char *opts)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_config *c;

	assert_int_equal(options_new_config(&c, &err), 0);
	if (config_parse_opts(c, opts, &err) < 0)
		fail_msg("'%s': %s", opts, err.msg);
	return c;
}

static void test_defaults(void **state UNUSED)
{
	struct vmofs_config *c = config_make("rw,journal-dir=/tmp");
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct write_options o;

	assert_true(write_options_wanted(c));
	assert_int_equal(write_options_read(&o, c, MIB(100), &err), 0);
	assert_int_equal(o.writer.dirty_limit, MIB(50));
	assert_int_equal(o.writer.age_ns, 5 * NSEC_PER_SEC);
	assert_int_equal(o.writer.commit_ns, NSEC_PER_SEC);
	assert_int_equal(o.writer.timeout_ns, 120 * NSEC_PER_SEC);
	assert_int_equal(o.writer.fsync, WRITER_FSYNC_REMOTE);
	assert_false(o.writer.close_sync);
	assert_int_equal(o.writer.threads, 8);
	assert_int_equal(o.journal_size, MIB(10240));
	assert_string_equal(o.journal_dir, "/tmp");
	write_options_release(&o);
	config_free(c);
}

static void test_given(void **state UNUSED)
{
	struct vmofs_config *c = config_make(
		"fsync=local,close=sync,dirty-limit=75M,write-age=0,write-threads=64,journal-size=0,"
		"journal-dir=/tmp");
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct write_options o;

	assert_false(write_options_wanted(c));
	assert_int_equal(write_options_read(&o, c, MIB(100), &err), 0);
	assert_int_equal(o.writer.fsync, WRITER_FSYNC_LOCAL);
	assert_true(o.writer.close_sync);
	assert_int_equal(o.writer.dirty_limit, MIB(75));
	assert_int_equal(o.writer.age_ns, 0);
	assert_int_equal(o.writer.threads, 64);
	assert_int_equal(o.journal_size, 0);
	write_options_release(&o);
	config_free(c);
}

static void test_errors(void **state UNUSED)
{
	static const struct {
		const char *opts;
		const char *said;
	} rows[] = {
		{ "fsync=never", "none of remote, local" },
		{ "close=never", "none of async, sync" },
		{ "dirty-limit=76M", "three quarters" },
		{ "dirty-limit=1023K", "at least 1M" },
		{ "write-threads=0", "from 1 to 64" },
		{ "write-threads=65", "from 1 to 64" },
		{ "immutable", "contradict" },
		{ "fsync=local,journal-dir=none", "needs a journal" },
		{ "journal-dir=/nowhere/at/all", "its parent directory" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct vmofs_config *c = config_make(rows[i].opts);
		struct vmofs_err err = VMOFS_ERR_INIT;
		struct write_options o;

		assert_true(write_options_read(&o, c, MIB(100), &err) < 0);
		if (!strstr(err.msg, rows[i].said))
			fail_msg("'%s': '%s' is not in '%s'", rows[i].opts, rows[i].said, err.msg);
		write_options_release(&o);
		config_free(c);
	}
}

/* Who cannot be changed is told what to do instead. */
static void test_refusals(void **state UNUSED)
{
	static const char *const providers[] = { "list", "fault", "other" };

	for (size_t i = 0; i < ARRAY_LEN(providers); i++) {
		struct vmofs_err err = VMOFS_ERR_INIT;

		assert_int_equal(write_options_refuse("x:y", providers[i], &err), -EROFS);
		assert_non_null(strstr(err.msg, "'x:y' is read-only"));
		assert_non_null(strstr(err.msg, "without rw"));
	}
}

static void check_default(const char *want)
{
	struct vmofs_config *c = config_make("");
	struct vmofs_err err = VMOFS_ERR_INIT;
	char *dir = NULL;

	assert_int_equal(write_options_journal_dir(c, &dir, &err), 0);
	assert_string_equal(dir, geteuid() ? want : "/var/lib/vmofs/journal");
	free(dir);
	config_free(c);
}

static void test_journal_dir(void **state UNUSED)
{
	struct vmofs_config *none = config_make("journal-dir=none");
	struct vmofs_err err = VMOFS_ERR_INIT;
	char *dir = NULL;

	assert_int_equal(write_options_journal_dir(none, &dir, &err), 0);
	assert_null(dir);
	config_free(none);
	setenv("HOME", "/h", 1);
	unsetenv("XDG_STATE_HOME");
	check_default("/h/.local/state/vmofs/journal");
	setenv("XDG_STATE_HOME", "/x", 1);
	check_default("/x/vmofs/journal");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),    cmocka_unit_test(test_given),
		cmocka_unit_test(test_errors),      cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_journal_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
