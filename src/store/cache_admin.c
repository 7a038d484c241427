/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people ask of a cache directory: what is in it, whether it is right, away with it. Safe beside daemons that use it:
 * what somebody else has locked is told of, and left alone. Any thread that may block.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/macros.h"
#include "store/cache_clean.h"

/* -- removal of what is no entry -------------------------------------------------------------- */

/* Locks the index as its writer and as who drops pages, and that it is still the one of that name. */
static bool raw_lock(struct cache *c, int fd)
{
	struct stat st;

	return c->io->lock(fd, F_WRLCK, CACHE_LOCK_WRITER) == 0 &&
		c->io->lock(fd, F_WRLCK, CACHE_LOCK_PAGES) == 0 && c->io->fstat(fd, &st) == 0 &&
		st.st_nlink;
}

/*
 * Removes the files of @name, whatever they are; where the index is missing it is made first, for it has
 * the lock. False: somebody uses them.
 */
static bool raw_remove(struct cache *c, const char *name, struct cache_work *w)
{
	char path[CACHE_PATH_LEN];
	uint64_t bytes;
	int fd;

	cache_path_of(name, ".index", path);
	fd = c->io->openat(c->dir_fd, path, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		return false;
	if (!raw_lock(c, fd)) {
		c->io->close(fd);
		return false;
	}
	bytes = cache_disk_of(c, name);
	cache_path_of(name, ".data", path);
	c->io->unlinkat(c->dir_fd, path);
	cache_path_of(name, ".index", path);
	c->io->unlinkat(c->dir_fd, path);
	c->io->close(fd);
	w->bytes += bytes;
	cache_account(c, -(int64_t)bytes);
	return true;
}

static void bad_remove(struct cache *c, const char *name, struct cache_work *w)
{
	if (raw_remove(c, name, w))
		w->bad++;
	else
		w->skipped++;
}

/* -- list ------------------------------------------------------------------------------------- */

struct each {
	struct cache *c;
	bool (*fn)(void *arg, const struct cache_info *i);
	void *arg;
	struct cache_info info;
};

static bool each_record(void *arg, uint64_t idx, int r, const struct cache_record *record)
{
	struct cache_info *i = arg;
	uint64_t end = (idx * CACHE_SEG_PAGES + cache_segment_pages(i->size, idx)) * CACHE_PAGE;
	uint32_t last = cache_segment_pages(i->size, idx) - 1;

	if (r < 0) {
		i->damaged = true;
		return true;
	}
	i->present += (uint64_t)bits_count(record->present, CACHE_SEG_WORDS) * CACHE_PAGE;
	if (end > i->size && bits_has(record->present, last))
		i->present -= end - i->size;
	i->used_sec = MAX(i->used_sec, record->used_sec);
	return true;
}

static bool each_one(void *arg, const char *name, bool has_index, bool has_data)
{
	struct each *x = arg;
	struct cache_look look;
	bool ok, on;

	if (!has_index)
		return true;
	memset(&x->info, 0, sizeof x->info);
	ok = cache_look_begin(x->c, name, &look);
	x->info.name = name;
	x->info.url = ok ? look.header.url : "";
	x->info.validator = ok ? look.header.validator : "";
	x->info.size = ok ? look.header.at.size : 0;
	x->info.disk = look.index_disk + look.data_disk;
	x->info.damaged = look.damaged || (ok && !has_data);
	x->info.in_use = look.fd >= 0 && x->c->io->is_locked(look.fd, 0, CACHE_NLOCKS) == 1;
	/* Somebody is just making it. */
	if (look.damaged && !look.index_size && x->info.in_use)
		x->info.damaged = false;
	if (ok)
		cache_look_records(x->c, &look, each_record, &x->info);
	/* Removed since it was listed. */
	on = look.fd < 0 || x->fn(x->arg, &x->info);
	cache_look_end(x->c, &look);
	return on;
}

int cache_each(struct cache *c, bool (*fn)(void *arg, const struct cache_info *i), void *arg)
{
	struct each x = { .c = c, .fn = fn, .arg = arg };
	struct cache_walk w = { .c = c, .fn = each_one, .arg = &x };

	return cache_walk(&w);
}

/* -- what all commands do with an entry ------------------------------------------------------- */

struct command {
	struct cache *c;
	struct cache_work *work;
	const char *url; /* NULL: every one */
	void (*fn)(struct command *cmd, const char *name, const struct cache_look *look);
};

/* What is no entry goes; of the others @cmd->fn decides. */
static bool command_one(void *arg, const char *name, bool has_index, bool has_data)
{
	struct command *cmd = arg;
	struct cache_look look = { .fd = -1 };
	bool ok = has_index && cache_look_begin(cmd->c, name, &look);

	(void)has_data;
	cmd->work->entries++;
	if (ok && cache_look_is_named(&look, name))
		cmd->fn(cmd, name, &look);
	else if (!cmd->url && (!has_index || look.damaged || ok))
		bad_remove(cmd->c, name, cmd->work);
	if (has_index)
		cache_look_end(cmd->c, &look);
	return true;
}

static int command_run(struct command *cmd)
{
	struct cache_walk w = { .c = cmd->c, .fn = command_one, .arg = cmd };

	memset(cmd->work, 0, sizeof *cmd->work);
	return cache_walk(&w);
}

/* -- verify ----------------------------------------------------------------------------------- */

/* Every page, in an entry that nobody else writes. False: somebody does. */
static bool verify_entry(struct command *cmd, struct cache_entry *e)
{
	uint64_t bad = atomic_load(&cmd->c->n[CACHE_CORRUPT]), n;

	if (e->state != ENTRY_WRITER)
		return false;
	while ((n = cache_entry_verify(e, CACHE_SEG_PAGES)) > 0)
		cmd->work->pages += n;
	if (atomic_load(&cmd->c->n[CACHE_CORRUPT]) != bad)
		cache_punch_lost(e, cmd->work);
	return true;
}

static void verify_one(struct command *cmd, const char *name, const struct cache_look *look)
{
	uint64_t bad = atomic_load(&cmd->c->n[CACHE_CORRUPT]);
	struct cache_entry *e;
	bool mine = true;
	int r;

	if (cache_entry_known(cmd->c, name) || cache_entry_of(cmd->c, look, &e) < 0) {
		cmd->work->skipped++;
		return;
	}
	r = entry_enter(e, ENTRY_LOOK);
	if (r == 0) {
		mine = verify_entry(cmd, e);
		entry_leave(e);
	}
	cache_entry_close(e);
	if (!mine || (r < 0 && r != -ENOENT))
		cmd->work->skipped++;
	cmd->work->bad += atomic_load(&cmd->c->n[CACHE_CORRUPT]) - bad;
}

int cache_verify(struct cache *c, struct cache_work *out)
{
	struct command cmd = { .c = c, .work = out, .fn = verify_one };

	return command_run(&cmd);
}

/* -- clear ------------------------------------------------------------------------------------ */

static bool sum_record(void *arg, uint64_t idx, int r, const struct cache_record *record)
{
	uint64_t *pages = arg;

	(void)idx;
	*pages += r == 0 ? bits_count(record->present, CACHE_SEG_WORDS) : 0;
	return true;
}

/* Away with an entry that nobody uses. */
static void entry_clear(struct command *cmd, const char *name, uint64_t pages)
{
	if (cache_entry_known(cmd->c, name) || !raw_remove(cmd->c, name, cmd->work))
		cmd->work->skipped++;
	else
		cmd->work->pages += pages;
}

static void clear_one(struct command *cmd, const char *name, const struct cache_look *look)
{
	uint64_t pages = 0;

	if (cmd->url && strcmp(cmd->url, look->header.url) != 0)
		return;
	cache_look_records(cmd->c, look, sum_record, &pages);
	entry_clear(cmd, name, pages);
}

int cache_clear(struct cache *c, const char *url, struct cache_work *out)
{
	struct command cmd = { .c = c, .work = out, .url = url, .fn = clear_one };

	return command_run(&cmd);
}

/* -- gc --------------------------------------------------------------------------------------- */

static void gc_lost(struct command *cmd, const struct cache_look *look)
{
	struct cache_entry *e;

	if (cache_entry_of(cmd->c, look, &e) < 0)
		return;
	if (entry_enter(e, ENTRY_LOOK) == 0) {
		if (e->state == ENTRY_WRITER)
			cache_punch_lost(e, cmd->work);
		else
			cmd->work->skipped++;
		entry_leave(e);
	}
	cache_entry_close(e);
}

/* What a crash leaves: files without a page, and places on the disk that no index speaks of. */
static void gc_one(struct command *cmd, const char *name, const struct cache_look *look)
{
	uint64_t pages = 0;

	cache_look_records(cmd->c, look, sum_record, &pages);
	if (!pages)
		entry_clear(cmd, name, 0);
	else if (look->data_disk >= (pages + CACHE_SEG_PAGES) * CACHE_PAGE &&
		 !cache_entry_known(cmd->c, name))
		gc_lost(cmd, look);
}

int cache_gc(struct cache *c, struct cache_work *out)
{
	struct command cmd = { .c = c, .work = out, .fn = gc_one };
	struct cache_clean how = { .above = c->limit };
	int r = command_run(&cmd);

	if (r == 0)
		r = cache_clean(c, &how, out);
	/* Another one is doing it. */
	return r == -EBUSY ? 0 : r;
}
