#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# GROUP: http
# A server that lies, breaks off and is busy, now and then, under parallel readers: every byte is right.
. "$TEST_LIB/common.sh"

make_object big.bin 20000003
httpd_start --file "$SRV/big.bin"
vmofs_mount "$HTTPD_URL/big.bin" "$MNT" -o retry-base=5ms

lies="wrong-range short-range no-content-range short-body extra short-chunked extra-chunked ignore-range gzip reset close"
reader() # FIRST: every fourth megabyte from there
{
	for ((i = $1; i < 20; i += 4)); do
		dd if="$MNT/big.bin" bs=1000000 skip=$i count=1 status=none | cmp - <(dd if="$SRV/big.bin" bs=1000000 skip=$i count=1 status=none) ||
			return 1
	done
}
for lie in $lies; do
	httpd_set "$lie=1"
	"$VMOFS" evict "$MNT/big.bin"
	readers=
	for first in 0 1 2 3; do
		reader $first & readers="$readers $!"
	done
	for r in $readers; do
		wait "$r" || fail "$lie: a wrong byte or an error"
	done
	httpd_set "$lie=0"
done
cmp "$SRV/big.bin" "$MNT/big.bin"
assert_between 5 "$(vmofs_stat retries)" 1000 retries

# For ever, it is an error with a reason, and the reason can be read.
"$VMOFS" evict "$MNT/big.bin"
httpd_set wrong-range=-1
read_at "$MNT/big.bin" 8192 4096 >/dev/null 2>"$TEST_TMP/errno.log" && fail "a wrong range was served"
assert_eq EIO "$(cat "$TEST_TMP/errno.log")"
error=$(get_xattr "$MNT/big.bin" user.vmofs.error)
assert_match 'asked for bytes 8192-12287, got 12288-16383' "$error"
assert_match '206' "$error"
assert_match 'req-206' "$error"
httpd_set wrong-range=0
read_at "$MNT/big.bin" 8192 4096 | cmp - <(tail -c +8193 "$SRV/big.bin" | head -c 4096)
