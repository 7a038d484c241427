/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which keys can be shown as paths. Pure logic; the rules for people are in src/fs/README.md.
 */
#ifndef FS_NAMES_H
#define FS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "fs/tree.h"

#define NAME_LEN_MAX    255
#define NAME_OK         (-1)
#define NAME_RCLONE     ".rclonelink" /* ends the key of a symbolic link that rclone wrote */
#define NAME_RCLONE_LEN (sizeof NAME_RCLONE - 1)

/* One part of a key: NAME_OK, or the enum fs_hidden why no file can be called so. */
int name_check(const char *p, size_t len);

/* Whether @p is a link's key for a file that is shown without the suffix. */
bool name_is_rclone_link(const char *p, size_t len);

#endif
