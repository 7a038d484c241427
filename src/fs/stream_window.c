/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window of a sequential stream begins at an eighth of what its reader has read, and at least doubles whenever
 * the reader stalls on something that was asked for after the last growth. It so tends towards bandwidth times delay, never
 * grows for a reader that is slower than the network, and a reader who stops after a few blocks has cost little. Where
 * the origin's pace is known, it ends at a multiple of that product: beyond it a stall has other reasons.
 *
 * A far origin would make that slow: each doubling costs its delay, and a new connection carries little at first. So the
 * window is at once what the delay asks for at two gigabytes a second (new connections are slow), as far as sixteen times
 * what has been read allows, less where readers have left much unread before.
 *
 * The kernel's own read-ahead, and its read-around of a page fault, send several requests at once. They arrive out of
 * order: reads a little beside the end still belong to the stream. And they show nothing of what the reader will do
 * next: the window grows only after answers have come.
 *
 * What was asked for, and is missed without being under way, has been evicted before it was read: the window halves, and rests.
 */
#include "fs/stream_private.h"
#include "store/store.h"

enum {
	BYTES_PER_NS = 2,
	FAR_FACTOR = 2,   /* times that may be ahead of one who has read as much */
	PACE_FACTOR = 32, /* what is measured while connections start is little */
	PARTS_MIN = 4,    /* a window has at least this many parts */
	REST_FACTOR = 4,
	DOWN_PIECES = 4, /* of an ask downwards, where the last byte is the nearest */
};
#define STEP_MAX   MIB(8)
#define SLACK_MAX  MIB(4) /* out of order within a stream */
#define RECENT_MAX MIB(16)
#define PIECE_MIN  KIB(256)
#define BLIND_MAX  MIB(64)              /* where the pace is not known */
#define BUSY_NS    (20 * NSEC_PER_MSEC) /* and of a near origin, this much time's worth */
#define UNPAID_MAX MIB(64)              /* most that is earned, but for a far window */

void stream_seq_begin_locked(struct stream_set *s, struct stream *st, const struct stream_run *run,
			     enum stream_how how)
{
	uint64_t len = run->end - run->start;
	struct stream_seq *q = &st->seq;

	q->start = stream_flip(s, st->down, run->start, len);
	q->end = q->start + len;
	q->served = how == STREAM_HIT ? q->end : q->start;
	q->asked_from = q->end;
	q->bytes = run->bytes;
	q->last = q->end;
	q->stalled = how != STREAM_HIT;
}

/* How far beside its end a read may begin and still belong to the stream. */
static uint64_t slack_of(uint64_t len)
{
	return MIN(MAX(4 * len, STREAM_WINDOW_MIN), SLACK_MAX);
}

uint64_t stream_seq_distance(const struct stream_set *s, const struct stream *st, uint64_t off,
			     uint64_t len)
{
	uint64_t at = stream_flip(s, st->down, off, len);
	uint64_t slack = slack_of(len);

	if (at + slack < st->seq.end || at > st->seq.end + slack)
		return UINT64_MAX;
	return at > st->seq.end ? at - st->seq.end : st->seq.end - at;
}

static void note_density(struct stream_seq *q, uint64_t at, uint64_t len)
{
	if (at > q->end)
		q->gaps += at - q->end;
	else if (at < q->end)
		q->gaps -= MIN(q->gaps, len);
	q->recent += len;
	if (q->recent > RECENT_MAX) {
		q->recent /= 2;
		q->gaps /= 2;
	}
}

bool stream_seq_is_sparse(const struct stream *st)
{
	/* Requests that passed each other leave holes that are filled soon. */
	return st->seq.gaps > SLACK_MAX + st->seq.recent / 3 ||
		(st->seq.gaps > st->seq.recent / 2 && st->seq.gaps > 4 * STREAM_WINDOW_MIN);
}

/* ---- how wide ---- */

/* Streams that have not read a window yet; they share what is risked. */
static unsigned n_unproven(const struct stream_set *s) REQUIRES(s->lock)
{
	const struct stream_state *t = s->state;
	unsigned n = 0;

	for (unsigned i = 0; i < t->n_streams; i++) {
		const struct stream *st = &t->streams[i];

		n += st->id && !st->strided && !st->left && !st->seq.proven;
	}
	return MAX(n, 1u);
}

/* What a far origin can be asked for at once. */
static uint64_t far_window(const struct stream_set *s) REQUIRES(s->lock)
{
	return s->pace.delay_ns * BYTES_PER_NS;
}

/* What the reader's past allows. */
static uint64_t earned(const struct stream_set *s, const struct stream_seq *q) REQUIRES(s->lock)
{
	uint64_t trusted = q->bytes * s->state->trust / STREAM_TRUST_UNIT;
	uint64_t far = far_window(s);

	if (!q->proven)
		trusted /= n_unproven(s);
	far = MAX(far, MIN(q->bytes, FAR_FACTOR * far));
	return MAX(MIN(trusted, MAX(UNPAID_MAX, far)), STREAM_WINDOW_MIN);
}

/* What the origin can make use of. */
static uint64_t useful(const struct stream_set *s) REQUIRES(s->lock)
{
	const struct vmofs_pace *p = &s->pace;
	double busy_ns = (double)MAX(PACE_FACTOR * p->delay_ns, BUSY_NS);
	double share = busy_ns * (double)p->bytes_per_sec / (double)NSEC_PER_SEC /
		stream_n_active_locked(s);

	if (!p->bytes_per_sec || !p->part_bytes)
		return MIN(s->window_max, BLIND_MAX);
	if (share >= (double)s->window_max)
		return s->window_max;
	return MAX((uint64_t)share, PARTS_MIN * p->part_bytes);
}

static uint64_t limit_locked(const struct stream_set *s, const struct stream_seq *q)
	REQUIRES(s->lock)
{
	uint64_t room = stream_window_max_locked(s);

	return MIN(MIN(room, useful(s)), earned(s, q));
}

/* Twice as much, or more while that is less than what the reader has read: it has earned it. */
static uint64_t wider(const struct stream_seq *q)
{
	uint64_t more = MAX(q->bytes / 4, MIN(4 * q->window, q->bytes));

	return MAX(2 * q->window, more);
}

static bool may_grow(const struct stream_seq *q, uint64_t limit)
{
	return q->stalled && q->last >= q->grown_at && q->served >= q->grown_end &&
		q->window < limit && q->bytes >= q->rests_until;
}

/* Begins or widens the window after a read. */
static void grow(struct stream_seq *q, uint64_t limit)
{
	if (!q->window) {
		q->window = MIN(MAX(q->bytes / 8, STREAM_WINDOW_MIN), limit);
	} else if (may_grow(q, limit)) {
		q->window = MIN(wider(q), limit);
	} else {
		return;
	}
	q->grown_at = MAX(q->ahead, q->end);
	q->grown_end = q->end;
}

/* What a far origin asks for beyond that. */
static void reach_far(const struct stream_set *s, struct stream_seq *q, uint64_t limit)
	REQUIRES(s->lock)
{
	uint64_t far = MIN(far_window(s), limit);

	if (q->stalled && q->window < far && q->bytes >= q->rests_until)
		q->window = far;
}

static void shrink(struct stream_seq *q)
{
	q->window = MAX(q->window / 2, STREAM_WINDOW_MIN);
	q->rests_until = q->bytes + REST_FACTOR * q->window;
}

/* Fetching ahead has paid for a whole window. */
static void note_used(struct stream_set *s, struct stream_seq *q, uint64_t len) REQUIRES(s->lock)
{
	q->used += len;
	if (q->used < q->window)
		return;
	q->used = 0;
	q->proven = true;
	s->state->trust = MIN(MAX(2 * s->state->trust, 1u), (unsigned)STREAM_TRUST_MAX);
}

void stream_seq_read_locked(struct stream_set *s, struct stream *st, uint64_t off, uint64_t len,
			    enum stream_how how)
{
	struct stream_seq *q = &st->seq;
	uint64_t at = stream_flip(s, st->down, off, len);

	note_density(q, at, len);
	q->bytes += len;
	q->start = MIN(q->start, at);
	q->end = MAX(q->end, at + len);
	q->last = at;
	q->stalled = how != STREAM_HIT;
	if (!q->stalled)
		q->served = MAX(q->served, at + len);
	if (at < q->asked_from || at + len > q->ahead)
		return;
	if (how != STREAM_MISS) {
		note_used(s, q, len);
	} else {
		shrink(q);
		q->ahead = q->end;
		q->asked_from = q->end;
	}
}

/* ---- what next ---- */

static void put_piece(const struct stream_set *s, const struct stream *st, uint64_t from,
		      uint64_t to, struct stream_ask *ask)
{
	uint64_t off = stream_flip(s, st->down, from, to - from);

	if (off < s->size && ask->n < STREAM_PIECES)
		ask->piece[ask->n++] = (struct stream_piece){ off, MIN(to - from, s->size - off) };
}

static void put_range(const struct stream_set *s, const struct stream *st, uint64_t from,
		      uint64_t to, struct stream_ask *ask)
{
	uint64_t step = to - from;

	if (st->down)
		step = MAX((step / DOWN_PIECES + PIECE_MIN - 1) & ~(PIECE_MIN - 1), PIECE_MIN);
	for (; from < to; from += MIN(step, to - from))
		put_piece(s, st, from, MIN(from + step, to), ask);
}

/* A wide window ends on a border of the store's blocks, which are prepared whole. */
static uint64_t on_border(const struct stream_set *s, const struct stream *st, uint64_t from,
			  uint64_t to)
{
	uint64_t off = stream_flip(s, st->down, to, 0);
	uint64_t over =
		st->down ? (STORE_BLOCK - off % STORE_BLOCK) % STORE_BLOCK : off % STORE_BLOCK;

	return to - from > 2 * STORE_BLOCK ? to - over : to;
}

/* The next piece: half a window at least, so that requests are large. */
static void next(struct stream_set *s, struct stream *st, struct stream_ask *ask) REQUIRES(s->lock)
{
	struct stream_seq *q = &st->seq;
	uint64_t top = stream_flip(s, st->down, st->down ? 0 : s->size, 0);
	uint64_t from = MAX(q->ahead, q->end);
	uint64_t step = MIN(q->window / 2, STEP_MAX);
	uint64_t to = MIN(q->end + q->window, top);

	if (to <= from || (to - from < step && to < top))
		return;
	if (to < top)
		to = on_border(s, st, from, to);
	put_range(s, st, from, to, ask);
	if (q->ahead < q->end)
		q->asked_from = from;
	q->ahead = to;
}

void stream_seq_next_locked(struct stream_set *s, struct stream *st, struct stream_ask *ask)
{
	struct stream_seq *q = &st->seq;
	uint64_t limit = limit_locked(s, q);

	grow(q, limit);
	reach_far(s, q, limit);
	/* Others have come, or the origin has become nearer. */
	q->window = MIN(q->window, limit);
	next(s, st, ask);
}

void stream_seq_refused(struct stream *st, uint64_t refused)
{
	struct stream_seq *q = &st->seq;

	q->ahead -= MIN(refused, q->ahead - MIN(q->end, q->ahead));
	shrink(q);
}
