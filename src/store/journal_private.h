/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the journal among themselves. A journal_log and all that belongs to it is used by one thread at a time; of a
 * journal only `bytes` and `next_id` change once it is open, and they are atomic, so there is no lock.
 */
#ifndef STORE_JOURNAL_PRIVATE_H
#define STORE_JOURNAL_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/itree.h"
#include "store/cache_io.h"
#include "store/journal.h"
#include "store/journal_format.h"

#define JOURNAL_NAME 40u /* of a file in a directory of the journal */

/* A directory of one mount, now or once; locked by this process. */
struct journal_dir {
	struct journal_dir *next;
	int fd;
	int lock_fd;
	unsigned number;
};

struct journal {
	const struct cache_io *io; /* borrowed */
	uint64_t limit;
	/* How large things are; tests have smaller ones. */
	uint32_t stage;           /* so much is written at once; a record fits */
	uint32_t piece;           /* of contents in one record */
	uint32_t slack;           /* a log of less is not written anew */
	unsigned open_max;        /* more logs than that do not keep their files open */
	struct journal_dir *dirs; /* owned; the first one is where new logs go */
	atomic_uint_fast64_t bytes;
	atomic_uint_fast64_t next_id;
	atomic_uint n_open;
};

/* -- bytes on their way into a file (journal_out.c) -- */

struct journal_out {
	struct journal *j; /* borrowed */
	int fd;            /* borrowed */
	uint64_t salt;
	uint64_t group;
	uint64_t begin; /* where in the file this began */
	uint64_t at;    /* where the next flush goes */
	uint64_t
		instead; /* bytes on disk that go when this is done: they do not count for the limit */
	uint8_t *buf;    /* owned; j->stage bytes */
	size_t n;
};

int journal_out_init(struct journal_out *o, struct journal *j, int fd, uint64_t at);
void journal_out_release(struct journal_out *o);
/* The header of a new file, with a salt. */
int journal_out_header(struct journal_out *o);
int journal_out_record(struct journal_out *o, enum journal_kind kind, uint64_t off, uint64_t len,
		       const void *payload, size_t payload_len);
/* Contents, in as many records as it takes. */
int journal_out_pages(struct journal_out *o, uint64_t off, const void *buf, uint64_t len);
/* The end of a group. */
int journal_out_commit(struct journal_out *o, uint64_t durable, const struct journal_state *st);
int journal_out_flush(struct journal_out *o);
/* Where the next record will stand. */
uint64_t journal_out_place(const struct journal_out *o);

/* -- what a file's records amount to (journal_index.c) -- */

/* Bytes of the file that are in the log: contents of a record, or zeros. */
struct journal_extent {
	struct itree_node n;
	uint64_t place; /* of the record; 0: zeros */
	uint64_t off;   /* of the record's first byte */
	uint32_t len;   /* of the record's contents */
};

struct journal_index {
	struct rb_tree tree;
	uint64_t worth; /* bytes that a log of nothing else would have for it */
};

void journal_index_init(struct journal_index *ix);
void journal_index_release(struct journal_index *ix);
/* [first, end) is that now. */
int journal_index_put(struct journal_index *ix, uint64_t first, uint64_t end, uint64_t place,
		      const struct journal_head *h);
int journal_index_cut(struct journal_index *ix, uint64_t first, uint64_t end);
/* From the records of @b, which end with a commit. 0, -ENOMEM, -errno of a read, -EBADMSG. */
int journal_index_load(struct journal_index *ix, struct journal_bytes *b);
/* Each range of it, ascending, contents checked. */
int journal_index_read(const struct journal_index *ix, struct journal_bytes *b, uint64_t salt,
		       struct journal_sink *sink);

/* -- a log (journal_log.c, journal_anew.c) -- */

struct journal_log {
	struct journal *j;       /* borrowed */
	struct journal_dir *dir; /* borrowed */
	uint64_t id;
	/* As of the last commit, or what comes first where there is none. */
	char *key;          /* owned */
	uint64_t key_stamp; /* of two logs of one key the later one is right */
	struct journal_base base;
	struct journal_state state; /* xattrs: counted */
	char attempt[JOURNAL_ATTEMPT_MAX];

	bool made; /* <id>.log is there */
	int fd;    /* of it; -1: not open now */
	uint64_t salt;
	uint64_t group;  /* the number used last */
	uint64_t end;    /* of the last commit */
	uint64_t synced; /* so much of it has reached the disk */
	bool named;      /* and so has its name */
	bool promised;   /* something of it has been durable once, as far as is known */
	bool suspect;    /* a sync failed: what is behind `synced`, or the name, may be gone */
	bool blind; /* it was shut with bytes that were not synced: nobody will tell what became of them */
	uint64_t compact_at; /* how large it gets before it is looked what it is worth */

	bool in_group;
	bool fresh;             /* the group goes into <id>.new, which replaces what there is */
	struct journal_out out; /* of the group */
	struct journal_state coming; /* what it ends with; xattrs: counted */
};

struct journal_file {
	struct journal_bytes bytes;
	const struct cache_io *io; /* borrowed */
	int fd;                    /* borrowed */
};
void journal_file_init(struct journal_file *f, const struct cache_io *io, int fd, uint64_t size);

void journal_name(uint64_t id, const char *ending, char out[JOURNAL_NAME]);
/* Of a name "<id><ending>"; false: it is none. */
bool journal_name_parse(const char *name, const char *ending, uint64_t *id);

/* Half made: without a key. NULL: no memory. */
struct journal_log *journal_log_alloc(struct journal *j, struct journal_dir *dir, uint64_t id);
int journal_log_set_key(struct journal_log *l, const char *key);
/* Its file is open until it rests; -errno. */
int journal_log_wake(struct journal_log *l);
/* Shuts the file where too many are open. Between groups. */
void journal_log_rest(struct journal_log *l);
/* The bytes of what is committed; awake. */
void journal_log_bytes(const struct journal_log *l, struct journal_file *f);

/* A group goes into a new file, with key, base and attempt at its head. */
int journal_fresh_begin(struct journal_log *l);
/*
 * What has been gathered ends with a commit and is written: the file takes the log's name. @durable: both are synced. Where that
 * fails after the new name was given, `fresh` is false nonetheless.
 */
int journal_fresh_end(struct journal_log *l, bool durable);
void journal_fresh_drop(struct journal_log *l);
/* An awake log is written anew from what it reads as. Where that fails before the new file is in its place, nothing changes. */
int journal_anew(struct journal_log *l, bool durable);
/* The same, if it has more than it is worth. A failure is none: the log stays as it is. */
void journal_compact(struct journal_log *l);

#endif
