/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merged trees: some by hand, then random layers against a model, a tree of pointers to which each layer is applied as the image
 * specification says: first its whiteouts, on what lower layers made, then its entries, one by one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/layer_text.h"
#include "lib/prng.h"

#ifdef VMOFS_SANITIZED
enum { ROUNDS = 1500 };
#else
enum { ROUNDS = 6000 };
#endif
enum { SEED = 11, LAYERS_MAX = 5, ENTRIES_MAX = 24, NAMES = 4, DEPTH = 4, TEXT_MAX = 8192 };

/* -- by hand ----------------------------------------------------------------------------------- */

static char *merge(char (*text)[TEXT_MAX], unsigned n)
{
	const struct layer_index *at[LAYERS_MAX];
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x[LAYERS_MAX], merged;
	void *p = NULL;
	size_t len = 0;
	char *dump;

	for (unsigned i = 0; i < n; i++) {
		if (layer_text_index(&x[i], text[i], &err) < 0)
			fail_msg("%s of\n%s", err.msg, text[i]);
		at[i] = &x[i];
	}
	if (layer_merge(at, n, &p, &len, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(layer_index_check(&merged, p, len, &err), 0);
	assert_int_equal(merged.layout, LAYER_LAYOUT_MERGED);
	assert_int_equal(merged.n_layers, n);
	dump = layer_text_dump(&merged);
	free(p);
	for (unsigned i = 0; i < n; i++)
		free((void *)(uintptr_t)x[i].p);
	return dump;
}

static void expect(const char *lower, const char *upper, const char *want)
{
	char text[2][TEXT_MAX];
	char *got;

	strcpy(text[0], lower);
	strcpy(text[1], upper);
	got = merge(text, 2);
	assert_string_equal(strchr(got, '\n') + 1, want);
	free(got);
}

static void test_layers(void **state UNUSED)
{
	expect("f a 1\nf b 2\n", "f b 3\nf c 4\n", "f a 644 1 1 1\nf b 644 1 1 3\nf c 644 1 2 4\n");
	expect("d d 700\nf d/a 1\n", "d d 711\nf d/b 1\n",
	       "d d 711 2 1\nf d/a 644 1 2 1\nf d/b 644 1 2 1\n");
	/* A directory that is only implied leaves the lower one's attributes. */
	expect("d d 700\nf d/a 1\n", "f d/b 1\n",
	       "d d 700 2 1\nf d/a 644 1 2 1\nf d/b 644 1 1 1\n");
	expect("f d/a 1\n", "f d/b 1\n", "d d 755 2 0\nf d/a 644 1 1 1\nf d/b 644 1 1 1\n");
	expect("d d\nf d/a 1\n", "f d 2\n", "f d 644 1 1 2\n");
	expect("f d 2\n", "d d 700\n", "d d 700 2 1\n");
}

static void test_whiteouts(void **state UNUSED)
{
	expect("f a 1\nd d\nf d/b 1\n", "f .wh.a\nf d/.wh.b\n", "d d 755 2 2\n");
	expect("d d\nf d/b 1\n", "f .wh.d\n", "");
	expect("d d 700\nf d/b 1\n", "f d/.wh..wh..opq\nf d/c 1\n",
	       "d d 700 2 1\nf d/c 644 1 2 1\n");
	expect("d d 700\nf d/b 1\n", "f .wh.d\nf d/c 1\n", "d d 755 2 0\nf d/c 644 1 2 1\n");
	expect("f a 1\n", "f .wh..wh..opq\n", "");
	expect("f a 1\n", "f .wh.b\n", "f a 644 1 1 1\n");
}

static void test_split_links(void **state UNUSED)
{
	expect("f a 5\nh b a\nh c a\n", "f b 1\n", "f a 644 2 1 5\nf b 644 1 1 1\nf c 644 2 1 5\n");
	expect("f a 5\nh b a\nh c a\n", "f .wh.a\nf .wh.c\n", "f b 644 1 1 5\n");
	/* The same number in two layers is not the same inode. */
	expect("f a 5\nh b a\n", "f c 6\nh d c\n",
	       "f a 644 2 1 5\nf b 644 2 1 5\nf c 644 2 1 6\nf d 644 2 1 6\n");
}

static void test_details(void **state UNUSED)
{
	const struct layer_xattr attr = { "user.a", 6, "1\0002", 3 };
	const struct layer_entry e = { .name = "a",
				       .name_len = 1,
				       .mode = S_IFREG,
				       .size = 5,
				       .data = 7,
				       .xattrs = &attr,
				       .n_xattrs = 1 };
	struct layer_id id = { .data_size = 100, .diff = { 1 } };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x[2], merged;
	const struct layer_index *at[2] = { &x[0], &x[1] };
	const struct layer_inode *i;
	struct layer_build *b;
	struct layer_xattr got;
	void *p = NULL, *q = NULL;
	size_t len;

	assert_int_equal(layer_text_index(&x[0], "l l where\n", &err), 0);
	assert_int_equal(layer_build_new(&b, LAYER_LAYOUT_TAR, NULL), 0);
	assert_int_equal(layer_build_entry(b, &e, &err), 0);
	assert_int_equal(layer_build_end(b, &id, &p, &len, &err), 0);
	layer_build_free(b);
	assert_int_equal(layer_index_check(&x[1], p, len, &err), 0);
	assert_int_equal(layer_merge(at, 2, &q, &len, &err), 0);
	assert_int_equal(layer_index_check(&merged, q, len, &err), 0);
	i = layer_inode(&merged, layer_walk(&merged, "a"));
	assert_int_equal(i->layer, 1);
	assert_int_equal(i->data, 7);
	assert_int_equal(i->size, 5);
	got = layer_xattr(&merged, i, 0);
	assert_string_equal(got.name, "user.a");
	assert_memory_equal(got.value, "1\0002", 3);
	i = layer_inode(&merged, layer_walk(&merged, "l"));
	assert_int_equal(i->layer, 0);
	assert_string_equal(layer_target(&merged, i), "where");
	/* Of what is merged, no more is. */
	at[0] = &merged;
	assert_int_equal(layer_merge(at, 1, &p, &len, &err), -EINVAL);
	assert_int_equal(layer_merge(at, 0, &p, &len, &err), -EINVAL);
	free((void *)(uintptr_t)x[0].p);
	free((void *)(uintptr_t)x[1].p);
	free(q);
}

/* -- the model --------------------------------------------------------------------------------- */

struct file {
	char type; /* 'd', 'f', 'l' */
	unsigned mode;
	unsigned nlink;
	unsigned layer;
	int64_t mtime;
	uint64_t size;
};

struct node {
	struct file *file;
	struct node *child[NAMES];
};

static struct file *file_new(char type, unsigned layer)
{
	struct file *f = calloc(1, sizeof *f);

	assert_non_null(f);
	f->type = type;
	f->mode = type == 'd' ? 0755 : type == 'l' ? 0777 : 0644;
	f->layer = layer;
	return f;
}

static void node_set(struct node *n, struct file *f)
{
	struct file *old = n->file;

	f->nlink++;
	if (old && --old->nlink == 0)
		free(old);
	n->file = f;
}

static void node_free(struct node *n)
{
	if (!n)
		return;
	for (unsigned i = 0; i < NAMES; i++)
		node_free(n->child[i]);
	if (--n->file->nlink == 0)
		free(n->file);
	free(n);
}

static void node_empty(struct node *n)
{
	for (unsigned i = 0; i < NAMES; i++) {
		node_free(n->child[i]);
		n->child[i] = NULL;
	}
}

/* A path is numbers of names. */
struct path {
	unsigned n;
	unsigned name[DEPTH];
};

static struct path path_random(struct prng *r)
{
	struct path p = { .n = 1 + (unsigned)prng_below(r, DEPTH) };

	for (unsigned i = 0; i < p.n; i++)
		p.name[i] = (unsigned)prng_below(r, NAMES);
	return p;
}

static const char *path_text(const struct path *p, const char *prefix, char out[64])
{
	char *at = out;

	for (unsigned i = 0; i < p->n; i++) {
		if (i)
			*at++ = '/';
		if (i + 1 == p->n)
			at = stpcpy(at, prefix);
		*at++ = (char)('a' + p->name[i]);
	}
	*at = 0;
	return out;
}

static struct node *node_at(struct node *root, const struct path *p, unsigned depth)
{
	for (unsigned i = 0; root && i < depth; i++)
		root = root->file->type == 'd' ? root->child[p->name[i]] : NULL;
	return root;
}

/* As a directory; what was there and is none is gone. */
static struct node *node_dir(struct node *root, const struct path *p, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++) {
		struct node **n = &root->child[p->name[i]];

		if (!*n) {
			*n = calloc(1, sizeof **n);
			assert_non_null(*n);
		}
		if (!(*n)->file || (*n)->file->type != 'd')
			node_set(*n, file_new('d', 0));
		root = *n;
	}
	return root;
}

static void model_put(struct node *root, const struct path *p, struct file *f)
{
	struct node *dir = node_dir(root, p, p->n - 1);
	struct node **n = &dir->child[p->name[p->n - 1]];

	if (!*n) {
		*n = calloc(1, sizeof **n);
		assert_non_null(*n);
	}
	if (f->type != 'd')
		node_empty(*n);
	node_set(*n, f);
}

static void model_dump(FILE *out, const struct node *n, const char *path)
{
	const struct file *f = n->file;
	unsigned nlink = f->type == 'd' ? 2 : f->nlink;

	for (unsigned i = 0; i < NAMES; i++)
		nlink += n->child[i] && n->child[i]->file->type == 'd';
	fprintf(out, "%c %s %o %u %lld", f->type, *path ? path : "/", f->mode, nlink,
		(long long)f->mtime);
	if (f->type == 'f')
		fprintf(out, " %llu", (unsigned long long)f->size);
	if (f->type == 'l')
		fprintf(out, " to%u", f->layer);
	fputc('\n', out);
	for (unsigned i = 0; i < NAMES; i++) {
		char below[64];

		if (!n->child[i])
			continue;
		snprintf(below, sizeof below, "%s%s%c", path, *path ? "/" : "", 'a' + i);
		model_dump(out, n->child[i], below);
	}
}

/* -- random layers ----------------------------------------------------------------------------- */

struct maker {
	struct prng r;
	struct node *root;
	unsigned layer;
	int64_t entry; /* of this layer, from 1 */
	char *text;
	char whiteouts[ENTRIES_MAX][80];
	unsigned n_whiteouts;
};

/* Whiteouts of what is there, and then they are done in the model. */
static void make_whiteouts(struct maker *m)
{
	unsigned n = (unsigned)prng_below(&m->r, 6);
	struct path gone[8];
	bool opaque[8];
	char name[64];

	m->n_whiteouts = 0;
	for (unsigned i = 0; i < n; i++) {
		struct path p = path_random(&m->r);
		const struct node *at = node_at(m->root, &p, p.n);
		char *to = m->whiteouts[m->n_whiteouts];

		if (!at)
			continue;
		opaque[m->n_whiteouts] = at->file->type == 'd' && prng_chance(&m->r, 40);
		gone[m->n_whiteouts] = p;
		if (opaque[m->n_whiteouts])
			sprintf(to, "f %s/.wh..wh..opq\n", path_text(&p, "", name));
		else
			sprintf(to, "f %s\n", path_text(&p, ".wh.", name));
		m->n_whiteouts++;
	}
	for (unsigned i = 0; i < m->n_whiteouts; i++) {
		struct node *dir = node_at(m->root, &gone[i], gone[i].n - 1);
		struct node **at = dir ? &dir->child[gone[i].name[gone[i].n - 1]] : NULL;

		if (!at || !*at)
			continue;
		node_empty(*at);
		if (opaque[i])
			continue;
		node_free(*at);
		*at = NULL;
	}
}

/* The next whiteouts, by chance; each is an entry. */
static void put_whiteouts(struct maker *m, unsigned percent)
{
	while (m->n_whiteouts && prng_chance(&m->r, percent)) {
		unsigned i = (unsigned)prng_below(&m->r, m->n_whiteouts);

		strcat(m->text, m->whiteouts[i]);
		m->n_whiteouts--;
		memmove(m->whiteouts[i], m->whiteouts[m->n_whiteouts], sizeof m->whiteouts[i]);
		m->entry++;
	}
}

static void make_link(struct maker *m, const struct path *p)
{
	struct path to = path_random(&m->r);
	const struct node *target = node_at(m->root, &to, to.n);
	char name[64], target_name[64];

	if (!target || target->file->type == 'd' || target->file->layer != m->layer)
		return;
	m->entry++;
	sprintf(m->text + strlen(m->text), "h %s %s\n", path_text(p, "", name),
		path_text(&to, "", target_name));
	/* What it replaces may have its target in it. */
	target->file->nlink++;
	model_put(m->root, p, target->file);
	node_at(m->root, p, p->n)->file->nlink--;
}

static void make_entry(struct maker *m)
{
	static const char types[] = "ddfffl";
	struct path p = path_random(&m->r);
	struct file *f;
	char *to = m->text + strlen(m->text);
	char name[64];

	if (prng_chance(&m->r, 20)) {
		make_link(m, &p);
		return;
	}
	f = file_new(types[prng_below(&m->r, sizeof types - 1)], m->layer);
	f->mtime = ++m->entry;
	path_text(&p, "", name);
	if (f->type == 'd') {
		f->mode = 0700 + m->layer;
		sprintf(to, "d %s %o\n", name, f->mode);
	} else if (f->type == 'f') {
		f->size = 1000 * m->layer + (uint64_t)m->entry;
		sprintf(to, "f %s %llu\n", name, (unsigned long long)f->size);
	} else {
		sprintf(to, "l %s to%u\n", name, m->layer);
	}
	model_put(m->root, &p, f);
}

static void make_layer(struct maker *m, unsigned layer, char *text)
{
	unsigned n = (unsigned)prng_below(&m->r, ENTRIES_MAX);

	/* From 1: what is implied has none. */
	m->layer = layer + 1;
	m->entry = 0;
	m->text = text;
	*text = 0;
	make_whiteouts(m);
	for (unsigned i = 0; i < n; i++) {
		put_whiteouts(m, 10);
		make_entry(m);
	}
	while (m->n_whiteouts)
		put_whiteouts(m, 100);
}

static void compare(char (*text)[TEXT_MAX], unsigned n, const char *got, const char *want)
{
	if (strcmp(got, want) == 0)
		return;
	for (unsigned i = 0; i < n; i++)
		print_message("layer %u:\n%s", i, text[i]);
	fail_msg("merged:\n%sshould be:\n%s", got, want);
}

static void test_model(void **state UNUSED)
{
	static char text[LAYERS_MAX][TEXT_MAX];
	struct maker m = { .r = { .state = SEED } };

	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned n = 1 + (unsigned)prng_below(&m.r, LAYERS_MAX);
		char *got, *want = NULL;
		size_t len;
		FILE *out = open_memstream(&want, &len);

		assert_non_null(out);
		m.root = calloc(1, sizeof *m.root);
		assert_non_null(m.root);
		node_set(m.root, file_new('d', 0));
		for (unsigned i = 0; i < n; i++)
			make_layer(&m, i, text[i]);
		got = merge(text, n);
		model_dump(out, m.root, "");
		fclose(out);
		compare(text, n, got, want);
		node_free(m.root);
		free(got);
		free(want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layers),      cmocka_unit_test(test_whiteouts),
		cmocka_unit_test(test_split_links), cmocka_unit_test(test_details),
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
