#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A cache on a read-only file system is read, not written; one that becomes read-only meanwhile too.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"
expect_log 'cache'

make_object data.bin 8M
make_object other.bin 8M
nginx_start
disk_start 64M

cache_mount "$NGINX_URL/data.bin"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
vmofs_umount
mount -o remount,ro "$DISK"

cache_mount "$NGINX_URL/data.bin" || fail "no mount with a read-only cache"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_nothing_fetched
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
vmofs_umount
cache_mount "$NGINX_URL/other.bin"
assert_same_file "$SRV/other.bin" "$MNT/other.bin"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads of what is not there"
wait_for 20 cache_is_off || fail "it is still written to"
vmofs_umount
assert_match 'cache.*[Rr]ead-only' "$(cat "$LOG")" "a line in the log"

# The commands look all the same; a directory that is not there cannot be made.
assert_eq "$NGINX_URL/data.bin" "$(cache_field url)" "what is listed"
"$VMOFS" cache verify "$CACHE" >/dev/null || fail "nothing is wrong with it"
good=$CACHE CACHE=$DISK/missing
assert_fails "cache.*Read-only" cache_mount "$NGINX_URL/data.bin"
CACHE=$good

# While it is in use: the file system has met an error and refuses every write from now on.
mount -o remount,rw "$DISK"
cache_mount "$NGINX_URL/other.bin"
head -c 2M "$MNT/other.bin" >/dev/null
wait_for 20 cache_is_written || fail "what waits to be written stays"
mount -o remount,abort "$DISK" 2>/dev/null || :
touch "$DISK/x" 2>/dev/null && fail "the disk can still be written to"
assert_same_file "$SRV/other.bin" "$MNT/other.bin"
assert_same_at_random "$MNT/other.bin" "$SRV/other.bin" 1
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads after the change"
wait_for 20 cache_is_off || fail "it is still written to"
vmofs_umount
