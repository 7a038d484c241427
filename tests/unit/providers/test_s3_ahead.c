/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of an object that are sent ahead, and the store that takes them, against a server that answers by a script. */
#include <errno.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <vmofs/change.h>

#include "base/macros.h"
#include "lib/change_bed.h"

enum { PART = 5 << 20 };

#define CREATE   "POST /b/f?uploads"
#define COMPLETE "POST /b/f?uploadId="
#define PUT(n)   "PUT /b/f?partNumber=" n "&uploadId="
#define GONE     ERR("NoSuchUpload")
#define DONE     "<X><ETag>\"new-3\"</ETag></X>"

static int send_read(struct vmofs_ahead_send *g UNUSED, uint64_t off UNUSED, void *buf,
		     uint64_t len)
{
	memset(buf, 'a', len);
	return 0;
}

static int st_read(struct vmofs_store *st UNUSED, uint64_t off UNUSED, void *buf, uint64_t len)
{
	memset(buf, 'a', len);
	return 0;
}

static char committed[VMOFS_ATTEMPT_LEN + 1];

static int st_commit(struct vmofs_store *st)
{
	memcpy(committed, st->attempt, sizeof committed);
	return 0;
}

static bool st_take(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
	return true;
}

static void st_give(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
}

static struct vmofs_ahead *begin(struct change_bed *b)
{
	const struct vmofs_ahead_begin g = { .key = "f" };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_ahead *a = NULL;

	assert_int_equal(b->s->ops->change->ahead->begin(b->s, &g, &a, &err), 0);
	return a;
}

static int send(struct change_bed *b, struct vmofs_ahead *a, unsigned part)
{
	struct vmofs_ahead_send g = { .part = part, .read = send_read };
	struct vmofs_err err = VMOFS_ERR_INIT;

	return b->s->ops->change->ahead->send(a, &g, &err);
}

/* The first @holds parts have arrived. */
static int store(struct change_bed *b, struct vmofs_ahead *a, uint64_t size, unsigned holds)
{
	const struct vmofs_changed changed = { 0, size };
	struct vmofs_err err = VMOFS_ERR_INIT;
	bool held[8] = { false };
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
		.ahead = a,
		.ahead_holds = held,
		.n_ahead = (unsigned)(size / PART),
	};

	for (unsigned i = 0; i < holds; i++)
		held[i] = true;
	committed[0] = '\0';
	return b->s->ops->change->store(b->s, &st, &err);
}

static void say_uploads(struct change_bed *b)
{
	say(b, 1, CREATE, 200, "", "<X><UploadId>one</UploadId></X>");
	say(b, 1, CREATE, 200, "", "<X><UploadId>two</UploadId></X>");
	say(b, -1, "DELETE /b/f?uploadId=one", 204, "", "");
}

static void say_arrive(struct change_bed *b)
{
	say(b, -1, "PUT /b/f?partNumber=", 200, "ETag: \"p\"\r\n", "");
}

/* The object is that of the second upload, which has the attempt that was told. */
static void check_second(struct change_bed *b)
{
	char line[128];

	assert_non_null(text_of(b, COMPLETE "two", 0));
	assert_int_equal(strlen(committed), VMOFS_ATTEMPT_LEN);
	snprintf(line, sizeof line, "x-amz-meta-vmofs-attempt: %s", committed);
	assert_non_null(strcasestr(text_of(b, CREATE, 1), line));
	for (unsigned i = 0; i < 3; i++) {
		snprintf(line, sizeof line, "PUT /b/f?partNumber=%u&uploadId=two", i + 1);
		assert_true(was_asked(b, line));
	}
}

static void test_each_part_goes_once(void **state)
{
	struct change_bed *b = *state;
	struct vmofs_ahead *a;

	say_uploads(b);
	say_arrive(b);
	say(b, 1, COMPLETE, 200, "", DONE);
	a = begin(b);
	assert_int_equal(send(b, a, 0), 0);
	assert_int_equal(send(b, a, 1), 0);
	assert_int_equal(store(b, a, 3 * PART, 2), 0);
	assert_true(was_asked(b, PUT("3") "one"));
	assert_true(was_asked(b, COMPLETE "one"));
	/* And what is there is looked at. */
	assert_int_equal(script_httpd_requests(b->h) - b->at, 6);
}

/* Somebody has aborted it, or it was too old for the server: the store has another one. */
static void test_gone_at_the_completion(void **state)
{
	struct change_bed *b = *state;
	struct vmofs_ahead *a;

	say_uploads(b);
	say_arrive(b);
	say(b, 1, COMPLETE "one", 404, "", GONE);
	say(b, 1, COMPLETE "two", 200, "", DONE);
	a = begin(b);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(send(b, a, i), 0);
	assert_int_equal(store(b, a, 3 * PART, 3), 0);
	check_second(b);
}

static void test_gone_at_a_part(void **state)
{
	struct change_bed *b = *state;
	struct vmofs_ahead *a;

	say_uploads(b);
	say(b, 1, PUT("1") "one", 200, "ETag: \"p\"\r\n", "");
	say(b, -1, "PUT /b/f?partNumber=2&uploadId=one", 404, "", GONE);
	say(b, -1, "PUT /b/f?partNumber=3&uploadId=one", 404, "", GONE);
	say_arrive(b);
	say(b, 1, COMPLETE "two", 200, "", DONE);
	a = begin(b);
	assert_int_equal(send(b, a, 0), 0);
	assert_true(send(b, a, 1) < 0);
	assert_int_equal(store(b, a, 3 * PART, 1), 0);
	check_second(b);
}

/* What was refused, or not heard of, may be there all the same: an object with fewer parts is not made of that upload. */
static void test_a_part_too_many(void **state)
{
	struct change_bed *b = *state;
	struct vmofs_ahead *a;

	say_uploads(b);
	say(b, -1, PUT("4") "one", 400, "", ERR("InvalidRequest"));
	say(b, 1, COMPLETE "one", 200, "", DONE);
	say_arrive(b);
	say(b, 1, COMPLETE "two", 200, "", DONE);
	a = begin(b);
	assert_int_equal(send(b, a, 0), 0);
	assert_true(send(b, a, 3) < 0);
	assert_int_equal(store(b, a, 3 * PART, 1), 0);
	check_second(b);
	assert_true(was_asked(b, "DELETE /b/f?uploadId=one"));
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

/* The server is slow, and files are removed sooner than their parts arrive: memory does not grow with each of them. */
static void test_called_off_again_and_again(void **state)
{
	struct change_bed *b = *state;
	atomic_bool cancel = true;
	struct vmofs_ahead_send g = { .read = send_read, .wait.cancel = &cancel };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_ahead *a;
	int r = -EINTR;

	say_uploads(b);
	say_arrive(b);
	a = begin(b);
	script_httpd_gate(b->h, true);
	for (; g.part < 20 && r == -EINTR; g.part++)
		r = b->s->ops->change->ahead->send(a, &g, &err);
	assert_int_equal(r, -ENOMEM);
	script_httpd_gate(b->h, false);
	for (unsigned i = 0; i < 1000 && send(b, a, 30) != 0; i++)
		usleep(10000);
	assert_int_equal(send(b, a, 31), 0);
	b->s->ops->change->ahead->drop(a, NULL);
	forget_uploads(b);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, change_bed_set_up, change_bed_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_each_part_goes_once),
		CASE(test_gone_at_the_completion),
		CASE(test_gone_at_a_part),
		CASE(test_a_part_too_many),
		CASE(test_called_off_again_and_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
