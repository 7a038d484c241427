/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree over a fake source, with a clock that stands still, and a caller that repeats an operation as
 * long as it makes progress. One thread; no event loop runs.
 */
#ifndef TESTS_TREE_FIXTURE_H
#define TESTS_TREE_FIXTURE_H

#include "fs/tree.h"
#include "lib/fake_source.h"

struct tree_fixture {
	struct fake_source *source;
	struct fs_tree *tree;
	struct fs_tree_source_params p; /* may be changed before tree_fixture_start() */
	char told[4096];                /* "NUMBER/NAME " of what the kernel was told */
};

extern uint64_t fixture_now_ns;

/* A source and parameters; then, with its keys put, the tree. */
void tree_fixture_init(struct tree_fixture *f);
void tree_fixture_start(struct tree_fixture *f);
void tree_fixture_end(struct tree_fixture *f);
/* Waits until the kernel has been told what was to be told. */
void tree_fixture_settle(struct tree_fixture *f);

/* A wait that counts. */
struct fixture_wait {
	struct fs_tree_wait w;
	unsigned n_done;
	int status;
};
void fixture_wait_init(struct fixture_wait *w);

/* Repeated until it is answered; the source must not hold queries. -EDEADLK: nobody came to end the wait. */
int fixture_lookup(struct tree_fixture *f, uint64_t parent, const char *name,
		   struct fs_tree_attr *out);
/* By a path "a/b"; the number, or -errno. References stay. */
int64_t fixture_ino(struct tree_fixture *f, const char *path);
/* All names with "/" behind directories, in order, separated by spaces, without "." and "..". */
int fixture_readdir(struct tree_fixture *f, uint64_t ino, bool plus, char *out, size_t cap);
/* The same by path, which must be a directory; a text that is good until the next call. */
const char *fixture_ls(struct tree_fixture *f, const char *path);
/* The whole tree below @ino: how many files there are. -errno. */
int64_t fixture_walk(struct tree_fixture *f, uint64_t ino, bool plus);
struct fs_tree_stats fixture_stats(struct tree_fixture *f);

#endif
