#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 300
# FLAVOURS: gcc
# The machine loses power while the cache is filled, or soon after: what the file system had not written is gone. It may have
# written the index and not the contents. What is left is right or dropped.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"
expect_log 'cache'

make_object data.bin 40M
nginx_start
disk_start 96M
index_to_disk()
{
	python3 -c 'import glob, os, sys
for p in glob.glob(sys.argv[1] + "/*/*.index"):
    os.fsync(os.open(p, os.O_RDONLY))' "$CACHE"
}
used=0
for round in $(seq 12); do
	cache_mount "$NGINX_URL/data.bin"
	assert_same_at_random "$MNT/data.bin" "$SRV/data.bin" "$round" 20
	cat "$MNT/data.bin" >"$TEST_TMP/got" &
	reader=$!
	if [ $((round % 2)) -eq 0 ]; then
		wait $reader || fail "a reader sees an error"
		vmofs_umount
	fi
	python3 -c 'import random, time; time.sleep(random.random() / 3)'
	case $((round % 4)) in
	0|1) index_to_disk ;;
	2) sync -f "$DISK" ;;
	esac
	disk_cut
	if [ $((round % 2)) -ne 0 ]; then
		wait $reader || fail "a reader sees an error"
		cmp "$TEST_TMP/got" "$SRV/data.bin" || fail "wrong bytes while the disk fails"
		vmofs_umount
	fi
	disk_umount
	disk_mount

	cache_mount "$NGINX_URL/data.bin"
	assert_same_file "$SRV/data.bin" "$MNT/data.bin"
	assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
	used=$((used + $(vmofs_stat cache.hits)))
	vmofs_umount
	# Now and then it begins with nothing, else with what is left.
	[ $((round % 3)) -ne 0 ] || rm -rf "$CACHE"
done
[ $used -gt 0 ] || fail "nothing of what was on the disk was ever used"
echo "12 power cuts, $used pages used after them"
