/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the records of a log amount to: which bytes of the file it has, and in which record. Extents that do not overlap, in a
 * tree; each record costs O(log n), and splits one extent at most. Pure, over bytes from anywhere; the thread that uses the log.
 */
#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "store/journal_private.h"

#define PIECE (1u << 20) /* of contents, for a sink */
#define SMALL (16u << 10)

static struct journal_extent *extent_of(struct itree_node *n)
{
	return n ? container_of(n, struct journal_extent, n) : NULL;
}

static struct journal_extent *extent_first(const struct journal_index *ix, uint64_t first,
					   uint64_t end)
{
	return extent_of(itree_first(&ix->tree, first, end));
}

static uint64_t extent_worth(const struct journal_extent *x)
{
	return JOURNAL_HEAD_LEN + (x->place ? x->n.end - x->n.first : 0);
}

static void extent_add(struct journal_index *ix, struct journal_extent *x, uint64_t first,
		       uint64_t end)
{
	x->n.first = first;
	x->n.end = end;
	itree_insert(&ix->tree, &x->n);
	ix->worth += extent_worth(x);
}

static void extent_take(struct journal_index *ix, struct journal_extent *x)
{
	ix->worth -= extent_worth(x);
	itree_remove(&ix->tree, &x->n);
}

void journal_index_init(struct journal_index *ix)
{
	memset(ix, 0, sizeof *ix);
	itree_init(&ix->tree);
}

void journal_index_release(struct journal_index *ix)
{
	struct journal_extent *x;

	while ((x = extent_first(ix, 0, UINT64_MAX))) {
		extent_take(ix, x);
		free(x);
	}
}

/* What is left of @x without [first, end), which it overlaps. */
static int extent_trim(struct journal_index *ix, struct journal_extent *x, uint64_t first,
		       uint64_t end)
{
	uint64_t from = x->n.first, to = x->n.end;
	bool before = from<first, after = to> end;
	struct journal_extent *rest = NULL;

	if (before && after) {
		rest = malloc(sizeof *rest);
		if (!rest)
			return -ENOMEM;
		*rest = *x;
	}
	extent_take(ix, x);
	if (before)
		extent_add(ix, x, from, first);
	else if (after)
		extent_add(ix, x, end, to);
	else
		free(x);
	if (rest)
		extent_add(ix, rest, end, to);
	return 0;
}

int journal_index_cut(struct journal_index *ix, uint64_t first, uint64_t end)
{
	struct journal_extent *x;
	int e = 0;

	while (e == 0 && first < end && (x = extent_first(ix, first, end)))
		e = extent_trim(ix, x, first, end);
	return e;
}

int journal_index_put(struct journal_index *ix, uint64_t first, uint64_t end, uint64_t place,
		      const struct journal_head *h)
{
	struct journal_extent *x;
	int e = journal_index_cut(ix, first, end);

	if (e < 0 || first >= end)
		return e;
	x = malloc(sizeof *x);
	if (!x)
		return -ENOMEM;
	*x = (struct journal_extent){ .place = place, .off = h->off, .len = h->payload_len };
	extent_add(ix, x, first, end);
	return 0;
}

/* -- from records ----------------------------------------------------------------------------- */

struct load {
	struct journal_index *ix;
	struct journal_replay r; /* ends with the record that is being visited */
};

static int load_record(void *arg, uint64_t place, const struct journal_head *h)
{
	struct load *ld = arg;

	switch (h->kind) {
	case JOURNAL_PAGES:
		return journal_index_put(ld->ix, h->off, h->off + h->len, place, h);
	case JOURNAL_ZEROS:
		return journal_index_put(ld->ix, h->off, h->off + h->len, 0, h);
	case JOURNAL_FORGET:
		return journal_index_cut(ld->ix, h->off, h->off + h->len);
	case JOURNAL_COMMIT:
		return journal_index_cut(ld->ix, ld->r.facts.state.size, UINT64_MAX);
	default:
		return 0;
	}
}

int journal_index_load(struct journal_index *ix, struct journal_bytes *b)
{
	struct load *ld = calloc(1, sizeof *ld);
	int e;

	if (!ld)
		return -ENOMEM;
	ld->ix = ix;
	e = journal_walk(b, JOURNAL_HEADS, &ld->r, load_record, ld);
	if (e == 0 && ld->r.end != b->size)
		e = -EBADMSG;
	free(ld);
	return e;
}

/* -- reading ---------------------------------------------------------------------------------- */

/* A record as it was read last. */
struct slot {
	uint64_t place; /* 0: none */
	uint8_t *buf;   /* owned */
};

struct reading {
	struct journal_bytes *b;   /* borrowed */
	struct journal_sink *sink; /* borrowed */
	uint64_t salt;
	/*
	 * A large record whose pages were mostly written again later is needed again and again, and between its remains
	 * there are small ones.
	 */
	struct slot small, large;
	uint8_t *out; /* owned; PIECE bytes: what has been gathered */
	uint64_t off; /* where that belongs, or the zeros */
	uint64_t n;
	bool zeros;
};

static int read_exactly(struct journal_bytes *b, uint64_t off, uint8_t *buf, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = b->read(b, off + done, buf + done, n - done);

		if (r <= 0)
			return r < 0 ? (int)r : -EIO;
		done += (size_t)r;
	}
	return 0;
}

/* The contents of @x's record, checked. */
static int record_read(struct reading *rd, const struct journal_extent *x, const uint8_t **out)
{
	struct slot *s = x->len <= SMALL ? &rd->small : &rd->large;
	struct journal_head h;
	int e;

	*out = s->buf + JOURNAL_HEAD_LEN;
	if (s->place == x->place)
		return 0;
	s->place = 0;
	e = read_exactly(rd->b, x->place, s->buf, JOURNAL_HEAD_LEN + x->len);
	if (e < 0)
		return e;
	if (journal_head_decode(&h, x->place, s->buf, JOURNAL_HEAD_LEN) < 0 || h.salt != rd->salt ||
	    h.payload_len != x->len || h.off != x->off ||
	    journal_crc(*out, x->len) != h.payload_crc)
		return -EIO;
	s->place = x->place;
	return 0;
}

static int hand_over(struct reading *rd)
{
	uint64_t n = rd->n;

	rd->n = 0;
	if (n == 0)
		return 0;
	return rd->zeros ? rd->sink->zeros(rd->sink, rd->off, n)
			 : rd->sink->pages(rd->sink, rd->off, rd->out, n);
}

/* What was gathered goes where @x does not follow it. */
static int make_place(struct reading *rd, const struct journal_extent *x)
{
	bool zeros = x->place == 0;
	int e = 0;

	if (rd->off + rd->n != x->n.first || rd->zeros != zeros)
		e = hand_over(rd);
	if (rd->n == 0)
		rd->off = x->n.first;
	rd->zeros = zeros;
	return e;
}

static int gather(struct reading *rd, const struct journal_extent *x)
{
	uint64_t at = x->n.first;
	const uint8_t *p;
	int e = record_read(rd, x, &p);

	while (e == 0 && at < x->n.end) {
		uint64_t n = MIN(x->n.end - at, PIECE - rd->n);

		memcpy(rd->out + rd->n, p + (at - x->off), n);
		rd->n += n;
		at += n;
		if (rd->n == PIECE) {
			e = hand_over(rd);
			rd->off = at;
		}
	}
	return e;
}

static int read_extents(struct reading *rd, const struct journal_index *ix)
{
	struct journal_extent *x = extent_first(ix, 0, UINT64_MAX);
	int e = 0;

	for (; x && e == 0; x = extent_of(itree_next(&x->n, 0, UINT64_MAX))) {
		e = make_place(rd, x);
		if (e == 0 && x->place)
			e = gather(rd, x);
		else if (e == 0)
			rd->n += x->n.end - x->n.first;
	}
	return e == 0 ? hand_over(rd) : e;
}

int journal_index_read(const struct journal_index *ix, struct journal_bytes *b, uint64_t salt,
		       struct journal_sink *sink)
{
	struct reading rd = { .b = b, .sink = sink, .salt = salt };
	int e = -ENOMEM;

	rd.small.buf = malloc(JOURNAL_HEAD_LEN + SMALL);
	rd.large.buf = malloc(JOURNAL_HEAD_LEN + JOURNAL_PAYLOAD_MAX);
	rd.out = malloc(PIECE);
	if (rd.small.buf && rd.large.buf && rd.out)
		e = read_extents(&rd, ix);
	free(rd.small.buf);
	free(rd.large.buf);
	free(rd.out);
	return e;
}
