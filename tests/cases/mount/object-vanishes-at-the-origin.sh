#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An object that is gone is ESTALE for who has it open.
. "$TEST_LIB/common.sh"

make_object data.bin 4M
nginx_start
vmofs_mount "$NGINX_URL/data.bin"
rm "$SRV/data.bin"
assert_errno ESTALE read_at "$MNT/data.bin" 1048576 4096
assert_match 'status=404' "$(get_xattr "$MNT/data.bin" user.vmofs.error)"
vmofs_umount
