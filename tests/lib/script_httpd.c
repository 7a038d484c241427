/* SPDX-License-Identifier: Apache-2.0 */
/* The scripted server: accept, read one request, answer, close. */
#include "lib/script_httpd.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macros.h"

enum { RULES_MAX = 32, REQUESTS_MAX = 256, REQUEST_LEN = 16384 };

struct rule {
	int times;
	char *match;
	char *answer;
};

struct script_httpd {
	int fd;
	char url[40];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct rule rules[RULES_MAX]; /* lock */
	unsigned nrules;              /* lock */
	char *requests[REQUESTS_MAX]; /* lock; an entry never changes */
	unsigned nrequests;           /* lock */
	bool closed;                  /* lock */
	unsigned closes_at;           /* lock; a number of requests, 0: never */
	bool ended;                   /* lock */
};

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

/* The length that the head in @text says its body has. */
static size_t body_length(const char *text)
{
	const char *line = strcasestr(text, "\r\ncontent-length:");

	return line ? strtoul(line + 17, NULL, 10) : 0;
}

/* What there is no room for is taken all the same, so that whoever sends it hears the answer. */
static void skip_rest(int fd, const char *text, size_t len)
{
	const char *end = strstr(text, "\r\n\r\n");
	size_t all = end ? (size_t)(end + 4 - text) + body_length(text) : 0;
	char rest[65536];
	ssize_t n = 1;

	for (; len < all && n > 0; len += (size_t)n)
		n = recv(fd, rest, MIN(sizeof rest, all - len), 0);
}

static char *read_request(int fd)
{
	char *text = calloc(1, REQUEST_LEN);
	size_t len = 0;

	must(text != NULL, "calloc");
	while (len + 1 < REQUEST_LEN) {
		ssize_t n = recv(fd, text + len, REQUEST_LEN - 1 - len, 0);
		const char *end;

		if (n <= 0)
			break;
		len += (size_t)n;
		end = strstr(text, "\r\n\r\n");
		if (end && len >= (size_t)(end + 4 - text) + body_length(text))
			break;
	}
	skip_rest(fd, text, len);
	return text;
}

/* The answer of the script, to be freed. */
static char *answer_locked(struct script_httpd *h, const char *request)
{
	for (unsigned i = 0; i < h->nrules; i++) {
		struct rule *r = &h->rules[i];

		if (r->times == 0 || strncmp(request, r->match, strlen(r->match)) != 0)
			continue;
		if (r->times > 0)
			r->times--;
		return strdup(r->answer);
	}
	return strdup("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

static void serve(struct script_httpd *h, int fd)
{
	char *request = read_request(fd);
	char *answer;

	pthread_mutex_lock(&h->lock);
	must(h->nrequests < REQUESTS_MAX, "too many requests");
	h->requests[h->nrequests++] = request;
	h->closed |= h->nrequests == h->closes_at;
	pthread_cond_broadcast(&h->changed);
	while (h->closed && !h->ended)
		pthread_cond_wait(&h->changed, &h->lock);
	answer = answer_locked(h, request);
	pthread_mutex_unlock(&h->lock);
	must(answer != NULL, "strdup");
	if (answer[0] && send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0)
		perror("send");
	free(answer);
	close(fd);
}

static void *run(void *arg)
{
	struct script_httpd *h = arg;
	int fd;

	while ((fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		serve(h, fd);
	return NULL;
}

struct script_httpd *script_httpd_new(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct script_httpd *h = calloc(1, sizeof *h);
	socklen_t len = sizeof a;

	must(h != NULL, "calloc");
	h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(h->fd >= 0 && bind(h->fd, (struct sockaddr *)&a, len) == 0 && listen(h->fd, 64) == 0 &&
		     getsockname(h->fd, (struct sockaddr *)&a, &len) == 0,
	     "listen");
	snprintf(h->url, sizeof h->url, "http://127.0.0.1:%u", ntohs(a.sin_port));
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
	must(pthread_create(&h->thread, NULL, run, h) == 0, "pthread_create");
	return h;
}

void script_httpd_free(struct script_httpd *h)
{
	pthread_mutex_lock(&h->lock);
	h->ended = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	shutdown(h->fd, SHUT_RDWR);
	pthread_join(h->thread, NULL);
	close(h->fd);
	for (unsigned i = 0; i < h->nrules; i++) {
		free(h->rules[i].match);
		free(h->rules[i].answer);
	}
	for (unsigned i = 0; i < h->nrequests; i++)
		free(h->requests[i]);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->changed);
	free(h);
}

const char *script_httpd_url(const struct script_httpd *h)
{
	return h->url;
}

void script_httpd_say(struct script_httpd *h, int times, const char *match, int status,
		      const char *headers, const char *body)
{
	struct rule r = { .times = times, .match = strdup(match) };

	if (status == 0)
		headers = body = "";
	must(asprintf(
		     &r.answer,
		     "HTTP/1.1 %d Scripted\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n%s",
		     status, strlen(body), headers, body) > 0,
	     "asprintf");
	if (status == 0)
		r.answer[0] = '\0';
	pthread_mutex_lock(&h->lock);
	must(h->nrules < RULES_MAX, "too many rules");
	h->rules[h->nrules++] = r;
	pthread_mutex_unlock(&h->lock);
}

unsigned script_httpd_requests(struct script_httpd *h)
{
	unsigned n;

	pthread_mutex_lock(&h->lock);
	n = h->nrequests;
	pthread_mutex_unlock(&h->lock);
	return n;
}

const char *script_httpd_request(struct script_httpd *h, unsigned i)
{
	const char *text;

	pthread_mutex_lock(&h->lock);
	text = i < h->nrequests ? h->requests[i] : "";
	pthread_mutex_unlock(&h->lock);
	return text;
}

void script_httpd_gate(struct script_httpd *h, bool closed)
{
	pthread_mutex_lock(&h->lock);
	h->closed = closed;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

void script_httpd_gate_at(struct script_httpd *h, unsigned nth)
{
	pthread_mutex_lock(&h->lock);
	h->closes_at = nth ? h->nrequests + nth : 0;
	pthread_mutex_unlock(&h->lock);
}
