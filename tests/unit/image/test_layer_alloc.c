/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer is made, checked and merged with its first, second, ... allocation failing, until it needs no more: -ENOMEM each time, and
 * the same bytes in the end. Leaks are left to the address sanitizer.
 *
 * LINK: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "image/layer_build.h"
#include "lib/fail_alloc.h"

enum { ALLOCATIONS_MAX = 1000, FILES = 600 };

static int add(struct layer_build *b, unsigned n, struct vmofs_err *err)
{
	const struct layer_xattr a = { "user.a", 6, &n, sizeof n };
	char name[64], target[64];
	struct layer_entry e = {
		.name = name, .mode = S_IFREG, .xattrs = &a, .n_xattrs = n % 20 == 1
	};

	e.name_len = (size_t)snprintf(name, sizeof name, "dir-%u/file-%u", n / 10, n);
	if (n % 3 == 0) {
		/* To what comes next. */
		e.target = target;
		e.target_len = (size_t)snprintf(target, sizeof target, "dir-%u/file-%u",
						(n + 1) / 10, n + 1);
		e.mode = 0;
	}
	return layer_build_entry(b, &e, err);
}

/* Spans from the last to the first. */
static int add_span(struct layer_build *b, unsigned n)
{
	const struct layer_span s = {
		.data = 10 * (FILES - n), .data_len = 10, .blob_len = 10, .kind = LAYER_SPAN_DEFLATE
	};
	static const uint8_t digest[LAYER_DIGEST_LEN];

	return layer_build_span(b, &s, digest, "window", 6);
}

static int fill(struct layer_build *b, struct vmofs_err *err)
{
	int r = 0;

	for (unsigned n = 0; r == 0 && n < FILES; n++) {
		r = add(b, n, err);
		if (r == 0)
			r = add_span(b, n);
	}
	return r;
}

/* All of it; *out is freed by the caller, also when it failed. */
static int make(void **out, size_t *len)
{
	struct layer_id id = { .data_size = 10 * FILES + 10, .blob_size = 100 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	const struct layer_index *one;
	cleanup(mem_freep) void *p = NULL;
	struct layer_build *b;
	struct layer_index x;
	int r = layer_build_new(&b, LAYER_LAYOUT_TAR, NULL);

	*out = NULL;
	if (r < 0)
		return r;
	r = fill(b, &err);
	if (r == 0)
		r = layer_build_end(b, &id, &p, len, &err);
	layer_build_free(b);
	if (r == 0)
		r = layer_index_check(&x, p, *len, &err);
	one = &x;
	return r < 0 ? r : layer_merge(&one, 1, out, len, &err);
}

static void test_each_allocation(void **state UNUSED)
{
	void *want, *got = NULL;
	size_t want_len, len;
	bool failed = true;
	unsigned nth;

	assert_int_equal(make(&want, &want_len), 0);
	for (nth = 1; failed && nth < ALLOCATIONS_MAX; nth++) {
		int r;

		free(got);
		fail_alloc_arm(nth);
		r = make(&got, &len);
		failed = fail_alloc_disarm();
		assert_int_equal(r, failed ? -ENOMEM : 0);
	}
	assert_false(failed);
	assert_int_equal(len, want_len);
	assert_memory_equal(got, want, len);
	free(got);
	free(want);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_each_allocation) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
