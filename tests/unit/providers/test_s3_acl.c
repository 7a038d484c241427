/* SPDX-License-Identifier: Apache-2.0 */
/* Access control lists that go from one version of an object to the next, against a server that answers by a script. */
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
#include "s3/s3_grants.h"

#define OWNER "<Owner><ID>me</ID><DisplayName>I</DisplayName></Owner>"
#define GRANT(w, p) \
	"<Grant><Grantee xsi:type=\"x\">" w "</Grantee><Permission>" p "</Permission></Grant>"
#define MINE      GRANT("<ID>me</ID>", "FULL_CONTROL")
#define LIST(g)   "<AccessControlPolicy>" OWNER "<AccessControlList>" g "</AccessControlList></A>"
#define EVERYBODY GRANT("<URI>http://acs/AllUsers</URI>", "READ")
#define OTHERS                        \
	GRANT("<ID>you</ID>", "READ") \
	GRANT("<ID>she</ID>", "READ") GRANT("<ID>you</ID>", "WRITE_ACP")
#define CONTROLS "<O><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></O>"

static const struct vmofs_change_wait no_wait;

/* Copies "f", of which HEAD is asked again and again, over "g". */
static int copy(struct change_bed *b)
{
	struct vmofs_version now;
	struct vmofs_err err = VMOFS_ERR_INIT;

	return b->s->ops->change->copy(b->s, "f", NULL, "g", NULL, &now, &no_wait, &err);
}

static void say_copies(struct change_bed *b)
{
	say_head(b, -1, "\"a\"", "");
	say(b, -1, "PUT /b/g", 200, "", "<C><ETag>\"n\"</ETag></C>");
	say(b, -1, "HEAD /b/g", 200, "ETag: \"n\"\r\n", "123");
}

static unsigned times_asked(struct change_bed *b, const char *begin)
{
	unsigned n = 0;

	for (unsigned i = 0; i < script_httpd_requests(b->h); i++)
		n += strncmp(script_httpd_request(b->h, i), begin, strlen(begin)) == 0;
	return n;
}

static void assert_grants(const char *request, const char *line)
{
	if (!strcasestr(request, line))
		fail_msg("no '%s' in:\n%.1500s", line, request);
}

static void test_grants_go_along(void **state)
{
	struct change_bed *b = *state;
	const char *text;

	say(b, 1, "GET /b/f?acl", 200, "", LIST(MINE OTHERS EVERYBODY));
	say(b, 1, "GET /b/f?acl", 200, "", LIST(MINE));
	say(b, 1, "GET /b/f?acl", 200, "", LIST(""));
	say_copies(b);
	assert_int_equal(copy(b), 0);
	text = text_of(b, "PUT /b/g", 0);
	assert_grants(text, "x-amz-grant-full-control: id=\"me\"\r\n");
	assert_grants(text,
		      "x-amz-grant-read: id=\"you\", id=\"she\", uri=\"http://acs/AllUsers\"\r\n");
	assert_grants(text, "x-amz-grant-write-acp: id=\"you\"\r\n");
	assert_null(strcasestr(text, "x-amz-grant-read-acp"));
	/* Only what every object has. */
	for (unsigned i = 1; i < 3; i++) {
		assert_int_equal(copy(b), 0);
		assert_null(strcasestr(text_of(b, "PUT /b/g", i), "x-amz-grant"));
	}
	assert_int_equal(times_asked(b, "GET /b/f?acl"), 3);
	assert_int_equal(times_asked(b, "GET /b?ownershipControls"), 1);
}

static void test_switched_off(void **state)
{
	struct change_bed *b = *state;

	say(b, 1, "GET /b?ownershipControls", 200, "", CONTROLS);
	say_copies(b);
	assert_int_equal(copy(b), 0);
	assert_int_equal(copy(b), 0);
	assert_int_equal(times_asked(b, "GET /b?ownershipControls"), 1);
	assert_false(was_asked(b, "GET /b/f?acl"));
}

/* One object's says little, several say enough. */
static void test_not_allowed_to_be_read(void **state)
{
	struct change_bed *b = *state;

	say(b, -1, "GET /b/f?acl", 403, "", ERR("AccessDenied"));
	say_copies(b);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(copy(b), 0);
	assert_int_equal(times_asked(b, "GET /b/f?acl"), 3);
}

static void test_not_known_to_the_server(void **state)
{
	struct change_bed *b = *state;

	say(b, -1, "GET /b/f?acl", 501, "", ERR("NotImplemented"));
	say_copies(b);
	assert_int_equal(copy(b), 0);
	assert_int_equal(copy(b), 0);
	assert_int_equal(times_asked(b, "GET /b/f?acl"), 1);
}

/* It gives the object instead; it fails each time; it says what cannot be said in a header. */
static void test_answers_that_are_none(void **state)
{
	struct change_bed *b = *state;

	say(b, 1, "GET /b/f?acl", 200, "ETag: \"a\"\r\n", "123");
	say(b, 3, "GET /b/f?acl", 500, "", "");
	say(b, 1, "GET /b/f?acl", 200, "", LIST(MINE GRANT("<ID>a\"b</ID>", "READ")));
	say_copies(b);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(copy(b), 0);
		assert_null(strcasestr(text_of(b, "PUT /b/g", i), "x-amz-grant"));
	}
	assert_int_equal(times_asked(b, "GET /b/f?acl"), 5);
}

/* A gateway, or the way to the server, fails for a moment. */
static void test_it_fails_for_a_moment(void **state)
{
	struct change_bed *b = *state;

	say(b, 1, "GET /b/f?acl", 502, "", "");
	say(b, 1, "GET /b/f?acl", 0, "", "");
	say(b, 1, "GET /b/f?acl", 200, "", LIST(MINE OTHERS));
	say_copies(b);
	assert_int_equal(copy(b), 0);
	assert_grants(text_of(b, "PUT /b/g", 0), "x-amz-grant-read");
	assert_int_equal(times_asked(b, "GET /b/f?acl"), 3);
}

/* The change that asked first came to nothing. */
static void test_the_first_is_not_the_last(void **state)
{
	struct change_bed *b = *state;

	say(b, -1, "GET /b?ownershipControls", 200, "", CONTROLS);
	say(b, 1, "HEAD /b/f", 404, "", "");
	say_copies(b);
	assert_int_equal(copy(b), -ENOENT);
	assert_int_equal(copy(b), 0);
	assert_int_equal(copy(b), 0);
	assert_int_equal(times_asked(b, "GET /b?ownershipControls"), 2);
	assert_false(was_asked(b, "GET /b/f?acl"));
}

/* Where nobody knows whether there are lists, somebody asks again. */
static void test_nobody_answers_the_first(void **state)
{
	struct change_bed *b = *state;

	say(b, 1, "GET /b?ownershipControls", 502, "", "");
	say(b, -1, "GET /b?ownershipControls", 200, "", CONTROLS);
	say(b, -1, "GET /b/f?acl", 200, "", LIST(MINE));
	say_copies(b);
	assert_int_equal(copy(b), 0);
	assert_int_equal(copy(b), 0);
	assert_int_equal(copy(b), 0);
	assert_int_equal(times_asked(b, "GET /b?ownershipControls"), 2);
	assert_int_equal(times_asked(b, "GET /b/f?acl"), 1);
}

/* As where public access is blocked: of others' grants that says nothing. */
static void test_grants_are_refused(void **state)
{
	struct change_bed *b = *state;

	say(b, 2, "GET /b/f?acl", 200, "", LIST(MINE EVERYBODY));
	say(b, 1, "GET /b/f?acl", 200, "", LIST(MINE OTHERS EVERYBODY));
	say(b, 2, "GET /b/f?acl", 200, "", LIST(MINE OTHERS));
	say(b, 1, "PUT /b/g", 403, "", ERR("AccessDenied"));
	say_head(b, -1, "\"a\"", "");
	say(b, 3, "PUT /b/g", 200, "", "<C><ETag>\"n\"</ETag></C>");
	say(b, 1, "PUT /b/g", 400, "", ERR("AccessControlListNotSupported"));
	say_copies(b);
	assert_int_equal(copy(b), 0);
	assert_grants(text_of(b, "PUT /b/g", 0), "x-amz-grant-read");
	assert_null(strcasestr(text_of(b, "PUT /b/g", 1), "x-amz-grant"));
	assert_int_equal(copy(b), 0);
	assert_null(strcasestr(text_of(b, "PUT /b/g", 2), "x-amz-grant"));
	assert_int_equal(copy(b), 0);
	assert_grants(text_of(b, "PUT /b/g", 3), "x-amz-grant-read: id=\"you\", id=\"she\"\r\n");
	assert_int_equal(copy(b), 0);
	assert_grants(text_of(b, "PUT /b/g", 4), "x-amz-grant-read");
	assert_null(strcasestr(text_of(b, "PUT /b/g", 5), "x-amz-grant"));
	assert_int_equal(copy(b), 0);
	assert_int_equal(times_asked(b, "GET /b/f?acl"), 4);
}

/* First everybody's, then all others' too: then it is the right to give any that is missing. */
static void test_one_after_the_other(void **state)
{
	struct change_bed *b = *state;

	say(b, -1, "GET /b/f?acl", 200, "", LIST(MINE OTHERS EVERYBODY));
	say(b, 1, "PUT /b/g", 403, "", ERR("AccessDenied"));
	say_head(b, -1, "\"a\"", "");
	say(b, 1, "PUT /b/g", 200, "", "<C><ETag>\"n\"</ETag></C>");
	say(b, 1, "PUT /b/g", 403, "", ERR("AccessDenied"));
	say_copies(b);
	assert_int_equal(copy(b), 0);
	assert_grants(text_of(b, "PUT /b/g", 0), "uri=");
	assert_grants(text_of(b, "PUT /b/g", 1), "x-amz-grant-read: id=\"you\", id=\"she\"\r\n");
	assert_int_equal(copy(b), 0);
	assert_grants(text_of(b, "PUT /b/g", 2), "x-amz-grant-read: id=\"you\", id=\"she\"\r\n");
	assert_null(strcasestr(text_of(b, "PUT /b/g", 3), "x-amz-grant"));
	assert_int_equal(copy(b), 0);
	assert_int_equal(times_asked(b, "GET /b/f?acl"), 2);
}

static void test_all_are_refused_at_once(void **state)
{
	struct change_bed *b = *state;

	say(b, -1, "GET /b/f?acl", 200, "", LIST(MINE OTHERS EVERYBODY));
	say(b, 2, "PUT /b/g", 403, "", ERR("AccessDenied"));
	say_copies(b);
	assert_int_equal(copy(b), 0);
	assert_null(strcasestr(text_of(b, "PUT /b/g", 2), "x-amz-grant"));
	assert_int_equal(copy(b), 0);
	assert_int_equal(times_asked(b, "GET /b/f?acl"), 1);
	assert_int_equal(times_asked(b, "PUT /b/g"), 4);
}

/* Somebody who is not there any more, or too many to be said in one request: that says nothing of other objects. */
static void test_grants_to_nobody(void **state)
{
	static const char *const codes[] = { "InvalidArgument", "RequestHeaderSectionTooLarge" };

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct change_bed *b = *state;
		char error[200];

		snprintf(error, sizeof error, "<Error><Code>%s</Code></Error>", codes[i]);
		say(b, -1, "GET /b/f?acl", 200, "", LIST(MINE OTHERS EVERYBODY));
		say(b, 1, "PUT /b/g", 400, "", error);
		say_copies(b);
		assert_int_equal(copy(b), 0);
		assert_grants(text_of(b, "PUT /b/g", 0), "x-amz-grant-read");
		assert_null(strcasestr(text_of(b, "PUT /b/g", 1), "x-amz-grant"));
		assert_int_equal(copy(b), 0);
		assert_grants(text_of(b, "PUT /b/g", 2), "x-amz-grant-read");
		change_bed_tear_down(state);
		change_bed_set_up_with(state, "acl=keep");
	}
}

/* The user wants them kept, or nothing stored. */
static void test_required(void **state)
{
	struct change_bed *b = *state;

	say(b, 1, "GET /b/f?acl", 403, "", ERR("AccessDenied"));
	say(b, 1, "GET /b/f?acl", 200, "", LIST(MINE OTHERS));
	say(b, 1, "PUT /b/g", 403, "", ERR("AccessDenied"));
	say_copies(b);
	assert_int_equal(copy(b), -EACCES);
	assert_false(was_asked(b, "PUT"));
	assert_int_equal(copy(b), -EACCES);
	assert_int_equal(times_asked(b, "PUT"), 1);
}

static void test_ignored(void **state)
{
	struct change_bed *b = *state;

	say_copies(b);
	assert_int_equal(copy(b), 0);
	assert_false(was_asked(b, "GET /b/f?acl"));
	assert_false(was_asked(b, "GET /b?ownershipControls"));
}

static int read_three(struct vmofs_store *st, uint64_t off, void *buf, uint64_t len)
{
	(void)st;
	memcpy(buf, &"xyz"[off], len);
	return 0;
}

static bool take_any(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
	return true;
}

static void give_any(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
}

static int no_commit(struct vmofs_store *st UNUSED)
{
	return 0;
}

/* Contents too, and sent again without what was refused. */
static void test_stored(void **state)
{
	struct vmofs_changed all = { 0, 3 };
	struct vmofs_store st = { .key = "f",
				  .base = { .exists = true, .size = 3, .validator = "\"a\"" },
				  .size = 3,
				  .changed = &all,
				  .n_changed = 1,
				  .commit = no_commit,
				  .read = read_three,
				  .take = take_any,
				  .give = give_any };
	struct change_bed *b = *state;
	struct vmofs_err err = VMOFS_ERR_INIT;

	snprintf(st.attempt, sizeof st.attempt, ATTEMPT);
	say_head(b, -1, "\"a\"", "");
	say(b, -1, "GET /b/f?acl", 200, "", LIST(MINE OTHERS));
	say(b, 1, "PUT /b/f", 412, "", ERR("PreconditionFailed"));
	say(b, 1, "PUT /b/f", 403, "", ERR("AccessDenied"));
	say(b, 1, "PUT /b/f", 200, "ETag: \"n\"\r\n", "");
	assert_int_equal(b->s->ops->change->store(b->s, &st, &err), 0);
	assert_grants(text_of(b, "PUT /b/f", 1), "x-amz-grant-write-acp: id=\"you\"\r\n");
	assert_null(strcasestr(text_of(b, "PUT /b/f", 2), "x-amz-grant"));
	assert_int_equal(st.requests, script_httpd_requests(b->h) - b->at);
}

static void test_parse(void **state UNUSED)
{
	static struct s3_grants g;
	static const char whole[] = LIST(MINE OTHERS);
	static char large[100 * 200];

	for (size_t n = 0; n < strlen(whole); n++)
		(void)s3_grants_parse(&g, whole, n, true);
	assert_int_equal(s3_grants_parse(&g, "", 0, true), -EBADMSG);
	assert_int_equal(s3_grants_parse(&g, whole, strlen(whole), true), 0);
	assert_true(g.others && !g.groups);
	strcpy(large, "<Owner><ID>me</ID></Owner><AccessControlList>");
	for (unsigned i = 0; i < 100; i++)
		strcat(large, GRANT("<ID>0123456789012345678901234567890123456789</ID>", "READ"));
	assert_int_equal(s3_grants_parse(&g, large, strlen(large), true), -E2BIG);
}

static int set_up_keep(void **state)
{
	return change_bed_set_up_with(state, "acl=keep");
}

static int set_up_require(void **state)
{
	return change_bed_set_up_with(state, "acl=require");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up_keep, change_bed_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_grants_go_along),
		T(test_switched_off),
		T(test_not_allowed_to_be_read),
		T(test_not_known_to_the_server),
		T(test_answers_that_are_none),
		T(test_it_fails_for_a_moment),
		T(test_the_first_is_not_the_last),
		T(test_nobody_answers_the_first),
		T(test_grants_are_refused),
		T(test_one_after_the_other),
		T(test_all_are_refused_at_once),
		T(test_grants_to_nobody),
		T(test_stored),
		cmocka_unit_test_setup_teardown(test_required, set_up_require,
						change_bed_tear_down),
		cmocka_unit_test_setup_teardown(test_ignored, change_bed_set_up,
						change_bed_tear_down),
		cmocka_unit_test(test_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
