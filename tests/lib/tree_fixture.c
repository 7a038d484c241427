/* SPDX-License-Identifier: Apache-2.0 */
/* The callers of a tree in tests. */
#include "lib/tree_fixture.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fs/object_cache.h"

enum { TRIES_MAX = 1000 };

uint64_t fixture_now_ns;

static uint64_t fixture_now(void)
{
	return fixture_now_ns;
}

static void fixture_entry(void *arg, uint64_t parent, const char *name, size_t len UNUSED)
{
	struct tree_fixture *f = arg;
	size_t n = strlen(f->told);

	snprintf(f->told + n, sizeof f->told - n, "%llu/%s ", (unsigned long long)parent, name);
}

void tree_fixture_init(struct tree_fixture *f)
{
	*f = (struct tree_fixture){ .source = fake_source_new() };
	fixture_now_ns = 1000 * NSEC_PER_SEC;
	f->p = (struct fs_tree_source_params){
		.source = &f->source->base,
		.info = &f->source->info,
		.ttl_ns = 60 * NSEC_PER_SEC,
		.negative_ttl_ns = 5 * NSEC_PER_SEC,
		.soft_limit = MIB(32),
		.uid = 12,
		.gid = 34,
		.file_mode = 0444,
		.dir_mode = 0555,
		.now_ns = fixture_now,
	};
}

void tree_fixture_start(struct tree_fixture *f)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct object_cache_params cp = { .source = &f->source->base, .idle_max = 10 };
	int r = f->p.cache ? 0 : object_cache_new(&f->p.cache, &cp, &err);

	assert(r == 0);
	r = fs_tree_source_new(&f->tree, &f->p, &err);
	assert(r == 0);
	f->tree->ops->set_notify(f->tree, &(struct fs_tree_notify){ fixture_entry, f });
}

void tree_fixture_end(struct tree_fixture *f)
{
	f->source->base.ops->stop(&f->source->base);
	f->tree->ops->stop(f->tree);
	f->tree->ops->set_notify(f->tree, NULL);
	f->tree->ops->free(f->tree);
	object_cache_close(f->p.cache);
	object_cache_free(f->p.cache);
	fake_source_free(f->source);
}

void tree_fixture_settle(struct tree_fixture *f)
{
	/* Stopping tells the rest. */
	f->tree->ops->stop(f->tree);
}

static void wait_done(struct fs_tree_wait *w, int status)
{
	struct fixture_wait *fw = container_of(w, struct fixture_wait, w);

	fw->n_done++;
	fw->status = status;
}

void fixture_wait_init(struct fixture_wait *w)
{
	*w = (struct fixture_wait){ .w.done = wait_done };
}

/* After -EINPROGRESS: 0 to repeat, or the end. */
static int waited(struct tree_fixture *f, struct fixture_wait *w, unsigned *tries)
{
	if (!w->n_done) {
		f->tree->ops->cancel(f->tree, &w->w);
		return -EDEADLK;
	}
	assert(w->n_done == 1);
	w->n_done = 0;
	assert(++*tries < TRIES_MAX);
	return w->status;
}

int fixture_lookup(struct tree_fixture *f, uint64_t parent, const char *name,
		   struct fs_tree_attr *out)
{
	struct fixture_wait w;
	unsigned tries = 0;
	int r;

	fixture_wait_init(&w);
	while ((r = f->tree->ops->lookup(f->tree, parent, name, &w.w, out)) == -EINPROGRESS) {
		r = waited(f, &w, &tries);
		if (r < 0)
			break;
	}
	return r;
}

int64_t fixture_ino(struct tree_fixture *f, const char *path)
{
	uint64_t ino = FS_TREE_ROOT;
	char name[256];

	while (*path) {
		size_t n = strcspn(path, "/");
		struct fs_tree_attr a;
		int r;

		memcpy(name, path, n);
		name[n] = '\0';
		r = fixture_lookup(f, ino, name, &a);
		if (r < 0)
			return r;
		ino = a.st.st_ino;
		path += n + (path[n] == '/');
	}
	return (int64_t)ino;
}

/* One request of a kernel that has room for a few dozen entries. */
struct request {
	char *out;
	size_t len;
	size_t cap;
	uint64_t next;
	unsigned room;
	struct fs_tree_attr attrs[40];
	unsigned n;
};

static bool fill(void *arg, const struct fs_tree_entry *e)
{
	struct request *q = arg;
	bool dots = !strcmp(e->name, ".") || !strcmp(e->name, "..");

	if (q->n == q->room)
		return false;
	q->attrs[q->n++] = *e->attr;
	q->next = e->next;
	if (dots)
		q->n--;
	else if (q->out)
		q->len += (size_t)snprintf(q->out + q->len, q->cap - q->len, "%s%s ", e->name,
					   S_ISDIR(e->attr->st.st_mode) ? "/" : "");
	return true;
}

static int read_some(struct tree_fixture *f, uint64_t ino, bool plus, struct request *q)
{
	struct fixture_wait w;
	unsigned tries = 0;
	int r;

	fixture_wait_init(&w);
	for (;;) {
		q->n = 0;
		r = f->tree->ops->readdir(f->tree, ino, q->next, plus, &w.w, fill, q);
		if (r == -EINPROGRESS)
			r = waited(f, &w, &tries);
		else
			return r;
		if (r < 0)
			return r;
	}
}

int fixture_readdir(struct tree_fixture *f, uint64_t ino, bool plus, char *out, size_t cap)
{
	struct request q = { .out = out, .cap = cap, .room = ARRAY_LEN(q.attrs) };
	uint64_t before;
	int r;

	out[0] = '\0';
	r = f->tree->ops->opendir(f->tree, ino);
	if (r < 0)
		return r;
	do {
		before = q.next;
		r = read_some(f, ino, plus, &q);
	} while (r == 0 && q.next != before);
	f->tree->ops->releasedir(f->tree, ino);
	return r;
}

const char *fixture_ls(struct tree_fixture *f, const char *path)
{
	static char out[1 << 20];
	int64_t ino = fixture_ino(f, path);
	int r = ino < 0 ? (int)ino : fixture_readdir(f, (uint64_t)ino, true, out, sizeof out);

	if (r < 0)
		snprintf(out, sizeof out, "%s", strerrorname_np(-r));
	return out;
}

/* The directories that a request has told of. */
struct dir_list {
	char (*names)[256];
	uint64_t *ino;
	size_t n;
};

static void keep_dirs(struct dir_list *l, const struct request *q, const char *names)
{
	for (unsigned i = 0; i < q->n; i++, names += strcspn(names, " ") + 1) {
		if (!S_ISDIR(q->attrs[i].st.st_mode))
			continue;
		l->ino = realloc(l->ino, (l->n + 1) * sizeof *l->ino);
		l->names = realloc(l->names, (l->n + 1) * sizeof *l->names);
		assert(l->ino && l->names);
		snprintf(l->names[l->n], sizeof *l->names, "%.*s", (int)strcspn(names, "/"), names);
		l->ino[l->n++] = q->attrs[i].st.st_ino;
	}
}

/* Without references from readdir() the kernel has to look the directory up. */
static int64_t walk_below(struct tree_fixture *f, uint64_t ino, const struct dir_list *l, size_t i,
			  bool plus)
{
	struct fs_tree_attr a = { .st.st_ino = l->ino[i] };
	int r = plus ? 0 : fixture_lookup(f, ino, l->names[i], &a);
	int64_t n = r < 0 ? r : fixture_walk(f, a.st.st_ino, plus);

	if (!plus && !r)
		f->tree->ops->forget(f->tree, a.st.st_ino, 1);
	return n;
}

/* As find does: the whole directory, then each of those in it. */
int64_t fixture_walk(struct tree_fixture *f, uint64_t ino, bool plus)
{
	char names[40 * 256];
	struct request q = { .room = ARRAY_LEN(q.attrs), .out = names, .cap = sizeof names };
	struct dir_list dirs = { 0 };
	int64_t n_files = 0;
	uint64_t before;
	int r = f->tree->ops->opendir(f->tree, ino);

	if (r < 0)
		return r;
	do {
		before = q.next;
		q.len = 0;
		r = read_some(f, ino, plus, &q);
		if (!r)
			keep_dirs(&dirs, &q, names);
		for (unsigned i = 0; !r && i < q.n; i++)
			n_files += !S_ISDIR(q.attrs[i].st.st_mode);
	} while (r == 0 && q.next != before);
	f->tree->ops->releasedir(f->tree, ino);
	for (size_t i = 0; !r && i < dirs.n; i++) {
		int64_t below = walk_below(f, ino, &dirs, i, plus);

		if (below < 0)
			r = (int)below;
		else
			n_files += below;
	}
	free(dirs.ino);
	free(dirs.names);
	return r < 0 ? r : n_files;
}

struct fs_tree_stats fixture_stats(struct tree_fixture *f)
{
	struct fs_tree_stats st;

	f->tree->ops->stats(f->tree, &st);
	return st;
}
