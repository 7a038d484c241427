/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is the same for every namespace: paths walked by threads that may wait (the control socket's),
 * and the words for people. The namespaces themselves are in single.c and tree_source.c.
 */
#include "fs/tree.h"

#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "base/sync.h"

const char *const fs_hidden_names[] = {
	[FS_HIDDEN_EMPTY] = "an empty component",
	[FS_HIDDEN_DOT] = "a component '.' or '..'",
	[FS_HIDDEN_NUL] = "a zero byte",
	[FS_HIDDEN_LONG] = "a component of more than 255 bytes",
	[FS_HIDDEN_SHADOWED] = "a directory of the same name",
	[FS_HIDDEN_MARKER] = "content of a directory marker",
};
_Static_assert(ARRAY_LEN(fs_hidden_names) == FS_HIDDEN_NREASONS, "one text per reason");

/* A wait with a thread behind it. */
struct sleeper {
	struct fs_tree_wait wait;
	struct mutex lock;
	struct cond woken;
	bool done;  /* lock: lock */
	int status; /* lock: lock */
};

static void sleeper_done(struct fs_tree_wait *w, int status)
{
	struct sleeper *s = container_of(w, struct sleeper, wait);

	mutex_lock(&s->lock);
	s->done = true;
	s->status = status;
	cond_signal(&s->woken);
	mutex_unlock(&s->lock);
}

static void sleeper_init(struct sleeper *s)
{
	*s = (struct sleeper){ .wait.done = sleeper_done };
	mutex_init(&s->lock, LOCK_RANK_READ);
	cond_init(&s->woken);
}

static void sleeper_release(struct sleeper *s)
{
	cond_destroy(&s->woken);
	mutex_destroy(&s->lock);
}

/* False: the deadline came first. */
static bool sleeper_until(struct sleeper *s, uint64_t deadline_ns) EXCLUDES(s->lock)
{
	bool in_time = true;

	mutex_lock(&s->lock);
	while (!s->done && in_time)
		if (deadline_ns)
			in_time = cond_wait_until(&s->woken, &s->lock, deadline_ns);
		else
			cond_wait(&s->woken, &s->lock);
	in_time = s->done;
	mutex_unlock(&s->lock);
	return in_time;
}

/* What an -EINPROGRESS comes to: that again, to repeat the operation, or an error. */
static int sleeper_sleep(struct sleeper *s, struct fs_tree *t, uint64_t deadline_ns)
	EXCLUDES(s->lock)
{
	int status;

	if (!sleeper_until(s, deadline_ns)) {
		if (t->ops->cancel(t, &s->wait))
			return -ETIMEDOUT;
		(void)sleeper_until(s, 0); /* it is coming just now */
	}
	mutex_lock(&s->lock);
	status = s->status;
	s->done = false;
	mutex_unlock(&s->lock);
	return status < 0 ? status : -EINPROGRESS;
}

int fs_tree_lookup_wait(struct fs_tree *t, uint64_t parent, const char *name, uint64_t deadline_ns,
			struct fs_tree_attr *out)
{
	struct sleeper s;
	int r;

	sleeper_init(&s);
	do {
		r = t->ops->lookup(t, parent, name, &s.wait, out);
		if (r == -EINPROGRESS)
			r = sleeper_sleep(&s, t, deadline_ns);
	} while (r == -EINPROGRESS);
	sleeper_release(&s);
	return r;
}

int fs_tree_readdir_wait(struct fs_tree *t, uint64_t ino, uint64_t cookie, uint64_t deadline_ns,
			 fs_tree_fill *fill, void *arg)
{
	struct sleeper s;
	int r;

	sleeper_init(&s);
	do {
		r = t->ops->readdir(t, ino, cookie, false, &s.wait, fill, arg);
		if (r == -EINPROGRESS)
			r = sleeper_sleep(&s, t, deadline_ns);
	} while (r == -EINPROGRESS);
	sleeper_release(&s);
	return r;
}

/* The next component of *path into @name; false: there is none. */
static bool next_name(const char **path, char name[256], int *r)
{
	size_t n;

	*path += strspn(*path, "/");
	n = strcspn(*path, "/");
	*r = n < 256 ? 0 : -ENAMETOOLONG;
	if (!n || *r)
		return false;
	memcpy(name, *path, n);
	name[n] = '\0';
	*path += n;
	return true;
}

int fs_tree_resolve_wait(struct fs_tree *t, const char *path, uint64_t deadline_ns,
			 struct fs_tree_attr *out)
{
	uint64_t ino = FS_TREE_ROOT;
	char name[256];
	int r;

	r = t->ops->getattr(t, ino, NULL, out);
	if (r < 0)
		return r;
	while (next_name(&path, name, &r)) {
		uint64_t parent = ino;

		r = fs_tree_lookup_wait(t, parent, name, deadline_ns, out);
		if (parent != FS_TREE_ROOT)
			t->ops->forget(t, parent, 1);
		if (r < 0)
			return r;
		ino = out->st.st_ino;
	}
	if (r < 0 && ino != FS_TREE_ROOT)
		t->ops->forget(t, ino, 1);
	return r;
}

int fs_tree_open_ino_wait(struct fs_tree *t, uint64_t ino, uint64_t deadline_ns,
			  struct fs_object **out)
{
	struct sleeper s;
	int r;

	sleeper_init(&s);
	do {
		r = t->ops->open(t, ino, &s.wait, out);
		if (r == -EINPROGRESS)
			r = sleeper_sleep(&s, t, deadline_ns);
	} while (r == -EINPROGRESS);
	sleeper_release(&s);
	return r;
}

int fs_tree_open_wait(struct fs_tree *t, const char *path, uint64_t deadline_ns,
		      struct fs_object **out)
{
	struct fs_tree_attr attr;
	int r = fs_tree_resolve_wait(t, path, deadline_ns, &attr);

	if (r < 0)
		return r;
	r = fs_tree_open_ino_wait(t, attr.st.st_ino, deadline_ns, out);
	t->ops->forget(t, attr.st.st_ino, 1);
	return r;
}

int fs_tree_empty_wait(struct fs_tree *t, uint64_t ino, uint64_t deadline_ns)
{
	struct sleeper s;
	int r;

	sleeper_init(&s);
	do {
		r = t->ops->empty(t, ino, &s.wait);
		if (r == -EINPROGRESS)
			r = sleeper_sleep(&s, t, deadline_ns);
	} while (r == -EINPROGRESS);
	sleeper_release(&s);
	return r;
}
