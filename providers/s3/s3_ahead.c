/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of a new object that are sent while it is still being written: an upload that its store completes, or takes up no further, and then it
 * is aborted. The metadata of an object is that of the creation of its upload, the number of the attempt too. Only for keys where
 * nothing is: what is replaced has metadata of its own, which the store asks for.
 *
 * Threads that may block. Parts are sent by several at once, the rest is called by one while none sends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "s3/s3_op.h"
#include "s3/s3_plan.h"
#include "s3/s3_record.h"

/*
 * Parts in memory. Who is called off leaves what is under way to end by itself, which is counted nowhere else: files may come and go
 * faster than that.
 */
enum { BODIES_MAX = 16 };

struct s3_ahead {
	struct vmofs_ahead base; /* first */
	struct s3 *s;            /* counted */
	char *key;               /* full */
	char attempt[VMOFS_ATTEMPT_LEN + 1];
	char id[S3_UPLOAD_ID];
	struct mutex lock;
	/* lock: lock */
	struct s3_piece *v;
	unsigned cap;
	unsigned tried; /* all parts that a request was sent of are below */
	unsigned requests;
	uint64_t bytes;
	bool astray;
};

struct s3_ahead *s3_ahead_of(struct vmofs_ahead *a)
{
	return a ? container_of(a, struct s3_ahead, base) : NULL;
}

/* -- life ------------------------------------------------------------------------------------- */

void s3_ahead_free(struct s3_ahead *a)
{
	if (!a)
		return;
	mutex_destroy(&a->lock);
	s3_put(a->s);
	free(a->v);
	free(a->key);
	free(a);
}

void s3_ahead_drop(struct s3_ahead *a, const atomic_bool *cancel)
{
	if (!a)
		return;
	if (a->id[0] && s3_upload_abort(a->s, a->key, a->id, cancel) == 0 && !a->astray)
		s3_record_del(a->s, a->id);
	s3_ahead_free(a);
}

static struct s3_ahead *ahead_new(struct s3 *s, const char *key)
{
	struct s3_ahead *a = calloc(1, sizeof *a);

	if (!a)
		return NULL;
	mutex_init(&a->lock, LOCK_RANK_SOURCE);
	a->s = s3_get(s);
	a->base = (struct vmofs_ahead){ .part = s->o.upload_part,
					.parts = s3_limits.parts,
					.parallel = s->o.upload_parallel };
	vmofs_attempt_new(a->attempt);
	a->key = s3_full_key(s, key);
	if (!a->key) {
		s3_ahead_free(a);
		return NULL;
	}
	return a;
}

/* -- the operations --------------------------------------------------------------------------- */

static uint64_t ahead_part(struct vmofs_source *source)
{
	return container_of(source, struct s3, base)->o.upload_part;
}

static int create(struct s3_ahead *a, const struct vmofs_ahead_begin *b, struct vmofs_err *err)
{
	struct s3_desk *d = s3_desk_new();
	struct s3_props props = { 0 };
	int r;

	if (!d)
		return vmofs_err_set(err, -ENOMEM, "no memory to store an object");
	s3_props_attr(&props, b->attr, S_IFREG);
	s3_props_set(&props, "x-amz-meta-vmofs-attempt", a->attempt);
	r = s3_upload_create(a->s, d, a->key, &props, &b->wait, a->id, &a->requests, err);
	s3_props_clear(&props);
	s3_desk_put(d);
	return r;
}

static int ahead_begin(struct vmofs_source *source, const struct vmofs_ahead_begin *b,
		       struct vmofs_ahead **out, struct vmofs_err *err)
{
	struct s3_ahead *a;
	int r;

	if (b->base.exists)
		return vmofs_err_set(err, -EOPNOTSUPP, "only what is new is sent ahead");
	a = ahead_new(container_of(source, struct s3, base), b->key);
	if (!a)
		return vmofs_err_set(err, -ENOMEM, "no memory to store an object");
	r = create(a, b, err);
	if (r < 0)
		s3_ahead_free(a);
	else
		*out = &a->base;
	return r;
}

static int grow_locked(struct s3_ahead *a, unsigned i) REQUIRES(a->lock)
{
	unsigned cap = MAX(2 * a->cap, MAX(i + 1, 16u));
	struct s3_piece *v;

	if (i < a->cap)
		return 0;
	v = realloc(a->v, cap * sizeof *v);
	if (!v)
		return -ENOMEM;
	memset(v + a->cap, 0, (cap - a->cap) * sizeof *v);
	a->v = v;
	a->cap = cap;
	return 0;
}

/* What has become of part @i. */
static int note(struct s3_ahead *a, unsigned i, struct s3_op *op, int r)
{
	bool over = s3_op_finished(op);
	unsigned requests = s3_op_requests(op);

	mutex_lock(&a->lock);
	a->tried = MAX(a->tried, i + 1);
	a->requests += requests;
	a->astray |= !over;
	if (r == 0)
		r = grow_locked(a, i);
	if (r == 0) {
		s3_piece_take(&a->v[i], op);
		a->bytes += a->base.part;
	}
	mutex_unlock(&a->lock);
	return r;
}

static int send(struct s3_ahead *a, struct vmofs_ahead_send *g, struct s3_op *op, struct s3_body *b,
		struct vmofs_err *err)
{
	int r = g->read(g, g->part * a->base.part, b->data, b->len);

	if (r == 0)
		r = s3_part_body(op, b);
	if (r < 0)
		return vmofs_err_set(err, r, "a part cannot be read");
	r = note(a, g->part, op, s3_op_run(op, &g->wait, 0));
	if (r < 0 && r != -ENOMEM)
		s3_op_explain(op, "store", err);
	return r;
}

/* NULL: no memory, or too much of it is under way. */
static struct s3_body *body_new(struct s3_ahead *a)
{
	struct s3_body *b = NULL;

	if (atomic_fetch_add(&a->s->ahead_bodies, 1) < BODIES_MAX)
		b = s3_body_new(a->base.part);
	if (b)
		b->among = &a->s->ahead_bodies;
	else
		atomic_fetch_sub(&a->s->ahead_bodies, 1);
	return b;
}

static int ahead_send(struct vmofs_ahead *base, struct vmofs_ahead_send *g, struct vmofs_err *err)
{
	struct s3_ahead *a = s3_ahead_of(base);
	struct s3_desk *d = s3_desk_new();
	struct s3_body *b = body_new(a);
	struct s3_op *op = d && b ? s3_part_op(a->s, d, a->key, a->id, g->part) : NULL;
	int r = op ? send(a, g, op, b, err) : vmofs_err_set(err, -ENOMEM, "no memory for a part");

	s3_op_put(op);
	s3_body_put(b);
	s3_desk_put(d);
	return r;
}

static void ahead_drop(struct vmofs_ahead *a, const atomic_bool *cancel)
{
	s3_ahead_drop(s3_ahead_of(a), cancel);
}

const struct vmofs_ahead_ops s3_ahead_ops = {
	.part = ahead_part,
	.begin = ahead_begin,
	.send = ahead_send,
	.drop = ahead_drop,
};

/* -- for the store: no part is under way ------------------------------------------------------ */

const char *s3_ahead_id(const struct s3_ahead *a)
{
	return a->id;
}

const char *s3_ahead_attempt(const struct s3_ahead *a)
{
	return a->attempt;
}

bool s3_ahead_is_astray(const struct s3_ahead *a)
{
	return a->astray;
}

void s3_ahead_count(const struct s3_ahead *a, unsigned *requests, uint64_t *bytes_up)
{
	*requests += a->requests;
	*bytes_up += a->bytes;
}

const struct s3_piece *s3_ahead_piece(const struct s3_ahead *a, const struct vmofs_store *st,
				      unsigned i)
{
	return i < a->cap && i < st->n_ahead && st->ahead_holds[i] && a->v[i].done ? &a->v[i]
										   : NULL;
}

/*
 * A number that the plan does not have must not have been sent: what becomes of it each server decides for itself. What was not heard
 * of may have arrived.
 */
bool s3_ahead_fits(const struct s3_ahead *a, const struct vmofs_store *st, const char *full_key,
		   const struct s3_plan *plan)
{
	if (st->base.exists || strcmp(a->key, full_key) != 0 || a->tried > plan->n)
		return false;
	for (unsigned i = 0; i < plan->n; i++) {
		const struct s3_part *p = &plan->v[i];

		if (s3_ahead_piece(a, st, i) &&
		    (p->copy || p->off != i * a->base.part || p->len != a->base.part))
			return false;
	}
	return true;
}
