/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zstd file decompressed as it comes, with the places where it could be begun again: its frames. zstd(1) makes one frame of a file,
 * which then has one point, at its beginning; pzstd, containers' tools and the seekable format make many. Skippable frames are
 * passed over, checksums of frames are checked. Bytes behind the last frame that are none are an error, as in zstd(1).
 * The window, which is how much memory a frame can ask for, is limited. One thread.
 */
#ifndef IMAGE_ZSTD_STREAM_H
#define IMAGE_ZSTD_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <vmofs/err.h>

/* 128 MiB, what zstd(1) and libzstd take without being asked to. */
#define ZSTD_WINDOW_LOG 27

/* 0 or -errno with @err, which zstd_stream_feed() then returns. Everything is borrowed for the call. */
struct zstd_sink {
	int (*data)(void *arg, uint64_t out, const void *p, size_t n, struct vmofs_err *err);
	/* A frame begins at @in of what is fed, and at @out of what comes out. The first one is at 0, 0. */
	int (*point)(void *arg, uint64_t in, uint64_t out, struct vmofs_err *err);
};

struct zstd_stream;

/* A point at each frame that begins @spacing bytes of output or more after the last one. NULL: no memory. */
struct zstd_stream *zstd_stream_new(uint64_t spacing, const struct zstd_sink *sink, void *arg);
void zstd_stream_free(struct zstd_stream *s); /* NULL is fine */

/* -EBADMSG with @err: not zstd, or damaged; -ENOMEM; or what the sink returned. After an error only zstd_stream_free(). */
int zstd_stream_feed(struct zstd_stream *s, const void *p, size_t n, struct vmofs_err *err);
/* -EBADMSG: there must be more. */
int zstd_stream_end(struct zstd_stream *s, struct vmofs_err *err);

#endif
