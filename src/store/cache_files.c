/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two files of an entry: found or made, locked, flushed, closed, removed. It knows nothing of single pages.
 * Threads that may block; everything here runs under the entry's `io`.
 *
 * The lock on byte 0 lasts as long as the descriptor is open. Once it is given up, another process may have
 * changed anything: so with the descriptors goes everything that was known.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>

#include "base/macros.h"
#include "store/cache_private.h"

enum { OPEN_TRIES = 8, FLUSH_RECORDS = 16, BLOCK_MIN = 1024 };

static const uint8_t entry_next[] = {
	[ENTRY_SHUT] = BIT(ENTRY_NONE) | BIT(ENTRY_READER) | BIT(ENTRY_WRITER) | BIT(ENTRY_OFF),
	[ENTRY_NONE] = BIT(ENTRY_SHUT),
	[ENTRY_READER] = BIT(ENTRY_SHUT),
	[ENTRY_WRITER] = BIT(ENTRY_SHUT),
	[ENTRY_OFF] = BIT(ENTRY_SHUT),
};
_Static_assert(ARRAY_LEN(entry_next) == ENTRY_NSTATES, "one row per state");

static void entry_set_state(struct cache_entry *e, enum entry_state to) REQUIRES(e->lock)
{
	assert(entry_next[e->state] & BIT(to));
	e->state = to;
}

/* What is opened, before it is the entry's. */
struct files {
	int index, data; /* -1: not open */
	bool writer;
	bool read_only;
	struct cache_layout at;
	uint64_t index_size;
};

static void fd_drop(struct cache *c, int *fd)
{
	if (*fd >= 0)
		c->io->close(*fd);
	*fd = -1;
}

static int file_open(struct cache_entry *e, const char *ending, int flags)
{
	char path[CACHE_PATH_LEN];
	int fd;

	cache_path_of(e->name, ending, path);
	fd = e->c->io->openat(e->c->dir_fd, path, flags, 0600);
	return fd < 0 ? -errno : fd;
}

static void file_unlink(struct cache_entry *e, const char *ending)
{
	char path[CACHE_PATH_LEN];

	cache_path_of(e->name, ending, path);
	e->c->io->unlinkat(e->c->dir_fd, path);
}

/* -- index ------------------------------------------------------------------------------------ */

static int index_make(struct cache_entry *e)
{
	char sub[3] = { e->name[0], e->name[1], 0 };
	int fd = file_open(e, ".index", O_RDWR | O_CREAT);

	if (fd != -ENOENT)
		return fd;
	if (e->c->io->mkdirat(e->c->dir_fd, sub, 0700) < 0 && errno != EEXIST)
		return -errno;
	return file_open(e, ".index", O_RDWR | O_CREAT);
}

static int index_open(struct cache_entry *e, enum entry_want want, struct files *f)
{
	int fd = file_open(e, ".index", O_RDWR);

	if (fd == -EROFS || fd == -EACCES || fd == -EPERM) {
		f->read_only = true;
		fd = file_open(e, ".index", O_RDONLY);
	}
	if (fd == -ENOENT && want == ENTRY_MAKE)
		fd = index_make(e);
	f->index = fd < 0 ? -1 : fd;
	return fd < 0 ? fd : 0;
}

/*
 * Becomes the writer where nobody else is. -ESTALE: the file was removed between being opened and locked;
 * another one may have its name by now.
 */
static int index_lock(struct cache_entry *e, struct files *f)
{
	const struct cache_io *io = e->c->io;
	struct stat st;

	f->writer = !f->read_only && io->lock(f->index, F_WRLCK, CACHE_LOCK_WRITER) == 0;
	if (io->fstat(f->index, &st) < 0)
		return -errno;
	f->index_size = (uint64_t)st.st_size;
	return st.st_nlink ? 0 : -ESTALE;
}

/* With an identity the URL is that of who made it. */
static bool header_fits(const struct cache_entry *e, const struct cache_header *h)
{
	bool same = e->has_identity ? memcmp(h->identity, e->identity, sizeof e->identity) == 0
				    : strcmp(h->url, e->url) == 0;

	return same && h->has_identity == e->has_identity && h->at.size == e->size &&
		strcmp(h->validator, e->validator) == 0;
}

/* -EBADMSG: not the header of this entry. */
static int index_read(struct cache_entry *e, struct files *f)
{
	uint8_t buf[CACHE_HEADER_MAX];
	struct cache_header h;
	ssize_t n = e->c->io->pread(f->index, buf, sizeof buf, 0);

	if (n < 0)
		return -errno;
	if (cache_header_decode(&h, buf, (size_t)n) < 0 || !header_fits(e, &h))
		return -EBADMSG;
	f->at = h.at;
	return 0;
}

/* An index without records; the salt is a new one, so that no old record is taken for one of it. */
static int index_begin(struct cache_entry *e, struct files *f)
{
	uint8_t buf[CACHE_HEADER_MAX];
	struct cache_header h = { .at = { .size = e->size }, .has_identity = e->has_identity };
	struct iovec v = { .iov_base = buf };
	ssize_t n;

	strcpy(h.url, e->url);
	strcpy(h.validator, e->validator);
	memcpy(h.identity, e->identity, sizeof h.identity);
	if (getrandom(&h.at.salt, sizeof h.at.salt, 0) != sizeof h.at.salt)
		return -EIO;
	v.iov_len = (size_t)cache_header_encode(&h, buf);
	if (e->c->io->ftruncate(f->index, 0) < 0)
		return -errno;
	n = e->c->io->pwritev(f->index, &v, 1, 0);
	if (n != (ssize_t)v.iov_len)
		return n < 0 ? -errno : -ENOSPC;
	f->at = h.at;
	f->index_size = v.iov_len;
	return 0;
}

/* -- both files ------------------------------------------------------------------------------- */

static void files_drop(struct cache *c, struct files *f)
{
	fd_drop(c, &f->data);
	fd_drop(c, &f->index); /* last: its lock covers both */
}

/* What cannot be used is in the way. Only the writer may say so. */
static int files_useless(struct cache_entry *e, const struct files *f)
{
	if (!f->writer)
		return -EAGAIN;
	if (f->index_size)
		cache_count(e->c, CACHE_CORRUPT, 1);
	file_unlink(e, ".data");
	file_unlink(e, ".index");
	return -ENOENT;
}

static int data_resize(struct cache_entry *e, struct files *f)
{
	struct stat st;

	if (e->c->io->fstat(f->data, &st) < 0)
		return -errno;
	if (!f->writer || (uint64_t)st.st_size == e->size)
		return 0;
	return e->c->io->ftruncate(f->data, (off_t)e->size) < 0 ? -errno : 0;
}

/* The data file of an index that is right. Without one the index speaks of nothing. */
static int data_open(struct cache_entry *e, enum entry_want want, struct files *f)
{
	int r;

	f->data = file_open(e, ".data", f->read_only ? O_RDONLY : O_RDWR);
	if (f->data == -ENOENT) {
		if (!f->writer || want == ENTRY_LOOK)
			return files_useless(e, f);
		r = f->index_size > f->at.len ? index_begin(e, f) : 0;
		if (r < 0)
			return r;
		f->data = file_open(e, ".data", O_RDWR | O_CREAT);
	}
	return f->data < 0 ? f->data : data_resize(e, f);
}

/* The index as it should be. */
static int index_check(struct cache_entry *e, enum entry_want want, struct files *f)
{
	int r = index_read(e, f);

	if (r != -EBADMSG)
		return r;
	if (!f->writer || want != ENTRY_MAKE)
		return files_useless(e, f);
	if (f->index_size)
		cache_count(e->c, CACHE_CORRUPT, 1);
	return index_begin(e, f);
}

/*
 * -ESTALE: it has been removed since. A data file that was opened after that would be another one, which the
 * locks of this index do not cover.
 */
static int index_is_named(struct cache_entry *e, const struct files *f)
{
	struct stat st;

	if (e->c->io->fstat(f->index, &st) < 0)
		return -errno;
	return st.st_nlink ? 0 : -ESTALE;
}

static int files_try(struct cache_entry *e, enum entry_want want, struct files *f)
{
	int r = index_open(e, want, f);

	if (r == 0)
		r = index_lock(e, f);
	if (r == 0)
		r = index_check(e, want, f);
	if (r == 0)
		r = data_open(e, want, f);
	return r < 0 ? r : index_is_named(e, f);
}

/* -ENOENT: there are none (any more). -EAGAIN: another process is at work on them. */
static int files_find(struct cache_entry *e, enum entry_want want, struct files *f)
{
	int r = -ESTALE;

	for (unsigned i = 0; r == -ESTALE && i < OPEN_TRIES; i++) {
		files_drop(e->c, f);
		*f = (struct files){ .index = -1, .data = -1 };
		r = files_try(e, want, f);
	}
	return r;
}

static void files_take(struct cache_entry *e, const struct files *f) EXCLUDES(e->lock)
{
	uint32_t len = cache_record_len(e->size);
	uint64_t now = e->c->io->now_ms();

	mutex_lock(&e->lock);
	e->index_fd = f->index;
	e->data_fd = f->data;
	e->at = f->at;
	e->read_only = f->read_only;
	e->known_end = (MAX(f->index_size, f->at.len) - f->at.len + len - 1) / len;
	e->retry_ms = now + CACHE_RETRY_MS;
	e->refresh_ms = now + CACHE_REFRESH_MS;
	e->used_ms = now;
	entry_set_state(e, f->writer ? ENTRY_WRITER : ENTRY_READER);
	mutex_unlock(&e->lock);
	cache_entry_opened(e);
}

static void files_none(struct cache_entry *e, enum entry_state to) EXCLUDES(e->lock)
{
	mutex_lock(&e->lock);
	e->retry_ms = e->c->io->now_ms() + CACHE_RETRY_MS;
	entry_set_state(e, to);
	mutex_unlock(&e->lock);
}

/* From SHUT on. 0 or why not; errors are the caller's to report once `io` is free. */
static int files_open(struct cache_entry *e, enum entry_want want) REQUIRES(e->io)
{
	struct files f = { .index = -1, .data = -1 };
	int r = files_find(e, want, &f);
	bool none;

	if (r == 0) {
		files_take(e, &f);
		return 0;
	}
	files_drop(e->c, &f);
	/* What could not be made may be tried at the next write. */
	none = r == -ENOENT || (want == ENTRY_MAKE && r != -EAGAIN);
	files_none(e, none ? ENTRY_NONE : ENTRY_OFF);
	return r;
}

/* Moves the descriptors to @f and forgets all that is known. -EBUSY: somebody is at work, or serves the file. */
static int files_detach(struct cache_entry *e, struct files *f) REQUIRES(e->io) EXCLUDES(e->lock)
{
	bool busy;

	mutex_lock(&e->lock);
	busy = e->active || e->pins;
	if (!busy) {
		f->index = e->index_fd;
		f->data = e->data_fd;
		e->index_fd = e->data_fd = -1;
		e->held = false;
		segments_drop(e);
		entry_set_state(e, ENTRY_SHUT);
	}
	mutex_unlock(&e->lock);
	if (busy)
		return -EBUSY;
	fd_drop(e->c, &e->pin_fd);
	cache_entry_shut(e);
	return 0;
}

/* Lets go of the descriptors and of all that is known. -EBUSY: they are in use. */
static int files_shut(struct cache_entry *e) REQUIRES(e->io) EXCLUDES(e->lock)
{
	struct files f = { .index = -1, .data = -1 };
	int r = files_detach(e, &f);

	files_drop(e->c, &f);
	return r;
}

/* -- entering --------------------------------------------------------------------------------- */

/* -EAGAIN: its files are to be looked at. */
static int enter_locked(struct cache_entry *e, enum entry_want want, uint64_t now) REQUIRES(e->lock)
{
	switch (e->state) {
	case ENTRY_WRITER:
		if (e->discarded)
			return e->active || e->pins ? -EBUSY : -EAGAIN;
		if (e->broken && want == ENTRY_MAKE)
			return -EBUSY;
		e->active++;
		return 0;
	case ENTRY_READER:
		if (now >= e->retry_ms && !e->active && !e->pins && !e->held && !e->read_only)
			return -EAGAIN;
		if (want == ENTRY_MAKE)
			return e->read_only ? -EROFS : -EBUSY;
		e->active++;
		return 0;
	case ENTRY_NONE:
		return want == ENTRY_MAKE ? -EAGAIN : -ENOENT;
	case ENTRY_OFF:
		return e->unfit || now < e->retry_ms ? -ENXIO : -EAGAIN;
	default:
		return -EAGAIN;
	}
}

static int enter(struct cache_entry *e, enum entry_want want) EXCLUDES(e->lock)
{
	uint64_t now = e->c->io->now_ms();
	bool used = false;
	int r;

	mutex_lock(&e->lock);
	r = enter_locked(e, want, now);
	if (r == 0 && now - e->used_ms > CACHE_REFRESH_MS) {
		e->used_ms = now;
		used = true;
	}
	mutex_unlock(&e->lock);
	if (used)
		cache_entry_used(e);
	return r;
}

/* To SHUT, from any other. */
static int entry_begin_again(struct cache_entry *e) REQUIRES(e->io) EXCLUDES(e->lock)
{
	bool open;

	mutex_lock(&e->lock);
	open = e->state == ENTRY_READER || e->state == ENTRY_WRITER;
	if (!open && e->state != ENTRY_SHUT)
		entry_set_state(e, ENTRY_SHUT);
	mutex_unlock(&e->lock);
	return open ? files_shut(e) : 0;
}

static int enter_slow(struct cache_entry *e, enum entry_want want) REQUIRES(e->io)
{
	int r = enter(e, want); /* somebody else may have done it */

	if (r != -EAGAIN)
		return r;
	r = entry_begin_again(e);
	if (r == 0)
		r = files_open(e, want);
	return r < 0 ? r : enter(e, want);
}

static void enter_failed(struct cache_entry *e, enum entry_want want, int r)
{
	if (r == -ENOENT || r == -EBUSY || r == -EAGAIN || r == -ENXIO)
		return;
	if (want == ENTRY_LOOK)
		cache_read_failed(e->c, r);
}

int entry_enter(struct cache_entry *e, enum entry_want want)
{
	int r = enter(e, want);

	if (r != -EAGAIN)
		return r;
	cache_make_room_to_open(e->c);
	mutex_lock(&e->io);
	r = enter_slow(e, want);
	mutex_unlock(&e->io);
	if (r < 0)
		enter_failed(e, want, r);
	return r == -EAGAIN ? -EBUSY : r;
}

void entry_leave(struct cache_entry *e)
{
	mutex_lock(&e->lock);
	assert(e->active);
	e->active--;
	mutex_unlock(&e->lock);
}

/* -- flush ------------------------------------------------------------------------------------ */

/*
 * The disk did not take what was written, and says so once. From now on any page may be an old one that
 * looks right as long as the kernel has it in memory. So the index goes at once, and the files when they are shut.
 */
static void sync_failed(struct cache_entry *e) REQUIRES(e->io) EXCLUDES(e->lock)
{
	mutex_lock(&e->lock);
	e->broken = true;
	mutex_unlock(&e->lock);
	if (e->state == ENTRY_WRITER)
		e->c->io->ftruncate(e->index_fd, 0);
}

static int sync_io(struct cache_entry *e) REQUIRES(e->io) EXCLUDES(e->lock)
{
	uint64_t writes, bytes;
	int r = 0;

	mutex_lock(&e->lock);
	writes = e->n_writes;
	bytes = e->unsynced;
	mutex_unlock(&e->lock);
	if (e->c->io->fdatasync(e->data_fd) < 0)
		r = -errno;
	if (r < 0) {
		sync_failed(e);
		return r;
	}
	mutex_lock(&e->lock);
	e->synced = true;
	e->n_synced = MAX(e->n_synced, writes);
	e->unsynced -= MIN(e->unsynced, bytes);
	mutex_unlock(&e->lock);
	return 0;
}

int entry_sync(struct cache_entry *e)
{
	bool due;
	int r = 0;

	mutex_lock(&e->io);
	mutex_lock(&e->lock);
	due = !e->synced || e->n_synced < e->n_writes;
	r = e->broken ? -EIO : 0;
	mutex_unlock(&e->lock);
	if (r == 0 && due)
		r = sync_io(e);
	mutex_unlock(&e->io);
	if (r < 0)
		cache_write_failed(e->c, r);
	return r;
}

struct flush {
	unsigned n;
	uint64_t idx[FLUSH_RECORDS];
	struct cache_record record;
	uint8_t bytes[FLUSH_RECORDS][CACHE_RECORD_MAX];
	bool sync;
};

/* Encodes records that are due; they count as written from now on. False: none is. */
static bool flush_collect(struct cache_entry *e, struct flush *f) EXCLUDES(e->lock)
{
	struct cache_segment *s;

	mutex_lock(&e->lock);
	for (f->n = 0;
	     f->n < FLUSH_RECORDS && (s = vmofs_list_first(&e->dirty, struct cache_segment, link));
	     f->n++) {
		vmofs_list_del(&s->link);
		s->kept_used_sec = s->used_sec;
		segment_record(s, &f->record);
		cache_record_encode(&e->at, s->idx, &f->record, f->bytes[f->n]);
		f->idx[f->n] = s->idx;
		e->known_end = MAX(e->known_end, s->idx + 1);
	}
	f->sync = f->n && e->unsynced >= CACHE_SYNC_BYTES;
	mutex_unlock(&e->lock);
	return f->n > 0;
}

static int record_write(struct cache_entry *e, uint64_t idx, uint8_t *bytes)
{
	struct iovec v = { .iov_base = bytes, .iov_len = cache_record_len(e->size) };
	ssize_t n = e->c->io->pwritev(e->index_fd, &v, 1, (off_t)cache_record_at(&e->at, idx));

	if (n < 0)
		return -errno;
	return n == (ssize_t)v.iov_len ? 0 : -ENOSPC;
}

int entry_reserve(struct cache_entry *e, struct cache_segment *s)
{
	struct cache_record none = { .hits = 0 };
	uint8_t bytes[CACHE_RECORD_MAX];
	bool first;
	int r;

	mutex_lock(&e->lock);
	first = !s->reserved;
	s->reserved = true;
	mutex_unlock(&e->lock);
	/* It may lie in the block of the header, however small these are. */
	if (!first || cache_record_at(&e->at, s->idx) + cache_record_len(e->size) <= BLOCK_MIN)
		return 0;
	cache_record_encode(&e->at, s->idx, &none, bytes);
	r = record_write(e, s->idx, bytes);
	if (r < 0) {
		mutex_lock(&e->lock);
		s->reserved = false;
		mutex_unlock(&e->lock);
	}
	return r;
}

/*
 * Data before the index that speaks of it. Where less than CACHE_SYNC_BYTES are at stake nobody waits for the
 * disk: the checksums prove each page by themselves, and a crash loses little. Above it they would still
 * prove it, but every lost page is one chance in 2^32 that a wrong one is believed, and work lost.
 */
static int flush_some(struct cache_entry *e, struct flush *f) REQUIRES(e->io)
{
	int r = 0;

	if (f->sync)
		r = sync_io(e);
	for (unsigned i = 0; r == 0 && i < f->n; i++)
		r = record_write(e, f->idx[i], f->bytes[i]);
	return r;
}

/* They are due again. */
static void flush_give_back(struct cache_entry *e, const struct flush *f) EXCLUDES(e->lock)
{
	struct cache_segment *s;

	mutex_lock(&e->lock);
	for (unsigned i = 0; i < f->n; i++)
		if (segment_peek(e, f->idx[i], &s) >= 0 && s)
			segment_dirty(e, s);
	mutex_unlock(&e->lock);
}

int entry_flush_io(struct cache_entry *e)
{
	struct flush *f;
	int r = 0;

	if (e->state != ENTRY_WRITER || e->broken || e->discarded)
		return 0;
	f = malloc(sizeof *f);
	if (!f)
		return -ENOMEM;
	while (r == 0 && flush_collect(e, f))
		r = flush_some(e, f);
	if (r < 0)
		flush_give_back(e, f);
	free(f);
	return r;
}

static bool has_dirty(struct cache_entry *e) EXCLUDES(e->lock)
{
	bool dirty;

	mutex_lock(&e->lock);
	dirty = !vmofs_list_empty(&e->dirty);
	mutex_unlock(&e->lock);
	return dirty;
}

static int flush(struct cache_entry *e) EXCLUDES(e->io)
{
	int r;

	mutex_lock(&e->io);
	r = entry_flush_io(e);
	mutex_unlock(&e->io);
	return r;
}

int cache_entry_flush(struct cache_entry *e)
{
	int r;

	if (!has_dirty(e))
		return 0;
	r = flush(e);
	if (r < 0 && cache_write_failed(e->c, r)) {
		r = flush(e);
		if (r < 0)
			cache_write_gave_up(e->c, r);
	}
	return r;
}

/* -- removal ---------------------------------------------------------------------------------- */

static uint64_t disk_bytes(struct cache *c, int fd)
{
	struct stat st;

	return fd >= 0 && c->io->fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* Somebody may give the last one back at any time, but only who has `io` adds one. */
static bool is_pinned(struct cache_entry *e) REQUIRES(e->io) EXCLUDES(e->lock)
{
	bool pinned;

	mutex_lock(&e->lock);
	pinned = e->pins > 0;
	mutex_unlock(&e->lock);
	return pinned;
}

int entry_lock_pages(struct cache_entry *e)
{
	if (e->state != ENTRY_WRITER || e->discarded || is_pinned(e))
		return -EBUSY;
	return e->c->io->lock(e->index_fd, F_WRLCK, CACHE_LOCK_PAGES) < 0 ? -EBUSY : 0;
}

void entry_unlock_pages(struct cache_entry *e)
{
	e->c->io->lock(e->index_fd, F_UNLCK, CACHE_LOCK_PAGES);
}

static int remove_io(struct cache_entry *e, uint64_t *freed) REQUIRES(e->io)
{
	struct files f = { .index = -1, .data = -1 };
	int r = entry_lock_pages(e);

	if (r < 0)
		return r;
	r = files_detach(e, &f);
	if (r < 0) {
		entry_unlock_pages(e);
		return r;
	}
	*freed += disk_bytes(e->c, f.data) + disk_bytes(e->c, f.index);
	/* Data first: an index without data is dropped when it is met, data without an index is found by gc only. */
	file_unlink(e, ".data");
	file_unlink(e, ".index");
	files_drop(e->c, &f);
	files_none(e, ENTRY_NONE);
	return 0;
}

int entry_shut(struct cache_entry *e)
{
	uint64_t freed = 0;
	int r = 0;

	cache_entry_flush(e);
	mutex_lock(&e->io);
	/* Somebody may just have read. Whatever else fails, the files are shut. */
	entry_flush_io(e);
	if (e->broken)
		r = remove_io(e, &freed);
	if (e->state == ENTRY_READER || e->state == ENTRY_WRITER)
		r = files_shut(e);
	mutex_unlock(&e->io);
	return r;
}

int entry_remove(struct cache_entry *e, uint64_t *freed)
{
	int r;

	mutex_lock(&e->io);
	r = remove_io(e, freed);
	mutex_unlock(&e->io);
	return r;
}

/*
 * The names go whoever is at work or serves the file: those keep what they have open, and nobody else finds it. The
 * index is emptied first, for whoever has that open, and for a crash before the end.
 */
static void discard_io(struct cache_entry *e) REQUIRES(e->io)
{
	uint64_t freed = disk_bytes(e->c, e->data_fd) + disk_bytes(e->c, e->index_fd);

	e->c->io->ftruncate(e->index_fd, 0);
	file_unlink(e, ".data");
	file_unlink(e, ".index");
	mutex_lock(&e->lock);
	e->discarded = true;
	mutex_unlock(&e->lock);
	cache_account(e->c, -(int64_t)freed);
	/* Else who is at work leaves it open, until it is wanted next. */
	if (files_shut(e) == 0)
		files_none(e, ENTRY_NONE);
}

int cache_entry_discard(struct cache_entry *e)
{
	int r = 0;

	cache_make_room_to_open(e->c);
	mutex_lock(&e->io);
	if (e->state != ENTRY_WRITER && !e->unfit) {
		r = entry_begin_again(e);
		if (r == 0)
			r = files_open(e, ENTRY_LOOK);
		if (r == 0 && e->state != ENTRY_WRITER)
			r = -EBUSY;
	}
	if (e->state == ENTRY_WRITER && !e->discarded)
		discard_io(e);
	mutex_unlock(&e->io);
	return r == -ENOENT ? 0 : r;
}

bool entry_is_lent(struct cache_entry *e)
{
	struct stat st;

	return e->c->io->fstat(e->data_fd, &st) < 0 || st.st_mode & CACHE_LENT;
}

/* -- pins ------------------------------------------------------------------------------------- */

/* A descriptor of the very file that has been verified, which is marked as lent. */
static int pin_open(struct cache_entry *e) REQUIRES(e->io)
{
	struct stat mine, named;
	int fd = file_open(e, ".data", O_RDONLY);
	bool right;

	if (fd < 0)
		return -EAGAIN;
	right = e->c->io->fstat(e->data_fd, &mine) == 0 && e->c->io->fstat(fd, &named) == 0 &&
		mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
	if (!right ||
	    (!(named.st_mode & CACHE_LENT) && e->c->io->fchmod(fd, 0600 | CACHE_LENT) < 0)) {
		fd_drop(e->c, &fd);
		return -EAGAIN;
	}
	e->pin_fd = fd;
	return 0;
}

static int pin_io(struct cache_entry *e) REQUIRES(e->io)
{
	int r = 0;

	if (!cache_entry_is_complete(e))
		return -EAGAIN;
	/* A reader that trusts its pages has the lock already. */
	if (!is_pinned(e) && !e->held && e->c->io->lock(e->index_fd, F_RDLCK, CACHE_LOCK_PAGES) < 0)
		return -EAGAIN;
	if (e->pin_fd < 0)
		r = pin_open(e);
	if (r < 0)
		return r;
	mutex_lock(&e->lock);
	e->pins++;
	mutex_unlock(&e->lock);
	return e->pin_fd;
}

int cache_entry_pin(struct cache_entry *e)
{
	int r;

	/* Whoever has it may be waiting for the disk. */
	if (!mutex_try_lock(&e->io))
		return -EAGAIN;
	r = pin_io(e);
	mutex_unlock(&e->io);
	return r;
}

/*
 * The lock on byte 1 and the descriptor stay until the files are shut or pages are to be dropped: nobody
 * else could use what this process holds anyway.
 */
void cache_entry_unpin(struct cache_entry *e)
{
	mutex_lock(&e->lock);
	assert(e->pins);
	e->pins--;
	mutex_unlock(&e->lock);
}

int entry_hold_pages(struct cache_entry *e)
{
	bool have;
	int r = 0;

	mutex_lock(&e->io);
	mutex_lock(&e->lock);
	have = e->state != ENTRY_READER || e->held;
	mutex_unlock(&e->lock);
	if (!have && e->c->io->lock(e->index_fd, F_RDLCK, CACHE_LOCK_PAGES) < 0)
		r = -EBUSY;
	if (!have && r == 0) {
		mutex_lock(&e->lock);
		e->held = true;
		mutex_unlock(&e->lock);
	}
	mutex_unlock(&e->io);
	return r;
}
