#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A regular file as mountpoint becomes the object.
. "$TEST_LIB/common.sh"

make_object data.bin 5000000
nginx_start
touch "$TEST_TMP/here"
vmofs_mount "$NGINX_URL/data.bin" "$TEST_TMP/here"
[ -f "$TEST_TMP/here" ] || fail "it is no regular file"
assert_same_file "$SRV/data.bin" "$TEST_TMP/here"
assert_match '^http' "$(get_xattr "$TEST_TMP/here" user.vmofs.url)"
assert_eq "$TEST_TMP/here" "$(vmofs_stat mountpoint "$TEST_TMP/here")"
vmofs_umount "$TEST_TMP/here"
assert_eq 0 "$(stat -c %s "$TEST_TMP/here")" "size of the file below"
