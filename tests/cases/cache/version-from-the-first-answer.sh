#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Files of index pages, whose listing names no version: the first answer does, and from then on the cache is used.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"
. "$TEST_LIB/cache.sh"

make_object d/large 40000000
index_start_nginx
cache_mount "$INDEX_URL/"
assert_same_file "$SRV/d/large" "$MNT/d/large"
wait_for 20 cache_is_written || fail "what waits to be written stays"
assert_eq 0 "$(vmofs_stat cache.skipped)" "pages that were not kept"
vmofs_umount

cache_mount "$INDEX_URL/"
assert_same_file "$SRV/d/large" "$MNT/d/large"
assert_between 1 "$(vmofs_stat bytes_fetched)" 20000000 "bytes fetched by the second mount"
assert_between 5000 "$(vmofs_stat cache.hits)" 9766 "pages read from the cache"
vmofs_umount

# Another version, of the same size and as old.
make_object d/large 40000000
touch -d 2026-01-01 "$SRV/d/large"
cache_mount "$INDEX_URL/"
assert_same_file "$SRV/d/large" "$MNT/d/large"
assert_eq 0 "$(vmofs_stat cache.hits)" "pages of the old version"
vmofs_umount
"$VMOFS" cache verify "$CACHE" || fail "something is wrong in the cache"
