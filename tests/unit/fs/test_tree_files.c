/* SPDX-License-Identifier: Apache-2.0 */
/* All files below a directory: in which order, what is passed over, how it is ended. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/tree_fixture.h"

struct seen {
	struct tree_fixture f;
	atomic_bool cancelled;
	char files[65536];
	char failed[256];
	unsigned n;
	unsigned n_until; /* then it is cancelled; 0: never */
	int code;         /* of file() */
};

static int file(void *arg, const char *path, uint64_t ino)
{
	struct seen *s = arg;
	struct fs_tree_attr a;

	assert_int_equal(s->f.tree->ops->getattr(s->f.tree, ino, NULL, &a), 0);
	assert_true(S_ISREG(a.st.st_mode));
	strcat(strcat(s->files, path), " ");
	if (++s->n == s->n_until)
		s->cancelled = true;
	return s->code;
}

static int failed(void *arg, const char *path, int code)
{
	struct seen *s = arg;

	snprintf(s->failed + strlen(s->failed), 100, "%s:%d ", path, code);
	s->f.source->fail = 0;
	return 0;
}

static int walk(struct seen *s, const char *path)
{
	const struct fs_tree_files files = {
		.cancelled = &s->cancelled, .file = file, .failed = failed, .arg = s
	};

	s->files[0] = '\0';
	s->failed[0] = '\0';
	s->n = 0;
	return fs_tree_files_wait(s->f.tree, path, &files);
}

static int setup(void **state)
{
	static struct seen s;

	s = (struct seen){ 0 };
	*state = &s;
	tree_fixture_init(&s.f);
	fake_source_put(s.f.source, "a", 1, "");
	fake_source_put(s.f.source, "b/x", 1, "");
	fake_source_put(s.f.source, "b/deep/er/y", 1, "");
	fake_source_put(s.f.source, "c", 1, "");
	fake_source_put(s.f.source, "d/", 0, "");
	fake_source_put(s.f.source, "e/z", 1, "");
	tree_fixture_start(&s.f);
	return 0;
}

static int teardown(void **state)
{
	struct seen *s = *state;
	struct fs_tree_stats st = fixture_stats(&s->f);

	/* The root is. */
	assert_int_equal(st.held, 1);
	tree_fixture_end(&s->f);
	return 0;
}

static void test_order(void **state)
{
	struct seen *s = *state;

	assert_int_equal(walk(s, ""), 0);
	assert_string_equal(s->files, "a c b/x b/deep/er/y e/z ");
	assert_int_equal(walk(s, "/b/"), 0);
	assert_string_equal(s->files, "b/x b/deep/er/y ");
	assert_int_equal(walk(s, "b/deep"), 0);
	assert_string_equal(s->files, "b/deep/er/y ");
	assert_int_equal(walk(s, "d"), 0);
	assert_string_equal(s->files, "");
	assert_int_equal(walk(s, "a"), -ENOTDIR);
	assert_int_equal(walk(s, "none"), -ENOENT);
}

static void test_many_entries(void **state)
{
	struct seen *s = *state;

	for (unsigned i = 0; i < 1000; i++) {
		char key[32];

		snprintf(key, sizeof key, "many/%04u", i);
		fake_source_put(s->f.source, key, 1, "");
	}
	assert_int_equal(walk(s, "many"), 0);
	assert_int_equal(s->n, 1000);
	assert_int_equal(strncmp(s->files, "many/0000 many/0001 ", 20), 0);
	assert_int_equal(strcmp(s->files + 10 * 999, "many/0999 "), 0);
}

static void test_how_it_ends(void **state)
{
	struct seen *s = *state;

	s->n_until = 2;
	assert_int_equal(walk(s, ""), -EINTR);
	assert_string_equal(s->files, "a c ");
	s->cancelled = false;
	s->code = -ENOSPC;
	assert_int_equal(walk(s, ""), -ENOSPC);
	assert_string_equal(s->files, "a ");
}

static void test_what_cannot_be_listed_is_passed_over(void **state)
{
	struct seen *s = *state;

	assert_int_equal(walk(s, "e"), 0);
	s->f.source->fail = -EACCES;
	assert_int_equal(walk(s, "b"), -EACCES);
	s->f.source->fail = 0;
	fixture_ls(&s->f, "");
	s->f.tree->ops->forget(s->f.tree, 2, 100);
	for (uint64_t ino = 2; ino < 30; ino++)
		s->f.tree->ops->forget(s->f.tree, ino, 100);
	s->f.source->fail = -EACCES;
	assert_int_equal(walk(s, ""), 0);
	assert_string_equal(s->failed, "b:-13 ");
	assert_string_equal(s->files, "a c e/z ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_how_it_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_entries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_listed_is_passed_over, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
