/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log in a new file: written beside the old one, synced where anything of it has to be durable, and renamed. So the first
 * group of a log is written, and all of it when there is more than it is worth, or when a sync has failed. The thread that uses the log.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "store/journal_private.h"

/* One that could not be removed before may still be read from. */
static int fresh_file(struct journal_log *l)
{
	const struct cache_io *io = l->j->io;
	char name[JOURNAL_NAME];
	int fd;

	journal_name(l->id, ".new", name);
	fd = io->openat(l->dir->fd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 && errno == EEXIST && io->unlinkat(l->dir->fd, name) == 0)
		fd = io->openat(l->dir->fd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	return fd < 0 ? -errno : fd;
}

static int fresh_open(struct journal_log *l)
{
	int fd = fresh_file(l), e;

	if (fd < 0)
		return fd;
	e = journal_out_init(&l->out, l->j, fd, 0);
	l->out.group = 1;
	l->out.instead = l->made ? l->end : 0;
	l->fresh = true;
	return e;
}

static int fresh_head(struct journal_log *l)
{
	uint8_t base[JOURNAL_BASE_HEAD + JOURNAL_VALIDATOR_MAX];
	uint32_t n = journal_base_encode(&l->base, base);
	int e = journal_out_header(&l->out);

	if (e == 0)
		e = journal_out_record(&l->out, JOURNAL_KEY, l->key_stamp, 0, l->key,
				       strlen(l->key));
	if (e == 0)
		e = journal_out_record(&l->out, JOURNAL_BASE, 0, 0, base, n);
	if (e == 0 && l->attempt[0])
		e = journal_out_record(&l->out, JOURNAL_ATTEMPT, 0, 0, l->attempt,
				       strlen(l->attempt));
	return e;
}

int journal_fresh_begin(struct journal_log *l)
{
	int e = fresh_open(l);

	if (e == 0)
		e = fresh_head(l);
	if (e < 0)
		journal_fresh_drop(l);
	return e;
}

/* The new file is the log now. */
static void fresh_take(struct journal_log *l, bool synced)
{
	if (l->made)
		atomic_fetch_sub(&l->j->bytes, l->end);
	if (l->fd >= 0)
		l->j->io->close(l->fd);
	else
		atomic_fetch_add(&l->j->n_open, 1);
	l->made = true;
	l->fd = l->out.fd;
	l->salt = l->out.salt;
	l->group = l->out.group;
	l->end = l->out.at;
	l->synced = synced ? l->end : 0;
	l->named = false;
	l->suspect = false;
	l->blind = false;
	l->fresh = false;
	journal_state_set(&l->state, &l->coming);
	journal_out_release(&l->out);
}

static void fresh_unlink(struct journal_log *l)
{
	char name[JOURNAL_NAME];

	journal_name(l->id, ".new", name);
	/* What stays nevertheless goes at the next start. */
	l->j->io->unlinkat(l->dir->fd, name);
}

void journal_fresh_drop(struct journal_log *l)
{
	if (!l->fresh)
		return;
	l->fresh = false;
	fresh_unlink(l);
	l->j->io->close(l->out.fd);
	atomic_fetch_sub(&l->j->bytes, l->out.at);
	journal_out_release(&l->out);
}

static int fresh_rename(struct journal_log *l)
{
	char from[JOURNAL_NAME], to[JOURNAL_NAME];

	journal_name(l->id, ".new", from);
	journal_name(l->id, ".log", to);
	return l->j->io->renameat(l->dir->fd, from, to) < 0 ? -errno : 0;
}

/*
 * A rename that has failed may have been made: then an old file has no name any more, or one that nobody was told of has one.
 * Either way all goes into a new one next time.
 */
static void fresh_rename_failed(struct journal_log *l, bool synced)
{
	if (!l->made) {
		fresh_unlink(l);
		fresh_take(l, synced);
	}
	l->suspect = true;
}

int journal_fresh_end(struct journal_log *l, bool durable)
{
	bool sync = durable || l->promised;
	int e;

	if (sync && l->j->io->fdatasync(l->out.fd) < 0)
		return -errno;
	e = fresh_rename(l);
	if (e < 0) {
		fresh_rename_failed(l, sync);
		return e;
	}
	fresh_take(l, sync);
	if (!durable)
		return 0;
	l->promised = true;
	e = l->j->io->fsync(l->dir->fd) < 0 ? -errno : 0;
	l->named = e == 0;
	l->suspect = e < 0;
	return e;
}

/* -- from what it reads as -------------------------------------------------------------------- */

struct copy {
	struct journal_sink sink;
	struct journal_out *out;
};

static int copy_pages(struct journal_sink *s, uint64_t off, const void *buf, uint64_t len)
{
	return journal_out_pages(container_of(s, struct copy, sink)->out, off, buf, len);
}

static int copy_zeros(struct journal_sink *s, uint64_t off, uint64_t len)
{
	return journal_out_record(container_of(s, struct copy, sink)->out, JOURNAL_ZEROS, off, len,
				  NULL, 0);
}

static int copy_all(struct journal_log *l, const struct journal_index *ix)
{
	struct copy c = { .sink = { copy_pages, copy_zeros }, .out = &l->out };
	struct journal_file f;
	int e;

	journal_log_bytes(l, &f);
	e = journal_index_read(ix, &f.bytes, l->salt, &c.sink);
	journal_state_set(&l->coming, &l->state);
	if (e == 0)
		e = journal_out_commit(&l->out, 0, &l->state);
	return e == 0 ? journal_out_flush(&l->out) : e;
}

static int anew_from(struct journal_log *l, const struct journal_index *ix, bool durable)
{
	int e = journal_fresh_begin(l);

	if (e == 0)
		e = copy_all(l, ix);
	if (e == 0)
		e = journal_fresh_end(l, durable);
	journal_fresh_drop(l);
	return e;
}

static int index_of(struct journal_log *l, struct journal_index *ix)
{
	struct journal_file f;

	journal_index_init(ix);
	journal_log_bytes(l, &f);
	return journal_index_load(ix, &f.bytes);
}

int journal_anew(struct journal_log *l, bool durable)
{
	struct journal_index ix;
	int e = index_of(l, &ix);

	if (e == 0)
		e = anew_from(l, &ix, durable);
	journal_index_release(&ix);
	return e == -EBADMSG ? -EIO : e;
}

void journal_compact(struct journal_log *l)
{
	struct journal_index ix;
	int e;

	if (!l->made || l->suspect || l->end <= l->compact_at)
		return;
	e = index_of(l, &ix);
	if (e == 0) {
		l->compact_at = 2 * ix.worth + l->j->slack;
		if (l->end > l->compact_at)
			e = anew_from(l, &ix, l->promised);
	}
	journal_index_release(&ix);
	if (e < 0)
		log_warn("the journal's log of '%s' cannot be written anew: %s", l->key,
			 strerror(-e));
}
