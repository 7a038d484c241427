#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A command that drops the kernel's copy of a page waits while that page is being read. When the origin hangs and the
# daemon is told to end, all of them come to an end: the reader, the command and the daemon.
. "$TEST_LIB/common.sh"

make_object dir/file 1M
nginx_start "autoindex on; autoindex_format json;"

for i in 1 2 3 4 5; do
	vmofs_mount "$NGINX_URL/" "$MNT" -o "stall-timeout=100s,timeout=300s"
	pid=$(vmofs_pid)
	stat "$MNT/dir/file" >/dev/null
	kill -STOP $(nginx_processes)
	cat "$MNT/dir/file" >/dev/null 2>&1 & reader=$!
	wait_for 10 sh -c "[ \$('$VMOFS' stat --json '$MNT' | sed 's/.*\"outstanding\": *\([0-9]*\).*/\1/') -ge 1 ]" || fail "nobody reads"
	"$VMOFS" evict "$MNT/dir/file" >/dev/null 2>&1 & command=$!
	sleep 0.3
	kill -TERM "$pid"
	ended=0
	wait_for 8 is_gone "$pid" || ended=1
	kill -CONT $(nginx_processes)
	[ $ended -eq 0 ] || fail "the daemon does not end, round $i"
	wait_for 5 is_gone $reader || fail "the reader still waits"
	wait_for 5 is_gone $command || fail "the command still waits"
done
