/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs of the journal with bytes that do not belong there: what a group that was given up has left, what was flipped since it was durable.
 * Nobody sleeps.
 */
#include <errno.h>
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
enum { EACH = 7 };
#else
enum { EACH = 1 };
#endif

/* -- what is left behind the end --------------------------------------------------------------- */

/* A group of one record, so long that what was behind the first one before follows, if that is taken for a part of the log. */
static void cover(struct journal_log *l, const struct journal_state *st)
{
	char buf[WORLD_PAGE] = { 0 };

	assert_int_equal(journal_begin(l), 0);
	assert_int_equal(journal_pages(l, 0, buf, WORLD_PAGE), 0);
	assert_int_equal(journal_pages(l, WORLD_PAGE, buf,
				       WORLD_PAGE - JOURNAL_HEAD_LEN - JOURNAL_STATE_LEN),
			 0);
	assert_int_equal(journal_commit(l, st, true), 0);
}

/* A log with one commit, and behind it two pages and a commit of size 7. */
static struct journal_log *leave(struct journal_world *w, const struct fake_plan *plan)
{
	const struct fake_plan all_well = { 0 };
	struct world_file *a = &w->file[0];

	fake_disk_reset();
	journal_world_init(w);
	assert_true(journal_world_open(w));
	journal_world_begin(w);
	journal_world_commit(w, a, true);
	journal_world_write(w, a, 0, 1);
	journal_world_write(w, a, 1, 1);
	a->dirty.size = 7;
	fake_disk_plan(plan);
	journal_world_commit(w, a, false);
	fake_disk_plan(&all_well);
	return a->log;
}

static void assert_size_is(struct journal_world *w, unsigned size)
{
	journal_world_close(w);
	fake_disk_kill();
	assert_true(journal_world_open(w));
	assert_int_equal(journal_recover(w->j, journal_world_found, w), 0);
	assert_int_equal(w->file[0].log->state.size, size * WORLD_PAGE);
	journal_world_close(w);
}

/* It was written, but the call said no, and then it could not be cut off. */
static void test_a_group_that_was_given_up(void **state)
{
	const struct fake_plan plan = {
		.at = 1, .kinds = BIT(FAKE_TRUNCATE), .err = EIO, .effect = FAKE_ALL
	};
	struct journal_state st = { .size = WORLD_PAGES * WORLD_PAGE };
	struct journal_world w;

	(void)state;
	cover(leave(&w, &plan), &st);
	assert_size_is(&w, WORLD_PAGES);
}

/* Its beginning was lost with the power, and the next process could not cut it off. */
static void test_a_group_without_its_beginning(void **state)
{
	const struct fake_plan all_well = { 0 }, no_cut = { .at = 1, .kinds = BIT(FAKE_TRUNCATE) };
	struct journal_state st = { .size = WORLD_PAGES * WORLD_PAGE };
	struct journal_log *l;
	char name[JOURNAL_NAME];
	struct journal_world w;

	(void)state;
	l = leave(&w, &all_well);
	assert_int_equal(l->state.size, 7 * WORLD_PAGE);
	journal_name(l->id, ".log", name);
	assert_true(fake_disk_flip(w.j->dirs->fd, name, l->synced));
	journal_world_close(&w);
	assert_true(journal_world_open(&w));
	fake_disk_plan(&no_cut);
	/* The first call is the list. */
	assert_int_equal(journal_recover(w.j, journal_world_found, &w), 0);
	assert_null(w.file[0].log);
	assert_int_equal(journal_recover(w.j, journal_world_found, &w), 0);
	fake_disk_plan(&all_well);
	cover(w.file[0].log, &st);
	assert_size_is(&w, WORLD_PAGES);
}

/* What a log has is checked whenever it is read, not only after a start. */
static void test_contents_are_checked(void **state)
{
	const struct fake_plan all_well = { 0 };
	struct journal_log *l;
	char name[JOURNAL_NAME];
	struct journal_world w;
	struct world_snap s;

	(void)state;
	l = leave(&w, &all_well);
	journal_name(l->id, ".log", name);
	assert_true(journal_world_see(l, &s));
	assert_true(fake_disk_flip(w.j->dirs->fd, name, l->end - 2 * JOURNAL_HEAD_LEN));
	assert_false(journal_world_see(l, &s));
	/* So is what a log is written anew from. */
	fake_disk_plan(&(struct fake_plan){ .at = 1, .err = EIO });
	assert_int_equal(journal_sync(l), -EIO);
	assert_true(journal_must_repeat(l));
	assert_int_equal(journal_attempt(l, "x"), -EIO);
	journal_world_commit(&w, &w.file[0], true);
	assert_false(journal_must_repeat(l));
	assert_true(journal_world_see(l, &s));
	assert_int_equal(s.page[0], 'A');
	journal_world_close(&w);
}

/* -- damage ----------------------------------------------------------------------------------- */

struct names {
	unsigned logs, damaged;
};

static int count_names(void *arg, const char *name)
{
	struct names *n = arg;

	n->logs += strstr(name, ".log") != NULL;
	n->damaged += strstr(name, ".damaged") != NULL;
	return 0;
}

/* A file with two durable commits, in a log of which byte @off is wrong. False: that is in the last commit, or behind it. */
static bool damage_at(struct journal_world *w, uint64_t off)
{
	struct world_file *a = &w->file[0];
	char name[JOURNAL_NAME];
	uint64_t synced;

	fake_disk_reset();
	journal_world_init(w);
	journal_world_before(w);
	assert_true(journal_world_open(w));
	assert_int_equal(journal_recover(w->j, journal_world_found, w), 0);
	journal_world_sync(w, a);
	synced = a->log->synced;
	journal_world_write(w, a, 0, 1);
	journal_world_commit(w, a, true);
	journal_name(a->log->id, ".log", name);
	assert_true(fake_disk_flip(w->j->dirs->fd, name, off));
	journal_world_close(w);
	fake_disk_kill();
	return off < synced;
}

static bool in_doubt(uint64_t off)
{
	return off >= JOURNAL_DOUBT_AT && off < JOURNAL_HEADER_LEN;
}

/* Nothing of the file is handed over, and nothing is removed. The other file is not concerned. */
static void test_damage(void **state)
{
	struct journal_world w;
	uint64_t off;

	(void)state;
	for (off = 0; damage_at(&w, off); off += 1 + 10 * (EACH - 1)) {
		struct names n = { 0 };

		assert_true(journal_world_open(&w));
		assert_int_equal(journal_recover(w.j, journal_world_found, &w), 0);
		assert_int_equal(w.file[0].log != NULL, in_doubt(off));
		assert_non_null(w.file[1].log);
		assert_int_equal(fake_disk_io.list(w.j->dirs->fd, count_names, &n), 0);
		assert_int_equal(n.damaged, !in_doubt(off));
		assert_int_equal(n.logs, 1 + in_doubt(off));
		assert_true(journal_bytes(w.j) > off);
		journal_world_close(&w);
	}
	assert_true(off > 1000);
	/* What is behind the last commit that was known to be durable may be what a crash has left. */
	w.file[0].durable = 0;
	journal_world_find(&w, true);
	journal_world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_group_that_was_given_up),
		cmocka_unit_test(test_a_group_without_its_beginning),
		cmocka_unit_test(test_contents_are_checked),
		cmocka_unit_test(test_damage),
	};
	int r;

	/* Below all there is: thousands of failures are as they should be. */
	log_set_level((enum log_level)(LOG_LEVEL_ERROR - 1));
	r = cmocka_run_group_tests(tests, NULL, NULL);
	fake_disk_reset();
	return r;
}
