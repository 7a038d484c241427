/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all sources of access keys need during one fetch: the configuration files, texts that live until
 * its end, the notes about sources that gave nothing, and the check of what one gave. The thread that
 * fetches.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/macros.h"
#include "base/secret.h"
#include "s3/credentials_parse.h"
#include "s3/credentials_private.h"

enum { FILE_MAX = 1 << 20, TEXT_MAX = 32 << 10 };

/* -- texts and notes -------------------------------------------------------------------------- */

const char *s3_fetch_keep(struct s3_fetch *f, char *text)
{
	if (text && f->ntexts == S3_TEXTS_MAX) {
		secret_free(text);
		return NULL;
	}
	if (text)
		f->texts[f->ntexts++] = text;
	return text;
}

const char *s3_fetch_text(struct s3_fetch *f, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n >= 0 && n < TEXT_MAX)
		text = secret_alloc((size_t)n + 1);
	if (!text)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(text, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return s3_fetch_keep(f, text);
}

int s3_fetch_skip(struct s3_fetch *f, const char *fmt, ...)
{
	size_t len = strlen(f->tried);
	va_list ap;

	if (len > 0)
		len += (size_t)snprintf(f->tried + len, sizeof f->tried - len, "; ");
	if (len >= sizeof f->tried)
		return -ENODATA;
	va_start(ap, fmt);
	vsnprintf(f->tried + len, sizeof f->tried - len, fmt, ap);
	va_end(ap);
	return -ENODATA;
}

bool s3_fetch_cancelled(const struct s3_fetch *f)
{
	return f->cancel && atomic_load(f->cancel);
}

/* -- files ------------------------------------------------------------------------------------ */

/* At most @cap bytes; the length, or -errno. */
static ssize_t read_all(int fd, char *p, size_t cap)
{
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0 && len < cap) {
		n = read(fd, p + len, cap - len);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			len += (size_t)n;
	}
	return n < 0 ? -errno : (ssize_t)len;
}

/* The whole file in secret memory, with a zero behind it. */
static int read_file(const char *path, char **out, size_t *len)
{
	cleanup(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > FILE_MAX)
		return -EFBIG;
	*out = secret_alloc((size_t)st.st_size + 1);
	if (!*out)
		return -ENOMEM;
	n = read_all(fd, *out, (size_t)st.st_size);
	if (n < 0) {
		secret_free(*out);
		*out = NULL;
		return (int)n;
	}
	*len = (size_t)n;
	return 0;
}

int s3_fetch_file(struct s3_fetch *f, const char *path, const char **out, size_t *len)
{
	char *text = NULL;
	int r = read_file(path, &text, len);

	if (r < 0)
		return r;
	while (*len > 0 && isspace((unsigned char)text[*len - 1]))
		text[--*len] = '\0';
	*out = s3_fetch_keep(f, text);
	return *out ? 0 : -ENOMEM;
}

static void ignore_item(void *arg UNUSED, const struct aws_item *item UNUSED)
{
}

/* A file that is not there is an empty one. */
static int load_config(struct aws_config *c, const char *path, struct vmofs_err *err)
{
	char *text = NULL;
	unsigned line;
	int r = read_file(path, &text, &c->len);

	c->p = text;
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return vmofs_err_set(err, r, "cannot read '%s': %s", path, strerror(-r));
	line = aws_config_each(c, ignore_item, NULL);
	if (line > 0)
		return vmofs_err_set(err, -EINVAL,
				     "'%s', line %u: neither a [section] nor name = value", path,
				     line);
	return 0;
}

int s3_fetch_begin(struct s3_fetch *f, struct s3_chain *c, const atomic_bool *cancel,
		   struct vmofs_err *err)
{
	int r;

	memset(f, 0, sizeof *f);
	f->c = c;
	f->cancel = cancel;
	f->err = err;
	f->credentials.credentials = true;
	r = load_config(&f->config, c->config_path, err);
	return r < 0 ? r : load_config(&f->credentials, c->credentials_path, err);
}

void s3_fetch_end(struct s3_fetch *f)
{
	while (f->ntexts > 0)
		secret_free(f->texts[--f->ntexts]);
	secret_free((void *)f->config.p);
	secret_free((void *)f->credentials.p);
	f->config.p = f->credentials.p = NULL;
}

/* -- settings --------------------------------------------------------------------------------- */

static bool find_setting(const struct s3_fetch *f, enum aws_section kind, const char *section,
			 const char *parent, const char *key, struct aws_span *out)
{
	if (kind == AWS_SECTION_PROFILE &&
	    aws_config_get(&f->credentials, kind, section, parent, key, out))
		return true;
	return aws_config_get(&f->config, kind, section, parent, key, out);
}

static const char *keep_span(struct s3_fetch *f, struct aws_span s)
{
	return s3_fetch_keep(f, secret_copy(s.p, s.n));
}

const char *s3_fetch_setting(struct s3_fetch *f, const char *profile, const char *key)
{
	struct aws_span s;

	if (!profile || !find_setting(f, AWS_SECTION_PROFILE, profile, NULL, key, &s))
		return NULL;
	return keep_span(f, s);
}

bool s3_fetch_has(const struct s3_fetch *f, const char *profile, const char *key)
{
	struct aws_span s;

	return find_setting(f, AWS_SECTION_PROFILE, profile, NULL, key, &s);
}

static bool is_true(const char *text)
{
	return text && !strcasecmp(text, "true");
}

/* What the files say, NULL: nothing. */
static const char *endpoint_of_files(struct s3_fetch *f, const char *profile, const char *service)
{
	const char *services = s3_fetch_setting(f, profile, "services");
	struct aws_span s;

	if (is_true(s3_fetch_setting(f, profile, "ignore_configured_endpoint_urls")))
		return NULL;
	if (services &&
	    find_setting(f, AWS_SECTION_SERVICES, services, service, "endpoint_url", &s))
		return keep_span(f, s);
	if (profile && find_setting(f, AWS_SECTION_PROFILE, profile, service, "endpoint_url", &s))
		return keep_span(f, s);
	return s3_fetch_setting(f, profile, "endpoint_url");
}

const char *s3_fetch_endpoint(struct s3_fetch *f, const char *profile, const char *service)
{
	static const struct {
		const char *service;
		enum s3_env variable;
	} own[] = {
		{ "s3", S3_ENV_ENDPOINT_S3 },
		{ "sts", S3_ENV_ENDPOINT_STS },
		{ "sso", S3_ENV_ENDPOINT_SSO },
	};
	char **env = f->c->env;

	if (is_true(env[S3_ENV_IGNORE_ENDPOINTS]))
		return NULL;
	for (unsigned i = 0; i < ARRAY_LEN(own); i++)
		if (!strcmp(service, own[i].service) && env[own[i].variable])
			return env[own[i].variable];
	if (env[S3_ENV_ENDPOINT])
		return env[S3_ENV_ENDPOINT];
	return endpoint_of_files(f, profile, service);
}

const char *s3_fetch_region(struct s3_fetch *f, const char *profile)
{
	const char *region = s3_fetch_setting(f, profile, "region");

	if (!region)
		region = f->c->region;
	return region ? region : "us-east-1";
}

/* -- keys ------------------------------------------------------------------------------------- */

/* Printable and without blanks: what may stand in a header. */
static bool is_key_text(const char *text)
{
	for (; *text; text++)
		if (!isgraph((unsigned char)*text))
			return false;
	return true;
}

static int check_keys(const struct s3_fetch *f, const struct s3_key_texts *t, const char *source,
		      time_t *expires)
{
	const char *token = t->token ? t->token : "";
	char *end;

	*expires = 0;
	if (!t->access_key || !t->access_key[0] || !t->secret_key || !t->secret_key[0])
		return vmofs_err_set(f->err, -EACCES, "%s: an access key or its secret is missing",
				     source);
	if (!is_key_text(t->access_key) || !is_key_text(t->secret_key) || !is_key_text(token))
		return vmofs_err_set(f->err, -EINVAL,
				     "%s: a key has blanks or characters that no key has", source);
	if (!t->expires || !t->expires[0] || s3_parse_time(t->expires, expires) == 0)
		return 0;
	*expires = (time_t)(strtoll(t->expires, &end, 10) / 1000);
	if (*end || *expires <= 0)
		return vmofs_err_set(f->err, -EBADMSG, "%s: the end of the keys' life is no time",
				     source);
	return 0;
}

int s3_fetch_keys(struct s3_fetch *f, const struct s3_key_texts *t, struct s3_credentials **out,
		  const char *source, ...)
{
	time_t expires;
	va_list ap;
	int r;

	va_start(ap, source);
	vsnprintf(f->source, sizeof f->source, source, ap);
	va_end(ap);
	r = check_keys(f, t, f->source, &expires);
	if (r < 0)
		return r;
	if (expires != 0 && expires <= f->c->now())
		return vmofs_err_set(f->err, -EACCES, "%s: the keys it gave have expired",
				     f->source);
	*out = s3_credentials_new(t->access_key, t->secret_key, t->token, expires);
	if (!*out)
		return vmofs_err_set(f->err, -ENOMEM, "no memory for access keys");
	return 0;
}

int s3_fetch_json_keys(struct s3_fetch *f, const char *p, size_t n, const char *const paths[4],
		       struct s3_key_texts *out)
{
	const char **fields[] = { &out->access_key, &out->secret_key, &out->token, &out->expires };

	for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
		char *text = NULL;
		int r = paths[i] ? s3_json_text(p, n, paths[i], &text) : -ENOENT;

		if (r < 0 && r != -ENOENT)
			return r;
		*fields[i] = s3_fetch_keep(f, text);
	}
	return 0;
}
