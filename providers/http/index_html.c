/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader of just as much HTML as index pages need: anchors, and the text between one anchor and the next,
 * where servers put date and size. Names come from the references alone, because the text is cut short
 * by some servers. Pure functions, any thread.
 */
#include "http/index_html.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "http/index_text.h"

enum { CELL_MAX = 512, SEPARATOR = '\x1f' /* where a tag stood */ };

struct span {
	const char *p;
	size_t n;
};

struct index_html {
	const struct url *page;
	struct index_list *out;
	const char *p;
	const char *end;

	bool pending; /* an entry whose cells may still come */
	bool in_anchor;
	struct index_entry entry;
	uint64_t data_size; /* as an attribute says; VMOFS_SIZE_UNKNOWN */
	char name[VMOFS_KEY_MAX];
	char cell[CELL_MAX];
	size_t cell_len;
};

/* -- cells ------------------------------------------------------------------------------------ */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == SEPARATOR;
}

/* The number that stands alone in a cell or at the end of a line; "12 KiB" and "1.2K" do not. */
static uint64_t exact_size(const char *p, size_t n)
{
	uint64_t v = 0;
	size_t i = 0;
	size_t digits;

	while (i < n && is_blank(p[i]))
		i++;
	for (digits = i; i < n && isdigit((unsigned char)p[i]); i++) {
		if (v > (UINT64_MAX - 9) / 10)
			return VMOFS_SIZE_UNKNOWN;
		v = v * 10 + (uint64_t)(p[i] - '0');
	}
	if (i == digits)
		return VMOFS_SIZE_UNKNOWN;
	while (i < n && (p[i] == ' ' || p[i] == '\t'))
		i++;
	return i == n || strchr("\r\n\x1f", p[i]) ? v : VMOFS_SIZE_UNKNOWN;
}

/*
 * nginx says UTC and bytes. The other dates are of the server's own zone, which it does not say, and the sizes
 * beside them are rounded: with neither, the file itself is asked, and so there are no two truths about it.
 */
static void read_cells(struct index_html *h)
{
	for (size_t i = 0; i < h->cell_len; i++) {
		struct timespec mtime;
		size_t used;
		enum index_date kind;

		if (!isdigit((unsigned char)h->cell[i]) ||
		    (i > 0 && isalnum((unsigned char)h->cell[i - 1])))
			continue;
		kind = index_parse_date(h->cell + i, h->cell_len - i, &mtime, &used);
		if (kind == INDEX_DATE_NONE)
			continue;
		if (kind == INDEX_DATE_DAY_FIRST) {
			h->entry.mtime = mtime;
			h->entry.size = exact_size(h->cell + i + used, h->cell_len - i - used);
			h->out->minutes = true;
		}
		break;
	}
	if (h->data_size != VMOFS_SIZE_UNKNOWN)
		h->entry.size = h->data_size;
}

static void flush(struct index_html *h)
{
	if (!h->pending)
		return;
	h->pending = false;
	read_cells(h);
	index_list_add(h->out, &h->entry);
}

static void add_text(struct index_html *h, const char *p, size_t n)
{
	n = MIN(n, sizeof h->cell - h->cell_len);
	memcpy(h->cell + h->cell_len, p, n);
	h->cell_len += n;
}

/* -- tags ------------------------------------------------------------------------------------- */

static bool span_is(struct span s, const char *word)
{
	return strlen(word) == s.n && strncasecmp(s.p, word, s.n) == 0;
}

static struct span take_until(struct span *s, const char *stops)
{
	struct span word = { s->p, 0 };

	while (word.n < s->n && !strchr(stops, word.p[word.n]))
		word.n++;
	s->p += word.n;
	s->n -= word.n;
	return word;
}

static void skip_space(struct span *s)
{
	while (s->n > 0 && (isspace((unsigned char)*s->p) || *s->p == '/'))
		s->p++, s->n--;
}

/* The next attribute of the tag whose rest is @s; false: there is none. */
static bool next_attr(struct span *s, struct span *name, struct span *value)
{
	skip_space(s);
	if (s->n == 0)
		return false;
	*value = (struct span){ s->p, 0 };
	*name = take_until(s, " \t\r\n\f=/");
	while (s->n > 0 && isspace((unsigned char)*s->p))
		s->p++, s->n--;
	if (s->n == 0 || *s->p != '=') {
		if (name->n == 0)
			s->p++, s->n--;
		return true;
	}
	s->p++, s->n--;
	while (s->n > 0 && isspace((unsigned char)*s->p))
		s->p++, s->n--;
	if (s->n > 0 && (*s->p == '"' || *s->p == '\'')) {
		const char quote[] = { *s->p, '\0' };

		s->p++, s->n--;
		*value = take_until(s, quote);
		if (s->n > 0)
			s->p++, s->n--;
	} else {
		*value = take_until(s, " \t\r\n\f");
	}
	return true;
}

/* References to which only an index page has links: its own order, and the directory above. */
static bool marks_index(const char *href, size_t n)
{
	static const char *const marks[] = { "?C=", "?sort=", "?O=" };

	if ((n == 3 && memcmp(href, "../", 3) == 0) || (n == 2 && memcmp(href, "..", 2) == 0))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(marks); i++)
		if (n > strlen(marks[i]) && memcmp(href, marks[i], strlen(marks[i])) == 0)
			return true;
	return false;
}

static void open_anchor(struct index_html *h, struct span attrs)
{
	struct span name, value, href = { NULL, 0 };
	char text[URL_MAX];
	size_t n;

	flush(h);
	while (!href.p && next_attr(&attrs, &name, &value))
		if (span_is(name, "href"))
			href = value;
	h->in_anchor = true;
	if (!href.p || href.n >= sizeof text)
		return;
	n = index_decode_entities(href.p, href.n, text);
	h->out->is_index |= marks_index(text, n);
	h->entry = (struct index_entry){ .name = h->name, .size = VMOFS_SIZE_UNKNOWN };
	h->data_size = VMOFS_SIZE_UNKNOWN;
	h->cell_len = 0;
	h->pending = index_href_name(h->page, text, n, h->name, &h->entry.len, &h->entry.dir) == 0;
}

/* Exact values that are written beside those for people. */
static void read_data(struct index_html *h, struct span attrs)
{
	struct span name, value;
	struct timespec mtime;
	size_t used;

	while (next_attr(&attrs, &name, &value)) {
		while (value.n > 0 && isspace((unsigned char)*value.p))
			value.p++, value.n--;
		if (span_is(name, "data-order") || span_is(name, "data-size"))
			h->data_size = exact_size(value.p, value.n);
		if (span_is(name, "datetime") &&
		    index_parse_date(value.p, value.n, &mtime, &used) == INDEX_DATE_INTERNET)
			h->entry.mtime.tv_sec = mtime.tv_sec;
	}
}

/* Past the end of an element whose content is no text: a script, a style. */
static void skip_element(struct index_html *h, const char *close)
{
	size_t n = strlen(close);

	for (; (size_t)(h->end - h->p) >= n; h->p++) {
		const char *next = memchr(h->p, '<', (size_t)(h->end - h->p));

		if (!next || (size_t)(h->end - next) < n)
			break;
		h->p = next;
		if (strncasecmp(next, close, n) == 0)
			return;
	}
	h->p = h->end;
}

/* Whether an index page's title, which begins at @p, says that it is one. */
static bool title_says_index(const char *p, const char *end)
{
	static const char *const titles[] = { "index of", "directory listing", "listing of",
					      "directory: " };

	while (p < end && isspace((unsigned char)*p))
		p++;
	for (size_t i = 0; i < ARRAY_LEN(titles); i++)
		if ((size_t)(end - p) > strlen(titles[i]) &&
		    strncasecmp(p, titles[i], strlen(titles[i])) == 0)
			return true;
	return false;
}

static void take_tag(struct index_html *h, struct span tag)
{
	static const char *const ends[] = { "/tr", "/li", "/pre", "/table", "/ul", "/body" };
	const char separator = SEPARATOR;
	struct span name = take_until(&tag, " \t\r\n\f");

	if (span_is(name, "a")) {
		open_anchor(h, tag);
		return;
	}
	if (span_is(name, "/a"))
		h->in_anchor = false;
	else if (span_is(name, "script"))
		skip_element(h, "</script");
	else if (span_is(name, "style"))
		skip_element(h, "</style");
	else if (span_is(name, "title") || span_is(name, "h1"))
		h->out->is_index |= title_says_index(h->p, h->end);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (span_is(name, ends[i]))
			flush(h);
	if (h->pending && !h->in_anchor) {
		read_data(h, tag);
		add_text(h, &separator, 1);
	}
}

/* Quoted values may have a ">" in them. */
static const char *tag_end(const char *p, const char *end)
{
	char quote = '\0';

	for (; p < end; p++) {
		if (quote) {
			if (*p == quote)
				quote = '\0';
		} else if ((*p == '"' || *p == '\'') && p[-1] == '=') {
			quote = *p;
		} else if (*p == '>') {
			break;
		}
	}
	return p;
}

static void take_markup(struct index_html *h)
{
	const char *start = h->p + 1;
	const char *end;

	if (h->end - h->p >= 4 && memcmp(h->p, "<!--", 4) == 0) {
		end = memmem(h->p + 4, (size_t)(h->end - h->p - 4), "-->", 3);
		h->p = end ? end + 3 : h->end;
		return;
	}
	end = tag_end(start, h->end);
	h->p = end < h->end ? end + 1 : h->end;
	take_tag(h, (struct span){ start, (size_t)(end - start) });
}

static void take_words(struct index_html *h)
{
	const char *end = memchr(h->p, '<', (size_t)(h->end - h->p));
	size_t n = (size_t)((end ? end : h->end) - h->p);

	if (h->pending && !h->in_anchor)
		add_text(h, h->p, n);
	h->p += n;
}

void index_html_parse(const struct url *page, const char *p, size_t n, struct index_list *out)
{
	struct index_html h = { .page = page, .out = out, .p = p, .end = p + n };

	while (h.p < h.end) {
		if (*h.p == '<')
			take_markup(&h);
		else
			take_words(&h);
	}
	flush(&h);
}
