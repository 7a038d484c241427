/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source without a mount, for commands: its loops, its configuration, and its namespace or its one object.
 * Everything here blocks; the main thread.
 */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include <vmofs/source.h>

#include "base/config.h"
#include "base/loop.h"
#include "cli/opt.h"

struct remote {
	struct vmofs_config *config; /* owned, as all below */
	struct loop_pool *loops;
	struct vmofs_provider_env env;
	char *text;                /* the source that was opened */
	struct vmofs_source *tree; /* NULL: the source is one object */
	struct vmofs_source_info info;
	char *path; /* below the tree; "": all of it */
};

enum remote_want { REMOTE_NAMES, REMOTE_OBJECT };

/*
 * Opens the tree that @source is. One that is an object is not asked for yet. @path (may be NULL) is what
 * is meant below it; of a tree's URL without a slash at its end, the last component is that. Where an
 * object is wanted, and its provider can open it by its name, no tree is opened: who may read it need not
 * be allowed to list.
 */
int remote_open(struct remote *r, enum remote_want want, const struct args *a, const char *source,
		const char *path, struct vmofs_err *err);
void remote_close(struct remote *r);

/* Calls @each for every entry, on any thread but one at a time. @each false: no more. */
struct remote_query {
	enum vmofs_query_kind kind;
	const char *key;
	bool (*each)(void *arg, const struct vmofs_entry *e);
	void *arg;
};
int remote_ask(struct remote *r, const struct remote_query *q, struct vmofs_err *err);

/* The object at the remote's path, or the one that the source is; *info filled. */
int remote_object(struct remote *r, struct vmofs_provider **out, struct vmofs_object_info *info,
		  struct vmofs_err *err);

#endif
