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
"$VMOFS" cache clear "$CACHE" >/dev/null

# A list that says the size and no version: only the first answer shows it, and the log tells then, once.
told() { grep -c 'are not kept in the cache directory' "$LOG" || :; }
before=$(told)
httpd_start --size 3000000
httpd_set weak-etag=1
for name in a b; do printf '%s\t%s/%s\t3000000\n' $name "$HTTPD_URL" $name; done >"$TEST_TMP/list"
cache_mount "list:$TEST_TMP/list"
assert_eq "$before" "$(told)" "lines of the log before the first answer"
assert_same_file "$TEST_TMP/want" "$MNT/a"
assert_same_file "$TEST_TMP/want" "$MNT/b"
vmofs_umount
assert_eq $((before + 1)) "$(told)" "lines of the log"
assert_eq 0 "$(kept)" "files in the cache, of objects whose first answer is weak"
