/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tells an object of S3 from every other one: the same bucket's name is another bucket at another endpoint.
 *
 * LINK: -Wl,--wrap=http_object_new
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "s3/s3_private.h"

static struct http_object_spec spec; /* of the last object */

int __wrap_http_object_new(struct vmofs_provider **out, struct http_origin *o,
			   const struct http_object_spec *s, struct vmofs_err *err);

int __wrap_http_object_new(struct vmofs_provider **out, struct http_origin *o UNUSED,
			   const struct http_object_spec *s, struct vmofs_err *err UNUSED)
{
	static struct vmofs_provider provider;

	spec = *s;
	*out = &provider;
	return 0;
}

/* Of "x/k" in the bucket, with that much of it in the source's prefix. */
static void identity_of(const struct s3_options *o, const char *region,
			uint8_t out[VMOFS_IDENTITY_LEN])
{
	struct s3 s = { .o = *o };
	struct vmofs_entry e = { .size = 1, .validator = "\"tag\"", .target = "" };
	struct vmofs_object_info info;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_provider *p;

	atomic_store(&s.refs, 1);
	mutex_init(&s.lock, LOCK_RANK_SOURCE);
	snprintf(s.region, sizeof s.region, "%s", region);
	memcpy(s.o.bucket, "buck", 5);
	e.key = o->prefix[0] ? "k" : "x/k";
	e.key_len = strlen(e.key);
	assert_int_equal(s3_object(&s.base, &e, &p, &info, &err), 0);
	assert_string_equal(info.url, "s3://buck/x/k");
	assert_true(info.has_identity);
	memcpy(out, info.identity, sizeof info.identity);
	spec.location->free(spec.arg);
	assert_int_equal(atomic_load(&s.refs), 1);
	mutex_destroy(&s.lock);
}

static void test_the_endpoint_is_part_of_it(void **state UNUSED)
{
	static const struct {
		struct s3_options o;
		const char *region;
	} all[] = {
		{ { .tls = true }, "eu-west-1" },
		{ { .tls = true }, "cn-north-1" },
		{ { .tls = true }, "us-gov-west-1" },
		{ { .tls = true, .host = "one.test" }, "r" },
		{ { .tls = false, .host = "one.test" }, "r" },
		{ { .tls = true, .host = "one.test:81" }, "r" },
		{ { .tls = true, .host = "two.test" }, "r" },
		{ { .tls = true, .host = "two.test", .base = "/base" }, "r" },
	};
	uint8_t id[ARRAY_LEN(all)][VMOFS_IDENTITY_LEN], again[VMOFS_IDENTITY_LEN];

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		identity_of(&all[i].o, all[i].region, id[i]);
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(id[i], id[k], sizeof again);
	}
}

/* Whichever way it was come to. */
static void test_the_way_is_not(void **state UNUSED)
{
	static const struct s3_options aws = { .tls = true }, path = { .path_style = true },
				       below = { .tls = true, .prefix = "x/" };
	uint8_t id[VMOFS_IDENTITY_LEN], again[VMOFS_IDENTITY_LEN];

	identity_of(&aws, "eu-west-1", id);
	identity_of(&below, "eu-west-1", again);
	assert_memory_equal(id, again, sizeof again);
	identity_of(&path, "us-east-1", again); /* a bucket's region is no part of its name */
	assert_memory_equal(id, again, sizeof again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_endpoint_is_part_of_it),
		cmocka_unit_test(test_the_way_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
