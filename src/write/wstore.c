/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One store of one file: a token over what is dirty, the ranges that the origin does not have, and the source's store(), which reads
 * them from the VMO while others go on writing. What comes of it is in wstore_end.c. Runs on a thread of the writer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "write/writer_private.h"

/* A store whose bytes went slower than that has failed; what the origin copies itself is faster. */
#define SLOWEST_UP   KIB(16)
#define SLOWEST_COPY MIB(16)
#define STORE_MIN_NS (60 * NSEC_PER_SEC)

const char wstore_unreadable[] =
	"what was not changed here cannot be read any more: the origin has replaced it";

void wstore_free(struct wjob *j)
{
	if (j->token)
		vmo_writeback_abandon(j->token);
	vmofs_xattrs_put(j->attr.xattrs);
	free(j->changed);
	free(j->ahead_holds);
	free(j->key);
	free(j);
}

/* ---- what is stored ---- */

static int add_range(struct wjob *j, uint64_t off, uint64_t end)
{
	struct vmofs_store *st = &j->st;
	struct vmofs_changed *last = st->n_changed ? &j->changed[st->n_changed - 1] : NULL;

	end = MIN(end, st->size);
	if (off >= end)
		return 0;
	if (last && off <= last->off + last->len) {
		last->len = MAX(last->off + last->len, end) - last->off;
		return 0;
	}
	if (st->n_changed == j->cap) {
		unsigned cap = j->cap ? 2 * j->cap : 16;
		struct vmofs_changed *more = realloc(j->changed, cap * sizeof *more);

		if (!more)
			return -ENOMEM;
		j->changed = more;
		j->cap = cap;
		st->changed = more;
	}
	j->changed[st->n_changed++] = (struct vmofs_changed){ off, end - off };
	return 0;
}

/* What is dirty below @limit. -ERANGE: it was cut meanwhile. */
static int add_dirty(struct wjob *j, uint64_t limit)
{
	struct vmo_dirty_range got[64];
	uint64_t off = 0;
	int r = 0;

	while (r == 0 && off < limit) {
		int64_t n = vmo_next_dirty(j->f->vmo, off, limit - off, got, ARRAY_LEN(got));

		if (n <= 0)
			return (int)n;
		n = MIN(n, (int64_t)ARRAY_LEN(got));
		for (int64_t i = 0; r == 0 && i < n; i++)
			r = add_range(j, got[i].off, got[i].off + got[i].len);
		off = got[n - 1].off + got[n - 1].len;
	}
	return r;
}

/* All that the replaced version does not have, or has otherwise. */
static int find_changed(struct wjob *j, bool all)
{
	uint64_t left =
		all ? 0 : MIN(vmo_origin_size(j->f->vmo), j->base.exists ? j->base.size : 0);
	int r = add_dirty(j, MIN(left, j->st.size));

	/* The page that the rest of the base ends in is of both. */
	if (r == 0 && j->st.size > left)
		r = add_range(j, page_bytes(page_floor(left)), j->st.size);
	return r;
}

/*
 * A token over all that is dirty, and the size of that very moment: a page that was written beyond it since then must not be taken
 * for stored.
 */
static int take_token(struct wjob *j)
{
	int r = vmo_writeback_begin(j->f->vmo, 0, UINT64_MAX, VMO_WRITEBACK_ALL, &j->token);

	if (r == 0)
		j->st.size = vmo_token_size(j->token);
	return r;
}

/* ---- what the source calls ---- */

static struct wjob *job_of(struct vmofs_store *st)
{
	return container_of(st, struct wjob, st);
}

/* All of it: where a part cannot be read, why. */
static int read_all(struct wjob *j, uint64_t off, char *buf, uint64_t len)
{
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, j->st.wait.deadline_ns };

	for (uint64_t done = 0; done < len;) {
		int64_t n = vmo_read(j->f->vmo, off + done, buf + done, len - done, &wait);

		if (n < 0) {
			j->unreadable = true;
			return (int)n;
		}
		if (n == 0) /* it was cut off */
			return -ECANCELED;
		done += (uint64_t)n;
	}
	return 0;
}

static int read_contents(struct vmofs_store *st, uint64_t off, void *buf, uint64_t len)
{
	struct wjob *j = job_of(st);

	return atomic_load(&j->f->cancel) ? -ECANCELED : read_all(j, off, buf, len);
}

static int before_commit(struct vmofs_store *st)
{
	struct wjob *j = job_of(st);
	struct wfile *f = j->f;
	int r = 0;

	if (j->committed)
		return 0; /* it is sent again */
	mutex_lock(&f->w->lock);
	if (f->cut_store || atomic_load(&f->cancel))
		r = -ECANCELED;
	else
		f->committing = j->committed = true;
	if (r == 0)
		memcpy(f->attempt, st->attempt, sizeof f->attempt);
	mutex_unlock(&f->w->lock);
	if (r < 0)
		return r;
	wlog_attempt(f);
	/* A VMO that is detached has no readers to be held. */
	(void)vmo_switch(f->vmo, NULL, 0);
	return 0;
}

static bool take_memory(struct vmofs_store *st, uint64_t len)
{
	struct wjob *j = job_of(st);
	bool ok = room_pass(&j->f->w->room, len, !j->taken);

	j->taken += ok ? len : 0;
	return ok;
}

static void give_memory(struct vmofs_store *st, uint64_t len)
{
	job_of(st)->taken -= len;
	room_passed(&job_of(st)->f->w->room, len);
}

static void moved(struct vmofs_store *st, uint64_t up, uint64_t copied)
{
	struct wfile *f = job_of(st)->f;

	atomic_fetch_add(&f->w->progress, up + copied);
	mutex_lock(&f->w->lock);
	f->stored_bytes += up + copied;
	mutex_unlock(&f->w->lock);
}

static uint64_t lacks(struct vmofs_store *st, uint64_t off, uint64_t len)
{
	return vmo_n_absent(job_of(st)->f->vmo, off, len);
}

/* ---- the store ---- */

static uint64_t changed_bytes(const struct vmofs_store *st)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < st->n_changed; i++)
		n += st->changed[i].len;
	return n;
}

static void set_deadline(struct wjob *j)
{
	uint64_t up = changed_bytes(&j->st);
	uint64_t secs = up / SLOWEST_UP + j->st.size / SLOWEST_COPY;

	j->st.wait.deadline_ns =
		loop_now_ns() + MAX(j->f->w->p.timeout_ns, STORE_MIN_NS) + secs * NSEC_PER_SEC;
	j->st.wait.cancel = &j->f->cancel;
}

/* What is known under the lock; @expect: what is replaced, NULL: as the file says. */
static int snapshot(struct wjob *j, const char *key, const struct vmofs_version *expect)
{
	struct wfile *f = j->f;

	mutex_lock(&f->w->lock);
	f->begin_seq = f->change_seq;
	f->stored_bytes = 0;
	f->cut_store = f->cutting;
	f->store_cut = UINT64_MAX;
	atomic_store(&f->cancel, f->cutting || f->w->stopping);
	j->attr = f->attr;
	vmofs_xattrs_get(j->attr.xattrs);
	j->attr_seq = f->attr_seq;
	j->base = expect ? *expect : f->instead ? *f->instead : f->base;
	j->key = strdup(key ? key : f->key);
	mutex_unlock(&f->w->lock);
	return j->key ? 0 : -ENOMEM;
}

static void fill(struct wjob *j)
{
	struct vmofs_store *st = &j->st;

	st->key = j->key;
	st->base = j->base;
	st->attr = j->attr.has || j->attr.mtime.tv_sec || j->attr.xattrs ? &j->attr : NULL;
	st->read = read_contents;
	st->commit = before_commit;
	st->take = take_memory;
	st->give = give_memory;
	st->progress = moved;
	st->lacks = lacks;
	vmofs_attempt_new(st->attempt);
	set_deadline(j);
}

static struct wjob *job_new(struct wfile *f)
{
	struct wjob *j = calloc(1, sizeof *j);

	if (j) {
		j->f = f;
		j->began_ns = writer_now(f->w);
	}
	return j;
}

/* Nothing differs from what the origin has. */
static bool is_stored(struct wjob *j, bool all)
{
	struct wfile *f = j->f;

	return !all && j->base.exists && !j->st.n_changed && j->st.size == j->base.size &&
		vmo_origin_size(f->vmo) == j->base.size && j->attr_seq == f->attr_stored;
}

static int ask_source(struct wjob *j, struct vmofs_err *err)
{
	struct vmofs_source *s = j->f->w->p.source;
	int r;

	j->sent = true;
	r = s->ops->change->store(s, &j->st, err);

	if (j->taken)
		room_passed(&j->f->w->room, j->taken);
	j->taken = 0;
	return r;
}

static int store(struct wjob *j, struct vmofs_err *err)
{
	struct wfile *f = j->f;
	bool all;
	int r = snapshot(j, NULL, NULL);

	mutex_lock(&f->w->lock);
	all = f->instead != NULL;
	mutex_unlock(&f->w->lock);
	if (r == 0)
		r = take_token(j);
	if (r == 0)
		r = find_changed(j, all);
	if (r < 0)
		return r == -ERANGE ? -ECANCELED : r;
	if (is_stored(j, all)) {
		j->st.now = j->base;
		return 0;
	}
	r = wahead_take(j);
	if (r < 0)
		return r;
	fill(j);
	return ask_source(j, err);
}

void wstore_run(struct wfile *f)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct wjob *j;
	int r;

	if (f->stuck) {
		wstore_ask(f);
		return;
	}
	j = job_new(f);
	if (!j) {
		wstore_end(f, NULL, -ENOMEM, "no memory");
		return;
	}
	r = store(j, &err);
	wstore_end(f, j, r, err.msg);
}

/* ---- under another name ---- */

static int commit_copy(struct vmofs_store *st)
{
	(void)st;
	return 0;
}

static int read_copy(struct vmofs_store *st, uint64_t off, void *buf, uint64_t len)
{
	return read_all(job_of(st), off, buf, len);
}

int wstore_copy(struct wfile *f, const char *key, struct vmofs_err *err)
{
	const struct vmofs_version nothing = { .exists = false };
	struct wjob *j = job_new(f);
	int r;

	if (!j)
		return vmofs_err_set(err, -ENOMEM, "no memory");
	r = snapshot(j, key, &nothing);
	j->st.size = vmo_size(f->vmo);
	if (r == 0)
		r = add_range(j, 0, j->st.size);
	if (r == 0) {
		fill(j);
		j->st.commit = commit_copy;
		j->st.read = read_copy;
		j->st.progress = NULL;
		r = ask_source(j, err);
	}
	if (j->unreadable)
		vmofs_err_set(err, r, "%s", wstore_unreadable);
	else if (r == -ESTALE)
		r = vmofs_err_set(err, -EEXIST, "there is something at '%s' already", key);
	wstore_free(j);
	return r;
}
