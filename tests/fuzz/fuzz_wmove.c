/* SPDX-License-Identifier: Apache-2.0 */
/* What the journal has of a directory's new name, of any bytes: all texts end within it. */
#include <assert.h>
#include <string.h>

#include "write/wmove.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *key, *validator;
	struct wmove_text t;
	uint64_t size;

	if (wmove_read((const char *)data, len, &t) < 0)
		return 0;
	assert(t.to[strlen(t.to) - 1] == '/');
	while (wmove_read_next(&t, &key, &validator, &size))
		assert(validator == key + strlen(key) + 1 && validator + strlen(validator) < t.end);
	return 0;
}
