/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and names as commands print them, for people and as JSON. Pure but for standard output. */
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"

const char *text_bytes(double n, char out[TEXT_BYTES_MAX])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t i = 0;

	for (; n >= 1024 && i + 1 < ARRAY_LEN(units); i++)
		n /= 1024;
	snprintf(out, TEXT_BYTES_MAX, i ? "%.1f %s" : "%.0f %s", n, units[i]);
	return out;
}

void text_print_name(const char *name)
{
	if (!isatty(STDOUT_FILENO)) {
		fputs(name, stdout);
		return;
	}
	for (; *name; name++)
		putchar((unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name);
}

json_t *text_json(const char *text)
{
	json_t *v = json_string(text);
	char *copy;

	if (v)
		return v;
	copy = strdup(text);
	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	v = copy ? json_string(copy) : NULL;
	free(copy);
	return v;
}

void text_print_json(const json_t *o)
{
	json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
	putchar('\n');
}
