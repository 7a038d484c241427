/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs of the journal of any bytes: whatever is taken for committed is read back the same from the log cut off there; what it
 * amounts to is in order, within the size, and what a plain walk over the records gives. An odd last byte repairs checksums,
 * or nothing would get past them.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/little.h"
#include "base/macros.h"
#include "store/journal_private.h"

#define MODEL 65536u /* so many bytes of the file are compared */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The record at @at as whoever can compute checksums would have it; where the next one is. */
static size_t repair_record(uint8_t *p, size_t len, size_t at)
{
	uint8_t place[8] = { 0 };
	uint32_t payload;

	put32(place, (uint32_t)at);
	put32(p + at, JOURNAL_MAGIC);
	memcpy(p + at + 8, p + 16, 8);
	payload = get32(p + at + 28);
	if (payload <= len - at - JOURNAL_HEAD_LEN)
		put32(p + at + 32, journal_crc(p + at + JOURNAL_HEAD_LEN, payload));
	put32(p + at + 4,
	      (uint32_t)digest_crc(DIGEST_CRC32C, journal_crc(place, sizeof place), p + at + 8,
				   JOURNAL_HEAD_LEN - 8));
	return payload > len ? len : at + JOURNAL_HEAD_LEN + payload;
}

static void repair(uint8_t *p, size_t len)
{
	size_t at = JOURNAL_HEADER_LEN;

	if (len < JOURNAL_HEADER_LEN)
		return;
	put32(p + 56, journal_crc(p, 56));
	while (at <= len && len - at >= JOURNAL_HEAD_LEN)
		at = repair_record(p, len, at);
}

/* -- bytes in memory -------------------------------------------------------------------------- */

struct memory {
	struct journal_bytes bytes;
	const uint8_t *p;
};

static ssize_t memory_read(struct journal_bytes *b, uint64_t off, void *buf, size_t n)
{
	struct memory *m = container_of(b, struct memory, bytes);

	assert(off <= b->size);
	n = MIN(n, b->size - off);
	/* In pieces, as a file may be. */
	n = MIN(n, 5000);
	memcpy(buf, m->p + off, n);
	return (ssize_t)n;
}

/* -- what it amounts to ----------------------------------------------------------------------- */

/* What the log has of the first bytes: 0 nothing, 1 zeros, 256 + the byte. */
struct picture {
	struct journal_sink sink;
	uint64_t end;
	uint64_t size;
	const uint8_t *p; /* of the log */
	uint16_t v[MODEL];
};

static void paint(struct picture *c, uint64_t off, uint64_t len, const uint8_t *buf, uint16_t what)
{
	for (uint64_t i = 0; i < len && off + i < MODEL; i++)
		c->v[off + i] = buf ? (uint16_t)(256 + buf[i]) : what;
}

static void sink_range(struct picture *c, uint64_t off, uint64_t len)
{
	assert(len > 0 && off >= c->end && off <= c->size && len <= c->size - off);
	c->end = off + len;
}

static int sink_pages(struct journal_sink *s, uint64_t off, const void *buf, uint64_t len)
{
	struct picture *c = container_of(s, struct picture, sink);

	assert(len <= MIB(1));
	sink_range(c, off, len);
	paint(c, off, len, buf, 0);
	return 0;
}

static int sink_zeros(struct journal_sink *s, uint64_t off, uint64_t len)
{
	struct picture *c = container_of(s, struct picture, sink);

	sink_range(c, off, len);
	paint(c, off, len, NULL, 1);
	return 0;
}

/* The plain way. */
static int visit(void *arg, uint64_t place, const struct journal_head *h)
{
	struct picture *c = arg;
	const uint8_t *payload = c->p + place + JOURNAL_HEAD_LEN;

	if (h->kind == JOURNAL_PAGES)
		paint(c, h->off, h->len, payload, 0);
	else if (h->kind == JOURNAL_ZEROS)
		paint(c, h->off, h->len, NULL, 1);
	else if (h->kind == JOURNAL_FORGET)
		paint(c, h->off, h->len, NULL, 0);
	else if (h->kind == JOURNAL_COMMIT)
		paint(c, get32(payload) | (uint64_t)get32(payload + 4) << 32, MODEL, NULL, 0);
	return 0;
}

static void check_same(const struct journal_facts *a, const struct journal_facts *b)
{
	uint8_t x[JOURNAL_STATE_LEN], y[JOURNAL_STATE_LEN];

	assert(strcmp(a->key, b->key) == 0 && strcmp(a->attempt, b->attempt) == 0);
	assert(a->base.exists == b->base.exists && a->base.size == b->base.size);
	assert(strcmp(a->base.validator, b->base.validator) == 0);
	journal_state_encode(&a->state, x);
	journal_state_encode(&b->state, y);
	assert(memcmp(x, y, sizeof x) == 0);
	assert(a->has_xattrs == b->has_xattrs && a->xattrs_len == b->xattrs_len);
	assert(memcmp(a->xattrs, b->xattrs, a->xattrs_len) == 0);
}

static void check_contents(struct memory *m, const struct journal_replay *r)
{
	struct picture *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
	struct journal_replay *again = malloc(sizeof *again);
	struct journal_index ix;

	assert(a && b && again);
	m->bytes.size = r->end;
	b->p = m->p;
	assert(journal_walk(&m->bytes, JOURNAL_ALL, again, visit, b) == 0);
	assert(again->end == r->end && again->group <= r->group);
	check_same(&again->facts, &r->facts);
	a->sink = (struct journal_sink){ sink_pages, sink_zeros };
	a->size = r->facts.state.size;
	journal_index_init(&ix);
	assert(journal_index_load(&ix, &m->bytes) == 0);
	assert(journal_index_read(&ix, &m->bytes, r->salt, &a->sink) == 0);
	assert(memcmp(a->v, b->v, sizeof a->v) == 0);
	journal_index_release(&ix);
	free(a);
	free(b);
	free(again);
}

static void check_facts(const struct journal_facts *f)
{
	uint8_t base[JOURNAL_BASE_HEAD + JOURNAL_VALIDATOR_MAX];

	assert(f->key[0] && strlen(f->key) < sizeof f->key && f->has_base);
	assert(strlen(f->attempt) < sizeof f->attempt);
	assert(!f->state.xattrs && (f->has_xattrs || !f->xattrs_len));
	assert(vmofs_xattrs_check(f->xattrs, f->xattrs_len) == 0);
	assert(journal_base_encode(&f->base, base) ==
	       JOURNAL_BASE_HEAD + strlen(f->base.validator));
}

static void check(const uint8_t *p, size_t len)
{
	struct memory m = { .bytes = { memory_read, len }, .p = p };
	struct journal_replay *r = malloc(sizeof *r);
	int e, damaged;

	assert(r);
	e = journal_walk(&m.bytes, JOURNAL_ALL, r, NULL, NULL);
	assert(e == 0 || e == -EBADMSG || e == -EPROTO);
	assert(r->end <= len && (e == 0 || r->end == 0));
	damaged = journal_find_damage(&m.bytes, r->salt, r->end);
	assert(damaged == 0 || damaged == 1);
	if (r->end) {
		check_facts(&r->facts);
		check_contents(&m, r);
	}
	free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *p = malloc(len + 1);

	assert(p);
	if (len)
		memcpy(p, data, len);
	if (len && data[len - 1] & 1)
		repair(p, len);
	check(p, len);
	free(p);
	return 0;
}
