/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment variables of the AWS tools, read once. Secrets among them are moved: the process's
 * environment is ordinary memory, and lasts. Set-up path.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/secret.h"
#include "s3/credentials_private.h"

static const struct {
	const char *name;
	const char *older; /* another name for it, NULL: none */
	bool secret;
} variables[] = {
	[S3_ENV_ACCESS_KEY] = { "AWS_ACCESS_KEY_ID", NULL, false },
	[S3_ENV_SECRET_KEY] = { "AWS_SECRET_ACCESS_KEY", NULL, true },
	[S3_ENV_TOKEN] = { "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", true },
	[S3_ENV_PROFILE] = { "AWS_PROFILE", "AWS_DEFAULT_PROFILE", false },
	[S3_ENV_CONFIG_FILE] = { "AWS_CONFIG_FILE", NULL, false },
	[S3_ENV_CREDENTIALS_FILE] = { "AWS_SHARED_CREDENTIALS_FILE", NULL, false },
	[S3_ENV_REGION] = { "AWS_REGION", NULL, false },
	[S3_ENV_DEFAULT_REGION] = { "AWS_DEFAULT_REGION", NULL, false },
	[S3_ENV_CA_BUNDLE] = { "AWS_CA_BUNDLE", NULL, false },
	[S3_ENV_ENDPOINT] = { "AWS_ENDPOINT_URL", NULL, false },
	[S3_ENV_ENDPOINT_S3] = { "AWS_ENDPOINT_URL_S3", NULL, false },
	[S3_ENV_ENDPOINT_STS] = { "AWS_ENDPOINT_URL_STS", NULL, false },
	[S3_ENV_ENDPOINT_SSO] = { "AWS_ENDPOINT_URL_SSO", NULL, false },
	[S3_ENV_IGNORE_ENDPOINTS] = { "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", NULL, false },
	[S3_ENV_ROLE_ARN] = { "AWS_ROLE_ARN", NULL, false },
	[S3_ENV_ROLE_SESSION] = { "AWS_ROLE_SESSION_NAME", NULL, false },
	[S3_ENV_WEB_TOKEN_FILE] = { "AWS_WEB_IDENTITY_TOKEN_FILE", NULL, false },
	[S3_ENV_CONTAINER_RELATIVE] = { "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", NULL, false },
	[S3_ENV_CONTAINER_FULL] = { "AWS_CONTAINER_CREDENTIALS_FULL_URI", NULL, false },
	[S3_ENV_CONTAINER_TOKEN] = { "AWS_CONTAINER_AUTHORIZATION_TOKEN", NULL, true },
	[S3_ENV_CONTAINER_TOKEN_FILE] = { "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", NULL, false },
	[S3_ENV_IMDS_DISABLED] = { "AWS_EC2_METADATA_DISABLED", NULL, false },
	[S3_ENV_IMDS_ENDPOINT] = { "AWS_EC2_METADATA_SERVICE_ENDPOINT", NULL, false },
	[S3_ENV_IMDS_MODE] = { "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", NULL, false },
	[S3_ENV_HOME] = { "HOME", NULL, false },
};
_Static_assert(ARRAY_LEN(variables) == S3_NENVS, "one row per variable");

static char *hidden[S3_NENVS]; /* secret memory; set-up paths of a process come one after another */

const char *s3_environment_name(enum s3_env e)
{
	return variables[e].name;
}

void s3_environment_forget(void)
{
	for (unsigned i = 0; i < S3_NENVS; i++) {
		secret_free(hidden[i]);
		hidden[i] = NULL;
	}
}

/* Takes the value of one name out of the environment; false: no memory. */
static bool take_variable(enum s3_env e, const char *name, bool hide, char **out)
{
	char *value = name ? getenv(name) : NULL;

	if (!value || !*value || *out)
		return true;
	*out = secret_copy(value, strlen(value));
	if (!*out || !hide || !variables[e].secret)
		return *out != NULL;
	secret_free(hidden[e]);
	hidden[e] = secret_copy(value, strlen(value));
	explicit_bzero(value, strlen(value));
	return hidden[e] != NULL;
}

static bool recall_variable(enum s3_env e, char **out)
{
	if (*out || !hidden[e])
		return true;
	*out = secret_copy(hidden[e], strlen(hidden[e]));
	return *out != NULL;
}

int s3_environment_read(char *env[S3_NENVS], bool hide)
{
	for (unsigned i = 0; i < S3_NENVS; i++)
		if (!take_variable(i, variables[i].name, hide, &env[i]) ||
		    !take_variable(i, variables[i].older, hide, &env[i]) ||
		    !recall_variable(i, &env[i]))
			return -ENOMEM;
	return 0;
}

void s3_environment_release(char *env[S3_NENVS])
{
	for (unsigned i = 0; i < S3_NENVS; i++) {
		secret_free(env[i]);
		env[i] = NULL;
	}
}

int s3_from_environment(struct s3_fetch *f, struct s3_credentials **out)
{
	char **env = f->c->env;
	struct s3_key_texts t = { env[S3_ENV_ACCESS_KEY], env[S3_ENV_SECRET_KEY], env[S3_ENV_TOKEN],
				  NULL };

	if (!t.access_key && !t.secret_key)
		return s3_fetch_skip(f, "environment: AWS_ACCESS_KEY_ID is not set");
	if (!t.access_key || !t.secret_key)
		return vmofs_err_set(f->err, -EINVAL, "%s is set, but %s is not; set both or none",
				     t.access_key ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
				     t.access_key ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
	return s3_fetch_keys(f, &t, out, "environment");
}
