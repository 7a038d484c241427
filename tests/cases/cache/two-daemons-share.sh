#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two daemons with one directory: what one wrote the other reads, both are right, also while one of them is killed.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"
expect_log 'cache'

make_object data.bin 16M
make_object more.bin 16M
nginx_start
A=$MNT B=$TEST_TMP/b
mkdir -p "$B"

# One after the other, both mounted.
cache_mount "$NGINX_URL/data.bin" "$A"
assert_same_file "$SRV/data.bin" "$A/data.bin"
whole() { [ "$(cache_present)" = 16777216 ]; }
wait_for 30 whole || fail "others do not see what was written"
cache_mount "$NGINX_URL/data.bin" "$B"
assert_same_file "$SRV/data.bin" "$B/data.bin"
assert_nothing_fetched "$B"
assert_between 4096 "$(vmofs_stat cache.hits "$B")" 8192 "pages that the second read from the cache"
vmofs_umount "$A"
assert_same_at_random "$B/data.bin" "$SRV/data.bin" 1
vmofs_umount "$B"

# At the same time, from both ends, with eviction from memory in between.
cache_mount "$NGINX_URL/more.bin" "$A"
cache_mount "$NGINX_URL/more.bin" "$B"
for m in "$A" "$B"; do
	(assert_same_at_random "$m/more.bin" "$SRV/more.bin" "${#m}" 300 &&
		"$VMOFS" evict "$m" >/dev/null &&
		assert_same_file "$SRV/more.bin" "$m/more.bin") &
	pids="${pids:-} $!"
done
for p in $pids; do
	wait "$p" || fail "one of two that share is wrong"
done
assert_eq 00 "$(vmofs_stat read_errors "$A")$(vmofs_stat read_errors "$B")" "failed reads"

# The one that wrote goes without a word; the other does not notice, and may write from now on.
pid=$(vmofs_pid "$A")
kill -9 "$pid"
wait_for 10 is_gone "$pid"
umount -l "$A"
"$VMOFS" evict "$B" >/dev/null
assert_same_file "$SRV/more.bin" "$B/more.bin"
vmofs_umount "$B"
"$VMOFS" cache verify "$CACHE" || fail "something wrong was left"
cache_mount "$NGINX_URL/more.bin" "$A"
assert_same_file "$SRV/more.bin" "$A/more.bin"
vmofs_umount "$A"
