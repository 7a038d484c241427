#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Trees of index pages with a cache: listings name no version, so nothing may be taken for proven that is not; every byte is right.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"
. "$TEST_LIB/cache.sh"

make_object d/one 3000000
for i in $(seq 20); do make_object "d/s$i" $((i * 999)); done
index_start_nginx
for round in 1 2 3; do
	cache_mount "$INDEX_URL/"
	diff -r "$SRV" "$MNT" || fail "the tree is different in round $round"
	assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
	"$VMOFS" evict "$MNT" >/dev/null
	assert_same_file "$SRV/d/one" "$MNT/d/one"
	vmofs_umount
	# Of the same size, and as old as before: only the server's validator tells.
	[ $round -ne 2 ] || { make_object d/one 3000000; touch -d 2026-01-01 "$SRV/d/one"; }
done
[ ! -e "$CACHE/version" ] || "$VMOFS" cache verify "$CACHE" || fail "something is wrong in the cache"
