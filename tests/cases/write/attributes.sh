#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 300
# Extended attributes in a bucket: where s3fs has them, and read from there; they stay over a remount, kill -9, a rename, a store in parts
# and one that replaces; too many of them are refused; tools that copy them work.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

# What is too much is refused, and the log says so.
expect_log 'among its extended attributes'
for tool in setfattr getfattr; do
	command -v $tool >/dev/null || skip "no $tool (Debian: attr)"
done

# attrs FILE: "NAME=VALUE" of each, sorted
attrs()
{
	python3 - "$1" <<'PY'
import os, sys
for name in sorted(os.listxattr(sys.argv[1])):
    print(name + "=" + os.getxattr(sys.argv[1], name).decode(errors="backslashreplace"))
PY
}
meta() { s3 head "s3://bucket/$1" | sed -n "s/^x-amz-meta-xattr: //p"; }
mount_it() { write_mount "$MNT" "xattrs${1:+,$1}"; }
again() { vmofs_umount; mount_it "$@"; }

write_start
mount_it
echo text >"$MNT/a"
setfattr -n user.one -v first "$MNT/a"
setfattr -n user.bytes -v 0x00ff3f "$MNT/a"
assert_eq "$(printf 'user.bytes=\0\\xff?\nuser.one=first' | tr -d '\0')" "$(attrs "$MNT/a" | tr -d '\0')" "before it is stored"
sync_all
assert_eq '%7B%22user.one%22%3A%22Zmlyc3Q%3D%22%2C%22user.bytes%22%3A%22AP8%2F%22%7D' "$(meta a)" "metadata"
assert_text a text

# Of a large object only the attributes go.
head -c 20000000 /dev/urandom >"$SRV/big"
cp "$SRV/big" "$MNT/big"
sync_all
s3_mark
setfattr -n user.of -v "a big one" "$MNT/big"
sync_all
assert_eq 0 "$(s3_count '"(PUT|POST) /bucket/big[?]')" "requests for parts, as contents do not move: $(s3_log)"
again
assert_eq "user.of=a big one" "$(attrs "$MNT/big")" "after a remount"
printf changed | dd of="$MNT/big" bs=1 seek=9000000 conv=notrunc status=none
printf changed | dd of="$SRV/big" bs=1 seek=9000000 conv=notrunc status=none
sync_all
assert_stored big "$SRV/big"
again
assert_eq "user.of=a big one" "$(attrs "$MNT/big")" "after a store in parts"
cp "$SRV/big" "$MNT/new"
setfattr -n user.with -v parts "$MNT/new"
sync_all
assert_stored new "$SRV/big"

# Names.
mv "$MNT/big" "$MNT/moved"
mkdir "$MNT/dir"
mv "$MNT/a" "$MNT/dir/a"
mv "$MNT/dir" "$MNT/other"
echo unstored >"$MNT/u"
setfattr -n user.u -v u "$MNT/u"
mv "$MNT/u" "$MNT/v"
again
assert_eq "user.of=a big one" "$(attrs "$MNT/moved")" "after a rename"
assert_eq 2 "$(attrs "$MNT/other/a" | grep -ac user)" "after renames of the file and its directory"
assert_eq "user.u=u" "$(attrs "$MNT/v")" "after a rename before the first store"
assert_eq "user.with=parts" "$(attrs "$MNT/new")" "made with parts"

# What replaces has its own.
echo none >"$MNT/plain"
mv "$MNT/plain" "$MNT/v"
assert_eq "" "$(attrs "$MNT/v")" "of what replaces"
sync_all
assert_eq "" "$(meta v)" "metadata of what replaces"
setfattr -x user.one "$MNT/other/a"
setfattr -x user.bytes "$MNT/other/a"
assert_eq "" "$(attrs "$MNT/other/a")" "removed"
sync_all
assert_eq "" "$(meta other/a)" "metadata without any"

# Too many: S3 has 2 KiB of metadata.
: >"$LOG"
assert_errno ENOSPC python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.much", b"x" * 1400)' "$MNT/v"
grep -q "'v' cannot have 'user.much'.*2 KiB" "$LOG" || fail "the log does not tell why"
python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.much", b"x" * 1100)' "$MNT/v"
sync_all

# Local, and killed.
vmofs_umount
mount_it write-age=1000s,fsync=local
python3 - "$MNT" "$TEST_TMP/written" <<'PY' &
import os, sys, time
os.chdir(sys.argv[1])
def done(path, value):
    f = os.open(path, os.O_CREAT | os.O_RDWR)
    os.setxattr(f, "user.kept", value)
    os.fsync(f)
    return f
keep = [done("v", b"with another"), done("fresh", b"alone"), done("moved", b"1")]
os.removexattr("moved", "user.of")
os.fsync(keep[2])
open(sys.argv[2], "w").close()
time.sleep(1000)
PY
writer=$!
PIDS="$PIDS $writer"
wait_for 30 test -e "$TEST_TMP/written" || fail "not all can be written"
kill_mount
end_pid "$writer"
is_absent fresh || fail "it was stored before"
mount_it write-age=1000s,fsync=local
assert_match '^user.kept=with another' "$(attrs "$MNT/v")" "after kill -9"
assert_eq 1100 "$(get_xattr "$MNT/v" user.much | tr -d '\n' | wc -c)" "the one that was there"
assert_eq "user.kept=alone" "$(attrs "$MNT/fresh")" "after kill -9, of a new file"
assert_eq "user.kept=1" "$(attrs "$MNT/moved")" "after kill -9, one removed and one set"
sync_all
vmofs_umount
mount_it
assert_match '^user.kept=with another' "$(attrs "$MNT/v")" "stored after kill -9"
assert_eq "user.kept=1" "$(attrs "$MNT/moved")" "stored after kill -9"
assert_stored moved "$SRV/big"

# Tools.
mkdir "$SRV/tree"
echo one >"$SRV/tree/1"
echo two >"$SRV/tree/2"
if setfattr -n user.tool -v "of $SRV" "$SRV/tree/1" 2>/dev/null; then
	cp -a "$SRV/tree" "$MNT/cp" 2>"$TEST_TMP/said" || fail "cp -a fails: $(cat "$TEST_TMP/said")"
	cp --preserve=xattr "$MNT/cp/1" "$TEST_TMP/back" || fail "cp out of the mount fails"
	assert_eq "user.tool=of $SRV" "$(attrs "$TEST_TMP/back")" "cp into the mount and back"
	tar -C "$SRV" --xattrs -cf "$TEST_TMP/x.tar" tree
	tar -C "$MNT" --xattrs --xattrs-include='*' -xf "$TEST_TMP/x.tar" 2>"$TEST_TMP/said" || fail "tar fails"
	assert_eq "" "$(cat "$TEST_TMP/said")" "what tar says"
	if command -v rsync >/dev/null; then
		rsync -aX "$SRV/tree/" "$MNT/rsync" 2>&1 || fail "rsync -aX fails"
		rsync -aX "$MNT/rsync/" "$TEST_TMP/rsynced" 2>&1 || fail "rsync -aX out of the mount fails"
		rsync -aX "$MNT/rsync/" "$MNT/within" 2>&1 || fail "rsync -aX within the mount fails"
		assert_eq "user.tool=of $SRV" "$(attrs "$MNT/within/1")" "rsync"
	fi
	again
	for at in cp tree rsync; do
		[ ! -e "$MNT/$at" ] || assert_eq "user.tool=of $SRV" "$(attrs "$MNT/$at/1")" "what $at has made"
	done
	assert_eq "user.tool=\"of $SRV\"" "$(getfattr -d -m - "$MNT/cp/1" 2>/dev/null | grep user)" "getfattr -d -m -"
else
	echo "$TEST_TMP has no user.*: cp, tar and rsync are left out"
fi

# Without -o xattrs nobody asks, and nothing is lost.
vmofs_umount
write_mount "$MNT"
assert_errno ENOTSUP python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.a", b"1")' "$MNT/v"
echo more >>"$MNT/moved"
vmofs_umount
mount_it
assert_eq "user.kept=1" "$(attrs "$MNT/moved")" "of a file that was changed by a mount without"

# What others wrote.
printf 'x' | s3_put - s3://bucket/spaced 'xattr={ "user.a" : "MQ==" , "security.selinux":"bGFiZWw=" }'
wait_for 10 test -e "$MNT/spaced"
assert_eq user.a=1 "$(attrs "$MNT/spaced")" "with white space, and another name space"
setfattr -n user.b -v 2 "$MNT/spaced"
sync_all
assert_match 'security.selinux.*bGFiZWw' "$(meta spaced)" "what is not ours is kept"
printf 'x' | s3_put - s3://bucket/broken 'xattr={"user.a":'
wait_for 10 test -e "$MNT/broken"
expect_log 'cannot be read'
assert_errno EIO python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.a", b"1")' "$MNT/broken"
assert_eq x "$(cat "$MNT/broken")" "its contents"

# A copy-on-write child has the origin's, and its own.
vmofs_umount
cow_mount() { vmofs_mount s3://bucket "$MNT" -o "cow,xattrs,cow-dir=$TEST_TMP/cow,cache-dir=$TEST_TMP/cache"; }
before=$(meta moved)
cow_mount
assert_eq "user.kept=1" "$(attrs "$MNT/moved")" "the origin's, in a child"
mv "$MNT/moved" "$MNT/there"
assert_eq "user.kept=1" "$(attrs "$MNT/there")" "the origin's, after a rename in a child"
setfattr -n user.child -v own "$MNT/there"
echo more >>"$MNT/cp/2"
setfattr -n user.child -v two "$MNT/cp/2"
sync_all
printf x | dd of="$MNT/there" bs=1 conv=notrunc status=none
vmofs_umount
cow_mount
assert_eq "user.child=own,user.kept=1" "$(attrs "$MNT/there" | paste -sd,)" "in a child, after a remount"
assert_eq user.child=two "$(attrs "$MNT/cp/2")" "in a child, after a remount"
setfattr -x user.kept "$MNT/there"
sleep 2
kill_mount
cow_mount
assert_eq user.child=own "$(attrs "$MNT/there")" "in a child, after kill -9"
vmofs_umount
assert_eq "$before" "$(meta moved)" "the origin's"
mount_it

# s3fs reads ours, and we read its.
if ! command -v s3fs >/dev/null; then
	echo "no s3fs: exchange with it is left out"
	exit 0
fi
mkdir "$TEST_TMP/s3fs"
printf '%s:%s' "$S3_KEY" "$S3_SECRET" >"$TEST_TMP/passwd"
chmod 600 "$TEST_TMP/passwd"
at_end 'umount -l "$TEST_TMP/s3fs" 2>/dev/null || :'
s3fs bucket "$TEST_TMP/s3fs" -o "use_xattr,use_path_request_style,url=$S3_URL,passwd_file=$TEST_TMP/passwd" ||
	fail "s3fs does not mount"
assert_match '^user.kept=with another' "$(attrs "$TEST_TMP/s3fs/v")" "ours, by s3fs"
echo theirs >"$TEST_TMP/s3fs/theirs"
setfattr -n user.theirs -v "by s3fs +/=" "$TEST_TMP/s3fs/theirs"
setfattr -n user.two -v 2 "$TEST_TMP/s3fs/theirs"
setfattr -n user.kept -v changed "$TEST_TMP/s3fs/moved"
wait_for 10 test -e "$MNT/theirs"
assert_eq "user.theirs=by s3fs +/=,user.two=2" "$(attrs "$MNT/theirs" | paste -sd,)" "theirs"
wait_for 10 eval '[ "$(attrs "$MNT/moved")" = user.kept=changed ]' || fail "what s3fs has changed: $(attrs "$MNT/moved")"
setfattr -n user.more -v ours "$MNT/theirs"
sync_all
umount "$TEST_TMP/s3fs"
s3fs bucket "$TEST_TMP/s3fs" -o "use_xattr,use_path_request_style,url=$S3_URL,passwd_file=$TEST_TMP/passwd" ||
	fail "s3fs does not mount again"
assert_eq "user.more=ours,user.theirs=by s3fs +/=,user.two=2" "$(attrs "$TEST_TMP/s3fs/theirs" | paste -sd,)" "both, by s3fs"
umount "$TEST_TMP/s3fs"
