/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed requests: where a key is, which lines go out, how a refusal is read, and what is done about it: another
 * region, the server's clock, new keys. Each of these is tried once for a request, not for ever. Signing runs
 * on loops; only the fetching of keys is a worker's.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "s3/s3_private.h"

#define MEND_MAX  2
#define OWN_LINES (S3_LINES - 4) /* the others are the signature's */
#define SKEW_STEP 60             /* seconds; less is the delay of an answer */

#define REFRESH_PAUSE (60 * NSEC_PER_SEC) /* after a failure, while the old keys are good */

#define S3_HOST_MAX 640 /* bucket, endpoint or region, and what AWS adds */

/* -- where ------------------------------------------------------------------------------------ */

/* "bucket.s3.dualstack.eu-west-1.amazonaws.com", or what the endpoint says. */
static void make_host(const struct s3_options *o, const char *region, char *out, size_t cap)
{
	const char *bucket = o->path_style ? "" : o->bucket;
	const char *dot = o->path_style ? "" : ".";

	if (o->host[0])
		snprintf(out, cap, "%s%s%s", bucket, dot, o->host);
	else
		snprintf(out, cap, "%s%ss3%s.%s.amazonaws.com%s", bucket, dot,
			 o->dual_stack ? ".dualstack" : "", region,
			 strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

/* The path as it goes out. */
static int make_path(const struct s3_options *o, const char *key, char *out, size_t cap)
{
	int n = snprintf(out, cap, "%s%s%s", o->base, o->path_style ? "/" : "",
			 o->path_style ? o->bucket : "");
	int r;

	if (n < 0 || (size_t)n + 2 >= cap)
		return -ENAMETOOLONG;
	if (!key && n > 0)
		return 0;
	out[n++] = '/';
	out[n] = '\0';
	if (!key)
		return 0;
	r = sigv4_encode(key, strlen(key), 0, out + n, cap - (size_t)n);
	return r < 0 ? r : 0;
}

static const char *partition_of(const char *region)
{
	if (strncmp(region, "cn-", 3) == 0)
		return "aws-cn";
	return strncmp(region, "us-gov-", 7) == 0 ? "aws-us-gov" : "aws";
}

int s3_where(struct s3 *s, char *out, size_t cap)
{
	char region[S3_REGION];

	if (s->o.host[0])
		return snprintf(out, cap, "%s://%s%s", s->o.tls ? "https" : "http", s->o.host,
				s->o.base);
	mutex_lock(&s->lock);
	memcpy(region, s->region, sizeof region);
	mutex_unlock(&s->lock);
	return snprintf(out, cap, "%s", partition_of(region));
}

int s3_url(struct s3 *s, const char *key, char *out, size_t cap)
{
	char host[S3_HOST_MAX], region[S3_REGION];
	int n;

	mutex_lock(&s->lock);
	memcpy(region, s->region, sizeof region);
	mutex_unlock(&s->lock);
	make_host(&s->o, region, host, sizeof host);
	n = snprintf(out, cap, "%s://%s", s->o.tls ? "https" : "http", host);
	return (size_t)n < cap ? make_path(&s->o, key, out + n, cap - (size_t)n) : -ENAMETOOLONG;
}

/* -- header lines ----------------------------------------------------------------------------- */

static unsigned own_headers(const struct s3 *s, const struct s3_request *r,
			    struct sigv4_pair h[S3_LINES])
{
	unsigned n = 0;

	if (s->o.requester_pays)
		h[n++] = (struct sigv4_pair){ "x-amz-request-payer", "requester" };
	if (r->checksums)
		h[n++] = (struct sigv4_pair){ "x-amz-checksum-mode", "ENABLED" };
	if (r->key && s->o.sse_key) {
		h[n++] = (struct sigv4_pair){ "x-amz-server-side-encryption-customer-algorithm",
					      "AES256" };
		h[n++] = (struct sigv4_pair){ "x-amz-server-side-encryption-customer-key",
					      s->o.sse_key };
		h[n++] = (struct sigv4_pair){ "x-amz-server-side-encryption-customer-key-MD5",
					      s->o.sse_md5 };
	}
	for (unsigned i = 0; i < r->nheaders && n < OWN_LINES; i++)
		h[n++] = r->headers[i];
	return n;
}

/* As "Name: value" in memory of their own; "Name;" is how libcurl is told to send one without a value. */
static int add_lines(struct s3_signed *g, const struct sigv4_pair *h, unsigned n)
{
	size_t cap = 1, len = 0;

	for (unsigned i = 0; i < n; i++)
		cap += strlen(h[i].name) + strlen(h[i].value) + 3;
	g->extra = malloc(cap);
	if (!g->extra)
		return -ENOMEM;
	g->extra[0] = '\0';
	for (unsigned i = 0; i < n; i++) {
		g->lines[g->nlines++] = g->extra + len;
		len += (size_t)snprintf(g->extra + len, cap - len, "%s%s%s", h[i].name,
					h[i].value[0] ? ": " : ";", h[i].value) +
			1;
	}
	return 0;
}

void s3_signed_clear(struct s3_signed *g)
{
	for (unsigned i = 0; i < g->nlines && g->extra; i++)
		if (g->lines[i] >= g->extra)
			explicit_bzero((char *)(uintptr_t)g->lines[i], strlen(g->lines[i]));
	free(g->extra);
	g->extra = NULL;
	g->nlines = 0;
	sigv4_clear(&g->sig);
}

/* -- signing ---------------------------------------------------------------------------------- */

static void refresh_run(struct worker_task *t)
{
	struct s3 *s = container_of(t, struct s3, refresh);
	struct vmofs_err err = VMOFS_ERR_INIT;

	if (s3_chain_fetch(s->chain, NULL, &s->stopping, &err) < 0 && !atomic_load(&s->stopping)) {
		log_warn("cannot renew the keys for 's3://%s' ahead of time: %s", s->o.bucket,
			 err.msg);
		atomic_store(&s->refresh_after_ns, loop_now_ns() + REFRESH_PAUSE);
	}
	atomic_store(&s->refreshing, false);
	s3_put(s);
}

/* New keys before the old ones end, while the old ones go on to be used. */
static void refresh_ahead(struct s3 *s)
{
	if (!s->worker || atomic_load(&s->stopping) ||
	    loop_now_ns() < atomic_load(&s->refresh_after_ns) ||
	    atomic_exchange(&s->refreshing, true))
		return;
	s3_get(s);
	s->refresh.run = refresh_run;
	if (worker_post(s->worker, &s->refresh) < 0) {
		atomic_store(&s->refreshing, false);
		s3_put(s);
	}
}

static int sign(struct s3 *s, const struct s3_request *r, struct s3_signed *g, const char *host,
		const char *path, const struct sigv4_pair *h, unsigned nh, struct vmofs_err *err)
{
	int64_t skew = atomic_load(&s->skew);
	struct sigv4_scope scope = { .region = g->region,
				     .service = "s3",
				     .when = time(NULL) + (time_t)skew };
	struct sigv4_request req = { .method = r->method,
				     .host = host,
				     .path = path,
				     .query = r->query,
				     .nquery = r->nquery,
				     .headers = h,
				     .nheaders = nh,
				     .payload = r->payload ? r->payload : SIGV4_EMPTY };
	struct s3_credentials *k;
	bool ageing = false;
	int n;

	g->used[0] = '\0';
	g->expires = 0;
	g->skew = skew;
	if (s3_chain_anonymous(s->chain))
		return 0;
	k = s3_chain_current(s->chain, &ageing);
	if (!k)
		return vmofs_err_set(err, -EAGAIN, "there are no keys");
	n = sigv4_sign(k, &scope, &req, &g->sig);
	snprintf(g->used, sizeof g->used, "%s", k->access_key);
	g->expires = k->expires;
	s3_credentials_put(k);
	if (ageing)
		refresh_ahead(s);
	if (n < 0)
		return vmofs_err_set(err, n, "cannot sign a request");
	for (unsigned i = 0; i < g->sig.n; i++)
		g->lines[g->nlines++] = g->sig.v[i];
	return 0;
}

static int make_url(const struct s3 *s, const struct s3_request *r, const char *host,
		    const char *path, struct s3_signed *g)
{
	int n = snprintf(g->url, sizeof g->url, "%s://%s%s%s", s->o.tls ? "https" : "http", host,
			 path, r->nquery ? "?" : "");

	if (n < 0 || (size_t)n >= sizeof g->url)
		return -ENAMETOOLONG;
	if (r->nquery == 0)
		return 0;
	n = sigv4_query(r->query, r->nquery, g->url + n, sizeof g->url - (size_t)n);
	return n < 0 ? n : 0;
}

int s3_sign(struct s3 *s, const struct s3_request *r, struct s3_signed *g, struct vmofs_err *err)
{
	char host[S3_HOST_MAX], path[URL_MAX];
	struct sigv4_pair h[S3_LINES];
	unsigned nh = own_headers(s, r, h);
	int n;

	if (r->nheaders > OWN_LINES - 8)
		return vmofs_err_set(err, -E2BIG, "the object has more metadata than can be kept");
	mutex_lock(&s->lock);
	memcpy(g->region, s->region, sizeof g->region);
	mutex_unlock(&s->lock);
	make_host(&s->o, g->region, host, sizeof host);
	n = make_path(&s->o, r->key, path, sizeof path);
	if (n == 0)
		n = make_url(s, r, host, path, g);
	if (n < 0)
		return vmofs_err_set(err, n, "the key is too long for a URL");
	if (add_lines(g, h, nh) < 0)
		return vmofs_err_set(err, -ENOMEM, "no memory for a request");
	return sign(s, r, g, host, path, h, nh, err);
}

/* -- refusals --------------------------------------------------------------------------------- */

void s3_learn_date(struct s3 *s, int64_t date)
{
	int64_t skew = date - (int64_t)time(NULL);
	int64_t was = atomic_load(&s->skew);

	if (date <= 0 || llabs(skew - was) < SKEW_STEP)
		return;
	atomic_store(&s->skew, llabs(skew) < SKEW_STEP ? 0 : skew);
	log_info("the clock of 's3://%s' is %" PRId64 " s from ours: signatures follow it",
		 s->o.bucket, skew);
}

/* True: it is another one than the request was for, and the next will be for it. */
static bool learn_region(struct s3 *s, const struct s3_trouble *t, const char *region)
{
	size_t n = strlen(region);

	if (n == 0 || n >= S3_REGION || strcmp(region, t->region) == 0 ||
	    strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != n)
		return false;
	mutex_lock(&s->lock);
	memcpy(s->region, region, n + 1);
	mutex_unlock(&s->lock);
	log_info("the bucket 's3://%s' is in the region '%s'", s->o.bucket, region);
	return true;
}

static bool in(const char *word, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(*list, word) == 0)
			return true;
	return false;
}

static bool is_expired(const struct s3 *s, const struct s3_trouble *t,
		       const struct http_refusal *why, const char *code)
{
	static const char *const codes[] = { "ExpiredToken", "ExpiredTokenException",
					     "InvalidToken", "TokenRefreshRequired", NULL };

	if (in(code, codes) || (t->expires && strcmp(code, "InvalidAccessKeyId") == 0))
		return true;
	/* An answer to HEAD has no code. */
	return !code[0] && (why->status == 400 || why->status == 403) && t->expires &&
		t->expires <= time(NULL) + (time_t)atomic_load(&s->skew) + 60;
}

static bool mend(struct s3 *s, struct s3_trouble *t, const struct http_refusal *why,
		 const struct s3_error *e)
{
	static const char *const clocks[] = { "RequestTimeTooSkewed", "RequestExpired", NULL };
	const char *region = t->answer_region[0] ? t->answer_region : e->region;

	if (t->mended >= MEND_MAX)
		return false;
	if ((why->status / 100 == 3 || why->status == 400 || why->status == 403) &&
	    learn_region(s, t, region)) {
		t->mended++;
		return true;
	}
	if (!in(e->code, clocks))
		return false;
	s3_learn_date(s, t->answer_date);
	if (e->server_time)
		s3_learn_date(s, e->server_time);
	t->mended++;
	/* Another's refusal may have told it already. */
	return atomic_load(&s->skew) != t->skew;
}

static void describe(struct http_refusal *why, const struct s3_error *e)
{
	if (e->request_id[0])
		memcpy(why->request_id, e->request_id, sizeof why->request_id);
	if (!e->code[0] || why->status == 0)
		return;
	if (e->message[0])
		snprintf(why->msg, sizeof why->msg, "the server answered %d %s: %s", why->status,
			 e->code, e->message);
	else
		snprintf(why->msg, sizeof why->msg, "the server answered %d %s", why->status,
			 e->code);
}

void s3_refused(struct s3 *s, struct s3_trouble *t, struct http_refusal *why)
{
	static const char *const busy[] = { "SlowDown", "TooManyRequests", "ServiceUnavailable",
					    NULL };
	struct s3_error e = { 0 };

	if (why->len > 0)
		s3_xml_error(why->body, why->len, &e);
	describe(why, &e);
	memcpy(t->code, e.code, sizeof t->code);
	if (mend(s, t, why, &e) || strcmp(e.code, "RequestTimeout") == 0) {
		why->outcome = HTTP_OUTCOME_RETRY;
		why->slow_down = false;
	} else if (in(e.code, busy)) {
		why->outcome = HTTP_OUTCOME_RETRY;
		why->slow_down = true;
	} else if (t->used[0] && is_expired(s, t, why, e.code)) {
		t->expired = true;
		why->outcome = HTTP_OUTCOME_DENIED;
	}
}

int s3_renew(struct s3 *s, const struct s3_trouble *t, struct vmofs_err *err)
{
	if ((t->used[0] && !t->expired) || s3_chain_anonymous(s->chain)) {
		err->msg[0] = '\0'; /* what the server said is all there is to say */
		return err->code = -EACCES;
	}
	return s3_chain_fetch(s->chain, t->expired ? t->used : NULL, &s->stopping, err);
}

/* -- messages --------------------------------------------------------------------------------- */

static const struct {
	const char *code;
	const char *remedy;
} remedies[] = {
	{ "NoSuchBucket", "there is no such bucket: check its name and the endpoint" },
	{ "SignatureDoesNotMatch", "the secret key is not the one of this access key" },
	{ "InvalidAccessKeyId",
	  "the server does not know this access key: check the profile "
	  "and the endpoint" },
	{ "ExpiredToken", "the session has ended: log in again" },
	{ "InvalidToken", "the session token is not of this access key, or has ended" },
	{ "RequestTimeTooSkewed", "the clock of this machine is wrong" },
	{ "PermanentRedirect", "the bucket is in another region: name it with -o region=NAME" },
	{ "AuthorizationHeaderMalformed", "name the bucket's region with -o region=NAME" },
	{ "InvalidRequest", "objects encrypted with a customer's key need -o sse-c-key-file=FILE" },
};

static const char *remedy_of(const struct s3 *s, int code, const char *error_code)
{
	for (size_t i = 0; i < ARRAY_LEN(remedies); i++)
		if (strcmp(remedies[i].code, error_code) == 0)
			return remedies[i].remedy;
	if (code == -EACCES && s3_chain_anonymous(s->chain))
		return "requests are not signed: leave out --no-sign-request if the bucket is not public";
	if (code == -EACCES && strcmp(error_code, "AccessDenied") == 0)
		return "the keys have no right to this; for public buckets there is -o no-sign-request";
	return NULL;
}

void s3_explain(const struct s3 *s, const char *verb, const char *key, int code,
		const struct http_refusal *why, const char *error_code, char *out, size_t cap)
{
	const char *remedy = remedy_of(s, code, error_code);
	const char *msg = why->msg[0] ? why->msg : strerror(-code);
	bool id = why->request_id[0];

	snprintf(out, cap, "cannot %s 's3://%s/%s': %s%s%s%s%s%s", verb, s->o.bucket, key, msg,
		 id ? " (request id " : "", id ? why->request_id : "", id ? ")" : "",
		 remedy ? "; " : "", remedy ? remedy : "");
}

/* -- asks ------------------------------------------------------------------------------------- */

static int ask_prepare(struct http_ask *h, struct vmofs_err *err)
{
	struct s3_ask *a = container_of(h, struct s3_ask, http);
	int r;

	s3_signed_clear(&a->signed_);
	r = s3_sign(a->s, &a->request, &a->signed_, err);
	memcpy(a->trouble.used, a->signed_.used, sizeof a->trouble.used);
	memcpy(a->trouble.region, a->signed_.region, sizeof a->trouble.region);
	a->trouble.expires = a->signed_.expires;
	a->trouble.skew = a->signed_.skew;
	h->call.url = a->signed_.url;
	h->call.headers = a->signed_.lines;
	h->call.nheaders = a->signed_.nlines;
	h->call.body = a->request.body;
	h->call.body_len = a->request.body_len;
	return r;
}

static int ask_renew(struct http_ask *h, const struct http_refusal *why UNUSED,
		     struct vmofs_err *err)
{
	struct s3_ask *a = container_of(h, struct s3_ask, http);

	return s3_renew(a->s, &a->trouble, err);
}

static void ask_reset(struct http_ask *h)
{
	struct s3_ask *a = container_of(h, struct s3_ask, http);

	a->trouble.answer_region[0] = '\0';
	a->trouble.answer_date = 0;
	if (a->ops->reset)
		a->ops->reset(a);
}

static void ask_header(struct http_ask *h, const char *name, const char *value, size_t n)
{
	struct s3_ask *a = container_of(h, struct s3_ask, http);
	struct s3_trouble *t = &a->trouble;

	if (strcasecmp(name, "date") == 0)
		http_parse_date(value, n, &t->answer_date);
	else if (strcasecmp(name, "x-amz-bucket-region") == 0 && n < sizeof t->answer_region)
		snprintf(t->answer_region, sizeof t->answer_region, "%.*s", (int)n, value);
	if (a->ops->header)
		a->ops->header(a, name, value, n);
}

static int ask_data(struct http_ask *h, const void *buf, size_t n)
{
	struct s3_ask *a = container_of(h, struct s3_ask, http);

	return a->ops->data ? a->ops->data(a, buf, n) : 0;
}

static int ask_finish(struct http_ask *h)
{
	struct s3_ask *a = container_of(h, struct s3_ask, http);

	s3_learn_date(a->s, a->trouble.answer_date);
	return a->ops->finish ? a->ops->finish(a) : 0;
}

static void ask_refused(struct http_ask *h, struct http_refusal *why)
{
	struct s3_ask *a = container_of(h, struct s3_ask, http);

	s3_refused(a->s, &a->trouble, why);
}

static void ask_done(struct http_ask *h, int code, const struct http_refusal *why)
{
	struct s3_ask *a = container_of(h, struct s3_ask, http);

	s3_signed_clear(&a->signed_);
	a->ops->done(a, code, why);
}

static const struct http_ask_ops ask_ops = {
	.prepare = ask_prepare,
	.renew = ask_renew,
	.reset = ask_reset,
	.header = ask_header,
	.data = ask_data,
	.finish = ask_finish,
	.refused = ask_refused,
	.done = ask_done,
};

static void ask_fill(struct s3_ask *a, uint64_t deadline_ns, size_t max_body)
{
	a->http = (struct http_ask){ .ops = &ask_ops,
				     .cls = VMOFS_CLASS_DEMAND,
				     .deadline_ns = deadline_ns };
	a->http.call.method = a->request.method;
	a->http.call.max_body = max_body;
	a->http.call.stall_ns = a->request.stall_ns;
	a->http.once = a->request.once;
	a->trouble = (struct s3_trouble){ 0 };
	a->signed_ = (struct s3_signed){ 0 };
}

void s3_ask_start(struct s3_ask *a, uint64_t deadline_ns, size_t max_body)
{
	ask_fill(a, deadline_ns, max_body);
	http_origin_ask(a->s->origin, &a->http);
}

void s3_ask_wait(struct s3_ask *a, size_t max_body)
{
	ask_fill(a, 0, max_body);
	http_origin_ask_wait(a->s->origin, &a->http, &a->s->stopping);
}
