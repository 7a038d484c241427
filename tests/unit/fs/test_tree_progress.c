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

/* With object-metadata a name is asked for by listing its directory: that tells of "x" again, or not. */
static void doubted(struct fs_tree_attr *x)
{
	char out[64];

	tree_fixture_init(&f);
	f.p.object_metadata = true;
	fake_source_put(f.source, "a", 1, "");
	fake_source_put(f.source, "x/below", 1, "");
	tree_fixture_start(&f);
	assert_int_equal(fixture_lookup(&f, 1, "x", x), 0);
	fake_source_remove(f.source, "x/below");
	assert_int_equal(fixture_readdir(&f, x->st.st_ino, true, out, sizeof out), 0);
	assert_string_equal(out, "");
}

static void test_a_directory_that_was_empty_is_there_again(void **state UNUSED)
{
	struct fs_tree_attr x, a;

	doubted(&x);
	fake_source_put(f.source, "x/below", 1, "");
	assert_int_equal(fixture_lookup(&f, 1, "x", &a), 0);
	assert_int_equal(a.st.st_ino, x.st.st_ino);
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], 3);
	assert_string_equal(fixture_ls(&f, ""), "a x/ ");
	tree_fixture_end(&f);
}

static void test_a_directory_that_was_empty_is_gone(void **state UNUSED)
{
	struct fs_tree_attr x, a;

	doubted(&x);
	assert_int_equal(fixture_lookup(&f, 1, "x", &a), -ENOENT);
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], 3);
	tree_fixture_end(&f);
}

/* A listing that was asked for before a directory proved to be empty is no proof of it, either. */
static void test_an_old_listing_proves_no_directory(void **state UNUSED)
{
	struct fs_tree_attr x, a;
	struct fixture_wait w, lw;
	struct vmofs_query *q;
	char out[64];

	tree_fixture_init(&f);
	f.p.object_metadata = true;
	fake_source_put(f.source, "a", 1, "");
	fake_source_put(f.source, "x/below", 1, "");
	tree_fixture_start(&f);
	assert_int_equal(fixture_lookup(&f, 1, "x", &x), 0);
	fixture_now_ns += 60 * NSEC_PER_SEC;
	f.source->hold = true;
	fixture_wait_init(&lw);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 0, false, &lw.w, NULL, NULL),
			 -EINPROGRESS);
	fake_source_answer_some(f.source, 1);
	q = take_held();
	f.source->hold = false;
	fake_source_remove(f.source, "x/below");
	assert_int_equal(fixture_readdir(&f, x.st.st_ino, true, out, sizeof out), 0);
	assert_string_equal(out, "");
	/* The rest of it: the server had looked before. */
	q->entries(q,
		   &(struct vmofs_entry){ .type = VMOFS_ENTRY_PREFIX,
					  .key = "x/",
					  .key_len = 2,
					  .validator = "",
					  .target = "" },
		   1);
	q->done(q, &(struct vmofs_query_result){ .requests = 1, .msg = "", .req_id = "" });
	assert_int_equal(lw.n_done, 1);
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "x", &w.w, &a), -EINPROGRESS);
	assert_int_equal(fixture_lookup(&f, 1, "x", &a), -ENOENT);
	tree_fixture_end(&f);
}

static bool collect(void *arg, const struct fs_tree_entry *e)
{
	char *names = arg;

	if (e->name[0] != '.')
		strcat(strcat(names, e->name), S_ISDIR(e->attr->st.st_mode) ? "/ " : " ");
	return true;
}

static const char *ls_from(struct fixture_wait *w, uint64_t cookie, int expect)
{
	static char names[256];

	names[0] = '\0';
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, cookie, false, &w->w, collect, names),
			 expect);
	return names;
}

/* Readers of a listing that comes in are not told of a file that the next page makes a directory. */
static void test_a_page_may_end_between_a_file_and_its_directory(void **state UNUSED)
{
	struct fixture_wait w;

	tree_fixture_init(&f);
	fake_source_put(f.source, "a", 1, "");
	fake_source_put(f.source, "x", 1, "");
	fake_source_put(f.source, "x-y", 1, "");
	fake_source_put(f.source, "x/below", 1, "");
	f.source->hold = true;
	tree_fixture_start(&f);
	f.tree->ops->opendir(f.tree, 1);
	fixture_wait_init(&w);
	ls_from(&w, 0, -EINPROGRESS);
	fake_source_answer_some(f.source, 3);
	assert_string_equal(ls_from(&w, 0, 0), "a ");
	ls_from(&w, 3, -EINPROGRESS);
	fake_source_answer(f.source, 0);
	assert_string_equal(ls_from(&w, 3, 0), "x/ x-y ");
	f.tree->ops->releasedir(f.tree, 1);
	tree_fixture_end(&f);
}

/* Others begin one listing after the other: whoever reads on waits for one of them at most. */
static void test_readers_come_to_the_end(void **state UNUSED)
{
	struct fixture_wait w, first, second;

	tree_fixture_init(&f);
	f.p.ttl_ns = 0;
	fake_source_put(f.source, "a", 1, "");
	fake_source_put(f.source, "b", 1, "");
	tree_fixture_start(&f);
	f.tree->ops->opendir(f.tree, 1);
	assert_string_equal(fixture_ls(&f, ""), "a b ");
	f.source->hold = true;
	fixture_now_ns += NSEC_PER_SEC;
	fixture_wait_init(&first);
	ls_from(&first, 0, -EINPROGRESS);
	/* What is known is given meanwhile, up to the end. */
	fixture_wait_init(&w);
	fake_source_answer_some(f.source, 1);
	assert_string_equal(ls_from(&w, 2, 0), "a b ");
	ls_from(&w, 4, -EINPROGRESS);
	fake_source_put(f.source, "c", 1, "");
	fake_source_answer(f.source, 0);
	fixture_now_ns += NSEC_PER_SEC;
	fixture_wait_init(&second);
	ls_from(&second, 0, -EINPROGRESS);
	assert_int_equal(w.n_done, 1);
	assert_string_equal(ls_from(&w, 4, 0), "c ");
	fixture_wait_init(&w);
	ls_from(&w, 5, -EINPROGRESS);
	fake_source_answer(f.source, 0);
	fixture_now_ns += NSEC_PER_SEC;
	fixture_wait_init(&second);
	ls_from(&second, 0, -EINPROGRESS);
	assert_string_equal(ls_from(&w, 5, 0), "");
	f.source->hold = false;
	f.tree->ops->releasedir(f.tree, 1);
	tree_fixture_end(&f);
}

/* A server whose HEAD and listing never agree, in a directory that is listed all the time. */
static void test_a_head_counts_in_the_end(void **state UNUSED)
{
	const struct vmofs_entry lie = {
		.key = "a", .key_len = 1, .size = 9, .validator = "\"v9\"", .target = ""
	};
	const struct vmofs_query_result done = { .requests = 1, .msg = "", .req_id = "" };
	struct fixture_wait w;
	struct fs_tree_attr a;
	unsigned n = 0;
	int r;

	tree_fixture_init(&f);
	f.p.object_metadata = true;
	fake_source_put(f.source, "a", 1, "\"v1\"");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a ");
	f.source->hold = true;
	fixture_wait_init(&w);
	while ((r = f.tree->ops->lookup(f.tree, 1, "a", &w.w, &a)) == -EINPROGRESS) {
		struct vmofs_query *q;

		assert_true(++n < 10);
		q = take_held();
		assert_int_equal(q->kind, VMOFS_QUERY_HEAD);
		f.source->hold = false;
		fixture_now_ns += 60 * NSEC_PER_SEC;
		assert_string_equal(fixture_ls(&f, ""), "a ");
		q->entries(q, &lie, 1);
		q->done(q, &done);
		f.source->hold = true;
	}
	f.source->hold = false;
	assert_int_equal(r, 0);
	assert_int_equal(a.st.st_size, 9);
	assert_int_equal(f.source->asked[VMOFS_QUERY_HEAD], 3);
	tree_fixture_end(&f);
}

/* A name is found, or not, in the listing that was waited for, also when there is a new one by then. */
static void test_a_new_listing_holds_no_lookup_up(void **state UNUSED)
{
	struct fixture_wait w, none, other;
	struct fs_tree_attr a;

	tree_fixture_init(&f);
	f.p.ttl_ns = 0;
	f.p.negative_ttl_ns = 0;
	fake_source_put(f.source, "a", 1, "");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a ");
	f.source->hold = true;
	fixture_now_ns += NSEC_PER_SEC;
	fixture_wait_init(&other);
	ls_from(&other, 0, -EINPROGRESS);
	fixture_wait_init(&w);
	fixture_wait_init(&none);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "a", &w.w, &a), -EINPROGRESS);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "none", &none.w, &a), -EINPROGRESS);
	fake_source_answer(f.source, 0);
	fixture_now_ns += NSEC_PER_SEC;
	assert_string_equal(ls_from(&other, 0, 0), "a ");
	fixture_wait_init(&other);
	ls_from(&other, 0, -EINPROGRESS);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "a", &w.w, &a), 0);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "none", &none.w, &a), -ENOENT);
	f.source->hold = false;
	tree_fixture_end(&f);
}

/* One listing is enough, also where a directory has become a file. */
static void test_a_directory_becomes_a_file(void **state UNUSED)
{
	struct fs_tree_attr a;

	tree_fixture_init(&f);
	fake_source_put(f.source, "x/below", 1, "");
	fake_source_put(f.source, "y/below", 1, "");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "x/ y/ ");
	fake_source_remove(f.source, "x/below");
	fake_source_put(f.source, "x", 7, "");
	fake_source_put(f.source, "y", 7, "");
	fixture_now_ns += 60 * NSEC_PER_SEC;
	assert_string_equal(fixture_ls(&f, ""), "x y/ ");
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], 2);
	assert_int_equal(fixture_stats(&f).hidden[FS_HIDDEN_SHADOWED], 1);
	assert_int_equal(fixture_lookup(&f, 1, "x", &a), 0);
	assert_int_equal(a.st.st_size, 7);
	tree_fixture_end(&f);
}

/* Names change all the time: whoever waits gets what the listing told that it has waited for. */
static void test_names_that_flip_hold_nobody_up(void **state UNUSED)
{
	struct fs_tree_attr a;
	char below[16];

	tree_fixture_init(&f);
	f.p.ttl_ns = 0;
	f.p.negative_ttl_ns = 0;
	fake_source_put(f.source, "other", 1, "");
	tree_fixture_start(&f);
	for (unsigned i = 0; i < 20; i++) {
		char file[8];

		snprintf(file, sizeof file, "x%u", i / 2);
		snprintf(below, sizeof below, "%s/y", file);
		if (i % 2) {
			fake_source_remove(f.source, below);
			fake_source_put(f.source, file, 1, "");
		} else {
			fake_source_put(f.source, below, 1, "");
		}
		fixture_now_ns += NSEC_PER_SEC;
		assert_true(strstr(fixture_ls(&f, ""), "other "));
		assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], i + 1);
		assert_int_equal(fixture_lookup(&f, 1, file, &a), 0);
		assert_int_equal(S_ISDIR(a.st.st_mode), i % 2 == 0);
	}
	tree_fixture_end(&f);
}

static void test_an_unfinished_listing_leaves_no_file_behind(void **state UNUSED)
{
	struct fixture_wait w;

	tree_fixture_init(&f);
	fake_source_put(f.source, "x/below", 1, "");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "x/ ");
	fake_source_put(f.source, "x", 1, "");
	fixture_now_ns += 60 * NSEC_PER_SEC;
	f.source->hold = true;
	fixture_wait_init(&w);
	ls_from(&w, 0, -EINPROGRESS);
	fake_source_answer_some(f.source, 1);
	f.tree->ops->cancel(f.tree, &w.w);
	tree_fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_directory_becomes_a_file),
		cmocka_unit_test(test_a_failed_listing_counts_for_nothing),
		cmocka_unit_test(test_a_failed_listing_hides_nothing),
		cmocka_unit_test(test_an_old_answer_is_no_news),
		cmocka_unit_test(test_an_old_head_is_no_news),
		cmocka_unit_test(test_a_directory_that_was_empty_is_gone),
		cmocka_unit_test(test_a_directory_that_was_empty_is_there_again),
		cmocka_unit_test(test_an_old_listing_proves_no_directory),
		cmocka_unit_test(test_a_page_may_end_between_a_file_and_its_directory),
		cmocka_unit_test(test_an_unfinished_listing_leaves_no_file_behind),
		cmocka_unit_test(test_names_that_flip_hold_nobody_up),
		cmocka_unit_test(test_readers_come_to_the_end),
		cmocka_unit_test(test_a_head_counts_in_the_end),
		cmocka_unit_test(test_a_new_listing_holds_no_lookup_up),
		cmocka_unit_test(test_a_walk_relists_a_long_directory),
		cmocka_unit_test(test_names_are_found_with_no_memory_at_all),
		cmocka_unit_test(test_names_are_found_when_memory_is_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
