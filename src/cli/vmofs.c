/* SPDX-License-Identifier: Apache-2.0 */
/* The program: finds the command, parses its options, prints its error. One thread. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/macros.h"
#include "cli/cmd.h"
#include "daemon/options.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

const struct cmd *const cmds[] = {
	&cmd_mount, &cmd_umount,  &cmd_clone,     &cmd_ls,      &cmd_cat,
	&cmd_stat,  &cmd_dump,    &cmd_prefetch,  &cmd_pin,     &cmd_evict,
	&cmd_sync,  &cmd_dirty,   &cmd_conflicts, &cmd_resolve, &cmd_recover,
	&cmd_cache, &cmd_version, &cmd_help,      NULL,
};

const struct cmd *cmd_find(const char *name)
{
	for (const struct cmd *const *c = cmds; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

void cmd_print_usage(const struct cmd *c)
{
	printf("usage: vmofs %s [OPTIONS]%s%s\n%s\n\n", c->name, *c->args ? " " : "", c->args,
	       c->help);
	opt_print_help(c->opts);
}

void cmd_print_overview(void)
{
	printf("usage: vmofs COMMAND [OPTIONS] ...\n"
	       "Mounts remote objects, and trees of them, as local files that are fetched when they are read.\n\n");
	for (const struct cmd *const *c = cmds; *c; c++)
		printf("  %-10s %s\n", (*c)->name, (*c)->help);
	printf("\n`vmofs COMMAND --help` shows the options of a command, `vmofs --list-options` all,\n"
	       "vmofs(1) explains them.\n");
}

static void list_option(void *arg UNUSED, const struct vmofs_option *o)
{
	printf("mount -o %s%s%s\t%s%s%s\n", o->name, o->arg ? "=" : "", o->arg ? o->arg : "",
	       o->help, o->def ? "; default " : "", o->def ? o->def : "");
}

static void list_options(void)
{
	printf("vmofs --list-options\tprint this list\n");
	for (const struct cmd *const *c = cmds; *c; c++)
		for (const struct opt *o = (*c)->opts; o->name; o++)
			printf("%s --%s%s%s\t%s\n", (*c)->name, o->name, o->arg ? " " : "",
			       o->arg ? o->arg : "", o->help);
	options_each(list_option, NULL);
}

static int fail(const struct vmofs_err *err, int status)
{
	fprintf(stderr, "vmofs: %s\n", err->msg);
	return status;
}

static int run_cmd(const struct cmd *c, int argc, char **argv)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct args a;
	int r = opt_parse(&a, c->opts, argc, argv, &err);

	if (r < 0)
		return fail(&err, EXIT_USAGE);
	if (a.help) {
		cmd_print_usage(c);
		return 0;
	}
	if (a.n_pos < c->min_args || a.n_pos > c->max_args) {
		vmofs_err_set(&err, -EINVAL, "usage: vmofs %s [OPTIONS] %s", c->name, c->args);
		return fail(&err, EXIT_USAGE);
	}
	r = c->run(&a, &err);
	return r < 0 ? fail(&err, EXIT_FAILED) : r;
}

static int run_word(const char *word)
{
	static const struct {
		const char *word;
		void (*print)(void);
	} words[] = {
		{ "--help", cmd_print_overview },
		{ "-h", cmd_print_overview },
		{ "--list-options", list_options },
	};
	struct vmofs_err err = VMOFS_ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (!strcmp(words[i].word, word)) {
			words[i].print();
			return 0;
		}
	if (!strcmp(word, "--version") || !strcmp(word, "-V"))
		return run_cmd(&cmd_version, 0, NULL);
	vmofs_err_set(&err, -EINVAL, "unknown command '%s'; `vmofs help` lists them", word);
	return fail(&err, EXIT_USAGE);
}

int main(int argc, char **argv)
{
	const struct cmd *c;

	if (argc > 0 && !strcmp(basename(argv[0]), "mount.vmofs"))
		return mount_helper_main(argc, argv);
	if (argc < 2) {
		cmd_print_overview();
		return EXIT_USAGE;
	}
	c = cmd_find(argv[1]);
	return c ? run_cmd(c, argc - 2, argv + 2) : run_word(argv[1]);
}
