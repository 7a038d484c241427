/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of the HTTP headers that decide whether bytes may be believed. Strict where a wrong
 * reading could serve wrong bytes, lenient in white space. Pure functions, any thread.
 */
#include "net/http_header.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/macros.h"

/* What is left to read. */
struct cursor {
	const char *p;
	size_t n;
};

static void skip_space(struct cursor *c)
{
	while (c->n > 0 && (*c->p == ' ' || *c->p == '\t')) {
		c->p++;
		c->n--;
	}
}

static bool take_char(struct cursor *c, char want)
{
	if (c->n == 0 || *c->p != want)
		return false;
	c->p++;
	c->n--;
	return true;
}

static bool take_word(struct cursor *c, const char *want)
{
	size_t len = strlen(want);

	if (c->n < len || strncasecmp(c->p, want, len) != 0)
		return false;
	c->p += len;
	c->n -= len;
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* At least one digit; false on overflow. UINT64_MAX itself is taken for "unknown" and refused. */
static bool take_number(struct cursor *c, uint64_t *out)
{
	uint64_t v = 0;
	size_t digits = 0;

	while (c->n > 0 && is_digit(*c->p)) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*c->p - '0'), &v))
			return false;
		c->p++;
		c->n--;
		digits++;
	}
	*out = v;
	return digits > 0 && v != HTTP_LENGTH_UNKNOWN;
}

/* Exactly @digits digits. */
static bool take_fixed(struct cursor *c, size_t digits, int *out)
{
	*out = 0;
	if (c->n < digits)
		return false;
	for (size_t i = 0; i < digits; i++) {
		if (!is_digit(c->p[i]))
			return false;
		*out = *out * 10 + (c->p[i] - '0');
	}
	c->p += digits;
	c->n -= digits;
	return true;
}

static bool at_end(struct cursor *c)
{
	skip_space(c);
	return c->n == 0;
}

int http_parse_status_line(const char *p, size_t n, int *status)
{
	struct cursor c = { p, n };
	uint64_t version;

	if (!take_word(&c, "HTTP/") || !take_number(&c, &version))
		return -EINVAL;
	if (take_char(&c, '.') && !take_number(&c, &version))
		return -EINVAL;
	if (!take_char(&c, ' ') || !take_fixed(&c, 3, status) || *status < 100)
		return -EINVAL;
	return c.n == 0 || *c.p == ' ' ? 0 : -EINVAL;
}

int http_parse_length(const char *p, size_t n, uint64_t *out)
{
	struct cursor c = { p, n };

	skip_space(&c);
	return take_number(&c, out) && at_end(&c) ? 0 : -EINVAL;
}

static bool take_total(struct cursor *c, uint64_t *total)
{
	if (take_char(c, '*')) {
		*total = HTTP_LENGTH_UNKNOWN;
		return true;
	}
	return take_number(c, total);
}

int http_parse_content_range(const char *p, size_t n, struct http_content_range *out)
{
	struct cursor c = { p, n };

	*out = (struct http_content_range){ 0 };
	skip_space(&c);
	if (!take_word(&c, "bytes"))
		return -EINVAL;
	skip_space(&c);
	if (take_char(&c, '*')) {
		out->unsatisfied = true;
	} else if (!take_number(&c, &out->first) || !take_char(&c, '-') ||
		   !take_number(&c, &out->last) || out->last < out->first) {
		return -EINVAL;
	}
	if (!take_char(&c, '/') || !take_total(&c, &out->total) || !at_end(&c))
		return -EINVAL;
	if (out->unsatisfied)
		return out->total == HTTP_LENGTH_UNKNOWN ? -EINVAL : 0;
	return out->last < out->total ? 0 : -EINVAL;
}

/* -- dates ------------------------------------------------------------------------------------ */

static bool take_month(struct cursor *c, int *month)
{
	static const char names[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

	for (int i = 0; i < (int)ARRAY_LEN(names); i++) {
		if (take_word(c, names[i])) {
			*month = i;
			return true;
		}
	}
	return false;
}

static bool take_time(struct cursor *c, struct tm *tm)
{
	return take_fixed(c, 2, &tm->tm_hour) && take_char(c, ':') &&
		take_fixed(c, 2, &tm->tm_min) && take_char(c, ':') &&
		take_fixed(c, 2, &tm->tm_sec) && tm->tm_hour < 24 && tm->tm_min < 60 &&
		tm->tm_sec <= 60;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", behind the comma */
static bool take_imf_date(struct cursor c, struct tm *tm)
{
	int year;

	if (!take_fixed(&c, 2, &tm->tm_mday) || !take_char(&c, ' ') ||
	    !take_month(&c, &tm->tm_mon) || !take_char(&c, ' ') || !take_fixed(&c, 4, &year) ||
	    !take_char(&c, ' ') || !take_time(&c, tm) || !take_word(&c, " GMT"))
		return false;
	tm->tm_year = year - 1900;
	return at_end(&c);
}

/* "Sunday, 06-Nov-94 08:49:37 GMT", behind the comma; two digits are within 50 years of 2000 */
static bool take_rfc850_date(struct cursor c, struct tm *tm)
{
	int year;

	if (!take_fixed(&c, 2, &tm->tm_mday) || !take_char(&c, '-') ||
	    !take_month(&c, &tm->tm_mon) || !take_char(&c, '-') || !take_fixed(&c, 2, &year) ||
	    !take_char(&c, ' ') || !take_time(&c, tm) || !take_word(&c, " GMT"))
		return false;
	tm->tm_year = year < 70 ? year + 100 : year;
	return at_end(&c);
}

/* "Sun Nov  6 08:49:37 1994", behind the name of the day */
static bool take_asctime_date(struct cursor c, struct tm *tm)
{
	uint64_t day;
	int year;

	if (!take_month(&c, &tm->tm_mon))
		return false;
	skip_space(&c);
	if (!take_number(&c, &day) || day > 31 || !take_char(&c, ' ') || !take_time(&c, tm) ||
	    !take_char(&c, ' ') || !take_fixed(&c, 4, &year))
		return false;
	tm->tm_mday = (int)day;
	tm->tm_year = year - 1900;
	return at_end(&c);
}

static bool take_date(struct cursor c, struct tm *tm)
{
	bool comma;

	skip_space(&c);
	while (c.n > 0 && *c.p != ',' && *c.p != ' ') {
		c.p++;
		c.n--;
	}
	comma = take_char(&c, ',');
	skip_space(&c);
	if (!comma)
		return take_asctime_date(c, tm);
	return take_imf_date(c, tm) || take_rfc850_date(c, tm);
}

int http_parse_date(const char *p, size_t n, int64_t *out)
{
	struct tm tm = { 0 };

	if (!take_date((struct cursor){ p, n }, &tm) || tm.tm_mday < 1 || tm.tm_mday > 31)
		return -EINVAL;
	*out = timegm(&tm);
	return 0;
}

int http_parse_retry_after(const char *p, size_t n, int64_t now, uint64_t *seconds)
{
	int64_t when;

	if (http_parse_length(p, n, seconds) == 0)
		return 0;
	if (http_parse_date(p, n, &when) < 0)
		return -EINVAL;
	*seconds = when > now ? (uint64_t)(when - now) : 0;
	return 0;
}

int http_parse_etag(const char *p, size_t n, bool *weak)
{
	struct cursor c = { p, n };

	*weak = c.n >= 2 && c.p[0] == 'W' && c.p[1] == '/';
	if (*weak) {
		c.p += 2;
		c.n -= 2;
	}
	if (c.n < 2 || c.p[0] != '"' || c.p[c.n - 1] != '"')
		return -EINVAL;
	for (size_t i = 1; i + 1 < c.n; i++)
		if (c.p[i] == '"' || (unsigned char)c.p[i] < 0x21 || c.p[i] == 0x7f)
			return -EINVAL;
	return 0;
}
