/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the S3 provider does about refusals and what it makes of an object, over an origin that is a script:
 * regions, clocks, keys that have expired, messages, metadata, versions, checksums. The origin tries again as
 * the real one does: after RETRY, and once after DENIED when renew() is content.
 *
 * LINK: -Wl,--wrap=http_origin_ask -Wl,--wrap=http_object_new -Wl,--wrap=http_endpoint_new_lines
 * LINK: -Wl,--wrap=http_origin_settings -Wl,--wrap=s3_chain_anonymous
 * LINK: -Wl,--wrap=s3_chain_current -Wl,--wrap=s3_chain_fetch
 * LINK: -Wl,--wrap=vmofs_vmo_get -Wl,--wrap=vmofs_vmo_put -Wl,--wrap=vmofs_distrust
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/loop.h"
#include "base/macros.h"
#include "lib/named_vmo.h"
#include "s3/s3_private.h"

#define TRIES 8

/* What the server answers next; the last one stands for all that follow. */
struct step {
	int status;
	const char *headers; /* "name: value\n"... */
	const char *body;
};

struct http_origin {
	const struct step *steps;
	unsigned at;
	unsigned requests;
	char urls[32][512];
	char authorization[32][256];
	char lines[2048]; /* of the last request */
	const char *method;
};

/* -- keys ------------------------------------------------------------------------------------- */

static bool anonymous;
static struct s3_credentials *keys;
static unsigned fetches;
static int fetch_code;
static bool keys_are_old; /* good, but it is time for others */

bool __wrap_s3_chain_anonymous(const struct s3_chain *c);
struct s3_credentials *__wrap_s3_chain_current(struct s3_chain *c, bool *ageing);
int __wrap_s3_chain_fetch(struct s3_chain *c, const char *refused, const atomic_bool *cancel,
			  struct vmofs_err *err);

bool __wrap_s3_chain_anonymous(const struct s3_chain *c UNUSED)
{
	return anonymous;
}

struct s3_credentials *__wrap_s3_chain_current(struct s3_chain *c UNUSED, bool *ageing)
{
	*ageing = keys_are_old;
	return keys ? s3_credentials_get(keys) : NULL;
}

/* The first are KEY0, then KEY1, ... */
int __wrap_s3_chain_fetch(struct s3_chain *c UNUSED, const char *refused,
			  const atomic_bool *cancel UNUSED, struct vmofs_err *err)
{
	char name[16];

	if (fetch_code)
		return vmofs_err_set(err, fetch_code, "no keys anywhere");
	if (keys && refused)
		assert_string_equal(refused, keys->access_key);
	snprintf(name, sizeof name, "KEY%u", fetches++);
	s3_credentials_put(keys);
	keys = s3_credentials_new(name, "secret", "session", time(NULL) + 3600);
	assert_non_null(keys);
	return 0;
}

/* -- the origin ------------------------------------------------------------------------------- */

void __wrap_http_origin_ask(struct http_origin *o, struct http_ask *a);
struct http_settings *__wrap_http_origin_settings(struct http_origin *o);

struct http_settings *__wrap_http_origin_settings(struct http_origin *o UNUSED)
{
	return NULL;
}

static void tell_headers(struct http_ask *a, const char *p)
{
	while (p && *p) {
		char name[64];
		size_t n = strcspn(p, ":"), len = strcspn(p + n + 2, "\n");

		snprintf(name, sizeof name, "%.*s", (int)n, p);
		if (a->ops->header)
			a->ops->header(a, name, p + n + 2, len);
		if (strcmp(name, "x-checksums") == 0) /* as the real one collects them */
			snprintf(a->call.reply.checksums, sizeof a->call.reply.checksums, "%.*s",
				 (int)len, p + n + 2);
		p += n + 2 + len;
		p += *p == '\n';
	}
}

static void note_request(struct http_origin *o, const struct http_ask *a)
{
	unsigned i = o->requests++;

	assert_true(i < ARRAY_LEN(o->urls));
	snprintf(o->urls[i], sizeof o->urls[i], "%s", a->call.url);
	o->method = a->call.method;
	o->lines[0] = '\0';
	for (unsigned k = 0; k < a->call.nheaders; k++) {
		size_t n = strlen(o->lines);

		snprintf(o->lines + n, sizeof o->lines - n, "%s\n", a->call.headers[k]);
		if (strncasecmp(a->call.headers[k], "authorization:", 14) == 0)
			snprintf(o->authorization[i], sizeof o->authorization[i], "%s",
				 a->call.headers[k]);
	}
}

static int good_answer(struct http_ask *a, const struct step *s)
{
	int r = 0;

	if (s->body && a->ops->data)
		r = a->ops->data(a, s->body, strlen(s->body));
	if (r == 0 && a->ops->finish)
		r = a->ops->finish(a);
	return r ? -EBADMSG : 0;
}

/* One try; 1: once more. */
static int try_once(struct http_origin *o, struct http_ask *a, struct http_refusal *why,
		    bool *renewed)
{
	const struct step *s = &o->steps[o->at];
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = a->ops->prepare(a, &err);

	*why = (struct http_refusal){ 0 };
	if (r == -EAGAIN) {
		if (a->ops->renew(a, why, &err) < 0) {
			snprintf(why->msg, sizeof why->msg, "%.500s", err.msg);
			return err.code;
		}
		return 1;
	}
	assert_int_equal(r, 0);
	a->requests++;
	note_request(o, a);
	if (o->steps[o->at + 1].status)
		o->at++;
	a->ops->reset(a);
	tell_headers(a, s->headers);
	why->status = s->status;
	if (s->status / 100 == 2)
		return good_answer(a, s);
	why->body = s->body;
	why->len = s->body ? strlen(s->body) : 0;
	why->outcome = http_status_outcome(s->status);
	snprintf(why->msg, sizeof why->msg, "the server answered %d", s->status);
	a->ops->refused(a, why);
	if (why->outcome == HTTP_OUTCOME_RETRY)
		return 1;
	if (why->outcome == HTTP_OUTCOME_DENIED && !*renewed) {
		*renewed = true;
		r = a->ops->renew(a, why, &err);
		return r ? r : 1;
	}
	return why->outcome == HTTP_OUTCOME_DENIED  ? -EACCES
		: why->outcome == HTTP_OUTCOME_GONE ? -ENOENT
						    : -EIO;
}

void __wrap_http_origin_ask(struct http_origin *o, struct http_ask *a)
{
	struct http_refusal why;
	bool renewed = false;
	int r = 1;

	for (unsigned i = 0; i < TRIES && r == 1; i++)
		r = try_once(o, a, &why, &renewed);
	a->ops->done(a, r == 1 ? -EIO : r, &why);
}

/* -- asking ----------------------------------------------------------------------------------- */

struct asker {
	struct s3 s;
	struct http_origin origin;
	struct vmofs_query q;
	unsigned n;
	struct vmofs_entry entry; /* the last */
	char key[64], validator[64], target[64];
	int code;
	char msg[1024];
};

static bool on_entries(struct vmofs_query *q, const struct vmofs_entry *v, unsigned n)
{
	struct asker *a = container_of(q, struct asker, q);

	a->n += n;
	a->entry = v[n - 1];
	snprintf(a->key, sizeof a->key, "%s", v[n - 1].key);
	snprintf(a->validator, sizeof a->validator, "%s", v[n - 1].validator);
	snprintf(a->target, sizeof a->target, "%s", v[n - 1].target);
	return true;
}

static void on_done(struct vmofs_query *q, const struct vmofs_query_result *result)
{
	struct asker *a = container_of(q, struct asker, q);

	a->code = result->code;
	snprintf(a->msg, sizeof a->msg, "%s", result->msg);
}

static void asker_init(struct asker *a, const struct step *steps)
{
	*a = (struct asker){ .code = 1 };
	a->origin.steps = steps;
	a->s.origin = &a->origin;
	atomic_store(&a->s.refs, 1);
	mutex_init(&a->s.lock, LOCK_RANK_SOURCE);
	memcpy(a->s.region, "us-east-1", sizeof "us-east-1");
	memcpy(a->s.o.bucket, "buck", 5);
	a->s.o.tls = true;
	a->s.o.page = 1000;
	a->s.o.parallel = 16;
	a->s.o.part_size = MIB(8);
	a->q.entries = on_entries;
	a->q.done = on_done;
	a->q.after = "";
	anonymous = false;
	fetches = 0;
	fetch_code = 0;
}

static void asker_free(struct asker *a)
{
	assert_int_equal(atomic_load(&a->s.refs), 1);
	mutex_destroy(&a->s.lock);
	s3_credentials_put(keys);
	keys = NULL;
}

static void ask(struct asker *a, enum vmofs_query_kind kind, const char *key)
{
	a->q.kind = kind;
	a->q.key = key;
	if (kind == VMOFS_QUERY_HEAD)
		s3_head(&a->s, &a->q);
	else
		s3_list(&a->s, &a->q);
	assert_int_not_equal(a->code, 1);
}

#define EMPTY "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
#define OK                       \
	{                        \
		200, NULL, EMPTY \
	}
#define END                   \
	{                     \
		0, NULL, NULL \
	}
#define ERR(c) \
	"<Error><Code>" c "</Code><Message>so it is</Message><RequestId>r1</RequestId></Error>"

/* -- remedies --------------------------------------------------------------------------------- */

static void test_urls_and_signatures(void **state UNUSED)
{
	static const struct step steps[] = { OK, END };
	struct asker a;

	asker_init(&a, steps);
	memcpy(a.s.o.prefix, "p q/", 5);
	ask(&a, VMOFS_QUERY_DIR, "d+/");
	assert_int_equal(a.code, 0);
	assert_string_equal(a.origin.urls[0],
			    "https://buck.s3.us-east-1.amazonaws.com/?delimiter=%2F&encoding-type="
			    "url&list-type=2&max-keys=1000&prefix=p%20q%2Fd%2B%2F");
	assert_non_null(strstr(a.origin.authorization[0], "Credential=KEY0/"));
	assert_non_null(strstr(a.origin.authorization[0], "/us-east-1/s3/aws4_request"));
	assert_non_null(strstr(a.origin.lines, "session"));
	a.s.o.dual_stack = true;
	a.s.o.path_style = true;
	a.s.o.requester_pays = true;
	ask(&a, VMOFS_QUERY_DIR, "");
	assert_non_null(strstr(a.origin.urls[1],
			       "https://s3.dualstack.us-east-1.amazonaws.com/buck?delimiter"));
	assert_non_null(strstr(a.origin.lines, "x-amz-request-payer: requester"));
	memcpy(a.s.o.host, "h:9000", 7);
	memcpy(a.s.o.base, "/base", 6);
	anonymous = true;
	ask(&a, VMOFS_QUERY_DIR, "");
	assert_non_null(strstr(a.origin.urls[2], "https://h:9000/base/buck?delimiter"));
	assert_string_equal(a.origin.authorization[2], "");
	asker_free(&a);
}

static void test_the_region_is_followed_once(void **state UNUSED)
{
	static const struct step by_header[] = {
		{ 301, "x-amz-bucket-region: eu-west-1\n", ERR("PermanentRedirect") }, OK, END
	};
	static const struct step by_body[] = {
		{ 400, NULL,
		  "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>" },
		OK,
		END
	};
	static const struct step *const both[] = { by_header, by_body };

	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		struct asker a;

		asker_init(&a, both[i]);
		ask(&a, VMOFS_QUERY_DIR, "");
		assert_int_equal(a.code, 0);
		assert_int_equal(a.origin.requests, 2);
		assert_non_null(strstr(a.origin.urls[1], "buck.s3.eu-west-1.amazonaws.com"));
		assert_non_null(strstr(a.origin.authorization[1], "/eu-west-1/s3/"));
		ask(&a, VMOFS_QUERY_DIR, ""); /* and remembered */
		assert_int_equal(a.origin.requests, 3);
		assert_non_null(strstr(a.origin.urls[2], "eu-west-1"));
		asker_free(&a);
	}
}

static void test_regions_that_send_back_and_forth(void **state UNUSED)
{
	static const struct step steps[] = {
		{ 301, "x-amz-bucket-region: r1\n", ERR("PermanentRedirect") },
		{ 301, "x-amz-bucket-region: r2\n", ERR("PermanentRedirect") },
		{ 301, "x-amz-bucket-region: r3\n", ERR("PermanentRedirect") },
		END
	};
	struct asker a;

	asker_init(&a, steps);
	ask(&a, VMOFS_QUERY_DIR, "");
	assert_int_equal(a.code, -EIO);
	assert_int_equal(a.origin.requests, 3);
	assert_non_null(strstr(a.msg, "name it with -o region=NAME"));
	asker_free(&a);
}

static void test_a_region_that_is_no_name(void **state UNUSED)
{
	static const struct step steps[] = {
		{ 301, "x-amz-bucket-region: evil.example/\n", ERR("PermanentRedirect") }, END
	};
	struct asker a;

	asker_init(&a, steps);
	ask(&a, VMOFS_QUERY_DIR, "");
	assert_int_equal(a.code, -EIO);
	assert_int_equal(a.origin.requests, 1);
	assert_string_equal(a.s.region, "us-east-1");
	asker_free(&a);
}

static void format_date(time_t t, const char *format, char *out, size_t cap)
{
	struct tm tm;

	assert_true(strftime(out, cap, format, gmtime_r(&t, &tm)) > 0);
}

static void test_the_servers_clock_is_followed(void **state UNUSED)
{
	char header[128], day[16];
	const struct step steps[] = { { 403, header, ERR("RequestTimeTooSkewed") }, OK, END };
	struct asker a;

	format_date(time(NULL) + 86400, "date: %a, %d %b %Y %H:%M:%S GMT\n", header, sizeof header);
	format_date(time(NULL) + 86400, "%Y%m%d/", day, sizeof day);
	asker_init(&a, steps);
	ask(&a, VMOFS_QUERY_DIR, "");
	assert_int_equal(a.code, 0);
	assert_int_equal(a.origin.requests, 2);
	assert_true(llabs((long long)atomic_load(&a.s.skew) - 86400) <= 1);
	assert_null(strstr(a.origin.authorization[0], day));
	assert_non_null(strstr(a.origin.authorization[1], day));
	asker_free(&a);
}

static void test_a_clock_that_stays_wrong(void **state UNUSED)
{
	static const struct step steps[] = { { 403, NULL, ERR("RequestTimeTooSkewed") }, END };
	struct asker a;

	asker_init(&a, steps);
	ask(&a, VMOFS_QUERY_DIR, "");
	assert_int_equal(a.code, -EACCES);
	assert_int_equal(a.origin.requests, 1);
	asker_free(&a);
}

static void test_a_good_answer_tells_the_time_too(void **state UNUSED)
{
	char header[128];
	const struct step steps[] = { { 200, header, EMPTY }, END };
	struct asker a;

	format_date(time(NULL) - 7200, "date: %a, %d %b %Y %H:%M:%S GMT\n", header, sizeof header);
	asker_init(&a, steps);
	ask(&a, VMOFS_QUERY_DIR, "");
	assert_true(llabs((long long)atomic_load(&a.s.skew) + 7200) <= 1);
	asker_free(&a);
}

static void test_expired_keys_are_renewed_once(void **state UNUSED)
{
	static const struct step once[] = { { 400, NULL, ERR("ExpiredToken") }, OK, END };
	static const struct step always[] = { { 400, NULL, ERR("ExpiredToken") }, END };
	struct asker a;

	asker_init(&a, once);
	ask(&a, VMOFS_QUERY_DIR, "");
	assert_int_equal(a.code, 0);
	assert_int_equal(fetches, 2);
	assert_int_equal(a.origin.requests, 2);
	assert_non_null(strstr(a.origin.authorization[0], "KEY0/"));
	assert_non_null(strstr(a.origin.authorization[1], "KEY1/"));
	asker_free(&a);

	asker_init(&a, always);
	ask(&a, VMOFS_QUERY_DIR, "");
	assert_int_equal(a.code, -EACCES);
	assert_int_equal(a.origin.requests, 2);
	assert_non_null(
		strstr(a.msg, "400 ExpiredToken: so it is (request id r1); the session has ended"));
	asker_free(&a);
}

/* The old keys go on to be used; a failure is not followed by another attempt at once. */
static void test_keys_are_renewed_ahead(void **state UNUSED)
{
	static const struct step steps[] = { OK, END };
	struct asker a;

	for (unsigned fails = 0; fails < 2; fails++) {
		asker_init(&a, steps);
		ask(&a, VMOFS_QUERY_DIR, "");
		a.s.worker = worker_new("test-keys");
		assert_non_null(a.s.worker);
		keys_are_old = true;
		fetch_code = fails ? -EACCES : 0;
		ask(&a, VMOFS_QUERY_DIR, "");
		assert_int_equal(a.code, 0);
		worker_free(a.s.worker); /* what was posted has run */
		keys_are_old = false;
		assert_int_equal(fetches, fails ? 1 : 2);
		assert_non_null(strstr(a.origin.authorization[1], "KEY0/"));
		ask(&a, VMOFS_QUERY_DIR, "");
		assert_non_null(strstr(a.origin.authorization[2], fails ? "KEY0/" : "KEY1/"));
		assert_true((atomic_load(&a.s.refresh_after_ns) > loop_now_ns()) == fails);
		asker_free(&a);
	}
}

static void test_a_denial_is_not_renewed(void **state UNUSED)
{
	static const struct step steps[] = { { 403, NULL, ERR("AccessDenied") }, END };
	struct asker a;

	asker_init(&a, steps);
	ask(&a, VMOFS_QUERY_DIR, "p/");
	assert_int_equal(a.code, -EACCES);
	assert_int_equal(fetches, 1);
	assert_int_equal(a.origin.requests, 1);
	assert_non_null(strstr(a.msg,
			       "cannot list 's3://buck/p/': the server answered 403 "
			       "AccessDenied: so it is (request id r1); "));
	anonymous = true;
	ask(&a, VMOFS_QUERY_DIR, "p/");
	assert_non_null(strstr(a.msg, "--no-sign-request"));
	asker_free(&a);
}

static void test_no_keys_at_all(void **state UNUSED)
{
	static const struct step steps[] = { OK, END };
	struct asker a;

	asker_init(&a, steps);
	fetch_code = -EACCES;
	ask(&a, VMOFS_QUERY_DIR, "");
	assert_int_equal(a.code, -EACCES);
	assert_int_equal(a.origin.requests, 0);
	assert_non_null(strstr(a.msg, "no keys anywhere"));
	asker_free(&a);
}

static void test_slow_down_is_told(void **state UNUSED)
{
	struct http_refusal why = { .status = 400, .outcome = HTTP_OUTCOME_REFUSED };
	static const struct step steps[] = { OK, END };
	struct s3_trouble t = { 0 };
	struct asker a;

	asker_init(&a, steps);
	why.body = ERR("SlowDown");
	why.len = strlen(why.body);
	s3_refused(&a.s, &t, &why);
	assert_int_equal(why.outcome, HTTP_OUTCOME_RETRY);
	assert_true(why.slow_down);
	asker_free(&a);
}

/* -- HEAD ------------------------------------------------------------------------------------- */

static void test_head(void **state UNUSED)
{
	static const struct step link[] = {
		{ 200,
		  "content-length: 6\netag: \"e\"\nlast-modified: Fri, 02 Jan 2026 03:04:05 GMT\n"
		  "x-amz-meta-mode: 41471\nx-amz-meta-mtime: 1700000000.25\n",
		  NULL },
		{ 200, "etag: \"e\"\n", "../abc" },
		END
	};
	static const struct step gone[] = { { 404, NULL, NULL }, END };
	struct asker a;

	asker_init(&a, link);
	ask(&a, VMOFS_QUERY_HEAD, "l");
	assert_int_equal(a.code, 0);
	assert_int_equal(a.n, 1);
	assert_string_equal(a.key, "l");
	assert_string_equal(a.validator, "\"e\"");
	assert_string_equal(a.target, "../abc");
	assert_int_equal(a.entry.has, VMOFS_HAS_MODE | VMOFS_HAS_TARGET);
	assert_int_equal(a.entry.mtime.tv_sec, 1700000000);
	assert_int_equal(a.entry.mtime.tv_nsec, 250000000);
	assert_int_equal(a.entry.size, 6);
	assert_string_equal(a.origin.method, "GET");
	asker_free(&a);

	asker_init(&a, gone);
	ask(&a, VMOFS_QUERY_HEAD, "x");
	assert_int_equal(a.code, 0);
	assert_int_equal(a.n, 0);
	asker_free(&a);
}

/* -- objects ---------------------------------------------------------------------------------- */

static struct http_object_spec spec; /* of the last object */
static char object_url[1024], endpoint_url[1024], endpoint_lines[2048];

int __wrap_http_object_new(struct vmofs_provider **out, struct http_origin *o,
			   const struct http_object_spec *s, struct vmofs_err *err);
struct http_endpoint *__wrap_http_endpoint_new_lines(struct http_settings *s, const char *url,
						     const char *const *lines, unsigned nlines,
						     const struct http_expect *expect,
						     struct vmofs_err *err);

int __wrap_http_object_new(struct vmofs_provider **out, struct http_origin *o UNUSED,
			   const struct http_object_spec *s, struct vmofs_err *err UNUSED)
{
	static struct vmofs_provider provider;

	spec = *s;
	snprintf(object_url, sizeof object_url, "%s", s->url);
	*out = &provider;
	return 0;
}

struct http_endpoint *__wrap_http_endpoint_new_lines(struct http_settings *s UNUSED,
						     const char *url, const char *const *lines,
						     unsigned nlines,
						     const struct http_expect *expect UNUSED,
						     struct vmofs_err *err UNUSED)
{
	static char endpoint;

	snprintf(endpoint_url, sizeof endpoint_url, "%s", url);
	endpoint_lines[0] = '\0';
	for (unsigned i = 0; i < nlines; i++) {
		size_t n = strlen(endpoint_lines);

		snprintf(endpoint_lines + n, sizeof endpoint_lines - n, "%s\n", lines[i]);
	}
	return (struct http_endpoint *)&endpoint;
}

static void object(struct asker *a, const char *key, uint64_t size)
{
	struct vmofs_entry e = { .key = key,
				 .key_len = strlen(key),
				 .size = size,
				 .validator = "\"tag\"",
				 .target = "" };
	struct vmofs_object_info info;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_provider *p;

	a->s.base.ops = NULL;
	assert_int_equal(s3_object(&a->s.base, &e, &p, &info, &err), 0);
	assert_int_equal(info.size, size);
	assert_string_equal(info.validator, "\"tag\"");
	assert_false(info.weak);
}

static int endpoint(uint64_t *until)
{
	struct http_endpoint *ep = NULL;
	struct vmofs_err err = VMOFS_ERR_INIT;

	return spec.location->endpoint(spec.arg, NULL, &ep, until, &err);
}

static int renew(void)
{
	struct http_refusal why = { 0 };
	struct vmofs_err err = VMOFS_ERR_INIT;

	return spec.location->renew(spec.arg, &why, &err);
}

static enum http_outcome refuse(int status, const char *body)
{
	struct http_refusal why = { .status = status,
				    .body = body,
				    .len = body ? strlen(body) : 0,
				    .outcome = http_status_outcome(status) };

	spec.location->refused(spec.arg, &why);
	return why.outcome;
}

static void answered(const char *version, const char *checksums, uint64_t first, uint64_t last)
{
	struct http_reply r = { .status = 206, .has_range = true };

	r.range.first = first;
	r.range.last = last;
	snprintf(r.version_id, sizeof r.version_id, "%s", version);
	snprintf(r.checksums, sizeof r.checksums, "%s", checksums);
	spec.location->answered(spec.arg, &r);
}

static void test_one_signature_for_minutes(void **state UNUSED)
{
	static const struct step steps[] = { OK, END };
	uint64_t until = 0, now = loop_now_ns();
	struct asker a;

	asker_init(&a, steps);
	object(&a, "d/a b", 100);
	assert_int_equal(endpoint(&until), -EAGAIN); /* no keys yet */
	assert_int_equal(renew(), 0);
	assert_int_equal(endpoint(&until), 0);
	assert_string_equal(endpoint_url, "https://buck.s3.us-east-1.amazonaws.com/d/a%20b");
	assert_string_equal(object_url, endpoint_url);
	assert_non_null(strstr(endpoint_lines, "x-amz-checksum-mode: ENABLED"));
	assert_true(until > now + 200 * NSEC_PER_SEC && until < now + 900 * NSEC_PER_SEC);
	spec.location->free(spec.arg);
	object(&a, "large", MIB(100));
	assert_int_equal(endpoint(&until), 0);
	assert_null(strstr(endpoint_lines, "checksum"));
	spec.location->free(spec.arg);
	asker_free(&a);
}

static void test_the_version_is_pinned(void **state UNUSED)
{
	static const struct step steps[] = { OK, END };
	struct asker a;
	uint64_t until;

	asker_init(&a, steps);
	anonymous = true;
	object(&a, "k", MIB(100));
	assert_int_equal(endpoint(&until), 0);
	assert_null(strstr(endpoint_url, "versionId"));
	answered("v+1", "", 0, 1);
	assert_int_equal(refuse(412, ERR("PreconditionFailed")), HTTP_OUTCOME_DENIED);
	assert_int_equal(renew(), 0);
	assert_int_equal(endpoint(&until), 0);
	assert_non_null(strstr(endpoint_url, "/k?versionId=v%2B1"));
	assert_int_equal(refuse(412, ERR("PreconditionFailed")), HTTP_OUTCOME_CHANGED);
	assert_int_equal(renew(), -EACCES);
	spec.location->free(spec.arg);

	object(&a, "k", MIB(100)); /* "null": versions are not kept */
	assert_int_equal(endpoint(&until), 0);
	answered("null", "", 0, 1);
	assert_int_equal(refuse(412, ERR("PreconditionFailed")), HTTP_OUTCOME_CHANGED);
	spec.location->free(spec.arg);
	asker_free(&a);
}

static void test_an_object_renews_keys_and_region(void **state UNUSED)
{
	static const struct step steps[] = { OK, END };
	struct asker a;
	uint64_t until;

	asker_init(&a, steps);
	object(&a, "k", 100);
	assert_int_equal(renew(), 0);
	assert_int_equal(endpoint(&until), 0);
	assert_int_equal(refuse(400, ERR("ExpiredToken")), HTTP_OUTCOME_DENIED);
	assert_int_equal(renew(), 0);
	assert_int_equal(fetches, 2);
	assert_int_equal(endpoint(&until), 0);
	assert_non_null(strstr(endpoint_lines, "KEY1/"));
	assert_int_equal(refuse(400,
				"<Error><Code>AuthorizationHeaderMalformed</Code><Region>r9"
				"</Region></Error>"),
			 HTTP_OUTCOME_DENIED);
	assert_int_equal(renew(), 0);
	assert_int_equal(endpoint(&until), 0);
	assert_non_null(strstr(endpoint_lines, "/r9/s3/"));
	assert_int_equal(refuse(403, ERR("AccessDenied")), HTTP_OUTCOME_DENIED);
	assert_int_equal(renew(), -EACCES);
	assert_int_equal(fetches, 2);
	spec.location->free(spec.arg);
	asker_free(&a);
}

#define PIECE KIB(64)

static uint8_t content[3 * MIB(1)];

static int check(uint64_t off)
{
	return spec.location->check(spec.arg, named_vmo(), off, content + off, PIECE);
}

static void crc_text(uint64_t n, unsigned wrong, char *out, size_t cap)
{
	uint64_t crc = digest_crc(DIGEST_CRC64NVME, 0, content, n) ^ wrong;
	uint8_t be[8];
	char text[32];

	for (unsigned i = 0; i < 8; i++)
		be[i] = (uint8_t)(crc >> 8 * (7 - i));
	digest_base64(be, sizeof be, text);
	snprintf(out, cap, "crc64nvme=%s;type=FULL_OBJECT;", text);
}

/* Reads all of it, the second half first; the code of the last piece. */
static int read_all(uint64_t size)
{
	int r = 0;

	for (unsigned half = 0; half < 2; half++)
		for (uint64_t off = half ? 0 : size / 2; off < (half ? size / 2 : size);
		     off += PIECE) {
			assert_int_equal(r, 0);
			r = check(off);
		}
	return r;
}

static void test_checksums_of_small_objects(void **state UNUSED)
{
	static const struct step steps[] = { OK, END };
	char sums[128];
	struct asker a;

	asker_init(&a, steps);
	anonymous = true;
	memset(content, 'x', sizeof content);
	for (unsigned wrong = 0; wrong < 2; wrong++) {
		crc_text(MIB(1), wrong, sums, sizeof sums);
		object(&a, "k", MIB(1));
		answered("", sums, 0, MIB(1) - 1);
		assert_int_equal(read_all(MIB(1)), wrong ? -EBADMSG : 0);
		/* what is read again is not believed either */
		assert_int_equal(check(0), wrong ? -EBADMSG : 0);
		spec.location->free(spec.arg);

		object(&a, "k", MIB(1)); /* what is said of a range does not count: HEAD is asked */
		answered("", sums, 0, PIECE - 1);
		assert_int_equal(read_all(MIB(1)), 0);
		assert_int_equal(a.origin.requests, wrong + 1);
		spec.location->free(spec.arg);
	}
	asker_free(&a);
}

static void test_checksums_of_large_objects(void **state UNUSED)
{
	char sums[128], headers[256];
	const struct step steps[] = { { 200, headers, NULL }, END };
	struct asker a;

	anonymous = true;
	for (unsigned wrong = 0; wrong < 2; wrong++) {
		crc_text(sizeof content, wrong, sums, sizeof sums);
		snprintf(headers, sizeof headers, "etag: \"tag\"\nx-checksums: %s\n", sums);
		asker_init(&a, steps);
		anonymous = true;
		a.s.o.part_size = MIB(1);
		object(&a, "k", sizeof content);
		answered("v", "", 0, MIB(1) - 1);
		assert_int_equal(read_all(sizeof content), wrong ? -EBADMSG : 0);
		assert_int_equal(a.origin.requests, 1);
		assert_string_equal(a.origin.method, "HEAD");
		assert_non_null(strstr(a.origin.lines, "x-amz-checksum-mode: ENABLED"));
		assert_non_null(strstr(a.origin.urls[0], "versionId=v"));
		spec.location->free(spec.arg);
		asker_free(&a);
	}
	/* HEAD of another version says nothing about this one. */
	snprintf(headers, sizeof headers, "etag: \"other\"\nx-checksums: %s\n", sums);
	asker_init(&a, steps);
	anonymous = true;
	a.s.o.part_size = MIB(1);
	object(&a, "k", sizeof content);
	assert_int_equal(read_all(sizeof content), 0);
	assert_int_equal(a.origin.requests, 1);
	assert_int_equal(named_vmo_refs(), 0);
	spec.location->free(spec.arg);
	asker_free(&a);
}

/* -- sources ---------------------------------------------------------------------------------- */

static void test_sources(void **state UNUSED)
{
	static const struct {
		const char *text;
		const char *bucket, *prefix; /* NULL: refused */
	} sources[] = {
		{ "s3://b", "b", "" },
		{ "s3://b/", "b", "" },
		{ "S3://my.bucket_1/a b/%41", "my.bucket_1", "a b/%41" },
		{ "s3://b//x", "b", "/x" },
		{ "s3://", NULL, NULL },
		{ "s3:///x", NULL, NULL },
		{ "s3://b@c/x", NULL, NULL },
		{ "http://b", NULL, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		struct vmofs_err err = VMOFS_ERR_INIT;
		struct s3_options o = { 0 };
		int r = s3_options_source(&o, sources[i].text, &err);

		assert_int_equal(r, sources[i].bucket ? 0 : -EINVAL);
		if (r < 0)
			continue;
		assert_string_equal(o.bucket, sources[i].bucket);
		assert_string_equal(o.prefix, sources[i].prefix);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_urls_and_signatures),
		cmocka_unit_test(test_the_region_is_followed_once),
		cmocka_unit_test(test_regions_that_send_back_and_forth),
		cmocka_unit_test(test_a_region_that_is_no_name),
		cmocka_unit_test(test_the_servers_clock_is_followed),
		cmocka_unit_test(test_a_clock_that_stays_wrong),
		cmocka_unit_test(test_a_good_answer_tells_the_time_too),
		cmocka_unit_test(test_expired_keys_are_renewed_once),
		cmocka_unit_test(test_keys_are_renewed_ahead),
		cmocka_unit_test(test_a_denial_is_not_renewed),
		cmocka_unit_test(test_no_keys_at_all),
		cmocka_unit_test(test_slow_down_is_told),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_one_signature_for_minutes),
		cmocka_unit_test(test_the_version_is_pinned),
		cmocka_unit_test(test_an_object_renews_keys_and_region),
		cmocka_unit_test(test_checksums_of_small_objects),
		cmocka_unit_test(test_checksums_of_large_objects),
		cmocka_unit_test(test_sources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
