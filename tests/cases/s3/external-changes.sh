#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What others put, change and remove is seen when metadata-ttl is over, by ls and by path alike; never with immutable.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

# Not radosgw: its posix backend lists a key twice that was put after the first listing.
s3_start_moto
s3_mb bucket
s3_fill s3://bucket/ 6 2
s3_env
vmofs_mount s3://bucket "$MNT" -o metadata-ttl=2s,negative-ttl=1s
mkdir "$TEST_TMP/still"
vmofs_mount s3://bucket "$TEST_TMP/still" -o immutable
names() { (cd "$1" && find . | sort | tr '\n' ' '); }
begin=$(names "$MNT")
assert_eq "$begin" "$(names "$TEST_TMP/still")"
assert_eq d000/f00000 "$(cat "$MNT/d000/f00000")"

echo more | s3_put - s3://bucket/d000/new
echo 'quite another text' | s3_put - s3://bucket/d000/f00002
s3_rm s3://bucket/d001/f00001
echo x | s3_put - s3://bucket/newdir/sub/file

new_listed() { ls "$MNT/d000" | grep -qx new; }
changed() { [ "$(cat "$MNT/d000/f00002")" = 'quite another text' ]; }
removed() { ! stat "$MNT/d001/f00001" 2>/dev/null; }
dir_there() { [ "$(cat "$MNT/newdir/sub/file" 2>/dev/null)" = x ]; }
size_seen() { [ "$(stat -c %s "$MNT/d000/f00002")" = 19 ]; }
for what in new_listed changed removed dir_there size_seen; do
	wait_for 15 $what || fail "not seen: $what"
done
! ls "$MNT/d001" | grep -x f00001 || fail "the removed key is still listed"
assert_eq "$begin" "$(names "$TEST_TMP/still")" "what an immutable mount shows"
assert_errno ENOENT stat "$TEST_TMP/still/d000/new"
"$VMOFS" umount "$TEST_TMP/still"
