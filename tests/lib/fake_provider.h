/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A provider that a test plays by hand: it records every call in order, hands requests to the test,
 * and answers when the test says so, or by itself from its own threads.
 *
 * It watches the contract of <vmofs/provider.h> all the time and aborts with a dump at the first
 * breach: one clear per sent request (over its chain of swaps), no send after on_detach, on_detach
 * before on_close, each once, type, offset and length frozen while the request is owned.
 *
 * Contents: the word at byte 8*i of the object is key + i, so a misplaced page or word is seen.
 * Pages are counted in VMOFS_PAGE_SIZE. Every function may be called from any thread without locks.
 */
#ifndef TESTS_LIB_FAKE_PROVIDER_H
#define TESTS_LIB_FAKE_PROVIDER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <vmofs/provider.h>

struct fake_provider;

/* ---- life ---- */

/* @supports: VMOFS_TYPE_BIT()s besides READ. @key must not be 0. */
struct fake_provider *fake_new(unsigned supports, uint64_t key);
/* Stops its threads and checks the end of the contract: nothing owned, detached and closed if it was used. */
void fake_free(struct fake_provider *f);
void fake_freep(struct fake_provider **f);

/* For vmo_new() and page_source_new(). */
struct vmofs_provider *fake_base(struct fake_provider *f);
/* The VMO that the helpers below answer (borrowed). Not needed for tests of the page source alone. */
void fake_attach(struct fake_provider *f, struct vmo *vmo);
struct vmo *fake_vmo(struct fake_provider *f);
/* The VMO as the oldest owned request has it, to be attached; what comes after a switch is another one. */
struct vmo *fake_named_vmo(struct fake_provider *f);

/* ---- what was asked ---- */

/* A copy of a request as it is now. */
struct fake_request {
	enum vmofs_request_type type;
	enum vmofs_request_class cls;
	uint64_t page;
	uint64_t n;
	uint64_t deadline_ns;
};

/*
 * Wait for a request that no wait has returned before and that is exactly [page, page + n); abort
 * with a dump when none comes in time. Requests that are cleared before they were seen are withdrawn.
 * A WRITEBACK request that is to be begun again counts as not seen again.
 */
struct fake_request fake_wait(struct fake_provider *f, enum vmofs_request_type type, uint64_t page,
			      uint64_t n);
void fake_wait_read(struct fake_provider *f, uint64_t page, uint64_t n);
void fake_wait_dirty(struct fake_provider *f, uint64_t page, uint64_t n);
void fake_wait_writeback(struct fake_provider *f, uint64_t page, uint64_t n);
/* The oldest unseen request, whatever it is; aborts when none comes in time. */
struct fake_request fake_next(struct fake_provider *f);
/* false at once when there is none. */
bool fake_try_next(struct fake_provider *f, struct fake_request *out);
/* Nothing unseen now: use it when those who could ask are known to be parked or done. */
void fake_expect_none(struct fake_provider *f);

/* Waits until exactly @n waiters are parked on the attached VMO's page source (all types). */
void fake_wait_blocked(struct fake_provider *f, unsigned n);
/* Waits until the provider owns exactly @n requests. */
void fake_wait_owned(struct fake_provider *f, unsigned n);

unsigned fake_n_owned(struct fake_provider *f);  /* requests sent and not cleared */
unsigned fake_n_unseen(struct fake_provider *f); /* of these, not returned by a wait yet */
/* The @i-th owned request in order of sending; false: there are fewer. */
bool fake_owned(struct fake_provider *f, unsigned i, struct fake_request *out);
bool fake_owns(struct fake_provider *f, enum vmofs_request_type type, uint64_t page, uint64_t n);
/*
 * No two owned requests of a type share a page. True as long as nothing was evicted: a page that was
 * supplied, evicted and asked for again inside a request that is still out is asked for by another.
 */
bool fake_owned_are_disjoint(struct fake_provider *f);

enum fake_event_kind { FAKE_SEND, FAKE_CLEAR, FAKE_SWAP, FAKE_DETACH, FAKE_CLOSE, FAKE_NEVENTS };

struct fake_event {
	enum fake_event_kind kind;
	struct fake_request req; /* of SWAP: the new one */
};

/* How often this has been called. */
uint64_t fake_count(struct fake_provider *f, enum fake_event_kind kind);
/* The @i-th call since the start; only the last 64 Ki are kept. */
bool fake_event(struct fake_provider *f, uint64_t i, struct fake_event *out);
uint64_t fake_n_events(struct fake_provider *f);
/* Pages asked for so far, by type. */
uint64_t fake_pages_asked(struct fake_provider *f, enum vmofs_request_type type);
void fake_dump(struct fake_provider *f, FILE *out);

/* ---- answers ---- */

int64_t fake_supply(struct fake_provider *f, uint64_t page, uint64_t n);
int64_t fake_supply_key(struct fake_provider *f, uint64_t key, uint64_t page, uint64_t n);
int64_t fake_supply_zero(struct fake_provider *f, uint64_t page, uint64_t n);
int fake_fail(struct fake_provider *f, uint64_t page, uint64_t n, int code); /* READ and DIRTY */
int fake_grant(struct fake_provider *f, uint64_t page, uint64_t n);
/*
 * What @r asks for: supplies, grants, or writes back (begin, end 0) its range as far as the size of
 * the VMO; the errors of a VMO that has shrunk or detached meanwhile are left alone.
 */
void fake_answer(struct fake_provider *f, const struct fake_request *r);
/* Answers the oldest owned request; false: there is none. */
bool fake_answer_oldest(struct fake_provider *f);

enum fake_mode {
	FAKE_MANUAL,
	FAKE_AT_ONCE,    /* each request is answered by a thread as soon as it can */
	FAKE_RENDEZVOUS, /* as FAKE_AT_ONCE, and send() returns only when the thread is at it */
	FAKE_RANDOM,     /* in pieces, out of order, now and then failed with -EIO */
};

/* Starts @n_threads that answer; requests they take count as seen. One start per provider. */
void fake_start(struct fake_provider *f, enum fake_mode mode, unsigned n_threads, uint64_t seed);
/* Joins them; what is still owned stays owned. */
void fake_stop(struct fake_provider *f);
/* FAKE_RANDOM: one answer in @one_in is a failure, 0: none. */
void fake_set_failures(struct fake_provider *f, unsigned one_in);

/* ---- contents ---- */

void fake_fill(uint64_t key, uint64_t off, void *buf, uint64_t len);
/* The offset in @buf of the first wrong byte, or -1. */
int64_t fake_compare(uint64_t key, uint64_t off, const void *buf, uint64_t len);
bool reads_as_zero(const void *buf, uint64_t len);

/* ---- threads ---- */

struct test_thread {
	unsigned long id; /* pthread_t */
	int64_t (*fn)(void *arg);
	void *arg;
	int64_t status;
	_Atomic bool done;
};

void thread_run(struct test_thread *t, int64_t (*fn)(void *arg), void *arg);
/* Joins; aborts when it does not end in time. */
int64_t thread_join_status(struct test_thread *t);
bool thread_is_done(struct test_thread *t);

/* How long a wait may take before the test is given up; VMOFS_TEST_TIMEOUT_MS changes it. */
uint64_t test_timeout_ns(void);
uint64_t test_now_ns(void); /* CLOCK_MONOTONIC */
/* Prints the message and a dump of every live provider and its VMO, and aborts. */
void test_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Polls @ready until it is true; aborts with @what when it is not in time. */
void test_wait_until(bool (*ready)(void *arg), void *arg, const char *what);

#endif
