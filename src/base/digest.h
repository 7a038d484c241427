/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests: SHA-256 and HMAC over OpenSSL, and the CRCs that object stores use, which can be computed in
 * parts and combined. Any thread. 0 or -EIO where OpenSSL fails (no memory).
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN 32

int digest_sha256(const void *p, size_t n, uint8_t out[SHA256_LEN]);
int digest_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n,
		       uint8_t out[SHA256_LEN]);
int digest_md5(const void *p, size_t n, uint8_t out[16]);
int digest_sha1(const void *p, size_t n, uint8_t out[20]); /* for names, not for secrets */
/* Lower case; @out has room for 2 * n + 1. */
void digest_hex(const uint8_t *p, size_t n, char *out);
/* Standard base64 with padding; @out has room for 4 * ((n + 2) / 3) + 1. */
void digest_base64(const uint8_t *p, size_t n, char *out);
/* Returns the length, or -EINVAL; at most @cap bytes. */
int digest_unbase64(const char *text, size_t n, uint8_t *out, size_t cap);

struct sha256;                   /* a running one */
struct sha256 *sha256_new(void); /* NULL: no memory */
void sha256_add(struct sha256 *s, const void *p, size_t n);
void sha256_end(struct sha256 *s, uint8_t out[SHA256_LEN]); /* it can begin anew */
void sha256_free(struct sha256 *s);

enum digest_crc { DIGEST_CRC32, DIGEST_CRC32C, DIGEST_CRC64NVME, DIGEST_NCRCS };
/* Of @crc (0 to begin) and the bytes that follow. With the machine's instructions where it has them. */
uint64_t digest_crc(enum digest_crc kind, uint64_t crc, const void *p, size_t n);
/* Of a followed by b, @len_b bytes long. */
uint64_t digest_crc_combine(enum digest_crc kind, uint64_t a, uint64_t b, uint64_t len_b);

#endif
