/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many versions of one object, one after the other: random writes, cuts, zeros, evictions and reads, stores that succeed and
 * fail, each version with a provider of its own whose answers come late, also after it was switched away. All the time
 * the contents are those of a plain buffer, what a store would send makes the new version, and what a journal has copied
 * makes up for all that is not in the version below. Others read meanwhile.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "lib/prng.h"
#include "vm/vmo.h"

#define PAGE VMOFS_PAGE_SIZE

enum { MAX_PAGES = 96, MAX_LEN = MAX_PAGES * 4096, STEPS = 6000, LATE = 8, READERS = 2 };

/* ---- one version and its provider ---- */

struct late {
	struct vmo *vmo; /* counted */
	uint64_t off;
	uint64_t len;
};

struct version {
	struct vmofs_provider base;
	unsigned char *data;
	uint64_t size;
	pthread_t thread;
	struct prng rng;

	struct mutex lock;
	/* lock: lock */
	struct cond changed;
	struct vmofs_list queue;
	bool closed;
	struct late late[LATE]; /* answered a second time, whenever */
	unsigned n_late;
};

static struct version *version_of(struct vmofs_provider *p)
{
	return container_of(p, struct version, base);
}

static void version_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct version *v = version_of(p);

	mutex_lock(&v->lock);
	if (v->closed)
		abort();
	vmofs_list_add_tail(&v->queue, &req->link);
	cond_signal(&v->changed);
	mutex_unlock(&v->lock);
}

static void version_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct version *v = version_of(p);

	mutex_lock(&v->lock);
	vmofs_list_del(&req->link);
	mutex_unlock(&v->lock);
}

static void version_swap(struct vmofs_provider *p, struct vmofs_request *old,
			 struct vmofs_request *now)
{
	version_clear(p, old);
	version_send(p, now);
}

static void version_detach(struct vmofs_provider *p UNUSED)
{
}

static void version_close(struct vmofs_provider *p)
{
	struct version *v = version_of(p);

	mutex_lock(&v->lock);
	v->closed = true;
	cond_signal(&v->changed);
	mutex_unlock(&v->lock);
}

static const struct vmofs_provider_ops version_ops = {
	.name = "version",
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.send = version_send,
	.clear = version_clear,
	.swap = version_swap,
	.on_detach = version_detach,
	.on_close = version_close,
};

static void answer(struct version *v, const struct late *a)
{
	uint64_t end = MIN(a->off + a->len, v->size);

	if (a->off < end)
		vmofs_supply(a->vmo, a->off, v->data + a->off, end - a->off);
}

/* The next request, taken off the queue; false: there is none any more. */
static bool next_request(struct version *v, struct late *out)
{
	struct vmofs_request *req;
	bool found;

	mutex_lock(&v->lock);
	while (!v->closed && vmofs_list_empty(&v->queue))
		cond_wait(&v->changed, &v->lock);
	found = !v->closed;
	if (found) {
		req = vmofs_list_first(&v->queue, struct vmofs_request, link);
		vmofs_list_del(&req->link);
		*out = (struct late){ vmofs_vmo_get(req->vmo), req->off, req->len };
	}
	mutex_unlock(&v->lock);
	return found;
}

static void *version_main(void *arg)
{
	struct version *v = arg;
	struct late a;

	while (next_request(v, &a)) {
		bool keep;

		answer(v, &a);
		mutex_lock(&v->lock);
		keep = v->n_late < LATE && prng_chance(&v->rng, 30);
		if (keep)
			v->late[v->n_late++] = a;
		mutex_unlock(&v->lock);
		if (!keep)
			vmofs_vmo_put(a.vmo);
	}
	return NULL;
}

/* Takes @data. */
static struct version *version_new(unsigned char *data, uint64_t size, uint64_t seed)
{
	struct version *v = calloc(1, sizeof *v);

	assert_non_null(v);
	v->base.ops = &version_ops;
	v->data = data;
	v->size = size;
	v->rng = (struct prng){ seed };
	mutex_init(&v->lock, LOCK_RANK_PROVIDER);
	cond_init(&v->changed);
	vmofs_list_init(&v->queue);
	assert_int_equal(pthread_create(&v->thread, NULL, version_main, v), 0);
	return v;
}

/* Some of what it has answered before, again. */
static void answer_late(struct version *v)
{
	struct late a = { 0 };

	mutex_lock(&v->lock);
	if (v->n_late)
		a = v->late[--v->n_late];
	mutex_unlock(&v->lock);
	if (!a.vmo)
		return;
	answer(v, &a);
	vmofs_vmo_put(a.vmo);
}

static void version_free(struct version *v)
{
	if (!v)
		return;
	pthread_join(v->thread, NULL);
	while (v->n_late)
		answer_late(v);
	cond_destroy(&v->changed);
	mutex_destroy(&v->lock);
	free(v->data);
	free(v);
}

/* ---- the scene ---- */

struct cycle {
	struct vmo_guard guard;
	uint64_t charged;
	uint64_t limit;
	struct vm_pool *pool;
	struct vmo *vmo;
	struct version *now;
	struct version *before; /* switched away, but not yet gone */
	struct prng rng;
	unsigned char *want;
	uint64_t size;
	unsigned char *journal;
	unsigned char *buf;
	bool held;
	atomic_bool stop;
	pthread_t reader[READERS];
};

static int cycle_grant(struct vmo_guard *g, uint64_t n)
{
	struct cycle *c = container_of(g, struct cycle, guard);

	if (c->charged + n > c->limit)
		return -EAGAIN;
	c->charged += n;
	return 0;
}

static void cycle_release(struct vmo_guard *g, uint64_t n)
{
	struct cycle *c = container_of(g, struct cycle, guard);

	assert_true(n <= c->charged);
	c->charged -= n;
}

static const struct vmo_guard_ops cycle_guard = { .grant = cycle_grant, .release = cycle_release };

static uint64_t pick(struct cycle *c, uint64_t n)
{
	return prng_below(&c->rng, n);
}

static void *random_bytes(struct cycle *c, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t word = prng_next(&c->rng);

		memcpy(c->buf + i, &word, MIN(len - i, 8));
	}
	return c->buf;
}

static void *reader_main(void *arg)
{
	struct cycle *c = arg;
	unsigned char *p = malloc(8 * PAGE);
	struct prng rng = { 99 };

	while (!atomic_load(&c->stop)) {
		uint64_t off = prng_below(&rng, MAX_LEN);
		int64_t n = vmo_read(c->vmo, off, p, prng_below(&rng, 8 * PAGE), NULL);

		if (n < 0 && n != -ERANGE && n != -ESHUTDOWN)
			abort();
	}
	free(p);
	return NULL;
}

/* ---- checks ---- */

static void must_be(struct cycle *c, uint64_t off, uint64_t len)
{
	unsigned char *p = malloc(len + 1);
	int64_t n = off <= c->size ? vmo_read(c->vmo, off, p, len, NULL) : 0;

	assert_int_equal(vmo_size(c->vmo), c->size);
	if (off <= c->size)
		assert_int_equal(n, MIN(len, c->size - off));
	for (int64_t i = 0; i < n; i++)
		if (p[i] != c->want[off + (uint64_t)i])
			fail_msg("byte %#" PRIx64 " is %#x, should be %#x", off + (uint64_t)i, p[i],
				 c->want[off + (uint64_t)i]);
	free(p);
}

/* What the version below and the dirty ranges make: the contents of a store. */
static unsigned char *compose(struct cycle *c, const unsigned char *dirty_from)
{
	struct vmo_dirty_range r[MAX_PAGES];
	unsigned char *p = calloc(1, MAX_LEN);
	int64_t n = c->size ? vmo_query_dirty(c->vmo, 0, c->size, r, MAX_PAGES) : 0;
	uint64_t kept = MIN(c->now->size, c->size);

	assert_true(n >= 0 && n <= MAX_PAGES);
	memcpy(p, c->now->data, kept);
	for (int64_t i = 0; i < n; i++) {
		if (r[i].is_zero)
			memset(p + r[i].off, 0, r[i].len);
		else
			memcpy(p + r[i].off, dirty_from + r[i].off, r[i].len);
	}
	for (uint64_t i = 0; i < c->size; i++)
		if (p[i] != c->want[i])
			fail_msg("a store would send %#x at byte %#" PRIx64 ", not %#x", p[i], i,
				 c->want[i]);
	return p;
}

static void commit_journal(struct cycle *c)
{
	uint64_t off = 0;
	int64_t n;

	while ((n = vmo_fresh_copy(c->vmo, &off, c->buf, (1 + pick(c, 20)) * PAGE)) > 0) {
		if (pick(c, 10) == 0) {
			/* It could not be kept. */
			vmo_fresh_again(c->vmo, off, (uint64_t)n);
			continue;
		}
		memcpy(c->journal + off, c->buf, (uint64_t)n);
		off += (uint64_t)n;
	}
	off = 0;
	while ((n = vmo_fresh_copy(c->vmo, &off, c->buf, MAX_LEN)) > 0)
		memcpy(c->journal + off, c->buf, (uint64_t)n);
	free(compose(c, c->journal));
}

/* ---- operations ---- */

static void followed(struct cycle *c, uint64_t off, uint64_t n, const void *p)
{
	if (off > c->size)
		memset(c->want + c->size, 0, off - c->size);
	memcpy(c->want + off, p, n);
	c->size = MAX(c->size, off + n);
}

static void op_write(struct cycle *c)
{
	uint64_t off = pick(c, MIN(c->size + 3 * PAGE, MAX_LEN - 10 * PAGE));
	uint64_t len = 1 + pick(c, pick(c, 2) ? 100 : 9 * PAGE);
	void *p;
	int64_t n;

	if (pick(c, 3) == 0)
		off -= off % PAGE;
	p = random_bytes(c, len);
	n = vmo_write_extend(c->vmo, off, p, len, true, NULL);
	/* What may have to wait does so only where somebody answers. */
	if (n == -EAGAIN && !c->held)
		n = vmo_write_extend(c->vmo, off, p, len, false, NULL);
	if (n > 0)
		followed(c, off, (uint64_t)n, p);
	else
		assert_int_equal(n, -EAGAIN);
}

static void op_overwrite(struct cycle *c)
{
	uint64_t off = pick(c, c->size + 1);
	uint64_t len = pick(c, c->size - off + 1);
	void *p = random_bytes(c, len);
	int64_t n = c->held || pick(c, 2) ? vmo_write_now(c->vmo, off, p, len)
					  : vmo_write(c->vmo, off, p, len, NULL);

	if (n > 0)
		memcpy(c->want + off, p, (uint64_t)n);
	else if (n != 0)
		assert_int_equal(n, -EAGAIN);
}

static void op_resize(struct cycle *c)
{
	uint64_t size = pick(c, MAX_LEN - 10 * PAGE);
	int r;

	if (c->held)
		size = page_ceil(size) * PAGE;
	if (pick(c, 2))
		size = MIN(size, c->size);
	/* A cut in a page that is not there has to read it. */
	if (c->held && size < c->size && size % PAGE)
		return;
	r = vmo_resize(c->vmo, size, NULL);
	if (r == -EAGAIN)
		return;
	assert_int_equal(r, 0);
	if (size > c->size)
		memset(c->want + c->size, 0, size - c->size);
	c->size = size;
}

static void op_zero(struct cycle *c)
{
	uint64_t off = pick(c, c->size + 1);
	uint64_t len = pick(c, c->size - off + 1);
	int r;

	if (c->held) {
		off = page_ceil(off) * PAGE;
		if (off >= c->size)
			return;
		len = MIN(page_floor(len) * PAGE, c->size - off);
	}
	r = vmo_zero(c->vmo, off, len, NULL);
	if (r == -EAGAIN) {
		/* Some of it may be zero now. */
		c->limit = MAX_PAGES;
		r = vmo_zero(c->vmo, off, len, NULL);
		c->limit = MAX_PAGES / 2;
	}
	assert_int_equal(r, 0);
	memset(c->want + off, 0, len);
}

static void op_read(struct cycle *c)
{
	if (!c->held)
		must_be(c, pick(c, MAX_LEN), pick(c, MAX_LEN));
}

static void op_evict(struct cycle *c)
{
	vmo_evict(c->vmo, 0, MAX_LEN, true);
}

static void op_late(struct cycle *c)
{
	answer_late(c->now);
	if (c->before)
		answer_late(c->before);
}

static void op_prefetch(struct cycle *c)
{
	vmo_prefetch(c->vmo, 0, MAX_LEN, 0);
}

static void op_journal(struct cycle *c)
{
	commit_journal(c);
}

static void some(struct cycle *c, unsigned n);

static void ended(struct cycle *c, struct vmo_token *t, int status)
{
	if (status && pick(c, 2))
		vmo_writeback_abandon(t);
	else
		vmo_writeback_end(t, status);
}

static void op_store(struct cycle *c)
{
	uint64_t size = c->size;
	unsigned char *data;
	struct vmo_token *t;

	if (c->held || !size)
		return;
	assert_int_equal(vmo_writeback_begin(c->vmo, 0, size, VMO_WRITEBACK_ALL, &t), 0);
	data = compose(c, c->want);
	c->held = true;
	some(c, (unsigned)pick(c, 8));
	assert_int_equal(vmo_switch(c->vmo, NULL, 0), 0);
	some(c, (unsigned)pick(c, 8));
	c->held = false;
	if (pick(c, 4) == 0) {
		assert_int_equal(vmo_switch(c->vmo, &c->now->base, 0), 0);
		ended(c, t, -EIO);
		free(data);
		return;
	}
	version_free(c->before);
	c->before = c->now;
	c->now = version_new(data, size, prng_next(&c->rng));
	assert_int_equal(vmo_switch(c->vmo, &c->now->base, size), 0);
	vmo_writeback_end(t, 0);
	assert_true(vmo_origin_size(c->vmo) <= MIN(size, c->size));
}

static const struct {
	unsigned weight;
	void (*run)(struct cycle *c);
} ops[] = {
	{ 20, op_write },  { 8, op_overwrite }, { 3, op_resize }, { 4, op_zero },
	{ 10, op_read },   { 6, op_evict },     { 6, op_late },   { 2, op_prefetch },
	{ 3, op_journal }, { 4, op_store },
};

static void step(struct cycle *c)
{
	unsigned sum = 0;
	unsigned n;

	for (unsigned i = 0; i < ARRAY_LEN(ops); i++)
		sum += ops[i].weight;
	n = (unsigned)pick(c, sum);
	for (unsigned i = 0; i < ARRAY_LEN(ops); i++) {
		if (n < ops[i].weight) {
			ops[i].run(c);
			break;
		}
		n -= ops[i].weight;
	}
	assert_int_equal(c->charged, vmo_n_dirty(c->vmo));
}

static void some(struct cycle *c, unsigned n)
{
	while (n--)
		step(c);
}

/* ---- runs ---- */

static void cycle_start(struct cycle *c, uint64_t seed, uint64_t size, bool readers)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	unsigned char *first = calloc(1, MAX_LEN);

	*c = (struct cycle){ .guard.ops = &cycle_guard, .limit = MAX_PAGES / 2, .rng = { seed } };
	c->want = calloc(1, MAX_LEN);
	c->journal = calloc(1, MAX_LEN);
	c->buf = calloc(1, MAX_LEN);
	memcpy(first, random_bytes(c, size), size);
	memcpy(c->want, first, size);
	c->size = size;
	c->now = version_new(first, size, prng_next(&c->rng));
	assert_int_equal(vm_pool_new(&c->pool, VM_POOL_MIN, &err), 0);
	assert_int_equal(vmo_new(&c->vmo, c->pool, &c->now->base, size, 0, &err), 0);
	must_be(c, pick(c, size + 1), pick(c, MAX_LEN));
	assert_int_equal(vmo_make_writable(c->vmo, &c->guard), 0);
	for (unsigned i = 0; readers && i < READERS; i++)
		assert_int_equal(pthread_create(&c->reader[i], NULL, reader_main, c), 0);
}

static void cycle_end(struct cycle *c, bool readers)
{
	must_be(c, 0, MAX_LEN);
	commit_journal(c);
	vmo_check(c->vmo);
	atomic_store(&c->stop, true);
	vmo_close(c->vmo);
	assert_int_equal(c->charged, 0);
	for (unsigned i = 0; readers && i < READERS; i++)
		pthread_join(c->reader[i], NULL);
	version_free(c->before);
	version_free(c->now);
	vmo_put(c->vmo);
	vm_pool_free(c->pool);
	free(c->want);
	free(c->journal);
	free(c->buf);
}

static void run(uint64_t seed, uint64_t size, bool readers)
{
	struct cycle c;

	printf("  seed %#" PRIx64 ", %" PRIu64 " bytes\n", seed, size);
	cycle_start(&c, seed, size, readers);
	for (unsigned i = 0; i < STEPS; i++) {
		step(&c);
		if (i % 64 == 0)
			vmo_check(c.vmo);
	}
	cycle_end(&c, readers);
}

/* Another one each time, or VMOFS_TEST_SEED. */
static uint64_t any_seed(void)
{
	const char *seed = getenv("VMOFS_TEST_SEED");

	return seed ? strtoull(seed, NULL, 0) : loop_now_ns();
}

static void versions_follow_each_other(void **state)
{
	(void)state;
	run(1, 20 * PAGE + 5, false);
	run(2, 60 * PAGE, false);
	run(3, 0, false);
	run(any_seed(), 40 * PAGE + 1, false);
}

static void others_read_meanwhile(void **state)
{
	(void)state;
	run(4, 20 * PAGE + 5, true);
	run(any_seed(), 70 * PAGE, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_follow_each_other),
		cmocka_unit_test(others_read_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
