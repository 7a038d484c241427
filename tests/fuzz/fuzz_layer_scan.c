/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the blob of a layer; the first one says whether as they are, or compressed here (a changed gzip file is soon none any
 * more). What is accepted has an index that is accepted, which makes the data again, and is the same from pieces.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "image/decode.h"
#include "image/layer_scan.h"
#include "lib/layer_blob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define DATA_MAX MIB(1)

struct made {
	struct blob data;
	struct layer_id id;
	void *index;
	size_t len;
};

static int on_data(void *arg, uint64_t data, const void *p, size_t n)
{
	struct made *m = arg;

	assert(data == m->data.len);
	blob_add(&m->data, p, n);
	return 0;
}

static int scan(struct made *m, const struct blob *z, size_t piece)
{
	struct layer_scan_options o = {
		.limits = { .entries = 1000, .bytes = MIB(1), .data = DATA_MAX },
		.spacing = 1,
		.data = on_data,
		.arg = m
	};
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_scan *s = NULL;
	int r = layer_scan_new(&s, &o);

	assert(r == 0);
	for (size_t at = 0, n; at < z->len && r == 0; at += n) {
		n = MIN(piece, z->len - at);
		r = layer_scan_feed(s, z->p + at, n, &err);
	}
	if (r == 0)
		r = layer_scan_end(s, &m->id, &m->index, &m->len, &err);
	assert(r == 0 || r == -EBADMSG || r == -E2BIG);
	assert(r == 0 || (err.code == r && err.msg[0]));
	layer_scan_free(s);
	return r;
}

static void check_index(const struct made *m, const struct blob *z)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_decoder *d = layer_decoder_new();
	struct iovec iov = { z->p, z->len };
	struct layer_bytes bytes = { .off = 0, .iov = &iov, .n = 1 };
	uint8_t *out = malloc(m->data.len + 1);
	struct layer_index x;

	assert(d && out && m->id.data_size == m->data.len && m->id.blob_size == z->len);
	if (layer_index_check(&x, m->index, m->len, &err) < 0)
		abort();
	if (m->data.len) {
		assert(layer_decode(d, &x, 0, x.n_spans, &bytes, out) == 0);
		assert(memcmp(out, m->data.p, m->data.len) == 0);
	} else {
		assert(x.n_spans == 0);
	}
	layer_decoder_free(d);
	free(out);
}

static void check(const struct blob *z, size_t piece)
{
	struct made whole = { .index = NULL }, parts = { .index = NULL };
	int r = scan(&whole, z, z->len + 1);

	assert(scan(&parts, z, piece) == r);
	if (r == 0) {
		assert(whole.len == parts.len && memcmp(whole.index, parts.index, whole.len) == 0);
		check_index(&whole, z);
	}
	free(whole.index);
	free(parts.index);
	blob_free(&whole.data);
	blob_free(&parts.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct blob z = { 0 };

	if (len < 2)
		return 0;
	if (data[0] % 4 == 1)
		blob_add_gzip(&z, data + 2, len - 2, 1 + data[0] / 4 % 9);
	else if (data[0] % 4 == 2)
		blob_add_zstd(&z, data + 2, len - 2, 1);
	else
		blob_add(&z, data + 2, len - 2);
	check(&z, 1 + data[1]);
	blob_free(&z);
	return 0;
}
