/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listings over an origin made of memory: key spaces of many shapes, servers that do not keep to the rules,
 * and the cost in requests and in rounds. In a round every request that is under way is answered, so that
 * rounds count what a far server would make one wait for.
 *
 * LINK: -Wl,--wrap=http_origin_ask -Wl,--wrap=s3_chain_anonymous
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/prng.h"
#include "s3/s3_private.h"

#define KEYS 20000u

/* -- keys ------------------------------------------------------------------------------------- */

struct space {
	char **v;
	size_t n;
	size_t cap;
	size_t page;    /* the server's own limit, 0: none */
	bool no_after;  /* start-after is ignored */
	bool backwards; /* pages are in another order than bytes */
	bool wrong_prefix;
	bool twice;       /* each key is told twice */
	bool circle;      /* the token of the second page leads to the second page */
	bool again;       /* each page ends with its first key, once more */
	bool barren;      /* pages have nothing but tokens, two in turn */
	unsigned fail_at; /* this request is refused; 0: none */
	unsigned requests;
	unsigned rounds;
	unsigned most; /* under way at once */
};

static void space_add(struct space *sp, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void space_add(struct space *sp, const char *fmt, ...)
{
	va_list ap;

	if (sp->n == sp->cap) {
		sp->cap = sp->cap ? sp->cap * 2 : 1024;
		sp->v = realloc(sp->v, sp->cap * sizeof *sp->v);
		assert_non_null(sp->v);
	}
	va_start(ap, fmt);
	assert_true(vasprintf(&sp->v[sp->n++], fmt, ap) > 0);
	va_end(ap);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_bytes_backwards(const void *a, const void *b)
{
	return -by_bytes(a, b);
}

static void space_sort(struct space *sp)
{
	size_t n = 0;

	if (sp->n == 0)
		return;
	qsort(sp->v, sp->n, sizeof *sp->v, by_bytes);
	for (size_t i = 0; i < sp->n; i++) {
		if (n > 0 && strcmp(sp->v[n - 1], sp->v[i]) == 0)
			free(sp->v[i]);
		else
			sp->v[n++] = sp->v[i];
	}
	sp->n = n;
	if (sp->backwards)
		qsort(sp->v, sp->n, sizeof *sp->v, by_bytes_backwards);
}

static void space_free(struct space *sp)
{
	for (size_t i = 0; i < sp->n; i++)
		free(sp->v[i]);
	free(sp->v);
	*sp = (struct space){ 0 };
}

/* -- the server ------------------------------------------------------------------------------- */

struct http_origin {
	struct space *space;
	struct http_ask *asks[64];
	unsigned n;
};

struct args {
	char prefix[1200], after[1200], token[1200], delimiter[8];
	size_t max;
};

static void decode(const char *p, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++) {
		unsigned c = (uint8_t)p[i];

		if (c == '%') {
			assert_int_equal(sscanf(p + i + 1, "%2x", &c), 1);
			i += 2;
		}
		*out++ = (char)c;
	}
	*out = '\0';
}

static void take_arg(struct args *a, const char *name, size_t n, const char *value, size_t len)
{
	char max[32];

	if (strncmp(name, "prefix", n) == 0)
		decode(value, len, a->prefix);
	else if (strncmp(name, "start-after", n) == 0)
		decode(value, len, a->after);
	else if (strncmp(name, "continuation-token", n) == 0)
		decode(value, len, a->token);
	else if (strncmp(name, "delimiter", n) == 0)
		decode(value, len, a->delimiter);
	else if (strncmp(name, "max-keys", n) == 0)
		decode(value, len, max), a->max = strtoul(max, NULL, 10);
}

static void parse_url(const char *url, struct args *a)
{
	const char *p = strchr(url, '?');

	*a = (struct args){ .max = 1000 };
	assert_non_null(p);
	while (p && *p) {
		size_t n = strcspn(++p, "="), len = strcspn(p + n + 1, "&");

		take_arg(a, p, n, p + n + 1, len);
		p += n + 1 + len;
	}
}

static int compare(const struct space *sp, const char *a, const char *b)
{
	return sp->backwards ? -strcmp(a, b) : strcmp(a, b);
}

static void put_key(FILE *f, const char *key)
{
	for (const uint8_t *p = (const uint8_t *)key; *p; p++)
		if (strchr("/-_.~", *p) ||
		    (*p < 0x80 && (*p | 0x20) >= 'a' && (*p | 0x20) <= 'z') ||
		    (*p >= '0' && *p <= '9'))
			fputc(*p, f);
		else
			fprintf(f, "%%%02X", *p);
}

static size_t first_after(const struct space *sp, const char *after)
{
	size_t lo = 0, hi = sp->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (compare(sp, sp->v[mid], after) > 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* One page. Tokens are the index to go on from. */
static void write_page(const struct space *sp, const struct args *a, FILE *f)
{
	size_t max = sp->page ? MIN(sp->page, a->max) : a->max, n = 0, i = 0;
	size_t plen = strlen(a->prefix), told = 0;

	if (a->token[0])
		i = strtoul(a->token, NULL, 10);
	else if (a->after[0] && !sp->no_after)
		i = first_after(sp, a->after);
	else if (plen > 0 && !sp->backwards)
		i = first_after(sp, a->prefix), i -= i > 0 && strcmp(sp->v[i - 1], a->prefix) == 0;
	fprintf(f,
		"<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><EncodingType>url"
		"</EncodingType>");
	while (i < sp->n && n < max) {
		const char *key = sp->v[i];
		const char *slash = NULL;

		if (strncmp(key, a->prefix, plen) != 0 && !sp->wrong_prefix) {
			i++;
			continue;
		}
		if (a->delimiter[0] && strlen(key) > plen)
			slash = strchr(key + plen, '/');
		n++;
		if (slash) {
			size_t len = (size_t)(slash - key) + 1;
			char *cp = strndup(key, len);

			fputs("<CommonPrefixes><Prefix>", f);
			put_key(f, cp);
			fputs("</Prefix></CommonPrefixes>", f);
			while (i < sp->n && strncmp(sp->v[i], cp, len) == 0)
				i++;
			free(cp);
			continue;
		}
		fputs("<Contents><Key>", f);
		put_key(f, key);
		fprintf(f,
			"</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>"
			"&quot;%08zx&quot;</ETag><Size>%zu</Size></Contents>",
			i, i);
		i += !sp->twice || told++ % 2;
	}
	if (sp->again && sp->n > 0)
		fprintf(f, "<Contents><Key>%s</Key></Contents>", sp->v[0]);
	if (sp->barren) {
		fprintf(f,
			"<IsTruncated>true</IsTruncated><NextContinuationToken>t%u"
			"</NextContinuationToken></ListBucketResult>",
			sp->requests % 2);
		return;
	}
	while (i < sp->n && plen > 0 && strncmp(sp->v[i], a->prefix, plen) != 0)
		i++;
	fprintf(f, "<IsTruncated>%s</IsTruncated>", i < sp->n ? "true" : "false");
	if (i < sp->n)
		fprintf(f, "<NextContinuationToken>%zu</NextContinuationToken>",
			sp->circle ? 1000 : i);
	fputs("</ListBucketResult>", f);
}

static void serve(struct http_origin *o, struct http_ask *a)
{
	struct http_refusal why = { .status = 200 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct args args;
	char *buf = NULL;
	size_t len = 0;
	FILE *f;
	int r;

	a->requests = 1;
	o->space->requests++;
	assert_int_equal(a->ops->prepare(a, &err), 0);
	if (o->space->requests == o->space->fail_at) {
		why.status = 403;
		why.body = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message>"
			   "<RequestId>r-17</RequestId></Error>";
		why.len = strlen(why.body);
		why.outcome = HTTP_OUTCOME_DENIED;
		a->ops->refused(a, &why);
		a->ops->done(a, -EACCES, &why);
		return;
	}
	parse_url(a->call.url, &args);
	f = open_memstream(&buf, &len);
	write_page(o->space, &args, f);
	fclose(f);
	a->ops->reset(a);
	for (size_t i = 0, n; i < len; i += n) { /* in pieces that fit nothing */
		n = MIN(1013, len - i);
		r = a->ops->data(a, buf + i, n);
		assert_int_equal(r, 0);
	}
	free(buf);
	r = a->ops->finish(a);
	assert_int_equal(r, 0);
	a->ops->done(a, 0, &why);
}

/* Answers everything that is under way, and then what that has led to, ... */
static void serve_all(struct http_origin *o)
{
	while (o->n > 0) {
		struct http_origin round = *o;

		o->n = 0;
		o->space->rounds++;
		for (unsigned i = 0; i < round.n; i++)
			serve(o, round.asks[i]);
		o->space->most = MAX(o->space->most, round.n);
		assert_true(o->space->rounds < 100000);
	}
}

/* What the source needs of the origin, and of its keys: nobody signs here. */
void __wrap_http_origin_ask(struct http_origin *o, struct http_ask *a);
bool __wrap_s3_chain_anonymous(const struct s3_chain *c);

void __wrap_http_origin_ask(struct http_origin *o, struct http_ask *a)
{
	assert_true(o->n < ARRAY_LEN(o->asks));
	o->asks[o->n++] = a;
}

bool __wrap_s3_chain_anonymous(const struct s3_chain *c UNUSED)
{
	return true;
}

/* -- asking ----------------------------------------------------------------------------------- */

struct asker {
	struct vmofs_query q;
	struct s3 s;
	struct http_origin origin;
	struct space got; /* what came, in the order it came */
	size_t stop_at;   /* wants no more after so many; 0: wants all */
	unsigned prefixes;
	bool done;
	struct vmofs_query_result result;
	char msg[1024];
};

static bool on_entries(struct vmofs_query *q, const struct vmofs_entry *v, unsigned n)
{
	struct asker *a = container_of(q, struct asker, q);

	assert_false(a->done);
	assert_true(n > 0);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(strlen(v[i].key), v[i].key_len);
		if (v[i].type == VMOFS_ENTRY_FILE)
			assert_int_equal(v[i].mtime.tv_sec, 1767323045);
		a->prefixes += v[i].type == VMOFS_ENTRY_PREFIX;
		space_add(&a->got, "%s", v[i].key);
	}
	return !a->stop_at || a->got.n < a->stop_at;
}

static void on_done(struct vmofs_query *q, const struct vmofs_query_result *result)
{
	struct asker *a = container_of(q, struct asker, q);

	assert_false(a->done);
	a->done = true;
	a->result = *result;
	snprintf(a->msg, sizeof a->msg, "%s", result->msg);
}

static void asker_init(struct asker *a, struct space *sp, enum vmofs_query_kind kind,
		       const char *key)
{
	*a = (struct asker){ .origin.space = sp };
	a->s.origin = &a->origin;
	atomic_store(&a->s.refs, 1);
	mutex_init(&a->s.lock, LOCK_RANK_SOURCE);
	memcpy(a->s.region, "us-east-1", sizeof "us-east-1");
	memcpy(a->s.o.bucket, "b", 2);
	memcpy(a->s.o.host, "h", 2);
	a->s.o.path_style = true;
	a->s.o.page = 1000;
	a->s.o.parallel = 16;
	a->q = (struct vmofs_query){
		.kind = kind, .key = key, .after = "", .entries = on_entries, .done = on_done
	};
}

static void asker_run(struct asker *a)
{
	if (a->q.kind == VMOFS_QUERY_NAME)
		s3_name(&a->s, &a->q);
	else
		s3_list(&a->s, &a->q);
	serve_all(&a->origin);
	assert_true(a->done);
	assert_int_equal(atomic_load(&a->s.refs), 1); /* everything has let go */
}

static void asker_free(struct asker *a)
{
	mutex_destroy(&a->s.lock);
	space_free(&a->got);
}

/* What is one level below @key. */
static void expected_level(const struct space *sp, const char *key, struct space *out)
{
	size_t n = strlen(key);

	for (size_t i = 0; i < sp->n; i++) {
		const char *slash = NULL;

		if (strncmp(sp->v[i], key, n) != 0)
			continue;
		if (strlen(sp->v[i]) > n)
			slash = strchr(sp->v[i] + n, '/');
		space_add(out, "%.*s", slash ? (int)(slash - sp->v[i] + 1) : 1200, sp->v[i]);
	}
	space_sort(out);
}

static void assert_same(struct space *got, const struct space *want)
{
	size_t n = got->n;

	space_sort(got);
	assert_int_equal(got->n, n); /* none twice */
	assert_int_equal(got->n, want->n);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(got->v[i], want->v[i]);
}

/* Lists @key of @sp, compares, and frees @sp. Requests may be @slack more than pages; rounds at most @rounds. */
static void list_and_compare(struct space *sp, const char *key, const char *what, unsigned slack,
			     unsigned rounds)
{
	struct space want = { 0 };
	struct asker a;
	unsigned pages;

	space_sort(sp);
	expected_level(sp, key, &want);
	pages = (unsigned)((want.n + 999) / 1000);
	asker_init(&a, sp, VMOFS_QUERY_DIR, key);
	asker_run(&a);
	if (a.result.code)
		print_error("%s\n", a.msg);
	assert_int_equal(a.result.code, 0);
	assert_same(&a.got, &want);
	assert_int_equal(a.result.requests, sp->requests);
	print_message("%-28s %6zu keys %4u pages %4u requests %3u rounds, %u at once\n", what,
		      want.n, pages, sp->requests, sp->rounds, sp->most);
	assert_true(sp->requests <= pages + slack);
	assert_true(sp->rounds <= rounds);
	assert_true(sp->most <= 16);
	asker_free(&a);
	space_free(&want);
	space_free(sp);
}

/* -- shapes ----------------------------------------------------------------------------------- */

static void test_sequential_digits(void **state UNUSED)
{
	struct space sp = { 0 };

	for (unsigned i = 0; i < 100000; i++)
		space_add(&sp, "file-%08u.dat", i);
	list_and_compare(&sp, "", "file-%08u.dat", 40, 15);
	for (unsigned i = 0; i < 100000; i++)
		space_add(&sp, "f%06u", i);
	list_and_compare(&sp, "", "f%06u", 40, 15);
	for (unsigned i = 0; i < 50000; i++)
		space_add(&sp, "%u", i);
	list_and_compare(&sp, "", "%u", 60, 20);
	for (unsigned i = 0; i < 50000; i++)
		space_add(&sp, "d/%010x", i * 7919);
	list_and_compare(&sp, "d/", "d/%010x times 7919", 60, 20);
}

static void test_hex_and_uuid(void **state UNUSED)
{
	struct space sp = { 0 };
	struct prng r;

	r.state = 1;
	for (unsigned i = 0; i < 100000; i++)
		space_add(&sp, "%016llx", (unsigned long long)prng_next(&r));
	list_and_compare(&sp, "", "hex", 30, 16);
	for (unsigned i = 0; i < 50000; i++)
		space_add(&sp, "u/%08x-%04x-4%03x-a%03x-%012llx", (unsigned)prng_next(&r),
			  (unsigned)prng_next(&r) & 0xffff, (unsigned)prng_next(&r) & 0xfff,
			  (unsigned)prng_next(&r) & 0xfff,
			  (unsigned long long)prng_next(&r) & 0xffffffffffff);
	list_and_compare(&sp, "u/", "uuid", 60, 20);
}

static void test_dates_and_words(void **state UNUSED)
{
	static const char *const words[] = {
		"alpha", "Beta", "gamma",        "delta",
		"OMEGA", "zeta", "\xc3\xa4pfel", "\xe6\x97\xa5\xe6\x9c\xac",
		"_x"
	};
	struct space sp = { 0 };
	struct prng r;

	r.state = 2;
	for (unsigned i = 0; i < KEYS; i++)
		space_add(&sp, "2026-%02u-%02uT%02u:%02u:%02u.log", i / 1700 % 12 + 1,
			  i / 60 % 28 + 1, i % 24, i % 60, i % 7);
	list_and_compare(&sp, "", "dates", 60, 20);
	for (unsigned i = 0; i < KEYS; i++)
		space_add(&sp, "%s %s %u+%%.txt", words[prng_next(&r) % 9],
			  words[prng_next(&r) % 9], (unsigned)(prng_next(&r) % 100000));
	list_and_compare(&sp, "", "words, UTF-8, spaces", 60, 20);
	for (unsigned i = 0; i < KEYS; i++)
		space_add(&sp, "\xe6\x97%c\xe3\x81%c%u", (char)(0x80 + i % 64),
			  (char)(0x80 + i / 64 % 64), i);
	list_and_compare(&sp, "", "Kanji", 60, 21);
}

static void test_one_giant_and_few(void **state UNUSED)
{
	struct space sp = { 0 };

	space_add(&sp, "!first");
	space_add(&sp, "README");
	for (unsigned i = 0; i < 50000; i++)
		space_add(&sp, "the-one-that-has-many/%u/part-%07u", 7, i);
	for (unsigned i = 0; i < 50000; i++)
		space_add(&sp, "shard-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-%07u", i);
	space_add(&sp, "zzz");
	list_and_compare(&sp, "", "one giant and few", 70, 25);
}

static void test_deep_common_prefixes(void **state UNUSED)
{
	struct space sp = { 0 };

	for (unsigned i = 0; i < 30000; i++)
		space_add(
			&sp,
			"a/b/year=2026/month=11/"
			"a-very-long-name-that-never-changes-and-goes-on-and-on-and-on-and-on-%06u",
			i);
	list_and_compare(&sp, "a/b/year=2026/month=11/", "long common part", 70, 25);
}

static void test_prefixes_mixed_in(void **state UNUSED)
{
	struct space sp = { 0 };
	struct prng r;

	r.state = 3;
	for (unsigned i = 0; i < 30000; i++) {
		unsigned x = (unsigned)(prng_next(&r) % 60000);

		if (x % 3 == 0)
			space_add(&sp, "d/k%06u/inner/%u", x, i);
		else if (x % 3 == 1)
			space_add(&sp, "d/k%06u", x);
		else
			space_add(&sp, "d/k%06u/", x);
	}
	space_add(&sp, "d/"); /* the marker of the directory itself */
	space_add(&sp, "d0/after");
	list_and_compare(&sp, "d/", "prefixes mixed in", 60, 20);
}

static void test_few_keys_cost_one_request(void **state UNUSED)
{
	struct space sp = { 0 };

	list_and_compare(&sp, "", "nothing", 1, 1);
	space_add(&sp, "only");
	list_and_compare(&sp, "", "one", 0, 1);
	for (unsigned i = 0; i < 1000; i++)
		space_add(&sp, "x%u", i);
	list_and_compare(&sp, "", "a full page", 0, 1);
	for (unsigned i = 0; i < 1001; i++)
		space_add(&sp, "x%u", i);
	list_and_compare(&sp, "", "a page and one", 13, 3);
	for (unsigned i = 0; i < 3000; i++)
		space_add(&sp, "x%05u", i);
	list_and_compare(&sp, "", "three pages", 16, 4);
}

static void test_random_spaces(void **state UNUSED)
{
	static const char symbols[] = "abcABC012-_. /\xc3\xa4~";
	struct space sp = { 0 };
	char what[64];
	struct prng r;

	for (unsigned seed = 1; seed <= 40; seed++) {
		unsigned n, len, set;

		r.state = seed;
		n = 1 + (unsigned)(prng_next(&r) % 6000);
		set = 2 + (unsigned)(prng_next(&r) % 14);
		for (unsigned i = 0; i < n; i++) {
			char key[24] = "";

			len = 1 + (unsigned)(prng_next(&r) % 14);
			for (unsigned k = 0; k < len; k++)
				key[k] = symbols[prng_next(&r) % set];
			space_add(&sp, "%s", key);
		}
		snprintf(what, sizeof what, "random %u of %u symbols", seed, set);
		list_and_compare(&sp, seed % 3 ? "" : "a", what, 40, 20);
	}
}

static void test_small_pages_of_the_server(void **state UNUSED)
{
	struct space sp = { .page = 37 };

	for (unsigned i = 0; i < 5000; i++)
		space_add(&sp, "k%05u", i);
	list_and_compare(&sp, "", "pages of 37", 260, 30);
}

/* -- servers that break the rules --------------------------------------------------------------- */

static void break_and_compare(struct space *sp, bool serial)
{
	struct space want = { 0 }, sorted = { 0 };
	struct asker a;

	for (unsigned i = 0; i < 5000; i++)
		space_add(sp, "k%05u", i);
	space_sort(sp);
	for (size_t i = 0; i < sp->n; i++)
		space_add(&sorted, "%s", sp->v[i]);
	expected_level(&sorted, "", &want);
	asker_init(&a, sp, VMOFS_QUERY_DIR, "");
	asker_run(&a);
	assert_int_equal(a.result.code, 0);
	assert_same(&a.got, &want);
	assert_int_equal(atomic_load(&a.s.serial), serial);
	asker_free(&a);
	space_free(&want);
	space_free(&sorted);
	space_free(sp);
}

static void test_start_after_ignored(void **state UNUSED)
{
	struct space sp = { .no_after = true };

	break_and_compare(&sp, true);
}

static void test_another_order(void **state UNUSED)
{
	struct space sp = { .backwards = true };

	break_and_compare(&sp, true);
}

static void test_keys_that_come_twice(void **state UNUSED)
{
	struct space sp = { .twice = true };

	break_and_compare(&sp, false);
}

/* On one page and not beside each other, where the server has no order. */
static void test_keys_that_come_again(void **state UNUSED)
{
	struct space sp = { .again = true };
	struct asker a;

	for (unsigned k = 0; k < 3; k++)
		space_add(&sp, "k%05u", k);
	asker_init(&a, &sp, VMOFS_QUERY_DIR, "");
	asker_run(&a);
	assert_int_equal(a.result.code, 0);
	assert_same(&a.got, &sp);
	asker_free(&a);
	space_free(&sp);
}

static void test_pages_without_end(void **state UNUSED)
{
	struct space sp = { .barren = true };
	struct asker a;

	asker_init(&a, &sp, VMOFS_QUERY_DIR, "");
	asker_run(&a);
	assert_int_equal(a.result.code, -EBADMSG);
	assert_true(sp.requests < 2000);
	asker_free(&a);
	space_free(&sp);
}

static void test_pages_in_a_circle(void **state UNUSED)
{
	static const enum vmofs_query_kind kinds[] = { VMOFS_QUERY_DIR, VMOFS_QUERY_FLAT };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct space sp = { .circle = true };
		struct asker a;

		for (unsigned k = 0; k < 5000; k++)
			space_add(&sp, "k%05u", k);
		space_sort(&sp);
		asker_init(&a, &sp, kinds[i], "");
		a.s.o.parallel = 1;
		asker_run(&a);
		assert_int_equal(a.result.code, -EBADMSG);
		assert_true(sp.requests < 10);
		asker_free(&a);
		space_free(&sp);
	}
}

static void test_keys_of_another_prefix(void **state UNUSED)
{
	static const enum vmofs_query_kind kinds[] = { VMOFS_QUERY_DIR, VMOFS_QUERY_FLAT };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct space sp = { .wrong_prefix = true };
		struct asker a;

		space_add(&sp, "x/here");
		space_add(&sp, "y-elsewhere");
		space_sort(&sp);
		asker_init(&a, &sp, kinds[i], "x/");
		asker_run(&a);
		assert_int_equal(a.result.code, -EBADMSG);
		assert_non_null(strstr(a.msg, "another prefix"));
		assert_int_equal(a.got.n, 0);
		asker_free(&a);
		space_free(&sp);
	}
}

static void test_a_refusal_ends_the_query(void **state UNUSED)
{
	for (unsigned at = 1; at <= 6; at++) {
		struct space sp = { .fail_at = at };
		struct asker a;

		for (unsigned i = 0; i < 20000; i++)
			space_add(&sp, "k%05u", i);
		space_sort(&sp);
		asker_init(&a, &sp, VMOFS_QUERY_DIR, "");
		asker_run(&a);
		assert_int_equal(a.result.code, -EACCES);
		assert_int_equal(a.result.status, 403);
		assert_non_null(strstr(a.msg,
				       "cannot list 's3://b/': the server answered 403 "
				       "AccessDenied: Access Denied (request id r-17)"));
		asker_free(&a);
		space_free(&sp);
	}
}

static void test_nobody_wants_more(void **state UNUSED)
{
	struct space sp = { 0 };
	struct asker a;

	for (unsigned i = 0; i < 20000; i++)
		space_add(&sp, "k%05u", i);
	space_sort(&sp);
	asker_init(&a, &sp, VMOFS_QUERY_DIR, "");
	a.stop_at = 1500;
	asker_run(&a);
	assert_int_equal(a.result.code, 0);
	assert_true(a.got.n >= 1500 && a.got.n < 3000);
	assert_true(sp.requests < 20);
	asker_free(&a);
	space_free(&sp);
}

/* -- flat, and names -------------------------------------------------------------------------- */

static void test_flat_is_ordered_and_goes_on(void **state UNUSED)
{
	struct space sp = { 0 };
	struct asker a;
	char after[64] = "";
	size_t seen = 0;

	for (unsigned i = 0; i < 7000; i++)
		space_add(&sp, "p/d%03u/f%u", i % 200, i);
	space_add(&sp, "q");
	space_sort(&sp);
	for (unsigned round = 0; round < 10; round++) {
		asker_init(&a, &sp, VMOFS_QUERY_FLAT, "p/");
		a.q.after = after;
		a.q.limit = 1500;
		asker_run(&a);
		assert_int_equal(a.result.code, 0);
		for (size_t i = 0; i < a.got.n; i++)
			assert_string_equal(a.got.v[i], sp.v[seen + i]);
		seen += a.got.n;
		snprintf(after, sizeof after, "%s", a.got.v[a.got.n - 1]);
		if (!a.result.more)
			break;
		assert_int_equal(a.got.n, 2000);
		asker_free(&a);
	}
	asker_free(&a);
	assert_int_equal(seen, 7000);
	assert_int_equal(sp.requests, 7); /* a page for a thousand, no more */
	space_free(&sp);
}

static void check_name(struct space *sp, const char *name, bool file, bool dir, unsigned requests)
{
	struct asker a;
	char both[1200];
	unsigned n = 0;

	sp->requests = 0;
	asker_init(&a, sp, VMOFS_QUERY_NAME, name);
	asker_run(&a);
	assert_int_equal(a.result.code, 0);
	assert_int_equal(a.got.n, (size_t)file + dir);
	if (file)
		assert_string_equal(a.got.v[n++], name);
	snprintf(both, sizeof both, "%s/", name);
	if (dir)
		assert_string_equal(a.got.v[n], both);
	assert_int_equal(a.prefixes, dir);
	assert_int_equal(sp->requests, requests);
	asker_free(&a);
}

static void test_names(void **state UNUSED)
{
	struct space sp = { 0 };

	space_add(&sp, "file");
	space_add(&sp, "file.txt");
	space_add(&sp, "both");
	space_add(&sp, "both/x");
	space_add(&sp, "dir/a/b");
	space_add(&sp, "marker/");
	for (unsigned i = 0; i < 100; i++)
		space_add(&sp, "crowd-%u", i);
	space_add(&sp, "crowd/y");
	for (unsigned i = 0; i < 100; i++)
		space_add(&sp, "lonely-%u", i);
	space_sort(&sp);
	check_name(&sp, "file", true, false, 1);
	check_name(&sp, "both", true, true, 1);
	check_name(&sp, "dir", false, true, 1);
	check_name(&sp, "dir/a", false, true, 1);
	check_name(&sp, "marker", false, true, 1);
	check_name(&sp, "none", false, false, 1);
	check_name(&sp, "crowd", false, true, 2);
	check_name(&sp, "lonely", false, false, 2);
	check_name(&sp, "fil", false, false, 1);
	space_free(&sp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sequential_digits),
		cmocka_unit_test(test_hex_and_uuid),
		cmocka_unit_test(test_dates_and_words),
		cmocka_unit_test(test_one_giant_and_few),
		cmocka_unit_test(test_deep_common_prefixes),
		cmocka_unit_test(test_prefixes_mixed_in),
		cmocka_unit_test(test_few_keys_cost_one_request),
		cmocka_unit_test(test_random_spaces),
		cmocka_unit_test(test_small_pages_of_the_server),
		cmocka_unit_test(test_start_after_ignored),
		cmocka_unit_test(test_another_order),
		cmocka_unit_test(test_keys_that_come_twice),
		cmocka_unit_test(test_keys_that_come_again),
		cmocka_unit_test(test_pages_without_end),
		cmocka_unit_test(test_pages_in_a_circle),
		cmocka_unit_test(test_keys_of_another_prefix),
		cmocka_unit_test(test_a_refusal_ends_the_query),
		cmocka_unit_test(test_nobody_wants_more),
		cmocka_unit_test(test_flat_is_ordered_and_goes_on),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
