/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream is a sequence of blocks: a header, then the bytes it announces, padded. Headers of type x, g, L and K announce
 * something about the entry that comes next (g: about all that come); their bytes are kept until then. All other
 * bytes are passed over as they come. A header is judged only when all of it is there, wherever pieces end.
 */
#include "image/tar_stream.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "image/tar_pax.h"

/* Where members are in a header. */
struct field {
	unsigned at;
	unsigned len;
};

static const struct field f_name = { 0, 100 }, f_mode = { 100, 8 }, f_uid = { 108, 8 },
			  f_gid = { 116, 8 }, f_size = { 124, 12 }, f_mtime = { 136, 12 },
			  f_sum = { 148, 8 }, f_link = { 157, 100 }, f_major = { 329, 8 },
			  f_minor = { 337, 8 }, f_prefix = { 345, 155 },
			  f_star_prefix = { 345, 131 }, f_gnu_atime = { 345, 12 },
			  f_gnu_ctime = { 357, 12 };

#define TYPE_AT  156u
#define MAGIC_AT 257u
#define STAR_AT  508u

enum tar_form { TAR_V7, TAR_USTAR, TAR_STAR, TAR_GNU };

enum tar_state {
	TAR_HEADER,   /* a block is being collected */
	TAR_EXTENDED, /* the bytes of an x, g, L or K */
	TAR_DATA,     /* those of a file */
	TAR_PADDING,  /* up to a whole block */
	TAR_END,      /* the archive has ended; whatever follows is nobody's */
};

/* Bytes that are kept; a zero follows them. */
struct tar_text {
	char *p;
	size_t len;
	size_t cap;
};

struct tar_stream {
	tar_entry_fn *entry;
	void *arg;
	uint64_t off; /* of the next byte */
	enum tar_state state;
	uint8_t block[TAR_BLOCK];
	unsigned have;
	bool zero;             /* the last block was one of zeros */
	uint64_t left;         /* EXTENDED, DATA: of these bytes */
	unsigned padding;      /* that follows them, or what is left of it */
	unsigned padding_0;    /* at its beginning */
	struct tar_text *into; /* EXTENDED */
	/* What is known about the next entry. */
	struct tar_text pax_text, global_text, long_name, long_link;
	struct tar_pax pax, global;
	bool pending; /* something of this has come */
};

struct tar_stream *tar_stream_new(tar_entry_fn *entry, void *arg)
{
	struct tar_stream *t = calloc(1, sizeof *t);

	if (t) {
		t->entry = entry;
		t->arg = arg;
	}
	return t;
}

void tar_stream_free(struct tar_stream *t)
{
	if (!t)
		return;
	free(t->pax_text.p);
	free(t->global_text.p);
	free(t->long_name.p);
	free(t->long_link.p);
	tar_pax_release(&t->pax);
	tar_pax_release(&t->global);
	free(t);
}

/* -- the members of a header ------------------------------------------------------------------ */

static const char *text_of(const struct tar_stream *t, struct field f, size_t *len)
{
	const char *p = (const char *)t->block + f.at;

	*len = strnlen(p, f.len);
	return p;
}

/* Two's complement, the first bit apart, which only says that it is one. */
static bool number_of_base256(const uint8_t *p, unsigned len, int64_t *out)
{
	bool negative = p[0] & 0x40;
	uint64_t v = negative ? UINT64_MAX : 0;

	for (unsigned i = 0; i < len; i++) {
		uint8_t c = p[i];

		if (i == 0)
			c = negative ? c | 0x80 : c & 0x7f;
		/* What is shifted out must be sign alone, and the sign must stay. */
		if ((int64_t)v >> 55 != (negative ? -1 : 0))
			return false;
		v = v << 8 | c;
	}
	*out = (int64_t)v;
	return (*out < 0) == negative;
}

/* Zeros and spaces around octal digits; nothing at all is 0. What follows a zero or a space behind them does not count. */
static bool number_of_octal(const uint8_t *p, unsigned len, int64_t *out)
{
	unsigned i = 0;
	int64_t v = 0;

	while (i < len && (p[i] == ' ' || p[i] == '\0'))
		i++;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
		v = 8 * v + (p[i] - '0');
	*out = v;
	return i == len || p[i] == ' ' || p[i] == '\0';
}

static bool number_of(const struct tar_stream *t, struct field f, int64_t *out)
{
	const uint8_t *p = t->block + f.at;

	static_assert(sizeof(int64_t) * 8 > 12 * 3, "twelve octal digits fit");
	return p[0] & 0x80 ? number_of_base256(p, f.len, out) : number_of_octal(p, f.len, out);
}

static int bad_header(const struct tar_stream *t, const char *what, struct vmofs_err *err)
{
	return vmofs_err_set(err, -EBADMSG, "a bad %s in the tar header at byte %" PRIu64, what,
			     t->off - TAR_BLOCK);
}

static int unsigned_of(const struct tar_stream *t, struct field f, uint64_t max, const char *what,
		       uint64_t *out, struct vmofs_err *err)
{
	int64_t v = 0;

	if (!number_of(t, f, &v) || v < 0 || (uint64_t)v > max)
		return bad_header(t, what, err);
	*out = (uint64_t)v;
	return 0;
}

/* The sum over the header with the sum's place as spaces; old programs added signed bytes. */
static bool sum_is_right(const struct tar_stream *t)
{
	int64_t want = -1, plain = 0, with_sign = 0;

	if (!number_of(t, f_sum, &want))
		return false;
	for (unsigned i = 0; i < TAR_BLOCK; i++) {
		uint8_t c = i - f_sum.at < f_sum.len ? ' ' : t->block[i];

		plain += c;
		with_sign += (int8_t)c;
	}
	return want == plain || want == with_sign;
}

static enum tar_form form_of(const struct tar_stream *t)
{
	if (memcmp(t->block + MAGIC_AT, "ustar  ", 8) == 0)
		return TAR_GNU;
	if (memcmp(t->block + MAGIC_AT, "ustar", 6) != 0)
		return TAR_V7;
	return memcmp(t->block + STAR_AT, "tar", 4) == 0 ? TAR_STAR : TAR_USTAR;
}

static bool is_ascii(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] >= 0x80)
			return false;
	return true;
}

/*
 * GNU has times where others have a prefix. Go before 1.8 wrote a prefix nevertheless, and layers of that age exist: it is one
 * where it makes no times.
 */
static const char *gnu_prefix(const struct tar_stream *t, size_t *len)
{
	int64_t v;
	const char *p;

	*len = 0;
	if ((t->block[f_gnu_atime.at] == 0 || number_of(t, f_gnu_atime, &v)) &&
	    (t->block[f_gnu_ctime.at] == 0 || number_of(t, f_gnu_ctime, &v)))
		return "";
	p = text_of(t, f_prefix, len);
	if (!is_ascii(p, *len))
		*len = 0;
	return p;
}

static const char *prefix_of(const struct tar_stream *t, size_t *len)
{
	switch (form_of(t)) {
	case TAR_USTAR:
		return text_of(t, f_prefix, len);
	case TAR_STAR:
		return text_of(t, f_star_prefix, len);
	case TAR_GNU:
		return gnu_prefix(t, len);
	case TAR_V7:
		break;
	}
	*len = 0;
	return "";
}

/* -- an entry --------------------------------------------------------------------------------- */

/* Where an entry's name is put together. */
struct short_name {
	char p[155 + 1 + 100 + 1];
};

static void name_of(struct tar_stream *t, struct short_name *room, struct layer_entry *e)
{
	size_t prefix_len, len;
	const char *prefix = prefix_of(t, &prefix_len), *name = text_of(t, f_name, &len);

	if (t->long_name.len) {
		e->name = t->long_name.p;
		e->name_len = t->long_name.len;
		return;
	}
	if (t->pax.has & TAR_PAX_PATH) {
		e->name = t->pax.path;
		e->name_len = t->pax.path_len;
		return;
	}
	e->name = room->p;
	if (prefix_len) {
		memcpy(room->p, prefix, prefix_len);
		room->p[prefix_len++] = '/';
	}
	memcpy(room->p + prefix_len, name, len);
	room->p[prefix_len + len] = '\0';
	e->name_len = prefix_len + len;
}

static void target_of(struct tar_stream *t, struct layer_entry *e)
{
	if (t->long_link.len) {
		e->target = t->long_link.p;
		e->target_len = t->long_link.len;
	} else if (t->pax.has & TAR_PAX_LINKPATH) {
		e->target = t->pax.linkpath;
		e->target_len = t->pax.linkpath_len;
	} else {
		e->target = text_of(t, f_link, &e->target_len);
	}
}

/* The pax records that say @flag, those of the entry before global ones; NULL: the header says it. */
static const struct tar_pax *pax_with(const struct tar_stream *t, unsigned flag)
{
	if (t->pax.has & flag)
		return &t->pax;
	return !(t->pax.no & flag) && t->global.has & flag ? &t->global : NULL;
}

static int owner_of(struct tar_stream *t, struct layer_entry *e, struct vmofs_err *err)
{
	const struct tar_pax *uid = pax_with(t, TAR_PAX_UID), *gid = pax_with(t, TAR_PAX_GID);
	uint64_t u = 0, g = 0;

	if (uid)
		u = uid->uid;
	else if (unsigned_of(t, f_uid, UINT32_MAX, "uid", &u, err) < 0)
		return err->code;
	if (gid)
		g = gid->gid;
	else if (unsigned_of(t, f_gid, UINT32_MAX, "gid", &g, err) < 0)
		return err->code;
	e->uid = (uint32_t)u;
	e->gid = (uint32_t)g;
	return 0;
}

static int mtime_of(struct tar_stream *t, struct layer_entry *e, struct vmofs_err *err)
{
	const struct tar_pax *pax = pax_with(t, TAR_PAX_MTIME);

	if (!pax)
		return number_of(t, f_mtime, &e->mtime) ? 0 : bad_header(t, "mtime", err);
	e->mtime = pax->mtime;
	e->mtime_nsec = pax->mtime_nsec;
	return 0;
}

static int device_of(struct tar_stream *t, struct layer_entry *e, struct vmofs_err *err)
{
	uint64_t major = 0, minor = 0;

	if (unsigned_of(t, f_major, UINT32_MAX, "device number", &major, err) < 0 ||
	    unsigned_of(t, f_minor, UINT32_MAX, "device number", &minor, err) < 0)
		return err->code;
	e->major = (uint32_t)major;
	e->minor = (uint32_t)minor;
	return 0;
}

static int size_of(struct tar_stream *t, struct layer_entry *e, struct vmofs_err *err)
{
	if (t->pax.has & TAR_PAX_SIZE)
		e->size = t->pax.size;
	else if (unsigned_of(t, f_size, INT64_MAX, "size", &e->size, err) < 0)
		return err->code;
	if (e->size > INT64_MAX - TAR_BLOCK - t->off)
		return bad_header(t, "size", err);
	return 0;
}

/* 0: a hard link; -1: a type that is not read. */
static long kind_of(char type, const struct layer_entry *e)
{
	switch (type) {
	case '\0':
		/* How directories were told before there was a type for them. */
		return e->name_len && e->name[e->name_len - 1] == '/' ? S_IFDIR : S_IFREG;
	case '0':
	case '7':
		return S_IFREG;
	case '1':
		return 0;
	case '2':
		return S_IFLNK;
	case '3':
		return S_IFCHR;
	case '4':
		return S_IFBLK;
	case '5':
		return S_IFDIR;
	case '6':
		return S_IFIFO;
	default:
		return -1;
	}
}

static int refuse_type(const struct tar_stream *t, char type, struct vmofs_err *err)
{
	if (type == 'S')
		return vmofs_err_set(err, -EBADMSG,
				     "a sparse file, which layers must not have, at byte %" PRIu64
				     " of the tar",
				     t->off - TAR_BLOCK);
	return vmofs_err_set(err, -EBADMSG,
			     "an entry of the unknown type 0x%02x at byte %" PRIu64 " of the tar",
			     (unsigned char)type, t->off - TAR_BLOCK);
}

static int read_entry(struct tar_stream *t, struct layer_entry *e, struct vmofs_err *err)
{
	char type = (char)t->block[TYPE_AT];
	uint64_t mode = 0;
	long kind = kind_of(type, e);

	if (kind < 0)
		return refuse_type(t, type, err);
	/* Go once wrote the kind of file there as well. */
	if (unsigned_of(t, f_mode, INT64_MAX, "mode", &mode, err) < 0)
		return err->code;
	e->mode = (mode_t)kind | (mode & 07777);
	if (owner_of(t, e, err) < 0 || mtime_of(t, e, err) < 0)
		return err->code;
	/* A directory of old form has bytes that nobody wants. */
	if ((S_ISREG(e->mode) || type == '\0') && size_of(t, e, err) < 0)
		return err->code;
	if ((kind == S_IFCHR || kind == S_IFBLK) && device_of(t, e, err) < 0)
		return err->code;
	if (kind == 0 || kind == S_IFLNK)
		target_of(t, e);
	e->data = t->off;
	e->xattrs = t->pax.xattrs;
	e->n_xattrs = t->pax.n_xattrs;
	return 0;
}

static void forget_pending(struct tar_stream *t)
{
	t->long_name.len = t->long_link.len = t->pax_text.len = 0;
	tar_pax_clear(&t->pax);
	t->pending = false;
}

/* @n bytes and their padding come next. */
static void expect_bytes(struct tar_stream *t, uint64_t n, enum tar_state state)
{
	t->left = n;
	t->padding = t->padding_0 = (unsigned)(-n % TAR_BLOCK);
	t->state = n ? state : TAR_HEADER;
}

static int take_entry(struct tar_stream *t, struct vmofs_err *err)
{
	struct short_name room;
	struct layer_entry e = { 0 };
	uint64_t n;
	int r;

	name_of(t, &room, &e);
	r = read_entry(t, &e, err);
	if (r < 0)
		return r;
	n = e.size;
	if (!S_ISREG(e.mode))
		e.size = 0;
	r = t->entry(t->arg, &e, err);
	if (r < 0)
		return r;
	forget_pending(t);
	expect_bytes(t, n, TAR_DATA);
	return 0;
}

/* -- what comes before an entry --------------------------------------------------------------- */

static struct tar_text *extended_text(struct tar_stream *t, char type)
{
	switch (type) {
	case 'x':
	case 'X': /* Solaris: an x under another name */
		return &t->pax_text;
	case 'g':
		return &t->global_text;
	case 'L':
		return &t->long_name;
	case 'K':
		return &t->long_link;
	default:
		return NULL;
	}
}

static int begin_extended(struct tar_stream *t, struct tar_text *into, struct vmofs_err *err)
{
	uint64_t n = 0;

	if (unsigned_of(t, f_size, TAR_EXTENDED_MAX, "size of an extended header", &n, err) < 0)
		return err->code;
	/* The records that were parsed from it go with it. */
	if (into == &t->pax_text)
		tar_pax_clear(&t->pax);
	into->len = 0;
	if (n >= into->cap) {
		char *more = realloc(into->p, n + 1);

		if (!more)
			return vmofs_err_set(err, -ENOMEM, "no memory for a tar header");
		into->p = more;
		into->cap = n + 1;
	}
	t->pending |= into != &t->global_text;
	t->into = into;
	expect_bytes(t, n, TAR_EXTENDED);
	return 0;
}

/* What is said of all entries cannot be what only one can have. */
static int check_global(struct tar_stream *t, struct vmofs_err *err)
{
	if (t->global.has & (TAR_PAX_PATH | TAR_PAX_LINKPATH | TAR_PAX_SIZE) || t->global.n_xattrs)
		return vmofs_err_set(err, -EBADMSG, "a name, a size or attributes for all files");
	return 0;
}

static int end_extended(struct tar_stream *t, struct vmofs_err *err)
{
	struct tar_text *text = t->into;
	int r = 0;

	text->p[text->len] = '\0';
	t->into = NULL;
	if (text == &t->pax_text)
		r = tar_pax_parse(&t->pax, text->p, text->len, err);
	else if (text == &t->global_text)
		r = tar_pax_parse(&t->global, text->p, text->len, err);
	else
		text->len = strlen(text->p);
	if (r == 0 && text == &t->global_text)
		r = check_global(t, err);
	if (r < 0)
		return vmofs_err_prefix(
			err, "the extended header before byte %" PRIu64 " of the tar", t->off);
	t->state = t->padding ? TAR_PADDING : TAR_HEADER;
	return 0;
}

/* -- blocks ----------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t *p)
{
	return p[0] == 0 && memcmp(p, p + 1, TAR_BLOCK - 1) == 0;
}

static int take_header(struct tar_stream *t, struct vmofs_err *err)
{
	char type = (char)t->block[TYPE_AT];
	struct tar_text *into;

	if (is_zero(t->block)) {
		if (t->zero)
			t->state = TAR_END;
		t->zero = true;
		return 0;
	}
	if (t->zero || !sum_is_right(t))
		return vmofs_err_set(err, -EBADMSG, "no tar header at byte %" PRIu64 "%s",
				     t->off - TAR_BLOCK,
				     t->off == TAR_BLOCK ? ": this is no tar" : "");
	into = extended_text(t, type);
	if (into)
		return begin_extended(t, into, err);
	/* A label of the volume is no file. */
	if (type == 'V') {
		forget_pending(t);
		return 0;
	}
	return take_entry(t, err);
}

static size_t collect_header(struct tar_stream *t, const uint8_t *p, size_t n)
{
	n = MIN(n, TAR_BLOCK - t->have);
	memcpy(t->block + t->have, p, n);
	t->have += (unsigned)n;
	return n;
}

static size_t collect_extended(struct tar_stream *t, const uint8_t *p, size_t n)
{
	n = MIN(n, t->left);
	memcpy(t->into->p + t->into->len, p, n);
	t->into->len += n;
	t->left -= n;
	return n;
}

/* Takes some of the bytes, as many as the state has use for. */
static size_t take_bytes(struct tar_stream *t, const uint8_t *p, size_t n)
{
	switch (t->state) {
	case TAR_HEADER:
		return collect_header(t, p, n);
	case TAR_EXTENDED:
		return collect_extended(t, p, n);
	case TAR_DATA:
		n = MIN(n, t->left);
		t->left -= n;
		return n;
	case TAR_PADDING:
		n = MIN(n, t->padding);
		t->padding -= (unsigned)n;
		return n;
	case TAR_END:
		break;
	}
	return n;
}

/* What follows when the state has all its bytes. */
static int step(struct tar_stream *t, struct vmofs_err *err)
{
	switch (t->state) {
	case TAR_HEADER:
		if (t->have < TAR_BLOCK)
			return 0;
		t->have = 0;
		return take_header(t, err);
	case TAR_EXTENDED:
		return t->left ? 0 : end_extended(t, err);
	case TAR_DATA:
		if (t->left == 0)
			t->state = t->padding ? TAR_PADDING : TAR_HEADER;
		return 0;
	case TAR_PADDING:
		if (t->padding == 0)
			t->state = TAR_HEADER;
		return 0;
	case TAR_END:
		break;
	}
	return 0;
}

int tar_stream_feed(struct tar_stream *t, const void *p, size_t n, struct vmofs_err *err)
{
	const uint8_t *from = p;

	while (n > 0) {
		size_t took = take_bytes(t, from, n);
		int r;

		t->off += took;
		from += took;
		n -= took;
		r = step(t, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The padding of the last file is missed by nobody. */
int tar_stream_end(struct tar_stream *t, struct vmofs_err *err)
{
	bool between = t->state == TAR_HEADER && t->have == 0 && !t->pending;
	bool unpadded = t->state == TAR_PADDING && t->padding == t->padding_0 && !t->pending;

	if (t->state == TAR_END || between || unpadded)
		return 0;
	return vmofs_err_set(err, -EBADMSG, "the tar ends too early, at byte %" PRIu64, t->off);
}
