#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The file has the last component of the source's path as its name, decoded, or the name that is given.
. "$TEST_LIB/common.sh"

make_object 'with space,and comma.bin' 1000
nginx_start
vmofs_mount "$NGINX_URL/with%20space%2Cand%20comma.bin?query=1"
assert_eq 'with space,and comma.bin' "$(ls "$MNT")"
assert_same_file "$SRV/with space,and comma.bin" "$MNT/with space,and comma.bin"
vmofs_umount
vmofs_mount "$NGINX_URL/with%20space%2Cand%20comma.bin" "$MNT" -o 'name=other\,name'
assert_eq 'other,name' "$(ls "$MNT")"
vmofs_umount
mkdir "$TEST_TMP/a folder"
vmofs_mount "$NGINX_URL/with%20space%2Cand%20comma.bin" "$TEST_TMP/a folder" -o name=x
assert_eq "$TEST_TMP/a folder" "$(vmofs_stat mountpoint "$TEST_TMP/a folder")"
vmofs_umount "$TEST_TMP/a folder"
