/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures against all published vectors (tests/data/sigv4/vectors.txt says which), and what the vectors
 * do not say: lines to send, limits, encodings.
 */
#include "s3/sigv4.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/macros.h"
#include "s3/sigv4_private.h"

enum { CHECKS = 85, PAIRS = 8, TEXT = 2048 };

/* One block of the file. */
struct vector {
	char name[100], method[8], target[TEXT], body[100];
	char service[20], region[20], access[40], secret[60], host[60], date[20], token[600];
	unsigned expires;
	bool plain, signed_body, is_unsigned;
	char header_names[PAIRS][60], header_values[PAIRS][200];
	unsigned nheaders;
	char want[4][80]; /* header-canonical, header-signature, query-canonical, query-signature */
};

static const char *const want_names[] = { "header-canonical", "header-signature", "query-canonical",
					  "query-signature" };

static void take_text(char *out, size_t cap, const char *value)
{
	size_t n = 0;

	for (; *value && n + 1 < cap; value++) {
		bool newline = value[0] == '\\' && value[1] == 'n';

		out[n++] = newline ? '\n' : *value;
		value += newline;
	}
	assert_int_equal(*value, 0);
	out[n] = '\0';
}

static void take_header(struct vector *v, char *value)
{
	char *colon = strchr(value, ':');

	assert_non_null(colon);
	assert_true(v->nheaders < PAIRS);
	*colon = '\0';
	take_text(v->header_names[v->nheaders], sizeof v->header_names[0], value);
	take_text(v->header_values[v->nheaders++], sizeof v->header_values[0], colon + 1);
}

static void take_line(struct vector *v, char *line)
{
	const struct {
		const char *name;
		char *out;
		size_t cap;
	} texts[] = {
		{ "case", v->name, sizeof v->name },
		{ "method", v->method, sizeof v->method },
		{ "target", v->target, sizeof v->target },
		{ "body", v->body, sizeof v->body },
		{ "service", v->service, sizeof v->service },
		{ "region", v->region, sizeof v->region },
		{ "access", v->access, sizeof v->access },
		{ "secret", v->secret, sizeof v->secret },
		{ "host", v->host, sizeof v->host },
		{ "date", v->date, sizeof v->date },
		{ "token", v->token, sizeof v->token },
		{ want_names[0], v->want[0], sizeof v->want[0] },
		{ want_names[1], v->want[1], sizeof v->want[1] },
		{ want_names[2], v->want[2], sizeof v->want[2] },
		{ want_names[3], v->want[3], sizeof v->want[3] },
	};
	char *value = strchr(line, ' ');

	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (!strcmp(line, texts[i].name)) {
			take_text(texts[i].out, texts[i].cap, value);
			return;
		}
	if (!strcmp(line, "header"))
		take_header(v, value);
	else if (!strcmp(line, "expires"))
		v->expires = (unsigned)atoi(value);
	else if (!strcmp(line, "plain"))
		v->plain = true;
	else if (!strcmp(line, "signed-body"))
		v->signed_body = true;
	else if (!strcmp(line, "unsigned"))
		v->is_unsigned = true;
	else
		fail_msg("the vectors have an unknown line '%s'", line);
}

/* -- from a vector to a request --------------------------------------------------------------- */

static time_t seconds_of(const char *date)
{
	struct tm tm = { 0 };

	assert_int_equal(sscanf(date, "%4d%2d%2dT%2d%2d%2dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
				&tm.tm_hour, &tm.tm_min, &tm.tm_sec),
			 6);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return timegm(&tm);
}

static char *decode(char *text)
{
	char *out = text;

	for (char *p = text; *p; p++) {
		unsigned byte;

		if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1) {
			*out++ = (char)byte;
			p += 2;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
	return text;
}

struct prepared {
	struct sigv4_pair headers[PAIRS + 1], query[PAIRS];
	char target[TEXT], payload[2 * SHA256_LEN + 1];
	struct sigv4_request request;
	struct sigv4_scope scope;
	struct s3_credentials keys;
	struct sigv4_dialect dialect;
};

static void prepare_query(struct prepared *p)
{
	char *query = strchr(p->target, '?'), *rest = NULL;

	if (!query)
		return;
	*query = '\0';
	for (char *q = strtok_r(query + 1, "&", &rest); q; q = strtok_r(NULL, "&", &rest)) {
		char *value = strchr(q, '=');

		if (value)
			*value++ = '\0';
		p->query[p->request.nquery++] =
			(struct sigv4_pair){ decode(q), value ? decode(value) : NULL };
	}
}

static void prepare(struct prepared *p, const struct vector *v)
{
	uint8_t digest[SHA256_LEN];

	memset(p, 0, sizeof *p);
	assert_int_equal(digest_sha256(v->body, strlen(v->body), digest), 0);
	digest_hex(digest, sizeof digest, p->payload);
	strcpy(p->target, v->target);
	prepare_query(p);
	for (; p->request.nheaders < v->nheaders; p->request.nheaders++) {
		unsigned i = p->request.nheaders;

		p->headers[i] = (struct sigv4_pair){ v->header_names[i], v->header_values[i] };
	}
	p->request.method = v->method;
	p->request.host = v->host;
	p->request.path = p->target;
	p->request.query = p->query;
	p->request.headers = p->headers;
	p->request.payload = v->is_unsigned ? SIGV4_UNSIGNED : p->payload;
	p->scope = (struct sigv4_scope){ v->region, v->service, seconds_of(v->date) };
	p->keys.access_key = v->access;
	p->keys.secret_key = v->secret;
	p->keys.token = v->token[0] ? v->token : NULL;
	p->dialect = sigv4_dialect_of(v->service);
	if (v->plain)
		p->dialect.once = true;
}

/* -- the checks ------------------------------------------------------------------------------- */

static unsigned failures;

static unsigned compare(const struct vector *v, unsigned which, const char *got)
{
	if (!v->want[which][0])
		return 0;
	if (strcmp(got, v->want[which])) {
		failures++;
		print_error("%s: %s is %s, not %s\n", v->name, want_names[which], got,
			    v->want[which]);
	}
	return which % 2; /* a signature */
}

static unsigned check_header_form(const struct vector *v)
{
	struct sigv4_work w;
	struct prepared p;
	unsigned n;

	if (!v->want[1][0])
		return 0;
	prepare(&p, v);
	if (v->signed_body)
		p.headers[p.request.nheaders++] =
			(struct sigv4_pair){ "x-amz-content-sha256", p.payload };
	assert_int_equal(sigv4_header_form(&w, p.dialect, &p.keys, &p.scope, &p.request), 0);
	n = compare(v, 0, w.canonical);
	return n + compare(v, 1, w.signature);
}

static unsigned check_query_form(const struct vector *v)
{
	struct sigv4_work w;
	struct prepared p;
	unsigned n;

	if (!v->want[3][0])
		return 0;
	prepare(&p, v);
	assert_int_equal(sigv4_query_form(&w, p.dialect, &p.keys, &p.scope, &p.request, v->expires),
			 0);
	n = compare(v, 2, w.canonical);
	return n + compare(v, 3, w.signature);
}

/* What goes out carries the same signature. */
static void check_public_form(const struct vector *v)
{
	struct sigv4_lines lines;
	struct prepared p;
	char query[TEXT];
	const char *at;

	prepare(&p, v);
	if (v->plain || v->signed_body)
		return;
	assert_int_equal(sigv4_sign(&p.keys, &p.scope, &p.request, &lines), 0);
	at = strstr(lines.authorization, "Signature=");
	if (v->want[1][0] && strcmp(at + 10, v->want[1]))
		failures++;
	sigv4_clear(&lines);
	assert_true(sigv4_presign(&p.keys, &p.scope, &p.request, v->expires, query, sizeof query) >
		    0);
	at = strstr(query, "&X-Amz-Signature=");
	if (v->want[3][0] && strcmp(at + 17, v->want[3]))
		failures++;
}

static unsigned check_vector(const struct vector *v)
{
	if (!v->name[0])
		return 0;
	check_public_form(v);
	return check_header_form(v) + check_query_form(v);
}

static FILE *open_vectors(void)
{
	static const char here[] = __FILE__, data[] = "../../data/sigv4/vectors.txt";
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%.*s%s", (int)(strrchr(here, '/') + 1 - here), here, data);
	f = fopen(path, "re");
	if (!f)
		fail_msg("cannot open %s", path);
	return f;
}

static void test_published_vectors(void **state UNUSED)
{
	static struct vector defaults, v;
	FILE *f = open_vectors();
	char line[TEXT];
	unsigned checks = 0, cases = 0;

	while (fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '#')
			continue;
		if (!strcmp(line, "default")) {
			memset(&v, 0, sizeof v);
		} else if (line[0]) {
			take_line(&v, line);
		} else {
			if (!v.name[0])
				defaults = v;
			cases += v.name[0] != 0;
			checks += check_vector(&v);
			v = defaults;
		}
	}
	cases += v.name[0] != 0;
	checks += check_vector(&v);
	fclose(f);
	print_message("%u signatures of %u published requests\n", checks, cases);
	assert_int_equal(checks, CHECKS);
	assert_int_equal(failures, 0);
}

/* -- what the vectors do not say -------------------------------------------------------------- */

static const struct s3_credentials keys = { .access_key = "AK", .secret_key = "SK", .token = "TK" };
static const struct sigv4_scope scope = { "eu-west-1", "s3", 1369353600 };

static void test_lines_to_send(void **state UNUSED)
{
	struct sigv4_request r = {
		.method = "GET", .host = "h:9000", .path = "/b/k", .payload = SIGV4_UNSIGNED
	};
	struct sigv4_lines l;

	assert_int_equal(sigv4_sign(&keys, &scope, &r, &l), 0);
	assert_int_equal(l.n, 4);
	assert_memory_equal(l.v[0],
			    "Authorization: AWS4-HMAC-SHA256 "
			    "Credential=AK/20130524/eu-west-1/s3/aws4_request,SignedHeaders="
			    "host;x-amz-content-sha256;x-amz-date;x-amz-security-token,Signature=",
			    158);
	assert_string_equal(l.v[1], "x-amz-date: 20130524T000000Z");
	assert_string_equal(l.v[2], "x-amz-content-sha256: UNSIGNED-PAYLOAD");
	assert_string_equal(l.v[3], "x-amz-security-token: TK");
	sigv4_clear(&l);
	assert_null(l.token);
	assert_int_equal(l.authorization[20], 0);
}

/* The signature of what the server will decode, however the client wrote it. */
static void signature_of(const char *path, char out[2 * SHA256_LEN + 1])
{
	struct sigv4_request r = {
		.method = "GET", .host = "h", .path = path, .payload = SIGV4_EMPTY
	};
	struct sigv4_work w;

	assert_int_equal(sigv4_header_form(&w, sigv4_dialect_of("s3"), &keys, &scope, &r), 0);
	strcpy(out, w.signature);
}

static void test_one_key_one_signature(void **state UNUSED)
{
	static const char *const same[][2] = {
		{ "/a+b", "/a%2Bb" }, { "/a%2bb", "/a%2Bb" }, { "/%7Ex", "/~x" },
		{ "/50%", "/50%25" }, { "/%zz", "/%25zz" },   { "/\xe1\x88\xb4", "/%E1%88%B4" },
		{ "/a b", "/a%20b" },
	};
	static const char *const other[][2] = {
		{ "/a//b", "/a/b" },  { "//a", "/a" },      { "/a/../b", "/b" },
		{ "/a/./b", "/a/b" }, { "/a%20b", "/a+b" }, { "/a%2520b", "/a%20b" },
	};
	char a[2 * SHA256_LEN + 1], b[2 * SHA256_LEN + 1];

	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		signature_of(same[i][0], a);
		signature_of(same[i][1], b);
		assert_string_equal(a, b);
	}
	for (size_t i = 0; i < ARRAY_LEN(other); i++) {
		signature_of(other[i][0], a);
		signature_of(other[i][1], b);
		assert_string_not_equal(a, b);
	}
}

/* A wrong secret, another minute, region or query makes another signature. */
static void test_everything_counts(void **state UNUSED)
{
	struct sigv4_pair pair = { "list-type", "2" };
	struct sigv4_request r = {
		.method = "GET",
		.host = "h",
		.path = "/",
		.payload = SIGV4_EMPTY,
		.query = &pair,
		.nquery = 1,
	};
	struct s3_credentials k = keys;
	struct sigv4_scope s = scope;
	struct sigv4_dialect d = sigv4_dialect_of("s3");
	struct sigv4_work w[6];

	assert_int_equal(sigv4_header_form(&w[0], d, &k, &s, &r), 0);
	k.secret_key = "SL";
	assert_int_equal(sigv4_header_form(&w[1], d, &k, &s, &r), 0);
	s.when += 1;
	assert_int_equal(sigv4_header_form(&w[2], d, &k, &s, &r), 0);
	s.region = "eu-west-2";
	assert_int_equal(sigv4_header_form(&w[3], d, &k, &s, &r), 0);
	pair.value = "3";
	assert_int_equal(sigv4_header_form(&w[4], d, &k, &s, &r), 0);
	k.token = NULL;
	assert_int_equal(sigv4_header_form(&w[5], d, &k, &s, &r), 0);
	for (int i = 1; i < 6; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(w[i].signature, w[j].signature);
}

static void test_encoding(void **state UNUSED)
{
	static const struct sigv4_pair pairs[] = { { "prefix", "a b/\xc3\xbc+~" },
						   { "delimiter", "/" },
						   { "versions", NULL } };
	char out[100], small[9];

	assert_int_equal(sigv4_encode("a/b c", 5, 0, out, sizeof out), 7);
	assert_string_equal(out, "a/b%20c");
	assert_int_equal(sigv4_encode("a/b c", 5, 1, out, sizeof out), 9);
	assert_string_equal(out, "a%2Fb%20c");
	assert_int_equal(sigv4_encode("a/b c", 5, 0, small, 8), 7);
	assert_int_equal(sigv4_encode("a/b c", 5, 0, small, 7), -ENAMETOOLONG);
	assert_int_equal(sigv4_encode("", 0, 0, small, 1), 0);
	assert_int_equal(sigv4_encode("\0", 1, 0, out, sizeof out), 3);
	assert_string_equal(out, "%00");
	assert_int_equal(sigv4_query(pairs, 3, out, sizeof out), 49);
	assert_string_equal(out, "prefix=a%20b%2F%C3%BC%2B~&delimiter=%2F&versions=");
	for (size_t cap = 0; cap < 50; cap++)
		assert_true(sigv4_query(pairs, 3, out, cap) < (int)cap);
}

/* A text that does not fit is an error, never half of it. */
static void test_limits(void **state UNUSED)
{
	static char longer[20000];
	struct sigv4_pair many[SIGV4_PAIRS_MAX];
	struct sigv4_request r = {
		.method = "GET", .host = "h", .path = "/", .payload = SIGV4_EMPTY, .query = many
	};
	struct sigv4_scope sts = { "eu-west-1", "sts", 0 };
	struct s3_credentials k = keys;
	struct sigv4_lines l;
	char query[600];

	memset(longer, 'a', sizeof longer - 1);
	for (unsigned i = 0; i < SIGV4_PAIRS_MAX; i++)
		many[i] = (struct sigv4_pair){ "a", "b" };
	r.nquery = SIGV4_PAIRS_MAX;
	assert_int_equal(sigv4_sign(&k, &scope, &r, &l), 0);
	sigv4_clear(&l);
	assert_int_equal(sigv4_presign(&k, &scope, &r, 60, query, sizeof query), -E2BIG);
	r.nquery = 0;
	assert_int_equal(sigv4_presign(&k, &scope, &r, 60, query, 250), -ENAMETOOLONG);
	longer[0] = '/';
	r.path = longer;
	assert_int_equal(sigv4_sign(&k, &scope, &r, &l), 0);
	sigv4_clear(&l);
	assert_int_equal(sigv4_sign(&k, &sts, &r, &l), -ENAMETOOLONG);
	r.path = "/";
	k.access_key = longer;
	assert_int_equal(sigv4_sign(&k, &scope, &r, &l), -ENAMETOOLONG);
	k.access_key = "AK";
	k.secret_key = longer;
	assert_int_equal(sigv4_sign(&k, &scope, &r, &l), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_vectors),
		cmocka_unit_test(test_lines_to_send),
		cmocka_unit_test(test_one_key_one_signature),
		cmocka_unit_test(test_everything_counts),
		cmocka_unit_test(test_encoding),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
