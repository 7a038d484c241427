/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access keys that need no network: environment, files, processes; the order of sources; when keys are
 * fetched anew; and that secrets are in no memory that a core file would have.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <cmocka.h>

#include "base/macros.h"
#include "base/secret.h"
#include "lib/key_rig.h"
#include "s3/sigv4.h"

static void test_environment(void **state)
{
	struct key_rig *r = *state;

	setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "HUSH1", 1);
	key_rig_gives(r, NULL, "AKENV", "HUSH1", NULL, "environment");
	/* The secret is nowhere in the environment now, but other chains of the process have it. */
	assert_string_equal(getenv("AWS_SECRET_ACCESS_KEY"), "");
	key_rig_gives(r, NULL, "AKENV", "HUSH1", NULL, "environment");
	setenv("AWS_SECRET_ACCESS_KEY", "HUSH2", 1);
	setenv("AWS_SESSION_TOKEN", "HUSH3", 1);
	key_rig_gives(r, NULL, "AKENV", "HUSH2", "HUSH3", "environment");
	assert_string_equal(getenv("AWS_SESSION_TOKEN"), "");
}

static void test_half_an_environment(void **state)
{
	struct key_rig *r = *state;

	setenv("AWS_SECRET_ACCESS_KEY", "HUSH1", 1);
	key_rig_refuses(r, NULL, -EINVAL, "AWS_ACCESS_KEY_ID is not");
	s3_environment_forget();
	setenv("AWS_SECRET_ACCESS_KEY", "", 1);
	setenv("AWS_ACCESS_KEY_ID", "AK", 1);
	key_rig_refuses(r, NULL, -EINVAL, "AWS_SECRET_ACCESS_KEY is not");
	setenv("AWS_SECRET_ACCESS_KEY", "HUSH 1", 1);
	key_rig_refuses(r, NULL, -EINVAL, "characters that no key has");
}

static const char files[] = "[default]\n"
			    "aws_access_key_id = AKDEF\n"
			    "aws_secret_access_key = HUSHdef\n"
			    "[dev]\n"
			    "aws_access_key_id = AKDEV\n"
			    "aws_secret_access_key = HUSHdev\n"
			    "aws_session_token = HUSHtoken\n"
			    "[half]\n"
			    "aws_access_key_id = AKHALF\n";

static void test_profiles(void **state)
{
	struct key_rig *r = *state;

	key_rig_file(r, ".aws/credentials", files);
	key_rig_file(r, ".aws/config",
		     "[profile dev]\naws_access_key_id=AKOLD\naws_secret_access_key=HUSHold\n"
		     "[profile conf]\naws_access_key_id=AKCONF\naws_secret_access_key=HUSHconf\n"
		     "[profile empty]\nregion=x\n");
	key_rig_gives(r, NULL, "AKDEF", "HUSHdef", NULL, "profile 'default' (keys)");
	key_rig_gives(r, "profile=dev", "AKDEV", "HUSHdev", "HUSHtoken", "profile 'dev' (keys)");
	key_rig_gives(r, "profile=conf", "AKCONF", "HUSHconf", NULL, "profile 'conf' (keys)");
	setenv("AWS_PROFILE", "dev", 1);
	key_rig_gives(r, NULL, "AKDEV", "HUSHdev", "HUSHtoken", "profile 'dev' (keys)");
	key_rig_gives(r, "profile=conf", "AKCONF", "HUSHconf", NULL, "profile 'conf' (keys)");
	key_rig_refuses(r, "profile=half", -EACCES, "secret is missing");
	key_rig_refuses(r, "profile=empty", -EACCES, "profile 'empty' names no keys");
	assert_int_equal(key_rig_try(r, "profile=nobody"), -ENOENT);
	assert_non_null(strstr(r->err.msg, "list-profiles"));
	setenv("AWS_PROFILE", "nobody", 1);
	assert_int_equal(key_rig_try(r, NULL), -ENOENT);
	assert_int_equal(key_rig_try(r, "no-sign-request"), 0);
}

static void test_the_order(void **state)
{
	struct key_rig *r = *state;

	key_rig_file(r, ".aws/credentials", files);
	setenv("AWS_PROFILE", "dev", 1);
	setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "HUSH1", 1);
	/* A profile named by option comes before keys of the environment, and leaves them there. */
	key_rig_gives(r, "profile=default", "AKDEF", "HUSHdef", NULL, "profile 'default' (keys)");
	assert_string_equal(getenv("AWS_SECRET_ACCESS_KEY"), "HUSH1");
	key_rig_gives(r, NULL, "AKENV", "HUSH1", NULL, "environment");
}

static void test_other_files(void **state)
{
	struct key_rig *r = *state;
	char opts[300];

	key_rig_file(r, "c1", "[x]\naws_access_key_id=AK1\naws_secret_access_key=HUSH1\n");
	key_rig_file(r, "c2", "[x]\naws_access_key_id=AK2\naws_secret_access_key=HUSH2\n");
	key_rig_file(r, "conf", "[profile x]\nregion=r1\n");
	setenv("AWS_SHARED_CREDENTIALS_FILE", "~/c1", 1);
	setenv("AWS_CONFIG_FILE", key_rig_path(r, "conf"), 1);
	key_rig_gives(r, "profile=x", "AK1", "HUSH1", NULL, "profile 'x' (keys)");
	assert_string_equal(s3_chain_region(r->chain), "r1");
	snprintf(opts, sizeof opts, "profile=x,aws-credentials=%s", key_rig_path(r, "c2"));
	key_rig_gives(r, opts, "AK2", "HUSH2", NULL, "profile 'x' (keys)");
	snprintf(opts, sizeof opts, "aws-config=%s", key_rig_path(r, "none"));
	assert_int_equal(key_rig_try(r, opts), -ENOENT);
	assert_non_null(strstr(r->err.msg, "aws-config"));
	key_rig_file(r, "bad", "[default]\nregion\n");
	snprintf(opts, sizeof opts, "aws-config=%s", key_rig_path(r, "bad"));
	assert_int_equal(key_rig_try(r, opts), -EINVAL);
	assert_non_null(strstr(r->err.msg, "line 2"));
}

static void test_what_else_a_profile_says(void **state)
{
	struct key_rig *r = *state;
	struct s3_chain *c;

	key_rig_file(r, ".aws/config",
		     "[default]\nregion = r-default\nca_bundle = /ca\nendpoint_url = http://all\n"
		     "[profile svc]\nservices = local\nendpoint_url = http://no\n"
		     "[profile nested]\ns3 =\n  endpoint_url = http://nested\n"
		     "[profile off]\nendpoint_url = http://no\n"
		     "ignore_configured_endpoint_urls = true\n"
		     "[services local]\ns3 =\n  endpoint_url = http://s3\nsts =\n"
		     "  endpoint_url = http://sts\n");
	c = key_rig_chain(r, NULL);
	assert_string_equal(s3_chain_region(c), "r-default");
	assert_string_equal(s3_chain_ca_bundle(c), "/ca");
	assert_string_equal(s3_chain_endpoint(c), "http://all");
	assert_string_equal(s3_chain_endpoint(key_rig_chain(r, "profile=svc")), "http://s3");
	assert_string_equal(s3_chain_endpoint(key_rig_chain(r, "profile=nested")), "http://nested");
	assert_null(s3_chain_endpoint(key_rig_chain(r, "profile=off")));
	assert_null(s3_chain_region(r->chain));
	setenv("AWS_DEFAULT_REGION", "r-env2", 1);
	assert_string_equal(s3_chain_region(key_rig_chain(r, NULL)), "r-env2");
	setenv("AWS_REGION", "r-env", 1);
	setenv("AWS_CA_BUNDLE", "/ca-env", 1);
	setenv("AWS_ENDPOINT_URL", "http://env", 1);
	c = key_rig_chain(r, "profile=svc");
	assert_string_equal(s3_chain_region(c), "r-env");
	assert_string_equal(s3_chain_ca_bundle(c), "/ca-env");
	assert_string_equal(s3_chain_endpoint(c), "http://env");
	setenv("AWS_ENDPOINT_URL_S3", "http://env-s3", 1);
	assert_string_equal(s3_chain_endpoint(key_rig_chain(r, NULL)), "http://env-s3");
	setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", 1);
	assert_null(s3_chain_endpoint(key_rig_chain(r, NULL)));
}

static void test_nothing_at_all(void **state)
{
	struct key_rig *r = *state;
	static const char *const parts[] = {
		"AWS_ACCESS_KEY_ID is not set", "AWS_WEB_IDENTITY_TOKEN_FILE is not set",
		"no profile 'default' in",      "AWS_CONTAINER_CREDENTIALS",
		"AWS_EC2_METADATA_DISABLED",    "-o profile=NAME",
		"-o no-sign-request",
	};

	key_rig_refuses(r, NULL, -EACCES, "no access keys found");
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (!strstr(r->err.msg, parts[i]))
			fail_msg("nothing of '%s' in: %s", parts[i], r->err.msg);
}

static void test_not_signed(void **state)
{
	struct key_rig *r = *state;
	bool ageing;

	assert_false(s3_chain_anonymous(key_rig_chain(r, NULL)));
	key_rig_refuses(r, "no-sign-request", -EACCES, "not signed");
	assert_true(s3_chain_anonymous(r->chain));
	assert_null(s3_chain_current(r->chain, &ageing));
}

/* -- processes -------------------------------------------------------------------------------- */

static void command(struct key_rig *r, const char *what)
{
	key_rig_filef(r, ".aws/config", "[default]\ncredential_process = %s\n", what);
}

static void test_process(void **state)
{
	struct key_rig *r = *state;

	key_rig_file(r, "out",
		     "{ \"Version\": 1, \"AccessKeyId\": \"AKP\",\n"
		     " \"SecretAccessKey\": \"HUSH\\u002fP\", \"SessionToken\": \"T\",\n"
		     " \"Expiration\": \"2099-01-01T00:00:00Z\", \"More\": [{}, null] }\n");
	command(r, "cat \"$HOME/out\"");
	key_rig_gives(r, NULL, "AKP", "HUSH/P", "T", "profile 'default' (process)");
	/* It has ended, but what it has started holds the pipe: nobody waits for that. */
	command(r, "sleep 100 & echo $! >$HOME/pid; cat $HOME/out");
	key_rig_gives(r, NULL, "AKP", "HUSH/P", "T", "profile 'default' (process)");
	command(r, "pid=$(cat $HOME/pid); cat $HOME/out; kill $pid");
	key_rig_gives(r, NULL, "AKP", "HUSH/P", "T", "profile 'default' (process)");
}

/* Libraries open descriptors that would be inherited; what runs has none of them. */
static void test_process_has_no_descriptors(void **state)
{
	struct key_rig *r = *state;
	int fd = fcntl(STDIN_FILENO, F_DUPFD, 100);

	assert_true(fd >= 100);
	key_rig_file(r, "out",
		     "{\"Version\":1,\"AccessKeyId\":\"AKP\",\"SecretAccessKey\":\"HUSH/P\"}");
	key_rig_filef(r, ".aws/config",
		      "[default]\ncredential_process = test ! -e /proc/$$/fd/%d && cat $HOME/out\n",
		      fd);
	key_rig_gives(r, NULL, "AKP", "HUSH/P", NULL, "profile 'default' (process)");
	close(fd);
}

static void test_processes_that_fail(void **state)
{
	struct key_rig *r = *state;
	static const struct {
		const char *command;
		int code;
		const char *part;
	} cases[] = {
		{ "exit 3", -EACCES, "ended with status 3" },
		{ "kill -9 $$", -EACCES, "ended by signal 9" },
		{ "no-such-program-at-all 2>/dev/null", -EACCES, "status 127" },
		{ "echo HUSH", -EBADMSG, "no JSON of version 1" },
		{ "true", -EBADMSG, "no JSON of version 1" },
		{ "echo '{\"Version\":2}'", -EBADMSG, "version" },
		{ "echo '{\"Version\":1}'", -EACCES, "missing" },
		{ "echo '{\"Version\":1,\"AccessKeyId\":{}}'", -EBADMSG, "no JSON" },
		{ "echo '{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\","
		  "\"Expiration\":\"2020-01-01T00:00:00Z\"}'",
		  -EACCES, "have expired" },
		{ "echo '{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\","
		  "\"Expiration\":\"tomorrow\"}'",
		  -EBADMSG, "is no time" },
		{ "head -c 100000 /dev/zero", -EFBIG, "more than 65536 bytes" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		command(r, cases[i].command);
		key_rig_refuses(r, NULL, cases[i].code, cases[i].part);
	}
}

static void test_process_that_does_not_end(void **state)
{
	struct key_rig *r = *state;
	const char *pid_path = key_rig_path(r, "pid");
	int pid = 0;
	FILE *f;

	command(r, "echo $$ >$HOME/pid; sleep 1000 & wait");
	key_rig_chain(r, NULL);
	r->chain->process_ns = NSEC_PER_SEC;
	key_rig_fails(r, NULL, -ETIMEDOUT, "more than 1 s");
	f = fopen(pid_path, "re");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &pid), 1);
	fclose(f);
	assert_int_equal(kill(pid, 0), -1); /* ended, and waited for */
	assert_int_equal(errno, ESRCH);
}

static void test_cancelled(void **state)
{
	struct key_rig *r = *state;
	atomic_bool cancel = true;

	command(r, "sleep 1000");
	key_rig_chain(r, NULL);
	assert_int_equal(s3_chain_fetch(r->chain, NULL, &cancel, &r->err), -ECANCELED);
}

/* -- freshness -------------------------------------------------------------------------------- */

#define NOON 1600000000

/* A process that counts its runs and gives keys for an hour. */
static void counting_process(struct key_rig *r)
{
	key_rig_file(r, "runs", "");
	command(r,
		"echo >>$HOME/runs; n=$(wc -l <$HOME/runs); echo \"{\\\"Version\\\":1,"
		"\\\"AccessKeyId\\\":\\\"AK$n\\\",\\\"SecretAccessKey\\\":\\\"HUSH$n\\\","
		"\\\"Expiration\\\":\\\"$(cat $HOME/until)\\\"}\"");
}

static bool is_ageing(struct key_rig *r)
{
	bool ageing;

	s3_credentials_put(s3_chain_current(r->chain, &ageing));
	return ageing;
}

static void test_fetched_ahead_of_the_end(void **state)
{
	struct key_rig *r = *state;
	bool ageing = true;

	counting_process(r);
	key_rig_file(r, "until", "2020-09-13T13:26:40Z"); /* NOON and an hour */
	key_rig_clock(NOON);
	key_rig_chain(r, NULL);
	assert_null(s3_chain_current(r->chain, &ageing));
	key_rig_fetch(r, NULL);
	key_rig_has(r, "AK1", "HUSH1", NULL);
	assert_false(is_ageing(r));
	key_rig_clock(NOON + 2800);
	assert_false(is_ageing(r));
	key_rig_fetch(r, NULL); /* not needed */
	key_rig_has(r, "AK1", "HUSH1", NULL);
	key_rig_clock(NOON + 2880); /* a fifth of the life is left */
	assert_true(is_ageing(r));
	key_rig_has(r, "AK1", "HUSH1", NULL);
	key_rig_clock(NOON + 3550); /* of no use for another minute */
	assert_null(s3_chain_current(r->chain, &ageing));
	assert_true(ageing);
	key_rig_file(r, "until", "2020-09-14T12:26:40Z"); /* a day */
	key_rig_fetch(r, NULL);
	key_rig_has(r, "AK2", "HUSH2", NULL);
	assert_false(is_ageing(r));
	key_rig_clock(NOON + 86400 - 1801);
	assert_false(is_ageing(r));
	key_rig_clock(NOON + 86400 - 1800);
	assert_true(is_ageing(r));
}

/* Who keeps keys until their end gives some that have less than a minute: they are good all the same. */
static void test_short_lives(void **state)
{
	struct key_rig *r = *state;
	bool ageing;

	counting_process(r);
	key_rig_file(r, "until", "2020-09-13T12:27:25Z"); /* NOON and 45 seconds */
	key_rig_clock(NOON);
	key_rig_chain(r, NULL);
	key_rig_fetch(r, NULL);
	key_rig_has(r, "AK1", "HUSH1", NULL);
	assert_false(is_ageing(r));
	key_rig_clock(NOON + 30);
	assert_null(s3_chain_current(r->chain, &ageing));
	key_rig_fetch(r, NULL);
	key_rig_has(r, "AK2", "HUSH2", NULL);
	assert_false(is_ageing(r));
}

/* A snapshot outlives what took its place. */
static void test_once_after_a_refusal(void **state)
{
	struct key_rig *r = *state;
	struct s3_credentials *first;
	bool ageing;

	counting_process(r);
	key_rig_file(r, "until", "2099-01-01T00:00:00Z");
	key_rig_chain(r, NULL);
	key_rig_fetch(r, NULL);
	first = s3_chain_current(r->chain, &ageing);
	key_rig_fetch(r, "AK1");
	key_rig_has(r, "AK2", "HUSH2", NULL);
	key_rig_fetch(r, "AK1"); /* others of before are refused late: nothing to do */
	key_rig_has(r, "AK2", "HUSH2", NULL);
	assert_string_equal(first->secret_key, "HUSH1");
	s3_credentials_put(first);
}

static void test_refused_and_nothing_newer(void **state)
{
	struct key_rig *r = *state;

	key_rig_file(r, ".aws/credentials", files);
	key_rig_chain(r, NULL);
	key_rig_fetch(r, NULL);
	key_rig_fails(r, "AKDEF", -EACCES, "renew them there");
	/* Somebody has: files are read again. */
	key_rig_file(r, ".aws/credentials",
		     "[default]\naws_access_key_id=AKNEW\naws_secret_access_key=HUSHnew\n");
	key_rig_fetch(r, "AKDEF");
	key_rig_has(r, "AKNEW", "HUSHnew", NULL);
	setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "HUSH1", 1);
	key_rig_chain(r, NULL);
	key_rig_fetch(r, NULL);
	key_rig_fails(r, "AKENV", -EACCES, "mount again");
}

/* Many who want keys one after another do not wait for as many failures. */
static void test_failure_is_for_all(void **state)
{
	struct key_rig *r = *state;

	counting_process(r);
	command(r, "echo >>$HOME/runs; sleep 0.5; exit $(($(wc -l <$HOME/runs) + 5))");
	key_rig_chain(r, NULL);
	for (unsigned i = 0; i < 20; i++)
		key_rig_fails(r, NULL, -EACCES, "ended with status 6");
}

static void *fetch_thread(void *arg)
{
	struct key_rig *r = arg;
	struct vmofs_err err = VMOFS_ERR_INIT;

	return s3_chain_fetch(r->chain, NULL, NULL, &err) == 0 ? NULL : r;
}

static void test_many_ask_one_fetches(void **state)
{
	struct key_rig *r = *state;
	pthread_t threads[8];
	void *result;

	counting_process(r);
	key_rig_file(r, "until", "2099-01-01T00:00:00Z");
	key_rig_chain(r, NULL);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fetch_thread, r), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
	key_rig_has(r, "AK1", "HUSH1", NULL);
}

/* -- memory ----------------------------------------------------------------------------------- */

/* What the kernel says of one mapping. */
struct mapping {
	unsigned long from, to;
	char rights[5];
	bool dumped;
};

static bool next_mapping(FILE *f, struct mapping *m)
{
	char line[4096];
	bool head = false;

	while (fgets(line, sizeof line, f)) {
		struct mapping now = { 0 };

		if (sscanf(line, "%lx-%lx %4s", &now.from, &now.to, now.rights) == 3) {
			*m = now;
			head = true;
		}
		if (head && !strncmp(line, "VmFlags:", 8)) {
			m->dumped = !strstr(line, " dd") && !strstr(line, " io");
			return true;
		}
	}
	return false;
}

/* How often @secret is in memory that a core file would have. Nothing here makes a copy of it. */
static unsigned copies_in_core(const char *secret, size_t n)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned found = 0;
	struct mapping m;

	assert_non_null(f);
	while (next_mapping(f, &m)) {
		const char *p = (const char *)m.from, *end = (const char *)m.to;

		if (!m.dumped || m.rights[0] != 'r' || m.rights[1] != 'w')
			continue;
		for (; (p = memmem(p, (size_t)(end - p), secret, n)); p++)
			found++;
	}
	fclose(f);
	return found;
}

/* Forty random hexadecimal digits, nowhere but in secret memory. */
static char *random_secret(void)
{
	char *text = secret_alloc(41);

	assert_int_equal(getrandom(text, 40, 0), 40);
	for (int i = 0; i < 40; i++)
		text[i] = "0123456789abcdef"[text[i] & 15];
	return text;
}

/* Writes it without the copy that a stream would keep. */
static void write_secret(struct key_rig *r, const char *name, const char *before,
			 const char *secret, const char *after)
{
	int fd;

	key_rig_file(r, name, before);
	fd = open(key_rig_path(r, name), O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_true(write(fd, secret, 40) == 40);
	assert_true(write(fd, after, strlen(after)) == (ssize_t)strlen(after));
	close(fd);
}

static void sign_something(struct key_rig *r)
{
	const struct sigv4_request q = {
		.method = "GET", .host = "h", .path = "/", .payload = SIGV4_EMPTY
	};
	const struct sigv4_scope scope = { "us-east-1", "s3", NOON };
	struct sigv4_lines lines;
	bool ageing;
	struct s3_credentials *k = s3_chain_current(r->chain, &ageing);

	assert_int_equal(sigv4_sign(k, &scope, &q, &lines), 0);
	sigv4_clear(&lines);
	s3_credentials_put(k);
}

static void look_everywhere(struct key_rig *r)
{
	char *secret = random_secret(), *token = random_secret(), *copy = strdup(secret);

	assert_true(copies_in_core(secret, 40) >= 1); /* what is looked for would be found */
	explicit_bzero(copy, 40);
	free(copy);
	assert_int_equal(copies_in_core(secret, 40), 0);

	write_secret(r, ".aws/credentials",
		     "[default]\naws_access_key_id=AK\naws_secret_access_key=", secret, "\n");
	key_rig_chain(r, NULL);
	key_rig_fetch(r, NULL);
	sign_something(r);
	assert_int_equal(copies_in_core(secret, 40), 0);

	remove(key_rig_path(r, ".aws/credentials"));
	write_secret(r, "out", "{\"Version\":1,\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"",
		     token, "\"}");
	command(r, "cat $HOME/out");
	key_rig_chain(r, NULL);
	key_rig_fetch(r, NULL);
	sign_something(r);
	assert_int_equal(copies_in_core(token, 40), 0);

	setenv("AWS_ACCESS_KEY_ID", "AK", 1);
	setenv("AWS_SECRET_ACCESS_KEY", secret, 1);
	assert_int_equal(copies_in_core(secret, 40), 1);
	key_rig_chain(r, NULL);
	key_rig_fetch(r, NULL);
	sign_something(r);
	assert_int_equal(copies_in_core(secret, 40), 0);
	secret_free(secret);
	secret_free(token);
}

/* A sanitizer keeps freed memory, and has mappings without end. */
#ifdef VMOFS_SANITIZED
static const bool sanitized = true;
#else
static const bool sanitized;
#endif

static void test_no_secret_in_a_core_file(void **state)
{
	if (sanitized)
		skip();
	look_everywhere(*state);
}

static void test_snapshots(void **state UNUSED)
{
	struct s3_credentials *k = s3_credentials_new("A", "B", "", 7);

	assert_null(k->token);
	assert_int_equal(k->expires, 7);
	assert_ptr_equal(s3_credentials_get(k), k);
	s3_credentials_put(k);
	assert_string_equal(k->secret_key, "B");
	s3_credentials_put(k);
	s3_credentials_put(NULL);
}

#define RIG_TEST(f) cmocka_unit_test_setup_teardown(f, key_rig_setup, key_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_no_secret_in_a_core_file), /* first: the heap is still young */
		RIG_TEST(test_environment),
		RIG_TEST(test_half_an_environment),
		RIG_TEST(test_profiles),
		RIG_TEST(test_the_order),
		RIG_TEST(test_other_files),
		RIG_TEST(test_what_else_a_profile_says),
		RIG_TEST(test_nothing_at_all),
		RIG_TEST(test_not_signed),
		RIG_TEST(test_process),
		RIG_TEST(test_process_has_no_descriptors),
		RIG_TEST(test_processes_that_fail),
		RIG_TEST(test_process_that_does_not_end),
		RIG_TEST(test_cancelled),
		RIG_TEST(test_fetched_ahead_of_the_end),
		RIG_TEST(test_short_lives),
		RIG_TEST(test_failure_is_for_all),
		RIG_TEST(test_once_after_a_refusal),
		RIG_TEST(test_refused_and_nothing_newer),
		RIG_TEST(test_many_ask_one_fetches),
		cmocka_unit_test(test_snapshots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
