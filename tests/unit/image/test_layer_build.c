/* SPDX-License-Identifier: Apache-2.0 */
/* What entries make of a layer's tree, rule by rule; limits; places, spans and windows. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "image/layer_format.h"
#include "lib/layer_text.h"
#include "lib/prng.h"

/* A layer of these entries has these names; the root is left out. */
static void expect(const char *entries, const char *want)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x;
	char *got;

	if (layer_text_index(&x, entries, &err) < 0)
		fail_msg("%s", err.msg);
	got = layer_text_dump(&x);
	assert_string_equal(strchr(got, '\n') + 1, want);
	free(got);
	free((void *)(uintptr_t)x.p);
}

static void refuse(const char *entries, int code)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x;

	assert_int_equal(layer_text_index(&x, entries, &err), code);
	assert_int_equal(err.code, code);
	assert_true(err.msg[0]);
}

static void test_names(void **state UNUSED)
{
	expect("", "");
	expect("d ./a\nf /a//./b 5\nf a/c/ 6\n", "d a 755 2 1\nf a/b 644 1 2 5\nf a/c 644 1 3 6\n");
	/* Parents that nobody tells of, also when somebody does later. */
	expect("f x/y/z 1\n", "d x 755 3 0 i\nd x/y 755 2 0 i\nf x/y/z 644 1 1 1\n");
	expect("f x/y 1\nd x 700\n", "d x 700 2 2\nf x/y 644 1 1 1\n");
	/* Bytes, the shorter first. */
	expect("f b 1\nf a.b 1\nf a 1\nf \xff 1\nf B 1\n",
	       "f B 644 1 5 1\nf a 644 1 3 1\nf a.b 644 1 2 1\nf b 644 1 1 1\nf \xff 644 1 4 1\n");
	refuse("f ../a 1\n", -EBADMSG);
	refuse("f a/../b 1\n", -EBADMSG);
	refuse("d a/..\n", -EBADMSG);
	refuse("f ./ 1\n", -EBADMSG);
}

static void test_root(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x;
	char *got;

	assert_int_equal(layer_text_index(&x, "f a 1\nd ./ 711\nd b\n", &err), 0);
	got = layer_text_dump(&x);
	assert_string_equal(got, "d / 711 3 2\nf a 644 1 1 1\nd b 755 2 3\n");
	assert_int_equal(layer_walk(&x, ""), LAYER_ROOT);
	assert_int_equal(layer_walk(&x, "/"), LAYER_ROOT);
	assert_int_equal(layer_walk(&x, "b/."), layer_walk(&x, "/b"));
	assert_int_equal(layer_walk(&x, "b/a"), 0);
	assert_int_equal(layer_walk(&x, "a/a"), 0);
	assert_null(layer_inode(&x, 0));
	assert_null(layer_inode(&x, x.n_inodes + 1));
	free(got);
	free((void *)(uintptr_t)x.p);
}

static void test_types(void **state UNUSED)
{
	expect("l l /any/../where\nc c 1 3\nb b 4095 1048575\np p\ns s\n",
	       "b b 644 1 3 4095 1048575\nc c 644 1 2 1 3\nl l 777 1 1 /any/../where\np p 644 1 4\n");
	refuse("c c 4096 0\n", -EBADMSG);
	refuse("b c 0 1048576\n", -EBADMSG);
	refuse("l l\n", -EBADMSG);
	/* A device that overlayfs takes for a whiteout is one. */
	expect("c c 0 0\n", "w c\n");
	expect("f c 1\nc c 0 0\n", "f c 644 1 1 1\n");
}

static void test_later_counts(void **state UNUSED)
{
	expect("f a 1\nf a 2\n", "f a 644 1 2 2\n");
	expect("d a 700\nf a/b 1\nd a 711\n", "d a 711 2 3\nf a/b 644 1 2 1\n");
	expect("d a\nf a/b 1\nd a/c\nf a/c/d 1\nl a x\n", "l a 777 1 5 x\n");
	/* It has been something else, which hid what lower layers have in it. */
	expect("f a 1\nd a\n", "d a 755 2 2 o\n");
	expect("f a 1\nf a/b 1\n", "d a 755 2 0 o\nf a/b 644 1 2 1\n");
	/* What was in it does not come back. */
	expect("d a\nf a/b 1\nf a/d/e 1\nf a 1\nf a/c 1\nd a/d\n",
	       "d a 755 3 0 o\nf a/c 644 1 5 1\nd a/d 755 2 6\n");
}

static void test_hard_links(void **state UNUSED)
{
	expect("f a 3\nh b ./a\nh d/c /b\n",
	       "f a 644 3 1 3\nf b 644 3 1 3\nd d 755 2 0 i\nf d/c 644 3 1 3\n");
	/* Of symbolic links and devices too. */
	expect("l a t\nh b a\nc c 1 2\nh e c\n",
	       "l a 777 2 1 t\nl b 777 2 1 t\nc c 644 2 3 1 2\nc e 644 2 3 1 2\n");
	/* It is to what was there then. */
	expect("f a 3\nh b a\nf a 4\n", "f a 644 1 3 4\nf b 644 1 1 3\n");
	expect("f a 3\nh a a\n", "f a 644 1 1 3\n");
	expect("d d\nf d/f 3\nh d d/f\n", "f d 644 1 2 3\n");
	/* Before its target, and through others. */
	expect("h b a\nf a 3\n", "f a 644 2 2 3\nf b 644 2 2 3\n");
	expect("h c b\nh b d/a\nf d/a 3\nh e c\n",
	       "f b 644 4 3 3\nf c 644 4 3 3\nd d 755 2 0 i\nf d/a 644 4 3 3\nf e 644 4 3 3\n");
	/* One that does not count in the end is not asked for its target. */
	expect("h b a\nf b 1\n", "f b 644 1 2 1\n");
	expect("h d/x/b a\nf d 1\n", "f d 644 1 2 1\n");
	refuse("h b a\n", -EBADMSG);
	refuse("h b b\n", -EBADMSG);
	refuse("h a b\nh b a\n", -EBADMSG);
	refuse("d a\nh b a\n", -EBADMSG);
	refuse("h b a\nd a\n", -EBADMSG);
	refuse("h b .wh.a\nf a 1\n", -EBADMSG);
	refuse("f .wh.a\nh b a\n", -EBADMSG);
	refuse("h b ../a\n", -EBADMSG);
	refuse("h b /\n", -EBADMSG);
	refuse("f f 1\nh b f/a\n", -EBADMSG);
}

static void test_whiteouts(void **state UNUSED)
{
	expect("f a/.wh.b\nf .wh.c\n", "d a 755 2 0 i\nw a/b\nw c\n");
	/* What the layer has itself is not hidden. */
	expect("f .wh.a\nf a 1\n", "f a 644 1 2 1\n");
	expect("f a 1\nf .wh.a\n", "f a 644 1 1 1\n");
	expect("h b a\nf .wh.b\nf a 1\n", "f a 644 2 3 1\nf b 644 2 3 1\n");
	/* Where it is a directory, nothing is left of the lower one. */
	expect("f .wh.a\nd a 700\n", "d a 700 2 2 o\n");
	expect("d a 700\nf .wh.a\n", "d a 700 2 1 o\n");
	expect("f a/b 1\nf .wh.a\n", "d a 755 2 0 o\nf a/b 644 1 1 1\n");
	expect("f .wh.a\nf a/b 1\n", "d a 755 2 0 o\nf a/b 644 1 2 1\n");
	/* In any order. */
	expect("f .wh.a\nf a/.wh.b\n", "w a\n");
	expect("f a/.wh.b\nf .wh.a\n", "w a\n");
	expect("f a/b/.wh.c\nf a/d/.wh..wh..opq\nf .wh.a\n", "w a\n");
	expect("f a/b/.wh.c\nf a/e 1\nf .wh.a\n", "d a 755 2 0 o\nf a/e 644 1 2 1\n");
	/* Below a file it says nothing. */
	expect("f a 1\nf a/.wh.b\nf a/.wh..wh..opq\n", "f a 644 1 1 1\n");
	/* Others of that kind are left out, and what is below them. */
	expect("f .wh..wh.plnk/1.2\nf .wh..wh.aufs 1\nd .wh..wh.orph\nf .wh.\nf a/.wh.b/c 1\n", "");
	refuse("f .wh...\n", -EBADMSG);
	refuse("f a/.wh..\n", -EBADMSG);
}

static void test_opaque(void **state UNUSED)
{
	expect("d a 700\nf a/.wh..wh..opq\nf a/b 1\n", "d a 700 2 1 o\nf a/b 644 1 3 1\n");
	expect("f a/.wh..wh..opq\nd a 700\n", "d a 700 2 2 o\n");
	expect("f a/.wh..wh..opq\n", "d a 755 2 0 oi\n");
	expect("d a\nf a/.wh.b\nf a/.wh..wh..opq\nf a/c/.wh.d\n", "d a 755 2 1 o\n");
}

static void test_hidden(void **state UNUSED)
{
	expect("f .prefetch.landmark 1\nf ./.no.prefetch.landmark 1\nf /stargz.index.json 9\n", "");
	expect("f d/.prefetch.landmark 1\nd stargz.index.json\n",
	       "d d 755 2 0 i\nf d/.prefetch.landmark 644 1 1 1\nd stargz.index.json 755 2 2\n");
}

/* -- attributes -------------------------------------------------------------------------------- */

static struct layer_xattr attr(const char *name, const char *value, size_t len)
{
	return (struct layer_xattr){
		.name = name, .name_len = strlen(name), .value = value, .len = len
	};
}

static void add(struct layer_build *b, const char *name, const struct layer_xattr *x, unsigned n)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	const struct layer_entry e = { .name = name,
				       .name_len = strlen(name),
				       .mode = S_IFREG | 0644,
				       .xattrs = x,
				       .n_xattrs = n };

	assert_int_equal(layer_build_entry(b, &e, &err), 0);
}

static void end(struct layer_build *b, struct layer_id *id, struct layer_index *x)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	void *p = NULL;
	size_t len = 0;

	if (layer_build_end(b, id, &p, &len, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(layer_index_check(x, p, len, &err), 0);
	layer_build_free(b);
}

static void test_xattrs(void **state UNUSED)
{
	const struct layer_xattr a[] = { attr("user.b", "1\0002", 3),
					 attr("security.capability", "\1\0\0\2", 4),
					 attr("trusted.overlay.opaque", "y", 1),
					 attr("user.overlay.redirect", "/", 1),
					 attr("user.a", "", 0),
					 attr("user.b", "3", 1) };
	const struct layer_xattr same[] = { a[4], a[5], a[1] };
	struct layer_id id = { 0 };
	const struct layer_inode *i, *j;
	struct layer_build *b;
	struct layer_xattr got;
	struct layer_index x;

	assert_int_equal(layer_build_new(&b, LAYER_LAYOUT_TAR, NULL), 0);
	add(b, "x", a, ARRAY_LEN(a));
	add(b, "y", same, ARRAY_LEN(same));
	add(b, "z", &a[2], 2);
	end(b, &id, &x);
	i = layer_inode(&x, layer_walk(&x, "x"));
	j = layer_inode(&x, layer_walk(&x, "y"));
	assert_int_equal(layer_n_xattrs(&x, i), 3);
	assert_int_equal(i->xattrs, j->xattrs);
	got = layer_xattr(&x, i, 0);
	assert_string_equal(got.name, "security.capability");
	assert_int_equal(got.len, 4);
	assert_memory_equal(got.value, "\1\0\0\2", 4);
	got = layer_xattr(&x, i, 1);
	assert_string_equal(got.name, "user.a");
	assert_int_equal(got.len, 0);
	got = layer_xattr(&x, i, 2);
	assert_int_equal(got.name_len, 6);
	assert_int_equal(got.len, 1);
	assert_memory_equal(got.value, "3", 1);
	assert_int_equal(layer_n_xattrs(&x, layer_inode(&x, layer_walk(&x, "z"))), 0);
	free((void *)(uintptr_t)x.p);
}

/* -- limits ------------------------------------------------------------------------------------ */

static int try_entry(const struct layer_limits *limits, const char *name, size_t len, uint64_t size)
{
	const struct layer_entry e = {
		.name = name, .name_len = len, .mode = S_IFREG | 0644, .size = size, .data = 0
	};
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_build *b;
	int r;

	assert_int_equal(layer_build_new(&b, LAYER_LAYOUT_TAR, limits), 0);
	r = layer_build_entry(b, &e, &err);
	layer_build_free(b);
	return r;
}

static void test_limits(void **state UNUSED)
{
	const struct layer_limits few = { .entries = 3 }, small = { .bytes = 20 },
				  short_ = { .data = 100 };
	char deep[2 * LAYER_DEPTH_MAX + 4], name[LAYER_NAME_MAX + 2];

	memset(name, 'n', sizeof name);
	assert_int_equal(try_entry(NULL, name, LAYER_NAME_MAX, 0), 0);
	assert_int_equal(try_entry(NULL, name, LAYER_NAME_MAX + 1, 0), -EBADMSG);
	assert_int_equal(try_entry(NULL, "a\0b", 3, 0), -EBADMSG);
	for (unsigned i = 0; i < sizeof deep; i++)
		deep[i] = i % 2 ? '/' : 'd';
	assert_int_equal(try_entry(NULL, deep, 2 * LAYER_DEPTH_MAX, 0), 0);
	assert_int_equal(try_entry(NULL, deep, 2 * LAYER_DEPTH_MAX + 1, 0), -EBADMSG);
	assert_int_equal(try_entry(&few, "a/b", 3, 0), 0);
	assert_int_equal(try_entry(&few, "a/b/c", 5, 0), -E2BIG);
	assert_int_equal(try_entry(&small, "aaaa/bbbb/cccc", 14, 0), 0);
	assert_int_equal(try_entry(&small, "aaaaaa/bbbbbb/cccccc", 20, 0), -E2BIG);
	assert_int_equal(try_entry(&short_, "a", 1, 100), 0);
	assert_int_equal(try_entry(&short_, "a", 1, 101), -E2BIG);
	assert_int_equal(try_entry(NULL, "a", 1, UINT64_MAX), -E2BIG);
}

/* The deepest path there can be is written, and taken. */
static void test_deep(void **state UNUSED)
{
	char text[2 * LAYER_DEPTH_MAX + 8] = "f ";
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x;

	for (unsigned i = 0; i < LAYER_DEPTH_MAX; i++)
		strcat(text, i ? "/d" : "d");
	strcat(text, " 1\n");
	assert_int_equal(layer_text_index(&x, text, &err), 0);
	assert_int_equal(x.n_inodes, LAYER_DEPTH_MAX + 1);
	free((void *)(uintptr_t)x.p);
}

static void test_beyond_data(void **state UNUSED)
{
	const struct layer_entry e = {
		.name = "a", .name_len = 1, .mode = S_IFREG, .size = 10, .data = 91
	};
	struct layer_id id = { .data_size = 100 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_build *b;
	size_t len;
	void *p;

	assert_int_equal(layer_build_new(&b, LAYER_LAYOUT_TAR, NULL), 0);
	assert_int_equal(layer_build_entry(b, &e, &err), 0);
	assert_int_equal(layer_build_end(b, &id, &p, &len, &err), -EBADMSG);
	layer_build_free(b);
}

/* -- data -------------------------------------------------------------------------------------- */

static void test_pages(void **state UNUSED)
{
	struct layer_entry e = { .name = "a", .name_len = 1, .mode = S_IFREG, .size = 5000 };
	struct layer_id id = { .blob_size = 1000 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	uint8_t digest[2][LAYER_DIGEST_LEN] = { { 1 }, { 2 } };
	struct layer_span s = { .data_len = 10, .blob = 7, .blob_len = 3, .kind = LAYER_SPAN_GZIP };
	struct layer_build *b;
	struct layer_index x;
	uint64_t at[3];

	assert_int_equal(layer_build_new(&b, LAYER_LAYOUT_PAGES, NULL), 0);
	assert_int_equal(layer_build_place(b, 5000, &at[0]), 0);
	assert_int_equal(layer_build_place(b, 0, &at[1]), 0);
	assert_int_equal(layer_build_place(b, 1, &at[2]), 0);
	assert_int_equal(at[0], 0);
	assert_int_equal(at[1], 8192);
	assert_int_equal(at[2], 8192);
	assert_int_equal(layer_build_entry(b, &e, &err), 0);
	e.data = 8192;
	assert_int_equal(layer_build_entry(b, &e, &err), -EBADMSG);
	s.data = at[2];
	assert_int_equal(layer_build_span(b, &s, digest[1], NULL, 0), 0);
	s.data = at[0];
	assert_int_equal(layer_build_span(b, &s, digest[0], NULL, 0), 0);
	s.data = at[0] + 10;
	s.digest_of = LAYER_DIGEST_BLOB;
	assert_int_equal(layer_build_span(b, &s, NULL, NULL, 0), 0);
	s.data = at[0] + 20;
	assert_int_equal(layer_build_span(b, &s, digest[0], NULL, 0), 0);
	end(b, &id, &x);
	assert_int_equal(id.data_size, 12288);
	assert_int_equal(x.n_spans, 4);
	assert_memory_equal(layer_span_digest(&x, &x.spans[0]), digest[0], LAYER_DIGEST_LEN);
	assert_null(layer_span_digest(&x, &x.spans[1]));
	assert_int_equal(x.spans[1].digest_of, LAYER_DIGEST_DATA);
	assert_memory_equal(layer_span_digest(&x, &x.spans[2]), digest[0], LAYER_DIGEST_LEN);
	assert_int_equal(x.spans[2].digest_of, LAYER_DIGEST_BLOB);
	assert_memory_equal(layer_span_digest(&x, &x.spans[3]), digest[1], LAYER_DIGEST_LEN);
	assert_int_equal(layer_span_at(&x, 0), 0);
	assert_int_equal(layer_span_at(&x, 9), 0);
	assert_int_equal(layer_span_at(&x, 10), 1);
	assert_int_equal(layer_span_at(&x, 20), 2);
	assert_int_equal(layer_span_at(&x, 30), 3);
	assert_int_equal(layer_span_at(&x, 8202), 4);
	free((void *)(uintptr_t)x.p);
}

/* Two spans, which the end takes or refuses. */
static int end_with(struct layer_span s0, struct layer_span s1)
{
	struct layer_id id = { .blob_size = 1000, .data_size = 1000 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_build *b;
	void *p = NULL;
	size_t len;
	int r;

	assert_int_equal(layer_build_new(&b, LAYER_LAYOUT_TAR, NULL), 0);
	assert_int_equal(layer_build_span(b, &s0, NULL, NULL, 0), 0);
	assert_int_equal(layer_build_span(b, &s1, NULL, NULL, 0), 0);
	r = layer_build_end(b, &id, &p, &len, &err);
	layer_build_free(b);
	free(p);
	return r;
}

static void test_spans(void **state UNUSED)
{
	const struct layer_span ok = { .data_len = 10, .blob_len = 10, .kind = LAYER_SPAN_RAW };
	struct layer_span s = ok;

	s.data = 10;
	assert_int_equal(end_with(ok, s), 0);
	assert_int_equal(end_with(s, ok), 0);
	s.data = 9;
	assert_int_equal(end_with(ok, s), -EBADMSG);
	s.data = 991;
	assert_int_equal(end_with(ok, s), -EBADMSG);
	s.data = UINT64_MAX - 5;
	assert_int_equal(end_with(ok, s), -EBADMSG);
	s = ok;
	s.data = 10;
	s.blob = 991;
	assert_int_equal(end_with(ok, s), -EBADMSG);
	s.blob = UINT64_MAX - 5;
	assert_int_equal(end_with(ok, s), -EBADMSG);
	s.blob = 0;
	s.skip = 1; /* of RAW, beyond its part of the blob */
	assert_int_equal(end_with(ok, s), -EBADMSG);
	s.kind = LAYER_SPAN_ZSTD;
	assert_int_equal(end_with(ok, s), 0);
	s.skip = UINT64_MAX;
	assert_int_equal(end_with(ok, s), -EBADMSG);
	s.skip = 0;
	s.bits = 1;
	assert_int_equal(end_with(ok, s), -EBADMSG);
	s.kind = LAYER_SPAN_DEFLATE;
	assert_int_equal(end_with(ok, s), 0);
	s.bits = 8;
	assert_int_equal(end_with(ok, s), -EBADMSG);
	s = (struct layer_span){ .data = 10, .data_len = 5, .kind = LAYER_SPAN_ZERO };
	assert_int_equal(end_with(ok, s), 0);
	s.kind = LAYER_SPAN_NKINDS;
	assert_int_equal(end_with(ok, s), -EBADMSG);
}

static void test_windows(void **state UNUSED)
{
	struct layer_id id = { .blob_size = 1000, .data_size = 1000 };
	struct layer_span s = { .data_len = 10, .blob_len = 10, .kind = LAYER_SPAN_DEFLATE };
	static uint8_t window[3][LAYER_WINDOW_MAX + 1], out[LAYER_WINDOW_MAX];
	static const size_t lens[3] = { LAYER_WINDOW_MAX, 1, 20000 };
	struct prng r = { .state = 3 };
	struct layer_build *b;
	struct layer_index x;

	/* One that cannot be made smaller. */
	for (size_t i = 0; i < sizeof window[0]; i++)
		window[0][i] = (uint8_t)prng_next(&r);
	assert_int_equal(layer_build_new(&b, LAYER_LAYOUT_TAR, NULL), 0);
	assert_int_equal(layer_build_span(b, &s, NULL, window[0], LAYER_WINDOW_MAX + 1), -EBADMSG);
	for (unsigned i = 0; i < 3; i++) {
		s.data = 100 * i;
		assert_int_equal(layer_build_span(b, &s, NULL, window[i], lens[i]), 0);
	}
	s.data = 500;
	assert_int_equal(layer_build_span(b, &s, NULL, NULL, 0), 0);
	end(b, &id, &x);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(layer_span_window(&x, &x.spans[i], out), (int)lens[i]);
		assert_memory_equal(out, window[i], lens[i]);
	}
	assert_int_equal(layer_span_window(&x, &x.spans[3], out), 0);
	free((void *)(uintptr_t)x.p);
}

/* The tables' keys are random, and show nowhere. */
static void test_same_bytes(void **state UNUSED)
{
	static const char text[] = "d b\nf b/x 1\nf b/y 2\nh c b/x\nf d/e/f 1\nf d/e/a 1\nl z b/x\n"
				   "f .wh.q\nf b/x 5\nd d/e 700\nf d/.wh..wh..opq\n";
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x, y;

	assert_int_equal(layer_text_index(&x, text, &err), 0);
	assert_int_equal(layer_text_index(&y, text, &err), 0);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.p, y.p, x.len);
	free((void *)(uintptr_t)x.p);
	free((void *)(uintptr_t)y.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),      cmocka_unit_test(test_root),
		cmocka_unit_test(test_types),      cmocka_unit_test(test_later_counts),
		cmocka_unit_test(test_hard_links), cmocka_unit_test(test_whiteouts),
		cmocka_unit_test(test_opaque),     cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_xattrs),     cmocka_unit_test(test_limits),
		cmocka_unit_test(test_deep),       cmocka_unit_test(test_beyond_data),
		cmocka_unit_test(test_pages),      cmocka_unit_test(test_spans),
		cmocka_unit_test(test_windows),    cmocka_unit_test(test_same_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
