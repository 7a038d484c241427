/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing x-amz-meta-xattr. Written is what s3fs writes, for the names that it can have: it knows no escapes, so a
 * quote, a comma or a colon in a name is lost on it. Read is that, with white space and escapes, and nothing else. Any thread.
 */
#include "s3/s3_xattrs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/hex.h"
#include "base/macros.h"

/* -- writing ---------------------------------------------------------------------------------- */

/* A byte of a name may become six of JSON, each of them three of the header; three of a value become four. */
static size_t room_for(const struct vmofs_xattrs *x)
{
	return 3 * (2 + 6 * (size_t)x->len + 8) + 1;
}

static char *put_byte(char *p, unsigned char c)
{
	static const char digits[] = "0123456789ABCDEF";
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-_.~";

	if (c && strchr(plain, c)) {
		*p++ = (char)c;
		return p;
	}
	*p++ = '%';
	*p++ = digits[c >> 4];
	*p++ = digits[c & 15];
	return p;
}

static char *put_text(char *p, const char *text)
{
	while (*text)
		p = put_byte(p, (unsigned char)*text++);
	return p;
}

static char *put_name(char *p, const char *name)
{
	char escaped[8];

	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		if (c < 0x20) {
			snprintf(escaped, sizeof escaped, "\\u%04x", c);
			p = put_text(p, escaped);
			continue;
		}
		if (c == '"' || c == '\\')
			p = put_byte(p, '\\');
		p = put_byte(p, c);
	}
	return p;
}

char *s3_xattrs_encode(const struct vmofs_xattrs *x)
{
	char *base64 = malloc(4 * (((size_t)x->len + 2) / 3) + 1);
	char *text = malloc(room_for(x));
	struct vmofs_xattr a;
	uint32_t at = 0;
	char *p = text;

	if (!base64 || !text) {
		free(base64);
		free(text);
		return NULL;
	}
	p = put_byte(p, '{');
	for (unsigned i = 0; vmofs_xattrs_next(x, &at, &a); i++) {
		if (i)
			p = put_byte(p, ',');
		digest_base64(a.value, a.len, base64);
		p = put_name(put_byte(p, '"'), a.name);
		p = put_text(put_text(p, "\":\""), base64);
		p = put_byte(p, '"');
	}
	*put_byte(p, '}') = '\0';
	free(base64);
	return text;
}

/* -- reading ---------------------------------------------------------------------------------- */

struct reader {
	const char *p, *end;
};

/* In place of @n bytes what they stand for. Returns how many that are, or -EBADMSG. */
static int64_t unescape(char *text, const char *value, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		if (value[i] != '%') {
			text[len++] = value[i];
			continue;
		}
		if (n - i < 3 || hex_value(value[i + 1]) < 0 || hex_value(value[i + 2]) < 0)
			return -EBADMSG;
		text[len++] = (char)(hex_value(value[i + 1]) << 4 | hex_value(value[i + 2]));
		i += 2;
	}
	return (int64_t)len;
}

static void skip_space(struct reader *r)
{
	while (r->p < r->end && *r->p && strchr(" \t\r\n", *r->p))
		r->p++;
}

static bool take(struct reader *r, char c)
{
	skip_space(r);
	if (r->p == r->end || *r->p != c)
		return false;
	r->p++;
	return true;
}

/* Behind "\u". Of one byte, not zero: names are bytes, and s3fs escapes nothing. -1: it is not that. */
static int take_code(struct reader *r)
{
	int v = 0;

	if (r->end - r->p < 4)
		return -1;
	for (unsigned i = 0; i < 4; i++) {
		int d = hex_value(*r->p++);

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v && v < 0x80 ? v : -1;
}

/* Behind a backslash. */
static int take_escaped(struct reader *r)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at;

	if (r->p == r->end || !*r->p)
		return -1;
	if (*r->p == 'u') {
		r->p++;
		return take_code(r);
	}
	at = strchr(from, *r->p++);
	return at ? to[at - from] : -1;
}

/* A string into @out, ended by a zero, which none has inside. Its length, or -EBADMSG. */
static int64_t take_string(struct reader *r, char *out, size_t cap)
{
	size_t n = 0;

	if (!take(r, '"'))
		return -EBADMSG;
	while (r->p < r->end && *r->p != '"') {
		int c = (unsigned char)*r->p++;

		if (c == '\\')
			c = take_escaped(r);
		if (c <= 0 || n + 1 >= cap)
			return -EBADMSG;
		out[n++] = (char)c;
	}
	if (r->p == r->end)
		return -EBADMSG;
	r->p++;
	out[n] = '\0';
	return (int64_t)n;
}

/* "name": "base64", added to *@set. */
static int take_pair(struct reader *r, struct vmofs_xattrs **set, char *text, size_t cap)
{
	char name[VMOFS_XATTR_NAME_MAX + 1];
	uint8_t value[VMOFS_XATTRS_MAX];
	struct vmofs_xattrs *more = NULL;
	struct vmofs_xattr a = { .name = name, .value = value };
	int64_t n = take_string(r, name, sizeof name);
	int e;

	if (n <= 0 || !take(r, ':'))
		return -EBADMSG;
	n = take_string(r, text, cap);
	if (n > (int64_t)((sizeof value + 2) / 3 * 4))
		return -E2BIG;
	e = n < 0 ? -EBADMSG : digest_unbase64(text, (size_t)n, value, sizeof value);
	if (e < 0)
		return -EBADMSG;
	a.len = (uint32_t)e;
	e = vmofs_xattrs_with(*set, &a, VMOFS_XATTRS_CREATE, &more);
	if (e < 0)
		return e == -ENOSPC ? -E2BIG : e == -EEXIST ? -EBADMSG : e;
	vmofs_xattrs_put(*set);
	*set = more;
	return 0;
}

static int take_all(struct reader *r, struct vmofs_xattrs **set, char *text, size_t cap)
{
	int e = take(r, '{') ? 0 : -EBADMSG;
	bool empty = e == 0 && take(r, '}');

	if (e < 0)
		return e;
	while (!empty && e == 0) {
		e = take_pair(r, set, text, cap);
		if (e == 0 && take(r, '}'))
			break;
		if (e == 0 && !take(r, ','))
			e = -EBADMSG;
	}
	skip_space(r);
	return e == 0 && r->p != r->end ? -EBADMSG : e;
}

int s3_xattrs_decode(const char *value, size_t n, struct vmofs_xattrs **out)
{
	struct vmofs_xattrs *set;
	struct reader r;
	char *json, *text;
	int64_t e;

	if (n > S3_XATTRS_TEXT_MAX)
		return -E2BIG;
	set = vmofs_xattrs_get(&vmofs_xattrs_none);
	json = malloc(n + 1);
	text = malloc(n + 1);
	e = json && text ? unescape(json, value, n) : -ENOMEM;
	if (e >= 0) {
		r = (struct reader){ json, json + e };
		e = take_all(&r, &set, text, n + 1);
	}
	free(json);
	free(text);
	if (e < 0) {
		vmofs_xattrs_put(set);
		return (int)e;
	}
	*out = set;
	return 0;
}
