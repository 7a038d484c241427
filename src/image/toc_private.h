/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three steps of reading a table of contents: bytes become JSON (toc_reader.c), JSON becomes entries (toc_json.c), entries
 * become files and spans (toc_files.c). Nobody else includes this. One thread.
 */
#ifndef IMAGE_TOC_PRIVATE_H
#define IMAGE_TOC_PRIVATE_H

#include "image/toc.h"

/* -- entries ---------------------------------------------------------------------------------- */

struct toc_string {
	const char *p; /* of the entry's memory */
	size_t len;
};

/* An object of "entries", as it is written; what is absent is 0. */
struct toc_entry {
	struct toc_string name;
	struct toc_string type;
	struct toc_string target;
	struct toc_string mtime;
	struct toc_string digest;
	struct toc_string chunk_digest;
	struct toc_string chunk_type;
	int64_t mode;
	int64_t uid;
	int64_t gid;
	int64_t size;
	int64_t major;
	int64_t minor;
	int64_t offset;
	int64_t end_offset;
	int64_t inner_offset;
	int64_t chunk_offset;
	int64_t chunk_size;
	const struct layer_xattr *xattrs;
	unsigned n_xattrs;
};

/* -- entries become files and spans ----------------------------------------------------------- */

/* A span whose end in the blob is not known: that is where the next member begins. */
struct toc_chunk {
	struct layer_span span;
	uint8_t digest[LAYER_DIGEST_LEN];
	bool has_digest;
};

struct toc_files {
	struct layer_build *build; /* borrowed */
	enum toc_kind kind;
	uint64_t data_end;
	struct toc_facts *facts; /* borrowed */
	/* The regular file whose chunks may follow. */
	bool open;
	bool hidden; /* it is no file of the layer */
	uint64_t data;
	uint64_t size;
	uint64_t covered; /* by chunks up to now */
	uint64_t end;     /* of its bytes in the blob; 0: it is not said */
	/* Chunks of one member. */
	struct toc_chunk *chunks;
	size_t n;
	size_t cap;
};

int toc_files_entry(struct toc_files *f, const struct toc_entry *e, struct vmofs_err *err);
int toc_files_end(struct toc_files *f, struct vmofs_err *err);
void toc_files_release(struct toc_files *f);

/* -- JSON becomes entries --------------------------------------------------------------------- */

struct toc_json;

int toc_json_new(struct toc_json **out, struct toc_files *files);
void toc_json_free(struct toc_json *j);
int toc_json_feed(struct toc_json *j, const void *p, size_t n, struct vmofs_err *err);
int toc_json_end(struct toc_json *j, struct vmofs_err *err);

#endif
