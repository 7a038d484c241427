/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking calls under a deterministic scheduler. Each runs in a thread of its own, but only one
 * thread of the program runs at any time: a call that would wait for a condition variable hands
 * control back instead, and goes on when the test chooses it. The clock stands still unless it is
 * moved. So one seed gives one run.
 *
 * The linker puts our functions in the place of cond_wait() and its siblings and of clock_gettime().
 */
#ifndef TESTS_MODEL_SCHED_H
#define TESTS_MODEL_SCHED_H

#include <stdbool.h>
#include <stdint.h>

enum task_state { TASK_IDLE, TASK_READY, TASK_BLOCKED, TASK_DONE };

enum { SCHED_TASKS = 4 };

/* Runs fn(arg) as task @i (which is idle) until it blocks or ends. */
void sched_start(unsigned i, void (*fn)(void *arg), void *arg);
/* Goes on with a ready task until it blocks again or ends. */
void sched_resume(unsigned i);
/* A done task becomes idle. */
void sched_reap(unsigned i);
enum task_state sched_state(unsigned i);

/* The clock that everybody sees; moving it makes tasks ready whose wait has a deadline by then. */
uint64_t sched_now(void);
void sched_advance(uint64_t ns);
/* Back to the beginning of time. */
void sched_reset(void);

/* Ends the threads; all tasks are idle. */
void sched_exit(void);

#endif
