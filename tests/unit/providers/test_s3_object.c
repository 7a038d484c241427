/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of a bucket against the lying server: the old version that is still there for all who read it, and
 * checksums of what has been read whole, in one go or in many.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/loop.h"
#include "base/macros.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define PAGE VMOFS_PAGE_SIZE

struct bed {
	struct httpd *httpd;
	struct sink *s;
};

static struct bed bed_new(uint64_t size, const char *more)
{
	struct bed b = { .httpd = httpd_new(size, NULL) };
	char opts[256];

	snprintf(opts, sizeof opts, "endpoint=http://127.0.0.1:%u,region=r%s", httpd_port(b.httpd),
		 more);
	b.s = sink_must_open("s3://bucket/key", opts, 2);
	return b;
}

static void bed_free(struct bed *b)
{
	sink_close(b->s);
	httpd_free(b->httpd);
}

static unsigned count_target(struct bed *b, const char *target)
{
	struct httpd_entry e;
	unsigned n = 0;

	for (size_t i = 0; httpd_entry(b->httpd, i, &e); i++)
		n += strcmp(e.target, target) == 0;
	return n;
}

/* Whoever was on his way while another found out asks for the old version too. */
static void test_old_version_is_for_all(void **state UNUSED)
{
	struct bed b = bed_new(100 * PAGE, ",no-sign-request");
	struct sink_read *late;

	httpd_set(b.httpd, "header=x-amz-version-id: one");
	assert_int_equal(sink_read(b.s, 0, PAGE), 0);
	httpd_set(b.httpd, "version=1&delay=500");
	late = sink_send(b.s, 10 * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(b.httpd, 3);
	httpd_set(b.httpd, "delay=0");
	sink_read(b.s, 20 * PAGE, PAGE);
	assert_false(sink_done(late));
	assert_int_equal(count_target(&b, "/bucket/key?versionId=one"), 1);
	sink_wait(late);
	assert_int_equal(count_target(&b, "/bucket/key?versionId=one"), 2);
	bed_free(&b);
}

/* Read in two ways that are not one GET: what the server says of the whole counts all the same. */
static void test_checksum_of_parts(void **state UNUSED)
{
	struct bed b = bed_new(100 * PAGE, ",no-sign-request");

	httpd_set(b.httpd, "header=x-amz-checksum-crc32: AAAAAA==");
	assert_int_equal(sink_read(b.s, 0, 32 * PAGE), 0);
	sink_read(b.s, 32 * PAGE, 68 * PAGE);
	/* It is known once HEAD has been answered: then what has been given is taken back, though nobody reads. */
	sink_wait_distrusted(b.s);
	for (unsigned i = 0; i < 100; i++)
		assert_false(sink_present(b.s, i * PAGE));
	assert_int_equal(sink_read(b.s, 0, PAGE), -EBADMSG);
	bed_free(&b);
}

/* One answer that is bad by itself says nothing of the others. */
static void test_a_bad_answer_is_not_a_bad_object(void **state UNUSED)
{
	struct bed b = bed_new(100 * PAGE, ",no-sign-request");

	assert_int_equal(sink_read(b.s, 0, 8 * PAGE), 0);
	httpd_set(b.httpd, "wrong-range=-1");
	assert_int_equal(sink_read(b.s, 8 * PAGE, 8 * PAGE), -EBADMSG);
	assert_true(sink_present(b.s, 0));
	httpd_set(b.httpd, "wrong-range=0");
	assert_int_equal(sink_read(b.s, 8 * PAGE, 8 * PAGE), 0);
	bed_free(&b);
}

/* A clock that is wrong is set by the first refusal, also for those who are refused with it. */
static void test_clock_is_set_for_all(void **state UNUSED)
{
	struct sink_read *r[2];
	struct httpd_entry e;
	struct bed b;

	setenv("AWS_ACCESS_KEY_ID", "AK", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
	b = bed_new(100 * PAGE, "");
	httpd_set(b.httpd, "status=403&status-count=2&header=Date: Sun, 06 Nov 2044 08:49:37 GMT");
	httpd_set(b.httpd, "error-body=<Error><Code>RequestTimeTooSkewed</Code></Error>&freeze=1");
	for (unsigned i = 0; i < ARRAY_LEN(r); i++)
		r[i] = sink_send(b.s, 10 * i * PAGE, PAGE, VMOFS_CLASS_DEMAND, 0);
	httpd_wait_requests(b.httpd, 3);
	httpd_set(b.httpd, "freeze=0");
	for (unsigned i = 0; i < ARRAY_LEN(r); i++)
		assert_int_equal(sink_wait(r[i]), 0);
	for (size_t i = 3; i < 5; i++) {
		assert_true(httpd_entry(b.httpd, i, &e));
		assert_non_null(strstr(e.authorization, "Credential=AK/20441106/"));
	}
	bed_free(&b);
	unsetenv("AWS_ACCESS_KEY_ID");
	unsetenv("AWS_SECRET_ACCESS_KEY");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_old_version_is_for_all),
		cmocka_unit_test(test_checksum_of_parts),
		cmocka_unit_test(test_a_bad_answer_is_not_a_bad_object),
		cmocka_unit_test(test_clock_is_set_for_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
