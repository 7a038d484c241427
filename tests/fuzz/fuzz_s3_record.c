/* SPDX-License-Identifier: Apache-2.0 */
/* The record of uploads that a process has left. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_upload(void *arg, const char *id, const char *key)
{
	size_t *size = arg;

	assert(id[0] && strlen(id) + strlen(key) < *size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *p = malloc(size);

	if (!p && size > 0)
		return 0;
	if (size > 0)
		memcpy(p, data, size);
	s3_record_parse(p, size, on_upload, &size);
	free(p);
	return 0;
}
