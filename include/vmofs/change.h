/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing the origin: what a source (<vmofs/source.h>) can do to its objects. Every call blocks until the origin has
 * answered, or until it is certain that it will not be asked; it is for threads that may. Retries of what can be repeated
 * are inside, up to the deadline.
 *
 * Nothing here ever replaces a version other than the one that was expected: where the server looks at preconditions
 * (If-Match) that is its promise; where it does not, the source compares right before (and says so once in the log).
 */
#ifndef VMOFS_CHANGE_H
#define VMOFS_CHANGE_H

#include <stdatomic.h>
#include <vmofs/source.h>
#include <vmofs/xattrs.h>

#define VMOFS_ATTEMPT_LEN 32 /* hexadecimal digits, and a zero beside */

/* What is at a key. */
struct vmofs_version {
	bool exists; /* false: nothing is, and the rest does not count */
	uint64_t size;
	char validator[512]; /* as an entry's; "": not known, then whatever is there is meant */
	struct timespec mtime;
};

/* Attributes that the origin keeps beside the contents, where it can (x-amz-meta-* as s3fs and rclone have them). */
struct vmofs_change_attr {
	unsigned has; /* enum vmofs_entry_has; VMOFS_HAS_TARGET is not for here */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct timespec mtime; /* tv_sec 0: none */
	/* All that it has from then on; NULL: as they are. Borrowed, of an argument. */
	struct vmofs_xattrs *xattrs;
};

/* How a call is bounded. */
struct vmofs_change_wait {
	uint64_t deadline_ns;      /* CLOCK_MONOTONIC, 0: none. Then -ETIMEDOUT */
	const atomic_bool *cancel; /* may be NULL; then -EINTR, soon */
};

/* A range that differs from the base. Page aligned, the last one may end at the size. */
struct vmofs_changed {
	uint64_t off;
	uint64_t len;
};

/*
 * Parts of an object that is to be stored later, sent ahead of that: the origin keeps them, and nobody sees them. Embedded in what the
 * source has of them; the members are as begin() has set them.
 */
struct vmofs_ahead {
	uint64_t part;     /* bytes of each; the i-th is [i * part, (i + 1) * part) of the object */
	unsigned parts;    /* at most so many of them */
	unsigned parallel; /* so many sends at once */
};

/* What begin() needs to know: the object as it is to be. Borrowed. */
struct vmofs_ahead_begin {
	const char *key;
	struct vmofs_version base; /* that the store will have; not all of them will do */
	const struct vmofs_change_attr *attr; /* NULL: none */
	struct vmofs_change_wait wait;
};

/* One part; the caller has the memory for it. */
struct vmofs_ahead_send {
	unsigned part;
	struct vmofs_change_wait wait;
	/* Contents of the object, as of a store. Not 0: send() ends with that. */
	int (*read)(struct vmofs_ahead_send *g, uint64_t off, void *buf, uint64_t len);
};

/* Contents of one object, to be stored as a whole: the base with changes. Owned by the caller. */
struct vmofs_store {
	const char *key;
	struct vmofs_version base; /* what is replaced, and where what has not changed comes from */
	uint64_t size;             /* of what comes */
	/* Ascending, not touching. All below MIN(size, base.size) that is not here is as in the base; all beyond is here. */
	const struct vmofs_changed *changed;
	unsigned n_changed;
	const struct vmofs_change_attr *attr; /* NULL: as the base has them */
	/* Kept with the object; see attempted(). Where none can be, the source puts another in its place before commit(). */
	char attempt[VMOFS_ATTEMPT_LEN + 1];
	struct vmofs_change_wait wait;
	/*
	 * The next five are called by the thread of store(), or by others on its behalf, one at a time.
	 *
	 * [off, off + len) of what comes, changed or not. May block. Not 0: the store ends with that.
	 */
	int (*read)(struct vmofs_store *st, uint64_t off, void *buf, uint64_t len);
	/* The next request makes the new version seen. Not 0: it is not sent, and store() ends with that. */
	int (*commit)(struct vmofs_store *st);
	/*
	 * Memory for @len bytes of contents on their way, out of the budget; give() ends it. False: not now, send
	 * what there is first. What the first @len of a store asks for is always granted.
	 */
	bool (*take)(struct vmofs_store *st, uint64_t len);
	void (*give)(struct vmofs_store *st, uint64_t len);
	/* So many bytes of contents have gone up, or been copied at the origin, since the last call; may be NULL. */
	void (*progress)(struct vmofs_store *st, uint64_t up, uint64_t copied);
	/*
	 * What was sent ahead, for this key and base; NULL: nothing. store() takes it, whatever it returns, and no send is under way.
	 * Part i is what comes where @ahead_holds[i]; all others are sent again.
	 */
	struct vmofs_ahead *ahead;
	const bool *ahead_holds;
	unsigned n_ahead;
	/* Set before commit(): parts of it are used, so that the attributes will be those that begin() was told. */
	bool ahead_used;
	/*
	 * Bytes of [off, off + len), unchanged ones, that read() would have to fetch from the origin, as far as that is known
	 * without waiting; may be NULL: all.
	 */
	uint64_t (*lacks)(struct vmofs_store *st, uint64_t off, uint64_t len);

	/* Results of a success. */
	struct vmofs_version now;
	unsigned requests;
	uint64_t bytes_up;
	uint64_t bytes_copied;
};

/*
 * Sending ahead. Any thread; several send() of different parts at once, as many as `parallel`. A part may be sent once. What all return
 * is as below; what fails leaves the other parts as they are.
 */
struct vmofs_ahead_ops {
	/* Bytes of the parts that begin() would choose. Never blocks. */
	uint64_t (*part)(struct vmofs_source *s);
	int (*begin)(struct vmofs_source *s, const struct vmofs_ahead_begin *b,
		     struct vmofs_ahead **out, struct vmofs_err *err);
	int (*send)(struct vmofs_ahead *a, struct vmofs_ahead_send *g, struct vmofs_err *err);
	/* No store comes: the origin forgets the parts. Frees @a. @cancel (may be NULL) ends the wait for the origin's answer. */
	void (*drop)(struct vmofs_ahead *a, const atomic_bool *cancel);
};

/*
 * What all return: 0, or
 *   -ESTALE      another version is there than was expected (or one where none was); nothing was changed
 *   -ENOENT      what should be removed or copied is not there
 *   -EACCES      the origin refuses
 *   -EFBIG       the origin takes no object of that size, -ENAMETOOLONG no such key
 *   -ENOSPC, -EDQUOT
 *   -EOPNOTSUPP  this origin cannot do that
 *   -EIO, -ETIMEDOUT, -EINTR, -ESHUTDOWN  it is not known what became of it: attempted() tells, of a store
 *   -ENOMEM
 * with @err filled.
 */
struct vmofs_change_ops {
	/* Nothing can be at a key whose directories have not been made, and none goes that has something in it. */
	bool real_dirs;
	const struct vmofs_ahead_ops *ahead; /* NULL: the origin keeps nothing that is not seen */
	int (*store)(struct vmofs_source *s, struct vmofs_store *st, struct vmofs_err *err);
	/*
	 * Whether @attempt made what is at @key now: 1, and @now is that; 0: it did not, and @now is what is there; -errno:
	 * that cannot be known now.
	 */
	int (*attempted)(struct vmofs_source *s, const char *key, const char *attempt,
			 struct vmofs_version *now, const struct vmofs_change_wait *wait,
			 struct vmofs_err *err);
	/* @expect NULL: whatever it is. A key that ends in "/" is the marker of a directory. */
	int (*remove)(struct vmofs_source *s, const char *key, const struct vmofs_version *expect,
		      const struct vmofs_change_wait *wait, struct vmofs_err *err);
	/* By the origin itself; metadata goes along. @to_expect NULL: whatever is there is replaced. */
	int (*copy)(struct vmofs_source *s, const char *from, const struct vmofs_version *expect,
		    const char *to, const struct vmofs_version *to_expect,
		    struct vmofs_version *now, const struct vmofs_change_wait *wait,
		    struct vmofs_err *err);
	/* An empty directory: @key ends in "/". */
	int (*make_dir)(struct vmofs_source *s, const char *key,
			const struct vmofs_change_attr *attr, const struct vmofs_change_wait *wait,
			struct vmofs_err *err);
	/* Only the attributes of what is at @key change; its contents stay, but its validator may not. */
	int (*set_attr)(struct vmofs_source *s, const char *key, const struct vmofs_version *expect,
			const struct vmofs_change_attr *attr, struct vmofs_version *now,
			const struct vmofs_change_wait *wait, struct vmofs_err *err);
	/* A symbolic link, as the source's HEAD tells of one. NULL: the origin has none. */
	int (*make_link)(struct vmofs_source *s, const char *key, const char *target,
			 const struct vmofs_change_attr *attr, struct vmofs_version *now,
			 const struct vmofs_change_wait *wait, struct vmofs_err *err);
	/*
	 * The extended attributes of what is at @key; *@out is counted. What there is of them is all user.*, or was put there
	 * by others and is kept. NULL: this origin has none, and those of a vmofs_change_attr are not kept.
	 */
	int (*get_xattrs)(struct vmofs_source *s, const char *key, struct vmofs_xattrs **out,
			  const struct vmofs_change_wait *wait, struct vmofs_err *err);
	/* Whether a file can have @x: 0, -ENOSPC, -EOPNOTSUPP. Never asks a server. */
	int (*can_xattrs)(struct vmofs_source *s, const struct vmofs_xattrs *x,
			  struct vmofs_err *err);
};

/* 32 random digits. */
void vmofs_attempt_new(char out[VMOFS_ATTEMPT_LEN + 1]);

#endif
