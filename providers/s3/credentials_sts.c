/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roles by way of the Security Token Service: AssumeRole signed with other keys, or with the token of a
 * web identity and no signature. The thread that fetches.
 *
 * Source: AWS Security Token Service API Reference, AssumeRole and AssumeRoleWithWebIdentity.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"
#include "base/secret.h"
#include "net/url.h"
#include "s3/credentials_parse.h"
#include "s3/credentials_private.h"
#include "s3/sigv4.h"

#define CONTENT_TYPE "application/x-www-form-urlencoded; charset=utf-8"

enum { BODY_MAX = 64 << 10, STS_TRIES = 3, SKEW_MAX_S = 240, HEADERS_MAX = 6 };
#define STS_TIMEOUT_NS (20 * NSEC_PER_SEC)

struct sts {
	struct s3_fetch *f;
	const struct s3_role *role;
	const struct s3_credentials *with; /* NULL: not signed */
	const char *region;
	const char *url;
	char host[300];
	const char *path;
	char *body; /* secret memory */
	time_t skew;
};

/* -- where ------------------------------------------------------------------------------------ */

/* Host (with a port that is not the scheme's) and path of the endpoint. */
static int split_url(struct sts *s)
{
	struct url u;
	bool port;

	if (url_parse(s->url, strlen(s->url), &u) < 0)
		return vmofs_err_set(s->f->err, -EINVAL, "the endpoint of STS is no http URL: '%s'",
				     s->url);
	port = u.port.len > 0 && url_port(&u) != (u.tls ? 443u : 80u);
	snprintf(s->host, sizeof s->host, "%.*s%s%.*s", (int)u.host.len, u.host.p, port ? ":" : "",
		 port ? (int)u.port.len : 0, port ? u.port.p : "");
	s->path = u.path.len ? s3_fetch_text(s->f, "%.*s", (int)u.path.len, u.path.p) : "/";
	return s->path ? 0 : -ENOMEM;
}

static int find_endpoint(struct sts *s)
{
	const char *profile = s->role->profile ? s->role->profile : s->f->c->profile;

	s->region = s3_fetch_region(s->f, profile);
	s->url = s3_fetch_endpoint(s->f, profile, "sts");
	if (!s->url)
		s->url = s3_fetch_text(s->f, "https://sts.%s.amazonaws.com%s/", s->region,
				       strncmp(s->region, "cn-", 3) ? "" : ".cn");
	return s->url ? split_url(s) : -ENOMEM;
}

/* -- the question ----------------------------------------------------------------------------- */

static int write_body(struct sts *s, const char *action, const char *token)
{
	const struct s3_role *r = s->role;
	char session[40];
	struct sigv4_pair pairs[8];
	unsigned n = 0;

	snprintf(session, sizeof session, "vmofs-%" PRId64, (int64_t)s->f->c->now());
	pairs[n++] = (struct sigv4_pair){ "Action", action };
	pairs[n++] = (struct sigv4_pair){ "Version", "2011-06-15" };
	pairs[n++] = (struct sigv4_pair){ "RoleArn", r->arn };
	pairs[n++] = (struct sigv4_pair){ "RoleSessionName", r->session ? r->session : session };
	if (r->duration)
		pairs[n++] = (struct sigv4_pair){ "DurationSeconds", r->duration };
	if (r->external_id)
		pairs[n++] = (struct sigv4_pair){ "ExternalId", r->external_id };
	if (token)
		pairs[n++] = (struct sigv4_pair){ "WebIdentityToken", token };
	s->body = secret_alloc(BODY_MAX);
	if (!s->body)
		return -ENOMEM;
	if (sigv4_query(pairs, n, s->body, BODY_MAX) < 0)
		return vmofs_err_set(s->f->err, -EINVAL, "the question for role '%s' is too long",
				     r->arn);
	return 0;
}

static int sign(const struct sts *s, struct sigv4_lines *lines)
{
	static const struct sigv4_pair type = { "Content-Type", CONTENT_TYPE };
	const struct sigv4_scope scope = { s->region, "sts", s->f->c->now() + s->skew };
	char payload[2 * SHA256_LEN + 1];
	uint8_t digest[SHA256_LEN];
	const struct sigv4_request r = { .method = "POST",
					 .host = s->host,
					 .path = s->path,
					 .headers = &type,
					 .nheaders = 1,
					 .payload = payload };
	int e = digest_sha256(s->body, strlen(s->body), digest);

	digest_hex(digest, sizeof digest, payload);
	return e < 0 ? e : sigv4_sign(s->with, &scope, &r, lines);
}

static int post(struct sts *s, struct s3_answer *a)
{
	struct sigv4_lines lines = { .n = 0 };
	const char *headers[HEADERS_MAX] = { "Content-Type: " CONTENT_TYPE };
	struct s3_ask ask = { .method = "POST",
			      .url = s->url,
			      .headers = headers,
			      .nheaders = 1,
			      .body = s->body,
			      .timeout_ns = STS_TIMEOUT_NS,
			      .tries = STS_TRIES };
	int r = s->with ? sign(s, &lines) : 0;

	for (unsigned i = 0; r == 0 && i < lines.n; i++)
		headers[ask.nheaders++] = lines.v[i];
	if (r == 0)
		r = s3_ask(s->f, &ask, a);
	sigv4_clear(&lines);
	return r;
}

/* Once more when the server's clock tells that ours made the signature worthless. */
static int post_in_time(struct sts *s, struct s3_answer *a)
{
	int r = post(s, a);
	time_t now = s->f->c->now();

	if (r < 0 || !s->with || a->status == 200 || a->date == 0 ||
	    (a->date > now - SKEW_MAX_S && a->date < now + SKEW_MAX_S))
		return r;
	s->skew = (time_t)a->date - now;
	return post(s, a);
}

/* -- the answer ------------------------------------------------------------------------------- */

/* "profile 'x'", or what stands for it. */
static const char *whose(const struct sts *s, char out[100])
{
	if (s->role->profile)
		snprintf(out, 100, "profile '%s'", s->role->profile);
	else
		snprintf(out, 100, "AWS_WEB_IDENTITY_TOKEN_FILE");
	return out;
}

/* What a server says, as far as it can be printed. */
static void printable(char *text)
{
	for (; text && *text; text++)
		if (iscntrl((unsigned char)*text))
			*text = ' ';
}

static int refused(const struct sts *s, const struct s3_answer *a, struct s3_sts_answer *x)
{
	char who[100];

	printable(x->code);
	printable(x->message);
	if (!x->code)
		return vmofs_err_set(s->f->err, -EACCES, "%s: STS at '%s' answered %d",
				     whose(s, who), s->host, a->status);
	return vmofs_err_set(s->f->err, -EACCES,
			     "%s: STS at '%s' refused role '%.200s': %.60s: %.300s", whose(s, who),
			     s->host, s->role->arn, x->code, x->message ? x->message : "");
}

static int read_answer(struct sts *s, const struct s3_answer *a, struct s3_credentials **out)
{
	struct s3_sts_answer x;
	int r = s3_sts_parse(a->body, a->len, &x);
	struct s3_key_texts t = { x.access_key, x.secret_key, x.token, x.expires };
	char who[100];

	if (a->status != 200)
		r = refused(s, a, &x);
	else if (r < 0)
		r = vmofs_err_set(s->f->err, r == -ENOMEM ? r : -EBADMSG,
				  "%s: the answer of STS at '%s' cannot be read", whose(s, who),
				  s->host);
	else if (s->role->profile)
		r = s3_fetch_keys(s->f, &t, out, "profile '%s' (%s)", s->role->profile,
				  s->role->how);
	else
		r = s3_fetch_keys(s->f, &t, out, "environment (%s)", s->role->how);
	s3_sts_release(&x);
	return r;
}

static int assume(struct sts *s, const char *action, const char *token, struct s3_credentials **out)
{
	struct s3_answer a;
	char who[100];
	int r = find_endpoint(s);

	if (r == 0)
		r = write_body(s, action, token);
	if (r == 0) {
		r = post_in_time(s, &a);
		if (r == -EIO)
			r = vmofs_err_set(s->f->err, -EIO, "%s: no answer from STS at '%s': %s",
					  whose(s, who), s->host, a.msg);
	}
	if (r == 0)
		r = read_answer(s, &a, out);
	secret_free(s->body);
	return r;
}

int s3_assume_role(struct s3_fetch *f, const struct s3_role *role,
		   const struct s3_credentials *with, struct s3_credentials **out)
{
	struct sts s = { .f = f, .role = role, .with = with };

	return assume(&s, "AssumeRole", NULL, out);
}

int s3_assume_role_web(struct s3_fetch *f, const struct s3_role *role, struct s3_credentials **out)
{
	struct sts s = { .f = f, .role = role };
	const char *token;
	size_t len;
	int r = s3_fetch_file(f, role->token_file, &token, &len);

	if (r == 0 && len == 0)
		r = -ENODATA;
	if (r < 0)
		return vmofs_err_set(f->err, r == -ENODATA ? -EINVAL : r,
				     "cannot read a web identity token from '%s': %s",
				     role->token_file,
				     r == -ENODATA ? "it is empty" : strerror(-r));
	return assume(&s, "AssumeRoleWithWebIdentity", token, out);
}
