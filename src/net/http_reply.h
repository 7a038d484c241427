/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of one HTTP answer, collected line by line, and the judgement whether its body may be
 * believed: is it the range that was asked for, of the version that was asked for, unencoded?
 * Pure data, no locks, no I/O, any thread.
 */
#ifndef NET_HTTP_REPLY_H
#define NET_HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/http_header.h"

/* What became of a request. */
enum http_outcome {
	HTTP_OUTCOME_OK,
	HTTP_OUTCOME_RETRY,     /* 408, 429, 5xx, a broken connection: again, later */
	HTTP_OUTCOME_TIMEOUT,   /* the same after silence */
	HTTP_OUTCOME_INTEGRITY, /* not what was asked for: nothing of it is believed */
	HTTP_OUTCOME_CHANGED,   /* the origin has another version */
	HTTP_OUTCOME_DENIED,    /* 401, 403, 407 */
	HTTP_OUTCOME_GONE,      /* 404, 410 */
	HTTP_OUTCOME_MOVED,     /* a redirect where none was expected */
	HTTP_OUTCOME_REFUSED,   /* anything else that will not mend itself */
	HTTP_OUTCOME_CUT,       /* stopped by ourselves */
	HTTP_NOUTCOMES
};

struct http_reply {
	int status;    /* 0: no answer yet */
	bool complete; /* the head has ended */
	bool has_range;
	bool bad_range; /* a Content-Range nobody can read */
	struct http_content_range range;
	uint64_t length;      /* HTTP_LENGTH_UNKNOWN: not said */
	uint64_t retry_after; /* seconds; HTTP_LENGTH_UNKNOWN: not said */
	char etag[256];       /* with quotes, "" when there is none */
	char last_modified[64];
	char encoding[32]; /* Content-Encoding other than identity */
	char request_id[128];
	char challenge[128];  /* WWW-Authenticate: who asks for credentials */
	char version_id[256]; /* x-amz-version-id, "" when there is none */
	/*
	 * x-amz-checksum-NAME: VALUE of crc32, crc32c, crc64nvme, sha256 and type as "NAME=VALUE;" one
	 * behind the other, in the order they came; one that does not fit is not there.
	 */
	char checksums[320];
	int64_t date;   /* seconds since 1970, 0: not said */
	char *location; /* borrowed buffer for Location, NULL: not wanted */
	size_t location_cap;
};

/* The version and size that every answer must be of. */
struct http_expect {
	uint64_t size;
	const char *etag;          /* "" when there is none */
	const char *last_modified; /* "" when there is none */
	uint64_t whole_limit;      /* a 200 to a range from 0 is good up to this size */
	bool stored_encoding; /* Content-Encoding is a property of the bytes as they are kept */
};

void http_reply_reset(struct http_reply *r);

/*
 * One line of the head, with or without its line end; a status line starts anew. A line
 * that cannot be understood is as if it were not there. @now: seconds since 1970.
 */
void http_reply_line(struct http_reply *r, const char *p, size_t n, int64_t now);

/*
 * Judges a complete head as the answer to [off, off+len), or to the whole object when @whole.
 * When not OK, @msg says why in lower case.
 */
enum http_outcome http_reply_check(const struct http_reply *r, const struct http_expect *e,
				   uint64_t off, uint64_t len, bool whole, char *msg, size_t cap);

/* Whether it is the whole object that is expected, as the answer of a server without ranges to a range. */
bool http_reply_is_whole(const struct http_reply *r, const struct http_expect *e);

/* "the server answered 401 (Basic realm="x")" */
void http_status_message(const struct http_reply *r, char *msg, size_t cap);
/* The outcome of a status other than 200 and 206. */
enum http_outcome http_status_outcome(int status);

#endif
