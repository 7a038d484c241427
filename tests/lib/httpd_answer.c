/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the lying server answers: it reads one request, decides under the lock which lie is due, and
 * sends the answer without the lock. Each connection's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/macros.h"
#include "lib/httpd_private.h"

/* One answer: what is said and what is done. */
struct answer {
	struct httpd_entry req;
	struct httpd_modes m; /* a copy; faults that hit are set */
	int status;
	bool head;
	uint64_t first, end; /* of the body */
	uint64_t said_first, said_end, said_total;
	bool chunked;
	bool has_content_range;
	uint64_t cut_after; /* body bytes, then reset, stall or close; UINT64_MAX: never */
	char location[700];
	char extra[512]; /* more headers */
};

/* -- sending ---------------------------------------------------------------------------------- */

static bool send_all(struct httpd_conn *c, const void *buf, size_t n)
{
	const char *p = buf;

	while (n > 0) {
		ssize_t r = send(c->fd, p, n, MSG_NOSIGNAL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

static bool send_text(struct httpd_conn *c, const char *text)
{
	return send_all(c, text, strlen(text));
}

static bool send_chunk(struct httpd_conn *c, const struct answer *a, const uint8_t *buf, size_t n)
{
	char head[32];

	httpd_wait_while(c->httpd, &c->httpd->modes.freeze);
	if (a->m.drip)
		httpd_pause(c->httpd, 5);
	if (a->chunked) {
		snprintf(head, sizeof head, "%zx\r\n", n);
		if (!send_text(c, head))
			return false;
	}
	if (!send_all(c, buf, n))
		return false;
	mutex_lock(&c->httpd->lock);
	c->httpd->body_bytes += n;
	mutex_unlock(&c->httpd->lock);
	return !a->chunked || send_text(c, "\r\n");
}

static void fill(const struct httpd *h, const struct answer *a, uint8_t *buf, uint64_t off,
		 uint64_t n)
{
	uint64_t have = off < h->size ? MIN(n, h->size - off) : 0;

	if (!h->map) {
		httpd_fill(buf, off, n, a->m.version);
		return;
	}
	memcpy(buf, h->map + off, have);
	memset(buf + have, 'x', n - have);
}

static bool send_content(struct httpd_conn *c, const struct answer *a)
{
	static _Thread_local uint8_t buf[65536];
	uint64_t piece = a->m.drip ? (uint64_t)a->m.drip : sizeof buf;
	uint64_t pause_at = a->m.pause_count ? a->first + (a->end - a->first) / 2 : UINT64_MAX;

	piece = MIN(piece, sizeof buf);
	for (uint64_t off = a->first; off < a->end;) {
		uint64_t n = MIN(a->end - off, piece);

		if (a->cut_after != UINT64_MAX)
			n = MIN(n, a->first + a->cut_after - off);
		if (off < pause_at)
			n = MIN(n, pause_at - off);
		else if (off == pause_at)
			httpd_wait_pause(c->httpd, (unsigned)a->m.pause);
		if (n == 0)
			return false;
		fill(c->httpd, a, buf, off, n);
		if (!send_chunk(c, a, buf, n))
			return false;
		off += n;
	}
	return !a->chunked || send_text(c, "0\r\n\r\n");
}

static bool send_body(struct httpd_conn *c, const struct answer *a)
{
	return a->status >= 400 ? send_text(c, a->m.error_body) : send_content(c, a);
}

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {
		{ 200, "OK" },
		{ 206, "Partial Content" },
		{ 302, "Found" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 410, "Gone" },
		{ 412, "Precondition Failed" },
		{ 416, "Range Not Satisfiable" },
		{ 429, "Too Many Requests" },
		{ 500, "Internal Server Error" },
		{ 503, "Service Unavailable" },
	};

	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Whatever";
}

static void http_date(char *out, size_t cap, time_t when)
{
	struct tm tm;

	gmtime_r(&when, &tm);
	strftime(out, cap, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

static void make_etag(const struct answer *a, char *out, size_t cap)
{
	snprintf(out, cap, "%s\"v%d\"", a->m.weak_etag ? "W/" : "", a->m.version);
}

static int add_validators(const struct answer *a, char *p, size_t cap)
{
	char etag[64], date[64];
	int n = 0;

	make_etag(a, etag, sizeof etag);
	http_date(date, sizeof date, 1000000000 + a->m.version);
	if (a->m.bad_etag)
		snprintf(etag, sizeof etag, "\"another\"");
	if (!a->m.no_etag && !(a->m.no_206_etag && a->status == 206))
		n += snprintf(p + n, cap - (size_t)n, "ETag: %s\r\n", etag);
	if (!a->m.no_last_modified)
		n += snprintf(p + n, cap - (size_t)n, "Last-Modified: %s\r\n", date);
	return n;
}

static int add_length(const struct answer *a, char *p, size_t cap)
{
	uint64_t len = a->status >= 400 ? strlen(a->m.error_body) : a->end - a->first;
	int n = 0;

	if (a->has_content_range)
		n += snprintf(p, cap,
			      "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n",
			      a->said_first, a->said_end - 1, a->said_total);
	if (a->status == 416)
		n += snprintf(p + n, cap - (size_t)n, "Content-Range: bytes */%" PRIu64 "\r\n",
			      a->said_total);
	if (a->chunked)
		n += snprintf(p + n, cap - (size_t)n, "Transfer-Encoding: chunked\r\n");
	else
		n += snprintf(p + n, cap - (size_t)n, "Content-Length: %" PRIu64 "\r\n", len);
	return n;
}

static bool send_head(struct httpd_conn *c, const struct answer *a)
{
	char head[4096];
	size_t cap = sizeof head;
	int n = snprintf(head, cap, "HTTP/1.1 %d %s\r\nX-Request-Id: req-%d\r\n", a->status,
			 reason(a->status), a->status);

	if (a->status == 200 || a->status == 206)
		n += add_validators(a, head + n, cap - (size_t)n);
	if (a->m.gzip)
		n += snprintf(head + n, cap - (size_t)n, "Content-Encoding: gzip\r\n");
	if (a->location[0])
		n += snprintf(head + n, cap - (size_t)n, "Location: %s\r\n", a->location);
	n += snprintf(head + n, cap - (size_t)n, "%s", a->extra);
	if (a->m.header[0])
		n += snprintf(head + n, cap - (size_t)n, "%s\r\n", a->m.header);
	n += add_length(a, head + n, cap - (size_t)n);
	snprintf(head + n, cap - (size_t)n, "\r\n");
	return send_text(c, head);
}

static void reset_connection(struct httpd_conn *c)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/* After as much as was sent: silence, a reset or the end. */
static bool end_badly(struct httpd_conn *c, const struct answer *a)
{
	if (a->m.stall)
		httpd_wait_while(c->httpd, &c->httpd->modes.stall);
	if (a->m.reset)
		reset_connection(c);
	return false;
}

static bool send_answer(struct httpd_conn *c, const struct answer *a)
{
	if (a->m.delay)
		httpd_pause(c->httpd, (unsigned)a->m.delay);
	httpd_wait_while(c->httpd, &c->httpd->modes.freeze);
	if (a->m.silent)
		httpd_wait_while(c->httpd, &c->httpd->modes.silent);
	if (a->m.silent || a->m.close)
		return false;
	if (a->m.bad_head)
		return send_text(c, "HTTP/9.x nonsense\r\nfoo\r\n\r\n"), false;
	if (!send_head(c, a))
		return false;
	if (a->head || send_body(c, a))
		return true;
	return end_badly(c, a);
}

/* -- deciding --------------------------------------------------------------------------------- */

/* The faults: each knows its counter; those that hit stay set in the copy. */
static void take_faults_locked(struct httpd *h, struct answer *a, bool spared) REQUIRES(h->lock)
{
	static const size_t faults[] = {
		offsetof(struct httpd_modes, wrong_range),
		offsetof(struct httpd_modes, short_range),
		offsetof(struct httpd_modes, wrong_total),
		offsetof(struct httpd_modes, no_content_range),
		offsetof(struct httpd_modes, short_body),
		offsetof(struct httpd_modes, extra),
		offsetof(struct httpd_modes, short_chunked),
		offsetof(struct httpd_modes, extra_chunked),
		offsetof(struct httpd_modes, ignore_range),
		offsetof(struct httpd_modes, gzip),
		offsetof(struct httpd_modes, reset),
		offsetof(struct httpd_modes, bad_head),
		offsetof(struct httpd_modes, close),
		offsetof(struct httpd_modes, status_count),
		offsetof(struct httpd_modes, pause_count),
	};

	a->m = h->modes;
	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		int *left = (int *)((char *)&h->modes + faults[i]);
		int *hit = (int *)((char *)&a->m + faults[i]);

		*hit = *left != 0 && !spared;
		if (*hit && *left > 0)
			--*left;
	}
	if (spared)
		a->m.stall = a->m.silent = a->m.bad_etag = 0;
}

static bool authorized(const struct answer *a)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char want[256] = "Basic ";
	const unsigned char *p = (const unsigned char *)a->m.basic;
	size_t n = strlen(a->m.basic), at = 6;

	if (a->m.bearer[0]) {
		snprintf(want, sizeof want, "Bearer %.200s", a->m.bearer);
		return strcmp(want, a->req.authorization) == 0;
	}
	if (!n)
		return true;
	for (size_t i = 0; i < n; i += 3) {
		unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) |
			(i + 2 < n ? p[i + 2] : 0);

		want[at++] = digits[v >> 18 & 63];
		want[at++] = digits[v >> 12 & 63];
		want[at++] = i + 1 < n ? digits[v >> 6 & 63] : '=';
		want[at++] = i + 2 < n ? digits[v & 63] : '=';
	}
	return strcmp(want, a->req.authorization) == 0;
}

static bool starts(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

/* Redirects and signed targets; true: the answer is made. */
static bool answer_by_path(struct answer *a, const char *path)
{
	const char *number = strchr(path, '=');

	if (starts(path, "/redirect"))
		snprintf(a->location, sizeof a->location, "%s",
			 a->m.redirect[0] ? a->m.redirect : "/object");
	else if (starts(path, "/endless"))
		snprintf(a->location, sizeof a->location, "/endless?n=%d",
			 number ? atoi(number + 1) + 1 : 1);
	else if (starts(path, "/circle-"))
		snprintf(a->location, sizeof a->location, "/circle-%c", path[8] == 'a' ? 'b' : 'a');
	else if (starts(path, "/expiring"))
		snprintf(a->location, sizeof a->location, "/signed?gen=%d", a->m.gen);
	else if (starts(path, "/signed") && number && atoi(number + 1) != a->m.gen)
		a->status = 403;
	if (a->location[0])
		a->status = 302;
	return a->status != 0;
}

static bool precondition_fails(const struct answer *a)
{
	char etag[64], date[64];

	make_etag(a, etag, sizeof etag);
	http_date(date, sizeof date, 1000000000 + a->m.version);
	if (a->req.if_match[0] && !a->m.no_etag && !a->m.bad_etag)
		return strcmp(a->req.if_match, etag) != 0;
	return a->req.if_unmodified[0] && !a->m.no_last_modified &&
		strcmp(a->req.if_unmodified, date) != 0;
}

static void answer_status(struct answer *a)
{
	char date[64];
	int n = 0;

	a->status = a->m.status ? a->m.status : 503;
	if (a->m.retry_after >= 0)
		n = snprintf(a->extra, sizeof a->extra, "Retry-After: %d\r\n", a->m.retry_after);
	if (a->m.retry_date) {
		http_date(date, sizeof date, time(NULL) + a->m.retry_date);
		snprintf(a->extra + n, sizeof a->extra - (size_t)n, "Retry-After: %s\r\n", date);
	}
}

/* The lies about range and length. */
static void distort(const struct httpd *h, struct answer *a)
{
	uint64_t len = a->end - a->first;

	if (a->m.wrong_range) {
		a->said_first += 4096;
		a->said_end += 4096;
	}
	if (a->m.short_range)
		a->end = a->said_end = a->first + MAX(len / 2, 1);
	if (a->m.wrong_total)
		a->said_total = h->size + 1;
	if (a->m.no_content_range)
		a->has_content_range = false;
	if (a->m.extra || a->m.extra_chunked)
		a->end += 100;
	if (a->m.short_chunked)
		a->end -= MAX(len / 2, 1);
	a->chunked = a->m.extra_chunked || a->m.short_chunked;
	if (a->m.short_body || a->m.reset || a->m.stall)
		a->cut_after = len / 2;
}

static void answer_range(const struct httpd *h, struct answer *a)
{
	bool ranges = a->req.has_range && !a->m.no_ranges && !a->m.ignore_range;

	a->said_total = h->size;
	if (ranges && a->req.first >= h->size) {
		a->status = 416;
		return;
	}
	a->status = ranges ? 206 : 200;
	a->first = ranges ? a->req.first : 0;
	a->end = ranges ? MIN(a->req.last + 1, h->size) : h->size;
	a->said_first = a->first;
	a->said_end = a->end;
	a->has_content_range = ranges;
	distort(h, a);
	if (a->m.no_length && !ranges)
		a->chunked = true;
}

static void decide(struct httpd *h, struct answer *a)
{
	const char *path = strstr(a->req.target, "://");
	bool probe = a->req.has_range && a->req.last == 0;

	path = path ? strchr(path + 3, '/') : a->req.target;
	a->head = strcmp(a->req.method, "HEAD") == 0;
	a->cut_after = UINT64_MAX;
	mutex_lock(&h->lock);
	take_faults_locked(h, a, (probe || a->head) && !h->modes.probe_too);
	mutex_unlock(&h->lock);
	if (answer_by_path(a, path ? path : "/"))
		return;
	if (!authorized(a))
		a->status = 401;
	else if ((a->head && a->m.no_head) || (probe && !a->head && a->m.no_get_probe))
		a->status = 405;
	else if (a->m.status_count)
		answer_status(a);
	else if (precondition_fails(a))
		a->status = 412;
	else
		answer_range(h, a);
}

/* -- reading ---------------------------------------------------------------------------------- */

static void read_header(struct httpd_entry *e, const char *name, size_t len, const char *value)
{
	static const struct {
		const char *name;
		size_t offset, cap;
	} kept[] = {
		{ "authorization", offsetof(struct httpd_entry, authorization), 256 },
		{ "x-secret", offsetof(struct httpd_entry, secret), 64 },
		{ "if-match", offsetof(struct httpd_entry, if_match), 256 },
		{ "if-unmodified-since", offsetof(struct httpd_entry, if_unmodified), 64 },
		{ "accept-encoding", offsetof(struct httpd_entry, accept_encoding), 64 },
		{ "user-agent", offsetof(struct httpd_entry, user_agent), 64 },
		{ "content-type", offsetof(struct httpd_entry, content_type), 64 },
	};

	if (len == 5 && strncasecmp(name, "range", 5) == 0)
		e->has_range =
			sscanf(value, "bytes=%" SCNu64 "-%" SCNu64, &e->first, &e->last) == 2;
	if (len == 14 && strncasecmp(name, "content-length", 14) == 0)
		e->body_len = strtoull(value, NULL, 10);
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		if (strlen(kept[i].name) == len && strncasecmp(kept[i].name, name, len) == 0)
			snprintf((char *)e + kept[i].offset, kept[i].cap, "%s", value);
}

static bool parse_request(struct httpd_entry *e, char *text)
{
	char *save = NULL;
	char *line = strtok_r(text, "\r\n", &save);

	*e = (struct httpd_entry){ 0 };
	if (!line || sscanf(line, "%7s %511s", e->method, e->target) != 2)
		return false;
	while ((line = strtok_r(NULL, "\r\n", &save))) {
		char *colon = strchr(line, ':');

		if (colon)
			read_header(e, line, (size_t)(colon - line),
				    colon + 1 + strspn(colon + 1, " "));
	}
	return true;
}

/* Reads until the empty line; the head, without what follows, is in @text. */
static bool read_request(struct httpd_conn *c, char *text, size_t cap)
{
	char *end;
	size_t used;

	while (c->buf[c->len] = '\0', !(end = strstr(c->buf, "\r\n\r\n"))) {
		ssize_t n;

		if (c->len + 1 >= sizeof c->buf)
			return false;
		n = recv(c->fd, c->buf + c->len, sizeof c->buf - 1 - c->len, 0);
		if (n <= 0)
			return false;
		c->len += (size_t)n;
	}
	used = (size_t)(end - c->buf) + 4;
	snprintf(text, MIN(cap, used), "%s", c->buf);
	c->len -= used;
	memmove(c->buf, c->buf + used, c->len);
	return true;
}

/* Takes the body of a request out of the connection. */
static bool read_body(struct httpd_conn *c, struct httpd_entry *e)
{
	uint64_t left = e->body_len;
	size_t kept = 0;

	while (left > 0) {
		size_t n = MIN(c->len, left);
		size_t keep = MIN(n, sizeof e->body - 1 - kept);

		memcpy(e->body + kept, c->buf, keep);
		kept += keep;
		left -= n;
		c->len -= n;
		memmove(c->buf, c->buf + n, c->len);
		if (left > 0) {
			ssize_t got = recv(c->fd, c->buf, sizeof c->buf - 1, 0);

			if (got <= 0)
				return false;
			c->len = (size_t)got;
		}
	}
	return true;
}

static bool serve_control(struct httpd_conn *c, const struct httpd_entry *e)
{
	struct httpd *h = c->httpd;
	const char *modes = strchr(e->target, '?');
	char body[256], head[128];
	int r = modes ? httpd_try_set(h, modes + 1) : 0;

	mutex_lock(&h->lock);
	snprintf(body, sizeof body,
		 "{\"requests\": %zu, \"connections\": %" PRIu64 ", \"bytes\": %" PRIu64
		 ", \"busy\": %u}\n",
		 h->nlog, h->nconns, h->body_bytes, h->busy);
	mutex_unlock(&h->lock);
	snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n",
		 r == 0 ? "200 OK" : "400 Bad Request", strlen(body));
	return send_text(c, head) && send_text(c, body);
}

static bool serve_object(struct httpd_conn *c, const struct httpd_entry *e)
{
	struct httpd *h = c->httpd;
	struct answer a = { .req = *e };
	bool keep;

	decide(h, &a);
	a.req.status = a.status;
	mutex_lock(&h->lock);
	httpd_log_locked(h, &a.req);
	h->busy++;
	cond_broadcast(&h->changed);
	mutex_unlock(&h->lock);
	keep = send_answer(c, &a);
	mutex_lock(&h->lock);
	h->busy--;
	cond_broadcast(&h->changed);
	mutex_unlock(&h->lock);
	return keep;
}

bool httpd_serve_one(struct httpd_conn *c)
{
	struct httpd_entry e;
	char text[sizeof c->buf];

	if (!read_request(c, text, sizeof text) || !parse_request(&e, text) || !read_body(c, &e))
		return false;
	return starts(e.target, "/_ctl") ? serve_control(c, &e) : serve_object(c, &e);
}
