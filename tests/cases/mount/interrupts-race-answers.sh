#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Interrupts that come at every moment of a read's life: each read gets its bytes or EINTR, once.
. "$TEST_LIB/common.sh"

make_object data.bin 64M
httpd_start --file "$SRV/data.bin" --set delay=2
vmofs_mount "$HTTPD_URL/data.bin" "$MNT" -o memory=8M
"$TEST_TOOLS/interrupt_reads" 5 "$SRV/data.bin" "$MNT/data.bin" | tee "$TEST_TMP/result"
field() { sed "s/.*\"$1\": \([0-9]*\).*/\1/" "$TEST_TMP/result"; }
assert_between 100 "$(field answered)" 10000000 "answered"
assert_between 10 "$(field interrupted)" 10000000 "interrupted"
nothing_waits() { [ "$(vmofs_stat outstanding)" -eq 0 ]; }
wait_for 5 nothing_waits || fail "$(vmofs_stat outstanding) reads wait for ever"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
vmofs_umount
