/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys by single sign-on: the token that `aws sso login` has left in its cache is changed for keys of a
 * role. Nobody is signed in from here. The thread that fetches.
 *
 * Source: AWS Single Sign-On Portal API Reference, GetRoleCredentials.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"
#include "s3/credentials_parse.h"
#include "s3/credentials_private.h"
#include "s3/sigv4.h"

enum { SSO_TRIES = 3, NAME_MAX_LEN = 256 };
#define SSO_TIMEOUT_NS (20 * NSEC_PER_SEC)

struct sso {
	struct s3_fetch *f;
	const char *profile;
	const char *session; /* NULL: the older form, with the URL in the profile */
	const char *start_url;
	const char *region;
	const char *account;
	const char *role;
	const char *token;
};

/* In the session's section where there is one. */
static const char *session_setting(struct sso *s, const char *key)
{
	struct aws_span v;

	if (s->session &&
	    aws_config_get(&s->f->config, AWS_SECTION_SSO_SESSION, s->session, NULL, key, &v))
		return s3_fetch_text(s->f, "%.*s", (int)v.n, v.p);
	return s3_fetch_setting(s->f, s->profile, key);
}

static int read_settings(struct sso *s)
{
	const struct {
		const char *name;
		const char **out;
	} needed[] = {
		{ "sso_start_url", &s->start_url },
		{ "sso_region", &s->region },
		{ "sso_account_id", &s->account },
		{ "sso_role_name", &s->role },
	};

	s->session = s3_fetch_setting(s->f, s->profile, "sso_session");
	for (unsigned i = 0; i < ARRAY_LEN(needed); i++) {
		*needed[i].out = session_setting(s, needed[i].name);
		if (!*needed[i].out)
			return vmofs_err_set(s->f->err, -EINVAL,
					     "profile '%s' uses single sign-on, but %s is not set; "
					     "`aws configure sso --profile %s` sets it",
					     s->profile, needed[i].name, s->profile);
	}
	return 0;
}

static int not_signed_in(const struct sso *s, const char *why)
{
	return vmofs_err_set(s->f->err, -EACCES,
			     "profile '%s': %s; run: aws sso login --profile %s", s->profile, why,
			     s->profile);
}

/* -- the token -------------------------------------------------------------------------------- */

/* ~/.aws/sso/cache/SHA1.json, of the session's name or the URL. */
static const char *cache_path(struct sso *s)
{
	const char *of = s->session ? s->session : s->start_url;
	uint8_t digest[20];
	char hex[41];

	if (digest_sha1(of, strlen(of), digest) < 0)
		return NULL;
	digest_hex(digest, sizeof digest, hex);
	return s3_fetch_text(s->f, "%s/.aws/sso/cache/%s.json", s->f->c->home, hex);
}

static int read_token(struct sso *s)
{
	const char *path = cache_path(s), *text;
	char *token = NULL, *until = NULL;
	time_t end;
	size_t len;
	int r = path ? s3_fetch_file(s->f, path, &text, &len) : -ENOMEM;

	if (r == -ENOENT)
		return not_signed_in(s, "nobody has signed in");
	if (r < 0)
		return vmofs_err_set(s->f->err, r, "profile '%s': cannot read '%s': %s", s->profile,
				     path ? path : "the cache", strerror(-r));
	r = s3_json_text(text, len, "accessToken", &token);
	s->token = s3_fetch_keep(s->f, token);
	if (r == 0)
		r = s3_json_text(text, len, "expiresAt", &until);
	if (r < 0 || !s3_fetch_keep(s->f, until) || s3_parse_time(until, &end) < 0 || !s->token)
		return not_signed_in(s, "the token of the last sign-in cannot be read");
	if (strpbrk(s->token, "\r\n"))
		return not_signed_in(s, "the token of the last sign-in cannot be read");
	return end > s->f->c->now() ? 0 : not_signed_in(s, "the sign-in has expired");
}

/* -- the question ----------------------------------------------------------------------------- */

static const char *question_url(struct sso *s)
{
	const struct sigv4_pair pairs[] = { { "role_name", s->role },
					    { "account_id", s->account } };
	const char *base = s3_fetch_endpoint(s->f, s->profile, "sso");
	char query[3 * NAME_MAX_LEN];
	size_t n;

	if (sigv4_query(pairs, ARRAY_LEN(pairs), query, sizeof query) < 0)
		return NULL;
	if (!base)
		base = s3_fetch_text(s->f, "https://portal.sso.%s.amazonaws.com%s", s->region,
				     strncmp(s->region, "cn-", 3) ? "" : ".cn");
	if (!base)
		return NULL;
	for (n = strlen(base); n > 0 && base[n - 1] == '/'; n--)
		;
	return s3_fetch_text(s->f, "%.*s/federation/credentials?%s", (int)n, base, query);
}

static int read_answer(struct sso *s, const struct s3_answer *a, struct s3_credentials **out)
{
	static const char *const paths[4] = {
		"roleCredentials.accessKeyId",
		"roleCredentials.secretAccessKey",
		"roleCredentials.sessionToken",
		"roleCredentials.expiration",
	};
	struct s3_key_texts t = { 0 };

	if (a->status == 401)
		return not_signed_in(s, "the sign-in has ended");
	if (a->status != 200)
		return vmofs_err_set(s->f->err, -EACCES,
				     "profile '%s': single sign-on answered %d for role '%s' of "
				     "account %s; is it assigned to you?",
				     s->profile, a->status, s->role, s->account);
	if (s3_fetch_json_keys(s->f, a->body, a->len, paths, &t) < 0)
		return vmofs_err_set(s->f->err, -EBADMSG,
				     "profile '%s': the answer of single sign-on cannot be read",
				     s->profile);
	return s3_fetch_keys(s->f, &t, out, "profile '%s' (sso)", s->profile);
}

static int ask_portal(struct sso *s, struct s3_answer *a)
{
	const char *url = question_url(s);
	const char *header = s3_fetch_text(s->f, "x-amz-sso_bearer_token: %s", s->token);
	const struct s3_ask ask = { .method = "GET",
				    .url = url,
				    .headers = &header,
				    .nheaders = 1,
				    .timeout_ns = SSO_TIMEOUT_NS,
				    .tries = SSO_TRIES };
	int r;

	if (!url || !header)
		return vmofs_err_set(s->f->err, -EINVAL,
				     "profile '%s': its single sign-on settings are too long",
				     s->profile);
	r = s3_ask(s->f, &ask, a);
	if (r == -EIO)
		r = vmofs_err_set(s->f->err, -EIO, "profile '%s': no answer of single sign-on: %s",
				  s->profile, a->msg);
	return r;
}

int s3_from_sso(struct s3_fetch *f, const char *profile, struct s3_credentials **out)
{
	struct sso s = { .f = f, .profile = profile };
	struct s3_answer a;
	int r = read_settings(&s);

	if (r == 0)
		r = read_token(&s);
	if (r == 0)
		r = ask_portal(&s, &a);
	return r < 0 ? r : read_answer(&s, &a, out);
}
