/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window of a stream begins at an eighth of what its reader has read, and at least doubles whenever the
 * reader stalls on something that was asked for after the last growth: it so tends towards bandwidth
 * times delay, never grows for a reader that is slower than the network, and a reader who stops after a
 * few blocks has cost little.
 *
 * A far origin would make that slow: each doubling costs its delay, and a new connection carries little at
 * first. So the window is at once what the delay asks for at two gigabytes a second (new connections are
 * slow), as far as eight times what has been read allows.
 *
 * The kernel's own read-ahead, and its read-around of a page fault, send several requests at once. They
 * arrive out of order: reads a little beside the end still belong to the stream. And they show nothing of
 * what the reader will do next: the window grows only after answers have come.
 */
#include "fs/stream.h"

#include <string.h>
#include <vmofs/provider.h>

#include "base/macros.h"

enum {
	STREAM_MIN_READS = 3,     /* of any size make a stream */
	STREAM_IDLE_READS = 1024, /* of others make it give up its place */
	STREAM_BYTES_PER_NS = 2,
	STREAM_FAR_FACTOR = 8,
};
#define STREAM_MIN_BYTES  KIB(256) /* or two reads of this much together */
#define STREAM_WINDOW_MIN KIB(64)
#define STREAM_STEP_MAX   MIB(8)
#define STREAM_SLACK      MIB(4)  /* out of order within an established stream */
#define STREAM_LARGE_READ KIB(64) /* reads of the kernel's read-ahead are at least this long */

void stream_set_init(struct stream_set *s, uint64_t size, uint64_t window_max, uint64_t delay_ns)
{
	memset(s, 0, sizeof *s);
	mutex_init(&s->lock, LOCK_RANK_STREAM);
	s->size = size;
	s->window_max = window_max;
	s->delay_ns = delay_ns;
}

void stream_set_release(struct stream_set *s)
{
	mutex_destroy(&s->lock);
}

/* How far beside its end a read may begin and still belong to the stream. */
static uint64_t stream_slack(const struct stream *st, uint64_t len)
{
	if (st->window)
		return STREAM_SLACK;
	return len >= STREAM_LARGE_READ ? 2 * len : 0;
}

static bool stream_owns(const struct stream *st, uint64_t off, uint64_t len)
{
	uint64_t slack = stream_slack(st, len);

	return st->reads && off + slack >= st->end && off <= st->end + slack;
}

static bool stream_is_idle(const struct stream_set *s, const struct stream *st)
{
	return !st->window || s->tick - st->used > STREAM_IDLE_READS;
}

/* Whether @a is to give way before @b: candidates first, then the one that rested longest. */
static bool stream_gives_way(const struct stream_set *s, const struct stream *a,
			     const struct stream *b)
{
	bool idle_a = stream_is_idle(s, a);
	bool idle_b = stream_is_idle(s, b);

	return idle_a != idle_b ? idle_a : a->used < b->used;
}

static struct stream *stream_set_find_locked(struct stream_set *s, uint64_t off, uint64_t len)
	REQUIRES(s->lock)
{
	for (unsigned i = 0; i < STREAMS_PER_FILE; i++)
		if (stream_owns(&s->streams[i], off, len))
			return &s->streams[i];
	return NULL;
}

static struct stream *stream_set_start_locked(struct stream_set *s, uint64_t off) REQUIRES(s->lock)
{
	struct stream *victim = &s->streams[0];

	for (unsigned i = 1; i < STREAMS_PER_FILE; i++)
		if (stream_gives_way(s, &s->streams[i], victim))
			victim = &s->streams[i];
	*victim = (struct stream){ .start = off, .end = off };
	return victim;
}

static bool stream_is_sequential(const struct stream *st)
{
	return st->reads >= STREAM_MIN_READS || (st->reads >= 2 && st->bytes >= STREAM_MIN_BYTES);
}

/* Twice as much, or more while that is less than what the reader has read: it has earned it. */
static uint64_t stream_wider(const struct stream *st)
{
	uint64_t earned = MAX(st->bytes / 4, MIN(4 * st->window, st->bytes));

	return MAX(2 * st->window, earned);
}

/* Begins or widens the window after a read at @off. */
static void stream_grow(struct stream *st, uint64_t off, bool missed, uint64_t max)
{
	if (!st->window) {
		if (!stream_is_sequential(st))
			return;
		st->window = MIN(MAX(st->bytes / 8, STREAM_WINDOW_MIN), max);
	} else if (missed && off >= st->grown_at && st->served >= st->grown_end &&
		   st->window < max) {
		st->window = MIN(stream_wider(st), max);
	} else {
		return;
	}
	st->grown_at = MAX(st->ahead, st->end);
	st->grown_end = st->end;
}

/* What a far origin asks for beyond that. */
static void stream_reach_far(struct stream *st, uint64_t delay_ns, uint64_t max)
{
	uint64_t far = MIN(delay_ns * STREAM_BYTES_PER_NS, STREAM_FAR_FACTOR * st->bytes);

	if (st->window && st->window < MIN(far, max))
		st->window = MIN(far, max);
}

/* The next piece: half a window at least, so that requests are large. */
static struct stream_ask stream_next(struct stream *st, uint64_t size)
{
	struct stream_ask ask = { .off = MAX(st->ahead, st->end) };
	uint64_t step = MIN(st->window / 2, STREAM_STEP_MAX);
	uint64_t to = MIN(st->end + st->window, size);

	if (to <= ask.off || (to - ask.off < step && to < size))
		return ask;
	ask.len = to - ask.off;
	st->ahead = to;
	return ask;
}

static struct stream_ask stream_read_locked(struct stream_set *s, uint64_t off, uint64_t len,
					    bool missed) REQUIRES(s->lock)
{
	struct stream *st = stream_set_find_locked(s, off, len);

	s->tick++;
	if (!st)
		st = stream_set_start_locked(s, off);
	st->used = s->tick;
	st->reads++;
	st->bytes += len;
	st->start = MIN(st->start, off);
	st->end = MAX(st->end, off + len);
	if (!missed)
		st->served = MAX(st->served, off + len);
	stream_grow(st, off, missed, s->window_max);
	stream_reach_far(st, s->delay_ns, s->window_max);
	return st->window ? stream_next(st, s->size) : (struct stream_ask){ 0 };
}

struct stream_ask stream_read(struct stream_set *s, uint64_t off, uint64_t len, bool missed)
{
	struct stream_ask ask;

	if (!s->window_max || !len)
		return (struct stream_ask){ 0 };
	mutex_lock(&s->lock);
	ask = stream_read_locked(s, off, len, missed);
	mutex_unlock(&s->lock);
	return ask;
}

/* Reads of what nobody had asked for before tell how far the origin is: the nearest counts most. */
static void stream_measure_locked(struct stream_set *s, uint64_t took_ns) REQUIRES(s->lock)
{
	if (!s->delay_ns || took_ns < s->delay_ns)
		s->delay_ns = took_ns;
	else
		s->delay_ns += (took_ns - s->delay_ns) / 16;
}

static void stream_served_locked(struct stream_set *s, uint64_t off, uint64_t end, uint64_t took_ns)
	REQUIRES(s->lock)
{
	for (unsigned i = 0; i < STREAMS_PER_FILE; i++) {
		struct stream *st = &s->streams[i];

		if (!st->reads || off < st->start || end > st->end)
			continue;
		st->served = MAX(st->served, end);
		if (!st->window)
			stream_measure_locked(s, took_ns);
	}
}

void stream_served(struct stream_set *s, uint64_t off, uint64_t len, uint64_t took_ns)
{
	if (!s->window_max)
		return;
	mutex_lock(&s->lock);
	stream_served_locked(s, off, off + len, took_ns);
	mutex_unlock(&s->lock);
}
