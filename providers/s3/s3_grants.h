/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what with an object: from an answer of the server's to lines of a request. Pure, no locks, any thread. */
#ifndef PROVIDERS_S3_GRANTS_H
#define PROVIDERS_S3_GRANTS_H

#include <stdbool.h>
#include <stddef.h>

enum { S3_RIGHTS = 5, S3_GRANTS_LINE = 2048 };

struct s3_grants {
	char line[S3_RIGHTS][S3_GRANTS_LINE]; /* values of the headers; "": none */
	bool others;                          /* there are more than the owner's full control */
	bool groups;                          /* some are everybody's, or a group's */
};

/* With those of @groups, or without. 0; -EBADMSG: that is no list, or not all of it can be said in headers; -E2BIG: nor this. */
int s3_grants_parse(struct s3_grants *g, const char *text, size_t n, bool groups);
/* "x-amz-grant-read" ... */
const char *s3_grants_header(unsigned right);

#endif
