/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An intrusive doubly linked list. It is public because a page request carries a hook that its
 * provider may use while it owns the request: queueing then needs no memory and cannot fail.
 * No locking: the list belongs to whoever's lock its owner names.
 */
#ifndef VMOFS_LIST_H
#define VMOFS_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct vmofs_list {
	struct vmofs_list *next;
	struct vmofs_list *prev;
};

#define VMOFS_LIST_INIT(name)    \
	{                        \
		&(name), &(name) \
	}

static inline void vmofs_list_init(struct vmofs_list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool vmofs_list_empty(const struct vmofs_list *l)
{
	return l->next == l;
}

static inline void vmofs_list_insert(struct vmofs_list *prev, struct vmofs_list *item)
{
	item->next = prev->next;
	item->prev = prev;
	prev->next->prev = item;
	prev->next = item;
}

static inline void vmofs_list_add(struct vmofs_list *head, struct vmofs_list *item)
{
	vmofs_list_insert(head, item);
}

static inline void vmofs_list_add_tail(struct vmofs_list *head, struct vmofs_list *item)
{
	vmofs_list_insert(head->prev, item);
}

/* Unlinks @item and leaves it as an empty list, so that a second removal is harmless. */
static inline void vmofs_list_del(struct vmofs_list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	vmofs_list_init(item);
}

/* Puts @item where @old is; @old becomes empty. */
static inline void vmofs_list_replace(struct vmofs_list *old, struct vmofs_list *item)
{
	vmofs_list_insert(old->prev, item);
	vmofs_list_del(old);
}

/* Moves everything on @from to the end of @to; @from becomes empty. */
static inline void vmofs_list_splice_tail(struct vmofs_list *to, struct vmofs_list *from)
{
	if (vmofs_list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	vmofs_list_init(from);
}

#define vmofs_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define vmofs_list_entry(ptr, type, member) vmofs_container_of(ptr, type, member)

/* The first entry, or NULL. */
#define vmofs_list_first(head, type, member) \
	(vmofs_list_empty(head) ? NULL : vmofs_container_of((head)->next, type, member))

#define vmofs_list_for_each(pos, head) \
	for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)

/* Allows @pos to be removed in the body. */
#define vmofs_list_for_each_safe(pos, tmp, head)                         \
	for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head); \
	     (pos) = (tmp), (tmp) = (pos)->next)

#endif
