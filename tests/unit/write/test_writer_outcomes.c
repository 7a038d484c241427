/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores of which nobody knows what became of them, also over an end of the daemon, and what is left of a file that is in conflict: in
 * each case the origin ends with what was written here or with what another client has put there, and it is known which.
 */
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
#include "store/journal.h"
#include "write/writer.h"

#define LONG_NS (1000 * NSEC_PER_SEC)
enum { SIZE = 16 * 4096 + 100, CUT = 6000 };

static struct fake_change *origin;
static struct vm_pool *pool;
static struct writer *writer;
static struct journal *journal;
static char dir[64]; /* of the journal, for one test */
static uint8_t want[SIZE];
static uint64_t next_ino = 100;

/* ---- a writer over the origin ---- */

static void start(void)
{
	struct journal_params jp = { .dir = dir, .source = "fake" };
	struct writer_params p = {
		.source = fake_change_source(origin),
		.dirty_limit = MIB(16),
		.age_ns = LONG_NS,
		.commit_ns = LONG_NS,
		.timeout_ns = 20 * NSEC_PER_SEC,
		.fsync = WRITER_FSYNC_LOCAL,
		.threads = 2,
		.let_go = writer_rig_let_go,
	};
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(journal_open(&journal, &jp, &err), 0);
	p.journal = journal;
	assert_int_equal(writer_new(&writer, &p, &err), 0);
}

static void stop(void)
{
	writer_stop(writer);
	writer_free(writer);
	journal_close(journal);
}

static int set_up(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	snprintf(dir, sizeof dir, "/tmp/vmofs-test-outcomes-XXXXXX");
	assert_non_null(mkdtemp(dir));
	origin = fake_change_new();
	assert_int_equal(vm_pool_new(&pool, MIB(64), &err), 0);
	for (size_t i = 0; i < sizeof want; i++)
		want[i] = (uint8_t)(i * 7 + i / 256);
	fake_change_put(origin, "key", want, SIZE);
	start();
	return 0;
}

static int tear_down(void **state UNUSED)
{
	char command[128];

	stop();
	fake_change_free(origin); /* its thread may be about to leave the pool */
	vm_pool_free(pool);
	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	return system(command);
}

static int make(void *arg UNUSED, const char *key, const struct vmofs_version *base,
		struct wfile_params *out)
{
	struct vmofs_source *s = fake_change_source(origin);

	assert_int_equal(writer_rig_fill(out, pool, s, key, base), 0);
	out->ino = next_ino++;
	return 0;
}

static struct wfile *open_file(const char *key)
{
	struct wfile_params p = { .key = key };
	struct wfile *f;

	fake_change_version(origin, key, &p.base);
	assert_int_equal(make(NULL, key, &p.base, &p), 0);
	assert_int_equal(wfile_new(&f, writer, &p), 0);
	return f;
}

/* Another daemon, on the journal of this one. */
static struct wfile *start_again(struct wfile *f)
{
	wfile_put(f);
	stop();
	start();
	assert_int_equal(writer_recover(writer, make, NULL), 0);
	f = writer_find(writer, next_ino - 1);
	assert_non_null(f);
	return f;
}

static void write_at(struct wfile *f, uint64_t off, const void *data, uint64_t len)
{
	assert_int_equal(wfile_write(f, off, data, len, false, false), len);
	memcpy(want + off, data, len);
}

static void fsync_local(struct wfile *f)
{
	uint64_t since = wfile_error_mark(f);

	assert_int_equal(wfile_fsync(f, &since), 0);
}

static int sync_file(struct wfile *f)
{
	uint64_t since = wfile_error_mark(f);

	return wfile_store_wait(f, &since, loop_now_ns() + 20 * NSEC_PER_SEC, NULL);
}

/* It is begun, and not waited for. */
static void begin_store(struct wfile *f)
{
	uint64_t since = wfile_error_mark(f);

	assert_int_equal(wfile_store_wait(f, &since, loop_now_ns(), NULL), -ETIMEDOUT);
}

/* Nothing of what is clean is taken from memory. */
static void check_local(struct wfile *f, uint64_t size)
{
	static uint8_t got[sizeof want];

	(void)vmo_evict(wfile_vmo(f), 0, size, true);
	assert_int_equal(vmo_size(wfile_vmo(f)), size);
	assert_int_equal(vmo_read(wfile_vmo(f), 0, got, size, NULL), size);
	assert_memory_equal(got, want, size);
}

static void check_stored(struct wfile *f, const char *key, uint64_t size)
{
	assert_int_equal(wfile_state(f), WFILE_CLEAN);
	assert_true(fake_change_has(origin, key, want, size));
	check_local(f, size);
	assert_int_equal(journal_bytes(journal), 0);
}

/* Who asks may be told of what went wrong before; it goes through all the same. */
static void sync_at_last(struct wfile *f)
{
	int r = 0;

	for (unsigned i = 0; i < 20; i++) {
		r = sync_file(f);
		assert_int_not_equal(r, -ESTALE);
		if (r == 0)
			return;
	}
	assert_int_equal(r, 0);
}

/* ---- it arrived, or never did ---- */

static const int unknown[] = { -EIO, -ETIMEDOUT, -EINTR, -ESHUTDOWN, -ENOMEM, -ECANCELED };

static void test_every_code(void **state UNUSED)
{
	static const enum fake_change_trouble all[] = { FAKE_CHANGE_LOST, FAKE_CHANGE_UNHEARD };
	struct wfile *f = open_file("key");
	struct fake_change_counts n;

	for (size_t i = 0; i < ARRAY_LEN(unknown) * ARRAY_LEN(all); i++) {
		char text[32];

		snprintf(text, sizeof text, "change %zu", i);
		write_at(f, 4096 * i, text, sizeof text);
		fake_change_trouble(origin, all[i % 2], unknown[i / 2], 1, false);
		sync_at_last(f);
		check_stored(f, "key", SIZE);
		fake_change_counts(origin, &n);
		assert_int_equal(n.stores, i + 1);
	}
	wfile_put(f);
}

/* What is read meanwhile waits, and is of the version that proves to be there. */
static void test_asked_later(void **state UNUSED)
{
	struct wfile *f = open_file("key");

	write_at(f, 0, "first", 5);
	fake_change_trouble(origin, FAKE_CHANGE_UNHEARD, -ETIMEDOUT, 1, true);
	assert_int_equal(sync_file(f), -ETIMEDOUT);
	assert_int_equal(wfile_state(f), WFILE_STORING);
	write_at(f, 0, "FIRST and last", 14);
	write_at(f, 8192, want, 4096);
	fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
	check_local(f, SIZE);
	sync_at_last(f);
	check_stored(f, "key", SIZE);
	wfile_put(f);
}

/* Another client has put something on top of what arrived: its version is not overwritten. */
static void test_replaced_unheard(void **state UNUSED)
{
	struct wfile *f = open_file("key");

	write_at(f, 0, "mine", 4);
	fake_change_trouble(origin, FAKE_CHANGE_UNHEARD, -EIO, 1, true);
	assert_int_equal(sync_file(f), -EIO);
	fake_change_put(origin, "key", "theirs", 6);
	fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
	while (wfile_state(f) != WFILE_CONFLICT)
		(void)sync_file(f);
	assert_true(fake_change_has(origin, "key", "theirs", 6));
	wfile_put(f);
}

/* ---- it arrives when it has been given up ---- */

/* The first store is on its way, and was not there when the origin was asked; the second one is about to be sent. */
static void send_late(struct wfile *f)
{
	fake_change_trouble(origin, FAKE_CHANGE_LATE, -EIO, 1, true);
	assert_true(sync_file(f) < 0);
	fake_change_gate(origin, true);
	fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
	begin_store(f);
	fake_change_wait_gate(origin, 1);
}

static void test_late(void **state UNUSED)
{
	struct wfile *f = open_file("key");

	write_at(f, 5000, "first", 5);
	send_late(f);
	write_at(f, 5000, "FIRST and last", 14);
	write_at(f, 20000, "second", 6);
	assert_true(fake_change_arrive(origin));
	fake_change_gate(origin, false);
	sync_at_last(f);
	check_stored(f, "key", SIZE);
	wfile_put(f);
}

/* It has what was cut off since, in a page that nobody has written. */
static void test_late_and_cut(void **state UNUSED)
{
	struct wfile *f = open_file("key");

	write_at(f, 0, "first", 5);
	write_at(f, SIZE - 100, "end", 3);
	send_late(f);
	assert_int_equal(wfile_truncate(f, CUT), 0);
	assert_int_equal(wfile_truncate(f, SIZE), 0);
	memset(want + CUT, 0, SIZE - CUT);
	assert_true(fake_change_arrive(origin));
	fake_change_gate(origin, false);
	sync_at_last(f);
	check_stored(f, "key", SIZE);
	wfile_put(f);
}

/* A file that the origin did not have: it has it then, under the name of then. */
static void test_late_and_new(void **state UNUSED)
{
	struct wfile *f = open_file("made");
	static const struct vmofs_version nothing;

	write_at(f, 0, "made here", 9);
	send_late(f);
	assert_true(fake_change_arrive(origin));
	fake_change_gate(origin, false);
	sync_at_last(f);
	check_stored(f, "made", 9);
	assert_int_equal(wfile_renamed(f, "other", &nothing, NULL), -EBUSY);
	wfile_put(f);
}

/* The next one was faster. */
static void test_too_late(void **state UNUSED)
{
	struct wfile *f = open_file("key");

	write_at(f, 5000, "first", 5);
	send_late(f);
	fake_change_gate(origin, false);
	sync_at_last(f);
	assert_false(fake_change_arrive(origin));
	check_stored(f, "key", SIZE);
	write_at(f, 9000, "again", 5);
	sync_at_last(f);
	check_stored(f, "key", SIZE);
	wfile_put(f);
}

/* Somebody else's is no late one of ours. */
static void test_other_while_late(void **state UNUSED)
{
	struct wfile *f = open_file("key");

	write_at(f, 5000, "first", 5);
	send_late(f);
	fake_change_put(origin, "key", "theirs", 6);
	fake_change_gate(origin, false);
	while (wfile_state(f) != WFILE_CONFLICT)
		(void)sync_file(f);
	assert_false(fake_change_arrive(origin));
	assert_true(fake_change_has(origin, "key", "theirs", 6));
	wfile_put(f);
}

/* ---- the daemon ends ---- */

/* Between the request and what the journal says of it. */
static struct wfile *end_with(enum fake_change_trouble what)
{
	struct wfile *f = open_file("key");

	write_at(f, 5000, "kept", 4);
	assert_int_equal(wfile_truncate(f, CUT), 0);
	memset(want + CUT, 0, SIZE - CUT);
	write_at(f, 20000, "far", 3);
	fsync_local(f);
	fake_change_trouble(origin, what, -EIO, 1, true);
	assert_true(sync_file(f) < 0);
	write_at(f, 30000, "after", 5);
	fsync_local(f);
	return f;
}

static void check_again(struct wfile *f)
{
	check_local(f, 30005);
	sync_at_last(f);
	check_stored(f, "key", 30005);
	wfile_put(f);
}

static void test_end_and_arrived(void **state UNUSED)
{
	struct wfile *f = end_with(FAKE_CHANGE_UNHEARD);

	fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
	check_again(start_again(f));
}

static void test_end_and_lost(void **state UNUSED)
{
	struct wfile *f = end_with(FAKE_CHANGE_LOST);

	fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
	check_again(start_again(f));
}

/* The origin cannot be asked at once. */
static void test_end_and_deaf(void **state UNUSED)
{
	static const enum fake_change_trouble all[] = { FAKE_CHANGE_UNHEARD, FAKE_CHANGE_LOST };

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		struct wfile *f = start_again(end_with(all[i]));

		assert_int_equal(wfile_state(f), WFILE_STORING);
		fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
		check_again(f);
		fake_change_put(origin, "key", want, SIZE);
	}
}

/* It arrives after the next daemon has asked for it; and after the one that comes then. */
static void test_end_and_late(void **state UNUSED)
{
	for (unsigned ends = 1; ends < 3; ends++) {
		struct wfile *f = end_with(FAKE_CHANGE_LATE);

		fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
		fake_change_gate(origin, true);
		for (unsigned i = 0; i < ends; i++) {
			f = start_again(f);
			assert_int_not_equal(wfile_state(f), WFILE_CONFLICT);
		}
		fake_change_wait_gate(origin, 1);
		assert_true(fake_change_arrive(origin));
		fake_change_gate(origin, false);
		sync_at_last(f);
		check_again(f);
		fake_change_put(origin, "key", want, SIZE);
	}
}

/* So does the first one of two whose daemons ended, when the second one is lost. */
static void test_two_ends_and_late(void **state UNUSED)
{
	struct wfile *f = end_with(FAKE_CHANGE_LATE);

	fake_change_trouble(origin, FAKE_CHANGE_LOST, -EIO, 1, true);
	f = start_again(f);
	assert_true(sync_file(f) < 0);
	f = start_again(f);
	fake_change_gate(origin, true);
	fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
	begin_store(f);
	fake_change_wait_gate(origin, 1);
	assert_true(fake_change_arrive(origin));
	fake_change_gate(origin, false);
	sync_at_last(f);
	check_again(f);
}

/* ---- conflicts ---- */

/* The other client comes between; what is here of the old version is [0, len). */
static struct wfile *make_conflict(uint64_t len)
{
	struct wfile *f = open_file("key");
	static uint8_t all[SIZE];

	assert_int_equal(vmo_read(wfile_vmo(f), 0, all, len, NULL), len);
	write_at(f, 0, "mine", 4);
	fake_change_put(origin, "key", "theirs", 6);
	assert_int_equal(sync_file(f), -ESTALE);
	assert_int_equal(wfile_state(f), WFILE_CONFLICT);
	return f;
}

/* What is here of the old version nobody else has: it stays, over evictions and ends. */
static void test_conflict_is_kept(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct wfile *f = make_conflict(SIZE);

	check_local(f, SIZE);
	f = start_again(f);
	assert_int_equal(wfile_state(f), WFILE_CONFLICT);
	check_local(f, SIZE);
	assert_int_equal(sync_file(f), -ESTALE);
	assert_int_equal(wfile_resolve(f, WFILE_KEEP_LOCAL, NULL, &err), 0);
	check_stored(f, "key", SIZE);
	wfile_put(f);
}

/* What is not cannot be had: that is said, nothing is stored, and what was written here can be read. */
static void test_conflict_in_part(void **state UNUSED)
{
	struct wfile *f = make_conflict(4096);

	for (unsigned i = 0; i < 2; i++) {
		struct vmofs_err err = VMOFS_ERR_INIT;
		char got[4096];

		assert_int_equal(wfile_resolve(f, WFILE_KEEP_LOCAL, NULL, &err), -ESTALE);
		assert_non_null(strstr(err.msg, "cannot be read any more"));
		err = (struct vmofs_err)VMOFS_ERR_INIT;
		assert_int_equal(wfile_resolve(f, WFILE_SAVE_AS, "mine", &err), -ESTALE);
		assert_non_null(strstr(err.msg, "cannot be read any more"));
		assert_int_equal(wfile_state(f), WFILE_CONFLICT);
		assert_true(fake_change_has(origin, "key", "theirs", 6));
		assert_int_equal(vmo_read(wfile_vmo(f), 0, got, sizeof got, NULL), sizeof got);
		assert_memory_equal(got, want, sizeof got);
		f = start_again(f);
	}
	wfile_put(f);
}

/* The answer to the store that ends it is lost with the daemon. */
static void test_resolved_unheard(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct wfile *f = make_conflict(SIZE);

	fake_change_trouble(origin, FAKE_CHANGE_UNHEARD, -EIO, 1, true);
	assert_true(wfile_resolve(f, WFILE_KEEP_LOCAL, NULL, &err) < 0);
	fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
	f = start_again(f);
	sync_at_last(f);
	check_stored(f, "key", SIZE);
	wfile_put(f);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_every_code),        CASE(test_asked_later),
		CASE(test_replaced_unheard),  CASE(test_late),
		CASE(test_late_and_cut),      CASE(test_late_and_new),
		CASE(test_too_late),          CASE(test_other_while_late),
		CASE(test_end_and_arrived),   CASE(test_end_and_lost),
		CASE(test_end_and_deaf),      CASE(test_end_and_late),
		CASE(test_two_ends_and_late), CASE(test_conflict_is_kept),
		CASE(test_conflict_in_part),  CASE(test_resolved_unheard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
