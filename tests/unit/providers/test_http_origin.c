/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Origins and asks: who gets a slot when, what is tried again and when it is renewed, what the owner of an ask
 * sees of it, and how all of it ends.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "http/http_origin.h"
#include "lib/http_bed.h"
#include "lib/httpd.h"

/* An ask whose owner does as it is told. */
struct asker {
	struct http_ask ask;
	char url[1024];
	int prepare_code;             /* the next prepare()s give this until renew() */
	int renew_code;               /* of renew() */
	unsigned nonsense;            /* so many data() say so */
	unsigned unfinished;          /* so many finish() say so */
	enum http_outcome refused_to; /* what refused() makes of it; OK: nothing */
	unsigned prepares, renews, resets, refusals;
	char body[256];
	char header[64];
	size_t len;
	struct mutex lock;
	struct cond changed;
	bool done; /* lock: lock */
	int code;
	int status;
	char msg[512];
	char request_id[128];
	bool on_loop;
};

static struct asker *asker_of(struct http_ask *a)
{
	return container_of(a, struct asker, ask);
}

static int prepare(struct http_ask *a, struct vmofs_err *err)
{
	struct asker *k = asker_of(a);

	k->prepares++;
	a->call.url = k->url;
	if (k->prepare_code)
		return vmofs_err_set(err, k->prepare_code, "nothing to sign with");
	return 0;
}

static int renew(struct http_ask *a, const struct http_refusal *why, struct vmofs_err *err)
{
	struct asker *k = asker_of(a);

	assert_non_null(why);
	assert_null(loop_current());
	k->renews++;
	k->prepare_code = 0;
	return k->renew_code ? vmofs_err_set(err, k->renew_code, "no renewal") : 0;
}

static void reset(struct http_ask *a)
{
	asker_of(a)->resets++;
	asker_of(a)->len = 0;
}

static void header(struct http_ask *a, const char *name, const char *value, size_t n)
{
	if (strcmp(name, "x-thing") == 0)
		snprintf(asker_of(a)->header, 64, "%.*s", (int)n, value);
}

static int data(struct http_ask *a, const void *buf, size_t n)
{
	struct asker *k = asker_of(a);

	memcpy(k->body + k->len, buf, MIN(n, sizeof k->body - k->len));
	k->len += n;
	if (k->nonsense == 0)
		return 0;
	k->nonsense--;
	return -1;
}

static int finish(struct http_ask *a)
{
	struct asker *k = asker_of(a);

	if (k->unfinished == 0)
		return 0;
	k->unfinished--;
	return -1;
}

static void refused(struct http_ask *a, struct http_refusal *why)
{
	struct asker *k = asker_of(a);

	k->refusals++;
	assert_true(why->status >= 300);
	if (why->len)
		snprintf(why->msg, sizeof why->msg, "told: %.*s", (int)why->len, why->body);
	if (k->refused_to != HTTP_OUTCOME_OK)
		why->outcome = k->refused_to;
	if (k->refused_to == HTTP_OUTCOME_RETRY)
		why->slow_down = false;
}

static void done(struct http_ask *a, int code, const struct http_refusal *why)
{
	struct asker *k = asker_of(a);

	mutex_lock(&k->lock);
	assert_false(k->done);
	k->done = true;
	k->code = code;
	k->status = why->status;
	k->on_loop = loop_current() != NULL;
	snprintf(k->msg, sizeof k->msg, "%s", why->msg);
	snprintf(k->request_id, sizeof k->request_id, "%s", why->request_id);
	cond_signal(&k->changed);
	mutex_unlock(&k->lock);
}

static const struct http_ask_ops ops = {
	prepare, renew, reset, header, data, finish, refused, done
};

static void asker_init(struct asker *k, struct http_bed *b, const char *path)
{
	*k = (struct asker){ 0 };
	snprintf(k->url, sizeof k->url, "%s", httpd_url(b->httpd, path));
	mutex_init(&k->lock, LOCK_RANK_MOUNT);
	cond_init(&k->changed);
	k->ask.ops = &ops;
	k->ask.call.method = "GET";
	k->ask.call.max_body = 100;
}

static int asker_wait(struct asker *k)
{
	mutex_lock(&k->lock);
	while (!k->done)
		cond_wait(&k->changed, &k->lock);
	mutex_unlock(&k->lock);
	return k->code;
}

/* Runs one both ways: on the loops, and blocking. */
typedef void (*runner)(struct http_bed *b, struct asker *k);

static void run_queued(struct http_bed *b, struct asker *k)
{
	http_origin_ask(b->origin, &k->ask);
	asker_wait(k);
	assert_true(k->on_loop);
}

static void run_waiting(struct http_bed *b, struct asker *k)
{
	http_origin_ask_wait(b->origin, &k->ask, NULL);
	assert_true(k->done);
}

static const runner runners[] = { run_queued, run_waiting };

static void test_answer(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, NULL, 2);

	httpd_set(b->httpd, "header=X-Thing: some");
	for (size_t i = 0; i < ARRAY_LEN(runners); i++) {
		struct asker k;

		asker_init(&k, b, "/thing");
		runners[i](b, &k);
		assert_int_equal(k.code, 0);
		assert_int_equal(k.len, 20);
		assert_true(httpd_is((uint8_t *)k.body, 0, 20, 0));
		assert_string_equal(k.header, "some");
		assert_int_equal(k.ask.requests, 1);
		assert_int_equal(k.resets, 1);
	}
	http_bed_free(b);
}

static void test_what_is_tried_again(void **state UNUSED)
{
	static const struct {
		const char *modes;
		int code;
		unsigned requests, renews;
	} v[] = {
		{ "status-count=2&status=503", 0, 3, 0 },
		{ "status-count=1&status=429&retry-after=0", 0, 2, 0 },
		{ "close=-1&retry-after=-1", -EIO, 0, 0 },
		{ "close=0&status-count=-1&status=500", -EIO, 0, 0 },
		{ "status=404", -ENOENT, 1, 0 },
		{ "status=410", -ENOENT, 1, 0 },
		{ "status=400", -EIO, 1, 0 },
		{ "status=302", -EIO, 1, 0 },
		{ "status=412", -ESTALE, 1, 0 },
		{ "status=403", -EACCES, 2, 1 },
		{ "status-count=1&status=403", 0, 2, 1 },
	};
	struct http_bed *b = http_bed_new(20, "retry-base=5ms", 1);

	for (size_t r = 0; r < ARRAY_LEN(runners); r++) {
		for (size_t i = 0; i < ARRAY_LEN(v); i++) {
			struct asker k;

			httpd_set(b->httpd, v[i].modes);
			asker_init(&k, b, "/");
			if (!v[i].requests)
				k.ask.deadline_ns = loop_now_ns() + NSEC_PER_SEC;
			runners[r](b, &k);
			assert_int_equal(k.code, v[i].code);
			if (v[i].requests)
				assert_int_equal(k.ask.requests, v[i].requests);
			else
				assert_true(k.ask.requests > 2);
			assert_int_equal(k.renews, v[i].renews);
			assert_true(v[i].code == 0 || k.msg[0]);
		}
		httpd_set(b->httpd, "status-count=0");
	}
	http_bed_free(b);
}

static void test_nonsense(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "retry-base=5ms", 1);

	for (size_t r = 0; r < ARRAY_LEN(runners); r++) {
		struct asker k;

		asker_init(&k, b, "/");
		k.nonsense = 1;
		runners[r](b, &k);
		assert_int_equal(k.code, 0);
		asker_init(&k, b, "/");
		k.nonsense = 2;
		runners[r](b, &k);
		assert_int_equal(k.code, -EBADMSG);
		assert_string_equal(k.msg, "the answer makes no sense");
		asker_init(&k, b, "/");
		k.unfinished = 1;
		runners[r](b, &k);
		assert_int_equal(k.code, 0);
		assert_int_equal(k.len, 20);
		asker_init(&k, b, "/");
		k.unfinished = 2;
		runners[r](b, &k);
		assert_int_equal(k.code, -EBADMSG);
		assert_int_equal(k.ask.requests, 2);
		asker_init(&k, b, "/");
		k.ask.call.max_body = 19;
		runners[r](b, &k);
		assert_int_equal(k.code, -EBADMSG);
	}
	http_bed_free(b);
}

static void test_renewal(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "retry-base=5ms", 1);

	for (size_t r = 0; r < ARRAY_LEN(runners); r++) {
		struct asker k;

		asker_init(&k, b, "/");
		k.prepare_code = -EAGAIN;
		runners[r](b, &k);
		assert_int_equal(k.code, 0);
		assert_int_equal(k.renews, 1);
		assert_int_equal(k.ask.requests, 1);

		asker_init(&k, b, "/");
		k.prepare_code = -EAGAIN;
		k.renew_code = -ETIMEDOUT;
		runners[r](b, &k);
		assert_int_equal(k.code, -ETIMEDOUT);
		assert_string_equal(k.msg, "no renewal");
		assert_int_equal(k.ask.requests, 0);

		asker_init(&k, b, "/");
		k.prepare_code = -EINVAL;
		runners[r](b, &k);
		assert_int_equal(k.code, -EINVAL);
		assert_string_equal(k.msg, "nothing to sign with");
	}
	http_bed_free(b);
}

static void test_refusals_that_are_read(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "retry-base=30s", 1);

	httpd_set(b->httpd, "error-body=<Code>ExpiredToken</Code>&status=400");
	for (size_t r = 0; r < ARRAY_LEN(runners); r++) {
		struct asker k;

		httpd_set(b->httpd, "status-count=1");
		asker_init(&k, b, "/");
		k.refused_to = HTTP_OUTCOME_DENIED;
		runners[r](b, &k);
		assert_int_equal(k.code, 0);
		assert_int_equal(k.renews, 1);

		/* At once, although the first pause would be long. */
		httpd_set(b->httpd, "status-count=1");
		asker_init(&k, b, "/");
		k.refused_to = HTTP_OUTCOME_RETRY;
		runners[r](b, &k);
		assert_int_equal(k.code, 0);
		assert_int_equal(k.renews, 0);

		httpd_set(b->httpd, "status-count=1");
		asker_init(&k, b, "/");
		runners[r](b, &k);
		assert_int_equal(k.code, -EIO);
		assert_int_equal(k.status, 400);
		assert_string_equal(k.msg, "told: <Code>ExpiredToken</Code>");
		assert_string_equal(k.request_id, "req-400");
	}
	http_bed_free(b);
}

static void test_deadline(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "connections=1", 1);
	struct asker first, second;

	httpd_set(b->httpd, "silent=1");
	asker_init(&first, b, "/");
	asker_init(&second, b, "/");
	first.ask.deadline_ns = loop_now_ns() + 300 * NSEC_PER_MSEC;
	second.ask.deadline_ns = loop_now_ns() + 100 * NSEC_PER_MSEC;
	http_origin_ask(b->origin, &first.ask);
	http_origin_ask(b->origin, &second.ask);
	assert_int_equal(asker_wait(&second), -ETIMEDOUT);
	assert_int_equal(second.ask.requests, 0);
	assert_int_equal(asker_wait(&first), -ETIMEDOUT);
	asker_init(&first, b, "/");
	first.ask.deadline_ns = loop_now_ns() + 100 * NSEC_PER_MSEC;
	http_origin_ask_wait(b->origin, &first.ask, NULL);
	assert_int_equal(first.code, -ETIMEDOUT);
	httpd_set(b->httpd, "silent=0");
	http_bed_free(b);
}

static void test_slots(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "connections=3", 2);
	struct asker k[10];

	httpd_set(b->httpd, "freeze=1");
	for (size_t i = 0; i < ARRAY_LEN(k); i++) {
		asker_init(&k[i], b, "/");
		http_origin_ask(b->origin, &k[i].ask);
	}
	httpd_wait_requests(b->httpd, 3);
	http_bed_settle(b);
	assert_true(http_bed_dump_has(b, "active 3 of 3"));
	assert_true(http_bed_dump_has(b, "asks 7"));
	httpd_set(b->httpd, "freeze=0");
	for (size_t i = 0; i < ARRAY_LEN(k); i++)
		assert_int_equal(asker_wait(&k[i]), 0);
	http_bed_settle(b);
	assert_true(http_bed_dump_has(b, "active 0 of 3"));
	assert_true(httpd_connections(b->httpd) <= 4); /* each loop may have two */
	http_bed_free(b);
}

static void test_demand_goes_first(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "connections=1", 1);
	struct asker k[3];
	static const char *const paths[] = { "/first", "/prefetch", "/demand" };
	static const char *const order[] = { "/first", "/demand", "/prefetch" };

	httpd_set(b->httpd, "freeze=1");
	for (size_t i = 0; i < ARRAY_LEN(k); i++) {
		asker_init(&k[i], b, paths[i]);
		k[i].ask.cls = i == 1 ? VMOFS_CLASS_PREFETCH : VMOFS_CLASS_DEMAND;
		http_origin_ask(b->origin, &k[i].ask);
		if (i == 0)
			httpd_wait_requests(b->httpd, 1);
	}
	httpd_set(b->httpd, "freeze=0");
	for (size_t i = 0; i < ARRAY_LEN(k); i++)
		assert_int_equal(asker_wait(&k[i]), 0);
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		struct httpd_entry e;

		assert_true(httpd_entry(b->httpd, i, &e));
		assert_string_equal(e.target, order[i]);
	}
	http_bed_free(b);
}

static void test_slow_down(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "connections=8,retry-base=1ms", 1);
	struct asker k[8];

	httpd_set(b->httpd, "freeze=1&status-count=8&status=503");
	for (size_t i = 0; i < ARRAY_LEN(k); i++) {
		asker_init(&k[i], b, "/");
		http_origin_ask(b->origin, &k[i].ask);
	}
	httpd_wait_requests(b->httpd, 8);
	httpd_set(b->httpd, "freeze=0");
	httpd_wait_requests(b->httpd, 9);
	for (size_t i = 0; i < ARRAY_LEN(k); i++) {
		assert_int_equal(asker_wait(&k[i]), 0);
		assert_int_equal(k[i].ask.requests, 2);
	}
	http_bed_settle(b);
	/* Eight at once count as one; four answers were one more, the next five are another. */
	assert_true(http_bed_dump_has(b, "active 0 of 5 (at most 8)"));
	for (size_t i = 0; i < 30; i++) {
		asker_init(&k[0], b, "/");
		run_queued(b, &k[0]);
		assert_int_equal(k[0].code, 0);
	}
	http_bed_settle(b);
	assert_true(http_bed_dump_has(b, "active 0 of 8"));
	http_bed_free(b);
}

/* The second wave of refusals is news, whenever it comes. */
static void test_slow_down_again(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "connections=16,retry-base=1ms", 1);
	struct asker k;

	httpd_set(b->httpd, "status-count=3&status=429");
	asker_init(&k, b, "/");
	run_queued(b, &k);
	assert_int_equal(k.code, 0);
	assert_int_equal(k.ask.requests, 4);
	http_bed_settle(b);
	assert_true(http_bed_dump_has(b, "active 0 of 2 (at most 16)"));
	http_bed_free(b);
}

static void test_default_of_slots(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, NULL, 1);

	assert_true(http_bed_dump_has(b, "active 0 of 64 (at most 64)"));
	http_bed_free(b);
}

static void test_last_refusal_is_told(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "retry-base=1ms", 1);

	httpd_set(b->httpd, "status-count=3&status=503&error-body=busy");
	for (size_t r = 0; r < ARRAY_LEN(runners); r++) {
		struct asker k;

		httpd_set(b->httpd, "status-count=-1&delay=30");
		asker_init(&k, b, "/");
		k.ask.deadline_ns = loop_now_ns() + 1500 * NSEC_PER_MSEC;
		runners[r](b, &k);
		assert_int_equal(k.code, -EIO);
		assert_int_equal(k.status, 503);
		assert_string_equal(k.msg, "told: busy");
	}
	http_bed_free(b);
}

static void test_pause(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "retry-base=1ms", 1);
	struct asker k[2];
	uint64_t start = loop_now_ns();

	httpd_set(b->httpd, "status-count=1&status=503&retry-after=2");
	asker_init(&k[0], b, "/");
	http_origin_ask(b->origin, &k[0].ask);
	httpd_wait_requests(b->httpd, 1);
	while (!http_bed_dump_has(b, "paused") && loop_now_ns() < start + NSEC_PER_SEC)
		http_bed_settle(b);
	asker_init(&k[1], b, "/");
	http_origin_ask(b->origin, &k[1].ask);
	assert_int_equal(asker_wait(&k[1]), 0);
	assert_int_equal(asker_wait(&k[0]), 0);
	assert_true(loop_now_ns() - start >= 2 * NSEC_PER_SEC);
	http_bed_free(b);
}

static void test_stop(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "connections=1,retry-base=10s", 1);
	struct asker active, waiting, delayed, late;

	httpd_set(b->httpd, "status-count=1&status=503");
	asker_init(&delayed, b, "/");
	http_origin_ask(b->origin, &delayed.ask);
	httpd_wait_requests(b->httpd, 1);
	httpd_set(b->httpd, "silent=1");
	asker_init(&active, b, "/");
	asker_init(&waiting, b, "/");
	http_origin_ask(b->origin, &active.ask);
	httpd_wait_requests(b->httpd, 2);
	http_origin_ask(b->origin, &waiting.ask);
	http_origin_stop(b->origin);
	asker_init(&late, b, "/");
	http_origin_ask(b->origin, &late.ask);
	assert_int_equal(asker_wait(&active), -ESHUTDOWN);
	assert_int_equal(asker_wait(&waiting), -ESHUTDOWN);
	assert_int_equal(asker_wait(&delayed), -ESHUTDOWN);
	assert_int_equal(asker_wait(&late), -ESHUTDOWN);
	assert_int_equal(httpd_requests(b->httpd), 2);
	httpd_set(b->httpd, "silent=0");
	http_bed_free(b);
}

static void test_waiting_needs_no_loops(void **state UNUSED)
{
	struct http_bed *b = http_bed_new_still(20, "retry-base=1ms", 1);
	atomic_bool cancel = true;
	struct asker k;

	httpd_set(b->httpd, "status-count=2&status=503");
	asker_init(&k, b, "/");
	http_origin_ask_wait(b->origin, &k.ask, NULL);
	assert_int_equal(k.code, 0);
	assert_int_equal(k.ask.requests, 3);
	asker_init(&k, b, "/");
	http_origin_ask_wait(b->origin, &k.ask, &cancel);
	assert_int_equal(k.code, -ECANCELED);
	http_origin_stop(b->origin);
	asker_init(&k, b, "/");
	http_origin_ask_wait(b->origin, &k.ask, NULL);
	assert_int_equal(k.code, 0);
	http_bed_free(b);
}

static void test_anonymous(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "username=joe", 1);
	struct vmofs_provider_env env = { .config = b->config, .loops = b->loops };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct http_origin_params params = { .env = &env, .anonymous = true };
	struct httpd_entry e;
	struct asker k;

	asker_init(&k, b, "/");
	k.ask.call.trusted = true;
	run_queued(b, &k);
	assert_true(httpd_entry(b->httpd, 0, &e));
	assert_string_equal(e.authorization, "Basic am9lOg==");
	http_origin_put(b->origin);
	params.url = httpd_url(b->httpd, "/");
	assert_int_equal(http_origin_new(&b->origin, &params, &err), 0);
	asker_init(&k, b, "/");
	k.ask.call.trusted = true;
	run_queued(b, &k);
	assert_true(httpd_entry(b->httpd, 1, &e));
	assert_string_equal(e.authorization, "");
	http_bed_free(b);
}

static void test_stats(void **state UNUSED)
{
	struct http_bed *b = http_bed_new(20, "retry-base=1ms", 1);
	struct vmofs_provider_stats s = { 0 };
	struct asker k;

	httpd_set(b->httpd, "status-count=1&status=503");
	asker_init(&k, b, "/");
	run_queued(b, &k);
	httpd_set(b->httpd, "status-count=1&status=400");
	asker_init(&k, b, "/");
	run_queued(b, &k);
	http_bed_settle(b);
	http_origin_stats(b->origin, &s);
	assert_int_equal(s.requests, 3);
	assert_int_equal(s.retries, 1);
	assert_int_equal(s.errors, 1);
	assert_int_equal(s.connections, 1);
	assert_int_equal(s.bytes_fetched, 20);
	assert_int_equal(s.in_flight, 0);
	assert_int_equal(s.last.code, -EIO);
	assert_int_equal(s.last.status, 400);
	http_bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_what_is_tried_again),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_renewal),
		cmocka_unit_test(test_refusals_that_are_read),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_demand_goes_first),
		cmocka_unit_test(test_slow_down),
		cmocka_unit_test(test_slow_down_again),
		cmocka_unit_test(test_default_of_slots),
		cmocka_unit_test(test_last_refusal_is_told),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_waiting_needs_no_loops),
		cmocka_unit_test(test_anonymous),
		cmocka_unit_test(test_stats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
