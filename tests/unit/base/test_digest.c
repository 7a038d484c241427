/* SPDX-License-Identifier: Apache-2.0 */
/* Digests against published values; CRCs of every length, in parts, and combined. */
#include "base/digest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/prng.h"

static void hex_is(const uint8_t *p, size_t n, const char *text)
{
	char hex[2 * SHA256_LEN + 1];

	digest_hex(p, n, hex);
	assert_string_equal(hex, text);
}

/* FIPS 180-4, RFC 1321. */
static void test_published_digests(void **state UNUSED)
{
	uint8_t d[SHA256_LEN];

	assert_int_equal(digest_sha256("abc", 3, d), 0);
	hex_is(d, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(digest_sha256("", 0, d), 0);
	hex_is(d, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_int_equal(digest_sha1("abc", 3, d), 0);
	hex_is(d, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
	assert_int_equal(digest_md5("message digest", 14, d), 0);
	hex_is(d, 16, "f96b697d7cb7938d525a2f31aaf161d0");
}

/* RFC 4231, cases 1, 2, 6 (a key longer than a block) and 7. */
static void test_published_hmacs(void **state UNUSED)
{
	static const char larger[] = "Test Using Larger Than Block-Size Key - Hash Key First";
	static const char both[] =
		"This is a test using a larger than block-size key and a larger than "
		"block-size data. The key needs to be hashed before being used by the HMAC algorithm.";
	uint8_t key[131], d[SHA256_LEN];

	memset(key, 0x0b, 20);
	assert_int_equal(digest_hmac_sha256(key, 20, "Hi There", 8, d), 0);
	hex_is(d, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	assert_int_equal(digest_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, d), 0);
	hex_is(d, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof key);
	assert_int_equal(digest_hmac_sha256(key, sizeof key, larger, strlen(larger), d), 0);
	hex_is(d, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	assert_int_equal(digest_hmac_sha256(key, sizeof key, both, strlen(both), d), 0);
	hex_is(d, 32, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

static void test_running_sha256_begins_anew(void **state UNUSED)
{
	struct sha256 *s = sha256_new();
	uint8_t d[SHA256_LEN];

	assert_non_null(s);
	for (int i = 0; i < 2; i++) {
		sha256_add(s, "a", 1);
		sha256_add(s, "", 0);
		sha256_add(s, "bc", 2);
		sha256_end(s, d);
		hex_is(d, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	}
	sha256_free(s);
	sha256_free(NULL);
}

/* RFC 4648, section 10. */
static void test_base64(void **state UNUSED)
{
	static const char *const pairs[][2] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
	};
	char text[16];
	uint8_t back[8];

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		size_t n = strlen(pairs[i][0]);

		digest_base64((const uint8_t *)pairs[i][0], n, text);
		assert_string_equal(text, pairs[i][1]);
		assert_int_equal(digest_unbase64(text, strlen(text), back, sizeof back), n);
		assert_memory_equal(back, pairs[i][0], n);
		if (n > 0)
			assert_int_equal(digest_unbase64(text, strlen(text), back, n - 1), -EINVAL);
	}
}

static void test_what_is_no_base64(void **state UNUSED)
{
	static const char *const bad[] = { "Zg=",  "Z",    "Zg=a",     "Zm9vZ===", "====", "Z===",
					   "Zh==", "Zm9=", "Zg==Zg==", "Zm 9",     "Zm9-" };
	uint8_t out[16];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(digest_unbase64(bad[i], strlen(bad[i]), out, sizeof out), -EINVAL);
	assert_int_equal(digest_unbase64("Zg\0=", 4, out, sizeof out), -EINVAL);
}

/* -- CRCs ------------------------------------------------------------------------------------- */

static const struct {
	unsigned width;
	uint64_t poly; /* the usual notation, highest power first */
	uint64_t check;
} published[] = {
	[DIGEST_CRC32] = { 32, 0x04c11db7, 0xcbf43926 },
	[DIGEST_CRC32C] = { 32, 0x1edc6f41, 0xe3069283 },
	[DIGEST_CRC64NVME] = { 64, UINT64_C(0xad93d23594c93659), UINT64_C(0xae8b14860a799888) },
};

static uint64_t reflect(uint64_t v, unsigned width)
{
	uint64_t out = 0;

	for (unsigned i = 0; i < width; i++)
		out |= (v >> i & 1) << (width - 1 - i);
	return out;
}

/* By definition: long division, bit by bit, not reflected. */
static uint64_t slow_crc(enum digest_crc kind, const uint8_t *p, size_t n)
{
	unsigned width = published[kind].width;
	uint64_t ones = ~UINT64_C(0) >> (64 - width);
	uint64_t top = UINT64_C(1) << (width - 1);
	uint64_t v = ones;

	for (size_t i = 0; i < n; i++) {
		v ^= reflect(p[i], 8) << (width - 8);
		for (int k = 0; k < 8; k++)
			v = (v & top ? v << 1 ^ published[kind].poly : v << 1) & ones;
	}
	return reflect(v, width) ^ ones;
}

static void test_published_crcs(void **state UNUSED)
{
	for (unsigned k = 0; k < DIGEST_NCRCS; k++) {
		assert_true(digest_crc(k, 0, "123456789", 9) == published[k].check);
		assert_true(slow_crc(k, (const uint8_t *)"123456789", 9) == published[k].check);
		assert_true(digest_crc(k, 0, "", 0) == 0);
		assert_true(digest_crc(k, published[k].check, "", 0) == published[k].check);
	}
}

static void fill(struct prng *rng, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)prng_below(rng, 256);
}

static void test_every_length_and_alignment(void **state UNUSED)
{
	struct prng rng = { 1 };
	uint8_t text[1400];

	fill(&rng, text, sizeof text);
	for (unsigned k = 0; k < DIGEST_NCRCS; k++)
		for (size_t n = 0; n + 16 < sizeof text; n += n < 400 ? 1 : 37)
			assert_true(digest_crc(k, 0, text + n % 16, n) ==
				    slow_crc(k, text + n % 16, n));
}

static void test_parts_and_combinations(void **state UNUSED)
{
	struct prng rng = { 2 };
	uint8_t text[6000];

	fill(&rng, text, sizeof text);
	for (unsigned k = 0; k < DIGEST_NCRCS; k++) {
		uint64_t whole = digest_crc(k, 0, text, sizeof text);

		for (int i = 0; i < 500; i++) {
			size_t at = prng_below(&rng, sizeof text + 1);
			uint64_t a = digest_crc(k, 0, text, at);
			uint64_t b = digest_crc(k, 0, text + at, sizeof text - at);

			assert_true(digest_crc(k, a, text + at, sizeof text - at) == whole);
			assert_true(digest_crc_combine(k, a, b, sizeof text - at) == whole);
		}
	}
}

/* A length that no text here has: 2^36 zeros in 36 doublings, and the same from thirds. */
static void test_combining_long_parts(void **state UNUSED)
{
	static const uint8_t zero;

	for (unsigned k = 0; k < DIGEST_NCRCS; k++) {
		uint64_t crc = digest_crc(k, 0, &zero, 1);
		uint64_t len = 1, by_five = 0, n = 0;

		for (; len < UINT64_C(1) << 36; len *= 2)
			crc = digest_crc_combine(k, crc, crc, len);
		for (uint64_t part = crc; n < 5; n++)
			by_five = digest_crc_combine(k, by_five, part, len);
		crc = digest_crc_combine(
			k, digest_crc_combine(k, crc, crc, len),
			digest_crc_combine(k, crc, digest_crc_combine(k, crc, crc, len), 2 * len),
			3 * len);
		assert_true(crc == by_five);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_digests),
		cmocka_unit_test(test_published_hmacs),
		cmocka_unit_test(test_running_sha256_begins_anew),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_what_is_no_base64),
		cmocka_unit_test(test_published_crcs),
		cmocka_unit_test(test_every_length_and_alignment),
		cmocka_unit_test(test_parts_and_combinations),
		cmocka_unit_test(test_combining_long_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
