/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache directory: opened, closed, and what its errors lead to. It knows nothing of pages. What a failing
 * disk does is one state for the whole directory: whoever cannot write one file will not write the next.
 * Any thread.
 *
 *   CACHE_WRITES <---------> CACHE_PAUSES   full, and making room did not help: for CACHE_PAUSE_MS
 *   CACHE_WRITES ----------> CACHE_OFF      EIO, EROFS: until the directory is opened again
 */
#include "store/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "store/cache_private.h"

#define VERSION_TEXT "vmofs cache 1\n"

/* -- the directory ---------------------------------------------------------------------------- */

static int dir_failed(struct vmofs_err *err, int code, const char *dir)
{
	const char *remedy = code == -EACCES ? "; give a directory that this user may write"
		: code == -ENOENT            ? "; make the directory above it first"
					     : "";

	return vmofs_err_set(err, code, "cannot open the cache directory '%s': %s%s", dir,
			     strerror(-code), remedy);
}

/* Made where it is missing. A failure to make it is judged by whether it can be opened. */
static int dir_open(struct cache *c, struct vmofs_err *err)
{
	int made = c->io->mkdirat(AT_FDCWD, c->dir, 0700) < 0 ? -errno : 0;

	/* A link to a directory is the user's own choice, so this is not the table's openat. */
	c->dir_fd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir_fd < 0)
		return dir_failed(err, made < 0 && made != -EEXIST ? made : -errno, c->dir);
	return 0;
}

/* Contents that others can change are theirs: checksums do not help against whoever can compute them. */
static int dir_check_owner(struct cache *c, struct vmofs_err *err)
{
	struct stat st;

	if (c->io->fstat(c->dir_fd, &st) < 0)
		return dir_failed(err, -errno, c->dir);
	if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022))
		return vmofs_err_set(
			err, -EACCES,
			"others may write the cache directory '%s' (owner %u, mode %o); it must be "
			"this user's, mode 700",
			c->dir, (unsigned)st.st_uid, (unsigned)st.st_mode & 07777);
	return 0;
}

/* 0: not there; 1: ours; -EPROTO: another's. A part of ours, or zeroes, is what a crash or a failing disk leaves. */
static int version_read(struct cache *c, char *text, size_t cap)
{
	int fd = c->io->openat(c->dir_fd, "version", O_RDONLY, 0);
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = c->io->pread(fd, text, cap - 1, 0);
	if (n < 0)
		n = -errno;
	c->io->close(fd);
	if (n <= 0)
		return (int)n;
	text[n] = 0;
	if (strcmp(text, VERSION_TEXT) == 0)
		return 1;
	return strncmp(text, VERSION_TEXT, strlen(text)) == 0 ? 0 : -EPROTO;
}

static int version_write(struct cache *c)
{
	struct iovec v = { .iov_base = (char[]){ VERSION_TEXT },
			   .iov_len = sizeof VERSION_TEXT - 1 };
	int fd = c->io->openat(c->dir_fd, "version", O_WRONLY | O_CREAT, 0600);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = c->io->pwritev(fd, &v, 1, 0);
	if (n < 0)
		n = -errno;
	c->io->close(fd);
	return n == (ssize_t)v.iov_len ? 0 : n < 0 ? (int)n : -ENOSPC;
}

/*
 * A directory that cannot be written is a cache nonetheless, if only of what is there; then the version is
 * written with the first page.
 */
static int dir_check_version(struct cache *c, struct vmofs_err *err)
{
	char text[64];
	int r = version_read(c, text, sizeof text);

	if (r == -EPROTO) {
		text[strcspn(text, "\n")] = 0;
		return vmofs_err_set(err, -EPROTO,
				     "the cache directory '%s' is of another version ('%.40s'); "
				     "remove it or give another one",
				     c->dir, text);
	}
	if (r < 0)
		cache_read_failed(c, r);
	c->has_version = r == 1;
	return 0;
}

/* Descriptors that the cache may hold: two an entry, a quarter of what the process may open. */
static unsigned open_max(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return 32;
	return (unsigned)MIN(MAX(lim.rlim_cur / 8, 8), 2048);
}

static struct cache *cache_new(const struct cache_params *p)
{
	struct cache *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->io = p->io ? p->io : &cache_io_system;
	c->limit = p->limit;
	c->floor = p->floor;
	c->open_max = open_max();
	c->records_max = CACHE_RECORDS_BYTES;
	c->dir_fd = -1;
	mutex_init(&c->lock, LOCK_RANK_CACHE);
	cond_init(&c->wake);
	vmofs_list_init(&c->open);
	c->dir = strdup(p->dir);
	return c;
}

int cache_open(struct cache **out, const struct cache_params *p, struct vmofs_err *err)
{
	struct cache *c = cache_new(p);
	int r;

	if (!c || !c->dir) {
		cache_free(c);
		return vmofs_err_set(err, -ENOMEM, "out of memory for the disk cache");
	}
	r = dir_open(c, err);
	if (r == 0)
		r = dir_check_owner(c, err);
	if (r == 0)
		r = dir_check_version(c, err);
	if (r < 0) {
		cache_free(c);
		return r;
	}
	if (p->housekeeping && cache_house_start(c) < 0) {
		cache_free(c);
		return vmofs_err_set(err, -EAGAIN, "cannot start a thread for the disk cache");
	}
	*out = c;
	return 0;
}

int cache_free(struct cache *c)
{
	if (!c)
		return 0;
	if (cache_house_stop(c) < 0)
		return -ETIMEDOUT;
	if (c->dir_fd >= 0)
		c->io->close(c->dir_fd);
	cond_destroy(&c->wake);
	mutex_destroy(&c->lock);
	free(c->dir);
	free(c);
	return 0;
}

/* -- errors ----------------------------------------------------------------------------------- */

static const char *const writing_text[] = {
	[CACHE_WRITES] = "is written again",
	[CACHE_PAUSES] = "is full; nothing is kept for a while",
	[CACHE_OFF] = "cannot be written; nothing more is kept there",
};

/* One line for each change. */
static void writing_set(struct cache *c, enum cache_writing to, int err) EXCLUDES(c->lock)
{
	enum cache_writing from;

	mutex_lock(&c->lock);
	from = c->writing;
	if (from != CACHE_OFF)
		c->writing = to;
	if (to == CACHE_PAUSES)
		c->pause_until_ms = c->io->now_ms() + CACHE_PAUSE_MS;
	mutex_unlock(&c->lock);
	if (from == to || from == CACHE_OFF)
		return;
	if (err)
		log_warn("cache directory '%s' %s: %s", c->dir, writing_text[to], strerror(-err));
	else
		log_info("cache directory '%s' %s", c->dir, writing_text[to]);
}

static bool is_full(int err)
{
	return err == -ENOSPC || err == -EDQUOT;
}

/* Of this process or this call, not of the disk. */
static bool is_passing(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -EINTR ||
		err == -EAGAIN || err == -EBUSY || err == -EFBIG || err == -ENXIO;
}

bool cache_write_failed(struct cache *c, int err)
{
	int r;

	if (is_passing(err))
		return false;
	cache_count(c, CACHE_WRITE_ERRORS, 1);
	atomic_store(&c->last_error, err);
	r = is_full(err) ? cache_make_room(c) : 0;
	if (r == 0)
		cache_write_gave_up(c, err);
	return r > 0;
}

void cache_write_gave_up(struct cache *c, int err)
{
	if (!is_passing(err))
		writing_set(c, is_full(err) ? CACHE_PAUSES : CACHE_OFF, err);
}

void cache_read_failed(struct cache *c, int err)
{
	if (is_passing(err))
		return;
	cache_count(c, CACHE_READ_ERRORS, 1);
	if (atomic_exchange(&c->last_error, err) != err)
		log_warn("cannot read the cache directory '%s': %s", c->dir, strerror(-err));
}

/* With the version beside it, or what is written would be nobody's. */
static int version_keep(struct cache *c) EXCLUDES(c->lock)
{
	char text[64];
	bool has;
	int r;

	mutex_lock(&c->lock);
	has = c->has_version;
	mutex_unlock(&c->lock);
	if (has)
		return 0;
	r = version_read(c, text, sizeof text);
	if (r == 0)
		r = version_write(c);
	if (r < 0) {
		cache_write_failed(c, r);
		return r;
	}
	mutex_lock(&c->lock);
	c->has_version = true;
	mutex_unlock(&c->lock);
	return 0;
}

/* Asked for once a second. */
static bool is_below_floor(struct cache *c)
{
	uint64_t now = c->io->now_ms();

	if (!c->floor)
		return false;
	if (now - atomic_load(&c->floor_ms) >= 1000 || atomic_load(&c->too_full)) {
		atomic_store(&c->floor_ms, now);
		atomic_store(&c->too_full, cache_disk_free(c) < c->floor);
	}
	return atomic_load(&c->too_full);
}

int cache_may_write(struct cache *c)
{
	enum cache_writing w;
	uint64_t until;

	mutex_lock(&c->lock);
	w = c->writing;
	until = c->pause_until_ms;
	mutex_unlock(&c->lock);
	if (w == CACHE_OFF)
		return -EROFS;
	if (w == CACHE_PAUSES) {
		if (c->io->now_ms() < until)
			return -ENOSPC;
		writing_set(c, CACHE_WRITES, 0);
	}
	/* The housekeeping is behind: what comes in now would have to go at once. */
	if ((c->limit && atomic_load(&c->bytes) > c->limit) || is_below_floor(c)) {
		cache_kick(c);
		return -ENOSPC;
	}
	return version_keep(c);
}

void cache_account(struct cache *c, int64_t bytes)
{
	uint64_t old = atomic_load(&c->bytes), sum;

	do
		sum = bytes < 0 && (uint64_t)-bytes > old ? 0 : old + (uint64_t)bytes;
	while (!atomic_compare_exchange_weak(&c->bytes, &old, sum));
	if (bytes > 0 && c->limit && sum > cache_high(c))
		cache_kick(c);
}

void cache_stats(struct cache *c, struct cache_stats *out)
{
	uint64_t *const to[] = {
		[CACHE_CORRUPT] = &out->corrupt,
		[CACHE_EVICTED] = &out->evicted,
		[CACHE_READ_ERRORS] = &out->read_errors,
		[CACHE_WRITE_ERRORS] = &out->write_errors,
	};

	_Static_assert(ARRAY_LEN(to) == CACHE_NCOUNTERS, "one member per counter");
	for (unsigned i = 0; i < CACHE_NCOUNTERS; i++)
		*to[i] = atomic_load_explicit(&c->n[i], memory_order_relaxed);
	out->bytes = atomic_load(&c->bytes);
	out->entries = atomic_load(&c->entries);
	out->last_error = atomic_load(&c->last_error);
	mutex_lock(&c->lock);
	out->writing = c->writing == CACHE_WRITES;
	mutex_unlock(&c->lock);
}
