/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of blobs and annotations of layers: which format they speak of, and what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/little.h"
#include "base/macros.h"
#include "image/toc.h"

#define STARGZ "containerd.io/snapshot/stargz/"
#define NEW    "io.github.containers.zstd-chunked."
#define OLD    "io.containers.zstd-chunked."
#define HEX64  "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

#define BLOB UINT64_C(100000)

/* Bytes that end in a footer. */
struct tail {
	uint8_t p[256];
	size_t n;
};

static void put(struct tail *t, const void *p, size_t n)
{
	assert_true(t->n + n <= sizeof t->p);
	memcpy(t->p + t->n, p, n);
	t->n += n;
}

/* As stargz makes them: by a gzip writer, of an extra field and no data. */
static struct tail gzip_tail(const char *extra, size_t extra_len)
{
	struct tail t = { .n = 0 };
	uint8_t len[2] = { (uint8_t)extra_len, (uint8_t)(extra_len >> 8) };

	put(&t, "before", 6);
	put(&t, "\x1f\x8b\x08\x04\0\0\0\0\0\xff", 10);
	put(&t, len, 2);
	put(&t, extra, extra_len);
	put(&t, "\x01\0\0\xff\xff\0\0\0\0\0\0\0\0", 13);
	return t;
}

static int look(const struct tail *t, uint64_t size, struct toc_place *out)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = toc_footer(out, t->p, t->n, size, &err);

	assert_int_equal(r, err.code);
	return r;
}

static void footers_of_stargz(void **state)
{
	struct toc_place p;
	struct tail t = gzip_tail("SG\x16\0"
				  "0000000000000abcSTARGZ",
				  26);
	z_stream z = { .next_in = t.p + 6, .avail_in = 51 };
	uint8_t none[8];

	(void)state;
	assert_int_equal(t.n, 57);
	assert_int_equal(look(&t, BLOB, &p), 0);
	assert_int_equal(p.kind, TOC_ESTARGZ);
	assert_int_equal(p.off, 0xabc);
	assert_int_equal(p.data_end, 0xabc);
	assert_int_equal(p.len, BLOB - 51 - 0xabc);
	/* It is a gzip member. */
	assert_int_equal(inflateInit2(&z, 31), Z_OK);
	z.next_out = none;
	z.avail_out = sizeof none;
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.avail_in, 0);
	inflateEnd(&z);

	t = gzip_tail("0000000000000abcSTARGZ", 22);
	assert_int_equal(look(&t, BLOB, &p), 0);
	assert_int_equal(p.kind, TOC_STARGZ);
	assert_int_equal(p.off, 0xabc);
	assert_int_equal(p.len, BLOB - 47 - 0xabc);

	t = gzip_tail("SG\x11\0STARGZEXTERNALTOC", 21);
	assert_int_equal(look(&t, BLOB, &p), 0);
	assert_int_equal(p.kind, TOC_EXTERNAL);
	assert_int_equal(p.len, 0);
	assert_int_equal(p.data_end, BLOB - 46);
}

static void footers_of_stargz_that_lie(void **state)
{
	struct toc_place p;
	struct tail t = gzip_tail("SG\x16\0"
				  "0000000000000ABCSTARGZ",
				  26);

	(void)state;
	assert_int_equal(look(&t, BLOB, &p), -EBADMSG);
	t = gzip_tail("SG\x16\0"
		      "ffffffffffffffffSTARGZ",
		      26);
	assert_int_equal(look(&t, BLOB, &p), -EBADMSG);
	/* The table cannot begin in the footer. */
	t = gzip_tail("SG\x16\0"
		      "0000000000000006STARGZ",
		      26);
	assert_int_equal(look(&t, 57, &p), -EBADMSG);
	assert_int_equal(look(&t, 58, &p), 0);
	assert_int_equal(p.len, 1);
}

/* Of any footer, no byte may be another. */
static void what_differs_is_no_footer(void **state)
{
	struct tail t = gzip_tail("SG\x16\0"
				  "0000000000000abcSTARGZ",
				  26);
	struct toc_place p;

	(void)state;
	for (size_t i = t.n - 51; i < t.n; i++) {
		size_t digit = i - (t.n - 51);

		if (digit >= 16 && digit < 32)
			continue;
		t.p[i] ^= 1;
		assert_int_equal(look(&t, BLOB, &p), 0);
		assert_int_equal(p.kind, TOC_NONE);
		t.p[i] ^= 1;
	}
	for (size_t n = 0; n < 51; n++) {
		struct tail cut = { .n = n };

		memcpy(cut.p, t.p + t.n - n, n);
		assert_int_equal(look(&cut, BLOB, &p), 0);
		assert_int_equal(p.kind, TOC_NONE);
	}
	assert_int_equal(look(&t, t.n - 1, &p), -EINVAL);
}

/* -- zstd:chunked ----------------------------------------------------------------------------- */

static struct tail chunked_tail(unsigned len, const uint64_t *v, const char *magic)
{
	struct tail t = { .n = 0 };
	uint8_t b[8];

	put32(b, 0x184d2a50);
	put32(b + 4, len);
	put(&t, b, 8);
	for (unsigned i = 0; i < len / 8 - 1; i++) {
		put64(b, v[i]);
		put(&t, b, 8);
	}
	put(&t, magic, 8);
	return t;
}

static void footers_of_zstd_chunked(void **state)
{
	const uint64_t v[] = { 50000, 1000, 9000, 1, 60000, 2000, 4000 };
	struct tail t = chunked_tail(40, v, "GnUlInUx");
	struct toc_place p;

	(void)state;
	assert_int_equal(t.n, 48);
	assert_int_equal(look(&t, BLOB, &p), 0);
	assert_int_equal(p.kind, TOC_ZSTD_CHUNKED);
	assert_int_equal(p.off, 50000);
	assert_int_equal(p.len, 1000);
	assert_int_equal(p.raw_len, 9000);
	assert_int_equal(p.split_len, 0);
	assert_int_equal(p.data_end, 49992);

	t = chunked_tail(64, v, "GNUlInUx");
	assert_int_equal(t.n, 72);
	assert_int_equal(look(&t, BLOB, &p), 0);
	assert_int_equal(p.off, 50000);
	assert_int_equal(p.split_off, 60000);
	assert_int_equal(p.split_len, 2000);
	assert_int_equal(p.split_raw_len, 4000);
	assert_int_equal(p.data_end, 49992);
	/* The older magic does not go with the longer footer, nor the other way round: 1.47 to 1.49 wrote such. */
	t = chunked_tail(64, v, "GnUlInUx");
	assert_int_equal(look(&t, BLOB, &p), 0);
	assert_int_equal(p.kind, TOC_NONE);
	t = chunked_tail(56, v, "GnUlInUx");
	assert_int_equal(look(&t, BLOB, &p), 0);
	assert_int_equal(p.kind, TOC_NONE);
}

static void footers_of_zstd_chunked_that_lie(void **state)
{
	static const uint64_t bad[][7] = {
		{ 50000, 1000, 9000, 2, 60000, 2000, 4000 },
		{ 50000, 0, 9000, 1, 60000, 2000, 4000 },
		{ 7, 1000, 9000, 1, 60000, 2000, 4000 },
		{ 99000, 1000, 9000, 1, 60000, 2000, 4000 },
		{ UINT64_MAX, 2, 9000, 1, 60000, 2000, 4000 },
		{ 50000, UINT64_MAX, 9000, 1, 60000, 2000, 4000 },
		{ 50000, 1000, 9000, 1, 99000, 2000, 4000 },
		{ 50000, 1000, 9000, 1, 3, 2000, 4000 },
	};
	struct toc_place p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct tail t = chunked_tail(64, bad[i], "GNUlInUx");

		assert_int_equal(look(&t, BLOB, &p), -EBADMSG);
	}
}

/* -- the seekable format ---------------------------------------------------------------------- */

static struct tail seek_tail(unsigned n, bool checksums, uint8_t flags)
{
	struct tail t = { .n = 0 };
	uint8_t b[12];

	put32(b, 0x184d2a5e);
	put32(b + 4, n * (checksums ? 12 : 8) + 9);
	put(&t, b, 8);
	for (unsigned i = 0; i < n; i++) {
		put32(b, 100 + i);
		put32(b + 4, 1000 + i);
		put32(b + 8, 0xabcd0000 + i);
		put(&t, b, checksums ? 12 : 8);
	}
	put32(b, n);
	b[4] = flags;
	put32(b + 5, 0x8f92eab1);
	put(&t, b, 9);
	return t;
}

static void seek_tables(void **state)
{
	struct toc_place p;
	struct toc_frame f;
	uint32_t at;

	(void)state;
	for (int sums = 0; sums < 2; sums++) {
		struct tail t = seek_tail(3, sums, sums ? 0x83 : 0);

		assert_int_equal(look(&t, 303 + t.n, &p), 0);
		assert_int_equal(p.kind, TOC_ZSTD_SEEKABLE);
		assert_int_equal(p.frames, 3);
		assert_int_equal(p.data_end, 303);
		assert_int_equal(p.off, 311);
		assert_int_equal(p.len, sums ? 36 : 24);
		memset(&f, 0, sizeof f);
		at = 0;
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(toc_next_frame(&p, t.p + 8, &at, &f), 1);
			assert_int_equal(f.blob_len, 100 + i);
			assert_int_equal(f.checksum, sums ? 0xabcd0000 + i : 0);
		}
		assert_int_equal(f.blob, 201);
		assert_int_equal(f.data, 2001);
		assert_int_equal(toc_next_frame(&p, t.p + 8, &at, &f), 0);
	}
}

static void seek_tables_that_lie(void **state)
{
	struct tail t = seek_tail(3, false, 0x04);
	struct toc_frame f = { 0 };
	struct toc_place p;
	uint32_t at = 0;

	(void)state;
	assert_int_equal(look(&t, BLOB, &p), -EBADMSG);
	t = seek_tail(3, false, 0);
	assert_int_equal(look(&t, t.n, &p), 0);
	assert_int_equal(toc_next_frame(&p, t.p + 8, &at, &f), -EBADMSG);
	put32(t.p + t.n - 9, UINT32_MAX);
	assert_int_equal(look(&t, BLOB, &p), -EBADMSG);
}

/* -- annotations ------------------------------------------------------------------------------ */

struct note {
	const char *key;
	const char *value;
};

static int hint(struct toc_place *out, struct toc_hints *h, const struct note *notes)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = 0;

	memset(h, 0, sizeof *h);
	for (; notes->key && r == 0; notes++)
		r = toc_hint(h, notes->key, notes->value, &err);
	return r < 0 ? r : toc_hints_place(h, BLOB, out, &err);
}

static void annotations_of_both_generations(void **state)
{
	struct toc_hints h;
	struct toc_place p;
	static const struct note plain[] = { { "org.opencontainers.image.title", "x" }, { 0 } };
	static const struct note stargz[] = {
		{ STARGZ "toc.digest", "sha256:" HEX64 },
		{ "io.containers.estargz.uncompressed-size", "12345" },
		{ 0 },
	};
	static const struct note old[] = {
		{ OLD "manifest-checksum", "sha256:" HEX64 },
		{ OLD "manifest-position", "50000:1000:9000:1" },
		{ STARGZ "toc.digest", "sha256:" HEX64 },
		{ 0 },
	};
	static const struct note new[] = {
		{ OLD "manifest-position", "1:1:1:1" },
		{ NEW "manifest-checksum", "sha256:" HEX64 },
		{ NEW "manifest-position", "50000:1000:9000:1" },
		{ OLD "manifest-position", "2:2:2:1" },
		{ NEW "tarsplit-position", "40000:2000:4000" },
		{ 0 },
	};

	(void)state;
	assert_int_equal(hint(&p, &h, plain), 0);
	assert_int_equal(p.kind, TOC_NONE);
	assert_int_equal(hint(&p, &h, stargz), 0);
	assert_int_equal(p.kind, TOC_ESTARGZ);
	assert_int_equal(h.tar_size, 12345);
	assert_int_equal(h.raw_digest[31], 0xff);
	assert_int_equal(h.raw_digest[1], 0x11);
	assert_int_equal(hint(&p, &h, old), 0);
	assert_int_equal(p.kind, TOC_ZSTD_CHUNKED);
	assert_true(h.has_raw_digest && h.has_packed_digest);
	assert_int_equal(p.data_end, 49992);
	assert_int_equal(hint(&p, &h, new), 0);
	assert_int_equal(p.kind, TOC_ZSTD_CHUNKED);
	assert_int_equal(p.off, 50000);
	assert_int_equal(p.len, 1000);
	assert_int_equal(p.raw_len, 9000);
	assert_int_equal(p.split_len, 2000);
	assert_int_equal(p.data_end, 39992);
}

static void annotations_that_contradict(void **state)
{
	static const struct note both[] = {
		{ STARGZ "toc.digest", "sha256:" HEX64 },
		{ NEW "manifest-checksum", "sha256:" HEX64 },
		{ NEW "manifest-position", "50000:1000:9000:1" },
		{ 0 },
	};
	static const struct note nowhere[] = { { NEW "manifest-checksum", "sha256:" HEX64 },
					       { 0 } };
	static const struct note outside[] = { { NEW "manifest-position", "99999:2:9000:1" },
					       { 0 } };
	static const struct note split[] = { { NEW "manifest-position", "50000:1000:9000:1" },
					     { NEW "tarsplit-position", "99999:2:1" },
					     { 0 } };
	struct toc_hints h;
	struct toc_place p;

	(void)state;
	assert_int_equal(hint(&p, &h, both), -EBADMSG);
	assert_int_equal(hint(&p, &h, nowhere), -EBADMSG);
	assert_int_equal(hint(&p, &h, outside), -EBADMSG);
	assert_int_equal(hint(&p, &h, split), -EBADMSG);
}

static void annotations_that_make_no_sense(void **state)
{
	static const struct note bad[] = {
		{ STARGZ "toc.digest", "" },
		{ STARGZ "toc.digest", "sha512:" HEX64 },
		{ STARGZ "toc.digest", "sha256:" HEX64 "0" },
		{ STARGZ "toc.digest",
		  "sha256:A0112233445566778899aabbccddeeff00112233445566778899"
		  "aabbccddeeff" },
		{ NEW "manifest-position", "1:2:3" },
		{ NEW "manifest-position", "1:2:3:2" },
		{ NEW "manifest-position", "1:2:3:1:" },
		{ NEW "manifest-position", "1:-2:3:1" },
		{ NEW "manifest-position", "1: 2:3:1" },
		{ NEW "manifest-position", "18446744073709551616:2:3:1" },
		{ NEW "tarsplit-position", "1:2:3:4" },
		{ "io.containers.estargz.uncompressed-size", "12 " },
	};
	struct toc_hints h;
	struct toc_place p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct note notes[] = { bad[i], { 0 } };

		assert_int_equal(hint(&p, &h, notes), -EBADMSG);
	}
}

/* -- times ------------------------------------------------------------------------------------ */

static void times(void **state)
{
	static const struct {
		const char *text;
		int64_t sec;
		uint32_t nsec;
	} good[] = {
		{ "", 0, 0 },
		{ "1970-01-01T00:00:00Z", 0, 0 },
		{ "0001-01-01T00:00:00Z", 0, 0 },
		{ "2000-02-29T23:59:59Z", 951868799, 0 },
		{ "2026-11-23T16:39:23.000000001Z", 1795451963, 1 },
		{ "2026-11-23T16:39:23.1234567899Z", 1795451963, 123456789 },
		{ "2026-11-23T18:09:23.5+01:30", 1795451963, 500000000 },
		{ "2026-11-23T08:39:23-08:00", 1795451963, 0 },
		{ "1969-12-31T23:59:59.25Z", -1, 250000000 },
		{ "9999-12-31T23:59:59Z", 253402300799, 0 },
	};
	static const char *const bad[] = {
		"2026",
		"2026-11-23",
		"2026-11-23 16:39:23Z",
		"2026-11-23T16:39:23",
		"2026-11-23T16:39:23.Z",
		"2026-11-23T16:39:23Zx",
		"2026-13-23T16:39:23Z",
		"2026-02-29T16:39:23Z",
		"2026-11-23T24:39:23Z",
		"2026-11-23T16:39:60Z",
		"2026-11-23T16:39:23+24:00",
		"2026-11-23T16:39:23+0100",
		"-026-11-23T16:39:23Z",
	};
	uint32_t nsec;
	int64_t sec;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_true(toc_parse_time(good[i].text, strlen(good[i].text), &sec, &nsec));
		assert_int_equal(sec, good[i].sec);
		assert_int_equal(nsec, good[i].nsec);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(toc_parse_time(bad[i], strlen(bad[i]), &sec, &nsec));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(footers_of_stargz),
		cmocka_unit_test(footers_of_stargz_that_lie),
		cmocka_unit_test(what_differs_is_no_footer),
		cmocka_unit_test(footers_of_zstd_chunked),
		cmocka_unit_test(footers_of_zstd_chunked_that_lie),
		cmocka_unit_test(seek_tables),
		cmocka_unit_test(seek_tables_that_lie),
		cmocka_unit_test(annotations_of_both_generations),
		cmocka_unit_test(annotations_that_contradict),
		cmocka_unit_test(annotations_that_make_no_sense),
		cmocka_unit_test(times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
