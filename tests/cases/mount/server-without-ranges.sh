#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A server that knows no ranges: small objects are taken whole, others refused at the mount.
. "$TEST_LIB/common.sh"

make_object small.bin 3000000
nginx_start "max_ranges 0;"
vmofs_mount "$NGINX_URL/small.bin"
assert_same_file "$SRV/small.bin" "$MNT/small.bin"
vmofs_umount
assert_fails 'range' vmofs_mount "$NGINX_URL/small.bin" "$MNT" -o whole-limit=1M
! is_mounted || fail "mounted all the same"
