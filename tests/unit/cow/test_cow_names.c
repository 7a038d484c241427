/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy-on-write child on a fake disk: a sequence of changes, stopped at each of its system calls, or with each of them failing; what
 * was not synced is lost, torn or zeroed. Whoever opens it next finds all names and contents as after the last change that
 * was told to be done, or as after the one under way. Nobody sleeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/macros.h"
#include "cow/cow_private.h"
#include "lib/fake_disk.h"

/* Sanitizers take their time; there, not every call has its turn. */
#ifdef VMOFS_SANITIZED
enum { EACH = 7 };
#else
enum { EACH = 1 };
#endif
enum { STATE_MAX = 4096, STEPS_MAX = 64, BELOW_PAGES = 6 };
#define PAGE VMOFS_PAGE_SIZE

static struct cache_io io;

/* A hole reads as zeros; the fake disk has no holes. */
static int fake_punch(int fd, int mode UNUSED, off_t off, off_t len)
{
	static const uint8_t zeros[64 * 4096];
	struct stat st;

	if (io.fstat(fd, &st) < 0 || off >= st.st_size)
		return 0;
	len = MIN(len, st.st_size - off);
	for (; len > 0; off += (off_t)sizeof zeros, len -= (off_t)sizeof zeros) {
		struct iovec v = { (void *)(uintptr_t)zeros, MIN((size_t)len, sizeof zeros) };

		if (io.pwritev(fd, &v, 1, off) < 0)
			return -1;
	}
	return 0;
}

struct world {
	struct vmofs_source *child;
	char seen[STEPS_MAX][STATE_MAX]; /* the state after each change that succeeded */
	unsigned n;
	bool unsure; /* one has failed: it may have been done */
	char letter;
	char why[1024];
};

/* ---- what there is ---- */

static void write_contents(FILE *out, struct cow *c, const struct cow_map *m)
{
	uint64_t end, at = 0;

	for (uint64_t off = 0; off < m->size; off += PAGE) {
		enum cow_where where = cow_map_find(m, off, &end, &at);
		char letter = where == COW_BELOW ? '.' : '0';
		int fd = where == COW_HERE ? cow_data_open(c, m->data, false) : -1;

		if (where == COW_HERE && (fd < 0 || io.pread(fd, &letter, 1, (off_t)at) != 1))
			letter = '!';
		if (fd >= 0)
			io.close(fd);
		fputc(letter ? letter : '?', out);
	}
}

/* All names and contents, in order. Calls of the fake disk that this makes must not fail. */
static void see(struct cow *c, char out[STATE_MAX])
{
	static const char *const kinds[] = { "", "file", "link", "dir", "gone" };
	FILE *f = fmemopen(out, STATE_MAX - 1, "w");

	memset(out, 0, STATE_MAX);
	for (struct rb_node *n = rb_first(&c->entries); n; n = rb_next(n)) {
		const struct cow_entry *e = container_of(n, struct cow_entry, node);

		fprintf(f, "%s %s%s %o", e->key, kinds[e->kind], e->over ? "!" : "", e->attr.mode);
		if (e->kind == COW_LINK)
			fprintf(f, " %s", e->target);
		if (e->attr.xattrs)
			fprintf(f, " %u=%s", e->attr.xattrs->len, e->attr.xattrs->bytes);
		if (e->map) {
			fprintf(f, " %llu %llu ", (unsigned long long)e->map->size,
				(unsigned long long)e->map->kept);
			write_contents(f, c, e->map);
		}
		fputc('\n', f);
	}
	fclose(f);
}

/* ---- what is done ---- */

static struct vmofs_source *make_lower(struct vmofs_source_info *info)
{
	struct vmofs_object_info object = { .size = BELOW_PAGES * PAGE,
					    .name = "below",
					    .url = "test:below",
					    .validator = "\"v1\"" };

	cow_single_info(&object, info);
	return cow_single_new(&object);
}

static bool open_child(struct world *w)
{
	struct cow_params p = { .dir = "/cow", .name = "", .io = &io };
	struct vmofs_source_info info;
	struct vmofs_source *lower = make_lower(&info);
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_non_null(lower);
	if (cow_new(&w->child, lower, &info, &p, &err) == 0)
		return true;
	lower->ops->free(lower);
	w->child = NULL;
	snprintf(w->why, sizeof w->why, "%s", err.msg);
	return false;
}

static void close_child(struct world *w)
{
	if (w->child)
		w->child->ops->free(w->child);
	w->child = NULL;
}

struct contents {
	struct vmofs_store st;
	char letter;
};

static int read_letters(struct vmofs_store *st, uint64_t off UNUSED, void *buf, uint64_t len)
{
	memset(buf, container_of(st, struct contents, st)->letter, len);
	return 0;
}

static int commit(struct vmofs_store *st UNUSED)
{
	return 0;
}

static bool take(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
	return true;
}

static void give(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
}

/* What was done, or not: @r. */
static void note(struct world *w, int r)
{
	if (r == 0 && w->n < STEPS_MAX)
		see(cow_of(w->child), w->seen[w->n++]);
	w->unsure = w->unsure || r < 0;
}

static void version(struct world *w, const char *key, struct vmofs_version *out)
{
	struct cow_known k;

	cow_look(cow_of(w->child), key, &k);
	*out = k.version;
	if (!k.known && !strcmp(key, "below"))
		*out = (struct vmofs_version){ true, BELOW_PAGES * PAGE, "\"v1\"", { 0 } };
	cow_known_release(&k);
}

/* Pages [first, first + n) are new, of @size pages in all. */
static void store(struct world *w, const char *key, unsigned first, unsigned n, unsigned size)
{
	struct vmofs_changed changed = { first * PAGE, n * PAGE };
	struct vmofs_change_attr attr = { .has = VMOFS_HAS_MODE, .mode = 0600 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct contents c = {
		.st = { .key = key,
			.size = size * PAGE,
			.changed = &changed,
			.n_changed = n > 0,
			.attr = &attr,
			.read = read_letters,
			.commit = commit,
			.take = take,
			.give = give,
			.attempt = "0123456789abcdef0123456789abcdef" },
		.letter = w->letter++,
	};

	version(w, key, &c.st.base);
	note(w, w->child->ops->change->store(w->child, &c.st, &err));
}

static void rename_key(struct world *w, const char *from, const char *to)
{
	const struct vmofs_change_ops *ops = w->child->ops->change;
	const struct vmofs_change_wait wait = { 0 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;
	int r = ops->copy(w->child, from, NULL, to, NULL, &now, &wait, &err);

	note(w, r);
	if (!r)
		note(w, ops->remove(w->child, from, NULL, &wait, &err));
}

static void remove_key(struct world *w, const char *key)
{
	const struct vmofs_change_wait wait = { 0 };
	struct vmofs_err err = VMOFS_ERR_INIT;

	note(w, w->child->ops->change->remove(w->child, key, NULL, &wait, &err));
}

static void make_names(struct world *w)
{
	const struct vmofs_change_ops *ops = w->child->ops->change;
	const struct vmofs_change_wait wait = { 0 };
	struct vmofs_change_attr attr = { .has = VMOFS_HAS_MODE, .mode = 0700 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;

	note(w, ops->make_dir(w->child, "d/", &attr, &wait, &err));
	note(w, ops->make_link(w->child, "d/l", "target", &attr, &now, &wait, &err));
}

/* Without contents. */
static void set_xattr(struct world *w, const char *key, const char *name)
{
	const struct vmofs_xattr a = { name, "value", 5 };
	const struct vmofs_change_wait wait = { 0 };
	struct vmofs_change_attr attr = { .mtime.tv_sec = 1 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;

	assert_int_equal(vmofs_xattrs_with(NULL, &a, VMOFS_XATTRS_SET, &attr.xattrs), 0);
	note(w, w->child->ops->change->set_attr(w->child, key, NULL, &attr, &now, &wait, &err));
	vmofs_xattrs_put(attr.xattrs);
}

/* A little of everything; what fails fails, and the next one is tried. */
static void life(struct world *w)
{
	w->letter = 'a';
	if (!open_child(w))
		return;
	note(w, 0);
	store(w, "new", 0, 4, 4);
	store(w, "new", 1, 1, 4);
	store(w, "below", 2, 2, BELOW_PAGES);
	set_xattr(w, "below", "user.a");
	make_names(w);
	store(w, "d/f", 0, 70, 70);
	rename_key(w, "below", "moved");
	store(w, "moved", 0, 1, 3);
	set_xattr(w, "moved", "user.other");
	store(w, "new", 1, 2, 3);
	rename_key(w, "d/f", "d/g");
	store(w, "d/g", 3, 2, 70);
	remove_key(w, "new");
	store(w, "d/g", 0, 0, 2);
	remove_key(w, "d/");
	store(w, "new", 0, 2, 2);
	close_child(w);
}

/* ---- what is found ---- */

static void find(struct world *w, const char *what, unsigned k)
{
	char state[STATE_MAX];
	bool ok = false;

	if (!open_child(w))
		fail_msg("%s at call %u: %s", what, k, w->why);
	see(cow_of(w->child), state);
	close_child(w);
	/* The last one that was told, or one after it: a failure may have been none. */
	if (w->n)
		ok = !strcmp(state, w->seen[w->n - 1]);
	else
		ok = !*state;
	if (!ok && !w->unsure)
		fail_msg("%s at call %u: found\n%swant\n%s", what, k, state,
			 w->n ? w->seen[w->n - 1] : "(nothing)\n");
	if (strchr(state, '!') && strstr(state, "!!"))
		fail_msg("%s at call %u: contents are missing\n%s", what, k, state);
}

/* All that one whole life passes through. */
static struct world whole;

static void find_one_of_whole(struct world *w, const char *what, unsigned k)
{
	char state[STATE_MAX];

	if (!open_child(w))
		fail_msg("%s at call %u: %s", what, k, w->why);
	see(cow_of(w->child), state);
	close_child(w);
	/* As after the last change that was told, or as after the one that the stop was in. */
	for (unsigned i = w->n ? w->n - 1 : 0; i <= MIN(w->n, whole.n - 1); i++)
		if (!strcmp(state, whole.seen[i]))
			return;
	fail_msg("%s at call %u, after %u changes: found\n%s", what, k, w->n, state);
}

static unsigned run_whole(void)
{
	struct fake_plan none = { 0 };

	fake_disk_reset();
	fake_disk_plan(&none);
	whole = (struct world){ 0 };
	life(&whole);
	assert_false(whole.unsure);
	assert_true(whole.n > 15);
	return fake_disk_calls();
}

static void test_nothing_fails(void **state UNUSED)
{
	struct fake_plan none = { 0 };

	(void)run_whole();
	fake_disk_power_cut(FAKE_LOSE_ALL, 0);
	fake_disk_plan(&none);
	find(&whole, "a whole life", 0);
}

static void test_stop_at_every_call(void **state UNUSED)
{
	unsigned end = run_whole();
	static struct world w;

	for (unsigned how = 0; how <= FAKE_NLOSSES; how++)
		for (unsigned k = 1 + how % EACH; k <= end; k += EACH) {
			struct fake_plan stop = {
				.at = k, .stop = true, .err = EIO, .effect = k % FAKE_NEFFECTS
			};
			struct fake_plan none = { 0 };

			fake_disk_reset();
			fake_disk_plan(&stop);
			w = (struct world){ 0 };
			life(&w);
			close_child(&w);
			if (how == FAKE_NLOSSES)
				fake_disk_kill();
			else
				fake_disk_power_cut((enum fake_loss)how, k);
			fake_disk_plan(&none);
			find_one_of_whole(&w, how == FAKE_NLOSSES ? "a kill" : "a power cut", k);
		}
}

/* What is told to be done afterwards is there, whatever failed before. */
static void test_every_call_fails(void **state UNUSED)
{
	unsigned end = run_whole();
	static struct world w;

	for (unsigned k = 1; k <= end; k += EACH) {
		struct fake_plan fail = { .at = k,
					  .err = k % 2 ? EIO : ENOSPC,
					  .effect = k / 2 % FAKE_NEFFECTS,
					  .forgets = k / 6 % 2 };
		struct fake_plan none = { 0 };

		fake_disk_reset();
		fake_disk_plan(&fail);
		w = (struct world){ 0 };
		w.letter = 'a';
		life(&w);
		fake_disk_plan(&none);
		if (!open_child(&w))
			fail_msg("call %u failed: %s", k, w.why);
		store(&w, "last", 0, 1, 1);
		close_child(&w);
		fake_disk_power_cut(FAKE_LOSE_ALL, k);
		fake_disk_plan(&none);
		w.unsure = false;
		find(&w, "after a failure", k);
	}
}

static void test_damage_is_an_error(void **state UNUSED)
{
	struct vmofs_source_info info;
	struct vmofs_source *lower = make_lower(&info);
	struct fake_plan none = { 0 };
	static struct world w;
	char place[256];
	int dir;

	lower->ops->free(lower);
	(void)run_whole();
	fake_disk_plan(&none);
	assert_int_equal(0, cow_place("/cow", &info, "", place, sizeof place));
	dir = io.openat(AT_FDCWD, place, O_RDONLY | O_DIRECTORY, 0);
	assert_true(dir >= 0);
	assert_true(fake_disk_flip(dir, "names", COW_HEADER_LEN + COW_HEAD_LEN + 3));
	io.close(dir);
	assert_false(open_child(&w));
}

static int set_up(void **state UNUSED)
{
	io = fake_disk_io;
	io.fallocate = fake_punch;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_fails),
		cmocka_unit_test(test_stop_at_every_call),
		cmocka_unit_test(test_every_call_fails),
		cmocka_unit_test(test_damage_is_an_error),
	};
	int r;

	/* Below all there is: thousands of failures are as they should be. */
	log_set_level((enum log_level)(LOG_LEVEL_ERROR - 1));
	r = cmocka_run_group_tests(tests, set_up, NULL);
	fake_disk_reset();
	return r;
}
