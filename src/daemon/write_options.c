/* SPDX-License-Identifier: Apache-2.0 */
/* The values of the options for writing: their limits, what goes with what, and where the journal is. */
#include "daemon/write_options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "daemon/options.h"

enum { THREADS_LIMIT = 64 };
#define DIRTY_MIN MIB(1)
/* So old gets what is only in memory before it is in the journal, where only the machine's end can lose it. */
#define COMMIT_NS NSEC_PER_SEC

bool write_options_cow(const struct vmofs_config *c)
{
	return config_bool_unless(c, "cow", "ro");
}

bool write_options_wanted(const struct vmofs_config *c)
{
	return write_options_cow(c) || config_bool_unless(c, "rw", "ro");
}

int write_options_check_cow(const struct vmofs_config *c, struct vmofs_err *err)
{
	if (!write_options_cow(c) || !config_bool_unless(c, "rw", "ro"))
		return 0;
	return vmofs_err_set(err, -EINVAL,
			     "options 'cow' and 'rw' contradict each other: with cow the source "
			     "is never changed, with rw it is");
}

int write_options_refuse(const char *source, const char *provider, struct vmofs_err *err)
{
	static const struct {
		const char *provider;
		const char *why;
	} reasons[] = {
		{ "list", "a list's URLs can only be read; mount it without rw" },
	};

	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (!strcmp(reasons[i].provider, provider))
			return vmofs_err_set(err, -EROFS, "option 'rw': '%s' is read-only: %s",
					     source, reasons[i].why);
	return vmofs_err_set(
		err, -EROFS,
		"option 'rw': '%s' is read-only: sources of '%s' cannot be changed; mount "
		"it without rw, or a bucket as s3://BUCKET[/PREFIX]",
		source, provider);
}

/* ---- where the journal is ---- */

static int default_dir(const char *option, const char *what, char *out, size_t cap,
		       struct vmofs_err *err)
{
	const char *xdg = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	int n;

	if (geteuid() == 0)
		n = snprintf(out, cap, "/var/lib/vmofs/%s", what);
	else if (xdg && *xdg == '/')
		n = snprintf(out, cap, "%s/vmofs/%s", xdg, what);
	else if (home && *home == '/')
		n = snprintf(out, cap, "%s/.local/state/vmofs/%s", home, what);
	else
		return vmofs_err_set(err, -EINVAL,
				     "where is the %s to be? There is no home directory; give "
				     "%s=DIR",
				     what, option);
	return n < (int)cap ? 0
			    : vmofs_err_set(err, -ENAMETOOLONG,
					    "the name of the home directory is too long; give "
					    "%s=DIR",
					    option);
}

static int state_dir(const struct vmofs_config *c, const char *option, const char *what, char **out,
		     struct vmofs_err *err)
{
	const char *given = config_str(c, option);
	char path[PATH_MAX];
	int r;

	if (given && *given)
		return options_dir(option, given, out, err);
	r = default_dir(option, what, path, sizeof path, err);
	if (r < 0)
		return r;
	*out = strdup(path);
	return *out ? 0 : vmofs_err_set(err, -ENOMEM, "no memory for the %s's name", what);
}

int write_options_journal_dir(const struct vmofs_config *c, char **out, struct vmofs_err *err)
{
	const char *given = config_str(c, "journal-dir");

	*out = NULL;
	if (given && !strcmp(given, "none"))
		return 0;
	return state_dir(c, "journal-dir", "journal", out, err);
}

int write_options_cow_dir(const struct vmofs_config *c, char **out, struct vmofs_err *err)
{
	*out = NULL;
	return state_dir(c, "cow-dir", "cow", out, err);
}

/* ---- the writer ---- */

static int read_dirty_limit(const struct vmofs_config *c, uint64_t memory, uint64_t *out,
			    struct vmofs_err *err)
{
	*out = memory / 2;
	if (!config_is_set(c, "dirty-limit"))
		return 0;
	if (config_size(c, "dirty-limit", out, err) < 0)
		return err->code;
	if (*out < DIRTY_MIN)
		return vmofs_err_set(err, -EINVAL, "option 'dirty-limit': at least %lluM",
				     (unsigned long long)(DIRTY_MIN >> 20));
	/* The rest is for pages that are only partly overwritten, and for readers. */
	if (*out > memory - memory / 4)
		return vmofs_err_set(
			err, -EINVAL,
			"option 'dirty-limit': %lluM do not fit into three quarters of "
			"the option 'memory', which is %lluM; give less, or more memory",
			(unsigned long long)(*out >> 20), (unsigned long long)(memory >> 20));
	return 0;
}

/*
 * What the kernel has of pages that were stored to through mappings, at most: it keeps one mount's below 1 % (max_ratio of its
 * bdi) of what it keeps of all dirty pages (a fifth of memory), which it looks at now and then only; so twice as much.
 */
static uint64_t mapped_reserve(uint64_t memory)
{
	uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	return MIN(ram / 250, memory / 8);
}

static int read_threads(const struct vmofs_config *c, unsigned *out, struct vmofs_err *err)
{
	uint64_t n;

	if (config_u64(c, "write-threads", &n, err) < 0)
		return err->code;
	if (n < 1 || n > THREADS_LIMIT)
		return vmofs_err_set(err, -EINVAL, "option 'write-threads': from 1 to %d",
				     THREADS_LIMIT);
	*out = (unsigned)n;
	return 0;
}

static int read_waits(const struct vmofs_config *c, struct writer_params *p, struct vmofs_err *err)
{
	static const char *const fsyncs[] = {
		[WRITER_FSYNC_REMOTE] = "remote",
		[WRITER_FSYNC_LOCAL] = "local",
		NULL,
	};
	static const char *const closes[] = { "async", "sync", NULL };
	int fsync_as = config_choice(c, "fsync", fsyncs, err);
	int close_as = fsync_as < 0 ? fsync_as : config_choice(c, "close", closes, err);

	if (close_as < 0)
		return close_as;
	p->fsync = (enum writer_fsync)fsync_as;
	p->close_sync = close_as == 1;
	p->commit_ns = COMMIT_NS;
	if (config_time(c, "write-age", &p->age_ns, err) ||
	    config_time(c, "timeout", &p->timeout_ns, err))
		return err->code;
	return 0;
}

static int check_together(const struct write_options *o, const struct vmofs_config *c,
			  struct vmofs_err *err)
{
	if (config_bool(c, "immutable"))
		return vmofs_err_set(
			err, -EINVAL,
			write_options_cow(c)
				? "options 'cow' and 'immutable' contradict each other: what can be "
				  "changed here is not immutable"
				: "options 'rw' and 'immutable' contradict each other: what can be "
				  "changed here changes at the source");
	if (!o->journal_dir && o->writer.fsync == WRITER_FSYNC_LOCAL)
		return vmofs_err_set(err, -EINVAL,
				     "option 'fsync': local needs a journal, and there is none "
				     "(journal-dir=none); give journal-dir=DIR, or fsync=remote");
	return 0;
}

int write_options_read(struct write_options *out, const struct vmofs_config *c, uint64_t memory,
		       struct vmofs_err *err)
{
	*out = (struct write_options){ 0 };
	if (read_waits(c, &out->writer, err) || read_threads(c, &out->writer.threads, err) ||
	    read_dirty_limit(c, memory, &out->writer.dirty_limit, err) ||
	    config_size(c, "journal-size", &out->journal_size, err) ||
	    write_options_journal_dir(c, &out->journal_dir, err))
		return err->code;
	out->writer.reserve = mapped_reserve(memory);
	return check_together(out, c, err);
}

void write_options_release(struct write_options *o)
{
	free(o->journal_dir);
	o->journal_dir = NULL;
}
