/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each allocation of a reader fails once: it says so, and leaves nothing behind (under AddressSanitizer).
 *
 * LINK: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "image/ztoc.h"
#include "lib/fail_alloc.h"
#include "unit/image/toc_pack.h"
#include "unit/image/ztoc_write.h"

enum { ALLOCATIONS_MAX = 1000, FILES = 40 };

static struct packed table;
static enum toc_kind kind;

static int read_toc(struct layer_build *b, struct vmofs_err *err)
{
	struct toc_options o = { .kind = kind, .data_end = 100000 };
	struct toc_facts facts;
	struct toc_reader *reader;
	int r = toc_reader_new(&reader, &o, b);

	if (r < 0)
		return r;
	r = toc_reader_feed(reader, table.p, table.n, err);
	if (r == 0)
		r = toc_reader_end(reader, &facts, err);
	toc_reader_free(reader);
	return r;
}

static int read_soci(struct layer_build *b, struct vmofs_err *err)
{
	struct ztoc_options o = { .blob_size = 500 };
	struct ztoc_facts facts;

	return ztoc_read(b, &o, table.p, table.n, &facts, err);
}

static void fail_each(enum layer_layout layout,
		      int (*read)(struct layer_build *, struct vmofs_err *))
{
	bool failed = true;
	unsigned nth;

	for (nth = 1; failed && nth < ALLOCATIONS_MAX; nth++) {
		struct vmofs_err err = VMOFS_ERR_INIT;
		struct layer_build *b;
		int r;

		assert_int_equal(layer_build_new(&b, layout, NULL), 0);
		fail_alloc_arm(nth);
		r = read(b, &err);
		failed = fail_alloc_disarm();
		assert_int_equal(r, failed ? -ENOMEM : 0);
		layer_build_free(b);
	}
	assert_false(failed);
	assert_true(nth > 5);
	free(table.p);
}

/* Many files that share a member, each with more attributes than the one before. */
static void tables_in_json(void **state)
{
	static char json[1 << 18];
	size_t n = (size_t)sprintf(json, "{\"version\":1,\"entries\":[");

	(void)state;
	for (unsigned i = 0; i < FILES; i++) {
		n += (size_t)sprintf(json + n,
				     "%s{\"name\":\"f%u\",\"type\":\"reg\",\"size\":1,"
				     "\"offset\":100,\"innerOffset\":%u,\"xattrs\":{",
				     i ? "," : "", i, i * 1024);
		for (unsigned k = 0; k < 4 * i; k++)
			n += (size_t)sprintf(json + n, "%s\"user.a-name-of-its-own-%u\":\"AAAA\"",
					     k ? "," : "", k);
		n += (size_t)sprintf(json + n, "}}");
	}
	n += (size_t)sprintf(json + n, "]}");
	for (unsigned i = 0; i < 2; i++) {
		kind = i ? TOC_ZSTD_CHUNKED : TOC_ESTARGZ;
		table = pack_toc(kind, json, n);
		fail_each(LAYER_LAYOUT_PAGES, read_toc);
	}
}

static void tables_of_soci(void **state)
{
	static const struct zfile file = { .name = "f",
					   .type = "reg",
					   .pax = { { "SCHILY.xattr.user.a", "b" } } };
	static const uint8_t points[12] = { 1 };
	struct zspec s = { .files = &file,
			   .n_files = 1,
			   .packed_size = 500,
			   .raw_size = 10240,
			   .checkpoints = points,
			   .checkpoints_len = sizeof points };
	struct zbuf b = ztoc_write(&s);

	(void)state;
	table = (struct packed){ b.p, b.n };
	fail_each(LAYER_LAYOUT_TAR, read_soci);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_in_json),
		cmocka_unit_test(tables_of_soci),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
