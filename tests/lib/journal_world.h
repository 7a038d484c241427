/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer and its journal on a fake disk: what it has written, which commits it has tried, and which of them may be found by
 * whoever comes next. It asserts that it is one of those, whole. Files are small, and so is all else. One thread.
 */
#ifndef TESTS_LIB_JOURNAL_WORLD_H
#define TESTS_LIB_JOURNAL_WORLD_H

#include <stdbool.h>

#include "store/journal_private.h"

#define WORLD_PAGE    700u
#define WORLD_PAGES   24u
#define WORLD_FILES   3u
#define WORLD_COMMITS 64u
#define WORLD_NONE    (-1)

/* A file as a commit has it. '.': the log has nothing there; '0': zeros; else what the page is filled with. */
struct world_snap {
	char page[WORLD_PAGES + 1];
	unsigned size; /* pages */
	char key[8], validator[8], attempt[8];
};

struct world_file {
	char name; /* its keys begin with it */
	struct journal_log *log;
	struct world_snap dirty;                 /* as memory has it */
	struct world_snap in_log;                /* as the last commit that succeeded has it */
	bool unlogged[WORLD_PAGES];              /* written since */
	struct world_snap commit[WORLD_COMMITS]; /* all that were tried */
	int n;
	int durable; /* the last one that was, WORLD_NONE */
	int kept;    /* the last one that a kill leaves */
	bool gone;   /* its removal has been tried */
	bool gone_for_good;
};

struct journal_world {
	struct journal *j;
	struct world_file file[WORLD_FILES];
	bool forgets;
	bool drops;      /* of the plan */
	bool shuts;      /* logs do not keep their files open */
	bool unmarked;   /* a sync has failed, and so has all that would tell the next process */
	unsigned letter; /* of the next write */
};

void journal_world_init(struct journal_world *w);
/* A life before: file 0 has a durable commit and one that is not, file 1 one that is not. The process is dead. */
void journal_world_before(struct journal_world *w);
bool journal_world_open(struct journal_world *w);
void journal_world_close(struct journal_world *w);
/* For journal_recover(), with the world. */
int journal_world_found(void *arg, struct journal_found *found);
/* Opens, and asserts that each file is found as it may be. @cut_off: the machine has stopped, not only the process. */
void journal_world_find(struct journal_world *w, bool cut_off);
/* Files that were not found begin anew. */
void journal_world_begin(struct journal_world *w);

/* What a writer does. Calls that fail are taken note of. */
void journal_world_write(struct journal_world *w, struct world_file *f, unsigned first, unsigned n);
void journal_world_zero(struct world_file *f, unsigned first, unsigned n);
void journal_world_cut(struct world_file *f, unsigned size);
void journal_world_commit(struct journal_world *w, struct world_file *f, bool durable);
void journal_world_sync(struct journal_world *w, struct world_file *f);
void journal_world_attempt(struct journal_world *w, struct world_file *f, const char *name);
void journal_world_rename(struct journal_world *w, struct world_file *f, unsigned number);
/* The origin has all but the pages [first, first + n), which were written since. */
void journal_world_stored(struct journal_world *w, struct world_file *f, const char *validator,
			  unsigned first, unsigned n);
void journal_world_remove(struct world_file *f);

/* What the log has; false: it could not be read. */
bool journal_world_see(struct journal_log *l, struct world_snap *out);

#endif
