/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streams of one file: which one a read belongs to, whose place a new one takes, and whether fetching ahead pays.
 * What is asked for is decided in stream_window.c and stream_stride.c. Any thread, under the set's lock.
 */
#include "fs/stream.h"

#include <stdlib.h>
#include <string.h>

#include "fs/stream_private.h"

enum {
	STREAMS_MIN = 2,
	IDLE_READS = 1024, /* of others make a stream give up its place */
	LEFT_ROUNDS = 2,   /* of all readers without a read of its own: its reader has gone */
	LEFT_SLACK = 8,
};

void stream_set_init(struct stream_set *s, uint64_t size, uint64_t window_max, uint64_t keep,
		     const struct vmofs_pace *pace)
{
	memset(s, 0, sizeof *s);
	mutex_init(&s->lock, LOCK_RANK_STREAM);
	s->size = size;
	s->window_max = window_max;
	s->keep = keep;
	s->pace = *pace;
}

static void state_free(struct stream_state *t)
{
	if (!t)
		return;
	free(t->streams);
	free(t->runs);
	free(t);
}

void stream_set_release(struct stream_set *s)
{
	state_free(steal_ptr(&s->state));
	mutex_destroy(&s->lock);
}

static struct stream_state *state_new(void)
{
	struct stream_state *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->n_streams = STREAMS_MIN;
	t->streams = calloc(t->n_streams, sizeof *t->streams);
	t->n_runs = STREAM_RUNS_MIN;
	t->runs = calloc(t->n_runs, sizeof *t->runs);
	t->trust = STREAM_TRUST_MAX;
	if (t->streams && t->runs)
		return t;
	state_free(t);
	return NULL;
}

uint64_t stream_flip(const struct stream_set *s, bool down, uint64_t off, uint64_t len)
{
	uint64_t top = (s->size + VMOFS_PAGE_SIZE - 1) & ~(VMOFS_PAGE_SIZE - 1);

	return down ? top - off - len : off;
}

/* ---- places ---- */

static bool is_idle(const struct stream_state *t, const struct stream *st)
{
	return !st->id || t->tick - st->tick > IDLE_READS;
}

/* Twice as many places, as far as that goes. */
static bool grow_places(struct stream_state *t)
{
	unsigned n = 2 * t->n_streams;
	struct stream *more = n <= STREAMS_MAX ? calloc(n, sizeof *more) : NULL;

	if (!more)
		return false;
	memcpy(more, t->streams, t->n_streams * sizeof *more);
	free(t->streams);
	t->streams = more;
	t->n_streams = n;
	return true;
}

/* The one that has rested longest. */
static struct stream *oldest(struct stream_state *t)
{
	struct stream *found = &t->streams[0];

	for (unsigned i = 1; i < t->n_streams; i++) {
		struct stream *st = &t->streams[i];

		if (!st->id || (found->id && st->tick < found->tick))
			found = st;
	}
	return found;
}

unsigned stream_n_active_locked(const struct stream_set *s)
{
	const struct stream_state *t = s->state;
	unsigned n = 0;

	for (unsigned i = 0; i < t->n_streams; i++)
		n += !is_idle(t, &t->streams[i]) && !t->streams[i].left;
	return MAX(n, 1u);
}

uint64_t stream_window_max_locked(const struct stream_set *s)
{
	return s->window_max / stream_n_active_locked(s);
}

/* A reader who goes leaves what was fetched for him: if that is much, the next ones get less. */
static void leave(struct stream_state *t, struct stream *st)
{
	uint64_t bytes = st->strided ? st->stride.n_read * st->stride.piece : st->seq.bytes;

	st->left = true;
	if (st->unread > bytes / 4)
		t->trust /= 2;
	st->unread = 0;
}

/* Its reader waits for an answer, so it is still there. */
static bool is_waiting(const struct stream *st)
{
	return !st->strided && st->seq.served < st->seq.end;
}

static void note_left_locked(struct stream_set *s) REQUIRES(s->lock)
{
	struct stream_state *t = s->state;
	unsigned n = stream_n_active_locked(s) + stream_n_runs_locked(s);
	uint64_t rest = LEFT_ROUNDS * (uint64_t)n + LEFT_SLACK;

	for (unsigned i = 0; i < t->n_streams; i++) {
		struct stream *st = &t->streams[i];

		if (st->id && !st->left && !is_waiting(st) && t->tick - st->tick > rest)
			leave(t, st);
	}
}

struct stream *stream_new_locked(struct stream_set *s)
{
	struct stream_state *t = s->state;
	struct stream *st;

	note_left_locked(s);
	st = oldest(t);
	if (!is_idle(t, st) && grow_places(t))
		st = oldest(t);
	if (st->id && !st->left)
		leave(t, st);
	*st = (struct stream){ .id = ++t->last_id, .tick = t->tick };
	return st;
}

/* ---- reads ---- */

static uint64_t distance(const struct stream_set *s, const struct stream *st, uint64_t off,
			 uint64_t len)
{
	return st->strided ? stream_stride_distance(st, off) : stream_seq_distance(s, st, off, len);
}

/* The nearest one: two readers may be close to each other. */
static struct stream *owner_locked(struct stream_set *s, uint64_t off, uint64_t len)
	REQUIRES(s->lock)
{
	struct stream_state *t = s->state;
	uint64_t least = UINT64_MAX;
	struct stream *found = NULL;

	for (unsigned i = 0; i < t->n_streams; i++) {
		uint64_t d = t->streams[i].id ? distance(s, &t->streams[i], off, len) : UINT64_MAX;

		if (d < least) {
			least = d;
			found = &t->streams[i];
		}
	}
	return found;
}

static void continue_locked(struct stream_set *s, struct stream *st, uint64_t off, uint64_t len,
			    enum stream_how how) REQUIRES(s->lock)
{
	st->tick = s->state->tick;
	st->left = false;
	if (how != STREAM_MISS)
		st->unread -= MIN(st->unread, len);
	if (st->strided)
		stream_stride_read_locked(s, st, off, len, how);
	else
		stream_seq_read_locked(s, st, off, len, how);
}

static struct stream *take_locked(struct stream_set *s, uint64_t off, uint64_t len,
				  enum stream_how how) REQUIRES(s->lock)
{
	struct stream *st = owner_locked(s, off, len);

	if (!st)
		return stream_run_read_locked(s, off, len, how);
	continue_locked(s, st, off, len, how);
	if (st->strided || !stream_seq_is_sparse(st))
		return st;
	/* Its next reads are looked at afresh. */
	leave(s->state, st);
	st->id = 0;
	return NULL;
}

static void read_locked(struct stream_set *s, uint64_t off, uint64_t len, enum stream_how how,
			struct stream_ask *ask) REQUIRES(s->lock)
{
	struct stream *st;

	if (!s->state)
		s->state = state_new();
	if (!s->state)
		return;
	s->state->tick++;
	st = take_locked(s, off, len, how);
	if (!st)
		return;
	ask->stream = st->id;
	if (!st->strided)
		stream_behind_locked(s, st, &ask->behind);
	if (!s->window_max)
		return;
	if (st->strided)
		stream_stride_next_locked(s, st, ask);
	else
		stream_seq_next_locked(s, st, ask);
}

static bool is_followed(const struct stream_set *s)
{
	return s->window_max || s->keep;
}

bool stream_read(struct stream_set *s, uint64_t off, uint64_t len, enum stream_how how,
		 struct stream_ask *ask)
{
	ask->n = 0;
	ask->behind.len = 0;
	if (!is_followed(s) || off >= s->size || !len)
		return false;
	len = MIN(len, s->size - off);
	mutex_lock(&s->lock);
	read_locked(s, off, len, how, ask);
	mutex_unlock(&s->lock);
	return ask->n || ask->behind.len;
}

/* ---- what came of it ---- */

static void asked_locked(struct stream_set *s, uint64_t id, uint64_t fresh, uint64_t refused)
	REQUIRES(s->lock)
{
	struct stream_state *t = s->state;

	for (unsigned i = 0; i < t->n_streams; i++) {
		struct stream *st = &t->streams[i];

		if (st->id != id)
			continue;
		st->unread += fresh;
		if (refused && st->strided)
			st->stride.depth = MAX(st->stride.depth / 2, UINT64_C(1));
		else if (refused)
			stream_seq_refused(st, refused);
	}
}

void stream_asked(struct stream_set *s, const struct stream_ask *ask, uint64_t fresh,
		  uint64_t refused)
{
	mutex_lock(&s->lock);
	asked_locked(s, ask->stream, fresh, refused);
	mutex_unlock(&s->lock);
}

/* Reads of what nobody had asked for before tell how far the origin is: the nearest counts most. */
static void measure_locked(struct stream_set *s, uint64_t took_ns) REQUIRES(s->lock)
{
	if (!s->pace.delay_ns || took_ns < s->pace.delay_ns)
		s->pace.delay_ns = took_ns;
	else
		s->pace.delay_ns += (took_ns - s->pace.delay_ns) / 16;
}

static void served_locked(struct stream_set *s, uint64_t off, uint64_t len, uint64_t took_ns)
	REQUIRES(s->lock)
{
	struct stream_state *t = s->state;

	for (unsigned i = 0; i < t->n_streams; i++) {
		struct stream *st = &t->streams[i];
		uint64_t end = stream_flip(s, st->down, off, len) + len;

		if (st->id && !st->strided && end - len >= st->seq.start && end <= st->seq.end)
			st->seq.served = MAX(st->seq.served, end);
	}
	/* The provider knows better, where it measures. */
	if (!s->pace.bytes_per_sec && stream_run_has_locked(s, off, off + len))
		measure_locked(s, took_ns);
}

void stream_served(struct stream_set *s, uint64_t off, uint64_t len, uint64_t took_ns)
{
	if (!is_followed(s) || off >= s->size)
		return;
	mutex_lock(&s->lock);
	if (s->state)
		served_locked(s, off, MIN(len, s->size - off), took_ns);
	mutex_unlock(&s->lock);
}

void stream_set_pace(struct stream_set *s, const struct vmofs_pace *pace)
{
	mutex_lock(&s->lock);
	if (pace->delay_ns)
		s->pace.delay_ns = pace->delay_ns;
	if (pace->bytes_per_sec)
		s->pace.bytes_per_sec = pace->bytes_per_sec;
	if (pace->part_bytes)
		s->pace.part_bytes = pace->part_bytes;
	mutex_unlock(&s->lock);
}
