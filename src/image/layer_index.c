/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking things up in an index that layer_check.c has accepted. Nothing here checks an offset again, but for windows: what is
 * inside a zstd frame is seen when it is unpacked.
 */
#include "image/layer_index.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/digest.h"
#include "base/macros.h"
#include "image/layer_format.h"

uint32_t layer_crc(const void *p, size_t len)
{
	const uint8_t *b = p;
	uint64_t crc = digest_crc(DIGEST_CRC32C, 0, b, offsetof(struct layer_header, crc));

	return (uint32_t)digest_crc(DIGEST_CRC32C, crc, b + LAYER_HEADER_LEN,
				    len - LAYER_HEADER_LEN);
}

int layer_name_cmp(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int r = memcmp(a, b, MIN(a_len, b_len));

	return r ? r : (a_len > b_len) - (a_len < b_len);
}

int layer_index_map(struct layer_index *x, int fd, struct vmofs_err *err)
{
	struct stat st;
	void *p;
	int r;

	if (fstat(fd, &st) < 0)
		return vmofs_err_set(err, -errno, "cannot look at a layer's index");
	if (st.st_size < (off_t)LAYER_HEADER_LEN || (uint64_t)st.st_size > SIZE_MAX)
		return vmofs_err_set(err, -EBADMSG, "not an index of a layer: %lld bytes",
				     (long long)st.st_size);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return vmofs_err_set(err, -errno, "cannot map a layer's index");
	r = layer_index_check(x, p, (size_t)st.st_size, err);
	/* The check has seen all of it, most of which nobody may ever ask for: the file has it, this process need not. */
	madvise(p, (size_t)st.st_size, MADV_DONTNEED);
	if (r < 0) {
		munmap(p, (size_t)st.st_size);
		*x = (struct layer_index){ 0 };
	}
	return r;
}

void layer_index_unmap(struct layer_index *x)
{
	if (x->p)
		munmap((void *)(uintptr_t)x->p, x->len);
	*x = (struct layer_index){ 0 };
}

const struct layer_dirent *layer_lookup(const struct layer_index *x, uint64_t dir, const char *name,
					size_t len)
{
	const struct layer_inode *i = layer_inode(x, dir);
	uint32_t from, to;

	if (!i || !S_ISDIR(i->mode))
		return NULL;
	for (from = i->first, to = i->first + i->n; from < to;) {
		uint32_t mid = from + (to - from) / 2;
		const struct layer_dirent *d = &x->dirents[mid];
		int r = layer_name_cmp(name, len, layer_name(x, d), d->len);

		if (r == 0)
			return d;
		if (r < 0)
			to = mid;
		else
			from = mid + 1;
	}
	return NULL;
}

uint32_t layer_walk(const struct layer_index *x, const char *path)
{
	uint32_t ino = LAYER_ROOT;

	while (ino && *path) {
		size_t len = strcspn(path, "/");
		const struct layer_dirent *d;

		if (len && !(len == 1 && path[0] == '.')) {
			d = layer_lookup(x, ino, path, len);
			ino = d ? d->ino : 0;
		}
		path += len + (path[len] == '/');
	}
	return ino;
}

/* n, then four numbers each. */
static const uint32_t *layer_xattr_set(const struct layer_index *x, const struct layer_inode *i)
{
	return (const uint32_t *)(const void *)(x->xattrs + i->xattrs);
}

uint32_t layer_n_xattrs(const struct layer_index *x, const struct layer_inode *i)
{
	return i->flags & LAYER_XATTRS ? *layer_xattr_set(x, i) : 0;
}

struct layer_xattr layer_xattr(const struct layer_index *x, const struct layer_inode *i, uint32_t k)
{
	const uint32_t *a = layer_xattr_set(x, i) + 1 + 4 * (size_t)k;

	return (struct layer_xattr){
		.name = x->names + a[0], .name_len = a[3], .value = x->names + a[1], .len = a[2]
	};
}

uint32_t layer_span_at(const struct layer_index *x, uint64_t data)
{
	uint32_t from = 0, to = x->n_spans;

	while (from < to) {
		uint32_t mid = from + (to - from) / 2;

		if (x->spans[mid].data + x->spans[mid].data_len > data)
			to = mid;
		else
			from = mid + 1;
	}
	return from;
}

const uint8_t *layer_span_digest(const struct layer_index *x, const struct layer_span *s)
{
	return s->digest ? x->digests[s->digest - 1] : NULL;
}

int layer_span_window(const struct layer_index *x, const struct layer_span *s,
		      uint8_t out[LAYER_WINDOW_MAX])
{
	size_t n;

	if (!s->window_len)
		return 0;
	n = ZSTD_decompress(out, LAYER_WINDOW_MAX, x->windows + s->window, s->window_len);
	if (!ZSTD_isError(n))
		return (int)n;
	return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
}
