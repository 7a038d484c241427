/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory with something in it gets another name at the origin: what both parts of that share. Which keys there are and what
 * becomes of each is in local_keys.c; files that are open or changed here, the tree and the order of it all, in local_move.c.
 */
#ifndef FS_LOCAL_MOVE_H
#define FS_LOCAL_MOVE_H

#include <stdatomic.h>
#include <vmofs/change.h>

#include "fs/local_private.h"
#include "write/wmove.h"

/* More keys than that are not moved: -EXDEV. */
enum { LOCAL_MOVE_MAX = 100000, LOCAL_MOVE_THREADS = 16 };

/* A version, in as little as it takes. */
struct brief {
	uint64_t size;
	struct timespec mtime;
	char *validator; /* owned; NULL: there is none */
};

/* One key below the directory. */
struct moved_key {
	char *rel;         /* owned; behind the directory's key; "" is its marker */
	struct brief from; /* the version that is copied */
	struct brief now;  /* what it was copied as; validator NULL: it was not */
	uint64_t ino;      /* here; 0: not known, or `apart` */
	bool apart;        /* it is open or changed here, or removed while it is open */
	bool stays;        /* at the origin both are left, as they are not the same */
};

struct keys {
	struct local *l;
	const char *from; /* "dir/" */
	const char *to;
	bool over;    /* the new directory was there, empty */
	bool resumed; /* some may have been copied already */
	struct wmove *record;
	struct moved_key *v;
	size_t n;
	size_t cap;
	/* Of the threads. */
	atomic_size_t next;
	atomic_int code; /* the first failure */
	atomic_uint left;
	int (*each)(struct keys *k, struct moved_key *m);
	bool go_on; /* after a failure */
};

/* What there is below @from, with the keys that no directory shows. -EXDEV: too many. */
int keys_list(struct keys *k);
void keys_release(struct keys *k);
/* That of @rel, made if need be; NULL: no memory. */
struct moved_key *keys_find(struct keys *k, const char *rel);

/* Those that are not `apart`, at the same time. The first failure ends it. */
int keys_copy(struct keys *k);
/* One of those that are: as the version @v of it. */
int keys_copy_version(struct keys *k, struct moved_key *m, const struct vmofs_version *v);
/* What was copied goes again; those that cannot are counted in `left`. */
void keys_copy_back(struct keys *k);
/* The old ones of what was copied; those that cannot are counted in `left`. */
void keys_remove(struct keys *k);
/* After a start: what is below @to and is a copy of what is below @from goes. */
int keys_take_back(struct keys *k);

int brief_set(struct brief *b, const struct vmofs_version *v);
bool brief_is(const struct brief *b, const struct vmofs_version *v);
struct vmofs_version brief_version(const struct brief *b);
/* The whole key of @rel. */
void keys_name(const char *dir, const char *rel, char key[VMOFS_KEY_MAX]);
/* What is at @key now. */
int keys_look(struct local *l, const char *key, struct vmofs_version *now);

#endif
