/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lying server's skeleton: content, modes, connections, the log of requests. What is answered is
 * in httpd_answer.c. A thread for each connection; all state under one lock.
 */
#include "lib/httpd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macros.h"
#include "lib/httpd_private.h"

/* -- content ---------------------------------------------------------------------------------- */

static uint64_t word_at(uint64_t i, int version)
{
	uint64_t z = i + UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(version + 1);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint8_t byte_at(uint64_t off, int version)
{
	return (uint8_t)(word_at(off / 8, version) >> (off % 8 * 8));
}

void httpd_fill(uint8_t *buf, uint64_t off, uint64_t len, int version)
{
	uint64_t i = 0;

	for (; i < len && (off + i) % 8; i++)
		buf[i] = byte_at(off + i, version);
	for (; i + 8 <= len; i += 8) {
		uint64_t word = word_at((off + i) / 8, version);

		memcpy(buf + i, &word, 8);
	}
	for (; i < len; i++)
		buf[i] = byte_at(off + i, version);
}

bool httpd_is(const uint8_t *buf, uint64_t off, uint64_t len, int version)
{
	uint8_t want[4096];

	for (uint64_t i = 0; i < len; i += sizeof want) {
		uint64_t n = MIN(len - i, sizeof want);

		httpd_fill(want, off + i, n, version);
		if (memcmp(want, buf + i, n) != 0)
			return false;
	}
	return true;
}

/* -- modes ------------------------------------------------------------------------------------ */

#define NUMBER(name, field)                                  \
	{                                                    \
		name, offsetof(struct httpd_modes, field), 0 \
	}
#define TEXT(name, field)                                        \
	{                                                        \
		name, offsetof(struct httpd_modes, field),       \
			sizeof(((struct httpd_modes *)0)->field) \
	}

static const struct {
	const char *name;
	size_t offset;
	size_t text; /* its size; 0: a number */
} modes[] = {
	NUMBER("wrong-range", wrong_range),
	NUMBER("short-range", short_range),
	NUMBER("wrong-total", wrong_total),
	NUMBER("no-content-range", no_content_range),
	NUMBER("short-body", short_body),
	NUMBER("extra", extra),
	NUMBER("short-chunked", short_chunked),
	NUMBER("extra-chunked", extra_chunked),
	NUMBER("ignore-range", ignore_range),
	NUMBER("gzip", gzip),
	NUMBER("reset", reset),
	NUMBER("stall", stall),
	NUMBER("silent", silent),
	NUMBER("bad-head", bad_head),
	NUMBER("close", close),
	NUMBER("status-count", status_count),
	NUMBER("pause-count", pause_count),
	NUMBER("pause", pause),
	NUMBER("status", status),
	NUMBER("retry-after", retry_after),
	NUMBER("retry-date", retry_date),
	NUMBER("probe-too", probe_too),
	NUMBER("version", version),
	NUMBER("no-ranges", no_ranges),
	NUMBER("no-length", no_length),
	NUMBER("weak-etag", weak_etag),
	NUMBER("no-etag", no_etag),
	NUMBER("no-last-modified", no_last_modified),
	NUMBER("no-206-etag", no_206_etag),
	NUMBER("bad-etag", bad_etag),
	NUMBER("delay", delay),
	NUMBER("drip", drip),
	NUMBER("freeze", freeze),
	NUMBER("gen", gen),
	NUMBER("no-head", no_head),
	NUMBER("no-get-probe", no_get_probe),
	TEXT("basic", basic),
	TEXT("bearer", bearer),
	TEXT("redirect", redirect),
	TEXT("header", header),
	TEXT("error-body", error_body),
};

static int set_one_locked(struct httpd *h, const char *name, size_t len, const char *value)
	REQUIRES(h->lock)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		char *field = (char *)&h->modes + modes[i].offset;

		if (strlen(modes[i].name) != len || memcmp(modes[i].name, name, len) != 0)
			continue;
		if (modes[i].text)
			snprintf(field, modes[i].text, "%s", value);
		else
			*(int *)field = atoi(value);
		return 0;
	}
	return -EINVAL;
}

int httpd_try_set(struct httpd *h, const char *text)
{
	char copy[4096];
	char *save = NULL;
	int r = 0;

	snprintf(copy, sizeof copy, "%s", text);
	mutex_lock(&h->lock);
	for (char *p = strtok_r(copy, "&", &save); p && r == 0; p = strtok_r(NULL, "&", &save)) {
		char *eq = strchr(p, '=');

		r = eq ? set_one_locked(h, p, (size_t)(eq - p), eq + 1) : -EINVAL;
	}
	cond_broadcast(&h->changed);
	mutex_unlock(&h->lock);
	return r;
}

void httpd_set(struct httpd *h, const char *text)
{
	if (httpd_try_set(h, text) == 0)
		return;
	fprintf(stderr, "httpd: unknown mode in '%s'\n", text);
	abort();
}

/* -- waiting ---------------------------------------------------------------------------------- */

void httpd_pause(struct httpd *h, unsigned ms)
{
	uint64_t end = loop_now_ns() + ms * NSEC_PER_MSEC;

	mutex_lock(&h->lock);
	while (!h->ending && loop_now_ns() < end)
		cond_wait_until(&h->changed, &h->lock, end);
	mutex_unlock(&h->lock);
}

void httpd_wait_pause(struct httpd *h, unsigned ms)
{
	uint64_t end = loop_now_ns() + ms * NSEC_PER_MSEC;

	mutex_lock(&h->lock);
	while (!h->ending && h->modes.pause && loop_now_ns() < end)
		cond_wait_until(&h->changed, &h->lock, end);
	mutex_unlock(&h->lock);
}

void httpd_wait_while(struct httpd *h, const int *mode)
{
	mutex_lock(&h->lock);
	while (!h->ending && *mode)
		cond_wait(&h->changed, &h->lock);
	mutex_unlock(&h->lock);
}

/* -- connections ------------------------------------------------------------------------------ */

static void *conn_main(void *arg)
{
	struct httpd_conn *c = arg;

	while (httpd_serve_one(c))
		;
	mutex_lock(&c->httpd->lock);
	close(c->fd);
	c->fd = -1;
	mutex_unlock(&c->httpd->lock);
	return NULL;
}

static void conn_start_locked(struct httpd *h, int fd) REQUIRES(h->lock)
{
	struct httpd_conn *c = calloc(1, sizeof *c);
	int one = 1;

	assert(c);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->httpd = h;
	c->fd = fd;
	c->next = h->conns;
	h->conns = c;
	h->nconns++;
	if (pthread_create(&c->thread, NULL, conn_main, c) != 0)
		abort();
}

static void *accept_main(void *arg)
{
	struct httpd *h = arg;
	bool ending = false;

	while (!ending) {
		int fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC);

		mutex_lock(&h->lock);
		ending = h->ending;
		if (fd >= 0 && !ending)
			conn_start_locked(h, fd);
		else if (fd >= 0)
			close(fd);
		mutex_unlock(&h->lock);
	}
	return NULL;
}

static void listen_on_loopback(struct httpd *h)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof addr;

	h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (h->fd < 0 || bind(h->fd, (struct sockaddr *)&addr, sizeof addr) < 0 ||
	    listen(h->fd, 512) < 0 || getsockname(h->fd, (struct sockaddr *)&addr, &len) < 0) {
		perror("httpd");
		abort();
	}
	h->port = ntohs(addr.sin_port);
}

static void map_file(struct httpd *h, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		perror(path);
		abort();
	}
	h->size = (uint64_t)st.st_size;
	if (h->size > 0)
		h->map = mmap(NULL, h->size, PROT_READ, MAP_PRIVATE, fd, 0);
	assert(h->map != MAP_FAILED);
	close(fd);
}

struct httpd *httpd_new(uint64_t size, const char *file)
{
	struct httpd *h = calloc(1, sizeof *h);

	assert(h);
	h->size = size;
	h->modes.retry_after = -1;
	mutex_init(&h->lock, LOCK_RANK_LOG);
	cond_init(&h->changed);
	if (file)
		map_file(h, file);
	listen_on_loopback(h);
	if (pthread_create(&h->thread, NULL, accept_main, h) != 0)
		abort();
	return h;
}

void httpd_free(struct httpd *h)
{
	mutex_lock(&h->lock);
	h->ending = true;
	cond_broadcast(&h->changed);
	shutdown(h->fd, SHUT_RDWR);
	for (struct httpd_conn *c = h->conns; c; c = c->next)
		if (c->fd >= 0)
			shutdown(c->fd, SHUT_RDWR);
	mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	while (h->conns) {
		struct httpd_conn *c = h->conns;

		h->conns = c->next;
		pthread_join(c->thread, NULL);
		free(c);
	}
	close(h->fd);
	if (h->map)
		munmap(h->map, h->size);
	cond_destroy(&h->changed);
	mutex_destroy(&h->lock);
	free(h->log);
	free(h);
}

/* -- looking ---------------------------------------------------------------------------------- */

void httpd_log_locked(struct httpd *h, const struct httpd_entry *e)
{
	if (h->nlog == h->caplog) {
		h->caplog = h->caplog ? 2 * h->caplog : 64;
		h->log = realloc(h->log, h->caplog * sizeof *h->log);
		assert(h->log);
	}
	h->log[h->nlog++] = *e;
}

unsigned httpd_port(const struct httpd *h)
{
	return h->port;
}

const char *httpd_url(struct httpd *h, const char *path)
{
	char *url = h->urls[h->next_url++ % ARRAY_LEN(h->urls)];

	snprintf(url, sizeof h->urls[0], "http://127.0.0.1:%u%s", h->port, path);
	return url;
}

uint64_t httpd_requests(struct httpd *h)
{
	uint64_t n;

	mutex_lock(&h->lock);
	n = h->nlog;
	mutex_unlock(&h->lock);
	return n;
}

uint64_t httpd_connections(struct httpd *h)
{
	uint64_t n;

	mutex_lock(&h->lock);
	n = h->nconns;
	mutex_unlock(&h->lock);
	return n;
}

uint64_t httpd_body_bytes(struct httpd *h)
{
	uint64_t n;

	mutex_lock(&h->lock);
	n = h->body_bytes;
	mutex_unlock(&h->lock);
	return n;
}

unsigned httpd_busy(struct httpd *h)
{
	unsigned n;

	mutex_lock(&h->lock);
	n = h->busy;
	mutex_unlock(&h->lock);
	return n;
}

void httpd_wait_requests(struct httpd *h, uint64_t n)
{
	mutex_lock(&h->lock);
	while (h->nlog < n)
		cond_wait(&h->changed, &h->lock);
	mutex_unlock(&h->lock);
}

bool httpd_entry(struct httpd *h, size_t i, struct httpd_entry *out)
{
	bool there;

	mutex_lock(&h->lock);
	there = i < h->nlog;
	if (there)
		*out = h->log[i];
	mutex_unlock(&h->lock);
	return there;
}
