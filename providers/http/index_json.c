/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader of one array of flat objects. It is not a library's, because nginx writes the bytes of names as
 * they are, and a library refuses the whole page for one name that is not UTF-8; and because a page of
 * many megabytes is read without a tree of values. Pure functions, any thread.
 */
#include "http/index_json.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "http/index_text.h"
#include "net/http_header.h"

enum { DEPTH_MAX = 32, DATE_MAX = 64 };

struct json_in {
	const char *p;
	const char *end;
};

/* A decoded string; longer ones are cut and `whole` is false. */
struct json_text {
	char *p;
	size_t cap;
	size_t n;
	bool whole;
};

/* One object of the array as it is read. */
struct json_row {
	char name[VMOFS_KEY_MAX];
	char url[URL_MAX];
	char date[DATE_MAX];
	struct json_text name_text;
	struct json_text url_text;
	struct json_text date_text;
	uint64_t size;
	bool dir;
	bool other; /* neither a file nor a directory */
	bool link;
};

static void skip_blanks(struct json_in *in)
{
	while (in->p < in->end && strchr(" \t\r\n", *in->p) && *in->p)
		in->p++;
}

static bool take(struct json_in *in, char c)
{
	skip_blanks(in);
	if (in->p == in->end || *in->p != c)
		return false;
	in->p++;
	return true;
}

static char peek(struct json_in *in)
{
	skip_blanks(in);
	return in->p < in->end ? *in->p : '\0';
}

/* -- strings ---------------------------------------------------------------------------------- */

static void put(struct json_text *t, const char *p, size_t n)
{
	if (!t)
		return;
	if (t->n + n >= t->cap) {
		t->whole = false;
		return;
	}
	memcpy(t->p + t->n, p, n);
	t->n += n;
	t->p[t->n] = '\0';
}

/* The four digits after "\u"; -1: there are none. */
static long unit(const char *p, const char *end)
{
	long v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		if (!isxdigit((unsigned char)p[i]))
			return -1;
		v = v * 16 + (isdigit((unsigned char)p[i]) ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	}
	return v;
}

static int put_unicode(struct json_in *in, struct json_text *t)
{
	long c = unit(in->p, in->end);
	long low = -1;
	char entity[16];
	char out[16];
	int n;

	if (c < 0)
		return -EINVAL;
	in->p += 4;
	if (c >= 0xd800 && c < 0xdc00 && in->end - in->p >= 6 && in->p[0] == '\\' &&
	    in->p[1] == 'u')
		low = unit(in->p + 2, in->end);
	if (low >= 0xdc00 && low < 0xe000) {
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		in->p += 6;
	}
	n = snprintf(entity, sizeof entity, "&#x%lx;", c);
	if (c == 0 && t)
		t->whole = false; /* no name has a NUL */
	else
		put(t, out, index_decode_entities(entity, (size_t)n, out));
	return 0;
}

static int put_escape(struct json_in *in, struct json_text *t)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	char c = in->p < in->end ? *in->p++ : '\0';
	const char *at = c ? strchr(from, c) : NULL;

	if (c == 'u')
		return put_unicode(in, t);
	if (!at)
		return -EINVAL;
	put(t, &to[at - from], 1);
	return 0;
}

/* @t NULL: the string is skipped. */
static int take_string(struct json_in *in, struct json_text *t)
{
	if (!take(in, '"'))
		return -EINVAL;
	if (t) {
		t->n = 0;
		t->whole = true;
		t->p[0] = '\0';
	}
	while (in->p < in->end && *in->p != '"') {
		const char *run = in->p;

		while (in->p < in->end && *in->p != '"' && *in->p != '\\')
			in->p++;
		put(t, run, (size_t)(in->p - run));
		if (in->p < in->end && *in->p == '\\') {
			in->p++;
			if (put_escape(in, t) < 0)
				return -EINVAL;
		}
	}
	return take(in, '"') ? 0 : -EINVAL;
}

/* -- values ----------------------------------------------------------------------------------- */

static int skip_scalar(struct json_in *in)
{
	const char *from;

	if (peek(in) == '"')
		return take_string(in, NULL);
	from = in->p;
	while (in->p < in->end && (isalnum((unsigned char)*in->p) || strchr("+-.", *in->p)))
		in->p++;
	return in->p > from ? 0 : -EINVAL;
}

static int skip_value(struct json_in *in, unsigned depth)
{
	char open = peek(in);
	char close = open == '{' ? '}' : ']';

	if (open != '{' && open != '[')
		return skip_scalar(in);
	in->p++;
	if (depth == DEPTH_MAX)
		return -EINVAL;
	if (take(in, close))
		return 0;
	do {
		if (open == '{' && (take_string(in, NULL) < 0 || !take(in, ':')))
			return -EINVAL;
		if (skip_value(in, depth + 1) < 0)
			return -EINVAL;
	} while (take(in, ','));
	return take(in, close) ? 0 : -EINVAL;
}

static int take_true(struct json_in *in, bool *out)
{
	*out = peek(in) == 't';
	return skip_scalar(in);
}

static int take_size(struct json_in *in, uint64_t *out)
{
	uint64_t v = 0;
	const char *from;

	skip_blanks(in);
	for (from = in->p; in->p < in->end && isdigit((unsigned char)*in->p); in->p++) {
		if (v > (UINT64_MAX - 9) / 10)
			return -EINVAL;
		v = v * 10 + (uint64_t)(*in->p - '0');
	}
	if (in->p == from)
		return skip_value(in, 0);
	if (in->p < in->end && strchr(".eE", *in->p))
		return skip_scalar(in);
	*out = v;
	return 0;
}

static int take_type(struct json_in *in, struct json_row *row)
{
	char word[16];
	struct json_text t = { .p = word, .cap = sizeof word };

	if (take_string(in, &t) < 0)
		return -EINVAL;
	row->dir = strcmp(word, "directory") == 0 || strcmp(word, "dir") == 0;
	row->other = !row->dir && strcmp(word, "file") != 0;
	return 0;
}

/* -- objects ---------------------------------------------------------------------------------- */

enum json_field { NAME, URL, TYPE, IS_DIR, IS_LINK, SIZE, DATE, OTHER };

static enum json_field field_of(const char *key)
{
	static const struct {
		const char *key;
		enum json_field field;
	} fields[] = {
		{ "name", NAME },  { "url", URL },       { "type", TYPE },
		{ "size", SIZE },  { "is_dir", IS_DIR }, { "is_symlink", IS_LINK },
		{ "mtime", DATE }, { "mod_time", DATE },
	};

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (strcmp(fields[i].key, key) == 0)
			return fields[i].field;
	return OTHER;
}

static int take_text(struct json_in *in, struct json_text *t)
{
	return peek(in) == '"' ? take_string(in, t) : skip_value(in, 0);
}

static int take_field(struct json_in *in, struct json_row *row)
{
	char key[32];
	struct json_text t = { .p = key, .cap = sizeof key };

	if (take_string(in, &t) < 0 || !take(in, ':'))
		return -EINVAL;
	switch (t.whole ? field_of(key) : OTHER) {
	case NAME:
		return take_text(in, &row->name_text);
	case URL:
		return take_text(in, &row->url_text);
	case DATE:
		return take_text(in, &row->date_text);
	case TYPE:
		return peek(in) == '"' ? take_type(in, row) : skip_value(in, 0);
	case IS_DIR:
		return take_true(in, &row->dir);
	case IS_LINK:
		return take_true(in, &row->link);
	case SIZE:
		return take_size(in, &row->size);
	case OTHER:
		break;
	}
	return skip_value(in, 0);
}

static int take_object(struct json_in *in, struct json_row *row)
{
	row->name_text = (struct json_text){ .p = row->name, .cap = sizeof row->name };
	row->url_text = (struct json_text){ .p = row->url, .cap = sizeof row->url };
	row->date_text = (struct json_text){ .p = row->date, .cap = sizeof row->date };
	row->size = VMOFS_SIZE_UNKNOWN;
	row->dir = row->other = row->link = false;
	if (!take(in, '{'))
		return -EINVAL;
	if (take(in, '}'))
		return 0;
	do {
		if (take_field(in, row) < 0)
			return -EINVAL;
	} while (take(in, ','));
	return take(in, '}') ? 0 : -EINVAL;
}

static void read_date(const struct json_row *row, struct timespec *out)
{
	int64_t seconds;
	size_t used;

	if (index_parse_date(row->date, row->date_text.n, out, &used) != INDEX_DATE_NONE) {
		out->tv_nsec = 0;
		return;
	}
	*out = (struct timespec){ 0 };
	if (http_parse_date(row->date, row->date_text.n, &seconds) == 0)
		out->tv_sec = (time_t)seconds;
}

static void add_row(const struct url *page, struct json_row *row, struct index_list *out)
{
	struct index_entry e = { .name = row->name, .len = row->name_text.n, .dir = row->dir };
	char name[VMOFS_KEY_MAX];
	bool slash;

	/* A link's size is that of the link itself. */
	e.size = row->link ? VMOFS_SIZE_UNKNOWN : row->size;
	read_date(row, &e.mtime);
	if (row->url_text.n > 0 && row->url_text.whole) {
		/* It has the very bytes, where the name has only what is UTF-8. */
		if (index_href_name(page, row->url, row->url_text.n, name, &e.len, &slash) < 0)
			return;
		e.name = name;
	} else if (row->dir && e.len > 1 && row->name[e.len - 1] == '/') {
		row->name[--e.len] = '\0';
	}
	if (row->name_text.whole && !row->other && index_name_valid(e.name, e.len))
		index_list_add(out, &e);
}

int index_json_parse(const struct url *page, const char *p, size_t n, struct index_list *out)
{
	struct json_in in = { p, p + n };
	struct json_row row;

	if (!take(&in, '['))
		return -EINVAL;
	out->is_index = true;
	if (!take(&in, ']')) {
		do {
			if (take_object(&in, &row) < 0)
				return -EINVAL;
			add_row(page, &row, out);
		} while (take(&in, ','));
		if (!take(&in, ']'))
			return -EINVAL;
	}
	skip_blanks(&in);
	return in.p == in.end ? 0 : -EINVAL;
}
