/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An S3 server of computed keys: a million of them, or a hundred thousand in one directory, cost it nothing.
 *
 *   s3_listd [-n KEYS] [-d DIRECTORIES] [-s SIZE] [-w MS] [-c LIMIT] [-r EVERY] [-a ADDRESS] [-p PORT]
 *
 * Key i is "dDDDDD/fNNNNNNNN", its directory i / (KEYS / DIRECTORIES); with -d 0 "fNNNNNNNN". Any bucket
 * name is right and no signature is looked at. Each answer waits MS milliseconds; with more than LIMIT
 * requests at work, and for each EVERYth one, the answer is 503 SlowDown. Prints its port and serves until
 * it is ended. GET /_stats gives its counters as JSON.
 *
 * Alone in its file, so that the benchmark can compile it alone. A thread for each connection.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEY_MAX 512
#define DATE    "Tue, 02 Jan 2024 03:04:05 GMT"

static uint64_t nkeys = 1000000, ndirs = 1000, object_size = 4096;
static unsigned delay_ms, slow_limit, slow_every;
static atomic_ulong requests, lists, gets, heads, slowdowns, busy, peak, connections;

struct text {
	char *p;
	size_t len, cap;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	if (t->cap - t->len < 1024) {
		t->cap = t->cap ? 2 * t->cap : 65536;
		t->p = realloc(t->p, t->cap);
		if (!t->p)
			abort();
	}
	va_start(args, format);
	n = vsnprintf(t->p + t->len, t->cap - t->len, format, args);
	va_end(args);
	t->len += (size_t)n;
}

/* -- keys: in order of their numbers and of their bytes alike ---------------------------------- */

static uint64_t per_dir(void)
{
	return ndirs ? (nkeys + ndirs - 1) / ndirs : nkeys;
}

static const char *key_of(uint64_t i, char *key)
{
	if (ndirs)
		snprintf(key, KEY_MAX, "d%05u/f%08u", (unsigned)(i / per_dir()),
			 (unsigned)(i % per_dir()));
	else
		snprintf(key, KEY_MAX, "f%08u", (unsigned)i);
	return key;
}

/* The first key that is not below @text; nkeys: none. */
static uint64_t lower_bound(const char *text)
{
	uint64_t lo = 0, hi = nkeys;
	char key[KEY_MAX];

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (strcmp(key_of(mid, key), text) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static uint8_t byte_of(uint64_t i, uint64_t off)
{
	return (uint8_t)(i * 31 + off * 7 + off / 256);
}

static void etag_of(uint64_t i, char *etag)
{
	snprintf(etag, 40, "%032llx", (unsigned long long)(i + 1) * 0x9e3779b97f4a7c15ULL);
}

/* -- a request --------------------------------------------------------------------------------- */

struct request {
	char method[8], path[2 * KEY_MAX], query[4096], range[64], match[128];
	bool last;
};

struct conn {
	int fd;
	size_t len;
	char buf[16384];
};

static void decode(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		unsigned byte;

		if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1) {
			*to++ = (char)byte;
			p += 2;
		} else {
			*to++ = *p == '+' ? ' ' : *p;
		}
	}
	*to = '\0';
}

/* The decoded value of @name in the query; NULL when it is not there. */
static char *query_value(const struct request *r, const char *name, char *out)
{
	size_t n = strlen(name);

	for (const char *p = r->query; *p; p += strcspn(p, "&"), p += *p == '&') {
		if (strncmp(p, name, n) != 0 || (p[n] != '=' && p[n] != '&' && p[n]))
			continue;
		p += n + (p[n] == '=');
		snprintf(out, KEY_MAX, "%.*s", (int)strcspn(p, "&"), p);
		decode(out);
		return out;
	}
	return NULL;
}

static void parse_header(struct request *r, const char *line)
{
	if (strncasecmp(line, "range:", 6) == 0)
		snprintf(r->range, sizeof r->range, "%s", line + 6 + strspn(line + 6, " "));
	else if (strncasecmp(line, "if-match:", 9) == 0)
		snprintf(r->match, sizeof r->match, "%s", line + 9 + strspn(line + 9, " "));
	else if (strncasecmp(line, "connection: close", 17) == 0)
		r->last = true;
}

static bool parse(struct request *r, char *head)
{
	char *save = NULL, *line = strtok_r(head, "\r\n", &save), *question;

	memset(r, 0, sizeof *r);
	if (!line || sscanf(line, "%7s %1023s", r->method, r->path) != 2)
		return false;
	question = strchr(line, '?');
	if (question)
		sscanf(question + 1, "%4095[^ ]", r->query);
	r->path[strcspn(r->path, "?")] = '\0';
	decode(r->path);
	while ((line = strtok_r(NULL, "\r\n", &save)))
		parse_header(r, line);
	return true;
}

/* The next request of the connection; false when there is none. */
static bool receive(struct conn *c, struct request *r)
{
	char *end;

	for (;;) {
		ssize_t n;

		c->buf[c->len] = '\0';
		end = strstr(c->buf, "\r\n\r\n");
		if (end)
			break;
		n = read(c->fd, c->buf + c->len, sizeof c->buf - 1 - c->len);
		if (n <= 0)
			return false;
		c->len += (size_t)n;
	}
	*end = '\0';
	if (!parse(r, c->buf))
		return false;
	end += 4;
	c->len -= (size_t)(end - c->buf);
	memmove(c->buf, end, c->len);
	return true;
}

static bool send_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* One segment for small answers: head and body go out together. */
static bool reply(struct conn *c, const struct request *r, int status, const char *headers,
		  const struct text *body)
{
	struct text all = { 0 };
	time_t seconds = time(NULL);
	struct tm tm;
	char now[64];
	bool ok;

	strftime(now, sizeof now, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&seconds, &tm));
	add(&all, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Length: %zu\r\n", status,
	    status < 300 ? "OK" : "Error", now, body->len);
	add(&all, "x-amz-request-id: REQ%016lX\r\n%s\r\n", atomic_load(&requests), headers);
	if (strcmp(r->method, "HEAD") != 0) {
		while (all.cap - all.len < body->len + 1)
			all.p = realloc(all.p, all.cap *= 2);
		if (body->len)
			memcpy(all.p + all.len, body->p, body->len);
		all.len += body->len;
	}
	ok = send_all(c->fd, all.p, all.len);
	free(all.p);
	return ok && !r->last;
}

static bool reply_error(struct conn *c, const struct request *r, int status, const char *code)
{
	struct text body = { 0 };
	bool ok;

	add(&body,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>Says the "
	    "test's server.</Message><RequestId>REQ%016lX</RequestId></Error>",
	    code, atomic_load(&requests));
	ok = reply(c, r, status, "Content-Type: application/xml\r\n", &body);
	free(body.p);
	return ok;
}

/* -- listings ---------------------------------------------------------------------------------- */

struct listing {
	char prefix[KEY_MAX], after[KEY_MAX], last[KEY_MAX];
	bool delimiter, truncated;
	unsigned max, n;
	struct text entries;
};

static void list_key(struct listing *l, uint64_t i, const char *key)
{
	char etag[40];

	etag_of(i, etag);
	add(&l->entries,
	    "<Contents><Key>%s</Key><LastModified>2024-01-02T03:04:05.000Z</LastModified>"
	    "<ETag>&quot;%s&quot;</ETag><Size>%llu</Size><StorageClass>STANDARD</StorageClass></Contents>",
	    key, etag, (unsigned long long)object_size);
	snprintf(l->last, sizeof l->last, "%s", key);
}

/* The entry at key @i; returns the number of the next key to look at. */
static uint64_t list_at(struct listing *l, uint64_t i, char *key)
{
	char *slash = l->delimiter ? strchr(key + strlen(l->prefix), '/') : NULL;

	if (!slash) {
		list_key(l, i, key);
		l->n++;
		return i + 1;
	}
	slash[1] = '\0';
	if (strcmp(key, l->after) > 0) {
		add(&l->entries, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", key);
		snprintf(l->last, sizeof l->last, "%s", key);
		l->n++;
	}
	return (i / per_dir() + 1) * per_dir();
}

static void list_all(struct listing *l)
{
	uint64_t i = lower_bound(l->prefix), from = lower_bound(l->after);
	char key[KEY_MAX];

	if (from > i)
		i = from;
	if (i < nkeys && *l->after && strcmp(key_of(i, key), l->after) == 0)
		i++;
	for (; i < nkeys && strncmp(key_of(i, key), l->prefix, strlen(l->prefix)) == 0;
	     i = list_at(l, i, key))
		if (l->n == l->max) {
			l->truncated = true;
			break;
		}
}

static bool reply_list(struct conn *c, const struct request *r)
{
	struct listing l = { .max = 1000 };
	struct text body = { 0 };
	char value[KEY_MAX];
	bool v2 = query_value(r, "list-type", value), ok;

	atomic_fetch_add(&lists, 1);
	query_value(r, "prefix", l.prefix);
	l.delimiter = query_value(r, "delimiter", value) && *value;
	if (!query_value(r, "continuation-token", l.after))
		query_value(r, v2 ? "start-after" : "marker", l.after);
	if (query_value(r, "max-keys", value) && atoi(value) < 1000)
		l.max = (unsigned)atoi(value);
	list_all(&l);
	add(&body,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
	    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><Prefix>%s</Prefix>"
	    "<MaxKeys>%u</MaxKeys><IsTruncated>%s</IsTruncated>",
	    l.prefix, l.max, l.truncated ? "true" : "false");
	if (query_value(r, "encoding-type", value))
		add(&body, "<EncodingType>%s</EncodingType>", value);
	if (l.truncated)
		add(&body,
		    v2 ? "<NextContinuationToken>%s</NextContinuationToken>"
		       : "<NextMarker>%s</NextMarker>",
		    l.last);
	if (v2)
		add(&body, "<KeyCount>%u</KeyCount>", l.n);
	while (body.cap - body.len < l.entries.len + 1)
		body.p = realloc(body.p, body.cap *= 2);
	if (l.n)
		memcpy(body.p + body.len, l.entries.p, l.entries.len);
	body.len += l.entries.len;
	add(&body, "</ListBucketResult>");
	ok = reply(c, r, 200, "Content-Type: application/xml\r\n", &body);
	free(l.entries.p);
	free(body.p);
	return ok;
}

/* -- objects ----------------------------------------------------------------------------------- */

static bool reply_object(struct conn *c, const struct request *r, const char *key)
{
	uint64_t i = lower_bound(key), from = 0, to = object_size;
	unsigned long long a, b;
	char there[KEY_MAX], etag[40], headers[512];
	struct text body = { 0 };
	int fields, status = 200;
	bool ok;

	if (i >= nkeys || strcmp(key_of(i, there), key) != 0)
		return reply_error(c, r, 404, "NoSuchKey");
	etag_of(i, etag);
	if (*r->match && !strstr(r->match, etag))
		return reply_error(c, r, 412, "PreconditionFailed");
	fields = sscanf(r->range, "bytes=%llu-%llu", &a, &b);
	if (fields >= 1 && a >= object_size)
		return reply_error(c, r, 416, "InvalidRange");
	if (fields >= 1) {
		status = 206;
		from = a;
		to = fields == 2 && b < object_size ? b + 1 : object_size;
	}
	snprintf(headers, sizeof headers,
		 "ETag: \"%s\"\r\nLast-Modified: %s\r\nAccept-Ranges: bytes\r\n"
		 "Content-Type: application/octet-stream\r\n",
		 etag, DATE);
	if (status == 206)
		snprintf(headers + strlen(headers), 128, "Content-Range: bytes %llu-%llu/%llu\r\n",
			 (unsigned long long)from, (unsigned long long)to - 1,
			 (unsigned long long)object_size);
	body.len = to - from;
	body.p = malloc(body.len + 1);
	for (uint64_t off = from; body.p && off < to; off++)
		body.p[off - from] = (char)byte_of(i, off);
	ok = body.p && reply(c, r, status, headers, &body);
	free(body.p);
	return ok;
}

static bool reply_stats(struct conn *c, const struct request *r)
{
	struct text body = { 0 };
	bool ok;

	add(&body,
	    "{\"requests\": %lu, \"lists\": %lu, \"gets\": %lu, \"heads\": %lu, \"slowdowns\": %lu, "
	    "\"peak\": %lu, \"connections\": %lu}\n",
	    atomic_load(&requests), atomic_load(&lists), atomic_load(&gets), atomic_load(&heads),
	    atomic_load(&slowdowns), atomic_load(&peak), atomic_load(&connections));
	ok = reply(c, r, 200, "Content-Type: application/json\r\n", &body);
	free(body.p);
	return ok;
}

static bool answer(struct conn *c, const struct request *r, unsigned long n, unsigned long now)
{
	const char *key = strchr(r->path + 1, '/');
	char value[KEY_MAX];
	struct text empty = { 0 };

	if (delay_ms)
		nanosleep(&(struct timespec){ delay_ms / 1000, delay_ms % 1000 * 1000000L }, NULL);
	if ((slow_limit && now > slow_limit) || (slow_every && n % slow_every == 0)) {
		atomic_fetch_add(&slowdowns, 1);
		return reply_error(c, r, 503, "SlowDown");
	}
	if (strcmp(r->method, "HEAD") == 0)
		atomic_fetch_add(&heads, 1);
	else if (strcmp(r->method, "GET") != 0)
		return reply_error(c, r, 405, "MethodNotAllowed");
	if (key && key[1]) {
		atomic_fetch_add(&gets, r->method[0] == 'G');
		return reply_object(c, r, key + 1);
	}
	if (r->method[0] == 'H')
		return reply(c, r, 200, "x-amz-bucket-region: us-east-1\r\n", &empty);
	if (query_value(r, "location", value) || query_value(r, "versioning", value))
		return reply_error(c, r, 501, "NotImplemented");
	return reply_list(c, r);
}

static void *serve(void *arg)
{
	struct conn *c = arg;
	struct request r;
	bool more = true;

	while (more && receive(c, &r)) {
		unsigned long n, now, most;

		if (strcmp(r.path, "/_stats") == 0) {
			more = reply_stats(c, &r);
			continue;
		}
		n = atomic_fetch_add(&requests, 1) + 1;
		now = atomic_fetch_add(&busy, 1) + 1;
		most = atomic_load(&peak);
		while (now > most && !atomic_compare_exchange_weak(&peak, &most, now))
			;
		more = answer(c, &r, n, now);
		atomic_fetch_sub(&busy, 1);
	}
	close(c->fd);
	free(c);
	return NULL;
}

/* -- start ------------------------------------------------------------------------------------- */

static int listen_at(const char *address, unsigned port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	socklen_t len = sizeof addr;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	inet_pton(AF_INET, address, &addr.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 4096) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0) {
		perror("s3_listd");
		exit(1);
	}
	printf("%u\n", ntohs(addr.sin_port));
	fflush(stdout);
	return fd;
}

static void start_conn(int fd)
{
	struct conn *c = calloc(1, sizeof *c);
	pthread_attr_t attr;
	pthread_t thread;
	int one = 1;

	if (!c)
		abort();
	atomic_fetch_add(&connections, 1);
	c->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, serve, c) != 0) {
		close(fd);
		free(c);
	}
	pthread_attr_destroy(&attr);
}

int main(int argc, char **argv)
{
	const char *address = "127.0.0.1";
	unsigned port = 0;
	int opt, fd;

	while ((opt = getopt(argc, argv, "n:d:s:w:c:r:a:p:")) != -1) {
		switch (opt) {
		case 'n':
			nkeys = strtoull(optarg, NULL, 10);
			break;
		case 'd':
			ndirs = strtoull(optarg, NULL, 10);
			break;
		case 's':
			object_size = strtoull(optarg, NULL, 10);
			break;
		case 'w':
			delay_ms = (unsigned)atoi(optarg);
			break;
		case 'c':
			slow_limit = (unsigned)atoi(optarg);
			break;
		case 'r':
			slow_every = (unsigned)atoi(optarg);
			break;
		case 'a':
			address = optarg;
			break;
		case 'p':
			port = (unsigned)atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	fd = listen_at(address, port);
	for (;;) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (client >= 0)
			start_conn(client);
	}
}
