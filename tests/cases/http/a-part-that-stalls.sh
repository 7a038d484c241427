#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# GROUP: http
# A part of a sequential read stands still at the server for ten minutes. The reader does not wait for it: a second
# request brings the rest.
. "$TEST_LIB/common.sh"

make_object big.bin 64M
httpd_start --file "$SRV/big.bin"
vmofs_mount "$HTTPD_URL/big.bin" "$MNT" -o part-size=4M,memory=128M

cmp "$SRV/big.bin" "$MNT/big.bin"
for round in 1 2 3; do
	won=$(vmofs_stat hedges_won)
	"$VMOFS" evict "$MNT/big.bin"
	httpd_set "pause=600000&pause-count=1"
	cmp "$SRV/big.bin" "$MNT/big.bin"
	[ "$(vmofs_stat hedges_won)" -gt "$won" ] || fail "round $round: nothing was raced"
	httpd_set "pause=0&pause-count=0"
done
assert_eq 0 "$(vmofs_stat retries)" "retries: the races were won in time"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
assert_between 4096 "$(vmofs_stat hedged_bytes)" $(((16 << 20) + 4 * (64 << 20) * 2 / 100)) "bytes asked for twice"
vmofs_umount

# Without a budget it takes as long as it takes the server.
vmofs_mount "$HTTPD_URL/big.bin" "$MNT" -o part-size=4M,memory=128M,hedge=0
httpd_set "pause=1500&pause-count=1"
cmp "$SRV/big.bin" "$MNT/big.bin"
assert_eq 0 "$(vmofs_stat hedges)" "hedges without a budget"
