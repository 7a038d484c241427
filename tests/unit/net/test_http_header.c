/* SPDX-License-Identifier: Apache-2.0 */
/* Single header values: what is read, and what is refused. */
#include "net/http_header.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

static void test_status_line(void **state UNUSED)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
		{ "HTTP/1.1 206 Partial Content", 206 },
		{ "HTTP/1.0 200 OK", 200 },
		{ "HTTP/2 404 ", 404 },
		{ "HTTP/2 503", 503 },
		{ "HTTP/1.1 20 OK", 0 },
		{ "HTTP/1.1 2000 OK", 0 },
		{ "HTTP/1.1  200 OK", 0 },
		{ "HTTP/x.1 200 OK", 0 },
		{ "HTTP/1. 200 OK", 0 },
		{ "HTTP/1.1 099 OK", 0 },
		{ "HTTPS/1.1 200 OK", 0 },
		{ "", 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int status = 0;
		int r = http_parse_status_line(cases[i].text, strlen(cases[i].text), &status);

		assert_int_equal(r, cases[i].status ? 0 : -EINVAL);
		if (cases[i].status)
			assert_int_equal(status, cases[i].status);
	}
}

static void test_length(void **state UNUSED)
{
	uint64_t v;

	assert_int_equal(http_parse_length("0", 1, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(http_parse_length(" 18446744073709551614 ", 22, &v), 0);
	assert_true(v == UINT64_MAX - 1);
	assert_int_equal(http_parse_length("18446744073709551615", 20, &v), -EINVAL);
	assert_int_equal(http_parse_length("99999999999999999999", 20, &v), -EINVAL);
	assert_int_equal(http_parse_length("", 0, &v), -EINVAL);
	assert_int_equal(http_parse_length("-1", 2, &v), -EINVAL);
	assert_int_equal(http_parse_length("+1", 2, &v), -EINVAL);
	assert_int_equal(http_parse_length("1 2", 3, &v), -EINVAL);
	assert_int_equal(http_parse_length("0x10", 4, &v), -EINVAL);
	assert_int_equal(http_parse_length("12", 1, &v), 0);
	assert_int_equal(v, 1);
}

static void test_content_range(void **state UNUSED)
{
	static const char *const bad[] = {
		"",
		"bytes",
		"bytes 1-2",
		"bytes 2-1/10",
		"bytes 0-10/10",
		"bytes 0-9/",
		"bytes -1-9/10",
		"bytes */*",
		"pages 0-9/10",
		"bytes 0-9/10 x",
		"bytes 0 - 9/10",
		"bytes 0-9/10, 11-12/20",
		"bytes 0-18446744073709551616/*",
	};
	struct http_content_range r;

	assert_int_equal(http_parse_content_range("bytes 0-9/10", 12, &r), 0);
	assert_true(r.first == 0 && r.last == 9 && r.total == 10 && !r.unsatisfied);
	assert_int_equal(http_parse_content_range("BYTES 5-5/*", 11, &r), 0);
	assert_true(r.first == 5 && r.last == 5 && r.total == HTTP_LENGTH_UNKNOWN);
	assert_int_equal(http_parse_content_range("bytes */1234", 12, &r), 0);
	assert_true(r.unsatisfied && r.total == 1234);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(http_parse_content_range(bad[i], strlen(bad[i]), &r), -EINVAL);
}

static void test_date(void **state UNUSED)
{
	static const char *const good[] = {
		"Sun, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT",
		"Sun Nov  6 08:49:37 1994",
	};
	static const char *const bad[] = {
		"",
		"Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Foo 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 25:49:37 GMT",
		"Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT+1",
		"1994-11-06T08:49:37Z",
		"Sun Nov 99 08:49:37 1994",
	};
	int64_t t;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(http_parse_date(good[i], strlen(good[i]), &t), 0);
		assert_int_equal(t, 784111777);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(http_parse_date(bad[i], strlen(bad[i]), &t), -EINVAL);
}

static void test_retry_after(void **state UNUSED)
{
	const char *date = "Sun, 06 Nov 1994 08:49:37 GMT";
	uint64_t s;

	assert_int_equal(http_parse_retry_after("120", 3, 0, &s), 0);
	assert_int_equal(s, 120);
	assert_int_equal(http_parse_retry_after(date, strlen(date), 784111770, &s), 0);
	assert_int_equal(s, 7);
	assert_int_equal(http_parse_retry_after(date, strlen(date), 784111790, &s), 0);
	assert_int_equal(s, 0);
	assert_int_equal(http_parse_retry_after("soon", 4, 0, &s), -EINVAL);
}

static void test_etag(void **state UNUSED)
{
	static const char *const bad[] = { "",        "abc",     "\"abc", "\"", "\"a\"b\"",
					   "w/\"a\"", "\"a b\"", "W/",    "W/a" };
	bool weak;

	assert_int_equal(http_parse_etag("\"abc\"", 5, &weak), 0);
	assert_false(weak);
	assert_int_equal(http_parse_etag("W/\"abc\"", 7, &weak), 0);
	assert_true(weak);
	assert_int_equal(http_parse_etag("\"\"", 2, &weak), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(http_parse_etag(bad[i], strlen(bad[i]), &weak), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status_line),   cmocka_unit_test(test_length),
		cmocka_unit_test(test_content_range), cmocka_unit_test(test_date),
		cmocka_unit_test(test_retry_after),   cmocka_unit_test(test_etag),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
