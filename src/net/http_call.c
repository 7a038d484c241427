/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls: requests of any method whose whole answer goes to their owner. Each takes an easy handle, sets
 * it up from nothing and gives it back; connections are those of the client's multi handle, so a listing
 * and the ranged GETs around it share them. What is believed of an answer is its owner's to decide.
 * A loop's thread, or (http_call_wait) one that may block.
 */
#include "net/http_call.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/macros.h"
#include "net/http_multi.h"

#define IDLE_CALLS       8
#define CALL_BUFFER      (64L << 10)
#define SEND_BUFFER      (256L << 10)
#define HEADER_NAME_MAX  128
#define POLL_INTERVAL_MS 50L
/* A body that is read piece by piece and is not shorter waits until the server wants it: it may refuse before. */
#define EXPECT_MIN MIB(1)

struct call_easy {
	struct http_transfer transfer;
	struct vmofs_list link; /* the client's idle calls */
	CURL *curl;
	struct http_client *client;     /* NULL: a blocking one */
	struct http_settings *settings; /* counted */
	struct http_call *call;         /* NULL: idle */
	struct curl_slist *headers;     /* owned */
	const atomic_bool *cancel;      /* of a blocking one, may be NULL */
	enum http_outcome verdict;      /* ours, where the transfer was ended by us; else OK */
	int64_t head_time;
	char request_id[128];
	char msg[512];
	char curl_msg[CURL_ERROR_SIZE];
};

/* -- callbacks of libcurl --------------------------------------------------------------------- */

/* Gives a header of a final answer's head to the owner, its name in lower case. */
static void call_tell_header(struct http_call *c, const char *p, size_t n)
{
	const char *colon = memchr(p, ':', n);
	size_t len = colon ? (size_t)(colon - p) : 0;
	char name[HEADER_NAME_MAX];

	if (len == 0 || len >= sizeof name)
		return;
	for (size_t i = 0; i < len; i++)
		name[i] = (char)tolower((unsigned char)p[i]);
	name[len] = '\0';
	n -= len + 1;
	for (p = colon + 1; n > 0 && (*p == ' ' || *p == '\t'); n--)
		p++;
	while (n > 0 && strchr(" \t\r\n", p[n - 1]))
		n--;
	c->ops->header(c, name, p, n);
}

static size_t call_header(char *p, size_t size, size_t n, void *arg)
{
	struct call_easy *e = arg;
	struct http_call *c = e->call;
	bool status_line = n >= 5 && memcmp(p, "HTTP/", 5) == 0;

	if (status_line)
		e->head_time = time(NULL);
	c->active_ns = loop_now_ns();
	http_reply_line(&c->reply, p, size * n, e->head_time);
	if (c->ops->header && !status_line && c->reply.status >= 200 && !c->reply.complete)
		call_tell_header(c, p, size * n);
	return size * n;
}

static bool call_good(const struct http_call *c)
{
	return c->reply.status >= 200 && c->reply.status < 300;
}

static size_t call_stop(struct call_easy *e, enum http_outcome verdict, const char *why)
{
	e->verdict = verdict;
	snprintf(e->msg, sizeof e->msg, "%s", why);
	return 0;
}

/* More of a refusal than its owner has room for is of no interest. */
static size_t call_too_long(struct call_easy *e)
{
	if (call_good(e->call))
		return call_stop(e, HTTP_OUTCOME_INTEGRITY,
				 "the answer is longer than any that makes sense");
	http_status_message(&e->call->reply, e->msg, sizeof e->msg);
	e->verdict = http_status_outcome(e->call->reply.status);
	return 0;
}

static size_t call_write(char *p, size_t size, size_t n, void *arg)
{
	struct call_easy *e = arg;
	struct http_call *c = e->call;

	n *= size;
	c->active_ns = loop_now_ns();
	if (n > c->max_body - MIN(c->got, c->max_body))
		return call_too_long(e);
	c->got += n;
	if (c->ops->data && c->ops->data(c, p, n) != 0)
		return call_stop(e, HTTP_OUTCOME_CUT, "no more is wanted");
	return n;
}

/* Who gives the body may take its time: the server is not to blame for that. */
static size_t call_read(char *p, size_t size, size_t n, void *arg)
{
	struct call_easy *e = arg;
	struct http_call *c = e->call;
	int64_t got = c->read(c, p, size * n);

	c->active_ns = loop_now_ns();
	if (got >= 0)
		return (size_t)got;
	call_stop(e, HTTP_OUTCOME_CUT, "what was to be sent is not there");
	return CURL_READFUNC_ABORT;
}

/* A body that goes out is a sign of life too. */
static int call_sent(void *arg, curl_off_t dltotal UNUSED, curl_off_t dlnow UNUSED,
		     curl_off_t ultotal UNUSED, curl_off_t ulnow)
{
	struct call_easy *e = arg;
	struct http_call *c = e->call;

	if (c && (uint64_t)ulnow != c->sent) {
		c->sent = (uint64_t)ulnow;
		c->active_ns = loop_now_ns();
	}
	return 0;
}

/* -- handles ---------------------------------------------------------------------------------- */

static void call_clean(struct call_easy *e)
{
	http_headers_free(e->headers);
	e->headers = NULL;
	http_settings_put(e->settings);
	e->settings = NULL;
	e->call = NULL;
}

static void call_free(struct call_easy *e)
{
	vmofs_list_del(&e->link);
	curl_easy_cleanup(e->curl);
	free(e);
}

static struct call_easy *call_new(struct http_client *client)
{
	struct call_easy *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	vmofs_list_init(&e->link);
	e->client = client;
	e->curl = curl_easy_init();
	if (e->curl)
		return e;
	call_free(e);
	return NULL;
}

static struct call_easy *call_take(struct http_client *client)
{
	struct vmofs_list *idle = http_client_idle_calls(client);
	struct call_easy *e = vmofs_list_first(idle, struct call_easy, link);

	if (!e)
		return call_new(client);
	vmofs_list_del(&e->link);
	return e;
}

/* What the last call has left in the handle (secrets, above all) goes at once. */
static void call_give_back(struct call_easy *e)
{
	struct vmofs_list *pos, *idle = http_client_idle_calls(e->client);
	unsigned n = 0;

	curl_easy_reset(e->curl);
	call_clean(e);
	vmofs_list_for_each(pos, idle)
		n++;
	if (n < IDLE_CALLS)
		vmofs_list_add(idle, &e->link);
	else
		call_free(e);
}

void http_call_free_idle(struct http_client *c)
{
	struct vmofs_list *idle = http_client_idle_calls(c);

	while (!vmofs_list_empty(idle))
		call_free(vmofs_list_first(idle, struct call_easy, link));
}

/* -- setting up ------------------------------------------------------------------------------- */

static bool has_header(const struct http_call *c, const char *name)
{
	size_t n = strlen(name);

	for (unsigned i = 0; i < c->nheaders; i++)
		if (strncasecmp(c->headers[i], name, n) == 0 && c->headers[i][n] == ':')
			return true;
	return false;
}

/* libcurl has ideas of its own about what goes with a body. */
static int add_body_headers(struct call_easy *e)
{
	bool waits = e->call->read && e->call->body_len >= EXPECT_MIN;
	int r = http_headers_add(&e->headers, waits ? "Expect: 100-continue" : "Expect:");

	if (r == 0 && !has_header(e->call, "content-type"))
		r = http_headers_add(&e->headers, "Content-Type:");
	return r;
}

static int set_headers(struct call_easy *e, bool body, struct vmofs_err *err)
{
	const struct http_call *c = e->call;
	int r = http_headers_begin(&e->headers, e->settings, c->trusted, err);

	for (unsigned i = 0; i < c->nheaders && r == 0; i++)
		r = http_headers_add(&e->headers, c->headers[i]);
	if (r == 0 && body)
		r = add_body_headers(e);
	if (r == 0 && curl_easy_setopt(e->curl, CURLOPT_HTTPHEADER, e->headers) != CURLE_OK)
		r = -ENOMEM;
	return r;
}

/* PUT and POST have a body even when it is empty. */
static bool sends_body(const struct http_call *c)
{
	return c->body || c->read || strcmp(c->method, "PUT") == 0 ||
		strcmp(c->method, "POST") == 0;
}

/* The memory is not copied: it stays its owner's until done(). */
static void set_body(struct call_easy *e)
{
	const struct http_call *c = e->call;

	if (c->read) {
		curl_easy_setopt(e->curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(e->curl, CURLOPT_READFUNCTION, call_read);
		curl_easy_setopt(e->curl, CURLOPT_READDATA, e);
		curl_easy_setopt(e->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)c->body_len);
	} else {
		curl_easy_setopt(e->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body_len);
		curl_easy_setopt(e->curl, CURLOPT_POSTFIELDS, c->body ? c->body : "");
	}
	curl_easy_setopt(e->curl, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER);
	curl_easy_setopt(e->curl, CURLOPT_XFERINFOFUNCTION, call_sent);
	curl_easy_setopt(e->curl, CURLOPT_XFERINFODATA, e);
	curl_easy_setopt(e->curl, CURLOPT_NOPROGRESS, 0L);
}

static int set_method(struct call_easy *e, bool body)
{
	const struct http_call *c = e->call;

	if (body) {
		set_body(e);
	} else if (strcmp(c->method, "HEAD") == 0) {
		curl_easy_setopt(e->curl, CURLOPT_NOBODY, 1L);
		return 0;
	}
	if (strcmp(c->method, "GET") == 0 && !body)
		return 0;
	return curl_easy_setopt(e->curl, CURLOPT_CUSTOMREQUEST, c->method) == CURLE_OK ? 0
										       : -ENOMEM;
}

static void set_callbacks(struct call_easy *e)
{
	curl_easy_setopt(e->curl, CURLOPT_PRIVATE, &e->transfer);
	curl_easy_setopt(e->curl, CURLOPT_HEADERFUNCTION, call_header);
	curl_easy_setopt(e->curl, CURLOPT_HEADERDATA, e);
	curl_easy_setopt(e->curl, CURLOPT_WRITEFUNCTION, call_write);
	curl_easy_setopt(e->curl, CURLOPT_WRITEDATA, e);
	curl_easy_setopt(e->curl, CURLOPT_ERRORBUFFER, e->curl_msg);
}

/* Everything but what makes the handle one of a multi, or a blocking one. */
static int call_set_up(struct call_easy *e, struct http_call *c, struct http_settings *s,
		       struct vmofs_err *err)
{
	bool body = sends_body(c);
	int r;

	http_reply_reset(&c->reply);
	c->got = c->sent = 0;
	c->start_ns = c->active_ns = loop_now_ns();
	e->call = c;
	e->settings = http_settings_get(s);
	e->verdict = HTTP_OUTCOME_OK;
	e->msg[0] = e->curl_msg[0] = '\0';
	set_callbacks(e);
	http_easy_configure(e->curl, s, c->trusted);
	curl_easy_setopt(e->curl, CURLOPT_BUFFERSIZE, CALL_BUFFER);
	r = set_method(e, body);
	if (r == 0)
		r = set_headers(e, body, err);
	if (r == 0 && curl_easy_setopt(e->curl, CURLOPT_URL, c->url) != CURLE_OK)
		r = -ENOMEM;
	return r;
}

/* -- the end ---------------------------------------------------------------------------------- */

static enum http_outcome call_outcome(struct call_easy *e, CURLcode code)
{
	const struct http_call *c = e->call;

	if (e->verdict != HTTP_OUTCOME_OK)
		return e->verdict;
	if (code != CURLE_OK) {
		snprintf(e->msg, sizeof e->msg, "%s",
			 e->curl_msg[0] ? e->curl_msg : curl_easy_strerror(code));
		return http_curl_outcome(code);
	}
	if (call_good(c))
		return HTTP_OUTCOME_OK;
	if (c->reply.status == 0)
		return call_stop(e, HTTP_OUTCOME_INTEGRITY, "the answer has no head"), e->verdict;
	http_status_message(&c->reply, e->msg, sizeof e->msg);
	return http_status_outcome(c->reply.status);
}

/* The result points into @e. */
static struct http_result call_result(struct call_easy *e, enum http_outcome outcome)
{
	const struct http_call *c = e->call;
	long connects = 0;

	curl_easy_getinfo(e->curl, CURLINFO_NUM_CONNECTS, &connects);
	snprintf(e->request_id, sizeof e->request_id, "%s", c->reply.request_id);
	return (struct http_result){
		.outcome = outcome,
		.status = c->reply.status,
		.connections = (unsigned)connects,
		.retry_after = c->reply.retry_after,
		.elapsed_ns = loop_now_ns() - c->start_ns,
		.answer_ns = http_easy_answer_ns(e->curl),
		.date = c->reply.date,
		.request_id = e->request_id,
		.msg = e->msg,
	};
}

/* Takes the handle of a call out of its loop; @c is its owner's again. */
static void call_detach(struct call_easy *e)
{
	http_multi_remove(http_client_multi(e->client), e->curl);
	loop_timer_del(http_client_loop(e->client), &e->call->timer);
	e->call->easy = NULL;
}

static void call_end(struct call_easy *e, enum http_outcome outcome)
{
	struct http_call *c = e->call;
	struct http_result result = call_result(e, outcome);

	call_detach(e);
	c->ops->done(c, &result);
	call_give_back(e);
}

static void call_finished(struct http_transfer *t, CURL *curl UNUSED, CURLcode code)
{
	struct call_easy *e = container_of(t, struct call_easy, transfer);

	call_end(e, call_outcome(e, code));
}

/* -- time ------------------------------------------------------------------------------------- */

/* When the call has taken too long, if nothing more is heard. */
static uint64_t call_due(const struct call_easy *e)
{
	const struct http_call *c = e->call;
	uint64_t due =
		c->active_ns + (c->stall_ns ? c->stall_ns : http_settings_stall_ns(e->settings));

	return c->timeout_ns ? MIN(due, c->start_ns + c->timeout_ns) : due;
}

static const char *overdue_reason(const struct http_call *c, uint64_t now_ns)
{
	return c->timeout_ns && now_ns >= c->start_ns + c->timeout_ns
		? "no complete answer in time"
		: "the server has gone silent";
}

static void call_timer(struct loop_timer *t, struct loop *l)
{
	struct http_call *c = container_of(t, struct http_call, timer);
	struct call_easy *e = c->easy;
	uint64_t now = loop_now_ns();

	if (now < call_due(e)) {
		loop_timer_set(l, t, call_due(e));
		return;
	}
	snprintf(e->msg, sizeof e->msg, "%s", overdue_reason(c, now));
	curl_easy_setopt(e->curl, CURLOPT_FORBID_REUSE, 1L);
	call_end(e, HTTP_OUTCOME_TIMEOUT);
}

/* -- on a loop -------------------------------------------------------------------------------- */

static int call_launch(struct call_easy *e)
{
	struct http_call *c = e->call;
	struct http_multi *m = http_client_multi(e->client);

	e->transfer.finished = call_finished;
	http_multi_prepare(m, e->curl);
	if (http_multi_add(m, e->curl) < 0)
		return -ENOMEM;
	c->easy = e;
	c->timer = (struct loop_timer){ .fire = call_timer };
	vmofs_list_init(&c->timer.link);
	loop_timer_set(http_client_loop(e->client), &c->timer, call_due(e));
	return 0;
}

int http_call_start(struct http_client *client, struct http_call *c, struct http_settings *s)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct call_easy *e = call_take(client);
	int r;

	assert(!c->easy);
	if (!e)
		return -ENOMEM;
	r = call_set_up(e, c, s, &err);
	if (r == 0)
		r = call_launch(e);
	if (r < 0)
		call_give_back(e);
	return r;
}

void http_call_cancel(struct http_client *client UNUSED, struct http_call *c)
{
	struct call_easy *e = c->easy;

	if (!e)
		return;
	call_detach(e);
	call_give_back(e);
}

/* -- blocking --------------------------------------------------------------------------------- */

static bool cancelled(const struct call_easy *e)
{
	return e->cancel && atomic_load(e->cancel);
}

/* Runs the only transfer of @multi to its end. @code is its result; -ECANCELED, -ETIMEDOUT or 0. */
static int call_run(struct call_easy *e, CURLM *multi, CURLcode *code)
{
	int running = 1, left;
	CURLMsg *msg;

	while (curl_multi_perform(multi, &running) == CURLM_OK && running > 0) {
		uint64_t now = loop_now_ns(), due = call_due(e);
		long wait_ms = (long)((due - MIN(due, now)) / NSEC_PER_MSEC) + 1;

		if (cancelled(e))
			return -ECANCELED;
		if (now >= due)
			return -ETIMEDOUT;
		curl_multi_poll(multi, NULL, 0, (int)MIN(wait_ms, POLL_INTERVAL_MS), NULL);
	}
	msg = curl_multi_info_read(multi, &left);
	*code = msg ? msg->data.result : CURLE_OUT_OF_MEMORY;
	return 0;
}

static int call_perform(struct call_easy *e, CURLM *multi)
{
	CURLcode code = CURLE_OK;
	enum http_outcome outcome;
	struct http_result result;
	int r;

	if (curl_multi_add_handle(multi, e->curl) != CURLM_OK)
		return -ENOMEM;
	r = call_run(e, multi, &code);
	curl_multi_remove_handle(multi, e->curl);
	if (r == -ECANCELED)
		return r;
	if (r == -ETIMEDOUT) {
		snprintf(e->msg, sizeof e->msg, "%s", overdue_reason(e->call, loop_now_ns()));
		outcome = HTTP_OUTCOME_TIMEOUT;
	} else {
		outcome = call_outcome(e, code);
	}
	result = call_result(e, outcome);
	e->call->ops->done(e->call, &result);
	return 0;
}

/* It cannot even be asked: a token that is not there, a URL that is none. */
static int call_refuse(struct call_easy *e, const char *why)
{
	struct http_result result = call_result(e, HTTP_OUTCOME_REFUSED);

	result.msg = why;
	e->call->ops->done(e->call, &result);
	return 0;
}

int http_call_wait(struct http_call *c, struct http_settings *s, const atomic_bool *cancel)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	CURLM *multi = curl_multi_init();
	struct call_easy *e = call_new(NULL);
	int r = -ENOMEM;

	if (multi && e) {
		e->cancel = cancel;
		r = call_set_up(e, c, s, &err);
		if (r == 0)
			r = cancelled(e) ? -ECANCELED : call_perform(e, multi);
		else if (r != -ENOMEM)
			r = call_refuse(e, err.msg);
	}
	if (e) {
		call_clean(e);
		call_free(e);
	}
	curl_multi_cleanup(multi);
	return r;
}
