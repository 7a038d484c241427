/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the journal has of a directory that is getting another name: so that a mount after a crash ends what was begun. It is a
 * log like those of files; its key ends in "/", as no file's does. The contents are text (wmove_read()):
 *
 *   "+" or "-"    forward, or back
 *   TO            the new key
 *   KEY VALIDATOR SIZE ...   what was copied as a version that cannot be told by what it was copied from
 *
 * each but the first followed by a zero. Who changes one is one thread at a time, but for wmove_copied().
 */
#ifndef WRITE_WMOVE_H
#define WRITE_WMOVE_H

#include <vmofs/change.h>

struct journal_found;
struct wmove;
struct writer;

/* Durable. *@out is NULL where there is no journal. */
int wmove_begin(struct writer *w, const char *from, const char *to, struct wmove **out);
/* @key, of the new directory, is @now; durable. Any thread; NULL is fine. */
int wmove_copied(struct wmove *m, const char *key, const struct vmofs_version *now);
/* From now on what was copied is removed again. NULL is fine. */
int wmove_back(struct wmove *m);
/* Nothing of it is left to be done; or, not @done, it waits for the next mount. NULL is fine. */
void wmove_end(struct wmove *m, bool done);

const char *wmove_from(const struct wmove *m);
const char *wmove_to(const struct wmove *m);
bool wmove_is_back(const struct wmove *m);
/* Whether wmove_copied() has been told of this version. */
bool wmove_has(const struct wmove *m, const char *key, const struct vmofs_version *v);

/* One that was found after a start, the oldest first; NULL: there is none (any more). It is the caller's, until wmove_end(). */
struct wmove *wmove_next(struct writer *w);
/* Takes @found's log in any case. By writer_recover(). */
void wmove_found(struct writer *w, struct journal_found *found);
/* Those that nobody has taken stay in the journal. By writer_free(). */
void wmove_drop_all(struct writer *w);

/* ---- the text ---- */

struct wmove_text {
	bool back;
	const char *to; /* borrowed, as all of it */
	const char *rest;
	const char *end;
};
/* 0, -EBADMSG. */
int wmove_read(const char *p, size_t len, struct wmove_text *out);
/* The next of what was copied; false: there is none. */
bool wmove_read_next(struct wmove_text *t, const char **key, const char **validator,
		     uint64_t *size);

#endif
