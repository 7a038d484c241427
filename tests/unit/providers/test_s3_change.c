/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of a bucket, against a server that answers by a script: which preconditions go out, what is learned of a server
 * that ignores them, what becomes of answers that are lost, wrong or late, and that nothing is left behind.
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <vmofs/change.h>

#include "base/loop.h"
#include "base/macros.h"
#include "lib/change_bed.h"

#define CREATED "<X><UploadId>up&amp;1</UploadId></X>"
#define DONE    "<X><ETag>&quot;new-2&quot;</ETag></X>"

/*
 * For what is tried until there is no time for another pause: tries come after 0, 0.2, 0.6, 1.4, 3 s, and the answer to the last
 * one has half of it, where others use the machine as well.
 */
#define TIME_FOR_SOME (29 * NSEC_PER_SEC / 10)

/* -- storing ---------------------------------------------------------------------------------- */

struct storing {
	struct vmofs_store st;
	struct vmofs_changed changed[4];
	unsigned commits;
	int read_code;
	int commit_code;
	uint64_t taken;
	atomic_bool cancel;
	struct change_bed *cancel_at; /* in read(): as soon as a request has come */
};

static int st_read(struct vmofs_store *st, uint64_t off, void *buf, uint64_t len)
{
	struct storing *s = container_of(st, struct storing, st);

	memset(buf, 'a' + (int)(off % 26), len);
	return s->read_code;
}

static int st_commit(struct vmofs_store *st)
{
	struct storing *s = container_of(st, struct storing, st);

	s->commits++;
	return s->commit_code;
}

static bool st_take(struct vmofs_store *st, uint64_t len)
{
	struct storing *s = container_of(st, struct storing, st);

	if (s->taken > 0)
		return false;
	s->taken += len;
	return true;
}

static void st_give(struct vmofs_store *st, uint64_t len)
{
	container_of(st, struct storing, st)->taken -= len;
}

/* @tag NULL: it is new. */
static struct storing storing(uint64_t size, uint64_t base, const char *tag)
{
	struct storing s = { .st = { .key = "f", .size = size, .attempt = ATTEMPT } };

	s.changed[0] = (struct vmofs_changed){ 0, MIN(size, 4096) };
	s.st.n_changed = size > 0;
	s.st.base.exists = tag != NULL;
	s.st.base.size = base;
	if (tag)
		snprintf(s.st.base.validator, sizeof s.st.base.validator, "%s", tag);
	else if (size > 0)
		s.changed[0].len = size;
	s.st.read = st_read;
	s.st.commit = st_commit;
	s.st.take = st_take;
	s.st.give = st_give;
	return s;
}

static int store(struct change_bed *b, struct storing *s, struct vmofs_err *err)
{
	int r;

	*err = (struct vmofs_err)VMOFS_ERR_INIT;
	s->st.changed = s->changed;
	s->st.wait.cancel = &s->cancel;
	r = b->s->ops->change->store(b->s, &s->st, err);
	assert_int_equal(s->taken, 0);
	assert_int_equal(r, err->code);
	assert_true(r == 0 || err->msg[0]);
	return r;
}

static void test_a_server_that_looks(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	struct vmofs_err err;

	say_head(b, -1, "\"a\"", "");
	say(b, 2, "PUT /b/f", 412, "", ERR("PreconditionFailed"));
	say(b, -1, "PUT /b/f", 200, "ETag: \"n\"\r\n", "");
	assert_int_equal(store(b, &s, &err), 0);
	assert_string_equal(s.st.now.validator, "\"n\"");
	assert_int_equal(s.st.now.size, 3);
	assert_int_equal(s.commits, 1);
	asked(b, "HEAD /b/f", NULL); /* the metadata */
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", "If-None-Match: *");
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", "If-Match: \"00000000000000000000000000000000\"");
	asked(b, "PUT /b/f", "If-Match: \"a\"");
	/* From now on it is trusted. */
	assert_int_equal(store(b, &s, &err), 0);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", "If-Match: \"a\"\r\n");
	s = storing(3, 0, NULL);
	assert_int_equal(store(b, &s, &err), 0);
	asked(b, "PUT /b/f", "If-None-Match: *\r\n");
	asked_no_more(b);
}

static void test_a_server_that_does_not_look(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	struct vmofs_err err;

	say_head(b, -1, "\"a\"", "");
	say(b, -1, "PUT /b/f", 200, "ETag: \"a\"\r\n", "");
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(store(b, &s, &err), 0);
	/* Once can be chance: it was removed right before. */
	for (unsigned i = 0; i < 2; i++) {
		asked(b, "HEAD /b/f", NULL);
		asked(b, "HEAD /b/f", NULL);
		asked(b, "PUT /b/f", "If-None-Match: *");
	}
	asked(b, "HEAD /b/f", NULL);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", "If-Match: \"00000000000000000000000000000000\"");
	asked(b, "HEAD /b/f", NULL);
	asked(b, "HEAD /b/f", NULL);
	asked_without(b, "PUT /b/f", "If-Match");
	asked_no_more(b);
}

/* What is there is removed by somebody between the comparison and a request on the condition that nothing is. */
static void test_chance_is_no_habit(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	struct vmofs_err err;

	say_head(b, -1, "\"a\"", "");
	say(b, 1, "PUT /b/f", 200, "ETag: \"a\"\r\n", "");
	say(b, 2, "PUT /b/f", 412, "", ERR("PreconditionFailed"));
	say(b, -1, "PUT /b/f", 200, "ETag: \"n\"\r\n", "");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(store(b, &s, &err), 0);
	b->at += 8;
	asked(b, "PUT /b/f", "If-Match: \"a\"\r\n");
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", "If-Match: \"a\"\r\n");
	s = storing(3, 0, NULL);
	assert_int_equal(store(b, &s, &err), 0);
	asked(b, "PUT /b/f", "If-None-Match: *\r\n");
	asked_no_more(b);
}

static void test_tags_without_quotes(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	struct vmofs_err err;

	say_head(b, -1, "\"a\"", "");
	say(b, 3, "PUT /b/f", 412, "", ERR("PreconditionFailed"));
	say(b, -1, "PUT /b/f", 200, "ETag: \"n\"\r\n", "");
	assert_int_equal(store(b, &s, &err), 0);
	b->at += 5;
	asked(b, "PUT /b/f", "If-Match: \"a\"\r\n");
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", "If-Match: a\r\n");
	assert_int_equal(store(b, &s, &err), 0);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", "If-Match: a\r\n");
	asked_no_more(b);
}

static void test_another_version_is_there(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	struct vmofs_err err;

	say_head(b, -1, "\"other\"", "");
	assert_int_equal(store(b, &s, &err), -ESTALE);
	asked(b, "HEAD /b/f", NULL);
	assert_int_equal(s.commits, 0);
	s = storing(3, 0, NULL);
	assert_int_equal(store(b, &s, &err), -ESTALE);
	asked(b, "HEAD /b/f", NULL);
	asked_no_more(b);
}

/* Between the comparison and the request. */
static void test_another_version_comes(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	struct vmofs_err err;

	say_head(b, 3, "\"a\"", "");
	say_head(b, -1, "\"other\"", "");
	say(b, -1, "PUT /b/f", 412, "", ERR("PreconditionFailed"));
	assert_int_equal(store(b, &s, &err), -ESTALE);
	b->at += 5;
	asked(b, "PUT /b/f", "If-Match: \"a\"\r\n");
	asked(b, "HEAD /b/f", NULL);
	asked_no_more(b);
}

static void test_gone_meanwhile(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	struct vmofs_err err;

	assert_int_equal(store(b, &s, &err), -ESTALE);
	asked(b, "HEAD /b/f", NULL);
	asked_no_more(b);
}

/* -- lost answers ----------------------------------------------------------------------------- */

static void test_an_answer_is_lost_after_the_deed(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 0, NULL);
	struct vmofs_err err;

	say(b, 1, "HEAD /b/f", 404, "", "");
	say(b, 1, "PUT /b/f", 0, "", "");
	say_head(b, -1, "\"n\"", OURS);
	assert_int_equal(store(b, &s, &err), 0);
	assert_string_equal(s.st.now.validator, "\"n\"");
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", "x-amz-meta-vmofs-attempt: " ATTEMPT);
	asked(b, "HEAD /b/f", NULL);
	asked_no_more(b);
	assert_int_equal(s.commits, 1);
}

static void test_an_answer_is_lost_before_the_deed(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 0, NULL);
	struct vmofs_err err;

	say(b, 1, "PUT /b/f", 0, "", "");
	say(b, 1, "PUT /b/f", 500, "", ERR("InternalError"));
	say(b, 1, "PUT /b/f", 200, "ETag: \"n\"\r\n", "");
	assert_int_equal(store(b, &s, &err), 0);
	for (unsigned i = 0; i < 3; i++) {
		asked(b, "HEAD /b/f", NULL);
		asked(b, "PUT /b/f", "If-None-Match: *");
	}
	asked_no_more(b);
	assert_int_equal(s.commits, 1);
}

static void test_an_answer_is_lost_and_another_version_comes(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	struct vmofs_err err;

	say_head(b, 2, "\"a\"", "");
	say(b, -1, "PUT /b/f", 0, "", "");
	say_head(b, -1, "\"other\"", "x-amz-meta-vmofs-attempt: ffff\r\n");
	assert_int_equal(store(b, &s, &err), -ESTALE);
	b->at += 3;
	asked(b, "HEAD /b/f", NULL);
	asked_no_more(b);
}

/* The first try has won, its answer was lost, and what is sent again meets our own version. */
static void test_our_own_version_is_no_conflict(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 0, NULL);
	struct vmofs_err err;

	say(b, 1, "HEAD /b/f", 404, "", "");
	say(b, 1, "PUT /b/f", 412, "", ERR("PreconditionFailed"));
	say_head(b, -1, "\"n\"", OURS);
	assert_int_equal(store(b, &s, &err), 0);
	assert_string_equal(s.st.now.validator, "\"n\"");
}

/* An answer without the new tag: what is there may be somebody else's by now. */
static void test_a_success_without_a_tag(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 0, NULL);
	struct vmofs_err err;

	say(b, 1, "HEAD /b/f", 404, "", "");
	say(b, -1, "PUT /b/f", 200, "", "");
	say_head(b, 1, "\"n\"", OURS);
	assert_int_equal(store(b, &s, &err), 0);
	assert_string_equal(s.st.now.validator, "\"n\"");
	s = storing(3, 0, NULL);
	say(b, 1, "HEAD /b/f", 404, "", "");
	say_head(b, -1, "\"other\"", "x-amz-meta-vmofs-attempt: ffff\r\n");
	assert_int_equal(store(b, &s, &err), -ESTALE);
	assert_int_equal(s.commits, 1);
}

/* The first try is lost and may still arrive: that the second one is refused does not end it. */
static void test_refused_after_a_loss(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 0, NULL);
	char longer[70000];
	struct vmofs_err err;

	say(b, 1, "PUT /b/f", 0, "", "");
	say(b, 1, "PUT /b/f", 403, "", ERR("AccessDenied"));
	assert_int_equal(store(b, &s, &err), -EIO);
	/* It is not known either what an answer means that makes no sense. */
	s = storing(3, 0, NULL);
	s.st.wait.deadline_ns = loop_now_ns() + TIME_FOR_SOME;
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	say(b, -1, "PUT /b/f", 200, "", longer);
	assert_int_equal(store(b, &s, &err), -EIO);
}

static void test_two_writers_at_once(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 0, NULL);
	struct vmofs_err err;

	say(b, 1, "PUT /b/f", 409, "", ERR("ConditionalRequestConflict"));
	say(b, 1, "PUT /b/f", 503, "", ERR("SlowDown"));
	say(b, 1, "PUT /b/f", 200, "ETag: \"n\"\r\n", "");
	assert_int_equal(store(b, &s, &err), 0);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", NULL);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", NULL); /* SlowDown: it was not done, and is sent again */
	asked(b, "PUT /b/f", NULL);
	asked_no_more(b);
}

static void test_it_is_never_known(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 0, NULL);
	struct vmofs_err err;

	say(b, -1, "PUT /b/f", 0, "", "");
	s.st.wait.deadline_ns = loop_now_ns() + TIME_FOR_SOME;
	assert_int_equal(store(b, &s, &err), -EIO);
	assert_int_equal(s.commits, 1);
}

static void test_it_is_called_off(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 0, NULL);
	struct vmofs_err err;

	s.commit_code = -ENOSPC;
	assert_int_equal(store(b, &s, &err), -ENOSPC);
	asked_no_more(b);
	s = storing(3, 0, NULL);
	s.read_code = -EIO;
	assert_int_equal(store(b, &s, &err), -EIO);
	asked_no_more(b);
}

static void test_refusals(void **state)
{
	static const struct {
		int status;
		const char *body;
		int code;
	} v[] = {
		{ 403, ERR("AccessDenied"), -EACCES },
		{ 403, ERR("QuotaExceeded"), -EDQUOT },
		{ 507, ERR("InsufficientStorage"), -ENOSPC },
		{ 400, ERR("EntityTooLarge"), -EFBIG },
		{ 400, ERR("KeyTooLongError"), -ENAMETOOLONG },
		{ 405, ERR("MethodNotAllowed"), -EOPNOTSUPP },
	};
	struct change_bed *b = *state;
	struct vmofs_err err;

	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		struct storing s = storing(3, 0, NULL);

		say(b, 1, "PUT /b/f", v[i].status, "", v[i].body);
		assert_int_equal(store(b, &s, &err), v[i].code);
		asked(b, "HEAD /b/f", NULL);
		asked(b, "PUT /b/f", NULL);
		asked_no_more(b);
	}
}

/* -- metadata --------------------------------------------------------------------------------- */

/* As long as they may be. */
#define C32      "0123456789abcdef0123456789abcdef"
#define C256     C32 C32 C32 C32 C32 C32 C32 C32
#define LONG_TAG "<Tag><Key>" C256 C256 "</Key><Value>" C256 C256 C256 C256 "</Value></Tag>"

static void test_what_is_kept(void **state)
{
	static const char *const kept[] = {
		"content-type: text/x",
		"cache-control: no-cache",
		"x-amz-meta-colour: blue",
		"x-amz-storage-class: STANDARD_IA",
		"x-amz-tagging: a%20b=c%26%27&e=&",
		"x-amz-meta-mode: 33184",
		"x-amz-meta-uid: 7",
		"x-amz-meta-mtime: 1700000000.000000005",
		"x-amz-checksum-crc32c: ",
		"x-amz-meta-nothing:\r\n",
	};
	static const char tags[] = "<T><TagSet><Tag><Key>a b</Key><Value>c&amp;&#x27;</Value></Tag>"
				   "<Tag><Key>e</Key><Value/></Tag>" LONG_TAG "</TagSet></T>";
	struct vmofs_change_attr attr = { .has = VMOFS_HAS_MODE,
					  .mode = 0640,
					  .mtime = { 1700000000, 5 } };
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	struct vmofs_err err;
	const char *text;

	say_head(b, -1, "\"a\"",
		 "Content-Type: text/x\r\nCache-Control: no-cache\r\nx-amz-meta-colour: blue\r\n"
		 "x-amz-storage-class: STANDARD_IA\r\nx-amz-meta-mode: 33188\r\n"
		 "x-amz-meta-uid: 7\r\nx-amz-tagging-count: 1\r\nx-amz-request-id: r\r\n"
		 "x-amz-meta-vmofs-attempt: old\r\nx-amz-meta-nothing: \r\n");
	say(b, 1, "GET /b/f?tagging", 200, "", tags);
	say(b, -1, "PUT /b/f", 200, "ETag: \"n\"\r\n", "");
	s.st.attr = &attr;
	assert_int_equal(store(b, &s, &err), 0);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "GET /b/f?tagging", NULL);
	asked(b, "HEAD /b/f", NULL);
	text = script_httpd_request(b->h, b->at);
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		if (!strcasestr(text, kept[i]))
			fail_msg("no '%s' in:\n%s", kept[i], text);
	assert_non_null(strstr(text, "&" C256 C256 "=" C256 C256 C256 C256 "\r\n"));
	asked_without(b, "PUT /b/f", "x-amz-request-id");
	assert_null(strstr(text, "attempt: old"));
	assert_null(strstr(text, "33188"));
}

static void test_more_metadata_than_a_request_takes(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	char headers[8192];
	struct vmofs_err err;
	size_t n = 0;

	n += (size_t)snprintf(headers + n, sizeof headers - n, "ETag: \"a\"\r\n");
	for (unsigned i = 0; i < 120; i++)
		n += (size_t)snprintf(headers + n, sizeof headers - n, "x-amz-meta-m%u: v\r\n", i);
	say(b, -1, "HEAD /b/f", 200, headers, "123");
	assert_int_equal(store(b, &s, &err), -E2BIG);
	for (unsigned i = 0; i < script_httpd_requests(b->h); i++)
		assert_true(strncmp(script_httpd_request(b->h, i), "PUT", 3) != 0);
}

/* -- parts ------------------------------------------------------------------------------------ */

static void say_parts(struct change_bed *b)
{
	say(b, 1, "POST /b/f?uploads", 200, "", CREATED);
	say(b, -1, "PUT /b/f?partNumber=", 200,
	    "ETag: \"p\"\r\nx-amz-checksum-crc32c: AAAAAA==\r\n", "<X><ETag>\"c\"</ETag></X>");
	say(b, -1, "DELETE /b/f?uploadId=up%261", 204, "", "");
}

#define COMPLETE "POST /b/f?uploadId=up%261"
#define ABORT    "DELETE /b/f?uploadId=up%261"

static void test_parts(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(MIB(12), 0, NULL);
	struct vmofs_err err;

	say_parts(b);
	say(b, 1, "POST /b/f?uploadId=", 200, "", DONE);
	assert_int_equal(store(b, &s, &err), 0);
	assert_string_equal(s.st.now.validator, "\"new-2\"");
	assert_int_equal(s.st.bytes_up, MIB(12));
	assert_non_null(
		strstr(text_of(b, "POST /b/f?uploads", 0), "x-amz-checksum-algorithm: CRC32C"));
	assert_non_null(strstr(text_of(b, "POST /b/f?uploads", 0), OURS));
	assert_non_null(strstr(text_of(b, COMPLETE, 0),
			       "<PartNumber>3</PartNumber><ETag>\"p\"</ETag>"
			       "<ChecksumCRC32C>AAAAAA==</ChecksumCRC32C></Part></Complete"));
	assert_non_null(strstr(text_of(b, COMPLETE, 0), "If-None-Match: *"));
	assert_false(was_asked(b, ABORT));
	assert_int_equal(s.commits, 1);
}

/* What has ended does not make the record longer and longer. */
static void test_the_record_stays_small(void **state)
{
	struct change_bed *b = *state;
	struct vmofs_err err;
	char pattern[128];
	struct stat st;
	glob_t found;

	say_parts(b);
	say(b, 1, "POST /b/f?uploads", 200, "", CREATED);
	say(b, -1, "POST /b/f?uploadId=", 200, "", DONE);
	for (unsigned i = 0; i < 2; i++) {
		struct storing s = storing(MIB(12), 0, NULL);

		assert_int_equal(store(b, &s, &err), 0);
	}
	snprintf(pattern, sizeof pattern, "%s/vmofs/uploads/*", b->dir);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_int_equal(found.gl_pathc, 1);
	assert_int_equal(stat(found.gl_pathv[0], &st), 0);
	assert_int_equal(st.st_size, 0);
	globfree(&found);
}

/* HEAD's length is the script's body: a base of 12 MiB needs one. */
static void say_large_head(struct change_bed *b, int times, const char *tag)
{
	char *body = malloc(MIB(12) + 1);

	assert_non_null(body);
	memset(body, 'x', MIB(12));
	body[MIB(12)] = '\0';
	say(b, times, "HEAD /b/f", 200, tag, body);
	free(body);
}

/* A range of a small object is refused, all of it is not. */
static void test_a_copy_of_all(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(MIB(20), MIB(12), "\"a\"");
	struct vmofs_err err;
	const char *text;

	s.changed[0] = (struct vmofs_changed){ MIB(12), MIB(8) };
	say_large_head(b, -1, "ETag: \"a\"\r\n");
	say_parts(b);
	say(b, 1, "POST /b/f?uploadId=", 200, "", DONE);
	assert_int_equal(store(b, &s, &err), 0);
	assert_int_equal(s.st.bytes_copied, MIB(12));
	text = text_of(b, "PUT /b/f?partNumber=1", 0);
	assert_non_null(strstr(text, "x-amz-copy-source: /b/f\r\n"));
	assert_null(strstr(text, "x-amz-copy-source-range"));
}

static void test_copied_parts(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(MIB(12), MIB(12), "\"a\"");
	struct vmofs_err err;
	const char *text;

	say_large_head(b, -1, "ETag: \"a\"\r\nx-amz-version-id: v/1\r\n");
	say_parts(b);
	say(b, 1, "POST /b/f?uploadId=", 200, "", DONE);
	assert_int_equal(store(b, &s, &err), 0);
	assert_int_equal(s.st.bytes_up, MIB(5));
	assert_int_equal(s.st.bytes_copied, MIB(7));
	text = text_of(b, "PUT /b/f?partNumber=2", 0);
	assert_non_null(strstr(text, "x-amz-copy-source: /b/f?versionId=v/1\r\n"));
	assert_non_null(strstr(text, "x-amz-copy-source-if-match: \"a\"\r\n"));
	assert_non_null(strstr(text, "x-amz-copy-source-range: bytes=5242880-12582911\r\n"));
}

static void test_attributes_alone(void **state)
{
	struct vmofs_change_attr attr = { .has = VMOFS_HAS_MODE, .mode = 0600 };
	struct change_bed *b = *state;
	struct storing s = storing(3, 3, "\"a\"");
	struct vmofs_err err;

	say_head(b, -1, "\"a\"", "Content-Type: text/x\r\n");
	say(b, -1, "PUT /b/f", 200, "", "<C><ETag>\"n\"</ETag></C>");
	s.st.n_changed = 0;
	s.st.attr = &attr;
	s.read_code = -EIO; /* nobody reads */
	assert_int_equal(store(b, &s, &err), 0);
	assert_string_equal(s.st.now.validator, "\"n\"");
	assert_int_equal(s.st.bytes_up, 0);
	assert_int_equal(s.commits, 1);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", "x-amz-copy-source-if-match: \"a\"\r\n");
	b->at--;
	asked(b, "PUT /b/f", "x-amz-meta-mode: 33152\r\n");
	b->at--;
	asked(b, "PUT /b/f", "content-type: text/x\r\n");
	asked_no_more(b);
}

static void test_the_base_changes_between_parts(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(MIB(12), MIB(12), "\"a\"");
	struct vmofs_err err;

	say_large_head(b, -1, "ETag: \"a\"\r\n");
	say(b, -1, "PUT /b/f?partNumber=2", 412, "", ERR("PreconditionFailed"));
	say_parts(b);
	assert_int_equal(store(b, &s, &err), -ESTALE);
	assert_false(was_asked(b, COMPLETE));
	assert_true(was_asked(b, ABORT));
	assert_int_equal(s.commits, 0);
}

static void test_parts_are_sent_again(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(MIB(12), 0, NULL);
	struct vmofs_err err;

	say(b, 1, "PUT /b/f?partNumber=1", 503, "", ERR("SlowDown"));
	say(b, 1, "PUT /b/f?partNumber=1", 0, "", "");
	say(b, 1, "PUT /b/f?partNumber=2", 500, "", ERR("InternalError"));
	say_parts(b);
	say(b, 1, "POST /b/f?uploadId=", 200, "", DONE);
	assert_int_equal(store(b, &s, &err), 0);
	assert_non_null(strstr(text_of(b, "PUT /b/f?partNumber=1", 2), "\r\n\r\naaaaaaaa"));
}

static void test_errors_behind_200(void **state)
{
	static const struct {
		const char *body;
		int code;
	} v[] = {
		{ ERR("InvalidPart"), -EIO },
		{ ERR("AccessDenied"), -EACCES },
	};
	struct change_bed *b = *state;
	struct storing s = storing(MIB(12), 0, NULL);
	struct vmofs_err err;

	say_parts(b);
	say(b, 1, "POST /b/f?uploadId=", 200, "", ERR("InternalError"));
	say(b, 1, "POST /b/f?uploadId=", 200, "", ERR("SlowDown"));
	say(b, 1, "POST /b/f?uploadId=", 200, "", DONE);
	assert_int_equal(store(b, &s, &err), 0);
	assert_string_equal(s.st.now.validator, "\"new-2\"");
	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		s = storing(MIB(12), 0, NULL);
		say(b, 1, "POST /b/f?uploads", 200, "", CREATED);
		say(b, 1, "POST /b/f?uploadId=", 200, "", v[i].body);
		assert_int_equal(store(b, &s, &err), v[i].code);
	}
	assert_true(was_asked(b, ABORT));
}

/* The completion was done, its answer was lost, and the upload is no more. */
static void test_a_completion_is_lost(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(MIB(12), 0, NULL);
	struct vmofs_err err;

	say_parts(b);
	say(b, 1, "HEAD /b/f", 404, "", "");
	say(b, 1, "POST /b/f?uploadId=", 404, "", ERR("NoSuchUpload"));
	say_head(b, -1, "\"n-2\"", OURS);
	assert_int_equal(store(b, &s, &err), 0);
	assert_string_equal(s.st.now.validator, "\"n-2\"");
	assert_int_equal(s.st.now.size, MIB(12));
}

static void lose_completion(struct change_bed *b)
{
	struct storing s = storing(MIB(12), 0, NULL);
	struct vmofs_err err;

	say_parts(b);
	say(b, -1, "POST /b/f?uploadId=", 0, "", "");
	s.st.wait.deadline_ns = loop_now_ns() + 2 * TIME_FOR_SOME; /* to upload as well */
	assert_int_equal(store(b, &s, &err), -EIO);
	assert_false(was_asked(b, ABORT));
}

/* Nobody knows, until it is asked: then it is aborted, so that it does not come later. */
static void test_a_completion_that_may_arrive(void **state)
{
	static const struct vmofs_change_wait no_wait;
	struct change_bed *b = *state;
	const struct vmofs_change_ops *ops = b->s->ops->change;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;

	lose_completion(b);
	assert_int_equal(ops->attempted(b->s, "f", ATTEMPT, &now, &no_wait, &err), 0);
	assert_true(was_asked(b, ABORT));
	b->at = script_httpd_requests(b->h) - 3;
	asked(b, "HEAD /b/f", NULL);
	asked(b, ABORT, NULL);
	asked(b, "HEAD /b/f", NULL);
	assert_int_equal(ops->attempted(b->s, "f", ATTEMPT, &now, &no_wait, &err), 0);
	asked(b, "HEAD /b/f", NULL);
	asked_no_more(b);
}

/* It arrives right before the abort. */
static void test_a_completion_that_arrives(void **state)
{
	static const struct vmofs_change_wait no_wait;
	struct change_bed *b = *state;
	const struct vmofs_change_ops *ops = b->s->ops->change;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;

	lose_completion(b);
	say(b, 1, "HEAD /b/f", 404, "", "");
	say_head(b, -1, "\"n\"", OURS);
	assert_int_equal(ops->attempted(b->s, "f", ATTEMPT, &now, &no_wait, &err), 1);
	assert_string_equal(now.validator, "\"n\"");
	assert_true(was_asked(b, ABORT));
}

static void test_checksums_are_refused(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(MIB(12), 0, NULL);
	struct vmofs_err err;

	say(b, 1, "POST /b/f?uploads", 400, "", ERR("InvalidArgument"));
	say_parts(b);
	say(b, 1, "POST /b/f?uploadId=", 200, "", DONE);
	assert_int_equal(store(b, &s, &err), 0);
	assert_null(strstr(text_of(b, "POST /b/f?uploads", 1), "checksum"));
	assert_null(strstr(text_of(b, "PUT /b/f?partNumber=1", 0), "checksum"));
}

/* Of a PUT too; not because of one that is refused for another reason. */
static void test_checksums_of_small_ones_are_refused(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(3, 0, NULL);
	struct vmofs_err err;

	say(b, 2, "PUT /b/f", 400, "", ERR("InvalidRequest"));
	assert_int_equal(store(b, &s, &err), -EIO);
	say(b, 1, "PUT /b/f", 501, "", ERR("NotImplemented"));
	say(b, -1, "PUT /b/f", 200, "ETag: \"n\"\r\n", "");
	b->at = script_httpd_requests(b->h);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(store(b, &s, &err), 0);
	asked(b, "HEAD /b/f", NULL);
	asked(b, "PUT /b/f", "x-amz-checksum-crc32c: ");
	asked(b, "HEAD /b/f", NULL);
	asked_without(b, "PUT /b/f", "checksum");
	asked(b, "HEAD /b/f", NULL);
	asked_without(b, "PUT /b/f", "checksum");
	b->at--;
	asked(b, "PUT /b/f", "If-None-Match: *");
	asked_no_more(b);
}

static void test_contents_that_cannot_be_read(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(MIB(12), 0, NULL);
	struct vmofs_err err;

	say_parts(b);
	s.read_code = -ESTALE;
	assert_int_equal(store(b, &s, &err), -ESTALE);
	assert_true(was_asked(b, ABORT));
}

static void *open_later(void *arg)
{
	struct storing *s = arg;

	while (script_httpd_requests(s->cancel_at->h) == s->cancel_at->at)
		sched_yield();
	atomic_store(&s->cancel, true);
	return NULL;
}

/* The server is silent; what is under way ends by itself later, and its memory with it. */
static void test_cancelled(void **state)
{
	struct change_bed *b = *state;
	struct storing s = storing(MIB(12), 0, NULL);
	struct vmofs_err err;
	pthread_t t;

	script_httpd_gate(b->h, true);
	s.cancel_at = b;
	assert_int_equal(pthread_create(&t, NULL, open_later, &s), 0);
	assert_int_equal(store(b, &s, &err), -EINTR);
	pthread_join(t, NULL);
	script_httpd_gate(b->h, false);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, change_bed_set_up, change_bed_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_server_that_looks),
		TEST(test_a_server_that_does_not_look),
		TEST(test_chance_is_no_habit),
		TEST(test_tags_without_quotes),
		TEST(test_another_version_is_there),
		TEST(test_another_version_comes),
		TEST(test_gone_meanwhile),
		TEST(test_an_answer_is_lost_after_the_deed),
		TEST(test_an_answer_is_lost_before_the_deed),
		TEST(test_an_answer_is_lost_and_another_version_comes),
		TEST(test_our_own_version_is_no_conflict),
		TEST(test_a_success_without_a_tag),
		TEST(test_refused_after_a_loss),
		TEST(test_two_writers_at_once),
		TEST(test_it_is_never_known),
		TEST(test_it_is_called_off),
		TEST(test_refusals),
		TEST(test_what_is_kept),
		TEST(test_more_metadata_than_a_request_takes),
		TEST(test_parts),
		TEST(test_the_record_stays_small),
		TEST(test_a_copy_of_all),
		TEST(test_copied_parts),
		TEST(test_attributes_alone),
		TEST(test_the_base_changes_between_parts),
		TEST(test_parts_are_sent_again),
		TEST(test_errors_behind_200),
		TEST(test_a_completion_is_lost),
		TEST(test_a_completion_that_may_arrive),
		TEST(test_a_completion_that_arrives),
		TEST(test_checksums_are_refused),
		TEST(test_checksums_of_small_ones_are_refused),
		TEST(test_contents_that_cannot_be_read),
		TEST(test_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
