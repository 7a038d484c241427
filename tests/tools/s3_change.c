/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of an S3 source from the command line, without a mount:
 *
 *   s3_change SOURCE OPTIONS COMMAND ARGUMENT... [, COMMAND ARGUMENT...]...
 *
 *   new KEY FILE                    KEY shall not be there yet
 *   store KEY FILE [OFF+LEN]...     over what is there now; only these ranges of FILE differ from it
 *   over KEY FILE ETAG [OFF+LEN]... the same, over the version that has this entity tag
 *   remove KEY [ETAG]    copy FROM TO [ETAG]    mkdir KEY/    link KEY TARGET
 *   chmod KEY MODE       head KEY                attempted KEY ATTEMPT    attempt ATTEMPT (of the next store)
 *   hang                            the next store stops for ever before the request that makes it seen, and says so
 *
 * Each prints a line: "ok" and what came of it, or "failed ERRNO message"; then it goes on. OPTIONS as after -o, "" for none.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vmofs/change.h>

#include "base/config.h"
#include "base/loop.h"
#include "base/macros.h"

#define RANGES_MAX 64

struct tool {
	struct vmofs_source *source;
	const struct vmofs_change_ops *change;
	char attempt[VMOFS_ATTEMPT_LEN + 1];
	bool hang;
};

/* -- what is there ---------------------------------------------------------------------------- */

struct lookup {
	struct vmofs_query q;
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool over;
	int code;
	struct vmofs_version v;
	unsigned has;
	mode_t mode;
	char target[4096];
};

static bool on_entries(struct vmofs_query *q, const struct vmofs_entry *v, unsigned n)
{
	struct lookup *l = container_of(q, struct lookup, q);

	if (n == 0)
		return true;
	l->v.exists = true;
	l->v.size = v->size;
	l->v.mtime = v->mtime;
	l->has = v->has;
	l->mode = v->mode;
	snprintf(l->v.validator, sizeof l->v.validator, "%s", v->validator);
	snprintf(l->target, sizeof l->target, "%s", v->has & VMOFS_HAS_TARGET ? v->target : "");
	return true;
}

static void on_done(struct vmofs_query *q, const struct vmofs_query_result *result)
{
	struct lookup *l = container_of(q, struct lookup, q);

	pthread_mutex_lock(&l->lock);
	l->code = result->code;
	l->over = true;
	pthread_cond_signal(&l->done);
	pthread_mutex_unlock(&l->lock);
}

static void look(struct tool *t, const char *key, struct lookup *l)
{
	*l = (struct lookup){ .q = { .kind = VMOFS_QUERY_HEAD,
				     .key = key,
				     .after = "",
				     .entries = on_entries,
				     .done = on_done } };
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->done, NULL);
	t->source->ops->query(t->source, &l->q);
	pthread_mutex_lock(&l->lock);
	while (!l->over)
		pthread_cond_wait(&l->done, &l->lock);
	pthread_mutex_unlock(&l->lock);
}

/* -- answers ---------------------------------------------------------------------------------- */

static void say(int r, const struct vmofs_err *err, const char *text)
{
	if (r < 0)
		printf("failed %s %s\n", strerrorname_np(-r), err->msg);
	else
		printf("ok %s\n", text);
	fflush(stdout);
}

static void say_version(int r, const struct vmofs_err *err, const struct vmofs_version *v)
{
	char text[600];

	snprintf(text, sizeof text, "%s %" PRIu64, v->validator, v->size);
	say(r, err, text);
}

/* -- storing ---------------------------------------------------------------------------------- */

struct storing {
	struct vmofs_store st;
	int fd;
	uint64_t taken;
	unsigned commits;
	uint64_t up, copied;
	bool hang;
};

static int storing_read(struct vmofs_store *st, uint64_t off, void *buf, uint64_t len)
{
	struct storing *s = container_of(st, struct storing, st);

	return pread(s->fd, buf, len, (off_t)off) == (ssize_t)len ? 0 : -EIO;
}

static int storing_commit(struct vmofs_store *st)
{
	struct storing *s = container_of(st, struct storing, st);

	s->commits++;
	if (s->hang) {
		puts("hangs");
		fflush(stdout);
		pause();
	}
	return 0;
}

/* As much as two parts at a time. */
static bool storing_take(struct vmofs_store *st, uint64_t len)
{
	struct storing *s = container_of(st, struct storing, st);

	if (s->taken > 0 && s->taken + len > MIB(17))
		return false;
	s->taken += len;
	return true;
}

static void storing_give(struct vmofs_store *st, uint64_t len)
{
	container_of(st, struct storing, st)->taken -= len;
}

static void storing_progress(struct vmofs_store *st, uint64_t up, uint64_t copied)
{
	struct storing *s = container_of(st, struct storing, st);

	s->up += up;
	s->copied += copied;
}

static unsigned read_ranges(char **v, unsigned n, struct vmofs_changed *out)
{
	unsigned k = 0;

	for (; k < n && k < RANGES_MAX; k++) {
		char *end;

		out[k].off = strtoull(v[k], &end, 0);
		out[k].len = strtoull(end + 1, NULL, 0);
	}
	return k;
}

static void store(struct tool *t, const char *key, const char *path,
		  const struct vmofs_version *base, char **ranges, unsigned n)
{
	struct vmofs_changed changed[RANGES_MAX];
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct storing s = { .st = { .key = key, .base = *base }, .hang = t->hang };
	char text[900];
	struct stat st;
	int r;

	s.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s.fd < 0 || fstat(s.fd, &st) < 0) {
		perror(path);
		exit(2);
	}
	s.st.size = (uint64_t)st.st_size;
	s.st.changed = changed;
	s.st.n_changed = read_ranges(ranges, n, changed);
	if (n == 0 && st.st_size > 0) {
		changed[0] = (struct vmofs_changed){ 0, s.st.size };
		s.st.n_changed = 1;
	}
	memcpy(s.st.attempt, t->attempt, sizeof t->attempt);
	if (!t->attempt[0])
		vmofs_attempt_new(s.st.attempt);
	s.st.read = storing_read;
	s.st.commit = storing_commit;
	s.st.take = storing_take;
	s.st.give = storing_give;
	s.st.progress = storing_progress;
	r = t->change->store(t->source, &s.st, &err);
	snprintf(text, sizeof text,
		 "%s up %" PRIu64 " copied %" PRIu64 " requests %u commits %u left %" PRIu64,
		 s.st.now.validator, s.st.bytes_up, s.st.bytes_copied, s.st.requests, s.commits,
		 s.taken);
	if (r == 0 && (s.up != s.st.bytes_up || s.copied != s.st.bytes_copied))
		printf("progress differs: up %" PRIu64 " copied %" PRIu64 "\n", s.up, s.copied);
	say(r, &err, text);
	close(s.fd);
	t->attempt[0] = '\0';
}

/* -- commands --------------------------------------------------------------------------------- */

static struct vmofs_version version_of(struct tool *t, const char *key, const char *tag)
{
	struct lookup l;

	look(t, key, &l);
	if (tag)
		snprintf(l.v.validator, sizeof l.v.validator, "%s", tag);
	return l.v;
}

static void do_new(struct tool *t, char **v, unsigned n)
{
	struct vmofs_version nothing = { 0 };

	store(t, v[1], v[2], &nothing, v + 3, n - 3);
}

static void do_store(struct tool *t, char **v, unsigned n)
{
	struct vmofs_version base = version_of(t, v[1], NULL);

	store(t, v[1], v[2], &base, v + 3, n - 3);
}

static void do_over(struct tool *t, char **v, unsigned n)
{
	struct vmofs_version base = version_of(t, v[1], v[3]);

	store(t, v[1], v[2], &base, v + 4, n - 4);
}

static const struct vmofs_change_wait no_wait;

static void do_remove(struct tool *t, char **v, unsigned n)
{
	struct vmofs_version expect = { .exists = true };
	struct vmofs_err err = VMOFS_ERR_INIT;

	if (n > 2)
		snprintf(expect.validator, sizeof expect.validator, "%s", v[2]);
	say(t->change->remove(t->source, v[1], n > 2 ? &expect : NULL, &no_wait, &err), &err, "");
}

/* What is at TO may be replaced if it is what is there now. */
static void do_copy(struct tool *t, char **v, unsigned n)
{
	struct vmofs_version expect = { .exists = true }, to = version_of(t, v[2], NULL);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now = { 0 };
	int r;

	if (n > 3)
		snprintf(expect.validator, sizeof expect.validator, "%s", v[3]);
	r = t->change->copy(t->source, v[1], &expect, v[2], &to, &now, &no_wait, &err);
	say_version(r, &err, &now);
}

static void do_mkdir(struct tool *t, char **v, unsigned n UNUSED)
{
	struct vmofs_change_attr a = { .has = VMOFS_HAS_MODE, .mode = 0750 };
	struct vmofs_err err = VMOFS_ERR_INIT;

	say(t->change->make_dir(t->source, v[1], &a, &no_wait, &err), &err, "");
}

static void do_link(struct tool *t, char **v, unsigned n UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now = { 0 };
	int r = t->change->make_link(t->source, v[1], v[2], NULL, &now, &no_wait, &err);

	say_version(r, &err, &now);
}

static void do_chmod(struct tool *t, char **v, unsigned n UNUSED)
{
	struct vmofs_change_attr a = { .has = VMOFS_HAS_MODE | VMOFS_HAS_UID | VMOFS_HAS_GID,
				       .mode = (mode_t)strtoul(v[2], NULL, 8),
				       .uid = 1234,
				       .gid = 5678,
				       .mtime = { 1700000000, 5 } };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now = { 0 };
	int r = t->change->set_attr(t->source, v[1], NULL, &a, &now, &no_wait, &err);

	say_version(r, &err, &now);
}

static void do_head(struct tool *t, char **v, unsigned n UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct lookup l;
	char text[5000] = "nothing";

	look(t, v[1], &l);
	if (l.v.exists)
		snprintf(text, sizeof text, "%s %" PRIu64 " mode %o mtime %lld.%09ld %s",
			 l.v.validator, l.v.size, l.has & VMOFS_HAS_MODE ? l.mode : 0,
			 (long long)l.v.mtime.tv_sec, l.v.mtime.tv_nsec, l.target);
	say(l.code, &err, text);
}

static void do_attempted(struct tool *t, char **v, unsigned n UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now = { 0 };
	int r = t->change->attempted(t->source, v[1], v[2], &now, &no_wait, &err);

	if (r >= 0)
		printf("ok %d %s\n", r, now.exists ? now.validator : "nothing");
	else
		say(r, &err, "");
}

static void do_attempt(struct tool *t, char **v, unsigned n UNUSED)
{
	snprintf(t->attempt, sizeof t->attempt, "%s", v[1]);
}

static void do_hang(struct tool *t, char **v UNUSED, unsigned n UNUSED)
{
	t->hang = true;
}

static const struct {
	const char *name;
	unsigned words;
	void (*run)(struct tool *t, char **v, unsigned n);
} commands[] = {
	{ "new", 3, do_new },         { "store", 3, do_store },         { "over", 4, do_over },
	{ "remove", 2, do_remove },   { "copy", 3, do_copy },           { "mkdir", 2, do_mkdir },
	{ "link", 3, do_link },       { "chmod", 3, do_chmod },         { "head", 2, do_head },
	{ "attempt", 2, do_attempt }, { "attempted", 3, do_attempted }, { "hang", 1, do_hang },
};

static void run(struct tool *t, char **v, unsigned n)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (n == 0 || strcmp(commands[i].name, v[0]) != 0 || n < commands[i].words)
			continue;
		commands[i].run(t, v, n);
		return;
	}
	fprintf(stderr, "s3_change: no such command, or too few words: %s\n", n ? v[0] : "");
	exit(2);
}

/* -- the source ------------------------------------------------------------------------------- */

static void must(int r, const struct vmofs_err *err)
{
	if (r >= 0)
		return;
	fprintf(stderr, "s3_change: %s\n", err->msg);
	exit(2);
}

int main(int argc, char **argv)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_source_info info;
	struct vmofs_provider_env env;
	struct vmofs_config *config = config_new();
	struct tool t = { 0 };
	int first = 3;

	if (argc < 4) {
		fprintf(stderr, "usage: s3_change SOURCE OPTIONS COMMAND ARGUMENT... [, ...]\n");
		return 2;
	}
	must(config_add_table(config, vmofs_provider_find("http://x/")->options), &err);
	must(config_add_table(config, vmofs_provider_find(argv[1])->options), &err);
	must(argv[2][0] ? config_parse_opts(config, argv[2], &err) : 0, &err);
	env = (struct vmofs_provider_env){ .config = config, .loops = loop_pool_new(2, &err) };
	must(env.loops ? loop_pool_start(env.loops, &err) : -1, &err);
	must(vmofs_source_find(argv[1])->open(&t.source, argv[1], &env, &info, &err), &err);
	t.change = t.source->ops->change;
	for (int i = first; i <= argc; i++) {
		if (i < argc && strcmp(argv[i], ",") != 0)
			continue;
		run(&t, argv + first, (unsigned)(i - first));
		first = i + 1;
	}
	t.source->ops->stop(t.source);
	t.source->ops->free(t.source);
	loop_pool_free(env.loops);
	config_free(config);
	return 0;
}
