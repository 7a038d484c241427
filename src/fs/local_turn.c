/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns: while a directory gets another name, no name below it, or below the new one, is changed here. The kernel sees to the two
 * names only, and copying takes long. Everybody who changes names has a turn; those of which one is a directory's, and
 * that have to do with each other, are had one after the other, in the order in which they were asked for. Blocks.
 */
#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "fs/local_private.h"

/* Keys of directories end in "/". */
static bool is_below(const char *key, const char *dir)
{
	return !strncmp(key, dir, strlen(dir));
}

static bool touch(const struct local_turn *a, const struct local_turn *b)
{
	if (!a->dirs && !b->dirs)
		return false;
	for (unsigned i = 0; i < ARRAY_LEN(a->key); i++)
		for (unsigned k = 0; k < ARRAY_LEN(b->key); k++)
			if ((a->dirs && is_below(b->key[k], a->key[i])) ||
			    (b->dirs && is_below(a->key[i], b->key[k])))
				return true;
	return false;
}

static bool must_wait_locked(struct local *l, const struct local_turn *t) REQUIRES(l->lock)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &l->turns) {
		if (pos == &t->link)
			return false;
		if (touch(vmofs_list_entry(pos, struct local_turn, link), t))
			return true;
	}
	return false;
}

/* True: it had to wait. */
static bool wait_turn(struct local *l, struct local_turn *t) EXCLUDES(l->lock)
{
	bool waited = false;

	mutex_lock(&l->lock);
	vmofs_list_add_tail(&l->turns, &t->link);
	while (must_wait_locked(l, t)) {
		waited = true;
		cond_wait(&l->left, &l->lock);
	}
	mutex_unlock(&l->lock);
	return waited;
}

void local_turn_end(struct local *l, struct local_turn *t)
{
	mutex_lock(&l->lock);
	vmofs_list_del(&t->link);
	cond_broadcast(&l->left);
	mutex_unlock(&l->lock);
}

static int find_keys(struct local *l, struct local_turn *t, const struct local_place *p)
{
	for (unsigned i = 0; i < ARRAY_LEN(t->key); i++) {
		int r = local_key_in(l, p[i].parent, t->dirs ? p[i].name : "", t->dirs ? "/" : "",
				     t->key[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Who waited may have another key since. */
int local_turn_begin(struct local *l, struct local_turn *t, const struct local_place p[2],
		     bool dirs)
{
	int r;

	t->dirs = dirs;
	r = find_keys(l, t, p);
	while (!r && wait_turn(l, t)) {
		local_turn_end(l, t);
		r = find_keys(l, t, p);
	}
	return r;
}
