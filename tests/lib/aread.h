/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A read of a VMO that does not block, for tests: what vmo_read_start() and its callback said, and whether the bytes
 * are right. It may be done on any thread; a test has as many as it likes. Needs no cmocka: what is wrong aborts.
 */
#ifndef TESTS_LIB_AREAD_H
#define TESTS_LIB_AREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "vm/vmo.h"

struct aread {
	struct vmo_read r;
	int start;          /* what vmo_read_start() returned */
	_Atomic int status; /* what done() was told */
	_Atomic unsigned n_done;
};

/* Returns what vmo_read_start() returned. */
int aread_start(struct aread *a, struct vmo *v, uint64_t page, uint64_t n);
/* The same for one that has to wait. */
void aread_park(struct aread *a, struct vmo *v, uint64_t page, uint64_t n);
/* aread_start() with a deadline that only vmo_expire() looks at. */
int aread_start_until(struct aread *a, struct vmo *v, uint64_t page, uint64_t n,
		      uint64_t deadline_ns);
/* Waits until it is done; its status. */
int aread_wait(struct aread *a);
bool aread_is_done(struct aread *a);
/* Waits, checks status 0 and contents, ends it. */
void aread_expect_data(struct aread *a, uint64_t key);
void aread_expect_zero(struct aread *a);

#endif
