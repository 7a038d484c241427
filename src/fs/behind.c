/* SPDX-License-Identifier: Apache-2.0 */
/* Following one sequential stream of a file, for what it leaves behind. */
#include "fs/behind.h"

#include "base/macros.h"
#include "store/store.h"

/* The kernel's read-ahead comes in several requests at once, and not quite in order. */
enum { NEAR = 16 << 20 };
/* Dropping goes in steps, so that most reads cost a comparison. */
enum { STEP_BLOCKS = 2 };

void behind_init(struct behind *b, uint64_t keep)
{
	*b = (struct behind){ .keep = keep };
	mutex_init(&b->lock, LOCK_RANK_STREAM);
}

void behind_release(struct behind *b)
{
	mutex_destroy(&b->lock);
}

static bool is_near(const struct behind *b, uint64_t off)
{
	return off + NEAR >= b->end && off <= b->end + NEAR;
}

static struct behind_drop drop_before(struct behind *b, uint64_t limit)
{
	struct behind_drop drop = { b->dropped, 0 };

	limit -= limit % STORE_BLOCK;
	if (limit < b->dropped + STEP_BLOCKS * STORE_BLOCK)
		return drop;
	drop.len = limit - b->dropped;
	b->dropped = limit;
	return drop;
}

struct behind_drop behind_read(struct behind *b, uint64_t off, uint64_t len)
{
	struct behind_drop drop = { 0 };

	if (!b->keep)
		return drop;
	mutex_lock(&b->lock);
	if (is_near(b, off)) {
		b->end = MAX(b->end, off + len);
	} else {
		b->start = off;
		b->end = off + len;
		b->dropped = off - off % STORE_BLOCK;
	}
	/* Only what has proved to be a long read. */
	if (b->end - b->start > 2 * b->keep)
		drop = drop_before(b, b->end - b->keep);
	mutex_unlock(&b->lock);
	return drop;
}
