/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of uploads: one file for each process and bucket, locked as long as the process lives. Called by threads that
 * may block; the lock covers one write().
 */
#include "s3/s3_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/macros.h"
#include "s3/s3_assemble.h"

#define RECORD_MAX  MIB(4)
#define ABORTS_MAX  200
#define NAME_DIGITS 24

/* An upload of which it is not known whether it was completed. */
struct doubt {
	struct doubt *next;
	char attempt[VMOFS_ATTEMPT_LEN + 1];
	char *key; /* owned; full */
	char id[1024];
};

struct s3_record {
	int fd; /* -1: there is none */
	int dir;
	char name[80];
	unsigned live; /* lock: the source's; uploads that stand in the file and have not ended */
	struct doubt *doubts; /* the same; owned */
};

/* -- where ------------------------------------------------------------------------------------ */

/* An open folder, made where it was not; -errno. */
static int open_dir(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		mkdir(path, 0700);
		*p = '/';
	}
	mkdir(path, 0700);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int state_dir(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char path[4096];
	int n;

	if (state && state[0] == '/')
		n = snprintf(path, sizeof path, "%s/vmofs/uploads", state);
	else if (geteuid() == 0)
		n = snprintf(path, sizeof path, "/var/lib/vmofs/uploads");
	else
		n = snprintf(path, sizeof path, "%s/.local/state/vmofs/uploads", home ? home : "");
	return n < (int)sizeof path && path[0] == '/' ? open_dir(path) : -1;
}

/* The beginning of the names of all records of this bucket. */
static int bucket_name(struct s3 *s, char out[NAME_DIGITS + 1])
{
	char where[S3_WHERE_MAX + 300];
	uint8_t sum[20];
	char hex[41];
	int n = s3_where(s, where, S3_WHERE_MAX);

	n += snprintf(where + n, sizeof where - (size_t)n, " %s", s->o.bucket);
	if (digest_sha1(where, (size_t)n, sum) < 0)
		return -EIO;
	digest_hex(sum, sizeof sum, hex);
	memcpy(out, hex, NAME_DIGITS);
	out[NAME_DIGITS] = '\0';
	return 0;
}

/* -- what others have left -------------------------------------------------------------------- */

static bool was_ended(const char *p, const char *end, const char *id)
{
	size_t n = strlen(id);

	while (p < end) {
		size_t len = strnlen(p, (size_t)(end - p));

		if (p[0] == '-' && len == n + 1 && memcmp(p + 1, id, n) == 0)
			return true;
		p += len + 1;
	}
	return false;
}

static int unhex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* In place; false: that is no key. */
static bool decode(char *p)
{
	char *out = p;

	for (; *p; p++) {
		int hi = *p == '%' ? unhex(p[1]) : 0, lo = *p == '%' && hi >= 0 ? unhex(p[2]) : 0;

		if (*p == '%' && (hi < 0 || lo < 0 || (hi == 0 && lo == 0)))
			return false;
		*out++ = *p == '%' ? (char)(hi << 4 | lo) : *p;
		p += *p == '%' ? 2 : 0;
	}
	*out = '\0';
	return true;
}

void s3_record_parse(char *p, size_t n, void (*fn)(void *arg, const char *id, const char *key),
		     void *arg)
{
	char *end = n > 0 ? memrchr(p, '\n', n) : NULL;

	if (!end || memchr(p, 0, n))
		return;
	for (char *c = p; c <= end; c++)
		if (*c == '\n')
			*c = '\0';
	for (char *line = p, *next; line < end; line = next) {
		char *key = strchr(line, ' ');

		next = line + strlen(line) + 1;
		if (line[0] != '+' || !key || key == line + 1 || !key[1])
			continue;
		*key++ = '\0';
		if (!was_ended(next, end, line + 1) && decode(key))
			fn(arg, line + 1, key);
	}
}

struct sweep {
	struct s3 *s;
	unsigned aborted;
	bool objects; /* those this time, not uploads */
	bool all;
};

static void sweep_one(void *arg, const char *id, const char *key)
{
	struct sweep *w = arg;
	bool object = strncmp(id, S3_TEMP_ID, sizeof S3_TEMP_ID - 1) == 0;
	int r = -EAGAIN;

	if (object != w->objects)
		return;
	if (object)
		r = s3_temp_sweep(w->s, key, id + sizeof S3_TEMP_ID - 1, &w->s->stopping);
	else if (w->aborted < ABORTS_MAX)
		r = s3_upload_abort(w->s, key, id, &w->s->stopping);
	if (r == 0)
		w->aborted++;
	else
		w->all = false;
}

/* Its process is gone: its lock could be taken. */
static void sweep_file(struct s3 *s, int dir, const char *name, int fd)
{
	cleanup(mem_freep) char *text = NULL;
	struct sweep w = { .s = s, .all = true };
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)RECORD_MAX)
		return;
	text = malloc((size_t)st.st_size + 1);
	/* Objects are looked for when no upload can make one any more. */
	for (unsigned i = 0; i < 2; i++) {
		ssize_t n = text ? pread(fd, text, (size_t)st.st_size, 0) : -1;

		if (n < 0)
			return;
		w.objects = i > 0;
		s3_record_parse(text, (size_t)n, sweep_one, &w);
	}
	if (w.aborted > 0)
		log_info("ended %u uploads to 's3://%s' that another process had left", w.aborted,
			 s->o.bucket);
	if (w.all)
		unlinkat(dir, name, 0);
}

static void sweep(struct s3 *s, int dir, const char *bucket)
{
	cleanup(fd_closep) int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = own < 0 ? NULL : fdopendir(own);
	struct dirent *e;

	if (!d)
		return;
	own = -1;
	while ((e = readdir(d))) {
		int fd;

		if (strncmp(e->d_name, bucket, NAME_DIGITS) != 0)
			continue;
		fd = openat(dir, e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			continue;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			sweep_file(s, dir, e->d_name, fd);
		close(fd);
	}
	closedir(d);
}

/* -- our own ---------------------------------------------------------------------------------- */

/* Locked before it has a name that others look at. */
static int record_create(struct s3_record *r, const char *bucket)
{
	char random[VMOFS_ATTEMPT_LEN + 1], temporary[sizeof r->name];

	vmofs_attempt_new(random);
	snprintf(temporary, sizeof temporary, "new.%.16s", random);
	snprintf(r->name, sizeof r->name, "%s.%.16s", bucket, random);
	r->fd = openat(r->dir, temporary, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (r->fd < 0)
		return -errno;
	if (flock(r->fd, LOCK_EX | LOCK_NB) == 0 &&
	    renameat(r->dir, temporary, r->dir, r->name) == 0)
		return 0;
	unlinkat(r->dir, temporary, 0);
	close(r->fd);
	r->fd = -1;
	return -EIO;
}

static struct s3_record *record_new(struct s3 *s)
{
	struct s3_record *r = calloc(1, sizeof *r);
	char bucket[NAME_DIGITS + 1];

	if (!r)
		return NULL;
	r->fd = -1;
	r->dir = state_dir();
	if (r->dir >= 0 && bucket_name(s, bucket) == 0) {
		sweep(s, r->dir, bucket);
		record_create(r, bucket);
	}
	if (r->fd < 0)
		log_info("uploads to 's3://%s' are not recorded: those of a crash stay until the "
			 "bucket's lifecycle rules abort them",
			 s->o.bucket);
	return r;
}

static struct doubt *doubt_take(struct doubt **from)
{
	struct doubt *d = *from;

	*from = d->next;
	d->next = NULL;
	return d;
}

static void doubt_free(struct doubt *d)
{
	free(d->key);
	free(d);
}

void s3_record_free(struct s3_record *r)
{
	if (!r)
		return;
	while (r->doubts)
		doubt_free(doubt_take(&r->doubts));
	if (r->fd >= 0 && r->live == 0)
		unlinkat(r->dir, r->name, 0);
	fd_closep(&r->fd);
	fd_closep(&r->dir);
	free(r);
}

static struct s3_record *record_get(struct s3 *s)
{
	struct s3_record *r = atomic_load(&s->record), *was = NULL;

	if (r)
		return r;
	r = record_new(s);
	if (!r || atomic_compare_exchange_strong(&s->record, &was, r))
		return r;
	s3_record_free(r);
	return was;
}

/* What has ended need not be known any more: a mount that lives for years has a small file too. */
static void record_write(struct s3 *s, struct s3_record *r, const char *line, size_t n, bool begun)
{
	mutex_lock(&s->lock);
	r->live += begun;
	r->live -= !begun && r->live > 0;
	if (r->live == 0 ? ftruncate(r->fd, 0) < 0 : write(r->fd, line, n) != (ssize_t)n)
		log_debug("the record of uploads to 's3://%s' cannot be written", s->o.bucket);
	mutex_unlock(&s->lock);
}

void s3_record_add(struct s3 *s, const char *full_key, const char *id)
{
	struct s3_record *r = record_get(s);
	char line[3 * VMOFS_KEY_MAX + 1100];
	int n = snprintf(line, sizeof line, "+%.1023s ", id), k;

	if (!r || r->fd < 0 || strpbrk(id, " \n"))
		return;
	k = sigv4_encode(full_key, strlen(full_key), 1, line + n, sizeof line - (size_t)n - 2);
	if (k < 0)
		return;
	line[n + k] = '\n';
	record_write(s, r, line, (size_t)(n + k) + 1, true);
}

void s3_record_del(struct s3 *s, const char *id)
{
	struct s3_record *r = atomic_load(&s->record);
	char line[1100];
	int n = snprintf(line, sizeof line, "-%.1023s\n", id);

	if (!r || r->fd < 0 || strpbrk(id, " \n"))
		return;
	record_write(s, r, line, (size_t)n, false);
}

/* -- of which nobody knows ---------------------------------------------------------------------- */

static void doubt_add(struct s3 *s, struct s3_record *r, struct doubt *d)
{
	mutex_lock(&s->lock);
	d->next = r->doubts;
	r->doubts = d;
	mutex_unlock(&s->lock);
}

static struct doubt *doubt_find(struct s3 *s, struct s3_record *r, const char *attempt)
{
	struct doubt **at, *d = NULL;

	mutex_lock(&s->lock);
	for (at = &r->doubts; *at && strcmp((*at)->attempt, attempt) != 0;)
		at = &(*at)->next;
	if (*at)
		d = doubt_take(at);
	mutex_unlock(&s->lock);
	return d;
}

void s3_record_doubt(struct s3 *s, const char *attempt, const char *full_key, const char *id)
{
	struct s3_record *r = atomic_load(&s->record);
	struct doubt *d = r ? calloc(1, sizeof *d) : NULL;

	if (!d)
		return;
	snprintf(d->attempt, sizeof d->attempt, "%s", attempt);
	snprintf(d->id, sizeof d->id, "%s", id);
	d->key = strdup(full_key);
	if (d->key)
		doubt_add(s, r, d);
	else
		free(d);
}

int s3_record_settle(struct s3 *s, const char *attempt, bool done, const atomic_bool *cancel)
{
	struct s3_record *r = atomic_load(&s->record);
	struct doubt *d = r ? doubt_find(s, r, attempt) : NULL;
	int e;

	if (!d)
		return 0;
	e = done ? 0 : s3_upload_abort(s, d->key, d->id, cancel);
	if (e == 0) {
		s3_record_del(s, d->id);
	} else if (e != -EACCES && e != -EOPNOTSUPP) {
		doubt_add(s, r, d);
		return e;
	}
	doubt_free(d);
	return e == 0 && !done;
}
