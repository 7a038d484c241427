/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simple read-ahead: recognises the sequential streams among the reads of one file and says what to
 * ask for next. Streams are told apart by where they read, not by file handle. It is pure logic: the
 * caller does the prefetch. Any thread.
 */
#ifndef FS_STREAM_H
#define FS_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sync.h"

enum { STREAMS_PER_FILE = 8 };

/*
 * A read that continues no stream starts a candidate; a candidate that is continued becomes a stream.
 * Only streams read ahead: random reads get exactly what they ask for.
 */
struct stream {
	uint64_t start;  /* where its reads began */
	uint64_t end;    /* where its reads have come to */
	uint64_t served; /* where their answers have come to */
	uint64_t ahead;  /* what has been asked for up to here */
	uint64_t window; /* bytes to keep asked for beyond end; 0: a candidate */
	/* The window grows again when served has come to grown_end and a read beyond grown_at stalls. */
	uint64_t grown_end;
	uint64_t grown_at;
	uint64_t bytes; /* read so far */
	unsigned reads; /* 0: a free place */
	uint64_t used;  /* tick of the last read */
};

struct stream_set {
	struct mutex lock;
	struct stream streams[STREAMS_PER_FILE]; /* lock: lock */
	uint64_t tick;                           /* lock: lock; counts reads */
	uint64_t delay_ns;                       /* lock: lock; how far the origin is; 0: unknown */
	uint64_t size;                           /* of the file; fixed */
	uint64_t window_max;                     /* fixed; 0: no read-ahead */
};

/* What to prefetch; len 0: nothing. */
struct stream_ask {
	uint64_t off;
	uint64_t len;
};

/* @delay_ns: how far the origin seems to be; 0: unknown. */
void stream_set_init(struct stream_set *s, uint64_t size, uint64_t window_max, uint64_t delay_ns);
void stream_set_release(struct stream_set *s);

/* A read of [off, off+len) that @missed, that is, had to wait for the origin. */
struct stream_ask stream_read(struct stream_set *s, uint64_t off, uint64_t len, bool missed)
	EXCLUDES(s->lock);

/* A read that missed has been answered, @took_ns after it came. */
void stream_served(struct stream_set *s, uint64_t off, uint64_t len, uint64_t took_ns)
	EXCLUDES(s->lock);

#endif
