/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the journal after a start: what the origin has got of them before the daemon ended is found out, and what was
 * changed is written into their VMOs again. One thread, before anybody uses the mount; the storing threads may be at work on files
 * that are done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "store/journal.h"
#include "write/wmove.h"
#include "write/writer_private.h"

#define ASK_NS (30 * NSEC_PER_SEC)

struct recovery {
	struct writer *w;
	int (*make)(void *arg, const char *key, const struct vmofs_version *base,
		    struct wfile_params *out);
	void *arg;
	bool full; /* files that were recovered before do not make room */
};

/* ---- contents ---- */

struct apply {
	struct journal_sink sink; /* first */
	struct wfile *f;
	uint64_t page; /* only this page, clipped to @size; UINT64_MAX: all */
	uint64_t size;
};

static int put(struct wfile *f, uint64_t off, const char *buf, uint64_t len)
{
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, writer_deadline(f->w) };
	int64_t n = 0;

	for (uint64_t done = 0; n >= 0 && done < len; done += (uint64_t)n)
		n = vmo_write_extend(f->vmo, off + done, buf + done, len - done, false, &wait);
	return n < 0 ? (int)n : 0;
}

/* The last page is written whole, so that nothing of it needs to be read: what follows in it was zero, or comes next. */
static int put_padded(struct apply *a, uint64_t off, const char *buf, uint64_t len)
{
	uint64_t end = off + len;
	uint64_t tail = end % VMOFS_PAGE_SIZE;
	char page[VMOFS_PAGE_SIZE] = { 0 };
	uint64_t at;
	int r;

	if (!tail || end >= a->size || tail > len)
		return put(a->f, off, buf, MIN(len, a->size - off));
	at = end - tail;
	r = at > off ? put(a->f, off, buf, at - off) : 0;
	memcpy(page, buf + (at - off), tail);
	return r ? r : put(a->f, at, page, MIN(VMOFS_PAGE_SIZE, a->size - at));
}

static int apply_pages(struct journal_sink *s, uint64_t off, const void *buf, uint64_t len)
{
	struct apply *a = container_of(s, struct apply, sink);
	uint64_t from = off;
	uint64_t end = MIN(off + len, a->size);

	if (a->page != UINT64_MAX) {
		from = MAX(off, page_bytes(a->page));
		end = MIN(end, page_bytes(a->page + 1));
	}
	return from < end ? put_padded(a, from, (const char *)buf + (from - off), end - from) : 0;
}

static int apply_zeros(struct journal_sink *s, uint64_t off, uint64_t len)
{
	struct apply *a = container_of(s, struct apply, sink);
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, writer_deadline(a->f->w) };
	uint64_t end = MIN(off + len, a->size);

	if (a->page != UINT64_MAX || off >= end)
		return 0;
	return vmo_zero(a->f->vmo, off, end - off, &wait);
}

static int read_log(struct wfile *f, uint64_t page, uint64_t size)
{
	struct apply a = {
		.sink = { .pages = apply_pages, .zeros = apply_zeros },
		.f = f,
		.page = page,
		.size = size,
	};

	return size ? journal_read(f->log, &a.sink) : 0;
}

/* What is in the log already need not be written there again. */
static int not_fresh(struct wfile *f)
{
	enum { PIECE = 1 << 20 };
	void *buf = malloc(PIECE);
	uint64_t off = 0;
	int64_t n;

	if (!buf)
		return 0; /* it is written once more */
	while ((n = vmo_fresh_copy(f->vmo, &off, buf, PIECE)) > 0)
		off += (uint64_t)n;
	free(buf);
	return (int)n;
}

/*
 * Base, cut to what is left of it, grown to the size, with the log's contents over it. The page in which the base was cut is
 * in the log; it comes first, so that it is not asked of the origin.
 */
static int apply(struct wfile *f, const struct journal_state *st)
{
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, writer_deadline(f->w) };
	uint64_t size = vmo_size(f->vmo);
	uint64_t kept = MIN(st->kept, size);
	int r = 0;

	if (kept < size && kept % VMOFS_PAGE_SIZE)
		r = read_log(f, page_floor(kept), size);
	if (r == 0 && kept < size)
		r = vmo_resize(f->vmo, kept, &wait);
	if (r == 0)
		r = vmo_resize(f->vmo, st->size, &wait);
	if (r == 0)
		r = read_log(f, UINT64_MAX, st->size);
	return r ? r : not_fresh(f);
}

/* None of it can be stored before all of it is here: it fits in, however much it is. */
static int apply_anyway(struct wfile *f, const struct journal_state *st)
{
	uint64_t before = room_exceed(ROOM_ANY);
	int r = apply(f, st);

	room_exceed(before);
	return r;
}

/* ---- what the origin has ---- */

/* The version that it is of now: 1: an attempt has arrived, @base is that; 0: not, or there was none; else not known. */
static int find_out(struct recovery *rec, const struct journal_found *found,
		    struct vmofs_version *base)
{
	struct vmofs_source *s = rec->w->p.source;
	struct vmofs_change_wait wait = { loop_now_ns() + ASK_NS, NULL };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now = { 0 };
	char attempt[VMOFS_ATTEMPT_LEN + 1];
	const char *at = found->attempt;
	int r = 0;

	*base = (struct vmofs_version){ .exists = found->base.exists, .size = found->base.size };
	snprintf(base->validator, sizeof base->validator, "%s", found->base.validator);
	while (r == 0 && wlog_next_attempt(&at, attempt))
		r = s->ops->change->attempted(s, found->key, attempt, &now, &wait, &err);
	if (r > 0)
		*base = now;
	if (r < 0)
		log_warn("what became of the store of '%s' is not known yet: %s", found->key,
			 err.msg);
	/* What is in conflict anyway waits for a decision, not for that. */
	return r < 0 && found->state.conflict ? 0 : r;
}

/*
 * The daemon ended while the file was being removed or replaced: 1, that was done, and the log may go; 0, not, and the file is as
 * it was; else that is not known.
 */
static int has_left(struct recovery *rec, struct journal_found *found)
{
	struct vmofs_source *s = rec->w->p.source;
	struct vmofs_change_wait wait = { loop_now_ns() + ASK_NS, NULL };
	struct vmofs_version base = { .exists = found->base.exists, .size = found->base.size };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now = { 0 };
	int r;

	if (strcmp(found->attempt, WLOG_LEAVING))
		return 0;
	snprintf(base.validator, sizeof base.validator, "%s", found->base.validator);
	r = s->ops->change->attempted(s, found->key, WLOG_LEAVING, &now, &wait, &err);
	if (r < 0)
		return r;
	if (!wstore_is_same(&now, &base))
		return 1;
	found->attempt = "";
	return journal_attempt(found->log, "");
}

/* ---- one file ---- */

/* Those that were given up may be on their way, from before; the first one too, unless its outcome is @open. */
static void take_attempts(struct wfile *f, const char *text, bool open)
{
	char attempt[VMOFS_ATTEMPT_LEN + 1];

	if (open)
		(void)wlog_next_attempt(&text, f->attempt);
	while (f->n_given_up < GIVEN_UP_MAX && wlog_next_attempt(&text, attempt)) {
		memmove(f->given_up[1], f->given_up[0], f->n_given_up++ * sizeof attempt);
		memcpy(f->given_up[0], attempt, sizeof attempt);
	}
}

static void set_up(struct wfile *f, const struct journal_found *found, int outcome)
{
	uint64_t now = writer_now(f->w);

	f->log_any = true;
	journal_state_set(&f->log_state, &found->state);
	f->there = outcome > 0;
	f->change_seq = 1;
	f->attr_seq = 1;
	f->committed_seq = 1;
	f->durable_seq = 1;
	f->since_ns = now;
	f->attr = (struct vmofs_change_attr){
		.has = found->state.has,
		.mode = found->state.mode,
		.uid = found->state.uid,
		.gid = found->state.gid,
		.mtime = found->state.mtime,
		.xattrs = vmofs_xattrs_get(found->state.xattrs),
	};
	f->state = outcome < 0 ? WFILE_STORING : WFILE_DIRTY;
	if (outcome == 0 && found->state.conflict) {
		f->state = WFILE_CONFLICT;
		f->error = -ESTALE;
	}
	if (outcome < 0) {
		f->stuck = true;
		f->committing = true;
	}
	if (outcome <= 0)
		take_attempts(f, found->attempt, outcome < 0);
}

/* From now on it may be stored. */
static int publish(struct wfile *f)
{
	bool soon = f->stuck || f->n_given_up;
	int r;

	mutex_lock(&f->w->lock);
	r = writer_insert_locked(f->w, f);
	if (r == 0) {
		wfile_own_locked(f);
		if (f->state != WFILE_CONFLICT)
			writer_due_locked(f, writer_now(f->w) + (soon ? 0 : f->w->p.age_ns));
	}
	mutex_unlock(&f->w->lock);
	return r;
}

/* Takes @found's log in any case. */
static int recover_file(struct recovery *rec, struct journal_found *found)
{
	struct journal_state state = found->state;
	struct wfile_params p = { .key = found->key };
	struct wfile *f;
	int outcome = find_out(rec, found, &p.base);
	int r = rec->make(rec->arg, found->key, &p.base, &p);

	if (r < 0) {
		journal_log_close(found->log);
		return r;
	}
	p.key = found->key;
	f = writer_find(rec->w, p.ino);
	r = f ? -EEXIST : wfile_make(&f, rec->w, &p);
	if (r < 0) {
		journal_log_close(found->log);
		if (f)
			wfile_put(f);
		if (rec->w->p.let_go)
			rec->w->p.let_go(rec->w->p.arg, p.keep);
		return r;
	}
	f->log = found->log;
	if (outcome > 0)
		state.kept = MIN(f->base.size, state.size);
	set_up(f, found, outcome);
	journal_state_set(&f->log_state, &state);
	r = apply_anyway(f, &state);
	if (r == 0 && outcome > 0)
		(void)wlog_rebase(f);
	if (r == 0 && outcome < 0)
		r = vmo_switch(f->vmo, NULL, 0);
	if (r == 0)
		r = publish(f);
	wfile_put(f);
	return r;
}

/* What was recovered before is stored first, as long as that helps. */
static void make_room(struct recovery *rec)
{
	struct room *room = &rec->w->room;
	uint64_t deadline_ns = writer_deadline(rec->w);
	struct room_waiter turn;

	room_begin(&turn);
	while (!rec->full && room_may_try(room, &turn) && room_used(room) >= room->limit) {
		writer_press(rec->w);
		rec->full = room_wait(room, &turn, deadline_ns) < 0;
	}
	room_end(room, &turn);
}

static int recover_one(void *arg, struct journal_found *found)
{
	struct recovery *rec = arg;
	size_t len = strlen(found->key);
	char *key;
	int r;

	if (len && found->key[len - 1] == '/') {
		wmove_found(rec->w, found);
		return 0;
	}
	key = strdup(found->key);
	make_room(rec);
	r = has_left(rec, found);
	if (r == 0)
		r = recover_file(rec, found);
	else if (r < 0)
		journal_log_close(found->log);
	else
		r = journal_remove(found->log);
	if (r == -EEXIST)
		log_warn("'%s' is in the journal twice: the later one waits for the next start",
			 key ? key : "");
	else if (r < 0)
		log_error("'%s' stays in the journal: it cannot be made as it was: %s",
			  key ? key : "", strerror(-r));
	free(key);
	return 0;
}

int writer_recover(struct writer *w,
		   int (*make)(void *arg, const char *key, const struct vmofs_version *base,
			       struct wfile_params *out),
		   void *arg)
{
	struct recovery rec = { .w = w, .make = make, .arg = arg };

	return w->p.journal ? journal_recover(w->p.journal, recover_one, &rec) : 0;
}
