#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A read from a server that has stopped answering ends by its deadline.
. "$TEST_LIB/common.sh"

make_object data.bin 4M
nginx_start
vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o timeout=2s
# shellcheck disable=SC2046  # a list of processes
kill -STOP $(nginx_processes)
took=$(seconds dd if="$MNT/data.bin" of=/dev/null bs=4k count=1 iflag=direct 2>"$TEST_TMP/dd.log")
assert_between 1.5 "$took" "$(patience 4)" "seconds until the read failed"
assert_match 'timed out|Input/output' "$(cat "$TEST_TMP/dd.log")"
# Through the kernel's cache the read-ahead fails first, then the page itself.
assert_between 1.5 "$(seconds read_at "$MNT/data.bin" 1048576 10)" "$(patience 7)" "seconds of a cached read"
assert_between 1 "$(vmofs_stat timed_out)" 10 "reads timed out"
# shellcheck disable=SC2046
kill -CONT $(nginx_processes)
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
vmofs_umount
