/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file provider: one local file as an object, by itself or out of a directory (file_tree.c). It is the example for whoever
 * writes another provider: a queue, one thread that answers, and what the contract asks for, with nothing clever.
 *
 * send, clear and swap come with the page source's lock held and touch the queue only. Reads are made
 * by the pool's one reading thread, since pread() may block; it answers by range and holds no lock.
 *
 * A file that was opened by itself stays open. One of a directory, of which there may be many, is open only while it is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <vmofs/provider.h>

#include "base/hist.h"
#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "base/worker.h"
#include "file/file.h"

#define CHUNK KIB(256)

struct file {
	struct vmofs_provider base; /* first */
	atomic_uint refs;           /* the instance, and the task while it is posted */
	int fd;
	struct stat st;         /* as it was at open: the version */
	struct file_tree *tree; /* counted; NULL: it is open as long as it lives */
	char *key;              /* owned; in the tree */
	struct loop_pool *loops;
	struct worker *worker; /* the pool's */
	struct worker_task task;
	struct loop_task fallback; /* where no thread can be started */
	uint8_t *buf;              /* CHUNK bytes, the task's */
	struct hist latency;
	_Atomic uint64_t requests, bytes, discarded, errors, changes;

	struct mutex lock;
	struct vmofs_list queue[VMOFS_NCLASSES]; /* lock: lock */
	bool posted;                             /* lock: lock */
	struct vmofs_failure last;               /* lock: lock */
};

extern const struct vmofs_provider_ops provider_file;

static void file_put(struct file *f)
{
	if (atomic_fetch_sub(&f->refs, 1) > 1)
		return;
	fd_closep(&f->fd);
	mutex_destroy(&f->lock);
	file_tree_put(f->tree);
	free(f->key);
	free(f->buf);
	free(f);
}

/* -- reading ---------------------------------------------------------------------------------- */

/* A file that has been written or replaced since open is another version. */
static bool same_version(const struct file *f)
{
	struct stat now;

	return fstat(f->fd, &now) == 0 && now.st_size == f->st.st_size &&
		now.st_mtim.tv_sec == f->st.st_mtim.tv_sec &&
		now.st_mtim.tv_nsec == f->st.st_mtim.tv_nsec && now.st_ino == f->st.st_ino;
}

/* There is memory, and the file is open, of the right version. */
static int make_ready(struct file *f)
{
	if (!f->buf)
		f->buf = malloc(CHUNK);
	if (!f->buf)
		return -ENOBUFS;
	if (f->fd >= 0)
		return 0;
	f->fd = file_open_at(f->tree, f->key, O_RDONLY);
	if (f->fd == -ENOENT || f->fd == -EACCES)
		return f->fd;
	if (f->fd < 0)
		return -EIO;
	return same_version(f) ? 0 : -ESTALE;
}

/* All of [off, off+n) into f->buf, or -errno. */
static int read_chunk(struct file *f, uint64_t off, uint64_t n)
{
	for (uint64_t got = 0; got < n;) {
		ssize_t r = pread(f->fd, f->buf + got, n - got, (off_t)(off + got));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -EIO;
		if (r == 0)
			return -ESTALE;
		got += (uint64_t)r;
	}
	return same_version(f) ? 0 : -ESTALE;
}

static void report_failure(struct file *f, struct vmo *vmo, uint64_t off, uint64_t end, int code)
{
	atomic_fetch_add(&f->errors, 1);
	atomic_fetch_add(&f->changes, code == -ESTALE);
	mutex_lock(&f->lock);
	f->last = (struct vmofs_failure){ .code = code, .attempts = 1 };
	snprintf(f->last.msg, sizeof f->last.msg, "%s",
		 code == -ESTALE ? "the file has changed" : "the file cannot be read");
	clock_gettime(CLOCK_REALTIME, &f->last.when);
	mutex_unlock(&f->lock);
	vmofs_fail(vmo, off, end - off, code, VMOFS_TYPE_BIT(VMOFS_REQUEST_READ));
}

/* Supplies [off, end) chunk by chunk; the first failure is the answer to the rest. */
static void answer(struct file *f, struct vmo *vmo, uint64_t off, uint64_t end)
{
	uint64_t start = loop_now_ns();
	uint64_t size = (uint64_t)f->st.st_size;
	int ready = make_ready(f);

	while (off < end) {
		uint64_t n = MIN(MIN(end, size) - off, CHUNK);
		int64_t r = ready ? ready : read_chunk(f, off, n);

		if (r == 0)
			r = vmofs_supply(vmo, off, f->buf, n);
		if (r < 0) {
			report_failure(f, vmo, off, end,
				       vmofs_is_failure_code((int)r) ? (int)r : -ENOBUFS);
			return;
		}
		atomic_fetch_add(f->tree ? &f->tree->bytes : &f->bytes, n);
		atomic_fetch_add(&f->discarded, n - (uint64_t)r);
		off += MIN(CHUNK, end - off);
	}
	hist_add_ns(&f->latency, loop_now_ns() - start);
}

/* Nobody asks for anything: what may be many gives back what it can. */
static void rest(struct file *f)
{
	fd_closep(&f->fd);
	free(f->buf);
	f->buf = NULL;
}

/* The next request as a range, demand first; false: none, and the task ends. */
static bool next_range(struct file *f, struct vmo **vmo, uint64_t *off, uint64_t *end)
	EXCLUDES(f->lock)
{
	struct vmofs_request *req;

	mutex_lock(&f->lock);
	req = vmofs_list_first(&f->queue[VMOFS_CLASS_DEMAND], struct vmofs_request, link);
	if (!req)
		req = vmofs_list_first(&f->queue[VMOFS_CLASS_PREFETCH], struct vmofs_request, link);
	if (req) {
		vmofs_list_del(&req->link); /* clear() may come at any time from here on */
		*vmo = vmofs_vmo_get(req->vmo);
		*off = req->off;
		*end = req->off + req->len;
	}
	if (!req && f->tree)
		rest(f);
	f->posted = req != NULL;
	mutex_unlock(&f->lock);
	return req != NULL;
}

static void drain(struct file *f)
{
	struct vmo *vmo;
	uint64_t off, end;

	while (next_range(f, &vmo, &off, &end)) {
		atomic_fetch_add(f->tree ? &f->tree->requests : &f->requests, 1);
		answer(f, vmo, off, end);
		vmofs_vmo_put(vmo);
	}
	file_put(f);
}

static void drain_on_worker(struct worker_task *t)
{
	drain(container_of(t, struct file, task));
}

static void drain_on_loop(struct loop_task *t, struct loop *l UNUSED)
{
	drain(container_of(t, struct file, fallback));
}

/* -- the core's calls ------------------------------------------------------------------------- */

static void file_send(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct file *f = container_of(p, struct file, base);

	mutex_lock(&f->lock);
	vmofs_list_add_tail(&f->queue[req->cls], &req->link);
	if (!f->posted) {
		f->posted = true;
		atomic_fetch_add(&f->refs, 1);
		if (worker_post(f->worker, &f->task) < 0)
			loop_post(loop_pool_pick(f->loops), &f->fallback);
	}
	mutex_unlock(&f->lock);
}

/* A range that is being read is answered all the same; the core takes what it still wants. */
static void file_clear(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct file *f = container_of(p, struct file, base);

	mutex_lock(&f->lock);
	vmofs_list_del(&req->link);
	mutex_unlock(&f->lock);
}

static void file_swap(struct vmofs_provider *p, struct vmofs_request *old,
		      struct vmofs_request *now)
{
	struct file *f = container_of(p, struct file, base);

	mutex_lock(&f->lock);
	if (!vmofs_list_empty(&old->link)) {
		vmofs_list_del(&old->link);
		vmofs_list_add_tail(&f->queue[now->cls], &now->link);
	}
	mutex_unlock(&f->lock);
}

static void file_nothing(struct vmofs_provider *p UNUSED)
{
}

static void file_stats(struct vmofs_provider *p, struct vmofs_provider_stats *out)
{
	struct file *f = container_of(p, struct file, base);

	*out = (struct vmofs_provider_stats){
		.requests = f->requests,
		.bytes_fetched = f->bytes,
		.bytes_discarded = f->discarded,
		.errors = f->errors,
		.integrity_errors = f->changes,
	};
	hist_copy(&f->latency, out->latency);
	mutex_lock(&f->lock);
	out->in_flight = f->posted;
	out->last = f->last;
	mutex_unlock(&f->lock);
}

static void file_dump(struct vmofs_provider *p, FILE *out, unsigned depth,
		      unsigned max_items UNUSED)
{
	struct file *f = container_of(p, struct file, base);

	fprintf(out, "%*sfile inode %" PRIu64 " size %" PRIu64 "\n", (int)depth * 2, "",
		(uint64_t)f->st.st_ino, (uint64_t)f->st.st_size);
}

static uint64_t file_koid(struct vmofs_provider *p)
{
	return (uint64_t)(uintptr_t)p;
}

static void file_free(struct vmofs_provider *p)
{
	file_put(container_of(p, struct file, base));
}

/* -- open ------------------------------------------------------------------------------------- */

static void *reader_make(struct loop_pool *p UNUSED)
{
	return worker_new("vmofs-file");
}

static void reader_free(void *it)
{
	worker_free(it);
}

static const struct loop_service reader_service = { reader_make, reader_free };

struct worker *file_worker(struct loop_pool *loops)
{
	return loop_pool_service(loops, &reader_service);
}

const char *file_path_of(const char *source)
{
	if (strncasecmp(source, "file:", 5) != 0)
		return source;
	source += 5;
	return strncmp(source, "//", 2) == 0 ? source + 2 : source;
}

static int open_file(struct file *f, const char *path, struct vmofs_err *err)
{
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0 || fstat(f->fd, &f->st) < 0)
		return vmofs_err_set(err, -errno, "cannot open '%s'", path);
	if (!S_ISREG(f->st.st_mode))
		return vmofs_err_set(err, -EINVAL, "'%s' is not a regular file", path);
	return 0;
}

void file_version(const struct stat *st, char *out)
{
	snprintf(out, FILE_VERSION_MAX, "%" PRIx64 "-%" PRIx64 ".%lx-%" PRIx64,
		 (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
		 (uint64_t)st->st_ino);
}

void file_fill_info(const struct stat *st, const char *path, struct vmofs_object_info *info)
{
	const char *slash = strrchr(path, '/');

	*info = (struct vmofs_object_info){ .size = (uint64_t)st->st_size, .mtime = st->st_mtim };
	snprintf(info->name, sizeof info->name, "%s", slash ? slash + 1 : path);
	snprintf(info->url, sizeof info->url, "file:%s%s", path[0] == '/' ? "//" : "", path);
	file_version(st, info->validator);
}

static struct file *file_new(struct loop_pool *loops)
{
	struct file *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	f->base.ops = &provider_file;
	f->refs = 1;
	f->fd = -1;
	f->loops = loops;
	f->worker = file_worker(loops);
	f->task.run = drain_on_worker;
	f->fallback.run = drain_on_loop;
	mutex_init(&f->lock, LOCK_RANK_PROVIDER);
	for (unsigned cls = 0; cls < VMOFS_NCLASSES; cls++)
		vmofs_list_init(&f->queue[cls]);
	return f;
}

static int file_open(struct vmofs_provider **out, const char *source,
		     const struct vmofs_provider_env *env, struct vmofs_object_info *info,
		     struct vmofs_err *err)
{
	const char *path = file_path_of(source);
	struct file *f = file_new(env->loops);
	int r;

	if (f && f->worker)
		r = open_file(f, path, err);
	else
		r = vmofs_err_set(err, -ENOMEM, "cannot allocate a file source");
	if (r < 0) {
		if (f)
			file_put(f);
		return r;
	}
	file_fill_info(&f->st, path, info);
	*out = &f->base;
	return 0;
}

int file_object(struct vmofs_provider **out, struct file_tree *t, const char *key,
		const struct stat *want)
{
	struct file *f = file_new(t->loops);

	if (f)
		f->key = strdup(key);
	if (!f || !f->worker || !f->key) {
		if (f)
			file_put(f);
		return -ENOMEM;
	}
	f->tree = file_tree_get(t);
	f->st = *want;
	*out = &f->base;
	return 0;
}

/* A directory. */
static bool file_is_tree(const char *source)
{
	struct stat st;

	return stat(file_path_of(source), &st) == 0 && S_ISDIR(st.st_mode);
}

static const char *const file_schemes[] = { "file", NULL };

const struct vmofs_provider_ops provider_file = {
	.name = "file",
	.schemes = file_schemes,
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.tree = &file_source_ops,
	.is_tree = file_is_tree,
	.tree_of_one = true,
	.open = file_open,
	.send = file_send,
	.clear = file_clear,
	.swap = file_swap,
	.on_detach = file_nothing,
	.on_close = file_nothing,
	.stats = file_stats,
	.dump = file_dump,
	.koid = file_koid,
	.free = file_free,
};
