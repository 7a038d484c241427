/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the lying server, shared by httpd.c and httpd_answer.c. */
#ifndef TESTS_LIB_HTTPD_PRIVATE_H
#define TESTS_LIB_HTTPD_PRIVATE_H

#include <pthread.h>

#include "base/loop.h"
#include "base/sync.h"
#include "lib/httpd.h"

struct httpd_modes {
	/* so many requests are hit, -1: all */
	int wrong_range, short_range, wrong_total, no_content_range;
	int short_body, extra, short_chunked, extra_chunked;
	int ignore_range, gzip, reset, stall, silent, bad_head, close;
	int status_count, pause_count;
	/* values */
	int status, pause, retry_after, retry_date, probe_too, version;
	int no_ranges, no_length, weak_etag, no_etag, no_last_modified, no_206_etag, bad_etag;
	int delay, drip, freeze, gen, no_head, no_get_probe;
	char basic[128];
	char bearer[128];
	char redirect[512];
	char header[512];
	char error_body[1024];
};

struct httpd_conn {
	struct httpd *httpd;
	struct httpd_conn *next;
	pthread_t thread;
	int fd; /* lock: the server's; -1: closed */
	char buf[16384];
	size_t len;
};

struct httpd {
	uint64_t size;
	uint8_t *map; /* the file, or NULL: generated */
	int fd;
	unsigned port;
	pthread_t thread;
	char urls[8][1024];
	unsigned next_url;

	struct mutex lock;
	struct cond changed;
	/* lock: lock, all below */
	bool ending;
	struct httpd_modes modes;
	struct httpd_conn *conns;
	uint64_t nconns;
	uint64_t body_bytes;
	unsigned busy;
	struct httpd_entry *log;
	size_t nlog;
	size_t caplog;
};

/* One request of a connection; false: it is to be closed. */
bool httpd_serve_one(struct httpd_conn *c);
void httpd_log_locked(struct httpd *h, const struct httpd_entry *e) REQUIRES(h->lock);
/* Both end early when the server ends. */
void httpd_pause(struct httpd *h, unsigned ms) EXCLUDES(h->lock);
/* At most @ms, and no longer than the mode `pause` is set. */
void httpd_wait_pause(struct httpd *h, unsigned ms);
void httpd_wait_while(struct httpd *h, const int *mode) EXCLUDES(h->lock);

#endif
