/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading ahead: recognises the streams among the reads of one file and says what to ask for next. Streams
 * are told apart by where they read, not by file handle: several readers of one file are several streams, and so
 * are two places that one handle reads in turn. It is pure logic: the caller does the prefetch. Any thread.
 *
 * A read that continues no stream begins a run (stream_run.c). A run that goes on, upwards or downwards, becomes a
 * stream with a window (stream_window.c); runs that begin at a constant distance become a stream of pieces
 * (stream_stride.c). Only streams read ahead: random reads get exactly what they ask for. And what a long stream leaves
 * behind goes (stream_behind.c).
 */
#ifndef FS_STREAM_H
#define FS_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/provider.h>

#include "base/sync.h"

/* Per file; memory for them is taken as they come. */
enum { STREAMS_MAX = 64 };

struct stream_state;

struct stream_set {
	struct mutex lock;
	struct stream_state *state; /* lock: lock; NULL before the first read */
	struct vmofs_pace pace;     /* lock: lock; of the origin, or its delay as measured here */
	uint64_t size;              /* of the file; fixed */
	uint64_t window_max;        /* fixed; 0: no read-ahead */
	uint64_t keep;              /* bytes behind a reader that stay; 0: nothing goes. Fixed */
};

/* How a read found its pages. */
enum stream_how {
	STREAM_HIT,  /* all were there */
	STREAM_LATE, /* it waits, for what had been asked for before */
	STREAM_MISS, /* it waits, for something that nobody had asked for */
};

struct stream_piece {
	uint64_t off;
	uint64_t len;
};

enum { STREAM_PIECES = 16 };

/* What to let go, and what to prefetch, the most urgent first; len 0, n 0: nothing. */
struct stream_ask {
	struct stream_piece behind; /* in whole blocks of the store */
	struct stream_piece piece[STREAM_PIECES];
	unsigned n;
	uint64_t stream; /* whose it is */
};

void stream_set_init(struct stream_set *s, uint64_t size, uint64_t window_max, uint64_t keep,
		     const struct vmofs_pace *pace);
void stream_set_release(struct stream_set *s);
/* What the provider has measured since; zeros leave things as they are. */
void stream_set_pace(struct stream_set *s, const struct vmofs_pace *pace) EXCLUDES(s->lock);

/* A read of [off, off+len). Whether there is something to do. */
bool stream_read(struct stream_set *s, uint64_t off, uint64_t len, enum stream_how how,
		 struct stream_ask *ask) EXCLUDES(s->lock);

/* What came of @ask: @fresh bytes were not there and have been asked for, @refused ones had no room. */
void stream_asked(struct stream_set *s, const struct stream_ask *ask, uint64_t fresh,
		  uint64_t refused) EXCLUDES(s->lock);

/* A read that waited has been answered, @took_ns after it came. */
void stream_served(struct stream_set *s, uint64_t off, uint64_t len, uint64_t took_ns)
	EXCLUDES(s->lock);

#endif
