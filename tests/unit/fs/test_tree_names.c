/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which keys are shown. Random sets of awkward keys: the tree has exactly what the rules say, whether
 * it is listed directory by directory, walked flat, loaded at once or asked name by name.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/names.h"
#include "fs/tree_private.h"
#include "lib/prng.h"
#include "lib/tree_fixture.h"

static struct tree_fixture f;

static void test_components(void **state UNUSED)
{
	char name[300];

	assert_int_equal(name_check("a", 1), NAME_OK);
	assert_int_equal(name_check("...", 3), NAME_OK);
	assert_int_equal(name_check(" \n\\%41\xff", 7), NAME_OK);
	assert_int_equal(name_check("", 0), FS_HIDDEN_EMPTY);
	assert_int_equal(name_check(".", 1), FS_HIDDEN_DOT);
	assert_int_equal(name_check("..", 2), FS_HIDDEN_DOT);
	assert_int_equal(name_check("a\0b", 3), FS_HIDDEN_NUL);
	memset(name, 'x', sizeof name);
	assert_int_equal(name_check(name, 255), NAME_OK);
	assert_int_equal(name_check(name, 256), FS_HIDDEN_LONG);
	assert_true(name_is_rclone_link("a.rclonelink", 12));
	assert_false(name_is_rclone_link(".rclonelink", 11));
	assert_false(name_is_rclone_link("..rclonelink", 12));
}

/* ---- the rules once more, over the whole set ---- */

enum { KEYS_MAX = 40, PATHS_MAX = 400 };

struct expected {
	char *paths[PATHS_MAX]; /* "a/b/" for directories */
	size_t n;
};

static bool has_path(const struct expected *x, const char *path)
{
	for (size_t i = 0; i < x->n; i++)
		if (!strcmp(x->paths[i], path))
			return true;
	return false;
}

static void expect(struct expected *x, const char *path, size_t len)
{
	char *copy = strndup(path, len);

	assert_non_null(copy);
	if (has_path(x, copy)) {
		free(copy);
		return;
	}
	assert_true(x->n < PATHS_MAX);
	x->paths[x->n++] = copy;
}

/* The directories of a key, as far as they can be; true: and its last part can be, too. */
static bool expect_dirs(struct expected *x, const char *key, size_t len)
{
	size_t at = 0;
	const char *slash;

	while ((slash = memchr(key + at, '/', len - at))) {
		size_t part = (size_t)(slash - key) - at;

		if (name_check(key + at, part) != NAME_OK)
			return false;
		at += part + 1;
		expect(x, key, at);
	}
	return at < len && name_check(key + at, len - at) == NAME_OK;
}

static void expect_all(struct expected *x, const struct fake_source *s)
{
	bool shown[KEYS_MAX];
	char dir[VMOFS_KEY_MAX];

	for (size_t i = 0; i < s->n_keys; i++)
		shown[i] = expect_dirs(x, s->keys[i].key, s->keys[i].len);
	for (size_t i = 0; i < s->n_keys; i++) {
		snprintf(dir, sizeof dir, "%s/", s->keys[i].key);
		if (shown[i] && !has_path(x, dir))
			expect(x, s->keys[i].key, s->keys[i].len);
	}
}

static void release(struct expected *x)
{
	for (size_t i = 0; i < x->n; i++)
		free(x->paths[i]);
	x->n = 0;
}

/* ---- what the tree shows ---- */

/*
 * Read twice: what is streamed while a listing goes on may be a file whose directory is only told
 * later. The second time is answered from memory.
 */
static void show(struct expected *x, const char *path)
{
	char *names = strdup((fixture_ls(&f, path), fixture_ls(&f, path)));
	char *save = NULL;

	assert_non_null(names);
	for (char *n = strtok_r(names, " ", &save); n; n = strtok_r(NULL, " ", &save)) {
		char full[VMOFS_KEY_MAX];
		size_t len =
			(size_t)snprintf(full, sizeof full, "%s%s%s", path, *path ? "/" : "", n);

		assert_false(has_path(x, full)); /* nothing is there twice */
		expect(x, full, len);
		if (full[len - 1] == '/') {
			full[len - 1] = '\0';
			show(x, full);
		}
	}
	free(names);
}

static uint64_t seed_now; /* for who has to look for the cause */

static void compare(const struct expected *want, const struct expected *have)
{
	for (size_t i = 0; i < want->n; i++)
		if (!has_path(have, want->paths[i]))
			fail_msg("'%s' is not shown (seed %llu)", want->paths[i],
				 (unsigned long long)seed_now);
	for (size_t i = 0; i < have->n; i++)
		if (!has_path(want, have->paths[i]))
			fail_msg("'%s' is shown (seed %llu)", have->paths[i],
				 (unsigned long long)seed_now);
}

static const char *const parts[] = { "a", "b", "a-", "a.b", ".",        "..",
				     "",  "B", "a",  "b",   "\xc3\xa4", "%2F" };

static void random_key(struct prng *r, char *key, size_t *len)
{
	unsigned n = 1 + (unsigned)(prng_next(r) % 4);

	*len = 0;
	for (unsigned i = 0; i < n; i++) {
		const char *p = parts[prng_next(r) % ARRAY_LEN(parts)];

		*len += (size_t)sprintf(key + *len, "%s%s", i ? "/" : "", p);
	}
	if (prng_next(r) % 5 == 0)
		*len += (size_t)sprintf(key + *len, "/");
	if (prng_next(r) % 40 == 0) {
		memset(key + *len, 'l', 256);
		*len += 256;
	}
	if (prng_next(r) % 40 == 0 && *len)
		key[prng_next(r) % *len] = '\0';
	key[*len] = '\0';
}

static void fill_source(struct prng *r)
{
	unsigned n = (unsigned)(prng_next(r) % KEYS_MAX);
	char key[VMOFS_KEY_MAX];
	size_t len;

	for (unsigned i = 0; i < n; i++) {
		random_key(r, key, &len);
		if (len)
			fake_source_put_bytes(f.source, key, len, prng_next(r) % 3, "");
	}
}

static void check_names(const struct expected *want)
{
	for (size_t i = 0; i < want->n; i++) {
		char path[VMOFS_KEY_MAX];
		size_t len = strlen(want->paths[i]);
		bool dir = want->paths[i][len - 1] == '/';
		struct fs_tree_attr a;
		int64_t ino;

		memcpy(path, want->paths[i], len + 1);
		if (dir)
			path[len - 1] = '\0';
		ino = fixture_ino(&f, path);
		assert_true(ino > 0);
		assert_int_equal(f.tree->ops->getattr(f.tree, (uint64_t)ino, NULL, &a), 0);
		assert_int_equal(!!S_ISDIR(a.st.st_mode), dir);
		if (prng_next(&(struct prng){ i }) % 2)
			fixture_now_ns += 3 * NSEC_PER_SEC;
	}
}

enum { BY_LISTING, BY_NAME, AT_ONCE, WITHOUT_FLAT, NWAYS };

static void one_round(uint64_t seed, unsigned way)
{
	struct prng r = { seed };
	struct expected want = { 0 }, have = { 0 };

	seed_now = seed;
	tree_fixture_init(&f);
	fill_source(&r);
	f.source->batch = 1 + (unsigned)(prng_next(&r) % 5);
	f.source->info.page = 2;
	f.source->info.complete = way == AT_ONCE;
	if (way == WITHOUT_FLAT)
		f.source->info.can &= ~BIT(VMOFS_QUERY_FLAT);
	tree_fixture_start(&f);
	expect_all(&want, f.source);
	if (way == BY_NAME)
		check_names(&want);
	for (unsigned i = 0; i < 2; i++) {
		show(&have, "");
		compare(&want, &have);
		release(&have);
		fixture_now_ns += 60 * NSEC_PER_SEC;
	}
	/* Another set in the same tree. */
	while (f.source->n_keys && prng_next(&r) % 8) {
		size_t i = prng_next(&r) % f.source->n_keys;

		if (strlen(f.source->keys[i].key) == f.source->keys[i].len)
			fake_source_remove(f.source, f.source->keys[i].key);
	}
	fill_source(&r);
	release(&want);
	if (f.source->n_keys <= KEYS_MAX) {
		expect_all(&want, f.source);
		f.source->has_changed = true;
		tree_poll(f.tree);
		show(&have, "");
		compare(&want, &have);
	}
	release(&want);
	release(&have);
	tree_fixture_end(&f);
}

static void test_random_sets_of_keys(void **state UNUSED)
{
	for (uint64_t seed = 1; seed <= 500; seed++)
		for (unsigned way = 0; way < NWAYS; way++)
			one_round(seed * NWAYS + way, way);
}

/* ---- what is counted ---- */

static void count_example(void *arg, enum fs_hidden why, const char *key)
{
	char *all = arg;

	sprintf(all + strlen(all), "%d:%s ", why, key);
}

static void test_hidden_keys_are_counted_and_told(void **state UNUSED)
{
	char examples[4096] = "";
	struct fs_tree_stats st;

	tree_fixture_init(&f);
	fake_source_put(f.source, "a//b", 1, "");
	fake_source_put(f.source, "a/b", 1, "");
	fake_source_put(f.source, "c", 1, "");
	fake_source_put(f.source, "c/x", 1, "");
	fake_source_put(f.source, "d/../e", 1, "");
	fake_source_put(f.source, "m/", 5, "");
	tree_fixture_start(&f);
	for (unsigned i = 0; i < 3; i++) {
		assert_string_equal(fixture_ls(&f, ""), "a/ c/ d/ m/ ");
		assert_string_equal(fixture_ls(&f, "a"), "b ");
		assert_string_equal(fixture_ls(&f, "d"), "");
		assert_string_equal(fixture_ls(&f, "m"), "");
		st = fixture_stats(&f);
		assert_int_equal(st.hidden[FS_HIDDEN_EMPTY], 1);
		assert_int_equal(st.hidden[FS_HIDDEN_SHADOWED], 1);
		assert_int_equal(st.hidden[FS_HIDDEN_DOT], 1);
		assert_int_equal(st.hidden[FS_HIDDEN_MARKER], 1);
		fixture_now_ns += 60 * NSEC_PER_SEC;
	}
	f.tree->ops->each_hidden(f.tree, count_example, examples);
	assert_non_null(strstr(examples, "0:a//"));
	assert_non_null(strstr(examples, "4:c "));
	assert_non_null(strstr(examples, "1:d/../"));
	assert_non_null(strstr(examples, "5:m/ "));
	tree_fixture_end(&f);
}

static void test_long_keys(void **state UNUSED)
{
	char key[VMOFS_KEY_MAX];

	tree_fixture_init(&f);
	memset(key, 'k', sizeof key);
	for (unsigned i = 200; i < sizeof key; i += 200)
		key[i] = '/';
	key[sizeof key - 1] = '\0';
	fake_source_put(f.source, key, 1, "");
	key[1024] = '\0';
	key[0] = 'K';
	fake_source_put(f.source, key, 1, "");
	tree_fixture_start(&f);
	assert_int_equal(fixture_walk(&f, 1, true), 1);
	tree_fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_components),
		cmocka_unit_test(test_hidden_keys_are_counted_and_told),
		cmocka_unit_test(test_long_keys),
		cmocka_unit_test(test_random_sets_of_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
