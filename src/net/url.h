/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http and https URLs: parts, resolution of a redirect's Location, what may be shown to people.
 * Pure functions on bytes from outside; no locks, any thread.
 */
#ifndef NET_URL_H
#define NET_URL_H

#include <stdbool.h>
#include <stddef.h>

#define URL_MAX 4096 /* with the NUL */

struct url_span {
	const char *p;
	size_t len;
};

/* Views into the text that was parsed. */
struct url {
	struct url_span scheme;
	struct url_span userinfo; /* p NULL: none */
	struct url_span host;     /* with the brackets of an IPv6 address */
	struct url_span port;     /* digits, may be empty */
	struct url_span path;     /* from the slash, may be empty */
	struct url_span query;    /* from the question mark, may be empty */
	bool tls;
};

/* An absolute http(s) URL; the fragment is cut. -EINVAL: it is none; -ENAMETOOLONG: too long. */
int url_parse(const char *s, size_t n, struct url *out);

/* Effective port, 80 or 443 when none is given. */
unsigned url_port(const struct url *u);

/* The same scheme, host and port: what one has been trusted with may be told to the other. */
bool url_same_origin(const struct url *a, const struct url *b);

/* The text again, without user information and fragment, with a path that is never empty. */
int url_strip(const struct url *u, char *out, size_t cap);

/* As url_strip(), and with the values of query parameters that carry secrets hidden. */
int url_redact(const struct url *u, char *out, size_t cap);

/*
 * What stands for the object, whoever has signed the URL and until when: as url_strip(), without the parameters of a
 * signature. Only those of ways to sign that are known (AWS, Google, CloudFront, Azure), and where the URL has all that
 * such a signature needs. Secrets may be in it. *@shown: what url_redact() gives tells as much, for nothing is hidden
 * there and nothing left out here.
 */
int url_identity(const struct url *u, char *out, size_t cap, bool *shown);

/* @location (absolute, or relative to @base) as an absolute URL without userinfo and fragment. */
int url_resolve(const struct url *base, const char *location, size_t n, char *out, size_t cap);

/* The last path component, decoded; the host when there is none. Never empty, never has a slash. */
int url_name(const struct url *u, char *out, size_t cap);

/* NAME:PASSWORD of the user information, decoded; -ENOENT when there is none. */
int url_credentials(const struct url *u, char *out, size_t cap);

#endif
