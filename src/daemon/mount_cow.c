/* SPDX-License-Identifier: Apache-2.0 */
/* Where what is changed is kept, and with what memory what lies below it is read. Set-up path of the main thread. */
#include "daemon/mount_cow.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cow/cow.h"
#include "daemon/mount.h"
#include "daemon/options.h"
#include "daemon/write_options.h"

/* Of the mount's memory: what is read below a changed file is there only until it has been copied. */
enum { POOL_PART = 8 };

/*
 * A pool of its own: a read of a changed file has its memory already when it asks for what is below, which would never get any if
 * such reads had all of it.
 */
static int make_pool(struct mount *m, struct vmofs_err *err)
{
	struct vm_pool_stats st;

	vm_pool_stats(m->pool, &st);
	return vm_pool_new(&m->cow_pool, MAX(st.limit / POOL_PART, VM_POOL_MIN), err);
}

static int set_place(struct mount *m, const char *dir, const struct vmofs_source_info *info,
		     struct vmofs_err *err)
{
	char path[PATH_MAX];
	int r = cow_place(dir, info, m->p.cow_name ? m->p.cow_name : "", path, sizeof path);

	if (r < 0)
		return vmofs_err_set(err, r, "option 'cow-dir': '%s': %s", dir, strerror(-r));
	m->cow_dir = strdup(path);
	return m->cow_dir ? 0 : vmofs_err_set(err, -ENOMEM, "no memory for the mount");
}

/* @p->dir is owned by the caller. */
static int make_params(struct mount *m, char **dir, struct cow_params *p, struct vmofs_err *err)
{
	int r = write_options_cow_dir(m->p.config, dir, err);

	if (!r)
		r = options_check_place("cow-dir", *dir, m->p.mountpoint, err);
	if (!r)
		r = make_pool(m, err);
	*p = (struct cow_params){
		.dir = *dir,
		.name = m->p.cow_name ? m->p.cow_name : "",
		.pool = m->cow_pool,
		.disk = m->disk,
		.metadata = config_bool(m->p.config, "object-metadata"),
	};
	return r;
}

int mount_cow_over(struct mount *m, struct vmofs_source_info *info, struct vmofs_err *err)
{
	cleanup(mem_freep) char *dir = NULL;
	struct vmofs_source *child;
	struct cow_params p;
	int r;

	if (!write_options_cow(m->p.config))
		return 0;
	r = make_params(m, &dir, &p, err);
	if (!r)
		r = set_place(m, dir, info, err);
	if (!r)
		r = cow_new(&child, m->source, info, &p, err);
	if (!r)
		m->source = child;
	return r;
}

static int open_object(struct mount *m, const struct vmofs_provider_ops *ops, const char *name,
		       struct vmofs_object_info *object, struct vmofs_provider **out,
		       struct vmofs_err *err)
{
	struct vmofs_provider_env env = { .config = m->p.config, .loops = m->loops };
	int r;

	if (!ops->open)
		return vmofs_err_set(err, -EINVAL, "'%s' is not a source of '%s' that can be shown",
				     m->p.source, ops->name);
	r = ops->open(out, m->p.source, &env, object, err);
	if (!r && name)
		snprintf(object->name, sizeof object->name, "%s", name);
	return r;
}

int mount_cow_open(struct mount *m, const struct vmofs_provider_ops *ops, const char *name,
		   struct vmofs_source_info *info, struct vmofs_err *err)
{
	cleanup(mem_freep) struct vmofs_object_info *object = calloc(1, sizeof *object);
	cleanup(mem_freep) char *dir = NULL;
	struct vmofs_provider *provider = NULL;
	struct cow_params p;
	int r;

	if (!object)
		return vmofs_err_set(err, -ENOMEM, "no memory for the mount");
	r = open_object(m, ops, name, object, &provider, err);
	if (!r)
		r = make_params(m, &dir, &p, err);
	if (!r) {
		cow_single_info(object, info);
		r = set_place(m, dir, info, err);
	}
	if (!r)
		r = cow_new_single(&m->source, provider, object, info, &p, err);
	if (r < 0 && provider)
		provider->ops->free(provider);
	return r;
}
