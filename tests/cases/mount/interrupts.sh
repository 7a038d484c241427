#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A read that hangs can be interrupted, and the daemon forgets it.
. "$TEST_LIB/common.sh"

make_object data.bin 4M
nginx_start
vmofs_mount "$NGINX_URL/data.bin"
f=$MNT/data.bin
# shellcheck disable=SC2046  # a list of processes
kill -STOP $(nginx_processes)

# A reader past the kernel's cache gets FUSE_INTERRUPT and EINTR; dd catches INT and reports.
assert_between 0 "$(seconds timeout -s INT 1 dd if="$f" of=/dev/null bs=4k count=1 iflag=direct)" "$(patience 5)" "dd"
was_interrupted() { [ "$(vmofs_stat interrupted)" -ge 1 ]; }
wait_for 5 was_interrupted || fail "no read was interrupted"
# Any other is killed.
assert_between 0 "$(seconds timeout -s INT 1 cat "$f")" "$(patience 5)" "cat"
assert_between 0 "$(seconds timeout -s KILL 1 cat "$f")" "$(patience 5)" "cat, killed"
# shellcheck disable=SC2046
kill -CONT $(nginx_processes)
assert_same_file "$SRV/data.bin" "$f"
vmofs_umount
