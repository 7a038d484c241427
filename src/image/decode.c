/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything goes through steps. Decoded bytes are counted from the first one of the span's stretch: those before `skip` go to a
 * buffer that nobody reads, those up to `end` to the caller.
 */
#include "image/decode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/digest.h"
#include "base/macros.h"
#include "image/gunzip.h"
#include "image/zstd_stream.h"

#define WASTE_LEN (64u << 10)
#define PIECE_MAX (UINT32_C(1) << 30) /* zlib counts in 32 bits */

struct layer_decoder {
	struct gunzip g;
	ZSTD_DCtx *zstd;    /* owned; NULL until the first one is needed */
	struct sha256 *sha; /* owned */
	/* The span. */
	const struct layer_span *span; /* borrowed, of an index; NULL: none */
	const uint8_t *digest;         /* what it should be; NULL: it has none */
	uint64_t pos;                  /* decoded, of the stretch */
	uint64_t end;                  /* as far as the span needs it */
	uint64_t taken;                /* bytes of the blob */
	bool primed;                   /* DEFLATE: what comes before the first whole byte is set */
	size_t window_len;
	uint8_t window[LAYER_WINDOW_MAX];
	uint8_t waste[WASTE_LEN];
};

struct layer_decoder *layer_decoder_new(void)
{
	struct layer_decoder *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	d->sha = sha256_new();
	if (d->sha && gunzip_init(&d->g) == 0)
		return d;
	layer_decoder_free(d);
	return NULL;
}

void layer_decoder_free(struct layer_decoder *d)
{
	if (!d)
		return;
	gunzip_release(&d->g);
	ZSTD_freeDCtx(d->zstd);
	sha256_free(d->sha);
	free(d);
}

struct layer_stretch layer_decode_stretch(const struct layer_index *x, uint32_t first, uint32_t n)
{
	const struct layer_span *s = &x->spans[first], *last = s + n - 1;
	struct layer_stretch st = { .data = s->data, .blob = UINT64_MAX };
	uint64_t end = 0;

	st.data_len = last->data + last->data_len - s->data;
	for (; s <= last; s++) {
		/* Zeros are made of nothing, wherever they say that it lies. */
		if (s->kind == LAYER_SPAN_ZERO)
			continue;
		st.blob = MIN(st.blob, s->blob);
		end = MAX(end, s->blob + s->blob_len);
	}
	st.blob = MIN(st.blob, end);
	st.blob_len = end - st.blob;
	return st;
}

/* -- beginning -------------------------------------------------------------------------------- */

static int begin_zstd(struct layer_decoder *d)
{
	if (!d->zstd) {
		d->zstd = ZSTD_createDCtx();
		if (!d->zstd)
			return -ENOMEM;
		ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	}
	return ZSTD_isError(ZSTD_DCtx_reset(d->zstd, ZSTD_reset_session_only)) ? -EBADMSG : 0;
}

/* The first byte may be needed for its bits, so inflate begins with the input. */
static int begin_deflate(struct layer_decoder *d, const struct layer_index *x)
{
	int n = d->span->window_len ? layer_span_window(x, d->span, d->window) : 0;

	if (n < 0)
		return n;
	d->window_len = (size_t)n;
	d->primed = false;
	return 0;
}

/* The decompressor where the span's stretch begins. */
static int begin_kind(struct layer_decoder *d, const struct layer_index *x)
{
	switch (d->span->kind) {
	case LAYER_SPAN_RAW:
	case LAYER_SPAN_ZERO:
		return 0;
	case LAYER_SPAN_GZIP:
		gunzip_begin(&d->g);
		return 0;
	case LAYER_SPAN_DEFLATE:
		return begin_deflate(d, x);
	case LAYER_SPAN_ZSTD:
		return begin_zstd(d);
	default:
		return -EBADMSG;
	}
}

/* The digest is of the bytes that are fetched. */
static bool of_blob(const struct layer_decoder *d)
{
	return d->digest && d->span->digest_of == LAYER_DIGEST_BLOB;
}

/* What the span wants, wherever the decompressor is. */
static int aim(struct layer_decoder *d, const struct layer_index *x, const struct layer_span *span)
{
	uint8_t nothing[SHA256_LEN];

	d->span = span;
	d->digest = layer_span_digest(x, span);
	if (span->skip > UINT64_MAX - span->data_len)
		return -EBADMSG;
	/* Zeros have no bytes of the blob. */
	if (span->kind == LAYER_SPAN_ZERO && of_blob(d))
		return -EBADMSG;
	d->end = span->skip + span->data_len;
	/* What a span that failed left in it. */
	sha256_end(d->sha, nothing);
	return 0;
}

int layer_decode_begin(struct layer_decoder *d, const struct layer_index *x,
		       const struct layer_span *span)
{
	int r = aim(d, x, span);

	d->pos = 0;
	d->taken = 0;
	return r < 0 ? r : begin_kind(d, x);
}

/* -- steps of each kind: bytes from *in to [to, to + room); how many, or -errno ------------------ */

static void take(struct iovec *in, size_t n)
{
	if (n == 0)
		return;
	in->iov_base = (uint8_t *)in->iov_base + n;
	in->iov_len -= n;
}

static ssize_t step_raw(struct layer_decoder *d UNUSED, struct iovec *in, uint8_t *to, size_t room)
{
	size_t n = MIN(room, in->iov_len);

	if (n)
		memcpy(to, in->iov_base, n);
	take(in, n);
	return (ssize_t)n;
}

static ssize_t step_zero(struct layer_decoder *d UNUSED, struct iovec *in UNUSED, uint8_t *to,
			 size_t room)
{
	memset(to, 0, room);
	return (ssize_t)room;
}

static ssize_t step_gzip(struct layer_decoder *d, struct iovec *in, uint8_t *to, size_t room)
{
	z_stream *z = &d->g.z;
	size_t n = MIN(in->iov_len, PIECE_MAX);
	int r;

	z->next_in = in->iov_base;
	z->avail_in = (uInt)n;
	z->next_out = to;
	z->avail_out = (uInt)room;
	do
		r = gunzip_run(&d->g, false);
	while (r == GUNZIP_AT_MEMBER);
	take(in, n - z->avail_in);
	/* zlib looks ahead: an error behind all that is wanted is none, or how the input was cut would matter. */
	return r == -ENOMEM || (r < 0 && z->avail_out) ? r : (ssize_t)(room - z->avail_out);
}

static ssize_t step_deflate(struct layer_decoder *d, struct iovec *in, uint8_t *to, size_t room)
{
	uint8_t bits = d->span->bits, byte = 0;
	int r;

	if (d->primed)
		return step_gzip(d, in, to, room);
	if (bits && in->iov_len == 0)
		return 0;
	if (bits) {
		byte = *(uint8_t *)in->iov_base;
		take(in, 1);
	}
	r = gunzip_begin_raw(&d->g, bits, byte, d->window, d->window_len);
	d->primed = true;
	return r < 0 ? r : step_gzip(d, in, to, room);
}

static ssize_t step_zstd(struct layer_decoder *d, struct iovec *in, uint8_t *to, size_t room)
{
	ZSTD_inBuffer from = { in->iov_base, in->iov_len, 0 };
	ZSTD_outBuffer out = { to, room, 0 };
	size_t code, before;

	do {
		before = from.pos + out.pos;
		code = ZSTD_decompressStream(d->zstd, &out, &from);
		if (ZSTD_isError(code))
			return -EBADMSG;
	} while (out.pos < room && from.pos + out.pos > before);
	take(in, from.pos);
	return (ssize_t)out.pos;
}

static ssize_t (*const steps[])(struct layer_decoder *d, struct iovec *in, uint8_t *to,
				size_t room) = {
	[LAYER_SPAN_RAW] = step_raw,         [LAYER_SPAN_GZIP] = step_gzip,
	[LAYER_SPAN_DEFLATE] = step_deflate, [LAYER_SPAN_ZSTD] = step_zstd,
	[LAYER_SPAN_ZERO] = step_zero,
};

/* -- any span --------------------------------------------------------------------------------- */

/* Bytes from *in, which has nothing that is not the span's; what is hashed is. The number of them that came out. */
static ssize_t step_some(struct layer_decoder *d, struct iovec *in, struct iovec *out)
{
	bool waste = d->pos < d->span->skip;
	uint8_t *to = waste ? d->waste : out->iov_base;
	size_t room = waste ? (size_t)MIN(WASTE_LEN, d->span->skip - d->pos)
			    : (size_t)MIN(out->iov_len, MIN(PIECE_MAX, d->end - d->pos));
	const uint8_t *from = in->iov_base;
	ssize_t n = steps[d->span->kind](d, in, to, room);

	if (of_blob(d))
		sha256_add(d->sha, from, (size_t)((uint8_t *)in->iov_base - from));
	if (n <= 0 || waste)
		return n;
	if (d->digest && !of_blob(d))
		sha256_add(d->sha, to, (size_t)n);
	take(out, (size_t)n);
	return n;
}

/* All data is there. Where the digest is of the blob, all of that is wanted too. */
static int finish(struct layer_decoder *d, struct iovec *in)
{
	uint8_t is[SHA256_LEN];

	if (!d->digest)
		return 1;
	if (of_blob(d)) {
		sha256_add(d->sha, in->iov_base, in->iov_len);
		d->taken += in->iov_len;
		take(in, in->iov_len);
		if (d->taken < d->span->blob_len)
			return 0;
	}
	sha256_end(d->sha, is);
	return memcmp(is, d->digest, sizeof is) == 0 ? 1 : -EBADMSG;
}

/* As layer_decode_step(), of input that is the span's alone. */
static int step_own(struct layer_decoder *d, struct iovec *in, struct iovec *out)
{
	while (d->pos < d->end) {
		size_t before = in->iov_len;
		ssize_t n;

		if (d->pos >= d->span->skip && out->iov_len == 0)
			return 0;
		n = step_some(d, in, out);
		if (n < 0)
			return (int)n;
		d->pos += (uint64_t)n;
		d->taken += before - in->iov_len;
		if (n == 0 && (in->iov_len == 0 || in->iov_len == before))
			break;
	}
	return d->pos == d->end ? finish(d, in) : 0;
}

int layer_decode_step(struct layer_decoder *d, struct iovec *in, struct iovec *out)
{
	uint64_t left = d->span->blob_len - MIN(d->taken, d->span->blob_len);
	struct iovec own = { in->iov_base, (size_t)MIN(in->iov_len, left) };
	int r = step_own(d, &own, out);

	take(in, (size_t)((uint8_t *)own.iov_base - (uint8_t *)in->iov_base));
	/* All of its bytes, and it is not complete: it never will be, unless there was no room. */
	if (r == 0 && d->taken >= d->span->blob_len && out->iov_len > 0)
		return -EBADMSG;
	return r;
}

/* -- runs ------------------------------------------------------------------------------------- */

/* Where in a stretch of the blob the next byte is. */
struct cursor {
	const struct layer_bytes *blob;
	unsigned i;
	struct iovec left; /* of piece i */
};

static int cursor_seek(struct cursor *c, uint64_t off)
{
	if (off < c->blob->off)
		return -EBADMSG;
	off -= c->blob->off;
	for (c->i = 0; c->i < c->blob->n; c->i++) {
		c->left = c->blob->iov[c->i];
		if (off < c->left.iov_len) {
			take(&c->left, (size_t)off);
			return 0;
		}
		off -= c->left.iov_len;
	}
	c->left = (struct iovec){ 0 };
	return 0;
}

/* false: there is no more. */
static bool cursor_more(struct cursor *c)
{
	while (c->left.iov_len == 0 && c->i + 1 < c->blob->n)
		c->left = c->blob->iov[++c->i];
	return c->left.iov_len > 0;
}

/* The decompressor has not passed what @s needs, and comes to it if it goes on. */
static bool goes_on(const struct layer_decoder *d, const struct layer_span *s)
{
	const struct layer_span *was = d->span;

	return was->kind == s->kind && was->blob == s->blob && was->bits == s->bits &&
		was->window == s->window && was->window_len == s->window_len &&
		s->kind != LAYER_SPAN_RAW && s->kind != LAYER_SPAN_ZERO && d->pos <= s->skip &&
		was->digest_of == LAYER_DIGEST_DATA && s->digest_of == LAYER_DIGEST_DATA;
}

static int begin_span(struct layer_decoder *d, const struct layer_index *x,
		      const struct layer_span *s, struct cursor *c)
{
	int r = layer_decode_begin(d, x, s);

	return r < 0 || s->kind == LAYER_SPAN_ZERO ? r : cursor_seek(c, s->blob);
}

static int run_span(struct layer_decoder *d, struct cursor *c, struct iovec *out)
{
	int r;

	do {
		cursor_more(c);
		r = layer_decode_step(d, &c->left, out);
	} while (r == 0 && cursor_more(c));
	return r == 0 ? -EBADMSG : MIN(r, 0);
}

int layer_decode(struct layer_decoder *d, const struct layer_index *x, uint32_t first, uint32_t n,
		 const struct layer_bytes *blob, void *out)
{
	uint64_t from = x->spans[first].data, at = from;
	struct cursor c = { .blob = blob };
	int r = 0;

	for (uint32_t i = first; i < first + n && r == 0; i++) {
		const struct layer_span *s = &x->spans[i];
		struct iovec room = { (uint8_t *)out + (s->data - from), s->data_len };

		memset((uint8_t *)out + (at - from), 0, s->data - at);
		at = s->data + s->data_len;
		if (i > first && goes_on(d, s))
			r = aim(d, x, s);
		else
			r = begin_span(d, x, s, &c);
		if (r == 0)
			r = run_span(d, &c, &room);
	}
	return r;
}
