/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of the kernel that block: whatever changes the origin, or waits for it to be changed. Threads of the session take them in
 * the order in which they came. Requests that only wait for the tree are in pending.h, reads in parked.h.
 *
 * One that no thread has taken yet is given up by its deadline, an interrupt and the end of the session; one that a
 * thread has taken comes to its own end, but the caller of a `detached` one (fsync, close) is let go by an interrupt while it goes on.
 * As with parked reads, the memory keeps its type for the life of the session.
 *
 *   JOB_FREE    -> JOB_HELD     taken for a request
 *   JOB_HELD    -> JOB_FREE     answered without a thread
 *   JOB_HELD    -> JOB_QUEUED   posted
 *   JOB_QUEUED  -> JOB_RUNNING  a thread has taken it
 *   JOB_QUEUED  -> JOB_ENDING   given up
 *   JOB_RUNNING -> JOB_ENDING   done
 *   JOB_ENDING  -> JOB_FREE     answered
 */
#ifndef FS_JOB_H
#define FS_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <vmofs/list.h>

#include "base/sync.h"

struct fs_session;
struct fuse_req;
struct local_handle;
struct workers;

enum { JOB_NAME_MAX = 255, JOB_THREADS = 32 /* of a lane */ };

enum job_state { JOB_FREE, JOB_HELD, JOB_QUEUED, JOB_RUNNING, JOB_ENDING, JOB_NSTATES };

/*
 * Those who wait for a store, or for room to write, have threads of their own: they may be many, and wait long. So have pages of
 * mappings, which the kernel cannot take back, and for which it has others wait.
 */
enum job_lane_kind { JOB_LANE_DO, JOB_LANE_WRITE, JOB_LANE_BACK, JOB_LANE_WAIT, JOB_NLANES };

struct fs_job {
	struct vmofs_list link;
	struct fs_session *session; /* borrowed; for life, and never written again */
	/* Blank in a job that was just taken, from here on. */
	struct fuse_req *req;
	/* On a thread. Answers, by job_answers() first where it is detached. */
	void (*run)(struct fs_job *j);
	/* Answers instead of run(); NULL: the error is all there is to say. */
	void (*give_up)(struct fs_job *j, int code);
	bool must; /* run() is called in any case */
	enum job_lane_kind lane;
	bool detached; /* an interrupt answers it while it runs */
	/* The arguments, zero but for what the operation sets. */
	uint64_t ino;
	uint64_t ino2;
	uint64_t off;
	uint64_t len;
	uint64_t done; /* of a write: bytes */
	int flags;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct stat attr;
	struct local_handle *handle; /* borrowed */
	char *data;                  /* owned */
	char name[JOB_NAME_MAX + 1];
	char name2[JOB_NAME_MAX + 1];
	/* lock: the session's parked.lock, from here */
	enum job_state state;
	uint64_t deadline_ns;   /* 0: none */
	struct fuse_req *armed; /* req while its interrupts come here, else NULL */
	bool interrupted;
	bool answered; /* by an interrupt */
};

struct job_lane {
	struct fs_session *session; /* borrowed; fixed, as the threads */
	struct workers *workers;    /* owned */
	struct vmofs_list
		queue; /* lock: the session's parked.lock; in the order in which they came */
};

struct job_set {
	struct vmofs_list free; /* lock: the session's parked.lock, as all of it */
	struct vmofs_list slabs;
	struct job_lane lane[JOB_NLANES];
	bool stopped;
};

/* Threads only where files can be changed. 0 or -ENOMEM, -EAGAIN. */
int job_set_init(struct job_set *set, struct fs_session *s, bool with_threads);
/* Nothing is outstanding. Also of one that is zeroed. */
void job_set_release(struct job_set *set);

/* NULL without memory, and then the request has been answered. */
struct fs_job *job_take(struct fs_session *s, struct fuse_req *req);
/* The same with a name; also NULL for one that is too long. */
struct fs_job *job_take_named(struct fs_session *s, struct fuse_req *req, uint64_t parent,
			      const char *name);
/* To a thread. */
void job_post(struct fs_job *j);
/* Instead of job_post(): it has been answered. */
void job_drop(struct fs_job *j);
/* Whether run() is the one to answer a detached job. Once. */
bool job_answers(struct fs_job *j);

/* Gives up everything that waits, and whatever comes, but for what must run. */
void jobs_stop(struct fs_session *s);

/* The only function that writes j->state. */
void job_set_state(struct fs_job *j, enum job_state to);

#endif
