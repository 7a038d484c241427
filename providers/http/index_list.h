/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an index page lists, while and after it is parsed: names below one directory, each once. One thread
 * at a time.
 */
#ifndef PROVIDERS_HTTP_INDEX_LIST_H
#define PROVIDERS_HTTP_INDEX_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <vmofs/source.h>

/* One path component, decoded: no slash, no NUL, not "." or "..". */
struct index_entry {
	const char *name;
	size_t len;
	bool dir;
	uint64_t size;         /* VMOFS_SIZE_UNKNOWN: not said, or rounded */
	struct timespec mtime; /* as Last-Modified has it: seconds; tv_sec 0: not known */
};

struct index_row;

struct index_list {
	bool is_index; /* it has a mark that only index pages have */
	bool minutes;  /* its dates are of whole minutes */
	bool no_memory;
	size_t n;
	struct index_row *rows; /* owned */
	size_t rows_cap;
	char *text; /* owned: the names, each with a zero */
	size_t text_len;
	size_t text_cap;
};

void index_list_release(struct index_list *l);
void index_list_add(struct index_list *l, const struct index_entry *e);
/* Sorts by name; of a name that came twice one stays, with all that was said of it. */
void index_list_finish(struct index_list *l);
/* The @i-th; its name is borrowed from the list. */
struct index_entry index_list_get(const struct index_list *l, size_t i);

#endif
