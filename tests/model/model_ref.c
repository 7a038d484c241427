/* SPDX-License-Identifier: Apache-2.0 */
/* The reference VMO: what the rules of src/vm/page.h say, written the slow and obvious way. */
#include <string.h>

#include "base/macros.h"
#include "model/model.h"

struct ref_vmo *ref_root(struct ref_vmo *v)
{
	while (v->parent)
		v = v->parent;
	return v;
}

uint64_t ref_off(const struct ref_vmo *v, unsigned i)
{
	return (v->window[i / v->window_len] + i % v->window_len) * PAGE;
}

int ref_idx(const struct ref_vmo *v, uint64_t page)
{
	for (unsigned k = 0; k * v->window_len < v->n; k++) {
		uint64_t first = v->window[k];

		if (page >= first && page < first + v->window_len)
			return (int)(k * v->window_len + (page - first));
	}
	return -1;
}

uint64_t ref_mask(const struct ref_vmo *v, uint64_t off, uint64_t len)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < v->n; i++) {
		uint64_t o = ref_off(v, i);

		if (o < off + len && o + PAGE > off)
			mask |= MASK_OF(i);
	}
	return len ? mask : 0;
}

uint64_t ref_whole(const struct ref_vmo *v, uint64_t off, uint64_t len)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < v->n; i++) {
		uint64_t o = ref_off(v, i);

		if (o < v->size && o >= off && MIN(o + PAGE, v->size) <= off + len)
			mask |= MASK_OF(i);
	}
	return mask;
}

uint64_t ref_root_mask(struct ref_vmo *v, uint64_t mask)
{
	uint64_t up = 0;

	if (!v->parent)
		return mask;
	for (unsigned i = 0; i < v->n; i++)
		if ((mask & MASK_OF(i)) && i < v->limit && i + v->shift < v->parent->n)
			up |= MASK_OF(i + v->shift);
	return ref_root_mask(v->parent, up);
}

uint64_t ref_beneath(const struct ref_vmo *v, uint64_t mask)
{
	for (; v->parent; v = v->parent)
		mask = v->shift < MODEL_PAGES ? mask << v->shift : 0;
	return mask;
}

uint64_t ref_with(const struct ref_vmo *v, unsigned kinds)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < v->n; i++)
		if (BIT(v->page[i].kind) & kinds)
			mask |= MASK_OF(i);
	return mask;
}

static struct sight see_root(struct ref_vmo *v, unsigned i)
{
	static const enum visible visible[PAGE_NKINDS] = {
		[PAGE_ABSENT] = VISIBLE_ABSENT,   [PAGE_CLEAN] = VISIBLE_DATA,
		[PAGE_DIRTY] = VISIBLE_DATA,      [PAGE_AWAITING_CLEAN] = VISIBLE_DATA,
		[PAGE_UNTRACKED] = VISIBLE_DATA,  [PAGE_ZERO_CLEAN] = VISIBLE_ZERO,
		[PAGE_ZERO_DIRTY] = VISIBLE_ZERO,
	};

	return (struct sight){ visible[v->page[i].kind], v->data + i * PAGE, v, i };
}

struct sight ref_see(struct ref_vmo *v, unsigned i)
{
	while (v->parent) {
		struct sight own = see_root(v, i);

		if (own.what != VISIBLE_ABSENT)
			return own;
		if (v->frozen_data & MASK_OF(i))
			return (struct sight){ VISIBLE_DATA, v->frozen + i * PAGE, v, i };
		if ((v->frozen_zero & MASK_OF(i)) || i >= v->limit ||
		    (i + v->shift) * PAGE >= v->parent->size)
			return (struct sight){ .what = VISIBLE_ZERO, .owner = v, .idx = i };
		i += (unsigned)v->shift;
		v = v->parent;
	}
	return see_root(v, i);
}

uint64_t ref_absent(struct ref_vmo *v, uint64_t mask)
{
	uint64_t absent = 0;

	for (unsigned i = 0; i < v->n; i++)
		if ((mask & MASK_OF(i)) && ref_see(v, i).what == VISIBLE_ABSENT)
			absent |= MASK_OF(i);
	return absent;
}

void ref_set(struct ref_vmo *v, unsigned i, enum page_state kind)
{
	struct ref_page *p = &v->page[i];

	if (kind != p->kind && kind != PAGE_AWAITING_CLEAN && kind != PAGE_CLEAN &&
	    kind != PAGE_ZERO_CLEAN)
		p->version++;
	if (kind == PAGE_ZERO_DIRTY)
		p->zero_touch++;
	p->kind = kind;
	p->allow = BIT(kind);
}

void ref_set_mask(struct ref_vmo *v, uint64_t mask, enum page_state kind)
{
	for (unsigned i = 0; i < v->n; i++)
		if (mask & MASK_OF(i))
			ref_set(v, i, kind);
}

void ref_origin(unsigned char *buf, uint64_t len, uint64_t gen)
{
	struct prng r = { gen };

	for (uint64_t i = 0; i + 8 <= len; i += 8) {
		uint64_t word = prng_next(&r);

		memcpy(buf + i, &word, 8);
	}
	for (uint64_t i = len & ~UINT64_C(7); i < len; i++)
		buf[i] = (unsigned char)(gen + i);
}

static uint64_t below(uint64_t i)
{
	return i < MODEL_PAGES ? MASK_OF(i) - 1 : MASK_ALL;
}

static void clamp_children(struct ref_vmo *v)
{
	uint64_t pages = page_ceil(v->size);

	for (unsigned k = 0; k < MODEL_VMOS; k++) {
		struct ref_vmo *c = &world.vmo[k];

		if (c->used && c->parent == v)
			c->limit = MIN(c->limit, pages > c->shift ? pages - c->shift : 0);
	}
}

void ref_resize(struct ref_vmo *v, uint64_t size)
{
	uint64_t old = v->size;

	v->size = size;
	v->modified = true;
	for (unsigned i = 0; i < v->n; i++) {
		uint64_t off = ref_off(v, i);

		if (off >= size && off < old) {
			ref_set(v, i, PAGE_ABSENT);
			v->page[i].content_ver++;
			if (!v->parent)
				ref_resolve(v, MASK_OF(i), MASK_ALL & 7);
		} else if (off >= old && off < size) {
			ref_set(v, i, v->parent ? PAGE_ABSENT : PAGE_ZERO_DIRTY);
			memset(v->data + i * PAGE, 0, PAGE);
			v->page[i].content_ver++;
		} else if (off < size && size < off + PAGE) {
			memset(v->data + i * PAGE + size % PAGE, 0, PAGE - size % PAGE);
			v->page[i].content_ver++;
		}
	}
	if (size < old) {
		clamp_children(v);
		v->limit = MIN(v->limit, page_ceil(size));
		v->frozen_data &= below(page_ceil(size));
		v->frozen_zero &= below(page_ceil(size));
	}
}

/* Pages of the root that a pinned read, a pin or a task holds. */
static uint64_t held_in_root(struct ref_vmo *root)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < MODEL_READS; i++)
		if (world.read[i].state == READ_HELD && ref_root(world.read[i].v) == root)
			mask |= ref_beneath(world.read[i].v, world.read[i].mask);
	for (unsigned i = 0; i < MODEL_PINS; i++)
		if (world.pin[i].v && ref_root(world.pin[i].v) == root)
			mask |= ref_beneath(world.pin[i].v, world.pin[i].mask);
	for (unsigned i = 0; i < SCHED_TASKS; i++)
		if (world.task[i].used && ref_root(world.task[i].v) == root)
			mask |= ref_beneath(world.task[i].v, world.task[i].mask);
	return mask;
}

void ref_detach(struct ref_vmo *v)
{
	uint64_t held = held_in_root(v);

	v->detached = true;
	ref_set_mask(v, ref_with(v, BIT(PAGE_CLEAN)) & ~held, PAGE_ABSENT);
	ref_set_mask(v, ref_with(v, BIT(PAGE_ZERO_CLEAN)), PAGE_ABSENT);
}

uint64_t ref_unresolved(const struct ref_vmo *root, unsigned types)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < root->script.n; i++)
		if (types & BIT(root->script.asked[i].type))
			mask |= root->script.asked[i].unresolved;
	return mask;
}

void ref_resolve(struct ref_vmo *root, uint64_t mask, unsigned types)
{
	for (unsigned i = 0; i < root->script.n; i++) {
		struct asked *a = &root->script.asked[i];

		if ((types & BIT(a->type)) && a->born < world.step)
			a->unresolved &= ~mask;
	}
	if (!(types & BIT(VMOFS_REQUEST_READ)))
		return;
	root->prefetched &= ~mask;
	for (unsigned i = 0; i < MODEL_READS; i++) {
		struct mread *r = &world.read[i];

		if (r->state == READ_PARKED && ref_root(r->v) == root)
			r->pending &= ~mask;
	}
}

static unsigned code_bit(int code)
{
	for (unsigned i = 0; i < model_n_codes; i++)
		if (model_codes[i] == code)
			return BIT(i);
	model_fail("code %d is not in the table", code);
}

static void fail_reads(struct ref_vmo *root, uint64_t mask, int code)
{
	for (unsigned i = 0; i < MODEL_READS; i++) {
		struct mread *r = &world.read[i];
		uint64_t hit = r->pending & mask;

		if (r->state != READ_PARKED || ref_root(r->v) != root)
			continue;
		if (ref_root_mask(r->v, r->mask) & mask)
			r->codes |= code_bit(code);
		if (!hit)
			continue;
		if ((unsigned)__builtin_ctzll(hit) < r->stop) {
			r->stop = (unsigned)__builtin_ctzll(hit);
			r->code = code;
		}
	}
}

void ref_fail(struct ref_vmo *root, uint64_t mask, int code, unsigned types)
{
	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		struct mtask *t = &world.task[i];

		if (t->used && ref_root(t->v) == root && (ref_root_mask(t->v, t->mask) & mask))
			t->codes |= code_bit(code);
	}
	if (types & BIT(VMOFS_REQUEST_READ))
		fail_reads(root, mask, code);
	ref_resolve(root, mask, types);
}
