/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk cache of a mount: its directory is opened and closed here, by the main thread. A directory that
 * cannot be what was asked for is an error, before anything is mounted; a disk that fails is none: the mount
 * works without it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "daemon/mount_private.h"
#include "daemon/options.h"
#include "store/cache.h"
#include "vm/disk_tier.h"

enum { CACHE_THREADS_MAX = 256 };

static int read_threads(const struct vmofs_config *c, unsigned *out, struct vmofs_err *err)
{
	uint64_t n;
	int r = config_u64(c, "cache-threads", &n, err);

	if (r < 0)
		return r;
	if (n < 1 || n > CACHE_THREADS_MAX)
		return vmofs_err_set(err, -EINVAL, "option 'cache-threads': from 1 to %d",
				     CACHE_THREADS_MAX);
	*out = (unsigned)n;
	return 0;
}

static int open_disk(struct mount *m, const struct cache_params *p, unsigned threads,
		     struct vmofs_err *err)
{
	struct disk_io_params io = { .threads = threads };
	struct vm_pool_stats st;
	int r = cache_open(&m->disk_cache, p, err);

	if (r < 0)
		return r;
	vm_pool_stats(m->pool, &st);
	io.cache = m->disk_cache;
	io.backlog = st.limit / 4;
	r = disk_io_new(&m->disk, &io);
	return r < 0 ? vmofs_err_set(err, r, "cannot start the disk cache: %s", strerror(-r)) : 0;
}

int mount_open_cache(struct mount *m, struct vmofs_err *err)
{
	struct cache_params p = { .housekeeping = true };
	unsigned threads = 0;
	int r = options_cache(m->p.config, &m->cache_dir, &p, err);

	if (!r)
		r = read_threads(m->p.config, &threads, err);
	if (r < 0 || !m->cache_dir)
		return r;
	/* Contents would have to be read through the mount that they are kept for. */
	r = options_check_place("cache-dir", m->cache_dir, m->p.mountpoint, err);
	if (!r)
		r = open_disk(m, &p, threads, err);
	if (r != -EIO && r != -ENOSPC && r != -EDQUOT)
		return r;
	log_warn("%s; the mount works without a disk cache", err->msg);
	*err = (struct vmofs_err)VMOFS_ERR_INIT;
	return 0;
}

void mount_free_cache(struct mount *m)
{
	if (disk_io_free(m->disk) < 0 || cache_free(m->disk_cache) < 0) {
		/* The threads that hang use the cache and the pool until the process ends. */
		log_warn("the disk of the cache directory '%s' does not answer; what it was being "
			 "told is left",
			 m->cache_dir);
		m->pool = NULL;
		m->cow_pool = NULL;
	}
	free(m->cache_dir);
}
