/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a shown object and its read-ahead. Any thread; the attributes are in xattr.c. */
#include "fs/object.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fs/stream.h"
#include "vm/disk_tier.h"

/* How a long object is read. */
struct fs_ahead {
	_Atomic unsigned refs;
	struct vmo *vmo; /* counted */
	struct stream_set streams;
};

static int make_text(struct fs_object *o, const struct vmofs_object_info *info)
{
	size_t n_url = strlen(info->url) + 1;
	size_t n_validator = strlen(info->validator) + 1;
	size_t n_identity = info->has_identity ? sizeof info->identity : 0;

	o->text = malloc(n_url + n_validator + n_identity);
	if (!o->text)
		return -ENOMEM;
	memcpy(o->text, info->url, n_url);
	memcpy(o->text + n_url, info->validator, n_validator);
	memcpy(o->text + n_url + n_validator, info->identity, n_identity);
	return 0;
}

/* While the object is there its provider is too. */
static void note_pace(struct fs_object *o)
{
	struct vmofs_pace pace = { 0 };

	if (!o->provider->ops->pace)
		return;
	o->provider->ops->pace(o->provider, &pace);
	stream_set_pace(&o->ahead->streams, &pace);
}

static int make_ahead(struct fs_object *o, struct vmo *vmo, const struct fs_object_params *p)
{
	struct vmofs_pace pace;

	if (o->size <= FS_OBJECT_SMALL)
		return 0;
	o->ahead = malloc(sizeof *o->ahead);
	if (!o->ahead)
		return -ENOMEM;
	o->ahead->refs = 1;
	o->ahead->vmo = vmo_get(vmo);
	pace = (struct vmofs_pace){ .delay_ns = p->delay_ns };
	stream_set_init(&o->ahead->streams, o->size, p->readahead_max, p->keep_behind, &pace);
	note_pace(o);
	return 0;
}

int fs_object_init(struct fs_object *o, const struct vmofs_object_info *info,
		   struct vmofs_provider *provider, struct vmo *vmo,
		   const struct fs_object_params *p)
{
	int r;

	*o = (struct fs_object){
		.provider = provider,
		.size = info->size,
		.mtime = info->mtime,
		.weak = info->weak,
		.has_identity = info->has_identity,
		.local = info->local,
	};
	r = make_text(o, info);
	if (!r)
		r = make_ahead(o, vmo, p);
	if (!r)
		o->vmo = vmo_get(vmo);
	else
		fs_object_release(o);
	return r;
}

struct fs_ahead *fs_ahead_get(struct fs_object *o)
{
	if (o->ahead)
		atomic_fetch_add(&o->ahead->refs, 1);
	return o->ahead;
}

void fs_ahead_put(struct fs_ahead *a)
{
	if (!a || atomic_fetch_sub(&a->refs, 1) > 1)
		return;
	stream_set_release(&a->streams);
	vmo_put(a->vmo);
	free(a);
}

void fs_object_release(struct fs_object *o)
{
	fs_ahead_put(steal_ptr(&o->ahead));
	free(steal_ptr(&o->text));
	if (o->tier)
		vmo_close(o->vmo);
	disk_tier_put(atomic_exchange(&o->tier, NULL));
	vmo_put(steal_ptr(&o->vmo));
}

const char *fs_object_url(const struct fs_object *o)
{
	return o->text;
}

const char *fs_object_validator(const struct fs_object *o)
{
	return o->text + strlen(o->text) + 1;
}

const uint8_t *fs_object_identity(const struct fs_object *o)
{
	const char *validator = fs_object_validator(o);

	return o->has_identity ? (const uint8_t *)validator + strlen(validator) + 1 : NULL;
}

/* What does not fit into memory is not asked for: its reader will ask itself. */
static void prefetch(struct fs_ahead *a, const struct stream_ask *ask, uint64_t deadline_ns)
{
	uint64_t all_fresh = 0;
	uint64_t refused = 0;

	for (unsigned i = 0; i < ask->n; i++) {
		const struct stream_piece *p = &ask->piece[i];
		uint64_t fresh;
		uint64_t end = vmo_prefetch_to(a->vmo, p->off, p->len, deadline_ns, &fresh);

		all_fresh += fresh;
		refused += p->off + p->len - MIN(end, p->off + p->len);
	}
	stream_asked(&a->streams, ask, all_fresh, refused);
}

void fs_ahead_read(struct fs_ahead *a, uint64_t off, uint64_t len, enum stream_how how,
		   uint64_t deadline_ns)
{
	struct stream_ask ask;

	if (!stream_read(&a->streams, off, len, how, &ask))
		return;
	if (ask.behind.len)
		vmo_evict(a->vmo, ask.behind.off, ask.behind.len, false);
	if (ask.n)
		prefetch(a, &ask, deadline_ns);
}

void fs_object_served(struct fs_object *o, uint64_t off, uint64_t len, uint64_t took_ns)
{
	if (!o->ahead)
		return;
	stream_served(&o->ahead->streams, off, len, took_ns);
	note_pace(o);
	if (o->disk)
		fs_object_look_at_version(o);
}
