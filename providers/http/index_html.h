/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Index pages in HTML: nginx, Apache, lighttpd, Caddy, Python, and every page that links what is below it.
 * A pure function on bytes from outside, any thread.
 */
#ifndef PROVIDERS_HTTP_INDEX_HTML_H
#define PROVIDERS_HTTP_INDEX_HTML_H

#include "http/index_list.h"
#include "net/url.h"

/*
 * Adds what the page at @page links one level below itself. Sizes and dates are taken where the format is
 * known to say them exactly; is_index is set where the page shows that it is an index.
 */
void index_html_parse(const struct url *page, const char *p, size_t n, struct index_list *out);

#endif
