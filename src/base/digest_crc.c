/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CRCs of object stores: CRC32 (ISO-HDLC), CRC32C (Castagnoli), CRC64NVME. All three are reflected,
 * begin with ones and end inverted, so one code serves them: a polynomial of degree `width` is kept with
 * the coefficient of x^0 in bit width-1. Any thread.
 *
 * Long texts are folded 64 bytes at a time with carry-less multiplication where the machine has it, down to
 * 16 bytes that have the same remainder; the tables (eight bytes a step) do the rest. CRCs of parts are
 * combined by a multiplication with x^(8 * length).
 */
#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_FOLDING 1
#endif

enum { FOLD_STEP = 64, FOLD_MIN = 256 };

struct crc {
	unsigned width;
	uint64_t poly; /* reflected, without x^width */
	uint64_t table[8][256];
	uint64_t fold[2][2]; /* x^(D+63), x^(D-1) for D = 128 and 512, bit 63 is x^0 */
};

static struct crc crcs[] = {
	[DIGEST_CRC32] = { .width = 32, .poly = 0xedb88320 },
	[DIGEST_CRC32C] = { .width = 32, .poly = 0x82f63b78 },
	[DIGEST_CRC64NVME] = { .width = 64, .poly = UINT64_C(0x9a6c9329ac4bc9b5) },
};
_Static_assert(ARRAY_LEN(crcs) == DIGEST_NCRCS, "one row per CRC");

static bool can_fold;

static uint64_t crc_ones(const struct crc *c)
{
	return ~UINT64_C(0) >> (64 - c->width);
}

/* -- polynomials ------------------------------------------------------------------------------ */

/* @a times x. */
static uint64_t poly_shift(const struct crc *c, uint64_t a)
{
	return a >> 1 ^ (a & 1 ? c->poly : 0);
}

static uint64_t poly_multiply(const struct crc *c, uint64_t a, uint64_t b)
{
	uint64_t product = 0;

	for (uint64_t bit = UINT64_C(1) << (c->width - 1); bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = poly_shift(c, b);
	}
	return product;
}

/* x^(@n * @unit), @unit a power of two. */
static uint64_t poly_power(const struct crc *c, uint64_t n, unsigned unit)
{
	uint64_t one = UINT64_C(1) << (c->width - 1);
	uint64_t square = one >> 1;
	uint64_t power = one;

	for (; unit > 1; unit >>= 1)
		square = poly_multiply(c, square, square);
	for (; n; n >>= 1) {
		if (n & 1)
			power = poly_multiply(c, power, square);
		square = poly_multiply(c, square, square);
	}
	return power;
}

/* -- tables ----------------------------------------------------------------------------------- */

static void crc_init_table(struct crc *c)
{
	for (unsigned i = 0; i < 256; i++) {
		uint64_t v = i;

		for (unsigned k = 0; k < 8; k++)
			v = poly_shift(c, v);
		c->table[0][i] = v;
	}
	for (unsigned k = 1; k < 8; k++)
		for (unsigned i = 0; i < 256; i++) {
			uint64_t v = c->table[k - 1][i];

			c->table[k][i] = v >> 8 ^ c->table[0][v & 255];
		}
}

static void crc_init_all(void)
{
	for (unsigned i = 0; i < DIGEST_NCRCS; i++) {
		struct crc *c = &crcs[i];
		unsigned up = 64 - c->width;

		crc_init_table(c);
		for (unsigned k = 0; k < 2; k++) {
			unsigned distance = k ? 512 : 128;

			c->fold[k][0] = poly_power(c, distance + 63, 1) << up;
			c->fold[k][1] = poly_power(c, distance - 1, 1) << up;
		}
	}
#ifdef HAVE_FOLDING
	can_fold = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
}

static const struct crc *crc_of(enum digest_crc kind)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	assert(kind < DIGEST_NCRCS);
	pthread_once(&once, crc_init_all);
	return &crcs[kind];
}

/* @v is the register itself, not inverted. */
static uint64_t crc_by_table(const struct crc *c, uint64_t v, const uint8_t *p, size_t n)
{
	for (; n >= 8; n -= 8, p += 8) {
		uint64_t w;

		memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		w = __builtin_bswap64(w);
#endif
		w ^= v;
		v = c->table[7][w & 255] ^ c->table[6][w >> 8 & 255] ^ c->table[5][w >> 16 & 255] ^
			c->table[4][w >> 24 & 255] ^ c->table[3][w >> 32 & 255] ^
			c->table[2][w >> 40 & 255] ^ c->table[1][w >> 48 & 255] ^
			c->table[0][w >> 56];
	}
	for (; n > 0; n--)
		v = v >> 8 ^ c->table[0][(v ^ *p++) & 255];
	return v;
}

/* -- folding ---------------------------------------------------------------------------------- */

#ifdef HAVE_FOLDING
#define FOLDING __attribute__((target("pclmul,sse4.1")))

/* @a moved on by the distance of @k, and @b: what has the same remainder as a followed by b. */
FOLDING static __m128i fold(__m128i a, __m128i k, __m128i b)
{
	__m128i low = _mm_clmulepi64_si128(a, k, 0x00);
	__m128i high = _mm_clmulepi64_si128(a, k, 0x11);

	return _mm_xor_si128(_mm_xor_si128(low, high), b);
}

FOLDING static __m128i load(const uint8_t *p)
{
	return _mm_loadu_si128((const void *)p);
}

/* Of the whole steps in [p, p + n), at least one. */
FOLDING static uint64_t crc_by_folding(const struct crc *c, uint64_t v, const uint8_t *p, size_t n)
{
	__m128i near = load((const uint8_t *)c->fold[0]);
	__m128i far = load((const uint8_t *)c->fold[1]);
	__m128i x[4];
	uint8_t rest[16];

	for (unsigned i = 0; i < 4; i++)
		x[i] = load(p + 16 * i);
	x[0] = _mm_xor_si128(x[0], _mm_cvtsi64_si128((long long)v));
	for (p += FOLD_STEP, n -= FOLD_STEP; n >= FOLD_STEP; p += FOLD_STEP, n -= FOLD_STEP)
		for (unsigned i = 0; i < 4; i++)
			x[i] = fold(x[i], far, load(p + 16 * i));
	for (unsigned i = 1; i < 4; i++)
		x[0] = fold(x[0], near, x[i]);
	_mm_storeu_si128((void *)rest, x[0]);
	return crc_by_table(c, 0, rest, sizeof rest);
}
#else
static uint64_t crc_by_folding(const struct crc *c, uint64_t v, const uint8_t *p, size_t n)
{
	return crc_by_table(c, v, p, n);
}
#endif

uint64_t digest_crc(enum digest_crc kind, uint64_t crc, const void *buf, size_t n)
{
	const struct crc *c = crc_of(kind);
	const uint8_t *p = buf;
	uint64_t v = crc ^ crc_ones(c);

	if (can_fold && n >= FOLD_MIN) {
		size_t steps = n - n % FOLD_STEP;

		v = crc_by_folding(c, v, p, steps);
		p += steps;
		n -= steps;
	}
	return crc_by_table(c, v, p, n) ^ crc_ones(c);
}

uint64_t digest_crc_combine(enum digest_crc kind, uint64_t a, uint64_t b, uint64_t len_b)
{
	const struct crc *c = crc_of(kind);

	return poly_multiply(c, poly_power(c, len_b, 8), a) ^ b;
}
