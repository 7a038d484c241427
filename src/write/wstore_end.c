/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a store: the origin has it, has another version, has refused it, or nobody knows. What nobody knows is
 * asked of the origin until it is known; until then the file is STORING and reads that miss wait. Runs on threads of the
 * writer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "write/writer_private.h"

#define BACKOFF_FIRST_NS NSEC_PER_SEC
#define BACKOFF_MOST_NS  (60 * NSEC_PER_SEC)
#define ASK_NS           (30 * NSEC_PER_SEC)
#define ASK_AGAIN_NS     (4 * NSEC_PER_SEC)

static uint64_t backoff_of(unsigned failures)
{
	uint64_t ns = BACKOFF_FIRST_NS;

	while (--failures && ns < BACKOFF_MOST_NS)
		ns *= 2;
	return MIN(ns, BACKOFF_MOST_NS);
}

/* The store under way is over: nothing of it is left but what the caller says next. */
static void over_locked(struct wfile *f) REQUIRES(f->w->lock)
{
	f->committing = false;
	f->cut_store = false;
	f->stuck = false;
	f->attempt[0] = '\0';
	atomic_store(&f->cancel, f->w->stopping);
}

/* DIRTY, and stored again at @when_ns. */
static void again_locked(struct wfile *f, uint64_t when_ns) REQUIRES(f->w->lock)
{
	wfile_set_state_locked(f, WFILE_DIRTY);
	writer_due_locked(f, when_ns);
}

/* ---- it was not stored ---- */

/* The VMO goes on with the version that it has. What the journal says of a store that was given up it says until the next one. */
static void go_on(struct wfile *f, struct wjob *j, int status)
{
	if (j && j->committed && !f->stuck)
		wlog_no_attempt(f);
	if (f->stuck || (j && j->committed))
		(void)vmo_switch(f->vmo, vmo_provider(f->vmo), 0);
	if (j && j->token) {
		if (status == -ECANCELED)
			vmo_writeback_abandon(j->token);
		else
			vmo_writeback_end(j->token, status);
		j->token = NULL;
	}
	if (j)
		wstore_free(j);
}

/* What it had read was cut off, or it was called off: nothing has failed. */
static void begin_anew(struct wfile *f, struct wjob *j)
{
	go_on(f, j, -ECANCELED);
	mutex_lock(&f->w->lock);
	over_locked(f);
	again_locked(f, writer_now(f->w));
	mutex_unlock(&f->w->lock);
}

static void say_failure(struct wfile *f, int status, const char *msg, unsigned failures)
{
	/* The first of a row, and then now and then. */
	if ((failures & (failures - 1)) == 0)
		log_warn("'%s' is not stored yet: %s; tried again in %u s", f->key,
			 msg && *msg ? msg : strerror(-status),
			 (unsigned)(backoff_of(failures) / NSEC_PER_SEC));
}

static void failed(struct wfile *f, struct wjob *j, int status, const char *msg)
{
	unsigned failures;

	go_on(f, j, status);
	mutex_lock(&f->w->lock);
	over_locked(f);
	wfile_fail_locked(f, status, msg && *msg ? msg : strerror(-status));
	failures = f->failures;
	again_locked(f, writer_now(f->w) + backoff_of(failures));
	mutex_unlock(&f->w->lock);
	say_failure(f, status, msg, failures);
}

/* What is here of the old version is nowhere else: as much of it as leaves room for others is kept, as if it had been changed. */
static void keep_old(struct wfile *f)
{
	uint64_t off = 0;

	while (!room_is_tight(&f->w->room) && vmo_keep(f->vmo, &off) > 0)
		continue;
}

static void conflict(struct wfile *f, struct wjob *j, const char *msg)
{
	if (j && j->unreadable)
		msg = wstore_unreadable;
	go_on(f, j, -ESTALE);
	keep_old(f);
	mutex_lock(&f->w->lock);
	over_locked(f);
	free(f->instead);
	f->instead = NULL;
	wfile_set_state_locked(f, WFILE_CONFLICT);
	wfile_fail_locked(
		f, -ESTALE,
		msg && *msg ? msg : "the origin has another version than the one that was changed");
	mutex_unlock(&f->w->lock);
	log_error(
		"'%s' was changed here and at the origin: nothing is overwritten; 'vmofs resolve' ends the conflict",
		f->key);
	(void)wlog_note(f);
}

/* ---- it was ---- */

int wstore_open(struct wfile *f, const char *key, const struct vmofs_version *v,
		struct vmofs_provider **out)
{
	struct vmofs_source *s = f->w->p.source;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_object_info *info = calloc(1, sizeof *info);
	struct vmofs_entry e = {
		.type = VMOFS_ENTRY_FILE,
		.key = key,
		.key_len = strlen(key),
		.size = v->size,
		.mtime = v->mtime,
		.validator = v->validator,
	};
	int r = info ? s->ops->object(s, &e, out, info, &err) : -ENOMEM;

	free(info);
	return r;
}

/* @to takes the place of the provider that the VMO has; of one that has been detached nobody reads any more. */
int wfile_switch(struct wfile *f, struct vmofs_provider *to, uint64_t size,
		 struct vmofs_provider **old)
{
	int r = vmo_switch(f->vmo, to, size);

	if (r == -ENOMEM)
		return r;
	*old = r < 0 ? to : f->provider;
	if (r == 0)
		f->provider = to;
	return 0;
}

/* What the origin has from now on. Whether the journal has anything to keep beside that. */
static bool based_on_locked(struct wfile *f, bool whole, const struct vmofs_version *now)
	REQUIRES(f->w->lock)
{
	f->base = *now;
	free(f->instead);
	f->instead = NULL;
	f->n_given_up = 0;
	f->there = true;
	return whole && f->change_seq == f->begin_seq;
}

/*
 * What was sent ahead has the attributes of its beginning. Those that somebody has set since then are a change that this store does not
 * have: the next one stores them alone.
 */
static void attr_is_old_locked(struct wfile *f, struct wjob *j) REQUIRES(f->w->lock)
{
	if (!j->attr_old || !j->st.ahead_used)
		return;
	f->begin_seq--;
	j->attr_seq--;
}

static void count_locked(struct wfile *f, const struct wjob *j) REQUIRES(f->w->lock)
{
	struct writer_stats *s = &f->w->stats;
	uint64_t t = writer_now(f->w);

	f->failures = 0;
	f->error = 0;
	if (!j)
		return;
	f->stored_seq = f->begin_seq;
	f->attr_stored = j->attr_seq;
	if (!j->sent)
		return;
	f->took_ns = t - MIN(j->began_ns, t);
	s->stores++;
	s->requests += j->st.requests;
	s->bytes_up += j->st.bytes_up;
	s->bytes_copied += j->st.bytes_copied;
}

/* True: nothing is left to be stored. */
static bool settled_locked(struct wfile *f, bool whole) REQUIRES(f->w->lock)
{
	bool clean = whole && f->change_seq == f->begin_seq;
	uint64_t t = writer_now(f->w);

	over_locked(f);
	f->since_ns = clean ? 0 : f->again_ns ? f->again_ns : t;
	f->again_ns = 0;
	if (clean) {
		wfile_set_state_locked(f, WFILE_CLEAN);
		(void)wfile_disown_locked(f); /* tell() has it */
	} else {
		again_locked(f, f->wanted || !whole ? t : t + MAX(f->w->p.age_ns, f->took_ns));
	}
	return clean;
}

static void tell(struct wfile *f, const struct vmofs_version *now)
{
	struct writer *w = f->w;

	if (w->p.stored)
		w->p.stored(w->p.arg, f->ino, now);
	wfile_unref(f); /* the writer's own */
}

/*
 * @j NULL: that of a daemon before this one; what was written is dirty all the same. -ENOMEM: nothing has happened, and @to is still
 * the caller's.
 */
static int stored(struct wfile *f, struct wjob *j, struct vmofs_provider *to,
		  const struct vmofs_version *now)
{
	struct vmofs_provider *old = NULL;
	bool clean;

	mutex_lock(&f->log_lock);
	if (to && wfile_switch(f, to, now->size, &old) < 0) {
		mutex_unlock(&f->log_lock);
		return -ENOMEM;
	}
	if (j && j->token) {
		vmo_writeback_end(j->token, 0);
		j->token = NULL;
	}
	mutex_lock(&f->w->lock);
	if (j) { /* what was cut off before is not there any more */
		f->cut = f->store_cut;
		attr_is_old_locked(f, j);
	}
	clean = based_on_locked(f, j != NULL, now);
	mutex_unlock(&f->w->lock);
	/* Who waits for the store finds the journal as it is after it. */
	wlog_stored_locked(f, clean);
	mutex_lock(&f->w->lock);
	count_locked(f, j);
	clean = settled_locked(f, j != NULL);
	mutex_unlock(&f->w->lock);
	mutex_unlock(&f->log_lock);
	if (old)
		old->ops->free(old);
	if (clean)
		tell(f, now);
	if (j) /* @now may be in it */
		wstore_free(j);
	return 0;
}

/* ---- nobody knows ---- */

static void stuck(struct wfile *f, struct wjob *j, int status, const char *msg)
{
	unsigned failures;

	(void)vmo_switch(f->vmo, NULL, 0);
	mutex_lock(&f->w->lock);
	f->job = j;
	f->stuck = true;
	wfile_fail_locked(f, status, msg && *msg ? msg : strerror(-status));
	failures = f->failures;
	/* Reads wait for this one. */
	writer_due_locked(f, writer_now(f->w) + MIN(backoff_of(failures), ASK_AGAIN_NS));
	mutex_unlock(&f->w->lock);
	say_failure(f, status, msg, failures);
}

bool wstore_is_same(const struct vmofs_version *a, const struct vmofs_version *b)
{
	if (!a->exists || !b->exists)
		return a->exists == b->exists;
	return a->size == b->size &&
		(!a->validator[0] || !b->validator[0] || strcmp(a->validator, b->validator) == 0);
}

/* The origin has it: where no provider can be made for that, it is as if that was not known. */
static void arrived(struct wfile *f, struct wjob *j, const struct vmofs_version *now)
{
	struct vmofs_provider *to;
	int r = wstore_open(f, f->key, now, &to);

	if (r == 0) {
		r = stored(f, j, to, now);
		if (r < 0)
			to->ops->free(to);
	}
	if (r < 0)
		stuck(f, j, r, "what was stored cannot be opened");
}

/*
 * One that was given up came after it had been asked for, and before the next one. The origin has it all the same: what it had is
 * dirty still, so it is only another base.
 */
static void came_late(struct wfile *f, struct wjob *j, const struct vmofs_version *now)
{
	struct vmofs_provider *old = NULL;
	struct vmofs_provider *to;
	int r = wstore_open(f, f->key, now, &to);

	mutex_lock(&f->log_lock);
	/* What was cut off since then is dirty no more, and not the origin's either. */
	if (r == 0) {
		r = wfile_switch(f, to, MIN(now->size, vmo_origin_size(f->vmo)), &old);
		if (r < 0)
			to->ops->free(to);
	}
	if (r < 0) {
		mutex_unlock(&f->log_lock);
		stuck(f, j, r, "what was stored cannot be opened");
		return;
	}
	mutex_lock(&f->w->lock);
	(void)based_on_locked(f, false, now);
	mutex_unlock(&f->w->lock);
	mutex_unlock(&f->log_lock);
	(void)wlog_rebase(f);
	if (old)
		old->ops->free(old);
	if (j)
		wstore_free(j);
	mutex_lock(&f->w->lock);
	over_locked(f);
	again_locked(f, writer_now(f->w));
	mutex_unlock(&f->w->lock);
}

/* It is not what is there, but it may be on its way. */
static void give_up(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	if (f->attempt[0]) {
		if (f->n_given_up == GIVEN_UP_MAX)
			memmove(f->given_up[0], f->given_up[1],
				--f->n_given_up * sizeof f->given_up[0]);
		memcpy(f->given_up[f->n_given_up++], f->attempt, sizeof f->attempt);
	}
	mutex_unlock(&f->w->lock);
}

/* None of our attempts is what is there. */
static void missed(struct wfile *f, struct wjob *j, const struct vmofs_version *now,
		   const char *msg)
{
	struct vmofs_version expected = j ? j->base : f->base;

	if ((j && j->refused) || !wstore_is_same(now, &expected)) {
		conflict(f, j, msg);
		return;
	}
	give_up(f);
	begin_anew(f, j);
}

static int ask(struct wfile *f, const char *attempt, struct vmofs_version *now,
	       struct vmofs_err *err)
{
	struct vmofs_source *s = f->w->p.source;
	struct vmofs_change_wait wait = { loop_now_ns() + ASK_NS, &f->cancel };

	return s->ops->change->attempted(s, f->key, attempt, now, &wait, err);
}

/* As attempted(), of those that were given up. */
static int ask_given_up(struct wfile *f, struct vmofs_version *now, struct vmofs_err *err)
{
	int r = 0;

	for (unsigned i = f->n_given_up; r == 0 && i-- > 0;)
		r = ask(f, f->given_up[i], now, err);
	return r;
}

/* @msg: of the refusal, if there was one. */
static void find_out(struct wfile *f, struct wjob *j, const char *msg)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now = { 0 };
	int r = f->attempt[0] ? ask(f, f->attempt, &now, &err) : 0;

	if (r > 0) {
		arrived(f, j, &now);
		return;
	}
	if (r == 0)
		r = ask_given_up(f, &now, &err);
	if (r < 0)
		stuck(f, j, r, err.msg);
	else if (r > 0)
		came_late(f, j, &now);
	else
		missed(f, j, &now, msg);
}

void wstore_ask(struct wfile *f)
{
	struct wjob *j = f->job;

	f->job = NULL;
	find_out(f, j, NULL);
}

/* Unless it is ourselves, from before. */
static void refused(struct wfile *f, struct wjob *j, const char *msg)
{
	j->refused = true;
	if (f->n_given_up)
		find_out(f, j, msg);
	else
		conflict(f, j, msg);
}

/* ---- all of it ---- */

static bool is_unknown(int status)
{
	static const int codes[] = { -EIO, -ETIMEDOUT, -EINTR, -ESHUTDOWN, -ECANCELED, -ENOMEM };

	for (unsigned i = 0; i < ARRAY_LEN(codes); i++)
		if (status == codes[i])
			return true;
	return false;
}

/* The origin has another version, or nothing any more. */
static bool is_other(const struct wjob *j, int status)
{
	return status == -ESTALE || (status == -ENOENT && j->unreadable);
}

void wstore_end(struct wfile *f, struct wjob *j, int status, const char *msg)
{
	if (status == 0 && !j->sent)
		(void)stored(f, j, NULL, &j->st.now);
	else if (status == 0)
		arrived(f, j, &j->st.now);
	else if (j && j->committed && is_unknown(status))
		stuck(f, j, status, msg);
	else if (j && is_other(j, status))
		refused(f, j, msg);
	else if (status == -ECANCELED || (j && atomic_load(&f->cancel)))
		begin_anew(f, j);
	else
		failed(f, j, status, msg);
}
