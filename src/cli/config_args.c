/* SPDX-License-Identifier: Apache-2.0 */
/* What `mount`, `ls` and `cat` share: their configuration. One thread. */
#include "cli/config_args.h"

#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "daemon/options.h"

DEFINE_FREEP(struct vmofs_config, config_free)

struct find {
	const char *name;
	const struct vmofs_option *found;
};

static void find_name(void *arg, const struct vmofs_option *o)
{
	struct find *f = arg;

	if (strcmp(o->name, f->name) == 0)
		f->found = o;
}

int config_args_find(const char *name, bool *has_value, struct vmofs_err *err)
{
	cleanup(config_freep) struct vmofs_config *c = NULL;
	struct find f = { .name = name };
	int r;

	options_each(find_name, &f);
	if (f.found) {
		*has_value = f.found->arg != NULL;
		return 0;
	}
	/* It is refused, with the name that may have been meant. */
	r = options_new_config(&c, err);
	if (r == 0)
		r = config_set(c, name, NULL, err);
	return r < 0 ? r : vmofs_err_set(err, -EINVAL, "unknown option '--%s'; see --help", name);
}

static int give(struct vmofs_config *c, const struct args_given *g, struct vmofs_err *err)
{
	if (g->config_name)
		return config_set(c, g->config_name, g->value, err);
	if (strcmp(g->opt->name, "options") == 0)
		return config_parse_opts(c, g->value, err);
	if (strcmp(g->opt->name, "memory") == 0)
		return config_set(c, "memory", g->value, err);
	return 0;
}

int config_args_load(struct vmofs_config **out, const struct args *a, const char *source,
		     struct vmofs_err *err)
{
	cleanup(config_freep) struct vmofs_config *c = NULL;
	int r = options_new_config(&c, err);

	if (r == 0)
		r = options_load_files(c, source, args_get(a, "config"), err);
	for (unsigned i = 0; r == 0 && i < a->n_given; i++)
		r = give(c, &a->given[i], err);
	if (r == 0)
		*out = steal_ptr(&c);
	return r;
}
