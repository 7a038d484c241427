/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blob's bytes -> (inflate, zstd) -> data -> tar -> entries; points of the decompressors -> spans. A span is complete when the next
 * one begins: then its lengths, its window and its digest are known.
 */
#include "image/layer_scan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"
#include "image/gunzip.h"
#include "image/inflate_stream.h"
#include "image/tar_stream.h"
#include "image/zstd_stream.h"

#define MAGIC_LEN    4u
#define DATA_DEFAULT (UINT64_C(1) << 40)

struct layer_scan {
	struct layer_scan_options options;
	enum layer_scan_form form;
	uint8_t magic[MAGIC_LEN]; /* the first bytes, while the form is not known */
	size_t magic_len;
	uint64_t blob; /* bytes taken */
	uint64_t data; /* bytes made */
	struct layer_build *build;
	struct tar_stream *tar;
	struct inflate_stream *inflate; /* GZIP */
	struct zstd_stream *zstd;       /* ZSTD */
	struct sha256 *sha_blob, *sha_data, *sha_span;
	/* The span that is being made. */
	bool open;
	struct layer_span span;
	size_t window_len;
	uint8_t window[GUNZIP_WINDOW];
};

/* -- spans ------------------------------------------------------------------------------------ */

/* It needs the blob up to @blob_end. One without data is none. */
static int close_span(struct layer_scan *s, uint64_t blob_end, struct vmofs_err *err)
{
	uint8_t digest[SHA256_LEN];
	int r;

	if (!s->open || s->data == s->span.data)
		return 0;
	sha256_end(s->sha_span, digest);
	s->span.data_len = s->data - s->span.data;
	s->span.blob_len = blob_end - s->span.blob;
	r = layer_build_span(s->build, &s->span, digest, s->window_len ? s->window : NULL,
			     s->window_len);
	s->open = false;
	return r < 0
		? vmofs_err_set(err, r, "cannot keep span %" PRIu64 " of the layer", s->span.data)
		: 0;
}

static void open_span(struct layer_scan *s, enum layer_span_kind kind, uint64_t blob, uint8_t bits)
{
	s->open = true;
	s->window_len = 0;
	s->span = (struct layer_span){
		.data = s->data, .blob = blob, .kind = (uint8_t)kind, .bits = bits
	};
}

static int on_window(void *arg, const void *p, size_t n, struct vmofs_err *err UNUSED)
{
	struct layer_scan *s = arg;

	memcpy(s->window, p, n);
	s->window_len = n;
	return 0;
}

/* Bits of the byte before the point belong to both spans. */
static int on_inflate_point(void *arg, const struct inflate_point *at, struct vmofs_err *err)
{
	struct layer_scan *s = arg;
	int r = close_span(s, at->in, err);

	if (r == 0)
		open_span(s, at->member ? LAYER_SPAN_GZIP : LAYER_SPAN_DEFLATE,
			  at->in - (at->bits != 0), at->bits);
	return r;
}

static int on_zstd_point(void *arg, uint64_t in, uint64_t out UNUSED, struct vmofs_err *err)
{
	struct layer_scan *s = arg;
	int r = close_span(s, in, err);

	if (r == 0)
		open_span(s, LAYER_SPAN_ZSTD, in, 0);
	return r;
}

/* -- data ------------------------------------------------------------------------------------- */

static int on_data(void *arg, uint64_t off UNUSED, const void *p, size_t n, struct vmofs_err *err)
{
	struct layer_scan *s = arg;
	uint64_t at = s->data;
	int r;

	if (n > s->options.limits.data - at)
		return vmofs_err_set(err, -E2BIG,
				     "the layer has more than %" PRIu64 " bytes of data",
				     s->options.limits.data);
	s->data += n;
	/* Of a plain tar both digests are one. */
	if (s->form != LAYER_SCAN_TAR)
		sha256_add(s->sha_data, p, n);
	sha256_add(s->sha_span, p, n);
	r = s->options.data ? s->options.data(s->options.arg, at, p, n) : 0;
	if (r < 0)
		return vmofs_err_set(err, r, "nobody takes the layer's data at %" PRIu64, at);
	return tar_stream_feed(s->tar, p, n, err);
}

static int on_entry(void *arg, const struct layer_entry *e, struct vmofs_err *err)
{
	struct layer_scan *s = arg;

	return layer_build_entry(s->build, e, err);
}

/* The blob is the data: spans are as long as they should be. */
static int feed_tar(struct layer_scan *s, const uint8_t *p, size_t n, struct vmofs_err *err)
{
	while (n > 0) {
		uint64_t room = s->options.spacing - s->data % s->options.spacing;
		size_t piece = (size_t)MIN(n, room);
		int r;

		if (!s->open)
			open_span(s, LAYER_SPAN_RAW, s->data, 0);
		r = on_data(s, s->data, p, piece, err);
		if (r == 0 && piece == room)
			r = close_span(s, s->data, err);
		if (r < 0)
			return r;
		p += piece;
		n -= piece;
	}
	return 0;
}

/* -- what the blob is ------------------------------------------------------------------------- */

static enum layer_scan_form form_of(const uint8_t *p, size_t n)
{
	static const uint8_t gzip[] = { 0x1f, 0x8b }, zstd[] = { 0x28, 0xb5, 0x2f, 0xfd },
			     skippable[] = { 0x2a, 0x4d, 0x18 };

	if (n >= sizeof gzip && memcmp(p, gzip, sizeof gzip) == 0)
		return LAYER_SCAN_GZIP;
	if (n >= sizeof zstd && memcmp(p, zstd, sizeof zstd) == 0)
		return LAYER_SCAN_ZSTD;
	if (n >= 4 && p[0] >> 4 == 5 && memcmp(p + 1, skippable, sizeof skippable) == 0)
		return LAYER_SCAN_ZSTD;
	return LAYER_SCAN_TAR;
}

static const struct inflate_sink inflate_sink = { on_data, on_inflate_point, on_window };
static const struct zstd_sink zstd_sink = { on_data, on_zstd_point };

static int begin_form(struct layer_scan *s, struct vmofs_err *err)
{
	s->form = form_of(s->magic, s->magic_len);
	if (s->form == LAYER_SCAN_GZIP)
		s->inflate = inflate_stream_new(s->options.spacing, &inflate_sink, s);
	if (s->form == LAYER_SCAN_ZSTD)
		s->zstd = zstd_stream_new(s->options.spacing / 2, &zstd_sink, s);
	if ((s->form == LAYER_SCAN_GZIP && !s->inflate) || (s->form == LAYER_SCAN_ZSTD && !s->zstd))
		return vmofs_err_set(err, -ENOMEM, "no memory for a decompressor");
	return 0;
}

static int feed_form(struct layer_scan *s, const uint8_t *p, size_t n, struct vmofs_err *err)
{
	switch (s->form) {
	case LAYER_SCAN_GZIP:
		return inflate_stream_feed(s->inflate, p, n, err);
	case LAYER_SCAN_ZSTD:
		return zstd_stream_feed(s->zstd, p, n, err);
	default:
		return feed_tar(s, p, n, err);
	}
}

/* -- the whole -------------------------------------------------------------------------------- */

static void apply_defaults(struct layer_scan_options *o)
{
	if (o->spacing == 0)
		o->spacing = LAYER_SCAN_SPACING;
	o->spacing = MAX(o->spacing, INFLATE_SPACING_MIN);
	if (o->limits.data == 0)
		o->limits.data = DATA_DEFAULT;
}

int layer_scan_new(struct layer_scan **out, const struct layer_scan_options *options)
{
	struct layer_scan *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return -ENOMEM;
	s->options = *options;
	apply_defaults(&s->options);
	s->tar = tar_stream_new(on_entry, s);
	s->sha_blob = sha256_new();
	s->sha_data = sha256_new();
	s->sha_span = sha256_new();
	r = layer_build_new(&s->build, LAYER_LAYOUT_TAR, &s->options.limits);
	if (r == 0 && (!s->tar || !s->sha_blob || !s->sha_data || !s->sha_span))
		r = -ENOMEM;
	if (r < 0) {
		layer_scan_free(s);
		return r;
	}
	*out = s;
	return 0;
}

void layer_scan_free(struct layer_scan *s)
{
	if (!s)
		return;
	inflate_stream_free(s->inflate);
	zstd_stream_free(s->zstd);
	tar_stream_free(s->tar);
	layer_build_free(s->build);
	sha256_free(s->sha_blob);
	sha256_free(s->sha_data);
	sha256_free(s->sha_span);
	free(s);
}

int layer_scan_feed(struct layer_scan *s, const void *p, size_t n, struct vmofs_err *err)
{
	const uint8_t *from = p;
	size_t k;
	int r;

	if (n == 0)
		return 0;
	sha256_add(s->sha_blob, p, n);
	s->blob += n;
	if (s->form != LAYER_SCAN_UNKNOWN)
		return feed_form(s, from, n, err);
	k = MIN(n, MAGIC_LEN - s->magic_len);
	memcpy(s->magic + s->magic_len, from, k);
	s->magic_len += k;
	if (s->magic_len < MAGIC_LEN)
		return 0;
	r = begin_form(s, err);
	if (r == 0)
		r = feed_form(s, s->magic, MAGIC_LEN, err);
	return r < 0 ? r : feed_form(s, from + k, n - k, err);
}

/* The decompressor has all it needs, and the last span ends where that does. */
static int end_form(struct layer_scan *s, struct vmofs_err *err)
{
	uint64_t blob_end = s->blob;
	int r = 0;

	if (s->form == LAYER_SCAN_UNKNOWN)
		return vmofs_err_set(err, -EBADMSG, "a blob of %" PRIu64 " bytes is no layer",
				     s->blob);
	if (s->form == LAYER_SCAN_GZIP) {
		r = inflate_stream_end(s->inflate, err);
		blob_end = inflate_stream_used(s->inflate);
	} else if (s->form == LAYER_SCAN_ZSTD) {
		r = zstd_stream_end(s->zstd, err);
	}
	if (r == 0)
		r = close_span(s, blob_end, err);
	return r < 0 ? r : tar_stream_end(s->tar, err);
}

int layer_scan_end(struct layer_scan *s, struct layer_id *id, void **out, size_t *len,
		   struct vmofs_err *err)
{
	int r = end_form(s, err);

	if (r < 0)
		return r;
	*id = (struct layer_id){ .blob_size = s->blob, .data_size = s->data };
	sha256_end(s->sha_blob, id->blob);
	sha256_end(s->sha_data, id->diff);
	if (s->form == LAYER_SCAN_TAR)
		memcpy(id->diff, id->blob, sizeof id->diff);
	return layer_build_end(s->build, id, out, len, err);
}

enum layer_scan_form layer_scan_form(const struct layer_scan *s)
{
	return s->form;
}

uint64_t layer_scan_blob(const struct layer_scan *s)
{
	return s->blob;
}

uint64_t layer_scan_data(const struct layer_scan *s)
{
	return s->data;
}
