/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Second requests that go wrong themselves: without memory, refused by the server, or with bytes that are not the
 * object's. The first one stands still in the middle of its answer all the time.
 *
 * LINK: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "lib/fail_alloc.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define PAGE VMOFS_PAGE_SIZE

static void arm_here(void *arg UNUSED, struct loop *l UNUSED)
{
	fail_alloc_arm(1);
}

static void disarm_here(void *arg, struct loop *l UNUSED)
{
	*(bool *)arg = fail_alloc_disarm();
}

/* There is no memory for a second request when it is wanted first: it is made later, and no slot is lost. */
static void test_no_memory_for_a_second(void **state UNUSED)
{
	struct httpd *h = httpd_new(MIB(16), NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "connections=2,part-size=4M", 1);
	struct loop *loop = loop_pool_nth(sink_loops(s), 0);
	struct vmofs_provider_stats stats;
	struct sink_read *r;
	bool failed;

	assert_int_equal(sink_read(s, 0, PAGE), 0);
	/* Now the first request needs no memory. */
	httpd_set(h, "pause=1000000&pause-count=1");
	loop_call(loop, arm_here, NULL);
	r = sink_send(s, PAGE, 24 * PAGE, VMOFS_CLASS_DEMAND, 0);
	assert_int_equal(sink_wait(r), 0);
	loop_call(loop, disarm_here, &failed);
	assert_true(failed);
	sink_stats(s, &stats);
	assert_int_equal(stats.hedges, 1);
	assert_int_equal(stats.in_flight, 0);
	sink_close(s);
	httpd_free(h);
}

/* Each one that is refused makes the next one wait longer. */
static void test_refused_seconds_are_rare(void **state UNUSED)
{
	struct httpd *h = httpd_new(MIB(16), NULL);
	struct sink *s =
		sink_must_open(httpd_url(h, "/object"), "part-size=4M,stall-timeout=4s", 1);
	struct vmofs_provider_stats stats;
	struct sink_read *r;

	httpd_set(h, "pause=1000000&pause-count=1");
	r = sink_send(s, 0, MIB(1), VMOFS_CLASS_DEMAND, loop_now_ns() + 3 * NSEC_PER_SEC);
	httpd_wait_requests(h, 2);
	httpd_set(h, "status=500&status-count=-1");
	assert_int_not_equal(sink_wait(r), 0);
	sink_stats(s, &stats);
	assert_in_range(stats.hedges, 1, 4);
	sink_close(s);
	httpd_free(h);
}

/*
 * The second request brings the last byte, and the checksum says that it is not the object: then neither half may
 * be given out as if it were.
 */
static void test_checksum_fails_in_the_second(void **state UNUSED)
{
	struct httpd *h = httpd_new(100 * PAGE, NULL);
	struct vmofs_provider_stats stats;
	struct sink_read *r;
	struct sink *s;
	char opts[128];

	snprintf(opts, sizeof opts, "endpoint=http://127.0.0.1:%u,region=r,no-sign-request",
		 httpd_port(h));
	s = sink_must_open("s3://bucket/key", opts, 1);
	httpd_set(h, "header=x-amz-checksum-crc32: AAAAAA==");
	httpd_set(h, "pause=1000000&pause-count=1");
	r = sink_send(s, 0, 100 * PAGE, VMOFS_CLASS_DEMAND, 0);
	do {
		sched_yield();
		sink_stats(s, &stats);
	} while (stats.integrity_errors == 0 && !sink_done(r));
	httpd_set(h, "pause=0");
	assert_int_equal(sink_wait(r), -EBADMSG);
	sink_stats(s, &stats);
	assert_int_equal(stats.in_flight, 0);
	sink_close(s);
	httpd_free(h);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_memory_for_a_second),
		cmocka_unit_test(test_refused_seconds_are_rare),
		cmocka_unit_test(test_checksum_fails_in_the_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
