/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider API: what stands between one VMO (the local pages of one object version) and the
 * place where the bytes come from. The contract is Zircon's PageProvider (send, clear, swap,
 * on_detach, on_close, dump, koid), with typed failures, request classes and deadlines added.
 *
 * Threads and locks. send, clear, swap, on_detach and on_close are called with the page source's
 * lock held: they link the request into the provider's own queue and wake its thread. They never
 * block, never allocate without bound and never call back. Every vmofs_* answer below is called by
 * the provider with none of its own locks held, from any thread.
 */
#ifndef VMOFS_PROVIDER_H
#define VMOFS_PROVIDER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <vmofs/err.h>
#include <vmofs/list.h>

#define VMOFS_PAGE_SHIFT 12u
#define VMOFS_PAGE_SIZE  (UINT64_C(1) << VMOFS_PAGE_SHIFT)

struct vmo;          /* the pages of one object; see src/vm/vmo.h */
struct loop_pool;    /* the event loops of the daemon; see src/base/loop.h */
struct vmofs_config; /* the configuration of one mount; see src/base/config.h */
struct vmofs_provider;

/* page_request_type in Zircon; each type has its own book of outstanding requests. */
enum vmofs_request_type {
	VMOFS_REQUEST_READ,      /* give the initial contents of absent pages */
	VMOFS_REQUEST_DIRTY,     /* may these pages go from clean to dirty */
	VMOFS_REQUEST_WRITEBACK, /* store these dirty pages and clean them */
	VMOFS_REQUEST_NTYPES
};

#define VMOFS_TYPE_BIT(type) (1u << (type))

/* Demand always overtakes prefetch. */
enum vmofs_request_class {
	VMOFS_CLASS_DEMAND, /* somebody waits for it */
	VMOFS_CLASS_PREFETCH, /* nobody waits yet: may be dropped, its failure is reported to nobody */
	VMOFS_NCLASSES
};

/*
 * One page request as its provider sees it. The provider owns it from send() until clear() returns,
 * or until it has been the `old` of swap() with another request; while it is owned, type, off and
 * len do not change. Off and len are page aligned bytes; the last page of an object may reach
 * beyond its size (answer as far as the size).
 */
struct vmofs_request {
	enum vmofs_request_type type;
	enum vmofs_request_class cls; /* changes only through swap(req, req) */
	uint64_t off;
	uint64_t len;
	uint64_t deadline_ns;   /* CLOCK_MONOTONIC, 0: none; the latest of those who wait */
	struct vmo *vmo;        /* valid while owned; vmofs_vmo_get() to keep it longer */
	struct vmofs_list link; /* the provider's own, initialised empty */
	void *priv;             /* the provider's own, NULL at send() */
};

#define VMOFS_IDENTITY_LEN 32

/* What is known of one object version before its first page. */
struct vmofs_object_info {
	uint64_t size;
	struct timespec mtime; /* tv_sec 0: not known */
	char name[256];        /* last path component, decoded; never empty, never with a slash */
	char url[4096];        /* where it comes from, for people: without credentials */
	char validator[512];   /* strong ETag, Last-Modified, version id; "" when there is none */
	bool weak;             /* the validator cannot prove that two bytes are of one version */
	bool local; /* contents are on this machine already: not kept on disk once more */
	/*
	 * Where url does not tell the object from every other one (a part of it is hidden, or it has no server
	 * in it), or is not the same each time (it is signed): SHA-256 of a text that does, and is. What is
	 * kept on disk is found by identity, validator and size. Where a part of the URL is hidden there
	 * is one, whatever that part says. Held by value; the text may have secrets in it and stays
	 * with the provider.
	 */
	bool has_identity; /* false: url is the identity */
	uint8_t identity[VMOFS_IDENTITY_LEN];
};

/* The last failure of an object, for user.vmofs.error and `vmofs stat`. */
struct vmofs_failure {
	int code;   /* -errno as given to vmofs_fail(), 0: none so far */
	int status; /* protocol status (HTTP 503), 0: none */
	unsigned attempts;
	char request_id[128];
	char msg[512];
	struct timespec when; /* CLOCK_REALTIME */
};

#define VMOFS_LATENCY_BUCKETS 64

/* Counters since open; all monotonic, read without stopping anybody. */
struct vmofs_provider_stats {
	uint64_t requests; /* protocol requests sent, retries included */
	uint64_t retries;
	uint64_t bytes_fetched;   /* body bytes received */
	uint64_t bytes_discarded; /* received, but nobody wanted them any more */
	uint64_t connections;     /* opened */
	uint64_t redirects;
	uint64_t errors;           /* requests that ended in vmofs_fail() */
	uint64_t integrity_errors; /* wrong range, short body, changed validator, ... */
	uint64_t hedges;           /* slow requests that a second one was sent against */
	uint64_t hedges_won;       /* which was the first to end */
	uint64_t hedged_bytes;     /* received by second requests; in bytes_fetched too */
	uint64_t in_flight;        /* protocol requests now (a gauge) */
	/* Time from sending to the end of the body: bucket i counts [2^(i/2), 2^((i+1)/2)) us. */
	uint64_t latency[VMOFS_LATENCY_BUCKETS];
	struct vmofs_failure last;
};

/* How the origin answers, as measured so far; 0: not known yet. */
struct vmofs_pace {
	uint64_t delay_ns; /* from a request to the first byte of its answer, without queueing */
	uint64_t bytes_per_sec; /* of all requests together, while they were busy */
	uint64_t part_bytes;    /* a request this long is worth a connection of its own */
};

/* An option that a provider understands; ends with name == NULL. Parsed by src/base/config.h. */
struct vmofs_option {
	const char *name; /* as in -o name=value and in vmofs.conf */
	const char *arg;  /* metavariable: URL SIZE TIME N FILE, or NULL: a switch */
	const char *def;  /* default as text; NULL: unset */
	const char *help; /* one line, lower case, no stop */
};

/* Everything that open() may use; borrowed, valid until the provider is freed. */
struct vmofs_provider_env {
	const struct vmofs_config *config;
	struct loop_pool *loops;
	bool writable; /* what is opened will be changed (<vmofs/change.h>) */
};

struct vmofs_source_ops;

struct vmofs_provider_ops {
	const char *name;                   /* "http" */
	const char *const *schemes;         /* "http", "https", NULL; without the colon */
	unsigned supports;                  /* VMOFS_TYPE_BIT()s; READ always */
	const struct vmofs_option *options; /* ended by a NULL name; may be NULL */

	/* Namespaces of this protocol (<vmofs/source.h>); NULL: single objects only. */
	const struct vmofs_source_ops *tree;
	/* Whether @source (of one of `schemes`) stands for a tree; NULL: never. */
	bool (*is_tree)(const char *source);
	/* tree->open() takes one object too, as a directory with that alone in it: so it can be changed. */
	bool tree_of_one;

	/*
	 * Set-up path: may block. Finds the object at @source, fills @info and returns an
	 * instance, or -errno with @err filled. After it the object version never changes.
	 * NULL: this protocol has trees only.
	 */
	int (*open)(struct vmofs_provider **out, const char *source,
		    const struct vmofs_provider_env *env, struct vmofs_object_info *info,
		    struct vmofs_err *err);

	/* A new request; never called after on_detach(). */
	void (*send)(struct vmofs_provider *p, struct vmofs_request *req);
	/*
	 * The request is resolved or nobody wants it: after the return the provider holds no
	 * pointer to it. Exactly once for every sent request that was not swapped away. A transfer
	 * under way may go on and supply what arrives, or be cut.
	 */
	void (*clear)(struct vmofs_provider *p, struct vmofs_request *req);
	/*
	 * @now takes the place of @old in order and in ownership. @now covers a part of @old (the
	 * rest is not wanted any more), or @now == @old and its class or deadline changed. For
	 * WRITEBACK the latter also means: begin again, pages may have changed since.
	 */
	void (*swap)(struct vmofs_provider *p, struct vmofs_request *old,
		     struct vmofs_request *now);
	/* Once, when every request has been cleared; no send() after it. */
	void (*on_detach)(struct vmofs_provider *p);
	/* Once, after on_detach(); no send, clear, swap after it. */
	void (*on_close)(struct vmofs_provider *p);

	/* Below: called without locks. */
	/*
	 * The strong validator of the version, where open() did not know it and an answer has told it
	 * since: 0. -EAGAIN: not known yet; -ENODATA: the answer has none, and it will not be known. Cheap enough for
	 * every read that misses; NULL: never.
	 */
	int (*version)(struct vmofs_provider *p, char *out, size_t cap);
	/* NULL: not known. Cheap enough for every read. */
	void (*pace)(struct vmofs_provider *p, struct vmofs_pace *out);
	void (*stats)(struct vmofs_provider *p, struct vmofs_provider_stats *out);
	void (*dump)(struct vmofs_provider *p, FILE *out, unsigned depth, unsigned max_items);
	uint64_t (*koid)(struct vmofs_provider *p); /* identity for diagnostics */
	/* Providers of specific memory (Zircon: not a user pager) only; else NULL. */
	void (*free_pages)(struct vmofs_provider *p, uint64_t off, uint64_t len);
	bool (*debug_is_page_ok)(struct vmofs_provider *p, const void *page, uint64_t off);
	/* After on_close(), or after open() without a page source: ends threads' use and frees. */
	void (*free)(struct vmofs_provider *p);
};

/* First member of every instance: the core passes providers around as this. */
struct vmofs_provider {
	const struct vmofs_provider_ops *ops;
};

/* The compiled-in providers, ended by NULL; and the one for "scheme:..." or NULL. */
extern const struct vmofs_provider_ops *const vmofs_providers[];
const struct vmofs_provider_ops *vmofs_provider_find(const char *source);

/*
 * Answers. All take page aligned @off; @len is page aligned or ends at the object's size (the tail
 * of the last page is then zero). -EINVAL misaligned, -ERANGE beyond the object, -ESHUTDOWN
 * detached, -EBADMSG distrusted, -ENOMEM no room in the budget.
 */

/*
 * Contents of [off, off+len). Copied into pages that are absent; existing contents are never
 * overwritten. The destination is checked before anything is taken. Returns the bytes that were new.
 */
int64_t vmofs_supply(struct vmo *vmo, uint64_t off, const void *buf, uint64_t len);
/* The same, of zeros that cost no memory. */
int64_t vmofs_supply_zero(struct vmo *vmo, uint64_t off, uint64_t len);

/*
 * Fails outstanding requests of the types in @types over the range; pages are untouched and nothing
 * is remembered. @code is one of vmofs_is_failure_code(), else -EINVAL.
 */
int vmofs_fail(struct vmo *vmo, uint64_t off, uint64_t len, int code, unsigned types);
/*
 * Failures a provider may report: -EIO, -EBADMSG (integrity), -ESTALE (another version at the
 * origin), -EACCES, -ENOENT, -ETIMEDOUT, -ENOSPC, -EDQUOT, -ENOBUFS, -ESHUTDOWN.
 */
bool vmofs_is_failure_code(int code);

/*
 * The contents of this version are not what they should be, and which of them nobody can tell: a sum over all of it does
 * not agree. Not for an answer that is bad by itself (that is vmofs_fail()). What is here of it goes, also from the
 * disk; from now on every reader gets -EBADMSG and so does every supply: the source is as good as detached. May be repeated.
 */
void vmofs_distrust(struct vmo *vmo);

/* Grants DIRTY over the range: all or nothing. -ENOENT: a page of it is absent. */
int vmofs_grant_dirty(struct vmo *vmo, uint64_t off, uint64_t len);

/* References keep the memory, not the source: after detach every answer gives -ESHUTDOWN. */
struct vmo *vmofs_vmo_get(struct vmo *vmo);
void vmofs_vmo_put(struct vmo *vmo);

#endif
