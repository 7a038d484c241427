/* SPDX-License-Identifier: Apache-2.0 */
/* All that is not as the origin has it, by key, in memory: so that no question has to wait for the disk. cow.lock. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cow/cow_private.h"

/* ---- finding ---- */

static int compare(const char *key, size_t len, const struct cow_entry *e)
{
	int r = memcmp(key, e->key, MIN(len, e->key_len));

	return r ? r : (len > e->key_len) - (len < e->key_len);
}

struct cow_entry *cow_find_locked(struct cow *c, const char *key, size_t len)
{
	struct cow_entry *e = cow_from_locked(c, key, len);

	return e && !compare(key, len, e) ? e : NULL;
}

struct cow_entry *cow_from_locked(struct cow *c, const char *key, size_t len)
{
	struct rb_node *n = c->entries.root;
	struct cow_entry *found = NULL;

	while (n) {
		struct cow_entry *e = container_of(n, struct cow_entry, node);
		int r = compare(key, len, e);

		if (r <= 0)
			found = e;
		if (!r)
			break;
		n = n->child[r > 0];
	}
	return found;
}

struct cow_entry *cow_next(const struct cow_entry *e)
{
	struct rb_node *n = rb_next(&e->node);

	return n ? container_of(n, struct cow_entry, node) : NULL;
}

bool cow_is_covered_locked(struct cow *c, const char *key)
{
	/* The directories above it, not itself. */
	for (const char *slash = strchr(key, '/'); slash && slash[1];
	     slash = strchr(slash + 1, '/')) {
		struct cow_entry *e = cow_find_locked(c, key, (size_t)(slash - key) + 1);

		if (e && (e->kind == COW_DIR || e->kind == COW_GONE))
			return true;
	}
	return false;
}

/* ---- changing ---- */

struct cow_entry *cow_entry_new(const struct cow_rec *r)
{
	size_t key = (size_t)r->key.len + 1;
	struct cow_entry *e = calloc(1, sizeof *e + key + r->target.len + 1);
	struct vmofs_xattrs *x = NULL;

	if (!e)
		return NULL;
	if (r->has_xattrs && vmofs_xattrs_new(&x, r->xattrs.p, r->xattrs.len) < 0) {
		free(e);
		return NULL;
	}
	e->kind = r->kind;
	e->over = r->over;
	e->attr = r->attr;
	e->attr.xattrs = x;
	e->number = r->number;
	e->key_len = r->key.len;
	memcpy(e->key, r->key.p, r->key.len);
	e->target = e->key + key;
	vmofs_list_init(&e->dead);
	if (r->target.len)
		memcpy(e->target, r->target.p, r->target.len);
	if (r->attempt.len)
		memcpy(e->attempt, r->attempt.p, r->attempt.len);
	return e;
}

void cow_entry_free(struct cow_entry *e)
{
	vmofs_xattrs_put(e->attr.xattrs);
	free(e);
}

static void remove_locked(struct cow *c, struct cow_entry *e, struct vmofs_list *dead)
	REQUIRES(c->lock)
{
	rb_erase(&c->entries, &e->node);
	c->n_entries--;
	vmofs_list_add_tail(dead, &e->dead);
}

static void insert_locked(struct cow *c, struct cow_entry *e) REQUIRES(c->lock)
{
	struct rb_node **link = &c->entries.root;
	struct rb_node *parent = NULL;

	while (*link) {
		parent = *link;
		link = &parent->child[compare(e->key, e->key_len,
					      container_of(parent, struct cow_entry, node)) > 0];
	}
	rb_insert(&c->entries, &e->node, parent, link);
	c->n_entries++;
}

static bool is_below(const struct cow_entry *e, const struct cow_entry *dir)
{
	return e->key_len > dir->key_len && !memcmp(e->key, dir->key, dir->key_len);
}

void cow_apply_locked(struct cow *c, struct cow_entry *e, struct vmofs_list *dead)
{
	struct cow_entry *old = cow_find_locked(c, e->key, e->key_len);
	bool dir = e->key[e->key_len - 1] == '/';

	if (old)
		remove_locked(c, old, dead);
	if (dir && (e->kind == COW_GONE || e->kind == COW_FORGET))
		while ((old = cow_from_locked(c, e->key, e->key_len)) && is_below(old, e))
			remove_locked(c, old, dead);
	c->next_number = MAX(c->next_number, e->number + 1);
	if (e->kind == COW_FORGET)
		vmofs_list_add_tail(dead, &e->dead);
	else
		insert_locked(c, e);
}

void cow_put_dead(struct vmofs_list *dead)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, dead) {
		struct cow_entry *e = vmofs_list_entry(pos, struct cow_entry, dead);

		vmofs_list_del(&e->dead);
		cow_map_put(e->map);
		cow_entry_free(e);
	}
}

/* ---- what is told of it ---- */

void cow_rec_xattrs(struct cow_rec *r, const struct vmofs_xattrs *x)
{
	r->has_xattrs = x;
	if (x)
		r->xattrs = (struct cow_text){ (const char *)x->bytes, x->len };
}

void cow_entry_rec(const struct cow_entry *e, struct cow_rec *out)
{
	const struct cow_map *m = e->map;

	*out = (struct cow_rec){
		.kind = e->kind,
		.over = e->over,
		.attr = e->attr,
		.number = e->number,
		.key = { e->key, (uint32_t)e->key_len },
	};
	cow_rec_xattrs(out, e->attr.xattrs);
	if (e->kind == COW_LINK)
		out->target = (struct cow_text){ e->target, (uint32_t)strlen(e->target) };
	if (!m)
		return;
	out->attempt = (struct cow_text){ e->attempt, (uint32_t)strlen(e->attempt) };
	out->size = m->size;
	out->data = m->data ? m->data->id : 0;
	out->has_origin = m->base != NULL;
	if (!m->base)
		return;
	out->kept = m->kept;
	out->origin_key = (struct cow_text){ m->base->key, (uint32_t)strlen(m->base->key) };
	out->origin_validator = (struct cow_text){ m->base->version.validator,
						   (uint32_t)strlen(m->base->version.validator) };
	out->origin_size = m->base->version.size;
	out->origin_mtime = m->base->version.mtime;
}

void cow_entry_validator(const struct cow_entry *e, char out[32])
{
	snprintf(out, 32, "\"cow-%016llx\"", (unsigned long long)e->number);
}

void cow_entry_version(const struct cow_entry *e, struct vmofs_version *out)
{
	*out = (struct vmofs_version){ .exists = e->kind != COW_GONE };
	if (!out->exists)
		return;
	out->size = e->map ? e->map->size : strlen(e->target);
	out->mtime = e->attr.mtime;
	cow_entry_validator(e, out->validator);
}

bool cow_entry_tell(const struct cow_entry *e, struct vmofs_entry *out, char validator[32])
{
	if (e->kind != COW_FILE && e->kind != COW_LINK && e->kind != COW_DIR)
		return false;
	cow_entry_validator(e, validator);
	*out = (struct vmofs_entry){
		.type = e->kind == COW_DIR ? VMOFS_ENTRY_PREFIX : VMOFS_ENTRY_FILE,
		.key = e->key,
		.key_len = e->key_len,
		.size = e->map ? e->map->size : strlen(e->target),
		.mtime = e->attr.mtime,
		.validator = validator,
		.has = e->attr.has,
		.mode = e->attr.mode,
		.uid = e->attr.uid,
		.gid = e->attr.gid,
		.target = "",
	};
	if (e->kind == COW_LINK) {
		out->has |= VMOFS_HAS_TARGET | VMOFS_HAS_MODE;
		out->mode = S_IFLNK | 0777;
		out->target = e->target;
	}
	return true;
}
