#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# prefetch brings in, evict drops, pin keeps; what does not fit is refused with a reason.
. "$TEST_LIB/common.sh"

make_object data.bin 32M
nginx_start
vmofs_mount "$NGINX_URL/data.bin" "$MNT" --memory 48M
M=1048576
resident() { vmofs_stat resident; }

assert_match 'present: 33554432' "$("$VMOFS" prefetch "$MNT")"
assert_eq $((32 * M)) "$(resident)" "resident after a prefetch"
fetched=$(vmofs_stat bytes_fetched)
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_eq "$fetched" "$(vmofs_stat bytes_fetched)" "bytes fetched by the reader"

assert_match 'evicted: 33554432' "$("$VMOFS" evict "$MNT")"
assert_eq 0 "$(resident)" "resident after an eviction"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_between $((fetched + 32 * M)) "$(vmofs_stat bytes_fetched)" $((fetched + 34 * M)) "bytes fetched again"

"$VMOFS" evict "$MNT/data.bin" >/dev/null
"$VMOFS" prefetch "$MNT/data.bin" 1M 2M >/dev/null
assert_eq $((M))-$((3 * M - 1)) "$(get_xattr "$MNT/data.bin" user.vmofs.resident)" "after a prefetch of a part"
"$VMOFS" pin "$MNT/data.bin" 4M 1M >/dev/null
"$VMOFS" evict "$MNT" >/dev/null
assert_eq $((4 * M))-$((5 * M - 1)) "$(get_xattr "$MNT/data.bin" user.vmofs.resident)" "what was pinned"
"$VMOFS" pin --undo "$MNT/data.bin" 4M 1M >/dev/null
"$VMOFS" evict "$MNT" >/dev/null
assert_eq none "$(get_xattr "$MNT/data.bin" user.vmofs.resident)" "what was unpinned"

assert_fails 'beyond the end' "$VMOFS" prefetch "$MNT" 1G
assert_fails 'is not a size' "$VMOFS" prefetch "$MNT" some
assert_fails "No such file|no file" "$VMOFS" prefetch "$MNT/nothing"
vmofs_umount
vmofs_mount "$NGINX_URL/data.bin" "$MNT" --memory 16M
assert_fails 'do not fit into 12 MiB' "$VMOFS" prefetch "$MNT"
assert_match 'present: 8388608' "$("$VMOFS" prefetch "$MNT" 0 8M)"
vmofs_umount
