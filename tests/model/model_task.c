/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations that may block. Each runs as a task until it waits; when it goes on is one of the random
 * choices. While one is under way, its pages may hold what they held or what it writes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "model/model.h"

enum { DEADLINE_MAX = 3000 }; /* ns */

static bool is_write(const struct mtask *t)
{
	return t->op == OP_WRITE;
}

static bool mutates(const struct mtask *t)
{
	return is_write(t) || t->op == OP_ZERO || t->op == OP_RESIZE ||
		(t->op == OP_PIN && t->pin_write);
}

bool task_any(void)
{
	for (unsigned i = 0; i < SCHED_TASKS; i++)
		if (world.task[i].used)
			return true;
	return false;
}

bool task_overlaps(const struct ref_vmo *v, uint64_t mask)
{
	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		const struct mtask *t = &world.task[i];

		if (t->used && t->v == v && mutates(t) && (mask == MASK_ALL || (t->mask & mask)))
			return true;
	}
	return false;
}

static bool has_resize(const struct ref_vmo *v)
{
	for (unsigned i = 0; i < SCHED_TASKS; i++)
		if (world.task[i].used && world.task[i].v == v && world.task[i].op == OP_RESIZE)
			return true;
	return false;
}

/* The byte that @t puts at byte @pos of the object, or -1: it leaves it. */
static int byte_of(const struct mtask *t, uint64_t pos)
{
	if (t->op == OP_RESIZE)
		return pos >= MIN(t->off, t->old_size) ? 0 : -1;
	if (pos < t->off || pos >= t->off + t->len)
		return -1;
	if (t->op == OP_WRITE)
		return t->buf[pos - t->off];
	return t->op == OP_ZERO ? 0 : -1;
}

bool task_may_have_written(const struct ref_vmo *v, unsigned i, unsigned at, unsigned char c)
{
	for (unsigned k = 0; k < SCHED_TASKS; k++) {
		const struct mtask *t = &world.task[k];

		if (t->used && t->v == v && (t->mask & MASK_OF(i)) && mutates(t) &&
		    byte_of(t, ref_off(v, i) + at) == c)
			return true;
	}
	return false;
}

/* ---- in the task's thread ---- */

static void task_body(void *arg)
{
	struct mtask *t = arg;
	struct vmo *v = t->v->vmo;

	switch (t->op) {
	case OP_WRITE:
		t->result = vmo_write(v, t->off, t->buf, t->len, &t->wait);
		break;
	case OP_ZERO:
		t->result = vmo_zero(v, t->off, t->len, &t->wait);
		break;
	case OP_RESIZE:
		t->result = vmo_resize(v, t->off, &t->wait);
		break;
	case OP_COMMIT:
		t->result = vmo_commit(v, t->off, t->len, &t->wait);
		break;
	case OP_READ:
		t->result = vmo_read(v, t->off, t->buf, t->len, &t->wait);
		break;
	case OP_PIN:
		t->result = vmo_pin(v, t->pin, t->off, t->len, t->pin_write, &t->wait);
		break;
	case OP_HINT:
		t->result = vmo_hint(v, t->off, t->len, t->hint, &t->wait);
		break;
	default:
		t->result = vmo_writeback(v, t->off, t->len, &t->wait);
	}
}

/* ---- what may happen to pages while a task runs ---- */

static void allow(struct ref_vmo *v, uint64_t mask, unsigned from, enum page_state to)
{
	for (unsigned i = 0; i < v->n; i++)
		if ((mask & MASK_OF(i)) && (BIT(v->page[i].kind) & from))
			v->page[i].allow |= BIT(to);
}

static void allow_root(struct mtask *t)
{
	const unsigned zeros = BIT(PAGE_ZERO_CLEAN) | BIT(PAGE_ZERO_DIRTY);
	const unsigned writable = BIT(PAGE_CLEAN) | BIT(PAGE_AWAITING_CLEAN) | zeros;
	struct ref_vmo *v = t->v;
	uint64_t whole = ref_whole(v, t->off, t->len);

	if (mutates(t) && !(v->flags & VMO_TRAP_DIRTY))
		allow(v, t->mask, writable, PAGE_DIRTY);
	if (is_write(t) && !(v->flags & VMO_TRAP_DIRTY))
		allow(v, whole, BIT(PAGE_ABSENT), PAGE_DIRTY);
	if (t->op == OP_ZERO) {
		allow(v, whole, MASK_ALL & 0xff, PAGE_ZERO_DIRTY);
		for (unsigned i = 0; i < v->n; i++)
			v->page[i].zero_touch += !!(whole & MASK_OF(i));
	}
	if (t->op == OP_PIN && !t->pin_write)
		allow(v, t->mask, BIT(PAGE_ZERO_CLEAN), PAGE_CLEAN);
}

static void allow_clone(struct mtask *t)
{
	struct ref_vmo *v = t->v;
	const unsigned any = BIT(PAGE_ABSENT) | BIT(PAGE_UNTRACKED) | BIT(PAGE_ZERO_CLEAN) |
		BIT(PAGE_ZERO_DIRTY);

	if (mutates(t) || t->op == OP_PIN)
		allow(v, t->mask, any, PAGE_UNTRACKED);
	if (t->op != OP_ZERO)
		return;
	allow(v, t->mask, any, PAGE_ZERO_DIRTY);
	allow(v, t->mask, any, PAGE_ZERO_CLEAN);
	allow(v, t->mask, any, PAGE_ABSENT);
}

/* ---- results ---- */

static bool pin_in_way(const struct mtask *t)
{
	for (unsigned i = 0; i < MODEL_PINS; i++)
		if (world.pin[i].v == t->v)
			return true;
	for (unsigned i = 0; i < MODEL_READS; i++)
		if (world.read[i].state == READ_HELD && ref_root(world.read[i].v) == ref_root(t->v))
			return true;
	return false;
}

static bool may_fail(const struct mtask *t, int64_t r)
{
	struct ref_vmo *root = ref_root(t->v);

	for (unsigned i = 0; i < model_n_codes; i++)
		if ((t->codes & BIT(i)) && model_codes[i] == r)
			return true;
	switch (r) {
	case -ESHUTDOWN:
		return root->detached;
	case -ETIMEDOUT:
		return t->expired;
	case -ENOMEM:
		return world.tight;
	case -ERANGE:
		return t->resized;
	case -EBUSY:
		return pin_in_way(t);
	case -EOPNOTSUPP:
		return t->op == OP_WRITEBACK &&
			!(root->script.base.ops->supports & BIT(VMOFS_REQUEST_WRITEBACK));
	case -EPERM:
		return t->op == OP_RESIZE && !(t->v->flags & VMO_RESIZABLE);
	default:
		return false;
	}
}

/* Page @i holds what the first @len bytes of @t put there. */
static bool written_here(const struct mtask *t, unsigned i, uint64_t len)
{
	uint64_t off = ref_off(t->v, i);
	uint64_t from = MAX(off, t->off), to = MIN(off + PAGE, t->off + len);
	struct sight s = ref_see(t->v, i);

	if (s.what == VISIBLE_ABSENT)
		return false;
	for (uint64_t b = from; b < to; b++)
		if ((s.what == VISIBLE_ZERO ? 0 : s.data[b - off]) != byte_of(t, b))
			return false;
	return true;
}

/* What it wrote has been seen where it belongs, as far as its result says. */
static void finish_write(struct mtask *t)
{
	uint64_t len = t->op == OP_WRITE ? (uint64_t)MAX(t->result, 0) : t->len;

	if (t->result > (int64_t)t->len || (t->result == 0 && t->op == OP_WRITE && t->len))
		model_fail("write of %ju gives %jd", (uintmax_t)t->len, (intmax_t)t->result);
	t->v->zeroed |= t->op != OP_WRITE;
	if (t->op == OP_ZERO && t->result < 0)
		return;
	if (t->result != (int64_t)t->len && t->op == OP_WRITE && !t->codes && !t->resized &&
	    !t->expired && !ref_root(t->v)->detached && !world.tight)
		model_fail("a short write without a reason");
	if (len && t->result >= 0 && !t->v->parent)
		t->v->modified = true;
	if (t->resized)
		return;
	for (unsigned i = 0; i < t->v->n; i++)
		if ((t->absent & ref_mask(t->v, t->off, len) & MASK_OF(i)) &&
		    !written_here(t, i, len))
			model_fail("page %u: written bytes are not there", i);
}

static void finish_read(struct mtask *t)
{
	uint64_t want = t->off < t->old_size ? MIN(t->len, t->old_size - t->off) : 0;
	uint64_t got = (uint64_t)MAX(t->result, 0);

	if (t->result >= 0 && got != want && !t->resized && !t->codes && !t->expired &&
	    !world.tight && !ref_root(t->v)->detached)
		model_fail("read of %ju gives %ju", (uintmax_t)want, (uintmax_t)got);
	for (unsigned i = 0; i < t->v->n; i++) {
		uint64_t off = ref_off(t->v, i);
		uint64_t from = MAX(off, t->off), to = MIN(off + PAGE, t->off + got);
		struct sight s = ref_see(t->v, i);
		bool was_absent = t->absent & MASK_OF(i);

		if (from >= to || t->resized || s.what == VISIBLE_ABSENT)
			continue;
		if (s.owner != t->owner[i] ||
		    s.owner->page[s.idx].content_ver != t->content_ver[i] + was_absent)
			continue;
		for (uint64_t b = from; b < to; b++)
			if (t->buf[b - t->off] != (s.what == VISIBLE_ZERO ? 0 : s.data[b - off]))
				model_fail("read: byte %#jx is wrong", (uintmax_t)b);
	}
}

static void finish_pin(struct mtask *t)
{
	struct mpin *p = container_of(t->pin, struct mpin, pin);

	p->busy = false;
	if (t->result < 0) {
		p->v = NULL;
		return;
	}
	if (t->result != 0)
		model_fail("pin gives %jd", (intmax_t)t->result);
	if (t->pin_write && !t->v->parent)
		t->v->modified = true;
}

/* Moves when the page becomes dirty anew. */
static uint64_t dirt_ver(const struct ref_page *p)
{
	return p->version + p->zero_touch;
}

static void finish_writeback(struct mtask *t)
{
	const unsigned dirty = BIT(PAGE_DIRTY) | BIT(PAGE_AWAITING_CLEAN) | BIT(PAGE_ZERO_DIRTY);
	uint64_t left = t->mask & t->absent & ref_with(t->v, dirty);

	for (unsigned i = 0; i < t->v->n; i++)
		if (t->result == 0 && (left & MASK_OF(i)) &&
		    dirt_ver(&t->v->page[i]) == t->content_ver[i])
			model_fail("writeback ended, but page %u is still dirty", i);
}

static void finish_resize(struct mtask *t)
{
	if (t->result == 0 && !t->applied && t->off != t->old_size)
		model_fail("resize ended without effect");
	if (t->result < 0 && t->applied)
		model_fail("resize failed, but the size has changed");
	if (t->result == 0 && !t->v->parent)
		t->v->modified = true;
}

static void finish(struct mtask *t)
{
	trace_op("task result", t->v, t->off, t->len, t->op);
	trace_ret(t->result);
	if (t->result < 0 && !may_fail(t, t->result))
		model_fail("task of kind %d ends with %jd", (int)t->op, (intmax_t)t->result);
	switch (t->op) {
	case OP_WRITE:
	case OP_ZERO:
		finish_write(t);
		break;
	case OP_READ:
		finish_read(t);
		break;
	case OP_PIN:
		finish_pin(t);
		break;
	case OP_WRITEBACK:
		finish_writeback(t);
		break;
	case OP_RESIZE:
		finish_resize(t);
		break;
	default:
		break;
	}
	free(t->buf);
	t->buf = NULL;
	t->used = false;
}

/* ---- running ---- */

static void note_written(struct mtask *t)
{
	for (unsigned i = 0; i < t->v->n; i++)
		if ((t->absent & MASK_OF(i)) && written_here(t, i, t->len))
			t->absent &= ~MASK_OF(i);
}

/* Reads that wait below what a clone no longer shows look again, also at what failed before. */
static void look_again(struct mtask *t)
{
	uint64_t gone = 0;

	for (unsigned i = 0; i < t->v->n; i++)
		if (ref_off(t->v, i) < t->old_size && ref_off(t->v, i) >= t->off)
			gone |= MASK_OF(i);
	gone = ref_beneath(t->v, gone);
	for (unsigned i = 0; i < MODEL_READS; i++) {
		struct mread *m = &world.read[i];

		if (m->state != READ_PARKED || ref_root(m->v) != ref_root(t->v) ||
		    !(ref_beneath(m->v, m->mask) & gone))
			continue;
		m->stop = MODEL_PAGES;
		m->pending = ref_root_mask(m->v, ref_absent(m->v, m->mask));
	}
}

static void follow_size(struct mtask *t)
{
	uint64_t real = vmo_size(t->v->vmo);

	if (t->op != OP_RESIZE || real == t->v->size || t->applied)
		return;
	if (real != t->off)
		model_fail("size is %#jx", (uintmax_t)real);
	ref_resize(t->v, real);
	t->applied = true;
	if (t->v->parent)
		look_again(t);
	for (unsigned i = 0; i < SCHED_TASKS; i++)
		if (world.task[i].used && ref_root(world.task[i].v) == ref_root(t->v))
			world.task[i].resized = true;
	for (unsigned i = 0; i < MODEL_READS; i++) {
		struct mread *m = &world.read[i];

		if (m->state == READ_FREE || ref_root(m->v) != ref_root(t->v))
			continue;
		m->stale = MASK_ALL;
		m->resized = true;
	}
}

static void stale_reads(const struct mtask *t)
{
	for (unsigned i = 0; i < MODEL_READS; i++)
		if (world.read[i].state == READ_HELD && world.read[i].v == t->v && t->op == OP_ZERO)
			world.read[i].stale |= t->mask;
}

/* After a task has run: the reference follows what it may have done. */
static void task_follow(unsigned k)
{
	struct mtask *t = &world.task[k];

	follow_size(t);
	if (t->v->parent)
		allow_clone(t);
	else
		allow_root(t);
	stale_reads(t);
	check_states(t->v);
	if (t->v->parent)
		check_states(ref_root(t->v));
	if (mutates(t))
		check_contents(t->v, t->mask);
	if (t->op == OP_WRITE || t->op == OP_ZERO)
		note_written(t);
	if (sched_state(k) != TASK_DONE)
		return;
	sched_reap(k);
	finish(t);
}

bool task_run_one(void)
{
	unsigned start = (unsigned)pick(SCHED_TASKS);

	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		unsigned k = (start + i) % SCHED_TASKS;

		if (sched_state(k) != TASK_READY)
			continue;
		trace_op("task goes on", world.task[k].v, world.task[k].off, world.task[k].len,
			 world.task[k].op);
		sched_resume(k);
		task_follow(k);
		return true;
	}
	return false;
}

static void op_run_task(void)
{
	task_run_one();
}

/* ---- starting ---- */

static struct mtask *free_task(struct ref_vmo *v, enum task_op op)
{
	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		struct mtask *t = &world.task[i];

		if (t->used)
			continue;
		*t = (struct mtask){ .op = op, .v = v, .old_size = v->size };
		t->wait.cls = chance(90) ? VMOFS_CLASS_DEMAND : VMOFS_CLASS_PREFETCH;
		/* In a tight budget memory may never come. */
		t->wait.deadline_ns =
			chance(15) || world.tight ? sched_now() + 1 + pick(DEADLINE_MAX) : 0;
		return t;
	}
	return NULL;
}

static void snapshot_versions(struct mtask *t)
{
	for (unsigned i = 0; i < t->v->n; i++) {
		struct sight s = ref_see(t->v, i);

		t->owner[i] = s.owner;
		t->content_ver[i] = s.owner->page[s.idx].content_ver;
		if (t->op == OP_WRITEBACK)
			t->content_ver[i] = dirt_ver(&t->v->page[i]);
	}
}

static void start(struct mtask *t, const char *what)
{
	unsigned k = (unsigned)(t - world.task);

	if (t->op != OP_RESIZE)
		t->mask = ref_mask(t->v, t->off, t->len);
	if (mutates(t) && task_overlaps(t->v, t->mask)) {
		free(t->buf);
		return;
	}
	t->absent = t->op == OP_READ ? ref_absent(t->v, t->mask) : t->mask;
	if (t->op == OP_WRITEBACK)
		t->absent = ref_with(
			t->v, BIT(PAGE_DIRTY) | BIT(PAGE_AWAITING_CLEAN) | BIT(PAGE_ZERO_DIRTY));
	snapshot_versions(t);
	t->used = true;
	if (t->op == OP_PIN) {
		struct mpin *p = container_of(t->pin, struct mpin, pin);

		*p = (struct mpin){ .v = t->v, .mask = t->mask, .busy = true };
		p->write = t->pin_write;
	}
	trace_op(what, t->v, t->off, t->len, (int64_t)k);
	sched_start(k, task_body, t);
	trace_ret(sched_state(k) == TASK_DONE ? t->result : -EINPROGRESS);
	task_follow(k);
}

static void start_range(enum task_op op, const char *what, uint64_t max)
{
	struct ref_vmo *v = pick_vmo();
	struct mtask *t = v ? free_task(v, op) : NULL;
	struct range g;

	if (!t)
		return;
	g = pick_bytes(v, max);
	if (!g.len)
		return;
	t->off = g.off;
	t->len = g.len;
	if (op == OP_WRITE || op == OP_READ)
		t->buf = calloc(1, g.len);
	if (op == OP_WRITE)
		ref_origin(t->buf, g.len, ++world.gen);
	start(t, what);
}

static void op_write(void)
{
	start_range(OP_WRITE, "write", chance(60) ? 2 * PAGE : 8 * PAGE);
}

static void op_zero(void)
{
	/* What is zero stays so, and a block with zeros is never prepared again. */
	if (world.dense && chance(90))
		return;
	start_range(OP_ZERO, "zero", 8 * PAGE);
}

static void op_zero_block(void)
{
	struct ref_vmo *v = pick_root();
	struct mtask *t = v && world.dense ? free_task(v, OP_ZERO) : NULL;

	if (!t)
		return;
	t->off = pick(v->size / STORE_BLOCK) * STORE_BLOCK;
	t->len = STORE_BLOCK;
	start(t, "zero block");
}

static void op_commit(void)
{
	start_range(OP_COMMIT, "commit", 16 * PAGE);
}

static void op_blocking_read(void)
{
	start_range(OP_READ, "blocking read", 16 * PAGE);
}

static void op_resize(void)
{
	struct ref_vmo *v = pick_vmo();
	struct mtask *t = v && !has_resize(v) ? free_task(v, OP_RESIZE) : NULL;
	unsigned i;

	if (!t)
		return;
	i = (unsigned)pick(v->n);
	t->off = ref_off(v, i) + (chance(50) ? PAGE : 1 + pick(PAGE));
	/* The page that holds the new end, and the one that holds the old end. */
	t->mask = ref_mask(v, t->off - 1, 1) | (v->size ? ref_mask(v, v->size - 1, 1) : 0);
	start(t, "resize");
}

static void op_pin(void)
{
	struct ref_vmo *v = pick_vmo();
	struct mtask *t = v ? free_task(v, OP_PIN) : NULL;
	struct range g;

	if (!t)
		return;
	g = pick_bytes(v, 3 * PAGE);
	for (unsigned i = 0; i < MODEL_PINS && g.len && !t->pin; i++)
		if (!world.pin[i].v)
			t->pin = &world.pin[i].pin;
	if (!t->pin)
		return;
	t->off = g.off;
	t->len = g.len;
	t->pin_write = chance(50);
	start(t, "pin");
}

static void op_unpin(void)
{
	struct mpin *p = &world.pin[pick(MODEL_PINS)];

	if (!p->v || p->busy)
		return;
	trace_op("unpin", p->v, 0, 0, (int64_t)p->mask);
	vmo_unpin(&p->pin);
	p->v = NULL;
}

static void op_hint(void)
{
	static const enum vmo_hint hints[] = { VMO_HINT_DONT_NEED, VMO_HINT_ALWAYS_NEED,
					       VMO_HINT_NORMAL, VMO_HINT_PREFETCH };
	struct ref_vmo *v = pick_vmo();
	struct mtask *t = v ? free_task(v, OP_HINT) : NULL;
	struct range g;

	if (!t)
		return;
	g = pick_bytes(v, 8 * PAGE);
	if (!g.len)
		return;
	t->off = g.off;
	t->len = g.len;
	t->hint = hints[pick(ARRAY_LEN(hints))];
	start(t, "hint");
}

static void op_writeback(void)
{
	struct ref_vmo *v = pick_root();
	struct mtask *t = v ? free_task(v, OP_WRITEBACK) : NULL;
	struct range g;

	if (!t)
		return;
	g = pick_pages(v, 16);
	if (!g.len)
		return;
	t->off = g.off;
	t->len = g.len;
	start(t, "writeback");
}

const struct model_op model_task_ops[] = {
	{ "run task", 30, op_run_task },
	{ "write", 12, op_write },
	{ "zero", 3, op_zero },
	{ "zero block", 1, op_zero_block },
	{ "resize", 2, op_resize },
	{ "commit", 3, op_commit },
	{ "blocking read", 4, op_blocking_read },
	{ "pin", 2, op_pin },
	{ "unpin", 3, op_unpin },
	{ "hint", 3, op_hint },
	{ "writeback", 3, op_writeback },
	{ 0 },
};
