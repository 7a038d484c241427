/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends of blobs, and annotations, of any bytes: whatever place comes out lies in the blob, and so do the frames of a seek
 * table. The first byte says how much longer the blob is.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "image/toc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_place(const struct toc_place *p, uint64_t size)
{
	assert(p->kind < TOC_NKINDS);
	if (p->kind == TOC_NONE || (p->kind == TOC_ESTARGZ && !p->len))
		return;
	assert(p->off <= size && p->len <= size - p->off);
	assert(p->split_off <= size || !p->split_len);
	assert(!p->split_len || p->split_len <= size - p->split_off);
	assert(p->data_end <= size && (p->data_end <= p->off || p->kind == TOC_EXTERNAL));
}

static void check_frames(const struct toc_place *p, const uint8_t *tail, size_t len, uint64_t size)
{
	struct toc_frame f = { 0 };
	uint64_t end = 0;
	uint32_t at = 0;

	/* The table is there only as far as the end was read. */
	if (p->kind != TOC_ZSTD_SEEKABLE || size - p->off > len)
		return;
	while (toc_next_frame(p, tail + len - (size - p->off), &at, &f) == 1) {
		assert(f.blob == end);
		end += f.blob_len;
		assert(end <= p->data_end);
	}
}

static void check_footer(const uint8_t *p, size_t n, uint64_t size)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct toc_place place;
	int r = toc_footer(&place, p, n, size, &err);

	assert(r == 0 || r == -EBADMSG);
	assert(r == err.code);
	if (r == 0) {
		check_place(&place, size);
		check_frames(&place, p, n, size);
	}
}

/* The same bytes as values of all annotations that can be told apart by them. */
static void check_hints(const uint8_t *p, size_t n, uint64_t size)
{
	static const char *const keys[] = {
		"containerd.io/snapshot/stargz/toc.digest",
		"io.github.containers.zstd-chunked.manifest-position",
		"io.containers.zstd-chunked.manifest-position",
		"io.github.containers.zstd-chunked.tarsplit-position",
		"io.containers.estargz.uncompressed-size",
	};
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct toc_hints h = { 0 };
	struct toc_place place;
	char *text = calloc(1, n + 1), *at = text;
	int64_t sec;
	uint32_t nsec;

	assert(text);
	if (n)
		memcpy(text, p, n);
	for (size_t i = 0; i < ARRAY_LEN(keys) && at <= text + n; i++) {
		(void)toc_hint(&h, keys[i], at, &err);
		if (toc_parse_time(at, strlen(at), &sec, &nsec))
			assert(nsec < 1000000000);
		at += strlen(at) + 1;
	}
	err.code = 0;
	if (toc_hints_place(&h, size, &place, &err) == 0)
		check_place(&place, size);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t more;

	if (len == 0)
		return 0;
	more = data[0] == 255 ? UINT64_MAX - len : (uint64_t)data[0] << (data[0] >> 3);
	check_footer(data + 1, len - 1, more + len - 1);
	check_hints(data + 1, len - 1, more + len - 1);
	return 0;
}
