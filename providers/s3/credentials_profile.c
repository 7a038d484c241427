/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys by way of a profile: a role with the keys of another profile or source, a web identity, single
 * sign-on, keys that stand in a file, a process. The thread that fetches.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "s3/credentials_private.h"

/* -- keys in a file --------------------------------------------------------------------------- */

static bool has_keys(struct s3_fetch *f, const char *profile)
{
	return s3_fetch_setting(f, profile, "aws_access_key_id") ||
		s3_fetch_setting(f, profile, "aws_secret_access_key");
}

static int from_keys(struct s3_fetch *f, const char *profile, struct s3_credentials **out)
{
	struct s3_key_texts t = { s3_fetch_setting(f, profile, "aws_access_key_id"),
				  s3_fetch_setting(f, profile, "aws_secret_access_key"),
				  s3_fetch_setting(f, profile, "aws_session_token"), NULL };

	return s3_fetch_keys(f, &t, out, "profile '%s' (keys)", profile);
}

/* -- roles ------------------------------------------------------------------------------------ */

static struct s3_role role_of(struct s3_fetch *f, const char *profile, const char *how)
{
	return (struct s3_role){
		.profile = profile,
		.arn = s3_fetch_setting(f, profile, "role_arn"),
		.session = s3_fetch_setting(f, profile, "role_session_name"),
		.external_id = s3_fetch_setting(f, profile, "external_id"),
		.duration = s3_fetch_setting(f, profile, "duration_seconds"),
		.token_file = s3_fetch_setting(f, profile, "web_identity_token_file"),
		.how = how,
	};
}

static int from_credential_source(struct s3_fetch *f, const char *profile, const char *name,
				  struct s3_credentials **out)
{
	static const struct {
		const char *name;
		int (*from)(struct s3_fetch *f, struct s3_credentials **out);
	} sources[] = {
		{ "Environment", s3_from_environment },
		{ "Ec2InstanceMetadata", s3_from_imds },
		{ "EcsContainer", s3_from_container },
	};
	int r;

	for (unsigned i = 0; i < ARRAY_LEN(sources); i++) {
		if (strcmp(name, sources[i].name))
			continue;
		f->tried[0] = '\0';
		r = sources[i].from(f, out);
		if (r == -ENODATA)
			r = vmofs_err_set(f->err, -EACCES,
					  "profile '%s': its credential_source has no keys: %s",
					  profile, f->tried);
		return r;
	}
	return vmofs_err_set(f->err, -EINVAL,
			     "profile '%s': unknown credential_source '%s'; there are Environment, "
			     "Ec2InstanceMetadata and EcsContainer",
			     profile, name);
}

static int resolve(struct s3_fetch *f, const char *profile, bool as_source,
		   struct s3_credentials **out);

static int from_source_profile(struct s3_fetch *f, const char *profile, const char *source,
			       struct s3_credentials **out)
{
	int r;

	if (!aws_config_has(&f->config, AWS_SECTION_PROFILE, source) &&
	    !aws_config_has(&f->credentials, AWS_SECTION_PROFILE, source))
		return vmofs_err_set(f->err, -ENOENT,
				     "profile '%s': its source_profile '%s' is not in '%s' or '%s'",
				     profile, source, f->c->config_path, f->c->credentials_path);
	r = resolve(f, source, true, out);
	if (r == -ENODATA)
		r = vmofs_err_set(f->err, -EACCES,
				  "profile '%s': its source_profile '%s' has no keys", profile,
				  source);
	return r;
}

static int from_role(struct s3_fetch *f, const char *profile, struct s3_credentials **out)
{
	const char *source = s3_fetch_setting(f, profile, "source_profile");
	const char *named = s3_fetch_setting(f, profile, "credential_source");
	struct s3_role role = role_of(f, profile, "role");
	struct s3_credentials *with = NULL;
	int r;

	if (source && named)
		return vmofs_err_set(
			f->err, -EINVAL,
			"profile '%s' has both source_profile and credential_source; one is to go",
			profile);
	if (s3_fetch_has(f, profile, "mfa_serial"))
		return vmofs_err_set(
			f->err, -EACCES,
			"profile '%s' needs a one-time code (mfa_serial), for which a "
			"mount cannot ask; `aws configure export-credentials --profile "
			"%s` gives keys for the environment",
			profile, profile);
	r = source ? from_source_profile(f, profile, source, &with)
		   : from_credential_source(f, profile, named, &with);
	if (r == 0)
		r = s3_assume_role(f, &role, with, out);
	s3_credentials_put(with);
	return r;
}

static int from_web_role(struct s3_fetch *f, const char *profile, struct s3_credentials **out)
{
	struct s3_role role = role_of(f, profile, "web identity");

	if (!role.arn)
		return vmofs_err_set(f->err, -EINVAL,
				     "profile '%s' has web_identity_token_file, but no role_arn",
				     profile);
	return s3_assume_role_web(f, &role, out);
}

static int role_without_source(struct s3_fetch *f, const char *profile,
			       struct s3_credentials **out UNUSED)
{
	return vmofs_err_set(f->err, -EINVAL,
			     "profile '%s' has role_arn, but neither source_profile, "
			     "credential_source nor web_identity_token_file",
			     profile);
}

static int from_command(struct s3_fetch *f, const char *profile, struct s3_credentials **out)
{
	const char *command = s3_fetch_setting(f, profile, "credential_process");

	return command ? s3_from_process(f, profile, command, out) : -ENOMEM;
}

/* -- which of them ---------------------------------------------------------------------------- */

static int resolve_kind(struct s3_fetch *f, const char *profile, bool as_source,
			struct s3_credentials **out)
{
	bool role = s3_fetch_has(f, profile, "role_arn");
	bool keys = has_keys(f, profile);
	const struct {
		bool is;
		int (*from)(struct s3_fetch *f, const char *profile, struct s3_credentials **out);
	} kinds[] = {
		{ as_source && keys, from_keys },
		{ role &&
			  (s3_fetch_has(f, profile, "source_profile") ||
			   s3_fetch_has(f, profile, "credential_source")),
		  from_role },
		{ s3_fetch_has(f, profile, "web_identity_token_file"), from_web_role },
		{ s3_fetch_has(f, profile, "sso_session") ||
			  s3_fetch_has(f, profile, "sso_start_url"),
		  s3_from_sso },
		{ keys, from_keys },
		{ s3_fetch_has(f, profile, "credential_process"), from_command },
		{ role, role_without_source },
	};

	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].is)
			return kinds[i].from(f, profile, out);
	return s3_fetch_skip(f, "profile '%s' names no keys, role, sso or process", profile);
}

static int circle(struct s3_fetch *f, const char *profile)
{
	char way[300] = "";
	size_t len = 0;

	for (unsigned i = 0; i < f->nprofiles && len < sizeof way; i++)
		len += (size_t)snprintf(way + len, sizeof way - len, "'%s' > ", f->profiles[i]);
	return vmofs_err_set(f->err, -ELOOP, "source_profile goes in a circle: %s'%s'", way,
			     profile);
}

/* @as_source: another profile's role is assumed with it, and keys in it come before a role of its own. */
static int resolve(struct s3_fetch *f, const char *profile, bool as_source,
		   struct s3_credentials **out)
{
	int r;

	if (!as_source || !has_keys(f, profile))
		for (unsigned i = 0; i < f->nprofiles; i++)
			if (!strcmp(f->profiles[i], profile))
				return circle(f, profile);
	if (f->nprofiles == S3_PROFILES_MAX)
		return vmofs_err_set(f->err, -ELOOP, "more than %d profiles by source_profile",
				     S3_PROFILES_MAX);
	f->profiles[f->nprofiles++] = profile;
	r = resolve_kind(f, profile, as_source, out);
	f->nprofiles--;
	return r;
}

int s3_from_profile(struct s3_fetch *f, const char *profile, struct s3_credentials **out)
{
	return resolve(f, profile, false, out);
}
