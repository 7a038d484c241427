/* SPDX-License-Identifier: Apache-2.0 */
/* One object as a source: its name is the only key. Its contents are opened by others; nothing is asked of anybody. Any thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cow/cow_private.h"

struct single {
	struct vmofs_source base; /* first */
	struct vmofs_object_info info;
};

static void single_query(struct vmofs_source *src, struct vmofs_query *q)
{
	const struct single *s = container_of(src, struct single, base);
	struct vmofs_query_result result = { .msg = "", .req_id = "" };
	struct vmofs_entry e = {
		.type = VMOFS_ENTRY_FILE,
		.key = s->info.name,
		.key_len = strlen(s->info.name),
		.size = s->info.size,
		.mtime = s->info.mtime,
		.validator = s->info.validator,
		.target = "",
	};

	if (!strcmp(q->key, q->kind == VMOFS_QUERY_DIR ? "" : s->info.name))
		(void)q->entries(q, &e, 1);
	q->done(q, &result);
}

static int single_object(struct vmofs_source *src UNUSED, const struct vmofs_entry *e,
			 struct vmofs_provider **out UNUSED, struct vmofs_object_info *info UNUSED,
			 struct vmofs_err *err)
{
	/* The one that is there has been opened; this is one from before. */
	return vmofs_err_set(err, -ESTALE, "'%s' has changed at the origin", e->key);
}

static void single_stats(struct vmofs_source *src UNUSED, struct vmofs_provider_stats *out)
{
	*out = (struct vmofs_provider_stats){ 0 };
}

static void single_dump(struct vmofs_source *src, FILE *out, unsigned depth,
			unsigned max_items UNUSED)
{
	fprintf(out, "%*sone object: '%s'\n", (int)depth * 2, "",
		container_of(src, struct single, base)->info.url);
}

static void single_stop(struct vmofs_source *src UNUSED)
{
}

static void single_free(struct vmofs_source *src)
{
	free(container_of(src, struct single, base));
}

static const struct vmofs_source_ops single_source_ops = {
	.query = single_query,
	.object = single_object,
	.stats = single_stats,
	.dump = single_dump,
	.stop = single_stop,
	.free = single_free,
};

struct vmofs_source *cow_single_new(const struct vmofs_object_info *info)
{
	struct single *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->base.ops = &single_source_ops;
	s->info = *info;
	return &s->base;
}
