#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 180
# The cache's disk breaks: reads and writes of it fail with EIO, under a mount and before it. Nobody who reads sees it.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"
expect_log 'cache'

make_object data.bin 16M
nginx_start

# All at once, under a mount that has read half of it.
disk_start 64M
cache_mount "$NGINX_URL/data.bin"
head -c 8M "$MNT/data.bin" | cmp -n 8388608 - "$SRV/data.bin" || fail "wrong bytes"
wait_for 20 cache_is_written || fail "what waits to be written stays"
disk_cut
"$VMOFS" evict "$MNT" >/dev/null
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_same_at_random "$MNT/data.bin" "$SRV/data.bin" 1
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
assert_eq EIO "$(vmofs_stat cache.last_error)" "the last error of the cache"
wait_for 20 cache_is_off || fail "it is still written to"
[ $(($(vmofs_stat cache.read_errors) + $(vmofs_stat cache.write_errors))) -gt 0 ] || fail "no error is counted"
vmofs_umount

# From the beginning.
cache_mount "$NGINX_URL/data.bin" || fail "a broken disk keeps a mount from working"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads of a mount without its disk"
vmofs_umount
assert_match 'cache' "$(cat "$LOG")" "a line in the log"
disk_umount

# Writing fails, some time after the file system has accepted it: the device is on a file system that is full.
small=$TEST_TMP/small
mkdir "$small"
mount -t tmpfs -o size=12M tmpfs "$small"
at_end 'umount -l "$small"'
DISK_IMAGE=$small/image
disk_start 64M
for round in 1 2 3; do
	cache_mount "$NGINX_URL/data.bin"
	assert_same_file "$SRV/data.bin" "$MNT/data.bin"
	sync -f "$DISK" 2>/dev/null || :
	echo 1 >/proc/sys/vm/drop_caches
	"$VMOFS" evict "$MNT" >/dev/null
	assert_same_file "$SRV/data.bin" "$MNT/data.bin"
	assert_eq 0 "$(vmofs_stat read_errors)" "failed reads in round $round"
	vmofs_umount
done
disk_umount
rm -f "$DISK_IMAGE"

# Reading fails: the end of the device is gone.
DISK_IMAGE=$TEST_TMP/cut.img
disk_start 64M
cache_mount "$NGINX_URL/data.bin"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
vmofs_umount
sync -f "$DISK"
truncate -s 9M "$DISK_IMAGE"
echo 3 >/proc/sys/vm/drop_caches
cache_mount "$NGINX_URL/data.bin" || fail "a broken disk keeps a mount from working"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_same_at_random "$MNT/data.bin" "$SRV/data.bin" 2
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads from a cut device"
vmofs_umount
