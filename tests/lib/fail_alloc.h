/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the n-th allocation fail. A program that uses it is linked with
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc (its `LINK:` line), so that every allocation of our
 * own objects passes here; those inside libc do not. The count is of the arming thread alone.
 */
#ifndef TESTS_LIB_FAIL_ALLOC_H
#define TESTS_LIB_FAIL_ALLOC_H

#include <stdbool.h>

/* The @nth allocation from now fails with ENOMEM, once; 1 is the next one. */
void fail_alloc_arm(unsigned nth);
/* Ends it; true when the failure has happened. */
bool fail_alloc_disarm(void);

#endif
