/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs dump: the state of the pages and the page source of a mount, as text. */
#include <stdio.h>

#include "base/macros.h"
#include "cli/cmd.h"
#include "daemon/client.h"

static const struct opt dump_opts[] = { { 0 } };

static int cmd_dump_run(const struct args *a, struct vmofs_err *err)
{
	cleanup(json_decrefp) json_t *reply = NULL;
	struct client_target t;
	const char *text;
	int r = client_find(&t, a->pos[0], err);

	if (!r)
		r = client_call(&t, json_pack("{s:s, s:s}", "cmd", "dump", "path", t.inside),
				&reply, err);
	if (r < 0)
		return r;
	text = json_string_value(json_object_get(reply, "text"));
	fputs(text ? text : "", stdout);
	return 0;
}

const struct cmd cmd_dump = {
	.name = "dump",
	.args = "MOUNTPOINT[/FILE]",
	.help = "print the state of the pages and of what has been asked for",
	.opts = dump_opts,
	.min_args = 1,
	.max_args = 1,
	.run = cmd_dump_run,
};
