/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A namespace that does what the test says: keys in memory, queries answered at once or when the test
 * says so, whole or in pieces, or with an error. One thread.
 */
#ifndef TESTS_FAKE_SOURCE_H
#define TESTS_FAKE_SOURCE_H

#include <vmofs/source.h>

struct fake_key {
	char *key;
	size_t len;
	uint64_t size;
	int64_t mtime;
	char validator[64];
	unsigned has;
	mode_t mode;
	const char *target; /* borrowed */
};

struct fake_source {
	struct vmofs_source base;
	struct vmofs_source_info info;
	struct fake_key *keys; /* sorted by bytes */
	size_t n_keys;
	size_t cap_keys;
	/* What the test sets. */
	bool hold;          /* queries wait for fake_source_answer() */
	bool sizes_unknown; /* in listings */
	bool disorder;      /* flat listings tell some keys again, behind others */
	int fail;           /* every answer is this failure; 0: none */
	bool has_changed;   /* said once by changed() */
	unsigned batch;     /* entries in one call */
	/* What it counts. */
	unsigned asked[VMOFS_NQUERIES];
	unsigned pages; /* that listings took, with info.page keys each */
	struct vmofs_list held;
};

struct fake_source *fake_source_new(void);
void fake_source_free(struct fake_source *s);

/* Adds or replaces. */
struct fake_key *fake_source_put(struct fake_source *s, const char *key, uint64_t size,
				 const char *validator);
struct fake_key *fake_source_put_bytes(struct fake_source *s, const char *key, size_t len,
				       uint64_t size, const char *validator);
/* Many at once, in order and new. */
void fake_source_append(struct fake_source *s, const char *key, uint64_t size);
void fake_source_remove(struct fake_source *s, const char *key);
unsigned fake_source_asked(const struct fake_source *s); /* queries of any kind */

/* Held queries, the oldest first; NULL: none. */
struct vmofs_query *fake_source_held(struct fake_source *s);
unsigned fake_source_n_held(struct fake_source *s);
/* Ends the oldest one that is held: with its entries, or @code. */
void fake_source_answer(struct fake_source *s, int code);
/* Only its first @n entries, and no end. */
void fake_source_answer_some(struct fake_source *s, unsigned n);

#endif
