#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# umount waits for the end of the daemon, refuses while somebody reads, and -l does not ask.
. "$TEST_LIB/common.sh"

make_object data.bin 1M
nginx_start
vmofs_mount "$NGINX_URL/data.bin"
pid=$(vmofs_pid)
exec 9<"$MNT/data.bin"
assert_fails 'in use|busy|could not unmount' "$VMOFS" umount "$MNT"
assert_fails 'is inside of a mount' "$VMOFS" umount "$MNT/data.bin"
is_mounted || fail "unmounted although in use"
exec 9<&-
"$VMOFS" umount "$MNT"
is_gone "$pid" || fail "the daemon lives on"
assert_fails 'is not in a mount of vmofs' "$VMOFS" umount "$MNT"

vmofs_mount "$NGINX_URL/data.bin"
pid=$(vmofs_pid)
exec 9<"$MNT/data.bin"
"$VMOFS" umount -l "$MNT"
! is_mounted || fail "still mounted"
cmp /dev/fd/9 "$SRV/data.bin" || fail "the open file cannot be read any more"
exec 9<&-
wait_for 10 is_gone "$pid" || fail "the daemon does not end after the last close"

# umount(8) and fusermount3 do as well.
vmofs_mount "$NGINX_URL/data.bin"
pid=$(vmofs_pid)
fusermount3 -u "$MNT"
wait_for 10 is_gone "$pid" || fail "the daemon does not end after fusermount3 -u"
