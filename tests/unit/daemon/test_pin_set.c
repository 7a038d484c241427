/* SPDX-License-Identifier: Apache-2.0 */
/* Pinned files are held open once each, and let go of whatever version they are. */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "daemon/pin_set.h"
#include "fs/object.h"
#include "fs/tree.h"

enum { OBJECTS = 3 };

/* A tree whose objects are counted by how often they are open. */
struct counting {
	struct fs_tree base;
	struct fs_object object[OBJECTS];
	int open[OBJECTS];
	int held[OBJECTS];
	int refuse;
};

static int counting_open(struct fs_tree *t, uint64_t ino, struct fs_tree_wait *w,
			 struct fs_object **out)
{
	struct counting *c = container_of(t, struct counting, base);

	assert_null(w);
	if (c->refuse)
		return c->refuse;
	c->open[ino - 100]++;
	*out = &c->object[ino - 100];
	return 0;
}

static void counting_close(struct fs_tree *t, struct fs_object *o)
{
	struct counting *c = container_of(t, struct counting, base);

	assert_in_range(--c->open[o - c->object], 0, 10);
}

static int counting_getattr(struct fs_tree *t, uint64_t ino, struct fs_tree_wait *w,
			    struct fs_tree_attr *out)
{
	(void)t;
	(void)w;
	*out = (struct fs_tree_attr){ .st.st_ino = ino };
	return 0;
}

/* "0", "1", "2": the objects. */
static int counting_lookup(struct fs_tree *t, uint64_t parent, const char *name,
			   struct fs_tree_wait *w, struct fs_tree_attr *out)
{
	struct counting *c = container_of(t, struct counting, base);
	unsigned i = (unsigned)(*name - '0');

	(void)w;
	assert_int_equal(parent, FS_TREE_ROOT);
	if (i >= OBJECTS)
		return -ENOENT;
	c->held[i]++;
	*out = (struct fs_tree_attr){ .st.st_ino = 100 + i };
	return 0;
}

static void counting_forget(struct fs_tree *t, uint64_t ino, uint64_t n)
{
	struct counting *c = container_of(t, struct counting, base);

	assert_int_equal(n, 1);
	assert_in_range(--c->held[ino - 100], 0, 10);
}

static const struct fs_tree_ops counting_ops = {
	.lookup = counting_lookup,
	.getattr = counting_getattr,
	.forget = counting_forget,
	.open = counting_open,
	.close = counting_close,
};

/* Objects 1 and 2 are two versions of one file. */
static char text[OBJECTS][8] = { "x:a\0\"1", "x:b\0\"1", "x:b\0\"2" };

static void counting_init(struct counting *c)
{
	*c = (struct counting){ .base.ops = &counting_ops };
	for (unsigned i = 0; i < OBJECTS; i++) {
		c->object[i].ino = 100 + i;
		c->object[i].text = text[i];
	}
}

static void test_held_once_until_undone(void **state)
{
	struct counting c;
	struct pin_set s;

	(void)state;
	counting_init(&c);
	pin_set_init(&s);
	assert_int_equal(pin_set_add(&s, &c.base, "0", 0), 0);
	assert_int_equal(pin_set_add(&s, &c.base, "0", 0), 0);
	assert_int_equal(pin_set_add(&s, &c.base, "1", 0), 0);
	assert_int_equal(c.open[0], 1);
	assert_int_equal(c.open[1], 1);
	assert_int_equal(c.held[0], 1);
	assert_int_equal(c.held[1], 1);
	pin_set_remove(&s, &c.base, &c.object[0]);
	assert_int_equal(c.open[0], 0);
	assert_int_equal(c.open[1], 1);
	pin_set_remove(&s, &c.base, &c.object[0]);
	assert_int_equal(c.open[0], 0);
	pin_set_release(&s);
}

static void test_an_older_version_is_let_go_of_too(void **state)
{
	struct counting c;
	struct pin_set s;

	(void)state;
	counting_init(&c);
	pin_set_init(&s);
	assert_int_equal(pin_set_add(&s, &c.base, "1", 0), 0);
	assert_int_equal(pin_set_add(&s, &c.base, "2", 0), 0);
	pin_set_remove(&s, &c.base, &c.object[2]);
	assert_int_equal(c.open[1], 0);
	assert_int_equal(c.open[2], 0);
	assert_int_equal(c.held[1], 0);
	assert_int_equal(c.held[2], 0);
	pin_set_release(&s);
}

static void test_what_cannot_be_opened_is_not_kept(void **state)
{
	struct counting c;
	struct pin_set s;

	(void)state;
	counting_init(&c);
	c.refuse = -ESHUTDOWN;
	pin_set_init(&s);
	assert_int_equal(pin_set_add(&s, &c.base, "0", 0), -ESHUTDOWN);
	assert_int_equal(pin_set_add(&s, &c.base, "x", 0), -ENOENT);
	assert_int_equal(c.held[0], 0);
	assert_true(vmofs_list_empty(&s.pins));
	pin_set_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held_once_until_undone),
		cmocka_unit_test(test_an_older_version_is_let_go_of_too),
		cmocka_unit_test(test_what_cannot_be_opened_is_not_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
