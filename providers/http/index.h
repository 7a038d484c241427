/* SPDX-License-Identifier: Apache-2.0 */
/* Index pages as a namespace: what the HTTP provider's table of operations names. */
#ifndef PROVIDERS_HTTP_INDEX_H
#define PROVIDERS_HTTP_INDEX_H

#include <vmofs/source.h>

#include "net/url.h"

struct http_place;

extern const struct vmofs_source_ops index_source_ops;

/* A URL whose path ends with a slash is a directory, every other one an object. */
bool index_is_tree(const char *source);

/* For changes: where the objects of @s are, and the URL of one. -ENAMETOOLONG */
void index_place(struct vmofs_source *s, struct http_place *out);
int index_url(struct vmofs_source *s, const char *key, char out[URL_MAX]);

#endif
