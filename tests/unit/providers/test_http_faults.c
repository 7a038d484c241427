/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP provider on a server that lies, breaks off or is busy: each line of the table of errors.
 * Wrong bytes are never served, retries ask only for what is missing, and deadlines end everything.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define PAGE  VMOFS_PAGE_SIZE
#define QUICK "retry-base=1ms,timeout=20s"

struct world {
	struct httpd *h;
	struct sink *s;
};

static struct world setup(uint64_t size, const char *opts)
{
	struct world w = { .h = httpd_new(size, NULL) };

	w.s = sink_must_open(httpd_url(w.h, "/object"), opts, 2);
	return w;
}

static void teardown(struct world *w)
{
	sink_close(w->s);
	httpd_free(w->h);
}

static struct vmofs_provider_stats stats_of(struct world *w)
{
	struct vmofs_provider_stats stats;

	sink_stats(w->s, &stats);
	return stats;
}

static bool content_ok(struct world *w, uint64_t off, uint64_t len)
{
	return httpd_is(sink_bytes(w->s) + off, off, len, 0);
}

/* A lie told once is survived; told for ever it is @code, and nothing has been served. */
static void lie(const char *mode, int code, bool integrity)
{
	struct world w = setup(1 << 20, QUICK);
	struct vmofs_provider_stats stats;
	char set[64];

	snprintf(set, sizeof set, "%s=1", mode);
	httpd_set(w.h, set);
	assert_int_equal(sink_read(w.s, 4 * PAGE, 4 * PAGE), 0);
	assert_true(content_ok(&w, 4 * PAGE, 4 * PAGE));
	stats = stats_of(&w);
	assert_int_equal(stats.retries, 1);
	assert_int_equal(stats.errors, 0);
	assert_int_equal(stats.integrity_errors, integrity);
	snprintf(set, sizeof set, "%s=-1", mode);
	httpd_set(w.h, set);
	assert_int_equal(sink_read(w.s, 20 * PAGE, 4 * PAGE), code);
	stats = stats_of(&w);
	assert_int_equal(stats.errors, 1);
	assert_int_equal(stats.integrity_errors, integrity ? 3 : 0);
	assert_int_equal(stats.last.code, code);
	assert_string_equal(stats.last.request_id, "req-206");
	assert_true(stats.last.msg[0] && stats.last.attempts == 2);
	teardown(&w);
}

static void test_wrong_range(void **state UNUSED)
{
	lie("wrong-range", -EBADMSG, true);
}

static void test_short_range(void **state UNUSED)
{
	lie("short-range", -EBADMSG, true);
}

static void test_no_content_range(void **state UNUSED)
{
	lie("no-content-range", -EBADMSG, true);
}

static void test_longer_body_than_range(void **state UNUSED)
{
	lie("extra", -EBADMSG, true);
}

static void test_gzip(void **state UNUSED)
{
	lie("gzip", -EBADMSG, true);
}

/* The true bytes before the end of a short body may be served, no others. */
static void test_short_chunked_body(void **state UNUSED)
{
	struct world w = setup(1 << 20, QUICK);

	httpd_set(w.h, "short-chunked=-1");
	assert_int_equal(sink_read(w.s, 0, PAGE), -EBADMSG);
	assert_false(sink_present(w.s, 0));
	httpd_set(w.h, "short-chunked=1");
	assert_int_equal(sink_read(w.s, 0, 8 * PAGE), 0);
	assert_true(content_ok(&w, 0, 8 * PAGE));
	teardown(&w);
}

static void test_longer_chunked_body(void **state UNUSED)
{
	struct world w = setup(1 << 20, QUICK);

	httpd_set(w.h, "extra-chunked=-1");
	assert_int_equal(sink_read(w.s, 0, 4 * PAGE), 0);
	assert_true(content_ok(&w, 0, 4 * PAGE));
	assert_false(sink_present(w.s, 4 * PAGE));
	assert_int_equal(stats_of(&w).integrity_errors, 1);
	teardown(&w);
}

static void test_200_for_206(void **state UNUSED)
{
	struct world w = setup(1 << 20, QUICK ",whole-limit=64K");
	struct httpd_entry e;

	httpd_set(w.h, "ignore-range=1");
	assert_int_equal(sink_read(w.s, 5 * PAGE, PAGE), 0);
	assert_true(httpd_entry(w.h, 1, &e));
	assert_int_equal(e.status, 200);
	assert_true(content_ok(&w, 5 * PAGE, PAGE));
	httpd_set(w.h, "ignore-range=-1");
	assert_int_equal(sink_read(w.s, 7 * PAGE, PAGE), -EBADMSG);
	assert_int_equal(sink_read(w.s, 0, PAGE), -EBADMSG); /* too large to be read from 0 */
	teardown(&w);

	w = setup(32768, QUICK);
	httpd_set(w.h, "ignore-range=-1");
	assert_int_equal(sink_read(w.s, 0, PAGE), 0);
	assert_true(content_ok(&w, 0, PAGE));
	assert_int_equal(sink_read(w.s, PAGE, PAGE), -EBADMSG);
	teardown(&w);
}

static void test_wrong_total_is_another_version(void **state UNUSED)
{
	struct world w = setup(1 << 20, QUICK);

	httpd_set(w.h, "wrong-total=-1");
	assert_int_equal(sink_read(w.s, 0, PAGE), -ESTALE);
	teardown(&w);
}

static void test_changed_object(void **state UNUSED)
{
	struct world w = setup(1 << 20, QUICK);

	assert_int_equal(sink_read(w.s, 0, PAGE), 0);
	httpd_set(w.h, "version=1"); /* 412 to If-Match */
	assert_int_equal(sink_read(w.s, PAGE, PAGE), -ESTALE);
	assert_int_equal(stats_of(&w).last.status, 412);
	assert_false(sink_present(w.s, PAGE));
	httpd_set(w.h, "version=0");
	assert_int_equal(sink_read(w.s, PAGE, PAGE), 0); /* nothing is remembered */
	httpd_set(w.h, "bad-etag=1");                    /* If-Match is ignored */
	assert_int_equal(sink_read(w.s, 2 * PAGE, PAGE), -ESTALE);
	httpd_set(w.h, "bad-etag=0&no-206-etag=1");
	assert_int_equal(sink_read(w.s, 2 * PAGE, PAGE), -EBADMSG);
	teardown(&w);
}

static void test_changed_object_with_a_weak_validator(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct world w = { .h = h };
	struct httpd_entry e;

	httpd_set(h, "no-etag=1");
	w.s = sink_must_open(httpd_url(h, "/object"), QUICK, 1);
	assert_true(sink_info(w.s)->weak);
	assert_string_equal(sink_info(w.s)->validator, "Sun, 09 Sep 2001 01:46:40 GMT");
	assert_int_equal(sink_read(w.s, 0, PAGE), 0);
	assert_true(httpd_entry(h, 1, &e));
	assert_string_equal(e.if_unmodified, "Sun, 09 Sep 2001 01:46:40 GMT");
	httpd_set(h, "version=5");
	assert_int_equal(sink_read(w.s, PAGE, PAGE), -ESTALE);
	teardown(&w);
}

static void test_busy_server(void **state UNUSED)
{
	struct world w = setup(1 << 20, QUICK);
	struct vmofs_provider_stats stats;

	httpd_set(w.h, "status=503&status-count=5");
	assert_int_equal(sink_read(w.s, 0, PAGE), 0);
	assert_true(content_ok(&w, 0, PAGE));
	stats = stats_of(&w);
	assert_int_equal(stats.retries, 5);
	assert_int_equal(stats.last.code, 0); /* what was made good is no failure */
	httpd_set(w.h, "status=503&status-count=-1");
	assert_int_equal(sink_wait(sink_send(w.s, 8 * PAGE, PAGE, VMOFS_CLASS_DEMAND,
					     loop_now_ns() + NSEC_PER_SEC)),
			 -EIO);
	stats = stats_of(&w);
	assert_int_equal(stats.last.code, -EIO);
	assert_int_equal(stats.last.status, 503);
	assert_string_equal(stats.last.request_id, "req-503");
	httpd_set(w.h, "status=500&status-count=1");
	assert_int_equal(sink_read(w.s, PAGE, PAGE), 0);
	httpd_set(w.h, "status=408&status-count=1");
	assert_int_equal(sink_read(w.s, 2 * PAGE, PAGE), 0);
	teardown(&w);
}

static void retry_after(const char *modes)
{
	struct world w = setup(1 << 20, QUICK);
	uint64_t start = loop_now_ns();

	httpd_set(w.h, modes);
	assert_int_equal(sink_read(w.s, 0, PAGE), 0);
	assert_true(loop_now_ns() - start >= 900 * NSEC_PER_MSEC);
	assert_int_equal(stats_of(&w).requests, 3);
	teardown(&w);
}

static void test_retry_after(void **state UNUSED)
{
	retry_after("status=429&status-count=1&retry-after=1");
	retry_after("status=503&status-count=1&retry-date=2");
}

/* A Retry-After beyond the deadline leaves room for one last try, then it is the status' error. */
static void test_retry_after_is_capped_by_the_deadline(void **state UNUSED)
{
	struct world w = setup(1 << 20, "timeout=2s");
	uint64_t start = loop_now_ns();

	httpd_set(w.h, "status=429&status-count=-1&retry-after=3600");
	assert_int_equal(sink_read(w.s, 0, PAGE), -EIO);
	assert_true(loop_now_ns() - start < 20 * NSEC_PER_SEC);
	teardown(&w);
}

/* The last try is made although all others wait for the server's time to come. */
static void test_last_try_in_a_pause(void **state UNUSED)
{
	struct world w = setup(1 << 20, "timeout=2s");

	httpd_set(w.h, "status=503&status-count=1&retry-after=3600");
	assert_int_equal(sink_read(w.s, 0, PAGE), 0);
	teardown(&w);
}

static void test_errors_that_do_not_pass(void **state UNUSED)
{
	static const struct {
		const char *modes;
		int code;
	} cases[] = {
		{ "status-count=-1&status=404", -ESTALE },
		{ "status-count=-1&status=410", -ESTALE },
		{ "status-count=-1&status=401", -EACCES },
		{ "status-count=-1&status=403", -EACCES },
		{ "status-count=-1&status=400", -EIO },
		{ "status-count=-1&status=418", -EIO },
		{ "status-count=-1&status=302", -EIO },
		{ "status-count=-1&status=416", -ESTALE },
		{ "status-count=-1&status=204", -EBADMSG },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world w = setup(1 << 20, QUICK);

		httpd_set(w.h, cases[i].modes);
		assert_int_equal(sink_read(w.s, 0, PAGE), cases[i].code);
		assert_false(sink_present(w.s, 0));
		httpd_set(w.h, "status-count=0");
		assert_int_equal(sink_read(w.s, 0, PAGE), 0);
		teardown(&w);
	}
}

/* Only the rest is asked for again. */
static void test_reset_in_the_body(void **state UNUSED)
{
	struct world w = setup(1 << 20, QUICK);
	struct httpd_entry e;

	httpd_set(w.h, "reset=1");
	assert_int_equal(sink_read(w.s, 0, 64 * PAGE), 0);
	assert_true(content_ok(&w, 0, 64 * PAGE));
	assert_true(httpd_entry(w.h, 2, &e));
	assert_int_equal(e.last, 64 * PAGE - 1);
	assert_int_equal(stats_of(&w).retries, 1);
	httpd_set(w.h, "short-body=1");
	assert_int_equal(sink_read(w.s, 64 * PAGE, 64 * PAGE), 0);
	assert_true(content_ok(&w, 64 * PAGE, 64 * PAGE));
	assert_true(httpd_entry(w.h, 4, &e));
	assert_int_equal(e.first, 96 * PAGE);
	assert_true(stats_of(&w).bytes_fetched <= 129 * PAGE);
	teardown(&w);
}

static void test_connections_that_break(void **state UNUSED)
{
	struct world w = setup(1 << 20, QUICK);

	httpd_set(w.h, "close=3");
	assert_int_equal(sink_read(w.s, 0, PAGE), 0);
	httpd_set(w.h, "bad-head=1");
	assert_int_equal(sink_read(w.s, PAGE, PAGE), 0);
	assert_true(content_ok(&w, 0, 2 * PAGE));
	teardown(&w);
}

static void test_deadline(void **state UNUSED)
{
	struct world w = setup(1 << 20, "retry-base=1ms,stall-timeout=10s");
	uint64_t start = loop_now_ns();
	struct sink_read *r;

	httpd_set(w.h, "silent=1");
	r = sink_send(w.s, 0, PAGE, VMOFS_CLASS_DEMAND, start + 200 * NSEC_PER_MSEC);
	assert_int_equal(sink_wait(r), -ETIMEDOUT);
	assert_true(loop_now_ns() - start >= 200 * NSEC_PER_MSEC);
	assert_true(loop_now_ns() - start < 5 * NSEC_PER_SEC);
	httpd_set(w.h, "silent=0&status=503&status-count=-1");
	r = sink_send(w.s, 0, PAGE, VMOFS_CLASS_DEMAND, loop_now_ns() + NSEC_PER_SEC);
	assert_int_equal(sink_wait(r), -EIO);
	teardown(&w);
}

/* The deadline of one waiter is not that of another, even in one transfer. */
static void test_deadlines_are_each_request_s_own(void **state UNUSED)
{
	struct world w = setup(1 << 20, "connections=1,stall-timeout=10s");
	struct sink_read *a, *b, *c;

	httpd_set(w.h, "freeze=1");
	a = sink_send(w.s, 100 * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(w.h, 2);
	b = sink_send(w.s, 0, PAGE, VMOFS_CLASS_DEMAND, loop_now_ns() + 100 * NSEC_PER_MSEC);
	c = sink_send(w.s, PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	assert_int_equal(sink_wait(b), -ETIMEDOUT);
	assert_false(sink_done(a));
	sink_promote(c, loop_now_ns() + 1); /* an earlier deadline counts at once */
	assert_int_equal(sink_wait(c), -ETIMEDOUT);
	httpd_set(w.h, "freeze=0");
	assert_int_equal(sink_wait(a), 0);
	teardown(&w);
}

/* Silence in the middle: the connection is given up and the rest asked for on another. */
static void test_stall(void **state UNUSED)
{
	struct world w = setup(1 << 20, "retry-base=1ms,stall-timeout=200ms");
	struct sink_read *r;
	struct httpd_entry e;

	httpd_set(w.h, "stall=1");
	r = sink_send(w.s, 0, 64 * PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(w.h, 3);
	httpd_set(w.h, "stall=0");
	assert_int_equal(sink_wait(r), 0);
	assert_true(content_ok(&w, 0, 64 * PAGE));
	assert_true(httpd_entry(w.h, 2, &e));
	assert_int_equal(e.first, 32 * PAGE);
	teardown(&w);
}

static void test_slow_drip_is_not_a_stall(void **state UNUSED)
{
	struct world w = setup(1 << 20, "stall-timeout=1500ms");

	httpd_set(w.h, "drip=80"); /* more than 2.5 s in all */
	assert_int_equal(sink_read(w.s, 0, 10 * PAGE), 0);
	assert_int_equal(stats_of(&w).retries, 0);
	assert_true(content_ok(&w, 0, 10 * PAGE));
	teardown(&w);
}

/* A server that stands still for longer than the stall timeout, several times, loses no read. */
static void test_frozen_server(void **state UNUSED)
{
	struct world w = setup(16 << 20, "retry-base=10ms,stall-timeout=150ms");
	struct sink_read *r[64];

	httpd_set(w.h, "freeze=1");
	for (unsigned i = 0; i < 64; i++)
		r[i] = sink_send(w.s, i * 16 * PAGE, 8 * PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(w.h, 1 + 16 * 3); /* each connection was given up at least twice */
	httpd_set(w.h, "freeze=0");
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(sink_wait(r[i]), 0);
		assert_true(content_ok(&w, i * 16 * PAGE, 8 * PAGE));
	}
	teardown(&w);
}

static void test_server_that_goes_and_comes_back(void **state UNUSED)
{
	struct world w = setup(1 << 20, QUICK);

	assert_int_equal(sink_read(w.s, 0, PAGE), 0);
	httpd_set(w.h, "close=-1");
	assert_int_equal(
		sink_wait(sink_send(w.s, PAGE, PAGE, VMOFS_CLASS_DEMAND, loop_now_ns() + 1)),
		-ETIMEDOUT);
	httpd_set(w.h, "close=0");
	assert_int_equal(sink_read(w.s, PAGE, PAGE), 0);
	teardown(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_range),
		cmocka_unit_test(test_short_range),
		cmocka_unit_test(test_no_content_range),
		cmocka_unit_test(test_longer_body_than_range),
		cmocka_unit_test(test_gzip),
		cmocka_unit_test(test_short_chunked_body),
		cmocka_unit_test(test_longer_chunked_body),
		cmocka_unit_test(test_200_for_206),
		cmocka_unit_test(test_wrong_total_is_another_version),
		cmocka_unit_test(test_changed_object),
		cmocka_unit_test(test_changed_object_with_a_weak_validator),
		cmocka_unit_test(test_busy_server),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_retry_after_is_capped_by_the_deadline),
		cmocka_unit_test(test_last_try_in_a_pause),
		cmocka_unit_test(test_errors_that_do_not_pass),
		cmocka_unit_test(test_reset_in_the_body),
		cmocka_unit_test(test_connections_that_break),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_deadlines_are_each_request_s_own),
		cmocka_unit_test(test_stall),
		cmocka_unit_test(test_slow_drip_is_not_a_stall),
		cmocka_unit_test(test_frozen_server),
		cmocka_unit_test(test_server_that_goes_and_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
