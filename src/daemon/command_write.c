/* SPDX-License-Identifier: Apache-2.0 */
/* See command_write.h. What a command waits for, it waits for as long as its client stays. */
#include "daemon/command_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "daemon/mount.h"
#include "fs/local.h"
#include "store/journal.h"
#include "write/writer.h"

/* An answer has 16 MiB at most. */
enum { FILES_MAX = 20000, RANGES_OF_FILE_MAX = 1000, RANGES_MAX = 200000 };

static const char *const state_names[] = {
	[WFILE_CLEAN] = "clean",       [WFILE_DIRTY] = "dirty", [WFILE_STORING] = "storing",
	[WFILE_CONFLICT] = "conflict", [WFILE_GONE] = "gone",
};
_Static_assert(ARRAY_LEN(state_names) == WFILE_NSTATES, "one name per state");

static void set_u64(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

/* What is no text gets "?" where it is not ASCII. */
static void set_text(json_t *o, const char *name, const char *text)
{
	json_t *v = json_string(text);
	cleanup(mem_freep) char *copy = v ? NULL : strdup(text);

	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	json_object_set_new(o, name, v ? v : json_string(copy ? copy : "?"));
}

static const char *request_path(const json_t *request)
{
	const char *path = json_string_value(json_object_get(request, "path"));

	return path ? path + strspn(path, "/") : "";
}

/* Whether @key is the file @path, or below the directory @path ("": the root). */
static bool is_below(const char *key, const char *path)
{
	size_t n = strlen(path);

	while (n && path[n - 1] == '/')
		n--;
	return !n || (!strncmp(key, path, n) && (!key[n] || key[n] == '/'));
}

/* ---- sums ---- */

struct sums {
	const char *path;
	uint64_t files;
	uint64_t bytes;
	uint64_t stored; /* of the stores under way */
	uint64_t conflicts;
	const char *trouble; /* points to msg */
	char msg[512];
};

static bool is_left(const struct wfile_status *s)
{
	return s->state == WFILE_DIRTY || s->state == WFILE_STORING || s->state == WFILE_CONFLICT;
}

static int sum_one(void *arg, const struct wfile_status *s)
{
	struct sums *sum = arg;

	if (!is_left(s) || !is_below(s->key, sum->path))
		return 0;
	if (s->state == WFILE_CONFLICT) {
		sum->conflicts++;
		return 0;
	}
	sum->files++;
	sum->bytes += s->dirty_bytes;
	sum->stored += MIN(s->stored_bytes, s->dirty_bytes);
	if (s->msg[0] && !sum->trouble) {
		memcpy(sum->msg, s->msg, sizeof sum->msg);
		sum->trouble = sum->msg;
	}
	return 0;
}

static void fill_sums(struct mount *m, const char *path, json_t *reply)
{
	struct sums sum = { .path = path };

	if (m->write.writer)
		writer_each(m->write.writer, sum_one, &sum);
	set_u64(reply, "files", sum.files);
	set_u64(reply, "bytes", sum.bytes);
	set_u64(reply, "stored", sum.stored);
	set_u64(reply, "conflicts", sum.conflicts);
	if (sum.trouble)
		set_text(reply, "trouble", sum.trouble);
}

int command_writing(struct mount *m, const json_t *request, json_t *reply,
		    atomic_bool *cancelled UNUSED, struct vmofs_err *err UNUSED)
{
	json_object_set_new(reply, "writable", json_boolean(m->write.writer != NULL));
	json_object_set_new(reply, "journal", json_boolean(m->write.journal != NULL));
	fill_sums(m, request_path(request), reply);
	return 0;
}

int command_end(struct mount *m, const json_t *request, json_t *reply UNUSED,
		atomic_bool *cancelled UNUSED, struct vmofs_err *err UNUSED)
{
	mount_write_set_drain(m, json_integer_value(json_object_get(request, "drain_ms")));
	return 0;
}

/* ---- dirty ---- */

struct dirty {
	struct writer *writer; /* borrowed */
	const char *path;
	const atomic_bool *cancelled;
	json_t *files; /* borrowed */
	uint64_t left_out;
	uint64_t n_ranges;
};

/* Where the contents differ from the origin's, as far as there is room in the answer. */
static json_t *ranges_of(struct dirty *d, struct vmo *v, bool *more)
{
	struct vmo_dirty_range r[64];
	json_t *list = json_array();
	uint64_t size = vmo_size(v);
	uint64_t n = 0;
	int64_t there = 0, got = 0;

	for (uint64_t off = 0; off < size; off = r[got - 1].off + r[got - 1].len) {
		there = vmo_query_dirty(v, off, size - off, r, ARRAY_LEN(r));
		got = MIN(there, (int64_t)ARRAY_LEN(r));
		for (int64_t i = 0; i < got; i++)
			json_array_append_new(list,
					      json_pack("[I,I,b]", (json_int_t)r[i].off,
							(json_int_t)r[i].len, r[i].is_zero));
		n += got > 0 ? (uint64_t)got : 0;
		if (there <= got || n >= RANGES_OF_FILE_MAX || d->n_ranges + n >= RANGES_MAX)
			break;
	}
	*more = there > got;
	d->n_ranges += n;
	return list;
}

static void fill_ranges(struct dirty *d, uint64_t ino, json_t *o)
{
	struct wfile *f = writer_find(d->writer, ino);
	bool more = false;

	if (!f)
		return;
	json_object_set_new(o, "ranges", ranges_of(d, wfile_vmo(f), &more));
	json_object_set_new(o, "more_ranges", json_boolean(more));
	wfile_put(f);
}

static int dirty_one(void *arg, const struct wfile_status *s)
{
	struct dirty *d = arg;
	json_t *o;

	if (*d->cancelled)
		return -EINTR;
	if (!is_left(s) || !is_below(s->key, d->path))
		return 0;
	if (json_array_size(d->files) >= FILES_MAX) {
		d->left_out++;
		return 0;
	}
	o = json_object();
	set_text(o, "path", s->key);
	set_text(o, "state", state_names[s->state]);
	set_u64(o, "size", s->size);
	set_u64(o, "dirty_bytes", s->dirty_bytes);
	set_u64(o, "stored_bytes", s->stored_bytes);
	json_object_set_new(o, "age_s", json_real((double)s->age_ns / 1e9));
	json_object_set_new(o, "durable", json_boolean(s->durable));
	json_object_set_new(o, "failures", json_integer(s->failures));
	json_object_set_new(o, "error",
			    s->error ? json_string(strerrorname_np(-s->error)) : json_null());
	set_text(o, "message", s->msg);
	fill_ranges(d, s->ino, o);
	json_array_append_new(d->files, o);
	return 0;
}

int command_dirty(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		  struct vmofs_err *err UNUSED)
{
	struct dirty d = {
		.writer = m->write.writer,
		.path = request_path(request),
		.cancelled = cancelled,
		.files = json_array(),
	};

	if (d.writer)
		writer_each(d.writer, dirty_one, &d);
	set_text(reply, "mountpoint", m->p.mountpoint);
	json_object_set_new(reply, "files", d.files);
	set_u64(reply, "left_out", d.left_out);
	return 0;
}

/* ---- sync ---- */

struct inos {
	const char *path;
	uint64_t *ino; /* owned */
	size_t n;
	size_t room;
};

static int inos_add(void *arg, const struct wfile_status *s)
{
	struct inos *v = arg;

	if (!is_left(s) || !is_below(s->key, v->path))
		return 0;
	if (v->n == v->room) {
		size_t room = v->room ? 2 * v->room : 64;
		uint64_t *grown = reallocarray(v->ino, room, sizeof *grown);

		if (!grown)
			return -ENOMEM;
		v->ino = grown;
		v->room = room;
	}
	v->ino[v->n++] = s->ino;
	return 0;
}

static int store_one(struct writer *w, uint64_t ino, uint64_t deadline_ns,
		     const atomic_bool *cancelled)
{
	struct wfile *f = writer_find(w, ino);
	uint64_t since;
	int r;

	if (!f)
		return 0;
	since = wfile_error_mark(f);
	r = wfile_store_wait(f, &since, deadline_ns, cancelled);
	wfile_put(f);
	return r;
}

/* All are asked for first, so that they are stored side by side, and then waited for. */
static int store_some(struct writer *w, const struct inos *v, uint64_t deadline_ns,
		      const atomic_bool *cancelled)
{
	int r = 0;

	for (size_t i = 0; v->n > 1 && i < v->n; i++)
		(void)store_one(w, v->ino[i], loop_now_ns(), cancelled);
	for (size_t i = 0; i < v->n && !*cancelled; i++) {
		int e = store_one(w, v->ino[i], deadline_ns, cancelled);

		r = r ? r : e;
	}
	return r;
}

static int sync_below(struct writer *w, const char *path, uint64_t deadline_ns,
		      const atomic_bool *cancelled, struct vmofs_err *err)
{
	struct inos v = { .path = path };
	int r = writer_each(w, inos_add, &v);

	if (!r)
		r = store_some(w, &v, deadline_ns, cancelled);
	free(v.ino);
	if (r == -ESTALE)
		return vmofs_err_set(err, r,
				     "'%s' has been changed at the origin too; `vmofs conflicts` "
				     "shows what, `vmofs resolve` decides",
				     path);
	if (r == -ETIMEDOUT)
		return vmofs_err_set(err, r, "'%s' has not been stored in time; it is tried again",
				     path);
	return r < 0 ? vmofs_err_set(err, r, "cannot store '%s': %s", path, strerror(-r)) : 0;
}

/* A path that is not there at all is more likely a mistake than stored. */
static int check_path(struct mount *m, const char *path, uint64_t deadline_ns,
		      struct vmofs_err *err)
{
	struct fs_tree_attr attr;
	int r = fs_tree_resolve_wait(m->tree, path, deadline_ns, &attr);

	if (!r)
		m->tree->ops->forget(m->tree, attr.st.st_ino, 1);
	return r < 0 ? vmofs_err_set(err, r, "cannot look up '%s': %s", path, strerror(-r)) : 0;
}

int command_sync(struct mount *m, const json_t *request, json_t *reply, atomic_bool *cancelled,
		 struct vmofs_err *err)
{
	const char *path = request_path(request);
	json_int_t ms = json_integer_value(json_object_get(request, "timeout_ms"));
	uint64_t deadline_ns = ms > 0 ? loop_now_ns() + (uint64_t)ms * NSEC_PER_MSEC : 0;
	unsigned conflicts;
	int r = *path ? check_path(m, path, deadline_ns, err) : 0;

	if (!r && m->write.writer && *path)
		r = sync_below(m->write.writer, path, deadline_ns, cancelled, err);
	else if (!r && m->write.writer)
		writer_drain(m->write.writer, deadline_ns, cancelled, &conflicts);
	if (!r)
		fill_sums(m, path, reply);
	return r;
}

/* ---- resolve ---- */

static int resolve_how(const json_t *request, struct vmofs_err *err)
{
	static const char *const names[] = {
		[WFILE_KEEP_LOCAL] = "keep-local",
		[WFILE_KEEP_REMOTE] = "keep-remote",
		[WFILE_SAVE_AS] = "save-as",
	};
	const char *how = json_string_value(json_object_get(request, "how"));

	for (size_t i = 0; how && i < ARRAY_LEN(names); i++)
		if (!strcmp(names[i], how))
			return (int)i;
	return vmofs_err_set(err, -EINVAL, "no such decision");
}

int command_resolve(struct mount *m, const json_t *request, json_t *reply UNUSED,
		    atomic_bool *cancelled UNUSED, struct vmofs_err *err)
{
	const char *path = request_path(request);
	const char *key = json_string_value(json_object_get(request, "key"));
	struct fs_tree_attr attr;
	int how = resolve_how(request, err);
	int r;

	if (how < 0)
		return how;
	if (!m->write.local)
		return vmofs_err_set(err, -EROFS,
				     "'%s' is read-only: nothing in it can be in conflict",
				     m->p.mountpoint);
	r = fs_tree_resolve_wait(m->tree, path, 0, &attr);
	if (r < 0)
		return vmofs_err_set(err, r, "cannot look up '%s': %s", path, strerror(-r));
	r = local_resolve(m->write.local, attr.st.st_ino, (enum wfile_resolve)how, key, err);
	m->tree->ops->forget(m->tree, attr.st.st_ino, 1);
	if (r == -ENOENT || (r == -EINVAL && !err->msg[0]))
		return vmofs_err_set(err, r, "'%s' is not in conflict", path);
	if (r < 0 && !err->msg[0])
		return vmofs_err_set(err, r, "cannot resolve '%s': %s", path, strerror(-r));
	return r;
}

/* ---- stat ---- */

void command_write_stats(struct mount *m, json_t *reply)
{
	struct writer_stats st;
	json_t *o;

	if (!m->write.writer)
		return;
	writer_stats(m->write.writer, &st);
	o = json_object();
	set_u64(o, "dirty_bytes", st.dirty_bytes);
	set_u64(o, "dirty_files", st.dirty_files);
	set_u64(o, "conflicts", st.conflicts);
	set_u64(o, "stores", st.stores);
	set_u64(o, "store_failures", st.store_failures);
	set_u64(o, "bytes_up", st.bytes_up);
	set_u64(o, "bytes_copied", st.bytes_copied);
	set_u64(o, "requests", st.requests);
	set_u64(o, "waits", st.waits);
	set_u64(o, "journal_bytes", st.journal_bytes);
	if (m->write.journal_dir)
		set_text(o, "journal", m->write.journal_dir);
	set_u64(o, "recovered", json_array_size(m->write.recovered));
	json_object_set_new(reply, "write", o);
}
