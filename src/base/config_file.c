/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files: `name = value` lines under [mount] or [mount "PREFIX"]. Not inih: it cuts
 * lines at 200 bytes and section names at 50 without a word, and both URLs and bearer tokens are longer.
 * A comment is a line that begins with # or ;, so values may hold any character.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_private.h"
#include "base/macros.h"

struct file_parser {
	struct vmofs_config *config;
	const char *source; /* which [mount "PREFIX"] sections count */
	bool in_section;
	bool counts; /* the lines of this section apply to @source */
};

static void file_closep(FILE **f)
{
	if (*f)
		fclose(*f);
	*f = NULL;
}

static char *trim(char *s)
{
	char *end = s + strlen(s);

	while (isspace((unsigned char)*s))
		s++;
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return s;
}

/* @line is "[mount]" or "[mount "PREFIX"]", trimmed. */
static int parse_section(struct file_parser *p, char *line, struct vmofs_err *err)
{
	size_t n = strlen(line);
	char *prefix;

	if (line[n - 1] != ']')
		return vmofs_err_set(err, -EINVAL, "the section '%s' has no closing bracket", line);
	line[n - 1] = '\0';
	line = trim(line + 1);
	p->in_section = true;
	p->counts = true;
	if (!strcmp(line, "mount"))
		return 0;
	if (strncmp(line, "mount", 5) || !isspace((unsigned char)line[5]))
		return vmofs_err_set(
			err, -EINVAL,
			"unknown section '[%s]'; there are [mount] and [mount \"PREFIX\"]", line);
	prefix = trim(line + 5);
	n = strlen(prefix);
	if (n < 2 || prefix[0] != '"' || prefix[n - 1] != '"')
		return vmofs_err_set(err, -EINVAL, "the prefix %s must stand in double quotes",
				     prefix);
	p->counts = !strncmp(p->source, prefix + 1, n - 2);
	return 0;
}

static int parse_pair(struct file_parser *p, char *line, struct vmofs_err *err)
{
	char *eq = strchr(line, '=');
	const struct vmofs_option *opt;
	const char *value = NULL;
	char *name;

	if (!p->in_section)
		return vmofs_err_set(err, -EINVAL, "'%s' stands before any [mount] section", line);
	if (eq) {
		*eq = '\0';
		value = trim(eq + 1);
	}
	name = trim(line);
	if (p->counts)
		return config_set(p->config, name, value, err);
	return config_check(p->config, name, &value, &opt, err);
}

static int parse_line(struct file_parser *p, char *line, struct vmofs_err *err)
{
	line = trim(line);
	if (!*line || *line == '#' || *line == ';')
		return 0;
	return *line == '[' ? parse_section(p, line, err) : parse_pair(p, line, err);
}

int config_parse_file(struct vmofs_config *c, const char *path, const char *source,
		      struct vmofs_err *err)
{
	cleanup(file_closep) FILE *f = fopen(path, "re");
	cleanup(mem_freep) char *line = NULL;
	struct file_parser p = { .config = c, .source = source };
	size_t cap = 0;

	if (!f)
		return vmofs_err_set(err, -errno, "cannot open '%s': %s", path, strerror(errno));
	for (unsigned n = 1; getline(&line, &cap, f) >= 0; n++) {
		int r = parse_line(&p, line, err);

		if (r < 0) {
			vmofs_err_prefix(err, "%s:%u", path, n);
			return r;
		}
	}
	if (ferror(f))
		return vmofs_err_set(err, -EIO, "cannot read '%s'", path);
	return 0;
}
