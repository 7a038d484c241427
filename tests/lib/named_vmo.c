/* SPDX-License-Identifier: Apache-2.0 */
/* The name of a VMO, and what is done with it; see the header. */
#include "lib/named_vmo.h"

#include <assert.h>
#include <vmofs/provider.h>

static char the_vmo;
static unsigned n_refs, n_distrusted;

struct vmo *__wrap_vmofs_vmo_get(struct vmo *vmo);
void __wrap_vmofs_vmo_put(struct vmo *vmo);
void __wrap_vmofs_distrust(struct vmo *vmo);

struct vmo *named_vmo(void)
{
	return (struct vmo *)&the_vmo;
}

unsigned named_vmo_refs(void)
{
	return n_refs;
}

unsigned named_vmo_distrusted(void)
{
	return n_distrusted;
}

struct vmo *__wrap_vmofs_vmo_get(struct vmo *vmo)
{
	assert(vmo == named_vmo());
	n_refs++;
	return vmo;
}

void __wrap_vmofs_vmo_put(struct vmo *vmo)
{
	assert(vmo == named_vmo() && n_refs);
	n_refs--;
}

void __wrap_vmofs_distrust(struct vmo *vmo)
{
	assert(vmo == named_vmo());
	n_distrusted++;
}
