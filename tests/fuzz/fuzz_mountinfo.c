/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the mount table: what is accepted has a mountpoint and a type that fit. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mountinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct mountinfo *m = malloc(sizeof *m);
	char *line = malloc(len + 1);

	memcpy(line, data, len);
	line[len] = '\0';
	if (mountinfo_parse(line, m) == 0)
		assert(strlen(m->mountpoint) < sizeof m->mountpoint &&
		       strlen(m->fstype) < sizeof m->fstype);
	free(line);
	free(m);
	return 0;
}
