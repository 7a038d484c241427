/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files of the AWS tools of any bytes: views stay within the text, in order, and what the walk
 * tells last is what a question for it finds.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "s3/aws_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct seen {
	const struct aws_config *c;
	size_t items;
	struct aws_item last; /* setting */
};

static void within(const struct aws_config *c, struct aws_span s)
{
	assert(!s.n || (s.p >= c->p && s.n <= c->len && s.p + s.n <= c->p + c->len));
}

static void see(void *arg, const struct aws_item *item)
{
	struct seen *s = arg;

	assert(item->kind < AWS_NSECTIONS);
	within(s->c, item->section);
	within(s->c, item->parent);
	within(s->c, item->key);
	within(s->c, item->value);
	if (item->key.n)
		s->last = *item;
	s->items++;
}

/* NULL: it has a zero, so no question can name it. */
static char *text_of(struct aws_span s)
{
	return memchr(s.p ? s.p : "", 0, s.n) ? NULL : strndup(s.p ? s.p : "", s.n);
}

static void ask(const struct aws_config *c, const struct aws_item *item)
{
	char *section = text_of(item->section), *parent = text_of(item->parent);
	char *key = text_of(item->key);
	struct aws_span value;

	if (section && parent && key) {
		assert(aws_config_has(c, item->kind, section));
		assert(aws_config_get(c, item->kind, section, item->parent.n ? parent : NULL, key,
				      &value) == (item->value.n > 0));
		assert(value.p == item->value.p && value.n == item->value.n);
	}
	free(section);
	free(parent);
	free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	for (int credentials = 0; credentials < 2; credentials++) {
		struct aws_config c = { (const char *)data, len, credentials };
		struct seen s = { .c = &c };

		aws_config_each(&c, see, &s);
		assert(s.items <= len);
		if (s.last.key.n)
			ask(&c, &s.last);
	}
	return 0;
}
