/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, sizes, times and switches as people write them: pure functions of text. */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/config_private.h"
#include "base/macros.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* Reads digits at *p into *out; -EINVAL when there are none or too many. */
static int parse_digits(const char **p, uint64_t *out)
{
	const char *s = *p;

	*out = 0;
	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(*out, 10u, out) ||
		    __builtin_add_overflow(*out, (uint64_t)(*s - '0'), out))
			return -EINVAL;
	*p = s;
	return 0;
}

/* ".25" at *p; nothing there is 0. */
static int parse_fraction(const char **p, double *out)
{
	const char *s = *p;
	double weight = 1;

	*out = 0;
	if (*s != '.')
		return 0;
	if (!isdigit((unsigned char)*++s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++) {
		weight /= 10;
		*out += weight * (*s - '0');
	}
	*p = s;
	return 0;
}

static int parse_with_unit(const char *text, const struct unit *units, size_t n, uint64_t *out)
{
	uint64_t whole;
	double fraction;
	const char *p = text;

	if (parse_digits(&p, &whole) || parse_fraction(&p, &fraction))
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (strcasecmp(p, units[i].name))
			continue;
		if (__builtin_mul_overflow(whole, units[i].factor, out) ||
		    __builtin_add_overflow(*out, (uint64_t)(fraction * (double)units[i].factor),
					   out))
			return -EINVAL;
		return 0;
	}
	return -EINVAL;
}

int config_parse_size(const char *text, uint64_t *out)
{
	static const struct unit units[] = {
		{ "", 1 },          { "B", 1 },           { "K", KIB(1) }, { "KiB", KIB(1) },
		{ "M", MIB(1) },    { "MiB", MIB(1) },    { "G", GIB(1) }, { "GiB", GIB(1) },
		{ "T", GIB(1024) }, { "TiB", GIB(1024) },
	};

	return parse_with_unit(text, units, ARRAY_LEN(units), out);
}

int config_parse_time(const char *text, uint64_t *out_ns)
{
	static const struct unit units[] = {
		{ "", NSEC_PER_SEC },           { "s", NSEC_PER_SEC },
		{ "us", NSEC_PER_MSEC / 1000 }, { "ms", NSEC_PER_MSEC },
		{ "m", 60 * NSEC_PER_SEC },     { "min", 60 * NSEC_PER_SEC },
		{ "h", 3600 * NSEC_PER_SEC },
	};

	return parse_with_unit(text, units, ARRAY_LEN(units), out_ns);
}

int config_parse_u64(const char *text, uint64_t *out)
{
	const char *p = text;

	return parse_digits(&p, out) || *p ? -EINVAL : 0;
}

int config_parse_bool(const char *text, bool *out)
{
	static const char *const words[][2] = {
		{ "no", "yes" }, { "false", "true" }, { "off", "on" }, { "0", "1" }
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		for (unsigned j = 0; j < 2; j++)
			if (!strcasecmp(text, words[i][j])) {
				*out = j;
				return 0;
			}
	return -EINVAL;
}
