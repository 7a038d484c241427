/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many callers at once over a source that answers on a thread of its own and changes meanwhile: for the
 * sanitizers, for what must hold at the end, and for everybody getting an answer.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "fs/object_cache.h"
#include "fs/tree.h"
#include "lib/fake_source.h"
#include "lib/prng.h"

enum { DIRS = 12, FILES = 12, CALLERS = 4, ROUNDS = 600 };

/* ---- a source with a thread ---- */

static struct {
	struct vmofs_source base;
	struct fake_source *inner; /* of the thread */
	struct mutex lock;
	struct cond some;
	struct vmofs_list queries; /* lock: lock */
	bool ending;               /* lock: lock */
	bool stopped;              /* lock: lock */
	pthread_t thread;
} src;

static void src_query(struct vmofs_source *s, struct vmofs_query *q)
{
	(void)s;
	mutex_lock(&src.lock);
	vmofs_list_add_tail(&src.queries, &q->link);
	cond_signal(&src.some);
	mutex_unlock(&src.lock);
}

static struct vmofs_query *src_next(bool *stopped)
{
	struct vmofs_query *q;

	mutex_lock(&src.lock);
	while (vmofs_list_empty(&src.queries) && !src.ending)
		cond_wait(&src.some, &src.lock);
	q = vmofs_list_first(&src.queries, struct vmofs_query, link);
	if (q)
		vmofs_list_del(&q->link);
	*stopped = src.stopped;
	mutex_unlock(&src.lock);
	return q;
}

static void change_something(struct prng *r)
{
	char key[64];

	snprintf(key, sizeof key, "d%02u/f%02u", (unsigned)prng_below(r, DIRS),
		 (unsigned)prng_below(r, FILES));
	fake_source_put(src.inner, key, prng_below(r, 1000), "");
	snprintf(key, sizeof key, "d%02u/new%02u", (unsigned)prng_below(r, DIRS),
		 (unsigned)prng_below(r, FILES));
	fake_source_put(src.inner, key, 1, "");
	if (prng_chance(r, 50))
		fake_source_remove(src.inner, key);
}

static void *src_main(void *arg UNUSED)
{
	struct prng r = { 7 };
	struct vmofs_query *q;
	bool stopped;

	while ((q = src_next(&stopped))) {
		if (prng_chance(&r, 20))
			change_something(&r);
		src.inner->fail = stopped ? -ESHUTDOWN : prng_chance(&r, 3) ? -EIO : 0;
		src.inner->base.ops->query(&src.inner->base, q);
	}
	return NULL;
}

static void src_stop(struct vmofs_source *s UNUSED)
{
	mutex_lock(&src.lock);
	src.stopped = true;
	mutex_unlock(&src.lock);
}

static const struct vmofs_source_ops src_ops = { .query = src_query, .stop = src_stop };

static void src_start(void)
{
	char key[64];

	memset(&src, 0, sizeof src);
	src.base.ops = &src_ops;
	src.inner = fake_source_new();
	src.inner->batch = 5;
	src.inner->info.page = 10;
	for (unsigned i = 0; i < DIRS; i++)
		for (unsigned j = 0; j < FILES; j++) {
			snprintf(key, sizeof key, "d%02u/f%02u", i, j);
			fake_source_append(src.inner, key, 1);
		}
	mutex_init(&src.lock, LOCK_RANK_SOURCE);
	cond_init(&src.some);
	vmofs_list_init(&src.queries);
	pthread_create(&src.thread, NULL, src_main, NULL);
}

static void src_end(void)
{
	mutex_lock(&src.lock);
	src.ending = true;
	cond_signal(&src.some);
	mutex_unlock(&src.lock);
	pthread_join(src.thread, NULL);
	fake_source_free(src.inner);
	cond_destroy(&src.some);
	mutex_destroy(&src.lock);
}

/* ---- callers ---- */

struct caller {
	struct fs_tree_wait wait;
	struct fs_tree *tree;
	struct prng random;
	struct mutex lock;
	struct cond woken;
	bool done;  /* lock: lock */
	int status; /* lock: lock */
	pthread_t thread;
	unsigned n_ok, n_failed, n_absent, n_cancelled;
	unsigned id; /* what it changes is called by it */
	unsigned n_changed;
};

static void caller_done(struct fs_tree_wait *w, int status)
{
	struct caller *c = container_of(w, struct caller, wait);

	mutex_lock(&c->lock);
	c->done = true;
	c->status = status;
	cond_signal(&c->woken);
	mutex_unlock(&c->lock);
}

/* -EINPROGRESS to repeat; -EINTR: given up. */
static int caller_wait(struct caller *c)
{
	int status;

	if (prng_chance(&c->random, 10) && c->tree->ops->cancel(c->tree, &c->wait))
		return -EINTR;
	mutex_lock(&c->lock);
	while (!c->done)
		cond_wait(&c->woken, &c->lock);
	c->done = false;
	status = c->status;
	mutex_unlock(&c->lock);
	return status < 0 ? status : -EINPROGRESS;
}

static int caller_lookup(struct caller *c, uint64_t parent, const char *name,
			 struct fs_tree_attr *a)
{
	int r;

	c->wait = (struct fs_tree_wait){ .done = caller_done };
	do {
		r = c->tree->ops->lookup(c->tree, parent, name, &c->wait, a);
		if (r == -EINPROGRESS)
			r = caller_wait(c);
	} while (r == -EINPROGRESS);
	return r;
}

struct given {
	uint64_t inos[20];
	unsigned n;
	uint64_t next;
};

static bool given_add(void *arg, const struct fs_tree_entry *e)
{
	struct given *g = arg;

	if (g->n == ARRAY_LEN(g->inos))
		return false;
	g->inos[g->n++] = e->whole ? e->attr->st.st_ino : 0;
	g->next = e->next;
	return true;
}

static int caller_readdir(struct caller *c, uint64_t ino)
{
	struct given g = { 0 };
	int r = c->tree->ops->opendir(c->tree, ino);

	if (r < 0)
		return r;
	do {
		c->wait = (struct fs_tree_wait){ .done = caller_done };
		do {
			g.n = 0;
			r = c->tree->ops->readdir(c->tree, ino, g.next, true, &c->wait, given_add,
						  &g);
			if (r == -EINPROGRESS)
				r = caller_wait(c);
		} while (r == -EINPROGRESS);
		for (unsigned i = 0; r == 0 && i < g.n; i++)
			if (g.inos[i])
				c->tree->ops->forget(c->tree, g.inos[i], 1);
	} while (r == 0 && g.n);
	c->tree->ops->releasedir(c->tree, ino);
	return r;
}

static void local_attr(void *arg UNUSED, uint64_t ino UNUSED, struct stat *st)
{
	st->st_size = 1;
}

/* A file of its own comes, is stored, gets another name, and goes; listings may not know of it meanwhile. */
static void caller_change(struct caller *c, uint64_t dir)
{
	const struct vmofs_entry e = { .key = "", .size = 3, .validator = "", .target = "" };
	const struct fs_tree_ops *ops = c->tree->ops;
	char name[32], other[32];
	struct fs_tree_attr a;
	uint64_t ino;

	snprintf(name, sizeof name, "own%u", c->id);
	snprintf(other, sizeof other, "other%u", c->id);
	if (ops->made(c->tree, dir, name, &e, true, &a) < 0)
		return;
	ino = a.st.st_ino;
	assert(ops->number(c->tree, dir, name) == ino);
	if (prng_chance(&c->random, 50)) {
		ops->settled(c->tree, ino, &e);
		(void)ops->hold(c->tree, ino);
	}
	/* A directory that the source has lost is nameless, and nobody can move anything in it. */
	if (ops->moved(c->tree, dir, name, dir, other) < 0)
		strcpy(other, name);
	if (prng_chance(&c->random, 80) &&
	    ops->removed(c->tree, dir, other, prng_chance(&c->random, 50)) == 0)
		c->n_changed++;
	else
		ops->settled(c->tree, ino, prng_chance(&c->random, 50) ? &e : NULL);
	ops->forget(c->tree, ino, 1);
}

static int caller_round(struct caller *c)
{
	struct fs_tree_attr dir, file, again;
	char name[32];
	int r;

	if (prng_chance(&c->random, 5))
		return caller_readdir(c, FS_TREE_ROOT);
	snprintf(name, sizeof name, "d%02u", (unsigned)prng_below(&c->random, DIRS + 1));
	r = caller_lookup(c, FS_TREE_ROOT, name, &dir);
	if (r < 0)
		return r;
	if (prng_chance(&c->random, 30))
		caller_change(c, dir.st.st_ino);
	if (prng_chance(&c->random, 50)) {
		r = caller_readdir(c, dir.st.st_ino);
	} else {
		snprintf(name, sizeof name, "%s%02u", prng_chance(&c->random, 20) ? "new" : "f",
			 (unsigned)prng_below(&c->random, FILES));
		r = caller_lookup(c, dir.st.st_ino, name, &file);
		if (r == 0) {
			(void)c->tree->ops->getattr(c->tree, file.st.st_ino, NULL, &again);
			c->tree->ops->forget(c->tree, file.st.st_ino, 1);
		}
	}
	c->tree->ops->forget(c->tree, dir.st.st_ino, 1);
	return r;
}

static void *caller_main(void *arg)
{
	struct caller *c = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		int r = caller_round(c);

		c->n_ok += r == 0;
		c->n_absent += r == -ENOENT || r == -ESTALE;
		c->n_cancelled += r == -EINTR;
		c->n_failed += r == -EIO;
	}
	return NULL;
}

static void entry_told(void *arg UNUSED, uint64_t parent UNUSED, const char *name UNUSED,
		       size_t len UNUSED)
{
}

static void run(uint64_t ttl_ns, uint64_t soft_limit, bool flat, bool unknown)
{
	static struct caller callers[CALLERS];
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct object_cache_params cp = { .source = &src.base, .idle_max = 10 };
	struct fs_tree_source_params p = {
		.source = &src.base,
		.ttl_ns = ttl_ns,
		.negative_ttl_ns = ttl_ns,
		.soft_limit = soft_limit,
		.dir_mode = 0555,
		.file_mode = 0444,
		.local_attr = local_attr,
	};
	struct fs_tree_notify notify = { .entry = entry_told };
	struct fs_tree *tree;
	struct fs_tree_stats st;
	unsigned n = 0;

	src_start();
	src.inner->sizes_unknown = unknown;
	if (!flat)
		src.inner->info.can &= ~BIT(VMOFS_QUERY_FLAT);
	p.info = &src.inner->info;
	assert_int_equal(object_cache_new(&p.cache, &cp, &err), 0);
	assert_int_equal(fs_tree_source_new(&tree, &p, &err), 0);
	tree->ops->set_notify(tree, &notify);
	for (unsigned i = 0; i < CALLERS; i++) {
		callers[i] = (struct caller){ .tree = tree, .id = i, .random = { i } };
		mutex_init(&callers[i].lock, LOCK_RANK_READ);
		cond_init(&callers[i].woken);
		pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]);
	}
	for (unsigned i = 0; i < CALLERS; i++) {
		struct caller *c = &callers[i];

		pthread_join(c->thread, NULL);
		n += c->n_ok + c->n_absent + c->n_cancelled + c->n_failed;
		assert_true(c->n_ok > ROUNDS / 10);
		assert_true(c->n_changed > ROUNDS / 30);
		cond_destroy(&c->woken);
		mutex_destroy(&c->lock);
	}
	assert_int_equal(n, CALLERS * ROUNDS);
	tree->ops->stats(tree, &st);
	assert_int_equal(st.waiting, 0);
	assert_int_equal(st.held, 1);
	src.base.ops->stop(&src.base);
	tree->ops->stop(tree);
	tree->ops->set_notify(tree, NULL);
	tree->ops->free(tree);
	object_cache_close(p.cache);
	object_cache_free(p.cache);
	src_end();
}

static void test_short_ttl(void **state UNUSED)
{
	run(NSEC_PER_MSEC, MIB(32), true, false);
}

static void test_no_ttl_and_no_memory(void **state UNUSED)
{
	run(0, 2000, true, false);
}

static void test_without_flat_listings(void **state UNUSED)
{
	run(NSEC_PER_MSEC, 4000, false, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_ttl),
		cmocka_unit_test(test_no_ttl_and_no_memory),
		cmocka_unit_test(test_without_flat_listings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
