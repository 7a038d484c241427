/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects that are made without asking: the version they adopt, endpoints that others make, refusals that
 * others read, digests that others check; and that thousands of them cost little.
 */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "http/http_origin.h"
#include "lib/http_bed.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define PAGE VMOFS_PAGE_SIZE

static struct sink *object(struct http_bed *b, const struct http_object_spec *spec)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_provider *p;

	assert_int_equal(http_object_new(&p, b->origin, spec, &err), 0);
	return sink_over(p, spec->size, b->loops);
}

static struct sink *plain(struct http_bed *b, const char *path, uint64_t size, const char *etag)
{
	struct http_object_spec spec = {
		.url = httpd_url(b->httpd, path),
		.size = size,
		.etag = etag,
		.last_modified = "",
	};

	return object(b, &spec);
}

static void test_nobody_is_asked(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(10 * PAGE, NULL, 1);
	struct sink *s = plain(b, "/a%20b?c=d", 10 * PAGE, "\"v0\"");
	struct httpd_entry e;

	sink_settle(s);
	assert_int_equal(httpd_requests(b->httpd), 0);
	assert_int_equal(sink_read(s, PAGE, PAGE), 0);
	assert_true(httpd_is(sink_bytes(s) + PAGE, PAGE, PAGE, 0));
	assert_int_equal(httpd_requests(b->httpd), 1);
	assert_true(httpd_entry(b->httpd, 0, &e));
	assert_string_equal(e.target, "/a%20b?c=d");
	assert_string_equal(e.if_match, "\"v0\"");
	assert_true(e.has_range && e.first == PAGE && e.last == 2 * PAGE - 1);
	sink_close(s);
	http_bed_free(b);
}

static void test_whole_object_has_no_range(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(3 * PAGE + 5, NULL, 1);
	struct sink *s = plain(b, "/", 3 * PAGE + 5, "\"v0\"");
	struct httpd_entry e;

	assert_int_equal(sink_read(s, 0, 4 * PAGE), 0);
	assert_true(httpd_is(sink_bytes(s), 0, 3 * PAGE + 5, 0));
	assert_true(httpd_entry(b->httpd, 0, &e));
	assert_false(e.has_range);
	assert_int_equal(e.status, 200);
	sink_evict(s, 0, 4 * PAGE);
	/* Nor is more of it believed than of a range. */
	httpd_set(b->httpd, "short-body=1");
	assert_int_equal(sink_read(s, 0, 4 * PAGE), 0);
	assert_true(httpd_is(sink_bytes(s), 0, 3 * PAGE + 5, 0));
	sink_close(s);
	http_bed_free(b);
}

static void test_first_answer_is_adopted(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(100 * MIB(1), NULL, 2);
	struct sink *s = plain(b, "/", 100 * MIB(1), "");
	struct sink_read *r[3];
	struct httpd_entry e;

	httpd_set(b->httpd, "freeze=1");
	for (unsigned i = 0; i < ARRAY_LEN(r); i++)
		r[i] = sink_send(s, i * MIB(10), PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(b->httpd, 1);
	sink_settle(s);
	sink_settle(s);
	assert_int_equal(httpd_requests(b->httpd), 1);
	httpd_set(b->httpd, "freeze=0");
	for (unsigned i = 0; i < ARRAY_LEN(r); i++)
		assert_int_equal(sink_wait(r[i]), 0);
	assert_int_equal(httpd_requests(b->httpd), 3);
	assert_true(httpd_entry(b->httpd, 0, &e));
	assert_string_equal(e.if_match, "");
	for (unsigned i = 1; i < 3; i++) {
		assert_true(httpd_entry(b->httpd, i, &e));
		assert_string_equal(e.if_match, "\"v0\"");
	}
	sink_close(s);
	http_bed_free(b);
}

static void test_adopted_version_is_kept(void **state UNUSED)
{
	static const char *const modes[] = { "version=0", "no-etag=1",
					     "no-etag=1&no-last-modified=1" };
	static const int codes[] = { -ESTALE, -ESTALE, 0 };

	for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
		struct http_bed *b = http_bed_new(10 * PAGE, NULL, 1);
		struct sink *s = plain(b, "/", 10 * PAGE, "");

		httpd_set(b->httpd, modes[i]);
		assert_int_equal(sink_read(s, 0, PAGE), 0);
		httpd_set(b->httpd, "version=1");
		assert_int_equal(sink_read(s, PAGE, PAGE), codes[i]);
		sink_close(s);
		http_bed_free(b);
	}
}

static void test_size_must_be_the_expected(void **state UNUSED)
{
	static const uint64_t there[] = { 11 * PAGE, 9 * PAGE, 10 * PAGE + 1 };

	for (unsigned i = 0; i < ARRAY_LEN(there); i++) {
		struct http_bed *b = http_bed_new(there[i], NULL, 1);
		struct sink *s = plain(b, "/", 10 * PAGE, "");

		assert_int_equal(sink_read(s, 0, PAGE), -ESTALE);
		assert_int_equal(sink_read(s, 0, 10 * PAGE), -ESTALE);
		assert_int_equal(sink_supplied(s), 0);
		sink_close(s);
		http_bed_free(b);
	}
}

static void test_server_without_ranges(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(100 * PAGE + 7, NULL, 2);
	static const char *const etags[] = { "", "\"v0\"" };

	httpd_set(b->httpd, "no-ranges=1");
	for (unsigned i = 0; i < ARRAY_LEN(etags); i++) {
		struct sink *s = plain(b, "/", 100 * PAGE + 7, etags[i]);
		struct sink_read *r[4];

		for (unsigned n = 0; n < ARRAY_LEN(r); n++)
			r[n] = sink_send(s, (10 + 20 * n) * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
		for (unsigned n = 0; n < ARRAY_LEN(r); n++)
			assert_int_equal(sink_wait(r[n]), 0);
		assert_true(httpd_is(sink_bytes(s) + 70 * PAGE, 70 * PAGE, PAGE, 0));
		sink_close(s);
	}
	http_bed_free(b);
	b = http_bed_new(100 * PAGE, "whole-limit=100K", 1);
	httpd_set(b->httpd, "no-ranges=1");
	for (unsigned i = 0; i < ARRAY_LEN(etags); i++) {
		struct sink *s = plain(b, "/", 100 * PAGE, etags[i]);
		struct vmofs_provider_stats stats;

		assert_int_equal(sink_read(s, PAGE, PAGE), -EBADMSG);
		sink_stats(s, &stats);
		assert_non_null(strstr(stats.last.msg, "whole-limit"));
		sink_close(s);
	}
	http_bed_free(b);
	/* What has served a range once is not forgiven. */
	b = http_bed_new(100 * PAGE, NULL, 1);
	struct sink *s = plain(b, "/", 100 * PAGE, "");

	assert_int_equal(sink_read(s, PAGE, PAGE), 0);
	httpd_set(b->httpd, "no-ranges=1");
	assert_int_equal(sink_read(s, 5 * PAGE, PAGE), -EBADMSG);
	sink_close(s);
	http_bed_free(b);
}

static void test_redirects_are_found(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(10 * PAGE, "username=joe", 1);
	struct httpd *other = httpd_new(10 * PAGE, NULL);
	struct sink *s = plain(b, "/redirect", 10 * PAGE, "\"v0\"");
	char modes[1100];
	struct httpd_entry e;

	snprintf(modes, sizeof modes, "redirect=%s", httpd_url(other, "/there"));
	httpd_set(b->httpd, modes);
	assert_int_equal(sink_read(s, PAGE, PAGE), 0);
	assert_int_equal(sink_read(s, 5 * PAGE, PAGE), 0);
	assert_true(httpd_is(sink_bytes(s) + PAGE, PAGE, PAGE, 0));
	for (unsigned i = 0; httpd_entry(other, i, &e); i++) {
		assert_string_equal(e.target, "/there");
		assert_string_equal(e.authorization, "");
	}
	assert_int_equal(httpd_requests(other), 3);
	sink_close(s);
	httpd_free(other);
	http_bed_free(b);
}

static void test_credentials_are_the_origin_s(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(PAGE, "username=joe", 1);
	struct httpd *other = httpd_new(PAGE, NULL);
	struct http_object_spec spec = { .size = PAGE, .etag = "", .last_modified = "" };
	struct httpd_entry e;
	struct sink *s;

	spec.url = httpd_url(other, "/");
	s = object(b, &spec);
	assert_int_equal(sink_read(s, 0, PAGE), 0);
	assert_true(httpd_entry(other, 0, &e));
	assert_string_equal(e.authorization, "");
	sink_close(s);
	spec.url = httpd_url(b->httpd, "/");
	s = object(b, &spec);
	assert_int_equal(sink_read(s, 0, PAGE), 0);
	assert_true(httpd_entry(b->httpd, 0, &e));
	assert_string_equal(e.authorization, "Basic am9lOg==");
	sink_close(s);
	httpd_free(other);
	http_bed_free(b);
}

/* -- locations -------------------------------------------------------------------------------- */

/* Signs with a generation that can be renewed. */
struct location {
	struct http_bed *bed;
	char url[128];
	atomic_uint generation;
	atomic_uint endpoints;
	atomic_uint renewals;
	atomic_uint answers;
	atomic_uint refusals;
	int endpoint_code; /* until renew() */
	int renew_code;
	uint64_t valid_ns;
	enum http_outcome refused_to;
	char refusal[512];
	_Atomic uint64_t checked;
	uint64_t check_fails_at;
	atomic_bool checking;
	atomic_bool freed;
};

static int location_endpoint(void *arg, const struct http_expect *expect,
			     struct http_endpoint **out, uint64_t *valid_until_ns,
			     struct vmofs_err *err)
{
	struct location *l = arg;
	char line[64];
	const char *lines[] = { line };

	atomic_fetch_add(&l->endpoints, 1);
	if (l->endpoint_code)
		return vmofs_err_set(err, l->endpoint_code, "no keys");
	snprintf(line, sizeof line, "Authorization: Bearer t%u", atomic_load(&l->generation));
	*out = http_endpoint_new_lines(http_origin_settings(l->bed->origin), l->url, lines, 1,
				       expect, err);
	if (l->valid_ns)
		*valid_until_ns = loop_now_ns() + l->valid_ns;
	return *out ? 0 : err->code;
}

static int location_renew(void *arg, const struct http_refusal *why UNUSED, struct vmofs_err *err)
{
	struct location *l = arg;

	assert_null(loop_current());
	atomic_fetch_add(&l->renewals, 1);
	if (l->renew_code)
		return vmofs_err_set(err, l->renew_code, "no renewal");
	l->endpoint_code = 0;
	atomic_fetch_add(&l->generation, 1);
	return 0;
}

static void location_answered(void *arg, const struct http_reply *r)
{
	struct location *l = arg;

	assert_true(r->complete && r->etag[0]);
	atomic_fetch_add(&l->answers, 1);
}

static void location_refused(void *arg, struct http_refusal *why)
{
	struct location *l = arg;

	if (atomic_fetch_add(&l->refusals, 1) == 0)
		snprintf(l->refusal, sizeof l->refusal, "%.*s", (int)why->len,
			 why->body ? why->body : "");
	if (l->refused_to != HTTP_OUTCOME_OK)
		why->outcome = l->refused_to;
	snprintf(why->msg, sizeof why->msg, "read by its owner");
}

static int location_check(void *arg, struct vmo *vmo UNUSED, uint64_t off, const void *buf,
			  uint64_t n)
{
	struct location *l = arg;
	int r = 0;

	assert_false(atomic_exchange(&l->checking, true));
	assert_true(httpd_is(buf, off, n, 0));
	atomic_fetch_add(&l->checked, n);
	if (l->check_fails_at && off + n >= l->check_fails_at)
		r = -EBADMSG;
	atomic_store(&l->checking, false);
	return r;
}

static void location_free(void *arg)
{
	atomic_store(&((struct location *)arg)->freed, true);
}

static const struct http_location_ops location_ops = {
	.endpoint = location_endpoint,
	.renew = location_renew,
	.answered = location_answered,
	.refused = location_refused,
	.check = location_check,
	.free = location_free,
};

static struct sink *located(struct http_bed *b, struct location *l, uint64_t size)
{
	struct http_object_spec spec = {
		.url = httpd_url(b->httpd, "/object"),
		.size = size,
		.etag = "\"v0\"",
		.last_modified = "",
		.location = &location_ops,
		.arg = l,
	};

	l->bed = b;
	snprintf(l->url, sizeof l->url, "%s", httpd_url(b->httpd, "/signed"));
	return object(b, &spec);
}

static void wait_freed(struct http_bed *b, struct location *l)
{
	while (!atomic_load(&l->freed))
		for (unsigned i = 0; i < loop_pool_size(b->loops); i++)
			loop_wake(loop_pool_nth(b->loops, i));
}

static void test_endpoints_of_others(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(10 * PAGE, NULL, 1);
	struct location l = { 0 };
	struct sink *s = located(b, &l, 10 * PAGE);
	struct httpd_entry e;

	httpd_set(b->httpd, "bearer=t0");
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(sink_read(s, i * PAGE, PAGE), 0);
	assert_int_equal(atomic_load(&l.endpoints), 1);
	assert_int_equal(atomic_load(&l.answers), 3);
	assert_int_equal(atomic_load(&l.checked), 3 * PAGE);
	assert_true(httpd_entry(b->httpd, 0, &e));
	assert_string_equal(e.target, "/signed");
	assert_string_equal(e.if_match, "\"v0\"");
	sink_close(s);
	wait_freed(b, &l);
	http_bed_free(b);
}

static void test_endpoints_expire(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(10 * PAGE, NULL, 1);
	struct location l = { .valid_ns = 1 };
	struct sink *s = located(b, &l, 10 * PAGE);

	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(sink_read(s, i * PAGE, PAGE), 0);
	assert_int_equal(atomic_load(&l.endpoints), 3);
	sink_close(s);
	wait_freed(b, &l);
	http_bed_free(b);
}

static void test_one_renewal_for_all(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(64 * MIB(1), "connections=16", 2);
	struct location l = { 0 };
	struct sink *s = located(b, &l, 64 * MIB(1));
	struct sink_read *r[12];

	httpd_set(b->httpd, "bearer=t1&freeze=1");
	for (unsigned i = 0; i < ARRAY_LEN(r); i++)
		r[i] = sink_send(s, i * MIB(4), PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(b->httpd, ARRAY_LEN(r));
	httpd_set(b->httpd, "freeze=0");
	for (unsigned i = 0; i < ARRAY_LEN(r); i++)
		assert_int_equal(sink_wait(r[i]), 0);
	assert_int_equal(atomic_load(&l.renewals), 1);
	/* Refusals that come after the renewal are of nobody's interest. */
	assert_in_range(atomic_load(&l.refusals), 1, ARRAY_LEN(r));
	sink_close(s);
	wait_freed(b, &l);
	http_bed_free(b);
}

static void test_renewal_that_does_not_help(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(10 * PAGE, NULL, 1);
	struct location l = { 0 }, none = { .endpoint_code = -EAGAIN, .renew_code = -EACCES },
			late = { .endpoint_code = -EAGAIN };
	struct sink *s = located(b, &l, 10 * PAGE);
	struct vmofs_provider_stats stats;

	httpd_set(b->httpd, "bearer=another");
	assert_int_equal(sink_read(s, 0, PAGE), -EACCES);
	assert_int_equal(atomic_load(&l.renewals), 1);
	sink_stats(s, &stats);
	assert_string_equal(stats.last.msg, "read by its owner");
	sink_close(s);
	wait_freed(b, &l);

	s = located(b, &none, 10 * PAGE);
	assert_int_equal(sink_read(s, 0, PAGE), -EACCES);
	assert_int_equal(atomic_load(&none.renewals), 1);
	sink_stats(s, &stats);
	assert_string_equal(stats.last.msg, "no keys");
	sink_close(s);
	wait_freed(b, &none);

	httpd_set(b->httpd, "bearer=t1");
	s = located(b, &late, 10 * PAGE);
	assert_int_equal(sink_read(s, 0, PAGE), 0);
	assert_int_equal(atomic_load(&late.renewals), 1);
	sink_close(s);
	wait_freed(b, &late);
	http_bed_free(b);
}

static void test_refusals_are_read(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(10 * PAGE, "retry-base=60s", 1);
	struct location l = { .refused_to = HTTP_OUTCOME_DENIED };
	struct sink *s = located(b, &l, 10 * PAGE);

	httpd_set(b->httpd, "status-count=1&status=400&error-body=<Code>ExpiredToken</Code>");
	assert_int_equal(sink_read(s, 0, PAGE), 0);
	assert_string_equal(l.refusal, "<Code>ExpiredToken</Code>");
	assert_int_equal(atomic_load(&l.renewals), 1);
	/* Made anew, and tried again at once. */
	l.refused_to = HTTP_OUTCOME_RETRY;
	httpd_set(b->httpd, "status-count=1");
	assert_int_equal(sink_read(s, PAGE, PAGE), 0);
	assert_int_equal(atomic_load(&l.endpoints), 3);
	l.refused_to = HTTP_OUTCOME_OK;
	httpd_set(b->httpd, "status-count=1");
	assert_int_equal(sink_read(s, 2 * PAGE, PAGE), -EIO);
	assert_int_equal(atomic_load(&l.renewals), 1);
	sink_close(s);
	wait_freed(b, &l);
	http_bed_free(b);
}

static void test_digest_that_fails(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(16 * MIB(1), NULL, 2);
	struct location l = { .check_fails_at = 16 * MIB(1) };
	struct sink *s = located(b, &l, 16 * MIB(1));
	struct vmofs_provider_stats stats;

	assert_int_equal(sink_read(s, 0, 8 * MIB(1)), 0);
	assert_int_equal(sink_read(s, 8 * MIB(1), 8 * MIB(1)), -EBADMSG);
	sink_wait_distrusted(s);
	assert_false(sink_present(s, 0));
	assert_false(sink_present(s, 16 * MIB(1) - PAGE));
	sink_stats(s, &stats);
	assert_non_null(strstr(stats.last.msg, "checksum"));
	assert_int_equal(stats.integrity_errors, 1);
	sink_close(s);
	wait_freed(b, &l);
	http_bed_free(b);
}

static void test_close_under_way(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(64 * MIB(1), NULL, 2);

	httpd_set(b->httpd, "freeze=1");
	for (unsigned i = 0; i < 20; i++) {
		struct location l = { 0 };
		struct sink *s = located(b, &l, 64 * MIB(1));
		struct sink_read *r[4];
		uint64_t sent = httpd_requests(b->httpd);

		for (unsigned n = 0; n < ARRAY_LEN(r); n++)
			r[n] = sink_send(s, n * MIB(4), MIB(1), VMOFS_CLASS_DEMAND, 0);
		if (i % 2)
			httpd_wait_requests(b->httpd, sent + 1);
		for (unsigned n = 0; n < ARRAY_LEN(r); n++) {
			sink_cancel(r[n]);
			assert_int_equal(sink_wait(r[n]), -ECANCELED);
		}
		/* The transfers end on their loops, the object behind them. */
		sink_close(s);
		wait_freed(b, &l);
	}
	httpd_set(b->httpd, "freeze=0");
	http_bed_free(b);
}

/* -- many ------------------------------------------------------------------------------------- */

#define MANY 2000

static void test_many_small_objects(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(PAGE, "connections=8", 2);
	struct vmofs_provider_stats stats = { 0 };
	struct sink **s = calloc(MANY, sizeof(struct sink *));
	struct sink_read **r = calloc(MANY, sizeof(struct sink_read *));

	for (unsigned i = 0; i < MANY; i++) {
		char path[64];

		snprintf(path, sizeof path, "/dir/object-%u", i);
		s[i] = plain(b, path, PAGE, i % 2 ? "" : "\"v0\"");
	}
	for (unsigned i = 0; i < MANY; i++)
		r[i] = sink_send(s[i], 0, PAGE, VMOFS_CLASS_DEMAND, 0);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(sink_wait(r[i]), 0);
		assert_true(httpd_is(sink_bytes(s[i]), 0, PAGE, 0));
	}
	assert_int_equal(httpd_requests(b->httpd), MANY);
	assert_true(httpd_connections(b->httpd) <= 8);
	sink_settle(s[0]);
	http_origin_stats(b->origin, &stats);
	assert_int_equal(stats.requests, MANY);
	assert_int_equal(stats.bytes_fetched, MANY * PAGE);
	assert_int_equal(stats.in_flight, 0);
	for (unsigned i = 0; i < MANY; i++)
		sink_close(s[i]);
	free(s);
	free(r);
	http_bed_free(b);
}

static size_t allocated(void)
{
	return mallinfo2().uordblks;
}

/* What an open object costs beside its URL and its headers, as long as nothing goes wrong. */
static void test_objects_are_small(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(PAGE, NULL, 1);
	struct http_object_spec spec = { .url = httpd_url(b->httpd, "/dir/object"),
					 .size = PAGE,
					 .etag = "\"v0\"",
					 .last_modified = "" };
	struct vmofs_provider **p = calloc(MANY, sizeof(struct vmofs_provider *));
	struct vmofs_err err = VMOFS_ERR_INIT;
	size_t before = allocated();

	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(http_object_new(&p[i], b->origin, &spec, &err), 0);
	print_message("%zu bytes an object\n", (allocated() - before) / MANY);
#if !defined(VMOFS_SANITIZED) /* whose malloc has books of its own */
	assert_true((allocated() - before) / MANY < 1024);
#endif
	for (unsigned i = 0; i < MANY; i++)
		p[i]->ops->free(p[i]);
	free(p);
	http_bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_is_asked),
		cmocka_unit_test(test_whole_object_has_no_range),
		cmocka_unit_test(test_first_answer_is_adopted),
		cmocka_unit_test(test_adopted_version_is_kept),
		cmocka_unit_test(test_size_must_be_the_expected),
		cmocka_unit_test(test_server_without_ranges),
		cmocka_unit_test(test_redirects_are_found),
		cmocka_unit_test(test_credentials_are_the_origin_s),
		cmocka_unit_test(test_endpoints_of_others),
		cmocka_unit_test(test_endpoints_expire),
		cmocka_unit_test(test_one_renewal_for_all),
		cmocka_unit_test(test_renewal_that_does_not_help),
		cmocka_unit_test(test_refusals_are_read),
		cmocka_unit_test(test_digest_that_fails),
		cmocka_unit_test(test_close_under_way),
		cmocka_unit_test(test_many_small_objects),
		cmocka_unit_test(test_objects_are_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
