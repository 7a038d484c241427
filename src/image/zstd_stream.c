/* SPDX-License-Identifier: Apache-2.0 */
/* libzstd's streaming decoder, which says when a frame has ended. */
#include "image/zstd_stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/macros.h"

struct zstd_stream {
	ZSTD_DCtx *ctx;               /* owned */
	const struct zstd_sink *sink; /* borrowed */
	void *arg;
	uint64_t spacing;
	uint64_t in;   /* taken */
	uint64_t out;  /* made */
	uint64_t last; /* where the last point is; UINT64_MAX: there is none */
	bool inside;   /* a frame has begun */
	uint8_t *buf;  /* owned */
	size_t buf_len;
};

struct zstd_stream *zstd_stream_new(uint64_t spacing, const struct zstd_sink *sink, void *arg)
{
	struct zstd_stream *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->sink = sink;
	s->arg = arg;
	s->spacing = spacing;
	s->last = UINT64_MAX;
	s->ctx = ZSTD_createDCtx();
	s->buf_len = ZSTD_DStreamOutSize();
	s->buf = malloc(s->buf_len);
	if (s->ctx && s->buf &&
	    !ZSTD_isError(ZSTD_DCtx_setParameter(s->ctx, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG)))
		return s;
	zstd_stream_free(s);
	return NULL;
}

void zstd_stream_free(struct zstd_stream *s)
{
	if (!s)
		return;
	ZSTD_freeDCtx(s->ctx);
	free(s->buf);
	free(s);
}

static int explain(const struct zstd_stream *s, size_t code, struct vmofs_err *err)
{
	switch (ZSTD_getErrorCode(code)) {
	case ZSTD_error_memory_allocation:
		return vmofs_err_set(err, -ENOMEM, "no memory for zstd");
	case ZSTD_error_frameParameter_windowTooLarge:
		return vmofs_err_set(err, -EBADMSG,
				     "the zstd frame before byte %" PRIu64
				     " wants a window of more than %u MiB",
				     s->in, 1u << (ZSTD_WINDOW_LOG - 20));
	case ZSTD_error_prefix_unknown:
		return vmofs_err_set(err, -EBADMSG, "no zstd frame before byte %" PRIu64, s->in);
	default:
		return vmofs_err_set(err, -EBADMSG, "damaged zstd before byte %" PRIu64 ": %s",
				     s->in, ZSTD_getErrorName(code));
	}
}

/* Before the first byte of a frame. */
static int at_frame(struct zstd_stream *s, struct vmofs_err *err)
{
	s->inside = true;
	if (s->last != UINT64_MAX && s->out - s->last < s->spacing)
		return 0;
	/* Skippable frames, and empty ones, make no data: they are begun with the next one. */
	if (s->last == s->out)
		return 0;
	s->last = s->out;
	return s->sink->point(s->arg, s->in, s->out, err);
}

/* One step; whether it made any headway, or -errno. */
static int feed_step(struct zstd_stream *s, ZSTD_inBuffer *in, struct vmofs_err *err)
{
	ZSTD_outBuffer out = { s->buf, s->buf_len, 0 };
	size_t before = in->pos, code;
	int r = 0;

	if (!s->inside && in->pos < in->size)
		r = at_frame(s, err);
	if (r < 0)
		return r;
	code = ZSTD_decompressStream(s->ctx, &out, in);
	s->in += in->pos - before;
	if (ZSTD_isError(code))
		return explain(s, code, err);
	if (code == 0)
		s->inside = false;
	if (out.pos) {
		s->out += out.pos;
		r = s->sink->data(s->arg, s->out - out.pos, s->buf, out.pos, err);
	}
	return r < 0 ? r : in->pos < in->size || out.pos == out.size;
}

int zstd_stream_feed(struct zstd_stream *s, const void *p, size_t n, struct vmofs_err *err)
{
	ZSTD_inBuffer in = { p, n, 0 };
	int r;

	if (n == 0)
		return 0;
	do
		r = feed_step(s, &in, err);
	while (r > 0 && (in.pos < in.size || s->inside));
	return r < 0 ? r : 0;
}

int zstd_stream_end(struct zstd_stream *s, struct vmofs_err *err)
{
	if (s->inside || s->last == UINT64_MAX)
		return vmofs_err_set(err, -EBADMSG,
				     "the zstd stream ends too early, at byte %" PRIu64, s->in);
	return 0;
}
