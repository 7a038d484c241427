/* SPDX-License-Identifier: Apache-2.0 */
/* The short XML answers of S3 servers, and who may do what with an object. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_answer.h"
#include "s3/s3_grants.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is said in a header is nothing but that. */
static void grants(const char *p, size_t size)
{
	static struct s3_grants g;

	if (s3_grants_parse(&g, p, size, true) < 0)
		return;
	for (unsigned i = 0; i < S3_RIGHTS; i++) {
		assert(memchr(g.line[i], 0, sizeof g.line[i]));
		for (const char *c = g.line[i]; *c; c++)
			assert(*c >= ' ' && *c <= '~');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "UploadId", "ETag", "ChecksumCRC32C", "Code", "K" };
	char *p = malloc(size); /* of exactly this size, so that a byte beyond is seen */
	char out[16];

	if (!p && size > 0)
		return 0;
	if (size > 0)
		memcpy(p, data, size);
	s3_answer_is_error(p, size);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		int r = s3_answer_field(p, size, names[i], out, sizeof out);

		assert(memchr(out, 0, sizeof out) && (r == 0 || !out[0]));
	}
	grants(p, size);
	free(p);
	return 0;
}
