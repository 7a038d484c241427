/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that are changed here: the origin is told first, then the tree; but for files that the origin does not have yet, whose
 * names are ours alone. The kernel locks the directories meanwhile. All block.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "fs/local_private.h"

enum { TRIES = 3 };

/* What a name stands for. */
struct child {
	uint64_t ino;
	mode_t mode;
	char key[VMOFS_KEY_MAX];
	struct vmofs_version version; /* as the tree has it */
};

static int find_child(struct local *l, uint64_t parent, const char *name, uint64_t *ino,
		      mode_t *mode)
{
	struct fs_tree_attr a;
	int r;

	*ino = l->tree->ops->number(l->tree, parent, name);
	if (*ino && l->tree->ops->getattr(l->tree, *ino, NULL, &a) == 0) {
		*mode = a.st.st_mode;
		return 0;
	}
	r = fs_tree_lookup_wait(l->tree, parent, name, local_deadline(l), &a);
	if (r < 0)
		return r;
	*ino = a.st.st_ino;
	*mode = a.st.st_mode;
	l->tree->ops->forget(l->tree, *ino, 1);
	return 0;
}

static int child_of(struct local *l, uint64_t parent, const char *name, struct child *out)
{
	int r = find_child(l, parent, name, &out->ino, &out->mode);

	return r < 0 ? r : local_version_of(l, out->ino, out->key, &out->version);
}

/* Until the file was entered, it may have been stored and settled. */
static int refresh(struct local *l, struct child *c)
{
	int r = local_version_of(l, c->ino, c->key, &c->version);

	return r < 0 ? r : 0;
}

int local_key_in(struct local *l, uint64_t parent, const char *name, const char *suffix,
		 char key[VMOFS_KEY_MAX])
{
	char validator[512];
	struct vmofs_entry e;
	int len = l->tree->ops->entry(l->tree, parent, key, validator, &e);
	size_t room;

	if (len < 0)
		return len;
	room = VMOFS_KEY_MAX - (size_t)len;
	if (strlen(name) + strlen(suffix) >= room)
		return -ENAMETOOLONG;
	len += snprintf(key + len, room, "%s%s", name, suffix);
	/* Nothing may be made here that can never be stored. */
	return name[0] && l->p.key_max && (unsigned)len > l->p.key_max ? -ENAMETOOLONG : 0;
}

static void tell_failure(const char *what, const char *key, const struct vmofs_err *err)
{
	log_warn("cannot %s '%s': %s", what, key, err->msg);
}

int local_origin_remove(struct local *l, const char *key, const struct vmofs_version *expect)
{
	struct vmofs_change_wait wait = local_wait(l);
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = l->p.source->ops->change->remove(l->p.source, key, expect, &wait, &err);

	if (r < 0 && r != -ENOENT)
		tell_failure("remove", key, &err);
	return r == -ENOENT ? 0 : r;
}

static int tree_removed_name(struct local *l, uint64_t parent, const char *name, bool told)
{
	int r = l->tree->ops->removed(l->tree, parent, name, told);

	/* A listing was first to tell. */
	return r == -ENOENT && told ? 0 : r;
}

static void set_gone(struct local *l, struct local_file *f)
{
	mutex_lock(&l->lock);
	f->gone = true;
	mutex_unlock(&l->lock);
}

/* After wfile_leaving(), of one that has a wfile: what is there of it is given up, or not. */
static void has_left(struct local *l, struct local_file *f, bool left)
{
	struct vmofs_version base;
	bool stored;

	if (f->wfile && !left)
		wfile_stays(f->wfile);
	else if (f->wfile)
		(void)wfile_removed(f->wfile, &stored, &base);
	if (left)
		set_gone(l, f);
}

/* ---- unlink ---- */

/* @f goes at the origin when the last one closes it. False: nobody has it open, or no memory. */
static bool remove_later(struct local *l, struct local_file *f, const struct child *c)
{
	size_t len = strlen(c->key) + 1;
	struct local_removal *m = malloc(sizeof *m + len);

	if (!m)
		return false;
	m->file = f;
	m->taken = m->kept = false;
	m->version = c->version;
	memcpy(m->key, c->key, len);
	mutex_lock(&l->lock);
	if (f->handles) {
		f->removal = m;
		vmofs_list_add_tail(&l->removals, &m->link);
		m = NULL;
	}
	mutex_unlock(&l->lock);
	free(m);
	return !m;
}

/* The origin has it, as @c tells. */
static int unlink_stored(struct local *l, struct local_file *f, const struct child *c,
			 uint64_t parent, const char *name)
{
	int r;

	if (remove_later(l, f, c))
		return tree_removed_name(l, parent, name, false);
	r = local_origin_remove(l, c->key, NULL);
	return r < 0 ? r : tree_removed_name(l, parent, name, true);
}

static int unlink_file(struct local *l, struct local_file *f, struct child *c, uint64_t parent,
		       const char *name)
{
	struct vmofs_version old;
	bool stored = true;
	int r = 0;

	if (f->wfile)
		r = wfile_leaving(f->wfile, &stored, &c->version);
	else
		r = refresh(l, c);
	if (r < 0)
		return r;
	if (!stored && f->replaces) {
		stored = true;
		c->version = *f->replaces;
	}
	if (stored)
		r = unlink_stored(l, f, c, parent, name);
	else
		r = tree_removed_name(l, parent, name, !local_removal_of(l, c->key, false, &old));
	has_left(l, f, !r);
	return r;
}

static int unlink_link(struct local *l, const struct child *c, uint64_t parent, const char *name)
{
	int r = local_origin_remove(l, c->key, NULL);

	return r < 0 ? r : tree_removed_name(l, parent, name, true);
}

static int unlink_name(struct local *l, uint64_t parent, const char *name)
{
	struct local_file *f;
	struct child c;
	int r = child_of(l, parent, name, &c);

	if (r < 0)
		return r;
	if (S_ISDIR(c.mode))
		return -EISDIR;
	if (S_ISLNK(c.mode))
		return unlink_link(l, &c, parent, name);
	f = local_use(l, c.ino);
	if (!f)
		return -ENOMEM;
	local_enter(l, f);
	r = unlink_file(l, f, &c, parent, name);
	local_leave(l, f);
	local_unuse(l, f);
	return r;
}

/* ---- directories and links ---- */

static int origin_make_dir(struct local *l, const char *key, const struct vmofs_change_attr *a)
{
	struct vmofs_change_wait wait = local_wait(l);
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = l->p.source->ops->change->make_dir(l->p.source, key, a, &wait, &err);

	if (r == -ESTALE)
		return -EEXIST;
	if (r < 0)
		tell_failure("make", key, &err);
	return r;
}

static struct vmofs_change_attr attr_of(const struct local_create *c)
{
	struct vmofs_change_attr a = {
		.has = VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID,
		.mode = c->mode,
		.uid = c->uid,
		.gid = c->gid,
	};

	clock_gettime(CLOCK_REALTIME, &a.mtime);
	return a;
}

static int make_dir(struct local *l, const struct local_create *c, struct fs_tree_attr *attr)
{
	struct vmofs_change_attr a = attr_of(c);
	struct vmofs_entry e = { .type = VMOFS_ENTRY_PREFIX,
				 .validator = "",
				 .mtime = a.mtime,
				 .has = a.has,
				 .mode = a.mode,
				 .uid = a.uid,
				 .gid = a.gid };
	char key[VMOFS_KEY_MAX];
	int r = local_key_in(l, c->parent, c->name, "/", key);

	if (!r)
		r = origin_make_dir(l, key, &a);
	return r < 0 ? r : l->tree->ops->made(l->tree, c->parent, c->name, &e, false, attr);
}

/* What was removed from it while it was open, and is in it at the origin still, goes first where it has to. */
static int origin_remove_dir(struct local *l, const char *key)
{
	if (l->p.source->ops->change->real_dirs)
		(void)local_clear_removed(l, key);
	return local_origin_remove(l, key, NULL);
}

static int remove_dir(struct local *l, uint64_t parent, const char *name)
{
	struct child c;
	int r = child_of(l, parent, name, &c);

	if (!r && !S_ISDIR(c.mode))
		r = -ENOTDIR;
	if (!r)
		r = fs_tree_empty_wait(l->tree, c.ino, local_deadline(l));
	if (!r)
		r = origin_remove_dir(l, c.key);
	return r < 0 ? r : tree_removed_name(l, parent, name, true);
}

/*
 * One that was removed here while it was open, and is at the origin still, is in the way: it goes now, and who has it open reads
 * what is here of it.
 */
static int make_link(struct local *l, const char *key, const char *target,
		     const struct vmofs_change_attr *a, struct vmofs_version *now)
{
	const struct vmofs_change_ops *ops = l->p.source->ops->change;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version old;
	int r = -ESTALE;

	for (int i = 0; i < 2 && r == -ESTALE; i++) {
		struct vmofs_change_wait wait = local_wait(l);

		if (i)
			local_keep_removed(l, key);
		if (i && !local_removal_of(l, key, true, &old))
			return -EEXIST;
		if (i)
			r = local_origin_remove(l, key, &old);
		if (!i || !r)
			r = ops->make_link(l->p.source, key, target, a, now, &wait, &err);
	}
	return r == -ESTALE ? -EEXIST : r;
}

static int make_symlink(struct local *l, const struct local_create *c, const char *target,
			struct fs_tree_attr *attr)
{
	struct vmofs_change_attr a = attr_of(c);
	struct vmofs_version now = { 0 };
	struct vmofs_entry e = {
		.has = VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID | VMOFS_HAS_TARGET,
		.mode = S_IFLNK | 0777,
		.uid = c->uid,
		.gid = c->gid,
		.target = target,
		.mtime = a.mtime,
	};
	char key[VMOFS_KEY_MAX];
	int r = local_key_in(l, c->parent, c->name, "", key);

	if (!l->p.links || !l->p.source->ops->change->make_link)
		return -EPERM;
	a.mode = e.mode;
	if (!r)
		r = make_link(l, key, target, &a, &now);
	if (r < 0)
		return r;
	e.size = now.size;
	e.validator = now.validator;
	return l->tree->ops->made(l->tree, c->parent, c->name, &e, false, attr);
}

/* ---- rename ---- */

struct renaming {
	const struct local_rename *rn;
	struct child from;
	struct child to; /* ino 0: nothing is there */
	char key[VMOFS_KEY_MAX];
	struct local_file *f;
	struct local_file *target;     /* a file that is replaced; NULL: none */
	struct vmofs_version replaces; /* what is at @key */
	bool made;                     /* the file has its new name */
};

static int moved(struct local *l, const struct local_rename *rn)
{
	return l->tree->ops->moved(l->tree, rn->parent, rn->name, rn->new_parent, rn->new_name);
}

/* Keys of links may have a suffix that names have not. */
static bool has_same_key(const struct renaming *x)
{
	return x->to.ino && !strcmp(x->to.key, x->key);
}

/*
 * Nothing of what is replaced is stored from now on; what the origin has of it is what may be there. What is only here of it goes when
 * the new name is made, not before: give_up_target().
 */
static int leave_target(struct local *l, struct renaming *x)
{
	bool stored = true;
	int r = 0;

	x->replaces = x->to.version;
	x->replaces.exists = has_same_key(x);
	if (x->target && x->target->wfile) {
		r = wfile_leaving(x->target->wfile, &stored, &x->replaces);
		x->replaces.exists = stored;
	}
	if (!r && !x->replaces.exists)
		(void)local_removal_of(l, x->key, true, &x->replaces);
	return r;
}

static void give_up_target(struct local *l, struct renaming *x)
{
	if (x->target)
		has_left(l, x->target, x->made);
}

/* By the origin, as it is there now. */
static int origin_copy(struct local *l, struct renaming *x, struct vmofs_version *now)
{
	struct vmofs_change_wait wait = local_wait(l);
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = l->p.source->ops->change->copy(l->p.source, x->from.key, &x->from.version, x->key,
					       &x->replaces, now, &wait, &err);

	if (r < 0)
		log_warn("cannot rename '%s' to '%s': %s", x->from.key, x->key, err.msg);
	/* mv(1) copies it then. */
	return r == -EOPNOTSUPP ? -EXDEV : r;
}

/* All of it is at the origin, and copied there, and nothing was written meanwhile. */
static int copy_settled(struct local *l, struct renaming *x, struct vmofs_version *now)
{
	struct wfile *w = x->f->wfile;
	uint64_t since;
	int r = -EBUSY;

	for (int i = 0; i < TRIES && r == -EBUSY; i++) {
		since = wfile_error_mark(w);
		r = wfile_store_wait(w, &since, local_deadline(l), NULL);
		if (r < 0)
			return r;
		wfile_base(w, &x->from.version);
		r = origin_copy(l, x, now);
		if (r < 0)
			return r;
		x->replaces = *now;
		r = wfile_renamed(w, x->key, NULL, now);
	}
	if (r < 0)
		(void)local_origin_remove(l, x->key, now);
	return r;
}

static void settle_copy(struct local *l, struct renaming *x, const struct vmofs_version *now)
{
	struct vmofs_entry e = {
		.type = VMOFS_ENTRY_FILE,
		.size = now->size,
		.validator = now->validator,
		.mtime = x->from.version.mtime,
	};

	l->tree->ops->settled(l->tree, x->from.ino, &e);
	local_set_held(l, x->f, false);
}

/* The origin has the file: it copies that, then the old name goes. */
static int rename_stored(struct local *l, struct renaming *x)
{
	struct vmofs_version now = { 0 };
	bool open;
	int r, removed;

	mutex_lock(&l->lock);
	open = x->f->handles > 0;
	mutex_unlock(&l->lock);
	/* Who has it open reads on: by the new key. */
	if (open || x->f->wfile)
		r = local_begin(l, x->f, NULL);
	else
		r = l->tree->ops->hold(l->tree, x->from.ino);
	if (r < 0)
		return r;
	r = x->f->wfile ? copy_settled(l, x, &now) : origin_copy(l, x, &now);
	if (r < 0) {
		if (!x->f->wfile)
			settle_copy(l, x, &x->from.version);
		return r;
	}
	x->made = true;
	removed = local_origin_remove(l, x->from.key, &x->from.version);
	r = moved(l, x->rn);
	if (!x->f->wfile)
		settle_copy(l, x, &now);
	return removed < 0 ? removed : r;
}

/* The target is about to leave. */
static int rename_contents(struct local *l, struct renaming *x)
{
	struct vmofs_version base = { .exists = true };
	int r;

	if (x->f->wfile)
		wfile_base(x->f->wfile, &base);
	/* What it was to replace under its old name would come back there. */
	if (!base.exists && !x->f->replaces) {
		r = local_rename_unstored(l, x->f, x->key, &x->replaces);
		x->made = !r;
		if (r != -EBUSY)
			return r < 0 ? r : moved(l, x->rn);
	}
	r = rename_stored(l, x);
	local_settle(l, x->f, false);
	return r;
}

/* Always in the order of their numbers. */
static void enter_both(struct local *l, struct renaming *x)
{
	if (x->target && (!x->f || x->target->ino < x->f->ino))
		local_enter(l, x->target);
	if (x->f)
		local_enter(l, x->f);
	if (x->target && x->f && x->target->ino > x->f->ino)
		local_enter(l, x->target);
}

static void leave_both(struct local *l, struct renaming *x)
{
	if (x->f) {
		local_leave(l, x->f);
		local_unuse(l, x->f);
	}
	if (x->target) {
		local_leave(l, x->target);
		local_unuse(l, x->target);
	}
}

/* A link, which has no contents that anybody has open. */
static int rename_link(struct local *l, struct renaming *x)
{
	struct vmofs_version now;
	int r = origin_copy(l, x, &now);

	x->made = !r;
	if (!r)
		r = local_origin_remove(l, x->from.key, &x->from.version);
	return r < 0 ? r : moved(l, x->rn);
}

/* Who has open what is replaced reads on, though the origin does not have it any more. */
static int rename_over(struct local *l, struct renaming *x)
{
	int r;

	if (x->target)
		local_keep(l, x->target, x->to.key);
	r = leave_target(l, x);
	if (!r) {
		r = x->f ? rename_contents(l, x) : rename_link(l, x);
		give_up_target(l, x);
	}
	if (x->target)
		local_kept(l, x->target, x->made);
	return r;
}

static int rename_entered(struct local *l, struct renaming *x)
{
	int r;

	x->f = S_ISREG(x->from.mode) ? local_use(l, x->from.ino) : NULL;
	if (S_ISREG(x->from.mode) && !x->f)
		return -ENOMEM;
	x->target = S_ISREG(x->to.mode) && x->to.ino ? local_use(l, x->to.ino) : NULL;
	local_keep_removed(l, x->key);
	enter_both(l, x);
	r = refresh(l, &x->from);
	if (!r && x->target)
		r = refresh(l, &x->to);
	if (!r)
		r = rename_over(l, x);
	leave_both(l, x);
	return r;
}

/* An empty one is made anew, with what it has of its own. */
static int rename_empty_dir(struct local *l, struct renaming *x)
{
	struct vmofs_change_attr a;
	int r = local_dir_attr(l, x->from.ino, &a);
	bool made = false;

	if (!r) {
		r = origin_make_dir(l, x->key, &a);
		made = !r;
	}
	if (r == -EEXIST && x->to.ino)
		r = a.has || a.mtime.tv_sec ? local_tell_dir(l, x->key, &a) : 0;
	if (!r)
		r = origin_remove_dir(l, x->from.key);
	if (r == -ENOTEMPTY && made)
		(void)local_origin_remove(l, x->key, NULL);
	return r < 0 ? r : moved(l, x->rn);
}

/* Keys begin with those of the directories: all below have to be copied. */
static int rename_dir(struct local *l, struct renaming *x)
{
	int r = fs_tree_empty_wait(l->tree, x->from.ino, local_deadline(l));

	bool full = r == -ENOTEMPTY;

	if ((!r || full) && x->to.ino)
		r = fs_tree_empty_wait(l->tree, x->to.ino, local_deadline(l));
	/* There is no moving key by key there; mv(1) copies. */
	if (full && (!r || !x->to.ino) && l->p.source->ops->change->real_dirs)
		return -EXDEV;
	if (full && (!r || !x->to.ino))
		return local_move_dir(l, x->rn, x->from.key, x->key, x->to.ino);
	return r < 0 ? r : rename_empty_dir(l, x);
}

/* What of the key is beyond the name. */
static const char *suffix_of(const struct child *c, const char *name)
{
	size_t len = strlen(c->key), n = strlen(name);

	for (const char *at = c->key + (len > n ? len - n : 0); at >= c->key; at--)
		if (!strncmp(at, name, n) && (at == c->key || at[-1] == '/'))
			return at + n;
	return "";
}

static int check_kinds(const struct renaming *x)
{
	if (!x->to.ino)
		return 0;
	if (S_ISDIR(x->from.mode) != S_ISDIR(x->to.mode))
		return S_ISDIR(x->to.mode) ? -EISDIR : -ENOTDIR;
	return x->rn->no_replace ? -EEXIST : 0;
}

static int rename_found(struct local *l, struct renaming *x)
{
	int r = check_kinds(x);

	if (r < 0 || x->to.ino == x->from.ino)
		return r;
	r = local_key_in(l, x->rn->new_parent, x->rn->new_name, suffix_of(&x->from, x->rn->name),
			 x->key);
	if (r < 0)
		return r;
	if (S_ISDIR(x->from.mode))
		return rename_dir(l, x);
	r = rename_entered(l, x);
	if (!r && x->to.ino && !has_same_key(x))
		r = local_origin_remove(l, x->to.key, NULL);
	return r;
}

static int rename_names(struct local *l, const struct local_rename *rn)
{
	struct renaming *x = calloc(1, sizeof *x);
	int r;

	if (!x)
		return -ENOMEM;
	x->rn = rn;
	r = child_of(l, rn->parent, rn->name, &x->from);
	if (!r) {
		r = child_of(l, rn->new_parent, rn->new_name, &x->to);
		if (r == -ENOENT) {
			x->to.ino = 0;
			r = 0;
		}
	}
	if (!r)
		r = rename_found(l, x);
	free(x);
	return r;
}

/* ---- each in turn ---- */

static int begin_in(struct local *l, struct local_turn *t, uint64_t parent, uint64_t other)
{
	const struct local_place p[2] = { { parent, "" }, { other, "" } };

	return local_turn_begin(l, t, p, false);
}

int local_unlink(struct local *l, uint64_t parent, const char *name)
{
	struct local_turn t;
	int r = begin_in(l, &t, parent, parent);

	if (r < 0)
		return r;
	r = unlink_name(l, parent, name);
	local_turn_end(l, &t);
	return r;
}

int local_mkdir(struct local *l, const struct local_create *c, struct fs_tree_attr *attr)
{
	struct local_turn t;
	int r = begin_in(l, &t, c->parent, c->parent);

	if (r < 0)
		return r;
	r = make_dir(l, c, attr);
	local_turn_end(l, &t);
	return r;
}

int local_rmdir(struct local *l, uint64_t parent, const char *name)
{
	struct local_turn t;
	int r = begin_in(l, &t, parent, parent);

	if (r < 0)
		return r;
	r = remove_dir(l, parent, name);
	local_turn_end(l, &t);
	return r;
}

int local_symlink(struct local *l, const struct local_create *c, const char *target,
		  struct fs_tree_attr *attr)
{
	struct local_turn t;
	int r = begin_in(l, &t, c->parent, c->parent);

	if (r < 0)
		return r;
	r = make_symlink(l, c, target, attr);
	local_turn_end(l, &t);
	return r;
}

int local_rename(struct local *l, const struct local_rename *rn)
{
	const struct local_place p[2] = { { rn->parent, rn->name },
					  { rn->new_parent, rn->new_name } };
	struct local_turn t;
	uint64_t ino;
	mode_t mode;
	int r = find_child(l, rn->parent, rn->name, &ino, &mode);

	if (r < 0)
		return r;
	r = S_ISDIR(mode) ? local_turn_begin(l, &t, p, true)
			  : begin_in(l, &t, rn->parent, rn->new_parent);
	if (r < 0)
		return r;
	r = rename_names(l, rn);
	local_turn_end(l, &t);
	return r;
}
