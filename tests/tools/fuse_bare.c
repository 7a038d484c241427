/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The least that a FUSE daemon can do for a read: one file, held in memory, answered from there by as many threads as
 * asked for, with the same library as vmofs. It is the yardstick of what a request costs; no test looks at it.
 *
 * usage: fuse_bare [-u] [-c] [-t THREADS] FILE MOUNTPOINT
 *   -u  by io_uring (libfuse 3.18, and the parameter enable_uring of the module fuse)
 *   -c  through the kernel's page cache (default: direct_io)
 *   -t  threads that read /dev/fuse (default 4)
 * Serves FILE under its base name in the directory MOUNTPOINT, in the foreground, until it is unmounted.
 */
#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macros.h"

enum { ROOT = 1, FILE_INO = 2 };
static const double FOREVER = 1e6;

static struct bare {
	char *map;
	size_t size;
	const char *name;
	bool uring;
	bool cached;
	unsigned threads;
} bare = { .threads = 4 };

static void bare_init(void *arg UNUSED, struct fuse_conn_info *conn)
{
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_READ);
#else
	conn->want &= ~(unsigned)FUSE_CAP_SPLICE_READ;
#endif
	conn->max_background = 1024;
	conn->congestion_threshold = 1024;
}

static void fill(struct stat *st, fuse_ino_t ino)
{
	*st = (struct stat){
		.st_ino = ino,
		.st_mode = ino == ROOT ? S_IFDIR | 0555 : S_IFREG | 0444,
		.st_nlink = 1,
		.st_size = ino == ROOT ? 0 : (off_t)bare.size,
	};
}

static void bare_lookup(fuse_req_t req, fuse_ino_t parent UNUSED, const char *name)
{
	struct fuse_entry_param e = { .ino = FILE_INO,
				      .attr_timeout = FOREVER,
				      .entry_timeout = FOREVER };

	if (strcmp(name, bare.name)) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill(&e.attr, FILE_INO);
	fuse_reply_entry(req, &e);
}

static void bare_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi UNUSED)
{
	struct stat st;

	fill(&st, ino);
	fuse_reply_attr(req, &st, FOREVER);
}

static void bare_open(fuse_req_t req, fuse_ino_t ino UNUSED, struct fuse_file_info *fi)
{
	fi->direct_io = !bare.cached;
	fi->keep_cache = bare.cached;
	fuse_reply_open(req, fi);
}

static void bare_read(fuse_req_t req, fuse_ino_t ino UNUSED, size_t size, off_t off,
		      struct fuse_file_info *fi UNUSED)
{
	size_t at = MIN((size_t)off, bare.size);

	fuse_reply_buf(req, bare.map + at, MIN(size, bare.size - at));
}

static void bare_readdir(fuse_req_t req, fuse_ino_t ino UNUSED, size_t size, off_t off,
			 struct fuse_file_info *fi UNUSED)
{
	char buf[1024];
	struct stat st;
	size_t n = 0;

	fill(&st, FILE_INO);
	if (!off)
		n = fuse_add_direntry(req, buf, sizeof buf, bare.name, &st, 1);
	fuse_reply_buf(req, buf, n <= size ? n : 0);
}

static const struct fuse_lowlevel_ops bare_ops = {
	.init = bare_init,
	.lookup = bare_lookup,
	.getattr = bare_getattr,
	.open = bare_open,
	.read = bare_read,
	.readdir = bare_readdir,
};

static int load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t done = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	bare.size = (size_t)st.st_size;
	bare.map =
		mmap(NULL, bare.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bare.map == MAP_FAILED)
		return -errno;
	while (done < bare.size) {
		ssize_t n = read(fd, bare.map + done, bare.size - done);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	close(fd);
	bare.name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	return 0;
}

static int serve(const char *mountpoint)
{
	char opts[128];
	char *argv[] = { "fuse_bare", "-o", opts, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(ARRAY_LEN(argv) - 1, argv);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct fuse_session *se;
	int r;

	snprintf(opts, sizeof opts, "ro,fsname=fuse_bare%s",
		 bare.uring ? ",io_uring,io_uring_q_depth=32" : "");
	se = fuse_session_new(&args, &bare_ops, sizeof bare_ops, NULL);
	fuse_opt_free_args(&args);
	if (!se || fuse_session_mount(se, mountpoint))
		return -EPERM;
	fuse_loop_cfg_set_clone_fd(config, 0);
	fuse_loop_cfg_set_max_threads(config, bare.threads);
	fuse_loop_cfg_set_idle_threads(config, bare.threads);
	fuse_set_signal_handlers(se);
	r = bare.threads > 1 ? fuse_session_loop_mt(se, config) : fuse_session_loop(se);
	fuse_remove_signal_handlers(se);
	fuse_session_unmount(se);
	fuse_session_destroy(se);
	fuse_loop_cfg_destroy(config);
	return r < 0 ? r : 0;
}

int main(int argc, char **argv)
{
	int c;
	int r;

	while ((c = getopt(argc, argv, "uct:")) != -1) {
		if (c == 'u')
			bare.uring = true;
		else if (c == 'c')
			bare.cached = true;
		else if (c == 't')
			bare.threads = (unsigned)strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	if (argc - optind != 2 || !bare.threads) {
		fprintf(stderr, "usage: fuse_bare [-u] [-c] [-t THREADS] FILE MOUNTPOINT\n");
		return 2;
	}
	/* As a daemon is: the scheduler shares time by sessions, and readers may not share theirs with it. */
	(void)setsid();
	r = load(argv[optind]);
	if (!r)
		r = serve(argv[optind + 1]);
	if (r < 0)
		fprintf(stderr, "fuse_bare: %s\n", strerror(-r));
	return r < 0;
}
