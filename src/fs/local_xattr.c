/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes of files that can be changed. One that was set here is the wfile's until the origin has it, and as long as
 * the wfile lives; of other files the origin is asked, and what it says is kept for a second for who reads: who lists attributes reads
 * each of them next. Blocks.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "fs/local_private.h"

#define SEEN_NS NSEC_PER_SEC

static const struct vmofs_change_ops *change_of(const struct local *l)
{
	return l->p.source->ops->change;
}

bool local_has_xattrs(const struct local *l)
{
	return change_of(l)->get_xattrs;
}

/* ---- what was seen ---- */

static struct local_seen *seen_of(struct local *l, uint64_t ino)
{
	return &l->seen[ino % ARRAY_LEN(l->seen)];
}

static struct vmofs_xattrs *find_seen(struct local *l, uint64_t ino)
{
	struct local_seen *s = seen_of(l, ino);
	struct vmofs_xattrs *x = NULL;

	mutex_lock(&l->lock);
	if (s->ino == ino && loop_now_ns() < s->until_ns)
		x = vmofs_xattrs_get(s->xattrs);
	mutex_unlock(&l->lock);
	return x;
}

static unsigned n_changed(struct local *l) EXCLUDES(l->lock)
{
	unsigned n;

	mutex_lock(&l->lock);
	n = l->n_xattrs_changed;
	mutex_unlock(&l->lock);
	return n;
}

/* As the origin told when @n were changed here; what may be from before the last change is not kept. */
static void set_seen(struct local *l, uint64_t ino, struct vmofs_xattrs *x, unsigned n)
{
	struct local_seen *s = seen_of(l, ino);
	struct vmofs_xattrs *old = vmofs_xattrs_get(x);

	mutex_lock(&l->lock);
	if (n == l->n_xattrs_changed) {
		old = s->xattrs;
		*s = (struct local_seen){ ino, loop_now_ns() + SEEN_NS, x };
	}
	mutex_unlock(&l->lock);
	vmofs_xattrs_put(old);
}

static void drop_seen(struct local *l, uint64_t ino)
{
	struct local_seen *s = seen_of(l, ino);
	struct vmofs_xattrs *old = NULL;

	mutex_lock(&l->lock);
	l->n_xattrs_changed++;
	if (s->ino == ino) {
		old = s->xattrs;
		*s = (struct local_seen){ 0 };
	}
	mutex_unlock(&l->lock);
	vmofs_xattrs_put(old);
}

void local_forget_seen(struct local *l)
{
	for (size_t i = 0; i < ARRAY_LEN(l->seen); i++)
		vmofs_xattrs_put(l->seen[i].xattrs);
}

/* ---- reading ---- */

/* As they were set here, counted; also none, of one that only is here. NULL: the origin knows. */
static struct vmofs_xattrs *ours(struct local *l, uint64_t ino)
{
	struct vmofs_xattrs *x = NULL;
	struct vmofs_version base;
	struct local_file *f;

	mutex_lock(&l->lock);
	f = local_find_locked(l, ino);
	if (f && f->wfile) {
		x = wfile_xattrs(f->wfile);
		wfile_base(f->wfile, &base);
		if (!x && !base.exists)
			x = vmofs_xattrs_get(&vmofs_xattrs_none);
	}
	mutex_unlock(&l->lock);
	return x;
}

static int ask(struct local *l, uint64_t ino, struct vmofs_xattrs **out)
{
	const struct vmofs_change_wait wait = local_wait(l);
	struct vmofs_err err = VMOFS_ERR_INIT;
	char key[VMOFS_KEY_MAX];
	struct vmofs_version v;
	int r = local_version_of(l, ino, key, &v);

	if (r < 0)
		return r;
	r = change_of(l)->get_xattrs(l->p.source, key, out, &wait, &err);
	if (r < 0 && r != -ENOENT)
		log_warn("the extended attributes of '%s' cannot be read: %s", key, err.msg);
	return r;
}

int local_xattrs(struct local *l, uint64_t ino, struct vmofs_xattrs **out)
{
	unsigned n = n_changed(l);
	int r;

	*out = ours(l, ino);
	if (!*out)
		*out = find_seen(l, ino);
	if (*out)
		return 0;
	r = ask(l, ino, out);
	if (r == 0)
		set_seen(l, ino, *out, n);
	return r;
}

/* ---- changing ---- */

static int check(struct local *l, uint64_t ino, const char *name, const struct vmofs_xattrs *x)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	char key[VMOFS_KEY_MAX];
	struct vmofs_version v;
	int r = change_of(l)->can_xattrs(l->p.source, x, &err);

	if (r < 0 && local_version_of(l, ino, key, &v) >= 0)
		log_warn("'%s' cannot have '%s' among its extended attributes: %s", key, name,
			 err.msg);
	return r;
}

static int changed(struct local *l, uint64_t ino, const struct vmofs_xattr *a,
		   enum vmofs_xattrs_how how, struct vmofs_xattrs **out)
{
	struct vmofs_xattrs *now = ours(l, ino);
	/* What was seen a moment ago others may have changed since, by a version that looks the same. */
	int r = now ? 0 : ask(l, ino, &now);

	if (r < 0)
		return r;
	r = a->value ? vmofs_xattrs_with(now, a, how, out)
		     : vmofs_xattrs_without(now, a->name, out);
	vmofs_xattrs_put(now);
	if (r < 0 || !a->value)
		return r;
	r = check(l, ino, a->name, *out);
	if (r < 0)
		vmofs_xattrs_put(*out);
	return r;
}

/* One at a time, as each is all that was there with one more or less. */
static int change_one(struct local *l, struct local_file *f, const struct vmofs_xattr *a,
		      enum vmofs_xattrs_how how)
{
	struct vmofs_change_attr attr = { 0 };
	int r;

	local_enter(l, f);
	r = changed(l, f->ino, a, how, &attr.xattrs);
	if (r == 0) {
		r = wfile_set_attr(f->wfile, &attr);
		vmofs_xattrs_put(attr.xattrs);
		drop_seen(l, f->ino);
	}
	local_leave(l, f);
	return r;
}

int local_set_xattr(struct local *l, uint64_t ino, const struct vmofs_xattr *a,
		    enum vmofs_xattrs_how how)
{
	struct local_handle *h;
	struct fs_tree_attr attr;
	int r = l->tree->ops->getattr(l->tree, ino, NULL, &attr);

	if (!r && !S_ISREG(attr.st.st_mode))
		r = -EOPNOTSUPP;
	if (!r)
		r = local_open_write(l, ino, false, &h);
	if (r < 0)
		return r;
	r = change_one(l, h->file, a, how);
	local_close(l, h);
	return r;
}
