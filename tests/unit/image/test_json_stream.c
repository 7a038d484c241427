/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in pieces: the tokens are the same wherever the pieces end, and what is no JSON is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "image/json_stream.h"

/* Writes tokens as text: ( ) [ ] for containers, k: for keys, strings in quotes, numbers as i1, others as they are. */
struct tape {
	struct json_sink sink;
	char text[4096];
	size_t n;
	const char *skip; /* this key's value is not wanted */
	unsigned fail_at; /* 0: never */
	unsigned n_tokens;
};

static void tape_put(struct tape *t, const char *p, size_t n)
{
	assert_true(t->n + n < sizeof t->text);
	memcpy(t->text + t->n, p, n);
	t->n += n;
	t->text[t->n] = '\0';
}

static int tape_token(struct json_sink *s, const struct json_token *k)
{
	static const char *const marks[] = { "(", ")", "[", "]", "k:", "s:", "i", "" };
	struct tape *t = container_of(s, struct tape, sink);
	char number[32];

	if (++t->n_tokens == t->fail_at)
		return -EXDEV;
	tape_put(t, marks[k->event], strlen(marks[k->event]));
	if (k->event == JSON_INT) {
		snprintf(number, sizeof number, "%lld", (long long)k->number);
		tape_put(t, number, strlen(number));
	} else if (k->event >= JSON_KEY) {
		tape_put(t, k->p, k->len);
	}
	tape_put(t, " ", 1);
	if (k->event == JSON_KEY && t->skip && k->len == strlen(t->skip) &&
	    !memcmp(k->p, t->skip, k->len))
		return JSON_SKIP;
	return 0;
}

/* In pieces of @piece bytes, each in memory of its own so that a sanitizer sees what is read behind it. */
static int tape_read(struct tape *t, const char *p, size_t n, size_t piece)
{
	struct json_stream *s;
	int r = 0;

	t->sink.token = tape_token;
	t->n = 0;
	t->n_tokens = 0;
	t->text[0] = '\0';
	s = json_stream_new(&t->sink, 16);
	assert_non_null(s);
	for (size_t at = 0; at < n && r == 0; at += piece) {
		size_t len = MIN(piece, n - at);
		char *copy = malloc(len);

		assert_non_null(copy);
		memcpy(copy, p + at, len);
		r = json_stream_feed(s, copy, len);
		free(copy);
	}
	if (r == 0)
		r = json_stream_end(s);
	else
		assert_int_equal(json_stream_end(s), r);
	json_stream_free(s);
	return r;
}

static void check_skip(const char *text, size_t n, const char *skip, int want, const char *tokens)
{
	struct tape t = { .skip = skip };

	for (size_t piece = 1; piece <= n + 1; piece++) {
		assert_int_equal(tape_read(&t, text, n, piece), want);
		if (want == 0)
			assert_string_equal(t.text, tokens);
	}
}

static void check(const char *text, const char *tokens)
{
	check_skip(text, strlen(text), NULL, 0, tokens);
}

static void refuse(const char *text, int want)
{
	check_skip(text, strlen(text), NULL, want, NULL);
}

static void containers(void **state)
{
	(void)state;
	check("{}", "( ) ");
	check(" [ ] ", "[ ] ");
	check("{\"a\":{\"b\":[1,{}],\"c\":null}}", "( k:a ( k:b [ i1 ( ) ] k:c null ) ) ");
	check("[[],[[]],true , false]", "[ [ ] [ [ ] ] true false ] ");
	check("\"x\"", "s:x ");
	check("7", "i7 ");
	refuse("", -EBADMSG);
	refuse("{", -EBADMSG);
	refuse("{]", -EBADMSG);
	refuse("[}", -EBADMSG);
	refuse("{}}", -EBADMSG);
	refuse("{} {}", -EBADMSG);
	refuse("[1,]", -EBADMSG);
	refuse("[,1]", -EBADMSG);
	refuse("[1 2]", -EBADMSG);
	refuse("{\"a\"}", -EBADMSG);
	refuse("{\"a\":}", -EBADMSG);
	refuse("{\"a\":1,}", -EBADMSG);
	refuse("{a:1}", -EBADMSG);
	refuse("{1:1}", -EBADMSG);
	refuse("\xef\xbb\xbf{}", -EBADMSG);
}

static void numbers(void **state)
{
	(void)state;
	check("[0,-0,10,-1]", "[ i0 i0 i10 i-1 ] ");
	check("[9223372036854775807,-9223372036854775808]",
	      "[ i9223372036854775807 i-9223372036854775808 ] ");
	/* Too large for an int64_t, or no integer by its text. */
	check("[9223372036854775808]", "[ 9223372036854775808 ] ");
	check("[-9223372036854775809]", "[ -9223372036854775809 ] ");
	check("[1.0,1e3,-2E-7]", "[ 1.0 1e3 -2E-7 ] ");
	refuse("[01]", -EBADMSG);
	refuse("[-]", -EBADMSG);
	refuse("[+1]", -EBADMSG);
	refuse("[1.]", -EBADMSG);
	refuse("[.5]", -EBADMSG);
	refuse("[1e]", -EBADMSG);
	refuse("[0x10]", -EBADMSG);
	refuse("[1-2]", -EBADMSG);
	refuse("[tru]", -EBADMSG);
	refuse("[nul", -EBADMSG);
	refuse("[NaN]", -EBADMSG);
	refuse("[11111111111111111111111111111111111111111111111111111111111111111]", -EBADMSG);
}

static void strings(void **state)
{
	(void)state;
	check("[\"\",\"a b\",\"\xff\xfe\"]", "[ s: s:a b s:\xff\xfe ] ");
	check("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "s:\"\\/\b\f\n\r\t ");
	check("\"\\u0041\\u00e9\\u20aC\"", "s:A\xc3\xa9\xe2\x82\xac ");
	check("\"\\ud83d\\ude00!\"", "s:\xf0\x9f\x98\x80! ");
	/* What Go's reader makes of halves of pairs. */
	check("\"\\ud83d\"", "s:\xef\xbf\xbd ");
	check("\"\\ud83dx\"", "s:\xef\xbf\xbdx ");
	check("\"\\ud83d\\n\"", "s:\xef\xbf\xbd\n ");
	check("\"\\ud83d\\ud83d\\ude00\"", "s:\xef\xbf\xbd\xf0\x9f\x98\x80 ");
	check("\"\\ude00\"", "s:\xef\xbf\xbd ");
	check("{\"\\u0061\":1}", "( k:a i1 ) ");
	refuse("\"\\x\"", -EBADMSG);
	refuse("\"\\u12g4\"", -EBADMSG);
	refuse("\"a\nb\"", -EBADMSG);
	refuse("\"abc", -EBADMSG);
	refuse("\"\\", -EBADMSG);
	check("\"0123456789abcdef\"", "s:0123456789abcdef ");
	refuse("\"0123456789abcdefg\"", -E2BIG);
	refuse("\"0123456789abcde\\u20ac\"", -E2BIG);
}

static void a_zero_in_a_string_is_told(void **state)
{
	struct tape t = { .skip = NULL };

	(void)state;
	assert_int_equal(tape_read(&t, "\"a\\u0000b\"", 10, 3), 0);
	assert_int_equal(t.n, 6);
	assert_memory_equal(t.text, "s:a\0b ", 6);
}

static void what_is_skipped_is_read_all_the_same(void **state)
{
	static const char deep[] =
		"{\"x\":{\"x\":[\"a string of more than sixteen\",{\"y\":\"\\u0041\\n\"}]},\"z\":1}";
	static const char broken[] = "{\"x\":{\"y\":[}},\"z\":1}";

	(void)state;
	check_skip(deep, sizeof deep - 1, "x", 0, "( k:x k:z i1 ) ");
	check_skip("{\"x\":1,\"x\":\"\",\"z\":2}", 20, "x", 0, "( k:x k:x k:z i2 ) ");
	check_skip(broken, sizeof broken - 1, "x", -EBADMSG, NULL);
}

static void depth_is_limited(void **state)
{
	char text[2 * JSON_DEPTH_MAX + 8];

	(void)state;
	memset(text, '[', JSON_DEPTH_MAX);
	memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	text[2 * JSON_DEPTH_MAX] = '\0';
	assert_int_equal(tape_read(&(struct tape){ 0 }, text, 2 * JSON_DEPTH_MAX, 7), 0);
	memset(text, '[', JSON_DEPTH_MAX + 1);
	refuse(text, -E2BIG);
}

static void what_the_sink_says_ends_it(void **state)
{
	struct tape t = { .fail_at = 3 };

	(void)state;
	for (size_t piece = 1; piece < 9; piece++)
		assert_int_equal(tape_read(&t, "[1,2,3]", 7, piece), -EXDEV);
	assert_int_equal(t.n_tokens, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(containers),
		cmocka_unit_test(numbers),
		cmocka_unit_test(strings),
		cmocka_unit_test(a_zero_in_a_string_is_told),
		cmocka_unit_test(what_is_skipped_is_read_all_the_same),
		cmocka_unit_test(depth_is_limited),
		cmocka_unit_test(what_the_sink_says_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
