/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of faults: whatever is accepted has rules that cannot divide by zero. */
#include <assert.h>
#include <stdint.h>

#include "fault/fault_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fault_spec spec;

	if (fault_spec_parse(&spec, (const char *)data, len) < 0)
		return 0;
	assert(spec.n <= FAULT_RULES);
	for (unsigned i = 0; i < spec.n; i++)
		assert(spec.rules[i].percent <= 100 &&
		       (spec.rules[i].action != FAULT_FAIL || spec.rules[i].code < 0));
	fault_spec_group(&spec);
	return 0;
}
