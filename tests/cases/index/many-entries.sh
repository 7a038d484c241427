#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A directory of 5,000 files costs one request to list, and none for sizes where the page says them.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"

mkdir "$SRV/many"
(cd "$SRV/many" && seq -f 'a rather long name for the file number %05g.txt' 5000 | tr '\n' '\0' | xargs -0 touch)
echo contents >"$SRV/many/a rather long name for the file number 04711.txt"
index_start_nginx
assert_eq 5000 "$("$VMOFS" ls "$INDEX_URL/many/" | wc -l)" "files listed"

: >"$TEST_TMP/nginx/access.log"
vmofs_mount "$INDEX_URL/many/"
assert_eq 5000 "$(find "$MNT" -type f | wc -l)" "files found"
assert_eq 5000 "$(find "$MNT" -type f -printf '%s\n' | wc -l)" "files with a size"
assert_eq contents "$(cat "$MNT/a rather long name for the file number 04711.txt")"
vmofs_umount
# One for the mount, perhaps one more for the directory, one or two for the file.
assert_between 1 "$(wc -l <"$TEST_TMP/nginx/access.log")" 4 "requests"
