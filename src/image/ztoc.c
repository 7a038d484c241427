/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ztoc becomes entries and spans. The window of a checkpoint is what came out before it, the newest last: of the first ones
 * only the end is of use. One thread.
 */
#include "image/ztoc.h"

#include <errno.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"
#include "image/flatbuf.h"
#include "image/toc.h"

enum { /* fields of the tables */
       ZTOC_PACKED_SIZE = 2,
       ZTOC_RAW_SIZE = 3,
       ZTOC_TOC = 4,
       ZTOC_COMPRESSION = 5,

       TOC_METADATA = 0,

       COMPRESSION_ALGORITHM = 0,
       COMPRESSION_MAX_SPAN = 1,
       COMPRESSION_DIGESTS = 2,
       COMPRESSION_CHECKPOINTS = 3,

       FILE_NAME = 0,
       FILE_TYPE = 1,
       FILE_OFFSET = 2,
       FILE_SIZE = 3,
       FILE_TARGET = 4,
       FILE_MODE = 5,
       FILE_UID = 6,
       FILE_GID = 7,
       FILE_TIME = 10,
       FILE_MAJOR = 11,
       FILE_MINOR = 12,
       FILE_PAX = 13,

       PAX_KEY = 0,
       PAX_VALUE = 1,

       TAR_ZINFO_SPAN_SIZE = 1,
       TAR_ZINFO_SIZE = 2,
};

enum { ALGORITHM_GZIP = 1, ALGORITHM_NONE = 2 };

enum {
	WINDOW = 32768,
	CHECKPOINT = 8 + 8 + 1 + WINDOW,
	ZINFO_HEAD = 4 + 8,
	TAR_ZINFO = 4 + 8 + 8,
	GZIP_HEADER = 10,
	XATTRS_MAX = 4096,
	XATTR_NAME_MAX = 255,
};

struct ztoc {
	struct flatbuf buf;
	struct layer_build *build; /* borrowed */
	uint64_t blob_size;
	uint64_t data_size;
	struct ztoc_facts *facts; /* borrowed */
	struct vmofs_err *err;    /* borrowed */
	struct flatbuf_span digests;
	/* Attributes of an entry; their names have to end in a zero, which strings of a ztoc may not. */
	struct layer_xattr xattrs[XATTRS_MAX];
	char *names;
	size_t names_cap;
};

static int refuse(struct ztoc *z, const char *what)
{
	return vmofs_err_set(z->err, -EBADMSG, "the ztoc %s", what);
}

static int built(struct ztoc *z, int r)
{
	if (r < 0 && !z->err->code)
		vmofs_err_set(z->err, r, "the layer cannot be indexed: %s", strerror(-r));
	return r;
}

static bool is(struct flatbuf_span s, const char *word)
{
	return s.n == strlen(word) && !memcmp(s.p, word, s.n);
}

static bool begins(struct flatbuf_span s, const char *word)
{
	return s.n >= strlen(word) && !memcmp(s.p, word, strlen(word));
}

/* -- attributes ------------------------------------------------------------------------------- */

#define XATTR_PREFIX "SCHILY.xattr."

/* Room for @n names at their longest. */
static int reserve_names(struct ztoc *z, size_t n)
{
	size_t need = n * (XATTR_NAME_MAX + 1);
	char *names;

	if (need <= z->names_cap)
		return 0;
	names = realloc(z->names, need);
	if (!names)
		return vmofs_err_set(z->err, -ENOMEM, "no memory for a ztoc");
	z->names = names;
	z->names_cap = need;
	return 0;
}

static int add_xattr(struct ztoc *z, struct flatbuf_span key, struct flatbuf_span value,
		     struct layer_entry *e)
{
	size_t skip = sizeof XATTR_PREFIX - 1;
	char *name = z->names + e->n_xattrs * (XATTR_NAME_MAX + 1);

	key.p += skip;
	key.n -= skip;
	if (key.n == 0 || key.n > XATTR_NAME_MAX || memchr(key.p, 0, key.n))
		return refuse(z, "has an attribute without a proper name");
	memcpy(name, key.p, key.n);
	name[key.n] = '\0';
	z->xattrs[e->n_xattrs++] = (struct layer_xattr){
		.name = name, .name_len = key.n, .value = value.p, .len = value.n
	};
	return 0;
}

/* The field is named for attributes, and has all records of the pax header. */
static int read_pax(struct ztoc *z, const struct flatbuf_table *file, struct layer_entry *e)
{
	struct flatbuf_span records = flatbuf_vector(&z->buf, file, FILE_PAX, 4);
	int r;

	if (records.n > XATTRS_MAX)
		return vmofs_err_set(z->err, -E2BIG,
				     "the ztoc has a file with too many attributes");
	r = reserve_names(z, records.n);
	for (size_t i = 0; i < records.n && r == 0; i++) {
		struct flatbuf_table t = flatbuf_element(&z->buf, records, i);
		struct flatbuf_span key = flatbuf_string(&z->buf, &t, PAX_KEY);
		struct flatbuf_span value = flatbuf_string(&z->buf, &t, PAX_VALUE);

		if (begins(key, "GNU.sparse."))
			return vmofs_err_set(
				z->err, -ENOTSUP,
				"the ztoc has a sparse file, whose holes it does not tell");
		if (begins(key, XATTR_PREFIX))
			r = add_xattr(z, key, value, e);
	}
	e->xattrs = z->xattrs;
	return r;
}

/* -- files ------------------------------------------------------------------------------------ */

static const struct {
	const char *type;
	mode_t mode;
} types[] = {
	{ "reg", S_IFREG },  { "dir", S_IFDIR },   { "symlink", S_IFLNK }, { "hardlink", 0 },
	{ "char", S_IFCHR }, { "block", S_IFBLK }, { "fifo", S_IFIFO },
};

static int read_type(struct ztoc *z, const struct flatbuf_table *file, struct layer_entry *e)
{
	struct flatbuf_span type = flatbuf_string(&z->buf, file, FILE_TYPE);
	int64_t mode = flatbuf_i64(&z->buf, file, FILE_MODE);

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (!is(type, types[i].type))
			continue;
		e->mode = types[i].mode | (mode_t)(mode & 07777);
		return 0;
	}
	return refuse(z, "has a file of a type that is not known");
}

static int read_strings(struct ztoc *z, const struct flatbuf_table *file, struct layer_entry *e)
{
	struct flatbuf_span name = flatbuf_string(&z->buf, file, FILE_NAME);
	struct flatbuf_span target = flatbuf_string(&z->buf, file, FILE_TARGET);
	struct flatbuf_span time = flatbuf_string(&z->buf, file, FILE_TIME);

	if ((name.n && memchr(name.p, 0, name.n)) || (target.n && memchr(target.p, 0, target.n)))
		return refuse(z, "has a name with a zero byte");
	if (!toc_parse_time((const char *)time.p, time.n, &e->mtime, &e->mtime_nsec))
		return refuse(z, "has a time that cannot be read");
	e->name = (const char *)name.p;
	e->name_len = name.n;
	e->target = (const char *)target.p;
	e->target_len = target.n;
	return 0;
}

static int read_numbers(struct ztoc *z, const struct flatbuf_table *file, struct layer_entry *e)
{
	int64_t size = flatbuf_i64(&z->buf, file, FILE_SIZE);
	int64_t off = flatbuf_i64(&z->buf, file, FILE_OFFSET);
	int64_t major = flatbuf_i64(&z->buf, file, FILE_MAJOR);
	int64_t minor = flatbuf_i64(&z->buf, file, FILE_MINOR);

	e->uid = flatbuf_u32(&z->buf, file, FILE_UID);
	e->gid = flatbuf_u32(&z->buf, file, FILE_GID);
	if (major < 0 || major > UINT32_MAX || minor < 0 || minor > UINT32_MAX)
		return refuse(z, "has a device number that cannot be");
	e->major = (uint32_t)major;
	e->minor = (uint32_t)minor;
	if ((e->mode & S_IFMT) != S_IFREG)
		return 0;
	if (size < 0 || off < 0 || (uint64_t)off > z->data_size ||
	    (uint64_t)size > z->data_size - (uint64_t)off)
		return refuse(z, "has a file that is not in the layer");
	e->size = (uint64_t)size;
	e->data = (uint64_t)off;
	return 0;
}

static int read_file(struct ztoc *z, const struct flatbuf_table *file)
{
	struct layer_entry e = { 0 };
	int r = read_type(z, file, &e);

	if (r == 0)
		r = read_strings(z, file, &e);
	if (r == 0)
		r = read_numbers(z, file, &e);
	if (r == 0)
		r = read_pax(z, file, &e);
	if (r == 0 && z->buf.bad)
		r = refuse(z, "has offsets that lead nowhere");
	if (r < 0)
		return r;
	z->facts->entries++;
	return built(z, layer_build_entry(z->build, &e, z->err));
}

static int read_files(struct ztoc *z, const struct flatbuf_table *root)
{
	struct flatbuf_table toc = flatbuf_child(&z->buf, root, ZTOC_TOC);
	struct flatbuf_span files = flatbuf_vector(&z->buf, &toc, TOC_METADATA, 4);
	int r = 0;

	for (size_t i = 0; i < files.n && r == 0; i++) {
		struct flatbuf_table file = flatbuf_element(&z->buf, files, i);

		r = z->buf.bad ? refuse(z, "has offsets that lead nowhere") : read_file(z, &file);
	}
	return r;
}

/* -- spans ------------------------------------------------------------------------------------ */

/* The digest of span @i: 1 there is one, 0 there is none, or -EBADMSG. */
static int span_digest(struct ztoc *z, size_t i, uint8_t out[LAYER_DIGEST_LEN])
{
	size_t at;
	struct flatbuf_span s;

	if (i >= z->digests.n)
		return 0;
	at = flatbuf_follow(&z->buf, (size_t)(z->digests.p - z->buf.p) + 4 * i);
	s = flatbuf_vector_at(&z->buf, at, 1);
	if (z->buf.bad)
		return refuse(z, "has offsets that lead nowhere");
	if (toc_parse_digest((const char *)s.p, s.n, out))
		return 1;
	return begins(s, "sha256:") ? refuse(z, "has a malformed digest") : 0;
}

static int add_span(struct ztoc *z, size_t i, struct layer_span *s, const uint8_t *window,
		    size_t window_len)
{
	uint8_t digest[LAYER_DIGEST_LEN];
	/* The span with the header is not what SOCI's digest is of. */
	int has = s->kind == LAYER_SPAN_GZIP ? 0 : span_digest(z, i, digest);

	if (has < 0)
		return has;
	if (s->data_len == 0)
		return 0;
	if (s->blob_len == 0)
		return refuse(z, "has data that nothing makes");
	s->digest_of = has ? LAYER_DIGEST_BLOB : LAYER_DIGEST_DATA;
	z->facts->spans++;
	z->facts->spans_have_digests = z->facts->spans_have_digests && has;
	return built(z, layer_build_span(z->build, s, has ? digest : NULL, window, window_len));
}

struct checkpoint {
	uint64_t in; /* the first byte of which all bits are wanted */
	uint64_t out;
	uint8_t bits;          /* of the byte before that */
	const uint8_t *window; /* NULL: none is needed */
};

struct zinfo {
	const uint8_t *p; /* of the first checkpoint that is stored */
	size_t have;
	bool v1;
};

static struct checkpoint zinfo_get(const struct zinfo *info, size_t i)
{
	const uint8_t *p;

	if (info->v1 && i == 0)
		return (struct checkpoint){ .in = GZIP_HEADER };
	p = info->p + (i - info->v1) * CHECKPOINT;
	return (struct checkpoint){
		.in = get64(p), .out = get64(p + 8), .bits = p[16], .window = p + 17
	};
}

static bool checkpoint_is_sane(const struct ztoc *z, const struct checkpoint *c)
{
	return c->bits <= 7 && c->in >= GZIP_HEADER && c->in <= z->blob_size &&
		c->out <= z->data_size;
}

static int gzip_span(struct ztoc *z, const struct zinfo *info, size_t i)
{
	struct checkpoint c = zinfo_get(info, i);
	struct checkpoint next = { .in = z->blob_size, .out = z->data_size };
	size_t window_len = (size_t)MIN(c.out, WINDOW);
	struct layer_span s = { .kind = LAYER_SPAN_DEFLATE };

	if (i + 1 < info->have)
		next = zinfo_get(info, i + 1);
	if (!checkpoint_is_sane(z, &c) || (i == 0 && c.out != 0) || next.in < c.in ||
	    next.out < c.out)
		return refuse(z, "has checkpoints that are not in the layer, or not in order");
	if (info->v1 && i == 0)
		s.kind = LAYER_SPAN_GZIP;
	s.data = c.out;
	s.data_len = next.out - c.out;
	s.blob = s.kind == LAYER_SPAN_GZIP ? 0 : c.in - !!c.bits;
	s.blob_len = MIN(next.in, z->blob_size) - s.blob;
	s.bits = c.bits;
	return add_span(z, i, &s, window_len ? c.window + WINDOW - window_len : NULL, window_len);
}

static int gzip_spans(struct ztoc *z, struct flatbuf_span blob, uint32_t n_spans)
{
	struct zinfo info;
	int r = 0;

	if (blob.n < ZINFO_HEAD)
		return refuse(z, "has no checkpoints");
	info.p = blob.p + ZINFO_HEAD;
	info.have = get32(blob.p);
	info.v1 = info.have && blob.n - ZINFO_HEAD == (info.have - 1) * (size_t)CHECKPOINT;
	if (!info.v1 && blob.n - ZINFO_HEAD != info.have * (size_t)CHECKPOINT)
		return refuse(z, "has another number of checkpoints than it says");
	if (info.have != n_spans || (info.have == 0 && z->data_size))
		return refuse(z, "has another number of spans than checkpoints");
	for (size_t i = 0; i < info.have && r == 0; i++)
		r = gzip_span(z, &info, i);
	return r;
}

/* How long the stretches of an uncompressed layer are; 0: it is not said properly. */
static uint64_t tar_span_size(struct ztoc *z, struct flatbuf_span blob)
{
	struct flatbuf b = { .p = blob.p, .len = blob.n, .budget = 4096 };
	struct flatbuf_table t;
	int64_t span, size;

	if (blob.n == TAR_ZINFO) {
		span = (int64_t)get64(blob.p + 4);
		size = (int64_t)get64(blob.p + 12);
	} else {
		t = flatbuf_root(&b);
		span = flatbuf_i64(&b, &t, TAR_ZINFO_SPAN_SIZE);
		size = flatbuf_i64(&b, &t, TAR_ZINFO_SIZE);
	}
	return b.bad || span <= 0 || (uint64_t)size != z->data_size ? 0 : (uint64_t)span;
}

static int raw_spans(struct ztoc *z, struct flatbuf_span blob, uint32_t n_spans)
{
	uint64_t each = tar_span_size(z, blob);
	int r = 0;

	if (each == 0 || z->data_size != z->blob_size)
		return refuse(z, "does not say how its layer is divided");
	if (z->data_size / each + !!(z->data_size % each) != n_spans)
		return refuse(z, "has another number of spans than it says");
	for (uint32_t i = 0; i < n_spans && r == 0; i++) {
		uint64_t at = i * each, len = MIN(each, z->data_size - at);
		struct layer_span s = { .kind = LAYER_SPAN_RAW,
					.data = at,
					.data_len = len,
					.blob = at,
					.blob_len = len };

		r = add_span(z, i, &s, NULL, 0);
	}
	return r;
}

static int read_spans(struct ztoc *z, const struct flatbuf_table *root)
{
	struct flatbuf_table c = flatbuf_child(&z->buf, root, ZTOC_COMPRESSION);
	struct flatbuf_span blob = flatbuf_vector(&z->buf, &c, COMPRESSION_CHECKPOINTS, 1);
	uint32_t n_spans = flatbuf_u32(&z->buf, &c, COMPRESSION_MAX_SPAN) + 1;
	uint8_t algorithm = flatbuf_u8(&z->buf, &c, COMPRESSION_ALGORITHM, ALGORITHM_GZIP);

	z->digests = flatbuf_vector(&z->buf, &c, COMPRESSION_DIGESTS, 4);
	if (z->buf.bad)
		return refuse(z, "has offsets that lead nowhere");
	if (z->digests.n && z->digests.n != n_spans)
		return refuse(z, "has another number of digests than spans");
	if (algorithm == ALGORITHM_GZIP)
		return gzip_spans(z, blob, n_spans);
	if (algorithm == ALGORITHM_NONE)
		return raw_spans(z, blob, n_spans);
	return refuse(z, "is of a compression that is not known");
}

/* -- the whole -------------------------------------------------------------------------------- */

static int read_root(struct ztoc *z)
{
	struct flatbuf_table root = flatbuf_root(&z->buf);
	int64_t packed = flatbuf_i64(&z->buf, &root, ZTOC_PACKED_SIZE);
	int64_t raw = flatbuf_i64(&z->buf, &root, ZTOC_RAW_SIZE);
	int r;

	if (z->buf.bad || raw < 0)
		return refuse(z, "is none");
	if ((uint64_t)packed != z->blob_size)
		return refuse(z, "is of a layer of another size");
	z->data_size = (uint64_t)raw;
	z->facts->data_size = z->data_size;
	r = read_spans(z, &root);
	if (r == 0)
		r = read_files(z, &root);
	return r == 0 && z->buf.bad ? refuse(z, "has offsets that lead nowhere") : r;
}

static int check_digest(const uint8_t *want, const void *p, size_t len, struct vmofs_err *err)
{
	uint8_t have[LAYER_DIGEST_LEN];

	if (!want)
		return 0;
	if (digest_sha256(p, len, have) < 0)
		return vmofs_err_set(err, -ENOMEM, "no memory for a digest");
	if (memcmp(have, want, sizeof have) != 0)
		return vmofs_err_set(err, -EBADMSG,
				     "the ztoc has another SHA-256 than the index says");
	return 0;
}

int ztoc_read(struct layer_build *b, const struct ztoc_options *options, const void *p, size_t len,
	      struct ztoc_facts *facts, struct vmofs_err *err)
{
	struct ztoc *z;
	int r;

	*facts = (struct ztoc_facts){ .proved = options->digest, .spans_have_digests = true };
	if (len > ZTOC_MAX)
		return vmofs_err_set(err, -E2BIG, "the ztoc is too long");
	r = check_digest(options->digest, p, len, err);
	if (r < 0)
		return r;
	z = calloc(1, sizeof *z);
	if (!z)
		return vmofs_err_set(err, -ENOMEM, "no memory for a ztoc");
	/* A writer may share what is equal, so more than the whole may be looked at, but not without end. */
	z->buf = (struct flatbuf){ .p = p, .len = len, .budget = 16 * (uint64_t)len + MIB(1) };
	z->build = b;
	z->blob_size = options->blob_size;
	z->facts = facts;
	z->err = err;
	r = read_root(z);
	free(z->names);
	free(z);
	return r;
}
