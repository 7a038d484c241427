/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison after each step: what must always hold, and that the real VMO is the reference. */
#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "model/model.h"

/* ---- states ---- */

/* The real page is @real, which the reference allows beside what it has: it follows. */
static void adopt(struct ref_vmo *v, unsigned i, enum page_state real)
{
	struct ref_page *p = &v->page[i];
	struct sight s = ref_see(v, i);

	if (v->parent && p->kind == PAGE_ABSENT && s.what == VISIBLE_DATA)
		memcpy(v->data + i * PAGE, s.data, PAGE);
	else if (s.what == VISIBLE_ZERO)
		memset(v->data + i * PAGE, 0, PAGE);
	if (v->parent && ref_off(v, i) < v->size && v->size < ref_off(v, i) + PAGE)
		memset(v->data + v->size, 0, PAGE - v->size % PAGE);
	if (real == PAGE_ABSENT && !v->parent)
		world.n_evicted++;
	if (real >= PAGE_NSTATES || real == PAGE_ABSENT)
		p->content_ver++;
	/* Zeroed, or overwritten whole, without being read: what lies beyond the end is zero. */
	if (p->kind == PAGE_ABSENT && real == PAGE_DIRTY)
		memset(v->data + i * PAGE, 0, PAGE);
	if (p->kind == PAGE_ABSENT && !v->parent)
		ref_resolve(v, MASK_OF(i), BIT(VMOFS_REQUEST_READ));
	ref_set(v, i, real);
}

static uint64_t held(const struct ref_vmo *v)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < MODEL_READS; i++)
		if (world.read[i].state == READ_HELD && world.read[i].v == v)
			mask |= world.read[i].mask & ~world.read[i].stale;
	for (unsigned i = 0; i < MODEL_PINS; i++)
		if (world.pin[i].v == v && !world.pin[i].busy &&
		    !ref_root((struct ref_vmo *)v)->detached)
			mask |= world.pin[i].mask;
	return mask;
}

void check_states(struct ref_vmo *v)
{
	uint64_t keep = held(v);

	for (unsigned i = 0; i < v->n; i++) {
		struct ref_page *p = &v->page[i];
		enum page_state real = vmo_page_state(v->vmo, ref_off(v, i));

		/* The evictor may have taken a clean page at any time, unless somebody holds it. */
		if (p->kind == PAGE_CLEAN && !(keep & MASK_OF(i)))
			p->allow |= BIT(PAGE_ABSENT);
		if (!(p->allow & BIT(real)))
			model_fail("page %u of vmo %u is %s, should be %s (%#x)", i,
				   (unsigned)(v - world.vmo), page_state_name(real),
				   page_state_name(p->kind), p->allow);
		if (real != p->kind)
			adopt(v, i, real);
		p->allow = BIT(real);
	}
}

static void check_counts(struct ref_vmo *v)
{
	const unsigned dirty = BIT(PAGE_DIRTY) | BIT(PAGE_AWAITING_CLEAN);
	const unsigned memory = dirty | BIT(PAGE_CLEAN) | BIT(PAGE_UNTRACKED);

	if (vmo_size(v->vmo) != v->size)
		model_fail("size is %#jx, should be %#jx", (uintmax_t)vmo_size(v->vmo),
			   (uintmax_t)v->size);
	/* In a dense VMO the pages outside of the windows are nobody's business. */
	if (world.dense)
		return;
	if (vmo_n_resident(v->vmo) != (uint64_t)__builtin_popcountll(ref_with(v, memory)))
		model_fail("resident: %ju", (uintmax_t)vmo_n_resident(v->vmo));
	if (v->script.guarded && v->script.charged != vmo_n_dirty(v->vmo))
		model_fail("the guard has %ju pages", (uintmax_t)v->script.charged);
	if (!v->parent && vmo_n_dirty(v->vmo) != (uint64_t)__builtin_popcountll(ref_with(v, dirty)))
		model_fail("dirty: %ju", (uintmax_t)vmo_n_dirty(v->vmo));
}

/* ---- contents ---- */

static void compare_page(struct ref_vmo *v, unsigned i, const unsigned char *real, uint64_t len)
{
	static const unsigned char zeros[4096];
	struct sight s = ref_see(v, i);
	const unsigned char *want = s.what == VISIBLE_ZERO ? zeros : s.data;

	if (memcmp(real, want, len) == 0)
		return;
	for (unsigned b = 0; b < len; b++)
		if (real[b] != want[b] && !task_may_have_written(v, i, b, real[b]))
			model_fail("page %u of vmo %u: byte %#x is %#x, should be %#x", i,
				   (unsigned)(v - world.vmo), b, real[b], want[b]);
	if (s.what == VISIBLE_ZERO || s.owner != v)
		model_fail("page %u: bytes changed without a page", i);
	memcpy(v->data + i * PAGE, real, len);
	v->page[i].content_ver++;
}

static void compare_iov(struct ref_vmo *v, uint64_t off, const struct vmo_read *r, uint64_t skip)
{
	uint64_t end = off + r->len;

	for (unsigned k = 0; k < r->n_iov; k++) {
		const unsigned char *p = r->iov[k].iov_base;
		uint64_t left = r->iov[k].iov_len;

		while (left) {
			uint64_t n = MIN(left, PAGE - off % PAGE);
			int i = ref_idx(v, page_floor(off));
			unsigned char page[4096];

			if (i < 0 || n > sizeof page)
				model_fail("a read reaches beyond its range");
			if (!(skip & MASK_OF(i))) {
				struct sight s = ref_see(v, (unsigned)i);

				memset(page, 0, sizeof page);
				if (s.what == VISIBLE_DATA)
					memcpy(page, s.data, PAGE);
				memcpy(page + off % PAGE, p, n);
				compare_page(v, (unsigned)i, page, PAGE);
			}
			p += n;
			off += n;
			left -= n;
		}
	}
	if (off != end)
		model_fail("a read of %ju bytes has an iov to %#jx", (uintmax_t)r->len,
			   (uintmax_t)off);
}

static void unexpected_done(struct vmo_read *r UNUSED, int status UNUSED)
{
	model_fail("done() of a hit");
}

bool real_is(struct ref_vmo *v, unsigned i, const unsigned char *bytes, uint64_t len)
{
	struct vmo_read r = { .off = ref_off(v, i), .len = len, .done = unexpected_done };
	int status = vmo_read_start(v->vmo, &r);
	bool same;

	if (status == -EINPROGRESS)
		vmo_read_cancel(&r);
	if (status)
		return false;
	same = r.iov[0].iov_len == len && memcmp(r.iov[0].iov_base, bytes, len) == 0;
	vmo_read_end(&r);
	return same;
}

void check_contents(struct ref_vmo *v, uint64_t mask)
{
	for (unsigned i = 0; i < v->n; i++) {
		struct vmo_read r = { .off = ref_off(v, i), .len = PAGE, .done = unexpected_done };
		struct sight s = ref_see(v, i);
		int status;

		if (!(mask & MASK_OF(i)) || r.off >= v->size || s.what == VISIBLE_ABSENT)
			continue;
		/* After detach the end of a read takes clean pages along. */
		if (s.owner->detached && s.owner->page[s.idx].kind == PAGE_CLEAN)
			continue;
		status = vmo_read_start(v->vmo, &r);
		/* A check that was made before gave others their turn, and they needed memory. */
		if (world.tight && s.owner->page[s.idx].kind == PAGE_CLEAN && status) {
			if (status == -EINPROGRESS && !vmo_read_cancel(&r))
				model_fail("a read of a page cannot be cancelled");
			continue;
		}
		if (status != 0)
			model_fail("page %u of vmo %u is present, but a read gives %d", i,
				   (unsigned)(v - world.vmo), status);
		compare_iov(v, r.off, &r, 0);
		vmo_read_end(&r);
	}
}

/* ---- reads ---- */

static bool in_table(const struct mread *m, int status)
{
	for (unsigned i = 0; i < model_n_codes; i++)
		if (model_codes[i] == status)
			return m->codes & BIT(i);
	return false;
}

static void check_status(struct mread *m)
{
	struct ref_vmo *root = ref_root(m->v);
	int s = m->status;
	bool exact = !world.tight && !m->v->parent;

	if (s == 0) {
		if (m->r.len > m->len ||
		    (m->r.len < m->len && !m->resized && m->r.off + m->r.len != m->v->size))
			model_fail("a read of %ju bytes ends with %ju", (uintmax_t)m->len,
				   (uintmax_t)m->r.len);
		m->mask = ref_mask(m->v, m->r.off, m->r.len);
		if (ref_absent(m->v, m->mask))
			model_fail("a read ends well, but pages are absent");
		return;
	}
	if ((s == -ESHUTDOWN && root->detached) || (s == -ETIMEDOUT && m->expired) ||
	    (s == -ENOMEM && world.tight))
		return;
	if (exact ? s != m->code : !in_table(m, s))
		model_fail("a read ends with %d, its first bad page has %d", s, m->code);
}

/* It was parked and done() ran in this step. */
static void read_ended(struct mread *m)
{
	check_status(m);
	if (m->status != 0) {
		vmo_read_end(&m->r);
		m->state = READ_FREE;
		return;
	}
	compare_iov(m->v, m->r.off, &m->r, world.tight ? m->stale : 0);
	read_hold(m);
}

static uint64_t below(unsigned i)
{
	return i >= 64 ? MASK_ALL : MASK_OF(i) - 1;
}

static void check_parked(struct mread *m)
{
	struct ref_vmo *root = ref_root(m->v);
	uint64_t asked = ref_unresolved(root, BIT(VMOFS_REQUEST_READ));
	uint64_t absent;

	read_clip(m);
	absent = ref_absent(m->v, m->mask);
	if (m->expired)
		model_fail("a read sleeps beyond its deadline");
	if (root->detached)
		model_fail("a read sleeps on a detached VMO");
	if (world.tight)
		return;
	/* A clone's read may wait for what others asked for below its own pages. */
	if (m->v->parent) {
		if (!(ref_beneath(m->v, m->mask) & asked))
			model_fail("a read of a clone sleeps, but nothing is asked for");
		return;
	}
	if (!absent)
		model_fail("a read of %#jx+%#jx sleeps, but all of it is present",
			   (uintmax_t)m->r.off, (uintmax_t)m->r.len);
	if (!(m->pending & below(m->stop))) {
		/* Resolved, but evicted meanwhile: it has asked again. */
		if (m->stop < MODEL_PAGES)
			model_fail("a read sleeps beyond its first failed page");
		m->pending = ref_root_mask(m->v, absent) & asked;
		if (!m->pending)
			model_fail("a read sleeps on pages that nobody is asked for");
	}
	if (m->pending & below(m->stop) & ~asked)
		model_fail("a read waits for pages %#jx, but only %#jx are asked for",
			   (uintmax_t)m->pending, (uintmax_t)asked);
}

static void check_reads(void)
{
	for (unsigned i = 0; i < MODEL_READS; i++) {
		struct mread *m = &world.read[i];

		if (m->state == READ_PARKED && m->n_done)
			read_ended(m);
		else if (m->state == READ_PARKED)
			check_parked(m);
		else if (m->state == READ_HELD && m->n_done > 1)
			model_fail("done() twice");
		else if (m->state == READ_HELD && !m->v->parent && world.step % 8 == i % 8)
			compare_iov(m->v, m->r.off, &m->r, m->stale);
	}
}

/* ---- requests and tasks ---- */

/* A clone's waiter covers one stretch of the root, also what lies below its own pages. */
static bool wanted(struct ref_vmo *root, const struct asked *a, uint64_t pages)
{
	if (a->type == VMOFS_REQUEST_READ && (root->prefetched & pages))
		return true;
	for (unsigned i = 0; i < MODEL_READS; i++) {
		struct mread *m = &world.read[i];

		if (m->state == READ_PARKED && ref_root(m->v) == root &&
		    (ref_beneath(m->v, m->mask) & pages))
			return true;
	}
	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		struct mtask *t = &world.task[i];

		if (t->used && ref_root(t->v) == root && (ref_beneath(t->v, t->mask) & pages))
			return true;
	}
	return false;
}

/* No page is pending in two requests of a type. */
static void check_disjoint(const struct ref_vmo *root)
{
	uint64_t seen[VMOFS_REQUEST_NTYPES] = { 0 };

	for (unsigned i = 0; i < root->script.n; i++) {
		const struct asked *a = &root->script.asked[i];

		if (seen[a->type] & a->unresolved)
			model_fail("pages %#jx are asked for twice",
				   (uintmax_t)(seen[a->type] & a->unresolved));
		seen[a->type] |= a->unresolved;
	}
}

static void check_requests(struct ref_vmo *root)
{
	uint64_t absent = ref_with(root, BIT(PAGE_ABSENT));

	check_disjoint(root);

	if (page_source_n_requests(vmo_page_source(root->vmo), VMOFS_REQUEST_READ) +
		    page_source_n_requests(vmo_page_source(root->vmo), VMOFS_REQUEST_DIRTY) +
		    page_source_n_requests(vmo_page_source(root->vmo), VMOFS_REQUEST_WRITEBACK) !=
	    root->script.n)
		model_fail("the source counts other requests than the provider's %u",
			   root->script.n);
	for (unsigned i = 0; i < root->script.n; i++) {
		const struct asked *a = &root->script.asked[i];

		if (world.dense && a->outside)
			continue;
		if (!a->unresolved)
			model_fail("a resolved request was not cleared");
		if (a->type == VMOFS_REQUEST_READ && (a->unresolved & ~absent) && !world.tight &&
		    a->born == world.step)
			model_fail("pages %#jx are asked for, but present",
				   (uintmax_t)(a->unresolved & ~absent));
		if (!wanted(root, a, a->unresolved))
			model_fail("nobody wants the request for %#jx+%#jx any more",
				   (uintmax_t)a->off, (uintmax_t)a->len);
	}
}

static void check_tasks(void)
{
	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		struct mtask *t = &world.task[i];
		struct ref_vmo *root;

		if (!t->used || sched_state(i) != TASK_BLOCKED)
			continue;
		root = ref_root(t->v);
		if (root->detached)
			model_fail("task %u sleeps on a detached VMO", i);
		if (t->expired)
			model_fail("task %u sleeps beyond its deadline", i);
		if (!world.tight && !(ref_root_mask(t->v, t->mask) & ref_unresolved(root, 7)))
			model_fail("task %u sleeps on pages that nobody is asked for", i);
	}
}

/* ---- the budget ---- */

static void check_pool(void)
{
	const unsigned memory =
		BIT(PAGE_CLEAN) | BIT(PAGE_DIRTY) | BIT(PAGE_AWAITING_CLEAN) | BIT(PAGE_UNTRACKED);
	uint64_t resident = world.ballast_pages;
	bool hidden = world.dense || world.lingering;
	struct vm_pool_stats s;

	vm_pool_stats(world.pool, &s);
	if (s.resident + s.reserved > s.limit || s.peak > s.limit)
		model_fail("budget: %ju + %ju, peak %ju, limit %ju", (uintmax_t)s.resident,
			   (uintmax_t)s.reserved, (uintmax_t)s.peak, (uintmax_t)s.limit);
	for (unsigned i = 0; i < MODEL_VMOS; i++) {
		struct ref_vmo *v = &world.vmo[i];

		if (v->used && v->vmo)
			resident += (uint64_t)__builtin_popcountll(ref_with(v, memory));
		hidden |= v->used && v->parent;
	}
	/* What clones have frozen belongs to hidden VMOs, as do pages outside of windows. */
	if (hidden ? s.resident / PAGE < resident : s.resident / PAGE != resident)
		model_fail("budget: resident %ju pages, should be %ju",
			   (uintmax_t)(s.resident / PAGE), (uintmax_t)resident);
}

void check_step(void)
{
	for (unsigned i = 0; i < MODEL_VMOS; i++) {
		struct ref_vmo *v = &world.vmo[i];

		if (!v->vmo)
			continue;
		check_states(v);
		check_counts(v);
	}
	check_pool();
	check_reads();
	for (unsigned i = 0; i < MODEL_VMOS; i++) {
		struct ref_vmo *v = &world.vmo[i];

		if (!v->vmo)
			continue;
		check_contents(v, world.step % 64 == 0 ? MASK_ALL : MASK_OF(pick(v->n)));
		vmo_check(v->vmo);
	}
	for (unsigned i = 0; i < MODEL_ROOTS; i++)
		if (world.vmo[i].vmo)
			check_requests(&world.vmo[i]);
	check_tasks();
}
