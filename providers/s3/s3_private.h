/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the S3 provider.
 *
 *   s3.c          open, close, counters        s3_options.c   options, endpoint, prefix
 *   s3_request.c  signed requests, remedies    s3_fetch.c     one page of a listing
 *   s3_list.c     directories, flat listings   s3_stat.c      one name, HEAD
 *   s3_object.c   objects and their checksums  s3_meta.c      what s3fs and rclone write
 *
 * and of changes (s3_op.h):
 *
 *   s3_store.c    contents                     s3_names.c     remove, copy, directories, links
 *   s3_plan.c     which parts                  s3_upload.c    uploads in parts
 *   s3_op.c       requests that wait           s3_final.c     the one that counts, preconditions
 *   s3_props.c    metadata that is kept        s3_record.c    uploads that were left
 *   s3_joints.c   small changes: which joints  s3_assemble.c  and how they are made
 *   s3_answer.c   short XML answers            s3_acl.c       access control lists, s3_grants.c
 */
#ifndef PROVIDERS_S3_PRIVATE_H
#define PROVIDERS_S3_PRIVATE_H

#include <stdatomic.h>
#include <vmofs/source.h>

#include "base/config.h"
#include "base/sync.h"
#include "base/worker.h"
#include "http/http_origin.h"
#include "net/url.h"
#include "s3/credentials.h"
#include "s3/s3_xml.h"
#include "s3/sigv4.h"

#define S3_LINES  96 /* header lines of one request, at most */
#define S3_PAIRS  8  /* of a query */
#define S3_REGION 64

/* What becomes of access control lists; in the order of the option's words. */
enum s3_acl_mode { S3_ACL_KEEP, S3_ACL_IGNORE, S3_ACL_REQUIRE };
/* Whether the bucket has any. */
enum s3_acls { S3_ACLS_UNKNOWN, S3_ACLS_ON, S3_ACLS_OFF };

/* Fixed once the source is open; the endpoint of AWS depends on the region. */
struct s3_options {
	char bucket[256];
	char prefix[1032]; /* "" or with a slash at its end */
	char host[256];    /* of the endpoint, with its port where that is not the usual; "": AWS */
	char base[256];    /* path of the endpoint, without a slash at its end */
	bool tls;
	bool path_style;
	bool dual_stack;
	bool requester_pays;
	unsigned page;
	unsigned parallel;
	uint64_t part_size; /* of the HTTP provider: objects up to this come with one GET */
	uint64_t upload_part;
	unsigned upload_parallel;
	enum s3_acl_mode acl;
	bool assemble; /* changes that are smaller than a part, at the server */
	char *sse_key; /* secrets: values of the three SSE-C headers; NULL: none */
	char *sse_md5;
};

/* Preconditions that a server may look at, or not. */
enum s3_feature {
	S3_PUT_MATCH,
	S3_PUT_NEW,
	S3_COMPLETE_MATCH,
	S3_COMPLETE_NEW,
	S3_COPY_MATCH,
	S3_COPY_NEW,
	S3_DELETE_MATCH,
	S3_SOURCE_MATCH, /* of a copy: on what is copied */
	S3_NFEATURES
};
/* DOUBTED: a false one went through once, as it also does where what was there has been removed at that moment. */
enum s3_habit { S3_UNKNOWN, S3_DOUBTED, S3_LOOKS, S3_IGNORES };

struct s3 {
	struct vmofs_source base;
	struct s3_options o;
	struct http_origin *origin;
	struct s3_chain *chain;
	struct worker *worker; /* the pool's */
	struct worker_task refresh;
	atomic_uint refs;
	atomic_bool refreshing;
	_Atomic uint64_t refresh_after_ns;
	atomic_bool stopping;
	atomic_bool serial;   /* start-after cannot be relied upon */
	_Atomic int64_t skew; /* seconds that the server's clock is ahead */

	/* What the server is known to do with changes. */
	_Atomic(enum s3_habit) habits[S3_NFEATURES];
	atomic_bool warned;       /* of habits */
	atomic_bool bare_tags;    /* If-Match wants tags without quotes */
	atomic_bool no_checksums; /* it refuses those of CRC32C */
	_Atomic(enum s3_acls) acls;
	atomic_bool acl_read;               /* one could be read */
	atomic_uint acl_refusals;           /* before */
	atomic_bool no_groups;              /* it refuses grants to everybody */
	_Atomic(struct s3_record *) record; /* of uploads; NULL: none yet */
	atomic_uint ahead_bodies;           /* of parts sent ahead, in memory */
	atomic_uint unassembled; /* tries of s3_assemble.c that failed, since one that did not */

	struct mutex lock;
	char region[S3_REGION]; /* lock: lock */
};

struct s3 *s3_get(struct s3 *s);
void s3_put(struct s3 *s);

/* -- s3_options.c -- */

extern const struct vmofs_option s3_options[];
/* @source as s3://BUCKET[/KEY]: sets bucket and prefix (or, for an object, the bare key). */
int s3_options_source(struct s3_options *o, const char *source, struct vmofs_err *err);
int s3_options_read(struct s3_options *o, const struct vmofs_config *config,
		    const struct s3_chain *chain, char region[S3_REGION], struct vmofs_err *err);
void s3_options_clear(struct s3_options *o);

/* -- s3_request.c -- */

/* What to ask for. All text is borrowed. */
struct s3_request {
	const char *method;
	const char *key; /* with the source's prefix; NULL: the bucket */
	struct sigv4_pair query[S3_PAIRS];
	unsigned nquery;
	bool checksums;                   /* the server shall tell them */
	const struct sigv4_pair *headers; /* beside the usual ones; signed */
	unsigned nheaders;
	const char *payload; /* hex SHA-256 of the body; NULL: of none */
	const void *body;    /* NULL: none */
	size_t body_len;
	bool once;         /* as of an http_ask */
	uint64_t stall_ns; /* longest silence; 0: the usual one */
};

/* A request as it goes out. Holds secrets: s3_signed_clear(). */
struct s3_signed {
	char url[URL_MAX];
	char used[160]; /* access key; "" where nothing is signed */
	char region[S3_REGION];
	time_t expires; /* of the keys; 0: never */
	int64_t skew;   /* of the server's clock, as it was signed with */
	const char *lines[S3_LINES];
	unsigned nlines;
	struct sigv4_lines sig;
	char *extra; /* memory of lines */
};

/* -EAGAIN: the keys have to be fetched. Any thread, never blocks. */
int s3_sign(struct s3 *s, const struct s3_request *r, struct s3_signed *out, struct vmofs_err *err);
void s3_signed_clear(struct s3_signed *g);
/* Where @key is, without a signature. */
int s3_url(struct s3 *s, const char *key, char *out, size_t cap);
#define S3_WHERE_MAX 640
/* Where names of buckets are looked up: the endpoint's URL, or the partition of AWS. Returns the length. */
int s3_where(struct s3 *s, char *out, size_t cap);

/* What a request has learned on its way to an answer. */
struct s3_trouble {
	char used[160];
	char region[S3_REGION];        /* it was signed for */
	char answer_region[S3_REGION]; /* x-amz-bucket-region of the answer, "" */
	int64_t answer_date;           /* Date of the answer, 0 */
	int64_t skew;                  /* it was signed with */
	time_t expires;
	unsigned mended; /* regions and clocks that were set right */
	bool expired;    /* the keys were refused as too old */
	char code[64];   /* of the last refusal */
};

/* Reads a refusal, sets its message and outcome, mends what can be mended. */
void s3_refused(struct s3 *s, struct s3_trouble *t, struct http_refusal *why);
/* Blocks: keys in place of those refused; -EACCES: that would not help. */
int s3_renew(struct s3 *s, const struct s3_trouble *t, struct vmofs_err *err);
/* The server's clock, from any answer. */
void s3_learn_date(struct s3 *s, int64_t date);
/* "cannot list 's3://b/p/': the server answered ... (request id x); remedy" */
void s3_explain(const struct s3 *s, const char *verb, const char *key, int code,
		const struct http_refusal *why, const char *error_code, char *out, size_t cap);

/* A request with an answer of bounded size. Embedded in its owner. */
struct s3_ask {
	struct http_ask http;
	struct s3 *s; /* borrowed */
	const struct s3_ask_ops *ops;
	struct s3_request request;
	struct s3_trouble trouble;
	struct s3_signed signed_;
};

struct s3_ask_ops {
	void (*reset)(struct s3_ask *a);
	void (*header)(struct s3_ask *a, const char *name, const char *value, size_t n);
	int (*data)(struct s3_ask *a, const void *buf, size_t n);
	int (*finish)(struct s3_ask *a);
	/* @a may be started again, or freed, in it. */
	void (*done)(struct s3_ask *a, int code, const struct http_refusal *why);
};

/* The request is filled in; never blocks; done() follows on a loop. */
void s3_ask_start(struct s3_ask *a, uint64_t deadline_ns, size_t max_body);
/* The same for a thread that may block. */
void s3_ask_wait(struct s3_ask *a, size_t max_body);

/* -- s3_list.c -- */

void s3_list(struct s3 *s, struct vmofs_query *q);

/* One page of a listing. */
struct s3_fetch {
	struct s3_ask ask;
	char *prefix; /* with the source's; owned, like the next two */
	char *after;  /* NULL: from the beginning */
	char *token;  /* NULL: none yet */
	bool flat;
	char max[16];
	struct s3_xml *xml;
	struct s3_page page;
	/*
	 * Once, while the page is still arriving, when some of its keys are there and it is known
	 * that others follow after it. Keys may still be percent-encoded. NULL: nobody asks.
	 */
	void (*peek)(struct s3_fetch *f);
	void (*done)(struct s3_fetch *f, int code, const struct http_refusal *why);
};

/* The members up to @max, and `peek`, are set. */
void s3_fetch_start(struct s3_fetch *f, struct s3 *s, uint64_t deadline_ns);
void s3_fetch_wait(struct s3_fetch *f, struct s3 *s);
void s3_fetch_clear(struct s3_fetch *f);
/* @e as the tree sees it; false: it is outside of the source's prefix. */
bool s3_entry_show(const struct s3 *s, const struct s3_page *p, const struct s3_entry *e,
		   struct vmofs_entry *out);
/* @prefix of the source and @key; NULL: no memory. */
char *s3_full_key(const struct s3 *s, const char *key);

/* -- s3_stat.c -- */

void s3_name(struct s3 *s, struct vmofs_query *q);
void s3_head(struct s3 *s, struct vmofs_query *q);

/* What HEAD tells of an object. */
struct s3_head {
	uint64_t size;
	struct timespec mtime;
	char etag[256];
	char meta_mode[32], meta_uid[32], meta_gid[32], meta_mtime[48];
	char attempt[40];     /* of <vmofs/change.h> */
	char version_id[128]; /* "" */
};
void s3_head_header(struct s3_head *h, const char *name, const char *value, size_t n);
/* Puts what the metadata of s3fs and rclone says into @out. */
void s3_head_apply(const struct s3_head *h, struct vmofs_entry *out);

/* -- s3_object.c -- */

int s3_object(struct vmofs_source *source, const struct vmofs_entry *e, struct vmofs_provider **out,
	      struct vmofs_object_info *info, struct vmofs_err *err);

#endif
