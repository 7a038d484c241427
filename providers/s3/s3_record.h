/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The uploads in parts that this process has begun and not ended, by their ids, in a small file of its own: S3 keeps the parts of an
 * upload until somebody aborts it, and nothing in its listing of uploads tells whose they are. A process that has died leaves its
 * file, unlocked, and the next one for the same bucket on this machine aborts exactly what stands in it. Temporary objects (s3_assemble.h)
 * stand in it too, with ids that begin with S3_TEMP_ID: they are removed.
 *
 * The file is not synced: after a loss of power, uploads may be left that nobody aborts but a lifecycle rule of the bucket. Where no file can be
 * made, that is all there is.
 */
#ifndef PROVIDERS_S3_RECORD_H
#define PROVIDERS_S3_RECORD_H

#include <vmofs/change.h>

#include "s3/s3_private.h"

struct s3_record;

/* Of @s, at its first upload; also aborts what others have left. May block. */
void s3_record_add(struct s3 *s, const char *full_key, const char *id);
void s3_record_del(struct s3 *s, const char *id);
/*
 * The upload @id of @attempt stays in it: a request that completes it may still arrive. settle(): it is known now whether what is at
 * the key is of @attempt; if it is not, its upload is aborted, so that it cannot come later. 1: it was; 0: there was nothing to abort, or
 * that is not allowed; -errno: it may still come.
 */
void s3_record_doubt(struct s3 *s, const char *attempt, const char *full_key, const char *id);
int s3_record_settle(struct s3 *s, const char *attempt, bool done, const atomic_bool *cancel);
/* The file goes when nothing is in it. NULL is fine. */
void s3_record_free(struct s3_record *r);

/*
 * What a record says: each upload that was begun ("+ID KEY\n", the key percent-encoded) and not ended ("-ID\n"). A last line without its
 * end does not count, nor do lines that make no sense. @p is changed. Pure.
 */
void s3_record_parse(char *p, size_t n, void (*fn)(void *arg, const char *id, const char *key),
		     void *arg);

/* s3_upload.c: 0 also when there is no such upload any more. */
int s3_upload_abort(struct s3 *s, const char *full_key, const char *id, const atomic_bool *cancel);

#endif
