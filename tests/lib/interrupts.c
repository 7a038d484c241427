/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/interrupts.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

static void on_signal(int sig)
{
	(void)sig;
}

static void signal_for(const pthread_t *threads, unsigned n, double seconds)
{
	struct timespec pause = { .tv_nsec = 50000 };
	struct timespec start, now;
	unsigned seed = 1;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		pthread_kill(threads[(unsigned)rand_r(&seed) % n], SIGUSR1);
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 <
		 seconds);
}

int interrupts_run(unsigned n, void *(*work)(void *arg), atomic_bool *stop, double seconds)
{
	struct sigaction sa = { .sa_handler = on_signal };
	pthread_t threads[INTERRUPTS_MAX];

	sigaction(SIGUSR1, &sa, NULL);
	for (uintptr_t i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)(i + 1)))
			return -1;
	signal_for(threads, n, seconds);
	atomic_store(stop, true);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
