/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs sync: waits until the origin has what was changed in a mount, or in a part of it. */
#include <errno.h>
#include <stdio.h>

#include "base/macros.h"
#include "cli/cmd.h"
#include "cli/progress.h"
#include "cli/text.h"

static const struct opt sync_opts[] = {
	{ 't', "timeout", "TIME",
	  "wait at most so long; 0, the default, waits as long as it takes" },
	{ 'j', "json", NULL, "print one JSON object about what is left" },
	{ 'q', "quiet", NULL, "no progress" },
	{ 0 },
};

static int cmd_sync_run(const struct args *a, struct vmofs_err *err)
{
	bool json = args_get(a, "json") != NULL;
	cleanup(json_decrefp) json_t *left = NULL;
	struct client_target t;
	uint64_t timeout_ns;
	int r = progress_timeout(a, 0, &timeout_ns, err);

	if (!r)
		r = client_find(&t, a->pos[0], err);
	if (!r)
		r = progress_sync(&t, timeout_ns, !json && !args_get(a, "quiet"), &left, err);
	if (r < 0)
		return r;
	json_object_del(left, "ok");
	if (json)
		text_print_json(left);
	else
		progress_print_left(stderr, left);
	return json_integer_value(json_object_get(left, "files")) ||
		json_integer_value(json_object_get(left, "conflicts"));
}

const struct cmd cmd_sync = {
	.name = "sync",
	.args = "MOUNTPOINT[/PATH]",
	.help = "wait until what was changed here has been stored",
	.opts = sync_opts,
	.min_args = 1,
	.max_args = 1,
	.run = cmd_sync_run,
};
