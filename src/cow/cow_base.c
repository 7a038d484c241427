/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The origin's version below files that were changed here: a VMO of its own over the lower source's provider, with the disk
 * cache's tier, so that what is read of it is shared with every mount of the origin. Reads of changed files copy from it; its
 * pages go as soon as they have been copied. It is there while such a file is open.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "cow/cow_private.h"
#include "vm/disk_tier.h"

/* Of a single object there is one version that can be read. */
static bool is_single(const struct cow *c, const char *key, const struct vmofs_version *v)
{
	const struct cow_base *b = c->single;

	return b && !strcmp(b->key, key) && b->version.size == v->size &&
		!strcmp(b->version.validator, v->validator);
}

struct cow_base *cow_base_new(struct cow *c, const char *key, const struct vmofs_version *v)
{
	size_t n = strlen(key) + 1;
	struct cow_base *b;

	if (is_single(c, key, v))
		return cow_base_get(c->single);
	b = calloc(1, sizeof *b + n);
	if (!b)
		return NULL;
	b->refs = 1;
	b->c = c;
	b->version = *v;
	memcpy(b->key, key, n);
	mutex_init(&b->lock, LOCK_RANK_COW_BASE);
	mutex_lock(&c->lock);
	vmofs_list_add(&c->bases, &b->link);
	mutex_unlock(&c->lock);
	return b;
}

struct cow_base *cow_base_get(struct cow_base *b)
{
	atomic_fetch_add(&b->refs, 1);
	return b;
}

struct cow_base *cow_base_try_get(struct cow_base *b)
{
	unsigned n = atomic_load(&b->refs);

	while (n && !atomic_compare_exchange_weak(&b->refs, &n, n + 1))
		continue;
	return n ? b : NULL;
}

struct contents {
	struct vmofs_provider *provider;
	struct vmo *vmo;
	struct disk_tier *tier;
};

static struct contents take_locked(struct cow_base *b) REQUIRES(b->lock)
{
	struct contents t = { b->provider, b->vmo, b->tier };

	b->provider = NULL;
	b->vmo = NULL;
	b->tier = NULL;
	return t;
}

static void let_go(const struct contents *t)
{
	if (t->vmo)
		vmo_close(t->vmo);
	disk_tier_put(t->tier);
	vmo_put(t->vmo);
	if (t->provider)
		t->provider->ops->free(t->provider);
}

void cow_base_put(struct cow_base *b)
{
	struct contents t;

	if (!b || atomic_fetch_sub(&b->refs, 1) > 1)
		return;
	mutex_lock(&b->c->lock);
	vmofs_list_del(&b->link);
	mutex_unlock(&b->c->lock);
	mutex_lock(&b->lock);
	t = take_locked(b);
	mutex_unlock(&b->lock);
	let_go(&t);
	mutex_destroy(&b->lock);
	free(b->info);
	free(b);
}

void cow_base_use(struct cow_base *b)
{
	mutex_lock(&b->lock);
	b->users++;
	mutex_unlock(&b->lock);
}

void cow_base_unuse(struct cow_base *b)
{
	struct contents t = { 0 };

	mutex_lock(&b->lock);
	if (!--b->users && !b->stays)
		t = take_locked(b);
	mutex_unlock(&b->lock);
	let_go(&t);
}

void cow_base_tell(struct cow_base *b, int code, const char *why)
{
	if (atomic_exchange(&b->told, true))
		return;
	if (code == -ESTALE || code == -ENOENT)
		log_warn(
			"'%s' has changed at the origin since it was changed here: what is not kept here of the "
			"version from before cannot be read any more",
			b->key);
	else
		log_warn("'%s' cannot be read from the origin: %s", b->key, why);
}

/* ---- its contents ---- */

static int open_provider(struct cow_base *b, struct vmofs_object_info *info)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_entry e = {
		.type = VMOFS_ENTRY_FILE,
		.key = b->key,
		.key_len = strlen(b->key),
		.size = b->version.size,
		.mtime = b->version.mtime,
		.validator = b->version.validator,
		.target = "",
	};
	struct vmofs_source *s = b->c->lower;
	int r = s->ops->object(s, &e, &b->provider, info, &err);

	if (r < 0)
		cow_base_tell(b, r, err.code ? err.msg : strerror(-r));
	return r;
}

static void use_disk(struct cow_base *b, const struct vmofs_object_info *info) REQUIRES(b->lock)
{
	const struct cache_key key = {
		.url = info->url,
		.validator = info->validator,
		.size = info->size,
		.identity = info->has_identity ? info->identity : NULL,
	};

	if (!b->c->p.disk || info->weak || !info->validator[0] || !info->size)
		return;
	if (disk_tier_new(&b->tier, b->c->p.disk, b->vmo, &key) < 0)
		b->tier = NULL;
}

static int make_locked(struct cow_base *b) REQUIRES(b->lock)
{
	struct vmofs_object_info *info = calloc(1, sizeof *info);
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = info ? 0 : -ENOMEM;

	if (!r && b->info)
		*info = *b->info;
	if (!r && !b->provider)
		r = open_provider(b, info);
	if (!r)
		r = vmo_new(&b->vmo, b->c->p.pool, b->provider, b->version.size, 0, &err);
	if (!r) {
		vmo_set_name(b->vmo, b->key);
		use_disk(b, info);
	}
	free(info);
	return r;
}

int cow_base_vmo(struct cow_base *b, struct vmo **out)
{
	bool stopped;
	int r = 0;

	mutex_lock(&b->lock);
	mutex_lock(&b->c->lock);
	stopped = b->c->stopped;
	mutex_unlock(&b->c->lock);
	if (stopped)
		r = -ESHUTDOWN;
	else if (!b->vmo)
		r = make_locked(b);
	if (!r)
		*out = vmo_get(b->vmo);
	mutex_unlock(&b->lock);
	return r;
}

void cow_base_stop(struct cow_base *b)
{
	struct vmo *v;

	mutex_lock(&b->lock);
	v = b->vmo ? vmo_get(b->vmo) : NULL;
	b->users++; /* so that the provider stays meanwhile */
	mutex_unlock(&b->lock);
	if (v)
		vmo_close(v);
	vmo_put(v);
	cow_base_unuse(b);
}
