/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of layers: what each entry makes of the tree (layer_build_tree.c). What is written in the end is in layer_build_end.c.
 *
 * A layer is what remains when its whiteouts are applied to the lower layers first, and then its entries, one by one:
 * - A whiteout of what the layer itself has hides nothing of that; but where that is a directory, lower layers have no part
 *   in it: it becomes opaque. The same for a directory whose name another entry had before, which that replaced.
 * - Whiteouts alone make no directory real: one that is implied by nothing but whiteouts gives way to a whiteout of its own name.
 *   A whiteout below something that is no directory, or is gone, says nothing; nor does one in an opaque directory.
 * - An entry below something of this layer that is no directory makes a directory of it. That is not what tar does with a symbolic
 *   link, which it follows; but what a link of a lower layer leads to, no layer can know.
 * - A hard link is to what its target is when the link comes, later entries for the target's name do not change it; if there is
 *   nothing yet, to what is there in the end (tables of contents are not bound to an order), through other links if it must be.
 */
#include "image/layer_build.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <vmofs/provider.h>
#include <zstd.h>

#include "base/macros.h"
#include "image/layer_build_private.h"
#include "image/layer_format.h"

#define LAYER_ENTRIES_DEFAULT (UINT32_C(16) << 20)
#define LAYER_BYTES_DEFAULT   GIB(2)
#define LAYER_DATA_DEFAULT    GIB(1024)
#define LAYER_MODE_BITS       07777u

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_META   ".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

/* A path, cut before its last name. */
struct layer_place {
	struct layer_path dirs;
	const char *name; /* NULL: the root */
	size_t len;
};

static bool layer_begins(const char *p, size_t len, const char *prefix)
{
	return len >= strlen(prefix) && memcmp(p, prefix, strlen(prefix)) == 0;
}

static bool layer_is(const char *p, size_t len, const char *name)
{
	return len == strlen(name) && memcmp(p, name, len) == 0;
}

static int layer_refuse(const struct layer_entry *e, struct vmofs_err *err, int code,
			const char *why)
{
	char name[128];

	return vmofs_err_set(err, code, "%s: entry '%s' of a layer", why,
			     layer_build_show(e->name, e->name_len, name));
}

/* -- paths ------------------------------------------------------------------------------------- */

/* 0; 1: no entry that counts, a name above it is a whiteout's; -EBADMSG. */
static int layer_place_of(const char *p, size_t len, struct layer_place *at)
{
	struct layer_path path = { p, len ? p + len : p };
	const char *name;
	size_t n, depth = 0;
	bool hidden = false;
	int r;

	*at = (struct layer_place){ .dirs = { p, p } };
	if (len > LAYER_PATH_MAX || (len && memchr(p, 0, len)))
		return -EBADMSG;
	while ((r = layer_path_next(&path, &name, &n)) == 1) {
		if (++depth > LAYER_DEPTH_MAX)
			return -EBADMSG;
		hidden = hidden || (at->name && layer_begins(at->name, at->len, WHITEOUT_PREFIX));
		at->name = name;
		at->len = n;
		at->dirs.end = name;
	}
	return r < 0 ? r : hidden;
}

uint32_t layer_build_find(const struct layer_build *b, const char *path, size_t len)
{
	struct layer_path at = { path, path + len };
	uint32_t node = 0, text;
	const char *name;
	size_t n;

	while (layer_path_next(&at, &name, &n) == 1) {
		if (!layer_tree_is_dir(&b->tree, node) ||
		    !layer_heap_find(&b->heap, name, n, &text))
			return LAYER_NONE;
		node = layer_tree_find(&b->tree, node, text);
		if (node == LAYER_NONE)
			return LAYER_NONE;
	}
	return node;
}

/* A directory that no entry tells of. */
static int layer_implied(struct layer_build *b, unsigned flags, uint32_t *file)
{
	return layer_tree_file(
		&b->tree, &(struct layer_file){ .mode = S_IFDIR | 0755, .flags = (uint16_t)flags },
		file);
}

static int layer_child(struct layer_build *b, uint32_t dir, const char *name, size_t len,
		       uint32_t *text, uint32_t *node)
{
	int r = layer_heap_text(&b->heap, name, len, text);

	*node = r < 0 ? LAYER_NONE : layer_tree_find(&b->tree, dir, *text);
	return r;
}

/* The directory that an entry is in, made where it is not there; what is no directory gives way. */
static int layer_parent(struct layer_build *b, struct layer_path path, uint32_t *dir)
{
	struct layer_tree *t = &b->tree;
	const char *name;
	size_t len;

	*dir = 0;
	layer_tree_file_of(t, 0)->flags |= LAYER_REAL;
	while (layer_path_next(&path, &name, &len) == 1) {
		uint32_t text, node, file;
		int r = layer_child(b, *dir, name, len, &text, &node);

		if (r == 0 && node == LAYER_NONE) {
			r = layer_implied(b, LAYER_IMPLIED, &file);
			if (r == 0)
				r = layer_tree_add(t, *dir, text, file, &node);
		} else if (r == 0 && !layer_tree_is_dir(t, node)) {
			r = layer_implied(b, LAYER_OPAQUE, &file);
			if (r == 0)
				layer_tree_set(t, node, file);
		}
		if (r < 0)
			return r;
		layer_tree_file_of(t, node)->flags |= LAYER_REAL;
		*dir = node;
	}
	return 0;
}

/* The directory that a whiteout is in. LAYER_NONE: it is in none, and says nothing. */
static int layer_whiteout_parent(struct layer_build *b, struct layer_path path, uint32_t *dir)
{
	struct layer_tree *t = &b->tree;
	const char *name;
	size_t len;

	*dir = 0;
	while (layer_path_next(&path, &name, &len) == 1) {
		uint32_t text, node, file;
		int r = layer_child(b, *dir, name, len, &text, &node);

		if (r == 0 && node == LAYER_NONE) {
			r = layer_implied(b, LAYER_IMPLIED, &file);
			if (r == 0)
				r = layer_tree_add(t, *dir, text, file, &node);
		}
		if (r < 0)
			return r;
		*dir = layer_tree_is_dir(t, node) ? node : LAYER_NONE;
		if (*dir == LAYER_NONE)
			return 0;
	}
	return 0;
}

/* -- whiteouts --------------------------------------------------------------------------------- */

static int layer_whiteout(struct layer_build *b, const struct layer_place *at, const char *name,
			  size_t len)
{
	const struct layer_file gone = { .mode = S_IFCHR, .flags = LAYER_WHITEOUT };
	struct layer_tree *t = &b->tree;
	uint32_t dir, node, text, file;
	struct layer_file *f;
	int r = layer_whiteout_parent(b, at->dirs, &dir);

	if (r < 0 || dir == LAYER_NONE)
		return r;
	r = layer_child(b, dir, name, len, &text, &node);
	if (r < 0)
		return r;
	if (node != LAYER_NONE) {
		f = layer_tree_file_of(t, node);
		if (!f || !S_ISDIR(f->mode))
			return 0;
		if (f->flags & LAYER_REAL) {
			f->flags = (uint16_t)((f->flags | LAYER_OPAQUE) & ~LAYER_IMPLIED);
			return 0;
		}
	}
	r = layer_tree_file(t, &gone, &file);
	if (r < 0)
		return r;
	if (node == LAYER_NONE)
		return layer_tree_add(t, dir, text, file, &node);
	layer_tree_set(t, node, file);
	return 0;
}

static int layer_opaque(struct layer_build *b, const struct layer_place *at)
{
	uint32_t dir;
	int r = layer_whiteout_parent(b, at->dirs, &dir);

	if (r == 0 && dir != LAYER_NONE)
		layer_tree_file_of(&b->tree, dir)->flags |= LAYER_OPAQUE;
	return r;
}

/* An entry whose name begins as a whiteout's does. */
static int layer_whiteout_entry(struct layer_build *b, const struct layer_place *at)
{
	const char *name = at->name + strlen(WHITEOUT_PREFIX);
	size_t len = at->len - strlen(WHITEOUT_PREFIX);

	if (layer_is(at->name, at->len, WHITEOUT_OPAQUE))
		return layer_opaque(b, at);
	if (!len || layer_begins(at->name, at->len, WHITEOUT_META))
		return 0;
	if (layer_is(name, len, ".") || layer_is(name, len, ".."))
		return -EBADMSG;
	return layer_whiteout(b, at, name, len);
}

/* -- what entries are -------------------------------------------------------------------------- */

static bool layer_xattr_counts(const struct layer_xattr *x)
{
	return !layer_begins(x->name, x->name_len, "trusted.") &&
		!layer_begins(x->name, x->name_len, "user.overlay.");
}

static int layer_file_xattrs(struct layer_build *b, const struct layer_entry *e,
			     struct layer_file *f)
{
	cleanup(mem_freep) struct layer_xattr *x = NULL;
	unsigned n = 0;
	int r;

	if (!e->n_xattrs)
		return 0;
	x = malloc(e->n_xattrs * sizeof *x);
	if (!x)
		return -ENOMEM;
	for (unsigned i = 0; i < e->n_xattrs; i++)
		if (layer_xattr_counts(&e->xattrs[i]))
			x[n++] = e->xattrs[i];
	if (!n)
		return 0;
	r = layer_heap_xattrs(&b->heap, x, n, &f->xattrs);
	if (r == 0)
		f->flags |= LAYER_XATTRS;
	return r;
}

static int layer_file_data(struct layer_build *b, const struct layer_entry *e, struct layer_file *f)
{
	f->size = e->size;
	f->data = e->size ? e->data : 0;
	if (e->size > b->limits.data || f->data > b->limits.data - e->size)
		return -E2BIG;
	if (b->layout == LAYER_LAYOUT_PAGES &&
	    (f->data % VMOFS_PAGE_SIZE || f->data + f->size > b->placed))
		return -EBADMSG;
	return 0;
}

static int layer_file_target(struct layer_build *b, const struct layer_entry *e,
			     struct layer_file *f)
{
	uint32_t at;
	int r;

	if (!e->target_len || e->target_len > LAYER_PATH_MAX || memchr(e->target, 0, e->target_len))
		return -EBADMSG;
	r = layer_heap_text(&b->heap, e->target, e->target_len, &at);
	f->data = r < 0 ? 0 : at;
	f->size = e->target_len;
	return r;
}

/* All that an entry says, but for its name. */
static int layer_file_of(struct layer_build *b, const struct layer_entry *e, struct layer_file *f)
{
	int r = 0;

	*f = (struct layer_file){ .mode = (uint16_t)(e->mode & (S_IFMT | LAYER_MODE_BITS)),
				  .uid = e->uid,
				  .gid = e->gid,
				  .mtime = e->mtime,
				  .mtime_nsec = e->mtime_nsec };
	if (e->mtime_nsec >= NSEC_PER_SEC)
		return -EBADMSG;
	switch (e->mode & S_IFMT) {
	case S_IFREG:
		r = layer_file_data(b, e, f);
		break;
	case S_IFLNK:
		r = layer_file_target(b, e, f);
		break;
	case S_IFCHR:
	case S_IFBLK:
		if (e->major > LAYER_MAJOR_MAX || e->minor > LAYER_MINOR_MAX)
			return -EBADMSG;
		f->data = makedev(e->major, e->minor);
		break;
	case S_IFDIR:
		f->flags = LAYER_REAL;
		break;
	case S_IFIFO:
		break;
	default:
		return -EBADMSG;
	}
	return r < 0 ? r : layer_file_xattrs(b, e, f);
}

/* -- entries ----------------------------------------------------------------------------------- */

static int layer_put_root(struct layer_build *b, const struct layer_entry *e)
{
	struct layer_file f, *root = layer_tree_file_of(&b->tree, 0);
	int r = S_ISDIR(e->mode) ? layer_file_of(b, e, &f) : -EBADMSG;

	if (r < 0)
		return r;
	f.flags |= root->flags & LAYER_OPAQUE;
	f.link = root->link;
	*root = f;
	return 0;
}

/* A new name, or another file for one. */
static int layer_put(struct layer_build *b, const struct layer_place *at, struct layer_file *f)
{
	struct layer_tree *t = &b->tree;
	uint32_t dir, text, node, file;
	int r = layer_parent(b, at->dirs, &dir);

	if (r == 0)
		r = layer_child(b, dir, at->name, at->len, &text, &node);
	if (r < 0)
		return r;
	if (node != LAYER_NONE && S_ISDIR(f->mode)) {
		struct layer_file *old = layer_tree_file_of(t, node);

		if (old && S_ISDIR(old->mode)) {
			f->flags |= old->flags & LAYER_OPAQUE;
			f->link = old->link;
			*old = *f;
			return 0;
		}
		f->flags |= LAYER_OPAQUE;
	}
	r = layer_tree_file(t, f, &file);
	if (r < 0)
		return r;
	if (node == LAYER_NONE)
		return layer_tree_add(t, dir, text, file, &node);
	layer_tree_set(t, node, file);
	return 0;
}

/* The file of a hard link whose target nobody has seen. */
static int layer_put_pending(struct layer_build *b, const struct layer_entry *e, uint32_t *file)
{
	int r;

	if (e->target_len > b->limits.bytes - MIN(b->targets_len, b->limits.bytes))
		return -E2BIG;
	r = layer_grow(&b->targets, &b->targets_cap, b->targets_len, e->target_len, 1);
	if (r == 0)
		r = layer_grow(&b->pending, &b->pending_cap, b->n_pending, 1, sizeof *b->pending);
	if (r < 0)
		return r;
	memcpy(b->targets + b->targets_len, e->target, e->target_len);
	b->pending[b->n_pending] =
		(struct layer_pending){ LAYER_NONE, (uint32_t)e->target_len, b->targets_len };
	b->targets_len += e->target_len;
	*file = LAYER_PENDING | (uint32_t)b->n_pending++;
	return 0;
}

static int layer_put_link(struct layer_build *b, const struct layer_place *at,
			  const struct layer_entry *e)
{
	struct layer_tree *t = &b->tree;
	uint32_t dir, text, node, file, target;
	const struct layer_file *f;
	struct layer_place to;
	int r = layer_place_of(e->target, e->target_len, &to);

	if (r || !to.name || layer_begins(to.name, to.len, WHITEOUT_PREFIX))
		return -EBADMSG;
	target = layer_build_find(b, e->target, e->target_len);
	f = target == LAYER_NONE ? NULL : layer_tree_file_of(t, target);
	if (f && S_ISDIR(f->mode))
		return -EBADMSG;
	if (f && !(f->flags & LAYER_WHITEOUT)) {
		file = t->nodes[target].file;
	} else {
		r = layer_put_pending(b, e, &file);
		if (r < 0)
			return r;
	}
	r = layer_parent(b, at->dirs, &dir);
	if (r == 0)
		r = layer_child(b, dir, at->name, at->len, &text, &node);
	if (r == 0 && node == LAYER_NONE)
		r = layer_tree_add(t, dir, text, file, &node);
	else if (r == 0)
		layer_tree_set(t, node, file);
	if (r == 0 && file & LAYER_PENDING)
		b->pending[file & ~LAYER_PENDING].node = node;
	return r;
}

/* What eStargz has in the root besides the layer's files. */
static bool layer_hidden(const struct layer_place *at, const struct layer_entry *e)
{
	static const char *const names[] = { ".prefetch.landmark", ".no.prefetch.landmark",
					     "stargz.index.json" };
	struct layer_path above = at->dirs;
	const char *name;
	size_t len;

	if (!S_ISREG(e->mode) || layer_path_next(&above, &name, &len) == 1)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (layer_is(at->name, at->len, names[i]))
			return true;
	return false;
}

static int layer_apply(struct layer_build *b, const struct layer_entry *e)
{
	struct layer_place at;
	struct layer_file f;
	int r = layer_place_of(e->name, e->name_len, &at);

	if (r)
		return MIN(r, 0);
	if (!at.name)
		return layer_put_root(b, e);
	if (layer_begins(at.name, at.len, WHITEOUT_PREFIX))
		return layer_whiteout_entry(b, &at);
	if (S_ISSOCK(e->mode) || layer_hidden(&at, e))
		return 0;
	if (!(e->mode & S_IFMT))
		return layer_put_link(b, &at, e);
	if (S_ISCHR(e->mode) && !e->major && !e->minor)
		return layer_whiteout(b, &at, at.name, at.len);
	r = layer_file_of(b, e, &f);
	return r < 0 ? r : layer_put(b, &at, &f);
}

int layer_build_entry(struct layer_build *b, const struct layer_entry *e, struct vmofs_err *err)
{
	int r = b->entries < b->limits.entries ? layer_apply(b, e) : -E2BIG;

	b->entries++;
	if (r == -EBADMSG)
		return layer_refuse(e, err, r, "it cannot be in a layer");
	if (r == -E2BIG)
		return layer_refuse(e, err, r, "the layer is larger than any may be");
	return r < 0 ? layer_refuse(e, err, r, "no memory") : 0;
}

/* -- data -------------------------------------------------------------------------------------- */

int layer_build_place(struct layer_build *b, uint64_t size, uint64_t *data)
{
	if (size > b->limits.data || b->placed > b->limits.data - size)
		return -E2BIG;
	*data = b->placed;
	b->placed = (b->placed + size + VMOFS_PAGE_SIZE - 1) & ~(VMOFS_PAGE_SIZE - 1);
	return 0;
}

/* Packs it behind the other windows. */
static int layer_put_window(struct layer_build *b, struct layer_span *s, const void *window,
			    size_t len)
{
	size_t n, room = ZSTD_compressBound(len);
	int r = layer_grow(&b->windows, &b->windows_cap, b->windows_len, room, 1);

	if (r == 0 && !b->zstd)
		b->zstd = ZSTD_createCCtx();
	if (r < 0 || !b->zstd)
		return -ENOMEM;
	n = ZSTD_compressCCtx(b->zstd, b->windows + b->windows_len, room, window, len,
			      ZSTD_CLEVEL_DEFAULT);
	if (ZSTD_isError(n))
		return -ENOMEM;
	s->window = b->windows_len;
	s->window_len = (uint32_t)n;
	b->windows_len += n;
	return 0;
}

int layer_build_span(struct layer_build *b, const struct layer_span *span,
		     const uint8_t digest[LAYER_DIGEST_LEN], const void *window, size_t window_len)
{
	struct layer_span s = { .data = span->data,
				.data_len = span->data_len,
				.blob = span->blob,
				.blob_len = span->blob_len,
				.skip = span->skip,
				.kind = span->kind,
				.bits = span->bits };
	int r;

	if (window_len > LAYER_WINDOW_MAX || (window_len && s.kind != LAYER_SPAN_DEFLATE))
		return -EBADMSG;
	if (b->n_spans >= b->limits.entries)
		return -E2BIG;
	r = layer_grow(&b->spans, &b->spans_cap, b->n_spans, 1, sizeof *b->spans);
	if (r == 0 && digest)
		r = layer_grow(&b->digests, &b->digests_cap, b->n_digests, 1, sizeof *b->digests);
	if (r == 0 && window_len)
		r = layer_put_window(b, &s, window, window_len);
	if (r < 0)
		return r;
	if (digest) {
		memcpy(b->digests[b->n_digests], digest, LAYER_DIGEST_LEN);
		s.digest = (uint32_t)++b->n_digests;
		s.digest_of = span->digest_of;
	}
	b->spans[b->n_spans++] = s;
	return 0;
}

/* ---------------------------------------------------------------------------------------------- */

int layer_build_new(struct layer_build **out, enum layer_layout layout,
		    const struct layer_limits *limits)
{
	struct layer_build *b;
	uint32_t file, root;
	int r;

	if (layout != LAYER_LAYOUT_TAR && layout != LAYER_LAYOUT_PAGES)
		return -EINVAL;
	b = calloc(1, sizeof *b);
	if (!b)
		return -ENOMEM;
	b->layout = layout;
	if (limits)
		b->limits = *limits;
	/* Numbers of names and of links share 31 bits. */
	b->limits.entries = MIN(b->limits.entries ? b->limits.entries : LAYER_ENTRIES_DEFAULT,
				UINT32_C(1) << 30);
	b->limits.bytes = b->limits.bytes ? b->limits.bytes : LAYER_BYTES_DEFAULT;
	b->limits.data = MIN(b->limits.data ? b->limits.data : LAYER_DATA_DEFAULT,
			     LAYER_OFF_MAX - VMOFS_PAGE_SIZE);
	r = layer_heap_init(&b->heap, b->limits.bytes);
	if (r == 0)
		r = layer_tree_init(&b->tree, b->limits.entries);
	if (r == 0)
		r = layer_implied(b, LAYER_IMPLIED, &file);
	if (r == 0)
		r = layer_tree_add(&b->tree, 0, 0, file, &root);
	if (r < 0)
		layer_build_free(b);
	else
		*out = b;
	return r;
}

void layer_build_free(struct layer_build *b)
{
	if (!b)
		return;
	layer_heap_release(&b->heap);
	layer_tree_release(&b->tree);
	ZSTD_freeCCtx(b->zstd);
	free(b->pending);
	free(b->targets);
	free(b->spans);
	free(b->digests);
	free(b->windows);
	free(b);
}
