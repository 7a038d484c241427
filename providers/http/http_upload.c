/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store by PUT: one request with the whole object, read piece by piece from who has it, on the thread that waits for it.
 *
 * The server cannot act upon a body before it has all of it. So what has to precede the request that counts (what is there is
 * compared, commit()) is done before the last piece goes out, when all of the contents have been read: who must not read any more
 * after commit() is not asked. A body of one piece can be sent again after that; a longer one cannot, then the store has failed
 * and its owner begins a new one.
 *
 * A PUT leaves no mark of who made it. So an attempt's name is made of the contents: that what is there has just these is as good as
 * that it was us.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/loop.h"
#include "base/macros.h"
#include "http/http_change.h"

#define PIECE     MIB(1)
#define PAUSE     (200 * NSEC_PER_MSEC)
#define PAUSE_MAX (5 * NSEC_PER_SEC)
#define NAP       (20 * NSEC_PER_MSEC)
enum { TRIES_MAX = 20, MSG_MAX = 512 };

struct upload {
	struct http_call call; /* first tries and later ones */
	const struct http_place *place;
	const char *url;
	struct vmofs_store *st;
	struct sha256 *sum;
	uint8_t *piece;
	uint64_t cap;
	uint64_t at; /* what of the contents `piece` has */
	uint64_t len;
	uint64_t pos; /* what goes out next */
	bool committed;
	int code; /* why it was called off, with err filled; 0: it was not */
	struct vmofs_err *err;

	/* the answer */
	enum http_outcome outcome;
	int status;
	char msg[MSG_MAX];
};

/* What comes after a try. */
enum next { NEXT_DONE, NEXT_FAILED, NEXT_LATER, NEXT_UNKNOWN };

static bool is_small(const struct upload *u)
{
	return u->st->size <= u->cap;
}

static int call_off(struct upload *u, int code, const char *why)
{
	u->code = http_explain("store", u->url, code, 0, why, u->err);
	return code;
}

/* -- what goes out ---------------------------------------------------------------------------- */

void http_attempt_of(uint64_t size, struct sha256 *sum, char out[VMOFS_ATTEMPT_LEN + 1])
{
	uint8_t digest[SHA256_LEN];
	char text[2 * SHA256_LEN + 1];

	sha256_end(sum, digest);
	digest_hex(digest, sizeof digest, text);
	snprintf(out, VMOFS_ATTEMPT_LEN + 1, "%010" PRIx64 "%.22s",
		 size & ((UINT64_C(1) << 40) - 1), text);
}

static int compare(struct upload *u)
{
	struct http_seen seen;
	int r = http_look(u->place, u->url, &u->st->wait, &seen, u->err);

	u->st->requests++;
	if (r < 0)
		return u->code = r;
	if (!http_is_expected(&u->st->base, &seen))
		return u->code = http_explain("store", u->url, -ESTALE, 412,
					      "another version is there", u->err);
	return 0;
}

/* All has been read; what is sent next makes it seen. */
static int precede(struct upload *u)
{
	int r;

	http_attempt_of(u->st->size, u->sum, u->st->attempt);
	r = http_must_compare(u->place, &u->st->base) ? compare(u) : 0;
	if (r == 0) {
		r = u->st->commit(u->st);
		if (r != 0)
			call_off(u, r, "it was called off");
	}
	u->committed = r == 0;
	return r;
}

static int next_piece(struct upload *u)
{
	uint64_t n = MIN(u->cap, u->st->size - u->pos);
	int r = n ? u->st->read(u->st, u->pos, u->piece, n) : 0;

	if (r < 0)
		return call_off(u, r, "its contents cannot be read");
	sha256_add(u->sum, u->piece, n);
	u->at = u->pos;
	u->len = n;
	return u->pos + n == u->st->size ? precede(u) : 0;
}

static int64_t upload_read(struct http_call *c, void *buf, size_t n)
{
	struct upload *u = container_of(c, struct upload, call);

	if (u->pos < u->st->size && u->pos - u->at >= u->len && next_piece(u) < 0)
		return u->code;
	n = MIN(n, u->at + u->len - u->pos);
	memcpy(buf, u->piece + (u->pos - u->at), n);
	u->pos += n;
	u->st->bytes_up += n;
	if (n && u->st->progress)
		u->st->progress(u->st, n, 0);
	return (int64_t)n;
}

static void upload_done(struct http_call *c, const struct http_result *result)
{
	struct upload *u = container_of(c, struct upload, call);

	u->outcome = result->outcome;
	u->status = result->status;
	snprintf(u->msg, sizeof u->msg, "%s", result->msg);
}

static const struct http_call_ops upload_ops = { .done = upload_done };

/* -- one try ---------------------------------------------------------------------------------- */

static uint64_t time_left(const struct upload *u)
{
	uint64_t now = loop_now_ns(), end = u->st->wait.deadline_ns;

	if (!end)
		return http_origin_timeout_ns(u->place->origin);
	return end - MIN(end, now);
}

/* A new answer: nothing is there of the one before. */
static void begin(struct upload *u)
{
	uint8_t unused[SHA256_LEN];

	u->pos = 0;
	u->status = 0;
	u->outcome = HTTP_OUTCOME_RETRY;
	if (u->committed)
		return;
	u->at = u->len = 0;
	sha256_end(u->sum, unused);
}

static int send_it(struct upload *u, const char *line)
{
	const char *lines[] = { line };
	int r;

	u->call = (struct http_call){
		.ops = &upload_ops,
		.read = upload_read,
		.method = "PUT",
		.url = u->url,
		.headers = lines,
		.nheaders = line != NULL,
		.body_len = u->st->size,
		.max_body = MIB(1),
		.trusted = true,
		.timeout_ns = MAX(time_left(u), 1),
	};
	u->st->requests++;
	r = http_call_wait(&u->call, http_origin_settings(u->place->origin), u->st->wait.cancel);
	u->call.headers = NULL;
	return r;
}

static enum next judge(struct upload *u, int r)
{
	int code = http_refused_code(u->status);

	if (u->code)
		return NEXT_FAILED;
	if (r < 0) {
		u->outcome = HTTP_OUTCOME_CUT;
		snprintf(u->msg, sizeof u->msg, "it was called off");
		return u->committed ? NEXT_UNKNOWN : NEXT_FAILED;
	}
	if (u->outcome == HTTP_OUTCOME_OK)
		return NEXT_DONE;
	if (code) {
		u->code = http_explain("store", u->url, code, u->status, u->msg, u->err);
		return NEXT_FAILED;
	}
	/* It has not been acted upon: it was not complete, or the server says so. */
	if (!u->committed || (is_small(u) && (u->status == 503 || u->status == 429)))
		return NEXT_LATER;
	return NEXT_UNKNOWN;
}

/* Puts what there is, with the condition @name: @value. */
static enum next try_with(struct upload *u, const char *name, const char *value)
{
	char line[600];
	int r = 0;

	if (name)
		snprintf(line, sizeof line, "%s: %s", name, value);
	begin(u);
	if (is_small(u) && !u->committed)
		r = next_piece(u);
	return r < 0 ? NEXT_FAILED : judge(u, send_it(u, name ? line : NULL));
}

/*
 * Whether the server looks at conditions is found out with one that cannot hold: what is there has been compared a moment ago, so
 * that it does no harm where nobody looks at it.
 */
static enum next try_to_learn(struct upload *u)
{
	enum next next = try_with(u, "If-Match", "\"vmofs-asks-whether-this-is-looked-at\"");

	if (next == NEXT_DONE)
		http_learn(u->place, false);
	if (next != NEXT_FAILED || u->status != 412)
		return next;
	http_learn(u->place, true);
	u->code = 0;
	return NEXT_LATER;
}

/* -- a lost answer ---------------------------------------------------------------------------- */

/* What became of a try is looked for at the server. */
static enum next look_for(struct upload *u)
{
	struct http_seen seen;
	int r = http_look(u->place, u->url, &u->st->wait, &seen, u->err);

	u->st->requests++;
	if (r < 0)
		return NEXT_UNKNOWN;
	if (http_is_expected(&u->st->base, &seen))
		return is_small(u) ? NEXT_LATER : NEXT_UNKNOWN;
	r = http_compare(u->place, u->url, u->st->attempt, &u->st->now, &u->st->wait, u->err);
	if (r < 0)
		return NEXT_UNKNOWN;
	if (r > 0)
		return NEXT_DONE;
	u->code = http_explain("store", u->url, -ESTALE, 412, "another version is there", u->err);
	return NEXT_FAILED;
}

/* -- all of it -------------------------------------------------------------------------------- */

/* False: there is no time for another try. */
static bool pause_before(const struct upload *u, unsigned tries)
{
	uint64_t ns = MIN(PAUSE << MIN(tries, 6u), PAUSE_MAX);
	uint64_t until = loop_now_ns() + ns;

	if (time_left(u) <= ns)
		return false;
	while (loop_now_ns() < until) {
		struct timespec ts = { 0, (long)NAP };

		if (u->st->wait.cancel && atomic_load(u->st->wait.cancel))
			return false;
		nanosleep(&ts, NULL);
	}
	return true;
}

static enum next try_once(struct upload *u, bool *unsure)
{
	char value[sizeof u->st->base.validator];
	const char *name = http_condition(&u->st->base, value);
	bool learn = name && is_small(u) && !*unsure &&
		atomic_load(&u->place->ways->conditions) == HTTP_WAYS_UNKNOWN;
	enum next next = learn ? try_to_learn(u) : try_with(u, name, value);

	/* Only the first of several tries can say that it was never acted upon. */
	if (next == NEXT_UNKNOWN || (*unsure && next == NEXT_FAILED && u->code == -ESTALE)) {
		*unsure = true;
		u->code = 0;
		next = look_for(u);
	}
	return next;
}

static int give_up(struct upload *u)
{
	bool cancelled = u->st->wait.cancel && atomic_load(u->st->wait.cancel);

	if (u->code)
		return u->code;
	return http_explain("store", u->url,
			    cancelled                   ? -EINTR
				    : time_left(u) == 0 ? -ETIMEDOUT
							: -EIO,
			    u->status, u->msg, u->err);
}

static int run(struct upload *u)
{
	enum next next = NEXT_LATER;
	bool unsure = false;

	for (unsigned tries = 0; tries < TRIES_MAX && next == NEXT_LATER; tries++) {
		if (tries && u->status != 412 && !pause_before(u, tries))
			break;
		next = try_once(u, &unsure);
	}
	if (next != NEXT_DONE)
		return give_up(u);
	if (!u->st->now.exists)
		return http_find_version(u->place, u->url, &u->call.reply, u->st->size,
					 &u->st->wait, &u->st->now, u->err);
	return 0;
}

int http_upload(const struct http_place *p, const char *url, struct vmofs_store *st,
		struct vmofs_err *err)
{
	struct upload u = { .place = p, .url = url, .st = st, .err = err };
	bool taken;
	int r;

	u.cap = MIN(MAX(st->size, 1), PIECE);
	taken = st->size && st->take && st->take(st, u.cap);
	st->now = (struct vmofs_version){ .exists = false };
	u.piece = malloc(u.cap);
	u.sum = sha256_new();
	r = u.piece && u.sum ? run(&u) : vmofs_err_set(err, -ENOMEM, "no memory for a store");
	if (taken)
		st->give(st, u.cap);
	sha256_free(u.sum);
	free(u.piece);
	return r;
}
