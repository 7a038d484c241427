/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of `name=value` pairs of one mount, checked against tables of options as they are added.
 * Files are read by config_file.c, numbers by config_parse.c. Immutable once a mount has been set up, so
 * there is no lock.
 */
#include "base/config.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_private.h"
#include "base/macros.h"

enum { CONFIG_TABLES_MAX = 32, OPTION_NAME_MAX = 64 };

struct config_value {
	const struct vmofs_option *opt; /* borrowed */
	char *value;                    /* owned */
};

struct vmofs_config {
	const struct vmofs_option *tables[CONFIG_TABLES_MAX]; /* borrowed */
	unsigned n_tables;
	struct config_value *values; /* owned, in the order given: the last one counts */
	size_t n_values;
};

struct vmofs_config *config_new(void)
{
	return calloc(1, sizeof(struct vmofs_config));
}

void config_free(struct vmofs_config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_values; i++)
		free(c->values[i].value);
	free(c->values);
	free(c);
}

int config_add_table(struct vmofs_config *c, const struct vmofs_option *table)
{
	if (!table)
		return 0;
	if (c->n_tables == CONFIG_TABLES_MAX)
		return -ENOSPC;
	c->tables[c->n_tables++] = table;
	return 0;
}

/* Calls the body for every option @o of every table, in order. */
#define config_for_each_option(c, i, o)              \
	for (unsigned i = 0; i < (c)->n_tables; i++) \
		for (const struct vmofs_option *o = (c)->tables[i]; o->name; o++)

/* mount(8) writes allow_other where we write allow-other: both are the same name. */
static bool option_name_equal(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if (*a != *b && !(*a == '_' && *b == '-'))
			return false;
	return *a == *b;
}

static const struct vmofs_option *config_find(const struct vmofs_config *c, const char *name)
{
	config_for_each_option(c, i, o) if (option_name_equal(name, o->name)) return o;
	return NULL;
}

/* The number of letters to change, insert, remove or swap with their neighbour to make @b of @a. */
unsigned config_edit_distance(const char *a, const char *b)
{
	unsigned row[3][OPTION_NAME_MAX + 1];
	size_t na = strlen(a);
	size_t nb = strlen(b);

	if (na > OPTION_NAME_MAX || nb > OPTION_NAME_MAX)
		return OPTION_NAME_MAX;
	for (unsigned j = 0; j <= nb; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= na; i++) {
		unsigned *now = row[i % 3];
		const unsigned *prev = row[(i + 2) % 3];
		const unsigned *prev2 = row[(i + 1) % 3];

		now[0] = i;
		for (unsigned j = 1; j <= nb; j++) {
			unsigned best = prev[j - 1] + (a[i - 1] != b[j - 1]);

			best = MIN(best, MIN(prev[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, prev2[j - 2] + 1);
			now[j] = best;
		}
	}
	return row[na % 3][nb];
}

/* The known name nearest to @name, NULL when none is near enough to be meant. */
static const char *config_suggest(const struct vmofs_config *c, const char *name)
{
	unsigned best = MAX(2u, (unsigned)strlen(name) / 3) + 1;
	const char *found = NULL;

	config_for_each_option(c, i, o)
	{
		unsigned d = config_edit_distance(name, o->name);

		if (d < best) {
			best = d;
			found = o->name;
		}
	}
	return found;
}

static int config_unknown(const struct vmofs_config *c, const char *name, struct vmofs_err *err)
{
	const char *near = config_suggest(c, name);

	if (near)
		return vmofs_err_set(err, -EINVAL, "unknown option '%s'; did you mean '%s'?", name,
				     near);
	return vmofs_err_set(err, -EINVAL,
			     "unknown option '%s'; `vmofs --list-options` prints all of them",
			     name);
}

/* The metavariable of an option tells how its value must look; the others take any text. */
static int option_check_value(const struct vmofs_option *o, const char *value,
			      struct vmofs_err *err)
{
	static const struct {
		const char *arg;
		int (*parse)(const char *text, uint64_t *out);
		const char *like;
	} kinds[] = {
		{ "SIZE", config_parse_size, "a size such as 512K, 64M or 1.5G" },
		{ "TIME", config_parse_time, "a time such as 250ms, 30s or 5m" },
		{ "N", config_parse_u64, "a number" },
	};
	uint64_t unused;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (!strcmp(o->arg, kinds[i].arg) && kinds[i].parse(value, &unused))
			return vmofs_err_set(err, -EINVAL, "option '%s': '%s' is not %s", o->name,
					     value, kinds[i].like);
	return 0;
}

/* Finds the option and checks the value; *value becomes "yes" for a bare switch. */
int config_check(const struct vmofs_config *c, const char *name, const char **value,
		 const struct vmofs_option **opt, struct vmofs_err *err)
{
	const struct vmofs_option *o = config_find(c, name);
	bool unused;

	if (!o)
		return config_unknown(c, name, err);
	*opt = o;
	if (o->arg && !*value)
		return vmofs_err_set(err, -EINVAL, "option '%s' needs a value: %s=%s", o->name,
				     o->name, o->arg);
	if (o->arg)
		return option_check_value(o, *value, err);
	if (!*value)
		*value = "yes";
	if (config_parse_bool(*value, &unused))
		return vmofs_err_set(err, -EINVAL, "option '%s': '%s' is neither yes nor no",
				     o->name, *value);
	return 0;
}

int config_set(struct vmofs_config *c, const char *name, const char *value, struct vmofs_err *err)
{
	const struct vmofs_option *o;
	struct config_value *grown;
	char *copy;
	int r = config_check(c, name, &value, &o, err);

	if (r < 0)
		return r;
	grown = realloc(c->values, (c->n_values + 1) * sizeof *grown);
	if (grown)
		c->values = grown;
	copy = grown ? strdup(value) : NULL;
	if (!copy)
		return vmofs_err_set(err, -ENOMEM, "no memory for option '%s'", o->name);
	c->values[c->n_values++] = (struct config_value){ .opt = o, .value = copy };
	return 0;
}

/* Copies up to the next bare comma into @out, without the backslashes; returns what follows it. */
static const char *opts_next(const char *p, char *out)
{
	for (; *p && *p != ','; p++) {
		if (*p == '\\' && p[1])
			p++;
		*out++ = *p;
	}
	*out = '\0';
	return *p ? p + 1 : p;
}

int config_parse_opts(struct vmofs_config *c, const char *opts, struct vmofs_err *err)
{
	cleanup(mem_freep) char *pair = malloc(strlen(opts) + 1);

	if (!pair)
		return vmofs_err_set(err, -ENOMEM, "no memory for the options");
	while (*opts) {
		char *eq;
		int r;

		opts = opts_next(opts, pair);
		if (!*pair)
			continue;
		eq = strchr(pair, '=');
		if (eq)
			*eq = '\0';
		r = config_set(c, pair, eq ? eq + 1 : NULL, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct config_value *config_last(const struct vmofs_config *c,
					      const struct vmofs_option *o)
{
	for (size_t i = c->n_values; i-- > 0;)
		if (c->values[i].opt == o)
			return &c->values[i];
	return NULL;
}

static const char *config_effective(const struct vmofs_config *c, const struct vmofs_option *o)
{
	const struct config_value *v = config_last(c, o);

	return v ? v->value : o->def;
}

static const struct vmofs_option *config_must_find(const struct vmofs_config *c, const char *name)
{
	const struct vmofs_option *o = config_find(c, name);

	assert(o && "asked for an option that is in no table");
	return o;
}

const char *config_str(const struct vmofs_config *c, const char *name)
{
	return config_effective(c, config_must_find(c, name));
}

bool config_is_set(const struct vmofs_config *c, const char *name)
{
	return config_last(c, config_must_find(c, name)) != NULL;
}

bool config_bool(const struct vmofs_config *c, const char *name)
{
	const char *text = config_str(c, name);
	bool on = false;

	return text && !config_parse_bool(text, &on) && on;
}

bool config_bool_unless(const struct vmofs_config *c, const char *name, const char *opposite)
{
	const struct config_value *on = config_last(c, config_must_find(c, name));
	const struct config_value *off = config_last(c, config_must_find(c, opposite));

	/* Values stand in the order given. */
	return config_bool(c, name) && !(off && off > on && config_bool(c, opposite));
}

static int config_number(const struct vmofs_config *c, const char *name, uint64_t *out,
			 int (*parse)(const char *, uint64_t *), struct vmofs_err *err)
{
	const char *text = config_str(c, name);

	*out = 0;
	if (text && parse(text, out))
		return vmofs_err_set(err, -EINVAL, "option '%s': cannot understand '%s'", name,
				     text);
	return 0;
}

int config_size(const struct vmofs_config *c, const char *name, uint64_t *out,
		struct vmofs_err *err)
{
	return config_number(c, name, out, config_parse_size, err);
}

int config_time(const struct vmofs_config *c, const char *name, uint64_t *out_ns,
		struct vmofs_err *err)
{
	return config_number(c, name, out_ns, config_parse_time, err);
}

int config_u64(const struct vmofs_config *c, const char *name, uint64_t *out, struct vmofs_err *err)
{
	return config_number(c, name, out, config_parse_u64, err);
}

int config_choice(const struct vmofs_config *c, const char *name, const char *const *words,
		  struct vmofs_err *err)
{
	const char *text = config_str(c, name);
	char all[128] = "";
	size_t n = 0;

	for (int i = 0; words[i]; i++) {
		if (!strcmp(text, words[i]))
			return i;
		if (n < sizeof all)
			n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", i ? ", " : "",
					      words[i]);
	}
	return vmofs_err_set(err, -EINVAL, "option '%s': '%s' is none of %s", name, text, all);
}

void config_each(const struct vmofs_config *c, const char *name,
		 void (*fn)(void *arg, const char *value), void *arg)
{
	const struct vmofs_option *o = config_must_find(c, name);

	for (size_t i = 0; i < c->n_values; i++)
		if (c->values[i].opt == o)
			fn(arg, c->values[i].value);
}

void config_list(const struct vmofs_config *c,
		 void (*fn)(void *arg, const struct vmofs_option *opt, const char *value),
		 void *arg)
{
	config_for_each_option(c, i, o) fn(arg, o, config_effective(c, o));
}
