/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the journal has of a directory that is getting another name: it is found again as it was told, forward or back, and what is
 * damaged is refused.
 */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "store/journal.h"
#include "write/wmove.h"
#include "write/writer_private.h"

static char dir[64];

static int set_up(void **state UNUSED)
{
	strcpy(dir, "/tmp/vmofs-wmove.XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
		      struct FTW *at UNUSED)
{
	return remove(path);
}

static int tear_down(void **state UNUSED)
{
	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int found(void *arg, struct journal_found *f)
{
	wmove_found(arg, f);
	return 0;
}

/* A writer of which only the journal and what was found count. */
static struct writer *start(void)
{
	struct journal_params p = { .dir = dir, .source = "test" };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct writer *w = calloc(1, sizeof *w);

	assert_int_equal(journal_open(&w->p.journal, &p, &err), 0);
	assert_int_equal(journal_recover(w->p.journal, found, w), 0);
	return w;
}

static void end(struct writer *w)
{
	wmove_drop_all(w);
	journal_close(w->p.journal);
	free(w);
}

static void found_again(void **state UNUSED)
{
	const struct vmofs_version v = { .exists = true, .size = 77, .validator = "\"x-2\"" };
	struct vmofs_version other = v;
	struct writer *w = start();
	struct wmove *m;

	assert_null(wmove_next(w));
	assert_int_equal(wmove_begin(w, "a/", "b/c/", &m), 0);
	assert_int_equal(wmove_copied(m, "b/c/large", &v), 0);
	wmove_end(m, false);
	end(w);
	w = start();
	m = wmove_next(w);
	assert_non_null(m);
	assert_string_equal(wmove_from(m), "a/");
	assert_string_equal(wmove_to(m), "b/c/");
	assert_false(wmove_is_back(m));
	assert_true(wmove_has(m, "b/c/large", &v));
	assert_false(wmove_has(m, "b/c/other", &v));
	other.size++;
	assert_false(wmove_has(m, "b/c/large", &other));
	assert_int_equal(wmove_back(m), 0);
	wmove_end(m, false);
	end(w);
	w = start();
	m = wmove_next(w);
	assert_true(wmove_is_back(m));
	assert_true(wmove_has(m, "b/c/large", &v));
	wmove_end(m, true);
	end(w);
	w = start();
	assert_null(wmove_next(w));
	end(w);
}

static void not_taken(void **state UNUSED)
{
	struct writer *w = start();
	struct wmove *m;

	assert_int_equal(wmove_begin(w, "a/", "b/", &m), 0);
	wmove_end(m, false);
	end(w);
	end(start());
	w = start();
	m = wmove_next(w);
	assert_non_null(m);
	wmove_end(m, true);
	end(w);
}

static void without_a_journal(void **state UNUSED)
{
	struct writer w = { 0 };
	struct wmove *m;

	assert_int_equal(wmove_begin(&w, "a/", "b/", &m), 0);
	assert_null(m);
	assert_int_equal(wmove_back(m), 0);
	wmove_end(m, true);
}

static void damaged(void **state UNUSED)
{
#define TEXT(s)                 \
	{                       \
		s, sizeof s - 1 \
	}
	static const struct {
		const char *p;
		size_t len;
	} bad[] = { TEXT(""),     TEXT("+"),    TEXT("+b/"), TEXT("?b/\0"),
		    TEXT("+b\0"), TEXT("+/\0"), TEXT("-\0") };
	static const char half[] = "+b/\0k\0v\0"
				   "12\0k2\0v\0"
				   "1x\0";
	struct wmove_text t;
	const char *key, *validator;
	uint64_t size;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(wmove_read(bad[i].p, bad[i].len, &t), -EBADMSG);
	assert_int_equal(wmove_read(half, sizeof half - 1, &t), 0);
	assert_true(wmove_read_next(&t, &key, &validator, &size));
	assert_string_equal(key, "k");
	assert_int_equal(size, 12);
	assert_false(wmove_read_next(&t, &key, &validator, &size));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(found_again),
		T(not_taken),
		T(without_a_journal),
		T(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
