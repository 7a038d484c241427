/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answers of the scriptable provider, the threads that give them by themselves, and the threads
 * of tests. Answers are given without any lock held, as every provider must.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/macros.h"
#include "lib/fake_private.h"
#include "lib/fake_provider.h"
#include "vm/page.h"
#include "vm/vmo.h"

/* ---- contents ---- */

static uint64_t word_at(uint64_t key, uint64_t off)
{
	return key + off / sizeof(uint64_t);
}

static uint8_t byte_at(uint64_t key, uint64_t off)
{
	return (uint8_t)(word_at(key, off) >> (off % sizeof(uint64_t) * 8));
}

void fake_fill(uint64_t key, uint64_t off, void *buf, uint64_t len)
{
	uint8_t *p = buf;
	uint64_t i = 0;

	for (; i < len && (off + i) % sizeof(uint64_t); i++)
		p[i] = byte_at(key, off + i);
	for (; len - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
		uint64_t word = word_at(key, off + i);

		memcpy(p + i, &word, sizeof word);
	}
	for (; i < len; i++)
		p[i] = byte_at(key, off + i);
}

int64_t fake_compare(uint64_t key, uint64_t off, const void *buf, uint64_t len)
{
	const uint8_t *p = buf;
	uint64_t i = 0;

	while (i < len) {
		uint64_t word = word_at(key, off + i);

		if ((off + i) % sizeof word == 0 && len - i >= sizeof word &&
		    !memcmp(p + i, &word, sizeof word)) {
			i += sizeof word;
			continue;
		}
		if (p[i] != byte_at(key, off + i))
			return (int64_t)i;
		i++;
	}
	return -1;
}

bool reads_as_zero(const void *buf, uint64_t len)
{
	const uint8_t *p = buf;

	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

/* ---- answers ---- */

/* Not from malloc(), so that answers are still given where a test makes allocations fail. */
static void *pages_map(uint64_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		test_die("no memory for %lu bytes of contents", len);
	return p;
}

static int64_t supply_bytes(struct vmo *vmo, uint64_t key, uint64_t off, uint64_t len)
{
	int64_t r;
	void *buf;

	if (!len)
		return vmofs_supply(vmo, off, NULL, 0);
	buf = pages_map(len);
	fake_fill(key, off, buf, len);
	r = vmofs_supply(vmo, off, buf, len);
	munmap(buf, len);
	return r;
}

int64_t fake_supply_key(struct fake_provider *f, uint64_t key, uint64_t page, uint64_t n)
{
	return supply_bytes(fake_vmo(f), key, page_bytes(page), page_bytes(n));
}

int64_t fake_supply(struct fake_provider *f, uint64_t page, uint64_t n)
{
	return fake_supply_key(f, f->key, page, n);
}

int64_t fake_supply_zero(struct fake_provider *f, uint64_t page, uint64_t n)
{
	return vmofs_supply_zero(fake_vmo(f), page_bytes(page), page_bytes(n));
}

int fake_fail(struct fake_provider *f, uint64_t page, uint64_t n, int code)
{
	return vmofs_fail(fake_vmo(f), page_bytes(page), page_bytes(n), code,
			  VMOFS_TYPE_BIT(VMOFS_REQUEST_READ) | VMOFS_TYPE_BIT(VMOFS_REQUEST_DIRTY));
}

int fake_grant(struct fake_provider *f, uint64_t page, uint64_t n)
{
	return vmofs_grant_dirty(fake_vmo(f), page_bytes(page), page_bytes(n));
}

static void answer_writeback(struct vmo *vmo, uint64_t off, uint64_t len, int status)
{
	struct vmo_token *token = NULL;

	if (!vmo_writeback_begin(vmo, off, len, VMO_WRITEBACK_ALL, &token) && token)
		vmo_writeback_end(token, status);
}

static void answer_vmo(struct fake_provider *f, struct vmo *vmo, const struct fake_request *r)
{
	uint64_t off = page_bytes(r->page);
	uint64_t len = page_bytes(r->n);
	uint64_t size = vmo_size(vmo);
	uint64_t rounded = page_bytes(page_ceil(size));

	if (off >= rounded)
		return;
	len = MIN(len, rounded - off);
	if (r->type == VMOFS_REQUEST_READ)
		supply_bytes(vmo, f->key, off, MIN(len, size - off));
	else if (r->type == VMOFS_REQUEST_DIRTY)
		vmofs_grant_dirty(vmo, off, len);
	else
		answer_writeback(vmo, off, len, 0);
}

void fake_answer(struct fake_provider *f, const struct fake_request *r)
{
	answer_vmo(f, fake_vmo(f), r);
}

bool fake_answer_oldest(struct fake_provider *f)
{
	struct fake_request r;

	if (!fake_owned(f, 0, &r))
		return false;
	fake_answer(f, &r);
	return true;
}

/* ---- threads that answer ---- */

static uint64_t random_next(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* A request that nobody handles yet; in random mode any. */
static struct fake_slot *pick_locked(struct fake_provider *f) REQUIRES(f->lock)
{
	unsigned skip = 0;
	struct vmofs_list *pos;

	if (f->mode == FAKE_RANDOM && f->n_owned)
		skip = (unsigned)(random_next(&f->seed) % f->n_owned);
	vmofs_list_for_each(pos, &f->owned) {
		struct fake_slot *s = vmofs_list_entry(pos, struct fake_slot, link);

		if (f->mode == FAKE_RANDOM ? !skip-- : !s->handled)
			return s;
	}
	return NULL;
}

static void answer_random(struct fake_provider *f, struct vmo *vmo, struct fake_request r,
			  uint64_t seed)
{
	unsigned one_in = f->fail_one_in;
	uint64_t from = random_next(&seed) % r.n;
	uint64_t n = 1 + random_next(&seed) % (r.n - from);

	for (uint64_t i = random_next(&seed) % 4; i; i--)
		sched_yield();
	if (random_next(&seed) % 2) {
		r.page += from;
		r.n = n;
	}
	if (!one_in || random_next(&seed) % one_in)
		answer_vmo(f, vmo, &r);
	else if (r.type == VMOFS_REQUEST_WRITEBACK)
		answer_writeback(vmo, page_bytes(r.page), page_bytes(r.n), -EIO);
	else
		vmofs_fail(vmo, page_bytes(r.page), page_bytes(r.n), -EIO, VMOFS_TYPE_BIT(r.type));
}

static void answer_slot(struct fake_provider *f, struct fake_slot *s) REQUIRES(f->lock)
{
	struct vmo *vmo = vmofs_vmo_get(s->req->vmo);
	uint64_t seed = random_next(&f->seed);
	struct fake_request r = {
		.type = s->type,
		.page = s->off >> VMOFS_PAGE_SHIFT,
		.n = s->len >> VMOFS_PAGE_SHIFT,
	};

	s->handled = true;
	s->seen = true;
	cond_broadcast(&f->changed);
	mutex_unlock(&f->lock);
	if (f->mode == FAKE_RANDOM)
		answer_random(f, vmo, r, seed);
	else
		answer_vmo(f, vmo, &r);
	vmofs_vmo_put(vmo);
	mutex_lock(&f->lock);
}

static int64_t answer_thread(void *arg)
{
	struct fake_provider *f = arg;
	struct fake_slot *s;

	mutex_lock(&f->lock);
	while (!f->stop) {
		s = pick_locked(f);
		if (s) {
			answer_slot(f, s);
			continue;
		}
		f->n_idle_threads++;
		cond_wait(&f->changed, &f->lock);
		f->n_idle_threads--;
	}
	mutex_unlock(&f->lock);
	return 0;
}

void fake_rendezvous_locked(struct fake_provider *f, struct fake_slot *s)
{
	while (f->mode == FAKE_RENDEZVOUS && f->n_idle_threads && !s->handled)
		cond_wait(&f->changed, &f->lock);
}

void fake_start(struct fake_provider *f, enum fake_mode mode, unsigned n_threads, uint64_t seed)
{
	if (f->n_threads || !n_threads || n_threads > FAKE_N_THREADS)
		test_die("fake_start() twice, or with %u threads", n_threads);
	mutex_lock(&f->lock);
	f->mode = mode;
	f->seed = seed;
	f->n_threads = n_threads;
	mutex_unlock(&f->lock);
	for (unsigned i = 0; i < n_threads; i++)
		thread_run(&f->threads[i], answer_thread, f);
}

void fake_stop(struct fake_provider *f)
{
	mutex_lock(&f->lock);
	f->stop = true;
	cond_broadcast(&f->changed);
	mutex_unlock(&f->lock);
	for (unsigned i = 0; i < f->n_threads; i++)
		thread_join_status(&f->threads[i]);
	f->n_threads = 0;
	f->stop = false;
}

void fake_set_failures(struct fake_provider *f, unsigned one_in)
{
	f->fail_one_in = one_in;
}

/* ---- threads of tests ---- */

static void *thread_main(void *arg)
{
	struct test_thread *t = arg;

	t->status = t->fn(t->arg);
	t->done = true;
	return NULL;
}

void thread_run(struct test_thread *t, int64_t (*fn)(void *arg), void *arg)
{
	int r;

	*t = (struct test_thread){ .fn = fn, .arg = arg };
	r = pthread_create(&t->id, NULL, thread_main, t);
	if (r)
		test_die("cannot start a thread: %s", strerror(r));
}

static bool thread_ready(void *arg)
{
	return thread_is_done(arg);
}

int64_t thread_join_status(struct test_thread *t)
{
	test_wait_until(thread_ready, t, "a thread that does not end");
	pthread_join(t->id, NULL);
	return t->status;
}

bool thread_is_done(struct test_thread *t)
{
	return t->done;
}
