/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window begins small and doubles each time that as many files as it holds were read out of what had
 * been asked for: it grows only as it pays, and who stops after a few files has cost little. Each
 * read then asks for as many files as it has used up, so that a whole window is always under way.
 *
 * Who goes through a tree comes to the next directory's beginning. As long as files are read in order, a directory that
 * is begun is a stream at its first file: where directories are small, that is most of what can be had.
 *
 * Several readers that share the work (xargs -P) come a little out of order: what is near belongs to the
 * stream. Readers in different parts of a directory are streams of their own.
 */
#include "fs/siblings.h"

#include <string.h>

#include "base/macros.h"

enum {
	READS_MIN = 3, /* in order make a stream */
	WINDOW_MIN = 4,
	WINDOW_MAX = 64,
	/* Beside a stream's end, in either direction: other sizes, other types, other readers. */
	SLACK = 8,
	CHAIN_MAX = 16,
	CHAIN_COST = 2, /* of a directory that is begun on trust */
};

void siblings_init(struct siblings *s, uint64_t bytes_max)
{
	memset(s, 0, sizeof *s);
	mutex_init(&s->lock, LOCK_RANK_STREAM);
	s->bytes_max = bytes_max;
}

void siblings_release(struct siblings *s)
{
	mutex_destroy(&s->lock);
}

static bool owns(const struct sibling_stream *st, uint64_t dir, uint64_t place)
{
	uint64_t to = st->window && st->ahead != UINT64_MAX ? MAX(st->ahead, st->end) : st->end;

	return st->dir == dir && place + SLACK >= st->end && place <= to + SLACK;
}

static uint64_t distance(const struct sibling_stream *st, uint64_t place)
{
	return place >= st->end ? place - st->end : st->end - place;
}

/* The nearest one: two readers may be close to each other. */
static struct sibling_stream *find_locked(struct siblings *s, uint64_t dir, uint64_t place)
	REQUIRES(s->lock)
{
	struct sibling_stream *found = NULL;

	for (unsigned i = 0; i < SIBLING_STREAMS; i++) {
		struct sibling_stream *st = &s->streams[i];

		if (owns(st, dir, place) &&
		    (!found || distance(st, place) < distance(found, place)))
			found = st;
	}
	return found;
}

/* The beginning of a directory in a walk that has been in order so far. */
static bool goes_on_locked(struct siblings *s, uint64_t place) REQUIRES(s->lock)
{
	if (place > SLACK) {
		s->chain = 0;
		return false;
	}
	if (s->chain < READS_MIN)
		return false;
	s->chain -= CHAIN_COST;
	return true;
}

/* In the place of a candidate, else of the stream that rested longest. */
static struct sibling_stream *start_locked(struct siblings *s, uint64_t dir, uint64_t place)
	REQUIRES(s->lock)
{
	struct sibling_stream *victim = &s->streams[0];

	for (unsigned i = 1; i < SIBLING_STREAMS; i++) {
		struct sibling_stream *st = &s->streams[i];
		bool candidate = !st->window;
		bool best_is = !victim->window;

		if (candidate != best_is ? candidate : st->tick < victim->tick)
			victim = st;
	}
	*victim = (struct sibling_stream){ .dir = dir, .end = place };
	if (goes_on_locked(s, place))
		victim->reads = READS_MIN - 1;
	return victim;
}

static void grow(struct sibling_stream *st)
{
	if (!st->window) {
		if (st->reads >= READS_MIN)
			st->window = WINDOW_MIN;
	} else if (st->used >= st->window && st->window < WINDOW_MAX) {
		st->window *= 2;
		st->used = 0;
	}
}

/* Files that one window may hold where files are of @size; large ones are not fetched. */
static uint64_t window_of(const struct siblings *s, const struct sibling_stream *st, uint64_t size)
{
	return MIN((uint64_t)st->window,
		   s->bytes_max / MIN(MAX(size, UINT64_C(1)), SIBLING_SIZE_MAX));
}

static struct sibling_ask next_ask(const struct siblings *s, struct sibling_stream *st,
				   uint64_t size)
{
	struct sibling_ask ask = { .dir = st->dir, .place = MAX(st->ahead, st->end) };
	uint64_t to = st->end + window_of(s, st, size);

	if (st->window && ask.place < to) {
		ask.n = (unsigned)(to - ask.place);
		/* Nobody else asks for these meanwhile; siblings_asked() corrects it. */
		st->ahead = to;
	}
	return ask;
}

struct sibling_ask siblings_read(struct siblings *s, uint64_t dir, uint64_t place, uint64_t size)
{
	struct sibling_ask ask = { 0 };
	struct sibling_stream *st;

	if (!s->bytes_max)
		return ask;
	mutex_lock(&s->lock);
	s->tick++;
	st = find_locked(s, dir, place);
	if (!st)
		st = start_locked(s, dir, place);
	else if (place >= st->end && s->chain < CHAIN_MAX)
		s->chain++;
	st->tick = s->tick;
	/* What lies before was read again, or by a neighbour that is a little late. */
	if (place >= st->end) {
		st->reads++;
		st->used += place < st->ahead;
		st->end = place + 1;
		grow(st);
		ask = next_ask(s, st, size);
	}
	mutex_unlock(&s->lock);
	return ask;
}

void siblings_asked(struct siblings *s, const struct sibling_ask *ask, uint64_t next)
{
	uint64_t promised = ask->place + ask->n;

	mutex_lock(&s->lock);
	for (unsigned i = 0; i < SIBLING_STREAMS; i++) {
		struct sibling_stream *st = &s->streams[i];

		if (st->dir == ask->dir && st->ahead == promised)
			st->ahead = next;
	}
	mutex_unlock(&s->lock);
}
