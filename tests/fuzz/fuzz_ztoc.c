/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SOCI's tables of any bytes: nothing is read that is not there (the copy has no byte too many), and what a table becomes is
 * an index that passes its own check. The size of the layer is taken from where most tables have it, or none would fit.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "image/flatbuf.h"
#include "image/ztoc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct layer_limits limits = { .entries = 4096, .bytes = 1 << 20, .data = 1 << 30 };

static uint64_t size_in(const uint8_t *p, size_t len)
{
	struct flatbuf b = { .p = p, .len = len, .budget = len };
	struct flatbuf_table root = flatbuf_root(&b);

	return (uint64_t)flatbuf_i64(&b, &root, 2);
}

static void check_index(struct layer_build *b, const struct ztoc_facts *facts, uint64_t blob_size)
{
	struct layer_id id = { .blob_size = blob_size, .data_size = facts->data_size };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x;
	void *p;
	size_t n;
	int r = layer_build_end(b, &id, &p, &n, &err);

	assert(r == 0 || r == -EBADMSG || r == -E2BIG);
	if (r < 0)
		return;
	r = layer_index_check(&x, p, n, &err);
	if (r < 0)
		fprintf(stderr, "%s\n", err.msg);
	assert(r == 0);
	assert(x.n_spans == facts->spans);
	free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ztoc_options o = { .blob_size = size_in(data, len) };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct ztoc_facts facts;
	struct layer_build *b;
	uint8_t *copy = malloc(len ? len : 1);
	int r = layer_build_new(&b, LAYER_LAYOUT_TAR, &limits);

	assert(copy && r == 0);
	if (len)
		memcpy(copy, data, len);
	r = ztoc_read(b, &o, copy, len, &facts, &err);
	assert(r == 0 || r == -EBADMSG || r == -E2BIG || r == -ENOTSUP);
	assert(r == err.code);
	if (r == 0)
		check_index(b, &facts, o.blob_size);
	layer_build_free(b);
	free(copy);
	return 0;
}
