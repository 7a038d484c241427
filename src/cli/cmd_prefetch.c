/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs prefetch: brings contents in ahead of their readers. */
#include "cli/cmd.h"

#include <stddef.h>

static const struct opt prefetch_opts[] = { { 0 } };

static int cmd_prefetch_run(const struct args *a, struct vmofs_err *err)
{
	return cmd_span_run(a, "prefetch", "present:", err);
}

const struct cmd cmd_prefetch = {
	.name = "prefetch",
	.args = "MOUNTPOINT[/FILE] [OFFSET [LENGTH]]",
	.help = "read a file, or a part of it, into memory and wait for it",
	.opts = prefetch_opts,
	.min_args = 1,
	.max_args = 3,
	.run = cmd_prefetch_run,
};
