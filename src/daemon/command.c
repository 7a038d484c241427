/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stat and dump look; prefetch, pin and evict move pages of a file, in steps, so that they can be given up and
 * hold nothing for long. See command.h for who runs them.
 */
#include "daemon/command.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "daemon/command_write.h"
#include "daemon/mount.h"
#include "daemon/object_fetch.h"

enum { DUMP_ITEMS_MAX = 100 };
#define EVICT_STEP MIB(256)

static int run_stat(struct mount *m, const json_t *request UNUSED, json_t *reply,
		    atomic_bool *cancelled UNUSED, struct vmofs_err *err UNUSED)
{
	report_fill(m, reply);
	return 0;
}

static const char *request_path(const json_t *request)
{
	const char *path = json_string_value(json_object_get(request, "path"));

	/* The mountpoint itself, with or without a slash. */
	return path ? path + strspn(path, "/") : "";
}

static uint64_t timeout_of(struct mount *m)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	uint64_t ns = 0;

	(void)config_time(m->p.config, "timeout", &ns, &err);
	return ns;
}

/* By when a command that asks the origin must have its answer. */
static uint64_t deadline_of(struct mount *m)
{
	uint64_t ns = timeout_of(m);

	return ns ? loop_now_ns() + ns : 0;
}

static int path_failed(const char *path, int r, struct vmofs_err *err)
{
	if (r == -ENOENT || r == -ENOTDIR)
		return vmofs_err_set(err, r, "there is no file '%s' in the mount", path);
	if (r == -EISDIR)
		return vmofs_err_set(err, r, "'%s' is a directory; give a file in it", path);
	if (r == -ELOOP)
		return vmofs_err_set(err, r, "'%s' is a symbolic link; give what it points to",
				     path);
	return vmofs_err_set(err, r, "cannot look up '%s': %s", path, strerror(-r));
}

/* The object at @path, until tree->ops->close(). */
static int open_path(struct mount *m, const char *path, struct fs_object **out,
		     struct vmofs_err *err)
{
	int r = fs_tree_open_wait(m->tree, path, deadline_of(m), out);

	return r < 0 ? path_failed(path, r, err) : 0;
}

static int run_stat_file(struct mount *m, const json_t *request, json_t *reply,
			 atomic_bool *cancelled UNUSED, struct vmofs_err *err)
{
	const char *path = request_path(request);
	struct fs_tree_attr attr;
	struct fs_object *o;
	int r = fs_tree_resolve_wait(m->tree, path, deadline_of(m), &attr);

	if (r < 0)
		return path_failed(path, r, err);
	o = m->tree->ops->find(m->tree, attr.st.st_ino);
	report_fill_file(&attr, o, reply);
	m->tree->ops->close(m->tree, o);
	m->tree->ops->forget(m->tree, attr.st.st_ino, 1);
	return 0;
}

/* ---- where it comes from ---- */

struct origin_options {
	json_t *list;
	const struct vmofs_option *opt;
};

static void add_value(void *arg, const char *value)
{
	struct origin_options *o = arg;

	json_array_append_new(o->list, json_pack("[s, s?]", o->opt->name, value));
}

/* What the source and the disk cache were opened with, for who opens them again. */
static json_t *origin_options(const struct vmofs_config *c)
{
	static const struct vmofs_option cache[] = { { .name = "cache-dir" },
						     { .name = "cache-size" },
						     { .name = "cache-free" },
						     { .name = NULL } };
	struct origin_options o = { .list = json_array() };

	for (size_t i = 0; i == 0 || vmofs_providers[i - 1]; i++) {
		const struct vmofs_option *opt = i ? vmofs_providers[i - 1]->options : cache;

		for (o.opt = opt; o.opt && o.opt->name; o.opt++)
			if (config_is_set(c, o.opt->name))
				config_each(c, o.opt->name, add_value, &o);
	}
	return o.list;
}

static int origin_of_file(struct mount *m, const char *path, json_t *reply, struct vmofs_err *err)
{
	struct fs_object *o;
	int r = open_path(m, path, &o, err);

	if (r < 0)
		return r;
	if (o->local)
		r = vmofs_err_set(
			err, -EINVAL,
			"'%s' was changed here, so no origin has it; copy it, or clone what "
			"the mount shows as a whole",
			path);
	else
		json_object_set_new(reply, "source", json_string(fs_object_url(o)));
	m->tree->ops->close(m->tree, o);
	return r;
}

static int run_origin(struct mount *m, const json_t *request, json_t *reply,
		      atomic_bool *cancelled UNUSED, struct vmofs_err *err)
{
	const char *path = request_path(request);
	int r = 0;

	if (m->cow_dir && !(path && *path))
		r = vmofs_err_set(err, -EINVAL,
				  "'%s' was changed here, or may be; clone '%s', which it is of",
				  m->p.mountpoint, m->p.source);
	else if (path && *path && m->source)
		r = origin_of_file(m, path, reply, err);
	else
		json_object_set_new(reply, "source", json_string(m->p.source));
	if (!r)
		json_object_set_new(reply, "options", origin_options(m->p.config));
	return r;
}

enum { DUMP_OBJECTS_MAX = 20 };

struct dump {
	FILE *out;
	unsigned n; /* objects so far */
};

static void dump_object(void *arg, struct fs_object *o)
{
	struct dump *d = arg;

	if (d->n++ < DUMP_OBJECTS_MAX)
		vmo_dump(o->vmo, d->out, DUMP_ITEMS_MAX);
}

/* Of a tree: the source, and the objects that were used last. */
static void dump_tree(struct mount *m, FILE *out)
{
	struct dump d = { .out = out };

	m->source->ops->dump(m->source, out, 0, DUMP_ITEMS_MAX);
	object_cache_each(m->cache, dump_object, &d);
	if (d.n > DUMP_OBJECTS_MAX)
		fprintf(out, "... %u more objects\n", d.n - DUMP_OBJECTS_MAX);
}

static int dump_write(struct mount *m, const char *path, FILE *out, struct vmofs_err *err)
{
	struct fs_object *o;
	int r = 0;

	if (path && *path) {
		r = open_path(m, path, &o, err);
		if (r < 0)
			return r;
		vmo_dump(o->vmo, out, DUMP_ITEMS_MAX);
		m->tree->ops->close(m->tree, o);
	} else if (m->source) {
		dump_tree(m, out);
	} else {
		vmo_dump(m->vmo, out, DUMP_ITEMS_MAX);
	}
	vm_pool_dump(m->pool, out);
	return 0;
}

static int run_dump(struct mount *m, const json_t *request, json_t *reply,
		    atomic_bool *cancelled UNUSED, struct vmofs_err *err)
{
	cleanup(mem_freep) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int r;

	if (!out)
		return vmofs_err_set(err, -ENOMEM, "no memory for the dump");
	r = dump_write(m, request_path(request), out, err);
	if (fclose(out) || !text)
		return vmofs_err_set(err, -ENOMEM, "no memory for the dump");
	if (!r)
		json_object_set_new(reply, "text", json_string(text));
	return r;
}

/* The part of an object that a command is about. */
struct span {
	struct fs_object *object;
	uint64_t off;
	uint64_t end;
	bool opened; /* to be closed */
};

static uint64_t request_u64(const json_t *request, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(request, key));

	return v > 0 ? (uint64_t)v : 0;
}

/* "off", "len" (0: to the end), rounded outward to pages. */
static int span_set_range(struct span *s, const json_t *request, struct vmofs_err *err)
{
	uint64_t len = request_u64(request, "len");

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

static void span_close(const struct span *s, struct mount *m)
{
	if (s->opened)
		m->tree->ops->close(m->tree, s->object);
}

/* "path" below the mount; a mount of one object stands for it. 0: span_close() follows. */
static int span_open(struct span *s, struct mount *m, const json_t *request, struct vmofs_err *err)
{
	const char *path = request_path(request);
	int r = 0;

	*s = (struct span){ .object = &m->object, .opened = m->source || *path };
	if (s->opened)
		r = open_path(m, path, &s->object, err);
	if (r < 0)
		return r;
	r = span_set_range(s, request, err);
	if (r < 0)
		span_close(s, m);
	return r;
}

/* Reading in more than there is memory for would only throw out what came first. */
static int span_check_memory(const struct span *s, struct mount *m, struct vmofs_err *err)
{
	uint64_t room = object_fetch_room(m);

	if (s->end - s->off <= room)
		return 0;
	return vmofs_err_set(err, -ENOSPC,
			     "%llu MiB do not fit into %llu MiB, three quarters of the option "
			     "'memory'; give OFFSET and LENGTH, or mount with more memory",
			     (unsigned long long)((s->end - s->off) >> 20),
			     (unsigned long long)(room >> 20));
}

static int reply_bytes(const struct span *s, json_t *reply)
{
	json_object_set_new(reply, "bytes", json_integer((json_int_t)(s->end - s->off)));
	return 0;
}

static int prefetch_dir(struct mount *m, const json_t *request, json_t *reply,
			atomic_bool *cancelled, struct vmofs_err *err)
{
	const char *path = request_path(request);
	struct object_fetch_sum sum;
	int r;

	if (request_u64(request, "off") || request_u64(request, "len"))
		return vmofs_err_set(err, -EISDIR,
				     "'%s' is a directory; OFFSET and LENGTH are of a file", path);
	r = object_fetch_dir(m, path, timeout_of(m), cancelled, &sum, err);
	if (r < 0)
		return r;
	json_object_set_new(reply, "bytes", json_integer((json_int_t)sum.bytes));
	json_object_set_new(reply, "files", json_integer((json_int_t)sum.files));
	return 0;
}

static int run_prefetch(struct mount *m, const json_t *request, json_t *reply,
			atomic_bool *cancelled, struct vmofs_err *err)
{
	struct span s;
	int r = span_open(&s, m, request, err);

	if (r == -EISDIR)
		return prefetch_dir(m, request, reply, cancelled, err);
	if (r < 0)
		return r;
	/* What memory lets go of is then on the disk. */
	r = s.object->tier ? 0 : span_check_memory(&s, m, err);
	if (!r)
		r = object_fetch(s.object, s.off, s.end, NULL, cancelled, err);
	span_close(&s, m);
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

static int span_pin(const struct span *s, struct mount *m, const char *path, atomic_bool *cancelled,
		    struct vmofs_err *err)
{
	int r = span_check_memory(s, m, err);

	if (!r)
		r = object_fetch(s->object, s->off, s->end, hint_keep, cancelled, err);
	if (r < 0 || !s->opened)
		return r;
	r = pin_set_add(&m->pins, m->tree, path, deadline_of(m));
	return r < 0 ? vmofs_err_set(err, r, "cannot keep '%s' open: %s", fs_object_url(s->object),
				     strerror(-r))
		     : 0;
}

static int run_pin(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		   struct vmofs_err *err)
{
	struct span s;
	int r = span_open(&s, m, request, err);

	if (r < 0)
		return r;
	if (json_is_true(json_object_get(request, "undo"))) {
		r = span_unpin(&s, err);
		pin_set_remove(&m->pins, m->tree, s.object);
	} else {
		r = span_pin(&s, m, request_path(request), cancelled, err);
	}
	span_close(&s, m);
	return r ? r : reply_bytes(&s, reply);
}

/* The kernel's copies go too, or the next read would not come here at all. */
static uint64_t evict_range(struct mount *m, struct fs_object *o, uint64_t off, uint64_t end,
			    const atomic_bool *cancelled)
{
	uint64_t pages = 0;

	for (; off < end && !*cancelled; off += EVICT_STEP) {
		uint64_t len = MIN(EVICT_STEP, end - off);

		(void)fs_session_drop_cache(m->session, o, off, len);
		pages += vmo_evict(o->vmo, off, len, false);
	}
	return pages;
}

struct evict_all {
	struct mount *mount;
	const atomic_bool *cancelled;
	uint64_t pages;
};

static void evict_object(void *arg, struct fs_object *o)
{
	struct evict_all *e = arg;

	e->pages += evict_range(e->mount, o, 0, o->size, e->cancelled);
}

static int run_evict(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		     struct vmofs_err *err)
{
	struct evict_all e = { .mount = m, .cancelled = cancelled };
	struct span s;
	int r;

	if (m->source && !*request_path(request)) {
		object_cache_each(m->cache, evict_object, &e);
		object_cache_trim(m->cache);
		malloc_trim(0);
	} else {
		r = span_open(&s, m, request, err);
		if (r < 0)
			return r;
		e.pages = evict_range(m, s.object, s.off, s.end, cancelled);
		span_close(&s, m);
	}
	json_object_set_new(reply, "bytes", json_integer((json_int_t)(e.pages * VMOFS_PAGE_SIZE)));
	return 0;
}

static const struct command commands[] = {
	{ .name = "stat", .run = run_stat },
	{ .name = "stat-file", .is_long = true, .run = run_stat_file },
	{ .name = "origin", .is_long = true, .run = run_origin },
	{ .name = "dump", .is_long = true, .run = run_dump },
	{ .name = "prefetch", .is_long = true, .run = run_prefetch },
	{ .name = "pin", .is_long = true, .run = run_pin },
	{ .name = "evict", .is_long = true, .run = run_evict },
	{ .name = "writing", .is_long = true, .run = command_writing },
	{ .name = "end", .run = command_end },
	{ .name = "dirty", .is_long = true, .run = command_dirty },
	{ .name = "sync", .is_long = true, .run = command_sync },
	{ .name = "resolve", .is_long = true, .run = command_resolve },
};

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}
