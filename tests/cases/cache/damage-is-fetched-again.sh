#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bits that have changed on the disk, in contents or index, cost a fetch and are counted; no reader sees them.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"
# All of it, and nothing twice (hedge=0).
ALL=12900000
expect_log 'cache'

make_object data.bin 12M
make_object other.bin 12M
nginx_start

fill()
{
	rm -rf "$CACHE"
	for o in data other; do
		cache_mount "$NGINX_URL/$o.bin"
		cat "$MNT/$o.bin" >/dev/null
		vmofs_umount
	done
	assert_eq 25165824 "$(cache_present)" "bytes that are kept"
	name=$(cache_field name "$NGINX_URL/data.bin")
	DATA=$(find "$CACHE" -path "*${name#??}*.data" | head -n 1)
	INDEX=${DATA%.data}.index
	[ -f "$DATA" ] && [ -f "$INDEX" ] || fail "no files of '$name'"
}

# check WHAT LOW HIGH: everything is right, from LOW to HIGH bytes of it are fetched; the next mount needs none
check()
{
	cache_mount "$NGINX_URL/data.bin" "$MNT" -o hedge=0
	assert_same_at_random "$MNT/data.bin" "$SRV/data.bin" 7 50
	assert_same_file "$SRV/data.bin" "$MNT/data.bin"
	assert_between "$2" "$(vmofs_stat bytes_fetched)" "$3" "$1: bytes fetched"
	assert_eq 0 "$(vmofs_stat read_errors)" "$1: failed reads"
	corrupt=$(vmofs_stat cache.corrupt)
	vmofs_umount
	cache_mount "$NGINX_URL/data.bin"
	assert_same_file "$SRV/data.bin" "$MNT/data.bin"
	assert_nothing_fetched
	assert_eq 0 "$(vmofs_stat cache.corrupt)" "$1: wrong pages after they were replaced"
	vmofs_umount
}

fill
cache_damage "$DATA" 50 1
check "50 bits of the contents" $((50 * 4096)) $ALL
assert_between 50 "$corrupt" 51 "wrong pages"

for seed in 2 3 4 5; do
	cache_damage "$INDEX" 1 $seed
	check "a bit of the index" 0 $ALL
done

head -c 100000 /dev/urandom | dd of="$DATA" bs=4096 seek=100 conv=notrunc status=none
check "noise" 98304 $ALL
assert_between 24 "$corrupt" 26 "wrong pages"

truncate -s 5000000 "$DATA"
check "cut contents" 7500000 $ALL
rm "$DATA"
check "no contents" 12582912 $ALL
truncate -s 100 "$INDEX"
check "a cut index" 0 $ALL
head -c 100000 /dev/urandom >"$INDEX"
check "noise for an index" 12582912 $ALL
: >"$INDEX"
check "an empty index" 12582912 $ALL

# The index or the contents of another object, which are right in themselves.
name=$(cache_field name "$NGINX_URL/other.bin")
other=$(find "$CACHE" -path "*${name#??}*.data" | head -n 1)
cp "${other%.data}.index" "$INDEX"
check "the index of another" 12582912 $ALL
cp "$other" "$DATA"
check "contents of another" 12582912 $ALL
cp "$other" "$DATA"; cp "${other%.data}.index" "$INDEX"
check "another object" 12582912 $ALL
