/* SPDX-License-Identifier: Apache-2.0 */
/* Versions are counted and never freed before the origin is: who has an old one may read it as long as nobody has put another. */
#include "lib/fake_change_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"

#define GATE_LOOK_NS (10 * NSEC_PER_MSEC)

/* ---- objects ---- */

static struct object *find_locked(struct fake_change *c, const char *key)
{
	for (unsigned i = 0; i < c->n; i++)
		if (!strcmp(c->objects[i].key, key))
			return &c->objects[i];
	assert(c->n < KEYS_MAX);
	snprintf(c->objects[c->n].key, sizeof c->objects[c->n].key, "%s", key);
	return &c->objects[c->n++];
}

static void tag(uint64_t version, char out[512])
{
	snprintf(out, 512, "\"%llu\"", (unsigned long long)version);
}

static void version_locked(const struct object *o, struct vmofs_version *out)
{
	*out = (struct vmofs_version){ .exists = o->data != NULL };
	if (!o->data)
		return;
	out->size = o->len;
	out->mtime.tv_sec = 1000 + (time_t)o->version;
	tag(o->version, out->validator);
}

static bool agrees_locked(const struct object *o, const struct vmofs_version *v)
{
	struct vmofs_version now;

	version_locked(o, &now);
	if (now.exists != v->exists)
		return false;
	return !now.exists || !v->validator[0] || !strcmp(now.validator, v->validator);
}

/* Takes @data. */
static void put_locked(struct fake_change *c, struct object *o, uint8_t *data, uint64_t len,
		       const char *attempt)
{
	free(o->data);
	o->data = data;
	o->len = len;
	o->version = ++c->versions;
	snprintf(o->attempt, sizeof o->attempt, "%s", attempt);
}

void fake_change_put(struct fake_change *c, const char *key, const void *data, uint64_t len)
{
	uint8_t *copy = malloc(len + 1);

	assert(copy);
	memcpy(copy, data, len);
	mutex_lock(&c->lock);
	put_locked(c, find_locked(c, key), copy, len, "");
	mutex_unlock(&c->lock);
}

void fake_change_remove(struct fake_change *c, const char *key)
{
	mutex_lock(&c->lock);
	put_locked(c, find_locked(c, key), NULL, 0, "");
	mutex_unlock(&c->lock);
}

bool fake_change_has(struct fake_change *c, const char *key, const void *data, uint64_t len)
{
	struct object *o;
	bool same;

	mutex_lock(&c->lock);
	o = find_locked(c, key);
	same = o->data && o->len == len && !memcmp(o->data, data, len);
	mutex_unlock(&c->lock);
	return same;
}

void fake_change_version(struct fake_change *c, const char *key, struct vmofs_version *out)
{
	mutex_lock(&c->lock);
	version_locked(find_locked(c, key), out);
	mutex_unlock(&c->lock);
}

/* ---- what goes wrong ---- */

void fake_change_trouble(struct fake_change *c, enum fake_change_trouble what, int code,
			 unsigned times, bool ask)
{
	mutex_lock(&c->lock);
	c->trouble = what;
	c->code = code;
	c->times = times;
	c->deaf = ask;
	c->struck = !times;
	mutex_unlock(&c->lock);
}

void fake_change_asker(struct fake_change *c, bool (*dead)(void))
{
	mutex_lock(&c->lock);
	c->dead = dead;
	mutex_unlock(&c->lock);
}

static bool is_dead_locked(const struct fake_change *c)
{
	return c->dead && c->dead();
}

void fake_change_gate(struct fake_change *c, bool closed)
{
	mutex_lock(&c->lock);
	c->gate = closed;
	cond_broadcast(&c->moved);
	mutex_unlock(&c->lock);
}

void fake_change_wait_gate(struct fake_change *c, unsigned n)
{
	mutex_lock(&c->lock);
	while (c->at_gate < n)
		cond_wait(&c->moved, &c->lock);
	mutex_unlock(&c->lock);
}

void fake_change_counts(struct fake_change *c, struct fake_change_counts *out)
{
	mutex_lock(&c->lock);
	*out = c->counts;
	mutex_unlock(&c->lock);
}

/* ---- changing ---- */

static struct fake_change *of(struct vmofs_source *s)
{
	return container_of(s, struct fake_change, base);
}

/* What the rules of <vmofs/change.h> say about the ranges. */
static void check_ranges(const struct vmofs_store *st)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < st->n_changed; i++) {
		const struct vmofs_changed *r = &st->changed[i];

		assert(r->len && r->off % VMOFS_PAGE_SIZE == 0);
		assert(i == 0 || r->off > end);
		end = r->off + r->len;
		assert(end <= st->size && (end % VMOFS_PAGE_SIZE == 0 || end == st->size));
	}
	if (st->size > st->base.size)
		assert(end == st->size);
}

/* The contents that come; all beyond the base has to be among what was changed. */
static int assemble(struct fake_change *c, struct vmofs_store *st, uint8_t *out, uint64_t *up)
{
	uint64_t kept = st->base.exists ? MIN(st->size, st->base.size) : 0;
	int r = 0;

	memset(out, 0xEE, st->size);
	mutex_lock(&c->lock);
	if (agrees_locked(find_locked(c, st->key), &st->base) && kept)
		memcpy(out, find_locked(c, st->key)->data, kept);
	mutex_unlock(&c->lock);
	for (unsigned i = 0; r == 0 && i < st->n_changed; i++) {
		assert(st->take(st, st->changed[i].len) || i);
		r = fake_ahead_read(st, &st->changed[i], out, up);
		st->give(st, st->changed[i].len);
		if (st->progress)
			st->progress(st, st->changed[i].len, 0);
	}
	return r;
}

static enum fake_change_trouble next_trouble(struct fake_change *c, int *code)
{
	enum fake_change_trouble what = FAKE_CHANGE_NONE;

	mutex_lock(&c->lock);
	c->counts.tries++;
	if (c->times) {
		c->times--;
		c->struck = true;
		what = c->trouble;
		*code = c->code;
	}
	mutex_unlock(&c->lock);
	return what;
}

static int pass_gate(struct fake_change *c, const struct vmofs_change_wait *wait)
{
	bool off;

	mutex_lock(&c->lock);
	c->at_gate++;
	cond_broadcast(&c->moved);
	while (c->gate && !(wait->cancel && atomic_load(wait->cancel)))
		cond_wait_until(&c->moved, &c->lock, loop_now_ns() + GATE_LOOK_NS);
	c->at_gate--;
	off = c->gate;
	mutex_unlock(&c->lock);
	return off ? -EINTR : 0;
}

/* Takes @data. 0 or -ESTALE. */
static int replace(struct fake_change *c, struct vmofs_store *st, uint8_t *data, uint64_t up)
{
	struct object *o;
	int r = -ESTALE;

	mutex_lock(&c->lock);
	o = find_locked(c, st->key);
	if (is_dead_locked(c)) {
		r = -EIO;
	} else if (agrees_locked(o, &st->base)) {
		put_locked(c, o, steal_ptr(&data), st->size, st->attempt);
		version_locked(o, &st->now);
		c->counts.stores++;
		c->counts.bytes_up += up;
		r = 0;
	}
	mutex_unlock(&c->lock);
	free(data);
	return r;
}

/* Takes @data. */
static void send_late(struct fake_change *c, const struct vmofs_store *st, uint8_t *data)
{
	mutex_lock(&c->lock);
	free(c->late.data);
	snprintf(c->late.key, sizeof c->late.key, "%s", st->key);
	snprintf(c->late.attempt, sizeof c->late.attempt, "%s", st->attempt);
	c->late.data = data;
	c->late.len = st->size;
	c->late_base = st->base;
	mutex_unlock(&c->lock);
}

bool fake_change_arrive(struct fake_change *c)
{
	struct object *o;
	bool ok;

	mutex_lock(&c->lock);
	assert(c->late.data);
	o = find_locked(c, c->late.key);
	ok = agrees_locked(o, &c->late_base);
	if (ok)
		put_locked(c, o, steal_ptr(&c->late.data), c->late.len, c->late.attempt);
	free(steal_ptr(&c->late.data));
	mutex_unlock(&c->lock);
	return ok;
}

static int fake_store(struct vmofs_source *s, struct vmofs_store *st, struct vmofs_err *err)
{
	struct fake_change *c = of(s);
	int code = 0;
	enum fake_change_trouble what = next_trouble(c, &code);
	uint8_t *data;
	uint64_t up = 0;
	int r;

	check_ranges(st);
	if (what == FAKE_CHANGE_REFUSED) {
		fake_ahead_take(c, st);
		return vmofs_err_set(err, code, "the origin refuses");
	}
	data = malloc(st->size + 1);
	assert(data);
	fake_ahead_use(st);
	r = assemble(c, st, data, &up);
	fake_ahead_take(c, st);
	if (!r)
		r = pass_gate(c, &st->wait);
	if (!r)
		r = st->commit(st);
	if (r == 0 && what == FAKE_CHANGE_LATE)
		send_late(c, st, steal_ptr(&data));
	if (r < 0 || what == FAKE_CHANGE_LOST || what == FAKE_CHANGE_LATE) {
		free(data);
		return vmofs_err_set(err, r < 0 ? r : code, "the origin does not answer");
	}
	r = replace(c, st, data, up);
	st->requests = 1;
	st->bytes_up = up;
	if (!r && what == FAKE_CHANGE_UNHEARD)
		return vmofs_err_set(err, code, "the origin's answer was lost");
	return r < 0 ? vmofs_err_set(err, r, "another version is there") : 0;
}

static int fake_attempted(struct vmofs_source *s, const char *key, const char *attempt,
			  struct vmofs_version *now, const struct vmofs_change_wait *wait UNUSED,
			  struct vmofs_err *err)
{
	struct fake_change *c = of(s);
	struct object *o;
	int r;

	mutex_lock(&c->lock);
	o = find_locked(c, key);
	c->counts.asked++;
	version_locked(o, now);
	r = is_dead_locked(c) || (c->deaf && c->struck) ? -ETIMEDOUT
							: o->data && !strcmp(o->attempt, attempt);
	mutex_unlock(&c->lock);
	return r < 0 ? vmofs_err_set(err, r, "the origin does not answer") : r;
}

static int fake_remove(struct vmofs_source *s, const char *key, const struct vmofs_version *expect,
		       const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	struct fake_change *c = of(s);
	struct object *o;
	int r = 0;

	mutex_lock(&c->lock);
	o = find_locked(c, key);
	if (is_dead_locked(c))
		r = -EIO;
	else if (!o->data)
		r = -ENOENT;
	else if (expect && !agrees_locked(o, expect))
		r = -ESTALE;
	else
		put_locked(c, o, NULL, 0, "");
	mutex_unlock(&c->lock);
	return r < 0 ? vmofs_err_set(err, r, "it cannot be removed") : 0;
}

static const struct vmofs_change_ops change_ops = {
	.store = fake_store,
	.attempted = fake_attempted,
	.remove = fake_remove,
};

/* ---- reading ---- */

struct reader {
	struct vmofs_provider base; /* first */
	struct fake_change *origin;
	char key[256];
	uint64_t version;
	struct mutex lock;
	struct vmofs_list queue; /* lock: lock */
	bool posted;             /* lock: lock */
	unsigned refs;           /* lock: lock; the owner's, and the task's while it is posted */
	struct worker_task task;
};

static void reader_put(struct reader *r)
{
	bool last;

	mutex_lock(&r->lock);
	last = --r->refs == 0;
	mutex_unlock(&r->lock);
	if (!last)
		return;
	mutex_destroy(&r->lock);
	free(r);
}

static void answer(struct reader *r, struct vmo *v, uint64_t off, uint64_t len)
{
	struct fake_change *c = r->origin;
	struct object *o;
	uint8_t *copy = NULL;
	uint64_t n = 0;

	mutex_lock(&c->lock);
	o = find_locked(c, r->key);
	if (o->data && o->version == r->version && off < o->len) {
		n = MIN(len, o->len - off);
		copy = malloc(n);
		assert(copy);
		memcpy(copy, o->data + off, n);
	}
	mutex_unlock(&c->lock);
	if (copy)
		vmofs_supply(v, off, copy, n);
	else
		vmofs_fail(v, off, len, -ESTALE, VMOFS_TYPE_BIT(VMOFS_REQUEST_READ));
	free(copy);
}

static bool next_request(struct reader *r, struct vmo **v, uint64_t *off, uint64_t *len)
{
	struct vmofs_request *req;

	mutex_lock(&r->lock);
	req = vmofs_list_first(&r->queue, struct vmofs_request, link);
	if (req) {
		vmofs_list_del(&req->link);
		*v = vmofs_vmo_get(req->vmo);
		*off = req->off;
		*len = req->len;
	}
	r->posted = req != NULL;
	mutex_unlock(&r->lock);
	return req != NULL;
}

static void reader_run(struct worker_task *t)
{
	struct reader *r = container_of(t, struct reader, task);
	struct vmo *v;
	uint64_t off, len;

	while (next_request(r, &v, &off, &len)) {
		answer(r, v, off, len);
		vmofs_vmo_put(v);
	}
	reader_put(r);
}

static void reader_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct reader *r = container_of(p, struct reader, base);

	mutex_lock(&r->lock);
	vmofs_list_add_tail(&r->queue, &req->link);
	if (!r->posted) {
		r->posted = true;
		r->refs++;
		if (worker_post(r->origin->worker, &r->task) < 0)
			abort();
	}
	mutex_unlock(&r->lock);
}

static void reader_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct reader *r = container_of(p, struct reader, base);

	mutex_lock(&r->lock);
	vmofs_list_del(&req->link);
	mutex_unlock(&r->lock);
}

static void reader_swap(struct vmofs_provider *p, struct vmofs_request *old,
			struct vmofs_request *now)
{
	struct reader *r = container_of(p, struct reader, base);

	mutex_lock(&r->lock);
	if (!vmofs_list_empty(&old->link)) {
		vmofs_list_del(&old->link);
		vmofs_list_add_tail(&r->queue, &now->link);
	}
	mutex_unlock(&r->lock);
}

static void reader_nothing(struct vmofs_provider *p UNUSED)
{
}

static void reader_stats(struct vmofs_provider *p UNUSED, struct vmofs_provider_stats *out)
{
	*out = (struct vmofs_provider_stats){ 0 };
}

static void reader_dump(struct vmofs_provider *p UNUSED, FILE *out, unsigned depth,
			unsigned max_items UNUSED)
{
	fprintf(out, "%*sfake\n", (int)depth * 2, "");
}

static uint64_t reader_koid(struct vmofs_provider *p)
{
	return (uint64_t)(uintptr_t)p;
}

static void reader_free(struct vmofs_provider *p)
{
	reader_put(container_of(p, struct reader, base));
}

static const struct vmofs_provider_ops reader_ops = {
	.name = "fake-change",
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.send = reader_send,
	.clear = reader_clear,
	.swap = reader_swap,
	.on_detach = reader_nothing,
	.on_close = reader_nothing,
	.stats = reader_stats,
	.dump = reader_dump,
	.koid = reader_koid,
	.free = reader_free,
};

static int fake_object(struct vmofs_source *s, const struct vmofs_entry *e,
		       struct vmofs_provider **out, struct vmofs_object_info *info,
		       struct vmofs_err *err UNUSED)
{
	struct reader *r = calloc(1, sizeof *r);

	if (!r)
		return -ENOMEM;
	r->base.ops = &reader_ops;
	r->origin = of(s);
	snprintf(r->key, sizeof r->key, "%s", e->key);
	r->version = strtoull(e->validator + 1, NULL, 10);
	mutex_init(&r->lock, LOCK_RANK_PROVIDER);
	vmofs_list_init(&r->queue);
	r->refs = 1;
	r->task.run = reader_run;
	*info = (struct vmofs_object_info){ .size = e->size, .mtime = e->mtime };
	snprintf(info->name, sizeof info->name, "object");
	snprintf(info->url, sizeof info->url, "fake:%s", e->key);
	snprintf(info->validator, sizeof info->validator, "%s", e->validator);
	*out = &r->base;
	return 0;
}

/* ---- life ---- */

struct fake_change *fake_change_new(void)
{
	struct fake_change *c = calloc(1, sizeof *c);

	assert(c);
	c->ops = (struct vmofs_source_ops){ .object = fake_object, .change = &c->change };
	c->change = change_ops;
	c->base.ops = &c->ops;
	c->worker = worker_new("fake-change");
	assert(c->worker);
	/* Stores call back into what has locks of its own, without this one. */
	mutex_init(&c->lock, LOCK_RANK_SOURCE);
	cond_init(&c->moved);
	return c;
}

void fake_change_free(struct fake_change *c)
{
	worker_free(c->worker);
	for (unsigned i = 0; i < c->n; i++)
		free(c->objects[i].data);
	free(c->late.data);
	cond_destroy(&c->moved);
	mutex_destroy(&c->lock);
	free(c);
}

struct vmofs_source *fake_change_source(struct fake_change *c)
{
	return &c->base;
}
