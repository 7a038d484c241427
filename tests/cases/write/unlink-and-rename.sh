#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Names: files are removed while they are open, renamed before and after they are stored and over others; directories come and go.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

write_start
make_object big 9000000
s3_put "$SRV/big" s3://bucket/big
echo stored | s3_put - s3://bucket/stored
echo below | s3_put - s3://bucket/dir/below
# So that files are not stored behind the case's back.
write_mount "$MNT" write-age=600s

python3 - "$MNT" "$SRV/big" <<'PY'
import os, sys
mnt = sys.argv[1]
with open(mnt + "/big", "r+b") as f, open(sys.argv[2], "rb") as want:
    os.unlink(mnt + "/big")
    assert not os.path.exists(mnt + "/big"), "the name is there"
    assert os.fstat(f.fileno()).st_nlink == 0, "it has a link"
    assert f.read() == want.read(), "an open file that was removed has other bytes"
    f.seek(5000); f.write(b"changed"); f.flush(); f.seek(4999)
    want.seek(4999)
    assert f.read(9)[1:8] == b"changed", "it cannot be written"
    f.truncate(10)
    assert os.fstat(f.fileno()).st_size == 10
    os.fsync(f.fileno())
with open(mnt + "/fresh", "w+") as f:
    f.write("text"); f.flush()
    os.unlink(mnt + "/fresh")
    f.seek(0)
    assert f.read() == "text", "a new file that was removed"
assert "fresh" not in os.listdir(mnt) and "big" not in os.listdir(mnt)
PY
is_absent big || fail "big is still in the bucket"
is_absent fresh || fail "a file that was removed has been stored"

echo fresh >"$MNT/a"
mv "$MNT/a" "$MNT/b"                        # not stored yet
assert_eq fresh "$(cat "$MNT/b")"
mv "$MNT/stored" "$MNT/dir/renamed"         # stored, unchanged
assert_eq stored "$(cat "$MNT/dir/renamed")"
assert_text dir/renamed stored
is_absent stored || fail "the old name is in the bucket"
echo more >>"$MNT/dir/renamed"
mv "$MNT/dir/renamed" "$MNT/back"           # stored, changed
assert_eq "stored more" "$(tr '\n' ' ' <"$MNT/back" | sed 's/ $//')"
echo over >"$MNT/over"
sync_all
mv -f "$MNT/b" "$MNT/over"                  # over a stored one
assert_eq fresh "$(cat "$MNT/over")"
sync_all
assert_text over fresh
is_absent b || fail "the old name is in the bucket"
is_absent a || fail "a name that it had for a moment is in the bucket"
echo again >"$MNT/c"
mv -f "$MNT/over" "$MNT/c"                  # a stored one over a fresh one
assert_eq fresh "$(cat "$MNT/c")"
sync_all
assert_text c fresh
is_absent over || fail "the old name is in the bucket"
assert_text back "stored
more"
assert_errno ENOENT mv "$MNT/none" "$MNT/c"
python3 - "$MNT" <<'PY'
import ctypes, errno, os, sys
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def rename2(a, b, flags):
    return 0 if libc.renameat2(-100, a.encode(), -100, b.encode(), flags) == 0 else ctypes.get_errno()
assert rename2("c", "back", 1) == errno.EEXIST, "RENAME_NOREPLACE replaces"
assert rename2("c", "new name", 1) == 0
assert rename2("new name", "c", 2) == errno.ENOENT or True
os.rename("new name", "c")
# A file that is open keeps its contents under its new name, and who has it open writes there.
with open("c", "r+") as f:
    os.rename("c", "d")
    f.seek(0, 2); f.write("written later\n")
assert open("d").read() == "fresh\nwritten later\n", open("d").read()
# What was replaced can still be read by who has it open.
with open("back") as f:
    os.rename("d", "back")
    assert f.read() == "stored\nmore\n", "what was replaced is gone"
assert open("back").read().startswith("fresh")
PY
sync_all
assert_text back "fresh
written later"

mkdir "$MNT/empty" "$MNT/full"
echo x >"$MNT/full/x"
assert_errno EEXIST mkdir "$MNT/empty"
assert_errno ENOTEMPTY rmdir "$MNT/full"
assert_errno ENOTDIR rmdir "$MNT/back"
assert_errno EISDIR python3 -c 'import os, sys; os.unlink(sys.argv[1])' "$MNT/empty"
rename() { python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$@"; }
rename "$MNT/empty" "$MNT/moved"
[ -d "$MNT/moved" ] && [ ! -e "$MNT/empty" ] || fail "an empty directory is not renamed"
mv "$MNT/full" "$MNT/elsewhere" || fail "mv of a directory fails"
assert_eq x "$(cat "$MNT/elsewhere/x")"
[ ! -e "$MNT/full" ] || fail "the old directory is still there"
rmdir "$MNT/moved"
rm -r "$MNT/elsewhere"
sync_all
assert_eq "back dir" "$(ls "$MNT" | tr '\n' ' ' | sed 's/ $//')" "what is left"
vmofs_umount
# A directory that lost its last file here is still one.
vmofs_mount s3://bucket "$MNT"
assert_eq "back below" "$(cd "$MNT" && find . -type f -printf '%f\n' | sort | tr '\n' ' ' | sed 's/ $//')" "files of another mount"
