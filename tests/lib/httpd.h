/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP server that can lie: it serves generated content (or a file) with ranges and, when told so,
 * breaks each rule that a client might rely on. One thread per connection, on the loopback.
 *
 * Paths
 *   /anything          the object
 *   /redirect...       302 to the mode `redirect` (default /object)
 *   /endless?n=N       302 to /endless?n=N+1      /circle-a and /circle-b: 302 to each other
 *   /expiring          302 to /signed?gen=G of the mode `gen`; /signed with another G answers 403
 *   /_ctl              PUT /_ctl?MODE=VALUE&... changes modes, GET gives counters as JSON
 *
 * Modes (all numbers, unless they are said to be text; 0 switches off)
 *   Faults hit so many of the next requests for data (-1: all); the probe of the first byte and HEAD
 *   are spared unless probe-too=1:
 *     wrong-range short-range wrong-total no-content-range   in Content-Range
 *     short-body extra short-chunked extra-chunked           in the body
 *     ignore-range gzip reset stall silent bad-head close
 *     pause-count, with pause=MS: so long nothing comes in the middle of the body (0 ends it)
 *     status-count, with status=CODE, retry-after=S, retry-date=S (as a date S seconds ahead)
 *   Properties of the server and the object, while they are set:
 *     version (contents and validators change with it)  no-ranges no-length
 *     weak-etag no-etag no-last-modified no-206-etag bad-etag
 *     delay=MS drip=BYTES (every 5 ms) freeze gen  no-head no-get-probe
 *     basic=USER:PASSWORD bearer=TOKEN (text; 401 without)  redirect=TEXT
 *     header=NAME: VALUE (text; in every answer)  error-body=TEXT (of every status of 400 and more)
 */
#ifndef TESTS_LIB_HTTPD_H
#define TESTS_LIB_HTTPD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct httpd;

/* What one request looked like. */
struct httpd_entry {
	char method[8];
	char target[512];
	bool has_range;
	uint64_t first;
	uint64_t last;
	int status; /* answered; 0: none */
	char authorization[256];
	char secret[64]; /* X-Secret */
	char if_match[256];
	char if_unmodified[64];
	char accept_encoding[64];
	char user_agent[64];
	char content_type[64];
	uint64_t body_len; /* Content-Length */
	char body[256];    /* its beginning */
};

/* @file NULL: generated content of @size bytes. Ends the test when it cannot start. */
struct httpd *httpd_new(uint64_t size, const char *file);
void httpd_free(struct httpd *h);
unsigned httpd_port(const struct httpd *h);
/* "http://127.0.0.1:PORT" and @path, in one of a few static buffers of the server's. */
const char *httpd_url(struct httpd *h, const char *path);

/* "wrong-range=2&delay=10"; aborts on an unknown mode. */
void httpd_set(struct httpd *h, const char *modes);
int httpd_try_set(struct httpd *h, const char *modes);

uint64_t httpd_requests(struct httpd *h);
uint64_t httpd_connections(struct httpd *h);
uint64_t httpd_body_bytes(struct httpd *h);
/* Requests that are being answered just now. */
unsigned httpd_busy(struct httpd *h);
/* Blocks until @n requests have arrived since the start. */
void httpd_wait_requests(struct httpd *h, uint64_t n);
/* The @i-th request; false: not that many. */
bool httpd_entry(struct httpd *h, size_t i, struct httpd_entry *out);

/* The content of [off, off+len) in @version. */
void httpd_fill(uint8_t *buf, uint64_t off, uint64_t len, int version);
/* Whether @buf is that. */
bool httpd_is(const uint8_t *buf, uint64_t off, uint64_t len, int version);

#endif
