/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings and endpoints, and how they become libcurl options. Secrets live here and in libcurl
 * only: no function gives them out, and no message has them. Any thread; set-up paths.
 */
#include "net/http_settings.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vmofs/version.h>

#include "base/macros.h"
#include "net/net_private.h"

#define TOKEN_MAX    16384
#define RECV_BUFFER  (256L << 10)
#define KEEPALIVE_S  15L
#define KEEPALIVE_IV 5L

static int init_result = -EIO;

static void init_once(void)
{
	init_result = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -EIO;
}

int http_curl_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init_once);
	return init_result;
}

/* -- settings --------------------------------------------------------------------------------- */

static bool copy_text(char **out, const char *text)
{
	if (!text)
		return true;
	*out = strdup(text);
	return *out != NULL;
}

static bool copy_headers(struct http_settings *s, const struct http_settings_init *init)
{
	if (init->nheaders == 0)
		return true;
	s->headers = calloc(init->nheaders, sizeof *s->headers);
	if (!s->headers)
		return false;
	for (; s->nheaders < init->nheaders; s->nheaders++)
		if (!copy_text(&s->headers[s->nheaders], init->headers[s->nheaders]))
			return false;
	return true;
}

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void http_settings_put(struct http_settings *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	free(s->proxy);
	free(s->cacert);
	wipe(s->userpwd);
	free(s->netrc);
	free(s->token_file);
	for (unsigned i = 0; i < s->nheaders; i++)
		wipe(s->headers[i]);
	free(s->headers);
	free(s);
}

struct http_settings *http_settings_get(struct http_settings *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

struct http_settings *http_settings_new(const struct http_settings_init *init,
					struct vmofs_err *err)
{
	struct http_settings *s = calloc(1, sizeof *s);

	if (http_curl_init() < 0) {
		vmofs_err_set(err, -EIO, "cannot initialise libcurl");
		free(s);
		return NULL;
	}
	if (s)
		s->refs = 1;
	if (!s || !copy_text(&s->proxy, init->proxy) || !copy_text(&s->cacert, init->cacert) ||
	    !copy_text(&s->userpwd, init->userpwd) || !copy_text(&s->netrc, init->netrc) ||
	    !copy_text(&s->token_file, init->token_file) || !copy_headers(s, init)) {
		vmofs_err_set(err, -ENOMEM, "cannot allocate HTTP settings");
		http_settings_put(s);
		return NULL;
	}
	s->insecure = init->insecure;
	s->version = init->version;
	s->connect_timeout_ns = init->connect_timeout_ns;
	s->stall_timeout_ns = init->stall_timeout_ns;
	return s;
}

uint64_t http_settings_stall_ns(const struct http_settings *s)
{
	return s->stall_timeout_ns;
}

/* -- endpoints -------------------------------------------------------------------------------- */

static int add_header(struct http_endpoint *ep, const char *line)
{
	struct curl_slist *more = curl_slist_append(ep->headers, line);

	if (!more)
		return -ENOMEM;
	ep->headers = more;
	return 0;
}

static int add_header_value(struct http_endpoint *ep, const char *name, const char *value)
{
	char line[512];

	if (snprintf(line, sizeof line, "%s: %s", name, value) >= (int)sizeof line)
		return -EINVAL;
	return add_header(ep, line);
}

/* Reads a small file into @buf and cuts white space at its end. */
static int read_secret(const char *path, char *buf, size_t cap)
{
	cleanup(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, cap - 1);
	if (n < 0)
		return -errno;
	while (n > 0 && strchr(" \t\r\n", buf[n - 1]))
		n--;
	buf[n] = '\0';
	return n > 0 && strpbrk(buf, "\r\n") == NULL ? 0 : -EINVAL;
}

static int add_token(struct http_endpoint *ep, struct vmofs_err *err)
{
	static const char prefix[] = "Authorization: Bearer ";
	char line[TOKEN_MAX];
	int r;

	memcpy(line, prefix, sizeof prefix);
	r = read_secret(ep->settings->token_file, line + sizeof prefix - 1,
			sizeof line - sizeof prefix);
	if (r < 0)
		return vmofs_err_set(err, r, "cannot read a token from '%s'",
				     ep->settings->token_file);
	r = add_header(ep, line);
	explicit_bzero(line, sizeof line);
	return r;
}

/* Headers that may carry secrets go to the origin they were given for, and nowhere else. */
static int add_trusted_headers(struct http_endpoint *ep, struct vmofs_err *err)
{
	const struct http_settings *s = ep->settings;
	int r = 0;

	for (unsigned i = 0; i < s->nheaders && r == 0; i++)
		r = add_header(ep, s->headers[i]);
	if (r == 0 && s->token_file)
		r = add_token(ep, err);
	return r;
}

static int add_conditions(struct http_endpoint *ep)
{
	const struct http_expect *e = &ep->expect;

	if (e->etag[0] == '"')
		return add_header_value(ep, "If-Match", e->etag);
	if (e->last_modified[0])
		return add_header_value(ep, "If-Unmodified-Since", e->last_modified);
	return 0;
}

static int build_headers(struct http_endpoint *ep, struct vmofs_err *err)
{
	int r = add_header(ep, "Accept-Encoding: identity");

	if (r == 0 && ep->trusted)
		r = add_trusted_headers(ep, err);
	if (r == 0)
		r = add_conditions(ep);
	return r;
}

static bool copy_expect(struct http_endpoint *ep, const struct http_expect *expect)
{
	if (expect)
		ep->expect = *expect;
	ep->etag = strdup(expect ? expect->etag : "");
	ep->last_modified = strdup(expect ? expect->last_modified : "");
	ep->expect.etag = ep->etag;
	ep->expect.last_modified = ep->last_modified;
	return ep->etag && ep->last_modified;
}

struct http_endpoint *http_endpoint_new(struct http_settings *s, const char *url, bool trusted,
					const struct http_expect *expect, struct vmofs_err *err)
{
	struct http_endpoint *ep = calloc(1, sizeof *ep);
	int r = -ENOMEM;

	err->code = 0;
	if (ep) {
		ep->refs = 1;
		ep->settings = http_settings_get(s);
		ep->trusted = trusted;
		if (copy_text(&ep->url, url) && copy_expect(ep, expect))
			r = build_headers(ep, err);
	}
	if (r == 0)
		return ep;
	if (err->code == 0)
		vmofs_err_set(err, r, "cannot prepare HTTP requests");
	http_endpoint_put(ep);
	return NULL;
}

struct http_endpoint *http_endpoint_get(struct http_endpoint *ep)
{
	atomic_fetch_add(&ep->refs, 1);
	return ep;
}

void http_endpoint_put(struct http_endpoint *ep)
{
	if (!ep || atomic_fetch_sub(&ep->refs, 1) > 1)
		return;
	http_settings_put(ep->settings);
	wipe(ep->url);
	free(ep->etag);
	free(ep->last_modified);
	for (struct curl_slist *h = ep->headers; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(ep->headers);
	free(ep);
}

const struct http_expect *http_endpoint_expect(const struct http_endpoint *ep)
{
	return &ep->expect;
}

/* -- libcurl ---------------------------------------------------------------------------------- */

static long curl_version_option(enum http_version v)
{
	static const long options[] = {
		[HTTP_VERSION_11] = CURL_HTTP_VERSION_1_1,
		[HTTP_VERSION_2] = CURL_HTTP_VERSION_2TLS,
		[HTTP_VERSION_AUTO] = CURL_HTTP_VERSION_2TLS,
	};

	_Static_assert(ARRAY_LEN(options) == HTTP_NVERSIONS, "one option per version");
	return options[v];
}

static void configure_credentials(CURL *easy, const struct http_settings *s)
{
	if (s->userpwd) {
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		curl_easy_setopt(easy, CURLOPT_USERPWD, s->userpwd);
	}
	if (s->netrc) {
		curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
		curl_easy_setopt(easy, CURLOPT_NETRC_FILE, s->netrc);
	}
}

static void configure_tls(CURL *easy, const struct http_settings *s)
{
	if (s->cacert)
		curl_easy_setopt(easy, CURLOPT_CAINFO, s->cacert);
	if (s->insecure) {
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
}

static void configure_connection(CURL *easy, const struct http_settings *s)
{
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, curl_version_option(s->version));
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, s->version == HTTP_VERSION_11 ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECV_BUFFER);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_IV);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)(s->connect_timeout_ns / NSEC_PER_MSEC));
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (s->proxy)
		curl_easy_setopt(easy, CURLOPT_PROXY, s->proxy);
}

int http_easy_configure(CURL *easy, const struct http_endpoint *ep)
{
	const struct http_settings *s = ep->settings;

	configure_connection(easy, s);
	configure_tls(easy, s);
	if (ep->trusted)
		configure_credentials(easy, s);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "vmofs/" VMOFS_VERSION);
	if (curl_easy_setopt(easy, CURLOPT_HTTPHEADER, ep->headers) != CURLE_OK ||
	    curl_easy_setopt(easy, CURLOPT_URL, ep->url) != CURLE_OK)
		return -ENOMEM;
	return 0;
}

enum http_outcome http_curl_outcome(CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return HTTP_OUTCOME_OK;
	case CURLE_OPERATION_TIMEDOUT:
		return HTTP_OUTCOME_TIMEOUT;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_URL_MALFORMAT:
	case CURLE_NOT_BUILT_IN:
		return HTTP_OUTCOME_REFUSED;
	case CURLE_UNSUPPORTED_PROTOCOL: /* an HTTP version that nobody knows */
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
		return HTTP_OUTCOME_INTEGRITY;
	default:
		return HTTP_OUTCOME_RETRY;
	}
}
