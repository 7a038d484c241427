#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ten thousand reads wait at once without a thread each, and all are answered rightly.
# TIMEOUT: 240
. "$TEST_LIB/common.sh"

[ "$(ulimit -Hu)" = unlimited ] || [ "$(ulimit -Hu)" -gt 20000 ] || skip "too few processes are allowed"
ulimit -u "$(ulimit -Hu)"
n=10000
[ "$SLOW" -eq 1 ] || n=2000
make_object big.bin 256M
nginx_start
vmofs_mount "$NGINX_URL/big.bin"
pid=$(vmofs_pid)
# shellcheck disable=SC2046  # a list of processes
kill -STOP $(nginx_processes)
"$TEST_TOOLS/many_reads" -n $n -r "$SRV/big.bin" "$MNT/big.bin" >"$TEST_TMP/many.json" &
reader=$!
all_wait() { [ "$(vmofs_stat outstanding)" -eq $n ]; }
wait_for 60 all_wait || fail "only $(vmofs_stat outstanding) of $n reads wait"
assert_between 1 "$(ls "/proc/$pid/task" | wc -l)" 16 "threads of the daemon"
# shellcheck disable=SC2046
kill -CONT $(nginx_processes)
wait $reader
cat "$TEST_TMP/many.json"
assert_eq $n "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["answered"])' <"$TEST_TMP/many.json")" "answered"
assert_eq 0 "$(vmofs_stat outstanding)"
vmofs_umount
