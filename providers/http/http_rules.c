/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows from the outcome of a request: whether and when it is tried again, and what its reader is
 * told in the end. The same for objects and asks. Pure but for its randomness; any thread.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/macros.h"
#include "http/http_private.h"

#define BACKOFF_MAX (10 * NSEC_PER_SEC)

static const struct http_rule rules[] = {
	[HTTP_OUTCOME_OK] = { HTTP_LATER, -EIO, 0 },
	[HTTP_OUTCOME_RETRY] = { HTTP_LATER, -EIO, -EIO },
	[HTTP_OUTCOME_TIMEOUT] = { HTTP_LATER, -ETIMEDOUT, -ETIMEDOUT },
	[HTTP_OUTCOME_INTEGRITY] = { HTTP_ONCE, -EBADMSG, -EBADMSG },
	[HTTP_OUTCOME_CHANGED] = { HTTP_FAIL, -ESTALE, -ESTALE },
	[HTTP_OUTCOME_DENIED] = { HTTP_RENEW, -EACCES, -EACCES },
	[HTTP_OUTCOME_GONE] = { HTTP_RENEW, -ESTALE, -ENOENT },
	[HTTP_OUTCOME_MOVED] = { HTTP_RENEW, -EIO, -EIO },
	[HTTP_OUTCOME_REFUSED] = { HTTP_FAIL, -EIO, -EIO },
	[HTTP_OUTCOME_CUT] = { HTTP_FAIL, -EIO, -EIO },
};
_Static_assert(ARRAY_LEN(rules) == HTTP_NOUTCOMES, "one rule per outcome");

const struct http_rule *http_rule_of(enum http_outcome o)
{
	return &rules[o];
}

static uint64_t jitter(uint64_t ns)
{
	uint32_t r = 0;

	if (getrandom(&r, sizeof r, GRND_NONBLOCK) < 0)
		r = (uint32_t)loop_now_ns();
	return ns / 2 + ns / 2 * (r >> 16) / 0xffff;
}

uint64_t http_last_try(uint64_t deadline_ns, uint64_t now_ns)
{
	uint64_t left = deadline_ns > now_ns ? deadline_ns - now_ns : 0;

	return now_ns + left - MIN(left / 4, NSEC_PER_SEC);
}

uint64_t http_retry_time(const struct http_limits *l, unsigned attempts, uint64_t deadline_ns,
			 uint64_t retry_after, uint64_t now_ns)
{
	uint64_t backoff = l->retry_base_ns << MIN(attempts - 1, 16u);
	uint64_t delay = jitter(MIN(backoff, BACKOFF_MAX));

	if (retry_after != HTTP_LENGTH_UNKNOWN)
		delay = MAX(delay, MIN(retry_after, UINT64_C(1) << 30) * NSEC_PER_SEC);
	if (now_ns + delay < deadline_ns)
		return now_ns + delay;
	return http_last_try(deadline_ns, now_ns);
}

void http_refusal_init(struct http_refusal *why, const struct http_result *result)
{
	why->status = result->status;
	why->body = result->error;
	why->len = result->error_len;
	why->outcome = result->outcome;
	why->date = result->date;
	why->slow_down = result->status == 503 || result->status == 429;
	snprintf(why->msg, sizeof why->msg, "%s", result->msg);
	snprintf(why->request_id, sizeof why->request_id, "%s", result->request_id);
}
