/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs: reads that follow each other and are no stream yet. The last ones of a file are kept in a ring, short at first;
 * it grows when many readers, or random ones, fill it. A run is a stream by its third read, by its second one when
 * these are large, and by its first where a very large one begins at the beginning of the file.
 *
 * The kernel's own read-ahead sends several requests at once, which arrive out of order: large reads may begin a
 * little beside the end of a run. What then has more holes than bytes is no run.
 */
#include <stdlib.h>

#include "fs/stream_private.h"

enum {
	RUN_MIN_READS = 3,   /* of any size make a stream */
	RUN_LARGE_READS = 2, /* of RUN_MIN_BYTES together do too */
	RUN_MIN_DOWN = 2,    /* steps downwards: one may be two requests that passed each other */
};
#define RUN_MIN_BYTES  KIB(256)
#define RUN_WHOLE_READ MIB(1)   /* at the beginning of the file it is a stream at once */
#define RUN_LARGE_READ KIB(128) /* the least that the kernel's read-ahead sends in pieces */

static struct stream_run *run_at(const struct stream_state *t, uint64_t n)
{
	return &t->runs[n & (t->n_runs - 1)];
}

/* The ring has gone round: more of the past is worth keeping. */
static void runs_grow(struct stream_state *t)
{
	struct stream_run *more;

	if (t->next_run < 2 * t->n_runs || t->n_runs >= STREAM_RUNS_MAX)
		return;
	more = calloc(2 * (size_t)t->n_runs, sizeof *more);
	if (!more)
		return;
	/* The oldest first: rows are looked for in the order of time. */
	for (unsigned i = 0; i < t->n_runs; i++)
		more[i] = *run_at(t, t->next_run + i);
	free(t->runs);
	t->runs = more;
	t->next_run = t->n_runs;
	t->n_runs *= 2;
}

static struct stream_run *run_start(struct stream_state *t, uint64_t off, uint64_t len)
{
	struct stream_run *r;

	runs_grow(t);
	r = run_at(t, t->next_run++);
	*r = (struct stream_run){ .start = off, .end = off + len, .bytes = len };
	return r;
}

static bool continues_up(const struct stream_run *r, uint64_t off, uint64_t len)
{
	uint64_t slack = len >= RUN_LARGE_READ ? 2 * len : 0;

	return off + slack >= r->end && off <= r->end + slack;
}

static struct stream_run *find(const struct stream_state *t, uint64_t off, uint64_t len, bool *down)
{
	struct stream_run *found = NULL;

	for (unsigned i = 0; i < t->n_runs; i++) {
		struct stream_run *r = &t->runs[i];

		if (!r->end || r->promoted)
			continue;
		*down = off + len == r->start;
		if (*down || off == r->end)
			return r;
		if (continues_up(r, off, len))
			found = r;
	}
	*down = false;
	return found;
}

static void extend(struct stream_run *r, uint64_t off, uint64_t len, bool down)
{
	if (down)
		r->n_down++;
	else
		r->n_up++;
	r->bytes += len;
	r->start = MIN(r->start, off);
	r->end = MAX(r->end, off + len);
}

static bool is_dense(const struct stream_run *r)
{
	return 4 * r->bytes >= 3 * (r->end - r->start);
}

static bool is_stream(const struct stream_run *r, bool down)
{
	uint32_t reads = 1 + r->n_up + r->n_down;

	if (!is_dense(r))
		return false;
	if (down)
		return r->n_down >= RUN_MIN_DOWN && !r->n_up;
	return reads >= RUN_MIN_READS || (reads >= RUN_LARGE_READS && r->bytes >= RUN_MIN_BYTES);
}

static struct stream *promote_locked(struct stream_set *s, struct stream_run *r, bool down,
				     enum stream_how how) REQUIRES(s->lock)
{
	struct stream *st = stream_new_locked(s);

	r->promoted = true;
	st->down = down;
	stream_seq_begin_locked(s, st, r, how);
	return st;
}

static struct stream *start_locked(struct stream_set *s, uint64_t off, uint64_t len,
				   enum stream_how how) REQUIRES(s->lock)
{
	struct stream_stride row;
	/* Who finds everything needs no pieces, and hits are to be cheap. */
	bool is_row = how != STREAM_HIT && stream_stride_begin_locked(s, off, &row);
	struct stream_run *r = run_start(s->state, off, len);
	struct stream *st;

	if (off == 0 && len >= RUN_WHOLE_READ)
		return promote_locked(s, r, false, how);
	if (!is_row)
		return NULL;
	r->promoted = true;
	st = stream_new_locked(s);
	st->strided = true;
	st->stride = row;
	return st;
}

struct stream *stream_run_read_locked(struct stream_set *s, uint64_t off, uint64_t len,
				      enum stream_how how)
{
	bool down;
	struct stream_run *r = find(s->state, off, len, &down);

	if (!r)
		return start_locked(s, off, len, how);
	extend(r, off, len, down);
	return is_stream(r, down) ? promote_locked(s, r, down, how) : NULL;
}

unsigned stream_n_runs_locked(const struct stream_set *s)
{
	const struct stream_state *t = s->state;
	unsigned n = 0;

	for (unsigned i = 0; i < t->n_runs; i++)
		n += t->runs[i].end && !t->runs[i].promoted;
	return n;
}

bool stream_run_has_locked(const struct stream_set *s, uint64_t off, uint64_t end)
{
	const struct stream_state *t = s->state;

	for (unsigned i = 0; i < t->n_runs; i++)
		if (!t->runs[i].promoted && off >= t->runs[i].start && end <= t->runs[i].end)
			return true;
	return false;
}
