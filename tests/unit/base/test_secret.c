/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for secrets: what the kernel was told of it, that it is cleared, and that blocks do not
 * overlap whatever is freed in between.
 */
#include "base/secret.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/sync.h"
#include "lib/prng.h"

/* Whether the mapping of @p has the two-letter flag in /proc/self/smaps. */
static bool has_flag(const void *p, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[4096];
	bool here = false, found = false;

	assert_non_null(f);
	while (!found && fgets(line, sizeof line, f)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (here && !strncmp(line, "VmFlags:", 8))
			found = strstr(line + 8, flag) != NULL;
	}
	fclose(f);
	return found;
}

static void test_kept_out_of_dumps_and_children(void **state UNUSED)
{
	char *p = secret_copy("swordfish", 9);
	char *ordinary = malloc(64);

	assert_string_equal(p, "swordfish");
	assert_true(has_flag(p, " dd"));
	assert_true(has_flag(p, " dc"));
	assert_false(has_flag(ordinary, " dd"));
#ifndef VMOFS_SANITIZED /* mlock() does nothing under a sanitizer */
	assert_true(has_flag(p, " lo"));
#endif
	free(ordinary);
	secret_free(p);
}

static void test_cleared_when_freed(void **state UNUSED)
{
	char *keep = secret_copy("a", 1); /* holds the mapping */
	char *p = secret_copy("swordfish", 9);
	char *q;
	const volatile char *after = p;

	errno = ENOTTY;
	secret_free(p);
	assert_int_equal(errno, ENOTTY);
	for (int i = 0; i < 9; i++)
		assert_int_equal(after[i], 0);
	p = secret_copy("swordfish", 9);
	after = p;
	q = secret_realloc(p, 5000);
	assert_string_equal(q, "swordfish");
	assert_int_equal(q[4999], 0);
	for (int i = 0; i < 9 && q != p; i++)
		assert_int_equal(after[i], 0);
	p = secret_realloc(q, 5);
	assert_memory_equal(p, "sword", 5);
	secret_free(p);
	secret_free(keep);
	secret_free(NULL);
}

static void test_sizes(void **state UNUSED)
{
	void *none = secret_alloc(0);
	char *large = secret_alloc(1 << 20);

	assert_non_null(none);
	assert_non_null(large);
	assert_true(has_flag(large + (1 << 20) - 1, " dd"));
	memset(large, 1, 1 << 20);
	assert_null(secret_alloc(SIZE_MAX));
	assert_null(secret_alloc(SIZE_MAX - 8));
	assert_null(secret_realloc(large, SIZE_MAX));
	assert_int_equal(large[0], 1);
	secret_free(large);
	secret_free(none);
}

enum { BLOCKS = 64, ROUNDS = 20000 };

struct block {
	uint8_t *p;
	size_t n;
	uint8_t mark;
};

static void check_and_free(struct block *b)
{
	for (size_t i = 0; i < b->n; i++)
		assert_int_equal(b->p[i], b->mark);
	secret_free(b->p);
	b->p = NULL;
}

static void take(struct block *b, struct prng *rng)
{
	b->n = prng_below(rng, prng_chance(rng, 5) ? 9000 : 300);
	b->mark = (uint8_t)prng_below(rng, 256);
	b->p = secret_alloc(b->n);
	assert_non_null(b->p);
	assert_int_equal((uintptr_t)b->p % 16, 0);
	for (size_t i = 0; i < b->n; i++)
		assert_int_equal(b->p[i], 0);
	memset(b->p, b->mark, b->n);
}

static void churn(uint64_t seed)
{
	struct block blocks[BLOCKS] = { 0 };
	struct prng rng = { seed };

	for (int i = 0; i < ROUNDS; i++) {
		struct block *b = &blocks[prng_below(&rng, BLOCKS)];

		if (b->p)
			check_and_free(b);
		else
			take(b, &rng);
	}
	for (int i = 0; i < BLOCKS; i++)
		if (blocks[i].p)
			check_and_free(&blocks[i]);
}

static void *churn_thread(void *arg)
{
	churn((uintptr_t)arg);
	return NULL;
}

static void test_blocks_do_not_overlap(void **state UNUSED)
{
	pthread_t other;

	assert_int_equal(pthread_create(&other, NULL, churn_thread, (void *)7), 0);
	churn(1);
	assert_int_equal(pthread_join(other, NULL), 0);
}

/* Two mappings without the right to lock them; what is logged goes to @log. */
static int without_right(int log)
{
	struct rlimit none = { 0, 0 };
	char *p, *large;

	if (dup2(log, STDERR_FILENO) < 0 || setrlimit(RLIMIT_MEMLOCK, &none) < 0 ||
	    (geteuid() == 0 && setuid(65534) < 0))
		return 1;
	p = secret_copy("swordfish", 9);
	large = secret_alloc(1 << 20);
	return p && large && !strcmp(p, "swordfish") && has_flag(p, " dd") ? 0 : 2;
}

/* In a child, as the limit stays. */
static void test_without_a_right_to_lock(void **state UNUSED)
{
	char text[2048] = "";
	int fds[2], status = -1;
	ssize_t n;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(without_right(fds[1]));
	close(fds[1]);
	n = read(fds[0], text, sizeof text - 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
#ifdef VMOFS_SANITIZED /* mlock() does nothing under a sanitizer, so nothing is said */
	assert_int_equal(n, 0);
#else
	assert_true(n > 0);
	assert_non_null(strstr(text, "cannot lock the memory of access keys"));
	n = read(fds[0], text, sizeof text - 1);
	assert_int_equal(n, 0); /* once */
	assert_null(strchr(strchr(text, '\n') + 1, '\n'));
#endif
	close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_a_right_to_lock), /* before anything is mapped */
		cmocka_unit_test(test_kept_out_of_dumps_and_children),
		cmocka_unit_test(test_cleared_when_freed),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_blocks_do_not_overlap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
