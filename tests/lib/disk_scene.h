/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the disk tier: a VMO with a tier over a real cache directory, a provider that is played by hand, a gate in the
 * system calls of the disk that holds the tier's threads, and failures of theirs. One scene at a time.
 */
#ifndef TESTS_LIB_DISK_SCENE_H
#define TESTS_LIB_DISK_SCENE_H

#include "lib/cache_dir.h"
#include "lib/fake_provider.h"
#include "vm/disk_tier.h"
#include "vm/pool.h"
#include "vm/vmo.h"

#define PAGE VMOFS_PAGE_SIZE
#define KEY  UINT64_C(0x3300000000000000)
#define URL  "http://origin.test/object"

/* The disk fails: errno; 0: it does not. */
extern _Atomic int pread_error, write_error;
extern _Atomic unsigned n_preads;

struct scene {
	struct cache_dir *dir;
	struct disk_io *disk;
	struct vm_pool *pool;
	struct fake_provider *own;
	struct vmo *vmo;
	struct disk_tier *tier;
	uint64_t size;
};

struct reader {
	struct test_thread thread;
	struct scene *s;
	uint64_t page, n;
};

/* As cache_dir_setup(), with the gate. */
int disk_scene_setup(void **state);

/* Opens and reads of entries wait at the gate while it is shut, and writes. */
void gate_set(bool shut);
/* Until @n threads stand at it. */
void gate_wait(unsigned n);
void scene_open(struct scene *s);
void scene_close(struct scene *s);
void scene_disk(struct scene *s, unsigned threads, uint64_t backlog);
/* With a disk_io of 4 threads, and a VMO with a tier. */
void scene_begin(struct scene *s, struct cache_dir *d, uint64_t size);
void scene_end(struct scene *s);
void scene_drain(struct scene *s);
/* From now on nothing but reads and writes goes through the gate. */
void gate_shut_when_open(struct scene *s);
/* Another VMO of the same object, as after a restart. */
void scene_again(struct scene *s);
/* The same with nothing trusted any more. */
void scene_restart(struct scene *s);
struct disk_tier_stats scene_stats(struct scene *s);
/* Reads and compares: 0, or the error. */
int64_t reader_run(void *arg);
void reader_start(struct reader *r, struct scene *s, uint64_t page, uint64_t n);
/* A read that the disk alone answers. */
void read_from_disk(struct scene *s, uint64_t page, uint64_t n);
/* A read of which the provider gives exactly [page, page + n). */
void read_from_provider(struct scene *s, uint64_t page, uint64_t n);
uint64_t scene_soon(void);

#endif
