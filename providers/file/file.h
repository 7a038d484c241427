/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one local file (file.c), a local directory as a namespace (file_tree.c) and changes of it (file_change.c, file_store.c) share.
 */
#ifndef PROVIDERS_FILE_FILE_H
#define PROVIDERS_FILE_FILE_H

#include <limits.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <vmofs/change.h>

#include "base/loop.h"
#include "base/sync.h"
#include "base/worker.h"

/* A directory, and what is asked of it. */
struct file_tree {
	struct vmofs_source base; /* first */
	atomic_uint refs;         /* the source, and each of its objects */
	int fd;                   /* of the directory */
	dev_t dev;                /* other file systems in it are not shown */
	char *path;               /* for people */
	char *only;               /* the one name that there is; NULL: all */
	bool writable;
	struct loop_pool *loops;
	struct worker *worker; /* the pool's */
	struct worker_task task;
	struct loop_task fallback; /* where no thread can be started */
	_Atomic uint64_t requests, bytes, errors;
	atomic_bool stopped;

	struct mutex lock;
	struct vmofs_list queries; /* lock: lock */
	bool posted;               /* lock: lock */
};

/* Files that are not finished: they are not shown, and go when they are left over. */
#define FILE_TEMPORARY ".vmofs-unfinished-"
bool file_is_temporary(const char *name);

struct file_tree *file_tree_get(struct file_tree *t);
void file_tree_put(struct file_tree *t); /* NULL is fine */
extern const struct vmofs_source_ops file_source_ops;
extern const struct vmofs_change_ops file_change_ops;

/* "file:///path", "file:path" or a plain path */
const char *file_path_of(const char *source);
/* The worker that reads for all. NULL: no memory */
struct worker *file_worker(struct loop_pool *loops);

/* Size, modification time and inode, as text. @out has room for FILE_VERSION_MAX. */
enum { FILE_VERSION_MAX = 80 };
void file_version(const struct stat *st, char *out);

/* The file @key below @t, never out of it, by links or otherwise: a descriptor, or -errno. */
int file_open_at(const struct file_tree *t, const char *key, int flags);
/* Where @key is: its directory, opened, and its name. */
struct file_where {
	int dir;
	char name[NAME_MAX + 1];
};
int file_where(const struct file_tree *t, const char *key, struct file_where *out);
/* Of what the name is, not of what a link leads to. -ENOENT: also where it is another file system's. */
int file_stat_at(const struct file_tree *t, const struct file_where *w, struct stat *st);

/* An object of @t that is read when somebody asks for it. */
int file_object(struct vmofs_provider **out, struct file_tree *t, const char *key,
		const struct stat *want);
void file_fill_info(const struct stat *st, const char *path, struct vmofs_object_info *info);

/* ---- changes ---- */

/* What calls of change.h say for errno; 0: -EIO. */
int file_error(struct vmofs_err *err, int code, const char *verb, const struct file_tree *t,
	       const char *key);
void file_version_of(const struct stat *st, struct vmofs_version *out);
/* What is at @w is @expect (NULL: anything): 0 with @st, whose st_nlink is 0 where nothing is; -ESTALE. */
int file_check(const struct file_tree *t, const struct file_where *w,
	       const struct vmofs_version *expect, struct stat *st);
/* Mode, owner, time, extended attributes. */
int file_set_attr(int fd, const struct vmofs_change_attr *attr);
/*
 * The temporary @name in @w->dir becomes what is at @w, in place of @expect: where that is not what was there, nothing has changed and it
 * is -ESTALE. @name is gone in any case.
 */
int file_replace(const struct file_tree *t, const struct file_where *w, const char *name,
		 const struct vmofs_version *expect);
void file_temporary_name(char out[NAME_MAX + 1]);

/* Of user.*, exactly those; -EOPNOTSUPP: there are some, and the file system has none. */
int file_set_xattrs(int fd, const struct vmofs_xattrs *x);
int file_get_xattrs(struct vmofs_source *s, const char *key, struct vmofs_xattrs **out,
		    const struct vmofs_change_wait *wait, struct vmofs_err *err);
int file_can_xattrs(struct vmofs_source *s, const struct vmofs_xattrs *x, struct vmofs_err *err);

int file_store(struct vmofs_source *source, struct vmofs_store *st, struct vmofs_err *err);
/* All of @from's contents, as they are now, and what belongs to it, into a new file @name of @dir. */
int file_copy(int from, const struct stat *st, int dir, const char *name);
/* The name of an attempt that made what is @st. */
void file_attempt(const struct stat *st, char out[VMOFS_ATTEMPT_LEN + 1]);

#endif
