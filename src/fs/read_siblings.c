/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files that are read one after another: opens those that come next, as siblings.c says, and asks
 * for their pages as prefetch. Their objects are then idle until they are opened; who is too late or stops
 * finds them gone like any other idle object. Runs on the loops, after the read has been started.
 */
#include "base/macros.h"
#include "fs/object.h"
#include "fs/session_private.h"

enum { FILES_AT_ONCE = 64 };

/* Memory that is short, a file that has changed, an end: all no matter, its reader will ask itself. */
static void fetch(struct fs_tree *t, const struct fs_sibling *f, uint64_t deadline_ns)
{
	struct fs_object *o;

	if (t->ops->open(t, f->ino, NULL, &o) < 0)
		return;
	(void)vmo_prefetch(o->vmo, 0, o->size, deadline_ns);
	t->ops->close(t, o);
}

static void fetch_small(struct fs_tree *t, const struct fs_sibling *f, unsigned n,
			uint64_t bytes_max, uint64_t deadline_ns)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n && bytes < bytes_max; i++) {
		if (!f[i].size || f[i].size > SIBLING_SIZE_MAX)
			continue;
		fetch(t, &f[i], deadline_ns);
		bytes += f[i].size;
	}
}

void fs_read_siblings(struct fs_session *s, uint64_t ino, uint64_t size, uint64_t deadline_ns)
{
	struct fs_sibling file[FILES_AT_ONCE];
	struct fs_tree *t = s->p.tree;
	struct sibling_ask ask;
	uint64_t dir;
	uint64_t place;
	unsigned n;

	if (!t->ops->place || !s->p.siblings_max || !t->ops->place(t, ino, &dir, &place))
		return;
	ask = siblings_read(&s->siblings, dir, place, size);
	if (!ask.n)
		return;
	ask.n = MIN(ask.n, (unsigned)FILES_AT_ONCE);
	n = t->ops->following(t, ask.dir, ask.place, file, ask.n);
	siblings_asked(&s->siblings, &ask, n == ask.n ? file[n - 1].place + 1 : UINT64_MAX);
	fetch_small(t, file, n, s->p.siblings_max, deadline_ns);
}
