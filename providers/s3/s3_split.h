/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where to cut what is left of a long listing, so that its parts can be listed at the same time: guesses
 * from the names that have been seen. A guess may be wrong (nobody lives there); it costs a request then,
 * never a key. Names are relative to the listed directory. Pure data, no locks, any thread.
 */
#ifndef PROVIDERS_S3_SPLIT_H
#define PROVIDERS_S3_SPLIT_H

#include <stddef.h>
#include <stdint.h>

#define S3_SPLIT_DEPTH 64   /* positions that are looked at one by one */
#define S3_SPLIT_NAME  1100 /* longest cut, with a zero */

/* Which bytes have been seen at each position of a name. */
struct s3_split {
	uint64_t seen[S3_SPLIT_DEPTH][4];
};

void s3_split_learn(struct s3_split *m, const char *name, size_t len);

/* A part of the listing that is under way. All names end in a zero. */
struct s3_span {
	const char *first; /* of the last page */
	const char *last;  /* of the last page: all up to it is known */
	const char *end;   /* the last name that belongs to it; NULL: there is no end */
	uint64_t found;    /* names from first to last */
	uint64_t near;     /* so many more come anyway: no cut among them */
};

/* About how many names are left after last; UINT64_MAX: nobody knows. */
uint64_t s3_split_left(const struct s3_split *m, const struct s3_span *s);

/* At most @n cuts, ascending, all of them after last and before end, without a slash, valid UTF-8. */
unsigned s3_split_cut(const struct s3_split *m, const struct s3_span *s, unsigned n,
		      char (*out)[S3_SPLIT_NAME]);

#endif
