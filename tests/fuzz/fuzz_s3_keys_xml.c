/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of STS of any bytes: texts end, are not longer than the answer, and a document type is refused. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "s3/credentials_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct s3_sts_answer x;
	int r = s3_sts_parse((const char *)data, len, &x);
	const char *texts[] = { x.access_key, x.secret_key, x.token, x.expires, x.code, x.message };

	assert(r == 0 || r == -EINVAL);
	for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++)
		assert(!texts[i] || strlen(texts[i]) <= 2 * len);
	s3_sts_release(&x);
	assert(!x.code);
	return 0;
}
