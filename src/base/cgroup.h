/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory the control groups of this process allow. Any thread; reads a few files. */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdint.h>

/*
 * The least limit of the process's group and of those above it, in cgroup v2 (memory.max) and v1
 * (memory.limit_in_bytes); UINT64_MAX when none is set. @root stands in front of /proc and /sys:
 * "" but in tests.
 */
uint64_t cgroup_memory_limit(const char *root);

#endif
