/* SPDX-License-Identifier: Apache-2.0 */
/* A tree over a source: listings, names, times to live, versions, errors, the end. No clock runs. */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/tree_fixture.h"

#define TTL (60 * NSEC_PER_SEC)

static struct tree_fixture f;

static void add_small_tree(void)
{
	tree_fixture_init(&f);
	fake_source_put(f.source, "a", 1, "\"0123456789abcdef0123456789abcdef\"");
	fake_source_put(f.source, "b/x", 2, "\"0123456789abcdef0123456789abcdef-7\"");
	fake_source_put(f.source, "b/y", 3, "v3");
	fake_source_put(f.source, "c/d/e", 4, "Sun, 09 Sep 2001 01:46:40 GMT");
}

static void start(void)
{
	add_small_tree();
	tree_fixture_start(&f);
}

static int ask(const char *path, struct fs_tree_attr *a)
{
	const char *slash = strrchr(path, '/');
	char dir[256] = "";
	int64_t parent;

	if (slash)
		memcpy(dir, path, (size_t)(slash - path));
	parent = fixture_ino(&f, dir);
	return parent < 0 ? (int)parent
			  : fixture_lookup(&f, (uint64_t)parent, slash ? slash + 1 : path, a);
}

/* ---- listings ---- */

static void test_listing(void **state UNUSED)
{
	start();
	assert_string_equal(fixture_ls(&f, ""), "a b/ c/ ");
	assert_string_equal(fixture_ls(&f, "b"), "x y ");
	assert_string_equal(fixture_ls(&f, "c/d"), "e ");
	assert_int_equal(f.source->asked[VMOFS_QUERY_HEAD], 0);
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR],
			 4 - f.source->asked[VMOFS_QUERY_FLAT] - f.source->asked[VMOFS_QUERY_NAME]);
	assert_string_equal(fixture_ls(&f, "a"), "ENOTDIR");
	assert_string_equal(fixture_ls(&f, "z"), "ENOENT");
	tree_fixture_end(&f);
}

static void test_attributes_come_from_the_listing(void **state UNUSED)
{
	struct fs_tree_attr a;
	unsigned asked;

	start();
	assert_string_equal(fixture_ls(&f, ""), "a b/ c/ ");
	asked = fake_source_asked(f.source);
	assert_int_equal(ask("a", &a), 0);
	assert_int_equal(a.st.st_size, 1);
	assert_int_equal(a.st.st_mode, S_IFREG | 0444);
	assert_int_equal(a.st.st_uid, 12);
	assert_int_equal(a.st.st_gid, 34);
	assert_int_equal(a.st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(a.ttl_ns, TTL);
	assert_int_equal(a.attr_ttl_ns, FS_TREE_FOREVER);
	assert_int_equal(ask("b", &a), 0);
	assert_int_equal(a.st.st_mode, S_IFDIR | 0555);
	assert_int_equal(a.attr_ttl_ns, TTL);
	assert_int_equal(ask("nope", &a), -ENOENT);
	assert_int_equal(a.ttl_ns, 5 * NSEC_PER_SEC);
	assert_int_equal(fake_source_asked(f.source), asked);
	tree_fixture_end(&f);
}

struct collect {
	char names[4096];
	uint64_t next;
	unsigned n;
};

static bool collect(void *arg, const struct fs_tree_entry *e)
{
	struct collect *c = arg;

	strcat(strcat(c->names, e->name), " ");
	c->next = e->next;
	c->n++;
	return true;
}

static void test_entries_are_streamed_while_the_listing_goes_on(void **state UNUSED)
{
	struct fixture_wait w;
	struct collect c = { 0 };
	struct fs_tree_attr a;

	tree_fixture_init(&f);
	for (char k[] = "a"; k[0] <= 'j'; k[0]++)
		fake_source_put(f.source, k, 1, "");
	f.source->hold = true;
	tree_fixture_start(&f);
	f.tree->ops->opendir(f.tree, 1);
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 0, false, &w.w, collect, &c),
			 -EINPROGRESS);
	assert_int_equal(w.n_done, 0);
	fake_source_answer_some(f.source, 3);
	assert_int_equal(w.n_done, 1);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 0, false, &w.w, collect, &c), 0);
	/* After "c" there may be "c/". */
	assert_string_equal(c.names, ". .. a b ");
	/* Also names are found as soon as they have come. */
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "b", &w.w, &a), 0);
	c.names[0] = '\0';
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, c.next, false, &w.w, collect, &c),
			 -EINPROGRESS);
	fake_source_answer(f.source, 0);
	assert_int_equal(w.n_done, 2);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, c.next, false, &w.w, collect, &c), 0);
	assert_string_equal(c.names, "c d e f g h i j ");
	c.names[0] = '\0';
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, c.next, false, &w.w, collect, &c), 0);
	assert_string_equal(c.names, "");
	assert_int_equal(fake_source_asked(f.source), 1);
	f.tree->ops->releasedir(f.tree, 1);
	tree_fixture_end(&f);
}

static void test_a_failed_listing_is_an_error_and_not_the_end(void **state UNUSED)
{
	struct fixture_wait w;
	struct collect c = { 0 };

	start();
	f.source->hold = true;
	f.tree->ops->opendir(f.tree, 1);
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 0, false, &w.w, collect, &c),
			 -EINPROGRESS);
	fake_source_answer_some(f.source, 2);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 0, false, &w.w, collect, &c), 0);
	assert_string_equal(c.names, ". .. a b ");
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, c.next, false, &w.w, collect, &c),
			 -EINPROGRESS);
	fake_source_answer(f.source, -ETIMEDOUT);
	assert_int_equal(w.n_done, 2);
	assert_int_equal(w.status, -ETIMEDOUT);
	/* And nothing of it is remembered: the reader may go on where it was. */
	f.source->hold = false;
	c.names[0] = '\0';
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, c.next, false, &w.w, collect, &c),
			 -EINPROGRESS);
	assert_int_equal(w.n_done, 3);
	assert_int_equal(w.status, 0);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, c.next, false, &w.w, collect, &c), 0);
	assert_string_equal(c.names, "c ");
	f.tree->ops->releasedir(f.tree, 1);
	assert_int_equal(fixture_stats(&f).failed, 1);
	assert_int_equal(fixture_stats(&f).last.code, -ETIMEDOUT);
	tree_fixture_end(&f);
}

static void test_one_listing_for_all_readers(void **state UNUSED)
{
	struct fixture_wait w[3];
	struct collect c = { 0 };

	start();
	f.source->hold = true;
	for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
		fixture_wait_init(&w[i]);
		assert_int_equal(f.tree->ops->readdir(f.tree, 1, 2, false, &w[i].w, collect, &c),
				 -EINPROGRESS);
	}
	assert_int_equal(fake_source_n_held(f.source), 1);
	assert_int_equal(fixture_stats(&f).waiting, 3);
	fake_source_answer(f.source, 0);
	for (unsigned i = 0; i < ARRAY_LEN(w); i++)
		assert_int_equal(w[i].n_done, 1);
	assert_int_equal(fixture_stats(&f).waiting, 0);
	tree_fixture_end(&f);
}

/* ---- names ---- */

static void test_a_name_is_one_request(void **state UNUSED)
{
	struct fs_tree_attr a;

	start();
	assert_int_equal(ask("a", &a), 0);
	assert_int_equal(a.st.st_size, 1);
	assert_int_equal(f.source->asked[VMOFS_QUERY_NAME], 1);
	assert_int_equal(ask("a", &a), 0);
	assert_int_equal(fake_source_asked(f.source), 1);
	assert_int_equal(ask("zz", &a), -ENOENT);
	assert_int_equal(ask("zz", &a), -ENOENT);
	assert_int_equal(fake_source_asked(f.source), 2);
	/* The third lists the directory. */
	assert_int_equal(ask("b", &a), 0);
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], 1);
	assert_int_equal(ask("c", &a), 0);
	assert_int_equal(fake_source_asked(f.source), 3);
	tree_fixture_end(&f);
}

static void test_names_far_apart_in_time_do_not_list(void **state UNUSED)
{
	struct fs_tree_attr a;

	start();
	for (unsigned i = 0; i < 10; i++) {
		char name[16];

		snprintf(name, sizeof name, "n%u", i);
		assert_int_equal(ask(name, &a), -ENOENT);
		fixture_now_ns += 3 * NSEC_PER_SEC;
	}
	assert_int_equal(f.source->asked[VMOFS_QUERY_NAME], 10);
	assert_int_equal(f.source->asked[VMOFS_QUERY_DIR], 0);
	tree_fixture_end(&f);
}

static void test_one_query_for_all_who_ask_for_a_name(void **state UNUSED)
{
	struct fixture_wait w[3];
	struct fs_tree_attr a;

	start();
	f.source->hold = true;
	for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
		fixture_wait_init(&w[i]);
		assert_int_equal(f.tree->ops->lookup(f.tree, 1, "a", &w[i].w, &a), -EINPROGRESS);
	}
	assert_int_equal(fake_source_n_held(f.source), 1);
	/* Who gives up is not told, and the query goes on. */
	assert_true(f.tree->ops->cancel(f.tree, &w[1].w));
	assert_false(f.tree->ops->cancel(f.tree, &w[1].w));
	fake_source_answer(f.source, 0);
	assert_int_equal(w[0].n_done + w[2].n_done, 2);
	assert_int_equal(w[1].n_done, 0);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "a", &w[0].w, &a), 0);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "a", NULL, &a), 0);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "q", NULL, &a), -EAGAIN);
	assert_int_equal(fake_source_n_held(f.source), 0);
	tree_fixture_end(&f);
}

static void test_names_that_cannot_be(void **state UNUSED)
{
	struct fs_tree_attr a;
	char name[300];

	start();
	memset(name, 'n', sizeof name);
	name[256] = '\0';
	assert_int_equal(ask(name, &a), -ENAMETOOLONG);
	name[255] = '\0';
	assert_int_equal(ask(name, &a), -ENOENT);
	assert_int_equal(ask("..", &a), -ENOENT);
	assert_int_equal(fixture_lookup(&f, 99, "x", &a), -ESTALE);
	assert_int_equal(f.tree->ops->getattr(f.tree, 99, NULL, &a), -ESTALE);
	tree_fixture_end(&f);
}

static void test_errors_are_told_and_not_remembered(void **state UNUSED)
{
	static const struct {
		int said, seen;
	} errors[] = {
		{ -EIO, -EIO }, { -ETIMEDOUT, -ETIMEDOUT }, { -EACCES, -EACCES }, { -ENOENT, -EIO }
	};
	struct fs_tree_attr a;

	start();
	for (unsigned i = 0; i < ARRAY_LEN(errors); i++) {
		f.source->fail = errors[i].said;
		assert_int_equal(ask("a", &a), errors[i].seen);
		assert_string_equal(fixture_ls(&f, ""), strerrorname_np(-errors[i].seen));
		fixture_now_ns += 3 * NSEC_PER_SEC;
	}
	f.source->fail = 0;
	assert_int_equal(ask("a", &a), 0);
	assert_string_equal(fixture_ls(&f, ""), "a b/ c/ ");
	tree_fixture_end(&f);
}

/* ---- times to live ---- */

static void test_ttl(void **state UNUSED)
{
	struct fs_tree_attr a;
	unsigned asked;

	start();
	fixture_ls(&f, "");
	fixture_now_ns += TTL - NSEC_PER_SEC;
	asked = fake_source_asked(f.source);
	assert_int_equal(ask("a", &a), 0);
	assert_int_equal(a.ttl_ns, NSEC_PER_SEC);
	assert_int_equal(fake_source_asked(f.source), asked);
	fixture_now_ns += NSEC_PER_SEC;
	assert_int_equal(ask("a", &a), 0);
	assert_int_equal(fake_source_asked(f.source), asked + 1);
	assert_string_equal(fixture_ls(&f, ""), "a b/ c/ ");
	assert_int_equal(fake_source_asked(f.source), asked + 2);
	tree_fixture_end(&f);
}

static void test_ttl_zero_makes_progress(void **state UNUSED)
{
	struct fs_tree_attr a;

	add_small_tree();
	f.p.ttl_ns = f.p.negative_ttl_ns = 0;
	f.source->sizes_unknown = true;
	tree_fixture_start(&f);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(ask("a", &a), 0);
		assert_int_equal(a.st.st_size, 1);
		assert_int_equal(a.ttl_ns, 0);
		assert_int_equal(ask("zz", &a), -ENOENT);
		assert_int_equal(a.ttl_ns, 0);
		assert_string_equal(fixture_ls(&f, "b"), "x y ");
		fixture_now_ns += NSEC_PER_SEC / 3;
	}
	assert_true(fake_source_asked(f.source) >= 15);
	tree_fixture_end(&f);
}

static void test_immutable_is_asked_once(void **state UNUSED)
{
	struct fs_tree_attr a;
	unsigned asked;

	add_small_tree();
	f.p.immutable = true;
	tree_fixture_start(&f);
	fixture_ls(&f, "");
	asked = fake_source_asked(f.source);
	fixture_now_ns += 1000 * TTL;
	assert_int_equal(ask("a", &a), 0);
	assert_int_equal(a.ttl_ns, FS_TREE_FOREVER);
	assert_int_equal(ask("zz", &a), -ENOENT);
	assert_int_equal(a.ttl_ns, FS_TREE_FOREVER);
	fixture_ls(&f, "");
	assert_int_equal(fake_source_asked(f.source), asked);
	tree_fixture_end(&f);
}

static void test_negative_ttl(void **state UNUSED)
{
	struct fs_tree_attr a;

	start();
	assert_int_equal(ask("new", &a), -ENOENT);
	fake_source_put(f.source, "new", 5, "");
	fixture_now_ns += 4 * NSEC_PER_SEC;
	assert_int_equal(ask("new", &a), -ENOENT);
	assert_int_equal(a.ttl_ns, NSEC_PER_SEC);
	fixture_now_ns += NSEC_PER_SEC;
	assert_int_equal(ask("new", &a), 0);
	tree_fixture_end(&f);
}

/* ---- changes ---- */

static void test_a_changed_file_is_another_inode(void **state UNUSED)
{
	struct fs_tree_attr old, now, a;

	start();
	fixture_ls(&f, "");
	assert_int_equal(ask("a", &old), 0);
	fake_source_put(f.source, "a", 1, "\"ffffffffffffffffffffffffffffffff\"");
	fixture_now_ns += TTL;
	assert_int_equal(ask("a", &now), 0);
	assert_int_not_equal(old.st.st_ino, now.st.st_ino);
	assert_int_equal(f.tree->ops->getattr(f.tree, old.st.st_ino, NULL, &a), 0);
	/* The listing before and the lookup hold it. */
	f.tree->ops->forget(f.tree, old.st.st_ino, 2);
	assert_int_equal(f.tree->ops->getattr(f.tree, old.st.st_ino, NULL, &a), -ESTALE);
	assert_int_equal(fixture_stats(&f).versions, 1);
	tree_fixture_settle(&f);
	assert_string_equal(f.told, "1/a ");
	tree_fixture_end(&f);
}

static void test_an_unchanged_file_keeps_its_inode(void **state UNUSED)
{
	static const char *const names[] = { "a", "b", "c" };
	struct fs_tree_attr before[3], a;

	start();
	fixture_ls(&f, "");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ask(names[i], &before[i]), 0);
	for (unsigned round = 0; round < 3; round++) {
		fixture_now_ns += TTL;
		fixture_ls(&f, "");
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(ask(names[i], &a), 0);
			assert_int_equal(a.st.st_ino, before[i].st.st_ino);
		}
	}
	tree_fixture_settle(&f);
	assert_string_equal(f.told, "");
	tree_fixture_end(&f);
}

static void test_what_has_gone_is_told_to_the_kernel(void **state UNUSED)
{
	struct fs_tree_attr a;

	start();
	fixture_ls(&f, "");
	fake_source_remove(f.source, "a");
	fake_source_put(f.source, "n", 1, "");
	fixture_now_ns += TTL;
	assert_string_equal(fixture_ls(&f, ""), "b/ c/ n ");
	assert_int_equal(ask("a", &a), -ENOENT);
	tree_fixture_settle(&f);
	assert_string_equal(f.told, "1/a ");
	tree_fixture_end(&f);
}

static void test_types_change(void **state UNUSED)
{
	struct fs_tree_attr a;

	start();
	fixture_ls(&f, "");
	/* A file becomes a directory, and the other way round. */
	fake_source_remove(f.source, "a");
	fake_source_put(f.source, "a/in", 1, "");
	fake_source_remove(f.source, "b/x");
	fake_source_remove(f.source, "b/y");
	fake_source_put(f.source, "b", 7, "");
	fixture_now_ns += TTL;
	assert_string_equal(fixture_ls(&f, ""), "a/ b c/ ");
	assert_int_equal(ask("b", &a), 0);
	assert_int_equal(a.st.st_size, 7);
	assert_string_equal(fixture_ls(&f, "a"), "in ");
	/* By name as well. */
	fake_source_remove(f.source, "b");
	fake_source_put(f.source, "b/x", 1, "");
	fake_source_remove(f.source, "a/in");
	fake_source_put(f.source, "a", 9, "");
	fixture_now_ns += TTL;
	assert_int_equal(ask("b", &a), 0);
	assert_true(S_ISDIR(a.st.st_mode));
	assert_int_equal(ask("a", &a), 0);
	assert_int_equal(a.st.st_size, 9);
	tree_fixture_end(&f);
}

static void test_cookies_survive_a_new_listing(void **state UNUSED)
{
	struct collect c = { 0 };
	struct fixture_wait w;

	tree_fixture_init(&f);
	for (char k[] = "a"; k[0] <= 'f'; k[0]++)
		fake_source_put(f.source, k, 1, "");
	tree_fixture_start(&f);
	f.tree->ops->opendir(f.tree, 1);
	assert_string_equal(fixture_ls(&f, ""), "a b c d e f ");
	fake_source_remove(f.source, "b");
	fake_source_put(f.source, "B", 1, "");
	fixture_now_ns += TTL;
	assert_string_equal(fixture_ls(&f, ""), "a c d e f B ");
	/* Somebody who had come to "c" goes on with "d". */
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 5, false, &w.w, collect, &c), 0);
	assert_string_equal(c.names, "d e f B ");
	f.tree->ops->releasedir(f.tree, 1);
	tree_fixture_end(&f);
}

static void test_a_directory_that_proves_empty(void **state UNUSED)
{
	struct fs_tree_attr a;

	start();
	fixture_ls(&f, "");
	fake_source_remove(f.source, "b/x");
	fake_source_remove(f.source, "b/y");
	assert_string_equal(fixture_ls(&f, "b"), "");
	/* Its parent's listing still has it, but that is no proof any more. */
	assert_int_equal(ask("b", &a), -ENOENT);
	assert_string_equal(fixture_ls(&f, ""), "a c/ ");
	tree_fixture_end(&f);
}

static void test_a_marker_makes_an_empty_directory(void **state UNUSED)
{
	struct fs_tree_attr a;

	start();
	fake_source_put(f.source, "m/", 0, "");
	assert_string_equal(fixture_ls(&f, ""), "a b/ c/ m/ ");
	assert_string_equal(fixture_ls(&f, "m"), "");
	assert_int_equal(ask("m", &a), 0);
	assert_int_equal(a.st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(fixture_stats(&f).hidden[FS_HIDDEN_MARKER], 0);
	tree_fixture_end(&f);
}

/* ---- sizes that the listing does not say ---- */

static void test_unknown_sizes_are_asked_for(void **state UNUSED)
{
	struct fs_tree_attr a, again;
	char names[100];

	add_small_tree();
	f.source->sizes_unknown = true;
	tree_fixture_start(&f);
	assert_int_equal(fixture_readdir(&f, 1, true, names, sizeof names), 0);
	assert_int_equal(f.source->asked[VMOFS_QUERY_HEAD], 0);
	/* Only the directories were given with attributes. */
	assert_int_equal(fixture_stats(&f).held, 3);
	assert_int_equal(ask("a", &a), 0);
	assert_int_equal(a.st.st_size, 1);
	assert_int_equal(ask("a", &a), 0);
	assert_int_equal(f.source->asked[VMOFS_QUERY_HEAD], 1);
	/* The same after the next listing: the same inode, one HEAD more. */
	fixture_now_ns += TTL;
	fixture_ls(&f, "");
	assert_int_equal(ask("a", &again), 0);
	assert_int_equal(again.st.st_ino, a.st.st_ino);
	assert_int_equal(f.source->asked[VMOFS_QUERY_HEAD], 2);
	/* Another version. */
	fake_source_put(f.source, "a", 77, "new");
	fixture_now_ns += TTL;
	fixture_ls(&f, "");
	assert_int_equal(ask("a", &again), 0);
	assert_int_not_equal(again.st.st_ino, a.st.st_ino);
	assert_int_equal(again.st.st_size, 77);
	/* Gone between listing and HEAD. */
	fixture_now_ns += TTL;
	fixture_ls(&f, "b");
	fake_source_remove(f.source, "b/y");
	assert_int_equal(ask("b/y", &a), -ENOENT);
	tree_fixture_end(&f);
}

static void test_heads_go_ahead(void **state UNUSED)
{
	struct fixture_wait w;
	struct fs_tree_attr a;

	tree_fixture_init(&f);
	for (char k[] = "a"; k[0] <= 'z'; k[0]++)
		fake_source_put(f.source, k, 1, "");
	f.source->sizes_unknown = true;
	tree_fixture_start(&f);
	fixture_ls(&f, "");
	assert_int_equal(ask("a", &a), 0);
	assert_int_equal(f.source->asked[VMOFS_QUERY_HEAD], 1);
	f.source->hold = true;
	fixture_wait_init(&w);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "b", &w.w, &a), -EINPROGRESS);
	assert_int_equal(fake_source_n_held(f.source), 9);
	tree_fixture_end(&f);
}

/* ---- symbolic links and modes ---- */

static void test_metadata_of_objects(void **state UNUSED)
{
	struct fs_tree_attr a;
	struct fake_key *k;
	char target[100];

	add_small_tree();
	k = fake_source_put(f.source, "link", 5, "");
	k->has = VMOFS_HAS_MODE | VMOFS_HAS_TARGET;
	k->mode = S_IFLNK | 0777;
	k->target = "to/it";
	k = fake_source_put(f.source, "run", 5, "");
	k->has = VMOFS_HAS_MODE;
	k->mode = S_IFREG | 0751;
	fake_source_put(f.source, "r.rclonelink", 5, "");
	f.p.object_metadata = true;
	tree_fixture_start(&f);
	assert_string_equal(fixture_ls(&f, ""), "a b/ c/ link r run ");
	assert_int_equal(ask("link", &a), 0);
	assert_int_equal(a.st.st_mode, S_IFLNK | 0777);
	assert_int_equal(a.st.st_size, 5);
	assert_int_equal(f.tree->ops->readlink(f.tree, a.st.st_ino, NULL, target, 100), 5);
	assert_memory_equal(target, "to/it", 5);
	assert_int_equal(ask("run", &a), 0);
	assert_int_equal(a.st.st_mode, S_IFREG | 0751);
	assert_int_equal(f.tree->ops->readlink(f.tree, a.st.st_ino, NULL, target, 100), -EINVAL);
	assert_int_equal(ask("r", &a), 0);
	assert_true(S_ISLNK(a.st.st_mode));
	assert_int_equal(ask("r.rclonelink", &a), -ENOENT);
	tree_fixture_end(&f);
}

/* ---- memory ---- */

static void test_forget_and_eviction(void **state UNUSED)
{
	char name[64];
	struct fs_tree_stats st;
	struct fs_tree_attr a;

	tree_fixture_init(&f);
	f.p.soft_limit = 20000;
	for (unsigned i = 0; i < 100; i++)
		for (unsigned j = 0; j < 100; j++) {
			snprintf(name, sizeof name, "d%02u/f%02u", i, j);
			fake_source_append(f.source, name, 1);
		}
	tree_fixture_start(&f);
	assert_int_equal(fixture_walk(&f, 1, false), 10000);
	st = fixture_stats(&f);
	assert_true(st.free_bytes < 20000 + 2 * 100 * 200);
	assert_true(st.evicted > 9000);
	/* What the kernel holds stays. */
	assert_int_equal(fixture_walk(&f, 1, true), 10000);
	st = fixture_stats(&f);
	assert_int_equal(st.held, 10101);
	assert_int_equal(st.nodes, 10101);
	for (unsigned i = 0; i < 100; i++)
		for (unsigned j = 0; j < 100; j++) {
			snprintf(name, sizeof name, "d%02u/f%02u", i, j);
			f.source->fail = -EIO;
			assert_int_equal(ask(name, &a), 0);
			f.source->fail = 0;
			f.tree->ops->forget(f.tree, a.st.st_ino, 2);
		}
	st = fixture_stats(&f);
	assert_int_equal(st.held, 101);
	assert_true(st.free_bytes <= 20000);
	assert_true(st.nodes < 1000);
	assert_int_equal(fixture_walk(&f, 1, true), 10000);
	tree_fixture_end(&f);
}

static void test_a_million_entries_are_small(void **state UNUSED)
{
	char name[64];
	struct fs_tree_stats st;
	enum { DIRS = 1000, FILES = 1000 };

	tree_fixture_init(&f);
	for (unsigned i = 0; i < DIRS; i++)
		for (unsigned j = 0; j < FILES; j++) {
			snprintf(name, sizeof name, "dir-%04u/file-%06u", i, j);
			fake_source_append(f.source, name, 123456);
		}
	tree_fixture_start(&f);
	assert_int_equal(fixture_walk(&f, 1, true), DIRS * FILES);
	st = fixture_stats(&f);
	assert_int_equal(st.held, 1 + DIRS + DIRS * FILES);
	assert_true(st.bytes / (DIRS * FILES) <= 130);
	print_message("%llu bytes an entry, %u pages\n",
		      (unsigned long long)(st.bytes / (DIRS * FILES)), f.source->pages);
	assert_true(f.source->pages <= DIRS * FILES / 1000 + 200);
	tree_fixture_end(&f);
}

/* ---- the end ---- */

static void test_stop_ends_those_who_wait(void **state UNUSED)
{
	struct fixture_wait w[2];
	struct collect c = { 0 };
	struct fs_tree_attr a;

	start();
	f.source->hold = true;
	fixture_wait_init(&w[0]);
	fixture_wait_init(&w[1]);
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "a", &w[0].w, &a), -EINPROGRESS);
	assert_int_equal(f.tree->ops->readdir(f.tree, 1, 0, false, &w[1].w, collect, &c),
			 -EINPROGRESS);
	f.tree->ops->stop(f.tree);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(w[i].n_done, 1);
		assert_int_equal(w[i].status, -ESHUTDOWN);
	}
	assert_int_equal(f.tree->ops->lookup(f.tree, 1, "b", &w[0].w, &a), -ESHUTDOWN);
	tree_fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listing),
		cmocka_unit_test(test_attributes_come_from_the_listing),
		cmocka_unit_test(test_entries_are_streamed_while_the_listing_goes_on),
		cmocka_unit_test(test_a_failed_listing_is_an_error_and_not_the_end),
		cmocka_unit_test(test_one_listing_for_all_readers),
		cmocka_unit_test(test_a_name_is_one_request),
		cmocka_unit_test(test_names_far_apart_in_time_do_not_list),
		cmocka_unit_test(test_one_query_for_all_who_ask_for_a_name),
		cmocka_unit_test(test_names_that_cannot_be),
		cmocka_unit_test(test_errors_are_told_and_not_remembered),
		cmocka_unit_test(test_ttl),
		cmocka_unit_test(test_ttl_zero_makes_progress),
		cmocka_unit_test(test_immutable_is_asked_once),
		cmocka_unit_test(test_negative_ttl),
		cmocka_unit_test(test_a_changed_file_is_another_inode),
		cmocka_unit_test(test_an_unchanged_file_keeps_its_inode),
		cmocka_unit_test(test_what_has_gone_is_told_to_the_kernel),
		cmocka_unit_test(test_types_change),
		cmocka_unit_test(test_cookies_survive_a_new_listing),
		cmocka_unit_test(test_a_directory_that_proves_empty),
		cmocka_unit_test(test_a_marker_makes_an_empty_directory),
		cmocka_unit_test(test_unknown_sizes_are_asked_for),
		cmocka_unit_test(test_heads_go_ahead),
		cmocka_unit_test(test_metadata_of_objects),
		cmocka_unit_test(test_forget_and_eviction),
		cmocka_unit_test(test_a_million_entries_are_small),
		cmocka_unit_test(test_stop_ends_those_who_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
