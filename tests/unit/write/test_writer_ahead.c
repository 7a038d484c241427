/* SPDX-License-Identifier: Apache-2.0 */
/* What is sent ahead of a store: which parts, which of them the store can use, and what becomes of the others. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "lib/fake_change.h"
#include "lib/writer_rig.h"
#include "write/writer.h"

#define LONG_NS (1000 * NSEC_PER_SEC)
enum { PART = 16 * 4096, PARTS = 8, SIZE = PARTS * PART + 5000, PARALLEL = 3 };

static struct fake_change *origin;
static struct vm_pool *pool;
static struct writer *writer;
static uint8_t want[SIZE + PART];
static atomic_uint next_ino = 100;

static int set_up(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct writer_params p = {
		.dirty_limit = MIB(16),
		.age_ns = LONG_NS,
		.timeout_ns = 20 * NSEC_PER_SEC,
		.threads = 2,
		.let_go = writer_rig_let_go,
	};

	origin = fake_change_new();
	fake_change_ahead(origin, PART, PARALLEL);
	p.source = fake_change_source(origin);
	assert_int_equal(vm_pool_new(&pool, MIB(64), &err), 0);
	assert_int_equal(writer_new(&writer, &p, &err), 0);
	for (size_t i = 0; i < sizeof want; i++)
		want[i] = (uint8_t)(i * 7 + i / 256);
	return 0;
}

static int tear_down(void **state UNUSED)
{
	struct fake_change_counts n;

	writer_stop(writer);
	writer_free(writer);
	fake_change_counts(origin, &n);
	assert_int_equal(n.begun, n.used + n.dropped);
	fake_change_free(origin);
	vm_pool_free(pool);
	return 0;
}

static struct wfile *open_file(const char *key)
{
	struct wfile_params p = { .key = key, .ino = next_ino++ };
	struct wfile *f;

	fake_change_version(origin, key, &p.base);
	assert_int_equal(writer_rig_fill(&p, pool, fake_change_source(origin), key, &p.base), 0);
	assert_int_equal(wfile_new(&f, writer, &p), 0);
	return f;
}

static void write_some(struct wfile *f, uint64_t off, uint64_t end)
{
	for (uint64_t n; off < end; off += n) {
		n = MIN(end - off, 10000);
		assert_int_equal(wfile_write(f, off, want + off, n, false, false), n);
	}
}

/* Something else than was there. */
static void overwrite(struct wfile *f, uint64_t off, uint64_t len)
{
	for (uint64_t i = off; i < off + len; i++)
		want[i] ^= 0x55;
	write_some(f, off, off + len);
}

static int sync_file(struct wfile *f)
{
	uint64_t since = wfile_error_mark(f);

	return wfile_store_wait(f, &since, loop_now_ns() + 20 * NSEC_PER_SEC, NULL);
}

static struct fake_change_counts counts(void)
{
	struct fake_change_counts n;

	fake_change_counts(origin, &n);
	return n;
}

/* The store has gone through, with so many bytes of its own. */
static void check_stored(struct wfile *f, const char *key, uint64_t size, uint64_t bytes_up)
{
	assert_int_equal(sync_file(f), 0);
	assert_int_equal(wfile_state(f), WFILE_CLEAN);
	assert_true(fake_change_has(origin, key, want, size));
	assert_int_equal(counts().bytes_up, bytes_up);
}

static void test_all_but_the_last(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	assert_false(fake_change_has(origin, "new", want, SIZE));
	assert_int_equal(wfile_state(f), WFILE_DIRTY);
	check_stored(f, "new", SIZE, SIZE - PARTS * PART);
	assert_int_equal(counts().used, 1);
	/* There is a base now. */
	write_some(f, SIZE, SIZE + PART);
	check_stored(f, "new", SIZE + PART, SIZE - PARTS * PART + PART + SIZE % 4096);
	assert_int_equal(counts().begun, 1);
	wfile_put(f);
}

static void test_not_for_small_ones(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, 2 * PART - 1);
	check_stored(f, "new", 2 * PART - 1, 2 * PART - 1);
	assert_int_equal(counts().begun, 0);
	wfile_put(f);
}

static void test_not_out_of_order(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	for (uint64_t i = PARTS; i-- > 1;)
		write_some(f, i * PART, (i + 1) * PART);
	write_some(f, 0, PART);
	check_stored(f, "new", PARTS * PART, PARTS * PART);
	assert_int_equal(counts().sent, 0);
	wfile_put(f);
}

static void test_not_over_a_base(void **state UNUSED)
{
	struct wfile *f;

	fake_change_put(origin, "old", "old", 3);
	f = open_file("old");
	assert_int_equal(wfile_truncate(f, 0), 0);
	write_some(f, 0, SIZE);
	check_stored(f, "old", SIZE, SIZE);
	assert_int_equal(counts().begun, 0);
	wfile_put(f);
}

static void test_changed_after(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	overwrite(f, 2 * PART - 10, 20); /* the second and the third */
	check_stored(f, "new", SIZE, 2 * PART + SIZE - PARTS * PART);
	wfile_put(f);
}

/* It has been read, and is on its way. */
static void test_changed_meanwhile(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	fake_change_gate_sends(origin, true);
	write_some(f, 0, SIZE);
	fake_change_wait_sends(origin, PARALLEL);
	overwrite(f, PART + 7, 1);
	fake_change_gate_sends(origin, false);
	fake_change_wait_ahead(origin, PARTS);
	check_stored(f, "new", SIZE, PART + SIZE - PARTS * PART);
	wfile_put(f);
}

static void test_cut(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	assert_int_equal(wfile_truncate(f, 5 * PART + 1), 0);
	check_stored(f, "new", 5 * PART + 1, 1);
	wfile_put(f);
}

/* What grows again is zero, and not what was sent. */
static void test_cut_and_grown(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	assert_int_equal(wfile_truncate(f, 5 * PART + 1), 0);
	assert_int_equal(wfile_truncate(f, SIZE), 0);
	memset(want + 5 * PART + 1, 0, SIZE - 5 * PART - 1);
	check_stored(f, "new", SIZE, SIZE - 5 * PART);
	wfile_put(f);
}

static void test_zeroed(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	assert_int_equal(wfile_zero(f, 3 * PART, PART, false), 0);
	memset(want + 3 * PART, 0, PART);
	check_stored(f, "new", SIZE, PART + SIZE - PARTS * PART);
	wfile_put(f);
}

static void test_mapping(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	memset(want + PART, 0x11, 4096);
	assert_int_equal(wfile_write_back(f, PART, want + PART, 4096, false), 4096);
	check_stored(f, "new", SIZE, PART + SIZE - PARTS * PART);
	wfile_put(f);
}

/* Whoever changes all over again and again has nothing sent ahead. */
static void test_given_up(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, 6 * PART);
	fake_change_wait_ahead(origin, 6);
	for (unsigned i = 0; i < 6; i++)
		overwrite(f, i * PART, 1);
	write_some(f, 6 * PART, SIZE);
	check_stored(f, "new", SIZE, SIZE);
	assert_int_equal(counts().sent, 6);
	wfile_put(f);
}

static void test_removed(void **state UNUSED)
{
	struct wfile *f = open_file("new");
	struct vmofs_version base;
	bool is_there;

	fake_change_gate_sends(origin, true);
	write_some(f, 0, SIZE);
	fake_change_wait_sends(origin, PARALLEL);
	assert_int_equal(wfile_removed(f, &is_there, &base), 0);
	assert_false(is_there);
	/* What is under way is called off. */
	fake_change_wait_dropped(origin, 1);
	wfile_put(f);
}

/* Nor is one forgotten whose answer comes later than the end of its file. */
static void test_removed_at_the_beginning(void **state UNUSED)
{
	struct wfile *f = open_file("new");
	struct vmofs_version base;
	bool is_there;

	fake_change_gate_begins(origin, true);
	write_some(f, 0, SIZE);
	fake_change_wait_begins(origin, 1);
	assert_int_equal(wfile_removed(f, &is_there, &base), 0);
	usleep(50000);
	fake_change_gate_begins(origin, false);
	for (unsigned i = 0; i < 500 && !counts().dropped; i++)
		usleep(10000);
	assert_int_equal(counts().dropped, 1);
	wfile_put(f);
}

/* What comes of a file with another name is sent ahead too. */
static void test_renamed_at_the_beginning(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	fake_change_gate_begins(origin, true);
	write_some(f, 0, 4 * PART);
	fake_change_wait_begins(origin, 1);
	assert_int_equal(wfile_renamed(f, "other", NULL, NULL), 0);
	usleep(50000);
	fake_change_gate_begins(origin, false);
	fake_change_wait_dropped(origin, 1);
	write_some(f, 4 * PART, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	check_stored(f, "other", SIZE, SIZE - PARTS * PART);
	wfile_put(f);
}

static void test_renamed(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	assert_int_equal(wfile_renamed(f, "other", NULL, NULL), 0);
	fake_change_wait_dropped(origin, 1);
	check_stored(f, "other", SIZE, SIZE);
	assert_false(fake_change_has(origin, "new", want, SIZE));
	wfile_put(f);
}

/* They go with the store that fails; the next one sends all. */
static void test_store_fails(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	fake_change_trouble(origin, FAKE_CHANGE_REFUSED, -EACCES, 1, false);
	assert_int_equal(sync_file(f), -EACCES);
	check_stored(f, "new", SIZE, SIZE);
	wfile_put(f);
}

/* The store's attempt is that of the parts. */
static void test_unheard(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	write_some(f, 0, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	fake_change_trouble(origin, FAKE_CHANGE_UNHEARD, -EIO, 1, false);
	assert_int_equal(sync_file(f), -EIO);
	check_stored(f, "new", SIZE, SIZE - PARTS * PART);
	assert_int_equal(counts().stores, 1);
	wfile_put(f);
}

static void test_sends_fail(void **state UNUSED)
{
	struct wfile *f = open_file("new");
	struct wfile *other = open_file("other");

	fake_change_ahead_fails(origin, 0, 1000);
	write_some(f, 0, SIZE);
	check_stored(f, "new", SIZE, SIZE);
	fake_change_ahead_fails(origin, 1, 0);
	write_some(other, 0, SIZE);
	check_stored(other, "other", SIZE, 2 * SIZE);
	/* The store may have come before the first of them. */
	assert_in_range(counts().begun, 0, 1);
	assert_int_equal(counts().sent, 0);
	wfile_put(f);
	wfile_put(other);
}

/* Attributes of the beginning went along: those that somebody has set since are stored after it. */
static void test_attributes(void **state UNUSED)
{
	const struct vmofs_change_attr attr = { .has = VMOFS_HAS_MODE, .mode = 0600 };
	struct wfile *f = open_file("new");

	write_some(f, 0, SIZE);
	fake_change_wait_ahead(origin, PARTS);
	assert_int_equal(wfile_set_attr(f, &attr), 0);
	check_stored(f, "new", SIZE, SIZE - PARTS * PART);
	assert_int_equal(counts().stores, 2);
	wfile_put(f);
}

/* A store waits for what is under way, and has it. */
static void test_store_amid(void **state UNUSED)
{
	struct wfile *f = open_file("new");
	uint64_t since = wfile_error_mark(f);

	fake_change_gate_sends(origin, true);
	write_some(f, 0, SIZE);
	fake_change_wait_sends(origin, PARALLEL);
	assert_int_equal(wfile_store_wait(f, &since, loop_now_ns(), NULL), -ETIMEDOUT);
	while (wfile_state(f) != WFILE_STORING)
		usleep(100);
	fake_change_gate_sends(origin, false);
	check_stored(f, "new", SIZE, SIZE - PARALLEL * PART);
	wfile_put(f);
}

/* The stop does not wait for the origin; the file stays as it is. */
static void test_stop_amid(void **state UNUSED)
{
	struct wfile *f = open_file("new");

	fake_change_gate_sends(origin, true);
	write_some(f, 0, SIZE);
	fake_change_wait_sends(origin, PARALLEL);
	writer_stop(writer);
	assert_int_equal(counts().dropped, 1);
	wfile_put(f);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_all_but_the_last),
		CASE(test_not_for_small_ones),
		CASE(test_not_out_of_order),
		CASE(test_not_over_a_base),
		CASE(test_changed_after),
		CASE(test_changed_meanwhile),
		CASE(test_cut),
		CASE(test_cut_and_grown),
		CASE(test_zeroed),
		CASE(test_mapping),
		CASE(test_given_up),
		CASE(test_removed),
		CASE(test_removed_at_the_beginning),
		CASE(test_renamed_at_the_beginning),
		CASE(test_renamed),
		CASE(test_store_fails),
		CASE(test_unheard),
		CASE(test_sends_fail),
		CASE(test_attributes),
		CASE(test_store_amid),
		CASE(test_stop_amid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
