/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of the disk cache: what is written is read, also by the next process and beside another one; what
 * is damaged is not. Two caches on one directory are two processes to each other: their locks are of open files.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/cache_dir.h"
#include "store/cache_private.h"

static void test_written_pages_are_read(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e = cache_dir_entry(d, 0, "a", 10 * CACHE_PAGE + 100);

	assert_true(cache_entry_is_empty(e));
	assert_int_equal(cache_dir_read(e, 0, 11), 0);
	assert_int_equal(cache_dir_write(e, 2, 3), 0);
	assert_false(cache_entry_is_empty(e));
	assert_int_equal(cache_dir_read(e, 2, 9), 3);
	assert_int_equal(cache_dir_read(e, 3, 1), 1);
	assert_int_equal(cache_dir_read(e, 5, 6), 0);
	assert_false(cache_entry_is_complete(e));
	/* The last page is cut, and what is there is skipped. */
	assert_int_equal(cache_dir_write(e, 0, 11), 0);
	assert_int_equal(cache_dir_read(e, 0, 11), 11);
	/* Whether the disk has it is not known before it is asked. */
	assert_false(cache_entry_is_complete(e));
	assert_int_equal(cache_entry_verify(e, 100), 11);
	assert_true(cache_entry_is_complete(e));
	assert_int_equal(cache_entry_verify(e, 100), 0);
	cache_entry_close(e);
}

static void test_the_next_process_finds_and_verifies(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e = cache_dir_entry(d, 0, "a", MIB(5));
	uint64_t n = 0, k;

	assert_int_equal(cache_dir_write(e, 0, MIB(5) / CACHE_PAGE), 0);
	cache_entry_close(e);
	cache_dir_reopen(d, 0);
	e = cache_dir_entry(d, 0, "a", MIB(5));
	assert_false(cache_entry_is_empty(e));
	assert_false(cache_entry_is_complete(e));
	assert_true(cache_entry_is_whole(e));
	assert_int_equal(cache_entry_pin(e), -EAGAIN);
	while ((k = cache_entry_verify(e, 700)) > 0)
		n += k;
	assert_int_equal(n, MIB(5) / CACHE_PAGE);
	assert_true(cache_entry_is_complete(e));
	assert_true(cache_entry_pin(e) >= 0);
	cache_entry_unpin(e);
	assert_int_equal(cache_dir_read(e, 0, 1280), 1280);
	cache_entry_close(e);
}

/* At once, for this process and others; who has its file keeps that, and the entry can be filled again. */
static void test_discarded_entry_is_gone(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e = cache_dir_entry(d, 0, "a", MIB(5)), *other;
	uint64_t end = 1280;

	assert_int_equal(cache_entry_discard(e), 0);
	assert_int_equal(cache_dir_write(e, 0, 1280), 0);
	while (cache_entry_verify(e, 700) > 0)
		;
	assert_true(cache_entry_pin(e) >= 0);
	assert_int_equal(cache_entry_discard(e), 0);
	assert_int_equal(cache_entry_discard(e), 0);
	assert_true(cache_entry_is_empty(e));
	assert_false(cache_entry_may_have(e, 0, &end));
	assert_false(cache_entry_is_complete(e));
	assert_false(cache_entry_is_whole(e));
	assert_int_equal(cache_entry_pin(e), -EAGAIN);
	assert_int_equal(cache_dir_read(e, 0, 1280), 0);
	assert_int_equal(cache_dir_write(e, 0, 1), -EBUSY);
	cache_dir_reopen(d, 1);
	other = cache_dir_entry(d, 1, "a", MIB(5));
	assert_int_equal(cache_dir_read(other, 0, 1280), 0);
	assert_int_equal(cache_dir_write(other, 0, 2), 0);
	/* The files that have the name now are not its own. */
	assert_int_equal(cache_entry_discard(e), 0);
	assert_int_equal(cache_dir_read(other, 0, 2), 2);
	cache_entry_unpin(e);
	assert_int_equal(cache_entry_discard(other), 0);
	cache_entry_close(other);
	assert_int_equal(cache_dir_write(e, 0, 3), 0);
	assert_int_equal(cache_dir_read(e, 0, 1280), 3);
	cache_entry_close(e);
}

static void test_another_writer_discards_itself(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e = cache_dir_entry(d, 0, "a", MIB(1)), *other;

	assert_int_equal(cache_dir_write(e, 0, 7), 0);
	assert_int_equal(cache_entry_flush(e), 0);
	cache_dir_reopen(d, 1);
	other = cache_dir_entry(d, 1, "a", MIB(1));
	assert_int_equal(cache_dir_read(other, 0, 7), 7);
	assert_int_equal(cache_entry_discard(other), -EBUSY);
	assert_int_equal(cache_dir_read(e, 0, 7), 7);
	cache_entry_close(e);
	assert_int_equal(cache_entry_discard(other), 0);
	assert_int_equal(cache_dir_read(other, 0, 7), 0);
	cache_entry_close(other);
}

static void test_may_have_tells_runs(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e = cache_dir_entry(d, 0, "a", MIB(10));
	uint64_t end = 100;

	assert_false(cache_entry_may_have(e, 0, &end));
	assert_int_equal(end, 100);
	assert_int_equal(cache_dir_write(e, 500, 1000), 0);
	end = 2560;
	assert_false(cache_entry_may_have(e, 0, &end));
	assert_int_equal(end, 500);
	end = 2560;
	assert_true(cache_entry_may_have(e, 500, &end));
	assert_int_equal(end, 1500);
	end = 2560;
	assert_false(cache_entry_may_have(e, 1500, &end));
	assert_int_equal(end, 2560);
	cache_entry_close(e);
}

static void test_damaged_page_is_dropped(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *e = cache_dir_entry(d, 0, "a", MIB(1));
	struct cache_stats st;

	assert_int_equal(cache_dir_write(e, 0, 256), 0);
	cache_dir_poke(e, ".data", 7 * CACHE_PAGE + 5, "x", 1);
	cache_entry_close(e);
	cache_dir_reopen(d, 0);
	e = cache_dir_entry(d, 0, "a", MIB(1));
	assert_int_equal(cache_dir_read(e, 0, 256), 7);
	assert_int_equal(cache_dir_read(e, 7, 1), 0);
	assert_int_equal(cache_dir_read(e, 8, 300), 248);
	cache_stats(d->cache[0], &st);
	assert_int_equal(st.corrupt, 1);
	/* It can be kept again. */
	assert_int_equal(cache_dir_write(e, 7, 1), 0);
	assert_int_equal(cache_dir_read(e, 0, 256), 256);
	cache_entry_close(e);
}

static void test_damaged_index_is_dropped(void **state)
{
	struct cache_dir *d = *state;

	for (unsigned at = 0; at < 2600; at += 13) {
		struct cache_entry *e = cache_dir_entry(d, 0, "a", MIB(2));

		assert_int_equal(cache_dir_write(e, 0, 512), 0);
		assert_int_equal(cache_entry_flush(e), 0);
		cache_dir_flip(e, ".index", at);
		cache_entry_close(e);
		e = cache_dir_entry(d, 0, "a", MIB(2));
		/* Wrong bytes fail in there. */
		assert_int_equal(cache_dir_read(e, 0, 512), 0);
		cache_entry_close(e);
	}
}

static void test_two_processes(void **state)
{
	struct cache_dir *d = *state;
	struct cache_entry *a, *b;

	cache_dir_reopen(d, 1);
	a = cache_dir_entry(d, 0, "a", MIB(4));
	assert_int_equal(cache_dir_write(a, 0, 600), 0);
	assert_int_equal(cache_entry_flush(a), 0);
	b = cache_dir_entry(d, 1, "a", MIB(4));
	assert_int_equal(cache_dir_read(b, 0, 600), 600);
	assert_int_equal(cache_dir_read(b, 512, 88), 88);
	assert_int_equal(cache_dir_write(b, 600, 10), -EBUSY);
	/* What is written meanwhile is seen a second later. */
	assert_int_equal(cache_dir_write(a, 600, 424), 0);
	assert_int_equal(cache_entry_flush(a), 0);
	assert_int_equal(cache_dir_read(b, 600, 100), 0);
	cache_dir_tick(CACHE_REFRESH_MS);
	assert_int_equal(cache_dir_read(b, 600, 424), 424);
	/* Complete, verified and served by the one that is not the writer. */
	assert_true(cache_entry_is_whole(b));
	while (cache_entry_verify(b, 100))
		;
	assert_true(cache_entry_is_complete(b));
	assert_true(cache_entry_pin(b) >= 0);
	cache_entry_unpin(b);
	/* The writer leaves; who reads becomes it. */
	cache_entry_close(a);
	cache_entry_close(b);
	b = cache_dir_entry(d, 1, "a", MIB(4));
	a = cache_dir_entry(d, 0, "a", MIB(4));
	assert_int_equal(b->state, ENTRY_WRITER);
	assert_int_equal(a->state, ENTRY_READER);
	cache_entry_close(b);
	cache_dir_tick(CACHE_RETRY_MS);
	assert_int_equal(cache_dir_read(a, 0, 1), 1);
	assert_int_equal(a->state, ENTRY_WRITER);
	cache_entry_close(a);
}

static void test_descriptors_are_bounded(void **state)
{
	enum { MANY = 300 };
	struct cache_dir *d = *state;
	struct cache_entry *e[MANY];
	char url[16];

	d->cache[0]->open_max = 8;
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(url, sizeof url, "%u", i);
		e[i] = cache_dir_entry(d, 0, url, 2 * CACHE_PAGE);
		assert_int_equal(cache_dir_write(e[i], 0, 2), 0);
	}
	assert_true(d->cache[0]->n_open <= 8);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(cache_dir_read(e[i], 0, 2), 2);
	assert_true(d->cache[0]->n_open <= 8);
	for (unsigned i = 0; i < MANY; i++)
		cache_entry_close(e[i]);
	assert_int_equal(d->cache[0]->n_open, 0);
}

static void test_records_in_memory_are_bounded(void **state)
{
	struct cache_dir *d = *state;
	uint64_t size = MIB(64);
	struct cache_entry *e = cache_dir_entry(d, 0, "a", size);
	uint64_t n = size / CACHE_PAGE;

	d->cache[0]->records_max = 4 * sizeof(struct cache_record);
	for (uint64_t p = 0; p < n; p += 512) {
		assert_int_equal(cache_dir_write(e, p, 512), 0);
		assert_int_equal(cache_entry_flush(e), 0);
	}
	assert_true(atomic_load(&d->cache[0]->record_bytes) <= 6 * sizeof(struct cache_record));
	assert_int_equal(cache_entry_verify(e, n), n);
	assert_true(atomic_load(&d->cache[0]->record_bytes) <= 6 * sizeof(struct cache_record));
	/* What is known of them is not forgotten. */
	assert_true(cache_entry_is_complete(e));
	for (uint64_t p = 0; p < n; p += 512)
		assert_int_equal(cache_dir_read(e, p, 512), 512);
	assert_true(cache_entry_is_complete(e));
	assert_int_equal(cache_entry_verify(e, 1000), 0);
	cache_entry_close(e);
}

static void test_huge_object_costs_little(void **state)
{
	struct cache_dir *d = *state;
	uint64_t size = UINT64_C(1) << 40, last = size / CACHE_PAGE - 1;
	struct cache_entry *e = cache_dir_entry(d, 0, "a", size);

	assert_int_equal(cache_dir_write(e, 5, 1), 0);
	assert_int_equal(cache_dir_write(e, last, 1), 0);
	cache_entry_close(e);
	e = cache_dir_entry(d, 0, "a", size);
	assert_int_equal(cache_dir_read(e, last, 1), 1);
	assert_int_equal(cache_dir_read(e, last / 2, 1), 0);
	assert_true(atomic_load(&d->cache[0]->record_bytes) < KIB(16));
	cache_entry_close(e);
}

static void test_unfit_objects_are_not_kept(void **state)
{
	struct cache_dir *d = *state;
	char *url = calloc(1, CACHE_URL_MAX + 1);
	struct cache_entry *e;

	memset(url, 'u', CACHE_URL_MAX);
	e = cache_dir_entry(d, 0, url, MIB(1));
	assert_true(cache_entry_is_empty(e));
	assert_true(cache_dir_write(e, 0, 1) < 0);
	assert_int_equal(cache_dir_read(e, 0, 1), 0);
	cache_entry_close(e);
	e = cache_dir_entry(d, 0, "empty", 0);
	assert_false(cache_entry_is_complete(e));
	assert_int_equal(cache_dir_read(e, 0, 1), 0);
	cache_entry_close(e);
	free(url);
}

static void version_put(struct cache_dir *d, const char *text, size_t n)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof path, "%s/version", d->path);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static size_t version_get(struct cache_dir *d, char *text, size_t cap)
{
	char path[300];
	FILE *f;
	size_t n;

	snprintf(path, sizeof path, "%s/version", d->path);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(text, 1, cap, f);
	fclose(f);
	return n;
}

/* What a crash leaves of the file, and a disk that has lost its block. */
static void test_torn_version_is_written_anew(void **state)
{
	static const char whole[] = "vmofs cache 1\n", zeroes[sizeof whole - 1];
	struct cache_dir *d = *state;

	for (size_t n = 0; n < sizeof whole; n++) {
		bool torn = n < sizeof zeroes;
		struct cache_entry *e;
		char text[64];

		version_put(d, torn ? whole : zeroes, torn ? n : sizeof zeroes);
		cache_dir_reopen(d, 0);
		e = cache_dir_entry(d, 0, "a", 20 * CACHE_PAGE);
		assert_int_equal(cache_dir_write(e, n, 1), 0);
		assert_int_equal(cache_dir_read(e, 0, n + 1), n + 1);
		cache_entry_close(e);
		assert_int_equal(version_get(d, text, sizeof text), sizeof whole - 1);
		assert_memory_equal(text, whole, sizeof whole - 1);
	}
}

static void test_other_version_is_refused(void **state)
{
	static const char *const other[] = { "vmofs cache 2\n", "vmofs cache 1 \n", "something\n" };
	struct cache_dir *d = *state;
	struct cache_params p = { .dir = d->path, .io = &d->io };

	for (size_t i = 0; i < ARRAY_LEN(other); i++) {
		struct vmofs_err err = VMOFS_ERR_INIT;
		struct cache *c;

		version_put(d, other[i], strlen(other[i]));
		assert_int_equal(cache_open(&c, &p, &err), -EPROTO);
		assert_non_null(strstr(err.msg, d->path));
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cache_dir_setup, cache_dir_teardown)
	const struct CMUnitTest tests[] = {
		T(test_written_pages_are_read),       T(test_the_next_process_finds_and_verifies),
		T(test_discarded_entry_is_gone),      T(test_another_writer_discards_itself),
		T(test_may_have_tells_runs),          T(test_damaged_page_is_dropped),
		T(test_damaged_index_is_dropped),     T(test_two_processes),
		T(test_descriptors_are_bounded),      T(test_records_in_memory_are_bounded),
		T(test_huge_object_costs_little),     T(test_unfit_objects_are_not_kept),
		T(test_torn_version_is_written_anew), T(test_other_version_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
