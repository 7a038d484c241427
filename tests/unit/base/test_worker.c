/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking-work thread: order, tasks from tasks, a thread only when there is work. */
#include "base/worker.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/macros.h"

struct note {
	struct worker_task task;
	struct worker *again; /* posts itself once more */
	unsigned id;
};

static unsigned seen[128], nseen;

static void note_run(struct worker_task *t)
{
	struct note *n = container_of(t, struct note, task);
	struct worker *again = n->again;

	seen[nseen++] = n->id;
	n->again = NULL;
	if (again)
		assert_int_equal(worker_post(again, t), 0);
}

static unsigned count_threads(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void test_tasks_run_in_order(void **state UNUSED)
{
	struct worker *w = worker_new("test-worker");
	struct note n[100] = { 0 };

	nseen = 0;
	for (unsigned i = 0; i < 100; i++) {
		n[i] = (struct note){ .task.run = note_run, .id = i };
		assert_int_equal(worker_post(w, &n[i].task), 0);
	}
	worker_free(w);
	assert_int_equal(nseen, 100);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(seen[i], i);
}

static void test_a_task_may_post_itself(void **state UNUSED)
{
	struct worker *w = worker_new("test-worker");
	struct note n = { .task.run = note_run, .again = w, .id = 7 };

	nseen = 0;
	assert_int_equal(worker_post(w, &n.task), 0);
	worker_free(w);
	assert_int_equal(nseen, 2);
}

static void test_no_work_no_thread(void **state UNUSED)
{
	unsigned before = count_threads();
	struct worker *w = worker_new("test-worker");

	assert_non_null(w);
	assert_int_equal(count_threads(), before);
	worker_free(w);
	worker_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tasks_run_in_order),
		cmocka_unit_test(test_a_task_may_post_itself),
		cmocka_unit_test(test_no_work_no_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
