#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 300
# FLAVOURS: gcc
# The machine loses power while the cache is filled: what the file system had not written is gone, what is left is right or dropped.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"
expect_log 'cache'

make_object data.bin 24M
nginx_start
disk_start 64M
used=0
for round in $(seq 12); do
	cache_mount "$NGINX_URL/data.bin"
	assert_same_at_random "$MNT/data.bin" "$SRV/data.bin" "$round" 30
	cat "$MNT/data.bin" >"$TEST_TMP/got" &
	reader=$!
	python3 -c 'import random, time; time.sleep(random.random() / 3)'
	# Sometimes a part of it has been written by the kernel.
	[ $((round % 3)) -ne 0 ] || sync -f "$DISK"
	disk_cut
	wait $reader || fail "a reader sees an error"
	cmp "$TEST_TMP/got" "$SRV/data.bin" || fail "wrong bytes while the disk fails"
	vmofs_umount
	disk_umount
	disk_mount

	cache_mount "$NGINX_URL/data.bin"
	assert_same_file "$SRV/data.bin" "$MNT/data.bin"
	assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
	used=$((used + $(vmofs_stat cache.hits)))
	vmofs_umount
	[ $((round % 4)) -ne 0 ] || "$VMOFS" cache clear "$CACHE" >/dev/null
done
[ $used -gt 0 ] || fail "nothing of what was on the disk was ever used"
