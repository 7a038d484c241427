/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for work that may block and of which several pieces may run at once (reads of a disk). They know nothing of
 * the work: what there is to do, and in which order, its owner keeps in queues of its own and takes out
 * in work(). The first thread starts at once, the others when there is more to do than idle threads. Any thread may call.
 */
#ifndef BASE_WORKERS_H
#define BASE_WORKERS_H

#include <stdint.h>

struct workers;

struct workers_params {
	const char *name; /* of the threads, at most 15 characters, borrowed */
	unsigned max;     /* threads, at least 1 */
	/*
	 * Runs once for each workers_call() and for each alarm, without locks. *@own is the thread's
	 * own: NULL at first, given to free() at its end.
	 */
	void (*work)(void *arg, void **own);
	void *arg;
};
/* 0, -ENOMEM or -EAGAIN: no thread can be started. */
int workers_new(struct workers **out, const struct workers_params *p);
/* Does what has been called for, then ends the threads; the alarm is forgotten. NULL is fine. */
void workers_free(struct workers *w);

/* Never blocks. */
void workers_call(struct workers *w);
/* A call at @when_ns (CLOCK_MONOTONIC), unless an earlier one is set already. Never blocks. */
void workers_call_at(struct workers *w, uint64_t when_ns);

#endif
