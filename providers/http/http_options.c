/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of the HTTP provider and how they become settings. Passwords are taken from files,
 * the environment or the URL, never from an option's value: command lines are public.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/macros.h"
#include "http/http_private.h"

#define SECRET_MAX  4096
#define HEADERS_MAX 32
#define CONNECTIONS 64

const struct vmofs_option http_options[] = {
	{ "cacert", "FILE", NULL, "certificate authorities to trust instead of the system's" },
	{ "connect-timeout", "TIME", "10s", "longest wait for a connection" },
	{ "connections", "N", NULL, "most parallel requests to one server (32; 64 for a tree)" },
	{ "header", "LINE", NULL,
	  "another request header, for the source's host only; repeatable" },
	{ "hedge", "PERCENT", "2", "bytes asked for twice where an answer falls behind; 0: none" },
	{ "http", "1.1|2|auto", "1.1", "protocol version; 2 and auto only where TLS offers it" },
	{ "insecure", NULL, "no", "do not verify the server's certificate" },
	{ "netrc", "FILE", NULL, "find name and password in this file" },
	{ "part-size", "SIZE", "8M", "largest range of one request" },
	{ "probe", "get|head", "get", "request that finds size and version" },
	{ "proxy", "URL", NULL, "proxy instead of the environment's" },
	{ "retry-base", "TIME", "100ms", "first pause before a retry; it doubles up to 10s" },
	{ "stall-timeout", "TIME", "20s", "give up a connection that is silent for so long" },
	{ "timeout", "TIME", "120s", "answer or fail a read within this time" },
	{ "token-file", "FILE", NULL, "file with a bearer token; read again when it is refused" },
	{ "user-file", "FILE", NULL, "file with NAME:PASSWORD for basic authentication" },
	{ "username", "NAME", NULL, "name for basic authentication; password in VMOFS_PASSWORD" },
	{ "whole-limit", "SIZE", "64M",
	  "largest object to take whole from a server without ranges" },
	{ NULL, NULL, NULL, NULL },
};

struct headers {
	const char *v[HEADERS_MAX];
	unsigned n;
	bool bad;
};

/* "Name: value" of printable bytes. */
static bool header_valid(const char *line)
{
	size_t name = strcspn(line, ":");

	if (name == 0 || line[name] != ':' || strcspn(line, " \t") < name)
		return false;
	for (const char *p = line; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return false;
	return true;
}

static void add_header(void *arg, const char *value)
{
	struct headers *h = arg;

	if (h->n == HEADERS_MAX || !header_valid(value))
		h->bad = true;
	else
		h->v[h->n++] = value;
}

static int read_headers(const struct vmofs_config *config, struct headers *h, struct vmofs_err *err)
{
	config_each(config, "header", add_header, h);
	if (h->bad)
		return vmofs_err_set(err, -EINVAL,
				     "option 'header': at most %d lines of the form 'Name: value'",
				     HEADERS_MAX);
	return 0;
}

/* -- credentials ------------------------------------------------------------------------------ */

static int read_user_file(const char *path, char *out, size_t cap, struct vmofs_err *err)
{
	cleanup(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);

	if (n < 0)
		return vmofs_err_set(err, -errno, "cannot read '%s'", path);
	out[n] = '\0';
	out[strcspn(out, "\r\n")] = '\0';
	if (!strchr(out, ':'))
		return vmofs_err_set(err, -EINVAL, "'%s' does not have NAME:PASSWORD", path);
	return 0;
}

static int read_user_name(const char *name, char *out, size_t cap, struct vmofs_err *err)
{
	const char *password = getenv("VMOFS_PASSWORD");

	if (strchr(name, ':'))
		return vmofs_err_set(
			err, -EINVAL,
			"option 'username' takes a name only; use 'user-file' for a password");
	if (snprintf(out, cap, "%s:%s", name, password ? password : "") >= (int)cap)
		return vmofs_err_set(err, -EINVAL, "option 'username': too long");
	return 0;
}

/* 0 with "" when there are none; the strongest source first. */
static int read_credentials(const struct vmofs_config *config, const struct url *source, char *out,
			    size_t cap, struct vmofs_err *err)
{
	const char *file = config_str(config, "user-file");
	const char *name = config_str(config, "username");
	int r;

	out[0] = '\0';
	if (file)
		return read_user_file(file, out, cap, err);
	if (name)
		return read_user_name(name, out, cap, err);
	r = url_credentials(source, out, cap);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? vmofs_err_set(err, r, "the source's user name is too long") : 0;
}

/* -- everything ------------------------------------------------------------------------------- */

static int read_connections(const struct http_origin_params *p, uint64_t *out,
			    struct vmofs_err *err)
{
	*out = p->connections ? p->connections : CONNECTIONS;
	if (config_is_set(p->env->config, "connections") &&
	    config_u64(p->env->config, "connections", out, err) < 0)
		return err->code;
	if (*out < 1 || *out > 256)
		return vmofs_err_set(err, -EINVAL, "option 'connections': between 1 and 256");
	return 0;
}

static int read_hedge(const struct vmofs_config *c, unsigned *out, struct vmofs_err *err)
{
	uint64_t percent;

	if (config_u64(c, "hedge", &percent, err) < 0)
		return err->code;
	if (percent > 100)
		return vmofs_err_set(err, -EINVAL, "option 'hedge': between 0 and 100");
	*out = (unsigned)percent;
	return 0;
}

static int read_limits(const struct vmofs_config *c, struct http_limits *l, struct vmofs_err *err)
{
	static const char *const probes[] = { "get", "head", NULL };
	int probe = config_choice(c, "probe", probes, err);

	if (probe < 0)
		return probe;
	l->probe = probe == 0 ? HTTP_PROBE_GET : HTTP_PROBE_HEAD;
	if (config_size(c, "part-size", &l->part_size, err) < 0 ||
	    config_time(c, "timeout", &l->timeout_ns, err) < 0 ||
	    config_size(c, "whole-limit", &l->whole_limit, err) < 0 ||
	    config_time(c, "retry-base", &l->retry_base_ns, err) < 0)
		return err->code;
	if (l->part_size < VMOFS_PAGE_SIZE || l->part_size > GIB(1))
		return vmofs_err_set(err, -EINVAL, "option 'part-size': between 4K and 1G");
	if (l->timeout_ns == 0 || l->retry_base_ns == 0)
		return vmofs_err_set(err, -EINVAL, "options 'timeout' and 'retry-base': not 0");
	l->part_size &= ~(VMOFS_PAGE_SIZE - 1);
	return read_hedge(c, &l->hedge_percent, err);
}

static int read_settings(const struct vmofs_config *c, struct http_settings_init *init,
			 struct vmofs_err *err)
{
	static const char *const versions[] = { "1.1", "2", "auto", NULL };
	static const enum http_version values[] = { HTTP_VERSION_11, HTTP_VERSION_2,
						    HTTP_VERSION_AUTO };
	int version = config_choice(c, "http", versions, err);

	if (version < 0)
		return version;
	init->version = values[version];
	init->proxy = config_str(c, "proxy");
	init->cacert = config_str(c, "cacert");
	init->netrc = config_str(c, "netrc");
	init->token_file = config_str(c, "token-file");
	init->insecure = config_bool(c, "insecure");
	if (config_time(c, "connect-timeout", &init->connect_timeout_ns, err) < 0 ||
	    config_time(c, "stall-timeout", &init->stall_timeout_ns, err) < 0)
		return err->code;
	if (init->stall_timeout_ns == 0)
		return vmofs_err_set(err, -EINVAL, "option 'stall-timeout': not 0");
	return 0;
}

int http_options_read(const struct http_origin_params *p, const struct url *source,
		      struct http_settings **settings, struct http_limits *limits,
		      struct vmofs_err *err)
{
	const struct vmofs_config *config = p->env->config;
	struct http_settings_init init = { 0 };
	struct headers headers = { 0 };
	char userpwd[SECRET_MAX];
	int r = read_limits(config, limits, err);

	userpwd[0] = '\0';
	if (r == 0)
		r = read_connections(p, &limits->connections, err);
	if (r == 0)
		r = read_settings(config, &init, err);
	if (r == 0)
		r = read_headers(config, &headers, err);
	if (r == 0 && !p->anonymous)
		r = read_credentials(config, source, userpwd, sizeof userpwd, err);
	if (r < 0)
		return r;
	if (!init.cacert)
		init.cacert = p->cacert;
	if (p->anonymous)
		init.netrc = init.token_file = NULL;
	init.headers = headers.v;
	init.nheaders = headers.n;
	init.userpwd = userpwd[0] ? userpwd : NULL;
	*settings = http_settings_new(&init, err);
	explicit_bzero(userpwd, sizeof userpwd);
	return *settings ? 0 : err->code;
}
