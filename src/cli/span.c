/* SPDX-License-Identifier: Apache-2.0 */
/* What prefetch, pin and evict have in common: a command about a part of a file. */
#include <errno.h>
#include <stdio.h>

#include "base/config.h"
#include "base/macros.h"
#include "cli/cmd.h"
#include "daemon/client.h"

static int parse_part(const struct args *a, unsigned n, uint64_t *out, struct vmofs_err *err)
{
	*out = 0;
	if (n < a->n_pos && config_parse_size(a->pos[n], out))
		return vmofs_err_set(err, -EINVAL, "'%s' is not a size such as 4096, 64M or 1.5G",
				     a->pos[n]);
	return 0;
}

int cmd_span_run(const struct args *a, const char *name, const char *done, struct vmofs_err *err)
{
	cleanup(json_decrefp) json_t *reply = NULL;
	const json_t *files; /* of a directory */
	struct client_target t;
	uint64_t off, len;
	int r = client_find(&t, a->pos[0], err);

	if (!r)
		r = parse_part(a, 1, &off, err);
	if (!r)
		r = parse_part(a, 2, &len, err);
	if (!r)
		r = client_call(&t,
				json_pack("{s:s, s:s, s:I, s:I, s:b}", "cmd", name, "path",
					  t.inside, "off", (json_int_t)off, "len", (json_int_t)len,
					  "undo", args_get(a, "undo") != NULL),
				&reply, err);
	if (r < 0)
		return r;
	files = json_object_get(reply, "files");
	printf("%s %lld bytes", done,
	       (long long)json_integer_value(json_object_get(reply, "bytes")));
	if (files)
		printf(" in %lld files", (long long)json_integer_value(files));
	puts("");
	return 0;
}
