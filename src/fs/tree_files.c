/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All files below a directory, for a thread that may wait (a command's). Of a directory a hundred entries are
 * held at a time, and the names of its sub-directories.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "fs/names.h"
#include "fs/tree.h"

enum { BATCH = 100 };

struct found {
	char name[NAME_LEN_MAX + 1];
	bool is_dir;
};

/* One directory of the path. */
struct level {
	uint64_t ino;
	uint64_t cookie;
	struct found found[BATCH];
	unsigned n;
	char **subs; /* owned */
	size_t n_subs;
	size_t cap_subs;
};

struct files {
	struct fs_tree *tree;
	const struct fs_tree_files *f;
	size_t len; /* of path */
	char path[VMOFS_KEY_MAX];
};

static uint64_t deadline(const struct files *w)
{
	return w->f->timeout_ns ? loop_now_ns() + w->f->timeout_ns : 0;
}

static void level_free(struct level *l)
{
	for (size_t i = 0; i < l->n_subs; i++)
		free(l->subs[i]);
	free(l->subs);
	free(l);
}

static int level_keep_sub(struct level *l, const char *name)
{
	size_t cap = l->cap_subs ? 2 * l->cap_subs : 16;
	char **subs;

	if (l->n_subs == l->cap_subs) {
		subs = realloc(l->subs, cap * sizeof *subs);
		if (!subs)
			return -ENOMEM;
		l->subs = subs;
		l->cap_subs = cap;
	}
	l->subs[l->n_subs] = strdup(name);
	return l->subs[l->n_subs] ? (l->n_subs++, 0) : -ENOMEM;
}

static bool fill(void *arg, const struct fs_tree_entry *e)
{
	struct level *l = arg;
	struct found *to = &l->found[l->n];

	if (l->n == BATCH)
		return false;
	l->cookie = e->next;
	if (!strcmp(e->name, ".") || !strcmp(e->name, ".."))
		return true;
	strncpy(to->name, e->name, sizeof to->name - 1);
	to->name[sizeof to->name - 1] = '\0';
	to->is_dir = S_ISDIR(e->attr->st.st_mode);
	l->n++;
	return true;
}

/* Makes the path that of @name in it; false: that is too long, so it cannot be. */
static bool path_push(struct files *w, const char *name)
{
	size_t len = strlen(name);

	if (w->len + len + 2 > sizeof w->path)
		return false;
	if (w->len)
		w->path[w->len++] = '/';
	memcpy(w->path + w->len, name, len + 1);
	w->len += len;
	return true;
}

static void path_pop(struct files *w, size_t len)
{
	w->len = len;
	w->path[len] = '\0';
}

static int walk(struct files *w, uint64_t ino);

/* What has gone since its directory was read is none of anybody's business. */
static int failed(struct files *w, int r)
{
	if (r == -ENOENT || r == -ESTALE)
		return 0;
	return w->f->failed(w->f->arg, w->path, r);
}

/* What the path is, in @parent. */
static int visit_path(struct files *w, uint64_t parent, const char *name)
{
	struct fs_tree_attr a;
	int r = fs_tree_lookup_wait(w->tree, parent, name, deadline(w), &a);

	if (r < 0)
		return failed(w, r);
	if (S_ISDIR(a.st.st_mode))
		r = walk(w, a.st.st_ino);
	else if (S_ISREG(a.st.st_mode))
		r = w->f->file(w->f->arg, w->path, a.st.st_ino);
	w->tree->ops->forget(w->tree, a.st.st_ino, 1);
	return r;
}

static int visit(struct files *w, uint64_t parent, const char *name)
{
	size_t len = w->len;
	int r;

	if (*w->f->cancelled)
		return -EINTR;
	if (!path_push(w, name))
		return 0;
	r = visit_path(w, parent, name);
	path_pop(w, len);
	return r;
}

static int visit_found(struct files *w, struct level *l)
{
	int r = 0;

	for (unsigned i = 0; i < l->n && !r; i++)
		r = l->found[i].is_dir ? level_keep_sub(l, l->found[i].name)
				       : visit(w, l->ino, l->found[i].name);
	return r;
}

static int read_level(struct files *w, struct level *l)
{
	uint64_t before;
	int r;

	do {
		before = l->cookie;
		l->n = 0;
		r = fs_tree_readdir_wait(w->tree, l->ino, before, deadline(w), fill, l);
		if (r < 0)
			return failed(w, r);
		r = visit_found(w, l);
	} while (!r && l->cookie != before);
	return r;
}

static int walk(struct files *w, uint64_t ino)
{
	struct level *l = calloc(1, sizeof *l);
	int r = l ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	l->ino = ino;
	if (w->tree->ops->opendir)
		r = w->tree->ops->opendir(w->tree, ino);
	if (!r) {
		r = read_level(w, l);
		if (w->tree->ops->opendir)
			w->tree->ops->releasedir(w->tree, ino);
	}
	for (size_t i = 0; i < l->n_subs && !r; i++)
		r = visit(w, ino, l->subs[i]);
	level_free(l);
	return r;
}

int fs_tree_files_wait(struct fs_tree *t, const char *path, const struct fs_tree_files *f)
{
	struct files *w = calloc(1, sizeof *w);
	struct fs_tree_attr a;
	int r = w ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	w->tree = t;
	w->f = f;
	while (*path == '/')
		path++;
	w->len = strlen(path);
	while (w->len && path[w->len - 1] == '/')
		w->len--;
	r = w->len < sizeof w->path ? fs_tree_resolve_wait(t, path, deadline(w), &a)
				    : -ENAMETOOLONG;
	if (!r) {
		memcpy(w->path, path, w->len);
		r = S_ISDIR(a.st.st_mode) ? walk(w, a.st.st_ino) : -ENOTDIR;
		if (a.st.st_ino != FS_TREE_ROOT)
			t->ops->forget(t, a.st.st_ino, 1);
	}
	free(w);
	return r;
}
