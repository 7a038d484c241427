#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What changes at the origin is seen after the time to live, new names, removed ones and new contents.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"

mkdir -p "$SRV/dir"
echo one >"$SRV/dir/file"
echo gone >"$SRV/dir/removed"
touch -d '2020-01-01' "$SRV/dir/file"
index_start_nginx
vmofs_mount "$INDEX_URL/" "$MNT" --metadata-ttl=500ms --negative-ttl=100ms
assert_eq one "$(cat "$MNT/dir/file")"
assert_eq gone "$(cat "$MNT/dir/removed")"
[ ! -e "$MNT/dir/new" ] || fail "there is a file that is not served"
echo 'two, longer' >"$SRV/dir/file"
echo new >"$SRV/dir/new"
rm "$SRV/dir/removed"
wait_for 5 grep -qx 'two, longer' "$MNT/dir/file" || fail "the new contents are not seen"
wait_for 5 grep -qx new "$MNT/dir/new" || fail "the new file is not seen"
wait_for 5 test ! -e "$MNT/dir/removed" || fail "the removed file is still there"
assert_eq "file new" "$(ls "$MNT/dir" | tr '\n' ' ' | sed 's/ $//')"
vmofs_umount

# For ever, when told so.
vmofs_mount "$INDEX_URL/" "$MNT" -o immutable
assert_eq 'two, longer' "$(cat "$MNT/dir/file")"
echo three >"$SRV/dir/file"
sleep 0.3
assert_eq 'two, longer' "$(cat "$MNT/dir/file")"
assert_eq 12 "$(stat -c %s "$MNT/dir/file")"
