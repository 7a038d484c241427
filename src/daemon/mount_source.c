/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a mount shows: one object of a provider, or the tree of a namespace. Set-up path of one thread;
 * the end of the same things is here too, in the steps that mount.c puts in order.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "daemon/mount_cow.h"
#include "daemon/mount_private.h"
#include "daemon/mount_write.h"
#include "daemon/write_options.h"
#include "vm/disk_tier.h"

/* Idle objects cost about an eighth of this each, beside their pages. */
#define MEMORY_PER_IDLE KIB(16)
enum { IDLE_MIN = 64, IDLE_MAX = 65536 };
/* The time that an unmount gives the disk cache. */
#define DRAIN_NS (5 * NSEC_PER_SEC)

static void write_schemes(FILE *out)
{
	for (const struct vmofs_provider_ops *const *p = vmofs_providers; *p; p++)
		for (const char *const *s = (*p)->schemes; *s; s++)
			fprintf(out, " %s", *s);
}

static int unknown_source(const char *source, struct vmofs_err *err)
{
	char schemes[256] = "";
	FILE *out = fmemopen(schemes, sizeof schemes - 1, "w");

	if (out) {
		write_schemes(out);
		fclose(out);
	}
	return vmofs_err_set(err, -EINVAL,
			     "cannot tell what '%s' is; a source begins with one of:%s", source,
			     schemes);
}

/* What both kinds need to know of reading ahead. */
static int reading_params(struct mount *m, struct fs_object_params *out, struct vmofs_err *err)
{
	struct vm_pool_stats st;
	int r = config_size(m->p.config, "readahead-max", &out->readahead_max, err);

	if (!r)
		r = config_size(m->p.config, "keep-behind", &out->keep_behind, err);
	vm_pool_stats(m->pool, &st);
	out->readahead_max = MIN(out->readahead_max, st.limit / 4);
	return r;
}

static int set_url(struct mount *m, const char *url, struct vmofs_err *err)
{
	m->url = strdup(url);
	return m->url ? 0 : vmofs_err_set(err, -ENOMEM, "no memory for the mount");
}

/* ---- one object ---- */

static int make_object(struct mount *m, const struct vmofs_object_info *info,
		       const struct fs_object_params *op, struct vmofs_err *err)
{
	int r = vmo_new(&m->vmo, m->pool, m->provider, info->size, 0, err);

	if (r < 0)
		return r;
	if (info->weak)
		log_warn("'%s' has no strong validator: a change at the origin may go unseen",
			 info->url);
	vmo_set_name(m->vmo, info->name);
	r = fs_object_init(&m->object, info, m->provider, m->vmo, op);
	if (!r)
		fs_object_use_disk(&m->object, m->disk);
	return r < 0 ? vmofs_err_set(err, r, "no memory for the mount") : 0;
}

/* The name that the file has in the mounted directory. */
static int set_name(struct mount *m, const char *given, struct vmofs_err *err)
{
	const char *name = config_str(m->p.config, "name");

	if (name &&
	    (!*name || strchr(name, '/') || strlen(name) > 255 || !strcmp(name, ".") ||
	     !strcmp(name, "..")))
		return vmofs_err_set(err, -EINVAL, "option 'name': '%s' is no file name", name);
	snprintf(m->name, sizeof m->name, "%s", name ? name : given);
	return 0;
}

static int open_object(struct mount *m, const struct vmofs_provider_ops *ops, struct vmofs_err *err)
{
	struct vmofs_provider_env env = { .config = m->p.config, .loops = m->loops };
	cleanup(mem_freep) struct vmofs_object_info *info = calloc(1, sizeof *info);
	struct fs_object_params op = { 0 };
	uint64_t opened_ns;
	int r;

	if (!ops->open)
		return vmofs_err_set(err, -EINVAL, "'%s' is not a source of '%s' that can be shown",
				     m->p.source, ops->name);
	if (!info)
		return vmofs_err_set(err, -ENOMEM, "no memory for the mount");
	r = reading_params(m, &op, err);
	opened_ns = loop_now_ns();
	if (!r)
		r = ops->open(&m->provider, m->p.source, &env, info, err);
	/* A connection and a request: two round trips. */
	op.delay_ns = (loop_now_ns() - opened_ns) / 2;
	if (!r)
		r = make_object(m, info, &op, err);
	if (!r)
		r = set_name(m, info->name, err);
	return r ? r : set_url(m, info->url, err);
}

/* ---- a tree ---- */

static int make_cache(struct mount *m, const struct fs_object_params *op, struct vmofs_err *err)
{
	struct object_cache_params p = {
		.pool = m->pool,
		.source = m->source,
		.disk = m->disk,
		.readahead_max = op->readahead_max,
		.keep_behind = op->keep_behind,
		.delay_ns = op->delay_ns,
	};
	struct vm_pool_stats st;

	vm_pool_stats(m->pool, &st);
	p.idle_max = (unsigned)MIN(MAX(st.limit / MEMORY_PER_IDLE, (uint64_t)IDLE_MIN),
				   (uint64_t)IDLE_MAX);
	return object_cache_new(&m->cache, &p, err);
}

static int parse_id(const struct vmofs_config *c, const char *name, uint32_t *out,
		    struct vmofs_err *err)
{
	uint64_t n;

	if (!config_is_set(c, name))
		return 0;
	if (config_u64(c, name, &n, err) < 0)
		return err->code;
	if (n >= UINT32_MAX)
		return vmofs_err_set(err, -EINVAL, "option '%s': from 0 to %u", name,
				     UINT32_MAX - 1);
	*out = (uint32_t)n;
	return 0;
}

static int parse_mode(const struct vmofs_config *c, const char *name, mode_t *out,
		      struct vmofs_err *err)
{
	const char *text = config_str(c, name);
	char *end;
	unsigned long n = strtoul(text, &end, 8);

	if (*end || end == text || n > 07777)
		return vmofs_err_set(err, -EINVAL,
				     "option '%s': '%s' is not a mode such as 0444 or 755", name,
				     text);
	*out = (mode_t)n;
	return 0;
}

static int tree_params(struct mount *m, struct fs_tree_source_params *p, struct vmofs_err *err)
{
	const struct vmofs_config *c = m->p.config;

	p->uid = geteuid();
	p->gid = getegid();
	p->immutable = config_bool(c, "immutable");
	p->object_metadata = config_bool(c, "object-metadata");
	if (config_time(c, "metadata-ttl", &p->ttl_ns, err) ||
	    config_time(c, "negative-ttl", &p->negative_ttl_ns, err) ||
	    config_time(c, "timeout", &p->timeout_ns, err) ||
	    config_size(c, "metadata-memory", &p->soft_limit, err) ||
	    parse_id(c, "uid", &p->uid, err) || parse_id(c, "gid", &p->gid, err) ||
	    parse_mode(c, "file-mode", &p->file_mode, err) ||
	    parse_mode(c, "dir-mode", &p->dir_mode, err))
		return err->code;
	return 0;
}

static int make_tree(struct mount *m, const struct vmofs_source_info *info, struct vmofs_err *err)
{
	struct fs_tree_source_params p = {
		.source = m->source,
		.info = info,
		.cache = m->cache,
		.loops = m->loops,
		.root_file = m->at_file ? m->name : NULL,
	};
	int r = tree_params(m, &p, err);

	mount_write_tree_params(m, &p);
	return r < 0 ? r : fs_tree_source_new(&m->tree, &p, err);
}

static int open_source(struct mount *m, const struct vmofs_source_ops *ops,
		       struct vmofs_source_info *info, struct vmofs_err *err)
{
	struct vmofs_provider_env env = {
		.config = m->p.config,
		.loops = m->loops,
		.writable = write_options_wanted(m->p.config) && !write_options_cow(m->p.config),
	};
	int r;

	if (!ops)
		return mount_cow_open(m, vmofs_provider_find(m->p.source),
				      config_str(m->p.config, "name"), info, err);
	r = ops->open(&m->source, m->p.source, &env, info, err);
	return r < 0 ? r : mount_cow_over(m, info, err);
}

/* The one file is the root: the kernel asks for it by number before it has asked for its name. */
static int find_root_file(struct mount *m, struct vmofs_err *err)
{
	struct fs_tree_attr attr;
	int r;

	if (!m->at_file)
		return 0;
	r = fs_tree_lookup_wait(m->tree, FS_TREE_ABOVE, m->name, 0, &attr);
	return r < 0 ? vmofs_err_set(err, r, "cannot find '%s'", m->name) : 0;
}

/* @ops NULL: of one object, which can be changed here and not there. */
static int open_tree(struct mount *m, const struct vmofs_source_ops *ops, struct vmofs_err *err)
{
	cleanup(mem_freep) struct vmofs_source_info *info = calloc(1, sizeof *info);
	struct fs_object_params op = { 0 };
	uint64_t opened_ns;
	int r;

	if (ops && config_is_set(m->p.config, "name"))
		return vmofs_err_set(err, -EINVAL,
				     "option 'name': '%s' is a tree, whose files have their names",
				     m->p.source);
	if (!info)
		return vmofs_err_set(err, -ENOMEM, "no memory for the mount");
	r = reading_params(m, &op, err);
	opened_ns = loop_now_ns();
	if (!r)
		r = open_source(m, ops, info, err);
	op.delay_ns = (loop_now_ns() - opened_ns) / 2;
	if (!r && !ops)
		r = set_name(m, info->name, err);
	if (!r)
		r = make_cache(m, &op, err);
	if (!r)
		r = mount_write_new_local(m, info, err);
	if (!r)
		r = make_tree(m, info, err);
	if (!r)
		r = mount_write_new_writer(m, info, err);
	if (!r)
		r = find_root_file(m, err);
	return r ? r : set_url(m, info->url, err);
}

/* ---- the steps ---- */

/* How the source is shown as a tree; NULL: it is one object. What can be changed is always one, with names. */
static const struct vmofs_source_ops *mount_tree_of(const struct mount *m)
{
	const struct vmofs_provider_ops *ops = vmofs_provider_find(m->p.source);
	const struct vmofs_source_ops *tree = vmofs_source_find(m->p.source);

	if (!tree && ops && ops->tree_of_one && write_options_wanted(m->p.config) &&
	    !write_options_cow(m->p.config))
		return ops->tree;
	return tree;
}

/* A directory shows the object inside, a regular file becomes it; a tree needs a directory. */
int mount_check_mountpoint(struct mount *m, struct vmofs_err *err)
{
	struct stat st;

	if (stat(m->p.mountpoint, &st) < 0)
		return vmofs_err_set(err, -errno, "cannot mount at '%s': %s", m->p.mountpoint,
				     strerror(errno));
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return vmofs_err_set(err, -ENOTDIR,
				     "cannot mount at '%s': neither a directory nor a regular file",
				     m->p.mountpoint);
	m->at_file = S_ISREG(st.st_mode);
	if (m->at_file && mount_tree_of(m) && !vmofs_source_find(m->p.source))
		return vmofs_err_set(
			err, -ENOTDIR,
			"cannot mount at '%s': with rw '%s' is shown as a file in a directory; give "
			"a directory",
			m->p.mountpoint, m->p.source);
	if (m->at_file && mount_tree_of(m))
		return vmofs_err_set(
			err, -ENOTDIR,
			"cannot mount at '%s': '%s' is a tree, which needs a directory",
			m->p.mountpoint, m->p.source);
	return 0;
}

int mount_open_source(struct mount *m, struct vmofs_err *err)
{
	const struct vmofs_provider_ops *ops = vmofs_provider_find(m->p.source);
	const struct vmofs_source_ops *tree = mount_tree_of(m);
	int r;

	if (!ops)
		return unknown_source(m->p.source, err);
	r = mount_write_check(m, ops->name, tree, err);
	if (r < 0)
		return r;
	if (tree || write_options_cow(m->p.config))
		return open_tree(m, tree, err);
	r = open_object(m, ops, err);
	if (!r && fs_tree_single_new(&m->tree, &m->object, m->name, m->at_file) < 0)
		r = vmofs_err_set(err, -ENOMEM, "no memory for the mount");
	return r;
}

void mount_stop_source(struct mount *m)
{
	if (m->source)
		m->source->ops->stop(m->source);
	if (m->tree)
		m->tree->ops->stop(m->tree);
}

/* What has arrived and is not on disk yet is written, but an unmount does not take for ever. */
static void drain_disk(struct mount *m)
{
	uint64_t left = m->disk ? disk_io_drain(m->disk, loop_now_ns() + DRAIN_NS) : 0;

	if (left)
		log_warn("%llu MiB were not written to the disk cache in time",
			 (unsigned long long)((left + MIB(1) - 1) >> 20));
}

void mount_close_objects(struct mount *m)
{
	drain_disk(m);
	if (m->vmo)
		vmo_close(m->vmo);
	if (m->cache)
		object_cache_close(m->cache);
}

void mount_free_source(struct mount *m)
{
	mount_write_free(m);
	if (m->tree)
		m->tree->ops->free(m->tree);
	object_cache_free(m->cache);
	fs_object_release(&m->object);
	vmo_put(m->vmo);
	if (m->provider)
		m->provider->ops->free(m->provider);
	if (m->source)
		m->source->ops->free(m->source);
	free(m->url);
	free(m->cow_dir);
}

void mount_source_stats(struct mount *m, struct vmofs_provider_stats *out)
{
	*out = (struct vmofs_provider_stats){ 0 };
	if (m->source)
		m->source->ops->stats(m->source, out);
	else
		m->provider->ops->stats(m->provider, out);
}
