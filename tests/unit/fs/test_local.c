/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are changed here, without FUSE: when they are held and settled, what the origin is told and in which order. The tree
 * is the real one, the origin writes down what it is asked, and the writer is a few lines that store when the test says so.
 */
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
static void assert_told(const char *text)
{
	assert_string_equal(told, text);
	told[0] = '\0';
}

/* ---- objects: their pages are never asked for ---- */

static void no_request(struct vmofs_provider *p UNUSED, struct vmofs_request *req UNUSED)
{
	fail();
}

static void no_swap(struct vmofs_provider *p UNUSED, struct vmofs_request *old UNUSED,
		    struct vmofs_request *now UNUSED)
{
	fail();
}

static void nothing(struct vmofs_provider *p UNUSED)
{
}

static void provider_free(struct vmofs_provider *p)
{
	n_providers--;
	free(p);
}

static const struct vmofs_provider_ops provider_ops = {
	.name = "quiet",
	.supports = VMOFS_TYPE_BIT(VMOFS_REQUEST_READ),
	.send = no_request,
	.clear = no_request,
	.swap = no_swap,
	.on_detach = nothing,
	.on_close = nothing,
	.free = provider_free,
};

static int source_object(struct vmofs_source *s UNUSED, const struct vmofs_entry *e,
			 struct vmofs_provider **out, struct vmofs_object_info *info,
			 struct vmofs_err *err UNUSED)
{
	*out = calloc(1, sizeof **out);
	(*out)->ops = &provider_ops;
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

static const struct vmofs_change_ops change_ops = {
	.remove = change_remove,
	.copy = change_copy,
	.make_dir = change_make_dir,
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
	n->state = p->base.exists ? WFILE_CLEAN : WFILE_DIRTY;
	n->vmo = vmo_get(p->vmo);
	n->keep = p->keep;
	if (p->attr)
		n->attr = *p->attr;
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

static int set_up(void **state UNUSED)
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

static int tear_down(void **state UNUSED)
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

static void assert_none(const char *path)
{
	assert_int_equal(fixture_ino(&f, path), -ENOENT);
}

static struct stat stat_of(const char *path)
{
	struct fs_tree_attr a;

	assert_int_equal(f.tree->ops->getattr(f.tree, ino_of(path), NULL, &a), 0);
	return a.st;
}

static void ttl_passes(void)
{
	fixture_now_ns += 1000 * NSEC_PER_SEC;
}

static struct local_handle *open_write(const char *path)
{
	struct local_handle *h;

	assert_int_equal(local_open_write(l, ino_of(path), false, &h), 0);
	return h;
}

static struct local_handle *open_read(const char *path)
{
	struct local_handle *h;
	struct fs_object *o;

	assert_int_equal(f.tree->ops->open(f.tree, ino_of(path), NULL, &o), 0);
	assert_int_equal(local_open_read(l, o, &h), 0);
	return h;
}

static void close_handle(struct local_handle *h)
{
	if (!local_close_now(l, h))
		local_close(l, h);
}

/* The kernel's reference stays, as those of lookups do. */
static struct local_handle *create(const char *dir, const char *name, bool excl, int expect)
{
	const struct local_create c = {
		.parent = ino_of(dir), .name = name, .mode = 0640, .uid = 7, .gid = 8, .excl = excl
	};
	struct local_handle *h = NULL;
	struct fs_tree_attr a;

	assert_int_equal(local_create(l, &c, &h, &a), expect);
	return h;
}

static int rename_to(const char *from_dir, const char *name, const char *to_dir,
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

/* ---- held and settled ---- */

static void opened_and_not_changed(void **state UNUSED)
{
	uint64_t ino = ino_of("a/f");
	struct local_handle *h = open_write("a/f");

	fake_source_put(f.source, "a/f", 9, "\"9\"");
	ttl_passes();
	assert_int_equal(ino_of("a/f"), ino);
	close_handle(h);
	ttl_passes();
	assert_true(ino_of("a/f") != ino);
	assert_told("");
}

static void changed_until_it_is_stored(void **state UNUSED)
{
	uint64_t ino = ino_of("a/f");
	struct local_handle *h = open_write("a/f");
	struct wfile *w = wfile_get(local_wfile(h));

	assert_int_equal(wfile_truncate(w, 0), 0);
	assert_int_equal(stat_of("a/f").st_size, 0);
	close_handle(h);
	ttl_passes();
	assert_int_equal(stat_of("a/f").st_size, 0);
	store(w);
	wfile_put(w);
	ttl_passes();
	assert_int_equal(ino_of("a/f"), ino);
	assert_int_equal(stat_of("a/f").st_size, 0);
}

/* Who closes it finds it being stored, and then that it is; only after that the local is told. */
static void stored_while_it_is_closed(void **state UNUSED)
{
	struct local_handle *h = open_write("a/f");
	struct vmofs_version base;
	uint64_t ino = ino_of("a/f");
	struct wfile *w = local_wfile(h);

	assert_int_equal(wfile_truncate(w, 70000), 0);
	w->state = WFILE_STORING;
	ends_after_look = wfile_get(w);
	close_handle(h);
	wfile_base(w, &base);
	local_stored(l, ino, &base);
	wfile_put(w);
	assert_int_equal(stat_of("a/f").st_size, 70000);
	/* From now on it is the origin's again. */
	fake_source_put(f.source, "a/f", 9, "\"9\"");
	ttl_passes();
	assert_int_equal(stat_of("a/f").st_size, 9);
}

static void stored_while_it_is_open(void **state UNUSED)
{
	struct local_handle *h = open_write("a/f");
	uint64_t ino = ino_of("a/f");

	assert_int_equal(wfile_truncate(local_wfile(h), 0), 0);
	store(local_wfile(h));
	fake_source_put(f.source, "a/f", 9, "\"9\"");
	ttl_passes();
	assert_int_equal(ino_of("a/f"), ino);
	close_handle(h);
	ttl_passes();
	assert_true(ino_of("a/f") != ino);
}

static void readers_share_its_pages(void **state UNUSED)
{
	struct local_handle *r = open_read("a/f");
	struct local_handle *w = open_write("a/f");

	assert_ptr_equal(local_object(r)->vmo, local_object(w)->vmo);
	assert_null(local_wfile(r));
	close_handle(w);
	assert_int_equal(vmo_size(local_object(r)->vmo), 5);
	close_handle(r);
}

static void rests_with_its_pages(void **state UNUSED)
{
	struct local_handle *h = open_write("a/f");
	struct fs_object *o = local_object(h);
	struct wfile *w = local_wfile(h);

	close_handle(h);
	h = open_write("a/f");
	assert_ptr_equal(local_wfile(h), w);
	close_handle(h);
	h = open_read("a/f");
	assert_ptr_equal(local_object(h), o);
	close_handle(h);
}

static void closed_by_the_last_writer(void **state UNUSED)
{
	struct local_handle *a = open_write("a/f"), *b = open_write("a/f"), *r = open_read("a/f");

	close_waits = false;
	close_handle(a);
	assert_told("");
	close_handle(b);
	assert_told("closed a/f; ");
	close_handle(r);
	assert_told("");
}

static void truncated_by_open(void **state UNUSED)
{
	struct local_handle *h;

	assert_int_equal(local_open_write(l, ino_of("a/f"), true, &h), 0);
	assert_int_equal(stat_of("a/f").st_size, 0);
	store(local_wfile(h));
	close_handle(h);
}

static void sync_outlives_its_handle(void **state UNUSED)
{
	struct local_handle *h = open_write("a/f");
	struct local_handle *r = open_read("a/f");
	struct local_sync s;

	assert_true(local_sync_begin(l, h, false, &s));
	close_handle(h);
	assert_int_equal(local_sync_wait(l, &s), 0);
	local_sync_end(l, &s);
	assert_true(local_sync_begin(l, r, true, &s));
	assert_int_equal(local_sync_wait(l, &s), 0);
	local_sync_end(l, &s);
	close_handle(r);
	assert_told("fsync a/f; closed a/f; ");
	r = open_read("a/g");
	assert_false(local_sync_begin(l, r, false, &s));
	close_handle(r);
}

/* ---- made ---- */

static void created(void **state UNUSED)
{
	struct local_handle *h = create("a", "n", true, 0);
	struct stat st = stat_of("a/n");

	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_size, 0);
	assert_true(st.st_mtim.tv_sec > 0);
	ttl_passes();
	assert_int_equal(ino_of("a/n"), st.st_ino);
	store(local_wfile(h));
	close_handle(h);
	ttl_passes();
	assert_int_equal(ino_of("a/n"), st.st_ino);
	assert_int_equal(stat_of("a/n").st_mode, S_IFREG | 0640);
	assert_told("");
}

static void created_where_something_is(void **state UNUSED)
{
	struct local_handle *h;

	(void)ino_of("a/f");
	(void)create("a", "f", true, -EEXIST);
	h = create("a", "f", false, 0);
	assert_int_equal(vmo_size(local_object(h)->vmo), 5);
	close_handle(h);
}

/* ---- unlink ---- */

static void unlinked(void **state UNUSED)
{
	assert_int_equal(local_unlink(l, ino_of("a"), "f"), 0);
	assert_none("a/f");
	assert_told("remove a/f any; ");
	assert_int_equal(local_unlink(l, ino_of("a"), "f"), -ENOENT);
	assert_int_equal(local_unlink(l, FS_TREE_ROOT, "a"), -EISDIR);
}

static void unlink_that_fails(void **state UNUSED)
{
	fail_with = -EACCES;
	assert_int_equal(local_unlink(l, ino_of("a"), "f"), -EACCES);
	(void)ino_of("a/f");
}

static void unlinked_while_open(void **state UNUSED)
{
	struct local_handle *h = open_read("a/f");

	assert_int_equal(local_unlink(l, ino_of("a"), "f"), 0);
	assert_told("");
	ttl_passes();
	assert_none("a/f");
	assert_string_equal(fixture_ls(&f, "a"), "g ");
	close_handle(h);
	assert_told("remove a/f \"1\"; ");
	ttl_passes();
	assert_none("a/f");
}

static void unlinked_before_it_was_stored(void **state UNUSED)
{
	struct local_handle *h = create("a", "n", true, 0);

	assert_int_equal(local_unlink(l, ino_of("a"), "n"), 0);
	assert_none("a/n");
	assert_int_equal(wfile_truncate(local_wfile(h), 100), 0);
	close_handle(h);
	assert_told("");
}

static void made_again_while_the_old_one_is_open(void **state UNUSED)
{
	struct local_handle *old = open_read("a/f");
	struct local_handle *h;

	assert_int_equal(local_unlink(l, ino_of("a"), "f"), 0);
	h = create("a", "f", true, 0);
	assert_told("renamed a/f to a/f \"1\"; ");
	store(local_wfile(h));
	close_handle(h);
	close_handle(old);
	assert_told("");
	/* The one that replaces it sees to it that it goes, also when it goes itself. */
	old = open_read("a/g");
	assert_int_equal(local_unlink(l, ino_of("a"), "g"), 0);
	close_handle(create("a", "g", true, 0));
	close_handle(old);
	assert_int_equal(local_unlink(l, ino_of("a"), "g"), 0);
	assert_told("renamed a/g to a/g \"2\"; remove a/g any; ");
}

/* ---- directories ---- */

static void directories(void **state UNUSED)
{
	const struct local_create c = { .parent = ino_of("a"), .name = "d", .mode = 0755 };
	struct fs_tree_attr a;

	assert_int_equal(local_mkdir(l, &c, &a), 0);
	assert_true(S_ISDIR(a.st.st_mode));
	assert_told("mkdir a/d/; ");
	assert_int_equal(local_rmdir(l, FS_TREE_ROOT, "a"), -ENOTEMPTY);
	assert_int_equal(local_rmdir(l, ino_of("a"), "f"), -ENOTDIR);
	assert_int_equal(local_rmdir(l, ino_of("a"), "d"), 0);
	assert_told("remove a/d/ any; ");
	assert_none("a/d");
	fail_with = -ESTALE;
	assert_int_equal(local_mkdir(l, &c, &a), -EEXIST);
	assert_int_equal(local_symlink(l, &c, "f", &a), -EPERM);
}

/* ---- rename ---- */

static void renamed_before_it_was_stored(void **state UNUSED)
{
	struct local_handle *h = create("a", "tmp", true, 0);
	uint64_t ino = ino_of("a/tmp");

	(void)ino_of("a/f");
	assert_int_equal(rename_to("a", "tmp", "a", "f"), 0);
	assert_told("renamed a/tmp to a/f \"1\"; ");
	assert_int_equal(ino_of("a/f"), ino);
	assert_none("a/tmp");
	store(local_wfile(h));
	close_handle(h);
	ttl_passes();
	assert_int_equal(ino_of("a/f"), ino);
}

/* What it was to replace does not come back under the name that it had in between. */
static void renamed_and_renamed_again(void **state UNUSED)
{
	struct local_handle *h = create("a", "tmp", true, 0);

	assert_int_equal(rename_to("a", "tmp", "a", "f"), 0);
	assert_int_equal(rename_to("a", "f", "a", "n"), 0);
	assert_told("renamed a/tmp to a/f \"1\"; store a/f; copy a/f \"s\" to a/n none; "
		    "renamed a/f to a/n \"c\"; remove a/f \"s\"; ");
	close_handle(h);
	h = create("a", "tmp", true, 0);
	assert_int_equal(rename_to("a", "tmp", "a", "g"), 0);
	close_handle(h);
	assert_int_equal(local_unlink(l, ino_of("a"), "g"), 0);
	assert_told("renamed a/tmp to a/g \"2\"; remove a/g any; ");
}

static void renamed_over_one_that_is_not_stored(void **state UNUSED)
{
	struct local_handle *t = create("a", "t", true, 0);
	struct local_handle *h = create("a", "n", true, 0);

	assert_int_equal(rename_to("a", "n", "a", "t"), 0);
	assert_told("renamed a/n to a/t none; ");
	assert_int_equal(wfile_state(local_wfile(t)), WFILE_GONE);
	close_handle(t);
	close_handle(h);
}

static void renamed_at_the_origin(void **state UNUSED)
{
	uint64_t ino = ino_of("a/f");

	assert_int_equal(rename_to("a", "f", "a", "n"), 0);
	assert_told("copy a/f \"1\" to a/n none; remove a/f \"1\"; ");
	assert_int_equal(ino_of("a/n"), ino);
	assert_none("a/f");
	ttl_passes();
	assert_int_equal(ino_of("a/n"), ino);
	assert_int_equal(rename_to("a", "n", "a", "g"), 0);
	assert_told("copy a/n \"c\" to a/g \"2\"; remove a/n \"c\"; ");
	assert_int_equal(ino_of("a/g"), ino);
}

static void renamed_while_it_is_written(void **state UNUSED)
{
	struct local_handle *h = open_write("a/f");

	assert_int_equal(wfile_truncate(local_wfile(h), 0), 0);
	busy_once = true;
	assert_int_equal(rename_to("a", "f", "a", "n"), 0);
	assert_told(
		"store a/f; copy a/f \"s\" to a/n none; store a/f; copy a/f \"s\" to a/n \"c\"; "
		"renamed a/f to a/n \"c\"; remove a/f \"s\"; ");
	close_handle(h);
	(void)ino_of("a/n");
	assert_none("a/f");
}

static void renamed_while_it_is_read(void **state UNUSED)
{
	struct local_handle *h = open_read("a/f");

	assert_int_equal(rename_to("a", "f", "a", "n"), 0);
	assert_told("store a/f; copy a/f \"1\" to a/n none; renamed a/f to a/n \"c\"; "
		    "remove a/f \"1\"; ");
	close_handle(h);
}

static void rename_that_fails(void **state UNUSED)
{
	fail_with = -EACCES;
	assert_int_equal(rename_to("a", "f", "a", "n"), -EACCES);
	fail_with = 0;
	assert_none("a/n");
	ttl_passes();
	(void)ino_of("a/f");
	assert_told("copy a/f \"1\" to a/n none; ");
}

static void rename_that_must_not_replace(void **state UNUSED)
{
	struct local_rename rn = {
		.parent = ino_of("a"),
		.name = "f",
		.new_parent = ino_of("a"),
		.new_name = "g",
		.no_replace = true,
	};

	assert_int_equal(local_rename(l, &rn), -EEXIST);
	rn.new_name = "f";
	rn.no_replace = false;
	assert_int_equal(local_rename(l, &rn), 0);
	rn.name = "none";
	assert_int_equal(local_rename(l, &rn), -ENOENT);
	assert_told("");
}

static void renamed_directories(void **state UNUSED)
{
	const struct local_create c = { .parent = FS_TREE_ROOT, .name = "d", .mode = 0755 };
	struct fs_tree_attr a;

	assert_int_equal(local_mkdir(l, &c, &a), 0);
	told[0] = '\0';
	assert_int_equal(rename_to("", "d", "a", "f"), -ENOTDIR);
	assert_int_equal(rename_to("a", "f", "", "d"), -EISDIR);
	assert_int_equal(rename_to("", "d", "a", "e"), 0);
	assert_told("mkdir a/e/; remove d/ any; ");
	assert_int_equal(ino_of("a/e"), a.st.st_ino);
}

static void assert_was_told(const char *text, bool expect)
{
	if (!strstr(told, text) == expect)
		fail_msg("'%s' was%s told: %s", text, expect ? " not" : "", told);
}

static void renamed_directory_with_files(void **state UNUSED)
{
	struct local_handle *r = open_read("a/f"), *n = create("a", "n", true, 0);
	uint64_t f_ino = ino_of("a/f"), g_ino = ino_of("a/g"), n_ino = ino_of("a/n");

	fake_source_put(f.source, "a//hidden", 1, "\"h\"");
	fake_source_put(f.source, "a/d/", 0, "\"d\"");
	assert_int_equal(rename_to("", "a", "", "b"), 0);
	assert_was_told("copy a/g \"2\" to b/g none; ", true);
	assert_was_told("copy a/f \"1\" to b/f none; renamed a/f to b/f \"c\"; ", true);
	assert_was_told("renamed a/n to b/n none; ", true);
	assert_was_told("copy a//hidden \"h\" to b//hidden none; ", true);
	assert_was_told("remove a/f \"1\"; ", true);
	assert_was_told("remove a/g \"2\"; ", true);
	assert_was_told("remove a/n", false);
	assert_none("a");
	assert_int_equal(ino_of("b/f"), f_ino);
	assert_int_equal(ino_of("b/g"), g_ino);
	ttl_passes();
	assert_none("a");
	assert_string_equal(fixture_ls(&f, "b"), "f n g d/ ");
	assert_int_equal(ino_of("b/f"), f_ino);
	assert_int_equal(ino_of("b/n"), n_ino);
	close_handle(r);
	store(local_wfile(n));
	close_handle(n);
	assert_string_equal(fixture_ls(&f, "b"), "f n g d/ ");
}

/* What is at the old place goes at the last close, and does not come to the new one. */
static void renamed_directory_with_removed_files(void **state UNUSED)
{
	struct local_handle *r = open_read("a/f");

	assert_int_equal(local_unlink(l, ino_of("a"), "f"), 0);
	assert_int_equal(rename_to("", "a", "", "b"), 0);
	assert_was_told("a/f", false);
	ttl_passes();
	assert_none("a");
	assert_string_equal(fixture_ls(&f, "b"), "g ");
	close_handle(r);
	assert_was_told("remove a/f \"1\"; ", true);
}

static void renamed_directory_that_fails(void **state UNUSED)
{
	struct local_handle *w = open_write("a/f");
	uint64_t g_ino = ino_of("a/g");

	/* Everything that was copied goes again. */
	fake_source_put(f.source, "a/h", 1, "\"h\"");
	fail_with = -EACCES;
	fail_key = "a/f";
	assert_int_equal(rename_to("", "a", "", "b"), -EACCES);
	assert_was_told("remove b/g \"c\"; ", true);
	assert_was_told("remove b/h \"c\"; ", true);
	assert_was_told("remove a/", false);
	fail_with = 0;
	ttl_passes();
	assert_none("b");
	assert_string_equal(fixture_ls(&f, "a"), "f g h ");
	assert_int_equal(ino_of("a/g"), g_ino);
	close_handle(w);
	assert_int_equal(rename_to("", "a", "", "b"), 0);
	assert_string_equal(fixture_ls(&f, "b"), "f g h ");
}

static void renamed_directory_over_another(void **state UNUSED)
{
	const struct local_create c = { .parent = FS_TREE_ROOT, .name = "d", .mode = 0755 };
	struct fs_tree_attr a;

	fake_source_put(f.source, "full/x", 1, "\"x\"");
	ttl_passes();
	assert_int_equal(local_mkdir(l, &c, &a), 0);
	told[0] = '\0';
	(void)ino_of("full");
	assert_int_equal(rename_to("", "a", "", "full"), -ENOTEMPTY);
	assert_told("");
	fake_source_put(f.source, "a/", 0, "\"m\"");
	assert_int_equal(rename_to("", "a", "", "d"), 0);
	assert_was_told("copy a/ \"m\" to d/ any; ", true);
	assert_string_equal(fixture_ls(&f, "d"), "f g ");
	assert_none("a");
}

/* ---- deciding, starting ---- */

static void given_up(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	uint64_t ino = ino_of("a/f");
	struct local_handle *h = open_write("a/f");

	assert_int_equal(wfile_truncate(local_wfile(h), 0), 0);
	assert_int_equal(local_resolve(l, ino, WFILE_KEEP_REMOTE, NULL, &err), 0);
	assert_true(ino_of("a/f") != ino);
	assert_int_equal(stat_of("a/f").st_size, 5);
	close_handle(h);
	assert_int_equal(local_resolve(l, ino_of("a/g"), WFILE_KEEP_REMOTE, NULL, &err), -ENOENT);
}

static void recovered(void **state UNUSED)
{
	struct wfile *w;

	assert_int_equal(local_recover(l), 0);
	w = writer_find(NULL, ino_of("a/r"));
	assert_non_null(w);
	ttl_passes();
	(void)ino_of("a/r");
	store(w);
	wfile_put(w);
	wfile_put(w); /* the writer's own */
	/* What became of the other the origin tells. */
	assert_none("a/s");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(opened_and_not_changed),
		T(changed_until_it_is_stored),
		T(stored_while_it_is_closed),
		T(stored_while_it_is_open),
		T(readers_share_its_pages),
		T(rests_with_its_pages),
		T(closed_by_the_last_writer),
		T(truncated_by_open),
		T(sync_outlives_its_handle),
		T(created),
		T(created_where_something_is),
		T(unlinked),
		T(unlink_that_fails),
		T(unlinked_while_open),
		T(unlinked_before_it_was_stored),
		T(made_again_while_the_old_one_is_open),
		T(directories),
		T(renamed_before_it_was_stored),
		T(renamed_and_renamed_again),
		T(renamed_over_one_that_is_not_stored),
		T(renamed_at_the_origin),
		T(renamed_while_it_is_written),
		T(renamed_while_it_is_read),
		T(rename_that_fails),
		T(rename_that_must_not_replace),
		T(renamed_directories),
		T(renamed_directory_with_files),
		T(renamed_directory_with_removed_files),
		T(renamed_directory_that_fails),
		T(renamed_directory_over_another),
		T(given_up),
		T(recovered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
