#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Objects larger than memory, many readers: what does not fit comes back from the disk, and the budget holds.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"

make_object big.bin 64M
nginx_start
cache_mount "$NGINX_URL/big.bin" "$MNT" -o memory=16M
assert_same_side_by_side "$MNT/big.bin" "$SRV/big.bin" 4
assert_between 1 "$(vmofs_stat memory_peak)" 16777216 "peak of memory"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
assert_between 1 "$(vmofs_stat cache.hits)" 1000000 "pages read from the cache"
vmofs_umount
cache_mount "$NGINX_URL/big.bin" "$MNT" -o memory=16M
assert_same_file "$SRV/big.bin" "$MNT/big.bin"
vmofs_umount
