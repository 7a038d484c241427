/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list as a namespace: what each kind of query gives, in which order and pieces, without a request; rereading;
 * the one request for a size that the list does not say.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <vmofs/source.h>

#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"
#include "daemon/options.h"
#include "lib/httpd.h"

struct asked {
	struct vmofs_query q;
	char text[4096]; /* the keys, each with a blank behind it; sizes as "=N" */
	unsigned stop_after;
	unsigned n;
	struct vmofs_query_result result;
	struct mutex lock;
	struct cond cond;
	bool done;
};

struct fixture {
	char path[256];
	struct vmofs_config *config;
	struct loop_pool *loops;
	struct vmofs_provider_env env;
	struct vmofs_source *s;
	struct vmofs_source_info info;
};

static void write_list(struct fixture *f, const char *text)
{
	char path[300];
	FILE *out;

	snprintf(path, sizeof path, "%s.new", f->path);
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(rename(path, f->path), 0);
}

static void set_up(struct fixture *f, const char *text)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	const char *tmp = getenv("TMPDIR");
	char source[300];
	int fd;

	*f = (struct fixture){ 0 };
	snprintf(f->path, sizeof f->path, "%s/vmofs-list-XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	close(fd);
	write_list(f, text);
	assert_int_equal(options_new_config(&f->config, &err), 0);
	f->loops = loop_pool_new(2, &err);
	assert_non_null(f->loops);
	assert_int_equal(loop_pool_start(f->loops, &err), 0);
	f->env = (struct vmofs_provider_env){ .config = f->config, .loops = f->loops };
	snprintf(source, sizeof source, "list:%s", f->path);
	assert_non_null(vmofs_source_find(source));
	if (vmofs_source_find(source)->open(&f->s, source, &f->env, &f->info, &err) < 0)
		fail_msg("%s", err.msg);
}

static void tear_down(struct fixture *f)
{
	f->s->ops->stop(f->s);
	f->s->ops->free(f->s);
	loop_pool_stop(f->loops);
	loop_pool_free(f->loops);
	config_free(f->config);
	unlink(f->path);
}

static bool take(struct vmofs_query *q, const struct vmofs_entry *v, unsigned n)
{
	struct asked *a = container_of(q, struct asked, q);

	for (unsigned i = 0; i < n; i++, a->n++) {
		size_t at = strlen(a->text);

		assert_int_equal(strlen(v[i].key), v[i].key_len);
		assert_int_equal(v[i].type == VMOFS_ENTRY_PREFIX,
				 v[i].key[v[i].key_len - 1] == '/' &&
					 v[i].size == VMOFS_SIZE_UNKNOWN);
		snprintf(a->text + at, sizeof a->text - at, "%s", v[i].key);
		at = strlen(a->text);
		if (v[i].type == VMOFS_ENTRY_FILE && v[i].size != VMOFS_SIZE_UNKNOWN)
			snprintf(a->text + at, sizeof a->text - at, "=%d%s", (int)v[i].size,
				 v[i].validator);
		at = strlen(a->text);
		snprintf(a->text + at, sizeof a->text - at, " ");
	}
	return !a->stop_after || a->n < a->stop_after;
}

static void ended(struct vmofs_query *q, const struct vmofs_query_result *result)
{
	struct asked *a = container_of(q, struct asked, q);

	mutex_lock(&a->lock);
	a->result = *result;
	a->done = true;
	cond_signal(&a->cond);
	mutex_unlock(&a->lock);
}

static void ask(struct fixture *f, struct asked *a)
{
	a->q.entries = take;
	a->q.done = ended;
	a->text[0] = '\0';
	a->done = false;
	a->n = 0;
	mutex_init(&a->lock, LOCK_RANK_LOG);
	cond_init(&a->cond);
	f->s->ops->query(f->s, &a->q);
	mutex_lock(&a->lock);
	while (!a->done)
		cond_wait(&a->cond, &a->lock);
	mutex_unlock(&a->lock);
	cond_destroy(&a->cond);
	mutex_destroy(&a->lock);
}

static void check(struct fixture *f, enum vmofs_query_kind kind, const char *key, const char *want)
{
	struct asked a = { .q = { .kind = kind, .key = key, .after = "" } };

	ask(f, &a);
	assert_int_equal(a.result.code, 0);
	assert_int_equal(a.result.requests, 0);
	assert_string_equal(a.text, want);
}

static const char tree[] = "a/b/c\thttp://h/c\t3\n"
			   "a\thttp://h/a\t1\t\"v\"\n"
			   "a.x\thttp://h/x\n"
			   "a/b/d/e\thttp://h/e\t5\n"
			   "a//f\thttp://h/f\t6\n"
			   "a0\thttp://h/0\t0\n"
			   "empty/\n";

static void test_queries_of_memory(void **state UNUSED)
{
	struct fixture f;

	set_up(&f, tree);
	assert_true(f.info.complete);
	assert_int_equal(f.info.can, BIT(VMOFS_NQUERIES) - 1);
	check(&f, VMOFS_QUERY_DIR, "", "a=1\"v\" a.x a/ a0=0 empty/ ");
	check(&f, VMOFS_QUERY_DIR, "a/", "a// a/b/ ");
	check(&f, VMOFS_QUERY_DIR, "a//", "a//f=6 ");
	check(&f, VMOFS_QUERY_DIR, "a/b/", "a/b/c=3 a/b/d/ ");
	check(&f, VMOFS_QUERY_DIR, "nothing/", "");
	check(&f, VMOFS_QUERY_NAME, "a", "a=1\"v\" a/ ");
	check(&f, VMOFS_QUERY_NAME, "a/b", "a/b/ ");
	check(&f, VMOFS_QUERY_NAME, "a.x", "a.x ");
	check(&f, VMOFS_QUERY_NAME, "a/b/c/d", "");
	check(&f, VMOFS_QUERY_HEAD, "a/b/c", "a/b/c=3 ");
	check(&f, VMOFS_QUERY_HEAD, "nothing", "");
	check(&f, VMOFS_QUERY_FLAT, "", "a=1\"v\" a.x a//f=6 a/b/c=3 a/b/d/e=5 a0=0 empty/=0 ");
	check(&f, VMOFS_QUERY_FLAT, "a/b/", "a/b/c=3 a/b/d/e=5 ");
	tear_down(&f);
}

static void test_flat_in_pieces(void **state UNUSED)
{
	struct fixture f;
	struct asked a = {
		.q = { .kind = VMOFS_QUERY_FLAT, .key = "", .after = "a.x", .limit = 2 }
	};

	set_up(&f, tree);
	ask(&f, &a);
	assert_string_equal(a.text, "a//f=6 a/b/c=3 ");
	assert_true(a.result.more);
	a.q.after = "a/b/cc"; /* which is not there */
	a.q.limit = 3;
	ask(&f, &a);
	assert_string_equal(a.text, "a/b/d/e=5 a0=0 empty/=0 ");
	assert_false(a.result.more);
	tear_down(&f);
}

/* Batches are of a bounded size, so the asker is heard soon. */
static void test_an_asker_who_has_enough(void **state UNUSED)
{
	struct fixture f;
	struct asked a = { .q = { .kind = VMOFS_QUERY_FLAT, .key = "", .after = "" },
			   .stop_after = 1 };
	char *text = malloc(1000 * 32);
	size_t n = 0;

	for (unsigned i = 0; i < 1000; i++)
		n += (size_t)sprintf(text + n, "%03u\thttp://h/%u\t1\n", i, i);
	set_up(&f, text);
	free(text);
	ask(&f, &a);
	assert_int_equal(a.result.code, 0);
	assert_true(a.n >= 1 && a.n < 1000);
	tear_down(&f);
}

static void test_rereading(void **state UNUSED)
{
	struct fixture f;

	set_up(&f, "a\thttp://h/a\t1\n");
	assert_false(f.s->ops->changed(f.s));
	write_list(&f, "b\thttp://h/b\t2\n");
	assert_true(f.s->ops->changed(f.s));
	assert_false(f.s->ops->changed(f.s));
	check(&f, VMOFS_QUERY_DIR, "", "b=2 ");
	write_list(&f, "bad\n");
	assert_false(f.s->ops->changed(f.s));
	check(&f, VMOFS_QUERY_DIR, "", "b=2 ");
	unlink(f.path);
	assert_false(f.s->ops->changed(f.s));
	write_list(&f, "c\thttp://other/c\t3\n");
	assert_true(f.s->ops->changed(f.s));
	check(&f, VMOFS_QUERY_DIR, "", "c=3 ");
	tear_down(&f);
}

static void test_sizes_are_asked_for(void **state UNUSED)
{
	struct httpd *h = httpd_new(12345, NULL);
	struct asked a = { .q = { .kind = VMOFS_QUERY_HEAD, .key = "a" } };
	struct vmofs_provider_stats *st = calloc(1, sizeof *st);
	struct fixture f;
	char text[512];

	snprintf(text, sizeof text, "a\t%s\nb\t%s\n", httpd_url(h, "/object"),
		 httpd_url(h, "/redirect"));
	set_up(&f, text);
	check(&f, VMOFS_QUERY_NAME, "a", "a ");
	assert_int_equal(httpd_requests(h), 0);
	ask(&f, &a);
	assert_string_equal(a.text, "a=12345\"v0\" ");
	assert_int_equal(a.result.requests, 1);
	assert_int_equal(httpd_requests(h), 1);
	a.q.key = "b";
	ask(&f, &a);
	assert_string_equal(a.text, "b=12345\"v0\" ");
	assert_int_equal(a.result.requests, 2);
	/* A server that does not know HEAD is asked for the first byte. */
	httpd_set(h, "no-head=1");
	a.q.key = "a";
	ask(&f, &a);
	assert_string_equal(a.text, "a=12345\"v0\" ");
	/* A weak tag is no version; the date is. */
	httpd_set(h, "weak-etag=1");
	ask(&f, &a);
	assert_string_equal(a.text, "a=12345Sun, 09 Sep 2001 01:46:40 GMT ");
	f.s->ops->stats(f.s, st);
	assert_int_equal(st->requests, httpd_requests(h));
	free(st);
	tear_down(&f);
	httpd_free(h);
}

/* A size that is found at the end of a redirect: the other server sees no password and no header of ours. */
static void test_credentials_stay_with_their_server(void **state UNUSED)
{
	struct httpd *first = httpd_new(1, NULL);
	struct httpd *other = httpd_new(777, NULL);
	struct asked a = { .q = { .kind = VMOFS_QUERY_HEAD, .key = "a" } };
	struct httpd_entry e;
	struct fixture f;
	char text[512];

	snprintf(text, sizeof text, "redirect=%s", httpd_url(other, "/object"));
	httpd_set(first, text);
	snprintf(text, sizeof text, "a\thttp://me:secret@%s\n",
		 httpd_url(first, "/redirect") + strlen("http://"));
	set_up(&f, text);
	ask(&f, &a);
	assert_string_equal(a.text, "a=777\"v0\" ");
	assert_true(httpd_entry(first, 0, &e));
	assert_memory_equal(e.authorization, "Basic ", 6);
	assert_int_equal(httpd_requests(other), 1);
	assert_true(httpd_entry(other, 0, &e));
	assert_string_equal(e.authorization, "");
	tear_down(&f);
	httpd_free(first);
	httpd_free(other);
}

static void test_after_the_stop(void **state UNUSED)
{
	struct asked a = { .q = { .kind = VMOFS_QUERY_DIR, .key = "" } };
	struct fixture f;

	set_up(&f, tree);
	f.s->ops->stop(f.s);
	ask(&f, &a);
	assert_int_equal(a.result.code, -ESHUTDOWN);
	assert_int_equal(a.n, 0);
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queries_of_memory),
		cmocka_unit_test(test_flat_in_pieces),
		cmocka_unit_test(test_an_asker_who_has_enough),
		cmocka_unit_test(test_rereading),
		cmocka_unit_test(test_sizes_are_asked_for),
		cmocka_unit_test(test_credentials_stay_with_their_server),
		cmocka_unit_test(test_after_the_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
