/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider of the model test: it answers nothing by itself, records what it owns and fails the
 * run at the first breach of the contract. Only one thread runs at a time, so it has no lock.
 */
#include "base/macros.h"
#include "model/model.h"

static struct script *script_of(struct vmofs_provider *p)
{
	return container_of(p, struct script, base);
}

static struct asked *find(struct script *s, const struct vmofs_request *req)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->asked[i].req == req)
			return &s->asked[i];
	model_fail("the provider does not own this request");
}

static uint64_t pages_of(const struct script *s, const struct vmofs_request *req)
{
	return s->v ? ref_mask(s->v, req->off, req->len) : 0;
}

static void check_request(const struct script *s, const struct vmofs_request *req, bool near)
{
	if (near ? s->near_detached : s->detached)
		model_fail("a request after on_detach()");
	if (near && req->type != VMOFS_REQUEST_READ)
		model_fail("a request of type %d at the nearer place", (int)req->type);
	if (req->type >= VMOFS_REQUEST_NTYPES || !(s->base.ops->supports & BIT(req->type)))
		model_fail("a request of type %d", (int)req->type);
	if (req->len == 0 || (req->off | req->len) % PAGE)
		model_fail("request not aligned: %#jx+%#jx", (uintmax_t)req->off,
			   (uintmax_t)req->len);
}

static void send(struct script *s, struct vmofs_request *req, bool near)
{
	check_request(s, req, near);
	if (!vmofs_list_empty(&req->link) || req->priv)
		model_fail("a new request with a used link or priv");
	if (s->n == MODEL_ASKED)
		model_fail("more than %d requests", MODEL_ASKED);
	s->asked[s->n++] = (struct asked){
		.req = req,
		.type = req->type,
		.off = req->off,
		.len = req->len,
		.unresolved = pages_of(s, req),
		.outside = (uint64_t)__builtin_popcountll(pages_of(s, req)) * PAGE < req->len,
		.near = near,
		.born = world.step,
		.joined = world.step,
	};
	s->n_sent++;
}

static void script_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	send(script_of(p), req, false);
}

static void clear(struct script *s, struct vmofs_request *req, bool near)
{
	struct asked *a = find(s, req);

	if (a->near != near)
		model_fail("cleared at the wrong place");
	if (a->type != req->type || a->off != req->off || a->len != req->len)
		model_fail("a request changed while it was owned");
	*a = s->asked[--s->n];
	s->n_cleared++;
}

static void script_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	clear(script_of(p), req, false);
}

static void swap(struct script *s, struct vmofs_request *old, struct vmofs_request *now, bool near)
{
	struct asked *a = find(s, old);

	if (a->near != near)
		model_fail("swapped at the wrong place");
	if (now->type != a->type || now->off < a->off || now->off + now->len > a->off + a->len)
		model_fail("swap to a request that is not a part of the old one");
	a->req = now;
	if (old == now)
		a->joined = world.step;
	a->off = now->off;
	a->len = now->len;
	a->outside = (uint64_t)__builtin_popcountll(pages_of(s, now)) * PAGE < now->len;
	a->unresolved &= pages_of(s, now);
	check_request(s, now, near);
}

static void script_swap(struct vmofs_provider *p, struct vmofs_request *old,
			struct vmofs_request *now)
{
	swap(script_of(p), old, now, false);
}

static void script_on_detach(struct vmofs_provider *p)
{
	struct script *s = script_of(p);

	if (s->detached || s->closed || s->n || s->near_detached != s->has_near)
		model_fail("on_detach(): twice, or after close, or with %u requests", s->n);
	s->detached = true;
}

static void script_on_close(struct vmofs_provider *p)
{
	struct script *s = script_of(p);

	if (!s->detached || s->closed)
		model_fail("on_close(): twice or before on_detach()");
	s->closed = true;
}

static void script_stats(struct vmofs_provider *p, struct vmofs_provider_stats *out)
{
	*out = (struct vmofs_provider_stats){ .requests = script_of(p)->n_sent };
}

static void script_dump(struct vmofs_provider *p, FILE *out, unsigned depth UNUSED,
			unsigned max_items UNUSED)
{
	fprintf(out, "script: %u requests\n", script_of(p)->n);
}

static uint64_t script_koid(struct vmofs_provider *p UNUSED)
{
	return 7;
}

#define SCRIPT_OPS(types)                                                                          \
	{                                                                                          \
		.name = "script", .supports = (types), .send = script_send, .clear = script_clear, \
		.swap = script_swap, .on_detach = script_on_detach, .on_close = script_on_close,   \
		.stats = script_stats, .dump = script_dump, .koid = script_koid,                   \
	}

/* By trap and writeback. */
static const struct vmofs_provider_ops script_ops[2][2] = {
	{ SCRIPT_OPS(BIT(VMOFS_REQUEST_READ)),
	  SCRIPT_OPS(BIT(VMOFS_REQUEST_READ) | BIT(VMOFS_REQUEST_WRITEBACK)) },
	{ SCRIPT_OPS(BIT(VMOFS_REQUEST_READ) | BIT(VMOFS_REQUEST_DIRTY)),
	  SCRIPT_OPS(BIT(VMOFS_REQUEST_READ) | BIT(VMOFS_REQUEST_DIRTY) |
		     BIT(VMOFS_REQUEST_WRITEBACK)) },
};

void script_init(struct script *s, struct ref_vmo *v, bool trap, bool writeback)
{
	*s = (struct script){ .base.ops = &script_ops[trap][writeback], .v = v };
}

/* ---- the nearer place ---- */

static struct script *script_by(struct vmofs_provider *p)
{
	return container_of(p, struct script, by);
}

static void by_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	send(script_by(p), req, true);
}

static void by_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	clear(script_by(p), req, true);
}

static void by_swap(struct vmofs_provider *p, struct vmofs_request *old, struct vmofs_request *now)
{
	swap(script_by(p), old, now, true);
}

static void by_on_detach(struct vmofs_provider *p)
{
	struct script *s = script_by(p);

	if (s->near_detached || s->n)
		model_fail("on_detach() there: twice, or with %u requests", s->n);
	s->near_detached = true;
}

static void by_on_close(struct vmofs_provider *p)
{
	struct script *s = script_by(p);

	if (!s->near_detached || s->near_closed)
		model_fail("on_close() there: twice or before on_detach()");
	s->near_closed = true;
}

static const struct vmofs_provider_ops by_ops = {
	.name = "near",
	.supports = BIT(VMOFS_REQUEST_READ),
	.send = by_send,
	.clear = by_clear,
	.swap = by_swap,
	.on_detach = by_on_detach,
	.on_close = by_on_close,
};

static bool near_has(struct vmo_near *n, uint64_t first, uint64_t *end)
{
	if (container_of(n, struct script, near)->written)
		model_fail("asked what it has, though it is written");
	if (chance(30))
		*end = first + 1 + pick(*end - first);
	return chance(50);
}

static void near_arrived(struct vmo_near *n, uint64_t first, uint64_t end)
{
	struct script *s = container_of(n, struct script, near);

	if (s->near_detached || s->written)
		model_fail("told of what arrived after on_detach(), or written()");
	s->arrived |= ref_mask(s->v, first * PAGE, (end - first) * PAGE);
}

static bool near_spares(struct vmo_near *n UNUSED, uint64_t *first UNUSED, uint64_t *end UNUSED)
{
	return false;
}

static void near_unneeded(struct vmo_near *n, uint64_t first UNUSED, uint64_t end UNUSED)
{
	if (container_of(n, struct script, near)->near_detached)
		model_fail("told of what is not needed after on_detach()");
}

static void near_written(struct vmo_near *n)
{
	struct script *s = container_of(n, struct script, near);

	if (s->written)
		model_fail("told twice that it is written");
	s->written = true;
}

static const struct vmo_near_ops near_ops = {
	.has = near_has,
	.arrived = near_arrived,
	.spares = near_spares,
	.unneeded = near_unneeded,
	.written = near_written,
};

/* ---- the guard ---- */

static int guard_grant(struct vmo_guard *g, uint64_t n)
{
	container_of(g, struct script, guard)->charged += n;
	return 0;
}

static void guard_release(struct vmo_guard *g, uint64_t n)
{
	struct script *s = container_of(g, struct script, guard);

	if (n > s->charged)
		model_fail("released more than was granted");
	s->charged -= n;
}

int script_make_writable(struct script *s, struct vmo *vmo)
{
	static const struct vmo_guard_ops guard_ops = { .grant = guard_grant,
							.release = guard_release };
	int r;

	s->guard.ops = &guard_ops;
	r = vmo_make_writable(vmo, &s->guard);
	s->guarded |= r == 0;
	return r;
}

void script_set_near(struct script *s, struct vmo *vmo)
{
	s->by.ops = &by_ops;
	s->near = (struct vmo_near){ .ops = &near_ops, .provider = &s->by };
	s->has_near = true;
	if (vmo_set_near(vmo, &s->near) < 0)
		model_fail("a new VMO takes no nearer place");
}
