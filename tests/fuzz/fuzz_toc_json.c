/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of contents of any bytes: however they are cut into pieces, the same comes out, and what a table becomes is an index that
 * passes its own check. The first byte says how long the pieces are, and which format it is; JSON is packed here, or nothing would get past a checksum,
 * and an odd second byte gives the bytes to the reader as they are.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/image/toc_pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define BLOB 100000

static const struct layer_limits limits = { .entries = 4096, .bytes = 1 << 20, .data = 1 << 30 };

struct outcome {
	int r;
	struct toc_facts facts;
	void *index;
	size_t len;
};

static struct outcome read_once(enum toc_kind kind, struct packed in, size_t piece)
{
	struct toc_options o = { .kind = kind, .data_end = BLOB };
	struct layer_id id = { .blob_size = BLOB };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct outcome out;
	struct layer_build *b;
	int r = layer_build_new(&b, LAYER_LAYOUT_PAGES, &limits);

	assert(r == 0);
	memset(&out, 0, sizeof out);
	out.r = toc_read_pieces(&o, b, in, piece, &out.facts, &err);
	assert(out.r == err.code);
	assert(out.r == 0 || out.r == -EBADMSG || out.r == -E2BIG);
	if (out.r == 0) {
		r = layer_build_end(b, &id, &out.index, &out.len, &err);
		assert(r == 0 || r == -EBADMSG);
	}
	layer_build_free(b);
	return out;
}

static void check_index(const struct outcome *o)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x;
	int r;

	if (!o->index)
		return;
	r = layer_index_check(&x, o->index, o->len, &err);
	if (r < 0)
		fprintf(stderr, "%s\n", err.msg);
	assert(r == 0);
	assert(x.n_spans == o->facts.chunks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	enum toc_kind kind;
	struct packed in;
	struct outcome a, b;

	if (len < 2)
		return 0;
	kind = data[0] & 1 ? TOC_ZSTD_CHUNKED : TOC_ESTARGZ;
	if (data[1] & 1) {
		in = (struct packed){ malloc(len), len - 2 };
		assert(in.p);
		memcpy(in.p, data + 2, len - 2);
	} else {
		in = pack_toc(kind, data + 2, len - 2);
	}
	a = read_once(kind, in, 1 + (data[0] >> 1));
	b = read_once(kind, in, in.n + 1);
	/* Of what is wrong in several ways, the first way that is seen depends on how far the decompressor could look. */
	assert((a.r == 0) == (b.r == 0) && (a.r == b.r || data[1] & 1));
	assert(a.len == b.len);
	assert(!a.index == !b.index && (!a.index || !memcmp(a.index, b.index, a.len)));
	check_index(&a);
	free(a.index);
	free(b.index);
	free(in.p);
	return 0;
}
