/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs evict: drops clean contents; the next read fetches them again. */
#include "cli/cmd.h"

#include <stddef.h>

static const struct opt evict_opts[] = { { 0 } };

static int cmd_evict_run(const struct args *a, struct vmofs_err *err)
{
	return cmd_span_run(a, "evict", "evicted:", err);
}

const struct cmd cmd_evict = {
	.name = "evict",
	.args = "MOUNTPOINT[/FILE] [OFFSET [LENGTH]]",
	.help = "drop a file, or a part of it, from memory and the kernel's cache",
	.opts = evict_opts,
	.min_args = 1,
	.max_args = 3,
	.run = cmd_evict_run,
};
