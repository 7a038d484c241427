/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread for work that may block (file reads, a name to be resolved), so that no loop has to. It
 * starts with the first task and runs tasks in order. Any thread may post.
 */
#ifndef BASE_WORKER_H
#define BASE_WORKER_H

#include <vmofs/list.h>

struct worker;

/* Embedded in its owner; queued once at a time, and free again when run() is called. */
struct worker_task {
	struct vmofs_list link;
	void (*run)(struct worker_task *t);
};

/* @name: of the thread, at most 15 characters, borrowed. NULL: no memory. */
struct worker *worker_new(const char *name);
/* Runs what is queued, then ends the thread. Not from a task. */
void worker_free(struct worker *w);
/* Never blocks. -EAGAIN: the thread cannot be started and the task will not run. */
int worker_post(struct worker *w, struct worker_task *t);

#endif
