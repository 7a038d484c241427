/* SPDX-License-Identifier: Apache-2.0 */
/* What the three parts of the configuration share, and what their tests look at. */
#ifndef BASE_CONFIG_PRIVATE_H
#define BASE_CONFIG_PRIVATE_H

#include "base/config.h"

/* Like config_set(), but only looks: *value becomes "yes" for a bare switch. */
int config_check(const struct vmofs_config *c, const char *name, const char **value,
		 const struct vmofs_option **opt, struct vmofs_err *err);

/* yes no true false on off 1 0; else -EINVAL. */
int config_parse_bool(const char *text, bool *out);
int config_parse_u64(const char *text, uint64_t *out);

/* Letters to change, insert, remove or swap to make @b of @a. */
unsigned config_edit_distance(const char *a, const char *b);

#endif
