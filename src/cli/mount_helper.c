/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount.vmofs SOURCE DIR [-sfnv] [-t TYPE] [-N NS] [-o OPTIONS]: what mount(8) runs for fstab lines of
 * type vmofs. It drops the options that are meant for mount(8) and systemd, and for file
 * systems of other kinds; everything else is an option of `vmofs mount`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/macros.h"
#include "cli/cmd.h"
#include "daemon/options.h"

/* Exit codes as in mount(8). */
enum { MOUNT_USAGE = 1, MOUNT_FAILED = 32 };

static const struct opt helper_opts[] = {
	{ 'o', "options", "OPT[,...]", "options of the fstab line" },
	{ 't', "types", "TYPE", "ignored" },
	{ 'N', "namespace", "NS", "ignored" },
	{ 'f', "fake", NULL, "check the options, do not mount" },
	{ 's', "sloppy", NULL, "ignored" },
	{ 'n', "no-mtab", NULL, "ignored" },
	{ 'v', "verbose", NULL, "ignored" },
	{ 0 },
};

DEFINE_FREEP(struct vmofs_config, config_free)

/* Switches; our option `user` has a value. */
static const char *const not_ours[] = {
	"_netdev",  "auto",       "noauto",      "nofail",        "user",     "users",
	"nouser",   "owner",      "group",       "defaults",      "rw",       "async",
	"sync",     "dirsync",    "atime",       "noatime",       "diratime", "nodiratime",
	"relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime",
	"silent",   "loud",       "mand",        "nomand",        "iversion", "noiversion",
};
/* Whatever they are set to. */
static const char *const prefixes_not_ours[] = { "x-", "X-", "comment=" };

static bool is_not_ours(const char *opt, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(not_ours); i++)
		if (strlen(not_ours[i]) == len && !strncmp(opt, not_ours[i], len))
			return true;
	for (size_t i = 0; i < ARRAY_LEN(prefixes_not_ours); i++)
		if (!strncmp(opt, prefixes_not_ours[i], strlen(prefixes_not_ours[i])))
			return true;
	/* mount(8) adds the name of the ordinary user who mounts. */
	return !strncmp(opt, "user=", strlen("user="));
}

/* The length of the option at @p, whose commas may be written with a backslash. */
static size_t option_len(const char *p)
{
	size_t n = 0;

	while (p[n] && p[n] != ',')
		n += p[n] == '\\' && p[n + 1] ? 2 : 1;
	return n;
}

/* Keeps of "a,b,c" what is ours, in place. */
static void filter_options(char *opts)
{
	char *out = opts;

	for (char *p = opts; *p;) {
		size_t n = option_len(p);
		bool last = !p[n];

		if (n && !is_not_ours(p, n)) {
			memmove(out, p, n);
			out += n;
			*out++ = ',';
		}
		p += last ? n : n + 1;
	}
	*out = '\0';
}

static int helper_config(struct vmofs_config **c, const struct args *a, struct vmofs_err *err)
{
	const char *given;
	int r = options_new_config(c, err);

	if (!r)
		r = options_load_files(*c, a->pos[0], NULL, err);
	for (unsigned n = 0; !r && (given = args_nth(a, "options", n)); n++) {
		cleanup(mem_freep) char *opts = malloc(strlen(given) + 2);

		if (!opts)
			return vmofs_err_set(err, -ENOMEM, "no memory for the options");
		strcpy(opts, given);
		filter_options(opts);
		r = config_parse_opts(*c, opts, err);
	}
	return r;
}

int mount_helper_main(int argc, char **argv)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	cleanup(config_freep) struct vmofs_config *c = NULL;
	struct args a;
	int r = opt_parse(&a, helper_opts, argc - 1, argv + 1, &err);

	if (!r && a.n_pos != 2)
		r = vmofs_err_set(&err, -EINVAL, "usage: mount.vmofs SOURCE DIR [-o OPTIONS]");
	if (!r)
		r = helper_config(&c, &a, &err);
	if (r < 0) {
		fprintf(stderr, "mount.vmofs: %s\n", err.msg);
		return MOUNT_USAGE;
	}
	if (args_get(&a, "fake"))
		return 0;
	r = cmd_mount_run_config(c, a.pos[0], a.pos[1], NULL, false, &err);
	if (r < 0)
		fprintf(stderr, "mount.vmofs: %s\n", err.msg);
	return r ? MOUNT_FAILED : 0;
}
