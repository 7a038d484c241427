/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list file as a table: keys with the URLs they stand for, sorted, in as little memory as a million lines
 * need. the parser is pure, on bytes from outside; a table never changes afterwards.
 * Any thread.
 */
#ifndef PROVIDERS_LIST_LIST_PARSE_H
#define PROVIDERS_LIST_LIST_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmofs/err.h>
#include <vmofs/source.h>

struct list_table;

enum list_scheme { LIST_HTTP, LIST_FILE, LIST_NOTHING };

/* One line; the text is the table's. */
struct list_item {
	const char *key;
	uint64_t size;           /* VMOFS_SIZE_UNKNOWN */
	const char *validator;   /* "" when there is none */
	enum list_scheme scheme; /* LIST_NOTHING: a directory without a URL, its key ends in "/" */
	unsigned origin;         /* LIST_HTTP: index of its server */
};

/*
 * A table in the making: text is added in pieces of any length, so that a long list is never in memory as text.
 * @name: of the list, for messages ("NAME:LINE: what is wrong; what to do"), borrowed.
 */
struct list_builder;
struct list_builder *list_builder_new(const char *name); /* NULL: no memory */
void list_builder_free(struct list_builder *b);          /* NULL is fine */
/* -EINVAL, -ENOMEM, -E2BIG. */
int list_builder_add(struct list_builder *b, const char *text, size_t n, struct vmofs_err *err);
int list_builder_end(struct list_builder *b, struct list_table **out, struct vmofs_err *err);

/* All of it at once. */
int list_table_parse(struct list_table **out, const char *name, const char *text, size_t n,
		     struct vmofs_err *err);
void list_table_free(struct list_table *t); /* NULL is fine */

size_t list_table_n(const struct list_table *t);
/* The @i-th in the order of the keys' bytes. */
struct list_item list_table_get(const struct list_table *t, size_t i);
/* The first whose key is not smaller than @key (n bytes); list_table_n(): none. */
size_t list_table_find(const struct list_table *t, const char *key, size_t n);
/* Its URL; -ENAMETOOLONG never happens with URL_MAX. */
int list_table_url(const struct list_table *t, size_t i, char *out, size_t cap);

/* Servers: scheme, credentials, host and port as a URL "https://user@host:port/". */
unsigned list_table_n_origins(const struct list_table *t);
const char *list_table_origin(const struct list_table *t, unsigned i);

#endif
