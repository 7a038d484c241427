/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of a bucket that are called off, at each of their requests, against a server that answers by a script when who asked has
 * gone: he looks at no answer, and what is under way ends by itself. For ThreadSanitizer, above all.
 */
#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <vmofs/change.h>

#include "base/loop.h"
#include "base/macros.h"
#include "lib/change_bed.h"

/*
 * The one who is called off at the @nth request, whose answer comes when he has gone. Nothing but time is between the two, so that
 * ThreadSanitizer sees who looks at an answer that is still being written.
 */
struct leaver {
	struct change_bed *b;
	unsigned at; /* requests */
	atomic_bool *cancel;
	atomic_bool over; /* relaxed: it orders nothing */
};

static void moment(unsigned ms)
{
	struct timespec ts = { 0, (long)(ms * NSEC_PER_MSEC) };

	nanosleep(&ts, NULL);
}

static bool is_over(struct leaver *l)
{
	return atomic_load_explicit(&l->over, memory_order_relaxed);
}

static void *call_off(void *arg)
{
	struct leaver *l = arg;

	while (!is_over(l) && script_httpd_requests(l->b->h) < l->at)
		moment(1);
	atomic_store(l->cancel, true);
	for (unsigned i = 0; i < 150 && !is_over(l); i++)
		moment(1);
	moment(5);
	script_httpd_gate(l->b->h, false);
	moment(20);
	return NULL;
}

struct deed {
	const char *name;
	void (*say)(struct change_bed *b);
	int (*run)(struct change_bed *b, const struct vmofs_change_wait *w, struct vmofs_err *err);
};

/* HEAD's length is the script's body. */
static void say_large_head(struct change_bed *b, const char *headers)
{
	char *body = malloc(MIB(12) + 1);

	assert_non_null(body);
	memset(body, 'x', MIB(12));
	body[MIB(12)] = '\0';
	say(b, -1, "HEAD /b/f", 200, headers, body);
	free(body);
}

static void say_parts(struct change_bed *b)
{
	say(b, 1, "POST /b/f?uploads", 200, "", "<X><UploadId>up</UploadId></X>");
	say(b, -1, "PUT /b/f?partNumber=", 200, "ETag: \"p\"\r\n", "<X><ETag>\"c\"</ETag></X>");
	say(b, -1, "DELETE /b/f?uploadId=up", 204, "", "");
	say(b, -1, "POST /b/f?uploadId=", 200, "", "<X><ETag>\"new-2\"</ETag></X>");
}

static void say_tagged(struct change_bed *b)
{
	say(b, -1, "GET /b/f?tagging", 200, "",
	    "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>");
	say_parts(b);
}

static void say_new(struct change_bed *b)
{
	say(b, -1, "HEAD /b/f", 404, "", "");
	say_tagged(b);
}

static void say_small(struct change_bed *b)
{
	say_head(b, -1, "\"a\"", "x-amz-tagging-count: 1\r\n");
	say_tagged(b);
	say(b, -1, "PUT /b/f", 200, "ETag: \"n\"\r\n", "<C><ETag>\"n\"</ETag></C>");
	say(b, -1, "DELETE /b/f", 204, "", "");
}

static void say_copied(struct change_bed *b)
{
	say_head(b, -1, "\"a\"", "x-amz-tagging-count: 1\r\n");
	say(b, 1, "HEAD /b/g", 404, "", "");
	say(b, -1, "HEAD /b/g", 200, "ETag: \"n\"\r\n", "123");
	say(b, -1, "PUT /b/g", 200, "", "<C><ETag>\"n\"</ETag></C>");
	say_tagged(b);
}

static void say_large(struct change_bed *b)
{
	say_large_head(b, "ETag: \"a\"\r\nx-amz-tagging-count: 1\r\n");
	say_tagged(b);
}

static int st_read(struct vmofs_store *st UNUSED, uint64_t off UNUSED, void *buf, uint64_t len)
{
	memset(buf, 'a', len);
	return 0;
}

static int st_commit(struct vmofs_store *st UNUSED)
{
	return 0;
}

static bool st_take(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
	return true;
}

static void st_give(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
}

/* All of it is new, or the first page of a base of that size. */
static int store(struct change_bed *b, uint64_t size, bool over, const struct vmofs_change_wait *w,
		 struct vmofs_err *err)
{
	const struct vmofs_changed changed = { 0, over ? MIN(size, 4096) : size };
	struct vmofs_store st = {
		.key = "f",
		.size = size,
		.attempt = ATTEMPT,
		.changed = &changed,
		.n_changed = 1,
		.read = st_read,
		.commit = st_commit,
		.take = st_take,
		.give = st_give,
		.wait = *w,
	};

	if (over)
		st.base = (struct vmofs_version){ .exists = true,
						  .size = size,
						  .validator = "\"a\"" };
	return b->s->ops->change->store(b->s, &st, err);
}

static int do_new(struct change_bed *b, const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	return store(b, MIB(12), false, w, err);
}

static int do_parts(struct change_bed *b, const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	return store(b, MIB(12), true, w, err);
}

static int do_small(struct change_bed *b, const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	return store(b, 3, true, w, err);
}

static int do_copy(struct change_bed *b, const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	static const struct vmofs_version is = { .exists = true, .size = 3, .validator = "\"a\"" };
	static const struct vmofs_version nothing = { .exists = false };
	struct vmofs_version now;

	return b->s->ops->change->copy(b->s, "f", &is, "g", &nothing, &now, w, err);
}

static int do_remove(struct change_bed *b, const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	static const struct vmofs_version is = { .exists = true, .size = 3, .validator = "\"a\"" };

	return b->s->ops->change->remove(b->s, "f", &is, w, err);
}

static int do_ask(struct change_bed *b, const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	struct vmofs_version now;

	return b->s->ops->change->attempted(b->s, "f", ATTEMPT, &now, w, err);
}

/* What was left under way stays in the record, for the next mount. */
static void forget_uploads(struct change_bed *b)
{
	char pattern[128];
	glob_t g;

	snprintf(pattern, sizeof pattern, "%s/vmofs/uploads/*", b->dir);
	if (glob(pattern, 0, NULL, &g) == 0)
		for (size_t i = 0; i < g.gl_pathc; i++)
			unlink(g.gl_pathv[i]);
	globfree(&g);
}

/* True: there was an @nth request. */
static bool leave_at(const struct deed *d, unsigned nth)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	atomic_bool cancel = false;
	const struct vmofs_change_wait w = { .cancel = &cancel };
	struct leaver l = { .cancel = &cancel };
	void *state;
	unsigned before;
	pthread_t t;
	int r;

	change_bed_set_up(&state);
	l.b = state;
	d->say(l.b);
	before = script_httpd_requests(l.b->h);
	l.at = before + nth;
	script_httpd_gate_at(l.b->h, nth);
	assert_int_equal(pthread_create(&t, NULL, call_off, &l), 0);
	r = d->run(l.b, &w, &err);
	atomic_store_explicit(&l.over, true, memory_order_relaxed);
	pthread_join(t, NULL);
	nth = script_httpd_requests(l.b->h) - before >= nth ? nth : 0;
	if (r < 0 && r != -EINTR)
		fail_msg("%s, called off at request %u: %d, %s", d->name, nth, r, err.msg);
	if (!nth)
		assert_int_equal(r, 0);
	forget_uploads(l.b);
	assert_int_equal(change_bed_tear_down(&state), 0);
	return nth;
}

/* At each of its requests. */
static void test_called_off_anywhere(void **state UNUSED)
{
	static const struct deed deeds[] = {
		{ "a new file", say_new, do_new },      { "parts", say_large, do_parts },
		{ "one request", say_small, do_small }, { "a copy", say_copied, do_copy },
		{ "a removal", say_small, do_remove },  { "a question", say_small, do_ask },
	};

	for (size_t i = 0; i < ARRAY_LEN(deeds); i++)
		for (unsigned nth = 1; leave_at(&deeds[i], nth); nth++)
			continue;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_called_off_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
