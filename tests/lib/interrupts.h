/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that are interrupted at every moment of their lives: by signals whose handler does nothing. */
#ifndef TESTS_LIB_INTERRUPTS_H
#define TESTS_LIB_INTERRUPTS_H

#include <stdatomic.h>
#include <stdint.h>

enum { INTERRUPTS_MAX = 16 };

/*
 * Runs @n threads, at most INTERRUPTS_MAX, of work(1), work(2), ..., and sends them signals for @seconds; then sets *stop, which
 * they look at, and waits for them. 0; -1: a thread cannot be started.
 */
int interrupts_run(unsigned n, void *(*work)(void *arg), atomic_bool *stop, double seconds);

#endif
