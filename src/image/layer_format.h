/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a layer as bytes: its header, and the form that all else has. Pure functions over memory; any thread.
 *
 *   header   "vmofslyr", u32 version, u32 layout, u64 length of everything, u64 length of each section, digest of the tar,
 *            digest of the blob, u64 blob size, u64 data size, u32 number of layers (MERGED; else 1), zeros, u32 CRC32C of all other
 *            bytes; 256 bytes. Then the sections, in the order of the enumeration, each padded to 8 bytes with zeros.
 *
 * There is one way to number a tree, and layer_index_check() accepts no other, so that it finds cycles, orphans and depths in one
 * pass and without memory:
 * - the dirents of directories follow each other in the order of the directories' inode numbers, without gaps;
 * - inodes are numbered in the order in which dirents first name them: breadth first, a directory before what is in it;
 * - only what is no directory can be named again: a hard link. A directory's nlink is 2 and one more for each directory in it.
 *
 * Names, targets and values may be shared, and so may sets of attributes. A set's names ascend.
 */
#ifndef IMAGE_LAYER_FORMAT_H
#define IMAGE_LAYER_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "image/layer_index.h"

#define LAYER_MAGIC           "vmofslyr"
#define LAYER_VERSION         1u
#define LAYER_HEADER_LEN      256u
#define LAYER_WINDOW_PACKED   (64u << 10) /* no window is longer, compressed */
#define LAYER_XATTR_NAME_MAX  255u        /* the kernel's limits: nothing beyond can be a file's */
#define LAYER_XATTR_VALUE_MAX 65536u
#define LAYER_XATTR_LIST_MAX  65536u
#define LAYER_MAJOR_MAX       0xfffu
#define LAYER_MINOR_MAX       0xfffffu
#define LAYER_OFF_MAX         ((uint64_t)INT64_MAX)

enum layer_section {
	LAYER_SECTION_INODES,
	LAYER_SECTION_DIRENTS,
	LAYER_SECTION_NAMES,
	LAYER_SECTION_XATTRS,
	LAYER_SECTION_SPANS,
	LAYER_SECTION_DIGESTS,
	LAYER_SECTION_WINDOWS,
	LAYER_NSECTIONS
};

struct layer_header {
	char magic[8];
	uint32_t version;
	uint32_t layout;
	uint64_t len;
	uint64_t section[LAYER_NSECTIONS];
	uint8_t diff[LAYER_DIGEST_LEN];
	uint8_t blob[LAYER_DIGEST_LEN];
	uint64_t blob_size;
	uint64_t data_size;
	uint32_t n_layers;
	uint32_t zero[22];
	uint32_t crc;
};

/* Where the next section begins. */
static inline uint64_t layer_align(uint64_t n)
{
	return (n + 7) & ~UINT64_C(7);
}

/* Of the @len bytes at @p, at least a header: what belongs in its `crc`. */
uint32_t layer_crc(const void *p, size_t len);

/* The order of names: by bytes, the shorter first. */
int layer_name_cmp(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
