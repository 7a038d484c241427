/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs resolve: decides what becomes of a file that was changed both here and at the origin. */
#include <errno.h>
#include <stdio.h>

#include "base/macros.h"
#include "cli/cmd.h"
#include "daemon/client.h"

static const struct opt resolve_opts[] = {
	{ 'l', "keep-local", NULL, "what was written here replaces what the origin has" },
	{ 'r', "keep-remote", NULL, "what was written here is dropped" },
	{ 's', "save-as", "KEY",
	  "what was written here is stored as KEY, where nothing may be; then as keep-remote" },
	{ 0 },
};

static const struct opt *find_decision(const struct args *a, struct vmofs_err *err)
{
	const struct opt *found = NULL;

	for (const struct opt *o = resolve_opts; o->name; o++) {
		if (!args_get(a, o->name))
			continue;
		if (found) {
			vmofs_err_set(err, -EINVAL,
				      "options '--%s' and '--%s' contradict each other",
				      found->name, o->name);
			return NULL;
		}
		found = o;
	}
	if (!found)
		vmofs_err_set(err, -EINVAL,
			      "which version is to stay? Give --keep-local, --keep-remote or "
			      "--save-as=KEY");
	return found;
}

static int cmd_resolve_run(const struct args *a, struct vmofs_err *err)
{
	const struct opt *how = find_decision(a, err);
	cleanup(json_decrefp) json_t *reply = NULL;
	struct client_target t;
	int r = how ? client_find(&t, a->pos[0], err) : err->code;

	if (r < 0)
		return r;
	return client_call(&t,
			   json_pack("{s:s, s:s, s:s, s:s}", "cmd", "resolve", "path", t.inside,
				     "how", how->name, "key", args_get(a, how->name)),
			   &reply, err);
}

const struct cmd cmd_resolve = {
	.name = "resolve",
	.args = "--keep-local|--keep-remote|--save-as=KEY MOUNTPOINT/FILE",
	.help = "end the conflict of a file that was changed both here and at the origin",
	.opts = resolve_opts,
	.min_args = 1,
	.max_args = 1,
	.run = cmd_resolve_run,
};
