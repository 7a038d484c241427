/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and signals at once: threads read random blocks with O_DIRECT and compare them with a local
 * copy, while one more thread sends them signals whose handler does nothing, so that reads are
 * interrupted at every moment of their lives. Prints how many were answered, interrupted, failed, wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/interrupts.h"

enum { THREADS = 16, BLOCK = 4096 };

static int file, reference;
static uint64_t n_blocks;
static atomic_bool stop;
static atomic_ulong answered, interrupted, failed, wrong;

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

int main(int argc, char **argv)
{
	struct stat st;

	if (argc != 4) {
		fprintf(stderr, "usage: interrupt_reads SECONDS REFERENCE FILE\n");
		return 2;
	}
	reference = open(argv[2], O_RDONLY | O_CLOEXEC);
	file = open(argv[3], O_RDONLY | O_CLOEXEC | O_DIRECT);
	if (reference < 0 || file < 0 || fstat(file, &st) < 0 || st.st_size < BLOCK) {
		fprintf(stderr, "interrupt_reads: cannot open: %s\n", strerror(errno));
		return 1;
	}
	n_blocks = (uint64_t)st.st_size / BLOCK;
	if (interrupts_run(THREADS, reader, &stop, strtod(argv[1], NULL)) < 0)
		return 1;
	printf("{\"answered\": %lu, \"interrupted\": %lu, \"failed\": %lu, \"wrong\": %lu}\n",
	       answered, interrupted, failed, wrong);
	return failed || wrong;
}
