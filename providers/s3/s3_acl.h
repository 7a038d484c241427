/* SPDX-License-Identifier: Apache-2.0 */
/* The access control list of an object that gets another version, or is copied (s3_acl.c). */
#ifndef PROVIDERS_S3_ACL_H
#define PROVIDERS_S3_ACL_H

#include "s3/s3_op.h"

struct s3_acl {
	struct s3 *s; /* borrowed, as all */
	struct s3_desk *desk;
	const char *key; /* full */
	const struct vmofs_change_wait *wait;
	struct s3_op *op; /* owned; NULL: not asked, or no memory */
	bool asked;
	bool first;     /* what is asked is whether the bucket has any; nobody knows yet */
	bool given;     /* the props have them */
	bool groups;    /* and some are everybody's */
	int dropped;    /* why, by s3_acl_refused(); 0: they are not */
	bool ungrouped; /* and it was everybody's alone */
	unsigned requests;
};

/* Sends what has to be asked, if anything, and does not wait. All that is given stays until the end. */
void s3_acl_ask(struct s3_acl *a, struct s3 *s, struct s3_desk *d, const char *full_key,
		const struct vmofs_change_wait *wait);
/* Waits, and adds what the next version shall have: 0, -errno. */
int s3_acl_take(struct s3_acl *a, struct s3_props *p, const char *verb, struct vmofs_err *err);
/* The request with these props was refused with @code: true, some or all are taken out, and it is worth another try, up to twice. */
bool s3_acl_refused(struct s3_acl *a, struct s3_props *p, int code);
/* @ok: the version was made. Of zeros nothing. */
void s3_acl_end(struct s3_acl *a, bool ok);

#endif
