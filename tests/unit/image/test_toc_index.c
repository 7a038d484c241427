/* SPDX-License-Identifier: Apache-2.0 */
/* From a table of contents to an index: what the readers say is what the index has. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "image/ztoc.h"
#include "lib/layer_text.h"
#include "unit/image/toc_pack.h"
#include "unit/image/ztoc_write.h"

#define SHA(x) "sha256:" x "000000000000000000000000000000000000000000000000000000000000" x

#define DIGEST(x) "\"digest\":\"" SHA(x) "\""
#define CHUNK(x)  "\"chunkDigest\":\"" SHA(x) "\""

/* clang-format off */
static const char json[] =
	"{\"version\":1,\"entries\":["
	"{\"name\":\"./\",\"type\":\"dir\",\"mode\":16832},"
	"{\"name\":\"./.prefetch.landmark\",\"type\":\"reg\",\"size\":1,\"offset\":50," DIGEST("99") "},"
	"{\"name\":\"d/f\",\"type\":\"reg\",\"size\":5000,\"mode\":420,\"offset\":100,\"chunkSize\":4096,"
	CHUNK("11") ",\"xattrs\":{\"user.k\":\"dg==\"}},"
	"{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":4096," CHUNK("22") "},"
	"{\"name\":\"h\",\"type\":\"hardlink\",\"linkName\":\"./d/f\"},"
	"{\"name\":\".wh.gone\",\"type\":\"reg\"},"
	"{\"name\":\"d/.wh..wh..opq\",\"type\":\"reg\"},"
	"{\"name\":\"g\",\"type\":\"reg\",\"size\":3,\"mode\":420,\"offset\":300," DIGEST("33") "}]}";
/* clang-format on */

/* The index of what was read; its memory is the caller's. */
static void finish(struct layer_build *b, struct layer_id *id, struct layer_index *x)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	void *p;
	size_t n;

	assert_int_equal(layer_build_end(b, id, &p, &n, &err), 0);
	layer_build_free(b);
	assert_int_equal(layer_index_check(x, p, n, &err), 0);
}

static void check_estargz(enum toc_kind kind, enum layer_span_kind span)
{
	struct toc_options o = { .kind = kind, .data_end = 400 };
	struct packed in = pack_toc(kind, json, sizeof json - 1);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_id id = { .blob_size = 1000 };
	struct layer_build *b;
	struct layer_index x;
	struct toc_facts facts;
	const struct layer_inode *f;
	const struct layer_span *s;
	char *dump;

	assert_int_equal(layer_build_new(&b, LAYER_LAYOUT_PAGES, NULL), 0);
	assert_int_equal(toc_read_pieces(&o, b, in, 100, &facts, &err), 0);
	assert_int_equal(facts.prefetch_end, 50);
	finish(b, &id, &x);
	dump = layer_text_dump(&x);
	assert_string_equal(dump,
			    "d / 700 3 0\n"
			    "d d 755 2 0 oi\n"
			    "f d/f 644 2 0 5000\n"

			    "f g 644 1 0 3\n"
			    "w gone\n"
			    "f h 644 2 0 5000\n");
	free(dump);
	f = layer_inode(&x, layer_walk(&x, "h"));
	assert_int_equal(layer_n_xattrs(&x, f), 1);
	s = &x.spans[layer_span_at(&x, f->data + 4096)];
	assert_int_equal(s->kind, span);
	assert_int_equal(s->data_len, 904);
	assert_int_equal(s->blob, 200);
	assert_int_equal(s->blob_len, 100);
	assert_int_equal(s->digest_of, LAYER_DIGEST_DATA);
	assert_int_equal(layer_span_digest(&x, s)[0], 0x22);
	f = layer_inode(&x, layer_walk(&x, "g"));
	s = &x.spans[layer_span_at(&x, f->data)];
	assert_int_equal(s->blob, 300);
	assert_int_equal(s->blob_len, 100);
	free((void *)(uintptr_t)x.p);
	free(in.p);
}

static void tables_in_json(void **state)
{
	(void)state;
	check_estargz(TOC_ESTARGZ, LAYER_SPAN_GZIP);
	check_estargz(TOC_ZSTD_CHUNKED, LAYER_SPAN_ZSTD);
}

static void tables_of_soci(void **state)
{
	static const struct zfile files[] = {
		{ .name = "d/", .type = "dir", .off = 512, .mode = 0755 },
		{ .name = "d/f", .type = "reg", .off = 1024, .size = 40000, .mode = 0644 },
		{ .name = "h", .type = "hardlink", .target = "d/f", .off = 41984 },
	};
	static const char *const sums[] = { SHA("11"), SHA("22") };
	static uint8_t points[12 + 2 * ZCHECKPOINT] = { 2 };
	struct zspec spec = { .files = files,
			      .n_files = ARRAY_LEN(files),
			      .packed_size = 1000,
			      .raw_size = 50000,
			      .max_span = 1,
			      .digests = sums,
			      .n_digests = 2,
			      .checkpoints = points,
			      .checkpoints_len = sizeof points };
	struct ztoc_options o = { .blob_size = 1000 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_id id = { .blob_size = 1000 };
	struct layer_build *b;
	struct ztoc_facts facts;
	struct layer_index x;
	const struct layer_span *s;
	struct zbuf z;
	char *dump;

	(void)state;
	put64(points + 12, 10);
	put64(points + 12 + ZCHECKPOINT, 500);
	put64(points + 20 + ZCHECKPOINT, 30000);
	points[28 + ZCHECKPOINT] = 5;
	z = ztoc_write(&spec);
	assert_int_equal(layer_build_new(&b, LAYER_LAYOUT_TAR, NULL), 0);
	assert_int_equal(ztoc_read(b, &o, z.p, z.n, &facts, &err), 0);
	id.data_size = facts.data_size;
	finish(b, &id, &x);
	dump = layer_text_dump(&x);
	assert_string_equal(dump,
			    "d / 755 3 0 i\n"
			    "d d 755 2 0\n"
			    "f d/f 644 2 0 40000\n"
			    "f h 644 2 0 40000\n");
	free(dump);
	assert_int_equal(x.n_spans, 2);
	s = &x.spans[layer_span_at(&x, 41023)];
	assert_int_equal(s->blob, 499);
	assert_int_equal(s->bits, 5);
	assert_int_equal(s->digest_of, LAYER_DIGEST_BLOB);
	assert_int_equal(layer_span_digest(&x, s)[31], 0x22);
	assert_true(s->window_len > 0);
	free((void *)(uintptr_t)x.p);
	free(z.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_in_json),
		cmocka_unit_test(tables_of_soci),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
