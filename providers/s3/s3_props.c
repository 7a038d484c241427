/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata of an object as header lines of the request that makes its next version: S3 has no way to change contents
 * and keep the rest, so what HEAD tells is sent again; access control lists, which it does not tell, are s3_acl.c's. Not kept: locks.
 * Pure functions.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "s3/s3_op.h"
#include "s3/s3_xattrs.h"

#define PROPS_MAX (S3_LINES - 24) /* the others are the request's own */

static const char *const kept[] = {
	"content-type",
	"cache-control",
	"content-disposition",
	"content-encoding",
	"content-language",
	"expires",
	"x-amz-storage-class",
	"x-amz-server-side-encryption",
	"x-amz-server-side-encryption-aws-kms-key-id",
	"x-amz-server-side-encryption-bucket-key-enabled",
	"x-amz-website-redirect-location",
};

void s3_props_add(struct s3_props *p, const char *name, const char *value, size_t n)
{
	size_t len = strlen(name) + 1, need = p->len + len + n + 1;

	if (p->n >= PROPS_MAX)
		p->failed = true;
	if (!p->failed && need > p->cap) {
		char *text = realloc(p->text, 2 * need);

		p->failed = !text;
		p->text = text ? text : p->text;
		p->cap = text ? 2 * need : p->cap;
	}
	if (p->failed)
		return;
	memcpy(p->text + p->len, name, len);
	memcpy(p->text + p->len + len, value, n);
	p->text[need - 1] = '\0';
	p->len = need;
	p->n++;
}

void s3_props_set(struct s3_props *p, const char *name, const char *value)
{
	size_t at = 0;

	while (at < p->len) {
		size_t n = strlen(p->text + at) + 1, all = n + strlen(p->text + at + n) + 1;

		if (strcasecmp(p->text + at, name) == 0) {
			memmove(p->text + at, p->text + at + all, p->len - at - all);
			p->len -= all;
			p->n--;
		} else {
			at += all;
		}
	}
	if (value)
		s3_props_add(p, name, value, strlen(value));
}

const char *s3_props_get(const struct s3_props *p, const char *name)
{
	for (size_t at = 0; at < p->len;) {
		const char *value = p->text + at + strlen(p->text + at) + 1;

		if (strcasecmp(p->text + at, name) == 0)
			return value;
		at = (size_t)(value - p->text) + strlen(value) + 1;
	}
	return NULL;
}

void s3_props_header(struct s3_props *p, const char *name, const char *value, size_t n)
{
	bool keep = strncasecmp(name, "x-amz-meta-", 11) == 0;

	for (size_t i = 0; i < ARRAY_LEN(kept) && !keep; i++)
		keep = strcasecmp(name, kept[i]) == 0;
	if (keep)
		s3_props_add(p, name, value, n);
}

static void set_number(struct s3_props *p, const char *name, unsigned v)
{
	char text[16];

	snprintf(text, sizeof text, "%u", v);
	s3_props_set(p, name, text);
}

static void set_xattrs(struct s3_props *p, const struct vmofs_xattrs *x)
{
	char *text = x->len ? s3_xattrs_encode(x) : NULL;

	s3_props_set(p, S3_XATTRS_HEADER, text);
	p->failed |= x->len && !text;
	free(text);
}

void s3_props_attr(struct s3_props *p, const struct vmofs_change_attr *attr, mode_t type)
{
	char text[48];

	if (!attr)
		return;
	if (attr->has & VMOFS_HAS_MODE)
		set_number(p, "x-amz-meta-mode", (attr->mode & 07777) | type);
	if (attr->has & VMOFS_HAS_UID)
		set_number(p, "x-amz-meta-uid", attr->uid);
	if (attr->has & VMOFS_HAS_GID)
		set_number(p, "x-amz-meta-gid", attr->gid);
	if (attr->mtime.tv_sec) {
		snprintf(text, sizeof text, "%lld.%09ld", (long long)attr->mtime.tv_sec,
			 attr->mtime.tv_nsec);
		s3_props_set(p, "x-amz-meta-mtime", text);
	}
	if (attr->xattrs)
		set_xattrs(p, attr->xattrs);
}

int s3_props_copy(struct s3_props *out, const struct s3_props *p)
{
	*out = (struct s3_props){ .len = p->len, .cap = p->len, .n = p->n, .failed = p->failed };
	out->text = malloc(p->len + 1);
	if (!out->text)
		return -ENOMEM;
	if (p->len > 0)
		memcpy(out->text, p->text, p->len);
	return 0;
}

void s3_props_clear(struct s3_props *p)
{
	free(p->text);
	*p = (struct s3_props){ 0 };
}
