/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system in memory behind the table of store/cache_io.h, with a disk below it that has only what was synced: so that a
 * power cut after any call is a function call. It does with failed syncs what Linux does: what they should have written counts as
 * written, and can be read until it is dropped from memory. Any thread, one file system a process.
 */
#ifndef TESTS_LIB_FAKE_DISK_H
#define TESTS_LIB_FAKE_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "store/cache_io.h"

extern const struct cache_io fake_disk_io;

/* Empty, nothing fails. */
void fake_disk_reset(void);

enum fake_call {
	FAKE_OPEN,
	FAKE_MKDIR,
	FAKE_UNLINK,
	FAKE_RENAME,
	FAKE_LIST,
	FAKE_READ,
	FAKE_WRITE,
	FAKE_SYNC,
	FAKE_SYNC_DIR,
	FAKE_TRUNCATE,
	FAKE_STAT,
	FAKE_LOCK,
	FAKE_NCALLS
};

/* What a call that fails has done nevertheless. */
enum fake_effect { FAKE_NOTHING, FAKE_A_PART, FAKE_ALL, FAKE_NEFFECTS };

struct fake_plan {
	unsigned at;    /* the number of the call that fails, from 1; 0: none */
	unsigned then;  /* and another one, which does nothing */
	bool stop;      /* all from there on: the process is dead */
	unsigned kinds; /* bits of enum fake_call: from there on, those fail */
	int err;
	enum fake_effect effect;
	bool forgets; /* a sync that fails: memory loses at once what it should have written */
	/* What was not synced when the last descriptor of a file is closed fails in the background, and memory is needed. */
	bool drops;
	bool shorter; /* writes and reads are done in two pieces */
};
/* Counting begins anew. */
void fake_disk_plan(const struct fake_plan *p);
unsigned fake_disk_calls(void);
unsigned fake_disk_calls_of(enum fake_call kind);

/* Descriptors of the process are closed, locks go with them. Returns how many there were. */
unsigned fake_disk_kill(void);
enum fake_loss {
	FAKE_LOSE_ALL,     /* nothing that was not synced is there */
	FAKE_LOSE_NOTHING, /* the disk was quick */
	FAKE_LOSE_ZEROS,   /* files have their sizes, but not the contents */
	FAKE_LOSE_SOME,    /* any sector, any name; what was never written has any bytes */
	FAKE_NLOSSES
};
/* fake_disk_kill(), and what was not synced is lost in part. */
void fake_disk_power_cut(enum fake_loss how, uint64_t seed);

/* A sync of it has failed: memory has what the disk will never have. */
bool fake_disk_lost(int fd);
/* Flips a bit of a file of the open directory @dir, in memory and on the disk. False: it is not there, or not so long. */
bool fake_disk_flip(int dir, const char *name, uint64_t off);

#endif
