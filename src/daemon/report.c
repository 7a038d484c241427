/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of a mount as one JSON object. Nothing here stops anybody who reads. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hist.h"
#include "base/loop.h"
#include "base/macros.h"
#include "daemon/command.h"
#include "daemon/mount.h"

static void set_u64(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void set_text(json_t *o, const char *key, const char *text)
{
	json_t *s = json_string(text);

	/* Not UTF-8: better said than left out. */
	json_object_set_new(o, key, s ? s : json_string("(not text)"));
}

static json_t *percentiles(const uint64_t bucket[VMOFS_LATENCY_BUCKETS])
{
	static const struct {
		const char *name;
		double p;
	} points[] = { { "p50", 50 }, { "p90", 90 }, { "p99", 99 }, { "max", 100 } };
	json_t *o = json_object();

	set_u64(o, "count", hist_count(bucket));
	for (size_t i = 0; i < ARRAY_LEN(points); i++)
		json_object_set_new(o, points[i].name,
				    json_real(hist_percentile_us(bucket, points[i].p)));
	return o;
}

static json_t *failure(const struct vmofs_failure *f)
{
	json_t *o;
	struct tm tm;
	char when[32];

	if (!f->code)
		return json_null();
	o = json_object();
	gmtime_r(&f->when.tv_sec, &tm);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	set_text(o, "code", strerrorname_np(-f->code));
	set_text(o, "message", f->msg);
	json_object_set_new(o, "status", json_integer(f->status));
	set_u64(o, "attempts", f->attempts);
	set_text(o, "request_id", f->request_id);
	set_text(o, "when", when);
	return o;
}

static void fill_identity(struct mount *m, json_t *reply)
{
	set_text(reply, "source", fs_object_url(&m->object));
	set_text(reply, "mountpoint", m->p.mountpoint);
	set_text(reply, "validator", fs_object_validator(&m->object));
	json_object_set_new(reply, "pid", json_integer(getpid()));
	set_u64(reply, "size", m->object.size);
	json_object_set_new(reply, "uptime_s",
			    json_real((double)(loop_now_ns() - m->start_ns) / 1e9));
}

static void fill_reads(struct mount *m, json_t *reply)
{
	struct fs_stats fs;

	fs_session_stats(m->session, &fs);
	set_u64(reply, "fuse_requests", fs.requests);
	set_u64(reply, "reads", fs.reads);
	set_u64(reply, "hits", fs.hits);
	set_u64(reply, "misses", fs.misses);
	set_u64(reply, "bytes_asked", fs.bytes_asked);
	set_u64(reply, "outstanding", fs.outstanding);
	set_u64(reply, "read_errors", fs.errors);
	set_u64(reply, "interrupted", fs.interrupted);
	set_u64(reply, "timed_out", fs.timed_out);
	json_object_set_new(reply, "read_latency_us", percentiles(fs.latency));
}

static void fill_fetches(struct mount *m, json_t *reply)
{
	struct vmofs_provider_stats st = { 0 };

	m->provider->ops->stats(m->provider, &st);
	set_u64(reply, "requests", st.requests);
	set_u64(reply, "retries", st.retries);
	set_u64(reply, "bytes_fetched", st.bytes_fetched);
	set_u64(reply, "bytes_discarded", st.bytes_discarded);
	set_u64(reply, "connections", st.connections);
	set_u64(reply, "redirects", st.redirects);
	set_u64(reply, "in_flight", st.in_flight);
	set_u64(reply, "errors", st.errors);
	set_u64(reply, "integrity_errors", st.integrity_errors);
	json_object_set_new(reply, "latency_us", percentiles(st.latency));
	json_object_set_new(reply, "last_error", failure(&st.last));
}

static void fill_memory(struct mount *m, json_t *reply)
{
	struct vm_pool_stats st;

	vm_pool_stats(m->pool, &st);
	set_u64(reply, "memory_bytes", st.resident + st.reserved);
	set_u64(reply, "memory_limit", st.limit);
	set_u64(reply, "memory_peak", st.peak);
	set_u64(reply, "memory_waits", st.waits);
	set_u64(reply, "evicted_pages", st.evicted);
	set_u64(reply, "resident", vmo_n_resident(m->vmo) * VMOFS_PAGE_SIZE);
	set_u64(reply, "overhead_bytes", vmo_overhead_bytes(m->vmo));
}

void report_fill(struct mount *m, json_t *reply)
{
	fill_identity(m, reply);
	fill_reads(m, reply);
	fill_fetches(m, reply);
	fill_memory(m, reply);
}
