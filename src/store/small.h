/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that many small objects share. An object's pages lie side by side in a run of its length; runs
 * of one length come from slabs of STORE_BLOCK bytes, slabs from few large mappings: so a small object
 * costs neither a mapping nor a descriptor, and its memory is there from the first write on.
 *
 * Any thread; one lock, taken when an object comes and goes, not when it is read or written.
 */
#ifndef STORE_SMALL_H
#define STORE_SMALL_H

#include <stdint.h>
#include <vmofs/err.h>

#include "store/store.h"

/* The largest object that lives here; one bit a page, see small.c. */
#define STORE_SMALL_MAX (UINT64_C(128) << 10)

struct small_arena;

/* @heat is borrowed. NULL: no memory. */
struct small_arena *small_arena_new(struct store_heat *heat);
/* Every store is freed. NULL is fine. */
void small_arena_free(struct small_arena *a);
/* Gives the memory that is kept for the next objects back to the system. */
void small_arena_cool(struct small_arena *a);
/* Mappings made so far, for tests and dump. */
unsigned small_arena_n_maps(struct small_arena *a);

/* @size page aligned, at most STORE_SMALL_MAX. Cannot be resized. @a is borrowed. */
int store_small_new(struct store **out, uint64_t size, struct small_arena *a,
		    struct vmofs_err *err);

#endif
