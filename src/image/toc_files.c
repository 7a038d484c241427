/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of a table of contents become files and spans. A table tells where a chunk begins; where it ends it tells only in
 * zstd:chunked (`endOffset` of the file). Else it ends where the next member begins, that is at the next entry that has an
 * offset and lies at the beginning of its member: so the chunks of one member wait for that entry. One thread.
 */
#include "image/toc_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/macros.h"

#define PERMISSIONS 07777

static int refuse(struct vmofs_err *err, const struct toc_entry *e, const char *what)
{
	return vmofs_err_set(err, -EBADMSG, "entry '%.*s' of the table of contents %s",
			     (int)MIN(e->name.len, 200), e->name.p ? e->name.p : "", what);
}

/* What the builder said; it has no error object everywhere. */
static int built(int r, struct vmofs_err *err)
{
	if (r < 0 && !err->code)
		vmofs_err_set(err, r, "the layer cannot be indexed: %s", strerror(-r));
	return r;
}

static bool is(struct toc_string s, const char *word)
{
	return s.len == strlen(word) && !memcmp(s.p, word, s.len);
}

/* -- chunks ----------------------------------------------------------------------------------- */

static int add_span(struct toc_files *f, const struct toc_chunk *c, struct vmofs_err *err)
{
	return built(
		layer_build_span(f->build, &c->span, c->has_digest ? c->digest : NULL, NULL, 0),
		err);
}

/* The member of the chunks that wait ends at @end. */
static int end_member(struct toc_files *f, uint64_t end, struct vmofs_err *err)
{
	for (size_t i = 0; i < f->n; i++) {
		struct toc_chunk *c = &f->chunks[i];
		int r;

		if (end <= c->span.blob || end > f->data_end)
			return vmofs_err_set(err, -EBADMSG,
					     "the table of contents has a chunk from %" PRIu64
					     " to %" PRIu64 ", the layer's data ends at %" PRIu64,
					     c->span.blob, end, f->data_end);
		c->span.blob_len = end - c->span.blob;
		r = add_span(f, c, err);
		if (r < 0)
			return r;
	}
	f->n = 0;
	return 0;
}

static int keep_chunk(struct toc_files *f, const struct toc_chunk *c, struct vmofs_err *err)
{
	if (f->n == f->cap) {
		size_t cap = MAX(16, 2 * f->cap);
		struct toc_chunk *chunks = realloc(f->chunks, cap * sizeof *chunks);

		if (!chunks)
			return vmofs_err_set(err, -ENOMEM, "no memory for a table of contents");
		f->chunks = chunks;
		f->cap = cap;
	}
	f->chunks[f->n++] = *c;
	return 0;
}

/* Within a member payloads follow each other, and the first is at its beginning. */
static bool follows(const struct toc_files *f, const struct toc_entry *e)
{
	const struct layer_span *last;

	if (!f->n)
		return false;
	last = &f->chunks[f->n - 1].span;
	return last->blob == (uint64_t)e->offset &&
		(uint64_t)e->inner_offset - last->skip >= last->data_len &&
		(uint64_t)e->inner_offset >= last->skip;
}

/* The digest of the stretch that @e begins. Of a file in one piece it is the file's. */
static int take_digest(struct toc_files *f, const struct toc_entry *e, bool whole,
		       struct toc_chunk *c, struct vmofs_err *err)
{
	struct toc_string s = e->chunk_digest.len || !whole ? e->chunk_digest : e->digest;

	c->has_digest = toc_parse_digest(s.p, s.len, c->digest);
	if (!c->has_digest && s.len >= 7 && !memcmp(s.p, "sha256:", 7))
		return refuse(err, e, "has a malformed digest");
	if (!c->has_digest)
		f->facts->chunks_have_digests = false;
	return 0;
}

/* The next @len bytes of the file are where @e says. */
static int add_chunk(struct toc_files *f, const struct toc_entry *e, uint64_t len,
		     struct vmofs_err *err)
{
	struct toc_chunk c = { .span = { .data = f->data + f->covered, .data_len = len } };
	bool whole = f->covered == 0 && len == f->size;
	int r;

	f->covered += len;
	if (f->hidden)
		return 0;
	f->facts->chunks++;
	if (is(e->chunk_type, "zeros")) {
		c.span.kind = LAYER_SPAN_ZERO;
		return add_span(f, &c, err);
	}
	if (e->chunk_type.len)
		return refuse(err, e, "has chunks of a type that is not known");
	if (!e->offset || (uint64_t)e->offset >= f->data_end)
		return refuse(err, e, "has bytes that are not in the layer's data");
	if (e->inner_offset && !follows(f, e))
		return refuse(err, e, "is not where its member is");
	c.span.kind = f->kind == TOC_ZSTD_CHUNKED ? LAYER_SPAN_ZSTD : LAYER_SPAN_GZIP;
	c.span.blob = (uint64_t)e->offset;
	c.span.skip = (uint64_t)e->inner_offset;
	r = take_digest(f, e, whole, &c, err);
	return r < 0 ? r : keep_chunk(f, &c, err);
}

/* Whose length is given, or as far as the file goes. */
static int next_chunk(struct toc_files *f, const struct toc_entry *e, struct vmofs_err *err)
{
	uint64_t left = f->size - f->covered;
	uint64_t len = e->chunk_size ? (uint64_t)e->chunk_size : left;

	if ((uint64_t)e->chunk_offset != f->covered || len > left || len == 0)
		return refuse(err, e, "has chunks that do not follow each other");
	return add_chunk(f, e, len, err);
}

/* -- files ------------------------------------------------------------------------------------ */

static int close_file(struct toc_files *f, struct vmofs_err *err)
{
	if (!f->open)
		return 0;
	f->open = false;
	if (f->covered != f->size)
		return vmofs_err_set(err, -EBADMSG,
				     "the table of contents has a file of %" PRIu64
				     " bytes with chunks for %" PRIu64,
				     f->size, f->covered);
	return f->end && !f->hidden ? end_member(f, f->end, err) : 0;
}

/* The name without what is in front of its first component. */
static struct toc_string in_root(struct toc_string s)
{
	while (s.len && (s.p[0] == '/' || (s.p[0] == '.' && (s.len == 1 || s.p[1] == '/')))) {
		s.p++;
		s.len--;
	}
	return s;
}

/* Files that are there for readers like this one. */
static bool is_hidden(struct toc_files *f, const struct toc_entry *e)
{
	struct toc_string name = in_root(e->name);

	if (is(name, TOC_PREFETCH_MARK)) {
		f->facts->mark = TOC_MARK_PREFETCH;
		f->facts->prefetch_end = MIN((uint64_t)e->offset, f->data_end);
		return true;
	}
	if (is(name, TOC_NOPREFETCH_MARK)) {
		f->facts->mark = TOC_MARK_NOTHING;
		return true;
	}
	return is(name, TOC_STARGZ_NAME) && f->kind != TOC_ZSTD_CHUNKED;
}

static const struct {
	const char *type;
	mode_t mode;
} types[] = {
	{ "reg", S_IFREG },  { "dir", S_IFDIR },   { "symlink", S_IFLNK }, { "hardlink", 0 },
	{ "char", S_IFCHR }, { "block", S_IFBLK }, { "fifo", S_IFIFO },
};

static int fill_numbers(struct layer_entry *out, const struct toc_entry *e, struct vmofs_err *err)
{
	if (e->uid < 0 || e->uid > UINT32_MAX || e->gid < 0 || e->gid > UINT32_MAX)
		return refuse(err, e, "has an owner that cannot be");
	if (e->major < 0 || e->major > UINT32_MAX || e->minor < 0 || e->minor > UINT32_MAX)
		return refuse(err, e, "has a device number that cannot be");
	if (!toc_parse_time(e->mtime.p, e->mtime.len, &out->mtime, &out->mtime_nsec))
		return refuse(err, e, "has a time that cannot be read");
	out->uid = (uint32_t)e->uid;
	out->gid = (uint32_t)e->gid;
	out->major = (uint32_t)e->major;
	out->minor = (uint32_t)e->minor;
	return 0;
}

/* All but the type, which is in out->mode, and where its bytes are. */
static int fill_entry(struct layer_entry *out, const struct toc_entry *e, struct vmofs_err *err)
{
	out->mode |= (mode_t)(e->mode & PERMISSIONS);
	out->name = e->name.p;
	out->name_len = e->name.len;
	out->target = e->target.p;
	out->target_len = e->target.len;
	out->xattrs = e->xattrs;
	out->n_xattrs = e->n_xattrs;
	return fill_numbers(out, e, err);
}

static int open_file(struct toc_files *f, const struct toc_entry *e, struct layer_entry *out,
		     struct vmofs_err *err)
{
	int r = 0;

	f->open = true;
	f->hidden = is_hidden(f, e);
	f->size = (uint64_t)e->size;
	f->covered = 0;
	f->end = (uint64_t)e->end_offset;
	f->data = 0;
	if (!f->hidden && f->size)
		r = built(layer_build_place(f->build, f->size, &f->data), err);
	out->size = f->size;
	out->data = f->data;
	return r;
}

static int add_entry(struct toc_files *f, const struct toc_entry *e, struct vmofs_err *err)
{
	struct layer_entry out = { 0 };
	size_t i = 0;
	int r;

	while (i < ARRAY_LEN(types) && !is(e->type, types[i].type))
		i++;
	if (i == ARRAY_LEN(types))
		return refuse(err, e, "is of a type that is not known");
	out.mode = types[i].mode;
	r = fill_entry(&out, e, err);
	if (r == 0 && types[i].mode == S_IFREG)
		r = open_file(f, e, &out, err);
	if (r == 0 && !(f->open && f->hidden))
		r = built(layer_build_entry(f->build, &out, err), err);
	if (r == 0 && f->open && f->size)
		r = next_chunk(f, e, err);
	return r;
}

/* -- the whole -------------------------------------------------------------------------------- */

static bool is_sane(const struct toc_entry *e)
{
	const int64_t v[] = { e->size,         e->offset,       e->end_offset,
			      e->inner_offset, e->chunk_offset, e->chunk_size };

	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		if (v[i] < 0)
			return false;
	}
	return (!e->name.len || !memchr(e->name.p, 0, e->name.len)) &&
		(!e->target.len || !memchr(e->target.p, 0, e->target.len));
}

int toc_files_entry(struct toc_files *f, const struct toc_entry *e, struct vmofs_err *err)
{
	bool chunk = is(e->type, "chunk");
	int r = 0;

	f->facts->entries++;
	if (!is_sane(e))
		return refuse(err, e, "has a negative number, or a zero byte in its name");
	if (chunk && (!f->open || f->covered == f->size))
		return refuse(err, e, "is a chunk of nothing");
	if (!chunk)
		r = close_file(f, err);
	if (r == 0 && e->offset && !e->inner_offset)
		r = end_member(f, (uint64_t)e->offset, err);
	if (r < 0)
		return r;
	return chunk ? next_chunk(f, e, err) : add_entry(f, e, err);
}

int toc_files_end(struct toc_files *f, struct vmofs_err *err)
{
	int r = close_file(f, err);

	return r < 0 ? r : end_member(f, f->data_end, err);
}

void toc_files_release(struct toc_files *f)
{
	free(f->chunks);
	f->chunks = NULL;
}
