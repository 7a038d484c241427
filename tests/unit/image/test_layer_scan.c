/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers that are indexed while they pass: data and digests are those of the tar, any stretch can be decoded with the index, and
 * how the blob was cut into pieces makes no difference to a byte of the index. Blobs that are damaged are errors.
 */
#include "image/layer_scan.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/macros.h"
#include "image/decode.h"
#include "lib/layer_blob.h"
#include "lib/layer_text.h"
#include "lib/prng.h"

/* What a scan made. */
struct made {
	struct blob data;
	struct layer_id id;
	void *index;
	size_t index_len;
	int data_error; /* what the taker of data says */
};

static int on_data(void *arg, uint64_t data, const void *p, size_t n)
{
	struct made *m = arg;

	assert_int_equal(data, m->data.len);
	if (!m->data_error)
		blob_add(&m->data, p, n);
	return m->data_error;
}

static void made_free(struct made *m)
{
	blob_free(&m->data);
	free(m->index);
	m->index = NULL;
}

/* In pieces of up to @most bytes. */
static int scan(struct made *m, const struct blob *z, const struct layer_scan_options *options,
		size_t most, uint64_t seed, struct vmofs_err *err)
{
	struct layer_scan_options o = *options;
	struct prng random = { seed };
	struct layer_scan *s;
	int r = 0;

	o.data = on_data;
	o.arg = m;
	assert_int_equal(layer_scan_new(&s, &o), 0);
	for (size_t at = 0, n; at < z->len && r == 0; at += n) {
		uint8_t *copy;

		n = seed ? 1 + (size_t)prng_below(&random, most) : most;
		n = MIN(n, z->len - at);
		copy = malloc(n);
		memcpy(copy, z->p + at, n);
		r = layer_scan_feed(s, copy, n, err);
		free(copy);
		if (r == 0)
			assert_int_equal(layer_scan_blob(s), at + n);
	}
	if (r == 0)
		r = layer_scan_end(s, &m->id, &m->index, &m->index_len, err);
	if (r == 0)
		assert_int_equal(layer_scan_data(s), m->data.len);
	layer_scan_free(s);
	return r;
}

static const struct layer_scan_options plain = { .spacing = 0 };

static void digest_is(const uint8_t digest[SHA256_LEN], const struct blob *b)
{
	uint8_t is[SHA256_LEN];

	assert_int_equal(digest_sha256(b->p, b->len, is), 0);
	assert_memory_equal(is, digest, SHA256_LEN);
}

/* Spans are all of the data, one after the other, and make it, alone and in runs. */
static void check_spans(const struct layer_index *x, const struct blob *z, const struct blob *tar)
{
	struct layer_decoder *d = layer_decoder_new();
	struct iovec iov = { z->p, z->len };
	struct layer_bytes all = { .off = 0, .iov = &iov, .n = 1 };
	uint8_t *p = malloc(tar->len + 1);
	uint64_t at = 0;

	for (uint32_t i = 0; i < x->n_spans; i++) {
		const struct layer_span *s = &x->spans[i];
		struct layer_stretch st = layer_decode_stretch(x, i, 1);
		struct iovec own = { z->p + s->blob, s->blob_len };
		struct layer_bytes bytes = { .off = s->blob, .iov = &own, .n = 1 };

		assert_int_equal(s->data, at);
		assert_int_equal(st.data_len, s->data_len);
		assert_int_equal(st.blob, s->blob);
		assert_int_equal(st.blob_len, s->blob_len);
		assert_non_null(layer_span_digest(x, s));
		/* Of no more than the bytes that it says it needs. */
		assert_int_equal(layer_decode(d, x, i, 1, &bytes, p), 0);
		assert_memory_equal(p, tar->p + at, s->data_len);
		at += s->data_len;
	}
	assert_int_equal(at, tar->len);
	assert_int_equal(layer_decode(d, x, 0, x->n_spans, &all, p), 0);
	assert_memory_equal(p, tar->p, tar->len);
	layer_decoder_free(d);
	free(p);
}

/* The number of spans. */
static uint32_t check(const struct blob *z, const struct blob *tar,
		      const struct layer_scan_options *options)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct made m = { .data_error = 0 };
	struct layer_index x;
	int r = scan(&m, z, options, z->len, 0, &err);

	if (r < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(m.data.len, tar->len);
	assert_memory_equal(m.data.p, tar->p, tar->len);
	assert_int_equal(m.id.blob_size, z->len);
	assert_int_equal(m.id.data_size, tar->len);
	digest_is(m.id.blob, z);
	digest_is(m.id.diff, tar);
	assert_int_equal(layer_index_check(&x, m.index, m.index_len, &err), 0);
	assert_int_equal(x.layout, LAYER_LAYOUT_TAR);
	check_spans(&x, z, tar);
	for (uint64_t i = 0; i < 3; i++) {
		struct made again = { .data_error = 0 };

		assert_int_equal(scan(&again, z, options, i ? (size_t)20 << (6 * i) : 1, i, &err),
				 0);
		assert_int_equal(again.index_len, m.index_len);
		assert_memory_equal(again.index, m.index, m.index_len);
		made_free(&again);
	}
	made_free(&m);
	return x.n_spans;
}

static void test_forms(void **state UNUSED)
{
	static const struct layer_scan_options fine = { .spacing = KIB(100) };
	struct blob tar = { 0 }, z = { 0 };
	size_t half;

	blob_add_tar(&tar, 60, 50000, 1);
	half = tar.len / 2;
	assert_int_equal(check(&tar, &tar, &plain), (tar.len + MIB(1) - 1) / MIB(1));
	assert_int_equal(check(&tar, &tar, &fine), (tar.len + KIB(100) - 1) / KIB(100));
	for (int level = 0; level <= 9; level += 3) {
		z.len = 0;
		blob_add_gzip(&z, tar.p, tar.len, level);
		assert_true(check(&z, &tar, &fine) > 3);
		blob_add(&z, "\0\0\0garbage", 10);
		check(&z, &tar, &plain);
	}
	z.len = 0;
	blob_add_gzip(&z, tar.p, half, 6);
	blob_add_gzip(&z, tar.p + half, 0, 6);
	blob_add_gzip(&z, tar.p + half, tar.len - half, 9);
	check(&z, &tar, &fine);
	z.len = 0;
	blob_add_zstd(&z, tar.p, tar.len, 3);
	assert_int_equal(check(&z, &tar, &fine), 1);
	z.len = 0;
	for (size_t at = 0, n; at < tar.len; at += n) {
		n = MIN(30000, tar.len - at);
		blob_add_zstd(&z, tar.p + at, n, 3);
		if (at % 7 == 0)
			blob_add(&z, "\x5e\x2a\x4d\x18\2\0\0\0xy", 10);
	}
	assert_in_range(check(&z, &tar, &fine), 10, 40);
	blob_free(&z);
	blob_free(&tar);
}

static void test_the_tree(void **state UNUSED)
{
	struct blob tar = { 0 }, z = { 0 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct made m = { .data_error = 0 };
	struct layer_index x;
	const struct layer_inode *i;

	blob_add_header(&tar, "./etc/", '5', 0);
	blob_add_header(&tar, "./etc/hosts", '0', 9);
	blob_add(&tar, "localhost", 9);
	blob_pad(&tar);
	blob_add_header(&tar, "etc/.wh.passwd", '0', 0);
	blob_add(&tar, (uint8_t[1024]){ 0 }, 1024);
	blob_add_gzip(&z, tar.p, tar.len, 6);
	assert_int_equal(scan(&m, &z, &plain, z.len, 0, &err), 0);
	assert_int_equal(layer_index_check(&x, m.index, m.index_len, &err), 0);
	i = layer_inode(&x, layer_walk(&x, "/etc/hosts"));
	assert_non_null(i);
	assert_int_equal(i->size, 9);
	assert_int_equal(i->data, 1024);
	assert_memory_equal(tar.p + i->data, "localhost", 9);
	i = layer_inode(&x, layer_walk(&x, "etc/passwd"));
	assert_non_null(i);
	assert_true(i->flags & LAYER_WHITEOUT);
	made_free(&m);
	blob_free(&z);
	blob_free(&tar);
}

/* Whole and in pieces; the message has @why (NULL: any). */
static void fails(const struct blob *z, const struct layer_scan_options *options, int code,
		  const char *why)
{
	for (uint64_t i = 0; i < 3; i++) {
		struct vmofs_err err = VMOFS_ERR_INIT;
		struct made m = { .data_error = 0 };

		assert_int_equal(scan(&m, z, options, i ? 100 * i : z->len, i, &err), code);
		assert_int_equal(err.code, code);
		if (why && !strstr(err.msg, why))
			fail_msg("'%s' is not '%s'", err.msg, why);
		made_free(&m);
	}
}

static void test_what_is_no_layer(void **state UNUSED)
{
	struct blob z = { 0 };

	fails(&z, &plain, -EBADMSG, "a blob of 0 bytes is no layer");
	blob_add(&z, "\x1f\x8b\x08", 3);
	fails(&z, &plain, -EBADMSG, "a blob of 3 bytes is no layer");
	blob_add_data(&z, 5000, 1);
	z.p[0] = 'x';
	fails(&z, &plain, -EBADMSG, "no tar header at byte 0: this is no tar");
	z.len = 0;
	blob_add_gzip(&z, "<html>an error of the server's</html>", 37, 6);
	fails(&z, &plain, -EBADMSG, "the tar ends too early");
	z.len = 0;
	blob_add_header(&z, "../../etc/passwd", '0', 0);
	fails(&z, &plain, -EBADMSG, "../../etc/passwd");
	blob_free(&z);
}

/* Cut anywhere. */
static void test_truncated(void **state UNUSED)
{
	struct blob tar = { 0 }, z[3] = { 0 };

	blob_add_tar(&tar, 5, 3000, 2);
	blob_add(&z[0], tar.p, tar.len - 1024);
	blob_add_gzip(&z[1], tar.p, tar.len, 6);
	blob_add_zstd(&z[2], tar.p, tar.len, 6);
	for (unsigned i = 0; i < ARRAY_LEN(z); i++)
		for (size_t len = z[i].len; len-- > 0;) {
			struct vmofs_err err = VMOFS_ERR_INIT;
			struct made m = { .data_error = 0 };
			int r;

			z[i].len = len;
			r = scan(&m, &z[i], &plain, len, 0, &err);
			/* Between files a tar may end; only its digest tells. */
			assert_true(r == -EBADMSG || (i == 0 && r == 0));
			made_free(&m);
		}
	for (unsigned i = 0; i < ARRAY_LEN(z); i++)
		blob_free(&z[i]);
	blob_free(&tar);
}

/* Any bit: an error, or another digest of the blob. */
static void test_damaged(void **state UNUSED)
{
	struct blob tar = { 0 }, z[3] = { 0 };
	struct prng random = { 3 };

	blob_add_tar(&tar, 5, 3000, 2);
	blob_add(&z[0], tar.p, tar.len);
	blob_add_gzip(&z[1], tar.p, tar.len, 6);
	blob_add_zstd(&z[2], tar.p, tar.len, 6);
	for (unsigned i = 0; i < 3000; i++) {
		struct blob *b = &z[i % 3];
		size_t at = (size_t)prng_below(&random, b->len);
		uint8_t bit = (uint8_t)(1 << prng_below(&random, 8)), want[SHA256_LEN];
		struct vmofs_err err = VMOFS_ERR_INIT;
		struct made m = { .data_error = 0 };
		int r;

		digest_sha256(b->p, b->len, want);
		b->p[at] ^= bit;
		r = scan(&m, b, &plain, b->len, 0, &err);
		assert_true(r == 0 || r == -EBADMSG);
		if (r == 0)
			assert_memory_not_equal(m.id.blob, want, SHA256_LEN);
		b->p[at] ^= bit;
		made_free(&m);
	}
	for (unsigned i = 0; i < ARRAY_LEN(z); i++)
		blob_free(&z[i]);
	blob_free(&tar);
}

static void test_limits(void **state UNUSED)
{
	static const struct layer_scan_options small = { .limits.data = MIB(1) },
					       few = { .limits.entries = 10 };
	uint8_t *zeros = calloc(1, MIB(50));
	struct blob tar = { 0 }, z = { 0 };

	/* Bombs. */
	blob_add(&tar, zeros, MIB(50));
	blob_add_gzip(&z, tar.p, tar.len, 9);
	fails(&z, &small, -E2BIG, "more than 1048576 bytes of data");
	z.len = 0;
	blob_add_zstd(&z, tar.p, tar.len, 19);
	fails(&z, &small, -E2BIG, "more than 1048576 bytes of data");
	tar.len = 0;
	blob_add_header(&tar, "zeros", '0', MIB(50));
	blob_add(&tar, zeros, KIB(10));
	fails(&tar, &small, -E2BIG, "'zeros'");
	tar.len = 0;
	blob_add_tar(&tar, 30, 100, 4);
	fails(&tar, &few, -E2BIG, NULL);
	blob_free(&tar);
	blob_free(&z);
	free(zeros);
}

static void test_whoever_takes_data_fails(void **state UNUSED)
{
	struct made m = { .data_error = -ECANCELED };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct blob tar = { 0 };

	blob_add_tar(&tar, 3, 100, 4);
	assert_int_equal(scan(&m, &tar, &plain, 1000, 0, &err), -ECANCELED);
	made_free(&m);
	blob_free(&tar);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_the_tree),
		cmocka_unit_test(test_what_is_no_layer),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_whoever_takes_data_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
