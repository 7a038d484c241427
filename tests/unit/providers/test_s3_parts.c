/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the S3 provider that ask nobody: listings and error documents, checksums over bytes in any
 * order, the metadata of s3fs and rclone, cuts of a listing.
 */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lib/prng.h"
#include "s3/s3_private.h"
#include "s3/s3_split.h"
#include "s3/s3_sums.h"

/* -- XML -------------------------------------------------------------------------------------- */

static int parse(const char *text, size_t piece, struct s3_page *page)
{
	struct s3_xml *x = s3_xml_new(page);
	size_t len = strlen(text);
	int r = 0;

	assert_non_null(x);
	for (size_t i = 0; i < len && r == 0; i += piece)
		r = s3_xml_add(x, text + i, MIN(piece, len - i));
	if (r == 0)
		r = s3_xml_end(x);
	s3_xml_free(x);
	return r;
}

#define LIST(x) \
	"<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://x/\">" x "</ListBucketResult>"

static void test_a_page(void **state UNUSED)
{
	static const char text[] = LIST(
		"<Name>b</Name><Prefix>ignored</Prefix><IsTruncated>true</IsTruncated>"
		"<Contents><Key>a%20b+c%2Bd%25/%C3%A4</Key><LastModified>2026-01-02T03:04:05.678Z"
		"</LastModified><ETag>&quot;abc-5&quot;</ETag><Size>12345678901</Size>"
		"<Owner><ID>Key</ID></Owner></Contents>"
		"<Contents><Key>b</Key><ETag>bare</ETag></Contents>"
		"<CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>"
		"<NextContinuationToken>a/b+c=</NextContinuationToken>"
		"<EncodingType>url</EncodingType>");

	for (size_t piece = 1; piece < 200; piece += 13) {
		struct s3_page p = { 0 };

		assert_int_equal(parse(text, piece, &p), 0);
		assert_int_equal(p.n, 3);
		assert_string_equal(s3_page_key(&p, &p.v[0]), "a b c+d%/\xc3\xa4");
		assert_int_equal(p.v[0].key_len, 11);
		assert_string_equal(p.text + p.v[0].etag, "\"abc-5\"");
		assert_int_equal(p.v[0].size, 12345678901);
		assert_int_equal(p.v[0].mtime.tv_sec, 1767323045);
		assert_int_equal(p.v[0].mtime.tv_nsec, 678000000);
		assert_string_equal(p.text + p.v[1].etag, "\"bare\"");
		assert_true(p.v[1].size == VMOFS_SIZE_UNKNOWN);
		assert_true(p.v[2].prefix && !p.v[0].prefix);
		assert_string_equal(s3_page_key(&p, &p.v[2]), "c/");
		assert_true(p.truncated);
		assert_string_equal(p.token, "a/b+c=");
		s3_page_clear(&p);
	}
}

static void test_keys_that_are_not_encoded(void **state UNUSED)
{
	struct s3_page p = { 0 };

	assert_int_equal(parse(LIST("<Contents><Key>a+b%20&lt;&amp;</Key></Contents>"), 7, &p), 0);
	assert_string_equal(s3_page_key(&p, &p.v[0]), "a+b%20<&");
	assert_false(p.truncated);
	s3_page_clear(&p);
}

static void test_what_is_no_page(void **state UNUSED)
{
	static const char *const texts[] = {
		"",
		"<html></html>",
		"<Error><Code>x</Code></Error>",
		"<ListBucketResult><Contents><Key>a</Key></Contents>",
		LIST("<IsTruncated>true</IsTruncated>"),
		LIST("<Contents><Size>1</Size></Contents>"),
		"<!DOCTYPE x [<!ENTITY e \"aaa\">]><ListBucketResult/>",
		LIST("<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a>"
		     "</a></a></a></a></a></a></a></a></a></a>"),
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct s3_page p = { 0 };

		assert_int_equal(parse(texts[i], 5, &p), -EBADMSG);
		s3_page_clear(&p);
	}
}

static void test_texts_are_bounded(void **state UNUSED)
{
	size_t n = 20000;
	char *text = malloc(n + 100);
	struct s3_page p = { 0 };
	int len = sprintf(text, "<ListBucketResult><Contents><Key>");

	memset(text + len, 'x', n);
	strcpy(text + len + n, "</Key></Contents></ListBucketResult>");
	assert_int_equal(parse(text, 100, &p), -EBADMSG);
	s3_page_clear(&p);
	strcpy(text + len + 5000, "</Key></Contents></ListBucketResult>");
	assert_int_equal(parse(text, 100, &p), 0);
	assert_int_equal(p.n, 0); /* too long for a key: left out */
	s3_page_clear(&p);
	free(text);
}

/* Half a megabyte between two brackets: its parts would be read again and again. */
static void test_tokens_are_bounded(void **state UNUSED)
{
	static const char *const heads[] = { "<ListBucketResult a=\"", "<ListBucketResult><!--",
					     "<ListBucketResult><", "<?xml " };

	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		struct s3_page page = { 0 };
		struct s3_xml *x = s3_xml_new(&page);
		char buf[4096];
		unsigned n = 0;
		int r;

		memset(buf, 'x', sizeof buf);
		r = s3_xml_add(x, heads[i], strlen(heads[i]));
		for (; n < 128 && r == 0; n++)
			r = s3_xml_add(x, buf, sizeof buf);
		assert_int_equal(r, -EBADMSG);
		assert_in_range(n, 10, 20);
		s3_xml_free(x);
		s3_page_clear(&page);
	}
}

static void test_errors(void **state UNUSED)
{
	static const char text[] =
		"<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code>"
		"<Message>wrong region,\nexpecting x</Message><Region>eu-west-1</Region>"
		"<RequestId>R1</RequestId><ServerTime>2026-01-02T03:04:05Z</ServerTime></Error>";
	struct s3_error e;

	s3_xml_error(text, strlen(text), &e);
	assert_string_equal(e.code, "AuthorizationHeaderMalformed");
	assert_string_equal(e.message, "wrong region, expecting x");
	assert_string_equal(e.region, "eu-west-1");
	assert_string_equal(e.request_id, "R1");
	assert_int_equal(e.server_time, 1767323045);
	s3_xml_error(text, 80, &e); /* cut off: what there is */
	assert_string_equal(e.code, "AuthorizationHeaderMalformed");
	assert_string_equal(e.region, "");
	s3_xml_error("<html>no</html>", 15, &e);
	assert_string_equal(e.code, "");
}

static void test_times(void **state UNUSED)
{
	static const char *const bad[] = { "", "2026-13-01T00:00:00Z", "2026-01-01 00:00:00",
					   "2026-01-01T25:00:00Z", "x026-01-01T00:00:00Z" };
	struct timespec t;

	assert_int_equal(s3_xml_time("1970-01-01T00:00:01.5Z", 22, &t), 0);
	assert_true(t.tv_sec == 1 && t.tv_nsec == 500000000);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(s3_xml_time(bad[i], strlen(bad[i]), &t), -EINVAL);
}

/* -- checksums -------------------------------------------------------------------------------- */

#define SIZE 100003u

static uint8_t bytes[SIZE];

static void wanted(enum s3_sum_kind kind, struct s3_sum_wanted *w)
{
	*w = (struct s3_sum_wanted){ .kind = kind };
	if (kind == S3_SUM_SHA256) {
		digest_sha256(bytes, SIZE, w->value);
		return;
	}
	for (unsigned i = 0, n = kind == S3_SUM_CRC64NVME ? 8 : 4; i < n; i++)
		w->value[i] = (uint8_t)(digest_crc((enum digest_crc)kind, 0, bytes, SIZE) >>
					8 * (n - 1 - i));
}

static void fill_bytes(void)
{
	struct prng r = { .state = 7 };

	for (unsigned i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)prng_next(&r);
}

/* Pieces of 4 KiB in an order that @seed gives, some twice; the kind is told after @told of them. */
static int sum_in_pieces(const struct s3_sum_wanted *w, unsigned seed, unsigned told)
{
	struct prng r = { .state = seed };
	struct s3_sums *s = s3_sums_new(SIZE);
	unsigned order[(SIZE + 4095) / 4096], n = ARRAY_LEN(order);
	int code = 0;

	for (unsigned i = 0; i < n; i++)
		order[i] = i;
	for (unsigned i = n; seed && i-- > 1;) {
		unsigned j = (unsigned)prng_below(&r, i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (unsigned i = 0; i < n; i++) {
		uint64_t off = order[i] * 4096u, len = MIN(SIZE - off, 4096);

		if (i == told)
			s3_sums_want(s, w);
		code = s3_sums_add(s, off, bytes + off, len);
		assert_true(code == 0 || i == n - 1);
		if (prng_chance(&r, 30) && i < n - 1) {
			uint64_t again =
				off > 1000 ? off - 1000 : 0; /* overlaps what may be there */

			if (order[i] == 0 || i == 0)
				assert_int_equal(s3_sums_add(s, off, bytes + off, len), 0);
			else if (seed == 0)
				assert_int_equal(
					s3_sums_add(s, again, bytes + again, off + len - again), 0);
		}
	}
	if (told >= n)
		s3_sums_want(s, w);
	if (code == 0)
		code = s3_sums_verdict(s);
	s3_sums_free(s);
	return code;
}

static void test_sums_in_any_order(void **state UNUSED)
{
	struct s3_sum_wanted w;

	fill_bytes();
	for (unsigned kind = S3_SUM_CRC32; kind <= S3_SUM_CRC64NVME; kind++)
		for (unsigned seed = 0; seed < 30; seed++) {
			wanted(kind, &w);
			assert_int_equal(sum_in_pieces(&w, seed, seed % 27), 0);
			w.value[seed % 4] ^= 1;
			assert_int_equal(sum_in_pieces(&w, seed, seed % 27), -EBADMSG);
		}
}

static void test_sha256_in_order_only(void **state UNUSED)
{
	struct s3_sum_wanted w;

	fill_bytes();
	wanted(S3_SUM_SHA256, &w);
	assert_int_equal(sum_in_pieces(&w, 0, 0), 0);
	assert_int_equal(sum_in_pieces(&w, 0, 5), 0);
	assert_int_equal(sum_in_pieces(&w, 0, 1000), 0);
	assert_int_equal(sum_in_pieces(&w, 3, 0), -EAGAIN);
	w.value[31] ^= 1;
	assert_int_equal(sum_in_pieces(&w, 0, 0), -EBADMSG);
	assert_int_equal(sum_in_pieces(&w, 3, 0), -EAGAIN);
}

static void test_scattered_reads_are_given_up(void **state UNUSED)
{
	struct s3_sums *s = s3_sums_new(GIB(1));

	for (uint64_t i = 0; i < 3000; i++)
		assert_int_equal(s3_sums_add(s, i * 8192, bytes, 4096), 0);
	assert_true(s3_sums_over(s));
	assert_int_equal(s3_sums_verdict(s), -EAGAIN);
	s3_sums_free(s);
}

static void test_what_servers_say_of_checksums(void **state UNUSED)
{
	struct s3_sum_wanted w;

	s3_sum_parse("", "\"e\"", &w);
	assert_int_equal(w.kind, S3_SUM_NONE);
	s3_sum_parse("crc32=AAAAAQ==;type=FULL_OBJECT;", "\"e\"", &w);
	assert_int_equal(w.kind, S3_SUM_CRC32);
	assert_int_equal(w.value[3], 1);
	s3_sum_parse("crc32c=AAAAAQ==;", "\"e\"", &w); /* servers before full and composite ones */
	assert_int_equal(w.kind, S3_SUM_CRC32C);
	s3_sum_parse("crc32=AAAAAQ==;type=COMPOSITE;", "\"e\"", &w);
	assert_int_equal(w.kind, S3_SUM_NONE);
	s3_sum_parse("crc32=AAAAAQ==-3;", "\"e\"", &w);
	assert_int_equal(w.kind, S3_SUM_NONE);
	s3_sum_parse("crc32c=AAAAAQ==;", "\"e-3\"", &w); /* may be of parts */
	assert_int_equal(w.kind, S3_SUM_NONE);
	s3_sum_parse("crc32c=AAAAAQ==;type=FULL_OBJECT;", "\"e-3\"", &w);
	assert_int_equal(w.kind, S3_SUM_CRC32C);
	s3_sum_parse("sha256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;crc64nvme=AAAAAAAAAAE=;"
		     "type=FULL_OBJECT;",
		     "\"e\"", &w);
	assert_int_equal(w.kind, S3_SUM_CRC64NVME);
	s3_sum_parse("crc64nvme=AAAAAQ==;", "\"e\"", &w); /* too short */
	assert_int_equal(w.kind, S3_SUM_NONE);
}

/* -- metadata --------------------------------------------------------------------------------- */

static void meta(const char *mode, const char *mtime, struct vmofs_entry *e)
{
	struct s3_head h = { 0 };

	*e = (struct vmofs_entry){ .mtime = { .tv_sec = 1 } };
	s3_head_header(&h, "x-amz-meta-mode", mode, strlen(mode));
	s3_head_header(&h, "x-amz-meta-mtime", mtime, strlen(mtime));
	s3_head_header(&h, "x-amz-meta-uid", "1000", 4);
	s3_head_header(&h, "x-amz-meta-gid", "-5", 2);
	s3_head_apply(&h, e);
}

static void test_metadata(void **state UNUSED)
{
	static const struct {
		const char *mode;
		unsigned want; /* 0: none */
	} modes[] = { { "33188", 0100644 },  { "33261", 0100755 },
		      { "41471", 0120777 },  { "16877", 0040755 },
		      { "100644", 0100644 }, { "120777", 0120777 },
		      { "644", 0100644 },    { "", 0 },
		      { "9999", 0 },         { "rw", 0 },
		      { "99999999999", 0 } };
	static const struct {
		const char *mtime;
		time_t sec;
		long nsec;
	} times[] = { { "1700000000", 1700000000, 0 },
		      { "1700000000.123456789", 1700000000, 123456789 },
		      { "1700000000.5", 1700000000, 500000000 },
		      { "1700000000.12345678901", 1700000000, 123456789 },
		      { "1700000000123456789", 1700000000, 123456789 },
		      { "", 1, 0 },
		      { "-3", 1, 0 },
		      { "1e9", 1, 0 },
		      { "17.x", 1, 0 } };
	struct vmofs_entry e;

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		meta(modes[i].mode, "", &e);
		assert_int_equal(!!(e.has & VMOFS_HAS_MODE), modes[i].want != 0);
		if (modes[i].want)
			assert_int_equal(e.mode, modes[i].want);
		assert_int_equal(e.uid, 1000);
		assert_int_equal(e.has & (VMOFS_HAS_UID | VMOFS_HAS_GID), VMOFS_HAS_UID);
	}
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		meta("", times[i].mtime, &e);
		assert_int_equal(e.mtime.tv_sec, times[i].sec);
		assert_int_equal(e.mtime.tv_nsec, times[i].nsec);
	}
}

/* -- cuts ------------------------------------------------------------------------------------- */

/* Whatever names look like: cuts ascend, between last and end, without a slash, and are UTF-8. */
static void test_cuts_keep_their_promises(void **state UNUSED)
{
	static const char symbols[] = "09afzAZ-_. \xc3\xa4\xf0\x9f\x98\x80\xe0\xa0\xed\x9f";
	static char cuts[16][S3_SPLIT_NAME];
	struct prng r = { .state = 11 };
	unsigned found = 0;

	for (unsigned round = 0; round < 3000; round++) {
		struct s3_split m = { 0 };
		char name[3][40] = { "" };
		struct s3_span span = { name[0], name[1], NULL, 1000, 1000 };
		unsigned n;

		for (unsigned i = 0; i < 3; i++) {
			unsigned len = 1 + (unsigned)prng_below(&r, 12);

			for (unsigned k = 0; k < len; k++)
				name[i][k] = symbols[prng_below(&r, sizeof symbols - 1)];
			s3_split_learn(&m, name[i], len);
		}
		qsort(name, 3, sizeof name[0], (int (*)(const void *, const void *))strcmp);
		if (prng_chance(&r, 60))
			span.end = name[2];
		n = s3_split_cut(&m, &span, 1 + (unsigned)prng_below(&r, 16), cuts);
		assert_true(n <= 16);
		for (unsigned i = 0; i < n; i++) {
			assert_true(strcmp(cuts[i], i ? cuts[i - 1] : span.last) > 0);
			assert_true(!span.end || strcmp(cuts[i], span.end) < 0);
			assert_null(strchr(cuts[i], '/'));
			assert_true(mbstowcs(NULL, cuts[i], 0) != (size_t)-1);
		}
		found += n;
		s3_split_left(&m, &span);
	}
	assert_true(found > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_page),
		cmocka_unit_test(test_keys_that_are_not_encoded),
		cmocka_unit_test(test_what_is_no_page),
		cmocka_unit_test(test_texts_are_bounded),
		cmocka_unit_test(test_tokens_are_bounded),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_sums_in_any_order),
		cmocka_unit_test(test_sha256_in_order_only),
		cmocka_unit_test(test_scattered_reads_are_given_up),
		cmocka_unit_test(test_what_servers_say_of_checksums),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_cuts_keep_their_promises),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
