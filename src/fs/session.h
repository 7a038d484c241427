/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One FUSE mount: the kernel's connection, watched by every loop of the daemon, over a namespace.
 *
 * Set up by one thread: fs_session_new() mounts and shakes hands, so the mount is usable as soon as
 * fs_session_start() has put it on the loops. Ended in this order: the tree's stop() (requests are
 * still answered, so what it tells the kernel cannot get stuck), fs_session_stop() (no request is
 * taken any more, those that wait for the tree end), the owner closes the VMOs (parked reads end),
 * fs_session_free() (waits for the last reply, unmounts).
 */
#ifndef FS_SESSION_H
#define FS_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <vmofs/err.h>
#include <vmofs/provider.h>

struct fs_object;
struct fs_session;
struct fs_tree;
struct local;
struct loop_pool;

/* AUTO: where it is switched on already. */
enum fs_choice { FS_AUTO, FS_YES, FS_NO };

struct fs_session_params {
	struct loop_pool *loops;   /* borrowed; started */
	struct fs_tree *tree;      /* borrowed */
	const char *fsname;        /* what `df` shows as the source */
	const char *mountpoint;    /* absolute */
	const char *mount_opts;    /* more options of the mount, "a,b=c"; may be "" */
	uint64_t timeout_ns;       /* deadline of a request; 0: none */
	uint64_t kernel_readahead; /* bytes the kernel reads ahead, where we may set it */
	uint64_t max_request;      /* bytes of one read request, where the kernel allows it */
	unsigned max_background;   /* read-ahead requests at once */
	unsigned congestion;       /* of them, from which on the kernel holds back; 0: all */
	enum fs_choice io_uring;   /* requests come by io_uring */
	bool passthrough;          /* the kernel reads files that are whole on the cache's disk */
	bool xattrs;               /* there are some; without them nobody asks for any */
	uint64_t siblings_max;     /* bytes of small files to fetch ahead of one reader; 0: none */
	bool async_dio;            /* O_DIRECT reads in parallel, but not interruptible */
	struct local *local;       /* borrowed; files are changed through it. NULL: read only */
	bool exact_dirty;          /* no shared writable mappings, whose stores are seen late */
	/* Called once, from a loop, when the kernel has ended the connection. */
	void (*ended)(void *arg);
	void *arg;
};

int fs_session_new(struct fs_session **out, const struct fs_session_params *p,
		   struct vmofs_err *err);
int fs_session_start(struct fs_session *s, struct vmofs_err *err);
void fs_session_stop(struct fs_session *s);
void fs_session_free(struct fs_session *s);

/* major << 20 | minor as /proc/self/mountinfo has it. */
void fs_session_device(const struct fs_session *s, unsigned *major, unsigned *minor);

struct fs_stats {
	uint64_t requests;    /* of any kind, from the kernel */
	uint64_t reads;       /* those that read file contents */
	uint64_t hits;        /* reads answered at once from memory */
	uint64_t misses;      /* reads that had to wait */
	uint64_t bytes_asked; /* by reads */
	uint64_t writes;
	uint64_t bytes_written;
	uint64_t errors; /* reads answered with an error, without those interrupted */
	uint64_t interrupted;
	uint64_t timed_out;
	uint64_t
		passthrough; /* opens after which the kernel reads by itself; such reads are not seen */
	uint64_t outstanding;                    /* reads waiting now (a gauge) */
	uint64_t latency[VMOFS_LATENCY_BUCKETS]; /* of reads, in the daemon */
};
void fs_session_stats(struct fs_session *s, struct fs_stats *out);

/*
 * Drops the kernel's cached pages of @o in the range. Waits for requests on these pages: never from
 * a loop.
 */
int fs_session_drop_cache(struct fs_session *s, struct fs_object *o, uint64_t off, uint64_t len);

/* Of the library that talks to the kernel. */
const char *fs_libfuse_version(void);

#endif
