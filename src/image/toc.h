/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of contents that come with a layer: which one there is, where it lies, and reading it into a layer_build. Pure
 * functions on bytes from outside, and a reader that belongs to one thread.
 *
 *   format          who says so                    the table                           digest of it in the manifest
 *   stargz          footer of 47 bytes             gzip'ed tar with stargz.index.json  none
 *   eStargz         footer of 51 bytes             the same                            of the JSON
 *   external TOC    footer of 46 bytes             the same, in another image          of the JSON
 *   zstd:chunked    footer of 48 or 72 bytes,      a zstd frame in a skippable one     of the frame (c/storage), of the
 *                   annotations                                                        JSON (stargz-snapshotter)
 *   zstd seekable   footer of 9 bytes              none, but where the frames are      none
 *   SOCI            a blob of its own              ztoc.h
 */
#ifndef IMAGE_TOC_H
#define IMAGE_TOC_H

#include "image/layer_build.h"

#define TOC_FOOTER_MAX      72u /* so many last bytes of a blob have every footer */
#define TOC_ZSTD_MAX        (UINT64_C(150) << 20) /* c/storage's limit, packed and unpacked */
#define TOC_JSON_MAX        (UINT64_C(512) << 20) /* of stargz, which has none */
#define TOC_STARGZ_NAME     "stargz.index.json"
#define TOC_PREFETCH_MARK   ".prefetch.landmark"
#define TOC_NOPREFETCH_MARK ".no.prefetch.landmark"

enum toc_kind {
	TOC_NONE,
	TOC_STARGZ,
	TOC_ESTARGZ,
	TOC_EXTERNAL,
	TOC_ZSTD_CHUNKED,
	TOC_ZSTD_SEEKABLE,
	TOC_NKINDS
};

/* Where things lie in the blob. */
struct toc_place {
	enum toc_kind kind;
	uint64_t off; /* the table: of what is compressed, or of the first entry of a seek table */
	uint64_t len; /* EXTERNAL: off and len are 0 */
	uint64_t raw_len;   /* unpacked; 0: it is not said */
	uint64_t data_end;  /* no file's bytes lie here or beyond */
	uint64_t split_off; /* zstd:chunked's tar-split; split_len 0: there is none */
	uint64_t split_len;
	uint64_t split_raw_len;
	uint32_t frames; /* SEEKABLE: entries of the table */
	bool checksums;  /* SEEKABLE: they have checksums */
};

/*
 * What the last @len bytes of a blob say, TOC_FOOTER_MAX of them or the whole blob. kind is TOC_NONE when there is no
 * footer, or one of c/storage 1.47 to 1.49, which is broken. -EBADMSG: there is one, and it lies.
 */
int toc_footer(struct toc_place *out, const void *tail, size_t len, uint64_t blob_size,
	       struct vmofs_err *err);

/* One frame of a seekable blob. */
struct toc_frame {
	uint64_t blob;
	uint64_t data;
	uint32_t blob_len;
	uint32_t data_len;
	uint32_t checksum; /* low half of XXH64 of the data, where place.checksums */
};

/*
 * The next frame, from @table (place->len bytes at place->off); *out begins as zeros, *at as 0. 1: there is one; 0: that
 * was all; -EBADMSG: the frames are longer than what lies before the table.
 */
int toc_next_frame(const struct toc_place *place, const uint8_t *table, uint32_t *at,
		   struct toc_frame *out);

/* What the annotations of a layer's descriptor say; begins as zeros. */
struct toc_hints {
	bool has_raw_digest;    /* of the JSON: eStargz, and zstd:chunked by stargz-snapshotter */
	bool has_packed_digest; /* of the compressed table: zstd:chunked */
	bool has_position;      /* of zstd:chunked's table */
	bool has_split;
	bool has_split_digest;
	bool has_data_layer;
	bool has_tar_size;
	uint8_t generation; /* of zstd:chunked's keys: 1 "io.containers.", 2 "io.github.containers." */
	uint8_t raw_digest[LAYER_DIGEST_LEN];
	uint8_t packed_digest[LAYER_DIGEST_LEN];
	uint8_t split_digest[LAYER_DIGEST_LEN];
	uint8_t data_layer
		[LAYER_DIGEST_LEN]; /* in an image of external tables: of the layer that it is for */
	uint64_t tar_size;
	struct toc_place place; /* as has_position and has_split say */
};

/* One annotation; others than those above are passed over. -EBADMSG: the value makes no sense. */
int toc_hint(struct toc_hints *h, const char *key, const char *value, struct vmofs_err *err);
/*
 * What all of them amount to, for a blob of @blob_size bytes. TOC_NONE: nothing. TOC_ESTARGZ: its place is in the footer
 * (which may say TOC_EXTERNAL, or TOC_ZSTD_CHUNKED), all else is 0 here. TOC_ZSTD_CHUNKED: with the place. -EBADMSG: they contradict each other or the size.
 */
int toc_hints_place(const struct toc_hints *h, uint64_t blob_size, struct toc_place *out,
		    struct vmofs_err *err);

/* "sha256:" and 64 hexadecimal digits, in lower case. */
bool toc_parse_digest(const char *p, size_t n, uint8_t out[LAYER_DIGEST_LEN]);
/* RFC 3339; an empty one and the year 1 (Go's zero) are the epoch. */
bool toc_parse_time(const char *p, size_t n, int64_t *sec, uint32_t *nsec);

/* -- reading ---------------------------------------------------------------------------------- */

struct toc_options {
	enum toc_kind kind; /* STARGZ, ESTARGZ, EXTERNAL, ZSTD_CHUNKED */
	/* Borrowed until toc_reader_new() returns; NULL: it is not known. With both, both have to be right. */
	const uint8_t *raw_digest;
	const uint8_t *packed_digest;
	uint64_t raw_len;  /* 0: it is not known */
	uint64_t data_end; /* struct toc_place; for EXTERNAL the place in the blob with the data */
};

enum toc_mark { TOC_NO_MARK, TOC_MARK_PREFETCH, TOC_MARK_NOTHING, TOC_NMARKS };

struct toc_facts {
	uint64_t entries;         /* of the JSON, chunks included */
	uint64_t chunks;          /* stretches of the blob that hold data */
	bool toc_proved;          /* a digest was given, and right */
	bool chunks_have_digests; /* all: each byte can be proved before it is used, if the table is */
	bool has_split_digest;    /* of the compressed tar-split */
	uint8_t split_digest[LAYER_DIGEST_LEN];
	enum toc_mark mark;    /* what a landmark says */
	uint64_t prefetch_end; /* MARK_PREFETCH: bytes of the blob that are wanted first */
};

struct toc_reader;

/*
 * Reads a table, in pieces as they come, into @b (LAYOUT_PAGES), which is borrowed. What is in @b counts only when
 * toc_reader_end() has said 0, for the digest is known there at the earliest: after any error it has to be freed.
 * Memory: some hundred KiB, the longest entry, zstd's window, and the chunks of one compressed member.
 */
int toc_reader_new(struct toc_reader **out, const struct toc_options *options,
		   struct layer_build *b);
void toc_reader_free(struct toc_reader *r); /* NULL is fine */

/* The compressed table. -EBADMSG, -E2BIG, -ENOMEM with @err. What follows a gzip'ed table (the footer) is passed over. */
int toc_reader_feed(struct toc_reader *r, const void *p, size_t n, struct vmofs_err *err);
int toc_reader_end(struct toc_reader *r, struct toc_facts *facts, struct vmofs_err *err);

#endif
