/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URLs by RFC 3986, as far as http needs them. Redirects are resolved here and not by libcurl,
 * because who gets to see credentials is decided at each hop. Pure functions, any thread.
 */
#include "net/url.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/macros.h"

/* A string under construction; `r` keeps the first failure. */
struct text {
	char *p;
	size_t len;
	size_t cap;
	int r;
};

static struct text text_on(char *p, size_t cap)
{
	if (cap > 0)
		p[0] = '\0';
	return (struct text){ .p = p, .cap = cap };
}

static void text_add(struct text *t, const char *p, size_t n)
{
	if (t->r < 0 || n == 0)
		return;
	if (n >= t->cap - t->len) {
		t->r = -ENAMETOOLONG;
		return;
	}
	memcpy(t->p + t->len, p, n);
	t->len += n;
	t->p[t->len] = '\0';
}

static void text_add_span(struct text *t, struct url_span s)
{
	text_add(t, s.p, s.len);
}

/* Printable ASCII without space: everything else has to come percent-encoded. */
static bool url_clean(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '<' || s[i] == '>' ||
		    s[i] == '\\')
			return false;
	return true;
}

static size_t span_until(const char *s, size_t n, const char *stops)
{
	size_t i = 0;

	while (i < n && !strchr(stops, s[i]))
		i++;
	return i;
}

static bool port_valid(struct url_span port)
{
	unsigned v = 0;

	if (port.len > 5)
		return false;
	for (size_t i = 0; i < port.len; i++) {
		if (!isdigit((unsigned char)port.p[i]))
			return false;
		v = v * 10 + (unsigned)(port.p[i] - '0');
	}
	return v <= 65535 && (port.len == 0 || v > 0);
}

static bool host_valid(struct url_span host)
{
	if (host.len == 0)
		return false;
	if (host.p[0] == '[')
		return host.len > 2 && host.p[host.len - 1] == ']' &&
			span_until(host.p + 1, host.len - 2, "[]/%@") == host.len - 2;
	return span_until(host.p, host.len, "[]@:%") == host.len;
}

/* "user:password@host:port" */
static int parse_authority(const char *s, size_t n, struct url *out)
{
	size_t end;

	for (size_t i = n; i-- > 0;) {
		if (s[i] != '@')
			continue;
		out->userinfo = (struct url_span){ s, i };
		s += i + 1;
		n -= i + 1;
		break;
	}
	if (n > 0 && s[0] == '[') {
		end = span_until(s, n, "]");
		end += end < n;
	} else {
		end = span_until(s, n, ":");
	}
	out->host = (struct url_span){ s, end };
	if (end < n && s[end] != ':')
		return -EINVAL;
	out->port = (struct url_span){ s + end + (end < n), n - end - (end < n) };
	return host_valid(out->host) && port_valid(out->port) ? 0 : -EINVAL;
}

int url_parse(const char *s, size_t n, struct url *out)
{
	size_t len;

	*out = (struct url){ 0 };
	if (n >= URL_MAX)
		return -ENAMETOOLONG;
	if (n >= 7 && strncasecmp(s, "http://", 7) == 0)
		out->scheme = (struct url_span){ s, 4 };
	else if (n >= 8 && strncasecmp(s, "https://", 8) == 0)
		out->scheme = (struct url_span){ s, 5 };
	else
		return -EINVAL;
	out->tls = out->scheme.len == 5;
	if (!url_clean(s, n))
		return -EINVAL;
	s += out->scheme.len + 3;
	n -= out->scheme.len + 3;
	n = span_until(s, n, "#");

	len = span_until(s, n, "/?");
	if (parse_authority(s, len, out) < 0)
		return -EINVAL;
	s += len;
	n -= len;
	len = span_until(s, n, "?");
	out->path = (struct url_span){ s, len };
	out->query = (struct url_span){ s + len, n - len };
	return 0;
}

unsigned url_port(const struct url *u)
{
	unsigned v = 0;

	for (size_t i = 0; i < u->port.len; i++)
		v = v * 10 + (unsigned)(u->port.p[i] - '0');
	return v ? v : u->tls ? 443 : 80;
}

bool url_same_origin(const struct url *a, const struct url *b)
{
	return a->tls == b->tls && a->host.len == b->host.len &&
		strncasecmp(a->host.p, b->host.p, a->host.len) == 0 && url_port(a) == url_port(b);
}

static void add_origin(struct text *t, const struct url *u)
{
	text_add(t, u->tls ? "https://" : "http://", u->tls ? 8 : 7);
	text_add_span(t, u->host);
	if (u->port.len > 0) {
		text_add(t, ":", 1);
		text_add_span(t, u->port);
	}
}

static void add_path(struct text *t, const struct url *u)
{
	if (u->path.len > 0)
		text_add_span(t, u->path);
	else
		text_add(t, "/", 1);
}

int url_strip(const struct url *u, char *out, size_t cap)
{
	struct text t = text_on(out, cap);

	add_origin(&t, u);
	add_path(&t, u);
	text_add_span(&t, u->query);
	return t.r;
}

/* Parameters of signed URLs (AWS, Google, Azure, CloudFront) and common names of tokens. */
static bool is_secret(const char *name, size_t n)
{
	static const char *const secrets[] = {
		"access_token",
		"api_key",
		"apikey",
		"auth",
		"key",
		"password",
		"secret",
		"sig",
		"signature",
		"token",
		"x-amz-credential",
		"x-amz-security-token",
		"x-amz-signature",
		"x-goog-credential",
		"x-goog-signature",
	};

	for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
		if (strlen(secrets[i]) == n && strncasecmp(secrets[i], name, n) == 0)
			return true;
	return false;
}

/* "name=value" of a query. */
struct parameter {
	struct url_span text;
	size_t name; /* length; all of it where there is no value */
};

/* Takes the first one off @rest, which begins with the '?' or '&' before it. */
static bool next_parameter(struct url_span *rest, struct parameter *out)
{
	size_t len;

	if (rest->len == 0)
		return false;
	len = span_until(rest->p + 1, rest->len - 1, "&");
	out->text = (struct url_span){ rest->p + 1, len };
	out->name = span_until(out->text.p, len, "=");
	rest->p += len + 1;
	rest->len -= len + 1;
	return true;
}

static bool is_hidden(const struct parameter *p)
{
	return p->name < p->text.len && is_secret(p->text.p, p->name);
}

int url_redact(const struct url *u, char *out, size_t cap)
{
	struct text t = text_on(out, cap);
	struct url_span rest = u->query;
	struct parameter p;

	add_origin(&t, u);
	add_path(&t, u);
	while (next_parameter(&rest, &p)) {
		text_add(&t, p.text.p - 1, 1);
		text_add(&t, p.text.p, is_hidden(&p) ? p.name + 1 : p.text.len);
		if (is_hidden(&p))
			text_add(&t, "***", 3);
	}
	return t.r;
}

/* -- identity --------------------------------------------------------------------------------- */

/* A way to sign URLs: who has all of @needs means it, and then @drops say nothing of what is there. */
struct signing {
	const char *needs[4];
	const char *drops[8];
};

static const struct signing signings[] = {
	{ { "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature" },
	  { "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-Expires",
	    "X-Amz-Security-Token", "X-Amz-SignedHeaders" } },
	{ { "AWSAccessKeyId", "Expires", "Signature" },
	  { "AWSAccessKeyId", "Expires", "Signature", "x-amz-security-token" } },
	{ { "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Signature" },
	  { "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Signature", "X-Goog-Date",
	    "X-Goog-Expires", "X-Goog-SignedHeaders" } },
	{ { "GoogleAccessId", "Expires", "Signature" },
	  { "GoogleAccessId", "Expires", "Signature" } },
	/* CloudFront */
	{ { "Key-Pair-Id", "Expires", "Signature" },
	  { "Key-Pair-Id", "Expires", "Signature", "Hash-Algorithm" } },
	{ { "Key-Pair-Id", "Policy", "Signature" },
	  { "Key-Pair-Id", "Policy", "Signature", "Hash-Algorithm" } },
	/* Azure: what does not change with the time stays */
	{ { "sv", "se", "sig" }, { "se", "sig", "st", "ske", "skt" } },
	{ { "sv", "si", "sig" }, { "sig" } },
};

static bool is_named(const struct parameter *p, const char *name)
{
	return p->name < p->text.len && strlen(name) == p->name &&
		memcmp(name, p->text.p, p->name) == 0;
}

static bool has_parameter(const struct url *u, const char *name)
{
	struct url_span rest = u->query;
	struct parameter p;

	while (next_parameter(&rest, &p))
		if (is_named(&p, name))
			return true;
	return false;
}

static bool is_signed_by(const struct url *u, const struct signing *s)
{
	for (size_t i = 0; i < ARRAY_LEN(s->needs) && s->needs[i]; i++)
		if (!has_parameter(u, s->needs[i]))
			return false;
	return true;
}

/* Bit i: by signings[i]. */
static unsigned ways_signed(const struct url *u)
{
	unsigned ways = 0;

	for (size_t i = 0; i < ARRAY_LEN(signings); i++)
		if (is_signed_by(u, &signings[i]))
			ways |= 1u << i;
	return ways;
}

static bool is_of_signature(const struct parameter *p, unsigned ways)
{
	for (; ways; ways &= ways - 1) {
		const struct signing *s = &signings[__builtin_ctz(ways)];

		for (size_t i = 0; i < ARRAY_LEN(s->drops) && s->drops[i]; i++)
			if (is_named(p, s->drops[i]))
				return true;
	}
	return false;
}

int url_identity(const struct url *u, char *out, size_t cap, bool *shown)
{
	struct text t = text_on(out, cap);
	struct url_span rest = u->query;
	unsigned ways = ways_signed(u);
	char before = '?';
	struct parameter p;

	*shown = !ways;
	add_origin(&t, u);
	add_path(&t, u);
	while (next_parameter(&rest, &p)) {
		*shown = *shown && !is_hidden(&p);
		if (is_of_signature(&p, ways))
			continue;
		text_add(&t, &before, 1);
		text_add_span(&t, p.text);
		before = '&';
	}
	return t.r;
}

/* -- resolution of references ----------------------------------------------------------------- */

/* Cuts the last segment of the path that begins at @start, with the slash before it. */
static void drop_segment(struct text *t, size_t start)
{
	while (t->len > start && t->p[t->len - 1] != '/')
		t->len--;
	if (t->len > start)
		t->len--;
	t->p[t->len] = '\0';
}

static bool segment_is(const char *s, size_t n, const char *dots)
{
	return n == strlen(dots) && memcmp(s, dots, n) == 0;
}

/* Adds an absolute path with "." and ".." taken out (RFC 3986 5.2.4). */
static void add_normal_path(struct text *t, const char *s, size_t n)
{
	size_t start = t->len;

	while (n > 0 && t->r == 0) {
		size_t len = 1 + span_until(s + 1, n - 1, "/");
		bool last = len == n;

		if (segment_is(s + 1, len - 1, "..")) {
			drop_segment(t, start);
			if (last)
				text_add(t, "/", 1);
		} else if (!segment_is(s + 1, len - 1, ".")) {
			text_add(t, s, len);
		} else if (last) {
			text_add(t, "/", 1);
		}
		s += len;
		n -= len;
	}
}

/* A path reference: absolute, or relative to the folder of @base. */
static int resolve_path(const struct url *base, const char *s, size_t n, char *out, size_t cap)
{
	struct text t = text_on(out, cap);
	char joined[2 * URL_MAX];
	struct text j = text_on(joined, sizeof joined);
	size_t path = span_until(s, n, "?");

	if (path == 0) {
		add_path(&j, base);
	} else if (s[0] != '/') {
		add_path(&j, base);
		while (j.len > 0 && j.p[j.len - 1] != '/')
			j.len--;
	}
	text_add(&j, s, path);
	if (j.r < 0)
		return j.r;
	add_origin(&t, base);
	add_normal_path(&t, j.p, j.len);
	if (path == 0 && n == 0)
		text_add_span(&t, base->query);
	else
		text_add(&t, s + path, n - path);
	return t.r;
}

static bool has_scheme(const char *s, size_t n)
{
	size_t i = span_until(s, n, ":/?#");

	return i > 0 && i < n && s[i] == ':' && isalpha((unsigned char)s[0]);
}

int url_resolve(const struct url *base, const char *location, size_t n, char *out, size_t cap)
{
	char absolute[URL_MAX];
	struct text t = text_on(absolute, sizeof absolute);
	struct url u;
	int r;

	if (n >= URL_MAX)
		return -ENAMETOOLONG;
	if (!url_clean(location, n))
		return -EINVAL;
	n = span_until(location, n, "#");
	if (n >= 2 && location[0] == '/' && location[1] == '/') {
		text_add(&t, base->tls ? "https:" : "http:", base->tls ? 6 : 5);
		text_add(&t, location, n);
		if (t.r < 0)
			return t.r;
		location = absolute;
		n = t.len;
	} else if (!has_scheme(location, n)) {
		return resolve_path(base, location, n, out, cap);
	}
	r = url_parse(location, n, &u);
	return r < 0 ? r : url_strip(&u, out, cap);
}

/* -- decoding --------------------------------------------------------------------------------- */

/* The byte that "%41" at @s stands for, else -1. */
static int percent_byte(const char *s, size_t n)
{
	int high, low;

	if (n < 3 || s[0] != '%')
		return -1;
	high = hex_value(s[1]);
	low = hex_value(s[2]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Bytes that could not stand in a file name stay encoded. */
static void add_decoded(struct text *t, const char *s, size_t n)
{
	while (n > 0) {
		int byte = percent_byte(s, n);
		size_t used = 1;
		char c = s[0];

		if (byte >= ' ' && byte != '/' && byte != 0x7f) {
			c = (char)byte;
			used = 3;
		}
		text_add(t, &c, 1);
		s += used;
		n -= used;
	}
}

int url_name(const struct url *u, char *out, size_t cap)
{
	struct text t = text_on(out, cap);
	const char *s = u->path.p;
	size_t n = u->path.len;

	for (size_t i = n; i-- > 0;) {
		if (s[i] != '/')
			continue;
		s += i + 1;
		n -= i + 1;
		break;
	}
	add_decoded(&t, s, n);
	if (t.r == 0 && (t.len == 0 || strcmp(out, ".") == 0 || strcmp(out, "..") == 0)) {
		t = text_on(out, cap);
		text_add_span(&t, u->host);
	}
	return t.r;
}

int url_credentials(const struct url *u, char *out, size_t cap)
{
	struct text t = text_on(out, cap);
	const char *s = u->userinfo.p;
	size_t n = u->userinfo.len;

	if (!s)
		return -ENOENT;
	while (n > 0) {
		int byte = percent_byte(s, n);
		char c = byte > 0 ? (char)byte : s[0];

		text_add(&t, &c, 1);
		s += byte > 0 ? 3 : 1;
		n -= byte > 0 ? 3 : 1;
	}
	return t.r;
}
