/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From spans (layer_index.h) and the blob's bytes to data. An index says what is to be done, the bytes come from a registry: whatever they
 * are, no more than the spans' data comes out, and less, or other than the digest says, is -EBADMSG. A gzip member in which a span
 * begins in the middle ends without its CRC being looked at; what is to be proved has digests.
 *
 * A decoder keeps its contexts from one call to the next: one for each thread that decodes, used by one at a time.
 */
#ifndef IMAGE_DECODE_H
#define IMAGE_DECODE_H

#include <stdint.h>
#include <sys/uio.h>

#include "image/layer_index.h"

/* A stretch of the blob from @off on, in pieces. */
struct layer_bytes {
	uint64_t off;
	const struct iovec *iov;
	unsigned n;
};

/* What a run of spans makes, and of what. */
struct layer_stretch {
	uint64_t data;
	uint64_t data_len;
	uint64_t blob;
	uint64_t blob_len;
};

struct layer_decoder;

struct layer_decoder *layer_decoder_new(void);    /* NULL: no memory */
void layer_decoder_free(struct layer_decoder *d); /* NULL is fine */

/* Of @n spans from number @first on, all of which exist, at least one. */
struct layer_stretch layer_decode_stretch(const struct layer_index *x, uint32_t first, uint32_t n);

/*
 * These spans' data into @out, of the length that layer_decode_stretch() says; where between two of them there is none, zeros.
 * Spans that share a member are decoded in one go. All of @out is verified, where there are digests, when this returns 0; else
 * it has anything. -EBADMSG: bytes that are not what the index says, or too few of them; -ENOMEM.
 */
int layer_decode(struct layer_decoder *d, const struct layer_index *x, uint32_t first, uint32_t n,
		 const struct layer_bytes *blob, void *out);

/*
 * One span, piece by piece, for those too large to be kept (a layer can be a single zstd frame): begin, then steps, which take bytes of
 * the blob from the front of *in, the first ones being those at span->blob, and put data to the front of *out. A step returns 1 when
 * that was all and is what it should be; 0: more input or more room is needed; or -EBADMSG, -ENOMEM. Data is not verified
 * before the 1.
 */
int layer_decode_begin(struct layer_decoder *d, const struct layer_index *x,
		       const struct layer_span *span);
int layer_decode_step(struct layer_decoder *d, struct iovec *in, struct iovec *out);

#endif
