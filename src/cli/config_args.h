/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration that a command line asks for: files, -o, and every option of a mount as --NAME[=VALUE]. */
#ifndef CLI_CONFIG_ARGS_H
#define CLI_CONFIG_ARGS_H

#include <vmofs/err.h>

#include "base/config.h"
#include "cli/opt.h"

/* Reads the files for @source, then what was given, in its order. */
int config_args_load(struct vmofs_config **out, const struct args *a, const char *source,
		     struct vmofs_err *err);

/*
 * The option of a mount that is called @name: 0 and whether it has a value, or -EINVAL with the nearest
 * name in @err.
 */
int config_args_find(const char *name, bool *has_value, struct vmofs_err *err);

#endif
