/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and ending the parts of a mount that can be written; in between they work by themselves. The end: a thread stores
 * what is left while the main thread listens for signals, then the writer commits the rest to the journal.
 */
#include "daemon/mount_write.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "daemon/mount.h"
#include "daemon/options.h"
#include "daemon/write_options.h"
#include "fs/local.h"
#include "store/journal.h"

enum { RECOVERED_LOGGED_MAX = 100, LOOK_MS = 200 };

/* ---- set-up ---- */

int mount_write_check(struct mount *m, const char *provider, const struct vmofs_source_ops *ops,
		      struct vmofs_err *err)
{
	if (write_options_cow(m->p.config))
		return write_options_check_cow(m->p.config, err);
	if (!write_options_wanted(m->p.config) || (ops && ops->change))
		return 0;
	return write_options_refuse(m->p.source, provider, err);
}

int mount_write_new_local(struct mount *m, const struct vmofs_source_info *info,
			  struct vmofs_err *err)
{
	struct local_params p = {
		.cache = m->cache,
		.source = m->source,
		.links = config_bool(m->p.config, "object-metadata") || info->links || m->cow_dir,
		.fixed = info->fixed,
		.can = info->can,
		.key_max = info->key_max,
	};

	if (!write_options_wanted(m->p.config))
		return 0;
	if (config_time(m->p.config, "timeout", &p.timeout_ns, err) < 0)
		return err->code;
	return local_new(&m->write.local, &p, err);
}

void mount_write_tree_params(struct mount *m, struct fs_tree_source_params *p)
{
	if (!m->write.local)
		return;
	p->local_attr = local_attr;
	p->local_arg = m->write.local;
	if (!config_is_set(m->p.config, "file-mode"))
		p->file_mode = 0644;
	if (!config_is_set(m->p.config, "dir-mode"))
		p->dir_mode = 0755;
}

static int journal_failed(const char *dir, struct vmofs_err *err)
{
	struct vmofs_err why = *err;

	return vmofs_err_set(err, why.code,
			     "%s; the journal is to be in '%s': give another directory as "
			     "journal-dir=DIR, or journal-dir=none to do without",
			     why.msg, dir);
}

static int open_journal(struct mount *m, struct write_options *o,
			const struct vmofs_source_info *info, struct vmofs_err *err)
{
	cleanup(mem_freep) char *text = NULL;
	struct journal_params p = { .dir = o->journal_dir, .limit = o->journal_size };
	int r;

	if (!o->journal_dir) {
		log_warn("there is no journal: what the origin does not have yet is lost when the "
			 "daemon is killed");
		return 0;
	}
	r = options_check_place("journal-dir", o->journal_dir, m->p.mountpoint, err);
	if (r < 0)
		return r;
	if (asprintf(&text, "%s %s", info->where, info->url) < 0) {
		text = NULL;
		return vmofs_err_set(err, -ENOMEM, "no memory for the journal");
	}
	p.source = text;
	if (journal_open(&m->write.journal, &p, err) < 0)
		return journal_failed(o->journal_dir, err);
	m->write.journal_dir = steal_ptr(&o->journal_dir);
	return 0;
}

/* What is changed and what is not stored yet are in one place: they belong together. */
static int journal_of_cow(struct mount *m, struct write_options *o, struct vmofs_err *err)
{
	char *dir;

	if (!m->cow_dir || config_is_set(m->p.config, "journal-dir"))
		return 0;
	if (asprintf(&dir, "%s/journal", m->cow_dir) < 0)
		return vmofs_err_set(err, -ENOMEM, "no memory for the journal's name");
	free(o->journal_dir);
	o->journal_dir = dir;
	return 0;
}

static int make_writer(struct mount *m, struct write_options *o,
		       const struct vmofs_source_info *info, struct vmofs_err *err)
{
	struct writer_params *p = &o->writer;
	struct vm_pool_stats st;
	int r;

	vm_pool_stats(m->pool, &st);
	r = write_options_read(o, m->p.config, st.limit, err);
	if (!r)
		r = journal_of_cow(m, o, err);
	if (!r)
		r = open_journal(m, o, info, err);
	if (r < 0)
		return r;
	p->source = m->source;
	p->journal = m->write.journal;
	p->stored = local_stored;
	p->let_go = local_let_go;
	p->arg = m->write.local;
	r = writer_new(&m->write.writer, p, err);
	if (!r)
		local_set(m->write.local, m->tree, m->write.writer);
	return r;
}

int mount_write_new_writer(struct mount *m, const struct vmofs_source_info *info,
			   struct vmofs_err *err)
{
	struct write_options o = { 0 };
	int r = m->write.local ? make_writer(m, &o, info, err) : 0;

	write_options_release(&o);
	return r;
}

/* ---- what was found after a start ---- */

static int add_recovered(void *arg, const struct wfile_status *s)
{
	json_t *list = arg;
	json_t *o = json_pack("{s:b, s:I, s:s?}", "conflict", s->state == WFILE_CONFLICT, "bytes",
			      (json_int_t)s->dirty_bytes, "key", s->key);

	json_array_append_new(list, o ? o : json_object());
	return 0;
}

int mount_write_recover(struct mount *m, struct vmofs_err *err)
{
	int r;

	if (!m->write.journal)
		return 0;
	r = local_recover(m->write.local);
	if (r < 0)
		return vmofs_err_set(
			err, r, "cannot read the journal in '%s': %s; what it has is still there",
			m->write.journal_dir, strerror(-r));
	m->write.recovered = json_array();
	if (m->write.recovered)
		writer_each(m->write.writer, add_recovered, m->write.recovered);
	return 0;
}

static void log_one(const json_t *o)
{
	const char *key = json_string_value(json_object_get(o, "key"));
	unsigned long long bytes =
		(unsigned long long)json_integer_value(json_object_get(o, "bytes"));

	key = key ? key : "(not text)";
	if (json_is_true(json_object_get(o, "conflict")))
		log_warn(
			"the journal has '%s' with %llu bytes, in conflict with what the origin has; "
			"`vmofs resolve` ends that",
			key, bytes);
	else
		log_info("the journal has '%s' with %llu bytes that are not stored yet", key,
			 bytes);
}

void mount_write_log_recovered(struct mount *m)
{
	size_t n = json_array_size(m->write.recovered);
	size_t i;
	json_t *o;

	json_array_foreach(m->write.recovered, i, o)
	{
		if (i == RECOVERED_LOGGED_MAX)
			break;
		log_one(o);
	}
	if (n)
		log_info("%zu changed files were recovered from the journal", n);
}

/* ---- the end ---- */

struct drain {
	struct writer *writer; /* borrowed */
	uint64_t deadline_ns;
	atomic_bool cancel;
	int done_fd; /* eventfd */
};

static void *drain_main(void *arg)
{
	struct drain *d = arg;
	uint64_t one = 1;
	unsigned conflicts;

	writer_drain(d->writer, d->deadline_ns, &d->cancel, &conflicts);
	if (write(d->done_fd, &one, sizeof one) < 0)
		log_error("cannot tell of the end of storing: %s", strerror(errno));
	return NULL;
}

/* Until the thread is done. A signal only makes it hurry. */
static void drain_wait(struct mount *m, struct drain *d, const struct mount_write_look *look)
{
	struct pollfd fds[] = {
		{ .fd = d->done_fd, .events = POLLIN },
		{ .fd = m->signal_fd, .events = POLLIN },
	};
	struct signalfd_siginfo si;

	while (!(fds[0].revents & POLLIN)) {
		int n = poll(fds, ARRAY_LEN(fds), look ? LOOK_MS : -1);

		if (n < 0 && errno != EINTR)
			return;
		if (look)
			look->look(look->arg, m);
		if (n <= 0 || !(fds[1].revents & POLLIN) ||
		    read(m->signal_fd, &si, sizeof si) != (ssize_t)sizeof si)
			continue;
		log_info("storing no more on signal %u", si.ssi_signo);
		d->cancel = true;
	}
}

void mount_write_store(struct mount *m, uint64_t ns, const struct mount_write_look *look)
{
	struct drain d = {
		.writer = m->write.writer,
		.deadline_ns = ns ? loop_now_ns() + ns : 0,
		.done_fd = eventfd(0, EFD_CLOEXEC),
	};
	pthread_t thread;

	if (d.done_fd < 0 || pthread_create(&thread, NULL, drain_main, &d)) {
		unsigned conflicts;

		writer_drain(d.writer, d.deadline_ns, NULL, &conflicts);
	} else {
		drain_wait(m, &d, look);
		pthread_join(thread, NULL);
	}
	fd_closep(&d.done_fd);
}

struct left {
	unsigned files;
	unsigned conflicts;
	uint64_t bytes;
	char example[256];
	char why[512];
};

static int add_left(void *arg, const struct wfile_status *s)
{
	struct left *l = arg;

	if (s->state != WFILE_DIRTY && s->state != WFILE_STORING && s->state != WFILE_CONFLICT)
		return 0;
	if (!l->files++ || (!l->why[0] && s->msg[0])) {
		snprintf(l->example, sizeof l->example, "%s", s->key);
		snprintf(l->why, sizeof l->why, "%s", s->msg);
	}
	l->conflicts += s->state == WFILE_CONFLICT;
	l->bytes += s->dirty_bytes;
	return 0;
}

static void log_left(struct mount *m, const struct left *l)
{
	const char *colon = l->why[0] ? ": " : "";

	if (!l->files)
		return;
	if (m->write.journal)
		log_warn(
			"%u changed files (%llu bytes) are not stored, %u of them in conflict; they "
			"wait in the journal in '%s' for the next mount. One is '%s'%s%s",
			l->files, (unsigned long long)l->bytes, l->conflicts, m->write.journal_dir,
			l->example, colon, l->why);
	else
		log_error(
			"%u changed files (%llu bytes) could not be stored and are lost, as there "
			"is no journal. One is '%s'%s%s",
			l->files, (unsigned long long)l->bytes, l->example, colon, l->why);
}

void mount_write_set_drain(struct mount *m, int64_t ms)
{
	if (ms >= 0)
		m->write.drain_ns = (uint64_t)ms * NSEC_PER_MSEC;
	m->write.drain_is_set = ms >= 0;
}

/* What is stored now need not be stored after the next start; without a journal there is nothing else. */
static uint64_t drain_time(struct mount *m, enum mount_end how)
{
	static const unsigned seconds[][2] = {
		[MOUNT_END_FAILED] = { 0, 0 },
		[MOUNT_END_SIGNAL] = { 60, 5 },
		[MOUNT_END_UNMOUNTED] = { 600, 60 },
	};
	_Static_assert(ARRAY_LEN(seconds) == MOUNT_NENDS, "one row per end");

	if (m->write.drain_is_set && how != MOUNT_END_FAILED)
		return m->write.drain_ns;
	return seconds[how][m->write.journal != NULL] * NSEC_PER_SEC;
}

void mount_write_finish(struct mount *m, enum mount_end how)
{
	struct left l = { 0 };
	uint64_t ns = drain_time(m, how);

	if (!m->write.writer)
		return;
	writer_each(m->write.writer, add_left, &l);
	if (ns && l.files > l.conflicts) {
		log_info("storing %u changed files", l.files - l.conflicts);
		mount_write_store(m, ns, NULL);
	}
	l = (struct left){ 0 };
	writer_each(m->write.writer, add_left, &l);
	log_left(m, &l);
	writer_stop(m->write.writer);
}

void mount_write_free(struct mount *m)
{
	local_free(m->write.local);
	writer_free(m->write.writer);
	journal_close(m->write.journal);
	free(m->write.journal_dir);
	json_decref(m->write.recovered);
}
