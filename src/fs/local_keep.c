/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are open while the origin loses what they are read from: their name is given to something else. All of such a file
 * comes here before, where that is not too much, and stays; of more there is what there is. All block.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "fs/local_private.h"

enum { FETCH_PIECE = 1 << 18, FETCH_MAX = 16 << 20 };

/* What its readers read, with a reference; NULL: nobody has it open. */
static struct vmo *contents_locked(struct local *l UNUSED, const struct local_file *f)
	REQUIRES(l->lock)
{
	const struct local_handle *h = vmofs_list_first(&f->open, struct local_handle, link);

	return h ? vmo_get(h->object->vmo) : NULL;
}

static struct vmo *contents(struct local *l, const struct local_file *f) EXCLUDES(l->lock)
{
	struct vmo *v;

	mutex_lock(&l->lock);
	v = contents_locked(l, f);
	mutex_unlock(&l->lock);
	return v;
}

/* A piece that has come does not go while the next ones are on their way. */
static int fetch_all(struct vmo *v, const struct vmo_wait *wait)
{
	uint64_t size = vmo_size(v);
	int r = 0;

	(void)vmo_prefetch(v, 0, size, wait->deadline_ns);
	for (uint64_t off = 0; off < size && !r; off += FETCH_PIECE) {
		uint64_t len = MIN(size - off, (uint64_t)FETCH_PIECE);

		r = vmo_commit(v, off, len, wait);
		if (!r)
			(void)vmo_hint(v, off, len, VMO_HINT_ALWAYS_NEED, wait);
	}
	/* It was cut meanwhile: what is beyond is nowhere. */
	return vmo_size(v) < size ? 0 : r;
}

static void fetch(struct local *l, struct vmo *v, const char *key)
{
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, local_deadline(l) };
	int r = vmo_size(v) <= FETCH_MAX ? fetch_all(v, &wait) : 0;

	if (r < 0)
		log_warn(
			"'%s' is open, and about to be replaced: not all of it can be read before: %s",
			key, strerror(-r));
}

/* Nor does memory pressure take it: as if it had been changed. Where there is no room for that, the hint has to do. */
static void keep_dirty(struct vmo *v)
{
	uint64_t off = 0;

	while (vmo_keep(v, &off) > 0)
		;
}

/* ---- what is about to be replaced ---- */

void local_keep(struct local *l, struct local_file *f, const char *key)
{
	struct vmo *v = contents(l, f);

	if (!v)
		return;
	/* Without it, it is fetched all the same. */
	(void)local_begin(l, f, NULL);
	fetch(l, v, key);
	vmo_put(v);
}

void local_kept(struct local *l, struct local_file *f, bool gone)
{
	const struct vmo_wait wait = { VMOFS_CLASS_DEMAND, 0 };
	struct vmo *v = contents(l, f);

	if (!v)
		return;
	if (!gone)
		(void)vmo_hint(v, 0, vmo_size(v), VMO_HINT_NORMAL, &wait);
	else if (f->wfile)
		keep_dirty(v);
	vmo_put(v);
}

/* ---- what was removed while it was open ---- */

static bool is_meant(const struct local_removal *m, const char *key, bool below)
{
	return !m->taken && !m->kept &&
		(below ? !strncmp(m->key, key, strlen(key)) : !strcmp(m->key, key));
}

/*
 * The next file that was removed as @key, or, @below, as a key below it, that nothing has replaced and that is not kept yet, with a use
 * of it, what it is read from (NULL: nobody does any more) and its key; NULL: none.
 */
static struct local_file *next_removed(struct local *l, const char *key, bool below, struct vmo **v,
				       char found[VMOFS_KEY_MAX]) EXCLUDES(l->lock)
{
	struct local_file *f = NULL;
	struct vmofs_list *pos;

	mutex_lock(&l->lock);
	vmofs_list_for_each(pos, &l->removals) {
		struct local_removal *m = vmofs_list_entry(pos, struct local_removal, link);

		if (!is_meant(m, key, below))
			continue;
		m->kept = true;
		f = local_use_locked(l, m->file->ino);
		*v = contents_locked(l, f);
		strcpy(found, m->key);
		break;
	}
	mutex_unlock(&l->lock);
	return f;
}

static bool keep_next(struct local *l, const char *key, bool below, char found[VMOFS_KEY_MAX])
{
	struct vmo *v;
	struct local_file *f = next_removed(l, key, below, &v, found);

	if (!f)
		return false;
	if (v) {
		fetch(l, v, found);
		if (f->wfile)
			keep_dirty(v);
		vmo_put(v);
	}
	local_unuse(l, f);
	return true;
}

void local_keep_removed(struct local *l, const char *key)
{
	char found[VMOFS_KEY_MAX];

	while (keep_next(l, key, false, found))
		;
}

int local_clear_removed(struct local *l, const char *dir)
{
	char key[VMOFS_KEY_MAX];
	struct vmofs_version old;
	int r = 0;

	while (!r && keep_next(l, dir, true, key))
		if (local_removal_of(l, key, true, &old)) {
			r = local_origin_remove(l, key, &old);
			/* What comes there from now on is told of. */
			l->tree->ops->gone(l->tree, key);
		}
	return r;
}
