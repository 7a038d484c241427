/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Index pages as real servers write them: which names come out, which links do not, and what is believed of
 * sizes and dates.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "http/index_html.h"
#include "http/index_json.h"
#include "http/index_text.h"

#define AT "http://host:8080/a%20b/"

struct want {
	const char *name;
	uint64_t size;
	int64_t mtime;
};

#define NO_SIZE VMOFS_SIZE_UNKNOWN
#define MINUTE  1795391580 /* 22-Nov-2026 23:53 */

static void check_list(struct index_list *l, const struct want *want, size_t n)
{
	index_list_finish(l);
	assert_int_equal(l->n, n);
	for (size_t i = 0; i < n; i++) {
		struct index_entry e = index_list_get(l, i);
		char name[512];

		snprintf(name, sizeof name, "%s%s", e.name, e.dir ? "/" : "");
		assert_string_equal(name, want[i].name);
		assert_true(e.size == want[i].size);
		assert_int_equal(e.mtime.tv_sec, want[i].mtime);
	}
	index_list_release(l);
}

static void check_html(const char *text, const struct want *want, size_t n)
{
	struct index_list l = { 0 };
	struct url page;

	assert_int_equal(url_parse(AT, strlen(AT), &page), 0);
	index_html_parse(&page, text, strlen(text), &l);
	check_list(&l, want, n);
}

#define CHECK_HTML(text, ...)                                  \
	check_html(text, (const struct want[]){ __VA_ARGS__ }, \
		   sizeof((const struct want[]){ __VA_ARGS__ }) / sizeof(struct want))

static void test_nginx(void **state UNUSED)
{
	CHECK_HTML("<h1>Index of /</h1><hr><pre><a href=\"../\">../</a>\n"
		   "<a href=\"sub%20dir/\">sub dir/</a>     22-Nov-2026 23:53       -\n"
		   "<a href=\"long%26name\">long..&gt;</a>  22-Nov-2026 23:53    1234567\n"
		   "<a href=\"rounded\">rounded</a>         22-Nov-2026 23:53      1M\n"
		   "<a href=\"zero\">zero</a>               22-Nov-2026 23:53      0\n</pre>",
		   { "long&name", 1234567, MINUTE }, { "rounded", NO_SIZE, MINUTE },
		   { "sub dir/", NO_SIZE, MINUTE }, { "zero", 0, MINUTE });
}

/* Rounded sizes, and times of a zone that is not said: the file is asked. */
static void test_apache_and_lighttpd(void **state UNUSED)
{
	CHECK_HTML(
		"<pre><a href=\"?C=N;O=D\">Name</a> <a href=\"?C=D;O=A\">Description</a><hr>"
		"<a href=\"/\">Parent Directory</a>     -\n"
		"<a href=\"a&amp;b/\">a&amp;b/</a>      2026-11-22 23:53    -   \n"
		"<a href=\"small\"><img></a> <a href=\"small\">small</a> 2026-11-22 23:53   10   \n"
		"<a href=\"./c:d\">c:d</a>              2026-11-22 23:53  1.2M  \n</pre>",
		{ "a&b/", NO_SIZE, 0 }, { "c:d", NO_SIZE, 0 }, { "small", NO_SIZE, 0 });
	CHECK_HTML("<tr><td><a href=\"t\">t</a></td><td align=\"right\">2026-11-22 23:53  </td>"
		   "<td align=\"right\">  3 </td><td>5 apples</td></tr>",
		   { "t", NO_SIZE, 0 });
	CHECK_HTML("<tr><td class=\"n\"><a href=\"a.txt\">a.txt</a></td>"
		   "<td class=\"m\">2026-Nov-22 23:53:14</td><td class=\"s\">0.1K</td></tr>",
		   { "a.txt", NO_SIZE, 0 });
}

static void test_old_apache(void **state UNUSED)
{
	CHECK_HTML("<pre><a href=\"described\">d..&gt;</a> 22-Nov-2026 23:53   11  12 monkeys\n"
		   "<a href=\"units\">u</a> 22-Nov-2026 23:53  12 KiB\n"
		   "<a href=\"twice\"><img></a> <a href=\"twice\">twice</a> 22-Nov-2026 23:53  7\n",
		   { "described", NO_SIZE, MINUTE }, { "twice", 7, MINUTE },
		   { "units", NO_SIZE, MINUTE });
}

static void test_caddy(void **state UNUSED)
{
	CHECK_HTML(
		"<tr><td>\n<a href=\"./big\"><svg></svg><span class=\"name\">big</span></a></td>\n"
		"<td data-order=\"1234567\">1.2 MiB</td>\n"
		"<td><time datetime=\" 2026-11-23T00:53:14+01:00\">x</time></td></tr>",
		{ "big", 1234567, MINUTE + 14 });
}

static void test_links_that_lead_elsewhere(void **state UNUSED)
{
	CHECK_HTML(
		"<!-- <a href=c1> --><script>\"<a href=c2>\"</script><a name=x>x</a><a href>e</a>"
		"<a href=\"\">e</a><a href=\".\">.</a><a href=\"./\">.</a><a href=\"..\">..</a>"
		"<a href=\"x/y\">deep</a><a href=\"x%2fy\">slash</a><a href=\"%2e%2e\">up</a>"
		"<a href=\"x?y\">q</a><a href=\"x#y\">f</a><a href=\"mailto:a@b\">m</a>"
		"<a href=\"/other/x\">o</a><a href=\"/a%20bx\">o</a><a href=\"/a%20b/\">self</a>"
		"<a href=\"http://host/a%20b/x\">port</a><a href=\"https://host:8080/a%20b/x\">tls</a>"
		"<a href=\"//host:81/a%20b/x\">port</a><a href=\"n%00l\">nul</a>"
		"<a href=\"http://HOST:8080/a b/one\">1</a><a href='/%61%20b/two/'>2</a>"
		"<a href=//host:8080/a%20b/three>3</a><A\nHREF = \" four&#x26;&amp;%25 \">4</A>",
		{ "four&&%", NO_SIZE, 0 }, { "three", NO_SIZE, 0 }, { "two/", NO_SIZE, 0 });
}

static void test_an_empty_index_is_one(void **state UNUSED)
{
	static const char *const pages[] = {
		"<h1>Index of /x/</h1><hr><pre><a href=\"../\">../</a>\n</pre>",
		"<title>Directory listing for /x/</title><ul>\n</ul>",
		"<table><th><a href=\"?C=N;O=D\">Name</a></th></table>",
	};
	struct index_list l = { 0 };
	struct url page;

	assert_int_equal(url_parse(AT, strlen(AT), &page), 0);
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		l.is_index = false;
		index_html_parse(&page, pages[i], strlen(pages[i]), &l);
		assert_true(l.is_index && l.n == 0);
	}
	l.is_index = false;
	index_html_parse(&page, "<p>It works!</p>", 16, &l);
	assert_false(l.is_index || l.n > 0);
}

static void test_json(void **state UNUSED)
{
	static const char text[] =
		"[\n{ \"name\":\"d\\u00e9j\\\"\\ud83d\\ude00\", \"type\":\"directory\", "
		"\"mtime\":\"Sun, 22 Nov 2026 23:53:00 GMT\" },\n"
		"{ \"name\":\"f\xe9\", \"type\":\"file\", \"mtime\":\"x\", \"size\":3 },"
		"{ \"name\":\"dev\", \"type\":\"other\" },"
		"{\"name\":\"lossy\\ufffd\",\"size\":9,\"url\":\"./g%E9\",\"more\":{\"a\":[1,[],{}]},"
		"\"mod_time\":\"2026-11-22T23:53:00.25Z\",\"is_dir\":false,\"is_symlink\":false},"
		"{\"name\":\"sub/\",\"size\":4096,\"is_dir\":true},"
		"{\"name\":\"link\",\"size\":7,\"is_symlink\":true},"
		"{\"name\":\"../up\",\"size\":1},{\"name\":\"n\\u0000l\"},{\"size\":1},{}]\n";
	static const struct want want[] = {
		{ "d\xc3\xa9j\"\xf0\x9f\x98\x80/", NO_SIZE, MINUTE },
		{ "f\xe9", 3, 0 },
		{ "g\xe9", 9, MINUTE },
		{ "link", NO_SIZE, 0 },
		{ "sub/", NO_SIZE, 0 },
	};
	struct index_list l = { 0 };
	struct url page;

	assert_int_equal(url_parse(AT, strlen(AT), &page), 0);
	assert_int_equal(index_json_parse(&page, text, sizeof text - 1, &l), 0);
	check_list(&l, want, ARRAY_LEN(want));
}

static void test_json_that_is_none(void **state UNUSED)
{
	static const char *const bad[] = {
		"",      "{}",   "[",           "[{]",        "[{\"name\":1",
		"[1]",   "[] x", "[{\"a\" 1}]", "[{\"a\":}]", "[{\"a\":\"\\q\"}]",
		"[{},]", "\"x\""
	};
	struct url page;

	assert_int_equal(url_parse(AT, strlen(AT), &page), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct index_list l = { 0 };

		assert_int_equal(index_json_parse(&page, bad[i], strlen(bad[i]), &l), -EINVAL);
		index_list_release(&l);
	}
}

static void test_keys_become_paths(void **state UNUSED)
{
	char out[64];

	assert_int_equal(index_encode_key("a b/%+\xc3\xa9?#", 10, out, sizeof out), 0);
	assert_string_equal(out, "a%20b/%25%2B%C3%A9%3F%23");
	assert_int_equal(index_encode_key("abcdefgh", 8, out, 8), -ENAMETOOLONG);
}

static void test_redirects(void **state UNUSED)
{
	char out[URL_MAX];
	struct url from, to;

	assert_int_equal(index_resolve("http://h/x/y", "/sub dir/\xe9", 10, out, sizeof out), 0);
	assert_string_equal(out, "http://h/sub%20dir/%E9");
	assert_int_equal(url_parse("http://h/sub%20dir", 18, &from), 0);
	assert_int_equal(url_parse("http://g:8/sub%20d%69r/", 23, &to), 0);
	assert_true(index_adds_slash(&from, &to));
	assert_false(index_adds_slash(&to, &from));
	assert_false(index_adds_slash(&from, &from));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nginx),
		cmocka_unit_test(test_apache_and_lighttpd),
		cmocka_unit_test(test_old_apache),
		cmocka_unit_test(test_caddy),
		cmocka_unit_test(test_links_that_lead_elsewhere),
		cmocka_unit_test(test_an_empty_index_is_one),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_that_is_none),
		cmocka_unit_test(test_keys_become_paths),
		cmocka_unit_test(test_redirects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
