/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An access control list (the answer to GET ?acl) as the header lines of a request that makes an object with the same one.
 * A pure function, any thread.
 */
#include "s3/s3_grants.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "s3/s3_answer.h"

static const struct {
	const char *permission;
	const char *header;
} rights[S3_RIGHTS] = {
	{ "FULL_CONTROL", "x-amz-grant-full-control" },
	{ "READ", "x-amz-grant-read" },
	{ "WRITE", "x-amz-grant-write" },
	{ "READ_ACP", "x-amz-grant-read-acp" },
	{ "WRITE_ACP", "x-amz-grant-write-acp" },
};

const char *s3_grants_header(unsigned right)
{
	return rights[right].header;
}

static const struct {
	const char *element;
	const char *key;
} kinds[] = { { "ID", "id" }, { "URI", "uri" }, { "EmailAddress", "emailAddress" } };

/* As it stands in quotes. */
static bool is_plain(const char *text)
{
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p > '~' || strchr("\"\\,", *p))
			return false;
	return text[0];
}

static int add(char *line, size_t cap, const char *key, const char *name)
{
	size_t len = strlen(line);
	int n = snprintf(line + len, cap - len, "%s%s=\"%s\"", len > 0 ? ", " : "", key, name);

	if ((size_t)n < cap - len)
		return 0;
	line[len] = '\0';
	return -E2BIG;
}

static int right_of(const char *p, size_t n)
{
	char text[32];

	if (s3_answer_field(p, n, "Permission", text, sizeof text) < 0)
		return -EBADMSG;
	for (unsigned i = 0; i < S3_RIGHTS; i++)
		if (strcmp(text, rights[i].permission) == 0)
			return (int)i;
	return -EBADMSG;
}

static int take_grant(struct s3_grants *g, const char *p, size_t n, const char *owner, bool groups)
{
	char name[512];
	int right = right_of(p, n);

	if (right < 0)
		return right;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (s3_answer_field(p, n, kinds[i].element, name, sizeof name) < 0)
			continue;
		if (!is_plain(name))
			return -EBADMSG;
		if (i == 1 && !groups)
			return 0;
		g->groups |= i == 1;
		/* What every object has needs no saying. */
		g->others |= right != 0 || i != 0 || strcmp(name, owner) != 0;
		return add(g->line[right], sizeof g->line[right], kinds[i].key, name);
	}
	return -EBADMSG;
}

/* @name with nothing but ">" behind it, from @p on; NULL: there is none. */
static const char *find(const char *p, const char *end, const char *name)
{
	return p < end ? memmem(p, (size_t)(end - p), name, strlen(name)) : NULL;
}

int s3_grants_parse(struct s3_grants *g, const char *text, size_t n, bool groups)
{
	const char *end = text + n, *list = find(text, end, "<AccessControlList>"), *close;
	const char *from;
	char owner[512];
	int r = 0;

	*g = (struct s3_grants){ 0 };
	if (!list || s3_answer_field(text, (size_t)(list - text), "ID", owner, sizeof owner) < 0)
		return -EBADMSG;
	from = list;
	while (r == 0 && (from = find(from, end, "<Grant>"))) {
		close = find(from, end, "</Grant>");
		r = close ? take_grant(g, from, (size_t)(close - from), owner, groups) : -EBADMSG;
		from = close;
	}
	return r;
}
