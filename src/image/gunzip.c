/* SPDX-License-Identifier: Apache-2.0 */
/* Members of gzip files, one after the other. What follows a member and does not begin as one is the end, as in gzip(1). */
#include "image/gunzip.h"

#include <errno.h>
#include <string.h>

#include "base/macros.h"

#define WITH_GZIP (15 + 16)
#define RAW       (-15)

#define TRAILER_LEN 8u

static const uint8_t magic[2] = { 0x1f, 0x8b };

int gunzip_init(struct gunzip *g)
{
	memset(g, 0, sizeof *g);
	return inflateInit2(&g->z, WITH_GZIP) == Z_OK ? 0 : -ENOMEM;
}

void gunzip_release(struct gunzip *g)
{
	if (g->z.state)
		inflateEnd(&g->z);
}

void gunzip_begin(struct gunzip *g)
{
	g->state = GUNZIP_BETWEEN;
	g->any = false;
	g->z.msg = NULL;
}

int gunzip_begin_raw(struct gunzip *g, unsigned bits, uint8_t byte, const void *window, size_t len)
{
	g->state = GUNZIP_RAW;
	g->any = true;
	if (len > GUNZIP_WINDOW || bits > 7 || inflateReset2(&g->z, RAW) != Z_OK)
		return -EBADMSG;
	if (bits && inflatePrime(&g->z, (int)bits, byte >> (8 - bits)) != Z_OK)
		return -EBADMSG;
	if (len && inflateSetDictionary(&g->z, window, (uInt)len) != Z_OK)
		return -EBADMSG;
	return 0;
}

/* The two bytes that were looked at belong to the header, which zlib wants whole. */
static int begin_member(struct gunzip *g)
{
	uInt avail = g->z.avail_in;
	const Bytef *next = g->z.next_in;
	int r;

	if (inflateReset2(&g->z, WITH_GZIP) != Z_OK)
		return -EBADMSG;
	g->z.next_in = (z_const Bytef *)magic;
	g->z.avail_in = sizeof magic;
	r = inflate(&g->z, Z_BLOCK);
	g->z.next_in = (z_const Bytef *)next;
	g->z.avail_in = avail;
	if (r != Z_OK)
		return r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
	g->state = GUNZIP_MEMBER;
	return GUNZIP_AT_MEMBER;
}

static uint8_t take_byte(struct gunzip *g)
{
	g->z.avail_in--;
	return *g->z.next_in++;
}

/* Between members. -EAGAIN: nothing to tell. */
static int look_for_member(struct gunzip *g)
{
	unsigned i = g->state == GUNZIP_MAGIC;

	if (g->z.avail_in == 0)
		return GUNZIP_MORE;
	if (take_byte(g) == magic[i]) {
		if (i == 1)
			return begin_member(g);
		g->state = GUNZIP_MAGIC;
		return -EAGAIN;
	}
	if (!g->any)
		return -EBADMSG;
	g->state = GUNZIP_END;
	g->rest = 1;
	return -EAGAIN;
}

static int pass_trailer(struct gunzip *g)
{
	uInt n = MIN(g->z.avail_in, g->trailer);

	g->z.next_in += n;
	g->z.avail_in -= n;
	g->trailer -= n;
	if (g->trailer)
		return GUNZIP_MORE;
	g->state = GUNZIP_BETWEEN;
	return -EAGAIN;
}

static void end_member(struct gunzip *g)
{
	g->any = true;
	if (g->state == GUNZIP_RAW) {
		g->trailer = TRAILER_LEN;
		g->state = GUNZIP_TRAILER;
	} else {
		g->state = GUNZIP_BETWEEN;
	}
}

/* Between blocks, but not behind the last one. */
static bool at_block(const struct gunzip *g)
{
	return (g->z.data_type & 0xc0) == 0x80;
}

static int run_inflate(struct gunzip *g, bool blocks)
{
	switch (inflate(&g->z, blocks ? Z_BLOCK : Z_NO_FLUSH)) {
	case Z_STREAM_END:
		end_member(g);
		return -EAGAIN;
	case Z_OK:
		if (blocks && at_block(g))
			return GUNZIP_AT_BLOCK;
		return g->z.avail_out == 0 ? GUNZIP_FULL : -EAGAIN;
	case Z_BUF_ERROR:
		return g->z.avail_in == 0 ? GUNZIP_MORE : GUNZIP_FULL;
	case Z_MEM_ERROR:
		return -ENOMEM;
	default:
		return -EBADMSG;
	}
}

static int pass_rest(struct gunzip *g)
{
	g->rest += g->z.avail_in;
	g->z.next_in += g->z.avail_in;
	g->z.avail_in = 0;
	return GUNZIP_MORE;
}

static int run_state(struct gunzip *g, bool blocks)
{
	switch (g->state) {
	case GUNZIP_BETWEEN:
	case GUNZIP_MAGIC:
		return look_for_member(g);
	case GUNZIP_MEMBER:
	case GUNZIP_RAW:
		return run_inflate(g, blocks);
	case GUNZIP_TRAILER:
		return pass_trailer(g);
	case GUNZIP_END:
		break;
	}
	return pass_rest(g);
}

int gunzip_run(struct gunzip *g, bool blocks)
{
	int r;

	do
		r = run_state(g, blocks);
	while (r == -EAGAIN);
	return r;
}
