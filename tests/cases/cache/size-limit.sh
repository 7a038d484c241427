#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 180
# The directory stays within cache-size and leaves cache-free; a long scan does not push out what is used again and again.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"

LIMIT=24M
make_object hot.bin 6M
make_object scan.bin 80M
for i in 1 2 3 4 5 6; do make_object "s$i.bin" 6M; done
nginx_start
on_disk() { du -s --block-size=1 "$CACHE" | cut -f 1; }
within() { [ "$(on_disk)" -le $((25165824 + 1048576)) ]; }

limited() # OBJECT [OPTIONS]: read once, by a mount of its own
{
	cache_mount "$NGINX_URL/$1" "$MNT" -o "cache-size=$LIMIT${2:+,$2}"
	assert_same_file "$SRV/$1" "$MNT/$1"
	wait_for 20 cache_is_written || fail "what waits to be written stays"
	wait_for 30 within || fail "the directory has $(on_disk) bytes"
	vmofs_umount
}

# Reads that lie close together are one use; later ones show that somebody comes back.
limited hot.bin
sleep 11
limited hot.bin
assert_eq 6291456 "$(cache_present "$NGINX_URL/hot.bin")" "of what is used often"
for i in 1 2 3 4 5 6; do limited "s$i.bin"; done
assert_between 4718592 "$(cache_present "$NGINX_URL/hot.bin")" 6291456 "of what is used often, after six others"
limited scan.bin
assert_between 3145728 "$(cache_present "$NGINX_URL/hot.bin")" 6291456 "of what is used often, after a long scan"
assert_between 1048576 "$(cache_present)" $((25165824 + 1048576)) "present of all"
"$VMOFS" cache verify "$CACHE" || fail "eviction leaves something wrong"

# By the kernel itself: that is a use too.
"$VMOFS" cache clear "$CACHE" >/dev/null
limited hot.bin passthrough=yes
limited hot.bin passthrough=yes
sleep 11
limited hot.bin passthrough=yes
for i in 1 2 3 4 5 6; do limited "s$i.bin"; done
assert_between 4718592 "$(cache_present "$NGINX_URL/hot.bin")" 6291456 "of what the kernel reads, after six others"

# By hand.
"$VMOFS" cache gc --cache-size 8M --cache-free 0 "$CACHE"
assert_between 1 "$(on_disk)" $((8388608 + 1048576)) "bytes on the disk after gc"
cache_mount "$NGINX_URL/hot.bin"
assert_same_file "$SRV/hot.bin" "$MNT/hot.bin"
vmofs_umount

# What stays free.
[ "$(id -u)" -eq 0 ] || exit 0
disk_start 96M
free() { df --output=avail --block-size=1 "$DISK" | tail -n 1; }
before=$(free)
floor=$((before - 20971520))
vmofs_mount "$NGINX_URL/scan.bin" "$MNT" -o "cache-dir=$CACHE,cache-size=0,cache-free=$floor,passthrough=no"
assert_same_file "$SRV/scan.bin" "$MNT/scan.bin"
wait_for 20 cache_is_written || fail "what waits to be written stays"
enough() { [ "$(free)" -ge $((floor - 1048576)) ]; }
wait_for 30 enough || fail "$(free) bytes are free, not $floor"
assert_between 1 "$(vmofs_stat cache.written)" 20480 "pages written"
vmofs_umount
disk_umount
