/* SPDX-License-Identifier: Apache-2.0 */
/* The table of mount options, and the files that set them. Set-up path of one thread. */
#include "daemon/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "store/cache.h"

const struct vmofs_option mount_options[] = {
	{ "memory", "SIZE", NULL,
	  "memory for contents (default: a quarter of what the machine or the cgroup allows)" },
	{ "timeout", "TIME", "120s", "deadline of a read; 0 waits for ever" },
	{ "readahead-max", "SIZE", "256M", "most that is fetched ahead of a sequential reader" },
	{ "keep-behind", "SIZE", "32M",
	  "kept behind a long sequential reader; 0 keeps all that memory has room for" },
	{ "readahead", "SIZE", "2M", "read-ahead of the kernel (root only)" },
	{ "max-request", "SIZE", "4M", "largest read request, where the kernel allows it" },
	{ "max-background", "N", "16384",
	  "read-ahead and asynchronous requests of the kernel at once" },
	{ "congestion", "N", NULL,
	  "requests of the kernel from which on it holds back (default: as max-background)" },
	{ "io-uring", "yes|no|auto", "no",
	  "requests of the kernel come by io_uring, where it can" },
	{ "async-dio", NULL, "no",
	  "O_DIRECT reads go out in parallel; they then cannot be interrupted, only time out" },
	{ "threads", "N", NULL, "event loops (default: one for two CPUs, 1 to 4)" },
	{ "name", "NAME", NULL,
	  "name of the file in the mounted directory (default: from the source)" },
	{ "metadata-ttl", "TIME", "60s", "trees: how long names and attributes are believed" },
	{ "negative-ttl", "TIME", "5s", "trees: how long a name is believed not to be there" },
	{ "immutable", NULL, "no", "trees: nothing changes at the source while it is mounted" },
	{ "uid", "N", NULL, "trees: owner of the files (default: who mounts)" },
	{ "gid", "N", NULL, "trees: group of the files (default: of who mounts)" },
	{ "file-mode", "MODE", "0444", "trees: permissions of files (default with rw: 0644)" },
	{ "dir-mode", "MODE", "0555", "trees: permissions of directories (default with rw: 0755)" },
	{ "object-metadata", NULL, "no",
	  "trees: modes, owners and symbolic links from each object's metadata, one request a file" },
	{ "metadata-memory", "SIZE", "32M",
	  "trees: memory for names and attributes that the kernel does not hold" },
	{ "siblings-max", "SIZE", "8M",
	  "trees: most that is fetched ahead of who reads small files in order; 0 for none" },
	{ "xattrs", NULL, NULL,
	  "files have extended attributes (default: in mounts of one object, not in trees)" },
	{ "cache-dir", "DIR", NULL,
	  "keep what was fetched in DIR too, for later mounts (default: memory only)" },
	{ "cache-size", "SIZE", "10G", "most that DIR may take; 0 for what cache-free leaves" },
	{ "cache-free", "SIZE", "1G", "what stays free of the file system of DIR" },
	{ "cache-threads", "N", "16", "most threads that read and write DIR" },
	{ "passthrough", NULL, "yes",
	  "the kernel itself reads files that are whole in DIR, where it can" },
	{ "rw", NULL, "no",
	  "files can be changed: of buckets, servers that take PUT, directories" },
	{ "cow", NULL, "no",
	  "files can be changed, and the changes are kept here: the source is only read" },
	{ "cow-dir", "DIR", NULL,
	  "cow: where they are kept (default: /var/lib/vmofs/cow, or ~/.local/state/vmofs/cow)" },
	{ "fsync", "remote|local", "remote",
	  "rw: fsync waits until the origin has the file, or until the journal is on disk" },
	{ "close", "async|sync", "async",
	  "rw: a file is stored soon after its close, or close waits for it" },
	{ "dirty-limit", "SIZE", NULL,
	  "rw: most that is not stored yet; writers wait then (default: half of memory)" },
	{ "write-age", "TIME", "5s", "rw: what has been changed is stored after this time" },
	{ "write-threads", "N", "8", "rw: most files that are stored at the same time" },
	{ "journal-dir", "DIR", NULL,
	  "rw: keeps what is not stored yet; none: no journal (default: /var/lib/vmofs/journal, or ~/.local/state/vmofs/journal)" },
	{ "exact-dirty", NULL, "no",
	  "rw: shared writable mappings, whose changes are seen late, are refused" },
	{ "journal-size", "SIZE", "10G", "rw: most that the journal may take; 0 for no limit" },
	{ "allow-other", NULL, "no", "other users may use the files" },
	{ "log-level", "LEVEL", "info", "error, warn, info or debug" },
	{ "log-file", "FILE", NULL, "append the log to FILE instead of syslog" },
	{ 0 },
};

const struct vmofs_option vfs_options[] = {
	{ "ro", NULL, "yes", "read-only; of ro and rw the later one counts" },
	{ "dev", NULL, "no", "interpret device files" },
	{ "nodev", NULL, "yes", "do not interpret device files" },
	{ "suid", NULL, "no", "honour set-user-ID bits" },
	{ "nosuid", NULL, "yes", "do not honour set-user-ID bits" },
	{ "exec", NULL, "yes", "allow programs to be run" },
	{ "noexec", NULL, "no", "do not allow programs to be run" },
	{ 0 },
};

DEFINE_FREEP(struct vmofs_config, config_free)

int options_new_config(struct vmofs_config **out, struct vmofs_err *err)
{
	cleanup(config_freep) struct vmofs_config *c = config_new();
	int r;

	if (!c)
		return vmofs_err_set(err, -ENOMEM, "no memory for the configuration");
	r = config_add_table(c, mount_options);
	if (!r)
		r = config_add_table(c, vfs_options);
	for (const struct vmofs_provider_ops *const *p = vmofs_providers; !r && *p; p++)
		r = config_add_table(c, (*p)->options);
	if (r < 0)
		return vmofs_err_set(err, r, "too many tables of options");
	*out = steal_ptr(&c);
	return 0;
}

struct each_call {
	void (*fn)(void *arg, const struct vmofs_option *opt);
	void *arg;
	const struct vmofs_option *seen[256];
	size_t n_seen;
};

static void each_once(void *arg, const struct vmofs_option *opt, const char *value UNUSED)
{
	struct each_call *call = arg;

	for (size_t i = 0; i < call->n_seen; i++)
		if (!strcmp(call->seen[i]->name, opt->name))
			return;
	if (call->n_seen < ARRAY_LEN(call->seen))
		call->seen[call->n_seen++] = opt;
	call->fn(call->arg, opt);
}

void options_each(void (*fn)(void *arg, const struct vmofs_option *opt), void *arg)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	cleanup(config_freep) struct vmofs_config *c = NULL;
	struct each_call call = { .fn = fn, .arg = arg };

	if (!options_new_config(&c, &err))
		config_list(c, each_once, &call);
}

/* A file that need not be there. */
static int load_if_there(struct vmofs_config *c, const char *path, const char *source,
			 struct vmofs_err *err)
{
	int r = config_parse_file(c, path, source, err);

	if (r == -ENOENT || r == -EACCES || r == -ENOTDIR) {
		*err = (struct vmofs_err)VMOFS_ERR_INIT;
		return 0;
	}
	return r;
}

static int load_of_user(struct vmofs_config *c, const char *source, struct vmofs_err *err)
{
	const char *xdg = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	char path[4096];
	int n;

	if (xdg && *xdg)
		n = snprintf(path, sizeof path, "%s/vmofs/vmofs.conf", xdg);
	else if (home && *home)
		n = snprintf(path, sizeof path, "%s/.config/vmofs/vmofs.conf", home);
	else
		return 0;
	return n < (int)sizeof path ? load_if_there(c, path, source, err) : 0;
}

int options_load_files(struct vmofs_config *c, const char *source, const char *extra,
		       struct vmofs_err *err)
{
	int r = load_if_there(c, "/etc/vmofs/vmofs.conf", source, err);

	if (!r)
		r = load_of_user(c, source, err);
	if (!r && extra)
		r = config_parse_file(c, extra, source, err);
	return r;
}

/* ---- directories ---- */

static int no_such_place(const char *option, const char *dir, int r, struct vmofs_err *err)
{
	return vmofs_err_set(err, r, "option '%s': cannot use '%s': %s", option, dir, strerror(-r));
}

int options_dir(const char *option, const char *dir, char **out, struct vmofs_err *err)
{
	cleanup(mem_freep) char *parent = NULL;
	cleanup(mem_freep) char *copy = strdup(dir);
	char *last;

	*out = realpath(dir, NULL);
	if (*out)
		return 0;
	if (errno != ENOENT || !copy)
		return no_such_place(option, dir, copy ? -errno : -ENOMEM, err);
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	last = strrchr(copy, '/');
	if (last)
		*last++ = '\0';
	parent = realpath(!last ? "." : *copy ? copy : "/", NULL);
	if (!parent)
		return vmofs_err_set(err, -errno,
				     "option '%s': cannot make '%s': %s; its parent "
				     "directory must be there",
				     option, dir, strerror(errno));
	if (asprintf(out, "%s/%s", strcmp(parent, "/") ? parent : "", last ? last : copy) < 0) {
		*out = NULL;
		return no_such_place(option, dir, -ENOMEM, err);
	}
	return 0;
}

/* Whether @path is @dir or something below it. Both are absolute, without links. */
static bool is_inside(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return n && !strncmp(path, dir, n) && (!path[n] || path[n] == '/' || dir[n - 1] == '/');
}

int options_check_place(const char *option, const char *dir, const char *mountpoint,
			struct vmofs_err *err)
{
	if (!is_inside(dir, mountpoint))
		return 0;
	return vmofs_err_set(err, -EINVAL,
			     "option '%s': '%s' is inside of the mountpoint '%s'; "
			     "give a directory elsewhere",
			     option, dir, mountpoint);
}

int options_cache(const struct vmofs_config *c, char **dir, struct cache_params *p,
		  struct vmofs_err *err)
{
	const char *given = config_str(c, "cache-dir");
	int r;

	*dir = NULL;
	if (!given || !*given)
		return 0;
	if (config_size(c, "cache-size", &p->limit, err) ||
	    config_size(c, "cache-free", &p->floor, err))
		return err->code;
	r = options_dir("cache-dir", given, dir, err);
	p->dir = *dir;
	return r;
}
