/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs stat: the counters of a mount, or of a file in it, for people or as one line of JSON. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/config.h"
#include "base/macros.h"
#include "cli/cmd.h"
#include "cli/text.h"
#include "daemon/client.h"

static const struct opt stat_opts[] = {
	{ 'j', "json", NULL, "print one JSON object a line" },
	{ 'i', "interval", "TIME", "repeat every TIME (2, 500ms, 1m)" },
	{ 0 },
};

enum stat_kind { STAT_TEXT, STAT_COUNT, STAT_BYTES, STAT_SECONDS, STAT_LATENCY, STAT_YES_NO };

static const struct stat_line {
	const char *label;
	const char *key;
	enum stat_kind kind;
} lines[] = {
	{ "type", "type", STAT_TEXT },
	{ "source", "source", STAT_TEXT },
	{ "mounted at", "mountpoint", STAT_TEXT },
	{ "version", "validator", STAT_TEXT },
	{ "process", "pid", STAT_COUNT },
	{ "up for", "uptime_s", STAT_SECONDS },
	{ "size", "size", STAT_BYTES },
	{ "resident", "resident", STAT_BYTES },
	{ "memory used", "memory_bytes", STAT_BYTES },
	{ "memory limit", "memory_limit", STAT_BYTES },
	{ "reads", "reads", STAT_COUNT },
	{ "  from memory", "hits", STAT_COUNT },
	{ "  waited", "misses", STAT_COUNT },
	{ "  waiting now", "outstanding", STAT_COUNT },
	{ "  failed", "read_errors", STAT_COUNT },
	{ "  interrupted", "interrupted", STAT_COUNT },
	{ "  by the kernel", "passthrough", STAT_COUNT },
	{ "  latency", "read_latency_us", STAT_LATENCY },
	{ "bytes asked for", "bytes_asked", STAT_BYTES },
	{ "bytes fetched", "bytes_fetched", STAT_BYTES },
	{ "requests sent", "requests", STAT_COUNT },
	{ "  retries", "retries", STAT_COUNT },
	{ "  failed", "errors", STAT_COUNT },
	{ "  wrong bytes", "integrity_errors", STAT_COUNT },
	{ "  raced", "hedges", STAT_COUNT },
	{ "  races won", "hedges_won", STAT_COUNT },
	{ "  latency", "latency_us", STAT_LATENCY },
};

/* Of the member "tree". */
static const struct stat_line tree_lines[] = {
	{ "names known", "nodes", STAT_COUNT },
	{ "  directories", "dirs", STAT_COUNT },
	{ "  held by kernel", "held", STAT_COUNT },
	{ "  memory", "bytes", STAT_BYTES },
	{ "  not there", "negative", STAT_COUNT },
	{ "listings", "listings", STAT_COUNT },
	{ "  whole trees", "flat_listings", STAT_COUNT },
	{ "  single names", "lookups", STAT_COUNT },
	{ "  metadata", "heads", STAT_COUNT },
	{ "  requests", "requests", STAT_COUNT },
	{ "  failed", "failed", STAT_COUNT },
	{ "  waiting now", "waiting", STAT_COUNT },
	{ "files changed", "versions", STAT_COUNT },
	{ "files open", "objects_open", STAT_COUNT },
	{ "  kept in memory", "objects_idle", STAT_COUNT },
	{ "keys not shown", "hidden", STAT_COUNT },
};

/* Of the member "cache". */
static const struct stat_line cache_lines[] = {
	{ "disk cache", "dir", STAT_TEXT },
	{ "  on disk", "bytes", STAT_BYTES },
	{ "  objects", "entries", STAT_COUNT },
	{ "  pages read", "hits", STAT_COUNT },
	{ "  not there", "misses", STAT_COUNT },
	{ "  pages written", "written", STAT_COUNT },
	{ "  not kept", "skipped", STAT_COUNT },
	{ "  to be written", "backlog", STAT_BYTES },
	{ "  wrong, dropped", "corrupt", STAT_COUNT },
	{ "  evicted", "evicted", STAT_COUNT },
	{ "  failed reads", "read_errors", STAT_COUNT },
	{ "  failed writes", "write_errors", STAT_COUNT },
	{ "  did not answer", "hangs", STAT_COUNT },
	{ "  is written to", "writing", STAT_YES_NO },
	{ "  last error", "last_error", STAT_TEXT },
};

/* Of the member "write". */
static const struct stat_line write_lines[] = {
	{ "not stored yet", "dirty_bytes", STAT_BYTES },
	{ "  files", "dirty_files", STAT_COUNT },
	{ "  in conflict", "conflicts", STAT_COUNT },
	{ "stored", "stores", STAT_COUNT },
	{ "  failed", "store_failures", STAT_COUNT },
	{ "  requests", "requests", STAT_COUNT },
	{ "  sent", "bytes_up", STAT_BYTES },
	{ "  copied there", "bytes_copied", STAT_BYTES },
	{ "writers held back", "waits", STAT_COUNT },
	{ "journal", "journal", STAT_TEXT },
	{ "  on disk", "journal_bytes", STAT_BYTES },
	{ "  files recovered", "recovered", STAT_COUNT },
};

static void print_latency(const json_t *o)
{
	printf("p50 %.0f us, p90 %.0f us, p99 %.0f us, max %.0f us\n",
	       json_number_value(json_object_get(o, "p50")),
	       json_number_value(json_object_get(o, "p90")),
	       json_number_value(json_object_get(o, "p99")),
	       json_number_value(json_object_get(o, "max")));
}

static void print_value(enum stat_kind kind, const json_t *v)
{
	char bytes[TEXT_BYTES_MAX];

	switch (kind) {
	case STAT_TEXT:
		printf("%s\n", json_string_value(v) ? json_string_value(v) : "");
		break;
	case STAT_COUNT:
		printf("%lld\n", (long long)json_integer_value(v));
		break;
	case STAT_BYTES:
		puts(text_bytes(json_number_value(v), bytes));
		break;
	case STAT_SECONDS:
		printf("%.1f s\n", json_number_value(v));
		break;
	case STAT_LATENCY:
		print_latency(v);
		break;
	case STAT_YES_NO:
		puts(json_is_true(v) ? "yes" : "no");
		break;
	}
}

static void print_failure(const json_t *f)
{
	if (!json_is_object(f))
		return;
	printf("%-17s %s: %s (%s)\n", "last error", json_string_value(json_object_get(f, "code")),
	       json_string_value(json_object_get(f, "message")),
	       json_string_value(json_object_get(f, "when")));
}

/* Those that the answer has: one object, a tree and a file have different ones. */
static void print_lines(const json_t *o, const struct stat_line *line, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_object_get(o, line[i].key);

		if (!v || json_is_null(v))
			continue;
		printf("%-17s ", line[i].label);
		print_value(line[i].kind, v);
	}
}

static void print_hidden(const json_t *keys)
{
	size_t i;
	json_t *o;

	json_array_foreach((json_t *)keys, i, o)
		printf("  '%s': %s\n", json_string_value(json_object_get(o, "key")),
		       json_string_value(json_object_get(o, "why")));
}

static void print_text(const json_t *reply)
{
	const json_t *tree = json_object_get(reply, "tree");
	const json_t *cache = json_object_get(reply, "cache");
	const json_t *write = json_object_get(reply, "write");

	print_lines(reply, lines, ARRAY_LEN(lines));
	print_failure(json_object_get(reply, "last_error"));
	if (cache)
		print_lines(cache, cache_lines, ARRAY_LEN(cache_lines));
	if (write)
		print_lines(write, write_lines, ARRAY_LEN(write_lines));
	if (!tree)
		return;
	print_lines(tree, tree_lines, ARRAY_LEN(tree_lines));
	print_hidden(json_object_get(tree, "hidden_keys"));
	print_failure(json_object_get(tree, "last_error"));
}

static int stat_once(const struct client_target *t, bool json, struct vmofs_err *err)
{
	const char *path = t->inside + strspn(t->inside, "/");
	cleanup(json_decrefp) json_t *reply = NULL;
	int r = client_call(
		t, json_pack("{s:s, s:s}", "cmd", *path ? "stat-file" : "stat", "path", path),
		&reply, err);

	if (r < 0)
		return r;
	json_object_del(reply, "ok");
	if (json)
		text_print_json(reply);
	else
		print_text(reply);
	fflush(stdout);
	return 0;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / NSEC_PER_SEC),
		.tv_nsec = (long)(ns % NSEC_PER_SEC),
	};

	nanosleep(&ts, NULL);
}

static int cmd_stat_run(const struct args *a, struct vmofs_err *err)
{
	const char *interval = args_get(a, "interval");
	bool json = args_get(a, "json") != NULL;
	uint64_t ns = 0;
	struct client_target t;
	int r;

	if (interval && config_parse_time(interval, &ns))
		return vmofs_err_set(err, -EINVAL, "option '--interval': '%s' is not a time",
				     interval);
	r = client_find(&t, a->pos[0], err);
	while (!r) {
		r = stat_once(&t, json, err);
		if (!ns)
			break;
		if (!r && !json)
			putchar('\n');
		sleep_ns(ns);
	}
	return r;
}

const struct cmd cmd_stat = {
	.name = "stat",
	.args = "MOUNTPOINT[/FILE]",
	.help = "show the counters of a mount, or what is known of a file in it",
	.opts = stat_opts,
	.min_args = 1,
	.max_args = 1,
	.run = cmd_stat_run,
};
