/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --name VALUE, --name=VALUE, -n VALUE, -nVALUE, bundled switches; "--" ends the options. One thread.
 */
#include "cli/opt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "cli/config_args.h"

struct opt_cursor {
	struct args *out;
	const struct opt *opts;
	int argc;
	char **argv;
	int i;
};

static const struct opt *opt_by_name(const struct opt *opts, const char *name, size_t len)
{
	for (; opts->name; opts++)
		if (!strncmp(opts->name, name, len) && !opts->name[len])
			return opts;
	return NULL;
}

static const struct opt *opt_by_letter(const struct opt *opts, char letter)
{
	for (; opts->name; opts++)
		if (opts->letter == letter)
			return opts;
	return NULL;
}

static int opt_give(struct opt_cursor *c, const struct opt *o, const char *value,
		    struct vmofs_err *err)
{
	if (o->arg && !value) {
		if (++c->i >= c->argc)
			return vmofs_err_set(err, -EINVAL, "option '--%s' needs a value: %s",
					     o->name, o->arg);
		value = c->argv[c->i];
	}
	if (c->out->n_given == ARGS_MAX)
		return vmofs_err_set(err, -E2BIG, "too many options");
	c->out->given[c->out->n_given].opt = o;
	c->out->given[c->out->n_given++].value = value ? value : "";
	return 0;
}

/* -o NAME=VALUE as an option of its own. */
static int opt_give_config(struct opt_cursor *c, const char *word, size_t len,
			   struct vmofs_err *err)
{
	struct args *a = c->out;
	char *name = a->names[a->n_given % ARGS_MAX];
	const char *value = word[len] ? word + len + 1 : NULL;
	bool has_value;
	int r;

	if (a->n_given == ARGS_MAX)
		return vmofs_err_set(err, -E2BIG, "too many options");
	if (len >= OPT_NAME_MAX)
		return vmofs_err_set(err, -EINVAL, "unknown option '--%.*s'; see --help", (int)len,
				     word);
	memcpy(name, word, len);
	name[len] = '\0';
	r = config_args_find(name, &has_value, err);
	if (r < 0)
		return r;
	if (has_value && !value) {
		if (++c->i >= c->argc)
			return vmofs_err_set(err, -EINVAL, "option '--%s' needs a value", name);
		value = c->argv[c->i];
	}
	a->given[a->n_given++] = (struct args_given){ .config_name = name, .value = value };
	return 0;
}

static int opt_parse_long(struct opt_cursor *c, const char *word, struct vmofs_err *err)
{
	size_t len = strcspn(word, "=");
	const struct opt *o = opt_by_name(c->opts, word, len);

	if (!strcmp(word, "help")) {
		c->out->help = true;
		return 0;
	}
	if (!o && opt_by_name(c->opts, "options", strlen("options")))
		return opt_give_config(c, word, len, err);
	if (!o)
		return vmofs_err_set(err, -EINVAL, "unknown option '--%.*s'; see --help", (int)len,
				     word);
	if (word[len] && !o->arg)
		return vmofs_err_set(err, -EINVAL, "option '--%s' takes no value", o->name);
	return opt_give(c, o, word[len] ? word + len + 1 : NULL, err);
}

static int opt_parse_short(struct opt_cursor *c, const char *letters, struct vmofs_err *err)
{
	for (; *letters; letters++) {
		const struct opt *o = opt_by_letter(c->opts, *letters);

		if (*letters == 'h' && !o) {
			c->out->help = true;
			continue;
		}
		if (!o)
			return vmofs_err_set(err, -EINVAL, "unknown option '-%c'; see --help",
					     *letters);
		if (o->arg)
			return opt_give(c, o, letters[1] ? letters + 1 : NULL, err);
		if (opt_give(c, o, NULL, err))
			return err->code;
	}
	return 0;
}

static int opt_parse_word(struct opt_cursor *c, bool *ended, struct vmofs_err *err)
{
	const char *word = c->argv[c->i];

	if (!*ended && !strcmp(word, "--")) {
		*ended = true;
		return 0;
	}
	if (!*ended && !strncmp(word, "--", 2))
		return opt_parse_long(c, word + 2, err);
	if (!*ended && word[0] == '-' && word[1])
		return opt_parse_short(c, word + 1, err);
	if (c->out->n_pos == ARGS_MAX)
		return vmofs_err_set(err, -E2BIG, "too many arguments");
	c->out->pos[c->out->n_pos++] = word;
	return 0;
}

int opt_parse(struct args *out, const struct opt *opts, int argc, char **argv,
	      struct vmofs_err *err)
{
	struct opt_cursor c = { .out = out, .opts = opts, .argc = argc, .argv = argv };
	bool ended = false;

	*out = (struct args){ 0 };
	for (; c.i < argc; c.i++) {
		int r = opt_parse_word(&c, &ended, err);

		if (r < 0)
			return r;
	}
	return 0;
}

const char *args_nth(const struct args *a, const char *name, unsigned n)
{
	for (unsigned i = 0; i < a->n_given; i++)
		if (a->given[i].opt && !strcmp(a->given[i].opt->name, name) && !n--)
			return a->given[i].value;
	return NULL;
}

const char *args_get(const struct args *a, const char *name)
{
	for (unsigned i = a->n_given; i-- > 0;)
		if (a->given[i].opt && !strcmp(a->given[i].opt->name, name))
			return a->given[i].value;
	return NULL;
}

void opt_print_help(const struct opt *opts)
{
	for (; opts->name; opts++) {
		char left[64];

		snprintf(left, sizeof left, "%c%c%s --%s%s%s", opts->letter ? '-' : ' ',
			 opts->letter ? opts->letter : ' ', opts->letter ? "," : " ", opts->name,
			 opts->arg ? " " : "", opts->arg ? opts->arg : "");
		printf("  %-26s %s\n", left, opts->help);
	}
	printf("  %-26s %s\n", "-h, --help", "show this help");
}
