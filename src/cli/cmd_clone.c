/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmofs clone: a private, writable child of an object or of a tree, mounted where it is wanted. It is a mount with the option cow
 * whose changes belong to that place: the same command later shows them again.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/macros.h"
#include "cli/cmd.h"
#include "cli/config_args.h"
#include "cow/cow.h"
#include "daemon/client.h"
#include "daemon/unmount.h"
#include "daemon/write_options.h"

static const struct opt clone_opts[] = {
	{ 'd', "discard", NULL, "forget what was changed in the clone at DST" },
	{ 'o', "options", "OPT[,...]",
	  "options of a mount, also as --NAME=VALUE; of a SRC in a mount the source's own are taken over" },
	{ 'c', "config", "FILE", "read FILE too, after those in /etc and the home directory" },
	{ 'f', "foreground", NULL, "stay in the foreground, log to the terminal" },
	{ 0 },
};

DEFINE_FREEP(struct vmofs_config, config_free)

/* ---- what is cloned ---- */

static bool is_source(const char *text)
{
	const char *colon = strchr(text, ':');

	return colon && colon > text && vmofs_provider_find(text) &&
		strcspn(text, "/") > (size_t)(colon - text);
}

/* What of @path is where: {"source", "options": [[name, value], ...]} */
static int ask_origin(const char *path, json_t **out, struct vmofs_err *err)
{
	struct client_target t;
	int r = client_find(&t, path, err);

	return r < 0 ? r
		     : client_call(&t, json_pack("{s:s, s:s}", "cmd", "origin", "path", t.inside),
				   out, err);
}

static int take_options(struct vmofs_config *c, const json_t *origin, struct vmofs_err *err)
{
	json_t *options = json_object_get(origin, "options");
	size_t i;
	json_t *o;

	json_array_foreach(options, i, o)
	{
		const char *name = json_string_value(json_array_get(o, 0));
		int r = name && !config_is_set(c, name)
			? config_set(c, name, json_string_value(json_array_get(o, 1)), err)
			: 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- where it goes ---- */

static int check_there(const char *path, const struct stat *st, bool tree, struct vmofs_err *err)
{
	if (tree && !S_ISDIR(st->st_mode))
		return vmofs_err_set(err, -ENOTDIR,
				     "'%s' is no directory, which the clone of a tree needs", path);
	if (S_ISREG(st->st_mode) && st->st_size)
		return vmofs_err_set(err, -EEXIST,
				     "'%s' is a file already, which the clone would hide; give "
				     "another name, or remove it",
				     path);
	return 0;
}

/* Something to mount at. @made: it was not there. */
static int make_place(const char *path, bool tree, bool *made, struct vmofs_err *err)
{
	cleanup(fd_closep) int fd = -1;
	struct stat st;

	*made = false;
	if (lstat(path, &st) == 0)
		return check_there(path, &st, tree, err);
	if (errno == ENOENT && tree && mkdir(path, 0755) == 0) {
		*made = true;
		return 0;
	}
	if (errno == ENOENT && !tree)
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	*made = fd >= 0;
	return fd >= 0 ? 0
		       : vmofs_err_set(err, -errno, "cannot make '%s': %s", path, strerror(errno));
}

static int check_not_mounted(const char *path, struct vmofs_err *err)
{
	cleanup(mem_freep) char *parent = strdup(path);
	struct vmofs_err unused = VMOFS_ERR_INIT;
	struct client_target t;
	int r = client_find(&t, path, &unused);

	if (r < 0 && parent && access(path, F_OK) < 0) {
		*strrchr(parent, '/') = '\0';
		r = client_find(&t, *parent ? parent : "/", &unused);
	} else if (!r && !*t.inside) {
		return vmofs_err_set(err, -EBUSY, "'%s' is mounted already", path);
	}
	if (r < 0)
		return 0;
	return vmofs_err_set(err, -EINVAL,
			     "'%s' is in the mount '%s'; a clone is mounted in a place of its own",
			     path, t.mount.mountpoint);
}

/* Absolute, also where the last part is not there yet. */
static int resolve(const char *dst, char path[PATH_MAX], struct vmofs_err *err)
{
	char parent[PATH_MAX], *slash;
	int n, r = unmount_resolve(dst, path);

	if (r != -ENOENT)
		return r < 0 ? vmofs_err_set(err, r, "'%s': %s", dst, strerror(-r)) : 0;
	n = snprintf(parent, sizeof parent, "%s%s", *dst == '/' ? "" : "./", dst);
	if (n >= (int)sizeof parent)
		return vmofs_err_set(err, -ENAMETOOLONG, "'%s': the name is too long", dst);
	while (n > 1 && parent[n - 1] == '/')
		parent[--n] = '\0';
	slash = strrchr(parent, '/');
	dst = parent + (slash - parent) + 1;
	*slash = '\0';
	if (!realpath(*parent ? parent : "/", path))
		return vmofs_err_set(err, -errno, "'%s': %s", parent, strerror(errno));
	n = (int)strlen(path);
	if (snprintf(path + n, PATH_MAX - (size_t)n, "%s%s", n > 1 ? "/" : "", dst) >= PATH_MAX - n)
		return vmofs_err_set(err, -ENAMETOOLONG, "'%s': the name is too long", dst);
	return 0;
}

/* ---- the two ways ---- */

static int discard(const struct args *a, struct vmofs_err *err)
{
	cleanup(config_freep) struct vmofs_config *c = NULL;
	cleanup(mem_freep) char *dir = NULL;
	const char *dst = a->pos[a->n_pos - 1];
	char path[PATH_MAX];
	unsigned n = 0;
	int r = resolve(dst, path, err);

	if (!r)
		r = config_args_load(&c, a, path, err);
	if (!r)
		r = write_options_cow_dir(c, &dir, err);
	if (!r)
		r = cow_discard(dir, path, &n, err);
	if (!r && !n)
		return vmofs_err_set(err, -ENOENT,
				     "there is no clone at '%s' of which '%s' has changes", path,
				     dir);
	return r;
}

static int mount_clone(const struct args *a, struct vmofs_config *c, const char *source,
		       const char *path, struct vmofs_err *err)
{
	bool tree = vmofs_source_find(source);
	bool made = false;
	int r = config_set(c, "cow", NULL, err);

	if (!r)
		r = check_not_mounted(path, err);
	if (!r)
		r = make_place(path, tree, &made, err);
	if (r < 0)
		return r;
	r = cmd_mount_run_config(c, source, path, path, args_get(a, "foreground") != NULL, err);
	if (r < 0 && made)
		(void)remove(path);
	return r;
}

static int cmd_clone_run(const struct args *a, struct vmofs_err *err)
{
	cleanup(config_freep) struct vmofs_config *c = NULL;
	cleanup(json_decrefp) json_t *origin = NULL;
	const char *source = a->pos[0];
	char path[PATH_MAX];
	int r = 0;

	if (args_get(a, "discard"))
		return discard(a, err);
	if (a->n_pos != 2)
		return vmofs_err_set(err, -EINVAL, "usage: vmofs clone [OPTIONS] SRC DST");
	if (!is_source(source)) {
		r = ask_origin(source, &origin, err);
		source = json_string_value(json_object_get(origin, "source"));
		if (!r && !source)
			r = vmofs_err_set(err, -EINVAL, "'%s' cannot be cloned", a->pos[0]);
	}
	if (!r)
		r = resolve(a->pos[1], path, err);
	if (!r)
		r = config_args_load(&c, a, source, err);
	if (!r && origin)
		r = take_options(c, origin, err);
	return r < 0 ? r : mount_clone(a, c, source, path, err);
}

const struct cmd cmd_clone = {
	.name = "clone",
	.args = "SRC DST | --discard DST",
	.help = "mount a private, writable child of an object or a tree",
	.opts = clone_opts,
	.min_args = 1,
	.max_args = 2,
	.run = cmd_clone_run,
};
