/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short XML answers to changes: an upload's id, a part's tag and checksum, and errors that come with status 200 (copies,
 * completions). Pure functions on (pointer, length), any thread.
 */
#ifndef PROVIDERS_S3_ANSWER_H
#define PROVIDERS_S3_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The text of the first element @name, decoded; -ENOENT: there is none, or it is not closed; -ENAMETOOLONG. @out is "" then.
 */
int s3_answer_field(const char *p, size_t n, const char *name, char *out, size_t cap);
/* Whether it is an error document. */
bool s3_answer_is_error(const char *p, size_t n);

#endif
