#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A web server that takes PUT is written through a mount: files, directories, names; what another client changes is a conflict; a
# server that takes nothing says so; what was not stored when the daemon was killed is stored by the next one.
. "$TEST_LIB/common.sh"
expect_log 'conflict|not stored|another version|preconditions|does not take|nothing is overwritten'
export XDG_STATE_HOME=$TEST_TMP/state

copy=$TEST_TMP/copy
mkdir -p "$copy"
rw="rw,journal-dir=$TEST_TMP/journal,metadata-ttl=300ms,negative-ttl=300ms"

# step FILE COMMAND: done to the mount and to a local copy; then both and what the server has are the same
step()
{
	(cd "$copy" && eval "$2") || fail "'$2' cannot be done to a local file"
	(cd "$MNT" && eval "$2") || fail "'$2' fails"
	cmp "$copy/$1" "$MNT/$1" || fail "'$2': other bytes"
	"$VMOFS" sync "$MNT" || fail "'$2': vmofs sync fails"
	cmp "$copy/$1" "$SRV/$1" || fail "'$2': the server has other bytes"
	cmp "$copy/$1" "$MNT/$1" || fail "'$2': other bytes when it is stored"
}

make_object old 300000
make_object big 5000000
cp "$SRV/old" "$SRV/big" "$copy"
nginx_start "autoindex on; dav_methods PUT DELETE MKCOL COPY MOVE; client_max_body_size 20m;
	location /none/ { dav_methods off; }"
mkdir "$SRV/none"
echo here >"$SRV/none/file"

vmofs_mount "$NGINX_URL/" "$MNT" -o "$rw"
step new 'echo one >new'
grep -q 'does not look at preconditions' "$LOG" || fail "it is not told that nginx does not look at preconditions"
step new 'echo two >>new'
step new ': >new'
step new 'echo three >new'
step old "head -c 4096 /dev/zero | dd of=old bs=4096 seek=7 conv=notrunc status=none"
step old 'truncate -s 100001 old'
step old 'truncate -s 250000 old'
step big 'echo more >>big'
step big "printf XY | dd of=big bs=1 seek=3000000 conv=notrunc status=none"
step 'a b%20ü' 'echo name >"a b%20ü"'
step dir/sub/file 'mkdir -p dir/sub && echo deep >dir/sub/file'
step moved 'mv new moved'
step dir/sub/file 'mv moved dir/sub/file'
chmod 600 "$MNT/old" || fail "chmod fails"
rm "$MNT/dir/sub/file" "$copy/dir/sub/file" || fail "rm fails"
rmdir "$MNT/dir/sub" || fail "rmdir fails"
rmdir "$copy/dir/sub"
[ ! -e "$SRV/new" ] && [ ! -e "$SRV/moved" ] && [ ! -e "$SRV/dir/sub" ] || fail "what was removed is still there"
touch "$SRV/dir/theirs"
assert_errno ENOTEMPTY rmdir "$MNT/dir"
rm "$SRV/dir/theirs"
assert_errno EPERM ln -s x "$MNT/link"
is_same() { diff -r "$copy" "$MNT" --exclude none; }
wait_for 10 is_same || fail "the mount is not what it should be: $(is_same)"

# Another client is faster.
assert_conflict "$MNT/old" "$SRV/old"
"$VMOFS" resolve --keep-local "$MNT/old" || fail "--keep-local"
"$VMOFS" sync "$MNT" || fail "sync"
assert_eq mine "$(head -c 4 "$SRV/old")" "what the server has after --keep-local"

# What it has never stored is stored by the next mount.
echo unsaved >"$MNT/unsaved"
printf changed | dd of="$MNT/big" conv=notrunc status=none
sleep 1.5
pid=$(vmofs_pid)
kill -STOP "$NGINX_PID"
kill -9 "$pid"
wait_for 10 is_gone "$pid"
kill -CONT "$NGINX_PID"
umount -l "$MNT"
vmofs_mount "$NGINX_URL/" "$MNT" -o "$rw"
"$VMOFS" sync "$MNT" || fail "sync"
assert_eq unsaved "$(cat "$SRV/unsaved")" "what was unsaved"
assert_eq changed "$(head -c 7 "$SRV/big")" "what was changed"
vmofs_umount

# One object by itself.
vmofs_mount "$NGINX_URL/moved%2Fback?x=1" "$MNT" -o "$rw" 2>/dev/null && fail "what is not there can be mounted"
echo one >"$SRV/one"
vmofs_mount "$NGINX_URL/one?x=1" "$MNT" -o "$rw"
assert_eq one "$(ls "$MNT")" "names"
echo more >>"$MNT/one"
"$VMOFS" sync "$MNT" || fail "sync"
assert_eq "one more" "$(echo $(cat "$SRV/one"))" "one object"
assert_errno EPERM touch "$MNT/other"
assert_errno EPERM rm "$MNT/one"
assert_errno EPERM mv "$MNT/one" "$MNT/two"
vmofs_umount

# A server that takes no changes.
vmofs_mount "$NGINX_URL/none/" "$MNT" -o "$rw,fsync=remote"
python3 - "$MNT/file" <<'PY' || fail "see above"
import errno, os, sys
with open(sys.argv[1], "a") as f:
    f.write("x")
    f.flush()
    try:
        os.fsync(f.fileno())
        sys.exit("fsync works")
    except OSError as e:
        assert e.errno in (errno.EOPNOTSUPP, errno.EROFS), e
PY
grep -q 'does not take such changes' "$LOG" || fail "there is no remedy in the log"
assert_eq here "$(cat "$SRV/none/file")" "what is there"
assert_errno EOPNOTSUPP mkdir "$MNT/dir"
"$VMOFS" umount --keep "$MNT" || :
