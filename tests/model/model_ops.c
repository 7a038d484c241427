/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that never block: asynchronous reads, eviction, clones, deadlines, detach. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "model/model.h"

/* ---- asynchronous reads ---- */

static uint64_t zero_pages(const struct mread *m)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < m->v->n; i++)
		if ((m->mask & MASK_OF(i)) && ref_see(m->v, i).what == VISIBLE_ZERO)
			mask |= MASK_OF(i);
	return mask;
}

static void read_done(struct vmo_read *r, int status)
{
	struct mread *m = container_of(r, struct mread, r);

	if (m->state != READ_PARKED || m->n_done++)
		model_fail("done() of a read that is not parked, or twice");
	m->status = status;
	/* These are shared zeros, whatever the operation that is under way makes of the pages. */
	m->stale = zero_pages(m);
}

static struct mread *read_in(enum read_state state)
{
	unsigned start = (unsigned)pick(MODEL_READS);

	for (unsigned i = 0; i < MODEL_READS; i++) {
		struct mread *m = &world.read[(start + i) % MODEL_READS];

		if (m->state == state)
			return m;
	}
	return NULL;
}

void read_clip(struct mread *m)
{
	uint64_t room = m->r.off < m->v->size ? m->v->size - m->r.off : 0;

	m->mask = ref_mask(m->v, m->r.off, MIN(m->len, room));
}

void read_hold(struct mread *m)
{
	if (m->r.len == 0) {
		vmo_read_end(&m->r);
		m->state = READ_FREE;
		return;
	}
	m->state = READ_HELD;
	/* Zeros without a page are shared: they stay zeros when the page is written. */
	m->stale |= zero_pages(m);
}

static void read_park(struct mread *m)
{
	struct ref_vmo *root = ref_root(m->v);
	uint64_t absent = ref_absent(m->v, m->mask);

	if (!absent && !world.tight)
		model_fail("a read of present pages was parked");
	if (root->detached)
		model_fail("a read was parked on a detached VMO");
	m->pending = ref_root_mask(m->v, absent);
}

static void op_read(void)
{
	struct ref_vmo *v = pick_vmo();
	struct mread *m = read_in(READ_FREE);
	struct range g;
	int r;

	if (!m || !v)
		return;
	g = pick_bytes(v, chance(80) ? 4 * PAGE : 40 * PAGE);
	*m = (struct mread){ .v = v, .stop = MODEL_PAGES };
	m->r.off = g.off;
	m->r.len = g.len + (!world.sparse && !world.dense && chance(3) ? 10 * PAGE : 0);
	m->r.done = read_done;
	m->r.cls = chance(20) ? VMOFS_CLASS_PREFETCH : VMOFS_CLASS_DEMAND;
	m->r.deadline_ns = chance(20) ? sched_now() + 1 + pick(2000) : 0;
	m->len = m->r.len;
	read_clip(m);
	trace_op("read", v, m->r.off, m->r.len, m->r.deadline_ns ? 1 : 0);
	/* done() may run before the start returns. */
	m->state = READ_PARKED;
	r = (int)trace_ret(vmo_read_start(v->vmo, &m->r));
	if (r == -EINPROGRESS) {
		read_park(m);
		return;
	}
	m->state = READ_FREE;
	if (r == 0 && ref_absent(v, m->mask))
		model_fail("a read of absent pages is a hit");
	else if (r == 0)
		read_hold(m);
	else if (!(r == -ESHUTDOWN && ref_root(v)->detached && ref_absent(v, m->mask)) &&
		 !(r == -ENOMEM && world.tight))
		model_fail("read: %d", r);
}

static void op_read_end(void)
{
	struct mread *m = read_in(READ_HELD);

	if (!m)
		return;
	trace_op("read end", m->v, m->r.off, m->r.len, 0);
	vmo_read_end(&m->r);
	m->state = READ_FREE;
}

static void cancel(struct mread *m)
{
	trace_op("read cancel", m->v, m->r.off, m->r.len, 0);
	/* The memory that it waited for may come while it is cancelled. */
	if (trace_ret(vmo_read_cancel(&m->r)) == m->n_done)
		model_fail("cancel gives %d, done() ran %u times", !m->n_done, m->n_done);
	vmo_read_end(&m->r);
	m->state = READ_FREE;
}

static void op_read_cancel(void)
{
	struct mread *m = read_in(READ_PARKED);

	if (m)
		cancel(m);
}

void ops_end_reads(void)
{
	for (unsigned i = 0; i < MODEL_READS; i++) {
		struct mread *m = &world.read[i];

		if (m->state != READ_HELD)
			continue;
		vmo_read_end(&m->r);
		m->state = READ_FREE;
	}
}

void ops_finish_reads(void)
{
	for (unsigned i = 0; i < MODEL_READS; i++) {
		struct mread *m = &world.read[i];

		/* The end of another one may have given it the memory it waited for. */
		if (m->state == READ_PARKED && !m->n_done)
			cancel(m);
		else if (m->state != READ_FREE)
			vmo_read_end(&m->r);
		m->state = READ_FREE;
	}
}

static void op_prefetch(void)
{
	struct ref_vmo *v = pick_vmo();
	struct range g;
	uint64_t mask;
	int64_t r;

	if (!v)
		return;
	g = pick_bytes(v, 16 * PAGE);
	mask = ref_root_mask(v, ref_mask(v, g.off, g.len));
	trace_op("prefetch", v, g.off, g.len, 0);
	r = trace_ret(vmo_prefetch(v->vmo, g.off, g.len, chance(20) ? sched_now() + 500 : 0));
	if (r < 0 && !(r == -ESHUTDOWN && ref_root(v)->detached) && !(r == -ENOMEM && world.tight))
		model_fail("prefetch: %jd", (intmax_t)r);
	if (r > (int64_t)(g.len + 2 * PAGE))
		model_fail("prefetch of more than was asked");
	ref_root(v)->prefetched |= mask;
}

void prefetch_block(struct ref_vmo *v, uint64_t off)
{
	int64_t r;

	trace_op("prefetch block", v, off, STORE_BLOCK, 0);
	r = trace_ret(vmo_prefetch(v->vmo, off, STORE_BLOCK, 0));
	if (r < 0 && !(r == -ESHUTDOWN && v->detached))
		model_fail("prefetch: %jd", (intmax_t)r);
	v->prefetched |= ref_mask(v, off, STORE_BLOCK);
}

static void op_prefetch_block(void)
{
	struct ref_vmo *v = pick_root();

	if (v && world.dense)
		prefetch_block(v, pick(v->size / STORE_BLOCK) * STORE_BLOCK);
}

/* ---- time ---- */

void expire_after(uint64_t ns)
{
	uint64_t now;

	sched_advance(ns);
	now = sched_now();
	for (unsigned i = 0; i < MODEL_READS; i++) {
		struct mread *m = &world.read[i];

		if (m->state == READ_PARKED && m->r.deadline_ns && m->r.deadline_ns <= now)
			m->expired = true;
	}
	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		struct mtask *t = &world.task[i];

		if (t->used && t->wait.deadline_ns && t->wait.deadline_ns <= now)
			t->expired = true;
	}
	for (unsigned i = 0; i < MODEL_ROOTS; i++) {
		if (!world.vmo[i].vmo)
			continue;
		trace_op("expire", &world.vmo[i], now, 0, 0);
		trace_ret((int64_t)vmo_expire(world.vmo[i].vmo, now));
	}
}

static void op_expire(void)
{
	expire_after(1 + pick(1500));
}

/* ---- eviction ---- */

static uint64_t pinned_mask(const struct ref_vmo *v)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < MODEL_READS; i++)
		if (world.read[i].state == READ_HELD)
			for (struct ref_vmo *u = world.read[i].v; u == v; u = NULL)
				mask |= world.read[i].mask;
	for (unsigned i = 0; i < MODEL_PINS; i++)
		if (world.pin[i].v == v && !world.pin[i].busy)
			mask |= world.pin[i].mask;
	return mask;
}

void op_evict_range(struct ref_vmo *v, struct range g, bool ignore)
{
	uint64_t can = ref_mask(v, g.off, g.len) & ref_with(v, BIT(PAGE_CLEAN)) & ~pinned_mask(v);
	uint64_t n;

	trace_op("evict", v, g.off, g.len, ignore);
	n = (uint64_t)trace_ret((int64_t)vmo_evict(v->vmo, g.off, g.len, ignore));
	if (n > (uint64_t)__builtin_popcountll(can) && !world.dense)
		model_fail("evicted %ju pages of %d", (uintmax_t)n, __builtin_popcountll(can));
	for (unsigned i = 0; i < v->n; i++)
		if (can & MASK_OF(i))
			v->page[i].allow |= BIT(PAGE_ABSENT);
}

static void op_evict(void)
{
	struct ref_vmo *v = pick_root();

	if (v)
		op_evict_range(v, pick_pages(v, 20), chance(50));
}

static void op_pool_evict(void)
{
	uint64_t n = 1 + pick(20);

	trace_op("pool evict", NULL, n, 0, 0);
	trace_ret((int64_t)vm_pool_evict(world.pool, n));
}

static void op_pool_age(void)
{
	trace_op("pool age", NULL, 0, 0, 0);
	vm_pool_age(world.pool);
}

/* ---- clones ---- */

/* What @p itself holds is frozen for it and for all that follow. */
static void freeze_own(struct ref_vmo *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		struct sight s = ref_see(p, i);

		if (p->page[i].kind == PAGE_ABSENT)
			continue;
		p->frozen_data &= ~MASK_OF(i);
		p->frozen_zero &= ~MASK_OF(i);
		if (s.what == VISIBLE_DATA) {
			memcpy(p->frozen + i * PAGE, s.data, PAGE);
			p->frozen_data |= MASK_OF(i);
		} else {
			p->frozen_zero |= MASK_OF(i);
		}
		p->page[i].kind = PAGE_ABSENT;
		p->page[i].allow = BIT(PAGE_ABSENT);
	}
	p->snapshotted = true;
}

/* The new clone @c sees what was frozen in @p. */
static void share_frozen(struct ref_vmo *c, const struct ref_vmo *p)
{
	for (unsigned i = 0; i < c->n && i < c->limit; i++) {
		unsigned k = i + (unsigned)c->shift;

		if (k >= p->n)
			break;
		memcpy(c->frozen + i * PAGE, p->frozen + k * PAGE, PAGE);
		if (p->frozen_data & MASK_OF(k))
			c->frozen_data |= MASK_OF(i);
		else if ((p->frozen_zero & MASK_OF(k)) || k >= p->limit)
			c->frozen_zero |= MASK_OF(i);
	}
}

static struct ref_vmo *free_clone(void)
{
	for (unsigned i = MODEL_ROOTS; i < MODEL_VMOS; i++)
		if (!world.vmo[i].used)
			return &world.vmo[i];
	return NULL;
}

/* A frozen clone of a clone hangs off the clone's parent, with copies of what the clone held. */
static void clone_follow(struct ref_vmo *c, struct ref_vmo *p, uint64_t first, uint64_t n,
			 bool frozen)
{
	uint64_t pages = page_ceil(p->size);

	c->used = true;
	c->n = (unsigned)n;
	c->window_len = MODEL_PAGES;
	c->size = n * PAGE;
	c->data = calloc(n, PAGE);
	c->frozen = calloc(n, PAGE);
	c->parent = p;
	c->shift = first;
	c->limit = MIN(n, pages > first ? pages - first : 0);
	for (unsigned i = 0; i < n; i++)
		c->page[i].allow = BIT(PAGE_ABSENT);
	if (p->parent && (frozen || p->snapshotted)) {
		freeze_own(p);
		share_frozen(c, p);
		c->snapshotted = true;
		c->parent = p->parent;
		c->shift = first + p->shift;
	}
	c->parent->n_children++;
}

static void op_clone(void)
{
	struct ref_vmo *p = pick_vmo();
	struct ref_vmo *c = free_clone();
	struct vmofs_err err = VMOFS_ERR_INIT;
	bool frozen = chance(40);
	uint64_t first, n;
	int r;

	if (!p || !c || world.sparse || world.dense || p->size < PAGE)
		return;
	first = pick(p->size / PAGE);
	n = 1 + pick(MIN(MODEL_PAGES, p->n + 4) - first);
	*c = (struct ref_vmo){ .used = false };
	trace_op(frozen ? "clone modified" : "clone", p, first * PAGE, n * PAGE,
		 (int64_t)(c - world.vmo));
	r = (int)trace_ret(
		vmo_clone(&c->vmo, p->vmo, first * PAGE, n * PAGE,
			  frozen ? VMO_SNAPSHOT_MODIFIED : VMO_SNAPSHOT_AT_LEAST_ON_WRITE,
			  VMO_RESIZABLE, &err));
	if (r == -EBUSY && pinned_mask(p))
		return;
	if (r == -EOPNOTSUPP)
		return;
	if (r < 0)
		model_fail("clone: %d: %s", r, err.msg);
	c->flags = VMO_RESIZABLE;
	clone_follow(c, p, first, n, frozen);
}

static bool in_use(const struct ref_vmo *v)
{
	for (unsigned i = 0; i < MODEL_READS; i++)
		if (world.read[i].state != READ_FREE && world.read[i].v == v)
			return true;
	for (unsigned i = 0; i < MODEL_PINS; i++)
		if (world.pin[i].v == v)
			return true;
	for (unsigned i = 0; i < SCHED_TASKS; i++)
		if (world.task[i].used && world.task[i].v == v)
			return true;
	return false;
}

/* Slots of clones that have neither handle nor children become free. */
static void reap_clones(void)
{
	for (unsigned k = 0; k < MODEL_VMOS; k++) {
		for (unsigned i = MODEL_ROOTS; i < MODEL_VMOS; i++) {
			struct ref_vmo *c = &world.vmo[i];

			if (!c->used || c->vmo || c->n_children)
				continue;
			c->parent->n_children--;
			free(c->data);
			free(c->frozen);
			*c = (struct ref_vmo){ .used = false };
		}
	}
}

static void put_clone(struct ref_vmo *c)
{
	trace_op("put clone", c, 0, 0, 0);
	world.lingering |= ref_root(c)->script.n > 0;
	vmo_put(c->vmo);
	c->vmo = NULL;
	reap_clones();
}

static void op_put_clone(void)
{
	struct ref_vmo *c = pick_vmo();

	if (c && c->parent && !in_use(c))
		put_clone(c);
}

void ops_put_clones(void)
{
	for (unsigned i = MODEL_ROOTS; i < MODEL_VMOS; i++)
		if (world.vmo[i].vmo)
			put_clone(&world.vmo[i]);
}

/* ---- the rest ---- */

static void detach(struct ref_vmo *v)
{
	int r;

	trace_op("detach", v, 0, 0, 0);
	r = (int)trace_ret(vmo_detach(v->vmo));
	if (r < 0)
		model_fail("detach: %d", r);
	ref_detach(v);
}

static void op_detach(void)
{
	struct ref_vmo *v = pick_root();

	if (v && chance(4))
		detach(v);
}

void op_detach_all(void)
{
	for (unsigned i = 0; i < MODEL_ROOTS; i++)
		if (world.vmo[i].vmo)
			detach(&world.vmo[i]);
}

static bool is_pinned(const struct ref_vmo *v)
{
	for (unsigned i = 0; i < MODEL_PINS; i++)
		if (world.pin[i].v == v)
			return true;
	return false;
}

/* Who reads just then goes on seeing what was there. */
static void op_make_writable(void)
{
	struct ref_vmo *v = pick_root();
	int r;

	if (!v || world.dense || v->detached || task_any())
		return;
	trace_op("make writable", v, 0, 0, 0);
	r = (int)trace_ret(script_make_writable(&v->script, v->vmo));
	if (r == -EBUSY && is_pinned(v))
		return;
	if (r < 0)
		model_fail("make writable: %d", r);
	v->flags |= VMO_RESIZABLE;
	for (unsigned i = 0; i < MODEL_READS; i++)
		if (world.read[i].state == READ_HELD && ref_root(world.read[i].v) == v)
			world.read[i].stale = MASK_ALL;
}

static void op_modified(void)
{
	struct ref_vmo *v = pick_root();
	bool reset = chance(50);
	bool real;

	if (!v || task_overlaps(v, MASK_ALL))
		return;
	trace_op("modified", v, 0, 0, reset);
	real = trace_ret(vmo_modified(v->vmo, reset));
	/* Zeroing what is zero changes nothing. */
	if (real != v->modified && !v->zeroed)
		model_fail("modified is %d, should be %d", real, v->modified);
	v->modified = real && !reset;
	v->zeroed = false;
}

static void op_dump(void)
{
	struct ref_vmo *v = pick_vmo();
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	if (!v || !(out = open_memstream(&text, &len)))
		return;
	trace_op("dump", v, 0, 0, 0);
	vmo_dump(v->vmo, out, 5);
	vm_pool_dump(world.pool, out);
	fclose(out);
	if (len == 0 || len > 20000)
		model_fail("a dump of %zu bytes", len);
	free(text);
}

const struct model_op model_reader_ops[] = {
	{ "read", 30, op_read },
	{ "read end", 14, op_read_end },
	{ "read cancel", 4, op_read_cancel },
	{ "prefetch", 4, op_prefetch },
	{ "prefetch block", 1, op_prefetch_block },
	{ "expire", 3, op_expire },
	{ "evict", 5, op_evict },
	{ "pool evict", 2, op_pool_evict },
	{ "pool age", 2, op_pool_age },
	{ "clone", 1, op_clone },
	{ "put clone", 1, op_put_clone },
	{ "detach", 1, op_detach },
	{ "make writable", 1, op_make_writable },
	{ "modified", 1, op_modified },
	{ "dump", 1, op_dump },
	{ 0 },
};
