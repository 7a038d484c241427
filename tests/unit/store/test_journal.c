/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal on a real file system: what is committed is found again, only the latest of it, in order; who has which
 * directory; limits; what logs are worth. Crashes are test_journal_crash.c's. Nobody sleeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/macros.h"
#include "store/cache_io.h"
#include "store/journal.h"

#define SOURCE "https://example.org/ bucket"
#define PAGE   4096u

static char top[256], dir[300];

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(top, sizeof top, "%s/journal.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(top));
	snprintf(dir, sizeof dir, "%s/a/b", top);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	return nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct journal *open_limited(const char *source, uint64_t limit)
{
	struct journal_params p = { .dir = dir, .source = source, .limit = limit };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct journal *j;

	if (journal_open(&j, &p, &err) < 0)
		fail_msg("%s", err.msg);
	return j;
}

static struct journal *open_it(void)
{
	return open_limited(SOURCE, 0);
}

static const struct journal_base V1 = { .exists = true, .size = 1000000, .validator = "\"v1\"" };

static struct journal_log *log_of(struct journal *j, const char *key)
{
	struct journal_log *l;

	assert_int_equal(journal_log_new(j, key, &V1, &l), 0);
	return l;
}

static const struct journal_state STATE = {
	.size = MIB(2),
	.kept = 1000000,
	.mtime = { 1700000000, 999999999 },
	.has = 5,
	.mode = 0640,
	.uid = 1000,
	.gid = 100,
};

/* [off, off + len) is filled with @c. */
static int put(struct journal_log *l, uint64_t off, uint64_t len, int c)
{
	char *buf = malloc(len);
	int e;

	memset(buf, c, len);
	e = journal_pages(l, off, buf, len);
	free(buf);
	return e;
}

static void commit_one(struct journal_log *l, uint64_t off, uint64_t len, int c)
{
	assert_int_equal(journal_begin(l), 0);
	assert_int_equal(put(l, off, len, c), 0);
	assert_int_equal(journal_commit(l, &STATE, true), 0);
}

/* -- what is found ---------------------------------------------------------------------------- */

struct picture {
	struct journal_sink sink;
	char *bytes;   /* '.' where there is nothing, '0' where there are zeros */
	uint64_t size; /* of it */
	uint64_t end;  /* of what came last */
	unsigned calls;
};

static int picture_pages(struct journal_sink *s, uint64_t off, const void *buf, uint64_t len)
{
	struct picture *p = container_of(s, struct picture, sink);

	assert_true(off >= p->end && len > 0 && len <= MIB(1) && off + len <= p->size);
	memcpy(p->bytes + off, buf, len);
	p->end = off + len;
	p->calls++;
	return 0;
}

static int picture_zeros(struct journal_sink *s, uint64_t off, uint64_t len)
{
	struct picture *p = container_of(s, struct picture, sink);

	assert_true(off >= p->end && len > 0 && off + len <= p->size);
	memset(p->bytes + off, '0', len);
	p->end = off + len;
	p->calls++;
	return 0;
}

static void picture_take(struct picture *p, struct journal_log *l, uint64_t size)
{
	*p = (struct picture){ .sink = { picture_pages, picture_zeros }, .size = size };
	p->bytes = malloc(size);
	memset(p->bytes, '.', size);
	assert_int_equal(journal_read(l, &p->sink), 0);
}

static void assert_run(const struct picture *p, uint64_t first, uint64_t end, char c)
{
	for (uint64_t i = first; i < end; i++)
		if (p->bytes[i] != c)
			fail_msg("byte %llu is %c, not %c", (unsigned long long)i, p->bytes[i], c);
}

struct finds {
	unsigned n;
	struct journal_log *log[8];
	char key[8][64];
	struct journal_found last;
	char attempt[JOURNAL_ATTEMPT_MAX];
};

static int on_found(void *arg, struct journal_found *f)
{
	struct finds *fs = arg;

	assert_true(fs->n < ARRAY_LEN(fs->log));
	fs->log[fs->n] = f->log;
	snprintf(fs->key[fs->n], sizeof fs->key[0], "%s", f->key);
	snprintf(fs->attempt, sizeof fs->attempt, "%s", f->attempt);
	fs->last = *f;
	fs->n++;
	return 0;
}

static struct finds recover(struct journal *j)
{
	struct finds fs = { 0 };

	assert_int_equal(journal_recover(j, on_found, &fs), 0);
	return fs;
}

static void done(struct journal *j, struct finds *fs)
{
	for (unsigned i = 0; i < fs->n; i++)
		journal_log_close(fs->log[i]);
	journal_close(j);
}

/* Member by member: there is padding. */
static void assert_state(const struct journal_state *st)
{
	assert_int_equal(st->size, STATE.size);
	assert_int_equal(st->kept, STATE.kept);
	assert_int_equal(st->mtime.tv_sec, STATE.mtime.tv_sec);
	assert_int_equal(st->mtime.tv_nsec, STATE.mtime.tv_nsec);
	assert_int_equal(st->has, STATE.has);
	assert_int_equal(st->mode, STATE.mode);
	assert_int_equal(st->uid, STATE.uid);
	assert_int_equal(st->gid, STATE.gid);
	assert_int_equal(st->conflict, STATE.conflict);
}

static void test_what_is_committed_is_found(void **state)
{
	struct journal *j = open_it();
	struct journal_log *l = log_of(j, "a/key");
	struct finds fs;
	struct picture p;

	(void)state;
	assert_int_equal(journal_bytes(j), 0);
	commit_one(l, 0, 4 * PAGE, 'a');
	assert_true(journal_is_durable(l));
	assert_int_equal(journal_attempt(l, "attempt-1"), 0);
	assert_int_equal(journal_rename(l, "b/key", &V1), 0);
	assert_int_equal(journal_begin(l), 0);
	assert_int_equal(put(l, PAGE, PAGE, 'b'), 0);
	assert_int_equal(journal_zeros(l, 3 * PAGE, 2 * PAGE), 0);
	assert_int_equal(journal_commit(l, &STATE, false), 0);
	assert_false(journal_is_durable(l));
	assert_int_equal(journal_sync(l), 0);
	assert_true(journal_is_durable(l));
	/* This one is not. */
	assert_int_equal(journal_begin(l), 0);
	assert_int_equal(put(l, 0, MIB(3), 'x'), 0);
	journal_log_close(l);
	journal_close(j);

	j = open_it();
	fs = recover(j);
	assert_int_equal(fs.n, 1);
	assert_string_equal(fs.key[0], "b/key");
	assert_string_equal(fs.attempt, "attempt-1");
	assert_string_equal(fs.last.base.validator, "\"v1\"");
	assert_true(fs.last.base.exists);
	assert_int_equal(fs.last.base.size, 1000000);
	assert_state(&fs.last.state);
	picture_take(&p, fs.log[0], MIB(2));
	assert_run(&p, 0, PAGE, 'a');
	assert_run(&p, PAGE, 2 * PAGE, 'b');
	assert_run(&p, 2 * PAGE, 3 * PAGE, 'a');
	assert_run(&p, 3 * PAGE, 5 * PAGE, '0');
	assert_run(&p, 5 * PAGE, MIB(2), '.');
	assert_int_equal(p.calls, 2);
	free(p.bytes);
	assert_false(journal_is_durable(fs.log[0]));
	assert_int_equal(journal_sync(fs.log[0]), 0);
	done(j, &fs);
}

/* What is committed after a start goes on where the log ended. */
static void test_a_found_log_goes_on(void **state)
{
	struct journal *j = open_it();
	struct finds fs;
	struct picture p;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct journal_log *l = i ? NULL : log_of(j, "k");

		if (i) {
			fs = recover(j);
			assert_int_equal(fs.n, 1);
			l = fs.log[0];
		}
		commit_one(l, i * PAGE, PAGE, (char)('a' + i));
		assert_int_equal(journal_begin(l), 0);
		assert_int_equal(put(l, 0, MIB(3), 'x'), 0);
		journal_log_close(l);
		journal_close(j);
		j = open_it();
	}
	fs = recover(j);
	picture_take(&p, fs.log[0], MIB(2));
	for (unsigned i = 0; i < 4; i++)
		assert_run(&p, i * PAGE, (i + 1) * PAGE, (char)('a' + i));
	free(p.bytes);
	assert_int_equal(journal_remove(fs.log[0]), 0);
	assert_int_equal(journal_bytes(j), 0);
	journal_close(j);
	j = open_it();
	fs = recover(j);
	assert_int_equal(fs.n, 0);
	journal_close(j);
}

/*
 * A file is replaced by another one that gets its key: the process ends before the log of the first has gone. Whichever log
 * was begun first, and whichever was written to last.
 */
static void test_the_later_one_of_a_key(void **state)
{
	const struct journal_base v2 = { .exists = true, .size = 5, .validator = "\"v2\"" };

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct journal *j = open_it();
		struct journal_log *l[2];
		struct picture p;
		struct finds fs;

		l[i & 1] = log_of(j, i & 1 ? "new" : "old");
		l[!(i & 1)] = log_of(j, i & 1 ? "old" : "new");
		commit_one(l[0], 0, PAGE, 'a');
		assert_int_equal(journal_rename(l[0], "k", &V1), 0);
		commit_one(l[1], 0, PAGE, 'b');
		assert_int_equal(journal_rename(l[1], "k", &v2), 0);
		commit_one(l[(i >> 1) & 1], PAGE, i & 4 ? MIB(1) : PAGE, 'c');
		journal_log_close(l[0]);
		journal_log_close(l[1]);
		journal_close(j);
		j = open_it();
		fs = recover(j);
		assert_int_equal(fs.n, 1);
		assert_string_equal(fs.key[0], "k");
		assert_string_equal(fs.last.base.validator, "\"v2\"");
		picture_take(&p, fs.log[0], MIB(2));
		assert_run(&p, 0, PAGE, 'b');
		free(p.bytes);
		assert_int_equal(journal_remove(fs.log[0]), 0);
		assert_int_equal(journal_bytes(j), 0);
		journal_close(j);
	}
}

/* Also after it was written anew, and among what was renamed since the start. */
static void test_the_later_one_after_starts(void **state)
{
	struct journal *j = open_it();
	struct journal_log *l = log_of(j, "k");
	struct journal_log *other;
	struct finds fs;

	(void)state;
	commit_one(l, 0, PAGE, 'a');
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(journal_rename(l, "x", &V1), 0);
		journal_log_close(l);
		journal_close(j);
		j = open_it();
		fs = recover(j);
		assert_int_equal(fs.n, 1);
		l = fs.log[0];
		for (unsigned n = 0; n < 12; n++)
			commit_one(l, 0, MIB(1), 'x'); /* more than it is worth */
		other = log_of(j, "y");
		commit_one(other, 0, PAGE, 'y');
		assert_int_equal(journal_rename(other, "x", &V1), 0);
		journal_log_close(l);
		l = other;
	}
	journal_log_close(l);
	journal_close(j);
	j = open_it();
	fs = recover(j);
	assert_int_equal(fs.n, 1);
	done(j, &fs);
}

static void test_sizes_cut(void **state)
{
	struct journal *j = open_it();
	struct journal_log *l = log_of(j, "k");
	struct journal_state st = STATE;
	struct picture p;

	(void)state;
	commit_one(l, 0, MIB(2), 'a');
	st.size = 10000;
	assert_int_equal(journal_begin(l), 0);
	assert_int_equal(journal_commit(l, &st, false), 0);
	picture_take(&p, l, 10000);
	assert_run(&p, 0, 10000, 'a');
	free(p.bytes);
	assert_int_equal(journal_begin(l), 0);
	assert_int_equal(journal_zeros(l, 12000, UINT64_MAX), 0);
	assert_int_equal(journal_commit(l, &STATE, false), 0);
	picture_take(&p, l, MIB(2));
	assert_run(&p, 0, 10000, 'a');
	assert_run(&p, 10000, 12000, '.');
	assert_run(&p, 12000, MIB(2), '0');
	free(p.bytes);
	journal_log_close(l);
	journal_close(j);
}

static void test_stored_forgets(void **state)
{
	struct journal *j = open_it();
	struct journal_log *l = log_of(j, "k");
	struct journal_base base = { .exists = true, .size = 77, .validator = "\"v2\"" };
	struct journal_range keep[2] = { { PAGE, PAGE }, { 5 * PAGE, PAGE } };
	struct finds fs;
	struct picture p;

	(void)state;
	commit_one(l, 0, 8 * PAGE, 'a');
	assert_int_equal(journal_attempt(l, "one"), 0);
	commit_one(l, PAGE, PAGE, 'b');
	assert_int_equal(journal_stored(l, &base, &STATE, keep, 2), 0);
	journal_log_close(l);
	journal_close(j);
	j = open_it();
	fs = recover(j);
	assert_string_equal(fs.last.base.validator, "\"v2\"");
	assert_string_equal(fs.attempt, "");
	picture_take(&p, fs.log[0], MIB(2));
	assert_run(&p, 0, PAGE, '.');
	assert_run(&p, PAGE, 2 * PAGE, 'b');
	assert_run(&p, 2 * PAGE, 5 * PAGE, '.');
	assert_run(&p, 5 * PAGE, 6 * PAGE, 'a');
	assert_run(&p, 6 * PAGE, MIB(2), '.');
	free(p.bytes);
	done(j, &fs);
}

/* Nothing has been committed: what is said is kept in mind, and there is no file. */
static void test_before_the_first_commit(void **state)
{
	struct journal *j = open_it();
	struct journal_log *l = log_of(j, "k");
	struct journal_base base = { .exists = true, .size = 5, .validator = "v3" };
	struct finds fs;

	(void)state;
	assert_int_equal(journal_attempt(l, "one"), 0);
	assert_int_equal(journal_stored(l, &base, &STATE, NULL, 0), 0);
	assert_int_equal(journal_rename(l, "other", &base), 0);
	assert_int_equal(journal_sync(l), 0);
	assert_int_equal(journal_pages(l, 0, "x", 1), -ECANCELED);
	assert_int_equal(journal_commit(l, &STATE, true), -ECANCELED);
	assert_int_equal(journal_begin(l), 0);
	journal_abort(l);
	assert_int_equal(journal_bytes(j), 0);
	commit_one(l, 0, PAGE, 'a');
	journal_log_close(l);
	l = log_of(j, "nothing");
	assert_int_equal(journal_begin(l), 0);
	assert_int_equal(put(l, 0, MIB(3), 'x'), 0);
	journal_log_close(l);
	journal_close(j);
	j = open_it();
	fs = recover(j);
	assert_int_equal(fs.n, 1);
	assert_string_equal(fs.key[0], "other");
	assert_string_equal(fs.last.base.validator, "v3");
	done(j, &fs);
}

static void test_names_have_limits(void **state)
{
	struct journal *j = open_it();
	struct journal_base base = { 0 };
	struct journal_log *l;
	char key[JOURNAL_KEY_MAX + 1];

	(void)state;
	memset(key, 'k', sizeof key);
	key[JOURNAL_KEY_MAX] = 0;
	assert_int_equal(journal_log_new(j, key, &base, &l), -ENAMETOOLONG);
	assert_int_equal(journal_log_new(j, "", &base, &l), -EINVAL);
	key[JOURNAL_KEY_MAX - 1] = 0;
	assert_int_equal(journal_log_new(j, key, &base, &l), 0);
	commit_one(l, 0, 1, 'a');
	assert_int_equal(journal_rename(l, "", &V1), -EINVAL);
	memset(key, 'k', sizeof key - 1);
	assert_int_equal(journal_rename(l, key, &V1), -ENAMETOOLONG);
	assert_int_equal(journal_attempt(l, key), -EINVAL);
	journal_log_close(l);
	journal_close(j);
}

/* -- how large it gets ------------------------------------------------------------------------ */

static void test_more_than_it_is_worth(void **state)
{
	struct journal *j = open_it();
	struct journal_log *l = log_of(j, "k");
	uint64_t most = 0;
	struct finds fs;
	struct picture p;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		commit_one(l, 0, MIB(1), (char)('a' + i % 26));
		most = MAX(most, journal_bytes(j));
	}
	assert_true(most > MIB(5) && most < MIB(8));
	journal_log_close(l);
	journal_close(j);
	j = open_it();
	fs = recover(j);
	assert_int_equal(fs.n, 1);
	picture_take(&p, fs.log[0], MIB(2));
	assert_run(&p, 0, MIB(1), 'a' + 99 % 26);
	assert_run(&p, MIB(1), MIB(2), '.');
	assert_int_equal(p.calls, 1);
	free(p.bytes);
	done(j, &fs);
}

static void test_the_limit(void **state)
{
	struct journal *j = open_limited(SOURCE, MIB(4));
	struct journal_log *l = log_of(j, "k"), *m = log_of(j, "m");
	struct journal_base base = { .exists = true };
	struct picture p;

	(void)state;
	commit_one(l, 0, MIB(2), 'a');
	assert_int_equal(journal_begin(m), 0);
	assert_int_equal(put(m, 0, MIB(5), 'b'), -ENOSPC);
	assert_int_equal(put(m, 0, PAGE, 'b'), -ECANCELED);
	assert_true(journal_bytes(j) < MIB(3));
	commit_one(m, 0, MIB(1), 'b');
	assert_int_equal(journal_begin(l), 0);
	assert_int_equal(put(l, 0, MIB(1), 'c'), 0);
	assert_int_equal(journal_commit(l, &STATE, true), -ENOSPC);
	assert_false(journal_must_repeat(l));
	picture_take(&p, l, MIB(2));
	assert_run(&p, 0, MIB(2), 'a');
	free(p.bytes);
	assert_int_equal(journal_stored(l, &base, &STATE, NULL, 0), 0);
	assert_int_equal(journal_remove(l), 0);
	assert_true(journal_bytes(j) < MIB(1) + 10000);
	journal_log_close(m);
	journal_close(j);
}

/* -- who has what ----------------------------------------------------------------------------- */

static void test_each_mount_has_its_own(void **state)
{
	struct journal *a = open_it(), *b = open_it(), *other = open_limited("other", 0);
	struct finds fs;

	(void)state;
	journal_log_close(log_of(a, "never written"));
	for (unsigned i = 0; i < 2; i++) {
		struct journal_log *l = log_of(i ? b : a, i ? "of b" : "of a");

		commit_one(l, 0, PAGE, 'a');
		journal_log_close(l);
	}
	journal_close(b);
	/* b's directory: the first one is still a's. */
	b = open_it();
	fs = recover(b);
	assert_int_equal(fs.n, 1);
	assert_string_equal(fs.key[0], "of b");
	done(b, &fs);
	journal_close(a);
	/* Nobody has either any more: who comes first takes both. */
	a = open_it();
	b = open_it();
	fs = recover(b);
	assert_int_equal(fs.n, 0);
	journal_close(b);
	fs = recover(a);
	assert_int_equal(fs.n, 2);
	assert_string_equal(fs.key[0], "of a");
	assert_string_equal(fs.key[1], "of b");
	done(a, &fs);
	fs = recover(other);
	assert_int_equal(fs.n, 0);
	journal_close(other);
}

/* Processes that start at once get a directory each, and each log is found by one of them. */
static void test_many_start_at_once(void **state)
{
	enum { N = 8 };
	int ready[2], go[2], gone[2], status;
	unsigned found = 0;
	char byte = 0;
	struct journal *j[N];
	struct finds fs;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		struct journal_log *l;

		j[i] = open_it();
		l = log_of(j[i], "k");
		commit_one(l, 0, PAGE, 'a');
		journal_log_close(l);
	}
	for (unsigned i = 0; i < N; i++)
		journal_close(j[i]);
	assert_int_equal(pipe(ready) | pipe(go) | pipe(gone), 0);
	for (unsigned i = 0; i < N; i++) {
		if (fork() != 0)
			continue;
		close(go[1]);
		close(gone[1]);
		if (read(go[0], &byte, 1) != 0)
			_exit(100);
		j[0] = open_it();
		fs = recover(j[0]);
		byte = (char)fs.n;
		if (write(ready[1], &byte, 1) != 1 || read(gone[0], &byte, 1) != 0)
			_exit(100);
		_exit(0);
	}
	close(go[1]);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(read(ready[0], &byte, 1), 1);
		found += (unsigned char)byte;
	}
	close(gone[1]);
	for (unsigned i = 0; i < N; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	assert_int_equal(found, N);
	close(ready[0]);
	close(ready[1]);
	close(go[0]);
	close(gone[0]);
}

/* -- processes that are killed, and threads --------------------------------------------------- */

/* Commits for ever, every third time durable; tells of each. */
static void commit_for_ever(int out)
{
	struct journal *j = open_it();
	struct journal_log *l = log_of(j, "k");

	for (unsigned i = 0;; i++) {
		char c = (char)('a' + i % 26);

		if (journal_begin(l) < 0 || put(l, 0, KIB(64), c) < 0 ||
		    put(l, MIB(1) + i % 64 * PAGE, PAGE, c) < 0 ||
		    journal_commit(l, &STATE, i % 3 == 0) < 0 || write(out, &c, 1) != 1)
			_exit(1);
	}
}

/* The letter that was told of last by a child that was killed after @n. */
static char commit_and_kill(unsigned n)
{
	int ends[2], status;
	char last = 0;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		commit_for_ever(ends[1]);
	close(ends[1]);
	while (n-- && read(ends[0], &last, 1) == 1)
		;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	/* What it has told of since then. */
	while (read(ends[0], &last, 1) == 1)
		;
	close(ends[0]);
	return last;
}

/* What was told of is there, durable or not; at most one more is. */
static void test_kill(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 25; i++) {
		char last = commit_and_kill(1 + i * 13 % 60),
		     next = (char)((last - 'a' + 1) % 26 + 'a');
		struct journal *j = open_it();
		struct finds fs = recover(j);
		struct picture p;

		assert_int_equal(fs.n, 1);
		picture_take(&p, fs.log[0], MIB(2));
		assert_true(p.bytes[0] == last || p.bytes[0] == next);
		assert_run(&p, 0, KIB(64), p.bytes[0]);
		free(p.bytes);
		assert_int_equal(journal_remove(fs.log[0]), 0);
		journal_close(j);
	}
}

struct job {
	pthread_t thread;
	struct journal *j;
	unsigned number;
};

static void *job_run(void *arg)
{
	struct job *job = arg;
	char key[16];

	for (unsigned i = 0; i < 20; i++) {
		struct journal_log *l;

		snprintf(key, sizeof key, "%u-%u", job->number, i);
		l = log_of(job->j, key);
		commit_one(l, i * PAGE, KIB(100), 'a' + (int)job->number);
		if (i % 5 == 0)
			journal_log_close(l);
		else
			assert_int_equal(journal_remove(l), 0);
	}
	return NULL;
}

static int count_found(void *arg, struct journal_found *f)
{
	++*(unsigned *)arg;
	journal_log_close(f->log);
	return 0;
}

static void test_logs_are_used_at_once(void **state)
{
	struct journal *j = open_it();
	struct job job[4];
	unsigned found = 0;
	uint64_t bytes;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(job); i++) {
		job[i] = (struct job){ .j = j, .number = i };
		assert_int_equal(pthread_create(&job[i].thread, NULL, job_run, &job[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(job); i++)
		pthread_join(job[i].thread, NULL);
	bytes = journal_bytes(j);
	journal_close(j);
	j = open_it();
	assert_int_equal(journal_recover(j, count_found, &found), 0);
	assert_int_equal(found, 16);
	assert_int_equal(journal_bytes(j), bytes);
	journal_close(j);
}

/* More files are changed than may be open. */
static void test_many_logs(void **state)
{
	struct rlimit was, few;
	struct journal_log *l[300];
	struct journal *j;
	unsigned found = 0;
	char key[16];

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = (struct rlimit){ .rlim_cur = 64, .rlim_max = was.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	j = open_it();
	for (unsigned i = 0; i < ARRAY_LEN(l); i++) {
		snprintf(key, sizeof key, "k%u", i);
		l[i] = log_of(j, key);
		commit_one(l[i], 0, PAGE, 'a');
	}
	for (unsigned i = 0; i < ARRAY_LEN(l); i++) {
		struct picture p;

		assert_int_equal(journal_begin(l[i]), 0);
		assert_int_equal(put(l[i], PAGE, PAGE, 'b'), 0);
		assert_int_equal(journal_commit(l[i], &STATE, i % 2), 0);
		assert_int_equal(journal_sync(l[i]), 0);
		assert_true(journal_is_durable(l[i]));
		picture_take(&p, l[i], MIB(2));
		assert_run(&p, 0, PAGE, 'a');
		assert_run(&p, PAGE, 2 * PAGE, 'b');
		free(p.bytes);
		journal_log_close(l[i]);
	}
	journal_close(j);
	j = open_it();
	assert_int_equal(journal_recover(j, count_found, &found), 0);
	assert_int_equal(found, ARRAY_LEN(l));
	journal_close(j);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
}

static void test_others_may_not_write_there(void **state)
{
	struct journal_params p = { .dir = dir, .source = SOURCE };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct journal *j = open_it();

	(void)state;
	journal_close(j);
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(journal_open(&j, &p, &err), -EACCES);
	assert_non_null(strstr(err.msg, "others may write"));
	p.dir = "/dev/null/x";
	assert_int_equal(journal_open(&j, &p, &err), -ENOTDIR);
	assert_non_null(strstr(err.msg, "/dev/null/x"));
}

struct seen {
	unsigned n, logs, used, damaged;
	uint64_t bytes;
};

static int on_info(void *arg, const struct journal_info *i)
{
	struct seen *s = arg;
	struct stat st;

	assert_string_equal(i->source, SOURCE);
	assert_int_equal(stat(i->path, &st), 0);
	s->n++;
	s->logs += i->logs;
	s->used += i->in_use;
	s->damaged += i->damaged;
	s->bytes += i->bytes;
	return 0;
}

static int on_info_stop(void *arg, const struct journal_info *i)
{
	(void)i;
	++*(unsigned *)arg;
	return -1;
}

static void test_list(void **state)
{
	struct journal *a, *b;
	struct journal_log *l;
	struct seen s = { 0 };
	unsigned n = 0;

	(void)state;
	assert_int_equal(journal_list(dir, on_info, &s), 0);
	assert_int_equal(s.n, 0);
	a = open_it();
	b = open_it();
	l = log_of(b, "k");
	commit_one(l, 0, PAGE, 'a');
	journal_log_close(l);
	s.bytes = journal_bytes(b);
	journal_close(b);
	assert_int_equal(journal_list(dir, on_info, &s), 0);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.logs, 1);
	assert_int_equal(s.used, 1);
	assert_int_equal(s.damaged, 0);
	assert_true(s.bytes > 2 * PAGE && s.bytes % 2 == 0);
	assert_int_equal(journal_list(dir, on_info_stop, &n), -1);
	assert_int_equal(n, 1);
	journal_close(a);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_what_is_committed_is_found),
		T(test_a_found_log_goes_on),
		T(test_the_later_one_of_a_key),
		T(test_the_later_one_after_starts),
		T(test_sizes_cut),
		T(test_stored_forgets),
		T(test_before_the_first_commit),
		T(test_names_have_limits),
		T(test_more_than_it_is_worth),
		T(test_the_limit),
		T(test_each_mount_has_its_own),
		T(test_many_start_at_once),
		T(test_kill),
		T(test_logs_are_used_at_once),
		T(test_many_logs),
		T(test_others_may_not_write_there),
		T(test_list),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
