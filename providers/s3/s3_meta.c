/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata that s3fs and rclone leave with an object: times, modes, owners, symbolic links. Both use the names
 * x-amz-meta-mode, -uid, -gid, -mtime and differ in how they write them: s3fs a mode in decimal with its type
 * ("33188") and seconds, rclone a mode in octal ("100644") and seconds with a fraction. Pure functions.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "s3/s3_private.h"

static void copy_value(char *out, size_t cap, const char *value, size_t n)
{
	if (n < cap) {
		memcpy(out, value, n);
		out[n] = '\0';
	}
}

/* The largest number is "not known". */
static uint64_t parse_number(const char *p, int base)
{
	char *end;
	unsigned long long v;

	if (p[0] < '0' || p[0] > '9')
		return UINT64_MAX;
	errno = 0;
	v = strtoull(p, &end, base);
	return errno || *end ? UINT64_MAX : v;
}

void s3_head_header(struct s3_head *h, const char *name, const char *value, size_t n)
{
	char text[80];
	int64_t t;

	if (strcasecmp(name, "x-amz-version-id") == 0)
		copy_value(h->version_id, sizeof h->version_id, value, n);
	if (n >= sizeof text && strcasecmp(name, "etag") != 0)
		return;
	if (strcasecmp(name, "x-amz-meta-vmofs-attempt") == 0) {
		copy_value(h->attempt, sizeof h->attempt, value, n);
	} else if (strcasecmp(name, "etag") == 0) {
		copy_value(h->etag, sizeof h->etag, value, n);
	} else if (strcasecmp(name, "content-length") == 0) {
		copy_value(text, sizeof text, value, n);
		h->size = parse_number(text, 10);
	} else if (strcasecmp(name, "last-modified") == 0) {
		if (http_parse_date(value, n, &t) == 0)
			h->mtime = (struct timespec){ .tv_sec = t };
	} else if (strcasecmp(name, "x-amz-meta-mode") == 0) {
		copy_value(h->meta_mode, sizeof h->meta_mode, value, n);
	} else if (strcasecmp(name, "x-amz-meta-uid") == 0) {
		copy_value(h->meta_uid, sizeof h->meta_uid, value, n);
	} else if (strcasecmp(name, "x-amz-meta-gid") == 0) {
		copy_value(h->meta_gid, sizeof h->meta_gid, value, n);
	} else if (strcasecmp(name, "x-amz-meta-mtime") == 0) {
		copy_value(h->meta_mtime, sizeof h->meta_mtime, value, n);
	}
}

/* "1700000000", "1700000000.123456789", and nanoseconds where it is too large for seconds. */
static int parse_mtime(const char *p, struct timespec *out)
{
	char whole[24];
	size_t n = strspn(p, "0123456789");
	uint64_t v;
	long ns = 0;

	if (n == 0 || n >= sizeof whole || (p[n] && p[n] != '.'))
		return -EINVAL;
	memcpy(whole, p, n);
	whole[n] = '\0';
	v = parse_number(whole, 10);
	if (v == UINT64_MAX || v > INT64_MAX)
		return -EINVAL;
	if (v > UINT64_C(1) << 40) {
		*out = (struct timespec){ .tv_sec = (time_t)(v / NSEC_PER_SEC),
					  .tv_nsec = (long)(v % NSEC_PER_SEC) };
		return 0;
	}
	p += n + (p[n] == '.');
	for (unsigned i = 0; i < 9; i++) {
		char c = *p ? *p++ : '0';

		if (c < '0' || c > '9')
			return -EINVAL;
		ns = ns * 10 + c - '0';
	}
	*out = (struct timespec){ .tv_sec = (time_t)v, .tv_nsec = ns };
	return 0;
}

/*
 * What is octal has no digits above 7 and its type, if any, in the sixth: "100644", "120777", "644".
 * 33188 and the like are the decimal ones: as octal they would have no valid type.
 */
static int parse_mode(const char *p, mode_t *out)
{
	uint64_t octal = parse_number(p, 8), decimal = parse_number(p, 10);

	if (octal != UINT64_MAX && octal <= 07777) {
		*out = (mode_t)octal | S_IFREG;
		return 0;
	}
	if (decimal <= 0177777 && (S_ISREG(decimal) || S_ISLNK(decimal) || S_ISDIR(decimal))) {
		*out = (mode_t)decimal;
		return 0;
	}
	if (octal <= 0177777 && (S_ISREG(octal) || S_ISLNK(octal) || S_ISDIR(octal))) {
		*out = (mode_t)octal;
		return 0;
	}
	return -EINVAL;
}

/* Of a directory s3fs writes a decimal one that may have no type; rclone writes none. */
static int parse_dir_mode(const char *p, mode_t *out)
{
	uint64_t decimal = parse_number(p, 10);

	if (decimal > 07777)
		return parse_mode(p, out);
	*out = (mode_t)decimal | S_IFDIR;
	return 0;
}

static bool is_dir(const struct vmofs_entry *e)
{
	return e->key_len && e->key[e->key_len - 1] == '/';
}

void s3_head_apply(const struct s3_head *h, struct vmofs_entry *out)
{
	uint64_t uid = parse_number(h->meta_uid, 10), gid = parse_number(h->meta_gid, 10);

	parse_mtime(h->meta_mtime, &out->mtime);
	if ((is_dir(out) ? parse_dir_mode : parse_mode)(h->meta_mode, &out->mode) == 0)
		out->has |= VMOFS_HAS_MODE;
	if (uid < UINT32_MAX) {
		out->uid = (uid_t)uid;
		out->has |= VMOFS_HAS_UID;
	}
	if (gid < UINT32_MAX) {
		out->gid = (gid_t)gid;
		out->has |= VMOFS_HAS_GID;
	}
}
