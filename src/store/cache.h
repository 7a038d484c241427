/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk cache: contents of objects that survive the daemon. It knows nothing of VMOs, protocols or FUSE.
 *
 * One directory, shared by any number of mounts and daemons:
 *
 *   DIR/version            "vmofs cache 1"; another version is left alone, with an error
 *   DIR/lock               flock: who cleans up (one at a time, nobody waits)
 *   DIR/ab/cdef....data    one object version: a sparse file of exactly its size, page p at p * 4096
 *   DIR/ab/cdef....index   what is in it: a header (url, identity, validator, size) and one record for each
 *                          segment of 512 pages: which are present, CRC32C of each, when last used
 *
 * The name is the SHA-256 of identity (the url, where there is no other), validator and size. Only objects with a
 * strong validator are kept.
 *
 * What makes it safe. Data is written before the index that speaks of it; header and records have checksums
 * of their own, salted with a number of that file's, and every page has one. A page is believed only
 * if all agree, so whatever a crash, another program or a failing disk leaves behind is either right or
 * dropped. Each page is checked at each read. "Trusted" is what has been checked after the disk confirmed (fdatasync)
 * that it has it, and cannot go: only of a file whose pages are all trusted is the file itself given to others.
 *
 * Who may do what is settled by locks (OFD locks, they end with their process) on the index:
 *   byte 0, exclusive   the writer: the only one who changes data and index
 *   byte 1, shared      somebody serves the data file itself (passthrough): no page of it may go
 *   byte 1, exclusive   held by the writer, or by who cleans up, while pages are dropped
 * A data file that has been served carries a mark (it may be executed): a mapping of it outlives the process that served
 * it, and every lock. Such a file is never punched, only removed whole, which its mappings do not see.
 *
 * An entry that another process writes can be read: its pages are then checked at every read, for that process may
 * drop them at any moment.
 *
 * Errors of the disk are never the reader's: an entry that cannot be read has nothing, one that cannot be written
 * keeps nothing more. ENOSPC makes room once, then writing pauses (CACHE_PAUSE); EIO and EROFS
 * turn writing off for the directory, with one log line. All are counted.
 *
 * Any thread. All calls may block on the disk except those that say otherwise.
 */
#ifndef STORE_CACHE_H
#define STORE_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>
#include <vmofs/err.h>

struct cache;
struct cache_entry;
struct cache_io; /* cache_io.h: the system calls, so that tests can make them fail */

#define CACHE_SEGMENT_PAGES 512u /* the unit of records and of eviction: 2 MiB */

struct cache_params {
	const char *dir;   /* made (0700) when it is not there; its parent must be */
	uint64_t limit;    /* bytes on the disk, data and indexes; 0: as much as the floor leaves */
	uint64_t floor;    /* bytes of the file system that stay free */
	bool housekeeping; /* a thread of this process keeps limit and floor */
	const struct cache_io *io; /* NULL: the system's */
};

/* -EPROTO: the directory is of another version; -EACCES, -ENOTDIR, ...: with what to do. */
int cache_open(struct cache **out, const struct cache_params *p, struct vmofs_err *err);
/*
 * Every entry has been closed. NULL is fine. -ETIMEDOUT: the disk hangs under the housekeeping, and nothing has been
 * freed; it may be tried again.
 */
int cache_free(struct cache *c);

#define CACHE_IDENTITY_LEN 32u

/* Copied by who takes one. */
struct cache_key {
	const char *url;       /* without credentials */
	const char *validator; /* strong */
	uint64_t size;
	/*
	 * CACHE_IDENTITY_LEN bytes of a digest: what the entry is found by in place of @url, which is then for
	 * people only, and that of the first who came. NULL: @url tells the object from every other one. A key with
	 * an identity and one without are never of one entry.
	 */
	const uint8_t *identity;
};

/*
 * The entry of @key, empty when there is none on the disk: files are made by the first write. An entry of
 * this process is shared by all who open it. -ENOMEM only.
 */
int cache_entry_open(struct cache *c, const struct cache_key *key, struct cache_entry **out);
/* Writes the index where that is due. The last one frees it. NULL is fine. */
void cache_entry_close(struct cache_entry *e);

/* Whether nothing of it is on the disk as far as is known, so that nobody need ask. Never blocks. */
bool cache_entry_is_empty(struct cache_entry *e);
/*
 * Whether page @first may be there; *@end (at most what it was) becomes where that ends. Never blocks:
 * segments whose record has not been read yet count as "may be".
 */
bool cache_entry_may_have(struct cache_entry *e, uint64_t first, uint64_t *end);
/*
 * Reads pages [first, first + n) into @buf, as far as they are there and right from @first on. Returns
 * how many; 0: the first is not there, and *@missing says how many pages from it on are not.
 * The part of the last page beyond the object is zero.
 */
uint64_t cache_entry_read(struct cache_entry *e, uint64_t first, uint64_t n, void *buf,
			  uint64_t *missing);
/*
 * Keeps contents that begin with page @first; the sum of @iov is whole pages, or ends at the object's end.
 * Pages that are there are skipped. 0, or -errno when nothing more can be kept now.
 */
int cache_entry_write(struct cache_entry *e, uint64_t first, const struct iovec *iov, unsigned n);
/* The index is brought up to what has been written (data first). */
int cache_entry_flush(struct cache_entry *e);

/*
 * What it has is not the object, whatever the checksums say: it is gone at once, for every process, and the entry is empty.
 * Who reads a file that was lent goes on with that. -EBUSY: another process is the writer, who has to find out
 * itself; or the disk's error.
 */
int cache_entry_discard(struct cache_entry *e);

/* Every page is there, and trusted. Never blocks. */
bool cache_entry_is_complete(struct cache_entry *e);
/* Every page is there, though not all may be trusted. Reads records. */
bool cache_entry_is_whole(struct cache_entry *e);
/*
 * Waits for the disk to have what was written, then checks what is there and not trusted yet, at most @max
 * pages. Returns how many; 0: nothing is left, or nothing can be trusted now.
 */
uint64_t cache_entry_verify(struct cache_entry *e, uint64_t max);
/*
 * The data file of a complete entry, for others to read: from now on no page of it is dropped by anybody,
 * until as many cache_entry_unpin(). Returns a descriptor (read-only), which is the entry's. -EAGAIN: not complete,
 * or another process is about to drop pages, or the files are busy just now. Neither waits for the disk.
 */
int cache_entry_pin(struct cache_entry *e);
void cache_entry_unpin(struct cache_entry *e);

/* ---- the directory ---- */

struct cache_stats {
	uint64_t corrupt; /* pages and records dropped because a checksum did not agree */
	uint64_t evicted; /* pages */
	uint64_t read_errors;
	uint64_t write_errors;
	uint64_t bytes;   /* on the disk, as last counted (a gauge) */
	uint64_t entries; /* the same */
	bool writing;     /* false: turned off or paused */
	int last_error;   /* -errno; 0: none so far */
};
void cache_stats(struct cache *c, struct cache_stats *out);

/* One entry as it stands in the directory. Texts are borrowed for the call. */
struct cache_info {
	const char *name; /* of its files, without ending */
	const char *url;  /* "" where the header cannot be read */
	const char *validator;
	uint64_t size;
	uint64_t present;  /* bytes */
	uint64_t disk;     /* bytes allocated, data and index */
	uint64_t used_sec; /* CLOCK_REALTIME of the last use */
	bool damaged;      /* header or a record is wrong */
	bool in_use;       /* somebody writes or serves it */
};
/* Calls @fn for each entry; false ends. 0 or -errno. */
int cache_each(struct cache *c, bool (*fn)(void *arg, const struct cache_info *i), void *arg);

struct cache_work {
	uint64_t entries; /* looked at */
	uint64_t pages;   /* checked, or dropped */
	uint64_t bytes;   /* freed on the disk */
	uint64_t bad;     /* pages and records that were wrong (and have been dropped) */
	uint64_t skipped; /* entries in use by others */
};
/* Reads and checks everything; what is wrong goes. */
int cache_verify(struct cache *c, struct cache_work *out);
/* Removes what nobody uses; of one URL where @url is not NULL. */
int cache_clear(struct cache *c, const char *url, struct cache_work *out);
/* Brings the directory under its limit and floor, and removes what is left over of crashes. */
int cache_gc(struct cache *c, struct cache_work *out);

#endif
