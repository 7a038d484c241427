#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A server that has stopped answering: listings and names end by the deadline, never with "no such file", and
# nothing of it is remembered.
. "$TEST_LIB/common.sh"

mkdir -p "$SRV/dir/sub"
echo one >"$SRV/dir/sub/one"
nginx_start 'location / { autoindex on; }'
vmofs_mount "$NGINX_URL/dir/" "$MNT" -o timeout=2s,metadata-ttl=0s,negative-ttl=0s
assert_eq sub "$(ls "$MNT")" names
# shellcheck disable=SC2046  # a list of processes
kill -STOP $(nginx_processes)
took=$(seconds ls "$MNT/sub" 2>"$TEST_TMP/ls.log")
assert_between 1.5 "$took" "$(patience 6)" "seconds until the listing failed"
assert_match 'timed out|Input/output' "$(cat "$TEST_TMP/ls.log")"
took=$(seconds stat "$MNT/nothing" 2>"$TEST_TMP/stat.log")
assert_between 1.5 "$took" "$(patience 4)" "seconds until the name failed"
assert_match 'timed out|Input/output' "$(cat "$TEST_TMP/stat.log")"
# Somebody who is killed does not wait for it.
assert_between 0 "$(seconds timeout -s KILL 1 stat "$MNT/other")" "$(patience 3)" "stat, killed"
# shellcheck disable=SC2046
kill -CONT $(nginx_processes)
assert_eq one "$(ls "$MNT/sub")" "names afterwards"
[ ! -e "$MNT/nothing" ] || fail "a name that is not there"
vmofs_umount
