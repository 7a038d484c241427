/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file system of fake_disk.h. A file has its bytes as they are in memory, those on the disk, and the changes in between; so
 * has a directory with its names. Nothing is ever freed before the reset but descriptors: tests are short.
 */
#include "lib/fake_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "lib/prng.h"

#define SECTOR   512u
#define MAX_FDS  64
#define FIRST_FD 1000

struct bytes {
	uint8_t *v;
	uint64_t n;
	uint64_t cap;
};

/* A change of a file, or of a directory's names, that the disk does not have. */
struct change {
	struct change *next;
	uint64_t off; /* of a file: contents; data NULL: it was cut there */
	uint64_t len;
	uint8_t *data;
	char from[300]; /* of a directory: this name goes, if any */
	char to[300];   /* and this one is @inode, if any */
	struct inode *inode;
};

struct name {
	struct name *next;
	char text[300];
	struct inode *inode;
};

struct inode {
	struct inode *next; /* of all */
	bool is_dir;
	bool lost;
	struct bytes mem, disk;
	struct name *names, *disk_names;
	struct change *changes, **end;
};

struct fd {
	struct inode *inode; /* NULL: free */
	bool locked;
};

static struct {
	struct inode *all, *root;
	struct fd fd[MAX_FDS];
	struct fake_plan plan;
	unsigned calls, calls_of[FAKE_NCALLS];
} fs;

/* Held from the beginning of a call to its end: a writer's threads store while its files are found again. */
static pthread_mutex_t big = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static pthread_mutex_t *enter(void)
{
	pthread_mutex_lock(&big);
	return &big;
}

static void leave(pthread_mutex_t **m)
{
	pthread_mutex_unlock(*m);
}

#define ALONE() cleanup(leave) pthread_mutex_t *alone UNUSED = enter()

/* -- bytes ------------------------------------------------------------------------------------ */

static void bytes_resize(struct bytes *b, uint64_t n)
{
	if (n > b->cap) {
		b->cap = MAX(n, b->cap * 2);
		b->v = realloc(b->v, b->cap);
		if (!b->v)
			abort();
	}
	if (n > b->n)
		memset(b->v + b->n, 0, n - b->n);
	b->n = n;
}

static void bytes_put(struct bytes *b, uint64_t off, const void *p, uint64_t len)
{
	if (off + len > b->n)
		bytes_resize(b, off + len);
	memcpy(b->v + off, p, len);
}

static void bytes_copy(struct bytes *to, const struct bytes *from)
{
	bytes_resize(to, 0);
	if (from->n)
		bytes_put(to, 0, from->v, from->n);
}

/* -- inodes ----------------------------------------------------------------------------------- */

static void *zalloc(size_t n)
{
	void *p = calloc(1, n);

	if (!p)
		abort();
	return p;
}

static struct inode *inode_new(bool is_dir)
{
	struct inode *i = zalloc(sizeof *i);

	i->is_dir = is_dir;
	i->end = &i->changes;
	i->next = fs.all;
	fs.all = i;
	return i;
}

static void changes_free(struct inode *i)
{
	for (struct change *c; (c = i->changes);) {
		i->changes = c->next;
		free(c->data);
		free(c);
	}
	i->end = &i->changes;
}

static struct change *change_add(struct inode *i)
{
	struct change *c = zalloc(sizeof *c);

	*i->end = c;
	i->end = &c->next;
	return c;
}

static void names_free(struct name **list)
{
	for (struct name *n; (n = *list);) {
		*list = n->next;
		free(n);
	}
}

static struct name **name_find(struct name **list, const char *text)
{
	while (*list && strcmp((*list)->text, text) != 0)
		list = &(*list)->next;
	return list;
}

static void name_drop(struct name **list, const char *text)
{
	struct name **at = name_find(list, text), *n = *at;

	if (!n)
		return;
	*at = n->next;
	free(n);
}

static void name_set(struct name **list, const char *text, struct inode *i)
{
	struct name **at = name_find(list, text);

	if (!*at) {
		*at = zalloc(sizeof **at);
		snprintf((*at)->text, sizeof(*at)->text, "%s", text);
	}
	(*at)->inode = i;
}

static void names_change(struct name **list, const struct change *c)
{
	if (c->from[0])
		name_drop(list, c->from);
	if (c->to[0])
		name_set(list, c->to, c->inode);
}

static void dir_change(struct inode *dir, const char *from, const char *to, struct inode *i)
{
	struct change *c = change_add(dir);

	snprintf(c->from, sizeof c->from, "%s", from);
	snprintf(c->to, sizeof c->to, "%s", to);
	c->inode = i;
	names_change(&dir->names, c);
}

static void names_copy(struct name **to, struct name *from)
{
	names_free(to);
	for (; from; from = from->next)
		name_set(to, from->text, from->inode);
}

static void file_change(struct inode *i, uint64_t off, const void *p, uint64_t len)
{
	struct change *c = change_add(i);

	c->off = off;
	c->len = len;
	if (!p) {
		bytes_resize(&i->mem, off);
		return;
	}
	c->data = zalloc(len);
	memcpy(c->data, p, len);
	bytes_put(&i->mem, off, p, len);
}

/* All that changed is on the disk. */
static void inode_sync(struct inode *i)
{
	for (struct change *c = i->changes; c; c = c->next) {
		if (i->is_dir)
			names_change(&i->disk_names, c);
		else if (c->data)
			bytes_put(&i->disk, c->off, c->data, c->len);
		else
			bytes_resize(&i->disk, c->off);
	}
	changes_free(i);
}

/* As if it was, but it is not. */
static void file_sync_failed(struct inode *i)
{
	i->lost |= i->changes != NULL;
	changes_free(i);
	if (fs.plan.forgets)
		bytes_copy(&i->mem, &i->disk);
}

/* -- calls that fail -------------------------------------------------------------------------- */

static bool call_fails(enum fake_call kind)
{
	const struct fake_plan *p = &fs.plan;
	unsigned n = ++fs.calls;

	fs.calls_of[kind]++;
	if (!p->at || n < p->at)
		return false;
	if (n > p->at && n != p->then && !p->stop && !(p->kinds & BIT(kind)))
		return false;
	errno = p->err;
	return true;
}

/* Whether a call that fails does it all, then says no. */
static bool does_all(void)
{
	return fs.calls == fs.plan.at && fs.plan.effect == FAKE_ALL;
}

static bool does_a_part(void)
{
	return fs.calls == fs.plan.at && fs.plan.effect == FAKE_A_PART;
}

static int failed(void)
{
	errno = fs.plan.err;
	return -1;
}

static int no(int err)
{
	errno = err;
	return -1;
}

static struct fd *fd_of(int fd)
{
	if (fd < FIRST_FD || fd >= FIRST_FD + MAX_FDS || !fs.fd[fd - FIRST_FD].inode)
		abort();
	return &fs.fd[fd - FIRST_FD];
}

static int fd_new(struct inode *i)
{
	for (int n = 0; n < MAX_FDS; n++)
		if (!fs.fd[n].inode) {
			fs.fd[n] = (struct fd){ .inode = i };
			return n + FIRST_FD;
		}
	abort();
}

/* The directory that the last part of @path is in, and that part in @last; "." is the directory itself. */
static struct inode *walk(int dir, const char *path, char last[300])
{
	struct inode *i = *path == '/' || dir == AT_FDCWD ? fs.root : fd_of(dir)->inode;

	snprintf(last, 300, ".");
	for (;;) {
		size_t n;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (n == 0)
			return i;
		if (strcmp(last, ".") != 0) {
			struct name *at = *name_find(&i->names, last);

			if (!at || !at->inode->is_dir)
				return NULL;
			i = at->inode;
		}
		snprintf(last, 300, "%.*s", (int)n, path);
		path += n;
	}
}

static struct inode *find(struct inode *dir, const char *last)
{
	struct name *at;

	if (!dir || strcmp(last, ".") == 0)
		return dir;
	at = *name_find(&dir->names, last);
	return at ? at->inode : NULL;
}

/* -- the table -------------------------------------------------------------------------------- */

static int fake_openat(int dir, const char *path, int flags, mode_t mode UNUSED)
{
	ALONE();
	char last[300];
	struct inode *in, *i;
	bool bad = call_fails(FAKE_OPEN);

	if (bad && !does_all())
		return -1;
	in = walk(dir, path, last);
	i = find(in, last);
	if (!in || (!i && !(flags & O_CREAT)))
		return no(ENOENT);
	if (i && (flags & O_EXCL))
		return no(EEXIST);
	if (!i) {
		i = inode_new(false);
		dir_change(in, "", last, i);
	} else if (flags & O_TRUNC) {
		file_change(i, 0, NULL, 0);
	}
	if ((flags & O_DIRECTORY) && !i->is_dir)
		return no(ENOTDIR);
	return bad ? failed() : fd_new(i);
}

static int fake_close(int fd)
{
	ALONE();
	struct inode *i = fd_of(fd)->inode;
	bool open = false;

	fd_of(fd)->inode = NULL;
	for (unsigned n = 0; n < MAX_FDS; n++)
		open |= fs.fd[n].inode == i;
	if (fs.plan.drops && !open && !i->is_dir && i->changes) {
		changes_free(i);
		bytes_copy(&i->mem, &i->disk);
	}
	return 0;
}

static int fake_mkdirat(int dir, const char *path, mode_t mode UNUSED)
{
	ALONE();
	char last[300];
	struct inode *in;
	bool bad = call_fails(FAKE_MKDIR);

	if (bad && !does_all())
		return -1;
	in = walk(dir, path, last);
	if (!in)
		return no(ENOENT);
	if (find(in, last))
		return no(EEXIST);
	dir_change(in, "", last, inode_new(true));
	return bad ? failed() : 0;
}

static int fake_unlinkat(int dir, const char *path)
{
	ALONE();
	struct inode *in = fd_of(dir)->inode;
	bool bad = call_fails(FAKE_UNLINK);

	if (bad && !does_all())
		return -1;
	if (!find(in, path))
		return no(ENOENT);
	dir_change(in, path, "", NULL);
	return bad ? failed() : 0;
}

static int fake_renameat(int dir, const char *from, const char *to)
{
	ALONE();
	struct inode *in = fd_of(dir)->inode, *i = find(in, from);
	bool bad = call_fails(FAKE_RENAME);

	if (bad && !does_all())
		return -1;
	if (!i)
		return no(ENOENT);
	dir_change(in, from, to, i);
	return bad ? failed() : 0;
}

/* What is done with the names is done by nobody alone: it calls again. */
static bool list_copy(int dir, struct name **copy)
{
	ALONE();

	if (call_fails(FAKE_LIST))
		return false;
	names_copy(copy, fd_of(dir)->inode->names);
	return true;
}

static int fake_list(int dir, int (*fn)(void *arg, const char *name), void *arg)
{
	struct name *copy = NULL;
	int r = 0;

	if (!list_copy(dir, &copy))
		return -1;
	for (struct name *n = copy; n && r == 0; n = n->next)
		r = fn(arg, n->text);
	names_free(&copy);
	return r;
}

static ssize_t fake_pread(int fd, void *buf, size_t n, off_t off)
{
	ALONE();
	struct inode *i = fd_of(fd)->inode;

	if (call_fails(FAKE_READ))
		return -1;
	if ((uint64_t)off >= i->mem.n)
		return 0;
	n = MIN(n, i->mem.n - (uint64_t)off);
	if (fs.plan.shorter && n > 1)
		n /= 2;
	memcpy(buf, i->mem.v + off, n);
	return (ssize_t)n;
}

static ssize_t fake_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	ALONE();
	struct inode *i = fd_of(fd)->inode;
	bool bad = call_fails(FAKE_WRITE);
	ssize_t done = 0;

	if (bad && !does_all() && !does_a_part())
		return -1;
	for (int k = 0; k < n; k++) {
		size_t len = iov[k].iov_len;

		if ((does_a_part() || fs.plan.shorter) && len > 1)
			len /= 2;
		file_change(i, (uint64_t)(off + done), iov[k].iov_base, len);
		done += (ssize_t)len;
		if (len < iov[k].iov_len)
			break;
	}
	return bad ? failed() : done;
}

static int fake_fdatasync(int fd)
{
	ALONE();

	if (call_fails(FAKE_SYNC)) {
		if (does_all())
			inode_sync(fd_of(fd)->inode);
		else if (!fs.plan.stop)
			file_sync_failed(fd_of(fd)->inode);
		return failed();
	}
	inode_sync(fd_of(fd)->inode);
	return 0;
}

static int fake_fsync(int fd)
{
	ALONE();

	if (call_fails(FAKE_SYNC_DIR)) {
		if (does_all())
			inode_sync(fd_of(fd)->inode);
		return failed();
	}
	inode_sync(fd_of(fd)->inode);
	return 0;
}

static int fake_ftruncate(int fd, off_t len)
{
	ALONE();

	if (call_fails(FAKE_TRUNCATE) && !does_all())
		return -1;
	file_change(fd_of(fd)->inode, (uint64_t)len, NULL, 0);
	return 0;
}

static int fake_fstat(int fd, struct stat *st)
{
	ALONE();
	struct inode *i = fd_of(fd)->inode;

	if (call_fails(FAKE_STAT))
		return -1;
	memset(st, 0, sizeof *st);
	st->st_uid = geteuid();
	st->st_mode = i->is_dir ? S_IFDIR | 0700 : S_IFREG | 0600;
	st->st_size = (off_t)i->mem.n;
	return 0;
}

static int fake_lock(int fd, short type, off_t byte)
{
	ALONE();
	struct fd *f = fd_of(fd);

	if (call_fails(FAKE_LOCK))
		return -1;
	if (type != F_WRLCK || byte != 0)
		abort();
	for (unsigned n = 0; n < MAX_FDS; n++)
		if (&fs.fd[n] != f && fs.fd[n].inode == f->inode && fs.fd[n].locked)
			return no(EAGAIN);
	f->locked = true;
	return 0;
}

const struct cache_io fake_disk_io = {
	.openat = fake_openat,
	.close = fake_close,
	.mkdirat = fake_mkdirat,
	.unlinkat = fake_unlinkat,
	.renameat = fake_renameat,
	.list = fake_list,
	.pread = fake_pread,
	.pwritev = fake_pwritev,
	.fdatasync = fake_fdatasync,
	.fsync = fake_fsync,
	.ftruncate = fake_ftruncate,
	.fstat = fake_fstat,
	.lock = fake_lock,
};

/* -- what happens to it ----------------------------------------------------------------------- */

void fake_disk_reset(void)
{
	ALONE();

	for (struct inode *i; (i = fs.all);) {
		fs.all = i->next;
		changes_free(i);
		names_free(&i->names);
		names_free(&i->disk_names);
		free(i->mem.v);
		free(i->disk.v);
		free(i);
	}
	memset(&fs, 0, sizeof fs);
	fs.root = inode_new(true);
}

void fake_disk_plan(const struct fake_plan *p)
{
	ALONE();

	fs.plan = *p;
	fs.calls = 0;
	memset(fs.calls_of, 0, sizeof fs.calls_of);
}

unsigned fake_disk_calls(void)
{
	ALONE();

	return fs.calls;
}

unsigned fake_disk_calls_of(enum fake_call kind)
{
	ALONE();

	return fs.calls_of[kind];
}

unsigned fake_disk_kill(void)
{
	ALONE();
	unsigned n = 0;

	for (unsigned k = 0; k < MAX_FDS; k++) {
		n += fs.fd[k].inode != NULL;
		fs.fd[k].inode = NULL;
	}
	memset(&fs.plan, 0, sizeof fs.plan);
	return n;
}

/* One sector of a write that was not synced. What was there before stays beside it. */
static void lose_sector(struct inode *i, const struct change *c, uint64_t off, uint64_t len,
			enum fake_loss how, struct prng *rng)
{
	unsigned dice = (unsigned)prng_below(rng, 3);

	if (how == FAKE_LOSE_SOME && dice == 0) {
		bytes_put(&i->disk, off, c->data + (off - c->off), len);
	} else if (off + len > i->disk.n) {
		bool whole = off >= i->disk.n;

		bytes_resize(&i->disk, off + len);
		for (uint64_t k = 0; whole && how == FAKE_LOSE_SOME && dice == 1 && k < len; k++)
			i->disk.v[off + k] = (uint8_t)prng_below(rng, 256);
	}
}

static void lose_write(struct inode *i, const struct change *c, enum fake_loss how,
		       struct prng *rng)
{
	uint64_t off = c->off, end = c->off + c->len;

	if (how == FAKE_LOSE_SOME && prng_below(rng, 4) == 0)
		return;
	while (off < end) {
		uint64_t next = MIN(end, (off / SECTOR + 1) * SECTOR);

		lose_sector(i, c, off, next - off, how, rng);
		off = next;
	}
}

static void lose_change(struct inode *i, const struct change *c, enum fake_loss how,
			struct prng *rng)
{
	bool happens = how == FAKE_LOSE_ZEROS || prng_below(rng, 2);

	if (!i->is_dir && c->data)
		lose_write(i, c, how, rng);
	else if (!happens)
		return;
	else if (i->is_dir)
		names_change(&i->disk_names, c);
	else
		bytes_resize(&i->disk, c->off);
}

void fake_disk_power_cut(enum fake_loss how, uint64_t seed)
{
	ALONE();
	struct prng rng = { seed };

	fake_disk_kill();
	for (struct inode *i = fs.all; i; i = i->next) {
		if (how == FAKE_LOSE_NOTHING)
			inode_sync(i);
		for (struct change *c = i->changes; c && how != FAKE_LOSE_ALL; c = c->next)
			lose_change(i, c, how, &rng);
		changes_free(i);
		names_copy(&i->names, i->disk_names);
		bytes_copy(&i->mem, &i->disk);
	}
}

bool fake_disk_lost(int fd)
{
	ALONE();

	return fd_of(fd)->inode->lost;
}

bool fake_disk_flip(int dir, const char *name, uint64_t off)
{
	ALONE();
	struct inode *i = find(fd_of(dir)->inode, name);

	if (!i || off >= i->mem.n)
		return false;
	i->mem.v[off] ^= 1;
	if (off < i->disk.n)
		i->disk.v[off] ^= 1;
	return true;
}
