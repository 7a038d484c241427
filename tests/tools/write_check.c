/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves that what fsync promised is there after a crash of whatever keeps the file.
 *
 *   write_check make FILE SIDE SECTORS      a file of sectors with the first stamp
 *   write_check run  FILE SIDE [OPTION]...  writes until the file fails, or -n writes, or -t seconds
 *   write_check check FILE SIDE             every sector has what was promised, or something newer that was written
 *
 * A sector is 512 bytes that name the file's place and the write (a stamp, counting up) that made them, in every word: a mixture
 * of two versions shows. SIDE is kept elsewhere, on a disk that is not in question: for each sector the stamp that was tried last,
 * the one that fsync promised, and the last truncation that removed it. A write goes to one or many sectors, on page borders or
 * not, and beyond the end; after some of them comes an fsync, and when that returns 0 all before it is promised.
 *
 * Single-threaded. The writer itself is never killed, so SIDE needs no care.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/macros.h"
#include "lib/prng.h"

enum { SECTOR = 512, WORDS = SECTOR / 8, MAX_RUN = 64 };

struct sector_side {
	uint64_t tried;    /* the last write to it that was begun; 0: none */
	uint64_t done;     /* the last write or truncation that returned */
	uint64_t promised; /* what fsync has promised: this one, or a newer one */
	uint64_t cut;      /* the last truncation that was begun and takes it away */
};

struct side {
	uint64_t sectors;
	uint64_t stamp;  /* the last one that was given out */
	uint64_t synced; /* fsyncs that returned 0 */
	struct sector_side s[];
};

static struct {
	const char *file, *side_path;
	uint64_t seed, writes, per_sync;
	double seconds;
	bool cuts;
} conf = { .seed = 1, .writes = UINT64_MAX, .per_sync = 8, .seconds = 1e9 };

static struct side *side;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "write_check: %s '%s': %s\n", what, conf.file, strerror(errno));
	exit(2);
}

/* ---- sectors ---- */

static void stamp_sector(uint64_t *to, uint64_t index, uint64_t stamp)
{
	to[0] = stamp;
	for (unsigned i = 1; i < WORDS; i++) {
		struct prng r = { stamp << 24 ^ index << 8 ^ i };

		to[i] = prng_next(&r);
	}
}

/* The stamp of a sector; 0 for zeros; UINT64_MAX for what nobody has written. */
static uint64_t read_stamp(const uint64_t *sector, uint64_t index)
{
	uint64_t want[WORDS];

	stamp_sector(want, index, sector[0]);
	if (!memcmp(want, sector, SECTOR))
		return sector[0];
	for (unsigned i = 0; i < WORDS; i++)
		if (sector[i])
			return UINT64_MAX;
	return 0;
}

/* ---- the side file ---- */

static void map_side(int flags)
{
	struct stat st;
	int fd = open(conf.side_path, O_RDWR | O_CLOEXEC | flags, 0644);

	if (fd < 0 || fstat(fd, &st) < 0) {
		conf.file = conf.side_path;
		die("cannot open");
	}
	side = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (side == MAP_FAILED)
		die("cannot map the side of");
	close(fd);
}

static void make_side(uint64_t sectors)
{
	int fd = open(conf.side_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || ftruncate(fd, (off_t)(sizeof *side + sectors * sizeof side->s[0])) < 0)
		die("cannot make the side of");
	close(fd);
	map_side(0);
	side->sectors = sectors;
}

/* ---- make ---- */

/* All sectors but the last eighth, which is for growing. */
static int make(uint64_t sectors)
{
	uint64_t buf[WORDS], full = sectors - sectors / 8;
	FILE *f = fopen(conf.file, "w");

	make_side(sectors);
	if (!f)
		die("cannot make");
	side->stamp = 1;
	for (uint64_t i = 0; i < full; i++) {
		stamp_sector(buf, i, 1);
		side->s[i].tried = side->s[i].done = side->s[i].promised = 1;
		if (fwrite(buf, SECTOR, 1, f) != 1)
			die("cannot write");
	}
	if (fclose(f))
		die("cannot write");
	return 0;
}

/* ---- run ---- */

/* The file no longer answers: what the case is about. Anything else is wrong. */
static int ended(const char *what)
{
	int error = errno;

	printf("%s: %s after %" PRIu64 " stamps, %" PRIu64 " fsyncs\n", what, strerror(error),
	       side->stamp, side->synced);
	return error == ENOTCONN || error == ECONNABORTED || error == ENODEV || error == EIO ? 0
											     : 1;
}

/* What is written in part when the file system goes fails with the rest. */
static bool write_all(int fd, const void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(off + done));

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool write_run(int fd, uint64_t first, unsigned n)
{
	static uint64_t buf[MAX_RUN * WORDS];
	uint64_t stamp = ++side->stamp;

	for (unsigned i = 0; i < n; i++) {
		stamp_sector(buf + i * WORDS, first + i, stamp);
		side->s[first + i].tried = stamp;
	}
	if (!write_all(fd, buf, n * SECTOR, first * SECTOR))
		return false;
	for (unsigned i = 0; i < n; i++)
		side->s[first + i].done = stamp;
	return true;
}

static bool cut(int fd, uint64_t first)
{
	uint64_t stamp = ++side->stamp;

	for (uint64_t i = first; i < side->sectors; i++)
		side->s[i].cut = stamp;
	if (ftruncate(fd, (off_t)(first * SECTOR)) < 0)
		return false;
	for (uint64_t i = first; i < side->sectors; i++)
		side->s[i].done = stamp;
	return true;
}

static bool sync_file(int fd)
{
	if (fsync(fd) < 0)
		return false;
	for (uint64_t i = 0; i < side->sectors; i++)
		side->s[i].promised = side->s[i].done;
	side->synced++;
	return true;
}

/* Often few sectors, often the same ones, so that a page is written again while it is being stored. */
static bool one_write(int fd, struct prng *r)
{
	unsigned n = prng_chance(r, 60) ? 1 + (unsigned)prng_below(r, 8)
					: 1 + (unsigned)prng_below(r, MAX_RUN);
	uint64_t first = prng_below(r, side->sectors);

	if (prng_chance(r, 30))
		first = prng_below(r, MIN(side->sectors, 64u));
	if (prng_chance(r, 30))
		first = first / 8 * 8, n = (n + 7) / 8 * 8;
	if (conf.cuts && prng_chance(r, 2))
		return cut(fd, side->sectors / 2 + first / 2);
	return write_run(fd, first, (unsigned)MIN(n, side->sectors - first));
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run(void)
{
	struct prng r = { conf.seed };
	double end = now() + conf.seconds;
	int fd = open(conf.file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return ended("open");
	for (uint64_t i = 0; i < conf.writes && now() < end; i++) {
		if (!one_write(fd, &r))
			return ended("write");
		if (prng_below(&r, conf.per_sync) == 0 && !sync_file(fd))
			return ended("fsync");
		if (prng_chance(&r, 1)) {
			if (close(fd) < 0)
				return ended("close");
			fd = open(conf.file, O_RDWR | O_CLOEXEC);
			if (fd < 0)
				return ended("open");
		}
	}
	if (!sync_file(fd))
		return ended("fsync");
	printf("%" PRIu64 " stamps, %" PRIu64 " fsyncs\n", side->stamp, side->synced);
	return 0;
}

/* ---- check ---- */

static const char *judge(const struct sector_side *s, uint64_t stamp)
{
	if (stamp == UINT64_MAX)
		return "a mixture, or what nobody wrote";
	if (!stamp) /* zeros, or beyond the end */
		return !s->promised || s->cut >= s->promised
			? NULL
			: "nothing, where something was promised";
	if (stamp < s->promised)
		return "older than was promised";
	if (stamp > s->tried)
		return "newer than what was written there";
	return NULL;
}

static int check(void)
{
	uint64_t wrong = 0, newer = 0;
	int fd = open(conf.file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("cannot open");
	for (uint64_t i = 0; i < side->sectors; i++) {
		uint64_t buf[WORDS] = { 0 }, stamp;
		ssize_t n = pread(fd, buf, SECTOR, (off_t)(i * SECTOR));
		const char *what;

		if (n < 0)
			die("cannot read");
		stamp = read_stamp(buf, i);
		what = judge(&side->s[i], stamp);
		newer += stamp != UINT64_MAX && stamp > side->s[i].promised;
		if (!what || wrong++ >= 10)
			continue;
		fprintf(stderr,
			"write_check: sector %" PRIu64 " of '%s': %s: it has %" PRIx64
			", promised %" PRIu64 ", tried %" PRIu64 ", cut %" PRIu64 "\n",
			i, conf.file, what, buf[0], side->s[i].promised, side->s[i].tried,
			side->s[i].cut);
	}
	printf("%" PRIu64 " sectors, %" PRIu64 " wrong, %" PRIu64 " newer than promised\n",
	       side->sectors, wrong, newer);
	return wrong ? 1 : 0;
}

/* What is there now is what the next run begins with: a crash may have taken what was not promised. */
static int adopt(void)
{
	int fd = open(conf.file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("cannot open");
	for (uint64_t i = 0; i < side->sectors; i++) {
		uint64_t buf[WORDS] = { 0 }, stamp;

		if (pread(fd, buf, SECTOR, (off_t)(i * SECTOR)) < 0)
			die("cannot read");
		stamp = read_stamp(buf, i);
		side->s[i] = (struct sector_side){ stamp, stamp, stamp, 0 };
	}
	return 0;
}

/* ---- arguments ---- */

static _Noreturn void usage(void)
{
	fprintf(stderr,
		"usage: write_check make FILE SIDE SECTORS\n"
		"       write_check run FILE SIDE [-s SEED] [-n WRITES] [-t SECONDS] [-f WRITES-A-FSYNC] [-c (truncations too)]\n"
		"       write_check check|adopt FILE SIDE\n");
	exit(2);
}

static int run_options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "s:n:t:f:c")) != -1) {
		if (c == 's')
			conf.seed = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			conf.writes = strtoull(optarg, NULL, 0);
		else if (c == 't')
			conf.seconds = strtod(optarg, NULL);
		else if (c == 'f')
			conf.per_sync = MAX(strtoull(optarg, NULL, 0), 1u);
		else if (c == 'c')
			conf.cuts = true;
		else
			usage();
	}
	map_side(0);
	return run();
}

int main(int argc, char **argv)
{
	if (argc < 4)
		usage();
	conf.file = argv[2];
	conf.side_path = argv[3];
	if (!strcmp(argv[1], "make") && argc == 5)
		return make(strtoull(argv[4], NULL, 0));
	if (!strcmp(argv[1], "run"))
		return run_options(argc - 3, argv + 3);
	map_side(0);
	if (!strcmp(argv[1], "check"))
		return check();
	if (!strcmp(argv[1], "adopt"))
		return adopt();
	usage();
}
