#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vmofs dirty tells what is not stored and where it differs, vmofs sync waits for it, of a file, a directory, a mount; vmofs stat counts.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

write_start
make_object data 1M
s3_put "$SRV/data" s3://bucket/d/old
write_mount "$MNT" write-age=1000s
dirty_of() # PYTHON EXPRESSION of `files`, a dict by path
{
	"$VMOFS" dirty --json "$MNT" | python3 -c '
import json, sys
files = {f["path"]: f for f in map(json.loads, sys.stdin)}
print(eval(sys.argv[1]))' "$1"
}
assert_eq 0 "$(dirty_of 'len(files)')" "dirty files at first"
assert_eq "" "$("$VMOFS" dirty "$MNT")" "text at first"

# Files that are open stay dirty until somebody wants them stored, so one process holds them open, and writes where it is told:
# "KEY OFFSET TEXT REPEATED".
mkfifo "$TEST_TMP/orders"
python3 -u - "$MNT" "$TEST_TMP/orders" >"$TEST_TMP/done" <<'PY' &
import os, sys
held = {}
for line in open(sys.argv[2]):
    key, off, text, n = line.split()
    if key not in held:
        held[key] = os.open(sys.argv[1] + "/" + key, os.O_RDWR | os.O_CREAT)
    os.pwrite(held[key], text.encode() * int(n), int(off))
    print(line, end="")
PY
PIDS="$PIDS $!"
exec 8>"$TEST_TMP/orders"
write_at() # KEY OFFSET TEXT REPEATED
{
	echo "$*" >&8
	wait_for 20 grep -qx "$*" "$TEST_TMP/done" || fail "cannot write: $*"
}
write_at d/old 12288 zero 2048
write_at new 0 text 1
write_at d/third 0 third 1
assert_eq "['d/old', 'd/third', 'new']" "$(dirty_of 'sorted(files)')" "dirty files"
assert_eq "[[12288, 8192]]" "$(dirty_of '[r[:2] for r in files["d/old"]["ranges"]]')" "ranges"
assert_eq "8192 1048576 dirty" "$(dirty_of '"%d %d %s" % (files["d/old"]["dirty_bytes"], files["d/old"]["size"], files["d/old"]["state"])')"
assert_match "dirty +8.0 KiB +1.0 MiB.*$MNT/d/old" "$("$VMOFS" dirty "$MNT")" "text"
assert_match "12288 \+ 8192" "$("$VMOFS" dirty -r "$MNT/d/old")" "ranges as text"
assert_eq 1 "$("$VMOFS" dirty --json "$MNT/new" | wc -l)" "of one file"
assert_eq 2 "$("$VMOFS" dirty --json "$MNT/d" | wc -l)" "of a directory"
assert_match "$MNT/new" "$("$VMOFS" dirty)" "of all mounts"
assert_eq 3 "$(vmofs_stat write.dirty_files)" "dirty files counted"
is_absent new || fail "'new' is stored although nobody asked"

# One file, a directory, all.
sync_all "$MNT/new"
assert_text new text
assert_eq "['d/old', 'd/third']" "$(dirty_of 'sorted(files)')" "dirty files after one sync"
write_at new 4 more 1
sync_all "$MNT/d"
assert_text d/third third
assert_eq "['new']" "$(dirty_of 'sorted(files)')" "dirty files after a directory's sync"
sync_all
assert_text new textmore
assert_eq 0 "$(dirty_of 'len(files)')" "dirty files after all"
printf 'zero%.0s' $(seq 2048) | dd of="$SRV/data" bs=4096 seek=3 conv=notrunc status=none
assert_stored d/old "$SRV/data"
assert_between 4 "$(vmofs_stat write.stores)" 20 "stores"
assert_eq 0 "$(vmofs_stat write.dirty_bytes)" "dirty bytes in the end"
assert_fails 'No such file' "$VMOFS" sync "$MNT/nothing"
assert_match 'not stored yet +0 B' "$("$VMOFS" stat "$MNT")" "stat as text"

# A server that does not answer: sync gives up in time and says what is left; nothing is lost by that.
kill -STOP "$S3_PID"
write_at new 8 later 1
status=0
"$VMOFS" sync --json --timeout 1 "$MNT" >"$TEST_TMP/left" || status=$?
assert_eq 1 $status "status of a sync that gives up"
assert_match '"files":1' "$(cat "$TEST_TMP/left")" "what is left"
assert_eq "['new']" "$(dirty_of 'sorted(files)')" "dirty file of a silent server"
kill -CONT "$S3_PID"
sync_all
assert_text new textmorelater
exec 8>&-
wait "${PIDS##* }"
vmofs_umount

# In a mount that is read-only nothing is dirty, and sync has nothing to wait for.
vmofs_mount s3://bucket "$MNT"
assert_eq "" "$("$VMOFS" dirty "$MNT")" "dirty of a read-only mount"
"$VMOFS" sync "$MNT" || fail "sync of a read-only mount"
assert_fails 'read-only' "$VMOFS" resolve --keep-local "$MNT/new"
assert_fails 'which version' "$VMOFS" resolve "$MNT/new"
assert_fails 'contradict' "$VMOFS" resolve --keep-local --keep-remote "$MNT/new"
vmofs_umount
