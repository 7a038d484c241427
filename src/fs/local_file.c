/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens and closes of files in a mount that can be written: when a file becomes one that is changed here, and when it is
 * the origin's again. Readers are let in on the loops; who writes comes on a thread that may block.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "fs/local_private.h"
#include "fs/object_cache.h"

struct fs_object *local_object(const struct local_handle *h)
{
	return h->object;
}

struct wfile *local_wfile(const struct local_handle *h)
{
	return h->write ? h->file->wfile : NULL;
}

/* ---- from the origin's to ours and back ---- */

int local_version_of(struct local *l, uint64_t ino, char key[VMOFS_KEY_MAX],
		     struct vmofs_version *out)
{
	struct vmofs_entry e;
	int r;

	*out = (struct vmofs_version){ .exists = true };
	r = l->tree->ops->entry(l->tree, ino, key, out->validator, &e);
	if (r < 0)
		return r;
	out->size = e.size;
	out->mtime = e.mtime;
	return 0;
}

/*
 * The origin may still have a file that was removed as @key while it was open: one that is made replaces that with its first store,
 * which may be due at once.
 */
static int take_removed(struct local *l, struct local_file *f, const char *key,
			struct vmofs_version *base)
{
	struct vmofs_version *copy = malloc(sizeof *copy);

	*base = (struct vmofs_version){ 0 };
	if (!copy)
		return -ENOMEM;
	if (!local_removal_of(l, key, true, copy)) {
		free(copy);
		return 0;
	}
	f->replaces = copy;
	*base = *copy;
	return 0;
}

/* The contents are of the version that the file is based on. */
static int begin_with(struct local *l, struct local_file *f, struct fs_object *o,
		      const struct vmofs_change_attr *attr)
{
	char key[VMOFS_KEY_MAX];
	struct wfile_params p = {
		.ino = f->ino, .key = key, .vmo = o->vmo, .keep = o, .attr = attr
	};
	struct wfile *w;
	int r = local_version_of(l, f->ino, key, &p.base);

	if (!r && p.base.size != o->size)
		r = -ESTALE;
	if (!r && attr)
		r = take_removed(l, f, key, &p.base);
	if (!r)
		r = wfile_new(&w, l->writer, &p);
	if (r < 0)
		return r;
	mutex_lock(&l->lock);
	f->wfile = w;
	f->object = o;
	mutex_unlock(&l->lock);
	return 0;
}

void local_set_held(struct local *l, struct local_file *f, bool held)
{
	mutex_lock(&l->lock);
	f->held = held;
	mutex_unlock(&l->lock);
}

static int hold(struct local *l, struct local_file *f)
{
	int r = f->held || f->gone ? 0 : l->tree->ops->hold(l->tree, f->ino);

	if (!r)
		local_set_held(l, f, !f->gone);
	return r;
}

/* Nothing has changed after all. */
static void unhold(struct local *l, struct local_file *f)
{
	char key[VMOFS_KEY_MAX], validator[512];
	struct vmofs_entry e;

	if (f->held && l->tree->ops->entry(l->tree, f->ino, key, validator, &e) >= 0)
		l->tree->ops->settled(l->tree, f->ino, &e);
	local_set_held(l, f, false);
}

int local_begin(struct local *l, struct local_file *f, const struct vmofs_change_attr *attr)
{
	struct fs_object *o;
	int r;

	if (f->wfile)
		return hold(l, f);
	r = fs_tree_open_ino_wait(l->tree, f->ino, local_deadline(l), &o);
	if (r < 0)
		return r;
	r = hold(l, f);
	if (!r)
		r = begin_with(l, f, o, attr);
	if (r < 0) {
		unhold(l, f);
		object_cache_put(l->p.cache, o);
	}
	return r;
}

/* What the tree shows from now on is the origin's version, with the time that was shown before. */
void local_settle(struct local *l, struct local_file *f, bool again)
{
	struct vmofs_entry e = { .type = VMOFS_ENTRY_FILE };
	struct vmofs_change_attr a = { 0 };
	struct vmofs_version base;
	uint64_t size;

	if (!f->wfile || f->gone || f->writers || !(f->held || again))
		return;
	if (wfile_state(f->wfile) != WFILE_CLEAN)
		return;
	wfile_base(f->wfile, &base);
	wfile_stat(f->wfile, &size, &a);
	e.size = base.size;
	e.validator = base.validator;
	e.mtime = a.mtime.tv_sec ? a.mtime : base.mtime;
	e.has = a.has;
	e.mode = a.mode;
	e.uid = a.uid;
	e.gid = a.gid;
	l->tree->ops->settled(l->tree, f->ino, &e);
	local_set_held(l, f, false);
}

int local_rename_unstored(struct local *l UNUSED, struct local_file *f, const char *key,
			  const struct vmofs_version *replaces)
{
	struct vmofs_version *copy = NULL;
	int r;

	if (replaces->exists) {
		copy = malloc(sizeof *copy);
		if (!copy)
			return -ENOMEM;
		*copy = *replaces;
	}
	r = wfile_renamed(f->wfile, key, replaces, NULL);
	if (r < 0) {
		free(copy);
		return r;
	}
	free(f->replaces);
	f->replaces = copy;
	return 0;
}

void local_unsettle(struct local *l, struct local_file *f)
{
	l->tree->ops->settled(l->tree, f->ino, NULL);
	local_set_held(l, f, false);
}

/* ---- opens ---- */

static void add_handle_locked(struct local *l UNUSED, struct local_file *f, struct local_handle *h)
	REQUIRES(l->lock)
{
	h->file = f;
	h->refs = 1;
	vmofs_list_add_tail(&f->open, &h->link);
	f->handles++;
	if (h->write) /* who entered the file may be reading it */
		f->writers++;
}

int local_open_read(struct local *l, struct fs_object *take_o, struct local_handle **out)
{
	struct local_handle *h = calloc(1, sizeof *h);
	struct local_file *f = NULL;
	bool retired;

	if (!h)
		return -ENOMEM;
	h->object = take_o;
	mutex_lock(&l->lock);
	retired = take_o->retired;
	if (!retired)
		f = local_use_locked(l, take_o->ino);
	if (f)
		add_handle_locked(l, f, h);
	mutex_unlock(&l->lock);
	if (!f) {
		free(h);
		return retired ? -EAGAIN : -ENOMEM;
	}
	*out = h;
	return 0;
}

/* A handle for writing of @f, which is entered and has begun; the use of @f goes to it. */
static int make_handle(struct local *l, struct local_file *f, struct local_handle **out)
{
	struct local_handle *h = calloc(1, sizeof *h);

	if (!h)
		return -ENOMEM;
	h->write = true;
	h->object = object_cache_find(l->p.cache, f->ino);
	if (!h->object) {
		free(h);
		return -ESHUTDOWN;
	}
	h->since = wfile_error_mark(f->wfile);
	mutex_lock(&l->lock);
	add_handle_locked(l, f, h);
	mutex_unlock(&l->lock);
	*out = h;
	return 0;
}

static int truncate_to_nothing(struct local_handle *h)
{
	struct wfile *w = local_wfile(h);
	struct vmofs_change_attr a;
	uint64_t size;

	wfile_stat(w, &size, &a);
	return size ? wfile_truncate(w, 0) : 0;
}

static int open_as(struct local *l, uint64_t ino, const struct vmofs_change_attr *made,
		   struct local_handle **out)
{
	struct local_file *f = local_use(l, ino);
	int r;

	if (!f)
		return -ENOMEM;
	local_enter(l, f);
	r = local_begin(l, f, made);
	if (!r)
		r = make_handle(l, f, out);
	if (r < 0)
		local_settle(l, f, false);
	local_leave(l, f);
	if (r < 0)
		local_unuse(l, f);
	return r;
}

int local_open_write(struct local *l, uint64_t ino, bool truncate, struct local_handle **out)
{
	int r = open_as(l, ino, NULL, out);

	if (!r && truncate)
		r = truncate_to_nothing(*out);
	else
		return r;
	if (r < 0)
		local_close(l, *out);
	return r;
}

/* ---- files that are made ---- */

static int create_new(struct local *l, const struct local_create *c, struct local_handle **out,
		      struct fs_tree_attr *attr)
{
	struct vmofs_change_attr a = {
		.has = VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID,
		.mode = c->mode & 07777,
		.uid = c->uid,
		.gid = c->gid,
		/* Not those of what it may replace. */
		.xattrs = &vmofs_xattrs_none,
	};
	struct vmofs_entry e = {
		.type = VMOFS_ENTRY_FILE,
		.validator = "",
		.has = a.has,
		.mode = a.mode,
		.uid = a.uid,
		.gid = a.gid,
	};
	char key[VMOFS_KEY_MAX];
	int r;

	if (l->p.fixed)
		return -EPERM;
	clock_gettime(CLOCK_REALTIME, &a.mtime);
	e.mtime = a.mtime;
	r = local_key_in(l, c->parent, c->name, "", key);
	if (!r)
		local_keep_removed(l, key);
	if (!r)
		r = l->tree->ops->made(l->tree, c->parent, c->name, &e, true, attr);
	if (r < 0)
		return r;
	r = open_as(l, attr->st.st_ino, &a, out);
	if (r < 0) {
		(void)l->tree->ops->removed(l->tree, c->parent, c->name, true);
		l->tree->ops->forget(l->tree, attr->st.st_ino, 1);
	}
	return r;
}

static int open_existing(struct local *l, const struct local_create *c, struct local_handle **out,
			 struct fs_tree_attr *attr)
{
	int r = fs_tree_lookup_wait(l->tree, c->parent, c->name, local_deadline(l), attr);

	if (r < 0)
		return r;
	if (S_ISREG(attr->st.st_mode))
		r = local_open_write(l, attr->st.st_ino, c->truncate, out);
	else
		r = S_ISDIR(attr->st.st_mode) ? -EISDIR : -ELOOP;
	if (r < 0)
		l->tree->ops->forget(l->tree, attr->st.st_ino, 1);
	else /* it may have been cut */
		(void)l->tree->ops->getattr(l->tree, attr->st.st_ino, NULL, attr);
	return r;
}

int local_create(struct local *l, const struct local_create *c, struct local_handle **out,
		 struct fs_tree_attr *attr)
{
	const struct local_place p[2] = { { c->parent, "" }, { c->parent, "" } };
	struct local_turn t;
	int r = local_turn_begin(l, &t, p, false);

	if (r < 0)
		return r;
	r = create_new(l, c, out, attr);
	if (r == -EEXIST && !c->excl)
		r = open_existing(l, c, out, attr);
	local_turn_end(l, &t);
	return r;
}

/* ---- closes ---- */

static void put_handle(struct local *l, struct local_handle *h) EXCLUDES(l->lock)
{
	bool last;

	mutex_lock(&l->lock);
	last = --h->refs == 0;
	mutex_unlock(&l->lock);
	if (last)
		free(h);
}

/* True: it was the last one. */
static bool take_handle_locked(struct local *l UNUSED, struct local_handle *h) REQUIRES(l->lock)
{
	vmofs_list_del(&h->link);
	if (h->write)
		h->file->writers--;
	return --h->file->handles == 0;
}

bool local_close_now(struct local *l, struct local_handle *h)
{
	struct local_file *f = h->file;
	bool now;

	mutex_lock(&l->lock);
	now = !f->wfile && !(f->removal && f->handles == 1);
	if (now)
		(void)take_handle_locked(l, h);
	mutex_unlock(&l->lock);
	if (!now)
		return false;
	object_cache_put(l->p.cache, h->object);
	local_unuse(l, f);
	put_handle(l, h);
	return true;
}

/* The origin still has what was removed while it was open: now it goes there too. */
static void remove_now(struct local *l, const struct local_removal *m)
{
	struct vmofs_change_wait wait = local_wait(l);
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = l->p.source->ops->change->remove(l->p.source, m->key, &m->version, &wait, &err);

	if (r < 0 && r != -ENOENT && r != -ESTALE)
		log_warn("'%s' was removed here, but not at the origin: %s", m->key, err.msg);
	l->tree->ops->gone(l->tree, m->key);
}

static void finish_removal(struct local *l, struct local_file *f)
{
	struct local_removal *m;

	mutex_lock(&l->lock);
	m = steal_ptr(&f->removal);
	vmofs_list_del(&m->link);
	mutex_unlock(&l->lock);
	if (!m->taken)
		remove_now(l, m);
	free(m);
}

bool local_close_waits(const struct local *l)
{
	return writer_close_waits(l->writer);
}

/* Nobody writes it any more. */
static void store_soon(struct local *l, struct local_file *f)
{
	uint64_t since = 0;

	if (f->wfile && !f->writers && !local_close_waits(l))
		(void)wfile_closed(f->wfile, &since);
}

void local_close(struct local *l, struct local_handle *h)
{
	struct local_file *f = h->file;
	bool last;

	local_enter(l, f);
	mutex_lock(&l->lock);
	last = take_handle_locked(l, h);
	mutex_unlock(&l->lock);
	if (last && f->removal)
		finish_removal(l, f);
	if (h->write)
		store_soon(l, f);
	local_settle(l, f, false);
	local_leave(l, f);
	object_cache_put(l->p.cache, h->object);
	local_unuse(l, f);
	put_handle(l, h);
}

/* ---- what is told of stores ---- */

bool local_sync_begin(struct local *l, struct local_handle *h, bool closing, struct local_sync *out)
{
	struct wfile *w;

	mutex_lock(&l->lock);
	w = h->file->wfile ? wfile_get(h->file->wfile) : NULL;
	*out = (struct local_sync){ h, w, h->since, closing };
	h->refs += w != NULL;
	mutex_unlock(&l->lock);
	if (w && !h->write)
		out->since = wfile_error_mark(w);
	return w;
}

int local_sync_wait(struct local *l, struct local_sync *s)
{
	int r = s->closing ? wfile_closed(s->wfile, &s->since) : wfile_fsync(s->wfile, &s->since);

	mutex_lock(&l->lock);
	s->handle->since = MAX(s->handle->since, s->since);
	mutex_unlock(&l->lock);
	return r;
}

void local_sync_end(struct local *l, struct local_sync *s)
{
	put_handle(l, s->handle);
	wfile_put(s->wfile);
}
