/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs dirty, conflicts: the files whose changes the origin does not have, of one mount or of all. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/mountinfo.h"
#include "cli/cmd.h"
#include "cli/text.h"
#include "daemon/client.h"

static const struct opt dirty_opts[] = {
	{ 'j', "json", NULL, "print one JSON object for each file" },
	{ 'r', "ranges", NULL, "print which ranges of each file are changed" },
	{ 0 },
};

static const struct opt conflicts_opts[] = {
	{ 'j', "json", NULL, "print one JSON object for each file" },
	{ 0 },
};

struct listing {
	bool json;
	bool ranges;
	bool conflicts; /* only these */
	bool failed;    /* of a mount that was not named */
	unsigned n;
};

static const char *text_of(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

static json_int_t number_of(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static void print_ranges(const json_t *o)
{
	const json_t *ranges = json_object_get(o, "ranges");
	size_t i;
	json_t *r;

	json_array_foreach((json_t *)ranges, i, r)
		printf("    %lld + %lld%s\n", (long long)json_integer_value(json_array_get(r, 0)),
		       (long long)json_integer_value(json_array_get(r, 1)),
		       json_is_true(json_array_get(r, 2)) ? " (zeros)" : "");
	if (json_is_true(json_object_get(o, "more_ranges")))
		puts("    ...");
}

static void print_text(const struct listing *l, const char *mountpoint, const json_t *o)
{
	char dirty[TEXT_BYTES_MAX], size[TEXT_BYTES_MAX];

	if (!l->n)
		printf("%-9s %10s %10s %9s %-8s%s\n", "STATE", "DIRTY", "SIZE", "AGE", "JOURNAL",
		       "FILE");
	printf("%-9s %10s %10s %7.1f s %-8s", text_of(o, "state"),
	       text_bytes((double)number_of(o, "dirty_bytes"), dirty),
	       text_bytes((double)number_of(o, "size"), size),
	       json_number_value(json_object_get(o, "age_s")),
	       json_is_true(json_object_get(o, "durable")) ? "on disk" : "");
	text_print_name(mountpoint);
	putchar('/');
	text_print_name(text_of(o, "path"));
	putchar('\n');
	if (*text_of(o, "message"))
		printf("    %s (%s, %lld times)\n", text_of(o, "message"), text_of(o, "error"),
		       (long long)number_of(o, "failures"));
	if (l->ranges)
		print_ranges(o);
}

static void print_file(struct listing *l, const char *mountpoint, json_t *o)
{
	if (l->conflicts && strcmp(text_of(o, "state"), "conflict") != 0)
		return;
	if (l->json) {
		json_object_set_new(o, "mountpoint", text_json(mountpoint));
		text_print_json(o);
	} else {
		print_text(l, mountpoint, o);
	}
	l->n++;
}

static int list_mount(struct listing *l, const struct client_target *t, struct vmofs_err *err)
{
	cleanup(json_decrefp) json_t *reply = NULL;
	int r = client_call(t, json_pack("{s:s, s:s}", "cmd", "dirty", "path", t->inside), &reply,
			    err);
	size_t i;
	json_t *o;

	if (r < 0)
		return r;
	json_array_foreach(json_object_get(reply, "files"), i, o)
		print_file(l, t->mount.mountpoint, o);
	if (number_of(reply, "left_out") > 0)
		fprintf(stderr, "vmofs: %lld more files of '%s' are left out\n",
			(long long)number_of(reply, "left_out"), t->mount.mountpoint);
	return 0;
}

/* Those of other users are none of ours to look at, but root's. A daemon that has died does not hide the others. */
static int list_one_of_all(void *arg, const struct mountinfo *m)
{
	struct listing *l = arg;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct client_target t;

	if (m->owner != geteuid() && geteuid() != 0)
		return 0;
	if (client_target_of(&t, m, &err) < 0 || list_mount(l, &t, &err) < 0) {
		fprintf(stderr, "vmofs: %s\n", err.msg);
		l->failed = true;
	}
	return 0;
}

static int list(struct listing *l, const struct args *a, struct vmofs_err *err)
{
	struct client_target t;
	int r;

	if (!a->n_pos) {
		r = mountinfo_each("fuse.vmofs", list_one_of_all, l);
		return r < 0
			? vmofs_err_set(err, r, "cannot read the table of mounts: %s", strerror(-r))
			: l->failed;
	}
	r = client_find(&t, a->pos[0], err);
	return r < 0 ? r : list_mount(l, &t, err);
}

static int cmd_dirty_run(const struct args *a, struct vmofs_err *err)
{
	struct listing l = {
		.json = args_get(a, "json") != NULL,
		.ranges = args_get(a, "ranges") != NULL,
	};

	return list(&l, a, err);
}

const struct cmd cmd_dirty = {
	.name = "dirty",
	.args = "[MOUNTPOINT[/PATH]]",
	.help = "list the files that are changed here and not stored yet",
	.opts = dirty_opts,
	.min_args = 0,
	.max_args = 1,
	.run = cmd_dirty_run,
};

static int cmd_conflicts_run(const struct args *a, struct vmofs_err *err)
{
	struct listing l = { .json = args_get(a, "json") != NULL, .conflicts = true };

	return list(&l, a, err);
}

const struct cmd cmd_conflicts = {
	.name = "conflicts",
	.args = "[MOUNTPOINT[/PATH]]",
	.help = "list the files that were changed both here and at the origin",
	.opts = conflicts_opts,
	.min_args = 0,
	.max_args = 1,
	.run = cmd_conflicts_run,
};
