#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What one mount has fetched the next one reads from the disk: nothing is fetched, every byte is right.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"

make_object data.bin 20123457
pages=$(((20123457 + 4095) / 4096))
nginx_start
for how in no yes; do
	rm -rf "$CACHE"
	cache_mount "$NGINX_URL/data.bin" "$MNT" -o passthrough=$how
	assert_same_file "$SRV/data.bin" "$MNT/data.bin"
	assert_between 20123457 "$(vmofs_stat bytes_fetched)" 40000000 "bytes fetched by the first mount"
	vmofs_umount
	assert_eq "$NGINX_URL/data.bin" "$(cache_field url)" "what is kept"
	assert_eq 20123457 "$(cache_present)" "bytes that are kept"
	assert_eq 700 "$(stat -c %a "$CACHE")" "mode of the directory"

	cache_mount "$NGINX_URL/data.bin" "$MNT" -o passthrough=$how
	assert_same_at_random "$MNT/data.bin" "$SRV/data.bin" 1
	assert_same_file "$SRV/data.bin" "$MNT/data.bin"
	assert_nothing_fetched
	assert_eq 0 "$(vmofs_stat cache.corrupt)" "wrong pages"
	assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
	[ $how = yes ] || assert_between "$pages" "$(vmofs_stat cache.hits)" $((2 * pages)) "pages read from the cache"
	vmofs_umount
done

# Without the directory, or with another one, everything is fetched.
CACHE=$TEST_TMP/another
cache_mount "$NGINX_URL/data.bin"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_between 20123457 "$(vmofs_stat bytes_fetched)" 40000000 "bytes fetched with another directory"
vmofs_umount
vmofs_mount "$NGINX_URL/data.bin"
"$VMOFS" stat --json "$MNT" | grep -q '"cache"' && fail "there is a cache without a directory"
vmofs_umount
