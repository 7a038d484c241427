/* SPDX-License-Identifier: Apache-2.0 */
/* What the entries of a table of contents become: files, and spans of the blob. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "unit/image/fake_build.h"
#include "unit/image/toc_pack.h"

#define DATA_END 100000
/* SHA-256s that the log shows as 1101 and so on. */
#define D(x)  "\"sha256:" x "000000000000000000000000000000000000000000000000000000000000" x "\""
#define D11   "\"digest\":" D("11")
#define C(x)  "\"chunkDigest\":" D(x)
#define FILE3 "{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100," D11 "}"

static struct toc_facts facts;

/* Reads {"version":1,"entries":[@entries]}; the log of the builder, or NULL with *error. Freed by the caller. */
static char *read_entries(enum toc_kind kind, const char *entries, int *error)
{
	struct toc_options options = { .kind = kind, .data_end = DATA_END };
	struct layer_build *b = fake_build_new(false, true);
	struct vmofs_err err = VMOFS_ERR_INIT;
	size_t cap = strlen(entries) + 64;
	char *json = malloc(cap), *log = NULL;
	struct packed in;

	assert_non_null(json);
	snprintf(json, cap, "{\"version\":1,\"entries\":[%s]}", entries);
	in = pack_toc(kind, json, strlen(json));
	memset(&facts, 0, sizeof facts);
	*error = toc_read_pieces(&options, b, in, 11, &facts, &err);
	assert_int_equal(err.code, *error);
	if (*error == 0) {
		log = b->log;
		b->log = NULL;
	}
	layer_build_free(b);
	free(in.p);
	free(json);
	return log;
}

static void check(enum toc_kind kind, const char *entries, const char *want)
{
	int r;
	char *log = read_entries(kind, entries, &r);

	assert_int_equal(r, 0);
	assert_string_equal(log, want);
	free(log);
}

static void refuse(enum toc_kind kind, const char *entries)
{
	int r;
	char *log = read_entries(kind, entries, &r);

	free(log);
	assert_int_equal(r, -EBADMSG);
}

/* -- entries ---------------------------------------------------------------------------------- */

static void every_type(void **state)
{
	(void)state;
	check(TOC_ESTARGZ,
	      "{\"name\":\"d/\",\"type\":\"dir\",\"mode\":16877,\"modtime\":\"2026-11-23T16:39:23Z\"},"
	      "{\"name\":\"d/f\",\"type\":\"reg\",\"size\":3,\"mode\":33261,\"uid\":1,\"gid\":2,"
	      "\"userName\":\"u\",\"groupName\":\"g\",\"offset\":100,\"NumLink\":7," D11 "},"
	      "{\"name\":\"l\",\"type\":\"symlink\",\"linkName\":\"d/f\",\"mode\":511},"
	      "{\"name\":\"h\",\"type\":\"hardlink\",\"linkName\":\"d/f\"},"
	      "{\"name\":\"c\",\"type\":\"char\",\"devMajor\":1,\"devMinor\":3,\"mode\":438},"
	      "{\"name\":\"b\",\"type\":\"block\",\"devMajor\":8},"
	      "{\"name\":\"p\",\"type\":\"fifo\",\"mode\":2468},"
	      "{\"name\":\"e\",\"type\":\"reg\",\"mode\":2541}",
	      "040755 0:0 1795451963.000000000 d/\n"
	      "100755 1:2 0.000000000 d/f size 3 at 0\n"
	      "120777 0:0 0.000000000 l -> d/f\n"
	      "000000 0:0 0.000000000 h -> d/f\n"
	      "020666 0:0 0.000000000 c dev 1:3\n"
	      "060000 0:0 0.000000000 b dev 8:0\n"
	      "014644 0:0 0.000000000 p\n"
	      "104755 0:0 0.000000000 e size 0\n"
	      "gzip 0+3 from 100+99900 sha 1111\n");
	assert_int_equal(facts.entries, 8);
	assert_int_equal(facts.chunks, 1);
	assert_true(facts.chunks_have_digests);
}

static void keys_in_any_order_and_unknown_ones(void **state)
{
	(void)state;
	check(TOC_ZSTD_CHUNKED,
	      "{\"x\":{\"name\":[\"no\"]},\"endOffset\":150,\"offset\":100,\"size\":3," D11
	      ",\"modtime\":\"2026-11-23T17:39:23.000000007+01:00\","
	      "\"accesstime\":\"2026-11-23T16:39:23Z\",\"type\":\"reg\",\"name\":\"\\u0066\"}",
	      "100000 0:0 1795451963.000000007 f size 3 at 0\n"
	      "zstd 0+3 from 100+50 sha 1111\n");
}

static void null_is_nothing(void **state)
{
	(void)state;
	check(TOC_ESTARGZ,
	      "{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":null,\"uid\":null,\"linkName\":null}",
	      "040000 0:0 0.000000000 d\n");
}

static void names_are_bytes(void **state)
{
	(void)state;
	check(TOC_ESTARGZ, "{\"name\":\"\xff\\\"\\u00e9\\n\",\"type\":\"dir\"}",
	      "040000 0:0 0.000000000 \xff\"\xc3\xa9\n\n");
	refuse(TOC_ESTARGZ, "{\"name\":\"a\\u0000b\",\"type\":\"dir\"}");
	refuse(TOC_ESTARGZ, "{\"name\":\"a\",\"type\":\"symlink\",\"linkName\":\"\\u0000\"}");
}

static void attributes_are_base64(void **state)
{
	(void)state;
	check(TOC_ESTARGZ,
	      "{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":{\"user.a\":\"AP8=\",\"user.b\":\"\","
	      "\"security.capability\":\"AQAAAgAgAAAAAAAAAAAAAAAAAAA=\",\"user.c\":null}},"
	      "{\"name\":\"e\",\"type\":\"dir\",\"xattrs\":{}}",
	      "040000 0:0 0.000000000 d {user.a=00ff} {user.b=} "
	      "{security.capability=0100000200200000000000000000000000000000} {user.c=}\n"
	      "040000 0:0 0.000000000 e\n");
	refuse(TOC_ESTARGZ, "{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":{\"user.a\":\"A\"}}");
	refuse(TOC_ESTARGZ, "{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":{\"\":\"AP8=\"}}");
	refuse(TOC_ESTARGZ, "{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":{\"a\\u0000\":\"AP8=\"}}");
	refuse(TOC_ESTARGZ, "{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":{\"user.a\":1}}");
	refuse(TOC_ESTARGZ, "{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":\"AP8=\"}");
	refuse(TOC_ESTARGZ, "{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":{\"user.a\":{}}}");
}

static void entries_that_cannot_be(void **state)
{
	static const char *const bad[] = {
		"1",
		"null",
		"[]",
		"{}",
		"{\"name\":\"s\",\"type\":\"socket\"}",
		"{\"name\":\"s\"}",
		"{\"name\":7,\"type\":\"dir\"}",
		"{\"name\":\"d\",\"type\":\"dir\",\"uid\":-1}",
		"{\"name\":\"d\",\"type\":\"dir\",\"uid\":4294967296}",
		"{\"name\":\"d\",\"type\":\"dir\",\"uid\":1.0}",
		"{\"name\":\"d\",\"type\":\"dir\",\"uid\":\"1\"}",
		"{\"name\":\"d\",\"type\":\"dir\",\"mode\":9223372036854775808}",
		"{\"name\":\"d\",\"type\":\"char\",\"devMajor\":-1}",
		"{\"name\":\"d\",\"type\":\"dir\",\"modtime\":\"yesterday\"}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":-1,\"offset\":100}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":-100}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		refuse(TOC_ESTARGZ, bad[i]);
		refuse(TOC_ZSTD_CHUNKED, bad[i]);
	}
}

/* -- where chunks end ------------------------------------------------------------------------- */

static void a_member_ends_where_the_next_begins(void **state)
{
	(void)state;
	check(TOC_ESTARGZ,
	      "{\"name\":\"a\",\"type\":\"reg\",\"size\":3,\"offset\":100," C(
		      "11") "},"
			    "{\"name\":\"d\",\"type\":\"dir\"},"
			    "{\"name\":\"e\",\"type\":\"reg\"},"
			    "{\"name\":\"b\",\"type\":\"reg\",\"size\":5000,\"offset\":150," C(
				    "22") "},"
					  "{\"name\":\"c\",\"type\":\"reg\",\"size\":1,\"offset\":700," C(
						  "33") "}",
	      "100000 0:0 0.000000000 a size 3 at 0\n"
	      "040000 0:0 0.000000000 d\n"
	      "100000 0:0 0.000000000 e size 0\n"
	      "gzip 0+3 from 100+50 sha 1111\n"
	      "100000 0:0 0.000000000 b size 5000 at 4096\n"
	      "gzip 4096+5000 from 150+550 sha 2222\n"
	      "100000 0:0 0.000000000 c size 1 at 12288\n"
	      "gzip 12288+1 from 700+99300 sha 3333\n");
}

static void chunks_of_a_file(void **state)
{
	(void)state;
	/* The last one has no length: it goes to the end. */
	check(TOC_ESTARGZ,
	      "{\"name\":\"a\",\"type\":\"reg\",\"size\":10,\"offset\":100,\"chunkSize\":4," D11
	      "," C("22") "},"
			  "{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":4,\"chunkSize\":4," C(
				  "33") "},"
					"{\"type\":\"chunk\",\"offset\":300,\"chunkOffset\":8," C(
						"44") "}",
	      "100000 0:0 0.000000000 a size 10 at 0\n"
	      "gzip 0+4 from 100+100 sha 2222\n"
	      "gzip 4+4 from 200+100 sha 3333\n"
	      "gzip 8+2 from 300+99700 sha 4444\n");
	assert_int_equal(facts.chunks, 3);
	assert_true(facts.chunks_have_digests);
}

static void small_files_share_a_member(void **state)
{
	(void)state;
	check(TOC_ESTARGZ,
	      "{\"name\":\"a\",\"type\":\"reg\",\"size\":3,\"offset\":100," C(
		      "11") "},"
			    "{\"name\":\"b\",\"type\":\"reg\",\"size\":4,\"offset\":100,\"innerOffset\":1024," C(
				    "22") "},"
					  "{\"name\":\"c\",\"type\":\"reg\",\"size\":8,\"offset\":100,\"innerOffset\":2048,\"chunkSize\":4," C(
						  "33") "},"
							"{\"type\":\"chunk\",\"offset\":500,\"chunkOffset\":4," C(
								"44") "}",
	      "100000 0:0 0.000000000 a size 3 at 0\n"
	      "100000 0:0 0.000000000 b size 4 at 4096\n"
	      "100000 0:0 0.000000000 c size 8 at 8192\n"
	      "gzip 0+3 from 100+400 sha 1111\n"
	      "gzip 4096+4 from 100+400 skip 1024 sha 2222\n"
	      "gzip 8192+4 from 100+400 skip 2048 sha 3333\n"
	      "gzip 8196+4 from 500+99500 sha 4444\n");
	/* A payload in another's place, in another member than the last, or in one that nobody began. */
	refuse(TOC_ESTARGZ,
	       FILE3
	       ",{\"name\":\"b\",\"type\":\"reg\",\"size\":4,\"offset\":100,\"innerOffset\":2}");
	refuse(TOC_ESTARGZ,
	       FILE3
	       ",{\"name\":\"b\",\"type\":\"reg\",\"size\":4,\"offset\":90,\"innerOffset\":512}");
	refuse(TOC_ESTARGZ,
	       "{\"name\":\"b\",\"type\":\"reg\",\"size\":4,\"offset\":90,\"innerOffset\":512}");
}

/* As c/storage writes them: chunks have no end of their own, files have. */
static void zstd_chunked_says_where_files_end(void **state)
{
	(void)state;
	check(TOC_ZSTD_CHUNKED,
	      "{\"type\":\"reg\",\"name\":\"a\",\"size\":3000,\"offset\":500,\"endOffset\":600,"
	      "\"chunkSize\":1000," D11
	      "," C("22") "},"
			  "{\"type\":\"chunk\",\"name\":\"a\",\"offset\":530,\"chunkSize\":1500,"
			  "\"chunkOffset\":1000,\"chunkType\":\"zeros\"," C(
				  "33") "},"
					"{\"type\":\"chunk\",\"name\":\"a\",\"offset\":540,\"chunkSize\":500,"
					"\"chunkOffset\":2500," C(
						"44") "},"
						      /* Not in the order of the blob. */
						      "{\"type\":\"reg\",\"name\":\"b\",\"size\":3,\"offset\":100,\"endOffset\":130," D11
						      "}",
	      "100000 0:0 0.000000000 a size 3000 at 0\n"
	      "zstd 0+1000 from 500+30 sha 2222\n"
	      "zero 1000+1500\n"
	      "zstd 2500+500 from 540+60 sha 4444\n"
	      "100000 0:0 0.000000000 b size 3 at 4096\n"
	      "zstd 4096+3 from 100+30 sha 1111\n");
	assert_true(facts.chunks_have_digests);
}

static void a_hole_at_the_end(void **state)
{
	(void)state;
	check(TOC_ZSTD_CHUNKED,
	      "{\"type\":\"reg\",\"name\":\"a\",\"size\":3000,\"offset\":500,\"endOffset\":600,"
	      "\"chunkSize\":1000," C(
		      "22") "},"
			    "{\"type\":\"chunk\",\"name\":\"a\",\"offset\":530,\"chunkSize\":2000,"
			    "\"chunkOffset\":1000,\"chunkType\":\"zeros\"}",
	      "100000 0:0 0.000000000 a size 3000 at 0\n"
	      "zstd 0+1000 from 500+30 sha 2222\n"
	      "zero 1000+2000\n");
	/* Zeros need no digest: the table says what they are. */
	assert_true(facts.chunks_have_digests);
	refuse(TOC_ZSTD_CHUNKED,
	       "{\"type\":\"reg\",\"name\":\"a\",\"size\":3,\"offset\":500,"
	       "\"chunkType\":\"ones\"," C("22") "}");
}

static void chunks_that_cannot_be(void **state)
{
	static const char *const bad[] = {
		/* Nowhere, beyond the data, ending before it begins. */
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":3}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100000}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100,\"endOffset\":100001}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100,\"endOffset\":100}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100,\"endOffset\":99}",
		FILE3 "," FILE3,
		FILE3 ",{\"name\":\"g\",\"type\":\"reg\",\"size\":3,\"offset\":99}",
		/* Too much, too little, a gap, an overlap, nothing at all. */
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100,\"chunkSize\":4}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":9,\"offset\":100,\"chunkSize\":4}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":9,\"offset\":100,\"chunkSize\":4},"
		"{\"name\":\"d\",\"type\":\"dir\"}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":9,\"offset\":100,\"chunkSize\":4},"
		"{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":5}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":9,\"offset\":100,\"chunkSize\":4},"
		"{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":3}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":9,\"offset\":100,\"chunkSize\":4},"
		"{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":4,\"chunkSize\":6}",
		/* Of no file. */
		"{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":4,\"chunkSize\":6}",
		FILE3 ",{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":3}",
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":9,\"offset\":100,\"chunkSize\":4},"
		"{\"name\":\"d\",\"type\":\"dir\"},{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":4}",
		/* Digests that are none. */
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100,\"digest\":\"sha256:12\"}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		refuse(TOC_ESTARGZ, bad[i]);
		refuse(TOC_ZSTD_CHUNKED, bad[i]);
	}
}

/* -- what can be proved ----------------------------------------------------------------------- */

static void have_digests(const char *entries, bool want)
{
	int r;

	free(read_entries(TOC_ESTARGZ, entries, &r));
	assert_int_equal(r, 0);
	assert_int_equal(facts.chunks_have_digests, want);
}

static void which_tables_can_prove_chunks(void **state)
{
	(void)state;
	have_digests("", true);
	have_digests("{\"name\":\"d\",\"type\":\"dir\"}", true);
	have_digests(FILE3, true);
	have_digests("{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100," C("11") "}",
		     true);
	have_digests("{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100}", false);
	have_digests("{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100,"
		     "\"digest\":\"sha512:00\"}",
		     false);
	/* The file's digest proves no chunk of several. */
	have_digests(
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":9,\"offset\":100,\"chunkSize\":4," D11
		"},{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":4," C("11") "}",
		false);
	have_digests(
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":9,\"offset\":100,\"chunkSize\":4," C(
			"11") "},{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":4," D11 "}",
		false);
	have_digests(
		"{\"name\":\"f\",\"type\":\"reg\",\"size\":9,\"offset\":100,\"chunkSize\":4," C(
			"11") "},{\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":4," C("22") "}",
		true);
}

static void landmarks_are_told_and_hidden(void **state)
{
	(void)state;
	check(TOC_ESTARGZ,
	      "{\"name\":\"f\",\"type\":\"reg\",\"size\":3,\"offset\":100," D11 "},"
	      "{\"name\":\"./.prefetch.landmark\",\"type\":\"reg\",\"size\":1,\"offset\":200," D11
	      "},"
	      "{\"name\":\"d/.prefetch.landmark\",\"type\":\"reg\",\"size\":1,\"offset\":300," D11
	      "},"
	      "{\"name\":\"stargz.index.json\",\"type\":\"reg\",\"size\":1,\"offset\":400," D11 "}",
	      "100000 0:0 0.000000000 f size 3 at 0\n"
	      "gzip 0+3 from 100+100 sha 1111\n"
	      "100000 0:0 0.000000000 d/.prefetch.landmark size 1 at 4096\n"
	      "gzip 4096+1 from 300+100 sha 1111\n");
	assert_int_equal(facts.mark, TOC_MARK_PREFETCH);
	assert_int_equal(facts.prefetch_end, 200);
	check(TOC_ESTARGZ,
	      "{\"name\":\".no.prefetch.landmark\",\"type\":\"reg\",\"size\":1,\"offset\":200}",
	      "");
	assert_int_equal(facts.mark, TOC_MARK_NOTHING);
	assert_true(facts.chunks_have_digests);
	check(TOC_ESTARGZ, "", "");
	assert_int_equal(facts.mark, TOC_NO_MARK);
}

/* Whiteouts are the builder's; what it does not take is refused with its code. */
static void the_builder_has_the_last_word(void **state)
{
	int r;

	(void)state;
	check(TOC_ESTARGZ, "{\"name\":\"d/.wh.x\",\"type\":\"reg\"}",
	      "100000 0:0 0.000000000 d/.wh.x size 0\n");
	free(read_entries(TOC_ESTARGZ,
			  "{\"name\":\"f\",\"type\":\"reg\",\"size\":2199023255552,\"offset\":100}",
			  &r));
	assert_int_equal(r, -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type),
		cmocka_unit_test(keys_in_any_order_and_unknown_ones),
		cmocka_unit_test(null_is_nothing),
		cmocka_unit_test(names_are_bytes),
		cmocka_unit_test(attributes_are_base64),
		cmocka_unit_test(entries_that_cannot_be),
		cmocka_unit_test(a_member_ends_where_the_next_begins),
		cmocka_unit_test(chunks_of_a_file),
		cmocka_unit_test(small_files_share_a_member),
		cmocka_unit_test(zstd_chunked_says_where_files_end),
		cmocka_unit_test(a_hole_at_the_end),
		cmocka_unit_test(chunks_that_cannot_be),
		cmocka_unit_test(which_tables_can_prove_chunks),
		cmocka_unit_test(landmarks_are_told_and_hidden),
		cmocka_unit_test(the_builder_has_the_last_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
