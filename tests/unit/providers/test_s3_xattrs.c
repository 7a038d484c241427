/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of extended attributes, and x-amz-meta-xattr as s3fs writes it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "s3/s3_xattrs.h"

static struct vmofs_xattrs *with(struct vmofs_xattrs *take_x, const char *name, const void *value,
				 uint32_t len)
{
	const struct vmofs_xattr a = { name, value, len };
	struct vmofs_xattrs *out = NULL;

	assert_int_equal(vmofs_xattrs_with(take_x, &a, VMOFS_XATTRS_SET, &out), 0);
	vmofs_xattrs_put(take_x);
	return out;
}

static void assert_has(const struct vmofs_xattrs *x, const char *name, const void *value,
		       uint32_t len)
{
	struct vmofs_xattr a;

	assert_true(vmofs_xattrs_find(x, name, &a));
	assert_int_equal(a.len, len);
	if (len)
		assert_memory_equal(a.value, value, len);
}

static void test_set(void **state UNUSED)
{
	struct vmofs_xattrs *x = with(NULL, "user.a", "one", 3), *y = NULL;
	const struct vmofs_xattr a = { "user.a", "two!", 4 }, b = { "user.b", NULL, 0 };

	assert_int_equal(vmofs_xattrs_with(x, &a, VMOFS_XATTRS_CREATE, &y), -EEXIST);
	assert_int_equal(vmofs_xattrs_with(x, &b, VMOFS_XATTRS_REPLACE, &y), -ENODATA);
	x = with(x, "user.b", NULL, 0);
	x = with(x, "user.a", "two!", 4);
	assert_has(x, "user.a", "two!", 4);
	assert_has(x, "user.b", "", 0);
	assert_int_equal(vmofs_xattrs_without(x, "user.c", &y), -ENODATA);
	assert_int_equal(vmofs_xattrs_without(x, "user.b", &y), 0);
	assert_has(y, "user.a", "two!", 4);
	assert_int_equal(y->len, x->len - strlen("user.b") - 5);
	vmofs_xattrs_put(y);
	vmofs_xattrs_put(x);
}

static void test_limit(void **state UNUSED)
{
	static const char much[VMOFS_XATTRS_MAX];
	struct vmofs_xattrs *x = with(NULL, "user.a", much, VMOFS_XATTRS_MAX - 11), *y = NULL;
	const struct vmofs_xattr a = { "user.a", much, VMOFS_XATTRS_MAX - 10 }, b = { "u", "", 0 },
				 none = { "", "", 0 };

	assert_int_equal(x->len, VMOFS_XATTRS_MAX);
	assert_int_equal(vmofs_xattrs_with(x, &b, VMOFS_XATTRS_SET, &y), -ENOSPC);
	assert_int_equal(vmofs_xattrs_with(NULL, &a, VMOFS_XATTRS_SET, &y), -ENOSPC);
	assert_int_equal(vmofs_xattrs_with(NULL, &none, VMOFS_XATTRS_SET, &y), -ERANGE);
	vmofs_xattrs_put(x);
}

static void test_bytes(void **state UNUSED)
{
	static const char good[] = "a\0\1\0\0\0xb\0\0\0\0\0";
	static const char twice[] = "a\0\0\0\0\0a\0\0\0\0\0";
	static const char nameless[] = "\0\0\0\0\0";
	struct vmofs_xattrs *x;

	for (size_t n = 0; n < sizeof good - 1; n++)
		assert_int_equal(vmofs_xattrs_check(good, n), n == 0 || n == 7 ? 0 : -EBADMSG);
	assert_int_equal(vmofs_xattrs_check(twice, sizeof twice - 1), -EBADMSG);
	assert_int_equal(vmofs_xattrs_check(nameless, sizeof nameless - 1), -EBADMSG);
	assert_int_equal(vmofs_xattrs_new(&x, good, sizeof good - 1), 0);
	assert_has(x, "a", "x", 1);
	assert_has(x, "b", "", 0);
	vmofs_xattrs_put(x);
}

static void test_encode(void **state UNUSED)
{
	struct vmofs_xattrs *x = with(with(NULL, "user.a", "\0\xff?", 3), "user.\xc3\xa4", "", 0);
	char *text = s3_xattrs_encode(x);

	assert_string_equal(text, "%7B%22user.a%22%3A%22AP8%2F%22%2C%22user.%C3%A4%22%3A%22%22%7D");
	free(text);
	vmofs_xattrs_put(x);
	x = with(NULL, "user.\"\\\n", "x", 1);
	text = s3_xattrs_encode(x);
	assert_string_equal(text, "%7B%22user.%5C%22%5C%5C%5Cu000a%22%3A%22eA%3D%3D%22%7D");
	free(text);
	vmofs_xattrs_put(x);
}

static int decode(const char *text, struct vmofs_xattrs **out)
{
	return s3_xattrs_decode(text, strlen(text), out);
}

static void test_decode(void **state UNUSED)
{
	struct vmofs_xattrs *x;

	assert_int_equal(decode("%7B%22user.a%22%3A%22AP8%2f%22%7D", &x), 0);
	assert_has(x, "user.a", "\0\xff?", 3);
	vmofs_xattrs_put(x);
	assert_int_equal(decode(" { \"user.\\\"\\u000a\\/\" : \"eA==\" , \"b\":\"\" } ", &x), 0);
	assert_has(x, "user.\"\n/", "x", 1);
	assert_has(x, "b", "", 0);
	vmofs_xattrs_put(x);
	assert_int_equal(decode("{}", &x), 0);
	assert_int_equal(x->len, 0);
	vmofs_xattrs_put(x);
}

static void test_decode_strange(void **state UNUSED)
{
	static const char *const bad[] = {
		"",
		"{",
		"%7",
		"%",
		"%7G",
		"[]",
		"{}x",
		"{\"a\"}",
		"{\"a\":}",
		"{\"a\":1}",
		"{\"a\":\"eA==\",}",
		"{,}",
		"{\"a\":\"eA==\"",
		"{\"a\":\"eA==",
		"{\"a\":\"eA=\"}",
		"{\"a\":\"eB==\"}",
		"{\"\":\"eA==\"}",
		"{\"a\":\"eA==\" \"b\":\"eA==\"}",
		"{\"a\":\"eA==\",\"a\":\"eA==\"}",
		"{\"a\\u0000b\":\"eA==\"}",
		"{\"a\\u00e4\":\"eA==\"}",
		"{\"a%00\":\"eA==\"}",
		"{\"a\\x\":\"eA==\"}",
		"{\"a\\",
		"{\"a\\u00",
	};
	struct vmofs_xattrs *x;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(decode(bad[i], &x), -EBADMSG);
}

static void test_decode_long(void **state UNUSED)
{
	char *text = malloc(S3_XATTRS_TEXT_MAX + 2);
	struct vmofs_xattrs *x;

	memset(text, 'A', S3_XATTRS_TEXT_MAX + 1);
	text[S3_XATTRS_TEXT_MAX + 1] = '\0';
	assert_int_equal(decode(text, &x), -E2BIG);
	memcpy(text, "{\"a\":\"", 6);
	strcpy(text + 6 + 8000, "\"}");
	assert_int_equal(decode(text, &x), -E2BIG);
	memset(text + 6, 'A', 5464);
	strcpy(text + 6 + 5464, "\"}");
	assert_int_equal(decode(text, &x), -EBADMSG); /* 4098 bytes */
	strcpy(text + 6 + 5448, "\"}");
	assert_int_equal(decode(text, &x), 0);
	vmofs_xattrs_put(x);
	memset(text, 'n', 300);
	memcpy(text, "{\"", 2);
	strcpy(text + 300, "\":\"\"}");
	assert_int_equal(decode(text, &x), -EBADMSG);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),         cmocka_unit_test(test_limit),
		cmocka_unit_test(test_bytes),       cmocka_unit_test(test_encode),
		cmocka_unit_test(test_decode),      cmocka_unit_test(test_decode_strange),
		cmocka_unit_test(test_decode_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
