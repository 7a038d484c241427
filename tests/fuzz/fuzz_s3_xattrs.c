/* SPDX-License-Identifier: Apache-2.0 */
/* x-amz-meta-xattr of any bytes: what is read of it is a set, and written again it is read as the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_xattrs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_same(const struct vmofs_xattrs *x)
{
	char *text = s3_xattrs_encode(x);
	struct vmofs_xattrs *again = NULL;

	assert(text);
	assert(s3_xattrs_decode(text, strlen(text), &again) == 0);
	assert(again->len == x->len && !memcmp(again->bytes, x->bytes, x->len));
	vmofs_xattrs_put(again);
	free(text);
}

/* The bytes as a set, where they are one, go the same way. */
static void check_set(const uint8_t *data, size_t len)
{
	struct vmofs_xattrs *x;

	if (vmofs_xattrs_new(&x, data, len) < 0)
		return;
	check_same(x);
	vmofs_xattrs_put(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vmofs_xattrs *x;

	check_set(data, len);
	if (s3_xattrs_decode((const char *)data, len, &x) == 0) {
		assert(x->len <= VMOFS_XATTRS_MAX);
		assert(vmofs_xattrs_check(x->bytes, x->len) == 0);
		check_same(x);
		vmofs_xattrs_put(x);
	}
	return 0;
}
