/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector of the index page parsers: rows of fixed size over one heap of names. A page may link a
 * name twice (an icon and a text), so the rows are merged at the end. One thread at a time.
 */
#include "http/index_list.h"

#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

enum { ROWS_MIN = 64, TEXT_MIN = 4096 };

struct index_row {
	size_t name; /* its offset in the text */
	size_t len;
	uint64_t size;
	struct timespec mtime;
	bool dir;
};

void index_list_release(struct index_list *l)
{
	free(l->rows);
	free(l->text);
	*l = (struct index_list){ 0 };
}

/* Room for @need items of @size bytes in *@p. */
static bool grow(void **p, size_t *cap, size_t need, size_t least, size_t size)
{
	size_t n = MAX(*cap, least);
	void *grown;

	if (need <= *cap)
		return true;
	while (n < need)
		n *= 2;
	grown = realloc(*p, n * size);
	if (!grown)
		return false;
	*p = grown;
	*cap = n;
	return true;
}

void index_list_add(struct index_list *l, const struct index_entry *e)
{
	void *rows = l->rows;
	void *text = l->text;
	bool ok = grow(&rows, &l->rows_cap, l->n + 1, ROWS_MIN, sizeof *l->rows) &&
		grow(&text, &l->text_cap, l->text_len + e->len + 1, TEXT_MIN, 1);

	l->rows = rows;
	l->text = text;
	if (!ok) {
		l->no_memory = true;
		return;
	}
	memcpy(l->text + l->text_len, e->name, e->len);
	l->text[l->text_len + e->len] = '\0';
	l->rows[l->n++] = (struct index_row){
		.name = l->text_len,
		.len = e->len,
		.size = e->dir ? VMOFS_SIZE_UNKNOWN : e->size,
		.mtime = e->mtime,
		.dir = e->dir,
	};
	l->text_len += e->len + 1;
}

static int compare_rows(const void *a, const void *b, void *text)
{
	const struct index_row *x = a;
	const struct index_row *y = b;
	int r = strcmp((char *)text + x->name, (char *)text + y->name);

	return r ? r : (int)x->dir - (int)y->dir;
}

/* What is said of one of them is said of both; if it differs, neither is believed. */
static void merge(struct index_row *to, const struct index_row *from)
{
	if (to->size == VMOFS_SIZE_UNKNOWN)
		to->size = from->size;
	else if (from->size != VMOFS_SIZE_UNKNOWN && from->size != to->size)
		to->size = VMOFS_SIZE_UNKNOWN;
	if (to->mtime.tv_sec == 0)
		to->mtime = from->mtime;
}

void index_list_finish(struct index_list *l)
{
	size_t kept = 0;

	if (l->n == 0)
		return;
	qsort_r(l->rows, l->n, sizeof *l->rows, compare_rows, l->text);
	for (size_t i = 1; i < l->n; i++) {
		if (compare_rows(&l->rows[kept], &l->rows[i], l->text) == 0)
			merge(&l->rows[kept], &l->rows[i]);
		else
			l->rows[++kept] = l->rows[i];
	}
	l->n = kept + 1;
}

struct index_entry index_list_get(const struct index_list *l, size_t i)
{
	const struct index_row *row = &l->rows[i];

	return (struct index_entry){
		.name = l->text + row->name,
		.len = row->len,
		.dir = row->dir,
		.size = row->size,
		.mtime = row->mtime,
	};
}
