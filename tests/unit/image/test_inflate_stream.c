/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip files of every kind, fed in pieces of any size: what comes out is what went in, points are where they should be, and from
 * each of them inflate makes the same bytes again, with the window that was handed out.
 */
#include "image/inflate_stream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "image/gunzip.h"
#include "lib/layer_blob.h"
#include "lib/prng.h"
#include "lib/shell_bytes.h"

#define POINTS_MAX 4096

/* -- bytes to compress --------------------------------------------------------------------------- */

/* Something like files: words that repeat, stretches of noise, zeros. */
static uint8_t *make_data(size_t n, uint64_t seed)
{
	struct prng random = { seed };
	uint8_t *p = malloc(n + 4096);
	size_t at = 0;

	assert_non_null(p);
	while (at < n) {
		size_t len = 1 + (size_t)prng_below(&random, 4000);
		unsigned kind = (unsigned)prng_below(&random, 8);

		for (size_t i = 0; i < len; i++)
			p[at + i] = kind == 0 ? (uint8_t)prng_next(&random)
				: kind == 1   ? 0
				: kind < 5 && at > 40000
				? p[at + i - 1 - (seed + at) % 39999]
				: "abcdefgh etaoin"[prng_below(&random, 15)];
		at += len;
	}
	return p;
}

struct how {
	int level;
	int strategy;
	int flush; /* of every so many bytes */
	size_t flush_at;
	gz_header *head;
};

/* One member more. */
static void gzip(struct blob *to, const void *p, size_t n, const struct how *how)
{
	z_stream z = { .next_in = (Bytef *)p };
	uint8_t out[65536];
	size_t left = n, step = how->flush_at ? how->flush_at : n;
	int r;

	assert_int_equal(deflateInit2(&z, how->level, Z_DEFLATED, 31, 9, how->strategy), Z_OK);
	if (how->head)
		assert_int_equal(deflateSetHeader(&z, how->head), Z_OK);
	do {
		size_t piece = MIN(left, step);

		z.avail_in = (uInt)piece;
		left -= piece;
		do {
			z.next_out = out;
			z.avail_out = sizeof out;
			r = deflate(&z, left ? how->flush : Z_FINISH);
			blob_add(to, out, sizeof out - z.avail_out);
		} while (z.avail_out == 0);
	} while (left);
	assert_int_equal(r, Z_STREAM_END);
	deflateEnd(&z);
}

/* -- feeding ---------------------------------------------------------------------------------------- */

struct window {
	uint8_t p[GUNZIP_WINDOW];
	size_t len;
};

struct seen {
	struct blob out;
	struct inflate_point at[POINTS_MAX];
	struct window *window[POINTS_MAX];
	unsigned n;
	uint64_t used;
};

static int on_data(void *arg, uint64_t out, const void *p, size_t n, struct vmofs_err *err UNUSED)
{
	struct seen *s = arg;

	assert_int_equal(out, s->out.len);
	assert_true(n > 0);
	blob_add(&s->out, p, n);
	return 0;
}

static int on_point(void *arg, const struct inflate_point *at, struct vmofs_err *err UNUSED)
{
	struct seen *s = arg;

	assert_int_equal(at->out, s->out.len);
	assert_true(s->n < POINTS_MAX);
	s->window[s->n] = NULL;
	s->at[s->n++] = *at;
	return 0;
}

static int on_window(void *arg, const void *p, size_t n, struct vmofs_err *err UNUSED)
{
	struct seen *s = arg;
	struct window *w = malloc(sizeof *w);

	assert_true(s->n > 0 && !s->window[s->n - 1] && !s->at[s->n - 1].member);
	assert_true(n > 0 && n <= GUNZIP_WINDOW);
	memcpy(w->p, p, n);
	w->len = n;
	s->window[s->n - 1] = w;
	return 0;
}

static const struct inflate_sink sink = { on_data, on_point, on_window };

static void seen_release(struct seen *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free(s->window[i]);
	blob_free(&s->out);
	free(s);
}

/* In pieces of up to @most bytes. 0 or -EBADMSG, with @err. */
static int feed(struct seen **out, const struct blob *z, uint64_t spacing, size_t most,
		uint64_t seed, struct vmofs_err *err)
{
	struct prng random = { seed };
	struct seen *s = calloc(1, sizeof *s);
	struct inflate_stream *stream = inflate_stream_new(spacing, &sink, s);
	int r = 0;

	assert_true(s && stream);
	for (size_t at = 0, n; at < z->len && r == 0; at += n) {
		uint8_t *copy;

		n = seed ? 1 + (size_t)prng_below(&random, most) : most;
		n = MIN(n, z->len - at);
		copy = malloc(n);
		memcpy(copy, z->p + at, n);
		r = inflate_stream_feed(stream, copy, n, err);
		free(copy);
	}
	if (r == 0)
		r = inflate_stream_end(stream, err);
	s->used = inflate_stream_used(stream);
	inflate_stream_free(stream);
	*out = s;
	return r;
}

/* -- from a point ------------------------------------------------------------------------------------ */

/* Inflates [at, at + n) from the point that is before it, out of no more input than up to @end. */
static void check_slice(const struct blob *z, const struct seen *s, unsigned i, uint64_t end,
			uint64_t n)
{
	const struct inflate_point *at = &s->at[i];
	struct gunzip g;
	uint8_t *p = malloc(n + 1);
	const struct window *w = s->window[i];
	int r;

	assert_int_equal(gunzip_init(&g), 0);
	if (at->member)
		gunzip_begin(&g);
	else
		assert_int_equal(gunzip_begin_raw(&g, at->bits, at->bits ? z->p[at->in - 1] : 0,
						  w ? w->p : NULL, w ? w->len : 0),
				 0);
	g.z.next_in = z->p + at->in;
	g.z.avail_in = (uInt)(end - at->in);
	g.z.next_out = p;
	g.z.avail_out = (uInt)n;
	do
		r = gunzip_run(&g, false);
	while (r > GUNZIP_FULL);
	assert_true(r >= 0);
	assert_int_equal(g.z.avail_out, 0);
	assert_memory_equal(p, s->out.p + at->out, n);
	gunzip_release(&g);
	free(p);
}

static void check_points(const struct blob *z, const struct seen *s, uint64_t spacing)
{
	for (unsigned i = 0; i < s->n; i++) {
		bool last = i + 1 == s->n;
		uint64_t end = last ? s->used : s->at[i + 1].in;
		uint64_t out = last ? s->out.len : s->at[i + 1].out;

		assert_true(last || out - s->at[i].out >= spacing / 2);
		check_slice(z, s, i, end, out - s->at[i].out);
		/* And on, past the next points. */
		check_slice(z, s, i, s->used, s->out.len - s->at[i].out);
	}
}

static void same_points(const struct seen *a, const struct seen *b)
{
	assert_int_equal(a->n, b->n);
	for (unsigned i = 0; i < a->n; i++) {
		assert_int_equal(a->at[i].in, b->at[i].in);
		assert_int_equal(a->at[i].out, b->at[i].out);
		assert_int_equal(a->at[i].bits, b->at[i].bits);
		assert_int_equal(a->at[i].member, b->at[i].member);
		assert_int_equal(!a->window[i], !b->window[i]);
		if (!a->window[i])
			continue;
		assert_int_equal(a->window[i]->len, b->window[i]->len);
		assert_memory_equal(a->window[i]->p, b->window[i]->p, a->window[i]->len);
	}
}

/* Is @p when it is whole; the same in pieces. What was seen is the caller's. */
static struct seen *check(const struct blob *z, const void *p, size_t n, uint64_t spacing)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct seen *s, *again;
	int r = feed(&s, z, spacing, z->len + 1, 0, &err);

	if (r < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(s->out.len, n);
	assert_memory_equal(s->out.p, p, n);
	assert_true(s->n > 0 && s->at[0].in == 0 && s->at[0].out == 0 && s->at[0].member);
	check_points(z, s, MAX(spacing, INFLATE_SPACING_MIN));
	for (uint64_t i = 0; i < 3; i++) {
		assert_int_equal(feed(&again, z, spacing, i ? (size_t)10 << (5 * i) : 1, i, &err),
				 0);
		same_points(s, again);
		assert_int_equal(again->out.len, n);
		assert_memory_equal(again->out.p, p, n);
		assert_int_equal(again->used, s->used);
		seen_release(again);
	}
	return s;
}

/* -- tests ------------------------------------------------------------------------------------------- */

static void test_levels_and_spacings(void **state UNUSED)
{
	static const uint64_t spacings[] = { 0, KIB(33), KIB(64), KIB(100), KIB(512), MIB(64) };
	size_t n = 700000;
	uint8_t *p = make_data(n, 1);

	for (int level = 0; level <= 9; level++) {
		struct how how = { .level = level, .flush = Z_NO_FLUSH };
		struct blob z = { 0 };

		gzip(&z, p, n, &how);
		for (size_t i = 0; i < ARRAY_LEN(spacings); i++) {
			struct seen *s = check(&z, p, n, spacings[i]);

			if (spacings[i] >= MIB(1))
				assert_int_equal(s->n, 1);
			else if (level)
				assert_in_range(s->n, n / (spacings[i] + 120000), POINTS_MAX);
			seen_release(s);
		}
		blob_free(&z);
	}
	free(p);
}

/* Huffman codes alone, runs alone, the fixed code: blocks of other kinds. */
static void test_strategies(void **state UNUSED)
{
	size_t n = 500000;
	uint8_t *p = make_data(n, 2);

	for (int strategy = Z_FILTERED; strategy <= Z_FIXED; strategy++) {
		struct how how = { .level = 6, .strategy = strategy };
		struct blob z = { 0 };

		gzip(&z, p, n, &how);
		seen_release(check(&z, p, n, KIB(64)));
		blob_free(&z);
	}
	free(p);
}

/* As pigz does, with and without -i, and at every few bytes. */
static void test_flushes(void **state UNUSED)
{
	static const int kinds[] = { Z_PARTIAL_FLUSH, Z_SYNC_FLUSH, Z_FULL_FLUSH, Z_BLOCK };
	size_t n = 600000;
	uint8_t *p = make_data(n, 3);

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct how coarse = { .level = 6, .flush = kinds[i], .flush_at = 131072 };
		struct how fine = { .level = 6, .flush = kinds[i], .flush_at = 77 };
		struct blob z = { 0 };
		struct seen *s;

		gzip(&z, p, n, &coarse);
		s = check(&z, p, n, KIB(128));
		/* Nothing after a full flush looks back. */
		for (unsigned k = 0; kinds[i] == Z_FULL_FLUSH && k < s->n; k++)
			assert_null(s->window[k]);
		seen_release(s);
		blob_free(&z);
		gzip(&z, p, n, &fine);
		seen_release(check(&z, p, n, KIB(40)));
		blob_free(&z);
	}
	free(p);
}

/* Of noise no byte is used again; of a window of which little is used, little is left. */
static void test_windows_are_thin(void **state UNUSED)
{
	struct how how = { .level = 9 };
	struct prng random = { 4 };
	size_t n = 400000, zeros = 0, len = 0;
	uint8_t *p = malloc(n);
	struct blob z = { 0 };
	struct seen *s;

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)prng_next(&random);
	gzip(&z, p, n, &how);
	s = check(&z, p, n, KIB(64));
	assert_true(s->n >= 3);
	for (unsigned i = 0; i < s->n; i++)
		assert_null(s->window[i]);
	seen_release(s);
	blob_free(&z);
	/* Half of the letters are noise, but ten bytes of every thousand come again. */
	for (size_t i = 40000; i + 1000 <= n; i += 1000)
		memcpy(p + i, p + i - 30000, 10);
	for (size_t i = 0; i < n; i++)
		p[i] &= 0x7f;
	gzip(&z, p, n, &how);
	s = check(&z, p, n, KIB(64));
	for (unsigned i = 0; i < s->n; i++) {
		len += s->window[i] ? s->window[i]->len : 0;
		for (size_t k = 0; s->window[i] && k < s->window[i]->len; k++)
			zeros += s->window[i]->p[k] == 0;
	}
	assert_true(len > 0 && zeros > len * 8 / 10);
	seen_release(s);
	blob_free(&z);
	free(p);
}

static void test_members(void **state UNUSED)
{
	size_t n = 900000, at = 0;
	uint8_t *p = make_data(n, 5), extra[300] = { 1, 2, 3 };
	gz_header head = { .text = 1,
			   .time = 12345,
			   .extra = extra,
			   .extra_len = sizeof extra,
			   .name = (Bytef *)"a name",
			   .comment = (Bytef *)"a comment",
			   .hcrc = 1 };
	struct prng random = { 6 };
	struct blob z = { 0 };
	unsigned members = 0;
	struct seen *s;

	/* Of any length, 0 among them; tiny ones as eStargz has them, and large ones. */
	for (unsigned i = 0; at < n; i++) {
		size_t len =
			i % 7 == 0 ? 0 : 1 + (size_t)prng_below(&random, i % 3 ? 3000 : 150000);
		struct how how = { .level = (int)(i % 10), .head = i % 4 == 0 ? &head : NULL };

		len = MIN(len, n - at);
		gzip(&z, p + at, len, &how);
		at += len;
	}
	s = check(&z, p, n, KIB(64));
	for (unsigned i = 0; i < s->n; i++)
		members += s->at[i].member;
	assert_true(members > 4);
	assert_int_equal(s->used, z.len);
	seen_release(s);
	blob_free(&z);
	free(p);
}

static void test_what_follows(void **state UNUSED)
{
	static const struct {
		const char *p;
		size_t n;
	} rest[] = { { "\0\0\0\0\0\0\0\0\0\0\0\0", 12 },
		     { "garbage", 7 },
		     { "\x1f", 1 },
		     { "\x1f\x8a\x08", 3 },
		     { "\0\0\x1f\x8b\x08", 5 } };
	struct how how = { .level = 6 };
	struct blob z = { 0 };
	size_t len;

	gzip(&z, "hello", 5, &how);
	len = z.len;
	for (size_t i = 0; i < ARRAY_LEN(rest); i++) {
		struct seen *s;

		z.len = len;
		blob_add(&z, rest[i].p, rest[i].n);
		s = check(&z, "hello", 5, 0);
		assert_in_range(s->used, len, len + 1);
		seen_release(s);
	}
	blob_free(&z);
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
	struct how how = { .level = 6 };
	uint8_t *p = make_data(100000, 7);
	struct blob z = { 0 };

	blob_add(&z, "not gzip at all", 15);
	fails(&z, "this is not gzip");
	z.len = 1;
	fails(&z, "this is not gzip");
	z.p[0] = 0x1f;
	fails(&z, "ends too early");
	z.len = 0;
	fails(&z, "ends too early");
	gzip(&z, p, 100000, &how);
	z.p[2] = 7;
	fails(&z, "unknown compression method");
	z.p[2] = 8;
	z.p[3] = 0x80;
	fails(&z, "unknown header flags");
	z.p[3] = 0;
	z.p[z.len - 5] ^= 1;
	fails(&z, "incorrect data check");
	z.p[z.len - 5] ^= 1;
	z.p[z.len - 1] ^= 1;
	fails(&z, "incorrect length check");
	z.p[z.len - 1] ^= 1;
	z.len--;
	fails(&z, "ends too early");
	z.len = 5;
	fails(&z, "ends too early");
	z.len = 0;
	gzip(&z, p, 1000, &how);
	blob_add(&z, "\x1f\x8b\x09\0", 4);
	fails(&z, "unknown compression method");
	blob_free(&z);
	free(p);
}

/* Whatever bit is wrong: an error, or (in the header) the right bytes. */
static void test_any_bit(void **state UNUSED)
{
	struct how how = { .level = 6 };
	size_t n = 3000;
	uint8_t *p = make_data(n, 8);
	struct blob z = { 0 };

	gzip(&z, p, n, &how);
	for (size_t i = 0; i < 8 * z.len; i++) {
		struct vmofs_err err = VMOFS_ERR_INIT;
		struct seen *s;

		z.p[i / 8] ^= (uint8_t)(1 << i % 8);
		if (feed(&s, &z, 0, z.len, 0, &err) == 0) {
			assert_int_equal(s->out.len, n);
			assert_memory_equal(s->out.p, p, n);
		}
		seen_release(s);
		z.p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	blob_free(&z);
	free(p);
}

/* What the programs themselves make. */
static void test_programs(void **state UNUSED)
{
	static const char *const commands[] = {
		"seq 1 200000 | gzip -c",
		"seq 1 200000 | gzip -1c",
		"seq 1 200000 | gzip -9c",
		"seq 1 200000 | gzip --rsyncable -c",
		"(seq 1 100000 | gzip; seq 100001 200000 | gzip -1)",
		"seq 1 200000 | python3 -c 'import gzip,sys; o=sys.stdout.buffer; o.write(gzip.compress(sys.stdin.buffer.read()))'",
	};
	size_t n;
	uint8_t *p = shell_bytes("seq 1 200000", &n);

	assert_non_null(p);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		struct blob z = { 0 };
		struct seen *s;

		z.p = shell_bytes(commands[i], &z.len);
		if (!z.p)
			skip();
		s = check(&z, p, n, KIB(256));
		assert_true(s->n >= 3);
		seen_release(s);
		blob_free(&z);
	}
	free(p);
}

static int no_data(void *arg UNUSED, uint64_t out UNUSED, const void *p UNUSED, size_t n UNUSED,
		   struct vmofs_err *err)
{
	return vmofs_err_set(err, -ENOSPC, "full");
}

static void test_errors_of_the_sink(void **state UNUSED)
{
	static const struct inflate_sink full = { no_data, on_point, on_window };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct seen *seen = calloc(1, sizeof *seen);
	struct inflate_stream *s = inflate_stream_new(0, &full, seen);
	struct how how = { .level = 6 };
	struct blob z = { 0 };

	gzip(&z, "hello", 5, &how);
	assert_int_equal(inflate_stream_feed(s, z.p, z.len, &err), -ENOSPC);
	assert_string_equal(err.msg, "full");
	inflate_stream_free(s);
	inflate_stream_free(NULL);
	seen_release(seen);
	blob_free(&z);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels_and_spacings),
		cmocka_unit_test(test_strategies),
		cmocka_unit_test(test_flushes),
		cmocka_unit_test(test_windows_are_thin),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_what_follows),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_any_bit),
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_errors_of_the_sink),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
