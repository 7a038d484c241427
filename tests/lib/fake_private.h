/* SPDX-License-Identifier: Apache-2.0 */
/* What fake_provider.c (requests) and fake_answers.c (answers, threads) share; for nobody else. */
#ifndef TESTS_LIB_FAKE_PRIVATE_H
#define TESTS_LIB_FAKE_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <vmofs/provider.h>

#include "base/sync.h"
#include "lib/fake_provider.h"

enum {
	FAKE_N_SLOTS = 16384,
	FAKE_N_EVENTS = 65536,
	FAKE_N_THREADS = 8,
};

struct fake_slot {
	struct vmofs_list link; /* in owned or idle */
	struct vmofs_request *req;
	enum vmofs_request_type type; /* as they were at send or swap */
	uint64_t off;
	uint64_t len;
	bool seen;    /* a wait has returned it */
	bool handled; /* a thread of fake_start() has taken it */
};

struct fake_provider {
	struct vmofs_provider base; /* first */
	struct vmofs_provider_ops ops;
	uint64_t key;
	struct vmofs_list live_link;

	struct mutex lock;
	struct cond changed;
	/* lock: lock, everything below */
	struct vmo *vmo;         /* borrowed */
	struct vmofs_list owned; /* in order of sending */
	struct vmofs_list idle;
	unsigned n_owned;
	struct fake_slot *slots;
	struct fake_event *events;
	uint64_t n_events;
	uint64_t count[FAKE_NEVENTS];
	uint64_t asked[VMOFS_REQUEST_NTYPES];

	enum fake_mode mode;
	bool stop;
	unsigned n_threads;
	unsigned n_idle_threads;
	unsigned fail_one_in;
	uint64_t seed;
	struct test_thread threads[FAKE_N_THREADS];
};

/* FAKE_RENDEZVOUS: until an idle thread has taken @s. */
void fake_rendezvous_locked(struct fake_provider *f, struct fake_slot *s) REQUIRES(f->lock);
void fake_dump_self(struct fake_provider *f, FILE *out);

#endif
