/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of names that concern one part of a key; those that concern two keys are in tree_entry.c. */
#include "fs/names.h"

#include <string.h>

int name_check(const char *p, size_t len)
{
	if (!len)
		return FS_HIDDEN_EMPTY;
	if (p[0] == '.' && (len == 1 || (len == 2 && p[1] == '.')))
		return FS_HIDDEN_DOT;
	if (memchr(p, '\0', len))
		return FS_HIDDEN_NUL;
	return len > NAME_LEN_MAX ? (int)FS_HIDDEN_LONG : NAME_OK;
}

bool name_is_rclone_link(const char *p, size_t len)
{
	return len > NAME_RCLONE_LEN &&
		!memcmp(p + len - NAME_RCLONE_LEN, NAME_RCLONE, NAME_RCLONE_LEN) &&
		name_check(p, len - NAME_RCLONE_LEN) == NAME_OK;
}
