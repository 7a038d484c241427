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

/*
 * Sends @request (taken) and waits for the answer, which the caller owns. An answer that says no is
 * an error with the daemon's message.
 */
int client_call(const struct client_target *t, json_t *request, json_t **reply,
		struct vmofs_err *err);

#endif
