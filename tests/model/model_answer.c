/* SPDX-License-Identifier: Apache-2.0 */
/* What providers and writeback threads do: answers, asked and unasked, and tokens. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "model/model.h"

static unsigned char scratch[STORE_BLOCK]; /* more than MODEL_PAGES */

/* ---- contents ---- */

/* What scratch, which was supplied at @off, has for page @i: an offset in it, and how much. */
struct share {
	uint64_t at;
	uint64_t have;
};

static struct share share_of(const struct ref_vmo *v, unsigned i, struct range g)
{
	uint64_t at = ref_off(v, i) - g.off;
	uint64_t have = at < g.len ? MIN(g.len - at, PAGE) : 0;

	return (struct share){ at, MIN(have, v->size - ref_off(v, i)) };
}

/* Absent pages of @mask become @kind, in the reference; the bytes are in scratch. */
static void supplied(struct ref_vmo *v, uint64_t mask, enum page_state kind, struct range g)
{
	uint64_t absent = mask & ref_with(v, BIT(PAGE_ABSENT));

	for (unsigned i = 0; i < v->n; i++) {
		struct share s;

		if (!(absent & MASK_OF(i)))
			continue;
		s = share_of(v, i, g);
		ref_set(v, i, kind);
		v->page[i].content_ver++;
		memcpy(v->data + i * PAGE, scratch + s.at, s.have);
		memset(v->data + i * PAGE + s.have, 0, PAGE - s.have);
		if (kind == PAGE_CLEAN)
			v->page[i].allow |= BIT(PAGE_ABSENT); /* evicted at once */
	}
	ref_resolve(v, absent, BIT(VMOFS_REQUEST_READ));
}

/* In a tight budget a part may have been refused: what did not come is still absent. */
static uint64_t taken(struct ref_vmo *v, uint64_t absent)
{
	uint64_t mask = 0;

	if (!world.tight)
		return absent;
	for (unsigned i = 0; i < v->n; i++)
		if ((absent & MASK_OF(i)) && vmo_page_state(v->vmo, ref_off(v, i)) != PAGE_ABSENT)
			mask |= MASK_OF(i);
	return mask;
}

/* To make room a clean page of the range may have been evicted first, and filled then. */
static void refilled(struct ref_vmo *v, uint64_t mask, struct range g)
{
	for (unsigned i = 0; i < v->n; i++) {
		struct share s;

		if (!(mask & MASK_OF(i)) || v->page[i].kind != PAGE_CLEAN)
			continue;
		s = share_of(v, i, g);
		if (!s.have || !real_is(v, i, scratch + s.at, s.have))
			continue;
		memcpy(v->data + i * PAGE, scratch + s.at, s.have);
		v->page[i].content_ver++;
	}
}

/* The bytes that were new; the last page counts in full or as far as the size. */
static void check_taken(const struct ref_vmo *v, struct range g, uint64_t absent, int64_t r)
{
	uint64_t want = (uint64_t)__builtin_popcountll(absent) * PAGE;
	uint64_t aligned_end = page_ceil(g.off + g.len) * PAGE;
	uint64_t beyond = aligned_end - MIN(aligned_end, v->size);

	if (r < 0 || r + (int64_t)beyond < (world.tight ? 0 : (int64_t)want) ||
	    (r > (int64_t)want && !world.dense && !world.tight))
		model_fail("supply gives %jd, should be %ju", (intmax_t)r, (uintmax_t)want);
}

/* The provider's own answers are made known to the nearer place, its own are not. */
static void check_arrived(const struct ref_vmo *v, bool by_near, uint64_t came)
{
	const struct script *s = &v->script;

	if (by_near ? s->arrived != 0 : s->has_near && !s->written && (came & ~s->arrived))
		model_fail("told of pages %#jx, of which %#jx came", (uintmax_t)s->arrived,
			   (uintmax_t)came);
}

static int64_t supply_bytes(struct ref_vmo *v, struct range g, bool by_near)
{
	ref_origin(scratch, g.len, ++world.gen);
	if (by_near)
		return vmo_supply_near(v->vmo, g.off, scratch, g.len);
	return vmofs_supply(v->vmo, g.off, scratch, g.len);
}

static void supply(struct ref_vmo *v, uint64_t off, uint64_t len, bool zero)
{
	struct range g = { off, len };
	bool by_near = !zero && v->script.has_near && chance(40);
	uint64_t mask = ref_mask(v, off, len);
	uint64_t absent = mask & ref_with(v, BIT(PAGE_ABSENT));
	int64_t r;

	trace_op(zero              ? "supply zero"
			 : by_near ? "supply near"
				   : "supply",
		 v, off, len, (int64_t)world.gen + 1);
	v->script.arrived = 0;
	if (zero) {
		memset(scratch, 0, len);
		r = vmofs_supply_zero(v->vmo, off, len);
	} else {
		r = supply_bytes(v, g, by_near);
	}
	trace_ret(r);
	if (world.tight && !v->detached && !zero)
		refilled(v, mask & ~absent, g);
	if (v->detached) {
		if (r != -ESHUTDOWN)
			model_fail("supply of a detached VMO gives %jd", (intmax_t)r);
		return;
	}
	if (r != -ENOMEM || !world.tight)
		check_taken(v, g, absent, r);
	absent = zero ? absent : taken(v, absent);
	if (r >= 0)
		check_arrived(v, by_near, absent);
	supplied(v, absent, zero ? PAGE_ZERO_CLEAN : PAGE_CLEAN, g);
}

/* ---- the nearer place ---- */

/* It has not got pages [off, off + len) after all; whoever waits for them must not notice. */
static void elsewhere(struct ref_vmo *v, uint64_t off, uint64_t len)
{
	struct script *s = &v->script;
	uint64_t mask = ref_mask(v, off, len);
	uint64_t moved = 0;

	trace_op("elsewhere", v, off, len, 0);
	for (unsigned i = 0; i < s->n; i++) {
		if (!s->asked[i].near)
			continue;
		moved |= s->asked[i].unresolved & mask;
		s->asked[i].unresolved &= ~mask;
	}
	vmo_elsewhere(v->vmo, off, len);
	for (unsigned i = 0; i < s->n; i++)
		if (!s->asked[i].near && s->asked[i].born == world.step &&
		    (s->asked[i].unresolved & ~moved))
			model_fail("asked for more than was asked of the nearer place");
}

static void op_elsewhere(void)
{
	struct ref_vmo *v = pick_root();
	struct range g;

	if (!v || !v->script.has_near)
		return;
	g = pick_pages(v, chance(70) ? 4 : 20);
	if (g.len)
		elsewhere(v, g.off, g.len);
}

/* What is pinned without waiting is clean and right. */
static void check_present(struct ref_vmo *v, const struct vmo_read *r)
{
	uint64_t mask = ref_mask(v, r->off, r->len);
	uint64_t clean = ref_with(v, BIT(PAGE_CLEAN) | BIT(PAGE_ZERO_CLEAN));
	uint64_t n = 0;

	for (unsigned i = 0; i < r->n_iov; i++)
		n += r->iov[i].iov_len;
	if (n != r->len || (mask & ~clean))
		model_fail("%ju bytes of pages %#jx are pinned, clean are %#jx", (uintmax_t)n,
			   (uintmax_t)mask, (uintmax_t)clean);
	check_contents(v, mask);
}

static void check_none_present(struct ref_vmo *v, struct range g)
{
	for (uint64_t off = g.off; off < g.off + g.len; off += PAGE) {
		enum page_state kind = vmo_page_state(v->vmo, off);

		if (kind == PAGE_CLEAN || kind == PAGE_ZERO_CLEAN)
			model_fail("the clean page at %#jx is not found", (uintmax_t)off);
	}
}

static void op_present(void)
{
	struct ref_vmo *v = pick_root();
	struct vmo_read r = { 0 };
	struct range g;

	if (!v)
		return;
	g = pick_pages(v, 8);
	r.off = g.off;
	r.len = g.len;
	trace_op("present", v, g.off, g.len, 0);
	if (trace_ret(vmo_read_present(v->vmo, &r)) < 0) {
		if (!v->script.guarded)
			check_none_present(v, g);
		return;
	}
	if (v->script.guarded)
		model_fail("pages are lent that can be written");
	check_present(v, &r);
	vmo_read_end(&r);
}

/* A whole block of the store, or nearly: such ones are treated in another way. */
static void op_supply_block(void)
{
	struct ref_vmo *v = pick_root();
	uint64_t blocks, off, len = STORE_BLOCK;

	if (!v || !world.dense)
		return;
	blocks = v->size / STORE_BLOCK;
	off = pick(blocks) * STORE_BLOCK;
	if (chance(20))
		off += pick(3) * PAGE;
	if (chance(20))
		len -= pick(3) * PAGE;
	supply(v, off, MIN(len, v->size - off), false);
}

static void op_supply(void)
{
	struct ref_vmo *v = pick_root();
	struct range g;

	if (!v)
		return;
	g = pick_pages(v, chance(70) ? 4 : 20);
	/* The whole last page, or only as far as the size. */
	if (g.len && g.off + g.len > v->size && chance(70))
		g.len = v->size - g.off;
	if (g.len)
		supply(v, g.off, g.len, chance(world.dense ? 2 : 20));
}

/* ---- the wrong way ---- */

static void op_misuse(void)
{
	struct ref_vmo *v = pick_root();
	struct vmo_token *token = NULL;
	uint64_t beyond;

	if (!v || v->detached)
		return;
	beyond = (page_ceil(v->size) + pick(3)) * PAGE;
	trace_op("misuse", v, beyond, 0, 0);
	if (vmofs_supply(v->vmo, 1, scratch, PAGE) != -EINVAL)
		model_fail("a misaligned supply is not refused");
	if (v->size > 2 * PAGE && vmofs_supply(v->vmo, 0, scratch, PAGE + 1) != -EINVAL)
		model_fail("a supply that ends inside the object and inside a page is not refused");
	if (vmofs_supply(v->vmo, beyond, scratch, PAGE) != -ERANGE)
		model_fail("a supply beyond the end is not refused");
	if (vmofs_fail(v->vmo, 0, PAGE, -EINTR, BIT(VMOFS_REQUEST_READ)) != -EINVAL)
		model_fail("an invalid failure code is not refused");
	if (!v->detached &&
	    vmofs_grant_dirty(v->vmo, beyond, PAGE) !=
		    ((v->flags & VMO_TRAP_DIRTY) ? -ERANGE : -EOPNOTSUPP))
		model_fail("a grant beyond the end is not refused");
	if (vmo_writeback_begin(v->vmo, 7, PAGE, VMO_WRITEBACK_ALL, &token) != -EINVAL || token)
		model_fail("a misaligned writeback is not refused");
}

/* ---- failures and grants ---- */

static void fail(struct ref_vmo *v, uint64_t off, uint64_t len, unsigned types)
{
	int code = model_codes[pick(model_n_codes)];
	uint64_t mask = ref_mask(v, off, len) & ref_unresolved(v, types);
	int r;

	trace_op("fail", v, off, len, -code * 10 + (int)types);
	r = (int)trace_ret(vmofs_fail(v->vmo, off, len, code, types));
	if (r != (v->detached ? -ESHUTDOWN : 0))
		model_fail("fail: %d", r);
	if (r == 0)
		ref_fail(v, mask, code, types);
}

static void op_fail(void)
{
	struct ref_vmo *v = pick_root();
	struct range g;

	if (!v)
		return;
	g = pick_pages(v, 6);
	if (g.len)
		fail(v, g.off, g.len, 1 + (unsigned)pick(7));
}

static void grant(struct ref_vmo *v, uint64_t off, uint64_t len)
{
	uint64_t mask = ref_mask(v, off, len);
	uint64_t zero = mask & ref_with(v, BIT(PAGE_ZERO_CLEAN) | BIT(PAGE_ZERO_DIRTY));
	int r;

	trace_op("grant", v, off, len, 0);
	r = (int)trace_ret(vmofs_grant_dirty(v->vmo, off, len));
	if (!(v->flags & VMO_TRAP_DIRTY)) {
		if (r != -EOPNOTSUPP)
			model_fail("grant without trap: %d", r);
		return;
	}
	if (v->detached && r == -ESHUTDOWN)
		return;
	if (r == -ENOMEM && world.tight && zero)
		return;
	/* Room for the zero pages was made of a clean page of the range. */
	if (r == -ENOENT && world.tight && zero && (mask & ref_with(v, BIT(PAGE_CLEAN)))) {
		ref_resolve(v, mask, BIT(VMOFS_REQUEST_DIRTY));
		return;
	}
	if (r != ((mask & ref_with(v, BIT(PAGE_ABSENT))) ? -ENOENT : 0))
		model_fail("grant: %d", r);
	if (r == 0)
		for (unsigned i = 0; i < v->n; i++)
			if (zero & MASK_OF(i))
				memset(v->data + i * PAGE, 0, PAGE);
	if (r == 0)
		ref_set_mask(v, mask, PAGE_DIRTY);
	/* Granted, or released to look again. */
	ref_resolve(v, mask, BIT(VMOFS_REQUEST_DIRTY));
}

static void op_grant(void)
{
	struct ref_vmo *v = pick_root();
	struct range g;

	if (!v)
		return;
	g = pick_pages(v, 4);
	if (g.len)
		grant(v, g.off, g.len);
}

/* ---- writeback ---- */

static struct mtoken *free_token(void)
{
	for (unsigned i = 0; i < MODEL_TOKENS; i++)
		if (!world.token[i].token)
			return &world.token[i];
	return NULL;
}

static uint64_t write_pinned(const struct ref_vmo *v)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < MODEL_PINS; i++)
		if (world.pin[i].v == v && world.pin[i].write && !world.pin[i].busy)
			mask |= world.pin[i].mask;
	return mask;
}

/* Pages pinned for writing are stored with the rest, but who waits for that may find them dirty. */
static void excuse_tasks(const struct ref_vmo *v, uint64_t pinned)
{
	for (unsigned i = 0; i < SCHED_TASKS; i++) {
		struct mtask *t = &world.task[i];

		if (t->used && t->op == OP_WRITEBACK && t->v == v)
			t->absent &= ~pinned;
	}
}

static void token_follow(struct mtoken *t, enum vmo_writeback_what what)
{
	struct ref_vmo *v = t->v;
	uint64_t range = ref_mask(v, t->off, t->len);
	uint64_t zero = range & ref_with(v, BIT(PAGE_ZERO_DIRTY));
	uint64_t dirty = range & ref_with(v, BIT(PAGE_DIRTY));
	uint64_t pinned = write_pinned(v);

	t->mask = zero;
	t->pinned = 0;
	if (what == VMO_WRITEBACK_ALL) {
		t->mask |= dirty | (range & ref_with(v, BIT(PAGE_AWAITING_CLEAN)));
		t->pinned = dirty & pinned;
		excuse_tasks(v, t->pinned);
		ref_set_mask(v, dirty & ~pinned, PAGE_AWAITING_CLEAN);
	}
	for (unsigned i = 0; i < v->n; i++) {
		t->version[i] = v->page[i].version;
		t->zero_touch[i] = v->page[i].zero_touch;
	}
}

static struct mtoken *begin(struct ref_vmo *v, uint64_t off, uint64_t len)
{
	struct mtoken *t = free_token();
	enum vmo_writeback_what what = chance(80) ? VMO_WRITEBACK_ALL : VMO_WRITEBACK_ZEROS;
	int r;

	if (!t)
		return NULL;
	trace_op("writeback begin", v, off, len, what);
	r = (int)trace_ret(vmo_writeback_begin(v->vmo, off, len, what, &t->token));
	if (r < 0)
		model_fail("writeback begin: %d", r);
	t->v = v;
	t->off = off;
	t->len = len;
	t->born = world.step;
	token_follow(t, what);
	return t;
}

static void op_begin(void)
{
	struct ref_vmo *v = pick_root();
	struct range g;

	if (!v)
		return;
	g = pick_pages(v, 20);
	if (g.len)
		begin(v, g.off, g.len);
}

static bool other_token(const struct mtoken *t, unsigned i)
{
	for (unsigned k = 0; k < MODEL_TOKENS; k++) {
		const struct mtoken *o = &world.token[k];

		if (o != t && o->token && o->v == t->v && (o->mask & ~o->pinned & MASK_OF(i)) &&
		    o->version[i] == t->v->page[i].version)
			return true;
	}
	return false;
}

static void end_page(struct mtoken *t, unsigned i, int status)
{
	struct ref_page *p = &t->v->page[i];

	if (p->version != t->version[i])
		return;
	if (p->kind == PAGE_ZERO_DIRTY && status == 0) {
		p->allow = BIT(PAGE_ZERO_CLEAN);
		if (p->zero_touch == t->zero_touch[i])
			p->kind = PAGE_ZERO_CLEAN;
		else
			p->allow |= BIT(PAGE_ZERO_DIRTY);
	} else if (p->kind == PAGE_AWAITING_CLEAN && status == 0) {
		ref_set(t->v, i, PAGE_CLEAN);
		p->allow |= BIT(PAGE_ABSENT);
	} else if (p->kind == PAGE_AWAITING_CLEAN) {
		p->allow = BIT(PAGE_DIRTY);
		if (other_token(t, i))
			p->allow |= BIT(PAGE_AWAITING_CLEAN);
		else
			p->kind = PAGE_DIRTY;
	}
}

/* Requests for writeback: those from before begin have what they asked for; clean pages need none. */
static void settle(struct mtoken *t, uint64_t mask, uint64_t range)
{
	const unsigned dirty = BIT(PAGE_DIRTY) | BIT(PAGE_AWAITING_CLEAN) | BIT(PAGE_ZERO_DIRTY);

	for (unsigned i = 0; i < t->v->script.n; i++) {
		struct asked *a = &t->v->script.asked[i];

		if (a->type != VMOFS_REQUEST_WRITEBACK)
			continue;
		if (a->joined < t->born)
			a->unresolved &= ~mask;
		a->unresolved &= ~(range & ~ref_with(t->v, dirty));
	}
}

/* The pages of @range leave the token. */
static void end_follow(struct mtoken *t, uint64_t range, int status)
{
	uint64_t mask = t->mask & range;

	for (unsigned i = 0; i < t->v->n; i++)
		if (mask & ~t->pinned & MASK_OF(i))
			end_page(t, i, status);
	t->mask &= ~range;
	if (status)
		ref_fail(t->v, mask, status, BIT(VMOFS_REQUEST_WRITEBACK));
	else
		settle(t, mask, range);
}

static void token_end(struct mtoken *t, int status)
{
	trace_op("writeback end", t->v, t->off, t->len, status);
	vmo_writeback_end(t->token, status);
	t->token = NULL;
	end_follow(t, MASK_ALL, status);
}

static void op_end(void)
{
	struct mtoken *t = &world.token[pick(MODEL_TOKENS)];
	int status = chance(25) ? model_codes[pick(model_n_codes)] : 0;
	struct range g;

	if (!t->token)
		return;
	if (chance(70)) {
		token_end(t, status);
		return;
	}
	g.off = t->off + pick(t->len / PAGE) * PAGE;
	g.len = (1 + pick((t->off + t->len - g.off) / PAGE)) * PAGE;
	trace_op("writeback end part", t->v, g.off, g.len, status);
	vmo_writeback_end_part(t->token, g.off, g.len, status);
	end_follow(t, ref_mask(t->v, g.off, g.len), status);
}

void ops_end_tokens(void)
{
	for (unsigned i = 0; i < MODEL_TOKENS; i++)
		if (world.token[i].token)
			token_end(&world.token[i], 0);
}

/* What a daemon would do with a WRITEBACK request: begin, store, end. */
static void store_request(struct ref_vmo *v, uint64_t off, uint64_t len)
{
	struct mtoken *t = begin(v, off, len);

	if (t)
		token_end(t, 0);
}

/* A block is asked for whole and comes whole, if nothing of it is in the way. */
static void op_cycle_block(void)
{
	struct ref_vmo *v = pick_root();
	uint64_t off;

	if (!v || !world.dense || v->detached)
		return;
	off = pick(v->size / STORE_BLOCK) * STORE_BLOCK;
	store_request(v, off, STORE_BLOCK);
	op_evict_range(v, (struct range){ off, STORE_BLOCK }, true);
	prefetch_block(v, off);
	/* The page states of the reference are from before the eviction. */
	check_states(v);
	supply(v, off, STORE_BLOCK, false);
}

static void op_query(void)
{
	struct ref_vmo *v = pick_root();
	struct vmo_dirty_range got[MODEL_PAGES];
	struct range g;
	int64_t n;
	uint64_t pages = 0, zeros = 0, range;

	if (!v)
		return;
	g = pick_bytes(v, MODEL_PAGES * PAGE);
	if (!g.len)
		return;
	range = ref_mask(v, g.off, g.len);
	trace_op("query dirty", v, g.off, g.len, 0);
	n = trace_ret(vmo_query_dirty(v->vmo, g.off, g.len, got, MODEL_PAGES));
	if (n < 0 || n > MODEL_PAGES)
		model_fail("query: %jd", (intmax_t)n);
	for (int64_t i = 0; i < n; i++) {
		if (i && got[i].off < got[i - 1].off + got[i - 1].len)
			model_fail("query: entries are not in order");
		if (i && got[i].off == got[i - 1].off + got[i - 1].len &&
		    got[i].is_zero == got[i - 1].is_zero)
			model_fail("query: runs are not maximal");
		*(got[i].is_zero ? &zeros : &pages) |= ref_mask(v, got[i].off, got[i].len);
	}
	if (pages != (range & ref_with(v, BIT(PAGE_DIRTY) | BIT(PAGE_AWAITING_CLEAN))) ||
	    zeros != (range & ref_with(v, BIT(PAGE_ZERO_DIRTY))))
		model_fail("query: pages %#jx, zeros %#jx", (uintmax_t)pages, (uintmax_t)zeros);
}

/* ---- the pump ---- */

/* A request that was sent before a shrink may reach beyond the end. */
static bool clip_asked(const struct ref_vmo *v, struct asked *a)
{
	uint64_t end = page_ceil(v->size) * PAGE;

	if (a->off >= end)
		return false;
	a->len = MIN(a->len, end - a->off);
	return true;
}

static void answer_full(struct ref_vmo *v, const struct asked *a)
{
	uint64_t off = a->off, len = a->len;

	switch (a->type) {
	case VMOFS_REQUEST_READ:
		supply(v, off, off + len > v->size && chance(50) ? v->size - off : len,
		       chance(world.dense ? 1 : 10));
		break;
	case VMOFS_REQUEST_DIRTY:
		grant(v, off, len);
		break;
	default:
		store_request(v, off, len);
	}
}

/* A part of the request, or the request and its neighbours. */
static void answer_partly(struct ref_vmo *v, const struct asked *a)
{
	uint64_t first = page_floor(a->off);
	uint64_t end = first + a->len / PAGE;
	struct range g;

	if (chance(60)) {
		first += pick(end - first);
		end = first + 1 + pick(end - first);
	} else {
		while (first && ref_idx(v, first - 1) >= 0 && chance(50))
			first--;
		while (end * PAGE < v->size && ref_idx(v, end) >= 0 && chance(50))
			end++;
	}
	g = (struct range){ first * PAGE, MIN((end - first) * PAGE, sizeof scratch) };
	if (a->type == VMOFS_REQUEST_READ)
		supply(v, g.off, g.len, chance(world.dense ? 1 : 15));
	else if (a->type == VMOFS_REQUEST_DIRTY)
		grant(v, g.off, g.len);
	else
		store_request(v, g.off, g.len);
}

static void op_pump(void)
{
	struct ref_vmo *v = pick_root();
	struct asked a;
	uint64_t p;

	if (!v || !v->script.n)
		return;
	a = v->script.asked[pick(v->script.n)];
	if (!clip_asked(v, &a))
		return;
	p = pick(100);
	if (p < 45)
		answer_full(v, &a);
	else if (p < 85)
		answer_partly(v, &a);
	else if (a.near && chance(70))
		elsewhere(v, a.off, a.len);
	else
		fail(v, a.off, a.len, BIT(a.type));
}

bool answer_one(struct ref_vmo *root)
{
	struct asked a;

	if (!root->script.n)
		return false;
	a = root->script.asked[pick(root->script.n)];
	if (clip_asked(root, &a))
		answer_full(root, &a);
	return true;
}

const struct model_op model_answer_ops[] = {
	{ "pump", 34, op_pump },
	{ "supply", 7, op_supply },
	{ "supply block", 1, op_supply_block },
	{ "cycle block", 5, op_cycle_block },
	{ "misuse", 1, op_misuse },
	{ "fail", 3, op_fail },
	{ "elsewhere", 4, op_elsewhere },
	{ "present", 3, op_present },
	{ "grant", 4, op_grant },
	{ "begin", 6, op_begin },
	{ "end", 8, op_end },
	{ "query", 3, op_query },
	{ 0 },
};
