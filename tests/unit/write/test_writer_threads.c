/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer under threads: each changes a file of its own and knows what is in it, others write it back, look, sync and drop pages,
 * while the origin loses requests and answers, there is next to no room, and the journal is told of all. For TSan, and for what
 * hangs. VMOFS_TEST_SEED=N and VMOFS_TEST_MS=N make it another, or longer one.
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

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "lib/fake_change.h"
#include "lib/prng.h"
#include "lib/writer_rig.h"
#include "store/journal.h"
#include "write/writer.h"

enum { FILES = 4, MAX_SIZE = 24 * 4096, RUN_MS = 1500 };

struct owner {
	unsigned n;
	pthread_t thread;
	char key[16];
	uint64_t ino;
	struct wfile *f;
	uint64_t since;
	uint8_t want[MAX_SIZE];
	uint64_t size;
	struct prng rnd;
	unsigned synced, renamed, removed;
};

static struct fake_change *origin;
static struct vm_pool *pool;
static struct writer *writer;
static struct journal *journal;
static char dir[] = "/tmp/vmofs-test-threads-XXXXXX";
static struct owner owners[FILES];
static atomic_bool over;
static atomic_uint next_name;
static atomic_ullong next_ino = 100;
static uint64_t seed = 1;

/* cmocka's are for its own thread. */
#define must(x)                                                                            \
	do {                                                                               \
		if (!(x)) {                                                                \
			fprintf(stderr, "%s:%d: %s (seed %llu)\n", __FILE__, __LINE__, #x, \
				(unsigned long long)seed);                                 \
			abort();                                                           \
		}                                                                          \
	} while (0)

/* ---- one file ---- */

/* The one that is there, or one over what the origin has. */
static void open_it(struct owner *o)
{
	struct vmofs_source *s = fake_change_source(origin);
	struct wfile_params p = { .key = o->key, .ino = o->ino };

	o->f = writer_find(writer, o->ino);
	if (!o->f) {
		fake_change_version(origin, o->key, &p.base);
		must(writer_rig_fill(&p, pool, s, o->key, &p.base) == 0);
		must(wfile_new(&o->f, writer, &p) == 0);
	}
	o->since = wfile_error_mark(o->f);
}

static void check_it(struct owner *o)
{
	static _Thread_local uint8_t got[MAX_SIZE];

	/* What is not known is asked for soon: reads may wait for that. */
	(void)wfile_store_wait(o->f, &o->since, loop_now_ns(), NULL);
	must(vmo_size(wfile_vmo(o->f)) == o->size);
	must(vmo_read(wfile_vmo(o->f), 0, got, o->size, NULL) == (int64_t)o->size);
	must(!memcmp(got, o->want, o->size));
}

static void write_it(struct owner *o)
{
	uint64_t off = prng_below(&o->rnd, MIN(o->size + 9000, MAX_SIZE));
	uint64_t len = 1 + prng_below(&o->rnd, prng_chance(&o->rnd, 30) ? MAX_SIZE - off : 100);
	static _Thread_local uint8_t data[MAX_SIZE];
	int64_t n;

	len = MIN(len, MAX_SIZE - off);
	memset(data, (int)prng_next(&o->rnd), len);
	if (prng_chance(&o->rnd, 20))
		n = wfile_write_back(o->f, off, data, len, false);
	else
		n = wfile_write(o->f, off, data, len, false, prng_chance(&o->rnd, 40));
	must(n > 0 || n == -EAGAIN || n == -ENOSPC || n == -ETIMEDOUT);
	if (n <= 0)
		return;
	if (off > o->size)
		memset(o->want + o->size, 0, off - o->size);
	memcpy(o->want + off, data, (size_t)n);
	o->size = MAX(o->size, off + (uint64_t)n);
}

static void cut_it(struct owner *o)
{
	uint64_t size = prng_below(&o->rnd, MAX_SIZE);
	int r = wfile_truncate(o->f, size);

	must(r == 0 || r == -ENOSPC || r == -ETIMEDOUT);
	if (r < 0)
		return;
	if (size > o->size)
		memset(o->want + o->size, 0, size - o->size);
	o->size = size;
}

static void zero_it(struct owner *o)
{
	uint64_t off = prng_below(&o->rnd, MAX_SIZE);
	uint64_t len = 1 + prng_below(&o->rnd, MAX_SIZE - off);
	int r;

	if (off >= o->size)
		return;
	r = wfile_zero(o->f, off, len, false);
	must(r == 0 || r == -ENOSPC || r == -ETIMEDOUT);
	if (r == 0)
		memset(o->want + off, 0, MIN(len, o->size - off));
	else /* some of it is zero */
		must(vmo_read(wfile_vmo(o->f), 0, o->want, o->size, NULL) == (int64_t)o->size);
}

static void sync_it(struct owner *o)
{
	int r = prng_chance(&o->rnd, 50)
		? wfile_fsync(o->f, &o->since)
		: wfile_store_wait(o->f, &o->since, loop_now_ns() + 20 * NSEC_PER_MSEC, NULL);

	must(r == 0 || r == -EIO || r == -EACCES || r == -ETIMEDOUT);
	o->synced += r == 0;
	if (wfile_state(o->f) == WFILE_CLEAN)
		must(fake_change_has(origin, o->key, o->want, o->size));
}

static void close_it(struct owner *o)
{
	(void)wfile_closed(o->f, &o->since);
	wfile_put(o->f);
	open_it(o);
}

static void name_it(struct owner *o)
{
	snprintf(o->key, sizeof o->key, "%u.%u", o->n, next_name++);
	o->ino = next_ino++;
	o->size = 0;
}

/* Another file takes its place. */
static void remove_it(struct owner *o)
{
	struct vmofs_version base;
	bool there;
	int r = wfile_removed(o->f, &there, &base);

	must(r == 0 || r == -EIO || r == -ETIMEDOUT);
	if (r < 0)
		return;
	o->removed++;
	check_it(o);
	wfile_put(o->f);
	fake_change_remove(origin, o->key);
	name_it(o);
	open_it(o);
}

static void rename_it(struct owner *o)
{
	const struct vmofs_version nothing = { .exists = false };
	struct vmofs_version base;
	char key[16];
	int r;

	snprintf(key, sizeof key, "%u.%u", o->n, next_name++);
	wfile_base(o->f, &base);
	if (base.exists)
		return;
	r = wfile_renamed(o->f, key, &nothing, NULL);
	must(r == 0 || r == -EBUSY || r == -EIO || r == -ETIMEDOUT);
	if (r < 0)
		return;
	o->renamed++;
	memcpy(o->key, key, sizeof o->key);
}

static void *own_main(void *arg)
{
	static void (*const acts[])(struct owner * o) = {
		write_it, write_it, write_it, write_it, write_it, write_it,  cut_it,
		zero_it,  check_it, check_it, sync_it,  close_it, rename_it, remove_it,
	};
	struct owner *o = arg;

	while (!over)
		acts[prng_below(&o->rnd, ARRAY_LEN(acts) - !prng_chance(&o->rnd, 30))](o);
	return NULL;
}

/* ---- the others ---- */

static int look(void *arg UNUSED, const struct wfile_status *s)
{
	must(s->key[0] && s->state != WFILE_CONFLICT);
	return 0;
}

static void *look_main(void *arg)
{
	static const enum fake_change_trouble what[] = { FAKE_CHANGE_REFUSED, FAKE_CHANGE_LOST,
							 FAKE_CHANGE_UNHEARD, FAKE_CHANGE_NONE };
	struct prng rnd = { .state = seed * 77 };
	struct writer_stats st;

	while (!over) {
		struct wfile *f = writer_find(writer, 100 + prng_below(&rnd, next_ino - 100));
		enum fake_change_trouble t = what[prng_below(&rnd, ARRAY_LEN(what))];

		writer_each(writer, look, NULL);
		writer_stats(writer, &st);
		if (f)
			vmo_evict(wfile_vmo(f), 0, MAX_SIZE, true);
		wfile_put(f);
		fake_change_trouble(origin, t, t == FAKE_CHANGE_REFUSED ? -EACCES : -EIO,
				    t == FAKE_CHANGE_NONE ? 0 : 1, prng_chance(&rnd, 20));
		usleep(500 + (useconds_t)prng_below(&rnd, 3000));
	}
	return arg;
}

/* ---- all together ---- */

static void start(enum writer_fsync fsync_as)
{
	struct writer_params p = {
		.source = fake_change_source(origin),
		.journal = journal,
		.dirty_limit = 40 * 4096,
		.reserve = 8 * 4096,
		.age_ns = 5 * NSEC_PER_MSEC,
		.commit_ns = 3 * NSEC_PER_MSEC,
		.timeout_ns = 50 * NSEC_PER_MSEC,
		.fsync = fsync_as,
		.threads = 3,
		.let_go = writer_rig_let_go,
	};
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(writer_new(&writer, &p, &err), 0);
}

static void run(enum writer_fsync fsync_as)
{
	const char *ms = getenv("VMOFS_TEST_MS");
	struct journal_params jp = { .dir = dir, .source = "fake" };
	struct vmofs_err err = VMOFS_ERR_INIT;
	unsigned conflicts, done = 0;
	pthread_t looks;

	log_set_level(LOG_LEVEL_ERROR);
	origin = fake_change_new();
	over = false;
	assert_int_equal(vm_pool_new(&pool, MIB(64), &err), 0);
	assert_int_equal(journal_open(&journal, &jp, &err), 0);
	start(fsync_as);
	for (unsigned i = 0; i < FILES; i++) {
		struct owner *o = &owners[i];

		*o = (struct owner){ .n = i, .rnd.state = seed * 1000 + i };
		name_it(o);
		open_it(o);
		assert_int_equal(pthread_create(&o->thread, NULL, own_main, o), 0);
	}
	assert_int_equal(pthread_create(&looks, NULL, look_main, NULL), 0);
	usleep((ms ? (unsigned)atoi(ms) : RUN_MS) * 1000);
	over = true;
	pthread_join(looks, NULL);
	fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
	for (unsigned i = 0; i < FILES; i++)
		pthread_join(owners[i].thread, NULL);
	while (writer_drain(writer, loop_now_ns() + 5 * NSEC_PER_SEC, NULL, &conflicts))
		;
	assert_int_equal(conflicts, 0);
	for (unsigned i = 0; i < FILES; i++) {
		struct owner *o = &owners[i];

		check_it(o);
		assert_true(fake_change_has(origin, o->key, o->want, o->size));
		done += (o->synced > 0) + (o->removed > 0);
		wfile_put(o->f);
	}
	assert_true(done > 0);
	writer_stop(writer);
	writer_free(writer);
	assert_int_equal(journal_bytes(journal), 0);
	journal_close(journal);
	fake_change_free(origin);
	vm_pool_free(pool);
}

static void test_remote(void **state UNUSED)
{
	run(WRITER_FSYNC_REMOTE);
}

static void test_local(void **state UNUSED)
{
	run(WRITER_FSYNC_LOCAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_remote),
		cmocka_unit_test(test_local),
	};
	const char *given = getenv("VMOFS_TEST_SEED");
	char command[128];
	int r;

	if (given)
		seed = strtoull(given, NULL, 10);
	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	return system(command) || r;
}
