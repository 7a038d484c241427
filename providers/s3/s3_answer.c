/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds elements by their names: the documents are flat, and no name is in another one twice. What is not
 * as expected is as if it were not there. Pure functions, any thread.
 */
#include "s3/s3_answer.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/macros.h"

static const struct {
	const char *code;
	char c;
} entities[] = {
	{ "&quot;", '"' }, { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' }, { "&apos;", '\'' },
};

/* Where the text of <name ...> begins; NULL: nowhere. */
static const char *find_open(const char *p, const char *end, const char *name)
{
	size_t n = strlen(name);

	while ((p = memchr(p, '<', (size_t)(end - p)))) {
		const char *close;

		p++;
		if ((size_t)(end - p) <= n || memcmp(p, name, n) != 0 || !strchr(" >", p[n]) ||
		    !p[n])
			continue;
		close = memchr(p, '>', (size_t)(end - p));
		return close && close[-1] != '/' ? close + 1 : NULL;
	}
	return NULL;
}

/* "&#39;" or "&#x27;", of ASCII; what is beyond comes as it is. NULL: it is none. */
static const char *decode_number(const char *p, const char *end, char *c)
{
	unsigned base = 10, v = 0, n = 0;

	if (end - p < 4 || p[0] != '&' || p[1] != '#')
		return NULL;
	p += 2;
	if (*p == 'x') {
		base = 16;
		p++;
	}
	for (; p < end && n < 4 &&
	     (base == 16 ? isxdigit((unsigned char)*p) : isdigit((unsigned char)*p));
	     p++, n++)
		v = v * base +
			(unsigned)(isdigit((unsigned char)*p) ? *p - '0' : tolower(*p) - 'a' + 10);
	if (n == 0 || p == end || *p != ';' || v == 0 || v > 127)
		return NULL;
	*c = (char)v;
	return p + 1;
}

static const char *decode(const char *p, const char *end, char *c)
{
	const char *next = decode_number(p, end, c);

	if (next)
		return next;
	for (size_t i = 0; i < ARRAY_LEN(entities); i++) {
		size_t n = strlen(entities[i].code);

		if ((size_t)(end - p) >= n && memcmp(p, entities[i].code, n) == 0) {
			*c = entities[i].c;
			return p + n;
		}
	}
	*c = *p;
	return p + 1;
}

int s3_answer_field(const char *p, size_t n, const char *name, char *out, size_t cap)
{
	const char *end = p + n, *close;
	size_t len = 0;

	out[0] = '\0';
	p = n > 0 ? find_open(p, end, name) : NULL;
	close = p ? memchr(p, '<', (size_t)(end - p)) : NULL;
	if (!close)
		return -ENOENT;
	while (p < close) {
		char c;

		p = decode(p, close, &c);
		if (!c || len + 1 >= cap) {
			out[0] = '\0';
			return -ENAMETOOLONG;
		}
		out[len++] = c;
	}
	out[len] = '\0';
	return 0;
}

bool s3_answer_is_error(const char *p, size_t n)
{
	return n > 0 && find_open(p, p + n, "Error");
}
