/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for secrets: locked into RAM, left out of core dumps and of forked children, cleared when it is
 * freed. Where RLIMIT_MEMLOCK refuses, it may be swapped out like any other, which is logged once. For a
 * few small things: blocks are found by a walk. Any thread.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stddef.h>

#include "base/macros.h"

/* Zeros, aligned for any type; NULL: no memory. */
void *secret_alloc(size_t n);
/* Grows or shrinks; what is left behind is cleared. NULL: no memory, @p stays. */
void *secret_realloc(void *p, size_t n);
/* @n characters and a zero. */
char *secret_copy(const char *text, size_t n);
void secret_free(void *p); /* NULL is fine; keeps errno */

static inline void secret_freep(void *p)
{
	secret_free(*(void **)p);
	*(void **)p = NULL;
}

#endif
