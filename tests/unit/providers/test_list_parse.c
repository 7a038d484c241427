/* SPDX-License-Identifier: Apache-2.0 */
/* List files: fields, escapes, order, what is refused and in which words, and how little a line costs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <malloc.h>

#include "base/macros.h"
#include "list/list_parse.h"
#include "net/url.h"

static struct list_table *must_parse(const char *text)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct list_table *t = NULL;

	if (list_table_parse(&t, "L", text, strlen(text), &err) < 0)
		fail_msg("%s", err.msg);
	return t;
}

static void check_url(const struct list_table *t, const char *key, const char *want)
{
	size_t i = list_table_find(t, key, strlen(key));
	char url[URL_MAX];

	assert_true(i < list_table_n(t));
	assert_string_equal(list_table_get(t, i).key, key);
	assert_int_equal(list_table_url(t, i, url, sizeof url), 0);
	assert_string_equal(url, want);
}

static void test_fields(void **state UNUSED)
{
	struct list_table *t =
		must_parse("# a comment\r\n\r\nb/c.txt\thttps://h/d/c.txt\t12\t\"tag\"\r\n"
			   "a%09b%0a%25%zz\thttp://h:81/x?y=1/2\t\tSun, 06 Nov 1994 08:49:37 GMT\n"
			   "empty/\n\xc3\xa9\thttp://h:81\t-\t-\n"
			   "local\tfile:///srv/x\t0");
	struct list_item item;

	assert_int_equal(list_table_n(t), 5);
	check_url(t, "b/c.txt", "https://h/d/c.txt");
	check_url(t, "a\tb\n%%zz", "http://h:81/x?y=1/2");
	check_url(t, "\xc3\xa9", "http://h:81");
	check_url(t, "local", "file:///srv/x");
	item = list_table_get(t, list_table_find(t, "b/c.txt", 7));
	assert_int_equal(item.size, 12);
	assert_string_equal(item.validator, "\"tag\"");
	assert_string_equal(list_table_origin(t, item.origin), "https://h/");
	item = list_table_get(t, list_table_find(t, "\xc3\xa9", 2));
	assert_true(item.size == VMOFS_SIZE_UNKNOWN);
	assert_string_equal(item.validator, "");
	item = list_table_get(t, list_table_find(t, "empty/", 6));
	assert_int_equal(item.scheme, LIST_NOTHING);
	assert_int_equal(list_table_n_origins(t), 2);
	list_table_free(t);
}

static void test_order(void **state UNUSED)
{
	struct list_table *t = must_parse("c\thttp://h/c\na/b\thttp://h/b\na\thttp://h/a\n"
					  "a.x\thttp://h/x\n");
	static const char *const want[] = { "a", "a.x", "a/b", "c" };

	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		assert_string_equal(list_table_get(t, i).key, want[i]);
	assert_int_equal(list_table_find(t, "a/", 2), 2);
	assert_int_equal(list_table_find(t, "", 0), 0);
	assert_int_equal(list_table_find(t, "d", 1), 4);
	list_table_free(t);
}

static void check_bad(const char *text, const char *said)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct list_table *t;

	assert_true(list_table_parse(&t, "L", text, strlen(text), &err) < 0);
	if (!strstr(err.msg, said))
		fail_msg("'%s' does not say '%s'", err.msg, said);
}

static void test_bad_lines_name_place_and_remedy(void **state UNUSED)
{
	check_bad("a\thttp://h/a\nb\n", "L:2: there is no URL");
	check_bad("\n\nb\tftp://h/a\n", "L:3: the second field is not a URL");
	check_bad("b\trelative/x\n", "L:1: the second field is not a URL");
	check_bad("b\thttp://h/a b\n", "written %20");
	check_bad("b\thttp://h/a\t1k\n", "L:1: the third field is not a size");
	check_bad("b\thttp://h/a\t99999999999999999999\n", "the third field is not a size");
	check_bad("b\thttp://h/a\t1\tnot-a-tag\n", "L:1: the fourth field is neither");
	check_bad("b\thttp://h/a\t1\t\"x\"\tmore\n", "L:1: more than four fields");
	check_bad("\thttp://h/a\n", "L:1: the path is empty");
	check_bad("a%00b\thttp://h/a\n", "L:1: the path has a NUL byte");
	check_bad("a\thttp://h/a\nb\thttp://h/b\na\thttp://h/c\n", "'a' is in more than one line");
}

/* What a mirror of a million files would cost, on a smaller scale. */
static void test_a_line_costs_little(void **state UNUSED)
{
	enum { LINES = 100000 };
	char *text = malloc(LINES * 100);
	size_t n = 0;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct list_table *t;
	size_t before, after;

	for (unsigned i = 0; i < LINES; i++)
		n += (size_t)sprintf(
			text + n,
			"dir-%03u/file-%06u.bin\thttps://mirror.example/pub/dir-%03u/file-%06u.bin\n",
			i % 500, i, i % 500, i);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	assert_int_equal(list_table_parse(&t, "L", text, n, &err), 0);
	after = mallinfo2().uordblks + mallinfo2().hblkhd;
	assert_int_equal(list_table_n(t), LINES);
	check_url(t, "dir-007/file-000007.bin",
		  "https://mirror.example/pub/dir-007/file-000007.bin");
#ifndef VMOFS_SANITIZED
	/* A row of 24 bytes and the path. */
	assert_true(after - before < LINES * 56);
#endif
	(void)before, (void)after;
	list_table_free(t);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_bad_lines_name_place_and_remedy),
		cmocka_unit_test(test_a_line_costs_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
