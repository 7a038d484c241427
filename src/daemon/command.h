/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands that come through the control socket. A quick one answers on the loop; a long one is
 * given a thread and looks at @cancelled between its steps.
 */
#ifndef DAEMON_COMMAND_H
#define DAEMON_COMMAND_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <vmofs/err.h>

struct fs_object;
struct fs_tree_attr;
struct mount;

struct command {
	const char *name;
	bool is_long;
	/* Fills @reply, an object; or -errno with @err filled. */
	int (*run)(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		   struct vmofs_err *err);
};

/* NULL: no such command. */
const struct command *command_find(const char *name);

/* What `vmofs stat` shows; see report.c. */
void report_fill(struct mount *m, json_t *reply);
/* And of one file: @o is its object, NULL when it has none just now. */
void report_fill_file(const struct fs_tree_attr *attr, struct fs_object *o, json_t *reply);

#endif
