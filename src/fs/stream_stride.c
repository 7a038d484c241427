/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces at a constant distance: a column of a matrix, the heads of records, blocks read backwards. Three runs of about
 * one length at equal distances, in time and in place, are a row; four, where they are small, since random reads make
 * three by chance. Only the pieces are fetched, one by one.
 *
 * One piece is asked for at first; their number doubles when the reader stalls on one that was asked for after the last
 * growth, as far as a quarter of what it has read: so a row that ends has cost little. Pieces that lie a little beside the rule
 * are fetched with that much more on both sides, and not at all where that would cost more than it spares.
 */
#include "fs/stream_private.h"

enum {
	DEPTH_MAX = 64,   /* pieces */
	DEPTH_SHARE = 4,  /* of what has been read */
	JITTER_SHARE = 8, /* of a piece, on each side */
	LOOK_BACK = 16,   /* runs that may be the last but one of a row */
	LOOK_BACK_MORE = 32,
	SKIPS_MAX = 3,
};
#define SURE_PIECE KIB(64)

static const struct stream_run *run_before(const struct stream_state *t, uint64_t n)
{
	if (n > t->next_run || n > t->n_runs)
		return NULL;
	return &t->runs[(t->next_run - n) & (t->n_runs - 1)];
}

static uint64_t gap(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static uint64_t length_of(const struct stream_run *r)
{
	return r->end - r->start;
}

/* Whether a run before the @n-th last one begins within @slack of @at and is about as long as @len. */
static const struct stream_run *find_before(const struct stream_state *t, uint64_t n, uint64_t at,
					    uint64_t len, uint64_t slack)
{
	for (n++; n <= LOOK_BACK_MORE; n++) {
		const struct stream_run *r = run_before(t, n);

		if (!r)
			return NULL;
		if (gap(r->start, at) <= slack && gap(length_of(r), len) <= len / 4)
			return r;
	}
	return NULL;
}

static uint64_t slack_of(uint64_t piece)
{
	return (piece / JITTER_SHARE) & ~(VMOFS_PAGE_SIZE - 1);
}

static bool is_row(const struct stream_state *t, uint64_t off, uint64_t n,
		   struct stream_stride *out)
{
	const struct stream_run *b = run_before(t, n);
	uint64_t piece = length_of(b);
	uint64_t step = off - b->start;
	uint64_t slack = 2 * slack_of(piece);
	const struct stream_run *a = find_before(t, n, b->start - step, piece, slack);

	if (gap(off, b->start) < piece || !a)
		return false;
	if (piece < SURE_PIECE && !find_before(t, n, a->start - step, piece, slack))
		return false;
	*out = (struct stream_stride){
		.first = a->start,
		.n_steps = 2,
		.at = off,
		.step = (int64_t)(off - a->start) / 2,
		.piece = MAX(piece, length_of(a)),
		.jitter = gap(b->start - a->start, step) / 2,
		.n_read = 3,
		.depth = 1,
	};
	return true;
}

bool stream_stride_begin_locked(struct stream_set *s, uint64_t off, struct stream_stride *out)
{
	for (uint64_t n = 1; n <= LOOK_BACK; n++) {
		if (!run_before(s->state, n))
			return false;
		if (is_row(s->state, off, n, out))
			return true;
	}
	return false;
}

/* The place of the @k-th piece after the last one. */
static uint64_t place(const struct stream_stride *r, uint64_t k)
{
	return r->at + k * (uint64_t)r->step;
}

static uint64_t tolerance(const struct stream_stride *r)
{
	return MAX(2 * slack_of(r->piece), 2 * r->jitter);
}

/* Which piece from the last one on begins at @off; UINT64_MAX: none. */
static uint64_t piece_at(const struct stream_stride *r, uint64_t off)
{
	if (off >= r->at && off < r->at + r->piece)
		return 0;
	for (uint64_t k = 1; k <= SKIPS_MAX; k++)
		if (gap(off, place(r, k)) <= tolerance(r))
			return k;
	return UINT64_MAX;
}

uint64_t stream_stride_distance(const struct stream *st, uint64_t off)
{
	uint64_t k = piece_at(&st->stride, off);

	return k == UINT64_MAX ? k : gap(off, place(&st->stride, k));
}

/* The rule follows what is read: the distance as the mean of all so far, the place slowly. */
static void follow(struct stream_stride *r, uint64_t off, uint64_t k)
{
	uint64_t at = place(r, k);
	int64_t off_by = (int64_t)(off - at);

	r->jitter = MAX(r->jitter - r->jitter / 8, gap(off, at));
	r->at = at + (uint64_t)(off_by / 4);
	r->n_steps += k;
	r->step = (int64_t)(off - r->first) / (int64_t)r->n_steps;
	r->n_read++;
	r->ahead -= MIN(r->ahead, k);
	if (k > 1)
		r->depth = MAX(r->depth / 2, UINT64_C(1));
}

static uint64_t depth_max(const struct stream_set *s, const struct stream_stride *r)
	REQUIRES(s->lock)
{
	uint64_t most = MIN((uint64_t)DEPTH_MAX, r->n_read / DEPTH_SHARE);

	return MAX(MIN(most, stream_window_max_locked(s) / r->piece), UINT64_C(1));
}

void stream_stride_read_locked(struct stream_set *s, struct stream *st, uint64_t off, uint64_t len,
			       enum stream_how how)
{
	struct stream_stride *r = &st->stride;
	uint64_t k = piece_at(r, off);

	if (k == 0) {
		r->piece = MAX(r->piece, off + len - r->at);
		return;
	}
	follow(r, off, k);
	if (how != STREAM_HIT)
		r->depth = MIN(2 * r->depth, depth_max(s, r));
}

static bool is_inside(const struct stream_set *s, const struct stream_stride *r, uint64_t k)
{
	uint64_t at = place(r, k);

	/* Below the beginning of the file it wraps round. */
	return at < s->size && gap(at, r->at) <= s->size;
}

static void put(const struct stream_set *s, const struct stream_stride *r, uint64_t k,
		struct stream_ask *ask)
{
	uint64_t beside = r->jitter + r->jitter / 4;
	uint64_t at = place(r, k);
	uint64_t off = at - MIN(at, beside);
	uint64_t end = MIN(at + r->piece + beside, s->size);

	ask->piece[ask->n++] = (struct stream_piece){ off, end - off };
}

void stream_stride_next_locked(struct stream_set *s, struct stream *st, struct stream_ask *ask)
{
	struct stream_stride *r = &st->stride;

	if (r->jitter > slack_of(r->piece))
		return;
	while (r->ahead < r->depth && ask->n < STREAM_PIECES && is_inside(s, r, r->ahead + 1))
		put(s, r, ++r->ahead, ask);
}
