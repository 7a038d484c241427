/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of things: what is set up last is taken down first, with one exception: the source and the
 * pages end while the kernel's requests are still served, with errors by then, because commands and
 * the tree's thread may be waiting in the kernel for an answer; the kernel's connection ends after the last
 * one. Runs on the main thread of the daemon, which otherwise only waits for a signal or the end.
 */
#include "daemon/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "daemon/command_write.h"
#include "daemon/control.h"
#include "daemon/mount_private.h"
#include "daemon/ready.h"
#include "daemon/unmount.h"

enum { THREADS_MIN = 1, THREADS_MAX = 4, THREADS_LIMIT = 12, AGE_MS = 5000 };

/* ---- set-up ---- */

static void limit_malloc(void)
{
	/* An arena a thread would cost more memory than all of our state. */
	mallopt(M_ARENA_MAX, 2);
}

/*
 * From here on signals come through a descriptor; before, with nothing mounted yet, they just end the
 * process, or a server that does not answer could not be escaped. The loops have them blocked.
 */
static int mount_take_signals(struct mount *m, struct vmofs_err *err)
{
	sigset_t set;

	ready_outlive_parent();
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	m->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->signal_fd < 0 || m->ended_fd < 0)
		return vmofs_err_set(err, -errno, "cannot take signals: %s", strerror(errno));
	return 0;
}

static int mount_start_loops(struct mount *m, struct vmofs_err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t n;
	int r = config_u64(m->p.config, "threads", &n, err);

	if (r < 0)
		return r;
	if (!n)
		/* The other half is for those who read, and for a server on the same machine. */
		n = MAX((uint64_t)THREADS_MIN,
			MIN((uint64_t)THREADS_MAX, (uint64_t)MAX(cpus, 1L) / 2));
	if (n > THREADS_LIMIT)
		return vmofs_err_set(err, -EINVAL, "option 'threads': at most %d", THREADS_LIMIT);
	m->loops = loop_pool_new((unsigned)n, err);
	return m->loops ? loop_pool_start(m->loops, err) : err->code;
}

static int mount_make_pool(struct mount *m, struct vmofs_err *err)
{
	uint64_t limit = vm_pool_default_limit();

	if (config_is_set(m->p.config, "memory") &&
	    config_size(m->p.config, "memory", &limit, err) < 0)
		return err->code;
	if (limit < VM_POOL_MIN)
		return vmofs_err_set(err, -EINVAL, "option 'memory': at least %lluM are needed",
				     (unsigned long long)(VM_POOL_MIN >> 20));
	return vm_pool_new(&m->pool, limit, err);
}

static void mount_ended(void *arg)
{
	struct mount *m = arg;
	uint64_t one = 1;

	if (write(m->ended_fd, &one, sizeof one) < 0)
		log_error("cannot tell the main thread of the end: %s", strerror(errno));
}

static int read_uring(const struct vmofs_config *c, enum fs_choice *out, struct vmofs_err *err)
{
	static const char *const words[] = {
		[FS_AUTO] = "auto",
		[FS_YES] = "yes",
		[FS_NO] = "no",
		NULL,
	};
	int choice = config_choice(c, "io-uring", words, err);

	if (choice < 0)
		return choice;
	*out = (enum fs_choice)choice;
	return 0;
}

/* How many requests the kernel sends at once, and when it begins to hold back. */
static int read_depths(const struct vmofs_config *c, struct fs_session_params *sp,
		       struct vmofs_err *err)
{
	uint64_t background, congestion;

	if (config_u64(c, "max-background", &background, err) ||
	    config_u64(c, "congestion", &congestion, err))
		return err->code;
	if (background < 1 || background > UINT16_MAX)
		return vmofs_err_set(err, -EINVAL, "option 'max-background': from 1 to 65535");
	if (config_is_set(c, "congestion") && (congestion < 1 || congestion > background))
		return vmofs_err_set(err, -EINVAL,
				     "option 'congestion': from 1 to max-background, which is %llu",
				     (unsigned long long)background);
	sp->max_background = (unsigned)background;
	sp->congestion = (unsigned)congestion;
	return 0;
}

static int mount_session_params(struct mount *m, struct fs_session_params *sp,
				struct vmofs_err *err)
{
	const struct vmofs_config *c = m->p.config;
	struct vm_pool_stats st;

	if (config_time(c, "timeout", &sp->timeout_ns, err) ||
	    config_size(c, "readahead", &sp->kernel_readahead, err) ||
	    config_size(c, "max-request", &sp->max_request, err) ||
	    config_size(c, "siblings-max", &sp->siblings_max, err) || read_depths(c, sp, err) ||
	    read_uring(c, &sp->io_uring, err))
		return err->code;
	if (sp->max_request < VMOFS_PAGE_SIZE)
		return vmofs_err_set(err, -EINVAL, "option 'max-request': at least 4K");
	vm_pool_stats(m->pool, &st);
	sp->siblings_max = MIN(sp->siblings_max, st.limit / 8);
	sp->async_dio = config_bool(c, "async-dio");
	sp->xattrs = config_is_set(c, "xattrs") ? config_bool(c, "xattrs") : !m->source;
	sp->local = m->write.local;
	sp->exact_dirty = config_bool(c, "exact-dirty");
	/* The kernel would go on reading the cache's file after the first write. */
	sp->passthrough = m->disk && !sp->local && config_bool(c, "passthrough");
	return 0;
}

/* libfuse sets nodev and nosuid unless told otherwise. */
static void mount_write_opts(const struct vmofs_config *c, char *out, size_t len)
{
	snprintf(out, len, "%s,%s,%s%s", config_bool(c, "dev") ? "dev" : "nodev",
		 config_bool(c, "suid") ? "suid" : "nosuid",
		 config_bool(c, "noexec") ? "noexec" : "exec",
		 config_bool(c, "allow-other") ? ",allow_other" : "");
}

static int mount_make_session(struct mount *m, struct vmofs_err *err)
{
	char opts[128];
	struct fs_session_params sp = {
		.loops = m->loops,
		.tree = m->tree,
		.fsname = m->url,
		.mountpoint = m->p.mountpoint,
		.mount_opts = opts,
		.ended = mount_ended,
		.arg = m,
	};
	int r = mount_session_params(m, &sp, err);

	mount_write_opts(m->p.config, opts, sizeof opts);
	if (!r)
		r = fs_session_new(&m->session, &sp, err);
	return r ? r : fs_session_start(m->session, err);
}

/* Without a control socket the mount works, and the commands do not: a warning, no failure. */
static void mount_make_control(struct mount *m)
{
	struct vmofs_err err = VMOFS_ERR_INIT;

	if (control_new(&m->control, m, &err) < 0)
		log_warn("%s; stat, prefetch and the other commands will not work", err.msg);
}

static int mount_set_up(struct mount *m, struct vmofs_err *err)
{
	static int (*const steps[])(struct mount * m, struct vmofs_err * err) = {
		mount_check_mountpoint, mount_make_pool,     mount_open_cache,   mount_start_loops,
		mount_open_source,      mount_write_recover, mount_take_signals, mount_make_session,
	};
	int r = unmount_if_dead(m->p.mountpoint, err);

	for (size_t i = 0; !r && i < ARRAY_LEN(steps); i++)
		r = steps[i](m, err);
	if (!r)
		mount_make_control(m);
	return r;
}

/* ---- the end ---- */

static void mount_take_down(struct mount *m, enum mount_end how)
{
	mount_write_finish(m, how);
	if (m->control)
		control_stop(m->control);
	mount_stop_source(m);
	mount_close_objects(m);
	/* A command may be telling the kernel, which waits for a page that only an answer lets go. */
	if (m->control)
		control_wait(m->control);
	if (m->session)
		fs_session_stop(m->session);
	fs_session_free(m->session);
	control_free(m->control);
	pin_set_release(&m->pins);
	mount_free_source(m);
	mount_free_cache(m);
	if (m->loops) {
		loop_pool_stop(m->loops);
		loop_pool_free(m->loops);
	}
	if (m->cow_pool)
		vm_pool_free(m->cow_pool);
	if (m->pool)
		vm_pool_free(m->pool);
	fd_closep(&m->signal_fd);
	fd_closep(&m->ended_fd);
}

/* ---- between ---- */

static int open_log_file(const char *path, struct vmofs_err *err)
{
	cleanup(fd_closep) int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		return vmofs_err_set(err, -errno, "cannot open the log '%s': %s", path,
				     strerror(errno));
	return 0;
}

static int leave_terminal(const char *log_file, struct vmofs_err *err)
{
	cleanup(fd_closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || chdir("/") < 0)
		return vmofs_err_set(err, -errno, "cannot leave the terminal: %s", strerror(errno));
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (!log_file) {
		log_use_syslog("vmofs");
		dup2(null, STDERR_FILENO);
	}
	return 0;
}

/* Where the log goes from now on. Errors before this point went to the terminal. */
static int mount_settle(struct mount *m, struct vmofs_err *err)
{
	const char *log_file = config_str(m->p.config, "log-file");
	int r = log_file ? open_log_file(log_file, err) : 0;

	if (!r && !m->p.foreground)
		r = leave_terminal(log_file, err);
	if (r < 0)
		return r;
	log_info("'%s' is mounted at '%s'%s", m->url, m->p.mountpoint,
		 m->write.local ? ", files can be changed" : "");
	if (m->cow_dir)
		log_info("what is changed is kept in '%s', the source is only read", m->cow_dir);
	if (m->write.local && m->disk && config_bool(m->p.config, "passthrough"))
		log_info("passthrough is off, because files can be changed");
	mount_write_log_recovered(m);
	return 0;
}

/*
 * Time passes for the pages only while somebody reads. When the kernel has stopped asking for anything,
 * memory that waits for the next requests goes back to the system, once.
 */
static void mount_age(struct mount *m, struct fs_stats *seen)
{
	struct fs_stats st;

	fs_session_stats(m->session, &st);
	if (st.reads != seen->reads)
		vm_pool_age(m->pool);
	if (st.requests == seen->requests && !m->trimmed) {
		if (m->cache)
			object_cache_trim(m->cache);
		vm_pool_cool(m->pool);
		malloc_trim(0);
	}
	m->trimmed = st.requests == seen->requests;
	*seen = st;
}

static enum mount_end mount_serve(struct mount *m)
{
	struct pollfd fds[] = {
		{ .fd = m->signal_fd, .events = POLLIN },
		{ .fd = m->ended_fd, .events = POLLIN },
	};
	struct signalfd_siginfo si;
	struct fs_stats seen = { 0 };

	while (poll(fds, ARRAY_LEN(fds), AGE_MS) <= 0)
		mount_age(m, &seen);
	if (read(m->signal_fd, &si, sizeof si) == (ssize_t)sizeof si) {
		log_info("unmounting '%s' on signal %u", m->p.mountpoint, si.ssi_signo);
		return MOUNT_END_SIGNAL;
	}
	log_info("'%s' has been unmounted", m->p.mountpoint);
	return MOUNT_END_UNMOUNTED;
}

static int mount_set_log_level(const struct mount_params *p, struct vmofs_err *err)
{
	const char *name = config_str(p->config, "log-level");
	int level = log_parse_level(name);

	if (level < 0)
		return vmofs_err_set(err, -EINVAL,
				     "option 'log-level': '%s' is none of error, warn, info, debug",
				     name);
	log_set_level((enum log_level)level);
	return 0;
}

int mount_run(const struct mount_params *p, struct ready *ready, struct vmofs_err *err)
{
	struct mount m = { .p = *p, .start_ns = loop_now_ns(), .signal_fd = -1, .ended_fd = -1 };
	enum mount_end how = MOUNT_END_FAILED;
	int r = mount_set_log_level(p, err);

	pin_set_init(&m.pins);
	limit_malloc();
	signal(SIGPIPE, SIG_IGN);
	if (!r)
		r = mount_set_up(&m, err);
	if (!r)
		r = mount_settle(&m, err);
	if (!r && !ready_ok(ready))
		how = mount_serve(&m);
	mount_take_down(&m, how);
	return r;
}

/* ---- without a mount ---- */

static int recover_set_up(struct mount *m, struct vmofs_err *err)
{
	static int (*const steps[])(struct mount * m, struct vmofs_err * err) = {
		mount_make_pool,
		mount_start_loops,
		mount_open_source,
		mount_write_recover,
	};
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_LEN(steps); i++)
		r = steps[i](m, err);
	if (!r && !m->write.journal)
		r = vmofs_err_set(err, -EINVAL,
				  "option 'journal-dir': without a journal there is nothing to "
				  "recover");
	return r;
}

int mount_recover(const struct mount_params *p, uint64_t ns, const struct mount_write_look *look,
		  json_t **left, struct vmofs_err *err)
{
	struct mount m = { .p = *p, .start_ns = loop_now_ns(), .signal_fd = -1, .ended_fd = -1 };
	int r;

	pin_set_init(&m.pins);
	limit_malloc();
	signal(SIGPIPE, SIG_IGN);
	r = recover_set_up(&m, err);
	if (!r) {
		mount_write_store(&m, ns, look);
		*left = json_object();
		command_writing(&m, NULL, *left, NULL, err);
		json_object_set_new(*left, "found",
				    json_integer((json_int_t)json_array_size(m.write.recovered)));
	}
	mount_take_down(&m, MOUNT_END_FAILED);
	return r;
}
