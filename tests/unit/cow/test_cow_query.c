/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listings, names and single files of a copy-on-write child over a namespace in memory: what is told is what both parts amount to, each
 * key once, and where the origin cannot have anything to say it is not asked.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "cow/cow_private.h"
#include "lib/fake_disk.h"
#include "lib/fake_source.h"

static struct fake_source *low;
static struct vmofs_source *child;

struct asked {
	struct vmofs_query q;
	char keys[64][64];
	unsigned n;
	int code;
	bool done;
};

static bool told(struct vmofs_query *q, const struct vmofs_entry *v, unsigned n)
{
	struct asked *a = container_of(q, struct asked, q);

	for (unsigned i = 0; i < n; i++)
		snprintf(a->keys[a->n++], 64, "%s%s%s", v[i].key,
			 strstr(v[i].validator, "cow-") ? "*" : "", *v[i].target ? "@" : "");
	return true;
}

static void ended(struct vmofs_query *q, const struct vmofs_query_result *r)
{
	struct asked *a = container_of(q, struct asked, q);

	assert_false(a->done);
	a->done = true;
	a->code = r->code;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The keys of the answer, in order, with a blank between; "*": ours, "@": a link. */
static void ask(enum vmofs_query_kind kind, const char *key, const char *want)
{
	static struct asked a;
	char got[4096] = "";

	a = (struct asked){ .q = { .kind = kind, .key = key, .entries = told, .done = ended } };
	vmofs_list_init(&a.q.link);
	child->ops->query(child, &a.q);
	assert_true(a.done);
	assert_int_equal(0, a.code);
	qsort(a.keys, a.n, sizeof a.keys[0], by_text);
	for (unsigned i = 0; i < a.n; i++)
		snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "",
			 a.keys[i]);
	assert_string_equal(want, got);
}

static void remove_key(const char *key)
{
	const struct vmofs_change_wait wait = { 0 };
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(0, child->ops->change->remove(child, key, NULL, &wait, &err));
}

static int read_letter(struct vmofs_store *st UNUSED, uint64_t off UNUSED, void *buf, uint64_t len)
{
	memset(buf, 'x', len);
	return 0;
}

static int commit(struct vmofs_store *st UNUSED)
{
	return 0;
}

static bool take(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
	return true;
}

static void give(struct vmofs_store *st UNUSED, uint64_t len UNUSED)
{
}

static int store(const char *key, const struct vmofs_version *base)
{
	struct vmofs_changed changed = { 0, 5 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_store st = {
		.key = key,
		.base = *base,
		.size = 5,
		.changed = &changed,
		.n_changed = 1,
		.read = read_letter,
		.commit = commit,
		.take = take,
		.give = give,
	};

	return child->ops->change->store(child, &st, &err);
}

static void make(const char *key)
{
	const struct vmofs_version none = { 0 };

	assert_int_equal(0, store(key, &none));
}

static void make_dir(const char *key)
{
	const struct vmofs_change_wait wait = { 0 };
	struct vmofs_err err = VMOFS_ERR_INIT;

	assert_int_equal(0, child->ops->change->make_dir(child, key, NULL, &wait, &err));
}

static void low_free(struct vmofs_source *s)
{
	fake_source_free(container_of(s, struct fake_source, base));
}

static int set_up(void **state UNUSED)
{
	static struct vmofs_source_ops ops;
	struct cow_params p = { .dir = "/cow", .name = "", .io = &fake_disk_io };
	struct vmofs_err err = VMOFS_ERR_INIT;

	fake_disk_reset();
	low = fake_source_new();
	ops = *low->base.ops;
	ops.free = low_free;
	low->base.ops = &ops;
	fake_source_put(low, "a", 10, "\"1\"");
	fake_source_put(low, "b", 10, "\"2\"");
	fake_source_put(low, "d/x", 10, "\"3\"");
	fake_source_put(low, "d/y", 10, "\"4\"");
	fake_source_put(low, "d/deep/z", 10, "\"5\"");
	fake_source_put(low, "e/only", 10, "\"6\"");
	return cow_new(&child, &low->base, &low->info, &p, &err);
}

static int tear_down(void **state UNUSED)
{
	child->ops->free(child);
	return 0;
}

static void test_nothing_changed(void **state UNUSED)
{
	ask(VMOFS_QUERY_DIR, "", "a b d/ e/");
	ask(VMOFS_QUERY_DIR, "d/", "d/deep/ d/x d/y");
	ask(VMOFS_QUERY_NAME, "d", "d/");
	ask(VMOFS_QUERY_HEAD, "a", "a");
	ask(VMOFS_QUERY_NAME, "none", "");
}

static void test_made_and_removed(void **state UNUSED)
{
	const struct vmofs_version was = { true, 10, "\"1\"", { 0 } };

	assert_int_equal(0, store("a", &was));
	make("new");
	remove_key("b");
	make("d/made");
	remove_key("d/x");
	ask(VMOFS_QUERY_DIR, "", "a* d/ e/ new*");
	ask(VMOFS_QUERY_DIR, "d/", "d/deep/ d/made* d/y");
	ask(VMOFS_QUERY_NAME, "b", "");
	ask(VMOFS_QUERY_HEAD, "b", "");
	ask(VMOFS_QUERY_NAME, "a", "a*");
	ask(VMOFS_QUERY_NAME, "d", "d/");
	/* Made here and removed here leaves nothing behind, removed there does. */
	remove_key("new");
	remove_key("a");
	ask(VMOFS_QUERY_DIR, "", "d/ e/");
	make("b");
	ask(VMOFS_QUERY_DIR, "", "b* d/ e/");
}

static void test_directories(void **state UNUSED)
{
	unsigned before;

	remove_key("e/only");
	remove_key("e/");
	ask(VMOFS_QUERY_DIR, "", "a b d/");
	ask(VMOFS_QUERY_NAME, "e", "");
	make_dir("e/");
	make("e/f");
	make_dir("e/g/");
	before = fake_source_asked(low);
	ask(VMOFS_QUERY_DIR, "e/", "e/* e/f* e/g/");
	ask(VMOFS_QUERY_DIR, "e/g/", "e/g/*");
	ask(VMOFS_QUERY_NAME, "e/none", "");
	ask(VMOFS_QUERY_NAME, "e", "e/");
	assert_int_equal(before, fake_source_asked(low));
	ask(VMOFS_QUERY_DIR, "", "a b d/ e/");
}

/* What the origin has lost, or never had, is not lost here. */
static void test_alone(void **state UNUSED)
{
	make("p/q/r");
	ask(VMOFS_QUERY_DIR, "", "a b d/ e/ p/");
	ask(VMOFS_QUERY_DIR, "p/", "p/q/");
	fake_source_remove(low, "a");
	ask(VMOFS_QUERY_DIR, "", "b d/ e/ p/");
	remove_key("p/q/r");
	ask(VMOFS_QUERY_DIR, "", "b d/ e/");
}

static void test_versions(void **state UNUSED)
{
	const struct vmofs_version wrong = { true, 10, "\"cow-0000000000000099\"", { 0 } };
	const struct vmofs_version none = { 0 };
	const struct vmofs_change_wait wait = { 0 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;

	make("new");
	assert_int_equal(-ESTALE, store("new", &none));
	assert_int_equal(-ESTALE, store("new", &wrong));
	assert_int_equal(-ESTALE, child->ops->change->make_dir(child, "new", NULL, &wait, &err));
	assert_int_equal(
		0, child->ops->change->copy(child, "new", NULL, "b", NULL, &now, &wait, &err));
	assert_int_equal(
		-ESTALE,
		child->ops->change->copy(child, "new", NULL, "b", &none, &now, &wait, &err));
	ask(VMOFS_QUERY_DIR, "", "a b* d/ e/ new*");
	assert_int_equal(-ESTALE, child->ops->change->remove(child, "b", &wrong, &wait, &err));
	assert_int_equal(0, child->ops->change->remove(child, "b", &now, &wait, &err));
	ask(VMOFS_QUERY_DIR, "", "a d/ e/ new*");
}

static void test_links(void **state UNUSED)
{
	const struct vmofs_change_wait wait = { 0 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version now;

	assert_int_equal(0,
			 child->ops->change->make_link(child, "l", "to", NULL, &now, &wait, &err));
	assert_true(now.exists && now.size == 2);
	ask(VMOFS_QUERY_DIR, "", "a b d/ e/ l*@");
	ask(VMOFS_QUERY_HEAD, "l", "l*@");
	assert_int_equal(-ESTALE,
			 child->ops->change->make_link(child, "l", "to", NULL, &now, &wait, &err));
}

/* ---- the end ---- */

enum { COMERS = 4 };

static atomic_uint n_over;

/* The versions below files that are closed one after the other. */
static void *come_and_go(void *arg)
{
	const struct vmofs_version v = { .exists = true, .size = 10, .validator = "\"1\"" };

	for (unsigned i = 0; i < 20000; i++)
		cow_base_put(cow_base_new(arg, "a", &v));
	atomic_fetch_add(&n_over, 1);
	return NULL;
}

/* Who stops them all meets some whose last reference has just gone. For the sanitizers. */
static void test_stopped_while_the_last_one_goes(void **state UNUSED)
{
	pthread_t t[COMERS];

	for (unsigned i = 0; i < COMERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, come_and_go, cow_of(child)), 0);
	while (atomic_load(&n_over) < COMERS)
		child->ops->stop(child);
	for (unsigned i = 0; i < COMERS; i++)
		pthread_join(t[i], NULL);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_stopped_while_the_last_one_goes),
		CASE(test_nothing_changed),
		CASE(test_made_and_removed),
		CASE(test_directories),
		CASE(test_alone),
		CASE(test_versions),
		CASE(test_links),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	fake_disk_reset();
	return r;
}
