#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Reads that wait when the mount is taken away end with an error, and so does the daemon.
. "$TEST_LIB/common.sh"

make_object data.bin 4M
nginx_start
vmofs_mount "$NGINX_URL/data.bin"
pid=$(vmofs_pid)
# shellcheck disable=SC2046  # a list of processes
kill -STOP $(nginx_processes)
read_at "$MNT/data.bin" 0 4096 >/dev/null 2>&1 &
reader=$!
waits() { [ "$(vmofs_stat outstanding)" -ge 1 ]; }
wait_for 10 waits || fail "the read does not wait"
"$VMOFS" prefetch "$MNT" >/dev/null 2>&1 &
prefetch=$!
kill -TERM "$pid"
wait_for 10 is_gone "$pid" || fail "the daemon does not end"
! wait $reader || fail "the read works"
! wait $prefetch || fail "the prefetch works"
# shellcheck disable=SC2046
kill -CONT $(nginx_processes)
