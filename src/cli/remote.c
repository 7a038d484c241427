/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources for commands: what the daemon does with sessions, done by waiting. Queries run on the loops; the main
 * thread waits for each.
 */
#include "cli/remote.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/sync.h"
#include "cli/config_args.h"

enum { LOOPS = 2 };

/* -- open ------------------------------------------------------------------------------------- */

static int unknown_source(const char *source, struct vmofs_err *err)
{
	char schemes[256] = "";
	size_t n = 0;

	for (const struct vmofs_provider_ops *const *p = vmofs_providers; *p; p++)
		for (const char *const *s = (*p)->schemes; *s && n < sizeof schemes; s++)
			n += (size_t)snprintf(schemes + n, sizeof schemes - n, " %s", *s);
	return vmofs_err_set(err, -EINVAL,
			     "cannot tell what '%s' is; a source begins with one of:%s", source,
			     schemes);
}

/* "s3://bucket/a/b": the tree "s3://bucket/a/" and the path "b". NULL: there is nothing to split. */
static const char *last_component(const char *source)
{
	const char *host = strstr(source, "://");
	const char *slash = strrchr(source, '/');

	if (!host || !slash || slash < host + 3 || !slash[1])
		return NULL;
	return slash + 1;
}

static int split_source(struct remote *r, const char *source, const char *path,
			struct vmofs_err *err)
{
	const char *last = path ? NULL : last_component(source);

	r->text = last ? strndup(source, (size_t)(last - source)) : strdup(source);
	r->path = strdup(path ? path : last ? last : "");
	if (!r->text || !r->path)
		return vmofs_err_set(err, -ENOMEM, "no memory for the source '%s'", source);
	return 0;
}

static int start_loops(struct remote *r, struct vmofs_err *err)
{
	r->loops = loop_pool_new(LOOPS, err);
	if (!r->loops)
		return err->code;
	r->env = (struct vmofs_provider_env){ .config = r->config, .loops = r->loops };
	return loop_pool_start(r->loops, err);
}

static bool ends_in_slash(const char *s)
{
	return *s && s[strlen(s) - 1] == '/';
}

static int open_tree(struct remote *r, enum remote_want want, const char *source, const char *path,
		     struct vmofs_err *err)
{
	const struct vmofs_source_ops *ops = vmofs_source_find(source);
	int e;

	if (want == REMOTE_OBJECT && !path && !ends_in_slash(source) &&
	    vmofs_provider_find(source)->open)
		ops = NULL;

	if (!ops && path)
		return vmofs_err_set(err, -ENOTDIR,
				     "'%s' is one file, so there is no '%s' below it", source,
				     path);
	e = ops ? split_source(r, source, path, err) : 0;
	if (!ops || e < 0)
		return e;
	return ops->open(&r->tree, r->text, &r->env, &r->info, err);
}

int remote_open(struct remote *r, enum remote_want want, const struct args *a, const char *source,
		const char *path, struct vmofs_err *err)
{
	int e;

	*r = (struct remote){ 0 };
	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_LEVEL_WARN);
	if (!vmofs_provider_find(source))
		return unknown_source(source, err);
	e = config_args_load(&r->config, a, source, err);
	if (e == 0)
		e = start_loops(r, err);
	if (e == 0)
		e = open_tree(r, want, source, path, err);
	if (e == 0 && !r->tree)
		r->text = strdup(source);
	if (e == 0 && !r->text)
		e = vmofs_err_set(err, -ENOMEM, "no memory for the source '%s'", source);
	if (e < 0)
		remote_close(r);
	return e;
}

void remote_close(struct remote *r)
{
	if (r->tree) {
		r->tree->ops->stop(r->tree);
		r->tree->ops->free(r->tree);
	}
	if (r->loops) {
		loop_pool_stop(r->loops);
		loop_pool_free(r->loops);
	}
	config_free(r->config);
	free(r->text);
	free(r->path);
	*r = (struct remote){ 0 };
}

/* -- queries ---------------------------------------------------------------------------------- */

struct waiting {
	struct vmofs_query query;
	const struct remote_query *q;
	struct mutex lock;
	struct cond cond;
	bool done; /* lock: lock */
	bool more;
	int code;
	char last[VMOFS_KEY_MAX];
	char msg[512];
};

static bool wait_entries(struct vmofs_query *query, const struct vmofs_entry *v, unsigned n)
{
	struct waiting *w = container_of(query, struct waiting, query);

	for (unsigned i = 0; i < n; i++)
		if (!w->q->each(w->q->arg, &v[i]))
			return false;
	if (n > 0 && v[n - 1].key_len < sizeof w->last)
		memcpy(w->last, v[n - 1].key, v[n - 1].key_len + 1);
	return true;
}

static void wait_done(struct vmofs_query *query, const struct vmofs_query_result *result)
{
	struct waiting *w = container_of(query, struct waiting, query);

	mutex_lock(&w->lock);
	w->code = result->code;
	w->more = result->more;
	snprintf(w->msg, sizeof w->msg, "%s%s%s%s", result->msg ? result->msg : "",
		 result->req_id && *result->req_id ? " (request " : "",
		 result->req_id ? result->req_id : "",
		 result->req_id && *result->req_id ? ")" : "");
	w->done = true;
	cond_signal(&w->cond);
	mutex_unlock(&w->lock);
}

static void ask_once(struct remote *r, struct waiting *w, const char *after)
{
	w->done = w->more = false;
	w->query = (struct vmofs_query){
		.kind = w->q->kind,
		.key = w->q->key,
		.after = after,
		.entries = wait_entries,
		.done = wait_done,
	};
	r->tree->ops->query(r->tree, &w->query);
	mutex_lock(&w->lock);
	while (!w->done)
		cond_wait(&w->cond, &w->lock);
	mutex_unlock(&w->lock);
}

int remote_ask(struct remote *r, const struct remote_query *q, struct vmofs_err *err)
{
	cleanup(mem_freep) struct waiting *w = calloc(1, sizeof *w);
	char after[VMOFS_KEY_MAX] = "";
	int code;

	if (!w)
		return vmofs_err_set(err, -ENOMEM, "no memory for a query");
	w->q = q;
	mutex_init(&w->lock, LOCK_RANK_SOURCE);
	cond_init(&w->cond);
	do {
		ask_once(r, w, after);
		memcpy(after, w->last, sizeof after);
	} while (w->code == 0 && w->more);
	code = w->code;
	cond_destroy(&w->cond);
	mutex_destroy(&w->lock);
	if (code < 0)
		return vmofs_err_set(err, code, "cannot read '%s' of '%s': %s", q->key, r->info.url,
				     w->msg[0] ? w->msg : strerror(-code));
	return 0;
}

/* -- objects ---------------------------------------------------------------------------------- */

/* A copy of the file among the entries of a query. */
struct found {
	struct vmofs_entry e;
	bool file;
	bool prefix;
	char validator[512];
};

static bool keep_found(void *arg, const struct vmofs_entry *e)
{
	struct found *f = arg;

	if (e->type != VMOFS_ENTRY_FILE) {
		f->prefix = true;
		return true;
	}
	f->file = true;
	f->e = *e;
	snprintf(f->validator, sizeof f->validator, "%s", e->validator);
	return true;
}

static int find_file(struct remote *r, struct found *f, struct vmofs_err *err)
{
	struct remote_query name = { VMOFS_QUERY_NAME, r->path, keep_found, f };
	struct remote_query head = { VMOFS_QUERY_HEAD, r->path, keep_found, f };
	int e = remote_ask(r, &name, err);

	if (e == 0 && f->file && f->e.size == VMOFS_SIZE_UNKNOWN) {
		f->file = false;
		e = remote_ask(r, &head, err);
	}
	if (e < 0)
		return e;
	if (!f->file)
		return vmofs_err_set(err, f->prefix ? -EISDIR : -ENOENT, "%s '%s' in '%s'",
				     f->prefix ? "there is a directory, but no file"
					       : "there is no",
				     r->path, r->info.url);
	if (f->e.size == VMOFS_SIZE_UNKNOWN)
		return vmofs_err_set(err, -EOPNOTSUPP, "the server does not tell the size of '%s'",
				     r->path);
	return 0;
}

int remote_object(struct remote *r, struct vmofs_provider **out, struct vmofs_object_info *info,
		  struct vmofs_err *err)
{
	cleanup(mem_freep) struct found *f = NULL;
	int e;

	if (!r->tree)
		return vmofs_provider_find(r->text)->open(out, r->text, &r->env, info, err);
	if (!*r->path)
		return vmofs_err_set(err, -EISDIR,
				     "'%s' is a directory; name a file of it with --path", r->text);
	f = calloc(1, sizeof *f);
	if (!f)
		return vmofs_err_set(err, -ENOMEM, "no memory for '%s'", r->path);
	e = find_file(r, f, err);
	if (e < 0)
		return e;
	f->e.key = r->path;
	f->e.key_len = strlen(r->path);
	f->e.validator = f->validator;
	f->e.target = "";
	return r->tree->ops->object(r->tree, &f->e, out, info, err);
}
