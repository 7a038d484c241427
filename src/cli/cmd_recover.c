/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmofs recover: the journals that mounts have left behind. Lists those that no mount has, or stores what they have of one
 * source, in this process, without a mount.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "cli/cmd.h"
#include "cli/config_args.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "daemon/command_write.h"
#include "daemon/mount.h"
#include "daemon/write_options.h"
#include "store/journal.h"

static const struct opt recover_opts[] = {
	{ 't', "timeout", "TIME",
	  "store for at most so long; 0, the default: as long as it takes" },
	{ 'j', "json", NULL, "print one JSON object for each journal" },
	{ 'o', "options", "OPT[,...]", "options of a mount, also as --NAME=VALUE" },
	{ 'c', "config", "FILE", "read FILE too, after those in /etc and the home directory" },
	{ 0 },
};

DEFINE_FREEP(struct vmofs_config, config_free)

/* ---- the list ---- */

struct listing {
	bool json;
	unsigned n;
};

static void list_json(const struct journal_info *i)
{
	json_t *o = json_object();

	json_object_set_new(o, "source", text_json(i->source));
	json_object_set_new(o, "path", text_json(i->path));
	json_object_set_new(o, "files", json_integer((json_int_t)i->logs));
	json_object_set_new(o, "bytes", json_integer((json_int_t)i->bytes));
	json_object_set_new(o, "damaged", json_integer((json_int_t)i->damaged));
	json_object_set_new(o, "in_use", json_boolean(i->in_use));
	text_print_json(o);
	json_decref(o);
}

/* A source is kept as "WHERE URL". */
static void list_text(const struct journal_info *i)
{
	const char *space = strchr(i->source, ' ');
	char bytes[TEXT_BYTES_MAX];

	printf("%6u %10s  ", i->logs, text_bytes((double)i->bytes, bytes));
	text_print_name(space ? space + 1 : i->path);
	if (space && space > i->source)
		printf(" at %.*s", (int)(space - i->source), i->source);
	if (i->damaged)
		printf(" (%u damaged files in %s)", i->damaged, i->path);
	putchar('\n');
}

static int list_one(void *arg, const struct journal_info *i)
{
	struct listing *l = arg;

	if (l->json) {
		list_json(i);
		return 0;
	}
	if (i->in_use || (!i->logs && !i->damaged))
		return 0;
	if (!l->n++)
		printf("%6s %10s  %s\n", "FILES", "ON DISK", "SOURCE");
	list_text(i);
	return 0;
}

static int list(const struct vmofs_config *c, const struct args *a, struct vmofs_err *err)
{
	struct listing l = { .json = args_get(a, "json") != NULL };
	cleanup(mem_freep) char *dir = NULL;
	int r = write_options_journal_dir(c, &dir, err);

	if (r < 0 || !dir)
		return r;
	r = journal_list(dir, list_one, &l);
	return r < 0
		? vmofs_err_set(err, r, "cannot read the journals in '%s': %s", dir, strerror(-r))
		: 0;
}

/* ---- storing ---- */

static void draw(void *arg, struct mount *m)
{
	json_t *sums = json_object();
	struct vmofs_err unused = VMOFS_ERR_INIT;

	command_writing(m, NULL, sums, NULL, &unused);
	progress_draw(arg, sums);
	json_decref(sums);
}

static int store(struct vmofs_config *c, const struct args *a, uint64_t timeout_ns,
		 struct vmofs_err *err)
{
	struct progress_bar bar = { 0 };
	struct mount_write_look look = { .look = draw, .arg = &bar };
	struct mount_params p = { .config = c, .source = a->pos[0], .mountpoint = "" };
	cleanup(json_decrefp) json_t *left = NULL;
	int r = config_set(c, "rw", "yes", err);

	log_set_level(LOG_LEVEL_WARN);
	if (!r)
		r = mount_recover(&p, timeout_ns, isatty(STDERR_FILENO) ? &look : NULL, &left, err);
	progress_clear(&bar);
	if (r < 0)
		return r;
	printf("%lld files found, %lld of them not stored, %lld in conflict\n",
	       (long long)json_integer_value(json_object_get(left, "found")),
	       (long long)json_integer_value(json_object_get(left, "files")),
	       (long long)json_integer_value(json_object_get(left, "conflicts")));
	return json_integer_value(json_object_get(left, "files")) ||
		json_integer_value(json_object_get(left, "conflicts"));
}

static int cmd_recover_run(const struct args *a, struct vmofs_err *err)
{
	cleanup(config_freep) struct vmofs_config *c = NULL;
	uint64_t timeout_ns;
	int r = progress_timeout(a, 0, &timeout_ns, err);

	if (!r)
		r = config_args_load(&c, a, a->n_pos ? a->pos[0] : "", err);
	if (r < 0)
		return r;
	return a->n_pos ? store(c, a, timeout_ns, err) : list(c, a, err);
}

const struct cmd cmd_recover = {
	.name = "recover",
	.args = "[SOURCE]",
	.help = "list what mounts have left in their journals, or store it",
	.opts = recover_opts,
	.min_args = 0,
	.max_args = 1,
	.run = cmd_recover_run,
};
