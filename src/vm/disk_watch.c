/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk that neither answers nor fails is asked for goes on to the provider when it has waited too long; then
 * nobody asks that disk any more until what hangs has come back. Its own thread looks, which touches no disk, and sleeps
 * without an alarm while nothing is asked. An answer that comes late all the same is supplied: it is right.
 */
#include <assert.h>
#include <errno.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "vm/disk_tier_private.h"

#define PATIENCE_DEFAULT_NS (2 * NSEC_PER_SEC)
#define REST_MAX_NS         (60 * NSEC_PER_SEC)

static const uint8_t disk_next[] = {
	[DISK_ANSWERS] = BIT(DISK_HANGS),
	[DISK_HANGS] = BIT(DISK_ANSWERS),
};
_Static_assert(ARRAY_LEN(disk_next) == DISK_NSTATES, "one row per state");

/* The only function that writes io->state. */
static void disk_set_state_locked(struct disk_io *io, enum disk_state to) REQUIRES(io->lock)
{
	assert(disk_next[io->state] & BIT(to));
	io->state = to;
	/* Nobody waits for a disk that hangs. */
	cond_broadcast(&io->settled);
}

bool disk_is_away(struct disk_io *io)
{
	uint64_t until = io->rest_until_ns;

	return io->state == DISK_HANGS || (until && loop_now_ns() < until);
}

static void look_at_locked(struct disk_io *io, uint64_t when_ns) REQUIRES(io->lock)
{
	if (when_ns >= io->look_ns)
		return;
	io->look_ns = when_ns;
	workers_call_at(io->watch, when_ns);
}

/* ---- what is asked ---- */

void disk_watch_queued_locked(struct disk_io *io, struct disk_tier *t)
{
	if (!vmofs_list_empty(&t->queued))
		return;
	t->queued_ns = loop_now_ns();
	vmofs_list_add_tail(&io->queued, &t->queued);
	/* Whoever asked just before it was found to hang need not wait as long again. */
	look_at_locked(io, t->queued_ns + (io->state == DISK_HANGS ? 0 : io->patience_ns));
}

static bool has_requests_locked(struct disk_io *io UNUSED, struct disk_tier *t) REQUIRES(io->lock)
{
	bool any = false;

	for (unsigned c = 0; c < VMOFS_NCLASSES; c++)
		any |= !vmofs_list_empty(&t->requests[c]);
	return any;
}

void disk_watch_taken_locked(struct disk_io *io, struct disk_tier *t)
{
	vmofs_list_del(&t->queued);
	if (has_requests_locked(io, t))
		disk_watch_queued_locked(io, t);
}

void disk_watch_cleared_locked(struct disk_io *io, struct disk_tier *t)
{
	if (!has_requests_locked(io, t))
		vmofs_list_del(&t->queued);
}

void disk_watch_begin_locked(struct disk_io *io, struct tier_job *job)
{
	vmofs_list_init(&job->watched);
	io->n_jobs++;
	/* Nobody waits for the other kinds. */
	if (job->work > TIER_WORK_PREFETCH)
		return;
	job->since_ns = loop_now_ns();
	vmofs_list_add_tail(&io->asked, &job->watched);
	look_at_locked(io, job->since_ns + io->patience_ns);
}

/* It comes back: as long as it hung it is left alone. */
static void comes_back_locked(struct disk_io *io) REQUIRES(io->lock)
{
	uint64_t now = loop_now_ns();

	io->rest_until_ns = now + MIN(now - io->hangs_since_ns, REST_MAX_NS);
	disk_set_state_locked(io, DISK_ANSWERS);
}

void disk_watch_end_locked(struct disk_io *io, struct tier_job *job)
{
	vmofs_list_del(&job->watched);
	io->n_jobs--;
	io->n_ended++;
	io->n_late -= job->late;
	/* What hangs may be of a kind that is not watched, and have kept all threads. */
	if (io->state == DISK_HANGS && !io->n_late)
		comes_back_locked(io);
	if (io->ending)
		cond_broadcast(&io->settled);
}

/* ---- looking ---- */

/* The oldest of what is asked since when; UINT64_MAX: nothing is. */
static uint64_t oldest_locked(struct disk_io *io) REQUIRES(io->lock)
{
	struct tier_job *job = vmofs_list_first(&io->asked, struct tier_job, watched);
	struct disk_tier *t = vmofs_list_first(&io->queued, struct disk_tier, queued);
	uint64_t since = job ? job->since_ns : UINT64_MAX;

	return t ? MIN(since, t->queued_ns) : since;
}

/* A VMO that waits for the disk, counted; @size is its. NULL: none is left. */
static struct vmo *next_hung_locked(struct disk_io *io, uint64_t *size) REQUIRES(io->lock)
{
	struct tier_job *job = vmofs_list_first(&io->asked, struct tier_job, watched);
	struct disk_tier *t = vmofs_list_first(&io->queued, struct disk_tier, queued);

	if (job) {
		vmofs_list_del(&job->watched);
		job->late = true;
		io->n_late++;
		*size = job->tier->key.size;
		return vmo_get(job->vmo);
	}
	if (!t)
		return NULL;
	/* Not OFF, or it would not be in the list: the VMO is there. */
	vmofs_list_del(&t->queued);
	*size = t->key.size;
	return vmo_get(t->vmo);
}

/* All that is asked goes on, of every tier. */
static void send_on_all(struct disk_io *io)
{
	struct vmo *v;
	uint64_t size;

	mutex_lock(&io->lock);
	while ((v = next_hung_locked(io, &size))) {
		mutex_unlock(&io->lock);
		vmo_elsewhere(v, 0, size);
		vmo_put(v);
		mutex_lock(&io->lock);
	}
	/* Nothing is out that could come back. */
	if (io->state == DISK_HANGS && !io->n_jobs)
		comes_back_locked(io);
	mutex_unlock(&io->lock);
}

/* Something waits too long. Whether that is news. */
static bool hangs_now_locked(struct disk_io *io, uint64_t now) REQUIRES(io->lock)
{
	if (io->state == DISK_HANGS)
		return false;
	io->hangs_since_ns = now;
	disk_set_state_locked(io, DISK_HANGS);
	atomic_fetch_add(&io->hangs, 1);
	return true;
}

/* Whether something has waited for too long; else the alarm is set for what waits. */
static bool is_late_locked(struct disk_io *io, uint64_t now) REQUIRES(io->lock)
{
	uint64_t since = oldest_locked(io);

	io->look_ns = UINT64_MAX;
	if (since == UINT64_MAX)
		return false;
	if (since + io->patience_ns <= now)
		return true;
	if (io->state == DISK_HANGS && !vmofs_list_empty(&io->queued))
		return true;
	look_at_locked(io, since + io->patience_ns);
	return false;
}

static void disk_watch_look(void *arg, void **own UNUSED)
{
	struct disk_io *io = arg;
	uint64_t now = loop_now_ns();
	bool late, news;

	mutex_lock(&io->lock);
	late = is_late_locked(io, now);
	news = late && hangs_now_locked(io, now);
	mutex_unlock(&io->lock);
	if (news)
		log_warn("the disk cache has not answered for %llu ms; until it does, reads go "
			 "to the origin",
			 (unsigned long long)(io->patience_ns / NSEC_PER_MSEC));
	if (late)
		send_on_all(io);
}

/* ---- life ---- */

int disk_watch_init(struct disk_io *io, uint64_t patience_ns)
{
	const struct workers_params p = {
		.name = "vmofs-watch",
		.max = 1,
		.work = disk_watch_look,
		.arg = io,
	};

	vmofs_list_init(&io->asked);
	vmofs_list_init(&io->queued);
	io->patience_ns = patience_ns ? patience_ns : PATIENCE_DEFAULT_NS;
	io->look_ns = UINT64_MAX;
	return workers_new(&io->watch, &p);
}

int disk_watch_wait_locked(struct disk_io *io)
{
	io->ending = true;
	while (io->n_tiers) {
		uint64_t ended = io->n_ended;
		/* Closing may write what the disk has to confirm, which takes longer. */
		uint64_t halves = io->state == DISK_HANGS ? 1 : 5;
		uint64_t until = loop_now_ns() + halves * io->patience_ns / 2;

		while (io->n_tiers && io->n_ended == ended)
			if (!cond_wait_until(&io->settled, &io->lock, until))
				break;
		if (io->n_tiers && io->n_ended == ended)
			return -ETIMEDOUT;
	}
	return 0;
}
