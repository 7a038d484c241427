/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A compressed table of contents, piece by piece, becomes JSON: a gzip'ed tar of one file, or a zstd frame. Both digests are
 * taken on the way and compared at the end, before which nobody uses what came out. One thread.
 */
#define ZLIB_CONST /* its input is not written to */
#include "image/toc_private.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/digest.h"
#include "base/macros.h"

enum {
	PIECE = 64 << 10,
	TAR_BLOCK = 512,
	WINDOW_LOG_MAX = 27,        /* what the zstd program takes without being told */
	GZIP_ONLY = MAX_WBITS + 16, /* with header and checksum */
};

/* The tar around the JSON of eStargz. */
enum toc_tar_state { TAR_HEAD, TAR_SKIP, TAR_JSON, TAR_DONE };

struct toc_tar {
	enum toc_tar_state state;
	uint8_t head[TAR_BLOCK];
	size_t have;   /* of the head */
	uint64_t left; /* of what is skipped, or of the JSON */
};

struct toc_reader {
	enum toc_kind kind;
	uint64_t raw_len; /* expected; 0: unknown */
	uint64_t raw_max;
	uint8_t raw_want[LAYER_DIGEST_LEN];
	uint8_t packed_want[LAYER_DIGEST_LEN];
	struct sha256 *raw_sum;    /* NULL: nobody knows what it should be */
	struct sha256 *packed_sum; /* the same */
	uint64_t raw;              /* bytes that came out, of a tar all of them */
	uint64_t json;             /* bytes of JSON among them */
	uint64_t packed;
	bool between; /* compressed streams: one has ended, and nothing of another has come */
	bool inflating;
	z_stream inflate;
	ZSTD_DStream *zstd;
	struct toc_tar tar;
	struct toc_facts facts;
	struct toc_files files;
	struct toc_json *reader;
	uint8_t out[PIECE];
};

static int refuse(struct vmofs_err *err, int code, const char *what)
{
	return vmofs_err_set(err, code, "the table of contents %s", what);
}

/* -- JSON and tar ----------------------------------------------------------------------------- */

static int take_json(struct toc_reader *r, const uint8_t *p, size_t n, struct vmofs_err *err)
{
	r->json += n;
	if (r->raw_sum)
		sha256_add(r->raw_sum, p, n);
	return toc_json_feed(r->reader, p, n, err);
}

/* A number of a tar header: octal with blanks around it, or base 256. */
static bool tar_number(const uint8_t *p, size_t n, uint64_t *out)
{
	uint64_t v = 0;
	size_t i = 0;

	if (p[0] == 0x80) {
		for (i = 1; i < n; i++) {
			if (v >> 56)
				return false;
			v = v << 8 | p[i];
		}
		*out = v;
		return true;
	}
	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(p[i] - '0');
	*out = v;
	return i == n || p[i] == ' ' || p[i] == '\0';
}

static bool tar_is_table(const uint8_t *head)
{
	const char *name = (const char *)head;

	if (!strncmp(name, "./", 2))
		name += 2;
	return !strncmp(name, TOC_STARGZ_NAME, sizeof TOC_STARGZ_NAME) &&
		(head[156] == '0' || head[156] == '\0');
}

static bool all_zeros(const uint8_t *p, size_t n)
{
	return p[0] == 0 && !memcmp(p, p + 1, n - 1);
}

static int tar_head(struct toc_reader *r, struct vmofs_err *err)
{
	struct toc_tar *t = &r->tar;
	uint64_t size;

	t->have = 0;
	if (all_zeros(t->head, TAR_BLOCK))
		return refuse(err, -EBADMSG, "is an archive without '" TOC_STARGZ_NAME "'");
	if (memcmp(t->head + 257, "ustar", 5) != 0 || !tar_number(t->head + 124, 12, &size) ||
	    size > r->raw_max)
		return refuse(err, -EBADMSG, "is not in a proper archive");
	t->state = tar_is_table(t->head) ? TAR_JSON : TAR_SKIP;
	t->left = t->state == TAR_JSON ? size : (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	if (t->left == 0)
		t->state = t->state == TAR_JSON ? TAR_DONE : TAR_HEAD;
	return 0;
}

/* Takes some of the bytes at least; how many. */
static ssize_t tar_step(struct toc_reader *r, const uint8_t *p, size_t n, struct vmofs_err *err)
{
	struct toc_tar *t = &r->tar;
	int e = 0;

	if (t->state == TAR_DONE)
		return (ssize_t)n;
	if (t->state == TAR_HEAD) {
		n = MIN(n, TAR_BLOCK - t->have);
		memcpy(t->head + t->have, p, n);
		t->have += n;
		if (t->have == TAR_BLOCK)
			e = tar_head(r, err);
		return e < 0 ? e : (ssize_t)n;
	}
	n = (size_t)MIN(n, t->left);
	t->left -= n;
	if (t->state == TAR_JSON)
		e = take_json(r, p, n, err);
	if (t->left == 0)
		t->state = t->state == TAR_JSON ? TAR_DONE : TAR_HEAD;
	return e < 0 ? e : (ssize_t)n;
}

static int take_raw(struct toc_reader *r, const uint8_t *p, size_t n, struct vmofs_err *err)
{
	r->raw += n;
	if (r->raw > r->raw_max)
		return refuse(err, -E2BIG, "is too long");
	if (r->kind == TOC_ZSTD_CHUNKED)
		return take_json(r, p, n, err);
	while (n) {
		ssize_t took = tar_step(r, p, n, err);

		if (took < 0)
			return (int)took;
		p += took;
		n -= (size_t)took;
	}
	return 0;
}

/* -- decompression ---------------------------------------------------------------------------- */

/* The table is whole, and so is the member that it was in: what follows is the footer. */
static bool gzip_is_done(const struct toc_reader *r)
{
	return r->between && r->tar.state == TAR_DONE;
}

static int gzip_step(struct toc_reader *r, struct vmofs_err *err)
{
	int z;

	r->inflate.next_out = r->out;
	r->inflate.avail_out = sizeof r->out;
	if (r->between && inflateReset(&r->inflate) != Z_OK)
		return refuse(err, -EIO, "cannot be decompressed");
	r->between = false;
	z = inflate(&r->inflate, Z_NO_FLUSH);
	if (z == Z_MEM_ERROR)
		return refuse(err, -ENOMEM, "needs more memory than there is");
	if (z != Z_OK && z != Z_STREAM_END && z != Z_BUF_ERROR)
		return refuse(err, -EBADMSG, "is not proper gzip");
	r->between = z == Z_STREAM_END;
	return take_raw(r, r->out, sizeof r->out - r->inflate.avail_out, err);
}

static int gzip_feed(struct toc_reader *r, const void *p, size_t n, struct vmofs_err *err)
{
	int e = 0;

	r->inflate.next_in = p;
	r->inflate.avail_in = (uInt)n;
	/* Output that fills the buffer may have more behind it. */
	while (e == 0 && !gzip_is_done(r) && (r->inflate.avail_in || !r->inflate.avail_out)) {
		e = gzip_step(r, err);
		if (r->between && !r->inflate.avail_in)
			break;
	}
	return e;
}

static int zstd_feed(struct toc_reader *r, const void *p, size_t n, struct vmofs_err *err)
{
	ZSTD_inBuffer in = { p, n, 0 };
	ZSTD_outBuffer out;
	int e = 0;

	do {
		size_t z;

		out = (ZSTD_outBuffer){ r->out, sizeof r->out, 0 };
		z = ZSTD_decompressStream(r->zstd, &out, &in);
		if (ZSTD_isError(z))
			return refuse(err, -EBADMSG, "is not proper zstd");
		r->between = z == 0;
		e = take_raw(r, r->out, out.pos, err);
	} while (e == 0 && (in.pos < in.size || (out.pos == out.size && !r->between)));
	return e;
}

/* -- the whole -------------------------------------------------------------------------------- */

static int start_decoder(struct toc_reader *r)
{
	if (r->kind != TOC_ZSTD_CHUNKED) {
		if (inflateInit2(&r->inflate, GZIP_ONLY) != Z_OK)
			return -ENOMEM;
		r->inflating = true;
		return 0;
	}
	r->zstd = ZSTD_createDStream();
	if (!r->zstd ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(r->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
		return -ENOMEM;
	return 0;
}

static int expect(struct sha256 **sum, uint8_t *want, const uint8_t *digest)
{
	if (!digest)
		return 0;
	memcpy(want, digest, LAYER_DIGEST_LEN);
	*sum = sha256_new();
	return *sum ? 0 : -ENOMEM;
}

static int start(struct toc_reader *r, const struct toc_options *options, struct layer_build *b)
{
	int e;

	r->kind = options->kind;
	r->raw_len = options->raw_len;
	r->raw_max = r->kind == TOC_ZSTD_CHUNKED ? TOC_ZSTD_MAX : TOC_JSON_MAX;
	r->facts.chunks_have_digests = true;
	r->files.build = b;
	r->files.kind = r->kind;
	r->files.data_end = options->data_end;
	r->files.facts = &r->facts;
	e = expect(&r->raw_sum, r->raw_want, options->raw_digest);
	if (e == 0)
		e = expect(&r->packed_sum, r->packed_want, options->packed_digest);
	if (e == 0)
		e = start_decoder(r);
	return e < 0 ? e : toc_json_new(&r->reader, &r->files);
}

int toc_reader_new(struct toc_reader **out, const struct toc_options *options,
		   struct layer_build *b)
{
	struct toc_reader *r = calloc(1, sizeof *r);
	int e;

	if (!r)
		return -ENOMEM;
	e = start(r, options, b);
	if (e < 0) {
		toc_reader_free(r);
		return e;
	}
	*out = r;
	return 0;
}

void toc_reader_free(struct toc_reader *r)
{
	if (!r)
		return;
	if (r->inflating)
		inflateEnd(&r->inflate);
	ZSTD_freeDStream(r->zstd);
	sha256_free(r->raw_sum);
	sha256_free(r->packed_sum);
	toc_json_free(r->reader);
	toc_files_release(&r->files);
	free(r);
}

int toc_reader_feed(struct toc_reader *r, const void *p, size_t n, struct vmofs_err *err)
{
	const uint8_t *at = p;
	int e = 0;

	/* In steps that zlib can count. */
	while (n && e == 0) {
		size_t piece = MIN(n, 1 << 30);

		r->packed += piece;
		if (r->packed > r->raw_max)
			return refuse(err, -E2BIG, "is too long");
		if (r->packed_sum)
			sha256_add(r->packed_sum, at, piece);
		e = r->kind == TOC_ZSTD_CHUNKED ? zstd_feed(r, at, piece, err)
						: gzip_feed(r, at, piece, err);
		at += piece;
		n -= piece;
	}
	return e;
}

static bool is_right(struct sha256 *sum, const uint8_t *want)
{
	uint8_t have[LAYER_DIGEST_LEN];

	if (!sum)
		return true;
	sha256_end(sum, have);
	return !memcmp(have, want, sizeof have);
}

int toc_reader_end(struct toc_reader *r, struct toc_facts *facts, struct vmofs_err *err)
{
	bool whole = r->kind == TOC_ZSTD_CHUNKED ? r->between : gzip_is_done(r);
	int e;

	if (!whole)
		return refuse(err, -EBADMSG, "is cut off");
	if (!is_right(r->raw_sum, r->raw_want) || !is_right(r->packed_sum, r->packed_want))
		return refuse(err, -EBADMSG,
			      "is not the one that the manifest names: its SHA-256 is another");
	if (r->raw_len && r->json != r->raw_len)
		return refuse(err, -EBADMSG, "has another length than it should have");
	e = toc_json_end(r->reader, err);
	if (e < 0)
		return e;
	r->facts.toc_proved = r->raw_sum || r->packed_sum;
	*facts = r->facts;
	return 0;
}
