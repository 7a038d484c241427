/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which process has a directory: a file "lock" in it that is never removed, an OFD lock on that, and in it who took it. A process
 * that was killed holds its locks until the last of its threads has ended, which on a busy machine is some time after
 * `kill` has returned and its mount is gone. Who comes then has to wait for that: what is in the directory is its to take over. Any
 * thread that may block.
 */
#ifndef STORE_DIR_LOCK_H
#define STORE_DIR_LOCK_H

#include "store/cache_io.h"

/*
 * Takes the lock of the directory @dir: 0 and *fd, to be closed to let go. -EAGAIN: a process that lives has it, or one that cannot
 * be seen from here; -EBUSY: one that is ending has it, and did not end within half a minute (the log names it); other -errno
 * of the file.
 */
int dir_lock(const struct cache_io *io, int dir, int *fd);

#endif
