/* SPDX-License-Identifier: Apache-2.0 */
/* Homes, environments and chains for tests of access keys. */
#include "lib/key_rig.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/config.h"
#include "base/macros.h"
#include "net/http_settings.h"

static _Atomic time_t fake_now;

static time_t now(void)
{
	return fake_now ? fake_now : time(NULL);
}

void key_rig_clock(time_t t)
{
	fake_now = t;
}

static void clear_environment(void)
{
	for (unsigned i = 0; i < S3_NENVS; i++)
		unsetenv(s3_environment_name(i));
	unsetenv("AWS_SECURITY_TOKEN");
	unsetenv("AWS_DEFAULT_PROFILE");
	s3_environment_forget();
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
}

int key_rig_setup(void **state)
{
	struct http_settings_init init = { .connect_timeout_ns = 5 * NSEC_PER_SEC,
					   .stall_timeout_ns = 20 * NSEC_PER_SEC };
	struct key_rig *r = calloc(1, sizeof *r);
	const char *tmp = getenv("TMPDIR");

	assert_non_null(r);
	snprintf(r->home, sizeof r->home, "%.40s/keysXXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->home));
	clear_environment();
	setenv("HOME", r->home, 1);
	key_rig_clock(0);
	r->settings = http_settings_new(&init, &r->err);
	assert_non_null(r->settings);
	*state = r;
	return 0;
}

static int remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
		      struct FTW *ftw UNUSED)
{
	return remove(path);
}

int key_rig_teardown(void **state)
{
	struct key_rig *r = *state;

	s3_chain_free(r->chain);
	config_free(r->config);
	http_settings_put(r->settings);
	nftw(r->home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	clear_environment();
	free(r);
	return 0;
}

const char *key_rig_path(struct key_rig *r, const char *name)
{
	static char path[4][4096];
	static unsigned next;
	char *out = path[next++ % 4];

	snprintf(out, sizeof path[0], "%s/%s", r->home, name);
	return out;
}

static void make_folders(const char *path)
{
	char folder[4096];

	for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		snprintf(folder, sizeof folder, "%.*s", (int)(p - path), path);
		mkdir(folder, 0700);
	}
}

void key_rig_file(struct key_rig *r, const char *name, const char *text)
{
	const char *path = key_rig_path(r, name);
	FILE *f;

	make_folders(path);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

void key_rig_filef(struct key_rig *r, const char *name, const char *fmt, ...)
{
	char text[8192];
	va_list ap;

	va_start(ap, fmt);
	assert_true(vsnprintf(text, sizeof text, fmt, ap) < (int)sizeof text);
	va_end(ap);
	key_rig_file(r, name, text);
}

static void check_message(const struct vmofs_err *err)
{
	if (strstr(err->msg, "HUSH"))
		fail_msg("a secret is in the message: %s", err->msg);
	assert_true(err->code < 0);
	assert_true(err->msg[0] != 0);
}

int key_rig_try(struct key_rig *r, const char *opts)
{
	static const struct vmofs_option table[] = { S3_CREDENTIAL_OPTIONS, { 0 } };
	int e;

	s3_chain_free(r->chain);
	r->chain = NULL;
	config_free(r->config);
	r->config = config_new();
	assert_int_equal(config_add_table(r->config, table), 0);
	assert_int_equal(config_parse_opts(r->config, opts ? opts : "", &r->err), 0);
	e = s3_chain_new(&r->chain, r->config, r->settings, &r->err);
	if (e < 0) {
		assert_null(r->chain);
		assert_int_equal(r->err.code, e);
		check_message(&r->err);
		return e;
	}
	r->chain->now = now;
	r->chain->retry_ns = NSEC_PER_MSEC;
	return 0;
}

struct s3_chain *key_rig_chain(struct key_rig *r, const char *opts)
{
	if (key_rig_try(r, opts) < 0)
		fail_msg("%s", r->err.msg);
	return r->chain;
}

void key_rig_fetch(struct key_rig *r, const char *refused)
{
	if (s3_chain_fetch(r->chain, refused, NULL, &r->err) < 0)
		fail_msg("%s", r->err.msg);
}

void key_rig_fails(struct key_rig *r, const char *refused, int code, const char *part)
{
	int e = s3_chain_fetch(r->chain, refused, NULL, &r->err);

	assert_true(e < 0);
	assert_int_equal(e, r->err.code);
	check_message(&r->err);
	if (e != code || !strstr(r->err.msg, part))
		fail_msg("%d: %s", e, r->err.msg);
}

void key_rig_has(struct key_rig *r, const char *access, const char *secret, const char *token)
{
	bool ageing;
	struct s3_credentials *k = s3_chain_current(r->chain, &ageing);

	assert_non_null(k);
	assert_string_equal(k->access_key, access);
	assert_string_equal(k->secret_key, secret);
	if (token)
		assert_string_equal(k->token, token);
	else
		assert_null(k->token);
	s3_credentials_put(k);
}

void key_rig_gives(struct key_rig *r, const char *opts, const char *access, const char *secret,
		   const char *token, const char *source)
{
	char name[S3_SOURCE_NAME];

	key_rig_chain(r, opts);
	key_rig_fetch(r, NULL);
	key_rig_has(r, access, secret, token);
	s3_chain_source_name(r->chain, name, sizeof name);
	assert_string_equal(name, source);
}

void key_rig_refuses(struct key_rig *r, const char *opts, int code, const char *part)
{
	bool ageing;

	key_rig_chain(r, opts);
	key_rig_fails(r, NULL, code, part);
	assert_null(s3_chain_current(r->chain, &ageing));
}
