#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Mounts are read-only unless told otherwise; what cannot be, or contradicts itself, is refused with a reason and a way out.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

# Sources that cannot be changed.
echo "a http://127.0.0.1:1/data.bin" >"$TEST_TMP/list"
assert_fails "'rw'.*read-only.*list.*without rw" "$VMOFS" mount -o rw "list:$TEST_TMP/list" "$MNT"

write_start
refused() # PATTERN OPTIONS
{
	assert_fails "$1" "$VMOFS" mount -o "rw,$2" s3://bucket "$MNT"
	! is_mounted || fail "'$2' is mounted all the same"
}
echo file >"$TEST_TMP/file"
refused "fsync.*remote, local" fsync=never
refused "close.*async, sync" close=never
refused "dirty-limit.*three quarters.*memory" memory=64M,dirty-limit=64M
refused "dirty-limit.*at least" dirty-limit=4K
refused "write-threads.*from 1 to" write-threads=0
refused "contradict" "immutable,journal-dir=$JOURNAL"
refused "fsync.*journal-dir=none" fsync=local,journal-dir=none
refused "journal-dir.*inside of the mountpoint.*elsewhere" "journal-dir=$MNT/journal"
refused "journal-dir.*parent directory" "journal-dir=$TEST_TMP/nowhere/journal"
refused "journal-dir=none" "journal-dir=$TEST_TMP/file"
mkdir "$TEST_TMP/sealed"
if [ "$(id -u)" -ne 0 ]; then
	chmod 500 "$TEST_TMP/sealed"
	refused "Permission denied.*journal-dir=none" "journal-dir=$TEST_TMP/sealed/journal"
fi

# What is given last counts; read-only is the default; mount(8)'s bare rw means nothing.
echo "old" | s3_put - s3://bucket/key
helper=$TEST_TMP/mount.vmofs
ln -s "$VMOFS" "$helper"
shows() # MODE WRITABLE COMMAND...
{
	mode=$1 writable=$2
	shift 2
	"$@" || fail "'$*' fails"
	assert_eq "$mode" "$(stat -c %a "$MNT/key")" "mode with '$*'"
	got=no
	! "$VMOFS" stat --json "$MNT" | grep -q '"write":' || got=yes
	assert_eq "$writable" "$got" "'$*' can be written"
	got=no
	! (echo new >>"$MNT/key") 2>/dev/null || got=yes
	assert_eq "$writable" "$got" "'$*' is written"
	vmofs_umount
}
log=log-file=$LOG,journal-dir=$JOURNAL
shows 444 no "$VMOFS" mount -o "$log" s3://bucket "$MNT"
shows 444 no "$VMOFS" mount -o "$log,rw,ro" s3://bucket "$MNT"
shows 644 yes "$VMOFS" mount -o "$log,ro,rw" s3://bucket "$MNT"
shows 600 yes "$VMOFS" mount -o "$log,rw,file-mode=600" s3://bucket "$MNT"
shows 444 no "$helper" s3://bucket "$MNT" -o "rw,$log"
shows 644 yes "$helper" s3://bucket "$MNT" -o "rw,rw=yes,$log"
grep -q 'passthrough' "$LOG" && fail "passthrough is spoken of without a disk cache"

# Nothing is kept without a journal, which is said.
assert_match 'no journal' "$("$VMOFS" mount -o "rw,log-file=$LOG,journal-dir=none" s3://bucket "$MNT" 2>&1)"
assert_eq 755 "$(stat -c %a "$MNT")" "mode of a directory"
# What is open is not stored before it is old enough.
exec 9>"$MNT/dirty"
echo x >&9
assert_fails "no journal|nothing would be" "$VMOFS" umount --keep "$MNT"
exec 9>&-
vmofs_umount
assert_text dirty x

# The kernel does not read the cache's files in such a mount.
mkdir "$TEST_TMP/cache"
vmofs_mount s3://bucket "$MNT" -o "rw,journal-dir=$JOURNAL,cache-dir=$TEST_TMP/cache"
cat "$MNT/key" >/dev/null
assert_eq 0 "$(vmofs_stat passthrough)" "opens that pass through"
grep -q 'passthrough is off' "$LOG" || fail "the log does not tell of passthrough"
vmofs_umount
