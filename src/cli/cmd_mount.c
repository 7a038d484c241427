/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmofs mount: reads the configuration, then becomes the daemon, in the background unless asked not to.
 * Whatever can be wrong with the options is found before anything is forked or opened.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/config.h"
#include "base/macros.h"
#include "cli/cmd.h"
#include "cli/config_args.h"
#include "daemon/mount.h"
#include "daemon/ready.h"
#include "daemon/unmount.h"

static const struct opt mount_opts[] = {
	{ 'o', "options", "OPT[,...]",
	  "options, also as --NAME=VALUE; `vmofs --list-options` prints all" },
	{ 'c', "config", "FILE", "read FILE too, after those in /etc and the home directory" },
	{ 'm', "memory", "SIZE", "memory for contents; the same as -o memory=SIZE" },
	{ 'f', "foreground", NULL, "stay in the foreground, log to the terminal" },
	{ 0 },
};

DEFINE_FREEP(struct vmofs_config, config_free)

int cmd_mount_run_config(const struct vmofs_config *c, const char *source, const char *mountpoint,
			 const char *clone, bool foreground, struct vmofs_err *err)
{
	char path[PATH_MAX];
	struct mount_params p = {
		.config = c,
		.source = source,
		.mountpoint = path,
		.foreground = foreground,
		.cow_name = clone,
	};
	struct ready ready = { .fd = -1 };
	int r = unmount_resolve(mountpoint, path);

	if (r < 0)
		return vmofs_err_set(err, r, "cannot mount at '%s': %s", mountpoint, strerror(-r));
	if (!foreground) {
		r = ready_fork(&ready, err);
		if (r)
			return r < 0 ? r : 0;
	}
	r = mount_run(&p, &ready, err);
	if (r < 0 && !foreground) {
		ready_fail(&ready, err);
		return 1; /* the parent has printed it */
	}
	return r;
}

static int cmd_mount_run(const struct args *a, struct vmofs_err *err)
{
	cleanup(config_freep) struct vmofs_config *c = NULL;
	int r = config_args_load(&c, a, a->pos[0], err);

	if (r < 0)
		return r;
	return cmd_mount_run_config(c, a->pos[0], a->pos[1], NULL,
				    args_get(a, "foreground") != NULL, err);
}

const struct cmd cmd_mount = {
	.name = "mount",
	.args = "SOURCE MOUNTPOINT",
	.help = "mount a remote object, or a tree of them",
	.opts = mount_opts,
	.min_args = 2,
	.max_args = 2,
	.run = cmd_mount_run,
};
