/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests and times as tables of contents and annotations write them. Pure functions, any thread.
 */
#include "image/toc.h"

#include <string.h>

#include "base/macros.h"

bool toc_parse_digest(const char *p, size_t n, uint8_t out[LAYER_DIGEST_LEN])
{
	static const char prefix[] = "sha256:";
	static const char digits[] = "0123456789abcdef";

	if (n != sizeof prefix - 1 + 2 * LAYER_DIGEST_LEN ||
	    memcmp(p, prefix, sizeof prefix - 1) != 0)
		return false;
	p += sizeof prefix - 1;
	for (unsigned i = 0; i < LAYER_DIGEST_LEN; i++) {
		const char *high = memchr(digits, p[2 * i], 16);
		const char *low = memchr(digits, p[2 * i + 1], 16);

		if (!high || !low)
			return false;
		out[i] = (uint8_t)((high - digits) << 4 | (low - digits));
	}
	return true;
}

/* -- times ------------------------------------------------------------------------------------ */

struct text {
	const char *p;
	const char *end;
};

static bool take(struct text *t, char c)
{
	if (t->p == t->end || *t->p != c)
		return false;
	t->p++;
	return true;
}

/* Exactly @n digits, of a number of at least @min and at most @max. */
static bool take_digits(struct text *t, unsigned n, int min, int max, int *out)
{
	int v = 0;

	for (; n; n--, t->p++) {
		if (t->p == t->end || *t->p < '0' || *t->p > '9')
			return false;
		v = 10 * v + (*t->p - '0');
	}
	*out = v;
	return v >= min && v <= max;
}

/* Digits behind a dot; those after the ninth do not count. */
static bool take_fraction(struct text *t, uint32_t *nsec)
{
	const char *from = t->p;
	uint32_t scale = 100000000;

	for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++) {
		*nsec += (uint32_t)(*t->p - '0') * scale;
		scale /= 10;
	}
	return t->p > from;
}

/* "Z", or how far the clock there is ahead: "+01:00". */
static bool take_zone(struct text *t, int64_t *ahead)
{
	bool west = t->p < t->end && *t->p == '-';
	int hours, minutes;

	*ahead = 0;
	if (take(t, 'Z') || take(t, 'z'))
		return true;
	if (!take(t, west ? '-' : '+') || !take_digits(t, 2, 0, 23, &hours) || !take(t, ':') ||
	    !take_digits(t, 2, 0, 59, &minutes))
		return false;
	*ahead = (west ? -60 : 60) * (hours * (int64_t)60 + minutes);
	return true;
}

static int days_of_month(int year, int month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month == 2 && leap ? 29 : days[month - 1];
}

/* Days since 1970-01-01, with years that begin in March so that leap days come last. */
static int64_t days_since_epoch(int year, int month, int day)
{
	int y = month > 2 ? year : year - 1;
	int of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return y * INT64_C(365) + y / 4 - y / 100 + y / 400 + of_year - 719468;
}

bool toc_parse_time(const char *p, size_t n, int64_t *sec, uint32_t *nsec)
{
	struct text t;
	int year, month, day, hour, minute, second;
	int64_t ahead;

	*sec = 0;
	*nsec = 0;
	if (n == 0)
		return true;
	t = (struct text){ p, p + n };
	if (!take_digits(&t, 4, 0, 9999, &year) || !take(&t, '-') ||
	    !take_digits(&t, 2, 1, 12, &month) || !take(&t, '-') ||
	    !take_digits(&t, 2, 1, days_of_month(year, month), &day) ||
	    !(take(&t, 'T') || take(&t, 't')) || !take_digits(&t, 2, 0, 23, &hour) ||
	    !take(&t, ':') || !take_digits(&t, 2, 0, 59, &minute) || !take(&t, ':') ||
	    !take_digits(&t, 2, 0, 59, &second))
		return false;
	if (take(&t, '.') && !take_fraction(&t, nsec))
		return false;
	if (!take_zone(&t, &ahead) || t.p != t.end)
		return false;
	if (year <= 1) {
		*nsec = 0;
		return true;
	}
	*sec = days_since_epoch(year, month, day) * 86400 + hour * INT64_C(3600) + minute * 60 +
		second - ahead;
	return true;
}
