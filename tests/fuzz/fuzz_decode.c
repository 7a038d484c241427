/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans of any numbers that an index may have, over any bytes: never more than their data comes out, alone, in runs and in
 * steps, and always the same, unless it is refused (damage behind the span's bytes may be seen or not). The input: how many spans, 8 bytes for each, and the blob, which holds the windows too.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"
#include "image/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SPANS_MAX 4u
#define SPAN_LEN  8u

struct rig {
	struct layer_index x;
	struct layer_span spans[SPANS_MAX];
	uint8_t digest[1][LAYER_DIGEST_LEN];
	const uint8_t *blob;
	size_t blob_len;
};

/* Within the bounds that layer_index_check() leaves. */
static void make_span(struct rig *r, struct layer_span *s, const uint8_t *p, uint64_t data)
{
	uint64_t most;

	s->kind = (uint8_t)(1 + p[0] % (LAYER_SPAN_NKINDS - 1));
	s->bits = s->kind == LAYER_SPAN_DEFLATE ? p[0] >> 5 : 0;
	s->data = data + p[1] % 3 * 50;
	s->data_len = 1 + p[2] + (uint64_t)(p[3] & 0x3f) * 256;
	s->digest_of = p[3] >> 6 & 1;
	s->digest = p[3] >> 7;
	s->blob = MIN(p[4], r->blob_len);
	most = r->blob_len - s->blob;
	s->blob_len = p[5] & 1 ? most : MIN(p[5] * 8u, most);
	s->skip = s->kind == LAYER_SPAN_ZERO ? 0 : p[6];
	if (s->kind == LAYER_SPAN_DEFLATE && p[7]) {
		s->window = MIN(p[7], r->blob_len);
		s->window_len = (uint32_t)(r->blob_len - s->window);
	}
}

/* The result of one span; 0 has filled @out. */
static int decode(struct rig *r, struct layer_decoder *d, uint32_t first, uint32_t n, uint8_t *out)
{
	struct iovec iov[2] = { { (void *)r->blob, r->blob_len / 2 },
				{ (void *)(r->blob + r->blob_len / 2),
				  r->blob_len - r->blob_len / 2 } };
	struct layer_bytes bytes = { .off = 0, .iov = iov, .n = 2 };
	int e = layer_decode(d, &r->x, first, n, &bytes, out);

	assert(e == 0 || e == -EBADMSG);
	return e;
}

static int decode_steps(struct rig *r, struct layer_decoder *d, const struct layer_span *s,
			uint8_t *out)
{
	struct iovec to = { out, 0 };
	uint64_t in = 0;
	int e = layer_decode_begin(d, &r->x, s);

	while (e == 0) {
		size_t have = (size_t)MIN(5, s->blob_len - in);
		struct iovec from = { (void *)(r->blob + s->blob + in), have };
		size_t made = (size_t)((uint8_t *)to.iov_base - out);
		size_t room = (size_t)MIN(100, s->data_len - made);

		to.iov_len = room;
		e = layer_decode_step(d, &from, &to);
		assert(from.iov_len <= have && to.iov_len <= room);
		if (e == 0 && from.iov_len == have && to.iov_len == room)
			e = -EBADMSG; /* no headway */
		in += have - from.iov_len;
	}
	assert(e == 1 || e == -EBADMSG);
	assert(e < 0 || (uint8_t *)to.iov_base == out + s->data_len);
	return MIN(e, 0);
}

static void check(struct rig *r)
{
	struct layer_decoder *d = layer_decoder_new();
	struct layer_stretch st = layer_decode_stretch(&r->x, 0, r->x.n_spans);
	uint8_t *all = malloc(st.data_len);
	int bad = 0;

	assert(d && all);
	for (uint32_t i = 0; i < r->x.n_spans; i++) {
		const struct layer_span *s = &r->spans[i];
		uint8_t *a = malloc(s->data_len), *b = malloc(s->data_len);
		int e = decode(r, d, i, 1, a);

		assert(a && b);
		if (decode_steps(r, d, s, b) == 0 && e == 0)
			assert(memcmp(a, b, s->data_len) == 0);
		memcpy(all + (s->data - st.data), a, e < 0 ? 0 : s->data_len);
		bad |= e;
		free(a);
		free(b);
	}
	if (bad == 0) {
		uint8_t *run = malloc(st.data_len);
		int e = decode(r, d, 0, r->x.n_spans, run);

		assert(run);
		for (uint32_t i = 0; i < r->x.n_spans && e == 0; i++)
			assert(memcmp(run + (r->spans[i].data - st.data),
				      all + (r->spans[i].data - st.data),
				      r->spans[i].data_len) == 0);
		free(run);
	}
	layer_decoder_free(d);
	free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct rig r = { .blob = NULL };
	uint64_t end = 0;
	uint32_t n = len ? 1 + data[0] % SPANS_MAX : 0;

	if (len < 1 + n * SPAN_LEN || n == 0)
		return 0;
	r.blob = data + 1 + n * SPAN_LEN;
	r.blob_len = len - 1 - n * SPAN_LEN;
	digest_sha256(r.blob, r.blob_len, r.digest[0]);
	for (uint32_t i = 0; i < n; i++) {
		make_span(&r, &r.spans[i], data + 1 + i * SPAN_LEN, end);
		end = r.spans[i].data + r.spans[i].data_len;
	}
	r.x.spans = r.spans;
	r.x.n_spans = n;
	r.x.windows = r.blob;
	r.x.windows_len = r.blob_len;
	r.x.digests = (const uint8_t(*)[LAYER_DIGEST_LEN])r.digest;
	r.x.n_digests = 1;
	check(&r);
	return 0;
}
