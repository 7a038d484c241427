/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks: requests with a bounded answer that queue for a slot like everybody and are tried again by the same
 * rules as reads. On the loops; renewals on the worker; http_origin_ask_wait() on a thread of its
 * own, without a slot.
 *
 * An ask is in one place at a time: on a waiting list, delayed, ended (o->lock); on a lane while its call is
 * under way (loop thread); with the worker; or being judged.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "http/http_private.h"

#define RENEWALS_MAX 3 /* because there was nothing to ask with */
#define NO_MEMORY_NS (20 * NSEC_PER_MSEC)
#define NAP_NS       (20 * NSEC_PER_MSEC)

/* What comes next. */
enum ask_next { ASK_END, ASK_LATER, ASK_RENEW };

struct http_ask_state {
	struct http_ask *ask;
	struct http_lane *lane; /* while its call is under way; NULL: a blocking one */
	struct worker_task renew_task;
	struct http_refusal why;
	enum ask_next next;
	unsigned attempts;
	unsigned integrity; /* answers that made no sense */
	unsigned signed_anew;
	bool renewed;
	bool nonsense; /* data() said so */
	int code;      /* of the end, or of the last failure */
	uint64_t not_before_ns;
	size_t error_len;
	char *error; /* owned; of a refusal's body, NULL: none */
};

/* -- the state -------------------------------------------------------------------------------- */

static void renew_run(struct worker_task *t);

static struct http_ask_state *state_of(struct http_ask *a)
{
	struct http_ask_state *s = a->state;

	if (s)
		return s;
	s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->ask = a;
	s->renew_task.run = renew_run;
	vmofs_list_init(&s->renew_task.link);
	a->state = s;
	return s;
}

static void state_free(struct http_ask_state *s)
{
	if (s)
		free(s->error);
	free(s);
}

static void set_message(struct http_ask_state *s, const char *msg)
{
	snprintf(s->why.msg, sizeof s->why.msg, "%.*s", (int)sizeof s->why.msg - 1, msg);
}

static void ask_begin(struct http_origin *o, struct http_ask *a)
{
	a->origin = http_origin_get(o);
	a->requests = 0;
	a->state = NULL;
	vmofs_list_init(&a->waiter.link);
	a->waiter.rank = a->cls == VMOFS_CLASS_DEMAND ? HTTP_RANK_ASK : HTTP_RANK_PREFETCH;
	a->waiter.is_long = false;
	if (!a->deadline_ns)
		a->deadline_ns = loop_now_ns() + o->limits.timeout_ns;
}

static void note(struct http_origin *o, const struct http_refusal *why, int code, unsigned attempts)
{
	struct vmofs_failure f = { .code = code, .status = why->status, .attempts = attempts };

	if (code == 0 || code == -ENOENT || code == -ESHUTDOWN || code == -ECANCELED)
		return;
	memcpy(f.msg, why->msg, sizeof f.msg);
	memcpy(f.request_id, why->request_id, sizeof f.request_id);
	clock_gettime(CLOCK_REALTIME, &f.when);
	http_count_origin(o, HTTP_COUNT_ERRORS, 1);
	http_note_failure(o, &f);
}

/* done(), after which the ask is its owner's. */
static void ask_finish(struct http_ask *a, int code)
{
	static const struct http_refusal nothing = { .msg = "out of memory" };
	struct http_origin *o = a->origin;
	struct http_ask_state *s = a->state;
	const struct http_refusal *why = s ? &s->why : &nothing;

	note(o, why, code, a->requests);
	a->state = NULL;
	a->ops->done(a, code, why);
	state_free(s);
	http_origin_put(o);
}

/* From o->ended: the code is in the state, or there is none without memory for one. */
void http_ask_finish(struct http_ask *a)
{
	struct http_origin *o = a->origin;
	bool stopped;

	mutex_lock(&o->lock);
	stopped = o->stopped;
	mutex_unlock(&o->lock);
	if (stopped && state_of(a)) {
		set_message(a->state, "the source is being closed");
		ask_finish(a, -ESHUTDOWN);
	} else if (a->state) {
		ask_finish(a, a->state->code ? a->state->code : -ETIMEDOUT);
	} else {
		if (state_of(a))
			set_message(a->state, "no answer in time");
		ask_finish(a, stopped ? -ESHUTDOWN : -ETIMEDOUT);
	}
}

/* -- the answer ------------------------------------------------------------------------------- */

static struct http_ask *ask_of(struct http_call *c)
{
	return container_of(c, struct http_ask, call);
}

static bool is_good(const struct http_call *c)
{
	return c->reply.status >= 200 && c->reply.status < 300;
}

static void ask_header(struct http_call *c, const char *name, const char *value, size_t n)
{
	struct http_ask *a = ask_of(c);

	if (a->ops->header)
		a->ops->header(a, name, value, n);
}

static void keep_error(struct http_ask_state *s, const void *buf, size_t n)
{
	if (!s->error)
		s->error = malloc(HTTP_ERROR_BODY);
	if (!s->error)
		return;
	n = MIN(n, HTTP_ERROR_BODY - s->error_len);
	memcpy(s->error + s->error_len, buf, n);
	s->error_len += n;
}

static int ask_data(struct http_call *c, const void *buf, size_t n)
{
	struct http_ask *a = ask_of(c);

	if (!is_good(c)) {
		keep_error(a->state, buf, n);
		return 0;
	}
	if (!a->ops->data || a->ops->data(a, buf, n) == 0)
		return 0;
	a->state->nonsense = true;
	return 1;
}

/* -- the judgement ---------------------------------------------------------------------------- */

/* The outcome once the owner has looked at the answer. */
static enum http_outcome ask_outcome(struct http_ask *a, const struct http_result *result)
{
	struct http_ask_state *s = a->state;
	enum http_outcome o = result->outcome;

	/* The last try had no time: what went wrong before it is worth more. */
	if (o == HTTP_OUTCOME_TIMEOUT && s->code && loop_now_ns() >= a->deadline_ns)
		return o;
	if (o == HTTP_OUTCOME_OK && a->ops->finish && a->ops->finish(a) != 0)
		s->nonsense = true;
	if (s->nonsense)
		o = HTTP_OUTCOME_INTEGRITY;
	http_refusal_init(&s->why, result);
	s->why.outcome = o;
	s->why.body = s->error;
	s->why.len = s->error_len;
	if (s->nonsense)
		set_message(s, "the answer makes no sense");
	if (result->status >= 300 && a->ops->refused)
		a->ops->refused(a, &s->why);
	s->why.body = NULL;
	s->why.len = 0;
	return s->why.outcome;
}

static enum ask_next ask_end(struct http_ask_state *s, int code)
{
	s->code = code;
	return ASK_END;
}

static enum ask_next ask_later(struct http_ask_state *s, int code, uint64_t at_ns)
{
	http_count_origin(s->ask->origin, HTTP_COUNT_RETRIES, 1);
	s->code = code;
	s->not_before_ns = at_ns;
	return ASK_LATER;
}

static enum ask_next ask_retry(struct http_ask_state *s, const struct http_rule *rule,
			       const struct http_result *result, bool at_once)
{
	struct http_ask *a = s->ask;
	uint64_t now = loop_now_ns(), at = now;

	if (now >= a->deadline_ns)
		return ask_end(s, s->code ? s->code : rule->ask_code);
	if (!at_once || s->attempts > 1)
		at = http_retry_time(&a->origin->limits, s->attempts, a->deadline_ns,
				     result->retry_after, now);
	return ask_later(s, rule->ask_code, at);
}

/* The server says that it has not done it, or the owner has read so in its answer. */
static bool is_undone(const struct http_ask *a, enum http_outcome o,
		      const struct http_result *result)
{
	return !a->once || result->status == 503 || result->status == 429 ||
		(result->status >= 300 && result->status < 500 && o != result->outcome);
}

static enum ask_next ask_decide(struct http_ask_state *s, enum http_outcome o,
				const struct http_result *result)
{
	const struct http_rule *rule = http_rule_of(o);

	s->attempts++;
	if (o == HTTP_OUTCOME_OK)
		return ask_end(s, 0);
	if (rule->action != HTTP_RENEW && !is_undone(s->ask, o, result))
		return ask_end(s, rule->ask_code);
	switch (rule->action) {
	case HTTP_LATER:
		return ask_retry(s, rule, result, o != result->outcome);
	case HTTP_ONCE:
		if (s->integrity++ == 0)
			return ask_later(s, rule->ask_code, 0);
		break;
	case HTTP_RENEW:
		if (o != HTTP_OUTCOME_DENIED || s->renewed || !s->ask->ops->renew)
			break;
		s->renewed = true;
		s->code = rule->ask_code;
		return ASK_RENEW;
	case HTTP_FAIL:
		break;
	}
	return ask_end(s, rule->ask_code);
}

static void ask_count(struct http_origin *o, const struct http_result *result,
		      enum http_outcome out)
{
	http_count_origin(o, HTTP_COUNT_CONNECTIONS, result->connections);
	if (out == HTTP_OUTCOME_OK)
		hist_add_ns(&o->latency, result->elapsed_ns);
	else if (out == HTTP_OUTCOME_INTEGRITY)
		http_count_origin(o, HTTP_COUNT_INTEGRITY, 1);
}

/* Fills s->next. What the origin is to know is in @v. */
static void ask_judge(struct http_ask *a, const struct http_result *result, struct http_verdict *v)
{
	struct http_ask_state *s = a->state;
	enum http_outcome o = ask_outcome(a, result);
	bool changed = o != result->outcome;

	ask_count(a->origin, result, o);
	http_count_origin(a->origin, HTTP_COUNT_FETCHED, a->call.got);
	s->next = ask_decide(s, o, result);
	*v = (struct http_verdict){
		.start_ns = a->call.start_ns,
		.good = o == HTTP_OUTCOME_OK || o == HTTP_OUTCOME_GONE,
		.slow_down = o == HTTP_OUTCOME_RETRY && s->why.slow_down,
		.answer_ns = result->answer_ns,
		.retry_after = o == HTTP_OUTCOME_RETRY && !changed ? result->retry_after
								   : HTTP_LENGTH_UNKNOWN,
		.deadline_ns = a->deadline_ns,
	};
}

/* -- on a loop -------------------------------------------------------------------------------- */

/* Puts an ask on a list of the origin's and sees to it that somebody looks. */
static void ask_queue(struct http_ask *a, uint64_t not_before_ns)
{
	struct http_origin *o = a->origin;
	uint64_t now = loop_now_ns();

	mutex_lock(&o->lock);
	if (o->stopped) {
		vmofs_list_add_tail(&o->ended, &a->waiter.link);
	} else if (not_before_ns > now) {
		vmofs_list_add_tail(&o->delayed, &a->waiter.link);
		http_due_locked(o, not_before_ns);
	} else {
		http_wait_locked(o, &a->waiter, now);
	}
	http_due_locked(o, a->deadline_ns);
	http_net_ready(o->net, &o->source);
	mutex_unlock(&o->lock);
}

/* From the worker: done() is for a loop. */
static void ask_queue_end(struct http_ask *a)
{
	struct http_origin *o = a->origin;

	mutex_lock(&o->lock);
	vmofs_list_add_tail(&o->ended, &a->waiter.link);
	http_net_ready(o->net, &o->source);
	mutex_unlock(&o->lock);
}

/* Renews on the calling thread, which may block. False: the ask has ended with s->code. */
static bool ask_renew(struct http_ask *a)
{
	struct http_ask_state *s = a->state;
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = a->ops->renew(a, &s->why, &err);
	char *end = s->why.msg + strlen(s->why.msg);

	if (r == 0)
		return true;
	s->code = r;
	if (err.msg[0] && s->why.status)
		snprintf(end, sizeof s->why.msg - (size_t)(end - s->why.msg), " (%s)", err.msg);
	else if (err.msg[0])
		set_message(s, err.msg);
	return false;
}

static void renew_run(struct worker_task *t)
{
	struct http_ask *a = container_of(t, struct http_ask_state, renew_task)->ask;
	struct http_origin *o = http_origin_get(a->origin);

	if (ask_renew(a))
		ask_queue(a, 0);
	else
		ask_queue_end(a);
	http_origin_put(o);
}

static void ask_go_on(struct http_ask *a)
{
	struct http_ask_state *s = a->state;

	switch (s->next) {
	case ASK_END:
		ask_finish(a, s->code);
		return;
	case ASK_LATER:
		ask_queue(a, s->not_before_ns);
		return;
	case ASK_RENEW:
		if (worker_post(a->origin->worker, &s->renew_task) < 0)
			ask_finish(a, s->code);
		return;
	}
}

static void ask_done(struct http_call *c, const struct http_result *result)
{
	struct http_ask *a = ask_of(c);
	struct http_ask_state *s = a->state;
	struct http_lane *lane = s->lane;
	struct http_verdict v;

	ask_judge(a, result, &v);
	if (lane) {
		vmofs_list_del(&a->waiter.link);
		s->lane = NULL;
		http_slot_free(lane, &v);
		ask_go_on(a);
	}
}

static const struct http_call_ops ask_call_ops = { ask_header, ask_data, ask_done };

/* Nothing could be prepared: the owner's to renew, or the end. */
static enum ask_next unprepared(struct http_ask *a, int r, const struct vmofs_err *err)
{
	struct http_ask_state *s = a->state;

	s->why = (struct http_refusal){ .outcome = HTTP_OUTCOME_DENIED };
	set_message(s, err->msg);
	if (r != -EAGAIN)
		return ask_end(s, r);
	if (!a->ops->renew || s->signed_anew++ == RENEWALS_MAX)
		return ask_end(s, -EACCES);
	s->code = -EACCES;
	return ASK_RENEW;
}

/* Makes the call ready to be started; else s->next says what to do instead. */
static bool ask_prepare(struct http_ask *a)
{
	struct http_ask_state *s = a->state;
	struct vmofs_err err = VMOFS_ERR_INIT;
	uint64_t now = loop_now_ns();
	int r = a->ops->prepare(a, &err);

	if (r < 0) {
		s->next = unprepared(a, r, &err);
		return false;
	}
	if (now >= a->deadline_ns) {
		s->next = ask_end(s, s->code ? s->code : -ETIMEDOUT);
		return false;
	}
	if (a->ops->reset)
		a->ops->reset(a);
	s->nonsense = false;
	s->error_len = 0;
	a->call.ops = &ask_call_ops;
	a->call.timeout_ns = a->deadline_ns - now;
	return true;
}

/* There is no memory for a call now; or no token, which is for good. */
static void ask_unsent(struct http_ask *a, int r)
{
	struct http_ask_state *s = a->state;

	http_slot_return(s->lane);
	s->lane = NULL;
	s->why = (struct http_refusal){ .outcome = HTTP_OUTCOME_REFUSED };
	set_message(s, "the request cannot be made");
	s->code = r == -ENOMEM ? -EIO : r;
	s->not_before_ns = loop_now_ns() + NO_MEMORY_NS;
	if (r == -ENOMEM)
		ask_queue(a, s->not_before_ns);
	else
		ask_finish(a, -EACCES);
}

static void ask_start(struct http_waiter *w, struct http_lane *lane)
{
	struct http_ask *a = container_of(w, struct http_ask, waiter);
	struct http_ask_state *s = state_of(a);
	int r;

	if (!s) {
		http_slot_return(lane);
		ask_finish(a, -ENOMEM);
		return;
	}
	if (!ask_prepare(a)) {
		http_slot_return(lane);
		ask_go_on(a);
		return;
	}
	s->lane = lane;
	r = http_call_start(lane->client, &a->call, lane->o->settings);
	if (r < 0) {
		ask_unsent(a, r);
		return;
	}
	a->requests++;
	http_count_origin(lane->o, HTTP_COUNT_REQUESTS, 1);
	vmofs_list_add_tail(&lane->asks, &a->waiter.link);
}

void http_origin_ask(struct http_origin *o, struct http_ask *a)
{
	ask_begin(o, a);
	a->waiter.start = ask_start;
	ask_queue(a, 0);
}

/* -- time and the end ------------------------------------------------------------------------- */

static void sweep_list_locked(struct http_origin *o, struct vmofs_list *list, uint64_t now_ns)
	REQUIRES(o->lock)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, list) {
		struct http_waiter *w = vmofs_list_entry(pos, struct http_waiter, link);
		struct http_ask *a = container_of(w, struct http_ask, waiter);

		if (w->start != ask_start)
			continue;
		if (o->stopped || a->deadline_ns <= now_ns) {
			vmofs_list_del(&w->link);
			vmofs_list_add_tail(&o->ended, &w->link);
		} else {
			http_due_locked(o, a->deadline_ns);
		}
	}
}

void http_ask_sweep_locked(struct http_origin *o, uint64_t now_ns)
{
	struct vmofs_list *pos, *tmp;

	for (unsigned rank = 0; rank < HTTP_NRANKS; rank++)
		sweep_list_locked(o, &o->waiting[rank][false], now_ns);
	sweep_list_locked(o, &o->delayed, now_ns);
	vmofs_list_for_each_safe(pos, tmp, &o->delayed) {
		struct http_waiter *w = vmofs_list_entry(pos, struct http_waiter, link);
		uint64_t at = container_of(w, struct http_ask, waiter)->state->not_before_ns;

		if (at > now_ns) {
			http_due_locked(o, at);
			continue;
		}
		vmofs_list_del(&w->link);
		http_wait_locked(o, w, now_ns);
	}
}

/* The origin has been stopped: what is under way here ends. */
void http_ask_lane_stop(struct http_lane *lane)
{
	struct http_verdict v = { .retry_after = HTTP_LENGTH_UNKNOWN };
	struct http_waiter *w;

	while ((w = vmofs_list_first(&lane->asks, struct http_waiter, link))) {
		struct http_ask *a = container_of(w, struct http_ask, waiter);

		http_call_cancel(lane->client, &a->call);
		vmofs_list_del(&w->link);
		a->state->lane = NULL;
		http_slot_free(lane, &v);
		http_ask_finish(a);
	}
}

/* -- blocking --------------------------------------------------------------------------------- */

/* False: cancelled meanwhile. */
static bool sleep_until(uint64_t at_ns, const atomic_bool *cancel)
{
	uint64_t now;

	while ((now = loop_now_ns()) < at_ns) {
		struct timespec ts = { 0, (long)MIN(at_ns - now, NAP_NS) };

		if (cancel && atomic_load(cancel))
			return false;
		nanosleep(&ts, NULL);
	}
	return !cancel || !atomic_load(cancel);
}

/* One try; s->next says what comes after it. */
static void wait_once(struct http_ask *a, const atomic_bool *cancel)
{
	struct http_ask_state *s = a->state;
	int r;

	if (!ask_prepare(a))
		return;
	a->requests++;
	http_count_origin(a->origin, HTTP_COUNT_REQUESTS, 1);
	r = http_call_wait(&a->call, a->origin->settings, cancel);
	if (r == 0)
		return;
	set_message(s, r == -ECANCELED ? "given up" : "out of memory");
	s->next = ask_end(s, r);
}

void http_origin_ask_wait(struct http_origin *o, struct http_ask *a, const atomic_bool *cancel)
{
	struct http_ask_state *s;
	int code = -ENOMEM;
	bool more;

	ask_begin(o, a);
	s = state_of(a);
	more = s != NULL;
	while (more) {
		wait_once(a, cancel);
		code = s->code;
		more = s->next != ASK_END;
		if (s->next == ASK_RENEW)
			more = ask_renew(a);
		else if (s->next == ASK_LATER)
			more = sleep_until(s->not_before_ns, cancel);
		code = s->code;
	}
	ask_finish(a, code);
}
