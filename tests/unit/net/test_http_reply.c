/* SPDX-License-Identifier: Apache-2.0 */
/* Whole heads of answers: collected line by line, and judged against what was asked for. */
#include "net/http_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

static struct http_reply head(const char *text)
{
	struct http_reply r = { 0 };
	char copy[2048], *save = NULL;

	http_reply_reset(&r);
	snprintf(copy, sizeof copy, "%s", text);
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		http_reply_line(&r, line, strlen(line), 0);
	http_reply_line(&r, "\r\n", 2, 0);
	return r;
}

/* The judgement on [4096, 8192) of an object of 10000 bytes and entity tag "v1". */
static enum http_outcome judge(const char *text)
{
	static const struct http_expect e = { 10000, "\"v1\"", "", 64, false };
	struct http_reply r = head(text);
	char msg[256] = "";
	enum http_outcome o = http_reply_check(&r, &e, 4096, 4096, false, msg, sizeof msg);

	assert_int_equal(o == HTTP_OUTCOME_OK, msg[0] == '\0');
	return o;
}

/* Object stores keep an encoding with an object: it says nothing about the transfer. */
static void test_stored_encoding(void **state UNUSED)
{
	static const struct http_expect e = { 10000, "\"v1\"", "", 64, true };
	struct http_reply r =
		head("HTTP/1.1 206 Partial Content\nETag: \"v1\"\nContent-Length: 4096\n"
		     "Content-Encoding: gzip\nContent-Range: bytes 4096-8191/10000\n");
	char msg[256] = "";

	assert_int_equal(http_reply_check(&r, &e, 4096, 4096, false, msg, sizeof msg),
			 HTTP_OUTCOME_OK);
}

#define GOOD  "HTTP/1.1 206 Partial Content\nETag: \"v1\"\nContent-Length: 4096\n"
#define RANGE "Content-Range: bytes 4096-8191/10000\n"

static void test_collecting(void **state UNUSED)
{
	char location[64];
	struct http_reply r = { .location = location, .location_cap = sizeof location };

	http_reply_reset(&r);
	http_reply_line(&r, "HTTP/1.1 100 Continue", 21, 0);
	http_reply_line(&r, "", 0, 0);
	assert_false(r.complete);
	http_reply_line(&r, "HTTP/1.1 302 Found\r\n", 20, 0);
	http_reply_line(&r, "location:\t/x y\r\n", 16, 0);
	http_reply_line(&r, "Retry-After: 7", 14, 0);
	http_reply_line(&r, "x-amz-request-id: abc", 21, 0);
	http_reply_line(&r, "X-Request-Id: second", 20, 0);
	http_reply_line(&r, "no colon", 8, 0);
	http_reply_line(&r, ": no name", 9, 0);
	http_reply_line(&r, "\r\n", 2, 0);
	assert_true(r.complete);
	http_reply_line(&r, "ETag: \"trailer\"", 15, 0);
	assert_int_equal(r.status, 302);
	assert_string_equal(location, "/x y");
	assert_int_equal(r.retry_after, 7);
	assert_string_equal(r.request_id, "abc");
	assert_string_equal(r.etag, "");
	http_reply_line(&r, "HTTP/1.1 200 OK", 15, 0);
	assert_string_equal(location, "");
	assert_string_equal(r.request_id, "");
	assert_false(r.complete);
}

static void test_ranges(void **state UNUSED)
{
	assert_int_equal(judge(GOOD RANGE), HTTP_OUTCOME_OK);
	assert_int_equal(judge(GOOD "Content-Range: bytes 4096-8191/*\n"), HTTP_OUTCOME_OK);
	assert_int_equal(judge(GOOD), HTTP_OUTCOME_INTEGRITY);
	assert_int_equal(judge(GOOD "Content-Range: bytes 0-4095/10000\n"), HTTP_OUTCOME_INTEGRITY);
	assert_int_equal(judge(GOOD "Content-Range: bytes 4096-8190/10000\n"),
			 HTTP_OUTCOME_INTEGRITY);
	assert_int_equal(judge(GOOD "Content-Range: bytes */10000\n"), HTTP_OUTCOME_INTEGRITY);
	assert_int_equal(judge(GOOD "Content-Range: nonsense\n"), HTTP_OUTCOME_INTEGRITY);
	assert_int_equal(judge(GOOD RANGE RANGE), HTTP_OUTCOME_INTEGRITY);
	assert_int_equal(judge(GOOD "Content-Range: bytes 4096-8191/9999\n"), HTTP_OUTCOME_CHANGED);
	assert_int_equal(judge(GOOD RANGE "Content-Length: 4095\n"), HTTP_OUTCOME_INTEGRITY);
	assert_int_equal(judge(GOOD RANGE "Content-Encoding: br\n"), HTTP_OUTCOME_INTEGRITY);
	assert_int_equal(judge(GOOD RANGE "Content-Encoding: identity\n"), HTTP_OUTCOME_OK);
	assert_int_equal(judge(GOOD RANGE "ETag: \"v2\"\n"), HTTP_OUTCOME_CHANGED);
	assert_int_equal(judge("HTTP/1.1 206 x\n" RANGE), HTTP_OUTCOME_INTEGRITY);
	assert_int_equal(judge("HTTP/1.1 206 x\nETag: W/\"v1\"\n" RANGE), HTTP_OUTCOME_CHANGED);
	assert_int_equal(judge("HTTP/1.1 200 OK\nETag: \"v1\"\nContent-Length: 10000\n"),
			 HTTP_OUTCOME_INTEGRITY);
}

static void test_whole_answers(void **state UNUSED)
{
	static const struct http_expect e = { 50, "", "Sun, 06 Nov 1994 08:49:37 GMT", 64, false };
	struct http_reply r = head("HTTP/1.1 200 OK\nContent-Length: 50\n"
				   "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\n");
	char msg[256];

	assert_int_equal(http_reply_check(&r, &e, 0, 50, true, msg, sizeof msg), HTTP_OUTCOME_OK);
	assert_int_equal(http_reply_check(&r, &e, 0, 10, false, msg, sizeof msg), HTTP_OUTCOME_OK);
	assert_int_equal(http_reply_check(&r, &e, 1, 10, false, msg, sizeof msg),
			 HTTP_OUTCOME_INTEGRITY);
	r = head("HTTP/1.1 200 OK\nContent-Length: 51\n"
		 "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\n");
	assert_int_equal(http_reply_check(&r, &e, 0, 50, true, msg, sizeof msg),
			 HTTP_OUTCOME_CHANGED);
	r = head("HTTP/1.1 200 OK\nContent-Length: 50\n"
		 "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT\n");
	assert_int_equal(http_reply_check(&r, &e, 0, 50, true, msg, sizeof msg),
			 HTTP_OUTCOME_CHANGED);
}

static void test_statuses(void **state UNUSED)
{
	static const struct {
		int status;
		enum http_outcome outcome;
	} cases[] = {
		{ 301, HTTP_OUTCOME_MOVED },     { 304, HTTP_OUTCOME_MOVED },
		{ 400, HTTP_OUTCOME_REFUSED },   { 401, HTTP_OUTCOME_DENIED },
		{ 403, HTTP_OUTCOME_DENIED },    { 404, HTTP_OUTCOME_GONE },
		{ 408, HTTP_OUTCOME_RETRY },     { 410, HTTP_OUTCOME_GONE },
		{ 412, HTTP_OUTCOME_CHANGED },   { 416, HTTP_OUTCOME_CHANGED },
		{ 429, HTTP_OUTCOME_RETRY },     { 451, HTTP_OUTCOME_REFUSED },
		{ 500, HTTP_OUTCOME_RETRY },     { 501, HTTP_OUTCOME_REFUSED },
		{ 503, HTTP_OUTCOME_RETRY },     { 599, HTTP_OUTCOME_RETRY },
		{ 204, HTTP_OUTCOME_INTEGRITY },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(http_status_outcome(cases[i].status), cases[i].outcome);
}

static void test_challenge_is_shown(void **state UNUSED)
{
	struct http_reply r = head("HTTP/1.1 401 x\nWWW-Authenticate: Basic realm=\"a\"\n");
	char msg[256];

	http_status_message(&r, msg, sizeof msg);
	assert_string_equal(msg, "the server answered 401 (Basic realm=\"a\")");
	r = head("HTTP/1.1 403 x\nWWW-Authenticate: a\x1b[2J\n");
	http_status_message(&r, msg, sizeof msg);
	assert_string_equal(msg, "the server answered 403");
}

static void test_what_object_stores_say(void **state UNUSED)
{
	struct http_reply r = head("HTTP/1.1 200 OK\nDate: Sun, 06 Nov 1994 08:49:37 GMT\n"
				   "x-amz-version-id: L4kqtJlcpXroDTDmpUMLUo\n"
				   "X-Amz-Checksum-CRC32C: yZRlqg==\n"
				   "x-amz-checksum-sha256: a b\n"
				   "x-amz-checksum-crc64nvme: AAAAAAAAAAA=\n"
				   "x-amz-checksum-type: FULL_OBJECT\n"
				   "x-amz-checksum-crc32: x;type=FULL_OBJECT\n"
				   "x-amz-request-id: 4442587FB7D0A2F9\n");

	assert_int_equal(r.date, 784111777);
	assert_string_equal(r.version_id, "L4kqtJlcpXroDTDmpUMLUo");
	assert_string_equal(r.checksums,
			    "crc32c=yZRlqg==;crc64nvme=AAAAAAAAAAA=;type=FULL_OBJECT;");
	assert_string_equal(r.request_id, "4442587FB7D0A2F9");
	r = head("HTTP/1.1 200 OK\nDate: yesterday\n");
	assert_int_equal(r.date, 0);
	assert_string_equal(r.version_id, "");
	assert_string_equal(r.checksums, "");
}

static void test_checksums_that_do_not_fit(void **state UNUSED)
{
	struct http_reply r = { 0 };
	char line[512];
	size_t n;

	http_reply_reset(&r);
	http_reply_line(&r, "HTTP/1.1 200 OK", 15, 0);
	n = (size_t)snprintf(line, sizeof line, "x-amz-checksum-sha256: %0300d", 7);
	http_reply_line(&r, line, n, 0);
	assert_int_equal(strlen(r.checksums), 308);
	http_reply_line(&r, "x-amz-checksum-crc32: yZRlqg==", 30, 0);
	assert_int_equal(strlen(r.checksums), 308);
	http_reply_line(&r, "x-amz-checksum-type: ABCDE", 26, 0);
	assert_int_equal(strlen(r.checksums), 319);
	http_reply_line(&r, "x-amz-checksum-type: A", 22, 0);
	assert_int_equal(strlen(r.checksums), 319);
}

static void test_whole_for_a_range(void **state UNUSED)
{
	static const struct http_expect e = { .size = 10000,
					      .etag = "\"v1\"",
					      .last_modified = "" };
	struct http_reply r = head("HTTP/1.1 200 OK\nETag: \"v1\"\nContent-Length: 10000\n");

	assert_true(http_reply_is_whole(&r, &e));
	r = head("HTTP/1.1 200 OK\nETag: \"v2\"\nContent-Length: 10000\n");
	assert_false(http_reply_is_whole(&r, &e));
	r = head("HTTP/1.1 200 OK\nETag: \"v1\"\nContent-Length: 9999\n");
	assert_false(http_reply_is_whole(&r, &e));
	r = head("HTTP/1.1 200 OK\nETag: \"v1\"\n");
	assert_false(http_reply_is_whole(&r, &e));
	r = head(GOOD RANGE);
	assert_false(http_reply_is_whole(&r, &e));
}

static void test_weak_tag_grown_strong(void **state UNUSED)
{
	const struct http_expect weak = { .size = 4, .etag = "W/\"v1\"", .last_modified = "" };
	const struct http_expect strong = { .size = 4, .etag = "\"v1\"", .last_modified = "" };
	const struct http_reply now_strong =
		head("HTTP/1.1 200 OK\nETag: \"v1\"\nContent-Length: 4\n");
	const struct http_reply other = head("HTTP/1.1 200 OK\nETag: \"v2\"\nContent-Length: 4\n");
	const struct http_reply now_weak =
		head("HTTP/1.1 200 OK\nETag: W/\"v1\"\nContent-Length: 4\n");
	char msg[256];

	assert_int_equal(http_reply_check(&now_strong, &weak, 0, 4, true, msg, sizeof msg),
			 HTTP_OUTCOME_OK);
	assert_int_equal(http_reply_check(&other, &weak, 0, 4, true, msg, sizeof msg),
			 HTTP_OUTCOME_CHANGED);
	assert_int_equal(http_reply_check(&now_weak, &strong, 0, 4, true, msg, sizeof msg),
			 HTTP_OUTCOME_CHANGED);
}

static void test_values_that_do_not_fit(void **state UNUSED)
{
	char line[1024];
	struct http_reply r = { 0 };

	http_reply_reset(&r);
	http_reply_line(&r, "HTTP/1.1 206 x", 14, 0);
	memset(line, 'a', sizeof line);
	memcpy(line, "ETag: \"", 7);
	line[sizeof line - 1] = '"';
	http_reply_line(&r, line, sizeof line, 0);
	assert_string_equal(r.etag, "");
	memcpy(line, "Content-Encoding: ", 18);
	http_reply_line(&r, line, sizeof line, 0);
	assert_string_equal(r.encoding, "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stored_encoding),
		cmocka_unit_test(test_collecting),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_whole_answers),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_challenge_is_shown),
		cmocka_unit_test(test_what_object_stores_say),
		cmocka_unit_test(test_checksums_that_do_not_fit),
		cmocka_unit_test(test_whole_for_a_range),
		cmocka_unit_test(test_weak_tag_grown_strong),
		cmocka_unit_test(test_values_that_do_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
