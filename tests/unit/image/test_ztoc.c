/* SPDX-License-Identifier: Apache-2.0 */
/* SOCI's tables: files, both forms of checkpoints, uncompressed layers, and flatbuffers that lead nowhere. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/digest.h"
#include "image/ztoc.h"
#include "unit/image/fake_build.h"
#include "unit/image/ztoc_write.h"

#define SHA(x) "sha256:" x "000000000000000000000000000000000000000000000000000000000000" x

static struct ztoc_facts facts;

static int read_ztoc(struct layer_build *b, const uint8_t *p, size_t n, uint64_t blob_size,
		     const uint8_t *digest)
{
	struct ztoc_options o = { .blob_size = blob_size, .digest = digest };
	struct vmofs_err err = VMOFS_ERR_INIT;
	/* In memory of its own size, so that a sanitizer sees what is read behind it. */
	uint8_t *copy = malloc(n ? n : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, p, n);
	r = ztoc_read(b, &o, copy, n, &facts, &err);
	assert_int_equal(err.code, r);
	free(copy);
	return r;
}

static int read_spec(const struct zspec *s, char **log)
{
	struct layer_build *b = fake_build_new(true, true);
	struct zbuf z = ztoc_write(s);
	int r = read_ztoc(b, z.p, z.n, s->packed_size, NULL);

	if (log) {
		*log = b->log;
		b->log = NULL;
	}
	layer_build_free(b);
	free(z.p);
	return r;
}

static void check(const struct zspec *s, const char *want)
{
	char *log;

	assert_int_equal(read_spec(s, &log), 0);
	assert_string_equal(log, want);
	free(log);
}

/* A v1 zinfo of one checkpoint has none. */
static const uint8_t one_v1[12] = { 1 };

static struct zspec plain(const struct zfile *files, unsigned n)
{
	return (struct zspec){ .files = files,
			       .n_files = n,
			       .packed_size = 500,
			       .raw_size = 10240,
			       .checkpoints = one_v1,
			       .checkpoints_len = sizeof one_v1 };
}

/* -- files ------------------------------------------------------------------------------------ */

static void every_type(void **state)
{
	static const struct zfile files[] = {
		{ "./d/", "dir", 512, 0, "", 0755, 0, 0, "2026-11-23T16:39:23Z", 0, 0, { { 0 } } },
		{ "d/f",
		  "reg",
		  1024,
		  3,
		  "",
		  0104755,
		  1000,
		  UINT32_MAX,
		  "2026-11-23T17:39:23.000000007+01:00",
		  0,
		  0,
		  { { "SCHILY.xattr.user.a", "b" },
		    { "mtime", "1795451963.5" },
		    { "SCHILY.xattr.security.capability", "\x01" } } },
		{ .name = "l", .type = "symlink", .off = 2048, .target = "d/f", .mode = 0777 },
		{ .name = "h", .type = "hardlink", .off = 2560, .target = "d/f", .size = 3 },
		{ .name = "c", .type = "char", .off = 3072, .major = 1, .minor = 3 },
		{ .name = "b", .type = "block", .off = 3584, .major = 8 },
		{ .name = "p", .type = "fifo", .off = 4096 },
		{ .name = "e", .type = "reg", .off = 10240 },
	};
	struct zspec s = plain(files, ARRAY_LEN(files));

	(void)state;
	check(&s,
	      "gzip 0+10240 from 0+500\n"
	      "040755 0:0 1795451963.000000000 ./d/\n"
	      "104755 1000:4294967295 1795451963.000000007 d/f size 3 at 1024 {user.a=62} "
	      "{security.capability=01}\n"
	      "120777 0:0 0.000000000 l -> d/f\n"
	      "000000 0:0 0.000000000 h -> d/f\n"
	      "020000 0:0 0.000000000 c dev 1:3\n"
	      "060000 0:0 0.000000000 b dev 8:0\n"
	      "010000 0:0 0.000000000 p\n"
	      "100000 0:0 0.000000000 e size 0\n");
	assert_int_equal(facts.entries, 8);
	assert_int_equal(facts.data_size, 10240);
	assert_false(facts.spans_have_digests);
}

static void files_that_cannot_be(void **state)
{
	static const struct {
		struct zfile file;
		int want;
	} bad[] = {
		{ { .name = "s", .type = "socket" }, -EBADMSG },
		{ { .name = "s" }, -EBADMSG },
		{ { .name = "f", .type = "reg", .off = 10239, .size = 2 }, -EBADMSG },
		{ { .name = "f", .type = "reg", .off = UINT64_MAX, .size = 2 }, -EBADMSG },
		{ { .name = "f", .type = "reg", .off = 1024, .size = INT64_MAX }, -EBADMSG },
		{ { .name = "c", .type = "char", .major = UINT64_MAX }, -EBADMSG },
		{ { .name = "f", .type = "reg", .time = "then" }, -EBADMSG },
		{ { .name = "f", .type = "reg", .pax = { { "SCHILY.xattr.", "x" } } }, -EBADMSG },
		{ { .name = "f", .type = "reg", .pax = { { "GNU.sparse.major", "1" } } },
		  -ENOTSUP },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct zspec s = plain(&bad[i].file, 1);

		assert_int_equal(read_spec(&s, NULL), bad[i].want);
	}
}

/* -- checkpoints ------------------------------------------------------------------------------ */

/* {in, out, bits} become a zinfo; the window of checkpoint i is full of i. */
static struct zbuf zinfo(const uint64_t (*points)[3], unsigned n, bool v1)
{
	size_t len = 12 + (n - v1) * (size_t)ZCHECKPOINT;
	struct zbuf b = { .p = calloc(1, len), .n = len };

	assert_non_null(b.p);
	put32(b.p, n);
	put64(b.p + 4, 1000);
	for (unsigned i = v1; i < n; i++) {
		uint8_t *p = b.p + 12 + (i - v1) * (size_t)ZCHECKPOINT;

		put64(p, points[i][0]);
		put64(p + 8, points[i][1]);
		p[16] = (uint8_t)points[i][2];
		memset(p + 17, (int)i, ZWINDOW);
	}
	return b;
}

static const uint64_t three[][3] = { { 20, 0, 0 }, { 100, 1000, 3 }, { 300, 90000, 0 } };
static const char *const sums[] = { SHA("11"), SHA("22"), SHA("33"), SHA("44") };

static struct zspec of_points(const struct zbuf *z, unsigned n)
{
	return (struct zspec){ .packed_size = 500,
			       .raw_size = 100352,
			       .algorithm = 1,
			       .max_span = n - 1,
			       .digests = sums,
			       .n_digests = n,
			       .checkpoints = z->p,
			       .checkpoints_len = z->n };
}

static void both_versions_of_checkpoints(void **state)
{
	struct zbuf v1 = zinfo(three, 3, true), v2 = zinfo(three, 3, false);
	struct zspec s = of_points(&v2, 3);

	(void)state;
	check(&s,
	      "deflate 0+1000 from 20+80 packed 1111\n"
	      "deflate 1000+89000 from 99+201 bits 3 window 1000 sum 1000 packed 2222\n"
	      "deflate 90000+10352 from 300+200 window 32768 sum 65536 packed 3333\n");
	assert_true(facts.spans_have_digests);
	/* Where the first one begins is not known, so it begins with the header; the digest is of something else. */
	s = of_points(&v1, 3);
	check(&s,
	      "gzip 0+1000 from 0+100\n"
	      "deflate 1000+89000 from 99+201 bits 3 window 1000 sum 1000 packed 2222\n"
	      "deflate 90000+10352 from 300+200 window 32768 sum 65536 packed 3333\n");
	assert_false(facts.spans_have_digests);
	s.n_digests = 0;
	check(&s,
	      "gzip 0+1000 from 0+100\n"
	      "deflate 1000+89000 from 99+201 bits 3 window 1000 sum 1000\n"
	      "deflate 90000+10352 from 300+200 window 32768 sum 65536\n");
	free(v1.p);
	free(v2.p);
}

/* An empty member first, and nothing behind the last checkpoint. */
static void checkpoints_without_data_make_no_span(void **state)
{
	static const uint64_t points[][3] = {
		{ 10, 0, 0 }, { 30, 0, 0 }, { 200, 50000, 0 }, { 499, 100352, 0 }
	};
	struct zbuf z = zinfo(points, 4, false);
	struct zspec s = of_points(&z, 4);

	(void)state;
	check(&s,
	      "deflate 0+50000 from 30+170 packed 2222\n"
	      "deflate 50000+50352 from 200+299 window 32768 sum 65536 packed 3333\n");
	free(z.p);
}

static void refuse_points(const uint64_t (*points)[3], unsigned n)
{
	struct zbuf z = zinfo(points, n, false);
	struct zspec s = of_points(&z, n);

	assert_int_equal(read_spec(&s, NULL), -EBADMSG);
	free(z.p);
}

static void checkpoints_that_cannot_be(void **state)
{
	static const uint64_t bad[][2][3] = {
		{ { 10, 1, 0 }, { 100, 1000, 0 } },        { { 9, 0, 0 }, { 100, 1000, 0 } },
		{ { 10, 0, 8 }, { 100, 1000, 0 } },        { { 10, 0, 0 }, { 501, 1000, 0 } },
		{ { 10, 0, 0 }, { 100, 100353, 0 } },      { { 110, 0, 0 }, { 100, 1000, 0 } },
		{ { 10, 0, 0 }, { UINT64_MAX, 1000, 0 } }, { { 10, 0, 0 }, { 100, UINT64_MAX, 0 } },
		{ { 100, 0, 0 }, { 100, 1000, 0 } },       { { 10, 0, 0 }, { 500, 1000, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refuse_points(bad[i], 2);
}

static void numbers_of_spans_have_to_agree(void **state)
{
	struct zbuf z = zinfo(three, 3, false);
	struct zspec s = of_points(&z, 3);
	const char *const malformed[] = { "sha256:11", SHA("22"), SHA("33") };
	const char *const other[] = { "sha512:11", SHA("22"), SHA("33") };

	(void)state;
	s.max_span = 3;
	assert_int_equal(read_spec(&s, NULL), -EBADMSG);
	s = of_points(&z, 3);
	s.n_digests = 2;
	assert_int_equal(read_spec(&s, NULL), -EBADMSG);
	s = of_points(&z, 3);
	for (size_t n = 0; n < z.n; n += 1000) {
		s.checkpoints_len = n;
		assert_int_equal(read_spec(&s, NULL), -EBADMSG);
	}
	s = of_points(&z, 3);
	s.digests = malformed;
	assert_int_equal(read_spec(&s, NULL), -EBADMSG);
	s.digests = other;
	assert_int_equal(read_spec(&s, NULL), 0);
	assert_false(facts.spans_have_digests);
	s.algorithm = 7;
	assert_int_equal(read_spec(&s, NULL), -EBADMSG);
	free(z.p);
}

static void uncompressed_layers(void **state)
{
	uint8_t packed[20] = { 2 };
	struct zbuf table = { 0 };
	size_t head = z_room(&table, 8), t = z_table(&table, 3);
	struct zspec s = { .packed_size = 10240,
			   .raw_size = 10240,
			   .algorithm = 2,
			   .max_span = 2,
			   .digests = sums,
			   .n_digests = 3,
			   .checkpoints = packed,
			   .checkpoints_len = sizeof packed };
	static const char want[] = "raw 0+4096 from 0+4096 packed 1111\n"
				   "raw 4096+4096 from 4096+4096 packed 2222\n"
				   "raw 8192+2048 from 8192+2048 packed 3333\n";

	(void)state;
	put64(packed + 4, 4096);
	put64(packed + 12, 10240);
	check(&s, want);
	/* As the schema has it, which no release of SOCI wrote. */
	put32(table.p + head, (uint32_t)t);
	z_number(&table, t, 0, 2);
	z_number(&table, t, 1, 4096);
	z_number(&table, t, 2, 10240);
	s.checkpoints = table.p;
	s.checkpoints_len = table.n;
	check(&s, want);
	free(table.p);
	s.checkpoints = packed;
	s.checkpoints_len = sizeof packed;
	put64(packed + 12, 10241);
	assert_int_equal(read_spec(&s, NULL), -EBADMSG);
	put64(packed + 12, 10240);
	put64(packed + 4, 0);
	assert_int_equal(read_spec(&s, NULL), -EBADMSG);
	put64(packed + 4, 2048);
	assert_int_equal(read_spec(&s, NULL), -EBADMSG);
	put64(packed + 4, 4096);
	s.packed_size = 10241;
	assert_int_equal(read_spec(&s, NULL), -EBADMSG);
}

/* -- the buffer ------------------------------------------------------------------------------- */

static const struct zfile some[] = {
	{ .name = "a",
	  .type = "reg",
	  .off = 512,
	  .size = 5,
	  .pax = { { "SCHILY.xattr.user.x", "y" } } },
	{ .name = "b", .type = "dir", .off = 1536, .time = "2026-11-23T16:39:23Z" },
};

static void digest_and_size_are_compared(void **state)
{
	struct zspec s = plain(some, 2);
	struct zbuf z = ztoc_write(&s);
	struct layer_build *b = fake_build_new(true, false);
	uint8_t digest[32];

	(void)state;
	assert_int_equal(digest_sha256(z.p, z.n, digest), 0);
	assert_int_equal(read_ztoc(b, z.p, z.n, 500, digest), 0);
	assert_true(facts.proved);
	assert_int_equal(read_ztoc(b, z.p, z.n, 501, digest), -EBADMSG);
	digest[0] ^= 1;
	b->n_entries = 0;
	assert_int_equal(read_ztoc(b, z.p, z.n, 500, digest), -EBADMSG);
	/* Nothing was looked at. */
	assert_int_equal(b->n_entries, 0);
	layer_build_free(b);
	free(z.p);
}

static void every_length_and_every_byte(void **state)
{
	struct zspec s = plain(some, 2);
	struct zbuf z = ztoc_write(&s);
	struct layer_build *b = fake_build_new(true, false);

	(void)state;
	for (size_t n = 0; n < z.n; n++)
		(void)read_ztoc(b, z.p, n, 500, NULL);
	for (size_t i = 0; i < z.n; i++) {
		static const uint8_t values[] = { 0, 1, 4, 0x7f, 0x80, 0xff };
		uint8_t was = z.p[i];

		for (size_t k = 0; k < ARRAY_LEN(values); k++) {
			z.p[i] = values[k];
			(void)read_ztoc(b, z.p, z.n, 500, NULL);
		}
		z.p[i] = was;
	}
	assert_int_equal(read_ztoc(b, z.p, z.n, 500, NULL), 0);
	layer_build_free(b);
	free(z.p);
}

/* Offsets that all lead to one vector: a small buffer that would take days to read. */
static void sharing_is_limited(void **state)
{
	struct zfile file = { .name = "f", .type = "reg", .off = 512 };
	enum { N = 3000 };
	struct zbuf b = { 0 };
	struct zspec s = plain(&file, 0);
	size_t head, root, toc, v, f, x, pax, pair;
	struct layer_build *out = fake_build_new(true, false);

	(void)state;
	head = z_room(&b, 8);
	root = z_table(&b, 6);
	put32(b.p + head, (uint32_t)root);
	z_number(&b, root, 2, s.packed_size);
	z_number(&b, root, 3, s.raw_size);
	z_refer(&b, root, 5, z_compression(&b, &s));
	toc = z_table(&b, 1);
	z_refer(&b, root, 4, toc);
	v = z_vector(&b, NULL, N, 4);
	z_refer(&b, toc, 0, v);
	f = z_file(&b, &file);
	pax = z_vector(&b, NULL, N, 4);
	z_refer(&b, f, 13, pax);
	pair = z_table(&b, 2);
	z_string(&b, pair, 0, "mtime");
	for (x = 0; x < N; x++) {
		z_element(&b, v, x, f);
		z_element(&b, pax, x, pair);
	}
	assert_int_equal(read_ztoc(out, b.p, b.n, 500, NULL), -EBADMSG);
	assert_true(out->n_entries < 100);
	layer_build_free(out);
	free(b.p);
}

/* -- with a real stream ----------------------------------------------------------------------- */

enum { RAW = 400000, EVERY = 60000, POINTS_MAX = 16 };

/* Checkpoints of a gzip stream, made as SOCI (that is zran.c) makes them. */
static struct zbuf index_gzip(const uint8_t *p, size_t n, const uint8_t *raw, unsigned *have)
{
	struct zbuf b = { .p = calloc(1, 12 + POINTS_MAX * (size_t)ZCHECKPOINT), .n = 12 };
	z_stream z = { .next_in = (Bytef *)(uintptr_t)p, .avail_in = (uInt)n };
	static uint8_t out[RAW];
	size_t last = 0;
	int r;

	assert_non_null(b.p);
	assert_int_equal(inflateInit2(&z, 47), Z_OK);
	z.next_out = out;
	z.avail_out = RAW;
	*have = 0;
	do {
		r = inflate(&z, Z_BLOCK);
		assert_true(r == Z_OK || r == Z_STREAM_END);
		if ((z.data_type & 128) && !(z.data_type & 64) &&
		    (z.total_out == 0 || z.total_out - last > EVERY)) {
			uint8_t *q = b.p + b.n;
			size_t window = MIN(z.total_out, ZWINDOW);

			assert_true(*have < POINTS_MAX);
			put64(q, z.total_in);
			put64(q + 8, z.total_out);
			q[16] = z.data_type & 7;
			memcpy(q + 17 + ZWINDOW - window, raw + z.total_out - window, window);
			b.n += ZCHECKPOINT;
			last = z.total_out;
			++*have;
		}
	} while (r != Z_STREAM_END);
	put32(b.p, *have);
	inflateEnd(&z);
	return b;
}

struct stream {
	const uint8_t *packed;
	size_t packed_len;
	const uint8_t *raw;
	uint64_t seen; /* of the raw bytes, in order */
};

/* What a span says makes its data, and its digest is right. */
static void inflate_span(void *arg, const struct layer_span *s, const uint8_t *digest,
			 const void *window, size_t window_len)
{
	struct stream *c = arg;
	const uint8_t *from = c->packed + s->blob;
	uint8_t *out = malloc(s->data_len), sum[32];
	z_stream z = { .next_in = (Bytef *)(uintptr_t)from, .avail_in = (uInt)s->blob_len };

	assert_non_null(out);
	assert_int_equal(s->data, c->seen);
	assert_true(s->blob + s->blob_len <= c->packed_len);
	assert_int_equal(s->digest_of, LAYER_DIGEST_BLOB);
	assert_int_equal(digest_sha256(from, s->blob_len, sum), 0);
	assert_memory_equal(sum, digest, 32);
	assert_int_equal(inflateInit2(&z, -15), Z_OK);
	if (s->bits) {
		assert_int_equal(inflatePrime(&z, s->bits, *from >> (8 - s->bits)), Z_OK);
		z.next_in++;
		z.avail_in--;
	}
	if (window_len)
		assert_int_equal(inflateSetDictionary(&z, window, (uInt)window_len), Z_OK);
	z.next_out = out;
	z.avail_out = (uInt)s->data_len;
	assert_true(inflate(&z, Z_SYNC_FLUSH) >= 0);
	assert_int_equal(z.avail_out, 0);
	assert_memory_equal(out, c->raw + s->data, s->data_len);
	inflateEnd(&z);
	free(out);
	c->seen += s->data_len;
}

/* With a header that has a name, which is longer than ten bytes. */
static struct zbuf gzip_with_name(const uint8_t *raw, size_t n)
{
	gz_header head = { .name = (Bytef *)(uintptr_t) "layer.tar" };
	struct zbuf b = { .p = malloc(n + 4096) };
	z_stream z = { .next_in = (Bytef *)(uintptr_t)raw, .avail_in = (uInt)n };

	assert_non_null(b.p);
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflateSetHeader(&z, &head), Z_OK);
	z.next_out = b.p;
	z.avail_out = (uInt)n + 4096;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	b.n = z.total_out;
	deflateEnd(&z);
	return b;
}

static void spans_of_a_real_stream(void **state)
{
	static char texts[POINTS_MAX][80];
	const char *digests[POINTS_MAX];
	uint8_t *raw = malloc(RAW), sum[32];
	struct layer_build *b = fake_build_new(true, false);
	struct zbuf packed, points, table;
	struct stream c;
	struct zspec s;
	unsigned have;

	(void)state;
	assert_non_null(raw);
	for (uint32_t i = 0, x = 1; i < RAW; i++) {
		x = x * 1103515245 + 12345;
		raw[i] = i % 3 ? (uint8_t)("etaoin shrdlu"[x >> 16 & 7]) : (uint8_t)(x >> 24);
	}
	packed = gzip_with_name(raw, RAW);
	points = index_gzip(packed.p, packed.n, raw, &have);
	assert_true(have > 3);
	for (unsigned i = 0; i < have; i++) {
		const uint8_t *q = points.p + 12 + i * (size_t)ZCHECKPOINT;
		uint64_t from = get64(q) - !!q[16];
		uint64_t to = i + 1 < have ? get64(q + ZCHECKPOINT) : packed.n;

		assert_int_equal(digest_sha256(packed.p + from, to - from, sum), 0);
		memcpy(texts[i], "sha256:", 7);
		digest_hex(sum, 32, texts[i] + 7);
		digests[i] = texts[i];
	}
	s = (struct zspec){ .packed_size = packed.n,
			    .raw_size = RAW,
			    .max_span = have - 1,
			    .digests = digests,
			    .n_digests = have,
			    .checkpoints = points.p,
			    .checkpoints_len = points.n };
	table = ztoc_write(&s);
	c = (struct stream){ .packed = packed.p, .packed_len = packed.n, .raw = raw };
	b->on_span = inflate_span;
	b->arg = &c;
	assert_int_equal(read_ztoc(b, table.p, table.n, packed.n, NULL), 0);
	assert_int_equal(c.seen, RAW);
	assert_true(facts.spans_have_digests);
	layer_build_free(b);
	free(raw);
	free(packed.p);
	free(points.p);
	free(table.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type),
		cmocka_unit_test(files_that_cannot_be),
		cmocka_unit_test(both_versions_of_checkpoints),
		cmocka_unit_test(checkpoints_without_data_make_no_span),
		cmocka_unit_test(checkpoints_that_cannot_be),
		cmocka_unit_test(numbers_of_spans_have_to_agree),
		cmocka_unit_test(uncompressed_layers),
		cmocka_unit_test(digest_and_size_are_compared),
		cmocka_unit_test(every_length_and_every_byte),
		cmocka_unit_test(sharing_is_limited),
		cmocka_unit_test(spans_of_a_real_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
