/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP provider without memory: each allocation of open(), of send() and of a loop fails once.
 * Open says so or does without; a read is answered all the same.
 *
 * LINK: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/config.h"
#include "base/loop.h"
#include "base/macros.h"
#include "http/http_origin.h"
#include "lib/fail_alloc.h"
#include "lib/httpd.h"
#include "lib/sink.h"

#define PAGE       VMOFS_PAGE_SIZE
#define SINK_OWN   3 /* allocations of sink_send() itself */
#define EASILY_ALL 60

static struct vmofs_config *make_config(const struct vmofs_provider_ops *ops)
{
	struct vmofs_config *c = config_new();
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_non_null(c);
	assert_int_equal(config_add_table(c, ops->options), 0);
	assert_int_equal(config_set(c, "header", "X-Secret: one", &err), 0);
	assert_int_equal(config_set(c, "proxy", "", &err), 0);
	return c;
}

/* Whether the @nth allocation was reached. */
static bool open_once(struct httpd *h, unsigned nth)
{
	const char *url = httpd_url(h, "/redirect");
	const struct vmofs_provider_ops *ops = vmofs_provider_find(url);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_provider_env env = { .config = make_config(ops),
					  .loops = loop_pool_new(2, &err) };
	struct vmofs_provider *p = NULL;
	struct vmofs_object_info info;
	bool failed;
	int r;

	assert_int_equal(loop_pool_start(env.loops, &err), 0);
	fail_alloc_arm(nth);
	r = ops->open(&p, url, &env, &info, &err);
	failed = fail_alloc_disarm();
	if (r == 0) {
		assert_int_equal(info.size, 1 << 20);
		ops->free(p);
	} else {
		assert_true(failed && r == err.code && err.msg[0]);
	}
	loop_pool_free(env.loops);
	config_free((struct vmofs_config *)env.config);
	return failed;
}

static void test_open(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	unsigned n = 1;

	while (open_once(h, n))
		n++;
	assert_in_range(n, 10, 200);
	httpd_free(h);
}

static void test_send(void **state UNUSED)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	struct sink *s = sink_must_open(httpd_url(h, "/object"), "retry-base=1ms", 1);
	struct sink_read *r[3];

	for (unsigned i = 0; i < 3; i++) {
		fail_alloc_arm(SINK_OWN + 1);
		r[i] = sink_send(s, i * 4 * PAGE, 4 * PAGE, i & 1, 0);
		assert_true(fail_alloc_disarm());
	}
	sink_promote(r[1], 0);
	sink_narrow(r[2], 9 * PAGE, PAGE);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(sink_wait(r[i]), 0);
	assert_true(httpd_is(sink_bytes(s), 0, 8 * PAGE, 0));
	sink_close(s);
	httpd_free(h);
}

static void arm_here(void *arg, struct loop *l UNUSED)
{
	fail_alloc_arm(*(unsigned *)arg);
}

static void disarm_here(void *arg, struct loop *l UNUSED)
{
	*(bool *)arg = fail_alloc_disarm();
}

static void test_loop(void **state UNUSED)
{
	struct httpd *h = httpd_new(64 << 20, NULL);
	bool failed = true;

	for (unsigned n = 1; failed; n++) {
		struct sink *s = sink_must_open(httpd_url(h, "/object"), "retry-base=1ms", 1);

		assert_true(n < EASILY_ALL);
		loop_call(loop_pool_nth(sink_loops(s), 0), arm_here, &n);
		assert_int_equal(sink_read(s, 0, 4 << 20), 0);
		loop_call(loop_pool_nth(sink_loops(s), 0), disarm_here, &failed);
		assert_true(httpd_is(sink_bytes(s), 0, 4 << 20, 0));
		sink_close(s);
	}
	httpd_free(h);
}

/* An object whose version is not known takes no bytes before it can remember whose they are. */
static bool adopt_once(unsigned nth)
{
	struct httpd *h = httpd_new(1 << 20, NULL);
	const char *url = httpd_url(h, "/object");
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_provider_env env = { .config = make_config(vmofs_provider_find(url)),
					  .loops = loop_pool_new(1, &err) };
	const struct http_origin_params params = { .env = &env, .url = url };
	const struct http_object_spec spec = {
		.url = url, .size = 1 << 20, .etag = "", .last_modified = ""
	};
	struct loop *loop = loop_pool_nth(env.loops, 0);
	struct http_origin *origin;
	struct vmofs_provider *p;
	struct sink *s;
	bool failed;

	assert_int_equal(loop_pool_start(env.loops, &err), 0);
	assert_int_equal(http_origin_new(&origin, &params, &err), 0);
	assert_int_equal(http_object_new(&p, origin, &spec, &err), 0);
	s = sink_over(p, spec.size, env.loops);
	loop_call(loop, arm_here, &nth);
	assert_int_equal(sink_read(s, 0, PAGE), 0);
	loop_call(loop, disarm_here, &failed);
	httpd_set(h, "version=1");
	assert_int_equal(sink_read(s, 5 * PAGE, PAGE), -ESTALE);
	sink_close(s);
	http_origin_put(origin);
	loop_pool_free(env.loops);
	config_free((struct vmofs_config *)env.config);
	httpd_free(h);
	return failed;
}

static void test_adoption(void **state UNUSED)
{
	unsigned n = 1;

	while (adopt_once(n))
		assert_true(n++ < EASILY_ALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_loop),
		cmocka_unit_test(test_adoption),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
