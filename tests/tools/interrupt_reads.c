/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and signals at once: threads read random blocks with O_DIRECT and compare them with a local
 * copy, while one more thread sends them signals whose handler does nothing, so that reads are
 * interrupted at every moment of their lives. Prints how many were answered, interrupted, failed, wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 16, BLOCK = 4096 };

static int file, reference;
static uint64_t n_blocks;
static atomic_bool stop;
static atomic_ulong answered, interrupted, failed, wrong;

static void on_signal(int sig)
{
	(void)sig;
}

static void read_one(uint64_t block)
{
	_Alignas(BLOCK) char buf[BLOCK];
	char want[BLOCK];
	ssize_t n = pread(file, buf, BLOCK, (off_t)(block * BLOCK));

	if (n < 0) {
		atomic_fetch_add(errno == EINTR ? &interrupted : &failed, 1);
		return;
	}
	if (pread(reference, want, BLOCK, (off_t)(block * BLOCK)) != BLOCK || n != BLOCK ||
	    memcmp(buf, want, BLOCK))
		atomic_fetch_add(&wrong, 1);
	else
		atomic_fetch_add(&answered, 1);
}

static void *reader(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	while (!stop)
		read_one((uint64_t)rand_r(&seed) % n_blocks);
	return NULL;
}

static void signal_for(pthread_t *threads, double seconds)
{
	struct timespec pause = { .tv_nsec = 50000 };
	struct timespec start, now;
	unsigned seed = 1;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		pthread_kill(threads[rand_r(&seed) % THREADS], SIGUSR1);
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 <
		 seconds);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	pthread_t threads[THREADS];
	struct stat st;

	if (argc != 4) {
		fprintf(stderr, "usage: interrupt_reads SECONDS REFERENCE FILE\n");
		return 2;
	}
	sigaction(SIGUSR1, &sa, NULL);
	reference = open(argv[2], O_RDONLY | O_CLOEXEC);
	file = open(argv[3], O_RDONLY | O_CLOEXEC | O_DIRECT);
	if (reference < 0 || file < 0 || fstat(file, &st) < 0 || st.st_size < BLOCK) {
		fprintf(stderr, "interrupt_reads: cannot open: %s\n", strerror(errno));
		return 1;
	}
	n_blocks = (uint64_t)st.st_size / BLOCK;
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, reader, (void *)(i + 1)))
			return 1;
	signal_for(threads, strtod(argv[1], NULL));
	stop = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("{\"answered\": %lu, \"interrupted\": %lu, \"failed\": %lu, \"wrong\": %lu}\n",
	       answered, interrupted, failed, wrong);
	return failed || wrong;
}
