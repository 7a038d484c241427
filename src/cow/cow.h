/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private, writable child of a source (mount -o cow, vmofs clone): what is changed is kept in a local directory, everything else is
 * the origin's, which is only read. It is a source itself, with change ops (<vmofs/change.h>), so that names, writer
 * and journal work on it as on any other; see README.md for what is in the directory.
 */
#ifndef COW_COW_H
#define COW_COW_H

#include <vmofs/change.h>
#include <vmofs/provider.h>
#include <vmofs/source.h>

struct cache_io;
struct disk_io;
struct vm_pool;

struct cow_params {
	const char *dir;  /* absolute; every child has a folder of its own there */
	const char *name; /* what beside the source tells the child from others of it; "" */
	struct vm_pool *
		pool; /* borrowed: for what comes from the origin below files that were changed; not that of the mount */
	struct disk_io *disk; /* borrowed; keeps that beyond this process; NULL: none */
	bool metadata;        /* attributes of the origin's objects are shown, so they are kept */
	const struct cache_io *io; /* NULL: the system's */
};

/* The folder of the child @name of @info's source in @dir: "DIR/0123456789abcdef". -ENAMETOOLONG, -ENOMEM. */
int cow_place(const char *dir, const struct vmofs_source_info *info, const char *name, char *out,
	      size_t cap);

/*
 * The child of @lower, which becomes its own when it succeeds. @info is the lower one's, and becomes the child's. Set-up path: may
 * block. -EBUSY: another mount has it; -EBADMSG: what is in the directory is damaged; with @err filled.
 */
int cow_new(struct vmofs_source **out, struct vmofs_source *lower, struct vmofs_source_info *info,
	    const struct cow_params *p, struct vmofs_err *err);
/* Of one object, as if it were a source. */
void cow_single_info(const struct vmofs_object_info *object, struct vmofs_source_info *out);
/* The same of one object, with its cow_single_info(), as the tree that has nothing else in it. @provider becomes its own. */
int cow_new_single(struct vmofs_source **out, struct vmofs_provider *provider,
		   const struct vmofs_object_info *object, struct vmofs_source_info *info,
		   const struct cow_params *p, struct vmofs_err *err);

/*
 * Removes what the children called @name in @dir have kept, @found of them. -EBUSY: it is mounted.
 */
int cow_discard(const char *dir, const char *name, unsigned *found, struct vmofs_err *err);

struct cow_stats {
	uint64_t records;    /* names that are not as the origin has them */
	uint64_t data_bytes; /* of their contents that are here */
};
void cow_stats(struct vmofs_source *s, struct cow_stats *out);

#endif
