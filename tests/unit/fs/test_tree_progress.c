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

/* ---- what tests do ---- */

static void put(const char *key)
{
	fake_source_put(f.source, key, 1, "");
}

static void add(const char *dir, unsigned files)
{
	char name[64];

	for (unsigned j = 0; j < files; j++) {
		snprintf(name, sizeof name, "%s/f%06u", dir, j);
		fake_source_append(f.source, name, 1);
	}
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

/* A reader of the root who has to wait. */
static void ls_begin(struct fixture_wait *w)
{
	fixture_wait_init(w);
	ls_from(w, 0, -EINPROGRESS);
}

static void lookup_begin(struct fixture_wait *w, const char *name)
{
	struct fs_tree_attr a;

	fixture_wait_init(w);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, name, &w->w, &a), -EINPROGRESS);
}

static struct vmofs_query *take_held(enum vmofs_query_kind kind)
{
	struct vmofs_query *q = fake_source_held(f.source);

	assert_non_null(q);
	assert_int_equal(q->kind, kind);
	vmofs_list_del(&q->link);
	return q;
}

/* The answer of a query that was taken; @e NULL: nothing more. */
static void answer(struct vmofs_query *q, const struct vmofs_entry *e)
{
	if (e)
		q->entries(q, e, 1);
	q->done(q, &(struct vmofs_query_result){ .requests = 1, .msg = "", .req_id = "" });
}

static void answer_head(struct vmofs_query *q, uint64_t size, const char *validator)
{
	const struct vmofs_entry a = {
		.key = "a", .key_len = 1, .size = size, .validator = validator, .target = ""
	};

	answer(q, &a);
}

/* ---- little memory, long directories ---- */

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

/* ---- failed listings ---- */

/* The root is listed anew, and that fails behind its first entry. */
static void fail_listing(void)
{
	struct fixture_wait w;

	fixture_now_ns += 60 * NSEC_PER_SEC;
	f.source->hold = true;
	ls_begin(&w);
	fake_source_answer_some(f.source, 1);
	fake_source_answer(f.source, -EIO);
	assert_int_equal(w.status, -EIO);
	f.source->hold = false;
}

/* What a listing that has failed did not come to is no news to the next one. */
static void test_a_failed_listing_counts_for_nothing(void **state UNUSED)
{
	struct fs_tree_attr a;

	tree_fixture_init(&f);
	put("a");
	put("b");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a b ");
	fake_source_remove(f.source, "b");
	fail_listing();
	assert_string_equal(fixture_ls(&f, ""), "a ");
	assert_int_equal(fixture_lookup(&f, 1, "b", &a), -ENOENT);
	tree_fixture_end(&f);
}

static void test_a_failed_listing_hides_nothing(void **state UNUSED)
{
	tree_fixture_init(&f);
	put("a");
	put("a/b");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a/ ");
	assert_int_equal(fixture_stats(&f).hidden[FS_HIDDEN_SHADOWED], 1);
	fail_listing();
	fake_source_remove(f.source, "a");
	assert_string_equal(fixture_ls(&f, ""), "a/ ");
	assert_int_equal(fixture_stats(&f).hidden[FS_HIDDEN_SHADOWED], 0);
	tree_fixture_end(&f);
}

/* ---- answers that come late ---- */

/* A name that was asked for before a listing says nothing against it. */
static void test_an_old_answer_is_no_news(void **state UNUSED)
{
	struct fs_tree_attr a;
	struct fixture_wait w, lw;
	struct vmofs_query *q;

	tree_fixture_init(&f);
	put("a");
	tree_fixture_start(&f);
	f.source->hold = true;
	lookup_begin(&w, "new");
	q = take_held(VMOFS_QUERY_NAME);
	fixture_now_ns += NSEC_PER_SEC;
	put("new");
	ls_begin(&lw);
	fake_source_answer(f.source, 0);
	/* The server had looked for it before it was there. */
	answer(q, NULL);
	assert_int_equal(w.n_done, 1);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "new", &w.w, &a), 0);
	f.source->hold = false;
	assert_string_equal(fixture_ls(&f, ""), "a new ");
	tree_fixture_end(&f);
}

/* A file that is listed and yet to be asked about; queries are held. */
static void start_with_heads(void)
{
	tree_fixture_init(&f);
	f.p.object_metadata = true;
	fake_source_put(f.source, "a", 1, "\"v1\"");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a ");
	f.source->hold = true;
}

/* Nor does a HEAD of what was there before say anything of the file that a listing has told of. */
static void test_an_old_head_is_no_news(void **state UNUSED)
{
	struct fs_tree_attr a;
	struct fixture_wait w, lw;
	struct vmofs_query *q;

	start_with_heads();
	lookup_begin(&w, "a");
	q = take_held(VMOFS_QUERY_HEAD);
	fixture_now_ns += 60 * NSEC_PER_SEC;
	fake_source_put(f.source, "a", 2, "\"v2\"");
	ls_begin(&lw);
	fake_source_answer(f.source, 0);
	f.source->hold = false;
	answer_head(q, 1, "\"v1\"");
	assert_int_equal(w.n_done, 1);
	assert_int_equal(fixture_lookup(&f, 1, "a", &a), 0);
	assert_int_equal(a.st.st_size, 2);
	tree_fixture_end(&f);
}

/* A directory "x" that has been looked up. */
static void start_with_x(struct fs_tree_attr *x)
{
	tree_fixture_init(&f);
	f.p.object_metadata = true;
	put("a");
	put("x/below");
	tree_fixture_start(&f);
	assert_int_equal(fixture_lookup(&f, 1, "x", x), 0);
}

/* With object-metadata a name is asked for by listing its directory: that tells of "x" again, or not. */
static void doubt(const struct fs_tree_attr *x)
{
	char out[64];

	fake_source_remove(f.source, "x/below");
	assert_int_equal(fixture_readdir(&f, x->st.st_ino, true, out, sizeof out), 0);
	assert_string_equal(out, "");
}

static void test_a_directory_that_was_empty_is_there_again(void **state UNUSED)
{
	struct fs_tree_attr x, a;

	start_with_x(&x);
	doubt(&x);
	put("x/below");
	assert_int_equal(fixture_lookup(&f, 1, "x", &a), 0);
	assert_int_equal(a.st.st_ino, x.st.st_ino);
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], 3);
	assert_string_equal(fixture_ls(&f, ""), "a x/ ");
	tree_fixture_end(&f);
}

static void test_a_directory_that_was_empty_is_gone(void **state UNUSED)
{
	struct fs_tree_attr x, a;

	start_with_x(&x);
	doubt(&x);
	assert_int_equal(fixture_lookup(&f, 1, "x", &a), -ENOENT);
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], 3);
	tree_fixture_end(&f);
}

/* A listing that was asked for before a directory proved to be empty is no proof of it, either. */
static void test_an_old_listing_proves_no_directory(void **state UNUSED)
{
	const struct vmofs_entry there = {
		.type = VMOFS_ENTRY_PREFIX, .key = "x/", .key_len = 2, .validator = "", .target = ""
	};
	struct fs_tree_attr x, a;
	struct fixture_wait w, lw;
	struct vmofs_query *q;

	start_with_x(&x);
	fixture_now_ns += 60 * NSEC_PER_SEC;
	f.source->hold = true;
	ls_begin(&lw);
	fake_source_answer_some(f.source, 1);
	q = take_held(VMOFS_QUERY_DIR);
	f.source->hold = false;
	doubt(&x);
	/* The rest of it: the server had looked before. */
	answer(q, &there);
	assert_int_equal(lw.n_done, 1);
	lookup_begin(&w, "x");
	assert_int_equal(fixture_lookup(&f, 1, "x", &a), -ENOENT);
	tree_fixture_end(&f);
}

/* ---- readers and lookups get on ---- */

/* Readers of a listing that comes in are not told of a file that the next page makes a directory. */
static void test_a_page_may_end_between_a_file_and_its_directory(void **state UNUSED)
{
	struct fixture_wait w;

	tree_fixture_init(&f);
	put("a");
	put("x");
	put("x-y");
	put("x/below");
	f.source->hold = true;
	tree_fixture_start(&f);
	f.tree->ops->opendir(f.tree, 1);
	ls_begin(&w);
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
	put("a");
	put("b");
	tree_fixture_start(&f);
	f.tree->ops->opendir(f.tree, 1);
	assert_string_equal(fixture_ls(&f, ""), "a b ");
	f.source->hold = true;
	fixture_now_ns += NSEC_PER_SEC;
	ls_begin(&first);
	/* What is known is given meanwhile, up to the end. */
	fixture_wait_init(&w);
	fake_source_answer_some(f.source, 1);
	assert_string_equal(ls_from(&w, 2, 0), "a b ");
	ls_from(&w, 4, -EINPROGRESS);
	put("c");
	fake_source_answer(f.source, 0);
	fixture_now_ns += NSEC_PER_SEC;
	ls_begin(&second);
	assert_int_equal(w.n_done, 1);
	assert_string_equal(ls_from(&w, 4, 0), "c ");
	fixture_wait_init(&w);
	ls_from(&w, 5, -EINPROGRESS);
	fake_source_answer(f.source, 0);
	fixture_now_ns += NSEC_PER_SEC;
	ls_begin(&second);
	assert_string_equal(ls_from(&w, 5, 0), "");
	f.source->hold = false;
	f.tree->ops->releasedir(f.tree, 1);
	tree_fixture_end(&f);
}

/* A server whose HEAD and listing never agree, in a directory that is listed all the time. */
static void test_a_head_counts_in_the_end(void **state UNUSED)
{
	struct fixture_wait w;
	struct fs_tree_attr a;
	unsigned n = 0;
	int r;

	start_with_heads();
	fixture_wait_init(&w);
	while ((r = f.tree->ops->lookup(f.tree, 1, "a", &w.w, &a)) == -EINPROGRESS) {
		struct vmofs_query *q;

		assert_true(++n < 10);
		q = take_held(VMOFS_QUERY_HEAD);
		f.source->hold = false;
		fixture_now_ns += 60 * NSEC_PER_SEC;
		assert_string_equal(fixture_ls(&f, ""), "a ");
		answer_head(q, 9, "\"v9\"");
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
	put("a");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a ");
	f.source->hold = true;
	fixture_now_ns += NSEC_PER_SEC;
	ls_begin(&other);
	lookup_begin(&w, "a");
	lookup_begin(&none, "none");
	fake_source_answer(f.source, 0);
	fixture_now_ns += NSEC_PER_SEC;
	assert_string_equal(ls_from(&other, 0, 0), "a ");
	ls_begin(&other);
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
	put("x/below");
	put("y/below");
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
	put("other");
	tree_fixture_start(&f);
	for (unsigned i = 0; i < 20; i++) {
		char file[8];

		snprintf(file, sizeof file, "x%u", i / 2);
		snprintf(below, sizeof below, "%s/y", file);
		if (i % 2) {
			fake_source_remove(f.source, below);
			put(file);
		} else {
			put(below);
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
	put("x/below");
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "x/ ");
	put("x");
	fixture_now_ns += 60 * NSEC_PER_SEC;
	f.source->hold = true;
	ls_begin(&w);
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
