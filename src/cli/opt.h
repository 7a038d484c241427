/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of command-line options and their parser. --help and -h are known everywhere. */
#ifndef CLI_OPT_H
#define CLI_OPT_H

#include <stdbool.h>
#include <vmofs/err.h>

/* Ended by a NULL name. */
struct opt {
	char letter;      /* 0: none */
	const char *name; /* without the dashes */
	const char *arg;  /* metavariable; NULL: a switch */
	const char *help; /* one line */
};

enum { ARGS_MAX = 64, OPT_NAME_MAX = 64 };

struct args_given {
	const struct opt *opt; /* NULL: an option of a mount, whose name is config_name */
	const char *config_name;
	const char *value; /* "" for a switch; NULL for a switch of a mount */
};

/* What was given; borrows from argv. */
struct args {
	const char *pos[ARGS_MAX];
	unsigned n_pos;
	struct args_given given[ARGS_MAX];
	unsigned n_given;
	char names[ARGS_MAX][OPT_NAME_MAX]; /* of the options of a mount */
	bool help;
};

/*
 * @argv without the program and command names. -EINVAL with a message. A command that has --options also knows
 * every option of a mount by its own name (cli/config_args.h).
 */
int opt_parse(struct args *out, const struct opt *opts, int argc, char **argv,
	      struct vmofs_err *err);

/* The last value given for --name, NULL when it was not given. */
const char *args_get(const struct args *a, const char *name);
/* The @n-th value given, for options that may be repeated. */
const char *args_nth(const struct args *a, const char *name, unsigned n);

void opt_print_help(const struct opt *opts);

#endif
