/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: tables, precedence, files with sections, suggestions, numbers. */
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

#include "base/config_private.h"
#include "base/macros.h"

static const struct vmofs_option table[] = {
	{ "memory", "SIZE", "64M", "memory" },
	{ "timeout", "TIME", "60s", "deadline" },
	{ "threads", "N", NULL, "threads" },
	{ "allow-other", NULL, NULL, "others may read" },
	{ "header", "TEXT", NULL, "a header" },
	{ "push", "auto|yes|no", "auto", "how" },
	{ "ro", NULL, "yes", "read-only" },
	{ "rw", NULL, "no", "not read-only" },
	{ 0 },
};

static struct vmofs_config *config_make(void)
{
	struct vmofs_config *c = config_new();

	assert_non_null(c);
	assert_int_equal(config_add_table(c, table), 0);
	return c;
}

static void test_defaults(void **state UNUSED)
{
	struct vmofs_config *c = config_make();
	struct vmofs_err err = VMOFS_ERR_INIT;
	uint64_t n;

	assert_int_equal(config_size(c, "memory", &n, &err), 0);
	assert_int_equal(n, MIB(64));
	assert_int_equal(config_time(c, "timeout", &n, &err), 0);
	assert_int_equal(n, 60 * NSEC_PER_SEC);
	assert_int_equal(config_u64(c, "threads", &n, &err), 0);
	assert_int_equal(n, 0);
	assert_false(config_bool(c, "allow-other"));
	assert_false(config_is_set(c, "memory"));
	assert_null(config_str(c, "header"));
	config_free(c);
}

static void collect(void *arg, const char *value)
{
	strcat(arg, value);
	strcat(arg, "|");
}

static void test_opts(void **state UNUSED)
{
	struct vmofs_config *c = config_make();
	struct vmofs_err err = VMOFS_ERR_INIT;
	char all[100] = "";

	assert_int_equal(config_parse_opts(c, "memory=1G,allow_other,header=A: b\\,c", &err), 0);
	assert_int_equal(config_parse_opts(c, "memory=2G,,header=x=y", &err), 0);
	assert_string_equal(config_str(c, "memory"), "2G");
	assert_true(config_bool(c, "allow-other"));
	config_each(c, "header", collect, all);
	assert_string_equal(all, "A: b,c|x=y|");
	assert_int_equal(config_parse_opts(c, "allow-other=no", &err), 0);
	assert_false(config_bool(c, "allow-other"));
	config_free(c);
}

/* Of two opposite switches the later one counts. */
static void test_opposites(void **state UNUSED)
{
	static const struct {
		const char *opts;
		bool rw;
	} rows[] = {
		{ "memory=1G", false }, { "ro", false },          { "rw", true },
		{ "rw,ro", false },     { "ro,rw", true },        { "rw,ro=no", true },
		{ "ro,rw=no", false },  { "rw,ro,rw=no", false }, { "rw,ro,rw", true },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct vmofs_config *c = config_make();
		struct vmofs_err err = VMOFS_ERR_INIT;

		assert_int_equal(config_parse_opts(c, rows[i].opts, &err), 0);
		if (config_bool_unless(c, "rw", "ro") != rows[i].rw)
			fail_msg("'%s' is wrong", rows[i].opts);
		config_free(c);
	}
}

static void expect_error(const char *opts, const char *part)
{
	struct vmofs_config *c = config_make();
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(config_parse_opts(c, opts, &err), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	if (!strstr(err.msg, part))
		fail_msg("'%s' is not in '%s'", part, err.msg);
	config_free(c);
}

static void test_errors(void **state UNUSED)
{
	expect_error("memroy=1G", "did you mean 'memory'");
	expect_error("alow-other", "did you mean 'allow-other'");
	expect_error("completely-else", "--list-options");
	expect_error("memory", "needs a value");
	expect_error("memory=lots", "is not a size");
	expect_error("timeout=5x", "is not a time");
	expect_error("threads=-1", "is not a number");
	expect_error("allow-other=maybe", "neither yes nor no");
}

static const char *write_file(const char *text)
{
	static char path[64];
	int fd;

	strcpy(path, "/tmp/vmofs-test-config.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return path;
}

static int parse_text(struct vmofs_config *c, const char *text, struct vmofs_err *err)
{
	const char *path = write_file(text);
	int r = config_parse_file(c, path, "https://a.example/x", err);

	unlink(path);
	return r;
}

static void test_file(void **state UNUSED)
{
	struct vmofs_config *c = config_make();
	struct vmofs_err err = VMOFS_ERR_INIT;
	char text[2000];

	snprintf(text, sizeof text,
		 "# comment\n[mount]\nmemory = 1G ; not a comment\n; comment\n"
		 "[mount \"https://a.example/\"]\n  header = %01000d  \nallow-other\n"
		 "[mount \"https://b.example/\"]\ntimeout = 5s\n",
		 7);
	assert_int_equal(parse_text(c, text, &err), -EINVAL);
	assert_non_null(strstr(err.msg, ":3: option 'memory'"));
	memcpy(strstr(text, " ; not a comment"), "                ", 16);
	assert_int_equal(parse_text(c, text, &err), 0);
	assert_string_equal(config_str(c, "memory"), "1G");
	assert_int_equal(strlen(config_str(c, "header")), 1000);
	assert_true(config_bool(c, "allow-other"));
	assert_false(config_is_set(c, "timeout"));
	config_free(c);
}

static void test_file_errors(void **state UNUSED)
{
	static const struct {
		const char *text, *part;
	} bad[] = {
		{ "memory = 1G\n", ":1: 'memory = 1G' stands before" },
		{ "[mount]\nmemroy = 1G\n", ":2: unknown option 'memroy'; did you mean 'memory'?" },
		{ "[mount \"https://b/\"]\nmemroy = 1G\n", ":2: unknown option" },
		{ "[mont]\n", "unknown section" },
		{ "[mount\n", "no closing bracket" },
		{ "[mount x]\n", "double quotes" },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct vmofs_config *c = config_make();
		struct vmofs_err err = VMOFS_ERR_INIT;

		assert_int_equal(parse_text(c, bad[i].text, &err), -EINVAL);
		if (!strstr(err.msg, bad[i].part))
			fail_msg("'%s' is not in '%s'", bad[i].part, err.msg);
		config_free(c);
	}
}

static void test_file_missing(void **state UNUSED)
{
	struct vmofs_config *c = config_make();
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(config_parse_file(c, "/nonexistent/vmofs.conf", "x", &err), -ENOENT);
	config_free(c);
}

static void test_size(void **state UNUSED)
{
	static const struct {
		const char *text;
		uint64_t want;
	} good[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "4k", KIB(4) },
		{ "1.5G", MIB(1536) },
		{ "2GiB", GIB(2) },
		{ "1T", GIB(1024) },
		{ "0.25M", KIB(256) },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char *const bad[] = {
		"", "M", "1X", "-1", "1.", "1.M", " 1", "1 M", "18446744073709551616", "99999999T"
	};
	uint64_t n;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(config_parse_size(good[i].text, &n), 0);
		assert_int_equal(n, good[i].want);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(config_parse_size(bad[i], &n), -EINVAL);
}

static void test_time(void **state UNUSED)
{
	uint64_t n;

	assert_int_equal(config_parse_time("30", &n), 0);
	assert_int_equal(n, 30 * NSEC_PER_SEC);
	assert_int_equal(config_parse_time("250ms", &n), 0);
	assert_int_equal(n, 250 * NSEC_PER_MSEC);
	assert_int_equal(config_parse_time("1.5s", &n), 0);
	assert_int_equal(n, 1500 * NSEC_PER_MSEC);
	assert_int_equal(config_parse_time("2h", &n), 0);
	assert_int_equal(n, 7200 * NSEC_PER_SEC);
	assert_int_equal(config_parse_time("5d", &n), -EINVAL);
}

static void test_choice(void **state UNUSED)
{
	static const char *const words[] = { "yes", "auto", "no", NULL };
	struct vmofs_config *c = config_make();
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(config_choice(c, "push", words, &err), 1);
	assert_int_equal(config_set(c, "push", "no", &err), 0);
	assert_int_equal(config_choice(c, "push", words, &err), 2);
	assert_int_equal(config_set(c, "push", "n", &err), 0);
	assert_int_equal(config_choice(c, "push", words, &err), -EINVAL);
	assert_string_equal(err.msg, "option 'push': 'n' is none of yes, auto, no");
	config_free(c);
}

/* More words than a message has place for. */
static void test_choice_of_many(void **state UNUSED)
{
	static const char word[] = "a word that is as long as none is";
	const char *words[12] = { 0 };
	struct vmofs_config *c = config_make();
	struct vmofs_err err = VMOFS_ERR_INIT;

	for (unsigned i = 0; i < ARRAY_LEN(words) - 1; i++)
		words[i] = word;
	assert_int_equal(config_choice(c, "push", words, &err), -EINVAL);
	assert_non_null(strstr(err.msg, word));
	config_free(c);
}

static void test_distance(void **state UNUSED)
{
	assert_int_equal(config_edit_distance("", "abc"), 3);
	assert_int_equal(config_edit_distance("abc", "abc"), 0);
	assert_int_equal(config_edit_distance("abc", "acb"), 1);
	assert_int_equal(config_edit_distance("kitten", "sitting"), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),       cmocka_unit_test(test_opts),
		cmocka_unit_test(test_opposites),      cmocka_unit_test(test_errors),
		cmocka_unit_test(test_file),           cmocka_unit_test(test_file_errors),
		cmocka_unit_test(test_file_missing),   cmocka_unit_test(test_size),
		cmocka_unit_test(test_time),           cmocka_unit_test(test_choice),
		cmocka_unit_test(test_choice_of_many), cmocka_unit_test(test_distance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
