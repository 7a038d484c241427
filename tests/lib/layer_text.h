/* SPDX-License-Identifier: Apache-2.0 */
/* Layers as text, for the tests of src/image: what goes in, one entry a line, and what came out, one name a line. */
#ifndef TESTS_LIB_LAYER_TEXT_H
#define TESTS_LIB_LAYER_TEXT_H

#include "image/layer_build.h"

/*
 * Entries, each ended by a newline:
 *   d NAME [MODE]        a directory (755)         h NAME TARGET        a hard link
 *   f NAME [SIZE [AT]]   a file                    c|b NAME MAJOR MINOR a device
 *   l NAME TARGET        a symbolic link           p NAME, s NAME       a FIFO, a socket
 * The n-th entry has the mtime n, from 1. -errno of the first that is refused.
 */
int layer_text_entries(struct layer_build *b, const char *text, struct vmofs_err *err);
/* Of LAYOUT_TAR with a terabyte of data, checked; the memory is the caller's: free((void *)x->p). */
int layer_text_index(struct layer_index *x, const char *text, struct vmofs_err *err);

/*
 * All names, in the order of a depth-first walk, from malloc(): "TYPE PATH MODE NLINK MTIME REST", where REST is the size of a
 * file, the target of a link, the numbers of a device, and of a directory "o" (opaque), "i" (implied). A whiteout: "w PATH". The root
 * comes first, as "d /".
 */
char *layer_text_dump(const struct layer_index *x);

#endif
