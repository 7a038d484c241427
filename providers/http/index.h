/* SPDX-License-Identifier: Apache-2.0 */
/* Index pages as a namespace: what the HTTP provider's table of operations names. */
#ifndef PROVIDERS_HTTP_INDEX_H
#define PROVIDERS_HTTP_INDEX_H

#include <vmofs/source.h>

extern const struct vmofs_source_ops index_source_ops;

/* A URL whose path ends with a slash is a directory, every other one an object. */
bool index_is_tree(const char *source);

#endif
