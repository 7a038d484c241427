/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an object with changes is put together from parts: what is uploaded, what the server copies from the base. Chosen so
 * that the fewest bytes are uploaded (and so the fewest that are not here have to be fetched), then few parts. Pure, any thread.
 */
#ifndef PROVIDERS_S3_PLAN_H
#define PROVIDERS_S3_PLAN_H

#include <stdbool.h>
#include <vmofs/change.h>

struct s3_limits {
	uint64_t min;  /* of every part but the last */
	uint64_t max;  /* of every part; at least 2 * min */
	uint64_t part; /* usual size of an uploaded part, between min and max */
	uint64_t copy; /* largest part that is copied, between 2 * min and max */
	unsigned parts;
	uint64_t size; /* of an object */
};
extern const struct s3_limits s3_limits; /* of S3 itself, with part and copy as they are usual */

struct s3_part {
	uint64_t off;
	uint64_t len;
	bool copy;     /* from the base, where it is at the same place */
	unsigned from; /* of a copy, not 0: all of this joint instead (s3_assemble.h) */
};

struct s3_plan {
	struct s3_part *v;
	unsigned n;
	unsigned cap;
	uint64_t uploaded; /* bytes */
	uint64_t copied;
};

/*
 * @changed as of a store, for an object of @size bytes (not 0) over a base of @base_size (0: there is none). -EFBIG: there is
 * no object of that size; -ENOMEM; -EINVAL: the changes are not as they must be. @out is to be cleared.
 */
int s3_plan_make(struct s3_plan *out, const struct s3_limits *l, uint64_t size, uint64_t base_size,
		 const struct vmofs_changed *changed, unsigned n_changed);
void s3_plan_clear(struct s3_plan *p);

/* A stretch of the object, to be cut into parts. */
struct s3_stretch {
	uint64_t off;
	uint64_t end;
	bool copy;
	bool last; /* it ends the object */
};
/* Parts of about @usual bytes; none but the last of the object is shorter than @min. -ENOMEM. */
int s3_plan_add(struct s3_plan *out, const struct s3_stretch *s, uint64_t min, uint64_t usual);
int s3_plan_part(struct s3_plan *out, const struct s3_part *p);

#endif
