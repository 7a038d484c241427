/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An origin to test with: the lying server, loops and options under it. Calls come from the test's threads;
 * its own are the server's and the loops.
 */
#ifndef TESTS_HTTP_BED_H
#define TESTS_HTTP_BED_H

#include <stdbool.h>
#include <stdint.h>

struct http_bed {
	struct httpd *httpd;
	struct vmofs_config *config;
	struct loop_pool *loops;
	struct http_origin *origin;
};

/* @size: of the server's object. @opts: as after -o, may be NULL. */
struct http_bed *http_bed_new(uint64_t size, const char *opts, unsigned nloops);
/* The same, but nothing moves before loop_pool_start(). */
struct http_bed *http_bed_new_still(uint64_t size, const char *opts, unsigned nloops);
void http_bed_free(struct http_bed *b);

/* What the origin says of itself; where @what is not in it, it is printed. */
bool http_bed_dump_has(struct http_bed *b, const char *what);
/* Returns when the loops have done all that they had to do. */
void http_bed_settle(struct http_bed *b);

#endif
