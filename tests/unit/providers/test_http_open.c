/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening HTTP objects: redirects and who is told credentials, expired targets, servers without
 * ranges, lengths or GET probes, options, and errors that a person can understand.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define PAGE VMOFS_PAGE_SIZE

/* Opens, reads the second page and compares; gives what the @i-th request looked like. */
static void open_and_read(struct httpd *h, const char *url, const char *opts, size_t i,
			  struct httpd_entry *e)
{
	struct sink *s = sink_must_open(url, opts, 2);

	assert_int_equal(sink_read(s, PAGE, PAGE), 0);
	assert_true(httpd_is(sink_bytes(s) + PAGE, PAGE, PAGE, 0));
	sink_close(s);
	if (e)
		assert_true(httpd_entry(h, i, e));
}

static void open_fails(const char *url, const char *opts, int code, const char *word)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_null(sink_open(url, opts, 1, &err));
	if (!strstr(err.msg, word))
		print_error("message: %s\n", err.msg);
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.msg, word));
}

static void test_redirect_is_resolved_once(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/redirect/name.bin"), NULL, 1);
	struct vmofs_provider_stats stats;
	struct httpd_entry e;

	assert_int_equal(sink_read(s, 0, PAGE), 0);
	assert_int_equal(sink_read(s, PAGE, PAGE), 0);
	assert_true(httpd_entry(h, 0, &e));
	assert_string_equal(e.target, "/redirect/name.bin");
	for (size_t i = 1; i < 4; i++) {
		assert_true(httpd_entry(h, i, &e));
		assert_string_equal(e.target, "/object");
	}
	sink_stats(s, &stats);
	assert_int_equal(stats.redirects, 1);
	assert_string_equal(sink_info(s)->name, "name.bin"); /* of the source, not the target */
	sink_close(s);
	httpd_free(h);
}

static void test_relative_location(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct httpd_entry e;

	httpd_set(h, "redirect=../../a/./b");
	open_and_read(h, httpd_url(h, "/redirect/x/y"), NULL, 1, &e);
	assert_string_equal(e.target, "/a/b");
	httpd_free(h);
}

static void test_redirects_that_do_not_end(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);

	open_fails(httpd_url(h, "/endless"), NULL, -ELOOP, "more than 10 redirects");
	assert_true(httpd_requests(h) <= 11);
	open_fails(httpd_url(h, "/circle-a"), NULL, -ELOOP, "circle");
	httpd_set(h, "redirect=ftp://host/x");
	open_fails(httpd_url(h, "/redirect"), NULL, -EBADMSG, "no http URL");
	httpd_free(h);
}

/* Another port is another origin. */
static void test_secrets_stay_with_their_origin(void **state UNUSED)
{
	struct httpd *first = httpd_new(1 << 20, NULL);
	struct httpd *second = httpd_new(1 << 20, NULL);
	char url[256], mode[256];
	struct httpd_entry e;

	snprintf(mode, sizeof mode, "basic=joe:secret&redirect=%s",
		 httpd_url(second, "/elsewhere"));
	httpd_set(first, mode);
	snprintf(url, sizeof url, "http://joe:secret@127.0.0.1:%u/redirect", httpd_port(first));
	open_and_read(second, url, "header=X-Secret: swordfish", 1, &e);
	assert_string_equal(e.authorization, "");
	assert_string_equal(e.secret, "");
	assert_string_equal(e.target, "/elsewhere");
	assert_true(httpd_entry(first, 0, &e));
	assert_string_equal(e.authorization, "Basic am9lOnNlY3JldA==");
	assert_string_equal(e.secret, "swordfish");

	httpd_set(first, "redirect=/object"); /* the same origin is told */
	open_and_read(first, url, "header=X-Secret: swordfish", 2, &e);
	assert_string_equal(e.authorization, "Basic am9lOnNlY3JldA==");
	assert_string_equal(e.secret, "swordfish");
	httpd_free(first);
	httpd_free(second);
}

static void test_secrets_are_not_shown(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct sink *s;
	char url[256];

	snprintf(url, sizeof url, "http://joe:secret@127.0.0.1:%u/f?a=1&X-Amz-Signature=secret",
		 httpd_port(h));
	s = sink_must_open(url, NULL, 1);
	assert_null(strstr(sink_info(s)->url, "secret"));
	assert_null(strstr(sink_info(s)->url, "joe"));
	assert_non_null(strstr(sink_info(s)->url, "/f?a=1&X-Amz-Signature=***"));
	sink_close(s);
	httpd_set(h, "status=404&status-count=-1&probe-too=1");
	assert_null(sink_open(url, NULL, 1, &err));
	assert_null(strstr(err.msg, "secret"));
	assert_int_equal(err.code, -ENOENT);
	httpd_free(h);
}

/* Of what is at @path, asked for as @user (a prefix with its @) and with @opts. */
static const uint8_t *identity_of(struct httpd *h, const char *user, const char *path,
				  const char *opts, uint8_t out[VMOFS_IDENTITY_LEN])
{
	const struct vmofs_object_info *info;
	struct sink *s;
	char url[512];

	snprintf(url, sizeof url, "http://%s127.0.0.1:%u%s", user, httpd_port(h), path);
	s = sink_must_open(url, opts, 1);
	info = sink_info(s);
	memcpy(out, info->identity, VMOFS_IDENTITY_LEN);
	out = info->has_identity ? out : NULL;
	sink_close(s);
	return out;
}

static void test_what_is_hidden_tells_objects_apart(void **state UNUSED)
{
	static const struct {
		const char *user, *path, *opts;
	} asked[] = {
		{ "", "/f?key=a", NULL },
		{ "", "/f?key=b", NULL },
		{ "", "/f?key=***", NULL },
		{ "", "/f?token=a", NULL },
		{ "joe:secret@", "/f?key=a", NULL },
		{ "joe:secret@", "/f", NULL },
		{ "jane:secret@", "/f", NULL },
		{ "", "/f", "header=X-Tenant: 1" },
		{ "", "/f", "header=X-Tenant: 2" },
		{ "", "/f", "header=Host: other" },
	};
	uint8_t id[ARRAY_LEN(asked)][VMOFS_IDENTITY_LEN], again[VMOFS_IDENTITY_LEN];
	struct httpd *h = httpd_new(1 << 20, NULL);

	assert_null(identity_of(h, "", "/f", NULL, again));
	assert_null(identity_of(h, "", "/f?a=b&X-Amz-Date=1", NULL, again));
	for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
		assert_non_null(identity_of(h, asked[i].user, asked[i].path, asked[i].opts, id[i]));
		assert_non_null(identity_of(h, asked[i].user, asked[i].path, asked[i].opts, again));
		assert_memory_equal(id[i], again, sizeof again);
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(id[i], id[k], sizeof again);
	}
	httpd_free(h);
}

/* What is renewed. */
static void test_a_proof_is_no_identity(void **state UNUSED)
{
	static const char signature[] = "/f?v=1&X-Amz-Algorithm=A&X-Amz-Credential=C&X-Amz-Date=%d&"
					"X-Amz-Signature=%d";
	uint8_t a[VMOFS_IDENTITY_LEN], b[VMOFS_IDENTITY_LEN];
	struct httpd *h = httpd_new(1 << 20, NULL);
	char one[256], two[256];

	snprintf(one, sizeof one, signature, 1, 2);
	snprintf(two, sizeof two, signature, 3, 4);
	assert_non_null(identity_of(h, "", one, NULL, a));
	assert_non_null(identity_of(h, "", two, NULL, b));
	assert_memory_equal(a, b, sizeof a);
	assert_non_null(identity_of(h, "joe:old@", "/f", NULL, a));
	assert_non_null(identity_of(h, "joe:new@", "/f", NULL, b));
	assert_memory_equal(a, b, sizeof a);
	assert_null(identity_of(h, "", "/f", "header=authorization: Bearer x", a));
	httpd_free(h);
}

static char *temp_file(const char *text)
{
	char *path = strdup("/tmp/vmofs-test-XXXXXX");
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	return path;
}

static void rewrite(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_basic_authentication(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	char *file = temp_file("joe:secret\n");
	char *netrc = temp_file("machine 127.0.0.1 login joe password secret\n");
	char opts[256];

	httpd_set(h, "basic=joe:secret");
	open_fails(httpd_url(h, "/object"), NULL, -EACCES, "401");
	snprintf(opts, sizeof opts, "user-file=%s", file);
	open_and_read(h, httpd_url(h, "/object"), opts, 0, NULL);
	snprintf(opts, sizeof opts, "netrc=%s", netrc);
	open_and_read(h, httpd_url(h, "/object"), opts, 0, NULL);
	setenv("VMOFS_PASSWORD", "secret", 1);
	open_and_read(h, httpd_url(h, "/object"), "username=joe", 0, NULL);
	unsetenv("VMOFS_PASSWORD");
	open_fails(httpd_url(h, "/object"), "username=joe:secret", -EINVAL, "user-file");
	unlink(file);
	unlink(netrc);
	free(file);
	free(netrc);
	httpd_free(h);
}

static void test_token_is_read_again(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	char *file = temp_file("first\n");
	struct sink *s;
	char opts[256];

	httpd_set(h, "bearer=first");
	snprintf(opts, sizeof opts, "token-file=%s,timeout=10s", file);
	s = sink_must_open(httpd_url(h, "/object"), opts, 2);
	assert_int_equal(sink_read(s, 0, PAGE), 0);
	httpd_set(h, "bearer=second");
	rewrite(file, "second\n");
	assert_int_equal(sink_read(s, PAGE, PAGE), 0);
	httpd_set(h, "bearer=third"); /* renewed once only */
	assert_int_equal(sink_read(s, 2 * PAGE, PAGE), -EACCES);
	sink_close(s);
	unlink(file);
	free(file);
	httpd_free(h);
}

/* A signed target expires: it is looked up again, once for all who wait. */
static void test_expired_target(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/expiring"), "timeout=10s", 2);
	struct sink_read *r[20];
	struct vmofs_provider_stats stats;

	assert_int_equal(sink_read(s, 0, PAGE), 0);
	httpd_set(h, "gen=7");
	for (unsigned i = 0; i < 20; i++)
		r[i] = sink_send(s, (2 + 2 * i) * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(sink_wait(r[i]), 0);
	sink_stats(s, &stats);
	assert_int_equal(stats.redirects, 2);
	assert_int_equal(stats.errors, 0);
	sink_close(s);
	httpd_free(h);
}

static void test_server_without_ranges(void **state UNUSED)
{
	struct httpd *h = httpd_new(300001, NULL);
	struct sink_read *r[4];
	struct sink *s;

	httpd_set(h, "no-ranges=1");
	s = sink_must_open(httpd_url(h, "/object"), "retry-base=1ms", 2);
	assert_int_equal(httpd_requests(h), 1);
	for (unsigned i = 0; i < 4; i++)
		r[i] = sink_send(s, i * 16 * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(sink_wait(r[i]), 0);
	sink_settle(s);
	assert_int_equal(httpd_requests(h), 2); /* one whole GET for all of them */
	assert_true(httpd_is(sink_bytes(s), 0, 300001, 0));
	sink_evict(s, 0, 74 * PAGE);
	httpd_set(h, "short-body=1"); /* begins again */
	assert_int_equal(sink_read(s, 73 * PAGE, PAGE), 0);
	assert_true(httpd_is(sink_bytes(s) + 73 * PAGE, 73 * PAGE, 300001 - 73 * PAGE, 0));
	sink_close(s);

	open_fails(httpd_url(h, "/object"), "whole-limit=100K", -EOPNOTSUPP, "whole-limit");
	httpd_set(h, "no-length=1");
	open_fails(httpd_url(h, "/object"), NULL, -EOPNOTSUPP, "length");
	httpd_free(h);
}

static void test_probe_methods(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct httpd_entry e;

	httpd_set(h, "no-get-probe=1");
	open_and_read(h, httpd_url(h, "/object"), NULL, 1, &e);
	assert_string_equal(e.method, "HEAD");
	httpd_set(h, "no-get-probe=0");
	open_and_read(h, httpd_url(h, "/object"), "probe=head", 3, &e);
	assert_string_equal(e.method, "HEAD");
	httpd_free(h);
}

static void test_open_errors(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	static const struct {
		const char *modes;
		int code;
		const char *word;
	} cases[] = {
		{ "status=404", -ENOENT, "404" },
		{ "status=410", -ENOENT, "410" },
		{ "status=403", -EACCES, "403" },
		{ "status=400", -EIO, "400" },
		{ "status=503", -EIO, "503" },
		{ "status-count=0&gzip=-1", -EBADMSG, "compress" },
		{ "gzip=0&wrong-range=-1", -EBADMSG, "another range" },
	};

	httpd_set(h, "probe-too=1&status-count=-1");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		httpd_set(h, cases[i].modes);
		open_fails(httpd_url(h, "/object"), NULL, cases[i].code, cases[i].word);
	}
	httpd_set(h, "wrong-range=0&status-count=2&status=503"); /* passes by itself */
	open_and_read(h, httpd_url(h, "/object"), NULL, 0, NULL);
	httpd_free(h);
	open_fails("http://127.0.0.1:1/x", NULL, -EIO, "127.0.0.1");
	open_fails("http://", NULL, -EINVAL, "not a valid http URL");
	open_fails("http://host:99999/x", NULL, -EINVAL, "not a valid http URL");
}

static void test_bad_options(void **state UNUSED)
{
	static const char *const bad[] = {
		"connections=0",
		"connections=1000",
		"part-size=1",
		"probe=post",
		"http=3",
		"header=nonsense",
		"header=A b: c",
		"timeout=0",
		"stall-timeout=0",
		"user-file=/nonexistent/x",
		"token-file=/nonexistent/x",
	};
	struct httpd *h = httpd_new(1 << 20, NULL);

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct vmofs_err err = VMOFS_ERR_INIT;

		assert_null(sink_open(httpd_url(h, "/object"), bad[i], 1, &err));
		assert_true(err.code < 0 && err.msg[0]);
	}
	httpd_free(h);
}

/* The server stands in for a proxy: it is asked for the whole URL. */
static void test_proxy(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct httpd_entry e;
	char opts[256];

	snprintf(opts, sizeof opts, "proxy=%s", httpd_url(h, ""));
	open_and_read(h, "http://origin.invalid/file", opts, 1, &e);
	assert_string_equal(e.target, "http://origin.invalid/file");
	setenv("http_proxy", httpd_url(h, ""), 1);
	open_and_read(h, "http://origin.invalid/other", NULL, 3, &e);
	unsetenv("http_proxy");
	assert_string_equal(e.target, "http://origin.invalid/other");
	httpd_free(h);
}

static void test_weak_validators(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s;

	httpd_set(h, "weak-etag=1");
	s = sink_must_open(httpd_url(h, "/object"), NULL, 1);
	assert_true(sink_info(s)->weak);
	assert_string_equal(sink_info(s)->validator, "W/\"v0\"");
	assert_int_equal(sink_read(s, 0, PAGE), 0);
	sink_close(s);
	httpd_set(h, "no-etag=1&no-last-modified=1");
	s = sink_must_open(httpd_url(h, "/object"), NULL, 1);
	assert_true(sink_info(s)->weak);
	assert_string_equal(sink_info(s)->validator, "");
	assert_int_equal(sink_read(s, 0, PAGE), 0);
	sink_close(s);
	httpd_free(h);
}

static void test_dump(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "connections=1", 1);
	struct sink_read *r[2];
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	httpd_set(h, "freeze=1");
	r[0] = sink_send(s, 0, PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(h, 2);
	r[1] = sink_send(s, PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	sink_provider(s)->ops->dump(sink_provider(s), out, 0, 10);
	fclose(out);
	assert_non_null(strstr(text, "demand 1 prefetch 0 delayed 0 active 1"));
	assert_non_null(strstr(text, "GET [0x0, 0x1000)"));
	assert_true(sink_provider(s)->ops->koid(sink_provider(s)) != 0);
	free(text);
	httpd_set(h, "freeze=0");
	assert_int_equal(sink_wait(r[0]), 0);
	assert_int_equal(sink_wait(r[1]), 0);
	sink_close(s);
	httpd_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_redirect_is_resolved_once),
		cmocka_unit_test(test_relative_location),
		cmocka_unit_test(test_redirects_that_do_not_end),
		cmocka_unit_test(test_secrets_stay_with_their_origin),
		cmocka_unit_test(test_secrets_are_not_shown),
		cmocka_unit_test(test_what_is_hidden_tells_objects_apart),
		cmocka_unit_test(test_a_proof_is_no_identity),
		cmocka_unit_test(test_basic_authentication),
		cmocka_unit_test(test_token_is_read_again),
		cmocka_unit_test(test_expired_target),
		cmocka_unit_test(test_server_without_ranges),
		cmocka_unit_test(test_probe_methods),
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_proxy),
		cmocka_unit_test(test_weak_validators),
		cmocka_unit_test(test_dump),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
