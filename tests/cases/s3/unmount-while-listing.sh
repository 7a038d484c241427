#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A mount ends while a long listing is under way, and whoever waits for it gets an error at once.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_listd_start -n 1000000 -d 0 -w 200
s3_env
vmofs_mount s3://bucket
pid=$(vmofs_pid)
ls -f "$MNT" >/dev/null 2>&1 &
reader=$!
PIDS="$PIDS $reader"
enough() { [ "$(s3_listd_stat requests)" -ge 5 ]; }
wait_for 10 enough || fail "no listing under way"
assert_between 0 "$(seconds "$VMOFS" umount -l "$MNT")" "$(patience 5)" "seconds of umount -l"
kill "$pid" 2>/dev/null || :
gone() { is_gone "$pid"; }
wait_for 10 gone || fail "the daemon lives on"
wait_for 10 is_gone "$reader" || fail "ls waits for ever"
