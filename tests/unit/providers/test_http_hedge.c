/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Second requests for what falls behind: the rules, with told times, and the provider against a server that
 * pauses in the middle of an answer for longer than any test runs.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "http/http_hedge.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define MS NSEC_PER_MSEC

/* -- rules ------------------------------------------------------------------------------------ */

static const struct http_hedge_others near = { .delay_ns = MS / 5,
					       .mean_ns = MS / 2,
					       .rate = MIB(200) };
static const struct http_hedge_others far = { .delay_ns = 80 * MS,
					      .mean_ns = 250 * MS,
					      .rate = MIB(10) };

static void test_patience_follows_the_pace(void **state UNUSED)
{
	static const struct http_hedge_others unknown = { 0 };

	assert_int_equal(http_hedge_patience(&unknown), 200 * MS);
	assert_int_equal(http_hedge_patience(&near), 200 * MS);
	assert_int_equal(http_hedge_patience(&far), 500 * MS);
}

/* One that was last heard of at 1 s, while others were heard of at @heard. */
static enum http_hedge silent_until(struct http_hedge_others o, uint64_t heard_ms, uint64_t now_ms)
{
	struct http_hedge_part p = { MIB(4), 900 * MS, 1000 * MS, 0 };

	o.heard_ns = heard_ms * MS;
	return http_hedge_why(&p, &o, now_ms * MS);
}

static void test_silence_beside_others(void **state UNUSED)
{
	assert_int_equal(silent_until(near, 1150, 1190), HTTP_HEDGE_NO);
	assert_int_equal(silent_until(near, 1150, 1210), HTTP_HEDGE_SILENT);
	assert_int_equal(silent_until(far, 1300, 1490), HTTP_HEDGE_NO);
	assert_int_equal(silent_until(far, 1300, 1510), HTTP_HEDGE_SILENT);
}

/* Where all are silent the server is, or every connection is dead: that is tried later, and anew. */
static void test_silence_of_all(void **state UNUSED)
{
	assert_int_equal(silent_until(near, 1000, 1900), HTTP_HEDGE_NO);
	assert_int_equal(silent_until(near, 0, 2010), HTTP_HEDGE_DEAD);
	assert_int_equal(silent_until(far, 1050, 2900), HTTP_HEDGE_NO);
	assert_int_equal(silent_until(far, 1050, 3010), HTTP_HEDGE_DEAD);
}

static enum http_hedge at_rate(uint64_t left, uint64_t rate, uint64_t now_ms)
{
	struct http_hedge_part p = { left, 0, now_ms * MS, rate };

	return http_hedge_why(&p, &near, now_ms * MS);
}

static void test_slower_than_siblings(void **state UNUSED)
{
	assert_int_equal(at_rate(MIB(4), MIB(2), 300), HTTP_HEDGE_SLOW);
	assert_int_equal(at_rate(MIB(4), MIB(2), 100), HTTP_HEDGE_NO);   /* it has just begun */
	assert_int_equal(at_rate(MIB(4), MIB(100), 300), HTTP_HEDGE_NO); /* half of them */
	assert_int_equal(at_rate(KIB(16), MIB(2), 300), HTTP_HEDGE_NO);  /* nearly there */
	assert_int_equal(at_rate(MIB(4), 0, 300), HTTP_HEDGE_NO);        /* not measured */
}

static void test_budget(void **state UNUSED)
{
	struct http_hedge_budget b = { .percent = 2, .part = MIB(8) };

	assert_true(http_hedge_affordable(&b, MIB(16)));
	assert_false(http_hedge_affordable(&b, MIB(17)));
	b.hedged = MIB(16);
	assert_false(http_hedge_affordable(&b, 4096));
	b.fetched = MIB(1000);
	assert_true(http_hedge_affordable(&b, MIB(19)));
	assert_false(http_hedge_affordable(&b, MIB(21)));
	/* Second requests of a page each are limited by their number. */
	b = (struct http_hedge_budget){ .percent = 2, .part = MIB(8), .requests = 1000 };
	b.hedges = 140;
	assert_true(http_hedge_affordable(&b, 4096));
	b.hedges = 150;
	assert_false(http_hedge_affordable(&b, 4096));
	b = (struct http_hedge_budget){ .percent = 0, .part = MIB(8) };
	assert_false(http_hedge_affordable(&b, 4096));
}

static void test_median(void **state UNUSED)
{
	uint64_t v[] = { 9, 1, 8, 2, 7 };

	assert_int_equal(http_hedge_median(v, 0), 0);
	assert_int_equal(http_hedge_median(v, 1), 9);
	assert_int_equal(http_hedge_median(v, 5), 7);
}

static void test_gauge(void **state UNUSED)
{
	struct http_gauge g;

	http_gauge_start(&g, 1000 * MS);
	http_gauge_look(&g, MIB(1), 1010 * MS); /* too soon to tell */
	assert_int_equal(g.rate, 0);
	http_gauge_look(&g, MIB(10), 1100 * MS);
	assert_int_equal(g.rate, MIB(100));
	http_gauge_look(&g, MIB(10), 1200 * MS);
	assert_int_equal(g.rate, MIB(50));
	http_gauge_start(&g, 0);
	http_gauge_look(&g, 0, 100 * MS); /* known to be nothing */
	assert_int_equal(g.rate, 1);
}

/* -- the provider ----------------------------------------------------------------------------- */

#define NPARTS 16

struct race {
	struct httpd *h;
	struct sink *s;
	struct sink_read *r[NPARTS];
};

static void race_begin(struct race *t, const char *opts, const char *modes)
{
	t->h = httpd_new(MIB(NPARTS), NULL);
	t->s = sink_must_open(httpd_url(t->h, "/object"), opts, 1);
	assert_int_equal(sink_read(t->s, 0, 4096), 0);
	httpd_set(t->h, modes);
	for (uint64_t i = 0; i < NPARTS; i++)
		t->r[i] = sink_send(t->s, MIB(i) + (i == 0) * 4096, MIB(1) - (i == 0) * 4096,
				    VMOFS_CLASS_DEMAND, 0);
}

static void race_end(struct race *t, struct vmofs_provider_stats *stats)
{
	for (unsigned i = 0; i < NPARTS; i++)
		assert_int_equal(sink_wait(t->r[i]), 0);
	assert_true(httpd_is(sink_bytes(t->s), 0, MIB(NPARTS), 0));
	sink_stats(t->s, stats);
}

static void race_close(struct race *t)
{
	sink_close(t->s);
	httpd_free(t->h);
}

/* The server never goes on with one of 16 parts: the read ends all the same. */
static void test_one_part_that_stands_still(void **state UNUSED)
{
	struct vmofs_provider_stats stats;
	struct race t;

	race_begin(&t, "part-size=1M,connections=17", "pause=1000000&pause-count=1");
	race_end(&t, &stats);
	assert_int_equal(stats.hedges_won, 1);
	assert_true(stats.hedges >= 1);
	assert_in_range(stats.hedged_bytes, 4096, MIB(1));
	assert_int_equal(stats.retries, 0);
	assert_int_equal(stats.in_flight, 0); /* the loser has been cut */
	race_close(&t);
}

/* All connections are taken when the part stands still; one that gets free is used. */
static void test_a_hedge_waits_for_a_slot(void **state UNUSED)
{
	struct vmofs_provider_stats stats;
	struct race t;

	race_begin(&t, "part-size=1M,connections=2", "pause=1000000&pause-count=1");
	race_end(&t, &stats);
	assert_int_equal(stats.hedges_won, 1);
	race_close(&t);
}

/* Both stand still; when they go on whoever is first wins, and no byte is wrong. */
static void test_both_stand_still(void **state UNUSED)
{
	struct vmofs_provider_stats stats;
	struct race t;

	race_begin(&t, "part-size=1M,connections=20", "pause=1000000&pause-count=2");
	httpd_wait_requests(t.h, NPARTS + 3); /* the probe, a page, the parts, a hedge */
	httpd_set(t.h, "pause=0");
	race_end(&t, &stats);
	assert_true(stats.hedges >= 1);
	race_close(&t);
}

/* The server breaks off the first while the second is under way: that one takes over. */
static void test_the_first_fails(void **state UNUSED)
{
	struct vmofs_provider_stats stats;
	struct race t;

	race_begin(&t, "part-size=1M,connections=20,stall-timeout=800ms",
		   "pause=1000000&pause-count=2");
	race_end(&t, &stats); /* the stall timeout ends both halves, whoever waits for them */
	assert_true(stats.hedges >= 1);
	race_close(&t);
}

static void test_none_without_a_budget(void **state UNUSED)
{
	struct vmofs_provider_stats stats;
	struct race t;

	race_begin(&t, "part-size=1M,connections=17,hedge=0,stall-timeout=1s",
		   "pause=1000000&pause-count=1");
	race_end(&t, &stats);
	assert_int_equal(stats.hedges, 0);
	assert_true(stats.retries >= 1);
	race_close(&t);
}

/* Nobody waits any more: both are cut. */
static void test_unwanted_in_the_middle(void **state UNUSED)
{
	struct vmofs_provider_stats stats;
	struct httpd *h = httpd_new(MIB(16), NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "part-size=4M", 1);
	struct sink_read *r[2];

	httpd_set(h, "pause=1000000&pause-count=2");
	r[0] = sink_send(s, 0, MIB(1), VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(h, 3); /* of a dead connection, on a new one */
	r[1] = sink_send(s, MIB(8), 4096, VMOFS_CLASS_DEMAND, 0);
	assert_int_equal(sink_wait(r[1]), 0);
	sink_cancel(r[0]);
	assert_int_equal(sink_wait(r[0]), -ECANCELED);
	sink_stats(s, &stats);
	assert_int_equal(stats.hedges, 1);
	assert_int_equal(stats.in_flight, 0);
	assert_int_equal(httpd_connections(h), 4);
	sink_close(s);
	httpd_free(h);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patience_follows_the_pace),
		cmocka_unit_test(test_silence_beside_others),
		cmocka_unit_test(test_silence_of_all),
		cmocka_unit_test(test_slower_than_siblings),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_median),
		cmocka_unit_test(test_gauge),
		cmocka_unit_test(test_one_part_that_stands_still),
		cmocka_unit_test(test_a_hedge_waits_for_a_slot),
		cmocka_unit_test(test_both_stand_still),
		cmocka_unit_test(test_the_first_fails),
		cmocka_unit_test(test_none_without_a_budget),
		cmocka_unit_test(test_unwanted_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
