/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokens of JSON, one byte of state at a time: a piece may end anywhere, within an escape too. Strings that lie in one
 * piece and have no escapes are told from where they are.
 */
#include "image/json_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

enum json_state {
	JSON_AT_VALUE,
	JSON_AT_VALUE_OR_END, /* after '[' */
	JSON_AT_KEY,
	JSON_AT_KEY_OR_END, /* after '{' */
	JSON_AT_COLON,
	JSON_AT_COMMA,
	JSON_IN_STRING,
	JSON_IN_ESCAPE,
	JSON_IN_UNICODE,
	JSON_IN_WORD, /* a number, true, false, null */
	JSON_AT_END
};

enum { WORD_MAX = 64 };

struct json_stream {
	struct json_sink *sink; /* borrowed */
	size_t string_max;
	uint32_t objects; /* bit d: the container at depth d + 1 is an object */
	unsigned depth;
	enum json_state state;
	bool is_key; /* the string that is read */
	bool skip;   /* nothing is told until a value at skip_depth ends */
	unsigned skip_depth;
	unsigned digits; /* of an escape that are still to come */
	uint32_t unit;   /* that escape */
	uint32_t high;   /* the first half of a pair that waits for the other; 0: none */
	char *buf;       /* a string of several pieces, or a word */
	size_t n;
	size_t cap;
	int failed;
};
_Static_assert(JSON_DEPTH_MAX <= 32, "one bit a level");

struct json_stream *json_stream_new(struct json_sink *sink, size_t string_max)
{
	struct json_stream *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->sink = sink;
	s->string_max = string_max;
	s->cap = 256;
	s->buf = malloc(s->cap);
	if (!s->buf) {
		free(s);
		return NULL;
	}
	return s;
}

void json_stream_free(struct json_stream *s)
{
	if (!s)
		return;
	free(s->buf);
	free(s);
}

/* -- values ----------------------------------------------------------------------------------- */

static int json_tell(struct json_stream *s, enum json_event event, const char *p, size_t n,
		     int64_t number)
{
	struct json_token t = {
		.event = event, .depth = s->depth, .p = p, .len = n, .number = number
	};

	return s->skip ? 0 : s->sink->token(s->sink, &t);
}

static void json_value_done(struct json_stream *s)
{
	if (s->skip && s->depth == s->skip_depth)
		s->skip = false;
	s->state = s->depth ? JSON_AT_COMMA : JSON_AT_END;
}

static bool json_in_object(const struct json_stream *s)
{
	return s->depth && s->objects & BIT(s->depth - 1);
}

static int json_open(struct json_stream *s, bool object)
{
	if (s->depth == JSON_DEPTH_MAX)
		return -E2BIG;
	s->objects = object ? s->objects | BIT(s->depth) : s->objects & ~BIT(s->depth);
	s->depth++;
	s->state = object ? JSON_AT_KEY_OR_END : JSON_AT_VALUE_OR_END;
	return json_tell(s, object ? JSON_OBJECT : JSON_ARRAY, NULL, 0, 0);
}

static int json_close(struct json_stream *s, bool object)
{
	int r;

	if (!s->depth || json_in_object(s) != object)
		return -EBADMSG;
	r = json_tell(s, object ? JSON_OBJECT_END : JSON_ARRAY_END, NULL, 0, 0);
	s->depth--;
	json_value_done(s);
	return r;
}

/* -- words ------------------------------------------------------------------------------------ */

static size_t json_digits(const char *p, size_t n, size_t at)
{
	while (at < n && p[at] >= '0' && p[at] <= '9')
		at++;
	return at;
}

/* Where the integer part of a number ends; 0: there is none. */
static size_t json_integer_end(const char *p, size_t n)
{
	size_t at = n && p[0] == '-', end = json_digits(p, n, at);

	if (end == at || (p[at] == '0' && end > at + 1))
		return 0;
	return end;
}

static bool json_is_number(const char *p, size_t n)
{
	size_t at = json_integer_end(p, n), from;

	if (!at)
		return false;
	if (at < n && p[at] == '.') {
		from = ++at;
		at = json_digits(p, n, at);
		if (at == from)
			return false;
	}
	if (at < n && (p[at] == 'e' || p[at] == 'E')) {
		at++;
		if (at < n && (p[at] == '+' || p[at] == '-'))
			at++;
		from = at;
		at = json_digits(p, n, at);
		if (at == from)
			return false;
	}
	return at == n;
}

static bool json_int(const char *p, size_t n, int64_t *out)
{
	bool minus = p[0] == '-';
	int64_t v = 0;

	if (json_integer_end(p, n) != n)
		return false;
	for (size_t i = minus; i < n; i++) {
		int digit = p[i] - '0';

		/* Downwards, for the least one has no counterpart. */
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, digit, &v))
			return false;
	}
	if (!minus && __builtin_sub_overflow(0, v, &v))
		return false;
	*out = v;
	return true;
}

static int json_word_done(struct json_stream *s)
{
	static const char *const words[] = { "true", "false", "null" };
	bool known = json_is_number(s->buf, s->n);
	int64_t number;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		known = known || (strlen(words[i]) == s->n && !memcmp(words[i], s->buf, s->n));
	if (!known)
		return -EBADMSG;
	if (json_int(s->buf, s->n, &number))
		r = json_tell(s, JSON_INT, s->buf, s->n, number);
	else
		r = json_tell(s, JSON_OTHER, s->buf, s->n, 0);
	json_value_done(s);
	return r;
}

static bool json_is_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' ||
		c == '.' || c == 'E';
}

/* Returns how many bytes it took. */
static ssize_t json_word(struct json_stream *s, const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && json_is_word(p[i])) {
		if (s->n == WORD_MAX)
			return -EBADMSG;
		s->buf[s->n++] = p[i++];
	}
	if (i < n) {
		int r = json_word_done(s);

		if (r < 0)
			return r;
	}
	return (ssize_t)i;
}

/* -- strings ---------------------------------------------------------------------------------- */

static int json_append(struct json_stream *s, const char *p, size_t n)
{
	if (s->skip)
		return 0;
	if (n > s->string_max || s->n > s->string_max - n)
		return -E2BIG;
	if (s->n + n > s->cap) {
		size_t cap = MAX(2 * s->cap, s->n + n);
		char *buf = realloc(s->buf, cap);

		if (!buf)
			return -ENOMEM;
		s->buf = buf;
		s->cap = cap;
	}
	memcpy(s->buf + s->n, p, n);
	s->n += n;
	return 0;
}

static int json_append_point(struct json_stream *s, uint32_t c)
{
	char out[4];
	size_t n = 0;

	if (c < 0x80) {
		out[n++] = (char)c;
	} else if (c < 0x800) {
		out[n++] = (char)(0xc0 | c >> 6);
		out[n++] = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		out[n++] = (char)(0xe0 | c >> 12);
		out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		out[n++] = (char)(0x80 | (c & 0x3f));
	} else {
		out[n++] = (char)(0xf0 | c >> 18);
		out[n++] = (char)(0x80 | (c >> 12 & 0x3f));
		out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		out[n++] = (char)(0x80 | (c & 0x3f));
	}
	return json_append(s, out, n);
}

/* A first half whose second one does not come. */
static int json_lone_half(struct json_stream *s)
{
	if (!s->high)
		return 0;
	s->high = 0;
	return json_append_point(s, 0xfffd);
}

static int json_unit(struct json_stream *s, uint32_t c)
{
	int r;

	if (s->high && c >= 0xdc00 && c < 0xe000) {
		c = 0x10000 + ((s->high - 0xd800) << 10) + (c - 0xdc00);
		s->high = 0;
		return json_append_point(s, c);
	}
	r = json_lone_half(s);
	if (r < 0)
		return r;
	if (c >= 0xd800 && c < 0xdc00) {
		s->high = c;
		return 0;
	}
	return json_append_point(s, c >= 0xdc00 && c < 0xe000 ? 0xfffd : c);
}

static int json_escape(struct json_stream *s, char c)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	const char *at = c ? strchr(from, c) : NULL;
	int r;

	if (c == 'u') {
		s->digits = 4;
		s->unit = 0;
		s->state = JSON_IN_UNICODE;
		return 0;
	}
	if (!at)
		return -EBADMSG;
	s->state = JSON_IN_STRING;
	r = json_lone_half(s);
	return r < 0 ? r : json_append(s, &to[at - from], 1);
}

static int json_unicode(struct json_stream *s, char c)
{
	uint32_t v;

	if (c >= '0' && c <= '9')
		v = (uint32_t)(c - '0');
	else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		v = (uint32_t)((c | 0x20) - 'a') + 10;
	else
		return -EBADMSG;
	s->unit = s->unit << 4 | v;
	if (--s->digits)
		return 0;
	s->state = JSON_IN_STRING;
	return json_unit(s, s->unit);
}

static int json_string_done(struct json_stream *s, const char *p, size_t n)
{
	int r;

	if (!s->is_key) {
		r = json_tell(s, JSON_STRING, p, n, 0);
		json_value_done(s);
		return r;
	}
	s->state = JSON_AT_COLON;
	r = json_tell(s, JSON_KEY, p, n, 0);
	if (r == JSON_SKIP) {
		s->skip = true;
		s->skip_depth = s->depth;
	}
	return MIN(r, 0);
}

static size_t json_plain_run(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] != '"' && p[i] != '\\' && (unsigned char)p[i] >= 0x20)
		i++;
	return i;
}

/* Up to the end of the string, the next escape or the end of the piece; how many bytes it took. */
static ssize_t json_string(struct json_stream *s, const char *p, size_t n)
{
	size_t run = json_plain_run(p, n);
	bool whole = run < n && p[run] == '"' && !s->n && !s->high;
	int r = 0;

	if (whole && (s->skip || run <= s->string_max)) {
		r = json_string_done(s, p, run);
		return r < 0 ? r : (ssize_t)run + 1;
	}
	if (run || (run < n && p[run] == '"'))
		r = json_lone_half(s);
	if (r == 0)
		r = json_append(s, p, run);
	if (r < 0)
		return r;
	if (run == n)
		return (ssize_t)n;
	if (p[run] == '\\')
		s->state = JSON_IN_ESCAPE;
	else if (p[run] == '"')
		r = json_string_done(s, s->buf, s->n);
	else
		r = -EBADMSG;
	return r < 0 ? r : (ssize_t)run + 1;
}

/* -- the whole -------------------------------------------------------------------------------- */

static void json_begin_string(struct json_stream *s, bool key)
{
	s->is_key = key;
	s->n = 0;
	s->high = 0;
	s->state = JSON_IN_STRING;
}

/* The first byte of a value; 0: the byte was taken, 1: it is the value's. */
static int json_begin_value(struct json_stream *s, char c)
{
	if (c == '{' || c == '[')
		return json_open(s, c == '{');
	if (c == '"') {
		json_begin_string(s, false);
		return 0;
	}
	if (!json_is_word(c))
		return -EBADMSG;
	s->n = 0;
	s->state = JSON_IN_WORD;
	return 1;
}

static int json_comma(struct json_stream *s, char c)
{
	if (c == '}' || c == ']')
		return json_close(s, c == '}');
	if (c != ',')
		return -EBADMSG;
	s->state = json_in_object(s) ? JSON_AT_KEY : JSON_AT_VALUE;
	return 0;
}

/* A byte between values. 0: it was taken, 1: it was not. */
static int json_between(struct json_stream *s, char c)
{
	if (c == ' ' || c == '\n' || c == '\t' || c == '\r')
		return 0;
	switch (s->state) {
	case JSON_AT_VALUE_OR_END:
		return c == ']' ? json_close(s, false) : json_begin_value(s, c);
	case JSON_AT_VALUE:
		return json_begin_value(s, c);
	case JSON_AT_KEY_OR_END:
		if (c == '}')
			return json_close(s, true);
		/* fall through */
	case JSON_AT_KEY:
		if (c != '"')
			return -EBADMSG;
		json_begin_string(s, true);
		return 0;
	case JSON_AT_COLON:
		s->state = JSON_AT_VALUE;
		return c == ':' ? 0 : -EBADMSG;
	case JSON_AT_COMMA:
		return json_comma(s, c);
	default:
		return -EBADMSG;
	}
}

/* How many bytes it took, 0 where only the state is another now. */
static ssize_t json_step(struct json_stream *s, const char *p, size_t n)
{
	int r;

	switch (s->state) {
	case JSON_IN_STRING:
		return json_string(s, p, n);
	case JSON_IN_ESCAPE:
		r = json_escape(s, *p);
		break;
	case JSON_IN_UNICODE:
		r = json_unicode(s, *p);
		break;
	case JSON_IN_WORD:
		return json_word(s, p, n);
	default:
		r = json_between(s, *p);
	}
	return r < 0 ? r : !r;
}

int json_stream_feed(struct json_stream *s, const void *buf, size_t n)
{
	const char *p = buf;

	while (n && !s->failed) {
		ssize_t took = json_step(s, p, n);

		if (took < 0)
			s->failed = (int)took;
		else
			p += took, n -= (size_t)took;
	}
	return s->failed;
}

int json_stream_end(struct json_stream *s)
{
	if (!s->failed && s->state == JSON_IN_WORD)
		s->failed = json_word_done(s);
	if (!s->failed && s->state != JSON_AT_END)
		s->failed = -EBADMSG;
	return s->failed;
}
