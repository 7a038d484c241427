#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A cache directory that cannot be what was asked for is an error at the mount, said with the cause; relative paths work.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"

make_object data.bin 1M
nginx_start
refused() { pattern=$1; shift; assert_fails "$pattern" vmofs_mount "$NGINX_URL/data.bin" "$MNT" "$@"; ! is_mounted || fail "something is mounted"; }

refused "cache-dir.*$TEST_TMP/a/b.*parent" -o "cache-dir=$TEST_TMP/a/b"
refused "cache-dir.*inside of the mountpoint" -o "cache-dir=$MNT"
refused "cache-dir.*inside of the mountpoint" -o "cache-dir=$MNT/c"
: >"$TEST_TMP/file"
refused "$TEST_TMP/file.*Not a directory" -o "cache-dir=$TEST_TMP/file"
refused "cache-dir.*Not a directory" -o "cache-dir=$TEST_TMP/file/c"
refused "cache-threads.*from 1 to" -o "cache-dir=$CACHE,cache-threads=0"
refused "cache-size.*not a size" -o "cache-dir=$CACHE,cache-size=lots"
refused "congestion.*from 1 to" -o congestion=0
refused "congestion.*from 1 to" -o max-background=10,congestion=11
refused "'io-uring'.*none of auto, yes, no" -o io-uring=perhaps

# Of another version, or of somebody else: left alone.
mkdir "$TEST_TMP/other"
echo "vmofs cache 9999" >"$TEST_TMP/other/version"
refused "$TEST_TMP/other.*version" -o "cache-dir=$TEST_TMP/other"
assert_eq "vmofs cache 9999" "$(cat "$TEST_TMP/other/version")" "what was there"
if [ "$(id -u)" -eq 0 ]; then
	mkdir -m 700 "$TEST_TMP/roots"
	assert_fails "cache.*(denied|permitted)" timeout 20 setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$VMOFS" mount -f -o "cache-dir=$TEST_TMP/roots" "$SRV/data.bin" "$MNT"
fi

# A relative path is the shell's, a link is followed, an empty value is none, and so is a missing one.
mkdir "$TEST_TMP/real"
ln -s "$TEST_TMP/real" "$TEST_TMP/link"
(cd "$TEST_TMP" && vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o cache-dir=rel)
assert_eq "$TEST_TMP/rel" "$(vmofs_stat cache.dir)" "a relative path"
vmofs_umount
vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o "cache-dir=$TEST_TMP/link/"
assert_eq "$TEST_TMP/real" "$(vmofs_stat cache.dir)" "a link"
vmofs_umount
vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o "cache-dir=$CACHE,cache-dir="
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
vmofs_umount
[ ! -e "$CACHE" ] || fail "a directory was made that nobody wants"
