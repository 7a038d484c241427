/* SPDX-License-Identifier: Apache-2.0 */
/* URLs: parts, origins, references, what is shown to people, names. */
#include "net/url.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

static struct url parsed(const char *text)
{
	struct url u;

	assert_int_equal(url_parse(text, strlen(text), &u), 0);
	return u;
}

static void span_is(struct url_span s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.p, text, s.len);
}

static void test_parts(void **state UNUSED)
{
	struct url u = parsed("HTTPS://joe:pw@Host.example:8443/a/b?x=1#frag");

	assert_true(u.tls);
	span_is(u.userinfo, "joe:pw");
	span_is(u.host, "Host.example");
	span_is(u.port, "8443");
	span_is(u.path, "/a/b");
	span_is(u.query, "?x=1");
	assert_int_equal(url_port(&u), 8443);
	u = parsed("http://[::1]");
	span_is(u.host, "[::1]");
	assert_null(u.userinfo.p);
	assert_int_equal(u.path.len, 0);
	assert_int_equal(url_port(&u), 80);
	u = parsed("http://h:?q@x");
	span_is(u.query, "?q@x");
	u = parsed("http://a@b@c/");
	span_is(u.userinfo, "a@b");
	span_is(u.host, "c");
}

static void test_bad_urls(void **state UNUSED)
{
	static const char *const bad[] = {
		"",
		"http",
		"http:/h",
		"ftp://h/",
		"http://",
		"http:///p",
		"http://h:99999/",
		"http://h:0/",
		"http://h:1x/",
		"http://[::1/",
		"http://[]/",
		"http://h h/",
		"http://h/a b",
		"http://h/\n",
		"http://h%41/",
		"http://[::1]x/",
		"//h/p",
		"http://h/\"",
		"http://h\\x/",
		"http://:80/",
	};
	char longest[URL_MAX + 16] = "http://h/";
	struct url u;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(url_parse(bad[i], strlen(bad[i]), &u), -EINVAL);
	assert_int_equal(url_parse("http://h/\0x", 11, &u), -EINVAL);
	memset(longest + 9, 'a', URL_MAX);
	assert_int_equal(url_parse(longest, URL_MAX - 1, &u), 0);
	assert_int_equal(url_parse(longest, URL_MAX, &u), -ENAMETOOLONG);
}

static void test_same_origin(void **state UNUSED)
{
	static const struct {
		const char *a, *b;
		bool same;
	} cases[] = {
		{ "http://h/a", "http://H:80/b", true }, { "https://h/", "https://h:443", true },
		{ "http://h/", "https://h/", false },    { "http://h:80/", "https://h:80/", false },
		{ "http://h/", "http://h.x/", false },   { "http://h/", "http://h:81/", false },
		{ "http://u:p@h/", "http://h/", true },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct url a = parsed(cases[i].a), b = parsed(cases[i].b);

		assert_int_equal(url_same_origin(&a, &b), cases[i].same);
	}
}

static void test_resolve(void **state UNUSED)
{
	static const struct {
		const char *base, *location, *result;
	} cases[] = {
		{ "http://h/a/b?q", "c", "http://h/a/c" },
		{ "http://h/a/b", "/c?d", "http://h/c?d" },
		{ "http://h/a/b", "?d", "http://h/a/b?d" },
		{ "http://h/a/b?q", "", "http://h/a/b?q" },
		{ "http://h/a/b", "#f", "http://h/a/b" },
		{ "http://h/a/b/c", "../d", "http://h/a/d" },
		{ "http://h/a/b/c", "../../../d", "http://h/d" },
		{ "http://h/a/b/", "./d/.", "http://h/a/b/d/" },
		{ "http://h/a/b/", "d/..", "http://h/a/b/" },
		{ "http://h/a", "//x:1/y", "http://x:1/y" },
		{ "https://h/a", "//x/y", "https://x/y" },
		{ "https://h/a", "http://u:p@x/y#z", "http://x/y" },
		{ "http://h", "c", "http://h/c" },
		{ "http://u:p@h:8/a", "b", "http://h:8/b" },
		{ "http://h/a", "HTTP://X", "http://X/" },
		{ "http://h/a?x", "b:c/d", NULL },
		{ "http://h/a", "ftp://x/y", NULL },
		{ "http://h/a", "javascript:1", NULL },
		{ "http://h/a", "b c", NULL },
		{ "http://h/a", "http://", NULL },
		{ "http://h/a", "./b:c", "http://h/b:c" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct url base = parsed(cases[i].base);
		char out[URL_MAX];
		int r = url_resolve(&base, cases[i].location, strlen(cases[i].location), out,
				    sizeof out);

		assert_int_equal(r, cases[i].result ? 0 : -EINVAL);
		if (cases[i].result)
			assert_string_equal(out, cases[i].result);
	}
}

static void test_long_location(void **state UNUSED)
{
	struct url base = parsed("http://h/a");
	char location[URL_MAX], out[URL_MAX];

	memset(location, 'x', sizeof location);
	assert_int_equal(url_resolve(&base, location, sizeof location, out, sizeof out),
			 -ENAMETOOLONG);
	assert_int_equal(url_resolve(&base, location, sizeof location - 1, out, sizeof out),
			 -ENAMETOOLONG);
	assert_int_equal(url_resolve(&base, location, 100, out, sizeof out), 0);
	assert_int_equal(url_resolve(&base, location, 100, out, 50), -ENAMETOOLONG);
}

static void test_redact(void **state UNUSED)
{
	static const char *const cases[][2] = {
		{ "http://u:p@h/a", "http://h/a" },
		{ "http://h", "http://h/" },
		{ "http://h/a?b=c&d#e", "http://h/a?b=c&d" },
		{ "http://h/a?token=t&x=1", "http://h/a?token=***&x=1" },
		{ "http://h/a?x=1&SIG=abc", "http://h/a?x=1&SIG=***" },
		{ "http://h/?X-Amz-Signature=1&X-Amz-Security-Token=2&X-Amz-Date=3",
		  "http://h/?X-Amz-Signature=***&X-Amz-Security-Token=***&X-Amz-Date=3" },
		{ "http://h/?", "http://h/?" },
	};
	char out[URL_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct url u = parsed(cases[i][0]);

		assert_int_equal(url_redact(&u, out, sizeof out), 0);
		assert_string_equal(out, cases[i][1]);
	}
}

#define AMZ(date, sig)                                                  \
	"X-Amz-Algorithm=A&X-Amz-Credential=C" date "&X-Amz-Date=" date \
	"&X-Amz-Expires=60&X-Amz-Security-Token=t" sig                  \
	"&X-Amz-SignedHeaders=host&X-Amz-Signature=" sig

static void test_identity(void **state UNUSED)
{
	static const struct {
		const char *url, *identity; /* NULL: what is shown is enough */
	} cases[] = {
		{ "http://u:p@h/a?b=c&d#e", NULL },
		{ "http://h", NULL },
		{ "http://h/?", NULL },
		{ "http://h/a?x&&y=", NULL },
		{ "http://h/a?key=a", "http://h/a?key=a" },
		{ "http://h/a?KEY=b&x", "http://h/a?KEY=b&x" },
		{ "http://h/a?key=***", "http://h/a?key=***" },
		/* signed, in any order, beside what is not of the signature */
		{ "https://h/a?" AMZ("1", "2"), "https://h/a" },
		{ "https://h/a?versionId=3&" AMZ("1", "2") "&x-id=GetObject",
		  "https://h/a?versionId=3&x-id=GetObject" },
		{ "https://h/a?Signature=1&Expires=2&AWSAccessKeyId=3&uploadId=4",
		  "https://h/a?uploadId=4" },
		{ "https://h/a?X-Goog-Algorithm=1&X-Goog-Credential=2&X-Goog-Date=3&X-Goog-Expires=4&"
		  "X-Goog-SignedHeaders=5&X-Goog-Signature=6&generation=7",
		  "https://h/a?generation=7" },
		{ "https://h/a?GoogleAccessId=1&Expires=2&Signature=3", "https://h/a" },
		{ "https://h/a?v=1&Expires=1&Signature=2&Key-Pair-Id=3&Policy=4",
		  "https://h/a?v=1" },
		{ "https://h/a?Policy=1&Signature=2&Key-Pair-Id=3", "https://h/a" },
		{ "https://h/a?sv=1&st=2&se=3&sr=b&sp=r&sig=4&snapshot=5",
		  "https://h/a?sv=1&sr=b&sp=r&snapshot=5" },
		{ "https://h/a?sv=1&si=p&sig=4", "https://h/a?sv=1&si=p" },
		/* names alone are no signature */
		{ "http://h/a?Expires=1", NULL },
		{ "http://h/a?Policy=1&Key-Pair-Id=2", NULL },
		{ "http://h/a?st=1&se=2&si=3", NULL },
		{ "http://h/a?sig=1&se=2", "http://h/a?sig=1&se=2" },
		{ "http://h/a?Signature=1&Expires=2", "http://h/a?Signature=1&Expires=2" },
		{ "http://h/a?X-Amz-Signature=1&X-Amz-Date=2",
		  "http://h/a?X-Amz-Signature=1&X-Amz-Date=2" },
		{ "http://h/a?AWSAccessKeyId&Expires=1&Signature=2",
		  "http://h/a?AWSAccessKeyId&Expires=1&Signature=2" },
	};
	char out[URL_MAX], want[URL_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct url u = parsed(cases[i].url);
		bool shown;

		assert_int_equal(url_identity(&u, out, sizeof out, &shown), 0);
		assert_int_equal(shown, !cases[i].identity);
		assert_int_equal(url_redact(&u, want, sizeof want), 0);
		assert_string_equal(out, cases[i].identity ? cases[i].identity : want);
		assert_int_equal(url_identity(&u, out, strlen(out), &shown), -ENAMETOOLONG);
	}
}

static void test_names(void **state UNUSED)
{
	static const char *const cases[][2] = {
		{ "http://h/a/b.bin?x", "b.bin" },
		{ "http://h/a%20b", "a b" },
		{ "http://h/a%2Fb", "a%2Fb" },
		{ "http://h/a%00b", "a%00b" },
		{ "http://h/%c3%a4", "\xc3\xa4" },
		{ "http://h/a/", "h" },
		{ "http://h", "h" },
		{ "http://h/..", "h" },
		{ "http://h/%2e%2e", "h" },
		{ "http://h/a%zz%", "a%zz%" },
		{ "http://h/a%0ab", "a%0ab" },
		{ "http://h/x#/y", "x" },
	};
	char out[256];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct url u = parsed(cases[i][0]);

		assert_int_equal(url_name(&u, out, sizeof out), 0);
		assert_string_equal(out, cases[i][1]);
	}
}

static void test_credentials(void **state UNUSED)
{
	struct url u = parsed("http://jo%40e:p%3Aw@h/");
	char out[64];

	assert_int_equal(url_credentials(&u, out, sizeof out), 0);
	assert_string_equal(out, "jo@e:p:w");
	assert_int_equal(url_credentials(&u, out, 4), -ENAMETOOLONG);
	u = parsed("http://h/");
	assert_int_equal(url_credentials(&u, out, sizeof out), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),         cmocka_unit_test(test_bad_urls),
		cmocka_unit_test(test_same_origin),   cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_long_location), cmocka_unit_test(test_redact),
		cmocka_unit_test(test_identity),      cmocka_unit_test(test_names),
		cmocka_unit_test(test_credentials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
