#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A server that stands still for a while costs time, and no read.
. "$TEST_LIB/common.sh"

make_object data.bin 64M
nginx_start
vmofs_mount "$NGINX_URL/data.bin"
cmp "$SRV/data.bin" "$MNT/data.bin" &
reader=$!
sleep 0.05
# shellcheck disable=SC2046  # a list of processes
kill -STOP $(nginx_processes)
read_at "$MNT/data.bin" 60000000 100000 >"$TEST_TMP/part" &
other=$!
sleep 5
# shellcheck disable=SC2046
kill -CONT $(nginx_processes)
wait $reader || fail "the first reader failed"
wait $other || fail "the second reader failed"
cmp "$TEST_TMP/part" <(tail -c +60000001 "$SRV/data.bin" | head -c 100000)
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
vmofs_umount
