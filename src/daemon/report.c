/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of a mount, or of one file of it, as one JSON object. Nothing here stops anybody who reads. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hist.h"
#include "base/loop.h"
#include "base/macros.h"
#include "daemon/command.h"
#include "daemon/command_write.h"
#include "daemon/mount.h"
#include "store/cache.h"
#include "vm/disk_tier.h"

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
	struct fs_tree_stats ts;

	m->tree->ops->stats(m->tree, &ts);
	set_text(reply, "source", m->url);
	set_text(reply, "mountpoint", m->p.mountpoint);
	if (!m->source)
		set_text(reply, "validator", fs_object_validator(&m->object));
	json_object_set_new(reply, "pid", json_integer(getpid()));
	set_u64(reply, "size", ts.file_bytes);
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
	set_u64(reply, "passthrough", fs.passthrough);
	json_object_set_new(reply, "read_latency_us", percentiles(fs.latency));
}

static void fill_fetches(const struct vmofs_provider_stats *st, json_t *reply)
{
	set_u64(reply, "requests", st->requests);
	set_u64(reply, "retries", st->retries);
	set_u64(reply, "bytes_fetched", st->bytes_fetched);
	set_u64(reply, "bytes_discarded", st->bytes_discarded);
	set_u64(reply, "connections", st->connections);
	set_u64(reply, "redirects", st->redirects);
	set_u64(reply, "in_flight", st->in_flight);
	set_u64(reply, "errors", st->errors);
	set_u64(reply, "integrity_errors", st->integrity_errors);
	set_u64(reply, "hedges", st->hedges);
	set_u64(reply, "hedges_won", st->hedges_won);
	set_u64(reply, "hedged_bytes", st->hedged_bytes);
	json_object_set_new(reply, "latency_us", percentiles(st->latency));
	json_object_set_new(reply, "last_error", failure(&st->last));
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
	if (m->source) {
		set_u64(reply, "resident", st.resident);
		return;
	}
	set_u64(reply, "resident", vmo_n_resident(m->vmo) * VMOFS_PAGE_SIZE);
	set_u64(reply, "overhead_bytes", vmo_overhead_bytes(m->vmo));
}

/* ---- the disk cache ---- */

static void fill_cache(struct mount *m, json_t *reply)
{
	struct disk_tier_stats ts;
	struct cache_stats cs;
	json_t *o = json_object();

	disk_io_stats(m->disk, &ts);
	cache_stats(m->disk_cache, &cs);
	set_text(o, "dir", m->cache_dir);
	set_u64(o, "hits", ts.hits);
	set_u64(o, "misses", ts.misses);
	set_u64(o, "written", ts.written);
	set_u64(o, "skipped", ts.skipped);
	set_u64(o, "backlog", ts.backlog);
	set_u64(o, "hangs", ts.hangs);
	set_u64(o, "corrupt", cs.corrupt);
	set_u64(o, "evicted", cs.evicted);
	set_u64(o, "read_errors", cs.read_errors);
	set_u64(o, "write_errors", cs.write_errors);
	set_u64(o, "bytes", cs.bytes);
	set_u64(o, "entries", cs.entries);
	json_object_set_new(o, "writing", json_boolean(cs.writing));
	json_object_set_new(o, "last_error",
			    cs.last_error ? json_string(strerrorname_np(-cs.last_error))
					  : json_null());
	json_object_set_new(reply, "cache", o);
}

/* ---- trees ---- */

/* As in the JSON; fs_hidden_names has the words for people. */
static const char *const hidden_keys[] = {
	[FS_HIDDEN_EMPTY] = "empty",       [FS_HIDDEN_DOT] = "dot",
	[FS_HIDDEN_NUL] = "zero",          [FS_HIDDEN_LONG] = "long",
	[FS_HIDDEN_SHADOWED] = "shadowed", [FS_HIDDEN_MARKER] = "marker",
};
_Static_assert(ARRAY_LEN(hidden_keys) == FS_HIDDEN_NREASONS, "one key per reason");

static void add_hidden(void *arg, enum fs_hidden why, const char *key)
{
	json_t *o = json_object();

	set_text(o, "why", fs_hidden_names[why]);
	set_text(o, "key", key);
	json_array_append_new(arg, o);
}

static void fill_hidden(struct fs_tree *t, const struct fs_tree_stats *ts, json_t *o)
{
	json_t *by = json_object();
	json_t *examples = json_array();
	uint64_t n = 0;

	for (unsigned i = 0; i < FS_HIDDEN_NREASONS; i++) {
		n += ts->hidden[i];
		if (ts->hidden[i])
			set_u64(by, hidden_keys[i], ts->hidden[i]);
	}
	if (t->ops->each_hidden)
		t->ops->each_hidden(t, add_hidden, examples);
	set_u64(o, "hidden", n);
	json_object_set_new(o, "hidden_by", by);
	json_object_set_new(o, "hidden_keys", examples);
}

static void fill_nodes(const struct fs_tree_stats *ts, json_t *o)
{
	set_u64(o, "nodes", ts->nodes);
	set_u64(o, "dirs", ts->dirs);
	set_u64(o, "held", ts->held);
	set_u64(o, "bytes", ts->bytes);
	set_u64(o, "free_bytes", ts->free_bytes);
	set_u64(o, "negative", ts->negative);
	set_u64(o, "waiting", ts->waiting);
	set_u64(o, "listings", ts->listings);
	set_u64(o, "flat_listings", ts->flat_listings);
	set_u64(o, "lookups", ts->lookups);
	set_u64(o, "heads", ts->heads);
	set_u64(o, "requests", ts->requests);
	set_u64(o, "failed", ts->failed);
	set_u64(o, "entries", ts->entries);
	set_u64(o, "invalidations", ts->invalidations);
	set_u64(o, "versions", ts->versions);
	set_u64(o, "evicted", ts->evicted);
	json_object_set_new(o, "last_error", failure(&ts->last));
}

static void fill_tree(struct mount *m, json_t *reply)
{
	struct object_cache_stats cs;
	struct fs_tree_stats ts;
	json_t *o = json_object();

	m->tree->ops->stats(m->tree, &ts);
	fill_nodes(&ts, o);
	object_cache_stats(m->cache, &cs);
	set_u64(o, "objects_open", cs.open);
	set_u64(o, "objects_idle", cs.idle);
	set_u64(o, "objects_opened", cs.opened);
	set_u64(o, "objects_reused", cs.reused);
	fill_hidden(m->tree, &ts, o);
	json_object_set_new(reply, "tree", o);
}

void report_fill(struct mount *m, json_t *reply)
{
	struct vmofs_provider_stats st;

	mount_source_stats(m, &st);
	fill_identity(m, reply);
	fill_reads(m, reply);
	fill_fetches(&st, reply);
	fill_memory(m, reply);
	if (m->disk)
		fill_cache(m, reply);
	if (m->source)
		fill_tree(m, reply);
	command_write_stats(m, reply);
}

/* ---- one file ---- */

static void fill_object(struct fs_object *o, json_t *reply)
{
	struct vmofs_provider_stats st = { 0 };

	o->provider->ops->stats(o->provider, &st);
	set_text(reply, "source", fs_object_url(o));
	set_text(reply, "validator", fs_object_validator(o));
	set_u64(reply, "resident", vmo_n_resident(o->vmo) * VMOFS_PAGE_SIZE);
	set_u64(reply, "overhead_bytes", vmo_overhead_bytes(o->vmo));
	fill_fetches(&st, reply);
}

void report_fill_file(const struct fs_tree_attr *attr, struct fs_object *o, json_t *reply)
{
	const struct stat *st = &attr->st;

	set_text(reply, "type",
		 S_ISDIR(st->st_mode)           ? "directory"
			 : S_ISLNK(st->st_mode) ? "symbolic link"
						: "file");
	set_u64(reply, "inode", st->st_ino);
	set_u64(reply, "size", (uint64_t)st->st_size);
	json_object_set_new(reply, "mtime", json_integer(st->st_mtim.tv_sec));
	json_object_set_new(reply, "cached", json_boolean(o != NULL));
	if (o)
		fill_object(o, reply);
}
