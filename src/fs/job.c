/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of blocking requests and the threads that take from it; see the header. No lock is held while libfuse is called. */
#include "fs/job.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/workers.h"
#include "fs/session_private.h"

enum { JOBS_PER_SLAB = 16 };

struct job_slab {
	struct vmofs_list link;
	struct fs_job jobs[JOBS_PER_SLAB];
};

static const uint8_t job_next[] = {
	[JOB_FREE] = BIT(JOB_HELD),
	[JOB_HELD] = BIT(JOB_FREE) | BIT(JOB_QUEUED),
	[JOB_QUEUED] = BIT(JOB_RUNNING) | BIT(JOB_ENDING),
	[JOB_RUNNING] = BIT(JOB_ENDING),
	[JOB_ENDING] = BIT(JOB_FREE),
};
_Static_assert(ARRAY_LEN(job_next) == JOB_NSTATES, "one row per state");

void job_set_state(struct fs_job *j, enum job_state to)
{
	assert(job_next[j->state] & BIT(to));
	j->state = to;
}

/* ---- memory ---- */

static void grow_locked(struct fs_session *s) REQUIRES(s->parked.lock)
{
	struct job_slab *slab = calloc(1, sizeof *slab);

	if (!slab)
		return;
	vmofs_list_add(&s->jobs.slabs, &slab->link);
	for (unsigned i = 0; i < JOBS_PER_SLAB; i++) {
		slab->jobs[i].session = s;
		vmofs_list_add(&s->jobs.free, &slab->jobs[i].link);
	}
}

/* But for the session: the handler of an interrupt that came too late may be looking for its lock there. */
static void blank(struct fs_job *j)
{
	memset(&j->req, 0, sizeof *j - offsetof(struct fs_job, req));
	vmofs_list_init(&j->link);
}

static struct fs_job *take_locked(struct fs_session *s) REQUIRES(s->parked.lock)
{
	struct fs_job *j;

	if (vmofs_list_empty(&s->jobs.free))
		grow_locked(s);
	j = vmofs_list_first(&s->jobs.free, struct fs_job, link);
	if (!j)
		return NULL;
	vmofs_list_del(&j->link);
	blank(j);
	job_set_state(j, JOB_HELD);
	return j;
}

struct fs_job *job_take(struct fs_session *s, struct fuse_req *req)
{
	struct fs_job *j;

	if (!fs_ring_begin(s, req))
		return NULL;
	mutex_lock(&s->parked.lock);
	j = take_locked(s);
	mutex_unlock(&s->parked.lock);
	if (!j) {
		fuse_reply_err(req, ENOMEM);
		fs_ring_end(s);
		return NULL;
	}
	j->req = req;
	return j;
}

struct fs_job *job_take_named(struct fs_session *s, struct fuse_req *req, uint64_t parent,
			      const char *name)
{
	struct fs_job *j;

	if (strlen(name) > JOB_NAME_MAX) {
		fuse_reply_err(req, ENAMETOOLONG);
		return NULL;
	}
	j = job_take(s, req);
	if (!j)
		return NULL;
	j->ino = parent;
	strcpy(j->name, name);
	return j;
}

static void give_back_locked(struct fs_session *s, struct fs_job *j) REQUIRES(s->parked.lock)
{
	job_set_state(j, JOB_FREE);
	vmofs_list_add(&s->jobs.free, &j->link);
}

void job_drop(struct fs_job *j)
{
	struct fs_session *s = j->session;

	mutex_lock(&s->parked.lock);
	give_back_locked(s, j);
	mutex_unlock(&s->parked.lock);
	fs_ring_end(s);
}

/* ---- the end of one ---- */

/* It has been answered, or is about to be given up. */
static void end(struct fs_job *j)
{
	struct fs_session *s = j->session;

	free(steal_ptr(&j->data));
	mutex_lock(&s->parked.lock);
	j->armed = NULL;
	give_back_locked(s, j);
	/* Last: the session may be freed once nothing is outstanding. */
	if (--s->parked.n_waiting == 0)
		cond_broadcast(&s->parked.idle);
	mutex_unlock(&s->parked.lock);
}

static void give_up(struct fs_job *j, int code)
{
	struct fs_session *s = j->session;

	if (code == -EINTR)
		count(&s->n_interrupted, 1);
	if (code == -ETIMEDOUT)
		count(&s->n_timed_out, 1);
	if (j->give_up)
		j->give_up(j, code);
	else
		fuse_reply_err(j->req, fs_change_errno(code));
	end(j);
}

bool job_answers(struct fs_job *j)
{
	struct fs_session *s = j->session;
	bool mine;

	mutex_lock(&s->parked.lock);
	mine = !j->answered;
	j->answered = true;
	mutex_unlock(&s->parked.lock);
	return mine;
}

/* ---- threads ---- */

/* Why it is not worth beginning; 0: it is. */
static int late_locked(struct fs_session *s, const struct fs_job *j) REQUIRES(s->parked.lock)
{
	if (j->must)
		return 0;
	if (s->jobs.stopped)
		return -ESHUTDOWN;
	return j->deadline_ns && j->deadline_ns <= loop_now_ns() ? -ETIMEDOUT : 0;
}

static struct job_lane *lane_of(const struct fs_job *j)
{
	return &j->session->jobs.lane[j->lane];
}

static void work(void *arg, void **own UNUSED)
{
	struct job_lane *lane = arg;
	struct fs_session *s = lane->session;
	struct fs_job *j;
	int code = 0;

	mutex_lock(&s->parked.lock);
	j = vmofs_list_first(&lane->queue, struct fs_job, link);
	if (j) {
		vmofs_list_del(&j->link);
		code = late_locked(s, j);
		job_set_state(j, code ? JOB_ENDING : JOB_RUNNING);
		if (!code && !j->detached)
			j->armed = NULL;
	}
	mutex_unlock(&s->parked.lock);
	if (!j)
		return; /* it has been given up */
	if (code) {
		give_up(j, code);
		return;
	}
	j->run(j);
	mutex_lock(&s->parked.lock);
	job_set_state(j, JOB_ENDING);
	mutex_unlock(&s->parked.lock);
	end(j);
}

/* What an interrupt comes to. */
enum job_break { BREAK_NOT, BREAK_QUEUED, BREAK_RUNNING };

static enum job_break break_locked(struct fs_session *s UNUSED, struct fs_job *j)
	REQUIRES(s->parked.lock)
{
	if (j->state == JOB_QUEUED && !j->must) {
		vmofs_list_del(&j->link);
		job_set_state(j, JOB_ENDING);
		j->armed = NULL;
		return BREAK_QUEUED;
	}
	if (j->state == JOB_RUNNING && j->detached && !j->answered) {
		j->answered = true;
		return BREAK_RUNNING;
	}
	return BREAK_NOT;
}

/* libfuse's handler; see pending_interrupted(). */
static void job_interrupted(fuse_req_t req, void *data)
{
	struct fs_job *j = data;
	struct fs_session *s = j->session;
	enum job_break how = BREAK_NOT;

	mutex_lock(&s->parked.lock);
	if (j->armed == req)
		how = break_locked(s, j);
	mutex_unlock(&s->parked.lock);
	if (how == BREAK_QUEUED)
		give_up(j, -EINTR);
	else if (how == BREAK_RUNNING)
		fuse_reply_err(req, EINTR);
}

void job_post(struct fs_job *j)
{
	struct job_lane *lane = lane_of(j);
	struct fs_session *s = j->session;
	fuse_req_t req = j->req;
	uint64_t timeout = s->p.timeout_ns;
	bool stopped;

	/* Before a thread may answer it. An interrupt that has come already finds it held, and is not heard. */
	fuse_req_interrupt_func(req, job_interrupted, j);
	mutex_lock(&s->parked.lock);
	s->parked.n_waiting++;
	stopped = s->jobs.stopped && !j->must;
	j->deadline_ns = timeout ? loop_now_ns() + timeout : 0;
	j->armed = req;
	job_set_state(j, JOB_QUEUED);
	if (stopped)
		job_set_state(j, JOB_ENDING);
	else
		vmofs_list_add_tail(&lane->queue, &j->link);
	mutex_unlock(&s->parked.lock);
	if (stopped)
		give_up(j, -ESHUTDOWN);
	else
		workers_call(lane->workers);
	fs_ring_end(s);
}

/* ---- life ---- */

static struct fs_job *next_given_up_locked(struct fs_session *s, struct job_lane *lane)
	REQUIRES(s->parked.lock)
{
	struct vmofs_list *pos;

	s->jobs.stopped = true;
	vmofs_list_for_each(pos, &lane->queue) {
		struct fs_job *j = vmofs_list_entry(pos, struct fs_job, link);

		if (j->must)
			continue;
		vmofs_list_del(&j->link);
		job_set_state(j, JOB_ENDING);
		return j;
	}
	return NULL;
}

static void stop_lane(struct fs_session *s, struct job_lane *lane)
{
	struct fs_job *j;

	do {
		mutex_lock(&s->parked.lock);
		j = next_given_up_locked(s, lane);
		mutex_unlock(&s->parked.lock);
		if (j)
			give_up(j, -ESHUTDOWN);
	} while (j);
}

void jobs_stop(struct fs_session *s)
{
	for (unsigned i = 0; i < JOB_NLANES; i++)
		stop_lane(s, &s->jobs.lane[i]);
}

int job_set_init(struct job_set *set, struct fs_session *s, bool with_threads)
{
	static const char *const names[] = {
		[JOB_LANE_DO] = "vmofs-change",
		[JOB_LANE_WRITE] = "vmofs-write",
		[JOB_LANE_BACK] = "vmofs-back",
		[JOB_LANE_WAIT] = "vmofs-sync",
	};
	_Static_assert(ARRAY_LEN(names) == JOB_NLANES, "one name per lane");
	int r = 0;

	vmofs_list_init(&set->free);
	vmofs_list_init(&set->slabs);
	for (unsigned i = 0; i < JOB_NLANES; i++) {
		struct job_lane *lane = &set->lane[i];
		const struct workers_params p = {
			.name = names[i],
			.max = JOB_THREADS,
			.work = work,
			.arg = lane,
		};

		lane->session = s;
		vmofs_list_init(&lane->queue);
		if (!r && with_threads)
			r = workers_new(&lane->workers, &p);
	}
	return r;
}

void job_set_release(struct job_set *set)
{
	struct vmofs_list *pos, *tmp;

	for (unsigned i = 0; i < JOB_NLANES; i++)
		workers_free(steal_ptr(&set->lane[i].workers));
	if (!set->slabs.next)
		return;
	vmofs_list_for_each_safe(pos, tmp, &set->slabs)
		free(vmofs_list_entry(pos, struct job_slab, link));
}
