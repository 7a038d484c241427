/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the writer share: the writer, its room, a file, a store under way. See writer.h for what they are, README.md
 * for who calls whom.
 */
#ifndef WRITE_WRITER_PRIVATE_H
#define WRITE_WRITER_PRIVATE_H

#include "base/rbtree.h"
#include "base/sync.h"
#include "base/workers.h"
#include "vm/page.h"
#include "write/writer.h"

/* ---- the room for dirty pages (room.c) ---- */

struct room {
	struct vmo_guard guard; /* of all VMOs */
	uint64_t limit;         /* pages */
	uint64_t reserve;       /* pages beyond it, for those of mappings */
	uint64_t pass_limit;    /* bytes of stores on their way */
	struct mutex lock;
	/* lock: lock, everything below */
	uint64_t used;   /* pages */
	uint64_t change; /* counts what was given back */
	uint64_t waits;
	uint64_t passing;        /* bytes */
	struct vmofs_list queue; /* struct room_waiter.link */
	bool stopped;
};

/* One writer's turn; embedded on its stack. */
struct room_waiter {
	struct vmofs_list link;
	struct cond wake;
	uint64_t seen; /* room.change before its last try */
	bool queued;
};

void room_init(struct room *r, uint64_t limit, uint64_t reserve);
void room_release(struct room *r);
void room_stop(struct room *r);
uint64_t room_used(struct room *r); /* pages */
bool room_is_tight(struct room *r); /* stores are due, whatever their age */
bool room_is_full(struct room *r);  /* somebody waits, and would in vain */
/* So many pages beyond the limit may be granted to the calling thread from now on. Returns what it was before. */
enum { ROOM_ANY = INT32_MAX };
uint64_t room_exceed(uint64_t pages);
void room_begin(struct room_waiter *me);
/* Before each try. False: others wait, it is not this one's turn: room_wait(). */
bool room_may_try(struct room *r, struct room_waiter *me);
/* Behind all who wait already. */
void room_queue(struct room *r, struct room_waiter *me);
/* Queued; until it is its turn and something was given back since its last try: 0, -ENOSPC (@deadline_ns, 0: none), -ESHUTDOWN. */
int room_wait(struct room *r, struct room_waiter *me, uint64_t deadline_ns);
void room_end(struct room *r, struct room_waiter *me);
/* Memory of contents on their way up. @first: granted in any case. */
bool room_pass(struct room *r, uint64_t len, bool first);
void room_passed(struct room *r, uint64_t len);

/* ---- the writer ---- */

/* How often a wait looks whether it was called off. */
#define CANCEL_LOOK_NS (100 * NSEC_PER_MSEC)

struct writer {
	struct writer_params p;
	struct room room;
	struct workers
		*storers; /* NULL, as the next one, after the stop; lock: lock, from the start on */
	struct workers *committer; /* NULL: no journal */
	struct workers *aheads;    /* NULL: the source takes nothing ahead */
	atomic_bool aheads_end;    /* nobody waits any more for what is begun or dropped */
	atomic_ullong progress;    /* bytes that stores have moved; waits are measured by it */
	struct mutex lock;
	struct cond changed; /* a state, a turn, the end */
	/* lock: lock, everything below, and what struct wfile says */
	struct rb_tree files;          /* wfile.by_ino */
	struct rb_tree due;            /* wfile.by_due */
	struct rb_tree commits;        /* wfile.by_commit */
	unsigned n_files;              /* of any kind, until they are freed */
	unsigned n_in[WFILE_NSTATES];  /* of those in `files` */
	struct vmofs_list aheads_due;  /* wfile.by_ahead: something of it can be sent ahead */
	struct vmofs_list aheads_left; /* struct wahead.link: what no store wants any more */
	unsigned draining;
	uint64_t pressed_ns; /* when a change pressed for stores last */
	unsigned n_turns;    /* files that somebody changes */
	bool stopping;
	bool retiring; /* files go to the journal for the last time */
	bool stopped;
	struct writer_stats stats; /* the counters */

	/* One thread, at the beginning and the end. */
	struct wmove *moves; /* owned; found after the start */
};

/* ---- a file ---- */

struct old_key {
	struct old_key *next;
	char *key;
};

struct wjob;
struct wahead;

enum { GIVEN_UP_MAX = 4 };

struct wfile {
	/* Fixed at creation. */
	struct writer *w;
	struct vmo *vmo; /* counted */
	void *keep;
	uint64_t ino;
	atomic_bool cancel; /* of the store under way */

	/* lock: w->lock, down to the next mark */
	unsigned refs;  /* of any kind */
	unsigned users; /* those of others than the writer */
	bool own;       /* one of them is the writer's, for it is DIRTY, STORING or in CONFLICT */
	enum wfile_state state;
	struct rb_node by_ino, by_due, by_commit;
	bool in_table, in_due, in_commits;
	bool turn;          /* somebody changes it */
	unsigned n_turns;   /* who waits for that */
	unsigned held_back; /* no store begins */
	bool leaving;       /* wfile_leaving() */
	bool cutting;       /* by making it shorter, at this moment */
	bool shaping;       /* the same, or parts of it become zero: no commit has a part of that */
	bool cut_store;     /* what the store has was cut off: it is begun anew */
	bool committing; /* the request that makes the new version seen is on its way, or may be */
	bool stuck;      /* the outcome of a store is not known: see wstore_ask() */
	unsigned wanted; /* who waits for a store */
	uint64_t due_ns;
	uint64_t commit_ns;
	uint64_t changed_ns;      /* the last change; 0: does not count */
	uint64_t commit_since_ns; /* the first one that waits for commit_ns */
	char *_Atomic key;        /* owned; may be read without the lock */
	struct old_key *old_keys; /* owned; until the end */
	struct vmofs_version base;
	struct vmofs_version
		*instead; /* owned; keep-local: what is replaced by all of it. NULL: the base */
	struct vmofs_change_attr attr;  /* xattrs: counted */
	uint64_t attr_seq, attr_stored; /* changes of attributes, and which of them are stored */
	uint64_t change_seq;            /* counts changes of any kind */
	uint64_t begin_seq;             /* those that the store under way has */
	uint64_t stored_seq;
	bool there; /* the base is a version of this file, though stored_seq does not tell */
	uint64_t committed_seq, durable_seq; /* those that the journal has */
	unsigned commit_failures;            /* since the journal took it last */
	uint64_t since_ns;                   /* the oldest change that is not stored; 0: none */
	uint64_t again_ns;                   /* the oldest one since the store began; 0: none */
	uint64_t took_ns;                    /* what the last store took */
	uint64_t stored_bytes;
	unsigned failures;   /* since the last success */
	uint64_t n_failures; /* ever */
	int error;           /* of the last failure */
	char *msg;           /* owned, may be NULL */
	uint64_t refusals;   /* failures that will not go away by themselves */
	int refusal;         /* the last of them */
	/*
	 * The least size since the last commit to the journal, or since the store that the origin has; UINT64_MAX: never cut. For
	 * the journal: what it has from before must not be seen again. All beyond that is still here is dirty.
	 */
	uint64_t cut;
	uint64_t store_cut; /* the least one since the store under way began */
	bool zeros;         /* ranges became zero since then */
	/* What is sent ahead, see wahead.c. */
	struct wahead *ahead; /* owned; NULL: nothing */
	struct vmofs_list by_ahead;
	bool in_aheads;
	bool no_ahead;    /* the source did not want it */
	uint64_t written; /* from its beginning on, without a gap */
	unsigned n_changing;
	uint64_t changing_from;              /* the least offset of those changes */
	unsigned attr_set;                   /* counts attributes that somebody has set */
	char attempt[VMOFS_ATTEMPT_LEN + 1]; /* of the store whose outcome is open, "": none */
	/* Those over this base that were not there when the origin was asked, the last ones: they may still arrive. */
	char given_up[GIVEN_UP_MAX][VMOFS_ATTEMPT_LEN + 1];
	unsigned n_given_up;

	/* One thread at a time: the one that stores it; then that of its end. */
	struct wjob *job;                /* owned */
	struct vmofs_provider *provider; /* owned; NULL: the VMO has the first one */

	/* lock: log_lock */
	struct mutex log_lock;
	struct journal_log *log;        /* NULL: none */
	struct journal_state log_state; /* of its last commit; xattrs: counted */
	bool log_any;                   /* there is one */
	bool log_stale;                 /* it does not know the base that the origin has */
	bool log_behind; /* nor of the store under way, which may have newer contents than it */
};

/* A store under way. */
struct wjob {
	struct vmofs_store st; /* first */
	struct wfile *f;
	struct vmo_token *token; /* NULL: of a recovered file */
	struct vmofs_changed *changed;
	unsigned cap;
	struct vmofs_change_attr attr; /* xattrs: counted */
	struct vmofs_version base;     /* what is replaced */
	char *key;
	uint64_t attr_seq;
	uint64_t began_ns;
	uint64_t taken;
	bool sent;       /* the source has been asked */
	bool committed;  /* commit() has been called */
	bool unreadable; /* some of its contents could not be read */
	bool refused;    /* another version is there, says the source */
	bool attr_old; /* what was sent ahead has other attributes than those that were set since */
	bool *ahead_holds;
};

uint64_t writer_now(struct writer *w);
uint64_t writer_deadline(struct writer *w); /* of an operation that begins now; 0: none */
/* It is stored at @when_ns, if it waits. */
void writer_due_locked(struct wfile *f, uint64_t when_ns) REQUIRES(f->w->lock);
void writer_not_due_locked(struct wfile *f) REQUIRES(f->w->lock);
/* Then, or, while it is being written, later. */
void writer_commit_due_locked(struct wfile *f, uint64_t when_ns) REQUIRES(f->w->lock);
void writer_commit_now_locked(struct wfile *f) REQUIRES(f->w->lock);
/* Somebody waits for room. */
void writer_press(struct writer *w);
int writer_insert_locked(struct writer *w, struct wfile *f) REQUIRES(w->lock);
void writer_forget_locked(struct wfile *f) REQUIRES(f->w->lock);

/* ---- wfile.c ---- */

int wfile_make(struct wfile **out, struct writer *w, const struct wfile_params *p);
void wfile_set_state_locked(struct wfile *f, enum wfile_state to) REQUIRES(f->w->lock);
/* A reference of the writer's own threads. */
void wfile_unref(struct wfile *f);
/* The writer's own, of what is not stored; it is there already, or not. */
void wfile_own_locked(struct wfile *f) REQUIRES(f->w->lock);
/* True: it is the caller's now, for wfile_unref(). After the writer's stop it has gone already. */
bool wfile_disown_locked(struct wfile *f) REQUIRES(f->w->lock);
/* Something has changed: CLEAN becomes DIRTY, times run. */
void wfile_changed(struct wfile *f, bool attr, bool mtime);
bool wfile_is_left(enum wfile_state s); /* DIRTY, STORING, CONFLICT */
/* Waits until no thread is at its store and nobody changes it, and keeps others away until wfile_leave(). */
int wfile_enter(struct wfile *f, bool now);
/* Also in CONFLICT; waits. */
int wfile_enter_any(struct wfile *f);
void wfile_leave(struct wfile *f);
/* No store begins, until wfile_let_store(). */
void wfile_hold_back(struct wfile *f);
void wfile_let_store(struct wfile *f);
/* Until no store is under way, asking what became of one if need be. */
int wfile_settle(struct wfile *f, uint64_t deadline_ns);
void wfile_fail_locked(struct wfile *f, int code, const char *msg) REQUIRES(f->w->lock);

/* ---- wstore.c, wstore_end.c ---- */

/* @f is STORING, which ends here, or it is stuck. */
void wstore_run(struct wfile *f);
void wstore_free(struct wjob *j);
/* What became of the store: 0, it is what the origin has as st.now; else why not. Takes @j. */
void wstore_end(struct wfile *f, struct wjob *j, int status, const char *msg);
void wstore_ask(struct wfile *f);
bool wstore_is_same(const struct vmofs_version *a, const struct vmofs_version *b);
/* A provider of that version of @key. */
int wstore_open(struct wfile *f, const char *key, const struct vmofs_version *v,
		struct vmofs_provider **out);
/* The VMO goes to @to, 0: *@old is what the caller frees, NULL: nothing. -ENOMEM: it goes on as before. */
int wfile_switch(struct wfile *f, struct vmofs_provider *to, uint64_t size,
		 struct vmofs_provider **old);
/* Why what is in conflict cannot be stored. */
extern const char wstore_unreadable[];
/* All of the local version as @key; -EEXIST: where something is. */
int wstore_copy(struct wfile *f, const char *key, struct vmofs_err *err);

/* ---- wahead.c ---- */

enum { AHEAD_THREADS = 8 };

int wahead_start(struct writer *w);
/* Nobody sends any more, afterwards. */
void wahead_stop(struct writer *w);
/* Gives the rest back; no file is left. */
void wahead_release(struct writer *w);
/* Contents in [off, end) change from now on, until wahead_changed(); those between the size and a change beyond it as well. */
void wahead_changing(struct wfile *f, uint64_t off, uint64_t end);
/* @written: it was a write of that; false: from @off on it is another file now. */
void wahead_changed(struct wfile *f, uint64_t off, uint64_t end, bool written);
/* The store has its token: what was sent ahead is st.ahead. -ECANCELED: the store was called off meanwhile. */
int wahead_take(struct wjob *j);
/* No store will want it. */
void wahead_drop_locked(struct wfile *f) REQUIRES(f->w->lock);
/* What is under way ends soon. */
void wahead_cancel_locked(struct wfile *f) REQUIRES(f->w->lock);

/* ---- wlog.c: the file's log in the journal; all block ---- */

/* What is not in the journal yet; nothing where there is none, or where nothing is to be kept. */
int wlog_commit(struct wfile *f, bool durable);
/* The same of a file whose state has changed otherwise. */
int wlog_note(struct wfile *f);
/* Before the request that makes the new version seen. */
void wlog_attempt(struct wfile *f);
/* It was surely not stored. */
void wlog_no_attempt(struct wfile *f);
/* The base is what f->base says now. @clean: nothing is left to keep. */
void wlog_stored_locked(struct wfile *f, bool clean) REQUIRES(f->log_lock);
/* Also to another base; all that the log has is changed. */
int wlog_rename_locked(struct wfile *f, const char *key, const struct vmofs_version *base)
	REQUIRES(f->log_lock);
/* What stands for attempts in a log: the file counts only while the origin has its base. */
#define WLOG_LEAVING "leaving"
/* Attempts in a log: that of the store whose outcome is open, then those that were given up, the last one first; a space between. */
enum { WLOG_ATTEMPTS = (GIVEN_UP_MAX + 1) * (VMOFS_ATTEMPT_LEN + 1) };
/* The one at *@at, which moves behind it. False: there is none. */
bool wlog_next_attempt(const char **at, char attempt[VMOFS_ATTEMPT_LEN + 1]);
/* f->leaving has changed. */
void wlog_leaving(struct wfile *f, bool leaving);
/* The base is what f->base says now, and all that the log has is changed. */
int wlog_rebase(struct wfile *f);
void wlog_remove(struct wfile *f);
void wlog_close(struct wfile *f);

#endif
