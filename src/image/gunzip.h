/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zlib's inflate over a gzip file as gzip(1) understands it: members one after the other, header checksums, CRC and length of
 * each member checked, and whatever follows the last one (padding of zeros, garbage) passed over. It can also begin in the
 * middle of a member; then the CRC of that one is not known, and is not checked.
 *
 * Input and output are the members next_in, avail_in, next_out and avail_out of `z`. One thread.
 */
#ifndef IMAGE_GUNZIP_H
#define IMAGE_GUNZIP_H

#include <stdbool.h>
#include <stdint.h>
#include <zlib.h>

#define GUNZIP_WINDOW 32768u

enum gunzip_state {
	GUNZIP_BETWEEN, /* before a member, or at the end */
	GUNZIP_MAGIC,   /* the first byte of one has come, perhaps */
	GUNZIP_MEMBER,
	GUNZIP_RAW,     /* a member that was begun in the middle */
	GUNZIP_TRAILER, /* of that one: checks that cannot be made */
	GUNZIP_END      /* after the last member */
};

struct gunzip {
	z_stream z;
	enum gunzip_state state;
	bool any; /* a member has ended or was begun in the middle: bytes that are none are the end */
	unsigned trailer; /* TRAILER: so many bytes are left of it */
	uint64_t rest;    /* so many bytes came after the last member */
};

/* Why gunzip_run() returned. */
enum gunzip_stop {
	GUNZIP_MORE,      /* the input is used up */
	GUNZIP_FULL,      /* there is no room for output */
	GUNZIP_AT_MEMBER, /* two bytes of a member have been taken */
	GUNZIP_AT_BLOCK, /* before a block of a member; z.data_type & 7 bits of the last byte belong to it */
};

int gunzip_init(struct gunzip *g); /* -ENOMEM; gunzip_release() is due all the same */
void gunzip_release(struct gunzip *g);

/* The next byte is that of a gzip file. */
void gunzip_begin(struct gunzip *g);
/*
 * The next byte is in the middle of a member, before a block, @bits of @byte before it belong to it, and [window, window + len)
 * came before. -EBADMSG: that cannot be.
 */
int gunzip_begin_raw(struct gunzip *g, unsigned bits, uint8_t byte, const void *window, size_t len);

/* enum gunzip_stop, AT_BLOCK only with @blocks; -EBADMSG: z.msg may say why (NULL: it is no gzip); -ENOMEM. */
int gunzip_run(struct gunzip *g, bool blocks);

/* The input may end here. */
static inline bool gunzip_complete(const struct gunzip *g)
{
	return g->any &&
		(g->state == GUNZIP_BETWEEN || g->state == GUNZIP_MAGIC || g->state == GUNZIP_END);
}

#endif
