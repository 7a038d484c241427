/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads of HTTP answers. A table maps the few headers that matter to their readers; the check
 * lists, in order, everything a lying or changing server can do to a range. No I/O, any thread.
 */
#include "net/http_reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"

void http_reply_reset(struct http_reply *r)
{
	r->status = 0;
	r->complete = false;
	r->has_range = false;
	r->bad_range = false;
	r->length = HTTP_LENGTH_UNKNOWN;
	r->retry_after = HTTP_LENGTH_UNKNOWN;
	r->etag[0] = '\0';
	r->last_modified[0] = '\0';
	r->encoding[0] = '\0';
	r->request_id[0] = '\0';
	r->challenge[0] = '\0';
	r->version_id[0] = '\0';
	r->checksums[0] = '\0';
	r->date = 0;
	if (r->location)
		r->location[0] = '\0';
}

/* -- one header each -------------------------------------------------------------------------- */

/* A value that does not fit is as good as none. */
static void copy_value(char *out, size_t cap, const char *p, size_t n)
{
	if (n >= cap || memchr(p, '\0', n))
		return;
	memcpy(out, p, n);
	out[n] = '\0';
}

static void read_range(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	r->bad_range = r->has_range || http_parse_content_range(p, n, &r->range) < 0;
	r->has_range = true;
}

static void read_length(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	if (http_parse_length(p, n, &r->length) < 0)
		r->length = HTTP_LENGTH_UNKNOWN;
}

static void read_retry_after(struct http_reply *r, const char *p, size_t n, int64_t now)
{
	if (http_parse_retry_after(p, n, now, &r->retry_after) < 0)
		r->retry_after = HTTP_LENGTH_UNKNOWN;
}

static void read_etag(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	bool weak;

	if (http_parse_etag(p, n, &weak) == 0)
		copy_value(r->etag, sizeof r->etag, p, n);
}

static void read_last_modified(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	int64_t when;

	if (http_parse_date(p, n, &when) == 0)
		copy_value(r->last_modified, sizeof r->last_modified, p, n);
}

static void read_encoding(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	if (n == 0 || (n == 8 && strncasecmp(p, "identity", 8) == 0))
		return;
	copy_value(r->encoding, sizeof r->encoding, p, n);
	if (!r->encoding[0])
		copy_value(r->encoding, sizeof r->encoding, "unknown", 7);
}

/* Text that goes to logs: the first one, printable. */
static void copy_printable(char *out, size_t cap, const char *p, size_t n)
{
	if (out[0])
		return;
	for (size_t i = 0; i < n; i++)
		if (p[i] < ' ' || p[i] > '~')
			return;
	copy_value(out, cap, p, n);
}

static void read_request_id(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	copy_printable(r->request_id, sizeof r->request_id, p, n);
}

static void read_challenge(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	copy_printable(r->challenge, sizeof r->challenge, p, n);
}

static void read_location(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	if (r->location)
		copy_value(r->location, r->location_cap, p, n);
}

static void read_version_id(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	copy_printable(r->version_id, sizeof r->version_id, p, n);
}

static void read_date(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	if (http_parse_date(p, n, &r->date) < 0)
		r->date = 0;
}

/* What a base64 text or a type's name is made of. */
static bool is_checksum(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] <= ' ' || p[i] > '~' || p[i] == ';')
			return false;
	return n > 0;
}

static void add_checksum(struct http_reply *r, const char *name, const char *p, size_t n)
{
	size_t have = strlen(r->checksums);
	size_t need = strlen(name) + n + 3;

	if (is_checksum(p, n) && need <= sizeof r->checksums - have)
		snprintf(r->checksums + have, need, "%s=%.*s;", name, (int)n, p);
}

static void read_crc32(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	add_checksum(r, "crc32", p, n);
}

static void read_crc32c(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	add_checksum(r, "crc32c", p, n);
}

static void read_crc64nvme(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	add_checksum(r, "crc64nvme", p, n);
}

static void read_sha256(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	add_checksum(r, "sha256", p, n);
}

static void read_type(struct http_reply *r, const char *p, size_t n, int64_t now UNUSED)
{
	add_checksum(r, "type", p, n);
}

static const struct {
	const char *name;
	void (*read)(struct http_reply *r, const char *p, size_t n, int64_t now);
} headers[] = {
	{ "content-range", read_range },
	{ "content-length", read_length },
	{ "etag", read_etag },
	{ "last-modified", read_last_modified },
	{ "content-encoding", read_encoding },
	{ "retry-after", read_retry_after },
	{ "location", read_location },
	{ "www-authenticate", read_challenge },
	{ "x-request-id", read_request_id },
	{ "x-amz-request-id", read_request_id },
	{ "x-amz-cf-id", read_request_id },
	{ "x-amz-version-id", read_version_id },
	{ "x-amz-checksum-crc32", read_crc32 },
	{ "x-amz-checksum-crc32c", read_crc32c },
	{ "x-amz-checksum-crc64nvme", read_crc64nvme },
	{ "x-amz-checksum-sha256", read_sha256 },
	{ "x-amz-checksum-type", read_type },
	{ "date", read_date },
	{ "x-ms-request-id", read_request_id },
	{ "x-goog-request-id", read_request_id },
	{ "cf-ray", read_request_id },
};

static void read_header(struct http_reply *r, const char *p, size_t n, int64_t now)
{
	const char *colon = memchr(p, ':', n);
	size_t name = colon ? (size_t)(colon - p) : 0;

	if (name == 0)
		return;
	p += name + 1;
	n -= name + 1;
	while (n > 0 && (*p == ' ' || *p == '\t')) {
		p++;
		n--;
	}
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		if (strlen(headers[i].name) != name ||
		    strncasecmp(headers[i].name, colon - name, name) != 0)
			continue;
		headers[i].read(r, p, n, now);
		return;
	}
}

void http_reply_line(struct http_reply *r, const char *p, size_t n, int64_t now)
{
	int status;

	while (n > 0 && (p[n - 1] == '\r' || p[n - 1] == '\n' || p[n - 1] == ' '))
		n--;
	if (n == 0) {
		r->complete = r->status >= 200;
	} else if (http_parse_status_line(p, n, &status) == 0) {
		http_reply_reset(r);
		r->status = status;
	} else if (!r->complete) { /* what comes behind the body (trailers) is not the head */
		read_header(r, p, n, now);
	}
}

/* -- the judgement ---------------------------------------------------------------------------- */

static const struct {
	int status;
	enum http_outcome outcome;
} outcomes[] = {
	{ 401, HTTP_OUTCOME_DENIED },  { 403, HTTP_OUTCOME_DENIED },  { 407, HTTP_OUTCOME_DENIED },
	{ 404, HTTP_OUTCOME_GONE },    { 410, HTTP_OUTCOME_GONE },    { 412, HTTP_OUTCOME_CHANGED },
	{ 416, HTTP_OUTCOME_CHANGED }, { 408, HTTP_OUTCOME_RETRY },   { 425, HTTP_OUTCOME_RETRY },
	{ 429, HTTP_OUTCOME_RETRY },   { 501, HTTP_OUTCOME_REFUSED }, { 505, HTTP_OUTCOME_REFUSED },
};

enum http_outcome http_status_outcome(int status)
{
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
		if (outcomes[i].status == status)
			return outcomes[i].outcome;
	if (status >= 300 && status < 400)
		return HTTP_OUTCOME_MOVED;
	if (status >= 500)
		return HTTP_OUTCOME_RETRY;
	return status < 300 ? HTTP_OUTCOME_INTEGRITY : HTTP_OUTCOME_REFUSED;
}

void http_status_message(const struct http_reply *r, char *msg, size_t cap)
{
	snprintf(msg, cap, "the server answered %d%s%s%s", r->status, r->challenge[0] ? " (" : "",
		 r->challenge, r->challenge[0] ? ")" : "");
}

/*
 * A tag may be weak while its file is younger than the server's clock can tell, and strong a second
 * later (Apache): the weak comparison of RFC 9110 section 8.8.3.2 then. What was strong stays strong.
 */
static bool same_tag(const char *was, const char *is)
{
	if (strcmp(was, is) == 0)
		return true;
	return strncmp(was, "W/", 2) == 0 && strcmp(was + 2, is) == 0;
}

/* A validator that was there at the probe must be there, and the same, in every answer. */
static enum http_outcome check_version(const struct http_reply *r, const struct http_expect *e,
				       char *msg, size_t cap)
{
	if (e->etag[0] && !r->etag[0]) {
		snprintf(msg, cap, "the answer has no entity tag, but had one at open");
		return HTTP_OUTCOME_INTEGRITY;
	}
	if (e->etag[0] && !same_tag(e->etag, r->etag)) {
		snprintf(msg, cap, "the object has changed: entity tag %s, was %s", r->etag,
			 e->etag);
		return HTTP_OUTCOME_CHANGED;
	}
	if (!e->etag[0] && e->last_modified[0] && strcmp(e->last_modified, r->last_modified) != 0) {
		snprintf(msg, cap, "the object has changed: modified '%s', was '%s'",
			 r->last_modified, e->last_modified);
		return HTTP_OUTCOME_CHANGED;
	}
	return HTTP_OUTCOME_OK;
}

static enum http_outcome wrong(char *msg, size_t cap, const char *why)
{
	snprintf(msg, cap, "%s", why);
	return HTTP_OUTCOME_INTEGRITY;
}

static enum http_outcome check_partial(const struct http_reply *r, const struct http_expect *e,
				       uint64_t off, uint64_t len, char *msg, size_t cap)
{
	if (!r->has_range || r->bad_range || r->range.unsatisfied)
		return wrong(msg, cap, "partial answer without a readable Content-Range");
	if (r->range.total != HTTP_LENGTH_UNKNOWN && r->range.total != e->size) {
		snprintf(msg, cap, "the object has changed: %" PRIu64 " bytes, was %" PRIu64,
			 r->range.total, e->size);
		return HTTP_OUTCOME_CHANGED;
	}
	if (r->range.first != off || r->range.last != off + len - 1) {
		snprintf(msg, cap,
			 "asked for bytes %" PRIu64 "-%" PRIu64 ", got %" PRIu64 "-%" PRIu64, off,
			 off + len - 1, r->range.first, r->range.last);
		return HTTP_OUTCOME_INTEGRITY;
	}
	if (r->length != HTTP_LENGTH_UNKNOWN && r->length != len)
		return wrong(msg, cap, "Content-Length differs from the range");
	return HTTP_OUTCOME_OK;
}

/* 200: the body begins at 0, whatever was asked for. */
static enum http_outcome check_full(const struct http_reply *r, const struct http_expect *e,
				    uint64_t off, bool whole, char *msg, size_t cap)
{
	if (!whole && (off != 0 || e->size > e->whole_limit))
		return wrong(msg, cap, "the server ignored the range");
	if (r->length != HTTP_LENGTH_UNKNOWN && r->length != e->size) {
		snprintf(msg, cap, "the object has changed: %" PRIu64 " bytes, was %" PRIu64,
			 r->length, e->size);
		return HTTP_OUTCOME_CHANGED;
	}
	return HTTP_OUTCOME_OK;
}

bool http_reply_is_whole(const struct http_reply *r, const struct http_expect *e)
{
	char msg[512];

	return r->status == 200 && (!r->encoding[0] || e->stored_encoding) &&
		r->length == e->size && check_version(r, e, msg, sizeof msg) == HTTP_OUTCOME_OK;
}

enum http_outcome http_reply_check(const struct http_reply *r, const struct http_expect *e,
				   uint64_t off, uint64_t len, bool whole, char *msg, size_t cap)
{
	enum http_outcome o;

	if (r->status != 200 && r->status != 206) {
		http_status_message(r, msg, cap);
		return http_status_outcome(r->status);
	}
	o = check_version(r, e, msg, cap);
	if (o != HTTP_OUTCOME_OK)
		return o;
	if (r->encoding[0] && !e->stored_encoding) {
		snprintf(msg, cap, "the answer has content encoding '%s'", r->encoding);
		return HTTP_OUTCOME_INTEGRITY;
	}
	if (r->status == 200)
		return check_full(r, e, off, whole, msg, cap);
	return check_partial(r, e, off, len, msg, cap);
}
