/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack machine over expat: an element is known by its parent and its name, its text is collected
 * up to a limit, and its end puts the text where the table says. What is not known is skipped.
 * Pure, any thread.
 */
#include "s3/s3_xml.h"

#include <errno.h>
#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vmofs/source.h>

#include "base/macros.h"

#define DEPTH_MAX   16
#define TEXT_MAX    16384 /* of one element; a key of 1024 bytes is at most 3072 when encoded */
#define ENTRIES_MAX 1000000
#define TOKEN_MAX   65536 /* of one tag or comment; expat reads it again with each chunk */

/* Elements that mean something. */
enum tag {
	TAG_NONE, /* anything else, and what is below it */
	TAG_RESULT,
	TAG_CONTENTS,
	TAG_PREFIXES,
	TAG_TRUNCATED,
	TAG_TOKEN,
	TAG_ENCODING,
	TAG_KEY,
	TAG_MODIFIED,
	TAG_ETAG,
	TAG_SIZE,
	TAG_PREFIX,
	TAG_ERROR,
	TAG_CODE,
	TAG_MESSAGE,
	TAG_REQUEST_ID,
	TAG_REGION,
	TAG_ENDPOINT,
	TAG_SERVER_TIME,
	NTAGS
};

static const struct {
	enum tag parent; /* TAG_NONE: the root */
	enum tag tag;
	const char *name;
} tags[] = {
	{ TAG_NONE, TAG_RESULT, "ListBucketResult" },
	{ TAG_RESULT, TAG_CONTENTS, "Contents" },
	{ TAG_RESULT, TAG_PREFIXES, "CommonPrefixes" },
	{ TAG_RESULT, TAG_TRUNCATED, "IsTruncated" },
	{ TAG_RESULT, TAG_TOKEN, "NextContinuationToken" },
	{ TAG_RESULT, TAG_ENCODING, "EncodingType" },
	{ TAG_CONTENTS, TAG_KEY, "Key" },
	{ TAG_CONTENTS, TAG_MODIFIED, "LastModified" },
	{ TAG_CONTENTS, TAG_ETAG, "ETag" },
	{ TAG_CONTENTS, TAG_SIZE, "Size" },
	{ TAG_PREFIXES, TAG_PREFIX, "Prefix" },
	{ TAG_NONE, TAG_ERROR, "Error" },
	{ TAG_ERROR, TAG_CODE, "Code" },
	{ TAG_ERROR, TAG_MESSAGE, "Message" },
	{ TAG_ERROR, TAG_REQUEST_ID, "RequestId" },
	{ TAG_ERROR, TAG_REGION, "Region" },
	{ TAG_ERROR, TAG_ENDPOINT, "Endpoint" },
	{ TAG_ERROR, TAG_SERVER_TIME, "ServerTime" },
};

struct s3_xml {
	XML_Parser parser;
	struct s3_page *page;   /* borrowed; NULL: an error document */
	struct s3_error *error; /* borrowed; NULL: a listing */
	enum tag stack[DEPTH_MAX];
	unsigned depth;
	int code;              /* why the parser was stopped */
	uint64_t fed;          /* bytes so far */
	struct s3_entry entry; /* the one that is being read */
	bool has_key;
	size_t text_len;
	char text[TEXT_MAX];
};

/* -- the page's memory ------------------------------------------------------------------------ */

void s3_page_clear(struct s3_page *p)
{
	free(p->v);
	free(p->text);
	free(p->token);
	*p = (struct s3_page){ 0 };
}

/* Keeps @n bytes and a zero; gives their offset. */
static int page_text(struct s3_page *p, const char *s, size_t n, uint32_t *off)
{
	if (p->len + n + 2 > p->text_cap) {
		size_t cap = MAX(p->text_cap * 2, p->len + n + 4096);
		char *text = cap > UINT32_MAX ? NULL : realloc(p->text, cap);

		if (!text)
			return -ENOMEM;
		p->text = text;
		p->text_cap = cap;
		if (p->len == 0)
			p->text[p->len++] = '\0';
	}
	*off = (uint32_t)p->len;
	memcpy(p->text + p->len, s, n);
	p->text[p->len + n] = '\0';
	p->len += n + 1;
	return 0;
}

static int page_push(struct s3_page *p, const struct s3_entry *e)
{
	if (p->n == ENTRIES_MAX)
		return -EBADMSG;
	if (p->n == p->cap) {
		unsigned cap = p->cap ? p->cap * 2 : 256;
		struct s3_entry *v = realloc(p->v, cap * sizeof *v);

		if (!v)
			return -ENOMEM;
		p->v = v;
		p->cap = cap;
	}
	p->v[p->n++] = *e;
	return 0;
}

/* -- values ----------------------------------------------------------------------------------- */

static int digits(const char *p, unsigned n)
{
	int v = 0;

	for (unsigned i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -1;
		v = v * 10 + p[i] - '0';
	}
	return v;
}

static long parse_fraction(const char *p, size_t n)
{
	long ns = 0;

	for (unsigned i = 0; i < 9; i++)
		ns = ns * 10 + (i < n && p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : 0);
	return ns;
}

int s3_xml_time(const char *text, size_t n, struct timespec *out)
{
	struct tm tm = { 0 };

	if (n < 19 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' ||
	    text[16] != ':')
		return -EINVAL;
	tm.tm_year = digits(text, 4) - 1900;
	tm.tm_mon = digits(text + 5, 2) - 1;
	tm.tm_mday = digits(text + 8, 2);
	tm.tm_hour = digits(text + 11, 2);
	tm.tm_min = digits(text + 14, 2);
	tm.tm_sec = digits(text + 17, 2);
	if (tm.tm_year < -1900 || tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 ||
	    tm.tm_mday > 31 || tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 ||
	    tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
		return -EINVAL;
	out->tv_sec = timegm(&tm);
	out->tv_nsec = n > 20 && text[19] == '.' ? parse_fraction(text + 20, n - 20) : 0;
	return 0;
}

static uint64_t parse_size(const char *p, size_t n)
{
	uint64_t v = 0;

	if (n == 0 || n > 19)
		return VMOFS_SIZE_UNKNOWN;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return VMOFS_SIZE_UNKNOWN;
		v = v * 10 + (unsigned)(p[i] - '0');
	}
	return v;
}

/* Some servers leave the quotes out. */
static int take_etag(struct s3_xml *x)
{
	char quoted[260];
	int n;

	if (x->text_len == 0 || x->text_len > 255 || strcmp(x->text, "\"\"") == 0)
		return 0;
	if (x->text[0] == '"' || strncmp(x->text, "W/", 2) == 0)
		return page_text(x->page, x->text, x->text_len, &x->entry.etag);
	n = snprintf(quoted, sizeof quoted, "\"%s\"", x->text);
	return page_text(x->page, quoted, (size_t)n, &x->entry.etag);
}

static int take_key(struct s3_xml *x)
{
	x->has_key = true;
	x->entry.key_len = (uint32_t)x->text_len;
	return page_text(x->page, x->text, x->text_len, &x->entry.key);
}

static int take_token(struct s3_xml *x)
{
	free(x->page->token);
	x->page->token = x->text_len ? strdup(x->text) : NULL;
	return x->text_len && !x->page->token ? -ENOMEM : 0;
}

static int end_entry(struct s3_xml *x)
{
	int r = x->has_key ? page_push(x->page, &x->entry) : -EBADMSG;

	x->has_key = false;
	return r;
}

/* The end of an element of a listing. */
static int take_listed(struct s3_xml *x, enum tag tag)
{
	switch (tag) {
	case TAG_KEY:
	case TAG_PREFIX:
		return take_key(x);
	case TAG_ETAG:
		return take_etag(x);
	case TAG_SIZE:
		x->entry.size = parse_size(x->text, x->text_len);
		return 0;
	case TAG_MODIFIED:
		s3_xml_time(x->text, x->text_len, &x->entry.mtime);
		return 0;
	case TAG_TRUNCATED:
		x->page->truncated = strcmp(x->text, "true") == 0;
		return 0;
	case TAG_TOKEN:
		return take_token(x);
	case TAG_ENCODING:
		x->page->encoded = strcmp(x->text, "url") == 0;
		return 0;
	case TAG_CONTENTS:
	case TAG_PREFIXES:
		return end_entry(x);
	default:
		return 0;
	}
}

static void copy_text(char *out, size_t cap, const struct s3_xml *x)
{
	size_t n = MIN(x->text_len, cap - 1);

	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned char)x->text[i] < ' ' ? ' ' : x->text[i];
	out[n] = '\0';
}

static void take_error(struct s3_xml *x, enum tag tag)
{
	struct s3_error *e = x->error;
	struct timespec ts;

	if (tag == TAG_CODE)
		copy_text(e->code, sizeof e->code, x);
	else if (tag == TAG_MESSAGE)
		copy_text(e->message, sizeof e->message, x);
	else if (tag == TAG_REQUEST_ID)
		copy_text(e->request_id, sizeof e->request_id, x);
	else if (tag == TAG_REGION)
		copy_text(e->region, sizeof e->region, x);
	else if (tag == TAG_ENDPOINT)
		copy_text(e->endpoint, sizeof e->endpoint, x);
	else if (tag == TAG_SERVER_TIME && s3_xml_time(x->text, x->text_len, &ts) == 0)
		e->server_time = ts.tv_sec;
}

/* -- expat ------------------------------------------------------------------------------------ */

static void stop(struct s3_xml *x, int code)
{
	if (x->code == 0)
		x->code = code;
	XML_StopParser(x->parser, XML_FALSE);
}

static enum tag find_tag(enum tag parent, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(tags); i++)
		if (tags[i].parent == parent && strcmp(tags[i].name, name) == 0)
			return tags[i].tag;
	return TAG_NONE;
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **atts UNUSED)
{
	struct s3_xml *x = arg;
	enum tag tag = TAG_NONE;

	if (x->depth == DEPTH_MAX) {
		stop(x, -EBADMSG);
		return;
	}
	if (x->depth == 0) {
		tag = find_tag(TAG_NONE, name);
		if (tag != (x->page ? TAG_RESULT : TAG_ERROR))
			stop(x, -EBADMSG);
	} else if (x->stack[x->depth - 1] != TAG_NONE) {
		tag = find_tag(x->stack[x->depth - 1], name);
	}
	if (tag == TAG_CONTENTS || tag == TAG_PREFIXES) {
		x->entry = (struct s3_entry){ .size = VMOFS_SIZE_UNKNOWN,
					      .prefix = tag == TAG_PREFIXES };
		x->has_key = false;
	}
	x->stack[x->depth++] = tag;
	x->text_len = 0;
	x->text[0] = '\0';
}

static void on_end(void *arg, const XML_Char *name UNUSED)
{
	struct s3_xml *x = arg;
	enum tag tag = x->stack[--x->depth];
	int r = 0;

	if (x->page)
		r = take_listed(x, tag);
	else
		take_error(x, tag);
	if (r < 0)
		stop(x, r);
	x->text_len = 0;
	x->text[0] = '\0';
}

static void on_text(void *arg, const XML_Char *s, int len)
{
	struct s3_xml *x = arg;
	size_t n = (size_t)len;

	if (x->depth == 0 || x->stack[x->depth - 1] == TAG_NONE)
		return;
	if (x->text_len + n >= sizeof x->text) {
		stop(x, -EBADMSG);
		return;
	}
	memcpy(x->text + x->text_len, s, n);
	x->text_len += n;
	x->text[x->text_len] = '\0';
}

static void on_doctype(void *arg, const XML_Char *name UNUSED, const XML_Char *sysid UNUSED,
		       const XML_Char *pubid UNUSED, int internal UNUSED)
{
	stop(arg, -EBADMSG);
}

static int xml_init(struct s3_xml *x)
{
	x->parser = XML_ParserCreate(NULL);
	if (!x->parser)
		return -ENOMEM;
	XML_SetUserData(x->parser, x);
	XML_SetElementHandler(x->parser, on_start, on_end);
	XML_SetCharacterDataHandler(x->parser, on_text);
	XML_SetStartDoctypeDeclHandler(x->parser, on_doctype);
	return 0;
}

struct s3_xml *s3_xml_new(struct s3_page *page)
{
	struct s3_xml *x = calloc(1, sizeof *x);

	if (!x)
		return NULL;
	x->page = page;
	if (xml_init(x) < 0) {
		free(x);
		return NULL;
	}
	return x;
}

void s3_xml_free(struct s3_xml *x)
{
	if (!x)
		return;
	XML_ParserFree(x->parser);
	free(x);
}

static int xml_parse(struct s3_xml *x, const char *p, size_t n, int final)
{
	if (x->code < 0)
		return x->code;
	if (n > INT32_MAX || XML_Parse(x->parser, p, (int)n, final) != XML_STATUS_OK) {
		if (x->code == 0)
			x->code = XML_GetErrorCode(x->parser) == XML_ERROR_NO_MEMORY ? -ENOMEM
										     : -EBADMSG;
		return x->code;
	}
	x->fed += n;
	if (x->fed - (uint64_t)XML_GetCurrentByteIndex(x->parser) > n + TOKEN_MAX)
		x->code = -EBADMSG;
	return x->code;
}

int s3_xml_add(struct s3_xml *x, const void *buf, size_t n)
{
	return xml_parse(x, buf, n, 0);
}

/* -- the end of a page ------------------------------------------------------------------------ */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; the new length. What is no escape stays as it is. */
static size_t url_decode(char *s, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i] == '%' && i + 2 < n && hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0) {
			s[out++] = (char)(hex(s[i + 1]) << 4 | hex(s[i + 2]));
			i += 2;
		} else {
			s[out++] = s[i] == '+' ? ' ' : s[i];
		}
	}
	s[out] = '\0';
	return out;
}

static void page_finish(struct s3_page *p)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < p->n; i++) {
		struct s3_entry *e = &p->v[i];
		char *key = p->text + e->key;

		if (p->encoded)
			e->key_len = (uint32_t)url_decode(key, e->key_len);
		if (e->key_len == 0 || e->key_len >= VMOFS_KEY_MAX || memchr(key, 0, e->key_len))
			continue;
		p->v[kept++] = *e;
	}
	p->n = kept;
}

int s3_xml_end(struct s3_xml *x)
{
	int r = xml_parse(x, NULL, 0, 1);

	if (r == 0 && x->page->truncated && !x->page->token)
		r = -EBADMSG;
	if (r == 0)
		page_finish(x->page);
	return r;
}

void s3_xml_error(const char *p, size_t n, struct s3_error *out)
{
	struct s3_xml *x = calloc(1, sizeof *x);

	*out = (struct s3_error){ 0 };
	if (!x)
		return;
	x->error = out;
	if (xml_init(x) == 0) {
		xml_parse(x, p, n, 0);
		XML_ParserFree(x->parser);
	}
	free(x);
}
