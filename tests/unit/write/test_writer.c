/* SPDX-License-Identifier: Apache-2.0 */
/* The writer against an origin in memory: what is stored, what is not, and what everybody is told. */
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
enum { PAGES = 16, SIZE = PAGES * 4096 + 100, BIG = 1 << 20 };

static struct fake_change *origin;
static struct vm_pool *pool;
static struct writer *writer;
static struct journal *journal;
static char dir[] = "/tmp/vmofs-test-writer-XXXXXX";
static uint8_t old[SIZE], want[BIG + SIZE];
static uint64_t (*now_ns)(void);
static atomic_uint n_stored, n_let_go, next_ino = 100;

static void stored(void *arg UNUSED, uint64_t ino UNUSED, const struct vmofs_version *now)
{
	assert_true(now->exists);
	n_stored++;
}

static void let_go(void *arg, void *keep)
{
	n_let_go++;
	writer_rig_let_go(arg, keep);
}

static void start(uint64_t dirty_limit, enum writer_fsync fsync_as)
{
	struct writer_params p = {
		.source = fake_change_source(origin),
		.journal = journal,
		.dirty_limit = dirty_limit,
		.age_ns = LONG_NS,
		.commit_ns = LONG_NS,
		.timeout_ns = 20 * NSEC_PER_SEC,
		.fsync = fsync_as,
		.threads = 2,
		.stored = stored,
		.let_go = let_go,
		.now_ns = now_ns,
	};
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(writer_new(&writer, &p, &err), 0);
}

static int set_up(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	origin = fake_change_new();
	assert_int_equal(vm_pool_new(&pool, MIB(64), &err), 0);
	for (size_t i = 0; i < sizeof old; i++)
		old[i] = (uint8_t)(i * 7 + i / 256);
	memcpy(want, old, sizeof old);
	memset(want + SIZE, 0, sizeof want - SIZE);
	fake_change_put(origin, "key", old, SIZE);
	n_stored = n_let_go = 0;
	now_ns = NULL;
	start(MIB(16), WRITER_FSYNC_REMOTE);
	return 0;
}

static void stop(void)
{
	writer_stop(writer);
	writer_free(writer);
	writer = NULL;
}

static int tear_down(void **state UNUSED)
{
	stop();
	journal_close(journal);
	journal = NULL;
	fake_change_free(origin); /* its thread may be about to leave the pool */
	vm_pool_free(pool);
	return 0;
}

static void fill(struct wfile_params *p, const char *key, const struct vmofs_version *base)
{
	struct vmofs_source *s = fake_change_source(origin);

	assert_int_equal(writer_rig_fill(p, pool, s, key, base), 0);
	p->ino = next_ino++;
}

static struct wfile *open_file(const char *key)
{
	struct wfile_params p = { .key = key };
	struct wfile *f;

	fake_change_version(origin, key, &p.base);
	fill(&p, key, &p.base);
	assert_int_equal(wfile_new(&f, writer, &p), 0);
	return f;
}

static void write_at(struct wfile *f, uint64_t off, const void *data, uint64_t len)
{
	assert_int_equal(wfile_write(f, off, data, len, false, false), len);
	memcpy(want + off, data, len);
}

static void check_local(struct wfile *f, uint64_t size)
{
	static uint8_t got[sizeof want];

	assert_int_equal(vmo_size(wfile_vmo(f)), size);
	assert_int_equal(vmo_read(wfile_vmo(f), 0, got, size, NULL), size);
	assert_memory_equal(got, want, size);
}

static void check_stored(struct wfile *f, const char *key, uint64_t size)
{
	assert_int_equal(wfile_state(f), WFILE_CLEAN);
	assert_true(fake_change_has(origin, key, want, size));
	check_local(f, size);
}

static int sync_file(struct wfile *f)
{
	uint64_t since = wfile_error_mark(f);

	return wfile_store_wait(f, &since, loop_now_ns() + 20 * NSEC_PER_SEC, NULL);
}

static void test_overwrite(void **state UNUSED)
{
	struct wfile *f = open_file("key");
	struct fake_change_counts n;

	write_at(f, 5000, "five thousand", 13);
	assert_int_equal(wfile_state(f), WFILE_DIRTY);
	assert_true(fake_change_has(origin, "key", old, SIZE));
	assert_int_equal(sync_file(f), 0);
	check_stored(f, "key", SIZE);
	fake_change_counts(origin, &n);
	assert_int_equal(n.stores, 1);
	assert_int_equal(n.bytes_up, 4096);
	/* Nothing to do: nothing is done. */
	assert_int_equal(sync_file(f), 0);
	fake_change_counts(origin, &n);
	assert_int_equal(n.stores, 1);
	/* And again, on the version that came of it. */
	write_at(f, 0, "zero", 4);
	assert_int_equal(sync_file(f), 0);
	check_stored(f, "key", SIZE);
	wfile_put(f);
}

static void test_new_file(void **state UNUSED)
{
	struct wfile *f = open_file("made");
	struct wfile *empty = open_file("empty");

	write_at(f, 0, "made here", 9);
	assert_int_equal(sync_file(f), 0);
	assert_int_equal(sync_file(empty), 0);
	check_stored(f, "made", 9);
	assert_true(fake_change_has(origin, "empty", "", 0));
	wfile_put(f);
	wfile_put(empty);
}

static void test_sizes(void **state UNUSED)
{
	static const uint64_t sizes[] = { 5000, 9000, 4096, 100000, 0, 1, 70000 };
	struct wfile *f = open_file("key");

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		assert_int_equal(wfile_truncate(f, sizes[i]), 0);
		memset(want + sizes[i], 0, sizeof want - sizes[i]);
		if (i % 2)
			assert_int_equal(sync_file(f), 0);
	}
	assert_int_equal(sync_file(f), 0);
	check_stored(f, "key", 70000);
	assert_int_equal(wfile_write(f, 0, "end", 3, true, false), 3);
	memcpy(want + 70000, "end", 3);
	assert_int_equal(sync_file(f), 0);
	check_stored(f, "key", 70003);
	wfile_put(f);
}

/* What is written while a store is under way is in the next one, and what was not is in neither twice. */
static void test_written_meanwhile(void **state UNUSED)
{
	struct wfile *f = open_file("key");
	uint64_t since = wfile_error_mark(f);

	write_at(f, 0, "first", 5);
	fake_change_gate(origin, true);
	assert_int_equal(wfile_store_wait(f, &since, loop_now_ns(), NULL), -ETIMEDOUT);
	fake_change_wait_gate(origin, 1);
	write_at(f, 8192, "second", 6);
	write_at(f, 0, "FIRST", 5);
	fake_change_gate(origin, false);
	assert_int_equal(sync_file(f), 0);
	check_stored(f, "key", SIZE);
	wfile_put(f);
}

static void check_conflict(struct wfile *f)
{
	assert_int_equal(wfile_state(f), WFILE_CONFLICT);
	assert_true(fake_change_has(origin, "key", "theirs", 6));
	check_local(f, SIZE);
}

/* Another client comes between: nothing of his is overwritten. */
static struct wfile *make_conflict(void)
{
	struct wfile *f = open_file("key");
	uint64_t since = wfile_error_mark(f);
	static uint8_t all[SIZE];

	/* All of it is here, or what the origin does not have any more could not be read. */
	assert_int_equal(vmo_read(wfile_vmo(f), 0, all, SIZE, NULL), SIZE);
	write_at(f, 0, "mine", 4);
	fake_change_gate(origin, true);
	(void)wfile_store_wait(f, &since, loop_now_ns(), NULL);
	fake_change_wait_gate(origin, 1);
	fake_change_put(origin, "key", "theirs", 6);
	fake_change_gate(origin, false);
	assert_int_equal(sync_file(f), -ESTALE);
	check_conflict(f);
	return f;
}

static void test_conflict(void **state UNUSED)
{
	struct wfile *f = make_conflict();
	struct vmofs_err err = VMOFS_ERR_INIT;
	unsigned conflicts = 0;

	assert_int_equal(sync_file(f), -ESTALE);
	assert_int_equal(writer_drain(writer, loop_now_ns() + LONG_NS, NULL, &conflicts), 0);
	assert_int_equal(conflicts, 1);
	check_conflict(f);
	assert_int_equal(wfile_resolve(f, WFILE_KEEP_LOCAL, NULL, &err), 0);
	assert_int_equal(sync_file(f), 0);
	check_stored(f, "key", SIZE);
	assert_int_equal(wfile_resolve(f, WFILE_KEEP_LOCAL, NULL, &err), -EINVAL);
	wfile_put(f);
}

static void test_save_as(void **state UNUSED)
{
	struct wfile *f = make_conflict();
	struct vmofs_err err = VMOFS_ERR_INIT;

	fake_change_put(origin, "taken", "x", 1);
	assert_int_equal(wfile_resolve(f, WFILE_SAVE_AS, "taken", &err), -EEXIST);
	assert_int_equal(wfile_resolve(f, WFILE_SAVE_AS, "mine", &err), 0);
	assert_true(fake_change_has(origin, "mine", want, SIZE));
	assert_true(fake_change_has(origin, "key", "theirs", 6));
	assert_int_not_equal(wfile_state(f), WFILE_CONFLICT);
	wfile_put(f);
}

/* The answer was lost, and the store was not: it is known by its attempt, and not taken for somebody else's. */
static void test_unheard(void **state UNUSED)
{
	struct wfile *f = open_file("key");
	struct fake_change_counts n;

	fake_change_trouble(origin, FAKE_CHANGE_UNHEARD, -EIO, 1, false);
	write_at(f, 4096, "unheard", 7);
	/* It may be told that this is not known; then it is asked for. */
	(void)sync_file(f);
	assert_int_equal(sync_file(f), 0);
	check_stored(f, "key", SIZE);
	fake_change_counts(origin, &n);
	assert_int_equal(n.stores, 1);
	assert_true(n.asked >= 1);
	wfile_put(f);
}

static void test_lost_and_refused(void **state UNUSED)
{
	struct wfile *f = open_file("key");
	unsigned conflicts;

	fake_change_trouble(origin, FAKE_CHANGE_LOST, -EIO, 1, false);
	write_at(f, 4096, "lost", 4);
	(void)sync_file(f);
	assert_int_equal(sync_file(f), 0);
	check_stored(f, "key", SIZE);

	fake_change_trouble(origin, FAKE_CHANGE_REFUSED, -EACCES, 1, false);
	write_at(f, 4096, "refu", 4);
	assert_int_equal(sync_file(f), -EACCES);
	check_local(f, SIZE);
	assert_int_equal(writer_drain(writer, loop_now_ns() + LONG_NS, NULL, &conflicts), 0);
	check_stored(f, "key", SIZE);
	wfile_put(f);
}

/* Far more is written than may be dirty. */
static void test_little_room(void **state UNUSED)
{
	static uint8_t chunk[30000];
	struct wfile *f;
	struct writer_stats st;

	stop();
	start(KIB(256), WRITER_FSYNC_REMOTE);
	f = open_file("large");
	for (uint64_t off = 0; off < BIG; off += sizeof chunk) {
		memset(chunk, (int)(off / sizeof chunk), sizeof chunk);
		write_at(f, off, chunk, sizeof chunk);
		writer_stats(writer, &st);
		assert_true(st.dirty_bytes <= KIB(256));
	}
	assert_int_equal(sync_file(f), 0);
	check_stored(f, "large", vmo_size(wfile_vmo(f)));
	wfile_put(f);
}

static uint64_t stopped_clock(void)
{
	return NSEC_PER_SEC;
}

/* More than half of the room is taken, but by a file that was written just now, and nobody waits. */
static void test_busy(void **state UNUSED)
{
	struct fake_change_counts counts;
	struct wfile *f, *other;

	stop();
	now_ns = stopped_clock;
	start(KIB(256), WRITER_FSYNC_REMOTE);
	f = open_file("large");
	for (unsigned i = 0; i < 48; i++)
		write_at(f, i * 4096, old, 4096);
	other = open_file("key");
	write_at(other, 0, "x", 1);
	assert_int_equal(sync_file(other), 0);
	fake_change_counts(origin, &counts);
	assert_int_equal(counts.tries, 1);
	assert_int_equal(sync_file(f), 0);
	fake_change_counts(origin, &counts);
	assert_int_equal(counts.tries, 2);
	wfile_put(other);
	wfile_put(f);
}

static void test_removed(void **state UNUSED)
{
	struct wfile *f = open_file("key");
	struct vmofs_version base;
	unsigned conflicts;
	bool there;

	write_at(f, 0, "gone", 4);
	assert_int_equal(wfile_removed(f, &there, &base), 0);
	assert_true(there);
	assert_int_equal(base.size, SIZE);
	assert_int_equal(writer_drain(writer, 0, NULL, &conflicts), 0);
	assert_true(fake_change_has(origin, "key", old, SIZE));
	check_local(f, SIZE);
	wfile_put(f);
}

/* ---- with a journal ---- */

static void open_journal(void)
{
	struct journal_params p = { .dir = dir, .source = "fake" };
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(journal_open(&journal, &p, &err), 0);
}

static int make_found(void *arg, const char *key, const struct vmofs_version *base,
		      struct wfile_params *out)
{
	struct wfile **f = arg;

	assert_string_equal(key, "key");
	fill(out, key, base);
	*f = NULL;
	return 0;
}

static struct wfile *recover(void)
{
	struct wfile *f = NULL;

	open_journal();
	start(MIB(16), WRITER_FSYNC_LOCAL);
	assert_int_equal(writer_recover(writer, make_found, &f), 0);
	return writer_find(writer, next_ino - 1);
}

/* What fsync has said is there after an end that stored nothing. */
static void test_recovered(void **state UNUSED)
{
	struct wfile *f;
	uint64_t since;

	stop();
	open_journal();
	start(MIB(16), WRITER_FSYNC_LOCAL);
	f = open_file("key");
	since = wfile_error_mark(f);
	write_at(f, 5000, "kept", 4);
	assert_int_equal(wfile_truncate(f, 6000), 0);
	memset(want + 6000, 0, sizeof want - 6000);
	write_at(f, 20000, "far", 3);
	assert_int_equal(wfile_fsync(f, &since), 0);
	assert_true(fake_change_has(origin, "key", old, SIZE));
	wfile_put(f);
	stop();
	journal_close(journal);

	f = recover();
	assert_non_null(f);
	check_local(f, 20003);
	assert_int_equal(sync_file(f), 0);
	check_stored(f, "key", 20003);
	wfile_put(f);
	assert_int_equal(journal_bytes(journal), 0);
}

/* The origin has changed between. */
static void test_recovered_conflict(void **state UNUSED)
{
	struct wfile *f;
	uint64_t since;

	stop();
	open_journal();
	start(MIB(16), WRITER_FSYNC_LOCAL);
	f = open_file("key");
	since = wfile_error_mark(f);
	assert_int_equal(wfile_truncate(f, 0), 0);
	write_at(f, 0, "mine", 4);
	assert_int_equal(wfile_fsync(f, &since), 0);
	wfile_put(f);
	stop();
	journal_close(journal);
	fake_change_put(origin, "key", "theirs", 6);

	f = recover();
	assert_non_null(f);
	assert_int_equal(sync_file(f), -ESTALE);
	assert_int_equal(wfile_state(f), WFILE_CONFLICT);
	assert_true(fake_change_has(origin, "key", "theirs", 6));
	check_local(f, 4);
	wfile_put(f);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_overwrite),
		CASE(test_new_file),
		CASE(test_sizes),
		CASE(test_written_meanwhile),
		CASE(test_conflict),
		CASE(test_save_as),
		CASE(test_unheard),
		CASE(test_lost_and_refused),
		CASE(test_little_room),
		CASE(test_busy),
		CASE(test_removed),
		CASE(test_recovered),
		CASE(test_recovered_conflict),
	};
	char command[128];
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	return system(command) || r;
}
