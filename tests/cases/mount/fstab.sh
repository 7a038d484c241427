#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mount(8) with an fstab line of type vmofs, as root; the helper is put into place for this case alone.
. "$TEST_LIB/common.sh"

need_root
if [ ! "${IN_NAMESPACE:-}" ]; then
	trap - EXIT
	exec unshare -m env IN_NAMESPACE=1 bash "$0"
fi
sbin=$(readlink -f /sbin)
mkdir "$TEST_TMP/upper" "$TEST_TMP/work"
mount -t overlay -o "lowerdir=$sbin,upperdir=$TEST_TMP/upper,workdir=$TEST_TMP/work" overlay "$sbin" ||
	skip "no overlay over $sbin"
ln -s "$VMOFS" "$sbin/mount.vmofs"

make_object data.bin 1000000
nginx_start
echo "$NGINX_URL/data.bin $MNT vmofs noauto,nofail,_netdev,x-systemd.automount,nosuid,memory=32M,log-file=$LOG 0 0" >"$TEST_TMP/fstab"
mount -T "$TEST_TMP/fstab" "$MNT"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_eq 33554432 "$(vmofs_stat memory_limit)"
pid=$(vmofs_pid)
umount "$MNT"
wait_for 10 is_gone "$pid" || fail "the daemon lives on after umount"

echo "$NGINX_URL/nothing $MNT vmofs noauto,memory=32M 0 0" >"$TEST_TMP/fstab"
assert_fails 'mount.vmofs: .*nothing' mount -T "$TEST_TMP/fstab" "$MNT"
mount -t vmofs "$NGINX_URL/data.bin" "$MNT"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
vmofs_umount
