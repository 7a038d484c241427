/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extended attributes of a file: where it comes from, which version it is, what of it is here,
 * and its last failure. Text for people and scripts; nothing here waits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "fs/object.h"

enum { RESIDENT_TEXT_MAX = 3500 }; /* attributes are copied through a page or so by many tools */

static void xattr_url(struct fs_object *o, FILE *out)
{
	fputs(fs_object_url(o), out);
}

/* What was changed here is no version of the origin's. */
static void xattr_etag(struct fs_object *o, FILE *out)
{
	if (!vmo_modified(o->vmo, false))
		fputs(fs_object_validator(o), out);
}

struct resident_text {
	FILE *out;
	size_t len;
	bool full;
	uint64_t size;
};

static void resident_add(void *arg, uint64_t off, uint64_t len)
{
	struct resident_text *t = arg;
	uint64_t last = MIN(off + len, t->size) - 1;
	int n;

	if (t->full || off >= t->size)
		return;
	if (t->len > RESIDENT_TEXT_MAX) {
		fputs(",...", t->out);
		t->full = true;
		return;
	}
	n = fprintf(t->out, "%s%llu-%llu", t->len ? "," : "", (unsigned long long)off,
		    (unsigned long long)last);
	t->len += n > 0 ? (size_t)n : 0;
}

static void xattr_resident(struct fs_object *o, FILE *out)
{
	struct resident_text t = { .out = out, .size = vmo_size(o->vmo) };

	vmo_each_resident(o->vmo, resident_add, &t);
	if (!t.len)
		fputs("none", out);
}

static void xattr_error(struct fs_object *o, FILE *out)
{
	struct vmofs_provider_stats st = { 0 };
	const struct vmofs_failure *f = &st.last;
	struct tm tm;
	char when[32];

	o->provider->ops->stats(o->provider, &st);
	if (!f->code)
		return;
	gmtime_r(&f->when.tv_sec, &tm);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	fprintf(out, "%s at=%s attempts=%u", strerrorname_np(-f->code), when, f->attempts);
	if (f->status)
		fprintf(out, " status=%d", f->status);
	if (f->request_id[0])
		fprintf(out, " request-id=%s", f->request_id);
	fprintf(out, ": %s", f->msg);
}

static const struct xattr {
	const char *name;
	void (*write)(struct fs_object *o, FILE *out); /* nothing written: no such attribute */
} xattrs[] = {
	{ "user.vmofs.url", xattr_url },
	{ "user.vmofs.etag", xattr_etag },
	{ "user.vmofs.resident", xattr_resident },
	{ "user.vmofs.error", xattr_error },
};

static int64_t xattr_text(const struct xattr *x, struct fs_object *o, char **value)
{
	cleanup(mem_freep) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -ENOMEM;
	x->write(o, out);
	if (fclose(out) || !text)
		return -ENOMEM;
	if (!len)
		return -ENODATA;
	*value = steal_ptr(&text);
	return (int64_t)len;
}

int64_t fs_object_xattr(struct fs_object *o, const char *name, char **value)
{
	for (size_t i = 0; i < ARRAY_LEN(xattrs); i++)
		if (!strcmp(xattrs[i].name, name))
			return xattr_text(&xattrs[i], o, value);
	return -ENODATA;
}

int64_t fs_object_xattr_list(struct fs_object *o, char **names)
{
	char *list = calloc(ARRAY_LEN(xattrs), 64);
	size_t len = 0;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_LEN(xattrs); i++) {
		cleanup(mem_freep) char *value = NULL;

		if (xattr_text(&xattrs[i], o, &value) < 0)
			continue;
		strcpy(list + len, xattrs[i].name);
		len += strlen(xattrs[i].name) + 1;
	}
	*names = list;
	return (int64_t)len;
}
