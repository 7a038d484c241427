/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file or directory of a tree, as small as it can be: a mount may have millions. Everything is
 * under the tree's lock; nothing here takes it.
 *
 * What a node says of a file never changes once the kernel has been told: another version is another
 * node with another number. The one that is replaced has no name any more (NODE_NAMELESS) and lives
 * while the kernel knows its number.
 */
#ifndef FS_NODE_H
#define FS_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/source.h>

struct dir;

#define NODE_NO_SLOT       UINT32_MAX
#define NODE_VALIDATOR_MAX 512

enum node_flags {
	NODE_DIR = 1u << 0,
	NODE_LINK = 1u << 1,     /* a symbolic link */
	NODE_RCLONE = 1u << 2,   /* its key has a suffix that its name has not */
	NODE_SEEN = 1u << 3,     /* by the directory's last listing: compared with dir->seen */
	NODE_HEADED = 1u << 4,   /* a HEAD has told what there is to know */
	NODE_TOLD = 1u << 5,     /* the kernel may have its attributes */
	NODE_OPENED = 1u << 6,   /* the object cache may have it */
	NODE_NAMELESS = 1u << 7, /* gone, or another version has its name */
	NODE_DOUBT =
		1u << 8, /* a directory that proved to be empty: only what is told later counts */
	NODE_DOUBT_NEW = 1u << 9, /* since its parent's listing that is under way was asked for */
	NODE_VAGUE = 1u << 11,    /* a listing has not said all since the last HEAD */
	NODE_AWAITED = 1u << 12,  /* whoever asked for it may not have come for it yet */
	NODE_EXT = 1u << 10,      /* has attributes of its own: struct node_ext */
	NODE_HELD = 1u
		<< 13, /* a file with changes made here: what the source tells of it does not count */
	NODE_MADE = 1u << 14, /* a directory that is here, whether or not the source tells of it */
};

enum node_validator {
	VALIDATOR_NONE,
	VALIDATOR_MD5,
	VALIDATOR_MD5_PARTS,
	VALIDATOR_DATE,
	VALIDATOR_TEXT
};

struct node {
	struct node *hash_next; /* in the table of numbers; among the dead */
	struct node *parent;    /* NULL: the root, or nameless */
	uint64_t ino;
	union {
		uint64_t size; /* of a file */
		struct dir
			*dir; /* of a directory; owned; NULL: nothing is known of what is in it */
	};
	int64_t mtime_ns;  /* 0: not known */
	uint32_t n_lookup; /* references of the kernel */
	uint32_t slot;     /* in the parent's directory */
	uint32_t fresh;    /* when it was told by itself, in ticks of the tree; 0: never */
	uint16_t flags;
	uint8_t name_len;
	uint8_t validator; /* enum node_validator: how it is packed */
	char tail[];       /* name and a zero, packed validator, struct node_ext, target */
};

/* Attributes that few have; unaligned in the tail. */
struct node_ext {
	uint32_t has; /* enum vmofs_entry_has */
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	uint32_t target_len;
};

/* A node of @e called @name; a directory when @e is NULL or a prefix. NULL: no memory. */
struct node *node_new(const char *name, size_t len, const struct vmofs_entry *e);
/* @n with another name, in no directory. What it owns (dir) is still @n's. NULL: no memory. */
struct node *node_renamed(const struct node *n, const char *name, size_t len);
void node_free(struct node *n);

static inline const char *node_name(const struct node *n)
{
	return n->tail;
}

static inline bool node_is_dir(const struct node *n)
{
	return n->flags & NODE_DIR;
}

/* What it costs, with the overhead of the allocator. */
uint64_t node_bytes(const struct node *n);

/* The validator as the source gave it. */
void node_validator(const struct node *n, char out[NODE_VALIDATOR_MAX]);
/* False: the mount's attributes hold. */
bool node_ext(const struct node *n, struct node_ext *out);
/* The target of a symbolic link, NULL when it is not known; *len bytes without a final zero. */
const char *node_target(const struct node *n, size_t *len);

/* As the source told it, but for the key; the texts are @validator and parts of @n. */
void node_entry(const struct node *n, struct vmofs_entry *e, char validator[NODE_VALIDATOR_MAX]);

/* Whether @e may be what @n stands for: nothing in it proves otherwise. */
bool node_is_version(const struct node *n, const struct vmofs_entry *e);

#endif
