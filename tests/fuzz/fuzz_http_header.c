/* SPDX-License-Identifier: Apache-2.0 */
/* Every parser of a single header value on the same bytes; what is accepted makes sense. */
#include <assert.h>
#include <stdint.h>

#include "net/http_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *p = (const char *)data;
	struct http_content_range range;
	uint64_t number;
	int64_t date;
	bool weak;
	int status;

	if (http_parse_status_line(p, len, &status) == 0)
		assert(status >= 100 && status <= 999);
	if (http_parse_length(p, len, &number) == 0)
		assert(number != HTTP_LENGTH_UNKNOWN);
	if (http_parse_content_range(p, len, &range) == 0 && !range.unsatisfied)
		assert(range.first <= range.last && range.last < range.total);
	http_parse_date(p, len, &date);
	http_parse_retry_after(p, len, 1000000000, &number);
	if (http_parse_etag(p, len, &weak) == 0)
		assert(len >= 2 && p[len - 1] == '"');
	return 0;
}
