/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of "path TAB url [TAB size TAB validator]". Memory: a row of 24 bytes a line; all text in one heap; what
 * URLs have in common up to their last slash is kept once; and a URL that ends as its path does shares
 * those bytes. So a line of a typical mirror costs its path, its validator and 24 bytes.
 */
#include "list/list_parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "net/http_header.h"
#include "net/url.h"

enum { FIELDS_MAX = 4, ORIGINS_MAX = 1024, VALIDATOR_MAX = 256, LINE_MAX_BYTES = 65536 };
#define NO_BASE UINT32_MAX

struct list_row {
	uint32_t key; /* offsets in the heap */
	uint32_t tail;
	uint32_t validator; /* 0: none */
	uint32_t base;      /* index; NO_BASE: a directory */
	uint64_t size;
};

/* What the URLs of many rows begin with. */
struct list_base {
	uint32_t text;
	uint16_t origin;
	uint16_t scheme;
};

struct list_table {
	struct list_row *rows;
	size_t n;
	size_t rows_cap;
	char *heap;
	size_t heap_len;
	size_t heap_cap;
	struct list_base *bases;
	size_t n_bases;
	size_t bases_cap;
	char **origins;
	unsigned n_origins;
};

struct field {
	char *p;
	size_t n;
};

struct list_builder {
	struct list_table *t;
	const char *name;
	unsigned long line;
	struct vmofs_err *err;
	uint32_t *hash; /* indices of bases + 1, 0: empty */
	size_t hash_cap;
	size_t last_base;
	char *scratch; /* one line, decoded in place */
	size_t scratch_cap;
	char *rest; /* the beginning of a line whose end has not come */
	size_t rest_len;
	size_t rest_cap;
};

/* -- the table -------------------------------------------------------------------------------- */

void list_table_free(struct list_table *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->n_origins; i++)
		free(t->origins[i]);
	free(t->origins);
	free(t->rows);
	free(t->heap);
	free(t->bases);
	free(t);
}

size_t list_table_n(const struct list_table *t)
{
	return t->n;
}

unsigned list_table_n_origins(const struct list_table *t)
{
	return t->n_origins;
}

const char *list_table_origin(const struct list_table *t, unsigned i)
{
	return t->origins[i];
}

struct list_item list_table_get(const struct list_table *t, size_t i)
{
	const struct list_row *row = &t->rows[i];
	const struct list_base *base = row->base == NO_BASE ? NULL : &t->bases[row->base];

	return (struct list_item){
		.key = t->heap + row->key,
		.size = row->size,
		.validator = t->heap + row->validator,
		.scheme = base ? (enum list_scheme)base->scheme : LIST_NOTHING,
		.origin = base ? base->origin : 0,
	};
}

/* As strcmp() with a key of @n bytes that need not end in a zero. */
static int compare_key(const char *key, const char *with, size_t n)
{
	int r = strncmp(key, with, n);

	return r ? r : key[n] != '\0';
}

size_t list_table_find(const struct list_table *t, const char *key, size_t n)
{
	size_t from = 0;
	size_t to = t->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (compare_key(t->heap + t->rows[mid].key, key, n) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

int list_table_url(const struct list_table *t, size_t i, char *out, size_t cap)
{
	const struct list_row *row = &t->rows[i];
	int n;

	if (row->base == NO_BASE)
		return -EISDIR;
	n = snprintf(out, cap, "%s%s", t->heap + t->bases[row->base].text, t->heap + row->tail);
	return n < (int)cap ? 0 : -ENAMETOOLONG;
}

/* -- building --------------------------------------------------------------------------------- */

static int no_memory(struct list_builder *lp)
{
	return vmofs_err_set(lp->err, -ENOMEM, "no memory for the list '%s'", lp->name);
}

static int bad_line(struct list_builder *lp, const char *what)
{
	return vmofs_err_set(lp->err, -EINVAL, "%s:%lu: %s", lp->name, lp->line, what);
}

static bool grow(void **p, size_t *cap, size_t need, size_t size)
{
	size_t n = MAX(*cap, (size_t)64);
	void *grown;

	if (need <= *cap)
		return true;
	while (n < need)
		n += n / 2;
	grown = realloc(*p, n * size);
	if (!grown)
		return false;
	*p = grown;
	*cap = n;
	return true;
}

/* A copy of the text in the heap, with a zero behind it. */
static int heap_add(struct list_builder *lp, const char *p, size_t n, uint32_t *out)
{
	struct list_table *t = lp->t;
	void *heap = t->heap;

	if (t->heap_len + n + 1 > UINT32_MAX)
		return vmofs_err_set(lp->err, -E2BIG, "the list '%s' is too long: split it",
				     lp->name);
	if (!grow(&heap, &t->heap_cap, t->heap_len + n + 1, 1))
		return no_memory(lp);
	t->heap = heap;
	memcpy(t->heap + t->heap_len, p, n);
	t->heap[t->heap_len + n] = '\0';
	*out = (uint32_t)t->heap_len;
	t->heap_len += n + 1;
	return 0;
}

static int origin_add(struct list_builder *lp, const struct url *u, uint16_t *out)
{
	struct list_table *t = lp->t;
	const char *from = u->scheme.p;
	size_t n = (size_t)(u->host.p + u->host.len - from);
	char **grown;

	if (u->port.len > 0)
		n = (size_t)(u->port.p + u->port.len - from);
	for (*out = 0; *out < t->n_origins; ++*out)
		if (strncmp(t->origins[*out], from, n) == 0 &&
		    strcmp(t->origins[*out] + n, "/") == 0)
			return 0;
	if (t->n_origins == ORIGINS_MAX)
		return vmofs_err_set(lp->err, -E2BIG,
				     "%s:%lu: more than %d servers in one list: split it", lp->name,
				     lp->line, ORIGINS_MAX);
	grown = realloc(t->origins, (t->n_origins + 1) * sizeof *grown);
	if (!grown)
		return no_memory(lp);
	t->origins = grown;
	grown[t->n_origins] = malloc(n + 2);
	if (!grown[t->n_origins])
		return no_memory(lp);
	memcpy(grown[t->n_origins], from, n);
	memcpy(grown[t->n_origins++] + n, "/", 2);
	return 0;
}

static size_t hash_of(const char *p, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)p[i]) * UINT64_C(0x100000001b3);
	return (size_t)(h ^ h >> 32);
}

static bool base_is(const struct list_table *t, size_t i, const char *p, size_t n)
{
	const char *text = t->heap + t->bases[i].text;

	return strncmp(text, p, n) == 0 && text[n] == '\0';
}

/* The place of the base in the hash table: its own, or the empty one where it belongs. */
static uint32_t *hash_slot(struct list_builder *lp, const char *p, size_t n)
{
	size_t i = hash_of(p, n) & (lp->hash_cap - 1);

	while (lp->hash[i] && !base_is(lp->t, lp->hash[i] - 1, p, n))
		i = (i + 1) & (lp->hash_cap - 1);
	return &lp->hash[i];
}

static bool hash_grow(struct list_builder *lp)
{
	size_t cap = MAX(lp->hash_cap * 2, (size_t)1024);
	uint32_t *grown = calloc(cap, sizeof *grown);

	if (!grown)
		return false;
	free(lp->hash);
	lp->hash = grown;
	lp->hash_cap = cap;
	for (size_t i = 0; i < lp->t->n_bases; i++) {
		const char *text = lp->t->heap + lp->t->bases[i].text;

		*hash_slot(lp, text, strlen(text)) = (uint32_t)i + 1;
	}
	return true;
}

static int base_new(struct list_builder *lp, const char *p, size_t n, const struct url *u)
{
	struct list_table *t = lp->t;
	struct list_base b = { .scheme = u ? LIST_HTTP : LIST_FILE };
	void *bases = t->bases;
	int r = u ? origin_add(lp, u, &b.origin) : 0;

	if (r == 0)
		r = heap_add(lp, p, n, &b.text);
	if (r == 0 && !grow(&bases, &t->bases_cap, t->n_bases + 1, sizeof b))
		r = no_memory(lp);
	t->bases = bases;
	if (r == 0)
		t->bases[t->n_bases++] = b;
	return r;
}

/* Finds or adds what the URL begins with, up to the last slash of its path. */
static int base_of(struct list_builder *lp, const char *p, size_t n, const struct url *u,
		   uint32_t *out)
{
	uint32_t *slot;
	int r;

	if (lp->last_base < lp->t->n_bases && base_is(lp->t, lp->last_base, p, n)) {
		*out = (uint32_t)lp->last_base;
		return 0;
	}
	if (lp->t->n_bases * 2 >= lp->hash_cap && !hash_grow(lp))
		return no_memory(lp);
	slot = hash_slot(lp, p, n);
	if (!*slot) {
		r = base_new(lp, p, n, u);
		if (r < 0)
			return r;
		*slot = (uint32_t)lp->t->n_bases;
	}
	lp->last_base = *slot - 1;
	*out = *slot - 1;
	return 0;
}

/* -- lines ------------------------------------------------------------------------------------ */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; a "%" that no two digits follow stands for itself. */
static size_t decode(char *p, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		int high = p[i] == '%' && i + 2 < n ? hex_digit(p[i + 1]) : -1;
		int low = high < 0 ? -1 : hex_digit(p[i + 2]);

		p[len++] = low < 0 ? p[i] : (char)(high * 16 + low);
		i += low < 0 ? 0 : 2;
	}
	return len;
}

static int take_key(struct list_builder *lp, struct field f, struct list_row *row, size_t *len)
{
	*len = decode(f.p, f.n);
	if (*len == 0)
		return bad_line(lp, "the path is empty; a line is PATH, a tab, URL");
	if (*len >= VMOFS_KEY_MAX)
		return bad_line(lp, "the path is longer than 4095 bytes");
	if (memchr(f.p, '\0', *len))
		return bad_line(lp, "the path has a NUL byte in it");
	return heap_add(lp, f.p, *len, &row->key);
}

/* "file:///path", "file:/path" */
static bool is_file_url(const char *p, size_t n)
{
	return n > 6 && strncasecmp(p, "file:", 5) == 0 && p[5] == '/';
}

static int take_url(struct list_builder *lp, struct field f, struct list_row *row, size_t key_len)
{
	bool local = is_file_url(f.p, f.n);
	const char *key;
	size_t base = f.n;
	struct url u;
	size_t tail;
	int r;

	if (f.n >= URL_MAX)
		return bad_line(lp, "the URL is longer than 4095 bytes");
	if (memchr(f.p, '\0', f.n) || (!local && url_parse(f.p, f.n, &u) < 0))
		return bad_line(lp,
				"the second field is not a URL that begins with http://, "
				"https:// or file:/ (blanks in it are written %20)");
	if (!local)
		base = (size_t)(u.path.p - f.p) + u.path.len;
	while (base > 0 && f.p[base - 1] != '/')
		base--;
	if (!local && base < (size_t)(u.path.p - f.p))
		base = (size_t)(u.path.p - f.p); /* there is no path */
	r = base_of(lp, f.p, base, local ? NULL : &u, &row->base);
	if (r < 0)
		return r;
	key = lp->t->heap + row->key;
	tail = f.n - base;
	if (tail <= key_len && memcmp(key + key_len - tail, f.p + base, tail) == 0) {
		row->tail = row->key + (uint32_t)(key_len - tail);
		return 0;
	}
	return heap_add(lp, f.p + base, tail, &row->tail);
}

static int take_size(struct list_builder *lp, struct field f, struct list_row *row)
{
	uint64_t v = 0;

	row->size = VMOFS_SIZE_UNKNOWN;
	if (f.n == 0 || (f.n == 1 && f.p[0] == '-'))
		return 0;
	for (size_t i = 0; i < f.n; i++) {
		if (!isdigit((unsigned char)f.p[i]) || v > INT64_MAX / 10 - 1)
			return bad_line(lp,
					"the third field is not a size in bytes; where it is "
					"not known, leave the field empty");
		v = v * 10 + (uint64_t)(f.p[i] - '0');
	}
	row->size = v;
	return 0;
}

static int take_validator(struct list_builder *lp, struct field f, struct list_row *row)
{
	int64_t date;
	bool weak;

	if (f.n == 0 || (f.n == 1 && f.p[0] == '-'))
		return 0;
	if (f.n >= VALIDATOR_MAX ||
	    (http_parse_etag(f.p, f.n, &weak) < 0 && http_parse_date(f.p, f.n, &date) < 0))
		return bad_line(lp,
				"the fourth field is neither an entity tag, \"...\" with its "
				"quotes, nor a date such as Sun, 06 Nov 1994 08:49:37 GMT");
	return heap_add(lp, f.p, f.n, &row->validator);
}

static int take_row(struct list_builder *lp, const struct list_row *row)
{
	struct list_table *t = lp->t;
	void *rows = t->rows;

	if (!grow(&rows, &t->rows_cap, t->n + 1, sizeof *row))
		return no_memory(lp);
	t->rows = rows;
	t->rows[t->n++] = *row;
	return 0;
}

static unsigned split(char *line, size_t n, struct field out[FIELDS_MAX])
{
	unsigned count = 0;

	for (char *end = line + n;; line++) {
		char *tab = memchr(line, '\t', (size_t)(end - line));

		if (count < FIELDS_MAX)
			out[count] = (struct field){ line, (size_t)((tab ? tab : end) - line) };
		count++;
		if (!tab)
			return count;
		line = tab;
	}
}

static int take_line(struct list_builder *lp, char *line, size_t n)
{
	struct field f[FIELDS_MAX] = { 0 };
	struct list_row row = { .base = NO_BASE, .size = VMOFS_SIZE_UNKNOWN };
	size_t key_len;
	unsigned count = split(line, n, f);
	int r;

	if (count > FIELDS_MAX)
		return bad_line(lp, "more than four fields; a tab in a path is written %09");
	r = take_key(lp, f[0], &row, &key_len);
	if (r < 0)
		return r;
	if (count == 1 && lp->t->heap[row.key + key_len - 1] == '/') {
		row.size = 0;
		return take_row(lp, &row);
	}
	if (f[1].n == 0)
		return bad_line(lp,
				"there is no URL; a line is PATH, a tab, URL (and a PATH that "
				"ends in '/', alone, is an empty directory)");
	r = take_url(lp, f[1], &row, key_len);
	if (r == 0)
		r = take_size(lp, f[2], &row);
	if (r == 0)
		r = take_validator(lp, f[3], &row);
	return r < 0 ? r : take_row(lp, &row);
}

/* The line's own copy: paths are decoded in it. */
static int parse_line(struct list_builder *lp, const char *p, size_t n)
{
	void *scratch = lp->scratch;

	if (n > 0 && p[n - 1] == '\r')
		n--;
	if (n == 0 || p[0] == '#')
		return 0;
	if (!grow(&scratch, &lp->scratch_cap, n, 1))
		return no_memory(lp);
	lp->scratch = scratch;
	memcpy(lp->scratch, p, n);
	return take_line(lp, lp->scratch, n);
}

static int parse_lines(struct list_builder *lp, const char *text, size_t n)
{
	const char *end = text + n;
	int r = 0;

	if (lp->line == 1 && n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	for (; r == 0 && text < end; lp->line++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));

		if (!newline)
			newline = end;
		r = parse_line(lp, text, (size_t)(newline - text));
		text = newline + 1;
	}
	return r;
}

/* Keeps what has no end yet. */
static int keep_rest(struct list_builder *lp, const char *text, size_t n)
{
	void *rest = lp->rest;

	if (n == 0)
		return 0;
	if (lp->rest_len + n > LINE_MAX_BYTES)
		return bad_line(lp, "the line is longer than any line of a list can be");
	if (!grow(&rest, &lp->rest_cap, lp->rest_len + n, 1))
		return no_memory(lp);
	lp->rest = rest;
	memcpy(lp->rest + lp->rest_len, text, n);
	lp->rest_len += n;
	return 0;
}

/* -- the order -------------------------------------------------------------------------------- */

static int compare_rows(const void *a, const void *b, void *heap)
{
	const struct list_row *x = a;
	const struct list_row *y = b;

	return strcmp((char *)heap + x->key, (char *)heap + y->key);
}

static int sort_rows(struct list_builder *lp)
{
	struct list_table *t = lp->t;
	bool sorted = true;

	for (size_t i = 1; sorted && i < t->n; i++)
		sorted = compare_rows(&t->rows[i - 1], &t->rows[i], t->heap) < 0;
	if (sorted)
		return 0;
	qsort_r(t->rows, t->n, sizeof *t->rows, compare_rows, t->heap);
	for (size_t i = 1; i < t->n; i++)
		if (compare_rows(&t->rows[i - 1], &t->rows[i], t->heap) == 0)
			return vmofs_err_set(lp->err, -EINVAL,
					     "%s: the path '%s' is in more than one line; remove "
					     "all but one",
					     lp->name, t->heap + t->rows[i].key);
	return 0;
}

/* Gives back what growing took too much. */
static void shrink(struct list_table *t)
{
	void *rows = t->n ? realloc(t->rows, t->n * sizeof *t->rows) : NULL;
	void *heap = realloc(t->heap, t->heap_len);

	if (rows)
		t->rows = rows;
	if (heap)
		t->heap = heap;
}

struct list_builder *list_builder_new(const char *name)
{
	struct list_builder *lp = calloc(1, sizeof *lp);

	if (!lp)
		return NULL;
	lp->name = name;
	lp->line = 1;
	lp->t = calloc(1, sizeof *lp->t);
	if (lp->t)
		return lp;
	free(lp);
	return NULL;
}

void list_builder_free(struct list_builder *lp)
{
	if (!lp)
		return;
	list_table_free(lp->t);
	free(lp->hash);
	free(lp->scratch);
	free(lp->rest);
	free(lp);
}

int list_builder_add(struct list_builder *lp, const char *text, size_t n, struct vmofs_err *err)
{
	const char *last = n > 0 ? memrchr(text, '\n', n) : NULL;
	const char *first = last ? memchr(text, '\n', n) : NULL;
	size_t whole;
	uint32_t empty;
	int r = 0;

	lp->err = err;
	if (lp->t->heap_len == 0)
		r = heap_add(lp, "", 0, &empty); /* offset 0 is "" */
	if (r < 0 || !last)
		return r < 0 ? r : keep_rest(lp, text, n);
	whole = (size_t)(last - text) + 1;
	if (lp->rest_len > 0) {
		size_t to = (size_t)(first - text) + 1;

		r = keep_rest(lp, text, to);
		if (r == 0)
			r = parse_lines(lp, lp->rest, lp->rest_len);
		lp->rest_len = 0;
		text += to;
		n -= to;
		whole -= to;
	}
	if (r == 0)
		r = parse_lines(lp, text, whole);
	return r < 0 ? r : keep_rest(lp, text + whole, n - whole);
}

int list_builder_end(struct list_builder *lp, struct list_table **out, struct vmofs_err *err)
{
	int r = list_builder_add(lp, "", 0, err);

	if (r == 0 && lp->rest_len > 0)
		r = parse_lines(lp, lp->rest, lp->rest_len);
	if (r == 0)
		r = sort_rows(lp);
	if (r < 0)
		return r;
	shrink(lp->t);
	*out = lp->t;
	lp->t = NULL;
	return 0;
}

int list_table_parse(struct list_table **out, const char *name, const char *text, size_t n,
		     struct vmofs_err *err)
{
	struct list_builder *lp = list_builder_new(name);
	int r = lp ? list_builder_add(lp, text, n, err)
		   : vmofs_err_set(err, -ENOMEM, "no memory for the list '%s'", name);

	if (r == 0)
		r = list_builder_end(lp, out, err);
	list_builder_free(lp);
	return r;
}
