#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The version is pinned: what is here is served, what is missing fails with ESTALE, and says why.
. "$TEST_LIB/common.sh"

make_object data.bin 4M
nginx_start
vmofs_mount "$NGINX_URL/data.bin"
f=$MNT/data.bin
read_at "$f" 0 4096 | cmp - <(head -c 4096 "$SRV/data.bin") || fail "wrong bytes before the change"
head -c 4096 "$SRV/data.bin" >"$TEST_TMP/first"
sleep 1.1
make_object data.bin 4M
assert_errno ESTALE read_at "$f" 1048576 4096
read_at "$f" 0 4096 | cmp - "$TEST_TMP/first" || fail "what was here has changed"
assert_match '^ESTALE at=.*attempts=.*: .' "$(get_xattr "$f" user.vmofs.error)" "error attribute"
assert_eq ESTALE "$(vmofs_stat last_error.code)"
assert_between 1 "$(vmofs_stat read_errors)" 10 "failed reads"
vmofs_umount
vmofs_mount "$NGINX_URL/data.bin"
assert_same_file "$SRV/data.bin" "$f"
vmofs_umount
