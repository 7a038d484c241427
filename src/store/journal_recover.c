/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs that another process has left: read from their beginning, cut off behind their last commit, handed over. The thread that
 * opens a mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/macros.h"
#include "store/journal_private.h"

struct found_ids {
	uint64_t *v; /* owned */
	size_t n;
	size_t cap;
};

static int ids_add(void *arg, const char *name)
{
	struct found_ids *ids = arg;
	uint64_t id;

	if (!journal_name_parse(name, ".log", &id))
		return 0;
	if (ids->n == ids->cap) {
		size_t cap = MAX(ids->cap * 2, 64);
		uint64_t *v = realloc(ids->v, cap * sizeof *v);

		if (!v)
			return -ENOMEM;
		ids->v = v;
		ids->cap = cap;
	}
	ids->v[ids->n++] = id;
	return 0;
}

static int ids_order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* -- one log ---------------------------------------------------------------------------------- */

struct recovery {
	struct journal *j;       /* borrowed */
	struct journal_dir *dir; /* borrowed */
	struct journal_replay r; /* of the log at hand */
	char name[JOURNAL_NAME];
	uint64_t id;
	uint64_t size;
};

static int log_open(struct recovery *rc)
{
	int fd = rc->j->io->openat(rc->dir->fd, rc->name, O_RDWR, 0);
	struct stat st;
	int e;

	if (fd < 0)
		return -errno;
	if (rc->j->io->fstat(fd, &st) == 0) {
		rc->size = (uint64_t)st.st_size;
		return fd;
	}
	e = -errno;
	rc->j->io->close(fd);
	return e;
}

/* -EBADMSG: damaged; -ENODATA: nothing was committed. */
static int log_walk(struct recovery *rc, int fd)
{
	struct journal_file f;
	int e, damaged;

	journal_file_init(&f, rc->j->io, fd, rc->size);
	e = journal_walk(&f.bytes, JOURNAL_ALL, &rc->r, NULL, NULL);
	if (e < 0 && e != -EBADMSG)
		return e;
	damaged = journal_find_damage(&f.bytes, rc->r.salt, rc->r.end);
	if (damaged != 0)
		return damaged < 0 ? damaged : -EBADMSG;
	return rc->r.end ? 0 : -ENODATA;
}

/*
 * Groups of numbers that were never used begin: what stays behind the end, if it cannot be cut off, is not taken for a part
 * of them.
 */
static int log_cut(struct recovery *rc, struct journal_log *l)
{
	uint32_t jump;

	if (getrandom(&jump, sizeof jump, 0) != sizeof jump)
		return -EIO;
	l->group = rc->r.group + jump;
	if (rc->size == l->end)
		return 0;
	log_warn("%" PRIu64 " bytes that were not committed are cut off the journal's log of '%s'",
		 rc->size - l->end, l->key);
	rc->j->io->ftruncate(l->fd, (off_t)l->end);
	return 0;
}

/* Takes @fd, also where it fails. What was synced, and what a process before this one was promised, is not known. */
static int log_make(struct recovery *rc, int fd, struct journal_log **out)
{
	struct journal_log *l = journal_log_alloc(rc->j, rc->dir, rc->id);
	int e;

	if (!l) {
		rc->j->io->close(fd);
		return -ENOMEM;
	}
	l->made = true;
	l->fd = fd;
	atomic_fetch_add(&rc->j->n_open, 1);
	l->salt = rc->r.salt;
	l->end = rc->r.end;
	l->promised = true;
	l->suspect = rc->r.doubt;
	if (rc->r.facts.key_stamp)
		l->key_stamp = rc->r.facts.key_stamp;
	l->base = rc->r.facts.base;
	l->state = rc->r.facts.state;
	memcpy(l->attempt, rc->r.facts.attempt, sizeof l->attempt);
	e = journal_log_set_key(l, rc->r.facts.key);
	if (e == 0 && rc->r.facts.has_xattrs)
		e = vmofs_xattrs_new(&l->state.xattrs, rc->r.facts.xattrs, rc->r.facts.xattrs_len);
	if (e == 0)
		e = log_cut(rc, l);
	if (e < 0) {
		journal_log_close(l);
		return e;
	}
	journal_log_rest(l);
	*out = l;
	return 0;
}

static void log_set_aside(struct recovery *rc)
{
	char aside[JOURNAL_NAME];

	journal_name(rc->id, ".damaged", aside);
	if (rc->j->io->renameat(rc->dir->fd, rc->name, aside) < 0)
		memcpy(aside, rc->name, sizeof aside);
	log_error("a log of the journal is damaged, what it had of '%s' cannot be stored: it is "
		  "kept as '%s'",
		  rc->r.facts.key[0] ? rc->r.facts.key : "a file", aside);
}

/* What cannot be handed over. */
static void log_refuse(struct recovery *rc, int e)
{
	if (e == -ENODATA) {
		rc->j->io->unlinkat(rc->dir->fd, rc->name);
		return;
	}
	atomic_fetch_add(&rc->j->bytes, rc->size);
	if (e == -EBADMSG)
		log_set_aside(rc);
	else
		log_error(
			"log '%s' of the journal cannot be read, it is left for the next start: %s",
			rc->name, strerror(-e));
}

static int log_find(struct recovery *rc, struct journal_log **out)
{
	int fd, e;

	rc->size = 0;
	memset(&rc->r, 0, sizeof rc->r);
	journal_name(rc->id, ".log", rc->name);
	fd = log_open(rc);
	if (fd < 0)
		return fd;
	e = log_walk(rc, fd);
	if (e == 0)
		return log_make(rc, fd, out);
	rc->j->io->close(fd);
	return e;
}

/* NULL: it is none that could be handed over. */
static struct journal_log *log_recover(struct recovery *rc)
{
	struct journal_log *l = NULL;
	int e = log_find(rc, &l);

	if (e < 0) {
		log_refuse(rc, e);
		return NULL;
	}
	atomic_fetch_add(&rc->j->bytes, l->end);
	if (l->key_stamp > atomic_load(&rc->j->next_id))
		atomic_store(&rc->j->next_id, l->key_stamp);
	return l;
}

/* The texts outlive the log, which the receiver may close. */
static int log_give(struct recovery *rc, struct journal_log *l,
		    int (*fn)(void *arg, struct journal_found *f), void *arg)
{
	struct journal_facts *facts = &rc->r.facts;
	struct journal_found f = {
		.key = facts->key,
		.base = l->base,
		.state = l->state,
		.attempt = facts->attempt,
		.log = l,
	};

	snprintf(facts->key, sizeof facts->key, "%s", l->key);
	memcpy(facts->attempt, l->attempt, sizeof facts->attempt);
	return fn(arg, &f);
}

/* -- all of them ------------------------------------------------------------------------------ */

static int key_order(const void *a, const void *b)
{
	const struct journal_log *x = *(struct journal_log *const *)a;
	const struct journal_log *y = *(struct journal_log *const *)b;
	int c = strcmp(x->key, y->key);

	return c ? c : x->key_stamp < y->key_stamp ? -1 : x->key_stamp > y->key_stamp;
}

static int id_order(const void *a, const void *b)
{
	const struct journal_log *x = *(struct journal_log *const *)a;
	const struct journal_log *y = *(struct journal_log *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* A file that was replaced by another one, and whose log had not gone yet when the process ended. Returns how many are left. */
static size_t drop_replaced(struct journal_log **logs, size_t n)
{
	size_t left = 0;

	if (n)
		qsort(logs, n, sizeof(struct journal_log *), key_order);
	for (size_t i = 0; i < n; i++)
		if (i + 1 < n && strcmp(logs[i]->key, logs[i + 1]->key) == 0)
			(void)journal_remove(logs[i]);
		else
			logs[left++] = logs[i];
	if (left)
		qsort(logs, left, sizeof(struct journal_log *), id_order);
	return left;
}

/* Takes the logs. */
static int give_all(struct recovery *rc, struct journal_log **logs, size_t n,
		    int (*fn)(void *arg, struct journal_found *f), void *arg)
{
	int e = 0;

	n = drop_replaced(logs, n);
	for (size_t i = 0; i < n; i++)
		if (e == 0)
			e = log_give(rc, logs[i], fn, arg);
		else
			journal_log_close(logs[i]);
	return e;
}

static int recover_ids(struct recovery *rc, const struct found_ids *ids,
		       int (*fn)(void *arg, struct journal_found *f), void *arg)
{
	struct journal_log **logs = malloc((ids->n + 1) * sizeof *logs);
	size_t n = 0;
	int e;

	if (!logs)
		return -ENOMEM;
	for (size_t i = 0; i < ids->n; i++) {
		rc->id = ids->v[i];
		logs[n] = log_recover(rc);
		n += logs[n] != NULL;
	}
	e = give_all(rc, logs, n, fn, arg);
	free(logs);
	return e;
}

static int dir_recover(struct recovery *rc, int (*fn)(void *arg, struct journal_found *f),
		       void *arg)
{
	struct found_ids ids = { 0 };
	int e = rc->j->io->list(rc->dir->fd, ids_add, &ids);

	if (e == -1)
		e = -errno;
	if (e < 0) {
		log_error("the journal cannot be read: %s", strerror(-e));
		e = 0;
		ids.n = 0;
	}
	if (ids.n)
		qsort(ids.v, ids.n, sizeof *ids.v, ids_order);
	if (e == 0)
		e = recover_ids(rc, &ids, fn, arg);
	free(ids.v);
	return e;
}

int journal_recover(struct journal *j, int (*fn)(void *arg, struct journal_found *f), void *arg)
{
	struct recovery *rc = calloc(1, sizeof *rc);
	int e = 0;

	if (!rc)
		return -ENOMEM;
	rc->j = j;
	for (rc->dir = j->dirs; rc->dir && e == 0; rc->dir = rc->dir->next)
		e = dir_recover(rc, fn, arg);
	free(rc);
	return e;
}
