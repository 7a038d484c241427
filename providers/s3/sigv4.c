/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signature Version 4. The canonical request is never in memory as one text: its parts, sorted, go straight
 * into a hash. What is derived from the secret key is cleared before return. Pure functions, any thread.
 */
#include "s3/sigv4.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/secret.h"
#include "s3/sigv4_private.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

enum { PATH_MAX_LEN = 8192, SECRET_KEY_MAX = 1024 };

/* -- percent-encoding ------------------------------------------------------------------------- */

static bool is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '.' || c == '_' || c == '~';
}

/* Writes one byte into @out[3]; returns 1 or 3. */
static unsigned encode_byte(unsigned char c, bool keep, char *out)
{
	static const char digits[] = "0123456789ABCDEF";

	out[0] = (char)c;
	if (keep || is_unreserved(c))
		return 1;
	out[0] = '%';
	out[1] = digits[c >> 4];
	out[2] = digits[c & 15];
	return 3;
}

int sigv4_encode(const char *text, size_t n, int slash, char *out, size_t cap)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		char code[3];
		unsigned k = encode_byte((unsigned char)text[i], text[i] == '/' && !slash, code);

		if (len + k >= cap)
			return -ENAMETOOLONG;
		memcpy(out + len, code, k);
		len += k;
	}
	if (len >= cap)
		return -ENAMETOOLONG;
	out[len] = '\0';
	return (int)len;
}

/* Adds "name=value" at @out + @len; returns the new length. */
static int query_add(const struct sigv4_pair *p, char *out, size_t cap, size_t len)
{
	const char *value = p->value ? p->value : "";
	int n;

	if (len > 0) {
		if (len + 1 >= cap)
			return -ENAMETOOLONG;
		out[len++] = '&';
	}
	n = sigv4_encode(p->name, strlen(p->name), 1, out + len, cap - len);
	if (n < 0)
		return n;
	len += (size_t)n;
	if (len + 1 >= cap)
		return -ENAMETOOLONG;
	out[len++] = '=';
	n = sigv4_encode(value, strlen(value), 1, out + len, cap - len);
	return n < 0 ? n : (int)len + n;
}

int sigv4_query(const struct sigv4_pair *pairs, unsigned n, char *out, size_t cap)
{
	int len = 0;

	if (cap == 0)
		return -ENAMETOOLONG;
	out[0] = '\0';
	for (unsigned i = 0; i < n && len >= 0; i++)
		len = query_add(&pairs[i], out, cap, (size_t)len);
	return len;
}

/* -- pieces of the canonical request ---------------------------------------------------------- */

static void hash_text(struct sha256 *h, const char *text)
{
	sha256_add(h, text, strlen(text));
}

static void hash_byte(struct sha256 *h, unsigned char c, bool keep)
{
	char code[3];

	sha256_add(h, code, encode_byte(c, keep, code));
}

static void hash_encoded(struct sha256 *h, const char *text)
{
	for (; *text; text++)
		hash_byte(h, (unsigned char)*text, false);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* As the server does: what the path says, decoded, encoded anew. */
static void hash_path_once(struct sha256 *h, const char *p)
{
	for (; *p; p++) {
		int high = *p == '%' ? hex_digit(p[1]) : -1;
		int low = high >= 0 ? hex_digit(p[2]) : -1;

		if (low >= 0) {
			hash_byte(h, (unsigned char)(high << 4 | low), false);
			p += 2;
		} else {
			hash_byte(h, (unsigned char)*p, *p == '/');
		}
	}
}

/* One segment of [p, p + n) onto @out of @len bytes, which ends with a slash. */
static size_t path_segment(char *out, size_t len, const char *p, size_t n, bool slash)
{
	if (n == 0 || (n == 1 && p[0] == '.'))
		return len;
	if (n == 2 && p[0] == '.' && p[1] == '.') {
		while (len > 1 && out[len - 2] != '/')
			len--;
		return len > 1 ? len - 1 : len;
	}
	memcpy(out + len, p, n);
	len += n;
	if (slash)
		out[len++] = '/';
	return len;
}

/* The path without dot segments and doubled slashes, encoded. */
static int hash_path_twice(struct sha256 *h, const char *p)
{
	char out[PATH_MAX_LEN];
	size_t len = 0;

	if (strlen(p) >= sizeof out)
		return -ENAMETOOLONG;
	out[len++] = '/';
	while (*p) {
		size_t n = strcspn(p, "/");

		len = path_segment(out, len, p, n, p[n] == '/');
		p += n + (p[n] == '/');
	}
	for (size_t i = 0; i < len; i++)
		hash_byte(h, (unsigned char)out[i], out[i] == '/');
	return 0;
}

/* Without white space around it, and with one blank for each run within. */
static void hash_header_value(struct sha256 *h, const char *v)
{
	bool gap = false, begun = false;

	for (; *v; v++) {
		if (isspace((unsigned char)*v)) {
			gap = begun;
			continue;
		}
		if (gap)
			sha256_add(h, " ", 1);
		sha256_add(h, v, 1);
		gap = false;
		begun = true;
	}
}

/* -- order ------------------------------------------------------------------------------------ */

static int code_rank(unsigned char c)
{
	return is_unreserved(c) ? c << 8 : '%' << 8 | c;
}

/* The order of the encoded texts. */
static int compare_encoded(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	if (!*a || !*b)
		return (unsigned char)*a - (unsigned char)*b;
	return code_rank((unsigned char)*a) - code_rank((unsigned char)*b);
}

static int compare_query(const struct sigv4_pair *a, const struct sigv4_pair *b)
{
	int r = compare_encoded(a->name, b->name);

	if (r == 0)
		r = compare_encoded(a->value ? a->value : "", b->value ? b->value : "");
	return r;
}

static int compare_header(const struct sigv4_pair *a, const struct sigv4_pair *b)
{
	return strcasecmp(a->name, b->name);
}

/* Puts @p behind all that are not greater. */
static int insert_pair(const struct sigv4_pair **list, unsigned *n, const struct sigv4_pair *p,
		       int (*compare)(const struct sigv4_pair *a, const struct sigv4_pair *b))
{
	unsigned i = *n;

	if (i == SIGV4_PAIRS_MAX)
		return -E2BIG;
	for (; i > 0 && compare(list[i - 1], p) > 0; i--)
		list[i] = list[i - 1];
	list[i] = p;
	++*n;
	return 0;
}

static const struct sigv4_pair *own_pair(struct sigv4_work *w, const char *name, const char *value)
{
	struct sigv4_pair *p = &w->own[w->nown++];

	p->name = name;
	p->value = value;
	return p;
}

static int add_header(struct sigv4_work *w, const char *name, const char *value)
{
	return insert_pair(w->headers, &w->nheaders, own_pair(w, name, value), compare_header);
}

static int add_query(struct sigv4_work *w, const char *name, const char *value)
{
	return insert_pair(w->query, &w->nquery, own_pair(w, name, value), compare_query);
}

/* The request's own query and headers, and Host. */
static int add_request(struct sigv4_work *w, const struct sigv4_request *r)
{
	int e = add_header(w, "host", r->host);

	for (unsigned i = 0; i < r->nheaders && e == 0; i++)
		e = insert_pair(w->headers, &w->nheaders, &r->headers[i], compare_header);
	for (unsigned i = 0; i < r->nquery && e == 0; i++)
		e = insert_pair(w->query, &w->nquery, &r->query[i], compare_query);
	return e;
}

/* Whether the @i-th header has the name of the one before it: their values make one line. */
static bool header_repeats(const struct sigv4_work *w, unsigned i)
{
	return i > 0 && compare_header(w->headers[i - 1], w->headers[i]) == 0;
}

static int list_signed_headers(struct sigv4_work *w)
{
	size_t len = 0;

	for (unsigned i = 0; i < w->nheaders; i++) {
		const char *name = w->headers[i]->name;

		if (header_repeats(w, i))
			continue;
		if (len + strlen(name) + 2 > sizeof w->signed_headers)
			return -ENAMETOOLONG;
		if (len > 0)
			w->signed_headers[len++] = ';';
		for (; *name; name++)
			w->signed_headers[len++] = (char)tolower((unsigned char)*name);
	}
	w->signed_headers[len] = '\0';
	return 0;
}

/* -- the canonical request -------------------------------------------------------------------- */

static void hash_query(struct sha256 *h, const struct sigv4_work *w)
{
	for (unsigned i = 0; i < w->nquery; i++) {
		if (i > 0)
			hash_text(h, "&");
		hash_encoded(h, w->query[i]->name);
		hash_text(h, "=");
		hash_encoded(h, w->query[i]->value ? w->query[i]->value : "");
	}
	hash_text(h, "\n");
}

static void hash_headers(struct sha256 *h, const struct sigv4_work *w)
{
	for (unsigned i = 0; i < w->nheaders; i++) {
		if (header_repeats(w, i)) {
			hash_text(h, ",");
		} else {
			if (i > 0)
				hash_text(h, "\n");
			for (const char *p = w->headers[i]->name; *p; p++) {
				char c = (char)tolower((unsigned char)*p);

				sha256_add(h, &c, 1);
			}
			hash_text(h, ":");
		}
		hash_header_value(h, w->headers[i]->value);
	}
	hash_text(h, "\n\n");
}

static int hash_request(struct sha256 *h, const struct sigv4_work *w, struct sigv4_dialect d,
			const struct sigv4_request *r)
{
	int e = 0;

	hash_text(h, r->method);
	hash_text(h, "\n");
	if (d.once)
		hash_path_once(h, r->path);
	else
		e = hash_path_twice(h, r->path);
	hash_text(h, "\n");
	hash_query(h, w);
	hash_headers(h, w);
	hash_text(h, w->signed_headers);
	hash_text(h, "\n");
	hash_text(h, r->payload);
	return e;
}

static int canonical_hash(struct sigv4_work *w, struct sigv4_dialect d,
			  const struct sigv4_request *r)
{
	struct sha256 *h = sha256_new();
	uint8_t digest[SHA256_LEN];
	int e;

	if (!h)
		return -ENOMEM;
	e = hash_request(h, w, d, r);
	sha256_end(h, digest);
	sha256_free(h);
	digest_hex(digest, sizeof digest, w->canonical);
	return e;
}

/* -- the signature ---------------------------------------------------------------------------- */

static int signing_key(const struct s3_credentials *k, const struct sigv4_scope *scope,
		       const char *date, uint8_t key[SHA256_LEN])
{
	char first[SECRET_KEY_MAX + 8];
	int n = snprintf(first, sizeof first, "AWS4%s", k->secret_key);
	int e;

	if (n >= (int)sizeof first) {
		explicit_bzero(first, sizeof first);
		return -ENAMETOOLONG;
	}
	e = digest_hmac_sha256(first, (size_t)n, date, 8, key);
	explicit_bzero(first, sizeof first);
	if (e == 0)
		e = digest_hmac_sha256(key, SHA256_LEN, scope->region, strlen(scope->region), key);
	if (e == 0)
		e = digest_hmac_sha256(key, SHA256_LEN, scope->service, strlen(scope->service),
				       key);
	if (e == 0)
		e = digest_hmac_sha256(key, SHA256_LEN, "aws4_request", 12, key);
	return e;
}

static int make_signature(struct sigv4_work *w, const struct s3_credentials *k,
			  const struct sigv4_scope *scope)
{
	uint8_t key[SHA256_LEN], digest[SHA256_LEN];
	char text[400];
	int n = snprintf(text, sizeof text, ALGORITHM "\n%s\n%s\n%s", w->date, w->scope,
			 w->canonical);
	int e = n < (int)sizeof text ? signing_key(k, scope, w->date, key) : -ENAMETOOLONG;

	if (e == 0)
		e = digest_hmac_sha256(key, sizeof key, text, (size_t)n, digest);
	explicit_bzero(key, sizeof key);
	if (e == 0)
		digest_hex(digest, sizeof digest, w->signature);
	return e;
}

static int begin_work(struct sigv4_work *w, const struct s3_credentials *k,
		      const struct sigv4_scope *scope)
{
	struct tm tm;

	w->nown = w->nquery = w->nheaders = 0;
	if (!gmtime_r(&scope->when, &tm) ||
	    !strftime(w->date, sizeof w->date, "%Y%m%dT%H%M%SZ", &tm))
		return -EINVAL;
	if (snprintf(w->scope, sizeof w->scope, "%.8s/%s/%s/aws4_request", w->date, scope->region,
		     scope->service) >= (int)sizeof w->scope ||
	    snprintf(w->credential, sizeof w->credential, "%s/%s", k->access_key, w->scope) >=
		    (int)sizeof w->credential)
		return -ENAMETOOLONG;
	return 0;
}

struct sigv4_dialect sigv4_dialect_of(const char *service)
{
	bool s3 = !strcmp(service, "s3");

	return (struct sigv4_dialect){ .once = s3, .content = s3 };
}

int sigv4_header_form(struct sigv4_work *w, struct sigv4_dialect d, const struct s3_credentials *k,
		      const struct sigv4_scope *scope, const struct sigv4_request *r)
{
	int e = begin_work(w, k, scope);

	if (e == 0)
		e = add_request(w, r);
	if (e == 0)
		e = add_header(w, "x-amz-date", w->date);
	if (e == 0 && d.content)
		e = add_header(w, "x-amz-content-sha256", r->payload);
	if (e == 0 && k->token)
		e = add_header(w, "x-amz-security-token", k->token);
	if (e == 0)
		e = list_signed_headers(w);
	if (e == 0)
		e = canonical_hash(w, d, r);
	return e < 0 ? e : make_signature(w, k, scope);
}

static int add_query_form(struct sigv4_work *w, const struct s3_credentials *k)
{
	const struct sigv4_pair pairs[] = {
		{ "X-Amz-Algorithm", ALGORITHM },
		{ "X-Amz-Credential", w->credential },
		{ "X-Amz-Date", w->date },
		{ "X-Amz-Expires", w->expires },
		{ "X-Amz-SignedHeaders", w->signed_headers },
	};
	int e = 0;

	for (unsigned i = 0; i < ARRAY_LEN(pairs) && e == 0; i++)
		e = add_query(w, pairs[i].name, pairs[i].value);
	if (e == 0 && k->token)
		e = add_query(w, "X-Amz-Security-Token", k->token);
	return e;
}

int sigv4_query_form(struct sigv4_work *w, struct sigv4_dialect d, const struct s3_credentials *k,
		     const struct sigv4_scope *scope, const struct sigv4_request *r,
		     unsigned seconds)
{
	int e = begin_work(w, k, scope);

	snprintf(w->expires, sizeof w->expires, "%u", seconds);
	if (e == 0)
		e = add_request(w, r);
	if (e == 0)
		e = list_signed_headers(w);
	if (e == 0)
		e = add_query_form(w, k);
	if (e == 0)
		e = canonical_hash(w, d, r);
	return e < 0 ? e : make_signature(w, k, scope);
}

/* -- what goes out ---------------------------------------------------------------------------- */

static int token_line(struct sigv4_lines *l, const char *token)
{
	static const char name[] = "x-amz-security-token: ";
	size_t n = strlen(token);

	l->token = secret_alloc(sizeof name + n);
	if (!l->token)
		return -ENOMEM;
	memcpy(l->token, name, sizeof name - 1);
	memcpy(l->token + sizeof name - 1, token, n);
	l->v[l->n++] = l->token;
	return 0;
}

static int write_lines(struct sigv4_lines *l, const struct sigv4_work *w, struct sigv4_dialect d,
		       const struct s3_credentials *k, const struct sigv4_request *r)
{
	if (snprintf(l->authorization, sizeof l->authorization,
		     "Authorization: " ALGORITHM " Credential=%s,SignedHeaders=%s,Signature=%s",
		     w->credential, w->signed_headers,
		     w->signature) >= (int)sizeof l->authorization)
		return -ENAMETOOLONG;
	snprintf(l->date, sizeof l->date, "x-amz-date: %s", w->date);
	l->v[l->n++] = l->authorization;
	l->v[l->n++] = l->date;
	if (d.content) {
		snprintf(l->content, sizeof l->content, "x-amz-content-sha256: %s", r->payload);
		l->v[l->n++] = l->content;
	}
	return k->token ? token_line(l, k->token) : 0;
}

int sigv4_sign(const struct s3_credentials *k, const struct sigv4_scope *scope,
	       const struct sigv4_request *r, struct sigv4_lines *out)
{
	struct sigv4_dialect d = sigv4_dialect_of(scope->service);
	struct sigv4_work w;
	int e = sigv4_header_form(&w, d, k, scope, r);

	out->content[0] = '\0';
	out->token = NULL;
	out->n = 0;
	return e < 0 ? e : write_lines(out, &w, d, k, r);
}

void sigv4_clear(struct sigv4_lines *l)
{
	secret_free(l->token);
	explicit_bzero(l, sizeof *l);
}

int sigv4_presign(const struct s3_credentials *k, const struct sigv4_scope *scope,
		  const struct sigv4_request *r, unsigned seconds, char *out, size_t cap)
{
	struct sigv4_work w;
	struct sigv4_pair signature = { "X-Amz-Signature", w.signature };
	int len = sigv4_query_form(&w, sigv4_dialect_of(scope->service), k, scope, r, seconds);

	for (unsigned i = 0; i < w.nquery && len >= 0; i++)
		len = query_add(w.query[i], out, cap, (size_t)len);
	return len < 0 ? len : query_add(&signature, out, cap, (size_t)len);
}
