/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of names and attributes in a bucket, against a server that answers by a script. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <vmofs/change.h>

#include "base/macros.h"
#include "lib/change_bed.h"

static const struct vmofs_change_wait no_wait;

static void test_remove(void **state)
{
	struct vmofs_version expect = { .exists = true, .validator = "\"a\"" };
	struct change_bed *b = *state;
	const struct vmofs_change_ops *ops = b->s->ops->change;
	struct vmofs_err err = VMOFS_ERR_INIT;

	say(b, 1, "DELETE /b/f", 204, "", "");
	assert_int_equal(ops->remove(b->s, "f", NULL, &no_wait, &err), 0);
	asked_without(b, "DELETE /b/f", "If-Match");
	/* One that looks. */
	say_head(b, 1, "\"a\"", "");
	say(b, 1, "DELETE /b/f", 412, "", ERR("PreconditionFailed"));
	say(b, 1, "DELETE /b/f", 204, "", "");
	assert_int_equal(ops->remove(b->s, "f", &expect, &no_wait, &err), 0);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "DELETE /b/f", "If-Match: \"0000");
	asked(b, "DELETE /b/f", "If-Match: \"a\"\r\n");
	/* It is another version; it is not there. */
	say(b, 1, "DELETE /b/f", 412, "", ERR("PreconditionFailed"));
	say_head(b, 1, "\"other\"", "");
	assert_int_equal(ops->remove(b->s, "f", &expect, &no_wait, &err), -ESTALE);
	/* The answer is lost after the deed. */
	say(b, 1, "DELETE /b/f", 0, "", "");
	assert_int_equal(ops->remove(b->s, "f", &expect, &no_wait, &err), 0);
}

static void test_copy(void **state)
{
	struct vmofs_version from = { .exists = true, .validator = "\"a\"" }, to = { 0 }, now;
	struct change_bed *b = *state;
	const struct vmofs_change_ops *ops = b->s->ops->change;
	struct vmofs_err err = VMOFS_ERR_INIT;
	const char *text;

	say_head(b, -1, "\"a\"", "x-amz-meta-colour: blue\r\n");
	say(b, 1, "PUT /b/g", 200, "", ERR("InternalError"));
	say(b, 1, "PUT /b/g", 200, "", "<C><ETag>\"n\"</ETag></C>");
	say(b, 2, "HEAD /b/g", 404, "", "");
	say(b, -1, "HEAD /b/g", 200, "ETag: \"n\"\r\n", "123");
	assert_int_equal(ops->copy(b->s, "f", &from, "g", &to, &now, &no_wait, &err), 0);
	assert_string_equal(now.validator, "\"n\"");
	assert_int_equal(now.size, 3);
	text = text_of(b, "PUT /b/g", 1);
	assert_non_null(strstr(text, "x-amz-copy-source: /b/f\r\n"));
	assert_non_null(strstr(text, "x-amz-copy-source-if-match: \"a\"\r\n"));
	assert_non_null(strstr(text, "x-amz-metadata-directive: REPLACE\r\n"));
	assert_non_null(strstr(text, "x-amz-meta-colour: blue\r\n"));
	assert_non_null(strstr(text, "If-None-Match: *\r\n"));
	snprintf(from.validator, sizeof from.validator, "\"b\"");
	assert_int_equal(ops->copy(b->s, "f", &from, "g", &to, &now, &no_wait, &err), -ESTALE);
	assert_int_equal(ops->copy(b->s, "absent", NULL, "g", &to, &now, &no_wait, &err), -ENOENT);
}

/* A server may lose them where it is not told. */
static void test_a_copy_with_tags(void **state)
{
	struct change_bed *b = *state;
	struct vmofs_version to = { 0 }, now;
	struct vmofs_err err = VMOFS_ERR_INIT;
	const char *text;

	say_head(b, -1, "\"a\"", "x-amz-tagging-count: 1\r\n");
	say(b, 1, "GET /b/f?tagging", 200, "",
	    "<T><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></T>");
	say(b, 1, "PUT /b/g", 200, "", "<C><ETag>\"n\"</ETag></C>");
	say(b, 1, "HEAD /b/g", 404, "", "");
	say(b, -1, "HEAD /b/g", 200, "ETag: \"n\"\r\n", "123");
	assert_int_equal(b->s->ops->change->copy(b->s, "f", NULL, "g", &to, &now, &no_wait, &err),
			 0);
	text = text_of(b, "PUT /b/g", 0);
	assert_non_null(strstr(text, "x-amz-tagging-directive: REPLACE\r\n"));
	assert_non_null(strstr(text, "x-amz-tagging: k=v\r\n"));
}

static void test_copy_of_another_version(void **state)
{
	struct vmofs_version from = { .exists = true, .validator = "\"a\"" }, to = { 0 }, now;
	struct change_bed *b = *state;
	struct vmofs_err err = VMOFS_ERR_INIT;

	say_head(b, -1, "\"a\"", "");
	say(b, -1, "PUT /b/g", 412, "", ERR("PreconditionFailed"));
	assert_int_equal(b->s->ops->change->copy(b->s, "f", &from, "g", &to, &now, &no_wait, &err),
			 -ESTALE);
}

/* The source has changed, which says nothing of what the server does with the condition on what is replaced. */
static void test_a_copy_refused_for_its_source(void **state)
{
	struct vmofs_version from = { .exists = true, .validator = "\"a\"" };
	struct vmofs_version to = { .exists = true, .validator = "\"g\"" }, now;
	struct change_bed *b = *state;
	const struct vmofs_change_ops *ops = b->s->ops->change;
	struct vmofs_err err = VMOFS_ERR_INIT;

	say_head(b, 1, "\"a\"", "");
	say_head(b, 1, "\"b\"", "");
	say(b, -1, "HEAD /b/g", 200, "ETag: \"g\"\r\n", "123");
	say(b, 1, "PUT /b/g", 412, "", ERR("PreconditionFailed"));
	assert_int_equal(ops->copy(b->s, "f", &from, "g", &to, &now, &no_wait, &err), -ESTALE);
	b->at += 4;
	asked_no_more(b);
	/* It is tried out again. */
	say_head(b, -1, "\"a\"", "");
	say(b, -1, "PUT /b/g", 200, "", "<C><ETag>\"n\"</ETag></C>");
	assert_int_equal(ops->copy(b->s, "f", &from, "g", &to, &now, &no_wait, &err), 0);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "HEAD /b/g", NULL);
	asked(b, "PUT /b/g", "If-None-Match: *");
	asked(b, "HEAD /b/f", NULL);
	asked(b, "HEAD /b/g", NULL);
	asked_no_more(b);
}

/* The server says that all is well, and has made an empty object. */
static void test_a_copy_that_is_not_whole(void **state)
{
	struct vmofs_version to = { .exists = false }, now;
	struct change_bed *b = *state;
	struct vmofs_err err = VMOFS_ERR_INIT;

	say_head(b, -1, "\"a\"", "");
	say(b, 1, "PUT /b/g", 200, "", "<C><ETag>\"n\"</ETag></C>");
	say(b, 1, "HEAD /b/g", 404, "", "");
	say(b, -1, "HEAD /b/g", 200, "ETag: \"n\"\r\n", "");
	say(b, -1, "DELETE /b/g", 204, "", "");
	assert_int_equal(b->s->ops->change->copy(b->s, "f", NULL, "g", &to, &now, &no_wait, &err),
			 -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "0 of 3 bytes"));
	assert_non_null(text_of(b, "DELETE /b/g", 0));
}

/* The server does not look at the condition on the source: somebody's newer version was copied. */
static void test_a_copy_of_what_has_changed(void **state)
{
	struct vmofs_version from = { .exists = true, .validator = "\"a\"" };
	struct vmofs_version to = { .exists = false }, now;
	struct change_bed *b = *state;
	const struct vmofs_change_ops *ops = b->s->ops->change;
	struct vmofs_err err = VMOFS_ERR_INIT;

	say_head(b, 1, "\"a\"", "");
	say_head(b, -1, "\"b\"", "");
	say(b, 1, "HEAD /b/g", 404, "", "");
	say(b, -1, "PUT /b/g", 200, "", "<C><ETag>\"n\"</ETag></C>");
	say(b, -1, "HEAD /b/g", 200, "ETag: \"n\"\r\n", "123");
	say(b, 1, "DELETE /b/g", 412, "", ERR("PreconditionFailed"));
	say(b, 1, "DELETE /b/g", 204, "", "");
	assert_int_equal(ops->copy(b->s, "f", &from, "g", &to, &now, &no_wait, &err), -ESTALE);
	assert_non_null(strstr(text_of(b, "DELETE /b/g", 1), "If-Match: \"n\"\r\n"));
	assert_false(was_asked(b, "DELETE /b/f"));
}

static void test_directories_and_links(void **state)
{
	struct vmofs_change_attr attr = { .has = VMOFS_HAS_MODE, .mode = 0750 };
	struct change_bed *b = *state;
	const struct vmofs_change_ops *ops = b->s->ops->change;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;

	say(b, -1, "PUT /b/", 200, "ETag: \"n\"\r\n", "");
	assert_int_equal(ops->make_dir(b->s, "d/", &attr, &no_wait, &err), 0);
	assert_non_null(strstr(text_of(b, "PUT /b/d/", 0), "x-amz-meta-mode: 16872\r\n"));
	assert_non_null(strstr(text_of(b, "PUT /b/d/", 0), "application/x-directory"));
	assert_int_equal(ops->make_link(b->s, "l", "../t", NULL, &now, &no_wait, &err), 0);
	assert_non_null(strstr(text_of(b, "PUT /b/l", 0), "x-amz-meta-mode: 41471\r\n"));
	assert_non_null(strstr(text_of(b, "PUT /b/l", 0), "\r\n\r\n../t"));
	assert_int_equal(now.size, 4);
}

static void test_attempted(void **state)
{
	struct change_bed *b = *state;
	const struct vmofs_change_ops *ops = b->s->ops->change;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;

	assert_int_equal(ops->attempted(b->s, "f", ATTEMPT, &now, &no_wait, &err), 0);
	assert_false(now.exists);
	say_head(b, 2, "\"a\"", OURS);
	assert_int_equal(ops->attempted(b->s, "f", ATTEMPT, &now, &no_wait, &err), 1);
	assert_string_equal(now.validator, "\"a\"");
	assert_int_equal(ops->attempted(b->s, "f", "ffff", &now, &no_wait, &err), 0);
	assert_true(now.exists);
	say(b, -1, "HEAD /b/f", 403, "", "");
	assert_int_equal(ops->attempted(b->s, "f", ATTEMPT, &now, &no_wait, &err), -EACCES);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, change_bed_set_up, change_bed_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_remove),
		TEST(test_copy),
		TEST(test_a_copy_with_tags),
		TEST(test_copy_of_another_version),
		TEST(test_a_copy_that_is_not_whole),
		TEST(test_a_copy_refused_for_its_source),
		TEST(test_a_copy_of_what_has_changed),
		TEST(test_directories_and_links),
		TEST(test_attempted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
