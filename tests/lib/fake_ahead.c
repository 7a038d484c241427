/* SPDX-License-Identifier: Apache-2.0 */
/* Parts that are sent ahead: kept apart, seen by nobody, until a store takes them. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "lib/fake_change_private.h"

#define SEND_LOOK_NS (10 * NSEC_PER_MSEC)

struct fake_ahead {
	struct vmofs_ahead base; /* first */
	struct fake_change *c;
	char key[256];
	char attempt[VMOFS_ATTEMPT_LEN + 1];
	uint8_t *parts[4096]; /* owned; NULL: not there. lock: c->lock */
	unsigned sending;     /* lock: c->lock */
};

static struct fake_ahead *ahead_of(struct vmofs_ahead *a)
{
	return container_of(a, struct fake_ahead, base);
}

static void ahead_free(struct fake_ahead *a)
{
	for (unsigned i = 0; i < ARRAY_LEN(a->parts); i++)
		free(a->parts[i]);
	free(a);
}

static uint64_t ahead_part(struct vmofs_source *s)
{
	return container_of(s, struct fake_change, base)->part;
}

static bool fails(struct fake_change *c, unsigned *times)
{
	bool yes;

	mutex_lock(&c->lock);
	yes = *times > 0;
	*times -= *times > 0;
	mutex_unlock(&c->lock);
	return yes;
}

/* False: who asked has gone, without an answer. */
static bool pass_begins(struct fake_change *c, const struct vmofs_change_wait *wait)
{
	bool gone;

	mutex_lock(&c->lock);
	c->counts.begun++;
	c->at_begins++;
	cond_broadcast(&c->moved);
	while (c->begins_gate && !atomic_load(wait->cancel))
		cond_wait_until(&c->moved, &c->lock, loop_now_ns() + SEND_LOOK_NS);
	gone = c->begins_gate;
	c->at_begins--;
	mutex_unlock(&c->lock);
	return !gone;
}

static int ahead_begin(struct vmofs_source *s, const struct vmofs_ahead_begin *b,
		       struct vmofs_ahead **out, struct vmofs_err *err)
{
	struct fake_change *c = container_of(s, struct fake_change, base);
	struct fake_ahead *a;

	assert(!b->base.exists);
	if (fails(c, &c->begins_fail))
		return vmofs_err_set(err, -EIO, "nothing is taken ahead");
	if (!pass_begins(c, &b->wait))
		return vmofs_err_set(err, -EINTR, "interrupted");
	a = calloc(1, sizeof *a);
	assert(a);
	a->base = (struct vmofs_ahead){ c->part, ARRAY_LEN(a->parts), c->parallel };
	a->c = c;
	snprintf(a->key, sizeof a->key, "%s", b->key);
	vmofs_attempt_new(a->attempt);
	*out = &a->base;
	return 0;
}

static void pass_sends(struct fake_change *c, const struct vmofs_change_wait *wait)
{
	mutex_lock(&c->lock);
	c->at_sends++;
	cond_broadcast(&c->moved);
	while (c->sends_gate && !atomic_load(wait->cancel))
		cond_wait_until(&c->moved, &c->lock, loop_now_ns() + SEND_LOOK_NS);
	c->at_sends--;
	mutex_unlock(&c->lock);
}

static int send_part(struct fake_ahead *a, struct vmofs_ahead_send *g)
{
	struct fake_change *c = a->c;
	uint8_t *data = malloc(c->part);
	int r;

	assert(data && g->part < ARRAY_LEN(a->parts));
	r = g->read(g, g->part * c->part, data, c->part);
	if (r == 0)
		pass_sends(c, &g->wait);
	if (r == 0 && fails(c, &c->sends_fail))
		r = -EIO;
	if (r == 0) {
		mutex_lock(&c->lock);
		assert(!a->parts[g->part]);
		a->parts[g->part] = steal_ptr(&data);
		c->counts.sent++;
		mutex_unlock(&c->lock);
	}
	free(data);
	return r;
}

static int ahead_send(struct vmofs_ahead *base, struct vmofs_ahead_send *g, struct vmofs_err *err)
{
	struct fake_ahead *a = ahead_of(base);
	int r;

	mutex_lock(&a->c->lock);
	assert(a->sending < a->c->parallel);
	a->sending++;
	a->c->sending++;
	mutex_unlock(&a->c->lock);
	r = send_part(a, g);
	mutex_lock(&a->c->lock);
	a->sending--;
	a->c->sending--;
	cond_broadcast(&a->c->moved);
	mutex_unlock(&a->c->lock);
	return r < 0 ? vmofs_err_set(err, r, "the part was lost") : 0;
}

static void ahead_drop(struct vmofs_ahead *base, const atomic_bool *cancel UNUSED)
{
	struct fake_ahead *a = ahead_of(base);

	mutex_lock(&a->c->lock);
	a->c->counts.dropped++;
	cond_broadcast(&a->c->moved);
	mutex_unlock(&a->c->lock);
	ahead_free(a);
}

static const struct vmofs_ahead_ops fake_ahead_ops = {
	.part = ahead_part,
	.begin = ahead_begin,
	.send = ahead_send,
	.drop = ahead_drop,
};

void fake_change_ahead(struct fake_change *c, uint64_t part, unsigned parallel)
{
	c->part = part;
	c->parallel = parallel;
	c->change.ahead = part ? &fake_ahead_ops : NULL;
}

void fake_change_gate_sends(struct fake_change *c, bool closed)
{
	mutex_lock(&c->lock);
	c->sends_gate = closed;
	cond_broadcast(&c->moved);
	mutex_unlock(&c->lock);
}

void fake_change_wait_sends(struct fake_change *c, unsigned n)
{
	mutex_lock(&c->lock);
	while (c->at_sends < n)
		cond_wait(&c->moved, &c->lock);
	mutex_unlock(&c->lock);
}

void fake_change_gate_begins(struct fake_change *c, bool closed)
{
	mutex_lock(&c->lock);
	c->begins_gate = closed;
	cond_broadcast(&c->moved);
	mutex_unlock(&c->lock);
}

void fake_change_wait_begins(struct fake_change *c, unsigned n)
{
	mutex_lock(&c->lock);
	while (c->at_begins < n)
		cond_wait(&c->moved, &c->lock);
	mutex_unlock(&c->lock);
}

void fake_change_wait_ahead(struct fake_change *c, unsigned n)
{
	mutex_lock(&c->lock);
	while (c->counts.sent < n || c->sending)
		cond_wait(&c->moved, &c->lock);
	mutex_unlock(&c->lock);
}

void fake_change_ahead_fails(struct fake_change *c, unsigned begins, unsigned sends)
{
	mutex_lock(&c->lock);
	c->begins_fail = begins;
	c->sends_fail = sends;
	mutex_unlock(&c->lock);
}

void fake_change_wait_dropped(struct fake_change *c, unsigned n)
{
	mutex_lock(&c->lock);
	while (c->counts.dropped < n)
		cond_wait(&c->moved, &c->lock);
	mutex_unlock(&c->lock);
}

/* The part that was sent ahead and holds; NULL: it has to be read. */
static const uint8_t *part_ahead(const struct vmofs_store *st, uint64_t i)
{
	return st->ahead && i < st->n_ahead && st->ahead_holds[i] ? ahead_of(st->ahead)->parts[i]
								  : NULL;
}

int fake_ahead_read(struct vmofs_store *st, const struct vmofs_changed *range, uint8_t *out,
		    uint64_t *up)
{
	uint64_t end = range->off + range->len, off = range->off;
	uint64_t part = st->ahead ? st->ahead->part : UINT64_MAX;
	int r = 0;

	while (r == 0 && off < end) {
		uint64_t i = off / part,
			 n = MIN(end, part == UINT64_MAX ? end : (i + 1) * part) - off;
		const uint8_t *have = part_ahead(st, i);

		if (have)
			memcpy(out + off, have + off % part, n);
		else
			r = st->read(st, off, out + off, n);
		*up += have ? 0 : n;
		off += n;
	}
	return r;
}

void fake_ahead_take(struct fake_change *c, struct vmofs_store *st)
{
	if (!st->ahead)
		return;
	assert(!st->base.exists && !strcmp(ahead_of(st->ahead)->key, st->key));
	mutex_lock(&c->lock);
	assert(!ahead_of(st->ahead)->sending);
	c->counts.used++;
	mutex_unlock(&c->lock);
	ahead_free(ahead_of(st->ahead));
}

void fake_ahead_use(struct vmofs_store *st)
{
	if (!st->ahead)
		return;
	memcpy(st->attempt, ahead_of(st->ahead)->attempt, sizeof st->attempt);
	st->ahead_used = true;
}
