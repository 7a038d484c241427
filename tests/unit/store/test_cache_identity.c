/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of the disk cache that an identity is the name of: which objects share one, and which never do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/cache_dir.h"
#include "store/cache_private.h"

static struct cache_entry *entry_of(struct cache_dir *d, const char *url, const char *identity)
{
	struct cache_key key = {
		.url = url,
		.validator = "\"v1\"",
		.size = MIB(1),
		.identity = (const uint8_t *)identity,
	};
	struct cache_entry *e;

	assert_int_equal(cache_entry_open(d->cache[0], &key, &e), 0);
	return e;
}

#define ID_1 "11111111111111111111111111111111"
#define ID_2 "22222222222222222222222222222222"

/* One URL, validator and size, and not one object. */
static void test_identity_tells_entries_apart(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *plain = entry_of(d, "http://h/f?key=***", NULL);
	struct cache_entry *one = entry_of(d, "http://h/f?key=***", ID_1);
	struct cache_entry *two = entry_of(d, "http://h/f?key=***", ID_2);
	struct cache_work work = { 0 };

	assert_true(plain != one && one != two && plain != two);
	assert_int_equal(cache_dir_write(plain, 0, 3), 0);
	assert_true(cache_entry_is_empty(one));
	assert_int_equal(cache_dir_read(one, 0, 3), 0);
	assert_int_equal(cache_dir_write(one, 4, 3), 0);
	assert_int_equal(cache_dir_read(two, 0, 9), 0);
	assert_int_equal(cache_dir_read(two, 4, 3), 0);
	cache_entry_close(plain);
	cache_entry_close(one);
	cache_entry_close(two);

	cache_dir_reopen(d, 0);
	assert_int_equal(cache_verify(d->cache[0], &work), 0);
	assert_int_equal(work.entries, 2);
	assert_int_equal(work.bad, 0);
	two = entry_of(d, "http://h/f?key=***", ID_2);
	assert_true(cache_entry_is_empty(two));
	cache_entry_close(two);
	one = entry_of(d, "http://h/f?key=***", ID_1);
	assert_int_equal(cache_dir_read(one, 0, 1), 0);
	assert_int_equal(cache_dir_read(one, 4, 3), 3);
	cache_entry_close(one);
}

/* As when a signature is renewed: what is shown changes, what is there does not. */
static void test_identity_outlives_its_url(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e = entry_of(d, "http://h/f?date=1", ID_1);
	struct cache_work work = { 0 };

	assert_int_equal(cache_dir_write(e, 0, 3), 0);
	cache_entry_close(e);
	cache_dir_reopen(d, 0);
	e = entry_of(d, "http://h/f?date=2", ID_1);
	assert_false(cache_entry_is_empty(e));
	assert_int_equal(cache_entry_verify(e, 100), 3);
	cache_entry_close(e);
	/* People find it by what it was made as. */
	assert_int_equal(cache_clear(d->cache[0], "http://h/f?date=2", &work), 0);
	assert_int_equal(work.bytes, 0);
	assert_int_equal(cache_clear(d->cache[0], "http://h/f?date=1", &work), 0);
	assert_true(work.bytes > 0);
}

/* Files under the right name whose header is of somebody else. */
static void test_header_of_another_identity_is_not_believed(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e = entry_of(d, "http://h/f", ID_1);
	char one[512], two[512];
	char name[CACHE_NAME_LEN + 1];

	assert_int_equal(cache_dir_write(e, 0, 3), 0);
	strcpy(name, e->name);
	cache_entry_close(e);
	cache_dir_close(d, 0);
	for (int i = 0; i < 2; i++) {
		const char *ending = i ? ".index" : ".data";
		struct cache_key key = { "http://h/f", "\"v1\"", MIB(1), (const uint8_t *)ID_2 };
		char other[CACHE_NAME_LEN + 1];

		assert_int_equal(cache_name_of(&key, other), 0);
		snprintf(two, sizeof two, "%s/%.2s", d->path, other);
		(void)mkdir(two, 0700);
		snprintf(one, sizeof one, "%s/%s%s", d->path, name, ending);
		snprintf(two, sizeof two, "%s/%s%s", d->path, other, ending);
		assert_int_equal(rename(one, two), 0);
	}
	cache_dir_reopen(d, 0);
	e = entry_of(d, "http://h/f", ID_2);
	assert_int_equal(cache_dir_read(e, 0, 3), 0);
	cache_entry_close(e);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cache_dir_setup, cache_dir_teardown)
	const struct CMUnitTest tests[] = {
		T(test_identity_tells_entries_apart),
		T(test_identity_outlives_its_url),
		T(test_header_of_another_identity_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
