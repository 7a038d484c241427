/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmofs ls: what a source has, without a mount. One directory is sorted by name; a whole tree comes as the
 * source hands it out. Where -l needs a size that no listing has said, objects are asked for it, several at once. The
 * main thread prints.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "base/sync.h"
#include "cli/cmd.h"
#include "cli/remote.h"
#include "cli/text.h"

enum { HEADS_MAX = 16, DEPTH_MAX = 64 };

static const struct opt ls_opts[] = {
	{ 'l', "long", NULL, "mode, size and date too" },
	{ 'R', "recursive", NULL, "all files below, with their paths" },
	{ 'j', "json", NULL, "print one JSON object a line" },
	{ 'o', "options", "OPT[,...]", "options of a mount, also as --NAME=VALUE" },
	{ 'c', "config", "FILE", "read FILE too, after those in /etc and the home directory" },
	{ 'p', "path", "PATH", "the file or directory PATH below SOURCE, which is a tree" },
	{ 0 },
};

struct row {
	char *key;
	char *validator;
	char *target;
	enum vmofs_entry_type type;
	uint64_t size;
	struct timespec mtime;
	unsigned has;
	mode_t mode;
};

struct ls {
	struct remote remote;
	bool details;
	bool recursive;
	bool json;
	size_t skip; /* bytes of each key that are not shown */
	struct row *rows;
	size_t n;
	size_t cap;
	bool no_memory;

	/* Asking for sizes. */
	struct mutex lock;
	struct cond cond;
	unsigned under_way; /* lock: lock */
};

/* ---- rows ---- */

static void rows_clear(struct ls *ls)
{
	for (size_t i = 0; i < ls->n; i++) {
		free(ls->rows[i].key);
		free(ls->rows[i].validator);
		free(ls->rows[i].target);
	}
	free(ls->rows);
	ls->rows = NULL;
	ls->n = ls->cap = 0;
}

static bool row_fill(struct row *row, const struct vmofs_entry *e)
{
	free(row->validator);
	free(row->target);
	row->type = e->type;
	row->size = e->size;
	row->mtime = e->mtime;
	row->has = e->has;
	row->mode = e->mode;
	row->validator = strdup(e->validator);
	row->target = strdup(e->has & VMOFS_HAS_TARGET ? e->target : "");
	return row->validator && row->target;
}

static bool rows_add(void *arg, const struct vmofs_entry *e)
{
	struct ls *ls = arg;

	if (ls->n == ls->cap) {
		size_t cap = MAX(ls->cap * 2, (size_t)256);
		struct row *grown = realloc(ls->rows, cap * sizeof *grown);

		ls->no_memory |= !grown;
		if (!grown)
			return false;
		ls->rows = grown;
		ls->cap = cap;
	}
	ls->rows[ls->n] = (struct row){ .key = strndup(e->key, e->key_len) };
	ls->no_memory |= !ls->rows[ls->n].key || !row_fill(&ls->rows[ls->n], e);
	ls->n++;
	return !ls->no_memory;
}

static int compare_rows(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->key, ((const struct row *)b)->key);
}

/* ---- printing ---- */

static mode_t mode_of(const struct row *row)
{
	if (row->has & VMOFS_HAS_MODE)
		return row->mode;
	return row->type == VMOFS_ENTRY_PREFIX ? S_IFDIR | 0555 : S_IFREG | 0444;
}

static void print_mode(const struct row *row)
{
	static const char bits[] = "rwxrwxrwx";
	mode_t mode = mode_of(row);
	char text[11];

	text[0] = row->type == VMOFS_ENTRY_PREFIX ? 'd' : S_ISLNK(mode) ? 'l' : '-';
	for (int i = 0; i < 9; i++)
		text[i + 1] = mode & (0400u >> i) ? bits[i] : '-';
	text[10] = '\0';
	printf("%s ", text);
}

static void print_details(const struct row *row)
{
	char date[32] = "-";
	char size[24] = "-";
	struct tm tm;

	if (row->mtime.tv_sec && localtime_r(&row->mtime.tv_sec, &tm))
		strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
	if (row->type == VMOFS_ENTRY_FILE && row->size == VMOFS_SIZE_UNKNOWN)
		memcpy(size, "?", 2);
	else if (row->type == VMOFS_ENTRY_FILE)
		snprintf(size, sizeof size, "%" PRIu64, row->size);
	print_mode(row);
	printf("%14s %-19s ", size, date);
}

static void print_text(const struct ls *ls, const struct row *row)
{
	if (ls->details)
		print_details(row);
	text_print_name(row->key + ls->skip);
	if (ls->details && *row->target) {
		fputs(" -> ", stdout);
		text_print_name(row->target);
	}
	putchar('\n');
}

static void print_json(const struct ls *ls, const struct row *row)
{
	json_t *o = json_object();
	char mode[16];

	snprintf(mode, sizeof mode, "%04o", (unsigned)mode_of(row) & 07777u);
	json_object_set_new(o, "name", text_json(row->key + ls->skip));
	json_object_set_new(o, "type",
			    json_string(row->type == VMOFS_ENTRY_PREFIX ? "directory"
						: S_ISLNK(mode_of(row)) ? "link"
									: "file"));
	if (row->type == VMOFS_ENTRY_FILE && row->size != VMOFS_SIZE_UNKNOWN)
		json_object_set_new(o, "size", json_integer((json_int_t)row->size));
	if (row->mtime.tv_sec)
		json_object_set_new(o, "mtime", json_integer(row->mtime.tv_sec));
	if (*row->validator)
		json_object_set_new(o, "validator", text_json(row->validator));
	if (row->has & VMOFS_HAS_MODE)
		json_object_set_new(o, "mode", json_string(mode));
	if (*row->target)
		json_object_set_new(o, "target", text_json(row->target));
	text_print_json(o);
	json_decref(o);
}

static void print_row(const struct ls *ls, const struct row *row)
{
	if (ls->json)
		print_json(ls, row);
	else
		print_text(ls, row);
}

/* ---- sizes that no listing has said ---- */

struct head {
	struct vmofs_query query;
	struct ls *ls;
	struct row *row;
};

static bool head_entries(struct vmofs_query *q, const struct vmofs_entry *v, unsigned n)
{
	struct head *h = container_of(q, struct head, query);
	struct row *row = h->row;

	for (unsigned i = 0; i < n; i++) {
		struct timespec listed = row->mtime;

		if (v[i].type != VMOFS_ENTRY_FILE || !row_fill(row, &v[i]))
			continue;
		if (!row->mtime.tv_sec)
			row->mtime = listed;
	}
	return true;
}

static void head_done(struct vmofs_query *q, const struct vmofs_query_result *result UNUSED)
{
	struct head *h = container_of(q, struct head, query);
	struct ls *ls = h->ls;

	free(h);
	mutex_lock(&ls->lock);
	ls->under_way--;
	cond_signal(&ls->cond);
	mutex_unlock(&ls->lock);
}

static void wait_until(struct ls *ls, unsigned most) EXCLUDES(ls->lock)
{
	mutex_lock(&ls->lock);
	while (ls->under_way > most)
		cond_wait(&ls->cond, &ls->lock);
	mutex_unlock(&ls->lock);
}

/* An object that does not answer keeps its "?". */
static void ask_sizes(struct ls *ls)
{
	for (size_t i = 0; i < ls->n; i++) {
		struct row *row = &ls->rows[i];
		struct head *h;

		if (row->type != VMOFS_ENTRY_FILE || row->size != VMOFS_SIZE_UNKNOWN)
			continue;
		h = calloc(1, sizeof *h);
		if (!h)
			break;
		h->ls = ls;
		h->row = row;
		h->query = (struct vmofs_query){ .kind = VMOFS_QUERY_HEAD,
						 .key = row->key,
						 .entries = head_entries,
						 .done = head_done };
		wait_until(ls, HEADS_MAX - 1);
		mutex_lock(&ls->lock);
		ls->under_way++;
		mutex_unlock(&ls->lock);
		ls->remote.tree->ops->query(ls->remote.tree, &h->query);
	}
	wait_until(ls, 0);
}

/* ---- listing ---- */

static int print_rows(struct ls *ls, struct vmofs_err *err)
{
	if (ls->no_memory)
		return vmofs_err_set(err, -ENOMEM, "no memory for the listing");
	if (ls->details)
		ask_sizes(ls);
	for (size_t i = 0; i < ls->n; i++)
		/* A directory's own marker is no entry of it. */
		if (ls->rows[i].key[ls->skip])
			print_row(ls, &ls->rows[i]);
	return 0;
}

static int read_dir(struct ls *ls, const char *key, struct vmofs_err *err)
{
	struct remote_query q = { VMOFS_QUERY_DIR, key, rows_add, ls };
	int r = remote_ask(&ls->remote, &q, err);

	if (r == 0 && ls->n > 0)
		qsort(ls->rows, ls->n, sizeof *ls->rows, compare_rows);
	return r;
}

/* Index pages are walked; each directory's rows are printed before those below. */
static int walk(struct ls *ls, const char *key, unsigned depth, struct vmofs_err *err)
{
	struct row *rows;
	size_t n;
	int r;

	if (depth == DEPTH_MAX)
		return vmofs_err_set(err, -ELOOP, "'%s' is %d directories deep; does it loop?", key,
				     DEPTH_MAX);
	r = read_dir(ls, key, err);
	if (r == 0)
		r = print_rows(ls, err);
	rows = ls->rows;
	n = ls->n;
	ls->rows = NULL;
	ls->n = ls->cap = 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		if (rows[i].type == VMOFS_ENTRY_PREFIX)
			r = walk(ls, rows[i].key, depth + 1, err);
	rows_clear(ls);
	ls->rows = rows;
	ls->n = n;
	rows_clear(ls);
	return r;
}

/*
 * At once, so that a great bucket needs no great memory; but what has to wait for its size makes all that
 * follows wait too, for the order.
 */
static bool print_flat(void *arg, const struct vmofs_entry *e)
{
	struct ls *ls = arg;

	if (!rows_add(ls, e))
		return false;
	if (ls->n == 1 && (!ls->details || e->size != VMOFS_SIZE_UNKNOWN)) {
		print_row(ls, &ls->rows[0]);
		rows_clear(ls);
	}
	return !ferror(stdout);
}

static int list_flat(struct ls *ls, const char *key, struct vmofs_err *err)
{
	struct remote_query q = { VMOFS_QUERY_FLAT, key, print_flat, ls };
	int r = remote_ask(&ls->remote, &q, err);

	if (r == 0 && ls->n > 0)
		r = print_rows(ls, err);
	return r;
}

static int list_below(struct ls *ls, const char *key, struct vmofs_err *err)
{
	ls->skip = strlen(key);
	if (!ls->recursive) {
		int r = read_dir(ls, key, err);

		return r < 0 ? r : print_rows(ls, err);
	}
	if (ls->remote.info.can & BIT(VMOFS_QUERY_FLAT))
		return list_flat(ls, key, err);
	return walk(ls, key, 0, err);
}

/* A name may be a file, a directory, or both; the file stands first. */
static int list_name(struct ls *ls, const char *key, struct vmofs_err *err)
{
	struct remote_query q = { VMOFS_QUERY_NAME, key, rows_add, ls };
	const char *slash = strrchr(key, '/');
	bool prefix = false;
	char below[VMOFS_KEY_MAX + 1];
	int r = remote_ask(&ls->remote, &q, err);

	if (r < 0)
		return r;
	if (ls->n == 0)
		return vmofs_err_set(err, -ENOENT, "there is no '%s' in '%s'", key,
				     ls->remote.info.url);
	for (size_t i = ls->n; i-- > 0;) {
		if (ls->rows[i].type != VMOFS_ENTRY_PREFIX)
			continue;
		prefix = true;
		free(ls->rows[i].key);
		free(ls->rows[i].validator);
		free(ls->rows[i].target);
		ls->rows[i] = ls->rows[--ls->n];
	}
	ls->skip = slash ? (size_t)(slash - key) + 1 : 0;
	r = print_rows(ls, err);
	rows_clear(ls);
	if (r < 0 || !prefix)
		return r;
	snprintf(below, sizeof below, "%s/", key);
	return list_below(ls, below, err);
}

static int list_object(struct ls *ls, struct vmofs_err *err)
{
	cleanup(mem_freep) struct vmofs_object_info *info = calloc(1, sizeof *info);
	struct vmofs_provider *provider;
	struct row row = { .type = VMOFS_ENTRY_FILE, .target = "" };
	int r = info ? remote_object(&ls->remote, &provider, info, err)
		     : vmofs_err_set(err, -ENOMEM, "no memory for the listing");

	if (r < 0)
		return r;
	provider->ops->free(provider);
	row.key = info->name;
	row.validator = info->validator;
	row.size = info->size;
	row.mtime = info->mtime;
	print_row(ls, &row);
	return 0;
}

static int list(struct ls *ls, struct vmofs_err *err)
{
	const char *path = ls->remote.path;
	size_t n = path ? strlen(path) : 0;

	if (!ls->remote.tree)
		return list_object(ls, err);
	if (n >= VMOFS_KEY_MAX)
		return vmofs_err_set(err, -ENAMETOOLONG, "the path is longer than %d bytes",
				     VMOFS_KEY_MAX - 1);
	if (n == 0 || path[n - 1] == '/')
		return list_below(ls, path, err);
	return list_name(ls, path, err);
}

static int cmd_ls_run(const struct args *a, struct vmofs_err *err)
{
	struct ls ls = {
		.details = args_get(a, "long") != NULL,
		.recursive = args_get(a, "recursive") != NULL,
		.json = args_get(a, "json") != NULL,
	};
	int r;

	mutex_init(&ls.lock, LOCK_RANK_LOG);
	cond_init(&ls.cond);
	r = remote_open(&ls.remote, REMOTE_NAMES, a, a->pos[0], args_get(a, "path"), err);
	if (r == 0)
		r = list(&ls, err);
	rows_clear(&ls);
	remote_close(&ls.remote);
	cond_destroy(&ls.cond);
	mutex_destroy(&ls.lock);
	if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
		r = errno == EPIPE ? 1
				   : vmofs_err_set(err, -EIO, "cannot write: %s", strerror(errno));
	return r;
}

const struct cmd cmd_ls = {
	.name = "ls",
	.args = "SOURCE",
	.help = "list what a source has, without a mount",
	.opts = ls_opts,
	.min_args = 1,
	.max_args = 1,
	.run = cmd_ls_run,
};
