/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of the contents of a directory. Entries stand in slots in the order in which they
 * were told; a slot's number is the cookie of readdir(), so it stays while somebody may be reading. An
 * index finds them by name. Under the tree's lock.
 *
 *   DIR_UNLISTED -> DIR_LISTING   somebody wants to know all of it
 *   DIR_LISTED   -> DIR_LISTING   the same, after the TTL
 *   DIR_LISTING  -> DIR_LISTED    the listing has told all
 *   DIR_LISTING  -> DIR_UNLISTED  it failed
 *   DIR_LISTED   -> DIR_UNLISTED  entries were dropped for memory
 *
 * - UNLISTED: entries may be there, each with a time of its own (node->fresh).
 * - LISTING: an entry whose NODE_SEEN equals `seen` has been told by this listing.
 * - LISTED: an entry is as fresh as asked_ns; stale after the TTL, which no state shows. What is not
 *   there does not exist.
 */
#ifndef FS_DIR_H
#define FS_DIR_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/list.h>

#include "fs/node.h"
#include "fs/tree.h"

enum dir_state { DIR_UNLISTED, DIR_LISTING, DIR_LISTED, DIR_NSTATES };

/* What a directory has of its own; the rest is the mount's. */
struct dir_attr {
	unsigned has; /* enum vmofs_entry_has: mode, owner, group */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	bool timed; /* the node's time was told of the directory itself, or set: no marker's date counts */
};

struct dir {
	struct node *node;    /* whose contents these are */
	struct dir_attr attr; /* of the node */
	struct node **slots;
	uint32_t n_slots; /* used, holes included */
	uint32_t cap_slots;
	uint32_t n_live;
	uint32_t n_kept; /* of them, that stay whatever the source tells: see tree_is_kept() */
	uint32_t *index; /* slot + 1; 0: free; UINT32_MAX: was used */
	uint32_t index_cap;
	uint32_t index_used; /* with those that were */

	enum dir_state state;
	bool seen;          /* what NODE_SEEN of an entry of this listing is */
	bool again;         /* LISTING: it was LISTED before, so readers wait for the end of it */
	bool marker;        /* the listing has a key for the directory itself */
	struct node *other; /* a file that the parent's listing told by its name; owned */
	bool read_whole;    /* somebody has read it to its end */
	const void *lister; /* LISTING: who fills it */
	uint32_t told_slot; /* LISTING: of what was told last, or NODE_NO_SLOT */
	uint64_t asked_ns;  /* of the last listing; 0: never */
	uint64_t seq;       /* how many changes had been made here when it was asked for */
	uint64_t whole_ns;  /* of the last one that has told all; 0: never, or it does not count */
	unsigned opens;     /* by the kernel */
	unsigned pins;      /* queries and walks that need it */
	struct vmofs_list waits;   /* for the listing */
	struct vmofs_list queries; /* of names in it */
	struct vmofs_list lru;

	/* Names asked for one by one lately. */
	uint64_t asking_ns;
	unsigned n_asked;
	uint64_t answered_ns; /* the last one of them, to somebody who waited */
	/* Its sub-directories being opened one after the other. */
	uint32_t walk_slot;
	unsigned walk_run;
	/* By which walk it was filled, and how many entries that had brought before. */
	uint32_t walk_id;
	unsigned walk_pages; /* asked for its sake */
	uint64_t walk_seq;
	uint32_t hidden[FS_HIDDEN_NREASONS];
};

struct dir *dir_new(struct node *n);
/* Without entries. */
void dir_free(struct dir *d);

/* The only function that writes d->state. */
void dir_set_state(struct dir *d, enum dir_state to);

struct node *dir_find(const struct dir *d, const char *name, size_t len);
/* 0 or -ENOMEM. The name is not there yet. */
int dir_add(struct dir *d, struct node *n);
void dir_remove(struct dir *d, struct node *n);
/* @now takes the slot and the name of @old. */
void dir_replace(struct dir *d, struct node *old, struct node *now);
/* Closes the holes: cookies change. */
void dir_compact(struct dir *d);
/* Of the arrays. */
uint64_t dir_bytes(const struct dir *d);

#endif
