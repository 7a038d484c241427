/* SPDX-License-Identifier: Apache-2.0 */
/* See <vmofs/xattrs.h>. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <vmofs/xattrs.h>

#include "base/little.h"

enum { LEN_BYTES = 4 };

struct vmofs_xattrs vmofs_xattrs_none = { .refs = 1 };

/* The attribute at @at of @len bytes: where it ends, or 0. */
static size_t parse(const uint8_t *p, size_t len, size_t at, struct vmofs_xattr *out)
{
	const uint8_t *end = memchr(p + at, 0, len - at);
	size_t left;

	if (!end || end == p + at || (size_t)(end - p) - at > VMOFS_XATTR_NAME_MAX)
		return 0;
	left = len - (size_t)(end + 1 - p);
	if (left < LEN_BYTES || get32(end + 1) > left - LEN_BYTES)
		return 0;
	out->name = (const char *)p + at;
	out->len = get32(end + 1);
	out->value = end + 1 + LEN_BYTES;
	return (size_t)(end + 1 - p) + LEN_BYTES + out->len;
}

static bool is_among(const uint8_t *p, size_t len, const char *name)
{
	struct vmofs_xattr a;

	for (size_t at = 0; at < len; at = parse(p, len, at, &a))
		if (!strcmp((const char *)p + at, name))
			return true;
	return false;
}

int vmofs_xattrs_check(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	struct vmofs_xattr a;
	size_t next;

	if (len > VMOFS_XATTRS_MAX)
		return -E2BIG;
	for (size_t at = 0; at < len; at = next) {
		next = parse(p, len, at, &a);
		if (!next || is_among(p, at, a.name))
			return -EBADMSG;
	}
	return 0;
}

static struct vmofs_xattrs *alloc(size_t len)
{
	struct vmofs_xattrs *x = malloc(sizeof *x + len);

	if (x) {
		atomic_init(&x->refs, 1);
		x->len = (uint32_t)len;
	}
	return x;
}

int vmofs_xattrs_new(struct vmofs_xattrs **out, const void *bytes, size_t len)
{
	int r = vmofs_xattrs_check(bytes, len);

	if (r < 0)
		return r;
	*out = alloc(len);
	if (!*out)
		return -ENOMEM;
	if (len)
		memcpy((*out)->bytes, bytes, len);
	return 0;
}

struct vmofs_xattrs *vmofs_xattrs_get(struct vmofs_xattrs *x)
{
	if (x)
		atomic_fetch_add(&x->refs, 1);
	return x;
}

void vmofs_xattrs_put(struct vmofs_xattrs *x)
{
	if (x && atomic_fetch_sub(&x->refs, 1) == 1)
		free(x);
}

bool vmofs_xattrs_next(const struct vmofs_xattrs *x, uint32_t *at, struct vmofs_xattr *out)
{
	if (!x || *at >= x->len)
		return false;
	*at = (uint32_t)parse(x->bytes, x->len, *at, out);
	return true;
}

bool vmofs_xattrs_find(const struct vmofs_xattrs *x, const char *name, struct vmofs_xattr *out)
{
	uint32_t at = 0;

	while (vmofs_xattrs_next(x, &at, out))
		if (!strcmp(out->name, name))
			return true;
	return false;
}

static size_t size_of(const struct vmofs_xattr *a)
{
	return strlen(a->name) + 1 + LEN_BYTES + a->len;
}

static uint8_t *append(uint8_t *p, const struct vmofs_xattr *a)
{
	size_t n = strlen(a->name) + 1;

	memcpy(p, a->name, n);
	put32(p + n, a->len);
	if (a->len)
		memcpy(p + n + LEN_BYTES, a->value, a->len);
	return p + size_of(a);
}

/* All but @name. */
static uint8_t *append_others(uint8_t *p, const struct vmofs_xattrs *x, const char *name)
{
	struct vmofs_xattr a;
	uint32_t at = 0;

	while (vmofs_xattrs_next(x, &at, &a))
		if (strcmp(a.name, name) != 0)
			p = append(p, &a);
	return p;
}

int vmofs_xattrs_with(const struct vmofs_xattrs *x, const struct vmofs_xattr *a,
		      enum vmofs_xattrs_how how, struct vmofs_xattrs **out)
{
	struct vmofs_xattr old;
	bool there = vmofs_xattrs_find(x, a->name, &old);
	size_t len = (x ? x->len : 0) - (there ? size_of(&old) : 0);

	if (!a->name[0] || strlen(a->name) > VMOFS_XATTR_NAME_MAX)
		return -ERANGE;
	if (there && how == VMOFS_XATTRS_CREATE)
		return -EEXIST;
	if (!there && how == VMOFS_XATTRS_REPLACE)
		return -ENODATA;
	if (a->len > VMOFS_XATTRS_MAX || len + size_of(a) > VMOFS_XATTRS_MAX)
		return -ENOSPC;
	*out = alloc(len + size_of(a));
	if (!*out)
		return -ENOMEM;
	append(append_others((*out)->bytes, x, a->name), a);
	return 0;
}

int vmofs_xattrs_without(const struct vmofs_xattrs *x, const char *name, struct vmofs_xattrs **out)
{
	struct vmofs_xattr old;

	if (!vmofs_xattrs_find(x, name, &old))
		return -ENODATA;
	*out = alloc(x->len - size_of(&old));
	if (!*out)
		return -ENOMEM;
	append_others((*out)->bytes, x, name);
	return 0;
}
