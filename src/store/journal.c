/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directories of the journal: made, found, locked, listed. It knows nothing of what is in a log. Set-up; the thread that
 * opens a mount, or that of a command.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/macros.h"
#include "store/dir_lock.h"
#include "store/journal_private.h"

#define DIGEST_TEXT (2 * SHA256_LEN + 1)
#define NUMBER_MAX  10000u

static int dir_failed(struct vmofs_err *err, int code, const char *dir)
{
	const char *remedy = code == -EACCES || code == -EROFS
		? "; give a directory that this user may write with journal-dir="
		: "";

	return vmofs_err_set(err, code, "cannot open the journal directory '%s': %s%s", dir,
			     strerror(-code), remedy);
}

/* -- directories ------------------------------------------------------------------------------ */

/* 0: it is there now, and so will it be after a crash; @made says whether it was not before. */
static int dir_make(const struct cache_io *io, int at, const char *name, bool *made)
{
	*made = io->mkdirat(at, name, 0700) == 0;
	return *made || errno == EEXIST ? 0 : -errno;
}

static int dir_open(const struct cache_io *io, int at, const char *name)
{
	int fd = io->openat(at, name, O_RDONLY | O_DIRECTORY, 0);

	return fd < 0 ? -errno : fd;
}

/* The one that @path is in comes to know it for good. Where that may not be read it cannot be helped. */
static int dir_sync_above(const struct cache_io *io, const char *path)
{
	const char *slash = strrchr(path, '/');
	char above[PATH_MAX];
	int fd, e;

	snprintf(above, sizeof above, "%.*s/.", slash ? (int)(slash - path) : 1,
		 slash ? path : ".");
	fd = dir_open(io, AT_FDCWD, above);
	if (fd < 0)
		return fd == -EACCES ? 0 : fd;
	e = io->fsync(fd) < 0 ? -errno : 0;
	io->close(fd);
	return e;
}

static int path_make(const struct cache_io *io, const char *path)
{
	bool made;
	int e = dir_make(io, AT_FDCWD, path, &made);

	return e == 0 && made ? dir_sync_above(io, path) : e;
}

/* With all that is missing above it. */
static int path_make_all(const struct cache_io *io, const char *dir)
{
	char path[PATH_MAX];
	size_t n = strlen(dir);

	if (n == 0 || n >= sizeof path - 3)
		return n ? -ENAMETOOLONG : -ENOENT;
	memcpy(path, dir, n + 1);
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		/* One that is not allowed may be there nevertheless. */
		path_make(io, path);
		*p = '/';
	}
	return path[n - 1] == '/' ? 0 : path_make(io, path);
}

/* A link to a directory is the user's own choice: "/." follows it. */
static int path_open(const struct cache_io *io, const char *dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/.", dir);
	return dir_open(io, AT_FDCWD, path);
}

/* Who can write there can have files stored in this user's name. */
static int dir_check_owner(const struct cache_io *io, int fd, const char *dir,
			   struct vmofs_err *err)
{
	struct stat st;

	if (io->fstat(fd, &st) < 0)
		return dir_failed(err, -errno, dir);
	if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022))
		return vmofs_err_set(
			err, -EACCES,
			"others may write the journal directory '%s' (owner %u, mode %o); it must "
			"be this user's, mode 700",
			dir, (unsigned)st.st_uid, (unsigned)st.st_mode & 07777);
	return 0;
}

/* -- the source's text ------------------------------------------------------------------------ */

/* "" where there is none. */
static void source_read(const struct cache_io *io, int at, char text[JOURNAL_SOURCE_MAX])
{
	int fd = io->openat(at, "source", O_RDONLY, 0);
	ssize_t n = fd < 0 ? 0 : io->pread(fd, text, JOURNAL_SOURCE_MAX - 1, 0);

	text[MAX(n, 0)] = 0;
	if (fd >= 0)
		io->close(fd);
}

/* For people: nothing depends on it, so it is not synced and may fail. */
static void source_write(const struct cache_io *io, int at, const char *source)
{
	char was[JOURNAL_SOURCE_MAX];
	struct iovec v = { (char *)(uintptr_t)source, MIN(strlen(source), sizeof was - 1) };
	int fd;

	source_read(io, at, was);
	if (strncmp(was, source, sizeof was - 1) == 0)
		return;
	fd = io->openat(at, "source", O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		return;
	io->pwritev(fd, &v, 1, 0);
	io->close(fd);
}

/* -- of one mount ----------------------------------------------------------------------------- */

static void jdir_free(struct journal *j, struct journal_dir *d)
{
	if (d->lock_fd >= 0)
		j->io->close(d->lock_fd);
	if (d->fd >= 0)
		j->io->close(d->fd);
	free(d);
}

/* -EAGAIN: a live mount has it. */
static int jdir_open(struct journal *j, int at, unsigned number, struct journal_dir **out)
{
	struct journal_dir *d = calloc(1, sizeof *d);
	char name[16];
	int e = 0;

	if (!d)
		return -ENOMEM;
	snprintf(name, sizeof name, "%u", number);
	*d = (struct journal_dir){ .fd = -1, .lock_fd = -1, .number = number };
	d->fd = dir_open(j->io, at, name);
	if (d->fd < 0)
		e = d->fd;
	if (e == 0)
		e = dir_lock(j->io, d->fd, &d->lock_fd);
	if (e < 0)
		jdir_free(j, d);
	else
		*out = d;
	return e;
}

static int jdir_make(struct journal *j, int at, unsigned number)
{
	char name[16];
	bool made;

	snprintf(name, sizeof name, "%u", number);
	return dir_make(j->io, at, name, &made);
}

/* The first that nobody has. */
static int jdir_find(struct journal *j, int at)
{
	int e = -EAGAIN;

	for (unsigned n = 1; n <= NUMBER_MAX && e == -EAGAIN; n++) {
		e = jdir_make(j, at, n);
		if (e == 0)
			e = jdir_open(j, at, n, &j->dirs);
	}
	if (e == 0 && j->io->fsync(at) < 0)
		e = -errno;
	return e;
}

struct tally {
	struct journal_dir *dir;
	struct journal *j;
	unsigned logs;
};

/* Whatever its kind: its number is used, and a file that was not finished is nothing. */
static int tally_name(void *arg, const char *name)
{
	struct tally *t = arg;
	uint64_t id;

	if (journal_name_parse(name, ".new", &id)) {
		t->j->io->unlinkat(t->dir->fd, name);
		return 0;
	}
	if (journal_name_parse(name, ".log", &id))
		t->logs++;
	else if (!journal_name_parse(name, ".damaged", &id))
		return 0;
	if (id > atomic_load(&t->j->next_id))
		atomic_store(&t->j->next_id, id);
	return 0;
}

static int jdir_tally(struct journal *j, struct journal_dir *d, unsigned *logs)
{
	struct tally t = { .dir = d, .j = j };
	int e = j->io->list(d->fd, tally_name, &t) < 0 ? -errno : 0;

	*logs = t.logs;
	return e;
}

/* Those that mounts have left which did not come back. What cannot be had is left alone. */
static int jdir_adopt(struct journal *j, int at)
{
	struct journal_dir **end = &j->dirs->next;
	struct journal_dir *d;
	unsigned logs;
	int e = 0;

	for (unsigned n = j->dirs->number + 1; n <= NUMBER_MAX && e != -ENOENT; n++) {
		e = jdir_open(j, at, n, &d);
		if (e < 0)
			continue;
		if (jdir_tally(j, d, &logs) < 0 || logs == 0) {
			jdir_free(j, d);
			continue;
		}
		*end = d;
		end = &d->next;
	}
	return jdir_tally(j, j->dirs, &logs);
}

/* -- the journal ------------------------------------------------------------------------------ */

static int source_open(struct journal *j, const struct journal_params *p, int at,
		       struct vmofs_err *err)
{
	uint8_t digest[SHA256_LEN];
	char name[DIGEST_TEXT];
	bool made;
	int fd, e;

	if (digest_sha256(p->source, strlen(p->source), digest) < 0)
		return vmofs_err_set(err, -ENOMEM, "cannot name the journal of '%s'", p->source);
	digest_hex(digest, sizeof digest, name);
	e = dir_make(j->io, at, name, &made);
	if (e == 0 && j->io->fsync(at) < 0)
		e = -errno;
	fd = e == 0 ? dir_open(j->io, at, name) : e;
	if (fd < 0)
		return dir_failed(err, fd, p->dir);
	source_write(j->io, fd, p->source);
	e = jdir_find(j, fd);
	if (e == 0)
		e = jdir_adopt(j, fd);
	j->io->close(fd);
	return e < 0 ? dir_failed(err, e, p->dir) : 0;
}

/* A part of what the process may open: a great many files can be dirty at once. */
static unsigned open_max(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return 32;
	return (unsigned)MIN(MAX(lim.rlim_cur / 8, 8), 1024);
}

static int dir_use(struct journal *j, const struct journal_params *p, struct vmofs_err *err)
{
	int e = path_make_all(j->io, p->dir);
	int fd = e == 0 ? path_open(j->io, p->dir) : e;

	if (fd < 0)
		return dir_failed(err, fd, p->dir);
	e = dir_check_owner(j->io, fd, p->dir, err);
	if (e == 0)
		e = source_open(j, p, fd, err);
	j->io->close(fd);
	return e;
}

int journal_open(struct journal **out, const struct journal_params *p, struct vmofs_err *err)
{
	struct journal *j = calloc(1, sizeof *j);
	int e;

	*out = NULL;
	if (!j)
		return vmofs_err_set(err, -ENOMEM, "cannot allocate the journal of '%s'",
				     p->source);
	j->io = p->io ? p->io : &cache_io_system;
	j->limit = p->limit;
	j->stage = MIB(1);
	j->piece = JOURNAL_PAYLOAD_MAX;
	j->slack = MIB(4);
	j->open_max = open_max();
	e = dir_use(j, p, err);
	if (e < 0)
		journal_close(j);
	else
		*out = j;
	return e;
}

void journal_close(struct journal *j)
{
	struct journal_dir *d;

	if (!j)
		return;
	while ((d = j->dirs)) {
		j->dirs = d->next;
		jdir_free(j, d);
	}
	free(j);
}

uint64_t journal_bytes(struct journal *j)
{
	return atomic_load(&j->bytes);
}
