/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recognises who reads the small files of a directory one after another (cat *, cp -r, tar, an import
 * of many modules), and says which ones to fetch ahead. It is to files in a directory what stream.h is to
 * bytes in a file. Files are known by their place in their directory's order; places may shift a little
 * when a directory is listed again. Pure logic: the caller opens and fetches. Any thread.
 */
#ifndef FS_SIBLINGS_H
#define FS_SIBLINGS_H

#include <stdint.h>

#include "base/sync.h"

/* Files up to this size are small here. */
#define SIBLING_SIZE_MAX (UINT64_C(256) << 10)

enum { SIBLING_STREAMS = 16 };

/* One reader of a directory. A candidate becomes a stream by its third file in order. */
struct sibling_stream {
	uint64_t dir;    /* 0: a free place */
	uint64_t end;    /* one beyond the last place read */
	uint64_t ahead;  /* files before this place have been asked for */
	unsigned reads;  /* files read in order */
	unsigned window; /* files to keep asked for beyond the end; 0: a candidate */
	unsigned used;   /* files read that had been asked for, since the window grew */
	uint64_t tick;   /* of the last read */
};

struct siblings {
	struct mutex lock;
	struct sibling_stream streams[SIBLING_STREAMS]; /* lock: lock */
	uint64_t tick;                                  /* lock: lock; counts reads */
	unsigned chain;     /* lock: lock; files read in order lately, in whatever directory */
	uint64_t bytes_max; /* fixed; to keep asked for by one stream; 0: nothing is */
};

/* Up to @n files at @place and after it; n 0: nothing. */
struct sibling_ask {
	uint64_t dir;
	uint64_t place;
	unsigned n;
};

void siblings_init(struct siblings *s, uint64_t bytes_max);
void siblings_release(struct siblings *s);

/* A file of @size bytes, small or not, at @place in @dir (not 0) is read from its beginning. */
struct sibling_ask siblings_read(struct siblings *s, uint64_t dir, uint64_t place, uint64_t size)
	EXCLUDES(s->lock);
/*
 * What came of an ask: @next is one beyond the last place that was looked at; UINT64_MAX: there is
 * nothing more in the directory.
 */
void siblings_asked(struct siblings *s, const struct sibling_ask *ask, uint64_t next)
	EXCLUDES(s->lock);

#endif
