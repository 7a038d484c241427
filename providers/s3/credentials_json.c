/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One value out of a JSON document, in one pass over all of it, without a tree. The document must be
 * well-formed as far as its structure goes. Any thread.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "base/secret.h"
#include "s3/credentials_parse.h"

struct json {
	const char *p;
	const char *end;
	char *found; /* secret memory, NULL: not yet */
	bool wrong;  /* what stands there is no text and no number */
};

static void skip_blanks(struct json *j)
{
	while (j->p < j->end && strchr(" \t\r\n", *j->p) && *j->p)
		j->p++;
}

static bool take(struct json *j, char c)
{
	skip_blanks(j);
	if (j->p == j->end || *j->p != c)
		return false;
	j->p++;
	return true;
}

/* -- strings ---------------------------------------------------------------------------------- */

/* Moves to behind the closing quote; [*from, *to) is what is between. */
static bool scan_string(struct json *j, const char **from, const char **to)
{
	if (!take(j, '"'))
		return false;
	*from = j->p;
	for (; j->p < j->end && *j->p != '"'; j->p++) {
		if ((unsigned char)*j->p < ' ')
			return false;
		if (*j->p == '\\' && ++j->p == j->end)
			return false;
	}
	if (j->p == j->end)
		return false;
	*to = j->p++;
	return true;
}

/* The value of four hexadecimal digits at @p, -1: they are none. */
static int32_t hex4(const char *p, const char *end)
{
	int32_t v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		static const char digits[] = "0123456789abcdef0123456789ABCDEF";
		const char *d = p[i] ? strchr(digits, p[i]) : NULL;

		if (!d)
			return -1;
		v = v << 4 | ((d - digits) & 15);
	}
	return v;
}

static char *put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		*out++ = (char)c;
	} else if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
		*out++ = (char)(0x80 | (c & 63));
	} else if (c < 0x10000) {
		*out++ = (char)(0xe0 | c >> 12);
		*out++ = (char)(0x80 | (c >> 6 & 63));
		*out++ = (char)(0x80 | (c & 63));
	} else {
		*out++ = (char)(0xf0 | c >> 18);
		*out++ = (char)(0x80 | (c >> 12 & 63));
		*out++ = (char)(0x80 | (c >> 6 & 63));
		*out++ = (char)(0x80 | (c & 63));
	}
	return out;
}

/* What follows "\u" at *@p; -1: no character, or the zero, which no text here has. */
static int32_t unicode_escape(const char **p, const char *end)
{
	int32_t c = hex4(*p, end);
	int32_t low;

	if (c <= 0 || (c >= 0xdc00 && c < 0xe000))
		return -1;
	*p += 4;
	if (c < 0xd800 || c > 0xdbff)
		return c;
	if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
		return -1;
	low = hex4(*p + 2, end);
	if (low < 0xdc00 || low > 0xdfff)
		return -1;
	*p += 6;
	return 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
}

/* Decodes [p, end) into @out, which has room for as many bytes and a zero. */
static int decode_string(const char *p, const char *end, char *out)
{
	static const char codes[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";

	while (p < end) {
		const char *code;
		int32_t c;

		if (*p == '\0')
			return -EINVAL;
		if (*p != '\\') {
			*out++ = *p++;
			continue;
		}
		p++;
		code = strchr(codes, *p);
		if (*p == 'u') {
			p++;
			c = unicode_escape(&p, end);
			if (c < 0)
				return -EINVAL;
			out = put_utf8(out, (uint32_t)c);
		} else if (code && *p) {
			*out++ = values[code - codes];
			p++;
		} else {
			return -EINVAL;
		}
	}
	*out = '\0';
	return 0;
}

/* The last of several of one name counts. */
static int keep_string(struct json *j, const char *from, const char *to)
{
	char *text = secret_alloc((size_t)(to - from) + 1);
	int r = text ? decode_string(from, to, text) : -ENOMEM;

	if (r < 0) {
		secret_free(text);
		return r;
	}
	secret_free(j->found);
	j->found = text;
	return 0;
}

/* -- values ----------------------------------------------------------------------------------- */

static int any_value(struct json *j, const char *path, unsigned depth);

/* What of @path is left below member [from, to), NULL: it is not on the path. "": it is the one. */
static const char *path_below(const char *path, const char *from, const char *to)
{
	size_t n = (size_t)(to - from);

	if (!path || !*path || strncmp(path, from, n) || memchr(from, 0, n))
		return NULL;
	if (path[n] == '.')
		return path + n + 1;
	return path[n] ? NULL : path + n;
}

static int object(struct json *j, const char *path, unsigned depth)
{
	if (take(j, '}'))
		return 0;
	do {
		const char *from, *to;
		int r;

		if (!scan_string(j, &from, &to) || !take(j, ':'))
			return -EINVAL;
		r = any_value(j, path_below(path, from, to), depth + 1);
		if (r < 0)
			return r;
	} while (take(j, ','));
	return take(j, '}') ? 0 : -EINVAL;
}

static int array(struct json *j, unsigned depth)
{
	if (take(j, ']'))
		return 0;
	do {
		int r = any_value(j, NULL, depth + 1);

		if (r < 0)
			return r;
	} while (take(j, ','));
	return take(j, ']') ? 0 : -EINVAL;
}

/* A number, true, false or null; of these only a number has a text. */
static int word(struct json *j, bool wanted)
{
	static const char *const words[] = { "true", "false", "null" };
	const char *from = j->p;
	size_t n;

	while (j->p < j->end && *j->p && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *j->p))
		j->p++;
	n = (size_t)(j->p - from);
	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		if (n == strlen(words[i]) && !memcmp(from, words[i], n)) {
			j->wrong |= wanted && i < 2;
			return 0;
		}
	if (n == 0 || !strchr("-0123456789", from[0]))
		return -EINVAL;
	return wanted ? keep_string(j, from, j->p) : 0;
}

/* @path NULL: not wanted, "": this one. */
static int any_value(struct json *j, const char *path, unsigned depth)
{
	bool wanted = path && !*path;
	const char *from, *to;

	if (depth > S3_JSON_DEPTH_MAX)
		return -EINVAL;
	skip_blanks(j);
	if (j->p == j->end)
		return -EINVAL;
	if (*j->p == '"') {
		if (!scan_string(j, &from, &to))
			return -EINVAL;
		return wanted ? keep_string(j, from, to) : 0;
	}
	if (*j->p != '{' && *j->p != '[')
		return word(j, wanted);
	j->wrong |= wanted;
	return *j->p++ == '{' ? object(j, path, depth) : array(j, depth);
}

int s3_json_text(const char *p, size_t n, const char *path, char **out)
{
	struct json j = { .p = p, .end = p + n };
	int r = -EINVAL;

	*out = NULL;
	if (take(&j, '{'))
		r = object(&j, path, 1);
	skip_blanks(&j);
	if (r == 0 && (j.p != j.end || (j.wrong && !j.found)))
		r = -EINVAL;
	if (r == 0 && !j.found)
		r = -ENOENT;
	if (r == 0)
		*out = steal_ptr(&j.found);
	secret_free(j.found);
	return r;
}

/* -- times ------------------------------------------------------------------------------------ */

/* "Z", "UTC" or "+00:00" as minutes east of it. */
static int parse_zone(const char *text, int *minutes)
{
	int h, m, n = 0;

	*minutes = 0;
	if (!strcmp(text, "Z") || !strcmp(text, "UTC"))
		return 0;
	if ((text[0] != '+' && text[0] != '-') || sscanf(text + 1, "%2d:%2d%n", &h, &m, &n) != 2 ||
	    n != 5 || text[6] || h < 0 || m < 0)
		return -EINVAL;
	*minutes = (h * 60 + m) * (text[0] == '-' ? -1 : 1);
	return 0;
}

int s3_parse_time(const char *text, time_t *out)
{
	struct tm tm = { 0 };
	int n = 0, zone;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &n) != 6 ||
	    n != 19 || tm.tm_mon < 1 || tm.tm_mon > 12)
		return -EINVAL;
	if (text[n] == '.')
		n += 1 + (int)strspn(text + n + 1, "0123456789");
	if (parse_zone(text + n, &zone) < 0)
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	*out = timegm(&tm) - zone * 60;
	return 0;
}
