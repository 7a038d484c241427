/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal stopped at each of its system calls, with each of them failing, then another one or all of a kind; with what was
 * not synced lost, torn or zeroed. Whoever comes next finds each file whole as of one of its commits: the last one that was
 * durable or a later one, and after a mere kill the last one. Nobody sleeps.
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
#include "lib/prng.h"
#include "store/journal_private.h"

#define DIR     "/var/journal"
#define PAGE    700u
#define PAGES   24u
#define NONE    (-1)
#define FILES   3u
#define COMMITS 64u

/* Sanitizers take their time; there, not every call has its turn. */
#ifdef VMOFS_SANITIZED
enum { EACH = 7 };
#else
enum { EACH = 1 };
#endif

/* -- what is expected ------------------------------------------------------------------------- */

/* A file as a commit has it. '.': the log has nothing there; '0': zeros; else what the page is filled with. */
struct snap {
	char page[PAGES + 1];
	unsigned size; /* pages */
	char key[8], validator[8], attempt[8];
};

struct file {
	char name; /* its keys begin with it */
	struct journal_log *log;
	struct snap dirty;           /* as memory has it */
	struct snap in_log;          /* as the last commit that succeeded has it */
	bool unlogged[PAGES];        /* written since */
	struct snap commit[COMMITS]; /* all that were tried */
	int n;
	int durable; /* the last one that was, NONE */
	int kept;    /* the last one that a kill leaves */
	bool gone;   /* its removal has been tried */
	bool gone_for_good;
};

struct world {
	struct journal *j;
	struct file file[FILES];
	bool forgets;
	bool unmarked;   /* a sync has failed, and so has all that would tell the next process */
	unsigned letter; /* of the next write */
};

static void snap_init(struct snap *s, char name)
{
	memset(s, 0, sizeof *s);
	memset(s->page, '.', PAGES);
	s->size = PAGES;
	snprintf(s->key, sizeof s->key, "%c0", name);
	snprintf(s->validator, sizeof s->validator, "v0");
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof *w);
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &w->file[i];

		f->name = (char)('a' + i);
		f->durable = f->kept = NONE;
		snap_init(&f->dirty, f->name);
		f->in_log = f->dirty;
	}
}

/* What a log says of itself before anything of it has been tried to write. */
static void texts_of(struct snap *s, const struct journal_log *l)
{
	snprintf(s->key, sizeof s->key, "%.7s", l->key);
	snprintf(s->validator, sizeof s->validator, "%.7s", l->base.validator);
	snprintf(s->attempt, sizeof s->attempt, "%.7s", l->attempt);
}

static void tried(struct file *f, const struct snap *s)
{
	assert_true(f->n < (int)COMMITS);
	f->commit[f->n++] = *s;
}

/* The commit that was tried last has ended with @e. */
static bool ended(struct world *w, struct file *f, int e)
{
	if (e == 0) {
		f->in_log = f->commit[f->n - 1];
		f->kept = f->n - 1;
		if (journal_is_durable(f->log))
			f->durable = f->n - 1;
		return true;
	}
	if (journal_must_repeat(f->log) && w->forgets)
		f->kept = f->durable;
	return false;
}

/* -- what a writer does ----------------------------------------------------------------------- */

static void write_pages(struct world *w, struct file *f, unsigned first, unsigned n)
{
	char c = (char)('A' + w->letter++ % 26);

	for (unsigned p = first; p < first + n; p++) {
		f->dirty.page[p] = c;
		f->unlogged[p] = true;
	}
}

static void zero_pages(struct file *f, unsigned first, unsigned n)
{
	for (unsigned p = first; p < first + n; p++) {
		f->dirty.page[p] = '0';
		f->unlogged[p] = true;
	}
}

static void cut(struct file *f, unsigned size)
{
	f->dirty.size = size;
	for (unsigned p = size; p < PAGES; p++) {
		f->dirty.page[p] = '.';
		f->unlogged[p] = false;
	}
}

static struct journal_state state_of(const struct snap *s)
{
	return (struct journal_state){ .size = s->size * PAGE, .mtime = { 5, 6 } };
}

/* Pages that are alike go together. */
static int log_pages(struct file *f, bool all)
{
	char buf[PAGES * PAGE];
	int e = 0;

	for (unsigned p = 0; p < f->dirty.size && e == 0;) {
		char c = f->dirty.page[p];
		unsigned n = 1;

		if (c == '.' || !(all || f->unlogged[p])) {
			p++;
			continue;
		}
		while (p + n < f->dirty.size && f->dirty.page[p + n] == c &&
		       (all || f->unlogged[p + n]))
			n++;
		memset(buf, c, n * PAGE);
		e = c == '0' ? journal_zeros(f->log, p * PAGE, n * PAGE)
			     : journal_pages(f->log, p * PAGE, buf, n * PAGE);
		p += n;
	}
	return e;
}

static int group_of(struct file *f, bool durable)
{
	struct journal_state st = state_of(&f->dirty);
	bool all = journal_must_repeat(f->log);
	int e = journal_begin(f->log);

	if (e == 0)
		e = log_pages(f, all);
	return e == 0 ? journal_commit(f->log, &st, durable) : e;
}

static void commit(struct world *w, struct file *f, bool durable)
{
	struct snap s = f->dirty;

	if (!f->log)
		return;
	texts_of(&s, f->log);
	tried(f, &s);
	if (ended(w, f, group_of(f, durable)))
		memset(f->unlogged, 0, sizeof f->unlogged);
}

static void sync_it(struct world *w, struct file *f)
{
	if (!f->log || f->kept == NONE)
		return;
	if (journal_sync(f->log) == 0)
		f->durable = f->kept;
	else if (w->forgets)
		f->kept = f->durable;
}

static void attempt(struct world *w, struct file *f, const char *name)
{
	struct snap s = f->in_log;

	if (!f->log)
		return;
	texts_of(&s, f->log);
	snprintf(s.attempt, sizeof s.attempt, "%s", name);
	tried(f, &s);
	ended(w, f, journal_attempt(f->log, name));
}

static void rename_it(struct world *w, struct file *f, unsigned number)
{
	struct snap s = f->in_log;

	if (!f->log)
		return;
	texts_of(&s, f->log);
	snprintf(s.key, sizeof s.key, "%c%u", f->name, number);
	tried(f, &s);
	ended(w, f, journal_rename(f->log, s.key));
}

/* The origin has all but the pages [first, first + n), which were written since. */
static void stored(struct world *w, struct file *f, const char *validator, unsigned first,
		   unsigned n)
{
	struct journal_base base = { .exists = true, .size = 5 };
	struct journal_range keep = { first * PAGE, n * PAGE };
	struct snap s = f->in_log;
	struct journal_state st = state_of(&s);

	if (!f->log)
		return;
	texts_of(&s, f->log);
	s.attempt[0] = 0;
	snprintf(s.validator, sizeof s.validator, "%s", validator);
	snprintf(base.validator, sizeof base.validator, "%s", validator);
	for (unsigned p = 0; p < PAGES; p++)
		if (p < first || p >= first + n)
			s.page[p] = '.';
	tried(f, &s);
	if (!ended(w, f, journal_stored(f->log, &base, &st, &keep, n > 0)))
		return;
	for (unsigned p = 0; p < PAGES; p++)
		if ((p < first || p >= first + n) && !f->unlogged[p])
			f->dirty.page[p] = '.';
}

static void remove_it(struct file *f)
{
	bool promised;

	if (!f->log)
		return;
	promised = f->log->promised;
	f->gone = true;
	f->gone_for_good = journal_remove(f->log) == 0 && (promised || f->n == 0);
	f->log = NULL;
}

/* -- what is found ---------------------------------------------------------------------------- */

struct seen {
	struct journal_sink sink;
	struct snap snap;
	uint64_t end;
};

static int seen_range(struct journal_sink *sink, uint64_t off, uint64_t len, const char *buf)
{
	struct seen *s = container_of(sink, struct seen, sink);

	assert_true(off >= s->end && off % PAGE == 0 && len % PAGE == 0 && len > 0);
	assert_true(off + len <= (uint64_t)PAGES * PAGE);
	s->end = off + len;
	for (uint64_t i = 0; i < len; i++) {
		uint64_t p = (off + i) / PAGE;

		if (i % PAGE == 0)
			s->snap.page[p] = buf ? buf[i] : '0';
		assert_true(!buf || buf[i] == s->snap.page[p]);
	}
	return 0;
}

static int seen_pages(struct journal_sink *s, uint64_t off, const void *buf, uint64_t len)
{
	return seen_range(s, off, len, buf);
}

static int seen_zeros(struct journal_sink *s, uint64_t off, uint64_t len)
{
	return seen_range(s, off, len, NULL);
}

/* What the log has; false: it could not be read. */
static bool see(struct journal_log *l, struct snap *out)
{
	struct seen s = { .sink = { seen_pages, seen_zeros } };

	snap_init(&s.snap, 'x');
	s.snap.size = (unsigned)(l->state.size / PAGE);
	texts_of(&s.snap, l);
	if (journal_read(l, &s.sink) < 0)
		return false;
	*out = s.snap;
	return true;
}

static bool alike(const struct snap *a, const struct snap *b)
{
	return memcmp(a->page, b->page, PAGES) == 0 && a->size == b->size &&
		strcmp(a->key, b->key) == 0 && strcmp(a->validator, b->validator) == 0 &&
		strcmp(a->attempt, b->attempt) == 0;
}

static void show(const char *what, const struct snap *s)
{
	print_error("%s %s size %u key %s base %s attempt %s\n", what, s->page, s->size, s->key,
		    s->validator, s->attempt);
}

/* @s is commit @from or a later one. */
static void assert_one_of(const struct file *f, int from, const struct snap *s)
{
	for (int i = MAX(from, 0); i < f->n; i++)
		if (alike(&f->commit[i], s))
			return;
	show("found   ", s);
	for (int i = 0; i < f->n; i++)
		show(i < from ? "  old   " : "  allowed", &f->commit[i]);
	fail_msg("file %c is as no commit had it", f->name);
}

static int on_found(void *arg, struct journal_found *found)
{
	struct world *w = arg;
	struct file *f = &w->file[found->key[0] - 'a'];

	assert_in_range(found->key[0], 'a', 'a' + (int)FILES - 1);
	assert_null(f->log);
	f->log = found->log;
	return 0;
}

static bool open_world(struct world *w)
{
	struct journal_params p = { .dir = DIR, .source = "somewhere", .io = &fake_disk_io };
	struct vmofs_err err = VMOFS_ERR_INIT;

	if (journal_open(&w->j, &p, &err) < 0)
		return false;
	w->j->stage = 3000;
	w->j->piece = 2 * PAGE + 100;
	w->j->slack = 6000;
	return true;
}

static void close_world(struct world *w)
{
	for (unsigned i = 0; i < FILES; i++) {
		journal_log_close(w->file[i].log);
		w->file[i].log = NULL;
	}
	journal_close(w->j);
	w->j = NULL;
}

static int no_damaged(void *arg, const char *name)
{
	(void)arg;
	assert_null(strstr(name, ".damaged"));
	assert_null(strstr(name, ".new"));
	return 0;
}

/* Of each file, from which commit on one must be found. */
static void find_all(struct world *w, bool cut_off)
{
	assert_true(open_world(w));
	assert_int_equal(journal_recover(w->j, on_found, w), 0);
	assert_int_equal(fake_disk_io.list(w->j->dirs->fd, no_damaged, NULL), 0);
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &w->file[i];
		int from = cut_off ? f->durable : f->kept;
		struct snap s;

		if (!f->log) {
			assert_true(from == NONE || f->gone);
			f->gone = true;
			continue;
		}
		assert_false(f->gone_for_good);
		assert_true(see(f->log, &s));
		assert_one_of(f, from, &s);
		/* That is what there is from now on. */
		f->dirty = f->in_log = f->commit[0] = s;
		f->n = 1;
		f->kept = 0;
		f->durable = NONE;
		f->gone = false;
		memset(f->unlogged, 0, sizeof f->unlogged);
	}
}

/* Files that were not found begin anew. */
static void begin_missing(struct world *w)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &w->file[i];
		struct journal_base base = { .validator = "v0" };
		struct file fresh = { .name = f->name, .durable = NONE, .kept = NONE };

		/* One that is there, but cannot be read now, is not another one. */
		if (f->log || (f->n && !f->gone))
			continue;
		snap_init(&fresh.dirty, f->name);
		fresh.in_log = fresh.dirty;
		if (journal_log_new(w->j, fresh.dirty.key, &base, &fresh.log) == 0)
			*f = fresh;
	}
}

/* -- what goes on ----------------------------------------------------------------------------- */

/* What is there before anything goes wrong: a file with a durable commit, and one with one that is not. */
static void before(struct world *w)
{
	struct file *a = &w->file[0], *b = &w->file[1];

	assert_true(open_world(w));
	begin_missing(w);
	write_pages(w, a, 0, 9);
	commit(w, a, true);
	write_pages(w, a, 3, 3);
	commit(w, a, false);
	write_pages(w, b, 2, 2);
	commit(w, b, false);
	attempt(w, b, "b0");
	assert_int_equal(a->durable, 0);
	assert_int_equal(a->kept, 1);
	close_world(w);
	fake_disk_kill();
}

/* A little of everything; what fails fails, and the writer goes on. */
static void life(struct world *w)
{
	struct file *a = &w->file[0], *b = &w->file[1], *c = &w->file[2];

	if (!open_world(w))
		return;
	journal_recover(w->j, on_found, w);
	begin_missing(w);
	write_pages(w, a, 1, 5);
	commit(w, a, true);
	write_pages(w, c, 20, 4);
	write_pages(w, c, 0, 2);
	commit(w, c, false);
	write_pages(w, a, 8, 1);
	commit(w, a, false);
	sync_it(w, a);
	attempt(w, a, "a1");
	write_pages(w, a, 2, 10);
	commit(w, a, false);
	stored(w, a, "v1", 2, 10);
	zero_pages(a, 5, 3);
	commit(w, a, true);
	write_pages(w, b, 0, 20);
	commit(w, b, false);
	cut(b, 11);
	commit(w, b, true);
	rename_it(w, b, 1);
	b->dirty.size = PAGES;
	zero_pages(b, 11, PAGES - 11);
	write_pages(w, b, 22, 2);
	commit(w, b, false);
	rename_it(w, c, 1);
	attempt(w, c, "c1");
	stored(w, c, "v2", 0, 0);
	if (c->log && journal_begin(c->log) == 0 && journal_zeros(c->log, 0, 1) == 0)
		journal_abort(c->log);
	write_pages(w, c, 7, 1);
	commit(w, c, true);
	/* More than it is worth. */
	for (unsigned i = 0; i < 4; i++) {
		write_pages(w, a, 0, 12 - i);
		commit(w, a, i % 2);
	}
	remove_it(c);
	write_pages(w, b, 4, 1);
	commit(w, b, true);
}

/* What has not reached the disk can be read nevertheless, and nothing says so. */
static bool is_unmarked(const struct journal_log *l)
{
	const struct fake_plan all_well = { 0 };
	uint8_t mark = 0;

	fake_disk_plan(&all_well);
	if (!l || l->fd < 0 || !fake_disk_lost(l->fd))
		return false;
	fake_disk_io.pread(l->fd, &mark, 1, JOURNAL_DOUBT_AT);
	return !mark;
}

/* What one process did is there for the next one, and can be built upon. */
static void after(struct world *w, bool cut_off)
{
	find_all(w, cut_off);
	for (unsigned i = 0; i < FILES && !w->unmarked; i++)
		sync_it(w, &w->file[i]);
	close_world(w);
	if (w->unmarked)
		return;
	fake_disk_power_cut(FAKE_LOSE_ALL, 0);
	find_all(w, true);
	begin_missing(w);
	for (unsigned i = 0; i < FILES; i++) {
		write_pages(w, &w->file[i], i, 4);
		commit(w, &w->file[i], true);
		assert_int_equal(w->file[i].durable, w->file[i].n - 1);
	}
	close_world(w);
	fake_disk_power_cut(FAKE_LOSE_ALL, 0);
	find_all(w, true);
	close_world(w);
}

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
	struct world w;

	fake_disk_reset();
	world_init(&w);
	before(&w);
	fake_disk_plan(plan);
	w.forgets = plan->forgets;
	life(&w);
	for (unsigned i = 0; i < FILES; i++)
		w.unmarked |= end == END_KILL && is_unmarked(w.file[i].log);
	assert_true(!w.unmarked || plan->then || plan->stop || (plan->kinds & BIT(FAKE_WRITE)));
	/* A dead process writes nothing, and frees what it had for the sake of the sanitizer. */
	fake_disk_plan(&dead);
	close_world(&w);
	w.forgets = false;
	assert_int_equal(fake_disk_kill(), 0);
	if (end != END_KILL)
		fake_disk_power_cut(loss[end], seed);
	after(&w, end != END_KILL);
}

static unsigned count_calls(void)
{
	const struct fake_plan plan = { 0 };
	struct world w;
	unsigned n;

	fake_disk_reset();
	world_init(&w);
	before(&w);
	fake_disk_plan(&plan);
	life(&w);
	n = fake_disk_calls();
	/* The life has all that can fail. */
	for (unsigned k = 0; k < FAKE_NCALLS; k++)
		assert_true(fake_disk_calls_of(k) > 0);
	assert_true(w.file[0].log->group < 10);
	close_world(&w);
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

/* -- what is left behind the end --------------------------------------------------------------- */

/* A group of one record, so long that what was behind the first one before follows, if that is taken for a part of the log. */
static void cover(struct journal_log *l, const struct journal_state *st)
{
	char buf[PAGE] = { 0 };

	assert_int_equal(journal_begin(l), 0);
	assert_int_equal(journal_pages(l, 0, buf, PAGE), 0);
	assert_int_equal(journal_pages(l, PAGE, buf, PAGE - JOURNAL_HEAD_LEN - JOURNAL_STATE_LEN),
			 0);
	assert_int_equal(journal_commit(l, st, true), 0);
}

/* A log with one commit, and behind it two pages and a commit of size 7. */
static struct journal_log *leave(struct world *w, const struct fake_plan *plan)
{
	const struct fake_plan all_well = { 0 };
	struct file *a = &w->file[0];

	fake_disk_reset();
	world_init(w);
	assert_true(open_world(w));
	begin_missing(w);
	commit(w, a, true);
	write_pages(w, a, 0, 1);
	write_pages(w, a, 1, 1);
	a->dirty.size = 7;
	fake_disk_plan(plan);
	commit(w, a, false);
	fake_disk_plan(&all_well);
	return a->log;
}

static void assert_size_is(struct world *w, unsigned size)
{
	close_world(w);
	fake_disk_kill();
	assert_true(open_world(w));
	assert_int_equal(journal_recover(w->j, on_found, w), 0);
	assert_int_equal(w->file[0].log->state.size, size * PAGE);
	close_world(w);
}

/* It was written, but the call said no, and then it could not be cut off. */
static void test_a_group_that_was_given_up(void **state)
{
	const struct fake_plan plan = {
		.at = 1, .kinds = BIT(FAKE_TRUNCATE), .err = EIO, .effect = FAKE_ALL
	};
	struct journal_state st = { .size = PAGES * PAGE };
	struct world w;

	(void)state;
	cover(leave(&w, &plan), &st);
	assert_size_is(&w, PAGES);
}

/* Its beginning was lost with the power, and the next process could not cut it off. */
static void test_a_group_without_its_beginning(void **state)
{
	const struct fake_plan all_well = { 0 }, no_cut = { .at = 1, .kinds = BIT(FAKE_TRUNCATE) };
	struct journal_state st = { .size = PAGES * PAGE };
	struct journal_log *l;
	char name[JOURNAL_NAME];
	struct world w;

	(void)state;
	l = leave(&w, &all_well);
	assert_int_equal(l->state.size, 7 * PAGE);
	journal_name(l->id, ".log", name);
	assert_true(fake_disk_flip(w.j->dirs->fd, name, l->synced));
	close_world(&w);
	assert_true(open_world(&w));
	fake_disk_plan(&no_cut);
	/* The first call is the list. */
	assert_int_equal(journal_recover(w.j, on_found, &w), 0);
	assert_null(w.file[0].log);
	assert_int_equal(journal_recover(w.j, on_found, &w), 0);
	fake_disk_plan(&all_well);
	cover(w.file[0].log, &st);
	assert_size_is(&w, PAGES);
}

/* What a log has is checked whenever it is read, not only after a start. */
static void test_contents_are_checked(void **state)
{
	const struct fake_plan all_well = { 0 };
	struct journal_log *l;
	char name[JOURNAL_NAME];
	struct world w;
	struct snap s;

	(void)state;
	l = leave(&w, &all_well);
	journal_name(l->id, ".log", name);
	assert_true(see(l, &s));
	assert_true(fake_disk_flip(w.j->dirs->fd, name, l->end - 2 * JOURNAL_HEAD_LEN));
	assert_false(see(l, &s));
	/* So is what a log is written anew from. */
	fake_disk_plan(&(struct fake_plan){ .at = 1, .err = EIO });
	assert_int_equal(journal_sync(l), -EIO);
	assert_true(journal_must_repeat(l));
	assert_int_equal(journal_attempt(l, "x"), -EIO);
	commit(&w, &w.file[0], true);
	assert_false(journal_must_repeat(l));
	assert_true(see(l, &s));
	assert_int_equal(s.page[0], 'A');
	close_world(&w);
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
static bool damage_at(struct world *w, uint64_t off)
{
	struct file *a = &w->file[0];
	char name[JOURNAL_NAME];
	uint64_t synced;

	fake_disk_reset();
	world_init(w);
	before(w);
	assert_true(open_world(w));
	assert_int_equal(journal_recover(w->j, on_found, w), 0);
	sync_it(w, a);
	synced = a->log->synced;
	write_pages(w, a, 0, 1);
	commit(w, a, true);
	journal_name(a->log->id, ".log", name);
	assert_true(fake_disk_flip(w->j->dirs->fd, name, off));
	close_world(w);
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
	struct world w;
	uint64_t off;

	(void)state;
	for (off = 0; damage_at(&w, off); off += 1 + 10 * (EACH - 1)) {
		struct names n = { 0 };

		assert_true(open_world(&w));
		assert_int_equal(journal_recover(w.j, on_found, &w), 0);
		assert_int_equal(w.file[0].log != NULL, in_doubt(off));
		assert_non_null(w.file[1].log);
		assert_int_equal(fake_disk_io.list(w.j->dirs->fd, count_names, &n), 0);
		assert_int_equal(n.damaged, !in_doubt(off));
		assert_int_equal(n.logs, 1 + in_doubt(off));
		assert_true(journal_bytes(w.j) > off);
		close_world(&w);
	}
	assert_true(off > 1000);
	/* What is behind the last commit that was known to be durable may be what a crash has left. */
	w.file[0].durable = 0;
	find_all(&w, true);
	close_world(&w);
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
