/* SPDX-License-Identifier: Apache-2.0 */
/* What the check of an index refuses, field by field; that no damaged bit gets past it; and an index in a file. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "base/macros.h"
#include "image/layer_build.h"
#include "image/layer_format.h"
#include "lib/layer_text.h"

/* The numbers that these get: root 1, dir 2, dev 3, file 4, link 5; d/sub 6, and below it the file again. */
static const char entries[] = "d d 700\nd d/sub\nf file 100 50\nh d/sub/again file\nl link where\n"
			      "c dev 1 3\n";
enum { ROOT = 1, DIR_ = 2, DEV = 3, FILE_ = 4, LINK = 5, SUB = 6 };
enum { DATA = 4096, BLOB = 1000 };

static const struct layer_xattr attrs[] = { { "security.a", 10, "\0\1", 2 },
					    { "user.b", 6, "", 0 } };

struct sample {
	struct layer_index x;
	uint8_t *p;
	size_t len;
	struct layer_header *h; /* in p, as all of these */
	struct layer_inode *inodes;
	struct layer_dirent *dirents;
	struct layer_span *spans;
	uint32_t *xattrs;
};

static void put_spans(struct layer_build *b)
{
	struct layer_span s = { .data_len = 100, .blob_len = 500, .kind = LAYER_SPAN_GZIP };
	static const uint8_t digest[LAYER_DIGEST_LEN] = { 7 };

	assert_int_equal(layer_build_span(b, &s, digest, NULL, 0), 0);
	s = (struct layer_span){ .data = 100,
				 .data_len = 200,
				 .blob = 300,
				 .blob_len = 700,
				 .kind = LAYER_SPAN_DEFLATE,
				 .bits = 3 };
	assert_int_equal(layer_build_span(b, &s, NULL, "window", 6), 0);
	s = (struct layer_span){
		.data = 1000, .data_len = 10, .blob = 990, .blob_len = 10, .kind = LAYER_SPAN_RAW
	};
	assert_int_equal(layer_build_span(b, &s, NULL, NULL, 0), 0);
}

static void sample_make(struct sample *s)
{
	const struct layer_entry e = {
		.name = "d", .name_len = 1, .mode = S_IFDIR | 0711, .xattrs = attrs, .n_xattrs = 2
	};
	struct layer_id id = { .data_size = DATA, .blob_size = BLOB, .blob = { 1 }, .diff = { 2 } };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_build *b;
	void *p;

	assert_int_equal(layer_build_new(&b, LAYER_LAYOUT_TAR, NULL), 0);
	assert_int_equal(layer_text_entries(b, entries, &err), 0);
	assert_int_equal(layer_build_entry(b, &e, &err), 0);
	put_spans(b);
	assert_int_equal(layer_build_end(b, &id, &p, &s->len, &err), 0);
	layer_build_free(b);
	s->p = p;
	assert_int_equal(layer_index_check(&s->x, p, s->len, &err), 0);
	s->h = p;
	s->inodes = (struct layer_inode *)(uintptr_t)s->x.inodes;
	s->dirents = (struct layer_dirent *)(uintptr_t)s->x.dirents;
	s->spans = (struct layer_span *)(uintptr_t)s->x.spans;
	s->xattrs = (uint32_t *)(uintptr_t)s->x.xattrs;
}

static int check(struct sample *s)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x;

	return layer_index_check(&x, s->p, s->len, &err);
}

static int check_sealed(struct sample *s)
{
	s->h->crc = layer_crc(s->p, s->len);
	return check(s);
}

static void test_sample(void **state UNUSED)
{
	struct sample s;
	char *got;

	sample_make(&s);
	got = layer_text_dump(&s.x);
	assert_string_equal(got,
			    "d / 755 3 0 i\nd d 711 3 0\nd d/sub 755 2 2\n"
			    "f d/sub/again 644 2 3 100\nc dev 644 1 6 1 3\nf file 644 2 3 100\n"
			    "l link 777 1 5 where\n");
	assert_int_equal(s.x.n_inodes, 6);
	assert_int_equal(s.x.n_dirents, 6);
	assert_int_equal(layer_walk(&s.x, "d/sub"), SUB);
	assert_int_equal(layer_walk(&s.x, "d/sub/again"), FILE_);
	assert_int_equal(s.x.id.blob[0], 1);
	assert_int_equal(s.x.id.diff[0], 2);
	free(got);
	free(s.p);
}

/* -- damage ------------------------------------------------------------------------------------ */

static void test_every_bit(void **state UNUSED)
{
	struct sample s;

	sample_make(&s);
	for (size_t i = 0; i < s.len * 8; i++) {
		s.p[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(check(&s), -EBADMSG);
		s.p[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(check(&s), 0);
	free(s.p);
}

static void test_every_length(void **state UNUSED)
{
	struct sample s;
	size_t whole;

	sample_make(&s);
	for (whole = s.len; s.len-- > 0;) {
		/* An exact allocation, so that a read behind the end is seen. */
		struct sample cut = { .len = s.len, .p = malloc(s.len + 1) };

		assert_non_null(cut.p);
		memcpy(cut.p, s.p, s.len);
		cut.h = (void *)cut.p;
		assert_int_equal(check(&cut), -EBADMSG);
		if (s.len >= LAYER_HEADER_LEN) {
			cut.h->len = s.len;
			assert_int_equal(check_sealed(&cut), -EBADMSG);
		}
		free(cut.p);
	}
	s.len = whole;
	free(s.p);
}

/* -- what somebody means ----------------------------------------------------------------------- */

/* The field is @value, and the checksum is right. */
#define WRONG(field, value)                                   \
	do {                                                  \
		__typeof__(field) was_ = (field);             \
		(field) = (__typeof__(field))(value);         \
		assert_int_equal(check_sealed(&s), -EBADMSG); \
		(field) = was_;                               \
		assert_int_equal(check_sealed(&s), 0);        \
	} while (0)

static void test_header(void **state UNUSED)
{
	struct sample s;

	sample_make(&s);
	WRONG(s.h->magic[0], 'V');
	WRONG(s.h->version, 2);
	WRONG(s.h->layout, 0);
	WRONG(s.h->layout, LAYER_NLAYOUTS);
	WRONG(s.h->layout, LAYER_LAYOUT_MERGED);
	WRONG(s.h->layout, LAYER_LAYOUT_PAGES); /* files are not on pages */
	WRONG(s.h->len, s.len - 8);
	WRONG(s.h->n_layers, 0);
	WRONG(s.h->n_layers, 2);
	WRONG(s.h->zero[21], 1);
	WRONG(s.h->blob_size, UINT64_MAX);
	WRONG(s.h->blob_size, BLOB - 1);
	WRONG(s.h->data_size, UINT64_MAX);
	for (unsigned k = 0; k < LAYER_NSECTIONS; k++) {
		WRONG(s.h->section[k], s.h->section[k] + 64);
		/* Names and windows may go on with zeros. */
		if (k != LAYER_SECTION_NAMES && k != LAYER_SECTION_WINDOWS)
			WRONG(s.h->section[k], s.h->section[k] + 1);
		WRONG(s.h->section[k], UINT64_MAX);
		WRONG(s.h->section[k], UINT64_MAX - 63);
		WRONG(s.h->section[k], (uint64_t)1 << 63);
	}
	free(s.p);
}

static void test_inodes(void **state UNUSED)
{
	struct sample s;
	struct layer_inode *i;

	sample_make(&s);
	i = &s.inodes[FILE_ - 1];
	WRONG(i->mode, 0644);
	WRONG(i->mode, S_IFSOCK | 0644);
	WRONG(i->mode, S_IFIFO | 0644);
	WRONG(i->mode, S_IFDIR | 0755);
	WRONG(i->data, DATA);
	WRONG(i->data, UINT64_MAX - 50);
	WRONG(i->size, UINT64_MAX - 40);
	WRONG(i->size, DATA);
	WRONG(i->mtime_nsec, 1000000000);
	WRONG(i->nlink, 0);
	WRONG(i->nlink, 3);
	WRONG(i->layer, 1);
	WRONG(i->first, 1);
	WRONG(i->n, 1);
	WRONG(i->parent, 1);
	WRONG(i->flags, LAYER_OPAQUE);
	WRONG(i->flags, LAYER_WHITEOUT);
	WRONG(i->flags, LAYER_XATTRS << 1);
	WRONG(i->xattrs, 4);
	i = &s.inodes[LINK - 1];
	WRONG(i->size, 0);
	WRONG(i->size, 4);
	WRONG(i->size, 6);
	WRONG(i->size, UINT64_MAX);
	WRONG(i->data, s.x.names_len);
	WRONG(i->data, UINT64_MAX - 2);
	i = &s.inodes[DEV - 1];
	WRONG(i->data, 0);
	WRONG(i->data, makedev(4096, 0));
	WRONG(i->data, makedev(0, 1 << 20));
	WRONG(i->data, UINT64_MAX);
	WRONG(i->flags, LAYER_WHITEOUT);
	WRONG(i->size, 1);
	free(s.p);
}

static void test_tree(void **state UNUSED)
{
	struct sample s;

	sample_make(&s);
	WRONG(s.inodes[ROOT - 1].parent, DIR_);
	WRONG(s.inodes[ROOT - 1].mode, S_IFREG);
	WRONG(s.inodes[ROOT - 1].n, 3);
	WRONG(s.inodes[ROOT - 1].first, 1);
	WRONG(s.inodes[ROOT - 1].nlink, 2);
	WRONG(s.inodes[DIR_ - 1].parent, SUB);
	WRONG(s.inodes[DIR_ - 1].first, 0);
	WRONG(s.inodes[DIR_ - 1].n, UINT32_MAX);
	WRONG(s.inodes[DIR_ - 1].data, 1);
	WRONG(s.inodes[SUB - 1].parent, ROOT);
	WRONG(s.inodes[SUB - 1].nlink, 3);
	/* The root again, the directory again, what is not there; an inode before its turn. */
	WRONG(s.dirents[4].ino, ROOT);
	WRONG(s.dirents[4].ino, DIR_);
	WRONG(s.dirents[4].ino, SUB + 1);
	WRONG(s.dirents[4].ino, 0);
	WRONG(s.dirents[0].ino, DEV);
	WRONG(s.dirents[5].ino, DEV);
	WRONG(s.dirents[5].type, S_IFDIR >> 12);
	WRONG(s.dirents[5].pad, 1);
	WRONG(s.dirents[5].len, 0);
	WRONG(s.dirents[5].len, 4);
	WRONG(s.dirents[5].len, 6);
	WRONG(s.dirents[5].len, UINT16_MAX);
	WRONG(s.dirents[5].name, UINT32_MAX);
	WRONG(s.dirents[5].name, s.x.names_len);
	/* In order, and no name twice. */
	WRONG(s.dirents[1].name, s.dirents[0].name);
	WRONG(s.dirents[0].name, s.dirents[5].name);
	free(s.p);
}

static void test_forbidden_names(void **state UNUSED)
{
	static const char *const names[] = { "..", ".", "a/", "/", "" };
	struct sample s;

	for (unsigned k = 0; k < ARRAY_LEN(names); k++) {
		char *name;

		/* "dev", of three bytes, and a shorter one: its length is said to be that. */
		sample_make(&s);
		name = (char *)(uintptr_t)s.x.names + s.dirents[1].name;
		assert_string_equal(name, "dev");
		strcpy(name, names[k]);
		s.dirents[1].len = (uint16_t)strlen(names[k]);
		assert_int_equal(check_sealed(&s), -EBADMSG);
		free(s.p);
	}
}

static void test_xattrs(void **state UNUSED)
{
	struct sample s;

	sample_make(&s);
	assert_int_equal(s.xattrs[0], 2);
	WRONG(s.xattrs[0], 0);
	WRONG(s.xattrs[0], 3);
	WRONG(s.xattrs[0], UINT32_MAX);
	WRONG(s.xattrs[1], UINT32_MAX);
	WRONG(s.xattrs[2], s.x.names_len);
	WRONG(s.xattrs[3], s.x.names_len);
	WRONG(s.xattrs[3], UINT32_MAX);
	WRONG(s.xattrs[4], 9);
	WRONG(s.xattrs[4], 0);
	WRONG(s.inodes[DIR_ - 1].xattrs, 4);
	WRONG(s.inodes[DIR_ - 1].xattrs, 1);
	WRONG(s.inodes[DIR_ - 1].xattrs, s.x.xattrs_len);
	/* Twice the same name. */
	memcpy(&s.xattrs[5], &s.xattrs[1], 16);
	assert_int_equal(check_sealed(&s), -EBADMSG);
	free(s.p);
}

static void test_spans(void **state UNUSED)
{
	struct sample s;

	sample_make(&s);
	WRONG(s.spans[0].kind, 0);
	WRONG(s.spans[0].kind, LAYER_SPAN_NKINDS);
	WRONG(s.spans[0].kind, LAYER_SPAN_ZERO);
	WRONG(s.spans[0].pad[4], 1);
	WRONG(s.spans[0].data_len, 0);
	WRONG(s.spans[0].data_len, 101);
	WRONG(s.spans[0].data_len, UINT64_MAX);
	WRONG(s.spans[2].data, DATA);
	WRONG(s.spans[2].data, UINT64_MAX);
	WRONG(s.spans[0].blob, BLOB);
	WRONG(s.spans[0].blob, UINT64_MAX);
	WRONG(s.spans[0].blob_len, 0);
	WRONG(s.spans[0].blob_len, BLOB + 1);
	WRONG(s.spans[0].skip, UINT64_MAX);
	WRONG(s.spans[2].skip, 1);
	WRONG(s.spans[0].digest, 2);
	WRONG(s.spans[0].digest_of, LAYER_NDIGESTS);
	WRONG(s.spans[1].digest_of, LAYER_DIGEST_BLOB);
	WRONG(s.spans[0].bits, 1);
	WRONG(s.spans[1].bits, 8);
	WRONG(s.spans[0].window, 1);
	WRONG(s.spans[0].window_len, 1);
	WRONG(s.spans[1].window, 1);
	WRONG(s.spans[1].window, UINT64_MAX);
	WRONG(s.spans[1].window_len, s.x.windows_len + 1);
	WRONG(s.spans[1].window_len, UINT32_MAX);
	WRONG(s.spans[1].window_len, 1);
	free(s.p);
}

/* A window of a frame that says nothing of its length, or too much, is none. What is inside is seen when it is unpacked. */
static void test_windows(void **state UNUSED)
{
	uint8_t out[LAYER_WINDOW_MAX];
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_index x;
	struct sample s;
	uint8_t *w;

	sample_make(&s);
	w = (uint8_t *)(uintptr_t)s.x.windows;
	WRONG(w[0], 0);
	WRONG(w[4], 0); /* a window size instead of the content's */
	assert_int_equal(layer_span_window(&s.x, &s.x.spans[1], out), 6);
	w[6] |= 6; /* a block of no type */
	assert_int_equal(check_sealed(&s), 0);
	assert_int_equal(layer_index_check(&x, s.p, s.len, &err), 0);
	assert_int_equal(layer_span_window(&x, &x.spans[1], out), -EBADMSG);
	free(s.p);
}

/* -- an index in a file ------------------------------------------------------------------------ */

static void test_map(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	int fd = memfd_create("index", MFD_CLOEXEC);
	struct layer_index x;
	struct sample s;

	sample_make(&s);
	assert_true(fd >= 0);
	assert_int_equal(layer_index_map(&x, fd, &err), -EBADMSG);
	assert_int_equal(write(fd, s.p, s.len), (ssize_t)s.len);
	assert_int_equal(layer_index_map(&x, fd, &err), 0);
	assert_int_equal(x.len, s.len);
	assert_int_equal(layer_walk(&x, "d/sub"), SUB);
	layer_index_unmap(&x);
	assert_null(x.p);
	layer_index_unmap(&x);
	assert_int_equal(pwrite(fd, "x", 1, 300), 1);
	assert_int_equal(layer_index_map(&x, fd, &err), -EBADMSG);
	assert_null(x.p);
	assert_int_equal(layer_index_map(&x, -1, &err), -EBADF);
	close(fd);
	free(s.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_inodes),
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_forbidden_names),
		cmocka_unit_test(test_xattrs),
		cmocka_unit_test(test_spans),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
