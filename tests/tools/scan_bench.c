/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan_bench FILE [SPACING]: what indexing an unmodified layer costs, how large the index is, and what decoding spans at random
 * costs, in time of the processor (the machine may be busy).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "base/macros.h"
#include "image/decode.h"
#include "image/layer_scan.h"
#include "lib/prng.h"

enum { PIECE = 128 << 10, DECODES = 500 };

static double cpu_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int scan(const uint8_t *p, size_t len, uint64_t spacing, struct layer_id *id, void **out,
		size_t *out_len, struct vmofs_err *err)
{
	struct layer_scan *s = NULL;
	int r = layer_scan_new(&s, &(struct layer_scan_options){ .spacing = spacing });

	for (size_t at = 0; r == 0 && at < len; at += PIECE)
		r = layer_scan_feed(s, p + at, MIN(PIECE, len - at), err);
	if (r == 0)
		r = layer_scan_end(s, id, out, out_len, err);
	layer_scan_free(s);
	return r;
}

static uint64_t largest_span(const struct layer_index *x)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < x->n_spans; i++)
		most = MAX(most, x->spans[i].data_len);
	return most;
}

/* Whole spans, with their digests: what the first byte of a page costs. */
static int decode(const struct layer_index *x, const struct layer_bytes *blob)
{
	struct layer_decoder *d = layer_decoder_new();
	uint8_t *out = malloc(largest_span(x) + 1);
	struct prng random = { 1 };
	double begin = cpu_time(), worst = 0;
	uint32_t n = MIN(DECODES, x->n_spans);
	uint64_t bytes = 0;
	int r = d && out ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < n && r == 0; i++) {
		uint32_t k = (uint32_t)prng_below(&random, x->n_spans);
		double t = cpu_time();

		r = layer_decode(d, x, k, 1, blob, out);
		bytes += x->spans[k].data_len;
		t = cpu_time() - t;
		worst = MAX(worst, t);
	}
	begin = cpu_time() - begin;
	printf("decode: a span %.2f ms, at most %.2f ms; %.0f MB/s; largest span %.2f MiB\n",
	       1e3 * begin / n, 1e3 * worst, (double)bytes / 1e6 / begin,
	       (double)largest_span(x) / 1048576);
	layer_decoder_free(d);
	free(out);
	return r;
}

static int bench(const uint8_t *p, size_t len, uint64_t spacing, struct vmofs_err *err)
{
	struct iovec iov = { (void *)p, len };
	struct layer_bytes blob = { .off = 0, .iov = &iov, .n = 1 };
	double t = cpu_time();
	struct layer_index x;
	struct layer_id id;
	void *index = NULL;
	size_t index_len = 0;
	int r = scan(p, len, spacing, &id, &index, &index_len, err);

	t = cpu_time() - t;
	if (r == 0)
		r = layer_index_check(&x, index, index_len, err);
	if (r == 0) {
		printf("scan: %.1f MB of data, %.1f MB of blob in %.2f s: %.0f MB/s of data\n",
		       (double)id.data_size / 1e6, (double)len / 1e6, t,
		       (double)id.data_size / 1e6 / t);
		printf("index: %zu bytes, %.2f %% of the data; windows %.2f %%; %u inodes, %u spans\n",
		       index_len, 100.0 * (double)index_len / (double)id.data_size,
		       100.0 * (double)x.windows_len / (double)id.data_size, x.n_inodes, x.n_spans);
		if (x.n_spans)
			r = decode(&x, &blob);
	}
	free(index);
	return r;
}

int main(int argc, char **argv)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	int fd = argc > 1 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1, r;
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
		fprintf(stderr, "usage: scan_bench FILE [SPACING]\n");
		return 2;
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	r = bench(p, (size_t)st.st_size, argc > 2 ? strtoull(argv[2], NULL, 0) : 0, &err);
	if (r < 0)
		fprintf(stderr, "%s: %s\n", argv[1], err.msg[0] ? err.msg : strerror(-r));
	munmap(p, (size_t)st.st_size);
	close(fd);
	return r < 0;
}
