/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends of blobs. A footer of stargz is a gzip member without data whose header has an extra field, so each of its bytes
 * is known but for the sixteen digits: whatever differs is no footer. Pure functions, any thread.
 */
#include "image/toc.h"

#include <errno.h>
#include <string.h>

#include "base/little.h"
#include "base/macros.h"

#define GZIP_HEAD "\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
/* An empty last stored block, the checksum and the length of nothing. */
#define GZIP_TAIL "\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"

enum {
	OFFSET_DIGITS = 16,
	SKIPPABLE_HEAD = 8, /* magic, length */
	SEEK_FOOTER = 9
};

/* What stands before and behind the digits of an offset. */
struct gzip_footer {
	enum toc_kind kind;
	unsigned len;
	unsigned head_len;
	const char *head;
	bool digits;
	const char *name;
};

static const struct gzip_footer gzip_footers[] = {
	{ TOC_ESTARGZ, 51, 16, GZIP_HEAD "\x1a\x00SG\x16\x00", true, "STARGZ" },
	{ TOC_STARGZ, 47, 12, GZIP_HEAD "\x16\x00", true, "STARGZ" },
	{ TOC_EXTERNAL, 46, 16, GZIP_HEAD "\x15\x00SG\x11\x00", false, "STARGZEXTERNALTOC" },
};

static int not_here(struct vmofs_err *err, const char *what)
{
	return vmofs_err_set(err, -EBADMSG, "the footer of the layer has %s", what);
}

static bool take_hex(const char *p, uint64_t *out)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < OFFSET_DIGITS; i++) {
		if (p[i] >= '0' && p[i] <= '9')
			v = v << 4 | (uint64_t)(p[i] - '0');
		else if (p[i] >= 'a' && p[i] <= 'f')
			v = v << 4 | (uint64_t)(p[i] - 'a' + 10);
		else
			return false;
	}
	*out = v;
	return true;
}

/* Whether the bytes at @p are this footer, but for its digits. */
static bool is_gzip_footer(const struct gzip_footer *f, const char *p)
{
	size_t name_len = strlen(f->name);
	const char *name = p + f->head_len + (f->digits ? OFFSET_DIGITS : 0);

	return !memcmp(p, f->head, f->head_len) && !memcmp(name, f->name, name_len) &&
		!memcmp(name + name_len, GZIP_TAIL, sizeof GZIP_TAIL - 1);
}

static int gzip_footer(struct toc_place *out, const struct gzip_footer *f, const char *p,
		       uint64_t blob_size, struct vmofs_err *err)
{
	uint64_t end = blob_size - f->len;

	if (f->digits) {
		if (!take_hex(p + f->head_len, &out->off))
			return not_here(err, "no offset of a table of contents");
		if (out->off >= end)
			return not_here(err, "an offset that is not in the layer");
		out->len = end - out->off;
	}
	out->kind = f->kind;
	out->data_end = f->digits ? out->off : end;
	return 0;
}

/* -- zstd:chunked ----------------------------------------------------------------------------- */

/* @p: the data of the footer's frame, @room: how much of the blob lies before that frame. */
static int chunked_footer(struct toc_place *out, const uint8_t *p, bool split, uint64_t room,
			  struct vmofs_err *err)
{
	struct toc_place at = { .kind = TOC_ZSTD_CHUNKED,
				.off = get64(p),
				.len = get64(p + 8),
				.raw_len = get64(p + 16) };

	if (get64(p + 24) != 1)
		return not_here(err, "a table of contents of a kind that is not known");
	if (split) {
		at.split_off = get64(p + 32);
		at.split_len = get64(p + 40);
		at.split_raw_len = get64(p + 48);
	}
	if (!at.len || at.off < SKIPPABLE_HEAD || at.off > room || at.len > room - at.off)
		return not_here(err, "a table of contents that is not in the layer");
	if (at.split_len &&
	    (at.split_off < SKIPPABLE_HEAD || at.split_off > room ||
	     at.split_len > room - at.split_off))
		return not_here(err, "a tar-split that is not in the layer");
	at.data_end = at.off - SKIPPABLE_HEAD;
	if (at.split_len)
		at.data_end = MIN(at.data_end, at.split_off - SKIPPABLE_HEAD);
	*out = at;
	return 0;
}

static const struct {
	unsigned data_len;
	const char *magic; /* the last eight bytes */
	bool split;
} chunked_footers[] = {
	{ 40, "GnUlInUx", false },
	{ 64, "GNUlInUx", true },
};

/* The data of a footer of this form; NULL: there is none at the end of [p, p + n). */
static const uint8_t *find_chunked(unsigned i, const uint8_t *p, size_t n)
{
	unsigned data_len = chunked_footers[i].data_len;

	if (n < data_len + SKIPPABLE_HEAD || memcmp(p + n - 8, chunked_footers[i].magic, 8) != 0)
		return NULL;
	p += n - data_len - SKIPPABLE_HEAD;
	if (get32(p) != 0x184d2a50 || get32(p + 4) != data_len)
		return NULL;
	return p + SKIPPABLE_HEAD;
}

/* -- the seekable format ---------------------------------------------------------------------- */

static int seek_footer(struct toc_place *out, const uint8_t *p, uint64_t blob_size,
		       struct vmofs_err *err)
{
	bool checksums = p[4] & 0x80;
	uint64_t len = get32(p) * (uint64_t)(checksums ? 12 : 8);
	uint64_t room = blob_size - SEEK_FOOTER;

	if (p[4] & 0x7c)
		return not_here(err, "flags of a seek table that are not known");
	if (room < SKIPPABLE_HEAD || len > room - SKIPPABLE_HEAD)
		return not_here(err, "a seek table that is longer than the layer");
	out->kind = TOC_ZSTD_SEEKABLE;
	out->frames = get32(p);
	out->checksums = checksums;
	out->off = room - len;
	out->len = len;
	out->data_end = out->off - SKIPPABLE_HEAD;
	return 0;
}

int toc_next_frame(const struct toc_place *place, const uint8_t *table, uint32_t *at,
		   struct toc_frame *out)
{
	size_t each = place->checksums ? 12 : 8;
	const uint8_t *p = table + *at * each;

	if (*at == place->frames)
		return 0;
	out->blob += out->blob_len;
	out->data += out->data_len;
	out->blob_len = get32(p);
	out->data_len = get32(p + 4);
	out->checksum = place->checksums ? get32(p + 8) : 0;
	if (out->blob > place->data_end || out->blob_len > place->data_end - out->blob)
		return -EBADMSG;
	(*at)++;
	return 1;
}

/* -- all of them ------------------------------------------------------------------------------ */

int toc_footer(struct toc_place *out, const void *tail, size_t len, uint64_t blob_size,
	       struct vmofs_err *err)
{
	const uint8_t *p = tail, *end = p + len;

	*out = (struct toc_place){ 0 };
	if (len > blob_size)
		return vmofs_err_set(err, -EINVAL, "the end is longer than the layer");
	for (size_t i = 0; i < ARRAY_LEN(gzip_footers); i++) {
		const struct gzip_footer *f = &gzip_footers[i];

		if (len >= f->len && is_gzip_footer(f, (const char *)end - f->len))
			return gzip_footer(out, f, (const char *)end - f->len, blob_size, err);
	}
	for (unsigned i = 0; i < ARRAY_LEN(chunked_footers); i++) {
		const uint8_t *data = find_chunked(i, p, len);
		unsigned whole = chunked_footers[i].data_len + SKIPPABLE_HEAD;

		if (data)
			return chunked_footer(out, data, chunked_footers[i].split,
					      blob_size - whole, err);
	}
	if (len >= SEEK_FOOTER && get32(end - 4) == 0x8f92eab1)
		return seek_footer(out, end - SEEK_FOOTER, blob_size, err);
	return 0;
}
