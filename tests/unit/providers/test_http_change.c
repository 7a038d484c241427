/* SPDX-License-Identifier: Apache-2.0 */
/* Changes at a web server: what goes out with which condition, what is compared before, and what is made of answers and of none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/config.h"
#include "base/loop.h"
#include "base/macros.h"
#include "http/http_change.h"
#include "http/index.h"
#include "lib/script_httpd.h"

#define TAG(x) "ETag: \"" x "\"\r\n"

struct bed {
	struct script_httpd *h;
	struct vmofs_config *config;
	struct loop_pool *loops;
	struct vmofs_source *s;
	struct vmofs_store st;
	const char *text;
	unsigned commits;
	unsigned at; /* requests before */
};

static const struct vmofs_change_wait no_wait = { 0 };

static int bed_read(struct vmofs_store *st, uint64_t off, void *buf, uint64_t len)
{
	memcpy(buf, container_of(st, struct bed, st)->text + off, len);
	return 0;
}

static int bed_commit(struct vmofs_store *st)
{
	container_of(st, struct bed, st)->commits++;
	return 0;
}

static int set_up(void **state)
{
	struct bed *b = calloc(1, sizeof *b);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_source_info *info = calloc(1, sizeof *info);
	struct vmofs_provider_env env = { .writable = true };
	char url[100];

	b->h = script_httpd_new();
	b->config = config_new();
	assert_int_equal(config_add_table(b->config, vmofs_provider_find("http://x/")->options), 0);
	assert_int_equal(config_set(b->config, "proxy", "", &err), 0);
	assert_int_equal(config_parse_opts(b->config, "retry-base=1ms,timeout=5s", &err), 0);
	b->loops = loop_pool_new(1, &err);
	assert_int_equal(loop_pool_start(b->loops, &err), 0);
	env.config = b->config;
	env.loops = b->loops;
	snprintf(url, sizeof url, "%s/o?x=1", script_httpd_url(b->h));
	script_httpd_say(b->h, 1, "HEAD /o?x=1 ", 200, TAG("a"), "base.");
	assert_int_equal(index_source_ops.open(&b->s, url, &env, info, &err), 0);
	assert_true(info->fixed);
	assert_string_equal(info->name, "o");
	free(info);
	b->at = script_httpd_requests(b->h);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bed *b = *state;

	b->s->ops->stop(b->s);
	b->s->ops->free(b->s);
	loop_pool_free(b->loops);
	config_free(b->config);
	script_httpd_free(b->h);
	free(b);
	return 0;
}

/* @text in place of the version @tag ("": of nothing). */
static int store(struct bed *b, const char *tag, const char *text)
{
	static struct vmofs_changed all;
	struct vmofs_err err = VMOFS_ERR_INIT;

	all = (struct vmofs_changed){ 0, strlen(text) };
	b->text = text;
	b->commits = 0;
	b->st = (struct vmofs_store){
		.key = "o",
		.base = { .exists = *tag, .size = 5 },
		.size = strlen(text),
		.changed = &all,
		.n_changed = 1,
		.read = bed_read,
		.commit = bed_commit,
	};
	if (*tag)
		snprintf(b->st.base.validator, sizeof b->st.base.validator, "\"%s\"", tag);
	vmofs_attempt_new(b->st.attempt);
	return http_change_ops.store(b->s, &b->st, &err);
}

/* The next request that has come begins like that, and has @part in it (NULL: not looked at). */
static void assert_came(struct bed *b, const char *begin, const char *part)
{
	const char *text = script_httpd_request(b->h, b->at++);

	if (strncmp(text, begin, strlen(begin)) != 0 || (part && !strstr(text, part)))
		fail_msg("'%s', '%s' not in: %s", begin, part ? part : "", text);
}

static void assert_no_more(struct bed *b)
{
	assert_int_equal(script_httpd_requests(b->h), b->at);
}

static void test_server_that_looks(void **state)
{
	struct bed *b = *state;

	script_httpd_say(b->h, 1, "HEAD /o?x=1 ", 200, TAG("a"), "base.");
	script_httpd_say(b->h, 1, "PUT /o?x=1 ", 412, "", "");
	script_httpd_say(b->h, 1, "PUT /o?x=1 ", 204, TAG("b"), "");
	assert_int_equal(store(b, "a", "later"), 0);
	assert_string_equal(b->st.now.validator, "\"b\"");
	assert_int_equal(b->st.now.size, 5);
	assert_int_equal(b->commits, 1);
	assert_came(b, "HEAD", NULL);
	assert_came(b, "PUT", "If-Match: \"vmofs");
	assert_came(b, "PUT", "If-Match: \"a\"\r\n");

	/* It is known now: one request. */
	script_httpd_say(b->h, 1, "PUT /o?x=1 ", 204, TAG("c"), "");
	assert_int_equal(store(b, "b", "after"), 0);
	assert_came(b, "PUT", "If-Match: \"b\"\r\n");
	script_httpd_say(b->h, 1, "PUT /o?x=1 ", 412, "", "");
	assert_int_equal(store(b, "b", "never"), -ESTALE);
	assert_came(b, "PUT", "If-Match: \"b\"\r\n");
	script_httpd_say(b->h, 1, "PUT /o?x=1 ", 412, "", "");
	assert_int_equal(store(b, "", "new"), -ESTALE);
	assert_came(b, "PUT", "If-None-Match: *\r\n");
	assert_no_more(b);
}

static void test_server_that_does_not(void **state)
{
	struct bed *b = *state;

	script_httpd_say(b->h, 1, "HEAD /o?x=1 ", 200, TAG("a"), "base.");
	script_httpd_say(b->h, 1, "PUT /o?x=1 ", 204, "", "");
	script_httpd_say(b->h, 1, "HEAD /o?x=1 ", 200, TAG("b"), "later");
	assert_int_equal(store(b, "a", "later"), 0);
	assert_string_equal(b->st.now.validator, "\"b\"");
	b->at += 3;
	assert_no_more(b);

	/* What is there is looked at each time. */
	script_httpd_say(b->h, 1, "HEAD /o?x=1 ", 200, TAG("c"), "other");
	assert_int_equal(store(b, "b", "never"), -ESTALE);
	assert_int_equal(b->commits, 0);
	assert_came(b, "HEAD", NULL);
	assert_no_more(b);

	/* Another version has come right after it. */
	script_httpd_say(b->h, 1, "HEAD /o?x=1 ", 200, TAG("c"), "other");
	script_httpd_say(b->h, 1, "PUT /o?x=1 ", 204, "", "");
	script_httpd_say(b->h, 1, "HEAD /o?x=1 ", 200, TAG("d"), "longer");
	assert_int_equal(store(b, "c", "never"), -ESTALE);
}

/* No answer: what is there decides. */
static void test_lost_answers(void **state)
{
	struct bed *b = *state;

	script_httpd_say(b->h, 1, "HEAD /o?x=1 ", 200, TAG("a"), "base.");
	script_httpd_say(b->h, 1, "PUT /o?x=1 ", 0, "", "");
	script_httpd_say(b->h, -1, "HEAD /o?x=1 ", 200, TAG("b"), "later");
	script_httpd_say(b->h, 1, "GET /o?x=1 ", 200, TAG("b"), "later");
	assert_int_equal(store(b, "a", "later"), 0);
	assert_string_equal(b->st.now.validator, "\"b\"");
	assert_int_equal(b->commits, 1);

	/* Of the same size, but not the same. */
	script_httpd_say(b->h, 1, "PUT /o?x=1 ", 0, "", "");
	script_httpd_say(b->h, 1, "GET /o?x=1 ", 200, TAG("b"), "other");
	assert_int_equal(store(b, "a", "never"), -ESTALE);
}

static void test_attempts(void **state)
{
	struct bed *b = *state;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;
	char attempt[VMOFS_ATTEMPT_LEN + 1];

	script_httpd_say(b->h, 1, "HEAD /o?x=1 ", 200, TAG("a"), "base.");
	script_httpd_say(b->h, 1, "PUT /o?x=1 ", 204, TAG("b"), "");
	assert_int_equal(store(b, "a", "later"), 0);
	memcpy(attempt, b->st.attempt, sizeof attempt);
	b->at = script_httpd_requests(b->h);

	/* Another size need not be read. */
	script_httpd_say(b->h, 1, "HEAD /o?x=1 ", 200, TAG("c"), "longer");
	assert_int_equal(http_change_ops.attempted(b->s, "o", attempt, &now, &no_wait, &err), 0);
	assert_string_equal(now.validator, "\"c\"");
	assert_came(b, "HEAD", NULL);
	assert_no_more(b);
	script_httpd_say(b->h, -1, "HEAD /o?x=1 ", 200, TAG("b"), "later");
	script_httpd_say(b->h, 1, "GET /o?x=1 ", 200, TAG("b"), "later");
	assert_int_equal(http_change_ops.attempted(b->s, "o", attempt, &now, &no_wait, &err), 1);
	script_httpd_say(b->h, 1, "GET /o?x=1 ", 200, TAG("b"), "other");
	assert_int_equal(http_change_ops.attempted(b->s, "o", attempt, &now, &no_wait, &err), 0);
}

static void test_refusals(void **state)
{
	static const int rows[][2] = { { 405, -EOPNOTSUPP }, { 501, -EOPNOTSUPP },
				       { 403, -EACCES },     { 413, -EFBIG },
				       { 507, -ENOSPC },     { 302, -EOPNOTSUPP } };
	struct bed *b = *state;

	script_httpd_say(b->h, -1, "HEAD /o?x=1 ", 200, TAG("a"), "base.");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		script_httpd_say(b->h, 1, "PUT /o?x=1 ", rows[i][0], "", "");
		assert_int_equal(store(b, "a", "never"), rows[i][1]);
	}
}

/* Attributes have no place there; other names are not this source's. */
static void test_what_is_not_sent(void **state)
{
	struct bed *b = *state;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_store st = { .key = "o", .size = 5, .base = { true, 5, "\"a\"", { 0, 0 } } };

	assert_int_equal(http_change_ops.store(b->s, &st, &err), 0);
	assert_string_equal(st.now.validator, "\"a\"");
	assert_int_equal(http_change_ops.remove(b->s, "other", NULL, &no_wait, &err), -EPERM);
	assert_no_more(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_server_that_looks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_server_that_does_not, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lost_answers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_attempts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_not_sent, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
