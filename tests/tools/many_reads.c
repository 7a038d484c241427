/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads that are all outstanding at once: one thread each, one 4 KiB pread at an offset of its own,
 * spread evenly over the file. Prints one JSON line when the last has come back: how many were
 * answered, failed or wrong, and when. With -r the bytes are compared with a local copy.
 * O_DIRECT is used, so that every read is a request of its own: buffered ones pass through the
 * kernel's read-ahead, of which only max_background requests are under way at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u

struct job {
	pthread_t thread;
	int fd, reference; /* reference: -1 without one */
	off_t off;
	int error; /* errno, EILSEQ for wrong bytes, ENODATA for a short read */
	double seconds;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int job_read(const struct job *j)
{
	_Alignas(BLOCK) char buf[BLOCK];
	char want[BLOCK];
	ssize_t n = pread(j->fd, buf, BLOCK, j->off);

	if (n < 0)
		return errno;
	if (n != BLOCK)
		return ENODATA;
	if (j->reference < 0)
		return 0;
	if (pread(j->reference, want, BLOCK, j->off) != BLOCK)
		return ENODATA;
	return memcmp(buf, want, BLOCK) ? EILSEQ : 0;
}

static void *job_run(void *arg)
{
	struct job *j = arg;
	double start = now();

	j->error = job_read(j);
	j->seconds = now() - start;
	return NULL;
}

static void jobs_print(const struct job *jobs, size_t n)
{
	size_t answered = 0, wrong = 0;
	double first = jobs[0].seconds, last = 0;
	int error = 0;

	for (size_t i = 0; i < n; i++) {
		const struct job *j = &jobs[i];

		answered += j->error == 0;
		wrong += j->error == EILSEQ;
		error = j->error ? j->error : error;
		first = j->seconds < first ? j->seconds : first;
		last = j->seconds > last ? j->seconds : last;
	}
	printf("{\"asked\": %zu, \"answered\": %zu, \"wrong\": %zu, \"error\": \"%s\", "
	       "\"first_s\": %.4f, \"last_s\": %.4f}\n",
	       n, answered, wrong, error ? strerror(error) : "", first, last);
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | flags);

	if (fd < 0) {
		fprintf(stderr, "many_reads: cannot open '%s': %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	size_t n = 10000;
	const char *reference = NULL;
	pthread_attr_t attr;
	struct stat st;
	struct job *jobs;
	int opt, fd, ref;

	while ((opt = getopt(argc, argv, "n:r:")) != -1) {
		if (opt == 'n')
			n = strtoul(optarg, NULL, 10);
		else if (opt == 'r')
			reference = optarg;
		else
			n = 0;
	}
	if (n == 0 || optind + 1 != argc) {
		fprintf(stderr, "usage: many_reads [-n COUNT] [-r REFERENCE] FILE\n");
		return 2;
	}
	fd = open_or_die(argv[optind], O_DIRECT);
	ref = reference ? open_or_die(reference, 0) : -1;
	jobs = calloc(n, sizeof *jobs);
	if (!jobs || fstat(fd, &st) < 0 || (uint64_t)st.st_size / BLOCK < n) {
		fprintf(stderr, "many_reads: the file is too small for %zu reads\n", n);
		return 1;
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	for (size_t i = 0; i < n; i++) {
		off_t step = st.st_size / (off_t)n / BLOCK * BLOCK;

		jobs[i] = (struct job){ .fd = fd, .reference = ref, .off = (off_t)i * step };
		errno = pthread_create(&jobs[i].thread, &attr, job_run, &jobs[i]);
		if (errno) {
			fprintf(stderr, "many_reads: thread %zu: %s\n", i, strerror(errno));
			return 1;
		}
	}
	for (size_t i = 0; i < n; i++)
		pthread_join(jobs[i].thread, NULL);
	jobs_print(jobs, n);
	free(jobs);
	return 0;
}
