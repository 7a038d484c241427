/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of files that are open or changed here, who may change one, and what the writer tells of them (see the header).
 * Opens are in local_file.c, names in local_names.c. Any thread; what may block is said there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "fs/local_private.h"
#include "fs/object_cache.h"

/* ---- the table ---- */

static struct rb_node **place_locked(struct local *l, uint64_t ino, struct rb_node **parent)
	REQUIRES(l->lock)
{
	struct rb_node **link = &l->files.root;

	*parent = NULL;
	while (*link) {
		struct local_file *f = container_of(*link, struct local_file, node);

		if (f->ino == ino)
			break;
		*parent = *link;
		link = &(*link)->child[f->ino < ino];
	}
	return link;
}

struct local_file *local_find_locked(struct local *l, uint64_t ino)
{
	struct rb_node *parent;
	struct rb_node **link = place_locked(l, ino, &parent);

	return *link ? container_of(*link, struct local_file, node) : NULL;
}

static void unrest_locked(struct local *l, struct local_file *f) REQUIRES(l->lock)
{
	if (vmofs_list_empty(&f->rest))
		return;
	vmofs_list_del(&f->rest);
	l->n_rest--;
}

struct local_file *local_use_locked(struct local *l, uint64_t ino)
{
	struct rb_node *parent;
	struct rb_node **link = place_locked(l, ino, &parent);
	struct local_file *f = *link ? container_of(*link, struct local_file, node) : NULL;

	if (!f) {
		f = calloc(1, sizeof *f);
		if (!f)
			return NULL;
		f->ino = ino;
		vmofs_list_init(&f->rest);
		vmofs_list_init(&f->open);
		rb_insert(&l->files, &f->node, parent, link);
	}
	unrest_locked(l, f);
	f->users++;
	return f;
}

struct local_file *local_use(struct local *l, uint64_t ino)
{
	struct local_file *f;

	mutex_lock(&l->lock);
	f = local_use_locked(l, ino);
	mutex_unlock(&l->lock);
	return f;
}

/* ---- the end of a file ---- */

static void file_free(struct local_file *f)
{
	if (f->removal)
		vmofs_list_del(&f->removal->link);
	free(f->removal);
	free(f->replaces);
	wfile_put(f->wfile);
	free(f);
}

/* Nobody finds it any more, nor its object. */
static void drop_locked(struct local *l, struct local_file *f) REQUIRES(l->lock)
{
	unrest_locked(l, f);
	rb_erase(&l->files, &f->node);
	if (f->wfile)
		wfile_hide(f->wfile);
	if (f->object)
		object_cache_retire(l->p.cache, f->object);
}

/*
 * Read-ahead goes by the size that the object was made with: with another one it is worth keeping only as long as
 * nothing of it has to be read again.
 */
static bool is_worth_keeping(const struct local_file *f)
{
	uint64_t size = vmo_size(f->object->vmo);

	return size == f->object->size || vmo_n_resident(f->object->vmo) * VMOFS_PAGE_SIZE >= size;
}

/* The one that goes because @f, without users, rests now, or goes itself; NULL: none. */
static struct local_file *rest_locked(struct local *l, struct local_file *f) REQUIRES(l->lock)
{
	enum wfile_state state = f->wfile ? wfile_state(f->wfile) : WFILE_GONE;

	if (state == WFILE_GONE || f->gone)
		return f;
	/* Held still: it was stored just now, and that is told next. */
	if (state != WFILE_CLEAN || f->held)
		return NULL;
	if (!is_worth_keeping(f))
		return f;
	vmofs_list_add_tail(&l->rest, &f->rest);
	l->n_rest++;
	return l->n_rest > LOCAL_REST_MAX ? vmofs_list_first(&l->rest, struct local_file, rest)
					  : NULL;
}

void local_unuse(struct local *l, struct local_file *f)
{
	struct local_file *goes = NULL;

	mutex_lock(&l->lock);
	if (--f->users == 0)
		goes = rest_locked(l, f);
	if (goes)
		drop_locked(l, goes);
	mutex_unlock(&l->lock);
	if (goes)
		file_free(goes);
}

/* ---- one at a time ---- */

void local_enter(struct local *l, struct local_file *f)
{
	mutex_lock(&l->lock);
	while (f->entered)
		cond_wait(&l->left, &l->lock);
	f->entered = true;
	mutex_unlock(&l->lock);
}

void local_leave(struct local *l, struct local_file *f)
{
	mutex_lock(&l->lock);
	while (f->stored) {
		f->stored = false;
		mutex_unlock(&l->lock);
		free(steal_ptr(&f->replaces));
		local_settle(l, f, true);
		mutex_lock(&l->lock);
	}
	f->entered = false;
	cond_broadcast(&l->left);
	mutex_unlock(&l->lock);
}

/* ---- what the writer tells, and the tree asks ---- */

/* Whoever is in the file may be waiting for this very store: then it is left to him. */
void local_stored(void *local, uint64_t ino, const struct vmofs_version *now UNUSED)
{
	struct local *l = local;
	struct local_file *f;
	bool mine = false;

	mutex_lock(&l->lock);
	f = local_find_locked(l, ino);
	if (f) {
		unrest_locked(l, f);
		f->users++;
		f->stored = true;
		mine = !f->entered;
		f->entered = true;
	}
	mutex_unlock(&l->lock);
	if (mine)
		local_leave(l, f);
	if (f)
		local_unuse(l, f);
}

void local_let_go(void *local, void *keep)
{
	struct local *l = local;

	object_cache_put(l->p.cache, keep);
}

static void fill_stat(struct wfile *w, struct stat *st)
{
	struct vmofs_change_attr a = { 0 };
	uint64_t size;

	wfile_stat(w, &size, &a);
	st->st_size = (off_t)size;
	st->st_blocks = (blkcnt_t)((size + 511) / 512);
	if (a.mtime.tv_sec)
		st->st_mtim = st->st_ctim = st->st_atim = a.mtime;
	if (a.has & VMOFS_HAS_MODE)
		st->st_mode = (st->st_mode & S_IFMT) | (a.mode & 07777);
	if (a.has & VMOFS_HAS_UID)
		st->st_uid = a.uid;
	if (a.has & VMOFS_HAS_GID)
		st->st_gid = a.gid;
}

void local_attr(void *local, uint64_t ino, struct stat *st)
{
	struct local *l = local;
	struct local_file *f;

	mutex_lock(&l->lock);
	f = local_find_locked(l, ino);
	if (f && f->wfile)
		fill_stat(f->wfile, st);
	mutex_unlock(&l->lock);
}

struct wfile *local_unsettled(struct local *l, uint64_t ino)
{
	struct local_file *f;
	struct wfile *w = NULL;

	mutex_lock(&l->lock);
	f = local_find_locked(l, ino);
	if (f && f->wfile && wfile_is_unsettled(f->wfile))
		w = wfile_get(f->wfile);
	mutex_unlock(&l->lock);
	return w;
}

/* ---- after a start ---- */

static int recover_object(struct local *l, uint64_t ino, const struct vmofs_entry *e,
			  struct wfile_params *out)
{
	struct local_file *f = local_use(l, ino);
	struct fs_object *o = NULL;
	int r = f ? object_cache_open(l->p.cache, ino, e, &o) : -ENOMEM;

	if (r < 0) {
		if (f)
			local_unuse(l, f);
		return r;
	}
	mutex_lock(&l->lock);
	f->held = true;
	f->object = o;
	mutex_unlock(&l->lock);
	out->ino = ino;
	out->vmo = o->vmo;
	out->keep = o;
	return 0;
}

/* For writer_recover(): a file of the tree, held, and its object. */
static int recover_one(void *arg, const char *key, const struct vmofs_version *base,
		       struct wfile_params *out)
{
	struct local *l = arg;
	struct vmofs_entry e = {
		.type = VMOFS_ENTRY_FILE,
		.key = key,
		.key_len = strlen(key),
		.size = base->exists ? base->size : 0,
		.mtime = base->mtime,
		.validator = base->exists ? base->validator : "",
	};
	struct fs_tree_attr a;
	int r = l->tree->ops->made_key(l->tree, key, &e, &a);

	if (r < 0)
		return r;
	r = recover_object(l, a.st.st_ino, &e, out);
	if (r < 0)
		l->tree->ops->settled(l->tree, a.st.st_ino, NULL);
	l->tree->ops->forget(l->tree, a.st.st_ino, 1);
	return r;
}

/* One that was found without its wfile yet; NULL: none. */
static struct local_file *next_recovered(struct local *l) EXCLUDES(l->lock)
{
	struct local_file *found = NULL;

	mutex_lock(&l->lock);
	for (struct rb_node *n = rb_first(&l->files); n && !found; n = rb_next(n)) {
		struct local_file *f = container_of(n, struct local_file, node);

		if (!f->wfile && !f->gone)
			found = f;
	}
	mutex_unlock(&l->lock);
	return found;
}

/* One that proved to be stored already has no wfile any more: what it is the origin tells. */
static void adopt_recovered(struct local *l, struct local_file *f)
{
	struct wfile *w = writer_find(l->writer, f->ino);

	local_enter(l, f);
	mutex_lock(&l->lock);
	f->wfile = w;
	f->gone = !w;
	if (!w)
		f->object = NULL;
	mutex_unlock(&l->lock);
	if (!w)
		local_unsettle(l, f);
	local_leave(l, f);
	local_unuse(l, f);
}

int local_recover(struct local *l)
{
	struct local_file *f;
	int r = writer_recover(l->writer, recover_one, l);

	while ((f = next_recovered(l)))
		adopt_recovered(l, f);
	local_resume_moves(l);
	return r;
}

/* ---- deciding ---- */

static int resolve(struct local *l, struct local_file *f, enum wfile_resolve how, const char *key,
		   struct vmofs_err *err)
{
	int r = wfile_resolve(f->wfile, how, key, err);

	if (r < 0 || how == WFILE_KEEP_LOCAL)
		return r;
	mutex_lock(&l->lock);
	f->gone = true;
	mutex_unlock(&l->lock);
	local_unsettle(l, f);
	return 0;
}

int local_resolve(struct local *l, uint64_t ino, enum wfile_resolve how, const char *key,
		  struct vmofs_err *err)
{
	struct local_file *f;
	int r;

	mutex_lock(&l->lock);
	f = local_find_locked(l, ino);
	if (f && f->wfile)
		f = local_use_locked(l, ino);
	else
		f = NULL;
	mutex_unlock(&l->lock);
	if (!f)
		return vmofs_err_set(err, -ENOENT, "nothing of it was changed here");
	local_enter(l, f);
	r = resolve(l, f, how, key, err);
	local_leave(l, f);
	local_unuse(l, f);
	return r;
}

/* ---- what the origin is asked for ---- */

uint64_t local_deadline(const struct local *l)
{
	return l->p.timeout_ns ? loop_now_ns() + l->p.timeout_ns : 0;
}

struct vmofs_change_wait local_wait(const struct local *l)
{
	return (struct vmofs_change_wait){ .deadline_ns = local_deadline(l) };
}

bool local_removal_of(struct local *l, const char *key, bool take, struct vmofs_version *out)
{
	struct vmofs_list *pos;
	bool found = false;

	mutex_lock(&l->lock);
	vmofs_list_for_each(pos, &l->removals) {
		struct local_removal *m = vmofs_list_entry(pos, struct local_removal, link);

		if (m->taken || strcmp(m->key, key))
			continue;
		*out = m->version;
		m->taken = take;
		found = true;
	}
	mutex_unlock(&l->lock);
	return found;
}

/* ---- life ---- */

int local_new(struct local **out, const struct local_params *p, struct vmofs_err *err)
{
	struct local *l = calloc(1, sizeof *l);

	if (!l)
		return vmofs_err_set(err, -ENOMEM, "no memory for the files that are changed");
	l->p = *p;
	mutex_init(&l->lock, LOCK_RANK_LOCAL);
	cond_init(&l->left);
	vmofs_list_init(&l->rest);
	vmofs_list_init(&l->removals);
	vmofs_list_init(&l->turns);
	*out = l;
	return 0;
}

void local_set(struct local *l, struct fs_tree *t, struct writer *w)
{
	l->tree = t;
	l->writer = w;
}

bool local_is_fixed(const struct local *l)
{
	return l->p.fixed;
}

/* Those that the kernel has not released, because it has gone before it could. */
static void free_handles(struct local_file *f)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, &f->open)
		free(vmofs_list_entry(pos, struct local_handle, link));
}

/* Nobody else is left, so there is nothing to lock. */
void local_free(struct local *l) NO_TSA
{
	struct rb_node *n;

	if (!l)
		return;
	while ((n = rb_first(&l->files))) {
		struct local_file *f = container_of(n, struct local_file, node);

		rb_erase(&l->files, n);
		free_handles(f);
		file_free(f);
	}
	local_forget_seen(l);
	cond_destroy(&l->left);
	mutex_destroy(&l->lock);
	free(l);
}
