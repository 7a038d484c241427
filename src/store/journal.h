/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal: what has been changed here and the origin does not have yet, so that it survives the daemon. It knows files by
 * key, pages and sizes; nothing of VMOs, protocols or FUSE.
 *
 *   DIR/<digest of the source>/<n>/lock       of the mount that writes there: an OFD lock
 *                                  <id>.log   one changed file each, <id> counts up
 *
 * A log is a header (the key, the base version) and records, appended: contents of pages, ranges of zeros, the state of the
 * file (size, attributes), attempts to store it, a new base. Every record has a CRC32C over itself and over where it stands. A
 * COMMIT record ends a group; what stands behind the last whole one was never promised and is cut off. So after a crash
 * at any instruction a log gives the file as of its last commit, whole.
 *
 * Durable means: fdatasync() of the log has succeeded, and so has fsync() of the directory since the log was made. A commit that is
 * not durable survives the process but not the machine. A log that has grown to more than twice what it is worth (and a few MiB) is written anew beside it and
 * renamed.
 *
 * A file system that fails or is full: the call fails, nothing that was committed is lost, and the log can be used
 * again: its end is found anew, or it is written anew.
 *
 * Threads. A journal may be used by any; the calls of one journal_log by one thread at a time. All of them block.
 */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include <vmofs/err.h>

struct cache_io;
struct journal;
struct journal_log;

#define JOURNAL_KEY_MAX       4096
#define JOURNAL_VALIDATOR_MAX 512
#define JOURNAL_ATTEMPT_MAX   40

/* The version that the changes are of. */
struct journal_base {
	bool exists; /* false: the file was made here */
	uint64_t size;
	char validator[JOURNAL_VALIDATOR_MAX];
};

/* What there is to know beside contents. */
struct journal_state {
	uint64_t size;
	/* Of the base only so much is left: it was cut off there (and may have grown again, with zeros). At most base.size. */
	uint64_t kept;
	struct timespec mtime;
	unsigned has; /* the caller's bits: mode, uid, gid */
	uint32_t mode, uid, gid;
	bool conflict; /* the base is gone: not to be stored without being told to */
};

struct journal_params {
	const char *dir;           /* made (0700) where it is not there */
	const char *source;        /* any text that tells this source from all others; no secrets */
	const struct cache_io *io; /* NULL: the system's */
	uint64_t limit;            /* bytes of all logs of this journal; more is -ENOSPC; 0: none */
};

/*
 * The first directory of @source that no live mount has, else a new one. With what is in it: see
 * journal_recover(). -errno with @err filled.
 */
int journal_open(struct journal **out, const struct journal_params *p, struct vmofs_err *err);
/* Logs are closed, not removed. NULL is fine. */
void journal_close(struct journal *j);
/* Of logs on disk. */
uint64_t journal_bytes(struct journal *j);

/* A log for @key. Nothing is on disk before its first commit. 0, -ENOMEM, -ENAMETOOLONG. */
int journal_log_new(struct journal *j, const char *key, const struct journal_base *base,
		    struct journal_log **out);
/* Not removed. NULL is fine. */
void journal_log_close(struct journal_log *l);

/*
 * One group: begin, then any number of pages and zeros, then commit or abort. Page ranges are page aligned, the last may end
 * at the size; later ones in the log win. An error leaves the group aborted.
 */
int journal_begin(struct journal_log *l);
int journal_pages(struct journal_log *l, uint64_t off, const void *buf, uint64_t len);
int journal_zeros(struct journal_log *l, uint64_t off, uint64_t len);
int journal_commit(struct journal_log *l, const struct journal_state *st, bool durable);
void journal_abort(struct journal_log *l);
/* What has been committed becomes durable; 0 at once when it is. */
int journal_sync(struct journal_log *l);

/* The contents committed last are about to be stored as @attempt. Durable. */
int journal_attempt(struct journal_log *l, const char *attempt);
/*
 * They have been, and are @base now. What the log has of pages is not needed any more, but for those of the ranges @keep (@n of them: written since);
 * the file's state stays. Durable. With n 0 and nothing left the log may be removed instead.
 */
struct journal_range {
	uint64_t off;
	uint64_t len;
};
int journal_stored(struct journal_log *l, const struct journal_base *base,
		   const struct journal_state *st, const struct journal_range *keep, unsigned n);
/* The file has another key from now on. Durable. */
int journal_rename(struct journal_log *l, const char *key);
/* Nothing of the file is needed any more: the log goes from the disk too. Closes it. */
int journal_remove(struct journal_log *l);

/* ---- after a start ---- */

/* A file as its log's last commit has it. Texts are borrowed for the call. */
struct journal_found {
	const char *key;
	struct journal_base base;
	struct journal_state state;
	const char *attempt;     /* "" none, or one that was begun and not known to have ended */
	struct journal_log *log; /* the receiver's from now on */
};
/*
 * Calls @fn for each log that was found, one by one: what is readable. A log with nothing committed is removed. A file that is damaged
 * before its last commit (which no crash can do) is left alone under the name <id>.damaged, with a line in the log. 0, or the first
 * error of @fn.
 */
int journal_recover(struct journal *j, int (*fn)(void *arg, struct journal_found *f), void *arg);

/* The contents of a recovered log, what was written last only, in ascending order: calls one of the two per range. */
struct journal_sink {
	int (*pages)(struct journal_sink *s, uint64_t off, const void *buf, uint64_t len);
	int (*zeros)(struct journal_sink *s, uint64_t off, uint64_t len);
};
int journal_read(struct journal_log *l, struct journal_sink *sink);

#endif
