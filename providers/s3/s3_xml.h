/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The XML that S3 servers answer with: a page of a listing (ListObjectsV2, and V1 as far as it is the same)
 * and the error document. Parsers over chunks of bytes from outside: bounded depth, bounded
 * texts, no document types or entities. Pure, no locks, any thread.
 */
#ifndef PROVIDERS_S3_XML_H
#define PROVIDERS_S3_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* One key, or common prefix. Offsets are into the page's text. */
struct s3_entry {
	uint32_t key;
	uint32_t key_len;
	uint32_t etag; /* 0: none; with quotes */
	bool prefix;
	uint64_t size; /* VMOFS_SIZE_UNKNOWN: not said */
	struct timespec mtime;
};

struct s3_page {
	struct s3_entry *v;
	unsigned n;
	unsigned cap;
	char *text; /* keys and tags, each ended by a zero; the first byte is one too */
	size_t len;
	size_t text_cap;
	bool truncated;
	char *token;  /* NULL: none; of the next page */
	bool encoded; /* while it is parsed: keys are percent-encoded */
};

struct s3_xml;

/* Fills @page, which stands empty ({ 0 }) and belongs to the caller. NULL: no memory. */
struct s3_xml *s3_xml_new(struct s3_page *page);
/* 0, -EBADMSG: that is no listing, -ENOMEM. */
int s3_xml_add(struct s3_xml *x, const void *buf, size_t n);
/* The document is complete, keys are decoded; those with a NUL or too long are left out. */
int s3_xml_end(struct s3_xml *x);
void s3_xml_free(struct s3_xml *x); /* NULL is fine */

void s3_page_clear(struct s3_page *p);

static inline const char *s3_page_key(const struct s3_page *p, const struct s3_entry *e)
{
	return p->text + e->key;
}

/* What an error document says; "" where it does not. */
struct s3_error {
	char code[64];
	char message[256];
	char request_id[128];
	char region[64];
	char endpoint[256];
	int64_t server_time; /* seconds since 1970, 0 */
};

/* Takes what it can from @p, which may be cut off or no XML at all. */
void s3_xml_error(const char *p, size_t n, struct s3_error *out);

/* "2026-01-02T03:04:05.678Z"; -EINVAL. */
int s3_xml_time(const char *text, size_t n, struct timespec *out);

#endif
