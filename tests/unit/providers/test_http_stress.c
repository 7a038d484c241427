/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads open, read, cancel and close objects of one origin, and ask it, while the server breaks its word
 * at random: everything ends in time, what is read is right, no slot and no object is lost.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "http/http_origin.h"
#include "lib/http_bed.h"
#include "lib/httpd.h"
#include "lib/prng.h"
#include "lib/sink.h"

#define PAGE    VMOFS_PAGE_SIZE
#define SIZE    (64 * PAGE + 123)
#define PAGES   65
#define THREADS 6
#define READS   4

/* -- asks ------------------------------------------------------------------------------------- */

struct asker {
	struct http_ask ask;
	const char *url;
	struct mutex lock;
	struct cond changed;
	bool done; /* lock: lock */
};

static int ask_prepare(struct http_ask *a, struct vmofs_err *err UNUSED)
{
	a->call.url = container_of(a, struct asker, ask)->url;
	return 0;
}

static void ask_done(struct http_ask *a, int code UNUSED, const struct http_refusal *why UNUSED)
{
	struct asker *k = container_of(a, struct asker, ask);

	mutex_lock(&k->lock);
	k->done = true;
	cond_signal(&k->changed);
	mutex_unlock(&k->lock);
}

static const struct http_ask_ops ask_ops = { .prepare = ask_prepare, .done = ask_done };

static void ask_start(struct asker *k, struct http_bed *b, const char *url)
{
	*k = (struct asker){ .url = url };
	mutex_init(&k->lock, LOCK_RANK_MOUNT);
	cond_init(&k->changed);
	k->ask.ops = &ask_ops;
	k->ask.call.method = "HEAD";
	k->ask.call.max_body = 100;
	http_origin_ask(b->origin, &k->ask);
}

static void ask_wait(struct asker *k)
{
	mutex_lock(&k->lock);
	while (!k->done)
		cond_wait(&k->changed, &k->lock);
	mutex_unlock(&k->lock);
	cond_destroy(&k->changed);
	mutex_destroy(&k->lock);
}

/* -- one thread ------------------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	struct http_bed *b;
	struct prng rng;
	unsigned rounds;
	unsigned good;
	char url[128];
	bool wrong;
};

static struct sink *open_object(struct worker *w)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_provider *p;
	struct http_object_spec spec = {
		.url = w->url,
		.size = SIZE,
		.etag = prng_below(&w->rng, 2) ? "\"v0\"" : "",
		.last_modified = "",
	};

	if (http_object_new(&p, w->b->origin, &spec, &err) < 0)
		return NULL;
	return sink_over(p, SIZE, w->b->loops);
}

static void use_object(struct worker *w, struct sink *s)
{
	struct sink_read *r[READS];
	uint64_t off[READS], len[READS];

	for (unsigned i = 0; i < READS; i++) {
		off[i] = i * 16 * PAGE + prng_below(&w->rng, 8) * PAGE;
		len[i] = (1 + prng_below(&w->rng, 8)) * PAGE;
		r[i] = sink_send(s, off[i], len[i],
				 prng_below(&w->rng, 3) ? VMOFS_CLASS_DEMAND : VMOFS_CLASS_PREFETCH,
				 0);
	}
	for (unsigned i = 0; i < READS; i++) {
		if (prng_below(&w->rng, 4) == 0)
			sink_cancel(r[i]);
		if (sink_wait(r[i]) != 0)
			continue;
		w->good++;
		if (!httpd_is(sink_bytes(s) + off[i], off[i], len[i], 0))
			w->wrong = true;
	}
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->rounds && !w->wrong; i++) {
		struct asker k;
		struct sink *s = open_object(w);

		ask_start(&k, w->b, w->url);
		use_object(w, s);
		sink_close(s);
		ask_wait(&k);
	}
	return NULL;
}

static void break_a_word(struct http_bed *b, struct prng *rng)
{
	static const char *const modes[] = {
		"status-count=3&status=503",
		"status-count=2&status=429",
		"reset=2",
		"close=3",
		"short-body=2",
		"extra=2",
		"wrong-range=1",
		"status-count=2&status=403",
		"ignore-range=1",
		"delay=3",
		"delay=0",
		"short-chunked=1",
		"status-count=1&status=500",
	};

	httpd_set(b->httpd, modes[prng_below(rng, ARRAY_LEN(modes))]);
}

static void storm(const char *opts, unsigned nloops, unsigned rounds)
{
	struct worker w[THREADS];
	struct prng rng;
	struct http_bed *b = http_bed_new(SIZE, opts, nloops);
	unsigned good = 0;

	rng.state = 7;
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .b = b, .rounds = rounds };
		w[i].rng.state = i + 1;
		snprintf(w[i].url, sizeof w[i].url, "%s", httpd_url(b->httpd, "/o"));
		assert_int_equal(pthread_create(&w[i].thread, NULL, worker_run, &w[i]), 0);
	}
	for (uint64_t seen = 0, last = (uint64_t)rounds * THREADS; seen < last; seen += 10) {
		httpd_wait_requests(b->httpd, seen);
		break_a_word(b, &rng);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		assert_false(w[i].wrong);
		good += w[i].good;
	}
	assert_true(good > rounds);
	/* What was cut ends with its loop's next turns. */
	for (unsigned i = 0; i < 1000 && !http_bed_dump_has(b, "active 0 of"); i++)
		http_bed_settle(b);
	assert_true(http_bed_dump_has(b, "active 0 of"));
	assert_true(http_bed_dump_has(b, "demand 0 asks 0 prefetch 0 delayed 0"));
	http_bed_free(b);
}

static void test_storm_on_few_slots(void **state UNUSED)
{
	storm("connections=2,timeout=60s,retry-base=1ms", 3, 60);
}

static void test_storm_on_many_slots(void **state UNUSED)
{
	storm("connections=24,timeout=60s,retry-base=1ms", 2, 60);
}

/* Opened, read and closed: nothing is left of an object. */
static void test_objects_leave_nothing(void **state UNUSED)
{
	struct worker w = { .rounds = 0 };
	size_t before = 0;
	struct http_bed *b = http_bed_new(SIZE, "connections=8", 2);

	w.b = b;
	w.rng.state = 1;
	snprintf(w.url, sizeof w.url, "%s", httpd_url(b->httpd, "/o"));
	for (unsigned i = 0; i < 3000; i++) {
		struct vmofs_err err = VMOFS_ERR_INIT;
		struct http_object_spec spec = {
			.url = w.url, .size = SIZE, .etag = "\"v0\"", .last_modified = ""
		};
		struct vmofs_provider *p[32];

		if (i == 1000)
			before = mallinfo2().uordblks;
		for (unsigned k = 0; k < ARRAY_LEN(p); k++)
			assert_int_equal(http_object_new(&p[k], b->origin, &spec, &err), 0);
		for (unsigned k = 0; k < ARRAY_LEN(p); k++)
			p[k]->ops->free(p[k]);
		if (i % 100 == 0) {
			struct sink *s = open_object(&w);

			assert_int_equal(sink_read(s, 0, PAGE), 0);
			sink_close(s);
		}
	}
	http_bed_settle(b);
	assert_true(mallinfo2().uordblks < before + KIB(512));
	http_bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_storm_on_few_slots),
		cmocka_unit_test(test_storm_on_many_slots),
		cmocka_unit_test(test_objects_leave_nothing),
	};

	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
