/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing, cutting, zeroing: one at a time for a file, so that appends are whole and sizes are what was asked for. Whoever
 * finds no room for a dirty page waits for it here, in turn with the writers of all files.
 */
#include <errno.h>

#include "base/macros.h"
#include "write/writer_private.h"

/* What is written in one piece; a writer that waits for room gives others a chance in between. */
#define PIECE_MAX MIB(1)

struct change {
	struct wfile *f;
	struct room_waiter turn;
	uint64_t deadline_ns;
	bool now;
	bool dirtied; /* and that is not noted yet */
};

static void begin(struct change *c, struct wfile *f, bool now)
{
	*c = (struct change){ .f = f, .now = now };
	c->deadline_ns = now ? 0 : writer_deadline(f->w);
	room_begin(&c->turn);
}

/* Returns @r, of the operation. */
static int64_t end(struct change *c, int64_t r)
{
	room_end(&c->f->w->room, &c->turn);
	return r;
}

/* The deadline is for a store that does not move: one over a slow line takes as long as it takes. */
static int wait_turn(struct change *c)
{
	struct writer *w = c->f->w;
	unsigned long long progress;
	int r;

	do {
		progress = atomic_load(&w->progress);
		r = room_wait(&w->room, &c->turn, c->deadline_ns);
		if (r == 0 || progress != atomic_load(&w->progress))
			c->deadline_ns = writer_deadline(w);
	} while (r == -ENOSPC && progress != atomic_load(&w->progress));
	return r;
}

/* After -EAGAIN: 0, try again. */
static int wait_room(struct change *c)
{
	struct writer *w = c->f->w;

	if (c->now)
		return -EAGAIN;
	/* What it has written so far may be all that can make room: it is stored too. */
	if (c->dirtied)
		wfile_changed(c->f, false, true);
	c->dirtied = false;
	room_queue(&w->room, &c->turn);
	writer_press(w);
	return wait_turn(c);
}

/* As vmo_write_extend(), and it waits for room. */
static int64_t write_piece(struct change *c, uint64_t off, const char *buf, uint64_t len)
{
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, c->deadline_ns };

	for (;;) {
		int64_t n = -EAGAIN;
		int r;

		if (room_may_try(&c->f->w->room, &c->turn))
			n = vmo_write_extend(c->f->vmo, off, buf, len, c->now, &wait);
		if (n != -EAGAIN)
			return n;
		r = wait_room(c);
		if (r < 0)
			return r;
	}
}

static int64_t write_all(struct change *c, uint64_t off, const char *buf, uint64_t len)
{
	uint64_t piece = MIN(PIECE_MAX, page_bytes(c->f->w->room.limit) / 2);
	uint64_t done = 0;

	while (done < len) {
		int64_t n = write_piece(c, off + done, buf + done, MIN(piece, len - done));

		if (n < 0)
			return done ? (int64_t)done : n;
		done += (uint64_t)n;
		c->dirtied = true;
	}
	return (int64_t)done;
}

int64_t wfile_write(struct wfile *f, uint64_t off, const void *buf, uint64_t len, bool append,
		    bool now)
{
	struct change c;
	uint64_t size;
	int64_t n = wfile_enter(f, now);

	if (n < 0)
		return n;
	size = vmo_size(f->vmo);
	if (append)
		off = size;
	begin(&c, f, now);
	wahead_changing(f, MIN(off, size), off + len);
	n = end(&c, write_all(&c, off, buf, len));
	wahead_changed(f, off, off + (uint64_t)MAX(n, 0), true);
	if (n > 0) {
		if (off > size) {
			mutex_lock(&f->w->lock);
			f->zeros = true;
			mutex_unlock(&f->w->lock);
		}
		wfile_changed(f, false, true);
	}
	wfile_leave(f);
	return n;
}

/* ---- from mappings ---- */

static int begin_back(struct writer *w)
{
	int r;

	mutex_lock(&w->lock);
	r = w->stopping ? -ESHUTDOWN : 0;
	w->n_turns += r == 0;
	mutex_unlock(&w->lock);
	return r;
}

static void end_back(struct writer *w)
{
	mutex_lock(&w->lock);
	if (--w->n_turns == 0 && w->stopping)
		cond_broadcast(&w->changed);
	mutex_unlock(&w->lock);
}

/* What the reserve does not hold waits, so that the kernel's limit of what it has of these pages slows down who stores to them. */
static int64_t back_piece(struct change *c, uint64_t off, const char *buf, uint64_t len)
{
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, c->deadline_ns };
	struct room *room = &c->f->w->room;
	uint64_t excess = room->reserve;
	int64_t n;

	for (;;) {
		uint64_t before = room_exceed(excess);

		(void)room_may_try(room, &c->turn);
		n = vmo_write_extend(c->f->vmo, off, buf, len, c->now, &wait);
		room_exceed(before);
		if (n != -EAGAIN || c->now)
			return n;
		n = wait_room(c);
		if (n == -ENOSPC)
			excess = ROOM_ANY;
		else if (n < 0)
			return n;
	}
}

int64_t wfile_write_back(struct wfile *f, uint64_t off, const void *buf, uint64_t len, bool now)
{
	struct change c;
	uint64_t done = 0;
	int64_t n = begin_back(f->w);
	uint64_t size = vmo_size(f->vmo);
	bool grows = off > size;

	if (n < 0)
		return n;
	begin(&c, f, now);
	wahead_changing(f, MIN(off, size), off + len);
	while (n >= 0 && done < len) {
		n = back_piece(&c, off + done, (const char *)buf + done, len - done);
		done += n > 0 ? (uint64_t)n : 0;
		c.dirtied |= n > 0;
	}
	wahead_changed(f, off, off + done, true);
	room_end(&f->w->room, &c.turn);
	if (done) {
		mutex_lock(&f->w->lock);
		f->zeros |= grows;
		mutex_unlock(&f->w->lock);
		wfile_changed(f, false, true);
	}
	end_back(f->w);
	return done ? (int64_t)done : n;
}

/* ---- sizes ---- */

/*
 * While a file gets shorter nothing of it is stored: what a store would have of it could be of before and after. One that is
 * under way is begun anew, unless all of it has been read already.
 */
static void cutting(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	f->cutting = f->shaping = true;
	if (f->state == WFILE_STORING && !f->committing && !f->stuck) {
		f->cut_store = true;
		atomic_store(&f->cancel, true);
	}
	mutex_unlock(&f->w->lock);
}

/* @cut: where; UINT64_MAX: it was not. Told before a store may begin, so that each store is before or after it. */
static void end_cutting(struct wfile *f, uint64_t cut)
{
	mutex_lock(&f->w->lock);
	f->cutting = f->shaping = false;
	f->cut = MIN(f->cut, cut);
	f->store_cut = MIN(f->store_cut, cut);
	if (f->in_due)
		writer_due_locked(f, f->due_ns);
	cond_broadcast(&f->w->changed);
	mutex_unlock(&f->w->lock);
}

static int try_resize(struct change *c, uint64_t size)
{
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, c->deadline_ns };
	bool shorter = size < vmo_size(c->f->vmo);
	int r;

	if (!room_may_try(&c->f->w->room, &c->turn))
		return -EAGAIN;
	if (shorter)
		cutting(c->f);
	r = vmo_resize(c->f->vmo, size, &wait);
	if (shorter)
		end_cutting(c->f, r == 0 ? size : UINT64_MAX);
	return r == -ERANGE ? -EFBIG : r;
}

static int resize(struct change *c, uint64_t size)
{
	int r;

	while ((r = try_resize(c, size)) == -EAGAIN) {
		r = wait_room(c);
		if (r < 0)
			break;
	}
	return r;
}

static void resized(struct wfile *f, uint64_t from, uint64_t to)
{
	mutex_lock(&f->w->lock);
	f->zeros |= to >= from;
	mutex_unlock(&f->w->lock);
	wfile_changed(f, false, true);
}

int wfile_truncate(struct wfile *f, uint64_t size)
{
	struct change c;
	uint64_t from;
	int r = wfile_enter(f, false);

	if (r < 0)
		return r;
	from = vmo_size(f->vmo);
	begin(&c, f, false);
	wahead_changing(f, MIN(from, size), UINT64_MAX);
	r = (int)end(&c, resize(&c, size));
	wahead_changed(f, MIN(from, size), UINT64_MAX, false);
	if (r == 0)
		resized(f, from, size);
	wfile_leave(f);
	return r;
}

/* ---- zeros ---- */

static int try_zero(struct change *c, uint64_t off, uint64_t len)
{
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, c->deadline_ns };

	return room_may_try(&c->f->w->room, &c->turn) ? vmo_zero(c->f->vmo, off, len, &wait)
						      : -EAGAIN;
}

static int zero(struct change *c, uint64_t off, uint64_t len)
{
	int r;

	while ((r = try_zero(c, off, len)) == -EAGAIN) {
		r = wait_room(c);
		if (r < 0)
			break;
	}
	return r;
}

/* What is zeroed before a failure stays so. */
static int zero_in(struct change *c, uint64_t off, uint64_t end_off, bool extend)
{
	uint64_t size = vmo_size(c->f->vmo);
	uint64_t stop = MIN(end_off, size);
	int r = off < stop ? zero(c, off, stop - off) : 0;

	if (r == 0 && extend && end_off > size)
		r = resize(c, end_off);
	return r;
}

int wfile_zero(struct wfile *f, uint64_t off, uint64_t len, bool extend)
{
	struct change c;
	uint64_t from;
	int r;

	if (off + len < off)
		return -EFBIG;
	r = wfile_enter(f, false);
	if (r < 0)
		return r;
	begin(&c, f, false);
	from = MIN(off, vmo_size(f->vmo));
	wahead_changing(f, from, off + len);
	r = (int)end(&c, zero_in(&c, off, off + len, extend));
	wahead_changed(f, from, off + len, false);
	mutex_lock(&f->w->lock);
	f->zeros = true;
	mutex_unlock(&f->w->lock);
	wfile_changed(f, false, true);
	wfile_leave(f);
	return r;
}

/* ---- attributes ---- */

static void set_attr_locked(struct wfile *f, const struct vmofs_change_attr *a) REQUIRES(f->w->lock)
{
	f->attr.has |= a->has;
	if (a->has & VMOFS_HAS_MODE)
		f->attr.mode = a->mode;
	if (a->has & VMOFS_HAS_UID)
		f->attr.uid = a->uid;
	if (a->has & VMOFS_HAS_GID)
		f->attr.gid = a->gid;
	if (a->mtime.tv_sec)
		f->attr.mtime = a->mtime;
	if (a->xattrs) {
		vmofs_xattrs_put(f->attr.xattrs);
		f->attr.xattrs = vmofs_xattrs_get(a->xattrs);
	}
}

int wfile_set_attr(struct wfile *f, const struct vmofs_change_attr *attr)
{
	int r = wfile_enter(f, false);

	if (r < 0)
		return r;
	mutex_lock(&f->w->lock);
	set_attr_locked(f, attr);
	f->attr_set++;
	mutex_unlock(&f->w->lock);
	wfile_changed(f, true, false);
	wfile_leave(f);
	return 0;
}
