/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer at its edges: the stop while others are at work, waits for what is mended meanwhile, room that only the waiting file
 * could give, memory that is short when a store has arrived.
 *
 * LINK: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
 */
#include <errno.h>
#include <pthread.h>
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
#include "lib/fail_alloc.h"
#include "lib/fake_change.h"
#include "lib/writer_rig.h"
#include "store/cache_io.h"
#include "store/journal.h"
#include "write/writer_private.h"

#define LONG_NS (1000 * NSEC_PER_SEC)
enum { SIZE = 16 * 4096 + 100 };

static struct fake_change *origin;
static struct vmofs_source source;
static struct vmofs_source_ops source_ops;
static struct vmofs_change_ops change_ops;
static atomic_uint arm_after_store; /* this allocation of the thread fails after a store, once */
static struct vm_pool *pool;
static struct writer *writer;
static struct journal *journal;
static char dir[] = "/tmp/vmofs-test-ends-XXXXXX";
static unsigned n_dirs; /* below it, one for each test */
static uint8_t old[SIZE];
static uint64_t next_ino = 100;
static uint64_t reserve, timeout_ns, commit_ns;
static atomic_bool disk_full, full_until_stored;
static struct cache_io io;

/* ---- a writer over the origin ---- */

static int store_and_arm(struct vmofs_source *s UNUSED, struct vmofs_store *st,
			 struct vmofs_err *err)
{
	struct vmofs_source *real = fake_change_source(origin);
	unsigned nth;
	int r;

	fail_alloc_disarm();
	r = real->ops->change->store(real, st, err);
	if (atomic_exchange(&full_until_stored, false))
		disk_full = false;
	nth = atomic_exchange(&arm_after_store, 0);
	if (nth)
		fail_alloc_arm(nth);
	return r;
}

static int attempted(struct vmofs_source *s UNUSED, const char *key, const char *attempt,
		     struct vmofs_version *now, const struct vmofs_change_wait *wait,
		     struct vmofs_err *err)
{
	struct vmofs_source *real = fake_change_source(origin);

	return real->ops->change->attempted(real, key, attempt, now, wait, err);
}

static int object(struct vmofs_source *s UNUSED, const struct vmofs_entry *e,
		  struct vmofs_provider **out, struct vmofs_object_info *info,
		  struct vmofs_err *err)
{
	struct vmofs_source *real = fake_change_source(origin);

	return real->ops->object(real, e, out, info, err);
}

static void start(uint64_t dirty_limit, uint64_t age_ns)
{
	struct writer_params p = {
		.source = &source,
		.journal = journal,
		.dirty_limit = dirty_limit,
		.age_ns = age_ns,
		.commit_ns = commit_ns,
		.reserve = reserve,
		.timeout_ns = timeout_ns,
		.fsync = journal ? WRITER_FSYNC_LOCAL : WRITER_FSYNC_REMOTE,
		.threads = 4,
		.let_go = writer_rig_let_go,
	};
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(writer_new(&writer, &p, &err), 0);
}

static int set_up(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	reserve = 0;
	commit_ns = LONG_NS;
	n_dirs++;
	disk_full = full_until_stored = false;
	timeout_ns = 20 * NSEC_PER_SEC;
	origin = fake_change_new();
	change_ops = *fake_change_source(origin)->ops->change;
	change_ops.store = store_and_arm;
	change_ops.attempted = attempted;
	source_ops = (struct vmofs_source_ops){ .object = object, .change = &change_ops };
	source = (struct vmofs_source){ .ops = &source_ops };
	assert_int_equal(vm_pool_new(&pool, MIB(64), &err), 0);
	for (size_t i = 0; i < sizeof old; i++)
		old[i] = (uint8_t)(i * 7 + i / 256);
	fake_change_put(origin, "key", old, SIZE);
	return 0;
}

static int tear_down(void **state UNUSED)
{
	if (writer)
		writer_stop(writer);
	writer_free(writer);
	writer = NULL;
	journal_close(journal);
	journal = NULL;
	fake_change_free(origin); /* its thread may be about to leave the pool */
	vm_pool_free(pool);
	return 0;
}

static ssize_t write_unless_full(int fd, const struct iovec *iov, int n, off_t off)
{
	if (!disk_full)
		return cache_io_system.pwritev(fd, iov, n, off);
	errno = ENOSPC;
	return -1;
}

static void open_journal(void)
{
	char sub[64];
	struct journal_params p = { .dir = sub, .source = "fake", .io = &io };
	struct vmofs_err err = VMOFS_ERR_INIT;

	io = cache_io_system;
	io.pwritev = write_unless_full;
	snprintf(sub, sizeof sub, "%s/%u", dir, n_dirs);
	assert_int_equal(journal_open(&journal, &p, &err), 0);
}

static int fill(void *arg UNUSED, const char *key, const struct vmofs_version *base,
		struct wfile_params *p)
{
	assert_int_equal(writer_rig_fill(p, pool, &source, key, base), 0);
	p->ino = next_ino++;
	return 0;
}

static struct wfile *open_file(const char *key)
{
	struct wfile_params p = { .key = key };
	struct wfile *f;

	fake_change_version(origin, key, &p.base);
	fill(NULL, key, &p.base, &p);
	assert_int_equal(wfile_new(&f, writer, &p), 0);
	return f;
}

static int sync_file(struct wfile *f)
{
	uint64_t since = wfile_error_mark(f);

	return wfile_store_wait(f, &since, loop_now_ns() + 20 * NSEC_PER_SEC, NULL);
}

/* ---- the stop ---- */

/* The mount is still there when the writer stops, so names may change after it. */
static void test_removed_after_stop(void **state UNUSED)
{
	struct wfile *f, *again;
	struct vmofs_version base;
	bool there;

	start(MIB(16), LONG_NS);
	f = open_file("key");
	again = wfile_get(f);
	assert_int_equal(wfile_write(f, 0, "dirty", 5, false, false), 5);
	writer_stop(writer);
	assert_int_equal(wfile_removed(f, &there, &base), 0);
	assert_true(there);
	wfile_put(f);
	assert_int_equal(wfile_state(again), WFILE_GONE);
	wfile_put(again);
}

struct at_work {
	struct wfile *f;
	int64_t wrote;
};

/* Needs the first page, which the origin does not give yet. */
static void *write_part(void *arg)
{
	struct at_work *a = arg;

	a->wrote = wfile_write(a->f, 10, "late", 4, false, false);
	return NULL;
}

static void *stop_in_thread(void *arg)
{
	writer_stop(writer);
	return arg;
}

static bool is_turn_taken(struct wfile *f)
{
	bool taken;

	mutex_lock(&writer->lock);
	taken = f->turn;
	mutex_unlock(&writer->lock);
	return taken;
}

/* What is told to be written is in the journal, also where the writer stopped meanwhile. */
static void test_written_during_stop(void **state UNUSED)
{
	struct at_work a = { 0 };
	pthread_t writing, going_on;

	open_journal();
	start(MIB(16), LONG_NS);
	a.f = open_file("key");
	/* Its reads wait, as while a store is under way. */
	assert_int_equal(vmo_switch(wfile_vmo(a.f), NULL, 0), 0);
	assert_int_equal(pthread_create(&writing, NULL, write_part, &a), 0);
	while (!is_turn_taken(a.f))
		usleep(1000);
	assert_int_equal(pthread_create(&going_on, NULL, stop_in_thread, NULL), 0);
	for (bool stopping = false; !stopping; usleep(1000)) {
		mutex_lock(&writer->lock);
		stopping = writer->stopping;
		mutex_unlock(&writer->lock);
	}
	assert_int_equal(vmo_switch(wfile_vmo(a.f), vmo_provider(wfile_vmo(a.f)), 0), 0);
	pthread_join(writing, NULL);
	pthread_join(going_on, NULL);
	assert_int_equal(a.wrote, 4);
	assert_true(journal_bytes(journal) > 4096);
	wfile_put(a.f);
}

static void *write_on(void *arg)
{
	struct at_work *a = arg;

	do
		a->wrote = wfile_write(a->f, 10, "on", 2, false, false);
	while (a->wrote > 0);
	return NULL;
}

/* It stops at any moment of a write; for TSan. */
static void test_written_until_it_stops(void **state UNUSED)
{
	for (unsigned i = 0; i < 20; i++) {
		struct at_work a = { 0 };
		pthread_t writing;

		start(MIB(16), LONG_NS);
		a.f = open_file("key");
		assert_int_equal(pthread_create(&writing, NULL, write_on, &a), 0);
		usleep(1000 + 100 * i);
		writer_stop(writer);
		pthread_join(writing, NULL);
		assert_int_equal(a.wrote, -ESHUTDOWN);
		wfile_put(a.f);
		writer_free(writer);
		writer = NULL;
	}
}

/* ---- waits ---- */

static void *sync_in_thread(void *arg)
{
	struct at_work *a = arg;

	a->wrote = sync_file(a->f);
	return NULL;
}

struct resolving {
	struct wfile *f;
	struct vmofs_err err;
	int code;
	atomic_bool over; /* relaxed: TSan is not to take it for an order of things */
};

static void *resolve_in_thread(void *arg)
{
	struct resolving *a = arg;

	a->code = wfile_resolve(a->f, WFILE_KEEP_LOCAL, NULL, &a->err);
	atomic_store_explicit(&a->over, true, memory_order_relaxed);
	return NULL;
}

static void fail_once(struct wfile *f)
{
	mutex_lock(&f->w->lock);
	wfile_fail_locked(f, -EIO, "this time because of the weather");
	mutex_unlock(&f->w->lock);
}

/* What is said of a store that has failed is of that failure, also while the next one comes. */
static void test_failures_one_after_the_other(void **state UNUSED)
{
	struct resolving a = { .err = VMOFS_ERR_INIT };
	pthread_t t;

	start(MIB(16), LONG_NS);
	a.f = open_file("key");
	assert_int_equal(wfile_write(a.f, 0, old, SIZE, false, false), SIZE);
	fake_change_put(origin, "key", "theirs", 6);
	assert_int_equal(sync_file(a.f), -ESTALE);
	fake_change_gate(origin, true);
	assert_int_equal(pthread_create(&t, NULL, resolve_in_thread, &a), 0);
	fake_change_wait_gate(origin, 1);
	while (!atomic_load_explicit(&a.over, memory_order_relaxed))
		fail_once(a.f);
	fail_once(a.f);
	pthread_join(t, NULL);
	fake_change_gate(origin, false);
	assert_int_equal(a.code, -EIO);
	assert_string_equal(a.err.msg, "'key' is not stored yet: this time because of the weather");
	wfile_put(a.f);
}

/* A failure was mended before who waits has looked: he waits on, and lets others do what he waits for. */
static void test_mended(void **state UNUSED)
{
	struct at_work a = { 0 };
	pthread_t waiting;
	bool waits = false;

	start(MIB(16), LONG_NS);
	a.f = open_file("key");
	assert_int_equal(wfile_write(a.f, 0, "dirty", 5, false, false), 5);
	fake_change_gate(origin, true);
	assert_int_equal(pthread_create(&waiting, NULL, sync_in_thread, &a), 0);
	fake_change_wait_gate(origin, 1);
	while (!waits) {
		mutex_lock(&a.f->w->lock);
		waits = a.f->wanted;
		if (waits) {
			wfile_fail_locked(a.f, -EIO, "gone at once");
			a.f->error = 0;
		}
		mutex_unlock(&a.f->w->lock);
	}
	fake_change_gate(origin, false);
	pthread_join(waiting, NULL);
	assert_int_equal(a.wrote, 0);
	wfile_put(a.f);
}

/* ---- no memory ---- */

/* Whatever is missing when the origin has the file: it is read by the version that is there. */
static void test_no_memory_at_the_end(void **state UNUSED)
{
	struct wfile *f;
	char got[8] = "";

	start(MIB(16), LONG_NS);
	f = open_file("key");
	for (unsigned nth = 1; nth <= 12; nth++) {
		const struct vmo_wait wait = { VMOFS_CLASS_DEMAND,
					       loop_now_ns() + 5 * NSEC_PER_SEC };

		arm_after_store = nth;
		assert_int_equal(wfile_write(f, 0, &nth, sizeof nth, false, false), sizeof nth);
		for (int i = 0; i < 20 && sync_file(f) < 0; i++)
			;
		assert_int_equal(wfile_state(f), WFILE_CLEAN);
		vmo_evict(wfile_vmo(f), 0, SIZE, true);
		assert_int_equal(vmo_read(wfile_vmo(f), 0, got, sizeof got, &wait), sizeof got);
		assert_memory_equal(got, &nth, sizeof nth);
	}
	wfile_put(f);
}

static void test_no_memory_for_a_name(void **state UNUSED)
{
	struct vmofs_version now;
	struct wfile *f;
	char got[8];
	int r = -ENOMEM;

	start(MIB(16), LONG_NS);
	f = open_file("key");
	fake_change_put(origin, "other", old, SIZE);
	fake_change_version(origin, "other", &now);
	for (unsigned nth = 1; r < 0; nth++) {
		const struct vmo_wait wait = { VMOFS_CLASS_DEMAND,
					       loop_now_ns() + 5 * NSEC_PER_SEC };

		assert_true(nth < 20);
		fail_alloc_arm(nth);
		r = wfile_renamed(f, "other", NULL, &now);
		fail_alloc_disarm();
		vmo_evict(wfile_vmo(f), 0, SIZE, true);
		assert_int_equal(vmo_read(wfile_vmo(f), 0, got, sizeof got, &wait), sizeof got);
		assert_memory_equal(got, old, sizeof got);
		/* After a failure it is what it was. */
		if (r < 0)
			assert_string_equal(f->key, "key");
	}
	assert_string_equal(f->key, "other");
	fake_change_remove(origin, "key");
	vmo_evict(wfile_vmo(f), 0, SIZE, true);
	assert_int_equal(vmo_read(wfile_vmo(f), 0, got, sizeof got, NULL), sizeof got);
	wfile_put(f);
}

/* ---- room ---- */

/* A write larger than the room: what it has written so far is stored, though it has not come to its end. */
static void test_larger_than_the_room(void **state UNUSED)
{
	static uint8_t much[MIB(1)];
	struct wfile *f;

	start(KIB(64), LONG_NS);
	f = open_file("key");
	memset(much, 7, sizeof much);
	assert_int_equal(wfile_write(f, 0, much, sizeof much, false, false), sizeof much);
	assert_int_equal(sync_file(f), 0);
	assert_true(fake_change_has(origin, "key", much, sizeof much));
	wfile_put(f);
}

static bool is_anybody_queued(void)
{
	bool queued;

	mutex_lock(&writer->room.lock);
	queued = !vmofs_list_empty(&writer->room.queue);
	mutex_unlock(&writer->room.lock);
	return queued;
}

/* Waits for room, and has the turn meanwhile. */
static void *write_at_end(void *arg)
{
	struct at_work *a = arg;
	uint8_t page[4096] = { 9 };

	a->wrote = wfile_write(a->f, 0, page, sizeof page, true, false);
	return NULL;
}

/* The origin is down, there is no room, and somebody waits for it: what was stored to a mapping is taken all the same. */
static void test_mapped_pages(void **state UNUSED)
{
	enum { LIMIT = 16, RESERVE = 8, ALL = 32 };
	static uint8_t all[ALL * 4096];
	struct at_work a = { 0 };
	pthread_t waiting;

	reserve = RESERVE * 4096;
	timeout_ns = 500 * NSEC_PER_MSEC;
	start(LIMIT * 4096, LONG_NS);
	fake_change_put(origin, "mapped", all, sizeof all);
	a.f = open_file("mapped");
	memset(all, 5, sizeof all);
	fake_change_gate(origin, true);
	assert_int_equal(wfile_write(a.f, 0, all, LIMIT * 4096, false, false), LIMIT * 4096);
	assert_int_equal(pthread_create(&waiting, NULL, write_at_end, &a), 0);
	while (!is_anybody_queued())
		usleep(1000);
	/* At once, as far as the reserve goes; and then by the deadline. */
	for (uint64_t p = LIMIT; p < LIMIT + RESERVE; p++)
		assert_int_equal(wfile_write_back(a.f, p * 4096, all, 4096, true), 4096);
	assert_int_equal(wfile_write_back(a.f, (LIMIT + RESERVE) * 4096, all, 4096, true), -EAGAIN);
	for (uint64_t p = LIMIT + RESERVE; p < ALL; p += 4)
		assert_int_equal(wfile_write_back(a.f, p * 4096, all, 4 * 4096, false), 4 * 4096);
	pthread_join(waiting, NULL);
	assert_int_equal(a.wrote, -ENOSPC);
	assert_int_equal(room_used(&writer->room), ALL);
	fake_change_gate(origin, false);
	assert_int_equal(sync_file(a.f), 0);
	assert_true(fake_change_has(origin, "mapped", all, sizeof all));
	assert_int_equal(room_used(&writer->room), 0);
	wfile_put(a.f);
}

/* What is in the journal is there again, though less may be dirty than before. */
static void test_recovered_beyond_the_limit(void **state UNUSED)
{
	static uint8_t much[MIB(1)];
	struct wfile *f;
	uint64_t since = 0;

	open_journal();
	start(MIB(16), LONG_NS);
	f = open_file("key");
	memset(much, 3, sizeof much);
	assert_int_equal(wfile_write(f, 0, much, sizeof much, false, false), sizeof much);
	assert_int_equal(wfile_fsync(f, &since), 0);
	wfile_put(f);
	writer_stop(writer);
	writer_free(writer);
	journal_close(journal);
	timeout_ns = NSEC_PER_SEC;
	open_journal();
	start(KIB(64), LONG_NS);
	assert_int_equal(writer_recover(writer, fill, NULL), 0);
	f = writer_find(writer, next_ino - 1);
	assert_non_null(f);
	assert_int_equal(sync_file(f), 0);
	assert_true(fake_change_has(origin, "key", much, sizeof much));
	wfile_put(f);
}

/* ---- a journal without room ---- */

/* @tried: or a commit has failed. */
static bool is_committed(struct wfile *f, bool tried)
{
	bool is;

	mutex_lock(&writer->lock);
	is = f->committed_seq == f->change_seq || (tried && f->commit_failures);
	mutex_unlock(&writer->lock);
	return is;
}

/* What is promised is then kept by the origin. */
static void test_sync_without_room(void **state UNUSED)
{
	uint64_t since = 0;
	struct wfile *f;

	open_journal();
	start(MIB(16), LONG_NS);
	f = open_file("key");
	disk_full = true;
	assert_int_equal(wfile_write(f, 0, "kept", 4, false, false), 4);
	memcpy(old, "kept", 4);
	assert_int_equal(wfile_fsync(f, &since), 0);
	assert_true(fake_change_has(origin, "key", old, SIZE));
	/* Neither can. */
	fake_change_trouble(origin, FAKE_CHANGE_REFUSED, -EACCES, 1, false);
	assert_int_equal(wfile_write(f, 0, "last", 4, false, false), 4);
	assert_int_equal(wfile_fsync(f, &since), -ENOSPC);
	disk_full = false;
	wfile_put(f);
}

/* The journal has it older than the origin: it is not found again after a crash. */
static void test_older_in_the_journal(void **state UNUSED)
{
	static const char first[4096] = "first", second[4096] = "second", third[4096] = "third";
	struct fake_change_counts n = { 0 };
	uint64_t since = 0;
	struct wfile *f;
	char got[8];

	open_journal();
	start(MIB(16), LONG_NS);
	f = open_file("key");
	assert_int_equal(wfile_write(f, 0, first, 4096, false, false), 4096);
	assert_int_equal(wfile_fsync(f, &since), 0);
	assert_int_equal(wfile_write(f, 0, second, 4096, false, false), 4096);
	fake_change_gate(origin, true);
	(void)wfile_store_wait(f, &since, loop_now_ns(), NULL);
	fake_change_wait_gate(origin, 1);
	assert_int_equal(wfile_write(f, 0, third, 4096, false, false), 4096);
	disk_full = full_until_stored = true;
	fake_change_gate(origin, false);
	while (n.stores < 1 || wfile_state(f) != WFILE_DIRTY)
		fake_change_counts(origin, &n);
	/* As after a crash: nothing more gets into the journal. */
	disk_full = true;
	wfile_put(f);
	writer_stop(writer);
	writer_free(writer);
	journal_close(journal);
	disk_full = false;
	open_journal();
	start(MIB(16), LONG_NS);
	assert_int_equal(writer_recover(writer, fill, NULL), 0);
	f = writer_find(writer, next_ino - 1);
	if (!f)
		f = open_file("key");
	assert_int_equal(vmo_read(wfile_vmo(f), 0, got, sizeof got, NULL), sizeof got);
	assert_string_not_equal(got, "first");
	wfile_put(f);
}

/* What could not be kept is tried again, though nobody asks for it. */
static void test_kept_when_there_is_room(void **state UNUSED)
{
	struct wfile *f;

	commit_ns = 20 * NSEC_PER_MSEC;
	open_journal();
	start(MIB(16), LONG_NS);
	f = open_file("key");
	disk_full = true;
	assert_int_equal(wfile_write(f, 0, "kept", 4, false, false), 4);
	while (!is_committed(f, true))
		usleep(1000);
	disk_full = false;
	while (!is_committed(f, false))
		usleep(1000);
	wfile_put(f);
}

/* ---- when ---- */

/* A store that takes long is no reason for the next file to wait: there are other threads. */
static void test_due_during_a_store(void **state UNUSED)
{
	struct wfile *a, *b;

	start(MIB(16), 50 * NSEC_PER_MSEC);
	fake_change_put(origin, "other", old, SIZE);
	a = open_file("key");
	b = open_file("other");
	fake_change_gate(origin, true);
	assert_int_equal(wfile_write(a, 0, "a", 1, false, false), 1);
	assert_int_equal(wfile_write(b, 0, "b", 1, false, false), 1);
	/* Both are under way at once, or this never ends. */
	fake_change_wait_gate(origin, 2);
	fake_change_gate(origin, false);
	assert_int_equal(sync_file(a), 0);
	assert_int_equal(sync_file(b), 0);
	wfile_put(a);
	wfile_put(b);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(test_removed_after_stop),
		CASE(test_written_during_stop),
		CASE(test_written_until_it_stops),
		CASE(test_failures_one_after_the_other),
		CASE(test_mended),
		CASE(test_no_memory_at_the_end),
		CASE(test_no_memory_for_a_name),
		CASE(test_larger_than_the_room),
		CASE(test_mapped_pages),
		CASE(test_recovered_beyond_the_limit),
		CASE(test_sync_without_room),
		CASE(test_older_in_the_journal),
		CASE(test_kept_when_there_is_room),
		CASE(test_due_during_a_store),
	};
	char command[128];
	int r;

	if (!mkdtemp(dir))
		return 1;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	return system(command) || r;
}
