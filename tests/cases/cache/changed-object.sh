#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A new version at the origin has an entry of its own: what is kept of the old one is never mixed into it.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"

nginx_start
for version in 1 2 3; do
	# The same size, and a date of its own.
	make_object data.bin 5M
	touch -d "2026-01-0$version" "$SRV/data.bin"
	cp "$SRV/data.bin" "$TEST_TMP/v$version"
	for _ in 1 2; do
		cache_mount "$NGINX_URL/data.bin"
		assert_same_file "$SRV/data.bin" "$MNT/data.bin"
		got=$(vmofs_stat bytes_fetched)
		vmofs_umount
	done
	assert_between 0 "$got" 4096 "bytes of version $version fetched by the second mount"
	assert_eq $version "$(cache_field name | wc -l)" "versions that are kept"
done

# The first version comes back, and is still here.
cp "$TEST_TMP/v1" "$SRV/data.bin"
touch -d 2026-01-01 "$SRV/data.bin"
cache_mount "$NGINX_URL/data.bin"
assert_same_file "$TEST_TMP/v1" "$MNT/data.bin"
assert_nothing_fetched

# While it is mounted: what is kept is served, and nothing of the new one gets into it.
"$VMOFS" evict "$MNT" >/dev/null
cp "$TEST_TMP/v2" "$SRV/data.bin"
touch -d 2026-01-09 "$SRV/data.bin"
assert_same_file "$TEST_TMP/v1" "$MNT/data.bin"
vmofs_umount
"$VMOFS" cache clear --url "$NGINX_URL/data.bin" "$CACHE" >/dev/null
assert_eq 0 "$(cache_field name | wc -l)" "versions after all were removed"
