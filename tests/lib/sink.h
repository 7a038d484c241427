/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core as a provider sees it, reduced to a byte array with exact books: it implements
 * vmofs_supply() and its kin, drives send, clear and swap with a lock held, and aborts when the
 * provider breaks its contract. A program that uses it links it instead of src/vm.
 *
 * Any thread; sink_wait() blocks, so never on a loop.
 */
#ifndef TESTS_LIB_SINK_H
#define TESTS_LIB_SINK_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/provider.h>

struct sink;
struct sink_read; /* one READ request */

/*
 * Loops and configuration are made here. @opts as after -o, may be NULL. NULL and @err filled when
 * the provider does not open.
 */
struct sink *sink_open(const char *source, const char *opts, unsigned nloops,
		       struct vmofs_err *err);
/* The same; a failure ends the test. */
struct sink *sink_must_open(const char *source, const char *opts, unsigned nloops);
/* Over a provider that was made elsewhere, on loops that run; sink_close() frees the provider. */
struct sink *sink_over(struct vmofs_provider *p, uint64_t size, struct loop_pool *loops);
/* Clears what is outstanding, detaches, closes, frees; checks that nothing is left. */
void sink_close(struct sink *s);

const struct vmofs_object_info *sink_info(const struct sink *s);
struct vmofs_provider *sink_provider(struct sink *s);
struct loop_pool *sink_loops(struct sink *s);
/* Every loop goes through a turn, so that what follows an answer has been done too. */
void sink_settle(struct sink *s);
/* Settled first. */
void sink_stats(struct sink *s, struct vmofs_provider_stats *out);

/* One request over whole pages that nobody else has asked for. @deadline_ns 0: none. */
struct sink_read *sink_send(struct sink *s, uint64_t off, uint64_t len,
			    enum vmofs_request_class cls, uint64_t deadline_ns);
/* Called once, from any thread and without locks, instead of sink_wait(): then the read is freed. */
struct sink_read *sink_send_cb(struct sink *s, uint64_t off, uint64_t len,
			       void (*done)(void *arg, int code), void *arg);
/* 0, or the code of the first page that failed; frees @r. */
int sink_wait(struct sink_read *r);
/* Whether sink_wait() would not block. */
bool sink_done(struct sink_read *r);
/* Nobody wants it any more: -ECANCELED at sink_wait(). */
void sink_cancel(struct sink_read *r);
/* From prefetch to demand, and/or another deadline. */
void sink_promote(struct sink_read *r, uint64_t deadline_ns);
/* Swaps @r for a request over a part of it. */
void sink_narrow(struct sink_read *r, uint64_t off, uint64_t len);

/* send and wait */
int sink_read(struct sink *s, uint64_t off, uint64_t len);
/* Forgets pages. */
void sink_evict(struct sink *s, uint64_t off, uint64_t len);
/* From the @n-th supply on (1: the next) answers @code, 0: ends it. */
void sink_refuse(struct sink *s, unsigned n, int code);
/* Until the provider has said that nothing of it is to be trusted. */
void sink_wait_distrusted(struct sink *s);
/* The bytes; what is absent is zero. */
const uint8_t *sink_bytes(const struct sink *s);
bool sink_present(struct sink *s, uint64_t off);
uint64_t sink_supplied(struct sink *s);

#endif
