/* SPDX-License-Identifier: Apache-2.0 */
/* Calls on a loop and blocking ones, against a server that misbehaves when told to. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "lib/httpd.h"
#include "net/http_call.h"

struct ask {
	struct http_call call;
	struct http_settings *settings;
	struct http_client *client;
	struct loop_task start;
	struct loop_task cancel;
	struct mutex lock;
	struct cond changed;
	bool done; /* lock: lock */
	int started;
	struct http_result result;
	char msg[512];
	char request_id[128];
	char headers[4096];
	char data[8192];
	size_t len;
	size_t stop_after;
};

static void on_header(struct http_call *c, const char *name, const char *value, size_t n)
{
	struct ask *a = container_of(c, struct ask, call);
	size_t have = strlen(a->headers);

	snprintf(a->headers + have, sizeof a->headers - have, "%s=%.*s|", name, (int)n, value);
}

static int on_data(struct http_call *c, const void *buf, size_t n)
{
	struct ask *a = container_of(c, struct ask, call);
	size_t take = MIN(n, sizeof a->data - a->len);

	memcpy(a->data + a->len, buf, take);
	a->len += take;
	return a->stop_after && a->len >= a->stop_after;
}

static void on_done(struct http_call *c, const struct http_result *result)
{
	struct ask *a = container_of(c, struct ask, call);

	assert_null(c->easy);
	a->result = *result;
	snprintf(a->msg, sizeof a->msg, "%s", result->msg);
	snprintf(a->request_id, sizeof a->request_id, "%s", result->request_id);
	mutex_lock(&a->lock);
	a->done = true;
	cond_signal(&a->changed);
	mutex_unlock(&a->lock);
}

static const struct http_call_ops ops = { on_header, on_data, on_done };

static void run_start(struct loop_task *t, struct loop *l UNUSED)
{
	struct ask *a = container_of(t, struct ask, start);

	a->started = http_call_start(a->client, &a->call, a->settings);
}

static void run_cancel(struct loop_task *t, struct loop *l UNUSED)
{
	struct ask *a = container_of(t, struct ask, cancel);

	http_call_cancel(a->client, &a->call);
	mutex_lock(&a->lock);
	a->done = true;
	cond_signal(&a->changed);
	mutex_unlock(&a->lock);
}

static void ask_wait(struct ask *a)
{
	mutex_lock(&a->lock);
	while (!a->done)
		cond_wait(&a->changed, &a->lock);
	mutex_unlock(&a->lock);
}

/* One server, one loop, one call at a time. */
struct bed {
	struct httpd *httpd;
	struct loop_pool *loops;
	struct http_net *net;
	struct ask a;
};

static struct http_settings *settings_new(uint64_t stall_ms)
{
	static const char *const headers[] = { "X-Secret: of the settings" };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct http_settings_init init = { .userpwd = "joe:secret",
					   .headers = headers,
					   .nheaders = 1,
					   .connect_timeout_ns = 5 * NSEC_PER_SEC,
					   .stall_timeout_ns = stall_ms * NSEC_PER_MSEC };
	struct http_settings *s = http_settings_new(&init, &err);

	assert_non_null(s);
	return s;
}

static void ask_prepare(struct bed *b, const char *method, const char *path)
{
	struct ask *a = &b->a;

	http_settings_put(a->settings);
	a->done = false;
	a->len = a->stop_after = 0;
	a->headers[0] = '\0';
	a->settings = settings_new(20000);
	a->client = http_net_client(b->net, loop_pool_nth(b->loops, 0));
	a->start.run = run_start;
	a->cancel.run = run_cancel;
	a->call = (struct http_call){ .ops = &ops,
				      .method = method,
				      .url = httpd_url(b->httpd, path),
				      .max_body = sizeof a->data };
	vmofs_list_init(&a->start.link);
	vmofs_list_init(&a->cancel.link);
}

static struct bed *bed_new(uint64_t size)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct bed *b = calloc(1, sizeof *b);

	assert_non_null(b);
	b->httpd = httpd_new(size, NULL);
	b->loops = loop_pool_new(1, &err);
	assert_non_null(b->loops);
	assert_int_equal(loop_pool_start(b->loops, &err), 0);
	b->net = http_net_of(b->loops);
	assert_non_null(b->net);
	mutex_init(&b->a.lock, LOCK_RANK_MOUNT);
	cond_init(&b->a.changed);
	return b;
}

static void bed_free(struct bed *b)
{
	loop_pool_stop(b->loops);
	loop_pool_free(b->loops);
	http_settings_put(b->a.settings);
	httpd_free(b->httpd);
	cond_destroy(&b->a.changed);
	mutex_destroy(&b->a.lock);
	free(b);
}

/* Both kinds must do the same. */
static void run_async(struct bed *b)
{
	loop_post(loop_pool_nth(b->loops, 0), &b->a.start);
	ask_wait(&b->a);
	assert_int_equal(b->a.started, 0);
}

static void run_blocking(struct bed *b)
{
	assert_int_equal(http_call_wait(&b->a.call, b->a.settings, NULL), 0);
	assert_true(b->a.done);
}

static void (*const kinds[])(struct bed *b) = { run_async, run_blocking };

static void test_get(void **state UNUSED)
{
	struct bed *b = bed_new(5000);

	httpd_set(b->httpd, "header=X-Amz-Thing: A b");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		static const char *const lines[] = { "X-Secret: of the call" };
		struct httpd_entry e;

		ask_prepare(b, "GET", "/thing?a=b");
		b->a.call.headers = lines;
		b->a.call.nheaders = 1;
		kinds[i](b);
		assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_OK);
		assert_int_equal(b->a.result.status, 200);
		assert_int_equal(b->a.len, 5000);
		assert_true(httpd_is((uint8_t *)b->a.data, 0, 5000, 0));
		assert_string_equal(b->a.request_id, "req-200");
		assert_string_equal(b->a.call.reply.etag, "\"v0\"");
		assert_non_null(strstr(b->a.headers, "x-amz-thing=A b|"));
		assert_non_null(strstr(b->a.headers, "content-length=5000|"));
		assert_true(httpd_entry(b->httpd, i, &e));
		assert_string_equal(e.method, "GET");
		assert_string_equal(e.target, "/thing?a=b");
		assert_string_equal(e.secret, "of the call");
		assert_string_equal(e.authorization, "");
		assert_string_equal(e.accept_encoding, "identity");
	}
	bed_free(b);
}

static void test_trusted(void **state UNUSED)
{
	struct bed *b = bed_new(10);

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct httpd_entry e;

		ask_prepare(b, "GET", "/");
		b->a.call.trusted = true;
		kinds[i](b);
		assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_OK);
		assert_true(httpd_entry(b->httpd, i, &e));
		assert_string_equal(e.secret, "of the settings");
		assert_string_equal(e.authorization, "Basic am9lOnNlY3JldA==");
	}
	bed_free(b);
}

static void test_methods(void **state UNUSED)
{
	static const struct {
		const char *method, *body, *type;
	} v[] = {
		{ "HEAD", NULL, "" }, { "PUT", "", "" },      { "PUT", "some bytes", "" },
		{ "POST", "x", "" },  { "DELETE", NULL, "" }, { "POST", "typed", "text/xml" },
	};
	struct bed *b = bed_new(5000);
	size_t n = 0;

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		for (size_t i = 0; i < ARRAY_LEN(v); i++) {
			static const char *const lines[] = { "Content-Type: text/xml" };
			struct httpd_entry e;

			ask_prepare(b, v[i].method, "/");
			b->a.call.body = v[i].body;
			b->a.call.body_len = v[i].body ? strlen(v[i].body) : 0;
			b->a.call.headers = lines;
			b->a.call.nheaders = v[i].type[0] ? 1 : 0;
			kinds[k](b);
			assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_OK);
			assert_int_equal(b->a.len, strcmp(v[i].method, "HEAD") == 0 ? 0 : 5000);
			assert_int_equal(b->a.call.reply.length, 5000);
			assert_true(httpd_entry(b->httpd, n++, &e));
			assert_string_equal(e.method, v[i].method);
			assert_string_equal(e.body, v[i].body ? v[i].body : "");
			assert_string_equal(e.content_type, v[i].type);
		}
	}
	/* All of a loop's go over one connection; a blocking one has its own each. */
	assert_int_equal(httpd_connections(b->httpd), 1 + ARRAY_LEN(v));
	bed_free(b);
}

static void test_outcomes(void **state UNUSED)
{
	static const struct {
		const char *modes;
		enum http_outcome outcome;
		int status;
		const char *msg;
	} v[] = {
		{ "status-count=1&status=404", HTTP_OUTCOME_GONE, 404, "the server answered 404" },
		{ "status-count=1&status=403", HTTP_OUTCOME_DENIED, 403,
		  "the server answered 403" },
		{ "status-count=1&status=400", HTTP_OUTCOME_REFUSED, 400,
		  "the server answered 400" },
		{ "status-count=1&status=503&retry-after=7", HTTP_OUTCOME_RETRY, 503,
		  "the server answered 503" },
		{ "close=-1", HTTP_OUTCOME_RETRY, 0, "" },
		{ "close=0&reset=1", HTTP_OUTCOME_RETRY, 200, "" },
	};
	struct bed *b = bed_new(5000);

	httpd_set(b->httpd, "error-body=<Code>Told</Code>");
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		for (size_t i = 0; i < ARRAY_LEN(v); i++) {
			httpd_set(b->httpd, v[i].modes);
			ask_prepare(b, "GET", "/secret-path?X-Amz-Signature=abcdef");
			kinds[k](b);
			assert_int_equal(b->a.result.outcome, v[i].outcome);
			assert_int_equal(b->a.result.status, v[i].status);
			assert_non_null(strstr(b->a.msg, v[i].msg));
			assert_null(strstr(b->a.msg, "abcdef"));
			if (v[i].status >= 400)
				assert_memory_equal(b->a.data, "<Code>Told</Code>", b->a.len);
			if (v[i].status == 503)
				assert_int_equal(b->a.result.retry_after, 7);
		}
	}
	bed_free(b);
}

static void test_bounds(void **state UNUSED)
{
	struct bed *b = bed_new(100000);

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		ask_prepare(b, "GET", "/");
		b->a.call.max_body = 5000;
		kinds[k](b);
		assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_INTEGRITY);
		assert_true(b->a.len <= 5000);
		ask_prepare(b, "GET", "/");
		b->a.call.max_body = 100000;
		kinds[k](b);
		assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_OK);
		ask_prepare(b, "GET", "/");
		b->a.call.max_body = 100000;
		b->a.stop_after = 1;
		kinds[k](b);
		assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_CUT);
		/* A long refusal stays a refusal. */
		httpd_set(b->httpd, "status-count=1&status=404&error-body=0123456789");
		ask_prepare(b, "GET", "/");
		b->a.call.max_body = 5;
		kinds[k](b);
		assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_GONE);
	}
	bed_free(b);
}

static void test_time(void **state UNUSED)
{
	struct bed *b = bed_new(5000);

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		httpd_set(b->httpd, "silent=1");
		ask_prepare(b, "GET", "/");
		b->a.call.timeout_ns = 200 * NSEC_PER_MSEC;
		kinds[k](b);
		assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_TIMEOUT);
		assert_string_equal(b->a.msg, "no complete answer in time");
		assert_true(b->a.result.elapsed_ns >= 200 * NSEC_PER_MSEC);
		ask_prepare(b, "GET", "/");
		http_settings_put(b->a.settings);
		b->a.settings = settings_new(150);
		kinds[k](b);
		assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_TIMEOUT);
		assert_string_equal(b->a.msg, "the server has gone silent");
		httpd_set(b->httpd, "silent=0");
		ask_prepare(b, "GET", "/");
		kinds[k](b);
		assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_OK);
	}
	bed_free(b);
}

static void test_cancel(void **state UNUSED)
{
	atomic_bool cancel = true;
	struct bed *b = bed_new(5000);

	httpd_set(b->httpd, "silent=1");
	ask_prepare(b, "GET", "/");
	loop_post(loop_pool_nth(b->loops, 0), &b->a.start);
	httpd_wait_requests(b->httpd, 1);
	loop_post(loop_pool_nth(b->loops, 0), &b->a.cancel);
	ask_wait(&b->a);
	assert_int_equal(b->a.result.status, 0);

	ask_prepare(b, "GET", "/");
	assert_int_equal(http_call_wait(&b->a.call, b->a.settings, &cancel), -ECANCELED);
	assert_false(b->a.done);
	httpd_set(b->httpd, "silent=0");
	bed_free(b);
}

/* A port on which connecting takes for ever: nobody accepts, and its queue is full. */
struct full_port {
	int listener;
	int queued[2];
	char url[64];
};

static void full_port_open(struct full_port *p)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;

	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(p->listener, 0), 0);
	assert_int_equal(getsockname(p->listener, (struct sockaddr *)&at, &len), 0);
	for (size_t i = 0; i < ARRAY_LEN(p->queued); i++) {
		p->queued[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(p->queued[i], (struct sockaddr *)&at, sizeof at);
	}
	snprintf(p->url, sizeof p->url, "http://127.0.0.1:%u/", ntohs(at.sin_port));
}

static void full_port_close(struct full_port *p)
{
	for (size_t i = 0; i < ARRAY_LEN(p->queued); i++)
		close(p->queued[i]);
	close(p->listener);
}

static void a_turn(void *arg UNUSED, struct loop *l UNUSED)
{
}

/* libcurl closes a socket that is still connecting without telling; its number comes back. */
static void test_cancel_while_connecting(void **state UNUSED)
{
	struct bed *b = bed_new(5000);
	struct loop *l = loop_pool_nth(b->loops, 0);
	struct full_port full;

	full_port_open(&full);
	ask_prepare(b, "GET", "/");
	b->a.call.url = full.url;
	loop_post(l, &b->a.start);
	/* The request is sent at the end of the turn that starts it. */
	for (unsigned i = 0; i < 3; i++)
		loop_call(l, a_turn, NULL);
	loop_post(l, &b->a.cancel);
	ask_wait(&b->a);

	ask_prepare(b, "GET", "/");
	loop_post(l, &b->a.start);
	ask_wait(&b->a);
	assert_int_equal(b->a.started, 0);
	assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_OK);
	full_port_close(&full);
	bed_free(b);
}

static void test_token_that_is_not_there(void **state UNUSED)
{
	struct http_settings_init init = { .token_file = "/nonexistent/token",
					   .connect_timeout_ns = NSEC_PER_SEC,
					   .stall_timeout_ns = NSEC_PER_SEC };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct bed *b = bed_new(10);

	ask_prepare(b, "GET", "/");
	http_settings_put(b->a.settings);
	b->a.settings = http_settings_new(&init, &err);
	b->a.call.trusted = true;
	assert_int_equal(http_call_wait(&b->a.call, b->a.settings, NULL), 0);
	assert_int_equal(b->a.result.outcome, HTTP_OUTCOME_REFUSED);
	assert_non_null(strstr(b->a.msg, "/nonexistent/token"));
	assert_int_equal(httpd_requests(b->httpd), 0);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_trusted),
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_cancel_while_connecting),
		cmocka_unit_test(test_token_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
