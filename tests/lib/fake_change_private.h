/* SPDX-License-Identifier: Apache-2.0 */
/* What fake_change.c (objects, stores) and fake_ahead.c (parts that are sent ahead) share; for nobody else. */
#ifndef TESTS_LIB_FAKE_CHANGE_PRIVATE_H
#define TESTS_LIB_FAKE_CHANGE_PRIVATE_H

#include "base/loop.h"
#include "base/sync.h"
#include "base/worker.h"
#include "lib/fake_change.h"

enum { KEYS_MAX = 8192 };
struct object {
	char key[256];
	uint8_t *data; /* owned; NULL: it is not there */
	uint64_t len;
	uint64_t version;
	char attempt[VMOFS_ATTEMPT_LEN + 1];
};

struct fake_change {
	struct vmofs_source base; /* first */
	struct vmofs_source_ops ops;
	struct worker *worker;
	struct mutex lock;
	struct cond moved;
	/* lock: lock, everything below */
	struct object objects[KEYS_MAX];
	unsigned n;
	uint64_t versions;
	enum fake_change_trouble trouble;
	int code;
	unsigned times;
	bool deaf;
	bool (*dead)(void);
	bool struck;        /* one of the stores has met it */
	struct object late; /* on its way; data NULL: nothing is */
	struct vmofs_version late_base;
	bool gate;
	unsigned at_gate;
	struct vmofs_change_ops change; /* fixed when a writer has it, as the next two */
	uint64_t part;
	unsigned parallel;
	bool sends_gate;
	unsigned at_sends, sending;
	bool begins_gate;
	unsigned at_begins;
	unsigned begins_fail, sends_fail;
	struct fake_change_counts counts;
};

/* The attempt of what was sent ahead is that of the store. */
void fake_ahead_use(struct vmofs_store *st);
/* The end of what was sent ahead. */
void fake_ahead_take(struct fake_change *c, struct vmofs_store *st);
/* Contents of the range, of those that were sent ahead, the rest by the store's read(); *@up: bytes of the rest. */
int fake_ahead_read(struct vmofs_store *st, const struct vmofs_changed *range, uint8_t *out,
		    uint64_t *up);

#endif
