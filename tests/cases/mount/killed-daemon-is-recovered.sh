#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# After kill -9 the mountpoint is dead; the next mount on it, or umount, takes that away.
. "$TEST_LIB/common.sh"

make_object data.bin 1M
nginx_start
for how in mount umount; do
	vmofs_mount "$NGINX_URL/data.bin"
	pid=$(vmofs_pid)
	kill -9 "$pid"
	wait_for 10 is_gone "$pid"
	assert_fails 'not connected|onnection abort' ls "$MNT"
	assert_fails 'does not answer' "$VMOFS" stat "$MNT"
	if [ $how = mount ]; then
		vmofs_mount "$NGINX_URL/data.bin"
		assert_same_file "$SRV/data.bin" "$MNT/data.bin"
		assert_eq 1 "$(findmnt -rn "$MNT" | wc -l)" "mounts on the mountpoint"
	fi
	vmofs_umount
	! is_mounted || fail "still mounted"
done
