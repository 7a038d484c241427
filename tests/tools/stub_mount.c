/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount whose provider answers at once from memory: what FUSE, the pages and the read-ahead cost without a
 * network. It is the daemon as it is, with one more provider that the program itself does not have.
 *
 *   stub_mount [-o OPTIONS] memory:FILE MOUNTPOINT
 *
 * FILE is mapped and shown under its last name; runs in the foreground until it is unmounted or ended.
 * Requests are answered on the loop that they were sent from, as those of the network are.
 *
 * LINK: -Wl,--wrap=vmofs_provider_find
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "daemon/mount.h"
#include "daemon/options.h"
#include "daemon/ready.h"
#include "daemon/unmount.h"

struct memory {
	struct vmofs_provider base; /* first */
	struct loop_pool *loops;
	const char *map;
	uint64_t size;
	struct loop_task task;
	atomic_uint refs; /* the instance, and the task while it is posted */

	struct mutex lock;
	struct vmofs_list queue[VMOFS_NCLASSES]; /* lock: lock */
	bool posted;                             /* lock: lock */
};

static void memory_put(struct memory *m)
{
	if (atomic_fetch_sub(&m->refs, 1) > 1)
		return;
	munmap((void *)(uintptr_t)m->map, m->size);
	mutex_destroy(&m->lock);
	free(m);
}

/* -- answering -------------------------------------------------------------------------------- */

static bool next_range(struct memory *m, struct vmo **vmo, uint64_t *off, uint64_t *len)
	EXCLUDES(m->lock)
{
	struct vmofs_request *req;

	mutex_lock(&m->lock);
	req = vmofs_list_first(&m->queue[VMOFS_CLASS_DEMAND], struct vmofs_request, link);
	if (!req)
		req = vmofs_list_first(&m->queue[VMOFS_CLASS_PREFETCH], struct vmofs_request, link);
	if (req) {
		vmofs_list_del(&req->link);
		*vmo = vmofs_vmo_get(req->vmo);
		*off = req->off;
		*len = MIN(req->len, m->size - req->off);
	}
	m->posted = req != NULL;
	mutex_unlock(&m->lock);
	return req != NULL;
}

static void answer_all(struct loop_task *t, struct loop *l UNUSED)
{
	struct memory *m = container_of(t, struct memory, task);
	struct vmo *vmo;
	uint64_t off, len;

	while (next_range(m, &vmo, &off, &len)) {
		if (vmofs_supply(vmo, off, m->map + off, len) < 0)
			vmofs_fail(vmo, off, len, -ENOBUFS, VMOFS_TYPE_BIT(VMOFS_REQUEST_READ));
		vmofs_vmo_put(vmo);
	}
	memory_put(m);
}

static void memory_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct memory *m = container_of(p, struct memory, base);
	bool post;

	mutex_lock(&m->lock);
	vmofs_list_add_tail(&m->queue[req->cls], &req->link);
	post = !m->posted;
	m->posted = true;
	mutex_unlock(&m->lock);
	if (post) {
		atomic_fetch_add(&m->refs, 1);
		loop_post(loop_pool_pick(m->loops), &m->task);
	}
}

static void memory_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct memory *m = container_of(p, struct memory, base);

	mutex_lock(&m->lock);
	vmofs_list_del(&req->link);
	mutex_unlock(&m->lock);
}

static void memory_swap(struct vmofs_provider *p, struct vmofs_request *old,
			struct vmofs_request *with)
{
	struct memory *m = container_of(p, struct memory, base);

	mutex_lock(&m->lock);
	if (!vmofs_list_empty(&old->link)) {
		vmofs_list_del(&old->link);
		vmofs_list_add_tail(&m->queue[with->cls], &with->link);
	}
	mutex_unlock(&m->lock);
}

static void memory_nothing(struct vmofs_provider *p UNUSED)
{
}

static void memory_stats(struct vmofs_provider *p UNUSED, struct vmofs_provider_stats *out)
{
	*out = (struct vmofs_provider_stats){ 0 };
}

static void memory_dump(struct vmofs_provider *p, FILE *out, unsigned depth,
			unsigned max_items UNUSED)
{
	fprintf(out, "%*smemory of %llu bytes\n", (int)depth * 2, "",
		(unsigned long long)container_of(p, struct memory, base)->size);
}

static uint64_t memory_koid(struct vmofs_provider *p)
{
	return (uint64_t)(uintptr_t)p;
}

static void memory_free(struct vmofs_provider *p)
{
	memory_put(container_of(p, struct memory, base));
}

/* -- opening ---------------------------------------------------------------------------------- */

static int map_file(struct memory *m, const char *path, struct vmofs_object_info *info,
		    struct vmofs_err *err)
{
	cleanup(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *slash = strrchr(path, '/');
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st) < 0 || !st.st_size)
		return vmofs_err_set(err, -EINVAL, "cannot map '%s'", path);
	m->size = (uint64_t)st.st_size;
	map = mmap(NULL, m->size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		return vmofs_err_set(err, -errno, "cannot map '%s'", path);
	m->map = map;
	*info = (struct vmofs_object_info){ .size = m->size, .mtime = st.st_mtim };
	snprintf(info->name, sizeof info->name, "%s", slash ? slash + 1 : path);
	snprintf(info->url, sizeof info->url, "memory:%s", path);
	snprintf(info->validator, sizeof info->validator, "memory");
	return 0;
}

static int memory_open(struct vmofs_provider **out, const char *source,
		       const struct vmofs_provider_env *env, struct vmofs_object_info *info,
		       struct vmofs_err *err);

static const char *const memory_schemes[] = { "memory", NULL };

static const struct vmofs_provider_ops provider_memory = {
	.name = "memory",
	.schemes = memory_schemes,
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.open = memory_open,
	.send = memory_send,
	.clear = memory_clear,
	.swap = memory_swap,
	.on_detach = memory_nothing,
	.on_close = memory_nothing,
	.stats = memory_stats,
	.dump = memory_dump,
	.koid = memory_koid,
	.free = memory_free,
};

static int memory_open(struct vmofs_provider **out, const char *source,
		       const struct vmofs_provider_env *env, struct vmofs_object_info *info,
		       struct vmofs_err *err)
{
	struct memory *m = calloc(1, sizeof *m);
	int r;

	if (!m)
		return vmofs_err_set(err, -ENOMEM, "no memory");
	m->base.ops = &provider_memory;
	m->refs = 1;
	m->loops = env->loops;
	m->task.run = answer_all;
	r = map_file(m, strchr(source, ':') + 1, info, err);
	if (r < 0) {
		free(m);
		return r;
	}
	mutex_init(&m->lock, LOCK_RANK_PROVIDER);
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++)
		vmofs_list_init(&m->queue[cls]);
	*out = &m->base;
	return 0;
}

/* The linker gives these names (--wrap). */
const struct vmofs_provider_ops *__real_vmofs_provider_find(const char *source);
const struct vmofs_provider_ops *__wrap_vmofs_provider_find(const char *source);

const struct vmofs_provider_ops *__wrap_vmofs_provider_find(const char *source)
{
	if (!strncmp(source, "memory:", 7))
		return &provider_memory;
	return __real_vmofs_provider_find(source);
}

int main(int argc, char **argv)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct ready ready = { .fd = -1 };
	struct vmofs_config *config = NULL;
	const char *opts = argc == 5 && !strcmp(argv[1], "-o") ? argv[2] : "";
	char path[PATH_MAX];
	struct mount_params p = { .mountpoint = path, .foreground = true };
	int r;

	if (argc != 3 && argc != 5) {
		fprintf(stderr, "usage: stub_mount [-o OPTIONS] memory:FILE MOUNTPOINT\n");
		return 2;
	}
	p.source = argv[argc - 2];
	r = unmount_resolve(argv[argc - 1], path);
	if (!r)
		r = options_new_config(&config, &err);
	if (!r && *opts)
		r = config_parse_opts(config, opts, &err);
	p.config = config;
	if (!r)
		r = mount_run(&p, &ready, &err);
	if (r < 0)
		fprintf(stderr, "stub_mount: %s\n", err.msg);
	config_free(config);
	return r < 0;
}
