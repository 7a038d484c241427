/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log read from its beginning, record by record, through a window of bounded size; and the search for what tells damage from
 * a crash. It reads bytes from wherever the caller has them. Any thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "store/journal_format.h"

#define WINDOW (1u << 20)
#define GLANCE 4096u /* where most of what follows is stepped over */
_Static_assert(WINDOW >= JOURNAL_HEAD_LEN + JOURNAL_PAYLOAD_MAX, "a record fits");

struct window {
	struct journal_bytes *src; /* borrowed */
	uint8_t *buf;              /* WINDOW bytes */
	uint64_t off;              /* where buf[0] stands */
	size_t n;
	size_t step; /* so much is read at least, where there is as much */
};

static int window_init(struct window *w, struct journal_bytes *src, size_t step)
{
	*w = (struct window){ .src = src, .buf = malloc(WINDOW), .step = step };
	return w->buf ? 0 : -ENOMEM;
}

static void window_release(struct window *w)
{
	free(w->buf);
}

/* Reads until the window has @n bytes from @off, or all there are. */
static int window_fill(struct window *w, uint64_t off, size_t n)
{
	size_t want = MIN(MAX(n, w->step), w->src->size - off);

	if (off >= w->off && off - w->off < w->n) {
		w->n -= off - w->off;
		memmove(w->buf, w->buf + (off - w->off), w->n);
	} else {
		w->n = 0;
	}
	w->off = off;
	while (w->n < want) {
		ssize_t got = w->src->read(w->src, off + w->n, w->buf + w->n, want - w->n);

		if (got < 0)
			return (int)got;
		if (got == 0)
			break;
		w->n += (size_t)got;
	}
	return 0;
}

/* The bytes at @off; NULL in @out: there are not as many. */
static int window_get(struct window *w, uint64_t off, size_t n, const uint8_t **out)
{
	int e = 0;

	*out = NULL;
	if (off > w->src->size || n > w->src->size - off)
		return 0;
	if (off < w->off || off + n > w->off + w->n)
		e = window_fill(w, off, n);
	if (e == 0 && off + n <= w->off + w->n)
		*out = w->buf + (off - w->off);
	return e;
}

/* 1: @h is the record at @off, and *@payload what it has (NULL: stepped over); 0: none stands there. */
static int record_get(struct window *w, uint64_t off, enum journal_depth depth,
		      struct journal_head *h, const uint8_t **payload)
{
	const uint8_t *p;
	int e = window_get(w, off, JOURNAL_HEAD_LEN, &p);

	if (e < 0 || !p || journal_head_decode(h, off, p, JOURNAL_HEAD_LEN) < 0)
		return e;
	*payload = NULL;
	if (depth == JOURNAL_HEADS && h->kind == JOURNAL_PAGES)
		return w->src->size - off - JOURNAL_HEAD_LEN >= h->payload_len;
	e = window_get(w, off + JOURNAL_HEAD_LEN, h->payload_len, &p);
	if (e < 0 || !p || journal_crc(p, h->payload_len) != h->payload_crc)
		return e;
	*payload = p;
	return 1;
}

static int walk_records(struct window *w, enum journal_depth depth, struct journal_replay *r,
			journal_visit *visit, void *arg)
{
	uint64_t at = JOURNAL_HEADER_LEN;
	struct journal_head h;
	const uint8_t *payload = NULL;
	int e;

	while ((e = record_get(w, at, depth, &h, &payload)) > 0) {
		if (journal_replay_add(r, at, &h, payload) < 0)
			return 0;
		e = visit ? visit(arg, at, &h) : 0;
		if (e != 0)
			return e;
		at += JOURNAL_HEAD_LEN + h.payload_len;
	}
	return e;
}

int journal_walk(struct journal_bytes *b, enum journal_depth depth, struct journal_replay *r,
		 journal_visit *visit, void *arg)
{
	const uint8_t *p;
	struct window w;
	int e = window_init(&w, b, depth == JOURNAL_ALL ? WINDOW : GLANCE);

	memset(r, 0, sizeof *r);
	if (e == 0)
		e = window_get(&w, 0, JOURNAL_HEADER_LEN, &p);
	if (e == 0)
		e = p ? journal_header_decode(p, JOURNAL_HEADER_LEN, &r->salt, &r->doubt)
		      : -EBADMSG;
	if (e == 0)
		e = walk_records(&w, depth, r, visit, arg);
	window_release(&w);
	return e;
}

/* Whether a commit stands at @off that knew of more than @end durable bytes. */
static bool tells_damage(const uint8_t *p, uint64_t off, uint64_t salt, uint64_t end)
{
	struct journal_head h;

	return journal_head_decode(&h, off, p, JOURNAL_HEAD_LEN) == 0 && h.kind == JOURNAL_COMMIT &&
		(!salt || h.salt == salt) && h.off > end && h.off <= off;
}

int journal_find_damage(struct journal_bytes *b, uint64_t salt, uint64_t end)
{
	static const uint8_t first = (uint8_t)JOURNAL_MAGIC;
	uint64_t at = end;
	const uint8_t *p, *hit;
	struct window w;
	int e = window_init(&w, b, WINDOW);

	while (e == 0) {
		e = window_get(&w, at, JOURNAL_HEAD_LEN, &p);
		if (e < 0 || !p)
			break;
		hit = memchr(p, first, w.n - (size_t)(at - w.off) - JOURNAL_HEAD_LEN + 1);
		if (!hit) {
			at = w.off + w.n - JOURNAL_HEAD_LEN + 1;
			continue;
		}
		at += (uint64_t)(hit - p);
		e = tells_damage(hit, at, salt, end);
		at++;
	}
	window_release(&w);
	return e;
}
