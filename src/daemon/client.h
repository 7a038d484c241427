/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands' side of the control socket: finds the daemon behind a path and asks it one thing.
 * Blocks; for programs with one thread.
 */
#ifndef DAEMON_CLIENT_H
#define DAEMON_CLIENT_H

#include <jansson.h>
#include <limits.h>
#include <vmofs/err.h>

#include "base/mountinfo.h"

/* A path in a mount of ours. */
struct client_target {
	struct mountinfo mount;
	char path[PATH_MAX]; /* absolute */
	const char
		*inside; /* what of it is below the mountpoint, "" for the mountpoint; in @path */
};

/* -ENOENT with a message when @path is in no mount of ours. */
int client_find(struct client_target *out, const char *path, struct vmofs_err *err);

/* A connection to the daemon; *pid is its process. */
int client_connect(const struct client_target *t, pid_t *pid, struct vmofs_err *err);

/* A target for a mount that has been found already. */
int client_target_of(struct client_target *out, const struct mountinfo *m, struct vmofs_err *err);

/*
 * client_call() in two halves: sends @request (taken) and returns a descriptor that can be read when the daemon answers;
 * then gets the answer. The caller closes @fd, with which an answer that did not come is given up.
 */
int client_ask(const struct client_target *t, json_t *request, struct vmofs_err *err);
int client_answer(const struct client_target *t, int fd, json_t **reply, struct vmofs_err *err);

/*
 * Sends @request (taken) and waits for the answer, which the caller owns. An answer that says no is
 * an error with the daemon's message.
 */
int client_call(const struct client_target *t, json_t *request, json_t **reply,
		struct vmofs_err *err);

#endif
