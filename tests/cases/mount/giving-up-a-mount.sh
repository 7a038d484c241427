#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A mount that hangs because its server does not answer can be interrupted, and does not appear later on.
. "$TEST_LIB/common.sh"

make_object data.bin 1M
nginx_start
# shellcheck disable=SC2046  # a list of processes
kill -STOP $(nginx_processes)
for how in "" -f; do
	for signal in INT TERM KILL; do
		# shellcheck disable=SC2086  # no word or one
		took=$(seconds timeout -s $signal 0.5 "$VMOFS" mount $how "$NGINX_URL/data.bin" "$MNT")
		assert_between 0.4 "$took" "$(patience 3)" "seconds until it ends by $signal $how"
	done
done
# shellcheck disable=SC2046
kill -CONT $(nginx_processes)
sleep 1
! is_mounted || fail "the mount has appeared after all"
assert_eq "" "$(ps -eo pid=,args= | grep -F "$NGINX_URL" | grep -v grep)" "processes left"
vmofs_mount "$NGINX_URL/data.bin"
vmofs_umount
