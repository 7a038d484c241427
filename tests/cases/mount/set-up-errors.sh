#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is wrong is said at the mount, with status 1, and nothing stays mounted.
. "$TEST_LIB/common.sh"

make_object data.bin 1M
nginx_start
assert_fails "404|ENOENT|not found|no such" vmofs_mount "$NGINX_URL/nothing.bin"
assert_fails "$(free_port)|onnect|refused" vmofs_mount "http://127.0.0.1:$(free_port)/x" "$MNT" -o connect-timeout=2s
assert_fails "nonsense" vmofs_mount nonsense
assert_fails "begins with one of:.*http" vmofs_mount gopher://x/y
assert_fails "No such file" vmofs_mount "$NGINX_URL/data.bin" "$TEST_TMP/missing"
assert_fails "neither a directory nor a regular file" vmofs_mount "$NGINX_URL/data.bin" /dev/null
assert_fails "'memory': at least" vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o memory=1M
assert_fails "no file name" vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o name=a/b
assert_fails "log-level" vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o log-level=loud
assert_fails "usage:" "$VMOFS" mount "$NGINX_URL/data.bin"
! is_mounted || fail "something is mounted"
vmofs_mount "$NGINX_URL/data.bin" || fail "the good one does not work"
assert_fails "is mounted already" vmofs_mount "$NGINX_URL/data.bin"
vmofs_umount
