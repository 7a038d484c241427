/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever waits gets on: little memory, new listings by a walk, failed ones, answers that come late. */
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

static void add(const char *dir, unsigned files)
{
	char name[64];

	for (unsigned j = 0; j < files; j++) {
		snprintf(name, sizeof name, "%s/f%06u", dir, j);
		fake_source_append(f.source, name, 1);
	}
}

/* What one directory needs while it is open must not cost others their answers. */
static void test_names_are_found_when_memory_is_short(void **state UNUSED)
{
	struct fs_tree_attr a, big;

	tree_fixture_init(&f);
	add("big", 5000);
	add("other", 3);
	f.p.soft_limit = 20000;
	tree_fixture_start(&f);
	assert_int_equal(fixture_lookup(&f, 1, "big", &big), 0);
	assert_int_equal(f.tree->ops->opendir(f.tree, big.st.st_ino), 0);
	fixture_ls(&f, "big");
	for (unsigned i = 0; i < 200; i++) {
		char name[32];

		snprintf(name, sizeof name, "f%06u", i);
		(void)fixture_lookup(&f, big.st.st_ino, name, &a);
	}
	f.tree->ops->forget(f.tree, a.st.st_ino, 1000);
	for (uint64_t ino = 2; ino < 5100; ino++)
		if (ino != big.st.st_ino)
			f.tree->ops->forget(f.tree, ino, 1000);
	assert_true(fixture_stats(&f).free_bytes > f.p.soft_limit);
	assert_int_equal(fixture_lookup(&f, 1, "other", &a), 0);
	assert_int_equal(fixture_lookup(&f, a.st.st_ino, "f000001", &a), 0);
	assert_int_equal(fixture_lookup(&f, 1, "none", &a), -ENOENT);
	f.tree->ops->releasedir(f.tree, big.st.st_ino);
	assert_true(fixture_stats(&f).free_bytes <= f.p.soft_limit);
	tree_fixture_end(&f);
}

static void test_names_are_found_with_no_memory_at_all(void **state UNUSED)
{
	struct fs_tree_attr a;

	tree_fixture_init(&f);
	add("dir", 3);
	f.p.soft_limit = 0;
	f.source->sizes_unknown = true;
	tree_fixture_start(&f);
	assert_int_equal(fixture_lookup(&f, 1, "dir", &a), 0);
	assert_int_equal(fixture_lookup(&f, a.st.st_ino, "f000001", &a), 0);
	assert_int_equal(a.st.st_size, 1);
	tree_fixture_end(&f);
}

/* A walk that lists a directory again goes on as long as somebody waits for that. */
static void test_a_walk_relists_a_long_directory(void **state UNUSED)
{
	tree_fixture_init(&f);
	f.source->info.page = 1000;
	add("a", 10);
	add("b", 10);
	add("c", 10);
	add("d", 50000);
	add("e", 10);
	tree_fixture_start(&f);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(fixture_walk(&f, 1, true), 50040);
		fixture_now_ns += 60 * NSEC_PER_SEC;
	}
	tree_fixture_end(&f);
}

/* What a listing that has failed did not come to is no news to the next one. */
static void test_a_failed_listing_counts_for_nothing(void **state UNUSED)
{
	struct fs_tree_attr a;
	struct fixture_wait w;

	tree_fixture_init(&f);
	fake_source_put(f.source, "a", 1, "");
	fake_source_put(f.source, "b", 1, "");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a b ");
	fixture_now_ns += 60 * NSEC_PER_SEC;
	fake_source_remove(f.source, "b");
	f.source->hold = true;
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 0, false, &w.w, NULL, NULL), -EINPROGRESS);
	fake_source_answer_some(f.source, 1);
	fake_source_answer(f.source, -EIO);
	assert_int_equal(w.status, -EIO);
	f.source->hold = false;
	assert_string_equal(fixture_ls(&f, ""), "a ");
	assert_int_equal(fixture_lookup(&f, 1, "b", &a), -ENOENT);
	tree_fixture_end(&f);
}

static struct vmofs_query *take_held(void)
{
	struct vmofs_query *q = fake_source_held(f.source);

	assert_non_null(q);
	vmofs_list_del(&q->link);
	return q;
}

static void test_a_failed_listing_hides_nothing(void **state UNUSED)
{
	struct fixture_wait w;

	tree_fixture_init(&f);
	fake_source_put(f.source, "a", 1, "");
	fake_source_put(f.source, "a/b", 1, "");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a/ ");
	assert_int_equal(fixture_stats(&f).hidden[FS_HIDDEN_SHADOWED], 1);
	fixture_now_ns += 60 * NSEC_PER_SEC;
	f.source->hold = true;
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 0, false, &w.w, NULL, NULL), -EINPROGRESS);
	fake_source_answer_some(f.source, 1);
	fake_source_answer(f.source, -EIO);
	fake_source_remove(f.source, "a");
	f.source->hold = false;
	assert_string_equal(fixture_ls(&f, ""), "a/ ");
	assert_int_equal(fixture_stats(&f).hidden[FS_HIDDEN_SHADOWED], 0);
	tree_fixture_end(&f);
}

/* A name that was asked for before a listing says nothing against it. */
static void test_an_old_answer_is_no_news(void **state UNUSED)
{
	struct fs_tree_attr a;
	struct fixture_wait w, lw;
	struct vmofs_query *q;
	struct vmofs_query_result none = { .requests = 1, .msg = "", .req_id = "" };

	tree_fixture_init(&f);
	fake_source_put(f.source, "a", 1, "");
	tree_fixture_start(&f);
	f.source->hold = true;
	fixture_wait_init(&w);
	fixture_wait_init(&lw);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "new", &w.w, &a), -EINPROGRESS);
	q = take_held();
	fixture_now_ns += NSEC_PER_SEC;
	fake_source_put(f.source, "new", 1, "");
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 0, false, &lw.w, NULL, NULL),
			 -EINPROGRESS);
	fake_source_answer(f.source, 0);
	/* The server had looked for it before it was there. */
	q->done(q, &none);
	assert_int_equal(w.n_done, 1);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "new", &w.w, &a), 0);
	f.source->hold = false;
	assert_string_equal(fixture_ls(&f, ""), "a new ");
	tree_fixture_end(&f);
}

/* Nor does a HEAD of what was there before say anything of the file that a listing has told of. */
static void test_an_old_head_is_no_news(void **state UNUSED)
{
	const struct vmofs_entry old = {
		.key = "a", .key_len = 1, .size = 1, .validator = "\"v1\"", .target = ""
	};
	const struct vmofs_query_result done = { .requests = 1, .msg = "", .req_id = "" };
	struct fs_tree_attr a;
	struct fixture_wait w, lw;
	struct vmofs_query *q;

	tree_fixture_init(&f);
	fake_source_put(f.source, "a", 1, "\"v1\"");
	f.p.object_metadata = true;
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a ");
	f.source->hold = true;
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "a", &w.w, &a), -EINPROGRESS);
	q = take_held();
	assert_int_equal(q->kind, VMOFS_QUERY_HEAD);
	fixture_now_ns += 60 * NSEC_PER_SEC;
	fake_source_put(f.source, "a", 2, "\"v2\"");
	fixture_wait_init(&lw);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 0, false, &lw.w, NULL, NULL),
			 -EINPROGRESS);
	fake_source_answer(f.source, 0);
	f.source->hold = false;
	q->entries(q, &old, 1);
	q->done(q, &done);
	assert_int_equal(w.n_done, 1);
	assert_int_equal(fixture_lookup(&f, 1, "a", &a), 0);
	assert_int_equal(a.st.st_size, 2);
	tree_fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_failed_listing_counts_for_nothing),
		cmocka_unit_test(test_a_failed_listing_hides_nothing),
		cmocka_unit_test(test_an_old_answer_is_no_news),
		cmocka_unit_test(test_an_old_head_is_no_news),
		cmocka_unit_test(test_a_walk_relists_a_long_directory),
		cmocka_unit_test(test_names_are_found_with_no_memory_at_all),
		cmocka_unit_test(test_names_are_found_when_memory_is_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
