/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes in the journal: they are found again with the last commit, also when what came after it was no commit of contents,
 * and when the log has been written anew; a log without any is as it was before there were such.
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
#include "store/journal_format.h"

static char dir[256];
static struct journal *j;
static struct journal_log *l;
static struct vmofs_xattrs *found; /* counted; NULL: not said */

static int setup(void **state UNUSED)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%s/journal.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	return 0;
}

static int remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
		      struct FTW *ftw UNUSED)
{
	return remove(path);
}

static int teardown(void **state UNUSED)
{
	vmofs_xattrs_put(found);
	found = NULL;
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void open_it(void)
{
	struct journal_params p = { .dir = dir, .source = "s" };
	struct vmofs_err err = VMOFS_ERR_INIT;

	if (journal_open(&j, &p, &err) < 0)
		fail_msg("%s", err.msg);
}

static int on_found(void *arg UNUSED, struct journal_found *f)
{
	assert_null(l);
	l = f->log;
	assert_int_equal(f->state.has, 5);
	assert_int_equal(f->state.mode, 0640);
	vmofs_xattrs_put(found);
	found = vmofs_xattrs_get(f->state.xattrs);
	return 0;
}

/* Another process. */
static void again(void)
{
	journal_log_close(l);
	journal_close(j);
	l = NULL;
	open_it();
	assert_int_equal(journal_recover(j, on_found, NULL), 0);
	assert_non_null(l);
}

static void end(void)
{
	journal_log_close(l);
	journal_close(j);
	l = NULL;
}

static void commit(struct vmofs_xattrs *x, size_t contents)
{
	const struct journal_state st = { .size = contents, .has = 5, .mode = 0640, .xattrs = x };
	char *buf = calloc(1, contents + 1);

	assert_int_equal(journal_begin(l), 0);
	assert_int_equal(journal_pages(l, 0, buf, contents), 0);
	assert_int_equal(journal_commit(l, &st, true), 0);
	free(buf);
}

static void commit_one(const char *value)
{
	const struct vmofs_xattr a = { "user.a", value, (uint32_t)strlen(value) };
	struct vmofs_xattrs *x;

	assert_int_equal(vmofs_xattrs_with(NULL, &a, VMOFS_XATTRS_SET, &x), 0);
	commit(x, 10);
	vmofs_xattrs_put(x);
}

static void assert_one(const char *value)
{
	struct vmofs_xattr a;

	assert_true(vmofs_xattrs_find(found, "user.a", &a));
	assert_int_equal(a.len, strlen(value));
	assert_memory_equal(a.value, value, a.len);
}

static void begin(void)
{
	const struct journal_base base = { 0 };

	open_it();
	assert_int_equal(journal_log_new(j, "k", &base, &l), 0);
}

static void test_found(void **state UNUSED)
{
	const struct journal_base base = { 0 };

	begin();
	commit_one("one");
	commit_one("the second");
	assert_int_equal(journal_attempt(l, "attempt-1"), 0);
	assert_int_equal(journal_rename(l, "m", &base), 0);
	again();
	assert_one("the second");
	assert_int_equal(journal_attempt(l, ""), 0);
	again();
	assert_one("the second");
	end();
}

static void test_anew(void **state UNUSED)
{
	begin();
	commit_one("one");
	again();
	for (unsigned i = 0; i < 20; i++)
		commit(found, MIB(1));
	assert_true(journal_bytes(j) < MIB(8));
	again();
	assert_one("one");
	end();
}

static void test_none(void **state UNUSED)
{
	begin();
	commit_one("one");
	commit(&vmofs_xattrs_none, 10);
	again();
	assert_non_null(found);
	assert_int_equal(found->len, 0);
	commit(NULL, 10);
	again();
	assert_null(found);
	end();
}

/* What was written before there were any is read: a state of 48 bytes. */
static void test_before(void **state UNUSED)
{
	const struct journal_base base = { 0 };
	const struct journal_state st = { .size = 7, .has = 7, .mode = 0600 };
	struct journal_replay r = { .salt = 1 };
	struct journal_head h = { .salt = 1, .group = 1, .kind = JOURNAL_KEY, .payload_len = 1 };
	uint8_t p[JOURNAL_BASE_HEAD + JOURNAL_VALIDATOR_MAX + JOURNAL_STATE_LEN];

	assert_int_equal(journal_replay_add(&r, 64, &h, (const uint8_t *)"k"), 0);
	h.kind = JOURNAL_BASE;
	h.payload_len = journal_base_encode(&base, p);
	assert_int_equal(journal_replay_add(&r, 200, &h, p), 0);
	h.kind = JOURNAL_COMMIT;
	h.payload_len = JOURNAL_STATE_LEN;
	journal_state_encode(&st, p);
	assert_int_equal(p[31], 0); /* as it always was */
	assert_int_equal(journal_replay_add(&r, 300, &h, p), 0);
	assert_false(r.facts.has_xattrs);
	assert_int_equal(r.facts.state.has, 7);
	/* More, that was not announced. */
	h.group = 2;
	h.payload_len++;
	assert_int_equal(journal_replay_add(&r, 400, &h, p), -EBADMSG);
	/* Announced, and no set. */
	p[31] = 0x80;
	p[JOURNAL_STATE_LEN] = 'x';
	assert_int_equal(journal_replay_add(&r, 400, &h, p), -EBADMSG);
	h.payload_len--;
	assert_int_equal(journal_replay_add(&r, 400, &h, p), 0);
	assert_true(r.facts.has_xattrs);
	assert_int_equal(r.facts.state.has, 7);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_found),
		T(test_anew),
		T(test_none),
		T(test_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
