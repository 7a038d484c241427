/* SPDX-License-Identifier: Apache-2.0 */
/* The writer of journal_world.h: what is expected, what it does, what is found. */
#include "lib/journal_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/fake_disk.h"

#define DIR "/var/journal"

/* -- what is expected ------------------------------------------------------------------------- */

static void snap_init(struct world_snap *s, char name)
{
	memset(s, 0, sizeof *s);
	memset(s->page, '.', WORLD_PAGES);
	s->size = WORLD_PAGES;
	snprintf(s->key, sizeof s->key, "%c0", name);
	snprintf(s->validator, sizeof s->validator, "v0");
}

void journal_world_init(struct journal_world *w)
{
	memset(w, 0, sizeof *w);
	for (unsigned i = 0; i < WORLD_FILES; i++) {
		struct world_file *f = &w->file[i];

		f->name = (char)('a' + i);
		f->durable = f->kept = WORLD_NONE;
		snap_init(&f->dirty, f->name);
		f->in_log = f->dirty;
	}
}

/* What a log says of itself before anything of it has been tried to write. */
static void texts_of(struct world_snap *s, const struct journal_log *l)
{
	snprintf(s->key, sizeof s->key, "%.7s", l->key);
	snprintf(s->validator, sizeof s->validator, "%.7s", l->base.validator);
	snprintf(s->attempt, sizeof s->attempt, "%.7s", l->attempt);
}

static void tried(struct world_file *f, const struct world_snap *s)
{
	assert_true(f->n < (int)WORLD_COMMITS);
	f->commit[f->n++] = *s;
}

/* The commit that was tried last has ended with @e. */
static bool ended(struct journal_world *w, struct world_file *f, int e)
{
	if (e == 0) {
		f->in_log = f->commit[f->n - 1];
		f->kept = f->n - 1;
		if (journal_is_durable(f->log))
			f->durable = f->n - 1;
		if (w->drops)
			f->kept = f->durable;
		return true;
	}
	if (journal_must_repeat(f->log) && w->forgets)
		f->kept = f->durable;
	return false;
}

/* -- what a writer does ----------------------------------------------------------------------- */

void journal_world_write(struct journal_world *w, struct world_file *f, unsigned first, unsigned n)
{
	char c = (char)('A' + w->letter++ % 26);

	for (unsigned p = first; p < first + n; p++) {
		f->dirty.page[p] = c;
		f->unlogged[p] = true;
	}
}

void journal_world_zero(struct world_file *f, unsigned first, unsigned n)
{
	for (unsigned p = first; p < first + n; p++) {
		f->dirty.page[p] = '0';
		f->unlogged[p] = true;
	}
}

void journal_world_cut(struct world_file *f, unsigned size)
{
	f->dirty.size = size;
	for (unsigned p = size; p < WORLD_PAGES; p++) {
		f->dirty.page[p] = '.';
		f->unlogged[p] = false;
	}
}

static struct journal_state state_of(const struct world_snap *s)
{
	return (struct journal_state){ .size = s->size * WORLD_PAGE, .mtime = { 5, 6 } };
}

/* Pages that are alike go together. */
static int log_pages(struct world_file *f, bool all)
{
	char buf[WORLD_PAGES * WORLD_PAGE];
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
		memset(buf, c, n * WORLD_PAGE);
		e = c == '0' ? journal_zeros(f->log, p * WORLD_PAGE, n * WORLD_PAGE)
			     : journal_pages(f->log, p * WORLD_PAGE, buf, n * WORLD_PAGE);
		p += n;
	}
	return e;
}

static int group_of(struct world_file *f, bool durable)
{
	struct journal_state st = state_of(&f->dirty);
	bool all = journal_must_repeat(f->log);
	int e = journal_begin(f->log);

	if (e == 0)
		e = log_pages(f, all);
	return e == 0 ? journal_commit(f->log, &st, durable) : e;
}

void journal_world_commit(struct journal_world *w, struct world_file *f, bool durable)
{
	struct world_snap s = f->dirty;

	if (!f->log)
		return;
	texts_of(&s, f->log);
	tried(f, &s);
	if (ended(w, f, group_of(f, durable)))
		memset(f->unlogged, 0, sizeof f->unlogged);
}

void journal_world_sync(struct journal_world *w, struct world_file *f)
{
	if (!f->log || f->kept == WORLD_NONE)
		return;
	if (journal_sync(f->log) == 0)
		f->durable = f->kept;
	else if (w->forgets)
		f->kept = f->durable;
}

void journal_world_attempt(struct journal_world *w, struct world_file *f, const char *name)
{
	struct world_snap s = f->in_log;

	if (!f->log)
		return;
	texts_of(&s, f->log);
	snprintf(s.attempt, sizeof s.attempt, "%s", name);
	tried(f, &s);
	ended(w, f, journal_attempt(f->log, name));
}

void journal_world_rename(struct journal_world *w, struct world_file *f, unsigned number)
{
	struct world_snap s = f->in_log;
	struct journal_base base;

	if (!f->log)
		return;
	texts_of(&s, f->log);
	snprintf(s.key, sizeof s.key, "%c%u", f->name, number);
	tried(f, &s);
	base = f->log->base;
	ended(w, f, journal_rename(f->log, s.key, &base));
}

/* The origin has all but the pages [first, first + n), which were written since. */
void journal_world_stored(struct journal_world *w, struct world_file *f, const char *validator,
			  unsigned first, unsigned n)
{
	struct journal_base base = { .exists = true, .size = 5 };
	struct journal_range keep = { first * WORLD_PAGE, n * WORLD_PAGE };
	struct world_snap s = f->in_log;
	struct journal_state st = state_of(&s);

	if (!f->log)
		return;
	texts_of(&s, f->log);
	s.attempt[0] = 0;
	snprintf(s.validator, sizeof s.validator, "%s", validator);
	snprintf(base.validator, sizeof base.validator, "%s", validator);
	for (unsigned p = 0; p < WORLD_PAGES; p++)
		if (p < first || p >= first + n)
			s.page[p] = '.';
	tried(f, &s);
	if (!ended(w, f, journal_stored(f->log, &base, &st, &keep, n > 0)))
		return;
	for (unsigned p = 0; p < WORLD_PAGES; p++)
		if ((p < first || p >= first + n) && !f->unlogged[p])
			f->dirty.page[p] = '.';
}

void journal_world_remove(struct world_file *f)
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
	struct world_snap snap;
	uint64_t end;
};

static int seen_range(struct journal_sink *sink, uint64_t off, uint64_t len, const char *buf)
{
	struct seen *s = container_of(sink, struct seen, sink);

	assert_true(off >= s->end && off % WORLD_PAGE == 0 && len % WORLD_PAGE == 0 && len > 0);
	assert_true(off + len <= (uint64_t)WORLD_PAGES * WORLD_PAGE);
	s->end = off + len;
	for (uint64_t i = 0; i < len; i++) {
		uint64_t p = (off + i) / WORLD_PAGE;

		if (i % WORLD_PAGE == 0)
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
bool journal_world_see(struct journal_log *l, struct world_snap *out)
{
	struct seen s = { .sink = { seen_pages, seen_zeros } };

	snap_init(&s.snap, 'x');
	s.snap.size = (unsigned)(l->state.size / WORLD_PAGE);
	texts_of(&s.snap, l);
	if (journal_read(l, &s.sink) < 0)
		return false;
	*out = s.snap;
	return true;
}

static bool alike(const struct world_snap *a, const struct world_snap *b)
{
	return memcmp(a->page, b->page, WORLD_PAGES) == 0 && a->size == b->size &&
		strcmp(a->key, b->key) == 0 && strcmp(a->validator, b->validator) == 0 &&
		strcmp(a->attempt, b->attempt) == 0;
}

static void show(const char *what, const struct world_snap *s)
{
	print_error("%s %s size %u key %s base %s attempt %s\n", what, s->page, s->size, s->key,
		    s->validator, s->attempt);
}

/* @s is commit @from or a later one. */
static void assert_one_of(const struct world_file *f, int from, const struct world_snap *s)
{
	for (int i = MAX(from, 0); i < f->n; i++)
		if (alike(&f->commit[i], s))
			return;
	show("found   ", s);
	for (int i = 0; i < f->n; i++)
		show(i < from ? "  old   " : "  allowed", &f->commit[i]);
	fail_msg("file %c is as no commit had it", f->name);
}

int journal_world_found(void *arg, struct journal_found *found)
{
	struct journal_world *w = arg;
	struct world_file *f = &w->file[found->key[0] - 'a'];

	assert_in_range(found->key[0], 'a', 'a' + (int)WORLD_FILES - 1);
	assert_null(f->log);
	f->log = found->log;
	return 0;
}

bool journal_world_open(struct journal_world *w)
{
	struct journal_params p = { .dir = DIR, .source = "somewhere", .io = &fake_disk_io };
	struct vmofs_err err = VMOFS_ERR_INIT;

	if (journal_open(&w->j, &p, &err) < 0)
		return false;
	w->j->stage = 3000;
	w->j->piece = 2 * WORLD_PAGE + 100;
	w->j->slack = 6000;
	if (w->shuts)
		w->j->open_max = 0;
	return true;
}

void journal_world_close(struct journal_world *w)
{
	for (unsigned i = 0; i < WORLD_FILES; i++) {
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
void journal_world_find(struct journal_world *w, bool cut_off)
{
	assert_true(journal_world_open(w));
	assert_int_equal(journal_recover(w->j, journal_world_found, w), 0);
	assert_int_equal(fake_disk_io.list(w->j->dirs->fd, no_damaged, NULL), 0);
	for (unsigned i = 0; i < WORLD_FILES; i++) {
		struct world_file *f = &w->file[i];
		int from = cut_off ? f->durable : f->kept;
		struct world_snap s;

		if (!f->log) {
			assert_true(from == WORLD_NONE || f->gone);
			f->gone = true;
			continue;
		}
		assert_false(f->gone_for_good);
		assert_true(journal_world_see(f->log, &s));
		assert_one_of(f, from, &s);
		/* That is what there is from now on. */
		f->dirty = f->in_log = f->commit[0] = s;
		f->n = 1;
		f->kept = 0;
		f->durable = WORLD_NONE;
		f->gone = false;
		memset(f->unlogged, 0, sizeof f->unlogged);
	}
}

/* Files that were not found begin anew. */
void journal_world_begin(struct journal_world *w)
{
	for (unsigned i = 0; i < WORLD_FILES; i++) {
		struct world_file *f = &w->file[i];
		struct journal_base base = { .validator = "v0" };
		struct world_file fresh = { .name = f->name,
					    .durable = WORLD_NONE,
					    .kept = WORLD_NONE };

		/* One that is there, but cannot be read now, is not another one. */
		if (f->log || (f->n && !f->gone))
			continue;
		snap_init(&fresh.dirty, f->name);
		fresh.in_log = fresh.dirty;
		if (journal_log_new(w->j, fresh.dirty.key, &base, &fresh.log) == 0)
			*f = fresh;
	}
}

/* What is there before anything goes wrong: a file with a durable commit, and one with one that is not. */
void journal_world_before(struct journal_world *w)
{
	struct world_file *a = &w->file[0], *b = &w->file[1];

	assert_true(journal_world_open(w));
	journal_world_begin(w);
	journal_world_write(w, a, 0, 9);
	journal_world_commit(w, a, true);
	journal_world_write(w, a, 3, 3);
	journal_world_commit(w, a, false);
	journal_world_write(w, b, 2, 2);
	journal_world_commit(w, b, false);
	journal_world_attempt(w, b, "b0");
	assert_int_equal(a->durable, 0);
	assert_int_equal(a->kept, 1);
	journal_world_close(w);
	fake_disk_kill();
}
