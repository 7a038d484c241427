/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories with something in them that get another name: what the origin is asked, what becomes of files that are open, and of
 * all when something fails.
 */
#include "local_scene.h"

static void assert_was_told(const char *text, bool expect)
{
	if (!strstr(told, text) == expect)
		fail_msg("'%s' was%s told: %s", text, expect ? " not" : "", told);
}

static void renamed_directory_with_files(void **state UNUSED)
{
	struct local_handle *r = open_read("a/f"), *n = create("a", "n", true, 0);
	uint64_t f_ino = ino_of("a/f"), g_ino = ino_of("a/g"), n_ino = ino_of("a/n");

	fake_source_put(f.source, "a//hidden", 1, "\"h\"");
	fake_source_put(f.source, "a/d/", 0, "\"d\"");
	assert_int_equal(rename_to("", "a", "", "b"), 0);
	assert_was_told("copy a/g \"2\" to b/g none; ", true);
	assert_was_told("copy a/f \"1\" to b/f none; renamed a/f to b/f \"c\"; ", true);
	assert_was_told("renamed a/n to b/n none; ", true);
	assert_was_told("copy a//hidden \"h\" to b//hidden none; ", true);
	assert_was_told("remove a/f \"1\"; ", true);
	assert_was_told("remove a/g \"2\"; ", true);
	assert_was_told("remove a/n", false);
	assert_none("a");
	assert_int_equal(ino_of("b/f"), f_ino);
	assert_int_equal(ino_of("b/g"), g_ino);
	assert_int_equal(stat_of("b/g").st_size, 6);
	ttl_passes();
	assert_none("a");
	assert_string_equal(fixture_ls(&f, "b"), "f n g d/ ");
	assert_int_equal(ino_of("b/f"), f_ino);
	assert_int_equal(ino_of("b/n"), n_ino);
	close_handle(r);
	store(local_wfile(n));
	close_handle(n);
	assert_string_equal(fixture_ls(&f, "b"), "f n g d/ ");
}

/* What is at the old place goes at the last close, and does not come to the new one. */
static void renamed_directory_with_removed_files(void **state UNUSED)
{
	struct local_handle *r = open_read("a/f");

	assert_int_equal(local_unlink(l, ino_of("a"), "f"), 0);
	assert_int_equal(rename_to("", "a", "", "b"), 0);
	assert_was_told("a/f", false);
	ttl_passes();
	assert_none("a");
	assert_string_equal(fixture_ls(&f, "b"), "g ");
	close_handle(r);
	assert_was_told("remove a/f \"1\"; ", true);
}

/* What was removed at the new place goes there before, and who has it open reads on. */
static void renamed_directory_to_where_files_were_removed(void **state UNUSED)
{
	struct local_handle *r;

	fake_source_put(f.source, "b/f", 7, "\"7\"");
	r = open_read("b/f");
	assert_int_equal(local_unlink(l, ino_of("b"), "f"), 0);
	told[0] = '\0';
	assert_int_equal(rename_to("", "a", "", "b"), 0);
	assert_was_told("fetch b/f; remove b/f \"7\"; ", true);
	assert_was_told("copy a/f \"1\" to b/f none; ", true);
	told[0] = '\0';
	close_handle(r);
	assert_was_told("b/f", false);
	ttl_passes();
	assert_string_equal(fixture_ls(&f, "b"), "f g ");
	(void)ino_of("b/f");
}

static void renamed_directory_that_fails(void **state UNUSED)
{
	struct local_handle *w = open_write("a/f");
	uint64_t g_ino = ino_of("a/g");

	/* Everything that was copied goes again. */
	fake_source_put(f.source, "a/h", 1, "\"h\"");
	fail_with = -EACCES;
	fail_key = "a/f";
	assert_int_equal(rename_to("", "a", "", "b"), -EACCES);
	assert_was_told("remove b/g \"c\"; ", true);
	assert_was_told("remove b/h \"c\"; ", true);
	assert_was_told("remove a/", false);
	fail_with = 0;
	ttl_passes();
	assert_none("b");
	assert_string_equal(fixture_ls(&f, "a"), "f g h ");
	assert_int_equal(ino_of("a/g"), g_ino);
	close_handle(w);
	assert_int_equal(rename_to("", "a", "", "b"), 0);
	assert_string_equal(fixture_ls(&f, "b"), "f g h ");
}

static void renamed_directory_over_another(void **state UNUSED)
{
	const struct local_create c = { .parent = FS_TREE_ROOT, .name = "d", .mode = 0755 };
	struct fs_tree_attr a;

	fake_source_put(f.source, "full/x", 1, "\"x\"");
	ttl_passes();
	assert_int_equal(local_mkdir(l, &c, &a), 0);
	told[0] = '\0';
	(void)ino_of("full");
	assert_int_equal(rename_to("", "a", "", "full"), -ENOTEMPTY);
	assert_told("");
	fake_source_put(f.source, "a/", 0, "\"m\"");
	assert_int_equal(rename_to("", "a", "", "d"), 0);
	assert_was_told("copy a/ \"m\" to d/ any; ", true);
	assert_string_equal(fixture_ls(&f, "d"), "f g ");
	assert_none("a");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(renamed_directory_with_files),
		T(renamed_directory_with_removed_files),
		T(renamed_directory_to_where_files_were_removed),
		T(renamed_directory_that_fails),
		T(renamed_directory_over_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
