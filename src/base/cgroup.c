/* SPDX-License-Identifier: Apache-2.0 */
/* Reads /proc/self/cgroup and the limits along the path of each group that governs memory. */
#include "base/cgroup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"

/* Where hierarchies are mounted, and what their limit is called. */
static const struct {
	const char *mount;
	const char *file;
} v2_places[] = {
	{ "/sys/fs/cgroup", "memory.max" },
	{ "/sys/fs/cgroup/unified", "memory.max" },
}, v1_place = { "/sys/fs/cgroup/memory", "memory.limit_in_bytes" };

/* A number in a file of one line; UINT64_MAX when there is none ("max"). */
static uint64_t read_limit(const char *path)
{
	FILE *f = fopen(path, "re");
	uint64_t v = UINT64_MAX;

	if (!f)
		return v;
	if (fscanf(f, "%" SCNu64, &v) != 1)
		v = UINT64_MAX;
	fclose(f);
	return v;
}

/* A function, since what it is given has side effects. */
static uint64_t least_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The least limit from @group up to the root of the hierarchy. @group is cut on the way. */
static uint64_t least_along(const char *root, const char *mount, const char *file, char *group)
{
	uint64_t least = UINT64_MAX;
	char path[4096];
	char *slash;

	do {
		slash = strrchr(group, '/');
		snprintf(path, sizeof path, "%s%s%s/%s", root, mount, group, file);
		least = least_of(least, read_limit(path));
		if (slash)
			*slash = '\0';
	} while (slash);
	return least;
}

static uint64_t limit_v2(const char *root, const char *group)
{
	uint64_t least = UINT64_MAX;
	char copy[2048];

	for (size_t i = 0; i < ARRAY_LEN(v2_places); i++) {
		snprintf(copy, sizeof copy, "%s", group);
		least = least_of(least,
				 least_along(root, v2_places[i].mount, v2_places[i].file, copy));
	}
	return least;
}

/* Whether the comma separated @list has the word "memory". */
static int has_memory(char *list)
{
	char *state;

	for (char *w = strtok_r(list, ",", &state); w; w = strtok_r(NULL, ",", &state))
		if (!strcmp(w, "memory"))
			return 1;
	return 0;
}

/* One line: "0::/group" is v2, "4:memory,cpu:/group" is v1. */
static uint64_t limit_of_line(const char *root, char *line)
{
	char *controllers = strchr(line, ':');
	char *group = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!group)
		return UINT64_MAX;
	*controllers++ = '\0';
	*group++ = '\0';
	group[strcspn(group, "\n")] = '\0';
	if (!*controllers)
		return limit_v2(root, group);
	if (!has_memory(controllers))
		return UINT64_MAX;
	return least_along(root, v1_place.mount, v1_place.file, group);
}

uint64_t cgroup_memory_limit(const char *root)
{
	uint64_t least = UINT64_MAX;
	char line[2048];
	FILE *f;

	snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
	f = fopen(line, "re");
	if (!f)
		return least;
	while (fgets(line, sizeof line, f))
		least = least_of(least, limit_of_line(root, line));
	fclose(f);
	return least;
}
