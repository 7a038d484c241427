/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records on their way into a log: gathered, and written a mebibyte at a time, within the journal's limit. It knows nothing of
 * groups and syncs nothing. The thread that uses the log.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/macros.h"
#include "store/journal_private.h"

int journal_out_init(struct journal_out *o, struct journal *j, int fd, uint64_t at)
{
	*o = (struct journal_out){ .j = j, .fd = fd, .begin = at, .at = at };
	o->buf = malloc(j->stage);
	return o->buf ? 0 : -ENOMEM;
}

void journal_out_release(struct journal_out *o)
{
	free(o->buf);
	o->buf = NULL;
	o->n = 0;
}

uint64_t journal_out_place(const struct journal_out *o)
{
	return o->at + o->n;
}

/* All of it, however many pieces the kernel makes of it. */
static int write_all(struct journal_out *o)
{
	size_t done = 0;

	while (done < o->n) {
		struct iovec v = { o->buf + done, o->n - done };
		ssize_t r = o->j->io->pwritev(o->fd, &v, 1, (off_t)(o->at + done));

		if (r < 0 && errno != EINTR)
			return -errno;
		if (r == 0)
			return -EIO;
		done += r > 0 ? (size_t)r : 0;
	}
	return 0;
}

int journal_out_flush(struct journal_out *o)
{
	uint64_t all = atomic_fetch_add(&o->j->bytes, o->n) + o->n;
	int e = 0;

	if (o->j->limit && all - o->instead > o->j->limit)
		e = -ENOSPC;
	if (e == 0)
		e = write_all(o);
	if (e < 0) {
		atomic_fetch_sub(&o->j->bytes, o->n);
		return e;
	}
	o->at += o->n;
	o->n = 0;
	return 0;
}

int journal_out_header(struct journal_out *o)
{
	do
		if (getrandom(&o->salt, sizeof o->salt, 0) != sizeof o->salt)
			return -EIO;
	while (o->salt == 0);
	journal_header_encode(o->salt, o->buf + o->n);
	o->n += JOURNAL_HEADER_LEN;
	return 0;
}

int journal_out_record(struct journal_out *o, enum journal_kind kind, uint64_t off, uint64_t len,
		       const void *payload, size_t payload_len)
{
	struct journal_head h = {
		.salt = o->salt,
		.group = o->group,
		.kind = kind,
		.payload_len = (uint32_t)payload_len,
		.payload_crc = journal_crc(payload, payload_len),
		.off = off,
		.len = len,
	};
	int e = 0;

	/* What could not be read again would be the end of the log. */
	if (off > JOURNAL_OFF_MAX || len > JOURNAL_OFF_MAX - off)
		return -EFBIG;
	if (o->j->stage - o->n < JOURNAL_HEAD_LEN + payload_len)
		e = journal_out_flush(o);
	if (e < 0)
		return e;
	journal_head_encode(&h, journal_out_place(o), o->buf + o->n);
	if (payload_len)
		memcpy(o->buf + o->n + JOURNAL_HEAD_LEN, payload, payload_len);
	o->n += JOURNAL_HEAD_LEN + payload_len;
	return 0;
}

int journal_out_commit(struct journal_out *o, uint64_t durable, const struct journal_state *st)
{
	uint8_t p[JOURNAL_STATE_LEN + VMOFS_XATTRS_MAX];
	size_t n = JOURNAL_STATE_LEN;

	journal_state_encode(st, p);
	if (st->xattrs) {
		memcpy(p + n, st->xattrs->bytes, st->xattrs->len);
		n += st->xattrs->len;
	}
	return journal_out_record(o, JOURNAL_COMMIT, durable, 0, p, n);
}

int journal_out_pages(struct journal_out *o, uint64_t off, const void *buf, uint64_t len)
{
	const uint8_t *p = buf;
	int e = 0;

	while (len && e == 0) {
		uint64_t n = MIN(len, o->j->piece);

		e = journal_out_record(o, JOURNAL_PAGES, off, n, p, n);
		off += n;
		p += n;
		len -= n;
	}
	return e;
}
