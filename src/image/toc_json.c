/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of JSON become entries of a table of contents. Keys may come in any order, so an entry's strings are kept until it
 * ends; nothing is kept of those before. One thread.
 */
#include "image/toc_private.h"

#include <errno.h>
#include <string.h>

#include "base/digest.h"
#include "base/macros.h"
#include "image/json_stream.h"

enum {
	STRING_MAX = 1 << 20, /* an attribute's value has 64 KiB at most */
	TEXT_MAX = 4 << 20,   /* all strings of an entry */
	XATTRS_MAX = 16384,
	XATTR_NAME_MAX = 255,
};

enum toc_where { OUTSIDE, IN_ROOT, IN_ENTRIES, IN_ENTRY, IN_XATTRS };

enum toc_value { TEXT, NUMBER, XATTRS };

static const struct {
	const char *key;
	uint8_t len;
	uint8_t value; /* enum toc_value */
	uint16_t at;   /* in struct toc_entry */
} keys[] = {
#define TOC_KEY(key, value, member)                                             \
	{                                                                       \
		key, sizeof(key) - 1, value, offsetof(struct toc_entry, member) \
	}
	/* As writers order them: the key after the last one is looked at first. */
	TOC_KEY("type", TEXT, type),
	TOC_KEY("name", TEXT, name),
	TOC_KEY("linkName", TEXT, target),
	TOC_KEY("mode", NUMBER, mode),
	TOC_KEY("size", NUMBER, size),
	TOC_KEY("uid", NUMBER, uid),
	TOC_KEY("gid", NUMBER, gid),
	TOC_KEY("modtime", TEXT, mtime),
	TOC_KEY("devMajor", NUMBER, major),
	TOC_KEY("devMinor", NUMBER, minor),
	TOC_KEY("xattrs", XATTRS, xattrs),
	TOC_KEY("digest", TEXT, digest),
	TOC_KEY("offset", NUMBER, offset),
	TOC_KEY("endOffset", NUMBER, end_offset),
	TOC_KEY("innerOffset", NUMBER, inner_offset),
	TOC_KEY("chunkSize", NUMBER, chunk_size),
	TOC_KEY("chunkOffset", NUMBER, chunk_offset),
	TOC_KEY("chunkDigest", TEXT, chunk_digest),
	TOC_KEY("chunkType", TEXT, chunk_type),
};

/* A string in toc_json.text. */
struct toc_kept {
	size_t at;
	size_t len;
};

struct toc_kept_xattr {
	struct toc_kept name;
	struct toc_kept value;
};

struct toc_json {
	struct json_sink sink;
	struct json_stream *stream;
	struct toc_files *files; /* borrowed */
	struct vmofs_err *err;   /* borrowed while it is fed */
	enum toc_where where;
	bool is_version; /* the value that comes next, IN_ROOT */
	bool is_entries;
	bool has_entries;
	int64_t version;
	/* The entry that is read. */
	struct toc_entry entry;
	unsigned key; /* of the value that comes next */
	struct toc_kept kept[ARRAY_LEN(keys)];
	char *text;
	size_t text_len;
	size_t text_cap;
	struct toc_kept_xattr *kept_xattrs;
	struct layer_xattr *xattrs; /* the same, for the builder */
	unsigned n_xattrs;
	unsigned cap_xattrs;
};

static int odd(struct toc_json *j, const char *what)
{
	return vmofs_err_set(j->err, -EBADMSG, "the table of contents %s", what);
}

static int exhausted(struct toc_json *j)
{
	return vmofs_err_set(j->err, -ENOMEM, "no memory for a table of contents");
}

/* -- keeping strings -------------------------------------------------------------------------- */

/* With a zero behind it. */
static int keep(struct toc_json *j, const char *p, size_t n, struct toc_kept *out)
{
	size_t need = j->text_len + n + 1;

	if (need > TEXT_MAX)
		return vmofs_err_set(j->err, -E2BIG,
				     "an entry of the table of contents is too long");
	if (need > j->text_cap) {
		size_t cap = MAX(MAX(4096, need), 2 * j->text_cap);
		char *text = realloc(j->text, cap);

		if (!text)
			return exhausted(j);
		j->text = text;
		j->text_cap = cap;
	}
	*out = (struct toc_kept){ j->text_len, n };
	if (n)
		memcpy(j->text + j->text_len, p, n);
	j->text[j->text_len + n] = '\0';
	j->text_len = need;
	return 0;
}

static int more_xattrs(struct toc_json *j)
{
	unsigned cap = MAX(8, 2 * j->cap_xattrs);
	struct toc_kept_xattr *kept;
	struct layer_xattr *xattrs;

	kept = realloc(j->kept_xattrs, cap * sizeof *kept);
	if (!kept)
		return exhausted(j);
	j->kept_xattrs = kept;
	xattrs = realloc(j->xattrs, cap * sizeof *xattrs);
	if (!xattrs)
		return exhausted(j);
	j->xattrs = xattrs;
	j->cap_xattrs = cap;
	return 0;
}

static int xattr_name(struct toc_json *j, const char *p, size_t n)
{
	int r = 0;

	if (n == 0 || n > XATTR_NAME_MAX || memchr(p, 0, n))
		return odd(j, "has an attribute without a proper name");
	if (j->n_xattrs == XATTRS_MAX)
		return vmofs_err_set(j->err, -E2BIG,
				     "an entry of the table of contents has too many attributes");
	if (j->n_xattrs == j->cap_xattrs)
		r = more_xattrs(j);
	if (r < 0)
		return r;
	j->kept_xattrs[j->n_xattrs] = (struct toc_kept_xattr){ 0 };
	r = keep(j, p, n, &j->kept_xattrs[j->n_xattrs].name);
	if (r == 0)
		j->n_xattrs++;
	return r;
}

/* Unpacked where it lies: it becomes shorter. */
static int xattr_value(struct toc_json *j, const char *p, size_t n)
{
	struct toc_kept *v = &j->kept_xattrs[j->n_xattrs - 1].value;
	int r = keep(j, p, n, v);

	if (r < 0)
		return r;
	r = digest_unbase64(j->text + v->at, n, (uint8_t *)j->text + v->at, n);
	if (r < 0)
		return odd(j, "has an attribute whose value is not base64");
	v->len = (size_t)r;
	return 0;
}

/* -- entries ---------------------------------------------------------------------------------- */

static void begin_entry(struct toc_json *j)
{
	memset(&j->entry, 0, sizeof j->entry);
	memset(j->kept, 0, sizeof j->kept);
	j->text_len = 0;
	j->n_xattrs = 0;
	j->key = ARRAY_LEN(keys) - 1;
	j->where = IN_ENTRY;
}

static int end_entry(struct toc_json *j)
{
	for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
		struct toc_string s = { j->text ? j->text + j->kept[i].at : NULL, j->kept[i].len };

		if (keys[i].value == TEXT && s.len)
			memcpy((char *)&j->entry + keys[i].at, &s, sizeof s);
	}
	for (unsigned i = 0; i < j->n_xattrs; i++) {
		const struct toc_kept_xattr *k = &j->kept_xattrs[i];

		j->xattrs[i] = (struct layer_xattr){ .name = j->text + k->name.at,
						     .name_len = k->name.len,
						     .value = j->text + k->value.at,
						     .len = k->value.len };
	}
	j->entry.xattrs = j->n_xattrs ? j->xattrs : NULL;
	j->entry.n_xattrs = j->n_xattrs;
	j->where = IN_ENTRIES;
	return toc_files_entry(j->files, &j->entry, j->err);
}

static int entry_key(struct toc_json *j, const char *p, size_t n)
{
	unsigned i = j->key;

	for (unsigned left = ARRAY_LEN(keys); left; left--) {
		i = i + 1 == ARRAY_LEN(keys) ? 0 : i + 1;
		if (keys[i].len == n && !memcmp(keys[i].key, p, n)) {
			j->key = i;
			return 0;
		}
	}
	return JSON_SKIP;
}

static bool is_null(const struct json_token *t)
{
	return t->event == JSON_OTHER && t->len == 4 && !memcmp(t->p, "null", 4);
}

static int entry_value(struct toc_json *j, const struct json_token *t)
{
	enum toc_value value = keys[j->key].value;

	if (is_null(t))
		return 0;
	if (value == TEXT && t->event == JSON_STRING)
		return keep(j, t->p, t->len, &j->kept[j->key]);
	if (value == NUMBER && t->event == JSON_INT) {
		memcpy((char *)&j->entry + keys[j->key].at, &t->number, sizeof t->number);
		return 0;
	}
	if (value == XATTRS && t->event == JSON_OBJECT) {
		j->n_xattrs = 0;
		j->where = IN_XATTRS;
		return 0;
	}
	return vmofs_err_set(j->err, -EBADMSG, "the table of contents has no %s as '%s'",
			     value == TEXT             ? "text"
				     : value == NUMBER ? "whole number"
						       : "object",
			     keys[j->key].key);
}

/* -- the places of a document ----------------------------------------------------------------- */

static bool is(const struct json_token *t, const char *word)
{
	return t->len == strlen(word) && !memcmp(t->p, word, t->len);
}

static int in_root_key(struct toc_json *j, const struct json_token *t)
{
	struct toc_facts *facts = j->files->facts;

	j->is_version = is(t, "version");
	j->is_entries = is(t, "entries");
	if (j->is_entries && j->has_entries)
		return odd(j, "has its entries twice");
	j->has_entries = j->has_entries || j->is_entries;
	if (is(t, "tarSplitDigest"))
		facts->has_split_digest = false;
	return j->is_version || j->is_entries || is(t, "tarSplitDigest") ? 0 : JSON_SKIP;
}

static int in_root(struct toc_json *j, const struct json_token *t)
{
	struct toc_facts *facts = j->files->facts;

	if (t->event == JSON_KEY)
		return in_root_key(j, t);
	if (t->event == JSON_OBJECT_END) {
		j->where = OUTSIDE;
		return 0;
	}
	if (is_null(t))
		return 0;
	if (j->is_entries && t->event == JSON_ARRAY) {
		j->where = IN_ENTRIES;
		return 0;
	}
	if (j->is_version && t->event == JSON_INT) {
		j->version = t->number;
		return 0;
	}
	if (t->event != JSON_STRING || j->is_entries || j->is_version)
		return odd(j, "has no entries, or no version");
	facts->has_split_digest = toc_parse_digest(t->p, t->len, facts->split_digest);
	return facts->has_split_digest ? 0 : odd(j, "has a malformed digest of the tar-split");
}

static int in_entries(struct toc_json *j, const struct json_token *t)
{
	if (t->event == JSON_OBJECT) {
		begin_entry(j);
		return 0;
	}
	if (t->event != JSON_ARRAY_END)
		return odd(j, "has an entry that is no object");
	j->where = IN_ROOT;
	return 0;
}

static int in_entry(struct toc_json *j, const struct json_token *t)
{
	if (t->event == JSON_KEY)
		return entry_key(j, t->p, t->len);
	return t->event == JSON_OBJECT_END ? end_entry(j) : entry_value(j, t);
}

static int in_xattrs(struct toc_json *j, const struct json_token *t)
{
	if (t->event == JSON_OBJECT_END) {
		j->where = IN_ENTRY;
		return 0;
	}
	if (t->event == JSON_KEY)
		return xattr_name(j, t->p, t->len);
	if (t->event == JSON_STRING)
		return xattr_value(j, t->p, t->len);
	return is_null(t) ? xattr_value(j, "", 0) : odd(j, "has an attribute that is no text");
}

static int outside(struct toc_json *j, const struct json_token *t)
{
	if (t->event != JSON_OBJECT)
		return odd(j, "is no object");
	j->where = IN_ROOT;
	return 0;
}

static int toc_json_token(struct json_sink *sink, const struct json_token *t)
{
	static int (*const at[])(struct toc_json *, const struct json_token *) = {
		[OUTSIDE] = outside,   [IN_ROOT] = in_root,     [IN_ENTRIES] = in_entries,
		[IN_ENTRY] = in_entry, [IN_XATTRS] = in_xattrs,
	};
	struct toc_json *j = container_of(sink, struct toc_json, sink);

	return at[j->where](j, t);
}

/* -- the whole -------------------------------------------------------------------------------- */

int toc_json_new(struct toc_json **out, struct toc_files *files)
{
	struct toc_json *j = calloc(1, sizeof *j);

	if (!j)
		return -ENOMEM;
	j->sink.token = toc_json_token;
	j->files = files;
	j->stream = json_stream_new(&j->sink, STRING_MAX);
	if (!j->stream) {
		free(j);
		return -ENOMEM;
	}
	*out = j;
	return 0;
}

void toc_json_free(struct toc_json *j)
{
	if (!j)
		return;
	json_stream_free(j->stream);
	free(j->text);
	free(j->kept_xattrs);
	free(j->xattrs);
	free(j);
}

/* What the stream says by itself has no words to it. */
static int said(int r, struct vmofs_err *err)
{
	if (r == 0 || err->code)
		return r;
	return vmofs_err_set(err, r, "the table of contents %s",
			     r == -EBADMSG         ? "is not JSON"
				     : r == -E2BIG ? "has too long a string, or is too deep"
						   : "cannot be read");
}

int toc_json_feed(struct toc_json *j, const void *p, size_t n, struct vmofs_err *err)
{
	j->err = err;
	return said(json_stream_feed(j->stream, p, n), err);
}

int toc_json_end(struct toc_json *j, struct vmofs_err *err)
{
	int r;

	j->err = err;
	r = said(json_stream_end(j->stream), err);
	if (r == 0 && j->version != 1)
		r = vmofs_err_set(err, -EBADMSG,
				  "the table of contents has a version that is not known");
	return r < 0 ? r : toc_files_end(j->files, err);
}
