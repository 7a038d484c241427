/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parsers of index pages share: how names are written in references and how dates are written by
 * servers. Pure functions on bytes from outside, any thread.
 */
#ifndef PROVIDERS_HTTP_INDEX_TEXT_H
#define PROVIDERS_HTTP_INDEX_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <vmofs/source.h>

#include "net/url.h"

/* "&amp;" and the like become bytes (UTF-8); @out has room for @n, the length is returned. */
size_t index_decode_entities(const char *p, size_t n, char *out);

/*
 * The name that a link on the page @page leads to: one component below the page's directory. -ENOENT: the
 * link leads elsewhere (up, deeper, to another origin, to a query or a fragment), or names nothing.
 * The text ends in a zero.
 */
int index_href_name(const struct url *page, const char *href, size_t n, char out[VMOFS_KEY_MAX],
		    size_t *len, bool *dir);

/* Whether @to has the path of @from and a slash: how a server says that it is a directory. */
bool index_adds_slash(const struct url *from, const struct url *to);

/*
 * As much of a Location as some servers leave undone: blanks and bytes beyond ASCII are encoded.
 * -ENAMETOOLONG, or what url_resolve() says.
 */
int index_resolve(const char *base, const char *location, size_t n, char *out, size_t cap);

/* A name as it may stand in a path. */
bool index_name_valid(const char *p, size_t n);

/* All bytes but letters, digits, "-._~" and "/" as %XX; -ENAMETOOLONG. */
int index_encode_key(const char *key, size_t n, char *out, size_t cap);

enum index_date {
	INDEX_DATE_NONE,
	INDEX_DATE_DAY_FIRST,  /* 22-Nov-2026 23:53: nginx, old Apache */
	INDEX_DATE_NUMBERS,    /* 2026-11-22 23:53: Apache */
	INDEX_DATE_MONTH_NAME, /* 2026-Nov-22 23:53:14: lighttpd */
	INDEX_DATE_INTERNET,   /* 2026-11-22T23:53:14.5Z: RFC 3339 */
};

/* The date that begins at @p, and how long its text is. What has no zone is taken as UTC. */
enum index_date index_parse_date(const char *p, size_t n, struct timespec *out, size_t *used);

#endif
