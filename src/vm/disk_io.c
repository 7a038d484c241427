/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads of a mount that read and write the disk cache: which work they do next. Demand overtakes prefetch, both overtake
 * writing; of each kind only so many run at once, so that a slow disk under writing leaves threads to readers. Tiers
 * take turns. Everything here runs on those threads, or in a set-up path.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/loop.h"
#include "base/macros.h"
#include "vm/disk_tier_private.h"

enum { THREADS_DEFAULT = 16 };

void disk_io_queue_locked(struct disk_io *io, struct disk_tier *t, enum tier_work work)
{
	if (vmofs_list_empty(&t->turn[work]))
		vmofs_list_add_tail(&io->turns[work], &t->turn[work]);
	/* Else those who are at it look again before they rest. */
	if (io->running[work] < io->limit[work])
		workers_call(io->workers);
}

void disk_io_watch_locked(struct disk_io *io, struct disk_tier *t, uint64_t when_ns)
{
	if (vmofs_list_empty(&t->watched))
		vmofs_list_add_tail(&io->watched, &t->watched);
	workers_call_at(io->workers, when_ns);
}

/* ---- choosing ---- */

/* After a piece of it has been taken: the others' turn. */
static void next_turn_locked(struct disk_io *io, struct disk_tier *t, enum tier_work work,
			     bool more) REQUIRES(io->lock)
{
	vmofs_list_del(&t->turn[work]);
	if (more)
		vmofs_list_add_tail(&io->turns[work], &t->turn[work]);
}

static void take_locked(struct disk_io *io, struct disk_tier *t, struct tier_job *job)
	REQUIRES(io->lock)
{
	bool more = false;

	switch (job->work) {
	case TIER_WORK_DEMAND:
		disk_tier_next_piece_locked(io, t, VMOFS_CLASS_DEMAND, job);
		more = !vmofs_list_empty(&t->requests[VMOFS_CLASS_DEMAND]);
		break;
	case TIER_WORK_PREFETCH:
		disk_tier_next_piece_locked(io, t, VMOFS_CLASS_PREFETCH, job);
		more = !vmofs_list_empty(&t->requests[VMOFS_CLASS_PREFETCH]);
		break;
	case TIER_WORK_WRITE:
		disk_tier_next_segment_locked(io, t, job);
		more = !vmofs_list_empty(&t->ripe);
		break;
	default:
		break;
	}
	next_turn_locked(io, t, job->work, more);
	job->tier = t;
	/* These are of tiers that are OFF, and have a reference already. */
	if (job->work == TIER_WORK_DISCARD || job->work == TIER_WORK_CLOSE)
		return;
	/* Not OFF, or it would not be in the queues: the VMO is there. */
	t->n_jobs++;
	disk_tier_ref(t);
	job->vmo = vmo_get(t->vmo);
}

/* The most urgent piece of work for which there is a thread left. */
static bool pick_locked(struct disk_io *io, struct tier_job *job) REQUIRES(io->lock)
{
	for (unsigned w = 0; w < TIER_NWORKS; w++) {
		struct disk_tier *t = vmofs_list_first(&io->turns[w], struct disk_tier, turn[w]);

		if (!t || io->running[w] >= io->limit[w])
			continue;
		*job = (struct tier_job){ .work = w };
		take_locked(io, t, job);
		io->running[w]++;
		disk_watch_begin_locked(io, job);
		return true;
	}
	return false;
}

/* What has waited long enough becomes work, and the alarm is set for the rest. */
static void watch_locked(struct disk_io *io) REQUIRES(io->lock)
{
	uint64_t now = loop_now_ns();
	uint64_t next = UINT64_MAX;
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, &io->watched) {
		struct disk_tier *t = vmofs_list_entry(pos, struct disk_tier, watched);
		uint64_t at = disk_tier_ripen_locked(io, t, now);

		if (at == UINT64_MAX)
			vmofs_list_del(&t->watched);
		next = MIN(next, at);
	}
	if (next != UINT64_MAX)
		workers_call_at(io->workers, next);
}

/* ---- working ---- */

static void serve(const struct tier_job *job, void **own)
{
	if (!*own)
		*own = malloc(page_bytes(TIER_PIECE_PAGES));
	if (*own)
		disk_tier_serve(job->tier, job->vmo, job->first, job->end, *own);
	else
		vmo_elsewhere(job->vmo, page_bytes(job->first), page_bytes(job->end - job->first));
}

static void work(const struct tier_job *job, void **own)
{
	switch (job->work) {
	case TIER_WORK_OPEN:
		disk_tier_open(job->tier, job->vmo);
		break;
	case TIER_WORK_DEMAND:
	case TIER_WORK_PREFETCH:
		serve(job, own);
		break;
	case TIER_WORK_WRITE:
		disk_tier_write(job->tier, job);
		break;
	case TIER_WORK_FLUSH:
		disk_tier_flush(job->tier);
		break;
	case TIER_WORK_DISCARD:
		disk_tier_discard(job->tier);
		break;
	case TIER_WORK_VERIFY:
		disk_tier_verify(job->tier);
		break;
	default:
		break;
	}
}

static void leave_tier(struct disk_io *io, struct tier_job *job)
{
	if (job->work == TIER_WORK_DISCARD)
		return;
	mutex_lock(&io->lock);
	disk_tier_job_ended_locked(io, job->tier);
	mutex_unlock(&io->lock);
}

/* What was taken for it is given back; for CLOSE that is the tier itself. */
static void end_job(struct disk_io *io, struct tier_job *job)
{
	if (job->work == TIER_WORK_CLOSE) {
		disk_tier_destroy(job->tier);
	} else {
		leave_tier(io, job);
		vmo_put(job->vmo);
		disk_tier_put(job->tier);
	}
	mutex_lock(&io->lock);
	io->running[job->work]--;
	disk_watch_end_locked(io, job);
	if (job->work == TIER_WORK_CLOSE) {
		io->n_tiers--;
		cond_broadcast(&io->settled);
	}
	mutex_unlock(&io->lock);
}

/* Works until there is nothing left that may be done now. */
static void disk_io_work(void *arg, void **own)
{
	struct disk_io *io = arg;
	struct tier_job job;
	bool found;

	mutex_lock(&io->lock);
	watch_locked(io);
	found = pick_locked(io, &job);
	mutex_unlock(&io->lock);
	while (found) {
		work(&job, own);
		end_job(io, &job);
		mutex_lock(&io->lock);
		found = pick_locked(io, &job);
		mutex_unlock(&io->lock);
	}
}

/* ---- life ---- */

static void set_limits(struct disk_io *io, unsigned threads)
{
	const unsigned some = MAX(threads / 4, 1u);

	for (unsigned w = 0; w < TIER_NWORKS; w++)
		io->limit[w] = threads;
	io->limit[TIER_WORK_PREFETCH] = MAX(threads - some, 1u);
	io->limit[TIER_WORK_WRITE] = some;
	io->limit[TIER_WORK_FLUSH] = some;
	io->limit[TIER_WORK_DISCARD] = some;
	io->limit[TIER_WORK_CLOSE] = some;
	io->limit[TIER_WORK_VERIFY] = 1;
}

int disk_io_new(struct disk_io **out, const struct disk_io_params *p)
{
	struct disk_io *io = calloc(1, sizeof *io);
	const struct workers_params wp = {
		.name = "vmofs-disk",
		.max = p->threads ? p->threads : THREADS_DEFAULT,
		.work = disk_io_work,
		.arg = io,
	};
	int r;

	if (!io)
		return -ENOMEM;
	io->cache = p->cache;
	io->spared_max = page_floor(p->backlog);
	set_limits(io, wp.max);
	mutex_init(&io->lock, LOCK_RANK_TIER);
	cond_init(&io->settled);
	vmofs_list_init(&io->watched);
	for (unsigned w = 0; w < TIER_NWORKS; w++)
		vmofs_list_init(&io->turns[w]);
	r = disk_watch_init(io, p->patience_ns);
	if (!r)
		r = workers_new(&io->workers, &wp);
	if (r < 0) {
		disk_io_free(io);
		return r;
	}
	*out = io;
	return 0;
}

int disk_io_free(struct disk_io *io)
{
	int r;

	if (!io)
		return 0;
	mutex_lock(&io->lock);
	r = disk_watch_wait_locked(io);
	mutex_unlock(&io->lock);
	if (r < 0)
		return r;
	workers_free(io->workers);
	workers_free(io->watch);
	cond_destroy(&io->settled);
	mutex_destroy(&io->lock);
	free(io);
	return 0;
}

uint64_t disk_io_drain(struct disk_io *io, uint64_t deadline_ns)
{
	uint64_t left;

	mutex_lock(&io->lock);
	io->hurry++;
	workers_call(io->workers);
	while (io->waiting && io->state != DISK_HANGS &&
	       cond_wait_until(&io->settled, &io->lock, deadline_ns))
		;
	io->hurry--;
	left = io->waiting;
	io->drained |= left > 0;
	cond_broadcast(&io->settled);
	mutex_unlock(&io->lock);
	return page_bytes(left);
}

bool disk_io_first_refusal(struct disk_io *io)
{
	return !atomic_exchange(&io->refused, true);
}

void disk_io_stats(struct disk_io *io, struct disk_tier_stats *out)
{
	*out = (struct disk_tier_stats){
		.hits = io->hits,
		.misses = io->misses,
		.written = io->written,
		.skipped = io->skipped,
		.hangs = io->hangs,
	};
	mutex_lock(&io->lock);
	out->backlog = page_bytes(io->waiting);
	mutex_unlock(&io->lock);
}
