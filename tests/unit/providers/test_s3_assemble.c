/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small changes of large objects, against a server that answers by a script: what is asked for, in which order, that the temporary object
 * goes in the end, and that whatever goes wrong with it is no failure of the store.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <vmofs/change.h>

#include "base/loop.h"
#include "base/macros.h"
#include "lib/change_bed.h"
#include "s3/s3_assemble.h"
#include "s3/s3_record.h"

#define CREATED "<X><UploadId>up</UploadId></X>"
#define DONE    "<X><ETag>&quot;new-2&quot;</ETag></X>"
#define TEMP    "/b/vmofs-tmp-"
#define PAGE    4096

/* -- storing: a page at 6 MiB of 12 ----------------------------------------------------------- */

struct storing {
	struct vmofs_store st;
	struct vmofs_changed changed;
	unsigned commits;
	uint64_t read; /* bytes */
	bool here;
};

static int st_read(struct vmofs_store *st, uint64_t off UNUSED, void *buf, uint64_t len)
{
	memset(buf, 'n', len);
	container_of(st, struct storing, st)->read += len;
	return 0;
}

static int st_commit(struct vmofs_store *st)
{
	container_of(st, struct storing, st)->commits++;
	return 0;
}

static bool st_take(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
	return true;
}

static void st_give(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
}

static uint64_t st_lacks(struct vmofs_store *st, uint64_t off UNUSED, uint64_t len)
{
	return container_of(st, struct storing, st)->here ? 0 : len;
}

static int store(struct change_bed *b, struct storing *s, struct vmofs_err *err)
{
	bool here = s->here;

	*err = (struct vmofs_err)VMOFS_ERR_INIT;
	*s = (struct storing){ .changed = { MIB(6), PAGE }, .here = here };
	s->st = (struct vmofs_store){ .key = "f",
				      .base = { .exists = true, .size = MIB(12) },
				      .size = MIB(12),
				      .changed = &s->changed,
				      .n_changed = 1,
				      .attempt = ATTEMPT,
				      .read = st_read,
				      .commit = st_commit,
				      .take = st_take,
				      .give = st_give,
				      .lacks = st_lacks };
	snprintf(s->st.base.validator, sizeof s->st.base.validator, "\"a\"");
	return b->s->ops->change->store(b->s, &s->st, err);
}

/* HEAD's length is the script's body. */
static void say_base(struct change_bed *b)
{
	char *body = malloc(MIB(12) + 1);

	assert_non_null(body);
	memset(body, 'x', MIB(12));
	body[MIB(12)] = '\0';
	say(b, -1, "HEAD /b/f", 200, "ETag: \"a\"\r\nx-amz-version-id: v1\r\n", body);
	free(body);
}

static void say_upload(struct change_bed *b)
{
	say(b, 1, "POST /b/f?uploads", 200, "", CREATED);
	say(b, -1, "PUT /b/f?partNumber=", 200, "ETag: \"p\"\r\n", "<X><ETag>\"c\"</ETag></X>");
	say(b, -1, "DELETE /b/f?uploadId=", 204, "", "");
	say(b, 1, "POST /b/f?uploadId=", 200, "", DONE);
}

static void say_temp(struct change_bed *b)
{
	say(b, 1, "POST " TEMP, 200, "", CREATED);
	say(b, 2, "PUT " TEMP, 200, "ETag: \"p\"\r\n", "<X><ETag>\"c\"</ETag></X>");
	say(b, 1, "POST " TEMP, 200, "x-amz-version-id: v2\r\n",
	    "<X><ETag>&quot;temp-2&quot;</ETag></X>");
	say(b, -1, "DELETE " TEMP, 204, "", "");
}

static bool has(const char *text, const char *line)
{
	return text && strstr(text, line);
}

static unsigned count(struct change_bed *b, const char *begin)
{
	unsigned n = 0;

	for (unsigned i = 0; i < script_httpd_requests(b->h); i++)
		n += strncmp(script_httpd_request(b->h, i), begin, strlen(begin)) == 0;
	return n;
}

/* -- all is well ------------------------------------------------------------------------------ */

static void test_what_is_asked(void **state)
{
	struct change_bed *b = *state;
	struct storing s = { 0 };
	struct vmofs_err err;
	const char *text;

	say_base(b);
	say_temp(b);
	say_upload(b);
	assert_int_equal(store(b, &s, &err), 0);
	assert_string_equal(s.st.now.validator, "\"new-2\"");
	assert_int_equal(s.st.bytes_up, PAGE);
	assert_int_equal(s.read, PAGE);
	assert_int_equal(s.commits, 1);
	text = text_of(b, "POST " TEMP, 0);
	assert_true(has(text, "?uploads= HTTP/1.1\r\n"));
	assert_true(has(text, "x-amz-meta-vmofs-attempt: "));
	assert_false(has(text, OURS));
	/* Two parts in either order, then the completion without a condition. */
	text = text_of(b, "PUT " TEMP, 0);
	text = has(text, "partNumber=1") ? text : text_of(b, "PUT " TEMP, 1);
	assert_true(has(text, "x-amz-copy-source: /b/f?versionId=v1\r\n"));
	assert_true(has(text, "x-amz-copy-source-if-match: \"a\"\r\n"));
	assert_true(has(text, "x-amz-copy-source-range: bytes=0-6291455\r\n"));
	assert_false(has(text_of(b, "POST " TEMP, 1), "If-"));
	text = text_of(b, "PUT /b/f?partNumber=1", 0);
	assert_true(has(text, "x-amz-copy-source: " TEMP));
	assert_true(has(text, "?versionId=v2\r\n"));
	assert_true(has(text, "x-amz-copy-source-if-match: \"temp-2\"\r\n"));
	assert_true(has(text, "x-amz-copy-source-range: bytes=0-6295551\r\n"));
	text = text_of(b, "PUT /b/f?partNumber=2", 0);
	assert_true(has(text, "x-amz-copy-source-range: bytes=6295552-12582911\r\n"));
	assert_true(has(text_of(b, "DELETE " TEMP, 0), "?versionId=v2 HTTP"));
	assert_int_equal(count(b, "DELETE "), 1);
}

static void test_what_is_here_goes_up(void **state)
{
	struct change_bed *b = *state;
	struct storing s = { .here = true };
	struct vmofs_err err;

	say_base(b);
	say_upload(b);
	assert_int_equal(store(b, &s, &err), 0);
	assert_int_equal(s.st.bytes_up, MIB(5));
	assert_int_equal(count(b, "POST " TEMP), 0);
}

/* -- something is wrong ----------------------------------------------------------------------- */

static void assert_usual(struct storing *s, struct change_bed *b, unsigned removed)
{
	assert_int_equal(s->st.bytes_up - s->st.bytes_up % MIB(5), MIB(5));
	assert_int_equal(s->commits, 1);
	assert_string_equal(s->st.now.validator, "\"new-2\"");
	assert_int_equal(count(b, "DELETE " TEMP), removed);
}

/* Once is enough. */
static void test_the_server_refuses(void **state)
{
	struct change_bed *b = *state;
	struct storing s = { 0 };
	struct vmofs_err err;

	say_base(b);
	say(b, -1, "POST " TEMP, 403, "", ERR("AccessDenied"));
	say(b, 1, "POST /b/f?uploads", 200, "", CREATED);
	say_upload(b);
	assert_int_equal(store(b, &s, &err), 0);
	assert_int_equal(err.code, 0);
	assert_usual(&s, b, 0);
	say_upload(b);
	assert_int_equal(store(b, &s, &err), 0);
	assert_int_equal(count(b, "POST " TEMP), 1);
}

static void test_no_copy_into_it(void **state)
{
	struct change_bed *b = *state;
	struct storing s = { 0 };
	struct vmofs_err err;

	say_base(b);
	say(b, 1, "POST " TEMP, 200, "", CREATED);
	say(b, -1, "PUT " TEMP, 501, "", ERR("NotImplemented"));
	say(b, -1, "DELETE " TEMP, 204, "", "");
	say(b, 1, "POST /b/f?uploads", 200, "", CREATED);
	say_upload(b);
	assert_int_equal(store(b, &s, &err), 0);
	assert_usual(&s, b, 1); /* the upload's abort */
	assert_true(has(text_of(b, "DELETE " TEMP, 0), "?uploadId=up"));
}

static void test_no_copy_from_it(void **state)
{
	static const int statuses[] = { 404, 412, 416, 501 };
	struct vmofs_err err;

	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		struct change_bed *b = *state;
		struct storing s = { 0 };

		say_base(b);
		say_temp(b);
		say(b, 1, "PUT /b/f?partNumber=1", statuses[i], "", ERR("Whatever"));
		say(b, 1, "POST /b/f?uploads", 200, "", CREATED);
		say_upload(b);
		assert_int_equal(store(b, &s, &err), 0);
		assert_usual(&s, b, 1);
		assert_int_equal(count(b, "DELETE /b/f?uploadId="), 1);
		change_bed_tear_down(state);
		change_bed_set_up(state);
	}
}

/* Copied it was, and then the server does not like what it has. */
static void test_no_completion_with_it(void **state)
{
	static const int statuses[] = { 400, 200 };
	struct vmofs_err err;

	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		struct change_bed *b = *state;
		struct storing s = { 0 };

		say_base(b);
		say_temp(b);
		say(b, 1, "POST /b/f?uploads", 200, "", CREATED);
		say(b, 1, "POST /b/f?uploadId=", statuses[i], "", ERR("EntityTooSmall"));
		say_upload(b);
		assert_int_equal(store(b, &s, &err), 0);
		assert_string_equal(s.st.now.validator, "\"new-2\"");
		assert_int_equal(count(b, "POST /b/f?uploads"), 2);
		assert_int_equal(count(b, "DELETE " TEMP), 1);
		assert_int_equal(count(b, "DELETE /b/f?uploadId="), 1);
		change_bed_tear_down(state);
		change_bed_set_up(state);
	}
}

/* It may have been acted upon, or still be: nobody makes it again before it is known. */
static void test_the_completion_is_not_known(void **state)
{
	struct change_bed *b = *state;
	struct storing s = { 0 };
	struct vmofs_err err;

	say_base(b);
	say_temp(b);
	say(b, -1, "POST /b/f?uploadId=", 500, "", ERR("InternalError"));
	say_upload(b);
	assert_int_equal(store(b, &s, &err), -EIO);
	assert_int_equal(count(b, "POST /b/f?uploads"), 1);
	assert_int_equal(count(b, "DELETE " TEMP), 1);
	assert_false(was_asked(b, "DELETE /b/f?uploadId="));
	s3_record_settle(container_of(b->s, struct s3, base), ATTEMPT, false, NULL);
}

static void test_the_base_changes_meanwhile(void **state)
{
	struct change_bed *b = *state;
	struct storing s = { 0 };
	struct vmofs_err err;

	say_base(b);
	say(b, 1, "POST " TEMP, 200, "", CREATED);
	say(b, -1, "PUT " TEMP, 412, "", ERR("PreconditionFailed"));
	say(b, -1, "DELETE " TEMP, 204, "", "");
	say_upload(b);
	assert_int_equal(store(b, &s, &err), -ESTALE);
	assert_int_equal(s.commits, 0);
	assert_false(was_asked(b, "POST /b/f?uploadId="));
}

static void test_the_base_changes_after_it(void **state)
{
	struct change_bed *b = *state;
	struct storing s = { 0 };
	struct vmofs_err err;

	say_base(b);
	say_temp(b);
	say(b, -1, "PUT /b/f?partNumber=2", 412, "", ERR("PreconditionFailed"));
	say_upload(b);
	assert_int_equal(store(b, &s, &err), -ESTALE);
	assert_int_equal(s.commits, 0);
	assert_int_equal(count(b, "DELETE " TEMP), 1);
	assert_false(was_asked(b, "POST /b/f?uploadId="));
}

/* The completion of the temporary object was done, or not, and nobody is told: it is looked for, and is gone. */
static void test_it_is_not_known(void **state)
{
	struct change_bed *b = *state;
	struct storing s = { 0 };
	struct vmofs_err err;

	say_base(b);
	say(b, 1, "POST " TEMP, 200, "", CREATED);
	say(b, 2, "PUT " TEMP, 200, "ETag: \"p\"\r\n", "<X><ETag>\"c\"</ETag></X>");
	say(b, -1, "POST " TEMP, 0, "", "");
	say(b, -1, "DELETE " TEMP, 204, "", "");
	say(b, 1, "POST /b/f?uploads", 200, "", CREATED);
	say_upload(b);
	assert_int_equal(store(b, &s, &err), 0);
	assert_usual(&s, b, 1);
	assert_true(has(text_of(b, "DELETE " TEMP, 0), "?uploadId=up"));
	assert_true(was_asked(b, "HEAD " TEMP));
}

/* Whatever stands in a record of the disk. */
static void test_only_what_is_ours_is_removed(void **state)
{
	static const struct {
		const char *key, *attempt;
		bool is;
	} v[] = {
		{ "f", "", false },
		{ "f", ATTEMPT, false },
		{ "vmofs-tmp-" ATTEMPT, "", false },
		{ "vmofs-tmp-0" ATTEMPT, ATTEMPT, false },
		{ "vmofs-tmp-" ATTEMPT, ATTEMPT, false }, /* somebody has put another there */
		{ "vmofs-tmp-" ATTEMPT, ATTEMPT, true },
		{ "a/vmofs-tmp-" ATTEMPT, ATTEMPT, true },
	};
	struct change_bed *b = *state;
	struct s3 *s = container_of(b->s, struct s3, base);

	say(b, 1, "HEAD /b/f", 200, "ETag: \"a\"\r\n", "123");
	say(b, 1, "HEAD /b/f", 200, "ETag: \"a\"\r\n" OURS, "123");
	say(b, -1, "HEAD /b/vmofs-tmp-0" ATTEMPT, 200, "ETag: \"a\"\r\n" OURS, "123");
	say(b, 1, "HEAD " TEMP, 200, "ETag: \"a\"\r\n", "123");
	say(b, -1, "HEAD ", 200, "ETag: \"a\"\r\n" OURS, "123");
	say(b, -1, "DELETE ", 204, "", "");
	for (size_t i = 0, n = 0; i < ARRAY_LEN(v); i++) {
		assert_int_equal(s3_temp_sweep(s, v[i].key, v[i].attempt, NULL), 0);
		n += v[i].is;
		if (count(b, "DELETE ") != n)
			fail_msg("'%s' of '%s'", v[i].key, v[i].attempt);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, change_bed_set_up, change_bed_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_asked),
		TEST(test_what_is_here_goes_up),
		TEST(test_the_server_refuses),
		TEST(test_no_copy_into_it),
		TEST(test_no_copy_from_it),
		TEST(test_no_completion_with_it),
		TEST(test_the_completion_is_not_known),
		TEST(test_the_base_changes_meanwhile),
		TEST(test_the_base_changes_after_it),
		TEST(test_it_is_not_known),
		TEST(test_only_what_is_ours_is_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
