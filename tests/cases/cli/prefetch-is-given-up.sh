#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A prefetch whose client goes away is given up; others go on meanwhile, and the loops are free.
. "$TEST_LIB/common.sh"

make_object data.bin 64M
nginx_start
vmofs_mount "$NGINX_URL/data.bin" "$MNT" --memory 128M
# shellcheck disable=SC2046  # a list of processes
kill -STOP $(nginx_processes)
timeout -s INT 0.5 "$VMOFS" prefetch "$MNT" && fail "the prefetch works"
assert_between 0 "$(seconds "$VMOFS" stat "$MNT" 2>/dev/null)" "$(patience 2)" "seconds of a stat meanwhile"
# shellcheck disable=SC2046
kill -CONT $(nginx_processes)
assert_match 'present: 67108864' "$("$VMOFS" prefetch "$MNT")"
rm "$SRV/data.bin"
"$VMOFS" evict "$MNT" >/dev/null
assert_fails 'cannot fetch' "$VMOFS" prefetch "$MNT"
vmofs_umount
