/* SPDX-License-Identifier: Apache-2.0 */
/* Runs commands for their output. */
#include "lib/shell_bytes.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint8_t *shell_bytes(const char *command, size_t *len)
{
	FILE *f = popen(command, "re");
	size_t cap = 1 << 16, n;
	uint8_t *p = malloc(cap);

	assert(f && p);
	*len = 0;
	while ((n = fread(p + *len, 1, cap - *len, f)) > 0) {
		*len += n;
		if (*len == cap) {
			cap *= 2;
			p = realloc(p, cap);
			assert(p);
		}
	}
	if (pclose(f) == 0)
		return p;
	free(p);
	return NULL;
}

/* The script is in no file and in no quotes. */
uint8_t *python_bytes(const char *script, size_t *len)
{
	size_t n = strlen(script) + 64;
	char *command = malloc(n);
	uint8_t *p;

	assert(command && !strstr(script, "\nEND\n"));
	snprintf(command, n, "exec python3 - <<'END'\n%s\nEND\n", script);
	p = shell_bytes(command, len);
	free(command);
	return p;
}
