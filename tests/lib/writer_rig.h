/* SPDX-License-Identifier: Apache-2.0 */
/* What a writer's files are made of in tests: the VMO of a version, over a provider of the source. Any thread. */
#ifndef TESTS_LIB_WRITER_RIG_H
#define TESTS_LIB_WRITER_RIG_H

#include "vm/pool.h"
#include "write/writer.h"

/* Fills in @p's vmo and keep, of @base at @key; the file has both from then on. 0, or what the source or the VMO says. */
int writer_rig_fill(struct wfile_params *p, struct vm_pool *pool, struct vmofs_source *s,
		    const char *key, const struct vmofs_version *base);
/* Of writer_params: gives back what fill() has made. */
void writer_rig_let_go(void *arg, void *keep);

#endif
