/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References and dates as servers write them on index pages. Every name that comes out is one path
 * component, whatever comes in. Pure functions, any thread.
 */
#include "http/index_text.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/macros.h"

/* -- characters ------------------------------------------------------------------------------- */

static size_t put_utf8(uint32_t c, char *out)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* "#39" or "#x27"; 0: no character. */
static uint32_t numeric_entity(const char *p, size_t n)
{
	uint32_t c = 0;
	bool hex = n > 2 && (p[1] | 0x20) == 'x';

	if (n < 2 || n > 10)
		return 0;
	for (size_t i = hex ? 2 : 1; i < n; i++) {
		int d = hex_value(p[i]);

		if (d < 0 || (!hex && d > 9))
			return 0;
		c = c * (hex ? 16 : 10) + (uint32_t)d;
		if (c > 0x10ffff)
			return 0;
	}
	return c;
}

/* The character of the entity between "&" and ";"; 0: none that is known. */
static uint32_t entity(const char *p, size_t n)
{
	static const struct {
		const char *name;
		uint32_t c;
	} names[] = {
		{ "amp", '&' },   { "lt", '<' },    { "gt", '>' },   { "quot", '"' },
		{ "apos", '\'' }, { "nbsp", 0xa0 }, { "plus", '+' }, { "colon", ':' },
		{ "semi", ';' },  { "comma", ',' }, { "num", '#' },  { "percnt", '%' },
	};

	if (n > 0 && p[0] == '#')
		return numeric_entity(p, n);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strlen(names[i].name) == n && memcmp(names[i].name, p, n) == 0)
			return names[i].c;
	return 0;
}

size_t index_decode_entities(const char *p, size_t n, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		const char *end = p[i] == '&' ? memchr(p + i, ';', MIN(n - i, (size_t)12)) : NULL;
		size_t used = end ? (size_t)(end - p) - i : 0;
		uint32_t c = used ? entity(p + i + 1, used - 1) : 0;

		if (c) {
			len += put_utf8(c, out + len);
			i += used;
		} else {
			out[len++] = p[i];
		}
	}
	return len;
}

/* A "%" that no two digits follow stands for itself. The length, which is never greater. */
static size_t decode_percents(const char *p, size_t n, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		int high = p[i] == '%' && i + 2 < n ? hex_value(p[i + 1]) : -1;
		int low = high < 0 ? -1 : hex_value(p[i + 2]);

		if (low < 0) {
			out[len++] = p[i];
			continue;
		}
		out[len++] = (char)(high * 16 + low);
		i += 2;
	}
	return len;
}

int index_encode_key(const char *key, size_t n, char *out, size_t cap)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)key[i];
		bool plain = c < 0x80 && (isalnum(c) || strchr("-._~/", c));

		if (len + 4 > cap)
			return -ENAMETOOLONG;
		if (plain && c) {
			out[len++] = (char)c;
			continue;
		}
		out[len++] = '%';
		out[len++] = digits[c >> 4];
		out[len++] = digits[c & 15];
	}
	out[len] = '\0';
	return 0;
}

/* -- references ------------------------------------------------------------------------------- */

bool index_name_valid(const char *p, size_t n)
{
	if (n == 0 || n >= VMOFS_KEY_MAX || memchr(p, '/', n) || memchr(p, '\0', n))
		return false;
	return !(n == 1 && p[0] == '.') && !(n == 2 && p[0] == '.' && p[1] == '.');
}

/* What follows the page's directory in an absolute path, both compared decoded; NULL: it is elsewhere. */
static const char *below_page(const struct url *page, const char *path, size_t n)
{
	char want[URL_MAX];
	char got[URL_MAX];
	size_t dir = page->path.len;

	while (dir > 0 && page->path.p[dir - 1] != '/')
		dir--;
	if (dir == 0 || n >= URL_MAX)
		return NULL;
	dir = decode_percents(page->path.p, dir, want);
	/* Each byte of the directory may be written as itself or as three. */
	for (size_t i = 0, at = 0; i <= n; at++) {
		size_t step = n - i >= 3 && path[i] == '%' ? 3 : 1;

		if (at == dir)
			return path + i;
		if (i == n || decode_percents(path + i, step, got) != 1 || got[0] != want[at])
			return NULL;
		i += step;
	}
	return NULL;
}

bool index_adds_slash(const struct url *from, const struct url *to)
{
	char a[URL_MAX];
	char b[URL_MAX];
	size_t na, nb;

	if (from->path.len >= sizeof a || to->path.len >= sizeof b)
		return false;
	na = decode_percents(from->path.p, from->path.len, a);
	nb = decode_percents(to->path.p, to->path.len, b);
	return nb == na + 1 && b[na] == '/' && memcmp(a, b, na) == 0;
}

int index_resolve(const char *base, const char *location, size_t n, char *out, size_t cap)
{
	static const char digits[] = "0123456789ABCDEF";
	char clean[URL_MAX];
	size_t len = 0;
	struct url u;
	int r = url_parse(base, strlen(base), &u);

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)location[i];

		if (len + 4 > sizeof clean)
			return -ENAMETOOLONG;
		if (c > ' ' && c < 0x7f) {
			clean[len++] = (char)c;
			continue;
		}
		clean[len++] = '%';
		clean[len++] = digits[c >> 4];
		clean[len++] = digits[c & 15];
	}
	return r < 0 ? r : url_resolve(&u, clean, len, out, cap);
}

static bool begins_with_scheme(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && (isalnum((unsigned char)p[i]) || strchr("+-.", p[i])))
		i++;
	return i > 0 && i < n && p[i] == ':' && isalpha((unsigned char)p[0]);
}

/* The part of @href from the page's directory on; NULL: it leads elsewhere. @n becomes its length. */
static const char *relative_part(const struct url *page, const char *href, size_t *n)
{
	const char *end = href + *n;
	char absolute[URL_MAX];
	struct url u;
	const char *rest = href;

	if (*n >= 2 && href[0] == '/' && href[1] == '/') {
		size_t scheme = page->tls ? 6 : 5;

		if (*n + scheme >= sizeof absolute)
			return NULL;
		memcpy(absolute, page->tls ? "https:" : "http:", scheme);
		memcpy(absolute + scheme, href, *n);
		if (url_parse(absolute, *n + scheme, &u) < 0 || !url_same_origin(page, &u))
			return NULL;
		rest = below_page(page, href + (u.path.p - absolute) - scheme, u.path.len);
	} else if (begins_with_scheme(href, *n)) {
		if (url_parse(href, *n, &u) < 0 || !url_same_origin(page, &u))
			return NULL;
		rest = below_page(page, u.path.p, u.path.len);
	} else if (*n > 0 && href[0] == '/') {
		rest = below_page(page, href, *n);
	}
	*n = rest ? (size_t)(end - rest) : 0;
	return rest;
}

int index_href_name(const struct url *page, const char *href, size_t n, char out[VMOFS_KEY_MAX],
		    size_t *len, bool *dir)
{
	const char *p = href;

	while (n > 0 && isspace((unsigned char)*p))
		p++, n--;
	while (n > 0 && isspace((unsigned char)p[n - 1]))
		n--;
	if (memchr(p, '?', n) || memchr(p, '#', n))
		return -ENOENT;
	p = relative_part(page, p, &n);
	while (p && n >= 2 && p[0] == '.' && p[1] == '/')
		p += 2, n -= 2;
	if (!p || n == 0)
		return -ENOENT;
	*dir = p[n - 1] == '/';
	n -= *dir;
	if (n >= VMOFS_KEY_MAX)
		return -ENOENT;
	*len = decode_percents(p, n, out);
	out[*len] = '\0';
	return index_name_valid(out, *len) && !memchr(p, '/', n) ? 0 : -ENOENT;
}

/* -- dates ------------------------------------------------------------------------------------ */

/* Days since 1970 of a date in the Gregorian calendar. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = y / 400;
	int64_t in_era = y - era * 400;
	int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static int month_of(const char *p)
{
	static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";

	for (int i = 0; i < 12; i++)
		if (strncasecmp(names + 3 * i, p, 3) == 0)
			return i + 1;
	return 0;
}

struct date_parts {
	int64_t year, month, day, hour, minute, second;
};

/*
 * Reads @p by @pattern: a run of Y, M, D, h, m or s is a number of so many digits, "bbb" a month's name, T
 * either "T" or a blank, everything else itself.
 */
static bool match_date(const char *p, size_t n, const char *pattern, struct date_parts *d)
{
	if (n < strlen(pattern))
		return false;
	for (; *pattern; pattern++, p++) {
		static const char letters[] = "YMDhms";
		const char *letter = strchr(letters, *pattern);
		int64_t *const parts[] = { &d->year, &d->month,  &d->day,
					   &d->hour, &d->minute, &d->second };

		if (letter) {
			if (!isdigit((unsigned char)*p))
				return false;
			*parts[letter - letters] = *parts[letter - letters] * 10 + (*p - '0');
		} else if (*pattern == 'b') {
			d->month = month_of(p);
			pattern += 2;
			p += 2;
		} else if (*pattern == 'T' ? !strchr("Tt ", *p) : *p != *pattern) {
			return false;
		}
	}
	return d->year >= 1970 && d->month >= 1 && d->month <= 12 && d->day >= 1 && d->day <= 31 &&
		d->hour < 24 && d->minute < 60 && d->second <= 60;
}

/* The offset "+01:00" in seconds; what is no offset is none. */
static int64_t zone_of(const char *p, size_t n, size_t *used)
{
	int sign = n > 0 && p[0] == '-' ? -1 : 1;

	*used = n > 0 && (p[0] == 'Z' || p[0] == 'z');
	if (n < 6 || (p[0] != '+' && p[0] != '-') || p[3] != ':')
		return 0;
	for (int i = 1; i < 6; i++)
		if (i != 3 && !isdigit((unsigned char)p[i]))
			return 0;
	*used = 6;
	return sign *
		(((p[1] - '0') * 10 + p[2] - '0') * 3600 + ((p[4] - '0') * 10 + p[5] - '0') * 60);
}

static long fraction_of(const char *p, size_t n, size_t *used)
{
	long ns = 0;
	long unit = 100000000;

	*used = 0;
	if (n < 2 || p[0] != '.')
		return 0;
	for (*used = 1; *used < n && isdigit((unsigned char)p[*used]); ++*used, unit /= 10)
		ns += unit * (p[*used] - '0');
	return ns;
}

enum index_date index_parse_date(const char *p, size_t n, struct timespec *out, size_t *used)
{
	static const struct {
		const char *pattern;
		enum index_date kind;
	} forms[] = {
		{ "DD-bbb-YYYY hh:mm:ss", INDEX_DATE_DAY_FIRST },
		{ "DD-bbb-YYYY hh:mm", INDEX_DATE_DAY_FIRST },
		{ "YYYY-bbb-DD hh:mm:ss", INDEX_DATE_MONTH_NAME },
		{ "YYYY-MM-DD hh:mm:ss", INDEX_DATE_NUMBERS },
		{ "YYYY-MM-DD hh:mm", INDEX_DATE_NUMBERS },
		{ "YYYY-MM-DDThh:mm:ss", INDEX_DATE_INTERNET },
	};

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		struct date_parts d = { 0 };
		size_t more = 0;
		int64_t zone = 0;

		if (!match_date(p, n, forms[i].pattern, &d))
			continue;
		*used = strlen(forms[i].pattern);
		*out = (struct timespec){ 0 };
		if (forms[i].kind == INDEX_DATE_INTERNET) {
			out->tv_nsec = fraction_of(p + *used, n - *used, &more);
			*used += more;
			zone = zone_of(p + *used, n - *used, &more);
			*used += more;
		}
		out->tv_sec = (time_t)(days_of(d.year, d.month, d.day) * 86400 + d.hour * 3600 +
				       d.minute * 60 + d.second - zone);
		return forms[i].kind;
	}
	return INDEX_DATE_NONE;
}
