/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries of the tree: a listing of a directory, a name, all that can be known of a file. One is under
 * way for each thing at most; later askers wait for the same. Answers come on any thread; they are
 * put into the tree under its lock, and those who wait are told after it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "fs/names.h"
#include "fs/tree_private.h"

/* The third name asked for within so long makes a listing of the directory. */
#define ASKING_NS (2 * NSEC_PER_SEC)
enum { ASKING_NAMES = 3, ASKING_PAGES = 8 };
enum { HEADS_MAX = 3 }; /* by one caller of one name */

/* ---- life ---- */

static bool query_entries(struct vmofs_query *vq, const struct vmofs_entry *v, unsigned n);
static void query_done(struct vmofs_query *vq, const struct vmofs_query_result *result);

uint64_t tree_deadline(const struct tree *t)
{
	return t->p.timeout_ns ? loop_now_ns() + t->p.timeout_ns : 0;
}

static const enum vmofs_query_kind source_kind[] = {
	[TREE_QUERY_LIST] = VMOFS_QUERY_DIR,
	[TREE_QUERY_NAME] = VMOFS_QUERY_NAME,
	[TREE_QUERY_HEAD] = VMOFS_QUERY_HEAD,
	[TREE_QUERY_LINK] = VMOFS_NQUERIES,
};

struct tree_query *tree_query_new(struct tree *t, enum tree_query_kind kind, struct dir *d,
				  const char *name, int *r)
{
	char key[VMOFS_KEY_MAX];
	int base = tree_key(t, d->node, key);
	size_t len = strlen(name);
	struct tree_query *q;

	*r = base < 0                                                   ? base
		: (size_t)base + len + NAME_RCLONE_LEN >= VMOFS_KEY_MAX ? -ENAMETOOLONG
									: 0;
	if (*r < 0)
		return NULL;
	q = calloc(1, sizeof *q + (size_t)base + len + NAME_RCLONE_LEN + 1);
	*r = q ? 0 : -ENOMEM;
	if (!q)
		return NULL;
	memcpy(q->key, key, (size_t)base);
	memcpy(q->key + base, name, len);
	q->q = (struct vmofs_query){
		.kind = source_kind[kind],
		.key = q->key,
		.after = "",
		.deadline_ns = tree_deadline(t),
		.entries = query_entries,
		.done = query_done,
	};
	q->tree = t;
	q->kind = kind;
	q->base_len = (size_t)base;
	q->name_len = len;
	q->asked_ns = tree_now(t);
	q->dir = d;
	tree_ask(t, &q->asked);
	d->pins++;
	vmofs_list_init(&q->waits);
	vmofs_list_add(&d->queries, &q->link);
	return q;
}

/* The room for it is always there. */
void tree_query_suffix(struct tree_query *q, const struct node *n)
{
	if (n->flags & NODE_RCLONE)
		memcpy(q->key + q->base_len + q->name_len, NAME_RCLONE, NAME_RCLONE_LEN);
	else if (node_is_dir(n))
		q->key[q->base_len + q->name_len] = '/';
}

/* HEAD of a directory's own key. */
static bool is_of_dir(const struct tree_query *q)
{
	return q->key[q->base_len + q->name_len] == '/';
}

void tree_query_free(struct tree *t, struct tree_query *q)
{
	struct node *n = q->dir->node;

	vmofs_list_del(&q->link);
	tree_answered(t, &q->asked);
	q->dir->pins--;
	if (n->flags & NODE_NAMELESS)
		tree_put_away(t, n);
	node_free(q->file);
	free(q);
}

/* The name has been changed here since, or is that of another key now. */
static bool is_old_news(struct tree *t, const struct tree_query *q) REQUIRES(t->lock)
{
	return tree_is_old(t, q->key, q->base_len + q->name_len, q->asked.seq) ||
		!tree_is_at(t, q->dir, q->key, q->base_len);
}

struct tree_query *tree_query_find(struct tree *t, struct dir *d, enum tree_query_kind kind,
				   const char *name)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &d->queries) {
		struct tree_query *q = vmofs_list_entry(pos, struct tree_query, link);

		if (q->kind == kind && !strncmp(q->key + q->base_len, name, q->name_len) &&
		    !name[q->name_len] && !is_old_news(t, q))
			return q;
	}
	return NULL;
}

/* ---- asking ---- */

static void send(struct tree *t, struct tree_query *q) REQUIRES(t->lock)
{
	vmofs_list_add_tail(&t->send, &q->q.link);
}

int tree_list(struct tree *t, struct dir *d, struct fs_tree_wait *w)
{
	struct tree_query *q;
	int r;

	if (t->stopped)
		return -ESHUTDOWN;
	if (d->state != DIR_LISTING) {
		q = tree_query_new(t, TREE_QUERY_LIST, d, "", &r);
		if (!q)
			return r;
		tree_begin_listing(t, d, q, q->asked_ns, q->asked.seq);
		t->st.listings++;
		send(t, q);
	}
	return w ? tree_wait_on(t, w, &d->waits, d->asked_ns) : 0;
}

/* Whether one more name is to be found by listing the directory. */
static bool is_worth_listing(struct tree *t, struct dir *d) REQUIRES(t->lock)
{
	uint64_t now = tree_now(t);

	if (t->p.object_metadata)
		return true; /* a name may be that of another key */
	if (!d->n_asked || now - d->asking_ns > ASKING_NS) {
		d->asking_ns = now;
		d->n_asked = 0;
	}
	/* Not one of which is known that this costs many requests. */
	if (t->page && d->n_live > ASKING_PAGES * (uint64_t)t->page)
		return false;
	return ++d->n_asked >= ASKING_NAMES;
}

int tree_ask_name(struct tree *t, struct dir *d, const char *name, struct fs_tree_wait *w)
{
	struct tree_query *q = tree_query_find(t, d, TREE_QUERY_NAME, name);
	int r;

	if (t->stopped)
		return -ESHUTDOWN;
	if (!q) {
		if (is_worth_listing(t, d))
			return tree_list(t, d, w);
		q = tree_query_new(t, TREE_QUERY_NAME, d, name, &r);
		if (!q)
			return r;
		t->st.lookups++;
		send(t, q);
	}
	return tree_wait_on(t, w, &q->waits, q->asked_ns);
}

bool tree_needs_head(const struct tree *t, const struct node *n)
{
	if (n->flags & (NODE_HEADED | NODE_HELD))
		return false;
	if (node_is_dir(n))
		return t->dirs && n->parent;
	return n->size == VMOFS_SIZE_UNKNOWN || n->flags & NODE_VAGUE || t->p.object_metadata;
}

int tree_ask_head(struct tree *t, struct node *n, struct fs_tree_wait *w)
{
	struct dir *d = n->parent ? n->parent->dir : NULL;
	struct tree_query *q = d ? tree_query_find(t, d, TREE_QUERY_HEAD, node_name(n)) : NULL;
	int r;

	if (t->stopped)
		return -ESHUTDOWN;
	if (!d)
		return -ESTALE;
	if (!q) {
		q = tree_query_new(t, TREE_QUERY_HEAD, d, node_name(n), &r);
		if (!q)
			return r;
		tree_query_suffix(q, n);
		t->st.heads++;
		send(t, q);
	}
	if (!w)
		return 0;
	/* Listings and HEADs that contradict each other for ever: one of them has to win. */
	q->insists |= ++w->n_heads >= HEADS_MAX;
	return tree_wait_on(t, w, &q->waits, q->asked_ns);
}

/* ---- answers ---- */

static bool is_below(const struct tree_query *q, const struct vmofs_entry *e)
{
	return e->key_len >= q->base_len && !memcmp(e->key, q->key, q->base_len);
}

static void list_entry(struct tree *t, struct tree_query *q, const struct vmofs_entry *e)
	REQUIRES(t->lock)
{
	/* Only the listing that the directory waits for may say what is seen. */
	if (q->dir->lister == q)
		tree_add_listed(t, q->dir, q->base_len, e, q->asked.seq);
}

static void prefix_entry(struct tree_query *q, const struct vmofs_entry *e, size_t len)
{
	q->prefix = true;
	if (e->type == VMOFS_ENTRY_PREFIX && e->key_len == len + 1 && e->has)
		q->told = *e;
}

/* Exactly the key, or that with a slash. */
static void name_entry(struct tree *t UNUSED, struct tree_query *q, const struct vmofs_entry *e)
	REQUIRES(t->lock)
{
	size_t len = q->base_len + q->name_len;
	const char *name = q->key + q->base_len;

	if (e->key_len < len || memcmp(e->key, q->key, len))
		return;
	if (e->key_len > len && e->key[len] == '/')
		prefix_entry(q, e, len);
	else if (e->key_len == len && e->type == VMOFS_ENTRY_FILE && !q->file)
		q->file = node_new(name, q->name_len, e);
}

static void head_entry(struct tree *t UNUSED, struct tree_query *q, const struct vmofs_entry *e)
	REQUIRES(t->lock)
{
	if (strcmp(e->key, q->key) != 0)
		return;
	if (is_of_dir(q))
		q->told = *e;
	else if (!q->file && e->type == VMOFS_ENTRY_FILE)
		q->file = node_new(q->key + q->base_len, q->name_len, e);
}

static void add_entry(struct tree *t, struct tree_query *q, const struct vmofs_entry *e)
	REQUIRES(t->lock)
{
	t->st.entries++;
	if (!is_below(q, e) || tree_is_away(t, e))
		return;
	if (q->kind == TREE_QUERY_LIST)
		list_entry(t, q, e);
	else if (q->kind == TREE_QUERY_NAME)
		name_entry(t, q, e);
	else
		head_entry(t, q, e);
}

static bool query_entries(struct vmofs_query *vq, const struct vmofs_entry *v, unsigned n)
{
	struct tree_query *q = container_of(vq, struct tree_query, q);
	struct tree *t = q->tree;
	bool more;

	tree_lock(t);
	for (unsigned i = 0; i < n; i++)
		add_entry(t, q, &v[i]);
	/* Readers go on with what is there; after a change they wait for the end. */
	if (q->kind == TREE_QUERY_LIST && !q->dir->again)
		tree_wake(t, &q->dir->waits, 0);
	tree_evict(t);
	more = !t->stopped;
	tree_unlock(t);
	return more;
}

static int query_errno(int code)
{
	/* A name is never missing by an error: it is the source that is. */
	return code == -ENOENT ? -EIO : code;
}

void tree_count_result(struct tree *t, const struct vmofs_query_result *r)
{
	struct vmofs_failure *f = &t->st.last;

	t->st.requests += r->requests;
	if (!r->code || r->code == -ESHUTDOWN)
		return;
	t->st.failed++;
	*f = (struct vmofs_failure){ .code = r->code,
				     .status = r->status,
				     .attempts = r->requests };
	snprintf(f->msg, sizeof f->msg, "%s", r->msg ? r->msg : "");
	snprintf(f->request_id, sizeof f->request_id, "%s", r->req_id ? r->req_id : "");
	clock_gettime(CLOCK_REALTIME, &f->when);
}

/* Whether a listing that was asked for after @q has told of @n, or that it is not there. */
static bool is_outdated(const struct tree_query *q, const struct node *n)
{
	const struct dir *d = q->dir;

	if (d->asked_ns <= q->asked_ns)
		return false;
	return d->state == DIR_LISTED ||
		(d->state == DIR_LISTING && n && !!(n->flags & NODE_SEEN) == d->seen);
}

/* As node_entry(), with the target of a link, where it has been told. */
static void link_entry(const struct node *n, struct vmofs_entry *e,
		       char validator[NODE_VALIDATOR_MAX], char target[TREE_TARGET_MAX + 1])
{
	size_t len = 0;
	const char *at = node_target(n, &len);

	node_entry(n, e, validator);
	if (!at || len > TREE_TARGET_MAX)
		return;
	memcpy(target, at, len);
	target[len] = '\0';
	e->target = target;
	e->has |= VMOFS_HAS_TARGET;
}

/* What an answer about a name means for the directory. */
static void name_done(struct tree *t, struct tree_query *q) REQUIRES(t->lock)
{
	const char *name = q->key + q->base_len;
	uint32_t fresh = tree_tick(t, q->asked_ns);
	struct node *n = dir_find(q->dir, name, q->name_len);
	char validator[NODE_VALIDATOR_MAX], target[TREE_TARGET_MAX + 1];
	struct vmofs_entry e;

	if (is_old_news(t, q) || is_outdated(q, n))
		return;
	if (q->prefix) {
		n = tree_add_dir(t, q->dir, name, q->name_len, fresh);
		if (n)
			tree_tell_dir(t, n, &q->told);
	} else if (q->file) {
		link_entry(q->file, &e, validator, target);
		e.key = q->key;
		e.key_len = q->base_len + q->name_len;
		tree_add_file(t, q->dir, name, q->name_len, &e, fresh);
	} else {
		if (!n || !tree_is_kept(n))
			tree_add_negative(t, q->dir->node->ino, name, q->name_len, q->asked_ns);
		if (n && !tree_is_kept(n))
			tree_remove(t, n, true);
	}
}

/* Whether what HEAD told may be the file that the listing told of. */
static bool is_told_version(const struct tree_query *q, const struct node *n)
{
	char validator[NODE_VALIDATOR_MAX];
	struct vmofs_entry e;

	node_entry(q->file, &e, validator);
	return node_is_version(n, &e);
}

static void head_done(struct tree *t, struct tree_query *q) REQUIRES(t->lock)
{
	struct node *n = dir_find(q->dir, q->key + q->base_len, q->name_len);

	if (!n || node_is_dir(n) != is_of_dir(q) || n->flags & NODE_HELD || is_old_news(t, q))
		return;
	if (node_is_dir(n)) {
		n->flags |= NODE_HEADED;
		tree_tell_dir(t, n, &q->told);
		return;
	}
	/* Else who waits asks again. */
	if (q->insists || !is_outdated(q, n) || (q->file && is_told_version(q, n)))
		tree_headed(t, n, steal_ptr(&q->file), q->asked_ns);
}

/* Memory may be short, and who has waited is not there yet. */
static void keep_awaited(struct tree *t, const struct tree_query *q) REQUIRES(t->lock)
{
	struct node *n = dir_find(q->dir, q->key + q->base_len, q->name_len);

	if (!n || vmofs_list_empty(&q->waits))
		return;
	n->flags |= NODE_AWAITED;
	q->dir->answered_ns = tree_now(t);
}

static void apply(struct tree *t, struct tree_query *q, int code) REQUIRES(t->lock)
{
	if (q->kind == TREE_QUERY_LIST) {
		if (q->dir->lister == q)
			tree_end_listing(t, q->dir, code);
		return;
	}
	if (code == 0 && q->kind == TREE_QUERY_NAME)
		name_done(t, q);
	else if (code == 0)
		head_done(t, q);
	keep_awaited(t, q);
	tree_wake(t, &q->waits, code);
}

static void query_done(struct vmofs_query *vq, const struct vmofs_query_result *result)
{
	struct tree_query *q = container_of(vq, struct tree_query, q);
	struct tree *t = q->tree;
	int code;

	tree_lock(t);
	/* A listing that was cut short has not told all. */
	code = t->stopped ? -ESHUTDOWN : query_errno(result->code);
	tree_count_result(t, result);
	apply(t, q, code);
	tree_query_free(t, q);
	tree_unlock_evict(t);
	tree_query_over(t);
}
