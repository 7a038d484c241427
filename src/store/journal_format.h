/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log of the journal as bytes: a header, then records. Pure functions over (pointer, length); bytes come from a disk that
 * anything may have happened to. Any thread.
 *
 *   header   "vmofsjnl", u32 version, u32 0, u64 salt, zeros, u32 CRC32C of all before it, u32 doubt: not 0 after a sync that
 *            failed; 64 bytes
 *   record   head: u32 magic, u32 CRC32C of where it stands (u64) and of the rest of the head, u64 salt, u64 group, u32 kind,
 *            u32 payload length, u32 CRC32C of the payload, u32 0, u64 off, u64 len; 56 bytes; then the payload
 *
 *   KEY      payload: the key                        ZEROS    [off, off + len) reads as zeros
 *   BASE     payload: u32 exists, u32 0, u64 size,   FORGET   what the log has of [off, off + len) does not count
 *            then the validator                      ATTEMPT  payload: its name, or nothing
 *   PAGES    payload: contents of [off, off + len)   COMMIT   payload: the state, and behind it the extended attributes,
 *                                                             where it has such; off: so much of the file was durable
 *                                                             before, len: 0
 *
 * Little endian. Groups have ascending numbers, and none is used twice in a file: what stands behind the end from a group that
 * was given up can never be taken for a part of one that was written over its beginning.
 */
#ifndef STORE_JOURNAL_FORMAT_H
#define STORE_JOURNAL_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "store/journal.h"

#define JOURNAL_HEADER_LEN  64u
#define JOURNAL_DOUBT_AT    60u /* in the header; the only bytes that are ever written again */
#define JOURNAL_HEAD_LEN    56u
#define JOURNAL_PAYLOAD_MAX (256u << 10)
#define JOURNAL_STATE_LEN   48u
#define JOURNAL_BASE_HEAD   16u
#define JOURNAL_MAGIC       0x4c4a4d56u /* "VMJL" */
/* No file ends behind it. */
#define JOURNAL_OFF_MAX ((uint64_t)INT64_MAX)

enum journal_kind {
	JOURNAL_KEY = 1,
	JOURNAL_BASE,
	JOURNAL_PAGES,
	JOURNAL_ZEROS,
	JOURNAL_FORGET,
	JOURNAL_ATTEMPT,
	JOURNAL_COMMIT,
	JOURNAL_NKINDS
};

struct journal_head {
	uint64_t salt;
	uint64_t group;
	enum journal_kind kind;
	uint32_t payload_len;
	uint32_t payload_crc;
	uint64_t off;
	uint64_t len;
};

void journal_header_encode(uint64_t salt, uint8_t out[JOURNAL_HEADER_LEN]);
/* 0; -EBADMSG: not one of ours, or not whole; -EPROTO: of another version. */
int journal_header_decode(const void *p, size_t n, uint64_t *salt, bool *doubt);

void journal_head_encode(const struct journal_head *h, uint64_t place,
			 uint8_t out[JOURNAL_HEAD_LEN]);
/* @n bytes that stand at @place. 0, -EBADMSG. Then the lengths and offsets are in their limits, whatever the kind. */
int journal_head_decode(struct journal_head *h, uint64_t place, const void *p, size_t n);
uint32_t journal_crc(const void *p, size_t n);

uint32_t journal_base_encode(const struct journal_base *b,
			     uint8_t out[JOURNAL_BASE_HEAD + JOURNAL_VALIDATOR_MAX]);
/* All but the xattrs themselves, which follow. */
void journal_state_encode(const struct journal_state *st, uint8_t out[JOURNAL_STATE_LEN]);

/* What commits have said so far. */
struct journal_facts {
	char key[JOURNAL_KEY_MAX]; /* "": not said yet, which no commit is without */
	uint64_t key_stamp; /* when it got that: `off` of the record; 0: with the log's own id */
	bool has_base;
	struct journal_base base;
	struct journal_state state; /* but for the xattrs, which are: */
	bool has_xattrs;
	uint32_t xattrs_len;
	uint8_t xattrs[VMOFS_XATTRS_MAX];
	char attempt[JOURNAL_ATTEMPT_MAX];
};

/* A log that is being read from its beginning. All zeros but for the salt, to begin with. */
struct journal_replay {
	uint64_t salt;
	bool doubt;
	uint64_t group;              /* of the record seen last; 0: none */
	bool open;                   /* that group has not ended */
	uint64_t end;                /* of the last commit; 0: none */
	struct journal_facts facts;  /* as of the last commit */
	struct journal_facts coming; /* as of the record seen last */
};

/*
 * The next record, which stands at @place, and its payload, whole. 0; -EBADMSG: it is none that belongs here, and nothing has changed.
 * @payload NULL, for PAGES only: it was not read.
 */
int journal_replay_add(struct journal_replay *r, uint64_t place, const struct journal_head *h,
		       const uint8_t *payload);

/* A file, or bytes in memory. Reads as much as there is, at most @n; -errno. */
struct journal_bytes {
	ssize_t (*read)(struct journal_bytes *b, uint64_t off, void *buf, size_t n);
	uint64_t size; /* nothing behind it is looked at */
};

/* What a walk calls for each record that belongs there, committed or not. Not 0 ends it. NULL: nothing. */
typedef int journal_visit(void *arg, uint64_t place, const struct journal_head *h);

enum journal_depth {
	JOURNAL_HEADS, /* contents of pages are stepped over */
	JOURNAL_ALL,   /* and here they are checked */
};

/*
 * From the beginning to the first byte that does not belong there, or the end; @r says how far commits go. 0; -EBADMSG: not even
 * the header; -EPROTO: of another version; -errno of a read, or what @visit gave.
 */
int journal_walk(struct journal_bytes *b, enum journal_depth depth, struct journal_replay *r,
		 journal_visit *visit, void *arg);
/*
 * Whether there is, behind @end, a commit that was written when more than the first @end bytes were durable: then what stands at
 * @end has been damaged since, which no crash does. @salt 0: not known. 1, 0, -errno.
 */
int journal_find_damage(struct journal_bytes *b, uint64_t salt, uint64_t end);

#endif
