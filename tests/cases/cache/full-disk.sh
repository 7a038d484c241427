#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The cache's disk is too small, or full from the beginning: nobody who reads sees it.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"
expect_log 'cache'

make_object big.bin 40M
make_object small.bin 3M
nginx_start
disk_start 24M

cache_mount "$NGINX_URL/big.bin"
assert_same_file "$SRV/big.bin" "$MNT/big.bin"
assert_same_at_random "$MNT/big.bin" "$SRV/big.bin" 1
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
wait_for 20 cache_is_written || fail "what waits to be written stays"
assert_between 1 $(($(vmofs_stat cache.skipped) + $(vmofs_stat cache.evicted))) 20480 "pages that were not kept, or not for long"
assert_between 1 "$(vmofs_stat cache.written)" 10240 "pages that were written"
assert_eq ENOSPC "$(vmofs_stat cache.last_error)" "what the disk said"
vmofs_umount

cache_mount "$NGINX_URL/big.bin"
assert_same_file "$SRV/big.bin" "$MNT/big.bin"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads of the second mount"
assert_between 1 "$(vmofs_stat cache.hits)" 20480 "pages read from the cache"
vmofs_umount

# Other programs have filled it to the last block.
"$VMOFS" cache clear "$CACHE" >/dev/null
head -c 60M /dev/zero >"$DISK/filler" 2>/dev/null && fail "the disk is larger than expected"
cache_mount "$NGINX_URL/small.bin"
assert_same_file "$SRV/small.bin" "$MNT/small.bin"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads with a full disk"
vmofs_umount

# Nor is there room for the directory itself.
rm -rf "$CACHE"
head -c 60M /dev/zero >>"$DISK/filler" 2>/dev/null && fail "the disk is larger than expected"
if cache_mount "$NGINX_URL/small.bin" 2>"$TEST_TMP/said"; then
	assert_same_file "$SRV/small.bin" "$MNT/small.bin"
	vmofs_umount
else
	assert_match 'cache' "$(cat "$TEST_TMP/said")" "why it does not mount"
fi

# When there is room again it is used.
rm "$DISK/filler"
cache_mount "$NGINX_URL/small.bin"
assert_same_file "$SRV/small.bin" "$MNT/small.bin"
vmofs_umount
assert_eq 3145728 "$(cache_present)" "bytes kept once there is room"
