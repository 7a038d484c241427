/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests of files that are changed here, without FUSE: the tree is the real one, the origin writes down what it is asked, and
 * the writer is a few lines that store when the test says so. It has the names of the real one, so it is compiled into each
 * of these programs and not a library.
 */
#ifndef TESTS_LOCAL_SCENE_H
#define TESTS_LOCAL_SCENE_H

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/local.h"
#include "fs/object_cache.h"
#include "lib/tree_fixture.h"

static struct tree_fixture f;
static struct local *l;
static struct vm_pool *pool;
static struct vmofs_source_ops source_ops;
static char told[4096];      /* what origin and writer were asked: "VERB KEY ...; " */
static int fail_with;        /* what the origin's next call is; 0: it succeeds */
static const char *fail_key; /* only what is done to this key fails; NULL: all */
/* What the origin is asked for by several threads at the same time is done one by one. */
static pthread_mutex_t at_origin = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_providers;

static void tell(const char *fmt, ...)
{
	size_t n = strlen(told);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(told + n, sizeof told - n, fmt, ap);
	va_end(ap);
}

/* What was told since the last call. */
static inline void assert_told(const char *text)
{
	assert_string_equal(told, text);
	told[0] = '\0';
}

/* ---- objects of one page, which is asked for once at most ---- */

struct object {
	struct vmofs_provider base; /* first */
	char key[VMOFS_KEY_MAX];
	struct vmo *asked; /* counted; NULL: its page was never asked for */
	pthread_t answering;
};

static void *answer(void *arg)
{
	static const char page[VMOFS_PAGE_SIZE] = "abc";
	struct object *o = arg;

	tell("fetch %s; ", o->key);
	assert_true(vmofs_supply(o->asked, 0, page, sizeof page) > 0);
	return NULL;
}

static void send_request(struct vmofs_provider *p, struct vmofs_request *req)
{
	struct object *o = container_of(p, struct object, base);

	assert_null(o->asked);
	o->asked = vmofs_vmo_get(req->vmo);
	assert_int_equal(pthread_create(&o->answering, NULL, answer, o), 0);
}

static void clear_request(struct vmofs_provider *p UNUSED, struct vmofs_request *req UNUSED)
{
}

/* It is more urgent now. */
static void swap_request(struct vmofs_provider *p UNUSED, struct vmofs_request *old UNUSED,
			 struct vmofs_request *now UNUSED)
{
}

static void nothing(struct vmofs_provider *p UNUSED)
{
}

static void provider_free(struct vmofs_provider *p)
{
	struct object *o = container_of(p, struct object, base);

	if (o->asked) {
		pthread_join(o->answering, NULL);
		vmofs_vmo_put(o->asked);
	}
	n_providers--;
	free(o);
}

static const struct vmofs_provider_ops provider_ops = {
	.name = "quiet",
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.send = send_request,
	.clear = clear_request,
	.swap = swap_request,
	.on_detach = nothing,
	.on_close = nothing,
	.free = provider_free,
};

static int source_object(struct vmofs_source *s UNUSED, const struct vmofs_entry *e,
			 struct vmofs_provider **out, struct vmofs_object_info *info,
			 struct vmofs_err *err UNUSED)
{
	struct object *o = calloc(1, sizeof *o);

	o->base.ops = &provider_ops;
	strcpy(o->key, e->key);
	*out = &o->base;
	*info = (struct vmofs_object_info){ .size = e->size };
	strcpy(info->name, "x");
	n_providers++;
	return 0;
}

/* ---- the origin ---- */

static const char *version_text(const struct vmofs_version *v)
{
	return !v ? "any" : v->exists ? v->validator : "none";
}

static int origin_says(const char *verb, const char *key, const char *more)
{
	tell("%s %s%s; ", verb, key, more);
	return fail_key && strcmp(fail_key, key) ? 0 : fail_with;
}

static int do_remove(const char *key, const struct vmofs_version *expect, struct vmofs_err *err)
{
	char more[600];

	snprintf(more, sizeof more, " %s", version_text(expect));
	if (origin_says("remove", key, more))
		return vmofs_err_set(err, fail_with, "as the test says");
	fake_source_remove(f.source, key);
	return 0;
}

static int change_remove(struct vmofs_source *s UNUSED, const char *key,
			 const struct vmofs_version *expect,
			 const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	int r;

	pthread_mutex_lock(&at_origin);
	r = do_remove(key, expect, err);
	pthread_mutex_unlock(&at_origin);
	return r;
}

static int do_copy(const char *from, const struct vmofs_version *expect, const char *to,
		   const struct vmofs_version *to_expect, struct vmofs_version *now,
		   struct vmofs_err *err)
{
	char more[2000];

	snprintf(more, sizeof more, " %s to %s %s", version_text(expect), to,
		 version_text(to_expect));
	if (origin_says("copy", from, more))
		return vmofs_err_set(err, fail_with, "as the test says");
	*now = (struct vmofs_version){ .exists = true, .size = expect->size, .validator = "\"c\"" };
	fake_source_put(f.source, to, expect->size, "\"c\"");
	return 0;
}

static int change_copy(struct vmofs_source *s UNUSED, const char *from,
		       const struct vmofs_version *expect, const char *to,
		       const struct vmofs_version *to_expect, struct vmofs_version *now,
		       const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	int r;

	pthread_mutex_lock(&at_origin);
	r = do_copy(from, expect, to, to_expect, now, err);
	pthread_mutex_unlock(&at_origin);
	return r;
}

static int change_make_dir(struct vmofs_source *s UNUSED, const char *key,
			   const struct vmofs_change_attr *attr UNUSED,
			   const struct vmofs_change_wait *wait UNUSED, struct vmofs_err *err)
{
	if (origin_says("mkdir", key, ""))
		return vmofs_err_set(err, fail_with, "as the test says");
	fake_source_put(f.source, key, 0, "\"d\"");
	return 0;
}

static struct vmofs_xattrs *origin_xattrs; /* of every file; NULL: none. Counted */

static int change_get_xattrs(struct vmofs_source *s UNUSED, const char *key UNUSED,
			     struct vmofs_xattrs **out, const struct vmofs_change_wait *wait UNUSED,
			     struct vmofs_err *err UNUSED)
{
	*out = vmofs_xattrs_get(origin_xattrs ? origin_xattrs : &vmofs_xattrs_none);
	return 0;
}

static int change_can_xattrs(struct vmofs_source *s UNUSED, const struct vmofs_xattrs *x UNUSED,
			     struct vmofs_err *err UNUSED)
{
	return 0;
}

static const struct vmofs_change_ops change_ops = {
	.remove = change_remove,
	.copy = change_copy,
	.make_dir = change_make_dir,
	.get_xattrs = change_get_xattrs,
	.can_xattrs = change_can_xattrs,
};

/* ---- the writer ---- */

struct wfile {
	unsigned refs;
	uint64_t ino;
	char key[VMOFS_KEY_MAX];
	struct vmofs_version base;
	enum wfile_state state;
	bool leaving;
	struct vmo *vmo;
	void *keep;
	struct vmofs_change_attr attr;
	struct wfile *next;
};

static struct wfile *wfiles;
static bool close_waits;
static struct wfile *ends_after_look; /* its store, as soon as somebody has looked once more */
static bool busy_once; /* the next wfile_renamed() of a stored file finds it written again */

int wfile_new(struct wfile **out, struct writer *w UNUSED, const struct wfile_params *p)
{
	struct wfile *n = calloc(1, sizeof *n);

	n->refs = 1;
	n->ino = p->ino;
	strcpy(n->key, p->key);
	n->base = p->base;
	n->state = p->base.exists && !p->attr ? WFILE_CLEAN : WFILE_DIRTY;
	n->vmo = vmo_get(p->vmo);
	n->keep = p->keep;
	if (p->attr)
		n->attr = *p->attr;
	vmofs_xattrs_get(n->attr.xattrs);
	assert_int_equal(vmo_make_writable(n->vmo, NULL), 0);
	n->next = wfiles;
	wfiles = n;
	*out = n;
	return 0;
}

bool writer_close_waits(const struct writer *w UNUSED)
{
	return close_waits;
}

struct wfile *wfile_get(struct wfile *w)
{
	w->refs++;
	return w;
}

void wfile_put(struct wfile *w)
{
	struct wfile **at = &wfiles;

	if (!w || --w->refs)
		return;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	vmo_close(w->vmo);
	vmo_put(w->vmo);
	vmofs_xattrs_put(w->attr.xattrs);
	local_let_go(l, w->keep);
	free(w);
}

struct wfile *writer_find(struct writer *w UNUSED, uint64_t ino)
{
	for (struct wfile *i = wfiles; i; i = i->next)
		if (i->ino == ino)
			return wfile_get(i);
	return NULL;
}

void wfile_stat(struct wfile *w, uint64_t *size, struct vmofs_change_attr *attr)
{
	*size = vmo_size(w->vmo);
	*attr = w->attr;
}

struct vmofs_xattrs *wfile_xattrs(struct wfile *w)
{
	return vmofs_xattrs_get(w->attr.xattrs);
}

int wfile_set_attr(struct wfile *w, const struct vmofs_change_attr *attr)
{
	vmofs_xattrs_put(w->attr.xattrs);
	w->attr.xattrs = vmofs_xattrs_get(attr->xattrs);
	w->state = WFILE_DIRTY;
	return 0;
}

/* The origin has it all. */
static void end_store(struct wfile *w)
{
	w->base = (struct vmofs_version){ .exists = true,
					  .size = vmo_size(w->vmo),
					  .validator = "\"s\"" };
	fake_source_put(f.source, w->key, w->base.size, "\"s\"");
	w->state = WFILE_CLEAN;
}

enum wfile_state wfile_state(struct wfile *w)
{
	enum wfile_state s = w->state;

	if (w == ends_after_look)
		end_store(w);
	ends_after_look = NULL;
	return s;
}

void wfile_base(struct wfile *w, struct vmofs_version *out)
{
	*out = w->base;
}

int wfile_truncate(struct wfile *w, uint64_t size)
{
	w->state = WFILE_DIRTY;
	return vmo_resize(w->vmo, size, NULL);
}

/* And the local may be told. */
static void store(struct wfile *w)
{
	end_store(w);
	local_stored(l, w->ino, &w->base);
}

int wfile_store_wait(struct wfile *w, uint64_t *since UNUSED, uint64_t deadline_ns UNUSED,
		     const atomic_bool *cancel UNUSED)
{
	tell("store %s; ", w->key);
	if (w->state != WFILE_CLEAN)
		store(w);
	return 0;
}

bool wfile_is_unsettled(struct wfile *w UNUSED)
{
	return false;
}

uint64_t wfile_error_mark(struct wfile *w UNUSED)
{
	return 0;
}

int wfile_fsync(struct wfile *w, uint64_t *since)
{
	*since = 7;
	tell("fsync %s; ", w->key);
	return 0;
}

int wfile_closed(struct wfile *w, uint64_t *since UNUSED)
{
	tell("closed %s; ", w->key);
	return 0;
}

void wfile_hide(struct wfile *w UNUSED)
{
}

int wfile_leaving(struct wfile *w, bool *stored, struct vmofs_version *base)
{
	assert_int_not_equal(w->state, WFILE_GONE);
	w->leaving = true;
	*stored = w->base.exists;
	*base = w->base;
	return 0;
}

void wfile_stays(struct wfile *w)
{
	assert_true(w->leaving);
	w->leaving = false;
}

int wfile_removed(struct wfile *w, bool *stored, struct vmofs_version *base)
{
	w->leaving = false;
	w->state = WFILE_GONE;
	*stored = w->base.exists;
	*base = w->base;
	return 0;
}

int wfile_renamed(struct wfile *w, const char *key, const struct vmofs_version *replaces,
		  const struct vmofs_version *now)
{
	if (now && busy_once) {
		busy_once = false;
		return -EBUSY;
	}
	tell("renamed %s to %s %s; ", w->key, key, now ? now->validator : version_text(replaces));
	strcpy(w->key, key);
	if (now)
		w->base = *now;
	return 0;
}

int wfile_resolve(struct wfile *w, enum wfile_resolve how UNUSED, const char *key UNUSED,
		  struct vmofs_err *err UNUSED)
{
	w->state = WFILE_CLEAN;
	return 0;
}

/* One file that "a/r" has been changed of, and one that was stored after all. */
int writer_recover(struct writer *w,
		   int (*make)(void *arg, const char *key, const struct vmofs_version *base,
			       struct wfile_params *out),
		   void *arg)
{
	static const struct vmofs_version base = { .exists = true,
						   .size = 5,
						   .validator = "\"1\"" };
	struct wfile_params p = { .key = "a/r", .base = base };
	struct wfile *kept;

	assert_int_equal(make(arg, "a/r", &base, &p), 0);
	wfile_new(&kept, w, &p);
	kept->state = WFILE_DIRTY;
	assert_int_equal(make(arg, "a/s", &base, &p), 0);
	local_let_go(l, p.keep);
	return 0;
}

/* ---- set-up ---- */

static inline int set_up(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct object_cache_params cp;
	struct local_params p = { 0 };

	tree_fixture_init(&f);
	source_ops = *f.source->base.ops;
	source_ops.object = source_object;
	source_ops.change = &change_ops;
	f.source->base.ops = &source_ops;
	assert_int_equal(vm_pool_new(&pool, MIB(16), &err), 0);
	cp = (struct object_cache_params){ .pool = pool,
					   .source = &f.source->base,
					   .idle_max = 10 };
	assert_int_equal(object_cache_new(&f.p.cache, &cp, &err), 0);
	p.source = &f.source->base;
	p.cache = f.p.cache;
	assert_int_equal(local_new(&l, &p, &err), 0);
	f.p.local_attr = local_attr;
	f.p.local_arg = l;
	fake_source_put(f.source, "a/f", 5, "\"1\"");
	fake_source_put(f.source, "a/g", 6, "\"2\"");
	tree_fixture_start(&f);
	local_set(l, f.tree, NULL);
	told[0] = '\0';
	fail_with = 0;
	fail_key = NULL;
	busy_once = false;
	close_waits = true;
	return 0;
}

static inline int tear_down(void **state UNUSED)
{
	object_cache_close(f.p.cache);
	local_free(l);
	assert_null(wfiles);
	tree_fixture_end(&f);
	assert_int_equal(n_providers, 0);
	vm_pool_free(pool);
	return 0;
}

static uint64_t ino_of(const char *path)
{
	int64_t ino = fixture_ino(&f, path);

	assert_true(ino > 0);
	return (uint64_t)ino;
}

static inline void assert_none(const char *path)
{
	assert_int_equal(fixture_ino(&f, path), -ENOENT);
}

static inline struct stat stat_of(const char *path)
{
	struct fs_tree_attr a;

	assert_int_equal(f.tree->ops->getattr(f.tree, ino_of(path), NULL, &a), 0);
	return a.st;
}

static inline void ttl_passes(void)
{
	fixture_now_ns += 1000 * NSEC_PER_SEC;
}

static inline struct local_handle *open_write(const char *path)
{
	struct local_handle *h;

	assert_int_equal(local_open_write(l, ino_of(path), false, &h), 0);
	return h;
}

static inline struct local_handle *open_read(const char *path)
{
	struct local_handle *h;
	struct fs_object *o;

	assert_int_equal(f.tree->ops->open(f.tree, ino_of(path), NULL, &o), 0);
	assert_int_equal(local_open_read(l, o, &h), 0);
	return h;
}

static inline void close_handle(struct local_handle *h)
{
	if (!local_close_now(l, h))
		local_close(l, h);
}

/* The kernel's reference stays, as those of lookups do. */
static inline struct local_handle *create(const char *dir, const char *name, bool excl, int expect)
{
	const struct local_create c = {
		.parent = ino_of(dir), .name = name, .mode = 0640, .uid = 7, .gid = 8, .excl = excl
	};
	struct local_handle *h = NULL;
	struct fs_tree_attr a;

	assert_int_equal(local_create(l, &c, &h, &a), expect);
	return h;
}

static inline int rename_to(const char *from_dir, const char *name, const char *to_dir,
			    const char *new_name)
{
	const struct local_rename rn = {
		.parent = ino_of(from_dir),
		.name = name,
		.new_parent = ino_of(to_dir),
		.new_name = new_name,
	};

	return local_rename(l, &rn);
}

#endif
