/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS Signature Version 4 (the S3 dialect where `service` is "s3": the path is encoded once and not
 * normalised; every other service encodes it again and removes dot segments). Pure functions, any thread.
 * A header signature is good for 15 minutes around its date, for any number of requests that are the
 * same in what is signed: Range and If-Match are not, so one signature serves all reads of an object.
 *
 * Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API Reference.
 */
#ifndef PROVIDERS_S3_SIGV4_H
#define PROVIDERS_S3_SIGV4_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "s3/credentials.h"

#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"
#define SIGV4_EMPTY    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGV4_MAX_AGE  900 /* seconds */

struct sigv4_pair {
	const char *name;
	const char *value;
};

struct sigv4_request {
	const char *method;
	const char *host; /* as it goes out: with the port where it is not the scheme's own */
	const char *path; /* as it goes out, percent-encoded, from the slash */
	const struct sigv4_pair *query; /* not encoded, any order; value NULL as "" */
	unsigned nquery;
	const struct sigv4_pair
		*headers; /* to be signed beside host and x-amz-*; any case and order */
	unsigned nheaders;
	const char *payload; /* hex SHA-256 of the body, or SIGV4_UNSIGNED */
};

struct sigv4_scope {
	const char *region;
	const char *service;
	time_t when; /* of the server's clock */
};

/* Header lines "Name: value" to send beside the request's own. Hold secrets: sigv4_clear() them. */
struct sigv4_lines {
	char authorization[5120];
	char date[40];
	char content[120]; /* x-amz-content-sha256; service s3 only, else "" */
	char *token;       /* owned; x-amz-security-token, NULL: none */
	unsigned n;
	const char *v[4]; /* views of those that are there */
};
int sigv4_sign(const struct s3_credentials *k, const struct sigv4_scope *scope,
	       const struct sigv4_request *r, struct sigv4_lines *out);
void sigv4_clear(struct sigv4_lines *l);

/* The query (with all of @r's pairs, encoded, without "?") that makes a URL good for @seconds. */
int sigv4_presign(const struct s3_credentials *k, const struct sigv4_scope *scope,
		  const struct sigv4_request *r, unsigned seconds, char *out, size_t cap);

/* Percent-encodes all but unreserved characters; @slash: "/" too. Returns the length or -ENAMETOOLONG. */
int sigv4_encode(const char *text, size_t n, int slash, char *out, size_t cap);
/* The query as it goes out: @pairs encoded, in the order given. */
int sigv4_query(const struct sigv4_pair *pairs, unsigned n, char *out, size_t cap);

#endif
