/* SPDX-License-Identifier: Apache-2.0 */
/* The commands: one file each, one table of them all. Parser, help and --list-options read the tables. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include <vmofs/err.h>

#include "cli/opt.h"

struct cmd {
	const char *name;
	const char *args; /* as in the usage line */
	const char *help; /* one line */
	const struct opt *opts;
	unsigned min_args;
	unsigned max_args;
	/* Exit status, or -errno with @err filled. */
	int (*run)(const struct args *a, struct vmofs_err *err);
};

extern const struct cmd cmd_mount;
extern const struct cmd cmd_umount;
extern const struct cmd cmd_clone;
extern const struct cmd cmd_ls;
extern const struct cmd cmd_cat;
extern const struct cmd cmd_stat;
extern const struct cmd cmd_dump;
extern const struct cmd cmd_prefetch;
extern const struct cmd cmd_pin;
extern const struct cmd cmd_evict;
extern const struct cmd cmd_sync;
extern const struct cmd cmd_dirty;
extern const struct cmd cmd_conflicts;
extern const struct cmd cmd_resolve;
extern const struct cmd cmd_recover;
extern const struct cmd cmd_cache;
extern const struct cmd cmd_version;
extern const struct cmd cmd_help;

/* All of them, ended by NULL, in the order of the help. */
extern const struct cmd *const cmds[];
const struct cmd *cmd_find(const char *name);

void cmd_print_usage(const struct cmd *c);
void cmd_print_overview(void);

/* The helper that mount(8) runs for the type vmofs: `mount.vmofs SOURCE DIR [-o OPTIONS]`. */
int mount_helper_main(int argc, char **argv);
/*
 * What it, `vmofs mount` and `vmofs clone` share. @clone: of which clone of the source what is changed is; NULL: it is none. @foreground: do
 * not go to the background.
 */
struct vmofs_config;
int cmd_mount_run_config(const struct vmofs_config *c, const char *source, const char *mountpoint,
			 const char *clone, bool foreground, struct vmofs_err *err);

/*
 * What prefetch, pin and evict share: sends command @name for PATH [OFFSET LENGTH] and prints what
 * came of it.
 */
int cmd_span_run(const struct args *a, const char *name, const char *done, struct vmofs_err *err);

#endif
