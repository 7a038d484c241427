#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Where nothing proves that two bytes are of one version, nothing is kept on disk.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"
expect_log 'no strong validator'

kept() { find "$CACHE" -name '*.data' -o -name '*.index' | wc -l; }
for mode in weak-etag=1 no-etag=1 "no-etag=1&no-last-modified=1"; do
	httpd_start --size 3000000
	httpd_set "$mode"
	curl -s "$HTTPD_URL/object" >"$TEST_TMP/want"
	for _ in 1 2; do
		cache_mount "$HTTPD_URL/object"
		assert_same_file "$TEST_TMP/want" "$MNT/object"
		assert_between 3000000 "$(vmofs_stat bytes_fetched)" 9000000 "$mode: bytes fetched"
		vmofs_umount
		assert_eq 0 "$(kept)" "$mode: files in the cache"
	done
done

httpd_start --size 3000000
curl -s "$HTTPD_URL/object" >"$TEST_TMP/want"
cache_mount "$HTTPD_URL/object"
assert_same_file "$TEST_TMP/want" "$MNT/object"
vmofs_umount
assert_eq 2 "$(kept)" "files in the cache, of an object with a strong validator"
