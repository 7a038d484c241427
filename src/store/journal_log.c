/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log: groups are appended to it and become durable. Where its bytes go and how is journal_out.c; when it is written anew,
 * journal_anew.c. The thread that uses the log.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "store/journal_private.h"

/* -- made and closed -------------------------------------------------------------------------- */

void journal_name(uint64_t id, const char *ending, char out[JOURNAL_NAME])
{
	snprintf(out, JOURNAL_NAME, "%016" PRIx64 "%s", id, ending);
}

bool journal_name_parse(const char *name, const char *ending, uint64_t *id)
{
	size_t n = strspn(name, "0123456789abcdef");

	if (n != 16 || strcmp(name + n, ending) != 0)
		return false;
	*id = strtoull(name, NULL, 16);
	return true;
}

void journal_state_set(struct journal_state *to, const struct journal_state *from)
{
	struct vmofs_xattrs *old = to->xattrs;

	vmofs_xattrs_get(from->xattrs);
	*to = *from;
	vmofs_xattrs_put(old);
}

struct journal_log *journal_log_alloc(struct journal *j, struct journal_dir *dir, uint64_t id)
{
	struct journal_log *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	l->j = j;
	l->dir = dir;
	l->id = l->key_stamp = id;
	l->fd = -1;
	l->compact_at = l->j->slack;
	return l;
}

int journal_log_set_key(struct journal_log *l, const char *key)
{
	char *copy;

	if (!key[0])
		return -EINVAL;
	if (strlen(key) >= JOURNAL_KEY_MAX)
		return -ENAMETOOLONG;
	copy = strdup(key);
	if (!copy)
		return -ENOMEM;
	free(l->key);
	l->key = copy;
	return 0;
}

int journal_log_new(struct journal *j, const char *key, const struct journal_base *base,
		    struct journal_log **out)
{
	struct journal_log *l = journal_log_alloc(j, j->dirs, atomic_fetch_add(&j->next_id, 1) + 1);
	int e = l ? journal_log_set_key(l, key) : -ENOMEM;

	*out = NULL;
	if (e == 0 && base->size > JOURNAL_OFF_MAX)
		e = -EFBIG;
	if (e < 0) {
		journal_log_close(l);
		return e;
	}
	l->base = *base;
	*out = l;
	return 0;
}

static void log_shut(struct journal_log *l)
{
	if (l->fd < 0)
		return;
	l->j->io->close(l->fd);
	l->fd = -1;
	atomic_fetch_sub(&l->j->n_open, 1);
}

int journal_log_wake(struct journal_log *l)
{
	char name[JOURNAL_NAME];

	if (!l->made || l->fd >= 0)
		return 0;
	journal_name(l->id, ".log", name);
	l->fd = l->j->io->openat(l->dir->fd, name, O_RDWR, 0);
	if (l->fd < 0)
		return -errno;
	atomic_fetch_add(&l->j->n_open, 1);
	return 0;
}

void journal_log_rest(struct journal_log *l)
{
	if (l->in_group || l->fd < 0 || atomic_load(&l->j->n_open) <= l->j->open_max)
		return;
	/* One whose name is not sure is not to be had again. */
	if (l->suspect)
		return;
	l->blind |= l->synced != l->end;
	log_shut(l);
}

void journal_log_close(struct journal_log *l)
{
	if (!l)
		return;
	journal_abort(l);
	log_shut(l);
	vmofs_xattrs_put(l->state.xattrs);
	vmofs_xattrs_put(l->coming.xattrs);
	free(l->key);
	free(l);
}

void journal_log_bytes(const struct journal_log *l, struct journal_file *f)
{
	journal_file_init(f, l->j->io, l->fd, l->end);
}

bool journal_must_repeat(const struct journal_log *l)
{
	return l->suspect;
}

bool journal_is_durable(const struct journal_log *l)
{
	return !l->made || (!l->suspect && l->named && l->synced == l->end);
}

/* -- durable ---------------------------------------------------------------------------------- */

/* Contents, then the name. */
static int log_sync(struct journal_log *l)
{
	if (l->synced != l->end && l->j->io->fdatasync(l->fd) < 0)
		return -errno;
	l->synced = l->end;
	if (!l->named && l->j->io->fsync(l->dir->fd) < 0)
		return -errno;
	l->named = true;
	return 0;
}

/*
 * What was not synced can still be read, and a process that comes after this one must not take it for what the disk has. It
 * can do no more than this either where that fails.
 */
static void log_doubt(struct journal_log *l)
{
	uint8_t mark[4] = { 1 };
	struct iovec v = { mark, sizeof mark };

	l->suspect = true;
	l->j->io->pwritev(l->fd, &v, 1, JOURNAL_DOUBT_AT);
}

/* Of a log that is awake. */
static int awake_sync(struct journal_log *l)
{
	bool unsure = l->suspect || l->blind;
	int e, anew;

	if (journal_is_durable(l))
		return 0;
	l->promised = true;
	e = unsure ? 0 : log_sync(l);
	if (e == 0 && !unsure)
		return 0;
	log_doubt(l);
	anew = journal_anew(l, true);
	return anew < 0 && e < 0 ? e : anew;
}

int journal_sync(struct journal_log *l)
{
	int e;

	journal_abort(l);
	if (journal_is_durable(l))
		return 0;
	e = journal_log_wake(l);
	if (e == 0)
		e = awake_sync(l);
	journal_log_rest(l);
	return e;
}

/* -- a group ---------------------------------------------------------------------------------- */

/* Behind the last commit. */
static int append_begin(struct journal_log *l)
{
	int e = journal_log_wake(l);

	if (e == 0)
		e = journal_out_init(&l->out, l->j, l->fd, l->end);
	l->out.salt = l->salt;
	l->out.group = ++l->group;
	return e;
}

/* What stays behind the end nevertheless is never taken for anything: no other group has its number. */
static void append_drop(struct journal_log *l)
{
	l->j->io->ftruncate(l->fd, (off_t)l->end);
	atomic_fetch_sub(&l->j->bytes, l->out.at - l->out.begin);
	journal_out_release(&l->out);
}

static void append_end(struct journal_log *l)
{
	l->end = l->out.at;
	journal_state_set(&l->state, &l->coming);
	journal_out_release(&l->out);
}

int journal_begin(struct journal_log *l)
{
	int e;

	journal_abort(l);
	e = !l->made || l->suspect ? journal_fresh_begin(l) : append_begin(l);
	l->in_group = e == 0;
	return e;
}

void journal_abort(struct journal_log *l)
{
	if (!l->in_group)
		return;
	l->in_group = false;
	if (l->fresh)
		journal_fresh_drop(l);
	else
		append_drop(l);
	journal_log_rest(l);
}

static int group_went(struct journal_log *l, int e)
{
	if (e < 0)
		journal_abort(l);
	return e;
}

int journal_pages(struct journal_log *l, uint64_t off, const void *buf, uint64_t len)
{
	if (!l->in_group)
		return -ECANCELED;
	if (off > JOURNAL_OFF_MAX || len > JOURNAL_OFF_MAX - off)
		return group_went(l, -EFBIG);
	return group_went(l, journal_out_pages(&l->out, off, buf, len));
}

int journal_zeros(struct journal_log *l, uint64_t off, uint64_t len)
{
	if (!l->in_group)
		return -ECANCELED;
	if (off > JOURNAL_OFF_MAX)
		return group_went(l, -EFBIG);
	len = MIN(len, JOURNAL_OFF_MAX - off);
	if (len == 0)
		return 0;
	return group_went(l, journal_out_record(&l->out, JOURNAL_ZEROS, off, len, NULL, 0));
}

/* The last record of a group, and all that has been gathered. */
static int group_write_end(struct journal_log *l, const struct journal_state *st)
{
	int e;

	if (st->size > JOURNAL_OFF_MAX || st->kept > JOURNAL_OFF_MAX)
		return -EFBIG;
	if (st->mtime.tv_nsec < 0 || st->mtime.tv_nsec >= (long)NSEC_PER_SEC)
		return -EINVAL;
	journal_state_set(&l->coming, st);
	e = journal_out_commit(&l->out, l->fresh ? 0 : l->synced, st);
	return e == 0 ? journal_out_flush(&l->out) : e;
}

/* A commit that goes behind the others, not synced. */
static int append_commit(struct journal_log *l, const struct journal_state *st)
{
	int e = group_write_end(l, st);

	if (e < 0)
		return group_went(l, e);
	l->in_group = false;
	append_end(l);
	return 0;
}

static int fresh_commit(struct journal_log *l, const struct journal_state *st, bool durable)
{
	int e = group_write_end(l, st);

	if (e == 0)
		e = journal_fresh_end(l, durable);
	l->in_group = l->fresh;
	return group_went(l, e);
}

int journal_commit(struct journal_log *l, const struct journal_state *st, bool durable)
{
	int e;

	if (!l->in_group)
		return -ECANCELED;
	e = l->fresh ? fresh_commit(l, st, durable) : append_commit(l, st);
	if (e == 0 && durable)
		e = awake_sync(l);
	if (e == 0)
		journal_compact(l);
	journal_log_rest(l);
	return e;
}

/* -- groups without contents ------------------------------------------------------------------ */

/* Where a sync has failed, what such a group speaks of has to be there first. */
static int meta_begin(struct journal_log *l)
{
	int e;

	journal_abort(l);
	e = l->suspect ? awake_sync(l) : 0;
	if (e == 0)
		e = append_begin(l);
	l->in_group = e == 0;
	return e;
}

static int meta_add(struct journal_log *l, enum journal_kind kind, const void *payload, size_t n)
{
	return group_went(l, journal_out_record(&l->out, kind, 0, 0, payload, n));
}

/* As durable as what it is about. */
static int meta_sync(struct journal_log *l)
{
	int e = l->promised ? awake_sync(l) : 0;

	journal_log_rest(l);
	return e;
}

static int meta_write(struct journal_log *l, enum journal_kind kind, const char *text)
{
	int e = meta_begin(l);

	if (e == 0)
		e = meta_add(l, kind, text, strlen(text));
	return e == 0 ? append_commit(l, &l->state) : e;
}

int journal_attempt(struct journal_log *l, const char *attempt)
{
	size_t n = strlen(attempt);
	int e = 0;

	if (n >= JOURNAL_ATTEMPT_MAX)
		return -EINVAL;
	if (l->made)
		e = meta_write(l, JOURNAL_ATTEMPT, attempt);
	if (e < 0)
		return e;
	memcpy(l->attempt, attempt, n + 1);
	return meta_sync(l);
}

static int rename_write(struct journal_log *l, const char *key, uint64_t stamp,
			const struct journal_base *base)
{
	uint8_t buf[JOURNAL_BASE_HEAD + JOURNAL_VALIDATOR_MAX];
	uint32_t len = journal_base_encode(base, buf);
	int e = meta_begin(l);

	if (e == 0)
		e = group_went(
			l, journal_out_record(&l->out, JOURNAL_KEY, stamp, 0, key, strlen(key)));
	if (e == 0)
		e = meta_add(l, JOURNAL_BASE, buf, len);
	return e == 0 ? append_commit(l, &l->state) : e;
}

int journal_rename(struct journal_log *l, const char *key, const struct journal_base *base)
{
	uint64_t stamp = atomic_fetch_add(&l->j->next_id, 1) + 1;
	char *copy;
	int e = 0;

	if (!key[0] || strlen(key) >= JOURNAL_KEY_MAX)
		return key[0] ? -ENAMETOOLONG : -EINVAL;
	copy = strdup(key);
	if (!copy)
		return -ENOMEM;
	if (l->made)
		e = rename_write(l, copy, stamp, base);
	if (e < 0) {
		free(copy);
		return e;
	}
	free(l->key);
	l->key = copy;
	l->key_stamp = stamp;
	l->base = *base;
	return meta_sync(l);
}

static int forget(struct journal_log *l, uint64_t first, uint64_t end)
{
	if (first >= end)
		return 0;
	return group_went(l,
			  journal_out_record(&l->out, JOURNAL_FORGET, first, end - first, NULL, 0));
}

/* All but the ranges that are kept. */
static int forget_but(struct journal_log *l, const struct journal_range *keep, unsigned n)
{
	uint64_t at = 0;
	int e = 0;

	for (unsigned i = 0; i < n && e == 0; i++) {
		e = forget(l, at, keep[i].off);
		at = keep[i].off + keep[i].len;
	}
	return e == 0 ? forget(l, at, JOURNAL_OFF_MAX) : e;
}

static int stored_write(struct journal_log *l, const struct journal_base *base,
			const struct journal_state *st, const struct journal_range *keep,
			unsigned n)
{
	uint8_t buf[JOURNAL_BASE_HEAD + JOURNAL_VALIDATOR_MAX];
	uint32_t len = journal_base_encode(base, buf);
	int e = meta_begin(l);

	if (e == 0)
		e = meta_add(l, JOURNAL_BASE, buf, len);
	if (e == 0)
		e = meta_add(l, JOURNAL_ATTEMPT, NULL, 0);
	if (e == 0)
		e = forget_but(l, keep, n);
	return e == 0 ? append_commit(l, st) : e;
}

int journal_stored(struct journal_log *l, const struct journal_base *base,
		   const struct journal_state *st, const struct journal_range *keep, unsigned n)
{
	int e = base->size > JOURNAL_OFF_MAX ? -EFBIG : 0;

	if (l->made && e == 0)
		e = stored_write(l, base, st, keep, n);
	if (e < 0)
		return e;
	l->base = *base;
	l->attempt[0] = 0;
	e = l->promised ? awake_sync(l) : 0;
	l->compact_at = l->j->slack;
	journal_compact(l);
	journal_log_rest(l);
	return e;
}

int journal_remove(struct journal_log *l)
{
	const struct cache_io *io = l->j->io;
	char name[JOURNAL_NAME];
	int e = 0;

	journal_abort(l);
	journal_name(l->id, ".log", name);
	if (l->made && io->unlinkat(l->dir->fd, name) < 0 && errno != ENOENT)
		e = -errno;
	if (l->made && e == 0) {
		atomic_fetch_sub(&l->j->bytes, l->end);
		if (l->promised && io->fsync(l->dir->fd) < 0)
			e = -errno;
	}
	journal_log_close(l);
	return e;
}

/* -- looking ---------------------------------------------------------------------------------- */

static ssize_t file_read(struct journal_bytes *b, uint64_t off, void *buf, size_t n)
{
	struct journal_file *f = container_of(b, struct journal_file, bytes);
	ssize_t r;

	do
		r = f->io->pread(f->fd, buf, n, (off_t)off);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

void journal_file_init(struct journal_file *f, const struct cache_io *io, int fd, uint64_t size)
{
	*f = (struct journal_file){ .bytes = { file_read, size }, .io = io, .fd = fd };
}

int journal_read(struct journal_log *l, struct journal_sink *sink)
{
	struct journal_index ix;
	struct journal_file f;
	int e;

	if (!l->made)
		return 0;
	e = journal_log_wake(l);
	if (e < 0)
		return e;
	journal_index_init(&ix);
	journal_log_bytes(l, &f);
	e = journal_index_load(&ix, &f.bytes);
	if (e == 0)
		e = journal_index_read(&ix, &f.bytes, l->salt, sink);
	journal_index_release(&ix);
	journal_log_rest(l);
	return e == -EBADMSG ? -EIO : e;
}
