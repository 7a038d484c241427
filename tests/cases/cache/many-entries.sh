#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 600
# FLAVOURS: gcc
# A cache of 100,000 objects: a mount is usable without looking at all of them.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"
need strace
[ -x "$TEST_TOOLS/cache_fill" ] || skip "cache_fill has not been built"

make_object data.bin 1M
nginx_start
"$TEST_TOOLS/cache_fill" "$CACHE" 100000 || fail "the cache cannot be filled"
cache_mount "$NGINX_URL/data.bin"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
vmofs_umount

# Everything a mount and the first read do, up to the answer.
first() { vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o "cache-dir=$CACHE,passthrough=no" && head -c 4096 "$MNT/data.bin" >"$TEST_TMP/got"; }
took=$(seconds first)
cmp -n 4096 "$TEST_TMP/got" "$SRV/data.bin" || fail "wrong bytes"
assert_nothing_fetched
vmofs_umount
echo "mounted, and the first read from the cache answered, after $took s"

# What a mount opens until it says that it can be used: not one file for each object, nor one folder of the 256.
strace -f -qq -e trace=openat,open,getdents64,stat,newfstatat,statx -o "$TEST_TMP/calls" \
	"$VMOFS" mount -o "log-file=$LOG,cache-dir=$CACHE,passthrough=no" "$NGINX_URL/data.bin" "$MNT" &
PIDS="$PIDS $!"
wait_for 60 is_mounted || fail "it does not mount"
lines=$(wc -l <"$TEST_TMP/calls")
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
vmofs_umount
assert_between 1 "$lines" 2000 "calls that open or look at files before the mount is usable"
