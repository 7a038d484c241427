/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a cache directory. It is read one folder at a time, so that no more names than those of one are in
 * memory, and in slices, so that whoever serves readers on the same disk does not notice.
 */
#include "store/cache_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/loop.h"
#include "base/macros.h"

#define SLICE_NS  (2 * NSEC_PER_MSEC)
#define READ_MANY 32u /* records at once */

enum { REST_LEN = CACHE_NAME_LEN - 3 }; /* of a name behind "ab/" */

struct found {
	char rest[REST_LEN + 1];
	bool index, data;
};

struct folder {
	struct found *item; /* owned */
	size_t n, cap;
};

/* -- names ------------------------------------------------------------------------------------ */

static bool is_hex(const char *s, size_t n)
{
	return strspn(s, "0123456789abcdef") >= n;
}

/* Anything that is not named like a file of ours is not ours. */
static int folder_add(struct folder *f, const char *name)
{
	struct found *x;
	bool index, data;

	if (strlen(name) <= REST_LEN || !is_hex(name, REST_LEN))
		return 0;
	index = strcmp(name + REST_LEN, ".index") == 0;
	data = strcmp(name + REST_LEN, ".data") == 0;
	if (!index && !data)
		return 0;
	if (f->n == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : 64;

		x = realloc(f->item, cap * sizeof *x);
		if (!x)
			return -ENOMEM;
		f->item = x;
		f->cap = cap;
	}
	x = &f->item[f->n++];
	memcpy(x->rest, name, REST_LEN);
	x->rest[REST_LEN] = 0;
	x->index = index;
	x->data = data;
	return 0;
}

static int folder_read(struct cache *c, const char *sub, struct folder *f)
{
	int fd = c->io->openat(c->dir_fd, sub, O_RDONLY | O_DIRECTORY, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	int r = 0;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	if (!dir) {
		c->io->close(fd);
		return -ENOMEM;
	}
	while (r == 0 && (errno = 0, d = readdir(dir)))
		r = folder_add(f, d->d_name);
	if (r == 0 && errno)
		r = -errno;
	closedir(dir);
	return r;
}

static int by_rest(const void *a, const void *b)
{
	return strcmp(((const struct found *)a)->rest, ((const struct found *)b)->rest);
}

/* The two files of an entry become one item. */
static void folder_pair(struct folder *f)
{
	size_t n = 0;

	if (f->n)
		qsort(f->item, f->n, sizeof *f->item, by_rest);
	for (size_t i = 0; i < f->n; i++) {
		if (n && by_rest(&f->item[n - 1], &f->item[i]) == 0) {
			f->item[n - 1].index |= f->item[i].index;
			f->item[n - 1].data |= f->item[i].data;
		} else {
			f->item[n++] = f->item[i];
		}
	}
	f->n = n;
}

/* After a slice of gentle work, as long a rest. False: it is time to stop. */
static bool walk_rests(const struct cache_walk *w, uint64_t *slice)
{
	uint64_t now = loop_now_ns();
	struct timespec rest = { .tv_nsec = SLICE_NS };

	if (w->gentle && now - *slice >= SLICE_NS) {
		nanosleep(&rest, NULL);
		*slice = loop_now_ns();
	}
	return !atomic_load(&w->c->stopping);
}

static bool folder_tell(const struct cache_walk *w, const char *sub, const struct folder *f,
			uint64_t *slice)
{
	char name[CACHE_NAME_LEN + 1];

	for (size_t i = 0; i < f->n; i++) {
		snprintf(name, sizeof name, "%s/%s", sub, f->item[i].rest);
		if (!walk_rests(w, slice) ||
		    !w->fn(w->arg, name, f->item[i].index, f->item[i].data))
			return false;
	}
	return true;
}

int cache_walk(const struct cache_walk *w)
{
	uint64_t slice = loop_now_ns();
	bool on = true;
	int r = 0;

	for (unsigned i = 0; r == 0 && on && i < 256; i++) {
		struct folder f = { .n = 0 };
		char sub[3];

		snprintf(sub, sizeof sub, "%02x", i);
		r = folder_read(w->c, sub, &f);
		folder_pair(&f);
		if (r == 0)
			on = folder_tell(w, sub, &f, &slice);
		free(f.item);
	}
	return r;
}

/* -- one entry -------------------------------------------------------------------------------- */

/* Zeros where it is not there. */
static struct stat stat_of(struct cache *c, const char *name, const char *ending)
{
	char path[CACHE_PATH_LEN];
	struct stat st;

	cache_path_of(name, ending, path);
	if (c->io->fstatat(c->dir_fd, path, &st) < 0)
		memset(&st, 0, sizeof st);
	return st;
}

static uint64_t blocks_of(struct cache *c, const char *name, const char *ending)
{
	struct stat st = stat_of(c, name, ending);

	return (uint64_t)st.st_blocks * 512;
}

uint64_t cache_disk_of(struct cache *c, const char *name)
{
	return blocks_of(c, name, ".index") + blocks_of(c, name, ".data");
}

bool cache_look_begin(struct cache *c, const char *name, struct cache_look *look)
{
	uint8_t buf[CACHE_HEADER_MAX];
	char path[CACHE_PATH_LEN];
	struct stat st, data;
	ssize_t n;

	memset(look, 0, sizeof *look);
	cache_path_of(name, ".index", path);
	look->fd = c->io->openat(c->dir_fd, path, O_RDONLY, 0);
	if (look->fd < 0)
		return false;
	if (c->io->fstat(look->fd, &st) < 0)
		return false;
	look->index_size = (uint64_t)st.st_size;
	look->index_disk = (uint64_t)st.st_blocks * 512;
	data = stat_of(c, name, ".data");
	look->data_disk = (uint64_t)data.st_blocks * 512;
	look->lent = data.st_mode & CACHE_LENT;
	n = c->io->pread(look->fd, buf, sizeof buf, 0);
	look->damaged = n >= 0 && cache_header_decode(&look->header, buf, (size_t)n) < 0;
	return n >= 0 && !look->damaged;
}

void cache_look_end(struct cache *c, struct cache_look *look)
{
	if (look->fd >= 0)
		c->io->close(look->fd);
	look->fd = -1;
}

bool cache_look_is_named(const struct cache_look *look, const char *name)
{
	struct cache_key key = {
		.url = look->header.url,
		.validator = look->header.validator,
		.size = look->header.at.size,
		.identity = cache_header_identity(&look->header),
	};
	char right[CACHE_NAME_LEN + 1];

	return cache_name_of(&key, right) == 0 && strcmp(right, name) == 0;
}

/* The first segment from @idx on whose record may have been written. */
static uint64_t skip_hole(struct cache *c, const struct cache_look *look, uint64_t idx)
{
	const struct cache_layout *at = &look->header.at;
	off_t data = c->io->seek_data(look->fd, (off_t)cache_record_at(at, idx));

	if (data < 0)
		return errno == ENXIO ? UINT64_MAX : idx;
	return MAX(idx, ((uint64_t)data - at->len) / cache_record_len(at->size));
}

void cache_look_records(struct cache *c, const struct cache_look *look,
			bool (*fn)(void *arg, uint64_t idx, int r,
				   const struct cache_record *record),
			void *arg)
{
	const struct cache_layout *at = &look->header.at;
	uint32_t len = cache_record_len(at->size);
	uint64_t n = cache_segments_of(at->size);
	uint8_t *buf = malloc((size_t)READ_MANY * len);
	struct cache_record record;
	bool on = buf != NULL;

	for (uint64_t idx = 0; on && (idx = skip_hole(c, look, idx)) < n;) {
		size_t want = (size_t)MIN(n - idx, READ_MANY) * len;
		ssize_t got = c->io->pread(look->fd, buf, want, (off_t)cache_record_at(at, idx));

		if (got <= 0)
			break;
		for (size_t p = 0; on && p < (size_t)got; p += len, idx++) {
			int r = cache_record_decode(at, idx, buf + p, (size_t)got - p, &record);

			on = r == -ENODATA || fn(arg, idx, r, &record);
		}
	}
	free(buf);
}
