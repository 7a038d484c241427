/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes made here against a model, while an origin answers late, in any order, in pieces, with what was there at any moment
 * between the question and the answer, and fails at times. Another client changes keys of its own meanwhile.
 * Whatever is asked of names that only we change is as the model has it, at every moment. One thread, a clock that
 * the test moves.
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
#include "lib/prng.h"
#include "lib/tree_fixture.h"

enum { DIRS = 3, FILES = 4, FLOATING = 6, ROUNDS = 1500, STEPS = 250 };
#define LOCAL_SIZE 1000000

static struct tree_fixture f;
static struct prng rnd;

/* ---- the origin ---- */

struct late {
	struct vmofs_list link;
	struct fake_source *then; /* as it was when it was asked; owned */
	bool begun;
};

static struct {
	struct vmofs_source base;
	struct vmofs_list late;
	unsigned n_late;
} origin;

static struct fake_source *snapshot(void)
{
	struct fake_source *s = fake_source_new();

	for (size_t i = 0; i < f.source->n_keys; i++) {
		const struct fake_key *k = &f.source->keys[i];

		fake_source_put(s, k->key, k->size, k->validator);
	}
	s->info = f.source->info;
	s->batch = 1;
	s->hold = true;
	return s;
}

static void origin_query(struct vmofs_source *s UNUSED, struct vmofs_query *q)
{
	struct late *l = calloc(1, sizeof *l);

	assert_non_null(l);
	l->then = snapshot();
	l->then->base.ops->query(&l->then->base, q);
	vmofs_list_add_tail(&origin.late, &l->link);
	origin.n_late++;
}

static const struct vmofs_source_ops origin_ops = { .query = origin_query };

static struct late *pick_late(void)
{
	uint64_t n = prng_below(&rnd, origin.n_late);
	struct vmofs_list *pos = origin.late.next;

	while (n--)
		pos = pos->next;
	return vmofs_list_entry(pos, struct late, link);
}

/* The same question, to the origin as it is now. */
static void look_again(struct late *l)
{
	struct vmofs_query *q = fake_source_held(l->then);
	struct fake_source *now = snapshot();

	vmofs_list_del(&q->link);
	fake_source_free(l->then);
	l->then = now;
	now->base.ops->query(&now->base, q);
}

static void end_late(struct late *l, int code)
{
	vmofs_list_del(&l->link);
	origin.n_late--;
	fake_source_answer(l->then, code);
	fake_source_free(l->then);
	free(l);
}

static void answer_one(void)
{
	struct late *l;

	if (!origin.n_late)
		return;
	l = pick_late();
	if (!l->begun && prng_chance(&rnd, 30))
		look_again(l);
	if (!l->begun && fake_source_held(l->then)->kind == VMOFS_QUERY_DIR &&
	    prng_chance(&rnd, 50)) {
		l->begun = true;
		fake_source_answer_some(l->then, 1 + (unsigned)prng_below(&rnd, 4));
		return;
	}
	end_late(l, prng_chance(&rnd, 5) ? -EIO : 0);
}

static void answer_all(int code)
{
	while (origin.n_late)
		end_late(vmofs_list_first(&origin.late, struct late, link), code);
}

/* ---- what must be ---- */

enum later {
	LATER_NOTHING,
	LATER_SETTLED, /* the origin has it, the tree has not been told */
	LATER_REMOVED, /* the origin has not got it any more, the tree has not been told */
	LATER_AWAY,    /* the tree has been told, the origin not */
	LATER_GONE,    /* the origin neither, but the tree does not know that */
};

struct thing {
	bool exists;
	bool held;
	bool stored; /* the origin has it */
	bool known;  /* by the kernel: a reference */
	enum later later;
	uint64_t ino;
	uint64_t size;
	char validator[32];
	char gone_key[64];
};

/* [0]: in the root. The directories are things, too. */
static struct thing files[1 + DIRS][FILES];
static struct thing dirs[1 + DIRS];
static unsigned version;

static const char *dir_key(unsigned d)
{
	static char key[4][32];
	static unsigned n;
	char *to = key[n++ % 4];

	snprintf(to, 32, d ? "d%u/" : "%.0u", d);
	return to;
}

static const char *file_key(unsigned d, unsigned i)
{
	static char key[4][64];
	static unsigned n;
	char *to = key[n++ % 4];

	snprintf(to, 64, "%sf%u", dir_key(d), i);
	return to;
}

static const char *file_name(unsigned i)
{
	static const char *const names[FILES] = { "f0", "f1", "f2", "f3" };

	return names[i];
}

static const char *dir_name(unsigned d)
{
	static const char *const names[1 + DIRS] = { "", "d1", "d2", "d3" };

	return names[d];
}

static bool has_key(const char *key)
{
	for (size_t i = 0; i < f.source->n_keys; i++)
		if (!strcmp(f.source->keys[i].key, key))
			return true;
	return false;
}

static void drop_key(const char *key)
{
	if (has_key(key))
		fake_source_remove(f.source, key);
}

static void local_attr(void *arg UNUSED, uint64_t ino, struct stat *st)
{
	st->st_size = (off_t)(LOCAL_SIZE + ino);
}

static void new_version(struct thing *x)
{
	version++;
	x->size = version;
	snprintf(x->validator, sizeof x->validator, "\"v%u\"", version);
}

static struct vmofs_entry entry_of(const struct thing *x, enum vmofs_entry_type type)
{
	return (struct vmofs_entry){
		.type = type,
		.key = "",
		.size = x->size,
		.mtime = { .tv_sec = 1000000000 },
		.validator = x->validator,
		.target = "",
	};
}

/* ---- changes ---- */

static void create(struct thing *x, unsigned d, unsigned i)
{
	struct fs_tree_attr a;
	struct vmofs_entry e;
	int r;

	*x = (struct thing){ .later = x->later };
	e = entry_of(x, VMOFS_ENTRY_FILE);
	r = f.tree->ops->made(f.tree, dirs[d].ino, file_name(i), &e, true, &a);
	assert_int_equal(r, 0);
	x->exists = x->held = x->known = true;
	x->ino = a.st.st_ino;
}

static void store(struct thing *x, unsigned d, unsigned i)
{
	new_version(x);
	fake_source_put(f.source, file_key(d, i), x->size, x->validator);
	x->stored = true;
	x->later = LATER_SETTLED;
}

/* Looked up first, so that it keeps its number. */
static void settle(struct thing *x, unsigned d, unsigned i)
{
	struct vmofs_entry e = entry_of(x, VMOFS_ENTRY_FILE);
	struct fs_tree_attr a;

	if (!x->known)
		assert_int_equal(f.tree->ops->lookup(f.tree, dirs[d].ino, file_name(i), NULL, &a),
				 0);
	x->known = true;
	f.tree->ops->settled(f.tree, x->ino, &e);
	x->held = false;
	x->later = LATER_NOTHING;
}

static void forget(struct thing *x)
{
	f.tree->ops->forget(f.tree, x->ino, x->known);
	x->exists = x->held = x->stored = x->known = false;
}

static void unlink_file(struct thing *x, unsigned d, unsigned i)
{
	bool told = !x->stored || prng_chance(&rnd, 50);

	if (told && x->stored) {
		drop_key(file_key(d, i));
		x->later = LATER_REMOVED;
		return;
	}
	assert_int_equal(f.tree->ops->removed(f.tree, dirs[d].ino, file_name(i), told), 0);
	if (!told)
		strcpy(x->gone_key, file_key(d, i));
	x->later = told ? LATER_NOTHING : LATER_AWAY;
	forget(x);
}

static void finish(struct thing *x, unsigned d, unsigned i)
{
	int r;

	switch (x->later) {
	case LATER_NOTHING:
		break;
	case LATER_SETTLED:
		settle(x, d, i);
		break;
	case LATER_REMOVED:
		r = f.tree->ops->removed(f.tree, dirs[d].ino, file_name(i), true);
		/* A held one cannot be seen to have gone; any other can. */
		assert_true(r == 0 || (r == -ENOENT && !x->held));
		forget(x);
		x->later = LATER_NOTHING;
		break;
	case LATER_AWAY:
		drop_key(x->gone_key);
		x->later = LATER_GONE;
		break;
	case LATER_GONE:
		f.tree->ops->gone(f.tree, x->gone_key);
		x->later = LATER_NOTHING;
		break;
	}
}

static void hold(struct thing *x)
{
	int r = f.tree->ops->hold(f.tree, x->ino);

	assert_int_equal(r, 0);
	x->held = true;
}

/* Of one that is held, so nothing can come between. */
static void rename_file(unsigned d, unsigned i)
{
	unsigned to_d = (unsigned)prng_below(&rnd, 1 + DIRS);
	unsigned to_i = (unsigned)prng_below(&rnd, FILES);
	struct thing *x = &files[d][i], *to = &files[to_d][to_i];

	if (x == to || !dirs[to_d].exists || to->later != LATER_NOTHING)
		return;
	hold(x);
	if (x->stored) {
		fake_source_put(f.source, file_key(to_d, to_i), x->size, x->validator);
		drop_key(file_key(d, i));
	} else {
		drop_key(file_key(
			to_d, to_i)); /* what is replaced; the model's file has no contents yet */
	}
	for (uint64_t n = prng_below(&rnd, 3); n; n--)
		answer_one();
	assert_int_equal(f.tree->ops->moved(f.tree, dirs[d].ino, file_name(i), dirs[to_d].ino,
					    file_name(to_i)),
			 0);
	if (to->exists)
		forget(to);
	*to = *x;
	*x = (struct thing){ 0 };
	if (to->stored)
		settle(to, to_d, to_i);
}

static void change_file(void)
{
	unsigned d = (unsigned)prng_below(&rnd, 1 + DIRS), i = (unsigned)prng_below(&rnd, FILES);
	struct thing *x = &files[d][i];

	if (!dirs[d].exists)
		return;
	if (x->later != LATER_NOTHING) {
		finish(x, d, i);
		return;
	}
	if (!x->exists) {
		create(x, d, i);
		return;
	}
	switch (prng_below(&rnd, 4)) {
	case 0:
		if (!x->held)
			hold(x);
		break;
	case 1:
		if (x->held)
			store(x, d, i);
		break;
	case 2:
		unlink_file(x, d, i);
		break;
	default:
		rename_file(d, i);
	}
}

/* Files that are away below it do not count. */
static bool is_busy(unsigned d)
{
	for (unsigned i = 0; i < FILES; i++)
		if (files[d][i].exists)
			return true;
	for (size_t i = 0; i < f.source->n_keys; i++)
		if (!strncmp(f.source->keys[i].key, dir_key(d), 3) &&
		    f.source->keys[i].key[3] == 'r')
			return true;
	return false;
}

static void change_dir(void)
{
	unsigned d = 1 + (unsigned)prng_below(&rnd, DIRS);
	struct thing *x = &dirs[d];
	struct vmofs_entry e = entry_of(x, VMOFS_ENTRY_PREFIX);
	struct fs_tree_attr a;

	if (x->exists && !is_busy(d)) {
		drop_key(dir_key(d));
		assert_int_equal(f.tree->ops->removed(f.tree, FS_TREE_ROOT, dir_name(d), true), 0);
		forget(x);
	} else if (!x->exists) {
		bool local = prng_chance(&rnd, 30);

		if (!local)
			fake_source_put(f.source, dir_key(d), 0, "");
		assert_int_equal(
			f.tree->ops->made(f.tree, FS_TREE_ROOT, dir_name(d), &e, local, &a), 0);
		x->exists = x->known = true;
		x->ino = a.st.st_ino;
	}
}

/* What is held stays though the kernel forgets it; what is settled may come again with another number. */
static void let_go(void)
{
	struct thing *x = &files[prng_below(&rnd, 1 + DIRS)][prng_below(&rnd, FILES)];

	if (!x->exists || !x->held || !x->known)
		return;
	f.tree->ops->forget(f.tree, x->ino, 1);
	x->known = false;
}

/* The other client. */
static void change_elsewhere(void)
{
	unsigned d = (unsigned)prng_below(&rnd, 1 + DIRS);
	char key[64];

	/* A directory without a key of its own would go with the last key of theirs. */
	if (!dirs[d].exists || (d && !has_key(dir_key(d))))
		return;
	snprintf(key, sizeof key, "%sr%u%s", dir_key(d), (unsigned)prng_below(&rnd, 3),
		 prng_chance(&rnd, 30) ? "/below" : "");
	if (has_key(key))
		fake_source_remove(f.source, key);
	else
		fake_source_put(f.source, key, 1, "\"other\"");
}

/* ---- those who ask, and are not hurried ---- */

struct floating {
	struct fixture_wait w;
	bool asking;
	uint64_t dir;
	char name[8]; /* "": the directory is read */
};
static struct floating floating[FLOATING];

static bool fill_none(void *arg, const struct fs_tree_entry *e)
{
	(void)arg;
	(void)e;
	return true;
}

static void ask(struct floating *q)
{
	struct fs_tree_attr a;
	int r;

	q->w.n_done = 0;
	if (*q->name)
		r = f.tree->ops->lookup(f.tree, q->dir, q->name, &q->w.w, &a);
	else
		r = f.tree->ops->readdir(f.tree, q->dir, 0, false, &q->w.w, fill_none, NULL);
	q->asking = r == -EINPROGRESS;
	if (*q->name && r == 0)
		f.tree->ops->forget(f.tree, a.st.st_ino, 1);
}

/* One directory after the other, now and then, as somebody does who walks through all. */
static unsigned next_dir(void)
{
	static unsigned last;

	last = prng_chance(&rnd, 60) ? (last + 1) % (1 + DIRS)
				     : (unsigned)prng_below(&rnd, 1 + DIRS);
	return last;
}

static void float_one(void)
{
	struct floating *q = &floating[prng_below(&rnd, FLOATING)];
	unsigned d = next_dir();

	if (q->asking && q->w.n_done) {
		ask(q);
		return;
	}
	if (q->asking || !dirs[d].exists)
		return;
	fixture_wait_init(&q->w);
	q->dir = dirs[d].ino;
	strcpy(q->name, prng_chance(&rnd, 40) ? "" : file_name((unsigned)prng_below(&rnd, FILES)));
	ask(q);
}

static void sink_all(void)
{
	for (unsigned i = 0; i < FLOATING; i++) {
		if (floating[i].asking && !floating[i].w.n_done)
			f.tree->ops->cancel(f.tree, &floating[i].w.w);
		floating[i].asking = false;
	}
}

/* ---- what is seen ---- */

static void hurry(const struct fixture_wait *w)
{
	for (unsigned i = 0; !w->n_done; i++) {
		assert_true(i < 1000 && origin.n_late);
		answer_one();
	}
}

static int look_up(uint64_t dir, const char *name, struct fs_tree_attr *a)
{
	struct fixture_wait w;
	int r;

	fixture_wait_init(&w);
	for (unsigned i = 0;; i++) {
		assert_true(i < 1000);
		r = f.tree->ops->lookup(f.tree, dir, name, &w.w, a);
		if (r != -EINPROGRESS)
			break;
		hurry(&w);
		if (w.status < 0)
			return w.status;
		w.n_done = 0;
	}
	if (r == 0)
		f.tree->ops->forget(f.tree, a->st.st_ino, 1);
	return r;
}

static void check_node(const struct thing *x, const struct fs_tree_attr *a)
{
	char key[VMOFS_KEY_MAX], validator[512];
	struct vmofs_entry e;

	assert_int_equal(a->st.st_ino, x->ino);
	if (S_ISDIR(a->st.st_mode))
		return;
	assert_int_equal(a->st.st_size, x->held ? LOCAL_SIZE + x->ino : x->size);
	if (x->held)
		return;
	assert_true(f.tree->ops->entry(f.tree, x->ino, key, validator, &e) > 0);
	assert_string_equal(e.validator, x->validator);
}

static void check_name(const struct thing *x, uint64_t dir, const char *name)
{
	struct fs_tree_attr a;
	int r = look_up(dir, name, &a);

	if (r == -EIO || x->later == LATER_REMOVED)
		return;
	assert_int_equal(r, x->exists ? 0 : -ENOENT);
	if (r == 0)
		check_node(x, &a);
}

struct seen {
	char names[64][16];
	uint64_t inos[64];
	unsigned n;
	uint64_t next;
};

static bool fill_seen(void *arg, const struct fs_tree_entry *e)
{
	struct seen *s = arg;

	assert_true(s->n < ARRAY_LEN(s->names));
	snprintf(s->names[s->n], sizeof s->names[0], "%s", e->name);
	s->inos[s->n++] = e->attr->st.st_ino;
	s->next = e->next;
	return true;
}

static int read_dir(uint64_t dir, struct seen *s)
{
	struct fixture_wait w;
	unsigned before;
	int r;

	*s = (struct seen){ 0 };
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->opendir(f.tree, dir), 0);
	for (unsigned i = 0;; i++) {
		assert_true(i < 1000);
		before = s->n;
		r = f.tree->ops->readdir(f.tree, dir, s->next, false, &w.w, fill_seen, s);
		if (r == 0 && s->n == before)
			break;
		if (r < 0 && r != -EINPROGRESS)
			break;
		if (r == 0)
			continue;
		hurry(&w);
		r = w.status;
		if (r < 0)
			break;
		w.n_done = 0;
	}
	f.tree->ops->releasedir(f.tree, dir);
	return r;
}

static void check_seen(const struct seen *s, const struct thing *x, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n; i++) {
		if (strcmp(s->names[i], name))
			continue;
		n++;
		if (x->exists && x->later != LATER_REMOVED)
			assert_int_equal(s->inos[i], x->ino);
	}
	if (x->later != LATER_REMOVED)
		assert_int_equal(n, x->exists);
}

static void check_dir(unsigned d)
{
	static struct seen s;

	if (read_dir(dirs[d].ino, &s) < 0)
		return;
	for (unsigned i = 0; i < FILES; i++)
		check_seen(&s, &files[d][i], file_name(i));
	for (unsigned i = 1; !d && i <= DIRS; i++)
		check_seen(&s, &dirs[i], dir_name(i));
}

static void check_one(void)
{
	unsigned d = (unsigned)prng_below(&rnd, 1 + DIRS);
	unsigned i = (unsigned)prng_below(&rnd, FILES);

	if (prng_chance(&rnd, 20))
		check_name(&dirs[1 + i % DIRS], FS_TREE_ROOT, dir_name(1 + i % DIRS));
	else if (dirs[d].exists && prng_chance(&rnd, 30))
		check_dir(d);
	else if (dirs[d].exists)
		check_name(&files[d][i], dirs[d].ino, file_name(i));
}

/* Whether an empty directory is found to be one, and no other. */
static void check_empty(void)
{
	unsigned d = 1 + (unsigned)prng_below(&rnd, DIRS);
	struct fixture_wait w;
	int r;

	if (!dirs[d].exists)
		return;
	fixture_wait_init(&w);
	for (unsigned i = 0; (r = f.tree->ops->empty(f.tree, dirs[d].ino, &w.w)) == -EINPROGRESS;
	     i++) {
		assert_true(i < 1000);
		hurry(&w);
		if (w.status < 0)
			return;
		w.n_done = 0;
	}
	for (unsigned i = 0; i < FILES; i++)
		if (files[d][i].later == LATER_REMOVED)
			return;
	if (r == 0)
		assert_false(is_busy(d));
	else
		assert_int_equal(r, -ENOTEMPTY);
}

/* When all is told, and nothing known is fresh: what others have done is seen, too. */
static void check_all(void)
{
	static struct seen s;

	sink_all();
	answer_all(0);
	for (unsigned d = 0; d <= DIRS; d++)
		for (unsigned i = 0; i < FILES; i++)
			while (files[d][i].later != LATER_NOTHING)
				finish(&files[d][i], d, i);
	fixture_now_ns += 1000 * NSEC_PER_SEC;
	for (unsigned d = 0; d <= DIRS; d++) {
		char key[64];

		if (!dirs[d].exists)
			continue;
		/* What is streamed as a listing comes in has names that its end may take away: twice. */
		for (unsigned n = 0; n < 2;)
			n += read_dir(dirs[d].ino, &s) == 0;
		for (unsigned i = 0; i < 3; i++) {
			unsigned n = 0;
			bool is;

			snprintf(key, sizeof key, "%sr%u/below", dir_key(d), i);
			is = has_key(key);
			key[strlen(key) - 6] = '\0';
			is |= has_key(key);
			for (unsigned j = 0; j < s.n; j++)
				n += s.names[j][0] == 'r' && s.names[j][1] == (char)('0' + i);
			assert_int_equal(n, is);
		}
		check_dir(d);
		for (unsigned i = 0; i < FILES; i++)
			check_name(&files[d][i], dirs[d].ino, file_name(i));
	}
	for (unsigned d = 1; d <= DIRS; d++)
		check_name(&dirs[d], FS_TREE_ROOT, dir_name(d));
}

static void step(void)
{
	uint64_t what = prng_below(&rnd, 100);

	if (what < 30)
		change_file();
	else if (what < 37)
		change_dir();
	else if (what < 39)
		let_go();
	else if (what < 43)
		change_elsewhere();
	else if (what < 65)
		float_one();
	else if (what < 75)
		answer_one();
	else if (what < 80)
		fixture_now_ns += prng_below(&rnd, 3 * NSEC_PER_SEC);
	else if (what < 84)
		check_empty();
	else
		check_one();
	fixture_now_ns++;
}

static void round_of(uint64_t seed)
{
	rnd = (struct prng){ seed };
	memset(files, 0, sizeof files);
	memset(dirs, 0, sizeof dirs);
	memset(floating, 0, sizeof floating);
	version = 0;
	vmofs_list_init(&origin.late);
	origin.n_late = 0;
	origin.base.ops = &origin_ops;
	tree_fixture_init(&f);
	f.p.source = &origin.base;
	f.p.ttl_ns = prng_chance(&rnd, 30) ? 0 : NSEC_PER_SEC;
	f.p.negative_ttl_ns = f.p.ttl_ns;
	f.p.soft_limit = prng_chance(&rnd, 50) ? 500 : MIB(32);
	f.p.local_attr = local_attr;
	f.source->info.page = 10;
	if (prng_chance(&rnd, 30))
		f.source->info.can &= ~BIT(VMOFS_QUERY_FLAT);
	tree_fixture_start(&f);
	dirs[0] = (struct thing){ .exists = true, .ino = FS_TREE_ROOT };
	for (unsigned i = 0; i < STEPS; i++)
		step();
	check_all();
	sink_all();
	answer_all(-ESHUTDOWN);
	tree_fixture_end(&f);
}

static void test_model(void **state UNUSED)
{
	const char *one = getenv("SEED");
	uint64_t first = one ? strtoull(one, NULL, 10) : 1;

	for (uint64_t seed = first; seed < first + (one ? 1 : ROUNDS); seed++) {
		print_message("seed %llu\r", (unsigned long long)seed);
		round_of(seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_model) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
