/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of attempts to store an object: random, so that no two anywhere are the same. Any thread. */
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <vmofs/change.h>

#include "base/digest.h"

void vmofs_attempt_new(char out[VMOFS_ATTEMPT_LEN + 1])
{
	uint8_t random[VMOFS_ATTEMPT_LEN / 2] = { 0 };
	struct timespec now;

	if (getrandom(random, sizeof random, 0) < (ssize_t)sizeof random) {
		clock_gettime(CLOCK_REALTIME, &now);
		memcpy(random, &now, sizeof random);
	}
	digest_hex(random, sizeof random, out);
}
