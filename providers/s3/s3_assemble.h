/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes that are smaller than a part. S3 takes a short part only at the end of an object, so to store a changed page as an upload from
 * the base, what is around it has to be fetched and sent again. Unless the server puts a joint together first: a temporary object of at least
 * a part's length from the base, before the change, and of the change as its last part. All of that object is then a part of
 * the upload that counts.
 *
 *        base   |------------------|=====|x|-------------------|
 *        joint                     [= copied =|x uploaded]
 *        upload [copied            |the joint  |copied         ]
 */
#ifndef PROVIDERS_S3_ASSEMBLE_H
#define PROVIDERS_S3_ASSEMBLE_H

#include "s3/s3_op.h"
#include "s3/s3_plan.h"

/* They are made one after the other, in three round trips each, while the rest is copied. */
#define S3_JOINTS_MAX 8

/* -- which (s3_joints.c); pure -- */

/* [off, at) of the base, then [at, end) of what comes. */
struct s3_joint {
	uint64_t off;
	uint64_t at;
	uint64_t end;
};

struct s3_joints {
	struct s3_joint v[S3_JOINTS_MAX];
	unsigned n;
};

struct s3_joints_task {
	const struct s3_limits *l;
	uint64_t size;
	uint64_t base_size;
	const struct vmofs_changed *changed; /* as of a store */
	unsigned n_changed;
	uint64_t (*lacks)(void *arg, uint64_t off, uint64_t len); /* as of a store */
	void *arg;
};

/*
 * A plan with joints, where one saves at least a fifth of the smallest part from being fetched, instead of the @usual one for the same
 * task. j->n 0: none does, and @out is empty. -ENOMEM. @out is to be cleared.
 */
int s3_joints_plan(struct s3_plan *out, struct s3_joints *j, const struct s3_joints_task *t,
		   const struct s3_plan *usual);

/* -- and how (s3_assemble.c); may block -- */

/* As s3_upload_run(), with joints where they save something and the server makes them; else by the @usual plan. */
int s3_assemble_run(struct s3_upload *u, const struct s3_plan *usual, struct vmofs_err *err);

/* What a joint is called in the record of uploads: this, and its attempt. */
#define S3_TEMP_ID "object:"
/* The joint of a process that is gone, if it is there: 0 also when it is not, or can be none. */
int s3_temp_sweep(struct s3 *s, const char *full_key, const char *attempt,
		  const atomic_bool *cancel);
/* Whether a key, or the end of one, is that of a joint: mounts do not show them. */
bool s3_temp_is_key(const char *key, size_t len);

#endif
