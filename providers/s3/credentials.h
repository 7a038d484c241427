/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where access keys come from, in the order of the AWS tools, and how they stay fresh. A snapshot is
 * immutable and counted; it lives in locked memory that core dumps leave out, and is cleared by
 * the last put. Nothing here prints a secret, or puts one into an error.
 *
 *   environment (not when a profile is named by option) > profile named by option or AWS_PROFILE: assume
 *   role (source_profile or credential_source), web identity, sso, keys, process >
 *   AWS_WEB_IDENTITY_TOKEN_FILE > profile "default" > container endpoint > IMDSv2
 *
 * A source that is not set up gives way to the next; one that is and fails ends the search. The
 * environment is read once, by s3_chain_new(); files are read again for each fetch.
 */
#ifndef PROVIDERS_S3_CREDENTIALS_H
#define PROVIDERS_S3_CREDENTIALS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <vmofs/provider.h>

#include "net/http_settings.h"

struct s3_credentials {
	const char *access_key;
	const char *secret_key;
	const char *token; /* NULL: none */
	time_t expires;    /* seconds since 1970, 0: never */
	atomic_uint refs;
};
/* @token may be NULL or "". NULL: no memory. */
struct s3_credentials *s3_credentials_new(const char *access_key, const char *secret_key,
					  const char *token, time_t expires);
struct s3_credentials *s3_credentials_get(struct s3_credentials *c);
void s3_credentials_put(struct s3_credentials *c); /* NULL is fine */

struct s3_chain;

/*
 * Options: profile, aws-config (shared config file), aws-credentials, no-sign-request. @settings:
 * proxy and certificates for STS and SSO; what answers on the machine itself (container endpoints,
 * IMDS) is asked directly. NULL: s3_chain_use() follows. Reads files, asks nobody.
 */
int s3_chain_new(struct s3_chain **out, const struct vmofs_config *config,
		 struct http_settings *settings, struct vmofs_err *err);
/* Other settings, before the first fetch: those may depend on s3_chain_ca_bundle(). */
void s3_chain_use(struct s3_chain *c, struct http_settings *settings);
void s3_chain_free(struct s3_chain *c);
bool s3_chain_anonymous(const struct s3_chain *c); /* nothing is signed */
/*
 * What the environment, then the profile say of these; NULL: nothing. The endpoint: AWS_ENDPOINT_URL_S3,
 * AWS_ENDPOINT_URL, endpoint_url of s3 in the profile's services, the profile's endpoint_url.
 */
const char *s3_chain_region(const struct s3_chain *c);
const char *s3_chain_endpoint(const struct s3_chain *c);
const char *s3_chain_ca_bundle(const struct s3_chain *c);

/*
 * What is known and good for another minute at least, with a reference; NULL: s3_chain_fetch() first. Any
 * thread, never blocks. Sets *ageing when it is time to fetch in the background (half an hour, or a
 * fifth of the life, before the end).
 */
struct s3_credentials *s3_chain_current(struct s3_chain *c, bool *ageing);
/*
 * Fetches anew where the last ones are not good for long, or are those that @refused names (the access
 * key of a request that was refused as expired; NULL: none). One at a time; blocks. The error says
 * which sources were tried and why each gave nothing, and what to do.
 */
int s3_chain_fetch(struct s3_chain *c, const char *refused, const atomic_bool *cancel,
		   struct vmofs_err *err);
/* "environment", "profile 'x' (sso)", ... into @out: of the last fetch, for people; "" before. */
void s3_chain_source_name(struct s3_chain *c, char *out, size_t cap);

/* Rows for the provider's table. */
#define S3_CREDENTIAL_OPTIONS                                                                      \
	{ "profile", "NAME", NULL, "profile of the AWS configuration files to use" },              \
		{ "aws-config", "FILE", NULL, "AWS configuration file instead of ~/.aws/config" }, \
		{ "aws-credentials", "FILE", NULL,                                                 \
		  "AWS credentials file instead of ~/.aws/credentials" },                          \
	{                                                                                          \
		"no-sign-request", NULL, NULL,                                                     \
			"do not sign requests: only what everybody may read is seen"               \
	}

#endif
