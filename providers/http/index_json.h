/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Index pages in JSON: nginx (autoindex_format json) and Caddy (file_server browse). A pure function on
 * bytes from outside, any thread.
 */
#ifndef PROVIDERS_HTTP_INDEX_JSON_H
#define PROVIDERS_HTTP_INDEX_JSON_H

#include "http/index_list.h"
#include "net/url.h"

/* -EINVAL: it is not an array of objects that have names; what came before is in @out all the same. */
int index_json_parse(const struct url *page, const char *p, size_t n, struct index_list *out);

#endif
