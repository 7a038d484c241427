/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts come from two ideas. Where the end is known, names count as numbers whose digits at each position are
 * the bytes seen there (rounded up to all digits, all letters), and the cuts stand at equal distances. And
 * there is a ladder: of "img-000999" it takes the next "img-001", "img-01", "img-1", "imh"; these
 * find in one go how far a run of numbers reaches. Pure, any thread.
 */
#include "s3/s3_split.h"

#include <stdbool.h>
#include <string.h>

#include "base/macros.h"

#define LEVELS 16 /* positions that a number is made of */
#define RUNGS  3  /* each is ten times as far as the one before, or more */

/* The symbols that may stand at one position, ascending. */
struct alphabet {
	unsigned n;
	uint8_t v[256];
};

static bool seen(const uint64_t *set, unsigned c)
{
	return set[c / 64] >> (c % 64) & 1;
}

void s3_split_learn(struct s3_split *m, const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned c = (uint8_t)name[i];

		if (c > ' ' && c != '/' && c != 0x7f)
			m->seen[MIN(i, S3_SPLIT_DEPTH - 1u)][c / 64] |= UINT64_C(1) << (c % 64);
	}
}

static void add_range(uint64_t *set, unsigned from, unsigned to)
{
	for (unsigned c = from; c <= to; c++)
		set[c / 64] |= UINT64_C(1) << (c % 64);
}

static bool any(const uint64_t *set, unsigned from, unsigned to)
{
	for (unsigned c = from; c <= to; c++)
		if (seen(set, c))
			return true;
	return false;
}

/* One digit stands for all digits, a letter beyond f for all letters, another for those of hex. */
static void close_letters(uint64_t *set, unsigned a)
{
	if (any(set, a + 6, a + 25))
		add_range(set, a, a + 25);
	else if (any(set, a, a + 5))
		add_range(set, a, a + 5);
}

/* What follows tells too: at the first page the foremost positions have hardly moved. */
static void alphabet_at(const struct s3_split *m, size_t pos, struct alphabet *out)
{
	uint64_t set[4] = { 0 };

	for (size_t p = pos; p < pos + 3; p++)
		for (unsigned i = 0; i < 4; i++)
			set[i] |= m->seen[MIN(p, S3_SPLIT_DEPTH - 1u)][i];
	if (any(set, '0', '9'))
		add_range(set, '0', '9');
	close_letters(set, 'a');
	close_letters(set, 'A');
	if (any(set, 0x80, 0xbf))
		add_range(set, 0x80, 0xbf); /* what follows the first byte of a UTF-8 sequence */
	out->n = 0;
	for (unsigned c = 0; c < 256; c++)
		if (seen(set, c))
			out->v[out->n++] = (uint8_t)c;
}

static size_t common(const char *a, const char *b)
{
	size_t n = 0;

	while (a[n] && a[n] == b[n])
		n++;
	return n;
}

/* -- names as numbers ------------------------------------------------------------------------- */

/* The alphabets from position @base on; fewer where a number would become too large. */
struct scale {
	size_t base;
	unsigned levels;
	struct alphabet at[LEVELS];
};

/* 0: the name has ended; else 1 + the place of the symbol, or of the last one before it. */
static unsigned digit(const struct alphabet *a, const char *name, bool *ended)
{
	unsigned d = 0;

	if (*ended || !*name) {
		*ended = true;
		return 0;
	}
	while (d < a->n && a->v[d] <= (uint8_t)*name)
		d++;
	return d;
}

static uint64_t value(const struct scale *s, const char *name)
{
	bool ended = false;
	uint64_t v = 0;

	name += s->base;
	for (unsigned i = 0; i < s->levels; i++) {
		v = v * (s->at[i].n + 1) + digit(&s->at[i], name, &ended);
		if (!ended)
			name++;
	}
	return v;
}

/* Deep enough that @parts steps fit between the two. */
static void scale_init(struct scale *s, const struct s3_split *m, const char *lo, const char *hi,
		       unsigned parts)
{
	uint64_t product = 1;

	s->base = common(lo, hi);
	s->levels = 0;
	while (s->levels < LEVELS && product < UINT64_C(1) << 48) {
		alphabet_at(m, s->base + s->levels, &s->at[s->levels]);
		product *= s->at[s->levels].n + 1;
		s->levels++;
		if (value(s, hi) - value(s, lo) > parts && s->levels > 1)
			return;
	}
}

/* The name of @v below what all names of the scale share with @like. */
static size_t spell(const struct scale *s, const char *like, uint64_t v, char *out, size_t cap)
{
	unsigned digits[LEVELS];
	size_t n = s->base;

	if (n + s->levels >= cap)
		return 0;
	for (unsigned i = s->levels; i-- > 0;) {
		digits[i] = (unsigned)(v % (s->at[i].n + 1));
		v /= s->at[i].n + 1;
	}
	memcpy(out, like, n);
	for (unsigned i = 0; i < s->levels && digits[i] > 0; i++)
		out[n++] = (char)s->at[i].v[digits[i] - 1];
	out[n] = '\0';
	return n;
}

/* -- UTF-8 ------------------------------------------------------------------------------------ */

static unsigned sequence(uint8_t lead)
{
	if (lead < 0x80)
		return 1;
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

static bool second_is_good(uint8_t lead, uint8_t c)
{
	return !(lead == 0xe0 && c < 0xa0) && !(lead == 0xed && c > 0x9f) &&
		!(lead == 0xf0 && c < 0x90) && !(lead == 0xf4 && c > 0x8f);
}

/* Completes a cut-off last character; false: the name is no UTF-8. */
static bool utf8_complete(char *s, size_t n, size_t cap)
{
	size_t i = 0;

	while (i < n) {
		uint8_t lead = (uint8_t)s[i];
		unsigned len = sequence(lead);

		if (len == 0)
			return false;
		for (unsigned k = 1; k < len; k++) {
			if (i + k == n) {
				if (n + 1 >= cap)
					return false;
				s[n++] = (char)(k > 1 || lead == 0xed || lead == 0xf4 ? 0x80
							: lead == 0xe0                ? 0xa0
							: lead == 0xf0                ? 0x90
										      : 0x80);
			}
			if (((uint8_t)s[i + k] & 0xc0) != 0x80)
				return false;
		}
		if (len > 1 && !second_is_good(lead, (uint8_t)s[i + 1]))
			return false;
		i += len;
	}
	s[n] = '\0';
	return true;
}

/* -- cuts ------------------------------------------------------------------------------------- */

struct cuts {
	char (*v)[S3_SPLIT_NAME];
	unsigned n;
	unsigned max;
	const char *after;
	const char *before; /* NULL: no end */
};

/* Takes the name that stands in the next free place, if it is good and comes after the others. */
static bool cuts_take(struct cuts *c, size_t n)
{
	char *name = c->v[c->n];
	const char *prev = c->n ? c->v[c->n - 1] : c->after;

	if (n == 0 || !utf8_complete(name, n, S3_SPLIT_NAME) || strchr(name, '/') ||
	    strcmp(name, prev) <= 0 || (c->before && strcmp(name, c->before) >= 0))
		return false;
	c->n++;
	return true;
}

/* The next name that differs from @name at @pos: the smallest one there is. */
static bool rung(struct cuts *c, const struct s3_split *m, const char *name, size_t pos)
{
	struct alphabet a;

	if (pos + 2 >= S3_SPLIT_NAME)
		return false;
	alphabet_at(m, pos, &a);
	for (unsigned i = 0; i < a.n; i++) {
		if (a.v[i] <= (uint8_t)name[pos])
			continue;
		memcpy(c->v[c->n], name, pos);
		c->v[c->n][pos] = (char)a.v[i];
		c->v[c->n][pos + 1] = '\0';
		return cuts_take(c, pos + 1);
	}
	return false;
}

/* A rung so near that the next page would reach it is none. */
static bool is_near(const struct s3_split *m, const struct s3_span *s, const char *name)
{
	struct s3_span part = *s;

	part.end = name;
	return s3_split_left(m, &part) < s->near;
}

static void ladder(struct cuts *c, const struct s3_split *m, const struct s3_span *s, size_t from,
		   size_t to, unsigned max)
{
	for (size_t pos = from + 1; pos-- > to && c->n < max;)
		if (rung(c, m, s->last, pos) && is_near(m, s, c->v[c->n - 1]))
			c->n--;
}

/* Cuts at equal distances between @lo and @hi. */
static void spread(struct cuts *c, const struct s3_split *m, const char *lo, const char *hi)
{
	unsigned parts = c->max - c->n + 1;
	struct scale s;
	uint64_t a, b;

	scale_init(&s, m, lo, hi, 2 * parts);
	a = value(&s, lo);
	b = value(&s, hi);
	for (unsigned i = 1; i < parts && c->n < c->max && b > a; i++)
		cuts_take(c,
			  spell(&s, hi, a + (uint64_t)((double)(b - a) * i / parts), c->v[c->n],
				S3_SPLIT_NAME));
}

/* The higher a rung, the less likely is anything beyond it: the first gap of the ladder is cut further. */
static void spread_between_rungs(struct cuts *c, const struct s3_split *m, const char *last)
{
	char rungs[RUNGS][S3_SPLIT_NAME];
	unsigned n = c->n, first = n > 1 ? 1 : 0;

	memcpy(rungs, c->v, n * sizeof rungs[0]);
	c->n = first;
	c->max -= n - first;
	spread(c, m, first ? rungs[0] : last, rungs[first]);
	c->max += n - first;
	for (unsigned i = first; i < n; i++)
		memcpy(c->v[c->n++], rungs[i], sizeof rungs[i]);
}

/* More than one byte has been seen at the first position: there is something to spread over. */
static bool has_moved(const struct s3_split *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 4; i++)
		n += (unsigned)__builtin_popcountll(m->seen[0][i]);
	return n > 1;
}

/* No name that is likely comes after it. */
static void last_name(const struct s3_split *m, char *out)
{
	struct alphabet a;

	alphabet_at(m, 0, &a);
	out[0] = a.n ? (char)MIN(a.v[a.n - 1] + 1, 0x7f) : '\x7f';
	out[1] = '\0';
}

unsigned s3_split_cut(const struct s3_split *m, const struct s3_span *s, unsigned n,
		      char (*out)[S3_SPLIT_NAME])
{
	size_t shared = s->end ? common(s->last, s->end) : 0;
	size_t moving = common(s->first, s->last);
	struct cuts c = { .v = out, .max = n, .after = s->last, .before = s->end };
	char beyond[4];

	if (n == 0 || !s->last[0])
		return 0;
	if (moving >= strlen(s->last))
		moving = strlen(s->last) - 1;
	if (!s->end || moving > shared + 1)
		ladder(&c, m, s, moving, shared, MIN(n, RUNGS));
	if (c.n == n)
		return c.n;
	last_name(m, beyond);
	if (s->end)
		spread(&c, m, c.n ? c.v[c.n - 1] : s->last, s->end);
	else if (!has_moved(m) && c.n > 0)
		spread_between_rungs(&c, m, s->last);
	else if (has_moved(m))
		spread(&c, m, c.n ? c.v[c.n - 1] : s->last, beyond);
	return c.n;
}

uint64_t s3_split_left(const struct s3_split *m, const struct s3_span *s)
{
	uint64_t from, at, to;
	struct scale scale;

	if (!s->end)
		return UINT64_MAX;
	scale_init(&scale, m, s->first, s->end, UINT32_MAX);
	from = value(&scale, s->first);
	at = value(&scale, s->last);
	to = value(&scale, s->end);
	if (to <= at)
		return 0;
	if (at <= from)
		return UINT64_MAX;
	return (uint64_t)((double)s->found * (double)(to - at) / (double)(at - from));
}
