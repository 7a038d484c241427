/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file's log in the journal: what goes into a commit, what a store means for it. A commit has the file as it was at one moment of the
 * call, with some pages newer than that; sizes and pages agree. All of it blocks; log_lock is held across system calls.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "store/journal.h"
#include "write/writer_private.h"

/* What is copied under the VMO's lock at once. */
#define COPY_BYTES MIB(1)

static_assert(WLOG_ATTEMPTS <= JOURNAL_ATTEMPT_MAX, "they fit");

/* A file that is cut all the time is given up, until the next commit. */
enum { PASSES = 64 };

/* ---- what a commit has ---- */

static void fresh_all(struct wfile *f)
{
	vmo_fresh_again(f->vmo, 0, page_bytes(page_ceil(vmo_size(f->vmo))));
	mutex_lock(&f->w->lock);
	f->zeros = true;
	mutex_unlock(&f->w->lock);
}

static int add_zeros(struct wfile *f, uint64_t size)
{
	struct vmo_dirty_range got[64];
	uint64_t off = 0;
	int r = 0;

	while (r == 0 && off < size) {
		int64_t n = vmo_next_dirty(f->vmo, off, size - off, got, ARRAY_LEN(got));

		/* It was cut meanwhile, so this pass does not count. */
		if (n <= 0)
			return n == -ERANGE ? 0 : (int)n;
		n = MIN(n, (int64_t)ARRAY_LEN(got));
		for (int64_t i = 0; r == 0 && i < n; i++)
			if (got[i].is_zero && got[i].off < size)
				r = journal_zeros(f->log, got[i].off,
						  MIN(got[i].len, size - got[i].off));
		off = got[n - 1].off + got[n - 1].len;
	}
	return r;
}

static int add_pages(struct wfile *f, void *buf, uint64_t size)
{
	uint64_t off = 0;
	int64_t n;
	int r = 0;

	while (r == 0 && (n = vmo_fresh_copy(f->vmo, &off, buf, COPY_BYTES)) != 0) {
		if (n < 0)
			return (int)n;
		if (off < size)
			r = journal_pages(f->log, off, buf, MIN((uint64_t)n, size - off));
		off += (uint64_t)n;
	}
	return r;
}

struct pass {
	uint64_t size;
	uint64_t kept;
	uint64_t cut;
	uint64_t least_cut; /* of all passes of the commit */
	uint64_t seq;
	bool zeros;
};

/*
 * What was cut off since a store began is told each time until it is known what became of that: it would be seen again
 * in the version that the store makes, but not in the one before.
 */
static uint64_t cut_locked(const struct wfile *f) REQUIRES(f->w->lock)
{
	return f->committing ? MIN(f->cut, f->store_cut) : f->cut;
}

/* Takes what is to be told; sizes agree with each other. -EBUSY: it is being cut or zeroed. */
static int begin_pass(struct wfile *f, struct pass *p)
{
	bool busy;

	mutex_lock(&f->w->lock);
	busy = f->shaping;
	if (!busy) {
		p->cut = cut_locked(f);
		p->zeros = f->zeros;
		p->seq = f->change_seq;
		f->cut = UINT64_MAX;
		f->zeros = false;
	}
	mutex_unlock(&f->w->lock);
	if (busy)
		return -EBUSY;
	do {
		p->kept = vmo_origin_size(f->vmo);
		p->size = vmo_size(f->vmo);
	} while (vmo_origin_size(f->vmo) != p->kept);
	return 0;
}

/* True: nothing was cut or zeroed since it began. */
static bool end_pass(struct wfile *f, const struct pass *p)
{
	uint64_t size = vmo_size(f->vmo);
	bool ok;

	/* What lies beyond the size that is committed is for the next time. */
	if (size > p->size)
		vmo_fresh_again(f->vmo, page_bytes(page_floor(p->size)),
				page_bytes(page_ceil(size)) - page_bytes(page_floor(p->size)));
	mutex_lock(&f->w->lock);
	ok = f->cut == UINT64_MAX && !f->zeros && !f->shaping;
	mutex_unlock(&f->w->lock);
	return ok;
}

static int one_pass(struct wfile *f, struct pass *p, void *buf)
{
	int r = 0;

	if (p->cut < p->size) {
		r = journal_zeros(f->log, p->cut, p->size - p->cut);
		vmo_fresh_again(f->vmo, page_bytes(page_floor(p->cut)),
				page_bytes(page_ceil(p->size)) - page_bytes(page_floor(p->cut)));
	}
	if (r == 0 && (p->zeros || p->cut < p->size))
		r = add_zeros(f, p->size);
	return r ? r : add_pages(f, buf, p->size);
}

static int fill_group(struct wfile *f, struct pass *p, void *buf)
{
	int r = journal_begin(f->log);

	for (unsigned i = 0; r == 0; i++) {
		r = begin_pass(f, p);
		if (r < 0)
			break;
		p->least_cut = MIN(p->least_cut, p->cut);
		r = one_pass(f, p, buf);
		if (r == 0 && end_pass(f, p))
			return 0;
		if (r == 0 && i == PASSES)
			r = -EAGAIN;
	}
	journal_abort(f->log);
	return r;
}

/* Its xattrs are counted. */
static void state_of(struct wfile *f, const struct pass *p, struct journal_state *st)
{
	mutex_lock(&f->w->lock);
	*st = (struct journal_state){
		.size = p->size,
		.kept = f->base.exists ? MIN(p->kept, f->base.size) : 0,
		.mtime = f->attr.mtime,
		.has = f->attr.has,
		.mode = f->attr.mode,
		.uid = f->attr.uid,
		.gid = f->attr.gid,
		.conflict = f->state == WFILE_CONFLICT || f->instead,
		.xattrs = vmofs_xattrs_get(f->attr.xattrs),
	};
	mutex_unlock(&f->w->lock);
}

/* ---- the log ---- */

static void base_of_version(const struct vmofs_version *v, struct journal_base *b)
{
	*b = (struct journal_base){ .exists = v->exists, .size = v->exists ? v->size : 0 };
	if (v->exists)
		snprintf(b->validator, sizeof b->validator, "%s", v->validator);
}

static void base_of(struct wfile *f, struct journal_base *b)
{
	mutex_lock(&f->w->lock);
	base_of_version(&f->base, b);
	mutex_unlock(&f->w->lock);
}

/* What the log is to say of attempts now; @open: also of the one under way. */
static void attempts_of(struct wfile *f, bool open, char text[WLOG_ATTEMPTS])
{
	size_t n = 0;

	mutex_lock(&f->w->lock);
	text[0] = '\0';
	if (f->leaving)
		snprintf(text, WLOG_ATTEMPTS, "%s", WLOG_LEAVING);
	else if (open && f->attempt[0])
		n = (size_t)snprintf(text, WLOG_ATTEMPTS, "%s", f->attempt);
	for (unsigned i = f->leaving ? 0 : f->n_given_up; i-- > 0;)
		n += (size_t)snprintf(text + n, WLOG_ATTEMPTS - n, "%s%s", n ? " " : "",
				      f->given_up[i]);
	mutex_unlock(&f->w->lock);
}

bool wlog_next_attempt(const char **at, char attempt[VMOFS_ATTEMPT_LEN + 1])
{
	size_t n = strcspn(*at, " ");

	snprintf(attempt, VMOFS_ATTEMPT_LEN + 1, "%.*s", (int)n, *at);
	*at += n;
	*at += strspn(*at, " ");
	return n > 0;
}

static int need_log(struct wfile *f) REQUIRES(f->log_lock)
{
	char attempts[WLOG_ATTEMPTS];
	struct journal_base base;
	int r;

	if (f->log)
		return 0;
	base_of(f, &base);
	r = journal_log_new(f->w->p.journal, f->key, &base, &f->log);
	if (r < 0)
		return r;
	f->log_any = false;
	f->log_stale = false;
	fresh_all(f);
	attempts_of(f, true, attempts);
	if (attempts[0])
		(void)journal_attempt(f->log, attempts);
	return 0;
}

/* After a store that the log could not be told of. */
static int refresh_base(struct wfile *f) REQUIRES(f->log_lock)
{
	const struct journal_range all = { 0, page_bytes(page_ceil(f->log_state.size)) };
	struct journal_base base;
	int r;

	if (!f->log_stale)
		return 0;
	base_of(f, &base);
	f->log_state.kept = MIN(f->log_state.kept, base.size);
	r = journal_stored(f->log, &base, &f->log_state, &all, all.len != 0);
	f->log_stale = r < 0;
	return r;
}

/* What the log has from now on. */
static int commit_state(struct wfile *f, const struct pass *p, bool durable) REQUIRES(f->log_lock)
{
	struct journal_state st;
	int r;

	state_of(f, p, &st);
	r = journal_commit(f->log, &st, durable);
	if (r == 0)
		journal_state_set(&f->log_state, &st);
	vmofs_xattrs_put(st.xattrs);
	return r;
}

static int write_group(struct wfile *f, bool durable) REQUIRES(f->log_lock)
{
	struct pass p = { .least_cut = UINT64_MAX };
	void *buf = malloc(COPY_BYTES);
	int r = buf ? 0 : -ENOMEM;

	if (r == 0 && journal_must_repeat(f->log))
		fresh_all(f);
	if (r == 0)
		r = fill_group(f, &p, buf);
	free(buf);
	if (r == 0)
		r = commit_state(f, &p, durable);
	if (r < 0) {
		fresh_all(f);
		mutex_lock(&f->w->lock);
		f->cut = MIN(f->cut, p.least_cut);
		f->committed_seq = 0;
		mutex_unlock(&f->w->lock);
		return r;
	}
	f->log_any = true;
	mutex_lock(&f->w->lock);
	f->committed_seq = p.seq;
	if (durable)
		f->durable_seq = p.seq;
	mutex_unlock(&f->w->lock);
	return 0;
}

/* Nothing new: what is there becomes durable. */
static int sync_log(struct wfile *f) REQUIRES(f->log_lock)
{
	int r = journal_sync(f->log);

	mutex_lock(&f->w->lock);
	if (r == 0)
		f->durable_seq = f->committed_seq;
	mutex_unlock(&f->w->lock);
	return r;
}

/* The log is as new as what is being stored. Who commits need not be who stores, and may come when that is over. */
static void tell_attempt(struct wfile *f) REQUIRES(f->log_lock)
{
	char attempts[WLOG_ATTEMPTS];
	int r;

	attempts_of(f, true, attempts);
	r = journal_attempt(f->log, attempts);
	f->log_behind = r < 0;
	if (r < 0)
		log_warn("the journal does not know that '%s' is being stored: %s", f->key,
			 strerror(-r));
}

static int commit_locked(struct wfile *f, bool durable, bool anyway) REQUIRES(f->log_lock)
{
	bool left, fresh;
	int r;

	mutex_lock(&f->w->lock);
	left = wfile_is_left(f->state);
	fresh = anyway || f->committed_seq < f->change_seq;
	mutex_unlock(&f->w->lock);
	if (!left)
		return 0;
	r = need_log(f);
	if (r == 0)
		r = refresh_base(f);
	if (r < 0)
		return r;
	if (fresh || !f->log_any || journal_must_repeat(f->log))
		r = write_group(f, durable);
	else if (durable)
		r = sync_log(f);
	if (r == 0 && f->log_behind)
		tell_attempt(f);
	return r;
}

/* Without log_lock: what is being cut may wait for a store to end, which takes it. */
static void wait_shaped(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	while (f->shaping)
		cond_wait(&f->w->changed, &f->w->lock);
	mutex_unlock(&f->w->lock);
}

static int commit(struct wfile *f, bool durable, bool anyway)
{
	int r = -EBUSY;

	if (!f->w->p.journal)
		return durable ? -EOPNOTSUPP : 0;
	for (unsigned i = 0; r == -EBUSY && i < PASSES; i++) {
		wait_shaped(f);
		mutex_lock(&f->log_lock);
		r = commit_locked(f, durable, anyway);
		mutex_unlock(&f->log_lock);
	}
	mutex_lock(&f->w->lock);
	f->commit_failures = r < 0 ? f->commit_failures + 1 : 0;
	mutex_unlock(&f->w->lock);
	if (r < 0)
		log_warn("'%s' is not in the journal: %s", f->key, strerror(-r));
	return r;
}

int wlog_commit(struct wfile *f, bool durable)
{
	return commit(f, durable, false);
}

int wlog_note(struct wfile *f)
{
	return commit(f, false, true);
}

/* ---- stores ---- */

/*
 * All that the store has read goes into the log first: after a crash the file is what the origin has with what the log has over it, which
 * must not be older.
 */
void wlog_attempt(struct wfile *f)
{
	bool any;

	if (!f->w->p.journal)
		return;
	mutex_lock(&f->log_lock);
	any = f->log && f->log_any;
	f->log_behind = any;
	mutex_unlock(&f->log_lock);
	if (any) {
		(void)commit(f, false, false);
		return;
	}
	mutex_lock(&f->log_lock);
	if (f->log)
		tell_attempt(f);
	mutex_unlock(&f->log_lock);
}

void wlog_no_attempt(struct wfile *f)
{
	char attempts[WLOG_ATTEMPTS];

	if (!f->w->p.journal)
		return;
	mutex_lock(&f->log_lock);
	f->log_behind = false;
	attempts_of(f, false, attempts);
	if (f->log)
		(void)journal_attempt(f->log, attempts);
	mutex_unlock(&f->log_lock);
}

/* What is dirty again, at most @cap ranges; where there are more, or no memory, the last one has the rest. */
static unsigned dirty_again(struct wfile *f, struct journal_range *keep, unsigned cap)
{
	uint64_t end = page_bytes(page_ceil(vmo_size(f->vmo)));
	struct vmo_dirty_range got[64];
	uint64_t off = 0;
	unsigned n = 0;

	while (off < end) {
		int64_t found = vmo_next_dirty(f->vmo, off, end - off, got, ARRAY_LEN(got));

		if (found == -ERANGE) { /* it was cut meanwhile */
			end = page_bytes(page_ceil(vmo_size(f->vmo)));
			continue;
		}
		if (found <= 0)
			break;
		found = MIN(found, (int64_t)ARRAY_LEN(got));
		for (int64_t i = 0; i < found; i++) {
			if (n && keep[n - 1].off + keep[n - 1].len == got[i].off)
				keep[n - 1].len += got[i].len;
			else if (n < cap)
				keep[n++] = (struct journal_range){ got[i].off, got[i].len };
			else
				keep[n - 1].len = got[i].off + got[i].len - keep[n - 1].off;
		}
		off = got[found - 1].off + got[found - 1].len;
	}
	return n;
}

/*
 * What the log's last commit has and was cut off since then is not dirty any more, but it is what will be found after a
 * crash. Room for one more range.
 */
static unsigned add_lost(struct wfile *f, struct journal_range *keep, unsigned n)
	REQUIRES(f->log_lock)
{
	uint64_t end = page_bytes(page_ceil(f->log_state.size));
	uint64_t from;

	mutex_lock(&f->w->lock);
	from = f->cutting ? 0 : page_bytes(page_floor(f->cut));
	mutex_unlock(&f->w->lock);
	if (from >= end)
		return n;
	while (n && keep[n - 1].off + keep[n - 1].len >= from) {
		from = MIN(from, keep[n - 1].off);
		end = MAX(end, keep[n - 1].off + keep[n - 1].len);
		n--;
	}
	keep[n] = (struct journal_range){ from, end - from };
	return n + 1;
}

/* Nothing is told of what was not committed yet. */
static int keep_rest(struct wfile *f) REQUIRES(f->log_lock)
{
	enum { RANGES = 4096 };
	struct journal_range *keep = malloc((RANGES + 1) * sizeof *keep);
	struct journal_base base;
	unsigned n;
	int r;

	if (!keep)
		return -ENOMEM;
	base_of(f, &base);
	f->log_state.kept = MIN(base.size, f->log_state.size);
	f->log_state.conflict = false;
	n = add_lost(f, keep, dirty_again(f, keep, RANGES));
	r = journal_stored(f->log, &base, &f->log_state, keep, n);
	free(keep);
	return r;
}

static void remove_log(struct wfile *f) REQUIRES(f->log_lock)
{
	struct journal_log *l = f->log;

	f->log = NULL;
	f->log_any = false;
	f->log_stale = false;
	f->log_behind = false;
	mutex_lock(&f->w->lock);
	f->committed_seq = 0;
	f->durable_seq = 0;
	mutex_unlock(&f->w->lock);
	if (journal_remove(l) < 0)
		log_warn("what is stored of '%s' may be found in the journal again", f->key);
}

static void commit_soon(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	writer_commit_now_locked(f);
	mutex_unlock(&f->w->lock);
}

void wlog_stored_locked(struct wfile *f, bool clean)
{
	if (!f->log)
		return;
	/* One that is behind is worse than none: what it has is what the origin has, or older. */
	if (clean || !f->log_any || f->log_behind) {
		remove_log(f);
		if (!clean)
			commit_soon(f);
		return;
	}
	if (keep_rest(f) < 0) {
		f->log_stale = true;
		log_warn("the journal does not know that '%s' was stored", f->key);
	}
}

/* ---- names and ends ---- */

int wlog_rename_locked(struct wfile *f, const char *key, const struct vmofs_version *base)
{
	struct journal_base b;
	int r = 0;

	base_of_version(base, &b);
	if (f->log)
		r = journal_rename(f->log, key, &b);
	if (f->log && r == 0)
		f->log_stale = false;
	return r;
}

void wlog_leaving(struct wfile *f, bool leaving)
{
	char attempts[WLOG_ATTEMPTS];
	int r = 0;

	mutex_lock(&f->log_lock);
	attempts_of(f, true, attempts);
	if (f->log)
		r = journal_attempt(f->log, leaving ? WLOG_LEAVING : attempts);
	mutex_unlock(&f->log_lock);
	if (r < 0)
		log_warn("the journal does not know that '%s' %s: %s", f->key,
			 leaving ? "is being removed" : "has not been removed", strerror(-r));
}

int wlog_rebase(struct wfile *f)
{
	int r = 0;

	mutex_lock(&f->log_lock);
	if (f->log) {
		f->log_stale = true;
		r = f->log_any ? refresh_base(f) : 0;
	}
	mutex_unlock(&f->log_lock);
	return r;
}

void wlog_remove(struct wfile *f)
{
	mutex_lock(&f->log_lock);
	if (f->log)
		remove_log(f);
	mutex_unlock(&f->log_lock);
}

void wlog_close(struct wfile *f)
{
	mutex_lock(&f->log_lock);
	journal_log_close(f->log);
	f->log = NULL;
	mutex_unlock(&f->log_lock);
}
