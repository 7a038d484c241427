#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# With -f the daemon stays, logs to the terminal, and its status tells how it went.
. "$TEST_LIB/common.sh"

make_object data.bin 100000
nginx_start
"$VMOFS" mount -f "$NGINX_URL/data.bin" "$MNT" 2>"$TEST_TMP/stderr.log" &
pid=$!
wait_for 10 is_mounted || fail "not mounted"
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
wait_for 5 grep -q 'is mounted at' "$TEST_TMP/stderr.log" || fail "no log on the terminal"
assert_eq "$pid" "$(vmofs_pid)" "process"
vmofs_umount
wait $pid || fail "status $?"
assert_fails '404|no such|not found|ENOENT' "$VMOFS" mount -f "$NGINX_URL/nothing" "$MNT"
