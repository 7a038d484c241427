/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tars in every form: made by hand, by python3's tarfile and by GNU tar. Each is read whole, byte by byte and in pieces of any
 * size, which must make no difference.
 */
#include "image/tar_stream.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/prng.h"
#include "lib/shell_bytes.h"

/* -- reading: a line of text for each entry ------------------------------------------------------ */

struct told {
	char *p;
	size_t len;
	FILE *f;
};

static void tell_bytes(FILE *f, const void *p, size_t n)
{
	for (const uint8_t *c = p, *end = c + n; c < end; c++)
		fprintf(f, *c >= ' ' && *c < 0x7f && *c != '\\' ? "%c" : "\\%02x", *c);
}

static int tell(void *arg, const struct layer_entry *e, struct vmofs_err *err UNUSED)
{
	FILE *f = ((struct told *)arg)->f;

	tell_bytes(f, e->name, e->name_len);
	fprintf(f, " %o %u:%u %" PRId64 ".%09u", (unsigned)e->mode, e->uid, e->gid, e->mtime,
		e->mtime_nsec);
	if (S_ISREG(e->mode))
		fprintf(f, " %" PRIu64 "@%" PRIu64, e->size, e->data);
	if (e->target) {
		fprintf(f, " -> ");
		tell_bytes(f, e->target, e->target_len);
	}
	if (S_ISCHR(e->mode) || S_ISBLK(e->mode))
		fprintf(f, " %u,%u", e->major, e->minor);
	for (unsigned i = 0; i < e->n_xattrs; i++) {
		assert_int_equal(e->xattrs[i].name[e->xattrs[i].name_len], 0);
		fprintf(f, " ");
		tell_bytes(f, e->xattrs[i].name, e->xattrs[i].name_len);
		fprintf(f, "=");
		tell_bytes(f, e->xattrs[i].value, e->xattrs[i].len);
	}
	fprintf(f, "\n");
	return 0;
}

/* Pieces of @most bytes; with @seed, of any size up to it. The text, or the message; both end in a line feed. */
static char *read_pieces(const uint8_t *p, size_t len, size_t most, uint64_t seed)
{
	struct told t = { 0 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct prng random = { seed };
	struct tar_stream *s;
	int r = 0;

	t.f = open_memstream(&t.p, &t.len);
	s = tar_stream_new(tell, &t);
	assert_non_null(s);
	for (size_t at = 0, n; at < len && r == 0; at += n) {
		uint8_t *copy;

		n = seed ? 1 + (size_t)prng_below(&random, most) : most;
		n = MIN(n, len - at);
		/* An own piece of memory: what is behind it is not the next piece. */
		copy = malloc(n);
		memcpy(copy, p + at, n);
		r = tar_stream_feed(s, copy, n, &err);
		free(copy);
	}
	if (r == 0)
		r = tar_stream_end(s, &err);
	if (r < 0) {
		assert_int_equal(r, -EBADMSG);
		assert_int_equal(err.code, r);
		fprintf(t.f, "!%s\n", err.msg);
	}
	tar_stream_free(s);
	fclose(t.f);
	return t.p;
}

static void reads_as(const uint8_t *p, size_t len, const char *want)
{
	char *whole = read_pieces(p, len, len + 1, 0);

	assert_string_equal(whole, want);
	for (uint64_t i = 0; i < 6; i++) {
		char *parts = i == 0 ? read_pieces(p, len, 1, 0)
				     : read_pieces(p, len, (size_t)100 << (2 * i), i);

		assert_string_equal(parts, whole);
		free(parts);
	}
	free(whole);
}

/* -- tars made by hand --------------------------------------------------------------------------- */

struct tar {
	uint8_t p[64 << 10];
	size_t len;
};

static void sum(uint8_t *h)
{
	unsigned s = 0;

	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		s += h[i];
	snprintf((char *)h + 148, 8, "%06o", s);
}

/* A header; the members of it that matter to a test can be changed afterwards, then sum(). */
static uint8_t *header(struct tar *t, const char *magic, const char *name, char type, unsigned size)
{
	uint8_t *h = t->p + t->len;

	memset(h, 0, 512);
	t->len += 512;
	memcpy(h, name, MIN(strlen(name), 100));
	snprintf((char *)h + 100, 8, "%07o", 0644);
	snprintf((char *)h + 108, 8, "%07o", 1000);
	snprintf((char *)h + 116, 8, "%07o", 100);
	snprintf((char *)h + 124, 12, "%011o", size);
	snprintf((char *)h + 136, 12, "%011o", 1234567890);
	h[156] = (uint8_t)type;
	memcpy(h + 257, magic, 8);
	sum(h);
	return h;
}

#define USTAR     \
	"ustar\0" \
	"00"
#define GNU "ustar  "
#define V7  "\0\0\0\0\0\0\0"

static void payload(struct tar *t, const void *p, size_t n)
{
	memset(t->p + t->len, 0, (n + 511) / 512 * 512);
	memcpy(t->p + t->len, p, n);
	t->len += (n + 511) / 512 * 512;
}

static void end(struct tar *t)
{
	memset(t->p + t->len, 0, 1024);
	t->len += 1024;
}

static void records(struct tar *t, char type, const void *p, size_t n)
{
	header(t, USTAR, "PaxHeaders/x", type, (unsigned)n);
	payload(t, p, n);
}

#define RECORDS(t, type, text) records(t, type, text, sizeof(text) - 1)

static void tar_reads_as(struct tar *t, const char *want)
{
	reads_as(t->p, t->len, want);
	t->len = 0;
}

static struct tar tar;

static void test_types(void **state UNUSED)
{
	uint8_t *h;

	header(&tar, USTAR, "plain", '0', 5);
	payload(&tar, "hello", 5);
	header(&tar, USTAR, "dir/", '5', 0);
	h = header(&tar, USTAR, "sym", '2', 0);
	memcpy(h + 157, "../to", 5);
	sum(h);
	h = header(&tar, USTAR, "hard", '1', 700);
	memcpy(h + 157, "plain", 5);
	sum(h);
	h = header(&tar, USTAR, "chr", '3', 0);
	memcpy(h + 329, "0000005", 7);
	memcpy(h + 337, "0000007", 7);
	sum(h);
	h = header(&tar, USTAR, "blk", '4', 0);
	memcpy(h + 329, "0000010", 7);
	memcpy(h + 337, "0000001", 7);
	sum(h);
	header(&tar, USTAR, "fifo", '6', 0);
	header(&tar, USTAR, "contiguous", '7', 1);
	payload(&tar, "x", 1);
	end(&tar);
	tar_reads_as(&tar,
		     "plain 100644 1000:100 1234567890.000000000 5@512\n"
		     "dir/ 40644 1000:100 1234567890.000000000\n"
		     "sym 120644 1000:100 1234567890.000000000 -> ../to\n"
		     "hard 644 1000:100 1234567890.000000000 -> plain\n"
		     "chr 20644 1000:100 1234567890.000000000 5,7\n"
		     "blk 60644 1000:100 1234567890.000000000 8,1\n"
		     "fifo 10644 1000:100 1234567890.000000000\n"
		     "contiguous 100644 1000:100 1234567890.000000000 1@4608\n");
}

static void test_v7(void **state UNUSED)
{
	header(&tar, V7, "old", '\0', 3);
	payload(&tar, "abc", 3);
	/* A directory is a file whose name ends in a slash; what is where others have a prefix is none. */
	memcpy(header(&tar, V7, "dir/", '\0', 3) + 345, "nonsense", 8);
	sum(tar.p + tar.len - 512);
	payload(&tar, "abc", 3);
	header(&tar, V7, "last", '\0', 0);
	end(&tar);
	tar_reads_as(&tar,
		     "old 100644 1000:100 1234567890.000000000 3@512\n"
		     "dir/ 40644 1000:100 1234567890.000000000\n"
		     "last 100644 1000:100 1234567890.000000000 0@2560\n");
}

static void test_prefixes(void **state UNUSED)
{
	char hundred[101] = { 0 }, want[600], prefix[156] = { 0 };
	uint8_t *h;

	memset(hundred, 'n', 100);
	memset(prefix, 'p', 155);
	h = header(&tar, USTAR, hundred, '0', 0);
	memcpy(h + 345, prefix, 155);
	sum(h);
	/* star's is shorter: times come after it. */
	h = header(&tar, USTAR, "name", '0', 0);
	memcpy(h + 345, prefix, 131);
	memcpy(h + 476, "00000000001", 11);
	memcpy(h + 508, "tar", 4);
	sum(h);
	/* GNU: none at all, but for Go before 1.8. */
	h = header(&tar, GNU, "name", '0', 0);
	memcpy(h + 345,
	       "11111111111\0"
	       "22222222222",
	       24);
	sum(h);
	h = header(&tar, GNU, "name", '0', 0);
	memcpy(h + 345, "go/wrote/this", 13);
	sum(h);
	end(&tar);
	snprintf(want, sizeof want,
		 "%s/%s 100644 1000:100 1234567890.000000000 0@512\n"
		 "%.131s/name 100644 1000:100 1234567890.000000000 0@1024\n"
		 "name 100644 1000:100 1234567890.000000000 0@1536\n"
		 "go/wrote/this/name 100644 1000:100 1234567890.000000000 0@2048\n",
		 prefix, hundred, prefix);
	tar_reads_as(&tar, want);
}

static void test_gnu_long_names(void **state UNUSED)
{
	char name[301] = { 0 }, link[401] = { 0 }, want[1200];

	memset(name, 'a', 300);
	memset(link, 'b', 400);
	header(&tar, GNU, "././@LongLink", 'L', 301);
	payload(&tar, name, 301);
	header(&tar, GNU, "././@LongLink", 'K', 401);
	payload(&tar, link, 401);
	header(&tar, GNU, "cut", '2', 0);
	/* The next one has names of its own; an empty long name is none; a long name counts more than a pax path. */
	header(&tar, GNU, "././@LongLink", 'L', 0);
	header(&tar, GNU, "short", '0', 0);
	RECORDS(&tar, 'x', "12 path=pax\n");
	header(&tar, GNU, "././@LongLink", 'L', 5);
	payload(&tar, "gnu\0x", 5);
	header(&tar, GNU, "short", '0', 0);
	end(&tar);
	snprintf(want, sizeof want,
		 "%s 120644 1000:100 1234567890.000000000 -> %s\n"
		 "short 100644 1000:100 1234567890.000000000 0@3584\n"
		 "gnu 100644 1000:100 1234567890.000000000 0@6144\n",
		 name, link);
	tar_reads_as(&tar, want);
}

static void test_numbers(void **state UNUSED)
{
	uint8_t *h = header(&tar, GNU, "big", '0', 0);

	/* base 256: 2^32 - 2, 5, before 1970 */
	memcpy(h + 108, "\x80\0\0\0\xff\xff\xff\xfe", 8);
	memcpy(h + 116, "\x80\0\0\0\0\0\0\x05", 8);
	memcpy(h + 136, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12);
	sum(h);
	/* spaces, no digits, twelve of them, a mode with the kind of file */
	h = header(&tar, USTAR, "odd", '0', 0);
	memcpy(h + 100, "0100755", 8);
	memcpy(h + 108, "   123 ", 8);
	memset(h + 116, ' ', 8);
	memcpy(h + 136, "777777777777", 12);
	sum(h);
	end(&tar);
	tar_reads_as(&tar,
		     "big 100644 4294967294:5 -2.000000000 0@512\n"
		     "odd 100755 83:0 68719476735.000000000 0@1024\n");
}

static void test_bad_numbers(void **state UNUSED)
{
	static const struct {
		unsigned at, len;
		const char *bytes, *what;
	} bad[] = {
		{ 124, 12, "0000000009 ", "size" },
		{ 124, 12, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "size" },
		{ 124, 12, "\x80\0\0\x01\0\0\0\0\0\0\0\0", "size" },
		{ 124, 12, "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", "size" },
		{ 124, 12, "\x80\0\0\0\x80\0\0\0\0\0\0\0", "size" },
		{ 108, 8, "\x80\0\0\x01\0\0\0\0", "uid" },
		{ 116, 8, "-000001\0", "gid" },
		{ 136, 12, "yesterday   ", "mtime" },
		{ 100, 8, "rw-r--r-", "mode" },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		uint8_t *h = header(&tar, USTAR, "x", '0', 0);
		char want[100];

		memcpy(h + bad[i].at, bad[i].bytes, bad[i].len);
		sum(h);
		snprintf(want, sizeof want, "!a bad %s in the tar header at byte 0\n", bad[i].what);
		tar_reads_as(&tar, want);
	}
}

static void test_sums(void **state UNUSED)
{
	uint8_t *h = header(&tar, V7, "caf\xc3\xa9", '0', 0);
	int s = 0;

	/* Of signed bytes, with fewer digits. */
	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		s += (int8_t)h[i];
	snprintf((char *)h + 148, 8, "%o", (unsigned)s);
	end(&tar);
	tar_reads_as(&tar, "caf\\c3\\a9 100644 1000:100 1234567890.000000000 0@512\n");
	header(&tar, USTAR, "x", '0', 0)[5] = 'y';
	tar_reads_as(&tar, "!no tar header at byte 0: this is no tar\n");
	header(&tar, USTAR, "x", '0', 0);
	header(&tar, USTAR, "x", '0', 0)[148] = '7';
	tar_reads_as(&tar,
		     "x 100644 1000:100 1234567890.000000000 0@512\n"
		     "!no tar header at byte 512\n");
}

static void test_ends(void **state UNUSED)
{
	static const char x[] = "x 100644 1000:100 1234567890.000000000 600@512\n";
	char data[600] = { 1 }, want[200];

	/* Anything after two blocks of zeros. */
	header(&tar, USTAR, "x", '0', 600);
	payload(&tar, data, 600);
	end(&tar);
	memcpy(tar.p + tar.len, "garbage", 7);
	tar.len += 7;
	tar_reads_as(&tar, x);
	/* One, none, and no padding. */
	for (unsigned i = 0; i < 3; i++) {
		header(&tar, USTAR, "x", '0', 600);
		payload(&tar, data, 600);
		memset(tar.p + tar.len, 0, 512);
		tar.len = i == 0 ? tar.len + 512 : i == 1 ? tar.len : 512 + 600;
		tar_reads_as(&tar, x);
	}
	/* In a header, in data, in padding, after an extended header; nothing at all is a tar. */
	for (unsigned i = 0; i < 4; i++) {
		static const unsigned cut[] = { 511, 512 + 599, 512 + 601, 1536 + 511 };

		header(&tar, USTAR, "x", '0', 600);
		payload(&tar, data, 600);
		header(&tar, USTAR, "y", '0', 0);
		tar.len = cut[i];
		snprintf(want, sizeof want, "%s!the tar ends too early, at byte %u\n",
			 i == 0 ? "" : x, cut[i]);
		tar_reads_as(&tar, want);
	}
	RECORDS(&tar, 'x', "12 path=pax\n");
	tar_reads_as(&tar, "!the tar ends too early, at byte 1024\n");
	tar_reads_as(&tar, "");
	/* A block of zeros alone is damage. */
	memset(tar.p, 0, 512);
	tar.len = 512;
	header(&tar, USTAR, "x", '0', 0);
	tar_reads_as(&tar, "!no tar header at byte 512\n");
}

/* Records, with the lengths that they need. */
struct pax {
	char p[4096];
	size_t len;
};

static void record(struct pax *x, const char *key, const void *value, size_t n)
{
	size_t body = strlen(key) + n + 3, len = body + 1;
	char digits[24];

	while (body + (size_t)snprintf(digits, sizeof digits, "%zu", len) != len)
		len++;
	x->len += (size_t)sprintf(x->p + x->len, "%s %s=", digits, key);
	memcpy(x->p + x->len, value, n);
	x->len += n;
	x->p[x->len++] = '\n';
}

static void text_record(struct pax *x, const char *key, const char *value)
{
	record(x, key, value, strlen(value));
}

static void pax(struct tar *t, char type, struct pax *x)
{
	records(t, type, x->p, x->len);
	x->len = 0;
}

static void test_pax(void **state UNUSED)
{
	struct pax x = { .len = 0 };

	text_record(&x, "path", "a/long/one");
	text_record(&x, "linkpath", "l=l");
	text_record(&x, "uid", "70000");
	text_record(&x, "gid", "4294967295");
	text_record(&x, "mtime", "-1.5000000009");
	text_record(&x, "hdrcharset", "BINARY");
	record(&x, "SCHILY.xattr.user.a", "x\0y\nz=\n", 7);
	text_record(&x, "SCHILY.xattr.user.b", "");
	text_record(&x, "SCHILY.xattr.user.c", "first");
	text_record(&x, "SCHILY.xattr.user.c", "second");
	text_record(&x, "LIBARCHIVE.xattr.user.%25d%C3%A9", "AP8x");
	text_record(&x, "LIBARCHIVE.xattr.user.e", "eHk");
	text_record(&x, "comment", "of no use");
	pax(&tar, 'x', &x);
	header(&tar, USTAR, "short", '2', 0);
	/* Of the entry after it nothing counts any more. The size of a header is not in the header. */
	header(&tar, USTAR, "next", '0', 0);
	text_record(&x, "size", "3");
	text_record(&x, "mtime", "12345678901.000000001");
	text_record(&x, "path", "given and");
	text_record(&x, "path", "");
	pax(&tar, 'x', &x);
	header(&tar, USTAR, "sized", '0', 0);
	payload(&tar, "abc", 3);
	end(&tar);
	tar_reads_as(&tar,
		     "a/long/one 120644 70000:4294967295 -2.500000000 -> l=l"
		     " user.a=x\\00y\\0az=\\0a user.b= user.c=second"
		     " user.%d\\c3\\a9=\\00\\ff1 user.e=xy\n"
		     "next 100644 1000:100 1234567890.000000000 0@2048\n"
		     "sized 100644 1000:100 12345678901.000000001 3@3584\n");
}

static void test_pax_replaces_pax(void **state UNUSED)
{
	struct pax x = { .len = 0 };

	text_record(&x, "path", "one");
	text_record(&x, "SCHILY.xattr.user.a", "1");
	pax(&tar, 'x', &x);
	text_record(&x, "uid", "1");
	pax(&tar, 'X', &x);
	header(&tar, USTAR, "two", '0', 0);
	end(&tar);
	tar_reads_as(&tar, "two 100644 1:100 1234567890.000000000 0@2560\n");
}

static void test_global_pax(void **state UNUSED)
{
	struct pax x = { .len = 0 };

	text_record(&x, "comment", "a commit");
	text_record(&x, "uid", "5");
	text_record(&x, "mtime", "7.25");
	pax(&tar, 'g', &x);
	header(&tar, USTAR, "a", '0', 0);
	text_record(&x, "uid", "6");
	text_record(&x, "mtime", "");
	pax(&tar, 'x', &x);
	header(&tar, USTAR, "b", '0', 0);
	header(&tar, USTAR, "c", '0', 0);
	text_record(&x, "uid", "");
	pax(&tar, 'g', &x);
	header(&tar, USTAR, "d", '0', 0);
	text_record(&x, "path", "same");
	pax(&tar, 'g', &x);
	tar_reads_as(&tar,
		     "a 100644 5:100 7.250000000 0@1536\n"
		     "b 100644 6:100 1234567890.000000000 0@3072\n"
		     "c 100644 5:100 7.250000000 0@3584\n"
		     "d 100644 1000:100 7.250000000 0@5120\n"
		     "!the extended header before byte 5645 of the tar: "
		     "a name, a size or attributes for all files\n");
}

static void is_refused(struct tar *t, const char *why)
{
	char *text = read_pieces(t->p, t->len, t->len, 0);

	if (text[0] != '!' || !strstr(text, why))
		fail_msg("'%s' is not '%s'", text, why);
	free(text);
	t->len = 0;
}

static void test_damaged_pax(void **state UNUSED)
{
	static const struct {
		const char *p;
		size_t len;
	} bad[] = {
#define BAD(text) { text, sizeof(text) - 1 }
		BAD("11 path=a\n"),  BAD("8 path=a\n"),   BAD("path=a\n"),
		BAD(" path=a\n"),    BAD("-10 path=a\n"), BAD("+10 path=a\n"),
		BAD("4 =\n"),        BAD("5 =a\n"),       BAD("7 path\n"),
		BAD("10 p\0th=a\n"), BAD("3 \n"),         BAD("18446744073709551626 path=a\n"),
		BAD("10 path=a\n1"),
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		records(&tar, 'x', bad[i].p, bad[i].len);
		header(&tar, USTAR, "x", '0', 0);
		end(&tar);
		is_refused(&tar, "a damaged pax header, at byte");
	}
}

static void test_bad_pax_values(void **state UNUSED)
{
	static const struct {
		const char *key, *value;
		size_t n;
	} bad[] = {
		{ "uid", "4294967296", 10 },
		{ "gid", "-1", 2 },
		{ "size", "9223372036854775808", 19 },
		{ "size", "-1", 2 },
		{ "mtime", "1e9", 3 },
		{ "mtime", "1.5.", 4 },
		{ "mtime", "--1", 3 },
		{ "mtime", "9223372036854775808", 19 },
		{ "path", "a\0b", 3 },
		{ "linkpath", "\0", 1 },
	};
	struct pax x = { .len = 0 };
	char want[200];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		record(&x, bad[i].key, bad[i].value, bad[i].n);
		pax(&tar, 'x', &x);
		snprintf(want, sizeof want, "the pax record '%s' has a bad value\n", bad[i].key);
		is_refused(&tar, want);
	}
}

static void test_what_is_refused(void **state UNUSED)
{
	static const char *const sparse[] = { "GNU.sparse.major", "GNU.sparse.map",
					      "GNU.sparse.size", "SCHILY.realsize",
					      "SUN.holesdata" };
	struct pax x = { .len = 0 };
	char name[300];

	for (size_t i = 0; i < ARRAY_LEN(sparse); i++) {
		text_record(&x, sparse[i], "1");
		pax(&tar, 'x', &x);
		is_refused(&tar, "a sparse file");
	}
	header(&tar, GNU, "x", 'S', 0);
	tar_reads_as(&tar, "!a sparse file, which layers must not have, at byte 0 of the tar\n");
	header(&tar, GNU, "x", 'M', 0);
	tar_reads_as(&tar, "!an entry of the unknown type 0x4d at byte 0 of the tar\n");
	/* Labels of volumes are nothing. */
	header(&tar, GNU, "x", 'V', 0);
	tar_reads_as(&tar, "");
	header(&tar, GNU, "././@LongLink", 'L', TAR_EXTENDED_MAX + 1);
	is_refused(&tar, "size of an extended header");
	snprintf(name, sizeof name, "SCHILY.xattr.user.%0251d", 0);
	text_record(&x, name, "1");
	pax(&tar, 'x', &x);
	is_refused(&tar, "the name of an attribute has 256 bytes");
}

/* -- what others make, told by python's tarfile ---------------------------------------------------- */

static const char oracle[] =
	"import sys, tarfile, io\n"
	"def show(b):\n"
	"    return ''.join(chr(c) if 32 <= c < 127 and c != 92 else '\\\\%02x' % c for c in b)\n"
	"kinds = {tarfile.REGTYPE: 0o100000, tarfile.AREGTYPE: 0o100000, tarfile.DIRTYPE: 0o40000,\n"
	"    tarfile.SYMTYPE: 0o120000, tarfile.LNKTYPE: 0, tarfile.CHRTYPE: 0o20000,\n"
	"    tarfile.BLKTYPE: 0o60000, tarfile.FIFOTYPE: 0o10000}\n"
	"raw = open(sys.argv[1] if len(sys.argv) > 1 else PATH, 'rb').read()\n"
	"for m in tarfile.open(fileobj=io.BytesIO(raw), errors='surrogateescape'):\n"
	"    def b(s): return s.encode('utf-8', 'surrogateescape')\n"
	"    name = b(m.name)\n"
	"    t = m.pax_headers.get('mtime', str(int(m.mtime)))\n"
	"    s, _, f = t.partition('.')\n"
	"    line = '%s %o %d:%d %s.%s' % (show(name), kinds[m.type] | m.mode & 0o7777, m.uid, m.gid, s,\n"
	"        (f + '0' * 9)[:9])\n"
	"    if m.isreg(): line += ' %d@%d' % (m.size, m.offset_data)\n"
	"    if m.issym() or m.islnk(): line += ' -> ' + show(b(m.linkname))\n"
	"    if m.ischr() or m.isblk(): line += ' %d,%d' % (m.devmajor, m.devminor)\n"
	"    for k, v in m.pax_headers.items():\n"
	"        if k.startswith('SCHILY.xattr.'): line += ' %s=%s' % (k[13:], show(b(v)))\n"
	"    print(line)\n";

/* tarfile leaves out the slash after a directory's name. */
static char *without_slashes(char *text)
{
	char *to = text;

	for (char *p = text; *p; p++)
		if (!(p[0] == '/' && p[1] == ' '))
			*to++ = *p;
	*to = '\0';
	return text;
}

static void agrees_with_tarfile(const uint8_t *p, size_t len)
{
	char path[] = "/tmp/test_tar_stream.XXXXXX";
	int fd = mkstemp(path);
	char script[sizeof oracle + sizeof path + 20];
	size_t want_len;
	char *want, *is;

	assert_true(fd >= 0 && write(fd, p, len) == (ssize_t)len);
	snprintf(script, sizeof script, "PATH = '%s'\n%s", path, oracle);
	want = (char *)python_bytes(script, &want_len);
	unlink(path);
	close(fd);
	assert_non_null(want);
	want = realloc(want, want_len + 1);
	want[want_len] = '\0';
	is = read_pieces(p, len, len, 0);
	reads_as(p, len, is);
	assert_true(want_len > 100);
	assert_string_equal(without_slashes(is), without_slashes(want));
	free(want);
	free(is);
}

static void test_tarfile(void **state UNUSED)
{
	static const char script[] =
		"import sys, tarfile, io\n"
		"def make(form):\n"
		"    f = io.BytesIO()\n"
		"    t = tarfile.open(fileobj=f, mode='w', format=form)\n"
		"    def add(name, type=tarfile.REGTYPE, size=0, link='', **kw):\n"
		"        m = tarfile.TarInfo(name); m.type = type; m.size = size; m.linkname = link\n"
		"        m.mtime = 1600000000; m.pax_headers = kw.pop('pax', {})\n"
		"        for k, v in kw.items(): setattr(m, k, v)\n"
		"        t.addfile(m, io.BytesIO(b'z' * size))\n"
		"    add('dir', tarfile.DIRTYPE, mode=0o1777)\n"
		"    for i in (1, 511, 512, 513, 70000): add('dir/f%d' % i, size=i, mode=0o4755)\n"
		"    add('n' * 100); add('d' * 90 + '/' + 'f' * 90, size=3)\n"
		"    add('sym', tarfile.SYMTYPE, link='l' * 100)\n"
		"    add('hard', tarfile.LNKTYPE, link='dir/f1')\n"
		"    add('null', tarfile.CHRTYPE, devmajor=1, devminor=3)\n"
		"    add('loop', tarfile.BLKTYPE, devmajor=7, devminor=65535)\n"
		"    add('fifo', tarfile.FIFOTYPE)\n"
		"    if form != tarfile.USTAR_FORMAT:\n"
		"        add('e' * 300 + '/' + 'g' * 200, size=5); add('s', tarfile.SYMTYPE, link='t' * 999)\n"
		"        add('uid', uid=3000000, gid=4000000000, mtime=9000000000)\n"
		"        add('\\u00e9t\\u00e9', size=1)\n"
		"    if form == tarfile.PAX_FORMAT:\n"
		"        add('frac', mtime=1600000000.125)\n"
		"        add('cap', size=9, pax={'SCHILY.xattr.security.capability': '\\x01\\x00\\x00\\x02',\n"
		"            'SCHILY.xattr.user.x': 'y' * 3000})\n"
		"    t.close()\n"
		"    return f.getvalue()\n";
	static const char *const forms[] = { "USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT" };

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		char whole[sizeof script + 100];
		size_t len;
		uint8_t *p;

		snprintf(whole, sizeof whole, "%ssys.stdout.buffer.write(make(tarfile.%s))\n",
			 script, forms[i]);
		p = python_bytes(whole, &len);
		if (!p)
			skip();
		agrees_with_tarfile(p, len);
		free(p);
	}
}

static void test_gnu_tar(void **state UNUSED)
{
	static const char *const forms[] = { "v7",       "oldgnu",
					     "gnu",      "ustar",
					     "posix",    "posix --xattrs",
					     "gnu -b 1", "posix --sort=name" };
	static const char make[] =
		"d=$(mktemp -d) && cd $d && mkdir -p a/b/c && echo hello >a/file && ln a/file a/hard && "
		"ln -s ../file a/b/sym && head -c 100000 /dev/zero >a/b/zeros && chmod 4711 a/b/zeros && "
		"n=$(printf %%080d 1) && if [ %d = 1 ]; then mkdir -p a/$n/$n/$n && echo x >a/$n/$n/$n/$n && "
		"ln -s $n/$n/$n a/longlink; fi && { setfattr -n user.k -v value a/file 2>/dev/null || :; } && "
		"tar -c --format=%s a && rm -rf $d";

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		char command[1200];
		size_t len;
		uint8_t *p;

		snprintf(command, sizeof command, make,
			 strcmp(forms[i], "v7") && strcmp(forms[i], "ustar"), forms[i]);
		p = shell_bytes(command, &len);
		if (!p)
			skip();
		agrees_with_tarfile(p, len);
		free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_v7),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_gnu_long_names),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_bad_numbers),
		cmocka_unit_test(test_sums),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_pax),
		cmocka_unit_test(test_pax_replaces_pax),
		cmocka_unit_test(test_global_pax),
		cmocka_unit_test(test_damaged_pax),
		cmocka_unit_test(test_bad_pax_values),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_tarfile),
		cmocka_unit_test(test_gnu_tar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
