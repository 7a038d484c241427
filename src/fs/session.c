/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a mount: libfuse's session, the handshake, the watches on the loops, the clock of
 * deadlines, the end. The requests themselves are in ops.c and read.c.
 */
#include "fs/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/mountinfo.h"
#include "fs/object.h"
#include "fs/session_private.h"

enum {
	REQUESTS_PER_TURN = 8, /* then the loop's sockets get their turn */
	GREETING_MS = 10000,
};
#define CLOCK_TICK_MIN (10 * NSEC_PER_MSEC)
#define CLOCK_TICK_MAX (500 * NSEC_PER_MSEC)

/* What libfuse said last on this thread; errors of set-up carry it. */
static _Thread_local char fuse_said[256];

static void session_fuse_log(enum fuse_log_level level UNUSED, const char *fmt, va_list ap)
{
	vsnprintf(fuse_said, sizeof fuse_said, fmt, ap);
	fuse_said[strcspn(fuse_said, "\n")] = '\0';
	log_debug("%s", fuse_said);
}

static const char *session_reason(void)
{
	return fuse_said[0] ? fuse_said : "libfuse gives no reason";
}

/* ---- set-up ---- */

/* Commas would end the option, so they are written as in a URL. */
static void write_fsname(FILE *out, const char *name)
{
	for (; *name; name++)
		if (strchr(",\\ \t\n", *name))
			fprintf(out, "%%%02X", (unsigned char)*name);
		else
			fputc(*name, out);
}

static char *session_mount_opts(const struct fs_session_params *p)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fputs(p->local ? "rw" : "ro", out);
	fputs(",noatime,default_permissions,subtype=vmofs,fsname=", out);
	write_fsname(out, p->fsname);
	if (*p->mount_opts)
		fprintf(out, ",%s", p->mount_opts);
	if (uring_is_wanted(p->io_uring))
		fprintf(out, ",io_uring,io_uring_q_depth=%d", URING_DEPTH);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

static int session_new_fuse(struct fs_session *s, struct vmofs_err *err)
{
	cleanup(mem_freep) char *opts = session_mount_opts(&s->p);
	char *argv[] = { "vmofs", "-o", opts, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(ARRAY_LEN(argv) - 1, argv);
	struct fuse_lowlevel_ops ops = fs_ops;

	if (!opts)
		return vmofs_err_set(err, -ENOMEM, "no memory for the mount options");
	if (s->p.local) {
		fs_ops_add_write(&ops);
		fs_ops_add_names(&ops);
		fs_ops_add_xattrs(&ops);
	}
	fuse_set_log_func(session_fuse_log);
	fuse_said[0] = '\0';
	s->fuse = fuse_session_new(&args, &ops, sizeof ops, s);
	fuse_opt_free_args(&args);
	if (!s->fuse)
		return vmofs_err_set(err, -EINVAL, "cannot make a FUSE session: %s",
				     session_reason());
	return 0;
}

static int session_find_device(struct fs_session *s, struct vmofs_err *err)
{
	cleanup(mem_freep) struct mountinfo *m = malloc(sizeof *m);
	int r = m ? mountinfo_find(s->p.mountpoint, "fuse.vmofs", m) : -ENOMEM;

	if (r < 0 || strcmp(m->mountpoint, s->p.mountpoint))
		return vmofs_err_set(err, r < 0 ? r : -ENOENT,
				     "the mount at '%s' is not in /proc/self/mountinfo",
				     s->p.mountpoint);
	s->major = m->major;
	s->minor = m->minor;
	return 0;
}

static int session_mount(struct fs_session *s, struct vmofs_err *err)
{
	int flags;

	if (fuse_session_mount(s->fuse, s->p.mountpoint))
		return vmofs_err_set(err, -EPERM, "cannot mount at '%s': %s", s->p.mountpoint,
				     session_reason());
	s->mounted = true;
	s->device = fuse_session_fd(s->fuse);
	flags = fcntl(fuse_session_fd(s->fuse), F_GETFL);
	if (flags < 0 || fcntl(fuse_session_fd(s->fuse), F_SETFL, flags | O_NONBLOCK) < 0)
		return vmofs_err_set(err, -errno, "cannot set up the FUSE device");
	return session_find_device(s, err);
}

/* Answers INIT here, so that what depends on it can follow and the mount is usable at once. */
static int session_greet(struct fs_session *s, struct vmofs_err *err)
{
	struct fuse_buf *buf = &s->per_loop[0].buf;
	struct pollfd pfd = { .fd = fuse_session_fd(s->fuse), .events = POLLIN };

	while (!s->greeted) {
		int r = poll(&pfd, 1, GREETING_MS);

		if (r == 0)
			return vmofs_err_set(err, -ETIMEDOUT, "the kernel does not answer");
		r = fuse_session_receive_buf(s->fuse, buf);
		if (r == -EINTR || r == -EAGAIN)
			continue;
		if (r <= 0)
			return vmofs_err_set(err, -EIO, "cannot talk to the kernel: %s",
					     r < 0 ? strerror(-r) : "the mount has gone");
		fuse_session_process_buf(s->fuse, buf);
		if (fuse_session_exited(s->fuse))
			return vmofs_err_set(err, -EPROTO, "the kernel's FUSE does not fit: %s",
					     session_reason());
	}
	return 0;
}

/* After INIT, which sets the kernel's default of 128 KiB. Only root may; others do without. */
static void session_set_readahead(const struct fs_session *s)
{
	char path[64];
	FILE *f;
	int r;

	if (!s->p.kernel_readahead)
		return;
	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", s->major, s->minor);
	f = fopen(path, "we");
	if (!f) {
		log_debug("cannot write '%s': %s", path, strerror(errno));
		return;
	}
	r = fprintf(f, "%llu\n", (unsigned long long)(s->p.kernel_readahead >> 10));
	if (fclose(f) || r < 0)
		log_debug("the kernel does not take the read-ahead: %s", strerror(errno));
}

/* ---- the clock of deadlines, on loop 0 ---- */

static void expire_object(void *arg, struct fs_object *o)
{
	(void)vmo_expire(o->vmo, *(uint64_t *)arg);
}

static uint64_t clock_tick(const struct fs_session *s)
{
	return MAX(CLOCK_TICK_MIN, MIN(CLOCK_TICK_MAX, s->p.timeout_ns / 20));
}

static void clock_set(struct fs_session *s, struct loop *l)
{
	loop_timer_set(l, &s->parked.clock, loop_now_ns() + clock_tick(s));
}

static void clock_arm(struct loop_task *t, struct loop *l)
{
	struct fs_session *s = container_of(t, struct fs_session, parked.arm);
	bool stopped;

	mutex_lock(&s->parked.lock);
	stopped = s->parked.stopped;
	mutex_unlock(&s->parked.lock);
	if (!stopped)
		clock_set(s, l);
}

/* Stands still while nothing waits, so an idle mount wakes nobody. */
static bool clock_goes_on(struct parked_set *set) EXCLUDES(set->lock)
{
	bool on;

	mutex_lock(&set->lock);
	on = set->n_waiting > 0 && !set->stopped;
	set->ticking = on;
	mutex_unlock(&set->lock);
	return on;
}

static void clock_fire(struct loop_timer *t, struct loop *l)
{
	struct fs_session *s = container_of(t, struct fs_session, parked.clock);
	uint64_t now = loop_now_ns();

	if (!clock_goes_on(&s->parked))
		return;
	s->p.tree->ops->each_object(s->p.tree, expire_object, &now);
	pending_expire(s, now);
	clock_set(s, l);
}

/* ---- requests ---- */

static void session_unwatch(void *arg, struct loop *l)
{
	struct fs_session *s = arg;
	struct session_loop *sl = &s->per_loop[loop_index(l)];

	if (sl->watching)
		loop_watch_del(l, &sl->watch);
	sl->watching = false;
}

static void session_end(struct fs_session *s, struct loop *l)
{
	session_unwatch(s, l);
	if (!atomic_exchange(&s->ended, true))
		s->p.ended(s->p.arg);
}

static void session_ready(struct loop_watch *w, struct loop *l, uint32_t events UNUSED)
{
	struct session_loop *sl = container_of(w, struct session_loop, watch);
	struct fs_session *s = sl->session;

	for (unsigned i = 0; i < REQUESTS_PER_TURN; i++) {
		int r = fuse_session_receive_buf(s->fuse, &sl->buf);

		if (r == -EINTR)
			continue;
		if (r <= 0)
			break;
		count(&s->n_requests, 1);
		fuse_session_process_buf(s->fuse, &sl->buf);
	}
	if (fuse_session_exited(s->fuse))
		session_end(s, l);
}

/* ---- life ---- */

static int session_new_loops(struct fs_session *s, struct vmofs_err *err)
{
	s->n_loops = loop_pool_size(s->p.loops);
	s->per_loop = calloc(s->n_loops, sizeof *s->per_loop);
	if (!s->per_loop || parked_set_init(&s->parked, s, s->n_loops) < 0)
		return vmofs_err_set(err, -ENOMEM, "no memory for the mount");
	pending_set_init(&s->pending);
	siblings_init(&s->siblings, s->p.siblings_max);
	passthrough_init(&s->pass, &passthrough_kernel, &s->device);
	s->parked.clock.fire = clock_fire;
	s->parked.arm.run = clock_arm;
	for (unsigned i = 0; i < s->n_loops; i++)
		s->per_loop[i].session = s;
	if (job_set_init(&s->jobs, s, s->p.local) < 0)
		return vmofs_err_set(err, -ENOMEM, "no memory for the mount");
	return 0;
}

/* For the tree, which calls it from a thread of its own. */
static void session_tell_entry(void *arg, uint64_t parent, const char *name, size_t len)
{
	struct fs_session *s = arg;
	int r = fuse_lowlevel_notify_inval_entry(s->fuse, parent, name, len);

	if (r < 0 && r != -ENOENT)
		log_debug("the kernel does not drop '%s': %s", name, strerror(-r));
}

int fs_session_new(struct fs_session **out, const struct fs_session_params *p,
		   struct vmofs_err *err)
{
	struct fs_session *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return vmofs_err_set(err, -ENOMEM, "no memory for the mount");
	s->p = *p;
	r = session_new_loops(s, err);
	if (!r)
		r = session_new_fuse(s, err);
	if (!r)
		r = session_mount(s, err);
	if (!r)
		r = session_greet(s, err);
	if (r < 0) {
		fs_session_free(s);
		return r;
	}
	session_set_readahead(s);
	s->p.tree->ops->set_notify(s->p.tree, &(struct fs_tree_notify){ session_tell_entry, s });
	*out = s;
	return 0;
}

struct watch_call {
	struct fs_session *s;
	int r;
};

static void session_watch(void *arg, struct loop *l)
{
	struct watch_call *c = arg;
	struct session_loop *sl = &c->s->per_loop[loop_index(l)];

	sl->watch = (struct loop_watch){
		.fd = fuse_session_fd(c->s->fuse),
		.events = EPOLLIN | EPOLLEXCLUSIVE,
		.ready = session_ready,
	};
	c->r = loop_watch_add(l, &sl->watch);
	sl->watching = !c->r;
}

int fs_session_start(struct fs_session *s, struct vmofs_err *err)
{
	for (unsigned i = 0; i < s->n_loops; i++) {
		struct watch_call c = { .s = s };

		loop_call(loop_pool_nth(s->p.loops, i), session_watch, &c);
		if (c.r < 0)
			return vmofs_err_set(err, c.r, "cannot watch the FUSE device: %s",
					     strerror(-c.r));
	}
	return 0;
}

static void session_stop_clock(void *arg, struct loop *l)
{
	struct fs_session *s = arg;

	loop_timer_del(l, &s->parked.clock);
}

void fs_session_stop(struct fs_session *s)
{
	mutex_lock(&s->parked.lock);
	s->parked.stopped = true;
	mutex_unlock(&s->parked.lock);
	for (unsigned i = 0; i < s->n_loops; i++)
		loop_call(loop_pool_nth(s->p.loops, i), session_unwatch, s);
	/* Last: a loop that parked a read just now has posted the start of the clock before. */
	loop_call(loop_pool_nth(s->p.loops, 0), session_stop_clock, s);
	pending_stop(s);
	jobs_stop(s);
}

static void session_wait_idle(struct parked_set *set) EXCLUDES(set->lock)
{
	mutex_lock(&set->lock);
	while (set->n_waiting)
		cond_wait(&set->idle, &set->lock);
	mutex_unlock(&set->lock);
}

/* Requests of rings are refused from now on; those that are just being looked at have been when it returns. */
static void session_close_rings(struct fs_session *s)
{
	static const struct timespec moment = { .tv_nsec = 1000 * 1000 };

	atomic_store(&s->closing, true);
	while (atomic_load(&s->n_on_rings))
		nanosleep(&moment, NULL);
}

bool fs_ring_begin(struct fs_session *s, fuse_req_t req)
{
	if (!uring_on_ring())
		return true;
	atomic_fetch_add(&s->n_on_rings, 1);
	if (!atomic_load(&s->closing))
		return true;
	fuse_reply_err(req, ENOTCONN);
	atomic_fetch_sub(&s->n_on_rings, 1);
	return false;
}

void fs_ring_end(struct fs_session *s)
{
	if (uring_on_ring())
		atomic_fetch_sub(&s->n_on_rings, 1);
}

static void session_free_loops(struct fs_session *s)
{
	for (unsigned i = 0; s->per_loop && i < s->n_loops; i++)
		free(s->per_loop[i].buf.mem);
	free(s->per_loop);
	if (!s->parked.local)
		return;
	job_set_release(&s->jobs);
	parked_set_release(&s->parked);
	pending_set_release(&s->pending);
	siblings_release(&s->siblings);
	passthrough_release(&s->pass);
}

void fs_session_free(struct fs_session *s)
{
	if (!s)
		return;
	session_close_rings(s);
	if (s->parked.local)
		session_wait_idle(&s->parked);
	if (s->mounted)
		uring_stop(s->fuse);
	if (s->mounted)
		s->p.tree->ops->set_notify(s->p.tree, NULL);
	if (s->mounted)
		fuse_session_unmount(s->fuse);
	if (s->fuse)
		fuse_session_destroy(s->fuse);
	session_free_loops(s);
	free(s);
}

/* ---- looking ---- */

void fs_session_device(const struct fs_session *s, unsigned *major, unsigned *minor)
{
	*major = s->major;
	*minor = s->minor;
}

void fs_session_stats(struct fs_session *s, struct fs_stats *out)
{
	*out = (struct fs_stats){
		.requests = s->n_requests,
		.reads = s->n_reads,
		.hits = s->n_hits,
		.misses = s->n_misses,
		.bytes_asked = s->n_bytes_asked,
		.writes = s->n_writes,
		.bytes_written = s->n_bytes_written,
		.errors = s->n_errors,
		.interrupted = s->n_interrupted,
		.timed_out = s->n_timed_out,
		.passthrough = s->pass.n_opens,
	};
	hist_copy(&s->latency, out->latency);
	mutex_lock(&s->parked.lock);
	out->outstanding = s->parked.n_waiting;
	mutex_unlock(&s->parked.lock);
}

int fs_session_drop_cache(struct fs_session *s, struct fs_object *o, uint64_t off, uint64_t len)
{
	return fuse_lowlevel_notify_inval_inode(s->fuse, o->ino, (off_t)off, (off_t)len);
}

const char *fs_libfuse_version(void)
{
	return fuse_pkgversion();
}
