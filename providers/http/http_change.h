/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changes at a web server are made of: one small request for threads that wait (http_change_op.c), what a HEAD tells of a URL,
 * the upload of a whole object (http_upload.c) and the other changes (http_change.c).
 */
#ifndef PROVIDERS_HTTP_CHANGE_H
#define PROVIDERS_HTTP_CHANGE_H

#include <vmofs/change.h>

#include "http/http_origin.h"
#include "net/url.h"

/* What is known of how a server takes changes. Shared by all threads. */
struct http_ways {
	/* Whether it refuses what comes with a precondition that does not hold. */
	_Atomic enum { HTTP_WAYS_UNKNOWN, HTTP_WAYS_LOOKS, HTTP_WAYS_IGNORES } conditions;
	atomic_bool no_copy; /* it has no COPY */
};

/* Where a source's objects are. */
struct http_place {
	struct http_origin *origin; /* borrowed */
	struct http_ways *ways;     /* borrowed */
	const char *only;           /* the one key that there is; NULL: any */
};

/* ---- one request ---- */

enum { HTTP_OP_LINES = 4 };

struct http_op {
	struct http_ask ask;
	char url[URL_MAX];
	char *lines[HTTP_OP_LINES]; /* owned */
	unsigned nlines;
	bool no_memory;
	/* The body of a 2xx answer; NULL: it is thrown away. Not 0: the request has failed. */
	int (*data)(struct http_op *op, const void *buf, size_t n);
	void (*reset)(struct http_op *op); /* the body begins anew; may be NULL */
	void *arg;                         /* theirs */
	char *location;                    /* of the answer, owned */

	int code;   /* 0, or as http_ask_ops.done has it */
	int status; /* of the last answer, 0: none */
	char msg[512];
};

/* NULL: no memory. @op->url is the caller's to fill. */
struct http_op *http_op_new(const char *method);
void http_op_free(struct http_op *op); /* NULL is fine */
void http_op_line(struct http_op *op, const char *name, const char *value);
/* Blocks. op->code, or -EINTR. */
int http_op_run(struct http_op *op, struct http_origin *o, const struct vmofs_change_wait *w);

/* ---- what is there ---- */

struct http_seen {
	bool exists;
	bool dir;
	uint64_t size;  /* VMOFS_SIZE_UNKNOWN */
	char etag[256]; /* a strong one, or "" */
	char last_modified[64];
};

/* HEAD. That there is nothing is a success. */
int http_look(const struct http_place *p, const char *url, const struct vmofs_change_wait *w,
	      struct http_seen *out, struct vmofs_err *err);
bool http_is_expected(const struct vmofs_version *expect, const struct http_seen *seen);
void http_version_of(const struct http_seen *seen, struct vmofs_version *out);
/*
 * The version that a change has made: as its answer tells, else as a HEAD does. @size: VMOFS_SIZE_UNKNOWN where that is the server's to
 * tell. -ESTALE: another one has come since.
 */
int http_find_version(const struct http_place *p, const char *url, const struct http_reply *answer,
		      uint64_t size, const struct vmofs_change_wait *w, struct vmofs_version *now,
		      struct vmofs_err *err);

/* ---- conditions ---- */

/* The header line that asks for @expect: its name, NULL: there is none. @value has room for 512. */
const char *http_condition(const struct vmofs_version *expect, char *value);
/* What is there has to be looked at before, as the server may not. */
bool http_must_compare(const struct http_place *p, const struct vmofs_version *expect);
void http_learn(const struct http_place *p, bool looks);

/* The code for an answer that refuses a change; 0: it is none of those, and what became of it may be unknown. */
int http_refused_code(int status);
/* "cannot store 'URL': ...", with a remedy where there is one. Returns @code. */
int http_explain(const char *verb, const char *url, int code, int status, const char *why,
		 struct vmofs_err *err);
/* -EPERM for another key than the only one. */
int http_check_key(const struct http_place *p, const char *key, struct vmofs_err *err);

/* ---- contents ---- */

/* What stands for the contents: their size and as much of their SHA-256 as fits, so that it can be looked for at the server. */
struct sha256;
void http_attempt_of(uint64_t size, struct sha256 *sum, char out[VMOFS_ATTEMPT_LEN + 1]);
/* 1: what is there (@now) has these contents; 0: it has not; else it cannot be told. */
int http_compare(const struct http_place *p, const char *url, const char *attempt,
		 struct vmofs_version *now, const struct vmofs_change_wait *w,
		 struct vmofs_err *err);

int http_upload(const struct http_place *p, const char *url, struct vmofs_store *st,
		struct vmofs_err *err);

extern const struct vmofs_change_ops http_change_ops;

#endif
