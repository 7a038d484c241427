/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys below a directory that gets another name: listed, copied by the origin one by one, removed one by one, each on the condition
 * that it is the version that was listed or copied; what others change meanwhile is never lost. On a few threads that
 * block.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/workers.h"
#include "fs/local_move.h"

enum { TRIES = 3 };

/* ---- versions ---- */

int brief_set(struct brief *b, const struct vmofs_version *v)
{
	char *validator = strdup(v->validator);

	if (!validator)
		return -ENOMEM;
	free(b->validator);
	*b = (struct brief){ .size = v->size, .mtime = v->mtime, .validator = validator };
	return 0;
}

bool brief_is(const struct brief *b, const struct vmofs_version *v)
{
	return b->validator && v->exists && b->size == v->size &&
		!strcmp(b->validator, v->validator);
}

struct vmofs_version brief_version(const struct brief *b)
{
	struct vmofs_version v = { .exists = b->validator != NULL,
				   .size = b->size,
				   .mtime = b->mtime };

	snprintf(v.validator, sizeof v.validator, "%s", b->validator ? b->validator : "");
	return v;
}

void keys_name(const char *dir, const char *rel, char key[VMOFS_KEY_MAX])
{
	snprintf(key, VMOFS_KEY_MAX, "%s%s", dir, rel);
}

/* ---- the list ---- */

/* One question to the source, waited for. */
struct listing {
	struct vmofs_query q; /* first */
	struct keys *keys;
	size_t skip; /* of each key */
	char **dirs; /* owned; prefixes that are to be listed */
	size_t n_dirs;
	size_t cap_dirs;
	int failed; /* of taking what came */
	struct mutex lock;
	struct cond done_cond;
	bool done;
	int code;
};

static int add_dir(struct listing *g, const char *key)
{
	size_t cap = g->cap_dirs ? 2 * g->cap_dirs : 16;
	char **dirs = g->n_dirs < g->cap_dirs ? g->dirs : realloc(g->dirs, cap * sizeof *dirs);

	if (!dirs)
		return -ENOMEM;
	if (g->n_dirs == g->cap_dirs)
		g->cap_dirs = cap;
	g->dirs = dirs;
	g->dirs[g->n_dirs] = strdup(key);
	return g->dirs[g->n_dirs] ? (g->n_dirs++, 0) : -ENOMEM;
}

static struct moved_key *add_key(struct keys *k, const char *rel)
{
	size_t cap = k->cap ? 2 * k->cap : 64;
	struct moved_key *v = k->n < k->cap ? k->v : realloc(k->v, cap * sizeof *v);

	if (!v)
		return NULL;
	if (k->n == k->cap)
		k->cap = cap;
	k->v = v;
	k->v[k->n] = (struct moved_key){ .rel = strdup(rel) };
	return k->v[k->n].rel ? &k->v[k->n++] : NULL;
}

struct moved_key *keys_find(struct keys *k, const char *rel)
{
	for (size_t i = 0; i < k->n; i++)
		if (!strcmp(k->v[i].rel, rel))
			return &k->v[i];
	return add_key(k, rel);
}

static int add_entry(struct listing *g, const struct vmofs_entry *e)
{
	struct vmofs_version v = { .exists = true, .size = e->size, .mtime = e->mtime };
	struct moved_key *m;

	if (e->key_len < g->skip)
		return 0;
	if (e->type == VMOFS_ENTRY_PREFIX)
		return e->key_len > strlen(g->q.key) ? add_dir(g, e->key) : 0;
	if (g->keys->n >= LOCAL_MOVE_MAX)
		return -EXDEV;
	snprintf(v.validator, sizeof v.validator, "%s", e->validator);
	m = add_key(g->keys, e->key + g->skip);
	return m ? brief_set(&m->from, &v) : -ENOMEM;
}

static bool take_entries(struct vmofs_query *q, const struct vmofs_entry *v, unsigned n)
{
	struct listing *g = container_of(q, struct listing, q);

	for (unsigned i = 0; i < n && !g->failed; i++)
		g->failed = add_entry(g, &v[i]);
	return !g->failed;
}

static void listed(struct vmofs_query *q, const struct vmofs_query_result *result)
{
	struct listing *g = container_of(q, struct listing, q);

	mutex_lock(&g->lock);
	g->code = result->code;
	g->done = true;
	cond_signal(&g->done_cond);
	mutex_unlock(&g->lock);
}

static int ask(struct listing *g, enum vmofs_query_kind kind, const char *key)
{
	struct vmofs_source *s = g->keys->l->p.source;

	g->q = (struct vmofs_query){
		.kind = kind,
		.key = key,
		.after = "",
		.deadline_ns = local_deadline(g->keys->l),
		.entries = take_entries,
		.done = listed,
	};
	g->done = false;
	s->ops->query(s, &g->q);
	mutex_lock(&g->lock);
	while (!g->done)
		cond_wait(&g->done_cond, &g->lock);
	mutex_unlock(&g->lock);
	return g->failed ? g->failed : g->code;
}

/* Directory by directory, where the source cannot tell of all at once. */
static int ask_dirs(struct listing *g, const char *key)
{
	int r = add_dir(g, key);

	while (!r && g->n_dirs) {
		char *dir = g->dirs[--g->n_dirs];

		r = ask(g, VMOFS_QUERY_DIR, dir);
		free(dir);
	}
	return r;
}

static int list_below(struct keys *k, const char *key)
{
	struct listing g = { .keys = k, .skip = strlen(key) };
	int r;

	mutex_init(&g.lock, LOCK_RANK_LOCAL);
	cond_init(&g.done_cond);
	r = k->l->p.can & BIT(VMOFS_QUERY_FLAT) ? ask(&g, VMOFS_QUERY_FLAT, key)
						: ask_dirs(&g, key);
	while (g.n_dirs)
		free(g.dirs[--g.n_dirs]);
	free(g.dirs);
	cond_destroy(&g.done_cond);
	mutex_destroy(&g.lock);
	return r;
}

int keys_list(struct keys *k)
{
	return list_below(k, k->from);
}

void keys_release(struct keys *k)
{
	for (size_t i = 0; i < k->n; i++) {
		free(k->v[i].rel);
		free(k->v[i].from.validator);
		free(k->v[i].now.validator);
	}
	free(k->v);
	k->v = NULL;
	k->n = 0;
}

/* ---- at the same time ---- */

static void run_keys(void *arg, void **own UNUSED)
{
	struct keys *k = arg;
	size_t i;

	while ((i = atomic_fetch_add(&k->next, 1)) < k->n && (k->go_on || !atomic_load(&k->code))) {
		int none = 0, r = k->each(k, &k->v[i]);

		if (r < 0) {
			atomic_fetch_add(&k->left, 1);
			atomic_compare_exchange_strong(&k->code, &none, r);
		}
	}
}

static int for_all(struct keys *k, int (*each)(struct keys *k, struct moved_key *m), bool go_on)
{
	struct workers_params p = {
		.name = "vmofs-move", .max = LOCAL_MOVE_THREADS, .work = run_keys, .arg = k
	};
	struct workers *w;
	int r;

	k->each = each;
	k->go_on = go_on;
	atomic_store(&k->next, 0);
	atomic_store(&k->code, 0);
	atomic_store(&k->left, 0);
	r = workers_new(&w, &p);
	if (r < 0)
		return r;
	for (size_t i = 0; i < MIN(k->n, (size_t)LOCAL_MOVE_THREADS); i++)
		workers_call(w);
	workers_free(w);
	return atomic_load(&k->code);
}

/* ---- one key ---- */

int keys_look(struct local *l, const char *key, struct vmofs_version *now)
{
	struct vmofs_change_wait wait = local_wait(l);
	struct vmofs_err err = VMOFS_ERR_INIT;
	char nobody[VMOFS_ATTEMPT_LEN + 1];
	int r;

	vmofs_attempt_new(nobody);
	r = l->p.source->ops->change->attempted(l->p.source, key, nobody, now, &wait, &err);
	return r < 0 ? r : 0;
}

static int copy_as(struct keys *k, const struct moved_key *m, const char *from, const char *to,
		   struct vmofs_version *now)
{
	struct vmofs_change_wait wait = local_wait(k->l);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version is = brief_version(&m->from);
	struct vmofs_version there = brief_version(&m->now);
	/* The marker of a directory that was there and empty. */
	bool any = k->over && !m->rel[0];
	int r = k->l->p.source->ops->change->copy(k->l->p.source, from, &is, to,
						  any ? NULL : &there, now, &wait, &err);

	if (r < 0 && r != -ESTALE && r != -ENOENT)
		log_warn("cannot move '%s' to '%s': %s", from, to, err.msg);
	return r;
}

/* What is there was copied before a crash. */
static bool is_copy(struct keys *k, const struct moved_key *m, const char *to,
		    const struct vmofs_version *there)
{
	if (!there->exists || there->size != m->from.size)
		return false;
	return brief_is(&m->from, there) || (k->record && wmove_has(k->record, to, there));
}

/* The old or the new one is not what it was thought to be. 0: copy again; 1: there is nothing to do; else it cannot be. */
static int look_again(struct keys *k, struct moved_key *m, const char *from, const char *to)
{
	struct vmofs_version is, there;
	int r = keys_look(k->l, from, &is);

	if (!r)
		r = keys_look(k->l, to, &there);
	if (r < 0)
		return r;
	if (!is.exists)
		return 1;
	if (!brief_is(&m->from, &is))
		return brief_set(&m->from, &is);
	if (k->resumed && is_copy(k, m, to, &there))
		return brief_set(&m->now, &there) ? -ENOMEM : 1;
	if (there.exists && k->resumed)
		m->stays = true;
	return there.exists ? k->resumed ? 1 : -ENOTEMPTY : 0;
}

/* A version that cannot be told from the old one's is written down. */
static int copied(struct keys *k, struct moved_key *m, const char *to,
		  const struct vmofs_version *now)
{
	bool told = brief_is(&m->from, now) || !k->record;
	int r = brief_set(&m->now, now);

	return r || told ? r : wmove_copied(k->record, to, now);
}

static int copy_key(struct keys *k, struct moved_key *m)
{
	char from[VMOFS_KEY_MAX], to[VMOFS_KEY_MAX];
	struct vmofs_version now;
	int r = 0;

	if (m->apart)
		return 0;
	keys_name(k->from, m->rel, from);
	keys_name(k->to, m->rel, to);
	for (int i = 0; i < TRIES; i++) {
		r = copy_as(k, m, from, to, &now);
		if (!r)
			return copied(k, m, to, &now);
		if (r != -ESTALE && r != -ENOENT)
			return r;
		r = look_again(k, m, from, to);
		if (r)
			return r < 0 ? r : 0;
	}
	return -EBUSY;
}

int keys_copy_version(struct keys *k, struct moved_key *m, const struct vmofs_version *v)
{
	char from[VMOFS_KEY_MAX], to[VMOFS_KEY_MAX];
	struct vmofs_version now;
	int r = brief_set(&m->from, v);

	keys_name(k->from, m->rel, from);
	keys_name(k->to, m->rel, to);
	if (!r)
		r = copy_as(k, m, from, to, &now);
	return r ? r : copied(k, m, to, &now);
}

static int remove_as(struct keys *k, const char *key, const struct brief *b)
{
	struct vmofs_change_wait wait = local_wait(k->l);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version v = brief_version(b);
	int r = k->l->p.source->ops->change->remove(k->l->p.source, key, &v, &wait, &err);

	if (r < 0 && r != -ESTALE && r != -ENOENT)
		log_warn("cannot remove '%s': %s", key, err.msg);
	return r == -ENOENT ? 0 : r;
}

static int uncopy_key(struct keys *k, struct moved_key *m)
{
	char to[VMOFS_KEY_MAX];

	if (!m->now.validator || (k->over && !m->rel[0]))
		return 0;
	keys_name(k->to, m->rel, to);
	return remove_as(k, to, &m->now);
}

/* Others have changed it since it was copied: that is copied too. */
static int remove_key(struct keys *k, struct moved_key *m)
{
	char from[VMOFS_KEY_MAX];
	int r = -ESTALE;

	if (!m->now.validator || m->stays)
		return m->stays ? -ESTALE : 0;
	keys_name(k->from, m->rel, from);
	for (int i = 0; i < TRIES && r == -ESTALE; i++) {
		r = remove_as(k, from, &m->from);
		if (r == -ESTALE && !m->apart)
			r = copy_key(k, m) ? -EBUSY : -ESTALE;
	}
	return r;
}

int keys_copy(struct keys *k)
{
	return for_all(k, copy_key, false);
}

void keys_copy_back(struct keys *k)
{
	(void)for_all(k, uncopy_key, true);
}

void keys_remove(struct keys *k)
{
	(void)for_all(k, remove_key, true);
}

/* ---- after a start ---- */

/* @m is below the new directory. */
static int take_back_key(struct keys *k, struct moved_key *m)
{
	char from[VMOFS_KEY_MAX], to[VMOFS_KEY_MAX];
	struct vmofs_version is, there = brief_version(&m->from);
	int r;

	keys_name(k->from, m->rel, from);
	keys_name(k->to, m->rel, to);
	r = keys_look(k->l, from, &is);
	if (r < 0)
		return r;
	if (!is.exists || is.size != there.size)
		return 0;
	if (!brief_is(&m->from, &is) && !wmove_has(k->record, to, &there))
		return 0;
	return remove_as(k, to, &m->from);
}

int keys_take_back(struct keys *k)
{
	int r = list_below(k, k->to);

	return r ? r : for_all(k, take_back_key, true);
}
