/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs help [COMMAND]. */
#include <errno.h>

#include "cli/cmd.h"

static const struct opt help_opts[] = { { 0 } };

static int cmd_help_run(const struct args *a, struct vmofs_err *err)
{
	const struct cmd *c;

	if (!a->n_pos) {
		cmd_print_overview();
		return 0;
	}
	c = cmd_find(a->pos[0]);
	if (!c)
		return vmofs_err_set(err, -EINVAL, "unknown command '%s'; `vmofs help` lists them",
				     a->pos[0]);
	cmd_print_usage(c);
	return 0;
}

const struct cmd cmd_help = {
	.name = "help",
	.args = "[COMMAND]",
	.help = "show this help, or that of a command",
	.opts = help_opts,
	.max_args = 1,
	.run = cmd_help_run,
};
