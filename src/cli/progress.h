/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a mount that stores what has been changed in it, with a bar where somebody looks. One thread. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <vmofs/err.h>

#include "daemon/client.h"

/* A bar on standard error. Zero at first. */
struct progress_bar {
	uint64_t total; /* bytes: the most that was left at once */
	bool drawn;
};
/* @sums: "files", "bytes", "stored", "trouble" as the daemon tells them. */
void progress_draw(struct progress_bar *b, const json_t *sums);
void progress_clear(struct progress_bar *b);

/*
 * Has what is below t->inside stored, for at most @timeout_ns (0: for ever). The answer, which the caller owns, tells what is left:
 * "files", "bytes", "conflicts", and why ("trouble"). With @show a bar is drawn on standard error while it lasts, if that is a terminal.
 */
int progress_sync(const struct client_target *t, uint64_t timeout_ns, bool show, json_t **reply,
		  struct vmofs_err *err);

/* "--timeout" as given, or @otherwise. */
struct args;
int progress_timeout(const struct args *a, uint64_t otherwise, uint64_t *out_ns,
		     struct vmofs_err *err);

/* One line about what is left, and why: "3 files (2.0 MiB) are not stored". */
void progress_print_left(FILE *out, const json_t *sums);

#endif
