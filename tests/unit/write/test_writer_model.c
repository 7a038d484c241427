/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random changes, stores, failures and crashes of a few files against a model that knows, byte by byte, what is here, what the
 * origin has, and what the journal has promised. The process dies in front of a file system in memory; then all is found
 * again by another writer. One step at a time. VMOFS_TEST_SEED=N runs that one alone.
 */
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

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "lib/fake_change.h"
#include "lib/fake_disk.h"
#include "lib/prng.h"
#include "lib/writer_rig.h"
#include "store/journal.h"
#include "write/writer.h"

#define LONG_NS (1000 * NSEC_PER_SEC)
enum { FILES = 3, MAX_SIZE = 12 * 4096, STEPS = 300, SEEDS = 60, COMMITS = 64 };

struct contents {
	uint8_t data[MAX_SIZE];
	uint64_t size;
	bool exists;
};

/* One file and all that is known of it. */
struct model {
	char key[8];
	uint64_t ino;
	struct wfile *f;
	uint64_t since;
	struct contents here;
	struct contents origin;
	struct contents *commit; /* what the journal has, the last one is the newest */
	unsigned n_commits;
	unsigned durable; /* so many of them, from the first, a power cut may not take */
	bool dirty;
	bool unknown; /* the process dies while nobody knows what became of its store */
	bool amid; /* or at any call of an fsync or a store: the last commit may be there, or not */
};

static struct fake_change *origin;
static struct vm_pool *pool;
static struct writer *writer;
static struct journal *journal;
static struct model files[FILES];
static struct prng rnd;
static uint64_t clock_ns;
static uint64_t now_seed;
static unsigned step;
static unsigned dies_at; /* the call to the disk that the process does not survive; 0: none */

static uint64_t now(void)
{
	return clock_ns;
}

/* ---- the parts ---- */

static void start(void)
{
	struct journal_params jp = { .dir = "/j", .source = "fake", .io = &fake_disk_io };
	struct writer_params p = {
		.source = fake_change_source(origin),
		.dirty_limit = MIB(16),
		.age_ns = LONG_NS,
		.timeout_ns = 20 * NSEC_PER_SEC,
		.fsync = WRITER_FSYNC_LOCAL,
		.threads = 1,
		.let_go = writer_rig_let_go,
		.now_ns = now,
	};
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(journal_open(&journal, &jp, &err), 0);
	p.journal = journal;
	assert_int_equal(writer_new(&writer, &p, &err), 0);
}

static void put_files(void)
{
	for (unsigned i = 0; i < FILES; i++) {
		wfile_put(files[i].f);
		files[i].f = NULL;
	}
}

static void stop(void)
{
	writer_stop(writer);
	put_files();
	writer_free(writer);
	journal_close(journal);
}

static void fill(struct wfile_params *p, const char *key, const struct vmofs_version *base)
{
	struct vmofs_source *s = fake_change_source(origin);

	assert_int_equal(writer_rig_fill(p, pool, s, key, base), 0);
}

static void open_file(struct model *m)
{
	struct wfile_params p = { .key = m->key, .ino = m->ino };

	fake_change_version(origin, m->key, &p.base);
	assert_int_equal(p.base.exists, m->origin.exists);
	fill(&p, m->key, &p.base);
	assert_int_equal(wfile_new(&m->f, writer, &p), 0);
	m->since = wfile_error_mark(m->f);
	m->here = m->origin;
	m->n_commits = m->durable = 0;
	m->dirty = !m->origin.exists;
}

/* ---- what is there ---- */

static bool same(const struct contents *a, const void *data, uint64_t size)
{
	return a->size == size && !memcmp(a->data, data, size);
}

static void check_here(struct model *m)
{
	static uint8_t got[MAX_SIZE];

	assert_int_equal(vmo_size(wfile_vmo(m->f)), m->here.size);
	assert_int_equal(vmo_read(wfile_vmo(m->f), 0, got, m->here.size, NULL), m->here.size);
	assert_memory_equal(got, m->here.data, m->here.size);
}

/* What the origin has is one of the states that the file had, whole. */
static void check_origin(struct model *m)
{
	struct vmofs_version v;

	fake_change_version(origin, m->key, &v);
	assert_int_equal(v.exists, m->origin.exists);
	if (v.exists && !fake_change_has(origin, m->key, m->origin.data, m->origin.size))
		printf("seed %llu step %u: '%s' has %u bytes, %u expected\n",
		       (unsigned long long)now_seed, step, m->key, (unsigned)v.size,
		       (unsigned)m->origin.size);
	if (v.exists)
		assert_true(fake_change_has(origin, m->key, m->origin.data, m->origin.size));
}

static void add_commit(struct model *m, bool durable)
{
	if (m->n_commits == COMMITS) {
		memmove(m->commit, m->commit + 1, (COMMITS - 1) * sizeof *m->commit);
		m->n_commits--;
		m->durable -= m->durable > 0;
	}
	m->commit[m->n_commits++] = m->here;
	if (durable)
		m->durable = m->n_commits;
}

static void is_stored(struct model *m)
{
	m->origin = m->here;
	m->origin.exists = true;
	m->n_commits = m->durable = 0;
	m->dirty = false;
}

/* ---- changes ---- */

static void set_size(struct model *m, uint64_t size)
{
	if (size > m->here.size)
		memset(m->here.data + m->here.size, 0, size - m->here.size);
	m->here.size = size;
}

static void do_write(struct model *m)
{
	static uint8_t buf[MAX_SIZE];
	bool append = prng_chance(&rnd, 20);
	uint64_t off = append ? m->here.size : prng_below(&rnd, MAX_SIZE - 1);
	uint64_t most = prng_chance(&rnd, 50) ? 9000 : 100;
	uint64_t len;

	if (!append && prng_chance(&rnd, 30))
		off &= ~UINT64_C(4095);
	if (off >= MAX_SIZE)
		return;
	len = 1 + prng_below(&rnd, MIN(MAX_SIZE - off, most));
	for (uint64_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(step + i * 3 + prng_below(&rnd, 2));
	if (getenv("VMOFS_TEST_TRACE"))
		printf("step w %s %u+%u\n", m->key, (unsigned)off, (unsigned)len);
	assert_int_equal(wfile_write(m->f, off, buf, len, append, false), len);
	if (off + len > m->here.size)
		set_size(m, off + len);
	memcpy(m->here.data + off, buf, len);
	m->dirty = true;
}

/* From its beginning to its end: of a new one, parts are sent ahead. */
static void do_fill(struct model *m)
{
	static uint8_t buf[MAX_SIZE];
	uint64_t size = prng_below(&rnd, MAX_SIZE) + 1, n;

	for (uint64_t i = 0; i < size; i++)
		buf[i] = (uint8_t)prng_next(&rnd);
	for (uint64_t off = 0; off < size; off += n) {
		n = 1 + prng_below(&rnd, MIN(size - off, 9000));
		assert_int_equal(wfile_write(m->f, off, buf + off, n, false, false), n);
	}
	if (size > m->here.size)
		set_size(m, size);
	memcpy(m->here.data, buf, size);
	m->dirty = true;
}

static void do_truncate(struct model *m)
{
	uint64_t size = prng_below(&rnd, MAX_SIZE + 1);

	if (prng_chance(&rnd, 30))
		size &= ~UINT64_C(4095);
	assert_int_equal(wfile_truncate(m->f, size), 0);
	set_size(m, size);
	m->dirty = true;
}

static void do_zero(struct model *m)
{
	uint64_t off = prng_below(&rnd, MAX_SIZE);
	uint64_t len = 1 + prng_below(&rnd, MAX_SIZE - off);
	bool extend = prng_chance(&rnd, 50);

	assert_int_equal(wfile_zero(m->f, off, len, extend), 0);
	if (extend && off + len > m->here.size)
		set_size(m, off + len);
	if (off < m->here.size)
		memset(m->here.data + off, 0, MIN(len, m->here.size - off));
	m->dirty = true;
}

static void do_attr(struct model *m)
{
	const struct vmofs_change_attr a = { .has = VMOFS_HAS_MODE, .mode = 0600 + step % 8 };

	assert_int_equal(wfile_set_attr(m->f, &a), 0);
	m->dirty = true;
}

static void do_evict(struct model *m)
{
	vmo_evict(wfile_vmo(m->f), 0, m->here.size, true);
}

static void do_fsync(struct model *m)
{
	assert_int_equal(wfile_fsync(m->f, &m->since), 0);
	if (m->dirty)
		add_commit(m, true);
	else
		assert_int_equal(wfile_state(m->f), WFILE_CLEAN);
}

/* ---- stores ---- */

static int store(struct model *m)
{
	return wfile_store_wait(m->f, &m->since, loop_now_ns() + 20 * NSEC_PER_SEC, NULL);
}

static void do_store(struct model *m)
{
	assert_int_equal(store(m), 0);
	is_stored(m);
	assert_int_equal(wfile_state(m->f), WFILE_CLEAN);
	check_origin(m);
}

/* A store that comes as far as its last request has committed what the log had not. */
static void came_far(struct model *m)
{
	if (m->n_commits)
		add_commit(m, m->durable > 0);
}

static void do_refused(struct model *m)
{
	if (!m->dirty)
		return;
	fake_change_trouble(origin, FAKE_CHANGE_REFUSED, -EACCES, 1, false);
	assert_int_equal(store(m), -EACCES);
	m->since = wfile_error_mark(m->f);
	check_origin(m);
}

/* Nobody knows what became of it, for a while. */
static void fail_unknown(struct model *m)
{
	bool arrived = prng_chance(&rnd, 50);

	check_here(m); /* so all of it is here: reads would wait */
	came_far(m);
	fake_change_trouble(origin, arrived ? FAKE_CHANGE_UNHEARD : FAKE_CHANGE_LOST, -EIO, 1,
			    true);
	assert_int_equal(store(m), -EIO);
	assert_int_equal(wfile_state(m->f), WFILE_STORING);
	if (arrived) {
		m->origin = m->here;
		m->origin.exists = true;
	}
	check_origin(m);
}

static void hear_again(void)
{
	fake_change_trouble(origin, FAKE_CHANGE_NONE, 0, 0, false);
}

static void do_unknown(struct model *m)
{
	if (!m->dirty)
		return;
	fail_unknown(m);
	for (unsigned n = (unsigned)prng_below(&rnd, 4); n; n--) {
		if (prng_chance(&rnd, 50))
			do_write(m);
		else if (prng_chance(&rnd, 50))
			do_truncate(m);
		else
			do_fsync(m);
	}
	check_here(m);
	hear_again();
	do_store(m);
}

/* Another client comes between. */
static void do_conflict(struct model *m)
{
	static const char theirs[] = "another client's";
	struct vmofs_err err = VMOFS_ERR_INIT;

	if (!m->dirty)
		return;
	check_here(m);
	fake_change_put(origin, m->key, theirs, sizeof theirs);
	assert_int_equal(store(m), -ESTALE);
	m->origin = (struct contents){ .size = sizeof theirs, .exists = true };
	memcpy(m->origin.data, theirs, sizeof theirs);
	add_commit(m, m->durable > 0);
	check_origin(m);
	check_here(m);
	assert_int_equal(wfile_write(m->f, 0, "x", 1, false, false), -ESTALE);
	if (prng_chance(&rnd, 50)) {
		assert_int_equal(wfile_resolve(m->f, WFILE_KEEP_LOCAL, NULL, &err), 0);
		is_stored(m);
		check_origin(m);
		return;
	}
	assert_int_equal(wfile_resolve(m->f, WFILE_KEEP_REMOTE, NULL, &err), 0);
	wfile_put(m->f);
	open_file(m);
}

static void do_remove(struct model *m)
{
	struct vmofs_version base;
	bool there;

	assert_int_equal(wfile_removed(m->f, &there, &base), 0);
	assert_int_equal(there, m->origin.exists);
	check_here(m);
	fake_change_remove(origin, m->key);
	m->origin = (struct contents){ 0 };
	wfile_put(m->f);
	open_file(m);
}

static void do_new(struct model *m)
{
	do_remove(m);
	do_fill(m);
	/* Time for parts to go. */
	if (prng_chance(&rnd, 50))
		usleep(200);
}

/* ---- crashes ---- */

static struct model *by_key(const char *key)
{
	for (unsigned i = 0; i < FILES; i++)
		if (!strcmp(files[i].key, key))
			return &files[i];
	fail_msg("nobody knows '%s'", key);
	return NULL;
}

static int make_found(void *arg UNUSED, const char *key, const struct vmofs_version *base,
		      struct wfile_params *out)
{
	fill(out, key, base);
	out->ino = by_key(key)->ino;
	return 0;
}

static void print_difference(const char *what, const struct contents *c, const uint8_t *got,
			     uint64_t size)
{
	uint64_t i = 0;
	uint64_t n = 0;

	while (i < MIN(size, c->size) && c->data[i] == got[i])
		i++;
	for (uint64_t k = i; k < MIN(size, c->size); k++)
		n += c->data[k] != got[k];
	printf("%s: %llu bytes, found %llu; %llu differ from %llu on\n", what,
	       (unsigned long long)c->size, (unsigned long long)size, (unsigned long long)n,
	       (unsigned long long)i);
}

/* The file was found: it is as one of the commits that may be found. */
static void adopt(struct model *m, unsigned first)
{
	static uint8_t got[MAX_SIZE];
	uint64_t size = vmo_size(wfile_vmo(m->f));

	assert_true(size <= MAX_SIZE);
	assert_int_equal(vmo_read(wfile_vmo(m->f), 0, got, size, NULL), size);
	for (unsigned i = m->n_commits; i > first; i--)
		if (same(&m->commit[i - 1], got, size)) {
			m->here = m->commit[i - 1];
			m->commit[0] = m->here;
			m->n_commits = m->durable = 1;
			m->dirty = true;
			return;
		}
	print_difference("origin", &m->origin, got, size);
	for (unsigned i = first; i < m->n_commits; i++)
		print_difference("commit", &m->commit[i], got, size);
	fail_msg("seed %llu step %u: '%s' is none of %u states", (unsigned long long)now_seed, step,
		 m->key, m->n_commits - first);
}

/* A store that the process did not survive: its new version is there whole, or the old one is. */
static void look_at_origin(struct model *m)
{
	const struct contents *c = &m->commit[m->n_commits - 1];

	if (fake_change_has(origin, m->key, c->data, c->size)) {
		m->origin = *c;
		m->origin.exists = true;
	}
	check_origin(m);
}

static void find_again(struct model *m)
{
	unsigned sure = m->n_commits - m->amid;
	unsigned first = sure - (sure > 0);

	if (m->amid)
		look_at_origin(m);
	m->f = writer_find(writer, m->ino);
	if (m->f) {
		m->since = wfile_error_mark(m->f);
		adopt(m, first);
		/* That one is stored by itself, sooner or later. */
		if (m->unknown || m->amid)
			do_store(m);
		m->unknown = m->amid = false;
		return;
	}
	if (m->unknown && m->n_commits) { /* it has been */
		m->origin = m->commit[m->n_commits - 1];
		m->origin.exists = true;
		m->n_commits = m->durable = 0;
	}
	if (m->amid &&
	    (m->origin.exists &&
	     same(&m->commit[m->n_commits - 1], m->origin.data, m->origin.size)))
		m->n_commits = m->durable = 0; /* that is all there is to know */
	else if (m->amid)
		m->n_commits--;
	m->unknown = m->amid = false;
	assert_int_equal(m->n_commits, 0);
	open_file(m);
	check_here(m);
}

static bool is_dead(void)
{
	return dies_at && fake_disk_calls() >= dies_at;
}

static void do_crash(void)
{
	const struct fake_plan dead = { .at = 1, .stop = true, .err = EIO };
	const struct fake_plan alive = { .at = 0 };

	if (!is_dead())
		fake_disk_plan(&dead);
	stop();
	fake_disk_kill();
	fake_disk_plan(&alive);
	dies_at = 0;
	start();
	assert_int_equal(writer_recover(writer, make_found, NULL), 0);
	for (unsigned i = 0; i < FILES; i++)
		find_again(&files[i]);
}

/* It dies while nobody knows what became of a store. */
static void do_unknown_crash(struct model *m)
{
	if (!m->dirty)
		return;
	fail_unknown(m);
	if (prng_chance(&rnd, 30))
		do_write(m);
	if (prng_chance(&rnd, 30))
		do_fsync(m);
	hear_again();
	m->unknown = true;
	do_crash();
}

/* It dies in the middle of an fsync or a store, at a call to the disk; the origin hears nothing of it from then on. */
static void do_crash_amid(struct model *m)
{
	const struct fake_plan plan = { .at = 1 + (unsigned)prng_below(&rnd, 16),
					.stop = true,
					.err = EIO,
					.effect =
						(enum fake_effect)prng_below(&rnd, FAKE_NEFFECTS) };
	bool stores = prng_chance(&rnd, 50);
	int r;

	if (!m->dirty)
		return;
	check_here(m);
	fake_disk_plan(&plan);
	dies_at = plan.at;
	r = stores ? store(m) : wfile_fsync(m->f, &m->since);
	if (getenv("VMOFS_TEST_TRACE"))
		printf("%s gives %d, dies at %u of %u\n", stores ? "store" : "fsync", r, dies_at,
		       fake_disk_calls());
	add_commit(m, r == 0 && !stores);
	m->amid = r < 0 || stores;
	do_crash();
}

/* ---- runs ---- */

static void one_step(void)
{
	struct model *m = &files[prng_below(&rnd, FILES)];
	uint64_t what = prng_below(&rnd, 100);

	if (getenv("VMOFS_TEST_TRACE"))
		printf("step %u: %s %u size %u origin %u commits %u dirty %d\n", step, m->key,
		       (unsigned)what, (unsigned)m->here.size, (unsigned)m->origin.size,
		       m->n_commits, m->dirty);
	if (what < 29)
		do_write(m);
	else if (what < 35)
		do_fill(m);
	else if (what < 43)
		do_truncate(m);
	else if (what < 50)
		do_zero(m);
	else if (what < 53)
		do_attr(m);
	else if (what < 58)
		do_evict(m);
	else if (what < 68)
		do_fsync(m);
	else if (what < 77)
		do_store(m);
	else if (what < 80)
		do_new(m);
	else if (what < 83)
		do_refused(m);
	else if (what < 87)
		do_unknown(m);
	else if (what < 90)
		do_unknown_crash(m);
	else if (what < 92)
		do_conflict(m);
	else if (what < 94)
		do_remove(m);
	else if (what < 95)
		do_crash();
	else if (what < 98)
		do_crash_amid(m);
	else
		check_here(m);
	if (getenv("VMOFS_TEST_TRACE"))
		check_here(m);
}

static void run(uint64_t seed)
{
	rnd.state = now_seed = seed;
	fake_disk_reset();
	origin = fake_change_new();
	fake_change_asker(origin, is_dead);
	fake_change_ahead(origin, 4096, 2);
	start();
	for (unsigned i = 0; i < FILES; i++) {
		struct model *m = &files[i];

		*m = (struct model){ .ino = 10 + i, .commit = malloc(COMMITS * sizeof *m->commit) };
		assert_non_null(m->commit);
		snprintf(m->key, sizeof m->key, "f%u", i);
		if (i) {
			m->origin.size = prng_below(&rnd, MAX_SIZE);
			m->origin.exists = true;
			for (uint64_t b = 0; b < m->origin.size; b++)
				m->origin.data[b] = (uint8_t)prng_next(&rnd);
			fake_change_put(origin, m->key, m->origin.data, m->origin.size);
		}
		open_file(m);
	}
	for (step = 0; step < STEPS; step++)
		one_step();
	for (unsigned i = 0; i < FILES; i++) {
		check_here(&files[i]);
		do_store(&files[i]);
		free(files[i].commit);
	}
	stop();
	fake_disk_kill();
	fake_change_free(origin);
}

static void test_random(void **state UNUSED)
{
	const char *one = getenv("VMOFS_TEST_SEED");

	setvbuf(stdout, NULL, _IOLBF, 0);

	if (one)
		run(strtoull(one, NULL, 0));
	for (uint64_t seed = 1; !one && seed <= SEEDS; seed++)
		run(seed);
}

static int set_up(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	log_set_level(LOG_LEVEL_ERROR);
	clock_ns = loop_now_ns() + 3600 * NSEC_PER_SEC;
	return vm_pool_new(&pool, MIB(64), &err);
}

static int tear_down(void **state UNUSED)
{
	vm_pool_free(pool);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
