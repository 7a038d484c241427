/* SPDX-License-Identifier: Apache-2.0 */
/* The namespace of one object, below a directory and as the root itself. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/object.h"
#include "fs/tree.h"

static struct fs_object object;

static struct fs_tree *make(bool as_root)
{
	struct fs_tree *t;

	memset(&object, 0, sizeof object);
	object.size = 12345;
	object.mtime.tv_sec = 1000;
	assert_int_equal(fs_tree_single_new(&t, &object, "a.bin", as_root), 0);
	return t;
}

static bool fill(void *arg, const struct fs_tree_entry *e)
{
	strcat(arg, e->name);
	strcat(arg, " ");
	return strlen(arg) < 8;
}

static void test_directory(void **state UNUSED)
{
	struct fs_tree *t = make(false);
	char names[100] = "";
	struct fs_tree_attr a;

	assert_int_equal(t->ops->getattr(t, FS_TREE_ROOT, NULL, &a), 0);
	assert_true(S_ISDIR(a.st.st_mode));
	assert_null(t->ops->find(t, FS_TREE_ROOT));
	assert_int_equal(t->ops->lookup(t, FS_TREE_ROOT, "b.bin", NULL, &a), -ENOENT);
	assert_int_equal(t->ops->lookup(t, FS_TREE_ROOT, "a.bin", NULL, &a), 0);
	assert_true(S_ISREG(a.st.st_mode));
	assert_int_equal(a.st.st_size, 12345);
	assert_int_equal(a.st.st_mtim.tv_sec, 1000);
	assert_int_equal(object.ino, a.st.st_ino);
	assert_ptr_equal(t->ops->find(t, a.st.st_ino), &object);
	assert_int_equal(t->ops->lookup(t, a.st.st_ino, "x", NULL, &a), -ENOTDIR);
	assert_int_equal(t->ops->readdir(t, FS_TREE_ROOT, 0, false, NULL, fill, names), 0);
	assert_string_equal(names, ". .. a.bin ");
	names[0] = '\0';
	assert_int_equal(t->ops->readdir(t, FS_TREE_ROOT, 2, false, NULL, fill, names), 0);
	assert_string_equal(names, "a.bin ");
	assert_int_equal(t->ops->getattr(t, 99, NULL, &a), -ENOENT);
	t->ops->free(t);
}

static void test_root_is_file(void **state UNUSED)
{
	struct fs_tree *t = make(true);
	char names[100] = "";
	struct fs_tree_attr a;

	assert_int_equal(t->ops->getattr(t, FS_TREE_ROOT, NULL, &a), 0);
	assert_true(S_ISREG(a.st.st_mode));
	assert_ptr_equal(t->ops->find(t, FS_TREE_ROOT), &object);
	assert_int_equal(t->ops->readdir(t, FS_TREE_ROOT, 0, false, NULL, fill, names), -ENOTDIR);
	assert_int_equal(t->ops->lookup(t, FS_TREE_ROOT, "a.bin", NULL, &a), -ENOTDIR);
	t->ops->free(t);
}

static int open_path(struct fs_tree *t, const char *path)
{
	struct fs_object *o = NULL;
	int r = fs_tree_open_wait(t, path, 0, &o);

	if (r == 0)
		assert_ptr_equal(o, &object);
	t->ops->close(t, o);
	return r;
}

static void test_paths(void **state UNUSED)
{
	struct fs_tree *t = make(false);

	assert_int_equal(open_path(t, "/a.bin"), 0);
	assert_int_equal(open_path(t, "//a.bin/"), 0);
	assert_int_equal(open_path(t, "/"), -EISDIR);
	assert_int_equal(open_path(t, "/a.bin/x"), -ENOTDIR);
	assert_int_equal(open_path(t, "/../a.bin"), -ENOENT);
	t->ops->free(t);
	t = make(true);
	assert_int_equal(open_path(t, ""), 0);
	t->ops->free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_root_is_file),
		cmocka_unit_test(test_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
