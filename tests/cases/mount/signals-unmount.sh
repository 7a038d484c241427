#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TERM, INT and HUP unmount cleanly, also while a file is open and being read.
. "$TEST_LIB/common.sh"

make_object data.bin 32M
nginx_start
for signal in TERM INT HUP; do
	vmofs_mount "$NGINX_URL/data.bin"
	pid=$(vmofs_pid)
	exec 9<"$MNT/data.bin"
	head -c 1000 <&9 >/dev/null
	kill -$signal "$pid"
	wait_for 10 is_gone "$pid" || fail "the daemon lives on after $signal"
	! is_mounted || fail "still mounted after $signal"
	exec 9<&-
	grep -q "on signal" "$LOG" || fail "the log says nothing of the signal"
done
