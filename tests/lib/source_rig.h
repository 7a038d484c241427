/* SPDX-License-Identifier: Apache-2.0 */
/* A page source without a VMO, over a provider that the test plays by hand. Needs no cmocka: what is wrong aborts. */
#ifndef TESTS_LIB_SOURCE_RIG_H
#define TESTS_LIB_SOURCE_RIG_H

#include <stdint.h>

#include "base/macros.h"
#include "lib/fake_provider.h"
#include "vm/page_source.h"

struct source_rig {
	struct fake_provider *f;
	struct page_source *s;
};

/* @types: VMOFS_TYPE_BIT()s besides READ; @max_pages: the longest request. */
struct source_rig source_rig_new(unsigned types, uint64_t max_pages);
/* Closes it; no waiter may be parked any more, except those that closing ends. */
void source_rig_release(struct source_rig *r);
#define SOURCE(name, types, max_pages) \
	cleanup(source_rig_release) struct source_rig name = source_rig_new(types, max_pages)

int get_pages(struct source_rig *r, uint64_t page, uint64_t n, struct page_waiter *w);
int get_dirty(struct source_rig *r, uint64_t page, uint64_t n, struct page_waiter *w);
void supplied(struct source_rig *r, uint64_t page, uint64_t n);
void failed(struct source_rig *r, uint64_t page, uint64_t n, int code); /* READ and DIRTY */
unsigned n_parked(struct page_source *s);                               /* of all types */

#endif
