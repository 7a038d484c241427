/* SPDX-License-Identifier: Apache-2.0 */
/* vmofs stat: the counters of a mount, for people or as one line of JSON. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/config.h"
#include "base/macros.h"
#include "cli/cmd.h"
#include "daemon/client.h"

static const struct opt stat_opts[] = {
	{ 'j', "json", NULL, "print one JSON object a line" },
	{ 'i', "interval", "TIME", "repeat every TIME (2, 500ms, 1m)" },
	{ 0 },
};

enum stat_kind { STAT_TEXT, STAT_COUNT, STAT_BYTES, STAT_SECONDS, STAT_LATENCY };

static const struct stat_line {
	const char *label;
	const char *key;
	enum stat_kind kind;
} lines[] = {
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
	{ "  latency", "read_latency_us", STAT_LATENCY },
	{ "bytes asked for", "bytes_asked", STAT_BYTES },
	{ "bytes fetched", "bytes_fetched", STAT_BYTES },
	{ "requests sent", "requests", STAT_COUNT },
	{ "  retries", "retries", STAT_COUNT },
	{ "  failed", "errors", STAT_COUNT },
	{ "  wrong bytes", "integrity_errors", STAT_COUNT },
	{ "  latency", "latency_us", STAT_LATENCY },
};

static void print_bytes(double n)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t i = 0;

	for (; n >= 1024 && i + 1 < ARRAY_LEN(units); i++)
		n /= 1024;
	printf(i ? "%.1f %s\n" : "%.0f %s\n", n, units[i]);
}

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
	switch (kind) {
	case STAT_TEXT:
		printf("%s\n", json_string_value(v) ? json_string_value(v) : "");
		break;
	case STAT_COUNT:
		printf("%lld\n", (long long)json_integer_value(v));
		break;
	case STAT_BYTES:
		print_bytes(json_number_value(v));
		break;
	case STAT_SECONDS:
		printf("%.1f s\n", json_number_value(v));
		break;
	case STAT_LATENCY:
		print_latency(v);
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

static void print_text(const json_t *reply)
{
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		printf("%-17s ", lines[i].label);
		print_value(lines[i].kind, json_object_get(reply, lines[i].key));
	}
	print_failure(json_object_get(reply, "last_error"));
}

static void print_json(const json_t *reply)
{
	json_dumpf(reply, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
	putchar('\n');
}

static int stat_once(const struct client_target *t, bool json, struct vmofs_err *err)
{
	cleanup(json_decrefp) json_t *reply = NULL;
	int r = client_call(t, json_pack("{s:s}", "cmd", "stat"), &reply, err);

	if (r < 0)
		return r;
	json_object_del(reply, "ok");
	if (json)
		print_json(reply);
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
	.args = "MOUNTPOINT",
	.help = "show the counters of a mount",
	.opts = stat_opts,
	.min_args = 1,
	.max_args = 1,
	.run = cmd_stat_run,
};
