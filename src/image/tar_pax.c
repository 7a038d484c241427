/* SPDX-License-Identifier: Apache-2.0 */
/* Pax records. Strict about their form, which says where each begins, and about the values that are used. */
#include "image/tar_pax.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/macros.h"
#include "image/tar_stream.h"

#define SCHILY_XATTR     "SCHILY.xattr."
#define LIBARCHIVE_XATTR "LIBARCHIVE.xattr."

/* A record that is looked at. */
struct record {
	char *key; /* ends in a zero */
	size_t key_len;
	char *value; /* does not */
	size_t len;
};

void tar_pax_clear(struct tar_pax *x)
{
	struct layer_xattr *xattrs = x->xattrs;
	unsigned cap = x->cap_xattrs;

	*x = (struct tar_pax){ .xattrs = xattrs, .cap_xattrs = cap };
}

void tar_pax_release(struct tar_pax *x)
{
	free(x->xattrs);
	*x = (struct tar_pax){ 0 };
}

/* Digits only, up to @max. */
static bool read_decimal(const char *p, size_t n, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (n == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		if (v > (max - (uint64_t)(p[i] - '0')) / 10)
			return false;
		v = 10 * v + (uint64_t)(p[i] - '0');
	}
	*out = v;
	return true;
}

/* "[-]SECONDS[.FRACTION]"; finer than nanoseconds is cut off, before the epoch as well. */
static bool read_time(const char *p, size_t n, int64_t *sec, uint32_t *nsec)
{
	bool negative = n > 0 && p[0] == '-';
	const char *end = p + n, *dot;
	uint64_t s = 0;
	uint32_t frac = 0, unit = 100000000;

	p += negative;
	dot = memchr(p, '.', (size_t)(end - p));
	if (!read_decimal(p, (size_t)((dot ? dot : end) - p), INT64_MAX, &s))
		return false;
	for (p = dot ? dot + 1 : end; p < end; p++, unit /= 10) {
		if (*p < '0' || *p > '9')
			return false;
		frac += (uint32_t)(*p - '0') * unit;
	}
	*sec = negative ? -(int64_t)s - (frac != 0) : (int64_t)s;
	*nsec = negative && frac ? 1000000000 - frac : frac;
	return true;
}

/* -- attributes ------------------------------------------------------------------------------- */

static struct layer_xattr *xattr_slot(struct tar_pax *x, const char *name, size_t len)
{
	for (unsigned i = 0; i < x->n_xattrs; i++)
		if (x->xattrs[i].name_len == len && memcmp(x->xattrs[i].name, name, len) == 0)
			return &x->xattrs[i];
	if (x->n_xattrs == x->cap_xattrs) {
		unsigned cap = x->cap_xattrs ? 2 * x->cap_xattrs : 8;
		struct layer_xattr *more = realloc(x->xattrs, cap * sizeof *more);

		if (!more)
			return NULL;
		x->xattrs = more;
		x->cap_xattrs = cap;
	}
	return &x->xattrs[x->n_xattrs++];
}

static int add_xattr(struct tar_pax *x, const char *name, size_t name_len, const char *value,
		     size_t len, struct vmofs_err *err)
{
	struct layer_xattr *slot;

	if (name_len == 0 || name_len > XATTR_NAME_MAX)
		return vmofs_err_set(err, -EBADMSG, "the name of an attribute has %zu bytes",
				     name_len);
	if (len > XATTR_SIZE_MAX)
		return vmofs_err_set(err, -EBADMSG, "the attribute '%s' has %zu bytes", name, len);
	if (x->n_xattrs == TAR_XATTRS_MAX)
		return vmofs_err_set(err, -EBADMSG, "more than %u attributes", TAR_XATTRS_MAX);
	slot = xattr_slot(x, name, name_len);
	if (!slot)
		return vmofs_err_set(err, -ENOMEM, "no memory for attributes");
	*slot = (struct layer_xattr){ name, name_len, value, len };
	return 0;
}

/* "%41" is "A", in place; the new length, or -1. What would be a zero is refused. */
static ssize_t unescape(char *p, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] == '%') {
			int hi = i + 2 < n ? hex_value(p[i + 1]) : -1;
			int lo = i + 2 < n ? hex_value(p[i + 2]) : -1;

			if (hi < 0 || lo < 0 || (hi | lo) == 0)
				return -1;
			p[out++] = (char)(16 * hi + lo);
			i += 2;
		} else {
			p[out++] = p[i];
		}
	}
	return (ssize_t)out;
}

static int digit_of_base64(char c)
{
	return c >= 'A' && c <= 'Z'    ? c - 'A'
		: c >= 'a' && c <= 'z' ? c - 'a' + 26
		: c >= '0' && c <= '9' ? c - '0' + 52
		: c == '+'             ? 62
		: c == '/'             ? 63
				       : -1;
}

/* In place; the new length, or -1. libarchive writes no padding. */
static ssize_t unbase64(char *p, size_t n)
{
	uint32_t v = 0;
	unsigned bits = 0;
	size_t out = 0;

	while (n > 0 && p[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++) {
		int d = digit_of_base64(p[i]);

		if (d < 0)
			return -1;
		v = v << 6 | (uint32_t)d;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			p[out++] = (char)(v >> bits);
		}
	}
	return (ssize_t)out;
}

/* Raw values. An empty one is a value too: GNU tar and star write what the file had. */
static int take_schily_xattr(struct tar_pax *x, struct record *r, struct vmofs_err *err)
{
	size_t skip = strlen(SCHILY_XATTR);

	return add_xattr(x, r->key + skip, r->key_len - skip, r->value, r->len, err);
}

static int take_libarchive_xattr(struct tar_pax *x, struct record *r, struct vmofs_err *err)
{
	char *name = r->key + strlen(LIBARCHIVE_XATTR);
	ssize_t name_len = unescape(name, r->key_len - strlen(LIBARCHIVE_XATTR));
	ssize_t len = unbase64(r->value, r->len);

	if (name_len < 0 || len < 0)
		return vmofs_err_set(err, -EBADMSG, "a damaged '%s' record", r->key);
	name[name_len] = '\0';
	return add_xattr(x, name, (size_t)name_len, r->value, (size_t)len, err);
}

static int refuse_sparse(struct tar_pax *x UNUSED, struct record *r, struct vmofs_err *err)
{
	return vmofs_err_set(err, -EBADMSG, "a sparse file ('%s'), which layers must not have",
			     r->key);
}

/* -- the rest --------------------------------------------------------------------------------- */

static int bad_value(const struct record *r, struct vmofs_err *err)
{
	return vmofs_err_set(err, -EBADMSG, "the pax record '%s' has a bad value", r->key);
}

/* The value is there (1), or is empty and takes back what was said before (0). */
static int note_flag(struct tar_pax *x, const struct record *r, unsigned flag)
{
	x->has &= ~flag;
	x->no &= ~flag;
	if (r->len)
		x->has |= flag;
	else
		x->no |= flag;
	return r->len != 0;
}

static int take_path(struct tar_pax *x, struct record *r, struct vmofs_err *err)
{
	if (memchr(r->value, '\0', r->len))
		return bad_value(r, err);
	note_flag(x, r, TAR_PAX_PATH);
	x->path = r->value;
	x->path_len = r->len;
	return 0;
}

static int take_linkpath(struct tar_pax *x, struct record *r, struct vmofs_err *err)
{
	if (memchr(r->value, '\0', r->len))
		return bad_value(r, err);
	note_flag(x, r, TAR_PAX_LINKPATH);
	x->linkpath = r->value;
	x->linkpath_len = r->len;
	return 0;
}

static int take_size(struct tar_pax *x, struct record *r, struct vmofs_err *err)
{
	if (note_flag(x, r, TAR_PAX_SIZE) && !read_decimal(r->value, r->len, INT64_MAX, &x->size))
		return bad_value(r, err);
	return 0;
}

static int take_uid(struct tar_pax *x, struct record *r, struct vmofs_err *err)
{
	if (note_flag(x, r, TAR_PAX_UID) && !read_decimal(r->value, r->len, UINT32_MAX, &x->uid))
		return bad_value(r, err);
	return 0;
}

static int take_gid(struct tar_pax *x, struct record *r, struct vmofs_err *err)
{
	if (note_flag(x, r, TAR_PAX_GID) && !read_decimal(r->value, r->len, UINT32_MAX, &x->gid))
		return bad_value(r, err);
	return 0;
}

static int take_mtime(struct tar_pax *x, struct record *r, struct vmofs_err *err)
{
	if (note_flag(x, r, TAR_PAX_MTIME) &&
	    !read_time(r->value, r->len, &x->mtime, &x->mtime_nsec))
		return bad_value(r, err);
	return 0;
}

/* A key, or what it begins with where that ends in a dot. hdrcharset needs nothing: names are bytes here anyway. */
static const struct {
	const char *key;
	int (*take)(struct tar_pax *x, struct record *r, struct vmofs_err *err);
} keys[] = {
	{ "path", take_path },
	{ "linkpath", take_linkpath },
	{ "size", take_size },
	{ "uid", take_uid },
	{ "gid", take_gid },
	{ "mtime", take_mtime },
	{ SCHILY_XATTR, take_schily_xattr },
	{ LIBARCHIVE_XATTR, take_libarchive_xattr },
	{ "GNU.sparse.", refuse_sparse },
	{ "SCHILY.realsize", refuse_sparse },
	{ "SUN.holesdata", refuse_sparse },
};

static bool key_is(const char *key, const struct record *r)
{
	size_t n = strlen(key);

	if (key[n - 1] == '.')
		return r->key_len >= n && memcmp(r->key, key, n) == 0;
	return r->key_len == n && memcmp(r->key, key, n) == 0;
}

/* The record at @p; its length, or 0 where it is damaged. */
static size_t read_record(char *p, size_t left, struct record *r)
{
	char *space = memchr(p, ' ', MIN(left, 20));
	uint64_t len;
	char *equals;

	if (!space || !read_decimal(p, (size_t)(space - p), left, &len))
		return 0;
	/* "N K=\n" at least */
	if (len < (size_t)(space - p) + 4 || p[len - 1] != '\n')
		return 0;
	r->key = space + 1;
	equals = memchr(r->key, '=', (size_t)(p + len - 1 - r->key));
	if (!equals || equals == r->key || memchr(r->key, '\0', (size_t)(equals - r->key)))
		return 0;
	*equals = '\0';
	r->key_len = (size_t)(equals - r->key);
	r->value = equals + 1;
	r->len = (size_t)(p + len - 1 - r->value);
	return (size_t)len;
}

int tar_pax_parse(struct tar_pax *x, char *p, size_t len, struct vmofs_err *err)
{
	size_t at = 0;

	while (at < len) {
		struct record r = { 0 };
		size_t n = read_record(p + at, len - at, &r);
		int e = 0;

		if (n == 0)
			return vmofs_err_set(err, -EBADMSG,
					     "a damaged pax header, at byte %zu of it", at);
		for (size_t i = 0; i < ARRAY_LEN(keys) && e == 0; i++)
			if (key_is(keys[i].key, &r)) {
				e = keys[i].take(x, &r, err);
				break;
			}
		if (e < 0)
			return e;
		at += n;
	}
	return 0;
}
