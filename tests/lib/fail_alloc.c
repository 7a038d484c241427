/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocation functions that the linker puts in the place of malloc, calloc and realloc: they
 * count, and fail one call. Only programs linked with --wrap pull this object in.
 */
#include "lib/fail_alloc.h"

#include <errno.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static _Thread_local unsigned fail_in; /* 0: not armed */
static _Thread_local bool has_failed;

void fail_alloc_arm(unsigned nth)
{
	fail_in = nth;
	has_failed = false;
}

bool fail_alloc_disarm(void)
{
	fail_in = 0;
	return has_failed;
}

static bool fails_now(void)
{
	if (!fail_in || --fail_in)
		return false;
	has_failed = true;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails_now() ? NULL : __real_realloc(p, size);
}
