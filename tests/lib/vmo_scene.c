/* SPDX-License-Identifier: Apache-2.0 */
/* A VMO in a pool of its own; see the header. */
#include "lib/vmo_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct vmo_scene vmo_scene_new(uint64_t key, uint64_t budget, uint64_t size, unsigned flags)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmo_scene s = { .provider = fake_new(VMOFS_TYPE_BIT(VMOFS_REQUEST_DIRTY) |
							    VMOFS_TYPE_BIT(VMOFS_REQUEST_WRITEBACK),
						    key) };

	assert_int_equal(vm_pool_new(&s.pool, budget, &err), 0);
	assert_int_equal(
		vmo_new(&s.vmo, s.pool, fake_base(s.provider), size, flags | VMO_WRITABLE, &err),
		0);
	fake_attach(s.provider, s.vmo);
	return s;
}

void vmo_scene_end(struct vmo_scene *s)
{
	vmo_check(s->vmo);
	vmo_close(s->vmo);
	vmo_put(s->vmo);
	fake_free(s->provider);
	pool_end(s->pool);
}

void pool_end(struct vm_pool *p)
{
	struct vm_pool_stats st;

	vm_pool_stats(p, &st);
	assert_int_equal(st.resident + st.reserved, 0);
	vm_pool_free(p);
}

uint64_t pool_reserved(struct vm_pool *p)
{
	struct vm_pool_stats st;

	vm_pool_stats(p, &st);
	return st.reserved / VMOFS_PAGE_SIZE;
}
