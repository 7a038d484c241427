/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of the kernel's mount table: id parent maj:min root mountpoint options ... - type source super. */
#include "base/mountinfo.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

/* The table is read in pieces: a mount may slip through between two while others come and go. */
enum { LOOKS = 4 };

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Decodes \ooo in place: the table writes spaces, tabs, newlines and backslashes so. */
static void unescape_octal(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && is_octal(s[1]) && is_octal(s[2]) && is_octal(s[3])) {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

static char *next_word(char **p)
{
	return strsep(p, " \n");
}

static int parse_device(const char *word, struct mountinfo *out)
{
	return word && sscanf(word, "%u:%u", &out->major, &out->minor) == 2 ? 0 : -EINVAL;
}

static void parse_owner(const char *super, struct mountinfo *out)
{
	const char *p = super ? strstr(super, "user_id=") : NULL;

	out->owner = p ? (uid_t)strtoul(p + strlen("user_id="), NULL, 10) : 0;
}

int mountinfo_parse(char *line, struct mountinfo *out)
{
	char *p = line;
	const char *word;
	char *where;

	next_word(&p);
	next_word(&p);
	if (parse_device(next_word(&p), out))
		return -EINVAL;
	next_word(&p);
	where = next_word(&p);
	if (!where || strlen(where) >= sizeof out->mountpoint)
		return -EINVAL;
	unescape_octal(where);
	strcpy(out->mountpoint, where);
	while ((word = next_word(&p)) && strcmp(word, "-"))
		;
	word = next_word(&p);
	if (!word || strlen(word) >= sizeof out->fstype)
		return -EINVAL;
	strcpy(out->fstype, word);
	next_word(&p);
	parse_owner(next_word(&p), out);
	return 0;
}

/* Whether @path is @dir or below it. */
static bool path_is_under(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (n == 1)
		return true;
	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n]);
}

int mountinfo_each(const char *fstype, int (*fn)(void *arg, const struct mountinfo *m), void *arg)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	cleanup(mem_freep) char *line = NULL;
	cleanup(mem_freep) struct mountinfo *m = malloc(sizeof *m);
	size_t cap = 0;
	int r = m ? 0 : -ENOMEM;

	if (!f)
		return -errno;
	while (!r && getline(&line, &cap, f) >= 0)
		if (!mountinfo_parse(line, m) && !strcmp(m->fstype, fstype))
			r = fn(arg, m);
	fclose(f);
	return r;
}

struct look {
	const char *path;
	struct mountinfo *out;
	bool found;
};

static int look_at(void *arg, const struct mountinfo *m)
{
	struct look *l = arg;

	if (!path_is_under(l->path, m->mountpoint) ||
	    strlen(m->mountpoint) < strlen(l->out->mountpoint))
		return 0;
	*l->out = *m;
	l->found = true;
	return 0;
}

static int mountinfo_look(const char *path, const char *fstype, struct mountinfo *out)
{
	struct look l = { .path = path, .out = out };
	int r;

	out->mountpoint[0] = '\0';
	r = mountinfo_each(fstype, look_at, &l);
	return r < 0 ? r : l.found ? 0 : -ENOENT;
}

int mountinfo_find(const char *path, const char *fstype, struct mountinfo *out)
{
	int r = -ENOENT;

	for (unsigned i = 0; i < LOOKS && r == -ENOENT; i++)
		r = mountinfo_look(path, fstype, out);
	return r;
}
