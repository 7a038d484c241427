/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer is indexed and decoded with its first, second, ... allocation failing, until it needs no more: -ENOMEM each time, and the
 * same bytes in the end. Leaks are left to the address sanitizer.
 *
 * LINK: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "image/decode.h"
#include "image/layer_scan.h"
#include "lib/fail_alloc.h"
#include "lib/layer_blob.h"

enum { ALLOCATIONS_MAX = 500, PIECE = 5000 };

static int decode_all(const void *index, size_t len, const struct blob *z, uint8_t *out)
{
	struct iovec iov = { z->p, z->len };
	struct layer_bytes bytes = { .off = 0, .iov = &iov, .n = 1 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_decoder *d;
	struct layer_index x;
	int r = layer_index_check(&x, index, len, &err);

	if (r < 0)
		return r;
	d = layer_decoder_new();
	r = d ? layer_decode(d, &x, 0, x.n_spans, &bytes, out) : -ENOMEM;
	layer_decoder_free(d);
	return r;
}

static int make(const struct blob *z, void **index, size_t *len, uint8_t *out)
{
	struct layer_scan_options o = { .spacing = KIB(64) };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_scan *s = NULL;
	struct layer_id id;
	int r = layer_scan_new(&s, &o);

	*index = NULL;
	for (size_t at = 0; r == 0 && at < z->len; at += PIECE)
		r = layer_scan_feed(s, z->p + at, MIN(PIECE, z->len - at), &err);
	if (r == 0)
		r = layer_scan_end(s, &id, index, len, &err);
	layer_scan_free(s);
	return r < 0 ? r : decode_all(*index, *len, z, out);
}

static void check(const struct blob *z, const struct blob *tar)
{
	uint8_t *out = malloc(tar->len + 1);
	void *want, *got = NULL;
	size_t want_len, len;
	bool failed = true;

	assert_int_equal(make(z, &want, &want_len, out), 0);
	assert_memory_equal(out, tar->p, tar->len);
	for (unsigned nth = 1; failed && nth < ALLOCATIONS_MAX; nth++) {
		int r;

		free(got);
		fail_alloc_arm(nth);
		r = make(z, &got, &len, out);
		failed = fail_alloc_disarm();
		assert_int_equal(r, failed ? -ENOMEM : 0);
	}
	assert_false(failed);
	assert_int_equal(len, want_len);
	assert_memory_equal(got, want, len);
	free(got);
	free(want);
	free(out);
}

static void test_each_allocation(void **state UNUSED)
{
	struct blob tar = { 0 }, z = { 0 };

	blob_add_header(&tar, "././@LongLink", 'L', 5);
	blob_add(&tar, "long", 5);
	blob_pad(&tar);
	blob_add_header(&tar, "pax", 'x', 25);
	blob_add(&tar, "25 SCHILY.xattr.user.a=b\n", 25);
	blob_pad(&tar);
	blob_add_tar(&tar, 20, 30000, 1);
	check(&tar, &tar);
	blob_add_gzip(&z, tar.p, tar.len, 6);
	check(&z, &tar);
	z.len = 0;
	blob_add_zstd(&z, tar.p, tar.len, 3);
	check(&z, &tar);
	blob_free(&z);
	blob_free(&tar);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_each_allocation) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
