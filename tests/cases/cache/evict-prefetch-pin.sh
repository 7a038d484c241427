#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# With a cache directory evicted contents come back from the disk, and prefetch and pin take them from there.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"

make_object data.bin 8M
nginx_start
cache_mount "$NGINX_URL/data.bin"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
wait_for 20 cache_is_written || fail "what waits to be written stays"
fetched=$(vmofs_stat bytes_fetched)

"$VMOFS" evict "$MNT" >/dev/null
assert_eq 0 "$(vmofs_stat resident)" "resident after an eviction"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_eq "$fetched" "$(vmofs_stat bytes_fetched)" "bytes fetched after an eviction"
assert_between 2048 "$(vmofs_stat cache.hits)" 4096 "pages read from the cache"

"$VMOFS" evict "$MNT" >/dev/null
assert_match 'present: 4194304' "$("$VMOFS" prefetch "$MNT" 1M 4M)"
assert_eq 4194304 "$(vmofs_stat resident)" "resident after a prefetch"
assert_eq "$fetched" "$(vmofs_stat bytes_fetched)" "bytes fetched by a prefetch"
assert_match '8388608' "$("$VMOFS" pin "$MNT")"
"$VMOFS" evict "$MNT" >/dev/null
assert_eq 8388608 "$(vmofs_stat resident)" "what is pinned"
assert_eq "$fetched" "$(vmofs_stat bytes_fetched)" "bytes fetched by a pin"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"

# Emptied under the mount: what it has open stays its own, nothing is wrong.
"$VMOFS" pin --undo "$MNT" >/dev/null
"$VMOFS" cache clear "$CACHE" >/dev/null
"$VMOFS" evict "$MNT" >/dev/null
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"

# Removed under the mount, with everything in it.
rm -rf "$CACHE"
"$VMOFS" evict "$MNT" >/dev/null
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads without the directory"
vmofs_umount
