/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GETs over easy handles that are set up once and used again: a request for the same endpoint costs
 * a new Range and nothing else, one for another endpoint of the same settings URL and headers too. It
 * knows nothing of sockets (http_multi.c) and of retries (the owner). Runs on the loop's thread.
 *
 *             start            good head            last byte
 *   GET_IDLE -------> GET_HEAD ---------> GET_BODY -----------> GET_IDLE
 *                        |
 *                        | bad head        end of its body
 *                        +-------> GET_BAD ---------------> GET_IDLE
 */
#include "net/http_client.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "net/http_multi.h"

#define IDLE_HANDLES   64
#define ERROR_BODY_MAX KIB(64) /* read, so that the connection stays usable; more is cut */

/*
 * Of one easy handle; all moves on the loop's thread.
 *
 *   IDLE -> HEAD   http_client_start   the request is sent
 *   HEAD -> BODY   easy_judge          the head is the answer to what was asked
 *   HEAD -> BAD    easy_judge          it is not: no byte of the body is given out
 *   HEAD -> IDLE   easy_finish         no answer, or a cancel
 *   BODY -> HEAD   easy_header         another head: of a 1xx or an authentication round
 *   BODY -> IDLE   easy_finish
 *   BAD -> HEAD    easy_header
 *   BAD -> IDLE    easy_finish
 *
 *   IDLE: get == NULL, on the client's idle list; else get->easy is this one and it is in the multi
 */
enum get_state { GET_IDLE, GET_HEAD, GET_BODY, GET_BAD, GET_NSTATES };

static const uint8_t get_next[] = {
	[GET_IDLE] = BIT(GET_HEAD),
	[GET_HEAD] = BIT(GET_BODY) | BIT(GET_BAD) | BIT(GET_IDLE),
	[GET_BODY] = BIT(GET_HEAD) | BIT(GET_IDLE),
	[GET_BAD] = BIT(GET_HEAD) | BIT(GET_IDLE),
};
_Static_assert(ARRAY_LEN(get_next) == GET_NSTATES, "one row per state");

struct http_easy {
	struct http_transfer transfer;
	struct vmofs_list link; /* the client's idle list, most recently used first */
	CURL *curl;
	struct http_client *client;
	struct http_endpoint *ep; /* counted */
	struct http_get *get;     /* NULL: idle */
	enum get_state state;
	enum http_outcome verdict; /* of the head, in BODY and BAD */
	int64_t head_time;         /* seconds since 1970, of the status line */
	uint64_t discarded;        /* of a bad answer's body */
	struct http_reply reply;
	char *error; /* owned; of a bad answer's body, NULL: none kept */
	size_t error_len;
	char msg[512];
	char curl_msg[CURL_ERROR_SIZE];
};

static void easy_set_state(struct http_easy *e, enum get_state to)
{
	assert(get_next[e->state] & BIT(to));
	e->state = to;
}

/* -- callbacks of libcurl --------------------------------------------------------------------- */

static void easy_judge(struct http_easy *e)
{
	struct http_get *g = e->get;

	e->msg[0] = '\0';
	e->verdict = http_reply_check(&e->reply, &e->ep->expect, g->off, g->len, g->whole, e->msg,
				      sizeof e->msg);
	if (e->verdict == HTTP_OUTCOME_OK && g->ops->head)
		e->verdict = g->ops->head(g, &e->reply, e->msg, sizeof e->msg);
	easy_set_state(e, e->verdict == HTTP_OUTCOME_OK ? GET_BODY : GET_BAD);
}

static size_t easy_header(char *p, size_t size, size_t n, void *arg)
{
	struct http_easy *e = arg;
	bool complete = e->reply.complete;

	if (n >= 5 && memcmp(p, "HTTP/", 5) == 0) {
		if (e->state != GET_HEAD)
			easy_set_state(e, GET_HEAD);
		e->error_len = 0;
		e->head_time = time(NULL);
		e->get->head_ns = e->get->active_ns = loop_now_ns();
	}
	http_reply_line(&e->reply, p, size * n, e->head_time);
	if (e->reply.complete && !complete && e->state == GET_HEAD)
		easy_judge(e);
	return size * n;
}

static void easy_keep_error(struct http_easy *e, const char *p, size_t n)
{
	size_t max = e->get->keep_error;

	if (max == 0 || e->reply.status < 300)
		return;
	if (!e->error)
		e->error = malloc(max);
	if (!e->error)
		return;
	n = MIN(n, max - e->error_len);
	memcpy(e->error + e->error_len, p, n);
	e->error_len += n;
}

static void easy_forget_error(struct http_easy *e)
{
	free(e->error);
	e->error = NULL;
	e->error_len = 0;
}

static size_t easy_discard(struct http_easy *e, const char *p, size_t n)
{
	easy_keep_error(e, p, n);
	e->discarded += n;
	return e->discarded <= ERROR_BODY_MAX ? n : 0;
}

/* More than was asked for is either the rest of a whole object (cut it) or a lie. */
static size_t easy_surplus(struct http_easy *e)
{
	if (e->reply.status != 200 || e->get->whole) {
		e->verdict = HTTP_OUTCOME_INTEGRITY;
		snprintf(e->msg, sizeof e->msg, "the body is longer than the range");
	}
	return 0;
}

static size_t easy_write(char *p, size_t size, size_t n, void *arg)
{
	struct http_easy *e = arg;
	struct http_get *g = e->get;
	uint64_t take = MIN(size * n, g->len - g->got);

	g->active_ns = loop_now_ns();
	if (e->state != GET_BODY)
		return easy_discard(e, p, size * n);
	if (take > 0) {
		g->got += take;
		if (g->ops->data(g, p, take) != 0) {
			e->verdict = HTTP_OUTCOME_CUT;
			return 0;
		}
	}
	return take < size * n ? easy_surplus(e) : size * n;
}

/* -- handles ---------------------------------------------------------------------------------- */

static void easy_free(struct http_easy *e)
{
	vmofs_list_del(&e->link);
	curl_easy_cleanup(e->curl);
	http_endpoint_put(e->ep);
	easy_forget_error(e);
	free(e);
}

static void easy_finished(struct http_transfer *t, CURL *curl, CURLcode code);

static int easy_configure(struct http_easy *e)
{
	curl_easy_setopt(e->curl, CURLOPT_PRIVATE, &e->transfer);
	curl_easy_setopt(e->curl, CURLOPT_HEADERFUNCTION, easy_header);
	curl_easy_setopt(e->curl, CURLOPT_HEADERDATA, e);
	curl_easy_setopt(e->curl, CURLOPT_WRITEFUNCTION, easy_write);
	curl_easy_setopt(e->curl, CURLOPT_WRITEDATA, e);
	curl_easy_setopt(e->curl, CURLOPT_ERRORBUFFER, e->curl_msg);
	http_multi_prepare(http_client_multi(e->client), e->curl);
	http_easy_configure(e->curl, e->ep->settings, e->ep->trusted);
	return http_easy_target(e->curl, e->ep);
}

static struct http_easy *easy_new(struct http_client *c, struct http_endpoint *ep)
{
	struct http_easy *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	vmofs_list_init(&e->link);
	e->transfer.finished = easy_finished;
	e->client = c;
	e->ep = http_endpoint_get(ep);
	e->curl = curl_easy_init();
	if (!e->curl || easy_configure(e) < 0) {
		easy_free(e);
		return NULL;
	}
	return e;
}

/* Makes an idle handle one of @ep, which differs in URL and headers only. */
static struct http_easy *easy_retarget(struct http_easy *e, struct http_endpoint *ep)
{
	vmofs_list_del(&e->link);
	if (http_easy_target(e->curl, ep) < 0) {
		easy_free(e);
		return NULL;
	}
	http_endpoint_put(e->ep);
	e->ep = http_endpoint_get(ep);
	return e;
}

/* An idle handle of @ep, else one that can be made so, else a new one. */
static struct http_easy *easy_take(struct http_client *c, struct http_endpoint *ep)
{
	struct vmofs_list *pos, *idle = http_client_idle(c);
	struct http_easy *alike = NULL;

	vmofs_list_for_each(pos, idle) {
		struct http_easy *e = vmofs_list_entry(pos, struct http_easy, link);

		if (e->ep == ep) {
			vmofs_list_del(&e->link);
			return e;
		}
		if (e->ep->settings == ep->settings && e->ep->trusted == ep->trusted)
			alike = e;
	}
	return alike ? easy_retarget(alike, ep) : easy_new(c, ep);
}

static void easy_give_back(struct http_easy *e)
{
	struct vmofs_list *pos, *idle = http_client_idle(e->client);
	unsigned n = 0;

	vmofs_list_add(idle, &e->link);
	vmofs_list_for_each(pos, idle)
		n++;
	if (n > IDLE_HANDLES)
		easy_free(vmofs_list_entry(idle->prev, struct http_easy, link));
}

static int easy_set_range(struct http_easy *e, const struct http_get *g)
{
	char range[64];

	curl_easy_setopt(e->curl, CURLOPT_FORBID_REUSE, 0L);
	curl_easy_setopt(e->curl, CURLOPT_FRESH_CONNECT, g->fresh ? 1L : 0L);
	if (g->whole)
		return curl_easy_setopt(e->curl, CURLOPT_RANGE, NULL) == CURLE_OK ? 0 : -ENOMEM;
	snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, g->off, g->off + g->len - 1);
	return curl_easy_setopt(e->curl, CURLOPT_RANGE, range) == CURLE_OK ? 0 : -ENOMEM;
}

/* Separates the handle from its GET; @e stays out of every list. */
static void easy_finish(struct http_easy *e)
{
	http_multi_remove(http_client_multi(e->client), e->curl);
	e->get->easy = NULL;
	e->get = NULL;
	easy_set_state(e, GET_IDLE);
}

int http_client_start(struct http_client *c, struct http_get *g, struct http_endpoint *ep)
{
	struct http_easy *e = easy_take(c, ep);

	assert(!g->easy && g->len > 0);
	if (!e)
		return -ENOMEM;
	if (easy_set_range(e, g) < 0) {
		easy_give_back(e);
		return -ENOMEM;
	}
	http_reply_reset(&e->reply);
	e->discarded = 0;
	easy_forget_error(e);
	e->msg[0] = e->curl_msg[0] = '\0';
	e->get = g;
	g->easy = e;
	g->got = 0;
	g->start_ns = g->active_ns = loop_now_ns();
	g->head_ns = 0;
	easy_set_state(e, GET_HEAD);
	if (http_multi_add(http_client_multi(c), e->curl) == 0)
		return 0;
	easy_finish(e);
	easy_give_back(e);
	return -ENOMEM;
}

void http_client_cancel(struct http_client *c UNUSED, struct http_get *g)
{
	struct http_easy *e = g->easy;

	if (!e)
		return;
	easy_finish(e);
	easy_give_back(e);
}

void http_client_abandon(struct http_client *c, struct http_get *g)
{
	if (g->easy)
		curl_easy_setopt(g->easy->curl, CURLOPT_FORBID_REUSE, 1L);
	http_client_cancel(c, g);
}

void http_client_drop(struct http_client *c, struct http_settings *s)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, http_client_idle(c)) {
		struct http_easy *e = vmofs_list_entry(pos, struct http_easy, link);

		if (e->ep->settings == s)
			easy_free(e);
	}
}

/* -- the end of a GET ------------------------------------------------------------------------- */

static enum http_outcome easy_outcome(struct http_easy *e, CURLcode code)
{
	const struct http_get *g = e->get;

	if (e->state == GET_BAD || (e->state == GET_BODY && e->verdict != HTTP_OUTCOME_OK))
		return e->verdict;
	if (e->state == GET_BODY && g->got == g->len)
		return HTTP_OUTCOME_OK;
	if (code != CURLE_OK) {
		snprintf(e->msg, sizeof e->msg, "%s",
			 e->curl_msg[0] ? e->curl_msg : curl_easy_strerror(code));
		return http_curl_outcome(code);
	}
	snprintf(e->msg, sizeof e->msg, "the body ended after %" PRIu64 " of %" PRIu64 " bytes",
		 g->got, g->len);
	return HTTP_OUTCOME_INTEGRITY;
}

static void easy_finished(struct http_transfer *t, CURL *curl, CURLcode code)
{
	struct http_easy *e = container_of(t, struct http_easy, transfer);
	struct http_get *g = e->get;
	struct http_result result = { 0 };
	long connects = 0;

	curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &connects);
	result.outcome = easy_outcome(e, code);
	result.status = e->reply.status;
	result.whole = !g->whole && http_reply_is_whole(&e->reply, &e->ep->expect);
	result.connections = (unsigned)connects;
	result.retry_after = e->reply.retry_after;
	result.elapsed_ns = loop_now_ns() - g->start_ns;
	result.answer_ns = http_easy_answer_ns(curl);
	result.date = e->reply.date;
	result.request_id = e->reply.request_id;
	result.msg = e->msg;
	result.error = e->error;
	result.error_len = e->error_len;
	easy_finish(e);
	g->ops->done(g, &result);
	easy_give_back(e);
}

void http_client_free_idle(struct http_client *c)
{
	struct vmofs_list *idle = http_client_idle(c);

	while (!vmofs_list_empty(idle))
		easy_free(vmofs_list_first(idle, struct http_easy, link));
}
