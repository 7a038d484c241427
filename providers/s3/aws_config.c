/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared configuration files of the AWS tools, read as those tools do (Python's configparser, and
 * their own rule for what is nested). One walk over the text; nothing is copied. Any thread.
 */
#include "s3/aws_config.h"

#include <string.h>
#include <strings.h>

#include "base/macros.h"

/* What the walk knows of the lines before the present one. */
struct walk {
	const char *p;
	const char *end;
	bool credentials;
	bool in_section;
	struct aws_item item; /* the setting that may go on in the next line */
	bool pending;         /* it has not been told */
	bool nesting;         /* its value is empty: indented lines are settings under it */
	struct aws_span parent;
	void (*fn)(void *arg, const struct aws_item *item);
	void *arg;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static struct aws_span trim(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	while (end > p && is_blank(end[-1]))
		end--;
	return (struct aws_span){ p, (size_t)(end - p) };
}

static bool span_is(struct aws_span s, const char *text)
{
	return s.n == strlen(text) && !memcmp(s.p, text, s.n);
}

static bool span_is_key(struct aws_span s, const char *text)
{
	return s.n == strlen(text) && !strncasecmp(s.p, text, s.n);
}

static struct aws_span unquote(struct aws_span s)
{
	if (s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0])
		return (struct aws_span){ s.p + 1, s.n - 2 };
	return s;
}

static void tell(struct walk *w)
{
	if (w->pending)
		w->fn(w->arg, &w->item);
	w->pending = false;
}

/* -- sections --------------------------------------------------------------------------------- */

/* Splits "profile NAME"; false when the text does not begin with @word and a blank. */
static bool section_kind(struct aws_span s, const char *word, struct aws_span *name)
{
	size_t n = strlen(word);

	if (s.n <= n || memcmp(s.p, word, n) || !is_blank(s.p[n]))
		return false;
	*name = unquote(trim(s.p + n, s.p + s.n));
	return true;
}

static void begin_section(struct walk *w, struct aws_span s)
{
	static const char *const words[] = {
		[AWS_SECTION_PROFILE] = "profile",
		[AWS_SECTION_SSO_SESSION] = "sso-session",
		[AWS_SECTION_SERVICES] = "services",
	};
	struct aws_item item = { .kind = AWS_SECTION_OTHER, .section = unquote(s) };

	if (w->credentials || span_is(s, "default"))
		item.kind = AWS_SECTION_PROFILE;
	else
		for (unsigned k = 0; k < ARRAY_LEN(words); k++)
			if (section_kind(s, words[k], &item.section))
				item.kind = k;
	w->item = item;
	w->in_section = true;
	w->nesting = false;
	w->fn(w->arg, &item);
}

/* "[name]", and a comment behind it; false: no bracket ends it. */
static bool section_line(struct walk *w, struct aws_span line)
{
	const char *close = memchr(line.p, ']', line.n);

	if (!close)
		return false;
	tell(w);
	begin_section(w, trim(line.p + 1, close));
	return true;
}

/* -- settings --------------------------------------------------------------------------------- */

/* The first of @marks in the line, NULL: none, or nothing before it. */
static const char *find_mark(struct aws_span line, const char *marks)
{
	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] && strchr(marks, line.p[i]))
			return i > 0 ? line.p + i : NULL;
	return NULL;
}

static bool setting_line(struct walk *w, struct aws_span line, struct aws_span parent)
{
	const char *mark = find_mark(line, parent.n ? "=" : "=:");

	if (!mark || !w->in_section)
		return false;
	tell(w);
	w->item.parent = parent;
	w->item.key = trim(line.p, mark);
	w->item.value = trim(mark + 1, line.p + line.n);
	w->pending = true;
	return true;
}

static bool top_line(struct walk *w, struct aws_span line)
{
	static const struct aws_span none;

	if (!setting_line(w, line, none))
		return false;
	w->nesting = w->item.value.n == 0;
	w->parent = w->item.key;
	return true;
}

/* A setting under the one before, or more of its value. */
static bool indented_line(struct walk *w, struct aws_span line)
{
	if (!w->in_section || w->item.key.n == 0)
		return false;
	if (w->nesting)
		return setting_line(w, line, w->parent);
	w->item.value.n = (size_t)(line.p + line.n - w->item.value.p);
	return true;
}

/* -- the walk --------------------------------------------------------------------------------- */

static bool next_line(struct walk *w, struct aws_span *raw)
{
	const char *newline;

	if (w->p == w->end)
		return false;
	newline = memchr(w->p, '\n', (size_t)(w->end - w->p));
	raw->p = w->p;
	raw->n = (size_t)((newline ? newline : w->end) - w->p);
	w->p = newline ? newline + 1 : w->end;
	return true;
}

static bool any_line(struct walk *w, struct aws_span raw)
{
	struct aws_span line = trim(raw.p, raw.p + raw.n);

	if (line.n == 0 || line.p[0] == '#' || line.p[0] == ';')
		return true;
	if (line.p > raw.p)
		return indented_line(w, line);
	if (line.p[0] == '[')
		return section_line(w, line);
	return top_line(w, line);
}

unsigned aws_config_each(const struct aws_config *c,
			 void (*fn)(void *arg, const struct aws_item *item), void *arg)
{
	struct walk w = {
		.p = c->p, .end = c->p + c->len, .credentials = c->credentials, .fn = fn, .arg = arg
	};
	struct aws_span raw;
	unsigned bad = 0;

	if (c->len >= 3 && !memcmp(c->p, "\xef\xbb\xbf", 3))
		w.p += 3;
	for (unsigned n = 1; next_line(&w, &raw); n++)
		if (!any_line(&w, raw) && bad == 0)
			bad = n;
	tell(&w);
	return bad;
}

/* -- questions -------------------------------------------------------------------------------- */

struct question {
	enum aws_section kind;
	const char *section;
	const char *parent; /* NULL: none */
	const char *key;    /* NULL: the section itself */
	bool found;
	struct aws_span value;
};

static void ask_item(void *arg, const struct aws_item *item)
{
	struct question *q = arg;

	if (item->kind != q->kind || !span_is(item->section, q->section))
		return;
	if (!q->key) {
		q->found = true;
		return;
	}
	if (!span_is_key(item->key, q->key) || (item->parent.n > 0) != (q->parent != NULL) ||
	    (q->parent && !span_is_key(item->parent, q->parent)))
		return;
	q->found = true;
	q->value = item->value;
}

bool aws_config_has(const struct aws_config *c, enum aws_section kind, const char *section)
{
	struct question q = { .kind = kind, .section = section };

	aws_config_each(c, ask_item, &q);
	return q.found;
}

bool aws_config_get(const struct aws_config *c, enum aws_section kind, const char *section,
		    const char *parent, const char *key, struct aws_span *out)
{
	struct question q = { .kind = kind, .section = section, .parent = parent, .key = key };

	aws_config_each(c, ask_item, &q);
	*out = q.value;
	return q.found && q.value.n > 0;
}
