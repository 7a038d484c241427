/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Symbolic links whose target is the object's contents: read once through the object like any other
 * reader, and kept in the node.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fs/object.h"
#include "fs/object_cache.h"
#include "fs/tree_private.h"

struct link_read {
	struct vmo_read read;
	struct tree_query *query; /* in the directory's queries */
	struct fs_object *object; /* counted */
	struct vmofs_entry entry;
	uint64_t ino;
	char validator[NODE_VALIDATOR_MAX];
};

/* The node again, with its target. */
static void keep_target(struct tree *t, struct link_read *l, const char *target) REQUIRES(t->lock)
{
	struct node *n = tree_find_ino(t, l->ino);
	struct vmofs_entry e = l->entry;
	struct node_ext x;
	struct node *now;

	if (!n || !*target)
		return;
	if (node_ext(n, &x)) {
		e.has = x.has;
		e.mode = x.mode;
		e.uid = x.uid;
		e.gid = x.gid;
	}
	e.has |= VMOFS_HAS_TARGET;
	e.target = target;
	now = node_new(node_name(n), n->name_len, &e);
	if (now)
		tree_swap_node(t, n, now);
}

static void link_end(struct link_read *l, const char *target, int status)
{
	struct tree_query *q = l->query;
	struct tree *t = q->tree;

	tree_lock(t);
	if (status == 0)
		keep_target(t, l, target);
	tree_wake(t, &q->waits, status);
	q->q.priv = NULL;
	tree_query_free(t, q);
	tree_unlock(t);
	object_cache_put(t->p.cache, l->object);
	free(l);
	tree_query_over(t);
}

static void link_read_done(struct vmo_read *r, int status)
{
	struct link_read *l = container_of(r, struct link_read, read);
	char target[TREE_TARGET_MAX + 1];
	size_t n = 0;

	for (unsigned i = 0; status == 0 && i < r->n_iov; i++) {
		size_t len = MIN(r->iov[i].iov_len, TREE_TARGET_MAX - n);

		memcpy(target + n, r->iov[i].iov_base, len);
		n += len;
	}
	if (status == 0)
		vmo_read_end(r);
	target[n] = '\0';
	/* A target has no zero in it; programs that write it end it with a line feed at times. */
	n = strlen(target);
	if (n && target[n - 1] == '\n')
		target[n - 1] = '\0';
	link_end(l, target, status == 0 && !*target ? -EIO : status);
}

void tree_link_start(struct tree_query *q)
{
	struct link_read *l = q->q.priv;
	struct tree *t = q->tree;
	int r;

	l->entry.key = q->key;
	l->entry.validator = l->validator;
	r = object_cache_open(t->p.cache, l->ino, &l->entry, &l->object);
	if (r < 0) {
		l->object = NULL;
		link_end(l, "", r);
		return;
	}
	l->read = (struct vmo_read){
		.len = TREE_TARGET_MAX,
		.cls = VMOFS_CLASS_DEMAND,
		.deadline_ns = tree_deadline(t),
		.done = link_read_done,
	};
	r = vmo_read_start(l->object->vmo, &l->read);
	if (r != -EINPROGRESS)
		link_read_done(&l->read, r);
}

static int link_new(struct tree *t, struct node *n, struct tree_query **out) REQUIRES(t->lock)
{
	struct link_read *l = calloc(1, sizeof *l);
	struct tree_query *q;
	int r = -ENOMEM;

	q = l ? tree_query_new(t, TREE_QUERY_LINK, n->parent->dir, node_name(n), &r) : NULL;
	if (!q) {
		free(l);
		return r;
	}
	tree_query_suffix(q, n);
	node_entry(n, &l->entry, l->validator);
	l->entry.key_len = strlen(q->key);
	l->query = q;
	l->ino = n->ino;
	n->flags |= NODE_OPENED;
	q->q.priv = l;
	*out = q;
	return 0;
}

int tree_ask_target(struct tree *t, struct node *n, struct fs_tree_wait *w)
{
	struct dir *d = n->parent ? n->parent->dir : NULL;
	struct tree_query *q = d ? tree_query_find(t, d, TREE_QUERY_LINK, node_name(n)) : NULL;
	int r;

	if (t->stopped)
		return -ESHUTDOWN;
	if (!d)
		return -ESTALE;
	if (!q) {
		r = link_new(t, n, &q);
		if (r < 0)
			return r;
		vmofs_list_add_tail(&t->send, &q->q.link);
	}
	return tree_wait_on(t, w, &q->waits, q->asked_ns);
}
