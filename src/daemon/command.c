/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stat and dump look; prefetch, pin and evict move pages, in steps, so that they can be given up and
 * hold nothing for long. See command.h for who runs them.
 */
#include "daemon/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "daemon/mount.h"

enum { DUMP_ITEMS_MAX = 100 };
#define FETCH_STEP  MIB(8)
#define FETCH_AHEAD (4 * FETCH_STEP)
#define EVICT_STEP  MIB(256)

static int run_stat(struct mount *m, const json_t *request UNUSED, json_t *reply,
		    atomic_bool *cancelled UNUSED, struct vmofs_err *err UNUSED)
{
	report_fill(m, reply);
	return 0;
}

static int run_dump(struct mount *m, const json_t *request UNUSED, json_t *reply,
		    atomic_bool *cancelled UNUSED, struct vmofs_err *err)
{
	cleanup(mem_freep) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return vmofs_err_set(err, -ENOMEM, "no memory for the dump");
	vmo_dump(m->vmo, out, DUMP_ITEMS_MAX);
	vm_pool_dump(m->pool, out);
	if (fclose(out) || !text)
		return vmofs_err_set(err, -ENOMEM, "no memory for the dump");
	json_object_set_new(reply, "text", json_string(text));
	return 0;
}

/* The part of an object that a command is about. */
struct span {
	struct fs_object *object;
	uint64_t off;
	uint64_t end;
};

static uint64_t request_u64(const json_t *request, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(request, key));

	return v > 0 ? (uint64_t)v : 0;
}

/*
 * "path" below the mount (the mount itself stands for all of it), "off", "len" (0: to the end),
 * rounded outward to pages.
 */
static int span_parse(struct span *s, struct mount *m, const json_t *request, struct vmofs_err *err)
{
	const char *path = json_string_value(json_object_get(request, "path"));
	uint64_t len = request_u64(request, "len");

	s->object = path && *path ? fs_tree_find(m->tree, path) : &m->object;
	if (!s->object)
		return vmofs_err_set(err, -ENOENT, "there is no file '%s' in the mount", path);
	s->off = request_u64(request, "off");
	if (s->off > s->object->size)
		return vmofs_err_set(err, -ERANGE, "the offset %llu is beyond the end, %llu",
				     (unsigned long long)s->off,
				     (unsigned long long)s->object->size);
	s->end = s->object->size;
	if (len && len < s->end - s->off)
		s->end = MIN(s->end, page_bytes(page_ceil(s->off + len)));
	s->off = page_bytes(page_floor(s->off));
	return 0;
}

/* Reading in more than there is memory for would only throw out what came first. */
static int span_check_fits(const struct span *s, struct mount *m, struct vmofs_err *err)
{
	struct vm_pool_stats st;
	uint64_t room;

	vm_pool_stats(m->pool, &st);
	room = st.limit / 4 * 3;
	if (s->end - s->off <= room)
		return 0;
	return vmofs_err_set(err, -ENOSPC,
			     "%llu MiB do not fit into %llu MiB, three quarters of the option "
			     "'memory'; give OFFSET and LENGTH, or mount with more memory",
			     (unsigned long long)((s->end - s->off) >> 20),
			     (unsigned long long)(room >> 20));
}

static int span_failed(const struct span *s, uint64_t off, int r, struct vmofs_err *err)
{
	struct vmofs_provider_stats st = { 0 };

	s->object->provider->ops->stats(s->object->provider, &st);
	return vmofs_err_set(err, r, "cannot fetch '%s' at %llu: %s", fs_object_url(s->object),
			     (unsigned long long)off, st.last.code ? st.last.msg : strerror(-r));
}

/* Brings the span in; @each is called for every step that has come. */
static int span_fetch(const struct span *s, int (*each)(struct vmo *v, uint64_t off, uint64_t len),
		      atomic_bool *cancelled, struct vmofs_err *err)
{
	const struct vmo_wait wait = { .cls = VMOFS_CLASS_PREFETCH };
	struct vmo *v = s->object->vmo;

	for (uint64_t off = s->off; off < s->end; off += FETCH_STEP) {
		uint64_t len = MIN(FETCH_STEP, s->end - off);
		int r;

		if (*cancelled)
			return vmofs_err_set(err, -EINTR, "given up");
		if (off + len < s->end)
			(void)vmo_prefetch(v, off + len, MIN(FETCH_AHEAD, s->end - off - len), 0);
		r = vmo_commit(v, off, len, &wait);
		if (!r && each)
			r = each(v, off, len);
		if (r < 0)
			return span_failed(s, off, r, err);
	}
	return 0;
}

static int reply_bytes(const struct span *s, json_t *reply)
{
	json_object_set_new(reply, "bytes", json_integer((json_int_t)(s->end - s->off)));
	return 0;
}

static int run_prefetch(struct mount *m, const json_t *request, json_t *reply,
			atomic_bool *cancelled, struct vmofs_err *err)
{
	struct span s;
	int r = span_parse(&s, m, request, err);

	if (!r)
		r = span_check_fits(&s, m, err);
	if (!r)
		r = span_fetch(&s, NULL, cancelled, err);
	return r ? r : reply_bytes(&s, reply);
}

static int hint_keep(struct vmo *v, uint64_t off, uint64_t len)
{
	return vmo_hint(v, off, len, VMO_HINT_ALWAYS_NEED, NULL);
}

static int span_unpin(const struct span *s, struct vmofs_err *err)
{
	int r = s->end > s->off
		? vmo_hint(s->object->vmo, s->off, s->end - s->off, VMO_HINT_NORMAL, NULL)
		: 0;

	return r < 0 ? vmofs_err_set(err, r, "cannot unpin: %s", strerror(-r)) : 0;
}

static int run_pin(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		   struct vmofs_err *err)
{
	struct span s;
	int r = span_parse(&s, m, request, err);

	if (r < 0)
		return r;
	if (json_is_true(json_object_get(request, "undo")))
		r = span_unpin(&s, err);
	else if (!(r = span_check_fits(&s, m, err)))
		r = span_fetch(&s, hint_keep, cancelled, err);
	return r ? r : reply_bytes(&s, reply);
}

/* The kernel's copies go too, or the next read would not come here at all. */
static int run_evict(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		     struct vmofs_err *err)
{
	uint64_t pages = 0;
	struct span s;
	int r = span_parse(&s, m, request, err);

	if (r < 0)
		return r;
	for (uint64_t off = s.off; off < s.end && !*cancelled; off += EVICT_STEP) {
		uint64_t len = MIN(EVICT_STEP, s.end - off);

		(void)fs_session_drop_cache(m->session, s.object, off, len);
		pages += vmo_evict(s.object->vmo, off, len, false);
	}
	json_object_set_new(reply, "bytes", json_integer((json_int_t)(pages * VMOFS_PAGE_SIZE)));
	return 0;
}

static const struct command commands[] = {
	{ .name = "stat", .run = run_stat },
	{ .name = "dump", .run = run_dump },
	{ .name = "prefetch", .is_long = true, .run = run_prefetch },
	{ .name = "pin", .is_long = true, .run = run_pin },
	{ .name = "evict", .is_long = true, .run = run_evict },
};

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}
