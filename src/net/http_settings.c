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
#include <strings.h>
#include <unistd.h>
#include <vmofs/version.h>

#include "base/macros.h"
#include "net/net_private.h"

#define TOKEN_MAX    16384
#define RECV_BUFFER  (256L << 10)
#define KEEPALIVE_S  5L
#define KEEPALIVE_IV 2L

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

bool http_settings_multiplex(const struct http_settings *s)
{
	return s->version != HTTP_VERSION_11;
}

/* -- who asks --------------------------------------------------------------------------------- */

static bool is_proof(const char *line)
{
	return strncasecmp(line, "Authorization:", 14) == 0;
}

/* Lines as they go out, and "NAME:", each with its final zero; only counted where @out is NULL. */
static size_t asker_text(const struct http_settings *s, char *out)
{
	size_t user = s->userpwd ? strcspn(s->userpwd, ":") + 1 : 0;
	size_t len = 0;

	for (unsigned i = 0; i < s->nheaders; i++) {
		size_t n = is_proof(s->headers[i]) ? 0 : strlen(s->headers[i]) + 1;

		if (out)
			memcpy(out + len, s->headers[i], n);
		len += n;
	}
	if (out && user)
		snprintf(out + len, user + 1, "%.*s:", (int)user - 1, s->userpwd);
	return user ? len + user + 1 : len;
}

int http_settings_asker(const struct http_settings *s, uint8_t out[SHA256_LEN])
{
	size_t n = asker_text(s, NULL);
	char *text = n ? malloc(n) : NULL;
	int r;

	if (!n)
		return 0;
	if (!text)
		return -ENOMEM;
	asker_text(s, text);
	r = digest_sha256(text, n, out);
	explicit_bzero(text, n);
	free(text);
	return r < 0 ? r : 1;
}

/* -- endpoints -------------------------------------------------------------------------------- */

int http_headers_add(struct curl_slist **list, const char *line)
{
	struct curl_slist *more = curl_slist_append(*list, line);

	if (!more)
		return -ENOMEM;
	*list = more;
	return 0;
}

void http_headers_free(struct curl_slist *list)
{
	for (struct curl_slist *h = list; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(list);
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

static int add_token(struct curl_slist **list, const struct http_settings *s, struct vmofs_err *err)
{
	static const char prefix[] = "Authorization: Bearer ";
	char line[TOKEN_MAX];
	int r;

	memcpy(line, prefix, sizeof prefix);
	r = read_secret(s->token_file, line + sizeof prefix - 1, sizeof line - sizeof prefix);
	if (r < 0)
		return vmofs_err_set(err, r, "cannot read a token from '%s'", s->token_file);
	r = http_headers_add(list, line);
	explicit_bzero(line, sizeof line);
	return r;
}

/* Headers that may carry secrets go to the origin they were given for, and nowhere else. */
static int add_trusted_headers(struct curl_slist **list, const struct http_settings *s,
			       struct vmofs_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < s->nheaders && r == 0; i++)
		r = http_headers_add(list, s->headers[i]);
	if (r == 0 && s->token_file)
		r = add_token(list, s, err);
	return r;
}

int http_headers_begin(struct curl_slist **list, const struct http_settings *s, bool trusted,
		       struct vmofs_err *err)
{
	int r = http_headers_add(list, "Accept-Encoding: identity");

	return r == 0 && trusted ? add_trusted_headers(list, s, err) : r;
}

static int add_header_value(struct http_endpoint *ep, const char *name, const char *value)
{
	char line[512];

	if (snprintf(line, sizeof line, "%s: %s", name, value) >= (int)sizeof line)
		return -EINVAL;
	return http_headers_add(&ep->headers, line);
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

static int build_headers(struct http_endpoint *ep, const char *const *lines, unsigned n,
			 struct vmofs_err *err)
{
	int r = http_headers_begin(&ep->headers, ep->settings, ep->trusted, err);

	for (unsigned i = 0; i < n && r == 0; i++)
		r = http_headers_add(&ep->headers, lines[i]);
	return r == 0 ? add_conditions(ep) : r;
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

static struct http_endpoint *endpoint_new(struct http_endpoint *ep, const char *url,
					  const struct http_expect *expect,
					  const char *const *lines, unsigned nlines,
					  struct vmofs_err *err)
{
	int r = -ENOMEM;

	err->code = 0;
	if (ep && copy_text(&ep->url, url) && copy_expect(ep, expect))
		r = build_headers(ep, lines, nlines, err);
	if (r == 0)
		return ep;
	if (err->code == 0)
		vmofs_err_set(err, r, "cannot prepare HTTP requests");
	http_endpoint_put(ep);
	return NULL;
}

static struct http_endpoint *endpoint_alloc(struct http_settings *s, bool trusted)
{
	struct http_endpoint *ep = calloc(1, sizeof *ep);

	if (!ep)
		return NULL;
	ep->refs = 1;
	ep->settings = http_settings_get(s);
	ep->trusted = trusted;
	return ep;
}

struct http_endpoint *http_endpoint_new(struct http_settings *s, const char *url, bool trusted,
					const struct http_expect *expect, struct vmofs_err *err)
{
	return endpoint_new(endpoint_alloc(s, trusted), url, expect, NULL, 0, err);
}

struct http_endpoint *http_endpoint_new_lines(struct http_settings *s, const char *url,
					      const char *const *lines, unsigned nlines,
					      const struct http_expect *expect,
					      struct vmofs_err *err)
{
	return endpoint_new(endpoint_alloc(s, false), url, expect, lines, nlines, err);
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
	http_headers_free(ep->headers);
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
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L); /* "a/../b" may be the name of an object */
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

void http_easy_configure(CURL *easy, const struct http_settings *s, bool trusted)
{
	configure_connection(easy, s);
	configure_tls(easy, s);
	if (trusted)
		configure_credentials(easy, s);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "vmofs/" VMOFS_VERSION);
}

int http_easy_target(CURL *easy, const struct http_endpoint *ep)
{
	if (curl_easy_setopt(easy, CURLOPT_HTTPHEADER, ep->headers) != CURLE_OK ||
	    curl_easy_setopt(easy, CURLOPT_URL, ep->url) != CURLE_OK)
		return -ENOMEM;
	return 0;
}

uint64_t http_easy_answer_ns(CURL *easy)
{
	curl_off_t sent = 0, begun = 0;

	curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
	curl_easy_getinfo(easy, CURLINFO_STARTTRANSFER_TIME_T, &begun);
	return begun > sent ? (uint64_t)(begun - sent) * 1000 : 0;
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
