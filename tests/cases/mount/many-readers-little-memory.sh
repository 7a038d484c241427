#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Readers side by side of more than fits into memory: all read the right bytes, and the budget holds.
. "$TEST_LIB/common.sh"

make_object big.bin 96M
nginx_start
vmofs_mount "$NGINX_URL/big.bin" "$MNT" -o memory=16M
assert_same_side_by_side "$MNT/big.bin" "$SRV/big.bin" 2
assert_between 1 "$(vmofs_stat memory_peak)" 16777216 "peak of memory"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
vmofs_umount
