/* SPDX-License-Identifier: Apache-2.0 */
/* List files: what is taken is sorted, complete and finds itself again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "list/list_parse.h"
#include "net/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_row(const struct list_table *t, size_t i)
{
	struct list_item item = list_table_get(t, i);
	char url[URL_MAX];
	struct url u;

	assert(*item.key && strlen(item.key) < VMOFS_KEY_MAX);
	assert(list_table_find(t, item.key, strlen(item.key)) == i);
	if (i > 0)
		assert(strcmp(list_table_get(t, i - 1).key, item.key) < 0);
	if (item.scheme == LIST_NOTHING) {
		assert(item.key[strlen(item.key) - 1] == '/');
		return;
	}
	assert(list_table_url(t, i, url, sizeof url) == 0);
	if (item.scheme != LIST_HTTP)
		return;
	assert(item.origin < list_table_n_origins(t));
	assert(url_parse(url, strlen(url), &u) == 0);
	assert(strncmp(url, list_table_origin(t, item.origin),
		       strlen(list_table_origin(t, item.origin)) - 1) == 0);
}

/* In pieces it is the same list. */
static void check_pieces(const char *text, size_t len)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_err err2 = VMOFS_ERR_INIT;
	struct list_builder *b = list_builder_new("list");
	struct list_table *t = NULL;
	struct list_table *whole = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < len; i += 5)
		r = list_builder_add(b, text + i, len - i < 5 ? len - i : 5, &err);
	if (r == 0)
		r = list_builder_end(b, &t, &err);
	assert(list_table_parse(&whole, "list", text, len, &err2) == r);
	assert(strcmp(err.msg, err2.msg) == 0);
	assert(r < 0 || list_table_n(t) == list_table_n(whole));
	list_table_free(t);
	list_table_free(whole);
	list_builder_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct list_table *t;

	check_pieces((const char *)data, len);
	if (list_table_parse(&t, "list", (const char *)data, len, &err) < 0) {
		assert(err.code && *err.msg);
		return 0;
	}
	for (size_t i = 0; i < list_table_n(t); i++)
		check_row(t, i);
	list_table_free(t);
	return 0;
}
