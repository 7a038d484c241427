/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A local directory as a namespace, or one file in it. Names are looked up below the directory's descriptor and nowhere else: not
 * through symbolic links, which are shown as such, and not on other file systems. System calls may block, so the pool's one
 * reading thread makes them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "base/macros.h"
#include "file/file.h"

/* An unfinished file that is older than that, and that nobody has locked, has been left over. */
enum { LEFT_OVER_S = 60 };

/* -- names ------------------------------------------------------------------------------------ */

bool file_is_temporary(const char *name)
{
	return strncmp(name, FILE_TEMPORARY, sizeof FILE_TEMPORARY - 1) == 0;
}

int file_open_at(const struct file_tree *t, const char *key, int flags)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV |
			RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, t->fd, *key ? key : ".", &how, sizeof how);

	if (fd >= 0)
		return (int)fd;
	/* A link, or another file system: nothing of that is shown. */
	return errno == ELOOP || errno == EXDEV || errno == ENOTDIR ? -ENOENT : -errno;
}

int file_where(const struct file_tree *t, const char *key, struct file_where *out)
{
	size_t n = strlen(key);
	cleanup(mem_freep) char *dir = strdup(key);
	char *slash;

	out->dir = -1;
	if (!dir)
		return -ENOMEM;
	if (n && dir[n - 1] == '/')
		dir[--n] = '\0';
	slash = strrchr(dir, '/');
	if (n - (slash ? (size_t)(slash + 1 - dir) : 0) > NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(out->name, slash ? slash + 1 : dir);
	if (!out->name[0] || strcmp(out->name, ".") == 0 || strcmp(out->name, "..") == 0)
		return -ENOENT;
	if (t->only && strcmp(key, t->only) != 0)
		return -ENOENT;
	*(slash ? slash : dir) = '\0';
	out->dir = file_open_at(t, dir, O_RDONLY | O_DIRECTORY);
	return out->dir < 0 ? out->dir : 0;
}

int file_stat_at(const struct file_tree *t, const struct file_where *w, struct stat *st)
{
	if (fstatat(w->dir, w->name, st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return -errno;
	return st->st_dev == t->dev ? 0 : -ENOENT;
}

/* -- queries ---------------------------------------------------------------------------------- */

static void end(struct vmofs_query *q, int code, const char *what)
{
	struct vmofs_query_result result = { .code = code, .requests = 1, .req_id = "" };
	char msg[512] = "";

	if (code)
		snprintf(msg, sizeof msg, "cannot %s '%.300s': %s", what, q->key, strerror(-code));
	result.msg = msg;
	q->done(q, &result);
}

/* @target has room for PATH_MAX. False: it is nothing that can be shown. */
static bool fill_entry(struct vmofs_entry *e, int dir, const char *name, const struct stat *st,
		       char *target, char *version)
{
	ssize_t n;

	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode) && !S_ISLNK(st->st_mode))
		return false;
	*e = (struct vmofs_entry){
		.type = S_ISDIR(st->st_mode) ? VMOFS_ENTRY_PREFIX : VMOFS_ENTRY_FILE,
		.size = (uint64_t)st->st_size,
		.mtime = st->st_mtim,
		.validator = version,
		.has = VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID,
		.mode = st->st_mode & (S_ISLNK(st->st_mode) ? S_IFLNK | 07777 : 07777),
		.uid = st->st_uid,
		.gid = st->st_gid,
		.target = "",
	};
	file_version(st, version);
	if (!S_ISLNK(st->st_mode))
		return true;
	n = readlinkat(dir, name, target, PATH_MAX - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	e->target = target;
	e->has |= VMOFS_HAS_TARGET;
	return true;
}

/* One entry of what is @name in @dir; @base: what keys begin with. False: no more are wanted. */
static bool give(struct vmofs_query *q, const char *base, int dir, const char *name,
		 const struct stat *st)
{
	char key[VMOFS_KEY_MAX], target[PATH_MAX], version[FILE_VERSION_MAX];
	struct vmofs_entry e;
	int n = snprintf(key, sizeof key, "%s%s%s", base, name, S_ISDIR(st->st_mode) ? "/" : "");

	if (n >= (int)sizeof key || !fill_entry(&e, dir, name, st, target, version))
		return true;
	e.key = key;
	e.key_len = (size_t)n;
	return q->entries(q, &e, 1);
}

/* What nobody finishes any more goes. */
static void clean_up(int dir, const char *name, const struct stat *st)
{
	int fd;

	if (time(NULL) - st->st_ctim.tv_sec < LEFT_OVER_S)
		return;
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		(void)unlinkat(dir, name, 0);
	fd_closep(&fd);
}

static bool list_one(struct file_tree *t, struct vmofs_query *q, int dir, const char *name)
{
	struct file_where w = { .dir = dir };
	struct stat st;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strlen(name) > NAME_MAX)
		return true;
	strcpy(w.name, name);
	if (file_stat_at(t, &w, &st) < 0)
		return true;
	if (!file_is_temporary(name))
		return give(q, q->key, dir, name, &st);
	if (t->writable && S_ISREG(st.st_mode))
		clean_up(dir, name, &st);
	return true;
}

static int list_dir(struct file_tree *t, struct vmofs_query *q)
{
	int fd = file_open_at(t, q->key, O_RDONLY | O_DIRECTORY);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de = NULL;
	bool more = true;
	int r = 0;

	if (!d) {
		r = fd < 0 ? fd : -errno;
		fd_closep(&fd);
		return r == -ENOENT ? 0 : r;
	}
	do {
		errno = 0;
		de = readdir(d);
		if (de)
			more = list_one(t, q, fd, de->d_name);
		else
			r = -errno;
	} while (de && more && !atomic_load(&t->stopped));
	closedir(d);
	return r;
}

static int list_only(struct file_tree *t, struct vmofs_query *q)
{
	struct file_where w;
	struct stat st;
	int r = file_where(t, t->only, &w);

	if (r == 0)
		r = file_stat_at(t, &w, &st);
	if (r == 0 && S_ISREG(st.st_mode))
		give(q, "", w.dir, w.name, &st);
	fd_closep(&w.dir);
	return r == -ENOENT ? 0 : r;
}

static int look_up(struct file_tree *t, struct vmofs_query *q)
{
	const char *slash = strrchr(q->key, '/');
	char base[VMOFS_KEY_MAX];
	struct file_where w;
	struct stat st;
	int r = file_where(t, q->key, &w);

	if (r == 0)
		r = file_stat_at(t, &w, &st);
	snprintf(base, sizeof base, "%.*s", slash ? (int)(slash + 1 - q->key) : 0, q->key);
	if (r == 0 && !file_is_temporary(w.name) &&
	    (q->kind == VMOFS_QUERY_NAME || !S_ISDIR(st.st_mode)))
		give(q, base, w.dir, w.name, &st);
	fd_closep(&w.dir);
	return r == -ENOENT || r == -ENAMETOOLONG ? 0 : r;
}

static void answer(struct file_tree *t, struct vmofs_query *q)
{
	int r;

	atomic_fetch_add(&t->requests, 1);
	if (atomic_load(&t->stopped))
		r = -ESHUTDOWN;
	else if (q->kind == VMOFS_QUERY_FLAT)
		r = -EOPNOTSUPP;
	else if (q->kind != VMOFS_QUERY_DIR)
		r = look_up(t, q);
	else
		r = t->only ? list_only(t, q) : list_dir(t, q);
	if (r < 0)
		atomic_fetch_add(&t->errors, 1);
	end(q, r, q->kind == VMOFS_QUERY_DIR ? "list" : "look up");
}

static struct vmofs_query *next_query(struct file_tree *t)
{
	struct vmofs_query *q;

	mutex_lock(&t->lock);
	q = vmofs_list_first(&t->queries, struct vmofs_query, link);
	if (q)
		vmofs_list_del(&q->link);
	t->posted = q != NULL;
	mutex_unlock(&t->lock);
	return q;
}

static void drain(struct file_tree *t)
{
	struct vmofs_query *q;

	while ((q = next_query(t)))
		answer(t, q);
	file_tree_put(t);
}

static void drain_on_worker(struct worker_task *task)
{
	drain(container_of(task, struct file_tree, task));
}

static void drain_on_loop(struct loop_task *task, struct loop *l UNUSED)
{
	drain(container_of(task, struct file_tree, fallback));
}

static void source_query(struct vmofs_source *s, struct vmofs_query *q)
{
	struct file_tree *t = container_of(s, struct file_tree, base);

	mutex_lock(&t->lock);
	vmofs_list_init(&q->link);
	vmofs_list_add_tail(&t->queries, &q->link);
	if (!t->posted) {
		t->posted = true;
		file_tree_get(t);
		if (worker_post(t->worker, &t->task) < 0)
			loop_post(loop_pool_pick(t->loops), &t->fallback);
	}
	mutex_unlock(&t->lock);
}

/* -- objects ---------------------------------------------------------------------------------- */

/* The version that an entry told. */
static int parse_version(const char *text, struct stat *st)
{
	uint64_t size, seconds, ino;
	unsigned long ns;
	char rest;

	*st = (struct stat){ 0 };
	if (sscanf(text, "%" SCNx64 "-%" SCNx64 ".%lx-%" SCNx64 "%c", &size, &seconds, &ns, &ino,
		   &rest) != 4)
		return -EINVAL;
	st->st_size = (off_t)size;
	st->st_mtim.tv_sec = (time_t)seconds;
	st->st_mtim.tv_nsec = (long)ns;
	st->st_ino = (ino_t)ino;
	return 0;
}

static int source_object(struct vmofs_source *s, const struct vmofs_entry *e,
			 struct vmofs_provider **out, struct vmofs_object_info *info,
			 struct vmofs_err *err)
{
	struct file_tree *t = container_of(s, struct file_tree, base);
	char path[sizeof info->url];
	struct stat st;

	/* One that is made here is not there yet, and nothing of it is read. */
	if (!e->validator[0])
		st = (struct stat){ .st_size = (off_t)e->size, .st_mtim = e->mtime };
	else if (parse_version(e->validator, &st) < 0)
		return vmofs_err_set(err, -EINVAL, "the version of '%s' is not known", e->key);
	if (snprintf(path, sizeof path, "%s/%s", t->path, e->key) >= (int)sizeof path - 8)
		return vmofs_err_set(err, -ENAMETOOLONG, "the name '%s' is too long", e->key);
	file_fill_info(&st, path, info);
	if (file_object(out, t, e->key, &st) < 0)
		return vmofs_err_set(err, -ENOMEM, "no memory for '%s'", e->key);
	return 0;
}

/* -- life ------------------------------------------------------------------------------------- */

struct file_tree *file_tree_get(struct file_tree *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void file_tree_put(struct file_tree *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	fd_closep(&t->fd);
	mutex_destroy(&t->lock);
	free(t->path);
	free(t->only);
	free(t);
}

static void source_stats(struct vmofs_source *s, struct vmofs_provider_stats *out)
{
	struct file_tree *t = container_of(s, struct file_tree, base);

	*out = (struct vmofs_provider_stats){
		.requests = t->requests,
		.bytes_fetched = t->bytes,
		.errors = t->errors,
	};
}

static void source_dump(struct vmofs_source *s, FILE *out, unsigned depth, unsigned max UNUSED)
{
	struct file_tree *t = container_of(s, struct file_tree, base);

	fprintf(out, "%*sdirectory '%s'%s%s\n", (int)depth * 2, "", t->path,
		t->only ? " only " : "", t->only ? t->only : "");
}

static void source_stop(struct vmofs_source *s)
{
	atomic_store(&container_of(s, struct file_tree, base)->stopped, true);
}

static void source_free(struct vmofs_source *s)
{
	file_tree_put(container_of(s, struct file_tree, base));
}

static struct file_tree *tree_new(const struct vmofs_provider_env *env)
{
	struct file_tree *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->base.ops = &file_source_ops;
	t->refs = 1;
	t->fd = -1;
	t->writable = env->writable;
	t->loops = env->loops;
	t->worker = file_worker(env->loops);
	t->task.run = drain_on_worker;
	t->fallback.run = drain_on_loop;
	vmofs_list_init(&t->queries);
	mutex_init(&t->lock, LOCK_RANK_SOURCE);
	return t;
}

/* The directory, or that of the file, which then is the only one. */
static int open_root(struct file_tree *t, const char *path, struct vmofs_err *err)
{
	struct stat st;
	char *slash;

	t->path = realpath(path, NULL);
	if (!t->path || stat(t->path, &st) < 0)
		return vmofs_err_set(err, -errno, "cannot open '%s': %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return vmofs_err_set(err, -EINVAL, "'%s' is neither a regular file nor a directory",
				     path);
	slash = strrchr(t->path, '/');
	if (S_ISREG(st.st_mode)) {
		t->only = strdup(slash + 1);
		*slash = '\0';
		if (!t->only)
			return vmofs_err_set(err, -ENOMEM, "no memory for a source");
	}
	t->fd = open(*t->path ? t->path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->fd < 0 || fstat(t->fd, &st) < 0)
		return vmofs_err_set(err, -errno, "cannot open '%s': %s", path, strerror(errno));
	t->dev = st.st_dev;
	if (strcmp(t->path, "/") == 0)
		*t->path = '\0';
	return 0;
}

static void fill_source_info(const struct file_tree *t, struct vmofs_source_info *info)
{
	const char *slash = strrchr(t->path, '/');
	const char *name = t->only ? t->only : slash ? slash + 1 : "";

	*info = (struct vmofs_source_info){
		.can = BIT(VMOFS_QUERY_DIR) | BIT(VMOFS_QUERY_NAME) | BIT(VMOFS_QUERY_HEAD),
		.fixed = t->only != NULL,
		.links = true,
	};
	snprintf(info->name, sizeof info->name, "%s", *name ? name : "root");
	snprintf(info->url, sizeof info->url, "file://%s%s%s", t->path, t->only ? "/" : "",
		 t->only ? t->only : "");
}

static int source_open(struct vmofs_source **out, const char *source,
		       const struct vmofs_provider_env *env, struct vmofs_source_info *info,
		       struct vmofs_err *err)
{
	struct file_tree *t = tree_new(env);
	int r;

	if (!t || !t->worker)
		r = vmofs_err_set(err, -ENOMEM, "no memory for a source");
	else
		r = open_root(t, file_path_of(source), err);
	if (r < 0) {
		file_tree_put(t);
		return r;
	}
	fill_source_info(t, info);
	*out = &t->base;
	return 0;
}

const struct vmofs_source_ops file_source_ops = {
	.open = source_open,
	.query = source_query,
	.object = source_object,
	.change = &file_change_ops,
	.stats = source_stats,
	.dump = source_dump,
	.stop = source_stop,
	.free = source_free,
};
