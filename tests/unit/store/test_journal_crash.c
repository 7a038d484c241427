/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal stopped at each of its system calls, with each of them failing, then another one or all of a kind; with what was
 * not synced lost, torn or zeroed. Whoever comes next finds each file whole as of one of its commits: the last one that was
 * durable or a later one, and after a mere kill the last one. Nobody sleeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/macros.h"
#include "lib/fake_disk.h"
#include "lib/journal_world.h"

/* Sanitizers take their time; there, not every call has its turn. */
#ifdef VMOFS_SANITIZED
enum { EACH = 19 };
#else
enum { EACH = 1 };
#endif

/* A little of everything; what fails fails, and the writer goes on. */
static void life(struct journal_world *w)
{
	struct world_file *a = &w->file[0], *b = &w->file[1], *c = &w->file[2];

	if (!journal_world_open(w))
		return;
	journal_recover(w->j, journal_world_found, w);
	journal_world_begin(w);
	journal_world_write(w, a, 1, 5);
	journal_world_commit(w, a, true);
	journal_world_write(w, c, 20, 4);
	journal_world_write(w, c, 0, 2);
	journal_world_commit(w, c, false);
	journal_world_write(w, a, 8, 1);
	journal_world_commit(w, a, false);
	journal_world_sync(w, a);
	journal_world_attempt(w, a, "a1");
	journal_world_write(w, a, 2, 10);
	journal_world_commit(w, a, false);
	journal_world_stored(w, a, "v1", 2, 10);
	journal_world_zero(a, 5, 3);
	journal_world_commit(w, a, true);
	journal_world_write(w, b, 0, 20);
	journal_world_commit(w, b, false);
	journal_world_cut(b, 11);
	journal_world_commit(w, b, true);
	journal_world_rename(w, b, 1);
	b->dirty.size = WORLD_PAGES;
	journal_world_zero(b, 11, WORLD_PAGES - 11);
	journal_world_write(w, b, 22, 2);
	journal_world_commit(w, b, false);
	journal_world_rename(w, c, 1);
	journal_world_attempt(w, c, "c1");
	journal_world_stored(w, c, "v2", 0, 0);
	if (c->log && journal_begin(c->log) == 0 && journal_zeros(c->log, 0, 1) == 0)
		journal_abort(c->log);
	journal_world_write(w, c, 7, 1);
	journal_world_commit(w, c, true);
	/* More than it is worth. */
	for (unsigned i = 0; i < 4; i++) {
		journal_world_write(w, a, 0, 12 - i);
		journal_world_commit(w, a, i % 2);
	}
	journal_world_remove(c);
	journal_world_write(w, b, 4, 1);
	journal_world_commit(w, b, true);
}

/* What has not reached the disk can be read nevertheless, and nothing says so. */
static bool is_unmarked(int fd)
{
	uint8_t mark = 0;

	if (fd < 0 || !fake_disk_lost(fd))
		return false;
	fake_disk_io.pread(fd, &mark, 1, JOURNAL_DOUBT_AT);
	return !mark;
}

/* Those that should have been removed, and have their names yet, are found as well. */
static int look_at_name(void *arg, const char *name)
{
	struct journal_world *w = arg;
	int fd = strstr(name, ".log") ? fake_disk_io.openat(w->j->dirs->fd, name, O_RDONLY, 0) : -1;

	w->unmarked |= is_unmarked(fd);
	if (fd >= 0)
		fake_disk_io.close(fd);
	return 0;
}

static void look_for_unmarked(struct journal_world *w)
{
	const struct fake_plan all_well = { 0 };

	fake_disk_plan(&all_well);
	for (unsigned i = 0; i < WORLD_FILES; i++)
		w->unmarked |= w->file[i].log && is_unmarked(w->file[i].log->fd);
	if (w->j)
		fake_disk_io.list(w->j->dirs->fd, look_at_name, w);
}

/* What one process did is there for the next one, and can be built upon. */
static void after(struct journal_world *w, bool cut_off)
{
	journal_world_find(w, cut_off);
	for (unsigned i = 0; i < WORLD_FILES && !w->unmarked; i++)
		journal_world_sync(w, &w->file[i]);
	journal_world_close(w);
	if (w->unmarked)
		return;
	fake_disk_power_cut(FAKE_LOSE_ALL, 0);
	journal_world_find(w, true);
	journal_world_begin(w);
	for (unsigned i = 0; i < WORLD_FILES; i++) {
		journal_world_write(w, &w->file[i], i, 4);
		journal_world_commit(w, &w->file[i], true);
		assert_int_equal(w->file[i].durable, w->file[i].n - 1);
	}
	journal_world_close(w);
	fake_disk_power_cut(FAKE_LOSE_ALL, 0);
	journal_world_find(w, true);
	journal_world_close(w);
}

/* Of the lives to come: logs keep no file open. */
static bool shut;

enum end { END_KILL, END_LOSE_ALL, END_LOSE_NOTHING, END_LOSE_ZEROS, END_LOSE_SOME, END_NKINDS };

static void one_life(const struct fake_plan *plan, enum end end, uint64_t seed)
{
	static const enum fake_loss loss[END_NKINDS] = {
		[END_LOSE_ALL] = FAKE_LOSE_ALL,
		[END_LOSE_NOTHING] = FAKE_LOSE_NOTHING,
		[END_LOSE_ZEROS] = FAKE_LOSE_ZEROS,
		[END_LOSE_SOME] = FAKE_LOSE_SOME,
	};
	const struct fake_plan dead = { .at = 1, .stop = true, .err = EIO };
	struct journal_world w;

	fake_disk_reset();
	journal_world_init(&w);
	journal_world_before(&w);
	fake_disk_plan(plan);
	w.forgets = plan->forgets;
	w.drops = plan->drops;
	w.shuts = shut;
	for (unsigned i = 0; i < WORLD_FILES && w.drops; i++)
		w.file[i].kept = w.file[i].durable;
	life(&w);
	if (end == END_KILL)
		look_for_unmarked(&w);
	assert_true(!w.unmarked || plan->then || plan->stop || (plan->kinds & BIT(FAKE_WRITE)));
	/* A dead process writes nothing, and frees what it had for the sake of the sanitizer. */
	fake_disk_plan(&dead);
	journal_world_close(&w);
	w.forgets = w.drops = w.shuts = false;
	assert_int_equal(fake_disk_kill(), 0);
	if (end != END_KILL)
		fake_disk_power_cut(loss[end], seed);
	after(&w, end != END_KILL);
}

static unsigned count_calls(void)
{
	const struct fake_plan plan = { 0 };
	struct journal_world w;
	unsigned n;

	fake_disk_reset();
	journal_world_init(&w);
	journal_world_before(&w);
	fake_disk_plan(&plan);
	life(&w);
	n = fake_disk_calls();
	/* The life has all that can fail. */
	for (unsigned k = 0; k < FAKE_NCALLS; k++)
		assert_true(fake_disk_calls_of(k) > 0);
	assert_true(w.file[0].log->group < 10);
	journal_world_close(&w);
	return n;
}

static void test_nothing_fails(void **state)
{
	const struct fake_plan plan = { 0 }, shorter = { .shorter = true };

	(void)state;
	assert_true(count_calls() > 100);
	for (unsigned end = 0; end < END_NKINDS; end++) {
		one_life(&plan, end, 1);
		one_life(&shorter, end, 1);
	}
}

static void test_stop_at_every_call(void **state)
{
	unsigned n = count_calls();

	(void)state;
	for (unsigned k = 1; k <= n + 1; k += EACH)
		for (unsigned effect = 0; effect < FAKE_NEFFECTS; effect++)
			for (unsigned end = 0; end < END_NKINDS; end++) {
				struct fake_plan plan = {
					.at = k, .stop = true, .err = EIO, .effect = effect
				};

				one_life(&plan, end, k);
			}
}

/* The order in which a disk takes what was not synced is anybody's guess. */
static void test_stop_and_lose_some(void **state)
{
	unsigned n = count_calls();

	(void)state;
	for (unsigned k = 1; k <= n + 1; k += EACH)
		for (unsigned seed = 0; seed < 20; seed++) {
			struct fake_plan plan = {
				.at = k, .stop = true, .err = EIO, .effect = seed % FAKE_NEFFECTS
			};

			one_life(&plan, END_LOSE_SOME, k * 100 + seed);
		}
}

static void test_every_call_fails(void **state)
{
	static const int errs[] = { EIO, ENOSPC, EROFS, EMFILE };
	unsigned n = count_calls();

	(void)state;
	for (unsigned k = 1; k <= n; k += EACH)
		for (unsigned i = 0; i < 2 * FAKE_NEFFECTS; i++)
			for (unsigned end = 0; end < END_NKINDS; end++) {
				struct fake_plan plan = { .at = k,
							  .err = errs[(k + i) % ARRAY_LEN(errs)],
							  .effect = i % FAKE_NEFFECTS,
							  .forgets = i >= FAKE_NEFFECTS };

				one_life(&plan, end, k);
			}
}

/* From some call on all syncs fail, or all writes, or both, and so on. */
static void test_a_kind_of_call_fails(void **state)
{
	static const unsigned kinds[] = {
		BIT(FAKE_SYNC),
		BIT(FAKE_SYNC_DIR),
		BIT(FAKE_WRITE),
		BIT(FAKE_READ),
		BIT(FAKE_RENAME),
		BIT(FAKE_OPEN),
		BIT(FAKE_SYNC) | BIT(FAKE_SYNC_DIR),
		BIT(FAKE_WRITE) | BIT(FAKE_TRUNCATE),
		BIT(FAKE_WRITE) | BIT(FAKE_TRUNCATE) | BIT(FAKE_UNLINK),
		BIT(FAKE_SYNC) | BIT(FAKE_RENAME),
	};
	unsigned n = count_calls();

	(void)state;
	for (unsigned k = 1; k <= n; k += EACH)
		for (unsigned i = 0; i < ARRAY_LEN(kinds); i++)
			for (unsigned end = 0; end < END_NKINDS; end++) {
				struct fake_plan plan = { .at = k,
							  .kinds = kinds[i],
							  .err = k % 2 ? EIO : ENOSPC,
							  .forgets = k / 2 % 2 };

				one_life(&plan, end, k);
			}
}

/* One fails, and while that is mended another one; then the machine stops. */
static void test_two_calls_fail(void **state)
{
	unsigned n = count_calls();

	(void)state;
	for (unsigned k = 1; k <= n; k += EACH)
		for (unsigned m = k + 1; m <= k + 25; m++)
			for (unsigned forgets = 0; forgets < 2; forgets++) {
				struct fake_plan plan = {
					.at = k,
					.then = m,
					.err = EIO,
					.effect = m % FAKE_NEFFECTS,
					.forgets = forgets,
				};

				one_life(&plan, (k + m) % 2 ? END_LOSE_ALL : END_KILL, k);
			}
}

/* More files are dirty than may be open. */
static void test_files_are_shut(void **state)
{
	unsigned n = count_calls() + 30;

	(void)state;
	shut = true;
	for (unsigned k = 1; k <= n; k += EACH)
		for (unsigned i = 0; i < 4; i++)
			for (unsigned end = 0; end < END_NKINDS; end++) {
				struct fake_plan plan = {
					.at = k,
					.stop = i & 1,
					.drops = i & 2,
					.err = EIO,
					.effect = (k + i) % FAKE_NEFFECTS,
					.forgets = k / 3 % 2,
				};

				one_life(&plan, end, k);
			}
	shut = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_fails),
		cmocka_unit_test(test_stop_at_every_call),
		cmocka_unit_test(test_stop_and_lose_some),
		cmocka_unit_test(test_every_call_fails),
		cmocka_unit_test(test_a_kind_of_call_fails),
		cmocka_unit_test(test_two_calls_fail),
		cmocka_unit_test(test_files_are_shut),
	};
	int r;

	/* Below all there is: thousands of failures are as they should be. */
	log_set_level((enum log_level)(LOG_LEVEL_ERROR - 1));
	r = cmocka_run_group_tests(tests, NULL, NULL);
	fake_disk_reset();
	return r;
}
