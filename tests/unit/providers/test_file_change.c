/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of a local directory: what is stored is whole, replaces one version and no other, and leaves nothing behind. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "file/file.h"

#define BASE "the base, which is somewhat longer than a page would have to be to matter here"

struct bed {
	char dir[64];
	struct loop_pool *loops;
	struct vmofs_source *s;
	struct vmofs_store st;
	const char *text; /* what is stored */
	int commit;       /* what commit() says */
	void (*at_commit)(struct bed *b);
	unsigned commits;
};

static const struct vmofs_change_wait no_wait = { 0 };

static int bed_read(struct vmofs_store *st, uint64_t off, void *buf, uint64_t len)
{
	memcpy(buf, container_of(st, struct bed, st)->text + off, len);
	return 0;
}

static int bed_commit(struct vmofs_store *st)
{
	struct bed *b = container_of(st, struct bed, st);

	b->commits++;
	if (b->at_commit)
		b->at_commit(b);
	return b->commit;
}

static void put_text(const struct bed *b, const char *name, const char *text)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", b->dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void assert_text(const struct bed *b, const char *name, const char *text)
{
	char path[160], got[512] = "";
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", b->dir, name);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_true(fread(got, 1, sizeof got - 1, f) <= sizeof got);
	fclose(f);
	assert_string_equal(got, text);
}

/* No unfinished file is left. */
static void assert_clean(const struct bed *b)
{
	char command[200];

	snprintf(command, sizeof command, "test -z \"$(ls -A %s | grep unfinished)\"", b->dir);
	assert_int_equal(system(command), 0);
}

static struct vmofs_version look(struct bed *b, const char *key)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version v;
	char nobody[VMOFS_ATTEMPT_LEN + 1];

	vmofs_attempt_new(nobody);
	assert_int_equal(file_change_ops.attempted(b->s, key, nobody, &v, &no_wait, &err), 0);
	return v;
}

/* All of @text, in place of @base. */
static int store(struct bed *b, const char *key, struct vmofs_version base, const char *text)
{
	static struct vmofs_changed all;
	struct vmofs_err err = VMOFS_ERR_INIT;

	all = (struct vmofs_changed){ 0, strlen(text) };
	b->text = text;
	b->st = (struct vmofs_store){
		.key = key,
		.base = base,
		.size = strlen(text),
		.changed = &all,
		.n_changed = all.len > 0,
		.read = bed_read,
		.commit = bed_commit,
	};
	vmofs_attempt_new(b->st.attempt);
	return file_change_ops.store(b->s, &b->st, &err);
}

static int bed_setup(void **state)
{
	struct bed *b = calloc(1, sizeof *b);
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_source_info *info = calloc(1, sizeof *info);
	struct vmofs_provider_env env = { .writable = true };

	strcpy(b->dir, "/tmp/vmofs-file-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	b->loops = loop_pool_new(1, &err);
	env.loops = b->loops;
	assert_int_equal(file_source_ops.open(&b->s, b->dir, &env, info, &err), 0);
	free(info);
	put_text(b, "old", BASE);
	*state = b;
	return 0;
}

static int bed_teardown(void **state)
{
	struct bed *b = *state;
	char command[100];

	b->s->ops->stop(b->s);
	b->s->ops->free(b->s);
	loop_pool_free(b->loops);
	snprintf(command, sizeof command, "rm -r %s", b->dir);
	assert_int_equal(system(command), 0);
	free(b);
	return 0;
}

static void test_store(void **state)
{
	static const struct vmofs_version nothing = { .exists = false };
	struct bed *b = *state;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version v;
	char attempt[VMOFS_ATTEMPT_LEN + 1];

	assert_int_equal(store(b, "new", nothing, "first"), 0);
	assert_text(b, "new", "first");
	v = look(b, "new");
	assert_string_equal(v.validator, b->st.now.validator);
	memcpy(attempt, b->st.attempt, sizeof attempt);
	assert_int_equal(file_change_ops.attempted(b->s, "new", attempt, &v, &no_wait, &err), 1);
	assert_int_equal(store(b, "new", nothing, "second"), -ESTALE);
	assert_int_equal(store(b, "new", v, ""), 0);
	assert_text(b, "new", "");
	assert_int_equal(file_change_ops.attempted(b->s, "new", attempt, &v, &no_wait, &err), 0);
	assert_clean(b);
}

/* Only what has changed is read; the rest is the base's. */
static void test_ranges(void **state)
{
	struct bed *b = *state;
	static const struct vmofs_changed part = { 4, 4 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	char path[100];
	struct stat st;

	snprintf(path, sizeof path, "%s/old", b->dir);
	assert_int_equal(chmod(path, 0751), 0);
	b->text = "....BASE";
	b->st = (struct vmofs_store){
		.key = "old",
		.base = look(b, "old"),
		.size = strlen(BASE) - 1,
		.changed = &part,
		.n_changed = 1,
		.read = bed_read,
		.commit = bed_commit,
	};
	assert_int_equal(file_change_ops.store(b->s, &b->st, &err), 0);
	assert_text(
		b, "old",
		"the BASE, which is somewhat longer than a page would have to be to matter her");
	assert_int_equal(b->st.bytes_up, 4);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0751);
	assert_clean(b);
}

static void somebody_replaces(struct bed *b)
{
	char from[100], to[100];

	put_text(b, "theirs", "theirs");
	snprintf(from, sizeof from, "%s/theirs", b->dir);
	snprintf(to, sizeof to, "%s/old", b->dir);
	assert_int_equal(rename(from, to), 0);
}

/* In the last moment: what has come is put back. */
static void test_conflict(void **state)
{
	struct bed *b = *state;
	struct vmofs_version v = look(b, "old");

	b->at_commit = somebody_replaces;
	assert_int_equal(store(b, "old", v, "ours"), -ESTALE);
	assert_int_equal(b->commits, 1);
	assert_text(b, "old", "theirs");
	assert_clean(b);
	b->at_commit = NULL;
	assert_int_equal(store(b, "old", v, "ours"), -ESTALE);
	assert_int_equal(b->commits, 1);
	assert_int_equal(store(b, "old", look(b, "old"), "ours"), 0);
	assert_text(b, "old", "ours");
}

static void test_called_off(void **state)
{
	struct bed *b = *state;

	b->commit = -ECANCELED;
	assert_int_equal(store(b, "old", look(b, "old"), "ours"), -ECANCELED);
	assert_text(b, "old", BASE);
	assert_clean(b);
}

static void test_names(void **state)
{
	static const struct vmofs_version nothing = { .exists = false };
	const struct vmofs_change_ops *c = &file_change_ops;
	struct bed *b = *state;
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_version old = look(b, "old"), now, other = old;

	strcpy(other.validator, "1-2.3-4");
	assert_int_equal(c->make_dir(b->s, "dir/", NULL, &no_wait, &err), 0);
	assert_int_equal(c->make_dir(b->s, "dir/", NULL, &no_wait, &err), -ESTALE);
	assert_int_equal(c->copy(b->s, "old", &other, "dir/new", &nothing, &now, &no_wait, &err),
			 -ESTALE);
	assert_int_equal(c->copy(b->s, "old", &old, "dir/new", &nothing, &now, &no_wait, &err), 0);
	assert_string_equal(now.validator, old.validator);
	assert_int_equal(c->copy(b->s, "old", &old, "dir/new", &nothing, &now, &no_wait, &err),
			 -ESTALE);
	assert_int_equal(c->remove(b->s, "dir/", NULL, &no_wait, &err), -ENOTEMPTY);
	assert_int_equal(c->remove(b->s, "old", &other, &no_wait, &err), -ESTALE);
	assert_int_equal(c->remove(b->s, "old", &old, &no_wait, &err), 0);
	assert_int_equal(c->remove(b->s, "old", &old, &no_wait, &err), -ENOENT);
	assert_int_equal(c->remove(b->s, "old", NULL, &no_wait, &err), 0);
	assert_text(b, "dir/new", BASE);
	assert_clean(b);
}

/* Nothing outside is reached, whatever a key is. */
/* Who has no more rights than the owner, and a file that nobody may write. */
static void test_xattrs_of_read_only(void **state)
{
	const struct vmofs_xattr a = { "user.a", "b", 1 };
	struct bed *b = *state;
	struct vmofs_change_attr attr = { 0 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_xattrs *x = NULL;
	struct vmofs_version v;
	char path[160], value[8];
	struct stat st;
	int r;

	snprintf(path, sizeof path, "%s/old", b->dir);
	assert_int_equal(vmofs_xattrs_with(NULL, &a, VMOFS_XATTRS_SET, &attr.xattrs), 0);
	assert_int_equal(chmod(path, 0444), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(b->dir, 65534, 65534) | chown(path, 65534, 65534), 0);
		assert_int_equal(seteuid(65534), 0);
	}
	r = file_change_ops.can_xattrs(b->s, attr.xattrs, &err);
	if (r == 0)
		r = file_change_ops.set_attr(b->s, "old", NULL, &attr, &v, &no_wait, &err);
	if (r == 0)
		r = file_change_ops.get_xattrs(b->s, "old", &x, &no_wait, &err);
	assert_int_equal(seteuid(getuid()), 0);
	vmofs_xattrs_put(attr.xattrs);
	vmofs_xattrs_put(x);
	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
	assert_int_equal(getxattr(path, "user.a", value, sizeof value), 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
}

static void test_outside(void **state)
{
	static const struct vmofs_version nothing = { .exists = false };
	static const char *const keys[] = { "../x", "/tmp/vmofs-x", "link/x", "dir/../../x", ".." };
	struct bed *b = *state;
	char path[100];

	snprintf(path, sizeof path, "%s/link", b->dir);
	assert_int_equal(symlink("/tmp", path), 0);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		assert_true(store(b, keys[i], nothing, "x") < 0);
	assert_int_equal(access("/tmp/x", F_OK), -1);
	assert_int_equal(b->commits, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_store, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_ranges, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_conflict, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_called_off, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_names, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_xattrs_of_read_only, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_outside, bed_setup, bed_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
