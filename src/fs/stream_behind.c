/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a long sequential stream leaves behind: the kernel's page cache has it, so the daemon need not keep it too. The
 * memory is used again for what comes next, which is what makes streaming cheap (store/anon.c). Under the set's lock.
 */
#include "fs/stream_private.h"
#include "store/store.h"

/* Dropping goes in steps, so that most reads cost a comparison. */
#define STEP (2 * STORE_BLOCK)

/* The whole blocks of a range. */
static struct stream_piece blocks_of(uint64_t off, uint64_t len)
{
	uint64_t end = (off + len) / STORE_BLOCK * STORE_BLOCK;

	off = (off + STORE_BLOCK - 1) / STORE_BLOCK * STORE_BLOCK;
	return (struct stream_piece){ off, end > off ? end - off : 0 };
}

void stream_behind_locked(struct stream_set *s, struct stream *st, struct stream_piece *out)
{
	struct stream_seq *q = &st->seq;
	struct stream_piece p;
	uint64_t len;

	/* Only of what has proved to be a long read. */
	if (!s->keep || q->end - q->start <= 2 * s->keep)
		return;
	q->dropped = MAX(q->dropped, q->start);
	if (q->end - s->keep < q->dropped + STEP)
		return;
	len = q->end - s->keep - q->dropped;
	p = blocks_of(stream_flip(s, st->down, q->dropped, len), len);
	if (p.len < STEP)
		return;
	q->dropped = stream_flip(s, st->down, st->down ? p.off : p.off + p.len, 0);
	*out = p;
}
