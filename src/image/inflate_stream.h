/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gzip file inflated as it comes, and places in it from which it could be begun again: *points*, at members and, within them,
 * before deflate blocks. Inflate needs what came before a point: up to 32 KiB, the *window*. Most of it never does get used, so
 * it is found out which bytes of it are: the others are zeros in the window that is handed out (they cost nothing
 * once it is compressed), those before the first that is used are left away, and where none is used there is no window.
 *
 * The bytes of @in count from the first that was fed, those of @out from the first that came out. One thread.
 */
#ifndef IMAGE_INFLATE_STREAM_H
#define IMAGE_INFLATE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmofs/err.h>

/* Less than a window would make points whose window is not known when the next one comes. */
#define INFLATE_SPACING_MIN (UINT64_C(32) << 10)

struct inflate_point {
	uint64_t in; /* the first byte of a member, or the first that is wholly after the point */
	uint64_t out;
	uint8_t bits; /* so many high bits of the byte before `in` come after the point */
	bool member;
};

/* 0 or -errno with @err, which inflate_stream_feed() then returns. Everything is borrowed for the call. */
struct inflate_sink {
	int (*data)(void *arg, uint64_t out, const void *p, size_t n, struct vmofs_err *err);
	/* Before the data that comes after it. The first one is at out 0. */
	int (*point)(void *arg, const struct inflate_point *at, struct vmofs_err *err);
	/* Of the last point, before the next one and the end; not called where none is needed. */
	int (*window)(void *arg, const void *p, size_t n, struct vmofs_err *err);
};

struct inflate_stream;

/* A point as soon as @spacing bytes of output have passed since the last one, at members after half of that. NULL: no memory. */
struct inflate_stream *inflate_stream_new(uint64_t spacing, const struct inflate_sink *sink,
					  void *arg);
void inflate_stream_free(struct inflate_stream *s); /* NULL is fine */

/* -EBADMSG with @err: not gzip, or damaged; -ENOMEM; or what the sink returned. After an error only inflate_stream_free(). */
int inflate_stream_feed(struct inflate_stream *s, const void *p, size_t n, struct vmofs_err *err);
/* -EBADMSG: there must be more. */
int inflate_stream_end(struct inflate_stream *s, struct vmofs_err *err);
/* Where the last member ends: what came after it was passed over. */
uint64_t inflate_stream_used(const struct inflate_stream *s);

#endif
