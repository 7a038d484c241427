/* SPDX-License-Identifier: Apache-2.0 */
/* The wrapping of tables of contents: gzip'ed tars, zstd frames, digests, lengths, and what is cut off or goes on too long. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "unit/image/fake_build.h"
#include "unit/image/toc_pack.h"

static const char json[] = "{\"version\":1,\"entries\":[{\"name\":\"d\",\"type\":\"dir\"}],"
			   "\"tarSplitDigest\":\"sha256:"
			   "aa000000000000000000000000000000000000000000000000000000000000bb\"}";
static const char want[] = "040000 0:0 0.000000000 d\n";

static const enum toc_kind kinds[] = { TOC_STARGZ, TOC_ESTARGZ, TOC_EXTERNAL, TOC_ZSTD_CHUNKED };

static struct toc_facts facts;

static int read_as(const struct toc_options *options, struct packed in, size_t piece)
{
	struct layer_build *b = fake_build_new(false, true);
	struct vmofs_err err = VMOFS_ERR_INIT;
	int r = toc_read_pieces(options, b, in, piece, &facts, &err);

	assert_int_equal(err.code, r);
	if (r == 0)
		assert_string_equal(b->log, want);
	layer_build_free(b);
	return r;
}

static int read_plain(enum toc_kind kind, struct packed in)
{
	struct toc_options o = { .kind = kind, .data_end = 1 };
	int r = read_as(&o, in, in.n + 1);

	assert_int_equal(read_as(&o, in, 7), r);
	return r;
}

static int read_text(const char *text)
{
	struct packed in = pack_zstd(text, strlen(text));
	int r = read_plain(TOC_ZSTD_CHUNKED, in);

	free(in.p);
	return r;
}

static void pieces_of_any_length(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct toc_options o = { .kind = kinds[k],
					 .data_end = 1,
					 .raw_len = sizeof json - 1 };
		struct packed in = pack_toc(kinds[k], json, sizeof json - 1);

		for (size_t piece = 1; piece <= in.n + 1; piece++) {
			assert_int_equal(read_as(&o, in, piece), 0);
			assert_true(facts.has_split_digest);
			assert_int_equal(facts.split_digest[31], 0xbb);
			assert_false(facts.toc_proved);
		}
		free(in.p);
	}
}

static void digests_are_compared(void **state)
{
	uint8_t raw[32], packed[32];

	(void)state;
	assert_int_equal(digest_sha256(json, sizeof json - 1, raw), 0);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct packed in = pack_toc(kinds[k], json, sizeof json - 1);
		struct toc_options o = { .kind = kinds[k], .data_end = 1, .raw_digest = raw };

		assert_int_equal(digest_sha256(in.p, in.n, packed), 0);
		assert_int_equal(read_as(&o, in, 5), 0);
		assert_true(facts.toc_proved);
		o.packed_digest = packed;
		assert_int_equal(read_as(&o, in, 5), 0);
		o.raw_digest = NULL;
		assert_int_equal(read_as(&o, in, 5), 0);
		assert_true(facts.toc_proved);
		o.raw_digest = packed;
		assert_int_equal(read_as(&o, in, 5), -EBADMSG);
		o.raw_digest = NULL;
		o.packed_digest = raw;
		assert_int_equal(read_as(&o, in, 5), -EBADMSG);
		free(in.p);
	}
}

static void lengths_are_compared(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct toc_options o = { .kind = kinds[k], .data_end = 1, .raw_len = sizeof json };
		struct packed in = pack_toc(kinds[k], json, sizeof json - 1);

		assert_int_equal(read_as(&o, in, 1000), -EBADMSG);
		free(in.p);
	}
}

static void what_is_cut_off_is_refused(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct toc_options o = { .kind = kinds[k], .data_end = 1 };
		struct packed in = pack_toc(kinds[k], json, sizeof json - 1), cut = in;

		for (cut.n = 0; cut.n < in.n; cut.n++)
			assert_int_equal(read_as(&o, cut, 13), -EBADMSG);
		free(in.p);
	}
}

/* Whatever byte changes, what is read is refused or the same (compressed streams have bits without meaning). */
static void what_is_damaged_is_never_believed(void **state)
{
	uint8_t raw[32];

	(void)state;
	assert_int_equal(digest_sha256(json, sizeof json - 1, raw), 0);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct packed in = pack_toc(kinds[k], json, sizeof json - 1);
		struct toc_options o = { .kind = kinds[k], .data_end = 1, .raw_digest = raw };

		for (size_t i = 10; i < in.n; i++) {
			in.p[i] ^= 0x10;
			(void)read_as(&o, in, 4096);
			in.p[i] ^= 0x10;
		}
		free(in.p);
	}
}

/* The range that was asked for reaches to the end of the blob. */
static void a_footer_may_follow(void **state)
{
	static const char footer[] = "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0"
				     "0000000000000abcSTARGZ\x01\0\0\xff\xff\0\0\0\0\0\0\0";
	struct packed in = pack_stargz(json, sizeof json - 1);
	struct packed tail = { .p = malloc(sizeof footer), .n = sizeof footer };

	(void)state;
	assert_non_null(tail.p);
	memcpy(tail.p, footer, sizeof footer);
	packed_add(&in, tail);
	assert_int_equal(read_plain(TOC_ESTARGZ, in), 0);
	free(in.p);
	/* But nothing that is no frame follows a frame. */
	in = pack_zstd(json, sizeof json - 1);
	tail.p = malloc(8);
	assert_non_null(tail.p);
	memset(tail.p, 'x', 8);
	tail.n = 8;
	packed_add(&in, tail);
	assert_int_equal(read_plain(TOC_ZSTD_CHUNKED, in), -EBADMSG);
	free(in.p);
}

/* -- the tar ---------------------------------------------------------------------------------- */

static struct packed tar_of(struct packed a, struct packed b)
{
	struct packed out;

	packed_add(&a, b);
	out = pack_gzip(a.p, a.n);
	free(a.p);
	return out;
}

static void other_files_are_passed_over(void **state)
{
	struct packed in = tar_of(pack_tar_file("pax", 'x', "27 mtime=1795451963.5\n", 22),
				  pack_tar_file("./" TOC_STARGZ_NAME, '0', json, sizeof json - 1));

	(void)state;
	assert_int_equal(read_plain(TOC_EXTERNAL, in), 0);
	free(in.p);
	in = tar_of(pack_tar_file(TOC_STARGZ_NAME, '5', NULL, 0),
		    pack_tar_file(TOC_STARGZ_NAME, '0', json, sizeof json - 1));
	assert_int_equal(read_plain(TOC_ESTARGZ, in), 0);
	free(in.p);
}

/* A writer may begin a new member anywhere. */
static void members_follow_each_other(void **state)
{
	struct packed tar = pack_tar_file(TOC_STARGZ_NAME, '0', json, sizeof json - 1);

	(void)state;
	for (size_t cut = 0; cut <= tar.n; cut += 37) {
		struct packed in = pack_gzip(tar.p, cut);

		packed_add(&in, pack_gzip(tar.p + cut, tar.n - cut));
		assert_int_equal(read_plain(TOC_ESTARGZ, in), 0);
		free(in.p);
	}
	free(tar.p);
}

static void archives_without_a_table(void **state)
{
	struct packed end = { .p = calloc(1, 1024), .n = 1024 };
	struct packed in = tar_of(pack_tar_file("other.json", '0', json, sizeof json - 1), end);
	uint8_t *plain;

	(void)state;
	assert_int_equal(read_plain(TOC_ESTARGZ, in), -EBADMSG);
	free(in.p);
	in = pack_gzip(json, sizeof json - 1);
	assert_int_equal(read_plain(TOC_ESTARGZ, in), -EBADMSG);
	free(in.p);
	plain = malloc(1024);
	assert_non_null(plain);
	memset(plain, 'x', 1024);
	in = pack_gzip(plain, 1024);
	assert_int_equal(read_plain(TOC_ESTARGZ, in), -EBADMSG);
	free(in.p);
	free(plain);
	/* A file that is said to be longer than any table may be. */
	end = pack_tar_file(TOC_STARGZ_NAME, '0', NULL, 0);
	memcpy(end.p + 124, "77777777777", 11);
	in = pack_gzip(end.p, end.n);
	assert_int_equal(read_plain(TOC_ESTARGZ, in), -EBADMSG);
	free(in.p);
	memset(end.p + 124, 0xff, 12);
	end.p[124] = 0x80;
	in = pack_gzip(end.p, end.n);
	assert_int_equal(read_plain(TOC_ESTARGZ, in), -EBADMSG);
	free(in.p);
	free(end.p);
}

/* -- the document ----------------------------------------------------------------------------- */

static void documents_that_are_no_tables(void **state)
{
	(void)state;
	assert_int_equal(read_text("{\"entries\":[],\"version\":1,\"entries\":[]}"), -EBADMSG);
	assert_int_equal(read_text("{\"entries\":[]}"), -EBADMSG);
	assert_int_equal(read_text("{\"entries\":[],\"version\":2}"), -EBADMSG);
	assert_int_equal(read_text("{\"entries\":[],\"version\":\"1\"}"), -EBADMSG);
	assert_int_equal(read_text("{\"entries\":{},\"version\":1}"), -EBADMSG);
	assert_int_equal(read_text("{\"entries\":7,\"version\":1}"), -EBADMSG);
	assert_int_equal(read_text("{\"version\":1,\"tarSplitDigest\":\"md5:00\"}"), -EBADMSG);
	assert_int_equal(read_text("[]"), -EBADMSG);
	assert_int_equal(read_text("1"), -EBADMSG);
	assert_int_equal(read_text(""), -EBADMSG);
	assert_int_equal(
		read_text("{\"version\":1,\"entries\":[{\"name\":\"d\",\"type\":\"dir\"}]"),
		-EBADMSG);
	/* The version may come last. */
	assert_int_equal(
		read_text(
			"{\"x\":[{}],\"entries\":[{\"name\":\"d\",\"type\":\"dir\"}],\"version\":1}"),
		0);
}

/* A megabyte that becomes a gigabyte ends at the limit. */
static void bombs_are_stopped(void **state)
{
	size_t n = (size_t)TOC_ZSTD_MAX + 1;
	char *blank = malloc(n);
	struct toc_options o = { .kind = TOC_ZSTD_CHUNKED, .data_end = 1 };
	struct packed in;

	(void)state;
	assert_non_null(blank);
	memset(blank, ' ', n);
	in = pack_zstd(blank, n);
	free(blank);
	assert_int_equal(read_as(&o, in, 65536), -E2BIG);
	free(in.p);
}

static void long_strings_are_refused(void **state)
{
	static const char told[] = "{\"version\":1,\"entries\":[{\"name\":\"";
	static const char not_told[] =
		"{\"version\":1,\"entries\":[{\"type\":\"dir\",\"name\":\"d\",\"nome\":\"";
	size_t n = 2 << 20;
	char *text = malloc(n + 5);

	(void)state;
	assert_non_null(text);
	memset(text, 'x', n);
	memcpy(text, told, sizeof told - 1);
	memcpy(text + n, "\"}]}", 5);
	assert_int_equal(read_text(text), -E2BIG);
	/* Of a key that nobody wants they do not matter. */
	memcpy(text, not_told, sizeof not_told - 1);
	assert_int_equal(read_text(text), 0);
	free(text);
}

static void nothing_is_left_when_it_is_given_up(void **state)
{
	struct packed in = pack_stargz(json, sizeof json - 1);
	struct toc_options o = { .kind = TOC_ESTARGZ, .data_end = 1 };
	struct layer_build *b = fake_build_new(false, false);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct toc_reader *r;

	(void)state;
	assert_int_equal(toc_reader_new(&r, &o, b), 0);
	assert_int_equal(toc_reader_feed(r, in.p, in.n / 2, &err), 0);
	toc_reader_free(r);
	toc_reader_free(NULL);
	layer_build_free(b);
	free(in.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_of_any_length),
		cmocka_unit_test(digests_are_compared),
		cmocka_unit_test(lengths_are_compared),
		cmocka_unit_test(what_is_cut_off_is_refused),
		cmocka_unit_test(what_is_damaged_is_never_believed),
		cmocka_unit_test(a_footer_may_follow),
		cmocka_unit_test(other_files_are_passed_over),
		cmocka_unit_test(members_follow_each_other),
		cmocka_unit_test(archives_without_a_table),
		cmocka_unit_test(documents_that_are_no_tables),
		cmocka_unit_test(bombs_are_stopped),
		cmocka_unit_test(long_strings_are_refused),
		cmocka_unit_test(nothing_is_left_when_it_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
