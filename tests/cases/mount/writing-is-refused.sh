#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The mount is read-only, and says so.
. "$TEST_LIB/common.sh"

make_object data.bin 10000
nginx_start
vmofs_mount "$NGINX_URL/data.bin"
assert_fails 'Read-only file system' sh -c "echo x >'$MNT/data.bin'"
assert_fails 'Read-only file system' sh -c "echo x >>'$MNT/data.bin'"
assert_fails 'Read-only file system' touch "$MNT/new"
assert_fails 'Read-only file system' rm "$MNT/data.bin"
assert_fails 'Read-only file system' mkdir "$MNT/dir"
assert_fails 'No such file' cat "$MNT/other"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
vmofs_umount
