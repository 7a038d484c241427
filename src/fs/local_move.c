/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory with something in it gets another name: the origin copies all keys below it, then, what is open or changed here
 * goes over to its new key, the tree follows, and the old keys are removed. What fails before the tree has followed is undone; after
 * that the old keys that are left are told of, and wait for the next mount. A crash leaves each file under its old key,
 * its new one, or both, and the journal knows how to go on (wmove.h). On a thread that may block; the caller has the turn of both names.
 */
#include "fs/local_move.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"

enum { TRIES = 5 };

/* A file that is open or changed here. It is entered. */
struct apart {
	struct apart *next;
	struct local_file *f;
	bool switched;
	char rel[];
};

struct moving {
	struct keys k; /* first */
	struct local *l;
	const struct local_rename *rn; /* NULL: the tree knows nothing of it */
	struct apart *apart;
};

/* ---- files that are open or changed here ---- */

/* Their numbers; *@out is the caller's. How many; -ENOMEM. */
static int64_t numbers_of(struct local *l, uint64_t **out) EXCLUDES(l->lock)
{
	size_t n = 0, cap = 0;

	mutex_lock(&l->lock);
	for (struct rb_node *i = rb_first(&l->files); i; i = rb_next(i))
		cap++;
	*out = calloc(cap + 1, sizeof **out);
	for (struct rb_node *i = rb_first(&l->files); i && *out; i = rb_next(i)) {
		const struct local_file *f = container_of(i, struct local_file, node);

		if (!f->gone && (f->wfile || f->handles))
			(*out)[n++] = f->ino;
	}
	mutex_unlock(&l->lock);
	return *out ? (int64_t)n : -ENOMEM;
}

/* Calls @fn with each that is below @dir, in the order of numbers. */
static int each_below(struct moving *mv, const char *dir,
		      int (*fn)(struct moving *mv, uint64_t ino, const char *rel))
{
	struct vmofs_version v;
	char key[VMOFS_KEY_MAX];
	uint64_t *inos;
	int64_t n = numbers_of(mv->l, &inos);
	int r = n < 0 ? (int)n : 0;

	for (int64_t i = 0; i < n && !r; i++)
		if (local_version_of(mv->l, inos[i], key, &v) >= 0 &&
		    !strncmp(key, dir, strlen(dir)))
			r = fn(mv, inos[i], key + strlen(dir));
	free(inos);
	return r;
}

static struct moved_key *known(struct keys *k, const char *rel)
{
	for (size_t i = 0; i < k->n; i++)
		if (!strcmp(k->v[i].rel, rel))
			return &k->v[i];
	return NULL;
}

static int check_length(const struct keys *k, const char *rel)
{
	size_t max = k->l->p.key_max ? k->l->p.key_max : VMOFS_KEY_MAX - 1;

	return strlen(k->to) + strlen(rel) > max ? -ENAMETOOLONG : 0;
}

static int set_apart(struct moving *mv, uint64_t ino UNUSED, const char *rel)
{
	struct moved_key *m = known(&mv->k, rel);

	if (m)
		m->apart = true;
	/* Those that have not been stored yet are in no listing. */
	return check_length(&mv->k, rel);
}

/* What was removed while it was open goes at its last close, and not with the others. */
static void set_removed_apart(struct moving *mv) EXCLUDES(mv->l->lock)
{
	size_t len = strlen(mv->k.from);
	struct vmofs_list *pos;

	mutex_lock(&mv->l->lock);
	vmofs_list_for_each(pos, &mv->l->removals) {
		const struct local_removal *m = vmofs_list_entry(pos, struct local_removal, link);

		if (!strncmp(m->key, mv->k.from, len))
			(void)set_apart(mv, 0, m->key + len);
	}
	mutex_unlock(&mv->l->lock);
}

static bool is_entered(const struct moving *mv, uint64_t ino)
{
	for (const struct apart *a = mv->apart; a; a = a->next)
		if (a->f->ino == ino)
			return true;
	return false;
}

static int enter_one(struct moving *mv, uint64_t ino, const char *rel)
{
	size_t n = strlen(rel) + 1;
	struct apart *a = is_entered(mv, ino) ? NULL : malloc(sizeof *a + n);
	struct moved_key *m = known(&mv->k, rel);

	if (!a)
		return is_entered(mv, ino) ? 0 : -ENOMEM;
	*a = (struct apart){ .next = mv->apart, .f = local_use(mv->l, ino) };
	memcpy(a->rel, rel, n);
	if (!a->f) {
		free(a);
		return -ENOMEM;
	}
	local_enter(mv->l, a->f);
	mv->apart = a;
	if (m)
		m->ino = 0;
	return 0;
}

static void leave_all(struct moving *mv)
{
	struct apart *a;

	while ((a = mv->apart)) {
		mv->apart = a->next;
		local_settle(mv->l, a->f, false);
		local_leave(mv->l, a->f);
		local_unuse(mv->l, a->f);
		free(a);
	}
}

/* All of it is at the origin: copied, unless it has been, and from there on by the new key. -EBUSY: written meanwhile. */
static int switch_stored(struct moving *mv, struct apart *a, const char *to)
{
	struct moved_key *m = keys_find(&mv->k, a->rel);
	struct wfile *w = a->f->wfile;
	uint64_t since = wfile_error_mark(w);
	struct vmofs_version v;
	int r = m ? wfile_store_wait(w, &since, local_deadline(mv->l), NULL) : -ENOMEM;

	if (r < 0)
		return r;
	m->apart = true;
	wfile_base(w, &v);
	if (!m->now.validator || !brief_is(&m->from, &v))
		r = keys_copy_version(&mv->k, m, &v);
	if (r < 0)
		return r;
	v = brief_version(&m->now);
	return wfile_renamed(w, to, NULL, &v);
}

static int switch_to(struct moving *mv, struct apart *a, const char *dir)
{
	static const struct vmofs_version nothing = { .exists = false };
	struct vmofs_version base;
	char to[VMOFS_KEY_MAX];
	int r = a->f->gone ? 0 : local_begin(mv->l, a->f, NULL);

	if (r < 0 || a->f->gone)
		return r;
	keys_name(dir, a->rel, to);
	r = -EBUSY;
	for (int i = 0; i < TRIES && r == -EBUSY; i++) {
		wfile_base(a->f->wfile, &base);
		if (!base.exists && !a->f->replaces)
			r = local_rename_unstored(mv->l, a->f, to, &nothing);
		if (r == -EBUSY)
			r = switch_stored(mv, a, to);
	}
	return r;
}

static int switch_all(struct moving *mv)
{
	int r = 0;

	for (struct apart *a = mv->apart; a && !r; a = a->next) {
		if (a->switched)
			continue;
		r = switch_to(mv, a, mv->k.to);
		a->switched = !r;
		if (r < 0)
			log_warn("'%s%s' is open or changed, and cannot follow its directory: %s",
				 mv->k.from, a->rel, strerror(-r));
	}
	return r;
}

/* ---- back ---- */

/* As they were, or as they have become: the old key is still there. */
static void switch_back(struct moving *mv)
{
	struct keys back = { .l = mv->l, .from = mv->k.to, .to = mv->k.from };
	struct moving other = { .k = back, .l = mv->l };

	for (struct apart *a = mv->apart; a; a = a->next) {
		struct moved_key *m = a->switched ? known(&mv->k, a->rel) : NULL;
		struct moved_key *o = m ? keys_find(&other.k, a->rel) : NULL;
		struct vmofs_version was, now;
		int r;

		if (o) {
			was = brief_version(&m->now);
			now = brief_version(&m->from);
			(void)brief_set(&o->from, &was);
			(void)brief_set(&o->now, &now);
		}
		r = a->switched ? switch_to(&other, a, mv->k.from) : 0;
		if (r < 0 && m) {
			log_error("'%s%s' is '%s%s' now: %s", mv->k.from, a->rel, mv->k.to, a->rel,
				  strerror(-r));
			m->stays = true;
		}
	}
	keys_release(&other.k);
}

static int undo(struct moving *mv, int why)
{
	struct keys *k = &mv->k;

	(void)wmove_back(k->record);
	switch_back(mv);
	leave_all(mv);
	keys_copy_back(k);
	if (atomic_load(&k->left))
		log_warn("'%s' could not become '%s': %u copies could not be removed again",
			 k->from, k->to, atomic_load(&k->left));
	wmove_end(k->record, !atomic_load(&k->left));
	return why;
}

/* ---- the tree ---- */

/* Of a path below @ino, as far as it is known; 0. */
static uint64_t number_below(struct local *l, uint64_t ino, const char *path)
{
	char name[256];

	while (ino && *path) {
		size_t n = strcspn(path, "/");

		if (!n || n >= sizeof name)
			return 0;
		memcpy(name, path, n);
		name[n] = '\0';
		ino = l->tree->ops->number(l->tree, ino, name);
		path += n + (path[n] == '/');
	}
	return ino;
}

static void find_numbers(struct moving *mv, uint64_t dir)
{
	struct fs_tree_attr a;

	for (size_t i = 0; i < mv->k.n && dir; i++) {
		struct moved_key *m = &mv->k.v[i];
		size_t n = strlen(m->rel);

		if (m->apart || !n || m->rel[n - 1] == '/')
			continue;
		m->ino = number_below(mv->l, dir, m->rel);
		if (m->ino &&
		    (mv->l->tree->ops->getattr(mv->l->tree, m->ino, NULL, &a) < 0 ||
		     !S_ISREG(a.st.st_mode)))
			m->ino = 0;
	}
}

/* The same numbers stand for the same contents. */
static void settle_all(struct moving *mv)
{
	for (size_t i = 0; i < mv->k.n; i++) {
		const struct moved_key *m = &mv->k.v[i];
		struct vmofs_entry e = { .type = VMOFS_ENTRY_FILE,
					 .size = m->now.size,
					 .mtime = m->from.mtime,
					 .validator = m->now.validator };
		struct local_file *f;
		bool is_held;

		if (!m->ino || !m->now.validator)
			continue;
		mutex_lock(&mv->l->lock);
		f = local_find_locked(mv->l, m->ino);
		is_held = f && f->held;
		mutex_unlock(&mv->l->lock);
		if (!is_held)
			mv->l->tree->ops->settled(mv->l->tree, m->ino, &e);
	}
}

/* Who opened something while the others were switched, has it by the old key. */
static void catch_up(struct moving *mv)
{
	if (each_below(mv, mv->k.to, enter_one) < 0 || switch_all(mv) < 0)
		for (struct apart *a = mv->apart; a; a = a->next) {
			struct moved_key *m = a->switched ? NULL : known(&mv->k, a->rel);

			if (m)
				m->stays = true;
		}
}

static int tree_follows(struct moving *mv)
{
	const struct local_rename *rn = mv->rn;
	struct fs_tree *t = mv->l->tree;
	int r;

	if (!rn)
		return 0;
	find_numbers(mv, t->ops->number(t, rn->parent, rn->name));
	for (struct apart *a = mv->apart; a; a = a->next) {
		struct moved_key *m = known(&mv->k, a->rel);

		if (m)
			m->ino = 0;
	}
	r = t->ops->moved(t, rn->parent, rn->name, rn->new_parent, rn->new_name);
	if (r < 0)
		return r;
	t->ops->away_below(t, mv->k.from, true);
	settle_all(mv);
	catch_up(mv);
	return 0;
}

/* ---- all of it ---- */

static int move_all(struct moving *mv)
{
	struct keys *k = &mv->k;
	int r = keys_copy(k);

	if (!r)
		r = each_below(mv, k->from, enter_one);
	if (!r)
		r = switch_all(mv);
	if (!r)
		r = tree_follows(mv);
	return r;
}

static void finish(struct moving *mv)
{
	struct keys *k = &mv->k;

	leave_all(mv);
	keys_remove(k);
	if (mv->rn)
		mv->l->tree->ops->away_below(mv->l->tree, k->from, false);
	if (atomic_load(&k->left))
		log_warn("'%s' is '%s' now, but %u files have both names at the origin", k->from,
			 k->to, atomic_load(&k->left));
	wmove_end(k->record, !atomic_load(&k->left));
}

static int check_lengths(const struct keys *k)
{
	int r = 0;

	for (size_t i = 0; i < k->n && !r; i++)
		r = check_length(k, k->v[i].rel);
	return r;
}

static int list(struct moving *mv)
{
	int r = keys_list(&mv->k);

	if (!r)
		r = check_lengths(&mv->k);
	if (!r)
		r = each_below(mv, mv->k.from, set_apart);
	if (!r)
		set_removed_apart(mv);
	return r;
}

int local_move_dir(struct local *l, const struct local_rename *rn, const char *from, const char *to,
		   bool over)
{
	struct moving mv = { .k = { .l = l, .from = from, .to = to, .over = over },
			     .l = l,
			     .rn = rn };
	int r = list(&mv);

	if (!r)
		r = local_clear_removed(l, to);
	if (!r)
		r = wmove_begin(l->writer, from, to, &mv.k.record);
	if (!r) {
		r = move_all(&mv);
		if (r < 0)
			r = undo(&mv, r);
		else
			finish(&mv);
	}
	keys_release(&mv.k);
	return r;
}

/* ---- after a start ---- */

/* The directory that @key, a directory's, is in, and its name there. 0, -ENOENT. */
static int place_of(struct local *l, const char *key, uint64_t *parent, char name[256])
{
	char path[VMOFS_KEY_MAX];
	struct fs_tree_attr a;
	size_t end = strlen(key) - 1, at = end;
	int r;

	while (at && key[at - 1] != '/')
		at--;
	if (end - at > 255)
		return -ENOENT;
	memcpy(name, key + at, end - at);
	name[end - at] = '\0';
	memcpy(path, key, at);
	path[at ? at - 1 : 0] = '\0';
	r = fs_tree_resolve_wait(l->tree, path, local_deadline(l), &a);
	if (r < 0)
		return r;
	*parent = a.st.st_ino;
	if (a.st.st_ino != FS_TREE_ROOT)
		l->tree->ops->forget(l->tree, a.st.st_ino, 1);
	return 0;
}

static int resume(struct moving *mv, bool *done)
{
	struct keys *k = &mv->k;
	char name[256], new_name[256];
	struct local_rename rn = { .name = name, .new_name = new_name };
	int r = list(mv);

	/* What the tree does not know yet it will be told of by its new key. */
	if (!r && !place_of(mv->l, k->from, &rn.parent, name) &&
	    mv->l->tree->ops->number(mv->l->tree, rn.parent, name) &&
	    !place_of(mv->l, k->to, &rn.new_parent, new_name))
		mv->rn = &rn;
	if (!r)
		r = move_all(mv);
	leave_all(mv);
	if (r < 0)
		return r;
	keys_remove(k);
	if (mv->rn)
		mv->l->tree->ops->away_below(mv->l->tree, k->from, false);
	*done = !atomic_load(&k->left);
	return 0;
}

static void resume_one(struct local *l, struct wmove *m)
{
	struct moving mv = { .k = { .l = l,
				    .from = wmove_from(m),
				    .to = wmove_to(m),
				    .over = true,
				    .resumed = true,
				    .record = m },
			     .l = l };
	bool done = false;
	int r;

	log_info("'%s' was about to become '%s'%s: that is ended now", mv.k.from, mv.k.to,
		 wmove_is_back(m) ? ", and not to in the end" : "");
	if (wmove_is_back(m)) {
		r = keys_take_back(&mv.k);
		done = !r;
	} else {
		r = resume(&mv, &done);
	}
	if (!done)
		log_warn("some of '%s' may be there as '%s' too%s%s; the next mount tries again",
			 mv.k.from, mv.k.to, r < 0 ? ": " : "", r < 0 ? strerror(-r) : "");
	wmove_end(m, done);
	keys_release(&mv.k);
}

void local_resume_moves(struct local *l)
{
	struct wmove *m;

	while ((m = wmove_next(l->writer)))
		resume_one(l, m);
}
