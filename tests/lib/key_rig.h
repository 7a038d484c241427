/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A home directory and an environment of a test's own, and chains of access keys made in them. Every error
 * that comes out of one is looked through for secrets: a secret of a test has "HUSH" in it.
 */
#ifndef TESTS_LIB_KEY_RIG_H
#define TESTS_LIB_KEY_RIG_H

#include "s3/credentials_private.h"

struct key_rig {
	char home[64];
	struct vmofs_config *config;
	struct http_settings *settings;
	struct s3_chain *chain;
	struct vmofs_err err;
};

/* No variable of the AWS tools is set, no file is there, and IMDS is switched off. */
int key_rig_setup(void **state);
int key_rig_teardown(void **state);

/* Writes a file below the home directory (folders are made); "%s" in @text is not special. */
void key_rig_file(struct key_rig *r, const char *name, const char *text);
/* The same from a format. */
void key_rig_filef(struct key_rig *r, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
const char *key_rig_path(struct key_rig *r, const char *name);

/* A chain of the present environment, in place of the last one; @opts as in -o. 0 or -errno. */
int key_rig_try(struct key_rig *r, const char *opts);
struct s3_chain *key_rig_chain(struct key_rig *r, const char *opts);
/* Fetches; the test fails when that does. */
void key_rig_fetch(struct key_rig *r, const char *refused);
/* The fetch fails with @code, and @part stands in the message. */
void key_rig_fails(struct key_rig *r, const char *refused, int code, const char *part);
/* A new chain, whose fetch gives these; @token NULL: none. */
void key_rig_gives(struct key_rig *r, const char *opts, const char *access, const char *secret,
		   const char *token, const char *source);
void key_rig_has(struct key_rig *r, const char *access, const char *secret, const char *token);
/* The same up to the error. */
void key_rig_refuses(struct key_rig *r, const char *opts, int code, const char *part);

/* The clock of chains made after it; 0: the real one. */
void key_rig_clock(time_t now);

#endif
