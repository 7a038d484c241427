/* SPDX-License-Identifier: Apache-2.0 */
/* Sorted array of disjoint ranges. */
#include "base/range_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

void range_set_release(struct range_set *s)
{
	free(s->v);
	*s = (struct range_set){ 0 };
}

int range_set_reserve(struct range_set *s, size_t n)
{
	size_t cap = s->cap ? s->cap : 4;
	struct range *v;

	while (cap < s->n + n)
		cap *= 2;
	if (cap == s->cap)
		return 0;
	v = realloc(s->v, cap * sizeof *v);
	if (!v)
		return -ENOMEM;
	s->v = v;
	s->cap = cap;
	return 0;
}

int range_set_append(struct range_set *s, uint64_t first, uint64_t end)
{
	int r;

	if (s->n && s->v[s->n - 1].end == first) {
		s->v[s->n - 1].end = end;
		return 0;
	}
	r = range_set_reserve(s, 1);
	if (r < 0)
		return r;
	s->v[s->n++] = (struct range){ first, end };
	return 0;
}

/* Index of the first range that ends after @first. */
static size_t lower(const struct range_set *s, uint64_t first)
{
	size_t lo = 0;
	size_t hi = s->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->v[mid].end > first)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static void remove_at(struct range_set *s, size_t i, size_t n)
{
	memmove(s->v + i, s->v + i + n, (s->n - i - n) * sizeof *s->v);
	s->n -= n;
}

/* [first, end) lies strictly inside the range at @i. */
static void split(struct range_set *s, size_t i, uint64_t first, uint64_t end, struct range *lost)
{
	if (range_set_reserve(s, 1) < 0) {
		*lost = (struct range){ end, s->v[i].end };
		s->v[i].end = first;
		return;
	}
	memmove(s->v + i + 1, s->v + i, (s->n - i) * sizeof *s->v);
	s->n++;
	s->v[i].end = first;
	s->v[i + 1].first = end;
}

void range_set_subtract(struct range_set *s, uint64_t first, uint64_t end, struct range *lost)
{
	size_t i = lower(s, first);
	size_t last;

	*lost = (struct range){ 0 };
	if (i == s->n || s->v[i].first >= end)
		return;
	if (s->v[i].first < first && s->v[i].end > end) {
		split(s, i, first, end, lost);
		return;
	}
	if (s->v[i].first < first)
		s->v[i++].end = first;
	for (last = i; last < s->n && s->v[last].end <= end; last++)
		;
	if (last < s->n && s->v[last].first < end)
		s->v[last].first = end;
	if (last > i)
		remove_at(s, i, last - i);
}

bool range_set_find(const struct range_set *s, uint64_t first, uint64_t end, struct range *out)
{
	size_t i = lower(s, first);

	if (first >= end || i == s->n || s->v[i].first >= end)
		return false;
	out->first = MAX(s->v[i].first, first);
	out->end = MIN(s->v[i].end, end);
	return true;
}
