/* SPDX-License-Identifier: Apache-2.0 */
/* Flat listings ahead of a walker, siblings where there are none, and sources that are told at once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/tree_private.h"
#include "lib/tree_fixture.h"

static struct tree_fixture f;

static void add(unsigned dirs, unsigned files)
{
	char name[64];

	tree_fixture_init(&f);
	for (unsigned i = 0; i < dirs; i++)
		for (unsigned j = 0; j < files; j++) {
			snprintf(name, sizeof name, "d%03u/f%04u", i, j);
			fake_source_append(f.source, name, 1);
		}
}

static void test_find_takes_pages_and_not_directories(void **state UNUSED)
{
	unsigned asked;

	add(200, 100);
	tree_fixture_start(&f);
	assert_int_equal(fixture_walk(&f, 1, true), 20000);
	assert_true(f.source->pages <= 20 + 5);
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], 2);
	asked = fake_source_asked(f.source);
	assert_int_equal(fixture_walk(&f, 1, true), 20000);
	assert_int_equal(fake_source_asked(f.source), asked);
	/* After the TTL the same again. */
	fixture_now_ns += 60 * NSEC_PER_SEC;
	f.source->pages = 0;
	assert_int_equal(fixture_walk(&f, 1, true), 20000);
	assert_true(f.source->pages <= 20 + 5);
	tree_fixture_end(&f);
}

static void test_nested_directories(void **state UNUSED)
{
	char name[64];

	tree_fixture_init(&f);
	for (unsigned i = 0; i < 10; i++)
		for (unsigned j = 0; j < 10; j++)
			for (unsigned k = 0; k < 10; k++) {
				snprintf(name, sizeof name, "a%u/b%u/c%u/x", i, j, k);
				fake_source_append(f.source, name, 1);
			}
	fake_source_put(f.source, "a5", 1, "");     /* shadowed */
	fake_source_put(f.source, "a5-x", 1, "");   /* between "a5" and "a5/" */
	fake_source_put(f.source, "a7/b3/", 0, ""); /* a marker of what is there anyway */
	fake_source_put(f.source, "a9/zz/", 0, ""); /* an empty directory */
	tree_fixture_start(&f);
	assert_int_equal(fixture_walk(&f, 1, true), 1000 + 1);
	assert_true(fake_source_asked(f.source) < 30);
	assert_string_equal(fixture_ls(&f, "a9/zz"), "");
	assert_int_equal(fixture_stats(&f).hidden[FS_HIDDEN_SHADOWED], 1);
	tree_fixture_end(&f);
}

static void test_a_walk_stays_a_bounded_way_ahead(void **state UNUSED)
{
	char names[64];
	uint64_t entries;

	add(1000, 100);
	tree_fixture_start(&f);
	fixture_ls(&f, "");
	for (unsigned i = 0; i < 20; i++) {
		snprintf(names, sizeof names, "d%03u", i);
		fixture_ls(&f, names);
	}
	entries = fixture_stats(&f).entries;
	assert_true(entries > 2000);
	assert_true(entries < 45000);
	/* Nobody walks any more: nothing is asked. */
	assert_int_equal(fixture_stats(&f).entries, entries);
	tree_fixture_end(&f);
}

static void test_single_directories_make_no_walk(void **state UNUSED)
{
	add(200, 10);
	tree_fixture_start(&f);
	fixture_ls(&f, "");
	fixture_ls(&f, "d100");
	fixture_ls(&f, "d050");
	fixture_ls(&f, "d020");
	fixture_ls(&f, "d001");
	assert_int_equal(f.source->asked[VMOFS_QUERY_FLAT], 0);
	tree_fixture_end(&f);
}

static void test_a_jump_far_ahead_is_listed_by_itself(void **state UNUSED)
{
	char first[100];
	unsigned pages;

	add(900, 200);
	tree_fixture_start(&f);
	fixture_ls(&f, "");
	fixture_ls(&f, "d000");
	fixture_ls(&f, "d001");
	assert_in_range(f.source->asked[VMOFS_QUERY_FLAT], 1, 4);
	pages = f.source->pages;
	snprintf(first, sizeof first, "%.12s", fixture_ls(&f, "d890"));
	assert_string_equal(first, "f0000 f0001 ");
	assert_true(f.source->pages - pages < 30);
	assert_int_equal(fixture_stats(&f).dirs, 901);
	tree_fixture_end(&f);
}

static void test_readers_wait_for_the_walk(void **state UNUSED)
{
	struct fixture_wait w;
	unsigned n;

	add(10, 10);
	tree_fixture_start(&f);
	fixture_ls(&f, "");
	fixture_ls(&f, "d000");
	f.source->hold = true;
	for (n = 1; n < 5; n++) {
		char name[16];
		struct fs_tree_attr a;

		snprintf(name, sizeof name, "d%03u", n);
		assert_int_equal(fixture_lookup(&f, 1, name, &a), 0);
		fixture_wait_init(&w);
		assert_int_equal(
			f.tree->ops->readdir(f.tree, a.st.st_ino, 0, false, &w.w, NULL, NULL),
			-EINPROGRESS);
		f.tree->ops->cancel(f.tree, &w.w);
	}
	assert_int_equal(fake_source_n_held(f.source), 1);
	assert_int_equal(fake_source_held(f.source)->kind, VMOFS_QUERY_FLAT);
	fake_source_answer(f.source, -EIO);
	assert_int_equal(fake_source_n_held(f.source), 0);
	f.source->hold = false;
	assert_int_equal(fixture_walk(&f, 1, true), 100);
	tree_fixture_end(&f);
}

static void test_a_source_without_flat_listings(void **state UNUSED)
{
	struct fixture_wait w;
	struct fs_tree_attr a;

	add(50, 3);
	f.source->info.can &= ~BIT(VMOFS_QUERY_FLAT);
	tree_fixture_start(&f);
	fixture_ls(&f, "");
	fixture_ls(&f, "d000");
	f.source->hold = true;
	assert_int_equal(fixture_lookup(&f, 1, "d001", &a), 0);
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->readdir(f.tree, a.st.st_ino, 0, false, &w.w, NULL, NULL),
			 -EINPROGRESS);
	assert_int_equal(fake_source_n_held(f.source), 5);
	f.source->hold = false;
	while (fake_source_held(f.source))
		fake_source_answer(f.source, 0);
	f.source->asked[VMOFS_QUERY_DIR] = 0;
	assert_int_equal(fixture_walk(&f, 1, true), 150);
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], 50 - 6);
	tree_fixture_end(&f);
}

static void test_a_source_that_does_not_keep_its_order(void **state UNUSED)
{
	add(50, 10);
	f.source->disorder = true;
	f.source->batch = 7;
	tree_fixture_start(&f);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(fixture_walk(&f, 1, true), 500);
		assert_int_equal(f.source->asked[VMOFS_QUERY_FLAT], 1);
		/* Nothing that it told is believed: each directory is listed, but those before. */
		assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], (i + 1) * 51);
		fixture_now_ns += 60 * NSEC_PER_SEC;
	}
	tree_fixture_end(&f);
}

/* ---- told at once ---- */

static void start_complete(void)
{
	add(20, 5);
	fake_source_put(f.source, "top", 9, "");
	f.source->info.complete = true;
	tree_fixture_start(&f);
}

static void test_a_list_is_asked_once(void **state UNUSED)
{
	struct fs_tree_attr a;

	start_complete();
	assert_int_equal(fixture_lookup(&f, 1, "top", &a), 0);
	assert_int_equal(a.ttl_ns, 60 * NSEC_PER_SEC);
	assert_int_equal(fixture_walk(&f, 1, true), 101);
	fixture_now_ns += 1000 * NSEC_PER_SEC;
	assert_int_equal(fixture_walk(&f, 1, true), 101);
	assert_int_equal(fixture_lookup(&f, 1, "none", &a), -ENOENT);
	assert_int_equal(fake_source_asked(f.source), 1);
	tree_fixture_end(&f);
}

static void test_a_list_that_changes(void **state UNUSED)
{
	struct fs_tree_attr before, after;
	char told[64];

	start_complete();
	assert_int_equal(fixture_walk(&f, 1, true), 101);
	assert_int_equal(fixture_lookup(&f, 1, "d003", &before), 0);
	fake_source_remove(f.source, "top");
	fake_source_put(f.source, "d003/new", 1, "");
	fake_source_remove(f.source, "d003/f0000");
	tree_poll(f.tree); /* nothing is said to have changed */
	assert_string_equal(fixture_ls(&f, "d003"), "f0000 f0001 f0002 f0003 f0004 ");
	f.source->has_changed = true;
	for (unsigned i = 0; i < 5; i++) {
		char key[16];

		snprintf(key, sizeof key, "d007/f%04u", i);
		fake_source_remove(f.source, key);
	}
	tree_poll(f.tree);
	assert_int_equal(fixture_walk(&f, 1, true), 100 - 5);
	assert_int_equal(fixture_lookup(&f, 1, "d003", &after), 0);
	assert_int_equal(before.st.st_ino, after.st.st_ino);
	assert_string_equal(fixture_ls(&f, "d003"), "f0001 f0002 f0003 f0004 new ");
	assert_int_equal(fixture_lookup(&f, 1, "d007", &after), -ENOENT);
	tree_fixture_settle(&f);
	snprintf(told, sizeof told, "%llu/f0000 ", (unsigned long long)before.st.st_ino);
	assert_non_null(strstr(f.told, told));
	assert_non_null(strstr(f.told, "1/d007 "));
	assert_non_null(strstr(f.told, "1/top "));
	tree_fixture_end(&f);
}

static void test_a_list_that_fails_is_asked_again(void **state UNUSED)
{
	struct fs_tree_attr a;

	add(2, 2);
	f.source->info.complete = true;
	f.source->fail = -EACCES;
	tree_fixture_start(&f);
	assert_int_equal(fixture_lookup(&f, 1, "d000", &a), -EACCES);
	f.source->fail = 0;
	assert_int_equal(fixture_lookup(&f, 1, "d000", &a), 0);
	tree_fixture_end(&f);
}

static void test_a_list_larger_than_memory_is_asked_by_directory(void **state UNUSED)
{
	add(100, 100);
	f.source->info.complete = true;
	f.p.soft_limit = 50000;
	tree_fixture_start(&f);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fixture_walk(&f, 1, false), 10000);
	assert_true(fixture_stats(&f).free_bytes < 100000);
	tree_fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find_takes_pages_and_not_directories),
		cmocka_unit_test(test_nested_directories),
		cmocka_unit_test(test_a_walk_stays_a_bounded_way_ahead),
		cmocka_unit_test(test_single_directories_make_no_walk),
		cmocka_unit_test(test_a_jump_far_ahead_is_listed_by_itself),
		cmocka_unit_test(test_readers_wait_for_the_walk),
		cmocka_unit_test(test_a_source_without_flat_listings),
		cmocka_unit_test(test_a_source_that_does_not_keep_its_order),
		cmocka_unit_test(test_a_list_is_asked_once),
		cmocka_unit_test(test_a_list_that_changes),
		cmocka_unit_test(test_a_list_that_fails_is_asked_again),
		cmocka_unit_test(test_a_list_larger_than_memory_is_asked_by_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
