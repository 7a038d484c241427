/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Going to the background only when there is something to show: the parent waits until the child
 * says that the mount is usable, or why it is not. The fork comes before any thread.
 */
#ifndef DAEMON_READY_H
#define DAEMON_READY_H

#include <vmofs/err.h>

struct ready {
	int fd; /* owned; where the child speaks, -1 in the foreground */
};

/*
 * Returns 0 in the child, in a session of its own. In the parent, 1 when the child has said that it
 * is ready, or -errno with its message.
 */
int ready_fork(struct ready *r, struct vmofs_err *err);

/* From here on the child outlives a parent that is interrupted; before, it ends with it at once. */
void ready_outlive_parent(void);

/* Something is there to show: the parent may go. -EPIPE when nobody has waited for it. */
int ready_ok(struct ready *r);
void ready_fail(struct ready *r, const struct vmofs_err *err);

#endif
