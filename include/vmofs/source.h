/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The namespace API: a source of many objects (a bucket, a server's index pages, a list). It answers
 * queries about keys, and makes a provider for one object without asking the network. The tree in src/fs
 * turns keys into directories and files; a source knows nothing of inodes.
 *
 * A key is what names an object below the source's root: bytes without NUL, without a leading part that
 * the source's own prefix has. "/" separates; what keys cannot be shown as paths is the tree's to
 * decide, so a source hands out every key as it is ("a//b", "../x", "dir/").
 *
 * Threads. query() may be called from any thread, with none of the caller's locks held that entries()
 * or done() take. It never blocks. entries() and done() of one query are called one at a time, from
 * any loop thread or from query() itself, with none of the source's locks held.
 */
#ifndef VMOFS_SOURCE_H
#define VMOFS_SOURCE_H

#include <sys/stat.h>
#include <vmofs/provider.h>

#define VMOFS_SIZE_UNKNOWN UINT64_MAX
#define VMOFS_KEY_MAX      4096 /* with a final zero; longer keys are not handed out */

struct vmofs_change_ops;
struct vmofs_source;

enum vmofs_entry_type {
	VMOFS_ENTRY_FILE,
	VMOFS_ENTRY_PREFIX, /* its key ends in "/": there are keys below it */
	VMOFS_ENTRY_NTYPES
};

/* What POSIX attributes an entry has of its own; the others are the mount's. */
enum vmofs_entry_has {
	VMOFS_HAS_MODE = 1u << 0, /* permissions, and S_IFLNK where it is a symbolic link */
	VMOFS_HAS_UID = 1u << 1,
	VMOFS_HAS_GID = 1u << 2,
	VMOFS_HAS_TARGET = 1u << 3, /* of a symbolic link */
};

/* One key as the origin tells of it. All text is borrowed for the call and ends in a zero. */
struct vmofs_entry {
	enum vmofs_entry_type type;
	const char *key;
	size_t key_len;
	uint64_t size;         /* VMOFS_SIZE_UNKNOWN: it was not said, or rounded */
	struct timespec mtime; /* tv_sec 0: not known */
	const char *validator; /* strong ETag with quotes, or Last-Modified; "" when not known */
	unsigned has;          /* enum vmofs_entry_has */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	const char *target;
};

enum vmofs_query_kind {
	VMOFS_QUERY_DIR,  /* what is one level below `key` ("" or "dir/"): files and prefixes */
	VMOFS_QUERY_FLAT, /* all files below `key`, in the order of their keys, after `after` */
	VMOFS_QUERY_NAME, /* the file `key` and the prefix `key`/: none, one or both */
	VMOFS_QUERY_HEAD, /* the file `key` with all that can be known of it */
	VMOFS_NQUERIES
};

struct vmofs_query_result {
	int code;  /* 0, or -errno. Not -ENOENT for a name or a prefix: no entry says that */
	bool more; /* FLAT: ended by `limit`; go on with `after` = the last key */
	unsigned requests;  /* that it took */
	int status;         /* of the protocol; 0: none */
	const char *msg;    /* why, for people; "" for 0; valid in the call */
	const char *req_id; /* "" when there is none; valid in the call */
};

/* Owned by the asker, embedded in its own struct, until done(). */
struct vmofs_query {
	enum vmofs_query_kind kind;
	const char *key;      /* kept by the asker until done() */
	const char *after;    /* FLAT: "" from the beginning */
	uint64_t limit;       /* FLAT: end after about so many entries; 0: none */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none. Then done(-ETIMEDOUT) */
	/*
	 * @n entries. DIR: in any order, each key once. FLAT: in order. False: no more of
	 * them are wanted, done() follows with code 0.
	 */
	bool (*entries)(struct vmofs_query *q, const struct vmofs_entry *v, unsigned n);
	void (*done)(struct vmofs_query *q, const struct vmofs_query_result *result);

	struct vmofs_list link; /* the source's own, as below */
	void *priv;
};

struct vmofs_source_info {
	char name[256];   /* for the mount, never empty */
	char url[4096];   /* for people, without credentials */
	char where[640];  /* what beside url tells it from all others (the server); may be "" */
	unsigned can;     /* 1u << enum vmofs_query_kind; DIR and NAME always */
	unsigned key_max; /* bytes of the longest key that can be stored; 0: VMOFS_KEY_MAX - 1 */
	unsigned page;    /* entries that one request brings; 0: all at once */
	bool fixed;       /* no other names than there are can be made, and these cannot go */
	bool links;       /* every entry tells of itself, and symbolic links can be made */
	bool dirs;        /* HEAD of a key that ends in "/" tells of the directory itself */
	bool complete;    /* FLAT of "" needs no network: ask it once for all */
	struct timespec changed; /* of what it was read from, where it is a file */
};

struct vmofs_source_ops {
	/*
	 * Set-up path: may block. Checks that the source can be read, so that a wrong name or
	 * secret is told before there is a mount. -errno with @err filled.
	 */
	int (*open)(struct vmofs_source **out, const char *source,
		    const struct vmofs_provider_env *env, struct vmofs_source_info *info,
		    struct vmofs_err *err);
	void (*query)(struct vmofs_source *s, struct vmofs_query *q);
	/*
	 * A provider for the file @e (from an entry of this source; its size is known). Never
	 * blocks, asks nobody: a change at the origin shows in the first answer, as -ESTALE.
	 */
	int (*object)(struct vmofs_source *s, const struct vmofs_entry *e,
		      struct vmofs_provider **out, struct vmofs_object_info *info,
		      struct vmofs_err *err);
	/*
	 * Whether what entries came from may have changed locally (a list file); NULL: never.
	 * Any thread that may block.
	 */
	bool (*changed)(struct vmofs_source *s);
	/* How its objects are changed (<vmofs/change.h>); NULL: it is read only. */
	const struct vmofs_change_ops *change;
	/* Counters of everything asked so far, objects included. Any thread. */
	void (*stats)(struct vmofs_source *s, struct vmofs_provider_stats *out);
	void (*dump)(struct vmofs_source *s, FILE *out, unsigned depth, unsigned max_items);
	/* Queries under way end with -ESHUTDOWN soon, later ones at once. Any thread. */
	void (*stop)(struct vmofs_source *s);
	/* Every query is done and every object's provider freed. */
	void (*free)(struct vmofs_source *s);
};

/* First member of every instance. */
struct vmofs_source {
	const struct vmofs_source_ops *ops;
};

/*
 * How to show @source: the ops of its namespace when it stands for a tree, NULL when it is one object
 * or nobody knows it (vmofs_provider_find() tells which).
 */
const struct vmofs_source_ops *vmofs_source_find(const char *source);

#endif
