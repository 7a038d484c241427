#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A local directory is written through a mount: contents, names, attributes; what somebody else changes is a conflict; what was not
# stored when the daemon was killed is stored by the next one; one file by itself.
. "$TEST_LIB/common.sh"
expect_log 'conflict|not stored|another version|nothing is overwritten'

there=$TEST_TMP/there copy=$TEST_TMP/copy
mkdir "$there" "$copy"
rw="rw,journal-dir=$TEST_TMP/journal,metadata-ttl=300ms,negative-ttl=300ms"

# step COMMAND: done to the mount and to a local copy; then both and the source are the same
step()
{
	(cd "$copy" && eval "$1") || fail "'$1' cannot be done to a local directory"
	(cd "$MNT" && eval "$1") || fail "'$1' fails"
	diff -r --no-dereference "$copy" "$MNT" || fail "'$1': not the same"
	"$VMOFS" sync "$MNT" || fail "'$1': vmofs sync fails"
	diff -r --no-dereference "$copy" "$there" || fail "'$1': the source is not the same"
	diff -r --no-dereference "$copy" "$MNT" || fail "'$1': not the same when it is stored"
}

make_object data 3000000
cp "$SRV/data" "$there/old"
cp "$SRV/data" "$copy/old"
chmod 640 "$there/old"
python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.kept", b"yes")' "$there/old" 2>/dev/null && xattr=yes
vmofs_mount "file://$there" "$MNT" -o "$rw"
step 'echo one >new'
step 'echo two >>new'
step ': >new'
step "head -c 4096 /dev/zero | dd of=old bs=4096 seek=7 conv=notrunc status=none"
step "printf XY | dd of=old bs=1 seek=8191 conv=notrunc status=none"
step 'echo more >>old'
step 'truncate -s 100001 old'
step 'truncate -s 250000 old'
assert_eq 640 "$(stat -c %a "$there/old")" "the mode that it had"
[ -z "${xattr:-}" ] || assert_eq yes "$(get_xattr "$there/old" user.kept)" "its attribute"
if [ -n "${xattr:-}" ]; then
	set_xattr() { python3 -c 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], sys.argv[3].encode())' "$@"; }
	vmofs_umount
	vmofs_mount "file://$there" "$MNT" -o "$rw,xattrs"
	assert_eq yes "$(get_xattr "$MNT/old" user.kept)" "its attribute, by the mount"
	set_xattr "$MNT/old" user.more "also"
	"$VMOFS" sync "$MNT"
	assert_eq also "$(get_xattr "$there/old" user.more)" "what is set, at the source"
	step 'echo x >attrs; echo y >over'
	set_xattr "$MNT/attrs" user.a of-attrs
	set_xattr "$MNT/over" user.a of-over
	mv "$MNT/attrs" "$MNT/over"
	mv "$copy/attrs" "$copy/over"
	step 'echo more >>over'
	assert_eq of-attrs "$(get_xattr "$there/over" user.a)" "after a rename"
	assert_eq yes "$(get_xattr "$there/old" user.kept)" "what was there"
	python3 -c 'import os, sys; os.removexattr(sys.argv[1], "user.kept")' "$MNT/old"
	step 'echo >>old'
	assert_eq "['user.more']" "$(python3 -c 'import os, sys; print([n for n in os.listxattr(sys.argv[1]) if n[:5] == "user."])' "$there/old")" "what is removed"
	assert_errno ENOSPC python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.much", b"x" * 4000)' "$MNT/old"
	expect_log 'among its extended attributes'
	vmofs_umount
	vmofs_mount "file://$there" "$MNT" -o "$rw"
fi
step 'chmod 600 old'
assert_eq 600 "$(stat -c %a "$there/old")" "the mode"
step 'touch -d @1000000000 old'
assert_eq 1000000000 "$(stat -c %Y "$there/old")" "the time"
step 'mkdir -p dir/sub && echo deep >dir/sub/file'
step 'ln -s dir/sub/file link'
assert_eq deep "$(cat "$MNT/link")" "through a link"
step 'mv new moved'
step 'mv moved dir/sub/file'
step 'echo tmp >.old.tmp && mv .old.tmp old'
step 'rm dir/sub/file link && rmdir dir/sub'
# Directories are real ones there: they get other names by mv's copying, and go though somebody has open what was in them.
step 'mkdir -p full/sub && echo deep >full/sub/file && mv full other && cat other/sub/file'
assert_errno EXDEV python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$MNT/other" "$MNT/full"
exec 5<"$MNT/other/sub/file"
step 'rm other/sub/file && rmdir other/sub'
assert_eq deep "$(cat <&5)" "what is open, and was in a directory that is gone"
exec 5<&-
step 'echo deep >other/file'
exec 5<"$MNT/other/file"
step 'rm other/file && mv other renamed && rmdir renamed'
assert_eq deep "$(cat <&5)" "what is open, and was in a directory that has another name"
exec 5<&-
assert_eq '' "$(ls -A "$there" | grep unfinished)" "unfinished files"

# Nothing outside is reached through a link.
ln -s /etc "$there/out"
wait_for 10 test -L "$MNT/out"
assert_eq /etc "$(readlink -v "$MNT/out")" "a link out of the directory"
rm "$there/out"

# Somebody else is faster.
cp "$SRV/data" "$there/shared"
wait_for 10 test -e "$MNT/shared"
assert_conflict "$MNT/shared" "$there/shared"
"$VMOFS" resolve --keep-remote "$MNT/shared" || fail "--keep-remote"
assert_eq theirs "$(cat "$MNT/shared")" "what is here after --keep-remote"
vmofs_umount

# Killed before it has stored anything.
vmofs_mount "file://$there" "$MNT" -o "$rw,write-age=600s,fsync=local"
python3 - "$MNT" <<'PY' || fail "see above"
import os, sys
for name, mode in ("unsaved", "w"), ("old", "r+"):
    f = open(f"{sys.argv[1]}/{name}", mode)
    f.write("unsaved")
    f.flush()
    os.fsync(f.fileno())
    os.dup(f.fileno())
PY
pid=$(vmofs_pid)
kill -9 "$pid"
wait_for 10 is_gone "$pid"
umount -l "$MNT"
vmofs_mount "file://$there" "$MNT" -o "$rw"
assert_eq unsaved "$(cat "$MNT/unsaved")" "what was unsaved is here"
"$VMOFS" sync "$MNT" || fail "sync"
assert_eq unsaved "$(cat "$there/unsaved")" "what was unsaved"
assert_eq unsaved "$(head -c 7 "$there/old")" "what was changed"
vmofs_umount

# One file by itself.
echo one >"$there/one"
vmofs_mount "$there/one" "$MNT" -o "$rw"
assert_eq one "$(ls "$MNT")" "names"
echo more >>"$MNT/one"
"$VMOFS" sync "$MNT" || fail "sync"
assert_eq "one more" "$(echo $(cat "$there/one"))" "one file"
assert_errno EPERM touch "$MNT/other"
assert_errno EPERM rm "$MNT/one"
vmofs_umount

# Without rw it is read, and nothing else.
vmofs_mount "$there" "$MNT"
diff -r --no-dereference "$there" "$MNT" || fail "the mount is not what it should be"
assert_fails 'Read-only' touch "$MNT/one"
vmofs_umount
