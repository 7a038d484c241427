/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a tar: whole and in pieces they say the same, and what is said is within bounds. An odd last byte mends the sums
 * of all blocks, or no changed header would be read.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"
#include "image/tar_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* All that is said, as one number. */
struct heard {
	uint64_t crc;
	uint64_t entries;
	uint64_t end; /* of the last one's bytes */
};

static void hear(struct heard *h, const void *p, size_t n)
{
	h->crc = digest_crc(DIGEST_CRC64NVME, h->crc, p, n);
}

static int on_entry(void *arg, const struct layer_entry *e, struct vmofs_err *err UNUSED)
{
	struct heard *h = arg;
	uint64_t numbers[] = { e->mode,       e->uid,     e->gid,   (uint64_t)e->mtime,
			       e->mtime_nsec, e->major,   e->minor, e->size,
			       e->data,       e->n_xattrs };

	assert(e->mtime_nsec < NSEC_PER_SEC && e->n_xattrs <= TAR_XATTRS_MAX);
	assert(e->data >= h->end && e->data % TAR_BLOCK == 0 && e->size <= INT64_MAX - e->data);
	assert(S_ISREG(e->mode) || e->size == 0);
	h->entries++;
	h->end = e->data + e->size;
	hear(h, numbers, sizeof numbers);
	hear(h, e->name, e->name_len);
	if (e->target)
		hear(h, e->target, e->target_len);
	for (unsigned i = 0; i < e->n_xattrs; i++) {
		assert(e->xattrs[i].name_len > 0 && e->xattrs[i].name[e->xattrs[i].name_len] == 0);
		hear(h, e->xattrs[i].name, e->xattrs[i].name_len);
		hear(h, e->xattrs[i].value, e->xattrs[i].len);
	}
	return 0;
}

static int read_pieces(struct heard *h, const uint8_t *p, size_t len, size_t piece)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct tar_stream *t = tar_stream_new(on_entry, h);
	int r = 0;

	assert(t);
	for (size_t at = 0, n; at < len && r == 0; at += n) {
		n = MIN(piece, len - at);
		r = tar_stream_feed(t, p + at, n, &err);
	}
	if (r == 0)
		r = tar_stream_end(t, &err);
	assert(r == 0 || (r == -EBADMSG && err.code == r && err.msg[0]));
	tar_stream_free(t);
	return r;
}

static void mend_sum(uint8_t *h)
{
	unsigned s = 0;

	memset(h + 148, ' ', 8);
	for (unsigned i = 0; i < TAR_BLOCK; i++)
		s += h[i];
	if (s != 8 * ' ')
		snprintf((char *)h + 148, 8, "%06o", s);
	else
		memset(h + 148, 0, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct heard whole = { 0 }, parts = { 0 };
	size_t piece = len ? 1 + data[len - 1] / 2 : 1;
	uint8_t *p = malloc(len + 1);
	int r;

	assert(p);
	if (len)
		memcpy(p, data, len);
	for (size_t at = 0; len && data[len - 1] & 1 && at + TAR_BLOCK <= len; at += TAR_BLOCK)
		mend_sum(p + at);
	r = read_pieces(&whole, p, len, len + 1);
	assert(read_pieces(&parts, p, len, piece) == r);
	assert(whole.crc == parts.crc && whole.entries == parts.entries);
	free(p);
	return 0;
}
