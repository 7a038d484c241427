#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An ordinary user mounts through fusermount3, and is the only one to read and to give commands.
. "$TEST_LIB/common.sh"

need fusermount3
need setpriv
need_root
if [ ! "${IN_NAMESPACE:-}" ]; then
	trap - EXIT
	# Where the device is root's only, another one with the usual mode, seen by this case alone.
	exec unshare -m env IN_NAMESPACE=1 bash "$0"
fi
mknod "$TEST_TMP/fuse" c 10 229 && chmod 666 "$TEST_TMP/fuse"
mount --bind "$TEST_TMP/fuse" /dev/fuse
user() { setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$@"; }
user test -w /dev/fuse || skip "the temporary folder allows no devices"

make_object data.bin 3M
nginx_start
chown 65534:65534 "$MNT" "$HOME"
export LSAN_OPTIONS=detect_leaks=0
LOG=$HOME/vmofs.log
user "$VMOFS" mount -o "log-file=$LOG,log-level=debug" "$NGINX_URL/data.bin" "$MNT"
user cmp "$SRV/data.bin" "$MNT/data.bin"
assert_eq "65534 444" "$(user stat -c '%u %a' "$MNT/data.bin")" "owner and mode"
assert_fails 'Permission denied' cat "$MNT/data.bin"
assert_eq 65534 "$(stat -c %u /tmp/vmofs-65534)" "owner of the run directory"
assert_match '"reads"' "$(user "$VMOFS" stat --json "$MNT")"
assert_match '"reads"' "$("$VMOFS" stat --json "$MNT")" "what root sees"
assert_fails 'belongs to user 65534|Permission' setpriv --reuid=65533 --clear-groups --inh-caps=-all "$VMOFS" stat "$MNT"
user touch "$HOME/file"
user "$VMOFS" mount "$NGINX_URL/data.bin" "$HOME/file"
user cmp "$SRV/data.bin" "$HOME/file"
user "$VMOFS" umount "$HOME/file"

pid=$(user "$VMOFS" stat --json "$MNT" | sed 's/.*"pid":\([0-9]*\).*/\1/')
kill -9 "$pid"
wait_for 10 is_gone "$pid"
user "$VMOFS" mount "$NGINX_URL/data.bin" "$MNT"
user cmp "$SRV/data.bin" "$MNT/data.bin"
user "$VMOFS" umount "$MNT"
! is_mounted || fail "still mounted"
