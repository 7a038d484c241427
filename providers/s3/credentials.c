/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access keys as counted snapshots, and the chain that gets them: which sources are asked, in which order,
 * when again. The sources are in credentials_*.c. Any thread; s3_chain_fetch() blocks, one thread at a time,
 * without the chain's lock.
 */
#include "s3/credentials.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/loop.h"
#include "base/macros.h"
#include "base/secret.h"
#include "net/http_settings.h"
#include "s3/credentials_private.h"

#define GOOD_FOR_S         60
#define AGEING_MAX_S       1800
#define CANCEL_INTERVAL_NS (100 * NSEC_PER_MSEC)
#define SLOW_NS            (50 * NSEC_PER_MSEC)
#define FAILED_MAX_NS      (5 * NSEC_PER_SEC)

/* -- snapshots -------------------------------------------------------------------------------- */

struct s3_credentials *s3_credentials_new(const char *access_key, const char *secret_key,
					  const char *token, time_t expires)
{
	size_t na = strlen(access_key) + 1, ns = strlen(secret_key) + 1;
	size_t nt = token && *token ? strlen(token) + 1 : 0;
	struct s3_credentials *c = secret_alloc(sizeof *c + na + ns + nt);
	char *p = (char *)(c + 1);

	if (!c)
		return NULL;
	c->access_key = memcpy(p, access_key, na);
	c->secret_key = memcpy(p + na, secret_key, ns);
	c->token = nt ? memcpy(p + na + ns, token, nt) : NULL;
	c->expires = expires;
	atomic_init(&c->refs, 1);
	return c;
}

struct s3_credentials *s3_credentials_get(struct s3_credentials *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void s3_credentials_put(struct s3_credentials *c)
{
	if (c && atomic_fetch_sub(&c->refs, 1) == 1)
		secret_free(c);
}

/* -- setting up ------------------------------------------------------------------------------- */

static time_t wall_clock(void)
{
	return time(NULL);
}

static char *copy_text(const char *text)
{
	return text ? secret_copy(text, strlen(text)) : NULL;
}

static char *home_directory(const struct s3_chain *c)
{
	const struct passwd *pw;

	if (c->env[S3_ENV_HOME])
		return copy_text(c->env[S3_ENV_HOME]);
	pw = getpwuid(getuid());
	return copy_text(pw ? pw->pw_dir : "/");
}

/* As the option says, else as the environment says ("~/" is the home directory), else in ~/.aws. */
static char *file_path(const struct s3_chain *c, const char *option, enum s3_env variable,
		       const char *name)
{
	const char *given = option ? option : c->env[variable];
	char path[4096];

	if (given && strncmp(given, "~/", 2))
		return copy_text(given);
	if (given)
		snprintf(path, sizeof path, "%s/%s", c->home, given + 2);
	else
		snprintf(path, sizeof path, "%s/.aws/%s", c->home, name);
	return copy_text(path);
}

static int take_options(struct s3_chain *c, const struct vmofs_config *config)
{
	const char *profile = config_str(config, "profile");

	c->anonymous = config_bool(config, "no-sign-request");
	c->by_option = profile != NULL;
	/* A profile named by option is not overridden by keys in the environment, so they stay there. */
	if (s3_environment_read(c->env, !c->by_option && !c->anonymous) < 0)
		return -ENOMEM;
	if (!profile)
		profile = c->env[S3_ENV_PROFILE];
	c->named = profile != NULL;
	c->home = home_directory(c);
	if (!c->home)
		return -ENOMEM;
	c->profile = copy_text(profile ? profile : "default");
	c->config_path =
		file_path(c, config_str(config, "aws-config"), S3_ENV_CONFIG_FILE, "config");
	c->credentials_path = file_path(c, config_str(config, "aws-credentials"),
					S3_ENV_CREDENTIALS_FILE, "credentials");
	return c->profile && c->config_path && c->credentials_path ? 0 : -ENOMEM;
}

/* A file that an option names must be there. */
static int check_named_files(const struct vmofs_config *config, struct vmofs_err *err)
{
	static const char *const options[] = { "aws-config", "aws-credentials" };

	for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
		const char *path = config_str(config, options[i]);

		if (path && access(path, R_OK) < 0)
			return vmofs_err_set(err, -errno, "cannot read '%s' (option '%s'): %s",
					     path, options[i], strerror(errno));
	}
	return 0;
}

static bool profile_exists(const struct s3_fetch *f, const char *profile)
{
	return aws_config_has(&f->config, AWS_SECTION_PROFILE, profile) ||
		aws_config_has(&f->credentials, AWS_SECTION_PROFILE, profile);
}

static int no_such_profile(struct s3_fetch *f, const char *profile)
{
	return vmofs_err_set(f->err, -ENOENT,
			     "there is no profile '%s' in '%s' or '%s'; "
			     "`aws configure list-profiles` shows those that are",
			     profile, f->c->config_path, f->c->credentials_path);
}

static const char *first_of(const char *a, const char *b)
{
	return a ? a : b;
}

/* What a user of the keys may want to know of the profile. */
static int take_profile(struct s3_chain *c, struct s3_fetch *f)
{
	const char *region = first_of(c->env[S3_ENV_REGION], c->env[S3_ENV_DEFAULT_REGION]);
	const char *bundle = c->env[S3_ENV_CA_BUNDLE];

	if (c->named && !c->anonymous && !profile_exists(f, c->profile))
		return no_such_profile(f, c->profile);
	c->region = copy_text(first_of(region, s3_fetch_setting(f, c->profile, "region")));
	c->endpoint = copy_text(s3_fetch_endpoint(f, c->profile, "s3"));
	c->ca_bundle = copy_text(first_of(bundle, s3_fetch_setting(f, c->profile, "ca_bundle")));
	return 0;
}

static int read_profile(struct s3_chain *c, struct vmofs_err *err)
{
	struct s3_fetch f;
	int r = s3_fetch_begin(&f, c, NULL, err);

	if (r == 0)
		r = take_profile(c, &f);
	s3_fetch_end(&f);
	return r;
}

/* For what answers on the machine itself: an empty proxy is none, whatever the environment says. */
static struct http_settings *direct_settings(struct vmofs_err *err)
{
	const struct http_settings_init init = {
		.proxy = "",
		.version = HTTP_VERSION_11,
		.connect_timeout_ns = NSEC_PER_SEC,
		.stall_timeout_ns = 5 * NSEC_PER_SEC,
	};

	return http_settings_new(&init, err);
}

static struct s3_chain *chain_alloc(void)
{
	struct s3_chain *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	mutex_init(&c->lock, LOCK_RANK_KEYS);
	cond_init(&c->changed);
	c->now = wall_clock;
	c->retry_ns = 200 * NSEC_PER_MSEC;
	c->metadata_ns = NSEC_PER_SEC;
	c->metadata_tries = 2;
	c->process_ns = 60 * NSEC_PER_SEC;
	return c;
}

int s3_chain_new(struct s3_chain **out, const struct vmofs_config *config,
		 struct http_settings *settings, struct vmofs_err *err)
{
	struct s3_chain *c = chain_alloc();
	int r = check_named_files(config, err);

	if (r == 0 && (!c || take_options(c, config) < 0))
		r = vmofs_err_set(err, -ENOMEM, "no memory for access keys");
	if (r == 0)
		r = read_profile(c, err);
	if (r == 0) {
		c->direct = direct_settings(err);
		c->settings = settings ? http_settings_get(settings) : NULL;
		r = c->direct ? 0 : err->code;
	}
	if (r < 0)
		s3_chain_free(c);
	else
		*out = c;
	return r;
}

void s3_chain_use(struct s3_chain *c, struct http_settings *settings)
{
	http_settings_put(c->settings);
	c->settings = http_settings_get(settings);
}

void s3_chain_free(struct s3_chain *c)
{
	if (!c)
		return;
	s3_environment_release(c->env);
	secret_free(c->home);
	secret_free(c->config_path);
	secret_free(c->credentials_path);
	secret_free(c->profile);
	secret_free(c->region);
	secret_free(c->endpoint);
	secret_free(c->ca_bundle);
	http_settings_put(c->settings);
	http_settings_put(c->direct);
	s3_credentials_put(c->keys);
	cond_destroy(&c->changed);
	mutex_destroy(&c->lock);
	free(c);
}

bool s3_chain_anonymous(const struct s3_chain *c)
{
	return c->anonymous;
}

const char *s3_chain_region(const struct s3_chain *c)
{
	return c->region;
}

const char *s3_chain_endpoint(const struct s3_chain *c)
{
	return c->endpoint;
}

const char *s3_chain_ca_bundle(const struct s3_chain *c)
{
	return c->ca_bundle;
}

/* -- what is known ---------------------------------------------------------------------------- */

/* What must be left of their life; less where it was short from the beginning. */
static time_t spare_locked(const struct s3_chain *c) REQUIRES(c->lock)
{
	return MIN((c->keys->expires - c->fetched) / 2, GOOD_FOR_S);
}

static bool keys_good_locked(const struct s3_chain *c) REQUIRES(c->lock)
{
	const struct s3_credentials *k = c->keys;

	return k && (k->expires == 0 || k->expires - c->now() >= spare_locked(c));
}

static bool keys_ageing_locked(const struct s3_chain *c) REQUIRES(c->lock)
{
	const struct s3_credentials *k = c->keys;
	time_t ahead;

	if (!k || k->expires == 0)
		return false;
	ahead = MIN((k->expires - c->fetched) / 5, AGEING_MAX_S);
	return k->expires - c->now() <= MAX(ahead, spare_locked(c));
}

struct s3_credentials *s3_chain_current(struct s3_chain *c, bool *ageing)
{
	struct s3_credentials *k = NULL;

	mutex_lock(&c->lock);
	if (keys_good_locked(c))
		k = s3_credentials_get(c->keys);
	*ageing = keys_ageing_locked(c);
	mutex_unlock(&c->lock);
	return k;
}

void s3_chain_source_name(struct s3_chain *c, char *out, size_t cap)
{
	mutex_lock(&c->lock);
	snprintf(out, cap, "%s", c->source);
	mutex_unlock(&c->lock);
}

/* -- the order of sources --------------------------------------------------------------------- */

static int from_named_profile(struct s3_fetch *f, struct s3_credentials **out)
{
	if (!profile_exists(f, f->c->profile))
		return no_such_profile(f, f->c->profile);
	return s3_from_profile(f, f->c->profile, out);
}

static int from_default_profile(struct s3_fetch *f, struct s3_credentials **out)
{
	if (!profile_exists(f, "default"))
		return s3_fetch_skip(f, "no profile 'default' in '%s' or '%s'", f->c->config_path,
				     f->c->credentials_path);
	return s3_from_profile(f, "default", out);
}

static int from_web_identity(struct s3_fetch *f, struct s3_credentials **out)
{
	char **env = f->c->env;
	const struct s3_role role = { .arn = env[S3_ENV_ROLE_ARN],
				      .session = env[S3_ENV_ROLE_SESSION],
				      .token_file = env[S3_ENV_WEB_TOKEN_FILE],
				      .how = "web identity" };

	if (!role.token_file)
		return s3_fetch_skip(f, "web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set");
	if (!role.arn)
		return vmofs_err_set(f->err, -EINVAL,
				     "AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not");
	return s3_assume_role_web(f, &role, out);
}

static int from_any(struct s3_fetch *f, struct s3_credentials **out)
{
	const struct {
		bool asked;
		int (*from)(struct s3_fetch *f, struct s3_credentials **out);
	} sources[] = {
		{ !f->c->by_option, s3_from_environment },
		{ f->c->named, from_named_profile },
		{ true, from_web_identity },
		{ !f->c->named, from_default_profile },
		{ true, s3_from_container },
		{ true, s3_from_imds },
	};
	int r = -ENODATA;

	for (unsigned i = 0; i < ARRAY_LEN(sources) && r == -ENODATA; i++)
		if (sources[i].asked)
			r = sources[i].from(f, out);
	return r;
}

static int nothing_found(const struct s3_fetch *f)
{
	return vmofs_err_set(
		f->err, -EACCES,
		"no access keys found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
		"name a profile (-o profile=NAME), or mount what is public "
		"with -o no-sign-request; tried: %s",
		f->tried);
}

/* -- fetching --------------------------------------------------------------------------------- */

static int fetch_keys(struct s3_chain *c, const atomic_bool *cancel, struct s3_credentials **out,
		      char source[S3_SOURCE_NAME], struct vmofs_err *err)
{
	struct s3_fetch f;
	int r = s3_fetch_begin(&f, c, cancel, err);

	err->code = r;
	if (r == 0)
		r = from_any(&f, out);
	if (r == -ENODATA)
		r = nothing_found(&f);
	else if (r < 0 && err->code == 0)
		vmofs_err_set(err, r, "cannot get access keys: %s", strerror(-r));
	memcpy(source, f.source, S3_SOURCE_NAME);
	s3_fetch_end(&f);
	return r;
}

static bool is_refused(const struct s3_credentials *k, const char *refused)
{
	return refused && k && !strcmp(k->access_key, refused);
}

/* @k is what a fetch gave, and is taken. */
static int accept_locked(struct s3_chain *c, struct s3_credentials *k, const char *source,
			 const char *refused, struct vmofs_err *err) REQUIRES(c->lock)
{
	bool same = is_refused(k, refused);
	struct s3_credentials *old = c->keys;

	c->keys = k;
	c->fetched = c->now();
	snprintf(c->source, sizeof c->source, "%s", source);
	s3_credentials_put(old);
	if (!same)
		return 0;
	return vmofs_err_set(err, -EACCES,
			     "the server refused the keys of %s as expired, and there are no newer "
			     "ones; renew them there%s",
			     source, strcmp(source, "environment") ? "" : " and mount again");
}

/* Those who wait for keys one after another share a failure that was long in coming. */
static void note_failure_locked(struct s3_chain *c, uint64_t start_ns) REQUIRES(c->lock)
{
	uint64_t now = loop_now_ns();

	if (now - start_ns > SLOW_NS)
		c->failed_until_ns = now + MIN(now - start_ns, FAILED_MAX_NS);
}

static bool failed_just_now_locked(const struct s3_chain *c) REQUIRES(c->lock)
{
	return c->failure.code < 0 && c->failure.code != -ECANCELED &&
		loop_now_ns() < c->failed_until_ns;
}

static int fetch_once_locked(struct s3_chain *c, const char *refused, const atomic_bool *cancel,
			     struct vmofs_err *err) REQUIRES(c->lock) NO_TSA
{
	struct s3_credentials *k = NULL;
	char source[S3_SOURCE_NAME];
	uint64_t start = loop_now_ns();
	int r;

	c->fetching = true;
	mutex_unlock(&c->lock);
	r = fetch_keys(c, cancel, &k, source, err);
	mutex_lock(&c->lock);
	if (r == 0)
		r = accept_locked(c, k, source, refused, err);
	c->fetching = false;
	c->generation++;
	c->failure.code = r;
	if (r < 0) {
		c->failure = *err;
		note_failure_locked(c, start);
	}
	cond_broadcast(&c->changed);
	return r;
}

static int fetch_or_fail_locked(struct s3_chain *c, const char *refused, const atomic_bool *cancel,
				struct vmofs_err *err) REQUIRES(c->lock)
{
	if (!failed_just_now_locked(c))
		return fetch_once_locked(c, refused, cancel, err);
	*err = c->failure;
	return err->code;
}

/* Until the fetch of another thread has ended; its failure is ours, a cancelled one is nobody's. */
static int wait_locked(struct s3_chain *c, const atomic_bool *cancel, struct vmofs_err *err)
	REQUIRES(c->lock)
{
	unsigned generation = c->generation;

	while (c->fetching && c->generation == generation) {
		struct timespec now;

		if (cancel && atomic_load(cancel))
			return vmofs_err_set(err, -ECANCELED, "cancelled");
		clock_gettime(CLOCK_MONOTONIC, &now);
		cond_wait_until(&c->changed, &c->lock,
				(uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec +
					CANCEL_INTERVAL_NS);
	}
	if (c->failure.code == 0 || c->failure.code == -ECANCELED)
		return 0;
	*err = c->failure;
	return err->code;
}

int s3_chain_fetch(struct s3_chain *c, const char *refused, const atomic_bool *cancel,
		   struct vmofs_err *err)
{
	int r = 0;

	if (c->anonymous)
		return vmofs_err_set(err, -EACCES,
				     "requests are not signed (option 'no-sign-request')");
	mutex_lock(&c->lock);
	while (c->fetching && r == 0)
		r = wait_locked(c, cancel, err);
	if (r == 0 &&
	    (!keys_good_locked(c) || keys_ageing_locked(c) || is_refused(c->keys, refused)))
		r = fetch_or_fail_locked(c, refused, cancel, err);
	mutex_unlock(&c->lock);
	return r;
}
