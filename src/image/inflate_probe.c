/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the bytes of a window that are used. */
#include "image/inflate_probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

enum { PROBE_X, PROBE_Y, PROBE_N };

struct inflate_probe {
	z_stream z[PROBE_N];
	uint8_t mark[PROBE_N][GUNZIP_WINDOW]; /* the windows that say where each byte was */
	uint8_t out[PROBE_N][GUNZIP_WINDOW];
	size_t got;
	bool active;
	bool unknown;                  /* something failed: all of the window may be used */
	uint8_t window[GUNZIP_WINDOW]; /* the real one, at the end of this */
	size_t len;
	uint8_t used[GUNZIP_WINDOW];
};

/* Where a byte of output that is x and y in the two came from. */
static unsigned place_of(uint8_t x, uint8_t y)
{
	return (unsigned)(uint8_t)(y - x - 1) << 8 | x;
}

static void mark_windows(struct inflate_probe *p)
{
	for (unsigned i = 0; i < GUNZIP_WINDOW; i++) {
		p->mark[PROBE_X][i] = (uint8_t)i;
		p->mark[PROBE_Y][i] = (uint8_t)(i + 1 + (i >> 8));
	}
}

struct inflate_probe *inflate_probe_new(void)
{
	struct inflate_probe *p = calloc(1, sizeof *p);
	bool ok = true;

	if (!p)
		return NULL;
	mark_windows(p);
	for (unsigned i = 0; i < PROBE_N; i++)
		ok = inflateInit2(&p->z[i], -15) == Z_OK && ok;
	if (ok)
		return p;
	inflate_probe_free(p);
	return NULL;
}

void inflate_probe_free(struct inflate_probe *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < PROBE_N; i++)
		if (p->z[i].state)
			inflateEnd(&p->z[i]);
	free(p);
}

static bool begin_one(struct inflate_probe *p, unsigned i, unsigned bits, uint8_t byte)
{
	z_stream *z = &p->z[i];

	return inflateReset(z) == Z_OK &&
		(bits == 0 || inflatePrime(z, (int)bits, byte >> (8 - bits)) == Z_OK) &&
		(p->len == 0 ||
		 inflateSetDictionary(z, p->mark[i] + GUNZIP_WINDOW - p->len, (uInt)p->len) ==
			 Z_OK);
}

int inflate_probe_begin(struct inflate_probe *p, z_stream *z, uint8_t byte)
{
	uInt len = 0;
	unsigned bits = (unsigned)z->data_type & 7;

	if (inflateGetDictionary(z, p->window, &len) != Z_OK)
		return -ENOMEM;
	memmove(p->window + GUNZIP_WINDOW - len, p->window, len);
	p->len = len;
	p->got = 0;
	p->active = true;
	p->unknown = !begin_one(p, PROBE_X, bits, byte) || !begin_one(p, PROBE_Y, bits, byte);
	return 0;
}

bool inflate_probe_active(const struct inflate_probe *p)
{
	return p->active;
}

/* The end of the stream or of the room for it has been reached, or there is an error, which the real one will meet too. */
static bool feed_one(struct inflate_probe *p, unsigned i, const uint8_t *in, size_t n, size_t *got)
{
	z_stream *z = &p->z[i];
	int r;

	z->next_in = (z_const Bytef *)in;
	z->avail_in = (uInt)n;
	z->next_out = p->out[i] + p->got;
	z->avail_out = (uInt)(GUNZIP_WINDOW - p->got);
	r = inflate(z, Z_NO_FLUSH);
	*got = GUNZIP_WINDOW - z->avail_out;
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		p->unknown = true;
	return r == Z_STREAM_END || z->avail_out == 0;
}

bool inflate_probe_feed(struct inflate_probe *p, const uint8_t *in, size_t n)
{
	size_t x = 0, y = 0;
	bool end;

	if (p->unknown)
		return true;
	end = feed_one(p, PROBE_X, in, n, &x);
	end |= feed_one(p, PROBE_Y, in, n, &y);
	if (x != y)
		p->unknown = true;
	p->got = x;
	return end || p->unknown;
}

/* What is not used becomes zero; the first byte that is used, or the end. */
static size_t thin_window(struct inflate_probe *p)
{
	size_t first = GUNZIP_WINDOW;

	memset(p->used, 0, sizeof p->used);
	for (size_t i = 0; i < p->got; i++)
		if (p->out[PROBE_X][i] != p->out[PROBE_Y][i])
			p->used[place_of(p->out[PROBE_X][i], p->out[PROBE_Y][i]) % GUNZIP_WINDOW] =
				1;
	for (size_t i = GUNZIP_WINDOW; i-- > GUNZIP_WINDOW - p->len;) {
		if (p->used[i])
			first = i;
		else
			p->window[i] = 0;
	}
	return first;
}

size_t inflate_probe_end(struct inflate_probe *p, const uint8_t **window)
{
	size_t first = p->unknown ? GUNZIP_WINDOW - p->len : thin_window(p);

	p->active = false;
	*window = p->window + first;
	return GUNZIP_WINDOW - first;
}
