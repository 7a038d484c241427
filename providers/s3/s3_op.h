/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changes at the origin are made of. Requests for threads that wait (s3_op.c), the metadata that goes from one version of
 * an object to the next (s3_props.c), and the one request of each change that makes it seen (s3_final.c).
 */
#ifndef PROVIDERS_S3_OP_H
#define PROVIDERS_S3_OP_H

#include <vmofs/change.h>

#include "s3/s3_answer.h"
#include "s3/s3_private.h"

#define S3_OP_ANSWER KIB(64) /* of XML, at most */

/* -- metadata -- */

/* Header lines of a request that makes an object: "name\0value\0"... */
struct s3_props {
	char *text;
	size_t len, cap;
	unsigned n;
	bool failed; /* no memory, or more than goes into a request */
};
void s3_props_add(struct s3_props *p, const char *name, const char *value, size_t n);
/* In place of what has this name; NULL: only takes that out. */
void s3_props_set(struct s3_props *p, const char *name, const char *value);
/* The value of the first one of this name; NULL: none. */
const char *s3_props_get(const struct s3_props *p, const char *name);
/* One line of an answer to HEAD, if it is one that the next version shall have too. */
void s3_props_header(struct s3_props *p, const char *name, const char *value, size_t n);
/* As s3fs writes them; @type S_IFREG, S_IFDIR or S_IFLNK. NULL: nothing. */
void s3_props_attr(struct s3_props *p, const struct vmofs_change_attr *attr, mode_t type);
int s3_props_copy(struct s3_props *out, const struct s3_props *p);
void s3_props_clear(struct s3_props *p);

/* -- requests -- */

/* Bytes of a request, shared by those who send them. */
struct s3_body {
	atomic_uint refs;
	atomic_uint *among; /* it is one of so many, until its end; NULL. Of the source */
	size_t len;
	char payload[72]; /* of the signature */
	char crc32c[12];
	uint8_t data[];
};
struct s3_body *s3_body_new(size_t len);
/* The bytes are there: computes what goes with them. */
int s3_body_seal(const struct s3 *s, struct s3_body *b);
struct s3_body *s3_body_get(struct s3_body *b);
void s3_body_put(struct s3_body *b); /* NULL is fine */

/* Where the requests of one change are waited for. Counted by them. */
struct s3_desk;
struct s3_desk *s3_desk_new(void);
void s3_desk_put(struct s3_desk *d);

/*
 * One request. It is filled in, sent, waited for, looked at and put; whoever does not want to wait any more can put
 * it while it is under way: it ends by itself.
 */
struct s3_op {
	struct s3_ask ask;
	struct s3 *s;         /* counted, as the next two */
	struct s3_desk *desk; /* lock of `finished` */
	struct s3_body *body;
	atomic_uint refs;
	char *key; /* full, owned; NULL: the bucket */
	struct sigv4_pair headers[S3_LINES];
	struct s3_props lines; /* the text of headers */
	char *values[S3_PAIRS];
	bool finished;

	/* The answer. Nobody may look at it before the op has finished: it is being written then. */
	int code;
	int status;
	char error_code[64];
	char msg[1024];
	struct s3_head head;
	struct s3_props props; /* of HEAD */
	bool tags;             /* it has some */
	char checksum[16];     /* x-amz-checksum-crc32c */
	int64_t date;
	char *text; /* owned; a 2xx body, ended by a zero; "" */
	size_t len;
};

/* NULL: no memory. @verb, for messages: "store". */
struct s3_op *s3_op_new(struct s3 *s, struct s3_desk *d, const char *method, const char *full_key);
void s3_op_put(struct s3_op *op); /* NULL is fine */
void s3_op_query(struct s3_op *op, const char *name, const char *value);
void s3_op_header(struct s3_op *op, const char *name, const char *value);
void s3_op_props(struct s3_op *op, const struct s3_props *p);
void s3_op_body(struct s3_op *op, struct s3_body *b);
/* @work: bytes that the server has to move for it, which may take it a while in silence. */
void s3_op_send(struct s3_op *op, const struct vmofs_change_wait *w, uint64_t work);
bool s3_op_finished(struct s3_op *op);
/* Until any op of the desk has finished since the last call; -EINTR: cancelled. */
int s3_desk_wait(struct s3_desk *d, const struct vmofs_change_wait *w);
/* Sends and waits: 0, or the code, which is op->code unless it is -EINTR. */
int s3_op_run(struct s3_op *op, const struct vmofs_change_wait *w, uint64_t work);
/* Requests that it took, at least; NULL: none. */
unsigned s3_op_requests(struct s3_op *op);
/* "cannot store 's3://b/k': ..."; one that was given up before it finished: "interrupted". Gives the code. */
int s3_op_explain(struct s3_op *op, const char *verb, struct vmofs_err *err);

/* HEAD of @full_key. *out is to be put, also after an error with an answer (-ENOENT); it may be NULL. */
int s3_look(struct s3 *s, struct s3_desk *d, const char *full_key,
	    const struct vmofs_change_wait *w, struct s3_op **out);
/* What HEAD has found; absent when it was -ENOENT. */
void s3_version_of(const struct s3_op *head, struct vmofs_version *out);
/* Whether what is there is what was expected; @head NULL or -ENOENT: nothing is there. */
bool s3_is_expected(const struct vmofs_version *expect, const struct s3_op *head);

/* -- the request that counts -- */

enum s3_final_kind { S3_FINAL_PUT, S3_FINAL_COMPLETE, S3_FINAL_COPY, S3_FINAL_DELETE };

struct s3_final {
	struct s3 *s;
	struct s3_desk *desk;
	enum s3_final_kind kind;
	const char *verb;
	const char *key;                    /* full */
	const struct vmofs_version *expect; /* NULL: whatever is there */
	const char *source;                 /* of a copy: full key, and its version */
	const struct vmofs_version *source_is;
	const char *attempt; /* NULL: it leaves none */
	const struct vmofs_change_wait *wait;
	/* Right before the first try; NULL: nothing. */
	int (*commit)(struct s3_final *f);
	/* A request ready to be sent, without its condition. NULL: no memory. */
	struct s3_op *(*make)(struct s3_final *f);
	uint64_t work;             /* bytes that the server moves */
	bool checksums;            /* of the contents go along, until the server refuses that */
	struct vmofs_store *store; /* for commit() */
	void *arg;

	struct vmofs_version now; /* of a success, but for the size */
	char version_id[128];
	bool unknown; /* of a failure: a request may have been acted upon */
	unsigned requests;
};

int s3_final_run(struct s3_final *f, struct vmofs_err *err);

/* -- uploads in parts (s3_upload.c) -- */

/* What the server has said of a part. */
struct s3_piece {
	bool done;
	char etag[130];
	char checksum[16];
};
void s3_piece_take(struct s3_piece *p, const struct s3_op *op);

enum { S3_UPLOAD_ID = 1024 };
/* Begins an upload of @key (full) and records it. */
int s3_upload_create(struct s3 *s, struct s3_desk *d, const char *key, const struct s3_props *props,
		     const struct vmofs_change_wait *wait, char id[S3_UPLOAD_ID],
		     unsigned *requests, struct vmofs_err *err);
/* PUT of the @i-th part, from 0; its body, or the source, is still to be set. NULL: no memory. */
struct s3_op *s3_part_op(struct s3 *s, struct s3_desk *d, const char *key, const char *id,
			 unsigned i);
/* Its contents, which are there. */
int s3_part_body(struct s3_op *op, struct s3_body *b);

struct s3_plan;
struct s3_ahead;

/* An object of ours that lives as long as one store (s3_assemble.c). */
struct s3_temp {
	char *key; /* full, owned */
	char attempt[VMOFS_ATTEMPT_LEN + 1];
	struct vmofs_version is;
	char version_id[128]; /* "" */
};

struct s3_upload {
	struct s3 *s;
	struct s3_desk *desk;
	const char *key;  /* full */
	const char *from; /* full key of what is copied */
	const struct vmofs_version *base;
	const char *base_version_id;  /* "" */
	const struct s3_props *props; /* with the attempt */
	const struct vmofs_version *expect;
	const char *attempt;
	const struct vmofs_change_wait *wait;
	uint64_t size;
	struct vmofs_store *store; /* NULL: nothing is uploaded */
	struct s3_ahead *ahead;    /* the upload has begun, and has some of the parts; NULL */
	int (*commit)(struct s3_final *f);
	/*
	 * Makes the temps, waiting at another desk, while the server copies what is the base's already; NULL: there are none. Not
	 * 0: the upload ends with that.
	 */
	int (*prepare)(struct s3_upload *u, struct vmofs_err *err);
	void *arg;                   /* for prepare() */
	const struct s3_temp *temps; /* copied from where a part's from is 1 and more */

	struct vmofs_version now;
	char version_id[128];
	bool temp_failed; /* one of the temps could not be copied; nothing was completed */
	bool refused;     /* all parts were there, and the server does not make an object of them */
	bool unknown;     /* of a failure: the completion may have been acted upon, or will be */
	bool gone; /* of a failure: the server does not know the upload; nothing was completed */
	unsigned requests;
	uint64_t bytes_up;
	uint64_t bytes_copied;
};

int s3_upload_run(struct s3_upload *u, const struct s3_plan *plan, struct vmofs_err *err);

/* -- parts that were sent before the store (s3_ahead.c) -- */

extern const struct vmofs_ahead_ops s3_ahead_ops;
/* NULL of NULL. */
struct s3_ahead *s3_ahead_of(struct vmofs_ahead *a);
/* Whether the store of @full_key by @plan can have its parts. */
bool s3_ahead_fits(const struct s3_ahead *a, const struct vmofs_store *st, const char *full_key,
		   const struct s3_plan *plan);
const char *s3_ahead_id(const struct s3_ahead *a);
const char *s3_ahead_attempt(const struct s3_ahead *a);
/* Only of parts that have arrived and that @st says to hold: NULL otherwise. */
const struct s3_piece *s3_ahead_piece(const struct s3_ahead *a, const struct vmofs_store *st,
				      unsigned i);
/* A request was left under way: what it sends may arrive after the upload was aborted. */
bool s3_ahead_is_astray(const struct s3_ahead *a);
/* What all of it took. */
void s3_ahead_count(const struct s3_ahead *a, unsigned *requests, uint64_t *bytes_up);
/* The upload is aborted, and it is freed; NULL is fine. */
void s3_ahead_drop(struct s3_ahead *a, const atomic_bool *cancel);
/* The upload is the caller's. */
void s3_ahead_free(struct s3_ahead *a);

/* Tags have a request of their own. */
int s3_take_tags(struct s3 *s, struct s3_desk *d, const char *full_key,
		 const struct vmofs_change_wait *w, struct s3_props *p, const char *verb,
		 struct vmofs_err *err);
/* x-amz-copy-source and what goes with it. */
void s3_op_source(struct s3_op *op, const char *from, const char *version_id, const char *etag);
/* The metadata of a copy is what this request says, and its @tags, if it has some: some servers lose them otherwise. */
void s3_op_directives(struct s3_op *op, bool tags);

/* -- the operations (s3_store.c, s3_names.c) -- */

int s3_store(struct vmofs_source *source, struct vmofs_store *st, struct vmofs_err *err);
extern const struct vmofs_change_ops s3_change_ops;

#endif
