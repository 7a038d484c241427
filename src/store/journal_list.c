/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journals below a directory, looked at without taking any: for people, who want to know what is left. It changes nothing.
 * Any thread that may block.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "store/journal_private.h"

static const struct cache_io *const sys = &cache_io_system;

struct listing {
	int (*fn)(void *arg, const struct journal_info *i);
	void *arg;
	const char *dir;
	const char *digest; /* the source that is being looked at */
	int fd;             /* of its directory, or of DIR */
	int r;              /* what fn has said, or the first failure */
	char source[JOURNAL_SOURCE_MAX];
	char path[PATH_MAX];
};

struct count {
	int fd;
	struct journal_info *info;
};

static int count_file(void *arg, const char *name)
{
	struct count *c = arg;
	struct stat st;
	uint64_t id;

	if (journal_name_parse(name, ".log", &id))
		c->info->logs++;
	else if (journal_name_parse(name, ".damaged", &id))
		c->info->damaged++;
	else
		return 0;
	if (sys->fstatat(c->fd, name, &st) == 0)
		c->info->bytes += (uint64_t)st.st_size;
	return 0;
}

static bool is_in_use(int dir)
{
	int fd = sys->openat(dir, "lock", O_RDONLY, 0);
	bool used = fd >= 0 && sys->is_locked(fd, 0, 1) == 1;

	fd_closep(&fd);
	return used;
}

static int list_mount(void *arg, const char *name)
{
	struct listing *ls = arg;
	struct journal_info info = { .source = ls->source, .path = ls->path };
	struct count c = { .info = &info };

	if (strspn(name, "0123456789") != strlen(name))
		return 0;
	c.fd = sys->openat(ls->fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (c.fd < 0)
		return 0;
	snprintf(ls->path, sizeof ls->path, "%s/%s/%s", ls->dir, ls->digest, name);
	info.in_use = is_in_use(c.fd);
	sys->list(c.fd, count_file, &c);
	sys->close(c.fd);
	ls->r = ls->fn(ls->arg, &info);
	return ls->r != 0;
}

static void list_source_text(struct listing *ls)
{
	int fd = sys->openat(ls->fd, "source", O_RDONLY, 0);
	ssize_t n = fd < 0 ? 0 : sys->pread(fd, ls->source, sizeof ls->source - 1, 0);

	ls->source[MAX(n, 0)] = 0;
	fd_closep(&fd);
}

static int list_source(void *arg, const char *name)
{
	struct listing *ls = arg;
	int top = ls->fd;

	if (strlen(name) != 64 || strspn(name, "0123456789abcdef") != 64)
		return 0;
	ls->fd = sys->openat(top, name, O_RDONLY | O_DIRECTORY, 0);
	if (ls->fd >= 0) {
		ls->digest = name;
		list_source_text(ls);
		if (sys->list(ls->fd, list_mount, ls) < 0)
			ls->r = -errno;
		sys->close(ls->fd);
	}
	ls->fd = top;
	return ls->r != 0;
}

int journal_list(const char *dir, int (*fn)(void *arg, const struct journal_info *i), void *arg)
{
	struct listing *ls = calloc(1, sizeof *ls);
	int r;

	if (!ls)
		return -ENOMEM;
	ls->fn = fn;
	ls->arg = arg;
	ls->dir = dir;
	snprintf(ls->path, sizeof ls->path, "%s/.", dir);
	ls->fd = sys->openat(AT_FDCWD, ls->path, O_RDONLY | O_DIRECTORY, 0);
	if (ls->fd < 0) {
		r = errno == ENOENT ? 0 : -errno;
	} else {
		if (sys->list(ls->fd, list_source, ls) < 0)
			ls->r = -errno;
		r = ls->r;
		sys->close(ls->fd);
	}
	free(ls);
	return r;
}
