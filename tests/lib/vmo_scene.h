/* SPDX-License-Identifier: Apache-2.0 */
/* A VMO in a pool of its own, over a provider that the test plays by hand. */
#ifndef TESTS_LIB_VMO_SCENE_H
#define TESTS_LIB_VMO_SCENE_H

#include "lib/fake_provider.h"
#include "vm/pool.h"
#include "vm/vmo.h"

struct vmo_scene {
	struct vm_pool *pool;
	struct fake_provider *provider;
	struct vmo *vmo;
};

/* The provider has the contents of @key, and takes requests of all types. @flags: enum vmo_flags. */
struct vmo_scene vmo_scene_new(uint64_t key, uint64_t budget, uint64_t size, unsigned flags);
/* All in order, closed, and no memory in use any more. */
void vmo_scene_end(struct vmo_scene *s);

/* Frees @p, nothing of which may be in use. */
void pool_end(struct vm_pool *p);
/* Pages that were put aside and are not there yet. */
uint64_t pool_reserved(struct vm_pool *p);

#endif
