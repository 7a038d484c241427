/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a long sequential read leaves behind: the kernel's page cache has it, so the daemon need not
 * keep it too. The memory is used again for what comes next, which is what makes streaming cheap.
 * One stream a file is followed; a read elsewhere starts over. Pure logic; any thread.
 */
#ifndef FS_BEHIND_H
#define FS_BEHIND_H

#include <stdint.h>

#include "base/sync.h"

struct behind {
	struct mutex lock;
	uint64_t keep;    /* bytes behind the reader that stay; 0: nothing is dropped. Fixed */
	uint64_t start;   /* lock: lock; where the stream began */
	uint64_t end;     /* lock: lock; where it has come to */
	uint64_t dropped; /* lock: lock; what lies before has been dropped */
};

struct behind_drop {
	uint64_t off;
	uint64_t len; /* 0: nothing */
};

void behind_init(struct behind *b, uint64_t keep);
void behind_release(struct behind *b);
/* A read of [off, off+len) has been asked for; says what may go now, in whole blocks of the store. */
struct behind_drop behind_read(struct behind *b, uint64_t off, uint64_t len) EXCLUDES(b->lock);

#endif
