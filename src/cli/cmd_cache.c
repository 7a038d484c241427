/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmofs cache: looks at the directory of a disk cache and cares for it, beside the mounts that use it. It works on the
 * directory itself and asks no daemon. One thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/cmd.h"
#include "cli/config_args.h"
#include "cli/text.h"
#include "daemon/options.h"
#include "store/cache.h"

static const struct opt cache_opts[] = {
	{ 'j', "json", NULL, "print JSON; ls: one object a line" },
	{ 'u', "url", "URL", "clear: only what came from URL" },
	{ 0, "cache-size", "SIZE",
	  "gc: the most that it may take, instead of the configuration's" },
	{ 0, "cache-free", "SIZE", "gc: what stays free of its file system, likewise" },
	{ 'c', "config", "FILE", "read FILE too, after those in /etc and the home directory" },
	{ 0 },
};

DEFINE_FREEP(struct vmofs_config, config_free)
DEFINE_FREEP(struct cache, cache_free)

/* ---- ls ---- */

struct list {
	bool json;
	uint64_t entries;
	uint64_t disk;
};

static const char *state_of(const struct cache_info *i)
{
	return i->damaged              ? "damaged"
		: i->in_use            ? "in use"
		: i->present < i->size ? "part"
				       : "whole";
}

static void list_text(const struct cache_info *i)
{
	char size[TEXT_BYTES_MAX], present[TEXT_BYTES_MAX], disk[TEXT_BYTES_MAX];
	char used[32] = "-";
	time_t sec = (time_t)i->used_sec;
	struct tm tm;

	if (sec && localtime_r(&sec, &tm))
		strftime(used, sizeof used, "%Y-%m-%d %H:%M:%S", &tm);
	printf("%11s %11s %11s %-19s %-8s", text_bytes((double)i->size, size),
	       text_bytes((double)i->present, present), text_bytes((double)i->disk, disk), used,
	       state_of(i));
	/* What has no name any more is called by its files. */
	text_print_name(*i->url ? i->url : i->name);
	putchar('\n');
}

static void list_json(const struct cache_info *i)
{
	json_t *o = json_object();

	json_object_set_new(o, "name", text_json(i->name));
	json_object_set_new(o, "url", text_json(i->url));
	json_object_set_new(o, "validator", text_json(i->validator));
	json_object_set_new(o, "size", json_integer((json_int_t)i->size));
	json_object_set_new(o, "present", json_integer((json_int_t)i->present));
	json_object_set_new(o, "disk", json_integer((json_int_t)i->disk));
	json_object_set_new(o, "used", json_integer((json_int_t)i->used_sec));
	json_object_set_new(o, "damaged", json_boolean(i->damaged));
	json_object_set_new(o, "in_use", json_boolean(i->in_use));
	text_print_json(o);
	json_decref(o);
}

static bool list_add(void *arg, const struct cache_info *i)
{
	struct list *l = arg;

	if (!l->json && !l->entries)
		printf("%11s %11s %11s %-19s %-8s%s\n", "SIZE", "PRESENT", "ON DISK", "LAST USED",
		       "STATE", "URL");
	l->entries++;
	l->disk += i->disk;
	if (l->json)
		list_json(i);
	else
		list_text(i);
	return !ferror(stdout);
}

static int run_ls(struct cache *c, const struct args *a, struct vmofs_err *err)
{
	struct list l = { .json = args_get(a, "json") != NULL };
	char disk[TEXT_BYTES_MAX];
	int r = cache_each(c, list_add, &l);

	if (r < 0)
		return vmofs_err_set(err, r, "cannot read the disk cache: %s", strerror(-r));
	if (!l.json)
		printf("%" PRIu64 " objects, %s on disk\n", l.entries,
		       text_bytes((double)l.disk, disk));
	return 0;
}

/* ---- verify, clear, gc ---- */

static void work_json(const struct cache_work *w)
{
	json_t *o = json_object();

	json_object_set_new(o, "entries", json_integer((json_int_t)w->entries));
	json_object_set_new(o, "pages", json_integer((json_int_t)w->pages));
	json_object_set_new(o, "bytes", json_integer((json_int_t)w->bytes));
	json_object_set_new(o, "bad", json_integer((json_int_t)w->bad));
	json_object_set_new(o, "skipped", json_integer((json_int_t)w->skipped));
	text_print_json(o);
	json_decref(o);
}

static void work_text(const struct cache_work *w, const char *done)
{
	char bytes[TEXT_BYTES_MAX];

	printf("%" PRIu64 " objects, %" PRIu64 " pages %s, %s freed", w->entries, w->pages, done,
	       text_bytes((double)w->bytes, bytes));
	if (w->bad)
		printf(", %" PRIu64 " wrong and dropped", w->bad);
	if (w->skipped)
		printf(", %" PRIu64 " objects left alone because they are in use", w->skipped);
	putchar('\n');
}

static int work_done(int r, const struct cache_work *w, const struct args *a, const char *done,
		     struct vmofs_err *err)
{
	if (r < 0)
		return vmofs_err_set(err, r, "cannot go through the disk cache: %s", strerror(-r));
	if (args_get(a, "json"))
		work_json(w);
	else
		work_text(w, done);
	return 0;
}

static int run_verify(struct cache *c, const struct args *a, struct vmofs_err *err)
{
	struct cache_work w = { 0 };
	int r = work_done(cache_verify(c, &w), &w, a, "checked", err);

	return r < 0 ? r : w.bad > 0;
}

static int run_clear(struct cache *c, const struct args *a, struct vmofs_err *err)
{
	struct cache_work w = { 0 };

	return work_done(cache_clear(c, args_get(a, "url"), &w), &w, a, "removed", err);
}

static int run_gc(struct cache *c, const struct args *a, struct vmofs_err *err)
{
	struct cache_work w = { 0 };

	return work_done(cache_gc(c, &w), &w, a, "removed", err);
}

/* ---- the command ---- */

static const struct verb {
	const char *name;
	int (*run)(struct cache *c, const struct args *a, struct vmofs_err *err);
	const char *opts[3]; /* those that only it has */
} verbs[] = {
	{ .name = "ls", .run = run_ls },
	{ .name = "verify", .run = run_verify },
	{ .name = "clear", .run = run_clear, .opts = { "url" } },
	{ .name = "gc", .run = run_gc, .opts = { "cache-size", "cache-free" } },
};

static const struct verb *find_verb(const char *name, struct vmofs_err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	vmofs_err_set(err, -EINVAL,
		      "unknown command 'cache %s'; there are ls, verify, clear and gc", name);
	return NULL;
}

static bool has_opt(const struct verb *v, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(v->opts) && v->opts[i]; i++)
		if (!strcmp(v->opts[i], name))
			return true;
	return false;
}

static int check_opts(const struct verb *v, const struct args *a, struct vmofs_err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		for (size_t j = 0; j < ARRAY_LEN(v->opts) && verbs[i].opts[j]; j++) {
			const char *name = verbs[i].opts[j];

			if (args_get(a, name) && !has_opt(v, name))
				return vmofs_err_set(err, -EINVAL,
						     "option '--%s' is for 'vmofs cache %s' only",
						     name, verbs[i].name);
		}
	return 0;
}

/* What the command line says beside the files. */
static int set_given(struct vmofs_config *c, const struct args *a, struct vmofs_err *err)
{
	static const char *const names[] = { "cache-size", "cache-free" };
	int r = a->n_pos > 1 ? config_set(c, "cache-dir", a->pos[1], err) : 0;

	for (size_t i = 0; !r && i < ARRAY_LEN(names); i++)
		if (args_get(a, names[i]))
			r = config_set(c, names[i], args_get(a, names[i]), err);
	return r;
}

/* A directory that is none of ours must not become one by being looked at. */
static int check_is_cache(const char *dir, struct vmofs_err *err)
{
	cleanup(mem_freep) char *version = NULL;

	if (!dir)
		return vmofs_err_set(err, -EINVAL,
				     "which directory? The configuration has no 'cache-dir'");
	if (asprintf(&version, "%s/version", dir) < 0) {
		version = NULL;
		return vmofs_err_set(err, -ENOMEM, "no memory for a path");
	}
	if (access(version, F_OK) < 0)
		return vmofs_err_set(err, -errno, "there is no disk cache in '%s': %s", dir,
				     strerror(errno));
	return 0;
}

static int cmd_cache_run(const struct args *a, struct vmofs_err *err)
{
	const struct verb *v = find_verb(a->pos[0], err);
	cleanup(config_freep) struct vmofs_config *config = NULL;
	cleanup(mem_freep) char *dir = NULL;
	cleanup(cache_freep) struct cache *c = NULL;
	struct cache_params p = { 0 };
	int r = v ? check_opts(v, a, err) : err->code;

	if (!r)
		r = config_args_load(&config, a, "", err);
	if (!r)
		r = set_given(config, a, err);
	if (!r)
		r = options_cache(config, &dir, &p, err);
	if (!r)
		r = check_is_cache(dir, err);
	if (!r)
		r = cache_open(&c, &p, err);
	return r ? r : v->run(c, a, err);
}

const struct cmd cmd_cache = {
	.name = "cache",
	.args = "ls|verify|clear|gc [DIR]",
	.help = "show, check, empty or trim a disk cache",
	.opts = cache_opts,
	.min_args = 1,
	.max_args = 2,
	.run = cmd_cache_run,
};
