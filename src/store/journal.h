/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal: what has been changed here and the origin does not have yet, so that it survives the daemon. It knows files by
 * key, pages and sizes; nothing of VMOs, protocols or FUSE.
 *
 *   DIR/<digest of the source>/source         the text that the digest is of
 *                              <n>/lock       of the mount that writes there (dir_lock.h)
 *                                  <id>.log   one changed file each, <id> counts up
 *
 * A log is a header and records, appended: the key, the base version, contents of pages, ranges of zeros, attempts to store
 * them. Every record has a CRC32C over itself and over where it stands. A COMMIT record, with the state of the file (size,
 * attributes), ends a group; what stands behind the last whole one was never promised and is cut off. So after a crash at any
 * instruction a log gives the file as of one of its commits, whole: the last one that was durable, or one after it.
 *
 * Durable means: fdatasync() of the log has succeeded, and so has fsync() of its directory since the log got its name. A
 * commit that is not durable survives the process but not the machine. A log that has grown to more than twice what it is
 * worth (and 4 MiB) is written anew beside it, synced, and renamed.
 *
 * What fails. Every call that fails leaves what is durable as it was, and the log can be used again.
 *   A write (full, limit, EIO): the group is aborted; commits before it, durable or not, are as they were. Try again.
 *   A sync: Linux has then marked pages clean that never reached the disk, and a second fdatasync() would say that all is
 *   well. So nothing that was not synced before is believed any more: the log is written anew at once from what it reads
 *   as (each record checked). If that works, the call has succeeded. Else it fails, and journal_must_repeat() is true: what was committed since
 *   the last durable commit is only as safe as the kernel's memory, and the next group, which goes into a new
 *   file, has to have *all* that is dirty of the file (pages and zeros), not only what is new. Once it is committed all is well again.
 * After a failed commit, a group may or may not be found after a crash, but never a part of it.
 *
 * Assumed of the disk: a sector whose write is interrupted by a power cut does not harm sectors beside it, and has old or new
 * bytes where these are the same.
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
#include <vmofs/xattrs.h>

struct cache_io;
struct journal;
struct journal_log;

#define JOURNAL_KEY_MAX       4096 /* with the final zero, as all of them */
#define JOURNAL_VALIDATOR_MAX 512
#define JOURNAL_ATTEMPT_MAX   176
#define JOURNAL_SOURCE_MAX    8192

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
	bool conflict;               /* the base is gone: not to be stored without being told to */
	struct vmofs_xattrs *xattrs; /* NULL: those of the base. Borrowed, of an argument */
};
/* *@to becomes a copy, which counts its xattrs; before that it is one, or all zeros. */
void journal_state_set(struct journal_state *to, const struct journal_state *from);

struct journal_params {
	const char *dir;           /* made (0700) where it is not there, with those above it */
	const char *source;        /* any text that tells this source from all others; no secrets */
	const struct cache_io *io; /* NULL: the system's */
	uint64_t limit;            /* bytes of all logs of this journal; more is -ENOSPC; 0: none */
};

/*
 * The first directory of @source that no live mount has, else a new one; and those behind it that nobody has any more and
 * that still have logs. With what is in them: see journal_recover(), which comes before the first journal_log_new().
 * -errno with @err filled.
 */
int journal_open(struct journal **out, const struct journal_params *p, struct vmofs_err *err);
/* All logs have been closed; they stay. NULL is fine. */
void journal_close(struct journal *j);
/* Of logs on disk. */
uint64_t journal_bytes(struct journal *j);

/* A log for @key. Nothing is on disk before its first group. 0, -EINVAL (no key), -ENAMETOOLONG, -ENOMEM. */
int journal_log_new(struct journal *j, const char *key, const struct journal_base *base,
		    struct journal_log **out);
/* Stays on disk, as of its last commit. NULL is fine. */
void journal_log_close(struct journal_log *l);
/* A sync has failed: the next group must have all that is dirty. See above. */
bool journal_must_repeat(const struct journal_log *l);
/* All that has been committed is durable; also when nothing has. */
bool journal_is_durable(const struct journal_log *l);

/*
 * One group: begin, then any number of pages and zeros, then commit or abort. Ranges are of bytes (the last page may end at
 * the size), later ones in the log win. What lies at or beyond the size of a commit is dropped by it. A file that was cut
 * and has grown again between two commits: zeros from where it was cut, or what the log has there from before would be seen again.
 * An error leaves the group aborted; calls until the next begin are then -ECANCELED.
 */
int journal_begin(struct journal_log *l);
int journal_pages(struct journal_log *l, uint64_t off, const void *buf, uint64_t len);
int journal_zeros(struct journal_log *l, uint64_t off, uint64_t len);
int journal_commit(struct journal_log *l, const struct journal_state *st, bool durable);
void journal_abort(struct journal_log *l);
/* What has been committed becomes durable; 0 at once when it is. */
int journal_sync(struct journal_log *l);

/*
 * The next three are as durable as the contents that they are about: synced when something in this log has been made durable
 * before (or was found after a start), else just written. A log that has no commit yet just keeps it in mind.
 *
 * The contents committed last are about to be stored as @attempt, a text that only the caller understands. "": none is under way any more.
 */
int journal_attempt(struct journal_log *l, const char *attempt);
struct journal_range {
	uint64_t off;
	uint64_t len;
};
/*
 * They have been, and are @base now; no attempt is under way. What the log has of pages is not needed any more, but for those
 * of the ranges @keep (@n of them, ascending, not touching: written since); of the state @st. With n 0 and nothing left to know
 * the log may be removed instead.
 */
int journal_stored(struct journal_log *l, const struct journal_base *base,
		   const struct journal_state *st, const struct journal_range *keep, unsigned n);
/* The file has another key, and another base, from now on; if there is a log of that key already, this one is right. */
int journal_rename(struct journal_log *l, const char *key, const struct journal_base *base);
/*
 * Nothing of the file is needed any more: the log goes from the disk too. Closes it, also where it fails: then it may be found
 * again after a crash.
 */
int journal_remove(struct journal_log *l);

/* ---- after a start ---- */

/* A file as its log's last commit has it. Texts are borrowed for the call. */
struct journal_found {
	const char *key;
	struct journal_base base;
	struct journal_state state;
	const char *attempt;     /* as journal_attempt() was told last; "" none */
	struct journal_log *log; /* the receiver's from now on */
};
/*
 * Calls @fn for each log that was found, one by one, the oldest first: what is readable. Two logs may be of one key: of two
 * mounts that had it. Where they are of one mount, the one that got the key later is right, and the other one is removed. A log with nothing committed is removed. A file that is damaged before its last durable commit (which no crash
 * can do) is left alone under the name <id>.damaged, with a line in the log; one that cannot be read now, under its own. 0, or
 * the first error of @fn.
 */
int journal_recover(struct journal *j, int (*fn)(void *arg, struct journal_found *f), void *arg);

/*
 * The contents of a log as of its last commit, what was written last only, in ascending order: calls one of the two per range,
 * at most 1 MiB of pages each time. -EIO: not readable (any more). Not within a group.
 */
struct journal_sink {
	int (*pages)(struct journal_sink *s, uint64_t off, const void *buf, uint64_t len);
	int (*zeros)(struct journal_sink *s, uint64_t off, uint64_t len);
};
int journal_read(struct journal_log *l, struct journal_sink *sink);

/* ---- looking, without a mount ---- */

struct journal_info {
	const char *source; /* "": not known */
	const char *path;   /* of the directory of one mount */
	bool in_use;        /* a live mount has it */
	unsigned logs;      /* changed files */
	unsigned damaged;
	uint64_t bytes; /* of both */
};
/* Calls @fn for every directory of a mount below @dir; not 0 ends it. 0 where @dir is not there. -errno, or what @fn gave. */
int journal_list(const char *dir, int (*fn)(void *arg, const struct journal_info *i), void *arg);

#endif
