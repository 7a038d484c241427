/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsers of single HTTP header values. Pure functions on (pointer, length) of bytes from outside:
 * 0 or -EINVAL, no allocation, no locks, any thread.
 */
#ifndef NET_HTTP_HEADER_H
#define NET_HTTP_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_LENGTH_UNKNOWN UINT64_MAX

struct http_content_range {
	bool unsatisfied; /* "bytes" and an asterisk: only the total is known */
	uint64_t first;
	uint64_t last;  /* inclusive */
	uint64_t total; /* HTTP_LENGTH_UNKNOWN when the server wrote an asterisk */
};

/* "HTTP/1.1 206 Partial Content" -> 206 */
int http_parse_status_line(const char *p, size_t n, int *status);
int http_parse_length(const char *p, size_t n, uint64_t *out);
int http_parse_content_range(const char *p, size_t n, struct http_content_range *out);
/* The three date formats of RFC 9110, as seconds since 1970. */
int http_parse_date(const char *p, size_t n, int64_t *out);
/* Seconds, or a date that is compared with @now; in the past: 0. */
int http_parse_retry_after(const char *p, size_t n, int64_t now, uint64_t *seconds);
/* A well-formed entity tag; W/"x" is weak. The text itself, quotes included, is the validator. */
int http_parse_etag(const char *p, size_t n, bool *weak);

#endif
