/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers whose order fio does not know: backwards, in strides, two streams through one handle, by mmap.
 *
 *   read_pattern [-p PATTERN] [-b BLOCK] [-s STRIDE] [-l LENGTH] [-n READERS] [-q] [-m] [-d] FILE...
 *
 *   -p  forward, backward, strided (BLOCK bytes at every multiple of STRIDE), two (a block of the first
 *       half and one of the second in turn, through one descriptor)
 *   -n  so many threads, the i-th reads the i-th FILE (again from the first where there are fewer); -q: each
 *       its share of the file, else all of it; -m: through a mapping; -d: O_DIRECT; -l: only so much of a file
 *
 * Prints one JSON line: bytes, seconds until the last reader is through, the longest single read. Nothing is
 * compared here. Alone in its file, so that the benchmark can compile it alone. A thread for each reader.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum pattern { FORWARD, BACKWARD, STRIDED, TWO, NPATTERNS };

static const char *const pattern_names[NPATTERNS] = {
	[FORWARD] = "forward",
	[BACKWARD] = "backward",
	[STRIDED] = "strided",
	[TWO] = "two",
};

static struct {
	enum pattern pattern;
	uint64_t block, stride, length;
	unsigned readers;
	bool share, map, direct;
} how = { .block = 1 << 20, .readers = 1 };

struct reader {
	pthread_t thread;
	const char *path;
	unsigned part, parts;
	uint64_t bytes;
	double longest;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "read_pattern: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* How many blocks the pattern has in [0, len). */
static uint64_t count_blocks(uint64_t len)
{
	uint64_t step = how.pattern == STRIDED ? how.stride : how.block;

	return (len + step - 1) / step;
}

/* Where the @i-th of @n blocks is. */
static uint64_t place(uint64_t i, uint64_t n)
{
	switch (how.pattern) {
	case BACKWARD:
		return (n - 1 - i) * how.block;
	case STRIDED:
		return i * how.stride;
	case TWO:
		return (i % 2 * (n / 2) + i / 2) * how.block;
	default:
		return i * how.block;
	}
}

static size_t read_block(int fd, const char *map, char *buf, uint64_t off, uint64_t len)
{
	size_t got = 0;

	if (map) {
		memcpy(buf, map + off, len);
		return len;
	}
	while (got < len) {
		ssize_t n = pread(fd, buf + got, len - got, (off_t)(off + got));

		if (n < 0)
			die("read");
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return got;
}

static void read_range(struct reader *r, int fd, const char *map, uint64_t first, uint64_t len)
{
	uint64_t n = count_blocks(len);
	char *buf = aligned_alloc(4096, how.block);

	if (!buf)
		die("memory");
	if (how.pattern == TWO)
		n &= ~UINT64_C(1);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t off = place(i, n);
		uint64_t left = len - off;
		double start = now(), took;

		r->bytes +=
			read_block(fd, map, buf, first + off, left < how.block ? left : how.block);
		took = now() - start;
		r->longest = took > r->longest ? took : r->longest;
	}
	free(buf);
}

static void *reader_run(void *arg)
{
	struct reader *r = arg;
	int fd = open(r->path, O_RDONLY | O_CLOEXEC | (how.direct ? O_DIRECT : 0));
	char *map = NULL;
	struct stat st;
	uint64_t len, share;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(r->path);
	len = (uint64_t)st.st_size;
	len = how.length && how.length < len ? how.length : len;
	share = len / r->parts / how.block * how.block;
	if (how.map) {
		map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			die("mmap");
	}
	read_range(r, fd, map, r->part * share, r->parts == 1 ? len : share);
	if (map)
		munmap(map, len);
	close(fd);
	return NULL;
}

static uint64_t parse_size(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (*end == 'k' || *end == 'm' || *end == 'g')
		n <<= *end == 'k' ? 10 : *end == 'm' ? 20 : 30, end++;
	if (*end || end == text || !n) {
		fprintf(stderr, "read_pattern: not a size: '%s'\n", text);
		exit(2);
	}
	return n;
}

static enum pattern parse_pattern(const char *text)
{
	for (unsigned i = 0; i < NPATTERNS; i++)
		if (!strcmp(text, pattern_names[i]))
			return (enum pattern)i;
	fprintf(stderr, "read_pattern: no pattern '%s'\n", text);
	exit(2);
}

static void parse_option(int c)
{
	if (c == 'p')
		how.pattern = parse_pattern(optarg);
	else if (c == 'b')
		how.block = parse_size(optarg);
	else if (c == 's')
		how.stride = parse_size(optarg);
	else if (c == 'l')
		how.length = parse_size(optarg);
	else if (c == 'n')
		how.readers = (unsigned)parse_size(optarg);
	else if (c == 'q')
		how.share = true;
	else if (c == 'm')
		how.map = true;
	else if (c == 'd')
		how.direct = true;
	else
		exit(2);
}

static void report(const struct reader *readers, double seconds)
{
	uint64_t bytes = 0;
	double longest = 0;

	for (unsigned i = 0; i < how.readers; i++) {
		bytes += readers[i].bytes;
		longest = readers[i].longest > longest ? readers[i].longest : longest;
	}
	printf("{\"bytes\": %llu, \"seconds\": %.6f, \"longest_ms\": %.3f}\n",
	       (unsigned long long)bytes, seconds, longest * 1e3);
}

int main(int argc, char **argv)
{
	struct reader *readers;
	double start;
	int c;

	while ((c = getopt(argc, argv, "p:b:s:l:n:qmd")) != -1)
		parse_option(c);
	if (optind == argc || (how.pattern == STRIDED && how.stride < how.block)) {
		fprintf(stderr,
			"usage: read_pattern [-p PATTERN] [-b BLOCK] [-s STRIDE] [-l LENGTH] "
			"[-n READERS] [-q] [-m] [-d] FILE...\n");
		return 2;
	}
	readers = calloc(how.readers, sizeof *readers);
	if (!readers)
		die("memory");
	start = now();
	for (unsigned i = 0; i < how.readers; i++) {
		struct reader *r = &readers[i];

		r->path = argv[optind + (int)i % (argc - optind)];
		r->part = how.share ? i : 0;
		r->parts = how.share ? how.readers : 1;
		errno = pthread_create(&r->thread, NULL, reader_run, r);
		if (errno)
			die("thread");
	}
	for (unsigned i = 0; i < how.readers; i++)
		pthread_join(readers[i].thread, NULL);
	report(readers, now() - start);
	free(readers);
	return 0;
}
