/* SPDX-License-Identifier: Apache-2.0 */
/* A bucket to change: a scripted server, loops and a source over them. */
#include "lib/change_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <vmofs/source.h>

#include "base/config.h"
#include "base/loop.h"

#define LISTING "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"

int change_bed_set_up_with(void **state, const char *more)
{
	struct change_bed *b = calloc(1, sizeof *b);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_source_info info;
	struct vmofs_provider_env env;

	assert_non_null(b);
	snprintf(b->dir, sizeof b->dir, "/tmp/test_s3_change.XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	setenv("XDG_STATE_HOME", b->dir, 1);
	b->h = script_httpd_new();
	b->config = config_new();
	assert_int_equal(config_add_table(b->config, vmofs_provider_find("http://x/")->options), 0);
	assert_int_equal(config_add_table(b->config, vmofs_provider_find("s3://x/")->options), 0);
	assert_int_equal(config_set(b->config, "endpoint", script_httpd_url(b->h), &err), 0);
	assert_int_equal(config_set(b->config, "proxy", "", &err), 0);
	assert_int_equal(
		config_parse_opts(b->config,
				  "no-sign-request,retry-base=1ms,upload-part=5M,timeout=5s", &err),
		0);
	assert_int_equal(config_parse_opts(b->config, more, &err), 0);
	b->loops = loop_pool_new(2, &err);
	assert_int_equal(loop_pool_start(b->loops, &err), 0);
	env = (struct vmofs_provider_env){ .config = b->config, .loops = b->loops };
	script_httpd_say(b->h, 1, "GET /b?", 200, "", LISTING);
	assert_int_equal(vmofs_source_find("s3://b")->open(&b->s, "s3://b", &env, &info, &err), 0);
	b->at = script_httpd_requests(b->h);
	*state = b;
	return 0;
}

int change_bed_set_up(void **state)
{
	return change_bed_set_up_with(state, "acl=ignore");
}

int change_bed_tear_down(void **state)
{
	struct change_bed *b = *state;
	char path[128];

	b->s->ops->stop(b->s);
	b->s->ops->free(b->s);
	loop_pool_free(b->loops);
	config_free(b->config);
	script_httpd_free(b->h);
	snprintf(path, sizeof path, "%s/vmofs/uploads", b->dir);
	if (access(path, F_OK) == 0)
		assert_int_equal(rmdir(path), 0); /* nothing is in the record */
	snprintf(path, sizeof path, "%s/vmofs", b->dir);
	rmdir(path);
	rmdir(b->dir);
	free(b);
	return 0;
}

void asked(struct change_bed *b, const char *begin, const char *line)
{
	const char *text = script_httpd_request(b->h, b->at++);

	if (strncmp(text, begin, strlen(begin)) != 0)
		fail_msg("request %u is not '%s' but:\n%.300s", b->at - 1, begin, text);
	if (line && !strcasestr(text, line))
		fail_msg("no '%s' in:\n%.1200s", line, text);
}

void asked_without(struct change_bed *b, const char *begin, const char *line)
{
	const char *text = script_httpd_request(b->h, b->at);

	asked(b, begin, NULL);
	if (strcasestr(text, line))
		fail_msg("'%s' is in:\n%.1200s", line, text);
}

void asked_no_more(struct change_bed *b)
{
	if (script_httpd_requests(b->h) != b->at)
		fail_msg("one more request:\n%.300s", script_httpd_request(b->h, b->at));
}

void say(struct change_bed *b, int times, const char *match, int status, const char *headers,
	 const char *body)
{
	script_httpd_say(b->h, times, match, status, headers, body);
}

void say_head(struct change_bed *b, int times, const char *tag, const char *more)
{
	char headers[1024];

	snprintf(headers, sizeof headers, "ETag: %s\r\n%s", tag, more);
	say(b, times, "HEAD /b/f", 200, headers, "123");
}

bool was_asked(struct change_bed *b, const char *begin)
{
	for (unsigned i = 0; i < script_httpd_requests(b->h); i++)
		if (strncmp(script_httpd_request(b->h, i), begin, strlen(begin)) == 0)
			return true;
	return false;
}

const char *text_of(struct change_bed *b, const char *begin, unsigned nth)
{
	for (unsigned i = 0; i < script_httpd_requests(b->h); i++) {
		const char *text = script_httpd_request(b->h, i);

		if (strncmp(text, begin, strlen(begin)) == 0 && nth-- == 0)
			return text;
	}
	fail_msg("'%s' was not asked", begin);
	return "";
}
