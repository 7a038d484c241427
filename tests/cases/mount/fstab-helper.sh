#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Called as mount.vmofs it takes what mount(8) passes on from fstab, and refuses what nobody knows.
. "$TEST_LIB/common.sh"

make_object data.bin 100000
nginx_start
ln -s "$VMOFS" "$TEST_TMP/mount.vmofs"
helper=$TEST_TMP/mount.vmofs
"$helper" "$NGINX_URL/data.bin" "$MNT" -n -o "rw,noauto,nofail,_netdev,user,nosuid,nodev,noexec,x-systemd.idle-timeout=60,memory=32M,log-file=$LOG"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
assert_eq 33554432 "$(vmofs_stat memory_limit)"
assert_match 'noexec' "$(findmnt -rno OPTIONS "$MNT")" "options of the mount"
vmofs_umount
"$helper" -f "$NGINX_URL/data.bin" "$MNT" -o rw
! is_mounted || fail "a fake mount mounts"
status=0
"$helper" "$NGINX_URL/data.bin" "$MNT" -o rw,memroy=32M 2>"$TEST_TMP/said.log" || status=$?
assert_eq 1 $status "status of a usage error"
assert_match "did you mean 'memory'" "$(cat "$TEST_TMP/said.log")"
status=0
"$helper" "$NGINX_URL/nothing" "$MNT" -o rw 2>"$TEST_TMP/said.log" || status=$?
assert_eq 32 $status "status of a failed mount"
assert_match 'mount.vmofs: .*nothing' "$(cat "$TEST_TMP/said.log")"
