/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of misfortunes of a fault source: "ACTION[@WHEN],...". A pure parser, any thread.
 *
 *   ACTION   fail=CODE   EIO EBADMSG ESTALE EACCES ENOENT ETIMEDOUT ENOSPC EDQUOT ENOBUFS
 *            delay=TIME  drop  reverse=N  seed=N (no WHEN)
 *   WHEN     N the Nth request, /N every Nth, N% by chance; none: every request
 */
#ifndef PROVIDERS_FAULT_SPEC_H
#define PROVIDERS_FAULT_SPEC_H

#include <stddef.h>
#include <stdint.h>

enum fault_action { FAULT_FAIL, FAULT_DELAY, FAULT_DROP, FAULT_REVERSE };

struct fault_rule {
	enum fault_action action;
	int code;          /* FAIL */
	uint64_t delay_ns; /* DELAY */
	uint64_t group;    /* REVERSE */
	uint64_t nth;      /* 0: any */
	uint64_t every;    /* 0: any */
	uint64_t percent;  /* 100: always */
};

#define FAULT_RULES 16

struct fault_spec {
	unsigned n;
	struct fault_rule rules[FAULT_RULES]; /* the first that hits counts */
	uint64_t seed;
};

int fault_spec_parse(struct fault_spec *spec, const char *text, size_t len);
/* Size of the group of the reverse rule; 0: there is none. */
uint64_t fault_spec_group(const struct fault_spec *spec);

#endif
