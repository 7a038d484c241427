/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is removed or gets another name here, and a conflict that is decided. All of it blocks; nobody writes to the file
 * meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "write/writer_private.h"

/* ---- the end of a file ---- */

/* A store that has not sent its last request yet is called off. */
static void call_off(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	if (f->state == WFILE_STORING && !f->committing && !f->stuck)
		atomic_store(&f->cancel, true);
	mutex_unlock(&f->w->lock);
}

/* Whether the writer had a reference of its own. */
static bool make_gone(struct wfile *f, bool hide)
{
	bool held;

	mutex_lock(&f->w->lock);
	held = wfile_disown_locked(f);
	wahead_drop_locked(f);
	if (f->state != WFILE_GONE)
		wfile_set_state_locked(f, WFILE_GONE);
	writer_not_due_locked(f);
	if (hide)
		writer_forget_locked(f);
	mutex_unlock(&f->w->lock);
	return held;
}

/* Nothing of it is stored from now on. @hide: its ino stands for something else. */
static int end_file(struct wfile *f, bool hide)
{
	bool held = false;
	int r;

	wfile_hold_back(f);
	call_off(f);
	r = wfile_settle(f, writer_deadline(f->w));
	if (r == 0) {
		held = make_gone(f, hide);
		wlog_remove(f);
	}
	wfile_let_store(f);
	if (held)
		wfile_unref(f); /* the writer's own */
	return r;
}

/* True: wfile_leaving() was called. */
static bool set_leaving(struct wfile *f, bool leaving)
{
	bool was;

	mutex_lock(&f->w->lock);
	was = f->leaving;
	f->leaving = leaving;
	mutex_unlock(&f->w->lock);
	return was;
}

int wfile_leaving(struct wfile *f, bool *stored, struct vmofs_version *base)
{
	int r;

	wfile_hold_back(f);
	call_off(f);
	r = wfile_settle(f, writer_deadline(f->w));
	if (r < 0) {
		wfile_let_store(f);
		return r;
	}
	(void)set_leaving(f, true);
	wlog_leaving(f, true);
	wfile_base(f, base);
	*stored = base->exists;
	return 0;
}

void wfile_stays(struct wfile *f)
{
	if (!set_leaving(f, false))
		return;
	wlog_leaving(f, false);
	wfile_let_store(f);
}

int wfile_removed(struct wfile *f, bool *stored, struct vmofs_version *base)
{
	int r = end_file(f, false);

	if (set_leaving(f, false))
		wfile_let_store(f);
	if (r < 0)
		return r;
	wfile_base(f, base);
	*stored = base->exists;
	return 0;
}

/* ---- another name ---- */

/* The old one may be in use by somebody who says what has failed: @take_o keeps it. */
static void use_key_locked(struct wfile *f, char **take_key, struct old_key *take_o)
	REQUIRES(f->w->lock)
{
	take_o->key = f->key;
	take_o->next = f->old_keys;
	f->old_keys = take_o;
	f->key = steal_ptr(take_key);
}

static int check_clean(struct wfile *f)
{
	return wfile_state(f) == WFILE_CLEAN ? 0 : -EBUSY;
}

/* To the version @now of @key, which has the same contents. */
static int move_there(struct wfile *f, char **key, const struct vmofs_version *now,
		      struct vmofs_provider *to, struct vmofs_provider **old)
{
	struct old_key *o = malloc(sizeof *o);
	int r = o ? 0 : -ENOMEM;

	mutex_lock(&f->log_lock);
	if (r == 0)
		r = wfile_switch(f, to, now->size, old);
	if (r == 0) {
		mutex_lock(&f->w->lock);
		use_key_locked(f, key, steal_ptr(&o));
		f->base = *now;
		mutex_unlock(&f->w->lock);
	}
	mutex_unlock(&f->log_lock);
	free(o);
	return r;
}

/* What the origin has copied. */
static int renamed_there(struct wfile *f, char **key, const struct vmofs_version *now)
{
	struct vmofs_provider *to = NULL;
	struct vmofs_provider *old = NULL;
	int r;

	wfile_hold_back(f);
	r = check_clean(f);
	if (r == 0)
		r = wstore_open(f, *key, now, &to);
	if (r == 0)
		r = move_there(f, key, now, to, &old);
	wfile_let_store(f);
	if (r < 0)
		old = to;
	if (old)
		old->ops->free(old);
	return r;
}

/* What the origin does not have yet. No store is under way. */
static int rename_unstored(struct wfile *f, char **key, const struct vmofs_version *replaces)
{
	const struct vmofs_version nothing = { .exists = false };
	const struct vmofs_version *base = replaces ? replaces : &nothing;
	struct old_key *o;
	bool was_stored;
	int r;

	mutex_lock(&f->w->lock);
	was_stored = f->base.exists && (f->stored_seq || f->there);
	mutex_unlock(&f->w->lock);
	if (was_stored)
		return -EBUSY;
	o = malloc(sizeof *o);
	mutex_lock(&f->log_lock);
	r = o ? wlog_rename_locked(f, *key, base) : -ENOMEM;
	if (r == 0) {
		mutex_lock(&f->w->lock);
		wahead_drop_locked(f); /* that is of the old key */
		use_key_locked(f, key, steal_ptr(&o));
		f->base = *base;
		mutex_unlock(&f->w->lock);
	}
	mutex_unlock(&f->log_lock);
	free(o);
	return r;
}

static int renamed_here(struct wfile *f, char **key, const struct vmofs_version *replaces)
{
	int r;

	wfile_hold_back(f);
	r = wfile_settle(f, writer_deadline(f->w));
	if (r == 0)
		r = rename_unstored(f, key, replaces);
	wfile_let_store(f);
	return r;
}

int wfile_renamed(struct wfile *f, const char *key, const struct vmofs_version *replaces,
		  const struct vmofs_version *now)
{
	char *copy = strdup(key);
	int r = copy ? wfile_enter_any(f) : -ENOMEM;

	if (r == 0) {
		r = now ? renamed_there(f, &copy, now) : renamed_here(f, &copy, replaces);
		wfile_leave(f);
	}
	free(copy);
	return r;
}

/* ---- conflicts ---- */

/* What is at the key now: no attempt of ours has that name. */
static int look_there(struct wfile *f, struct vmofs_version *now, struct vmofs_err *err)
{
	struct vmofs_source *s = f->w->p.source;
	struct vmofs_change_wait wait = { writer_deadline(f->w), NULL };
	char nobody[VMOFS_ATTEMPT_LEN + 1];
	int r;

	vmofs_attempt_new(nobody);
	r = s->ops->change->attempted(s, f->key, nobody, now, &wait, err);
	return r < 0 ? r : 0;
}

static int keep_local(struct wfile *f, struct vmofs_err *err)
{
	struct vmofs_version *now = calloc(1, sizeof *now);
	int r;

	if (!now)
		return vmofs_err_set(err, -ENOMEM, "no memory");
	r = look_there(f, now, err);
	if (r < 0) {
		free(now);
		return r;
	}
	mutex_lock(&f->w->lock);
	free(f->instead);
	f->instead = now;
	f->failures = 0;
	f->change_seq++;
	wfile_set_state_locked(f, WFILE_DIRTY);
	writer_due_locked(f, 0);
	mutex_unlock(&f->w->lock);
	return 0;
}

static int decide(struct wfile *f, enum wfile_resolve how, const char *key, struct vmofs_err *err)
{
	int r = 0;

	if (wfile_state(f) != WFILE_CONFLICT)
		return vmofs_err_set(err, -EINVAL, "'%s' is not in conflict", f->key);
	if (how == WFILE_KEEP_LOCAL)
		return keep_local(f, err);
	if (how == WFILE_SAVE_AS)
		r = wstore_copy(f, key, err);
	return r < 0 ? r : end_file(f, true);
}

/* The next failure, which may be on its way, has another message, and this one is gone then. */
static int not_stored_yet(struct wfile *f, int code, struct vmofs_err *err)
{
	mutex_lock(&f->w->lock);
	vmofs_err_set(err, code, "'%s' is not stored yet: %s", f->key,
		      f->msg ? f->msg : strerror(-code));
	mutex_unlock(&f->w->lock);
	return code;
}

int wfile_resolve(struct wfile *f, enum wfile_resolve how, const char *key, struct vmofs_err *err)
{
	int r = wfile_enter_any(f);

	if (r < 0)
		return vmofs_err_set(err, r, "the mount is about to end");
	r = decide(f, how, key, err);
	wfile_leave(f);
	if (r == 0 && how == WFILE_KEEP_LOCAL) {
		uint64_t since = 0;

		r = wfile_store_wait(f, &since, writer_deadline(f->w), NULL);
		if (r < 0)
			return not_stored_yet(f, r, err);
	}
	return r < 0 && !err->code ? vmofs_err_set(err, r, "cannot resolve '%s'", f->key) : r;
}
