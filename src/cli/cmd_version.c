/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs version: ours, and that of the library that talks to the kernel. */
#include <stdio.h>
#include <vmofs/provider.h>
#include <vmofs/version.h>

#include "base/macros.h"
#include "cli/cmd.h"
#include "fs/session.h"

static const struct opt version_opts[] = { { 0 } };

static int cmd_version_run(const struct args *a UNUSED, struct vmofs_err *err UNUSED)
{
	printf("vmofs %s\nlibfuse %s\nproviders:", VMOFS_VERSION, fs_libfuse_version());
	for (const struct vmofs_provider_ops *const *p = vmofs_providers; *p; p++)
		printf(" %s", (*p)->name);
	putchar('\n');
	return 0;
}

const struct cmd cmd_version = {
	.name = "version",
	.args = "",
	.help = "print the version",
	.opts = version_opts,
	.run = cmd_version_run,
};
