/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everybody at once: blocking and asynchronous readers, writers that are trapped, a provider that
 * answers in pieces and out of order from its own threads, eviction, writeback, resize, clones,
 * cancelled and expired reads, and a detach in the middle. Meant for ThreadSanitizer, but the bytes
 * are checked as well. Nobody sleeps: each thread does its share and ends.
 *
 * A word of the object is what the origin has, or a stamp that names its page and the round of its
 * writer. Pages: [0, ZONE_A) are written and never written back, so the last stamp must be there at
 * the end; [ZONE_A, ZONE_R) are written back; [ZONE_R, ZONE_B) are only read; the rest comes and goes
 * by resize.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/fake_provider.h"
#include "lib/prng.h"
#include "lib/vmo_scene.h"
#include "vm/pool.h"
#include "vm/vmo.h"

#define PAGE  VMOFS_PAGE_SIZE
#define KEY   UINT64_C(0x1000000000)
#define STAMP UINT64_C(0xa5)

enum {
	ZONE_A = 200,
	ZONE_R = 500, /* what may be dirty at a time fits into the budget with room to spare */
	ZONE_B = 1100,
	N_PAGES = 1200, /* more than the budget has */
	N_WRITERS = 2,
	N_SLOTS = 48,
	ROUNDS = 1500,
	ROUNDS_RENDEZVOUS = 300, /* each send() waits for a thread */
};

#define must(cond)                                                        \
	do {                                                              \
		if (!(cond))                                              \
			test_die("%s:%d: %s", __func__, __LINE__, #cond); \
	} while (0)

struct scene {
	struct vm_pool *pool;
	struct fake_provider *provider;
	struct vmo *vmo;
	_Atomic bool detached;
	_Atomic unsigned rounds;  /* of all threads */
	unsigned n_rounds;        /* of each */
	_Atomic unsigned n_ended; /* workers that do not stay */
	unsigned n_guests;
	uint64_t last_stamp[ZONE_A]; /* by the page's writer alone */
};

static struct scene scene;

/* ---- words ---- */

static uint64_t stamp_of(uint64_t page, uint64_t round)
{
	return STAMP << 56 | page << 32 | round;
}

static bool is_right(uint64_t word, uint64_t off)
{
	if (word == KEY + off / 8)
		return true;
	if (word >> 56 == STAMP)
		return (word >> 32 & 0xffffff) == off / PAGE;
	return word == 0 && off / PAGE >= ZONE_B;
}

static void check_bytes(uint64_t off, const void *buf, uint64_t len)
{
	for (uint64_t i = 0; i + 8 <= len; i += 8) {
		uint64_t word;

		memcpy(&word, (const char *)buf + i, 8);
		if (!is_right(word, off + i))
			test_die("word at %#jx is %#jx", (uintmax_t)(off + i), (uintmax_t)word);
	}
}

static bool may_fail(int64_t r)
{
	return r == -EIO || r == -ENOMEM || r == -ETIMEDOUT || r == -ERANGE || r == -EBUSY ||
		(r == -ESHUTDOWN && scene.detached);
}

struct worker {
	pthread_t thread;
	void (*round)(struct prng *r, unsigned id);
	unsigned id;
	bool stays;
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct prng r = { 1000 + w->id };

	/* Whoever makes room for the others goes on until they have ended. */
	for (unsigned i = 0; i < ROUNDS || (w->stays && scene.n_ended < scene.n_guests); i++) {
		w->round(&r, w->id);
		atomic_fetch_add(&scene.rounds, 1);
	}
	if (!w->stays)
		atomic_fetch_add(&scene.n_ended, 1);
	return NULL;
}

/* ---- readers ---- */

static void read_blocking(struct prng *r, unsigned id UNUSED)
{
	static _Thread_local unsigned char buf[16 * 4096];
	uint64_t off = prng_below(r, N_PAGES) * PAGE;
	uint64_t len = (1 + prng_below(r, 16)) * PAGE;
	int64_t got = vmo_read(scene.vmo, off, buf, len, NULL);

	must(got >= 0 ? got <= (int64_t)len : may_fail(got));
	check_bytes(off, buf, (uint64_t)MAX(got, 0));
}

/* Pinned memory is looked at without a lock, so only where nobody writes. */
static void check_pinned(const struct vmo_read *r)
{
	uint64_t off = r->off;

	for (unsigned i = 0; i < r->n_iov; i++) {
		uint64_t len = r->iov[i].iov_len;

		if (off >= ZONE_R * PAGE && off + len <= ZONE_B * PAGE && off % 8 == 0)
			check_bytes(off, r->iov[i].iov_base, len);
		off += len;
	}
	must(off == r->off + r->len);
}

struct slot {
	struct vmo_read r;
	struct vmofs_list link;
	_Atomic unsigned users; /* who may still touch r: done() and who cancels */
};

/* Reads that are not under way. */
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t slots_freed = PTHREAD_COND_INITIALIZER;
static struct vmofs_list slots_free = VMOFS_LIST_INIT(slots_free);
static struct slot slots[N_SLOTS];

static void slot_put(struct slot *s)
{
	if (atomic_fetch_sub(&s->users, 1) > 1)
		return;
	pthread_mutex_lock(&slots_lock);
	vmofs_list_add_tail(&slots_free, &s->link);
	pthread_cond_signal(&slots_freed);
	pthread_mutex_unlock(&slots_lock);
}

static struct slot *slot_get(void)
{
	struct slot *s;

	pthread_mutex_lock(&slots_lock);
	while (!(s = vmofs_list_first(&slots_free, struct slot, link)))
		pthread_cond_wait(&slots_freed, &slots_lock);
	vmofs_list_del(&s->link);
	pthread_mutex_unlock(&slots_lock);
	return s;
}

static void async_done(struct vmo_read *r, int status)
{
	/* Cancelled between being granted and looking again. */
	must(status == 0 || status == -EINTR || may_fail(status));
	if (status == 0)
		check_pinned(r);
	vmo_read_end(r);
	slot_put(container_of(r, struct slot, r));
}

static void read_async(struct prng *r, unsigned id UNUSED)
{
	struct slot *s = slot_get();
	bool cancel = prng_chance(r, 40);
	int status;

	s->users = 1 + cancel;
	s->r = (struct vmo_read){
		.off = prng_below(r, N_PAGES * PAGE),
		.len = 1 + prng_below(r, 8 * PAGE),
		.cls = prng_chance(r, 30) ? VMOFS_CLASS_PREFETCH : VMOFS_CLASS_DEMAND,
		.deadline_ns = prng_chance(r, 20) ? test_now_ns() + prng_below(r, 2000000) : 0,
		.done = async_done,
	};
	status = vmo_read_start(scene.vmo, &s->r);
	if (status != -EINPROGRESS)
		async_done(&s->r, status);
	if (!cancel)
		return;
	if (status == -EINPROGRESS && vmo_read_cancel(&s->r))
		slot_put(s);
	slot_put(s);
}

/* ---- writers ---- */

static void write_page(uint64_t page, uint64_t round)
{
	uint64_t words[PAGE / 8];
	int64_t r;

	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		words[i] = stamp_of(page, round);
	r = vmo_write(scene.vmo, page * PAGE, words, sizeof words, NULL);
	must(r == (int64_t)sizeof words || may_fail(r));
	if (page < ZONE_A && r == (int64_t)sizeof words)
		scene.last_stamp[page] = words[0];
}

static void write_some(struct prng *r, unsigned id)
{
	static _Thread_local uint64_t round;
	/* A page of zone A has one writer. */
	uint64_t page = prng_below(r, ZONE_A / N_WRITERS) * N_WRITERS + id % N_WRITERS;

	if (prng_chance(r, 50))
		page = ZONE_A + prng_below(r, ZONE_R - ZONE_A);
	else if (prng_chance(r, 30))
		page = ZONE_B + prng_below(r, N_PAGES - ZONE_B);
	write_page(page, ++round);
}

/* ---- writeback ---- */

static void write_back(struct prng *r, unsigned id UNUSED)
{
	struct vmo_dirty_range got[8];
	uint64_t off = ZONE_A * PAGE;
	int64_t n = vmo_query_dirty(scene.vmo, off, (ZONE_B - ZONE_A) * PAGE, got, ARRAY_LEN(got));
	struct vmo_token *token;
	int status;

	must(n >= 0);
	for (int64_t i = 0; i < MIN(n, (int64_t)ARRAY_LEN(got)); i++) {
		static _Thread_local unsigned char page[4096];

		status = vmo_writeback_begin(scene.vmo, got[i].off, got[i].len, VMO_WRITEBACK_ALL,
					     &token);
		must(status == 0 || status == -ENOMEM);
		if (status)
			continue;
		must(vmo_read(scene.vmo, got[i].off, page, sizeof page, NULL) ==
		     (int64_t)sizeof page);
		check_bytes(got[i].off, page, sizeof page);
		if (got[i].len > PAGE && prng_chance(r, 50))
			vmo_writeback_end_part(token, got[i].off, PAGE, 0);
		vmo_writeback_end(token, prng_chance(r, 20) ? -EIO : 0);
	}
	if (prng_chance(r, 10))
		vmo_writeback(scene.vmo, off, 20 * PAGE, NULL);
}

/* ---- the rest ---- */

static void evict(struct prng *r, unsigned id UNUSED)
{
	vmo_evict(scene.vmo, prng_below(r, N_PAGES - 50) * PAGE, 50 * PAGE, prng_chance(r, 50));
	if (prng_chance(r, 30))
		vm_pool_evict(scene.pool, 1 + prng_below(r, 30));
	if (prng_chance(r, 30))
		vm_pool_age(scene.pool);
	vmo_expire(scene.vmo, test_now_ns());
}

static void resize(struct prng *r, unsigned id UNUSED)
{
	uint64_t pages = ZONE_B + prng_below(r, N_PAGES - ZONE_B + 1);
	int status = vmo_resize(scene.vmo, pages * PAGE, NULL);

	must(status == 0 || may_fail(status));
	must(vmo_size(scene.vmo) >= ZONE_B * PAGE);
}

static void look(struct prng *r, unsigned id UNUSED)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	must(out);
	vmo_dump(scene.vmo, out, 3);
	fclose(out);
	free(text);
	if (prng_chance(r, 10))
		vmo_check(scene.vmo);
	vmo_prefetch(scene.vmo, prng_below(r, N_PAGES - 20) * PAGE, 20 * PAGE, 0);
	vmo_modified(scene.vmo, true);
}

static void use_clone(struct prng *r, unsigned id UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	uint64_t first = prng_below(r, ZONE_B - 20);
	unsigned char page[4096];
	struct vmo *c;
	int64_t got;

	if (vmo_clone(&c, scene.vmo, first * PAGE, 20 * PAGE, VMO_SNAPSHOT_AT_LEAST_ON_WRITE, 0,
		      &err) < 0)
		return;
	got = vmo_read(c, 3 * PAGE, page, sizeof page, NULL);
	must(got == (int64_t)sizeof page || may_fail(got));
	if (got > 0)
		check_bytes((first + 3) * PAGE, page, sizeof page);
	got = vmo_write(c, 5 * PAGE + 8, "private", 8, NULL);
	must(got == 8 || may_fail(got));
	if (got == 8 && vmo_read(c, 5 * PAGE, page, sizeof page, NULL) == (int64_t)sizeof page)
		must(memcmp(page + 8, "private", 8) == 0);
	vmo_put(c);
}

/* ---- scenes ---- */

static void scene_begin(enum fake_mode mode, unsigned failures)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	scene = (struct scene){
		.n_rounds = mode == FAKE_RENDEZVOUS ? ROUNDS_RENDEZVOUS : ROUNDS,
	};
	assert_int_equal(vm_pool_new(&scene.pool, VM_POOL_MIN, &err), 0);
	scene.provider = fake_new(
		VMOFS_TYPE_BIT(VMOFS_REQUEST_DIRTY) | VMOFS_TYPE_BIT(VMOFS_REQUEST_WRITEBACK), KEY);
	assert_int_equal(vmo_new(&scene.vmo, scene.pool, fake_base(scene.provider), N_PAGES * PAGE,
				 VMO_TRAP_DIRTY | VMO_RESIZABLE, &err),
			 0);
	fake_attach(scene.provider, scene.vmo);
	fake_set_failures(scene.provider, failures);
	fake_start(scene.provider, mode, 2, 1);
	vmofs_list_init(&slots_free);
	for (unsigned i = 0; i < N_SLOTS; i++)
		vmofs_list_add_tail(&slots_free, &slots[i].link);
}

static void scene_end(void)
{
	struct page_source *source = vmo_page_source(scene.vmo);
	struct vm_pool_stats s;

	for (unsigned i = 0; i < N_SLOTS; i++)
		slot_get();
	vmo_check(scene.vmo);
	vmo_close(scene.vmo);
	for (unsigned t = 0; t < VMOFS_REQUEST_NTYPES; t++) {
		assert_int_equal(page_source_n_requests(source, t), 0);
		assert_int_equal(page_source_n_waiters(source, t), 0);
	}
	vm_pool_stats(scene.pool, &s);
	assert_true(s.peak <= s.limit);
	assert_int_equal(s.reserved, 0);
	fake_stop(scene.provider);
	vmo_put(scene.vmo);
	fake_free(scene.provider);
	pool_end(scene.pool);
}

static void (*const rounds[])(struct prng *r, unsigned id) = {
	write_some,    write_some, /* first: their id is their share of the pages */
	read_blocking, read_blocking, read_async, read_async, write_back,
	evict,         resize,        look,       use_clone,
};

static void start_all(struct worker *w)
{
	scene.n_guests = ARRAY_LEN(rounds) - 1;
	for (unsigned i = 0; i < ARRAY_LEN(rounds); i++) {
		w[i] = (struct worker){
			.round = rounds[i],
			.id = i,
			.stays = rounds[i] == write_back,
		};
		assert_int_equal(pthread_create(&w[i].thread, NULL, worker_main, &w[i]), 0);
	}
}

static void join_all(struct worker *w)
{
	for (unsigned i = 0; i < ARRAY_LEN(rounds); i++)
		pthread_join(w[i].thread, NULL);
}

static void check_zone_a(void)
{
	for (uint64_t p = 0; p < ZONE_A; p++) {
		uint64_t words[PAGE / 8];

		if (!scene.last_stamp[p])
			continue;
		assert_int_equal(vmo_read(scene.vmo, p * PAGE, words, sizeof words, NULL),
				 sizeof words);
		for (unsigned i = 0; i < ARRAY_LEN(words); i++)
			assert_int_equal(words[i], scene.last_stamp[p]);
	}
}

static void everybody_at_once(enum fake_mode mode, unsigned failures)
{
	struct worker w[ARRAY_LEN(rounds)];

	scene_begin(mode, failures);
	start_all(w);
	join_all(w);
	check_zone_a();
	scene_end();
}

static void answers_in_pieces(void **state UNUSED)
{
	everybody_at_once(FAKE_RANDOM, 50);
}

static void answers_before_send_returns(void **state UNUSED)
{
	everybody_at_once(FAKE_RENDEZVOUS, 0);
}

static bool half_way(void *arg UNUSED)
{
	return scene.rounds > ARRAY_LEN(rounds) * scene.n_rounds / 2;
}

static void detach_in_the_middle(void **state UNUSED)
{
	struct worker w[ARRAY_LEN(rounds)];

	scene_begin(FAKE_RANDOM, 50);
	start_all(w);
	test_wait_until(half_way, NULL, "half of the work");
	scene.detached = true;
	assert_int_equal(vmo_detach(scene.vmo), 0);
	join_all(w);
	check_zone_a();
	scene_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_in_pieces),
		cmocka_unit_test(answers_before_send_returns),
		cmocka_unit_test(detach_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
