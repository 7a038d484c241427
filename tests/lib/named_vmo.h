/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VMO of which only the name is needed, for tests that call a provider's inner functions: it has no pages. Who uses it
 * links with --wrap for vmofs_vmo_get, vmofs_vmo_put and vmofs_distrust. One thread.
 */
#ifndef TESTS_LIB_NAMED_VMO_H
#define TESTS_LIB_NAMED_VMO_H

struct vmo;

struct vmo *named_vmo(void);
/* References that have not been given back. */
unsigned named_vmo_refs(void);
/* How often it has been distrusted. */
unsigned named_vmo_distrusted(void);

#endif
