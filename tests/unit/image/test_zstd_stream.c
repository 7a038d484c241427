/* SPDX-License-Identifier: Apache-2.0 */
/* zstd files of one frame and of many, fed in pieces of any size: what comes out, and where it could be begun again. */
#include "image/zstd_stream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/little.h"
#include "base/macros.h"
#include "lib/layer_blob.h"
#include "lib/prng.h"
#include "lib/shell_bytes.h"

#define POINTS_MAX 512

static uint8_t *make_data(size_t n, uint64_t seed)
{
	struct prng random = { seed };
	uint8_t *p = malloc(n + 1);

	assert_non_null(p);
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t) "abcdefgh etaoin"[prng_below(&random, 15)];
	return p;
}

static void frame(struct blob *to, const void *p, size_t n, int level, int checksum)
{
	size_t cap = ZSTD_compressBound(n);
	uint8_t *out = malloc(cap);
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t len;

	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
	len = ZSTD_compress2(c, out, cap, p, n);
	assert_false(ZSTD_isError(len));
	blob_add(to, out, len);
	ZSTD_freeCCtx(c);
	free(out);
}

static void skippable(struct blob *to, unsigned which, size_t n)
{
	uint8_t head[8];
	uint8_t *p = calloc(1, n + 1);

	put32(head, 0x184d2a50 + which);
	put32(head + 4, (uint32_t)n);
	blob_add(to, head, sizeof head);
	blob_add(to, p, n);
	free(p);
}

struct point {
	uint64_t in, out;
};

struct seen {
	struct blob out;
	struct point at[POINTS_MAX];
	unsigned n;
};

static int on_data(void *arg, uint64_t out, const void *p, size_t n, struct vmofs_err *err UNUSED)
{
	struct seen *s = arg;

	assert_int_equal(out, s->out.len);
	assert_true(n > 0);
	blob_add(&s->out, p, n);
	return 0;
}

static int on_point(void *arg, uint64_t in, uint64_t out, struct vmofs_err *err UNUSED)
{
	struct seen *s = arg;

	assert_int_equal(out, s->out.len);
	assert_true(s->n < POINTS_MAX);
	s->at[s->n++] = (struct point){ in, out };
	return 0;
}

static const struct zstd_sink sink = { on_data, on_point };

static void seen_release(struct seen *s)
{
	blob_free(&s->out);
	free(s);
}

static int feed(struct seen **out, const struct blob *z, uint64_t spacing, size_t most,
		uint64_t seed, struct vmofs_err *err)
{
	struct prng random = { seed };
	struct seen *s = calloc(1, sizeof *s);
	struct zstd_stream *stream = zstd_stream_new(spacing, &sink, s);
	int r = 0;

	assert_true(s && stream);
	for (size_t at = 0, n; at < z->len && r == 0; at += n) {
		uint8_t *copy;

		n = seed ? 1 + (size_t)prng_below(&random, most) : most;
		n = MIN(n, z->len - at);
		copy = malloc(n);
		memcpy(copy, z->p + at, n);
		r = zstd_stream_feed(stream, copy, n, err);
		free(copy);
	}
	if (r == 0)
		r = zstd_stream_end(stream, err);
	zstd_stream_free(stream);
	*out = s;
	return r;
}

/* From each point on, the rest. */
static void check_points(const struct blob *z, const struct seen *s, uint64_t spacing)
{
	for (unsigned i = 0; i < s->n; i++) {
		uint64_t end = i + 1 < s->n ? s->at[i + 1].in : z->len;
		uint64_t n = (i + 1 < s->n ? s->at[i + 1].out : s->out.len) - s->at[i].out;
		uint8_t *p = malloc(n + 1);

		assert_true(i + 1 == s->n || n >= spacing);
		assert_int_equal(ZSTD_decompress(p, n, z->p + s->at[i].in, end - s->at[i].in), n);
		assert_memory_equal(p, s->out.p + s->at[i].out, n);
		free(p);
	}
}

static struct seen *check(const struct blob *z, const void *p, size_t n, uint64_t spacing)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct seen *s, *again;
	int r = feed(&s, z, spacing, z->len, 0, &err);

	if (r < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(s->out.len, n);
	assert_memory_equal(s->out.p, p, n);
	assert_true(s->n > 0 && s->at[0].in == 0 && s->at[0].out == 0);
	check_points(z, s, spacing);
	for (uint64_t i = 0; i < 3; i++) {
		assert_int_equal(feed(&again, z, spacing, i ? (size_t)10 << (5 * i) : 1, i, &err),
				 0);
		assert_int_equal(s->n, again->n);
		assert_memory_equal(s->at, again->at, sizeof s->at);
		assert_int_equal(again->out.len, n);
		assert_memory_equal(again->out.p, p, n);
		seen_release(again);
	}
	return s;
}

static void test_one_frame(void **state UNUSED)
{
	size_t n = 1000000;
	uint8_t *p = make_data(n, 1);

	for (int level = -5; level <= 19; level += 6) {
		struct blob z = { 0 };
		struct seen *s;

		frame(&z, p, n, level, level & 1);
		s = check(&z, p, n, KIB(64));
		assert_int_equal(s->n, 1);
		seen_release(s);
		blob_free(&z);
	}
	free(p);
}

static void test_many_frames(void **state UNUSED)
{
	static const uint64_t spacings[] = { 0, 1, KIB(50), KIB(512), MIB(64) };
	struct prng random = { 2 };
	size_t n = 1000000, at = 0;
	uint8_t *p = make_data(n, 3);
	struct blob z = { 0 };

	/* Skippable ones before, between and after, and empty ones. */
	skippable(&z, 0, 100);
	for (unsigned i = 0; at < n; i++) {
		size_t len = i % 5 == 0 ? 0 : 1 + (size_t)prng_below(&random, 30000);

		len = MIN(len, n - at);
		frame(&z, p + at, len, 3, i % 2);
		at += len;
		if (i % 4 == 0)
			skippable(&z, i % 16, i);
	}
	skippable(&z, 14, 1000);
	for (size_t i = 0; i < ARRAY_LEN(spacings); i++) {
		struct seen *s = check(&z, p, n, spacings[i]);

		assert_in_range(s->n, n / (spacings[i] + 30000), POINTS_MAX);
		assert_true(spacings[i] < MIB(1) || s->n == 1);
		seen_release(s);
	}
	blob_free(&z);
	free(p);
}

static void fails(const struct blob *z, const char *why)
{
	for (uint64_t i = 0; i < 4; i++) {
		struct vmofs_err err = VMOFS_ERR_INIT;
		struct seen *s;

		assert_int_equal(feed(&s, z, 0, i ? 1 + i : z->len + 1, i, &err), -EBADMSG);
		if (!strstr(err.msg, why))
			fail_msg("'%s' is not '%s'", err.msg, why);
		seen_release(s);
	}
}

static void test_damage(void **state UNUSED)
{
	/* A frame whose header asks for a window of 256 MiB. */
	static const uint8_t wide[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 18 << 3, 1, 0, 0 };
	uint8_t *p = make_data(100000, 4);
	struct blob z = { 0 };

	fails(&z, "ends too early");
	blob_add(&z, "not zstd at all", 15);
	fails(&z, "no zstd frame before byte");
	z.len = 0;
	blob_add(&z, wide, sizeof wide);
	fails(&z, "wants a window of more than 128 MiB");
	z.len = 0;
	frame(&z, p, 100000, 3, 1);
	z.p[z.len - 1] ^= 1;
	fails(&z, "checksum");
	z.p[z.len - 1] ^= 1;
	blob_add(&z, "garbage", 7);
	fails(&z, "no zstd frame before byte");
	z.len -= 8;
	fails(&z, "ends too early");
	z.len = 3;
	fails(&z, "ends too early");
	z.len = 0;
	skippable(&z, 0, 100);
	z.len--;
	fails(&z, "ends too early");
	blob_free(&z);
	free(p);
}

static void test_programs(void **state UNUSED)
{
	static const char *const commands[] = {
		"seq 1 200000 | zstd -c", "seq 1 200000 | zstd -19 -c --no-check",
		"seq 1 200000 | zstd -c --long=27",
		"(seq 1 100000 | zstd; seq 100001 200000 | zstd -1)"
	};
	size_t n;
	uint8_t *p = shell_bytes("seq 1 200000", &n);

	assert_non_null(p);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		struct blob z = { 0 };

		z.p = shell_bytes(commands[i], &z.len);
		if (!z.p)
			skip();
		seen_release(check(&z, p, n, KIB(256)));
		blob_free(&z);
	}
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_frame),
		cmocka_unit_test(test_many_frames),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
