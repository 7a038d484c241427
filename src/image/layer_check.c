/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether bytes are the index of a layer: every number in it is looked at once, in an order in which each check may rely on those
 * before. The one form a tree can have (layer_format.h) makes that a single pass; nothing is followed, so nothing recurses.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <vmofs/provider.h>
#include <zstd.h>

#include "base/bits.h"
#include "base/macros.h"
#include "image/layer_format.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are read as they are");
_Static_assert(sizeof(struct layer_header) == LAYER_HEADER_LEN, "the header's length");
_Static_assert(offsetof(struct layer_header, crc) == LAYER_HEADER_LEN - 4, "nothing behind it");
_Static_assert(sizeof(struct layer_inode) == 64, "an inode's length");
_Static_assert(sizeof(struct layer_dirent) == 16, "a dirent's length");
_Static_assert(sizeof(struct layer_span) == 64, "a span's length");

struct layer_check {
	struct layer_index *x;
	struct vmofs_err *err;
	uint64_t *sets; /* where in xattrs a set begins, a bit for 4 bytes */
	/* The tree, as far as it was seen. */
	uint32_t next;    /* the number that the next new inode has */
	uint32_t first;   /* where the next directory's dirents begin */
	uint64_t links;   /* dirents that named an inode again */
	uint64_t unnamed; /* such dirents that nlink still asks for */
};

static int layer_bad(struct layer_check *c, const char *what, uint64_t n, const char *why)
{
	return vmofs_err_set(c->err, -EBADMSG, "damaged index of a layer: %s %llu: %s", what,
			     (unsigned long long)n, why);
}

/* [off, off + len) is a part of [0, end). */
static bool layer_within(uint64_t off, uint64_t len, uint64_t end)
{
	return off <= end && len <= end - off;
}

/* @len bytes of names, 1 to @max, without a zero, and one behind them. */
static bool layer_text_ok(const struct layer_index *x, uint64_t off, uint64_t len, uint64_t max)
{
	return len >= 1 && len <= max && off < x->names_len && len < x->names_len - off &&
		!memchr(x->names + off, 0, (size_t)len) && !x->names[off + len];
}

/* -- the header -------------------------------------------------------------------------------- */

static const uint32_t layer_record_len[LAYER_NSECTIONS] = {
	[LAYER_SECTION_INODES] = sizeof(struct layer_inode),
	[LAYER_SECTION_DIRENTS] = sizeof(struct layer_dirent),
	[LAYER_SECTION_NAMES] = 1,
	[LAYER_SECTION_XATTRS] = 4,
	[LAYER_SECTION_SPANS] = sizeof(struct layer_span),
	[LAYER_SECTION_DIGESTS] = LAYER_DIGEST_LEN,
	[LAYER_SECTION_WINDOWS] = 1,
};

/* Numbers and offsets of these are 32 bits wide. */
static bool layer_section_fits(enum layer_section s, uint64_t len)
{
	return len % layer_record_len[s] == 0 &&
		(s == LAYER_SECTION_WINDOWS || len / layer_record_len[s] < UINT32_MAX) &&
		(s != LAYER_SECTION_XATTRS || len < UINT32_MAX);
}

/* Where each section begins. */
static int layer_check_sections(struct layer_check *c, const struct layer_header *h,
				const uint8_t *begin[LAYER_NSECTIONS])
{
	uint64_t at = LAYER_HEADER_LEN;

	for (unsigned s = 0; s < LAYER_NSECTIONS; s++) {
		uint64_t len = h->section[s], end;

		if (!layer_section_fits(s, len) || !layer_within(at, len, c->x->len))
			return layer_bad(c, "section", s, "its length");
		begin[s] = c->x->p + at;
		end = at + len;
		at = layer_align(end);
		if (at > c->x->len)
			return layer_bad(c, "section", s, "its length");
		for (; end < at; end++)
			if (c->x->p[end])
				return layer_bad(c, "section", s, "what follows");
	}
	return at == c->x->len ? 0 : layer_bad(c, "length", c->x->len, "there is more");
}

static int layer_check_id(struct layer_check *c, const struct layer_header *h)
{
	bool merged = h->layout == LAYER_LAYOUT_MERGED;

	if (h->layout < LAYER_LAYOUT_TAR || h->layout >= LAYER_NLAYOUTS)
		return layer_bad(c, "layout", h->layout, "there is no such");
	if (h->blob_size > LAYER_OFF_MAX || h->data_size > LAYER_OFF_MAX)
		return layer_bad(c, "size", MAX(h->blob_size, h->data_size), "too large");
	if (h->layout == LAYER_LAYOUT_PAGES && h->data_size % VMOFS_PAGE_SIZE)
		return layer_bad(c, "size", h->data_size, "not whole pages");
	if (merged ? h->data_size || h->blob_size || !h->n_layers : h->n_layers != 1)
		return layer_bad(c, "number of layers", h->n_layers, "does not go with the layout");
	for (size_t i = 0; i < ARRAY_LEN(h->zero); i++)
		if (h->zero[i])
			return layer_bad(c, "header", i, "what has to be zero");
	if (merged &&
	    (h->section[LAYER_SECTION_SPANS] || h->section[LAYER_SECTION_DIGESTS] ||
	     h->section[LAYER_SECTION_WINDOWS]))
		return layer_bad(c, "layout", h->layout, "it has no spans");
	return h->section[LAYER_SECTION_INODES] ? 0 : layer_bad(c, "inode", LAYER_ROOT, "missing");
}

static int layer_check_header(struct layer_check *c, const struct layer_header *h)
{
	const uint8_t *begin[LAYER_NSECTIONS];
	struct layer_index *x = c->x;
	int r;

	if (memcmp(h->magic, LAYER_MAGIC, sizeof h->magic) != 0)
		return vmofs_err_set(c->err, -EBADMSG, "not an index of a layer");
	if (h->version != LAYER_VERSION)
		return vmofs_err_set(c->err, -EBADMSG, "an index of a layer of version %u, not %u",
				     h->version, LAYER_VERSION);
	if (h->len != x->len)
		return layer_bad(c, "length", x->len, "not what the header says");
	if (h->crc != layer_crc(x->p, x->len))
		return layer_bad(c, "checksum", h->crc, "it is another");
	r = layer_check_id(c, h);
	if (r == 0)
		r = layer_check_sections(c, h, begin);
	if (r < 0)
		return r;
	x->layout = h->layout;
	memcpy(x->id.diff, h->diff, sizeof x->id.diff);
	memcpy(x->id.blob, h->blob, sizeof x->id.blob);
	x->id.blob_size = h->blob_size;
	x->id.data_size = h->data_size;
	x->n_layers = h->n_layers;
	x->inodes = (const void *)begin[LAYER_SECTION_INODES];
	x->dirents = (const void *)begin[LAYER_SECTION_DIRENTS];
	x->names = (const char *)begin[LAYER_SECTION_NAMES];
	x->xattrs = begin[LAYER_SECTION_XATTRS];
	x->spans = (const void *)begin[LAYER_SECTION_SPANS];
	x->digests = (const uint8_t(*)[LAYER_DIGEST_LEN])begin[LAYER_SECTION_DIGESTS];
	x->windows = begin[LAYER_SECTION_WINDOWS];
	x->n_inodes = (uint32_t)(h->section[LAYER_SECTION_INODES] / sizeof *x->inodes);
	x->n_dirents = (uint32_t)(h->section[LAYER_SECTION_DIRENTS] / sizeof *x->dirents);
	x->n_spans = (uint32_t)(h->section[LAYER_SECTION_SPANS] / sizeof *x->spans);
	x->n_digests = (uint32_t)(h->section[LAYER_SECTION_DIGESTS] / LAYER_DIGEST_LEN);
	x->names_len = (size_t)h->section[LAYER_SECTION_NAMES];
	x->xattrs_len = (size_t)h->section[LAYER_SECTION_XATTRS];
	x->windows_len = (size_t)h->section[LAYER_SECTION_WINDOWS];
	return 0;
}

/* -- extended attributes ----------------------------------------------------------------------- */

/* The set of @n at @a. */
static bool layer_xattrs_ok(const struct layer_index *x, const uint32_t *a, uint32_t n)
{
	uint64_t list = 0;

	for (uint32_t k = 0; k < n; k++, a += 4) {
		if (!layer_text_ok(x, a[0], a[3], LAYER_XATTR_NAME_MAX) ||
		    a[2] > LAYER_XATTR_VALUE_MAX || !layer_within(a[1], a[2], x->names_len))
			return false;
		if (k && layer_name_cmp(x->names + a[-4], a[-1], x->names + a[0], a[3]) >= 0)
			return false;
		list += (uint64_t)a[3] + 1;
	}
	return list <= LAYER_XATTR_LIST_MAX;
}

static int layer_check_xattrs(struct layer_check *c)
{
	const struct layer_index *x = c->x;
	const uint32_t *a = (const void *)x->xattrs;
	size_t len = x->xattrs_len / 4;

	if (!len)
		return 0;
	c->sets = calloc(BITS_WORDS(len), sizeof *c->sets);
	if (!c->sets)
		return vmofs_err_set(c->err, -ENOMEM, "cannot check a layer's index");
	for (size_t at = 0; at < len; at += 1 + 4 * (size_t)a[at]) {
		if (!a[at] || a[at] > (len - at - 1) / 4)
			return layer_bad(c, "attributes at", 4 * at, "their number");
		if (!layer_xattrs_ok(x, a + at + 1, a[at]))
			return layer_bad(c, "attributes at", 4 * at, "their names or values");
		bits_set(c->sets, at);
	}
	return 0;
}

/* -- inodes ------------------------------------------------------------------------------------ */

static const char *layer_file_wrong(const struct layer_check *c, const struct layer_inode *i)
{
	const struct layer_index *x = c->x;
	uint64_t end = x->layout == LAYER_LAYOUT_MERGED ? LAYER_OFF_MAX : x->id.data_size;

	if (!layer_within(i->data, i->size, end))
		return "its data";
	if (x->layout == LAYER_LAYOUT_PAGES && i->data % VMOFS_PAGE_SIZE)
		return "it is not on pages of its own";
	return NULL;
}

static const char *layer_device_wrong(const struct layer_inode *i)
{
	return major(i->data) > LAYER_MAJOR_MAX || minor(i->data) > LAYER_MINOR_MAX ||
			makedev(major(i->data), minor(i->data)) != i->data || i->size
		? "its number"
		: NULL;
}

/* What is of one type only. */
static const char *layer_type_wrong(const struct layer_check *c, const struct layer_inode *i)
{
	switch (i->mode & S_IFMT) {
	case S_IFREG:
		return layer_file_wrong(c, i);
	case S_IFLNK:
		return layer_text_ok(c->x, i->data, i->size, LAYER_PATH_MAX) ? NULL : "its target";
	case S_IFCHR:
	case S_IFBLK:
		return layer_device_wrong(i);
	case S_IFDIR:
	case S_IFIFO:
		return i->data || i->size ? "it has data" : NULL;
	default:
		return "its type";
	}
}

static const char *layer_flags_wrong(const struct layer_check *c, const struct layer_inode *i)
{
	const struct layer_index *x = c->x;
	unsigned flags = i->flags, may = LAYER_XATTRS;

	if (x->layout != LAYER_LAYOUT_MERGED)
		may |= S_ISDIR(i->mode) ? LAYER_OPAQUE | LAYER_IMPLIED : LAYER_WHITEOUT;
	if (flags & ~may)
		return "its flags";
	if (!!(flags & LAYER_WHITEOUT) !=
	    (S_ISCHR(i->mode) && i->data == 0 && x->layout != LAYER_LAYOUT_MERGED))
		return "whether it is a whiteout";
	if (!(flags & LAYER_XATTRS))
		return i->xattrs ? "its attributes" : NULL;
	return i->xattrs % 4 || i->xattrs >= x->xattrs_len || !bits_has(c->sets, i->xattrs / 4)
		? "its attributes"
		: NULL;
}

static const char *layer_inode_wrong(struct layer_check *c, const struct layer_inode *i)
{
	const char *why = layer_type_wrong(c, i);

	if (!why)
		why = layer_flags_wrong(c, i);
	if (why)
		return why;
	if (i->mtime_nsec >= NSEC_PER_SEC)
		return "its time";
	if (!i->nlink)
		return "its links";
	if (i->layer >= c->x->n_layers)
		return "its layer";
	if (!S_ISDIR(i->mode) && (i->first || i->n || i->parent))
		return "it is no directory";
	return NULL;
}

static int layer_check_inodes(struct layer_check *c)
{
	const struct layer_index *x = c->x;

	for (uint32_t k = 0; k < x->n_inodes; k++) {
		const char *why = layer_inode_wrong(c, &x->inodes[k]);

		if (why)
			return layer_bad(c, "inode", k + 1, why);
		if (!S_ISDIR(x->inodes[k].mode))
			c->unnamed += x->inodes[k].nlink - 1;
	}
	if (!S_ISDIR(x->inodes[0].mode) || x->inodes[0].parent != LAYER_ROOT)
		return layer_bad(c, "inode", LAYER_ROOT, "not the root");
	return 0;
}

/* -- the tree ---------------------------------------------------------------------------------- */

static bool layer_name_ok(const struct layer_index *x, const struct layer_dirent *d)
{
	return layer_text_ok(x, d->name, d->len, LAYER_NAME_MAX) &&
		!memchr(layer_name(x, d), '/', d->len) && strcmp(layer_name(x, d), ".") != 0 &&
		strcmp(layer_name(x, d), "..") != 0;
}

/* The dirent @d of @dir, and what it names. */
static const char *layer_dirent_wrong(struct layer_check *c, uint32_t dir,
				      const struct layer_dirent *d)
{
	const struct layer_index *x = c->x;
	const struct layer_inode *i;

	if (!layer_name_ok(x, d))
		return "its name";
	if (d != &x->dirents[x->inodes[dir - 1].first] &&
	    layer_name_cmp(layer_name(x, d - 1), d[-1].len, layer_name(x, d), d->len) >= 0)
		return "its place";
	if (!d->ino || d->ino > c->next || d->ino > x->n_inodes)
		return "its inode";
	i = &x->inodes[d->ino - 1];
	if (d->type != i->mode >> 12 || d->pad)
		return "its type";
	if (d->ino == c->next)
		c->next++;
	else if (S_ISDIR(i->mode))
		return "a directory has two names";
	else
		c->links++;
	return S_ISDIR(i->mode) && i->parent != dir ? "another directory is the parent" : NULL;
}

static int layer_check_dir(struct layer_check *c, uint32_t ino, unsigned depth)
{
	const struct layer_index *x = c->x;
	const struct layer_inode *i = &x->inodes[ino - 1];
	uint64_t nlink = 2;

	if (ino >= c->next)
		return layer_bad(c, "inode", ino, "in no directory above it");
	if (i->first != c->first || i->n > x->n_dirents - c->first)
		return layer_bad(c, "inode", ino, "where its names are");
	if (i->n && depth >= LAYER_DEPTH_MAX)
		return layer_bad(c, "inode", ino, "too deep");
	c->first += i->n;
	for (const struct layer_dirent *d = &x->dirents[i->first]; d < &x->dirents[c->first]; d++) {
		const char *why = layer_dirent_wrong(c, ino, d);

		if (why)
			return layer_bad(c, "name", (uint64_t)(d - x->dirents), why);
		nlink += S_ISDIR(x->inodes[d->ino - 1].mode);
	}
	return i->nlink == nlink ? 0 : layer_bad(c, "inode", ino, "its links");
}

static int layer_check_tree(struct layer_check *c)
{
	const struct layer_index *x = c->x;
	/* The last inode of the level; those of the next one all follow it. */
	uint32_t level_end = LAYER_ROOT;
	unsigned depth = 0;

	c->next = LAYER_ROOT + 1;
	for (uint32_t ino = LAYER_ROOT; ino <= x->n_inodes; ino++) {
		int r;

		if (!S_ISDIR(x->inodes[ino - 1].mode))
			continue;
		if (ino > level_end) {
			level_end = c->next - 1;
			depth++;
		}
		r = layer_check_dir(c, ino, depth);
		if (r < 0)
			return r;
	}
	if (c->next != x->n_inodes + 1)
		return layer_bad(c, "inode", c->next, "in no directory");
	if (c->first != x->n_dirents)
		return layer_bad(c, "name", c->first, "of no directory");
	return c->links == c->unnamed ? 0 : layer_bad(c, "links", c->links, "others are counted");
}

/* -- spans ------------------------------------------------------------------------------------- */

static bool layer_window_ok(const struct layer_index *x, const struct layer_span *s)
{
	unsigned long long n;

	if (s->kind != LAYER_SPAN_DEFLATE)
		return !s->window_len && !s->window && !s->bits;
	if (s->bits > 7)
		return false;
	if (!s->window_len)
		return !s->window;
	if (s->window_len > LAYER_WINDOW_PACKED ||
	    !layer_within(s->window, s->window_len, x->windows_len))
		return false;
	n = ZSTD_getFrameContentSize(x->windows + s->window, s->window_len);
	return n >= 1 && n <= LAYER_WINDOW_MAX;
}

/* Where in the blob it comes from. */
static bool layer_source_ok(const struct layer_index *x, const struct layer_span *s)
{
	if (s->kind == LAYER_SPAN_ZERO)
		return !s->blob && !s->blob_len && !s->skip;
	if (!s->blob_len || !layer_within(s->blob, s->blob_len, x->id.blob_size) ||
	    !layer_within(s->skip, s->data_len, LAYER_OFF_MAX))
		return false;
	return s->kind != LAYER_SPAN_RAW || layer_within(s->skip, s->data_len, s->blob_len);
}

static const char *layer_span_wrong(const struct layer_index *x, const struct layer_span *s,
				    uint64_t end)
{
	static const uint8_t zero[sizeof s->pad];

	if (s->kind < LAYER_SPAN_RAW || s->kind >= LAYER_SPAN_NKINDS)
		return "its kind";
	if (memcmp(s->pad, zero, sizeof zero) != 0)
		return "what has to be zero";
	if (s->data < end || !s->data_len || !layer_within(s->data, s->data_len, x->id.data_size))
		return "its data";
	if (!layer_source_ok(x, s))
		return "its part of the blob";
	if (!layer_window_ok(x, s))
		return "its window";
	if (s->digest_of >= LAYER_NDIGESTS || (s->digest_of && !s->digest))
		return "what its digest is of";
	return s->digest > x->n_digests ? "its digest" : NULL;
}

static int layer_check_spans(struct layer_check *c)
{
	uint64_t end = 0;

	for (uint32_t k = 0; k < c->x->n_spans; k++) {
		const struct layer_span *s = &c->x->spans[k];
		const char *why = layer_span_wrong(c->x, s, end);

		if (why)
			return layer_bad(c, "span", k, why);
		end = s->data + s->data_len;
	}
	return 0;
}

int layer_index_check(struct layer_index *x, const void *p, size_t len, struct vmofs_err *err)
{
	struct layer_check c = { .x = x, .err = err };
	int r;

	*x = (struct layer_index){ .p = p, .len = len };
	if (len < LAYER_HEADER_LEN || (uintptr_t)p % 8)
		return vmofs_err_set(err, -EBADMSG, "not an index of a layer: %zu bytes", len);
	r = layer_check_header(&c, p);
	if (r == 0)
		r = layer_check_xattrs(&c);
	if (r == 0)
		r = layer_check_inodes(&c);
	if (r == 0)
		r = layer_check_tree(&c);
	if (r == 0)
		r = layer_check_spans(&c);
	free(c.sets);
	return r;
}
