/* SPDX-License-Identifier: Apache-2.0 */
/* How a signature is made, step by step, for sigv4.c and for the tests that compare with published vectors. */
#ifndef PROVIDERS_S3_SIGV4_PRIVATE_H
#define PROVIDERS_S3_SIGV4_PRIVATE_H

#include <stdbool.h>

#include "base/digest.h"
#include "s3/sigv4.h"

struct sigv4_dialect {
	bool once;    /* the path is encoded once, and no dot segment is taken out */
	bool content; /* x-amz-content-sha256 goes out and is signed */
};

enum { SIGV4_PAIRS_MAX = 112, SIGV4_OWN_MAX = 8 };

/* All that goes into one signature. The texts of @own are not copied. */
struct sigv4_work {
	struct sigv4_pair own[SIGV4_OWN_MAX]; /* what signing adds to headers or query */
	unsigned nown;
	const struct sigv4_pair *query[SIGV4_PAIRS_MAX]; /* sorted */
	unsigned nquery;
	const struct sigv4_pair *headers[SIGV4_PAIRS_MAX]; /* sorted */
	unsigned nheaders;
	char date[17];
	char scope[200];
	char credential[512];
	char expires[12];
	char signed_headers[4096];
	char canonical[2 * SHA256_LEN + 1]; /* SHA-256 of the canonical request */
	char signature[2 * SHA256_LEN + 1];
};

struct sigv4_dialect sigv4_dialect_of(const char *service);
int sigv4_header_form(struct sigv4_work *w, struct sigv4_dialect d, const struct s3_credentials *k,
		      const struct sigv4_scope *scope, const struct sigv4_request *r);
int sigv4_query_form(struct sigv4_work *w, struct sigv4_dialect d, const struct s3_credentials *k,
		     const struct sigv4_scope *scope, const struct sigv4_request *r,
		     unsigned seconds);

#endif
