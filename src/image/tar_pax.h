/* SPDX-License-Identifier: Apache-2.0 */
/* The records of a pax header: "LENGTH KEY=VALUE\n", one after the other. What is not known is passed over. One thread. */
#ifndef IMAGE_TAR_PAX_H
#define IMAGE_TAR_PAX_H

#include <stdbool.h>
#include <stdint.h>

#include "image/layer_index.h"

enum tar_pax_flag {
	TAR_PAX_PATH = 1u << 0,
	TAR_PAX_LINKPATH = 1u << 1,
	TAR_PAX_SIZE = 1u << 2,
	TAR_PAX_UID = 1u << 3,
	TAR_PAX_GID = 1u << 4,
	TAR_PAX_MTIME = 1u << 5,
};

/* What records said. Names and values are in the bytes that were parsed. */
struct tar_pax {
	unsigned has; /* enum tar_pax_flag: the members that count */
	unsigned no;  /* of these, an empty value says that a global header does not count either */
	const char *path;
	size_t path_len;
	const char *linkpath;
	size_t linkpath_len;
	uint64_t size;
	uint64_t uid;
	uint64_t gid;
	int64_t mtime;
	uint32_t mtime_nsec;
	struct layer_xattr *xattrs; /* owned */
	unsigned n_xattrs;
	unsigned cap_xattrs;
};

/* As before any record; memory is kept. */
void tar_pax_clear(struct tar_pax *x);
void tar_pax_release(struct tar_pax *x);

/*
 * The records of [p, p + len), which must stay as long as @x is used; they are changed (names get zeros, values are
 * decoded in place). -EBADMSG with @err, -ENOMEM.
 */
int tar_pax_parse(struct tar_pax *x, char *p, size_t len, struct vmofs_err *err);

#endif
