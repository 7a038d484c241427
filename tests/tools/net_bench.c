/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_bench: how fast the HTTP provider answers without FUSE above it.
 *
 *   net_bench [-b BYTES] [-q DEPTH] [-l LOOPS] [-t SECONDS] [-s] [-o OPTIONS] URL
 *
 * Keeps DEPTH reads of BYTES outstanding, at random offsets or (-s) one behind the other, and prints
 * reads/s, MiB/s, median and 99th percentile, CPU. Reads are sent from where the last one ended.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/hist.h"
#include "base/loop.h"
#include "base/macros.h"
#include "lib/sink.h"

struct bench {
	struct sink *sink;
	uint64_t bytes;
	uint64_t slots; /* places of @bytes in the object */
	uint64_t end_ns;
	bool sequential;
	_Atomic uint64_t next;
	_Atomic uint64_t reads;
	_Atomic uint64_t errors;
	atomic_uint running;
	struct hist latency;
};

struct stream {
	struct bench *b;
	uint64_t off;
	uint64_t start_ns;
	uint64_t seed;
};

static _Atomic uint8_t *taken;

static uint64_t choose(struct stream *s)
{
	struct bench *b = s->b;
	uint64_t slot;

	do {
		if (b->sequential) {
			slot = atomic_fetch_add(&b->next, 1) % b->slots;
		} else {
			s->seed = s->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
			slot = (s->seed >> 24) % b->slots;
		}
	} while (atomic_exchange(&taken[slot], 1));
	return slot * b->bytes;
}

static void next_read(struct stream *s);

static void read_done(void *arg, int code)
{
	struct stream *s = arg;
	struct bench *b = s->b;
	uint64_t now = loop_now_ns();

	if (code == 0)
		hist_add_ns(&b->latency, now - s->start_ns);
	atomic_fetch_add(code == 0 ? &b->reads : &b->errors, 1);
	sink_evict(b->sink, s->off, b->bytes);
	atomic_store(&taken[s->off / b->bytes], 0);
	if (now < b->end_ns)
		next_read(s);
	else
		atomic_fetch_sub(&b->running, 1);
}

static void next_read(struct stream *s)
{
	s->off = choose(s);
	s->start_ns = loop_now_ns();
	sink_send_cb(s->b->sink, s->off, s->b->bytes, read_done, s);
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void report(struct bench *b, double seconds, double cpu)
{
	uint64_t buckets[VMOFS_LATENCY_BUCKETS];
	struct vmofs_provider_stats stats;
	uint64_t reads = atomic_load(&b->reads);

	hist_copy(&b->latency, buckets);
	sink_stats(b->sink, &stats);
	printf("%.0f reads/s  %.0f MiB/s  p50 %.0f us  p99 %.0f us  cpu %.2f us/read  %.2f s/GiB\n",
	       (double)reads / seconds, (double)(reads * b->bytes) / seconds / 1048576,
	       hist_percentile_us(buckets, 50), hist_percentile_us(buckets, 99),
	       cpu * 1e6 / (double)MAX(reads, 1),
	       cpu / ((double)(MAX(reads, 1) * b->bytes) / 1073741824));
	printf("requests %" PRIu64 " connections %" PRIu64 " fetched %" PRIu64
	       " MiB errors %" PRIu64 " retries %" PRIu64 "\n",
	       stats.requests, stats.connections, stats.bytes_fetched >> 20,
	       atomic_load(&b->errors), stats.retries);
}

int main(int argc, char **argv)
{
	static struct bench b = { .bytes = 4096 };
	const char *opts = NULL;
	unsigned depth = 1, loops = 2;
	double seconds = 3, cpu;
	struct stream *streams;
	uint64_t start;
	int c;

	while ((c = getopt(argc, argv, "b:q:l:t:so:")) != -1) {
		switch (c) {
		case 'b':
			b.bytes = strtoull(optarg, NULL, 0);
			break;
		case 'q':
			depth = (unsigned)atoi(optarg);
			break;
		case 'l':
			loops = (unsigned)atoi(optarg);
			break;
		case 't':
			seconds = atof(optarg);
			break;
		case 's':
			b.sequential = true;
			break;
		case 'o':
			opts = optarg;
			break;
		default:
			return 2;
		}
	}
	if (optind + 1 != argc)
		return 2;
	b.sink = sink_must_open(argv[optind], opts, loops);
	b.slots = sink_info(b.sink)->size / b.bytes;
	taken = calloc(b.slots, 1);
	streams = calloc(depth, sizeof *streams);
	start = loop_now_ns();
	cpu = cpu_seconds();
	b.end_ns = start + (uint64_t)(seconds * 1e9);
	b.running = depth;
	for (unsigned i = 0; i < depth; i++) {
		streams[i] = (struct stream){ .b = &b, .seed = i * 7919 + 1 };
		next_read(&streams[i]);
	}
	while (atomic_load(&b.running) > 0)
		usleep(1000);
	report(&b, (double)(loop_now_ns() - start) / 1e9, cpu_seconds() - cpu);
	sink_close(b.sink);
	free((void *)taken);
	free(streams);
	return 0;
}
