/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a tar as it comes, in pieces of any size: what its headers say, and where in the stream the bytes of files lie. The
 * bytes themselves are only counted.
 *
 * What is read: old (V7) headers, ustar, pax (also global headers), GNU's long names and numbers of base 256, star's prefix, and
 * what Go wrote before 1.8. Sparse files are refused, whichever of the four ways they are written in: image layers have none,
 * and reading one as if it were plain gives wrong bytes. Where readers differ, this one does as Go's archive/tar, because that is what
 * unpacks layers elsewhere: a GNU long name counts more than a pax path, links and directories have no bytes whatever
 * their size says, and a second zero block, or the end of the stream between entries, ends the archive.
 *
 * Memory: a header, and at most TAR_EXTENDED_MAX each of what comes before it. One thread.
 */
#ifndef IMAGE_TAR_STREAM_H
#define IMAGE_TAR_STREAM_H

#include <stdint.h>

#include "image/layer_build.h"

#define TAR_BLOCK        512u
#define TAR_EXTENDED_MAX (1u << 20) /* of a pax header or a long name, as in Go */
#define TAR_XATTRS_MAX   1024u      /* of an entry */

struct tar_stream;

/* An entry; @e is borrowed for the call. 0, or -errno with @err: that is what tar_stream_feed() returns. */
typedef int tar_entry_fn(void *arg, const struct layer_entry *e, struct vmofs_err *err);

struct tar_stream *tar_stream_new(tar_entry_fn *entry, void *arg); /* NULL: no memory */
void tar_stream_free(struct tar_stream *t);                        /* NULL is fine */

/*
 * The next bytes. -EBADMSG: this is no tar, a damaged one, or one that is not read, with @err, which says where;
 * -ENOMEM; or what the function of entries returned. After an error only tar_stream_free().
 */
int tar_stream_feed(struct tar_stream *t, const void *p, size_t n, struct vmofs_err *err);
/* There are no more bytes. -EBADMSG: there should be. */
int tar_stream_end(struct tar_stream *t, struct vmofs_err *err);

#endif
