/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that change: each is one record. The origin is only asked, and only where what it has is to count from now on and is not known
 * well enough. Blocks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "cow/cow_private.h"

/* ---- asking the origin ---- */

struct asking {
	struct vmofs_query q;
	struct mutex lock;
	struct cond ended;
	struct vmofs_version *out;
	struct vmofs_change_attr *attr;
	bool done; /* lock: lock */
	int code;
	char msg[256];
};

static bool asking_entries(struct vmofs_query *q, const struct vmofs_entry *v, unsigned n)
{
	struct asking *a = container_of(q, struct asking, q);

	for (unsigned i = 0; i < n; i++) {
		if (v[i].type != VMOFS_ENTRY_FILE || strcmp(v[i].key, q->key))
			continue;
		a->out->exists = true;
		a->out->size = v[i].size;
		a->out->mtime = v[i].mtime;
		snprintf(a->out->validator, sizeof a->out->validator, "%s", v[i].validator);
		if (!a->attr)
			continue;
		a->attr->has = v[i].has & ~(unsigned)VMOFS_HAS_TARGET;
		a->attr->mode = v[i].mode;
		a->attr->uid = v[i].uid;
		a->attr->gid = v[i].gid;
	}
	return true;
}

static void asking_done(struct vmofs_query *q, const struct vmofs_query_result *result)
{
	struct asking *a = container_of(q, struct asking, q);

	mutex_lock(&a->lock);
	a->code = result->code;
	snprintf(a->msg, sizeof a->msg, "%s", result->msg);
	a->done = true;
	cond_signal(&a->ended);
	mutex_unlock(&a->lock);
}

int cow_ask_origin(struct cow *c, const char *key, struct vmofs_version *out,
		   struct vmofs_change_attr *attr, const struct vmofs_change_wait *wait,
		   struct vmofs_err *err)
{
	struct asking a = {
		.q = { .kind = VMOFS_QUERY_HEAD,
		       .key = key,
		       .deadline_ns = wait->deadline_ns,
		       .entries = asking_entries,
		       .done = asking_done },
		.out = out,
		.attr = attr,
	};

	*out = (struct vmofs_version){ 0 };
	vmofs_list_init(&a.q.link);
	mutex_init(&a.lock, LOCK_RANK_SOURCE);
	cond_init(&a.ended);
	c->lower->ops->query(c->lower, &a.q);
	mutex_lock(&a.lock);
	while (!a.done)
		cond_wait(&a.ended, &a.lock);
	mutex_unlock(&a.lock);
	cond_destroy(&a.ended);
	mutex_destroy(&a.lock);
	return a.code < 0 ? vmofs_err_set(err, a.code, "cannot ask for '%s': %s", key, a.msg) : 0;
}

int cow_pin_origin(struct cow *c, const char *key, struct vmofs_version *v,
		   struct vmofs_change_attr *attr, const struct vmofs_change_wait *wait,
		   struct vmofs_err *err)
{
	struct vmofs_version now;
	int r;

	if (v->validator[0] && !c->p.metadata)
		return 0;
	r = cow_ask_origin(c, key, &now, attr, wait, err);
	if (r < 0)
		return r;
	if (!now.exists || (v->size != now.size && v->size != VMOFS_SIZE_UNKNOWN) ||
	    (v->validator[0] && strcmp(v->validator, now.validator)))
		return vmofs_err_set(err, -ESTALE, "'%s' has changed at the origin", key);
	*v = now;
	return 0;
}

/* ---- what is known ---- */

void cow_look(struct cow *c, const char *key, struct cow_known *out)
{
	struct cow_entry *e;

	*out = (struct cow_known){ 0 };
	mutex_lock(&c->lock);
	e = cow_find_locked(c, key, strlen(key));
	out->known = e;
	out->covered = !e && cow_is_covered_locked(c, key);
	if (e) {
		out->kind = e->kind;
		out->over = e->over;
		out->attr = e->attr;
		vmofs_xattrs_get(e->attr.xattrs);
		cow_entry_version(e, &out->version);
		out->map = e->map ? cow_map_get_locked(e->map) : NULL;
		memcpy(out->attempt, e->attempt, sizeof out->attempt);
		out->target = e->kind == COW_LINK ? strdup(e->target) : NULL;
	}
	mutex_unlock(&c->lock);
}

void cow_known_release(struct cow_known *k)
{
	cow_map_put(k->map);
	vmofs_xattrs_put(k->attr.xattrs);
	free(k->target);
}

bool cow_is_expected(const struct cow_known *k, const struct vmofs_version *expect)
{
	bool exists = k->known ? k->version.exists : expect->exists && !k->covered;

	if (!expect->exists || !exists)
		return expect->exists == exists;
	return !k->known || !expect->validator[0] ||
		!strcmp(expect->validator, k->version.validator);
}

uint64_t cow_new_number(struct cow *c)
{
	uint64_t n;

	mutex_lock(&c->lock);
	n = c->next_number++;
	mutex_unlock(&c->lock);
	return n;
}

void cow_add_attr(struct vmofs_change_attr *a, const struct vmofs_change_attr *more)
{
	if (more) {
		a->mode = more->has & VMOFS_HAS_MODE ? more->mode & 07777 : a->mode;
		a->uid = more->has & VMOFS_HAS_UID ? more->uid : a->uid;
		a->gid = more->has & VMOFS_HAS_GID ? more->gid : a->gid;
		a->has |= more->has & (VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID);
	}
	if (more && more->xattrs)
		a->xattrs = more->xattrs;
	if (more && more->mtime.tv_sec)
		a->mtime = more->mtime;
	else
		clock_gettime(CLOCK_REALTIME, &a->mtime);
}

static struct cow_text text(const char *s)
{
	return (struct cow_text){ s, (uint32_t)strlen(s) };
}

/* A record without contents. */
static int add(struct cow *c, const struct cow_rec *r, struct vmofs_err *err)
{
	struct cow_entry *e = cow_entry_new(r);
	int s = e ? cow_names_add(c, e, NULL, NULL, 0) : -ENOMEM;

	return s < 0 ? vmofs_err_set(err, s, "cannot write to '%s': %s", c->dir, strerror(-s)) : 0;
}

static int stale(const char *key, struct vmofs_err *err)
{
	return vmofs_err_set(err, -ESTALE, "'%s' is another version than expected", key);
}

/* ---- removing ---- */

/* What the origin has there must not come back; what it never had leaves nothing behind. */
static int forget(struct cow *c, const char *key, const struct cow_known *k, struct vmofs_err *err)
{
	struct cow_rec r = {
		.kind = !k->known || k->over ? COW_GONE : COW_FORGET,
		.over = true,
		.key = text(key),
		.number = cow_new_number(c),
	};

	return add(c, &r, err);
}

static int change_remove(struct vmofs_source *src, const char *key,
			 const struct vmofs_version *expect,
			 const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	struct cow *c = cow_of(src);
	struct cow_known k;
	int r;

	cow_look(c, key, &k);
	if (expect && !cow_is_expected(&k, expect))
		r = k.known && k.kind == COW_GONE ? -ENOENT : stale(key, err);
	else if (k.covered || (k.known && k.kind == COW_GONE))
		r = 0;
	else
		r = forget(c, key, &k, err);
	cow_known_release(&k);
	return r;
}

/* ---- making ---- */

static int make(struct cow *c, struct cow_rec *r, const char *key,
		const struct vmofs_change_attr *attr, struct vmofs_err *err)
{
	struct cow_known k;
	bool there;

	cow_look(c, key, &k);
	there = k.known && k.kind != COW_GONE;
	r->over = k.over;
	cow_known_release(&k);
	if (there)
		return vmofs_err_set(err, -ESTALE, "'%s' is there already", key);
	r->key = text(key);
	r->number = cow_new_number(c);
	cow_add_attr(&r->attr, attr);
	return add(c, r, err);
}

static int change_make_dir(struct vmofs_source *src, const char *key,
			   const struct vmofs_change_attr *attr,
			   const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	struct cow_rec r = { .kind = COW_DIR };

	return make(cow_of(src), &r, key, attr, err);
}

static int change_make_link(struct vmofs_source *src, const char *key, const char *target,
			    const struct vmofs_change_attr *attr, struct vmofs_version *now,
			    const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	struct cow *c = cow_of(src);
	struct cow_rec r = { .kind = COW_LINK, .target = text(target) };
	struct cow_known k;
	int s;

	if (!r.target.len || r.target.len >= VMOFS_KEY_MAX)
		return vmofs_err_set(err, -ENAMETOOLONG, "the target of '%s' is too long", key);
	s = make(c, &r, key, attr, err);
	if (s < 0)
		return s;
	cow_look(c, key, &k);
	*now = k.version;
	cow_known_release(&k);
	return 0;
}

/* ---- one version under another name, or with other attributes ---- */

/* The map of a file as it is at @from: the known one, or all of the origin's. */
static int map_of(struct cow *c, const char *from, struct cow_known *k,
		  const struct vmofs_version *expect, const struct vmofs_change_wait *wait,
		  struct vmofs_err *err)
{
	struct vmofs_version v = { .exists = true, .size = VMOFS_SIZE_UNKNOWN };
	struct cow_base *b;
	int r;

	if (k->known)
		return 0;
	if (k->covered)
		return vmofs_err_set(err, -ENOENT, "'%s' is not there", from);
	if (expect)
		v = *expect;
	r = cow_pin_origin(c, from, &v, &k->attr, wait, err);
	if (r < 0)
		return r;
	k->attr.mtime = v.mtime;
	b = cow_base_new(c, from, &v);
	if (b)
		k->map = cow_map_new(c, NULL, b, v.size, v.size, NULL, NULL, 0);
	cow_base_put(b);
	k->kind = COW_FILE;
	return k->map ? 0 : -ENOMEM;
}

/* A record of what @k is, at @key. */
static int put_as(struct cow *c, const char *key, bool over, const struct cow_known *k,
		  const struct vmofs_change_attr *attr, struct vmofs_version *now,
		  struct vmofs_err *err)
{
	struct cow_rec r = {
		.kind = k->kind,
		.over = over,
		.attr = *attr,
		.number = cow_new_number(c),
		.key = text(key),
	};
	struct cow_entry *e;
	int s;

	if (k->kind == COW_FILE)
		cow_rec_xattrs(&r, attr->xattrs);
	if (k->kind == COW_LINK)
		r.target = text(k->target);
	e = cow_entry_new(&r);
	if (!e)
		return vmofs_err_set(err, -ENOMEM, "no memory for a name");
	if (k->map) {
		mutex_lock(&c->lock);
		e->map = cow_map_get_locked(k->map);
		mutex_unlock(&c->lock);
	}
	if (k->kind != COW_DIR)
		cow_entry_version(e, now);
	s = cow_names_add(c, e, NULL, NULL, 0);
	return s < 0 ? vmofs_err_set(err, s, "cannot write to '%s': %s", c->dir, strerror(-s)) : 0;
}

static bool can_copy(const struct cow_known *k)
{
	return !k->known || k->kind == COW_FILE || (k->kind == COW_LINK && k->target);
}

static int change_copy(struct vmofs_source *src, const char *from,
		       const struct vmofs_version *expect, const char *to,
		       const struct vmofs_version *to_expect, struct vmofs_version *now,
		       const struct vmofs_change_wait *wait, struct vmofs_err *err)
{
	struct cow *c = cow_of(src);
	struct cow_known k, t;
	int r = 0;

	cow_look(c, from, &k);
	cow_look(c, to, &t);
	if (!can_copy(&k))
		r = vmofs_err_set(err, -ENOENT, "'%s' is not there", from);
	else if ((expect && !cow_is_expected(&k, expect)) ||
		 (to_expect && !cow_is_expected(&t, to_expect)))
		r = stale(expect ? from : to, err);
	if (!r)
		r = map_of(c, from, &k, expect, wait, err);
	if (!r)
		r = put_as(c, to,
			   t.known ? t.over : !t.covered && (!to_expect || to_expect->exists), &k,
			   &k.attr, now, err);
	cow_known_release(&k);
	cow_known_release(&t);
	return r;
}

static int change_set_attr(struct vmofs_source *src, const char *key,
			   const struct vmofs_version *expect, const struct vmofs_change_attr *attr,
			   struct vmofs_version *now, const struct vmofs_change_wait *wait,
			   struct vmofs_err *err)
{
	struct cow *c = cow_of(src);
	struct vmofs_change_attr a;
	struct cow_known k;
	int r = 0;

	cow_look(c, key, &k);
	if (k.known && (k.kind == COW_GONE || (k.kind == COW_LINK && !k.target)))
		r = vmofs_err_set(err, -ENOENT, "'%s' is not there", key);
	else if (expect && !cow_is_expected(&k, expect))
		r = stale(key, err);
	if (!r && key[strlen(key) - 1] == '/' && !k.known)
		r = vmofs_err_set(err, -EOPNOTSUPP, "the directory '%s' has no attributes", key);
	if (!r)
		r = map_of(c, key, &k, expect, wait, err);
	a = k.attr;
	cow_add_attr(&a, attr);
	if (!r)
		r = put_as(c, key, k.known ? k.over : true, &k, &a, now, err);
	cow_known_release(&k);
	return r;
}

/* ---- what became of a store ---- */

static int change_attempted(struct vmofs_source *src, const char *key, const char *attempt,
			    struct vmofs_version *now, const struct vmofs_change_wait *wait,
			    struct vmofs_err *err)
{
	struct cow *c = cow_of(src);
	struct cow_known k;
	int r = cow_names_settle(c);
	bool ours;

	if (r < 0)
		return vmofs_err_set(err, r, "cannot write to '%s': %s", c->dir, strerror(-r));
	cow_look(c, key, &k);
	ours = k.known && k.attempt[0] && !strcmp(k.attempt, attempt);
	*now = k.version;
	if (!k.known && !k.covered)
		r = cow_ask_origin(c, key, now, NULL, wait, err);
	cow_known_release(&k);
	return r < 0 ? r : ours;
}

/* ---- extended attributes ---- */

static int lower_xattrs(struct cow *c, const char *key, struct vmofs_xattrs **out,
			const struct vmofs_change_wait *wait, struct vmofs_err *err)
{
	const struct vmofs_change_ops *ops = c->lower->ops->change;

	if (ops && ops->get_xattrs)
		return ops->get_xattrs(c->lower, key, out, wait, err);
	*out = vmofs_xattrs_get(&vmofs_xattrs_none);
	return 0;
}

static int change_get_xattrs(struct vmofs_source *src, const char *key, struct vmofs_xattrs **out,
			     const struct vmofs_change_wait *wait, struct vmofs_err *err)
{
	struct cow *c = cow_of(src);
	struct cow_known k;
	int r = 0;

	cow_look(c, key, &k);
	if (k.covered || (k.known && k.kind == COW_GONE))
		r = vmofs_err_set(err, -ENOENT, "'%s' is not there", key);
	else if (!k.known)
		r = lower_xattrs(c, key, out, wait, err);
	else if (!k.attr.xattrs && k.map && k.map->base)
		r = lower_xattrs(c, k.map->base->key, out, wait, err);
	else
		*out = vmofs_xattrs_get(k.attr.xattrs ? k.attr.xattrs : &vmofs_xattrs_none);
	cow_known_release(&k);
	return r;
}

/* Whatever a set can be. */
static int change_can_xattrs(struct vmofs_source *src UNUSED, const struct vmofs_xattrs *x UNUSED,
			     struct vmofs_err *err UNUSED)
{
	return 0;
}

const struct vmofs_change_ops cow_change_ops = {
	.store = cow_store,
	.attempted = change_attempted,
	.remove = change_remove,
	.copy = change_copy,
	.make_dir = change_make_dir,
	.set_attr = change_set_attr,
	.make_link = change_make_link,
	.get_xattrs = change_get_xattrs,
	.can_xattrs = change_can_xattrs,
};
