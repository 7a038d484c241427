/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding and decoding of names. Nothing that is read is believed before its checksum agrees, and then every length and
 * offset is checked all the same. Knows nothing of files. Any thread.
 */
#include "cow/cow_format.h"

#include <errno.h>
#include <string.h>

#include "base/digest.h"
#include "base/little.h"
#include "base/macros.h"

#define MAGIC   "vmofscow"
#define VERSION 1u

enum { F_VERSION = 8, F_SALT = 16, F_CRC = 28 };
enum { H_MAGIC = 0, H_CRC = 4, H_SALT = 8, H_NUMBER = 16, H_DURABLE = 24, H_LEN = 32, H_NIL = 36 };
enum { P_KIND = 0, P_FLAGS = 4, P_HAS = 8, P_MODE = 12, P_UID = 16, P_GID = 20, P_SEC = 24 };
enum { P_NSEC = 32, P_ATTEMPT = 36, P_NUMBER = 40, P_DATA = 48, P_SIZE = 56, P_KEPT = 64 };
enum { P_OSIZE = 72, P_OSEC = 80, P_ONSEC = 88, P_KEY = 92, P_TEXT = 96, P_VALIDATOR = 100 };
enum { P_EXTENTS = 104 };
enum { FLAG_OVER = 1, FLAG_DELTA = 2, FLAG_ORIGIN = 4, FLAG_XATTRS = 8, FLAGS_ALL = 15 };
#define XATTRS_HEAD 4u
enum { HAS_ALL = VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID };

/* -- the header ------------------------------------------------------------------------------- */

void cow_header_encode(uint64_t salt, uint8_t out[COW_HEADER_LEN])
{
	memset(out, 0, COW_HEADER_LEN);
	memcpy(out, MAGIC, 8);
	put32(out + F_VERSION, VERSION);
	put64(out + F_SALT, salt);
	put32(out + F_CRC, (uint32_t)digest_crc(DIGEST_CRC32C, 0, out, F_CRC));
}

int cow_header_decode(const void *buf, size_t n, uint64_t *salt)
{
	const uint8_t *p = buf;

	if (n < COW_HEADER_LEN || memcmp(p, MAGIC, 8) != 0 ||
	    get32(p + F_CRC) != (uint32_t)digest_crc(DIGEST_CRC32C, 0, p, F_CRC))
		return -EBADMSG;
	if (get32(p + F_VERSION) != VERSION)
		return -EPROTO;
	*salt = get64(p + F_SALT);
	return *salt ? 0 : -EBADMSG;
}

/* -- records ---------------------------------------------------------------------------------- */

/* A record that was moved, or is another file's, has another one. */
static uint32_t rec_crc(uint64_t place, const uint8_t *p, size_t len)
{
	uint8_t at[8];

	put64(at, place);
	return (uint32_t)digest_crc(DIGEST_CRC32C, digest_crc(DIGEST_CRC32C, 0, at, sizeof at),
				    p + H_SALT, len - H_SALT);
}

static const struct cow_text *text_of(const struct cow_rec *r)
{
	return r->kind == COW_LINK ? &r->target : &r->origin_key;
}

size_t cow_rec_len(const struct cow_rec *r, uint64_t n_extents)
{
	size_t fixed = COW_FIXED_LEN + (size_t)r->key.len + text_of(r)->len +
		r->origin_validator.len + r->attempt.len +
		(r->has_xattrs ? XATTRS_HEAD + r->xattrs.len : 0);

	if (n_extents > (COW_PAYLOAD_MAX - fixed) / COW_EXTENT_LEN)
		return 0;
	return COW_HEAD_LEN + fixed + n_extents * COW_EXTENT_LEN;
}

static uint8_t *put_text(uint8_t *p, const struct cow_text *t)
{
	if (t->len)
		memcpy(p, t->p, t->len);
	return p + t->len;
}

static void put_fixed(const struct cow_rec *r, uint64_t n, uint8_t *p)
{
	memset(p, 0, COW_FIXED_LEN);
	put32(p + P_KIND, r->kind);
	put32(p + P_FLAGS,
	      (r->over ? FLAG_OVER : 0u) | (r->delta ? FLAG_DELTA : 0u) |
		      (r->has_origin ? FLAG_ORIGIN : 0u) | (r->has_xattrs ? FLAG_XATTRS : 0u));
	put32(p + P_HAS, r->attr.has & HAS_ALL);
	put32(p + P_MODE, r->attr.mode);
	put32(p + P_UID, r->attr.uid);
	put32(p + P_GID, r->attr.gid);
	put64(p + P_SEC, (uint64_t)r->attr.mtime.tv_sec);
	put32(p + P_NSEC, (uint32_t)r->attr.mtime.tv_nsec);
	put32(p + P_ATTEMPT, r->attempt.len);
	put64(p + P_NUMBER, r->number);
	put64(p + P_DATA, r->data);
	put64(p + P_SIZE, r->size);
	put64(p + P_KEPT, r->kept);
	put64(p + P_OSIZE, r->origin_size);
	put64(p + P_OSEC, (uint64_t)r->origin_mtime.tv_sec);
	put32(p + P_ONSEC, (uint32_t)r->origin_mtime.tv_nsec);
	put32(p + P_KEY, r->key.len);
	put32(p + P_TEXT, text_of(r)->len);
	put32(p + P_VALIDATOR, r->origin_validator.len);
	put64(p + P_EXTENTS, n);
}

void cow_rec_encode(const struct cow_rec *r, const struct cow_extent *e, uint64_t n,
		    const struct cow_head *h, uint64_t place, uint8_t *out)
{
	size_t len = cow_rec_len(r, n);
	uint8_t *p = out + COW_HEAD_LEN;

	put_fixed(r, n, p);
	p = put_text(p + COW_FIXED_LEN, &r->key);
	p = put_text(p, text_of(r));
	p = put_text(p, &r->origin_validator);
	p = put_text(p, &r->attempt);
	if (r->has_xattrs) {
		put32(p, r->xattrs.len);
		p = put_text(p + XATTRS_HEAD, &r->xattrs);
	}
	for (uint64_t i = 0; i < n; i++, p += COW_EXTENT_LEN) {
		put64(p, e[i].off);
		put64(p + 8, e[i].len);
		put64(p + 16, e[i].at);
	}
	put32(out + H_MAGIC, COW_MAGIC);
	put64(out + H_SALT, h->salt);
	put64(out + H_NUMBER, h->number);
	put64(out + H_DURABLE, h->durable);
	put32(out + H_LEN, (uint32_t)(len - COW_HEAD_LEN));
	put32(out + H_NIL, 0);
	put32(out + H_CRC, rec_crc(place, out, len));
}

struct cow_extent cow_extent_get(const struct cow_rec *r, uint64_t i)
{
	const uint8_t *p = r->extents + i * COW_EXTENT_LEN;

	return (struct cow_extent){ get64(p), get64(p + 8), get64(p + 16) };
}

/* The next text of *@p; a zero in one would make it another one when it is used. */
static bool take_text(const uint8_t **p, size_t *left, uint32_t len, uint32_t max,
		      struct cow_text *out)
{
	if (len > *left || len > max || memchr(*p, 0, len))
		return false;
	*out = (struct cow_text){ (const char *)*p, len };
	*p += len;
	*left -= len;
	return true;
}

static bool take_time(const uint8_t *sec, const uint8_t *nsec, struct timespec *out)
{
	out->tv_sec = (time_t)get64(sec);
	out->tv_nsec = (long)get32(nsec);
	return get32(nsec) < NSEC_PER_SEC;
}

static bool take_fixed(struct cow_rec *r, const uint8_t *p)
{
	uint32_t kind = get32(p + P_KIND), flags = get32(p + P_FLAGS);

	if (kind < COW_FILE || kind >= COW_NKINDS || flags & ~(unsigned)FLAGS_ALL)
		return false;
	r->kind = (enum cow_kind)kind;
	r->over = flags & FLAG_OVER;
	r->delta = flags & FLAG_DELTA;
	r->has_origin = flags & FLAG_ORIGIN;
	r->has_xattrs = flags & FLAG_XATTRS;
	r->attr.has = get32(p + P_HAS);
	r->attr.mode = get32(p + P_MODE);
	r->attr.uid = get32(p + P_UID);
	r->attr.gid = get32(p + P_GID);
	r->number = get64(p + P_NUMBER);
	r->data = get64(p + P_DATA);
	r->size = get64(p + P_SIZE);
	r->kept = get64(p + P_KEPT);
	r->origin_size = get64(p + P_OSIZE);
	r->n_extents = get64(p + P_EXTENTS);
	return !(r->attr.has & ~(unsigned)HAS_ALL) &&
		take_time(p + P_SEC, p + P_NSEC, &r->attr.mtime) &&
		take_time(p + P_OSEC, p + P_ONSEC, &r->origin_mtime);
}

static bool take_xattrs(const uint8_t **p, size_t *left, struct cow_text *out)
{
	uint32_t len;

	if (*left < XATTRS_HEAD)
		return false;
	len = get32(*p);
	if (len > *left - XATTRS_HEAD || vmofs_xattrs_check(*p + XATTRS_HEAD, len) < 0)
		return false;
	*out = (struct cow_text){ (const char *)*p + XATTRS_HEAD, len };
	*p += XATTRS_HEAD + len;
	*left -= XATTRS_HEAD + len;
	return true;
}

static bool take_texts(struct cow_rec *r, const uint8_t *fixed, const uint8_t *p, size_t left)
{
	struct cow_text *text = r->kind == COW_LINK ? &r->target : &r->origin_key;

	if (!take_text(&p, &left, get32(fixed + P_KEY), VMOFS_KEY_MAX - 1, &r->key) ||
	    !take_text(&p, &left, get32(fixed + P_TEXT), VMOFS_KEY_MAX - 1, text) ||
	    !take_text(&p, &left, get32(fixed + P_VALIDATOR), 511, &r->origin_validator) ||
	    !take_text(&p, &left, get32(fixed + P_ATTEMPT), VMOFS_ATTEMPT_LEN, &r->attempt))
		return false;
	if (r->has_xattrs && !take_xattrs(&p, &left, &r->xattrs))
		return false;
	r->extents = p;
	return left % COW_EXTENT_LEN == 0 && r->n_extents == left / COW_EXTENT_LEN;
}

static bool is_aligned(uint64_t v)
{
	return v % VMOFS_PAGE_SIZE == 0;
}

static bool check_extents(const struct cow_rec *r)
{
	uint64_t end = 0;

	for (uint64_t i = 0; i < r->n_extents; i++) {
		struct cow_extent e = cow_extent_get(r, i);

		if (e.off < end || !is_aligned(e.off) || !e.len || e.off > r->size ||
		    e.len > r->size - e.off || (!is_aligned(e.len) && e.off + e.len != r->size))
			return false;
		if (e.at != COW_ZEROS && (!is_aligned(e.at) || e.at > COW_OFF_MAX - e.len))
			return false;
		if (e.at != COW_ZEROS && !r->data)
			return false;
		end = e.off + e.len;
	}
	return true;
}

/* What each kind has, and has not. */
static bool check_kind(const struct cow_rec *r)
{
	bool file = r->kind == COW_FILE;

	if (!r->key.len || (r->kind == COW_LINK) != (r->target.len > 0))
		return false;
	if (!file)
		return !r->n_extents && !r->has_origin && !r->delta && !r->data && !r->size &&
			!r->kept && !r->attempt.len && !r->has_xattrs && !r->origin_key.len &&
			!r->origin_validator.len;
	if (r->size > COW_OFF_MAX || r->origin_size > COW_OFF_MAX ||
	    r->key.p[r->key.len - 1] == '/')
		return false;
	if (r->has_origin != (r->origin_key.len > 0))
		return false;
	return r->kept <= (r->has_origin ? MIN(r->origin_size, r->size) : 0) && check_extents(r);
}

int64_t cow_rec_decode(struct cow_rec *r, struct cow_head *h, uint64_t place, const void *buf,
		       size_t n)
{
	const uint8_t *p = buf;
	const uint8_t *fixed = p + COW_HEAD_LEN;
	size_t len;

	memset(r, 0, sizeof *r);
	if (n < COW_HEAD_LEN + COW_FIXED_LEN || get32(p + H_MAGIC) != COW_MAGIC ||
	    get32(p + H_NIL) != 0)
		return -EBADMSG;
	h->salt = get64(p + H_SALT);
	h->number = get64(p + H_NUMBER);
	h->durable = get64(p + H_DURABLE);
	h->payload_len = get32(p + H_LEN);
	len = COW_HEAD_LEN + (size_t)h->payload_len;
	if (h->payload_len < COW_FIXED_LEN || h->payload_len > COW_PAYLOAD_MAX || len > n ||
	    h->durable > place || get32(p + H_CRC) != rec_crc(place, p, len))
		return -EBADMSG;
	if (!take_fixed(r, fixed) ||
	    !take_texts(r, fixed, fixed + COW_FIXED_LEN, h->payload_len - COW_FIXED_LEN) ||
	    !check_kind(r))
		return -EBADMSG;
	return (int64_t)len;
}

/* -- a file of them --------------------------------------------------------------------------- */

/* Whether a record behind @end says that more than that was on disk. */
static bool is_damaged(const uint8_t *p, size_t n, uint64_t end, const struct cow_head *last)
{
	struct cow_rec r;
	struct cow_head h;

	for (uint64_t at = end + 1; n - end > COW_HEAD_LEN && at < n - COW_HEAD_LEN; at++)
		if (get32(p + at) == COW_MAGIC && cow_rec_decode(&r, &h, at, p + at, n - at) > 0 &&
		    h.salt == last->salt && h.number > last->number && h.durable > end)
			return true;
	return false;
}

int cow_walk(const void *buf, size_t n, struct cow_head *last, uint64_t *end,
	     int (*fn)(void *arg, const struct cow_rec *r), void *arg)
{
	const uint8_t *p = buf;
	struct cow_rec rec;
	struct cow_head h;
	int r;

	*last = (struct cow_head){ 0 };
	*end = 0;
	r = cow_header_decode(p, n, &last->salt);
	if (r < 0)
		return r;
	for (*end = COW_HEADER_LEN;;) {
		int64_t len = cow_rec_decode(&rec, &h, *end, p + *end, n - *end);

		if (len < 0 || h.salt != last->salt || h.number <= last->number)
			break;
		r = fn ? fn(arg, &rec) : 0;
		if (r)
			return r;
		*last = h;
		*end += (uint64_t)len;
	}
	return is_damaged(p, n, *end, last) ? -EBADMSG : 0;
}
