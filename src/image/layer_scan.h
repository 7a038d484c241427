/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of an unmodified layer, made while the layer passes: tar, tar+gzip or tar+zstd. The blob's bytes go in, in order; its
 * uncompressed bytes come out, in order, as data of LAYER_LAYOUT_TAR; at the end there are an index with which any stretch of
 * it can be decoded by itself (decode.h), and both digests, for whoever knows what they should be. Nothing that was handed out
 * is verified before that.
 *
 * What the blob is, it says itself: media types are wrong often enough. Spans have the SHA-256 of their data, so an index that is
 * trusted vouches for what is decoded later.
 *
 * What hostile bytes can take: memory for one deflate window and zstd's, 1 MiB each of extended tar headers, and what the limits
 * grant to the index; time in proportion to the blob and to its data, and that is limited too. One thread.
 */
#ifndef IMAGE_LAYER_SCAN_H
#define IMAGE_LAYER_SCAN_H

#include "image/layer_build.h"

#define LAYER_SCAN_SPACING (UINT64_C(1) << 20)

enum layer_scan_form { LAYER_SCAN_UNKNOWN, LAYER_SCAN_TAR, LAYER_SCAN_GZIP, LAYER_SCAN_ZSTD };

struct layer_scan_options {
	struct layer_limits limits; /* zeros: as of layer_build.h */
	uint64_t spacing;           /* of spans in the data, about; 0: LAYER_SCAN_SPACING */
	/* May be NULL. The uncompressed bytes at @data; 0, or -errno, which layer_scan_feed() then returns. */
	int (*data)(void *arg, uint64_t data, const void *p, size_t n);
	void *arg;
};

struct layer_scan;

int layer_scan_new(struct layer_scan **out, const struct layer_scan_options *options);
void layer_scan_free(struct layer_scan *s); /* NULL is fine */

/*
 * The next bytes of the blob, as many as there are. -EBADMSG with @err, which says where and why: it is damaged, no layer, or a
 * layer that cannot be; -E2BIG: over a limit; -ENOMEM; or what the function for data returned. After an error only layer_scan_free().
 */
int layer_scan_feed(struct layer_scan *s, const void *p, size_t n, struct vmofs_err *err);
/*
 * That was all of it: the index, *out of *len bytes from malloc(), and what it is of. -EBADMSG: the blob ends too early;
 * else as above and as layer_build_end().
 */
int layer_scan_end(struct layer_scan *s, struct layer_id *id, void **out, size_t *len,
		   struct vmofs_err *err);

/* LAYER_SCAN_UNKNOWN before the first four bytes. */
enum layer_scan_form layer_scan_form(const struct layer_scan *s);
/* How far it is, in the blob and in the data. */
uint64_t layer_scan_blob(const struct layer_scan *s);
uint64_t layer_scan_data(const struct layer_scan *s);

#endif
