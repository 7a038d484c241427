/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/writer_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

/* What holds the VMO and its first provider. */
struct keep {
	struct vmofs_provider *provider;
	struct vmo *vmo;
};

static int open_version(struct keep *k, struct vm_pool *pool, struct vmofs_source *s,
			const char *key, const struct vmofs_version *base)
{
	struct vmofs_entry e = {
		.key = key,
		.key_len = strlen(key),
		.size = base->exists ? base->size : 0,
		.validator = base->exists ? base->validator : "\"0\"",
		.target = "",
	};
	struct vmofs_object_info *info = calloc(1, sizeof *info);
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = info ? s->ops->object(s, &e, &k->provider, info, &err) : -ENOMEM;

	free(info);
	if (r < 0)
		return r;
	r = vmo_new(&k->vmo, pool, k->provider, e.size, 0, &err);
	if (r < 0)
		k->provider->ops->free(k->provider);
	return r;
}

int writer_rig_fill(struct wfile_params *p, struct vm_pool *pool, struct vmofs_source *s,
		    const char *key, const struct vmofs_version *base)
{
	struct keep *k = calloc(1, sizeof *k);
	int r = k ? open_version(k, pool, s, key, base) : -ENOMEM;

	if (r < 0) {
		free(k);
		return r;
	}
	p->vmo = k->vmo;
	p->keep = k;
	return 0;
}

void writer_rig_let_go(void *arg UNUSED, void *keep)
{
	struct keep *k = keep;

	vmo_put(k->vmo);
	k->provider->ops->free(k->provider);
	free(k);
}
