/* SPDX-License-Identifier: Apache-2.0 */
/* A list: people pin few files. Threads of commands. */
#include "daemon/pin_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/object.h"
#include "fs/tree.h"

struct pinned {
	struct vmofs_list link;
	struct fs_object *object; /* open */
	uint64_t ino;             /* held */
};

void pin_set_init(struct pin_set *s)
{
	mutex_init(&s->lock, LOCK_RANK_MOUNT);
	vmofs_list_init(&s->pins);
}

void pin_set_release(struct pin_set *s)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, &s->pins)
		free(vmofs_list_entry(pos, struct pinned, link));
	mutex_destroy(&s->lock);
}

static bool has_locked(struct pin_set *s, const struct fs_object *o) REQUIRES(s->lock)
{
	struct vmofs_list *pos;

	vmofs_list_for_each(pos, &s->pins)
		if (vmofs_list_entry(pos, struct pinned, link)->object == o)
			return true;
	return false;
}

static void pinned_free(struct fs_tree *t, struct pinned *p)
{
	t->ops->close(t, p->object);
	t->ops->forget(t, p->ino, 1);
	free(p);
}

/* Opens the file and holds its inode. */
static int pinned_new(struct pinned **out, struct fs_tree *t, const char *path,
		      uint64_t deadline_ns)
{
	struct pinned *p = malloc(sizeof *p);
	struct fs_tree_attr attr;
	int r = p ? fs_tree_resolve_wait(t, path, deadline_ns, &attr) : -ENOMEM;

	if (!r) {
		p->ino = attr.st.st_ino;
		r = t->ops->open(t, p->ino, NULL, &p->object);
		if (r < 0)
			t->ops->forget(t, p->ino, 1);
	}
	if (r < 0) {
		free(p);
		return r;
	}
	*out = p;
	return 0;
}

int pin_set_add(struct pin_set *s, struct fs_tree *t, const char *path, uint64_t deadline_ns)
{
	struct pinned *p;
	bool had;
	int r = pinned_new(&p, t, path, deadline_ns);

	if (r < 0)
		return r;
	mutex_lock(&s->lock);
	had = has_locked(s, p->object);
	if (!had)
		vmofs_list_add(&s->pins, &p->link);
	mutex_unlock(&s->lock);
	if (had)
		pinned_free(t, p);
	return 0;
}

void pin_set_remove(struct pin_set *s, struct fs_tree *t, struct fs_object *o)
{
	struct vmofs_list gone = VMOFS_LIST_INIT(gone);
	struct vmofs_list *pos, *tmp;

	mutex_lock(&s->lock);
	vmofs_list_for_each_safe(pos, tmp, &s->pins) {
		struct pinned *p = vmofs_list_entry(pos, struct pinned, link);

		if (strcmp(fs_object_url(p->object), fs_object_url(o)))
			continue;
		vmofs_list_del(pos);
		vmofs_list_add(&gone, pos);
	}
	mutex_unlock(&s->lock);
	vmofs_list_for_each_safe(pos, tmp, &gone)
		pinned_free(t, vmofs_list_entry(pos, struct pinned, link));
}
