/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of a tree made here, one rule after the other; test_tree_change_model.c has them all at once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/tree_fixture.h"

#define LOCAL_SIZE 777

static struct tree_fixture f;

static const struct vmofs_entry new_file = { .key = "", .validator = "", .target = "" };
static const struct vmofs_entry new_dir = {
	.type = VMOFS_ENTRY_PREFIX, .key = "", .validator = "", .target = ""
};

static void local_attr(void *arg UNUSED, uint64_t ino UNUSED, struct stat *st)
{
	st->st_size = LOCAL_SIZE;
}

static void init(void)
{
	tree_fixture_init(&f);
	f.p.local_attr = local_attr;
}

static void put(const char *key)
{
	fake_source_put(f.source, key, 5, "\"1\"");
}

static uint64_t made(uint64_t parent, const char *name, const struct vmofs_entry *e, bool local)
{
	struct fs_tree_attr a;

	assert_int_equal(f.tree->ops->made(f.tree, parent, name, e, local, &a), 0);
	return a.st.st_ino;
}

static int removed(uint64_t parent, const char *name, bool told)
{
	return f.tree->ops->removed(f.tree, parent, name, told);
}

static int moved(uint64_t from, const char *name, uint64_t to, const char *new_name)
{
	return f.tree->ops->moved(f.tree, from, name, to, new_name);
}

static void settled(uint64_t ino, uint64_t size, const char *validator)
{
	struct vmofs_entry e = { .key = "",
				 .size = size,
				 .mtime.tv_sec = 1000000000,
				 .validator = validator,
				 .target = "" };

	f.tree->ops->settled(f.tree, ino, &e);
}

static const char *key_of(uint64_t ino)
{
	static char key[VMOFS_KEY_MAX];
	char validator[512];
	struct vmofs_entry e;
	int r = f.tree->ops->entry(f.tree, ino, key, validator, &e);

	return r < 0 ? strerrorname_np(-r) : key;
}

static struct fs_tree_attr attr_of(uint64_t ino)
{
	struct fs_tree_attr a;

	assert_int_equal(f.tree->ops->getattr(f.tree, ino, NULL, &a), 0);
	return a;
}

static void time_passes(void)
{
	fixture_now_ns += 1000 * NSEC_PER_SEC;
}

static bool fill_none(void *arg, const struct fs_tree_entry *e)
{
	(void)arg;
	(void)e;
	return true;
}

/* A listing of @ino that waits for its answer. */
static void ls_begin(struct fixture_wait *w, uint64_t ino)
{
	fixture_wait_init(w);
	assert_int_equal(f.tree->ops->readdir(f.tree, ino, 0, false, &w->w, fill_none, NULL),
			 -EINPROGRESS);
}

static int empty(uint64_t ino)
{
	struct fixture_wait w;
	int r;

	fixture_wait_init(&w);
	while ((r = f.tree->ops->empty(f.tree, ino, &w.w)) == -EINPROGRESS) {
		assert_int_equal(w.n_done, 1);
		w.n_done = 0;
	}
	return r;
}

/* ---- what can be changed, and what not ---- */

static void test_a_tree_without_attributes_of_its_own_is_read_only(void **state UNUSED)
{
	struct fs_tree_attr a;

	tree_fixture_init(&f);
	put("a");
	tree_fixture_start(&f);
	assert_int_equal(f.tree->ops->made(f.tree, 1, "b", &new_file, true, &a), -EROFS);
	assert_int_equal(removed(1, "a", true), -EROFS);
	assert_int_equal(f.tree->ops->hold(f.tree, (uint64_t)fixture_ino(&f, "a")), -EROFS);
	tree_fixture_end(&f);
}

static void test_names_that_cannot_be_made(void **state UNUSED)
{
	char name[300];
	struct fs_tree_attr a;
	uint64_t d;

	init();
	f.p.object_metadata = true;
	put("a");
	tree_fixture_start(&f);
	memset(name, 'x', 256);
	name[256] = '\0';
	assert_int_equal(fixture_ino(&f, "a"), 2);
	assert_int_equal(f.tree->ops->made(f.tree, 1, name, &new_file, true, &a), -ENAMETOOLONG);
	assert_int_equal(f.tree->ops->made(f.tree, 1, "..", &new_file, true, &a), -EINVAL);
	assert_int_equal(f.tree->ops->made(f.tree, 1, "x.rclonelink", &new_file, true, &a),
			 -EINVAL);
	assert_int_equal(f.tree->ops->made(f.tree, 1, "a", &new_file, true, &a), -EEXIST);
	assert_int_equal(f.tree->ops->made(f.tree, 2, "x", &new_file, true, &a), -ENOTDIR);
	assert_int_equal(f.tree->ops->made(f.tree, 99, "x", &new_file, true, &a), -ESTALE);
	d = made(1, "d", &new_dir, false);
	assert_int_equal(removed(1, "d", true), 0);
	assert_int_equal(f.tree->ops->made(f.tree, d, "x", &new_file, true, &a), -ENOENT);
	assert_int_equal(removed(1, "d", true), -ENOENT);
	assert_int_equal(moved(1, "d", 1, "e"), -ENOENT);
	assert_int_equal(f.tree->ops->hold(f.tree, d), -ESTALE);
	tree_fixture_end(&f);
}

static void test_attributes(void **state UNUSED)
{
	const struct vmofs_entry link = { .key = "",
					  .size = 3,
					  .validator = "\"1\"",
					  .has = VMOFS_HAS_MODE | VMOFS_HAS_TARGET,
					  .mode = S_IFLNK | 0777,
					  .target = "a/b" };
	struct vmofs_entry owned = { .key = "",
				     .validator = "",
				     .has = VMOFS_HAS_MODE | VMOFS_HAS_UID,
				     .mode = 0640,
				     .uid = 77,
				     .target = "" };
	char target[10];
	uint64_t ino, d;

	init();
	tree_fixture_start(&f);
	d = made(1, "d", &new_dir, false);
	ino = made(d, "f", &owned, true);
	assert_int_equal(attr_of(ino).st.st_size, LOCAL_SIZE);
	assert_true(attr_of(ino).attr_ttl_ns <= f.p.ttl_ns);
	assert_int_equal(attr_of(ino).st.st_mode, S_IFREG | 0640);
	assert_true(attr_of(d).st.st_mtim.tv_sec > 1000000000);
	settled(ino, 5, "\"1\"");
	assert_int_equal(attr_of(ino).st.st_size, 5);
	assert_int_equal(attr_of(ino).st.st_mtim.tv_sec, 1000000000);
	/* It was not said that they have changed. */
	assert_int_equal(attr_of(ino).st.st_mode, S_IFREG | 0640);
	assert_int_equal(attr_of(ino).st.st_uid, 77);
	assert_int_equal(f.tree->ops->number(f.tree, d, "f"), ino);
	assert_int_equal(removed(d, "f", true), 0);
	assert_int_equal(f.tree->ops->number(f.tree, d, "f"), 0);
	assert_int_equal(attr_of(ino).st.st_nlink, 0);
	ino = made(1, "l", &link, false);
	assert_true(S_ISLNK(attr_of(ino).st.st_mode));
	assert_int_equal(f.tree->ops->readlink(f.tree, ino, NULL, target, sizeof target), 3);
	tree_fixture_end(&f);
}

/* ---- old news ---- */

static void test_an_old_head_says_nothing(void **state UNUSED)
{
	struct fixture_wait w;
	struct fs_tree_attr a;
	uint64_t ino;

	init();
	f.p.object_metadata = true;
	put("a");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a ");
	f.source->hold = true;
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "a", &w.w, &a), -EINPROGRESS);
	assert_int_equal(removed(1, "a", true), 0);
	ino = made(1, "a", &new_file, true);
	settled(ino, 6, "\"2\"");
	fake_source_answer(f.source, 0);
	assert_int_equal(w.n_done, 1);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "a", &w.w, &a), 0);
	assert_int_equal(a.st.st_ino, ino);
	assert_int_equal(a.st.st_size, 6);
	tree_fixture_end(&f);
}

/* More changes than are remembered: what is being told does not count, and is asked for again. */
static void test_a_listing_that_too_much_has_overtaken(void **state UNUSED)
{
	struct fixture_wait w;
	char name[16];

	init();
	put("a");
	tree_fixture_start(&f);
	f.source->hold = true;
	ls_begin(&w, 1);
	for (unsigned i = 0; i < 70000; i++) {
		snprintf(name, sizeof name, "n%u", i);
		made(1, name, &new_file, false);
		assert_int_equal(removed(1, name, true), 0);
	}
	made(1, "b", &new_file, true);
	fake_source_answer(f.source, 0);
	assert_int_equal(w.n_done, 1);
	assert_int_equal(w.status, 0);
	f.source->hold = false;
	assert_string_equal(fixture_ls(&f, ""), "b a ");
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], 2);
	tree_fixture_end(&f);
}

static void test_what_was_made_may_be_told_before(void **state UNUSED)
{
	struct fs_tree_attr a;

	init();
	put("d/");
	tree_fixture_start(&f);
	assert_int_equal(fixture_ino(&f, "d"), 2);
	assert_int_equal(made(1, "d", &new_dir, false), 2);
	assert_int_equal(f.tree->ops->made(f.tree, 1, "d", &new_file, false, &a), -EEXIST);
	assert_int_equal(f.tree->ops->made(f.tree, 1, "d", &new_dir, true, &a), -EEXIST);
	tree_fixture_end(&f);
}

/* The origin still has it, for somebody has it open; its directory is removed meanwhile. */
static void test_what_is_away_is_not_told(void **state UNUSED)
{
	int64_t d;

	init();
	put("d/f");
	tree_fixture_start(&f);
	d = fixture_ino(&f, "d");
	assert_true(fixture_ino(&f, "d/f") > 0);
	assert_int_equal(removed((uint64_t)d, "f", false), 0);
	time_passes();
	assert_string_equal(fixture_ls(&f, "d"), "");
	time_passes();
	assert_int_equal(fixture_ino(&f, "d/f"), -ENOENT);
	assert_int_equal(empty((uint64_t)d), 0);
	assert_int_equal(removed(1, "d", true), 0);
	time_passes();
	assert_int_equal(fixture_ino(&f, "d"), -ENOENT);
	assert_string_equal(fixture_ls(&f, ""), "");
	/* Made again, it is another one, and its file is still away. */
	made(1, "d", &new_dir, true);
	time_passes();
	assert_string_equal(fixture_ls(&f, ""), "d/ ");
	assert_string_equal(fixture_ls(&f, "d"), "");
	fake_source_put(f.source, "e", 1, "");
	f.tree->ops->gone(f.tree, "d/f");
	time_passes();
	assert_string_equal(fixture_ls(&f, "d"), "f ");
	tree_fixture_end(&f);
}

/* ---- directories ---- */

static void test_a_directory_stays_for_what_is_held_in_it(void **state UNUSED)
{
	uint64_t ino;

	init();
	put("d/a");
	tree_fixture_start(&f);
	ino = made((uint64_t)fixture_ino(&f, "d"), "f", &new_file, true);
	fake_source_remove(f.source, "d/a");
	put("other");
	time_passes();
	assert_string_equal(fixture_ls(&f, ""), "d/ other ");
	assert_string_equal(fixture_ls(&f, "d"), "f ");
	assert_int_equal(fixture_ino(&f, "d/f"), (int64_t)ino);
	/* A key of the directory's name is hidden as long. */
	put("d");
	time_passes();
	assert_string_equal(fixture_ls(&f, ""), "d/ other ");
	settled(ino, 1, "\"1\"");
	time_passes();
	assert_string_equal(fixture_ls(&f, ""), "d other ");
	tree_fixture_end(&f);
}

static void test_a_directory_that_was_emptied_here_stays(void **state UNUSED)
{
	init();
	put("d/a");
	put("e");
	tree_fixture_start(&f);
	assert_true(fixture_ino(&f, "d/a") > 0);
	fake_source_remove(f.source, "d/a");
	assert_int_equal(removed((uint64_t)fixture_ino(&f, "d"), "a", true), 0);
	time_passes();
	assert_string_equal(fixture_ls(&f, "d"), "");
	time_passes();
	assert_string_equal(fixture_ls(&f, ""), "d/ e ");
	assert_int_equal(removed(1, "d", true), 0);
	assert_string_equal(fixture_ls(&f, ""), "e ");
	tree_fixture_end(&f);
}

static void test_a_directory_moves_with_what_is_held_in_it(void **state UNUSED)
{
	struct fixture_wait w;
	uint64_t d, sub, held;
	int64_t plain;

	init();
	put("d/sub/plain");
	tree_fixture_start(&f);
	plain = fixture_ino(&f, "d/sub/plain");
	d = (uint64_t)fixture_ino(&f, "d");
	sub = (uint64_t)fixture_ino(&f, "d/sub");
	held = made(sub, "held", &new_file, true);
	assert_int_equal(moved(1, "d", sub, "x"), -EINVAL);
	f.source->hold = true;
	ls_begin(&w, sub);
	assert_int_equal(moved(1, "d", 1, "to"), 0);
	fake_source_remove(f.source, "d/sub/plain");
	put("to/sub/plain");
	f.source->hold = false;
	assert_int_equal(fixture_ino(&f, "d"), -ENOENT);
	assert_int_equal(fixture_ino(&f, "to"), (int64_t)d);
	assert_int_equal(fixture_ino(&f, "to/sub"), (int64_t)sub);
	assert_int_equal(fixture_ino(&f, "to/sub/held"), (int64_t)held);
	assert_int_equal(fixture_ino(&f, "to/sub/plain"), plain);
	assert_string_equal(key_of(held), "to/sub/held");
	fake_source_answer(f.source, 0);
	assert_string_equal(fixture_ls(&f, "to/sub"), "plain held ");
	tree_fixture_end(&f);
}

static void test_a_file_takes_the_place_of_another(void **state UNUSED)
{
	int64_t a, b;

	init();
	put("a");
	put("b");
	put("l.rclonelink");
	f.p.object_metadata = true;
	tree_fixture_start(&f);
	a = fixture_ino(&f, "a");
	b = fixture_ino(&f, "b");
	assert_int_equal(moved(1, "a", 1, "b"), 0);
	assert_int_equal(moved(1, "b", 1, "b"), 0);
	assert_int_equal(fixture_ino(&f, "b"), a);
	assert_int_equal(fixture_ino(&f, "a"), -ENOENT);
	assert_string_equal(key_of((uint64_t)a), "b");
	assert_string_equal(key_of((uint64_t)b), "ESTALE");
	b = fixture_ino(&f, "l");
	assert_int_equal(moved(1, "l", 1, "m"), 0);
	assert_string_equal(key_of((uint64_t)b), "m.rclonelink");
	tree_fixture_end(&f);
}

static void test_empty_is_asked_anew(void **state UNUSED)
{
	struct fixture_wait ls, w;
	uint64_t d;

	init();
	put("d/");
	tree_fixture_start(&f);
	d = (uint64_t)fixture_ino(&f, "d");
	assert_string_equal(fixture_ls(&f, "d"), "");
	time_passes();
	f.source->hold = true;
	ls_begin(&ls, d);
	fixture_now_ns++;
	/* What was asked for before is only waited for. */
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->empty(f.tree, d, &w.w), -EINPROGRESS);
	fake_source_answer(f.source, 0);
	assert_int_equal(w.n_done, 1);
	put("d/a");
	w.n_done = 0;
	assert_int_equal(f.tree->ops->empty(f.tree, d, &w.w), -EINPROGRESS);
	fake_source_answer(f.source, 0);
	assert_int_equal(w.n_done, 1);
	assert_int_equal(f.tree->ops->empty(f.tree, d, &w.w), -ENOTEMPTY);
	f.source->hold = false;
	fake_source_remove(f.source, "d/a");
	put("d//hidden");
	time_passes();
	assert_int_equal(empty(d), -ENOTEMPTY);
	fake_source_remove(f.source, "d//hidden");
	time_passes();
	assert_int_equal(empty(d), 0);
	made(d, "f", &new_file, true);
	assert_int_equal(f.tree->ops->empty(f.tree, d, NULL), -ENOTEMPTY);
	tree_fixture_end(&f);
}

/* ---- after a start, and in the end ---- */

static void test_what_was_found_after_a_start(void **state UNUSED)
{
	const struct vmofs_entry e = {
		.key = "", .size = 9, .validator = "\"base\"", .target = ""
	};
	char key[VMOFS_KEY_MAX], validator[512];
	struct vmofs_entry now;
	struct fs_tree_attr a, b;

	init();
	put("x");
	tree_fixture_start(&f);
	f.source->fail = -EIO;
	assert_int_equal(f.tree->ops->made_key(f.tree, "a/b/f", &e, &a), 0);
	assert_int_equal(f.tree->ops->made_key(f.tree, "a/b/g", &new_file, &b), 0);
	assert_int_equal(f.tree->ops->made_key(f.tree, "a/b/f", &e, &b), -EEXIST);
	assert_int_equal(f.tree->ops->made_key(f.tree, "a/b/f/h", &e, &b), -ENOTDIR);
	assert_int_equal(f.tree->ops->made_key(f.tree, "a//h", &e, &b), -EINVAL);
	/* Nobody has to be asked, now and later. */
	time_passes();
	assert_int_equal(fixture_ino(&f, "a/b/f"), (int64_t)a.st.st_ino);
	assert_int_equal(attr_of(a.st.st_ino).st.st_size, LOCAL_SIZE);
	assert_int_equal(f.tree->ops->entry(f.tree, a.st.st_ino, key, validator, &now), 5);
	assert_string_equal(now.key, "a/b/f");
	assert_string_equal(now.validator, "\"base\"");
	assert_int_equal(now.size, 9);
	f.source->fail = 0;
	assert_string_equal(fixture_ls(&f, ""), "a/ x ");
	assert_string_equal(fixture_ls(&f, "a/b"), "f g ");
	tree_fixture_end(&f);
}

static void test_what_is_given_up_is_asked_for_anew(void **state UNUSED)
{
	uint64_t ino, again;

	init();
	put("a");
	tree_fixture_start(&f);
	ino = (uint64_t)fixture_ino(&f, "a");
	assert_int_equal(f.tree->ops->hold(f.tree, ino), 0);
	fake_source_put(f.source, "a", 6, "\"2\"");
	time_passes();
	assert_int_equal(fixture_ino(&f, "a"), (int64_t)ino);
	f.tree->ops->settled(f.tree, ino, NULL);
	again = (uint64_t)fixture_ino(&f, "a");
	assert_int_not_equal(again, ino);
	assert_int_equal(attr_of(again).st.st_size, 6);
	/* One that the origin never had. */
	f.tree->ops->settled(f.tree, made(1, "b", &new_file, true), NULL);
	assert_int_equal(fixture_ino(&f, "b"), -ENOENT);
	tree_fixture_settle(&f);
	assert_string_equal(f.told, "1/a 1/b ");
	tree_fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_tree_without_attributes_of_its_own_is_read_only),
		cmocka_unit_test(test_names_that_cannot_be_made),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_an_old_head_says_nothing),
		cmocka_unit_test(test_a_listing_that_too_much_has_overtaken),
		cmocka_unit_test(test_what_was_made_may_be_told_before),
		cmocka_unit_test(test_what_is_away_is_not_told),
		cmocka_unit_test(test_a_directory_stays_for_what_is_held_in_it),
		cmocka_unit_test(test_a_directory_that_was_emptied_here_stays),
		cmocka_unit_test(test_a_directory_moves_with_what_is_held_in_it),
		cmocka_unit_test(test_a_file_takes_the_place_of_another),
		cmocka_unit_test(test_empty_is_asked_anew),
		cmocka_unit_test(test_what_was_found_after_a_start),
		cmocka_unit_test(test_what_is_given_up_is_asked_for_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
