/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An origin in memory whose objects can be read and changed, as <vmofs/change.h> has it: for what stores. The test is the other
 * client, and decides what goes wrong. Contents are read by a thread of its own; everything else may be called from any thread.
 */
#ifndef TESTS_FAKE_CHANGE_H
#define TESTS_FAKE_CHANGE_H

#include <vmofs/change.h>
#include <vmofs/source.h>

struct fake_change;

struct fake_change *fake_change_new(void);
/* No object is used any more. */
void fake_change_free(struct fake_change *c);
struct vmofs_source *fake_change_source(struct fake_change *c);

/* The other client: puts or removes an object, whatever is there. */
void fake_change_put(struct fake_change *c, const char *key, const void *data, uint64_t len);
void fake_change_remove(struct fake_change *c, const char *key);
/* What is there. false: nothing is, or it is something else than these bytes. */
bool fake_change_has(struct fake_change *c, const char *key, const void *data, uint64_t len);
void fake_change_version(struct fake_change *c, const char *key, struct vmofs_version *out);

/* What the next stores meet. */
enum fake_change_trouble {
	FAKE_CHANGE_NONE,
	FAKE_CHANGE_REFUSED, /* before anything was tried */
	FAKE_CHANGE_LOST, /* it never arrived, and nobody knows: the code is one of the unknown */
	FAKE_CHANGE_UNHEARD, /* it was stored, but the answer was lost */
	FAKE_CHANGE_LATE,    /* as LOST, until fake_change_arrive() */
};
/* The next @times stores, and, with @ask, what attempted() says from the first of them on: that it cannot be known. */
void fake_change_trouble(struct fake_change *c, enum fake_change_trouble what, int code,
			 unsigned times, bool ask);

/* What was sent late arrives now, if what it was to replace is still there: whether it was. The last one of them. */
bool fake_change_arrive(struct fake_change *c);

/*
 * The process that asks is dead as soon as @dead says so: nothing that it asks for has an effect, and it gets -EIO. NULL: it lives.
 */
void fake_change_asker(struct fake_change *c, bool (*dead)(void));

/* Stores wait, when they have read everything and before they commit, until it is closed no more. */
void fake_change_gate(struct fake_change *c, bool closed);
/* Until @n stores wait there. */
void fake_change_wait_gate(struct fake_change *c, unsigned n);

/* Before a writer has it: parts of @part bytes are taken ahead, @parallel at once; 0: none are. Only of what is not there. */
void fake_change_ahead(struct fake_change *c, uint64_t part, unsigned parallel);
/* Parts that are sent ahead wait when they have been read, until it is closed no more. */
void fake_change_gate_sends(struct fake_change *c, bool closed);
/* Until @n of them wait there. */
void fake_change_wait_sends(struct fake_change *c, unsigned n);
/* Until @n parts have arrived ahead, and nothing more is under way. */
void fake_change_wait_ahead(struct fake_change *c, unsigned n);
/* The same of begins, whose answers wait; who is called off meanwhile does not hear of what has been begun. */
void fake_change_gate_begins(struct fake_change *c, bool closed);
void fake_change_wait_begins(struct fake_change *c, unsigned n);
/* The next @begins begins and @sends sends fail. */
void fake_change_ahead_fails(struct fake_change *c, unsigned begins, unsigned sends);
/* Until @n of those that were begun have been dropped. */
void fake_change_wait_dropped(struct fake_change *c, unsigned n);

struct fake_change_counts {
	unsigned begun; /* ahead; each is used or dropped */
	unsigned used, dropped;
	unsigned sent;   /* parts ahead */
	unsigned stores; /* that succeeded */
	unsigned tries;
	unsigned asked; /* attempted() */
	uint64_t bytes_up;
};
void fake_change_counts(struct fake_change *c, struct fake_change_counts *out);

#endif
