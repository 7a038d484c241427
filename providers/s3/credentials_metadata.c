/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys from what runs beside us: the endpoint of a container (ECS, EKS), and the metadata service of an
 * instance (IMDSv2). On a machine that has neither, the second is found out within two seconds. The thread
 * that fetches.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "net/url.h"
#include "s3/credentials_parse.h"
#include "s3/credentials_private.h"
#include "s3/sigv4.h"

#define CONTAINER_BASE  "http://169.254.170.2"
#define IMDS_BASE       "http://169.254.169.254"
#define IMDS_BASE_IPV6  "http://[fd00:ec2::254]"
#define IMDS_KEYS       "/latest/meta-data/iam/security-credentials/"
#define CONTAINER_NS    (2 * NSEC_PER_SEC)
#define CONTAINER_TRIES 3

enum { ROLE_MAX = 200 };

static const char *const key_paths[4] = { "AccessKeyId", "SecretAccessKey", "Token", "Expiration" };

/* -- a container ------------------------------------------------------------------------------ */

static bool span_begins(struct url_span s, const char *text)
{
	return s.len >= strlen(text) && !memcmp(s.p, text, strlen(text));
}

/* Where a token may be sent without TLS: this machine, and the addresses of ECS and EKS. */
static bool is_near(const struct url *u)
{
	static const char *const hosts[] = { "localhost", "[::1]", "169.254.170.2",
					     "169.254.170.23", "[fd00:ec2::23]" };

	for (unsigned i = 0; i < ARRAY_LEN(hosts); i++)
		if (u->host.len == strlen(hosts[i]) && span_begins(u->host, hosts[i]))
			return true;
	if (!span_begins(u->host, "127."))
		return false;
	for (size_t i = 0; i < u->host.len; i++)
		if (u->host.p[i] != '.' && !isdigit((unsigned char)u->host.p[i]))
			return false;
	return true;
}

static int container_url(struct s3_fetch *f, const char **out, bool *tls)
{
	const char *relative = f->c->env[S3_ENV_CONTAINER_RELATIVE];
	const char *full = f->c->env[S3_ENV_CONTAINER_FULL];
	struct url u;

	*out = relative ? s3_fetch_text(f, CONTAINER_BASE "%s", relative) : full;
	if (!*out)
		return -ENOMEM;
	if (url_parse(*out, strlen(*out), &u) < 0)
		return vmofs_err_set(f->err, -EINVAL, "%s is no http URL",
				     s3_environment_name(S3_ENV_CONTAINER_FULL));
	*tls = u.tls;
	if (u.tls || is_near(&u))
		return 0;
	return vmofs_err_set(
		f->err, -EACCES,
		"%s: host '%.*s' is neither this machine nor an address of ECS or EKS; "
		"others need https",
		s3_environment_name(S3_ENV_CONTAINER_FULL), (int)u.host.len, u.host.p);
}

/* "Authorization: TOKEN"; *out stays NULL when none is asked for. */
static int container_token(struct s3_fetch *f, const char **out)
{
	const char *path = f->c->env[S3_ENV_CONTAINER_TOKEN_FILE];
	const char *token = f->c->env[S3_ENV_CONTAINER_TOKEN];
	size_t len;
	int r = path ? s3_fetch_file(f, path, &token, &len) : 0;

	if (r < 0)
		return vmofs_err_set(f->err, r,
				     "cannot read the token of the container in '%s': %s", path,
				     strerror(-r));
	if (!token)
		return 0;
	if (strpbrk(token, "\r\n"))
		return vmofs_err_set(f->err, -EINVAL, "the token of the container has line ends");
	*out = s3_fetch_text(f, "Authorization: %s", token);
	return *out ? 0 : -ENOMEM;
}

static int container_answer(struct s3_fetch *f, const struct s3_answer *a,
			    struct s3_credentials **out)
{
	struct s3_key_texts t = { 0 };

	if (a->status != 200)
		return vmofs_err_set(f->err, -EACCES, "the container endpoint answered %d",
				     a->status);
	if (s3_fetch_json_keys(f, a->body, a->len, key_paths, &t) < 0)
		return vmofs_err_set(f->err, -EBADMSG,
				     "the answer of the container endpoint cannot be read");
	return s3_fetch_keys(f, &t, out, "container");
}

int s3_from_container(struct s3_fetch *f, struct s3_credentials **out)
{
	struct s3_ask ask = { .method = "GET",
			      .timeout_ns = CONTAINER_NS,
			      .tries = CONTAINER_TRIES };
	const char *header = NULL;
	struct s3_answer a;
	bool tls = false;
	int r;

	if (!f->c->env[S3_ENV_CONTAINER_RELATIVE] && !f->c->env[S3_ENV_CONTAINER_FULL])
		return s3_fetch_skip(f, "container: AWS_CONTAINER_CREDENTIALS_*_URI is not set");
	r = container_url(f, &ask.url, &tls);
	if (r == 0)
		r = container_token(f, &header);
	if (r < 0)
		return r;
	ask.headers = &header;
	ask.nheaders = header != NULL;
	ask.direct = !tls;
	r = s3_ask(f, &ask, &a);
	if (r == -EIO)
		r = vmofs_err_set(f->err, -EIO, "no answer of the container endpoint: %s", a.msg);
	return r < 0 ? r : container_answer(f, &a, out);
}

/* -- an instance ------------------------------------------------------------------------------ */

struct imds {
	struct s3_fetch *f;
	const char *base;
	size_t base_len;   /* without slashes at its end */
	const char *token; /* a header */
};

static void imds_find(struct imds *m, struct s3_fetch *f)
{
	const char *mode = f->c->env[S3_ENV_IMDS_MODE];

	m->f = f;
	m->base = f->c->env[S3_ENV_IMDS_ENDPOINT];
	if (!m->base)
		m->base = mode && !strcasecmp(mode, "ipv6") ? IMDS_BASE_IPV6 : IMDS_BASE;
	for (m->base_len = strlen(m->base); m->base_len > 0 && m->base[m->base_len - 1] == '/';)
		m->base_len--;
}

static int imds_ask(struct imds *m, const char *method, const char *path, const char *header,
		    struct s3_answer *a)
{
	const struct s3_ask ask = {
		.method = method,
		.url = s3_fetch_text(m->f, "%.*s%s", (int)m->base_len, m->base, path),
		.headers = &header,
		.nheaders = 1,
		.timeout_ns = m->f->c->metadata_ns,
		.tries = m->f->c->metadata_tries,
		.direct = true,
	};

	return ask.url ? s3_ask(m->f, &ask, a) : -ENOMEM;
}

static bool is_word(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (!isgraph((unsigned char)*text))
			return false;
	return true;
}

/* Nobody there is no error: this is the last source, asked wherever the others gave nothing. */
static int imds_token(struct imds *m)
{
	struct s3_answer a;
	int r = imds_ask(m, "PUT", "/latest/api/token",
			 "X-aws-ec2-metadata-token-ttl-seconds: 21600", &a);

	if (r == -EIO)
		return s3_fetch_skip(m->f, "instance metadata: no answer from '%.*s': %s",
				     (int)m->base_len, m->base, a.msg);
	if (r < 0)
		return r;
	if (a.status != 200 || !is_word(a.body))
		return s3_fetch_skip(m->f, "instance metadata: '%.*s' answered %d, and no token",
				     (int)m->base_len, m->base, a.status);
	m->token = s3_fetch_text(m->f, "X-aws-ec2-metadata-token: %s", a.body);
	return m->token ? 0 : -ENOMEM;
}

static int imds_role(struct imds *m, char role[ROLE_MAX])
{
	struct s3_answer a;
	int r = imds_ask(m, "GET", IMDS_KEYS, m->token, &a);

	if (r == -EIO)
		return vmofs_err_set(m->f->err, -EIO, "the instance metadata stopped answering: %s",
				     a.msg);
	if (r < 0)
		return r;
	snprintf(role, ROLE_MAX, "%.*s", (int)strcspn(a.body, "\r\n"), a.body);
	if (a.status == 404 || (a.status == 200 && !role[0]))
		return s3_fetch_skip(m->f, "instance metadata: no role is attached");
	if (a.status != 200 || !is_word(role))
		return vmofs_err_set(m->f->err, -EACCES,
				     "the instance metadata answered %d to the question for a role",
				     a.status);
	return 0;
}

static int imds_keys(struct imds *m, const char *role, struct s3_credentials **out)
{
	struct s3_key_texts t = { 0 };
	char path[sizeof IMDS_KEYS + 3 * ROLE_MAX] = IMDS_KEYS;
	struct s3_answer a;
	int r;

	if (sigv4_encode(role, strlen(role), 1, path + sizeof IMDS_KEYS - 1, 3 * ROLE_MAX) < 0)
		return -EINVAL;
	r = imds_ask(m, "GET", path, m->token, &a);
	if (r == -EIO)
		return vmofs_err_set(m->f->err, -EIO, "the instance metadata stopped answering: %s",
				     a.msg);
	if (r < 0)
		return r;
	if (a.status != 200 || s3_fetch_json_keys(m->f, a.body, a.len, key_paths, &t) < 0)
		return vmofs_err_set(m->f->err, -EBADMSG,
				     "the instance metadata answered %d, and no keys of role '%s'",
				     a.status, role);
	return s3_fetch_keys(m->f, &t, out, "instance metadata (role '%s')", role);
}

int s3_from_imds(struct s3_fetch *f, struct s3_credentials **out)
{
	const char *disabled = f->c->env[S3_ENV_IMDS_DISABLED];
	char role[ROLE_MAX];
	struct imds m = { 0 };
	int r;

	if (disabled && !strcasecmp(disabled, "true"))
		return s3_fetch_skip(f, "instance metadata: AWS_EC2_METADATA_DISABLED is set");
	imds_find(&m, f);
	r = imds_token(&m);
	if (r == 0)
		r = imds_role(&m, role);
	return r < 0 ? r : imds_keys(&m, role, out);
}
