/* SPDX-License-Identifier: Apache-2.0 */
/* Index pages in HTML: every name that comes out is one path component, whatever the server wrote. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "http/index_html.h"
#include "http/index_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char at[] = "https://host.example:8443/pub/a%20b/";
	struct index_list list = { 0 };
	char path[3 * VMOFS_KEY_MAX + 1];
	struct url page;

	assert(url_parse(at, strlen(at), &page) == 0);
	index_html_parse(&page, (const char *)data, len, &list);
	index_list_finish(&list);
	for (size_t i = 0; i < list.n; i++) {
		struct index_entry e = index_list_get(&list, i);

		assert(index_name_valid(e.name, e.len) && e.name[e.len] == '\0');
		assert(index_encode_key(e.name, e.len, path, sizeof path) == 0);
		assert(!e.dir || e.size == VMOFS_SIZE_UNKNOWN);
	}
	index_list_release(&list);
	return 0;
}
