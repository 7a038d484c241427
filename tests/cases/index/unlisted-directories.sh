#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Below a directory that may be listed there can be one that may not: its names are found all the same when they are known.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"

mkdir -p "$SRV/closed/inner dir"
echo inside >"$SRV/closed/inner dir/file"
echo 'an index' >"$SRV/list"
nginx_start "location = / { autoindex on; }"

assert_eq inside "$("$VMOFS" cat -p 'closed/inner dir/file' "$NGINX_URL/")"
vmofs_mount "$NGINX_URL/"
assert_eq inside "$(cat "$MNT/closed/inner dir/file")"
assert_eq 7 "$(stat -c %s "$MNT/closed/inner dir/file")"
[ ! -e "$MNT/closed/nothing" ] || fail "a name that is not there"
assert_errno EACCES ls "$MNT/closed"
vmofs_umount
