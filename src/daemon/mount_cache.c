/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk cache of a mount: its directory is opened and closed here, by the main thread. A directory that
 * cannot be what was asked for is an error, before anything is mounted; a disk that fails is none: the mount
 * works without it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "daemon/mount_private.h"
#include "daemon/options.h"
#include "store/cache.h"
#include "vm/disk_tier.h"

enum { CACHE_THREADS_MAX = 256 };

/* Whether @path is @dir or something below it. Both are absolute, without links. */
static bool is_inside(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (!path[n] || path[n] == '/' || dir[n - 1] == '/');
}

/* Contents would have to be read through the mount that they are kept for. */
static int check_place(const struct mount *m, struct vmofs_err *err)
{
	if (!is_inside(m->cache_dir, m->p.mountpoint))
		return 0;
	return vmofs_err_set(err, -EINVAL,
			     "option 'cache-dir': '%s' is inside of the mountpoint '%s'; "
			     "give a directory elsewhere",
			     m->cache_dir, m->p.mountpoint);
}

static int open_threads(struct mount *m, struct vmofs_err *err)
{
	struct disk_io_params p = { .cache = m->disk_cache };
	struct vm_pool_stats st;
	uint64_t threads;
	int r = config_u64(m->p.config, "cache-threads", &threads, err);

	if (r < 0)
		return r;
	if (threads < 1 || threads > CACHE_THREADS_MAX)
		return vmofs_err_set(err, -EINVAL, "option 'cache-threads': from 1 to %d",
				     CACHE_THREADS_MAX);
	vm_pool_stats(m->pool, &st);
	p.threads = (unsigned)threads;
	p.backlog = st.limit / 4;
	r = disk_io_new(&m->disk, &p);
	return r < 0 ? vmofs_err_set(err, r, "no memory for the disk cache") : 0;
}

int mount_open_cache(struct mount *m, struct vmofs_err *err)
{
	struct cache_params p = { .housekeeping = true };
	int r = options_cache(m->p.config, &m->cache_dir, &p, err);

	if (r < 0 || !m->cache_dir)
		return r;
	r = check_place(m, err);
	if (!r)
		r = cache_open(&m->disk_cache, &p, err);
	if (r == -EIO || r == -ENOSPC || r == -EDQUOT) {
		log_warn("%s; the mount works without a disk cache", err->msg);
		*err = (struct vmofs_err)VMOFS_ERR_INIT;
		return 0;
	}
	return r < 0 ? r : open_threads(m, err);
}

void mount_free_cache(struct mount *m)
{
	disk_io_free(m->disk);
	cache_free(m->disk_cache);
	free(m->cache_dir);
}
