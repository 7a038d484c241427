/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are changed here, without FUSE: when they are held and settled, what the origin is told and in which order.
 */
#include "local_scene.h"

/* ---- held and settled ---- */

static void opened_and_not_changed(void **state UNUSED)
{
	uint64_t ino = ino_of("a/f");
	struct local_handle *h = open_write("a/f");

	fake_source_put(f.source, "a/f", 9, "\"9\"");
	ttl_passes();
	assert_int_equal(ino_of("a/f"), ino);
	close_handle(h);
	ttl_passes();
	assert_true(ino_of("a/f") != ino);
	assert_told("");
}

static void changed_until_it_is_stored(void **state UNUSED)
{
	uint64_t ino = ino_of("a/f");
	struct local_handle *h = open_write("a/f");
	struct wfile *w = wfile_get(local_wfile(h));

	assert_int_equal(wfile_truncate(w, 0), 0);
	assert_int_equal(stat_of("a/f").st_size, 0);
	close_handle(h);
	ttl_passes();
	assert_int_equal(stat_of("a/f").st_size, 0);
	store(w);
	wfile_put(w);
	ttl_passes();
	assert_int_equal(ino_of("a/f"), ino);
	assert_int_equal(stat_of("a/f").st_size, 0);
}

/* Who closes it finds it being stored, and then that it is; only after that the local is told. */
static void stored_while_it_is_closed(void **state UNUSED)
{
	struct local_handle *h = open_write("a/f");
	struct vmofs_version base;
	uint64_t ino = ino_of("a/f");
	struct wfile *w = local_wfile(h);

	assert_int_equal(wfile_truncate(w, 70000), 0);
	w->state = WFILE_STORING;
	ends_after_look = wfile_get(w);
	close_handle(h);
	wfile_base(w, &base);
	local_stored(l, ino, &base);
	wfile_put(w);
	assert_int_equal(stat_of("a/f").st_size, 70000);
	/* From now on it is the origin's again. */
	fake_source_put(f.source, "a/f", 9, "\"9\"");
	ttl_passes();
	assert_int_equal(stat_of("a/f").st_size, 9);
}

static void stored_while_it_is_open(void **state UNUSED)
{
	struct local_handle *h = open_write("a/f");
	uint64_t ino = ino_of("a/f");

	assert_int_equal(wfile_truncate(local_wfile(h), 0), 0);
	store(local_wfile(h));
	fake_source_put(f.source, "a/f", 9, "\"9\"");
	ttl_passes();
	assert_int_equal(ino_of("a/f"), ino);
	close_handle(h);
	ttl_passes();
	assert_true(ino_of("a/f") != ino);
}

static void readers_share_its_pages(void **state UNUSED)
{
	struct local_handle *r = open_read("a/f");
	struct local_handle *w = open_write("a/f");

	assert_ptr_equal(local_object(r)->vmo, local_object(w)->vmo);
	assert_null(local_wfile(r));
	close_handle(w);
	assert_int_equal(vmo_size(local_object(r)->vmo), 5);
	close_handle(r);
}

static void rests_with_its_pages(void **state UNUSED)
{
	struct local_handle *h = open_write("a/f");
	struct fs_object *o = local_object(h);
	struct wfile *w = local_wfile(h);

	close_handle(h);
	h = open_write("a/f");
	assert_ptr_equal(local_wfile(h), w);
	close_handle(h);
	h = open_read("a/f");
	assert_ptr_equal(local_object(h), o);
	close_handle(h);
}

static void closed_by_the_last_writer(void **state UNUSED)
{
	struct local_handle *a = open_write("a/f"), *b = open_write("a/f"), *r = open_read("a/f");

	close_waits = false;
	close_handle(a);
	assert_told("");
	close_handle(b);
	assert_told("closed a/f; ");
	close_handle(r);
	assert_told("");
}

static void truncated_by_open(void **state UNUSED)
{
	struct local_handle *h;

	assert_int_equal(local_open_write(l, ino_of("a/f"), true, &h), 0);
	assert_int_equal(stat_of("a/f").st_size, 0);
	store(local_wfile(h));
	close_handle(h);
}

static void sync_outlives_its_handle(void **state UNUSED)
{
	struct local_handle *h = open_write("a/f");
	struct local_handle *r = open_read("a/f");
	struct local_sync s;

	assert_true(local_sync_begin(l, h, false, &s));
	close_handle(h);
	assert_int_equal(local_sync_wait(l, &s), 0);
	local_sync_end(l, &s);
	assert_true(local_sync_begin(l, r, true, &s));
	assert_int_equal(local_sync_wait(l, &s), 0);
	local_sync_end(l, &s);
	close_handle(r);
	assert_told("fsync a/f; closed a/f; ");
	r = open_read("a/g");
	assert_false(local_sync_begin(l, r, false, &s));
	close_handle(r);
}

/* ---- made ---- */

static void created(void **state UNUSED)
{
	struct local_handle *h = create("a", "n", true, 0);
	struct stat st = stat_of("a/n");

	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_size, 0);
	assert_true(st.st_mtim.tv_sec > 0);
	ttl_passes();
	assert_int_equal(ino_of("a/n"), st.st_ino);
	store(local_wfile(h));
	close_handle(h);
	ttl_passes();
	assert_int_equal(ino_of("a/n"), st.st_ino);
	assert_int_equal(stat_of("a/n").st_mode, S_IFREG | 0640);
	assert_told("");
}

static void created_where_something_is(void **state UNUSED)
{
	struct local_handle *h;

	(void)ino_of("a/f");
	(void)create("a", "f", true, -EEXIST);
	h = create("a", "f", false, 0);
	assert_int_equal(vmo_size(local_object(h)->vmo), 5);
	close_handle(h);
}

/* ---- unlink ---- */

static void unlinked(void **state UNUSED)
{
	assert_int_equal(local_unlink(l, ino_of("a"), "f"), 0);
	assert_none("a/f");
	assert_told("remove a/f any; ");
	assert_int_equal(local_unlink(l, ino_of("a"), "f"), -ENOENT);
	assert_int_equal(local_unlink(l, FS_TREE_ROOT, "a"), -EISDIR);
}

static void unlink_that_fails(void **state UNUSED)
{
	fail_with = -EACCES;
	assert_int_equal(local_unlink(l, ino_of("a"), "f"), -EACCES);
	(void)ino_of("a/f");
}

static void unlinked_while_open(void **state UNUSED)
{
	struct local_handle *h = open_read("a/f");

	assert_int_equal(local_unlink(l, ino_of("a"), "f"), 0);
	assert_told("");
	ttl_passes();
	assert_none("a/f");
	assert_string_equal(fixture_ls(&f, "a"), "g ");
	close_handle(h);
	assert_told("remove a/f \"1\"; ");
	ttl_passes();
	assert_none("a/f");
}

static void unlinked_before_it_was_stored(void **state UNUSED)
{
	struct local_handle *h = create("a", "n", true, 0);

	assert_int_equal(local_unlink(l, ino_of("a"), "n"), 0);
	assert_none("a/n");
	assert_int_equal(wfile_truncate(local_wfile(h), 100), 0);
	close_handle(h);
	assert_told("");
}

static void made_again_while_the_old_one_is_open(void **state UNUSED)
{
	struct local_handle *old = open_read("a/f");
	struct local_handle *h;

	assert_int_equal(local_unlink(l, ino_of("a"), "f"), 0);
	h = create("a", "f", true, 0);
	assert_told("fetch a/f; ");
	/* From the beginning: its first store may be due at once. */
	assert_string_equal(local_wfile(h)->base.validator, "\"1\"");
	assert_int_equal(wfile_state(local_wfile(h)), WFILE_DIRTY);
	store(local_wfile(h));
	close_handle(h);
	close_handle(old);
	assert_told("");
	/* The one that replaces it sees to it that it goes, also when it goes itself. */
	old = open_read("a/g");
	assert_int_equal(local_unlink(l, ino_of("a"), "g"), 0);
	assert_told("");
	close_handle(create("a", "g", true, 0));
	close_handle(old);
	assert_int_equal(local_unlink(l, ino_of("a"), "g"), 0);
	assert_told("fetch a/g; remove a/g any; ");
}

/* ---- directories ---- */

static void directories(void **state UNUSED)
{
	const struct local_create c = { .parent = ino_of("a"), .name = "d", .mode = 0755 };
	struct fs_tree_attr a;

	assert_int_equal(local_mkdir(l, &c, &a), 0);
	assert_true(S_ISDIR(a.st.st_mode));
	assert_told("mkdir a/d/; ");
	assert_int_equal(local_rmdir(l, FS_TREE_ROOT, "a"), -ENOTEMPTY);
	assert_int_equal(local_rmdir(l, ino_of("a"), "f"), -ENOTDIR);
	assert_int_equal(local_rmdir(l, ino_of("a"), "d"), 0);
	assert_told("remove a/d/ any; ");
	assert_none("a/d");
	fail_with = -ESTALE;
	assert_int_equal(local_mkdir(l, &c, &a), -EEXIST);
	assert_int_equal(local_symlink(l, &c, "f", &a), -EPERM);
}

/* ---- rename ---- */

static void renamed_before_it_was_stored(void **state UNUSED)
{
	struct local_handle *h = create("a", "tmp", true, 0);
	uint64_t ino = ino_of("a/tmp");

	(void)ino_of("a/f");
	assert_int_equal(rename_to("a", "tmp", "a", "f"), 0);
	assert_told("renamed a/tmp to a/f \"1\"; ");
	assert_int_equal(ino_of("a/f"), ino);
	assert_none("a/tmp");
	store(local_wfile(h));
	close_handle(h);
	ttl_passes();
	assert_int_equal(ino_of("a/f"), ino);
}

/* What it was to replace does not come back under the name that it had in between. */
static void renamed_and_renamed_again(void **state UNUSED)
{
	struct local_handle *h = create("a", "tmp", true, 0);

	assert_int_equal(rename_to("a", "tmp", "a", "f"), 0);
	assert_int_equal(rename_to("a", "f", "a", "n"), 0);
	assert_told("renamed a/tmp to a/f \"1\"; store a/f; copy a/f \"s\" to a/n none; "
		    "renamed a/f to a/n \"c\"; remove a/f \"s\"; ");
	close_handle(h);
	h = create("a", "tmp", true, 0);
	assert_int_equal(rename_to("a", "tmp", "a", "g"), 0);
	close_handle(h);
	assert_int_equal(local_unlink(l, ino_of("a"), "g"), 0);
	assert_told("renamed a/tmp to a/g \"2\"; remove a/g any; ");
}

static void renamed_over_one_that_is_not_stored(void **state UNUSED)
{
	struct local_handle *t = create("a", "t", true, 0);
	struct local_handle *h = create("a", "n", true, 0);

	assert_int_equal(rename_to("a", "n", "a", "t"), 0);
	assert_told("renamed a/n to a/t none; ");
	assert_int_equal(wfile_state(local_wfile(t)), WFILE_GONE);
	close_handle(t);
	close_handle(h);
}

static void renamed_at_the_origin(void **state UNUSED)
{
	uint64_t ino = ino_of("a/f");

	assert_int_equal(rename_to("a", "f", "a", "n"), 0);
	assert_told("copy a/f \"1\" to a/n none; remove a/f \"1\"; ");
	assert_int_equal(ino_of("a/n"), ino);
	assert_none("a/f");
	ttl_passes();
	assert_int_equal(ino_of("a/n"), ino);
	assert_int_equal(rename_to("a", "n", "a", "g"), 0);
	assert_told("copy a/n \"c\" to a/g \"2\"; remove a/n \"c\"; ");
	assert_int_equal(ino_of("a/g"), ino);
}

static void renamed_while_it_is_written(void **state UNUSED)
{
	struct local_handle *h = open_write("a/f");

	assert_int_equal(wfile_truncate(local_wfile(h), 0), 0);
	busy_once = true;
	assert_int_equal(rename_to("a", "f", "a", "n"), 0);
	assert_told(
		"store a/f; copy a/f \"s\" to a/n none; store a/f; copy a/f \"s\" to a/n \"c\"; "
		"renamed a/f to a/n \"c\"; remove a/f \"s\"; ");
	close_handle(h);
	(void)ino_of("a/n");
	assert_none("a/f");
}

static void renamed_while_it_is_read(void **state UNUSED)
{
	struct local_handle *h = open_read("a/f");

	assert_int_equal(rename_to("a", "f", "a", "n"), 0);
	assert_told("store a/f; copy a/f \"1\" to a/n none; renamed a/f to a/n \"c\"; "
		    "remove a/f \"1\"; ");
	close_handle(h);
}

static void rename_that_fails(void **state UNUSED)
{
	fail_with = -EACCES;
	assert_int_equal(rename_to("a", "f", "a", "n"), -EACCES);
	fail_with = 0;
	assert_none("a/n");
	ttl_passes();
	(void)ino_of("a/f");
	assert_told("copy a/f \"1\" to a/n none; ");
}

static void rename_that_must_not_replace(void **state UNUSED)
{
	struct local_rename rn = {
		.parent = ino_of("a"),
		.name = "f",
		.new_parent = ino_of("a"),
		.new_name = "g",
		.no_replace = true,
	};

	assert_int_equal(local_rename(l, &rn), -EEXIST);
	rn.new_name = "f";
	rn.no_replace = false;
	assert_int_equal(local_rename(l, &rn), 0);
	rn.name = "none";
	assert_int_equal(local_rename(l, &rn), -ENOENT);
	assert_told("");
}

static void renamed_directories(void **state UNUSED)
{
	const struct local_create c = { .parent = FS_TREE_ROOT, .name = "d", .mode = 0755 };
	struct fs_tree_attr a;

	assert_int_equal(local_mkdir(l, &c, &a), 0);
	told[0] = '\0';
	assert_int_equal(rename_to("", "d", "a", "f"), -ENOTDIR);
	assert_int_equal(rename_to("a", "f", "", "d"), -EISDIR);
	assert_int_equal(rename_to("", "d", "a", "e"), 0);
	assert_told("mkdir a/e/; remove d/ any; ");
	assert_int_equal(ino_of("a/e"), a.st.st_ino);
}

/* Who has open what is replaced reads on: it comes here before the origin loses it, and is not evicted. */
static void renamed_over_what_is_open(void **state UNUSED)
{
	struct local_handle *r = open_read("a/f");
	struct vmo *v = vmo_get(local_object(r)->vmo);

	assert_int_equal(rename_to("a", "g", "a", "f"), 0);
	assert_told("fetch a/f; copy a/g \"2\" to a/f \"1\"; remove a/g \"2\"; ");
	assert_int_equal(vmo_evict(v, 0, 5, false), 0);
	assert_int_equal(vmo_n_resident(v), 1);
	close_handle(r);
	vmo_put(v);
}

/* The other one's contents are kept, too, where it was removed before: by a file that the origin has, or does not have yet. */
static void renamed_over_what_was_removed(void **state UNUSED)
{
	struct local_handle *r = open_read("a/f"), *h;
	struct vmo *v = vmo_get(local_object(r)->vmo);

	assert_int_equal(local_unlink(l, ino_of("a"), "f"), 0);
	assert_int_equal(rename_to("a", "g", "a", "f"), 0);
	assert_told("fetch a/f; copy a/g \"2\" to a/f \"1\"; remove a/g \"2\"; ");
	assert_int_equal(vmo_evict(v, 0, 5, false), 0);
	assert_int_equal(vmo_n_resident(v), 1);
	close_handle(r);
	vmo_put(v);
	r = open_read("a/f");
	assert_int_equal(local_unlink(l, ino_of("a"), "f"), 0);
	h = create("a", "n", true, 0);
	assert_int_equal(rename_to("a", "n", "a", "f"), 0);
	assert_told("fetch a/f; renamed a/n to a/f \"c\"; ");
	close_handle(r);
	close_handle(h);
}

/* ---- deciding, starting ---- */

static void given_up(void **state UNUSED)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	uint64_t ino = ino_of("a/f");
	struct local_handle *h = open_write("a/f");

	assert_int_equal(wfile_truncate(local_wfile(h), 0), 0);
	assert_int_equal(local_resolve(l, ino, WFILE_KEEP_REMOTE, NULL, &err), 0);
	assert_true(ino_of("a/f") != ino);
	assert_int_equal(stat_of("a/f").st_size, 5);
	close_handle(h);
	assert_int_equal(local_resolve(l, ino_of("a/g"), WFILE_KEEP_REMOTE, NULL, &err), -ENOENT);
}

static void recovered(void **state UNUSED)
{
	struct wfile *w;

	assert_int_equal(local_recover(l), 0);
	w = writer_find(NULL, ino_of("a/r"));
	assert_non_null(w);
	ttl_passes();
	(void)ino_of("a/r");
	store(w);
	wfile_put(w);
	wfile_put(w); /* the writer's own */
	/* What became of the other the origin tells. */
	assert_none("a/s");
}

/* Others may have set some since it was looked at, of the same version: those stay. */
static void attributes_of_others_stay(void **state UNUSED)
{
	const struct vmofs_xattr theirs = { "user.theirs", "x", 1 }, ours = { "user.ours", "y", 1 };
	struct vmofs_xattrs *x;
	struct vmofs_xattr a;
	uint64_t ino = ino_of("a/f");
	struct wfile *w;

	assert_int_equal(local_xattrs(l, ino, &x), 0);
	assert_false(vmofs_xattrs_find(x, "user.theirs", &a));
	vmofs_xattrs_put(x);
	assert_int_equal(vmofs_xattrs_with(NULL, &theirs, VMOFS_XATTRS_SET, &origin_xattrs), 0);
	assert_int_equal(local_set_xattr(l, ino, &ours, VMOFS_XATTRS_SET), 0);
	assert_int_equal(local_xattrs(l, ino, &x), 0);
	assert_true(vmofs_xattrs_find(x, "user.ours", &a));
	assert_true(vmofs_xattrs_find(x, "user.theirs", &a));
	vmofs_xattrs_put(x);
	vmofs_xattrs_put(steal_ptr(&origin_xattrs));
	w = writer_find(NULL, ino);
	store(w);
	wfile_put(w);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(opened_and_not_changed),
		T(attributes_of_others_stay),
		T(changed_until_it_is_stored),
		T(stored_while_it_is_closed),
		T(stored_while_it_is_open),
		T(readers_share_its_pages),
		T(rests_with_its_pages),
		T(closed_by_the_last_writer),
		T(truncated_by_open),
		T(sync_outlives_its_handle),
		T(created),
		T(created_where_something_is),
		T(unlinked),
		T(unlink_that_fails),
		T(unlinked_while_open),
		T(unlinked_before_it_was_stored),
		T(made_again_while_the_old_one_is_open),
		T(directories),
		T(renamed_before_it_was_stored),
		T(renamed_and_renamed_again),
		T(renamed_over_one_that_is_not_stored),
		T(renamed_at_the_origin),
		T(renamed_while_it_is_written),
		T(renamed_while_it_is_read),
		T(renamed_over_what_is_open),
		T(renamed_over_what_was_removed),
		T(rename_that_fails),
		T(rename_that_must_not_replace),
		T(renamed_directories),
		T(given_up),
		T(recovered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
