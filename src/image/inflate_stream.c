/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inflate stops before every block; where enough has passed since the last point, one is made. What inflate takes from then on
 * is given to the probe as well, until it knows the window.
 */
#include "image/inflate_stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/macros.h"
#include "image/gunzip.h"
#include "image/inflate_probe.h"

#define OUT_LEN   (256u << 10)
#define FEED_MAX  (UINT32_C(1) << 30) /* zlib counts in 32 bits */
#define MAGIC_LEN 2u

struct inflate_stream {
	struct gunzip g;
	struct inflate_probe *probe;     /* owned */
	const struct inflate_sink *sink; /* borrowed */
	void *arg;
	uint64_t spacing;
	uint64_t in;   /* taken */
	uint64_t out;  /* made and handed on */
	uint64_t last; /* where the last point is; UINT64_MAX: there is none */
	uint8_t byte;  /* the last one taken */
	uint8_t *buf;  /* owned, OUT_LEN bytes */
	size_t have;   /* of them, not yet handed on */
};

struct inflate_stream *inflate_stream_new(uint64_t spacing, const struct inflate_sink *sink,
					  void *arg)
{
	struct inflate_stream *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->sink = sink;
	s->arg = arg;
	s->spacing = MAX(spacing, INFLATE_SPACING_MIN);
	s->last = UINT64_MAX;
	s->buf = malloc(OUT_LEN);
	s->probe = inflate_probe_new();
	if (gunzip_init(&s->g) == 0 && s->buf && s->probe)
		return s;
	inflate_stream_free(s);
	return NULL;
}

void inflate_stream_free(struct inflate_stream *s)
{
	if (!s)
		return;
	gunzip_release(&s->g);
	inflate_probe_free(s->probe);
	free(s->buf);
	free(s);
}

static int hand_on(struct inflate_stream *s, struct vmofs_err *err)
{
	size_t n = s->have;

	if (n == 0)
		return 0;
	s->have = 0;
	s->out += n;
	return s->sink->data(s->arg, s->out - n, s->buf, n, err);
}

static int tell_window(struct inflate_stream *s, struct vmofs_err *err)
{
	const uint8_t *window;
	size_t n = inflate_probe_end(s->probe, &window);

	return n ? s->sink->window(s->arg, window, n, err) : 0;
}

/* @n bytes were taken from @p. */
static int follow_probe(struct inflate_stream *s, const uint8_t *p, size_t n, struct vmofs_err *err)
{
	if (!inflate_probe_active(s->probe) || !inflate_probe_feed(s->probe, p, n))
		return 0;
	return tell_window(s, err);
}

static int make_point(struct inflate_stream *s, const struct inflate_point *at,
		      struct vmofs_err *err)
{
	int r = hand_on(s, err);

	if (r == 0 && inflate_probe_active(s->probe))
		r = tell_window(s, err);
	if (r < 0)
		return r;
	s->last = at->out;
	return s->sink->point(s->arg, at, err);
}

static int at_member(struct inflate_stream *s, struct vmofs_err *err)
{
	struct inflate_point at = { .in = s->in - MAGIC_LEN,
				    .out = s->out + s->have,
				    .member = true };

	if (s->last != UINT64_MAX && at.out - s->last < s->spacing / 2)
		return 0;
	return make_point(s, &at, err);
}

static int at_block(struct inflate_stream *s, struct vmofs_err *err)
{
	struct inflate_point at = { .in = s->in,
				    .out = s->out + s->have,
				    .bits = (uint8_t)(s->g.z.data_type & 7) };
	int r;

	if (at.out - s->last < s->spacing)
		return 0;
	r = make_point(s, &at, err);
	if (r < 0)
		return r;
	if (inflate_probe_begin(s->probe, &s->g.z, s->byte) < 0)
		return vmofs_err_set(err, -ENOMEM, "no memory for inflate");
	return 0;
}

static int explain(struct inflate_stream *s, int r, struct vmofs_err *err)
{
	const char *msg = s->g.z.msg;

	if (r == -ENOMEM)
		return vmofs_err_set(err, r, "no memory for inflate");
	if (s->in <= MAGIC_LEN && !s->g.any && !msg)
		return vmofs_err_set(err, r, "this is not gzip");
	return vmofs_err_set(err, r, "damaged gzip at byte %" PRIu64 ": %s", s->in,
			     msg ? msg : "it cannot be inflated");
}

/* One step of inflate, and what follows from it. */
static int feed_step(struct inflate_stream *s, struct vmofs_err *err)
{
	z_stream *z = &s->g.z;
	const uint8_t *from = z->next_in;
	size_t took;
	int stop, r;

	z->next_out = s->buf + s->have;
	z->avail_out = (uInt)(OUT_LEN - s->have);
	stop = gunzip_run(&s->g, true);
	took = (size_t)(z->next_in - from);
	s->have = OUT_LEN - z->avail_out;
	s->in += took;
	if (stop < 0)
		return explain(s, stop, err);
	if (took)
		s->byte = z->next_in[-1];
	r = follow_probe(s, from, took, err);
	if (r == 0 && stop == GUNZIP_AT_MEMBER)
		r = at_member(s, err);
	else if (r == 0 && stop == GUNZIP_AT_BLOCK)
		r = at_block(s, err);
	if (r == 0 && s->have == OUT_LEN)
		r = hand_on(s, err);
	return r < 0 ? r : stop;
}

int inflate_stream_feed(struct inflate_stream *s, const void *p, size_t n, struct vmofs_err *err)
{
	const uint8_t *from = p;

	while (n > 0) {
		size_t piece = MIN(n, FEED_MAX);
		int r;

		s->g.z.next_in = (z_const Bytef *)from;
		s->g.z.avail_in = (uInt)piece;
		do
			r = feed_step(s, err);
		while (r > GUNZIP_MORE);
		if (r < 0)
			return r;
		from += piece;
		n -= piece;
	}
	return hand_on(s, err);
}

int inflate_stream_end(struct inflate_stream *s, struct vmofs_err *err)
{
	if (!gunzip_complete(&s->g))
		return vmofs_err_set(err, -EBADMSG,
				     "the gzip stream ends too early, at byte %" PRIu64, s->in);
	return inflate_probe_active(s->probe) ? tell_window(s, err) : 0;
}

uint64_t inflate_stream_used(const struct inflate_stream *s)
{
	return s->in - s->g.rest;
}
