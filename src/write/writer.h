/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are changed here, until the origin has what was changed. One writer a mount; it knows VMOs, the journal and what
 * a source can change (<vmofs/change.h>), nothing of FUSE, of names or of directories.
 *
 * A wfile is one file: its VMO, the version of the origin that it is based on, and what is not stored yet.
 *
 *   WFILE_CLEAN    -> WFILE_DIRTY     a write, a truncation, an attribute
 *   WFILE_DIRTY    -> WFILE_STORING   it is old enough, somebody waits, or room is needed: a thread stores it
 *   WFILE_STORING  -> WFILE_CLEAN     stored, and nothing was written meanwhile
 *   WFILE_STORING  -> WFILE_DIRTY     stored, but written again; or it failed and is tried again later
 *   WFILE_STORING  -> WFILE_CONFLICT  the origin has another version than the base
 *   WFILE_CONFLICT -> WFILE_DIRTY     it was decided to overwrite that (keep-local)
 *   WFILE_CLEAN    -> WFILE_GONE      the file was removed here; as the next two
 *   WFILE_DIRTY    -> WFILE_GONE
 *   WFILE_CONFLICT -> WFILE_GONE      or it was decided to drop what was written (keep-remote, save-as)
 *
 * STORING lasts until it is known what became of the store: where the origin did not answer, it is asked again and again
 * (attempted()), without a thread that waits for that, and reads that miss wait for it too.
 *
 * The room. Dirty pages of all files together stay below the dirty limit: the guard of each VMO grants them and is told when
 * they are stored. A writer that finds no room has files stored and waits for it. -ENOSPC: no store has moved a byte for as long as one
 * operation may take. Only pages of
 * mappings, and what a journal has, may go beyond the limit.
 *
 * A store takes a token over the dirty pages and the size, so writes go on meanwhile: the origin gets each page as it was when it
 * was read for the store, never older than the token. An origin that fails is tried again: after 1 s, 2, 4 ... 60 s.
 *
 * fsync. Local: a durable commit of the journal. Remote: the origin has all that was written before the call: a store is begun at
 * once, also where earlier ones failed, and what becomes of that one is the answer. What the origin refuses for good is also told
 * once to each who asks with a `since` of his own (errseq), where the answer of the journal alone would be that all is well.
 *
 * Locks: writer.lock (LOCK_RANK_WRITER: after the tree's, before the objects') has the states and queues; nothing that blocks is
 * called under it. Contents are the VMO's business. A log of the journal is used by who stores or commits: wfile.log_lock, which is
 * held across system calls and taken first of all.
 */
#ifndef WRITE_WRITER_H
#define WRITE_WRITER_H

#include <stdatomic.h>
#include <vmofs/change.h>
#include <vmofs/source.h>

#include "store/journal.h"
#include "vm/pool.h"
#include "vm/vmo.h"

struct writer;
struct wfile;

enum wfile_state {
	WFILE_CLEAN,
	WFILE_DIRTY,
	WFILE_STORING,
	WFILE_CONFLICT,
	WFILE_GONE,
	WFILE_NSTATES
};

enum writer_fsync { WRITER_FSYNC_REMOTE, WRITER_FSYNC_LOCAL };

struct writer_params {
	struct vmofs_source *source; /* borrowed; source->ops->change is not NULL */
	struct journal *
		journal; /* borrowed; NULL: nothing survives the daemon, and LOCAL is refused by whoever reads the options */
	uint64_t dirty_limit; /* bytes */
	uint64_t reserve;     /* bytes beyond that, for pages of mappings: wfile_write_back() */
	uint64_t age_ns;      /* so old what is dirty gets before it is stored by itself */
	uint64_t
		commit_ns; /* and so long nothing is written before it is in the journal, not durable; five times as long at most; 0: at fsync and close only */
	uint64_t timeout_ns; /* of one operation that waits; 0: none */
	enum writer_fsync fsync;
	bool close_sync;  /* close waits as fsync does */
	unsigned threads; /* that store, at most */
	/* What the owner is told. No lock of the writer is held. */
	/* @ino is at the origin as @now, and nothing of it is dirty. */
	void (*stored)(void *arg, uint64_t ino, const struct vmofs_version *now);
	/* The last user of @keep of a wfile is gone. */
	void (*let_go)(void *arg, void *keep);
	void *arg;
	uint64_t (*now_ns)(void); /* NULL: loop_now_ns() */
};

int writer_new(struct writer **out, const struct writer_params *p, struct vmofs_err *err);
/* wfile_closed() may wait: close_sync. */
bool writer_close_waits(const struct writer *w);
/*
 * Stores all that is dirty, until @deadline_ns (0: for ever) or until *@cancel. Returns how many files are left; they are in the journal.
 * Not of those in conflict, which are counted in *@conflicts. Any thread that may block.
 */
unsigned writer_drain(struct writer *w, uint64_t deadline_ns, const atomic_bool *cancel,
		      unsigned *conflicts);
/* Nothing is stored any more, who waits gets -ESHUTDOWN; what is dirty is committed to the journal. */
void writer_stop(struct writer *w);
/* Stopped, and nobody has a wfile any more. NULL is fine. */
void writer_free(struct writer *w);

/* ---- one file ---- */

struct wfile_params {
	uint64_t ino;
	const char *key;
	struct vmofs_version base;
	struct vmo *vmo; /* counted by the wfile; of base's contents. Becomes writable */
	void *keep;      /* what holds the VMO and its first provider open: let_go() follows */
	const struct vmofs_change_attr *attr; /* of one that is made; NULL: none */
};
/*
 * One reference, the caller's. The writer has one more while the file is DIRTY, STORING or in CONFLICT. The last one closes the VMO, frees
 * the providers that stores have put under it, and gives @keep back. A file that the origin does not have (base.exists false), or that
 * is made here in place of @base (attr), is DIRTY from the start: an empty one is stored too. May block for milliseconds. -EEXIST: there is one of that ino.
 */
int wfile_new(struct wfile **out, struct writer *w, const struct wfile_params *p);
struct wfile *wfile_get(struct wfile *f);
void wfile_put(struct wfile *f); /* NULL is fine */
/* One that is CLEAN or GONE is not found under its number any more: that may be another one's before the last reference is put. */
void wfile_hide(struct wfile *f);
/* The one of @ino that is there, with a reference; NULL. */
struct wfile *writer_find(struct writer *w, uint64_t ino);

uint64_t wfile_ino(const struct wfile *f);
struct vmo *wfile_vmo(const struct wfile *f); /* borrowed */
/* Size, mtime, and mode, uid, gid where they were set here. */
void wfile_stat(struct wfile *f, uint64_t *size, struct vmofs_change_attr *attr);
/* Its extended attributes, counted; NULL: as the origin has them. */
struct vmofs_xattrs *wfile_xattrs(struct wfile *f);
enum wfile_state wfile_state(struct wfile *f);
/*
 * An attempt to store it was given up, and may arrive all the same: what is not there any more (-ESTALE) may be readable when
 * wfile_store_wait() has returned.
 */
bool wfile_is_unsettled(struct wfile *f);
/* What the origin has of it, as far as is known: right as soon as the file is CLEAN. exists false: nothing, it was never stored. */
void wfile_base(struct wfile *f, struct vmofs_version *out);

/*
 * Writes at @off; beyond the end the file grows. @append: at the end, whatever that is. @now: never waits, -EAGAIN where it
 * would have to (then call again without, on a thread that may block). Returns the bytes written, or -ENOSPC, -EIO (a page
 * that is only partly overwritten cannot be read), -EFBIG, -ETIMEDOUT, -ESTALE (CONFLICT), -ESHUTDOWN.
 */
int64_t wfile_write(struct wfile *f, uint64_t off, const void *buf, uint64_t len, bool append,
		    bool now);
/*
 * As wfile_write(), of pages that were stored to through a shared mapping: they have been changed already, so there is nobody who could
 * be refused. It takes no turn, may have the reserve at once, waits for room beyond that, and exceeds the limit at its
 * deadline; in CONFLICT too it is written.
 */
int64_t wfile_write_back(struct wfile *f, uint64_t off, const void *buf, uint64_t len, bool now);
int wfile_truncate(struct wfile *f, uint64_t size);
/* [off, off+len) reads as zero. With @extend the file grows to hold it, else it is cut at the size. */
int wfile_zero(struct wfile *f, uint64_t off, uint64_t len, bool extend);
/* Members of @attr by its `has`; mtime where tv_sec is not 0, xattrs where there are any. */
int wfile_set_attr(struct wfile *f, const struct vmofs_change_attr *attr);

/* *@since is the caller's, from wfile_error_mark(). Waits as the writer's fsync says. */
uint64_t wfile_error_mark(struct wfile *f);
int wfile_fsync(struct wfile *f, uint64_t *since);
/* Whatever the writer's fsync says: the origin has it. @deadline_ns 0: none; past: it is begun, and not waited for. */
int wfile_store_wait(struct wfile *f, uint64_t *since, uint64_t deadline_ns,
		     const atomic_bool *cancel);
/* Somebody has closed it: it is stored soon, or, with close_sync, now. */
int wfile_closed(struct wfile *f, uint64_t *since);

/*
 * It is about to be removed or replaced at the origin by the caller: nothing of it is stored (a store under way is waited for) until
 * wfile_removed() or wfile_stays() is called. If the daemon ends in between, what the journal has of it counts only where the
 * origin still has @base.
 */
int wfile_leaving(struct wfile *f, bool *stored, struct vmofs_version *base);
void wfile_stays(struct wfile *f);
/*
 * The file has been removed here: nothing of it is stored any more (a store under way is waited for), its log goes. It can be
 * read and written as before. *@stored: whether the origin has a version of it, which is @base then: who removes it there.
 */
int wfile_removed(struct wfile *f, bool *stored, struct vmofs_version *base);
/*
 * Its key is @key from now on. With @now: it is CLEAN (else -EBUSY), and the origin has copied it there. Without: the origin does
 * not have it yet (-EBUSY: it has been stored meanwhile); @replaces: what is at @key and is replaced when it is stored.
 */
int wfile_renamed(struct wfile *f, const char *key, const struct vmofs_version *replaces,
		  const struct vmofs_version *now);

/* ---- looking, deciding ---- */

struct wfile_status {
	uint64_t ino;
	const char *key;
	enum wfile_state state;
	uint64_t size;
	uint64_t dirty_bytes;
	uint64_t stored_bytes; /* of the store under way */
	uint64_t age_ns;       /* of the oldest change that is not stored; 0: none */
	unsigned failures;     /* since the last success */
	int error;             /* of the last failure, -errno */
	char msg[512];         /* the same, for people; "" */
	bool durable;          /* all of it is in the journal, durable */
};
/* Calls @fn for every file that is DIRTY, STORING or in CONFLICT; no lock is held. Not 0 ends it, and is returned. */
int writer_each(struct writer *w, int (*fn)(void *arg, const struct wfile_status *s), void *arg);

struct writer_stats {
	uint64_t dirty_bytes; /* gauges */
	uint64_t dirty_files;
	uint64_t conflicts;
	uint64_t journal_bytes;
	uint64_t stores; /* counters */
	uint64_t store_failures;
	uint64_t bytes_up;
	uint64_t bytes_copied;
	uint64_t requests;
	uint64_t waits; /* writers that found no room */
};
void writer_stats(struct writer *w, struct writer_stats *out);

enum wfile_resolve { WFILE_KEEP_LOCAL, WFILE_KEEP_REMOTE, WFILE_SAVE_AS };
/*
 * Ends a CONFLICT. KEEP_LOCAL: what is at the origin now is replaced by all of the local version. SAVE_AS: that is stored as @key, where nothing may be
 * (-EEXIST), and then as KEEP_REMOTE: what was written here is given up. The wfile is GONE then and not found under its ino any more:
 * the caller sees to it that the origin's version is shown. -EINVAL: there is no conflict. Blocks.
 */
int wfile_resolve(struct wfile *f, enum wfile_resolve how, const char *key, struct vmofs_err *err);

/* ---- after a start ---- */

/*
 * Files of the journal, one by one: @make (which may block) makes the VMO of @base for @key and fills in ino, vmo, keep; what was
 * changed is then written into it. What the origin got before the daemon ended is found out first (attempted()); where that cannot be
 * asked, the file is STORING and asks later. Where @make fails the file stays in the journal, with a line in the log; so does the later
 * one of two logs of one file.
 */
int writer_recover(struct writer *w,
		   int (*make)(void *arg, const char *key, const struct vmofs_version *base,
			       struct wfile_params *out),
		   void *arg);

#endif
