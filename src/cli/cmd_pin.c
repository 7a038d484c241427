/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs pin: prefetch, and not evicted until undone. */
#include "cli/cmd.h"

#include <stddef.h>

static const struct opt pin_opts[] = {
	{ 'u', "undo", NULL, "let go of what was pinned" },
	{ 0 },
};

static int cmd_pin_run(const struct args *a, struct vmofs_err *err)
{
	return cmd_span_run(a, "pin", args_get(a, "undo") ? "unpinned:" : "pinned:", err);
}

const struct cmd cmd_pin = {
	.name = "pin",
	.args = "MOUNTPOINT[/FILE] [OFFSET [LENGTH]]",
	.help = "read a file, or a part of it, in and keep it in memory",
	.opts = pin_opts,
	.min_args = 1,
	.max_args = 3,
	.run = cmd_pin_run,
};
