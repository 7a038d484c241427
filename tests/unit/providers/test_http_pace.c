/* SPDX-License-Identifier: Apache-2.0 */
/* How an origin's delay and rate follow from what was seen; time is told, nobody sleeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/macros.h"
#include "http/http_pace.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define MS NSEC_PER_MSEC

static uint64_t delay_of(const struct http_pace *p)
{
	return atomic_load(&p->delay_ns);
}

static void test_delay_falls_at_once_and_rises_slowly(void **state UNUSED)
{
	struct http_pace p = { 0 };

	http_pace_answer(&p, 80 * MS, false);
	assert_int_equal(delay_of(&p), 80 * MS);
	http_pace_answer(&p, 20 * MS, false);
	assert_int_equal(delay_of(&p), 50 * MS);
	for (unsigned i = 0; i < 20; i++)
		http_pace_answer(&p, 20 * MS, false);
	assert_in_range(delay_of(&p), 20 * MS, 21 * MS);
	for (unsigned i = 0; i < 16; i++) /* a queue of others in front */
		http_pace_answer(&p, 200 * MS, false);
	assert_in_range(delay_of(&p), 20 * MS, 32 * MS);
	for (unsigned i = 0; i < 40; i++) /* the way has become longer */
		http_pace_answer(&p, 200 * MS, true);
	assert_in_range(delay_of(&p), 190 * MS, 200 * MS);
	assert_in_range(p.mean_ns, 190 * MS, 200 * MS);
}

static void test_rate_counts_busy_time_only(void **state UNUSED)
{
	struct http_pace p = { 0 };
	uint64_t now = 1000 * MS, total = 0;

	/* Two answers that overlap: 40 ms with 8 MiB; then a second of nothing; 20 ms with 4 MiB. */
	http_pace_flow_begin(&p, total, now);
	http_pace_flow_begin(&p, total + MIB(2), now + 10 * MS);
	http_pace_flow_end(&p, total + MIB(4), now + 20 * MS);
	http_pace_flow_end(&p, total + MIB(8), now + 40 * MS);
	assert_int_equal(p.flows, 0);
	http_pace_flow_begin(&p, total + MIB(8), now + 1040 * MS);
	http_pace_flow_end(&p, total + MIB(12), now + 1060 * MS);
	assert_in_range(atomic_load(&p.rate), MIB(199), MIB(201));
}

static void test_rate_rises_at_once_and_falls_slowly(void **state UNUSED)
{
	struct http_pace p = { 0 };
	uint64_t now = 0;

	http_pace_flow_begin(&p, 0, now);
	http_pace_flow_end(&p, MIB(10), now + 100 * MS);
	http_pace_flow_begin(&p, 0, now);
	http_pace_flow_end(&p, MIB(50), now + 100 * MS);
	assert_in_range(atomic_load(&p.rate), MIB(499), MIB(501));
	http_pace_flow_begin(&p, 0, now);
	http_pace_flow_end(&p, MIB(10), now + 100 * MS);
	assert_in_range(atomic_load(&p.rate), MIB(449), MIB(451));
}

static void test_short_windows_are_noise(void **state UNUSED)
{
	struct http_pace p = { 0 };

	http_pace_flow_begin(&p, 0, 0);
	http_pace_flow_end(&p, KIB(300), MS / 100); /* 30 GB/s: it lay in the socket already */
	assert_int_equal(atomic_load(&p.rate), 0);
}

static void test_parts_grow_with_delay_and_rate(void **state UNUSED)
{
	struct http_pace p = { 0 };

	assert_int_equal(http_pace_part(&p, 4, GIB(1), MIB(8)), MIB(8)); /* nothing is known */
	atomic_store(&p.rate, MIB(12));
	atomic_store(&p.delay_ns, 20 * MS);
	assert_int_equal(http_pace_part(&p, 4, GIB(1), MIB(8)), MIB(1));
	atomic_store(&p.rate, MIB(1000));
	assert_int_equal(http_pace_part(&p, 4, GIB(1), MIB(8)), MIB(8));
	atomic_store(&p.delay_ns, MS / 10);
	assert_in_range(http_pace_part(&p, 4, GIB(1), MIB(8)), MIB(4) - 4096, MIB(4));
	assert_int_equal(http_pace_part(&p, 4, GIB(1), KIB(64)), KIB(64));
}

static void test_young_far_connections_get_short_parts(void **state UNUSED)
{
	struct http_pace p = { 0 };

	atomic_store(&p.delay_ns, 80 * MS);
	assert_int_equal(http_pace_part(&p, 28, 0, MIB(8)), KIB(512));
	assert_in_range(http_pace_part(&p, 28, MIB(7), MIB(8)), MIB(2) - 4096, MIB(2));
	assert_int_equal(http_pace_part(&p, 28, MIB(28), MIB(8)), MIB(8));
	assert_int_equal(http_pace_part(&p, 28, 0, KIB(64)), KIB(64));
	atomic_store(&p.rate, MIB(1000));
	assert_in_range(http_pace_part(&p, 28, MIB(7), MIB(8)), MIB(2) - 4096, MIB(2));
	/* A near one has no slow start to speak of. */
	atomic_store(&p.delay_ns, MS);
	assert_int_equal(http_pace_part(&p, 2, 0, MIB(8)), MIB(8));
}

static void test_gaps_worth_reading(void **state UNUSED)
{
	struct http_pace p = { 0 };

	assert_int_equal(http_pace_gap(&p), 0);
	atomic_store(&p.rate, 100000000);
	assert_int_equal(http_pace_gap(&p), 0);
	atomic_store(&p.delay_ns, 20 * MS);
	assert_int_equal(http_pace_gap(&p), 500000);
}

/* The provider tells what it has seen. */
static void test_a_provider_has_a_pace(void **state UNUSED)
{
	struct httpd *h = httpd_new(MIB(16), NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "part-size=4M", 1);
	struct vmofs_pace pace;

	assert_non_null(sink_provider(s)->ops->pace);
	sink_provider(s)->ops->pace(sink_provider(s), &pace);
	assert_in_range(pace.delay_ns, 1, NSEC_PER_SEC); /* of the probe */
	httpd_set(h, "delay=30");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(sink_read(s, i * 4096, 4096), 0);
	httpd_set(h, "delay=0");
	assert_int_equal(sink_read(s, MIB(1), MIB(12)), 0);
	sink_provider(s)->ops->pace(sink_provider(s), &pace);
	assert_in_range(pace.delay_ns, 1, NSEC_PER_SEC);
	assert_in_range(pace.part_bytes, MIB(1), MIB(4));
	sink_close(s);
	httpd_free(h);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delay_falls_at_once_and_rises_slowly),
		cmocka_unit_test(test_rate_counts_busy_time_only),
		cmocka_unit_test(test_rate_rises_at_once_and_falls_slowly),
		cmocka_unit_test(test_short_windows_are_noise),
		cmocka_unit_test(test_parts_grow_with_delay_and_rate),
		cmocka_unit_test(test_young_far_connections_get_short_parts),
		cmocka_unit_test(test_gaps_worth_reading),
		cmocka_unit_test(test_a_provider_has_a_pace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
