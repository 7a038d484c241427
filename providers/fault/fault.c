/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault provider: `fault:SPEC:SOURCE` is SOURCE with misfortunes. It owns another provider and
 * decides for each READ request, by number or by chance, whether it is passed on at once, later, in
 * another order, never, or failed. For tests; what it passes on it never changes.
 *
 * Its lock (rank WRAPPER) is held over the inner send, clear and swap, so that a request that is
 * passed on by a timer cannot be cleared at the same moment. One loop runs its tasks and timers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <vmofs/provider.h>

#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "fault/fault_spec.h"

/* A request that is not (yet) the inner provider's. */
struct held {
	struct vmofs_list link;
	struct vmofs_request *req;
	uint64_t due_ns; /* UINT64_MAX: only another event moves it */
	int fail_code;   /* 0: it is passed on */
	bool dropped;
};

struct fault {
	struct vmofs_provider base;   /* first */
	struct vmofs_provider *inner; /* owned */
	struct fault_spec spec;
	struct loop *loop; /* borrowed: runs what is due */
	struct loop_timer timer;
	struct loop_task task; /* posted: look what is due */
	struct loop_task close;

	struct mutex lock;
	/* lock: lock, all below */
	struct vmofs_list held; /* in order of arrival */
	uint64_t sent;          /* requests so far */
	uint64_t random;
	unsigned gathered; /* of the group that is answered in reverse */
	bool posted;
	bool closing;
	uint64_t failed;
};

extern const struct vmofs_provider_ops provider_fault;

static struct fault *fault_of(struct vmofs_provider *p)
{
	return container_of(p, struct fault, base);
}

/* -- deciding --------------------------------------------------------------------------------- */

static bool rule_hits_locked(struct fault *f, const struct fault_rule *rule) REQUIRES(f->lock)
{
	if (rule->nth)
		return f->sent == rule->nth;
	if (rule->every)
		return f->sent % rule->every == 0;
	if (rule->percent < 100) {
		f->random = f->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
		return (f->random >> 33) % 100 < rule->percent;
	}
	return true;
}

/* What befalls the request; false: nothing does. */
static bool decide_locked(struct fault *f, struct held *h, uint64_t now_ns) REQUIRES(f->lock)
{
	h->due_ns = now_ns;
	for (unsigned i = 0; i < f->spec.n; i++) {
		const struct fault_rule *rule = &f->spec.rules[i];

		if (!rule_hits_locked(f, rule))
			continue;
		switch (rule->action) {
		case FAULT_FAIL:
			h->fail_code = rule->code;
			return true;
		case FAULT_DELAY:
			h->due_ns = now_ns + rule->delay_ns;
			return true;
		case FAULT_DROP:
			h->dropped = true;
			h->due_ns = UINT64_MAX;
			return true;
		case FAULT_REVERSE:
			h->due_ns = UINT64_MAX;
			f->gathered++;
			return true;
		}
	}
	return false;
}

/* -- holding and passing on ------------------------------------------------------------------- */

static struct held *find_locked(struct fault *f, const struct vmofs_request *req) REQUIRES(f->lock)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &f->held) {
		struct held *h = vmofs_list_entry(pos, struct held, link);

		if (h->req == req)
			return h;
	}
	return NULL;
}

static void held_free(struct held *h)
{
	vmofs_list_del(&h->link);
	free(h);
}

static void pass_on_locked(struct fault *f, struct held *h) REQUIRES(f->lock)
{
	struct vmofs_request *req = h->req;

	held_free(h);
	f->inner->ops->send(f->inner, req);
}

static void post_locked(struct fault *f) REQUIRES(f->lock)
{
	if (f->posted || f->closing)
		return;
	f->posted = true;
	loop_post(f->loop, &f->task);
}

/* A group that is complete goes on, the last one first. */
static void reverse_locked(struct fault *f) REQUIRES(f->lock)
{
	struct vmofs_list *pos;
	uint64_t due = loop_now_ns();

	if (f->gathered == 0 || f->gathered < fault_spec_group(&f->spec))
		return;
	f->gathered = 0;
	for (pos = f->held.prev; pos != &f->held;) {
		struct held *h = vmofs_list_entry(pos, struct held, link);

		pos = pos->prev;
		if (h->due_ns != UINT64_MAX || h->dropped)
			continue;
		h->due_ns = due;
		vmofs_list_del(&h->link);
		vmofs_list_add_tail(&f->held, &h->link);
	}
}

static void fault_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct fault *f = fault_of(p);
	struct held *h = calloc(1, sizeof *h);

	mutex_lock(&f->lock);
	f->sent++;
	if (h && decide_locked(f, h, loop_now_ns())) {
		h->req = req;
		vmofs_list_add_tail(&f->held, &h->link);
		h = NULL;
		reverse_locked(f);
		post_locked(f);
	} else {
		f->inner->ops->send(f->inner, req);
	}
	mutex_unlock(&f->lock);
	free(h);
}

static void fault_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct fault *f = fault_of(p);
	struct held *h;

	mutex_lock(&f->lock);
	h = find_locked(f, req);
	if (h)
		held_free(h);
	else
		f->inner->ops->clear(f->inner, req);
	mutex_unlock(&f->lock);
}

static void fault_swap(struct vmofs_provider *p, struct vmofs_request *old,
		       struct vmofs_request *now)
{
	struct fault *f = fault_of(p);
	struct held *h;

	mutex_lock(&f->lock);
	h = find_locked(f, old);
	if (h)
		h->req = now;
	else
		f->inner->ops->swap(f->inner, old, now);
	mutex_unlock(&f->lock);
}

/* -- what is due ------------------------------------------------------------------------------ */

/* Passes on what is due; gives one request to be failed, if there is one, and the next due time. */
static bool due_locked(struct fault *f, uint64_t now_ns, struct vmofs_request *fail, int *code,
		       uint64_t *next_ns) REQUIRES(f->lock)
{
	struct vmofs_list *pos, *tmp;

	*next_ns = UINT64_MAX;
	vmofs_list_for_each_safe(pos, tmp, &f->held) {
		struct held *h = vmofs_list_entry(pos, struct held, link);

		if (h->due_ns > now_ns) {
			*next_ns = MIN(*next_ns, h->due_ns);
		} else if (!h->fail_code) {
			pass_on_locked(f, h);
		} else {
			fail->off = h->req->off;
			fail->len = h->req->len;
			fail->vmo = vmofs_vmo_get(h->req->vmo);
			*code = h->fail_code;
			h->due_ns = UINT64_MAX; /* clear() takes it away */
			h->dropped = true;
			f->failed++;
			return true;
		}
	}
	return false;
}

static void fault_run(struct fault *f)
{
	struct vmofs_request fail;
	uint64_t next = 0;
	bool again;
	int code;

	do {
		mutex_lock(&f->lock);
		again = due_locked(f, loop_now_ns(), &fail, &code, &next);
		mutex_unlock(&f->lock);
		if (again) {
			vmofs_fail(fail.vmo, fail.off, fail.len, code,
				   VMOFS_TYPE_BIT(VMOFS_REQUEST_READ));
			vmofs_vmo_put(fail.vmo);
		}
	} while (again);
	if (next != UINT64_MAX)
		loop_timer_set(f->loop, &f->timer, next);
}

static void task_run(struct loop_task *t, struct loop *l UNUSED)
{
	struct fault *f = container_of(t, struct fault, task);

	mutex_lock(&f->lock);
	f->posted = false;
	mutex_unlock(&f->lock);
	fault_run(f);
}

static void timer_fire(struct loop_timer *t, struct loop *l UNUSED)
{
	fault_run(container_of(t, struct fault, timer));
}

/* -- life ------------------------------------------------------------------------------------- */

static void fault_on_detach(struct vmofs_provider *p)
{
	fault_of(p)->inner->ops->on_detach(fault_of(p)->inner);
}

static void fault_on_close(struct vmofs_provider *p)
{
	fault_of(p)->inner->ops->on_close(fault_of(p)->inner);
}

static int fault_version(struct vmofs_provider *p, char *out, size_t cap)
{
	struct fault *f = fault_of(p);

	return f->inner->ops->version ? f->inner->ops->version(f->inner, out, cap) : -ENODATA;
}

static void fault_pace(struct vmofs_provider *p, struct vmofs_pace *out)
{
	struct fault *f = fault_of(p);

	*out = (struct vmofs_pace){ 0 };
	if (f->inner->ops->pace)
		f->inner->ops->pace(f->inner, out);
}

static void fault_stats(struct vmofs_provider *p, struct vmofs_provider_stats *out)
{
	struct fault *f = fault_of(p);

	f->inner->ops->stats(f->inner, out);
	mutex_lock(&f->lock);
	out->errors += f->failed;
	mutex_unlock(&f->lock);
}

static void fault_dump(struct vmofs_provider *p, FILE *out, unsigned depth, unsigned max_items)
{
	struct fault *f = fault_of(p);
	struct vmofs_list *pos;
	unsigned n = 0;

	mutex_lock(&f->lock);
	vmofs_list_for_each(pos, &f->held)
		n++;
	fprintf(out, "%*sfault: %llu requests, %u held, %llu failed\n", (int)depth * 2, "",
		(unsigned long long)f->sent, n, (unsigned long long)f->failed);
	mutex_unlock(&f->lock);
	f->inner->ops->dump(f->inner, out, depth + 1, max_items);
}

static uint64_t fault_koid(struct vmofs_provider *p)
{
	return fault_of(p)->inner->ops->koid(fault_of(p)->inner);
}

static void fault_destroy(struct fault *f)
{
	if (f->inner)
		f->inner->ops->free(f->inner);
	mutex_destroy(&f->lock);
	free(f);
}

/* On the loop, behind any task that was posted before. */
static void close_run(struct loop_task *t, struct loop *l)
{
	struct fault *f = container_of(t, struct fault, close);
	bool posted;

	loop_timer_del(l, &f->timer);
	mutex_lock(&f->lock);
	posted = f->posted;
	mutex_unlock(&f->lock);
	if (posted)
		loop_post(l, t);
	else
		fault_destroy(f);
}

static void fault_free(struct vmofs_provider *p)
{
	struct fault *f = fault_of(p);

	mutex_lock(&f->lock);
	f->closing = true;
	mutex_unlock(&f->lock);
	loop_post(f->loop, &f->close);
}

/* Splits "fault:SPEC:SOURCE"; the source or NULL. */
static const char *split_source(const char *source, const char **spec, size_t *len)
{
	const char *colon = strchr(source, ':');

	*spec = colon ? colon + 1 : "";
	colon = strchr(*spec, ':');
	*len = colon ? (size_t)(colon - *spec) : 0;
	return colon ? colon + 1 : NULL;
}

static struct fault *fault_new(struct loop_pool *loops)
{
	struct fault *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	f->base.ops = &provider_fault;
	f->loop = loop_pool_nth(loops, 0);
	f->task.run = task_run;
	f->timer.fire = timer_fire;
	f->close.run = close_run;
	vmofs_list_init(&f->held);
	mutex_init(&f->lock, LOCK_RANK_WRAPPER);
	return f;
}

static int fault_open(struct vmofs_provider **out, const char *source,
		      const struct vmofs_provider_env *env, struct vmofs_object_info *info,
		      struct vmofs_err *err)
{
	const struct vmofs_provider_ops *ops;
	struct fault *f;
	const char *spec, *inner;
	size_t len;
	int r;

	inner = split_source(source, &spec, &len);
	ops = inner ? vmofs_provider_find(inner) : NULL;
	if (!ops)
		return vmofs_err_set(err, -EINVAL,
				     "the source is not of the form fault:SPEC:SOURCE");
	f = fault_new(env->loops);
	if (!f)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate a fault source");
	r = fault_spec_parse(&f->spec, spec, len);
	if (r < 0)
		vmofs_err_set(err, r, "'%.*s' is not a list of faults", (int)len, spec);
	else
		r = ops->open(&f->inner, inner, env, info, err);
	if (r < 0) {
		fault_destroy(f);
		return r;
	}
	f->random = f->spec.seed;
	*out = &f->base;
	return 0;
}

static const char *const fault_schemes[] = { "fault", NULL };

const struct vmofs_provider_ops provider_fault = {
	.name = "fault",
	.schemes = fault_schemes,
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.open = fault_open,
	.send = fault_send,
	.clear = fault_clear,
	.swap = fault_swap,
	.on_detach = fault_on_detach,
	.on_close = fault_on_close,
	.version = fault_version,
	.pace = fault_pace,
	.stats = fault_stats,
	.dump = fault_dump,
	.koid = fault_koid,
	.free = fault_free,
};
