/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsers of what hands out access keys: JSON of processes, SSO, containers and IMDS, XML of STS. Pure
 * functions on (pointer, length); all that may be secret goes from the bytes straight to secret memory, which
 * is why JSON is read here and not by a library with a heap of its own. Any thread.
 */
#ifndef PROVIDERS_S3_CREDENTIALS_PARSE_H
#define PROVIDERS_S3_CREDENTIALS_PARSE_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define S3_JSON_DEPTH_MAX 32

/*
 * The string, or the text of the number, at @path ("a.b": member b of member a of the outermost
 * object; keys with dots cannot be named), in secret memory. -ENOENT: there is none, or it is null;
 * -EINVAL: this is no JSON object, or something else stands there; -ENOMEM.
 */
int s3_json_text(const char *p, size_t n, const char *path, char **out);

/* An answer of STS; all in secret memory, NULL: not there. */
struct s3_sts_answer {
	char *access_key;
	char *secret_key;
	char *token;
	char *expires;
	char *code; /* of an error */
	char *message;
};
/* 0, -EINVAL: no XML, or with a document type; -ENOMEM. @out may be partly filled all the same. */
int s3_sts_parse(const char *p, size_t n, struct s3_sts_answer *out);
void s3_sts_release(struct s3_sts_answer *a);

/* "2020-06-17T10:02:08Z", with a fraction, an offset or "UTC"; -EINVAL. */
int s3_parse_time(const char *text, time_t *out);

#endif
