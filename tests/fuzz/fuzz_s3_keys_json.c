/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that should hold keys, in JSON of any bytes: a value found is found again in the same place of a
 * deeper document, and nothing is given where an error is.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "s3/credentials_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* In {"x":[],"d":DOCUMENT}; a document that is nested to the limit is too deep there. */
static void ask_deeper(const char *p, size_t len, const char *value)
{
	static const char before[] = "{\"x\":[],\"d\":";
	char *text = malloc(len + sizeof before + 1);
	char *out;
	int r;

	assert(text);
	memcpy(text, before, sizeof before - 1);
	memcpy(text + sizeof before - 1, p, len);
	text[sizeof before - 1 + len] = '}';
	r = s3_json_text(text, sizeof before + len, "d.a", &out);
	assert(r == -EINVAL || (r == 0 && !strcmp(out, value)));
	secret_free(out);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const paths[] = { "a", "a.b", "roleCredentials.accessKeyId", "Version" };
	const char *p = (const char *)data;

	for (unsigned i = 0; i < sizeof paths / sizeof paths[0]; i++) {
		char *out;
		int r = s3_json_text(p, len, paths[i], &out);
		time_t t;

		assert((r == 0) == (out != NULL));
		if (r == 0) {
			assert(strlen(out) <= len);
			(void)s3_parse_time(out, &t);
			if (i == 0)
				ask_deeper(p, len, out);
		}
		secret_free(out);
	}
	return 0;
}
