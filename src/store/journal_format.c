/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding and decoding of logs, and the grammar of their records. Nothing that is read is believed before its checksum agrees,
 * and then its lengths are checked all the same. Knows nothing of files. Any thread.
 */
#include "store/journal_format.h"

#include <errno.h>
#include <string.h>

#include "base/digest.h"
#include "base/little.h"
#include "base/macros.h"

#define MAGIC   "vmofsjnl"
#define VERSION 1u

/* Offsets in the header, in a record's head, in a state, in a base. */
enum { F_VERSION = 8, F_SALT = 16, F_CRC = 56 };
enum { H_MAGIC = 0, H_CRC = 4, H_SALT = 8, H_GROUP = 16, H_KIND = 24, H_PAYLOAD = 28 };
enum { H_PAYLOAD_CRC = 32, H_NOTHING = 36, H_OFF = 40, H_RANGE = 48 };
enum { S_SIZE = 0, S_KEPT = 8, S_SEC = 16, S_NSEC = 24, S_HAS = 28, S_MODE = 32, S_UID = 36 };
enum { S_GID = 40, S_CONFLICT = 44 };
enum { B_EXISTS = 0, B_SIZE = 8 };
/* In S_HAS, beside the caller's bits: extended attributes follow. */
#define S_HAS_XATTRS (1u << 31)

uint32_t journal_crc(const void *p, size_t n)
{
	return (uint32_t)digest_crc(DIGEST_CRC32C, 0, p, n);
}

/* -- the header ------------------------------------------------------------------------------- */

void journal_header_encode(uint64_t salt, uint8_t out[JOURNAL_HEADER_LEN])
{
	memset(out, 0, JOURNAL_HEADER_LEN);
	memcpy(out, MAGIC, 8);
	put32(out + F_VERSION, VERSION);
	put64(out + F_SALT, salt);
	put32(out + F_CRC, journal_crc(out, F_CRC));
}

int journal_header_decode(const void *buf, size_t n, uint64_t *salt, bool *doubt)
{
	const uint8_t *p = buf;

	if (n < JOURNAL_HEADER_LEN || memcmp(p, MAGIC, 8) != 0 ||
	    get32(p + F_CRC) != journal_crc(p, F_CRC))
		return -EBADMSG;
	if (get32(p + F_VERSION) != VERSION)
		return -EPROTO;
	*salt = get64(p + F_SALT);
	*doubt = get32(p + JOURNAL_DOUBT_AT) != 0;
	return *salt ? 0 : -EBADMSG;
}

/* -- heads ------------------------------------------------------------------------------------ */

/* A record that was moved, or is another file's, has another one. */
static uint32_t head_crc(uint64_t place, const uint8_t *p)
{
	uint8_t at[8];

	put64(at, place);
	return (uint32_t)digest_crc(DIGEST_CRC32C, journal_crc(at, sizeof at), p + H_SALT,
				    JOURNAL_HEAD_LEN - H_SALT);
}

void journal_head_encode(const struct journal_head *h, uint64_t place,
			 uint8_t out[JOURNAL_HEAD_LEN])
{
	put32(out + H_MAGIC, JOURNAL_MAGIC);
	put64(out + H_SALT, h->salt);
	put64(out + H_GROUP, h->group);
	put32(out + H_KIND, h->kind);
	put32(out + H_PAYLOAD, h->payload_len);
	put32(out + H_PAYLOAD_CRC, h->payload_crc);
	put32(out + H_NOTHING, 0);
	put64(out + H_OFF, h->off);
	put64(out + H_RANGE, h->len);
	put32(out + H_CRC, head_crc(place, out));
}

int journal_head_decode(struct journal_head *h, uint64_t place, const void *buf, size_t n)
{
	const uint8_t *p = buf;
	uint32_t kind;

	memset(h, 0, sizeof *h);
	if (n < JOURNAL_HEAD_LEN || get32(p + H_MAGIC) != JOURNAL_MAGIC ||
	    get32(p + H_CRC) != head_crc(place, p))
		return -EBADMSG;
	kind = get32(p + H_KIND);
	h->salt = get64(p + H_SALT);
	h->group = get64(p + H_GROUP);
	h->payload_len = get32(p + H_PAYLOAD);
	h->payload_crc = get32(p + H_PAYLOAD_CRC);
	h->off = get64(p + H_OFF);
	h->len = get64(p + H_RANGE);
	if (kind < JOURNAL_KEY || kind >= JOURNAL_NKINDS || get32(p + H_NOTHING) != 0 ||
	    h->payload_len > JOURNAL_PAYLOAD_MAX || h->off > JOURNAL_OFF_MAX ||
	    h->len > JOURNAL_OFF_MAX - h->off)
		return -EBADMSG;
	h->kind = (enum journal_kind)kind;
	return 0;
}

/* -- payloads --------------------------------------------------------------------------------- */

/* A text with a zero in it would be another text when it is written again. */
static int text_decode(char *out, size_t cap, const uint8_t *p, size_t n)
{
	if (n >= cap || memchr(p, 0, n))
		return -EBADMSG;
	memcpy(out, p, n);
	out[n] = 0;
	return 0;
}

uint32_t journal_base_encode(const struct journal_base *b,
			     uint8_t out[JOURNAL_BASE_HEAD + JOURNAL_VALIDATOR_MAX])
{
	size_t n = strnlen(b->validator, JOURNAL_VALIDATOR_MAX - 1);

	memset(out, 0, JOURNAL_BASE_HEAD);
	put32(out + B_EXISTS, b->exists);
	put64(out + B_SIZE, b->size);
	memcpy(out + JOURNAL_BASE_HEAD, b->validator, n);
	return (uint32_t)(JOURNAL_BASE_HEAD + n);
}

static int base_decode(struct journal_base *b, const uint8_t *p, uint32_t n)
{
	if (n < JOURNAL_BASE_HEAD || get32(p + B_EXISTS) > 1 || get64(p + B_SIZE) > JOURNAL_OFF_MAX)
		return -EBADMSG;
	b->exists = get32(p + B_EXISTS);
	b->size = get64(p + B_SIZE);
	return text_decode(b->validator, sizeof b->validator, p + JOURNAL_BASE_HEAD,
			   n - JOURNAL_BASE_HEAD);
}

void journal_state_encode(const struct journal_state *st, uint8_t out[JOURNAL_STATE_LEN])
{
	put64(out + S_SIZE, st->size);
	put64(out + S_KEPT, st->kept);
	put64(out + S_SEC, (uint64_t)st->mtime.tv_sec);
	put32(out + S_NSEC, (uint32_t)st->mtime.tv_nsec);
	put32(out + S_HAS, (st->has & ~S_HAS_XATTRS) | (st->xattrs ? S_HAS_XATTRS : 0));
	put32(out + S_MODE, st->mode);
	put32(out + S_UID, st->uid);
	put32(out + S_GID, st->gid);
	put32(out + S_CONFLICT, st->conflict);
}

static int xattrs_decode(struct journal_facts *f, bool has, const uint8_t *p, uint32_t n)
{
	if ((!has && n) || vmofs_xattrs_check(p, n) < 0)
		return -EBADMSG;
	f->has_xattrs = has;
	f->xattrs_len = n;
	memcpy(f->xattrs, p, n);
	return 0;
}

static int state_decode(struct journal_state *st, const uint8_t *p, uint32_t n)
{
	if (n < JOURNAL_STATE_LEN || get64(p + S_SIZE) > JOURNAL_OFF_MAX ||
	    get64(p + S_KEPT) > JOURNAL_OFF_MAX || get32(p + S_NSEC) >= NSEC_PER_SEC ||
	    get32(p + S_CONFLICT) > 1)
		return -EBADMSG;
	st->size = get64(p + S_SIZE);
	st->kept = get64(p + S_KEPT);
	st->mtime.tv_sec = (time_t)get64(p + S_SEC);
	st->mtime.tv_nsec = (long)get32(p + S_NSEC);
	st->has = get32(p + S_HAS) & ~S_HAS_XATTRS;
	st->mode = get32(p + S_MODE);
	st->uid = get32(p + S_UID);
	st->gid = get32(p + S_GID);
	st->conflict = get32(p + S_CONFLICT);
	return 0;
}

/* -- the grammar ------------------------------------------------------------------------------ */

typedef int facts_take(struct journal_facts *f, const struct journal_head *h, const uint8_t *p);

static int take_key(struct journal_facts *f, const struct journal_head *h, const uint8_t *p)
{
	f->key_stamp = h->off;
	return h->payload_len ? text_decode(f->key, sizeof f->key, p, h->payload_len) : -EBADMSG;
}

static int take_base(struct journal_facts *f, const struct journal_head *h, const uint8_t *p)
{
	f->has_base = true;
	return base_decode(&f->base, p, h->payload_len);
}

static int take_pages(struct journal_facts *f UNUSED, const struct journal_head *h,
		      const uint8_t *p UNUSED)
{
	return h->payload_len && h->payload_len == h->len ? 0 : -EBADMSG;
}

static int take_range(struct journal_facts *f UNUSED, const struct journal_head *h,
		      const uint8_t *p UNUSED)
{
	return h->len && !h->payload_len ? 0 : -EBADMSG;
}

static int take_attempt(struct journal_facts *f, const struct journal_head *h, const uint8_t *p)
{
	return text_decode(f->attempt, sizeof f->attempt, p, h->payload_len);
}

static int take_commit(struct journal_facts *f, const struct journal_head *h, const uint8_t *p)
{
	if (h->len || !f->key[0] || !f->has_base || state_decode(&f->state, p, h->payload_len) < 0)
		return -EBADMSG;
	return xattrs_decode(f, get32(p + S_HAS) & S_HAS_XATTRS, p + JOURNAL_STATE_LEN,
			     h->payload_len - JOURNAL_STATE_LEN);
}

static facts_take *const take[JOURNAL_NKINDS] = {
	[JOURNAL_KEY] = take_key,       [JOURNAL_BASE] = take_base,
	[JOURNAL_PAGES] = take_pages,   [JOURNAL_ZEROS] = take_range,
	[JOURNAL_FORGET] = take_range,  [JOURNAL_ATTEMPT] = take_attempt,
	[JOURNAL_COMMIT] = take_commit,
};

/* A group goes on, or the next one begins. */
static bool replay_belongs(const struct journal_replay *r, const struct journal_head *h)
{
	if (h->salt != r->salt)
		return false;
	return r->open ? h->group == r->group : h->group > r->group;
}

int journal_replay_add(struct journal_replay *r, uint64_t place, const struct journal_head *h,
		       const uint8_t *payload)
{
	int e;

	if (!replay_belongs(r, h) || (h->kind == JOURNAL_COMMIT && h->off > place))
		return -EBADMSG;
	e = take[h->kind](&r->coming, h, payload);
	if (e < 0) {
		r->coming = r->facts;
		return e;
	}
	r->group = h->group;
	r->open = h->kind != JOURNAL_COMMIT;
	if (r->open)
		return 0;
	r->facts = r->coming;
	r->end = place + JOURNAL_HEAD_LEN + h->payload_len;
	return 0;
}
