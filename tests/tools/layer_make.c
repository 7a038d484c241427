/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes indexes of layers.
 *
 *   layer_make corpus DIR    small ones with something of everything: the corpus of fuzz_layer_index
 *   layer_make bench N       N entries as a root file system has them; prints seconds, memory and bytes
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/macros.h"
#include "image/layer_build.h"
#include "lib/layer_text.h"
#include "lib/prng.h"

/* -- corpus ------------------------------------------------------------------------------------ */

static void save(const char *dir, const char *name, const void *p, size_t len)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, p, len) != (ssize_t)len) {
		fprintf(stderr, "cannot write '%s': %s\n", path, strerror(errno));
		exit(1);
	}
	close(fd);
}

static void put_spans(struct layer_build *b, enum layer_layout layout)
{
	static const uint8_t digest[LAYER_DIGEST_LEN] = { 1, 2, 3 };
	struct layer_span s = { .data_len = 100, .blob_len = 50, .kind = LAYER_SPAN_GZIP };

	assert(layer_build_span(b, &s, digest, NULL, 0) == 0);
	s = (struct layer_span){ .data = 100,
				 .data_len = 100,
				 .blob = 49,
				 .blob_len = 20,
				 .kind = LAYER_SPAN_DEFLATE,
				 .bits = 5 };
	assert(layer_build_span(b, &s, NULL, "what was before", 15) == 0);
	s = (struct layer_span){ .data = 200,
				 .data_len = 50,
				 .blob = 60,
				 .blob_len = 20,
				 .skip = 3,
				 .digest_of = LAYER_DIGEST_BLOB,
				 .kind = LAYER_SPAN_ZSTD };
	assert(layer_build_span(b, &s, layout == LAYER_LAYOUT_TAR ? NULL : digest, NULL, 0) == 0);
	s = (struct layer_span){ .data = 300, .data_len = 50, .kind = LAYER_SPAN_ZERO };
	assert(layer_build_span(b, &s, NULL, NULL, 0) == 0);
	s = (struct layer_span){
		.data = 400, .data_len = 50, .blob = 0, .blob_len = 50, .kind = LAYER_SPAN_RAW
	};
	assert(layer_build_span(b, &s, NULL, NULL, 0) == 0);
}

static void make(struct layer_index *x, const char *text, enum layer_layout layout, bool spans)
{
	const struct layer_xattr a[] = { { "security.capability", 19, "\1\0\0\2", 4 },
					 { "user.empty", 10, "", 0 } };
	const struct layer_entry e = { .name = "etc",
				       .name_len = 3,
				       .mode = S_IFDIR | 0755,
				       .xattrs = a,
				       .n_xattrs = ARRAY_LEN(a) };
	struct layer_id id = { .data_size = 4096, .blob_size = 80 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_build *b;
	uint64_t at;
	void *p;
	size_t len;

	assert(layer_build_new(&b, layout, NULL) == 0);
	assert(layout != LAYER_LAYOUT_PAGES || layer_build_place(b, 1000, &at) == 0);
	assert(layer_text_entries(b, text, &err) == 0);
	assert(!spans || layer_build_entry(b, &e, &err) == 0);
	if (spans)
		put_spans(b, layout);
	assert(layer_build_end(b, &id, &p, &len, &err) == 0);
	assert(layer_index_check(x, p, len, &err) == 0);
	layer_build_free(b);
}

static int corpus(const char *dir)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index empty, tar, pages;
	const struct layer_index *layers[2] = { &tar, &pages };
	void *p;
	size_t len;

	make(&empty, "", LAYER_LAYOUT_TAR, false);
	make(&tar,
	     "d etc 755\nf etc/passwd 100 0\nf usr/bin/sh 200 100\nh usr/bin/ash usr/bin/sh\n"
	     "l bin usr/bin\nc dev/null 1 3\nb dev/sda 8 0\np run/fifo\n",
	     LAYER_LAYOUT_TAR, true);
	make(&pages, "f etc/.wh.passwd\nf var/.wh..wh..opq\nf var/x 1000 0\nf usr/bin/ash 10 0\n",
	     LAYER_LAYOUT_PAGES, true);
	assert(layer_merge(layers, 2, &p, &len, &err) == 0);
	save(dir, "empty", empty.p, empty.len);
	save(dir, "tar", tar.p, tar.len);
	save(dir, "pages", pages.p, pages.len);
	save(dir, "merged", p, len);
	free(p);
	free((void *)(uintptr_t)empty.p);
	free((void *)(uintptr_t)tar.p);
	free((void *)(uintptr_t)pages.p);
	return 0;
}

/* -- bench ------------------------------------------------------------------------------------- */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double peak_mib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_maxrss / 1024;
}

/* As packages lie: 25 files a directory, six levels deep, a third of the names seen before, some links. */
static void entry(struct layer_build *b, struct prng *r, unsigned n, char *last)
{
	static const char *const common[] = { "__init__.py", "index.js", "package.json",
					      "README.md" };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_entry e = { .mtime = 1700000000 + n };
	char dir[256], name[512];

	snprintf(dir, sizeof dir, "usr/lib/node_modules/package-%u/lib/part-%u", n / 1000, n / 25);
	if (n % 25 == 0)
		snprintf(name, sizeof name, "%s", dir);
	else if (n % 25 <= 4)
		snprintf(name, sizeof name, "%s/%s", dir, common[n % 25 - 1]);
	else
		snprintf(name, sizeof name, "%s/%s-%llx.%s", dir, n % 3 ? "module" : "test",
			 (unsigned long long)prng_below(r, n % 5 ? UINT32_MAX : 1000),
			 n % 2 ? "js" : "py");
	e.name = name;
	e.name_len = strlen(name);
	e.mode = n % 25 ? S_IFREG | 0644 : S_IFDIR | 0755;
	e.size = S_ISREG(e.mode) ? prng_below(r, 20000) : 0;
	e.data = n * UINT64_C(20480);
	if (n % 50 == 49) {
		e.mode = 0;
		e.target = last;
		e.target_len = strlen(last);
	}
	if (layer_build_entry(b, &e, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		exit(1);
	}
	if (S_ISREG(e.mode))
		strcpy(last, name);
}

static int bench(unsigned n)
{
	struct layer_id id = { .data_size = n * UINT64_C(20480) };
	struct prng r = { .state = 5 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_build *b;
	struct layer_index x;
	const struct layer_index *one = &x;
	char last[512] = "";
	double begin = now(), before = peak_mib(), built;
	void *p = NULL, *q = NULL;
	size_t len, q_len;

	assert(layer_build_new(&b, LAYER_LAYOUT_TAR, NULL) == 0);
	for (unsigned i = 0; i < n; i++)
		entry(b, &r, i, last);
	printf("entries %.2f s, %.1f MiB\n", now() - begin, peak_mib() - before);
	built = now();
	assert(layer_build_end(b, &id, &p, &len, &err) == 0);
	layer_build_free(b);
	printf("end     %.2f s, peak of all %.1f MiB, index %.1f MiB\n", now() - built,
	       peak_mib() - before, (double)len / MIB(1));
	built = now();
	assert(layer_index_check(&x, p, len, &err) == 0);
	printf("check   %.3f s\n", now() - built);
	printf("%u inodes, %u names, %.1f MiB of text\n", x.n_inodes, x.n_dirents,
	       (double)x.names_len / MIB(1));
	built = now();
	assert(layer_merge(&one, 1, &q, &q_len, &err) == 0);
	printf("merge   %.2f s\n", now() - built);
	free(p);
	free(q);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "corpus") == 0)
		return corpus(argv[2]);
	if (argc == 3 && strcmp(argv[1], "bench") == 0)
		return bench((unsigned)strtoul(argv[2], NULL, 10));
	fprintf(stderr, "usage: layer_make corpus DIR | bench N\n");
	return 2;
}
