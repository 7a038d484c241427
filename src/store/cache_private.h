/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the disk cache share. cache.c: the directory and its errors; cache_table.c: who has which
 * entry; cache_files.c: its two files and their locks; cache_segment.c: what is known of its pages;
 * cache_read.c, cache_write.c: pages; cache_scan.c: the directory read; cache_clean.c: eviction;
 * cache_admin.c: commands; cache_house.c: the thread.
 *
 * Locks of an entry: `io` is held across system calls, by threads that may block, and orders what
 * happens to the files as such (open, lock, flush, punch, close); `lock` guards what is known and is never
 * held across one, for it is taken under the locks of VMOs.
 */
#ifndef STORE_CACHE_PRIVATE_H
#define STORE_CACHE_PRIVATE_H

#include <stdatomic.h>
#include <vmofs/list.h>

#include "base/digest.h"
#include "base/sync.h"
#include "store/cache.h"
#include "store/cache_index.h"
#include "store/cache_io.h"

enum {
	CACHE_BUCKETS = 16384,
	CACHE_NAME_LEN = 2 * SHA256_LEN + 1, /* "ab/cdef..." */
	CACHE_PATH_LEN = CACHE_NAME_LEN + 8, /* with an ending */
	CACHE_CHUNK_SEGMENTS = 512,
};
_Static_assert(CACHE_SEG_PAGES == CACHE_SEGMENT_PAGES, "one unit of records and of eviction");

/* Bytes of the index that are locked; what each means is in cache.h. */
enum { CACHE_LOCK_WRITER, CACHE_LOCK_PAGES, CACHE_NLOCKS };

#define CACHE_LENT S_IXUSR /* mode of a data file that has been served */

#define CACHE_PAUSE_MS      UINT64_C(30000) /* no writing after the disk was full */
#define CACHE_RETRY_MS      UINT64_C(5000)  /* until an entry's files are looked at again */
#define CACHE_REFRESH_MS    UINT64_C(1000)  /* what another process writes, read again */
#define CACHE_IDLE_MS       UINT64_C(60000) /* then descriptors are closed */
#define CACHE_VISIT_SEC     10u             /* uses that lie closer together are one */
#define CACHE_SYNC_BYTES    (UINT64_C(1) << 20)
#define CACHE_RECORDS_BYTES (UINT64_C(64) << 20) /* of records in memory */

/* What is known of one segment. All members under the entry's lock. */
struct cache_segment {
	struct vmofs_list link; /* the entry's dirty list; empty: clean */
	uint64_t idx;
	uint64_t used_sec;
	uint64_t kept_used_sec; /* as it is in the index */
	uint32_t hits;
	uint32_t users; /* reads and writes under way: it is not dropped, nor its pages */
	uint32_t n_pages;
	uint32_t n_present;
	uint32_t n_trusted;
	uint64_t written; /* the entry's n_writes when a page was written last; 0: never */
	bool reserved;    /* its record has a place on the disk */
	bool punching;    /* its pages are going: nothing may be written */
	uint64_t present[CACHE_SEG_WORDS];
	uint64_t trusted[CACHE_SEG_WORDS]; /* a subset, see segment_trust() */
	uint32_t crc[];                    /* n_pages */
};

/* A GiB of the object; less where it ends. */
struct cache_chunk {
	uint64_t empty[CACHE_CHUNK_SEGMENTS / 64]; /* known to have no page; seg[] is NULL */
	uint64_t whole[CACHE_CHUNK_SEGMENTS / 64]; /* every page present and trusted */
	struct cache_segment *seg[];               /* NULL: not in memory */
};

/*
 * Of an entry's files. Moves under io and lock.
 *
 *   SHUT   -> NONE     files_open      there are none
 *   SHUT   -> READER   files_open      another process is the writer, or nothing can be written
 *   SHUT   -> WRITER   files_open
 *   SHUT   -> OFF      files_open      the disk failed
 *   NONE   -> SHUT     files_open      about to be looked at again, or made
 *   READER -> SHUT     files_shut      idle or closed; also to become the writer
 *   WRITER -> SHUT     files_shut      idle, closed, removed
 *   OFF    -> SHUT     files_open      CACHE_RETRY_MS later
 *
 *   SHUT          nothing is known: every page may be there
 *   NONE, OFF     no page is there
 *   READER        descriptors open; pages are trusted only while `held`
 *   WRITER        descriptors open, byte 0 locked
 *   NONE, OFF, SHUT: no descriptor, no segment in memory, active == 0, pins == 0
 */
enum entry_state { ENTRY_SHUT, ENTRY_NONE, ENTRY_READER, ENTRY_WRITER, ENTRY_OFF, ENTRY_NSTATES };

struct cache_entry {
	/* fixed */
	struct cache *c;
	char *url;       /* owned */
	char *validator; /* owned */
	uint8_t identity[CACHE_IDENTITY_LEN];
	bool has_identity; /* else the url is it */
	char name[CACHE_NAME_LEN + 1];
	bool unfit; /* too long or too large to be kept: always OFF */
	uint64_t size;
	uint64_t n_pages;
	uint64_t n_segments;
	/* c->lock */
	struct cache_entry *next; /* in its bucket */
	struct vmofs_list lru;    /* c->open; empty: no descriptors */
	unsigned refs;
	/* io */
	struct mutex io;
	int pin_fd; /* -1: none */
	/* changes under both, so that either is enough to read it */
	enum entry_state state;
	int index_fd, data_fd; /* valid while active > 0 or io is held */
	struct cache_layout at;
	bool held; /* byte 1 is locked, shared: no page is dropped by others */
	bool read_only;
	bool discarded; /* WRITER: its files have no names any more, and nothing of them is used */
	/* lock */
	struct mutex lock;
	unsigned active; /* operations that use the descriptors */
	unsigned pins;
	uint64_t retry_ms;          /* OFF, READER: when files_open() looks again */
	uint64_t refresh_ms;        /* READER: when what is known is dropped */
	uint64_t used_ms;           /* when it was last moved to the end of c->open */
	uint64_t known_end;         /* segments from here on have no record */
	struct cache_chunk **chunk; /* NULL: none made */
	struct vmofs_list dirty;    /* segments whose record is to be written */
	uint64_t unsynced;          /* bytes written since the last fdatasync() */
	uint64_t n_writes;          /* since the files were opened */
	uint64_t n_synced;          /* of these, which the disk has */
	bool synced;                /* there has been an fdatasync() that succeeded */
	bool broken;        /* one failed: whatever was written may be lost; to be removed */
	uint64_t n_whole;   /* bits in whole[] */
	uint64_t verify_at; /* segment that cache_entry_verify() looks at next */
	uint64_t hand;      /* segment that is dropped next */
};

enum cache_counter {
	CACHE_CORRUPT,
	CACHE_EVICTED,
	CACHE_READ_ERRORS,
	CACHE_WRITE_ERRORS,
	CACHE_NCOUNTERS
};

/* Whether anything is written. OFF: not any more. */
enum cache_writing { CACHE_WRITES, CACHE_PAUSES, CACHE_OFF };

struct cache {
	/* fixed */
	const struct cache_io *io;
	char *dir; /* owned, for messages */
	int dir_fd;
	uint64_t limit, floor;
	unsigned open_max;    /* entries with descriptors */
	uint64_t records_max; /* bytes */
	_Atomic uint64_t n[CACHE_NCOUNTERS];
	_Atomic uint64_t record_bytes;
	_Atomic uint64_t bytes;   /* on the disk: as counted, and what this process wrote since */
	_Atomic uint64_t counted; /* the first alone */
	_Atomic uint64_t entries;
	_Atomic uint64_t free_seen; /* of the file system, when bytes was counted */
	_Atomic uint64_t floor_ms;  /* when the floor was looked at */
	_Atomic bool too_full;      /* below the floor then */
	_Atomic int last_error;
	_Atomic bool stopping;
	struct mutex lock; /* the rest */
	struct cache_entry *bucket[CACHE_BUCKETS];
	struct vmofs_list open; /* entries with descriptors, least recently used first */
	unsigned n_open;
	enum cache_writing writing;
	uint64_t pause_until_ms;
	bool has_version; /* DIR/version is there */
	struct cond wake; /* of the housekeeping thread */
	bool kicked;
	bool has_thread;
	bool has_ended; /* the thread: it does nothing more */
	pthread_t thread;
};

static inline void cache_count(struct cache *c, enum cache_counter which, uint64_t n)
{
	atomic_fetch_add_explicit(&c->n[which], n, memory_order_relaxed);
}

/* -- cache.c ---------------------------------------------------------------------------------- */

/* 0 when pages may be written; -ENOSPC, -EROFS. */
int cache_may_write(struct cache *c);
/* A write failed with @err (negative). True: room has been made, try once more. May block. */
bool cache_write_failed(struct cache *c, int err);
/* Once more was no better. */
void cache_write_gave_up(struct cache *c, int err);
void cache_read_failed(struct cache *c, int err);
/* Bytes came (positive) or went. */
void cache_account(struct cache *c, int64_t bytes);

/* -- cache_clean.c ---------------------------------------------------------------------------- */

/* Bytes from which on the housekeeping has something to do. */
uint64_t cache_high(const struct cache *c);
/* The disk is full: frees some. 1; 0: nothing could be freed; -EBUSY: somebody else is at it. May block. */
int cache_make_room(struct cache *c);
/* Bytes that are free on the file system, for this user. */
uint64_t cache_disk_free(struct cache *c);

/* -- cache_house.c ---------------------------------------------------------------------------- */

/* A thread that keeps limit and floor. -EAGAIN: it cannot be started. */
int cache_house_start(struct cache *c);
/* -ETIMEDOUT: it hangs. */
int cache_house_stop(struct cache *c);
/* There is something to do now. */
void cache_kick(struct cache *c);

/* -- cache_table.c ---------------------------------------------------------------------------- */

/* "ab/cdef..." of a key; -ENOMEM. */
int cache_name_of(const struct cache_key *key, char name[CACHE_NAME_LEN + 1]);
void cache_path_of(const char *name, const char *ending, char path[CACHE_PATH_LEN]);
/* Without looking at its files. Ended by cache_entry_close(). */
int cache_entry_get(struct cache *c, const struct cache_key *key, struct cache_entry **out);
/* Whether somebody of this process has it. */
bool cache_entry_known(struct cache *c, const char *name);
/* Closes descriptors that have not been used lately: all that are idle, or one where there are too many. */
void cache_close_idle(struct cache *c);
/* Every index is brought up to what has been written and read; as far as possible. */
void cache_flush_open(struct cache *c);
void cache_make_room_to_open(struct cache *c);
/* It has descriptors from now on, or no more. */
void cache_entry_opened(struct cache_entry *e);
void cache_entry_shut(struct cache_entry *e);
/* Puts it at the end of those that are closed first. */
void cache_entry_used(struct cache_entry *e);

/* -- cache_files.c ---------------------------------------------------------------------------- */

enum entry_want { ENTRY_LOOK, ENTRY_MAKE };
/*
 * Until entry_leave(), the descriptors stay open. -ENOENT: no files (ENTRY_LOOK); -EBUSY: another process
 * is the writer (ENTRY_MAKE); others: the disk's.
 */
int entry_enter(struct cache_entry *e, enum entry_want want) EXCLUDES(e->io) EXCLUDES(e->lock);
void entry_leave(struct cache_entry *e) EXCLUDES(e->lock);
/* Writes what is due and closes the files. -EBUSY: in use. */
int entry_shut(struct cache_entry *e) EXCLUDES(e->io);
/* Removes the files too. -EBUSY: in use, here or by another process. The bytes freed are added to *@freed. */
int entry_remove(struct cache_entry *e, uint64_t *freed) EXCLUDES(e->io);
/* As the writer, so that pages may be dropped: nobody serves the file. -EBUSY. */
int entry_lock_pages(struct cache_entry *e) REQUIRES(e->io);
void entry_unlock_pages(struct cache_entry *e) REQUIRES(e->io);
/* Whether somebody may have its data file mapped: it is removed whole, or not at all. */
bool entry_is_lent(struct cache_entry *e) REQUIRES(e->io);
int entry_flush_io(struct cache_entry *e) REQUIRES(e->io);
/* What has been written up to now is on the disk. Within entry_enter(). */
int entry_sync(struct cache_entry *e) EXCLUDES(e->io);
/*
 * Gives the record of a segment its place on the disk, so that a disk that is full of contents has
 * room for the index that makes them worth something. Within entry_enter(), as the writer.
 */
int entry_reserve(struct cache_entry *e, struct cache_segment *s) EXCLUDES(e->lock);
/*
 * From now on no other process drops pages, until the files are shut: what is read can be trusted. -EBUSY.
 * Within entry_enter().
 */
int entry_hold_pages(struct cache_entry *e) EXCLUDES(e->io);

/* -- cache_segment.c -------------------------------------------------------------------------- */

/*
 * The segment, read from the index when it is not in memory, and kept there until segment_release(). Within
 * entry_enter(). NULL in *@out: it has no page, or its record cannot be read, and !@make. -ENOMEM.
 */
int segment_hold(struct cache_entry *e, uint64_t idx, bool make, struct cache_segment **out)
	EXCLUDES(e->lock);
void segment_release(struct cache_entry *e, struct cache_segment *s) EXCLUDES(e->lock);
/* Page @i of it has arrived, with this checksum. */
void segment_add(struct cache_entry *e, struct cache_segment *s, uint32_t i, uint32_t crc)
	REQUIRES(e->lock);
/*
 * Page @i has just been read and is right. It is trusted from now on, so that others may be given the file itself,
 * if it cannot change any more: nobody else may drop it, and the disk has confirmed that it has it. Until
 * then the kernel may still lose what it only has in memory (and tells only who asks by fdatasync()).
 */
void segment_trust(struct cache_entry *e, struct cache_segment *s, uint32_t i) REQUIRES(e->lock);
void segment_drop_page(struct cache_entry *e, struct cache_segment *s, uint32_t i)
	REQUIRES(e->lock);
/* Its record is to be written. */
void segment_dirty(struct cache_entry *e, struct cache_segment *s) REQUIRES(e->lock);
/* It is being read. */
void segment_use(struct cache_entry *e, struct cache_segment *s) REQUIRES(e->lock);
void segment_record(const struct cache_segment *s, struct cache_record *r);
/* What is known of it: -1 nothing, 0 no page, 1 some (then *@out, or NULL: every page). */
int segment_peek(struct cache_entry *e, uint64_t idx, struct cache_segment **out) REQUIRES(e->lock);
/* Forgets everything; nobody uses any of it. */
void segments_drop(struct cache_entry *e) REQUIRES(e->lock);
/* What another process may have changed is not known any more, if it is time. */
void segments_refresh(struct cache_entry *e, uint64_t now_ms) REQUIRES(e->lock);
/* Reads one record of an index. As cache_record_decode(), or -EIO. */
int record_read(struct cache *c, int fd, const struct cache_layout *at, uint64_t idx,
		struct cache_record *r);

#endif
