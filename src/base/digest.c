/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests over OpenSSL's EVP, and the texts they are written as. The algorithms are fetched once: the
 * implicit lookup costs more than hashing a short text. The CRCs are in digest_crc.c. Any thread.
 */
#include "base/digest.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/macros.h"

#define SHA256_BLOCK 64

static struct {
	EVP_MD *sha256;
	EVP_MD *sha1;
	EVP_MD *md5;
} algorithms;

static void algorithms_fetch(void)
{
	algorithms.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	algorithms.sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
	algorithms.md5 = EVP_MD_fetch(NULL, "MD5", NULL);
}

static void algorithms_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, algorithms_fetch);
}

/* One of a text; -EIO: without memory, or the algorithm is not allowed here (FIPS and MD5). */
static int digest_once(const EVP_MD *md, const void *p, size_t n, uint8_t *out)
{
	return md && EVP_Digest(p, n, out, NULL, md, NULL) == 1 ? 0 : -EIO;
}

int digest_sha256(const void *p, size_t n, uint8_t out[SHA256_LEN])
{
	algorithms_init();
	return digest_once(algorithms.sha256, p, n, out);
}

int digest_sha1(const void *p, size_t n, uint8_t out[20])
{
	algorithms_init();
	return digest_once(algorithms.sha1, p, n, out);
}

int digest_md5(const void *p, size_t n, uint8_t out[16])
{
	algorithms_init();
	return digest_once(algorithms.md5, p, n, out);
}

/* -- a running SHA-256 ------------------------------------------------------------------------ */

struct sha256 {
	EVP_MD_CTX *ctx; /* owned */
	bool failed;
};

static void sha256_begin(struct sha256 *s)
{
	s->failed = EVP_DigestInit_ex2(s->ctx, algorithms.sha256, NULL) != 1;
}

struct sha256 *sha256_new(void)
{
	struct sha256 *s = calloc(1, sizeof *s);

	algorithms_init();
	if (!s)
		return NULL;
	s->ctx = EVP_MD_CTX_new();
	if (s->ctx && algorithms.sha256)
		sha256_begin(s);
	else
		s->failed = true;
	if (!s->failed)
		return s;
	sha256_free(s);
	return NULL;
}

void sha256_add(struct sha256 *s, const void *p, size_t n)
{
	if (!s->failed && EVP_DigestUpdate(s->ctx, p, n) != 1)
		s->failed = true;
}

/* A digest that could not be made is zeros, which no text has. */
void sha256_end(struct sha256 *s, uint8_t out[SHA256_LEN])
{
	if (s->failed || EVP_DigestFinal_ex(s->ctx, out, NULL) != 1)
		memset(out, 0, SHA256_LEN);
	sha256_begin(s);
}

void sha256_free(struct sha256 *s)
{
	if (s)
		EVP_MD_CTX_free(s->ctx);
	free(s);
}

/* -- HMAC ------------------------------------------------------------------------------------- */

/* RFC 2104: one of the two hashes, H(key with @pad, text). */
static int hmac_half(EVP_MD_CTX *ctx, const uint8_t key[SHA256_BLOCK], uint8_t pad, const void *p,
		     size_t n, uint8_t out[SHA256_LEN])
{
	uint8_t block[SHA256_BLOCK];
	bool ok;

	for (size_t i = 0; i < sizeof block; i++)
		block[i] = key[i] ^ pad;
	ok = EVP_DigestInit_ex2(ctx, algorithms.sha256, NULL) == 1 &&
		EVP_DigestUpdate(ctx, block, sizeof block) == 1 &&
		EVP_DigestUpdate(ctx, p, n) == 1 && EVP_DigestFinal_ex(ctx, out, NULL) == 1;
	explicit_bzero(block, sizeof block);
	return ok ? 0 : -EIO;
}

int digest_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n,
		       uint8_t out[SHA256_LEN])
{
	uint8_t block[SHA256_BLOCK] = { 0 };
	uint8_t inner[SHA256_LEN];
	EVP_MD_CTX *ctx;
	int r = 0;

	algorithms_init();
	ctx = EVP_MD_CTX_new();
	if (!ctx || !algorithms.sha256)
		r = -EIO;
	else if (key_len > sizeof block)
		r = digest_sha256(key, key_len, block);
	else if (key_len > 0)
		memcpy(block, key, key_len);
	if (r == 0)
		r = hmac_half(ctx, block, 0x36, p, n, inner);
	if (r == 0)
		r = hmac_half(ctx, block, 0x5c, inner, sizeof inner, out);
	EVP_MD_CTX_free(ctx); /* clears what it held */
	explicit_bzero(block, sizeof block);
	explicit_bzero(inner, sizeof inner);
	return r;
}

/* -- texts ------------------------------------------------------------------------------------ */

void digest_hex(const uint8_t *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = '\0';
}

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void digest_base64(const uint8_t *p, size_t n, char *out)
{
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16;

		if (i + 1 < n)
			v |= (uint32_t)p[i + 1] << 8;
		if (i + 2 < n)
			v |= p[i + 2];
		*out++ = base64_digits[v >> 18];
		*out++ = base64_digits[v >> 12 & 63];
		*out++ = i + 1 < n ? base64_digits[v >> 6 & 63] : '=';
		*out++ = i + 2 < n ? base64_digits[v & 63] : '=';
	}
	*out = '\0';
}

static int base64_value(char c)
{
	const char *at = c ? strchr(base64_digits, c) : NULL;

	return at ? (int)(at - base64_digits) : -1;
}

/* The value of four characters of which the last @pad are '='; -1: they are none. */
static int64_t base64_group(const char *t, unsigned pad)
{
	int64_t v = 0;

	for (unsigned i = 0; i < 4; i++) {
		int d = i < 4 - pad ? base64_value(t[i]) : 0;

		if (d < 0)
			return -1;
		v = v << 6 | d;
	}
	return v;
}

int digest_unbase64(const char *text, size_t n, uint8_t *out, size_t cap)
{
	size_t len = 0;

	if (n % 4)
		return -EINVAL;
	for (size_t i = 0; i < n; i += 4) {
		bool last = i + 4 == n;
		unsigned pad = last ? (text[i + 3] == '=') + (text[i + 2] == '=') : 0;
		int64_t v;

		if (pad == 1 && text[i + 3] != '=')
			return -EINVAL;
		v = base64_group(text + i, pad);
		/* What the padding leaves over is zero, so that each value has one text. */
		if (v < 0 || (v & ((1 << 8 * pad) - 1)))
			return -EINVAL;
		for (unsigned k = 0; k < 3 - pad; k++) {
			if (len == cap)
				return -EINVAL;
			out[len++] = (uint8_t)(v >> (16 - 8 * k));
		}
	}
	return (int)len;
}
